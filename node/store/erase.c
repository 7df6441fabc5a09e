/* erase.c - destroying single copies, so that it can be proven.
 *
 *   LIVE ──> WIPE_INTENT ──> WIPE_READERS ──> WIPE_WRITE ──> WIPE_FLUSH ──> WIPE_VERIFY ──> WIPE_RESULT ──> done(OK)
 *             ERASE record     reads under      one pass       shared per     second          ERASED record
 *             durable          way have ended     ^            segment        descriptor      durable
 *                                                 └─ next pass ──┘
 *   ERASING (a crash came between) ──────^
 *   never held ──> WIPE_TOMBSTONE ──> done(NOT_FOUND)
 *
 * The intent is monotone: after it no read starts, and a crash at any later step is taken up from WIPE_READERS by the
 * next open, from the first pass on. A technique is a list of passes; the last one of each is the stream that is read
 * back. That stream is ChaCha20 (RFC 8439) under a random seed, which the record keeps: anybody can
 * regenerate it and see that the area holds exactly that. A read-back that differs leaves the chunk ERASING: it
 * serves nothing, its space is not reused, and the next call tries again.
 *
 * When the segment that holds the chunk was given up, nothing is left to overwrite in place: the segment is wiped as a
 * whole. Until that is done and read back the erase is parked, or refused as below; afterwards a TOMBSTONE says so.
 *
 * Cleaning copies chunks. While it is at work on the segment that holds the chunk, or held it before a move and is
 * not wiped yet, the erase is parked: when it runs there is one copy on this disk. Where that can't be awaited (the
 * older segment is damaged, or the device refused to wipe it), the erase is refused: STATUS_CORRUPT, nothing done.
 *
 * "Never held" is said of an id that the index does not know, and only while no ciphertext can stand that the index
 * does not know of either. Recovery has zeroed what it passed over in the log; whole segments that it gave up are being
 * wiped: until that is done such an erase is parked, and refused where it can't be awaited.
 *
 * A store that is going to be closed lets nobody wait: STATUS_UNAVAILABLE. */
#include "node/store/store_private.h"

#include "base/log.h"

#include <stdlib.h>

_Static_assert(WIPE_PIECE_BYTES % KEYSTREAM_BLOCK_BYTES == 0, "pieces begin at a block of the stream");

/* Bytes that the passes before the last one write. */
static const uint8_t dod3_patterns[] = {0x55, 0xaa};

void eraser_init(struct chunk_store *store)
{
    struct eraser *eraser = &store->eraser;

    list_init(&eraser->waiting);
    list_init(&eraser->parked);
    for (unsigned i = 0; i < WIPES_MAX; i++) {
        struct wipe *wipe = &eraser->wipes[i];
        wipe->store = store;
        list_init(&wipe->requests);
        wipe->buffer = aligned_alloc(BLOCK_BYTES, WIPE_PIECE_BYTES);
        wipe->digest = aligned_alloc(_Alignof(struct content_hash), sizeof(*wipe->digest));
        CHECK(wipe->buffer != NULL && wipe->digest != NULL);
    }
}

void eraser_deinit(struct chunk_store *store)
{
    for (unsigned i = 0; i < WIPES_MAX; i++) {
        struct wipe *wipe = &store->eraser.wipes[i];
        if (wipe->verify_file != NULL) {
            disk_file_close(wipe->verify_file);
        }
        free(wipe->buffer);
        free(wipe->digest);
    }
}

/* ---- answers ------------------------------------------------------------------------------------- */

static void erase_answer(struct loop_task *task)
{
    struct chunk_erase *erase = CONTAINER_OF(task, struct chunk_erase, task);

    erase->done(erase, erase->status);
}

void erase_finish(struct chunk_erase *erase, enum status status)
{
    erase->status = status;
    erase->task.run = erase_answer;
    loop_defer(erase->store->loop, &erase->task);
}

