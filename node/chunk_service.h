/* chunk_service.h - what a node serves to its peers on the data lane: CHUNK_PUT, CHUNK_GET, CHUNK_LOCATE, CHUNK_LIST,
 * NODE_PING.
 *
 * One per reactor, behind one rpc_server. A put is received into a slab of the replica pool and stored from there; a
 * get waits in line for such a slab, is read into it and sent from it. A put is only taken for a disk that is a member
 * of the chunk's PG by the map held here, and a PG that stands as the writer knows it (map_check_put()); when the
 * writer has a newer map than this node it hears STATUS_BUSY, writes elsewhere, and `map_is_behind` runs so that the
 * newer one is fetched. A disk that was removed serves nothing.
 *
 * Statuses  STATUS_INVALID: malformed; STATUS_CONFLICT: that disk is not here or not a member; STATUS_BUSY: our map is
 *           older, or too many requests; STATUS_TIMEOUT: nobody waits any more; else those of chunk_host.h.
 * Threads   Loop thread only. */
#ifndef TRILITH_NODE_CHUNK_SERVICE_H
#define TRILITH_NODE_CHUNK_SERVICE_H

#include "node/chunk_host.h"
#include "node/map.h"
#include "proto/rpc.h"

struct chunk_service;

struct chunk_service_parts {
    struct loop *loop;
    struct chunk_host *host;
    struct slab_pool *slabs; /* of replicas: never the gateway's */
    uint32_t requests_max;   /* served at once */
    void (*map_is_behind)(void *user);
    void *user;
};

/* Never NULL. */
struct chunk_service *chunk_service_open(const struct chunk_service_parts *parts);
/* Only when nothing is being served. */
void chunk_service_close(struct chunk_service *service);

/* For rpc_server_open(). */
struct rpc_service *chunk_service_rpc(struct chunk_service *service);

/* Use this map from now on; the service takes its own reference. */
void chunk_service_set_map(struct chunk_service *service, struct map *map);

/* Requests being served now. */
uint32_t chunk_service_in_flight(const struct chunk_service *service);

#endif
