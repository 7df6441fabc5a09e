/* test_seal.c - units open only whole, unchanged, in their place, and both implementations write the same bytes. */
#include "base/aead.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/seal.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>

static struct sealer *sealers[2];
static struct key key;
static struct chunk_binding binding;
static uint8_t plain[UNIT_BYTES];

static void setup(void)
{
    cr_assert_geq(sodium_init(), 0);
    sealers[0] = sealer_open(SEALER_FASTEST);
    sealers[1] = sealer_open(SEALER_REFERENCE);
    cr_assert_not_null(sealers[0]);
    cr_assert_not_null(sealers[1]);
    for (size_t i = 0; i < KEY_BYTES; i++) {
        key.bytes[i] = (uint8_t)(i * 3 + 1);
    }
    binding = (struct chunk_binding){.identity = {{1, 2, 3}},
                                     .chunk = {{4, 5, 6}},
                                     .chunk_index = 9,
                                     .chunk_bytes = CHUNK_BYTES_MAX,
                                     .suite = SUITE_AES_256_GCM};
    srand(3);
    for (size_t i = 0; i < sizeof(plain); i++) {
        plain[i] = (uint8_t)rand();
    }
}

static void teardown(void)
{
    sealer_close(sealers[0]);
    sealer_close(sealers[1]);
}

TestSuite(seal, .init = setup, .fini = teardown);
TestSuite(aead);

/* ---- the cipher -------------------------------------------------------------------------------- */

/* McGrew and Viega, "The Galois/Counter Mode of Operation", test case 15: 64 bytes, no associated data; the cut
 * between data and trailer moves through all places. */
static void expect_test_case_15(struct aead *aead)
{
    static const uint8_t vector_key[32] = {0xfe, 0xff, 0xe9, 0x92, 0x86, 0x65, 0x73, 0x1c, 0x6d, 0x6a, 0x8f,
                                           0x94, 0x67, 0x30, 0x83, 0x08, 0xfe, 0xff, 0xe9, 0x92, 0x86, 0x65,
                                           0x73, 0x1c, 0x6d, 0x6a, 0x8f, 0x94, 0x67, 0x30, 0x83, 0x08};
    static const char plain_hex[] = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
                                    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255";
    static const char cipher_hex[] = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
                                     "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad";
    static const char tag_hex[] = "b094dac5d93471bdec1a502270e3cc6c";
    uint8_t data[64];
    uint8_t tag[16];
    uint8_t expected[64];
    struct aead_message message = {.nonce = {0xca, 0xfe, 0xba, 0xbe, 0xfa, 0xce, 0xdb, 0xad, 0xde, 0xca, 0xf8, 0x88},
                                   .data = data,
                                   .data_bytes = 60,
                                   .trailer = data + 60,
                                   .tag = tag};
    cr_assert_not_null(aead);
    aead->ops->set_key(aead, vector_key);
    sodium_hex2bin(data, sizeof(data), plain_hex, strlen(plain_hex), NULL, NULL, NULL);
    aead->ops->seal(aead, &message);
    sodium_hex2bin(expected, sizeof(expected), cipher_hex, strlen(cipher_hex), NULL, NULL, NULL);
    cr_assert_arr_eq(data, expected, 64);
    sodium_hex2bin(expected, sizeof(expected), tag_hex, strlen(tag_hex), NULL, NULL, NULL);
    cr_assert_arr_eq(tag, expected, 16);
    cr_assert(aead->ops->open(aead, &message));
    sodium_hex2bin(expected, sizeof(expected), plain_hex, strlen(plain_hex), NULL, NULL, NULL);
    cr_assert_arr_eq(data, expected, 64);
    aead->ops->close(aead);
}

Test(aead, libgcrypt_passes_the_published_vector)
{
    expect_test_case_15(aead_gcrypt_open());
}

Test(aead, libsodium_passes_the_published_vector)
{
    expect_test_case_15(aead_sodium_open());
}

