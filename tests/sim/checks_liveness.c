/* checks_liveness.c - L1, L2 and R1: everything comes to an end, in time, and leaves nothing behind. */
#include "tests/sim/checks.h"

#include "meta/erasure.h"
#include "meta/state.h"
#include "meta/tables.h"
#include "node/store/store_private.h"
#include "tests/sim/meta_view.h"

#include <inttypes.h>

/* ---- L1: operations ----------------------------------------------------------------------------------- */

/* A process that stands still answers nobody; the client's patience is shorter than some pauses. */
static bool was_paused(const struct check *check)
{
    const struct checked_node *node = &check->checkers->nodes[check->operation->node];
    return node->paused_ns + NS_PER_S >= check->operation->began_ns;
}

/* L1: every operation is answered within the client's patience, whatever is broken behind the node that was asked: all
 * waiting in the product has a deadline. Exempt: the node went away or stood still, or the client left. At rest no client
 * waits. */
void check_operations_end(const struct check *check)
{
    if (check->moment == AT_SETTLED) {
        check_counts(check);
        if (sim_cluster_busy(check->cluster) > 0) {
            sim_violated("L1", "%u clients still wait for an answer", sim_cluster_busy(check->cluster));
        }
        return;
    }
    const struct sim_operation *operation = check->operation;
    if (operation->node_went_down || operation->client_left || was_paused(check)) {
        return;
    }
    check_counts(check);
    if (operation->outcome == SIM_UNKNOWN && operation->http_status == 0) {
        sim_violated("L1", "operation %" PRIu64 " (kind %d, key %u) at node%u had no answer after %.3f s",
                     operation->number, (int)operation->kind, operation->key, operation->node + 1,
                     (double)(operation->ended_ns - operation->began_ns) / (double)NS_PER_S);
    }
}

/* ---- L1: at rest ---------------------------------------------------------------------------------------- */

static bool node_is_lossy(const struct check *check, uint32_t node)
{
    return (check->cluster->options.lossy_nodes >> node & 1) != 0;
}

/* A disk that was damaged past what a start can mend keeps its node down: there is no repair yet. So it must have been
 * damaged. */
static bool refuses_for_damage(const struct check *check, const struct sim_node *node)
{
    uint64_t damages = 0;
    for (unsigned fault = 0; fault < SIM_DISK_FAULTS; fault++) {
        bool is_lossy = (SIM_DISK_LOSSY >> fault & 1) != 0;
        damages +=
            is_lossy ? sim_disk_fault_count(node->disks[node->refused_disk].disk, (enum sim_disk_fault)fault) : 0;
    }
    return node_is_lossy(check, node->number) && node->refusal != STATUS_OK && damages > 0;
}

static void check_node_serves(const struct check *check, const struct sim_node *node)
{
    check_counts(check);
    if (node->state != SIM_RUNNING) {
        if (!refuses_for_damage(check, node)) {
            sim_violated("L1-settled", "%s is down (state %d): %s, disk %u", node->name, (int)node->state,
                         status_name(node->refusal), node->refused_disk);
        }
        check->checkers->nodes_left_down++;
        return;
    }
    for (uint32_t d = 0; d < node->disk_count; d++) {
        Trilith__DiskState state = chunk_host_disk_state(&node->host->disks[d]);
        if (state != TRILITH__DISK_STATE__DISK_SERVING && state != TRILITH__DISK_STATE__DISK_FULL) {
            sim_violated("L1-settled", "%s: disk %u does not serve, it is in state %d", node->name, d, (int)state);
        }
    }
    if (!node->serving || !chunk_host_lease_holds(node->host, loop_now_ns(sim_loop_interface(node->loop)))) {
        sim_violated("L1-settled", "%s runs and %s", node->name, node->serving ? "has no lease" : "never served");
    }
}

/* A wipe that is still owed is excused when the disk is beyond use, or damaged so that its wipe was refused. */
static bool may_owe(const struct check *check, uint32_t disk, const struct model_copy *copy)
{
    const struct sim_node *node = model_disk_of(check->model, disk)->node;
    return node_is_lossy(check, node->number) && (node->state != SIM_RUNNING || copy->refused_ns != 0);
}

