/* test_medium_residue.c - what stood on a medium is recognised after the wipe, wherever it turns up; random bytes are
 * not. */
#include "cluster/medium_residue.h"

#include "base/batch.h"
#include "base/keystream.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define PIECE MIB(1)

static struct residue_prints *prints;
static struct residue_scan *scan;
static uint8_t *data;

static void setup(void)
{
    prints = calloc(1, sizeof(*prints));
    scan = calloc(1, sizeof(*scan));
    data = calloc(1, PIECE);
    cr_assert(prints != NULL && scan != NULL && data != NULL);
}

static void teardown(void)
{
    free(prints);
    free(scan);
    free(data);
}

TestSuite(medium_residue, .init = setup, .fini = teardown);

static void fill(uint8_t seed_byte)
{
    uint8_t seed[KEYSTREAM_SEED_BYTES] = {seed_byte};
    memset(data, 0, PIECE);
    keystream_xor(seed, 0, data, PIECE);
}

/* A batch of one header block and `blocks` in all at `at`. */
static void put_batch(size_t at, uint32_t blocks)
{
    struct batch_header header = {
        .header_blocks = 1, .record_count = 1, .batch_blocks = blocks, .offset = SEGMENT_HEADER_BYTES};
    batch_header_encode(&header, data + at);
}

Test(medium_residue, finds_windows_of_sealed_units)
{
    fill(1);
    put_batch(8 * BLOCK_BYTES, 65);
    residue_prints_begin(prints, 7);
    residue_collect(prints, GIB(3), data, PIECE);
    cr_assert_geq(prints->labels, 1u);
    cr_assert_eq(prints->sealed_count, 4u, "one window in each unit: %u", prints->sealed_count);
    for (uint32_t i = 0; i < prints->sealed_count; i++) {
        uint64_t at = prints->sealed[i].offset - GIB(3);
        cr_assert(at >= 9 * BLOCK_BYTES && at < (8 + 65) * BLOCK_BYTES, "offset %llu", (unsigned long long)at);
        cr_assert_eq(memcmp(data + at, prints->sealed[i].window, RESIDUE_WINDOW_BYTES), 0);
    }
    cr_assert_gt(prints->other_count, 0u);
}

Test(medium_residue, keeps_the_uuid_of_a_store)
{
    memcpy(data + 4 * BLOCK_BYTES, "TRLSUP1", 8);
    memset(data + 4 * BLOCK_BYTES + 16, 0xab, 16);
    memcpy(data + 5 * BLOCK_BYTES, data + 4 * BLOCK_BYTES, 64);
    residue_prints_begin(prints, 7);
    residue_collect(prints, 0, data, PIECE);
    cr_assert_eq(prints->store_count, 1u);
    cr_assert_eq(prints->stores[0].bytes[15], 0xab);
    cr_assert_eq(prints->labels, 2u);
}

Test(medium_residue, takes_no_windows_of_zeros_or_text)
{
    for (size_t i = 0; i < PIECE; i++) {
        data[i] = i < PIECE / 2 ? 0 : (uint8_t)("abc"[i % 3]);
    }
    residue_prints_begin(prints, 7);
    residue_collect(prints, 0, data, PIECE);
    cr_assert_eq(residue_print_count(prints), 0u);
}

Test(medium_residue, finds_a_window_at_any_byte)
{
    fill(1);
    residue_prints_begin(prints, 7);
    residue_collect(prints, 0, data, PIECE);
    struct residue_fingerprint print = *residue_print(prints, 3);
    fill(2);
    memcpy(data + 123457, print.window, RESIDUE_WINDOW_BYTES);
    residue_scan_begin(scan, prints);
    residue_search(scan, GIB(1), data, PIECE);
    cr_assert_eq(scan->fingerprint_hits, 1u);
    cr_assert_eq(scan->label_hits, 0u);
    cr_assert_eq(scan->places[0].offset, GIB(1) + 123457);
    cr_assert_eq(scan->places[0].kind, RESIDUE_FINGERPRINT);
}

