/* test_sim_cluster.c - the simulated cluster as such: it boots, serves, loses machines and comes back, always alike. */
#include "tests/sim/sim_cluster.h"

#include "base/log.h"
#include "meta/state.h"

#include <criterion/criterion.h>
#include <stdlib.h>

/* Crashed processes are forgotten on purpose. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

/* What the watch has heard. */
struct ear {
    struct sim_watch watch;
    uint64_t applied;
    uint64_t replayed;
    uint64_t last_index;
    uint64_t writes;
    unsigned went_down;
    unsigned came_up;
    unsigned serving;
    unsigned outcomes[SIM_UNKNOWN + 1];
    unsigned spoiled_refused;
    unsigned wrong_answers; /* whole bodies that are not what was put last */
    uint64_t hand_value;
};

static struct ear ear;
static struct sim_cluster cluster;

static void heard_applied(struct sim_watch *watch, uint64_t index, const Trilith__Command *command, bool replay)
{
    (void)watch;
    cr_assert_not_null(command);
    cr_assert_eq(index, cluster.meta.applied);
    ear.applied += replay ? 0 : 1;
    ear.replayed += replay ? 1 : 0;
    ear.last_index = index;
}

static void heard_serving(struct sim_watch *watch, struct sim_node *node)
{
    (void)watch;
    cr_assert_eq(node->state, SIM_RUNNING);
    ear.serving++;
}

static void heard_down(struct sim_watch *watch, struct sim_node *node, bool power_lost)
{
    (void)watch, (void)node, (void)power_lost;
    ear.went_down++;
}

static void heard_up(struct sim_watch *watch, struct sim_node *node)
{
    (void)watch, (void)node;
    ear.came_up++;
}

static void heard_end(struct sim_watch *watch, const struct sim_operation *operation)
{
    (void)watch;
    ear.outcomes[operation->outcome]++;
    if (operation->spoiled) {
        cr_assert_neq(operation->outcome, SIM_DONE);
        ear.spoiled_refused += operation->outcome == SIM_REFUSED;
    }
}

static void heard_write(struct sim_watch *watch, struct sim_node *node, struct sim_node_disk *disk, const char *name,
                        uint64_t offset, const uint8_t *content, size_t bytes)
{
    (void)watch, (void)name, (void)offset, (void)content;
    cr_assert_eq(disk->node, node);
    ear.writes += bytes;
}

static struct sim_options options_of(uint64_t seed)
{
    return (struct sim_options){.seed = seed,
                                .nodes = 5,
                                .node_disks = 1,
                                .clients = 4,
                                .keys = 12,
                                .buckets = 2,
                                .small_bytes_max = 20000,
                                .put_percent = 40,
                                .delete_percent = 10,
                                .think_ms = 400,
                                .disk_capacity_bytes = 8 * MIB(16),
                                .leaf_lease_ms = 20000,
                                .key_lease_ms = 5000,
                                .node_lease_ms = 2000,
                                .orphan_after_ms = 8000,
                                .chunk_write_ms = 1500,
                                .chunk_read_ms = 1000,
                                .meta_call_ms = 1500,
                                .patience_ms = 120000,
                                .epoch_ms = 5000,
                                .dek_retire_ms = 6000};
}

static void boot(const struct sim_options *options)
{
    log_set_level(LOG_ERROR);
    memset(&ear, 0, sizeof(ear));
    ear.watch = (struct sim_watch){.applied = heard_applied,
                                   .serving = heard_serving,
                                   .went_down = heard_down,
                                   .came_up = heard_up,
                                   .operation_ends = heard_end,
                                   .writing = heard_write};
    sim_chance_install(options->seed);
    cr_assert(sim_cluster_open(&cluster, options, &ear.watch));
}

static void setup(void)
{
    sim_secrets_make();
    struct sim_options options = options_of(1);
    boot(&options);
}

