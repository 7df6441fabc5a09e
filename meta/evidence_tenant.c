/* evidence_tenant.c - from the facts of a tenant's erasure to the payload of its certificate. */
#include "meta/evidence_tenant.h"

#include "meta/erasure.h"
#include "meta/requests.h"
#include "meta/tenants.h"

#include "base/digest.h"

#include <string.h>

#define PROVIDER_BYTES   24
#define ATTESTATIONS_MAX 1024u /* of one disk, that are looked at for its root */

/* What the certificate is made from. */
struct tenant_facts {
    const struct evidence_issuer *issuer;
    const Trilith__RequestRecord *record;
    const Trilith__TenantErasure *found;
    Trilith__TenantRecord *tenant;
    Trilith__ErasureRecord *erasure;
    struct evidence_copies copies;
    uint32_t shares_pending;
};

/* ---- keys -------------------------------------------------------------------------------------- */

static json_t *deks_value(const struct tenant_facts *facts, bool *good)
{
    json_t *list = json_array();
    for (size_t i = 0; i < facts->tenant->n_deks; i++) {
        const Trilith__DekRecord *dek = facts->tenant->deks[i];
        json_t *value = json_object();
        evidence_put(value, "version", evidence_number(dek->version), good);
        evidence_put(value, "created_at", evidence_time(dek->created_ms), good);
        evidence_put(value, "state", json_string(dek->destroyed_ms != 0 ? "destroyed" : "live"), good);
        *good = json_array_append_new(list, value) == 0 && *good;
    }
    return list;
}

/* What the key management said of the master key: the last word that was noted. NULL: it was never asked. */
static json_t *cmk_said(const Trilith__RequestRecord *record)
{
    json_t *said = NULL;
    for (size_t i = 0; i < record->n_facts; i++) {
        json_t *fact = json_from_canonical((const char *)record->facts[i]->fact.data, record->facts[i]->fact.len);
        json_t *cmk = json_object_get(fact, "cmk");
        if (json_is_object(cmk)) {
            json_decref(said);
            said = json_incref(cmk);
        }
        json_decref(fact);
    }
    return said;
}

static json_t *cmk_value(const struct tenant_facts *facts, bool *good)
{
    json_t *value = json_object();
    json_t *said = cmk_said(facts->record);
    const char *state = json_string_value(json_object_get(said, "state"));
    bool destroyed = state != NULL && strcmp(state, "destroyed") == 0;
    const char *colon = strchr(facts->found->cmk, ':');
    char provider[PROVIDER_BYTES] = "";
    if (colon != NULL && (size_t)(colon - facts->found->cmk) < sizeof(provider)) {
        memcpy(provider, facts->found->cmk, (size_t)(colon - facts->found->cmk));
    }
    evidence_put(value, "provider", evidence_text(provider), good);
    evidence_put(value, "key_id", evidence_text(facts->found->cmk), good);
    evidence_put(value, "dedicated", json_true(), good);
    evidence_put(value, "imported", json_boolean(facts->found->cmk_imported), good);
    evidence_put(value, "action", json_string(destroyed ? "destroy" : "none"), good);
    evidence_put(value, "request_id", json_null(), good);
    evidence_put(value, "state", evidence_text(state), good);
    evidence_put(value, "effective_at",
                 destroyed ? evidence_time((uint64_t)json_integer_value(json_object_get(said, "at_ms"))) : json_null(),
                 good);
    json_decref(said);
    return value;
}

static void crypto_fill(const struct tenant_facts *facts, json_t *crypto, bool *good)
{
    json_t *punctured = json_object();
    evidence_put(punctured, "term", json_null(), good);
    evidence_put(punctured, "index", evidence_number(facts->erasure->punctured_index), good);
    evidence_put(punctured, "at", evidence_time(facts->found->keys_gone_ms), good);
    evidence_put(crypto, "scheme", json_string("EPV-1"), good);
    evidence_put(crypto, "prf", json_string("BLAKE2b-256"), good);
    evidence_put(crypto, "encrypted_since_creation", json_true(), good);
    evidence_put(crypto, "punctured", punctured, good);
    evidence_put(crypto, "pages_dropped", evidence_number(facts->found->pages_dropped), good);
    evidence_put(crypto, "leaves_dropped", evidence_number(facts->found->leaves_dropped), good);
    evidence_put(crypto, "lease_expired_at", evidence_time(facts->found->keys_gone_ms + facts->issuer->key_lease_ms),
                 good);
    evidence_put(crypto, "dek", deks_value(facts, good), good);
    evidence_put(crypto, "cmk", cmk_value(facts, good), good);
}

