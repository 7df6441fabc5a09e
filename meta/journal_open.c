/* journal_open.c - opening the one-node journal: read every segment, judge it, replay it.
 *
 *   list files ──> OPENING_HEADERS (one block each) ──> order by first lsn ──> OPENING_SEGMENTS (each whole, in order)
 *              ──> opened
 *
 * The last segment is flushed before it is read. A process that was killed, or whose last write failed, may have left
 * a batch that reads well and is not durable: it is about to be replayed as committed, and more will follow it.
 *
 * Segments with a good header come first, in the order of their lsns, and must follow each other without a gap.
 * Then those without one: never begun, torn while being begun, or damaged; the last are told by what is in them. */
#include "meta/journal_private.h"

#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct journal_opening {
    struct journal_local *local;
    enum { OPENING_HEADERS, OPENING_SEGMENTS } stage;
    struct journal_file *order[JOURNAL_SEGMENTS_MAX];
    size_t count;
    size_t at;        /* in `order` */
    uint8_t *segment; /* the bytes of the segment being read */
    uint64_t segment_capacity;
    uint64_t bytes_read;
    bool flushed; /* the last segment with a good header */
    struct disk_io io;
    struct loop_task task;
    uint64_t last_lsn;
    uint64_t last_index;
    bool too_many;
    enum status list_status;
    void (*opened)(void *user, enum status status, struct journal *journal, const char *message);
    void *opened_user;
};

static void opening_next(struct journal_local *local);

void journal_opening_free(struct journal_opening *opening)
{
    if (opening != NULL) {
        free(opening->segment);
        free(opening);
    }
}

/* ---- the end ----------------------------------------------------------------------------------- */

static void opening_fail(struct journal_local *local, enum status status, const char *format, ...) PRINTF_LIKE(3, 4);