static void run_ms(uint64_t ms)
{
    sim_cluster_run(&cluster, sim_loop_world_ns(cluster.world) + ms * NS_PER_MS, NULL);
}

/* ---- operations by hand -------------------------------------------------------------------------- */

static struct sim_operation operation;

static enum sim_outcome hand(enum sim_operation_kind kind, uint32_t node, uint32_t key, uint64_t size)
{
    operation = (struct sim_operation){
        .kind = kind, .node = node, .key = key, .bucket = sim_key_bucket(&cluster, key), .size = size};
    sim_cluster_do(&cluster, &operation);
    if (kind == SIM_PUT) {
        ear.hand_value = operation.value;
    }
    return operation.outcome;
}

static bool body_is(uint64_t value, uint64_t offset, uint64_t bytes)
{
    uint8_t *expected = malloc(bytes + 1);
    sim_content_fill(value, offset, expected, bytes);
    bool same = operation.body_bytes == bytes && memcmp(operation.body, expected, bytes) == 0;
    free(expected);
    return same;
}

TestSuite(sim_cluster, .init = setup, .timeout = 300);

Test(sim_cluster, what_one_node_takes_all_nodes_give)
{
    cr_assert_eq(hand(SIM_PUT, 0, 3, 150000), SIM_DONE);
    for (uint32_t node = 0; node < cluster.node_count; node++) {
        cr_assert_eq(hand(SIM_GET, node, 3, 0), SIM_DONE);
        cr_assert(body_is(ear.hand_value, 0, 150000));
        cr_assert_eq(operation.object_bytes, 150000);
    }
    operation =
        (struct sim_operation){.kind = SIM_GET_RANGE, .node = 1, .key = 3, .bucket = 1, .offset = 99, .length = 70000};
    sim_cluster_do(&cluster, &operation);
    cr_assert_eq(operation.http_status, 206);
    cr_assert_eq(operation.object_bytes, 150000);
    cr_assert(body_is(ear.hand_value, 99, 70000));
    cr_assert_eq(hand(SIM_HEAD, 2, 3, 0), SIM_DONE);
    cr_assert_eq(operation.object_bytes, 150000);
    cr_assert_eq(hand(SIM_DELETE, 4, 3, 0), SIM_DONE);
    cr_assert_eq(hand(SIM_GET, 0, 3, 0), SIM_ABSENT);
    cr_assert_gt(ear.writes, 3u * 150000u);
}

Test(sim_cluster, an_object_of_several_chunks_passes)
{
    cr_assert_eq(hand(SIM_PUT, 2, 5, 2 * CHUNK_BYTES_MAX + 12345), SIM_DONE);
    cr_assert_eq(hand(SIM_GET, 3, 5, 0), SIM_DONE);
    cr_assert(body_is(ear.hand_value, 0, 2 * CHUNK_BYTES_MAX + 12345));
}

Test(sim_cluster, a_listing_names_what_is_there)
{
    cr_assert_eq(hand(SIM_PUT, 0, 4, 10), SIM_DONE);
    cr_assert_eq(hand(SIM_LIST, 1, 4, 0), SIM_DONE);
    cr_assert_not_null(memmem(operation.body, operation.body_bytes, "<Key>folder/key-04</Key>", 24));
    cr_assert_eq(sim_key_from_name("folder/key-04", 13), 4);
}

Test(sim_cluster, a_wrong_checksum_leaves_nothing)
{
    for (uint64_t turn = 0; turn < 8; turn++) {
        operation = (struct sim_operation){.kind = SIM_PUT, .node = 0, .key = 0, .size = 1000 * turn, .spoiled = true};
        sim_cluster_do(&cluster, &operation);
        cr_assert_eq(operation.outcome, SIM_REFUSED, "%u", operation.http_status);
    }
    cr_assert_eq(hand(SIM_GET, 1, 0, 0), SIM_ABSENT);
}

/* ---- losing processes ------------------------------------------------------------------------------ */

