/* seal.c - what a sealed unit is made of; the ciphers themselves are behind aead.h. */
#include "base/seal.h"
#include "base/aead.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/log.h"

#include <stdlib.h>

#define SEAL_TAG_OFFSET        0
#define SEAL_SEALED_CRC_OFFSET 16
#define SEAL_CRC_OFFSET        20

#define ASSOCIATED_BYTES       (8 + IDENTITY_BYTES + 16 + 8 + 4 + 1 + 4)
#define ASSOCIATED_UNIT_OFFSET (8 + IDENTITY_BYTES + 16 + 8)

_Static_assert(KEY_BYTES == AEAD_KEY_BYTES, "a chunk key is a cipher key");
_Static_assert(SEAL_SEALED_CRC_OFFSET == SEAL_TAG_OFFSET + AEAD_TAG_BYTES, "the sealed crc follows the tag");
_Static_assert(SEAL_CRC_OFFSET == SEAL_SEALED_CRC_OFFSET + AEAD_TRAILER_BYTES, "the crc follows the sealed crc");
_Static_assert(UNIT_SEAL_BYTES == SEAL_CRC_OFFSET + 4, "the crc is the last field");

#define SUITE_NUMBER_MAX SUITE_SM4_GCM
#define VECTOR_BYTES_MAX 64

struct sealer {
    struct aead *suites[SUITE_NUMBER_MAX + 1]; /* by suite number; NULL: not supported */
    struct aead *current;                      /* of the chunk that was begun; NULL: none */
    uint32_t chunk_bytes;
    uint8_t associated[ASSOCIATED_BYTES]; /* all but the unit filled in by sealer_begin() */
};

/* ---- the table of suites ----------------------------------------------------------------------- */

/* A published vector: what a cipher must turn into what. */
struct suite_vector {
    uint8_t key[AEAD_KEY_BYTES];
    uint8_t nonce[AEAD_NONCE_BYTES];
    uint8_t associated[20];
    size_t bytes;
    uint8_t plain[VECTOR_BYTES_MAX];
    uint8_t cipher[VECTOR_BYTES_MAX];
    uint8_t tag[AEAD_TAG_BYTES];
};

/* Test case 16 of McGrew and Viega, "The Galois/Counter Mode of Operation". */
static const struct suite_vector aes_256_gcm_vector = {
    .key = {0xfe, 0xff, 0xe9, 0x92, 0x86, 0x65, 0x73, 0x1c, 0x6d, 0x6a, 0x8f, 0x94, 0x67, 0x30, 0x83, 0x08,
            0xfe, 0xff, 0xe9, 0x92, 0x86, 0x65, 0x73, 0x1c, 0x6d, 0x6a, 0x8f, 0x94, 0x67, 0x30, 0x83, 0x08},
    .nonce = {0xca, 0xfe, 0xba, 0xbe, 0xfa, 0xce, 0xdb, 0xad, 0xde, 0xca, 0xf8, 0x88},
    .associated = {0xfe, 0xed, 0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef, 0xfe, 0xed,
                   0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef, 0xab, 0xad, 0xda, 0xd2},
    .bytes = 60,
    .plain = {0xd9, 0x31, 0x32, 0x25, 0xf8, 0x84, 0x06, 0xe5, 0xa5, 0x59, 0x09, 0xc5, 0xaf, 0xf5, 0x26,
              0x9a, 0x86, 0xa7, 0xa9, 0x53, 0x15, 0x34, 0xf7, 0xda, 0x2e, 0x4c, 0x30, 0x3d, 0x8a, 0x31,
              0x8a, 0x72, 0x1c, 0x3c, 0x0c, 0x95, 0x95, 0x68, 0x09, 0x53, 0x2f, 0xcf, 0x0e, 0x24, 0x49,
              0xa6, 0xb5, 0x25, 0xb1, 0x6a, 0xed, 0xf5, 0xaa, 0x0d, 0xe6, 0x57, 0xba, 0x63, 0x7b, 0x39},
    .cipher = {0x52, 0x2d, 0xc1, 0xf0, 0x99, 0x56, 0x7d, 0x07, 0xf4, 0x7f, 0x37, 0xa3, 0x2a, 0x84, 0x42,
               0x7d, 0x64, 0x3a, 0x8c, 0xdc, 0xbf, 0xe5, 0xc0, 0xc9, 0x75, 0x98, 0xa2, 0xbd, 0x25, 0x55,
               0xd1, 0xaa, 0x8c, 0xb0, 0x8e, 0x48, 0x59, 0x0d, 0xbb, 0x3d, 0xa7, 0xb0, 0x8b, 0x10, 0x56,
               0x82, 0x88, 0x38, 0xc5, 0xf6, 0x1e, 0x63, 0x93, 0xba, 0x7a, 0x0a, 0xbc, 0xc9, 0xf6, 0x62},
    .tag = {0x76, 0xfc, 0x6e, 0xce, 0x0f, 0x4e, 0x17, 0x68, 0xcd, 0xdf, 0x88, 0x53, 0xbb, 0x2d, 0x55, 0x1b},
};

