/* record.c - see record.h for the layout. Decoding trusts nothing: lengths, sums and enums are checked against the
 * batch, so a record that decodes can be used without further bounds. */
#include "node/store/record.h"

#include "base/bytes.h"

#define COMMON_BYTES 32
#define CHUNK_BYTES  24 /* tenant .. stored */
#define PLACE_BYTES  24

static bool type_has_payload(enum record_type type)
{
    return type == RECORD_PUT || type == RECORD_MOVE;
}

static bool type_has_place(enum record_type type)
{
    return type == RECORD_MOVE || type == RECORD_ERASE || type == RECORD_ERASED;
}

size_t record_bytes(enum record_type type, uint32_t chunk_bytes)
{
    size_t seals = (size_t)chunk_unit_count(chunk_bytes) * UNIT_SEAL_BYTES;

    switch (type) {
    case RECORD_PUT:
        return COMMON_BYTES + CHUNK_BYTES + seals;
    case RECORD_MOVE:
        return COMMON_BYTES + CHUNK_BYTES + PLACE_BYTES + seals;
    case RECORD_ERASE:
        return COMMON_BYTES + CHUNK_BYTES + PLACE_BYTES + WIPE_SEED_BYTES;
    case RECORD_ERASED:
        return COMMON_BYTES + CHUNK_BYTES + PLACE_BYTES + WIPE_SEED_BYTES + WIPE_DIGEST_BYTES;
    case RECORD_TOMBSTONE:
        return COMMON_BYTES;
    }
    UNREACHABLE();
}

_Static_assert(COMMON_BYTES + CHUNK_BYTES + PLACE_BYTES + CHUNK_SEALS_BYTES_MAX + BATCH_HEADER_FIXED_BYTES <=
                   BLOCK_BYTES,
               "the record of the longest chunk fits a batch header of one block");

size_t record_encode(const struct record *record, uint8_t *target)
{
    const struct chunk_header *chunk = &record->chunk;
    size_t bytes = record_bytes(record->type, chunk->chunk_bytes);
    struct byte_writer writer = byte_writer_of(target, bytes);

    write_u8(&writer, (uint8_t)record->type);
    write_u8(&writer, record->type == RECORD_TOMBSTONE ? 0 : (uint8_t)chunk->suite);
    write_u16(&writer, (uint16_t)bytes);
    write_u32(&writer, record->payload_block);
    write_u32(&writer, record->payload_blocks);
    write_u32(&writer, chunk->chunk_bytes);
    write_bytes(&writer, chunk->id.bytes, sizeof(chunk->id.bytes));
    if (record->type != RECORD_TOMBSTONE) {
        write_u64(&writer, chunk->tenant_id);
        write_u32(&writer, chunk->pg);
        write_u32(&writer, 0);
        write_u64(&writer, chunk->stored_ms);
    }
    if (type_has_place(record->type)) {
        write_u32(&writer, record->place.segment);
        write_u32(&writer, record->type == RECORD_MOVE ? 0 : (uint32_t)record->technique);
        write_u64(&writer, record->place.generation);
        write_u64(&writer, record->place.offset);
    }
    if (record->type == RECORD_ERASE || record->type == RECORD_ERASED) {
        write_bytes(&writer, record->seed, WIPE_SEED_BYTES);
    }
    if (record->type == RECORD_ERASED) {
        write_bytes(&writer, record->digest, WIPE_DIGEST_BYTES);
    }
    if (type_has_payload(record->type)) {
        write_bytes(&writer, record->seals, (size_t)chunk_unit_count(chunk->chunk_bytes) * UNIT_SEAL_BYTES);
    }
    CHECK(!writer.failed && writer.left == 0);
    return bytes;
}

struct record_cursor record_cursor_of(const struct batch_header *header, const uint8_t *area)
{
    return (struct record_cursor){
        .at = area + BATCH_HEADER_FIXED_BYTES,
        .left = header->content_bytes,
        .records_left = header->record_count,
        .next_block = header->header_blocks,
        .batch_blocks = header->batch_blocks,
    };
}

/* Read the fields that all types share and see whether they make sense together. */
static bool decode_common(struct byte_reader *reader, struct record *record, size_t *bytes)
{
    uint8_t type = read_u8(reader);
    uint8_t suite = read_u8(reader);
    *bytes = read_u16(reader);
    record->payload_block = read_u32(reader);
    record->payload_blocks = read_u32(reader);
    record->chunk.chunk_bytes = read_u32(reader);
    read_bytes(reader, record->chunk.id.bytes, sizeof(record->chunk.id.bytes));
    if (reader->failed || type < RECORD_PUT || type > RECORD_TOMBSTONE) {
        return false;
    }
    record->type = (enum record_type)type;
    if (record->chunk.chunk_bytes > CHUNK_BYTES_MAX) {
        return false;
    }
    if (record->type == RECORD_TOMBSTONE) {
        return suite == 0;
    }
    if (record->chunk.chunk_bytes == 0 || (suite != SUITE_AES_256_GCM && suite != SUITE_SM4_GCM)) {
        return false;
    }
    record->chunk.suite = (enum suite)suite;
    return true;
}

