/* tlog_proof.h - that one entry stands in a ledger, as a text of its own: C2SP tlog-proof (tlog-proof.md).
 *
 *   c2sp.org/tlog-proof@v1
 *   extra BASE64             here: the entry's own bytes
 *   index N
 *   HASH                     base64, the inclusion proof (RFC 6962) from the leaf upwards, one per line
 *   (empty line)
 *   the checkpoint           base/checkpoint.h
 *
 * Threads    Pure. */
#ifndef TRILITH_CLUSTER_TLOG_PROOF_H
#define TRILITH_CLUSTER_TLOG_PROOF_H

#include "base/checkpoint.h"

#define TLOG_PROOF_EXTRA_MAX 1024u
#define TLOG_PROOF_BYTES_MAX KIB(32)

struct tlog_proof {
    uint8_t extra[TLOG_PROOF_EXTRA_MAX];
    size_t extra_bytes; /* 0: none */
    uint64_t index;
    struct merkle_hash hashes[MERKLE_PROOF_MAX];
    size_t hash_count;
    const char *note; /* the checkpoint, within what was read or given */
    size_t note_bytes;
};

/* The text, to be freed with free(). NULL: no memory, or over a bound. */
MUST_USE char *tlog_proof_write(const struct tlog_proof *proof);
/* Take a text apart; nothing is verified. `proof->note` points into it. STATUS_OK, STATUS_INVALID, STATUS_TOO_LARGE. */
MUST_USE enum status tlog_proof_read(const char *text, size_t bytes, struct tlog_proof *proof);

#endif
