/* test_config.c - options from a file: what is taken, and the exact words in which the rest is refused. */
#include "base/config.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const flush_words[] = {"auto", "write", "flush", NULL};

struct options {
    char name[8];
    char listen[32];
    uint64_t reactors;
    uint64_t capacity;
    uint64_t orphan_after;
    bool verbose;
    unsigned flush;
    char directories[3][16];
    size_t directory_count;
    char path[PATH_MAX];
};

#define AT(field) offsetof(struct options, field)

static const struct config_option table[] = {
    {.section = "node", .name = "name", .kind = CONFIG_TEXT, .offset = AT(name), .capacity = 8, .help = "Its name."},
    {.section = "node",
     .name = "listen",
     .kind = CONFIG_TEXT,
     .offset = AT(listen),
     .capacity = 32,
     .default_value = "127.0.0.1:7500",
     .help = "Where to listen."},
    {.section = "node",
     .name = "reactors",
     .kind = CONFIG_NUMBER,
     .offset = AT(reactors),
     .default_value = "1",
     .minimum = 1,
     .maximum = 64,
     .help = "Threads."},
    {.section = "node",
     .name = "orphan_after",
     .kind = CONFIG_DURATION,
     .offset = AT(orphan_after),
     .default_value = "1 h",
     .minimum = 1000,
     .help = "Age in which a chunk may be an orphan."},
    {.section = "node",
     .name = "verbose",
     .kind = CONFIG_FLAG,
     .offset = AT(verbose),
     .default_value = "no",
     .help = "Talk."},
    {.section = "node",
     .name = "path",
     .kind = CONFIG_TEXT,
     .offset = AT(path),
     .capacity = PATH_MAX,
     .default_value = "",
     .help = "Some path."},
    {.section = "disk",
     .name = "directory",
     .kind = CONFIG_TEXT,
     .offset = AT(directories),
     .capacity = 16,
     .default_value = "",
     .help = "A disk.",
     .list_max = 3,
     .list_count_offset = AT(directory_count)},
    {.section = "disk",
     .name = "capacity",
     .kind = CONFIG_SIZE,
     .offset = AT(capacity),
     .default_value = "8 GiB",
     .minimum = 1 << 20,
     .maximum = UINT64_C(1) << 44,
     .help = "Bytes to use."},
    {.section = "disk",
     .name = "flush",
     .kind = CONFIG_WORD,
     .offset = AT(flush),
     .default_value = "auto",
     .words = flush_words,
     .help = "How to flush."},
};

static struct options options;
static char message[256];

static enum status parse(const char *text)
{
    memset(&options, 0xee, sizeof(options));
    message[0] = '\0';
    return config_parse("n.conf", text, strlen(text), table, ARRAY_LENGTH(table), &options, message, sizeof(message));
}

static void expect_refused(const char *text, const char *expected)
{
    cr_assert_eq(parse(text), STATUS_INVALID, "%s", text);
    cr_assert_str_eq(message, expected);
}

/* ---- what is taken ----------------------------------------------------------------------------- */

Test(config, defaults_hold_where_the_file_says_nothing)
{
    cr_assert_eq(parse("[node]\nname = n1\n"), STATUS_OK, "%s", message);
    cr_assert_str_eq(options.name, "n1");
    cr_assert_str_eq(options.listen, "127.0.0.1:7500");
    cr_assert_eq(options.reactors, 1);
    cr_assert_eq(options.capacity, UINT64_C(8) << 30);
    cr_assert_eq(options.orphan_after, 3600 * 1000);
    cr_assert_not(options.verbose);
    cr_assert_eq(options.flush, 0);
    cr_assert_eq(options.directory_count, 0);
    cr_assert_str_eq(options.path, "");
}

