/* totals.h - what a run did, in numbers: operations, faults that really hit something, what checkers looked at. They add up
 * over seeds, and a kind of fault that was never met in a long run is a hole in the test. */
#ifndef TRILITH_TESTS_SIM_TOTALS_H
#define TRILITH_TESTS_SIM_TOTALS_H

#include "tests/sim/checkers.h"
#include "tests/sim/nemesis.h"

/* Numbers only: totals_add() adds them as an array. */
struct totals {
    uint64_t seeds;
    uint64_t steps;
    uint64_t simulated_ns;
    uint64_t cpu_ns;
    uint64_t operations[SIM_OPERATION_KINDS][SIM_UNKNOWN + 1];
    uint64_t acts[NEMESIS_ACT_COUNT];
    uint64_t disk_faults[SIM_DISK_FAULTS];
    uint64_t net_faults[SIM_NET_FAULTS];
    uint64_t rolled_back;
    uint64_t table_failures;
    uint64_t tables_lost;
    uint64_t buggify_met[BUGGIFY_POINT_COUNT];
    uint64_t buggify_fired[BUGGIFY_POINT_COUNT];
    uint64_t kill_passed[KILL_POINT_COUNT];
    uint64_t kill_hit[KILL_POINT_COUNT];
    uint64_t looks[CHECKERS_MAX];
    uint64_t nodes_left_down; /* at the end, for damage that no start can mend */
};

void totals_add(struct totals *sum, const struct totals *one);
void totals_print(const struct totals *totals, double elapsed_s, FILE *out);

/* Say on `out` every fault, point and checker whose count is zero; how many there are. */
unsigned totals_print_missing(const struct totals *totals, FILE *out);

#endif
