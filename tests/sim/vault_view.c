/* vault_view.c - see vault_view.h. */
#include "tests/sim/vault_view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_BYTES 4096u
#define BOUND_BYTES  84u /* of the header: each block is bound to them */
#define SEALED_BYTES 65536u
#define ROWS_BYTES   (SEALED_BYTES - BOX_OVERHEAD_BYTES)
#define ROW_BYTES    36u
#define BLOCK_ROWS   (ROWS_BYTES / ROW_BYTES)
#define UUID_AT      12u
#define UUID_BYTES   16u
#define EPOCH_AT     28u
#define PAGES_END_AT 36u
#define BLOCKS_AT    80u
#define BLOCKS_MAX   64u /* of a simulated table */

enum row_type { ROW_WHOLE = 1, ROW_PUNCTURED = 2 };

struct vault_view {
    uint8_t header[HEADER_BYTES];
    uint32_t pages_end;
    uint32_t blocks;
    bool opened[BLOCKS_MAX];
    uint8_t *rows; /* ROWS_BYTES for each block */
};

static uint64_t number_le(const uint8_t *bytes, unsigned count)
{
    uint64_t number = 0;
    while (count-- > 0) {
        number = number << 8 | bytes[count];
    }
    return number;
}

/* ---- the table --------------------------------------------------------------------------------- */

static bool block_open(struct vault_view *view, const struct key *root, uint32_t block, const uint8_t *sealed)
{
    char label[32];
    struct key key;
    (void)snprintf(label, sizeof(label), "block %u", block);
    derive_named_key(root, label, &key);
    return box_open(&key, view->header, BOUND_BYTES, sealed, SEALED_BYTES, view->rows + (size_t)block * ROWS_BYTES) ==
           STATUS_OK;
}

struct vault_view *vault_view_open(struct sim_disk *disk, enum sim_disk_image image, const char *name,
                                   const struct key *root)
{
    static uint8_t sealed[SEALED_BYTES];
    struct vault_view *view = calloc(1, sizeof(*view));
    bool any = false;
    CHECK(view != NULL);
    if (sim_disk_copy(disk, image, name, 0, view->header, HEADER_BYTES)) {
        view->pages_end = (uint32_t)number_le(view->header + PAGES_END_AT, 4);
        view->blocks = (uint32_t)number_le(view->header + BLOCKS_AT, 4);
        view->blocks = view->blocks < BLOCKS_MAX ? view->blocks : BLOCKS_MAX;
        view->rows = calloc(view->blocks + 1, ROWS_BYTES);
        CHECK(view->rows != NULL);
    }
    for (uint32_t block = 0; block < view->blocks; block++) {
        view->opened[block] =
            sim_disk_copy(disk, image, name, HEADER_BYTES + (uint64_t)block * SEALED_BYTES, sealed, SEALED_BYTES) &&
            block_open(view, root, block, sealed);
        any |= view->opened[block];
    }
    if (!any) {
        vault_view_close(view);
        return NULL;
    }
    return view;
}

void vault_view_close(struct vault_view *view)
{
    free(view->rows);
    free(view);
}

uint64_t vault_view_epoch(const struct vault_view *view)
{
    return number_le(view->header + EPOCH_AT, 8);
}

uint32_t vault_view_pages_end(const struct vault_view *view)
{
    return view->pages_end;
}

/* NULL: no such row, or its block did not open. */
static const uint8_t *row_of(const struct vault_view *view, uint32_t page)
{
    uint32_t block = (page - 1) / BLOCK_ROWS;
    if (page == 0 || page >= view->pages_end || block >= view->blocks || !view->opened[block]) {
        return NULL;
    }
    return view->rows + (size_t)block * ROWS_BYTES + (size_t)((page - 1) % BLOCK_ROWS) * ROW_BYTES;
}

bool vault_view_row_key(const struct vault_view *view, uint32_t page, struct key *key)
{
    const uint8_t *row = row_of(view, page);
    if (row == NULL || (row[0] != ROW_WHOLE && row[0] != ROW_PUNCTURED)) {
        return false;
    }
    memcpy(key->bytes, row + 4, KEY_BYTES);
    return true;
}

/* ---- trees ------------------------------------------------------------------------------------- */

/* All leaves below a node. */
static void expand(const struct key *node, unsigned depth, unsigned index, struct key leaves[GGM_LEAVES],
                   struct ggm_bitmap *has)
{
    if (depth == GGM_DEPTH) {
        leaves[index] = *node;
        ggm_bit_set(has, index);
        return;
    }
    for (unsigned side = 0; side < 2; side++) {
        struct key child;
        derive_child_key(node, side, &child);
        expand(&child, depth + 1, 2 * index + side, leaves, has);
    }
}

void vault_view_nursery(const struct key *root, uint32_t page, struct key leaves[GGM_LEAVES])
{
    struct ggm_bitmap has = {0};
    struct key nursery;
    struct key seed;
    char label[32];
    (void)snprintf(label, sizeof(label), "page %08x", page);
    derive_named_key(root, "nursery", &nursery);
    derive_named_key(&nursery, label, &seed);
    expand(&seed, 0, 0, leaves, &has);
}

/* ---- covers ------------------------------------------------------------------------------------ */

struct cover_walk {
    const struct vault_view *view;
    struct key key;
    uint32_t page;
    struct key *leaves;
    struct ggm_bitmap *has;
};

static void look_at_cover(void *user, const void *key, size_t key_bytes, const void *value, size_t value_bytes)
{
    static uint8_t plain[GGM_COVER_BYTES_MAX + BOX_OVERHEAD_BYTES];
    const struct cover_walk *walk = user;
    const uint8_t *row_key = key;
    uint8_t context[8 + UUID_BYTES];
    if (key_bytes != 8 || value_bytes > sizeof(plain) || value_bytes < BOX_OVERHEAD_BYTES ||
        ((uint32_t)row_key[0] << 24 | (uint32_t)row_key[1] << 16 | (uint32_t)row_key[2] << 8 | row_key[3]) !=
            walk->page) {
        return;
    }
    memcpy(context, row_key, 8);
    memcpy(context + 8, walk->view->header + UUID_AT, UUID_BYTES);
    if (box_open(&walk->key, context, sizeof(context), value, value_bytes, plain) != STATUS_OK) {
        return;
    }
    for (unsigned i = 0; i < plain[0]; i++) {
        const uint8_t *node = plain + 1 + (size_t)i * (2 + KEY_BYTES);
        struct key node_key;
        memcpy(node_key.bytes, node + 2, KEY_BYTES);
        expand(&node_key, node[0], node[1], walk->leaves, walk->has);
    }
}

void vault_view_leaves(const struct vault_view *view, struct kv *covers, uint32_t page, struct key leaves[GGM_LEAVES],
                       struct ggm_bitmap *has)
{
    struct cover_walk walk = {.view = view, .page = page, .leaves = leaves, .has = has};
    const uint8_t *row = row_of(view, page);
    memset(has, 0, sizeof(*has));
    if (!vault_view_row_key(view, page, &walk.key)) {
        return;
    }
    if (row[0] == ROW_WHOLE) {
        expand(&walk.key, 0, 0, leaves, has);
    } else {
        sim_kv_each_ever(covers, look_at_cover, &walk);
    }
}
