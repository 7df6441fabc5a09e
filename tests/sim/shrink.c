/* shrink.c - tries smaller plans, one after another, and keeps each that fails in the same way. */
#include "tests/sim/shrink.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct shrinking {
    struct pool *pool;
    struct run_plan *plan;
    const char *reason;
    unsigned runs_left;
    FILE *out;
};

/* Keep `candidate`, which is the plan with, or without, something, when it still fails so. */
static bool try_plan(struct shrinking *shrinking, const struct run_plan *candidate, const char *what)
{
    if (shrinking->runs_left == 0) {
        return false;
    }
    shrinking->runs_left--;
    const struct pool_result *result = pool_run(shrinking->pool, candidate, false);
    bool still_fails = !result->passed && strcmp(result->reason, shrinking->reason) == 0;
    if (still_fails) {
        *shrinking->plan = *candidate;
        fprintf(shrinking->out, "  still fails %s\n", what);
        fflush(shrinking->out);
    }
    return still_fails;
}

/* ---- options ------------------------------------------------------------------------------------------ */

/* The texts live as long as the process: a shrunk plan is printed at its end. */
static const char *assignment_text(const char *name, uint64_t value)
{
    char *assignment = NULL;
    CHECK(asprintf(&assignment, "%s=%" PRIu64, name, value) > 0);
    return assignment;
}

static struct sim_options options_of(const struct shrinking *shrinking)
{
    struct sim_options options;
    const char *bad = NULL;
    CHECK(run_options(shrinking->plan, &options, &bad));
    return options;
}

static bool try_option(struct shrinking *shrinking, const char *name, uint64_t value)
{
    struct run_plan candidate = *shrinking->plan;
    if (candidate.assignment_count == RUN_ASSIGNMENTS_MAX) {
        return false;
    }
    const char *assignment = assignment_text(name, value);
    candidate.assignments[candidate.assignment_count++] = assignment;
    struct sim_options before = options_of(shrinking);
    struct sim_options after = before;
    CHECK(sim_options_set(&after, assignment));
    if (memcmp(&before, &after, sizeof(before)) == 0) {
        return false; /* It is so already. */
    }
    char what[96];
    snprintf(what, sizeof(what), "with %s", assignment);
    return try_plan(shrinking, &candidate, what);
}

static void without_chances(struct shrinking *shrinking)
{
    struct sim_options options = options_of(shrinking);
    (void)try_option(shrinking, "buggify_percent", 0);
    for (unsigned fault = 0; fault < SIM_DISK_FAULTS; fault++) {
        if (options.disk_faults.ppm[fault] > 0) {
            (void)try_option(shrinking, sim_disk_fault_name((enum sim_disk_fault)fault), 0);
        }
    }
    if (options.mode == SIM_SAFETY) {
        (void)try_option(shrinking, "lossy_nodes", 0);
    }
}

static void without_buggify_points(struct shrinking *shrinking)
{
    uint64_t off = options_of(shrinking).buggify_off;
    if (options_of(shrinking).buggify_percent == 0) {
        return;
    }
    for (unsigned point = 0; point < BUGGIFY_POINT_COUNT; point++) {
        if ((off >> point & 1) == 0 && try_option(shrinking, "buggify_off", off | UINT64_C(1) << point)) {
            off |= UINT64_C(1) << point;
        }
    }
}

static void with_less_load(struct shrinking *shrinking)
{
    struct sim_options options = options_of(shrinking);
    static const char *const to_nothing[] = {"client_gone_percent", "slow_client_percent", "large_percent"};
    for (size_t i = 0; i < ARRAY_LENGTH(to_nothing); i++) {
        (void)try_option(shrinking, to_nothing[i], 0);
    }
    while (options.active_ms > 1000 && try_option(shrinking, "active_ms", options.active_ms * 3 / 4)) {
        options.active_ms = options.active_ms * 3 / 4;
    }
    while (options.clients > 1 && try_option(shrinking, "clients", options.clients - 1)) {
        options.clients--;
    }
    (void)try_option(shrinking, "node_disks", 1);
}

/* ---- events ------------------------------------------------------------------------------------------- */

static uint32_t events_in(const struct run_plan *plan, uint32_t *numbers)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < NEMESIS_EVENTS_MAX; i++) {
        if (!plan->left_out[i]) {
            numbers[count++] = i;
        }
    }
    return count;
}

/* Take away `size` events at a time, wherever that is possible. */
static bool without_events(struct shrinking *shrinking, uint32_t size)
{
    uint32_t numbers[NEMESIS_EVENTS_MAX];
    uint32_t count = events_in(shrinking->plan, numbers);
    bool any = false;
    for (uint32_t first = 0; first < count; first += size) {
        struct run_plan candidate = *shrinking->plan;
        uint32_t last = first + size < count ? first + size : count;
        for (uint32_t i = first; i < last; i++) {
            candidate.left_out[numbers[i]] = true;
        }
        char what[64];
        snprintf(what, sizeof(what), "without %u events", last - first);
        any |= try_plan(shrinking, &candidate, what);
    }
    return any;
}

static void shrink_events(struct shrinking *shrinking)
{
    struct sim_options options = options_of(shrinking);
    static struct nemesis_event events[NEMESIS_EVENTS_MAX];
    uint32_t size = nemesis_schedule(&options, events);
    for (uint32_t i = size; i < NEMESIS_EVENTS_MAX; i++) {
        shrinking->plan->left_out[i] = true; /* There is no such event. */
    }
    while (size > 0 && shrinking->runs_left > 0) {
        (void)without_events(shrinking, size);
        size /= 2;
    }
    while (shrinking->runs_left > 0 && without_events(shrinking, 1)) {
    }
}

void shrink(struct pool *pool, struct run_plan *plan, const char *reason, unsigned runs_max, FILE *out)
{
    struct shrinking shrinking = {.pool = pool, .plan = plan, .reason = reason, .runs_left = runs_max, .out = out};
    without_chances(&shrinking);
    shrink_events(&shrinking);
    without_buggify_points(&shrinking);
    with_less_load(&shrinking);
}

/* ---- printing ------------------------------------------------------------------------------------------ */

void plan_print(const struct run_plan *plan, FILE *out)
{
    fprintf(out, "trilith-sim --seed %" PRIu64, plan->seed);
    /* Later assignments win: only the last of each name is said. */
    for (uint32_t i = 0; i < plan->assignment_count; i++) {
        size_t name_bytes = (size_t)(strchr(plan->assignments[i], '=') - plan->assignments[i]) + 1;
        bool is_last = true;
        for (uint32_t later = i + 1; later < plan->assignment_count; later++) {
            is_last = is_last && strncmp(plan->assignments[i], plan->assignments[later], name_bytes) != 0;
        }
        if (is_last) {
            fprintf(out, " --set %s", plan->assignments[i]);
        }
    }
    uint32_t numbers[NEMESIS_EVENTS_MAX];
    uint32_t count = events_in(plan, numbers);
    if (count < NEMESIS_EVENTS_MAX) {
        fprintf(out, " --events %s", count == 0 ? "none" : "");
        for (uint32_t i = 0; i < count; i++) {
            fprintf(out, "%s%u", i > 0 ? "," : "", numbers[i]);
        }
    }
    fputc('\n', out);
}
