/* evidence.h - what certificates say: from facts in the tables to canonical JSON. Nothing is signed or stored here.
 *
 * A certificate is a compact JWS (base/jws.h), header {"alg":"EdDSA","kid":"CLUSTER/NUMBER","typ":"erasure-cert+jws"},
 * payload canonical JSON: integers only, times RFC 3339 UTC with milliseconds, hashes and ids in lower-case hex, UUIDs
 * with hyphens. What is not known, or says nothing of this kind, is null, never left out and never guessed. Every
 * payload has
 *
 *   schema "erasure-cert/1", type, cert_id, seq, issued_at, supersedes (id or null),
 *   issuer     {org, cluster_id, kid, software {name, version, build_sha256}}
 *   request    {id, requested_by, requested_at, reason_code, legal_basis, legal_hold_checked, grace_until, plan_sha256, approvals [JWS]}
 *   claim      {method "none", technique, scope, basis [], statement}
 *   result     "ERASED" | "ERASED_PENDING_BACKUP" | "PARTIAL" | "FAILED"
 *   verification {method, by, at, checks [{name, ...figures}]}
 *   residual   [codes], not_claimed [sentences]
 *
 * and by type
 *   object-erasure        subject {tenant_ref, object_ref, version_id, size, chunk_count, created_at}
 *                         crypto {scheme "EPV-1", aead, key_bits, prf, encrypted_since_creation, page, slot, punctured {term, index, at}, epoch,
 *                                 epoch_erased_at, root_commit_old, root_commit_new, slots {n, t, backend, destroyed [], pending []},
 *                                 lease_expired_at, copies {escrow "none", exports [], kms {key_version, state, effective_at}}}
 *                         replicas [{node, disk {uuid, wwn_ref, serial_ref, media}, chunks, bytes, never_held, state, technique,
 *                                    attestations [sha256 of the JWS], attestations_count, attestations_chain}], ever_held_total, shared_chunks_retained 0,
 *                         gateways {acked, total}, metadata {names_sealed false, tombstone_compacted_by null, wal_purged_at null}
 *                         batch {epoch_cert_id, objects_root, leaf_index, path []}
 *   erasure-batch         erasures {count, objects_root, first_seq, last_seq}, vault {epoch, leaves_live, leaves_punctured, leaves_erased},
 *                         totals {certificates, erasures, open}
 *   tenant-crypto-erase   subject {tenant_ref, contract_ref, objects, versions, bytes, chunks, buckets, inventory_root}, crypto {... as above for
 *                         the epoch, pages_dropped, dek [{version, created_at, state}], cmk {provider, key_id, dedicated, action, request_id, state,
 *                         effective_at}}, replicas_summary [{node, disk, chunks, bytes, state}], exports [], k_ref_destroyed_at, reopened
 *   media-sanitization    evidence_media.h      node-decommission  evidence_node.h
 *   key-manifest          keys [{number, kid, public_key, created_at, retired_at}]: the current one and the one that signs this. From
 *                         the second on it is signed by the key before, so each vouches for its successor.
 *
 * A batch is made up of object certificates: its leaf i is merkle_leaf(canonical payload of the i-th without its member
 * `batch`). So `batch.path` leads from a certificate to `objects_root`, which the batch's own certificate states.
 * The ledger's entry of a certificate, other than an object's: {"cert_id","epoch","sha256" of the JWS,"type","v":1}.
 *
 * References hide names. An object's can't be found by trying names without its salt; whoever guesses a tenant's
 * number, or a disk's serial number, can confirm the guess:
 *
 *   tenant_ref   SHA-256("trilith tenant" | cluster id[16] | tenant u64be): no key of a tenant's is left once it is erased
 *   object_ref   HMAC-SHA256(ref_salt, version id | bucket | 0 | key), ref_salt = HMAC-SHA256(K_ref, bucket | 0 | key): the salt
 *                of one object opens that one (OBJECT_OPENING); null: the tenant had no K_ref
 *   wwn_ref, serial_ref   HMAC-SHA256(disk uuid[16], text), as in proto/attestation.h
 *
 * Of an object, in particular:
 *   request      id: the erasure's number; requested_by: the access key; plan_sha256: over disk u32be | chunk id of every wipe
 *   punctured    term: null, the journal has none yet; index: of the journal
 *   lease_expired_at   null when all nodes have said that the keys are not in their memory; else when key_lease had passed
 *   slots        destroyed and pending: servers, from 0
 *   kms          the tenant's data key: its version, "active" | "retired" | "destroyed", and since when
 *   replicas     one for each disk that may ever have held a copy; chunks: copies that were overwritten. state: "wiped";
 *                "never-held": all that was asked for had never been there; "disk-certified": settled by the removal of the disk,
 *                which has a certificate of its own; "ce-only": settled without a wipe, as the disk is dead
 *   attestations, attestations_count   the first 256, and how many there were; attestations_chain: over all of them in order,
 *                SHA-256(chain before, nothing at first | SHA-256 of the attestation)
 *   ever_held_total   places that may ever have held a copy of a chunk
 *   checks       negative_decrypt {performed, how}, orphan_scan {performed}, readback {performed, bytes, mismatch}
 *
 * What is claimed, and what is not, follows from facts alone; research into the wording: a claim never says more than
 * an attestation or the tables show. Texts of `residual` and `not_claimed`: evidence_words.c.
 * Threads    Pure. */
