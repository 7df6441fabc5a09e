/* journal_local.c - writing the one-node journal: group commit, rotation, and segments ahead of need. */
#include "meta/journal_private.h"

#include "base/buggify.h"
#include "base/bytes.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

#define FREE_FILES_MAX 2 /* released segments that are kept to be used again */

static struct journal_local *local_of(struct journal *journal)
{
    return CONTAINER_OF(journal, struct journal_local, journal);
}

void journal_file_name(uint32_t number, char name[DISK_NAME_BYTES])
{
    (void)snprintf(name, DISK_NAME_BYTES, "journal-%08x", number);
}

struct journal_file *journal_file_take(struct journal_local *local)
{
    for (size_t i = 0; i < JOURNAL_SEGMENTS_MAX; i++) {
        if (local->files[i].state == JOURNAL_FILE_NONE && local->files[i].file == NULL) {
            local->files[i] = (struct journal_file){0};
            return &local->files[i];
        }
    }
    return NULL;
}

void journal_free(struct journal_local *local)
{
    for (size_t i = 0; i < JOURNAL_SEGMENTS_MAX; i++) {
        if (local->files[i].file != NULL) {
            disk_file_close(local->files[i].file);
        }
    }
    for (size_t i = 0; i < JOURNAL_BATCHES_MAX; i++) {
        free(local->staged[i].area);
    }
    free(local->header_block);
    free(local->zeros);
    journal_opening_free(local->opening);
    free(local);
}

/* ---- failure and closing ----------------------------------------------------------------------- */

static void close_run(struct loop_task *task)
{
    struct journal_local *local = CONTAINER_OF(task, struct journal_local, close_task);
    void (*closed)(void *) = local->closed;
    void *user = local->closed_user;
    journal_free(local);
    closed(user);
}

/* When closing and nothing is in flight any more, free the journal from a callback of its own. */
static void close_when_idle(struct journal_local *local)
{
    bool writing = local->stage != JOURNAL_IDLE || local->write_deferred;
    bool waiting = local->staged_count > 0 && !local->failed;
    if (local->closed != NULL && !writing && !waiting && local->preparing == PREPARE_IDLE &&
        local->close_task.run == NULL) {
        local->close_task.run = close_run;
        loop_defer(local->loop, &local->close_task);
    }
}

static void staged_forget(struct journal_local *local)
{
    for (size_t i = 0; i < JOURNAL_BATCHES_MAX; i++) {
        while (list_take_first(&local->staged[i].entries) != NULL) {
        }
    }
    local->staged_count = 0;
}

static void journal_fail(struct journal_local *local, enum status status, const char *what)
{
    if (local->failed) {
        return;
    }
    local->failed = true;
    log_event(LOG_ERROR, "journal_failed", "what=%s reason=%s", what, status_name(status));
    staged_forget(local);
    local->user->failed(local->user, status);
}

/* Closing, and no segment to write to: a full disk must not keep us from it. */
static void staged_drop(struct journal_local *local)
{
    log_event(LOG_WARNING, "journal_closed_early", "batches=%u", local->staged_count);
    staged_forget(local);
}

static void local_close(struct journal *journal, void (*closed)(void *user), void *user)
{
    struct journal_local *local = local_of(journal);
    CHECK(local->closed == NULL);
    local->closed = closed;
    local->closed_user = user;
    if (local->staged_count > 0 && local->stage == JOURNAL_IDLE && !local->write_deferred && !local->failed) {
        staged_drop(local);
    }
    close_when_idle(local);
}

/* ---- preparing segments ------------------------------------------------------------------------
 *
 *   PREPARE_ALLOCATING ──> PREPARE_ZEROING (1 MiB at a time) ──> PREPARE_FLUSHING ──> the file is free
 *          └── no room: removed, tried again at the next tick
 *
 * Zeros are written so that the file's extents are written ones: a durable write then needs no metadata. */
static void write_next(struct journal_local *local);
static void prepare_resume(struct disk_io *io);

