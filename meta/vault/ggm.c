/* ggm.c - leaves from seeds and covers, and covers that forget. Keys on the stack are wiped before the call returns.
 *
 * A cover is always *the* cover of what it holds: two siblings never stand in it together, as their parent would stand for
 * both. So a set of leaves has one cover and one encoding, and the bound of 128 nodes holds: let f(h) be the most nodes of
 * a subtree of height h with a forgotten leaf; f(1) = 1, f(h) = max(1 + f(h-1), 2 f(h-1)), hence f(8) = 128. */
#include "meta/vault/ggm.h"
#include "base/bytes.h"

#define NODE_BYTES (2 + KEY_BYTES)

/* The leaves under a node: `count` from `first` on. */
struct leaf_range {
    uint32_t first;
    uint32_t count;
};

static struct leaf_range leaves_under(uint32_t depth, uint32_t index)
{
    uint32_t height = GGM_DEPTH - depth;
    return (struct leaf_range){.first = index << height, .count = 1u << height};
}

static uint32_t count_punctured(const struct ggm_bitmap *punctured, struct leaf_range leaves)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < leaves.count; i++) {
        count += ggm_bit(punctured, leaves.first + i) ? 1 : 0;
    }
    return count;
}

/* Walk down from a node at `depth` to leaf `slot`: one bit of the slot number says the side at each step. */
static void derive_leaf(const struct key *from, uint32_t depth, uint32_t slot, struct key *leaf)
{
    struct key steps[2]; /* parent and child in turn */
    steps[depth % 2] = *from;
    for (uint32_t at = depth; at < GGM_DEPTH; at++) {
        unsigned side = slot >> (GGM_DEPTH - 1 - at) & 1;
        derive_child_key(&steps[at % 2], side, &steps[(at + 1) % 2]);
    }
    *leaf = steps[GGM_DEPTH % 2];
    wipe_memory(steps, sizeof(steps));
}

void ggm_seed_leaf(const struct key *seed, uint32_t slot, struct key *leaf)
{
    CHECK(slot < GGM_LEAVES);
    derive_leaf(seed, 0, slot, leaf);
}

void ggm_cover_of_seed(const struct key *seed, struct ggm_cover *cover)
{
    cover->count = 1;
    cover->nodes[0] = (struct ggm_node){.key = *seed};
}

enum status ggm_cover_leaf(const struct ggm_cover *cover, uint32_t slot, struct key *leaf)
{
    CHECK(slot < GGM_LEAVES);
    CHECK(cover->count <= GGM_COVER_NODES_MAX);
    for (uint32_t i = 0; i < cover->count; i++) {
        const struct ggm_node *node = &cover->nodes[i];
        struct leaf_range leaves = leaves_under(node->depth, node->index);
        if (slot >= leaves.first && slot < leaves.first + leaves.count) {
            derive_leaf(&node->key, node->depth, slot, leaf);
            return STATUS_OK;
        }
    }
    return STATUS_GONE;
}

uint32_t ggm_cover_leaves(const struct ggm_cover *cover)
{
    uint32_t leaves = 0;
    for (uint32_t i = 0; i < cover->count; i++) {
        leaves += leaves_under(cover->nodes[i].depth, cover->nodes[i].index).count;
    }
    return leaves;
}

/* ---- puncturing --------------------------------------------------------------------------------
 *
 * Done in place, from the left: a node without punctured leaves stays, one whose leaves are all punctured goes, and any
 * other is replaced by those of its children that keep a leaf, which are looked at next. Every node that stands in the
 * cover meanwhile ends as at least one node, so there are never more of them than at the end: 128 are enough. */

/* What is moved away from is wiped: nothing of a cover may stay behind its end. */
static void remove_node(struct ggm_cover *cover, uint32_t at)
{
    cover->count--;
    memmove(&cover->nodes[at], &cover->nodes[at + 1], (cover->count - at) * sizeof(struct ggm_node));
    wipe_memory(&cover->nodes[cover->count], sizeof(struct ggm_node));
}

static void insert_node(struct ggm_cover *cover, uint32_t at, const struct ggm_node *node)
{
    CHECK(cover->count < GGM_COVER_NODES_MAX);
    memmove(&cover->nodes[at + 1], &cover->nodes[at], (cover->count - at) * sizeof(struct ggm_node));
    cover->nodes[at] = *node;
    cover->count++;
}

