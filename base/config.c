/* config.c - reads an INI file by a table, on inih.
 *
 * inih splits lines into sections, names and values. It does not tell its handler the line, cuts long lines and names
 * silently, and keeps quiet about sections without options; so it reads its lines from us, one by one: the reader
 * counts them and refuses what inih would swallow. The first error ends the reading.
 *
 * Rules of the file: `[section]`, `name = value`, comments from `#` or `;` at the start of a line, or from ` ;` to its
 * end. A line belongs to nobody but itself (no continuation). A file may hold secrets, so neither a value of a text
 * option nor a line that makes no sense is ever repeated in a message, and the copy in memory is wiped. */
#include "base/config.h"
#include "base/config_text.h"
#include "base/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX MIB(1)
/* What inih may be handed per line, with its line end and terminator; Debian's 200 is too short for a path. */
#define LINE_BYTES_MAX (PATH_MAX + 256)

struct config_reader {
    const char *path;
    const struct config_option *table;
    size_t table_length;
    uint8_t *options;
    uint32_t *first_lines; /* per option: the line that gave it first; 0: none yet */

    const char *at;
    size_t left;
    uint32_t line;

    bool failed;
    char *message;
    size_t message_bytes;
};

/* ---- errors ------------------------------------------------------------------------------------ */

/* Write "path:line: ..." and stop reading. */
PRINTF_LIKE(2, 3) static void fail_here(struct config_reader *reader, const char *format, ...)
{
    char reason[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    snprintf(reader->message, reader->message_bytes, "%s:%u: %s", reader->path, reader->line, reason);
    reader->failed = true;
}

/* ---- fields ------------------------------------------------------------------------------------ */

static size_t option_count(const struct config_option *option, const uint8_t *options)
{
    size_t count;
    memcpy(&count, options + option->list_count_offset, sizeof(count));
    return count;
}

static void set_option_count(const struct config_option *option, uint8_t *options, size_t count)
{
    memcpy(options + option->list_count_offset, &count, sizeof(count));
}

/* Why a value was refused, for people, into `reason`; "" when it was stored. */
#define REASON_BYTES 384

static void store_text(const struct config_option *option, const char *value, uint8_t *field, char *reason)
{
    size_t bytes = strlen(value);
    bool may_be_empty = option->default_value != NULL && option->default_value[0] == '\0';
    if (bytes == 0 && !may_be_empty) {
        snprintf(reason, REASON_BYTES, "is empty");
    } else if (bytes >= option->capacity) {
        snprintf(reason, REASON_BYTES, "is longer than %zu bytes", option->capacity - 1);
    } else {
        memset(field, 0, option->capacity);
        memcpy(field, value, bytes);
    }
}

static void store_amount(const struct config_option *option, const char *value, uint8_t *field, char *reason)
{
    uint64_t amount = 0;
    if (!config_parse_amount(option->kind, value, &amount)) {
        snprintf(reason, REASON_BYTES, "'%.64s' is not %s", value, config_amount_syntax(option->kind));
        return;
    }
    if (amount < option->minimum || (option->maximum > 0 && amount > option->maximum)) {
        char range[CONFIG_RANGE_BYTES];
        config_format_range(option, range);
        snprintf(reason, REASON_BYTES, "'%.64s' is out of range (%s)", value, range);
        return;
    }
    memcpy(field, &amount, sizeof(amount));
}

static void store_flag(const char *value, uint8_t *field, char *reason)
{
    bool flag = strcmp(value, "yes") == 0;
    if (!flag && strcmp(value, "no") != 0) {
        snprintf(reason, REASON_BYTES, "'%.64s' is not yes or no", value);
        return;
    }
    memcpy(field, &flag, sizeof(flag));
}

static void store_word(const struct config_option *option, const char *value, uint8_t *field, char *reason)
{
    for (unsigned i = 0; option->words[i] != NULL; i++) {
        if (strcmp(value, option->words[i]) == 0) {
            memcpy(field, &i, sizeof(i));
            return;
        }
    }
    char words[CONFIG_RANGE_BYTES];
    config_format_range(option, words);
    snprintf(reason, REASON_BYTES, "'%.64s' is not one of %s", value, words);
}

/* Parse `value` into the option's field, or its next one. */
static void store_value(const struct config_option *option, const char *value, uint8_t *options, char *reason)
{
    reason[0] = '\0';
    uint8_t *field = options + option->offset;
    size_t count = 0;
    if (option->list_max > 0) {
        count = option_count(option, options);
        CHECK(count < option->list_max);
        field += count * option->capacity;
    }
    switch (option->kind) {
    case CONFIG_TEXT:
        store_text(option, value, field, reason);
        break;
    case CONFIG_NUMBER:
    case CONFIG_SIZE:
    case CONFIG_DURATION:
        store_amount(option, value, field, reason);
        break;
    case CONFIG_FLAG:
        store_flag(value, field, reason);
        break;
    case CONFIG_WORD:
        store_word(option, value, field, reason);
        break;
    }
    if (reason[0] == '\0' && option->list_max > 0) {
        set_option_count(option, options, count + 1);
    }
}

/* Defaults come from the table, so a bad one is a bug. A list with the default "" is empty. */
static void store_defaults(struct config_reader *reader)
{
    for (size_t i = 0; i < reader->table_length; i++) {
        const struct config_option *option = &reader->table[i];
        if (option->list_max > 0) {
            set_option_count(option, reader->options, 0);
        }
        bool is_empty_list = option->list_max > 0 && option->default_value != NULL && option->default_value[0] == '\0';
        if (option->default_value == NULL || is_empty_list) {
            continue;
        }
        char reason[REASON_BYTES];
        store_value(option, option->default_value, reader->options, reason);
        CHECK(reason[0] == '\0');
    }
}

/* ---- lines ------------------------------------------------------------------------------------- */

static bool section_is_known(const struct config_reader *reader, const char *section, size_t section_bytes)
{
    for (size_t i = 0; i < reader->table_length; i++) {
        const char *known = reader->table[i].section;
        if (strlen(known) == section_bytes && memcmp(known, section, section_bytes) == 0) {
            return true;
        }
    }
    return false;
}

/* Refuse what inih would take without a word. False: refused. */
static bool check_line(struct config_reader *reader, const char *line, size_t bytes)
{
    if (bytes > LINE_BYTES_MAX - 3) {
        fail_here(reader, "the line is longer than %d bytes", LINE_BYTES_MAX - 3);
        return false;
    }
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)line[i];
        if ((c < ' ' && c != '\t') || c == 0x7f) {
            fail_here(reader, "control character in the line");
            return false;
        }
    }
    if (bytes > 0 && line[0] == '[') {
        const char *end = memchr(line, ']', bytes);
        size_t section_bytes = end == NULL ? 0 : (size_t)(end - line) - 1;
        if (end != NULL && !section_is_known(reader, line + 1, section_bytes)) {
            fail_here(reader, "unknown section [%.*s]", (int)(section_bytes < 64 ? section_bytes : 64), line + 1);
            return false;
        }
    }
    return true;
}

