/* test_status.c - every status has its own name, and foreign numbers never become success. */
#include "base/check.h"
#include "base/status.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <string.h>

Test(status, names_are_set_and_distinct)
{
    for (int a = 0; a < STATUS_COUNT; a++) {
        const char *name = status_name((enum status)a);
        cr_assert_not_null(name);
        cr_assert_str_neq(name, "unknown");
        for (int b = 0; b < a; b++) {
            cr_assert_str_neq(name, status_name((enum status)b));
        }
    }
}

Test(status, outside_of_the_enum_is_unknown)
{
    cr_assert_str_eq(status_name(STATUS_COUNT), "unknown");
}

Test(status, numbers_from_the_wire_are_kept_or_become_io)
{
    for (uint32_t number = 0; number < STATUS_COUNT; number++) {
        cr_assert_eq(status_from_wire(number), (enum status)number);
    }
    cr_assert_eq(status_from_wire(STATUS_COUNT), STATUS_IO);
    cr_assert_eq(status_from_wire(UINT32_MAX), STATUS_IO);
}

Test(status, numbers_do_not_change)
{
    cr_assert_eq(STATUS_CORRUPT, 2);
    cr_assert_eq(STATUS_FULL, 8);
    cr_assert_eq(STATUS_CLOSED, 18);
    cr_assert_eq(STATUS_KEY_AWAY, 20);
    cr_assert_eq(STATUS_HELD, 21);
    cr_assert_eq(STATUS_COUNT, 22);
}

Test(status, no_errno_becomes_success)
{
    for (int error = 1; error < 200; error++) {
        cr_assert_neq(status_from_errno(error), STATUS_OK);
    }
    cr_assert_eq(status_from_errno(ENOENT), STATUS_NOT_FOUND);
    cr_assert_eq(status_from_errno(ENOSPC), STATUS_FULL);
    cr_assert_eq(status_from_errno(EIO), STATUS_IO);
    cr_assert_eq(status_from_errno(EACCES), STATUS_DENIED);
    cr_assert_eq(status_from_errno(ETIMEDOUT), STATUS_TIMEOUT);
    cr_assert_eq(status_from_errno(ECONNREFUSED), STATUS_UNAVAILABLE);
    cr_assert_eq(status_from_errno(ECONNRESET), STATUS_CLOSED);
    cr_assert_eq(status_from_errno(ECANCELED), STATUS_CANCELLED);
}

Test(check, a_failed_check_aborts_in_every_build, .signal = SIGABRT)
{
    CHECK(1 + 1 == 3);
}

Test(check, a_passed_check_evaluates_once)
{
    int count = 0;
    CHECK(++count == 1);
    cr_assert_eq(count, 1);
}