static void opening_fail(struct journal_local *local, enum status status, const char *format, ...)
{
    char message[JOURNAL_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    struct journal_opening *opening = local->opening;
    void (*opened)(void *, enum status, struct journal *, const char *) = opening->opened;
    void *user = opening->opened_user;
    journal_free(local);
    opened(user, status, NULL, message);
}

static void opening_succeed(struct journal_local *local)
{
    struct journal_opening *opening = local->opening;
    if (local->options.applied_index > opening->last_index && opening->last_index > 0) {
        opening_fail(local, STATUS_CORRUPT,
                     "the tables are ahead of the journal (%llu > %llu): acknowledged entries are gone",
                     (unsigned long long)local->options.applied_index, (unsigned long long)opening->last_index);
        return;
    }
    if (local->options.applied_index > 0 && opening->last_lsn == 0 && local->active == NULL) {
        opening_fail(local, STATUS_CORRUPT, "the tables have content but there is no journal");
        return;
    }
    local->next_lsn = local->next_lsn > 0 ? local->next_lsn : 1;
    local->next_index = (opening->last_index > 0 ? opening->last_index : local->options.applied_index) + 1;
    if (local->active == NULL) {
        loop_random(local->loop, local->journal.id.bytes, sizeof(local->journal.id.bytes));
    }
    void (*opened)(void *, enum status, struct journal *, const char *) = opening->opened;
    void *user = opening->opened_user;
    journal_opening_free(opening);
    local->opening = NULL;
    journal_prepare(local);
    opened(user, STATUS_OK, &local->journal, "");
}

/* ---- judging segments -------------------------------------------------------------------------- */

/* Hand the entries of one batch to the user; entries that the user has applied are stepped over. False: a gap. */
static bool batch_replay(struct journal_local *local, const struct journal_batch *batch)
{
    struct journal_opening *opening = local->opening;
    uint64_t expected = opening->last_index > 0 ? opening->last_index + 1 : batch->first_index;
    if (batch->first_index != expected || batch->first_index > UINT64_MAX - UINT16_MAX) {
        return false;
    }
    if (opening->last_index == 0 && batch->first_index > local->options.applied_index + 1) {
        return false; /* The journal begins behind what the tables have. */
    }
    size_t cursor = 0;
    uint64_t index = batch->first_index;
    const uint8_t *bytes = NULL;
    uint32_t size = 0;
    for (; journal_batch_entry(batch, &cursor, &bytes, &size); index++) {
        if (index > local->options.applied_index) {
            local->user->committed(local->user, index, bytes, size, NULL);
        }
    }
    opening->last_index = index - 1;
    return true;
}

/* A segment with a good header. False: the opening has failed. */
static bool segment_judge(struct journal_local *local, struct journal_file *file)
{
    struct journal_opening *opening = local->opening;
    bool is_first = local->active == NULL;
    if (is_first) {
        local->journal.id = file->header.log;
    } else if (!uuid_equal(&local->journal.id, &file->header.log)) {
        opening_fail(local, STATUS_CORRUPT, "segment %08x belongs to another journal", file->number);
        return false;
    }
    if (!is_first && file->header.first_lsn != opening->last_lsn + 1) {
        opening_fail(local, STATUS_CORRUPT, "batches %llu to %llu are missing before segment %08x",
                     (unsigned long long)opening->last_lsn + 1, (unsigned long long)file->header.first_lsn - 1,
                     file->number);
        return false;
    }
    struct segment_walk walk;
    struct journal_batch batch;
    enum status status;
    segment_walk_init(&walk, &file->header, opening->segment, file->file->bytes);
    while ((status = segment_walk_next(&walk, &batch)) == STATUS_OK) {
        if (!batch_replay(local, &batch)) {
            status = STATUS_CORRUPT;
            break;
        }
        file->last_index = opening->last_index;
    }
    if (status == STATUS_CORRUPT) {
        opening_fail(local, STATUS_CORRUPT, "segment %08x is corrupt at offset %llu", file->number,
                     (unsigned long long)walk.offset);
        return false;
    }
    file->state = JOURNAL_FILE_USED;
    opening->last_lsn = walk.next_lsn - 1;
    local->active = file;
    local->append_offset = walk.offset;
    local->next_lsn = walk.next_lsn;
    local->previous_crc = walk.previous_crc;
    local->generation = file->header.generation > local->generation ? file->header.generation : local->generation;
    return true;
}

/* A file without a good header. False: the opening has failed. */
static bool leftover_judge(struct journal_local *local, struct journal_file *file)
{
    struct journal_opening *opening = local->opening;
    if (segment_greatest_lsn(opening->segment, file->file->bytes) > opening->last_lsn) {
        opening_fail(local, STATUS_CORRUPT, "the header of segment %08x is corrupt", file->number);
        return false;
    }
    if (file->file->bytes == local->options.segment_bytes) {
        file->state = JOURNAL_FILE_FREE;
        file->header = (struct segment_header){0};
        return true;
    }
    /* A crash came while it was being made. */
    char name[DISK_NAME_BYTES];
    journal_file_name(file->number, name);
    disk_file_close(file->file);
    *file = (struct journal_file){0};
    if (disk_file_remove(local->disk, name) != STATUS_OK) {
        log_event(LOG_WARNING, "journal_file_remains", "name=%s", name);
    }
    return true;
}

/* ---- reading ----------------------------------------------------------------------------------- */

static int file_order(const void *left, const void *right)
{
    const struct journal_file *a = *(const struct journal_file *const *)left;
    const struct journal_file *b = *(const struct journal_file *const *)right;
    if (a->header_is_good != b->header_is_good) {
        return a->header_is_good ? -1 : 1;
    }
    if (a->header_is_good && a->header.first_lsn != b->header.first_lsn) {
        return a->header.first_lsn < b->header.first_lsn ? -1 : 1;
    }
    if (a->header_is_good && a->header.generation != b->header.generation) {
        return a->header.generation < b->header.generation ? -1 : 1;
    }
    return a->number < b->number ? -1 : 1;
}

static void header_judge(struct journal_local *local, struct journal_file *file)
{
    file->header_is_good = segment_header_decode(local->opening->segment, &file->header) == STATUS_OK &&
                           file->header.kind == BATCH_LOG_JOURNAL && file->header.segment_number == file->number &&
                           file->header.segment_bytes == file->file->bytes && file->header.first_lsn > 0;
}

static void opening_resume(struct disk_io *io)
{
    struct journal_opening *opening = CONTAINER_OF(io, struct journal_opening, io);
    struct journal_file *file = opening->order[opening->at];
    struct journal_local *local = opening->local;
    if (io->status != STATUS_OK) {
        opening_fail(local, STATUS_IO, "segment %08x can't be read: %s", file->number, status_name(io->status));
        return;
    }
    if (opening->stage == OPENING_HEADERS) {
        header_judge(local, file);
        opening->at++;
        opening_next(local);
        return;
    }
    opening->bytes_read += io->bytes;
    if (opening->bytes_read == file->file->bytes) {
        bool good = file->header_is_good ? segment_judge(local, file) : leftover_judge(local, file);
        if (!good) {
            return;
        }
        opening->bytes_read = 0;
        opening->at++;
    }
    opening_next(local);
}

static bool segment_buffer_grow(struct journal_opening *opening, uint64_t bytes)
{
    if (bytes <= opening->segment_capacity) {
        return true;
    }
    free(opening->segment);
    opening->segment = aligned_alloc(BLOCK_BYTES, (size_t)bytes);
    opening->segment_capacity = opening->segment != NULL ? bytes : 0;
    return opening->segment != NULL;
}

static void opening_flushed(struct disk_io *io)
{
    struct journal_opening *opening = CONTAINER_OF(io, struct journal_opening, io);
    if (io->status != STATUS_OK) {
        opening_fail(opening->local, STATUS_IO, "segment %08x can't be flushed: %s",
                     opening->order[opening->at]->number, status_name(io->status));
        return;
    }
    opening_next(opening->local);
}

/* The segment about to be read is the last that may hold entries, and has not been flushed. */
static bool wants_flush(const struct journal_opening *opening)
{
    bool is_last = opening->at + 1 == opening->count || !opening->order[opening->at + 1]->header_is_good;
    return !opening->flushed && is_last && opening->order[opening->at]->header_is_good;
}

/* Start the next read, or end. */
static void opening_next(struct journal_local *local)
{
    struct journal_opening *opening = local->opening;
    if (opening->stage == OPENING_HEADERS) {
        if (opening->at < opening->count) {
            struct disk_file *file = opening->order[opening->at]->file;
            if (file->bytes < SEGMENT_HEADER_BYTES) {
                memset(opening->segment, 0, SEGMENT_HEADER_BYTES);
                header_judge(local, opening->order[opening->at++]);
                opening_next(local);
                return;
            }
            disk_read(file, &opening->io, opening->segment, SEGMENT_HEADER_BYTES, 0, opening_resume);
            return;
        }
        qsort(opening->order, opening->count, sizeof(opening->order[0]), file_order);
        opening->stage = OPENING_SEGMENTS;
        opening->at = 0;
    }
    while (opening->at < opening->count && opening->order[opening->at]->file->bytes < SEGMENT_HEADER_BYTES) {
        if (!leftover_judge(local, opening->order[opening->at++])) {
            return;
        }
    }
    if (opening->at == opening->count) {
        opening_succeed(local);
        return;
    }
    struct disk_file *file = opening->order[opening->at]->file;
    if (!segment_buffer_grow(opening, file->bytes)) {
        opening_fail(local, STATUS_FULL, "no memory for a segment of %llu bytes", (unsigned long long)file->bytes);
        return;
    }
    if (wants_flush(opening)) {
        opening->flushed = true;
        disk_flush(file, &opening->io, opening_flushed);
        return;
    }
    uint64_t left = file->bytes - opening->bytes_read;
    size_t bytes = left < JOURNAL_READ_BYTES ? (size_t)left : JOURNAL_READ_BYTES;
    disk_read(file, &opening->io, opening->segment + opening->bytes_read, bytes, opening->bytes_read, opening_resume);
}

/* ---- start ------------------------------------------------------------------------------------- */

static void file_listed(void *user, const char *name, uint64_t bytes)
{
    struct journal_local *local = user;
    struct journal_opening *opening = local->opening;
    (void)bytes;
    unsigned number = 0;
    char expected[DISK_NAME_BYTES];
    if (strlen(name) != 16 || sscanf(name, "journal-%8x", &number) != 1) {
        return;
    }
    journal_file_name(number, expected);
    if (strcmp(name, expected) != 0) {
        return;
    }
    struct journal_file *file = opening->count < JOURNAL_SEGMENTS_MAX ? journal_file_take(local) : NULL;
    if (file == NULL) {
        opening->too_many = true;
        return;
    }
    file->number = number;
    file->state = JOURNAL_FILE_USED; /* Holds its place until it is judged. */
    opening->order[opening->count++] = file;
    local->next_number = number >= local->next_number ? number + 1 : local->next_number;
}

static void opening_start(struct loop_task *task)
{
    struct journal_opening *opening = CONTAINER_OF(task, struct journal_opening, task);
    struct journal_local *local = opening->local;
    enum status status = disk_list_files(local->disk, file_listed, local);
    if (status != STATUS_OK || opening->too_many) {
        opening_fail(local, status != STATUS_OK ? status : STATUS_FULL,
                     "the journal's directory can't be listed, or "
                     "has more than %u segments",
                     JOURNAL_SEGMENTS_MAX);
        return;
    }
    for (size_t i = 0; i < opening->count; i++) {
        char name[DISK_NAME_BYTES];
        journal_file_name(opening->order[i]->number, name);
        status = disk_file_open(local->disk, name, false, &opening->order[i]->file);
        if (status != STATUS_OK) {
            opening_fail(local, status, "%s can't be opened: %s", name, status_name(status));
            return;
        }
    }
    opening_next(local);
}

struct journal *journal_open_start(struct loop *loop, struct disk *disk, const struct journal_local_options *options,
                                   struct journal_user *user,
                                   void (*opened)(void *opened_user, enum status status, struct journal *journal,
                                                  const char *message),
                                   void *opened_user)
{
    CHECK(options->segment_bytes >= JOURNAL_SEGMENT_BYTES_MIN);
    CHECK(options->segment_bytes % BLOCK_BYTES == 0);
    struct journal_local *local = calloc(1, sizeof(*local));
    struct journal_opening *opening = calloc(1, sizeof(*opening));
    CHECK(local != NULL && opening != NULL);
    *local = (struct journal_local){.journal.ops = &journal_local_ops,
                                    .loop = loop,
                                    .disk = disk,
                                    .user = user,
                                    .options = *options,
                                    .opening = opening};
    local->header_block = aligned_alloc(BLOCK_BYTES, SEGMENT_HEADER_BYTES);
    local->zeros = aligned_alloc(BLOCK_BYTES, JOURNAL_READ_BYTES);
    CHECK(local->header_block != NULL && local->zeros != NULL);
    memset(local->zeros, 0, JOURNAL_READ_BYTES);
    for (size_t i = 0; i < JOURNAL_BATCHES_MAX; i++) {
        local->staged[i].area = aligned_alloc(BLOCK_BYTES, JOURNAL_BATCH_BYTES_MAX);
        CHECK(local->staged[i].area != NULL);
        list_init(&local->staged[i].entries);
    }
    opening->local = local;
    opening->opened = opened;
    opening->opened_user = opened_user;
    CHECK(segment_buffer_grow(opening, BLOCK_BYTES));
    opening->task.run = opening_start;
    loop_defer(loop, &opening->task);
    return &local->journal;
}

void journal_local_open(struct loop *loop, struct disk *disk, const struct journal_local_options *options,
                        struct journal_user *user,
                        void (*opened)(void *opened_user, enum status status, struct journal *journal,
                                       const char *message),
                        void *opened_user)
{
    (void)journal_open_start(loop, disk, options, user, opened, opened_user);
}
