/* transport.h - a secret of at most 190 bytes on its way to who holds a private key: RSA-OAEP (RFC 8017), with libgcrypt.
 *
 * For customers that bring their own master key: they encrypt it to the public key that the KMS shows, with this or with
 * any other tool (openssl pkeyutl -encrypt … rsa_padding_mode:oaep). The hash is OAEP's and MGF1's; no label.
 * SHA-1 is there for PKCS#11 tokens that offer no other; OAEP does not rely on its collision resistance.
 * Threads    Any; calls may take a second (TRANSPORT_BITS of RSA are made). */
#ifndef TRILITH_BASE_TRANSPORT_H
#define TRILITH_BASE_TRANSPORT_H

#include "base/check.h"
#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

#define TRANSPORT_BITS              3072
#define TRANSPORT_SECRET_BYTES_MAX  190 /* what a key of 2048 bits takes with SHA-256 */
#define TRANSPORT_PEM_BYTES         1024
#define TRANSPORT_WRAPPED_BYTES_MAX 1024
#define TRANSPORT_PRIVATE_BYTES_MAX 4096
#define TRANSPORT_SHA256            "RSA-OAEP-SHA256"
#define TRANSPORT_SHA1              "RSA-OAEP-SHA1"

/* Encrypt to a public key in PEM (SubjectPublicKeyInfo, RSA of 2048..8192 bits). `algorithm` is one of the two names above.
 * STATUS_OK; STATUS_INVALID: not such a key, or another algorithm; STATUS_TOO_LARGE: the secret. */
MUST_USE enum status transport_encrypt(const char *pem, const char *algorithm, const void *secret, size_t secret_bytes,
                                       uint8_t wrapped[TRANSPORT_WRAPPED_BYTES_MAX], size_t *wrapped_bytes);

/* An RSA public key as PEM, from its two numbers (big-endian). STATUS_OK, STATUS_INVALID, STATUS_FULL. */
MUST_USE enum status transport_pem(const void *modulus, size_t modulus_bytes, const void *exponent,
                                   size_t exponent_bytes, char pem[TRANSPORT_PEM_BYTES]);

/* Make a key pair: the private half as bytes that only this module reads (secret: seal them before they are stored), in
 * `private_key` of TRANSPORT_PRIVATE_BYTES_MAX bytes of guarded memory. STATUS_OK, STATUS_FULL, STATUS_IO. */
MUST_USE enum status transport_make(void *private_key, size_t *private_bytes, char pem[TRANSPORT_PEM_BYTES]);
/* The public half of it. STATUS_OK, STATUS_INVALID, STATUS_FULL. */
MUST_USE enum status transport_public(const void *private_key, size_t private_bytes, char pem[TRANSPORT_PEM_BYTES]);
/* Decrypt with RSA-OAEP-SHA256. STATUS_OK with `*secret_bytes` (at most `capacity`); STATUS_DENIED: does not open;
 * STATUS_INVALID: not a private key of transport_make(). */
MUST_USE enum status transport_decrypt(const void *private_key, size_t private_bytes, const void *wrapped,
                                       size_t wrapped_bytes, void *secret, size_t capacity, size_t *secret_bytes);

#endif
