/* agent.h - this node's relation to the metadata service: it registers, renews its lease, learns the map, wipes, and
 * takes PGs over.
 *
 *   REGISTERING ──reply──> UP: a heartbeat every quarter of a lease ──lease over, or not known any more──> REGISTERING
 *
 * After every registration each disk first catches up on the erasures it missed (DISK_CATCHING_UP: it serves nothing),
 * then serves. That a disk serves does not say that everything was wiped: when the device refused a wipe, the disk
 * serves all the same, the erasure stays open at the service, and the wipe is tried again. The lease counts from the
 * moment in which the request was *sent*, so it ends here no later than the leader believes; without one no disk of
 * this node takes puts. While the metadata service is away the agent keeps trying, with growing pauses. One per
 * process, on its first reactor; maps reach the others through `map_changed`.
 *
 * Threads    Loop thread only. */
#ifndef TRILITH_NODE_AGENT_H
#define TRILITH_NODE_AGENT_H

#include "base/signature.h"
#include "node/chunk_host.h"
#include "node/key_horizon.h"
#include "node/map.h"
#include "proto/rpc.h"

#define CLUSTER_ID_BYTES 16

struct agent;

struct agent_parts {
    struct loop *loop;
    struct net *net;
    struct chunk_host *host;
    const char *meta_address; /* these texts stay until the agent is closed */
    const char *name;
    const char *rpc_address;
    const char *s3_address;
    const char *failure_domain;
    const char *boot_id;         /* "": not known */
    const char *sw_digest;       /* of the running program, SHA-256 in hex; "": not known */
    const struct key *seed;      /* what this node signs with */
    struct key_horizon *horizon; /* NULL: this process has no gateway */
    bool has_cluster_id;
    uint8_t cluster_id[CLUSTER_ID_BYTES]; /* of the cluster this node belongs to; another one is refused */
    uint64_t orphan_after_ms;
    uint64_t move_bytes_per_s; /* 0: without bound */
    uint64_t call_ns;
    /* A newer map or newer health; hold a reference to keep it. */
    void (*map_changed)(void *user, struct map *map, uint64_t node_id);
    /* This node has joined a cluster for the first time: remember which. */
    void (*joined)(void *user, const uint8_t cluster_id[CLUSTER_ID_BYTES]);
    /* All disks have caught up after a registration. */
    void (*serving)(void *user);
    void *user;
};

/* NULL: no memory. Begins to register at once. */
MUST_USE struct agent *agent_open(const struct agent_parts *parts);
/* Somebody has a newer map than this node: fetch it soon. */
void agent_refresh(struct agent *agent);
/* Take up nothing more. The loop must turn until agent_is_idle(), then agent_close(). */
void agent_stop(struct agent *agent);
bool agent_is_idle(const struct agent *agent);
void agent_close(struct agent *agent);

#endif
