/* aead_sodium.c - AES-256-GCM on libsodium: the reference the faster one is held against, and the fallback.
 *
 * libsodium takes a message in one piece only, so data and trailer meet in a scratch buffer. It holds plaintext for
 * the length of a call, therefore it is guarded memory and wiped after use. libsodium leaves round keys and hash keys on
 * the stack: what lies below is wiped after each call. */
#include "base/aead.h"
#include "base/ids.h"

#include <sodium.h>

#define CIPHER_STACK_BYTES KIB(8) /* libsodium's own functions use less than half of it */

/* The length is a multiple of 64, because sodium_malloc() aligns the end of what it gives, not the start. */
struct aead_sodium {
    struct aead aead;
    _Alignas(64) crypto_aead_aes256gcm_state state;
    _Alignas(64) uint8_t scratch[UNIT_BYTES + AEAD_TRAILER_BYTES];
};

_Static_assert(sizeof(struct aead_sodium) % 64 == 0, "the start must come out aligned");
_Static_assert(AEAD_KEY_BYTES == crypto_aead_aes256gcm_KEYBYTES, "one key size");
_Static_assert(AEAD_NONCE_BYTES == crypto_aead_aes256gcm_NPUBBYTES, "one nonce size");
_Static_assert(AEAD_TAG_BYTES == crypto_aead_aes256gcm_ABYTES, "one tag size");

static void set_key(struct aead *aead, const uint8_t key[AEAD_KEY_BYTES])
{
    struct aead_sodium *self = CONTAINER_OF(aead, struct aead_sodium, aead);
    CHECK(crypto_aead_aes256gcm_beforenm(&self->state, key) == 0);
    sodium_stackzero(CIPHER_STACK_BYTES);
}

static void forget_key(struct aead *aead)
{
    struct aead_sodium *self = CONTAINER_OF(aead, struct aead_sodium, aead);
    sodium_memzero(&self->state, sizeof(self->state));
}

/* Data and trailer side by side in the scratch buffer; returns their length. */
static size_t join(struct aead_sodium *self, const struct aead_message *message)
{
    CHECK(message->data_bytes <= UNIT_BYTES);
    memcpy(self->scratch, message->data, message->data_bytes);
    memcpy(self->scratch + message->data_bytes, message->trailer, AEAD_TRAILER_BYTES);
    return message->data_bytes + AEAD_TRAILER_BYTES;
}

/* Back to where they came from. */
static void part(struct aead_sodium *self, const struct aead_message *message)
{
    memcpy(message->data, self->scratch, message->data_bytes);
    memcpy(message->trailer, self->scratch + message->data_bytes, AEAD_TRAILER_BYTES);
    sodium_memzero(self->scratch, message->data_bytes + AEAD_TRAILER_BYTES);
}

static void seal_message(struct aead *aead, const struct aead_message *message)
{
    struct aead_sodium *self = CONTAINER_OF(aead, struct aead_sodium, aead);
    size_t bytes = join(self, message);
    int failed = crypto_aead_aes256gcm_encrypt_detached_afternm(self->scratch, message->tag, NULL, self->scratch, bytes,
                                                                message->associated, message->associated_bytes, NULL,
                                                                message->nonce, &self->state);
    sodium_stackzero(CIPHER_STACK_BYTES);
    CHECK(failed == 0);
    part(self, message);
}

static bool open_message(struct aead *aead, const struct aead_message *message)
{
    struct aead_sodium *self = CONTAINER_OF(aead, struct aead_sodium, aead);
    size_t bytes = join(self, message);
    int failed = crypto_aead_aes256gcm_decrypt_detached_afternm(self->scratch, NULL, self->scratch, bytes, message->tag,
                                                                message->associated, message->associated_bytes,
                                                                message->nonce, &self->state);
    sodium_stackzero(CIPHER_STACK_BYTES);
    part(self, message);
    return failed == 0;
}

static void close_cipher(struct aead *aead)
{
    sodium_free(CONTAINER_OF(aead, struct aead_sodium, aead)); /* Wipes. */
}

struct aead *aead_sodium_open(void)
{
    static const struct aead_ops ops = {
        .set_key = set_key, .forget = forget_key, .seal = seal_message, .open = open_message, .close = close_cipher};
    if (sodium_init() < 0 || !crypto_aead_aes256gcm_is_available()) {
        return NULL;
    }
    struct aead_sodium *self = sodium_malloc(sizeof(*self));
    if (self == NULL) {
        return NULL;
    }
    CHECK((uintptr_t)self % 64 == 0);
    sodium_memzero(self, sizeof(*self));
    self->aead.ops = &ops;
    return &self->aead;
}