Test(aead, a_forgotten_key_seals_otherwise)
{
    struct aead *implementations[2] = {aead_gcrypt_open(), aead_sodium_open()};
    for (size_t i = 0; i < 2; i++) {
        struct aead *aead = implementations[i];
        cr_assert_not_null(aead);
        uint8_t tags[2][16];
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
}

/* ---- sealing and opening ----------------------------------------------------------------------- */

static const uint32_t sizes[] = {1, 4, 15, 16, 17, 4095, 4096, 4097, 65535, 65536};

Test(seal, both_implementations_write_the_same_bytes_and_open_each_others)
{
    static uint8_t data[2][UNIT_BYTES];
    uint8_t seals[2][UNIT_SEAL_BYTES];
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        uint32_t bytes = sizes[i];
        for (uint32_t unit = 0; unit < 3; unit += 2) { /* As only unit, and behind two full ones. */
            binding.chunk_bytes = unit * UNIT_BYTES + bytes;
            for (size_t s = 0; s < 2; s++) {
                memcpy(data[s], plain, bytes);
                sealer_begin(sealers[s], &key, &binding);
                seal_unit(sealers[s], unit, data[s], seals[s]);
            }
            cr_assert_eq(memcmp(data[0], data[1], bytes), 0, "%u bytes", bytes);
            cr_assert_arr_eq(seals[0], seals[1], UNIT_SEAL_BYTES, "%u bytes", bytes);
            cr_assert(unit_crc_matches(data[0], bytes, seals[0]));
            for (size_t s = 0; s < 2; s++) {
                cr_assert_eq(open_unit(sealers[s], unit, data[1 - s], seals[1 - s]), STATUS_OK);
                cr_assert_eq(memcmp(data[1 - s], plain, bytes), 0);
            }
        }
    }
}

Test(seal, every_size_up_to_some_blocks_agrees)
{
    static uint8_t data[2][300];
    uint8_t seals[2][UNIT_SEAL_BYTES];
    for (uint32_t bytes = 1; bytes <= 300; bytes++) {
        binding.chunk_bytes = bytes;
        for (size_t s = 0; s < 2; s++) {
            memcpy(data[s], plain, bytes);
            sealer_begin(sealers[s], &key, &binding);
            seal_unit(sealers[s], 0, data[s], seals[s]);
        }
        cr_assert_eq(memcmp(data[0], data[1], bytes), 0);
        cr_assert_arr_eq(seals[0], seals[1], UNIT_SEAL_BYTES);
    }
}

/* The format in seal.h, composed anew from libsodium's one-shot call. */
Test(seal, the_bytes_are_as_documented)
{
    uint8_t message[100 + 4];
    uint8_t associated[73];
    uint8_t nonce[12] = {1};
    uint8_t tag[16];
    binding.chunk_bytes = UNIT_BYTES + 100;
    struct byte_writer writer = byte_writer_of(associated, sizeof(associated));
    write_bytes(&writer, "TRLunit1", 8);
    write_bytes(&writer, binding.identity.bytes, 32);
    write_bytes(&writer, binding.chunk.bytes, 16);
    write_u64(&writer, 9);
    write_u32(&writer, 1);
    write_u8(&writer, 1);
    write_u32(&writer, UNIT_BYTES + 100);
    cr_assert(!writer.failed && writer.left == 0);
    memcpy(message, plain, 100);
    writer = byte_writer_of(message + 100, 4);
    write_u32(&writer, crc32c(0, plain, 100));
    crypto_aead_aes256gcm_encrypt_detached(message, tag, NULL, message, sizeof(message), associated, sizeof(associated),
                                           NULL, nonce, key.bytes);
    uint8_t expected_seal[UNIT_SEAL_BYTES];
    writer = byte_writer_of(expected_seal, sizeof(expected_seal));
    write_bytes(&writer, tag, 16);
    write_bytes(&writer, message + 100, 4);
    write_u32(&writer, crc32c(crc32c(0, message, 104), tag, 16));

    uint8_t data[100];
    uint8_t seal[UNIT_SEAL_BYTES];
    memcpy(data, plain, 100);
    sealer_begin(sealers[0], &key, &binding);
    seal_unit(sealers[0], 1, data, seal);
    cr_assert_arr_eq(data, message, 100);
    cr_assert_arr_eq(seal, expected_seal, UNIT_SEAL_BYTES);
}

