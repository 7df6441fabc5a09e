/* superblock.h - what a store knows about itself: one block in the file `superblock`, kept four times.
 *
 * The copies stand one behind the other, SUPERBLOCK_COPIES blocks in all. A new state is written over the copy that
 * is oldest (sequence % 4), so a torn write costs that copy only; the newest copy that decodes counts. All
 * integers little-endian.
 *
 *   offset  bytes
 *        0      8  magic "TRLSUP1\0"
 *        8      4  format          1
 *       12      4  clean           1: closed in order, nothing was written since
 *       16     16  store uuid
 *       32      8  sequence        +1 with every write of any copy
 *       40      8  segment bytes
 *       48      8  capacity bytes  at the last open
 *       56      8  durable lsn     a batch up to here is known durable: recovery's second source (research: PAR rule)
 *       64   4028  zero
 *     4092      4  crc32c          over bytes 0..4091
 *
 * Pure: bytes in, bytes out. */
#ifndef TRILITH_NODE_STORE_SUPERBLOCK_H
#define TRILITH_NODE_STORE_SUPERBLOCK_H

#include "base/ids.h"
#include "base/status.h"

#define SUPERBLOCK_NAME   "superblock"
#define SUPERBLOCK_COPIES 4u
#define SUPERBLOCK_BYTES  (SUPERBLOCK_COPIES * BLOCK_BYTES)
#define SUPERBLOCK_FORMAT 1u

struct superblock {
    struct uuid store;
    uint64_t sequence;
    uint64_t segment_bytes;
    uint64_t capacity_bytes;
    uint64_t durable_lsn;
    bool clean;
};

void superblock_encode(const struct superblock *superblock, uint8_t block[BLOCK_BYTES]);

/* STATUS_OK; STATUS_NOT_FOUND: all zeros; STATUS_UNSUPPORTED: another format; STATUS_CORRUPT: anything else. */
MUST_USE enum status superblock_decode(const uint8_t block[BLOCK_BYTES], struct superblock *superblock);

/* The newest of the copies in `blocks`. STATUS_OK; STATUS_NOT_FOUND: none was ever written; STATUS_UNSUPPORTED,
 * STATUS_CORRUPT: no copy is good. `*bad_copies` counts those that are neither good nor empty. */
MUST_USE enum status superblock_choose(const uint8_t blocks[SUPERBLOCK_BYTES], struct superblock *superblock,
                                       unsigned *bad_copies);

/* Where the copy with this sequence number goes. */
static inline uint64_t superblock_offset(uint64_t sequence)
{
    return sequence % SUPERBLOCK_COPIES * BLOCK_BYTES;
}

#endif