static void node_restart(uint32_t number)
{
    unsigned serving = ear.serving;
    cr_assert_eq(cluster.nodes[number].state, SIM_DOWN);
    sim_node_start(&cluster.nodes[number]);
    run_ms(5000);
    cr_assert_eq(cluster.nodes[number].refusal, STATUS_OK);
    cr_assert_eq(cluster.nodes[number].state, SIM_RUNNING);
    cr_assert_eq(ear.serving, serving + 1);
}

/* A connection that was left half-open costs the first who uses it an error. */
static void everybody_reads(uint32_t key, uint64_t value, uint64_t size)
{
    for (uint32_t node = 0; node < cluster.node_count; node++) {
        if (cluster.nodes[node].state == SIM_RUNNING) {
            (void)hand(SIM_GET, node, key, 0);
            cr_assert_eq(hand(SIM_GET, node, key, 0), SIM_DONE, "node %u says %u", node, operation.http_status);
            cr_assert(body_is(value, 0, size));
        }
    }
}

enum way { CRASHED, CRASHED_SILENTLY, KILLED, STOPPED, WAYS };

static void node_goes(uint32_t number, enum way way)
{
    struct sim_node *node = &cluster.nodes[number];
    switch (way) {
    case CRASHED:
    case CRASHED_SILENTLY:
        sim_node_crash(node, way == CRASHED_SILENTLY);
        break;
    case KILLED:
        sim_node_kill(node);
        break;
    default:
        sim_node_stop(node);
        run_ms(5000);
    }
    cr_assert_eq(node->state, SIM_DOWN);
}

Test(sim_cluster, every_node_may_go_in_every_way_and_comes_back_with_its_copies)
{
    cr_assert_eq(hand(SIM_PUT, 0, 1, 40000), SIM_DONE);
    uint64_t value = ear.hand_value;
    for (enum way way = 0; way < WAYS; way++) {
        for (uint32_t number = 0; number < cluster.node_count; number++) {
            node_goes(number, way);
            run_ms(3000);
            everybody_reads(1, value, 40000);
            node_restart(number);
        }
    }
    everybody_reads(1, value, 40000);
    cr_assert_eq(ear.went_down, WAYS * cluster.node_count);
}

Test(sim_cluster, a_lost_index_is_made_anew)
{
    cr_assert_eq(hand(SIM_PUT, 0, 1, 40000), SIM_DONE);
    for (uint32_t number = 0; number < cluster.node_count; number++) {
        sim_node_crash(&cluster.nodes[number], false);
        sim_kv_lose(cluster.nodes[number].disks[0].index);
        cluster.nodes[number].disks[0].rebuild_index = true;
        node_restart(number);
        cr_assert_not(cluster.nodes[number].disks[0].rebuild_index);
    }
    everybody_reads(1, ear.hand_value, 40000);
}

Test(sim_cluster, the_metadata_service_may_go_in_every_way_and_replays)
{
    for (enum way way = 0; way < WAYS; way++) {
        cr_assert_eq(hand(SIM_PUT, 0, 2, 5000 + way), SIM_DONE);
        uint64_t applied = cluster.meta.applied;
        if (way == STOPPED) {
            sim_meta_stop(&cluster.meta);
            run_ms(1000);
        } else if (way == KILLED) {
            sim_meta_kill(&cluster.meta);
        } else {
            sim_meta_crash(&cluster.meta, way == CRASHED_SILENTLY);
        }
        cr_assert_eq(cluster.meta.state, SIM_DOWN);
        run_ms(3000);
        sim_meta_start(&cluster.meta);
        run_ms(8000);
        cr_assert_eq(cluster.meta.state, SIM_RUNNING, "%s", status_name(cluster.meta.refusal));
        cr_assert_geq(cluster.meta.applied, applied);
        everybody_reads(2, ear.hand_value, 5000 + way);
    }
    cr_assert_gt(ear.replayed, 0);
}

