/* test_batch.c - segment and batch headers come back as written, and in no other place or state. */
#include "base/batch.h"
#include "base/bytes.h"
#include "base/checksum.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stddef.h>

static struct segment_header segment;
static uint8_t block[SEGMENT_HEADER_BYTES];
static uint8_t area[3 * BLOCK_BYTES];
static struct batch_header batch;

static void encode_batch(uint16_t header_blocks, uint32_t content_bytes)
{
    memset(area, 0xee, sizeof(area));
    for (uint32_t i = 0; i < content_bytes; i++) {
        area[BATCH_HEADER_FIXED_BYTES + i] = (uint8_t)(i * 7 + 1);
    }
    batch = (struct batch_header){.header_blocks = header_blocks,
                                  .record_count = 3,
                                  .batch_blocks = header_blocks + 20u,
                                  .content_bytes = content_bytes,
                                  .lsn = 1234,
                                  .durable_lsn = 1230,
                                  .segment = segment.segment,
                                  .generation = segment.generation,
                                  .offset = 5 * BLOCK_BYTES,
                                  .previous_crc = 0xaabbccdd,
                                  .payload_crc = 0x11223344};
    batch_header_encode(&batch, area);
}

static void setup(void)
{
    segment = (struct segment_header){.kind = BATCH_LOG_STORE,
                                      .log = {{1, 2, 3}},
                                      .segment = {{4, 5, 6}},
                                      .generation = 7,
                                      .first_lsn = 1000,
                                      .segment_bytes = 16u << 20,
                                      .segment_number = 42};
    segment_header_encode(&segment, block);
    encode_batch(1, 300);
}

TestSuite(segment_header, .init = setup);
TestSuite(batch_header, .init = setup);

/* Put a valid CRC on a segment header that was changed by hand. */
static void resign_segment(void)
{
    struct byte_writer writer = byte_writer_of(block + SEGMENT_HEADER_BYTES - 4, 4);
    write_u32(&writer, crc32c(0, block, SEGMENT_HEADER_BYTES - 4));
}

/* ---- segments ---------------------------------------------------------------------------------- */

Test(segment_header, comes_back_as_written)
{
    struct segment_header decoded;
    cr_assert_eq(segment_header_decode(block, &decoded), STATUS_OK);
    cr_assert_eq(decoded.kind, BATCH_LOG_STORE);
    cr_assert(uuid_equal(&decoded.log, &segment.log));
    cr_assert(uuid_equal(&decoded.segment, &segment.segment));
    cr_assert_eq(decoded.generation, 7);
    cr_assert_eq(decoded.first_lsn, 1000);
    cr_assert_eq(decoded.segment_bytes, 16u << 20);
    cr_assert_eq(decoded.segment_number, 42);
}

Test(segment_header, stands_at_the_documented_offsets)
{
    cr_assert_arr_eq(block, "TRLSEG1\0\1\0\0\0\1\0\0\0\1\2\3", 19);
    cr_assert_eq(block[32], 4);
    cr_assert_eq(block[48], 7);
    cr_assert_eq(block[56] | block[57] << 8, 1000);
    cr_assert_eq(block[72], 42);
}

Test(segment_header, an_empty_block_is_not_found)
{
    memset(block, 0, sizeof(block));
    struct segment_header decoded;
    cr_assert_eq(segment_header_decode(block, &decoded), STATUS_NOT_FOUND);
}

Test(segment_header, any_flipped_byte_is_found)
{
    struct segment_header decoded;
    for (size_t i = 0; i < sizeof(block); i++) {
        block[i] ^= 1 << (i % 8);
        cr_assert_eq(segment_header_decode(block, &decoded), STATUS_CORRUPT, "byte %zu", i);
        block[i] ^= 1 << (i % 8);
    }
}

