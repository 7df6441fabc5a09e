/* recover.c - opens a store: see recovery.h for the order of things, replay.c for the log.
 *
 * The superblock is durable before the first segment file exists, so a directory with segments and no good superblock
 * is damaged, never new. A segment whose header block is lost says by its first good batch what it is; one without a
 * good batch holds nothing that counts and is wiped. Lost is also a header that says that the segment is free while the
 * block behind it is not zero, or while the index has counted in this use of it or a later one: the device did not carry
 * out the write that took it into use.
 * A segment that was being wiped after cleaning holds only what the index knows of. That is no longer sure when damage
 * took records away, which may have said where chunks were moved from: then it is marked as one that was given up.
 * An index that is empty, or that names a position the log does not have, is rebuilt from the segments. */
#include "node/store/recovery.h"

#include "base/log.h"

#include <stdlib.h>

void recovery_free(struct recovery *recovery)
{
    loop_timer_stop(recovery->store->loop, &recovery->start);
    free(recovery->blocks);
    free(recovery);
}

void recovery_fail(struct recovery *recovery, enum status status)
{
    void (*done)(void *user, enum status status, struct chunk_store *store) = recovery->done;
    void *user = recovery->user;

    store_free(recovery->store);
    done(user, status, NULL);
}

/* ---- the end -------------------------------------------------------------------------------------- */

static void opened(struct chunk_store *store, enum status status)
{
    struct recovery *recovery = store->recovery;

    if (status != STATUS_OK) {
        recovery_fail(recovery, STATUS_IO);
        return;
    }
    void (*done)(void *user, enum status status, struct chunk_store *store) = recovery->done;
    void *user = recovery->user;
    store->recovery = NULL;
    recovery_free(recovery);
    eraser_resume(store);
    cleaner_consider(store);
    preparer_consider(store);
    done(user, STATUS_OK, store);
}

static void recovery_finish(struct recovery *recovery)
{
    struct chunk_store *store = recovery->store;

    store->writer.position = recovery->at;
    store->writer.settled = recovery->at;
    store->writer.durable_lsn = recovery->at.next_lsn - 1;
    if (recovery->segment != NULL && recovery->rebuild && kv_flush(store->kv) != STATUS_OK) {
        recovery_fail(recovery, STATUS_IO);
        return;
    }
    superblock_write(store, false, opened);
}

static void allocate_next(struct recovery *recovery);

static void allocated(struct disk_io *io)
{
    struct recovery *recovery = CONTAINER_OF(io, struct recovery, io);
    struct segment_table *table = &recovery->store->segments;

    if (io->status == STATUS_FULL && !recovery->fresh) {
        table->allocatable = 0;
        recovery_finish(recovery);
        return;
    }
    if (io->status != STATUS_OK) {
        recovery_fail(recovery, io->status == STATUS_FULL ? STATUS_FULL : STATUS_IO);
        return;
    }
    segment_set_state(&table->segments[recovery->next_segment], SEGMENT_ALLOCATED);
    allocate_next(recovery);
}

/* The reserve is there before it is needed, and so is the first segment. */
static void allocate_next(struct recovery *recovery)
{
    struct chunk_store *store = recovery->store;
    uint32_t wanted = RESERVE_SEGMENTS + (store->writer.open == NULL ? 1 : 0);
    struct segment *segment = NULL;

    if (store->segments.free_allocated < wanted && store->segments.allocatable > 0) {
        segment = segment_choose_free(&store->segments, UINT32_MAX);
    }
    if (segment == NULL) {
        recovery_finish(recovery);
        return;
    }
    recovery->next_segment = segment->number;
    if (segment->file == NULL) {
        char name[DISK_NAME_BYTES];
        segment_name(segment->number, name);
        enum status status = disk_file_open(store->disk, name, true, &segment->file);
        if (status != STATUS_OK) {
            segment->file = NULL;
            recovery_fail(recovery, status == STATUS_FULL ? STATUS_FULL : STATUS_IO);
            return;
        }
    }
    disk_allocate(segment->file, &recovery->io, store->segments.segment_bytes, allocated);
}

