/* leaves.h - which vault leaf is whose: pages, leases, use and puncture, as part of the replicated state.
 *
 * fresh ──lease──> idle ──use──> live ──puncture──> punctured          (idle, when its lease runs out unused: punctured too)
 *
 * Only numbers stand here. What a leaf's secret is, the vault knows (vault/vault.h). The rules:
 * - a page of 256 leaves belongs to one bucket of one tenant for ever;
 * - the keys (DEK) of a tenant have pages of their own: bucket 0;
 * - a leaf is given out once, in one lease; when the lease has expired unused, the leaf is punctured, and one that was
 * leased
 *   to seal a version anew goes before that, with the version;
 * - a leaf is used by at most one version or DEK: puncturing it can't take another's key away;
 * - a punctured leaf never comes back.
 * Every puncture is also noted under the number of the seal that will take it out of the vault (epochs.h): what a vault
 * must be told when it opens. cluster->leaves_live and leaves_punctured count. */
#ifndef TRILITH_META_LEAVES_H
#define TRILITH_META_LEAVES_H

#include "meta/change.h"

#define PAGE_LEAVES       256

#define LEASES_LAPSED_MAX 256u   /* by one command */
#define PAGES_DROPPED_MAX 65536u /* by one command */

/* A leaf by its number. */
struct leaf_at {
    uint32_t page;
    uint32_t slot;
    bool idle; /* among leaves to puncture: it was leased, nobody uses it, and it may be punctured already */
};

/* Lease up to `count` (1..256) fresh leaves of the open page (0: none yet) of `bucket_id` of `tenant_id`, opening a
 * page when that one is used up; and puncture `instead_of`, an idle leaf of any page (NULL: none). Writes the pages,
 * and `*open_page` (the caller writes the row that it stands in). Sets outcome.leased, and outcome.punctured.
 * STATUS_OK; STATUS_BUSY: a close is under way and the pages that its table reaches are used up. */
MUST_USE enum status leaves_lease(struct change *change, uint64_t tenant_id, uint64_t bucket_id, uint32_t *open_page,
                                  const Trilith__LeaseLeaves *command, const struct leaf_at *instead_of);

/* Use `used` (count leaves, of pages of `tenant_id` and `bucket_id`) and puncture `gone` (live leaves, or idle ones, of
 * any page): the two may lie on the same pages. outcome.punctured says what is gone.
 * STATUS_CONFLICT: one of `used` is not leased now, another bucket's, used before, or punctured. */
MUST_USE enum status leaves_exchange(struct change *change, uint64_t tenant_id, uint64_t bucket_id,
                                     const struct leaf_at *used, size_t used_count, const struct leaf_at *gone,
                                     size_t gone_count);

/* Puncture a leaf of a bucket that was leased and that nobody uses: of a write that was given up. Live, fresh,
 * punctured and unknown leaves, those of keys, and another tenant's are left alone. STATUS_OK. */
MUST_USE enum status leaves_give_up(struct change *change, uint64_t tenant_id, struct leaf_at leaf);

/* Puncture the unused leaves of leases that ran out before now: at most LEASES_LAPSED_MAX leases. STATUS_OK. */
MUST_USE enum status leaves_lapse(struct change *change);
/* Are there leases that ran out before `time_ms`? */
bool leaves_have_lapsed(struct tables *tables, uint64_t time_ms);

/* Puncture every leaf of every page of a bucket (0: of the tenant's keys) that has no live leaf any more: at most
 * PAGES_DROPPED_MAX pages; further ones hold nothing live either. The bucket is being deleted. STATUS_OK. */
MUST_USE enum status leaves_drop(struct change *change, uint64_t tenant_id, uint64_t bucket_id);

/* Puncture every leaf of up to `max_pages` pages of a bucket (0: of the tenant's keys), live ones too: its tenant is
 * being erased, and what used them goes with this command or went before. `*live_dropped` were live: the caller counts
 * versions, DEKs and reference keys down by as many (epochs_balance()). `*more`: there are more pages, for another
 * command. Once per command, which punctures nothing else. Nothing may be leased to the bucket any more. STATUS_OK. */
MUST_USE enum status leaves_drop_live(struct change *change, uint64_t tenant_id, uint64_t bucket_id, uint32_t max_pages,
                                      uint64_t *live_dropped, bool *more);

/* Call `each` for every page with punctures that the vault's current table may still hold. For a vault that opens. */
MUST_USE enum status leaves_each_dirty(struct tables *tables,
                                       void (*each)(void *user, const struct page_puncture *puncture), void *user);

#endif
