/* passphrase.c - Argon2id from libsodium, within limits that are checked before any memory is asked for. */
#include "base/passphrase.h"

#include <sodium.h>
#include <string.h>

#define ARGON2_STACK_BYTES KIB(8) /* libsodium leaves the key on the stack; its functions use less than half of it */
#define PASSES_MAX         16u
#define MEMORY_KIB_MIN     (8u * 1024)
#define MEMORY_KIB_MAX     (4u * 1024 * 1024)

_Static_assert(PASSPHRASE_SALT_BYTES == crypto_pwhash_argon2id_SALTBYTES, "the salt is Argon2id's");
_Static_assert(KEY_BYTES >= crypto_pwhash_argon2id_BYTES_MIN, "a key is a possible output");

struct passphrase_cost passphrase_cost_default(void)
{
    return (struct passphrase_cost){
        .passes = crypto_pwhash_argon2id_OPSLIMIT_MODERATE,
        .memory_kib = crypto_pwhash_argon2id_MEMLIMIT_MODERATE / 1024,
    };
}

bool passphrase_cost_is_valid(const struct passphrase_cost *cost)
{
    return cost->passes >= 1 && cost->passes <= PASSES_MAX && cost->memory_kib >= MEMORY_KIB_MIN &&
           cost->memory_kib <= MEMORY_KIB_MAX;
}

enum status passphrase_key(const char *passphrase, const uint8_t salt[PASSPHRASE_SALT_BYTES],
                           const struct passphrase_cost *cost, struct key *key)
{
    if (!passphrase_cost_is_valid(cost)) {
        return STATUS_INVALID;
    }
    /* The only failure left is that of allocating the memory. */
    int failed = crypto_pwhash_argon2id(key->bytes, KEY_BYTES, passphrase, strlen(passphrase), salt, cost->passes,
                                        (size_t)cost->memory_kib * 1024, crypto_pwhash_argon2id_ALG_ARGON2ID13);
    sodium_stackzero(ARGON2_STACK_BYTES);
    return failed == 0 ? STATUS_OK : STATUS_FULL;
}
