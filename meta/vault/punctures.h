/* punctures.h - which leaves are refused in memory although the current table could still say them.
 *
 * Per page two bitmaps: `sealed`, which the epoch being closed leaves out, and `pending`, which waits for the next one.
 * A hash table with linear probing; at most half of it is filled. 68 bytes a page, so 136 to 272 bytes of memory: as
 * long as an epoch may leave so many pages punctured. Nothing here is secret.
 * Pure but for malloc. Threads: none. */
#ifndef TRILITH_META_VAULT_PUNCTURES_H
#define TRILITH_META_VAULT_PUNCTURES_H

#include "meta/vault/ggm.h"

struct puncture {
    uint32_t page; /* 0: a free place */
    struct ggm_bitmap pending;
    struct ggm_bitmap sealed;
};

/* Zero-initialise. */
struct punctures {
    struct puncture *places;
    uint32_t capacity; /* 0, or a power of two */
    uint32_t count;
};

/* Add `leaves` to what is pending of `page` (not 0). STATUS_OK; STATUS_FULL: no memory, nothing changed. */
MUST_USE enum status punctures_add(struct punctures *punctures, uint32_t page, const struct ggm_bitmap *leaves);
bool punctures_has(const struct punctures *punctures, uint32_t page, uint32_t slot);
/* What was pending is sealed. Walks all places. */
void punctures_seal(struct punctures *punctures);
/* These are in no table any more: they need not be refused here. */
void punctures_forget(struct punctures *punctures, uint32_t page, const struct ggm_bitmap *leaves);
void punctures_release(struct punctures *punctures);

/* Does the bitmap name any leaf? */
bool bitmap_is_empty(const struct ggm_bitmap *bitmap);

#endif