void eraser_refuse_waiting(struct chunk_store *store, enum status status)
{
    struct list *lists[] = {&store->eraser.waiting, &store->eraser.parked};

    for (size_t i = 0; i < ARRAY_LENGTH(lists); i++) {
        for (struct list_link *link; (link = list_take_first(lists[i])) != NULL;) {
            erase_finish(LIST_ENTRY(link, struct chunk_erase, link), status);
        }
    }
}

/* Let it wait in one of the lists, unless nobody may. */
static void erase_wait(struct chunk_store *store, struct chunk_erase *erase, struct list *list)
{
    if (store->closing_soon) {
        erase_finish(erase, STATUS_UNAVAILABLE);
    } else {
        list_append(list, &erase->link);
    }
}

static void erase_start(struct chunk_store *store, struct chunk_erase *erase);
static void resume_next(struct chunk_store *store);

/* The wipe is over: answer its requests, give its place to the next. */
static void wipe_end(struct wipe *wipe, enum status status)
{
    struct chunk_store *store = wipe->store;

    for (struct list_link *link; (link = list_take_first(&wipe->requests)) != NULL;) {
        struct chunk_erase *erase = LIST_ENTRY(link, struct chunk_erase, link);
        erase->mismatch = status == STATUS_CORRUPT;
        if (status == STATUS_OK) {
            erase->overwritten_bytes = wipe->bytes;
            erase->used = wipe->item.record.technique;
            memcpy(erase->digest, wipe->item.record.digest, WIPE_DIGEST_BYTES);
        }
        erase_finish(erase, status);
    }
    if (wipe->verify_file != NULL) {
        disk_file_close(wipe->verify_file);
        wipe->verify_file = NULL;
    }
    wipe->stage = WIPE_FREE;
    store->eraser.active--;

    /* More than one: what was waiting may be answered, or parked, without taking the place. */
    for (struct list_link *next;
         store->eraser.active < WIPES_MAX && (next = list_take_first(&store->eraser.waiting)) != NULL;) {
        erase_start(store, LIST_ENTRY(next, struct chunk_erase, link));
    }
    resume_next(store);
    carry_wipe_ended(store);
    eraser_retry_parked(store);
    cleaner_consider(store);
    store_close_continue(store);
}

/* ---- overwriting --------------------------------------------------------------------------------- */

static void wipe_fail(struct wipe *wipe, enum status status, const char *what)
{
    store_fence(wipe->store, status, what);
    wipe_end(wipe, STATUS_IO);
    batch_writer_pump(wipe->store);
}

/* Passes before the one that is read back. */
static unsigned patterns_count(const struct wipe *wipe)
{
    return wipe->item.record.technique == WIPE_DOD3 ? ARRAY_LENGTH(dod3_patterns) : 0;
}

/* The stream for the piece at bytes_done, XORed into the buffer. */
static void stream_into_buffer(struct wipe *wipe)
{
    keystream_xor(wipe->item.record.seed, wipe->bytes_done, wipe->buffer, wipe->piece_bytes);
}

static void piece_choose(struct wipe *wipe)
{
    uint32_t left = wipe->bytes - wipe->bytes_done;

    wipe->piece_bytes = left < WIPE_PIECE_BYTES ? left : (uint32_t)WIPE_PIECE_BYTES;
}

static void result_durable(struct log_item *item, enum status status);

static void wipe_record_result(struct wipe *wipe)
{
    wipe->stage = WIPE_RESULT;
    wipe->item.record.type = RECORD_ERASED;
    wipe->item.durable = result_durable;
    /* At the level of cleaning: cleaning may be waiting for this very wipe, and a wipe asks for one result only. */
    batch_writer_append(wipe->store, &wipe->item, ROOM_CLEAN);
    batch_writer_pump(wipe->store);
}

static void result_durable(struct log_item *item, enum status status)
{
    struct wipe *wipe = CONTAINER_OF(item, struct wipe, item);

    if (status == STATUS_OK) {
        KILL_POINT(KILL_STORE_ERASED_DURABLE);
        wipe->store->wiped++;
        /* This may have been the damage that cleaning met there. */
        wipe->store->segments.segments[wipe->place.segment].stuck = false;
    }
    wipe_end(wipe, status);
}

