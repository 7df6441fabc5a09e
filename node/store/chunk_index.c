/* chunk_index.c - see chunk_index.h. */
#include "node/store/chunk_index.h"

#include "base/bytes.h"

#define VALUE_VERSION     1
#define ENTRY_FIXED_BYTES 72
#define ENTRY_BYTES_MAX   (ENTRY_FIXED_BYTES + CHUNK_SEALS_BYTES_MAX)
#define COUNTER_BYTES     56
#define POSITION_BYTES    64
#define KEY_ID_BYTES      17
#define CLEAR_BATCH       1000

struct key_of_id {
    uint8_t bytes[KEY_ID_BYTES];
};

static struct key_of_id key_of_id(char kind, const struct chunk_id *id)
{
    struct key_of_id key;
    key.bytes[0] = (uint8_t)kind;
    memcpy(key.bytes + 1, id->bytes, sizeof(id->bytes));
    return key;
}

static struct kv_slice key_slice(const struct key_of_id *key)
{
    return KV_SLICE(key->bytes, KEY_ID_BYTES);
}

/* ---- values --------------------------------------------------------------------------------------- */

static size_t entry_encode(const struct chunk_entry *entry, uint8_t value[ENTRY_BYTES_MAX])
{
    struct byte_writer writer = byte_writer_of(value, ENTRY_BYTES_MAX);

    write_u8(&writer, VALUE_VERSION);
    write_u8(&writer, (uint8_t)entry->state);
    write_u8(&writer, (uint8_t)entry->header.suite);
    write_u8(&writer, (uint8_t)entry->technique);
    write_u32(&writer, entry->header.chunk_bytes);
    write_u64(&writer, entry->lsn);
    write_u32(&writer, entry->record_segment);
    write_u32(&writer, entry->place.segment);
    write_u64(&writer, entry->place.generation);
    write_u64(&writer, entry->place.offset);
    write_u64(&writer, entry->header.tenant_id);
    write_u32(&writer, entry->header.pg);
    write_u32(&writer, entry->previous.segment);
    write_u64(&writer, entry->previous.generation);
    write_u64(&writer, entry->header.stored_ms);
    CHECK(writer.written == ENTRY_FIXED_BYTES);
    switch (entry->state) {
    case CHUNK_LIVE:
        write_bytes(&writer, entry->seals, (size_t)chunk_unit_count(entry->header.chunk_bytes) * UNIT_SEAL_BYTES);
        break;
    case CHUNK_ERASING:
        write_bytes(&writer, entry->seed, WIPE_SEED_BYTES);
        break;
    case CHUNK_ERASED:
        write_bytes(&writer, entry->seed, WIPE_SEED_BYTES);
        write_bytes(&writer, entry->digest, WIPE_DIGEST_BYTES);
        break;
    }
    CHECK(!writer.failed);
    return writer.written;
}

static enum status entry_decode(const uint8_t *value, size_t bytes, const struct chunk_id *id,
                                struct chunk_entry *entry)
{
    struct byte_reader reader = byte_reader_of(value, bytes);
    uint8_t version = read_u8(&reader);
    uint8_t state = read_u8(&reader);

    *entry = (struct chunk_entry){.header.id = *id};
    entry->header.suite = (enum suite)read_u8(&reader);
    uint8_t technique = read_u8(&reader);
    entry->header.chunk_bytes = read_u32(&reader);
    entry->lsn = read_u64(&reader);
    entry->record_segment = read_u32(&reader);
    entry->place.segment = read_u32(&reader);
    entry->place.generation = read_u64(&reader);
    entry->place.offset = read_u64(&reader);
    entry->header.tenant_id = read_u64(&reader);
    entry->header.pg = read_u32(&reader);
    entry->previous.segment = read_u32(&reader);
    entry->previous.generation = read_u64(&reader);
    entry->header.stored_ms = read_u64(&reader);
    if (reader.failed || version != VALUE_VERSION || state < CHUNK_LIVE || state > CHUNK_ERASED ||
        technique > WIPE_DOD3 || entry->header.chunk_bytes > CHUNK_BYTES_MAX ||
        (state != CHUNK_ERASED && entry->header.chunk_bytes == 0)) {
        return STATUS_IO;
    }
    entry->state = (enum chunk_state)state;
    entry->technique = (enum wipe_technique)technique;
    if (entry->state == CHUNK_LIVE) {
        read_bytes(&reader, entry->seals, (size_t)chunk_unit_count(entry->header.chunk_bytes) * UNIT_SEAL_BYTES);
    } else {
        read_bytes(&reader, entry->seed, WIPE_SEED_BYTES);
    }
    if (entry->state == CHUNK_ERASED) {
        read_bytes(&reader, entry->digest, WIPE_DIGEST_BYTES);
    }
    return reader.failed || reader.left != 0 ? STATUS_IO : STATUS_OK;
}

