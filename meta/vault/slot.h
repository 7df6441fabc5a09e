/* slot.h - the small, really erasable memory of one metadata server: its shares of the roots of at most two epochs.
 *
 * Everything else that the vault writes is worthless without it. So an implementation must overwrite in place, and may
 * say that something was destroyed only after it has read back that it is. Behind it: slot_file.c (a file of two
 * blocks; on flash the old block may survive in the device: residual ROOT_SLOT_SOFTWARE), later a PKCS#11 token or TPM NV
 * indexes, whose calls take their time: hence one call at a time, answered later.
 *
 * The slot has two cells; epoch e stands in cell e % 2. A cell is empty, destroyed (it says of which epoch) or holds:
 *   vault uuid[16], epoch u64, servers u8, threshold u8, share index u8, share[32], commitment[32] of the epoch's root
 * Ownership  slot_call and what it points to stay the caller's, untouched until `done`. Shares: guarded memory.
 * Threads    Loop thread only. `done` never runs inside slot_start(). */
#ifndef TRILITH_META_VAULT_SLOT_H
#define TRILITH_META_VAULT_SLOT_H

#include "base/loop.h"
#include "meta/vault/shamir.h"

#define SLOT_CELLS         2
#define VAULT_UUID_BYTES   16
#define SLOT_MESSAGE_BYTES 256

struct slot;

enum slot_operation {
    SLOT_READ,    /* fill `cells` */
    SLOT_PUT,     /* write `cells[0]` to the cell of its epoch, read it back, compare */
    SLOT_DESTROY, /* overwrite what the cell of `epoch` holds of that epoch, read it back, compare; also when it is gone */
};

enum slot_state {
    SLOT_EMPTY,     /* never written */
    SLOT_HOLDS,     /* a share */
    SLOT_DESTROYED, /* `epoch` says whose share was overwritten last */
    SLOT_DAMAGED,   /* neither: a write that was cut off, or rot */
};

struct slot_cell {
    enum slot_state state;
    uint8_t vault_uuid[VAULT_UUID_BYTES];
    uint64_t epoch;
    uint32_t servers;
    uint32_t threshold;
    uint8_t commitment[COMMITMENT_BYTES];
    struct shamir_share share; /* zero unless SLOT_HOLDS */
};

/*   STATUS_OK       done, and read back
 *   STATUS_CORRUPT  what was read back is not what was written: the slot must not be used any more
 *   STATUS_IO       the device failed; the cell holds the old, the new, or neither */
struct slot_call {
    enum slot_operation operation;
    uint64_t epoch;          /* SLOT_DESTROY */
    struct slot_cell *cells; /* guarded memory: SLOT_CELLS of them for SLOT_READ, one for SLOT_PUT */
    enum status status;
    void (*done)(struct slot_call *call);
};

struct slot_ops {
    void (*start)(struct slot *slot, struct slot_call *call);
    void (*close)(struct slot *slot);
};

struct slot {
    const struct slot_ops *ops;
    const char *backend; /* "file": for certificates and status */
};

/* One call at a time. */
static inline void slot_start(struct slot *slot, struct slot_call *call)
{
    slot->ops->start(slot, call);
}

/* With no call under way. */
static inline void slot_close(struct slot *slot)
{
    slot->ops->close(slot);
}

#endif