static bool has_free_file(const struct journal_local *local)
{
    for (size_t i = 0; i < JOURNAL_SEGMENTS_MAX; i++) {
        if (local->files[i].state == JOURNAL_FILE_FREE) {
            return true;
        }
    }
    return false;
}

static void file_remove(struct journal_local *local, struct journal_file *file)
{
    char name[DISK_NAME_BYTES];
    journal_file_name(file->number, name);
    disk_file_close(file->file);
    *file = (struct journal_file){0};
    enum status status = disk_file_remove(local->disk, name);
    if (status != STATUS_OK) {
        log_event(LOG_WARNING, "journal_file_remains", "name=%s reason=%s", name, status_name(status));
    }
}

/* Without room for the next segment commits will stop: say so once, and try again at the next tick. */
static void prepare_refuse(struct journal_local *local, enum status status)
{
    local->prepare_refused = true;
    if (!local->refusal_logged) {
        local->refusal_logged = true;
        log_event(LOG_ERROR, "journal_segment_refused", "reason=%s", status_name(status));
    }
}

void journal_prepare(struct journal_local *local)
{
    if (local->preparing != PREPARE_IDLE || local->prepare_refused || local->failed || local->closed != NULL ||
        has_free_file(local)) {
        return;
    }
    struct journal_file *file = journal_file_take(local);
    if (file == NULL) {
        return;
    }
    char name[DISK_NAME_BYTES];
    file->number = local->next_number;
    journal_file_name(file->number, name);
    enum status status = disk_file_open(local->disk, name, true, &file->file);
    if (status != STATUS_OK) {
        prepare_refuse(local, status);
        return;
    }
    local->next_number++;
    local->prepared = file;
    local->prepared_bytes = 0;
    local->preparing = PREPARE_ALLOCATING;
    disk_allocate(file->file, &local->prepare_io, local->options.segment_bytes, prepare_resume);
}

static void prepare_zero(struct journal_local *local)
{
    uint64_t left = local->options.segment_bytes - local->prepared_bytes;
    if (left == 0) {
        local->preparing = PREPARE_FLUSHING;
        disk_flush(local->prepared->file, &local->prepare_io, prepare_resume);
        return;
    }
    local->preparing = PREPARE_ZEROING;
    size_t bytes = left < JOURNAL_READ_BYTES ? (size_t)left : JOURNAL_READ_BYTES;
    unsigned flags = local->staged_count > 0 ? 0 : DISK_IDLE;
    disk_write(local->prepared->file, &local->prepare_io, local->zeros, bytes, local->prepared_bytes, flags,
               prepare_resume);
    local->prepared_bytes += bytes;
}

static void prepare_resume(struct disk_io *io)
{
    struct journal_local *local = CONTAINER_OF(io, struct journal_local, prepare_io);
    struct journal_file *file = local->prepared;
    if (io->status != STATUS_OK) {
        bool was_allocating = local->preparing == PREPARE_ALLOCATING;
        local->preparing = PREPARE_IDLE;
        file_remove(local, file);
        prepare_refuse(local, io->status);
        if (!was_allocating || io->status != STATUS_FULL) {
            journal_fail(local, io->status, "prepare");
        }
        close_when_idle(local);
        return;
    }
    if (local->preparing != PREPARE_FLUSHING && local->closed == NULL) {
        prepare_zero(local);
        return;
    }
    bool whole = local->preparing == PREPARE_FLUSHING;
    local->preparing = PREPARE_IDLE;
    if (!whole) {
        file_remove(local, file);
        close_when_idle(local);
        return;
    }
    KILL_POINT(KILL_JOURNAL_SEGMENT_PREPARED);
    file->state = JOURNAL_FILE_FREE;
    local->refusal_logged = false;
    if (local->stage == JOURNAL_IDLE && !local->write_deferred) {
        write_next(local);
    }
    close_when_idle(local);
}

