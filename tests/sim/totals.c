/* totals.c - adds and prints. */
#include "tests/sim/totals.h"

#include <inttypes.h>

_Static_assert(sizeof(struct totals) % sizeof(uint64_t) == 0, "totals are numbers of one size");

void totals_add(struct totals *sum, const struct totals *one)
{
    uint64_t *to = (uint64_t *)(void *)sum;
    const uint64_t *from = (const uint64_t *)(const void *)one;
    for (size_t i = 0; i < sizeof(*sum) / sizeof(*to); i++) {
        to[i] += from[i];
    }
}

/* ---- tables ----------------------------------------------------------------------------------------- */

/* One line of a table: calls `row` for each; both printing and the search for zeros walk them all. */
typedef void row_function(void *user, const char *table, const char *name, uint64_t count);

static void each_operation(const struct totals *totals, row_function *row, void *user)
{
    static const char *const kinds[] = {"put", "get", "get range", "head", "delete", "list"};
    static const char *const outcomes[] = {"done", "absent", "refused", "unknown"};
    _Static_assert(ARRAY_LENGTH(kinds) == SIM_OPERATION_KINDS, "a name for each kind");
    for (unsigned kind = 0; kind < SIM_OPERATION_KINDS; kind++) {
        for (unsigned outcome = 0; outcome <= SIM_UNKNOWN; outcome++) {
            char name[48];
            snprintf(name, sizeof(name), "%s %s", kinds[kind], outcomes[outcome]);
            row(user, "operations", name, totals->operations[kind][outcome]);
        }
    }
}

static void each_fault(const struct totals *totals, row_function *row, void *user)
{
    for (unsigned act = 0; act < NEMESIS_ACT_COUNT; act++) {
        row(user, "events", nemesis_act_name((enum nemesis_act)act), totals->acts[act]);
    }
    for (unsigned fault = 0; fault < SIM_DISK_FAULTS; fault++) {
        row(user, "disk faults", sim_disk_fault_name((enum sim_disk_fault)fault), totals->disk_faults[fault]);
    }
    for (unsigned fault = 0; fault < SIM_NET_FAULTS; fault++) {
        row(user, "network faults", sim_net_fault_name((enum sim_net_fault)fault), totals->net_faults[fault]);
    }
    row(user, "table faults", "batches taken back by a crash", totals->rolled_back);
    row(user, "table faults", "calls that failed", totals->table_failures);
    row(user, "table faults", "tables lost", totals->tables_lost);
}

static void each_point(const struct totals *totals, row_function *row, void *user)
{
    for (unsigned point = 0; point < BUGGIFY_POINT_COUNT; point++) {
        row(user, "buggify points fired", buggify_point_name((enum buggify_point)point), totals->buggify_fired[point]);
    }
    for (unsigned point = 0; point < KILL_POINT_COUNT; point++) {
        row(user, "kill points hit", kill_point_name((enum kill_point)point), totals->kill_hit[point]);
    }
}

static void each_checker(const struct totals *totals, row_function *row, void *user)
{
    for (size_t i = 0; i < checkers_count(); i++) {
        row(user, "checkers that had something to judge", checkers_at(i)->name, totals->looks[i]);
    }
}

struct printing {
    FILE *out;
    const char *table;
    unsigned column;
};

static void print_row(void *user, const char *table, const char *name, uint64_t count)
{
    struct printing *printing = user;
    if (printing->table == NULL || strcmp(printing->table, table) != 0) {
        fprintf(printing->out, "%s%s\n", printing->column > 0 ? "\n" : "", table);
        printing->table = table;
        printing->column = 0;
    }
    printing->column = (printing->column + 1) % 3;
    fprintf(printing->out, "  %-26.26s %11" PRIu64 "%s", name, count, printing->column == 0 ? "\n" : "");
}

void totals_print(const struct totals *totals, double elapsed_s, FILE *out)
{
    struct printing printing = {.out = out};
    each_operation(totals, print_row, &printing);
    each_fault(totals, print_row, &printing);
    each_point(totals, print_row, &printing);
    each_checker(totals, print_row, &printing);
    double simulated_s = (double)totals->simulated_ns / 1e9;
    double cpu_s = (double)totals->cpu_ns / 1e9;
    fprintf(out,
            "%s%" PRIu64 " seeds: %.0f simulated seconds in %.0f s of CPU (%.0f simulated seconds per CPU second), "
            "%.0f seeds per minute, %" PRIu64 " steps, %" PRIu64 " nodes left down by damage\n",
            printing.column > 0 ? "\n" : "", totals->seeds, simulated_s, cpu_s, cpu_s > 0 ? simulated_s / cpu_s : 0,
            elapsed_s > 0 ? (double)totals->seeds * 60 / elapsed_s : 0, totals->steps, totals->nodes_left_down);
}

/* ---- what is missing -------------------------------------------------------------------------------- */

struct missing {
    FILE *out;
    unsigned count;
};

static void print_missing(void *user, const char *table, const char *name, uint64_t count)
{
    struct missing *missing = user;
    if (count == 0) {
        fprintf(missing->out, "never met: %s: %s\n", table, name);
        missing->count++;
    }
}

unsigned totals_print_missing(const struct totals *totals, FILE *out)
{
    struct missing missing = {.out = out};
    each_fault(totals, print_missing, &missing);
    each_point(totals, print_missing, &missing);
    each_checker(totals, print_missing, &missing);
    return missing.count;
}
