/* leaf_leases.h - fresh vault leaves, leased ahead per tenant and bucket, so that a put needs no round trip for its
 * key.
 *
 * A leaf is used once, for one version of one object, or never. The stock of a bucket is filled again when less than a
 * quarter of a lease is left, by one call at a time; puts that find it empty wait in line. A leaf whose lease is about
 * to end is wiped, not used: the metadata service would refuse the commit. When leaves are refused, those in stock are
 * still given out (without its tenant's DEK a leaf is worth nothing), and the next one who wants a leaf has it asked
 * for again.
 *
 * A leaf to seal a version anew does not come from the stock: each is asked for by a call of its own, which names the
 * version. The metadata service keeps a note of it with the version, before anything is sealed under it, and punctures
 * it when the version goes, even if this process is gone by then.
 * Threads    Loop thread only. `done` never runs inside the call that asks. */
#ifndef TRILITH_NODE_LEAF_LEASES_H
#define TRILITH_NODE_LEAF_LEASES_H

#include "base/ids.h"
#include "base/keys.h"
#include "base/loop.h"
#include "proto/rpc.h"

#define LEAF_LEASE_COUNT   64u /* leaves asked for at once */
#define LEAF_STOCK_MAX     (2 * LEAF_LEASE_COUNT)
#define LEAF_BUCKETS_MAX   48u /* buckets written to at once from one reactor */
#define LEAF_KEY_SLOTS_MAX (LEAF_STOCK_MAX * LEAF_BUCKETS_MAX)

#define LEAF_RESEALS_MAX   4u /* calls under way for leaves to seal versions anew */

struct leaf_leases;

/* A version that is to be sealed anew. */
struct leaf_reseal {
    const uint8_t *key; /* of the object */
    size_t key_bytes;
    const struct version_id *version;
};

struct leaf {
    uint32_t page;
    uint32_t slot;
    struct key *key;
    uint64_t until_ns; /* not to be used later */
};

/* Somebody who wants a leaf. `done` gets STATUS_OK and a leaf whose key now belongs to the receiver, or
 * STATUS_NOT_FOUND (no such bucket), STATUS_CONFLICT (reseal: it is not the latest version of its key, or another node
 * is at it),
 * STATUS_KEY_REVOKED, STATUS_KEY_AWAY, STATUS_DENIED, STATUS_BUSY, or the statuses of rpc_call. */
struct leaf_wait {
    uint64_t tenant_id;
    uint64_t bucket_id;
    const struct leaf_reseal *reseal; /* NULL: for a new version; read within leaf_leases_take() */
    void (*done)(struct leaf_wait *wait, enum status status, const struct leaf *leaf);

    struct list_link link; /* private; zero-initialise */
    struct leaf_call *call;
};

/* Never NULL. Needs LEAF_KEY_SLOTS_MAX slots of `pool`. */
struct leaf_leases *leaf_leases_open(struct loop *loop, struct rpc_client *meta, struct key_pool *pool,
                                     uint64_t call_ns);
/* The metadata service is not to be asked any more. */
void leaf_leases_stop(struct leaf_leases *leases);
/* Only when idle. */
void leaf_leases_close(struct leaf_leases *leases);
bool leaf_leases_is_idle(const struct leaf_leases *leases);
/* Leaves are leased to a node: set when it registers. */
void leaf_leases_set_node(struct leaf_leases *leases, uint64_t node_id);

void leaf_leases_take(struct leaf_leases *leases, struct leaf_wait *wait);
/* `done` does not run any more; harmless when it ran. */
void leaf_leases_cancel(struct leaf_wait *wait);

/* Wipe what has outlived its lease. */
void leaf_leases_sweep(struct leaf_leases *leases);

#endif
