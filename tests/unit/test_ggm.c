/* test_ggm.c - covers hold exactly the leaves that were not forgotten, in one encoding; anything else is refused. The model
 * is a bitmap, and the 256 leaves computed one by one from the seed with libsodium's KDF. */
#include "meta/vault/ggm.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>

#define NODE_BYTES (2 + KEY_BYTES)

static struct key seed;
static struct key leaves[GGM_LEAVES]; /* of the model */
static struct ggm_bitmap forgotten;   /* of the model */
static struct ggm_cover cover;

/* From the definition: eight derivations, the most significant bit of the slot number first. */
static void model_leaf(uint32_t slot, struct key *leaf)
{
    *leaf = seed;
    for (uint32_t bit = 128; bit > 0; bit /= 2) {
        struct key child;
        cr_assert_eq(crypto_kdf_derive_from_key(child.bytes, KEY_BYTES, (slot & bit) != 0, "TRLggm1", leaf->bytes), 0);
        *leaf = child;
    }
}

static void setup(void)
{
    cr_assert_geq(sodium_init(), 0);
    for (size_t i = 0; i < KEY_BYTES; i++) {
        seed.bytes[i] = (uint8_t)(200 - 3 * i);
    }
    for (uint32_t slot = 0; slot < GGM_LEAVES; slot++) {
        model_leaf(slot, &leaves[slot]);
    }
    ggm_cover_of_seed(&seed, &cover);
    srand(11);
}

TestSuite(ggm, .init = setup);

static struct ggm_bitmap bitmap_of(uint32_t first, uint32_t count, uint32_t step)
{
    struct ggm_bitmap bitmap = {{0}};
    for (uint32_t i = 0; i < count; i++) {
        ggm_bit_set(&bitmap, first + i * step);
    }
    return bitmap;
}

/* Puncture cover and model; the count must be that of the leaves that were still there. */
static void puncture(const struct ggm_bitmap *bitmap)
{
    uint32_t expected = 0;
    for (uint32_t slot = 0; slot < GGM_LEAVES; slot++) {
        if (ggm_bit(bitmap, slot) && !ggm_bit(&forgotten, slot)) {
            ggm_bit_set(&forgotten, slot);
            expected++;
        }
    }
    cr_assert_eq(ggm_cover_puncture(&cover, bitmap), expected);
}

static uint32_t forgotten_under(uint32_t depth, uint32_t index)
{
    uint32_t height = GGM_DEPTH - depth;
    uint32_t count = 0;
    for (uint32_t slot = index << height; slot < (index + 1) << height; slot++) {
        count += ggm_bit(&forgotten, slot) ? 1 : 0;
    }
    return count;
}

/* The whole promise: kept leaves come out right, forgotten ones don't, no node is an ancestor of a forgotten leaf, every
 * node is as large as it can be, in order, and there are at most 128. */
static void expect_cover_matches_model(void)
{
    uint32_t kept = 0;
    for (uint32_t slot = 0; slot < GGM_LEAVES; slot++) {
        struct key leaf;
        if (ggm_bit(&forgotten, slot)) {
            cr_assert_eq(ggm_cover_leaf(&cover, slot, &leaf), STATUS_GONE, "slot %u", slot);
        } else {
            cr_assert_eq(ggm_cover_leaf(&cover, slot, &leaf), STATUS_OK, "slot %u", slot);
            cr_assert_arr_eq(leaf.bytes, leaves[slot].bytes, KEY_BYTES, "slot %u", slot);
            kept++;
        }
    }
    cr_assert_eq(ggm_cover_leaves(&cover), kept);
    cr_assert_leq(cover.count, GGM_COVER_NODES_MAX);
    uint32_t end = 0;
    for (uint32_t i = 0; i < cover.count; i++) {
        const struct ggm_node *node = &cover.nodes[i];
        cr_assert_leq(node->depth, GGM_DEPTH);
        cr_assert_eq(forgotten_under(node->depth, node->index), 0);
        if (node->depth > 0) {
            cr_assert_gt(forgotten_under(node->depth - 1u, node->index / 2u), 0, "its parent would do");
        }
        uint32_t height = GGM_DEPTH - node->depth;
        cr_assert_geq((uint32_t)node->index << height, end);
        end = (node->index + 1u) << height;
    }
}

static void expect_round_trip(void)
{
    static uint8_t bytes[GGM_COVER_BYTES_MAX];
    static uint8_t again[GGM_COVER_BYTES_MAX];
    static struct ggm_cover decoded;
    size_t size = ggm_cover_encode(&cover, bytes);
    cr_assert_eq(size, 1 + cover.count * NODE_BYTES);
    cr_assert_eq(ggm_cover_decode(bytes, size, &decoded), STATUS_OK);
    cr_assert_eq(ggm_cover_encode(&decoded, again), size);
    cr_assert_arr_eq(bytes, again, size);
}

