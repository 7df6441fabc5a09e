/* test_merkle.c - the trees of RFC 6962: published roots and paths, and every proof of every small tree. */
#include "base/merkle.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_MAX_TESTED 70

/* The leaves that the tests of Certificate Transparency use. */
static const struct {
    const char *bytes;
    size_t count;
} inputs[8] = {
    {"", 0},
    {"\x00", 1},
    {"\x10", 1},
    {"\x20\x21", 2},
    {"\x30\x31", 2},
    {"\x40\x41\x42\x43", 4},
    {"\x50\x51\x52\x53\x54\x55\x56\x57", 8},
    {"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f", 16},
};

static const char *const roots[9] = {
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
};

/* What merkle_append() writes: all full subtrees. */
struct store {
    struct merkle_hash hashes[8][SIZE_MAX_TESTED];
    bool is_there[8][SIZE_MAX_TESTED];
    unsigned reads_left; /* 0: reading fails */
};

static void store_write(void *user, unsigned level, uint64_t index, const struct merkle_hash *hash)
{
    struct store *store = user;
    cr_assert_lt(level, 8);
    cr_assert_lt(index, SIZE_MAX_TESTED);
    cr_assert_not(store->is_there[level][index], "each subtree is written once");
    store->is_there[level][index] = true;
    store->hashes[level][index] = *hash;
}

static enum status store_read(void *user, unsigned level, uint64_t index, struct merkle_hash *hash)
{
    struct store *store = user;
    cr_assert_lt(level, 8);
    cr_assert_lt(index, SIZE_MAX_TESTED);
    cr_assert(store->is_there[level][index], "only what is full is read: level %u, index %d", level, (int)index);
    if (store->reads_left == 0) {
        return STATUS_IO;
    }
    store->reads_left--;
    *hash = store->hashes[level][index];
    return STATUS_OK;
}

static struct store store;
static struct merkle_edge edge;
static struct merkle_hash leaves[SIZE_MAX_TESTED];
static struct merkle_hash root_of_size[SIZE_MAX_TESTED + 1];

static void expect_hash(const struct merkle_hash *hash, const char *expected)
{
    char text[2 * SHA256_BYTES + 1];
    hex_encode(hash->bytes, SHA256_BYTES, text);
    cr_assert_str_eq(text, expected);
}

/* RFC 6962, 2.1, as it is written there: slow and plain. */
static void root_by_definition(const struct merkle_hash *list, size_t n, struct merkle_hash *hash)
{
    if (n == 1) {
        *hash = list[0];
        return;
    }
    size_t k = 1;
    while (2 * k < n) {
        k *= 2;
    }
    struct merkle_hash left;
    struct merkle_hash right;
    root_by_definition(list, k, &left);
    root_by_definition(list + k, n - k, &right);
    merkle_node(&left, &right, hash);
}

static void setup(void)
{
    store.reads_left = 1000000;
    merkle_root(&edge, &root_of_size[0]);
    for (unsigned i = 0; i < SIZE_MAX_TESTED; i++) {
        uint8_t entry[2] = {(uint8_t)i, 7};
        merkle_leaf(entry, sizeof(entry), &leaves[i]);
        merkle_append(&edge, &leaves[i], store_write, &store);
        merkle_root(&edge, &root_of_size[i + 1]);
    }
}

TestSuite(merkle, .init = setup);

Test(merkle, published_roots)
{
    struct merkle_edge published = {.size = 0};
    for (unsigned n = 0; n <= 8; n++) {
        struct merkle_hash hash;
        merkle_root(&published, &hash);
        expect_hash(&hash, roots[n]);
        if (n < 8) {
            merkle_leaf(inputs[n].bytes, inputs[n].count, &hash);
            merkle_append(&published, &hash, NULL, NULL);
        }
    }
}

Test(merkle, published_path)
{
    static const char *const path[3] = {"96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                                        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                                        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"};
    struct merkle_hash list[8];
    struct merkle_hash proof[MERKLE_PROOF_MAX];
    for (unsigned i = 0; i < 8; i++) {
        merkle_leaf(inputs[i].bytes, inputs[i].count, &list[i]);
    }
    cr_assert_eq(merkle_path_of(list, 8, 0, proof), 3);
    for (unsigned i = 0; i < 3; i++) {
        expect_hash(&proof[i], path[i]);
    }
}

