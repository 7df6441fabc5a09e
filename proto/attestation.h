/* attestation.h - what a node signs for when it has wiped: one statement over one report of wipes.
 *
 * A compact JWS (base/jws.h), header {"alg":"EdDSA","kid":NODE,"typ":"replica-wipe-attest+jws"}. Its payload is
 * canonical JSON: integers only, times RFC 3339 UTC with milliseconds, ids and digests in lower-case hex, null for what
 * the node does not know.
 *
 *   node         its name, as in `kid`                boot_id      of the running kernel
 *   sw_digest    SHA-256 of the running program       cluster_id   the cluster it belongs to
 *   disk         {id, uuid, wwn_ref, serial_ref, model, firmware, rotational, media}
 *   fs           {type, mount_opts, shares_extents, discard}: what the disk's directory lies on
 *   count        results in this report               bytes        that were overwritten, in all of them
 *   chunks_root  Merkle root (base/merkle.h) over one leaf per result, in the order of the report:
 *                erasure u64be | chunk id[16] | outcome u8 | technique u8 | bytes u64be | digest[32] (nothing when
 *                there is none)
 *   technique    {asked, used}: "overwrite", "dod3" (0x55, 0xaa, then the same), "mixed"; used: null when nothing was
 *                wiped
 *   passes       [{pattern, bytes}] in the order of writing: "0x55", "0xaa", "chacha20"; [] when nothing was wiped
 *   readback     {bytes, mismatch}: bytes read back and compared; copies whose bytes were not what had been written
 *   started_at, finished_at   of this report, by the node's clock
 *   errors       results that say that the device refused
 *   entries      [{erasure, wiped, never_held, failed, bytes, technique, digest}], one per erasure, in the order in
 *                which they first appear; digest = SHA-256 over the leaves, as above, of that erasure's results
 *
 * serial_ref and wwn_ref are HMAC-SHA256(disk uuid, text): whoever holds the disk can show that it is this one, and no
 * serial number is told. `media` is "rotational", "solid-state" or null; it and `rotational` are null of a virtual
 * disk. A copy that had been wiped before this report, whose result got lost, is in it again with the technique and the
 * bytes of then; one whose bytes are not known any more counts with 0.
 *
 * What this shows is that the node said so, with the key that it had registered. It can't show that a node did not lie.
 * Bounds     ATTESTATION_RESULTS_MAX results; JWS_BYTES_MAX.
 * Threads    Pure. */
#ifndef TRILITH_PROTO_ATTESTATION_H
#define TRILITH_PROTO_ATTESTATION_H

#include "base/digest.h"
#include "base/ids.h"
#include "base/jws.h"
#include "proto/wire.pb-c.h"

#define ATTESTATION_TYPE        "replica-wipe-attest+jws"
#define ATTESTATION_RESULTS_MAX 1024u
#define ATTESTATION_NODE_BYTES  64u  /* with the terminator */
#define ATTESTATION_TEXT_BYTES  256u /* of any other text in it; longer ones are cut */

/* What the node knows beside the results. Texts may be "": not known. */
struct attestation_facts {
    const char *node; /* 1..63 characters */
    const char *boot_id;
    const char *sw_digest;
    const uint8_t *cluster_id; /* 16 bytes; NULL: none */
    uint32_t disk_id;
    struct uuid disk_uuid;
    const Trilith__Medium *medium;       /* NULL: nothing is known */
    const Trilith__WipeTechnique *asked; /* one per result */
    uint32_t mismatches;                 /* results that failed because the read-back differed */
    uint64_t started_ms;                 /* since 1970 UTC */
    uint64_t finished_ms;
};

/* The JWS over `results` (1..ATTESTATION_RESULTS_MAX, as WIPE_DONE carries them), signed with `seed`. To be freed with
 * free(); NULL: no memory, or a result that can't be stated (an erasure of 2^53 and more, an id or digest of another
 * length, an outcome of no meaning). */
MUST_USE char *attestation_make(const struct attestation_facts *facts, Trilith__WipeResult *const *results,
                                size_t count, const struct key *seed);

/* Does this JWS, signed with `public_key`, say as node `node` about disk `disk_id` the same as `results`? STATUS_OK;
 * STATUS_INVALID: it is not an attestation; STATUS_DENIED: another key, node or disk, or it says something else;
 * STATUS_TOO_LARGE; STATUS_BUSY: no memory. */
MUST_USE enum status attestation_check(const void *text, size_t bytes, const struct public_key *public_key,
                                       const char *node, uint32_t disk_id, Trilith__WipeResult *const *results,
                                       size_t count);

/* The same, and `*packed` is the JWS packed (base/jws_pack.h); to be freed with free(). */
MUST_USE enum status attestation_check_and_pack(const void *text, size_t bytes, const struct public_key *public_key,
                                                const char *node, uint32_t disk_id, Trilith__WipeResult *const *results,
                                                size_t count, uint8_t **packed, size_t *packed_bytes);

/* ---- reading one without the results ------------------------------------------------------------- */

/* An attestation taken apart. */
struct attestation {
    struct jws jws; /* payload: everything else that it says */
    char node[ATTESTATION_NODE_BYTES];
    uint32_t disk_id;
    struct uuid disk_uuid;
    uint32_t count;
    uint64_t bytes;
};

/* What it says about one erasure. */
struct attestation_entry {
    uint64_t erasure_id;
    uint32_t wiped;
    uint32_t never_held;
    uint32_t failed;
    uint64_t bytes;
    char technique[16]; /* "" when nothing was wiped */
    uint8_t digest[SHA256_BYTES];
};

/* Take `text` apart and verify it with `public_key`: the form of every member, and that the entries add up to the
 * totals. STATUS_OK: the attestation is the caller's until attestation_close(). STATUS_INVALID: not an attestation;
 * STATUS_DENIED: not signed with this key; STATUS_TOO_LARGE. Nothing to close then. */
MUST_USE enum status attestation_open(struct attestation *attestation, const void *text, size_t bytes,
                                      const struct public_key *public_key);
void attestation_close(struct attestation *attestation);
/* False: it says nothing about that erasure. */
bool attestation_find(const struct attestation *attestation, uint64_t erasure_id, struct attestation_entry *entry);

#endif