Test(sim_cluster, everything_may_lose_power_at_once)
{
    cr_assert_eq(hand(SIM_PUT, 0, 1, 70000), SIM_DONE);
    for (uint32_t number = 0; number < cluster.node_count; number++) {
        sim_node_crash(&cluster.nodes[number], true);
    }
    sim_meta_crash(&cluster.meta, true);
    run_ms(1000);
    sim_meta_start(&cluster.meta);
    for (uint32_t number = 0; number < cluster.node_count; number++) {
        sim_node_start(&cluster.nodes[number]);
    }
    run_ms(10000);
    everybody_reads(1, ear.hand_value, 70000);
}

Test(sim_cluster, a_journal_that_fails_ends_the_service_and_a_start_mends_it)
{
    cr_assert_eq(hand(SIM_PUT, 0, 1, 100), SIM_DONE);
    uint64_t value = ear.hand_value;
    sim_disk_fail_after(cluster.meta.disk, 1, STATUS_IO);
    cr_assert_eq(hand(SIM_PUT, 0, 2, 100), SIM_UNKNOWN);
    run_ms(1000);
    cr_assert_eq(cluster.meta.state, SIM_DOWN);
    cr_assert_eq(cluster.meta.refusal, STATUS_IO);
    sim_disk_fail_after(cluster.meta.disk, 0, STATUS_OK);
    sim_meta_start(&cluster.meta);
    run_ms(8000);
    everybody_reads(1, value, 100);
}

Test(sim_cluster, whoever_waits_for_a_paused_node_waits)
{
    sim_loop_pause(cluster.nodes[0].loop, true);
    cluster.options.patience_ms = 5000;
    cr_assert_eq(hand(SIM_PUT, 0, 1, 100), SIM_UNKNOWN);
    cr_assert_eq(operation.http_status, 0);
    cr_assert_not(operation.node_went_down);
    cr_assert_eq(operation.ended_ns - operation.began_ns, 5 * NS_PER_S);
    sim_loop_pause(cluster.nodes[0].loop, false);
    run_ms(5000);
    cr_assert_eq(hand(SIM_PUT, 0, 1, 100), SIM_DONE);
    everybody_reads(1, ear.hand_value, 100);
}

/* ---- load -------------------------------------------------------------------------------------------- */

static unsigned operations(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < ARRAY_LENGTH(ear.outcomes); i++) {
        count += ear.outcomes[i];
    }
    return count;
}

static bool all_rest(struct sim_cluster *of)
{
    return sim_cluster_busy(of) == 0;
}

static void load_for(uint64_t ms)
{
    sim_cluster_load(&cluster, true);
    run_ms(ms);
    sim_cluster_load(&cluster, false);
    sim_cluster_run(&cluster, sim_loop_world_ns(cluster.world) + 120 * NS_PER_S, all_rest);
    cr_assert_eq(sim_cluster_busy(&cluster), 0);
}

Test(sim_cluster, a_load_without_faults_has_no_unknown_outcome)
{
    load_for(30000);
    cr_assert_gt(operations(), 200);
    cr_assert_eq(ear.outcomes[SIM_UNKNOWN], 0);
    cr_assert_gt(ear.spoiled_refused, 0);
}

/* Whose kill point it is: the process whose step it is. */
static void condemn_a_node(struct sim_watch *watch, struct sim_node *node, struct sim_node_disk *disk, const char *name,
                           uint64_t offset, const uint8_t *content, size_t bytes)
{
    (void)watch, (void)disk, (void)name, (void)offset, (void)content, (void)bytes;
    if (sim_cluster_running(&cluster) == (int)node->number && node->number == 3) {
        sim_cluster_condemn_running(&cluster, true);
    }
}

