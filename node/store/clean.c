/* clean.c - makes room: moves what still counts out of a segment, then gives the segment up for wiping.
 *
 *   CLEAN_IDLE ──> CLEAN_CHECKING ──> CLEAN_MOVING ──> CLEAN_READERS ──> the segment is WIPING (prepare.c)
 *                   read everything     a round of        reads under way
 *                   that counts         records, durable, in the segment
 *                                       next round        have ended
 *
 * A segment is moved whole or not at all: the first pass only reads. If something that counts can't be read, the
 * segment is `stuck`: it stays as it is for a pause, which doubles each time up to an hour, or until a chunk in it is
 * erased: it may be that one. What was only a passing fault keeps no erasure from its end.
 * A chunk is not moved while an older copy of it stands, because its entry remembers only one: the segment is `held`
 * by the older one, and its turn comes when that has been wiped.
 * What counts is what the index says: a record counts when the entry of its chunk has the lsn of its batch. What
 * is written for it, carry.c says.
 * When all counters of the segment are zero, nothing can be lost. The index is then flushed before the first zero is
 * written: no state of it that a crash could bring back points into the segment.
 *
 * When: free segments are low. Which: the one that gives most. All reads are at idle priority. A segment that a
 * crash left half moved comes first, because erases of its moved chunks wait for it. */
#include "node/store/store_private.h"

#include "base/log.h"

#include <stdlib.h>

/* Above this many free segments nothing is cleaned, whatever could be gained. */
static uint32_t low_water(const struct chunk_store *store)
{
    uint32_t sixteenth = store->segments.count / 16;

    return RESERVE_SEGMENTS + (sixteenth > 2 ? sixteenth : 2);
}

static void again_fired(struct loop_timer *timer);

void cleaner_init(struct chunk_store *store)
{
    store->cleaner.again.fire = again_fired;
    batch_reader_init(&store->cleaner.reader, store->loop);
    store->cleaner.gathered = aligned_alloc(BLOCK_BYTES, GATHER_BYTES);
    CHECK(store->cleaner.gathered != NULL);
}

void cleaner_deinit(struct chunk_store *store)
{
    loop_timer_stop(store->loop, &store->cleaner.again);
    batch_reader_deinit(&store->cleaner.reader);
    free(store->cleaner.gathered);
}

/* ---- choosing ------------------------------------------------------------------------------------ */

static bool room_for_live(const struct chunk_store *store, const struct segment *segment)
{
    const struct segment *open = store->writer.open;
    uint64_t room = (uint64_t)segments_free(&store->segments) * store->segments.segment_bytes;
    uint64_t needed = store->segments.segment_bytes - segment_reclaimable_bytes(segment);

    room += open != NULL ? store->segments.segment_bytes - open->end : 0;
    return needed + BATCH_SMALL_BYTES <= room;
}

static bool can_be_cleaned(const struct chunk_store *store, const struct segment *segment)
{
    /* Not where the index ends: recovery starts from there. */
    return segment->state == SEGMENT_FULL && !segment->stuck && segment->held_by == NULL &&
           segment->erasing_bytes == 0 && segment->pending_bytes == 0 &&
           segment->number != store->writer.settled.segment && !eraser_works_in(store, segment) &&
           room_for_live(store, segment);
}

/* What cleaning must gain at least. More than the longest batch: that much may stay unused at the end of a segment, and
 * moving chunks only to leave the same gap again would go on for ever. Below that, more while there is still room. */
static uint64_t gain_wanted_bytes(const struct chunk_store *store)
{
    uint64_t segment_bytes = store->segments.segment_bytes;
    uint64_t part = segments_free(&store->segments) <= RESERVE_SEGMENTS ? segment_bytes / 16 : segment_bytes / 4;
    uint64_t gap = BATCH_PAYLOAD_BYTES + BATCH_SMALL_BYTES;

    return part > gap ? part : gap;
}

bool cleaner_would_clean(const struct chunk_store *store, const struct segment *segment)
{
    uint64_t unused = store->segments.segment_bytes - segment->end;

    return !segment->stuck && segment->erasing_bytes == 0 && !eraser_works_in(store, segment) &&
           segment_reclaimable_bytes(segment) >= unused + gain_wanted_bytes(store);
}