/* ---- what it is about -------------------------------------------------------------------------- */

static json_t *subject_value(const struct tenant_facts *facts, bool *good)
{
    const Trilith__TenantErasure *found = facts->found;
    const Trilith__Request *request = facts->record->request;
    json_t *value = json_object();
    evidence_put(value, "tenant_ref", evidence_tenant_ref(facts->issuer->cluster_id, request->tenant_id), good);
    evidence_put(value, "contract_ref", evidence_text(request->contract_ref), good);
    evidence_put(value, "objects", evidence_number(found->versions - found->versions_in_grace), good);
    evidence_put(value, "versions", evidence_number(found->versions), good);
    evidence_put(value, "bytes", evidence_number(found->bytes), good);
    evidence_put(value, "chunks", evidence_number(found->chunks), good);
    evidence_put(value, "buckets", evidence_number(found->buckets), good);
    evidence_put(value, "inventory_root", evidence_hex(found->inventory_root.data, found->inventory_root.len), good);
    return value;
}

/* A disk's attestations as the Merkle root over their hashes, in their order: there may be many. */
static void attestations_fold(json_t *replica, bool *good)
{
    struct merkle_edge edge = {0};
    struct merkle_hash root;
    const json_t *list = json_object_get(replica, "attestations");
    size_t count = json_array_size(list);
    for (size_t i = 0; i < count && i < ATTESTATIONS_MAX; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        uint8_t hash[SHA256_BYTES];
        struct merkle_hash leaf;
        *good = *good && text != NULL && hex_decode(text, strlen(text), hash, sizeof(hash));
        merkle_leaf(hash, *good ? sizeof(hash) : 0, &leaf);
        merkle_append(&edge, &leaf, NULL, NULL);
    }
    merkle_root(&edge, &root);
    *good = json_object_del(replica, "attestations") == 0 && *good;
    evidence_put(replica, "attestations", evidence_number(count), good);
    evidence_put(replica, "attestations_root", count > 0 ? evidence_hex(root.bytes, sizeof(root.bytes)) : json_null(),
                 good);
}

static json_t *checks_value(const struct tenant_facts *facts)
{
    bool good = true;
    json_t *list = json_array();
    json_t *sum = json_object();
    json_t *readback = json_object();
    bool read = facts->copies.wiped > 0;
    evidence_put(sum, "name", json_string("leaf_balance"), &good);
    evidence_put(sum, "performed", json_true(), &good);
    evidence_put(sum, "how",
                 json_string("live leaves of the vault were counted against versions and keys at its close"), &good);
    evidence_put(readback, "name", json_string("readback"), &good);
    evidence_put(readback, "performed", json_boolean(read), &good);
    evidence_put(readback, "bytes", read ? evidence_number(facts->copies.bytes) : json_null(), &good);
    evidence_put(readback, "mismatch", read ? json_integer(0) : json_null(), &good);
    good = json_array_append_new(list, sum) == 0 && good;
    good = json_array_append_new(list, readback) == 0 && good;
    if (!good) {
        json_decref(list);
        return NULL;
    }
    return list;
}

/* ---- the certificate --------------------------------------------------------------------------- */

