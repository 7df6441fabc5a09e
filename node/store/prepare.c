/* prepare.c - makes segments ready for use: wipes cleaned ones, writes fresh ones with zeros ahead of need.
 *
 *   WIPING     ──> MARK (header: wiping) ──> ZERO ──> flush ──> VERIFY (second descriptor) ──> HEADER ──> READY
 *   ALLOCATED  ───────────────────────────> ZERO ──> flush ──────────────────────────────────> HEADER ──> READY
 *   ABSENT     ──> ALLOCATE ──> ALLOCATED
 *
 * A wipe of which the read-back fails or differs is begun again after a pause, which doubles each time up to an hour: what
 * passes must not keep an erasure from its end. After the first few the segment is RETIRED in the pauses: nobody waits
 * for it then.
 * Wiping gives room back that others wait for, so it goes on whatever happens. Prewriting is a favour (a later write
 * is then a pure overwrite, without a journal commit in its flush): it stops as soon as there is anything else to
 * do and continues where it was when the store is idle again. Segment after segment, at idle priority. */
#include "node/store/store_private.h"

#include "base/log.h"

#include <stdlib.h>

#define IDLE_RECHECK_NS       (100 * NS_PER_MS)
#define WIPE_FAILURES_RETIRED 4u

static void recheck(struct loop_timer *timer);

void preparer_init(struct chunk_store *store)
{
    struct preparer *preparer = &store->preparer;

    preparer->timer.fire = recheck;
    preparer->zeros = aligned_alloc(BLOCK_BYTES, ZERO_PIECE_BYTES);
    preparer->buffer = aligned_alloc(BLOCK_BYTES, ZERO_PIECE_BYTES);
    CHECK(preparer->zeros != NULL && preparer->buffer != NULL);
    memset(preparer->zeros, 0, ZERO_PIECE_BYTES);
}

void preparer_deinit(struct chunk_store *store)
{
    struct preparer *preparer = &store->preparer;

    loop_timer_stop(store->loop, &preparer->timer);
    if (preparer->verify_file != NULL) {
        disk_file_close(preparer->verify_file);
    }
    free(preparer->zeros);
    free(preparer->buffer);
}

static void recheck(struct loop_timer *timer)
{
    preparer_consider(CONTAINER_OF(timer, struct chunk_store, preparer.timer));
}

/* ---- steps --------------------------------------------------------------------------------------- */

static void prepare_end(struct chunk_store *store)
{
    struct preparer *preparer = &store->preparer;

    if (preparer->verify_file != NULL) {
        disk_file_close(preparer->verify_file);
        preparer->verify_file = NULL;
    }
    preparer->segment->busy = false;
    preparer->segment = NULL;
    preparer->stage = PREPARE_IDLE;
    eraser_retry_parked(store);
    cleaner_consider(store);
    batch_writer_pump(store);
    preparer_consider(store);
    store_close_continue(store);
}

static void prepare_fail(struct chunk_store *store, enum status status, const char *what)
{
    store_fence(store, status, what);
    prepare_end(store);
}

static void header_flushed(struct flush_waiter *waiter, enum status status)
{
    struct chunk_store *store = CONTAINER_OF(waiter, struct chunk_store, preparer.flush);

    if (status != STATUS_OK) {
        prepare_fail(store, status, "prepare_flush");
        return;
    }
    segment_set_state(store->preparer.segment, SEGMENT_READY);
    store->preparer.segment->unaccounted = false;
    store->preparer.segment->wipe_failures = 0;
    store->preparer.segment->clean_failures = 0;
    segment_release_held(store->preparer.segment);
    prepare_end(store);
}

static void header_written(struct disk_io *io)
{
    struct chunk_store *store = CONTAINER_OF(io, struct chunk_store, preparer.io);

    if (io->status != STATUS_OK) {
        prepare_fail(store, io->status, "prepare_header");
        return;
    }
    segment_flush(store->preparer.segment, &store->preparer.flush, header_flushed);
}

static void header_encode(struct chunk_store *store, uint64_t first_lsn)
{
    struct segment *segment = store->preparer.segment;

    segment->header.kind = BATCH_LOG_STORE;
    segment->header.log = store->superblock.state.store;
    segment->header.first_lsn = first_lsn;
    segment->header.segment_bytes = store->segments.segment_bytes;
    segment->header.segment_number = segment->number;
    if (segment->header.generation == 0) {
        segment->header.generation = 1;
    }
    segment_header_encode(&segment->header, store->preparer.buffer);
}

/* Everything behind the header is zero and durable: say so. */
static void write_ready_header(struct chunk_store *store)
{
    struct preparer *preparer = &store->preparer;
    struct segment *segment = preparer->segment;

    preparer->stage = PREPARE_HEADER;
    if (preparer->wiping) {
        segment->header.generation++;
        segment->live_bytes = 0;
        segment->moved_out = false;
    }
    loop_random(store->loop, segment->header.segment.bytes, sizeof(segment->header.segment.bytes));
    header_encode(store, SEGMENT_LSN_READY);
    disk_write(segment->file, &preparer->io, preparer->buffer, BLOCK_BYTES, 0, DISK_IDLE, header_written);
}

