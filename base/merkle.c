/* merkle.c - Merkle trees of RFC 6962; the verifying sides follow RFC 9162, 2.1.3.2 and 2.1.4.2 (the same trees). */
#include "base/merkle.h"

#include <string.h>

/* A consistency proof is one longer than the way to a leaf: MERKLE_PROOF_MAX holds up to this size. */
#define SIZE_MAX_LEAVES (UINT64_C(1) << 63)

void merkle_leaf(const void *entry, size_t bytes, struct merkle_hash *hash)
{
    static const uint8_t leaf_prefix = 0x00;
    struct digest digest;
    digest_begin(&digest, DIGEST_SHA256);
    digest_update(&digest, &leaf_prefix, 1);
    digest_update(&digest, entry, bytes);
    digest_end(&digest, hash->bytes);
}

void merkle_node(const struct merkle_hash *left, const struct merkle_hash *right, struct merkle_hash *hash)
{
    uint8_t both[1 + 2 * SHA256_BYTES];
    both[0] = 0x01;
    memcpy(both + 1, left->bytes, SHA256_BYTES);
    memcpy(both + 1 + SHA256_BYTES, right->bytes, SHA256_BYTES);
    sha256(both, sizeof(both), hash->bytes);
}

static bool hashes_equal(const struct merkle_hash *a, const struct merkle_hash *b)
{
    return memcmp(a->bytes, b->bytes, SHA256_BYTES) == 0;
}

/* ---- the right edge ---------------------------------------------------------------------------- */

enum status merkle_edge_read(struct merkle_edge *edge, uint64_t size, merkle_read *read, void *user)
{
    memset(edge, 0, sizeof(*edge));
    edge->size = size;
    for (unsigned level = 0; level < MERKLE_LEVELS_MAX; level++) {
        if ((size >> level & 1) != 0) {
            enum status status = read(user, level, (size >> level) - 1, &edge->full[level]);
            if (status != STATUS_OK) {
                return status;
            }
        }
    }
    return STATUS_OK;
}

void merkle_append(struct merkle_edge *edge, const struct merkle_hash *leaf, merkle_write *write, void *user)
{
    CHECK(edge->size < SIZE_MAX_LEAVES);
    struct merkle_hash hash = *leaf;
    unsigned level = 0;
    if (write != NULL) {
        write(user, 0, edge->size, &hash);
    }
    /* As in counting: each set bit from below carries, and its subtree becomes the left half of the next. */
    for (; (edge->size >> level & 1) != 0; level++) {
        merkle_node(&edge->full[level], &hash, &hash);
        if (write != NULL) {
            write(user, level + 1, edge->size >> (level + 1), &hash);
        }
    }
    edge->full[level] = hash;
    edge->size++;
}

void merkle_root(const struct merkle_edge *edge, struct merkle_hash *root)
{
    if (edge->size == 0) {
        sha256("", 0, root->bytes);
        return;
    }
    bool begun = false;
    for (unsigned level = 0; level < MERKLE_LEVELS_MAX; level++) {
        if ((edge->size >> level & 1) == 0) {
            continue;
        }
        if (begun) {
            merkle_node(&edge->full[level], root, root);
        } else {
            *root = edge->full[level];
            begun = true;
        }
    }
}

/* ---- proofs ------------------------------------------------------------------------------------ */

/* The largest power of two below `n`, n at least 2: where a tree of n leaves splits. */
static uint64_t split_of(uint64_t n)
{
    uint64_t k = 1;
    while (k < n - k) {
        k <<= 1;
    }
    return k;
}

/* The hash over the leaves begin .. begin + n - 1, n at least 1, put together from full subtrees. `begin` lies on a
 * multiple of the power of two at or above n, as every split leaves it. */
static enum status range_hash(uint64_t begin, uint64_t n, merkle_read *read, void *user, struct merkle_hash *hash)
{
    bool begun = false;
    for (unsigned level = 0; level < MERKLE_LEVELS_MAX; level++) {
        if ((n >> level & 1) == 0) {
            continue;
        }
        uint64_t above = level + 1 < MERKLE_LEVELS_MAX ? n >> (level + 1) << (level + 1) : 0;
        struct merkle_hash left;
        enum status status = read(user, level, (begin + above) >> level, &left);
        if (status != STATUS_OK) {
            return status;
        }
        if (begun) {
            merkle_node(&left, hash, hash);
        } else {
            *hash = left;
            begun = true;
        }
    }
    CHECK(begun);
    return STATUS_OK;
}

static void reverse(struct merkle_hash *hashes, size_t count)
{
    for (size_t i = 0; i < count / 2; i++) {
        struct merkle_hash other = hashes[i];
        hashes[i] = hashes[count - 1 - i];
        hashes[count - 1 - i] = other;
    }
}

enum status merkle_inclusion(uint64_t index, uint64_t size, merkle_read *read, void *user,
                             struct merkle_hash proof[MERKLE_PROOF_MAX], size_t *count)
{
    if (index >= size || size > SIZE_MAX_LEAVES) {
        return STATUS_INVALID;
    }
    uint64_t begin = 0;
    uint64_t n = size;
    size_t found = 0;
    while (n > 1) {
        CHECK(found < MERKLE_PROOF_MAX);
        uint64_t k = split_of(n);
        bool left = index - begin < k;
        enum status status = left ? range_hash(begin + k, n - k, read, user, &proof[found])
                                  : range_hash(begin, k, read, user, &proof[found]);
        if (status != STATUS_OK) {
            return status;
        }
        begin = left ? begin : begin + k;
        n = left ? k : n - k;
        found++;
    }
    reverse(proof, found); /* Found from the root down, given from the leaf up. */
    *count = found;
    return STATUS_OK;
}

