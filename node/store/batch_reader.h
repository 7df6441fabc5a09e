/* batch_reader.h - reads one batch at a time from a segment, checked; and finds the next one behind damage.
 *
 * One reader serves recovery and, later, cleaning. It holds one batch: header area and payload.
 * Threads    Loop thread only; one operation at a time; `done` never runs inside the call that starts it. */
#ifndef TRILITH_NODE_STORE_BATCH_READER_H
#define TRILITH_NODE_STORE_BATCH_READER_H

#include "base/loop.h"
#include "node/store/segment.h"

#define BATCH_AREA_BYTES    (BATCH_HEADER_BLOCKS_MAX * BLOCK_BYTES)
#define BATCH_PAYLOAD_BYTES CHUNK_BYTES_MAX /* the longest payload of a batch: one chunk */

struct batch_reader {
    struct segment *segment; /* outcome: what was read, and from where */
    uint64_t offset;
    struct batch_header header;
    uint8_t *area;
    const uint8_t *payload; /* after batch_read_payload() */
    uint64_t nonzero_end;   /* after batch_scan(): behind the last block it saw that is not all zeros */
    unsigned flags;         /* enum disk_flags for every read */

    void (*done)(struct batch_reader *reader, enum status status); /* from here on private */
    enum status status;
    struct loop *loop;
    struct loop_timer later;
    struct disk_io io;
    uint8_t *payload_buffer;
    uint8_t *window; /* what was read last of `window_segment` */
    const struct segment *window_segment;
    uint64_t window_offset;
    uint32_t window_bytes;
    uint64_t scan_at;
    uint64_t scan_end;
    bool scanning;
    bool adopting;
};

void batch_reader_init(struct batch_reader *reader, struct loop *loop);
void batch_reader_deinit(struct batch_reader *reader);

/* Forget what was read ahead: the segment is another one, or was written to. */
void batch_reader_restart(struct batch_reader *reader);

/* Read and check the header area of the batch at `offset` (a block inside the segment). STATUS_OK; STATUS_NOT_FOUND:
 * the block is all zeros; STATUS_CORRUPT: anything else; STATUS_IO. */
void batch_read_header(struct batch_reader *reader, struct segment *segment, uint64_t offset,
                       void (*done)(struct batch_reader *reader, enum status status));

/* After a header whose batch has payload: read it and check every unit. STATUS_OK, STATUS_CORRUPT, STATUS_IO. */
void batch_read_payload(struct batch_reader *reader, void (*done)(struct batch_reader *reader, enum status status));

/* Find the first good batch header at or behind `offset`. STATUS_OK: as after batch_read_header(); STATUS_NOT_FOUND:
 * there is none up to the end of the segment; STATUS_IO. With `adopt`, the segment's own header was lost: a batch
 * that is right in itself decides what this use of the file is. */
void batch_scan(struct batch_reader *reader, struct segment *segment, uint64_t offset, bool adopt,
                void (*done)(struct batch_reader *reader, enum status status));

/* The same without adopting, for batches that begin below `end`. */
void batch_scan_up_to(struct batch_reader *reader, struct segment *segment, uint64_t offset, uint64_t end,
                      void (*done)(struct batch_reader *reader, enum status status));

#endif
