/* digest.h - the hashes that other people's protocols ask for, on GnuTLS: SHA-256, SHA-1, MD5, HMAC-SHA-256.
 *
 * Our own constructions use BLAKE2b (keys.h). MD5 and SHA-1 are here because S3 clients send them as
 * checksums; nothing relies on them. A digest is plain memory apart from the library's handle.
 * Any thread, one at a time per digest. */
#ifndef TRILITH_BASE_DIGEST_H
#define TRILITH_BASE_DIGEST_H

#include "base/status.h"

#include "base/check.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES     32
#define SHA1_BYTES       20
#define MD5_BYTES        16
#define DIGEST_BYTES_MAX 32

enum digest_kind { DIGEST_SHA256 = 1, DIGEST_SHA1 = 2, DIGEST_MD5 = 3 };

struct digest {
    void *handle; /* the library's; NULL when not begun */
    enum digest_kind kind;
};

size_t digest_bytes(enum digest_kind kind);

/* begin, any number of updates, then either end (writes digest_bytes() bytes) or abandon. */
void digest_begin(struct digest *digest, enum digest_kind kind);
void digest_update(struct digest *digest, const void *data, size_t bytes);
void digest_end(struct digest *digest, uint8_t *result);
void digest_abandon(struct digest *digest);

void sha256(const void *data, size_t bytes, uint8_t result[SHA256_BYTES]);
void hmac_sha256(const void *key, size_t key_bytes, const void *data, size_t bytes, uint8_t result[SHA256_BYTES]);

/* Lower-case hex and a terminator: 2 * bytes + 1. */
void hex_encode(const uint8_t *data, size_t bytes, char *text);
/* Exactly 2 * bytes digits, either case. */
bool hex_decode(const char *text, size_t text_bytes, uint8_t *data, size_t bytes);
/* RFC 4648 with padding: 4 * ceil(bytes / 3) + 1. */
void base64_encode(const uint8_t *data, size_t bytes, char *text);
/* Canonical base64 of exactly `bytes` bytes; false for anything else. */
bool base64_decode(const char *text, size_t text_bytes, uint8_t *data, size_t bytes);

/* No byte over 0x7f. */
bool text_is_ascii(const char *text, size_t bytes);

/* Equal, in time that depends on `bytes` only. */
bool equal_constant_time(const void *a, const void *b, size_t bytes);

#endif
