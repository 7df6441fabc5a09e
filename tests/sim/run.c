/* run.c - takes one seed through its phases. */
#include "tests/sim/run.h"

#include "base/log.h"
#include "meta/state.h"
#include "tests/sim/checks.h"

#include <stdlib.h>
#include <time.h>

#define SETTLE_STEP_NS            (500 * NS_PER_MS)
#define READS_PER_KEY             2u
#define HTTP_INSUFFICIENT_STORAGE 507u

/* Everything of one run; too large for the stack. */
struct run {
    struct sim_cluster cluster;
    struct checkers checkers;
    struct nemesis nemesis;
};

bool run_options(const struct run_plan *plan, struct sim_options *options, const char **bad)
{
    sim_options_draw(options, plan->seed);
    for (uint32_t i = 0; i < plan->assignment_count; i++) {
        if (!sim_options_set(options, plan->assignments[i])) {
            *bad = plan->assignments[i];
            return false;
        }
    }
    return true;
}

static uint64_t world_ns(const struct run *run)
{
    return sim_loop_world_ns(run->cluster.world);
}

/* ---- settling ----------------------------------------------------------------------------------------- */

/* Whether there is nothing left to wait for: what can run runs, nobody waits, nothing is left to be wiped, to be sealed
 * anew or to be certified. */
static bool has_settled(struct run *run)
{
    return nemesis_all_is_up(&run->nemesis) && sim_cluster_busy(&run->cluster) == 0 &&
           sim_operator_is_idle(&run->cluster.keeper) && !checks_dek_is_retiring(&run->cluster) &&
           state_cluster(run->cluster.meta.meta_state)->erasures_open == 0 &&
           state_cluster(run->cluster.meta.meta_state)->certificates_due == 0;
}

/* Orphans are looked for in rounds: what was left behind in the last moment is found in the second round after that. */
static uint64_t settle_at_least_ns(const struct run *run)
{
    return (3 * run->cluster.options.orphan_after_ms + 3000) * NS_PER_MS;
}

static void wait_until_settled(struct run *run, uint64_t until_ns)
{
    while (!has_settled(run) && world_ns(run) < until_ns) {
        sim_cluster_run(&run->cluster, world_ns(run) + SETTLE_STEP_NS, NULL);
    }
}

static void settle(struct run *run)
{
    uint64_t began_ns = world_ns(run);
    uint64_t until_ns = began_ns + (uint64_t)run->cluster.options.settle_ms * NS_PER_MS;
    sim_cluster_load(&run->cluster, false);
    nemesis_end(&run->nemesis);
    sim_cluster_run(&run->cluster, began_ns + settle_at_least_ns(run), NULL);
    wait_until_settled(run, until_ns);
}

/* ---- reading everything -------------------------------------------------------------------------------- */

static void read_key(struct run *run, uint32_t bucket, uint32_t key, uint32_t node)
{
    struct sim_cluster *cluster = &run->cluster;
    while (cluster->nodes[node].state != SIM_RUNNING) {
        node = (node + 1) % cluster->node_count;
    }
    struct sim_operation operation = {.kind = SIM_GET, .bucket = bucket, .key = key, .node = node};
    sim_cluster_do(cluster, &operation);
}

static void read_all(struct run *run)
{
    const struct sim_options *options = &run->cluster.options;
    uint32_t up = 0;
    for (uint32_t i = 0; i < run->cluster.node_count; i++) {
        up += run->cluster.nodes[i].state == SIM_RUNNING;
    }
    for (uint32_t i = 0; up > 0 && i < options->buckets * options->keys * READS_PER_KEY; i++) {
        uint32_t key = i / READS_PER_KEY % options->keys;
        read_key(run, i / READS_PER_KEY / options->keys, key, i % run->cluster.node_count);
    }
}

/* ---- writing again --------------------------------------------------------------------------------------- */

/* The cluster is of use again: a key that nobody had can be put, read and deleted through every node. Room is what a run
 * may have used up, and a disk given up for damage may leave too few domains. False: the cluster is not at rest. */