/* Where the payload must lie: right behind that of the record before, whole blocks, inside the batch. */
static bool payload_fits(const struct record_cursor *cursor, const struct record *record)
{
    if (!type_has_payload(record->type)) {
        return record->payload_block == 0 && record->payload_blocks == 0;
    }
    return record->payload_block == cursor->next_block &&
           record->payload_blocks == payload_block_count(record->chunk.chunk_bytes) &&
           record->payload_blocks <= cursor->batch_blocks - cursor->next_block;
}

/* False: a technique of no meaning. */
static bool decode_place(struct byte_reader *reader, struct record *record)
{
    record->place.segment = read_u32(reader);
    uint32_t technique = read_u32(reader);
    record->place.generation = read_u64(reader);
    record->place.offset = read_u64(reader);
    record->technique = technique == WIPE_DOD3 ? WIPE_DOD3 : WIPE_OVERWRITE;
    return technique == WIPE_OVERWRITE || (technique == WIPE_DOD3 && record->type != RECORD_MOVE);
}

static bool decode_rest(struct byte_reader *reader, struct record *record)
{
    if (record->type != RECORD_TOMBSTONE) {
        record->chunk.tenant_id = read_u64(reader);
        record->chunk.pg = read_u32(reader);
        read_skip(reader, 4);
        record->chunk.stored_ms = read_u64(reader);
    }
    if (type_has_place(record->type) && !decode_place(reader, record)) {
        return false;
    }
    if (record->type == RECORD_ERASE || record->type == RECORD_ERASED) {
        read_bytes(reader, record->seed, WIPE_SEED_BYTES);
    }
    if (record->type == RECORD_ERASED) {
        read_bytes(reader, record->digest, WIPE_DIGEST_BYTES);
    }
    if (type_has_payload(record->type)) {
        record->seals = read_span(reader, (size_t)chunk_unit_count(record->chunk.chunk_bytes) * UNIT_SEAL_BYTES);
    }
    return true;
}

enum status record_next(struct record_cursor *cursor, struct record *record)
{
    if (cursor->records_left == 0) {
        bool whole = cursor->left == 0 && cursor->next_block == cursor->batch_blocks;
        return whole ? STATUS_NOT_FOUND : STATUS_CORRUPT;
    }
    struct byte_reader reader = byte_reader_of(cursor->at, cursor->left);
    struct record decoded = {0};
    size_t bytes;
    if (!decode_common(&reader, &decoded, &bytes) || !payload_fits(cursor, &decoded) ||
        bytes != record_bytes(decoded.type, decoded.chunk.chunk_bytes) || bytes > cursor->left) {
        return STATUS_CORRUPT;
    }
    if (!decode_rest(&reader, &decoded)) {
        return STATUS_CORRUPT;
    }
    CHECK(!reader.failed);

    cursor->at += bytes;
    cursor->left -= bytes;
    cursor->records_left--;
    cursor->next_block += decoded.payload_blocks;
    *record = decoded;
    return STATUS_OK;
}

enum status records_check(const struct batch_header *header, const uint8_t *area)
{
    struct record_cursor cursor = record_cursor_of(header, area);
    struct record record;
    enum status status;

    do {
        status = record_next(&cursor, &record);
    } while (status == STATUS_OK);
    return status == STATUS_NOT_FOUND ? STATUS_OK : STATUS_CORRUPT;
}

bool bytes_are_zero(const uint8_t *data, size_t bytes)
{
    /* Each byte equals the one before it, and the first is zero: memcmp does this at memory speed. */
    return bytes == 0 || (data[0] == 0 && memcmp(data, data + 1, bytes - 1) == 0);
}

uint32_t record_first_bad_unit(const struct record *record, const uint8_t *payload)
{
    uint32_t chunk_bytes = record->chunk.chunk_bytes;
    uint32_t units = chunk_unit_count(chunk_bytes);
    uint32_t bad = chunk_first_bad_unit(payload, chunk_bytes, 0, units, record->seals);

    if (bad != UINT32_MAX) {
        return bad;
    }
    size_t padding = (size_t)record->payload_blocks * BLOCK_BYTES - chunk_bytes;
    return bytes_are_zero(payload + chunk_bytes, padding) ? UINT32_MAX : units - 1;
}
