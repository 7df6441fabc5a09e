/* replicate.h - one sealed chunk to the members of its PG: when it is durable, when it has failed, whom to call off.
 *
 * A step function: an outcome or the deadline comes in, what to do goes out. Every member's acknowledgement is needed:
 * three, or two when the caller chose two because fewer than three domains are healthy and the bucket accepts that.
 * The end is only declared when *all* of them have said how it ended: until then the kernel may still read the chunk's
 * slab, so it can't be sealed anew. A failure of one does not call the others off: a call that is broken off takes its
 * connection with it, and every other chunk on that. Only the deadline and the end of the gateway do. Pure. */
#ifndef TRILITH_NODE_REPLICATE_H
#define TRILITH_NODE_REPLICATE_H

#include "base/ids.h"
#include "base/status.h"

struct replicate {
    unsigned members;      /* how many were asked */
    unsigned pending;      /* one bit per member */
    unsigned acknowledged; /* one bit per member */
    unsigned cancelled;    /* one bit per member */
    enum status failure;   /* the first; STATUS_OK: none yet */
};

enum replicate_event_kind { REPLICATE_OUTCOME, REPLICATE_DEADLINE, REPLICATE_GIVE_UP };

struct replicate_event {
    enum replicate_event_kind kind;
    unsigned member;    /* of REPLICATE_OUTCOME */
    enum status status; /* of REPLICATE_OUTCOME */
};

struct replicate_actions {
    unsigned cancel;     /* one bit per member: call these off; their outcome still comes */
    bool suspect_member; /* the member of this event failed by its own fault */
    bool finished;       /* all outcomes are in: `outcome` is final */
    enum status outcome; /* STATUS_OK: durable on all members */
};

/* Begin with `members` (2 or 3) sends in flight. */
void replicate_init(struct replicate *replicate, unsigned members);
void replicate_step(struct replicate *replicate, const struct replicate_event *event,
                    struct replicate_actions *actions);

#endif
