#include "base/keystream.h"

#include "base/check.h"

#include <sodium.h>

_Static_assert(KEYSTREAM_SEED_BYTES == crypto_stream_chacha20_ietf_KEYBYTES, "the seed is the key");
_Static_assert(CONTENT_HASH_STATE >= sizeof(crypto_generichash_state), "the state fits");
_Static_assert(_Alignof(struct content_hash) >= _Alignof(crypto_generichash_state), "the state is aligned");

void keystream_xor(const uint8_t seed[KEYSTREAM_SEED_BYTES], uint64_t offset, uint8_t *data, size_t bytes)
{
    static const uint8_t nonce[crypto_stream_chacha20_ietf_NONCEBYTES];
    CHECK(offset % KEYSTREAM_BLOCK_BYTES == 0);
    CHECK(offset / KEYSTREAM_BLOCK_BYTES + bytes / KEYSTREAM_BLOCK_BYTES < UINT32_MAX);
    crypto_stream_chacha20_ietf_xor_ic(data, data, bytes, nonce, (uint32_t)(offset / KEYSTREAM_BLOCK_BYTES), seed);
}

static crypto_generichash_state *hash_state(struct content_hash *hash)
{
    return (crypto_generichash_state *)(void *)hash->state;
}

void content_hash_begin(struct content_hash *hash)
{
    CHECK(crypto_generichash_init(hash_state(hash), NULL, 0, CONTENT_HASH_BYTES) == 0);
}

void content_hash_update(struct content_hash *hash, const void *data, size_t bytes)
{
    CHECK(crypto_generichash_update(hash_state(hash), data, bytes) == 0);
}

void content_hash_end(struct content_hash *hash, uint8_t result[CONTENT_HASH_BYTES])
{
    CHECK(crypto_generichash_final(hash_state(hash), result, CONTENT_HASH_BYTES) == 0);
}
