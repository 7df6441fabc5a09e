/* keystream.h - a long stream of bytes from a short seed, and the hash of a long run of bytes; both on libsodium.
 *
 * The stream is ChaCha20 (RFC 8439) with the seed as its key, nonce and block counter from 0: whoever has the seed can
 * make every byte of it again, at any place. It is what erased areas are overwritten with; it protects no secret.
 * The hash is BLAKE2b-256 (RFC 7693) without a key. Any thread, one at a time per hash. */
#ifndef TRILITH_BASE_KEYSTREAM_H
#define TRILITH_BASE_KEYSTREAM_H

#include <stddef.h>
#include <stdint.h>

#define KEYSTREAM_SEED_BYTES  32
#define KEYSTREAM_BLOCK_BYTES 64
#define CONTENT_HASH_BYTES    32
#define CONTENT_HASH_STATE    384 /* what libsodium needs, or more */

/* XOR `data` with the stream from byte `offset` (a multiple of KEYSTREAM_BLOCK_BYTES, below 2^38) on: zeros become the
 * stream, the stream becomes zeros. */
void keystream_xor(const uint8_t seed[KEYSTREAM_SEED_BYTES], uint64_t offset, uint8_t *data, size_t bytes);

struct content_hash {
    _Alignas(64) uint8_t state[CONTENT_HASH_STATE];
};

/* begin, any number of updates, end. */
void content_hash_begin(struct content_hash *hash);
void content_hash_update(struct content_hash *hash, const void *data, size_t bytes);
void content_hash_end(struct content_hash *hash, uint8_t result[CONTENT_HASH_BYTES]);

#endif