static json_t *begin(const struct tenant_facts *facts, const char *id, uint64_t seq, const char *supersedes)
{
    const Trilith__Request *request = facts->record->request;
    const struct evidence_copies *copies = &facts->copies;
    const char *basis[3] = {evidence_basis_key,
                            copies->wiped > 0 || copies->never_held > 0 ? evidence_basis_attested : NULL};
    struct evidence_common common = {
        .type = EVIDENCE_TENANT,
        .id = id,
        .seq = seq,
        .supersedes = supersedes != NULL && supersedes[0] != '\0' ? supersedes : NULL,
        .request_id = request->id,
        .requested_by = request->requested_by,
        .requested_ms = request->requested_ms,
        .reason_code = request->reason_code,
        .legal_basis = request->legal_basis,
        .legal_hold_checked = true,
        .plan_sha256 = request->plan_sha256,
        .approvals = request->approvals,
        .approval_count = request->n_approvals,
        .method = "none",
        .technique = copies->wiped == 0                   ? evidence_technique_ce
                     : copies->dod3 && !copies->overwrite ? evidence_technique_ce_dod3
                                                          : evidence_technique_ce_overwrite,
        .scope = "tenant",
        .basis = basis,
        .statement = evidence_statement_tenant,
        .result = copies->dead > 0 ? EVIDENCE_PARTIAL : EVIDENCE_ERASED,
        .verification_method = copies->wiped > 0 ? "attested-readback" : "attested",
        .verified_by = "the nodes that hold the disks",
        .verified_ms = facts->erasure->closed_ms,
        .checks = checks_value(facts),
        .residues = evidence_residues_of(facts->issuer, copies, facts->shares_pending),
        .not_claimed = EVIDENCE_BIT(NOT_CLAIMED_MEDIA_LEVEL) | EVIDENCE_BIT(NOT_CLAIMED_OUTSIDE_COPIES) |
                       EVIDENCE_BIT(NOT_CLAIMED_READERS) | EVIDENCE_BIT(NOT_CLAIMED_EARLIER_ROOT) |
                       EVIDENCE_BIT(NOT_CLAIMED_METADATA_NAMES) | EVIDENCE_BIT(NOT_CLAIMED_PEOPLE)};
    common.not_claimed |=
        copies->disks > 0 ? EVIDENCE_BIT(NOT_CLAIMED_LYING_NODE) | EVIDENCE_BIT(NOT_CLAIMED_UNIT_TAGS) : 0;
    common.not_claimed |= copies->dead > 0 ? EVIDENCE_BIT(NOT_CLAIMED_LOST_DISKS) : 0;
    return common.checks == NULL ? NULL : evidence_begin(facts->issuer, &common);
}

static enum status facts_read(struct tables *tables, struct tenant_facts *facts)
{
    const Trilith__Request *request = facts->record->request;
    enum status status = tenant_by_id(tables, request->tenant_id, &facts->tenant);
    if (status == STATUS_OK) {
        status = erasure_record(tables, request->erasure_id, &facts->erasure);
    }
    if (status != STATUS_OK || facts->found == NULL) {
        return tables_missing(tables, status == STATUS_OK ? STATUS_CORRUPT : status);
    }
    /* What has turned up since the request came so far is wiped first. */
    return erasure_is_wiped(facts->erasure) ? STATUS_OK : STATUS_NOT_FOUND;
}

/* `crypto` and `replicas` are taken over. */
static json_t *payload_make(const struct tenant_facts *facts, json_t *payload, json_t *crypto, json_t *replicas)
{
    bool good = payload != NULL;
    size_t index;
    json_t *replica;
    json_array_foreach(replicas, index, replica)
    {
        attestations_fold(replica, &good);
    }
    crypto_fill(facts, crypto, &good);
    json_t *gone =
        facts->found->k_ref_gone_ms != 0 ? json_incref(json_object_get(crypto, "epoch_erased_at")) : json_null();
    evidence_put(payload, "subject", subject_value(facts, &good), &good);
    evidence_put(payload, "crypto", crypto, &good);
    evidence_put(payload, "replicas_summary", replicas, &good);
    evidence_put(payload, "exports", json_array(), &good);
    evidence_put(payload, "k_ref_destroyed_at", gone, &good);
    evidence_put(payload, "reopened", evidence_number(facts->erasure->reopened), &good);
    if (!good) {
        json_decref(payload);
        return NULL;
    }
    return payload;
}

enum status evidence_tenant(const struct evidence_issuer *issuer, struct tables *tables,
                            const Trilith__ClusterRecord *cluster, const Trilith__RequestRecord *record, const char *id,
                            uint64_t seq, const char *supersedes, json_t **payload)
{
    struct tenant_facts facts = {.issuer = issuer, .record = record, .found = record->tenant};
    json_t *crypto = json_object();
    json_t *replicas = NULL;
    (void)cluster;
    enum status status = facts_read(tables, &facts);
    if (status == STATUS_OK) {
        status =
            evidence_epoch(tables, record->request->erasure_id, issuer->slot_backend, crypto, &facts.shares_pending);
    }
    if (status == STATUS_OK) {
        status = evidence_replicas(tables, record->request->erasure_id, &facts.copies, &replicas);
    }
    if (status != STATUS_OK) {
        json_decref(crypto);
        return status;
    }
    *payload = payload_make(&facts, begin(&facts, id, seq, supersedes), crypto, replicas);
    return *payload == NULL ? STATUS_FULL : STATUS_OK;
}
