/* chunk_index.h - where every chunk is, in a table that can be rebuilt from the segments at any time.
 *
 * Keys and values (integers little-endian but for the key of `s`):
 *
 *   "c" chunk id[16]   one chunk
 *        0  1  version 1          16  4  segment of the record     48  4  pg
 *        1  1  enum chunk_state   20  4  place: segment            52  4  previous place: segment
 *        2  1  suite              24  8  place: generation         56  8  previous place: generation
 *        3  1  technique          32  8  place: offset             64  8  stored
 *        4  4  chunk bytes        40  8  tenant                    72  -  LIVE: seals; ERASING: seed[32];
 *        8  8  lsn                                                        ERASED: seed[32] digest[32]
 *   technique: enum wipe_technique of an erased or erasing chunk, else zero
 *   "e" chunk id[16]   an erasure under way (value: one zero byte)
 *   "s" number u32be   counters of one segment: version 1 (u8), moved out u8, zero u16, live chunks u32, tombstones
 *                      u32, zero u32, generation u64, live bytes u64, erasing bytes u64, segment uuid[16]
 *   "a"                version 1 (u8), zeros to 4, segment u32, offset u64, next lsn u64, previous crc u32, zero u32,
 *                      segment uuid[16], store uuid[16]: everything up to here has been applied
 *
 * One rule makes replay idempotent: a record is applied only when its batch has a higher lsn than the entry. The
 * counters and the position change in the same kv batch as the entries, so they are right at any prefix of batches.
 * Threads    Loop thread only. */
#ifndef TRILITH_NODE_STORE_CHUNK_INDEX_H
#define TRILITH_NODE_STORE_CHUNK_INDEX_H

#include "base/kv.h"
#include "node/store/segment.h"

struct chunk_entry {
    enum chunk_state state;
    struct chunk_header header;
    uint64_t lsn;                  /* of the batch whose record made it so */
    uint32_t record_segment;       /* where that record stands */
    struct chunk_place place;      /* of the payload; ERASED: where it was, generation 0 when it never was */
    struct chunk_place previous;   /* LIVE and moved by cleaning: whence. The old copy is there until that is wiped */
    enum wipe_technique technique; /* ERASING, ERASED */
    uint8_t seed[WIPE_SEED_BYTES];
    uint8_t digest[WIPE_DIGEST_BYTES];
    uint8_t seals[CHUNK_SEALS_BYTES_MAX];
};

/* A place in the log where the next batch is expected. */
struct log_position {
    uint64_t next_lsn;
    struct uuid segment_uuid;
    uint32_t segment;
    uint64_t offset;
    uint32_t previous_crc;
};

struct chunk_index {
    struct kv *kv;
    struct kv_batch *batch;
    struct segment_table *segments;
    struct uuid store;
};

void chunk_index_init(struct chunk_index *index, struct kv *kv, struct segment_table *segments,
                      const struct uuid *store);
void chunk_index_deinit(struct chunk_index *index);

/* Read the position and the counters. STATUS_OK; STATUS_NOT_FOUND: the table is empty; STATUS_CORRUPT: it belongs to
 * another store or can't be read; STATUS_IO. */
MUST_USE enum status chunk_index_load(struct chunk_index *index, struct log_position *position);

/* Empty the table and all counters. */
MUST_USE enum status chunk_index_clear(struct chunk_index *index);

/* STATUS_OK, STATUS_NOT_FOUND, STATUS_IO (also when the entry can't be decoded: rebuild the index). */
MUST_USE enum status chunk_index_get(struct chunk_index *index, const struct chunk_id *id, struct chunk_entry *entry);

/* Take one durable record into the open kv batch: `record` of the batch `header` in `segment`. An id may occur once
 * between two calls of chunk_index_write(). STATUS_OK or STATUS_IO. */
MUST_USE enum status chunk_index_apply(struct chunk_index *index, struct segment *segment,
                                       const struct batch_header *header, const struct record *record);

/* Write the open kv batch with the counters that changed and, unless NULL, the position. STATUS_OK or STATUS_IO. */
MUST_USE enum status chunk_index_write(struct chunk_index *index, const struct log_position *position);

/* The first id above `after` (NULL: from the start) whose erasure is under way. STATUS_OK; STATUS_NOT_FOUND: no more;
 * STATUS_IO: there may be more. */
MUST_USE enum status chunk_index_next_erasing(struct chunk_index *index, const struct chunk_id *after,
                                              struct chunk_id *id);

/* See chunk_store_list(). */
MUST_USE enum status chunk_index_list(struct chunk_index *index, const struct chunk_id *after,
                                      struct chunk_header *headers, size_t max, size_t *count);

#endif
