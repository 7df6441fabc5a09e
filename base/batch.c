/* batch.c - encoding and checking the frames of our logs. The layout is in batch.h; the offsets here are the few that
 * are needed outside the straight order of the fields. */
#include "base/batch.h"
#include "base/bytes.h"
#include "base/checksum.h"

static const uint8_t segment_magic[8] = {'T', 'R', 'L', 'S', 'E', 'G', '1', 0};
static const uint8_t batch_magic[4] = {'T', 'L', 'B', '1'};

#define SEGMENT_FORMAT          1
#define SEGMENT_FIELDS_END      76
#define SEGMENT_CRC_OFFSET      (SEGMENT_HEADER_BYTES - 4)
#define BATCH_HEADER_CRC_OFFSET 76
#define BATCH_CONTENT_BYTES(hb) ((uint32_t)(hb)*BLOCK_BYTES - BATCH_HEADER_FIXED_BYTES)

/* `bytes` is at least 1. All bytes are equal when the data equals itself shifted by one. */
static bool is_zero_span(const uint8_t *data, size_t bytes)
{
    return data[0] == 0 && memcmp(data, data + 1, bytes - 1) == 0;
}

static bool is_zero(const uint8_t *data, size_t bytes)
{
    return bytes == 0 || is_zero_span(data, bytes);
}

/* ---- segment header ---------------------------------------------------------------------------- */

void segment_header_encode(const struct segment_header *header, uint8_t block[SEGMENT_HEADER_BYTES])
{
    CHECK(header->kind == BATCH_LOG_STORE || header->kind == BATCH_LOG_JOURNAL);
    CHECK(header->segment_bytes > SEGMENT_HEADER_BYTES);
    CHECK(header->segment_bytes % BLOCK_BYTES == 0);

    struct byte_writer writer = byte_writer_of(block, SEGMENT_HEADER_BYTES);
    write_bytes(&writer, segment_magic, sizeof(segment_magic));
    write_u32(&writer, SEGMENT_FORMAT);
    write_u32(&writer, header->kind);
    write_bytes(&writer, header->log.bytes, sizeof(header->log.bytes));
    write_bytes(&writer, header->segment.bytes, sizeof(header->segment.bytes));
    write_u64(&writer, header->generation);
    write_u64(&writer, header->first_lsn);
    write_u64(&writer, header->segment_bytes);
    write_u32(&writer, header->segment_number);
    CHECK(writer.written == SEGMENT_FIELDS_END);
    write_zeros(&writer, SEGMENT_CRC_OFFSET - SEGMENT_FIELDS_END);
    write_u32(&writer, crc32c(0, block, SEGMENT_CRC_OFFSET));
    CHECK(!writer.failed && writer.left == 0);
}

enum status segment_header_decode(const uint8_t block[SEGMENT_HEADER_BYTES], struct segment_header *header)
{
    if (is_zero(block, SEGMENT_HEADER_BYTES)) {
        return STATUS_NOT_FOUND;
    }
    struct byte_reader reader = byte_reader_of(block, SEGMENT_HEADER_BYTES);
    const uint8_t *magic = read_span(&reader, sizeof(segment_magic));
    uint32_t format = read_u32(&reader);
    uint32_t kind = read_u32(&reader);
    struct segment_header decoded = {.kind = (enum batch_log_kind)kind};
    read_bytes(&reader, decoded.log.bytes, sizeof(decoded.log.bytes));
    read_bytes(&reader, decoded.segment.bytes, sizeof(decoded.segment.bytes));
    decoded.generation = read_u64(&reader);
    decoded.first_lsn = read_u64(&reader);
    decoded.segment_bytes = read_u64(&reader);
    decoded.segment_number = read_u32(&reader);
    const uint8_t *padding = read_span(&reader, SEGMENT_CRC_OFFSET - SEGMENT_FIELDS_END);
    uint32_t crc = read_u32(&reader);
    CHECK(!reader.failed && reader.left == 0);

    if (memcmp(magic, segment_magic, sizeof(segment_magic)) != 0 || crc != crc32c(0, block, SEGMENT_CRC_OFFSET)) {
        return STATUS_CORRUPT;
    }
    if (format != SEGMENT_FORMAT || (kind != BATCH_LOG_STORE && kind != BATCH_LOG_JOURNAL) ||
        decoded.segment_bytes <= SEGMENT_HEADER_BYTES || decoded.segment_bytes % BLOCK_BYTES != 0 ||
        !is_zero(padding, SEGMENT_CRC_OFFSET - SEGMENT_FIELDS_END)) {
        return STATUS_CORRUPT;
    }
    *header = decoded;
    return STATUS_OK;
}

/* ---- batch header ------------------------------------------------------------------------------ */

/* The CRC of a header area, taken as if its own field were zero. */
static uint32_t header_area_crc(const uint8_t *area, size_t area_bytes)
{
    static const uint8_t zeros[4] = {0};
    uint32_t crc = crc32c(0, area, BATCH_HEADER_CRC_OFFSET);
    crc = crc32c(crc, zeros, sizeof(zeros));
    return crc32c(crc, area + BATCH_HEADER_FIXED_BYTES, area_bytes - BATCH_HEADER_FIXED_BYTES);
}