#ifdef TRILITH_SM4
/* RFC 8998, appendix A.1. */
static const struct suite_vector sm4_gcm_vector = {
    .key = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10},
    .nonce = {0x00, 0x00, 0x12, 0x34, 0x56, 0x78, 0x00, 0x00, 0x00, 0x00, 0xab, 0xcd},
    .associated = {0xfe, 0xed, 0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef, 0xfe, 0xed,
                   0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef, 0xab, 0xad, 0xda, 0xd2},
    .bytes = 64,
    .plain = {0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb,
              0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xdd, 0xdd, 0xdd, 0xdd, 0xdd, 0xdd, 0xdd, 0xdd,
              0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
              0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa},
    .cipher = {0x17, 0xf3, 0x99, 0xf0, 0x8c, 0x67, 0xd5, 0xee, 0x19, 0xd0, 0xdc, 0x99, 0x69, 0xc4, 0xbb, 0x7d,
               0x5f, 0xd4, 0x6f, 0xd3, 0x75, 0x64, 0x89, 0x06, 0x91, 0x57, 0xb2, 0x82, 0xbb, 0x20, 0x07, 0x35,
               0xd8, 0x27, 0x10, 0xca, 0x5c, 0x22, 0xf0, 0xcc, 0xfa, 0x7c, 0xbf, 0x93, 0xd4, 0x96, 0xac, 0x15,
               0xa5, 0x68, 0x34, 0xcb, 0xcf, 0x98, 0xc3, 0x97, 0xb4, 0x02, 0x4a, 0x26, 0x91, 0x23, 0x3b, 0x8d},
    .tag = {0x83, 0xde, 0x35, 0x41, 0xe4, 0xc2, 0xb5, 0x81, 0x77, 0xe0, 0x65, 0xa9, 0xbf, 0x7b, 0x62, 0xec},
};
#endif

/* One suite as one library implements it. The fastest of a suite comes first. */
struct suite_row {
    enum suite suite;
    const char *library;
    bool is_reference;
    bool is_optional;
    struct aead *(*open)(void);
    const struct suite_vector *vector;
};

static const struct suite_row suite_table[] = {
    {SUITE_AES_256_GCM, "libgcrypt", false, false, aead_gcrypt_open, &aes_256_gcm_vector},
    {SUITE_AES_256_GCM, "libsodium", true, false, aead_sodium_open, &aes_256_gcm_vector},
#ifdef TRILITH_SM4
    {SUITE_SM4_GCM, "libgcrypt", false, true, aead_gcrypt_sm4_open, &sm4_gcm_vector},
#endif
};

static const char *const suite_names[] = {[SUITE_AES_256_GCM] = "aes-256-gcm", [SUITE_SM4_GCM] = "sm4-gcm"};

const char *suite_name(enum suite suite)
{
    bool is_known = (unsigned)suite < ARRAY_LENGTH(suite_names) && suite_names[suite] != NULL;
    return is_known ? suite_names[suite] : "unknown";
}

bool suite_from_name(const char *name, enum suite *suite)
{
    for (unsigned i = 0; i < ARRAY_LENGTH(suite_names); i++) {
        if (suite_names[i] != NULL && strcmp(name, suite_names[i]) == 0) {
            *suite = (enum suite)i;
            return true;
        }
    }
    return false;
}

