/* batch_reader.c - see batch_reader.h.
 *
 * Reads go ahead through a window of the segment, so that a log of small batches costs one read per megabyte, not two
 * per batch. Behind a large batch the window is small: there the next header is all that will be used of it.
 *
 *   header:  block in the window? ── no ──> read the window there ──> peek ──> whole area in it? ──> decode ──> done
 *   scan:    block by block through the windows; where one could be a batch: as above, bad: go on behind it
 *
 * What needs no read is answered from a timer that is due at once: a task could not be called off by a deinit. */
#include "node/store/batch_reader.h"

#include <stdlib.h>

#define WINDOW_BYTES       MIB(1)
#define WINDOW_SMALL_BYTES KIB(64)

static void answer_later(struct loop_timer *timer)
{
    struct batch_reader *reader = CONTAINER_OF(timer, struct batch_reader, later);

    reader->done(reader, reader->status);
}

void batch_reader_init(struct batch_reader *reader, struct loop *loop)
{
    *reader = (struct batch_reader){.loop = loop, .later.fire = answer_later};
    reader->area = aligned_alloc(BLOCK_BYTES, BATCH_AREA_BYTES);
    reader->payload_buffer = aligned_alloc(BLOCK_BYTES, BATCH_PAYLOAD_BYTES);
    reader->window = aligned_alloc(BLOCK_BYTES, WINDOW_BYTES);
    CHECK(reader->area != NULL && reader->payload_buffer != NULL && reader->window != NULL);
}

void batch_reader_deinit(struct batch_reader *reader)
{
    loop_timer_stop(reader->loop, &reader->later);
    free(reader->area);
    free(reader->payload_buffer);
    free(reader->window);
}

void batch_reader_restart(struct batch_reader *reader)
{
    reader->window_segment = NULL;
    reader->window_bytes = 0;
    reader->header = (struct batch_header){0};
}

static void finish(struct batch_reader *reader, enum status status)
{
    reader->status = status;
    loop_timer_start(reader->loop, &reader->later, loop_now_ns(reader->loop));
}

/* ---- the window ---------------------------------------------------------------------------------- */

/* The `bytes` at `offset`, when the window has them all. */
static const uint8_t *in_window(const struct batch_reader *reader, uint64_t offset, size_t bytes)
{
    bool covered = reader->window_segment == reader->segment && offset >= reader->window_offset &&
                   offset + bytes <= reader->window_offset + reader->window_bytes;
    return covered ? reader->window + (offset - reader->window_offset) : NULL;
}

static uint32_t bytes_up_to_end(const struct segment *segment, uint64_t offset, size_t limit)
{
    uint64_t left = segment->table->segment_bytes - offset;
    return left < limit ? (uint32_t)left : (uint32_t)limit;
}

static void window_move(struct batch_reader *reader, uint64_t offset, size_t bytes, void (*done)(struct disk_io *io))
{
    reader->window_segment = reader->segment;
    reader->window_offset = offset;
    reader->window_bytes = bytes_up_to_end(reader->segment, offset, bytes);
    CHECK(offset + reader->window_bytes <= reader->segment->file->bytes);
    disk_submit(reader->segment->file, &reader->io, DISK_READ, reader->window, reader->window_bytes, offset,
                reader->flags, done);
}

/* A read into the window has ended. False: it failed, and this was said. */
static bool window_is_good(struct batch_reader *reader)
{
    if (reader->io.status == STATUS_OK) {
        return true;
    }
    reader->window_segment = NULL;
    finish(reader, STATUS_IO);
    return false;
}

/* ---- header --------------------------------------------------------------------------------------- */

static void scan_continue(struct batch_reader *reader);

/* One header attempt has ended: report it, or, scanning, go on when it was not good. */
static void header_end(struct batch_reader *reader, enum status status)
{
    if (reader->scanning && (status == STATUS_CORRUPT || status == STATUS_NOT_FOUND)) {
        reader->scan_at = reader->offset + BLOCK_BYTES;
        scan_continue(reader);
        return;
    }
    if (reader->scanning && status == STATUS_OK && reader->adopting) {
        reader->segment->header.segment = reader->header.segment;
        reader->segment->header.generation = reader->header.generation;
        reader->segment->header.first_lsn = reader->header.lsn;
    }
    finish(reader, status);
}

/* The identity that the batch must have; when adopting, the one it claims. */
static struct segment_header expected_identity(const struct batch_reader *reader, const struct batch_header *peeked)
{
    struct segment_header expected = reader->segment->header;

    expected.segment_bytes = reader->segment->table->segment_bytes;
    if (reader->adopting) {
        expected.segment = peeked->segment;
        expected.generation = peeked->generation;
        expected.first_lsn = peeked->lsn;
    }
    return expected;
}

/* The whole area is in `area`. */
static enum status header_check(struct batch_reader *reader, const struct batch_header *peeked, size_t area_bytes)
{
    struct segment_header expected = expected_identity(reader, peeked);
    struct batch_header header;

    if (batch_header_decode(reader->area, area_bytes, &expected, reader->offset, &header) != STATUS_OK ||
        header.batch_blocks - header.header_blocks > BATCH_PAYLOAD_BYTES / BLOCK_BYTES) {
        return STATUS_CORRUPT;
    }
    reader->header = header;
    return records_check(&header, reader->area);
}

static void header_window_read(struct disk_io *io);

