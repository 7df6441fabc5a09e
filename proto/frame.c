/* frame.c - see frame.h for the layout. */
#include "proto/frame.h"

#include "base/bytes.h"
#include "base/checksum.h"

#define FRAME_CRC_OFFSET 44

static const uint8_t frame_magic[4] = {'T', 'R', 'L', 'F'};

_Static_assert(FRAME_CRC_OFFSET + sizeof(uint32_t) == FRAME_HEADER_BYTES, "the header ends with its own CRC");

static bool kind_is_known(uint8_t kind)
{
    return kind == FRAME_REQUEST || kind == FRAME_REPLY;
}

void frame_encode(const struct frame_header *header, uint8_t bytes[FRAME_HEADER_BYTES])
{
    CHECK(kind_is_known((uint8_t)header->kind));
    CHECK(header->message_bytes <= FRAME_MESSAGE_BYTES_MAX);
    CHECK(header->payload_bytes <= FRAME_PAYLOAD_BYTES_MAX);
    CHECK(header->kind == FRAME_REPLY || header->status == 0);
    CHECK(header->kind == FRAME_REQUEST || header->deadline_ms == 0);

    struct byte_writer writer = byte_writer_of(bytes, FRAME_HEADER_BYTES);
    write_bytes(&writer, frame_magic, sizeof(frame_magic));
    write_u8(&writer, FRAME_VERSION);
    write_u8(&writer, (uint8_t)header->kind);
    write_u16(&writer, header->type);
    write_u64(&writer, header->request);
    write_u32(&writer, header->status);
    write_u32(&writer, header->deadline_ms);
    write_u32(&writer, header->message_bytes);
    write_u32(&writer, header->payload_bytes);
    write_u32(&writer, header->message_crc);
    write_zeros(&writer, 8);
    write_u32(&writer, crc32c(0, bytes, FRAME_CRC_OFFSET));
    CHECK(!writer.failed && writer.left == 0);
}

/* The checks go from the outside in: a header of another version may be laid out differently, so nothing but magic and
 * version is looked at in one; lengths are believed only under a CRC that fits. */
enum status frame_decode(const uint8_t bytes[FRAME_HEADER_BYTES], struct frame_header *header)
{
    struct byte_reader reader = byte_reader_of(bytes, FRAME_HEADER_BYTES);
    const uint8_t *magic = read_span(&reader, sizeof(frame_magic));
    if (memcmp(magic, frame_magic, sizeof(frame_magic)) != 0) {
        return STATUS_CORRUPT;
    }
    if (read_u8(&reader) != FRAME_VERSION) {
        return STATUS_UNSUPPORTED;
    }
    uint8_t kind = read_u8(&reader);
    struct frame_header decoded = {0};
    decoded.type = read_u16(&reader);
    decoded.request = read_u64(&reader);
    decoded.status = read_u32(&reader);
    decoded.deadline_ms = read_u32(&reader);
    decoded.message_bytes = read_u32(&reader);
    decoded.payload_bytes = read_u32(&reader);
    decoded.message_crc = read_u32(&reader);
    uint64_t reserved = read_u64(&reader);
    if (read_u32(&reader) != crc32c(0, bytes, FRAME_CRC_OFFSET)) {
        return STATUS_CORRUPT;
    }
    if (!kind_is_known(kind) || reserved != 0) {
        return STATUS_CORRUPT;
    }
    decoded.kind = (enum frame_kind)kind;
    if ((kind == FRAME_REQUEST && decoded.status != 0) || (kind == FRAME_REPLY && decoded.deadline_ms != 0)) {
        return STATUS_CORRUPT;
    }
    if (decoded.message_bytes > FRAME_MESSAGE_BYTES_MAX || decoded.payload_bytes > FRAME_PAYLOAD_BYTES_MAX) {
        return STATUS_TOO_LARGE;
    }
    *header = decoded;
    return STATUS_OK;
}
