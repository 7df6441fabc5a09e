/* test_replicate.c - one replicated write: durable when all say so, over only when all have spoken. */
#include "node/replicate.h"

#include <criterion/criterion.h>

static struct replicate_actions outcome(struct replicate *replicate, unsigned member, enum status status)
{
    struct replicate_actions actions;
    replicate_step(replicate, &(struct replicate_event){.kind = REPLICATE_OUTCOME, .member = member, .status = status},
                   &actions);
    return actions;
}

static struct replicate_actions event(struct replicate *replicate, enum replicate_event_kind kind)
{
    struct replicate_actions actions;
    replicate_step(replicate, &(struct replicate_event){.kind = kind}, &actions);
    return actions;
}

Test(replicate, needs_every_acknowledgement)
{
    for (unsigned members = 2; members <= REPLICAS; members++) {
        struct replicate replicate;
        replicate_init(&replicate, members);
        for (unsigned i = 0; i + 1 < members; i++) {
            cr_assert_not(outcome(&replicate, i, STATUS_OK).finished);
        }
        struct replicate_actions actions = outcome(&replicate, members - 1, STATUS_OK);
        cr_assert(actions.finished);
        cr_assert_eq(actions.outcome, STATUS_OK);
    }
}

Test(replicate, waits_for_the_others_after_a_failure_without_calling_them_off)
{
    struct replicate replicate;
    replicate_init(&replicate, 3);
    struct replicate_actions actions = outcome(&replicate, 1, STATUS_IO);
    cr_assert_not(actions.finished);
    cr_assert(actions.suspect_member);
    cr_assert_eq(actions.cancel, 0);
    cr_assert_not(outcome(&replicate, 0, STATUS_OK).finished);
    actions = outcome(&replicate, 2, STATUS_FULL);
    cr_assert(actions.finished);
    cr_assert_eq(actions.outcome, STATUS_IO, "the first failure is the reason");
}

Test(replicate, calls_the_rest_off_at_the_deadline_and_still_waits)
{
    struct replicate replicate;
    replicate_init(&replicate, 3);
    outcome(&replicate, 2, STATUS_OK);
    struct replicate_actions actions = event(&replicate, REPLICATE_DEADLINE);
    cr_assert_eq(actions.cancel, 3);
    cr_assert_not(actions.finished);
    cr_assert_eq(event(&replicate, REPLICATE_GIVE_UP).cancel, 0, "once");
    cr_assert_not(outcome(&replicate, 0, STATUS_CANCELLED).suspect_member);
    actions = outcome(&replicate, 1, STATUS_OK);
    cr_assert(actions.finished);
    cr_assert_eq(actions.outcome, STATUS_TIMEOUT, "late is too late");
}

Test(replicate, does_not_blame_a_member_that_is_busy_or_called_off)
{
    struct replicate replicate;
    replicate_init(&replicate, 3);
    event(&replicate, REPLICATE_GIVE_UP);
    cr_assert_not(outcome(&replicate, 0, STATUS_BUSY).suspect_member);
    cr_assert_not(outcome(&replicate, 1, STATUS_CANCELLED).suspect_member);
    struct replicate_actions actions = outcome(&replicate, 2, STATUS_OK);
    cr_assert(actions.finished);
    cr_assert_eq(actions.outcome, STATUS_CANCELLED);
}