/* ---- writing -----------------------------------------------------------------------------------
 *
 *   submit ──> staged ──(deferred)──> JOURNAL_WRITING_BATCH ──> committed, next
 *                                 └─> no room: JOURNAL_WRITING_HEADER of the next segment ──┘
 *
 * The header of a segment is durable before its first batch is written, so a header that does not decode belongs to a
 * segment nothing was acknowledged in, or to a damaged one: segment_greatest_lsn() tells which. */
static void write_resume(struct disk_io *io);

static struct journal_staged *staged_newest(struct journal_local *local)
{
    return &local->staged[(local->oldest + local->staged_count - 1) % JOURNAL_BATCHES_MAX];
}

static bool staged_has_room(const struct journal_staged *staged, size_t size)
{
    return staged->content_bytes + sizeof(uint32_t) + size <= JOURNAL_CONTENT_BYTES_MAX &&
           staged->entry_count < UINT16_MAX && !(staged->entry_count > 0 && BUGGIFY(BUGGIFY_JOURNAL_BATCH_OF_ONE));
}

/* The staged batch that the next entry goes into, or NULL when all are full. The one in flight takes no more. */
static struct journal_staged *staged_take(struct journal_local *local, size_t size)
{
    unsigned in_flight = local->stage != JOURNAL_IDLE ? 1 : 0;
    if (local->staged_count > in_flight && staged_has_room(staged_newest(local), size)) {
        return staged_newest(local);
    }
    if (local->staged_count == JOURNAL_BATCHES_MAX) {
        return NULL;
    }
    local->staged_count++;
    struct journal_staged *staged = staged_newest(local);
    staged->content_bytes = JOURNAL_FIRST_INDEX_BYTES;
    staged->entry_count = 0;
    staged->first_index = local->next_index;
    return staged;
}

static void write_task_run(struct loop_task *task)
{
    struct journal_local *local = CONTAINER_OF(task, struct journal_local, write_task);
    local->write_deferred = false;
    if (local->abandoned) {
        journal_free(local);
        return;
    }
    write_next(local);
    close_when_idle(local);
}

static enum status local_submit(struct journal *journal, struct journal_entry *entry, const void *bytes, size_t size)
{
    struct journal_local *local = local_of(journal);
    if (local->failed || local->closed != NULL) {
        return STATUS_FENCED;
    }
    if (size == 0 || size > JOURNAL_ENTRY_BYTES_MAX) {
        return STATUS_TOO_LARGE;
    }
    struct journal_staged *staged = staged_take(local, size);
    if (staged == NULL) {
        return STATUS_BUSY;
    }
    uint8_t *content = staged->area + BATCH_HEADER_FIXED_BYTES;
    struct byte_writer writer =
        byte_writer_of(content + staged->content_bytes, JOURNAL_CONTENT_BYTES_MAX - staged->content_bytes);
    write_u32(&writer, (uint32_t)size);
    write_bytes(&writer, bytes, size);
    CHECK(!writer.failed);
    staged->content_bytes += (uint32_t)writer.written;
    staged->entry_count++;
    entry->index = local->next_index++;
    list_append(&staged->entries, &entry->link);

    if (local->stage == JOURNAL_IDLE && !local->write_deferred) {
        local->write_deferred = true;
        local->write_task.run = write_task_run;
        loop_defer(local->loop, &local->write_task);
    }
    return STATUS_OK;
}

/* The free file that was used longest ago: the segments on disk stay one unbroken run of lsns. */
static struct journal_file *oldest_free_file(struct journal_local *local)
{
    struct journal_file *oldest = NULL;
    for (size_t i = 0; i < JOURNAL_SEGMENTS_MAX; i++) {
        struct journal_file *file = &local->files[i];
        if (file->state == JOURNAL_FILE_FREE && (oldest == NULL || file->header.first_lsn < oldest->header.first_lsn)) {
            oldest = file;
        }
    }
    return oldest;
}