/* ---- segments that the log gave up ---------------------------------------------------------------- */

static void mark_next(struct recovery *recovery);

static void mark_flushed(struct disk_io *io)
{
    struct recovery *recovery = CONTAINER_OF(io, struct recovery, io);

    if (io->status != STATUS_OK) {
        recovery_fail(recovery, STATUS_IO);
        return;
    }
    recovery->next_segment++;
    mark_next(recovery);
}

static void mark_written(struct disk_io *io)
{
    struct recovery *recovery = CONTAINER_OF(io, struct recovery, io);

    if (io->status != STATUS_OK) {
        recovery_fail(recovery, STATUS_IO);
        return;
    }
    disk_flush(recovery->store->segments.segments[recovery->next_segment].file, io, mark_flushed);
}

/* Given up, and the disk does not say so yet; or in use, and the disk does not say so any more. */
static bool wants_mark(const struct segment *segment)
{
    return segment->state == SEGMENT_WIPING ? segment->header.first_lsn != segment_wiping_lsn(segment)
                                            : segment->header_lost;
}

/* Say on the disk that nothing in a given-up segment counts, before a batch with the same lsn is written elsewhere; and
 * write headers again that were lost. */
static void mark_next(struct recovery *recovery)
{
    struct segment_table *table = &recovery->store->segments;

    while (recovery->next_segment < table->count && !wants_mark(&table->segments[recovery->next_segment])) {
        recovery->next_segment++;
    }
    if (recovery->next_segment == table->count) {
        allocate_next(recovery);
        return;
    }
    struct segment *segment = &table->segments[recovery->next_segment];
    segment->header.kind = BATCH_LOG_STORE;
    segment->header.log = recovery->store->superblock.state.store;
    segment->header_lost = false;
    if (segment->state == SEGMENT_WIPING) {
        segment->header.first_lsn = segment_wiping_lsn(segment);
    }
    segment->header.segment_bytes = table->segment_bytes;
    segment->header.segment_number = segment->number;
    segment_header_encode(&segment->header, recovery->blocks);
    disk_write(segment->file, &recovery->io, recovery->blocks, BLOCK_BYTES, 0, 0, mark_written);
}

/* A lost record may have been the only word on whence a chunk was moved. */
static void doubt_cleaned_segments(struct segment_table *table)
{
    for (uint32_t i = 0; i < table->count; i++) {
        if (table->segments[i].state == SEGMENT_WIPING) {
            table->segments[i].unaccounted = true;
        }
    }
}

void recovery_replayed(struct recovery *recovery)
{
    struct chunk_store *store = recovery->store;
    struct segment_table *table = &store->segments;
    bool blocked;

    if (recovery->records_lost || segments_are_unaccounted(table, &blocked)) {
        doubt_cleaned_segments(table);
    }
    for (uint32_t i = 0; i < table->count; i++) {
        if (segment_is_in_use(&table->segments[i])) {
            table->segments[i].end = table->segment_bytes;
        }
    }
    if (recovery->segment != NULL) {
        if (recovery->at.offset < table->segment_bytes) {
            segment_set_state(recovery->segment, SEGMENT_OPEN);
            recovery->segment->end = recovery->at.offset;
            store->writer.open = recovery->segment;
        }
        if (chunk_index_write(&store->index, &recovery->at) != STATUS_OK) {
            recovery_fail(recovery, STATUS_IO);
            return;
        }
    }
    log_event(LOG_INFO, "store_recovered", "batches=%llu torn=%llu corrupt=%llu rebuilt=%d next_lsn=%llu",
              (unsigned long long)store->recovered_batches, (unsigned long long)store->torn_batches,
              (unsigned long long)store->corrupt_found, recovery->rebuild, (unsigned long long)recovery->at.next_lsn);
    recovery->next_segment = 0;
    mark_next(recovery);
}

/* ---- the index ------------------------------------------------------------------------------------ */

