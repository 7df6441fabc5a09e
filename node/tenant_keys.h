/* tenant_keys.h - the data keys (DEK) of tenants that this reactor uses now, each for as long as its lease lasts.
 *
 * A key is asked for when it is first needed; one call per key is in flight and everybody who wants it waits for that
 * one. It stands in guarded memory, and is wiped at the first sweep after its lease: a tenant whose key was revoked
 * can't be read any longer than that. A lease counts from the moment in which the key was *asked* for, so it ends here no
 * later than the metadata service believes. Refusals are not remembered.
 * Threads    Loop thread only. `done` never runs inside the call that asks. */
#ifndef TRILITH_NODE_TENANT_KEYS_H
#define TRILITH_NODE_TENANT_KEYS_H

#include "base/keys.h"
#include "base/loop.h"
#include "proto/rpc.h"

#define TENANT_KEYS_MAX 128 /* keys held at once */

struct tenant_keys;

/* A data key, for a moment. */
struct tenant_key {
    const struct key *key;
    uint32_t version;
    uint64_t until_ns; /* neither it nor what is derived from it may be used from then on */
};

/* Somebody who wants a key. The caller fills the first group. `done` gets STATUS_OK and the key (valid until it returns,
 * its lease not over), or STATUS_KEY_REVOKED, STATUS_KEY_AWAY, STATUS_NOT_FOUND (tenant), STATUS_GONE (destroyed), STATUS_BUSY,
 * or the statuses of rpc_call; STATUS_TIMEOUT also when the answer came so late that the lease was over. */
struct tenant_key_wait {
    uint64_t tenant_id;
    uint32_t dek_version; /* 0: the current one */
    void (*done)(struct tenant_key_wait *wait, enum status status, const struct tenant_key *dek);

    struct list_link link; /* private; zero-initialise */
};

/* Never NULL. Needs TENANT_KEYS_MAX slots of `pool`. */
struct tenant_keys *tenant_keys_open(struct loop *loop, struct rpc_client *meta, struct key_pool *pool,
                                     uint64_t call_ns);
/* The metadata service is not to be asked any more. */
void tenant_keys_stop(struct tenant_keys *keys);
/* Only when idle. */
void tenant_keys_close(struct tenant_keys *keys);
bool tenant_keys_is_idle(const struct tenant_keys *keys);

void tenant_keys_get(struct tenant_keys *keys, struct tenant_key_wait *wait);
/* `done` does not run any more; harmless when it ran. */
void tenant_keys_cancel(struct tenant_key_wait *wait);

/* The tenant's DEK of this version was rotated out: if it is held as the current one, ask again when that is next wanted. */
void tenant_keys_note_rotation(struct tenant_keys *keys, uint64_t tenant_id, uint32_t dek_version);

/* Wipe what has outlived its lease. */
void tenant_keys_sweep(struct tenant_keys *keys);

#endif
