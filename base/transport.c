/* transport.c - RSA-OAEP on libgcrypt; PEM and its DER are read and written by GnuTLS, which has no OAEP of its own.
 *
 * Private keys and plaintexts pass through libgcrypt as S-expressions, of which it makes copies in ordinary memory that
 * it does not wipe. So while it works here, all that it takes comes from its secure memory (gcrypt_memory.h). The bytes
 * of transport_make() are the canonical form of an S-expression. */
#include "base/transport.h"

#include "base/gcrypt_memory.h"
#include "base/keys.h"

#include <gcrypt.h>
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <string.h>

#define BITS_MIN      2048u
#define BITS_MAX      8192u
#define PEM_BYTES_MAX KIB(8)

/* libgcrypt's name of an algorithm's hash, or NULL. */
static const char *hash_of(const char *algorithm)
{
    if (strcmp(algorithm, TRANSPORT_SHA256) == 0) {
        return "sha256";
    }
    return strcmp(algorithm, TRANSPORT_SHA1) == 0 ? "sha1" : NULL;
}

static bool is_out_of_memory(gcry_error_t error)
{
    return gcry_err_code(error) == GPG_ERR_ENOMEM;
}

/* ---- public keys ------------------------------------------------------------------------------- */

enum status transport_pem(const void *modulus, size_t modulus_bytes, const void *exponent, size_t exponent_bytes,
                          char pem[TRANSPORT_PEM_BYTES])
{
    if (modulus_bytes > BITS_MAX / 8 + 1 || exponent_bytes > BITS_MAX / 8 + 1) {
        return STATUS_INVALID;
    }
    /* GnuTLS takes the modulus as an unsigned number and does not write through these pointers. */
    uint8_t copy[2 * (BITS_MAX / 8 + 1)];
    memcpy(copy, modulus, modulus_bytes);
    memcpy(copy + modulus_bytes, exponent, exponent_bytes);
    const gnutls_datum_t n = {.data = copy, .size = (unsigned)modulus_bytes};
    const gnutls_datum_t e = {.data = copy + modulus_bytes, .size = (unsigned)exponent_bytes};
    gnutls_pubkey_t key;
    if (gnutls_pubkey_init(&key) != 0) {
        return STATUS_FULL;
    }
    enum status status = STATUS_INVALID;
    size_t bytes = TRANSPORT_PEM_BYTES - 1;
    if (gnutls_pubkey_import_rsa_raw(key, &n, &e) == 0 &&
        gnutls_pubkey_export(key, GNUTLS_X509_FMT_PEM, pem, &bytes) == 0) {
        pem[bytes] = '\0';
        status = STATUS_OK;
    }
    gnutls_pubkey_deinit(key);
    return status;
}

/* An RSA public key in PEM as an S-expression, and how many bytes what it encrypts has. */
static enum status public_from_pem(const char *pem, gcry_sexp_t *public_key, size_t *modulus_bytes)
{
    size_t pem_bytes = strnlen(pem, PEM_BYTES_MAX + 1);
    if (pem_bytes > PEM_BYTES_MAX) {
        return STATUS_INVALID;
    }
    gnutls_pubkey_t key;
    if (gnutls_pubkey_init(&key) != 0) {
        return STATUS_FULL;
    }
    const gnutls_datum_t text = {.data = (unsigned char *)(uintptr_t)pem, .size = (unsigned)pem_bytes};
    gnutls_datum_t n = {0};
    gnutls_datum_t e = {0};
    unsigned bits = 0;
    enum status status = STATUS_INVALID;
    if (gnutls_pubkey_import(key, &text, GNUTLS_X509_FMT_PEM) == 0 &&
        gnutls_pubkey_get_pk_algorithm(key, &bits) == GNUTLS_PK_RSA && bits >= BITS_MIN && bits <= BITS_MAX &&
        gnutls_pubkey_export_rsa_raw(key, &n, &e) == 0) {
        gcry_error_t error = gcry_sexp_build(public_key, NULL, "(public-key (rsa (n %b) (e %b)))", (int)n.size,
                                             (char *)n.data, (int)e.size, (char *)e.data);
        status = error == 0 ? STATUS_OK : is_out_of_memory(error) ? STATUS_FULL : STATUS_INVALID;
        *modulus_bytes = (bits + 7) / 8;
    }
    gnutls_free(n.data);
    gnutls_free(e.data);
    gnutls_pubkey_deinit(key);
    return status;
}