Test(config, every_kind_is_read)
{
    cr_assert_eq(parse("# A comment.\r\n"
                       "[node]\r\n"
                       "  name=n2   \r\n"
                       "listen : [::1]:80 ; the loopback\n"
                       "reactors = 64\n"
                       "orphan_after = 90 s\n"
                       "verbose = yes\n"
                       "\n"
                       "[disk]\n"
                       "directory = a\n"
                       "\tdirectory = b\n"
                       "capacity = 512MiB\n"
                       "[disk]\n"
                       "flush = flush\n"
                       "directory = c"),
                 STATUS_OK, "%s", message);
    cr_assert_str_eq(options.name, "n2");
    cr_assert_str_eq(options.listen, "[::1]:80");
    cr_assert_eq(options.reactors, 64);
    cr_assert_eq(options.orphan_after, 90000);
    cr_assert(options.verbose);
    cr_assert_eq(options.flush, 2);
    cr_assert_eq(options.capacity, UINT64_C(512) << 20);
    cr_assert_eq(options.directory_count, 3);
    cr_assert_str_eq(options.directories[0], "a");
    cr_assert_str_eq(options.directories[1], "b");
    cr_assert_str_eq(options.directories[2], "c");
}

Test(config, a_text_may_fill_its_field)
{
    cr_assert_eq(parse("[node]\nname = 1234567\n"), STATUS_OK);
    cr_assert_str_eq(options.name, "1234567");
}

