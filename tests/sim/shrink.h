/* shrink.h - makes a failing run smaller: takes faults away while the same promise is still broken.
 *
 * First whole kinds (chances per I/O, buggify points, lossy disks), then the events of the nemesis, in halves, quarters and
 * so on down to single ones (delta debugging: Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input",
 * 2002), then time, clients and load. What remains is a plan that still fails, and a person can read. */
#ifndef TRILITH_TESTS_SIM_SHRINK_H
#define TRILITH_TESTS_SIM_SHRINK_H

#include "tests/sim/pool.h"

/* Shrink `plan`, which fails with `reason`, in at most `runs_max` runs; progress goes to `out`. */
void shrink(struct pool *pool, struct run_plan *plan, const char *reason, unsigned runs_max, FILE *out);

/* The command line that repeats a plan. */
void plan_print(const struct run_plan *plan, FILE *out);

#endif
