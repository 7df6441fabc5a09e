/* read_plan.h - which replica to ask next for the units of one chunk, and what to say when none can give them.
 *
 * Each replica is asked in turn, and after a pause once more where a second try can help: a node that is down, slow or
 * busy may be back, a byte flipped on the way is not flipped again. A replica that never had the chunk or has erased
 * it is asked once. Pure. */
#ifndef TRILITH_NODE_READ_PLAN_H
#define TRILITH_NODE_READ_PLAN_H

#include "base/ids.h"
#include "base/status.h"

#define READ_ROUNDS 2u

struct read_plan {
    uint32_t disks[REPLICAS];
    enum status statuses[REPLICAS]; /* how the last try of each ended */
    unsigned count;
    unsigned next;  /* position in the round */
    unsigned round; /* from 0 */
};

/* `count` (0..REPLICAS) disks, the best first. */
void read_plan_init(struct read_plan *plan, const uint32_t *disks, unsigned count);

enum read_plan_verdict {
    READ_PLAN_ASK,       /* ask `*disk` now */
    READ_PLAN_ASK_LATER, /* ask `*disk` after a pause: a new round begins */
    READ_PLAN_HOPELESS,  /* nobody is left: read_plan_status() says why */
};
enum read_plan_verdict read_plan_next(struct read_plan *plan, uint32_t *disk);

/* The disk that was named last could not give the units. */
void read_plan_failed(struct read_plan *plan, enum status status);

/* Why the chunk can't be read, in one word: STATUS_CORRUPT when any copy is damaged; else STATUS_TIMEOUT or
 * STATUS_UNAVAILABLE when one may come back; STATUS_GONE when every copy is erased or was never there. */
enum status read_plan_status(const struct read_plan *plan);

#endif