Test(config, a_path_of_any_length_that_paths_have_is_read)
{
    static char text[PATH_MAX + 64];
    char path[PATH_MAX];
    memset(path, 'p', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    snprintf(text, sizeof(text), "[node]\nname = n\npath = %s\n", path);
    cr_assert_eq(parse(text), STATUS_OK, "%s", message);
    cr_assert_str_eq(options.path, path);
}

Test(config, a_list_default_is_replaced_by_the_file)
{
    struct config_option list = table[6];
    list.default_value = "d0";
    struct options filled;
    cr_assert_eq(config_parse("l", "", 0, &list, 1, &filled, message, sizeof(message)), STATUS_OK);
    cr_assert_eq(filled.directory_count, 1);
    cr_assert_str_eq(filled.directories[0], "d0");
    const char *text = "[disk]\ndirectory=d1\ndirectory=d2";
    cr_assert_eq(config_parse("l", text, strlen(text), &list, 1, &filled, message, sizeof(message)), STATUS_OK);
    cr_assert_eq(filled.directory_count, 2);
    cr_assert_str_eq(filled.directories[0], "d1");
}

/* ---- what is refused --------------------------------------------------------------------------- */

Test(config, unknown_names_are_refused)
{
    expect_refused("[node]\nnmae = x\n", "n.conf:2: unknown option 'nmae' in [node]");
    expect_refused("\n[nodes]\n", "n.conf:2: unknown section [nodes]");
    expect_refused("[]\n", "n.conf:1: unknown section []");
    expect_refused("name = x\n", "n.conf:1: 'name' stands outside of any section");
    expect_refused("[disk]\nname = x\n", "n.conf:2: unknown option 'name' in [disk]");
}

Test(config, a_long_section_name_is_not_cut_to_a_known_one)
{
    char text[200] = "[";
    memset(text + 1, 's', 100);
    strcat(text, "]\n");
    cr_assert_eq(parse(text), STATUS_INVALID);
    cr_assert_eq(strncmp(message, "n.conf:1: unknown section [sss", 30), 0);
}

Test(config, a_repeated_option_is_refused)
{
    expect_refused("[node]\nname = a\n\nname = b\n", "n.conf:4: [node] name is given again (first on line 2)");
    expect_refused("[disk]\ndirectory=a\ndirectory=b\ndirectory=c\ndirectory=d\n",
                   "n.conf:5: [disk] directory is given more than 3 times");
}

Test(config, a_missing_option_is_named)
{
    expect_refused("[disk]\n", "n.conf: [node] name must be given: Its name.");
}

Test(config, bad_values_say_what_would_be_right)
{
    expect_refused("[node]\nreactors = 2x\n", "n.conf:2: [node] reactors: '2x' is not a whole number");
    expect_refused("[node]\nreactors = -1\n", "n.conf:2: [node] reactors: '-1' is not a whole number");
    expect_refused("[node]\nreactors =\n", "n.conf:2: [node] reactors: '' is not a whole number");
    expect_refused("[node]\nreactors = 0\n", "n.conf:2: [node] reactors: '0' is out of range (1 to 64)");
    expect_refused("[node]\nreactors = 65\n", "n.conf:2: [node] reactors: '65' is out of range (1 to 64)");
    expect_refused("[node]\norphan_after = 5 days\n", "n.conf:2: [node] orphan_after: '5 days' is not a time "
                                                      "(milliseconds, or a number with ms, s, min or h)");
    expect_refused("[node]\norphan_after = 5 ms\n",
                   "n.conf:2: [node] orphan_after: '5 ms' is out of range (at least 1 s)");
    expect_refused("[node]\nverbose = true\n", "n.conf:2: [node] verbose: 'true' is not yes or no");
    expect_refused("[disk]\ncapacity = 1 GB\n", "n.conf:2: [disk] capacity: '1 GB' is not a size (bytes, or a number "
                                                "with KiB, MiB, GiB or TiB)");
    expect_refused("[disk]\ncapacity = 17 TiB\n",
                   "n.conf:2: [disk] capacity: '17 TiB' is out of range (1 MiB to 16 TiB)");
    expect_refused("[disk]\nflush = never\n", "n.conf:2: [disk] flush: 'never' is not one of auto, write, flush");
}

Test(config, bad_texts_are_refused_without_repeating_them)
{
    expect_refused("[node]\nname = 12345678\n", "n.conf:2: [node] name: is longer than 7 bytes");
    expect_refused("[node]\nname =\n", "n.conf:2: [node] name: is empty");
}

Test(config, lines_that_make_no_sense_are_refused_without_repeating_them)
{
    expect_refused("[node]\nname\n", "n.conf:2: this is neither [section] nor name = value");
    expect_refused("[node\n", "n.conf:1: this is neither [section] nor name = value");
    expect_refused("[node]\nname = n\x01\n", "n.conf:2: control character in the line");
    cr_assert_eq(config_parse("n.conf", "[node]\nname = \0x\n", 17, table, ARRAY_LENGTH(table), &options, message,
                              sizeof(message)),
                 STATUS_INVALID);
    cr_assert_str_eq(message, "n.conf:2: control character in the line");
}

Test(config, an_overlong_line_is_refused_not_cut)
{
    size_t bytes = 10000;
    char *text = malloc(bytes + 1);
    memset(text, 'x', bytes);
    text[bytes] = '\0';
    memcpy(text, "[node]\nlisten = ", 16);
    cr_assert_eq(parse(text), STATUS_INVALID);
    cr_assert_str_eq(message, "n.conf:2: the line is longer than 4349 bytes");
    free(text);
}

Test(config, an_indented_line_does_not_continue_the_one_before)
{
    expect_refused("[node]\nname = n\n  more\n", "n.conf:3: this is neither [section] nor name = value");
}

Test(config, the_first_error_is_the_one_reported)
{
    expect_refused("[node]\nbroken\nreactors = 0\nname\n", "n.conf:2: this is neither [section] nor name = value");
    expect_refused("[node]\nreactors = 0\nbroken\n", "n.conf:2: [node] reactors: '0' is out of range (1 to 64)");
}

Test(config, a_small_message_buffer_is_respected)
{
    char small[12];
    memset(small, 'z', sizeof(small));
    cr_assert_eq(config_parse("n.conf", "x", 1, table, ARRAY_LENGTH(table), &options, small, 10), STATUS_INVALID);
    cr_assert_str_eq(small, "n.conf:1:");
    cr_assert_eq(small[10], 'z');
}

/* ---- files ------------------------------------------------------------------------------------- */

Test(config, a_file_is_read)
{
    char path[] = "/tmp/trilith-test-config-XXXXXX";
    int descriptor = mkstemp(path);
    cr_assert_geq(descriptor, 0);
    static const char text[] = "[node]\nname = file\n";
    cr_assert_eq(write(descriptor, text, sizeof(text) - 1), (ssize_t)sizeof(text) - 1);
    close(descriptor);
    cr_assert_eq(config_read(path, table, ARRAY_LENGTH(table), &options, message, sizeof(message)), STATUS_OK);
    cr_assert_str_eq(options.name, "file");
    unlink(path);
    cr_assert_eq(config_read(path, table, ARRAY_LENGTH(table), &options, message, sizeof(message)), STATUS_NOT_FOUND);
    char expected[128];
    snprintf(expected, sizeof(expected), "%s: No such file or directory", path);
    cr_assert_str_eq(message, expected);
}

Test(config, a_directory_and_a_huge_file_are_refused)
{
    cr_assert_eq(config_read("/tmp", table, ARRAY_LENGTH(table), &options, message, sizeof(message)), STATUS_DENIED);
    cr_assert_str_eq(message, "/tmp: not a regular file");
    char path[] = "/tmp/trilith-test-config-XXXXXX";
    int descriptor = mkstemp(path);
    cr_assert_eq(ftruncate(descriptor, (1 << 20) + 1), 0);
    close(descriptor);
    cr_assert_eq(config_read(path, table, ARRAY_LENGTH(table), &options, message, sizeof(message)), STATUS_INVALID);
    unlink(path);
}

/* ---- amounts and the example ------------------------------------------------------------------- */

Test(config, sizes_and_times_have_exact_limits)
{
    uint64_t value = 0;
    cr_assert(config_parse_size("0", &value) && value == 0);
    cr_assert(config_parse_size("4096", &value) && value == 4096);
    cr_assert(config_parse_size("64 MiB", &value) && value == 64u << 20);
    cr_assert(config_parse_size("1TiB", &value) && value == UINT64_C(1) << 40);
    cr_assert(config_parse_size("8388608 TiB", &value) && value == UINT64_C(1) << 63);
    cr_assert(config_parse_size("9223372036854775808", &value) && value == UINT64_C(1) << 63);
    cr_assert(config_parse_duration("250 ms", &value) && value == 250);
    cr_assert(config_parse_duration("2min", &value) && value == 120000);
    cr_assert(config_parse_duration("1 h", &value) && value == 3600000);
    value = 77;
    static const char *const bad[] = {"",
                                      " ",
                                      "-1",
                                      "+1",
                                      "1.5 MiB",
                                      "MiB",
                                      "1 mib",
                                      "1 MiB MiB",
                                      "0x10",
                                      "1 KB",
                                      "8388609 TiB",
                                      "9223372036854775809",
                                      "99999999999999999999999999999"};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        cr_assert_not(config_parse_size(bad[i], &value), "%s", bad[i]);
        cr_assert_not(config_parse_duration(bad[i], &value), "%s", bad[i]);
    }
    cr_assert_eq(value, 77);
}

