/* test_read_plan.c - every replica gets its chance, twice where that helps, and the end says why. */
#include "node/read_plan.h"

#include <criterion/criterion.h>

static struct read_plan plan;
static const uint32_t disks[REPLICAS] = {11, 22, 33};

static enum read_plan_verdict next(uint32_t *disk)
{
    *disk = 0;
    return read_plan_next(&plan, disk);
}

Test(read_plan, asks_all_then_all_again_after_one_pause)
{
    uint32_t disk = 0;
    read_plan_init(&plan, disks, 3);
    for (unsigned round = 0; round < READ_ROUNDS; round++) {
        for (unsigned i = 0; i < 3; i++) {
            enum read_plan_verdict expected = round > 0 && i == 0 ? READ_PLAN_ASK_LATER : READ_PLAN_ASK;
            cr_assert_eq(next(&disk), expected);
            cr_assert_eq(disk, disks[i]);
            read_plan_failed(&plan, STATUS_TIMEOUT);
        }
    }
    cr_assert_eq(next(&disk), READ_PLAN_HOPELESS);
    cr_assert_eq(read_plan_status(&plan), STATUS_TIMEOUT);
}

Test(read_plan, does_not_ask_again_who_never_had_it)
{
    uint32_t disk = 0;
    static const enum status statuses[] = {STATUS_GONE, STATUS_CORRUPT, STATUS_NOT_FOUND};
    read_plan_init(&plan, disks, 3);
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(next(&disk), READ_PLAN_ASK);
        read_plan_failed(&plan, statuses[i]);
    }
    cr_assert_eq(next(&disk), READ_PLAN_ASK_LATER);
    cr_assert_eq(disk, 22);
    read_plan_failed(&plan, STATUS_CORRUPT);
    cr_assert_eq(next(&disk), READ_PLAN_HOPELESS);
    cr_assert_eq(read_plan_status(&plan), STATUS_CORRUPT);
}

static enum status status_of(enum status a, enum status b, enum status c)
{
    uint32_t disk = 0;
    const enum status statuses[] = {a, b, c};
    read_plan_init(&plan, disks, 3);
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(next(&disk), READ_PLAN_ASK);
        read_plan_failed(&plan, statuses[i]);
    }
    return read_plan_status(&plan);
}

Test(read_plan, says_the_worst_that_is_known)
{
    cr_assert_eq(status_of(STATUS_GONE, STATUS_TIMEOUT, STATUS_CORRUPT), STATUS_CORRUPT);
    cr_assert_eq(status_of(STATUS_GONE, STATUS_TIMEOUT, STATUS_UNAVAILABLE), STATUS_TIMEOUT);
    cr_assert_eq(status_of(STATUS_GONE, STATUS_NOT_FOUND, STATUS_IO), STATUS_UNAVAILABLE);
    cr_assert_eq(status_of(STATUS_GONE, STATUS_NOT_FOUND, STATUS_GONE), STATUS_GONE);
}

Test(read_plan, of_an_unknown_pg_is_hopeless_at_once)
{
    uint32_t disk = 0;
    read_plan_init(&plan, NULL, 0);
    cr_assert_eq(next(&disk), READ_PLAN_HOPELESS);
    cr_assert_eq(read_plan_status(&plan), STATUS_UNAVAILABLE);
}