static void header_from_window(struct batch_reader *reader)
{
    struct batch_header peeked;
    const uint8_t *block = in_window(reader, reader->offset, BLOCK_BYTES);

    if (block == NULL) {
        bool behind_large = reader->header.batch_blocks > WINDOW_SMALL_BYTES / BLOCK_BYTES && !reader->scanning;
        window_move(reader, reader->offset, behind_large ? WINDOW_SMALL_BYTES : WINDOW_BYTES, header_window_read);
        return;
    }
    enum status status = batch_header_peek(block, &peeked);
    if (status != STATUS_OK) {
        header_end(reader, status);
        return;
    }
    size_t area_bytes = (size_t)peeked.header_blocks * BLOCK_BYTES;
    const uint8_t *area = in_window(reader, reader->offset, area_bytes);
    if (area == NULL && bytes_up_to_end(reader->segment, reader->offset, area_bytes) < area_bytes) {
        header_end(reader, STATUS_CORRUPT);
        return;
    }
    if (area == NULL) {
        window_move(reader, reader->offset, WINDOW_BYTES, header_window_read);
        return;
    }
    memcpy(reader->area, area, area_bytes);
    header_end(reader, header_check(reader, &peeked, area_bytes));
}

static void header_window_read(struct disk_io *io)
{
    struct batch_reader *reader = CONTAINER_OF(io, struct batch_reader, io);

    if (window_is_good(reader)) {
        header_from_window(reader);
    }
}

void batch_read_header(struct batch_reader *reader, struct segment *segment, uint64_t offset,
                       void (*done)(struct batch_reader *reader, enum status status))
{
    CHECK(offset % BLOCK_BYTES == 0 && offset < segment->table->segment_bytes);
    reader->segment = segment;
    reader->done = done;
    reader->scanning = false;
    reader->adopting = false;
    reader->offset = offset;
    reader->payload = NULL;
    header_from_window(reader);
}

/* ---- payload -------------------------------------------------------------------------------------- */

static enum status payload_check(const struct batch_reader *reader)
{
    struct record_cursor cursor = record_cursor_of(&reader->header, reader->area);
    struct record record;

    while (record_next(&cursor, &record) == STATUS_OK) {
        if (record.payload_blocks == 0) {
            continue;
        }
        size_t at = (size_t)(record.payload_block - reader->header.header_blocks) * BLOCK_BYTES;
        if (record_first_bad_unit(&record, reader->payload + at) != UINT32_MAX) {
            return STATUS_CORRUPT;
        }
    }
    return STATUS_OK;
}

static void payload_read(struct disk_io *io)
{
    struct batch_reader *reader = CONTAINER_OF(io, struct batch_reader, io);

    reader->payload = reader->payload_buffer;
    finish(reader, io->status != STATUS_OK ? STATUS_IO : payload_check(reader));
}

void batch_read_payload(struct batch_reader *reader, void (*done)(struct batch_reader *reader, enum status status))
{
    size_t header_bytes = (size_t)reader->header.header_blocks * BLOCK_BYTES;
    size_t bytes = (size_t)reader->header.batch_blocks * BLOCK_BYTES - header_bytes;

    CHECK(bytes > 0);
    reader->done = done;
    reader->payload = in_window(reader, reader->offset + header_bytes, bytes);
    if (reader->payload != NULL) {
        finish(reader, payload_check(reader));
        return;
    }
    CHECK(reader->offset + header_bytes + bytes <= reader->segment->file->bytes);
    disk_submit(reader->segment->file, &reader->io, DISK_READ, reader->payload_buffer, bytes,
                reader->offset + header_bytes, reader->flags, payload_read);
}

/* ---- scan ----------------------------------------------------------------------------------------- */

static bool could_be_batch(const struct batch_reader *reader, const uint8_t *block, uint64_t offset)
{
    struct batch_header peeked;

    return batch_header_peek(block, &peeked) == STATUS_OK && peeked.offset == offset &&
           (reader->adopting || uuid_equal(&peeked.segment, &reader->segment->header.segment));
}

static void scan_window_read(struct disk_io *io)
{
    struct batch_reader *reader = CONTAINER_OF(io, struct batch_reader, io);

    if (window_is_good(reader)) {
        scan_continue(reader);
    }
}

/* Look at the blocks of the window from scan_at on; then at the next window. */
static void scan_continue(struct batch_reader *reader)
{
    const uint8_t *block;

    while (reader->scan_at < reader->scan_end && (block = in_window(reader, reader->scan_at, BLOCK_BYTES)) != NULL) {
        if (!bytes_are_zero(block, BLOCK_BYTES)) {
            reader->nonzero_end = reader->scan_at + BLOCK_BYTES;
            if (could_be_batch(reader, block, reader->scan_at)) {
                reader->offset = reader->scan_at;
                reader->payload = NULL;
                header_from_window(reader);
                return;
            }
        }
        reader->scan_at += BLOCK_BYTES;
    }
    if (reader->scan_at >= reader->scan_end) {
        finish(reader, STATUS_NOT_FOUND);
        return;
    }
    window_move(reader, reader->scan_at, WINDOW_BYTES, scan_window_read);
}

static void scan_start(struct batch_reader *reader, struct segment *segment, uint64_t offset, uint64_t end,
                       void (*done)(struct batch_reader *reader, enum status status))
{
    CHECK(offset % BLOCK_BYTES == 0 && offset < end && end <= segment->table->segment_bytes);
    reader->segment = segment;
    reader->done = done;
    reader->scanning = true;
    reader->scan_at = offset;
    reader->scan_end = end;
    reader->nonzero_end = offset;
    scan_continue(reader);
}

void batch_scan(struct batch_reader *reader, struct segment *segment, uint64_t offset, bool adopt,
                void (*done)(struct batch_reader *reader, enum status status))
{
    reader->adopting = adopt;
    scan_start(reader, segment, offset, segment->table->segment_bytes, done);
}

void batch_scan_up_to(struct batch_reader *reader, struct segment *segment, uint64_t offset, uint64_t end,
                      void (*done)(struct batch_reader *reader, enum status status))
{
    reader->adopting = false;
    scan_start(reader, segment, offset, end, done);
}
