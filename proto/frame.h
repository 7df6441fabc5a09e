/* frame.h - one message on the wire: a fixed header, a protobuf message, raw payload.
 *
 *   offset  bytes                                             all integers little-endian
 *        0      4  magic "TRLF"
 *        4      1  version         1
 *        5      1  kind            enum frame_kind
 *        6      2  type            enum MessageType (wire.proto)
 *        8      8  request         number chosen by the requester, unique per connection
 *       16      4  status          replies: enum status; requests: 0
 *       20      4  deadline        requests: milliseconds the requester will wait; replies: 0
 *       24      4  message bytes   0..FRAME_MESSAGE_BYTES_MAX
 *       28      4  payload bytes   0..FRAME_PAYLOAD_BYTES_MAX
 *       32      4  message crc     crc32c of the message bytes
 *       36      4  reserved, zero
 *       40      4  reserved, zero
 *       44      4  header crc      crc32c of bytes 0..43
 *       48         message, then payload
 *
 * Payload carries its own checksums (a CRC per unit in the message), so it is not summed again here. Limits are
 * checked before anything behind the header is read. A frame that does not decode ends the connection: the
 * stream can't be trusted any more. Pure. */
#ifndef TRILITH_PROTO_FRAME_H
#define TRILITH_PROTO_FRAME_H

#include "base/ids.h"
#include "base/status.h"

#define FRAME_HEADER_BYTES      48
#define FRAME_VERSION           1
#define FRAME_MESSAGE_BYTES_MAX (2u * 1024 * 1024)
#define FRAME_PAYLOAD_BYTES_MAX CHUNK_BYTES_MAX

enum frame_kind { FRAME_REQUEST = 1, FRAME_REPLY = 2 };

struct frame_header {
    enum frame_kind kind;
    uint16_t type;
    uint64_t request;
    uint32_t status;
    uint32_t deadline_ms;
    uint32_t message_bytes;
    uint32_t payload_bytes;
    uint32_t message_crc;
};

void frame_encode(const struct frame_header *header, uint8_t bytes[FRAME_HEADER_BYTES]);
/* STATUS_OK; STATUS_UNSUPPORTED: another version; STATUS_TOO_LARGE: a length over its limit; STATUS_CORRUPT: else. */
MUST_USE enum status frame_decode(const uint8_t bytes[FRAME_HEADER_BYTES], struct frame_header *header);

#endif
