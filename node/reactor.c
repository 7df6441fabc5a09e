/* reactor.c - opens, runs, stops and closes what lives on one thread of trilith-node. */
#include "node/reactor.h"

#include "base/kv_rocksdb.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define TURN_NS         (10 * NS_PER_MS)
#define PROBE_MS        300
#define INDEX_DIR_BYTES (NODE_PATH_BYTES + 32)

static enum status fail(struct reactor *reactor, enum status status, const char *what)
{
    snprintf(reactor->message, sizeof(reactor->message), "%s: %s", what, status_name(status));
    return status;
}

/* ---- disks --------------------------------------------------------------------------------------- */

static enum status directory_make(struct reactor *reactor, const char *path)
{
    if (mkdir(path, 0700) == 0 || errno == EEXIST) {
        return STATUS_OK;
    }
    int error = errno;
    snprintf(reactor->message, sizeof(reactor->message), "%s: can't be made: %s", path, strerror(error));
    return status_from_errno(error);
}

/* Throw the index of a disk away; the store rebuilds it from the segments. */
static void index_remove(const char *path)
{
    DIR *directory = opendir(path);
    if (directory == NULL) {
        return;
    }
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        unlinkat(dirfd(directory), entry->d_name, 0);
    }
    closedir(directory);
}

static enum status index_open(struct reactor *reactor, struct reactor_disk *disk)
{
    char path[INDEX_DIR_BYTES];
    snprintf(path, sizeof(path), "%s/index-%u", reactor->options->directory, disk->number);
    enum status status = directory_make(reactor, path);
    if (status != STATUS_OK) {
        return status;
    }
    if (reactor->rebuild_index) {
        index_remove(path);
    }
    status = kv_rocksdb_open(path, (size_t)reactor->options->index_cache_bytes, &disk->index, reactor->message,
                             sizeof(reactor->message));
    if (status == STATUS_CORRUPT) {
        size_t used = strlen(reactor->message);
        snprintf(reactor->message + used, sizeof(reactor->message) - used,
                 "; start once with --rebuild-index to make it anew from the segments");
    }
    return status;
}

static void store_opened(void *user, enum status status, struct chunk_store *store)
{
    struct reactor_disk *disk = user;
    disk->answered = true;
    disk->status = status;
    disk->store = store;
}

static enum status disk_open(struct reactor *reactor, struct reactor_disk *disk, bool probe_flush, bool *durable_write)
{
    const struct node_options *options = reactor->options;
    enum status status = directory_make(reactor, disk->path);
    if (status == STATUS_OK) {
        status = uring_disk_open(reactor->uring, disk->path, options->allow_volatile, &disk->disk, reactor->message,
                                 sizeof(reactor->message));
    }
    if (status == STATUS_OK && probe_flush) {
        status = uring_disk_probe_durable_write(disk->disk, PROBE_MS, durable_write);
        if (status != STATUS_OK) {
            return fail(reactor, status, disk->path);
        }
        log_event(LOG_INFO, "flush_probed", "disk=%s faster=%s", disk->path, *durable_write ? "write" : "flush");
    }
    if (status == STATUS_OK) {
        status = index_open(reactor, disk);
    }
    if (status != STATUS_OK) {
        return status;
    }
    struct chunk_store_options store_options = {.capacity_bytes = options->disk_capacity_bytes,
                                                .segment_bytes = options->segment_bytes,
                                                .durable_writes = *durable_write,
                                                .prewrite_segments = (uint32_t)options->prewrite_segments,
                                                .group_wait_us = (uint32_t)options->group_wait_us,
                                                .rebuild_index = reactor->rebuild_index};
    chunk_store_open(reactor->loop, disk->disk, disk->index, &store_options, store_opened, disk);
    while (!disk->answered) {
        reactor_turn(reactor);
    }
    return disk->status == STATUS_OK ? STATUS_OK : fail(reactor, disk->status, disk->path);
}

static struct slab_pool *slabs_open(struct reactor *reactor, uint64_t small, uint64_t large)
{
    struct slab_pool *pool = slab_pool_open(reactor->loop, (uint32_t)small, (uint32_t)large);
    if (pool != NULL) {
        uint8_t *start = NULL;
        size_t bytes = 0;
        slab_pool_arena(pool, &start, &bytes);
        uring_loop_register_arena(reactor->uring, start, bytes);
    }
    return pool;
}

static void map_given(struct loop_task *task);
static void refresh_run(struct loop_task *task);

