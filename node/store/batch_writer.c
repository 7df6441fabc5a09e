/* batch_writer.c - group commit.
 *
 *   queued ──> batch: BATCH_WRITING ──> BATCH_FLUSHING ──> BATCH_DONE ──> settled, in lsn order: index, then answers
 *                          └── one durable write ────────────┘
 *
 * Small records (up to 64 KiB of payload) are copied into one buffer and leave as one write; a large chunk is a batch
 * of its own, written straight from the caller's buffer. Up to BATCHES_IN_FLIGHT are on their way; a flush that
 * starts when the writes of several have completed covers them all. The first record never waits: a batch waits for
 * company only while another one is in flight, at most options.group_wait_us.
 *
 * Nothing is acknowledged before everything with a lower lsn is durable: recovery may then discard all that follows
 * the first torn batch. A failed write or flush fails its batch and every later one, and fences the store.
 *
 * Where the next batch goes, and what happens when it does not fit, is room.c's part. */
#include "node/store/store_private.h"

#include <stdlib.h>

#define LARGE_HEADER_BLOCKS 1u

void batch_writer_init(struct chunk_store *store)
{
    struct batch_writer *writer = &store->writer;

    list_init(&writer->free);
    list_init(&writer->in_flight);
    list_init(&writer->puts_small);
    list_init(&writer->puts_large);
    list_init(&writer->erase_items);
    list_init(&writer->clean_items);
    writer->roll_block = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES);
    CHECK(writer->roll_block != NULL);
    for (unsigned i = 0; i < BATCHES_IN_FLIGHT; i++) {
        struct batch *batch = &writer->batches[i];
        batch->store = store;
        batch->area = aligned_alloc(BLOCK_BYTES, BATCH_SMALL_BYTES);
        CHECK(batch->area != NULL);
        list_init(&batch->puts);
        list_init(&batch->items);
        list_append(&writer->free, &batch->link);
    }
}

void batch_writer_deinit(struct chunk_store *store)
{
    loop_timer_stop(store->loop, &store->writer.group_timer);
    free(store->writer.roll_block);
    for (unsigned i = 0; i < BATCHES_IN_FLIGHT; i++) {
        free(store->writer.batches[i].area);
    }
}

bool batch_writer_is_idle(const struct chunk_store *store)
{
    const struct batch_writer *writer = &store->writer;

    return list_is_empty(&writer->in_flight) && list_is_empty(&writer->puts_small) &&
           list_is_empty(&writer->puts_large) && list_is_empty(&writer->erase_items) &&
           list_is_empty(&writer->clean_items) && writer->rolling == NULL;
}

/* ---- queueing ------------------------------------------------------------------------------------ */

static uint64_t put_bytes_in_batch(const struct chunk_put *put)
{
    return record_bytes(RECORD_PUT, put->header.chunk_bytes) +
           (uint64_t)payload_block_count(put->header.chunk_bytes) * BLOCK_BYTES;
}

static uint64_t item_bytes_in_batch(const struct log_item *item)
{
    return record_bytes(item->record.type, item->record.chunk.chunk_bytes) +
           (uint64_t)item->record.payload_blocks * BLOCK_BYTES;
}

static bool item_is_large(const struct log_item *item)
{
    return (uint64_t)item->record.payload_blocks * BLOCK_BYTES > PUT_SMALL_BYTES;
}

static void group_timer_fired(struct loop_timer *timer)
{
    struct chunk_store *store = CONTAINER_OF(timer, struct chunk_store, writer.group_timer);

    store->writer.group_due = true;
    batch_writer_pump(store);
}

/* Something small is queued: it may wait for company from now on, but not for ever. */
static void group_wait_start(struct chunk_store *store)
{
    struct batch_writer *writer = &store->writer;

    if (!writer->group_due && !loop_timer_is_armed(&writer->group_timer) && !list_is_empty(&writer->in_flight)) {
        writer->group_timer.fire = group_timer_fired;
        loop_timer_start(store->loop, &writer->group_timer,
                         loop_now_ns(store->loop) + store->options.group_wait_us * NS_PER_US);
    }
}