void batch_header_encode(struct batch_header *header, uint8_t *area)
{
    CHECK(header->header_blocks >= 1);
    CHECK(header->header_blocks <= BATCH_HEADER_BLOCKS_MAX);
    CHECK(header->batch_blocks >= header->header_blocks);
    CHECK(header->content_bytes <= BATCH_CONTENT_BYTES(header->header_blocks));
    CHECK(header->offset % BLOCK_BYTES == 0);
    CHECK(header->offset >= SEGMENT_HEADER_BYTES);

    size_t area_bytes = (size_t)header->header_blocks * BLOCK_BYTES;
    size_t used_bytes = BATCH_HEADER_FIXED_BYTES + header->content_bytes;
    memset(area + used_bytes, 0, area_bytes - used_bytes);

    struct byte_writer writer = byte_writer_of(area, BATCH_HEADER_FIXED_BYTES);
    write_bytes(&writer, batch_magic, sizeof(batch_magic));
    write_u16(&writer, header->header_blocks);
    write_u16(&writer, header->record_count);
    write_u32(&writer, header->batch_blocks);
    write_u32(&writer, header->content_bytes);
    write_u64(&writer, header->lsn);
    write_u64(&writer, header->durable_lsn);
    write_bytes(&writer, header->segment.bytes, sizeof(header->segment.bytes));
    write_u64(&writer, header->generation);
    write_u64(&writer, header->offset);
    write_u32(&writer, header->previous_crc);
    write_u32(&writer, header->payload_crc);
    write_u32(&writer, 0);
    CHECK(writer.written == BATCH_HEADER_CRC_OFFSET);
    header->header_crc = header_area_crc(area, area_bytes);
    write_u32(&writer, header->header_crc);
    CHECK(!writer.failed && writer.left == 0);
}

enum status batch_header_peek(const uint8_t block[BLOCK_BYTES], struct batch_header *header)
{
    struct byte_reader reader = byte_reader_of(block, BATCH_HEADER_FIXED_BYTES);
    const uint8_t *magic = read_span(&reader, sizeof(batch_magic));
    if (memcmp(magic, batch_magic, sizeof(batch_magic)) != 0) {
        return is_zero(block, BLOCK_BYTES) ? STATUS_NOT_FOUND : STATUS_CORRUPT;
    }
    struct batch_header decoded;
    decoded.header_blocks = read_u16(&reader);
    decoded.record_count = read_u16(&reader);
    decoded.batch_blocks = read_u32(&reader);
    decoded.content_bytes = read_u32(&reader);
    decoded.lsn = read_u64(&reader);
    decoded.durable_lsn = read_u64(&reader);
    read_bytes(&reader, decoded.segment.bytes, sizeof(decoded.segment.bytes));
    decoded.generation = read_u64(&reader);
    decoded.offset = read_u64(&reader);
    decoded.previous_crc = read_u32(&reader);
    decoded.payload_crc = read_u32(&reader);
    uint32_t reserved = read_u32(&reader);
    decoded.header_crc = read_u32(&reader);
    CHECK(!reader.failed && reader.left == 0);

    if (decoded.header_blocks < 1 || decoded.header_blocks > BATCH_HEADER_BLOCKS_MAX ||
        decoded.batch_blocks < decoded.header_blocks ||
        decoded.content_bytes > BATCH_CONTENT_BYTES(decoded.header_blocks) || reserved != 0) {
        return STATUS_CORRUPT;
    }
    *header = decoded;
    return STATUS_OK;
}

/* Does the batch say that it stands where it was read, and does it fit there? */
static bool batch_is_in_place(const struct batch_header *header, const struct segment_header *segment, uint64_t offset)
{
    return uuid_equal(&header->segment, &segment->segment) && header->generation == segment->generation &&
           header->offset == offset && offset >= SEGMENT_HEADER_BYTES && offset % BLOCK_BYTES == 0 &&
           offset <= segment->segment_bytes &&
           header->batch_blocks <= (segment->segment_bytes - offset) / BLOCK_BYTES && header->lsn >= segment->first_lsn;
}

enum status batch_header_decode(const uint8_t *area, size_t area_bytes, const struct segment_header *segment,
                                uint64_t offset, struct batch_header *header)
{
    struct batch_header decoded;
    if (area_bytes < BLOCK_BYTES || batch_header_peek(area, &decoded) != STATUS_OK) {
        return STATUS_CORRUPT;
    }
    size_t header_bytes = (size_t)decoded.header_blocks * BLOCK_BYTES;
    if (header_bytes > area_bytes || header_area_crc(area, header_bytes) != decoded.header_crc) {
        return STATUS_CORRUPT;
    }
    size_t used_bytes = BATCH_HEADER_FIXED_BYTES + decoded.content_bytes;
    if (!is_zero(area + used_bytes, header_bytes - used_bytes) || !batch_is_in_place(&decoded, segment, offset)) {
        return STATUS_CORRUPT;
    }
    *header = decoded;
    return STATUS_OK;
}