/* The vector, cut as a unit is cut; then the way back, and a changed tag. */
static bool self_test_passes(struct aead *aead, const struct suite_vector *vector)
{
    uint8_t data[VECTOR_BYTES_MAX];
    uint8_t tag[AEAD_TAG_BYTES];
    size_t data_bytes = vector->bytes - AEAD_TRAILER_BYTES;
    struct aead_message message = {.associated = vector->associated,
                                   .associated_bytes = sizeof(vector->associated),
                                   .data = data,
                                   .data_bytes = data_bytes,
                                   .trailer = data + data_bytes,
                                   .tag = tag};
    memcpy(message.nonce, vector->nonce, sizeof(message.nonce));
    aead->ops->set_key(aead, vector->key);
    memcpy(data, vector->plain, vector->bytes);
    aead->ops->seal(aead, &message);
    bool passed = memcmp(data, vector->cipher, vector->bytes) == 0 && memcmp(tag, vector->tag, sizeof(tag)) == 0;
    passed = passed && aead->ops->open(aead, &message) && memcmp(data, vector->plain, vector->bytes) == 0;
    aead->ops->seal(aead, &message);
    tag[0] ^= 1;
    passed = passed && !aead->ops->open(aead, &message);
    aead->ops->forget(aead);
    return passed;
}

/* Open one row and test it, or say why not and return NULL. */
static struct aead *suite_row_open(const struct suite_row *row)
{
    struct aead *aead = row->open();
    if (aead == NULL) {
        if (!row->is_optional) {
            log_event(LOG_WARNING, "cipher_unavailable", "suite=%s library=%s reason=%s", suite_name(row->suite),
                      row->library, "no AES instructions, FIPS mode, or no memory");
        }
        return NULL;
    }
    if (!self_test_passes(aead, row->vector)) {
        log_event(LOG_ERROR, "cipher_self_test_failed", "suite=%s library=%s", suite_name(row->suite), row->library);
        aead->ops->close(aead);
        return NULL;
    }
    return aead;
}

/* ---- the sealer -------------------------------------------------------------------------------- */

struct sealer *sealer_open(enum sealer_implementation which)
{
    struct sealer *sealer = calloc(1, sizeof(*sealer));
    if (sealer == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(suite_table); i++) {
        const struct suite_row *row = &suite_table[i];
        if (sealer->suites[row->suite] == NULL && (which == SEALER_FASTEST || row->is_reference)) {
            sealer->suites[row->suite] = suite_row_open(row);
        }
    }
    if (sealer->suites[SUITE_AES_256_GCM] == NULL) {
        log_event(LOG_ERROR, "sealer_not_opened", "missing=%s", suite_name(SUITE_AES_256_GCM));
        sealer_close(sealer);
        return NULL;
    }
    if (which == SEALER_FASTEST && sealer->suites[SUITE_SM4_GCM] == NULL) {
        log_event(LOG_INFO, "suite_missing", "suite=%s", suite_name(SUITE_SM4_GCM));
    }
    return sealer;
}

void sealer_close(struct sealer *sealer)
{
    for (size_t i = 0; i < ARRAY_LENGTH(sealer->suites); i++) {
        if (sealer->suites[i] != NULL) {
            sealer->suites[i]->ops->close(sealer->suites[i]);
        }
    }
    free(sealer);
}

bool suite_is_supported(const struct sealer *sealer, enum suite suite)
{
    return (unsigned)suite <= SUITE_NUMBER_MAX && sealer->suites[suite] != NULL;
}

static void make_associated(const struct chunk_binding *binding, uint8_t associated[ASSOCIATED_BYTES])
{
    struct byte_writer writer = byte_writer_of(associated, ASSOCIATED_BYTES);
    write_bytes(&writer, "TRLunit1", 8);
    write_bytes(&writer, binding->identity.bytes, IDENTITY_BYTES);
    write_bytes(&writer, binding->chunk.bytes, sizeof(binding->chunk.bytes));
    write_u64(&writer, binding->chunk_index);
    CHECK(writer.written == ASSOCIATED_UNIT_OFFSET);
    write_u32(&writer, 0);
    write_u8(&writer, (uint8_t)binding->suite);
    write_u32(&writer, binding->chunk_bytes);
    CHECK(!writer.failed && writer.left == 0);
}

void sealer_begin(struct sealer *sealer, const struct key *chunk_key, const struct chunk_binding *binding)
{
    CHECK(suite_is_supported(sealer, binding->suite));
    CHECK(binding->chunk_bytes > 0);
    CHECK(binding->chunk_bytes <= CHUNK_BYTES_MAX);
    if (sealer->current != sealer->suites[binding->suite]) {
        sealer_forget(sealer); /* Within one suite the new key overwrites the old one. */
    }
    sealer->current = sealer->suites[binding->suite];
    sealer->chunk_bytes = binding->chunk_bytes;
    make_associated(binding, sealer->associated);
    sealer->current->ops->set_key(sealer->current, chunk_key->bytes);
}

void sealer_forget(struct sealer *sealer)
{
    if (sealer->current != NULL) {
        sealer->current->ops->forget(sealer->current);
        sealer->current = NULL;
    }
}

