/* keys.h - secret keys: where they live, and how one is derived from another.
 *
 * A key lives in a slot of a key_pool: guarded, locked, non-dumpable memory of libsodium (sodium_malloc), wiped
 * when released. Nothing else may hold one for longer than a call. Never in a log, a journal or RocksDB.
 *
 * The chain, all with BLAKE2b (RFC 7693) as a keyed PRF, 32-byte output:
 *
 *   K_object = BLAKE2b(key = leaf,     "TRLobj1" | dek[32] | identity[32])
 *   K_chunk  = BLAKE2b(key = K_object, "TRLchk1" | chunk_id[16])
 *   K_meta   = BLAKE2b(key = K_object, "TRLmet1")
 *   identity = BLAKE2b(no key,         "TRLide1" | tenant u64le | bucket u64le | version[16] | key_bytes u32le | key)
 *
 * so nothing opens a chunk without both the vault's leaf and the tenant's DEK. The labels have fixed length
 * (7 bytes), so no two inputs can run into each other.
 * Threads    A pool belongs to one thread. Derivations are pure. */
#ifndef TRILITH_BASE_KEYS_H
#define TRILITH_BASE_KEYS_H

#include "base/ids.h"
#include "base/status.h"

#define KEY_BYTES      32
#define IDENTITY_BYTES 32

struct key_pool;

/* 32 secret bytes in guarded memory. */
struct key {
    uint8_t bytes[KEY_BYTES];
};

/* Which version of which object something belongs to: 32 bytes that all sealing is bound to. */
struct object_identity {
    uint8_t bytes[IDENTITY_BYTES];
};

/* Start libsodium, switch core dumps and ptrace off for this process. Once, first thing in main().
 * STATUS_UNSUPPORTED: the library did not start. */
MUST_USE enum status keys_start_process(void);

/* A pool of `count` key slots in guarded memory, locked where the system lets us; one warning per process says when it
 * is not.
 * NULL: the memory could not be had. Closing wipes all. */
MUST_USE struct key_pool *key_pool_open(uint32_t count);
void key_pool_close(struct key_pool *pool);

/* A zeroed slot, or NULL when all are taken. */
struct key *key_take(struct key_pool *pool);
/* Wipe and give back. NULL is allowed. */
void key_release(struct key_pool *pool, struct key *key);
uint32_t key_pool_in_use(const struct key_pool *pool);

/* Fill `key` with fresh random bytes of the process's cryptographic generator, for keys that are made by hand or once:
 * whatever must be replayable takes its randomness from loop_random(). */
void key_make(struct key *key);

/* A region of guarded memory for secrets that are not single keys: guard pages around it, locked where the system lets
 * us, left out of core dumps, zeroed. NULL: no memory. Freeing wipes; NULL is allowed. The start is aligned to nothing. */
MUST_USE void *guarded_take(size_t bytes);
void guarded_release(void *region);

/* Overwrite `bytes` bytes in a way the compiler keeps. */
void wipe_memory(void *data, size_t bytes);

void derive_identity(uint64_t tenant_id, uint64_t bucket_id, const struct version_id *version, const void *object_key,
                     size_t object_key_bytes, struct object_identity *identity);
void derive_object_key(const struct key *leaf, const struct key *dek, const struct object_identity *identity,
                       struct key *object_key);
void derive_chunk_key(const struct key *object_key, const struct chunk_id *chunk, struct key *chunk_key);
void derive_meta_key(const struct key *object_key, struct key *meta_key);
/* A key for some named purpose: BLAKE2b(key = parent, "TRLsub1" | label), for what stands outside the object chain. */
void derive_named_key(const struct key *parent, const char *label, struct key *key);

/* A child in a binary tree of keys (GGM): libsodium's crypto_kdf, BLAKE2b with salt = `side` and personal = "TRLggm1". */
void derive_child_key(const struct key *parent, unsigned side, struct key *child);
/* What may be told of a key to recognise it: BLAKE2b(key = none, "TRLroot" | key), 32 bytes. Only of random keys. */
#define COMMITMENT_BYTES 32
void key_commitment(const struct key *key, uint8_t commitment[COMMITMENT_BYTES]);

/* Seal a small secret (at most 64 KiB) under `key`: XChaCha20-Poly1305 (libsodium), random 24-byte nonce in front, tag
 * behind: bytes + BOX_OVERHEAD_BYTES. `context` is authenticated with it and must be given again to open.
 * The nonce is drawn at random for each sealing: 192 bits never repeat in practice. */
#define BOX_OVERHEAD_BYTES (24 + 16)
void box_seal(const struct key *key, const void *context, size_t context_bytes, const void *plain, size_t bytes,
              uint8_t *sealed);
/* STATUS_OK; STATUS_DENIED: wrong key or context, or changed bytes; STATUS_INVALID: too short or over the limit. */
MUST_USE enum status box_open(const struct key *key, const void *context, size_t context_bytes, const void *sealed,
                              size_t sealed_bytes, void *plain);

#endif
