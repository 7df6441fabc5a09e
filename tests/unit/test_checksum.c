/* test_checksum.c - the published check values, and that pieces chain at every cut. */
#include "base/checksum.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

Test(checksum, check_values_of_the_catalogue)
{
    cr_assert_eq(crc32c(0, "123456789", 9), 0xe3069283u);
    cr_assert_eq(crc32(0, "123456789", 9), 0xcbf43926u);
}

Test(checksum, vectors_of_rfc_3720)
{
    uint8_t data[32];
    memset(data, 0, sizeof(data));
    cr_assert_eq(crc32c(0, data, 32), 0x8a9136aau);
    memset(data, 0xff, sizeof(data));
    cr_assert_eq(crc32c(0, data, 32), 0x62a8ab43u);
    for (uint8_t i = 0; i < 32; i++) {
        data[i] = i;
    }
    cr_assert_eq(crc32c(0, data, 32), 0x46dd794eu);
}

Test(checksum, nothing_changes_nothing)
{
    cr_assert_eq(crc32c(0, NULL, 0), 0);
    cr_assert_eq(crc32c(0x12345678, "", 0), 0x12345678u);
    cr_assert_eq(crc32(0, NULL, 0), 0);
    cr_assert_eq(crc32(0x12345678, "", 0), 0x12345678u);
}

/* One bit at a time, as the definition says. */
static uint32_t slow_crc(uint32_t polynomial_reversed, const uint8_t *data, size_t bytes)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? polynomial_reversed : 0);
        }
    }
    return ~crc;
}

Test(checksum, agrees_with_the_definition_and_chains_at_every_cut)
{
    uint8_t data[700];
    srand(1);
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)rand();
    }
    for (size_t bytes = 0; bytes <= sizeof(data); bytes += 7) {
        cr_assert_eq(crc32c(0, data, bytes), slow_crc(0x82f63b78, data, bytes));
        cr_assert_eq(crc32(0, data, bytes), slow_crc(0xedb88320, data, bytes));
    }
    uint32_t whole_c = crc32c(0, data, sizeof(data));
    uint32_t whole = crc32(0, data, sizeof(data));
    for (size_t cut = 0; cut <= sizeof(data); cut++) {
        cr_assert_eq(crc32c(crc32c(0, data, cut), data + cut, sizeof(data) - cut), whole_c);
        cr_assert_eq(crc32(crc32(0, data, cut), data + cut, sizeof(data) - cut), whole);
    }
}
