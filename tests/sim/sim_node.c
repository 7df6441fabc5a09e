/* sim_node.c - one storage node in the simulated cluster: started and stopped as node/main.c and node/reactor.c do it.
 *
 *   sim_node_start ── stores open, one after the other ── host, gateway, chunk service, RPC, agent ──> RUNNING
 *   sim_node_stop ── everything is told to end ── idle ── parts close ── stores close ──> DOWN
 *
 * What the two files have as loops around the reactor ("turn until") are tasks and a timer of the process here. */
#include "tests/sim/sim_node.h"

#include "tests/sim/sim_cluster.h"
#include "tests/sim/sim_request.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Enough for the load of a run, and few, so that waiting in line for a slab is common. */
#define GATEWAY_SMALL_SLABS 8
#define GATEWAY_LARGE_SLABS 6
#define REPLICA_SMALL_SLABS 8
#define REPLICA_LARGE_SLABS 6
#define PUTS_MAX            8
#define GETS_MAX            8
#define CHUNK_REQUESTS_MAX  32
#define SEGMENT_BYTES       STORE_SEGMENT_BYTES_MIN
#define TURN_NS             (10 * NS_PER_MS)
#define RESEAL_BYTES_PER_S  MIB(16)

/* ---- the machine ------------------------------------------------------------------------------- */

static void disk_written(struct sim_disk_observer *observer, struct sim_disk *disk, const char *name, uint64_t offset,
                         const uint8_t *content, size_t bytes)
{
    struct sim_node_disk *node_disk = CONTAINER_OF(observer, struct sim_node_disk, observer);
    struct sim_watch *watch = node_disk->node->cluster->watch;
    (void)disk;
    watch->writing(watch, node_disk->node, node_disk, name, offset, content, bytes);
}

static void disk_init(struct sim_node *node, uint32_t number)
{
    struct sim_node_disk *disk = &node->disks[number];
    disk->node = node;
    disk->disk = sim_disk_open(node->cluster->world, sim_random_u64(&node->random));
    disk->index = sim_kv_open();
    (void)snprintf(disk->path, sizeof(disk->path), "%s/disk%u", node->name, number + 1);
    if (node->cluster->watch->writing != NULL) {
        disk->observer.writing = disk_written;
        sim_disk_observe(disk->disk, &disk->observer);
    }
}

void sim_node_init(struct sim_node *node, struct sim_cluster *cluster, uint32_t number)
{
    memset(node, 0, sizeof(*node));
    node->cluster = cluster;
    node->number = number;
    node->random = sim_random_of(cluster->options.seed ^ (UINT64_C(0x6e6f6465) << 8 | number)); /* "node" */
    (void)snprintf(node->name, sizeof(node->name), "node%u", number + 1);
    (void)snprintf(node->domain, sizeof(node->domain), "rack%u", number + 1);
    (void)snprintf(node->rpc_address, sizeof(node->rpc_address), "%s:rpc", node->name);
    (void)snprintf(node->s3_address, sizeof(node->s3_address), "%s:s3", node->name);
    struct key_pool *keys = key_pool_open(1);
    node->seed = keys != NULL ? key_take(keys) : NULL;
    CHECK(node->seed != NULL);
    struct sim_random key_random =
        sim_random_of(cluster->options.seed ^ (UINT64_C(0x7369676e) << 8 | number)); /* "sign" */
    for (unsigned i = 0; i < KEY_BYTES; i++) {
        node->seed->bytes[i] = (uint8_t)sim_random_u64(&key_random);
    }
    node->disk_count = cluster->options.node_disks;
    CHECK(node->disk_count >= 1 && node->disk_count <= SIM_NODE_DISKS_MAX);
    for (uint32_t i = 0; i < node->disk_count; i++) {
        disk_init(node, i);
    }
}

static struct loop *loop_of(struct sim_node *node)
{
    return sim_loop_interface(node->loop);
}

static void doom(struct sim_node *node, enum sim_doom how)
{
    if (node->doom == SIM_NOT_DOOMED) {
        node->doom = how;
        node->cluster->doomed++;
    }
}