Test(segment_header, a_good_crc_does_not_excuse_bad_fields)
{
    struct segment_header decoded;
    static const struct {
        size_t offset;
        uint8_t value;
    } changes[] = {{0, 'X'}, {8, 2}, {12, 0}, {12, 3}, {64, 1}, {76, 1}, {4091, 1}};
    for (size_t i = 0; i < ARRAY_LENGTH(changes); i++) {
        segment_header_encode(&segment, block);
        block[changes[i].offset] = changes[i].value;
        resign_segment();
        cr_assert_eq(segment_header_decode(block, &decoded), STATUS_CORRUPT, "offset %zu", changes[i].offset);
    }
    segment_header_encode(&segment, block);
    memset(block + 64, 0, 8);
    resign_segment();
    cr_assert_eq(segment_header_decode(block, &decoded), STATUS_CORRUPT, "no room for any batch");
}

/* ---- batches ----------------------------------------------------------------------------------- */

static enum status decode(size_t area_bytes, uint64_t offset, struct batch_header *decoded)
{
    return batch_header_decode(area, area_bytes, &segment, offset, decoded);
}

Test(batch_header, comes_back_as_written)
{
    struct batch_header decoded;
    for (uint16_t blocks = 1; blocks <= 3; blocks++) {
        encode_batch(blocks, blocks * BLOCK_BYTES - BATCH_HEADER_FIXED_BYTES);
        cr_assert_eq(batch_header_peek(area, &decoded), STATUS_OK);
        cr_assert_eq(decoded.header_blocks, blocks);
        cr_assert_eq(decode((size_t)blocks * BLOCK_BYTES, batch.offset, &decoded), STATUS_OK);
        cr_assert_eq(decoded.header_blocks, batch.header_blocks);
        cr_assert_eq(decoded.record_count, batch.record_count);
        cr_assert_eq(decoded.batch_blocks, batch.batch_blocks);
        cr_assert_eq(decoded.content_bytes, batch.content_bytes);
        cr_assert_eq(decoded.lsn, batch.lsn);
        cr_assert_eq(decoded.durable_lsn, batch.durable_lsn);
        cr_assert(uuid_equal(&decoded.segment, &batch.segment));
        cr_assert_eq(decoded.generation, batch.generation);
        cr_assert_eq(decoded.offset, batch.offset);
        cr_assert_eq(decoded.previous_crc, batch.previous_crc);
        cr_assert_eq(decoded.payload_crc, batch.payload_crc);
        cr_assert_eq(decoded.header_crc, batch.header_crc);
    }
}

Test(batch_header, the_rest_of_the_area_is_zero_and_the_content_untouched)
{
    encode_batch(2, 100);
    for (uint32_t i = 0; i < 100; i++) {
        cr_assert_eq(area[BATCH_HEADER_FIXED_BYTES + i], (uint8_t)(i * 7 + 1));
    }
    for (size_t i = BATCH_HEADER_FIXED_BYTES + 100; i < 2 * BLOCK_BYTES; i++) {
        cr_assert_eq(area[i], 0);
    }
    cr_assert_eq(area[2 * BLOCK_BYTES], 0xee, "not a byte behind the header blocks");
}

Test(batch_header, the_crc_covers_the_area_with_its_own_field_zero)
{
    uint8_t copy[BLOCK_BYTES];
    memcpy(copy, area, sizeof(copy));
    memset(copy + 76, 0, 4);
    cr_assert_eq(batch.header_crc, crc32c(0, copy, sizeof(copy)));
}

Test(batch_header, any_flipped_byte_is_found)
{
    struct batch_header decoded;
    encode_batch(2, 5000);
    for (size_t i = 0; i < 2 * BLOCK_BYTES; i++) {
        area[i] ^= 1 << (i % 8);
        cr_assert_eq(decode(2 * BLOCK_BYTES, batch.offset, &decoded), STATUS_CORRUPT, "byte %zu", i);
        area[i] ^= 1 << (i % 8);
    }
    cr_assert_eq(decode(2 * BLOCK_BYTES, batch.offset, &decoded), STATUS_OK);
}

Test(batch_header, any_flipped_bit_of_the_fixed_part_is_found)
{
    struct batch_header decoded;
    for (size_t bit = 0; bit < BATCH_HEADER_FIXED_BYTES * 8; bit++) {
        area[bit / 8] ^= 1 << (bit % 8);
        cr_assert_eq(decode(BLOCK_BYTES, batch.offset, &decoded), STATUS_CORRUPT, "bit %zu", bit);
        area[bit / 8] ^= 1 << (bit % 8);
    }
}

