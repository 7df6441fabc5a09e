/* replicate.c - the step function of one replicated write. */
#include "node/replicate.h"

void replicate_init(struct replicate *replicate, unsigned members)
{
    CHECK(members >= 2 && members <= REPLICAS);
    *replicate = (struct replicate){.members = members, .pending = (1u << members) - 1, .failure = STATUS_OK};
}

/* A member that is only behind with its map, or ahead of ours, or was called off by us, is not a bad member. */
static bool is_members_fault(enum status status)
{
    return status != STATUS_OK && status != STATUS_CANCELLED && status != STATUS_BUSY && status != STATUS_CONFLICT;
}

static void note_failure(struct replicate *replicate, enum status status)
{
    if (replicate->failure == STATUS_OK) {
        replicate->failure = status;
    }
}

static void call_off(struct replicate *replicate, enum status status, struct replicate_actions *actions)
{
    if (replicate->pending == 0) {
        return;
    }
    note_failure(replicate, status);
    actions->cancel = replicate->pending & ~replicate->cancelled;
    replicate->cancelled |= actions->cancel;
}

void replicate_step(struct replicate *replicate, const struct replicate_event *event, struct replicate_actions *actions)
{
    *actions = (struct replicate_actions){.outcome = STATUS_OK};
    switch (event->kind) {
    case REPLICATE_OUTCOME: {
        unsigned bit = 1u << event->member;
        CHECK(event->member < replicate->members);
        CHECK((replicate->pending & bit) != 0);
        replicate->pending &= ~bit;
        if (event->status == STATUS_OK) {
            replicate->acknowledged |= bit;
        } else {
            actions->suspect_member = is_members_fault(event->status);
            note_failure(replicate, event->status);
        }
        break;
    }
    case REPLICATE_DEADLINE:
        call_off(replicate, STATUS_TIMEOUT, actions);
        break;
    case REPLICATE_GIVE_UP:
        call_off(replicate, STATUS_CANCELLED, actions);
        break;
    }
    actions->finished = replicate->pending == 0;
    actions->outcome = replicate->failure;
    CHECK(!actions->finished || actions->outcome != STATUS_OK ||
          replicate->acknowledged == (1u << replicate->members) - 1);
}