static void refuse(struct sim_node *node, uint32_t disk, enum status status)
{
    CHECK(status != STATUS_OK);
    node->refusal = status;
    node->refused_disk = disk;
    doom(node, SIM_DOOM_KILLED);
}

/* ---- maps and the agent's reports ---------------------------------------------------------------- */

static void map_given(struct loop_task *task)
{
    struct sim_node *node = CONTAINER_OF(task, struct sim_node, map_task);
    struct map *map = node->given_map;
    node->map_posted = false;
    node->given_map = NULL;
    if (node->state == SIM_RUNNING) {
        gateway_set_map(node->gateway, map, node->given_node);
        resealer_set_node(node->resealer, node->given_node);
        chunk_service_set_map(node->chunks, map);
    }
    map_release(map);
}

static void map_changed(void *user, struct map *map, uint64_t node_id)
{
    struct sim_node *node = user;
    map_hold(map);
    map_release(node->given_map);
    node->given_map = map;
    node->given_node = node_id;
    node->node_id = node_id;
    if (!node->map_posted) {
        node->map_posted = true;
        loop_post(loop_of(node), &node->map_task);
    }
}

static void refresh_run(struct loop_task *task)
{
    struct sim_node *node = CONTAINER_OF(task, struct sim_node, refresh_task);
    node->refresh_posted = false;
    if (node->state == SIM_RUNNING) {
        agent_refresh(node->agent);
    }
}

static void map_is_behind(void *user)
{
    struct sim_node *node = user;
    if (!node->refresh_posted) {
        node->refresh_posted = true;
        loop_post(loop_of(node), &node->refresh_task);
    }
}

static void joined(void *user, const uint8_t cluster_id[CLUSTER_ID_BYTES])
{
    struct sim_node *node = user;
    node->saved.has_cluster = true;
    memcpy(node->saved.cluster_id, cluster_id, CLUSTER_ID_BYTES);
}

static void serving(void *user)
{
    struct sim_node *node = user;
    struct sim_watch *watch = node->cluster->watch;
    node->serving = true;
    if (watch->serving != NULL) {
        watch->serving(watch, node);
    }
}

/* ---- start ------------------------------------------------------------------------------------- */

static bool agent_start(struct sim_node *node)
{
    const struct sim_options *options = &node->cluster->options;
    struct agent_parts parts = {.loop = loop_of(node),
                                .net = sim_host_interface(node->machine),
                                .host = node->host,
                                .meta_address = SIM_META_ADDRESS,
                                .name = node->name,
                                .rpc_address = node->rpc_address,
                                .s3_address = node->s3_address,
                                .failure_domain = node->domain,
                                .boot_id = "",
                                .sw_digest = "",
                                .seed = node->seed,
                                .horizon = &node->horizon,
                                .has_cluster_id = node->saved.has_cluster,
                                .orphan_after_ms = options->orphan_after_ms,
                                .call_ns = options->meta_call_ms * NS_PER_MS,
                                .map_changed = map_changed,
                                .joined = joined,
                                .serving = serving,
                                .user = node};
    memcpy(parts.cluster_id, node->saved.cluster_id, CLUSTER_ID_BYTES);
    node->agent = agent_open(&parts);
    return node->agent != NULL;
}

static enum status service_open(struct sim_node *node)
{
    const struct sim_options *options = &node->cluster->options;
    struct net *net = sim_host_interface(node->machine);
    node->gateway = gateway_open(&(struct gateway_options){.loop = loop_of(node),
                                                           .net = net,
                                                           .meta_address = SIM_META_ADDRESS,
                                                           .node_name = node->name,
                                                           .host = node->host,
                                                           .horizon = &node->horizon,
                                                           .slabs = node->gateway_slabs,
                                                           .puts_max = PUTS_MAX,
                                                           .gets_max = GETS_MAX,
                                                           .meta_call_ns = options->meta_call_ms * NS_PER_MS,
                                                           .chunk_write_ns = options->chunk_write_ms * NS_PER_MS,
                                                           .chunk_read_ns = options->chunk_read_ms * NS_PER_MS});
    node->resealer = node->gateway != NULL ? resealer_open(node->gateway, RESEAL_BYTES_PER_S) : NULL;
    if (node->resealer == NULL) {
        return STATUS_FULL;
    }
    node->chunks = chunk_service_open(&(struct chunk_service_parts){.loop = loop_of(node),
                                                                    .host = node->host,
                                                                    .slabs = node->replica_slabs,
                                                                    .requests_max = CHUNK_REQUESTS_MAX,
                                                                    .map_is_behind = map_is_behind,
                                                                    .user = node});
    node->s3 = (struct s3_service){.gateway = node->gateway};
    return rpc_server_open(loop_of(node), net, node->rpc_address, chunk_service_rpc(node->chunks), &node->rpc);
}

