/* test_vault_forensic.c - an attacker has every byte that was ever written to the disk and to the table of covers,
 * before and after, and the slot as it is now. What of the erased leaves can they say? Nothing; of the live ones: all.
 *
 * The attacker here knows the formats, and does not trust names: every 64 KiB that were ever written are tried as every
 * block under every header, and every cover that was ever written under every page key. What opens gives seeds and
 * nodes; of those all leaves follow. Two checks that the search can find something at all: with today's slot it says
 * every live leaf, and with the root of an earlier epoch also leaves that were erased since. */
#include "tests/unit/vault_fixture.h"

#define IMAGES_MAX  512u
#define COVERS_MAX  4096u
#define HEADERS_MAX 64u

/* A block of 64 KiB as it was written once, or of the header. */
struct image {
    uint8_t *bytes;
};

struct cover_image {
    uint8_t key[8];
    uint8_t *bytes;
    size_t size;
};

/* All that ever stood anywhere, but in the slot. */
struct loot {
    struct sim_disk_observer observer;
    struct image blocks[IMAGES_MAX];
    uint32_t block_count;
    uint8_t headers[HEADERS_MAX][TABLE_HEADER_BYTES];
    uint32_t header_count;
    struct cover_image covers[COVERS_MAX];
    uint32_t cover_count;
    /* The table of covers is watched by taking the place of its write. */
    const struct kv_ops *kv_ops;
    struct kv_ops watching;
};

static struct loot *loot;

static void writing(struct sim_disk_observer *observer, struct sim_disk *disk, const char *name, uint64_t offset,
                    const uint8_t *content, size_t bytes)
{
    (void)observer;
    (void)disk;
    if (strncmp(name, "table-", 6) != 0) {
        return;
    }
    if (offset == 0) {
        cr_assert_lt(loot->header_count, HEADERS_MAX);
        memcpy(loot->headers[loot->header_count++], content, TABLE_HEADER_BYTES);
        return;
    }
    for (size_t at = 0; at < bytes; at += TABLE_BLOCK_BYTES) {
        cr_assert_lt(loot->block_count, IMAGES_MAX);
        uint8_t *copy = malloc(TABLE_BLOCK_BYTES);
        cr_assert_not_null(copy);
        memcpy(copy, content + at, TABLE_BLOCK_BYTES);
        loot->blocks[loot->block_count++].bytes = copy;
    }
}

static void cover_seen(void *user, const void *key, size_t key_bytes, const void *value, size_t value_bytes)
{
    (void)user;
    cr_assert_eq(key_bytes, 8);
    for (uint32_t i = 0; i < loot->cover_count; i++) {
        const struct cover_image *known = &loot->covers[i];
        if (known->size == value_bytes && memcmp(known->bytes, value, value_bytes) == 0) {
            return;
        }
    }
    cr_assert_lt(loot->cover_count, COVERS_MAX);
    struct cover_image *image = &loot->covers[loot->cover_count++];
    memcpy(image->key, key, key_bytes);
    image->bytes = malloc(value_bytes);
    cr_assert_not_null(image->bytes);
    memcpy(image->bytes, value, value_bytes);
    image->size = value_bytes;
}

/* Old files keep what a later batch deletes: take everything after each write. */
static enum status watched_write(struct kv *kv, struct kv_batch *batch)
{
    enum status status = loot->kv_ops->write(kv, batch);
    sim_kv_each(kv, cover_seen, NULL);
    return status;
}

static void loot_open(struct world *world)
{
    loot = calloc(1, sizeof(*loot));
    cr_assert_not_null(loot);
    loot->observer.writing = writing;
    sim_disk_observe(world->disk, &loot->observer);
    loot->kv_ops = world->covers->ops;
    loot->watching = *loot->kv_ops;
    loot->watching.write = watched_write;
    world->covers->ops = &loot->watching;
}

static void loot_close(void)
{
    for (uint32_t i = 0; i < loot->block_count; i++) {
        free(loot->blocks[i].bytes);
    }
    for (uint32_t i = 0; i < loot->cover_count; i++) {
        free(loot->covers[i].bytes);
    }
    free(loot);
}

/* ---- the attack -------------------------------------------------------------------------------- */

/* Which leaves could be said, by their values. */
struct finding {
    struct world *world;
    struct ggm_bitmap said[PAGES_MAX];
    uint32_t tables_opened; /* blocks */
    uint32_t covers_opened;
};

static void try_leaf(struct finding *finding, uint32_t page, uint32_t slot, const struct key *leaf)
{
    const struct world *world = finding->world;
    if (page < PAGES_MAX && ggm_bit(&world->known[page], slot) &&
        memcmp(leaf->bytes, world->leaves[page][slot].bytes, KEY_BYTES) == 0) {
        ggm_bit_set(&finding->said[page], slot);
    }
}