/* Put those children of node `at` in its place that keep a leaf. */
static void split_node(struct ggm_cover *cover, uint32_t at, const struct ggm_bitmap *punctured)
{
    struct ggm_node parent = cover->nodes[at];
    struct ggm_node child = {.depth = (uint8_t)(parent.depth + 1)};
    remove_node(cover, at);
    for (unsigned side = 2; side-- > 0;) { /* The right one first: the left one comes before it. */
        child.index = (uint8_t)(2 * parent.index + side);
        struct leaf_range leaves = leaves_under(child.depth, child.index);
        if (count_punctured(punctured, leaves) < leaves.count) {
            derive_child_key(&parent.key, side, &child.key);
            insert_node(cover, at, &child);
        }
    }
    wipe_memory(&parent, sizeof(parent));
    wipe_memory(&child, sizeof(child));
}

uint32_t ggm_cover_puncture(struct ggm_cover *cover, const struct ggm_bitmap *punctured)
{
    CHECK(cover->count <= GGM_COVER_NODES_MAX);
    uint32_t held = ggm_cover_leaves(cover);
    uint32_t at = 0;
    while (at < cover->count) {
        struct leaf_range leaves = leaves_under(cover->nodes[at].depth, cover->nodes[at].index);
        uint32_t count = count_punctured(punctured, leaves);
        if (count == 0) {
            at++;
        } else if (count == leaves.count) {
            remove_node(cover, at);
        } else {
            split_node(cover, at, punctured);
        }
    }
    return held - ggm_cover_leaves(cover);
}

/* ---- as bytes ---------------------------------------------------------------------------------- */

size_t ggm_cover_encode(const struct ggm_cover *cover, uint8_t bytes[GGM_COVER_BYTES_MAX])
{
    CHECK(cover->count <= GGM_COVER_NODES_MAX);
    struct byte_writer writer = byte_writer_of(bytes, GGM_COVER_BYTES_MAX);
    write_u8(&writer, (uint8_t)cover->count);
    for (uint32_t i = 0; i < cover->count; i++) {
        write_u8(&writer, cover->nodes[i].depth);
        write_u8(&writer, cover->nodes[i].index);
        write_bytes(&writer, cover->nodes[i].key.bytes, KEY_BYTES);
    }
    CHECK(!writer.failed);
    return writer.written;
}

/* May `node` stand in a cover right behind `before` (NULL: as the first)? */
static bool node_is_valid(const struct ggm_node *node, const struct ggm_node *before)
{
    if (node->depth > GGM_DEPTH || node->index >> node->depth != 0) {
        return false;
    }
    if (before == NULL) {
        return true;
    }
    struct leaf_range previous = leaves_under(before->depth, before->index);
    if (leaves_under(node->depth, node->index).first < previous.first + previous.count) {
        return false;
    }
    bool are_siblings = node->depth == before->depth && node->index / 2 == before->index / 2;
    return !are_siblings;
}

/* Shape only: no key is looked at. */
static bool encoding_is_valid(const uint8_t *bytes, size_t size)
{
    struct byte_reader reader = byte_reader_of(bytes, size);
    uint32_t count = read_u8(&reader);
    if (reader.failed || count > GGM_COVER_NODES_MAX || reader.left != (size_t)count * NODE_BYTES) {
        return false;
    }
    struct ggm_node before = {0};
    for (uint32_t i = 0; i < count; i++) {
        struct ggm_node node = {0};
        node.depth = read_u8(&reader);
        node.index = read_u8(&reader);
        read_skip(&reader, KEY_BYTES);
        if (!node_is_valid(&node, i == 0 ? NULL : &before)) {
            return false;
        }
        before = node;
    }
    return true;
}

enum status ggm_cover_decode(const uint8_t *bytes, size_t size, struct ggm_cover *cover)
{
    if (!encoding_is_valid(bytes, size)) {
        return STATUS_CORRUPT;
    }
    struct byte_reader reader = byte_reader_of(bytes, size);
    cover->count = read_u8(&reader);
    for (uint32_t i = 0; i < cover->count; i++) {
        cover->nodes[i].depth = read_u8(&reader);
        cover->nodes[i].index = read_u8(&reader);
        read_bytes(&reader, cover->nodes[i].key.bytes, KEY_BYTES);
    }
    CHECK(!reader.failed);
    return STATUS_OK;
}