/* ---- leaves ------------------------------------------------------------------------------------ */

Test(ggm, leaves_are_those_of_the_definition)
{
    for (uint32_t slot = 0; slot < GGM_LEAVES; slot++) {
        struct key leaf;
        ggm_seed_leaf(&seed, slot, &leaf);
        cr_assert_arr_eq(leaf.bytes, leaves[slot].bytes, KEY_BYTES);
        for (uint32_t other = 0; other < slot; other++) {
            cr_assert_neq(memcmp(leaf.bytes, leaves[other].bytes, KEY_BYTES), 0);
        }
    }
    expect_cover_matches_model();
}

Test(ggm, a_slot_past_the_page_is_a_bug, .signal = SIGABRT)
{
    struct key leaf;
    ggm_seed_leaf(&seed, GGM_LEAVES, &leaf);
}

/* ---- forgetting -------------------------------------------------------------------------------- */

Test(ggm, forgetting_one_leaf_keeps_its_eight_siblings_on_the_way_up)
{
    for (uint32_t slot = 0; slot < GGM_LEAVES; slot++) {
        ggm_cover_of_seed(&seed, &cover);
        forgotten = (struct ggm_bitmap){{0}};
        struct ggm_bitmap bitmap = bitmap_of(slot, 1, 1);
        puncture(&bitmap);
        cr_assert_eq(cover.count, GGM_DEPTH);
        expect_cover_matches_model();
    }
}

Test(ggm, random_punctures_match_the_model)
{
    for (uint32_t round = 0; round < 60; round++) {
        ggm_cover_of_seed(&seed, &cover);
        forgotten = (struct ggm_bitmap){{0}};
        uint32_t steps = 1 + (uint32_t)rand() % 12;
        for (uint32_t step = 0; step < steps; step++) {
            struct ggm_bitmap bitmap = {{0}};
            uint32_t count = (uint32_t)rand() % (round % 2 == 0 ? 8 : 60);
            for (uint32_t i = 0; i < count; i++) {
                ggm_bit_set(&bitmap, (uint32_t)rand() % GGM_LEAVES);
            }
            puncture(&bitmap);
            expect_cover_matches_model();
            expect_round_trip();
        }
    }
}

/* What is forgotten, not in how many steps, makes the cover. */
Test(ggm, one_by_one_or_at_once_gives_the_same_cover)
{
    static uint8_t at_once[GGM_COVER_BYTES_MAX];
    static uint8_t one_by_one[GGM_COVER_BYTES_MAX];
    for (uint32_t round = 0; round < 20; round++) {
        struct ggm_bitmap bitmap = {{0}};
        static struct ggm_cover other;
        ggm_cover_of_seed(&seed, &cover);
        ggm_cover_of_seed(&seed, &other);
        for (uint32_t i = 0; i < round * 10; i++) {
            uint32_t slot = (uint32_t)rand() % GGM_LEAVES;
            struct ggm_bitmap single = bitmap_of(slot, 1, 1);
            cr_assert_eq(ggm_cover_puncture(&other, &single), ggm_bit(&bitmap, slot) ? 0u : 1u);
            ggm_bit_set(&bitmap, slot);
        }
        ggm_cover_puncture(&cover, &bitmap);
        size_t size = ggm_cover_encode(&cover, at_once);
        cr_assert_eq(ggm_cover_encode(&other, one_by_one), size);
        cr_assert_arr_eq(at_once, one_by_one, size);
    }
}

Test(ggm, every_second_leaf_forgotten_is_the_largest_cover)
{
    struct ggm_bitmap odd = bitmap_of(1, 128, 2);
    puncture(&odd);
    cr_assert_eq(cover.count, GGM_COVER_NODES_MAX);
    expect_cover_matches_model();
    expect_round_trip();
    struct ggm_bitmap even = bitmap_of(0, 128, 2);
    puncture(&even);
    cr_assert_eq(cover.count, 0);
    expect_cover_matches_model();
    expect_round_trip();
}

/* The order that fills the array to the brim with a node still to be split. */
Test(ggm, a_full_cover_can_still_be_punctured)
{
    for (uint32_t slot = 1; slot < GGM_LEAVES; slot += 2) {
        struct ggm_bitmap bitmap = bitmap_of(slot, 1, 1);
        puncture(&bitmap);
        expect_cover_matches_model();
    }
    for (uint32_t slot = 0; slot < GGM_LEAVES; slot += 2) {
        struct ggm_bitmap bitmap = bitmap_of(slot, 1, 1);
        puncture(&bitmap);
    }
    cr_assert_eq(cover.count, 0);
}

