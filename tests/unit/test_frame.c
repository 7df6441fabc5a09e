/* test_frame.c - frame headers: what is encoded comes back, and nothing that was changed does. */
#include "proto/frame.h"

#include "base/checksum.h"

#include <criterion/criterion.h>

#define CRC_OFFSET 44

static const struct frame_header request = {
    .kind = FRAME_REQUEST,
    .type = 0x1234,
    .request = UINT64_C(0x1122334455667788),
    .deadline_ms = 5000,
    .message_bytes = 77,
    .payload_bytes = FRAME_PAYLOAD_BYTES_MAX,
    .message_crc = 0xcafebabe,
};

static void put_u32(uint8_t *bytes, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
}

/* Make the header's CRC fit whatever else was changed. */
static void reseal(uint8_t bytes[FRAME_HEADER_BYTES])
{
    put_u32(bytes + CRC_OFFSET, crc32c(0, bytes, CRC_OFFSET));
}

static enum status decode_resealed(uint8_t bytes[FRAME_HEADER_BYTES])
{
    struct frame_header decoded;
    reseal(bytes);
    return frame_decode(bytes, &decoded);
}

Test(frame, gives_back_a_request)
{
    uint8_t bytes[FRAME_HEADER_BYTES];
    struct frame_header decoded;
    frame_encode(&request, bytes);
    cr_assert_eq(frame_decode(bytes, &decoded), STATUS_OK);
    cr_assert_eq(decoded.kind, FRAME_REQUEST);
    cr_assert_eq(decoded.type, 0x1234);
    cr_assert_eq(decoded.request, UINT64_C(0x1122334455667788));
    cr_assert_eq(decoded.status, 0);
    cr_assert_eq(decoded.deadline_ms, 5000);
    cr_assert_eq(decoded.message_bytes, 77);
    cr_assert_eq(decoded.payload_bytes, FRAME_PAYLOAD_BYTES_MAX);
    cr_assert_eq(decoded.message_crc, 0xcafebabe);
}

Test(frame, gives_back_a_reply)
{
    uint8_t bytes[FRAME_HEADER_BYTES];
    struct frame_header decoded;
    struct frame_header reply = {.kind = FRAME_REPLY, .status = STATUS_FULL, .message_bytes = FRAME_MESSAGE_BYTES_MAX};
    frame_encode(&reply, bytes);
    cr_assert_eq(frame_decode(bytes, &decoded), STATUS_OK);
    cr_assert_eq(decoded.kind, FRAME_REPLY);
    cr_assert_eq(decoded.status, STATUS_FULL);
    cr_assert_eq(decoded.message_bytes, FRAME_MESSAGE_BYTES_MAX);
}

Test(frame, stands_on_the_wire_as_documented)
{
    uint8_t bytes[FRAME_HEADER_BYTES];
    const uint8_t expected[CRC_OFFSET] = {
        'T',  'R',  'L',  'F',  1,    1,    0x34, 0x12,             /* magic, version, kind, type */
        0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,             /* request */
        0,    0,    0,    0,    0x88, 0x13, 0,    0,                /* status, deadline */
        77,   0,    0,    0,    0,    0,    0x40, 0,                /* lengths */
        0xbe, 0xba, 0xfe, 0xca, 0,    0,    0,    0,    0, 0, 0, 0, /* message crc, reserved */
    };
    frame_encode(&request, bytes);
    cr_assert_arr_eq(bytes, expected, sizeof(expected));
}

Test(frame, refuses_a_change_of_any_bit)
{
    uint8_t bytes[FRAME_HEADER_BYTES];
    struct frame_header decoded;
    frame_encode(&request, bytes);
    for (size_t bit = 0; bit < 8 * sizeof(bytes); bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        bool is_version = bit / 8 == 4;
        cr_assert_eq(frame_decode(bytes, &decoded), is_version ? STATUS_UNSUPPORTED : STATUS_CORRUPT, "bit %zu", bit);
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
}

Test(frame, refuses_another_version_even_with_a_fitting_crc)
{
    uint8_t bytes[FRAME_HEADER_BYTES];
    frame_encode(&request, bytes);
    bytes[4] = FRAME_VERSION + 1;
    cr_assert_eq(decode_resealed(bytes), STATUS_UNSUPPORTED);
}

Test(frame, refuses_unknown_kinds_and_used_reserved_bytes)
{
    uint8_t bytes[FRAME_HEADER_BYTES];
    for (unsigned kind = 0; kind < 256; kind++) {
        frame_encode(&request, bytes);
        put_u32(bytes + 20, 0); /* no deadline, so that it could be a reply too */
        bytes[5] = (uint8_t)kind;
        bool known = kind == FRAME_REQUEST || kind == FRAME_REPLY;
        cr_assert_eq(decode_resealed(bytes), known ? STATUS_OK : STATUS_CORRUPT);
    }
    for (size_t offset = 36; offset < CRC_OFFSET; offset++) {
        frame_encode(&request, bytes);
        bytes[offset] = 1;
        cr_assert_eq(decode_resealed(bytes), STATUS_CORRUPT);
    }
}

Test(frame, refuses_a_request_with_a_status_and_a_reply_with_a_deadline)
{
    uint8_t bytes[FRAME_HEADER_BYTES];
    frame_encode(&request, bytes);
    put_u32(bytes + 16, STATUS_IO);
    cr_assert_eq(decode_resealed(bytes), STATUS_CORRUPT);

    struct frame_header reply = {.kind = FRAME_REPLY};
    frame_encode(&reply, bytes);
    put_u32(bytes + 20, 1);
    cr_assert_eq(decode_resealed(bytes), STATUS_CORRUPT);
}

Test(frame, refuses_lengths_one_above_their_limits)
{
    uint8_t bytes[FRAME_HEADER_BYTES];
    frame_encode(&request, bytes);
    put_u32(bytes + 24, FRAME_MESSAGE_BYTES_MAX);
    cr_assert_eq(decode_resealed(bytes), STATUS_OK);
    put_u32(bytes + 24, FRAME_MESSAGE_BYTES_MAX + 1);
    cr_assert_eq(decode_resealed(bytes), STATUS_TOO_LARGE);
    put_u32(bytes + 24, 0);
    put_u32(bytes + 28, FRAME_PAYLOAD_BYTES_MAX + 1);
    cr_assert_eq(decode_resealed(bytes), STATUS_TOO_LARGE);
    put_u32(bytes + 28, UINT32_MAX);
    cr_assert_eq(decode_resealed(bytes), STATUS_TOO_LARGE);
}

Test(frame, leaves_the_result_alone_when_it_refuses)
{
    uint8_t bytes[FRAME_HEADER_BYTES] = {0};
    struct frame_header decoded = {.type = 7, .request = 9};
    cr_assert_neq(frame_decode(bytes, &decoded), STATUS_OK);
    cr_assert_eq(decoded.type, 7);
    cr_assert_eq(decoded.request, 9);
}
