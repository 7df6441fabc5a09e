/* gateway_parts.h - what a gateway is made of. For main.c, which opens it, and for the object operations, which work
 * with its parts; the S3 front knows gateway.h only.
 *
 * Life  gateway_open(), then use. gateway_stop() refuses new puts and gets and ends every call to other daemons; once
 *       gateway_is_idle() says so (the loop must turn meanwhile), gateway_close().
 * Slabs No put waits for a slab while it holds one that can't be sent: full slabs are always on their way to disks,
 *       whose own slabs come from another pool. No get waits in line for a slab while it holds one. So whatever holds a
 *       slab gets on without a second one, and puts and gets can't block each other for ever. The resealer's get waits for
 *       its put; there is one in a gateway, its get holds two slabs at most, and a pool has more (resealer.h). */
#ifndef TRILITH_NODE_GATEWAY_PARTS_H
#define TRILITH_NODE_GATEWAY_PARTS_H

#include "base/seal.h"
#include "node/chunk_client.h"
#include "node/credential_cache.h"
#include "node/gateway.h"
#include "node/key_horizon.h"
#include "node/leaf_leases.h"
#include "node/object_key.h"
#include "node/object_meta.h"
#include "node/tenant_keys.h"

/* A PUT of OBJECT_BYTES_MAX has this many chunks. */
#define OBJECT_CHUNKS_MAX ((uint32_t)(OBJECT_BYTES_MAX / CHUNK_BYTES_MAX))

_Static_assert(OBJECT_BYTES_MAX % CHUNK_BYTES_MAX == 0, "the largest object is whole chunks");

struct gateway_options {
    struct loop *loop;
    struct net *net;
    const char *meta_address;    /* copied */
    const char *node_name;       /* copied */
    struct chunk_host *host;     /* the disks of this process; NULL: none */
    struct key_horizon *horizon; /* of this process; NULL: nobody asks how old its keys are */
    struct slab_pool *slabs;     /* of this gateway alone */
    uint32_t puts_max;           /* in flight; not more than there are slabs */
    uint32_t gets_max;
    uint64_t meta_call_ns;   /* deadline of one call to the metadata service */
    uint64_t chunk_write_ns; /* of one copy */
    uint64_t chunk_read_ns;
    enum sealer_implementation sealer;
};

/* What a commit is built in: copied by rpc_call_start(), so one per gateway is enough. */
struct commit_message {
    Trilith__ChunkRef refs[OBJECT_CHUNKS_MAX];
    Trilith__ChunkRef *pointers[OBJECT_CHUNKS_MAX];
    struct chunk_id ids[OBJECT_CHUNKS_MAX];
    uint8_t sealed_meta[OBJECT_META_SEALED_MAX];
};

struct gateway {
    struct gateway_options options;
    char node_name[64 + 1];
    struct loop *loop;
    struct rpc_client *meta;
    struct slab_pool *slabs;
    struct key_pool *keys;
    struct sealer *sealer;
    struct chunk_id sealer_chunk; /* what the sealer's key is for now, when sealer_is_set */
    bool sealer_is_set;
    uint64_t sealer_until_ns; /* it may not keep that key longer */
    bool stopped;
    struct chunk_client *chunks;
    struct tenant_keys *tenant_keys;
    struct leaf_leases *leaves;
    struct credential_cache *credentials;
    struct object_put *puts; /* puts_max and gets_max of them, and those that are free */
    struct object_get *gets;
    struct list free_puts;
    struct list free_gets;
    struct list active_puts;
    struct list active_gets;
    struct key_holder key_holder; /* what they hold */
    uint32_t puts_in_flight;
    uint32_t gets_in_flight;
    uint64_t replica_mismatches; /* copies that did not hold what was sealed, since start */
    struct commit_message *commit;
    struct loop_timer sweep;
};

/* NULL: no memory that can be locked, or no working cipher; the reason is logged. */
MUST_USE struct gateway *gateway_open(const struct gateway_options *options);
void gateway_stop(struct gateway *gateway);
bool gateway_is_idle(const struct gateway *gateway);
void gateway_close(struct gateway *gateway);

/* A newer map, in which this process is node `local_node`; a reference is taken. */
void gateway_set_map(struct gateway *gateway, struct map *map, uint64_t local_node);

/* Set the sealer to a chunk of an object, unless it is set to it already. The object's key is usable now. STATUS_OK;
 * STATUS_BUSY: no key slot. */
MUST_USE enum status gateway_sealer_begin(struct gateway *gateway, const struct object_key *object_key,
                                          const struct chunk_binding *binding);
/* The sealer shall not keep the key of that chunk. */
void gateway_sealer_forget(struct gateway *gateway, const struct chunk_id *chunk);

/* Are clients keeping this gateway so busy that work of its own should wait? */
bool gateway_is_busy(const struct gateway *gateway);

/* object_put.c and object_get.c: the pools of operations. Sweeping wipes keys that have outlived their lease. */
void object_puts_open(struct gateway *gateway, uint32_t puts_max);
void object_puts_sweep(struct gateway *gateway);
void object_puts_stop(struct gateway *gateway);
void object_puts_close(struct gateway *gateway);
void object_gets_open(struct gateway *gateway, uint32_t gets_max);
void object_gets_sweep(struct gateway *gateway);
void object_gets_stop(struct gateway *gateway);
void object_gets_close(struct gateway *gateway);

#endif
