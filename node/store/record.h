/* record.h - the records of the store inside a batch: what was put, moved, erased.
 *
 * A batch (base/batch.h) has its records one behind the other in the content area of its header, and their payload
 * behind the header: blocks that belong to exactly one record, in the order of the records, without a gap. All
 * integers little-endian; every record is a multiple of 8 bytes long.
 *
 *   offset  bytes
 *        0      1  type            enum record_type
 *        1      1  suite           enum suite; 0 for TOMBSTONE
 *        2      2  record bytes    of this record, from offset 0
 *        4      4  payload block   first payload block, counted from the batch's first block; 0: no payload
 *        8      4  payload blocks  0: no payload
 *       12      4  chunk bytes     length of the chunk; for TOMBSTONE 0 means: never held
 *       16     16  chunk id
 *   PUT, MOVE, ERASE, ERASED go on:
 *       32      8  tenant
 *       40      4  pg
 *       44      4  zero
 *       48      8  stored          milliseconds since 1970 UTC, clock of the node that first stored it
 *   MOVE, ERASE, ERASED go on with a place: where the moved chunk came from, where the erased one lay:
 *       56      4  segment number
 *       60      4  technique       enum wipe_technique of an ERASE or ERASED; 0 for MOVE
 *       64      8  generation
 *       72      8  offset          of the payload in that segment
 *   ERASE, ERASED:
 *       80     32  seed            of the overwriting stream (base/keystream.h), which starts with the payload
 *   ERASED:
 *      112     32  digest          BLAKE2b-256 of the bytes read back after the overwriting
 *   PUT (from 56) and MOVE (from 80) end with
 *        -  24 * n  seals          UNIT_SEAL_BYTES for each of the n units (base/seal.h)
 *
 * Which record of an id counts: the one in the batch with the highest lsn. So a carried-over copy of a record
 * (MOVE, or ERASED and TOMBSTONE written again by cleaning) replaces the older one wherever that still stands.
 *
 * TOMBSTONE says: this id is gone for ever. It stands for an id that was never held, or replaces an ERASED when
 * the segment that held the payload has been wiped as a whole and nothing is left to describe.
 * Pure: bytes in, bytes out. */
#ifndef TRILITH_NODE_STORE_RECORD_H
#define TRILITH_NODE_STORE_RECORD_H

#include "base/batch.h"
#include "base/keystream.h"
#include "node/store/chunk_store.h"

enum record_type { RECORD_PUT = 1, RECORD_MOVE = 2, RECORD_ERASE = 3, RECORD_ERASED = 4, RECORD_TOMBSTONE = 5 };

#define WIPE_SEED_BYTES   KEYSTREAM_SEED_BYTES
#define WIPE_DIGEST_BYTES CONTENT_HASH_BYTES

/* A chunk's payload in one use of one segment file; generation 0: nowhere. */
struct chunk_place {
    uint32_t segment;
    uint64_t generation;
    uint64_t offset;
};

struct record {
    enum record_type type;
    struct chunk_header chunk; /* TOMBSTONE: id and chunk_bytes only */
    uint32_t payload_block;    /* PUT, MOVE */
    uint32_t payload_blocks;
    struct chunk_place place;          /* MOVE, ERASE, ERASED */
    enum wipe_technique technique;     /* ERASE: how it is to be overwritten; ERASED: how it was */
    uint8_t seed[WIPE_SEED_BYTES];     /* ERASE, ERASED */
    uint8_t digest[WIPE_DIGEST_BYTES]; /* ERASED */
    const uint8_t *seals;              /* PUT, MOVE: into the bytes that were decoded, or the caller's to encode */
};

/* The blocks that a chunk's payload takes. */
static inline uint32_t payload_block_count(uint32_t chunk_bytes)
{
    return (chunk_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES;
}

/* How long the record of a chunk is on disk. */
size_t record_bytes(enum record_type type, uint32_t chunk_bytes);

/* Write `record` to `target`, which has room for record_bytes(). Returns that. */
size_t record_encode(const struct record *record, uint8_t *target);

/* Walks the records of one decoded batch. */
struct record_cursor {
    const uint8_t *at;
    size_t left;
    uint32_t records_left;
    uint32_t next_block;   /* where the next payload must begin */
    uint32_t batch_blocks; /* where the last one must end */
};

/* `area` is the header area that batch_header_decode() accepted as `header`. */
struct record_cursor record_cursor_of(const struct batch_header *header, const uint8_t *area);

/* The next record. STATUS_OK; STATUS_NOT_FOUND: that was all, and everything fits; STATUS_CORRUPT: not records. */
MUST_USE enum status record_next(struct record_cursor *cursor, struct record *record);

/* Check the whole batch without looking at the payload. STATUS_OK or STATUS_CORRUPT. */
MUST_USE enum status records_check(const struct batch_header *header, const uint8_t *area);

/* The first unit of a record's payload that fails its CRC (`payload` is all its blocks), the last unit also when
 * its padding is not zero; UINT32_MAX: all is well. */
uint32_t record_first_bad_unit(const struct record *record, const uint8_t *payload);

/* True when all bytes are zero. */
bool bytes_are_zero(const uint8_t *data, size_t bytes);

#endif