static void verify_next(struct wipe *wipe);

static void verify_read(struct disk_io *io)
{
    struct wipe *wipe = CONTAINER_OF(io, struct wipe, io);

    if (io->status != STATUS_OK) {
        wipe_end(wipe, STATUS_IO);
        return;
    }
    content_hash_update(wipe->digest, wipe->buffer, wipe->piece_bytes);
    stream_into_buffer(wipe);
    if (!bytes_are_zero(wipe->buffer, wipe->piece_bytes)) {
        report_corrupt(wipe->store, &wipe->id, "wipe_read_back");
        wipe_end(wipe, STATUS_CORRUPT);
        return;
    }
    wipe->bytes_done += wipe->piece_bytes;
    verify_next(wipe);
}

static void verify_next(struct wipe *wipe)
{
    if (wipe->bytes_done == wipe->bytes) {
        KILL_POINT(KILL_STORE_WIPE_VERIFIED);
        content_hash_end(wipe->digest, wipe->item.record.digest);
        wipe_record_result(wipe);
        return;
    }
    piece_choose(wipe);
    disk_read(wipe->verify_file, &wipe->io, wipe->buffer, wipe->piece_bytes, wipe->place.offset + wipe->bytes_done,
              verify_read);
}

static void pass_start(struct wipe *wipe);

static void wipe_flushed(struct flush_waiter *waiter, enum status status)
{
    struct wipe *wipe = CONTAINER_OF(waiter, struct wipe, flush);
    struct chunk_store *store = wipe->store;

    if (status != STATUS_OK) {
        wipe_fail(wipe, status, "wipe_flush");
        return;
    }
    if (wipe->pass < patterns_count(wipe)) {
        wipe->pass++;
        pass_start(wipe);
        return;
    }
    KILL_POINT(KILL_STORE_WIPE_FLUSHED);
    char name[DISK_NAME_BYTES];
    segment_name(wipe->place.segment, name);
    wipe->stage = WIPE_VERIFY;
    if (disk_file_open(store->disk, name, false, &wipe->verify_file) != STATUS_OK) {
        wipe->verify_file = NULL;
        wipe_end(wipe, STATUS_IO);
        return;
    }
    wipe->bytes_done = 0;
    content_hash_begin(wipe->digest);
    verify_next(wipe);
}

static void write_next(struct wipe *wipe);

static void piece_written(struct disk_io *io)
{
    struct wipe *wipe = CONTAINER_OF(io, struct wipe, io);

    if (io->status != STATUS_OK) {
        wipe_fail(wipe, io->status, "wipe_write");
        return;
    }
    wipe->bytes_done += wipe->piece_bytes;
    write_next(wipe);
}

static void write_next(struct wipe *wipe)
{
    struct segment *segment = &wipe->store->segments.segments[wipe->place.segment];

    if (wipe->store->fenced) {
        wipe_end(wipe, STATUS_FENCED);
        return;
    }
    if (wipe->bytes_done == wipe->bytes) {
        KILL_POINT(KILL_STORE_WIPE_WRITTEN);
        wipe->stage = WIPE_FLUSH;
        segment_flush(segment, &wipe->flush, wipe_flushed);
        return;
    }
    piece_choose(wipe);
    if (wipe->pass < patterns_count(wipe)) {
        memset(wipe->buffer, dod3_patterns[wipe->pass], wipe->piece_bytes);
    } else {
        memset(wipe->buffer, 0, wipe->piece_bytes);
        stream_into_buffer(wipe);
    }
    disk_write(segment->file, &wipe->io, wipe->buffer, wipe->piece_bytes, wipe->place.offset + wipe->bytes_done, 0,
               piece_written);
}

static void pass_start(struct wipe *wipe)
{
    wipe->stage = WIPE_WRITE;
    wipe->bytes_done = 0;
    write_next(wipe);
}

/* The intent is durable: as soon as nobody reads any more, overwrite. */
static void wipe_try_write(struct wipe *wipe)
{
    wipe->stage = WIPE_READERS;
    if (get_in_flight(wipe->store, &wipe->id)) {
        return;
    }
    wipe->pass = 0;
    pass_start(wipe);
}