/* The first disk of each node turns, the others are flash. */
static struct medium medium_of_disk(uint32_t number)
{
    struct medium medium = {.rotational = number == 0, .discard = number != 0};
    (void)snprintf(medium.interface, sizeof(medium.interface), "%s", number == 0 ? "sata" : "nvme");
    (void)snprintf(medium.device, sizeof(medium.device), "%s", number == 0 ? "sda" : "nvme0n1");
    (void)snprintf(medium.model, sizeof(medium.model), "Simulated %u", number);
    (void)snprintf(medium.serial, sizeof(medium.serial), "SIM%04u", number);
    (void)snprintf(medium.file_system, sizeof(medium.file_system), "ext4");
    return medium;
}

/* All stores are open. */
static void node_run(struct sim_node *node)
{
    for (uint32_t i = 0; i < node->disk_count; i++) {
        struct sim_node_disk *disk = &node->disks[i];
        enum status status = chunk_host_add(node->host, loop_of(node), disk->store, disk->path);
        if (status != STATUS_OK) {
            refuse(node, i, status);
            return;
        }
        node->host->disks[i].medium = medium_of_disk(i);
    }
    enum status status = service_open(node);
    if (status == STATUS_OK && !agent_start(node)) {
        status = STATUS_FULL;
    }
    if (status != STATUS_OK) {
        refuse(node, node->disk_count, status);
        return;
    }
    node->state = SIM_RUNNING;
    struct sim_watch *watch = node->cluster->watch;
    if (watch->came_up != NULL) {
        watch->came_up(watch, node);
    }
}

static void store_opened(void *user, enum status status, struct chunk_store *store)
{
    struct sim_node_disk *disk = user;
    disk->answered = true;
    disk->status = status;
    disk->store = store;
    loop_defer(loop_of(disk->node), &disk->node->next_task);
}

static void store_open(struct sim_node *node, struct sim_node_disk *disk)
{
    const struct sim_options *options = &node->cluster->options;
    const struct chunk_store_options store_options = {.capacity_bytes = options->disk_capacity_bytes,
                                                      .segment_bytes = SEGMENT_BYTES,
                                                      .durable_writes = options->durable_writes,
                                                      .prewrite_segments = options->prewrite_segments,
                                                      .group_wait_us = options->group_wait_us,
                                                      .rebuild_index = disk->rebuild_index};
    chunk_store_open(loop_of(node), sim_disk_interface(disk->disk), disk->index, &store_options, store_opened, disk);
}

/* Open the next store; or all are open. */
static void start_continue(struct loop_task *task)
{
    struct sim_node *node = CONTAINER_OF(task, struct sim_node, next_task);
    for (uint32_t i = 0; i < node->disk_count; i++) {
        struct sim_node_disk *disk = &node->disks[i];
        if (!disk->answered) {
            store_open(node, disk);
            return;
        }
        if (disk->status != STATUS_OK) {
            refuse(node, i, disk->status);
            return;
        }
        disk->rebuild_index = false;
    }
    node_run(node);
}

static void stop_run(struct loop_task *task);
static void stop_continue(struct loop_timer *timer);

