/* fuzz_frame.c - frame headers from arbitrary bytes, as they are and with a CRC that fits. What decodes keeps every
 * limit and encodes to the same bytes. */
#include "proto/frame.h"

#include "base/checksum.h"

#include <string.h>

#define CRC_OFFSET 44

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_decode(const uint8_t bytes[FRAME_HEADER_BYTES])
{
    struct frame_header header;
    if (frame_decode(bytes, &header) != STATUS_OK) {
        return;
    }
    CHECK(header.kind == FRAME_REQUEST || header.kind == FRAME_REPLY);
    CHECK(header.message_bytes <= FRAME_MESSAGE_BYTES_MAX);
    CHECK(header.payload_bytes <= FRAME_PAYLOAD_BYTES_MAX);
    uint8_t again[FRAME_HEADER_BYTES];
    frame_encode(&header, again);
    CHECK(memcmp(bytes, again, sizeof(again)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint8_t header[FRAME_HEADER_BYTES] = {0};
    memcpy(header, data, bytes < sizeof(header) ? bytes : sizeof(header));
    check_decode(header);
    uint32_t crc = crc32c(0, header, CRC_OFFSET);
    for (unsigned i = 0; i < 4; i++) {
        header[CRC_OFFSET + i] = (uint8_t)(crc >> (8 * i));
    }
    check_decode(header);
    return 0;
}