void batch_writer_put(struct chunk_store *store, struct chunk_put *put)
{
    if (put->header.chunk_bytes > PUT_SMALL_BYTES) {
        list_append(&store->writer.puts_large, &put->link);
    } else {
        list_append(&store->writer.puts_small, &put->link);
        store->writer.small_bytes += put_bytes_in_batch(put);
        group_wait_start(store);
    }
    batch_writer_pump(store);
}

void batch_writer_append(struct chunk_store *store, struct log_item *item, enum room_level level)
{
    CHECK(level == ROOM_ERASE || level == ROOM_CLEAN);
    list_append(level == ROOM_ERASE ? &store->writer.erase_items : &store->writer.clean_items, &item->link);
    if (!item_is_large(item)) {
        store->writer.small_bytes += item_bytes_in_batch(item);
        group_wait_start(store);
    }
}

static void answer_items(struct list *items, enum status status)
{
    struct list refused;

    list_init(&refused);
    for (struct list_link *link; (link = list_take_first(items)) != NULL;) {
        list_append(&refused, link);
    }
    for (struct list_link *link; (link = list_take_first(&refused)) != NULL;) {
        struct log_item *item = LIST_ENTRY(link, struct log_item, link);
        item->durable(item, status);
    }
}

static void answer_puts(struct list *puts, enum status status)
{
    for (struct list_link *link; (link = list_take_first(puts)) != NULL;) {
        put_finish(LIST_ENTRY(link, struct chunk_put, link), status);
    }
}

void batch_writer_refuse_level(struct chunk_store *store, enum room_level level)
{
    struct batch_writer *writer = &store->writer;

    writer->refused = true;
    switch (level) {
    case ROOM_PUT:
        answer_puts(&writer->puts_small, STATUS_FULL);
        answer_puts(&writer->puts_large, STATUS_FULL);
        return;
    case ROOM_ERASE:
        answer_items(&writer->erase_items, STATUS_FULL);
        return;
    case ROOM_CLEAN:
        answer_items(&writer->clean_items, STATUS_FULL);
        return;
    }
    UNREACHABLE();
}

void batch_writer_refuse_queued(struct chunk_store *store)
{
    struct batch_writer *writer = &store->writer;

    writer->refused = true;
    answer_puts(&writer->puts_small, STATUS_FENCED);
    answer_puts(&writer->puts_large, STATUS_FENCED);
    answer_items(&writer->erase_items, STATUS_FENCED);
    answer_items(&writer->clean_items, STATUS_FENCED);
    writer->small_bytes = 0;
}

/* ---- settling ------------------------------------------------------------------------------------ */

static enum status batch_apply(struct chunk_store *store, struct batch *batch)
{
    struct record_cursor cursor = record_cursor_of(&batch->header, batch->area);
    struct record record;