/* The next line for inih, as fgets() would give it but without leading blanks (they would make it a continuation) and
 * line end. NULL: the end, or an error. */
static char *next_line(char *buffer, int buffer_bytes, void *stream)
{
    struct config_reader *reader = stream;
    CHECK(buffer_bytes >= LINE_BYTES_MAX);
    if (reader->failed || reader->left == 0) {
        return NULL;
    }
    const char *line = reader->at;
    const char *end = memchr(line, '\n', reader->left);
    size_t bytes = end == NULL ? reader->left : (size_t)(end - line);
    size_t taken_bytes = end == NULL ? bytes : bytes + 1;
    reader->at += taken_bytes;
    reader->left -= taken_bytes;
    reader->line++;

    if (bytes > 0 && line[bytes - 1] == '\r') {
        bytes--;
    }
    while (bytes > 0 && (line[0] == ' ' || line[0] == '\t')) {
        line++;
        bytes--;
    }
    if (!check_line(reader, line, bytes)) {
        return NULL;
    }
    memcpy(buffer, line, bytes);
    buffer[bytes] = '\0';
    return buffer;
}

static const struct config_option *option_find(const struct config_reader *reader, const char *section,
                                               const char *name)
{
    for (size_t i = 0; i < reader->table_length; i++) {
        if (strcmp(reader->table[i].section, section) == 0 && strcmp(reader->table[i].name, name) == 0) {
            return &reader->table[i];
        }
    }
    return NULL;
}

/* False: the option can't be given again. */
static bool check_repeat(struct config_reader *reader, const struct config_option *option)
{
    uint32_t *first_line = &reader->first_lines[option - reader->table];
    if (*first_line == 0) {
        *first_line = reader->line;
        if (option->list_max > 0) {
            set_option_count(option, reader->options, 0); /* The file's first one replaces the default. */
        }
        return true;
    }
    if (option->list_max == 0) {
        fail_here(reader, "[%s] %s is given again (first on line %u)", option->section, option->name, *first_line);
        return false;
    }
    if (option_count(option, reader->options) == option->list_max) {
        fail_here(reader, "[%s] %s is given more than %zu times", option->section, option->name, option->list_max);
        return false;
    }
    return true;
}

