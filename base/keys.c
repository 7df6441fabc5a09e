/* keys.c - the pool of key slots, the derivations, and small sealed boxes, on libsodium. */
#include "base/keys.h"
#include "base/bytes.h"
#include "base/log.h"

#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define LABEL_BYTES     7
#define BOX_NONCE_BYTES crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define BOX_TAG_BYTES   crypto_aead_xchacha20poly1305_ietf_ABYTES
#define BOX_BYTES_MAX   KIB(64)

/* libsodium's BLAKE2b leaves its result and blocks with keys on the stack: so much is wiped after each derivation. */
#define DERIVATION_STACK_BYTES KIB(2)

_Static_assert(BOX_OVERHEAD_BYTES == BOX_NONCE_BYTES + BOX_TAG_BYTES, "a box is nonce, ciphertext, tag");
_Static_assert(KEY_BYTES == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "every key may seal a box");
_Static_assert(KEY_BYTES >= crypto_generichash_KEYBYTES_MIN && KEY_BYTES <= crypto_generichash_KEYBYTES_MAX,
               "every key may key BLAKE2b");

enum status keys_start_process(void)
{
    if (sodium_init() < 0) {
        return STATUS_UNSUPPORTED;
    }
    const struct rlimit no_core = {.rlim_cur = 0, .rlim_max = 0};
    if (setrlimit(RLIMIT_CORE, &no_core) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
        return STATUS_UNSUPPORTED;
    }
    return STATUS_OK;
}

void key_make(struct key *key)
{
    randombytes_buf(key->bytes, sizeof(key->bytes));
}

/* sodium_malloc() has tried to lock already, but does not tell. Unlocked keys could reach a swap device: worth a warning to
 * the operator, once, and no reason not to serve. */
void *guarded_take(size_t bytes)
{
    static atomic_flag is_told = ATOMIC_FLAG_INIT;
    void *region = sodium_malloc(bytes);
    if (region == NULL) {
        return NULL;
    }
    if (sodium_mlock(region, bytes) != 0 && !atomic_flag_test_and_set(&is_told)) {
        log_event(LOG_WARNING, "key_memory_unlocked", "bytes=%zu hint=%s", bytes,
                  "raise the memlock limit, or keys may be swapped out");
    }
    sodium_memzero(region, bytes);
    return region;
}

void guarded_release(void *region)
{
    sodium_free(region);
}

void wipe_memory(void *data, size_t bytes)
{
    sodium_memzero(data, bytes);
}

/* ---- the pool ---------------------------------------------------------------------------------- */

/* Slots lie in one region of sodium_malloc: guard pages around it, left out of core dumps, wiped when freed. What is
 * taken is kept outside of it: a free slot is all zeros. */
struct key_pool {
    struct key *slots;
    uint32_t count;
    uint32_t free_count;
    bool *taken;
    uint32_t free_slots[]; /* a stack of the indexes of free slots */
};

struct key_pool *key_pool_open(uint32_t count)
{
    CHECK(count > 0);
    CHECK(count <= 1u << 20);
    struct key_pool *pool = malloc(sizeof(*pool) + count * sizeof(uint32_t));
    if (pool == NULL) {
        return NULL;
    }
    *pool = (struct key_pool){.count = count, .free_count = count};
    pool->taken = calloc(count, sizeof(bool));
    pool->slots = guarded_take(count * sizeof(struct key));
    if (pool->taken == NULL || pool->slots == NULL) {
        sodium_free(pool->slots);
        free(pool->taken);
        free(pool);
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++) {
        pool->free_slots[i] = count - 1 - i; /* The first to be taken is slot 0. */
    }
    return pool;
}

void key_pool_close(struct key_pool *pool)
{
    sodium_free(pool->slots); /* Wipes. */
    free(pool->taken);
    free(pool);
}

struct key *key_take(struct key_pool *pool)
{
    if (pool->free_count == 0) {
        return NULL;
    }
    pool->free_count--;
    uint32_t slot = pool->free_slots[pool->free_count];
    CHECK(!pool->taken[slot]);
    CHECK(sodium_is_zero(pool->slots[slot].bytes, KEY_BYTES)); /* Else somebody wrote to a key that was released. */
    pool->taken[slot] = true;
    return &pool->slots[slot];
}

void key_release(struct key_pool *pool, struct key *key)
{
    if (key == NULL) {
        return;
    }
    CHECK(key >= pool->slots);
    CHECK(key < pool->slots + pool->count);
    uint32_t slot = (uint32_t)(key - pool->slots);
    CHECK(pool->taken[slot]);
    pool->taken[slot] = false;
    wipe_memory(key, sizeof(*key));
    pool->free_slots[pool->free_count] = slot;
    pool->free_count++;
}

uint32_t key_pool_in_use(const struct key_pool *pool)
{
    return pool->count - pool->free_count;
}

/* ---- derivations ------------------------------------------------------------------------------- */

/* One BLAKE2b over up to a few pieces. The state is wiped: it depends on the key. */
struct derivation {
    crypto_generichash_state state;
};

