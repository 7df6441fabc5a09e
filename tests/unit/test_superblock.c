/* test_superblock.c - the newest good copy counts; no damaged one ever does. */
#include "node/store/superblock.h"

#include <criterion/criterion.h>

static uint8_t blocks[SUPERBLOCK_BYTES];

static struct superblock superblock_with(uint64_t sequence)
{
    struct superblock superblock = {.sequence = sequence,
                                    .segment_bytes = MIB(256),
                                    .capacity_bytes = GIB(8),
                                    .durable_lsn = sequence * 100,
                                    .clean = sequence % 2 == 0};
    memset(superblock.store.bytes, 0xab, sizeof(superblock.store.bytes));
    return superblock;
}

static void write_copies(uint64_t first, uint64_t last)
{
    memset(blocks, 0, sizeof(blocks));
    for (uint64_t sequence = first; sequence <= last; sequence++) {
        struct superblock superblock = superblock_with(sequence);
        superblock_encode(&superblock, blocks + superblock_offset(sequence));
    }
}

Test(superblock, comes_back_as_it_was)
{
    struct superblock found;
    struct superblock written = superblock_with(6);
    superblock_encode(&written, blocks);
    cr_assert_eq(superblock_decode(blocks, &found), STATUS_OK);
    cr_assert_eq(found.sequence, 6);
    cr_assert_eq(found.segment_bytes, MIB(256));
    cr_assert_eq(found.capacity_bytes, GIB(8));
    cr_assert_eq(found.durable_lsn, 600);
    cr_assert(found.clean);
    cr_assert(uuid_equal(&found.store, &written.store));
}

Test(superblock, every_flipped_bit_is_refused)
{
    struct superblock found;
    struct superblock written = superblock_with(1);
    superblock_encode(&written, blocks);
    for (size_t bit = 0; bit < BLOCK_BYTES * 8; bit++) {
        blocks[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert_eq(superblock_decode(blocks, &found), STATUS_CORRUPT);
        blocks[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

Test(superblock, the_newest_copy_counts_and_older_ones_stand_in_for_it)
{
    struct superblock found;
    unsigned bad;
    for (uint64_t last = 1; last < 12; last++) {
        uint64_t first = last > 3 ? last - 3 : 1;
        write_copies(first, last);
        cr_assert_eq(superblock_choose(blocks, &found, &bad), STATUS_OK);
        cr_assert_eq(found.sequence, last);
        cr_assert_eq(bad, 0);
        for (uint64_t lost = last; lost > first; lost--) {
            blocks[superblock_offset(lost) + 40] ^= 0xff;
            cr_assert_eq(superblock_choose(blocks, &found, &bad), STATUS_OK);
            cr_assert_eq(found.sequence, lost - 1);
            cr_assert_eq(bad, last - lost + 1);
        }
        blocks[superblock_offset(first) + 40] ^= 0xff;
        cr_assert_eq(superblock_choose(blocks, &found, &bad), STATUS_CORRUPT);
    }
    memset(blocks, 0, sizeof(blocks));
    cr_assert_eq(superblock_choose(blocks, &found, &bad), STATUS_NOT_FOUND);
    cr_assert_eq(bad, 0);
}
