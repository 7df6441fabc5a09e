/* test_aead.c - every cipher of every library is the standard's, refuses what was changed, and forgets its key. */
#include "base/aead.h"

#include <criterion/criterion.h>
#include <sodium.h>
#include <string.h>

TestSuite(aead);

/* A published vector; all in hex. */
struct aead_case {
    const char *key;
    const char *nonce;
    const char *associated;
    const char *plain;
    const char *cipher;
    const char *tag;
};

/* McGrew and Viega, "The Galois/Counter Mode of Operation", test cases 14 to 16; then NIST CAVP, gcmEncryptExtIV256, with
 * 128 bits of plaintext, associated data and tag. */
static const struct aead_case aes_256_gcm_cases[] = {
    {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "",
     "00000000000000000000000000000000", "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919"},
    {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888", "",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
     "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
     "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad",
     "b094dac5d93471bdec1a502270e3cc6c"},
    {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
     "feedfacedeadbeeffeedfacedeadbeefabaddad2",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
     "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
     "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
     "76fc6ece0f4e1768cddf8853bb2d551b"},
    {"92e11dcdaa866f5ce790fd24501f92509aacf4cb8b1339d50c9c1240935dd08b", "ac93a1a6145299bde902f21a",
     "1e0889016f67601c8ebea4943bc23ad6", "2d71bcfa914e4ac045b2aa60955fad24", "8995ae2e6df3dbf96fac7b7137bae67f",
     "eca5aa77d51d4a0a14d9c51e1da474ab"},
};

static size_t from_hex(const char *hex, uint8_t *bytes, size_t bytes_max)
{
    size_t size;
    cr_assert_eq(sodium_hex2bin(bytes, bytes_max, hex, strlen(hex), NULL, &size, NULL), 0);
    return size;
}

/* There, back, and refused with any byte of the tag or the associated data changed. Takes the aead. */
static void expect_case(struct aead *aead, const struct aead_case *vector)
{
    uint8_t vector_key[AEAD_KEY_BYTES] = {0};
    uint8_t associated[32];
    uint8_t plaintext[64];
    uint8_t cipher[64];
    uint8_t data[64];
    uint8_t tag[AEAD_TAG_BYTES];
    uint8_t expected_tag[AEAD_TAG_BYTES];
    cr_assert_not_null(aead);
    size_t bytes = from_hex(vector->plain, plaintext, sizeof(plaintext));
    struct aead_message message = {.associated = associated,
                                   .associated_bytes = from_hex(vector->associated, associated, sizeof(associated)),
                                   .data = data,
                                   .data_bytes = bytes - AEAD_TRAILER_BYTES,
                                   .trailer = data + bytes - AEAD_TRAILER_BYTES,
                                   .tag = tag};
    from_hex(vector->key, vector_key, sizeof(vector_key));
    from_hex(vector->nonce, message.nonce, sizeof(message.nonce));
    from_hex(vector->cipher, cipher, sizeof(cipher));
    from_hex(vector->tag, expected_tag, sizeof(expected_tag));

    memcpy(data, plaintext, bytes);
    aead->ops->set_key(aead, vector_key);
    aead->ops->seal(aead, &message);
    cr_assert_arr_eq(data, cipher, bytes);
    cr_assert_arr_eq(tag, expected_tag, sizeof(tag));
    cr_assert(aead->ops->open(aead, &message));
    cr_assert_arr_eq(data, plaintext, bytes);
    for (size_t i = 0; i < sizeof(tag) + message.associated_bytes; i++) {
        uint8_t *byte = i < sizeof(tag) ? &tag[i] : &associated[i - sizeof(tag)];
        *byte ^= 0x80;
        memcpy(data, cipher, bytes);
        cr_assert_not(aead->ops->open(aead, &message));
        *byte ^= 0x80;
    }
    aead->ops->close(aead);
}

Test(aead, libgcrypt_passes_the_published_vectors)
{
    for (size_t i = 0; i < ARRAY_LENGTH(aes_256_gcm_cases); i++) {
        expect_case(aead_gcrypt_open(), &aes_256_gcm_cases[i]);
    }
}

Test(aead, libsodium_passes_the_published_vectors)
{
    for (size_t i = 0; i < ARRAY_LENGTH(aes_256_gcm_cases); i++) {
        expect_case(aead_sodium_open(), &aes_256_gcm_cases[i]);
    }
}

#ifdef TRILITH_SM4
/* RFC 8998, appendix A.1. No other library that we link has SM4-GCM, and neither has the openssl command: the second
 * implementation is tests/vectors/check.py. */
Test(aead, sm4_passes_the_published_vector)
{
    static const struct aead_case rfc_8998 = {"0123456789abcdeffedcba9876543210",
                                              "00001234567800000000abcd",
                                              "feedfacedeadbeeffeedfacedeadbeefabaddad2",
                                              "aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccdddddddddddddddd"
                                              "eeeeeeeeeeeeeeeeffffffffffffffffeeeeeeeeeeeeeeeeaaaaaaaaaaaaaaaa",
                                              "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735"
                                              "d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d",
                                              "83de3541e4c2b58177e065a9bf7b62ec"};
    expect_case(aead_gcrypt_sm4_open(), &rfc_8998);
}
#endif

/* Takes the aead. */
static void expect_forgets(struct aead *aead)
{
    uint8_t tags[2][16];
    cr_assert_not_null(aead);
    for (size_t run = 0; run < 2; run++) {
        uint8_t data[20] = {0};
        struct aead_message message = {.data = data, .data_bytes = 16, .trailer = data + 16, .tag = tags[run]};
        static const uint8_t secret[32] = {7, 7, 7};
        if (run == 0) {
            aead->ops->set_key(aead, secret);
        }
        aead->ops->seal(aead, &message);
        aead->ops->forget(aead);
    }
    cr_assert_arr_neq(tags[0], tags[1], 16);
    aead->ops->close(aead);
}

Test(aead, a_forgotten_key_seals_otherwise)
{
    expect_forgets(aead_gcrypt_open());
    expect_forgets(aead_sodium_open());
#ifdef TRILITH_SM4
    expect_forgets(aead_gcrypt_sm4_open());
#endif
}