/* `label` is LABEL_BYTES characters; `key` may be NULL. */
static void derivation_begin(struct derivation *derivation, const struct key *key, const char *label)
{
    CHECK(strlen(label) == LABEL_BYTES);
    int failed = key == NULL ? crypto_generichash_init(&derivation->state, NULL, 0, KEY_BYTES)
                             : crypto_generichash_init(&derivation->state, key->bytes, KEY_BYTES, KEY_BYTES);
    CHECK(failed == 0);
    crypto_generichash_update(&derivation->state, (const unsigned char *)label, LABEL_BYTES);
}

static void derivation_add(struct derivation *derivation, const void *data, size_t bytes)
{
    crypto_generichash_update(&derivation->state, data, bytes);
}

static void derivation_end(struct derivation *derivation, uint8_t result[KEY_BYTES])
{
    CHECK(crypto_generichash_final(&derivation->state, result, KEY_BYTES) == 0);
    wipe_memory(derivation, sizeof(*derivation));
    sodium_stackzero(DERIVATION_STACK_BYTES);
}

void derive_identity(uint64_t tenant_id, uint64_t bucket_id, const struct version_id *version, const void *object_key,
                     size_t object_key_bytes, struct object_identity *identity)
{
    CHECK(object_key_bytes <= UINT32_MAX);
    uint8_t fixed[8 + 8 + 16 + 4];
    struct byte_writer writer = byte_writer_of(fixed, sizeof(fixed));
    write_u64(&writer, tenant_id);
    write_u64(&writer, bucket_id);
    write_bytes(&writer, version->bytes, sizeof(version->bytes));
    write_u32(&writer, (uint32_t)object_key_bytes);
    CHECK(!writer.failed && writer.left == 0);

    struct derivation derivation;
    derivation_begin(&derivation, NULL, "TRLide1");
    derivation_add(&derivation, fixed, sizeof(fixed));
    derivation_add(&derivation, object_key, object_key_bytes);
    derivation_end(&derivation, identity->bytes);
}

void derive_object_key(const struct key *leaf, const struct key *dek, const struct object_identity *identity,
                       struct key *object_key)
{
    struct derivation derivation;
    derivation_begin(&derivation, leaf, "TRLobj1");
    derivation_add(&derivation, dek->bytes, KEY_BYTES);
    derivation_add(&derivation, identity->bytes, IDENTITY_BYTES);
    derivation_end(&derivation, object_key->bytes);
}

void derive_chunk_key(const struct key *object_key, const struct chunk_id *chunk, struct key *chunk_key)
{
    struct derivation derivation;
    derivation_begin(&derivation, object_key, "TRLchk1");
    derivation_add(&derivation, chunk->bytes, sizeof(chunk->bytes));
    derivation_end(&derivation, chunk_key->bytes);
}

void derive_meta_key(const struct key *object_key, struct key *meta_key)
{
    struct derivation derivation;
    derivation_begin(&derivation, object_key, "TRLmet1");
    derivation_end(&derivation, meta_key->bytes);
}

void derive_named_key(const struct key *parent, const char *label, struct key *key)
{
    struct derivation derivation;
    derivation_begin(&derivation, parent, "TRLsub1");
    derivation_add(&derivation, label, strlen(label));
    derivation_end(&derivation, key->bytes);
}

void derive_child_key(const struct key *parent, unsigned side, struct key *child)
{
    CHECK(side <= 1);
    CHECK(crypto_kdf_derive_from_key(child->bytes, KEY_BYTES, side, "TRLggm1", parent->bytes) == 0);
    sodium_stackzero(DERIVATION_STACK_BYTES);
}

void key_commitment(const struct key *key, uint8_t commitment[COMMITMENT_BYTES])
{
    struct derivation derivation;
    derivation_begin(&derivation, NULL, "TRLroot");
    derivation_add(&derivation, key->bytes, KEY_BYTES);
    derivation_end(&derivation, commitment);
}

/* ---- boxes ------------------------------------------------------------------------------------- */

void box_seal(const struct key *key, const void *context, size_t context_bytes, const void *plain, size_t bytes,
              uint8_t *sealed)
{
    CHECK(bytes <= BOX_BYTES_MAX);
    randombytes_buf(sealed, BOX_NONCE_BYTES);
    unsigned long long ciphertext_bytes;
    int failed = crypto_aead_xchacha20poly1305_ietf_encrypt(sealed + BOX_NONCE_BYTES, &ciphertext_bytes, plain, bytes,
                                                            context, context_bytes, NULL, sealed, key->bytes);
    CHECK(failed == 0);
    CHECK(ciphertext_bytes == bytes + BOX_TAG_BYTES);
}

enum status box_open(const struct key *key, const void *context, size_t context_bytes, const void *sealed,
                     size_t sealed_bytes, void *plain)
{
    if (sealed_bytes < BOX_OVERHEAD_BYTES || sealed_bytes > BOX_BYTES_MAX + BOX_OVERHEAD_BYTES) {
        return STATUS_INVALID;
    }
    const uint8_t *nonce = sealed;
    const uint8_t *ciphertext = nonce + BOX_NONCE_BYTES;
    size_t bytes = sealed_bytes - BOX_OVERHEAD_BYTES;
    int failed = crypto_aead_xchacha20poly1305_ietf_decrypt_detached(plain, NULL, ciphertext, bytes, ciphertext + bytes,
                                                                     context, context_bytes, nonce, key->bytes);
    return failed == 0 ? STATUS_OK : STATUS_DENIED;
}
