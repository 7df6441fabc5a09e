/* checkpoint.h - the signed head of a ledger: a C2SP checkpoint (tlog-checkpoint.md) in a signed note (signed-note.md).
 *
 *   trilith/6f1c...e2          origin: what the ledger is called
 *   1205                       leaves
 *   5xR...=                    root, base64
 *   (empty line)
 *   - origin keyid|signature   with an em dash for the hyphen; one such line per key that signed
 *
 * The text that is signed ends with the newline of its third line. Key id = first 4 bytes of
 * SHA-256(name | 0a | 01 | public key). While keys overlap, both sign.
 * A verifier key is "name+hex(keyid)+base64(01 | public key)".
 * Threads    Pure. */
#ifndef TRILITH_BASE_CHECKPOINT_H
#define TRILITH_BASE_CHECKPOINT_H

#include "base/merkle.h"
#include "base/signature.h"

#define CHECKPOINT_ORIGIN_BYTES   80      /* with the terminator; no space, no plus sign */
#define CHECKPOINT_BYTES_MAX      1024    /* of what is written, with the terminator */
#define CHECKPOINT_NOTE_MAX       KIB(16) /* of what is read: witnesses may have added lines */
#define CHECKPOINT_KEYS_MAX       4
#define CHECKPOINT_VERIFIER_BYTES 192

struct checkpoint {
    char origin[CHECKPOINT_ORIGIN_BYTES];
    uint64_t size;
    struct merkle_hash root;
};

/* The text to be signed. */
void checkpoint_text(const struct checkpoint *checkpoint, char text[CHECKPOINT_BYTES_MAX]);
/* Add the line of one signature to `note`, which begins as the text and an empty line: call it with an empty `note`
 * first. */
void checkpoint_add_signature(const struct checkpoint *checkpoint, const struct public_key *public_key,
                              const struct signature *signature, char note[CHECKPOINT_BYTES_MAX]);

/* Take a note apart, and check that one of `keys` has signed it; lines of others are passed over. STATUS_OK;
 * STATUS_INVALID: not a checkpoint, or one with more than its three lines, or over CHECKPOINT_NOTE_MAX;
 * STATUS_DENIED: none of these keys has signed, or a line under the id of one of them does not verify. */
MUST_USE enum status checkpoint_open(const char *note, size_t bytes, const struct public_key *keys, size_t key_count,
                                     struct checkpoint *checkpoint);

/* "name+keyid+key" for other tools. */
void checkpoint_verifier(const char *origin, const struct public_key *public_key, char text[CHECKPOINT_VERIFIER_BYTES]);

#endif
