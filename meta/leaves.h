/* leaves.h - which vault leaf is whose: pages, leases, use and puncture, as part of the replicated state.
 *
 * Only numbers stand here. What a leaf's secret is, the vault knows (vault/vault.h). The rules:
 * - a page of 256 leaves belongs to one bucket of one tenant for ever;
 * - a leaf is given out once, in one lease; when the lease has expired unused, the leaf stays unused for ever;
 * - a leaf is used by at most one version: puncturing it can't take another version's key away;
 * - a punctured leaf never comes back. */
#ifndef TRILITH_META_LEAVES_H
#define TRILITH_META_LEAVES_H

#include "meta/change.h"

#define PAGE_LEAVES 256

/* Lease up to `count` (1..256) fresh leaves of the bucket's open page, opening a page when that one is used up.
 * Writes the page, and `bucket->open_page` (the caller writes the bucket). Sets outcome.leased. STATUS_OK. */
MUST_USE enum status leaves_lease(struct change *change, Trilith__BucketRecord *bucket,
                                  const Trilith__LeaseLeaves *command);

/* Use leaf `slot` of `page` for a version in `bucket` and, when `replaced` is not NULL, puncture the leaf of the
 * version it replaces (which may lie on the same page); then outcome.punctured says so.
 * STATUS_CONFLICT: not leased now, another bucket's, used before, or punctured. */
MUST_USE enum status leaves_use(struct change *change, const Trilith__BucketRecord *bucket, uint32_t page,
                                uint32_t slot, const Trilith__Object *replaced);

/* Puncture the leaf of a version that is being deleted. */
MUST_USE enum status leaves_puncture(struct change *change, const Trilith__Object *object);

/* Call `each` for every punctured leaf. For the vault, when it opens. */
MUST_USE enum status leaves_each_punctured(struct tables *tables,
                                           void (*each)(void *user, uint32_t page, uint32_t slot), void *user);

#endif