bool merkle_inclusion_verify(uint64_t index, uint64_t size, const struct merkle_hash *leaf,
                             const struct merkle_hash *proof, size_t count, const struct merkle_hash *root)
{
    if (index >= size) {
        return false;
    }
    uint64_t at = index;
    uint64_t last = size - 1;
    struct merkle_hash hash = *leaf;
    for (size_t i = 0; i < count; i++) {
        if (last == 0) {
            return false;
        }
        if ((at & 1) != 0 || at == last) {
            merkle_node(&proof[i], &hash, &hash);
            while ((at & 1) == 0 && at != 0) {
                at >>= 1;
                last >>= 1;
            }
        } else {
            merkle_node(&hash, &proof[i], &hash);
        }
        at >>= 1;
        last >>= 1;
    }
    return last == 0 && hashes_equal(&hash, root);
}

enum status merkle_consistency(uint64_t old_size, uint64_t size, merkle_read *read, void *user,
                               struct merkle_hash proof[MERKLE_PROOF_MAX], size_t *count)
{
    if (old_size == 0 || old_size > size || size > SIZE_MAX_LEAVES) {
        return STATUS_INVALID;
    }
    uint64_t begin = 0;
    uint64_t n = size;
    uint64_t m = old_size; /* of the old tree's leaves, those from `begin` on */
    bool whole = true;     /* the old tree is the subtree we are in, and its root is known to the reader */
    size_t found = 0;
    while (m != n) {
        CHECK(found < MERKLE_PROOF_MAX);
        uint64_t k = split_of(n);
        bool left = m <= k;
        enum status status = left ? range_hash(begin + k, n - k, read, user, &proof[found])
                                  : range_hash(begin, k, read, user, &proof[found]);
        if (status != STATUS_OK) {
            return status;
        }
        begin = left ? begin : begin + k;
        n = left ? k : n - k;
        m = left ? m : m - k;
        whole = whole && left;
        found++;
    }
    if (!whole) {
        CHECK(found < MERKLE_PROOF_MAX);
        enum status status = range_hash(begin, n, read, user, &proof[found]);
        if (status != STATUS_OK) {
            return status;
        }
        found++;
    }
    reverse(proof, found);
    *count = found;
    return STATUS_OK;
}

bool merkle_consistency_verify(uint64_t old_size, uint64_t size, const struct merkle_hash *old_root,
                               const struct merkle_hash *root, const struct merkle_hash *proof, size_t count)
{
    if (old_size == 0 || old_size > size) {
        return false;
    }
    if (old_size == size) {
        return count == 0 && hashes_equal(old_root, root);
    }
    uint64_t at = old_size - 1;
    uint64_t last = size - 1;
    while ((at & 1) != 0) {
        at >>= 1;
        last >>= 1;
    }
    /* An old tree of a power of two is one subtree of the new: its root is where both begin, and is not in the
     * proof. */
    bool given = (old_size & (old_size - 1)) == 0;
    if (!given && count == 0) {
        return false;
    }
    struct merkle_hash old_hash = given ? *old_root : proof[0];
    struct merkle_hash hash = old_hash;
    for (size_t i = given ? 0 : 1; i < count; i++) {
        if (last == 0) {
            return false;
        }
        if ((at & 1) != 0 || at == last) {
            merkle_node(&proof[i], &old_hash, &old_hash);
            merkle_node(&proof[i], &hash, &hash);
            while ((at & 1) == 0 && at != 0) {
                at >>= 1;
                last >>= 1;
            }
        } else {
            merkle_node(&hash, &proof[i], &hash);
        }
        at >>= 1;
        last >>= 1;
    }
    return last == 0 && hashes_equal(&old_hash, old_root) && hashes_equal(&hash, root);
}

/* ---- lists in memory --------------------------------------------------------------------------- */

static enum status read_list(void *user, unsigned level, uint64_t index, struct merkle_hash *hash)
{
    const struct merkle_hash *leaves = user;
    struct merkle_edge edge = {.size = 0};
    uint64_t n = UINT64_C(1) << level;
    for (uint64_t i = 0; i < n; i++) {
        merkle_append(&edge, &leaves[(index << level) + i], NULL, NULL);
    }
    *hash = edge.full[level];
    return STATUS_OK;
}

void merkle_root_of(const struct merkle_hash *leaves, uint64_t count, struct merkle_hash *root)
{
    CHECK(count > 0);
    struct merkle_edge edge = {.size = 0};
    for (uint64_t i = 0; i < count; i++) {
        merkle_append(&edge, &leaves[i], NULL, NULL);
    }
    merkle_root(&edge, root);
}

size_t merkle_path_of(const struct merkle_hash *leaves, uint64_t count, uint64_t index,
                      struct merkle_hash proof[MERKLE_PROOF_MAX])
{
    CHECK(index < count);
    union {
        const struct merkle_hash *leaves;
        void *user;
    } list = {.leaves = leaves}; /* read_list only reads; the callback's type has no const. */
    size_t found = 0;
    CHECK(merkle_inclusion(index, count, read_list, list.user, proof, &found) == STATUS_OK);
    return found;
}
