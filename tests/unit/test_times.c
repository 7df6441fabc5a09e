/* test_times.c - times as people type them: right ones exactly, anything else not at all. */
#include "cluster/times.h"

#include <criterion/criterion.h>

Test(times, days_and_times_are_read)
{
    uint64_t ms = 1;
    cr_assert(time_read("1970-01-01", &ms));
    cr_assert_eq(ms, 0);
    cr_assert(time_read("2026-01-31", &ms));
    cr_assert_eq(ms, UINT64_C(1769817600000));
    cr_assert(time_read("2026-01-31T08:00:01Z", &ms));
    cr_assert_eq(ms, UINT64_C(1769846401000));
    cr_assert(time_read("2024-02-29T23:59:59.999Z", &ms));
    cr_assert_eq(ms, UINT64_C(1709251199999));
}

Test(times, everything_else_is_refused)
{
    static const char *const wrong[] = {"",
                                        "2026",
                                        "2026-1-31",
                                        "2026-02-29",
                                        "2026-13-01",
                                        "2026-00-01",
                                        "2026-01-32",
                                        "2026-01-31 ",
                                        "1969-12-31",
                                        "2026-01-31T08:00:00",
                                        "x",
                                        "2026-01-31T",
                                        "2026-01-31T24:00:00Z",
                                        "2026-01-31T08:60:00Z",
                                        "2026-01-31T08:00:00.1Z",
                                        "2026-01-31T08:00:00+01:00",
                                        "yesterday"};
    uint64_t ms = 7;
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        cr_assert_not(time_read(wrong[i], &ms), "%s", wrong[i]);
    }
    cr_assert_eq(ms, 7);
}