/* The segment to clean when at most `free_max` are free, or NULL. */
static struct segment *choose_victim(struct chunk_store *store, uint32_t free_max)
{
    struct segment_table *table = &store->segments;
    uint32_t free_segments = segments_free(table);
    uint64_t gain_wanted = gain_wanted_bytes(store);
    struct segment *best = NULL;

    for (uint32_t i = 0; i < table->count; i++) {
        struct segment *segment = &table->segments[i];
        if (!can_be_cleaned(store, segment)) {
            continue;
        }
        if (segment->moved_out) {
            return segment;
        }
        if (free_segments <= free_max && segment_reclaimable_bytes(segment) >= gain_wanted &&
            (best == NULL || segment_reclaimable_bytes(segment) > segment_reclaimable_bytes(best))) {
            best = segment;
        }
    }
    return best;
}

bool cleaner_can_help(struct chunk_store *store)
{
    if (store->fenced || store->closing) {
        return false;
    }
    return preparer_will_wipe(store) || store->cleaner.stage != CLEAN_IDLE ||
           choose_victim(store, low_water(store)) != NULL;
}

/* ---- walking the victim -------------------------------------------------------------------------- */

static void walk_from(struct chunk_store *store, uint64_t offset);
static void cleaner_walk_ended(struct chunk_store *store);

/* Stop without a result. The segment stays FULL. */
static void clean_stop(struct chunk_store *store)
{
    struct cleaner *cleaner = &store->cleaner;

    CHECK(cleaner->moves_left == 0);
    cleaner->moves_count = 0; /* What was gathered and not handed over: it is not going to move. */
    cleaner->gathered_bytes = 0;
    segment_set_state(cleaner->victim, SEGMENT_FULL);
    cleaner->stage = CLEAN_IDLE;
    cleaner->victim = NULL;
    eraser_retry_parked(store);
    cleaner_consider(store);
    batch_writer_pump(store);
    store_close_continue(store);
}

/* Whoever is stuck and has paused long enough may be tried again; the timer waits for the next of the others. */
static void again_fired(struct loop_timer *timer)
{
    struct chunk_store *store = CONTAINER_OF(timer, struct chunk_store, cleaner.again);
    uint64_t now_ns = loop_now_ns(store->loop);

    for (uint32_t i = 0; i < store->segments.count; i++) {
        struct segment *segment = &store->segments.segments[i];
        if (!segment->stuck) {
            continue;
        }
        if (segment->clean_again_ns <= now_ns) {
            segment->stuck = false;
        } else if (!loop_timer_is_armed(timer) || timer->deadline_ns > segment->clean_again_ns) {
            loop_timer_start(store->loop, timer, segment->clean_again_ns);
        }
    }
    cleaner_consider(store);
    batch_writer_pump(store);
}

static void stick(struct chunk_store *store, struct segment *victim)
{
    struct loop_timer *timer = &store->cleaner.again;

    victim->stuck = true;
    victim->clean_again_ns = loop_now_ns(store->loop) + segment_pause_ns(victim->clean_failures);
    victim->clean_failures++;
    if (!loop_timer_is_armed(timer) || timer->deadline_ns > victim->clean_again_ns) {
        loop_timer_start(store->loop, timer, victim->clean_again_ns);
    }
}

void cleaner_give_up(struct chunk_store *store, const char *why)
{
    struct segment *victim = store->cleaner.victim;

    if (!store->fenced && !store->closing) {
        stick(store, victim);
        log_event(LOG_WARNING, "segment_stuck", "segment=%u why=%s live=%llu chunks=%u erasing=%llu tombstones=%u",
                  victim->number, why, (unsigned long long)victim->live_bytes, victim->live_chunks,
                  (unsigned long long)victim->erasing_bytes, victim->tombstones);
    }
    clean_stop(store);
}

/* A chunk in the victim has an older copy in `older`: that one first. */
static void cleaner_hold(struct chunk_store *store, struct segment *older)
{
    struct segment *victim = store->cleaner.victim;

    victim->held_by = older;
    log_event(LOG_INFO, "segment_held", "segment=%u why=older_copy_stands by=%u", victim->number, older->number);
    clean_stop(store);
}

