/* batch.h - the frame of every log on disk: one batch is what one group commit writes and flushes at once.
 *
 * Used by the chunk store (descriptors, then payload blocks) and by the metadata journal (entries in the header
 * area). Fixed-size segment files hold a segment header block and then batches back to back, each starting on a
 * block. All integers little-endian.
 *
 * Segment header, one block at offset 0:
 *   offset  bytes
 *        0      8  magic "TRLSEG1\0"
 *        8      4  format          1
 *       12      4  kind            what the log is for: enum batch_log_kind
 *       16     16  log uuid        of the store or journal that owns the file
 *       32     16  segment uuid    drawn anew at each (re)use
 *       48      8  generation      +1 at each reuse of the file
 *       56      8  first lsn       of the first batch that can stand here
 *       64      8  segment bytes   size of the file
 *       72      4  segment number  the file's number
 *       76   4016  zero
 *     4092      4  crc32c          over bytes 0..4091
 *
 * Batch header, 1..header_blocks blocks:
 *        0      4  magic "TLB1"
 *        4      2  header blocks   1..BATCH_HEADER_BLOCKS_MAX
 *        6      2  record count
 *        8      4  batch blocks    header and payload together
 *       12      4  content bytes   bytes used in the content area
 *       16      8  lsn             +1 from batch to batch within the log
 *       24      8  durable lsn     highest lsn known durable when this batch was built
 *       32     16  segment uuid
 *       48      8  generation
 *       56      8  offset          of this batch in the file
 *       64      4  previous crc    the header crc of the batch before it in this segment; 0 for the first
 *       68      4  payload crc     crc32c over the payload blocks; 0 where the content carries its own
 *       72      4  reserved, zero
 *       76      4  header crc      crc32c over the whole header area with this field zero
 *       80      -  content         to the end of the header area; the rest zero
 *
 * Everything is checked against where it was read from: a batch that is stale, misdirected or of an earlier use of
 * the file does not decode. Pure: bytes in, bytes out. */
#ifndef TRILITH_BASE_BATCH_H
#define TRILITH_BASE_BATCH_H

#include "base/ids.h"
#include "base/status.h"

#define BATCH_HEADER_FIXED_BYTES 80
#define BATCH_HEADER_BLOCKS_MAX  64
#define SEGMENT_HEADER_BYTES     BLOCK_BYTES

enum batch_log_kind { BATCH_LOG_STORE = 1, BATCH_LOG_JOURNAL = 2 };

struct segment_header {
    enum batch_log_kind kind;
    struct uuid log;
    struct uuid segment;
    uint64_t generation;
    uint64_t first_lsn;
    uint64_t segment_bytes;
    uint32_t segment_number;
};

struct batch_header {
    uint16_t header_blocks;
    uint16_t record_count;
    uint32_t batch_blocks;
    uint32_t content_bytes;
    uint64_t lsn;
    uint64_t durable_lsn;
    struct uuid segment;
    uint64_t generation;
    uint64_t offset;
    uint32_t previous_crc;
    uint32_t payload_crc;
    uint32_t header_crc; /* filled by encode and decode */
};

void segment_header_encode(const struct segment_header *header, uint8_t block[SEGMENT_HEADER_BYTES]);
/* STATUS_OK; STATUS_NOT_FOUND: the block is all zeros (never used); STATUS_CORRUPT: anything else. */
MUST_USE enum status segment_header_decode(const uint8_t block[SEGMENT_HEADER_BYTES], struct segment_header *header);

/* Complete a header area whose content (content_bytes from BATCH_HEADER_FIXED_BYTES on) is in place: writes the fixed
 * part, zeroes the rest of the header blocks, sets header->header_crc. */
void batch_header_encode(struct batch_header *header, uint8_t *area);

/* Read the fixed part of a batch at `block` (one block) far enough to know its size; the CRC is not checked yet.
 * STATUS_OK; STATUS_NOT_FOUND: all zeros; STATUS_CORRUPT: not a batch, or sizes out of bounds. */
MUST_USE enum status batch_header_peek(const uint8_t block[BLOCK_BYTES], struct batch_header *header);

/* Check and decode a whole header area (header_blocks as peeked) that was read from `offset` of a segment.
 * STATUS_OK; STATUS_CORRUPT: CRC, segment uuid, generation or offset do not match. */
MUST_USE enum status batch_header_decode(const uint8_t *area, size_t area_bytes, const struct segment_header *segment,
                                         uint64_t offset, struct batch_header *header);

#endif
