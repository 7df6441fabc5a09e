/* recovery.h - the state of one open: from files to a store that serves. Shared by recover.c and replay.c.
 *
 *   superblock ──> segment headers ──> index ──> replay of the log behind the index ──> what is not part of the log
 *   is made so (zeroed and read back, segments marked) ──> reserve allocated ──> superblock written ──> open */
#ifndef TRILITH_NODE_STORE_RECOVERY_H
#define TRILITH_NODE_STORE_RECOVERY_H

#include "node/store/store_private.h"

/* What is read of a segment at first: its header, and the block behind it. */
#define HEADER_LOOK_BYTES (SEGMENT_HEADER_BYTES + BLOCK_BYTES)

struct recovery {
    struct chunk_store *store;
    void (*done)(void *user, enum status status, struct chunk_store *store);
    void *user;
    struct loop_timer start;
    struct disk_io io;
    uint8_t *blocks;               /* HEADER_LOOK_BYTES */
    bool fresh;                    /* no superblock yet */
    unsigned unreadable_copies;    /* of the superblock */
    uint32_t files;                /* segment files found */
    uint32_t number_end;           /* behind the highest number among them */
    uint32_t next_segment;         /* whose header, mark or allocation is next */
    bool adopting_again;           /* its header is lost, and its batches are being looked for a second time */
    struct segment_header adopted; /* what the first look found */
    uint64_t adopted_at;           /* where; 0: nothing */
    bool records_lost;             /* damage took records away: the index may not know of copies that stand */

    bool rebuild; /* the index is being made from nothing */
    /* Closed in order: the superblock says so, none of its copies is bad, the index ends where it says. */
    bool was_clean;
    struct log_position at;  /* where the next batch is expected */
    struct segment *segment; /* of `at`; NULL: there is no log yet */
    bool chain_unknown;      /* behind damage: the previous crc can't be checked */
    uint64_t known_durable;  /* batches up to here were acknowledged, as far as is known */

    /* What was found around the batch that is not there as expected. */
    uint64_t nonzero_end; /* the rest of the segment is zero from here on */
    uint64_t scan_end;    /* how far the segment is being examined */
    bool looked_twice;    /* what is going to be destroyed has been examined a second time */
    bool header_good;     /* it is only payload that is wrong */
    bool found;           /* a good batch behind it in the same segment: the first that is not older than it */
    struct log_position found_at;
    struct segment *later; /* the later segment that is being searched for durable lsns */

    /* What is being overwritten with zeros, in recovery->segment; then `zeroed`. */
    uint64_t zero_from;
    uint64_t zero_end;
    uint64_t zero_offset;
    unsigned zero_rounds;
    void (*zeroed)(struct recovery *recovery);
};

/* Walk the log from `at` to its end, applying it to the index; then recovery_replayed(). */
void replay_start(struct recovery *recovery);

void recovery_replayed(struct recovery *recovery);
/* Give up: free everything, tell the caller. */
void recovery_fail(struct recovery *recovery, enum status status);

#endif
