/* chunk_store.c - requests: put, get, and looking. See chunk_store.h for the promises, store_private.h for the parts. */
#include "node/store/store_private.h"

#include "base/log.h"

#include <stdlib.h>

/* ---- life ---------------------------------------------------------------------------------------- */

struct chunk_store *store_new(struct loop *loop, struct disk *disk, struct kv *kv,
                              const struct chunk_store_options *options)
{
    struct chunk_store *store = calloc(1, sizeof(*store));

    CHECK(store != NULL);
    store->loop = loop;
    store->disk = disk;
    store->kv = kv;
    store->options = *options;
    store->upkeep_timer.fire = upkeep_timer_fired;
    list_init(&store->puts_parked);
    list_init(&store->gets);
    list_init(&store->segments.touched);
    for (unsigned i = 0; i < PUT_HASH_BUCKETS; i++) {
        list_init(&store->puts_by_hash[i]);
    }
    store->superblock.blocks = aligned_alloc(BLOCK_BYTES, SUPERBLOCK_BYTES);
    CHECK(store->superblock.blocks != NULL);
    batch_writer_init(store);
    eraser_init(store);
    cleaner_init(store);
    preparer_init(store);
    return store;
}

void store_free(struct chunk_store *store)
{
    loop_timer_stop(store->loop, &store->upkeep_timer);
    if (store->recovery != NULL) {
        recovery_free(store->recovery);
    }
    preparer_deinit(store);
    cleaner_deinit(store);
    eraser_deinit(store);
    batch_writer_deinit(store);
    chunk_index_deinit(&store->index);
    segment_table_deinit(&store->segments);
    if (store->superblock.file != NULL) {
        disk_file_close(store->superblock.file);
    }
    free(store->superblock.blocks);
    free(store);
}

void chunk_store_open(struct loop *loop, struct disk *disk, struct kv *index, const struct chunk_store_options *options,
                      void (*done)(void *user, enum status status, struct chunk_store *store), void *user)
{
    store_open_start(loop, disk, index, options, done, user);
}

void chunk_store_abandon(struct chunk_store *store)
{
    store_free(store);
}

static void close_start(struct loop_timer *timer)
{
    struct chunk_store *store = CONTAINER_OF(timer, struct chunk_store, upkeep_timer);

    preparer_consider(store);
    store_close_continue(store);
}

void chunk_store_close_soon(struct chunk_store *store)
{
    store->closing_soon = true;
    eraser_refuse_waiting(store, STATUS_UNAVAILABLE);
}

void chunk_store_close(struct chunk_store *store, void (*done)(void *user), void *user)
{
    CHECK(!store->closing);
    CHECK(list_is_empty(&store->gets) && list_is_empty(&store->puts_parked));
    chunk_store_close_soon(store);
    store->closing = true;
    store->closed = done;
    store->closed_user = user;
    /* The timer is free from here on; it keeps `done` out of this call. */
    store->upkeep_timer.fire = close_start;
    loop_timer_start(store->loop, &store->upkeep_timer, loop_now_ns(store->loop));
}

/* ---- damage -------------------------------------------------------------------------------------- */

void report_corrupt(struct chunk_store *store, const struct chunk_id *id, const char *what)
{
    store->corrupt_found++;
    for (unsigned i = 0; i < ARRAY_LENGTH(store->reported); i++) {
        if (chunk_id_equal(&store->reported[i], id)) {
            return;
        }
    }
    store->reported[store->reported_next++ % ARRAY_LENGTH(store->reported)] = *id;
    char hex[ID_HEX_BYTES];
    id_to_hex(id->bytes, hex);
    log_event(LOG_ERROR, "chunk_corrupt", "chunk=%s what=%s", hex, what);
}

/* ---- put ------------------------------------------------------------------------------------------
 *
 *   chunk_store_put ──> (parked: same id in flight) ──> checked ──> batch_writer ──> durable ──> done
 *                              └──────── any answer known now ──────────────────────────────────> done
 */

