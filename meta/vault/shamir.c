/* shamir.c - splitting and interpolation over GF(2^8). What is secret goes through gf_multiply() only; the x coordinates
 * are public, and so is everything that is worked out from them alone. */
#include "meta/vault/shamir.h"

#include <stdbool.h>

/* The product modulo x^8+x^4+x^3+x+1. Eight steps whatever the values: masks in the place of branches. */
static uint8_t gf_multiply(uint8_t a, uint8_t b)
{
    unsigned left = a;
    unsigned right = b;
    unsigned product = 0;
    for (unsigned bit = 0; bit < 8; bit++) {
        product ^= left & (0u - (right & 1u));
        left = (left << 1) ^ (0x11bu & (0u - (left >> 7)));
        right >>= 1;
    }
    return (uint8_t)product;
}

/* a^254, which is 1/a as a^255 is 1; 0 has no inverse. 254 = 2 + 4 + ... + 128. */
static uint8_t gf_inverse(uint8_t a)
{
    CHECK(a != 0);
    uint8_t square = a;
    uint8_t inverse = 1;
    for (unsigned i = 1; i < 8; i++) {
        square = gf_multiply(square, square);
        inverse = gf_multiply(inverse, square);
    }
    return inverse;
}

/* The polynomial secret + random[0] x + random[1] x^2 + ... at x, by Horner's rule. */
static void evaluate(const struct key *secret, uint32_t threshold, const struct key *random, uint8_t x,
                     struct key *value)
{
    for (size_t at = 0; at < KEY_BYTES; at++) {
        uint8_t sum = 0;
        for (uint32_t i = threshold - 1; i > 0; i--) {
            sum = gf_multiply((uint8_t)(sum ^ random[i - 1].bytes[at]), x);
        }
        value->bytes[at] = (uint8_t)(sum ^ secret->bytes[at]);
    }
}

void shamir_split(const struct key *secret, uint32_t count, uint32_t threshold, const struct key *random,
                  struct shamir_share *shares)
{
    CHECK(threshold >= 1);
    CHECK(threshold <= count);
    CHECK(count <= SHAMIR_SHARES_MAX);
    CHECK(threshold == 1 || random != NULL);
    for (uint32_t i = 0; i < count; i++) {
        shares[i].index = (uint8_t)(i + 1);
        evaluate(secret, threshold, random, shares[i].index, &shares[i].value);
    }
}

/* Different from each other, and none is 0, where the secret itself lies. */
static bool indexes_are_valid(const struct shamir_share *shares, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (shares[i].index == 0) {
            return false;
        }
        for (uint32_t j = 0; j < i; j++) {
            if (shares[j].index == shares[i].index) {
                return false;
            }
        }
    }
    return true;
}

/* What share `which` counts for in the value at 0: the product of x / (x - x_which) over all others. Minus is xor. */
static uint8_t lagrange_weight(const struct shamir_share *shares, uint32_t count, uint32_t which)
{
    uint8_t weight = 1;
    for (uint32_t i = 0; i < count; i++) {
        if (i != which) {
            uint8_t difference = (uint8_t)(shares[i].index ^ shares[which].index);
            weight = gf_multiply(weight, gf_multiply(shares[i].index, gf_inverse(difference)));
        }
    }
    return weight;
}

enum status shamir_combine(const struct shamir_share *shares, uint32_t count, struct key *secret)
{
    CHECK(count >= 1);
    CHECK(count <= SHAMIR_SHARES_MAX);
    if (!indexes_are_valid(shares, count)) {
        return STATUS_INVALID;
    }
    *secret = (struct key){{0}};
    for (uint32_t i = 0; i < count; i++) {
        uint8_t weight = lagrange_weight(shares, count, i);
        for (size_t at = 0; at < KEY_BYTES; at++) {
            secret->bytes[at] ^= gf_multiply(shares[i].value.bytes[at], weight);
        }
    }
    return STATUS_OK;
}