void eraser_read_ended(struct chunk_store *store, const struct chunk_id *id)
{
    for (unsigned i = 0; store->eraser.active > 0 && i < WIPES_MAX; i++) {
        struct wipe *wipe = &store->eraser.wipes[i];
        if (wipe->stage == WIPE_READERS && chunk_id_equal(&wipe->id, id)) {
            wipe_try_write(wipe);
        }
    }
}

/* ---- starting ------------------------------------------------------------------------------------ */

static void intent_durable(struct log_item *item, enum status status)
{
    struct wipe *wipe = CONTAINER_OF(item, struct wipe, item);

    if (status != STATUS_OK) {
        wipe_end(wipe, status);
        return;
    }
    KILL_POINT(KILL_STORE_INTENT_DURABLE);
    wipe_try_write(wipe);
}

static void tombstone_durable(struct log_item *item, enum status status)
{
    struct wipe *wipe = CONTAINER_OF(item, struct wipe, item);

    bool never_held = wipe->item.record.chunk.chunk_bytes == 0;

    wipe_end(wipe, status == STATUS_OK && never_held ? STATUS_NOT_FOUND : status);
}

static struct wipe *wipe_of(const struct chunk_store *store, const struct chunk_id *id)
{
    for (unsigned i = 0; store->eraser.active > 0 && i < WIPES_MAX; i++) {
        const struct wipe *wipe = &store->eraser.wipes[i];
        if (wipe->stage != WIPE_FREE && chunk_id_equal(&wipe->id, id)) {
            return (struct wipe *)(uintptr_t)wipe;
        }
    }
    return NULL;
}

bool eraser_has(const struct chunk_store *store, const struct chunk_id *id)
{
    return wipe_of(store, id) != NULL;
}

bool eraser_works_in(const struct chunk_store *store, const struct segment *segment)
{
    for (unsigned i = 0; store->eraser.active > 0 && i < WIPES_MAX; i++) {
        const struct wipe *wipe = &store->eraser.wipes[i];
        if (wipe->stage != WIPE_FREE && wipe->stage != WIPE_TOMBSTONE && wipe->place.segment == segment->number) {
            return true;
        }
    }
    return false;
}

/* A free wipe for `id`; NULL: all are at work. */
static struct wipe *wipe_take(struct chunk_store *store, const struct chunk_id *id)
{
    for (unsigned i = 0; i < WIPES_MAX; i++) {
        struct wipe *wipe = &store->eraser.wipes[i];
        if (wipe->stage == WIPE_FREE) {
            wipe->id = *id;
            wipe->bytes = 0;
            wipe->place = (struct chunk_place){0};
            wipe->item = (struct log_item){.record.chunk.id = *id};
            store->eraser.active++;
            return wipe;
        }
    }
    return NULL;
}

/* There is nothing to overwrite: of a chunk that was never held (0 bytes), or went with its whole segment. */
static void wipe_start_tombstone(struct wipe *wipe, uint32_t chunk_bytes)
{
    struct record *record = &wipe->item.record;

    wipe->stage = WIPE_TOMBSTONE;
    record->type = RECORD_TOMBSTONE;
    record->chunk.chunk_bytes = chunk_bytes;
    wipe->item.durable = tombstone_durable;
    batch_writer_append(wipe->store, &wipe->item, ROOM_ERASE);
    batch_writer_pump(wipe->store);
}

/* Set a wipe going from where the index says that the chunk stands. One that was begun goes on with the passes that its
 * intent names, or with more when they are asked for now: the result says what was done in the end. */
