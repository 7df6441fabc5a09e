/* test_bytes.c - bounded readers and writers: byte order, the exact end, and failures that stick. */
#include "base/bytes.h"

#include <criterion/criterion.h>
#include <string.h>

Test(bytes, all_widths_come_back_and_have_the_promised_order)
{
    uint8_t buffer[64];
    struct byte_writer writer = byte_writer_of(buffer, sizeof(buffer));
    write_u8(&writer, 0x01);
    write_u16(&writer, 0x0203);
    write_u32(&writer, 0x04050607);
    write_u64(&writer, UINT64_C(0x08090a0b0c0d0e0f));
    write_u32_be(&writer, 0x10111213);
    write_u64_be(&writer, UINT64_C(0x1415161718191a1b));
    write_bytes(&writer, "xyz", 3);
    write_zeros(&writer, 2);
    cr_assert_not(writer.failed);
    cr_assert_eq(writer.written, 32);
    static const uint8_t expected[32] = {0x01, 0x03, 0x02, 0x07, 0x06, 0x05, 0x04, 0x0f, 0x0e, 0x0d, 0x0c,
                                         0x0b, 0x0a, 0x09, 0x08, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16,
                                         0x17, 0x18, 0x19, 0x1a, 0x1b, 'x',  'y',  'z',  0,    0};
    cr_assert_arr_eq(buffer, expected, 32);

    struct byte_reader reader = byte_reader_of(buffer, 32);
    cr_assert_eq(read_u8(&reader), 0x01);
    cr_assert_eq(read_u16(&reader), 0x0203);
    cr_assert_eq(read_u32(&reader), 0x04050607);
    cr_assert_eq(read_u64(&reader), UINT64_C(0x08090a0b0c0d0e0f));
    cr_assert_eq(read_u32_be(&reader), 0x10111213);
    cr_assert_eq(read_u64_be(&reader), UINT64_C(0x1415161718191a1b));
    char text[3];
    read_bytes(&reader, text, 3);
    cr_assert_arr_eq(text, "xyz", 3);
    cr_assert_eq(reader.left, 2);
    read_skip(&reader, 2);
    cr_assert_eq(reader.left, 0);
    cr_assert_not(reader.failed);
}

Test(bytes, a_read_past_the_end_fails_for_good_and_gives_zeros)
{
    static const uint8_t three[3] = {1, 2, 3};
    struct byte_reader reader = byte_reader_of(three, 3);
    cr_assert_eq(read_u32(&reader), 0);
    cr_assert(reader.failed);
    cr_assert_eq(read_u8(&reader), 0, "what is left is not given out after a failure");
    uint8_t target[2] = {9, 9};
    read_bytes(&reader, target, 2);
    cr_assert_eq(target[0] | target[1], 0);
    cr_assert_null(read_span(&reader, 1));
}

Test(bytes, the_exact_end_is_inside)
{
    static const uint8_t four[4] = {1, 2, 3, 4};
    struct byte_reader reader = byte_reader_of(four, 4);
    cr_assert_eq(read_span(&reader, 4), four);
    cr_assert_not(reader.failed);
    read_bytes(&reader, NULL, 0);
    cr_assert_not(reader.failed);
    cr_assert_eq(read_u8(&reader), 0);
    cr_assert(reader.failed);
}

Test(bytes, lengths_near_the_top_of_size_t_do_not_wrap)
{
    static const uint8_t one[1] = {1};
    struct byte_reader reader = byte_reader_of(one, 1);
    cr_assert_null(read_span(&reader, SIZE_MAX));
    uint8_t target[1] = {5};
    struct byte_writer writer = byte_writer_of(target, 1);
    write_zeros(&writer, SIZE_MAX);
    cr_assert(writer.failed);
    cr_assert_eq(target[0], 5);
}

Test(bytes, a_write_past_the_end_fails_for_good_and_writes_nothing)
{
    uint8_t buffer[5];
    memset(buffer, 0xee, sizeof(buffer));
    struct byte_writer writer = byte_writer_of(buffer, 4);
    write_u16(&writer, 0x0102);
    write_u32(&writer, 7);
    cr_assert(writer.failed);
    write_u8(&writer, 7);
    cr_assert_eq(writer.written, 2);
    static const uint8_t expected[5] = {0x02, 0x01, 0xee, 0xee, 0xee};
    cr_assert_arr_eq(buffer, expected, 5);
}

Test(bytes, empty_buffers_may_be_null)
{
    struct byte_reader reader = byte_reader_of(NULL, 0);
    read_skip(&reader, 0);
    cr_assert_not(reader.failed);
    struct byte_writer writer = byte_writer_of(NULL, 0);
    write_bytes(&writer, NULL, 0);
    cr_assert_not(writer.failed);
    write_u8(&writer, 1);
    cr_assert(writer.failed);
}
