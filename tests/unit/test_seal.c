/* test_seal.c - units open only whole, unchanged, in their place, and both implementations write the same bytes. */
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/seal.h"

#include <criterion/criterion.h>
#include <gcrypt.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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
TestSuite(sealer);

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

#define ASSOCIATED_BYTES 73

/* As seal.h describes it, of unit 1. */
static void make_associated(uint8_t suite, uint8_t associated[ASSOCIATED_BYTES])
{
    struct byte_writer writer = byte_writer_of(associated, ASSOCIATED_BYTES);
    write_bytes(&writer, "TRLunit1", 8);
    write_bytes(&writer, binding.identity.bytes, 32);
    write_bytes(&writer, binding.chunk.bytes, 16);
    write_u64(&writer, binding.chunk_index);
    write_u32(&writer, 1);
    write_u8(&writer, suite);
    write_u32(&writer, binding.chunk_bytes);
    cr_assert(!writer.failed && writer.left == 0);
}

/* The format in seal.h, composed anew from libsodium's one-shot call. */
Test(seal, the_bytes_are_as_documented)
{
    uint8_t message[100 + 4];
    uint8_t associated[ASSOCIATED_BYTES];
    uint8_t nonce[12] = {1};
    uint8_t tag[16];
    binding.chunk_bytes = UNIT_BYTES + 100;
    make_associated(SUITE_AES_256_GCM, associated);
    memcpy(message, plain, 100);
    struct byte_writer writer = byte_writer_of(message + 100, 4);
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

/* Make `sealed` a unit under a right tag: of the sample, with a CRC that is wrong in the bits `crc_flips`, and bound to
 * `suite`. */
static void forge_sample(uint8_t suite, uint32_t crc_flips)
{
    binding.chunk_bytes = UNIT_BYTES + sizeof(sealed);
    uint8_t associated[ASSOCIATED_BYTES];
    uint8_t nonce[12] = {1};
    uint8_t message[sizeof(sealed) + 4];
    make_associated(suite, associated);
    memcpy(message, plain, sizeof(sealed));
    struct byte_writer writer = byte_writer_of(message + sizeof(sealed), 4);
    write_u32(&writer, crc32c(0, plain, sizeof(sealed)) ^ crc_flips);
    crypto_aead_aes256gcm_encrypt_detached(message, sealed_seal, NULL, message, sizeof(message), associated,
                                           sizeof(associated), NULL, nonce, key.bytes);
    memcpy(sealed, message, sizeof(sealed));
    memcpy(sealed_seal + 16, message + sizeof(sealed), 4);
    mend_crc(sealed, sealed_seal);
}

static void expect_sample_opens_with(enum status expected)
{
    for (size_t s = 0; s < 2; s++) {
        sealer_begin(sealers[s], &key, &binding);
        cr_assert_eq(open_copy(sealers[s], 1, sealed, sealed_seal), expected);
    }
}

/* A unit whose bytes were changed in memory between the CRC and the cipher: tag right, plaintext CRC wrong. */
Test(seal, a_wrong_plaintext_crc_is_refused_though_the_tag_is_right)
{
    forge_sample(SUITE_AES_256_GCM, 0);
    expect_sample_opens_with(STATUS_OK);
    forge_sample(SUITE_AES_256_GCM, 1);
    expect_sample_opens_with(STATUS_CORRUPT);
}

/* Even where cipher and key are the right ones, a unit that was bound to another suite's number does not open. */
Test(seal, the_number_of_the_suite_is_authenticated)
{
    forge_sample(SUITE_SM4_GCM, 0);
    expect_sample_opens_with(STATUS_CORRUPT);
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

/* Why no (key, nonce) pair comes twice: a chunk key is derived from a chunk id that is drawn anew for every sealing, and
 * belongs to one suite; under it the nonce is the unit number. So equal units of one chunk look all different, and so do
 * those of two chunks. */
Test(seal, no_two_of_many_equal_units_look_alike)
{
    static uint8_t first_bytes[2 * CHUNK_UNITS_MAX][16];
    static uint8_t unit_data[UNIT_BYTES];
    uint8_t seal[UNIT_SEAL_BYTES];
    struct key object_key = key;
    for (uint32_t i = 0; i < ARRAY_LENGTH(first_bytes); i++) {
        struct key chunk_key;
        binding.chunk.bytes[0] = (uint8_t)(i / CHUNK_UNITS_MAX);
        derive_chunk_key(&object_key, &binding.chunk, &chunk_key);
        sealer_begin(sealers[0], &chunk_key, &binding);
        memset(unit_data, 0, sizeof(unit_data));
        seal_unit(sealers[0], i % CHUNK_UNITS_MAX, unit_data, seal);
        memcpy(first_bytes[i], unit_data, sizeof(first_bytes[i]));
        for (uint32_t other = 0; other < i; other++) {
            cr_assert_arr_neq(first_bytes[i], first_bytes[other], sizeof(first_bytes[i]));
        }
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
        cr_assert_not(suite_is_supported(sealers[s], (enum suite)0));
        cr_assert_not(suite_is_supported(sealers[s], (enum suite)250));
    }
    cr_assert_not(suite_is_supported(sealers[1], SUITE_SM4_GCM));
#ifdef TRILITH_SM4
    cr_assert(suite_is_supported(sealers[0], SUITE_SM4_GCM));
#else
    cr_assert_not(suite_is_supported(sealers[0], SUITE_SM4_GCM));
#endif
}

Test(seal, suites_have_names)
{
    enum suite suite = SUITE_SM4_GCM;
    cr_assert_str_eq(suite_name(SUITE_AES_256_GCM), "aes-256-gcm");
    cr_assert_str_eq(suite_name(SUITE_SM4_GCM), "sm4-gcm");
    cr_assert_str_eq(suite_name((enum suite)0), "unknown");
    cr_assert_str_eq(suite_name((enum suite)3), "unknown");
    cr_assert(suite_from_name("aes-256-gcm", &suite));
    cr_assert_eq(suite, SUITE_AES_256_GCM);
    static const char *const wrong[] = {"", "unknown", "aes", "AES-256-GCM", "sm4-gcm ", "sm4"};
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        cr_assert_not(suite_from_name(wrong[i], &suite), "%s", wrong[i]);
        cr_assert_eq(suite, SUITE_AES_256_GCM, "left alone");
    }
    cr_assert(suite_from_name("sm4-gcm", &suite));
    cr_assert_eq(suite, SUITE_SM4_GCM);
}

Test(seal, beginning_with_a_suite_that_is_missing_is_a_bug, .signal = SIGABRT)
{
    binding.suite = SUITE_SM4_GCM;
    sealer_begin(sealers[1], &key, &binding);
}

/* Open a sealer and count the lines with `event` that it writes to the log. */
static uint32_t events_of_opening(enum sealer_implementation which, const char *event, struct sealer **sealer)
{
    FILE *log = tmpfile();
    cr_assert_not_null(log);
    int stderr_before = dup(STDERR_FILENO);
    cr_assert_geq(dup2(fileno(log), STDERR_FILENO), 0);
    *sealer = sealer_open(which);
    cr_assert_geq(dup2(stderr_before, STDERR_FILENO), 0);
    close(stderr_before);
    rewind(log);
    char line[512];
    uint32_t count = 0;
    while (fgets(line, sizeof(line), log) != NULL) {
        count += strstr(line, event) != NULL ? 1 : 0;
    }
    fclose(log);
    return count;
}

Test(seal, a_missing_suite_is_told_once_and_only_where_it_is_expected)
{
    struct sealer *sealer;
    uint32_t told = events_of_opening(SEALER_FASTEST, "info suite_missing suite=sm4-gcm", &sealer);
    cr_assert_eq(told, suite_is_supported(sealer, SUITE_SM4_GCM) ? 0 : 1);
    sealer_close(sealer);
    cr_assert_eq(events_of_opening(SEALER_REFERENCE, "suite_missing", &sealer), 0);
    sealer_close(sealer);
}

/* A libgcrypt that does not do what we need: in FIPS mode it has no SM4, and no GCM with our nonces. */
Test(sealer, serves_with_a_library_that_lacks_the_suites)
{
    cr_assert_eq(gcry_control(GCRYCTL_FORCE_FIPS_MODE, 0), 0);
    struct sealer *sealer;
    cr_assert_eq(events_of_opening(SEALER_FASTEST, "info suite_missing suite=sm4-gcm", &sealer), 1);
    cr_assert_not_null(sealer);
    cr_assert(suite_is_supported(sealer, SUITE_AES_256_GCM), "from libsodium");
    cr_assert_not(suite_is_supported(sealer, SUITE_SM4_GCM));
    sealer_close(sealer);
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

/* ---- SM4-GCM ----------------------------------------------------------------------------------- */

#ifdef TRILITH_SM4
Test(seal, sm4_opens_what_it_sealed)
{
    static uint8_t data[UNIT_BYTES];
    uint8_t seal[UNIT_SEAL_BYTES];
    binding.suite = SUITE_SM4_GCM;
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        binding.chunk_bytes = UNIT_BYTES + sizes[i];
        memcpy(data, plain, sizes[i]);
        sealer_begin(sealers[0], &key, &binding);
        seal_unit(sealers[0], 1, data, seal);
        cr_assert(unit_crc_matches(data, sizes[i], seal));
        sealer_forget(sealers[0]);
        sealer_begin(sealers[0], &key, &binding);
        cr_assert_eq(open_unit(sealers[0], 1, data, seal), STATUS_OK, "%u bytes", sizes[i]);
        cr_assert_eq(memcmp(data, plain, sizes[i]), 0);
    }
}

Test(seal, sm4_refuses_any_flipped_bit_and_wipes)
{
    binding.suite = SUITE_SM4_GCM;
    seal_sample(sealers[0]);
    for (size_t bit = 0; bit < (sizeof(sealed) + 20) * 8; bit += 7) {
        uint8_t *byte = bit / 8 < sizeof(sealed) ? &sealed[bit / 8] : &sealed_seal[bit / 8 - sizeof(sealed)];
        *byte ^= 1 << (bit % 8);
        cr_assert_eq(open_copy(sealers[0], 1, sealed, sealed_seal), STATUS_CORRUPT);
        mend_crc(sealed, sealed_seal);
        cr_assert_eq(open_copy(sealers[0], 1, sealed, sealed_seal), STATUS_CORRUPT);
        *byte ^= 1 << (bit % 8);
        mend_crc(sealed, sealed_seal);
    }
    cr_assert_eq(open_copy(sealers[0], 1, sealed, sealed_seal), STATUS_OK);
}

Test(seal, sm4_takes_the_first_half_of_the_chunk_key)
{
    binding.suite = SUITE_SM4_GCM;
    seal_sample(sealers[0]);
    struct key other = key;
    other.bytes[16] ^= 1;
    sealer_begin(sealers[0], &other, &binding);
    cr_assert_eq(open_copy(sealers[0], 1, sealed, sealed_seal), STATUS_OK);
    for (size_t i = 0; i < 16; i++) {
        other.bytes[i] ^= 1;
        sealer_begin(sealers[0], &other, &binding);
        cr_assert_eq(open_copy(sealers[0], 1, sealed, sealed_seal), STATUS_CORRUPT);
        other.bytes[i] ^= 1;
    }
}

Test(seal, a_unit_of_one_suite_does_not_open_as_the_other)
{
    static const enum suite suites[2] = {SUITE_AES_256_GCM, SUITE_SM4_GCM};
    uint8_t of_the_other[sizeof(sealed)];
    for (size_t i = 0; i < 2; i++) {
        binding.suite = suites[i];
        seal_sample(sealers[0]);
        binding.suite = suites[1 - i];
        sealer_begin(sealers[0], &key, &binding);
        cr_assert(unit_crc_matches(sealed, sizeof(sealed), sealed_seal));
        cr_assert_eq(open_copy(sealers[0], 1, sealed, sealed_seal), STATUS_CORRUPT);
        if (i == 1) {
            cr_assert_arr_neq(sealed, of_the_other, sizeof(sealed));
        }
        memcpy(of_the_other, sealed, sizeof(sealed));
    }
}

/* One sealer serves chunks of both suites in turn; each sees the key that was set last, and forgets it. */
Test(seal, one_sealer_changes_between_suites)
{
    static uint8_t data[2][500];
    uint8_t seals[2][UNIT_SEAL_BYTES];
    binding.chunk_bytes = sizeof(data[0]);
    for (uint32_t round = 0; round < 4; round++) {
        key.bytes[0] = (uint8_t)round;
        for (size_t i = 0; i < 2; i++) {
            binding.suite = i == 0 ? SUITE_AES_256_GCM : SUITE_SM4_GCM;
            memcpy(data[i], plain, sizeof(data[i]));
            sealer_begin(sealers[0], &key, &binding);
            seal_unit(sealers[0], 0, data[i], seals[i]);
        }
        for (size_t i = 0; i < 2; i++) {
            binding.suite = i == 0 ? SUITE_AES_256_GCM : SUITE_SM4_GCM;
            sealer_begin(sealers[0], &key, &binding);
            cr_assert_eq(open_unit(sealers[0], 0, data[i], seals[i]), STATUS_OK);
            cr_assert_arr_eq(data[i], plain, sizeof(data[i]));
        }
    }
}
#endif
