/* journal_local.h - the journal of one node: a log in segment files `journal-%08x` of fixed size, on one disk.
 *
 * Format     base/batch.h and journal_segment.h.
 * Writing    Entries that arrive while a batch is being written make up the next one: group commit. One batch is in
 *            flight at a time, written with DISK_DURABLE; that one order makes torn tails tellable from corruption.
 *            What waits is bounded: JOURNAL_BATCHES_MAX batches of up to 256 KiB, then STATUS_BUSY.
 * Segments   Written with zeros before use, one ahead of need. Used ones whose entries are all released are used again,
 *            the oldest first, under a new uuid and generation, so what is left of their first life does not decode.
 * Opening    Reads all segments, replays every entry behind the applied index to the user, and refuses what is not
 *            whole: STATUS_CORRUPT, with a line for people. Only a torn tail is dropped: it was never acknowledged.
 * Memory     All is allocated when opening, and never again: without it the process stops in a CHECK, as it could not work.
 *            Only the buffer for the largest segment found is asked for politely: STATUS_FULL.
 * A full disk, when a new segment is needed, stops commits (STATUS_BUSY) until there is room; nothing is lost. */
#ifndef TRILITH_META_JOURNAL_LOCAL_H
#define TRILITH_META_JOURNAL_LOCAL_H

#include "base/disk.h"
#include "base/loop.h"
#include "meta/journal.h"

#define JOURNAL_SEGMENT_BYTES_DEFAULT MIB(16)
#define JOURNAL_SEGMENT_BYTES_MIN     MIB(1)
#define JOURNAL_SEGMENTS_MAX          256u
#define JOURNAL_BATCHES_MAX           16u
#define JOURNAL_MESSAGE_BYTES         160

struct journal_local_options {
    uint64_t segment_bytes;   /* JOURNAL_SEGMENT_BYTES_MIN or more, a multiple of BLOCK_BYTES */
    uint32_t segments_wanted; /* above this many used segments journal_wants_release() says yes */
    uint64_t applied_index;   /* of the user's durable state: entries up to it are not replayed */
};

/* Open, making the first segments on an empty disk. `opened` runs once: STATUS_OK and the journal, after every entry
 * was replayed; else NULL and STATUS_CORRUPT, STATUS_IO, STATUS_FULL or STATUS_DENIED, and `message` for people. */
void journal_local_open(struct loop *loop, struct disk *disk, const struct journal_local_options *options,
                        struct journal_user *user,
                        void (*opened)(void *opened_user, enum status status, struct journal *journal,
                                       const char *message),
                        void *opened_user);

/* Drop everything without a word to the disk, as a crash would. Open, and with no I/O in flight: the simulated disk has
 * crashed before. For tests. */
void journal_local_abandon(struct journal *journal);

#endif