Test(batch_header, does_not_decode_at_another_place_or_in_another_use_of_the_file)
{
    struct batch_header decoded;
    cr_assert_eq(decode(BLOCK_BYTES, batch.offset + BLOCK_BYTES, &decoded), STATUS_CORRUPT);
    segment.generation++;
    cr_assert_eq(decode(BLOCK_BYTES, batch.offset, &decoded), STATUS_CORRUPT);
    segment.generation--;
    segment.segment.bytes[15] ^= 1;
    cr_assert_eq(decode(BLOCK_BYTES, batch.offset, &decoded), STATUS_CORRUPT);
    segment.segment.bytes[15] ^= 1;
    segment.first_lsn = batch.lsn + 1;
    cr_assert_eq(decode(BLOCK_BYTES, batch.offset, &decoded), STATUS_CORRUPT);
    segment.first_lsn = batch.lsn;
    cr_assert_eq(decode(BLOCK_BYTES, batch.offset, &decoded), STATUS_OK);
}

Test(batch_header, must_fit_its_segment)
{
    struct batch_header decoded;
    segment.segment_bytes = batch.offset + (uint64_t)batch.batch_blocks * BLOCK_BYTES;
    cr_assert_eq(decode(BLOCK_BYTES, batch.offset, &decoded), STATUS_OK);
    segment.segment_bytes -= BLOCK_BYTES;
    cr_assert_eq(decode(BLOCK_BYTES, batch.offset, &decoded), STATUS_CORRUPT);
    segment.segment_bytes = BLOCK_BYTES;
    cr_assert_eq(decode(BLOCK_BYTES, batch.offset, &decoded), STATUS_CORRUPT);
}

Test(batch_header, a_short_area_is_refused)
{
    struct batch_header decoded;
    encode_batch(2, 100);
    cr_assert_eq(decode(0, batch.offset, &decoded), STATUS_CORRUPT);
    cr_assert_eq(decode(BLOCK_BYTES - 1, batch.offset, &decoded), STATUS_CORRUPT);
    cr_assert_eq(decode(BLOCK_BYTES, batch.offset, &decoded), STATUS_CORRUPT);
    cr_assert_eq(decode(3 * BLOCK_BYTES, batch.offset, &decoded), STATUS_OK, "more than it needs is fine");
}

Test(batch_header, peek_tells_empty_from_garbage)
{
    struct batch_header decoded;
    memset(area, 0, BLOCK_BYTES);
    cr_assert_eq(batch_header_peek(area, &decoded), STATUS_NOT_FOUND);
    area[BLOCK_BYTES - 1] = 1;
    cr_assert_eq(batch_header_peek(area, &decoded), STATUS_CORRUPT);
    memset(area, 0xff, BLOCK_BYTES);
    cr_assert_eq(batch_header_peek(area, &decoded), STATUS_CORRUPT);
}

Test(batch_header, peek_bounds_the_sizes)
{
    struct batch_header decoded;
    static const struct {
        size_t offset;
        uint8_t bytes[4];
        size_t count;
    } changes[] = {
        {4, {0, 0}, 2},           /* no header blocks */
        {4, {65, 0}, 2},          /* more than there may be */
        {4, {22, 0}, 2},          /* more header than batch */
        {8, {0, 0, 0, 0}, 4},     /* an empty batch */
        {12, {177, 15, 0, 0}, 4}, /* 4017 bytes of content in one block */
        {72, {1, 0, 0, 0}, 4},    /* reserved */
    };
    for (size_t i = 0; i < ARRAY_LENGTH(changes); i++) {
        encode_batch(1, 300);
        memcpy(area + changes[i].offset, changes[i].bytes, changes[i].count);
        cr_assert_eq(batch_header_peek(area, &decoded), STATUS_CORRUPT, "change %zu", i);
    }
}

Test(batch_header, content_that_does_not_fit_is_a_bug, .signal = SIGABRT)
{
    encode_batch(1, BLOCK_BYTES);
}