/* inih's handler: one `name = value`. Returns 0 for an error, as inih wants it. */
static int take_option(void *user, const char *section, const char *name, const char *value)
{
    struct config_reader *reader = user;
    if (reader->failed || name == NULL || value == NULL) {
        return !reader->failed;
    }
    if (section[0] == '\0') {
        fail_here(reader, "'%s' stands outside of any section", name);
        return 0;
    }
    const struct config_option *option = option_find(reader, section, name);
    if (option == NULL) {
        fail_here(reader, "unknown option '%s' in [%s]", name, section);
        return 0;
    }
    if (!check_repeat(reader, option)) {
        return 0;
    }
    char reason[REASON_BYTES];
    store_value(option, value, reader->options, reason);
    if (reason[0] != '\0') {
        fail_here(reader, "[%s] %s: %s", section, name, reason);
        return 0;
    }
    return 1;
}

/* ---- the whole --------------------------------------------------------------------------------- */

static void check_required(struct config_reader *reader)
{
    for (size_t i = 0; i < reader->table_length && !reader->failed; i++) {
        const struct config_option *option = &reader->table[i];
        if (option->default_value == NULL && reader->first_lines[i] == 0) {
            snprintf(reader->message, reader->message_bytes, "%s: [%s] %s must be given: %s", reader->path,
                     option->section, option->name, option->help);
            reader->failed = true;
        }
    }
}

enum status config_parse(const char *path, const char *text, size_t text_bytes, const struct config_option *table,
                         size_t table_length, void *options, char *message, size_t message_bytes)
{
    CHECK(message_bytes > 0);
    struct config_reader reader = {.path = path,
                                   .table = table,
                                   .table_length = table_length,
                                   .options = options,
                                   .at = text,
                                   .left = text_bytes,
                                   .message = message,
                                   .message_bytes = message_bytes};
    reader.first_lines = calloc(table_length, sizeof(uint32_t));
    CHECK(reader.first_lines != NULL);
    store_defaults(&reader);

    /* Debian builds inih with its options as variables. They are the process's, and we are its only user. */
    ini_use_stack = true;
    ini_max_line = LINE_BYTES_MAX;
    ini_stop_on_first_error = true;
    int bad_line = ini_parse_stream(next_line, &reader, take_option, &reader);
    if (bad_line != 0 && !reader.failed) {
        reader.line = (uint32_t)bad_line;
        fail_here(&reader, "this is neither [section] nor name = value");
    }
    check_required(&reader);
    free(reader.first_lines);
    return reader.failed ? STATUS_INVALID : STATUS_OK;
}

/* The file's bytes, at most FILE_BYTES_MAX, in *text, which the caller wipes and frees. */
static enum status read_file(const char *path, char **text, size_t *text_bytes, char *message, size_t message_bytes)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        int error = errno;
        snprintf(message, message_bytes, "%s: %s", path, strerror(error));
        return error == ENOENT || error == ENOTDIR ? STATUS_NOT_FOUND : STATUS_DENIED;
    }
    struct stat file;
    if (fstat(descriptor, &file) != 0 || !S_ISREG(file.st_mode)) {
        snprintf(message, message_bytes, "%s: not a regular file", path);
        close(descriptor);
        return STATUS_DENIED;
    }
    if ((uint64_t)file.st_size > FILE_BYTES_MAX) {
        snprintf(message, message_bytes, "%s: larger than 1 MiB", path);
        close(descriptor);
        return STATUS_INVALID;
    }
    char *bytes = malloc((size_t)file.st_size + 1);
    CHECK(bytes != NULL);
    size_t filled = 0;
    ssize_t got = 1;
    while (got > 0 && filled < (size_t)file.st_size) {
        got = read(descriptor, bytes + filled, (size_t)file.st_size - filled);
        filled += got > 0 ? (size_t)got : 0;
    }
    close(descriptor);
    if (got < 0) {
        snprintf(message, message_bytes, "%s: can't be read", path);
        wipe_memory(bytes, filled);
        free(bytes);
        return STATUS_DENIED;
    }
    *text = bytes;
    *text_bytes = filled;
    return STATUS_OK;
}

enum status config_read(const char *path, const struct config_option *table, size_t table_length, void *options,
                        char *message, size_t message_bytes)
{
    char *text;
    size_t text_bytes;
    enum status status = read_file(path, &text, &text_bytes, message, message_bytes);
    if (status != STATUS_OK) {
        return status;
    }
    status = config_parse(path, text, text_bytes, table, table_length, options, message, message_bytes);
    wipe_memory(text, text_bytes);
    free(text);
    return status;
}