/* ---- units ------------------------------------------------------------------------------------- */

static void put_u32(uint8_t target[4], uint32_t value)
{
    struct byte_writer writer = byte_writer_of(target, 4);
    write_u32(&writer, value);
}

static uint32_t get_u32(const uint8_t source[4])
{
    struct byte_reader reader = byte_reader_of(source, 4);
    return read_u32(&reader);
}

/* What disks and wire check: over ciphertext, sealed crc and tag, in this order. */
static uint32_t sealed_unit_crc(const uint8_t *data, uint32_t bytes, const uint8_t seal[UNIT_SEAL_BYTES])
{
    uint32_t crc = crc32c(0, data, bytes);
    crc = crc32c(crc, seal + SEAL_SEALED_CRC_OFFSET, AEAD_TRAILER_BYTES);
    return crc32c(crc, seal + SEAL_TAG_OFFSET, AEAD_TAG_BYTES);
}

/* The message of unit `unit` of the chunk that was begun. */
static struct aead_message unit_message(struct sealer *sealer, uint32_t unit, uint8_t *data, uint8_t *trailer,
                                        uint8_t *tag)
{
    CHECK(sealer->current != NULL);
    put_u32(sealer->associated + ASSOCIATED_UNIT_OFFSET, unit);
    struct aead_message message = {.associated = sealer->associated,
                                   .associated_bytes = ASSOCIATED_BYTES,
                                   .data = data,
                                   .data_bytes = chunk_unit_bytes(sealer->chunk_bytes, unit),
                                   .trailer = trailer,
                                   .tag = tag};
    put_u32(message.nonce, unit); /* The other eight bytes stay zero. */
    return message;
}

void seal_unit(struct sealer *sealer, uint32_t unit, uint8_t *data, uint8_t seal[UNIT_SEAL_BYTES])
{
    struct aead_message message =
        unit_message(sealer, unit, data, seal + SEAL_SEALED_CRC_OFFSET, seal + SEAL_TAG_OFFSET);
    uint32_t bytes = (uint32_t)message.data_bytes;
    put_u32(message.trailer, crc32c(0, data, bytes));
    sealer->current->ops->seal(sealer->current, &message);
    put_u32(seal + SEAL_CRC_OFFSET, sealed_unit_crc(data, bytes, seal));
}

enum status open_unit(struct sealer *sealer, uint32_t unit, uint8_t *data, const uint8_t seal[UNIT_SEAL_BYTES])
{
    uint8_t trailer[AEAD_TRAILER_BYTES];
    uint8_t tag[AEAD_TAG_BYTES];
    memcpy(trailer, seal + SEAL_SEALED_CRC_OFFSET, sizeof(trailer));
    memcpy(tag, seal + SEAL_TAG_OFFSET, sizeof(tag));
    struct aead_message message = unit_message(sealer, unit, data, trailer, tag);
    uint32_t bytes = (uint32_t)message.data_bytes;

    /* The outer CRC too: whoever opens a unit knows then that all of it is as it was written. */
    bool is_intact = unit_crc_matches(data, bytes, seal) && sealer->current->ops->open(sealer->current, &message) &&
                     crc32c(0, data, bytes) == get_u32(trailer);
    wipe_memory(trailer, sizeof(trailer)); /* It tells about the plaintext. */
    if (!is_intact) {
        wipe_memory(data, bytes);
        return STATUS_CORRUPT;
    }
    return STATUS_OK;
}

bool unit_crc_matches(const uint8_t *data, uint32_t bytes, const uint8_t seal[UNIT_SEAL_BYTES])
{
    return sealed_unit_crc(data, bytes, seal) == get_u32(seal + SEAL_CRC_OFFSET);
}

uint32_t chunk_first_bad_unit(const uint8_t *data, uint32_t chunk_bytes, uint32_t first_unit, uint32_t unit_count,
                              const uint8_t *seals)
{
    CHECK(first_unit < chunk_unit_count(chunk_bytes));
    uint32_t units_left = chunk_unit_count(chunk_bytes) - first_unit;
    CHECK(unit_count <= units_left);
    uint32_t count = unit_count == 0 ? units_left : unit_count;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bytes = chunk_unit_bytes(chunk_bytes, first_unit + i);
        if (!unit_crc_matches(data, bytes, seals)) {
            return first_unit + i;
        }
        data += bytes;
        seals += UNIT_SEAL_BYTES;
    }
    return UINT32_MAX;
}