/* Where the index ends, when the log has that place. */
static bool position_is_in_log(struct recovery *recovery, const struct log_position *position)
{
    struct segment_table *table = &recovery->store->segments;

    if (position->segment >= table->count || position->offset > table->segment_bytes ||
        position->offset < SEGMENT_HEADER_BYTES || position->offset % BLOCK_BYTES != 0) {
        return false;
    }
    struct segment *segment = &table->segments[position->segment];
    if (!segment_is_in_use(segment) || !uuid_equal(&segment->header.segment, &position->segment_uuid)) {
        return false;
    }
    recovery->segment = segment;
    recovery->at = *position;
    return true;
}

/* Say which segments the index knows as written to although they say that they are free. */
static void report_lost_headers(struct recovery *recovery)
{
    struct segment_table *table = &recovery->store->segments;

    for (uint32_t i = 0; i < table->count; i++) {
        struct segment *segment = &table->segments[i];
        if (segment->state == SEGMENT_WIPING && segment->header_lost) {
            segment->header_lost = false;
            recovery->store->corrupt_found++;
            log_event(LOG_ERROR, "segment_header_lost", "segment=%u generation=%llu", segment->number,
                      (unsigned long long)segment->header.generation);
        }
    }
}

static void open_index(struct recovery *recovery)
{
    struct chunk_store *store = recovery->store;
    struct log_position position;

    chunk_index_init(&store->index, store->kv, &store->segments, &store->superblock.state.store);
    enum status status = store->options.rebuild_index ? STATUS_NOT_FOUND : chunk_index_load(&store->index, &position);
    if (status == STATUS_CORRUPT || status == STATUS_IO) {
        recovery_fail(recovery, status);
        return;
    }
    report_lost_headers(recovery);
    if (status == STATUS_OK && !position_is_in_log(recovery, &position)) {
        log_event(LOG_WARNING, "index_out_of_step", "segment=%u next_lsn=%llu", position.segment,
                  (unsigned long long)position.next_lsn);
        status = STATUS_NOT_FOUND;
    }
    recovery->rebuild = status != STATUS_OK;
    /* Otherwise the superblock is an old one: the device lost the write that says that the store was opened since. */
    recovery->was_clean =
        recovery->was_clean && !recovery->rebuild && position.next_lsn == store->superblock.state.durable_lsn + 1;
    if (recovery->rebuild && chunk_index_clear(&store->index) != STATUS_OK) {
        recovery_fail(recovery, STATUS_IO);
        return;
    }
    replay_start(recovery);
}

/* ---- the segment headers -------------------------------------------------------------------------- */

static void open_next_segment(struct recovery *recovery);

static bool header_belongs_here(const struct recovery *recovery, const struct segment_header *header)
{
    const struct chunk_store *store = recovery->store;

    return header->kind == BATCH_LOG_STORE && uuid_equal(&header->log, &store->superblock.state.store) &&
           header->segment_bytes == store->segments.segment_bytes && header->segment_number == recovery->next_segment &&
           header->generation > 0;
}

/* No batch in it is good. When nothing but the header was ever written, power was lost while that was: no damage. */
static void segment_give_up(struct recovery *recovery, struct segment *segment, bool is_empty)
{
    if (is_empty) {
        log_event(LOG_WARNING, "segment_header_torn", "segment=%u", segment->number);
    } else {
        recovery->store->corrupt_found++;
        log_event(LOG_ERROR, "segment_header_lost", "segment=%u", segment->number);
    }
    /* The index may remember earlier uses: a number above any that was ever counted up to. */
    segment->header.generation = loop_wall_ms(recovery->store->loop);
    segment->unaccounted = true;
    segment_set_state(segment, SEGMENT_WIPING);
}

static void segment_adopted(struct batch_reader *reader, enum status status);

static void adopt_start(struct recovery *recovery, struct segment *segment)
{
    segment->header = (struct segment_header){.kind = BATCH_LOG_STORE, .segment_number = segment->number};
    batch_reader_restart(&recovery->store->cleaner.reader);
    batch_scan(&recovery->store->cleaner.reader, segment, SEGMENT_HEADER_BYTES, true, segment_adopted);
}

