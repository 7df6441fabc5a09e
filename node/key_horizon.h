/* key_horizon.h - since when every object key in this process's memory has come: what a certificate waits for.
 *
 * An erasure punctures a leaf of the vault at some index of the metadata service's journal. A gateway that fetched the
 * object's key before that may still have it in memory. So each put and get notes, before it asks for a key, the newest
 * index of the journal that this process has heard; the service had come at least that far when it answered. The
 * horizon is the smallest index noted by what is under way or, when nothing is, the newest heard: no key in this
 * process comes from before it, and none that comes later will.
 *
 *   get   held before OBJECT_GET is sent, raised to the index in the reply, let go when key and leaf are wiped and no
 *         reply is awaited
 *   put   held before its leaf is taken, let go when key and leaf are wiped. A leaf belongs to an object only once that
 *         is committed, which is after the index noted; so a leaf that is merely leased (leaf_leases.h) is nobody's
 *         key, and is not counted
 *
 * Covered are leaves, object keys, and the chunk and metadata keys made from them: put and get are the only ones who
 * have any (HEAD and the resealer are gets and puts, too), and the sealer forgets a chunk's key with the chunk. There
 * is no cache of object keys. Not covered are tenants' data keys (tenant_keys.h), which open nothing without a leaf and
 * end with their lease; and plaintext on its way to a client. A process that starts has no keys.
 *
 * Why nothing slips through: key_horizon_since() loads the newest index first and looks at what is held afterwards;
 * whoever holds stores it before it sends. So a hold that was not seen began after that load, and its answer is at
 * least as new.
 *
 * Threads    A key_holder belongs to one reactor. The horizon is shared: atomics, sequentially consistent. */
#ifndef TRILITH_NODE_KEY_HORIZON_H
#define TRILITH_NODE_KEY_HORIZON_H

#include "base/list.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define KEY_HOLDERS_MAX 256u

/* One per process. */
struct key_horizon {
    atomic_uint_least64_t newest; /* index heard; 0: none yet */
    atomic_uint holder_count;
    struct {
        _Alignas(64) atomic_uint_least64_t oldest; /* held there; UINT64_MAX: nothing */
    } holders[KEY_HOLDERS_MAX];
};

void key_horizon_init(struct key_horizon *horizon);
/* The metadata service's journal had come to `index` when it sent something that is here now. Any thread. */
void key_horizon_heard(struct key_horizon *horizon, uint64_t index);
/* What may be said: no object key in this process is from before this index. Any thread. */
uint64_t key_horizon_since(struct key_horizon *horizon);

/* One per reactor. */
struct key_holder {
    struct key_horizon *horizon; /* NULL: nobody asks */
    unsigned number;
    struct list held; /* by index, smallest first */
};

/* Zero-initialise. */
struct held_key {
    struct list_link link;
    uint64_t index;
    bool held;
};

/* `horizon` stays until the last holder has let go; NULL is allowed. At most KEY_HOLDERS_MAX holders. */
void key_holder_init(struct key_holder *holder, struct key_horizon *horizon);
/* Before a key is asked for. Not while held. */
void key_hold(struct key_holder *holder, struct held_key *key);
/* The key has come, with `index`: it is that new. 0, or an older one than was noted: nothing changes. */
void key_hold_from(struct key_holder *holder, struct held_key *key, uint64_t index);
/* It is wiped, and none is on its way. Harmless when not held. */
void key_let_go(struct key_holder *holder, struct held_key *key);

#endif
