/* journal_segment.h - the bytes of one journal segment: batches of entries, walked and judged. Pure.
 *
 * A segment is a file of the format in base/batch.h (kind BATCH_LOG_JOURNAL): a header block, then batches back to
 * back. A batch has no payload; its content is
 *
 *   offset  bytes                 little-endian
 *        0      8  index of the first entry
 *        8      -  record count times: u32 entry bytes | the entry
 *
 * Torn or corrupt? A batch is written only when the one before it is durable. So where a batch should stand and does
 * not decode, it is the torn tail of a crash when nothing later exists; when anything later exists (a batch further
 * on in this segment, a segment with a greater first lsn, or tables that were applied further) the batch had been
 * acknowledged, and the journal is corrupt: it is refused, not shortened. */
#ifndef TRILITH_META_JOURNAL_SEGMENT_H
#define TRILITH_META_JOURNAL_SEGMENT_H

#include "base/batch.h"

#define JOURNAL_BATCH_BYTES_MAX   ((size_t)BATCH_HEADER_BLOCKS_MAX * BLOCK_BYTES)
#define JOURNAL_FIRST_INDEX_BYTES 8
#define JOURNAL_CONTENT_BYTES_MAX (JOURNAL_BATCH_BYTES_MAX - BATCH_HEADER_FIXED_BYTES)

/* A walk over the bytes of a whole segment. */
struct segment_walk {
    const uint8_t *bytes;
    uint64_t size;
    const struct segment_header *header;
    uint64_t offset; /* of the next batch */
    uint64_t next_lsn;
    uint32_t previous_crc;
};

/* One decoded batch; `entries` points into the segment. */
struct journal_batch {
    uint64_t lsn;
    uint64_t first_index;
    uint16_t entry_count;
    const uint8_t *entries;
    size_t entries_bytes;
};

/* Begin behind the header block of `header`, which was decoded from these bytes. */
void segment_walk_init(struct segment_walk *walk, const struct segment_header *header, const uint8_t *bytes,
                       uint64_t size);

/* The next batch. STATUS_OK; STATUS_NOT_FOUND: the segment ends here, `walk->offset` is where a batch may be appended;
 * STATUS_CORRUPT: an acknowledged batch does not decode. */
MUST_USE enum status segment_walk_next(struct segment_walk *walk, struct journal_batch *batch);

/* The next entry of a batch: `*cursor` begins at 0. False: there is none. */
bool journal_batch_entry(const struct journal_batch *batch, size_t *cursor, const uint8_t **entry, uint32_t *bytes);

/* In a segment whose header block does not decode: the greatest lsn of a batch that is whole by itself; 0: none. */
uint64_t segment_greatest_lsn(const uint8_t *bytes, uint64_t size);

#endif
