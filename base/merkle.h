/* merkle.h - Merkle trees of RFC 6962 (2.1) over SHA-256: leaf hashes, roots, inclusion and consistency.
 *
 *   leaf = SHA-256(00 | entry)      node = SHA-256(01 | left | right)      no leaves: SHA-256()
 *
 * A tree that only grows is kept as the hashes of its full subtrees: (level, index) covers the leaves
 * index << level .. ((index + 1) << level) - 1. Each is written once and never changes, so it may lie in tables or in
 * tiles (C2SP tlog-tiles keeps the levels 0, 8, 16..., 256 hashes to a tile). Whoever stores them gives a function that
 * reads one.
 * Threads    Pure. */
#ifndef TRILITH_BASE_MERKLE_H
#define TRILITH_BASE_MERKLE_H

#include "base/digest.h"

#define MERKLE_LEVELS_MAX 64
#define MERKLE_PROOF_MAX  64

struct merkle_hash {
    uint8_t bytes[SHA256_BYTES];
};

/* Reads the hash of a full subtree. Another status than STATUS_OK ends what asked for it. */
typedef enum status merkle_read(void *user, unsigned level, uint64_t index, struct merkle_hash *hash);
/* Takes the hash of a subtree that has become full: level 0 is the leaf itself. */
typedef void merkle_write(void *user, unsigned level, uint64_t index, const struct merkle_hash *hash);

void merkle_leaf(const void *entry, size_t bytes, struct merkle_hash *hash);
void merkle_node(const struct merkle_hash *left, const struct merkle_hash *right, struct merkle_hash *hash);

/* The right edge of a tree: what is needed to append and to have the root, without reading anything else. */
struct merkle_edge {
    uint64_t size;
    struct merkle_hash
        full[MERKLE_LEVELS_MAX]; /* [level] counts when bit `level` of size is set: the last such subtree */
};

/* The edge of the tree of `size` leaves. Statuses of `read`. */
MUST_USE enum status merkle_edge_read(struct merkle_edge *edge, uint64_t size, merkle_read *read, void *user);
/* Append one leaf; `write` (may be NULL) is told of each subtree that became full. */
void merkle_append(struct merkle_edge *edge, const struct merkle_hash *leaf, merkle_write *write, void *user);
void merkle_root(const struct merkle_edge *edge, struct merkle_hash *root);

/* The inclusion proof of leaf `index` in the tree of `size` leaves: hashes from the leaf upwards (RFC 6962 2.1.1).
 * STATUS_OK; STATUS_INVALID: index not below size; statuses of `read`. */
MUST_USE enum status merkle_inclusion(uint64_t index, uint64_t size, merkle_read *read, void *user,
                                      struct merkle_hash proof[MERKLE_PROOF_MAX], size_t *count);
bool merkle_inclusion_verify(uint64_t index, uint64_t size, const struct merkle_hash *leaf,
                             const struct merkle_hash *proof, size_t count, const struct merkle_hash *root);

/* That the tree of `old_size` (1..size) leaves is the beginning of the one of `size` (RFC 6962 2.1.2). */
MUST_USE enum status merkle_consistency(uint64_t old_size, uint64_t size, merkle_read *read, void *user,
                                        struct merkle_hash proof[MERKLE_PROOF_MAX], size_t *count);
bool merkle_consistency_verify(uint64_t old_size, uint64_t size, const struct merkle_hash *old_root,
                               const struct merkle_hash *root, const struct merkle_hash *proof, size_t count);

/* The tree over a list in memory: its root, and the path of one leaf. `count` at least 1. */
void merkle_root_of(const struct merkle_hash *leaves, uint64_t count, struct merkle_hash *root);
size_t merkle_path_of(const struct merkle_hash *leaves, uint64_t count, uint64_t index,
                      struct merkle_hash proof[MERKLE_PROOF_MAX]);

#endif