/* Begin the next segment; without a free one, wait until it is prepared. */
static void segment_begin(struct journal_local *local)
{
    struct journal_file *file = oldest_free_file(local);
    if (file == NULL && local->closed != NULL) {
        staged_drop(local); /* No segment is prepared any more: what waits for one would wait for ever. */
        return;
    }
    if (file == NULL) {
        journal_prepare(local);
        return;
    }
    file->state = JOURNAL_FILE_USED;
    file->last_index = 0;
    file->header = (struct segment_header){.kind = BATCH_LOG_JOURNAL,
                                           .log = local->journal.id,
                                           .generation = ++local->generation,
                                           .first_lsn = local->next_lsn,
                                           .segment_bytes = file->file->bytes,
                                           .segment_number = file->number};
    loop_random(local->loop, file->header.segment.bytes, sizeof(file->header.segment.bytes));
    segment_header_encode(&file->header, local->header_block);
    local->active = file;
    local->append_offset = SEGMENT_HEADER_BYTES;
    local->previous_crc = 0;
    local->stage = JOURNAL_WRITING_HEADER;
    disk_write(file->file, &local->write_io, local->header_block, SEGMENT_HEADER_BYTES, 0, DISK_DURABLE, write_resume);
}

static void batch_write(struct journal_local *local, struct journal_staged *staged, uint16_t blocks)
{
    struct byte_writer writer = byte_writer_of(staged->area + BATCH_HEADER_FIXED_BYTES, JOURNAL_FIRST_INDEX_BYTES);
    write_u64(&writer, staged->first_index);
    local->batch = (struct batch_header){.header_blocks = blocks,
                                         .record_count = staged->entry_count,
                                         .batch_blocks = blocks,
                                         .content_bytes = staged->content_bytes,
                                         .lsn = local->next_lsn,
                                         .durable_lsn = local->next_lsn - 1,
                                         .segment = local->active->header.segment,
                                         .generation = local->active->header.generation,
                                         .offset = local->append_offset,
                                         .previous_crc = local->previous_crc};
    batch_header_encode(&local->batch, staged->area);
    local->stage = JOURNAL_WRITING_BATCH;
    disk_write(local->active->file, &local->write_io, staged->area, (size_t)blocks * BLOCK_BYTES, local->append_offset,
               DISK_DURABLE, write_resume);
}

/* A segment that holds something already gives way to a free one. */
static bool leaves_early(const struct journal_local *local)
{
    return local->append_offset > SEGMENT_HEADER_BYTES && has_free_file(local) &&
           BUGGIFY(BUGGIFY_JOURNAL_SEGMENT_EARLY);
}

static void write_next(struct journal_local *local)
{
    CHECK(local->stage == JOURNAL_IDLE);
    if (local->failed || local->staged_count == 0) {
        return;
    }
    struct journal_staged *staged = &local->staged[local->oldest];
    size_t bytes = BATCH_HEADER_FIXED_BYTES + staged->content_bytes;
    uint16_t blocks = (uint16_t)((bytes + BLOCK_BYTES - 1) / BLOCK_BYTES);
    if (local->active == NULL ||
        local->append_offset + (uint64_t)blocks * BLOCK_BYTES > local->active->header.segment_bytes ||
        leaves_early(local)) {
        segment_begin(local);
        return;
    }
    batch_write(local, staged, blocks);
}

/* Go on with batches that wait for a segment: there may be one now. */
static void write_if_waiting(struct journal_local *local)
{
    if (local->stage == JOURNAL_IDLE && !local->write_deferred && !local->failed && local->closed == NULL &&
        local->staged_count > 0) {
        write_next(local);
    }
}