static void process_begin(struct sim_node *node)
{
    struct sim_cluster *cluster = node->cluster;
    node->incarnation++;
    node->state = SIM_STARTING;
    node->refusal = STATUS_OK;
    node->serving = false;
    node->loop = sim_loop_fork(cluster->world, node->name, sim_random_u64(&node->random));
    sim_loop_set_drift(node->loop, node->drift_ppm);
    node->machine = sim_net_host(cluster->net, node->name, node->loop);
    node->next_task = (struct loop_task){.run = start_continue};
    node->stop_task = (struct loop_task){.run = stop_run};
    node->stop_timer = (struct loop_timer){.fire = stop_continue};
    node->map_task = (struct loop_task){.run = map_given};
    node->refresh_task = (struct loop_task){.run = refresh_run};
    node->map_posted = false;
    node->refresh_posted = false;
    node->given_map = NULL;
    for (uint32_t i = 0; i < node->disk_count; i++) {
        sim_disk_attach(node->disks[i].disk, node->loop);
        node->disks[i].answered = false;
        node->disks[i].closed = false;
    }
}

static struct slab_pool *slabs_open(struct sim_node *node, uint32_t small_count, uint32_t large_count)
{
    struct slab_pool *slabs = slab_pool_open(loop_of(node), small_count, large_count);
    uint8_t *start = NULL;
    size_t bytes = 0;
    CHECK(slabs != NULL);
    slab_pool_arena(slabs, &start, &bytes);
    (void)madvise(start, bytes, MADV_NOHUGEPAGE); /* Most of it is never touched: 2 MiB at a time would cost more. */
    return slabs;
}

void sim_node_start(struct sim_node *node)
{
    CHECK(node->state == SIM_DOWN);
    process_begin(node);
    node->gateway_slabs = slabs_open(node, GATEWAY_SMALL_SLABS, GATEWAY_LARGE_SLABS);
    node->replica_slabs = slabs_open(node, REPLICA_SMALL_SLABS, REPLICA_LARGE_SLABS);
    node->host = calloc(1, sizeof(*node->host));
    CHECK(node->host != NULL);
    chunk_host_init(node->host);
    key_horizon_init(&node->horizon);
    loop_defer(loop_of(node), &node->next_task);
}

/* ---- crash and kill ------------------------------------------------------------------------------ */

/* The two parts of a dead process that would add up: pages of slabs, and ciphers, whose memory in libgcrypt is scarce. */
static void process_shrink(struct sim_node *node)
{
    struct slab_pool *const pools[] = {node->gateway_slabs, node->replica_slabs};
    for (size_t i = 0; i < ARRAY_LENGTH(pools) && pools[i] != NULL; i++) {
        uint8_t *start = NULL;
        size_t bytes = 0;
        slab_pool_arena(pools[i], &start, &bytes);
        CHECK(madvise(start, bytes, MADV_DONTNEED) == 0);
    }
    if (node->gateway != NULL) {
        sealer_close(node->gateway->sealer);
    }
}

static void clients_hear(struct sim_node *node, bool silent)
{
    struct sim_cluster *cluster = node->cluster;
    for (uint32_t i = 0; i < cluster->client_count; i++) {
        sim_client_node_went_down(&cluster->clients[i], node, silent);
    }
    sim_client_node_went_down(&cluster->hand, node, silent);
}

/* Forget the process; its disks and tables have been dealt with. */
static void process_forget(struct sim_node *node, bool silent, bool power_lost)
{
    struct sim_cluster *cluster = node->cluster;
    sim_host_crash(node->machine, silent);
    for (uint32_t i = 0; i < node->disk_count; i++) {
        sim_disk_attach(node->disks[i].disk, cluster->world);
        node->disks[i].store = NULL;
    }
    sim_loop_close(node->loop);
    if (node->doom != SIM_NOT_DOOMED) {
        node->doom = SIM_NOT_DOOMED;
        cluster->doomed--;
    }
    node->loop = NULL;
    node->host = NULL;
    node->gateway_slabs = NULL;
    node->replica_slabs = NULL;
    node->gateway = NULL;
    node->resealer = NULL;
    node->chunks = NULL;
    node->rpc = NULL;
    node->agent = NULL;
    node->s3 = (struct s3_service){.gateway = NULL};
    node->serving = false;
    node->state = SIM_DOWN;
    clients_hear(node, silent);
    sim_requests_drop(cluster, node);
    if (cluster->watch->went_down != NULL) {
        cluster->watch->went_down(cluster->watch, node, power_lost);
    }
}

