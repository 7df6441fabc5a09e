/* aead.h - one authenticated cipher as one library implements it: what lies under seal.h. Private to seal.c, the
 * implementations aead_*.c, and their tests.
 *
 * A message is `data` followed by a trailer of four bytes that lies elsewhere. Both are encrypted in place, as one
 * message under one tag. An implementation holds the expanded key in locked memory, and one key at a time.
 * Threads    One per aead. */
#ifndef TRILITH_BASE_AEAD_H
#define TRILITH_BASE_AEAD_H

#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AEAD_KEY_BYTES     32
#define AEAD_NONCE_BYTES   12
#define AEAD_TRAILER_BYTES 4
#define AEAD_TAG_BYTES     16

struct aead;

struct aead_message {
    uint8_t nonce[AEAD_NONCE_BYTES];
    const uint8_t *associated;
    size_t associated_bytes;
    uint8_t *data;
    size_t data_bytes; /* 1..UNIT_BYTES */
    uint8_t *trailer;  /* AEAD_TRAILER_BYTES */
    uint8_t *tag;      /* AEAD_TAG_BYTES */
};

struct aead_ops {
    void (*set_key)(struct aead *aead, const uint8_t key[AEAD_KEY_BYTES]);
    /* Overwrite the expanded key. */
    void (*forget)(struct aead *aead);
    /* Encrypt data and trailer, write the tag. */
    void (*seal)(struct aead *aead, const struct aead_message *message);
    /* Decrypt data and trailer. False: the tag does not match; both then hold anything and the caller wipes them. */
    MUST_USE bool (*open)(struct aead *aead, const struct aead_message *message);
    void (*close)(struct aead *aead);
};

struct aead {
    const struct aead_ops *ops;
};

/* AES-256-GCM (NIST SP 800-38D). NULL: the library or this CPU's AES instructions are missing, or no locked memory. */
MUST_USE struct aead *aead_gcrypt_open(void);
MUST_USE struct aead *aead_sodium_open(void);
#ifdef TRILITH_SM4
/* SM4-GCM (RFC 8998): of the key, the first AEAD_SM4_KEY_BYTES count. NULL: as above, or the library has no SM4. */
#define AEAD_SM4_KEY_BYTES 16
MUST_USE struct aead *aead_gcrypt_sm4_open(void);
#endif

#endif
