/* test_ids.c - ids as text and back, and the arithmetic of units. */
#include "base/ids.h"

#include <criterion/criterion.h>
#include <signal.h>

static const uint8_t sample[16] = {0x00, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd,
                                   0xef, 0xff, 0x80, 0x7f, 0x10, 0x0f, 0xf0, 0x5a};
static const char sample_hex[] = "000123456789abcdefff807f100ff05a";

Test(ids, are_printed_as_lower_case_hex)
{
    char hex[ID_HEX_BYTES];
    id_to_hex(sample, hex);
    cr_assert_str_eq(hex, sample_hex);
}

Test(ids, are_read_in_either_case)
{
    uint8_t bytes[16] = {0};
    cr_assert(id_from_hex(sample_hex, bytes));
    cr_assert_arr_eq(bytes, sample, 16);
    cr_assert(id_from_hex("000123456789ABCDEFFF807F100FF05A", bytes));
    cr_assert_arr_eq(bytes, sample, 16);
}

Test(ids, refuse_other_text_and_leave_the_target_alone)
{
    static const char *const bad[] = {"",
                                      "0",
                                      "000123456789abcdefff807f100ff05",
                                      "000123456789abcdefff807f100ff05a0",
                                      "g00123456789abcdefff807f100ff05a",
                                      "000123456789abcdefff807f100ff05 ",
                                      " 00123456789abcdefff807f100ff05a",
                                      "0x0123456789abcdefff807f100ff05a"};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        uint8_t bytes[16];
        memset(bytes, 0x77, sizeof(bytes));
        cr_assert_not(id_from_hex(bad[i], bytes), "%s", bad[i]);
        for (size_t j = 0; j < 16; j++) {
            cr_assert_eq(bytes[j], 0x77);
        }
    }
}

Test(ids, units_cover_a_chunk_exactly)
{
    static const uint32_t sizes[] = {
        1, UNIT_BYTES - 1, UNIT_BYTES, UNIT_BYTES + 1, UNIT_BYTES * 2, CHUNK_BYTES_MAX - 1, CHUNK_BYTES_MAX};
    cr_assert_eq(chunk_unit_count(0), 0);
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        uint32_t sum = 0;
        for (uint32_t unit = 0; unit < chunk_unit_count(sizes[i]); unit++) {
            uint32_t bytes = chunk_unit_bytes(sizes[i], unit);
            cr_assert(bytes >= 1 && bytes <= UNIT_BYTES);
            sum += bytes;
        }
        cr_assert_eq(sum, sizes[i]);
    }
    cr_assert_eq(chunk_unit_count(CHUNK_BYTES_MAX), CHUNK_UNITS_MAX);
}

Test(ids, a_unit_outside_of_the_chunk_is_a_bug, .signal = SIGABRT)
{
    (void)chunk_unit_bytes(UNIT_BYTES, 1);
}
