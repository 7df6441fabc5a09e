/* segment.h - the segment files of one store: what each is for now, and what is in it.
 *
 *              allocate            roll                 no room             chosen by cleaning
 *   ABSENT ──────────> ALLOCATED ──────┐                                           │
 *                         │ prewrite   ├──> OPEN ───────────> FULL ──────────> CLEANING
 *                         └─────> READY ┘                       ^                  │ all live records moved
 *                                   ^                           │ interrupted      v
 *                                   └──── zeros, read back ─────┴───────────── WIPING <─> RETIRED (read-back differs)
 *
 * The state is in the segment header on disk, in `first lsn`, so it needs no index:
 *   header all zero          ALLOCATED  the rest reads as zeros
 *   first lsn 0              READY      the rest was written with zeros; the generation is that of the next use
 *   first lsn 2^64 - 2       WIPING     nothing in it counts any more; it is being overwritten with zeros. The index knows
 *                                       every chunk of which a copy may still stand in it: it was cleaned
 *   first lsn 2^64 - 1       WIPING     the same, but nobody knows whose ciphertext stands in it: it was given up
 *   anything else            OPEN or FULL
 *
 * Invariant  Behind the last batch of every OPEN or FULL segment there are only zeros; recovery restores this.
 * Accounting A segment's live and erasing bytes are payload blocks; its pending bytes are whole batches in flight. What
 *            is left up to its end is dead: headers, wiped and moved payload, unused space behind the last batch.
 * Threads    Loop thread only. */
#ifndef TRILITH_NODE_STORE_SEGMENT_H
#define TRILITH_NODE_STORE_SEGMENT_H

#include "base/batch.h"
#include "base/disk.h"
#include "node/store/record.h"

#define SEGMENT_LSN_READY   UINT64_C(0)
#define SEGMENT_LSN_CLEANED (UINT64_MAX - 1)
#define SEGMENT_LSN_WIPING  UINT64_MAX

enum segment_state {
    SEGMENT_ABSENT,
    SEGMENT_ALLOCATED,
    SEGMENT_READY,
    SEGMENT_OPEN,
    SEGMENT_FULL,
    SEGMENT_CLEANING,
    SEGMENT_WIPING,
    SEGMENT_RETIRED,
};

/* One who waits for what was written to a file so far to be durable. */
struct flush_waiter {
    void (*done)(struct flush_waiter *waiter, enum status status);
    struct list_link link;
};

/* The flushes of one file: at most one at a time, shared by all whose writes had completed when it started. */
struct flush_line {
    struct disk_io io;
    struct list waiting; /* for the next flush */
    struct list covered; /* by the one in flight */
    bool in_flight;
};

struct segment_table;

struct segment {
    struct segment_table *table;
    uint32_t number;
    enum segment_state state;
    struct disk_file *file;       /* NULL: no such file */
    struct segment_header header; /* identity of this use; only the generation counts while it is free */
    uint64_t end; /* in use: where the next batch goes, the size when FULL; ALLOCATED: prewritten up to here */
    uint64_t live_bytes;
    uint64_t erasing_bytes;
    uint64_t pending_bytes;
    uint32_t live_chunks;
    uint32_t tombstones;      /* ERASED and TOMBSTONE records here that still count */
    bool moved_out;           /* holds payload whose chunk lives elsewhere now: cleaning must go on with it first */
    bool stuck;               /* cleaning met damage; not tried again before a pause, or an erase in here */
    uint32_t clean_failures;  /* in a row */
    uint64_t clean_again_ns;  /* stuck: not before */
    uint64_t damaged_lsn;     /* the batch whose damage cleaning has reported; 0: none */
    struct segment *held_by;  /* has the older copy of a chunk in here: not cleaned before that one is wiped */
    bool busy;                /* being prewritten: not for anybody else */
    bool header_lost;         /* opening: taken from a batch, to be written again; WIPING: to be reported */
    bool unaccounted;         /* being wiped, and nobody knows which chunks have ciphertext in it */
    uint32_t wipe_failures;   /* in a row */
    uint64_t wipe_again_ns;   /* not before */
    uint32_t readers;         /* reads in flight */
    struct list_link touched; /* in table->touched while the index does not have the counters */
    struct flush_line flushes;
};

struct segment_table {
    struct disk *disk;
    struct segment *segments;
    uint32_t count;
    uint64_t segment_bytes;
    uint64_t flush_count;    /* flushes started */
    uint32_t allocatable;    /* how many of the ABSENT ones the file system may still have room for */
    uint32_t free_allocated; /* ALLOCATED and READY */
    struct list touched;     /* whose counters changed since the index was written */
};

/* Room for `count` segments, all ABSENT. */
void segment_table_init(struct segment_table *table, struct disk *disk, uint32_t count, uint64_t segment_bytes);
/* Close all files; no I/O may be in flight unless the disk has crashed. */
void segment_table_deinit(struct segment_table *table);

/* "segment-%08x". */
void segment_name(uint32_t number, char name[DISK_NAME_BYTES]);
/* The number in such a name; false for any other name. */
bool segment_number_from_name(const char *name, uint32_t *number);

/* What the header of a WIPING segment says; whether it says that. */
uint64_t segment_wiping_lsn(const struct segment *segment);
bool segment_lsn_says_wiping(uint64_t first_lsn);

/* Change the state and keep the table's counts right. */
void segment_set_state(struct segment *segment, enum segment_state state);

/* Note that the counters changed. */
void segment_touch(struct segment *segment);

/* OPEN, FULL or CLEANING: its records count. */
bool segment_is_in_use(const struct segment *segment);

/* What cleaning it would give back, in bytes; tombstones are what it would have to write again. */
uint64_t segment_reclaimable_bytes(const struct segment *segment);

/* Whether `place` names what is in its segment now: same use of the file, inside it, and records there count. */
struct segment *segment_of_place(const struct segment_table *table, const struct chunk_place *place);

/* The segment in which the copy at `place` may still stand, although its records need not count: also one whose wipe is
 * not over, or was refused by the device. */
struct segment *segment_of_old_copy(const struct segment_table *table, const struct chunk_place *place);

/* The segment has been wiped: those that it held are free to be cleaned. */
void segment_release_held(struct segment *segment);

/* What is in it can't be expected to go soon: damage, or a wipe refused again and again, here or in what holds it. */
bool segment_is_blocked(const struct segment *segment);

/* Whether ciphertext may stand in segments that are being wiped which nobody could find: an id that the index does not
 * know may have been there. `*blocked`: one of them can't be expected to be wiped soon. */
bool segments_are_unaccounted(const struct segment_table *table, bool *blocked);

/* How long to wait before something is tried again that has failed so many times before: 1 second, 2, 4, .. 1 hour. */
uint64_t segment_pause_ns(uint32_t failures);

/* Free segments, allocated or not. */
uint32_t segments_free(const struct segment_table *table);

/* The best free segment to write to next: READY, then ALLOCATED, then ABSENT; NULL: none. With `keep_allocated`,
 * leave that many of the allocated ones alone. */
struct segment *segment_choose_free(struct segment_table *table, uint32_t keep_allocated);

/* `waiter->done` runs when all that was written to the file before this call is durable, or can't be made so. */
void segment_flush(struct segment *segment, struct flush_waiter *waiter,
                   void (*done)(struct flush_waiter *waiter, enum status status));

#endif
