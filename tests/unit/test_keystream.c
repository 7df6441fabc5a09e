/* test_keystream.c - the stream is ChaCha20 as published, from any place; the hash is BLAKE2b-256 as published. */
#include "base/digest.h"
#include "base/keystream.h"

#include <criterion/criterion.h>
#include <string.h>

/* RFC 8439, appendix A.1, test vectors 1 and 2: key and nonce zero, block counters 0 and 1. */
Test(keystream, is_chacha20)
{
    static const uint8_t seed[KEYSTREAM_SEED_BYTES];
    uint8_t expected[128];
    uint8_t stream[128];
    cr_assert(hex_decode("76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
                         "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
                         "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
                         "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f",
                         256, expected, sizeof(expected)));
    memset(stream, 0, sizeof(stream));
    keystream_xor(seed, 0, stream, sizeof(stream));
    cr_assert_eq(memcmp(stream, expected, sizeof(stream)), 0);
}

Test(keystream, can_be_made_again_from_any_block)
{
    uint8_t seed[KEYSTREAM_SEED_BYTES];
    uint8_t whole[4096];
    uint8_t piece[4096];
    memset(seed, 7, sizeof(seed));
    memset(whole, 0, sizeof(whole));
    keystream_xor(seed, 0, whole, sizeof(whole));
    for (size_t offset = 0; offset < sizeof(whole); offset += KEYSTREAM_BLOCK_BYTES) {
        memset(piece, 0, sizeof(piece));
        keystream_xor(seed, offset, piece, sizeof(whole) - offset);
        cr_assert_eq(memcmp(piece, whole + offset, sizeof(whole) - offset), 0);
    }
}

/* BLAKE2b-256 of "abc": the value that RFC 7693's reference code gives for an output of 32 bytes. */
Test(content_hash, is_blake2b_256_in_pieces)
{
    uint8_t expected[CONTENT_HASH_BYTES];
    uint8_t result[CONTENT_HASH_BYTES];
    struct content_hash hash;
    cr_assert(
        hex_decode("bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319", 64, expected, sizeof(expected)));
    content_hash_begin(&hash);
    content_hash_update(&hash, "a", 1);
    content_hash_update(&hash, "bc", 2);
    content_hash_end(&hash, result);
    cr_assert_eq(memcmp(result, expected, sizeof(result)), 0);
}