/* Prewriting gives way to everything. Wiping goes on, but for a store that is closed: its header says WIPING, and the next
 * open begins it again. */
static bool must_stop(const struct chunk_store *store)
{
    return store->fenced || store->closing || (!store->preparer.wiping && !batch_writer_is_idle(store));
}

static void verify_next(struct chunk_store *store);

static uint32_t piece_bytes(const struct chunk_store *store)
{
    uint64_t left = store->segments.segment_bytes - store->preparer.offset;

    return left < ZERO_PIECE_BYTES ? (uint32_t)left : (uint32_t)ZERO_PIECE_BYTES;
}

/* The read-back failed, or differs: begin again, later. */
static void wipe_failed(struct chunk_store *store, enum status status)
{
    struct segment *segment = store->preparer.segment;

    segment->wipe_again_ns = loop_now_ns(store->loop) + segment_pause_ns(segment->wipe_failures);
    segment->wipe_failures++;
    bool retired = segment->wipe_failures >= WIPE_FAILURES_RETIRED;
    log_event(retired ? LOG_ERROR : LOG_WARNING, retired ? "segment_retired" : "segment_wipe_failed",
              "segment=%u reason=wipe_read_back status=%s failures=%u", segment->number, status_name(status),
              segment->wipe_failures);
    segment_set_state(segment, retired ? SEGMENT_RETIRED : SEGMENT_WIPING);
    prepare_end(store);
}

static void verify_read(struct disk_io *io)
{
    struct chunk_store *store = CONTAINER_OF(io, struct chunk_store, preparer.io);
    struct preparer *preparer = &store->preparer;

    if (io->status != STATUS_OK || !bytes_are_zero(preparer->buffer, io->bytes)) {
        wipe_failed(store, io->status != STATUS_OK ? io->status : STATUS_CORRUPT);
        return;
    }
    preparer->offset += io->bytes;
    verify_next(store);
}

static void verify_next(struct chunk_store *store)
{
    struct preparer *preparer = &store->preparer;

    if (must_stop(store)) {
        prepare_end(store);
        return;
    }
    if (preparer->offset == store->segments.segment_bytes) {
        KILL_POINT(KILL_STORE_SEGMENT_WIPED);
        write_ready_header(store);
        return;
    }
    disk_submit(preparer->verify_file, &preparer->io, DISK_READ, preparer->buffer, piece_bytes(store), preparer->offset,
                DISK_IDLE, verify_read);
}

static void zeros_flushed(struct flush_waiter *waiter, enum status status)
{
    struct chunk_store *store = CONTAINER_OF(waiter, struct chunk_store, preparer.flush);
    struct preparer *preparer = &store->preparer;
    char name[DISK_NAME_BYTES];

    if (status != STATUS_OK) {
        prepare_fail(store, status, "prepare_flush");
        return;
    }
    if (!preparer->wiping) {
        write_ready_header(store);
        return;
    }
    segment_name(preparer->segment->number, name);
    status = disk_file_open(store->disk, name, false, &preparer->verify_file);
    if (status != STATUS_OK) {
        preparer->verify_file = NULL;
        prepare_fail(store, STATUS_IO, "prepare_open");
        return;
    }
    preparer->stage = PREPARE_VERIFY;
    preparer->offset = SEGMENT_HEADER_BYTES;
    verify_next(store);
}

static void zero_next(struct chunk_store *store);

static void zero_written(struct disk_io *io)
{
    struct chunk_store *store = CONTAINER_OF(io, struct chunk_store, preparer.io);

    if (io->status != STATUS_OK) {
        prepare_fail(store, io->status, "prepare_write");
        return;
    }
    store->preparer.offset += io->bytes;
    if (!store->preparer.wiping) {
        store->preparer.segment->end = store->preparer.offset;
    }
    zero_next(store);
}

static void zero_next(struct chunk_store *store)
{
    struct preparer *preparer = &store->preparer;

    preparer->stage = PREPARE_ZERO;
    if (must_stop(store)) {
        prepare_end(store);
        return;
    }
    if (preparer->offset == store->segments.segment_bytes) {
        segment_flush(preparer->segment, &preparer->flush, zeros_flushed);
        return;
    }
    disk_write(preparer->segment->file, &preparer->io, preparer->zeros, piece_bytes(store), preparer->offset, DISK_IDLE,
               zero_written);
}

/* ---- the two beginnings -------------------------------------------------------------------------- */

static void mark_flushed(struct flush_waiter *waiter, enum status status)
{
    struct chunk_store *store = CONTAINER_OF(waiter, struct chunk_store, preparer.flush);

    if (status != STATUS_OK) {
        prepare_fail(store, status, "prepare_flush");
        return;
    }
    KILL_POINT(KILL_STORE_SEGMENT_MARKED);
    store->preparer.offset = SEGMENT_HEADER_BYTES;
    zero_next(store);
}

static void mark_written(struct disk_io *io)
{
    struct chunk_store *store = CONTAINER_OF(io, struct chunk_store, preparer.io);

    if (io->status != STATUS_OK) {
        prepare_fail(store, io->status, "prepare_mark");
        return;
    }
    segment_flush(store->preparer.segment, &store->preparer.flush, mark_flushed);
}

