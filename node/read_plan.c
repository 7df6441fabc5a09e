/* read_plan.c - the order of tries of one read. */
#include "node/read_plan.h"

void read_plan_init(struct read_plan *plan, const uint32_t *disks, unsigned count)
{
    CHECK(count <= REPLICAS);
    *plan = (struct read_plan){.count = count};
    for (unsigned i = 0; i < count; i++) {
        plan->disks[i] = disks[i];
    }
}

static bool is_worth_another_try(enum status status)
{
    return status != STATUS_GONE && status != STATUS_NOT_FOUND;
}

enum read_plan_verdict read_plan_next(struct read_plan *plan, uint32_t *disk)
{
    bool new_round = false;
    while (plan->round < READ_ROUNDS) {
        while (plan->next < plan->count) {
            unsigned position = plan->next++;
            if (plan->round == 0 || is_worth_another_try(plan->statuses[position])) {
                *disk = plan->disks[position];
                return new_round ? READ_PLAN_ASK_LATER : READ_PLAN_ASK;
            }
        }
        plan->round++;
        plan->next = 0;
        new_round = true;
    }
    return READ_PLAN_HOPELESS;
}

void read_plan_failed(struct read_plan *plan, enum status status)
{
    CHECK(status != STATUS_OK);
    CHECK(plan->next > 0 && plan->next <= plan->count);
    plan->statuses[plan->next - 1] = status;
}

enum status read_plan_status(const struct read_plan *plan)
{
    bool timed_out = false;
    bool away = plan->count == 0;
    for (unsigned i = 0; i < plan->count; i++) {
        switch (plan->statuses[i]) {
        case STATUS_CORRUPT:
            return STATUS_CORRUPT;
        case STATUS_TIMEOUT:
            timed_out = true;
            break;
        case STATUS_GONE:
        case STATUS_NOT_FOUND:
            break;
        default:
            away = true;
            break;
        }
    }
    if (timed_out) {
        return STATUS_TIMEOUT;
    }
    return away ? STATUS_UNAVAILABLE : STATUS_GONE;
}