Test(ggm, forgetting_nothing_or_again_changes_nothing)
{
    static uint8_t before[GGM_COVER_BYTES_MAX];
    static uint8_t after[GGM_COVER_BYTES_MAX];
    struct ggm_bitmap some = bitmap_of(17, 40, 3);
    struct ggm_bitmap none = {{0}};
    puncture(&some);
    size_t size = ggm_cover_encode(&cover, before);
    cr_assert_eq(ggm_cover_puncture(&cover, &none), 0);
    cr_assert_eq(ggm_cover_puncture(&cover, &some), 0);
    cr_assert_eq(ggm_cover_encode(&cover, after), size);
    cr_assert_arr_eq(before, after, size);
}

Test(ggm, forgetting_all_leaves_nothing)
{
    struct ggm_bitmap all = bitmap_of(0, GGM_LEAVES, 1);
    puncture(&all);
    cr_assert_eq(cover.count, 0);
    cr_assert_eq(ggm_cover_puncture(&cover, &all), 0);
    expect_cover_matches_model();
    expect_round_trip();
}

static bool memory_holds(const void *memory, size_t bytes, const uint8_t key[KEY_BYTES])
{
    return memmem(memory, bytes, key, KEY_BYTES) != NULL;
}

/* Nothing of what a cover held before may stay in the memory behind its last node. */
Test(ggm, forgotten_keys_are_wiped_from_the_memory_of_the_cover)
{
    memset(&cover, 0, sizeof(cover));
    ggm_cover_of_seed(&seed, &cover);
    struct ggm_bitmap odd = bitmap_of(1, 128, 2);
    puncture(&odd);
    cr_assert_not(memory_holds(&cover, sizeof(cover), seed.bytes));
    struct ggm_bitmap upper = bitmap_of(100, 156, 1);
    puncture(&upper);
    for (uint32_t slot = 0; slot < GGM_LEAVES; slot++) {
        bool is_kept = !ggm_bit(&forgotten, slot);
        cr_assert_eq(memory_holds(&cover, sizeof(cover), leaves[slot].bytes), is_kept, "slot %u", slot);
    }
    cr_assert(sodium_is_zero((const uint8_t *)&cover.nodes[cover.count],
                             (GGM_COVER_NODES_MAX - cover.count) * sizeof(struct ggm_node)));
}

/* ---- as bytes ---------------------------------------------------------------------------------- */

/* Encode nodes of any shape, as an attacker could. */
static size_t bytes_of(const uint8_t (*nodes)[2], uint32_t count, uint8_t *bytes)
{
    bytes[0] = (uint8_t)count;
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *node = bytes + 1 + i * NODE_BYTES;
        node[0] = nodes[i][0];
        node[1] = nodes[i][1];
        memset(node + 2, 0x40 + (int)i, KEY_BYTES);
    }
    return 1 + count * NODE_BYTES;
}

static enum status decode_nodes(const uint8_t (*nodes)[2], uint32_t count)
{
    static uint8_t bytes[1 + 256 * NODE_BYTES];
    static struct ggm_cover decoded;
    return ggm_cover_decode(bytes, bytes_of(nodes, count, bytes), &decoded);
}

Test(ggm, decoding_takes_any_right_shape)
{
    cr_assert_eq(decode_nodes(NULL, 0), STATUS_OK);
    cr_assert_eq(decode_nodes((const uint8_t[][2]){{0, 0}}, 1), STATUS_OK);
    cr_assert_eq(decode_nodes((const uint8_t[][2]){{8, 255}}, 1), STATUS_OK);
    cr_assert_eq(decode_nodes((const uint8_t[][2]){{7, 127}}, 1), STATUS_OK);
    cr_assert_eq(decode_nodes((const uint8_t[][2]){{1, 0}, {2, 2}}, 2), STATUS_OK);
    cr_assert_eq(decode_nodes((const uint8_t[][2]){{8, 1}, {8, 2}}, 2), STATUS_OK, "cousins, not siblings");
    cr_assert_eq(decode_nodes((const uint8_t[][2]){{8, 0}, {7, 1}, {6, 1}}, 3), STATUS_OK);
}