Test(sim_cluster, a_condemned_process_is_gone_after_its_step)
{
    ear.watch.writing = condemn_a_node;
    for (unsigned turn = 0; turn < 20 && cluster.nodes[3].state == SIM_RUNNING; turn++) {
        (void)hand(SIM_PUT, 3, 1, 100);
    }
    cr_assert_eq(cluster.nodes[3].state, SIM_DOWN);
    cr_assert_eq(operation.outcome, SIM_UNKNOWN);
    cr_assert(operation.node_went_down);
    cr_assert_lt(operation.ended_ns - operation.began_ns, NS_PER_S);
    ear.watch.writing = heard_write;
    node_restart(3);
}

static void crash_silently(struct loop_timer *timer)
{
    (void)timer;
    sim_node_crash(&cluster.nodes[3], true);
}

Test(sim_cluster, a_client_of_a_machine_that_falls_silent_waits_until_its_patience_ends)
{
    struct loop *loop = sim_loop_interface(cluster.world);
    struct loop_timer timer = {.fire = crash_silently};
    loop_timer_start(loop, &timer, loop_now_ns(loop) + NS_PER_MS);
    cr_assert_eq(hand(SIM_PUT, 3, 1, 2 * CHUNK_BYTES_MAX), SIM_UNKNOWN);
    cr_assert(operation.node_went_down);
    cr_assert_eq(operation.ended_ns - operation.began_ns, cluster.options.patience_ms * NS_PER_MS);
}

/* ---- keys ------------------------------------------------------------------------------------------- */

static Trilith__DekRecord dek_with(uint32_t version)
{
    Trilith__TenantRecord *tenant = sim_cluster_tenant(&cluster);
    Trilith__DekRecord found = {0};
    cr_assert_not_null(tenant);
    for (size_t i = 0; i < tenant->n_deks; i++) {
        if (tenant->deks[i]->version == version) {
            found = *tenant->deks[i];
        }
    }
    trilith__tenant_record__free_unpacked(tenant, NULL);
    return found;
}

Test(sim_cluster, a_data_key_that_was_rotated_out_goes_when_all_is_sealed_anew)
{
    cr_assert_eq(hand(SIM_PUT, 0, 1, 70000), SIM_DONE);
    cr_assert(sim_operator_rotate(&cluster.keeper, false));
    run_ms(2000);
    cr_assert_eq(cluster.keeper.rotations_answered, 1);
    cr_assert_neq(dek_with(1).retired_ms, 0);
    cr_assert_eq(dek_with(1).destroyed_ms, 0);
    run_ms(60000);
    cr_assert_neq(dek_with(1).destroyed_ms, 0);
    cr_assert_eq(dek_with(2).retired_ms, 0);
    everybody_reads(1, ear.hand_value, 70000);
}

Test(sim_cluster, another_master_key_changes_nothing_for_readers)
{
    cr_assert_eq(hand(SIM_PUT, 0, 1, 100), SIM_DONE);
    cr_assert(sim_operator_rotate(&cluster.keeper, true));
    run_ms(10000);
    cr_assert_eq(cluster.keeper.rotations_answered, 1);
    everybody_reads(1, ear.hand_value, 100);
}

Test(sim_cluster, a_revoked_tenant_is_refused_until_it_is_enabled_again)
{
    cr_assert_eq(hand(SIM_PUT, 0, 1, 100), SIM_DONE);
    uint64_t value = ear.hand_value;
    sim_operator_revoke(&cluster.keeper, true);
    run_ms(6000);
    cr_assert_neq(cluster.keeper.revoked_ns, 0);
    cr_assert_not(sim_operator_is_idle(&cluster.keeper));
    cr_assert_eq(hand(SIM_GET, 0, 1, 0), SIM_REFUSED);
    cr_assert_eq(operation.http_status, 400);
    cr_assert_eq(hand(SIM_PUT, 1, 2, 100), SIM_REFUSED);
    sim_operator_revoke(&cluster.keeper, false);
    run_ms(6000);
    cr_assert(sim_operator_is_idle(&cluster.keeper));
    everybody_reads(1, value, 100);
}

