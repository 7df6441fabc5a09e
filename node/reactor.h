/* reactor.h - one thread of trilith-node with everything that lives on it: loop, buffers, disks, gateway, servers.
 *
 * Belongs to the program, like main.c: these two files put the parts together and are the only ones that name the
 * edges.
 *
 * All reactors go through the same phases at the same time, with a barrier after each, so that a later phase finds
 * what the earlier one made on every reactor:
 *   1 reactor_open_disks   loop, buffers, stores        (then main.c lists the stores in the chunk_host)
 *   2 reactor_open_service gateway, RPC server, S3 front (the first reactor before the others: it picks the ports)
 *   3 reactor_run          until reactor_request_stop()
 *   4 reactor_stop         no new work; turn until nothing is under way on any reactor
 *   5 reactor_close        stores flushed, all given back
 * Between reactors travel only tasks: chunk jobs (chunk_host.h), maps (reactor_give_map) and wake-ups of the agent. */
#ifndef TRILITH_NODE_REACTOR_H
#define TRILITH_NODE_REACTOR_H

#include "base/kv.h"
#include "base/uring.h"
#include "node/agent.h"
#include "node/chunk_service.h"
#include "node/gateway_parts.h"
#include "node/options.h"
#include "node/resealer.h"
#include "node/s3/http.h"

#define REACTOR_MESSAGE_BYTES 1024

/* One disk of this process, owned by one reactor. */
struct reactor_disk {
    const char *path;
    uint32_t number; /* in the configuration, from 0 */
    bool answered;
    bool closed;
    enum status status;
    struct disk *disk;
    struct kv *index;
    struct chunk_store *store;
};

struct reactor {
    uint32_t number;
    bool rebuild_index;
    bool stopping;
    atomic_bool map_posted;
    atomic_bool refresh_posted;
    const struct node_options *options;
    struct chunk_host *host;
    struct key_horizon *horizon;
    char message[REACTOR_MESSAGE_BYTES]; /* why a phase failed, for people */

    struct uring_loop *uring;
    struct loop *loop;
    struct slab_pool *gateway_slabs;
    struct slab_pool *replica_slabs;
    struct reactor_disk disks[CHUNK_HOST_DISKS_MAX];
    uint32_t disk_count;

    struct gateway *gateway;
    struct resealer *resealer; /* of the first reactor only */
    struct chunk_service *chunks;
    struct rpc_server *rpc;
    struct http_front *front;
    struct uring_watch front_watch;

    _Atomic(struct map *) given_map; /* the newest map not taken yet */
    atomic_uint_least64_t given_node;
    struct loop_task map_task;

    struct reactor *first;         /* where the agent lives */
    struct agent *agent;           /* of the first reactor only */
    struct loop_task refresh_task; /* runs on the first reactor */
};

/* Phase 1. `probe_flush`: measure how this disk flushes best, into *durable_write; otherwise *durable_write says. */
MUST_USE enum status reactor_open_disks(struct reactor *reactor, bool probe_flush, bool *durable_write);
/* Phase 2, with the addresses to listen on. */
MUST_USE enum status reactor_open_service(struct reactor *reactor, const char *rpc_address, const char *s3_address);
void reactor_run(struct reactor *reactor);
/* Any thread, and signal handlers. */
void reactor_request_stop(struct reactor *reactor);

/* Phase 4: begin, then turn for a moment, then ask. */
void reactor_stop(struct reactor *reactor);
void reactor_turn(struct reactor *reactor);
bool reactor_is_idle(const struct reactor *reactor);
void reactor_close(struct reactor *reactor);

/* Hand a map over; from any thread. A reactor that has not taken the last one yet skips it. */
void reactor_give_map(struct reactor *reactor, struct map *map, uint64_t node_id);

#endif