/* ---- refusing ---------------------------------------------------------------------------------- */

static uint8_t sealed[1000];
static uint8_t sealed_seal[UNIT_SEAL_BYTES];

static void seal_sample(struct sealer *sealer)
{
    binding.chunk_bytes = UNIT_BYTES + sizeof(sealed);
    memcpy(sealed, plain, sizeof(sealed));
    sealer_begin(sealer, &key, &binding);
    seal_unit(sealer, 1, sealed, sealed_seal);
}

/* Open a copy; a refused one must be all zeros afterwards. */
static enum status open_copy(struct sealer *sealer, uint32_t unit, const uint8_t *data, const uint8_t *seal)
{
    static uint8_t copy[UNIT_BYTES];
    memcpy(copy, data, sizeof(sealed));
    enum status status = open_unit(sealer, unit, copy, seal);
    if (status != STATUS_OK) {
        cr_assert(sodium_is_zero(copy, sizeof(sealed)));
    }
    return status;
}

/* Make the outer CRC right again, as somebody who means it would: only the tag is left to tell. */
static void mend_crc(uint8_t *data, uint8_t *seal)
{
    uint32_t crc = crc32c(crc32c(crc32c(0, data, sizeof(sealed)), seal + 16, 4), seal, 16);
    struct byte_writer writer = byte_writer_of(seal + 20, 4);
    write_u32(&writer, crc);
}

Test(seal, any_flipped_bit_is_refused_and_the_plaintext_wiped)
{
    for (size_t s = 0; s < 2; s++) {
        seal_sample(sealers[s]);
        for (size_t bit = 0; bit < sizeof(sealed) * 8; bit += 3) {
            sealed[bit / 8] ^= 1 << (bit % 8);
            cr_assert_not(unit_crc_matches(sealed, sizeof(sealed), sealed_seal));
            cr_assert_eq(open_copy(sealers[s], 1, sealed, sealed_seal), STATUS_CORRUPT, "data bit %zu", bit);
            sealed[bit / 8] ^= 1 << (bit % 8);
        }
        for (size_t bit = 0; bit < UNIT_SEAL_BYTES * 8; bit++) {
            sealed_seal[bit / 8] ^= 1 << (bit % 8);
            cr_assert_not(unit_crc_matches(sealed, sizeof(sealed), sealed_seal));
            cr_assert_eq(open_copy(sealers[s], 1, sealed, sealed_seal), STATUS_CORRUPT, "seal bit %zu", bit);
            sealed_seal[bit / 8] ^= 1 << (bit % 8);
        }
        cr_assert_eq(open_copy(sealers[s], 1, sealed, sealed_seal), STATUS_OK);
    }
}

Test(seal, a_mended_crc_helps_nobody)
{
    for (size_t s = 0; s < 2; s++) {
        for (size_t i = 0; i < sizeof(sealed) + 20; i += 11) {
            seal_sample(sealers[s]);
            if (i < sizeof(sealed)) {
                sealed[i] ^= 0x80;
            } else {
                sealed_seal[i - sizeof(sealed)] ^= 0x80;
            }
            mend_crc(sealed, sealed_seal);
            cr_assert(unit_crc_matches(sealed, sizeof(sealed), sealed_seal));
            cr_assert_eq(open_copy(sealers[s], 1, sealed, sealed_seal), STATUS_CORRUPT);
        }
    }
}