static void wipe_start(struct wipe *wipe, const struct chunk_entry *entry, enum wipe_technique technique)
{
    struct record *record = &wipe->item.record;

    wipe->place = entry->place;
    wipe->bytes = payload_block_count(entry->header.chunk_bytes) * BLOCK_BYTES;
    record->type = RECORD_ERASE;
    record->chunk = entry->header;
    record->place = entry->place;
    record->technique = technique > entry->technique ? technique : entry->technique;
    if (entry->state == CHUNK_ERASING) {
        memcpy(record->seed, entry->seed, WIPE_SEED_BYTES);
        wipe_try_write(wipe);
        return;
    }
    loop_random(wipe->store->loop, record->seed, WIPE_SEED_BYTES);
    wipe->stage = WIPE_INTENT;
    wipe->item.durable = intent_durable;
    batch_writer_append(wipe->store, &wipe->item, ROOM_ERASE);
    batch_writer_pump(wipe->store);
}

enum erase_turn {
    ERASE_NOW,
    ERASE_NOTHING_LEFT, /* no copy of it can stand anywhere */
    ERASE_PARK,
    ERASE_REFUSE,  /* not now; what stands in the way has been logged where it was met */
    ERASE_DAMAGED, /* the index names a place that can't be: nothing to overwrite could be proven */
};

static enum erase_turn turn_behind(const struct segment *segment)
{
    return segment_is_blocked(segment) ? ERASE_REFUSE : ERASE_PARK;
}

/* Of a chunk whose segment was given up: its use of the file is over when that is wiped and read back. Only then the
 * file is free, or taken into use, with a higher generation. */
static enum erase_turn turn_of_given_up(const struct chunk_store *store, const struct chunk_place *place)
{
    if (place->generation == 0 || place->segment >= store->segments.count) {
        return ERASE_DAMAGED;
    }
    const struct segment *segment = &store->segments.segments[place->segment];
    if (segment->state == SEGMENT_WIPING || segment->state == SEGMENT_RETIRED) {
        return turn_behind(segment);
    }
    bool was_wiped = (segment->state == SEGMENT_READY || segment_is_in_use(segment)) &&
                     segment->header.generation > place->generation;
    return was_wiped ? ERASE_NOTHING_LEFT : ERASE_DAMAGED;
}

/* Whether cleaning stands in the way: it may make, or may have left, another copy. */
static enum erase_turn turn_of_entry(const struct chunk_store *store, const struct chunk_entry *entry)
{
    const struct segment *place = segment_of_place(&store->segments, &entry->place);
    const struct segment *previous = segment_of_old_copy(&store->segments, &entry->previous);

    if ((place != NULL && place->state == SEGMENT_CLEANING) || carry_has(store, &entry->header.id)) {
        return ERASE_PARK;
    }
    if (entry->state == CHUNK_LIVE && previous != NULL) {
        return turn_behind(previous);
    }
    if (place == NULL || place->state == SEGMENT_WIPING) {
        return turn_of_given_up(store, &entry->place);
    }
    return place_is_valid(store, entry) ? ERASE_NOW : ERASE_DAMAGED;
}

/* The same for an id that the index does not know. */
static enum erase_turn turn_of_unknown(const struct chunk_store *store)
{
    bool blocked;

    if (!segments_are_unaccounted(&store->segments, &blocked)) {
        return ERASE_NOW;
    }
    return blocked ? ERASE_REFUSE : ERASE_PARK;
}

static void erase_answer_erased(struct chunk_erase *erase, const struct chunk_entry *entry)
{
    if (entry->header.chunk_bytes == 0) {
        erase_finish(erase, STATUS_NOT_FOUND);
        return;
    }
    if (entry->place.generation != 0) {
        erase->overwritten_bytes = (uint64_t)payload_block_count(entry->header.chunk_bytes) * BLOCK_BYTES;
        erase->used = entry->technique;
        memcpy(erase->digest, entry->digest, WIPE_DIGEST_BYTES);
    }
    erase_finish(erase, STATUS_OK);
}