/* Nothing counts any more in the victim: as soon as nobody reads there, it can be wiped. */
static void clean_end(struct chunk_store *store)
{
    struct cleaner *cleaner = &store->cleaner;
    struct segment *victim = cleaner->victim;

    cleaner->stage = CLEAN_READERS;
    if (victim->readers > 0) {
        return;
    }
    KILL_POINT(KILL_STORE_MOVES_DURABLE);
    if (index_flush(store) != STATUS_OK) {
        cleaner_give_up(store, "index_flush");
        return;
    }
    cleaner->stage = CLEAN_IDLE;
    cleaner->victim = NULL;
    segment_set_state(victim, SEGMENT_WIPING);
    preparer_consider(store);
    cleaner_consider(store);
    store_close_continue(store);
}

void cleaner_read_ended(struct chunk_store *store, const struct segment *segment)
{
    if (store->cleaner.stage == CLEAN_READERS && store->cleaner.victim == segment) {
        clean_end(store);
    }
}

/* The end of the victim has been reached. */
void cleaner_pass_end(struct chunk_store *store)
{
    struct cleaner *cleaner = &store->cleaner;
    struct segment *victim = cleaner->victim;

    if (!cleaner->moving) {
        if (cleaner->live_bytes_seen != victim->live_bytes) {
            cleaner_give_up(store, "live_record_not_found");
            return;
        }
        cleaner->moving = true;
        cleaner->stage = CLEAN_MOVING;
        walk_from(store, SEGMENT_HEADER_BYTES);
        return;
    }
    if (victim->live_bytes != 0 || victim->live_chunks != 0 || victim->erasing_bytes != 0 || victim->tombstones != 0) {
        cleaner_give_up(store, "records_left");
        return;
    }
    clean_end(store);
}

bool cleaner_record_counts(struct chunk_store *store, const struct record *record, struct chunk_entry *entry)
{
    enum status status = chunk_index_get(&store->index, &record->chunk.id, entry);

    if (status == STATUS_IO) {
        store->cleaner.index_failed = true;
    }
    return status == STATUS_OK && entry->lsn == store->cleaner.reader.header.lsn &&
           entry->record_segment == store->cleaner.victim->number;
}

/* Whether the batch just read has payload that counts; `*bytes` of it. `*older` is a segment in which an older copy of
 * such a chunk still stands, or NULL. */
static bool batch_has_live_payload(struct chunk_store *store, uint64_t *bytes, struct segment **older)
{
    struct batch_reader *reader = &store->cleaner.reader;
    struct record_cursor cursor = record_cursor_of(&reader->header, reader->area);
    struct chunk_entry entry;
    struct record record;

    *bytes = 0;
    *older = NULL;
    while (record_next(&cursor, &record) == STATUS_OK) {
        if (record.payload_blocks > 0 && cleaner_record_counts(store, &record, &entry) && entry.state == CHUNK_LIVE) {
            *bytes += (uint64_t)record.payload_blocks * BLOCK_BYTES;
            struct segment *previous = segment_of_old_copy(&store->segments, &entry.previous);
            *older = previous != NULL && previous != store->cleaner.victim ? previous : *older;
        }
    }
    return *bytes > 0;
}

void cleaner_walk_behind(struct chunk_store *store)
{
    const struct batch_reader *reader = &store->cleaner.reader;

    walk_from(store, reader->offset + (uint64_t)reader->header.batch_blocks * BLOCK_BYTES);
}

bool cleaner_must_stop(const struct chunk_store *store)
{
    return store->fenced || store->closing;
}

/* True when every live record of the batch is good; erased ones next to them need not be. Each bad one is reported, but
 * not again when the same batch is met again in a later try. */
static bool live_payload_is_good(struct chunk_store *store)
{
    struct batch_reader *reader = &store->cleaner.reader;
    struct segment *victim = store->cleaner.victim;
    bool is_known = victim->damaged_lsn == reader->header.lsn;
    bool is_good = true;
    struct record_cursor cursor = record_cursor_of(&reader->header, reader->area);
    struct chunk_entry entry;
    struct record record;

    while (record_next(&cursor, &record) == STATUS_OK) {
        size_t at = (size_t)(record.payload_block - reader->header.header_blocks) * BLOCK_BYTES;
        if (record.payload_blocks > 0 && cleaner_record_counts(store, &record, &entry) && entry.state == CHUNK_LIVE &&
            record_first_bad_unit(&record, reader->payload + at) != UINT32_MAX) {
            if (!is_known) {
                report_corrupt(store, &record.chunk.id, "cleaning");
            }
            victim->damaged_lsn = reader->header.lsn;
            is_good = false;
        }
    }
    return is_good;
}

