/* vault.h - the interface to the small, really erasable memory that every object key depends on.
 *
 * A leaf is 32 secret bytes named by page and slot. Which leaf is whose is decided by the replicated state
 * (meta/leaves.h); the vault only knows secrets, and forgets them on demand:
 *
 *   lease      leaves that the state has just given out: make them derivable, and say them
 *   derive     the leaf of a version that is there
 *   puncture   forget one leaf; after it, neither this call nor a restart can bring it back through this interface
 *
 * How soon a punctured leaf is beyond recovery from the devices below is up to the implementation.
 * Ownership  Leaves are written into keys of the caller's pool.
 * Threads    Loop thread only; calls are synchronous and fast. */
#ifndef TRILITH_META_VAULT_VAULT_H
#define TRILITH_META_VAULT_VAULT_H

#include "base/keys.h"

#define VAULT_PAGE_LEAVES 256

struct vault;

struct vault_ops {
    enum status (*lease)(struct vault *vault, uint32_t page, uint32_t first_slot, struct key *const *leaves,
                         uint32_t count);
    enum status (*derive)(struct vault *vault, uint32_t page, uint32_t slot, struct key *leaf);
    enum status (*puncture)(struct vault *vault, uint32_t page, uint32_t slot);
    void (*close)(struct vault *vault);
};

struct vault {
    const struct vault_ops *ops;
};

/* Say `count` fresh leaves of one page, `leaves[i]` being slot first_slot + i. STATUS_OK; STATUS_GONE: one of them was
 * punctured; STATUS_INVALID: no such slots. */
MUST_USE static inline enum status vault_lease(struct vault *vault, uint32_t page, uint32_t first_slot,
                                               struct key *const *leaves, uint32_t count)
{
    return vault->ops->lease(vault, page, first_slot, leaves, count);
}

/* STATUS_OK; STATUS_GONE: punctured; STATUS_INVALID: no such slot. */
MUST_USE static inline enum status vault_derive(struct vault *vault, uint32_t page, uint32_t slot, struct key *leaf)
{
    return vault->ops->derive(vault, page, slot, leaf);
}

/* STATUS_OK, also when it was punctured before; STATUS_INVALID: no such slot; STATUS_FULL: no memory. */
MUST_USE static inline enum status vault_puncture(struct vault *vault, uint32_t page, uint32_t slot)
{
    return vault->ops->puncture(vault, page, slot);
}

static inline void vault_close(struct vault *vault)
{
    vault->ops->close(vault);
}

#endif