#ifndef TRILITH_META_EVIDENCE_H
#define TRILITH_META_EVIDENCE_H

#include "base/jws.h"
#include "base/merkle.h"
#include "meta/change.h"
#include "meta/evidence_words.h"

#define EVIDENCE_TYPE        "erasure-cert+jws"
#define EVIDENCE_SCHEMA      "erasure-cert/1"
#define EVIDENCE_UUID_BYTES  37 /* with hyphens and the terminator */
#define EVIDENCE_TIME_BYTES  25
#define EVIDENCE_HEX_BYTES   (2 * SHA256_BYTES + 1)
#define EVIDENCE_ENTRY_BYTES 320 /* an entry of the ledger, with a terminator */

#define EVIDENCE_OBJECT      "object-erasure"
#define EVIDENCE_BATCH       "erasure-batch"
#define EVIDENCE_TENANT      "tenant-crypto-erase"
#define EVIDENCE_MEDIA       "media-sanitization"
#define EVIDENCE_NODE        "node-decommission"
#define EVIDENCE_MANIFEST    "key-manifest"

/* Who issues, and when: the same for all that one round makes. */
struct evidence_issuer {
    const char *organization;  /* meta.organization; "" when not set */
    const uint8_t *cluster_id; /* 16 bytes */
    const char *kid;
    uint64_t now_ms;
    uint64_t key_lease_ms;
    const char *slot_backend; /* "file" */
    const char *software_version;
    char software_sha256[EVIDENCE_HEX_BYTES]; /* of the running program; "" when it can't be read */
};

/* ---- values: NULL only when there is no memory ------------------------------------------------- */

json_t *evidence_time(uint64_t ms);      /* null for 0 */
json_t *evidence_number(uint64_t value); /* null for what JSON's integers do not hold everywhere: 2^63 and more */
/* null for NULL and "". What is not printable UTF-8 stands as question marks. */
json_t *evidence_text(const char *text);
json_t *evidence_hex(const void *data, size_t bytes); /* null for none */
json_t *evidence_uuid(const uint8_t uuid[16]);
/* As evidence_hex(); HMAC-SHA256(uuid, text), null for "". */
json_t *evidence_disk_ref(const uint8_t uuid[16], const char *text);
json_t *evidence_tenant_ref(const uint8_t cluster_id[16], uint64_t tenant_id);

/* Put `value` (stolen, may be NULL: no memory) under `key`. A failure stays in `*good`. */
void evidence_put(json_t *object, const char *key, json_t *value, bool *good);

/* ---- what all certificates have ---------------------------------------------------------------- */

/* Texts may be NULL: not known. Lists are NULL-terminated. */
struct evidence_common {
    const char *type;
    const char *id; /* EVIDENCE_UUID_BYTES */
    uint64_t seq;
    const char *supersedes;

    uint64_t request_id; /* 0: nobody asked for it */
    const char *requested_by;
    uint64_t requested_ms;
    const char *reason_code;
    const char *legal_basis;
    bool legal_hold_checked;
    uint64_t grace_until_ms;
    ProtobufCBinaryData plan_sha256;
    Trilith__Approval *const *approvals;
    size_t approval_count;

    const char *method; /* of the claim */
    const char *technique;
    const char *scope;
    const char *const *basis;
    const char *statement;

    const char *result;
    const char *verification_method;
    const char *verified_by;
    uint64_t verified_ms;
    json_t *checks; /* stolen; NULL: none */

    struct evidence_residues residues;
    unsigned not_claimed; /* enum evidence_disclaimer, as bits */
};

