/* log.c - formats one event into one line and hands it to the kernel in one write.
 *
 * The conversions are carried out here and not by vsnprintf, because only then is it known where each value begins
 * and ends: a string from outside that holds spaces, quotes or line ends is quoted and can't pass for another field
 * or another event. Supported: %% %c %s %d %i %u %x %f with the flag 0, width, precision (also * and .*), and hh h l
 * ll z j. Anything else is a bug. */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES_MAX 2048

static const char *const level_names[] = {
    [LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARNING] = "warning", [LOG_ERROR] = "error"};

static _Atomic int least_level = LOG_INFO;

struct log_line {
    char text[LINE_BYTES_MAX];
    size_t bytes; /* never above LINE_BYTES_MAX - 1: the line end always fits */
};

/* One conversion of a format, taken apart. */
struct conversion {
    bool zero_padded;
    int width;      /* 0: none */
    int precision;  /* -1: none */
    char length[3]; /* "", "hh", "h", "l", "ll", "z" or "j" */
    char letter;
};

void log_set_level(enum log_level level)
{
    CHECK((unsigned)level < ARRAY_LENGTH(level_names));
    atomic_store_explicit(&least_level, (int)level, memory_order_relaxed);
}

bool log_level_from_name(const char *name, enum log_level *level)
{
    for (size_t i = 0; i < ARRAY_LENGTH(level_names); i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

bool log_is_enabled(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&least_level, memory_order_relaxed);
}

static void line_append(struct log_line *line, const char *text, size_t bytes)
{
    size_t room = LINE_BYTES_MAX - 1 - line->bytes;
    size_t copied = bytes < room ? bytes : room;
    memcpy(line->text + line->bytes, text, copied);
    line->bytes += copied;
}

static void line_append_text(struct log_line *line, const char *text)
{
    line_append(line, text, strlen(text));
}

static bool needs_quotes(const char *value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)value[i];
        if (c <= ' ' || c >= 0x7f || c == '"' || c == '\\') {
            return true;
        }
    }
    return bytes == 0;
}

static void line_append_value(struct log_line *line, const char *value, size_t bytes)
{
    if (!needs_quotes(value, bytes)) {
        line_append(line, value, bytes);
        return;
    }
    line_append_text(line, "\"");
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)value[i];
        char escaped[8];
        if (c == '"' || c == '\\') {
            snprintf(escaped, sizeof(escaped), "\\%c", c);
        } else if (c == '\n') {
            snprintf(escaped, sizeof(escaped), "\\n");
        } else if (c < ' ' || c >= 0x7f) {
            snprintf(escaped, sizeof(escaped), "\\x%02x", c);
        } else {
            snprintf(escaped, sizeof(escaped), "%c", c);
        }
        line_append_text(line, escaped);
    }
    line_append_text(line, "\"");
}

/* A decimal number in the format, from *at on. */
static int parse_count(const char **at)
{
    int count = 0;
    for (; **at >= '0' && **at <= '9'; ++*at) {
        count = count * 10 + (**at - '0');
        CHECK(count <= LINE_BYTES_MAX);
    }
    return count;
}

/* A va_list may be an array: only inside a struct can its address be handed on everywhere. */
struct arguments {
    va_list list;
};

/* Take one conversion apart; *at stands behind its '%' and is moved behind its letter. */
static struct conversion parse_conversion(const char **at, struct arguments *arguments)
{
    struct conversion conversion = {.precision = -1};
    if (**at == '0') {
        conversion.zero_padded = true;
        ++*at;
    }
    if (**at == '*') {
        conversion.width = va_arg(arguments->list, int);
        ++*at;
    } else {
        conversion.width = parse_count(at);
    }
    if (**at == '.') {
        ++*at;
        if (**at == '*') {
            conversion.precision = va_arg(arguments->list, int);
            ++*at;
        } else {
            conversion.precision = parse_count(at);
        }
    }
    for (size_t i = 0; i < 2 && strchr("hlzj", **at) != NULL && **at != '\0'; i++) {
        conversion.length[i] = *(*at)++;
    }
    conversion.letter = **at;
    CHECK(conversion.letter != '\0');
    ++*at;
    return conversion;
}

static intmax_t take_signed(const char *length, struct arguments *arguments)
{
    if (strcmp(length, "l") == 0) {
        return va_arg(arguments->list, long);
    }
    if (strcmp(length, "ll") == 0) {
        return va_arg(arguments->list, long long);
    }
    if (strcmp(length, "z") == 0) {
        return va_arg(arguments->list, ssize_t);
    }
    if (strcmp(length, "j") == 0) {
        return va_arg(arguments->list, intmax_t);
    }
    return va_arg(arguments->list, int);
}

