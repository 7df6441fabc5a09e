/* carry.c - writes again what still counts in a segment that is being cleaned.
 *
 *   PUT, MOVE          as MOVE, payload copied
 *   ERASED             as ERASED while the segment it speaks of is in the same use, as TOMBSTONE afterwards
 *   ERASE, TOMBSTONE   as they are
 *
 * Small records are gathered over as many batches of the segment as it takes to fill one, so that what was written
 * one by one comes out dense: that is the gain. A large chunk is a batch of its own and goes straight from the
 * reader's buffer. A round ends when all its records are durable and in the index; then the walk goes on.
 *
 * An ERASE whose wipe is under way is left until that has ended: both would speak about the same chunk. */
#include "node/store/store_private.h"

bool carry_has(const struct chunk_store *store, const struct chunk_id *id)
{
    for (unsigned i = 0; i < store->cleaner.moves_count; i++) {
        if (chunk_id_equal(&store->cleaner.moves[i].record.chunk.id, id)) {
            return true;
        }
    }
    return false;
}

static void carry_continue(struct chunk_store *store);

/* ---- a round ------------------------------------------------------------------------------------- */

static void record_durable(struct chunk_store *store, enum status status)
{
    struct cleaner *cleaner = &store->cleaner;

    if (status != STATUS_OK) {
        cleaner->moves_status = status;
    }
    if (--cleaner->moves_left > 0) {
        return;
    }
    cleaner->moves_count = 0;
    cleaner->gathered_bytes = 0;
    if (cleaner->moves_status != STATUS_OK || cleaner_must_stop(store)) {
        cleaner_give_up(store, status_name(cleaner->moves_status));
        return;
    }
    eraser_retry_parked(store);
    carry_continue(store);
}

static void item_durable(struct log_item *item, enum status status)
{
    record_durable(item->owner, status);
}

/* Hand what was gathered to the batch writer. */
static void round_start(struct chunk_store *store)
{
    struct cleaner *cleaner = &store->cleaner;
    unsigned count = cleaner->moves_count;

    CHECK(count > 0 && cleaner->moves_left == 0);
    cleaner->moves_status = STATUS_OK;
    cleaner->moves_left = count;
    for (unsigned i = 0; i < count; i++) {
        batch_writer_append(store, &cleaner->moves[i], ROOM_CLEAN);
    }
    batch_writer_pump(store);
}

/* ---- gathering ----------------------------------------------------------------------------------- */

/* What is written again for a record that counts. */
static struct record carried_record(const struct chunk_store *store, const struct record *record,
                                    const struct chunk_entry *entry)
{
    struct record carried = *record;

    if (record->payload_blocks > 0) {
        carried.type = RECORD_MOVE;
        carried.place = entry->place;
    } else if (record->type == RECORD_ERASED && segment_of_place(&store->segments, &record->place) == NULL) {
        carried = (struct record){.type = RECORD_TOMBSTONE, .chunk = record->chunk};
    }
    return carried;
}

enum carry { CARRY_DONE, CARRY_ALONE, CARRY_NEXT_ROUND, CARRY_AFTER_WIPE };

/* Keep a small payload and its seal: the reader goes on to other batches. */
static void gather_payload(struct cleaner *cleaner, struct log_item *item, const uint8_t *payload, size_t bytes)
{
    uint8_t *seal = cleaner->move_seals[cleaner->moves_count];

    memcpy(seal, item->record.seals, UNIT_SEAL_BYTES);
    item->record.seals = seal;
    item->payload = cleaner->gathered + cleaner->gathered_bytes;
    memcpy(cleaner->gathered + cleaner->gathered_bytes, payload, bytes);
    cleaner->gathered_bytes += (uint32_t)bytes;
}

static enum carry carry_record(struct chunk_store *store, const struct record *record)
{
    struct cleaner *cleaner = &store->cleaner;
    const struct batch_reader *reader = &cleaner->reader;
    size_t bytes = (size_t)record->payload_blocks * BLOCK_BYTES;
    bool large = bytes > PUT_SMALL_BYTES;
    struct chunk_entry entry;

    if (!cleaner_record_counts(store, record, &entry)) {
        return CARRY_DONE;
    }
    if (eraser_has(store, &record->chunk.id)) {
        return CARRY_AFTER_WIPE;
    }
    if (cleaner->moves_count == MOVES_MAX || (large && cleaner->moves_count > 0) ||
        (!large && cleaner->gathered_bytes + bytes > GATHER_BYTES)) {
        return CARRY_NEXT_ROUND;
    }
    struct log_item *item = &cleaner->moves[cleaner->moves_count];
    *item = (struct log_item){.record = carried_record(store, record, &entry), .durable = item_durable, .owner = store};
    if (bytes > 0) {
        const uint8_t *payload =
            reader->payload + (size_t)(record->payload_block - reader->header.header_blocks) * BLOCK_BYTES;
        item->payload = payload;
        if (!large) {
            gather_payload(cleaner, item, payload, bytes);
        }
    }
    cleaner->moves_count++;
    return large ? CARRY_ALONE : CARRY_DONE;
}

static void walk_on(struct chunk_store *store)
{
    struct cleaner *cleaner = &store->cleaner;

    if (!cleaner->walk_ended) {
        cleaner_walk_behind(store);
    } else if (cleaner->moves_count > 0) {
        round_start(store);
    } else {
        cleaner_pass_end(store);
    }
}

/* Take records from the cursor until a round is full or the batch is at its end. */
static void carry_continue(struct chunk_store *store)
{
    struct cleaner *cleaner = &store->cleaner;
    struct record_cursor before = cleaner->cursor;
    struct record record;

    cleaner->stage = CLEAN_MOVING;
    while (!cleaner->walk_ended && record_next(&cleaner->cursor, &record) == STATUS_OK) {
        enum carry carry = carry_record(store, &record);
        if (cleaner->index_failed) {
            cleaner_give_up(store, "index_read");
            return;
        }
        if (carry == CARRY_ALONE) {
            round_start(store);
            return;
        }
        if (carry != CARRY_DONE) {
            cleaner->cursor = before;
            if (cleaner->moves_count > 0) {
                round_start(store);
            } else {
                cleaner->stage = CLEAN_WAITING_FOR_WIPE;
            }
            return;
        }
        before = cleaner->cursor;
    }
    walk_on(store);
}

void carry_batch(struct chunk_store *store)
{
    struct cleaner *cleaner = &store->cleaner;

    cleaner->walk_ended = false;
    cleaner->cursor = record_cursor_of(&cleaner->reader.header, cleaner->reader.area);
    carry_continue(store);
}

void carry_rest(struct chunk_store *store)
{
    store->cleaner.walk_ended = true;
    walk_on(store);
}

void carry_wipe_ended(struct chunk_store *store)
{
    if (store->cleaner.stage != CLEAN_WAITING_FOR_WIPE) {
        return;
    }
    if (cleaner_must_stop(store)) {
        cleaner_give_up(store, "stopped");
        return;
    }
    carry_continue(store);
}