/* The oldest batch is durable: hand its entries on, in order. */
static void batch_committed(struct journal_local *local)
{
    struct journal_staged *staged = &local->staged[local->oldest];
    struct journal_batch batch = {.entries = staged->area + BATCH_HEADER_FIXED_BYTES + JOURNAL_FIRST_INDEX_BYTES,
                                  .entries_bytes = staged->content_bytes - JOURNAL_FIRST_INDEX_BYTES};
    local->append_offset += (uint64_t)local->batch.header_blocks * BLOCK_BYTES;
    local->previous_crc = local->batch.header_crc;
    local->next_lsn++;
    local->active->last_index = staged->first_index + staged->entry_count - 1;

    size_t cursor = 0;
    uint64_t index = staged->first_index;
    const uint8_t *bytes = NULL;
    uint32_t size = 0;
    while (!local->failed && journal_batch_entry(&batch, &cursor, &bytes, &size)) {
        struct list_link *link = list_take_first(&staged->entries);
        local->user->committed(local->user, index++, bytes, size, LIST_ENTRY(link, struct journal_entry, link));
    }
    if (!local->failed) {
        local->oldest = (local->oldest + 1) % JOURNAL_BATCHES_MAX;
        local->staged_count--;
    }
}

static void write_resume(struct disk_io *io)
{
    struct journal_local *local = CONTAINER_OF(io, struct journal_local, write_io);
    if (io->status != STATUS_OK) {
        local->stage = JOURNAL_IDLE;
        journal_fail(local, io->status, "write");
        close_when_idle(local);
        return;
    }
    if (local->stage == JOURNAL_WRITING_BATCH) {
        KILL_POINT(KILL_JOURNAL_BATCH_DURABLE);
        batch_committed(local);
    } else {
        KILL_POINT(KILL_JOURNAL_SEGMENT_BEGUN);
    }
    local->stage = JOURNAL_IDLE;
    write_next(local);
    close_when_idle(local);
}

/* ---- release ----------------------------------------------------------------------------------- */

static bool local_wants_release(const struct journal *journal)
{
    const struct journal_local *local =
        CONTAINER_OF((struct journal *)(uintptr_t)journal, struct journal_local, journal);
    uint32_t used = 0;
    for (size_t i = 0; i < JOURNAL_SEGMENTS_MAX; i++) {
        used += local->files[i].state == JOURNAL_FILE_USED ? 1 : 0;
    }
    return used > local->options.segments_wanted;
}

/* Give space back after a long backlog, the oldest segments first. Not while a header is on its way: it overwrites an
 * older segment than those that could go, and if a crash keeps the old one, the run of lsns would have a gap. */
static void free_files_trim(struct journal_local *local)
{
    uint32_t free_count = 0;
    if (local->stage == JOURNAL_WRITING_HEADER) {
        return;
    }
    for (size_t i = 0; i < JOURNAL_SEGMENTS_MAX; i++) {
        free_count += local->files[i].state == JOURNAL_FILE_FREE ? 1 : 0;
    }
    for (; free_count > FREE_FILES_MAX; free_count--) {
        file_remove(local, oldest_free_file(local));
    }
}

static void local_release(struct journal *journal, uint64_t index)
{
    struct journal_local *local = local_of(journal);
    CHECK(index < local->next_index);
    if (index > local->released_index) {
        local->released_index = index;
    }
    for (size_t i = 0; i < JOURNAL_SEGMENTS_MAX; i++) {
        struct journal_file *file = &local->files[i];
        if (file->state != JOURNAL_FILE_USED || file == local->active || file->last_index > local->released_index) {
            continue;
        }
        file->state = JOURNAL_FILE_FREE;
    }
    free_files_trim(local);
    write_if_waiting(local);
}

static void local_tick(struct journal *journal)
{
    struct journal_local *local = local_of(journal);
    local->prepare_refused = false;
    free_files_trim(local);
    journal_prepare(local);
    write_if_waiting(local);
}

void journal_local_abandon(struct journal *journal)
{
    struct journal_local *local = local_of(journal);
    CHECK(local->closed == NULL);
    if (local->write_deferred) {
        local->abandoned = true;
        return;
    }
    journal_free(local);
}

const struct journal_ops journal_local_ops = {
    .submit = local_submit,
    .tick = local_tick,
    .wants_release = local_wants_release,
    .release = local_release,
    .close = local_close,
};