    while (record_next(&cursor, &record) == STATUS_OK) {
        enum status status = chunk_index_apply(&store->index, batch->segment, &batch->header, &record);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

/* Give the batch back and answer everyone in it. */
static void batch_answer(struct chunk_store *store, struct batch *batch, enum status status)
{
    struct list items;

    list_init(&items);
    answer_puts(&batch->puts, status);
    for (struct list_link *link; (link = list_take_first(&batch->items)) != NULL;) {
        list_append(&items, link);
    }
    batch->state = BATCH_FREE;
    list_append(&store->writer.free, &batch->link);
    answer_items(&items, status);
}

static uint64_t batch_bytes(const struct batch *batch)
{
    return (uint64_t)batch->header.batch_blocks * BLOCK_BYTES;
}

void batch_writer_settle_position(struct batch_writer *writer)
{
    if (writer->open != NULL && writer->settled.next_lsn == writer->position.next_lsn) {
        writer->settled = (struct log_position){
            .next_lsn = writer->position.next_lsn,
            .segment_uuid = writer->open->header.segment,
            .segment = writer->open->number,
            .offset = writer->open->end,
            .previous_crc = writer->position.previous_crc,
        };
    }
}

/* Move the batches at the head that are done into `settled`, with their records in the open kv batch. */
static void collect_done(struct chunk_store *store, struct list *settled, struct list *failed)
{
    struct batch_writer *writer = &store->writer;

    for (struct list_link *link; (link = list_first(&writer->in_flight)) != NULL;) {
        struct batch *batch = LIST_ENTRY(link, struct batch, link);
        if (batch->state != BATCH_DONE) {
            return;
        }
        list_remove(link);
        batch->segment->pending_bytes -= batch_bytes(batch);
        if (batch->failed || !list_is_empty(failed) || store->fenced) {
            list_append(failed, link);
        } else if (batch_apply(store, batch) != STATUS_OK) {
            store_fence(store, STATUS_IO, "index_read");
            list_append(failed, link);
        } else {
            list_append(settled, link);
            writer->settled = (struct log_position){
                .next_lsn = batch->header.lsn + 1,
                .segment_uuid = batch->header.segment,
                .segment = batch->segment->number,
                .offset = batch->header.offset + batch_bytes(batch),
                .previous_crc = batch->header.header_crc,
            };
        }
    }
}

/* Acknowledge, in the order of the lsn, whatever is durable with everything below it. */
static void settle(struct chunk_store *store)
{
    struct batch_writer *writer = &store->writer;
    struct list settled;
    struct list failed;
    uint64_t bytes = 0;

    list_init(&settled);
    list_init(&failed);
    collect_done(store, &settled, &failed);
    batch_writer_settle_position(writer);
    enum status status = STATUS_OK;
    if (!list_is_empty(&settled)) {
        status = chunk_index_write(&store->index, &writer->settled);
        if (status != STATUS_OK) {
            store_fence(store, status, "index_write");
        } else {
            writer->durable_lsn = writer->settled.next_lsn - 1;
            KILL_POINT(KILL_STORE_INDEX_WRITTEN);
        }
    }
    for (struct list_link *link; (link = list_take_first(&settled)) != NULL;) {
        struct batch *batch = LIST_ENTRY(link, struct batch, link);
        bytes += batch_bytes(batch);
        store->batches++;
        batch_answer(store, batch, status);
    }
    for (struct list_link *link; (link = list_take_first(&failed)) != NULL;) {
        batch_answer(store, LIST_ENTRY(link, struct batch, link), STATUS_IO);
    }
    if (bytes > 0 && status == STATUS_OK) {
        upkeep_after_batches(store, bytes);
    }
    puts_retry_parked(store);
    eraser_retry_parked(store);
    cleaner_consider(store);
    batch_writer_pump(store);
    preparer_consider(store);
    store_close_continue(store);
}

static void batch_done(struct batch *batch, enum status status, const char *what)
{
    batch->state = BATCH_DONE;
    if (status != STATUS_OK) {
        batch->failed = true;
        store_fence(batch->store, status, what);
    }
    if (!batch->failed) {
        KILL_POINT(KILL_STORE_BATCH_DURABLE);
    }
    settle(batch->store);
}

static void batch_flushed(struct flush_waiter *waiter, enum status status)
{
    batch_done(CONTAINER_OF(waiter, struct batch, flush), status, "batch_flush");
}

static void batch_written(struct batch *batch, enum status status)
{
    if (status != STATUS_OK) {
        batch->failed = true;
        store_fence(batch->store, status, "batch_write");
    }
    if (--batch->writes_left > 0) {
        return;
    }
    if (batch->failed || !batch->needs_flush) {
        batch_done(batch, STATUS_OK, "batch_write");
        return;
    }
    KILL_POINT(KILL_STORE_BATCH_WRITTEN);
    batch->state = BATCH_FLUSHING;
    segment_flush(batch->segment, &batch->flush, batch_flushed);
}

static void header_written(struct disk_io *io)
{
    batch_written(CONTAINER_OF(io, struct batch, header_io), io->status);
}

static void payload_written(struct disk_io *io)
{
    batch_written(CONTAINER_OF(io, struct batch, payload_io), io->status);
}

/* ---- building ------------------------------------------------------------------------------------ */

/* How many of each queue go into the next batch of small records. */
struct batch_plan {
    unsigned erase_items;
    unsigned clean_items;
    unsigned puts;
    size_t content_bytes;
    size_t payload_blocks;
};

static size_t plan_header_blocks(const struct batch_plan *plan)
{
    return (BATCH_HEADER_FIXED_BYTES + plan->content_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES;
}

static size_t plan_bytes(const struct batch_plan *plan)
{
    return (plan_header_blocks(plan) + plan->payload_blocks) * BLOCK_BYTES;
}

static unsigned plan_records(const struct batch_plan *plan)
{
    return plan->erase_items + plan->clean_items + plan->puts;
}

/* Take one more record into the plan, if the batch stays within its bounds. */
static bool plan_add(struct batch_plan *plan, unsigned *count, size_t content_bytes, size_t payload_blocks)
{
    struct batch_plan larger = *plan;

    larger.content_bytes += content_bytes;
    larger.payload_blocks += payload_blocks;
    if (plan_records(plan) >= BATCH_RECORDS_MAX || plan_header_blocks(&larger) > BATCH_HEADER_BLOCKS_MAX ||
        plan_bytes(&larger) > BATCH_SMALL_BYTES) {
        return false;
    }
    plan->content_bytes = larger.content_bytes;
    plan->payload_blocks = larger.payload_blocks;
    (*count)++;
    return true;
}

static void plan_items(struct batch_plan *plan, unsigned *count, const struct list *items)
{
    LIST_EACH (items, link) {
        const struct log_item *item = LIST_ENTRY(link, struct log_item, link);
        if (item_is_large(item) ||
            !plan_add(plan, count, record_bytes(item->record.type, item->record.chunk.chunk_bytes),
                      item->record.payload_blocks)) {
            return;
        }
    }
}

static void plan_puts(struct batch_plan *plan, const struct list *puts)
{
    LIST_EACH (puts, link) {
        const struct chunk_put *put = LIST_ENTRY(link, struct chunk_put, link);
        if (!plan_add(plan, &plan->puts, record_bytes(RECORD_PUT, put->header.chunk_bytes),
                      payload_block_count(put->header.chunk_bytes)) ||
            BUGGIFY(BUGGIFY_STORE_SMALL_BATCH)) {
            return;
        }
    }
}

static struct record record_of_put(const struct chunk_put *put, uint32_t payload_block)
{
    return (struct record){
        .type = RECORD_PUT,
        .chunk = put->header,
        .payload_block = payload_block,
        .payload_blocks = payload_block_count(put->header.chunk_bytes),
        .seals = put->seals,
    };
}

/* Start a batch at the end of the open segment. */
static struct batch *batch_begin(struct chunk_store *store, size_t header_blocks, size_t bytes)
{
    struct batch_writer *writer = &store->writer;
    struct batch *batch = LIST_ENTRY(list_take_first(&writer->free), struct batch, link);
    struct segment *segment = writer->open;

    CHECK(batch->state == BATCH_FREE);
    CHECK(segment->end + bytes <= store->segments.segment_bytes);
    batch->segment = segment;
    batch->failed = false;
    batch->header = (struct batch_header){
        .header_blocks = (uint16_t)header_blocks,
        .batch_blocks = (uint32_t)(bytes / BLOCK_BYTES),
        .lsn = writer->position.next_lsn,
        .durable_lsn = writer->durable_lsn,
        .segment = segment->header.segment,
        .generation = segment->header.generation,
        .offset = segment->end,
        .previous_crc = writer->position.previous_crc,
    };
    return batch;
}

/* The records are in place: complete the header and take the batch's place in the log. */
static void batch_seal(struct chunk_store *store, struct batch *batch)
{
    struct batch_writer *writer = &store->writer;
    uint64_t bytes = batch_bytes(batch);

    batch_header_encode(&batch->header, batch->area);
    writer->position.next_lsn++;
    writer->position.previous_crc = batch->header.header_crc;
    batch->segment->end += bytes;
    batch->segment->pending_bytes += bytes;
    batch->state = BATCH_WRITING;
    list_append(&writer->in_flight, &batch->link);
}

static void batch_add_record(struct batch *batch, const struct record *record)
{
    uint8_t *target = batch->area + BATCH_HEADER_FIXED_BYTES + batch->header.content_bytes;

    batch->header.content_bytes += (uint32_t)record_encode(record, target);
    batch->header.record_count++;
}

static void batch_add_items(struct batch *batch, struct list *items, unsigned count, uint32_t *block)
{
    for (; count > 0; count--) {
        struct log_item *item = LIST_ENTRY(list_take_first(items), struct log_item, link);
        if (item->record.payload_blocks > 0) {
            item->record.payload_block = *block;
            memcpy(batch->area + (size_t)*block * BLOCK_BYTES, item->payload,
                   (size_t)item->record.payload_blocks * BLOCK_BYTES);
            *block += item->record.payload_blocks;
        }
        batch_add_record(batch, &item->record);
        list_append(&batch->items, &item->link);
    }
}

static void batch_add_puts(struct batch *batch, struct list *puts, unsigned count, uint32_t *block)
{
    for (; count > 0; count--) {
        struct chunk_put *put = LIST_ENTRY(list_take_first(puts), struct chunk_put, link);
        struct record record = record_of_put(put, *block);
        memcpy(batch->area + (size_t)*block * BLOCK_BYTES, put->payload, (size_t)record.payload_blocks * BLOCK_BYTES);
        *block += record.payload_blocks;
        batch_add_record(batch, &record);
        list_append(&batch->puts, &put->link);
    }
}

static bool has_small(const struct batch_writer *writer)
{
    return !list_is_empty(&writer->puts_small) || !list_is_empty(&writer->erase_items) ||
           !list_is_empty(&writer->clean_items);
}

static void submit_small(struct chunk_store *store, const struct batch_plan *plan)
{
    struct batch_writer *writer = &store->writer;
    uint32_t block = (uint32_t)plan_header_blocks(plan);
    struct batch *batch = batch_begin(store, block, plan_bytes(plan));

    batch_add_items(batch, &writer->erase_items, plan->erase_items, &block);
    batch_add_items(batch, &writer->clean_items, plan->clean_items, &block);
    batch_add_puts(batch, &writer->puts_small, plan->puts, &block);
    CHECK(block == batch->header.batch_blocks);
    uint64_t gathered = plan->content_bytes + plan->payload_blocks * BLOCK_BYTES;
    writer->small_bytes = writer->small_bytes > gathered ? writer->small_bytes - gathered : 0;
    writer->small_bytes = has_small(writer) ? writer->small_bytes : 0;
    writer->group_due = false;
    loop_timer_stop(store->loop, &writer->group_timer);

    batch_seal(store, batch);
    batch->writes_left = 1;
    batch->needs_flush = !store->options.durable_writes || BUGGIFY(BUGGIFY_STORE_SEPARATE_FLUSH);
    disk_write(batch->segment->file, &batch->header_io, batch->area, batch_bytes(batch), batch->header.offset,
               batch->needs_flush ? 0 : DISK_DURABLE, header_written);
}

/* One large chunk: header from our buffer, payload from its owner's. */
static void submit_large(struct chunk_store *store, struct chunk_put *put, struct log_item *item)
{
    struct record record = put != NULL ? record_of_put(put, LARGE_HEADER_BLOCKS) : item->record;
    size_t payload_bytes = (size_t)record.payload_blocks * BLOCK_BYTES;
    struct batch *batch = batch_begin(store, LARGE_HEADER_BLOCKS, BLOCK_BYTES + payload_bytes);

    record.payload_block = LARGE_HEADER_BLOCKS;
    batch_add_record(batch, &record);
    if (put != NULL) {
        list_append(&batch->puts, &put->link);
    } else {
        list_append(&batch->items, &item->link);
    }
    batch_seal(store, batch);
    batch->writes_left = 2;
    batch->needs_flush = true;
    disk_write(batch->segment->file, &batch->header_io, batch->area, BLOCK_BYTES, batch->header.offset, 0,
               header_written);
    disk_write(batch->segment->file, &batch->payload_io, put != NULL ? put->payload : item->payload, payload_bytes,
               batch->header.offset + BLOCK_BYTES, 0, payload_written);
}

/* ---- the pump ------------------------------------------------------------------------------------ */

static bool small_is_ready(const struct chunk_store *store)
{
    const struct batch_writer *writer = &store->writer;

    return list_is_empty(&writer->in_flight) || writer->group_due || store->options.group_wait_us == 0 ||
           writer->small_bytes >= BATCH_SMALL_BYTES || (has_small(writer) && BUGGIFY(BUGGIFY_STORE_NO_GROUP_WAIT));
}

/* The records of erasing and cleaning first, with as many puts as fit; puts may be short of room when those are not. */
static bool pump_small(struct chunk_store *store)
{
    struct batch_writer *writer = &store->writer;
    static const enum room_level levels[] = {ROOM_PUT, ROOM_ERASE, ROOM_CLEAN};

    if (!small_is_ready(store)) {
        if (has_small(writer)) {
            group_wait_start(store); /* What the last batch had no room for waits anew. */
        }
        return false;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(levels); i++) {
        struct batch_plan plan = {0};
        plan_items(&plan, &plan.clean_items, &writer->clean_items);
        if (levels[i] >= ROOM_ERASE) {
            plan_items(&plan, &plan.erase_items, &writer->erase_items);
        }
        if (levels[i] >= ROOM_PUT) {
            plan_puts(&plan, &writer->puts_small);
        }
        enum room_level level = plan.puts > 0 ? ROOM_PUT : plan.erase_items > 0 ? ROOM_ERASE : ROOM_CLEAN;
        if (plan_records(&plan) == 0 || level != levels[i]) {
            continue;
        }
        enum room room = room_find(store, level, plan_bytes(&plan));
        if (room == ROOM_HERE) {
            submit_small(store, &plan);
            return true;
        }
        if (room_make(store, room, level)) {
            return true;
        }
        if (writer->rolling != NULL) {
            return false;
        }
    }
    return false;
}

static bool pump_large(struct chunk_store *store)
{
    struct batch_writer *writer = &store->writer;
    struct list_link *first = list_first(&writer->clean_items);
    struct log_item *item = first != NULL ? LIST_ENTRY(first, struct log_item, link) : NULL;

    if (item != NULL && item_is_large(item)) {
        enum room room = room_find(store, ROOM_CLEAN, BLOCK_BYTES + (size_t)item->record.payload_blocks * BLOCK_BYTES);
        if (room == ROOM_HERE) {
            list_remove(&item->link);
            submit_large(store, NULL, item);
            return true;
        }
        return room_make(store, room, ROOM_CLEAN);
    }
    struct list_link *link = list_first(&writer->puts_large);
    if (link == NULL) {
        return false;
    }
    struct chunk_put *put = LIST_ENTRY(link, struct chunk_put, link);
    size_t payload_bytes = (size_t)payload_block_count(put->header.chunk_bytes) * BLOCK_BYTES;
    enum room room = room_find(store, ROOM_PUT, BLOCK_BYTES + payload_bytes);
    if (room == ROOM_HERE) {
        list_remove(link);
        submit_large(store, put, NULL);
        return true;
    }
    return room_make(store, room, ROOM_PUT);
}

/* One batch, or one step towards one. */
static bool pump_one(struct chunk_store *store)
{
    struct batch_writer *writer = &store->writer;

    writer->large_turn = !writer->large_turn;
    if (writer->large_turn) {
        return pump_large(store) || (writer->rolling == NULL && pump_small(store));
    }
    return pump_small(store) || (writer->rolling == NULL && pump_large(store));
}

/* Whether the next batch may start now. What makes it wait ends with a pump. */
static bool may_submit(const struct chunk_store *store)
{
    const struct batch_writer *writer = &store->writer;

    return !store->fenced && writer->rolling == NULL && !list_is_empty(&writer->free) &&
           (list_is_empty(&writer->in_flight) || !BUGGIFY(BUGGIFY_STORE_BATCH_ALONE));
}

void batch_writer_pump(struct chunk_store *store)
{
    struct batch_writer *writer = &store->writer;

    if (writer->pumping) {
        writer->pump_again = true; /* Called from below pump_one(): the loop there goes on. */
        return;
    }
    writer->pumping = true;
    do {
        writer->pump_again = false;
        while (may_submit(store) && pump_one(store)) {
        }
    } while (writer->pump_again);
    writer->pumping = false;
    if (store->fenced && !batch_writer_is_idle(store)) {
        batch_writer_refuse_queued(store);
    }
    if (writer->refused) {
        /* Others of the same ids may have been waiting for those. */
        writer->refused = false;
        puts_retry_parked(store);
        eraser_retry_parked(store);
    }
}