static bool write_again(struct run *run)
{
    struct sim_cluster *cluster = &run->cluster;
    static const enum sim_operation_kind steps[] = {SIM_PUT, SIM_GET, SIM_DELETE, SIM_GET};
    if (cluster->options.mode != SIM_SAFETY || !has_settled(run)) {
        return false;
    }
    for (uint32_t node = 0; node < cluster->node_count; node++) {
        for (size_t i = 0; cluster->nodes[node].state == SIM_RUNNING && i < ARRAY_LENGTH(steps); i++) {
            struct sim_operation operation = {
                .kind = steps[i], .node = node, .key = cluster->options.keys + node, .size = 5000};
            sim_cluster_do(cluster, &operation);
            bool is_full = steps[i] == SIM_PUT && operation.http_status == HTTP_INSUFFICIENT_STORAGE;
            bool is_right = operation.outcome == (i == 3 ? SIM_ABSENT : SIM_DONE);
            if (is_full) {
                break;
            }
            if (!is_right) {
                sim_violated("L1-settled", "step %zu of put, get, delete, get through node%u ended with status %u",
                             i + 1, node + 1, operation.http_status);
            }
        }
    }
    return true;
}

/* ---- one slow disk -------------------------------------------------------------------------------------- */

/* At rest, in runs without lossy disks, one node's disks become slow, or stop to answer: reads through the other gateways, which have two more copies
 * of everything, must not notice for longer than it takes to turn to another copy, chunk by chunk. */
#define SLOW_READS_MAX   64u
#define SLOW_CHUNKS_MAX  3u /* of the largest object: sim_client.c */
#define SLOW_EXTRA_MS    500u
#define SLOW_DISK_FACTOR 2000u

static void disks_become_slow(struct sim_node *node, bool stuck)
{
    for (uint32_t i = 0; i < node->disk_count; i++) {
        if (stuck) {
            sim_disk_set_faults(node->disks[i].disk, &(struct sim_disk_faults){.ppm[SIM_DISK_STUCK] = 1000000});
        } else {
            sim_disk_slow(node->disks[i].disk, SLOW_DISK_FACTOR);
        }
    }
}

static void read_beside_a_slow_disk(struct run *run)
{
    struct sim_cluster *cluster = &run->cluster;
    const struct sim_options *options = &cluster->options;
    uint32_t slow = (uint32_t)(options->seed % cluster->node_count);
    if (options->mode != SIM_SAFETY || options->lossy_nodes != 0 || !has_settled(run)) {
        return;
    }
    disks_become_slow(&cluster->nodes[slow], options->seed / cluster->node_count % 2 == 0);
    uint64_t latencies_ns[SLOW_READS_MAX];
    size_t count = 0;
    for (uint32_t key = 0; key < options->keys && count < SLOW_READS_MAX; key++) {
        struct sim_operation operation = {
            .kind = SIM_GET, .key = key, .node = (slow + 1 + key % (cluster->node_count - 1)) % cluster->node_count};
        sim_cluster_do(cluster, &operation);
        if (operation.outcome == SIM_DONE) {
            latencies_ns[count++] = operation.ended_ns - operation.began_ns;
        }
    }
    uint64_t bound_ms = SLOW_CHUNKS_MAX * options->chunk_read_ms + SLOW_EXTRA_MS;
    checkers_latencies(&run->checkers, latencies_ns, count, bound_ms * NS_PER_MS);
}

/* ---- numbers ------------------------------------------------------------------------------------------- */

static void count_table(struct totals *totals, struct kv *table)
{
    struct sim_kv_counts counts;
    sim_kv_counts(table, &counts);
    totals->rolled_back += counts.rolled_back;
    totals->table_failures += counts.failed;
    totals->tables_lost += counts.lost;
}

static void count_disk(struct totals *totals, const struct sim_disk *disk)
{
    for (unsigned fault = 0; fault < SIM_DISK_FAULTS; fault++) {
        totals->disk_faults[fault] += sim_disk_fault_count(disk, (enum sim_disk_fault)fault);
    }
}

static void count_nemesis(struct totals *totals, const struct nemesis *nemesis)
{
    for (unsigned act = 0; act < NEMESIS_ACT_COUNT; act++) {
        totals->acts[act] += nemesis->acts[act];
    }
    for (unsigned point = 0; point < BUGGIFY_POINT_COUNT; point++) {
        totals->buggify_met[point] += nemesis->buggify_met[point];
        totals->buggify_fired[point] += nemesis->buggify_fired[point];
    }
    for (unsigned point = 0; point < KILL_POINT_COUNT; point++) {
        totals->kill_passed[point] += nemesis->kill_passed[point];
        totals->kill_hit[point] += nemesis->kill_hit[point];
    }
}

