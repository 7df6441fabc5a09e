/* object_world.h - one gateway, a scripted metadata service and four scripted nodes, all on one simulated loop and net,
 * for tests of puts and gets of whole objects.
 *
 * The nodes keep chunks in memory and fail on demand: so every fault of a replica that a reader or writer must survive
 * can be had exactly when it is wanted. The metadata service keeps objects, leases leaves and keys, hands out work for
 * the resealer, and refuses, delays and loses what it is told to. One world per process: Criterion forks for each
 * test. */
#ifndef TRILITH_TESTS_OBJECT_WORLD_H
#define TRILITH_TESTS_OBJECT_WORLD_H

#include "node/gateway_parts.h"
#include "node/object.h"
#include "tests/sim/sim_loop.h"
#include "tests/sim/sim_net.h"

#define NODES       4u
#define COPIES_MAX  512u
#define HELD_MAX    64u
#define OBJECTS_MAX 8u
#define PUTS_MAX    8u
#define GETS_MAX    8u
#define BUCKET_ID   7u

/* ---- scripted nodes ------------------------------------------------------------------------------- */

struct copy {
    struct chunk_id id;
    uint32_t pg;
    uint32_t bytes;
    uint32_t suite;
    uint8_t *data;
    uint8_t seals[CHUNK_SEALS_BYTES_MAX];
};

struct fake_node {
    struct rpc_service rpc;
    struct rpc_server *server;
    char address[NET_ADDRESS_BYTES];
    uint32_t disk_id;
    struct copy copies[COPIES_MAX];
    uint32_t copy_count;
    enum status put_status; /* answer puts so, storing nothing */
    unsigned put_failures;  /* ... this many times */
    enum status get_status; /* answer gets so */
    bool hold_puts;         /* never answer */
    bool hold_gets;
    bool flip;                  /* change one byte of every reply's payload */
    bool swap;                  /* answer with another chunk's (well summed) units */
    bool cut;                   /* leave the last byte out */
    unsigned gets_before_death; /* when above 0: break all streams at that get */
    unsigned gets;
    unsigned puts;
};

/* ---- scripted metadata service --------------------------------------------------------------------- */

struct stored_object {
    uint8_t key[64];
    size_t key_bytes;
    uint8_t *packed;
    size_t packed_bytes;
    uint32_t slot;
    uint32_t reseal_slot; /* leased to seal it anew; 0: none */
};

struct fake_meta {
    struct rpc_service rpc;
    struct rpc_server *server;
    struct stored_object objects[OBJECTS_MAX];
    unsigned object_count;
    struct chunk_id condemned[COPIES_MAX];
    unsigned condemned_count;
    bool condemned_are_wiped;      /* nodes do not have them any more */
    uint32_t given_up[COPIES_MAX]; /* slots of leaves that were named in aborts */
    unsigned given_up_count;
    unsigned aborts;
    unsigned commits;
    enum status commit_status; /* answer commits so, storing nothing */
    unsigned commits_to_lose;  /* carry out, but never answer */
    bool hold_keys;            /* never answer TENANT_KEY */
    bool hold_records;         /* nor OBJECT_GET */
    uint64_t journal_index;    /* in the answers to it */
    enum status leaf_status;
    enum status refusal;  /* answer everything that needs the tenant's keys so: KEY_REVOKED, KEY_AWAY */
    uint32_t dek_version; /* the current one */
    bool old_deks_are_gone;
    uint32_t dek_lease_ms;
    uint32_t next_slot;
    unsigned leaf_calls;
    unsigned key_calls;
    unsigned credential_calls;
    bool drop_before_reseal;  /* every object is gone when a leaf to seal it anew is asked for */
    uint64_t object_size_lie; /* added to the size of every record */
    unsigned reseal_pulls;
    bool stale_items;           /* hand out hints of versions that are gone */
    unsigned reseal_leases;     /* asked for */
    unsigned reseals;           /* committed */
    unsigned reseals_overtaken; /* refuse that many with CONFLICT, as if a client had been faster */
};

/* ---- the world ------------------------------------------------------------------------------------ */

extern struct sim_loop *sim;
extern struct sim_net *net;
extern struct loop *loop;
extern struct slab_pool *slabs;
extern struct gateway *gateway;
extern struct key_horizon horizon; /* of this process */
extern struct fake_node nodes[NODES];
extern struct fake_meta meta;
extern struct rpc_request *held[HELD_MAX]; /* requests that were not answered */
extern unsigned held_count;

void world_open(void);
void world_close(void);
/* Close the gateway and open another one. */
void close_gateway(void);
void open_gateway(enum sealer_implementation sealer);
/* A map of the first `count` nodes, those of `down_mask` down, with every triple of disks as a PG. */
void publish_map(unsigned count, unsigned down_mask);
struct copy *node_find(struct fake_node *node, const uint8_t *id);
bool is_condemned(const uint8_t *id);
/* Answer a TENANT_KEY that was held. */
void answer_key(struct rpc_request *request);
/* Answer an OBJECT_GET that was held. */
void answer_record(struct rpc_request *request);
struct stored_object *object_find(const void *key, size_t key_bytes);
/* The record of an object, to be freed by trilith__object__free_unpacked(). */
Trilith__Object *object_record(const char *key);

#endif