static void check_wipes_are_done(const struct check *check)
{
    for (uint32_t i = 0; i < check->model->chunk_count; i++) {
        const struct model_chunk *chunk = check->model->chunks[i];
        for (uint32_t d = 0; d < MODEL_DISKS_MAX; d++) {
            const struct model_copy *copy = &chunk->copies[d];
            if (copy->wipe == MODEL_OWED && !may_owe(check, d, copy)) {
                sim_violated("L1-settled",
                             "%s still owes the wipe of chunk %s, of erasure %" PRIu64
                             ", since %.6f s; its device refused it last at %.6f s",
                             disk_name(check, d), hex_of(&chunk->id), copy->erasure_id,
                             (double)copy->owed_ns / (double)NS_PER_S, (double)copy->refused_ns / (double)NS_PER_S);
            }
        }
    }
}

struct open_erasures {
    uint64_t open;
    uint64_t an_id;
};

static void count_open(void *user, const void *key, size_t key_bytes, const void *value, size_t value_bytes)
{
    struct open_erasures *erasures = user;
    (void)value;
    bool is_settled =
        value_bytes == 8; /* A late one whose wipes are done: it waits for its certificate, or for its epoch. */
    if (key_bytes == 9 && ((const uint8_t *)key)[0] == 'E' && !is_settled) {
        erasures->open++;
        erasures->an_id = number_of_be((const uint8_t *)key + 1, 8);
    }
}

struct keys_left {
    const struct check *check;
    const Trilith__ClusterRecord *cluster;
    bool reseals;
    int64_t now_ms;
};

static void check_keys_left(void *user, const void *key, size_t key_bytes, const void *value, size_t value_bytes)
{
    const struct keys_left *left = user;
    const struct sim_options *options = &left->check->cluster->options;
    if (key_bytes != 9 || ((const uint8_t *)key)[0] != 'e') {
        return;
    }
    uint64_t id = number_of_be((const uint8_t *)key + 1, 8);
    Trilith__ErasureRecord *record = trilith__erasure_record__unpack(NULL, value_bytes, value);
    CHECK(record != NULL);
    int64_t age_ms = left->now_ms - (int64_t)record->requested_ms;
    int64_t age_max_ms = 2 * (int64_t)options->epoch_ms + 10000 + (int64_t)options->grace_ms;
    bool is_left = record->taken_back_ms == 0 && !erasure_keys_are_gone(left->cluster, id, record);
    if (is_left && (!left->reseals || age_ms > age_max_ms)) {
        sim_violated("L1-settled",
                     "the keys of erasure %" PRIu64 " (%s%s) stand since %.3f s in an epoch that nobody closes", id,
                     record->reason, record->pending ? ", not begun" : "", (double)age_ms / 1e3);
    }
    trilith__erasure_record__free_unpacked(record, NULL);
}

/* Copies are wiped everywhere: what is open now waits for the end of its epoch. As long as versions that can't be read or
 * written wait to be sealed anew, every attempt ends in an erasure: then only old ones count. */
static void check_epochs_are_closed(const struct check *check)
{
    const struct sim_meta *meta = &check->cluster->meta;
    struct keys_left left = {.check = check,
                             .cluster = state_cluster(meta->meta_state),
                             .reseals = checks_dek_is_retiring(check->cluster),
                             .now_ms = (int64_t)loop_wall_ms(sim_loop_interface(meta->loop))};
    sim_kv_each(meta->tables, check_keys_left, &left);
}

/* The copies of an erasure are done with when nobody owes a wipe for it; and it is closed when the epoch is over as well. */
static void check_erasures_are_closed(const struct check *check)
{
    struct open_erasures erasures = {0};
    sim_kv_each(check->cluster->meta.tables, count_open, &erasures);
    for (uint32_t i = 0; erasures.open > 0 && i < check->model->chunk_count; i++) {
        for (uint32_t d = 0; d < MODEL_DISKS_MAX; d++) {
            if (check->model->chunks[i]->copies[d].wipe == MODEL_OWED) {
                return; /* Excused above, or a violation already. */
            }
        }
    }
    if (erasures.open > 0) {
        sim_violated("L1-settled", "%" PRIu64 " erasures are open, %" PRIu64 " among them, and nobody owes a wipe",
                     erasures.open, erasures.an_id);
    }
    check_epochs_are_closed(check);
}