Test(merkle, roots_are_those_of_the_definition)
{
    for (size_t n = 1; n <= SIZE_MAX_TESTED; n++) {
        struct merkle_hash hash;
        root_by_definition(leaves, n, &hash);
        cr_assert_arr_eq(hash.bytes, root_of_size[n].bytes, SHA256_BYTES);
        merkle_root_of(leaves, n, &hash);
        cr_assert_arr_eq(hash.bytes, root_of_size[n].bytes, SHA256_BYTES);
    }
}

Test(merkle, the_edge_can_be_read_back)
{
    for (uint64_t n = 0; n <= SIZE_MAX_TESTED; n++) {
        struct merkle_edge again;
        struct merkle_hash hash;
        cr_assert_eq(merkle_edge_read(&again, n, store_read, &store), STATUS_OK);
        merkle_root(&again, &hash);
        cr_assert_arr_eq(hash.bytes, root_of_size[n].bytes, SHA256_BYTES);
        if (n < SIZE_MAX_TESTED) {
            merkle_append(&again, &leaves[n], NULL, NULL);
            merkle_root(&again, &hash);
            cr_assert_arr_eq(hash.bytes, root_of_size[n + 1].bytes, SHA256_BYTES);
        }
    }
}

static void expect_only_this_inclusion(uint64_t index, uint64_t size, struct merkle_hash *proof, size_t count)
{
    const struct merkle_hash *root = &root_of_size[size];
    cr_assert(merkle_inclusion_verify(index, size, &leaves[index], proof, count, root));
    for (size_t i = 0; i < count; i++) {
        proof[i].bytes[i % SHA256_BYTES] ^= 1;
        cr_assert_not(merkle_inclusion_verify(index, size, &leaves[index], proof, count, root));
        proof[i].bytes[i % SHA256_BYTES] ^= 1;
    }
    if (count > 0) {
        cr_assert_not(merkle_inclusion_verify(index, size, &leaves[index], proof, count - 1, root));
    }
    proof[count] = leaves[0];
    cr_assert_not(merkle_inclusion_verify(index, size, &leaves[index], proof, count + 1, root));
    for (uint64_t other = 0; other < size; other++) {
        if (other != index) {
            cr_assert_not(merkle_inclusion_verify(other, size, &leaves[index], proof, count, root));
            cr_assert_not(merkle_inclusion_verify(index, size, &leaves[other], proof, count, root));
        }
    }
    cr_assert_not(merkle_inclusion_verify(size, size, &leaves[index], proof, count, root));
    cr_assert_not(merkle_inclusion_verify(index, size, &leaves[index], proof, count, &root_of_size[size - 1]));
}

Test(merkle, inclusion_of_every_leaf_in_every_tree)
{
    for (uint64_t size = 1; size <= SIZE_MAX_TESTED; size++) {
        for (uint64_t index = 0; index < size; index++) {
            struct merkle_hash proof[MERKLE_PROOF_MAX];
            struct merkle_hash path[MERKLE_PROOF_MAX];
            size_t count = 0;
            cr_assert_eq(merkle_inclusion(index, size, store_read, &store, proof, &count), STATUS_OK);
            cr_assert_eq(merkle_path_of(leaves, size, index, path), count);
            cr_assert(count == 0 || memcmp(proof, path, count * sizeof(proof[0])) == 0);
            store.reads_left = 1000000;
            expect_only_this_inclusion(index, size, proof, count);
        }
    }
}

