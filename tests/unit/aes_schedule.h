/* aes_schedule.h - the round keys of AES-256 and the hash key of GCM, for tests that look for them in memory.
 *
 * FIPS 197, byte by byte and slow, with an S-box worked out rather than listed. For the tests alone, so that what a
 * cipher library keeps of a key can be recognised. The caller keeps all of it in guarded memory. */
#ifndef TRILITH_TESTS_AES_SCHEDULE_H
#define TRILITH_TESTS_AES_SCHEDULE_H

#include <stdint.h>
#include <string.h>

#define AES_ROUNDS      14
#define AES_BLOCK_BYTES 16

struct aes_schedule {
    uint8_t round_keys[AES_ROUNDS + 1][AES_BLOCK_BYTES];
    uint8_t inverse_keys[AES_ROUNDS + 1]
                        [AES_BLOCK_BYTES];      /* for the equivalent inverse cipher; first and last are none */
    uint8_t hash_key[AES_BLOCK_BYTES];          /* of GCM: the zero block encrypted */
    uint8_t hash_key_reversed[AES_BLOCK_BYTES]; /* as carry-less multiplication wants it */
    uint8_t work[AES_BLOCK_BYTES];
    uint8_t sbox[256];
};

static inline uint8_t aes_times(uint8_t a, uint8_t b)
{
    uint8_t product = 0;
    for (; b != 0; b >>= 1) {
        product ^= (b & 1) != 0 ? a : 0;
        a = (uint8_t)((a << 1) ^ ((a & 0x80) != 0 ? 0x1b : 0));
    }
    return product;
}

static inline void aes_make_sbox(uint8_t sbox[256])
{
    for (unsigned value = 0; value < 256; value++) {
        uint8_t inverse = 0;
        for (unsigned candidate = 1; candidate < 256 && inverse == 0; candidate++) {
            inverse = aes_times((uint8_t)value, (uint8_t)candidate) == 1 ? (uint8_t)candidate : 0;
        }
        uint8_t result = 0x63;
        for (unsigned turn = 0; turn < 5; turn++) {
            result ^= (uint8_t)(inverse << turn | inverse >> (8 - turn));
        }
        sbox[value] = result;
    }
}

/* Multiply each column by the polynomial with these coefficients, highest power last. */
static inline void aes_mix(uint8_t block[AES_BLOCK_BYTES], const uint8_t row[4])
{
    for (uint8_t *at = block; at < block + AES_BLOCK_BYTES; at += 4) {
        uint8_t mixed[4] = {0};
        for (unsigned i = 0; i < 4; i++) {
            for (unsigned j = 0; j < 4; j++) {
                mixed[i] ^= aes_times(at[j], row[(j + 4 - i) % 4]);
            }
        }
        memcpy(at, mixed, 4);
    }
}

static inline void aes_expand(struct aes_schedule *schedule, const uint8_t key[32])
{
    uint8_t *bytes = schedule->round_keys[0];
    uint8_t constant = 1;
    memcpy(bytes, key, 32);
    for (size_t word = 8; word < sizeof(schedule->round_keys) / 4; word++) {
        const uint8_t *before = bytes + 4 * (word - 1);
        for (unsigned i = 0; i < 4; i++) {
            uint8_t step = word % 8 == 0   ? schedule->sbox[before[(i + 1) % 4]]
                           : word % 8 == 4 ? schedule->sbox[before[i]]
                                           : before[i];
            step ^= word % 8 == 0 && i == 0 ? constant : 0;
            bytes[4 * word + i] = bytes[4 * (word - 8) + i] ^ step;
        }
        constant = word % 8 == 0 ? aes_times(constant, 2) : constant;
    }
}

static inline void aes_encrypt(struct aes_schedule *schedule, const uint8_t plain[AES_BLOCK_BYTES],
                               uint8_t cipher[AES_BLOCK_BYTES])
{
    static const uint8_t mix_row[4] = {2, 3, 1, 1};
    memcpy(cipher, plain, AES_BLOCK_BYTES);
    for (unsigned round = 0; round <= AES_ROUNDS; round++) {
        for (unsigned i = 0; i < AES_BLOCK_BYTES && round > 0; i++) {
            schedule->work[i] = schedule->sbox[cipher[(i + 4 * (i % 4)) % AES_BLOCK_BYTES]]; /* and the rows shifted */
        }
        if (round > 0) {
            memcpy(cipher, schedule->work, AES_BLOCK_BYTES);
        }
        if (round > 0 && round < AES_ROUNDS) {
            aes_mix(cipher, mix_row);
        }
        for (unsigned i = 0; i < AES_BLOCK_BYTES; i++) {
            cipher[i] ^= schedule->round_keys[round][i];
        }
    }
}

/* Everything that a library may keep of `key`. */
static inline void aes_schedule_make(struct aes_schedule *schedule, const uint8_t key[32])
{
    static const uint8_t zeros[AES_BLOCK_BYTES];
    static const uint8_t inverse_row[4] = {14, 11, 13, 9};
    aes_make_sbox(schedule->sbox);
    aes_expand(schedule, key);
    memcpy(schedule->inverse_keys, schedule->round_keys, sizeof(schedule->inverse_keys));
    for (unsigned round = 1; round < AES_ROUNDS; round++) {
        aes_mix(schedule->inverse_keys[round], inverse_row);
    }
    aes_encrypt(schedule, zeros, schedule->hash_key);
    for (unsigned i = 0; i < AES_BLOCK_BYTES; i++) {
        schedule->hash_key_reversed[i] = schedule->hash_key[AES_BLOCK_BYTES - 1 - i];
    }
}

#endif