/* L1: some time after the faults have ended the metadata service and all nodes run and serve, every wipe is done and every
 * erasure closed. Excused are nodes with lossy faults that can't start any more, and wipes which their disks refuse. */
void check_everything_settles(const struct check *check)
{
    const struct sim_meta *meta = &check->cluster->meta;
    if (meta->state != SIM_RUNNING) {
        sim_violated("L1-settled", "the metadata service is down: %s", status_name(meta->refusal));
    }
    if (!sim_operator_is_idle(&check->cluster->keeper)) {
        sim_violated(
            "L1-settled",
            "the operator waits for an answer, for the tenant's keys to be enabled, or for a hold to be lifted");
    }
    check->checkers->nodes_left_down = 0;
    for (uint32_t i = 0; i < check->cluster->node_count; i++) {
        check_node_serves(check, &check->cluster->nodes[i]);
    }
    check_wipes_are_done(check);
    check_erasures_are_closed(check);
}

/* ---- L1: orphans ---------------------------------------------------------------------------------------- */

/* How old an orphan may get: the rule's age, two rests of the walk, and a few calls. */
static uint64_t orphan_age_max_ms(const struct sim_options *options)
{
    uint64_t rest_ms = options->orphan_after_ms / 4 < 1000 ? 1000 : options->orphan_after_ms / 4;
    return options->orphan_after_ms + 2 * rest_ms + 5000;
}

static void check_orphan(const struct check *check, const struct sim_node_disk *disk, const struct chunk_header *header)
{
    uint64_t now_ms = loop_wall_ms(sim_loop_interface(disk->node->loop));
    uint32_t number = model_chunk_number(check->model, header->id.bytes);
    const struct model_chunk *chunk = number != UINT32_MAX ? check->model->chunks[number] : NULL;
    bool is_old = header->stored_ms + orphan_age_max_ms(&check->cluster->options) < now_ms;
    bool is_going = chunk != NULL && chunk->copies[model_disk_number(disk)].wipe == MODEL_OWED;
    check_counts(check);
    if (is_old && !is_going && (chunk == NULL || chunk->fate != MODEL_REFERENCED)) {
        sim_violated("L1-orphan", "%s: chunk %s is live, %.3f s old, and no object refers to it", disk->path,
                     hex_of(&header->id), (double)(now_ms - header->stored_ms) / 1e3);
    }
}

static void check_disk_has_no_orphans(const struct check *check, const struct sim_node_disk *disk)
{
    struct chunk_header headers[64];
    struct chunk_id after;
    size_t count = ARRAY_LENGTH(headers);
    for (bool first = true; count == ARRAY_LENGTH(headers); first = false) {
        if (chunk_store_list(disk->store, first ? NULL : &after, headers, ARRAY_LENGTH(headers), &count) != STATUS_OK) {
            return;
        }
        for (size_t i = 0; i < count; i++) {
            check_orphan(check, disk, &headers[i]);
            after = headers[i].id;
        }
    }
}

/* L1: at rest no chunk is live that no object refers to, unless it is younger than the orphan rule. Ages go by the wall
 * clock of the node, so nodes whose clock ever jumped are exempt; and by what a damaged disk says, so are lossy ones. */
void check_no_orphans(const struct check *check)
{
    for (uint32_t i = 0; i < check->cluster->node_count; i++) {
        struct sim_node *node = &check->cluster->nodes[i];
        bool is_meant =
            node->state == SIM_RUNNING && !check->checkers->nodes[i].wall_jumped && !node_is_lossy(check, i);
        for (uint32_t d = 0; is_meant && d < node->disk_count; d++) {
            check_disk_has_no_orphans(check, &node->disks[d]);
        }
    }
}

/* ---- L2 --------------------------------------------------------------------------------------------- */

/* L2 is looked at by whoever runs a phase with one slow disk or node and nothing else: checkers_latencies(). */
void check_latency(const struct check *check)
{
    (void)check;
}

static size_t number_of_checker(const char *name)
{
    for (size_t i = 0; i < checkers_count(); i++) {
        if (strcmp(checkers_at(i)->name, name) == 0) {
            return i;
        }
    }
    UNREACHABLE();
}