static void segment_adopted(struct batch_reader *reader, enum status status)
{
    struct recovery *recovery = CONTAINER_OF(reader, struct chunk_store, cleaner.reader)->recovery;
    struct segment *segment = reader->segment;
    bool is_empty = status == STATUS_NOT_FOUND && reader->nonzero_end == SEGMENT_HEADER_BYTES;

    if (status == STATUS_IO) {
        recovery_fail(recovery, STATUS_IO);
        return;
    }
    if (!recovery->adopting_again && !is_empty && (status != STATUS_OK || reader->offset > SEGMENT_HEADER_BYTES)) {
        /* Something stands in front of it that may only have been misread, and would not count any more. */
        recovery->adopting_again = true;
        recovery->adopted_at = status == STATUS_OK ? reader->offset : 0;
        recovery->adopted = segment->header;
        adopt_start(recovery, segment);
        return;
    }
    bool first_look_was_better = recovery->adopting_again && recovery->adopted_at != 0 &&
                                 (status != STATUS_OK || reader->offset > recovery->adopted_at);
    if (first_look_was_better) {
        segment->header = recovery->adopted;
        status = STATUS_OK;
    }
    recovery->adopting_again = false;
    if (status == STATUS_OK) {
        /* Not counted as damage: nothing is given up, and power lost while it was written leaves the same. */
        log_event(LOG_WARNING, "segment_header_restored", "segment=%u generation=%llu", segment->number,
                  (unsigned long long)segment->header.generation);
        segment->header_lost = true;
        segment_set_state(segment, SEGMENT_FULL);
    } else {
        segment_give_up(recovery, segment, is_empty);
    }
    recovery->next_segment++;
    open_next_segment(recovery);
}

/* A free segment holds no batch. */
static bool says_free_and_is_not(enum status status, const struct segment_header *header, const uint8_t *behind)
{
    bool says_free = status == STATUS_NOT_FOUND || (status == STATUS_OK && header->first_lsn == SEGMENT_LSN_READY);

    return says_free && !bytes_are_zero(behind, BLOCK_BYTES);
}

static void segment_header_read(struct disk_io *io)
{
    struct recovery *recovery = CONTAINER_OF(io, struct recovery, io);
    struct segment *segment = &recovery->store->segments.segments[recovery->next_segment];
    struct segment_header header;

    if (io->status != STATUS_OK) {
        recovery_fail(recovery, STATUS_IO);
        return;
    }
    enum status status = segment_header_decode(recovery->blocks, &header);
    if ((status == STATUS_OK && !header_belongs_here(recovery, &header)) ||
        says_free_and_is_not(status, &header, recovery->blocks + SEGMENT_HEADER_BYTES)) {
        status = STATUS_CORRUPT;
    }
    if (status == STATUS_CORRUPT) {
        adopt_start(recovery, segment);
        return;
    }
    if (status == STATUS_NOT_FOUND) {
        segment_set_state(segment, SEGMENT_ALLOCATED);
    } else {
        segment->header = header;
        segment_set_state(segment, header.first_lsn == SEGMENT_LSN_READY       ? SEGMENT_READY
                                   : segment_lsn_says_wiping(header.first_lsn) ? SEGMENT_WIPING
                                                                               : SEGMENT_FULL);
        segment->unaccounted = header.first_lsn == SEGMENT_LSN_WIPING;
    }
    recovery->next_segment++;
    open_next_segment(recovery);
}