static void payload_done(struct batch_reader *reader, enum status status)
{
    struct chunk_store *store = CONTAINER_OF(reader, struct chunk_store, cleaner.reader);
    struct cleaner *cleaner = &store->cleaner;

    if (cleaner_must_stop(store)) {
        cleaner_give_up(store, "stopped");
        return;
    }
    if (status == STATUS_IO || (status == STATUS_CORRUPT && !live_payload_is_good(store)) || cleaner->index_failed) {
        cleaner_give_up(store, cleaner->index_failed ? "index_read" : status_name(status));
        return;
    }
    if (!cleaner->moving) {
        cleaner_walk_behind(store);
        return;
    }
    carry_batch(store);
}

static void header_done(struct batch_reader *reader, enum status status)
{
    struct chunk_store *store = CONTAINER_OF(reader, struct chunk_store, cleaner.reader);
    struct cleaner *cleaner = &store->cleaner;
    struct segment *older;
    uint64_t live_bytes;

    if (cleaner_must_stop(store) || status == STATUS_IO) {
        cleaner_give_up(store, status_name(status));
        return;
    }
    if (status != STATUS_OK && !reader->scanning) {
        /* The end, or damage: what is behind that still counts. */
        batch_scan(reader, cleaner->victim, reader->offset, false, header_done);
        return;
    }
    if (status != STATUS_OK) {
        cleaner_walk_ended(store);
        return;
    }
    bool has_live_payload = batch_has_live_payload(store, &live_bytes, &older);
    if (cleaner->index_failed) {
        cleaner_give_up(store, "index_read");
        return;
    }
    if (older != NULL && !cleaner->moving) {
        cleaner_hold(store, older);
        return;
    }
    if (has_live_payload) {
        cleaner->live_bytes_seen += cleaner->moving ? 0 : live_bytes;
        batch_read_payload(reader, payload_done);
        return;
    }
    if (!cleaner->moving) {
        cleaner_walk_behind(store);
        return;
    }
    carry_batch(store);
}

/* No more batches: what was gathered must be durable before the pass is over. */
static void cleaner_walk_ended(struct chunk_store *store)
{
    if (store->cleaner.moving) {
        carry_rest(store);
    } else {
        cleaner_pass_end(store);
    }
}

/* Go on with the batch at `offset`, or with the next good one: damage in between shows in the counters. */
static void walk_from(struct chunk_store *store, uint64_t offset)
{
    if (offset >= store->segments.segment_bytes) {
        cleaner_walk_ended(store);
        return;
    }
    batch_read_header(&store->cleaner.reader, store->cleaner.victim, offset, header_done);
}

/* ---- starting ------------------------------------------------------------------------------------ */

void cleaner_consider(struct chunk_store *store)
{
    struct cleaner *cleaner = &store->cleaner;

    if (cleaner->stage != CLEAN_IDLE || store->fenced || store->closing ||
        (store->preparer.stage != PREPARE_IDLE && store->preparer.wiping)) {
        return;
    }
    struct segment *victim = choose_victim(store, BUGGIFY(BUGGIFY_STORE_CLEAN_EARLY) ? UINT32_MAX : low_water(store));
    if (victim == NULL) {
        return;
    }
    segment_set_state(victim, SEGMENT_CLEANING);
    cleaner->victim = victim;
    cleaner->stage = CLEAN_CHECKING;
    cleaner->moving = false;
    cleaner->index_failed = false;
    cleaner->live_bytes_seen = 0;
    cleaner->moves_count = 0;
    cleaner->gathered_bytes = 0;
    cleaner->reader.flags = DISK_IDLE;
    batch_reader_restart(&cleaner->reader);
    walk_from(store, SEGMENT_HEADER_BYTES);
}