/* The number `name` of an RSA key. */
static bool number_of(gcry_sexp_t key, const char *name, uint8_t *bytes, size_t capacity, size_t *count)
{
    gcry_sexp_t list = gcry_sexp_find_token(key, name, 0);
    size_t length = 0;
    const char *data = list == NULL ? NULL : gcry_sexp_nth_data(list, 1, &length);
    bool found = data != NULL && length <= capacity;
    if (found) {
        memcpy(bytes, data, length);
        *count = length;
    }
    gcry_sexp_release(list);
    return found;
}

static enum status pem_of(gcry_sexp_t key, char pem[TRANSPORT_PEM_BYTES])
{
    uint8_t modulus[BITS_MAX / 8 + 1];
    uint8_t exponent[16];
    size_t modulus_bytes = 0;
    size_t exponent_bytes = 0;
    if (!number_of(key, "n", modulus, sizeof(modulus), &modulus_bytes) ||
        !number_of(key, "e", exponent, sizeof(exponent), &exponent_bytes)) {
        return STATUS_INVALID;
    }
    return transport_pem(modulus, modulus_bytes, exponent, exponent_bytes, pem);
}

/* ---- encrypting -------------------------------------------------------------------------------- */

/* The one byte string of `list`, right-aligned in `width` bytes: libgcrypt drops leading zeros, others expect them. */
static enum status take_number(gcry_sexp_t list, const char *name, uint8_t *target, size_t width)
{
    uint8_t number[TRANSPORT_WRAPPED_BYTES_MAX + 1];
    size_t bytes = 0;
    if (!number_of(list, name, number, sizeof(number), &bytes)) {
        return STATUS_IO;
    }
    size_t skipped = bytes > 0 && number[0] == 0 ? 1 : 0; /* A sign byte. */
    if (bytes - skipped > width) {
        return STATUS_IO;
    }
    memset(target, 0, width);
    memcpy(target + width - (bytes - skipped), number + skipped, bytes - skipped);
    return STATUS_OK;
}

enum status transport_encrypt(const char *pem, const char *algorithm, const void *secret, size_t secret_bytes,
                              uint8_t wrapped[TRANSPORT_WRAPPED_BYTES_MAX], size_t *wrapped_bytes)
{
    const char *hash = hash_of(algorithm);
    if (hash == NULL) {
        return STATUS_INVALID;
    }
    if (secret_bytes > TRANSPORT_SECRET_BYTES_MAX) {
        return STATUS_TOO_LARGE;
    }
    gcrypt_secrets_begin();
    gcry_sexp_t public_key = NULL;
    gcry_sexp_t plain = NULL;
    gcry_sexp_t sealed = NULL;
    size_t modulus_bytes = 0;
    enum status status = public_from_pem(pem, &public_key, &modulus_bytes);
    char *copy = status == STATUS_OK ? gcry_malloc_secure(secret_bytes + 1) : NULL;
    if (status == STATUS_OK && copy == NULL) {
        status = STATUS_FULL;
    }
    if (status == STATUS_OK) {
        memcpy(copy, secret, secret_bytes); /* What is built from secure memory lies there too. */
        gcry_error_t error = gcry_sexp_build(&plain, NULL, "(data (flags oaep) (hash-algo %s) (value %b))", hash,
                                             (int)secret_bytes, copy);
        error = error != 0 ? error : gcry_pk_encrypt(&sealed, plain, public_key);
        status = error == 0                ? take_number(sealed, "a", wrapped, modulus_bytes)
                 : is_out_of_memory(error) ? STATUS_FULL
                                           : STATUS_INVALID;
    }
    if (status == STATUS_OK) {
        *wrapped_bytes = modulus_bytes;
    }
    gcry_free(copy);
    gcry_sexp_release(sealed);
    gcry_sexp_release(plain);
    gcry_sexp_release(public_key);
    gcrypt_secrets_end();
    return status;
}

/* ---- private keys ------------------------------------------------------------------------------ */