/* A unit whose bytes were changed in memory between the CRC and the cipher: tag right, plaintext CRC wrong. */
Test(seal, a_wrong_plaintext_crc_is_refused_though_the_tag_is_right)
{
    seal_sample(sealers[0]);
    uint8_t associated[73];
    uint8_t nonce[12] = {1};
    uint8_t message[sizeof(sealed) + 4];
    struct byte_writer writer = byte_writer_of(associated, sizeof(associated));
    write_bytes(&writer, "TRLunit1", 8);
    write_bytes(&writer, binding.identity.bytes, 32);
    write_bytes(&writer, binding.chunk.bytes, 16);
    write_u64(&writer, binding.chunk_index);
    write_u32(&writer, 1);
    write_u8(&writer, 1);
    write_u32(&writer, binding.chunk_bytes);
    memcpy(message, plain, sizeof(sealed));
    writer = byte_writer_of(message + sizeof(sealed), 4);
    write_u32(&writer, crc32c(0, plain, sizeof(sealed)) ^ 1);
    crypto_aead_aes256gcm_encrypt_detached(message, sealed_seal, NULL, message, sizeof(message), associated,
                                           sizeof(associated), NULL, nonce, key.bytes);
    memcpy(sealed, message, sizeof(sealed));
    memcpy(sealed_seal + 16, message + sizeof(sealed), 4);
    mend_crc(sealed, sealed_seal);
    for (size_t s = 0; s < 2; s++) {
        sealer_begin(sealers[s], &key, &binding);
        cr_assert_eq(open_copy(sealers[s], 1, sealed, sealed_seal), STATUS_CORRUPT);
    }
}

static void expect_refused_with(const struct key *other_key, const struct chunk_binding *other)
{
    for (size_t s = 0; s < 2; s++) {
        sealer_begin(sealers[s], other_key, other);
        cr_assert_eq(open_copy(sealers[s], 1, sealed, sealed_seal), STATUS_CORRUPT);
        sealer_forget(sealers[s]);
    }
}

Test(seal, every_field_of_the_binding_counts)
{
    seal_sample(sealers[0]);
    struct chunk_binding other = binding;
    other.identity.bytes[31] ^= 1;
    expect_refused_with(&key, &other);
    other = binding;
    other.chunk.bytes[0] ^= 1;
    expect_refused_with(&key, &other);
    other = binding;
    other.chunk_index++;
    expect_refused_with(&key, &other);
    other = binding;
    other.chunk_bytes += UNIT_BYTES; /* The unit's own length would change first: here it is a full one. */
    static uint8_t full[UNIT_BYTES];
    uint8_t full_seal[UNIT_SEAL_BYTES];
    memcpy(full, plain, sizeof(full));
    sealer_begin(sealers[0], &key, &binding);
    seal_unit(sealers[0], 0, full, full_seal);
    sealer_begin(sealers[0], &key, &other);
    cr_assert_eq(open_unit(sealers[0], 0, full, full_seal), STATUS_CORRUPT);
    struct key wrong = key;
    wrong.bytes[31] ^= 1;
    expect_refused_with(&wrong, &binding);
}

Test(seal, units_can_not_change_places)
{
    static uint8_t units[2][UNIT_BYTES];
    uint8_t seals[2][UNIT_SEAL_BYTES];
    binding.chunk_bytes = 2 * UNIT_BYTES;
    for (size_t s = 0; s < 2; s++) {
        sealer_begin(sealers[s], &key, &binding);
        for (uint32_t unit = 0; unit < 2; unit++) {
            memcpy(units[unit], plain, UNIT_BYTES);
            seal_unit(sealers[s], unit, units[unit], seals[unit]);
        }
        cr_assert_neq(memcmp(units[0], units[1], UNIT_BYTES), 0, "the nonce differs");
        cr_assert_eq(open_copy(sealers[s], 0, units[1], seals[1]), STATUS_CORRUPT);
        cr_assert_eq(open_copy(sealers[s], 1, units[0], seals[0]), STATUS_CORRUPT);
        cr_assert_eq(open_copy(sealers[s], 1, units[1], seals[0]), STATUS_CORRUPT);
        cr_assert_eq(open_unit(sealers[s], 0, units[0], seals[0]), STATUS_OK);
    }
}

