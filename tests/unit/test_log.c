/* test_log.c - one event is one line, whatever the values hold. */
#include "base/log.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

static int read_end;

/* From here on stderr is a pipe. */
static void setup(void)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    read_end = ends[0];
    cr_assert_geq(dup2(ends[1], STDERR_FILENO), 0);
    close(ends[1]);
    log_set_level(LOG_INFO);
}

TestSuite(log, .init = setup);

/* What was written so far, without the time in front ("2026-02-03T04:05:06.789Z "). */
static const char *logged(void)
{
    static char text[8192];
    close(STDERR_FILENO);
    ssize_t bytes = 0;
    for (ssize_t got; (got = read(read_end, text + bytes, sizeof(text) - 1 - (size_t)bytes)) > 0; bytes += got) {
    }
    text[bytes] = '\0';
    if (bytes == 0) {
        return text;
    }
    cr_assert_gt(bytes, 25);
    cr_assert(text[4] == '-' && text[10] == 'T' && text[19] == '.' && text[23] == 'Z' && text[24] == ' ');
    return text + 25;
}

Test(log, an_event_is_one_line)
{
    log_event(LOG_WARNING, "disk_fenced", "disk=%s reason=%s count=%d", "d1", "io", -3);
    cr_assert_str_eq(logged(), "warning disk_fenced disk=d1 reason=io count=-3\n");
}

Test(log, an_event_may_have_no_values)
{
    log_event(LOG_ERROR, "stopping", "%s", "");
    cr_assert_str_eq(logged(), "error stopping \"\"\n");
}

Test(log, every_supported_conversion_prints_as_printf_would)
{
    log_event(LOG_INFO, "n", "%d %u %x %08x %ld %lu %lld %llu %zu %5d %c %.2f %%", -1, 2u, 0xabu, 0xcdu, -3L, 4UL, -5LL,
              18446744073709551615ULL, (size_t)6, 7, 'c', 1.5);
    cr_assert_str_eq(logged(), "info n -1 2 ab 000000cd -3 4 -5 18446744073709551615 6     7 c 1.50 %\n");
}

Test(log, precision_limits_a_string)
{
    log_event(LOG_INFO, "p", "a=%.*s b=%.2s", 3, "abcdef", "xyz");
    cr_assert_str_eq(logged(), "info p a=abc b=xy\n");
}

Test(log, values_can_not_pass_for_other_fields_or_lines)
{
    log_event(LOG_INFO, "request", "name=%s end=%s", "a b=c\n2026 error \"x\\", "\x1b[0m\x7f\xc3\xa9");
    cr_assert_str_eq(logged(), "info request name=\"a b=c\\n2026 error \\\"x\\\\\" end=\"\\x1b[0m\\x7f\\xc3\\xa9\"\n");
}

Test(log, a_missing_string_is_a_dash)
{
    const char *volatile missing = NULL;
    log_event(LOG_INFO, "peer", "name=%s", missing);
    cr_assert_str_eq(logged(), "info peer name=-\n");
}

Test(log, a_long_line_is_cut_at_two_kibibytes_and_still_ends)
{
    static char value[5000];
    memset(value, 'v', sizeof(value) - 1);
    log_event(LOG_INFO, "long", "value=%s", value);
    const char *line = logged();
    size_t bytes = strlen(line) + 25;
    cr_assert_eq(bytes, 2048);
    cr_assert_eq(line[strlen(line) - 1], '\n');
}

Test(log, events_below_the_level_are_not_printed)
{
    log_event(LOG_DEBUG, "quiet", "n=%d", 1);
    log_set_level(LOG_ERROR);
    log_event(LOG_WARNING, "quiet", "n=%d", 2);
    cr_assert_not(log_is_enabled(LOG_WARNING));
    cr_assert(log_is_enabled(LOG_ERROR));
    cr_assert_str_eq(logged(), "");
}

Test(log, levels_have_names)
{
    enum log_level level = LOG_INFO;
    cr_assert(log_level_from_name("debug", &level));
    cr_assert_eq(level, LOG_DEBUG);
    cr_assert(log_level_from_name("error", &level));
    cr_assert_eq(level, LOG_ERROR);
    cr_assert_not(log_level_from_name("loud", &level));
    cr_assert_eq(level, LOG_ERROR);
}
