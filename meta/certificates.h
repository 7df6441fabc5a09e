/* certificates.h - certificates as they were issued, what is to be certified, and the keys that sign.
 *
 * A certificate is a signed text (evidence.h says what it says). Here it gets its number and its place in the ledger,
 * and the rules hold that no leader can get around:
 * - certificates are numbered from 1 without gaps, in the order in which they were issued;
 * - an erasure is certified when it is closed, wipes and keys, and not before; once, and again only after it was
 * reopened,
 *   and then the new one names the one that it supersedes;
 * - every certificate is in the ledger: by an entry of its own, which holds the SHA-256 of its JWS, or through its
 * batch,
 *   whose certificate is issued by the same command;
 * - the checkpoint that is kept with them is that of the ledger with exactly these entries (ledger.h).
 *
 * Certificates of a batch are much alike, and many: they are kept packed (base/jws_pack.h), all of a round against the
 * first of it. Whether a JWS says what the tables say, and who signed it, is the leader's care: the state machine has
 * no keys. */
#ifndef TRILITH_META_CERTIFICATES_H
#define TRILITH_META_CERTIFICATES_H

#include "meta/change.h"
#include "meta/ledger.h"

#define CERTIFICATES_ISSUED_MAX   64u /* by one command */
#define CERTIFICATE_JWS_BYTES_MAX KIB(144)
#define CERTIFICATES_LIST_MAX     1000u
#define CERTIFICATES_SCAN_MAX     10000u /* rows that one request looks at */
#define SIGNING_KEYS_LIST_MAX     256u

#define CERTIFICATE_OBJECT        "object-erasure"
#define CERTIFICATE_BATCH         "erasure-batch"
#define CERTIFICATE_TENANT        "tenant-crypto-erase"
#define CERTIFICATE_MEDIUM        "media-sanitization"
#define CERTIFICATE_NODE          "node-decommission"
#define CERTIFICATE_KEYS          "key-manifest"

/* ---- changes ----------------------------------------------------------------------------------- */

/* STATUS_OK; STATUS_CONFLICT: `first_seq` is not the next number, an id is taken, an erasure is not closed or certified
 * already, what is superseded does not match, the checkpoint is about another head, or the request is in another stage;
 * STATUS_NOT_FOUND: no such erasure, tenant of it, or request; STATUS_INVALID: malformed. */
MUST_USE enum status certificates_issue(struct change *change, const Trilith__CertIssue *command);
/* STATUS_OK; STATUS_CONFLICT: not the number after the current one; STATUS_INVALID. */
MUST_USE enum status signing_key_add(struct change *change, const Trilith__SigningKeyAdd *command);

/* ---- reads; results stand in the scratch ------------------------------------------------------- */

/* Erasures that are to be certified and whose keys are gone, in the order in which they went; at most `max` behind
 * `after`, which moves on. Begin with {0, 0}. */
struct certificates_due {
    uint64_t seal;
    uint64_t erasure_id;
};
MUST_USE enum status certificates_due(struct tables *tables, const Trilith__ClusterRecord *cluster,
                                      struct certificates_due *after, size_t max, uint64_t *erasure_ids, size_t *count);

/* As it is kept: its text may be packed. STATUS_OK, STATUS_NOT_FOUND. */
MUST_USE enum status certificate_by_seq(struct tables *tables, uint64_t seq, Trilith__Certificate **certificate);
/* Put its JWS into `jws`. STATUS_OK; STATUS_CORRUPT; STATUS_FULL, STATUS_TOO_LARGE: no memory. */
MUST_USE enum status certificate_unpack(struct tables *tables, Trilith__Certificate *certificate);
/* `id`: a UUID as text; anything else is not found. */
MUST_USE enum status certificate_by_id(struct tables *tables, const char *id, Trilith__Certificate **certificate);
/* The last one of an erasure. */
MUST_USE enum status certificate_of_erasure(struct tables *tables, uint64_t erasure_id,
                                            Trilith__Certificate **certificate);

struct certificate_query {
    uint64_t after_seq;
    uint32_t max;                   /* at most CERTIFICATES_LIST_MAX */
    uint64_t tenant_id;             /* 0: all */
    uint64_t from_ms;               /* issued at or after */
    uint64_t until_ms;              /* issued before; 0: any */
    ProtobufCBinaryData object_ref; /* 32 bytes; empty: any */
};
/* By number, without their texts. Looks at CERTIFICATES_SCAN_MAX rows at most; with `more` the reply's `looked_at_seq`
 * is where to go on. STATUS_OK; STATUS_INVALID: a query out of bounds. */
MUST_USE enum status certificate_list(struct tables *tables, const struct certificate_query *query,
                                      Trilith__CertListReply *reply);

/* STATUS_OK, STATUS_NOT_FOUND. */
MUST_USE enum status signing_key(struct tables *tables, uint32_t number, Trilith__SigningKey **key);
/* Newest first, at most SIGNING_KEYS_LIST_MAX. `origin` is left alone. */
MUST_USE enum status signing_key_list(struct tables *tables, Trilith__SigningKeyListReply *reply);

#endif
