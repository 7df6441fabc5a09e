/* chunk_client.h - sending sealed chunks to disks and fetching their units back, wherever the disk is.
 *
 * A disk of this process is reached through chunk_host.h, without copying; any other over the data lane of its node,
 * with one rpc_client per node, opened when first used. What comes back is checked against what the object's record
 * says (size, suite, number of units) and unit by unit against the CRCs before the caller sees it.
 *
 * The client also remembers which disks failed lately, so that new chunks go elsewhere before the leader knows.
 *
 * Ownership  Sends and fetches, and the buffers they name, belong to the caller and stay untouched until `done`, which
 *            runs exactly once and never inside the call that starts them. That is also true after a cancel: only
 *            `done` says that the buffer is free.
 * Threads    Loop thread only. */
#ifndef TRILITH_NODE_CHUNK_CLIENT_H
#define TRILITH_NODE_CHUNK_CLIENT_H

#include "node/chunk_host.h"
#include "node/map.h"
#include "proto/rpc.h"

struct chunk_client;

/* How long new chunks keep away from a disk that failed. */
#define CHUNK_CLIENT_SUSPECT_NS (5 * NS_PER_S)

/* `host` holds the disks of this process; NULL: it has none. Never NULL. */
struct chunk_client *chunk_client_open(struct loop *loop, struct net *net, struct chunk_host *host);
/* Only when nothing is in flight. */
void chunk_client_close(struct chunk_client *client);

/* Use this map from now on (the client takes its own reference); this process is node `local_node` in it. */
void chunk_client_set_map(struct chunk_client *client, struct map *map, uint64_t local_node);
/* NULL until there is one. Valid until the loop turns. */
const struct map *chunk_client_map(const struct chunk_client *client);
uint64_t chunk_client_local_node(const struct chunk_client *client);

/* For other calls to the node of a disk; valid until the next map. NULL: the map does not know the disk, or no
 * memory. */
struct rpc_client *chunk_client_peer(struct chunk_client *client, uint32_t disk_id);

void chunk_client_suspect(struct chunk_client *client, uint32_t disk_id);
/* The disks suspected now. */
void chunk_client_suspects(struct chunk_client *client, struct map_avoid *avoid);

/* ---- send --------------------------------------------------------------------------------------- */

/* One sealed chunk to one disk. `done` gets the statuses of CHUNK_PUT (chunk_service.h), or those of rpc_call. */
struct chunk_send {
    uint32_t disk_id;
    struct chunk_header header; /* without stored_ms */
    uint8_t *payload;           /* chunk_bytes, with room up to the next block */
    const uint8_t *seals;
    uint64_t deadline_ns; /* a disk of this process may take longer */
    void (*done)(struct chunk_send *send, enum status status);

    struct chunk_client *client; /* from here on private */
    bool is_remote;
    union {
        struct host_put local;
        struct rpc_call remote;
    } via;
    struct loop_task task;
};
void chunk_client_send(struct chunk_client *client, struct chunk_send *send);
/* Hurry the end: a call to another node ends now, a write to our own disk when it ends. Only before `done`. */
void chunk_send_cancel(struct chunk_send *send);

/* ---- fetch -------------------------------------------------------------------------------------- */

/* Units of one chunk from one disk. `done` gets STATUS_OK: `data` points into `buffer`, `seals` are filled, CRCs are
 * right; STATUS_CORRUPT: the copy, or what arrived, is damaged or not what was asked for; else the statuses of
 * CHUNK_GET or of rpc_call. */
struct chunk_fetch {
    struct chunk_id id;
    uint32_t disk_id;
    uint32_t first_unit;
    uint32_t unit_count;  /* 1.. */
    uint32_t chunk_bytes; /* of the whole chunk, as the record says */
    enum suite suite;     /* likewise */
    uint8_t *buffer;      /* aligned to BLOCK_BYTES */
    uint32_t buffer_bytes;
    uint64_t deadline_ns;
    void (*done)(struct chunk_fetch *fetch, enum status status);

    uint8_t *data; /* outcome */
    uint8_t seals[CHUNK_SEALS_BYTES_MAX];

    struct chunk_client *client; /* from here on private */
    bool is_remote;
    union {
        struct host_get local;
        struct rpc_call remote;
    } via;
    struct loop_task task;
};
void chunk_client_fetch(struct chunk_client *client, struct chunk_fetch *fetch);
void chunk_fetch_cancel(struct chunk_fetch *fetch);

#endif
