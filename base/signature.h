/* signature.h - Ed25519 (RFC 8032): key pairs, signatures, and public keys as other people's tools read them.
 *
 * A secret key is its seed of 32 bytes, and so a struct key in guarded memory (keys.h). Signing is deterministic: the
 * same seed and message give the same signature. Verifying refuses what libsodium refuses: keys of small order, points
 * that are not canonical, S out of range.
 * Threads    Pure. */
#ifndef TRILITH_BASE_SIGNATURE_H
#define TRILITH_BASE_SIGNATURE_H

#include "base/keys.h"

#include <stdbool.h>

#define SIGNATURE_BYTES      64
#define PUBLIC_KEY_BYTES     32
#define PUBLIC_KEY_PEM_BYTES 128 /* with the terminator */
#define SECRET_KEY_PEM_BYTES 160 /* likewise */

struct public_key {
    uint8_t bytes[PUBLIC_KEY_BYTES];
};

struct signature {
    uint8_t bytes[SIGNATURE_BYTES];
};

void signature_public_key(const struct key *seed, struct public_key *public_key);
/* What it needs beside the seed is wiped before it returns. */
void signature_sign(const struct key *seed, const void *message, size_t bytes, struct signature *signature);
bool signature_verify(const struct public_key *public_key, const void *message, size_t bytes,
                      const struct signature *signature);

/* A public key as PEM, SubjectPublicKeyInfo (RFC 8410): what `openssl pkeyutl -pubin -inkey` reads. */
void public_key_to_pem(const struct public_key *public_key, char pem[PUBLIC_KEY_PEM_BYTES]);
/* STATUS_OK; STATUS_INVALID: something else than one Ed25519 public key in PEM. Text before and behind is refused. */
MUST_USE enum status public_key_from_pem(const char *pem, size_t bytes, struct public_key *public_key);
/* Several of them one after the other, as `cat` joins them; line ends between them are skipped. STATUS_OK with
 * 1..keys_max of them; STATUS_INVALID: something else, or more. */
MUST_USE enum status public_keys_from_pem(const char *pem, size_t bytes, struct public_key *keys, size_t keys_max,
                                          size_t *count);

/* A seed as PEM, PKCS #8 (RFC 8410), unencrypted: what `openssl genpkey -algorithm ed25519` writes. `pem` holds a
 * secret: guarded memory, or wiped by the caller. */
void secret_key_to_pem(const struct key *seed, char pem[SECRET_KEY_PEM_BYTES]);
MUST_USE enum status secret_key_from_pem(const char *pem, size_t bytes, struct key *seed);

#endif