static void open_next_segment(struct recovery *recovery)
{
    struct segment_table *table = &recovery->store->segments;

    for (; recovery->next_segment < recovery->number_end; recovery->next_segment++) {
        struct segment *segment = &table->segments[recovery->next_segment];
        char name[DISK_NAME_BYTES];
        segment_name(segment->number, name);
        enum status status = disk_file_open(table->disk, name, false, &segment->file);
        if (status == STATUS_NOT_FOUND) {
            segment->file = NULL;
            continue;
        }
        if (status != STATUS_OK) {
            segment->file = NULL;
            recovery_fail(recovery, STATUS_IO);
            return;
        }
        if (segment->file->bytes >= table->segment_bytes) {
            disk_read(segment->file, &recovery->io, recovery->blocks, HEADER_LOOK_BYTES, 0, segment_header_read);
            return;
        }
        /* Its allocation never ended: still ABSENT, allocated anew when needed. */
    }
    open_index(recovery);
}

/* ---- the superblock ------------------------------------------------------------------------------- */

static void open_segments(struct recovery *recovery)
{
    struct chunk_store *store = recovery->store;
    uint64_t segment_bytes = store->options.segment_bytes;
    uint64_t count = (store->options.capacity_bytes - SUPERBLOCK_BYTES) / segment_bytes;

    if (recovery->number_end > count || store->superblock.state.segment_bytes != segment_bytes) {
        recovery_fail(recovery, STATUS_CONFLICT);
        return;
    }
    segment_table_init(&store->segments, store->disk, (uint32_t)count, segment_bytes);
    recovery->next_segment = 0;
    open_next_segment(recovery);
}

static void superblock_formatted(struct disk_io *io)
{
    struct recovery *recovery = CONTAINER_OF(io, struct recovery, io);

    if (io->status != STATUS_OK) {
        recovery_fail(recovery, STATUS_IO);
        return;
    }
    open_segments(recovery);
}

static void superblock_format_written(struct disk_io *io)
{
    struct recovery *recovery = CONTAINER_OF(io, struct recovery, io);

    if (io->status != STATUS_OK) {
        recovery_fail(recovery, STATUS_IO);
        return;
    }
    disk_flush(recovery->store->superblock.file, io, superblock_formatted);
}

/* A new store: draw its name, write all copies. */
static void format(struct recovery *recovery)
{
    struct superblock_write *superblock = &recovery->store->superblock;
    const struct chunk_store_options *options = &recovery->store->options;

    superblock->state =
        (struct superblock){.segment_bytes = options->segment_bytes, .capacity_bytes = options->capacity_bytes};
    loop_random(recovery->store->loop, superblock->state.store.bytes, sizeof(superblock->state.store.bytes));
    for (unsigned i = 0; i < SUPERBLOCK_COPIES; i++) {
        superblock->state.sequence++;
        superblock_encode(&superblock->state, superblock->blocks + superblock_offset(superblock->state.sequence));
    }
    recovery->fresh = true;
    disk_write(superblock->file, &recovery->io, superblock->blocks, SUPERBLOCK_BYTES, 0, 0, superblock_format_written);
}

/* All copies that can be read are in memory; an unreadable one counts as bad. */
static void superblock_judge(struct recovery *recovery)
{
    struct superblock_write *superblock = &recovery->store->superblock;
    unsigned bad_copies;
    enum status status = superblock_choose(superblock->blocks, &superblock->state, &bad_copies);
    if (bad_copies > 0) {
        log_event(LOG_WARNING, "superblock_copies_bad", "count=%u", bad_copies);
    }
    if (status == STATUS_UNSUPPORTED) {
        recovery_fail(recovery, status);
    } else if (status == STATUS_OK) {
        recovery->was_clean = superblock->state.clean && bad_copies == 0;
        open_segments(recovery);
    } else if (recovery->unreadable_copies > 0) {
        recovery_fail(recovery, STATUS_IO);
    } else if (recovery->files == 0) {
        format(recovery);
    } else {
        recovery_fail(recovery, STATUS_CORRUPT);
    }
}

static void superblock_copy_read(struct disk_io *io)
{
    struct recovery *recovery = CONTAINER_OF(io, struct recovery, io);
    struct superblock_write *superblock = &recovery->store->superblock;
    uint8_t *block = superblock->blocks + io->offset;

    if (io->status != STATUS_OK) {
        memset(block, 0xff, BLOCK_BYTES); /* Decodes as nothing. */
        recovery->unreadable_copies++;
    }
    uint64_t next = io->offset + BLOCK_BYTES;
    if (next == SUPERBLOCK_BYTES) {
        superblock_judge(recovery);
        return;
    }
    disk_read(superblock->file, io, superblock->blocks + next, BLOCK_BYTES, next, superblock_copy_read);
}