static void put_answer(struct loop_task *task)
{
    struct chunk_put *put = CONTAINER_OF(task, struct chunk_put, task);

    put->done(put, put->status);
}

void put_finish(struct chunk_put *put, enum status status)
{
    list_remove(&put->same_hash);
    put->status = status;
    put->task.run = put_answer;
    loop_defer(put->store->loop, &put->task);
}

static struct list *put_bucket(struct chunk_store *store, const struct chunk_id *id)
{
    return &store->puts_by_hash[id->bytes[0] % PUT_HASH_BUCKETS];
}

bool put_in_flight(struct chunk_store *store, const struct chunk_id *id)
{
    LIST_EACH (put_bucket(store, id), link) {
        if (chunk_id_equal(&LIST_ENTRY(link, struct chunk_put, same_hash)->header.id, id)) {
            return true;
        }
    }
    return false;
}

/* What an entry of the same id says to a put. */
static enum status put_answer_of_entry(const struct chunk_put *put, const struct chunk_entry *entry)
{
    if (entry->state != CHUNK_LIVE) {
        return STATUS_GONE;
    }
    size_t seals_bytes = (size_t)chunk_unit_count(put->header.chunk_bytes) * UNIT_SEAL_BYTES;
    bool identical = entry->header.chunk_bytes == put->header.chunk_bytes && entry->header.suite == put->header.suite &&
                     memcmp(entry->seals, put->seals, seals_bytes) == 0;
    return identical ? STATUS_OK : STATUS_EXISTS;
}

static void put_start(struct chunk_store *store, struct chunk_put *put)
{
    uint32_t bytes = put->header.chunk_bytes;
    struct chunk_entry entry;

    if (store->fenced) {
        put_finish(put, STATUS_FENCED);
        return;
    }
    if (put_in_flight(store, &put->header.id)) {
        list_append(&store->puts_parked, &put->link);
        return;
    }
    enum status status = chunk_index_get(&store->index, &put->header.id, &entry);
    if (status != STATUS_NOT_FOUND) {
        put_finish(put, status == STATUS_OK ? put_answer_of_entry(put, &entry) : STATUS_IO);
        return;
    }
    if (eraser_has(store, &put->header.id)) {
        put_finish(put, STATUS_GONE);
        return;
    }
    if (chunk_first_bad_unit(put->payload, bytes, 0, chunk_unit_count(bytes), put->seals) != UINT32_MAX) {
        put_finish(put, STATUS_CORRUPT);
        return;
    }
    if (BUGGIFY(BUGGIFY_STORE_PUT_REFUSED)) {
        put_finish(put, STATUS_FULL);
        return;
    }
    memset(put->payload + bytes, 0, (size_t)payload_block_count(bytes) * BLOCK_BYTES - bytes);
    put->header.stored_ms = loop_wall_ms(store->loop);
    list_append(put_bucket(store, &put->header.id), &put->same_hash);
    batch_writer_put(store, put);
}

void chunk_store_put(struct chunk_store *store, struct chunk_put *put)
{
    CHECK(put->done != NULL);
    CHECK(put->header.chunk_bytes > 0 && put->header.chunk_bytes <= CHUNK_BYTES_MAX);
    CHECK((uintptr_t)put->payload % BLOCK_BYTES == 0);
    CHECK(!store->closing);
    put->store = store;
    list_link_init(&put->link);
    list_link_init(&put->same_hash);
    put_start(store, put);
}

void puts_retry_parked(struct chunk_store *store)
{
    struct list parked;

    list_init(&parked);
    for (struct list_link *link; (link = list_take_first(&store->puts_parked)) != NULL;) {
        list_append(&parked, link);
    }
    for (struct list_link *link; (link = list_take_first(&parked)) != NULL;) {
        put_start(store, LIST_ENTRY(link, struct chunk_put, link));
    }
}

/* ---- get ------------------------------------------------------------------------------------------ */

static void get_answer(struct loop_task *task)
{
    struct chunk_get *get = CONTAINER_OF(task, struct chunk_get, task);

    get->done(get, get->status);
}