enum status reactor_open_disks(struct reactor *reactor, bool probe_flush, bool *durable_write)
{
    const struct node_options *options = reactor->options;
    enum status status = uring_loop_open(&reactor->uring, reactor->message, sizeof(reactor->message));
    if (status != STATUS_OK) {
        return status;
    }
    reactor->loop = uring_loop_interface(reactor->uring);
    reactor->map_task.run = map_given;
    reactor->refresh_task.run = refresh_run;
    reactor->gateway_slabs = slabs_open(reactor, options->gateway_small_slabs, options->gateway_large_slabs);
    reactor->replica_slabs = slabs_open(reactor, options->replica_small_slabs, options->replica_large_slabs);
    if (reactor->gateway_slabs == NULL || reactor->replica_slabs == NULL) {
        return fail(reactor, STATUS_FULL, "no memory for the slabs");
    }
    for (uint32_t i = 0; i < reactor->disk_count && status == STATUS_OK; i++) {
        status = disk_open(reactor, &reactor->disks[i], probe_flush, durable_write);
    }
    return status;
}

/* ---- service ------------------------------------------------------------------------------------- */

static void front_ready(struct uring_watch *watch)
{
    http_front_turn(CONTAINER_OF(watch, struct reactor, front_watch)->front);
}

/* On the first reactor: a writer somewhere has a newer map than we. */
static void refresh_run(struct loop_task *task)
{
    struct reactor *reactor = CONTAINER_OF(task, struct reactor, refresh_task);
    atomic_store(&reactor->refresh_posted, false);
    if (reactor->first->agent != NULL) {
        agent_refresh(reactor->first->agent);
    }
}

static void map_is_behind(void *user)
{
    struct reactor *reactor = user;
    if (!atomic_exchange(&reactor->refresh_posted, true)) {
        loop_post(reactor->first->loop, &reactor->refresh_task);
    }
}

static enum status front_open(struct reactor *reactor, const char *address)
{
    const struct node_options *options = reactor->options;
    struct http_front_options front_options = http_front_default_options();
    front_options.listen = address;
    front_options.domain = options->s3_domain;
    front_options.connections_max = (uint32_t)options->s3_connections;
    front_options.idle_timeout_s = (uint32_t)((options->s3_idle_ms + 999) / 1000);
    front_options.access_log = options->access_log;
    enum status status =
        http_front_open(reactor->gateway, &front_options, &reactor->front, reactor->message, sizeof(reactor->message));
    if (status == STATUS_OK) {
        reactor->front_watch.ready = front_ready;
        reactor->front_watch.descriptor = http_front_descriptor(reactor->front);
        uring_watch_start(reactor->uring, &reactor->front_watch);
    }
    return status;
}

enum status reactor_open_service(struct reactor *reactor, const char *rpc_address, const char *s3_address)
{
    const struct node_options *options = reactor->options;
    struct net *net = uring_loop_net(reactor->uring);
    reactor->gateway = gateway_open(&(struct gateway_options){.loop = reactor->loop,
                                                              .net = net,
                                                              .meta_address = options->meta,
                                                              .node_name = options->name,
                                                              .host = reactor->host,
                                                              .horizon = reactor->horizon,
                                                              .slabs = reactor->gateway_slabs,
                                                              .puts_max = (uint32_t)options->puts_max,
                                                              .gets_max = (uint32_t)options->gets_max,
                                                              .meta_call_ns = options->meta_call_ms * NS_PER_MS,
                                                              .chunk_write_ns = options->chunk_write_ms * NS_PER_MS,
                                                              .chunk_read_ns = options->chunk_read_ms * NS_PER_MS});
    if (reactor->gateway == NULL) {
        return fail(reactor, STATUS_FULL, "no memory that can be locked for keys: raise the limit memlock");
    }
    if (reactor == reactor->first) {
        reactor->resealer = resealer_open(reactor->gateway, options->reseal_bytes_per_s);
        if (reactor->resealer == NULL) {
            return fail(reactor, STATUS_FULL, "no guarded memory for sealing anew");
        }
    }
    reactor->chunks =
        chunk_service_open(&(struct chunk_service_parts){.loop = reactor->loop,
                                                         .host = reactor->host,
                                                         .slabs = reactor->replica_slabs,
                                                         .requests_max = (uint32_t)options->chunk_requests_max,
                                                         .map_is_behind = map_is_behind,
                                                         .user = reactor});
    enum status status =
        rpc_server_open(reactor->loop, net, rpc_address, chunk_service_rpc(reactor->chunks), &reactor->rpc);
    if (status != STATUS_OK) {
        return fail(reactor, status, rpc_address);
    }
    return front_open(reactor, s3_address);
}

