/* test_record.c - records survive the way to the disk and back, and nothing else is taken for one. */
#include "node/store/record.h"

#include "base/checksum.h"

#include <criterion/criterion.h>

#define AREA_BYTES (2 * BLOCK_BYTES)

static uint8_t area[AREA_BYTES];
static uint8_t seals[CHUNK_SEALS_BYTES_MAX];
static struct batch_header header;

static void begin(void)
{
    memset(area, 0, sizeof(area));
    for (size_t i = 0; i < sizeof(seals); i++) {
        seals[i] = (uint8_t)(i * 31 + 7);
    }
    header = (struct batch_header){.header_blocks = 2, .batch_blocks = 2};
}

static void add(enum record_type type, uint32_t chunk_bytes)
{
    bool payload = type == RECORD_PUT || type == RECORD_MOVE;
    struct record record = {
        .type = type,
        .chunk = {.tenant_id = 5, .pg = 6, .chunk_bytes = chunk_bytes, .suite = SUITE_SM4_GCM, .stored_ms = 1234567},
        .payload_block = payload ? header.batch_blocks : 0,
        .payload_blocks = payload ? payload_block_count(chunk_bytes) : 0,
        .place = {.segment = 9, .generation = 10, .offset = 8192},
        .seals = seals,
    };
    memset(record.chunk.id.bytes, (int)header.record_count + 1, sizeof(record.chunk.id.bytes));
    memset(record.seed, 0x51, sizeof(record.seed));
    memset(record.digest, 0x52, sizeof(record.digest));
    uint8_t *target = area + BATCH_HEADER_FIXED_BYTES + header.content_bytes;
    header.content_bytes += (uint32_t)record_encode(&record, target);
    header.record_count++;
    header.batch_blocks += record.payload_blocks;
}

static void add_one_of_each(void)
{
    begin();
    add(RECORD_PUT, 1);
    add(RECORD_ERASE, 4097);
    add(RECORD_MOVE, UNIT_BYTES + 1);
    add(RECORD_TOMBSTONE, 0);
    add(RECORD_ERASED, CHUNK_BYTES_MAX);
    add(RECORD_PUT, CHUNK_BYTES_MAX);
}

TestSuite(record, .init = begin);

Test(record, every_type_comes_back_as_it_was)
{
    static const enum record_type types[] = {RECORD_PUT,       RECORD_ERASE,  RECORD_MOVE,
                                             RECORD_TOMBSTONE, RECORD_ERASED, RECORD_PUT};
    static const uint32_t sizes[] = {1, 4097, UNIT_BYTES + 1, 0, CHUNK_BYTES_MAX, CHUNK_BYTES_MAX};
    struct record record;
    add_one_of_each();
    struct record_cursor cursor = record_cursor_of(&header, area);
    uint32_t block = 2;
    for (size_t i = 0; i < ARRAY_LENGTH(types); i++) {
        cr_assert_eq(record_next(&cursor, &record), STATUS_OK);
        cr_assert_eq(record.type, types[i]);
        cr_assert_eq(record.chunk.chunk_bytes, sizes[i]);
        cr_assert_eq(record.chunk.id.bytes[15], i + 1);
        if (types[i] != RECORD_TOMBSTONE) {
            cr_assert_eq(record.chunk.tenant_id, 5);
            cr_assert_eq(record.chunk.pg, 6);
            cr_assert_eq(record.chunk.suite, SUITE_SM4_GCM);
            cr_assert_eq(record.chunk.stored_ms, 1234567);
        }
        if (types[i] == RECORD_PUT || types[i] == RECORD_MOVE) {
            cr_assert_eq(record.payload_block, block);
            block += record.payload_blocks;
            cr_assert_eq(memcmp(record.seals, seals, chunk_unit_count(sizes[i]) * UNIT_SEAL_BYTES), 0);
        }
        if (types[i] == RECORD_MOVE || types[i] == RECORD_ERASE || types[i] == RECORD_ERASED) {
            cr_assert_eq(record.place.segment, 9);
            cr_assert_eq(record.place.generation, 10);
            cr_assert_eq(record.place.offset, 8192);
        }
        if (types[i] == RECORD_ERASED) {
            cr_assert_eq(record.seed[31], 0x51);
            cr_assert_eq(record.digest[31], 0x52);
        }
    }
    cr_assert_eq(record_next(&cursor, &record), STATUS_NOT_FOUND);
    cr_assert_eq(records_check(&header, area), STATUS_OK);
}