void sim_node_crash(struct sim_node *node, bool silent)
{
    for (uint32_t i = 0; i < node->disk_count; i++) {
        sim_disk_crash(node->disks[i].disk);
        sim_kv_crash(node->disks[i].index, sim_random_u64(&node->random));
    }
    if (node->state != SIM_DOWN) {
        process_shrink(node);
        process_forget(node, silent, true);
    }
}

void sim_node_kill(struct sim_node *node)
{
    if (node->state == SIM_DOWN) {
        return;
    }
    for (uint32_t i = 0; i < node->disk_count; i++) {
        sim_disk_kill(node->disks[i].disk);
        sim_kv_crash(node->disks[i].index, sim_random_u64(&node->random)); /* Its write-ahead log is off. */
    }
    process_shrink(node);
    process_forget(node, false, false);
}

/* ---- stop -------------------------------------------------------------------------------------- */

void sim_node_stop(struct sim_node *node)
{
    if (node->state == SIM_RUNNING) {
        node->state = SIM_STOPPING;
        loop_post(loop_of(node), &node->stop_task); /* A signal waits until a paused process goes on. */
    }
}

/* What reactor_stop() does. */
static void stop_run(struct loop_task *task)
{
    struct sim_node *node = CONTAINER_OF(task, struct sim_node, stop_task);
    clients_hear(node, false);
    sim_requests_break(node->cluster, node);
    agent_stop(node->agent);
    rpc_server_close(node->rpc);
    node->rpc = NULL;
    resealer_stop(node->resealer);
    gateway_stop(node->gateway);
    loop_timer_start(loop_of(node), &node->stop_timer, loop_now_ns(loop_of(node)) + TURN_NS);
}

static bool node_is_idle(const struct sim_node *node)
{
    return gateway_is_idle(node->gateway) && chunk_service_in_flight(node->chunks) == 0 && agent_is_idle(node->agent) &&
           resealer_is_idle(node->resealer) && !sim_requests_remain(node->cluster, node);
}

static void store_closed(void *user)
{
    struct sim_node_disk *disk = user;
    disk->closed = true;
    disk->store = NULL;
    loop_timer_start(loop_of(disk->node), &disk->node->stop_timer, loop_now_ns(loop_of(disk->node)));
}

/* Close the parts, then one store after the other, then doom the process. */
static void parts_close(struct sim_node *node)
{
    if (node->agent != NULL) {
        agent_close(node->agent);
        resealer_close(node->resealer);
        gateway_close(node->gateway);
        chunk_service_close(node->chunks);
        node->agent = NULL;
        node->resealer = NULL;
        node->gateway = NULL;
        node->chunks = NULL;
    }
    for (uint32_t i = 0; i < node->disk_count; i++) {
        struct sim_node_disk *disk = &node->disks[i];
        if (!disk->closed) {
            chunk_store_close(disk->store, store_closed, disk);
            return;
        }
    }
    doom(node, SIM_DOOM_STOPPED);
}

static void stop_continue(struct loop_timer *timer)
{
    struct sim_node *node = CONTAINER_OF(timer, struct sim_node, stop_timer);
    if (node->agent == NULL || node_is_idle(node)) {
        parts_close(node);
    } else {
        loop_timer_start(loop_of(node), timer, loop_now_ns(loop_of(node)) + TURN_NS);
    }
}

/* The stores are closed, closed clients and streams have freed themselves: the rest of reactor_close(). */
static void process_leave(struct sim_node *node)
{
    slab_pool_close(node->gateway_slabs);
    slab_pool_close(node->replica_slabs);
    map_release(node->given_map);
    free(node->host);
    for (uint32_t i = 0; i < node->disk_count; i++) {
        sim_kv_crash(node->disks[i].index, sim_random_u64(&node->random)); /* A fenced store has not flushed it. */
    }
    process_forget(node, false, false);
}

void sim_node_reap(struct sim_node *node)
{
    switch (node->doom) {
    case SIM_NOT_DOOMED:
        return;
    case SIM_DOOM_STOPPED:
        process_leave(node);
        return;
    case SIM_DOOM_KILLED:
        sim_node_kill(node);
        return;
    case SIM_DOOM_POWER_LOST:
        sim_node_crash(node, false);
        return;
    }
    UNREACHABLE();
}