void checkers_latencies(struct checkers *checkers, const uint64_t *latencies_ns, size_t count, uint64_t bound_ns)
{
    uint64_t slow = 0;
    uint64_t longest_ns = 0;
    for (size_t i = 0; i < count; i++) {
        slow += latencies_ns[i] > bound_ns ? 1 : 0;
        longest_ns = latencies_ns[i] > longest_ns ? latencies_ns[i] : longest_ns;
    }
    checkers->looks[number_of_checker("L2")] += count;
    if (slow > 0) {
        sim_violated("L2", "%" PRIu64 " of %zu reads took longer than %.3f s, the longest %.3f s", slow, count,
                     (double)bound_ns / (double)NS_PER_S, (double)longest_ns / (double)NS_PER_S);
    }
}

/* ---- R1 --------------------------------------------------------------------------------------------- */

/* A connection per lane to every other node and from it, each with two ends, one to the metadata service, and listeners. */
static uint32_t streams_max(const struct check *check)
{
    return 4 * check->cluster->node_count + 8;
}

static void check_node_leaks_nothing(const struct check *check, const struct sim_node *node)
{
    struct checked_node *seen = &check->checkers->nodes[node->number];
    uint32_t streams = sim_host_open_streams(node->machine);
    check_counts(check);
    bool reseals = checks_dek_is_retiring(check->cluster); /* What can't be read is tried again, for ever. */
    if (!reseals && (node->gateway->puts_in_flight != 0 || node->gateway->gets_in_flight != 0)) {
        sim_violated("R1", "%s: %u puts and %u gets are under way, and no client waits", node->name,
                     node->gateway->puts_in_flight, node->gateway->gets_in_flight);
    }
    if (!reseals && !gateway_is_idle(node->gateway)) {
        sim_violated("R1", "%s: the gateway waits for the metadata service, and nobody asked", node->name);
    }
    if (!reseals && (slab_pool_in_use(node->gateway_slabs) != 0 || slab_pool_in_use(node->replica_slabs) != 0)) {
        sim_violated("R1", "%s: %u slabs of the gateway and %u of replicas are out", node->name,
                     slab_pool_in_use(node->gateway_slabs), slab_pool_in_use(node->replica_slabs));
    }
    if (!reseals && chunk_service_in_flight(node->chunks) != 0) {
        sim_violated("R1", "%s: %u requests of peers are being served", node->name,
                     chunk_service_in_flight(node->chunks));
    }
    for (uint32_t d = 0; d < node->disk_count; d++) {
        const struct chunk_store *store = node->disks[d].store;
        if (!reseals && (!list_is_empty(&store->gets) || !list_is_empty(&store->puts_parked))) {
            sim_violated("R1", "%s: reads or puts wait in the store", node->disks[d].path);
        }
    }
    bool same_process = seen->streams_incarnation == node->incarnation;
    if (streams > streams_max(check) || (same_process && streams > seen->streams + check->cluster->node_count)) {
        sim_violated("R1", "%s has %u streams open, at most %u are expected; before it had %u", node->name, streams,
                     streams_max(check), same_process ? seen->streams : 0);
    }
    seen->streams = streams;
    seen->streams_incarnation = node->incarnation;
}

static void check_meta_leaks_nothing(const struct check *check)
{
    const struct sim_meta *meta = &check->cluster->meta;
    uint32_t requests = 0;
    if (meta->state != SIM_RUNNING || meta->service == NULL) {
        return;
    }
    check_counts(check);
    uint32_t commands = meta_view_commands(meta->service, &requests);
    if (requests > 0) {
        sim_violated("R1", "the metadata service has %u commands under way and %u requests that wait for them",
                     commands, requests);
    }
}

/* R1: at rest every buffer is back in its pool, no put or get is under way, no peer is being served, and the number of open
 * streams is bounded and does not grow from one rest to the next; and the metadata service has all its operations back. While
 * versions wait to be sealed anew that can't be read, nodes are never at rest. */
void check_nothing_leaks(const struct check *check)
{
    for (uint32_t i = 0; i < check->cluster->node_count; i++) {
        const struct sim_node *node = &check->cluster->nodes[i];
        if (node->state == SIM_RUNNING) {
            check_node_leaks_nothing(check, node);
        }
    }
    check_meta_leaks_nothing(check);
}