static void try_seed(struct finding *finding, uint32_t page, const struct key *seed)
{
    struct key leaf;
    for (uint32_t slot = 0; slot < GGM_LEAVES; slot++) {
        ggm_seed_leaf(seed, slot, &leaf);
        try_leaf(finding, page, slot, &leaf);
    }
}

/* Every cover that was ever written, under this key. */
static void try_covers(struct finding *finding, uint32_t page, const struct key *key)
{
    for (uint32_t i = 0; i < loot->cover_count; i++) {
        static struct ggm_cover cover;
        uint8_t context[8 + VAULT_UUID_BYTES];
        uint8_t plain[GGM_COVER_BYTES_MAX];
        const struct cover_image *image = &loot->covers[i];
        struct key leaf;
        memcpy(context, image->key, 8);
        memcpy(context + 8, finding->world->uuid, VAULT_UUID_BYTES);
        if (box_open(key, context, sizeof(context), image->bytes, image->size, plain) != STATUS_OK) {
            continue;
        }
        finding->covers_opened++;
        cr_assert_eq(ggm_cover_decode(plain, image->size - BOX_OVERHEAD_BYTES, &cover), STATUS_OK);
        for (uint32_t slot = 0; slot < GGM_LEAVES; slot++) {
            if (ggm_cover_leaf(&cover, slot, &leaf) == STATUS_OK) {
                try_leaf(finding, page, slot, &leaf);
            }
        }
    }
}

static void try_rows(struct finding *finding, uint32_t block, const uint8_t *rows)
{
    for (uint32_t i = 0; i < TABLE_BLOCK_ROWS; i++) {
        const uint8_t *row = rows + i * TABLE_ROW_BYTES;
        uint32_t page = block * (uint32_t)TABLE_BLOCK_ROWS + i + 1;
        struct key key;
        memcpy(key.bytes, row + 4, KEY_BYTES);
        if (row[0] == TABLE_WHOLE && page < PAGES_MAX) {
            try_seed(finding, page, &key);
        } else if (row[0] == TABLE_PUNCTURED) {
            try_covers(finding, page, &key);
        }
    }
}

static void attack(struct finding *finding, const struct key *root)
{
    static struct table_sealing sealing;
    static uint8_t rows[TABLE_PLAIN_BYTES];
    struct key nursery;
    struct key seed;
    sealing.root = *root;
    for (uint32_t h = 0; h < loot->header_count; h++) {
        struct table_header header;
        cr_assert_eq(table_header_decode(loot->headers[h], &header), STATUS_OK);
        memcpy(sealing.header, loot->headers[h], TABLE_HEADER_BOUND_BYTES);
        for (uint32_t i = 0; i < loot->block_count; i++) {
            if (table_block_open(&sealing, 0, header.pages_end, loot->blocks[i].bytes, rows) == STATUS_OK) {
                finding->tables_opened++;
                try_rows(finding, 0, rows);
            }
        }
    }
    nursery_of(root, &nursery);
    for (uint32_t page = 1; page < PAGES_MAX; page++) {
        nursery_seed(&nursery, page, &seed);
        try_seed(finding, page, &seed);
    }
}

static uint32_t count_said(const struct finding *finding, const struct ggm_bitmap *among)
{
    uint32_t count = 0;
    for (uint32_t page = 1; page < PAGES_MAX; page++) {
        for (uint32_t slot = 0; slot < GGM_LEAVES; slot++) {
            count += ggm_bit(&among[page], slot) && ggm_bit(&finding->said[page], slot) ? 1 : 0;
        }
    }
    return count;
}

/* The root that the slot's bytes give today; there must be no other share in it. */
static void root_from_slot(struct world *world, struct key *root)
{
    unsigned held = 0;
    for (unsigned i = 0; i < SLOT_CELLS; i++) {
        uint8_t block[BLOCK_BYTES];
        struct slot_cell cell;
        cr_assert(sim_disk_copy(world->disk, SIM_DISK_DURABLE, "root-slot", i * BLOCK_BYTES, block, sizeof(block)));
        slot_cell_decode(block, i, &cell);
        if (cell.state == SLOT_HOLDS) {
            *root = cell.share.value;
            held++;
        }
    }
    cr_assert_eq(held, 1);
}