static void counters_put(struct chunk_index *index, const struct segment *segment)
{
    uint8_t key[5] = {'s'};
    uint8_t value[COUNTER_BYTES];
    struct byte_writer key_writer = byte_writer_of(key + 1, 4);
    struct byte_writer writer = byte_writer_of(value, sizeof(value));

    write_u32_be(&key_writer, segment->number);
    write_u8(&writer, VALUE_VERSION);
    write_u8(&writer, segment->moved_out ? 1 : 0);
    write_u16(&writer, 0);
    write_u32(&writer, segment->live_chunks);
    write_u32(&writer, segment->tombstones);
    write_u32(&writer, 0);
    write_u64(&writer, segment->header.generation);
    write_u64(&writer, segment->live_bytes);
    write_u64(&writer, segment->erasing_bytes);
    write_bytes(&writer, segment->header.segment.bytes, sizeof(segment->header.segment.bytes));
    CHECK(!writer.failed && writer.left == 0);
    kv_batch_put(index->batch, KV_SLICE(key, sizeof(key)), KV_SLICE(value, sizeof(value)));
}

/* A segment that says that it is free was written to in the generation that it has, or in a later one: its header was
 * lost. What else stands there nobody knows. It gets a generation that no entry means, and is wiped before its next
 * use. */
static void free_segment_was_in_use(struct segment *segment, uint64_t generation)
{
    segment->header.generation = generation + 1;
    if (segment->file != NULL && segment->state != SEGMENT_ABSENT) {
        segment->unaccounted = true;
        segment->header_lost = true;
        segment_set_state(segment, SEGMENT_WIPING);
    }
}

/* Take the counters of one segment over, when they are about the use of the file that the disk has now. */
static enum status counters_load(struct chunk_index *index, struct segment *segment)
{
    uint8_t key[5] = {'s'};
    uint8_t value[COUNTER_BYTES];
    size_t bytes;
    struct byte_writer key_writer = byte_writer_of(key + 1, 4);

    write_u32_be(&key_writer, segment->number);
    enum status status = kv_get(index->kv, KV_SLICE(key, sizeof(key)), value, sizeof(value), &bytes);
    if (status == STATUS_NOT_FOUND) {
        return STATUS_OK;
    }
    if (status != STATUS_OK || bytes != COUNTER_BYTES || value[0] != VALUE_VERSION) {
        return status == STATUS_IO ? STATUS_IO : STATUS_CORRUPT;
    }
    struct byte_reader reader = byte_reader_of(value, sizeof(value));
    read_skip(&reader, 1);
    bool moved_out = read_u8(&reader) != 0;
    read_skip(&reader, 2);
    uint32_t live_chunks = read_u32(&reader);
    uint32_t tombstones = read_u32(&reader);
    read_skip(&reader, 4);
    uint64_t generation = read_u64(&reader);
    uint64_t live_bytes = read_u64(&reader);
    uint64_t erasing_bytes = read_u64(&reader);
    struct uuid uuid;
    read_bytes(&reader, uuid.bytes, sizeof(uuid.bytes));
    if (segment->state == SEGMENT_WIPING && segment->header.generation < generation) {
        segment->header.generation = generation; /* Its header was lost; the file's next use must differ. */
    }
    if (!segment_is_in_use(segment) && segment->state != SEGMENT_WIPING && segment->header.generation <= generation) {
        free_segment_was_in_use(segment, generation);
    }
    if (segment_is_in_use(segment) && uuid_equal(&uuid, &segment->header.segment)) {
        segment->moved_out = moved_out;
        segment->live_chunks = live_chunks;
        segment->tombstones = tombstones;
        segment->live_bytes = live_bytes;
        segment->erasing_bytes = erasing_bytes;
    }
    return STATUS_OK;
}

