/* signature.c - Ed25519 of libsodium, and the two PEM forms of RFC 8410.
 *
 * An Ed25519 key has one DER form, so PEM is a fixed prefix, the key, and base64 of both in one line: there is nothing
 * to parse and nothing to get wrong. */
#include "base/signature.h"

#include "base/digest.h"

#include <sodium.h>
#include <string.h>

#define PUBLIC_BEGIN   "-----BEGIN PUBLIC KEY-----\n"
#define PUBLIC_END     "\n-----END PUBLIC KEY-----\n"
#define SECRET_BEGIN   "-----BEGIN PRIVATE KEY-----\n"
#define SECRET_END     "\n-----END PRIVATE KEY-----\n"
#define DER_PREFIX_MAX 16
#define DER_BYTES_MAX  (DER_PREFIX_MAX + KEY_BYTES)
/* libsodium leaves the hash of the seed on the stack; its functions use less than a quarter of this. */
#define SIGN_STACK_BYTES KIB(8)

/* SEQUENCE { SEQUENCE { OID 1.3.101.112 } BIT STRING (0 spare bits, 32 bytes) } */
static const uint8_t public_prefix[12] = {0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};
/* SEQUENCE { INTEGER 0, SEQUENCE { OID 1.3.101.112 } OCTET STRING { OCTET STRING (32 bytes) } } */
static const uint8_t secret_prefix[16] = {0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06,
                                          0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20};

_Static_assert(PUBLIC_KEY_BYTES == crypto_sign_PUBLICKEYBYTES, "libsodium's key");
_Static_assert(SIGNATURE_BYTES == crypto_sign_BYTES, "libsodium's signature");
_Static_assert(KEY_BYTES == crypto_sign_SEEDBYTES, "a key is a seed");

void signature_public_key(const struct key *seed, struct public_key *public_key)
{
    uint8_t secret[crypto_sign_SECRETKEYBYTES];
    CHECK(crypto_sign_seed_keypair(public_key->bytes, secret, seed->bytes) == 0);
    wipe_memory(secret, sizeof(secret));
    sodium_stackzero(SIGN_STACK_BYTES);
}

void signature_sign(const struct key *seed, const void *message, size_t bytes, struct signature *signature)
{
    struct public_key public_key;
    uint8_t secret[crypto_sign_SECRETKEYBYTES];
    CHECK(crypto_sign_seed_keypair(public_key.bytes, secret, seed->bytes) == 0);
    CHECK(crypto_sign_detached(signature->bytes, NULL, message, bytes, secret) == 0);
    wipe_memory(secret, sizeof(secret));
    sodium_stackzero(SIGN_STACK_BYTES);
}

bool signature_verify(const struct public_key *public_key, const void *message, size_t bytes,
                      const struct signature *signature)
{
    return crypto_sign_verify_detached(signature->bytes, message, bytes, public_key->bytes) == 0;
}

/* ---- PEM --------------------------------------------------------------------------------------- */

struct pem_form {
    const char *begin;
    const char *end;
    const uint8_t *prefix;
    size_t prefix_bytes;
};

static const struct pem_form public_form = {PUBLIC_BEGIN, PUBLIC_END, public_prefix, sizeof(public_prefix)};
static const struct pem_form secret_form = {SECRET_BEGIN, SECRET_END, secret_prefix, sizeof(secret_prefix)};

_Static_assert(sizeof(PUBLIC_BEGIN) + 60 + sizeof(PUBLIC_END) - 1 <= PUBLIC_KEY_PEM_BYTES, "a public PEM fits");
_Static_assert(sizeof(SECRET_BEGIN) + 64 + sizeof(SECRET_END) - 1 <= SECRET_KEY_PEM_BYTES, "a secret PEM fits");
_Static_assert(sizeof(public_prefix) <= DER_PREFIX_MAX && sizeof(secret_prefix) <= DER_PREFIX_MAX, "both fit");