Test(config, the_example_names_every_option_and_is_nearly_a_valid_file)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    config_print_example(out, "An example.", table, ARRAY_LENGTH(table));
    fclose(out);
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        cr_assert_not_null(strstr(text, table[i].help));
    }
    cr_assert_not_null(strstr(text, "# Threads. (1 to 64)\n#reactors = 1\n"));
    cr_assert_not_null(strstr(text, "\n[disk]\n"));
    cr_assert_not_null(strstr(text, "#flush = auto\n"));

    /* All it lacks is the one option that must be given. */
    cr_assert_eq(parse(text), STATUS_INVALID);
    char *required = strstr(text, "name =\n");
    cr_assert_not_null(required);
    memcpy(required, "name=n\n", 7);
    cr_assert_eq(parse(text), STATUS_OK, "%s", message);
    cr_assert_str_eq(options.name, "n");

    /* And with every default written out it still is one. */
    for (char *at = text; (at = strstr(at, "\n#")) != NULL; at++) {
        if (at[2] != ' ' && at[2] != '\n') {
            at[1] = ' ';
        }
    }
    char *empty_list = strstr(text, "directory = \n");
    cr_assert_not_null(empty_list);
    memcpy(empty_list, "directory =d\n", 13);
    cr_assert_eq(parse(text), STATUS_OK, "%s", message);
    cr_assert_eq(options.reactors, 1);
    free(text);
}