static void prewrite_begin(struct chunk_store *store)
{
    struct preparer *preparer = &store->preparer;

    preparer->offset = preparer->segment->end > SEGMENT_HEADER_BYTES ? preparer->segment->end : SEGMENT_HEADER_BYTES;
    zero_next(store);
}

static void allocated(struct disk_io *io)
{
    struct chunk_store *store = CONTAINER_OF(io, struct chunk_store, preparer.io);

    if (io->status == STATUS_FULL) {
        store->segments.allocatable = 0;
        prepare_end(store);
        return;
    }
    if (io->status != STATUS_OK) {
        prepare_fail(store, io->status, "segment_allocate");
        return;
    }
    segment_set_state(store->preparer.segment, SEGMENT_ALLOCATED);
    store->preparer.segment->end = 0;
    prewrite_begin(store);
}

static void allocate_begin(struct chunk_store *store)
{
    struct preparer *preparer = &store->preparer;
    struct segment *segment = preparer->segment;
    char name[DISK_NAME_BYTES];

    preparer->stage = PREPARE_ALLOCATE;
    segment_name(segment->number, name);
    enum status status = segment->file != NULL ? STATUS_OK : disk_file_open(store->disk, name, true, &segment->file);
    if (status == STATUS_OK) {
        disk_allocate(segment->file, &preparer->io, store->segments.segment_bytes, allocated);
        return;
    }
    segment->file = NULL;
    if (status == STATUS_FULL) {
        store->segments.allocatable = 0;
    } else {
        store_fence(store, status, "segment_create");
    }
    segment->busy = false;
    preparer->segment = NULL;
    preparer->stage = PREPARE_IDLE;
}

static bool wants_wipe(const struct segment *segment)
{
    return segment->state == SEGMENT_WIPING || segment->state == SEGMENT_RETIRED;
}

bool preparer_will_wipe(const struct chunk_store *store)
{
    for (uint32_t i = 0; i < store->segments.count; i++) {
        if (store->segments.segments[i].state == SEGMENT_WIPING) {
            return true;
        }
    }
    return false;
}

/* The segment to wipe whose turn comes first, or NULL. */
static struct segment *find_wiping(struct segment_table *table)
{
    struct segment *first = NULL;

    for (uint32_t i = 0; i < table->count; i++) {
        struct segment *segment = &table->segments[i];
        if (wants_wipe(segment) && (first == NULL || segment->wipe_again_ns < first->wipe_again_ns)) {
            first = segment;
        }
    }
    return first;
}

/* See again whether there is something to do, at the latest then. */
static void recheck_at(struct chunk_store *store, uint64_t at_ns)
{
    struct loop_timer *timer = &store->preparer.timer;

    if (!loop_timer_is_armed(timer) || timer->deadline_ns > at_ns) {
        loop_timer_start(store->loop, timer, at_ns);
    }
}

/* A segment to prewrite, when fewer than wanted are ready. */
static struct segment *find_prewrite(const struct chunk_store *store)
{
    const struct segment_table *table = &store->segments;
    struct segment *fresh = NULL;
    uint32_t ready = 0;

    for (uint32_t i = table->count; i-- > 0;) {
        struct segment *segment = &table->segments[i];
        ready += segment->state == SEGMENT_READY ? 1 : 0;
        if (segment->busy) {
            continue;
        }
        if (segment->state == SEGMENT_ALLOCATED || (segment->state == SEGMENT_ABSENT && table->allocatable > 0 &&
                                                    (fresh == NULL || fresh->state == SEGMENT_ABSENT))) {
            fresh = segment;
        }
    }
    return ready < store->options.prewrite_segments ? fresh : NULL;
}

void preparer_consider(struct chunk_store *store)
{
    struct preparer *preparer = &store->preparer;

    if (preparer->stage != PREPARE_IDLE || store->fenced || store->closing) {
        return;
    }
    struct segment *segment = find_wiping(&store->segments);
    preparer->wiping = segment != NULL && segment->wipe_again_ns <= loop_now_ns(store->loop);
    if (segment != NULL && !preparer->wiping) {
        recheck_at(store, segment->wipe_again_ns);
    }
    if (preparer->wiping) {
        segment_set_state(segment, SEGMENT_WIPING);
        preparer->segment = segment;
        preparer->stage = PREPARE_MARK;
        header_encode(store, segment_wiping_lsn(segment));
        disk_write(segment->file, &preparer->io, preparer->buffer, BLOCK_BYTES, 0, 0, mark_written);
        return;
    }
    segment = find_prewrite(store);
    if (segment == NULL || BUGGIFY(BUGGIFY_STORE_PREWRITE_SKIPPED)) {
        return;
    }
    if (!batch_writer_is_idle(store)) {
        recheck_at(store, loop_now_ns(store->loop) + IDLE_RECHECK_NS);
        return;
    }
    preparer->segment = segment;
    segment->busy = true;
    if (segment->state == SEGMENT_ABSENT) {
        allocate_begin(store);
    } else {
        prewrite_begin(store);
    }
}