/* No root of an earlier epoch, or of an attempt that was given up, stands anywhere on the disk, in whatever file. */
static void root_is_nowhere(void *user, const char *name, uint64_t offset, const uint8_t bytes[BLOCK_BYTES])
{
    const struct world *world = user;
    for (uint32_t i = 0; i < world->drawn_count; i++) {
        const struct key *root = &world->drawn[i];
        bool is_current = memcmp(root, &world->roots[world->current.epoch], sizeof(*root)) == 0;
        bool is_found = memmem(bytes, BLOCK_BYTES, root->bytes, KEY_BYTES) != NULL;
        cr_assert(is_current || !is_found, "root %u in %s at %lu", i, name, offset);
    }
}

static void check_attack(struct world *world)
{
    static struct finding now;
    static struct finding before;
    struct key root;
    memset(&now, 0, sizeof(now));
    memset(&before, 0, sizeof(before));
    now.world = world;
    before.world = world;

    root_from_slot(world, &root);
    attack(&now, &root);
    cr_assert_eq(now.tables_opened, 1, "only the current table opens");
    cr_assert_eq(count_said(&now, world->erased), 0, "erased leaves were said");
    for (uint32_t page = 1; page < world->opened_end; page++) {
        for (uint32_t slot = 0; slot < GGM_LEAVES; slot++) {
            bool live = !ggm_bit(&world->punctured[page], slot);
            cr_assert(!live || ggm_bit(&now.said[page], slot), "page %u slot %u was lost", page, slot);
        }
    }

    attack(&before, &world->roots[world->current.epoch - 1]);
    cr_assert_geq(before.tables_opened, 1);
    cr_assert_gt(count_said(&before, world->erased), 0, "with the old root the search finds what was erased");

    sim_disk_each_block(world->disk, SIM_DISK_DURABLE, root_is_nowhere, world);
    sim_disk_each_block(world->disk, SIM_DISK_CACHE, root_is_nowhere, world);
}

/* No leaf and no seed ever stands in clear in what was written. */
static void check_nothing_in_clear(const struct world *world)
{
    struct key nursery;
    nursery_of(&world->roots[1], &nursery);
    for (uint32_t page = 1; page < world->opened_end; page++) {
        struct key seed;
        nursery_seed(&nursery, page, &seed);
        for (uint32_t i = 0; i < loot->block_count; i++) {
            cr_assert_null(memmem(loot->blocks[i].bytes, TABLE_BLOCK_BYTES, seed.bytes, KEY_BYTES));
        }
        for (uint32_t i = 0; i < loot->cover_count; i++) {
            const struct cover_image *cover = &loot->covers[i];
            cr_assert_null(memmem(cover->bytes, cover->size, seed.bytes, KEY_BYTES));
            cr_assert_null(memmem(cover->bytes, cover->size, world->leaves[page][0].bytes, KEY_BYTES));
        }
    }
}

static void puncture_round(struct world *world, unsigned round)
{
    for (uint32_t page = 1; page < world->opened_end; page++) {
        if (page == 2 && round == 2) { /* One page dies. */
            for (uint32_t slot = 0; slot < GGM_LEAVES; slot++) {
                world_puncture(world, page, slot);
            }
        } else if ((page + round) % 3 != 0) {
            world_puncture(world, page, (round * 37 + page) % GGM_LEAVES);
            world_puncture(world, page, (round * 101 + page * 13) % GGM_LEAVES);
        }
    }
}

TestSuite(vault_forensic, .timeout = 280);

Test(vault_forensic, everything_but_the_slot_says_no_erased_leaf)
{
    struct world *world = world_open(21, 5);
    loot_open(world);
    world_check(world);
    cr_assert(world_close_epoch(world)); /* The first that is watched. */
    for (unsigned round = 0; round < 4; round++) {
        puncture_round(world, round);
        cr_assert(world_close_epoch(world));
        world->opened_end += 1;
        world_check(world);
        check_attack(world);
    }
    check_nothing_in_clear(world);
    world_close(world);
    loot_close();
}

/* Attempts that were given up leave tables and covers too, and crashes leave halves of both. */
Test(vault_forensic, nor_do_the_remains_of_crashes_and_of_attempts_given_up)
{
    struct world *world = world_open(22, 5);
    loot_open(world);
    world_check(world);
    cr_assert(world_close_epoch(world));
    for (unsigned round = 0; round < 3; round++) {
        enum status status;
        puncture_round(world, round);
        world_seal(world);
        cr_assert(world_prepare(world, &status)); /* Given up by the next one. */
        puncture_round(world, round + 5);
        world->steps_left = 12 + round * 3;
        cr_assert_not(world_close_epoch(world));
        world_lose_power(world, round);
        cr_assert_eq(world_start(world), STATUS_OK);
        cr_assert(world_close_epoch(world));
        world_check(world);
        check_attack(world);
    }
    check_nothing_in_clear(world);
    world_close(world);
    loot_close();
}