/* Characters of the base64 line: both DER lengths, 44 and 48, are encoded with the same rule. */
static size_t pem_line_bytes(const struct pem_form *form)
{
    return (form->prefix_bytes + KEY_BYTES + 2) / 3 * 4;
}

static void pem_write(const struct pem_form *form, const uint8_t key[KEY_BYTES], char *pem)
{
    uint8_t der[DER_BYTES_MAX];
    memcpy(der, form->prefix, form->prefix_bytes);
    memcpy(der + form->prefix_bytes, key, KEY_BYTES);
    size_t begin_bytes = strlen(form->begin);
    size_t line_bytes = pem_line_bytes(form);
    memcpy(pem, form->begin, begin_bytes);
    base64_encode(der, form->prefix_bytes + KEY_BYTES, pem + begin_bytes);
    memcpy(pem + begin_bytes + line_bytes, form->end, strlen(form->end) + 1);
    wipe_memory(der, sizeof(der));
}

/* Exactly the form that is written; its last newline may be missing. */
static enum status pem_read(const struct pem_form *form, const char *pem, size_t bytes, uint8_t key[KEY_BYTES])
{
    size_t begin_bytes = strlen(form->begin);
    size_t end_bytes = strlen(form->end);
    size_t line_bytes = pem_line_bytes(form);
    size_t whole_bytes = begin_bytes + line_bytes + end_bytes;
    if ((bytes != whole_bytes && bytes + 1 != whole_bytes) || memcmp(pem, form->begin, begin_bytes) != 0 ||
        memcmp(pem + begin_bytes + line_bytes, form->end, end_bytes - (whole_bytes - bytes)) != 0) {
        return STATUS_INVALID;
    }
    uint8_t der[DER_BYTES_MAX];
    bool good = base64_decode(pem + begin_bytes, line_bytes, der, form->prefix_bytes + KEY_BYTES) &&
                memcmp(der, form->prefix, form->prefix_bytes) == 0;
    if (good) {
        memcpy(key, der + form->prefix_bytes, KEY_BYTES);
    }
    wipe_memory(der, sizeof(der));
    return good ? STATUS_OK : STATUS_INVALID;
}

void public_key_to_pem(const struct public_key *public_key, char pem[PUBLIC_KEY_PEM_BYTES])
{
    pem_write(&public_form, public_key->bytes, pem);
}

enum status public_key_from_pem(const char *pem, size_t bytes, struct public_key *public_key)
{
    return pem_read(&public_form, pem, bytes, public_key->bytes);
}

enum status public_keys_from_pem(const char *pem, size_t bytes, struct public_key *keys, size_t keys_max, size_t *count)
{
    const size_t block_bytes = strlen(PUBLIC_BEGIN) + pem_line_bytes(&public_form) + strlen(PUBLIC_END);
    size_t found = 0;
    while (bytes > 0) {
        size_t take = bytes < block_bytes ? bytes : block_bytes;
        if (found == keys_max || pem_read(&public_form, pem, take, keys[found].bytes) != STATUS_OK) {
            return STATUS_INVALID;
        }
        found++;
        pem += take;
        bytes -= take;
        while (bytes > 0 && (*pem == '\n' || *pem == '\r')) {
            pem++;
            bytes--;
        }
    }
    if (found == 0) {
        return STATUS_INVALID;
    }
    *count = found;
    return STATUS_OK;
}

void secret_key_to_pem(const struct key *seed, char pem[SECRET_KEY_PEM_BYTES])
{
    pem_write(&secret_form, seed->bytes, pem);
    sodium_stackzero(SIGN_STACK_BYTES);
}

enum status secret_key_from_pem(const char *pem, size_t bytes, struct key *seed)
{
    enum status status = pem_read(&secret_form, pem, bytes, seed->bytes);
    sodium_stackzero(SIGN_STACK_BYTES);
    return status;
}