Test(ggm, decoding_refuses_every_wrong_shape)
{
    cr_assert_eq(decode_nodes((const uint8_t[][2]){{9, 0}}, 1), STATUS_CORRUPT, "too deep");
    cr_assert_eq(decode_nodes((const uint8_t[][2]){{255, 0}}, 1), STATUS_CORRUPT, "too deep");
    for (uint8_t depth = 0; depth < 8; depth++) {
        const uint8_t past_end[][2] = {{depth, (uint8_t)(1u << depth)}};
        cr_assert_eq(decode_nodes(past_end, 1), STATUS_CORRUPT, "depth %u has no such node", depth);
        const uint8_t last[][2] = {{depth, (uint8_t)((1u << depth) - 1)}};
        cr_assert_eq(decode_nodes(last, 1), STATUS_OK);
    }
    cr_assert_eq(decode_nodes((const uint8_t[][2]){{8, 7}, {8, 7}}, 2), STATUS_CORRUPT, "twice");
    cr_assert_eq(decode_nodes((const uint8_t[][2]){{8, 9}, {8, 7}}, 2), STATUS_CORRUPT, "wrong order");
    cr_assert_eq(decode_nodes((const uint8_t[][2]){{4, 3}, {8, 48}}, 2), STATUS_CORRUPT, "inside the one before");
    cr_assert_eq(decode_nodes((const uint8_t[][2]){{4, 3}, {8, 63}}, 2), STATUS_CORRUPT, "inside the one before");
    cr_assert_eq(decode_nodes((const uint8_t[][2]){{4, 3}, {8, 64}}, 2), STATUS_OK);
    cr_assert_eq(decode_nodes((const uint8_t[][2]){{8, 48}, {4, 3}}, 2), STATUS_CORRUPT, "around the one before");
    cr_assert_eq(decode_nodes((const uint8_t[][2]){{0, 0}, {8, 255}}, 2), STATUS_CORRUPT, "inside the root");
    cr_assert_eq(decode_nodes((const uint8_t[][2]){{1, 0}, {1, 1}}, 2), STATUS_CORRUPT, "siblings");
    cr_assert_eq(decode_nodes((const uint8_t[][2]){{8, 254}, {8, 255}}, 2), STATUS_CORRUPT, "siblings");
}

Test(ggm, decoding_refuses_more_nodes_than_a_cover_has)
{
    static uint8_t nodes[255][2];
    for (uint32_t count = GGM_COVER_NODES_MAX + 1; count <= 255; count += 42) {
        for (uint32_t i = 0; i < count; i++) {
            nodes[i][0] = 8;
            nodes[i][1] = (uint8_t)i;
        }
        cr_assert_eq(decode_nodes((const uint8_t(*)[2])nodes, count), STATUS_CORRUPT);
    }
}

Test(ggm, decoding_refuses_any_other_length_and_leaves_the_cover_alone)
{
    static uint8_t bytes[GGM_COVER_BYTES_MAX + NODE_BYTES];
    static struct ggm_cover decoded;
    struct ggm_bitmap some = bitmap_of(3, 5, 50);
    puncture(&some);
    size_t size = ggm_cover_encode(&cover, bytes);
    decoded.count = 77;
    for (size_t wrong = 0; wrong <= size + NODE_BYTES; wrong++) {
        if (wrong != size) {
            cr_assert_eq(ggm_cover_decode(bytes, wrong, &decoded), STATUS_CORRUPT, "%zu bytes", wrong);
        }
    }
    cr_assert_eq(decoded.count, 77);
    cr_assert(sodium_is_zero((const uint8_t *)decoded.nodes, sizeof(decoded.nodes)));
}

/* Any change of a shape byte is refused, or is another right cover: never a crash, never two encodings of one cover. */
Test(ggm, whatever_decodes_encodes_to_the_same_bytes)
{
    static uint8_t bytes[GGM_COVER_BYTES_MAX];
    static uint8_t again[GGM_COVER_BYTES_MAX];
    static struct ggm_cover decoded;
    struct ggm_bitmap some = bitmap_of(0, 8, 31);
    puncture(&some);
    size_t size = ggm_cover_encode(&cover, bytes);
    uint32_t accepted = 0;
    for (uint32_t i = 0; i < 20000; i++) {
        size_t node = (size_t)rand() % cover.count;
        size_t at = 1 + node * NODE_BYTES + (size_t)(rand() % 2);
        uint8_t before = bytes[at];
        bytes[at] = (uint8_t)(rand() % (at % NODE_BYTES == 1 ? 10 : 256));
        if (ggm_cover_decode(bytes, size, &decoded) == STATUS_OK) {
            accepted++;
            cr_assert_eq(ggm_cover_encode(&decoded, again), size);
            cr_assert_arr_eq(bytes, again, size);
            cr_assert_leq(ggm_cover_leaves(&decoded), GGM_LEAVES);
        }
        bytes[at] = before;
    }
    cr_assert_gt(accepted, 0);
    cr_assert_lt(accepted, 20000);
}