static void erase_start(struct chunk_store *store, struct chunk_erase *erase)
{
    struct chunk_entry entry;
    struct wipe *wipe = wipe_of(store, &erase->id);

    if (store->fenced) {
        erase_finish(erase, STATUS_FENCED);
        return;
    }
    if (wipe != NULL) {
        list_append(&wipe->requests, &erase->link);
        return;
    }
    if (put_in_flight(store, &erase->id)) {
        erase_wait(store, erase, &store->eraser.parked);
        return;
    }
    enum status status = chunk_index_get(&store->index, &erase->id, &entry);
    if (status == STATUS_IO) {
        erase_finish(erase, STATUS_IO);
        return;
    }
    if (status == STATUS_OK && entry.state == CHUNK_ERASED) {
        erase_answer_erased(erase, &entry);
        return;
    }
    enum erase_turn turn = status == STATUS_OK ? turn_of_entry(store, &entry) : turn_of_unknown(store);
    if (turn == ERASE_REFUSE || turn == ERASE_DAMAGED) {
        if (turn == ERASE_DAMAGED) {
            report_corrupt(store, &erase->id, "erase_place");
        }
        erase_finish(erase, STATUS_CORRUPT);
        return;
    }
    if (turn == ERASE_PARK) {
        erase_wait(store, erase, &store->eraser.parked);
        cleaner_consider(store);
        return;
    }
    wipe = wipe_take(store, &erase->id);
    if (wipe == NULL) {
        erase_wait(store, erase, &store->eraser.waiting);
        return;
    }
    list_append(&wipe->requests, &erase->link);
    if (status == STATUS_OK && turn == ERASE_NOW) {
        wipe_start(wipe, &entry, erase->technique);
    } else {
        wipe_start_tombstone(wipe, status == STATUS_OK ? entry.header.chunk_bytes : 0);
    }
}

void chunk_store_erase(struct chunk_store *store, struct chunk_erase *erase)
{
    CHECK(erase->done != NULL);
    CHECK(!store->closing);
    erase->store = store;
    erase->overwritten_bytes = 0;
    erase->used = WIPE_OVERWRITE;
    erase->mismatch = false;
    memset(erase->digest, 0, sizeof(erase->digest));
    list_link_init(&erase->link);
    erase_start(store, erase);
}

void eraser_retry_parked(struct chunk_store *store)
{
    struct list parked;

    list_init(&parked);
    for (struct list_link *link; (link = list_take_first(&store->eraser.parked)) != NULL;) {
        list_append(&parked, link);
    }
    for (struct list_link *link; (link = list_take_first(&parked)) != NULL;) {
        erase_start(store, LIST_ENTRY(link, struct chunk_erase, link));
    }
}

/* ---- after a crash ------------------------------------------------------------------------------- */

static void resume_next(struct chunk_store *store)
{
    struct eraser *eraser = &store->eraser;
    struct chunk_entry entry;
    struct chunk_id id;

    while (eraser->resuming && !store->closing && !store->fenced && eraser->active < WIPES_MAX) {
        enum status status =
            chunk_index_next_erasing(&store->index, eraser->resume_started ? &eraser->resume_after : NULL, &id);
        if (status == STATUS_IO) {
            /* Not the end: the next wipe that ends, or the next open, goes on from here. */
            if (!eraser->resume_failed) {
                log_event(LOG_ERROR, "erase_resume_failed", "reason=%s", status_name(status));
            }
            eraser->resume_failed = true;
            return;
        }
        eraser->resuming = status == STATUS_OK;
        if (!eraser->resuming) {
            return;
        }
        eraser->resume_started = true;
        eraser->resume_after = id;
        if (chunk_index_get(&store->index, &id, &entry) != STATUS_OK || entry.state != CHUNK_ERASING ||
            wipe_of(store, &id) != NULL) {
            continue;
        }
        const struct segment *place = segment_of_place(&store->segments, &entry.place);
        if (place != NULL && place->state != SEGMENT_WIPING && place_is_valid(store, &entry)) {
            wipe_start(wipe_take(store, &id), &entry, entry.technique);
        } else if (turn_of_entry(store, &entry) == ERASE_NOTHING_LEFT) {
            wipe_start_tombstone(wipe_take(store, &id), entry.header.chunk_bytes);
        }
    }
}

void eraser_resume(struct chunk_store *store)
{
    store->eraser.resuming = true;
    resume_next(store);
}
