/* aead_gcrypt.c - the suites on libgcrypt. AES-256-GCM: the fastest one we link (measured per core of a 2-core EPYC machine:
 * seals 3.6 GB/s, libsodium 1.1). SM4-GCM: the only one we link (0.3 GB/s); where the CPU has AES and AVX, libgcrypt computes
 * its bulk with those, and only single blocks (hash key, last blocks) with a table of 256 bytes, fetched whole beforehand.
 *
 * One cipher handle is kept and given a new key per chunk and a new nonce per unit. It lies in libgcrypt's secure
 * memory: locked, left out of core dumps, wiped when freed. libgcrypt carries keystream and hash over from one call to
 * the next, so that the trailer joins the message without being copied behind it. */
#include "base/aead.h"
#include "base/gcrypt_memory.h"

#include <gcrypt.h>
#include <stdlib.h>
#include <string.h>

struct aead_gcrypt {
    struct aead aead;
    gcry_cipher_hd_t handle;
    size_t key_bytes; /* how much of a key the cipher takes, from its start */
};

/* AES from tables in memory leaks its key through the cache; only the CPU's own instructions will do. */
static bool library_uses_aes_instructions(void)
{
    char *features = gcry_get_config(0, "hwflist");
    bool found = features != NULL && strstr(features, "aes") != NULL;
    gcry_free(features);
    return found;
}

/* In FIPS mode libgcrypt refuses nonces that it has not drawn itself, and SM4 altogether. */
static bool library_is_usable(void)
{
    return gcrypt_start() && gcry_fips_mode_active() == 0 && library_uses_aes_instructions();
}

static void set_key(struct aead *aead, const uint8_t key[AEAD_KEY_BYTES])
{
    struct aead_gcrypt *self = CONTAINER_OF(aead, struct aead_gcrypt, aead);
    CHECK(gcry_cipher_setkey(self->handle, key, self->key_bytes) == 0);
}

static void forget_key(struct aead *aead)
{
    static const uint8_t zero_key[AEAD_KEY_BYTES];
    struct aead_gcrypt *self = CONTAINER_OF(aead, struct aead_gcrypt, aead);
    CHECK(gcry_cipher_reset(self->handle) == 0);
    set_key(aead, zero_key); /* There is no call to drop a key: the round keys are overwritten by others. */
}

static void begin_message(struct aead_gcrypt *self, const struct aead_message *message)
{
    CHECK(gcry_cipher_setiv(self->handle, message->nonce, AEAD_NONCE_BYTES) == 0);
    CHECK(gcry_cipher_authenticate(self->handle, message->associated, message->associated_bytes) == 0);
}

static void seal_message(struct aead *aead, const struct aead_message *message)
{
    struct aead_gcrypt *self = CONTAINER_OF(aead, struct aead_gcrypt, aead);
    begin_message(self, message);
    CHECK(gcry_cipher_encrypt(self->handle, message->data, message->data_bytes, NULL, 0) == 0);
    CHECK(gcry_cipher_final(self->handle) == 0);
    CHECK(gcry_cipher_encrypt(self->handle, message->trailer, AEAD_TRAILER_BYTES, NULL, 0) == 0);
    CHECK(gcry_cipher_gettag(self->handle, message->tag, AEAD_TAG_BYTES) == 0);
}

static bool open_message(struct aead *aead, const struct aead_message *message)
{
    struct aead_gcrypt *self = CONTAINER_OF(aead, struct aead_gcrypt, aead);
    begin_message(self, message);
    CHECK(gcry_cipher_decrypt(self->handle, message->data, message->data_bytes, NULL, 0) == 0);
    CHECK(gcry_cipher_final(self->handle) == 0);
    CHECK(gcry_cipher_decrypt(self->handle, message->trailer, AEAD_TRAILER_BYTES, NULL, 0) == 0);
    return gcry_cipher_checktag(self->handle, message->tag, AEAD_TAG_BYTES) == 0;
}

static void close_cipher(struct aead *aead)
{
    struct aead_gcrypt *self = CONTAINER_OF(aead, struct aead_gcrypt, aead);
    gcry_cipher_close(self->handle); /* Wipes. */
    free(self);
}

static struct aead *open_cipher(int algorithm, size_t key_bytes)
{
    static const struct aead_ops ops = {
        .set_key = set_key, .forget = forget_key, .seal = seal_message, .open = open_message, .close = close_cipher};
    if (!library_is_usable()) {
        return NULL;
    }
    struct aead_gcrypt *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return NULL;
    }
    self->aead.ops = &ops;
    self->key_bytes = key_bytes;
    if (gcry_cipher_open(&self->handle, algorithm, GCRY_CIPHER_MODE_GCM, GCRY_CIPHER_SECURE) != 0) {
        free(self);
        return NULL;
    }
    return &self->aead;
}

struct aead *aead_gcrypt_open(void)
{
    return open_cipher(GCRY_CIPHER_AES256, AEAD_KEY_BYTES);
}

#ifdef TRILITH_SM4
struct aead *aead_gcrypt_sm4_open(void)
{
    return open_cipher(GCRY_CIPHER_SM4, AEAD_SM4_KEY_BYTES);
}
#endif