/* ---- whole chunks ------------------------------------------------------------------------------ */

Test(seal, the_first_bad_unit_is_named)
{
    const uint32_t chunk_bytes = 3 * UNIT_BYTES + 10;
    uint8_t *data = calloc(1, chunk_bytes);
    uint8_t seals[4 * UNIT_SEAL_BYTES];
    binding.chunk_bytes = chunk_bytes;
    sealer_begin(sealers[0], &key, &binding);
    for (uint32_t unit = 0; unit < 4; unit++) {
        seal_unit(sealers[0], unit, data + (size_t)unit * UNIT_BYTES, seals + (size_t)unit * UNIT_SEAL_BYTES);
    }
    const uint8_t *from_1 = data + UNIT_BYTES;
    const uint8_t *seals_1 = seals + UNIT_SEAL_BYTES;
    cr_assert_eq(chunk_first_bad_unit(data, chunk_bytes, 0, 4, seals), UINT32_MAX);
    cr_assert_eq(chunk_first_bad_unit(data, chunk_bytes, 0, 0, seals), UINT32_MAX);
    cr_assert_eq(chunk_first_bad_unit(from_1, chunk_bytes, 1, 0, seals_1), UINT32_MAX);
    data[chunk_bytes - 1] ^= 1;
    cr_assert_eq(chunk_first_bad_unit(data, chunk_bytes, 0, 4, seals), 3);
    cr_assert_eq(chunk_first_bad_unit(from_1, chunk_bytes, 1, 0, seals_1), 3);
    cr_assert_eq(chunk_first_bad_unit(from_1, chunk_bytes, 1, 2, seals_1), UINT32_MAX);
    seals[UNIT_SEAL_BYTES] ^= 1;
    cr_assert_eq(chunk_first_bad_unit(data, chunk_bytes, 0, 4, seals), 1);
    cr_assert_eq(chunk_first_bad_unit(from_1, chunk_bytes, 1, 2, seals_1), 1);
    free(data);
}

/* ---- the sealer -------------------------------------------------------------------------------- */

Test(seal, supports_the_default_suite_and_says_what_it_does_not)
{
    for (size_t s = 0; s < 2; s++) {
        cr_assert(suite_is_supported(sealers[s], SUITE_AES_256_GCM));
        cr_assert_not(suite_is_supported(sealers[s], SUITE_SM4_GCM));
        cr_assert_not(suite_is_supported(sealers[s], (enum suite)0));
        cr_assert_not(suite_is_supported(sealers[s], (enum suite)250));
    }
}

Test(seal, many_sealers_fit_the_locked_memory)
{
    struct sealer *many[32];
    for (size_t i = 0; i < ARRAY_LENGTH(many); i++) {
        many[i] = sealer_open(SEALER_FASTEST);
        cr_assert_not_null(many[i]);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(many); i++) {
        sealer_close(many[i]);
    }
}

Test(seal, forgetting_twice_is_harmless)
{
    sealer_forget(sealers[0]);
    sealer_begin(sealers[0], &key, &binding);
    sealer_forget(sealers[0]);
    sealer_forget(sealers[0]);
}

Test(seal, sealing_with_a_forgotten_key_is_a_bug, .signal = SIGABRT)
{
    uint8_t seal[UNIT_SEAL_BYTES];
    sealer_begin(sealers[0], &key, &binding);
    sealer_forget(sealers[0]);
    seal_unit(sealers[0], 0, plain, seal);
}