/* ---- open ----------------------------------------------------------------------------------------- */

void chunk_index_init(struct chunk_index *index, struct kv *kv, struct segment_table *segments,
                      const struct uuid *store)
{
    *index = (struct chunk_index){.kv = kv, .segments = segments, .store = *store};
    index->batch = kv_batch_open(kv);
}

void chunk_index_deinit(struct chunk_index *index)
{
    if (index->batch != NULL) {
        kv_batch_close(index->batch);
        index->batch = NULL;
    }
}

enum status chunk_index_load(struct chunk_index *index, struct log_position *position)
{
    uint8_t value[POSITION_BYTES];
    size_t bytes;
    struct uuid store;

    enum status status = kv_get(index->kv, KV_SLICE("a", 1), value, sizeof(value), &bytes);
    if (status != STATUS_OK) {
        return status == STATUS_TOO_LARGE ? STATUS_CORRUPT : status;
    }
    if (bytes != POSITION_BYTES || value[0] != VALUE_VERSION) {
        return STATUS_CORRUPT;
    }
    struct byte_reader reader = byte_reader_of(value, sizeof(value));
    struct log_position found;
    read_skip(&reader, 4);
    found.segment = read_u32(&reader);
    found.offset = read_u64(&reader);
    found.next_lsn = read_u64(&reader);
    found.previous_crc = read_u32(&reader);
    read_skip(&reader, 4);
    read_bytes(&reader, found.segment_uuid.bytes, sizeof(found.segment_uuid.bytes));
    read_bytes(&reader, store.bytes, sizeof(store.bytes));
    if (!uuid_equal(&store, &index->store)) {
        return STATUS_CORRUPT;
    }
    for (uint32_t i = 0; i < index->segments->count; i++) {
        status = counters_load(index, &index->segments->segments[i]);
        if (status != STATUS_OK) {
            return status;
        }
    }
    *position = found;
    return STATUS_OK;
}

enum status chunk_index_clear(struct chunk_index *index)
{
    enum status status = STATUS_OK;
    bool more = true;

    while (more && status == STATUS_OK) {
        unsigned deleted = 0;
        struct kv_iterator *iterator = kv_iterator_open(index->kv);
        kv_iterator_seek(iterator, KV_SLICE("", 0));
        for (; kv_iterator_valid(iterator) && deleted < CLEAR_BATCH; kv_iterator_next(iterator)) {
            kv_batch_delete(index->batch, kv_iterator_key(iterator));
            deleted++;
        }
        more = deleted > 0;
        status = kv_iterator_status(iterator);
        kv_iterator_close(iterator);
        if (status == STATUS_OK) {
            status = kv_write(index->kv, index->batch);
        }
        kv_batch_clear(index->batch);
    }
    for (uint32_t i = 0; i < index->segments->count; i++) {
        struct segment *segment = &index->segments->segments[i];
        segment->live_bytes = 0;
        segment->erasing_bytes = 0;
        segment->live_chunks = 0;
        segment->tombstones = 0;
        segment->moved_out = false;
    }
    return status;
}

/* ---- one chunk ------------------------------------------------------------------------------------ */

enum status chunk_index_get(struct chunk_index *index, const struct chunk_id *id, struct chunk_entry *entry)
{
    uint8_t value[ENTRY_BYTES_MAX];
    struct key_of_id key = key_of_id('c', id);
    size_t bytes;

    enum status status = kv_get(index->kv, key_slice(&key), value, sizeof(value), &bytes);
    if (status == STATUS_NOT_FOUND) {
        return STATUS_NOT_FOUND;
    }
    if (status != STATUS_OK) {
        return STATUS_IO;
    }
    return entry_decode(value, bytes, id, entry);
}

static uint64_t payload_bytes(const struct chunk_entry *entry)
{
    return (uint64_t)payload_block_count(entry->header.chunk_bytes) * BLOCK_BYTES;
}

/* An index that was rebuilt around corrupt batches may owe us something; a counter never goes below nothing. */
static void adjust_bytes(uint64_t *counter, uint64_t amount, bool into)
{
    if (into) {
        *counter += amount;
    } else {
        *counter = *counter > amount ? *counter - amount : 0;
    }
}

