/* test_shamir.c - any t shares give the secret back, t-1 fit every secret equally well, and the field is that of AES. */
#include "meta/vault/shamir.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <sodium.h>
#include <stdbool.h>

#define SERVERS_MAX 7

static struct key secret;
static struct key coefficients[SHAMIR_SHARES_MAX];
static struct shamir_share shares[SHAMIR_SHARES_MAX];

static void setup(void)
{
    cr_assert_geq(sodium_init(), 0);
    static const uint8_t seeds[2][randombytes_SEEDBYTES] = {{5}, {6}};
    randombytes_buf_deterministic(secret.bytes, KEY_BYTES, seeds[0]);
    randombytes_buf_deterministic(coefficients, sizeof(coefficients), seeds[1]);
}

TestSuite(shamir, .init = setup);

/* The product in the field as FIPS 197, 4.2 describes it by hand: long multiplication, then long division by 0x11b. */
static uint8_t product(unsigned a, unsigned b)
{
    unsigned wide = 0;
    for (unsigned i = 0; i < 8; i++) {
        if (b >> i & 1) {
            wide ^= a << i;
        }
    }
    for (unsigned i = 14; i >= 8; i--) {
        if (wide >> i & 1) {
            wide ^= 0x11bu << (i - 8);
        }
    }
    return (uint8_t)wide;
}

/* ---- splitting and combining ------------------------------------------------------------------- */

/* The shares in the bits of `who`, in ascending or descending order. */
static uint32_t choose(uint32_t who, uint32_t count, bool is_descending, struct shamir_share *chosen)
{
    uint32_t chosen_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = is_descending ? count - 1 - i : i;
        if (who >> at & 1) {
            chosen[chosen_count++] = shares[at];
        }
    }
    return chosen_count;
}

Test(shamir, any_t_shares_in_any_order_give_the_secret_and_fewer_do_not)
{
    for (uint32_t count = 1; count <= SERVERS_MAX; count++) {
        for (uint32_t threshold = 1; threshold <= count; threshold++) {
            shamir_split(&secret, count, threshold, coefficients, shares);
            for (uint32_t who = 1; who < 1u << count; who++) {
                struct shamir_share chosen[SERVERS_MAX];
                struct key result;
                uint32_t chosen_count = choose(who, count, who % 2 == 1, chosen);
                cr_assert_eq(shamir_combine(chosen, chosen_count, &result), STATUS_OK);
                bool is_secret = memcmp(result.bytes, secret.bytes, KEY_BYTES) == 0;
                cr_assert_eq(is_secret, chosen_count >= threshold, "%u of %u, shares %x", threshold, count, who);
            }
        }
    }
}

Test(shamir, shares_are_numbered_from_1)
{
    shamir_split(&secret, SHAMIR_SHARES_MAX, 9, coefficients, shares);
    for (uint32_t i = 0; i < SHAMIR_SHARES_MAX; i++) {
        cr_assert_eq(shares[i].index, i + 1);
    }
    struct key result;
    cr_assert_eq(shamir_combine(shares + 7, 9, &result), STATUS_OK);
    cr_assert_arr_eq(result.bytes, secret.bytes, KEY_BYTES);
}

Test(shamir, with_a_threshold_of_one_every_share_is_the_secret)
{
    shamir_split(&secret, 3, 1, NULL, shares);
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert_arr_eq(shares[i].value.bytes, secret.bytes, KEY_BYTES);
    }
}

Test(shamir, a_changed_share_gives_another_secret)
{
    shamir_split(&secret, 5, 3, coefficients, shares);
    for (size_t at = 0; at < KEY_BYTES; at++) {
        struct key result;
        shares[1].value.bytes[at] ^= 0x20;
        cr_assert_eq(shamir_combine(shares, 3, &result), STATUS_OK);
        for (size_t i = 0; i < KEY_BYTES; i++) {
            cr_assert_eq(result.bytes[i] != secret.bytes[i], i == at);
        }
        shares[1].value.bytes[at] ^= 0x20;
    }
}

Test(shamir, an_index_that_is_zero_or_comes_twice_is_refused)
{
    struct key result = {{1, 2, 3}};
    struct key before = result;
    shamir_split(&secret, 4, 3, coefficients, shares);
    shares[2].index = 0;
    cr_assert_eq(shamir_combine(shares, 3, &result), STATUS_INVALID);
    shares[2].index = 1;
    cr_assert_eq(shamir_combine(shares, 3, &result), STATUS_INVALID);
    shares[2].index = 2;
    cr_assert_eq(shamir_combine(shares, 3, &result), STATUS_INVALID);
    cr_assert_arr_eq(result.bytes, before.bytes, KEY_BYTES, "written only on success");
    shares[2].index = 3;
    cr_assert_eq(shamir_combine(shares, 3, &result), STATUS_OK);
    cr_assert_arr_eq(result.bytes, secret.bytes, KEY_BYTES);
}

Test(shamir, a_threshold_over_the_count_is_a_bug, .signal = SIGABRT)
{
    shamir_split(&secret, 2, 3, coefficients, shares);
}

