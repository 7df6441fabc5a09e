/* fuzz_batch.c - segment and batch headers from arbitrary bytes. The first block is taken for a segment header, what
 * follows for a batch in it. What decodes must encode to the same bytes. */
#include "base/batch.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_segment(const uint8_t *block, struct segment_header *segment)
{
    if (segment_header_decode(block, segment) != STATUS_OK) {
        return;
    }
    uint8_t again[SEGMENT_HEADER_BYTES];
    segment_header_encode(segment, again);
    CHECK(memcmp(block, again, sizeof(again)) == 0);
}

static void check_batch(const uint8_t *area, size_t area_bytes, const struct segment_header *segment)
{
    struct batch_header peeked;
    if (batch_header_peek(area, &peeked) != STATUS_OK) {
        return;
    }
    CHECK(peeked.header_blocks >= 1 && peeked.header_blocks <= BATCH_HEADER_BLOCKS_MAX);
    CHECK(peeked.content_bytes <= peeked.header_blocks * BLOCK_BYTES - BATCH_HEADER_FIXED_BYTES);
    struct batch_header decoded;
    if (batch_header_decode(area, area_bytes, segment, peeked.offset, &decoded) != STATUS_OK) {
        return;
    }
    static uint8_t again[BATCH_HEADER_BLOCKS_MAX * BLOCK_BYTES];
    size_t header_bytes = (size_t)decoded.header_blocks * BLOCK_BYTES;
    memcpy(again, area, header_bytes);
    batch_header_encode(&decoded, again);
    CHECK(memcmp(again, area, header_bytes) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    /* The mutator can't guess a checksum: a segment that a batch may fit is supplied when there is none. */
    struct segment_header segment = {.segment_bytes = 1 << 20};
    if (bytes >= SEGMENT_HEADER_BYTES) {
        check_segment(data, &segment);
        data += SEGMENT_HEADER_BYTES;
        bytes -= SEGMENT_HEADER_BYTES;
    }
    if (bytes >= BLOCK_BYTES) {
        check_batch(data, bytes, &segment);
    }
    return 0;
}