static void count(struct run *run, struct totals *totals, uint64_t cpu_ns)
{
    struct sim_cluster *cluster = &run->cluster;
    totals->seeds++;
    totals->steps += sim_loop_steps(cluster->world);
    totals->simulated_ns += world_ns(run);
    totals->cpu_ns += cpu_ns;
    count_table(totals, cluster->meta.tables);
    count_disk(totals, cluster->meta.disk);
    count_table(totals, cluster->meta.vault.covers);
    for (uint32_t i = 0; i < SIM_VAULT_DISKS; i++) {
        count_disk(totals, sim_vault_disk(&cluster->meta.vault, i));
    }
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        for (uint32_t d = 0; d < cluster->nodes[i].disk_count; d++) {
            count_table(totals, cluster->nodes[i].disks[d].index);
            count_disk(totals, cluster->nodes[i].disks[d].disk);
        }
    }
    for (unsigned fault = 0; fault < SIM_NET_FAULTS; fault++) {
        totals->net_faults[fault] += sim_net_fault_count(cluster->net, (enum sim_net_fault)fault);
    }
    for (size_t i = 0; i < checkers_count(); i++) {
        totals->looks[i] += run->checkers.looks[i];
    }
    for (unsigned kind = 0; kind < SIM_OPERATION_KINDS; kind++) {
        for (unsigned outcome = 0; outcome <= SIM_UNKNOWN; outcome++) {
            totals->operations[kind][outcome] += run->checkers.operations[kind][outcome];
        }
    }
    totals->nodes_left_down += run->checkers.nodes_left_down;
    count_nemesis(totals, &run->nemesis);
}

static uint64_t cpu_ns(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now) == 0);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* ---- the log's time ------------------------------------------------------------------------------------- */

static const struct run *narrated; /* The log's hook carries no argument. */

/* "  12.345678 node3": simulated seconds, and whose step it is. */
static void describe_time(char *text, size_t bytes)
{
    int running = sim_cluster_running(&narrated->cluster);
    char who[16] = "-";
    if (running >= 0) {
        snprintf(who, sizeof(who), "node%d", running + 1);
    } else if (running == -1) {
        snprintf(who, sizeof(who), "meta");
    }
    uint64_t now_ns = narrated->cluster.world == NULL ? 0 : world_ns(narrated);
    snprintf(text, bytes, "%11.6f %-5s", (double)now_ns / (double)NS_PER_S, who);
}

/* ---- one seed ------------------------------------------------------------------------------------------ */

void run_seed(const struct run_plan *plan, struct totals *totals, uint64_t *trace)
{
    uint64_t began_cpu_ns = cpu_ns();
    struct sim_options options;
    const char *bad = NULL;
    CHECK(run_options(plan, &options, &bad));
    struct run *run = calloc(1, sizeof(*run));
    CHECK(run != NULL);
    narrated = run;
    log_set_time_text(describe_time);
    log_set_level(plan->trace ? LOG_INFO : LOG_ERROR);
    sim_chance_install(plan->seed);
    checkers_init(&run->checkers, &run->cluster);
    run->cluster.options = options;
    nemesis_init(&run->nemesis, &run->cluster);
    run->nemesis.trace = plan->trace;
    memcpy(run->nemesis.left_out, plan->left_out, sizeof(plan->left_out));
    if (!sim_cluster_open(&run->cluster, &options, &run->checkers.watch)) {
        sim_violated("L1", "the cluster did not come up");
    }
    checkers_start(&run->checkers);
    nemesis_start(&run->nemesis);
    sim_cluster_load(&run->cluster, true);
    sim_cluster_run(&run->cluster, world_ns(run) + options.active_ms * NS_PER_MS, NULL);
    settle(run);
    read_all(run);
    if (write_again(run)) {
        wait_until_settled(run, world_ns(run) + (uint64_t)options.settle_ms * NS_PER_MS);
    }
    checkers_settled(&run->checkers);
    read_beside_a_slow_disk(run);
    *trace = sim_loop_trace(run->cluster.world);
    nemesis_stop(&run->nemesis);
    count(run, totals, cpu_ns() - began_cpu_ns);
}