/* ---- maps ---------------------------------------------------------------------------------------- */

static void map_given(struct loop_task *task)
{
    struct reactor *reactor = CONTAINER_OF(task, struct reactor, map_task);
    atomic_store(&reactor->map_posted, false);
    struct map *map = atomic_exchange(&reactor->given_map, NULL);
    if (map != NULL && !reactor->stopping) {
        gateway_set_map(reactor->gateway, map, atomic_load(&reactor->given_node));
        if (reactor->resealer != NULL) {
            resealer_set_node(reactor->resealer, atomic_load(&reactor->given_node));
        }
        chunk_service_set_map(reactor->chunks, map);
    }
    map_release(map);
}

void reactor_give_map(struct reactor *reactor, struct map *map, uint64_t node_id)
{
    map_hold(map);
    atomic_store(&reactor->given_node, node_id);
    map_release(atomic_exchange(&reactor->given_map, map));
    if (!atomic_exchange(&reactor->map_posted, true)) {
        loop_post(reactor->loop, &reactor->map_task);
    }
}

/* ---- run and stop -------------------------------------------------------------------------------- */

void reactor_run(struct reactor *reactor)
{
    uring_loop_run(reactor->uring);
}

void reactor_request_stop(struct reactor *reactor)
{
    uring_loop_stop(reactor->uring);
}

void reactor_turn(struct reactor *reactor)
{
    uring_loop_turn(reactor->uring, loop_now_ns(reactor->loop) + TURN_NS);
}

void reactor_stop(struct reactor *reactor)
{
    reactor->stopping = true;
    if (reactor->front != NULL) {
        uring_watch_stop(reactor->uring, &reactor->front_watch);
        http_front_close(reactor->front);
        reactor->front = NULL;
    }
    if (reactor->agent != NULL) {
        agent_stop(reactor->agent);
    }
    if (reactor->rpc != NULL) {
        rpc_server_close(reactor->rpc);
        reactor->rpc = NULL;
    }
    if (reactor->resealer != NULL) {
        resealer_stop(reactor->resealer);
    }
    if (reactor->gateway != NULL) {
        gateway_stop(reactor->gateway);
    }
}

bool reactor_is_idle(const struct reactor *reactor)
{
    return (reactor->gateway == NULL || gateway_is_idle(reactor->gateway)) &&
           (reactor->chunks == NULL || chunk_service_in_flight(reactor->chunks) == 0) &&
           (reactor->agent == NULL || agent_is_idle(reactor->agent)) &&
           (reactor->resealer == NULL || resealer_is_idle(reactor->resealer));
}

/* ---- close --------------------------------------------------------------------------------------- */

static void store_closed(void *user)
{
    struct reactor_disk *disk = user;
    disk->closed = true;
}

static void disk_close(struct reactor *reactor, struct reactor_disk *disk)
{
    if (disk->store != NULL) {
        chunk_store_close(disk->store, store_closed, disk);
        while (!disk->closed) {
            reactor_turn(reactor);
        }
    }
    if (disk->index != NULL) {
        kv_close(disk->index);
    }
    if (disk->disk != NULL) {
        uring_disk_close(disk->disk);
    }
}

void reactor_close(struct reactor *reactor)
{
    if (reactor->agent != NULL) {
        agent_close(reactor->agent);
    }
    if (reactor->resealer != NULL) {
        resealer_close(reactor->resealer);
    }
    if (reactor->gateway != NULL) {
        gateway_close(reactor->gateway);
    }
    if (reactor->chunks != NULL) {
        chunk_service_close(reactor->chunks);
    }
    for (uint32_t i = 0; i < reactor->disk_count; i++) {
        disk_close(reactor, &reactor->disks[i]);
    }
    if (reactor->loop != NULL) {
        reactor_turn(reactor); /* Closed clients and streams free themselves. */
    }
    if (reactor->gateway_slabs != NULL) {
        slab_pool_close(reactor->gateway_slabs);
    }
    if (reactor->replica_slabs != NULL) {
        slab_pool_close(reactor->replica_slabs);
    }
    if (reactor->uring != NULL) {
        uring_loop_close(reactor->uring);
    }
    map_release(atomic_exchange(&reactor->given_map, NULL));
}