static uintmax_t take_unsigned(const char *length, struct arguments *arguments)
{
    if (strcmp(length, "l") == 0) {
        return va_arg(arguments->list, unsigned long);
    }
    if (strcmp(length, "ll") == 0) {
        return va_arg(arguments->list, unsigned long long);
    }
    if (strcmp(length, "z") == 0) {
        return va_arg(arguments->list, size_t);
    }
    if (strcmp(length, "j") == 0) {
        return va_arg(arguments->list, uintmax_t);
    }
    return va_arg(arguments->list, unsigned);
}

static void append_string(struct log_line *line, const char *value, int precision)
{
    if (value == NULL) {
        value = "-";
    }
    size_t bytes = precision >= 0 ? strnlen(value, (size_t)precision) : strlen(value);
    line_append_value(line, value, bytes);
}

static void append_conversion(struct log_line *line, const struct conversion *conversion, struct arguments *arguments)
{
    char number[512] = ""; /* The longest double has 309 digits before the point. */
    int width = conversion->width;
    switch (conversion->letter) {
    case '%':
        line_append_text(line, "%");
        return;
    case 's':
        append_string(line, va_arg(arguments->list, const char *), conversion->precision);
        return;
    case 'c': {
        char c = (char)va_arg(arguments->list, int);
        line_append_value(line, &c, 1);
        return;
    }
    case 'd':
    case 'i': {
        intmax_t value = take_signed(conversion->length, arguments);
        if (conversion->zero_padded) {
            snprintf(number, sizeof(number), "%0*jd", width, value);
        } else {
            snprintf(number, sizeof(number), "%*jd", width, value);
        }
        break;
    }
    case 'u': {
        uintmax_t value = take_unsigned(conversion->length, arguments);
        if (conversion->zero_padded) {
            snprintf(number, sizeof(number), "%0*ju", width, value);
        } else {
            snprintf(number, sizeof(number), "%*ju", width, value);
        }
        break;
    }
    case 'x': {
        uintmax_t value = take_unsigned(conversion->length, arguments);
        if (conversion->zero_padded) {
            snprintf(number, sizeof(number), "%0*jx", width, value);
        } else {
            snprintf(number, sizeof(number), "%*jx", width, value);
        }
        break;
    }
    case 'f': {
        int precision = conversion->precision >= 0 ? conversion->precision : 6;
        snprintf(number, sizeof(number), "%*.*f", width, precision, va_arg(arguments->list, double));
        break;
    }
    default:
        UNREACHABLE();
    }
    line_append_text(line, number);
}

static void append_format(struct log_line *line, const char *format, struct arguments *arguments)
{
    const char *at = format;
    while (*at != '\0') {
        size_t literal_bytes = strcspn(at, "%");
        line_append(line, at, literal_bytes);
        at += literal_bytes;
        if (*at == '%') {
            at++;
            struct conversion conversion = parse_conversion(&at, arguments);
            append_conversion(line, &conversion, arguments);
        }
    }
}

/* "2026-02-03T04:05:06.789Z", always UTC. */
static void append_time(struct log_line *line)
{
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    char seconds[32];
    char milliseconds[16];
    strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(milliseconds, sizeof(milliseconds), ".%03uZ", (unsigned)(now.tv_nsec / 1000000) % 1000);
    line_append_text(line, seconds);
    line_append_text(line, milliseconds);
}

static void (*describe_time)(char *text, size_t bytes);

void log_set_time_text(void (*describe)(char *text, size_t bytes))
{
    describe_time = describe;
}

static void append_described_time(struct log_line *line)
{
    char text[64];
    describe_time(text, sizeof(text));
    line_append_text(line, text);
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
    CHECK((unsigned)level < ARRAY_LENGTH(level_names));
    if (!log_is_enabled(level)) {
        return;
    }
    struct log_line line = {.bytes = 0};
    if (describe_time != NULL) {
        append_described_time(&line);
    } else {
        append_time(&line);
    }
    line_append_text(&line, " ");
    line_append_text(&line, level_names[level]);
    line_append_text(&line, " ");
    line_append_text(&line, event);
    if (format[0] != '\0') {
        line_append_text(&line, " ");
    }
    struct arguments arguments;
    va_start(arguments.list, format);
    append_format(&line, format, &arguments);
    va_end(arguments.list);

    line.text[line.bytes] = '\n';
    /* Nobody is left to tell when the log can't be written. */
    ssize_t ignored = write(STDERR_FILENO, line.text, line.bytes + 1);
    (void)ignored;
}
