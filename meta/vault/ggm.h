/* ggm.h - the 256 leaves of one page as the leaves of a binary tree of keys (Goldreich, Goldwasser, Micali 1986).
 *
 *   root at depth 0; node i of depth d has the children 2i (side 0) and 2i+1 (side 1) of depth d+1;
 *   child = derive_child_key(parent, side); leaf s is node s of depth 8
 *
 * A page nobody has punctured is its seed, 32 bytes. To forget leaves is to keep a *cover* instead: the roots of the
 * largest subtrees that hold no forgotten leaf. From a cover every other leaf follows, and the forgotten ones don't,
 * as a child says nothing of its parent or sibling. A cover of a page has at most 128 nodes (every second leaf forgotten).
 *
 * A cover as bytes: u8 node count n (0..128), then n times { u8 depth 0..8, u8 index, key[32] }, leftmost leaf first, no
 * two overlapping, no two siblings (their parent would stand for both). 1 + 34n bytes.
 * Pure. Covers hold keys: they belong in guarded memory. */
#ifndef TRILITH_META_VAULT_GGM_H
#define TRILITH_META_VAULT_GGM_H

#include "base/keys.h"

#include <stdbool.h>

#define GGM_LEAVES          256
#define GGM_DEPTH           8
#define GGM_BITMAP_BYTES    (GGM_LEAVES / 8)
#define GGM_COVER_NODES_MAX (GGM_LEAVES / 2)
#define GGM_COVER_BYTES_MAX (1 + GGM_COVER_NODES_MAX * (2 + KEY_BYTES))

struct ggm_node {
    uint8_t depth;
    uint8_t index;
    struct key key;
};

struct ggm_cover {
    uint32_t count;
    struct ggm_node nodes[GGM_COVER_NODES_MAX];
};

/* A bitmap of leaves: bit `slot % 8` of byte `slot / 8`. */
struct ggm_bitmap {
    uint8_t bits[GGM_BITMAP_BYTES];
};

static inline bool ggm_bit(const struct ggm_bitmap *bitmap, uint32_t slot)
{
    return (bitmap->bits[slot / 8] >> (slot % 8) & 1) != 0;
}
static inline void ggm_bit_set(struct ggm_bitmap *bitmap, uint32_t slot)
{
    bitmap->bits[slot / 8] |= (uint8_t)(1u << (slot % 8));
}

/* The cover of a whole page. */
void ggm_cover_of_seed(const struct key *seed, struct ggm_cover *cover);
/* Forget the leaves of `punctured`, in place. Returns how many the cover still held: those that were forgotten before
 * count no more. A cover without nodes holds none. */
uint32_t ggm_cover_puncture(struct ggm_cover *cover, const struct ggm_bitmap *punctured);
/* STATUS_OK; STATUS_GONE: forgotten. */
MUST_USE enum status ggm_cover_leaf(const struct ggm_cover *cover, uint32_t slot, struct key *leaf);
/* The leaf of a whole page. */
void ggm_seed_leaf(const struct key *seed, uint32_t slot, struct key *leaf);
/* How many leaves the cover holds, 0..256. */
uint32_t ggm_cover_leaves(const struct ggm_cover *cover);

/* Returns the number of bytes, at most GGM_COVER_BYTES_MAX. */
size_t ggm_cover_encode(const struct ggm_cover *cover, uint8_t bytes[GGM_COVER_BYTES_MAX]);
/* STATUS_OK; STATUS_CORRUPT: not a cover as above. */
MUST_USE enum status ggm_cover_decode(const uint8_t *bytes, size_t size, struct ggm_cover *cover);

#endif