enum status transport_make(void *private_key, size_t *private_bytes, char pem[TRANSPORT_PEM_BYTES])
{
    gcrypt_secrets_begin();
    gcry_sexp_t request = NULL;
    gcry_sexp_t pair = NULL;
    enum status status = STATUS_IO;
    /* "transient" asks for random bytes of the kernel without the CPU's jitter mixed in, which adds nothing to them. */
    gcry_error_t error = gcry_sexp_build(
        &request, NULL, "(genkey (rsa (transient-key) (nbits %u) (rsa-use-e 5:65537)))", TRANSPORT_BITS);
    error = error != 0 ? error : gcry_pk_genkey(&pair, request);
    gcry_sexp_t half = error != 0 ? NULL : gcry_sexp_find_token(pair, "private-key", 0);
    if (half != NULL) {
        size_t bytes = gcry_sexp_sprint(half, GCRYSEXP_FMT_CANON, private_key, TRANSPORT_PRIVATE_BYTES_MAX);
        status = bytes == 0 ? STATUS_FULL : pem_of(half, pem);
        *private_bytes = bytes;
    } else if (is_out_of_memory(error)) {
        status = STATUS_FULL;
    }
    gcry_sexp_release(half);
    gcry_sexp_release(pair);
    gcry_sexp_release(request);
    gcrypt_secrets_end();
    return status;
}

/* By way of secure memory, so that the S-expression is made there. */
static enum status private_from_bytes(const void *bytes, size_t count, gcry_sexp_t *key)
{
    if (count == 0 || count > TRANSPORT_PRIVATE_BYTES_MAX) {
        return STATUS_INVALID;
    }
    char *copy = gcry_malloc_secure(count);
    if (copy == NULL) {
        return STATUS_FULL;
    }
    memcpy(copy, bytes, count);
    gcry_error_t error = gcry_sexp_sscan(key, NULL, copy, count);
    gcry_free(copy);
    if (error != 0) {
        return is_out_of_memory(error) ? STATUS_FULL : STATUS_INVALID;
    }
    /* "private-key" must be the list itself, not something within it. */
    size_t name_bytes = 0;
    const char *name = gcry_sexp_nth_data(*key, 0, &name_bytes);
    if (name == NULL || name_bytes != strlen("private-key") || memcmp(name, "private-key", name_bytes) != 0 ||
        gcry_pk_testkey(*key) != 0) {
        gcry_sexp_release(*key);
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

enum status transport_public(const void *private_key, size_t private_bytes, char pem[TRANSPORT_PEM_BYTES])
{
    gcrypt_secrets_begin();
    gcry_sexp_t key = NULL;
    enum status status = private_from_bytes(private_key, private_bytes, &key);
    if (status == STATUS_OK) {
        status = pem_of(key, pem);
        gcry_sexp_release(key);
    }
    gcrypt_secrets_end();
    return status;
}

/* The plaintext of gcry_pk_decrypt(), which it leaves in memory of its own choice: wiped there. */
static enum status take_plain(gcry_sexp_t plain, void *secret, size_t capacity, size_t *secret_bytes)
{
    size_t bytes = 0;
    const char *data = gcry_sexp_nth_data(plain, 1, &bytes);
    if (data == NULL || bytes > capacity) {
        return STATUS_DENIED; /* gcry_sexp_nth_data() knows no empty string. */
    }
    memcpy(secret, data, bytes);
    *secret_bytes = bytes;
    wipe_memory((void *)(uintptr_t)data, bytes);
    return STATUS_OK;
}

enum status transport_decrypt(const void *private_key, size_t private_bytes, const void *wrapped, size_t wrapped_bytes,
                              void *secret, size_t capacity, size_t *secret_bytes)
{
    if (wrapped_bytes == 0 || wrapped_bytes > TRANSPORT_WRAPPED_BYTES_MAX) {
        return STATUS_DENIED;
    }
    gcrypt_secrets_begin();
    gcry_sexp_t key = NULL;
    gcry_sexp_t sealed = NULL;
    gcry_sexp_t plain = NULL;
    enum status status = private_from_bytes(private_key, private_bytes, &key);
    if (status != STATUS_OK) {
        gcrypt_secrets_end();
        return status;
    }
    gcry_error_t error = gcry_sexp_build(&sealed, NULL, "(enc-val (flags oaep) (hash-algo sha256) (rsa (a %b)))",
                                         (int)wrapped_bytes, (const char *)wrapped);
    error = error != 0 ? error : gcry_pk_decrypt(&plain, sealed, key);
    status = error == 0                ? take_plain(plain, secret, capacity, secret_bytes)
             : is_out_of_memory(error) ? STATUS_FULL
                                       : STATUS_DENIED;
    gcry_sexp_release(plain);
    gcry_sexp_release(sealed);
    gcry_sexp_release(key);
    gcrypt_secrets_end();
    return status;
}