static void adjust_count(uint32_t *counter, bool into)
{
    if (into) {
        (*counter)++;
    } else if (*counter > 0) {
        (*counter)--;
    }
}

/* Count what an entry stands for into (or out of) the segments it names. */
static void count_entry(struct segment_table *table, const struct chunk_entry *entry, bool into)
{
    if (entry->state == CHUNK_ERASED) {
        if (entry->record_segment < table->count) {
            adjust_count(&table->segments[entry->record_segment].tombstones, into);
            segment_touch(&table->segments[entry->record_segment]);
        }
        return;
    }
    struct segment *segment = segment_of_place(table, &entry->place);
    if (segment == NULL) {
        return;
    }
    if (entry->state == CHUNK_LIVE) {
        adjust_bytes(&segment->live_bytes, payload_bytes(entry), into);
        adjust_count(&segment->live_chunks, into);
    } else {
        adjust_bytes(&segment->erasing_bytes, payload_bytes(entry), into);
    }
    segment_touch(segment);
}

/* What `record` makes of the entry `old` (NULL: none). False: nothing. */
static bool entry_from_record(const struct chunk_index *index, const struct chunk_entry *old, struct segment *segment,
                              const struct batch_header *header, const struct record *record, struct chunk_entry *entry)
{
    bool is_payload = record->type == RECORD_PUT || record->type == RECORD_MOVE;

    if (old != NULL && (old->lsn >= header->lsn || (is_payload && old->state != CHUNK_LIVE))) {
        return false; /* Applied before; or erased, and nothing brings it back. */
    }
    *entry = (struct chunk_entry){.header = record->chunk, .lsn = header->lsn, .record_segment = segment->number};
    switch (record->type) {
    case RECORD_MOVE:
        entry->previous = record->place;
        struct segment *source = segment_of_place(index->segments, &record->place);
        if (source != NULL) {
            source->moved_out = true;
            segment_touch(source);
        }
        __attribute__((fallthrough));
    case RECORD_PUT:
        entry->state = CHUNK_LIVE;
        entry->place = (struct chunk_place){.segment = segment->number,
                                            .generation = segment->header.generation,
                                            .offset = header->offset + (uint64_t)record->payload_block * BLOCK_BYTES};
        memcpy(entry->seals, record->seals, (size_t)chunk_unit_count(record->chunk.chunk_bytes) * UNIT_SEAL_BYTES);
        return true;
    case RECORD_ERASE:
        entry->state = CHUNK_ERASING;
        entry->place = record->place;
        entry->technique = record->technique;
        memcpy(entry->seed, record->seed, WIPE_SEED_BYTES);
        return true;
    case RECORD_ERASED:
        entry->place = record->place;
        entry->technique = record->technique;
        memcpy(entry->seed, record->seed, WIPE_SEED_BYTES);
        memcpy(entry->digest, record->digest, WIPE_DIGEST_BYTES);
        __attribute__((fallthrough));
    case RECORD_TOMBSTONE:
        entry->state = CHUNK_ERASED;
        return true;
    }
    UNREACHABLE();
}

enum status chunk_index_apply(struct chunk_index *index, struct segment *segment, const struct batch_header *header,
                              const struct record *record)
{
    struct chunk_entry old;
    struct chunk_entry entry;
    enum status status = chunk_index_get(index, &record->chunk.id, &old);
    if (status == STATUS_IO) {
        return STATUS_IO;
    }
    bool existed = status == STATUS_OK;
    if (!entry_from_record(index, existed ? &old : NULL, segment, header, record, &entry)) {
        return STATUS_OK;
    }
    if (existed) {
        count_entry(index->segments, &old, false);
    }
    count_entry(index->segments, &entry, true);

    uint8_t value[ENTRY_BYTES_MAX];
    size_t bytes = entry_encode(&entry, value);
    struct key_of_id key = key_of_id('c', &record->chunk.id);
    kv_batch_put(index->batch, key_slice(&key), KV_SLICE(value, bytes));

    struct key_of_id erasing_key = key_of_id('e', &record->chunk.id);
    if (entry.state == CHUNK_ERASING) {
        kv_batch_put(index->batch, key_slice(&erasing_key), KV_SLICE("", 1));
    } else if (existed && old.state == CHUNK_ERASING) {
        kv_batch_delete(index->batch, key_slice(&erasing_key));
    }
    return STATUS_OK;
}

