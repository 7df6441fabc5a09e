/* run.h - one seed, from boot to the last check, in this process.
 *
 *   boot ──> active (load and faults) ──> settle (faults end, everything comes up, load ends) ──> read all ──> last checks
 *
 * A run that breaks a promise ends the process (sim_violated()), and so does a CHECK in the product: give each run a
 * process of its own. Memory of crashed processes is never freed, for the same reason. */
#ifndef TRILITH_TESTS_SIM_RUN_H
#define TRILITH_TESTS_SIM_RUN_H

#include "tests/sim/totals.h"

#define RUN_ASSIGNMENTS_MAX 96u

/* What to run: the options drawn from `seed`, then changed. */
struct run_plan {
    uint64_t seed;
    const char *assignments[RUN_ASSIGNMENTS_MAX]; /* "name=value" of sim_options_set() */
    uint32_t assignment_count;
    bool left_out[NEMESIS_EVENTS_MAX]; /* events of the nemesis, by number */
    bool trace;                        /* narrate on stderr, with the product's log */
};

/* The options of a plan. False: an assignment makes no sense; `*bad` says which. */
bool run_options(const struct run_plan *plan, struct sim_options *options, const char **bad);

/* Run it. Returns when every promise held, with the numbers added to `totals`; `*trace` is the hash over all steps. */
void run_seed(const struct run_plan *plan, struct totals *totals, uint64_t *trace);

#endif