/* The usual case is one read. When that fails each copy is read by itself: this is what there are several for. */
static void superblock_read(struct disk_io *io)
{
    struct recovery *recovery = CONTAINER_OF(io, struct recovery, io);
    struct superblock_write *superblock = &recovery->store->superblock;

    if (io->status == STATUS_OK) {
        superblock_judge(recovery);
    } else {
        disk_read(superblock->file, io, superblock->blocks, BLOCK_BYTES, 0, superblock_copy_read);
    }
}

static void superblock_allocated(struct disk_io *io)
{
    struct recovery *recovery = CONTAINER_OF(io, struct recovery, io);

    if (io->status != STATUS_OK) {
        recovery_fail(recovery, io->status == STATUS_FULL ? STATUS_FULL : STATUS_IO);
        return;
    }
    format(recovery);
}

/* ---- the beginning -------------------------------------------------------------------------------- */

static void each_file(void *user, const char *name, uint64_t bytes)
{
    struct recovery *recovery = user;
    uint32_t number;

    (void)bytes;
    if (segment_number_from_name(name, &number)) {
        recovery->files++;
        if (number >= recovery->number_end) {
            recovery->number_end = number < UINT32_MAX ? number + 1 : UINT32_MAX;
        }
    }
}

static void begin(struct loop_timer *timer)
{
    struct recovery *recovery = CONTAINER_OF(timer, struct recovery, start);
    struct chunk_store *store = recovery->store;
    struct superblock_write *superblock = &store->superblock;

    if (store->options.capacity_bytes < SUPERBLOCK_BYTES + STORE_SEGMENTS_MIN * store->options.segment_bytes) {
        recovery_fail(recovery, STATUS_FULL);
        return;
    }
    enum status status = disk_list_files(store->disk, each_file, recovery);
    if (status == STATUS_OK) {
        status = disk_file_open(store->disk, SUPERBLOCK_NAME, true, &superblock->file);
    }
    if (status != STATUS_OK) {
        superblock->file = NULL;
        recovery_fail(recovery, status == STATUS_FULL ? STATUS_FULL : STATUS_IO);
        return;
    }
    if (superblock->file->bytes >= SUPERBLOCK_BYTES) {
        disk_read(superblock->file, &recovery->io, superblock->blocks, SUPERBLOCK_BYTES, 0, superblock_read);
    } else if (recovery->files == 0) {
        disk_allocate(superblock->file, &recovery->io, SUPERBLOCK_BYTES, superblock_allocated);
    } else {
        recovery_fail(recovery, STATUS_CORRUPT);
    }
}

struct chunk_store *store_open_start(struct loop *loop, struct disk *disk, struct kv *index,
                                     const struct chunk_store_options *options,
                                     void (*done)(void *user, enum status status, struct chunk_store *store),
                                     void *user)
{
    CHECK(done != NULL);
    CHECK(options->segment_bytes >= STORE_SEGMENT_BYTES_MIN && options->segment_bytes <= STORE_SEGMENT_BYTES_MAX);
    CHECK(options->segment_bytes % MIB(1) == 0);

    struct chunk_store *store = store_new(loop, disk, index, options);
    struct recovery *recovery = calloc(1, sizeof(*recovery));
    CHECK(recovery != NULL);
    recovery->blocks = aligned_alloc(BLOCK_BYTES, HEADER_LOOK_BYTES);
    CHECK(recovery->blocks != NULL);
    recovery->store = store;
    recovery->done = done;
    recovery->user = user;
    recovery->start.fire = begin;
    store->recovery = recovery;
    loop_timer_start(loop, &recovery->start, loop_now_ns(loop));
    return store;
}