Test(medium_residue, finds_windows_at_the_edges_and_across_pieces)
{
    fill(1);
    residue_prints_begin(prints, 7);
    residue_collect(prints, 0, data, PIECE);
    struct residue_fingerprint print = *residue_print(prints, 0);
    for (size_t at = PIECE / 2 - RESIDUE_WINDOW_BYTES; at <= PIECE / 2; at++) {
        fill(2);
        memcpy(data + at, print.window, RESIDUE_WINDOW_BYTES);
        memset(scan, 0, sizeof(*scan));
        residue_scan_begin(scan, prints);
        residue_search(scan, 0, data, PIECE / 2);
        residue_search(scan, PIECE / 2, data + PIECE / 2, PIECE / 2);
        cr_assert_eq(scan->fingerprint_hits, 1u, "at %zu: %llu", at, (unsigned long long)scan->fingerprint_hits);
        cr_assert_eq(scan->places[0].offset, at);
    }
}

Test(medium_residue, finds_labels_once_wherever_they_stand)
{
    for (size_t at = PIECE / 2 - 9; at <= PIECE / 2 + 8; at++) {
        fill(2);
        memcpy(data + at, "TRLSEG1", 8);
        memset(scan, 0, sizeof(*scan));
        residue_scan_begin(scan, NULL);
        residue_search(scan, 0, data, PIECE / 2);
        residue_search(scan, PIECE / 2, data + PIECE / 2, PIECE / 2);
        cr_assert_eq(scan->label_hits, 1u, "at %zu: %llu", at, (unsigned long long)scan->label_hits);
    }
    fill(2);
    memcpy(data + PIECE - 8, "TRLSUP1", 8);
    memset(scan, 0, sizeof(*scan));
    residue_scan_begin(scan, NULL);
    residue_search(scan, 0, data, PIECE);
    cr_assert_eq(scan->label_hits, 1u, "at the very end");
}

Test(medium_residue, finds_a_batch_on_a_sector_boundary)
{
    fill(2);
    put_batch(512 * 333, 2);
    residue_scan_begin(scan, NULL);
    residue_search(scan, 0, data, PIECE);
    cr_assert_eq(scan->label_hits, 1u);
}

Test(medium_residue, the_four_bytes_of_a_batch_alone_are_no_label)
{
    fill(2);
    memcpy(data + 512 * 7, "TLB1", 4);
    residue_scan_begin(scan, NULL);
    residue_search(scan, 0, data, PIECE);
    cr_assert_eq(scan->label_hits, 0u);
}

Test(medium_residue, random_data_and_zeros_are_clean)
{
    fill(1);
    residue_prints_begin(prints, 7);
    residue_collect(prints, 0, data, PIECE);
    residue_scan_begin(scan, prints);
    fill(9);
    residue_search(scan, 0, data, PIECE);
    memset(data, 0, PIECE);
    residue_search(scan, PIECE, data, PIECE);
    cr_assert_eq(scan->label_hits + scan->fingerprint_hits, 0u);
}

Test(medium_residue, an_interrupted_search_sees_across_the_break)
{
    fill(1);
    residue_prints_begin(prints, 7);
    residue_collect(prints, 0, data, PIECE);
    struct residue_fingerprint print = *residue_print(prints, 0);
    fill(2);
    memcpy(data + PIECE / 2 - 5, print.window, RESIDUE_WINDOW_BYTES);
    residue_scan_begin(scan, prints);
    residue_resume(scan, PIECE / 2, data + PIECE / 2 - BLOCK_BYTES, BLOCK_BYTES);
    residue_search(scan, PIECE / 2, data + PIECE / 2, PIECE / 2);
    cr_assert_eq(scan->fingerprint_hits, 1u);
}

Test(medium_residue, samples_evenly_when_there_is_more_than_room)
{
    residue_prints_begin(prints, 7);
    for (unsigned i = 0; i < 200; i++) {
        fill((uint8_t)i);
        residue_collect(prints, (uint64_t)i * PIECE, data, PIECE);
    }
    cr_assert_eq(prints->other_count, RESIDUE_OTHER_MAX);
    unsigned late = 0;
    for (uint32_t i = 0; i < prints->other_count; i++) {
        late += prints->other[i].offset >= 100 * (uint64_t)PIECE;
    }
    cr_assert(late > RESIDUE_OTHER_MAX / 4 && late < RESIDUE_OTHER_MAX * 3 / 4, "%u in the second half", late);
}
