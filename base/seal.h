/* seal.h - sealing and opening the units of a chunk, behind one table of cipher suites.
 *
 * A unit is sealed in place. Its plaintext CRC32C is encrypted behind it as four more bytes of the same
 * message, so bit flips in memory before the sealing are found when it is opened, and nothing about the
 * plaintext shows. Beside the ciphertext a unit has a unit_seal, as laid out here:
 *
 *   offset  bytes
 *        0     16  tag            of the AEAD over (plaintext | crc32c of plaintext, little-endian)
 *       16      4  sealed crc     the ciphertext of those last four bytes
 *       20      4  crc            CRC32C, little-endian, over ciphertext | sealed crc | tag: what disks, wire and
 *                                 scrub check; it needs no key
 *
 * Nonce rule: the key is K_chunk, which is used for one sealing of one chunk and never again (a chunk id is 128
 * fresh random bits for every sealing); the 96-bit nonce is the unit number, little-endian, zero-extended. So no
 * (key, nonce) pair ever repeats.
 * Associated data: "TRLunit1" | identity[32] | chunk_id[16] | chunk index u64le | unit u32le | suite u8 | chunk bytes
 * u32le. A unit that is stale, misdirected or someone else's never opens.
 *
 * Suites: every one takes K_chunk, 32 bytes, and uses it as follows.
 *
 *   1  aes-256-gcm  all 32 bytes are the key (NIST SP 800-38D)
 *   2  sm4-gcm      the first 16 bytes are the key, which is all that SM4 takes; the others are not used (RFC 8998)
 *
 * A K_chunk is used with one suite only, as a chunk is sealed once; and as the suite is in the associated data, a unit
 * of one suite does not open as the other.
 * Implementations: both suites from libgcrypt (fast), AES-256-GCM also from libsodium (reference and fallback); tests
 * hold those two against each other byte for byte, and both suites against vectors that stand in tests/vectors.
 * AES-256-GCM is always there. SM4-GCM may be missing: from the build (TRILITH_SM4=OFF) or from the library.
 * Threads    One sealer per thread. */
#ifndef TRILITH_BASE_SEAL_H
#define TRILITH_BASE_SEAL_H

#include "base/keys.h"

#include <stdbool.h>

#define UNIT_SEAL_BYTES       24
#define CHUNK_SEALS_BYTES_MAX (CHUNK_UNITS_MAX * UNIT_SEAL_BYTES)

enum suite { SUITE_AES_256_GCM = 1, SUITE_SM4_GCM = 2 };

struct sealer;

/* What a unit is bound to besides its number. */
struct chunk_binding {
    struct object_identity identity;
    struct chunk_id chunk;
    uint64_t chunk_index; /* position in the object, from 0 */
    uint32_t chunk_bytes; /* plaintext bytes of the whole chunk */
    enum suite suite;
};

/* SEALER_REFERENCE has AES-256-GCM only. */
enum sealer_implementation { SEALER_FASTEST, SEALER_REFERENCE };

/* "aes-256-gcm" or "sm4-gcm"; "unknown" for a number outside the enum. */
const char *suite_name(enum suite suite);
/* False for any other word; a name is known also when this build has no such suite. */
bool suite_from_name(const char *name, enum suite *suite);

/* Open each suite's cipher and run its self-test against a published vector. NULL: no AES-256-GCM passed, as when the CPU
 * lacks AES instructions; the reason is logged. Without SM4-GCM a sealer works: an info event says that it is missing. */
MUST_USE struct sealer *sealer_open(enum sealer_implementation which);
void sealer_close(struct sealer *sealer);
bool suite_is_supported(const struct sealer *sealer, enum suite suite);

/* Set the key for the chunk that the next calls are about; its suite must be supported. The sealer keeps only the expanded
 * key; sealer_forget() wipes it. */
void sealer_begin(struct sealer *sealer, const struct key *chunk_key, const struct chunk_binding *binding);
void sealer_forget(struct sealer *sealer);

/* Seal `data` (chunk_unit_bytes() bytes of unit `unit`) in place and fill `seal`. */
void seal_unit(struct sealer *sealer, uint32_t unit, uint8_t *data, uint8_t seal[UNIT_SEAL_BYTES]);

/* Open in place. STATUS_OK; STATUS_CORRUPT: tag or plaintext CRC wrong, and `data` is wiped. */
MUST_USE enum status open_unit(struct sealer *sealer, uint32_t unit, uint8_t *data,
                               const uint8_t seal[UNIT_SEAL_BYTES]);

/* Check the CRC of one sealed unit; needs no key. Any thread. */
bool unit_crc_matches(const uint8_t *data, uint32_t bytes, const uint8_t seal[UNIT_SEAL_BYTES]);

/* Check all units of a sealed chunk, or of `unit_count` units from `first_unit` on (0: to the end). `data` and `seals`
 * begin with `first_unit`. Returns the number of the first bad unit (counted from the chunk's start), or UINT32_MAX
 * when all match. */
uint32_t chunk_first_bad_unit(const uint8_t *data, uint32_t chunk_bytes, uint32_t first_unit, uint32_t unit_count,
                              const uint8_t *seals);

#endif
