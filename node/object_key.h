/* object_key.h - the key of one object, in the hands of one put or get, for as long as it may be used.
 *
 *   begin ──DEK asked for──> usable ──lease over──> wiped ──next use: DEK asked for again──> usable ...
 *                   └──────────────── refused: `ready` hears why ────────────────┘
 *
 * It is derived from the object's vault leaf and its tenant's DEK, and used no longer than the lease of that DEK, however
 * long the put or get takes: a tenant whose keys were switched off has no access left when the lease is over. So whoever
 * uses it asks for it anew each time, in the same step of the loop, and keeps no pointer to it; a process that stood still
 * beyond the lease finds it gone. The leaf is kept until the end, because the key must be derived again when the lease
 * was renewed; without the DEK it opens nothing.
 * Threads    Loop thread only. `ready` never runs inside a call of this module. */
#ifndef TRILITH_NODE_OBJECT_KEY_H
#define TRILITH_NODE_OBJECT_KEY_H

#include "node/tenant_keys.h"

/* Zero-initialise; the caller fills the first group before object_key_begin(). */
struct object_key {
    struct object_identity identity;
    /* The DEK that was asked for is here, and the key usable until this returns; or it was refused: STATUS_KEY_REVOKED,
     * STATUS_KEY_AWAY, or another status of tenant_keys_get(), or STATUS_BUSY (no key slot). */
    void (*ready)(struct object_key *key, enum status status);

    struct tenant_keys *tenant_keys; /* private from here on, but for dek_version */
    struct loop *loop;
    struct key_pool *pool;
    struct key *leaf;    /* NULL: not begun */
    struct key *derived; /* NULL: not usable now */
    uint64_t until_ns;
    uint32_t dek_version; /* 0: the current one, until the first `ready` says which it is */
    bool asking;
    struct tenant_key_wait wait;
};

/* Begin with the leaf, which belongs to `key` now. dek_version 0: the tenant's current DEK, and that one from then on.
 * Asks for the DEK: `ready` runs once. */
void object_key_begin(struct object_key *key, struct loop *loop, struct tenant_keys *tenant_keys, struct key_pool *pool,
                      uint64_t tenant_id, uint32_t dek_version, struct key *leaf);

/* The key, if it may be used now. NULL: not begun, or it is being asked for, and `ready` will run. */
const struct key *object_key_use(struct object_key *key);

/* Wipe the key if its lease is over. */
void object_key_sweep(struct object_key *key);

/* Wipe everything; `ready` does not run any more. Harmless when not begun. */
void object_key_end(struct object_key *key);

#endif