/* ---- what t-1 shares say ----------------------------------------------------------------------- */

/* One byte, t = 3: over all 2^16 polynomials of one secret, the values of two shares are every pair of bytes exactly once.
 * So every secret explains any two shares with exactly one polynomial, and two shares say nothing. Every byte of a key is
 * shared by itself: 32 polynomials are tried at a time. */
static void expect_two_shares_are_uniform(uint8_t secret_byte, uint32_t first, uint32_t second)
{
    static uint8_t seen[256 * 256];
    memset(seen, 0, sizeof(seen));
    memset(secret.bytes, secret_byte, KEY_BYTES);
    for (uint32_t linear = 0; linear < 256; linear++) {
        memset(coefficients[0].bytes, (int)linear, KEY_BYTES);
        for (uint32_t square = 0; square < 256; square += KEY_BYTES) {
            for (uint32_t at = 0; at < KEY_BYTES; at++) {
                coefficients[1].bytes[at] = (uint8_t)(square + at);
            }
            shamir_split(&secret, 3, 3, coefficients, shares);
            for (uint32_t at = 0; at < KEY_BYTES; at++) {
                uint8_t *pair = &seen[shares[first].value.bytes[at] * 256 + shares[second].value.bytes[at]];
                cr_assert_eq(*pair, 0);
                *pair = 1;
            }
        }
    }
}

Test(shamir, two_shares_of_three_fit_every_secret_alike)
{
    expect_two_shares_are_uniform(0x00, 0, 1);
    expect_two_shares_are_uniform(0x01, 0, 2);
    expect_two_shares_are_uniform(0xa7, 1, 2);
    expect_two_shares_are_uniform(0xff, 0, 1);
}

/* t = 2, every secret byte: exactly one polynomial for each value of the one share. */
Test(shamir, one_share_of_two_fits_every_secret)
{
    for (uint32_t candidate = 0; candidate < 256; candidate++) {
        uint8_t seen[2][256] = {{0}};
        memset(secret.bytes, (int)candidate, KEY_BYTES);
        for (uint32_t slope = 0; slope < 256; slope += KEY_BYTES) {
            for (uint32_t at = 0; at < KEY_BYTES; at++) {
                coefficients[0].bytes[at] = (uint8_t)(slope + at);
            }
            shamir_split(&secret, 2, 2, coefficients, shares);
            for (uint32_t at = 0; at < KEY_BYTES; at++) {
                cr_assert_eq(seen[0][shares[0].value.bytes[at]]++, 0);
                cr_assert_eq(seen[1][shares[1].value.bytes[at]]++, 0);
            }
        }
    }
}

/* ---- published numbers ------------------------------------------------------------------------- */

/* draft-mcgrew-tss-03, section 9: the same field and x coordinates, 2 of 2, a secret of five bytes. Its polynomial follows
 * from secret and share 1. */
Test(shamir, the_published_test_case_is_met)
{
    static const struct key published = {{0x74, 0x65, 0x73, 0x74, 0x00}};
    static const struct shamir_share expected[2] = {{1, {{0xb9, 0xfa, 0x07, 0xe1, 0x85}}},
                                                    {2, {{0xf5, 0x40, 0x9b, 0x45, 0x11}}}};
    struct key result;
    cr_assert_eq(shamir_combine(expected, 2, &result), STATUS_OK);
    cr_assert_arr_eq(result.bytes, published.bytes, KEY_BYTES);
    for (size_t i = 0; i < KEY_BYTES; i++) {
        coefficients[0].bytes[i] = published.bytes[i] ^ expected[0].value.bytes[i];
    }
    shamir_split(&published, 2, 2, coefficients, shares);
    cr_assert_arr_eq(shares[0].value.bytes, expected[0].value.bytes, KEY_BYTES);
    cr_assert_arr_eq(shares[1].value.bytes, expected[1].value.bytes, KEY_BYTES);
}

/* a times b through the interface: in the value at 0, share (b + 1, a) counts b / (b - (b + 1)) = b times, plus and minus
 * being xor, and share (b, 0) not at all. */
static uint8_t product_by_combining(uint8_t a, uint8_t b)
{
    struct shamir_share line[2] = {{.index = (uint8_t)(b ^ 1), .value = {{a}}}, {.index = b}};
    struct key result;
    cr_assert_eq(shamir_combine(line, 2, &result), STATUS_OK);
    return result.bytes[0];
}

Test(shamir, the_field_is_that_of_aes)
{
    cr_assert_eq(product(0x57, 0x83), 0xc1); /* FIPS 197, 4.2 */
    cr_assert_eq(product(0x57, 0x13), 0xfe); /* FIPS 197, 4.2.1 */
    for (uint32_t a = 0; a < 256; a++) {
        for (uint32_t b = 2; b < 256; b++) { /* 0 and 1 would need a share at x = 0. */
            cr_assert_eq(product_by_combining((uint8_t)a, (uint8_t)b), product(a, b));
        }
    }
}
