/* passphrase.h - a key from a passphrase: Argon2id version 1.3 (RFC 9106), with libsodium.
 * Slow and hungry for memory on purpose. Threads: any. */
#ifndef TRILITH_BASE_PASSPHRASE_H
#define TRILITH_BASE_PASSPHRASE_H

#include "base/keys.h"

#include <stdbool.h>

#define PASSPHRASE_SALT_BYTES 16

/* What it costs to try one passphrase; stored beside what the key protects. */
struct passphrase_cost {
    uint32_t passes;     /* 1..16 */
    uint32_t memory_kib; /* 8 MiB..4 GiB */
};

/* libsodium's MODERATE: 3 passes over 256 MiB, about a second. */
struct passphrase_cost passphrase_cost_default(void);
bool passphrase_cost_is_valid(const struct passphrase_cost *cost);
/* STATUS_OK; STATUS_FULL: not that much memory; STATUS_INVALID: the cost is out of range. */
MUST_USE enum status passphrase_key(const char *passphrase, const uint8_t salt[PASSPHRASE_SALT_BYTES],
                                    const struct passphrase_cost *cost, struct key *key);

#endif