static void get_finish(struct chunk_get *get, enum status status)
{
    get->status = status;
    get->task.run = get_answer;
    loop_defer(get->store->loop, &get->task);
}

bool get_in_flight(const struct chunk_store *store, const struct chunk_id *id)
{
    LIST_EACH (&store->gets, link) {
        if (chunk_id_equal(&LIST_ENTRY(link, struct chunk_get, link)->id, id)) {
            return true;
        }
    }
    return false;
}

/* The blocks that the wanted units take on the medium. */
static uint32_t get_read_bytes(const struct chunk_get *get)
{
    return payload_block_count(get->data_bytes) * BLOCK_BYTES;
}

static enum status get_check(const struct chunk_get *get)
{
    uint32_t bad =
        chunk_first_bad_unit(get->data, get->header.chunk_bytes, get->first_unit, get->unit_count, get->seals);
    uint32_t padding = get_read_bytes(get) - get->data_bytes;

    return bad == UINT32_MAX && bytes_are_zero(get->data + get->data_bytes, padding) ? STATUS_OK : STATUS_CORRUPT;
}

static void get_read(struct disk_io *io)
{
    struct chunk_get *get = CONTAINER_OF(io, struct chunk_get, io);
    struct chunk_store *store = get->store;
    struct segment *segment = &store->segments.segments[get->segment_number];
    enum status status = io->status != STATUS_OK ? STATUS_IO : get_check(get);

    segment->readers--;
    list_remove(&get->link);
    if (status == STATUS_CORRUPT) {
        report_corrupt(store, &get->id, "unit_crc");
    }
    get->data = get->buffer;
    get_finish(get, status);
    eraser_read_ended(store, &get->id);
    cleaner_read_ended(store, segment);
}

/* Where the wanted units begin, and whether they can be read into the buffer. */
static enum status get_plan(struct chunk_get *get, const struct chunk_entry *entry)
{
    uint32_t units = chunk_unit_count(entry->header.chunk_bytes);
    uint32_t count = get->unit_count;

    if (get->first_unit >= units || count > units - get->first_unit) {
        return STATUS_INVALID;
    }
    count = count == 0 ? units - get->first_unit : count;
    uint32_t end_unit = get->first_unit + count;
    uint32_t end = end_unit == units ? entry->header.chunk_bytes : end_unit * UNIT_BYTES;
    get->data_bytes = end - get->first_unit * UNIT_BYTES;
    if (get_read_bytes(get) > get->buffer_bytes) {
        return STATUS_TOO_LARGE;
    }
    get->unit_count = count;
    get->header = entry->header;
    get->data = get->buffer;
    memcpy(get->seals, entry->seals + (size_t)get->first_unit * UNIT_SEAL_BYTES, (size_t)count * UNIT_SEAL_BYTES);
    return STATUS_OK;
}

bool place_is_valid(const struct chunk_store *store, const struct chunk_entry *entry)
{
    uint64_t bytes = (uint64_t)payload_block_count(entry->header.chunk_bytes) * BLOCK_BYTES;
    uint64_t offset = entry->place.offset;

    return segment_of_place(&store->segments, &entry->place) != NULL && offset % BLOCK_BYTES == 0 &&
           offset >= SEGMENT_HEADER_BYTES && offset <= store->segments.segment_bytes - bytes;
}

void chunk_store_get(struct chunk_store *store, struct chunk_get *get)
{
    struct chunk_entry entry;

    CHECK(get->done != NULL);
    CHECK((uintptr_t)get->buffer % BLOCK_BYTES == 0 && get->buffer_bytes % BLOCK_BYTES == 0);
    CHECK(!store->closing);
    get->store = store;
    list_link_init(&get->link);
    enum status status = chunk_index_get(&store->index, &get->id, &entry);
    if (status == STATUS_OK && entry.state != CHUNK_LIVE) {
        status = STATUS_GONE;
    }
    if (status == STATUS_OK) {
        status = get_plan(get, &entry);
    }
    if (status == STATUS_OK && !place_is_valid(store, &entry)) {
        report_corrupt(store, &get->id, "place");
        status = STATUS_CORRUPT;
    }
    if (status != STATUS_OK) {
        get_finish(get, status);
        return;
    }
    struct segment *segment = &store->segments.segments[entry.place.segment];
    get->segment_number = segment->number;
    segment->readers++;
    list_append(&store->gets, &get->link);
    disk_read(segment->file, &get->io, get->buffer, get_read_bytes(get),
              entry.place.offset + (uint64_t)get->first_unit * UNIT_BYTES, get_read);
}