Test(sim_cluster, without_the_kms_keys_serve_until_their_leases_end)
{
    cr_assert_eq(hand(SIM_PUT, 0, 1, 100), SIM_DONE);
    cr_assert_eq(hand(SIM_GET, 0, 1, 0), SIM_DONE);
    cluster.meta.vault.kms_is_away = true;
    cr_assert_eq(hand(SIM_GET, 0, 1, 0), SIM_DONE);
    run_ms(6000);
    cr_assert_eq(hand(SIM_GET, 0, 1, 0), SIM_UNKNOWN);
    cr_assert_eq(operation.http_status, 503);
    cluster.meta.vault.kms_is_away = false;
    run_ms(6000);
    everybody_reads(1, ear.hand_value, 100);
}

Test(sim_cluster, an_epoch_is_closed_when_somebody_asks)
{
    cr_assert_eq(hand(SIM_PUT, 0, 1, 100), SIM_DONE);
    cr_assert_eq(hand(SIM_DELETE, 0, 1, 0), SIM_DONE);
    uint64_t epoch = state_cluster(cluster.meta.meta_state)->epoch;
    cr_assert(sim_operator_close_epoch(&cluster.keeper));
    run_ms(1000);
    cr_assert_eq(cluster.keeper.closes_answered, 1);
    cr_assert_geq(cluster.keeper.epoch_answered, epoch);
    cr_assert_gt(state_cluster(cluster.meta.meta_state)->epoch, epoch);
}

/* ---- the same again ---------------------------------------------------------------------------------- */

/* FNV-1a over all rows of the metadata tables: they hold what the product drew, also nonces. */
static void row_hash(void *user, const void *key, size_t key_bytes, const void *value, size_t value_bytes)
{
    uint64_t *hash = user;
    for (size_t i = 0; i < key_bytes; i++) {
        *hash = (*hash ^ ((const uint8_t *)key)[i]) * UINT64_C(0x100000001b3);
    }
    for (size_t i = 0; i < value_bytes; i++) {
        *hash = (*hash ^ ((const uint8_t *)value)[i]) * UINT64_C(0x100000001b3);
    }
}

static uint64_t tables_hash(void)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    sim_kv_each(cluster.meta.tables, row_hash, &hash);
    return hash;
}

/* Crashes of everybody in turn, under load. */
static uint64_t rough_run(uint64_t seed)
{
    struct sim_options options = options_of(seed);
    options.node_disks = 2;
    options.large_percent = 3;
    options.client_gone_percent = 5;
    options.slow_client_percent = 5;
    options.think_ms = 100;
    options.prewrite_segments = 1;
    boot(&options);
    struct sim_random random = sim_random_of(seed);
    sim_cluster_load(&cluster, true);
    for (unsigned turn = 0; turn < 12; turn++) {
        struct sim_node *node = &cluster.nodes[sim_random_below(&random, cluster.node_count)];
        run_ms(sim_random_below(&random, 800));
        if (sim_random_percent(&random, 50)) {
            sim_node_crash(node, sim_random_percent(&random, 50));
        } else {
            sim_node_kill(node);
        }
        sim_meta_kill(&cluster.meta);
        run_ms(sim_random_below(&random, 800));
        sim_meta_start(&cluster.meta);
        sim_node_start(node);
        run_ms(500);
    }
    sim_cluster_load(&cluster, false);
    sim_cluster_run(&cluster, sim_loop_world_ns(cluster.world) + 120 * NS_PER_S, all_rest);
    cr_assert_eq(sim_cluster_busy(&cluster), 0);
    cr_assert_gt(operations(), 100);
    return sim_loop_trace(cluster.world);
}

Test(sim_cluster, the_same_seed_gives_the_same_trace_and_the_same_bytes)
{
    uint64_t trace = rough_run(7);
    uint64_t tables = tables_hash();
    cr_assert_eq(rough_run(7), trace);
    cr_assert_eq(tables_hash(), tables);
    cr_assert_neq(rough_run(8), trace);
    cr_assert_neq(tables_hash(), tables);
}