Test(record, sizes_are_multiples_of_eight_and_as_documented)
{
    cr_assert_eq(record_bytes(RECORD_PUT, 1), 56 + 24);
    cr_assert_eq(record_bytes(RECORD_PUT, CHUNK_BYTES_MAX), 56 + 64 * 24);
    cr_assert_eq(record_bytes(RECORD_MOVE, 1), 80 + 24);
    cr_assert_eq(record_bytes(RECORD_ERASE, 1), 112);
    cr_assert_eq(record_bytes(RECORD_ERASED, 1), 144);
    cr_assert_eq(record_bytes(RECORD_TOMBSTONE, 0), 32);
}

Test(record, counts_that_do_not_fit_the_batch_are_refused)
{
    add_one_of_each();
    header.batch_blocks++;
    cr_assert_eq(records_check(&header, area), STATUS_CORRUPT);
    header.batch_blocks -= 2;
    cr_assert_eq(records_check(&header, area), STATUS_CORRUPT);
    header.batch_blocks++;
    header.record_count++;
    cr_assert_eq(records_check(&header, area), STATUS_CORRUPT);
    header.record_count -= 2;
    cr_assert_eq(records_check(&header, area), STATUS_CORRUPT);
    header.record_count++;
    for (uint32_t bytes = 0; bytes < header.content_bytes; bytes++) {
        struct batch_header shorter = header;
        shorter.content_bytes = bytes;
        cr_assert_eq(records_check(&shorter, area), STATUS_CORRUPT);
    }
    cr_assert_eq(records_check(&header, area), STATUS_OK);
}

Test(record, impossible_fields_are_refused)
{
    static const struct {
        size_t offset;
        uint8_t value;
    } changes[] = {{0, 0}, {0, 6}, {0, 255}, {1, 0}, {1, 77}, {2, 81}, {3, 1}, {4, 3}, {8, 2}, {12, 0}, {15, 1}};
    for (size_t i = 0; i < ARRAY_LENGTH(changes); i++) {
        begin();
        add(RECORD_PUT, 1);
        area[BATCH_HEADER_FIXED_BYTES + changes[i].offset] = changes[i].value;
        cr_assert_eq(records_check(&header, area), STATUS_CORRUPT, "change %zu", i);
    }
    begin();
    add(RECORD_TOMBSTONE, 0);
    area[BATCH_HEADER_FIXED_BYTES + 8] = 1;
    cr_assert_eq(records_check(&header, area), STATUS_CORRUPT);
}

Test(record, garbage_never_decodes_beyond_its_bounds)
{
    uint64_t state = 1;
    for (int round = 0; round < 20000; round++) {
        add_one_of_each();
        for (int flips = 0; flips < 3; flips++) {
            state = state * UINT64_C(6364136223846793005) + 1;
            area[BATCH_HEADER_FIXED_BYTES + (state >> 40) % header.content_bytes] = (uint8_t)(state >> 33);
        }
        struct record_cursor cursor = record_cursor_of(&header, area);
        struct record record;
        while (record_next(&cursor, &record) == STATUS_OK) {
            cr_assert_leq((uint64_t)record.payload_block + record.payload_blocks, header.batch_blocks);
        }
    }
}

Test(record, zero_is_told_from_not_zero_at_every_byte)
{
    uint8_t bytes[70] = {0};
    cr_assert(bytes_are_zero(bytes, 0));
    cr_assert(bytes_are_zero(bytes, sizeof(bytes)));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = 1;
        cr_assert_not(bytes_are_zero(bytes, sizeof(bytes)));
        cr_assert(bytes_are_zero(bytes, i));
        bytes[i] = 0;
    }
}