/* ---- looking -------------------------------------------------------------------------------------- */

enum status chunk_store_locate(struct chunk_store *store, const struct chunk_id *id, struct chunk_location *location)
{
    struct chunk_entry entry;
    enum status status = chunk_index_get(&store->index, id, &entry);

    if (status != STATUS_OK) {
        return status;
    }
    struct chunk_location found = {
        .offset = entry.place.offset,
        .length = entry.header.chunk_bytes,
        .state = entry.state,
        .header = entry.header,
    };
    if (segment_of_place(&store->segments, &entry.place) != NULL) {
        segment_name(entry.place.segment, found.segment);
    }
    *location = found;
    return STATUS_OK;
}

enum status chunk_store_list(struct chunk_store *store, const struct chunk_id *after, struct chunk_header *headers,
                             size_t max, size_t *count)
{
    enum status status = chunk_index_list(&store->index, after, headers, max, count);

    if (status != STATUS_OK && !store->list_failed) {
        store->list_failed = true;
        log_event(LOG_ERROR, "chunk_list_failed", "reason=%s", status_name(status));
    }
    return status;
}

static void count_segment(const struct chunk_store *store, const struct segment *segment,
                          struct chunk_store_stats *stats)
{
    uint64_t segment_bytes = store->segments.segment_bytes;

    switch (segment->state) {
    case SEGMENT_ABSENT:
    case SEGMENT_ALLOCATED:
    case SEGMENT_READY:
        return;
    case SEGMENT_OPEN:
    case SEGMENT_FULL:
    case SEGMENT_CLEANING:
        stats->live_bytes += segment->live_bytes;
        stats->erasing_bytes += segment->erasing_bytes;
        stats->pending_bytes += segment->pending_bytes;
        stats->dead_bytes += segment->end - segment->live_bytes - segment->erasing_bytes - segment->pending_bytes;
        stats->chunks += segment->live_chunks;
        return;
    case SEGMENT_WIPING:
    case SEGMENT_RETIRED:
        stats->dead_bytes += segment_bytes;
        return;
    }
    UNREACHABLE();
}

void chunk_store_stats(const struct chunk_store *store, struct chunk_store_stats *stats)
{
    const struct segment_table *table = &store->segments;
    const struct segment *open = store->writer.open;
    uint32_t free_segments = segments_free(table);
    uint32_t above_reserve = free_segments > RESERVE_SEGMENTS ? free_segments - RESERVE_SEGMENTS : 0;

    *stats = (struct chunk_store_stats){
        .store_uuid = store->superblock.state.store,
        .capacity_bytes = store->options.capacity_bytes,
        .free_bytes = above_reserve * table->segment_bytes,
        .corrupt_found = store->corrupt_found,
        .wiped = store->wiped,
        .batches = store->batches,
        .flushes = table->flush_count,
        .recovered_batches = store->recovered_batches,
        .torn_batches = store->torn_batches,
        .fenced = store->fenced,
    };
    for (uint32_t i = 0; i < table->count; i++) {
        count_segment(store, &table->segments[i], stats);
    }
    if (open != NULL && free_segments >= RESERVE_SEGMENTS) {
        stats->free_bytes += table->segment_bytes - open->end;
    }
    stats->reserved_bytes = stats->capacity_bytes - stats->live_bytes - stats->pending_bytes - stats->erasing_bytes -
                            stats->dead_bytes - stats->free_bytes;
}