enum status chunk_index_write(struct chunk_index *index, const struct log_position *position)
{
    for (struct list_link *link; (link = list_take_first(&index->segments->touched)) != NULL;) {
        counters_put(index, LIST_ENTRY(link, struct segment, touched));
    }
    if (position != NULL) {
        uint8_t value[POSITION_BYTES];
        struct byte_writer writer = byte_writer_of(value, sizeof(value));
        write_u8(&writer, VALUE_VERSION);
        write_zeros(&writer, 3);
        write_u32(&writer, position->segment);
        write_u64(&writer, position->offset);
        write_u64(&writer, position->next_lsn);
        write_u32(&writer, position->previous_crc);
        write_u32(&writer, 0);
        write_bytes(&writer, position->segment_uuid.bytes, sizeof(position->segment_uuid.bytes));
        write_bytes(&writer, index->store.bytes, sizeof(index->store.bytes));
        CHECK(!writer.failed && writer.left == 0);
        kv_batch_put(index->batch, KV_SLICE("a", 1), KV_SLICE(value, sizeof(value)));
    }
    enum status status = kv_write(index->kv, index->batch);
    kv_batch_clear(index->batch);
    return status == STATUS_OK ? STATUS_OK : STATUS_IO;
}

/* ---- walking -------------------------------------------------------------------------------------- */

/* Stand at the first key of `kind` above `after`. */
static struct kv_iterator *iterator_after(struct chunk_index *index, char kind, const struct chunk_id *after)
{
    struct kv_iterator *iterator = kv_iterator_open(index->kv);

    if (after == NULL) {
        kv_iterator_seek(iterator, KV_SLICE(&kind, 1));
        return iterator;
    }
    struct key_of_id key = key_of_id(kind, after);
    kv_iterator_seek(iterator, key_slice(&key));
    if (kv_iterator_valid(iterator)) {
        struct kv_slice at = kv_iterator_key(iterator);
        if (at.bytes == KEY_ID_BYTES && memcmp(at.data, key.bytes, KEY_ID_BYTES) == 0) {
            kv_iterator_next(iterator);
        }
    }
    return iterator;
}

static bool iterator_id(struct kv_iterator *iterator, char kind, struct chunk_id *id)
{
    if (!kv_iterator_valid(iterator)) {
        return false;
    }
    struct kv_slice key = kv_iterator_key(iterator);
    const uint8_t *bytes = key.data;
    if (key.bytes != KEY_ID_BYTES || bytes[0] != (uint8_t)kind) {
        return false;
    }
    memcpy(id->bytes, bytes + 1, sizeof(id->bytes));
    return true;
}

enum status chunk_index_next_erasing(struct chunk_index *index, const struct chunk_id *after, struct chunk_id *id)
{
    struct kv_iterator *iterator = iterator_after(index, 'e', after);
    bool found = iterator_id(iterator, 'e', id);
    enum status status = kv_iterator_status(iterator);

    kv_iterator_close(iterator);
    if (status != STATUS_OK) {
        return STATUS_IO;
    }
    return found ? STATUS_OK : STATUS_NOT_FOUND;
}

enum status chunk_index_list(struct chunk_index *index, const struct chunk_id *after, struct chunk_header *headers,
                             size_t max, size_t *count)
{
    struct kv_iterator *iterator = iterator_after(index, 'c', after);
    struct chunk_entry entry;
    struct chunk_id id;
    size_t found = 0;

    for (; found < max && iterator_id(iterator, 'c', &id); kv_iterator_next(iterator)) {
        struct kv_slice value = kv_iterator_value(iterator);
        if (entry_decode(value.data, value.bytes, &id, &entry) == STATUS_OK && entry.state == CHUNK_LIVE) {
            headers[found++] = entry.header;
        }
    }
    enum status status = kv_iterator_status(iterator);
    kv_iterator_close(iterator);
    if (status != STATUS_OK) {
        return STATUS_IO;
    }
    *count = found;
    return STATUS_OK;
}
