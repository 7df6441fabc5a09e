/* table.h - the page table of one epoch: its rows in guarded memory, and the bytes of its file.
 *
 * Row of a page, 36 bytes, in memory as in the file:
 *   u8 type | generation u24le | key[32]
 *   whole      key is the page's seed                        punctured  key opens the cover of that generation
 *   dead       every leaf is forgotten, key is zero          0          no such page: only behind the last row
 *
 * File: a header of 4 KiB, then blocks of 64 KiB, at least one:
 *   offset  bytes
 *        0      8  "TRLtabl1"
 *        8      4  format, 1
 *       12     16  vault uuid
 *       28      8  epoch
 *       36      4  pages_end
 *       40      8  leaves erased in all epochs
 *       48     32  commitment of the epoch's root
 *       80      4  blocks
 *       84   4008  zero
 *     4092      4  CRC32C of all before
 * A block is a box (nonce, 1,819 rows, 12 zero bytes, tag) under derive_named_key(root, "block <number>"), bound to the
 * first 84 bytes of the header: no block of another vault, epoch or attempt, and none out of its place, ever opens, and
 * a header that was changed opens no block.
 *
 * Memory is taken in regions of 256 KiB, one at a time, so that a table of any size can be made and given back in
 * slices. Pure but for guarded_take(). Threads: none. */
#ifndef TRILITH_META_VAULT_TABLE_H
#define TRILITH_META_VAULT_TABLE_H

#include "base/disk.h"
#include "base/keys.h"
#include "meta/vault/slot.h"

#define TABLE_HEADER_BYTES       BLOCK_BYTES
#define TABLE_HEADER_BOUND_BYTES 84
#define TABLE_BLOCK_BYTES        KIB(64)
#define TABLE_PLAIN_BYTES        (TABLE_BLOCK_BYTES - BOX_OVERHEAD_BYTES)
#define TABLE_ROW_BYTES          (4 + KEY_BYTES)
#define TABLE_BLOCK_ROWS         (TABLE_PLAIN_BYTES / TABLE_ROW_BYTES)
#define TABLE_REGION_BLOCKS      4u
#define TABLE_BLOCKS_MAX         60000u /* a file stays below 4 GiB: 109 million pages, 28 thousand million leaves */
#define TABLE_PAGES_MAX          ((uint32_t)(TABLE_BLOCKS_MAX * TABLE_BLOCK_ROWS))
#define TABLE_GENERATION_MASK    0xffffffu

struct table_header {
    uint8_t vault_uuid[VAULT_UUID_BYTES];
    uint64_t epoch;
    uint32_t pages_end; /* 1..TABLE_PAGES_MAX */
    uint64_t leaves_erased_total;
    uint8_t commitment[COMMITMENT_BYTES];
};

void table_header_encode(const struct table_header *header, uint8_t bytes[TABLE_HEADER_BYTES]);
/* STATUS_OK; STATUS_CORRUPT: not a header; STATUS_UNSUPPORTED: of another format. Says nothing about who wrote it. */
MUST_USE enum status table_header_decode(const uint8_t bytes[TABLE_HEADER_BYTES], struct table_header *header);

/* The file's name: "table-000000000000002a". */
void table_name(uint64_t epoch, char name[DISK_NAME_BYTES]);

/* How many blocks hold the pages 1 .. pages_end - 1, and how long the file is. */
uint32_t table_blocks(uint32_t pages_end);
uint64_t table_file_bytes(uint32_t pages_end);
static inline uint64_t table_block_offset(uint32_t block)
{
    return TABLE_HEADER_BYTES + block * (uint64_t)TABLE_BLOCK_BYTES;
}

enum table_row_type { TABLE_NO_ROW = 0, TABLE_WHOLE = 1, TABLE_PUNCTURED = 2, TABLE_DEAD = 3 };

struct table_row {
    enum table_row_type type;
    uint32_t generation;   /* 24 bits; of the cover */
    const struct key *key; /* in the table's own memory: until it is changed or released */
};

/* Zero-initialise. */
struct table {
    uint8_t **regions; /* guarded; TABLE_REGION_BLOCKS blocks of TABLE_PLAIN_BYTES each */
    uint32_t region_count;
    uint32_t regions_max;
    uint32_t pages_end; /* set by table_reserve(): what it has room for */
};

/* Make it a table, without regions yet, of the pages 1 .. pages_end - 1 (at most TABLE_PAGES_MAX). STATUS_OK or
 * STATUS_FULL. */
MUST_USE enum status table_reserve(struct table *table, uint32_t pages_end);
/* Are all regions there? */
bool table_is_complete(const struct table *table);
/* Add the next region, zeroed, or filled with what `source` (NULL: none) has in that place. STATUS_OK or
 * STATUS_FULL. */
MUST_USE enum status table_extend(struct table *table, const struct table *source);
/* Wipe and give back the last region. False: there was none, and the table is as it was before table_reserve(). */
bool table_shrink(struct table *table);
void table_release(struct table *table);
/* Bytes of guarded memory. */
size_t table_memory(const struct table *table);

/* `page` is 1 .. pages_end - 1. */
struct table_row table_row(const struct table *table, uint32_t page);
/* `key` NULL: zero. */
void table_row_set(struct table *table, uint32_t page, enum table_row_type type, uint32_t generation,
                   const struct key *key);
/* The rows of a block as they are sealed: TABLE_PLAIN_BYTES. */
uint8_t *table_block(const struct table *table, uint32_t block);

/* What seals and opens the blocks of one table. Lies in guarded memory. */
struct table_sealing {
    struct key root;
    struct key block_key;                     /* scratch */
    uint8_t header[TABLE_HEADER_BOUND_BYTES]; /* the beginning of the encoded header */
};

void table_block_seal(struct table_sealing *sealing, uint32_t block, const uint8_t rows[TABLE_PLAIN_BYTES],
                      uint8_t sealed[TABLE_BLOCK_BYTES]);
/* STATUS_OK; STATUS_CORRUPT: does not open, or holds what is no row. `rows` is overwritten in any case. */
MUST_USE enum status table_block_open(struct table_sealing *sealing, uint32_t block, uint32_t pages_end,
                                      const uint8_t sealed[TABLE_BLOCK_BYTES], uint8_t rows[TABLE_PLAIN_BYTES]);

#endif
