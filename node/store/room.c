/* room.c - where the next batch goes: into the open segment, into the next one, or nowhere.
 *
 * When a batch does not fit, the log rolls:
 *   free segment ──> (allocate) ──> header written ──> flushed ──> OPEN; the one before is FULL
 * so the header is durable before any batch stands behind it. Meanwhile no batch is submitted: the header names the lsn
 * of the first. store_private.h says who may use up how much. */
#include "node/store/store_private.h"

#include "base/log.h"

/* ---- rolling to the next segment ----------------------------------------------------------------- */

static void roll_end(struct chunk_store *store, bool opened)
{
    struct batch_writer *writer = &store->writer;
    struct segment *next = writer->rolling;

    writer->rolling = NULL;
    next->busy = false;
    if (opened) {
        if (writer->open != NULL) {
            writer->open->end = store->segments.segment_bytes;
            segment_set_state(writer->open, SEGMENT_FULL);
        }
        segment_set_state(next, SEGMENT_OPEN);
        next->end = SEGMENT_HEADER_BYTES;
        writer->open = next;
        writer->position.previous_crc = 0;
        batch_writer_settle_position(writer);
    }
    cleaner_consider(store);
    batch_writer_pump(store);
    store_close_continue(store);
}

static void roll_flushed(struct flush_waiter *waiter, enum status status)
{
    struct chunk_store *store = CONTAINER_OF(waiter, struct chunk_store, writer.roll_flush);

    if (status != STATUS_OK) {
        store_fence(store, status, "segment_flush");
    } else {
        KILL_POINT(KILL_STORE_SEGMENT_OPENED);
    }
    roll_end(store, status == STATUS_OK);
}

static void roll_written(struct disk_io *io)
{
    struct chunk_store *store = CONTAINER_OF(io, struct chunk_store, writer.roll_io);

    if (io->status != STATUS_OK) {
        store_fence(store, io->status, "segment_write");
        roll_end(store, false);
        return;
    }
    segment_flush(store->writer.rolling, &store->writer.roll_flush, roll_flushed);
}

static void roll_write_header(struct chunk_store *store)
{
    struct batch_writer *writer = &store->writer;
    struct segment *next = writer->rolling;
    uint64_t generation = next->header.generation > 0 ? next->header.generation : 1;

    next->header = (struct segment_header){
        .kind = BATCH_LOG_STORE,
        .log = store->superblock.state.store,
        .generation = generation,
        .first_lsn = writer->position.next_lsn,
        .segment_bytes = store->segments.segment_bytes,
        .segment_number = next->number,
    };
    loop_random(store->loop, next->header.segment.bytes, sizeof(next->header.segment.bytes));
    next->live_bytes = 0;
    next->erasing_bytes = 0;
    next->live_chunks = 0;
    next->tombstones = 0;
    next->moved_out = false;
    next->stuck = false;
    next->damaged_lsn = 0;
    next->held_by = NULL;
    segment_header_encode(&next->header, writer->roll_block);
    disk_write(next->file, &writer->roll_io, writer->roll_block, BLOCK_BYTES, 0, 0, roll_written);
}

static void roll_allocated(struct disk_io *io)
{
    struct chunk_store *store = CONTAINER_OF(io, struct chunk_store, writer.roll_io);

    if (io->status == STATUS_FULL) {
        /* The file system has less room than the options promise: make do with the segments there are. */
        log_event(LOG_WARNING, "segment_allocate_full", "segments=%u",
                  store->segments.count - store->segments.allocatable);
        store->segments.allocatable = 0;
        roll_end(store, false);
        return;
    }
    if (io->status != STATUS_OK) {
        store_fence(store, io->status, "segment_allocate");
        roll_end(store, false);
        return;
    }
    segment_set_state(store->writer.rolling, SEGMENT_ALLOCATED);
    roll_write_header(store);
}

static void roll_start(struct chunk_store *store, struct segment *next)
{
    struct batch_writer *writer = &store->writer;

    writer->rolling = next;
    next->busy = true;
    if (next->state != SEGMENT_ABSENT) {
        roll_write_header(store);
        return;
    }
    if (next->file == NULL) {
        char name[DISK_NAME_BYTES];
        segment_name(next->number, name);
        enum status status = disk_file_open(store->disk, name, true, &next->file);
        if (status != STATUS_OK) {
            writer->rolling = NULL;
            next->busy = false;
            next->file = NULL;
            if (status == STATUS_FULL) {
                store->segments.allocatable = 0;
            } else {
                store_fence(store, status, "segment_create");
            }
            return;
        }
    }
    disk_allocate(next->file, &writer->roll_io, store->segments.segment_bytes, roll_allocated);
}

/* ---- the decision -------------------------------------------------------------------------------- */

/* With room to spare, puts leave a segment that is half full: the rest of it is dead space, which cleaning gives back. */
static bool leaves_early(const struct chunk_store *store, enum room_level level, uint32_t free_segments)
{
    return level == ROOM_PUT && free_segments > 2 * RESERVE_SEGMENTS &&
           store->writer.open->end > store->segments.segment_bytes / 2 && BUGGIFY(BUGGIFY_STORE_NEXT_SEGMENT_EARLY);
}

enum room room_find(struct chunk_store *store, enum room_level level, size_t bytes)
{
    struct segment *open = store->writer.open;
    uint32_t free_segments = segments_free(&store->segments);

    if (open != NULL && open->end + bytes <= store->segments.segment_bytes &&
        !leaves_early(store, level, free_segments)) {
        return free_segments >= (uint32_t)level ? ROOM_HERE : ROOM_NONE;
    }
    if (free_segments <= (uint32_t)level) {
        return ROOM_NONE;
    }
    struct segment *next = segment_choose_free(&store->segments, (uint32_t)level);
    return next != NULL ? ROOM_AFTER_ROLL : ROOM_LATER; /* Later: the free one is just being prewritten. */
}

/* When what could be cleaned is all in the open segment itself, close it and spend the last free one on that. */
static bool roll_to_clean_open(struct chunk_store *store)
{
    struct segment *open = store->writer.open;
    struct segment *next = segment_choose_free(&store->segments, ROOM_CLEAN);

    if (open == NULL || next == NULL || !cleaner_would_clean(store, open)) {
        return false;
    }
    roll_start(store, next);
    return store->writer.rolling != NULL;
}

/* Nothing fits at this level: wait for cleaning, or refuse. False: nothing can be submitted now. */
static bool room_lacking(struct chunk_store *store, enum room_level level)
{
    cleaner_consider(store);
    if (cleaner_can_help(store)) {
        return false;
    }
    if (roll_to_clean_open(store)) {
        return false;
    }
    batch_writer_refuse_level(store, level);
    return true;
}

bool room_make(struct chunk_store *store, enum room room, enum room_level level)
{
    switch (room) {
    case ROOM_HERE:
        return true;
    case ROOM_AFTER_ROLL:
        roll_start(store, segment_choose_free(&store->segments, (uint32_t)level));
        return store->writer.rolling == NULL;
    case ROOM_LATER:
        return false;
    case ROOM_NONE:
        return room_lacking(store, level);
    }
    UNREACHABLE();
}
