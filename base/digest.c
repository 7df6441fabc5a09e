/* digest.c - other people's hashes on GnuTLS; hex, base64 and the constant-time comparison on libsodium.
 *
 * GnuTLS fails here only without memory or in a FIPS mode that forbids MD5: neither leaves anything sensible to do,
 * so both stop the process. */
#include "base/digest.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <sodium.h>
#include <string.h>

static gnutls_digest_algorithm_t algorithm_of(enum digest_kind kind)
{
    switch (kind) {
    case DIGEST_SHA256:
        return GNUTLS_DIG_SHA256;
    case DIGEST_SHA1:
        return GNUTLS_DIG_SHA1;
    case DIGEST_MD5:
        return GNUTLS_DIG_MD5;
    }
    UNREACHABLE();
}

size_t digest_bytes(enum digest_kind kind)
{
    switch (kind) {
    case DIGEST_SHA256:
        return SHA256_BYTES;
    case DIGEST_SHA1:
        return SHA1_BYTES;
    case DIGEST_MD5:
        return MD5_BYTES;
    }
    UNREACHABLE();
}

void digest_begin(struct digest *digest, enum digest_kind kind)
{
    gnutls_hash_hd_t handle = NULL;
    CHECK(gnutls_hash_init(&handle, algorithm_of(kind)) == 0);
    digest->handle = handle;
    digest->kind = kind;
}

void digest_update(struct digest *digest, const void *data, size_t bytes)
{
    CHECK(digest->handle != NULL);
    if (bytes > 0) {
        CHECK(gnutls_hash(digest->handle, data, bytes) == 0);
    }
}

void digest_end(struct digest *digest, uint8_t *result)
{
    CHECK(digest->handle != NULL);
    gnutls_hash_deinit(digest->handle, result);
    digest->handle = NULL;
}

void digest_abandon(struct digest *digest)
{
    if (digest->handle != NULL) {
        gnutls_hash_deinit(digest->handle, NULL);
        digest->handle = NULL;
    }
}

void sha256(const void *data, size_t bytes, uint8_t result[SHA256_BYTES])
{
    CHECK(gnutls_hash_fast(GNUTLS_DIG_SHA256, data, bytes, result) == 0);
}

void hmac_sha256(const void *key, size_t key_bytes, const void *data, size_t bytes, uint8_t result[SHA256_BYTES])
{
    CHECK(gnutls_hmac_fast(GNUTLS_MAC_SHA256, key, key_bytes, data, bytes, result) == 0);
}

/* ---- text -------------------------------------------------------------------------------------- */

void hex_encode(const uint8_t *data, size_t bytes, char *text)
{
    sodium_bin2hex(text, 2 * bytes + 1, data, bytes);
}

bool hex_decode(const char *text, size_t text_bytes, uint8_t *data, size_t bytes)
{
    size_t decoded_bytes = 0;
    return text_bytes == 2 * bytes && sodium_hex2bin(data, bytes, text, text_bytes, NULL, &decoded_bytes, NULL) == 0 &&
           decoded_bytes == bytes;
}

void base64_encode(const uint8_t *data, size_t bytes, char *text)
{
    sodium_bin2base64(text, sodium_base64_encoded_len(bytes, sodium_base64_VARIANT_ORIGINAL), data, bytes,
                      sodium_base64_VARIANT_ORIGINAL);
}

/* libsodium 1.0.18 takes bytes from 0x80 on for characters of the alphabet. */
bool text_is_ascii(const char *text, size_t bytes)
{
    unsigned char all = 0;
    for (size_t i = 0; i < bytes; i++) {
        all |= (unsigned char)text[i];
    }
    return all < 0x80;
}

bool base64_decode(const char *text, size_t text_bytes, uint8_t *data, size_t bytes)
{
    size_t decoded_bytes = 0;
    return text_bytes == (bytes + 2) / 3 * 4 && text_is_ascii(text, text_bytes) &&
           sodium_base642bin(data, bytes, text, text_bytes, NULL, &decoded_bytes, NULL,
                             sodium_base64_VARIANT_ORIGINAL) == 0 &&
           decoded_bytes == bytes;
}

bool equal_constant_time(const void *a, const void *b, size_t bytes)
{
    return sodium_memcmp(a, b, bytes) == 0;
}
