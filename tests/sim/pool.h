/* pool.h - runs seeds in processes of their own, some at a time.
 *
 * A run may abort, leak, hang or exit: its process pays for it, and what it said on stderr is kept for the report. */
#ifndef TRILITH_TESTS_SIM_POOL_H
#define TRILITH_TESTS_SIM_POOL_H

#include "tests/sim/run.h"

#include <sys/types.h>

#define POOL_SLOTS_MAX    64u
#define POOL_OUTPUT_BYTES KIB(64)
#define POOL_REASON_BYTES 80
#define POOL_CPU_SECONDS  240u /* of one run: more means that it goes round in circles */

/* How a run ended. */
struct pool_result {
    uint64_t seed;
    bool passed;
    char reason[POOL_REASON_BYTES]; /* not passed: the promise ("I2"), the place of a CHECK, "signal 11", "exit 1" */
    uint64_t trace;
    struct totals totals;           /* passed: its numbers */
    char output[POOL_OUTPUT_BYTES]; /* the end of what it printed; empty when it goes to stderr */
};

struct pool;

/* `slots` runs at a time, 1..POOL_SLOTS_MAX. Never NULL. */
struct pool *pool_open(unsigned slots);
/* No run may be in progress. */
void pool_close(struct pool *pool);

bool pool_has_room(const struct pool *pool);
bool pool_is_idle(const struct pool *pool);
/* Start a run; there must be room. With `show` its output goes to stderr as it comes. With `elsewhere` its heap lies at
 * other addresses and is filled with something else: what it does must not depend on that. The plan may change afterwards. */
void pool_start(struct pool *pool, const struct run_plan *plan, bool show, bool elsewhere);
/* Wait for one run to end; one must be in progress. The result stands until the next call. */
const struct pool_result *pool_wait(struct pool *pool);

/* Start and wait: the pool must be idle. */
const struct pool_result *pool_run(struct pool *pool, const struct run_plan *plan, bool show);

#endif