static void expect_only_this_consistency(uint64_t old_size, uint64_t size, struct merkle_hash *proof, size_t count)
{
    const struct merkle_hash *old_root = &root_of_size[old_size];
    const struct merkle_hash *root = &root_of_size[size];
    cr_assert(merkle_consistency_verify(old_size, size, old_root, root, proof, count));
    for (size_t i = 0; i < count; i++) {
        proof[i].bytes[i % SHA256_BYTES] ^= 1;
        cr_assert_not(merkle_consistency_verify(old_size, size, old_root, root, proof, count));
        proof[i].bytes[i % SHA256_BYTES] ^= 1;
    }
    if (count > 0) {
        cr_assert_not(merkle_consistency_verify(old_size, size, old_root, root, proof, count - 1));
    }
    proof[count] = leaves[0];
    cr_assert_not(merkle_consistency_verify(old_size, size, old_root, root, proof, count + 1));
    for (uint64_t other = 0; other <= size; other++) {
        if (other != old_size) {
            cr_assert_not(merkle_consistency_verify(other, size, old_root, root, proof, count));
            cr_assert_not(merkle_consistency_verify(old_size, size, &root_of_size[other], root, proof, count));
        }
    }
    if (old_size < size) {
        cr_assert_not(merkle_consistency_verify(old_size, size, old_root, &root_of_size[size - 1], proof, count));
    }
}

Test(merkle, consistency_of_every_two_trees)
{
    for (uint64_t size = 1; size <= SIZE_MAX_TESTED; size++) {
        for (uint64_t old_size = 1; old_size <= size; old_size++) {
            struct merkle_hash proof[MERKLE_PROOF_MAX];
            size_t count = 0;
            cr_assert_eq(merkle_consistency(old_size, size, store_read, &store, proof, &count), STATUS_OK);
            store.reads_left = 1000000;
            expect_only_this_consistency(old_size, size, proof, count);
        }
    }
}

Test(merkle, impossible_questions_and_failing_reads)
{
    struct merkle_hash proof[MERKLE_PROOF_MAX];
    struct merkle_edge again;
    size_t count = 0;
    cr_assert_eq(merkle_inclusion(5, 5, store_read, &store, proof, &count), STATUS_INVALID);
    cr_assert_eq(merkle_inclusion(0, 0, store_read, &store, proof, &count), STATUS_INVALID);
    cr_assert_eq(merkle_consistency(0, 5, store_read, &store, proof, &count), STATUS_INVALID);
    cr_assert_eq(merkle_consistency(6, 5, store_read, &store, proof, &count), STATUS_INVALID);
    for (unsigned reads = 0; reads < 4; reads++) {
        store.reads_left = reads;
        cr_assert_eq(merkle_inclusion(3, 63, store_read, &store, proof, &count), STATUS_IO);
        store.reads_left = reads;
        cr_assert_eq(merkle_consistency(3, 63, store_read, &store, proof, &count), STATUS_IO);
        store.reads_left = reads;
        cr_assert_eq(merkle_edge_read(&again, 63, store_read, &store), STATUS_IO);
    }
    cr_assert_not(merkle_inclusion_verify(0, 0, &leaves[0], NULL, 0, &root_of_size[0]));
}

/* A tree so large that only its shape can be tested: the proofs fit, and every read lies inside. */
static enum status shape_read(void *user, unsigned level, uint64_t index, struct merkle_hash *hash)
{
    uint64_t size = *(const uint64_t *)user;
    cr_assert_lt(level, MERKLE_LEVELS_MAX);
    cr_assert_leq(index, (size >> level) - 1);
    memset(hash, 0, sizeof(*hash));
    return STATUS_OK;
}

Test(merkle, proofs_of_the_largest_trees_fit)
{
    uint64_t sizes[] = {UINT64_C(1) << 63, (UINT64_C(1) << 63) - 1, (UINT64_C(1) << 62) + 1};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        struct merkle_hash proof[MERKLE_PROOF_MAX];
        size_t count = 0;
        cr_assert_eq(merkle_inclusion(sizes[i] - 2, sizes[i], shape_read, &sizes[i], proof, &count), STATUS_OK);
        cr_assert_leq(count, MERKLE_PROOF_MAX);
        cr_assert_eq(merkle_consistency(sizes[i] - 2, sizes[i], shape_read, &sizes[i], proof, &count), STATUS_OK);
        cr_assert_eq(merkle_consistency(3, sizes[i], shape_read, &sizes[i], proof, &count), STATUS_OK);
        cr_assert_leq(count, MERKLE_PROOF_MAX);
    }
}