/* An object with all common members. NULL: no memory. */
MUST_USE json_t *evidence_begin(const struct evidence_issuer *issuer, const struct evidence_common *common);

/* ---- facts about one erasure, for whichever certificate names it ------------------------------- */

/* What became of the copies. */
struct evidence_copies {
    uint32_t disks;
    uint32_t wiped;      /* copies */
    uint32_t never_held; /* places */
    uint32_t removed;    /* places settled by the disk's removal, */
    uint32_t dead;       /* and of those: on dead disks, without a wipe */
    uint32_t dead_disks;
    uint64_t bytes; /* overwritten */
    bool dod3;      /* at least one disk was overwritten by the longer pattern */
    bool overwrite;
    bool rotational; /* every disk that may hold something, says its node, */
};

/* `*list`: as `replicas` above, the caller's; NULL when only the sums are wanted. STATUS_OK, else the tables have
 * failed;
 * STATUS_FULL: no memory. */
MUST_USE enum status evidence_replicas(struct tables *tables, uint64_t erasure_id, struct evidence_copies *copies,
                                       json_t **list);
/* Put epoch, epoch_erased_at, root_commit_old, root_commit_new and slots into `crypto`. STATUS_NOT_FOUND: the keys are
 * not destroyed yet; STATUS_FULL. */
MUST_USE enum status evidence_epoch(struct tables *tables, uint64_t erasure_id, const char *slot_backend,
                                    json_t *crypto, uint32_t *shares_pending);
/* The residues that follow from these facts and from how this software is made. */
struct evidence_residues evidence_residues_of(const struct evidence_issuer *issuer,
                                              const struct evidence_copies *copies, uint32_t shares_pending);

/* ---- certificates ------------------------------------------------------------------------------ */

/* What is not in the tables. */
struct evidence_object_parts {
    const char *id;
    uint64_t seq;
    uint32_t gateways;       /* nodes in the map, */
    uint32_t gateways_acked; /* and those that said that the keys are not in their memory */
    bool key_refused;        /* the vault was asked for the key, and refused it */
    const char *supersedes;
};

/* An erasure of one version, without `batch`. STATUS_NOT_FOUND: there is no such erasure, or its keys are not destroyed
 * yet;
 * STATUS_FULL: no memory; else the tables have failed. */
MUST_USE enum status evidence_object(const struct evidence_issuer *issuer, struct tables *tables, uint64_t erasure_id,
                                     const struct evidence_object_parts *parts, json_t **payload);

/* The payload of the batch over `count` (1..) leaves; the objects have the numbers before `seq`. `is_partial`: one of
 * them is. NULL: no memory. */
MUST_USE json_t *evidence_batch(const struct evidence_issuer *issuer, const Trilith__ClusterRecord *cluster,
                                const char *id, uint64_t seq, const struct merkle_hash *leaves, size_t count,
                                bool is_partial);
/* The member `batch` of the object at `index`. NULL: no memory. */
MUST_USE json_t *evidence_batch_place(const char *id, const struct merkle_hash *leaves, size_t count, size_t index);
/* The canonical text of an object, which has no such member, with it. To be freed with free(); NULL: no memory. */
MUST_USE char *evidence_batch_join(const char *object, size_t object_bytes, const json_t *place, size_t *bytes);

/* The keys: the current one (`keys[0]`), and the one before it, or NULL. */
MUST_USE json_t *evidence_manifest(const struct evidence_issuer *issuer, const char *id, uint64_t seq,
                                   const Trilith__SigningKey *const *keys, size_t count);

/* Renders the certificate of a request in stage "certify". `*payload` is the caller's. Statuses as
 * evidence_object(). */
typedef enum status evidence_of_request(const struct evidence_issuer *issuer, struct tables *tables,
                                        const Trilith__ClusterRecord *cluster, const Trilith__RequestRecord *record,
                                        const char *id, uint64_t seq, const char *supersedes, json_t **payload);

/* The ledger's entry of a certificate; its length. `epoch` is the vault's when it was issued. */
size_t evidence_entry(const char *id, const char *type, uint64_t epoch, const char *jws, size_t jws_bytes,
                      char entry[EVIDENCE_ENTRY_BYTES]);

/* 16 bytes as text with hyphens. A UUID of version 7 (RFC 9562) from a time and 10 random bytes. */
void evidence_uuid_text(const uint8_t uuid[16], char text[EVIDENCE_UUID_BYTES]);
void evidence_uuid_make(uint64_t now_ms, const uint8_t random[10], uint8_t uuid[16]);

#endif
