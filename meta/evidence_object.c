/* evidence_object.c - what is said of one erased version, from the tables: its key, its copies, who asked.
 *
 * Sums come from records that the state machine wrote while it applied commands; nothing is measured or believed
 * here. */
#include "meta/evidence.h"

#include "meta/epochs.h"
#include "meta/registry.h"
#include "meta/tenants.h"

#include "base/seal.h"

#include <stdlib.h>
#include <string.h>

/* ---- copies ------------------------------------------------------------------------------------ */

/* One disk's row, and what the registry says of the disk. */
struct disk_copies {
    uint32_t disk_id;
    const Trilith__DiskWipesRecord *record;
    const Trilith__MapDisk *disk;  /* NULL: not known */
    const Trilith__MapNode *node;  /* likewise */
    const Trilith__Medium *medium; /* likewise */
};

static enum status disk_copies_read(struct tables *tables, struct disk_copies *copies)
{
    Trilith__MapDisk *disk = NULL;
    Trilith__MapNode *node = NULL;
    Trilith__Medium *medium = NULL;
    if (registry_disk(tables, copies->disk_id, &disk) == STATUS_OK) {
        copies->disk = disk;
    }
    uint64_t node_id = copies->record->node_id != 0 ? copies->record->node_id : disk != NULL ? disk->node_id : 0;
    if (node_id != 0 && registry_node(tables, node_id, &node) == STATUS_OK) {
        copies->node = node;
    }
    if (tables_get(tables, key_medium(copies->disk_id), &trilith__medium__descriptor, &medium) == STATUS_OK) {
        copies->medium = medium;
    }
    return tables->failed;
}

static void copies_add(struct evidence_copies *copies, const struct disk_copies *disk)
{
    const Trilith__DiskWipesRecord *record = disk->record;
    bool is_dod3 = record->technique == TRILITH__WIPE_TECHNIQUE__TECHNIQUE_DOD3;
    copies->disks++;
    copies->wiped += record->wiped;
    copies->never_held += record->never_held;
    copies->removed += record->removed;
    copies->bytes += record->bytes;
    if (record->dead) {
        copies->dead += record->removed;
        copies->dead_disks += record->removed > 0 ? 1 : 0;
    }
    if (record->wiped > 0) {
        copies->dod3 = copies->dod3 || is_dod3;
        copies->overwrite = copies->overwrite || !is_dod3;
    }
    if (record->wiped > 0 || record->removed > 0) {
        copies->rotational = copies->rotational && disk->medium != NULL && disk->medium->rotational;
    }
}

static const char *copies_state(const Trilith__DiskWipesRecord *record)
{
    if (record->removed > 0) {
        return record->dead ? "ce-only" : "disk-certified";
    }
    return record->wiped > 0 ? "wiped" : "never-held";
}

static const char *technique_name(const Trilith__DiskWipesRecord *record)
{
    if (record->wiped == 0) {
        return NULL;
    }
    return record->technique == TRILITH__WIPE_TECHNIQUE__TECHNIQUE_DOD3 ? "dod3" : "overwrite";
}

static json_t *disk_value(const struct disk_copies *copies, bool *good)
{
    json_t *value = json_object();
    const Trilith__Medium *medium = copies->medium;
    const uint8_t *uuid = copies->disk != NULL && copies->disk->uuid.len == 16 ? copies->disk->uuid.data : NULL;
    bool known = uuid != NULL && medium != NULL;
    const char *kind = medium == NULL ? NULL : medium->rotational ? "rotational" : "solid-state";
    evidence_put(value, "uuid", uuid != NULL ? evidence_uuid(uuid) : json_null(), good);
    evidence_put(value, "wwn_ref", known ? evidence_disk_ref(uuid, medium->wwn) : json_null(), good);
    evidence_put(value, "serial_ref", known ? evidence_disk_ref(uuid, medium->serial) : json_null(), good);
    evidence_put(value, "media", evidence_text(kind), good);
    return value;
}

static json_t *replica_value(const struct disk_copies *copies, bool *good)
{
    const Trilith__DiskWipesRecord *record = copies->record;
    json_t *value = json_object();
    json_t *attestations = json_array();
    for (size_t i = 0; i < record->n_attestations; i++) {
        json_t *hash = evidence_hex(record->attestations[i].data, record->attestations[i].len);
        *good = json_array_append_new(attestations, hash) == 0 && *good;
    }
    evidence_put(value, "node", evidence_text(copies->node != NULL ? copies->node->name : NULL), good);
    evidence_put(value, "disk", disk_value(copies, good), good);
    evidence_put(value, "chunks", evidence_number(record->wiped), good);
    evidence_put(value, "bytes", evidence_number(record->bytes), good);
    evidence_put(value, "never_held", evidence_number(record->never_held), good);
    evidence_put(value, "state", json_string(copies_state(record)), good);
    evidence_put(value, "technique", evidence_text(technique_name(record)), good);
    evidence_put(value, "attestations", attestations, good);
    evidence_put(value, "attestations_count", evidence_number(record->attestations_count), good);
    evidence_put(value, "attestations_chain",
                 evidence_hex(record->attestations_chain.data, record->attestations_chain.len), good);
    return value;
}

enum status evidence_replicas(struct tables *tables, uint64_t erasure_id, struct evidence_copies *copies, json_t **list)
{
    struct table_walk walk;
    struct kv_slice key, value;
    json_t *replicas = list != NULL ? json_array() : NULL;
    bool good = list == NULL || replicas != NULL;
    *copies = (struct evidence_copies){.rotational = true};
    table_walk_open(&walk, tables, key_prefix(key_disk_wipes(erasure_id, 0), 1 + 8));
    for (; good && table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        struct disk_copies disk = {.disk_id = (uint32_t)number_of_be((const uint8_t *)key.data + 9, 4)};
        disk.record = tables_unpack(tables, &trilith__disk_wipes_record__descriptor, value);
        if (disk.record == NULL || disk_copies_read(tables, &disk) != STATUS_OK) {
            break;
        }
        copies_add(copies, &disk);
        if (replicas != NULL) {
            good = json_array_append_new(replicas, replica_value(&disk, &good)) == 0 && good;
        }
    }
    table_walk_close(&walk);
    if (tables->failed != STATUS_OK || !good) {
        json_decref(replicas);
        return tables->failed != STATUS_OK ? tables->failed : STATUS_FULL;
    }
    if (list != NULL) {
        *list = replicas;
    }
    return STATUS_OK;
}

/* ---- keys -------------------------------------------------------------------------------------- */

/* Servers that have, or have not, destroyed their share. */
static json_t *servers_value(const Trilith__EpochRecord *record, bool destroyed, bool *good)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < record->servers && i < 64; i++) {
        if (((record->destroyed >> i & 1) != 0) == destroyed) {
            *good = json_array_append_new(list, json_integer(i)) == 0 && *good;
        }
    }
    return list;
}

static json_t *slots_value(const Trilith__EpochRecord *record, const char *backend, bool *good)
{
    json_t *value = json_object();
    evidence_put(value, "n", evidence_number(record->servers), good);
    evidence_put(value, "t", evidence_number(record->threshold), good);
    evidence_put(value, "backend", evidence_text(backend), good);
    evidence_put(value, "destroyed", servers_value(record, true, good), good);
    evidence_put(value, "pending", servers_value(record, false, good), good);
    return value;
}

enum status evidence_epoch(struct tables *tables, uint64_t erasure_id, const char *slot_backend, json_t *crypto,
                           uint32_t *shares_pending)
{
    Trilith__EpochRecord *record = NULL;
    Trilith__EpochRecord *next = NULL;
    Trilith__ErasureRecord *erasure = NULL;
    bool good = true;
    enum status status = tables_get(tables, key_erasure(erasure_id), &trilith__erasure_record__descriptor, &erasure);
    if (status == STATUS_OK) { /* Of records of an older version, the id tells. */
        status = erasure->seal != 0 ? epochs_of_seal(tables, erasure->seal, &record)
                                    : epochs_of_erasure(tables, erasure_id, &record);
    }
    if (status == STATUS_OK) {
        status = epochs_get(tables, record->epoch + 1, &next);
    }
    if (status != STATUS_OK) {
        return status;
    }
    *shares_pending = 0;
    for (uint32_t i = 0; i < record->servers && i < 64; i++) {
        *shares_pending += (record->destroyed >> i & 1) == 0 ? 1 : 0;
    }
    evidence_put(crypto, "epoch", evidence_number(record->epoch), &good);
    evidence_put(crypto, "epoch_erased_at", evidence_time(record->destroyed_ms), &good);
    evidence_put(crypto, "root_commit_old", evidence_hex(record->commitment.data, record->commitment.len), &good);
    evidence_put(crypto, "root_commit_new", evidence_hex(next->commitment.data, next->commitment.len), &good);
    evidence_put(crypto, "slots", slots_value(record, slot_backend, &good), &good);
    return good ? STATUS_OK : STATUS_FULL;
}

struct evidence_residues evidence_residues_of(const struct evidence_issuer *issuer,
                                              const struct evidence_copies *copies, uint32_t shares_pending)
{
    struct evidence_residues residues = {0};
    bool has_copies = copies->wiped > 0 || copies->removed > 0;
    if (has_copies && !copies->rotational) {
        evidence_residue_add(&residues, RESIDUE_FTL_CIPHERTEXT, 0);
    }
    if (copies->dead_disks > 0) {
        evidence_residue_add(&residues, RESIDUE_REPLICA_OFFLINE, copies->dead_disks);
    }
    if (strcmp(issuer->slot_backend, "file") == 0) {
        evidence_residue_add(&residues, RESIDUE_ROOT_SLOT_SOFTWARE, 0);
    }
    if (shares_pending > 0) {
        evidence_residue_add(&residues, RESIDUE_SLOT_PENDING, shares_pending);
    }
    if (copies->wiped > 0) { /* Read back, and by nobody else than the device. */
        evidence_residue_add(&residues, RESIDUE_VENDOR_FIRMWARE, 0);
    }
    evidence_residue_add(&residues, RESIDUE_METADATA_UNTIL, 0);
    evidence_residue_add(&residues, RESIDUE_CLIENT_COPIES, 0);
    evidence_residue_add(&residues, RESIDUE_HOST_SNAPSHOT, 0);
    evidence_residue_add(&residues, RESIDUE_NON_FIPS_MODULE, 0);
    return residues;
}

static json_t *kms_value(struct tables *tables, const Trilith__ErasureRecord *record, bool *good)
{
    Trilith__TenantRecord *tenant = NULL;
    json_t *value = json_object();
    const Trilith__DekRecord *dek = NULL;
    if (tenant_by_id(tables, record->tenant_id, &tenant) == STATUS_OK) {
        dek = tenant_dek(tenant, record->dek_version);
    }
    const char *state = NULL;
    uint64_t since_ms = 0;
    if (dek != NULL) {
        state = dek->destroyed_ms != 0 ? "destroyed" : dek->retired_ms != 0 ? "retired" : "active";
        since_ms = dek->destroyed_ms != 0 ? dek->destroyed_ms
                   : dek->retired_ms != 0 ? dek->retired_ms
                                          : dek->created_ms;
    }
    evidence_put(value, "key_version", record->dek_version != 0 ? evidence_number(record->dek_version) : json_null(),
                 good);
    evidence_put(value, "state", evidence_text(state), good);
    evidence_put(value, "effective_at", evidence_time(since_ms), good);
    return value;
}

static json_t *copies_of_keys_value(struct tables *tables, const Trilith__ErasureRecord *record, bool *good)
{
    json_t *value = json_object();
    evidence_put(value, "escrow", json_string("none"), good);
    evidence_put(value, "exports", json_array(), good);
    evidence_put(value, "kms", kms_value(tables, record, good), good);
    return value;
}

static json_t *punctured_value(const Trilith__ErasureRecord *record, bool *good)
{
    json_t *value = json_object();
    evidence_put(value, "term", json_null(), good);
    evidence_put(value, "index", record->punctured_index != 0 ? evidence_number(record->punctured_index) : json_null(),
                 good);
    evidence_put(value, "at", evidence_time(record->punctured_ms), good);
    return value;
}

static void crypto_fill(const struct evidence_issuer *issuer, struct tables *tables,
                        const Trilith__ErasureRecord *record, const struct evidence_object_parts *parts, json_t *crypto,
                        bool *good)
{
    bool is_sm4 = record->suite == SUITE_SM4_GCM;
    bool all_acked = parts->gateways_acked == parts->gateways;
    bool is_leaf = record->punctured_index != 0;
    evidence_put(crypto, "scheme", json_string("EPV-1"), good);
    evidence_put(crypto, "aead", evidence_text(suite_name((enum suite)record->suite)), good);
    evidence_put(crypto, "key_bits", json_integer(is_sm4 ? 128 : 256), good);
    evidence_put(crypto, "prf", json_string("BLAKE2b-256"), good);
    evidence_put(crypto, "encrypted_since_creation", json_true(), good);
    evidence_put(crypto, "page", is_leaf ? evidence_number(record->page) : json_null(), good);
    evidence_put(crypto, "slot", is_leaf ? evidence_number(record->slot) : json_null(), good);
    evidence_put(crypto, "punctured", punctured_value(record, good), good);
    evidence_put(crypto, "lease_expired_at",
                 all_acked ? json_null() : evidence_time(record->punctured_ms + issuer->key_lease_ms), good);
    evidence_put(crypto, "copies", copies_of_keys_value(tables, record, good), good);
}

/* ---- the certificate --------------------------------------------------------------------------- */

static json_t *checks_value(const struct evidence_object_parts *parts, const struct evidence_copies *copies)
{
    bool good = true;
    json_t *list = json_array();
    json_t *decrypt = json_object();
    json_t *orphans = json_object();
    json_t *readback = json_object();
    bool read = copies->wiped > 0;
    evidence_put(decrypt, "name", json_string("negative_decrypt"), &good);
    evidence_put(decrypt, "performed", json_boolean(parts->key_refused), &good);
    evidence_put(decrypt, "how",
                 parts->key_refused ? json_string("the vault was asked for the key and refused it") : json_null(),
                 &good);
    evidence_put(orphans, "name", json_string("orphan_scan"), &good);
    evidence_put(orphans, "performed", json_false(), &good);
    evidence_put(readback, "name", json_string("readback"), &good);
    evidence_put(readback, "performed", json_boolean(read), &good);
    evidence_put(readback, "bytes", read ? evidence_number(copies->bytes) : json_null(), &good);
    /* A copy that did not read back as it was written keeps the erasure open. */
    evidence_put(readback, "mismatch", read ? json_integer(0) : json_null(), &good);
    good = json_array_append_new(list, decrypt) == 0 && good;
    good = json_array_append_new(list, orphans) == 0 && good;
    good = json_array_append_new(list, readback) == 0 && good;
    if (!good) {
        json_decref(list);
        return NULL;
    }
    return list;
}

static json_t *subject_value(const struct evidence_issuer *issuer, const Trilith__ErasureRecord *record, bool *good)
{
    json_t *value = json_object();
    evidence_put(value, "tenant_ref", evidence_tenant_ref(issuer->cluster_id, record->tenant_id), good);
    evidence_put(value, "object_ref", evidence_hex(record->object_ref.data, record->object_ref.len), good);
    evidence_put(value, "version_id", evidence_hex(record->version_id.data, record->version_id.len), good);
    evidence_put(value, "size", evidence_number(record->object_bytes), good);
    evidence_put(value, "chunk_count", evidence_number(record->chunks), good);
    evidence_put(value, "created_at", evidence_time(record->created_ms), good);
    return value;
}

static const char *technique_of(const struct evidence_copies *copies)
{
    if (copies->wiped == 0) {
        return evidence_technique_ce;
    }
    return copies->dod3 && !copies->overwrite ? evidence_technique_ce_dod3 : evidence_technique_ce_overwrite;
}

/* `checks` is taken over. */
static json_t *begin(const struct evidence_issuer *issuer, const Trilith__ErasureRecord *record, uint64_t erasure_id,
                     const struct evidence_object_parts *parts, const struct evidence_copies *copies,
                     uint32_t shares_pending)
{
    const char *basis[4] = {evidence_basis_key, evidence_basis_gateways};
    basis[2] = copies->wiped > 0 || copies->never_held > 0 ? evidence_basis_attested : NULL;
    struct evidence_common common = {
        .type = EVIDENCE_OBJECT,
        .id = parts->id,
        .seq = parts->seq,
        .supersedes = parts->supersedes,
        .request_id = erasure_id,
        .requested_by = record->requested_by,
        .requested_ms = record->requested_ms,
        .reason_code = record->reason,
        .legal_hold_checked = true,
        .grace_until_ms = record->grace_until_ms,
        .plan_sha256 = record->plan_sha256,
        .method = "none",
        .technique = technique_of(copies),
        .scope = "object",
        .basis = basis,
        .statement = evidence_statement_object,
        .result = copies->dead > 0 ? EVIDENCE_PARTIAL : EVIDENCE_ERASED,
        .verification_method = copies->wiped > 0 ? "attested-readback" : "attested",
        .verified_by = "the nodes that hold the disks",
        .verified_ms = record->closed_ms,
        .checks = checks_value(parts, copies),
        .residues = evidence_residues_of(issuer, copies, shares_pending),
        .not_claimed = EVIDENCE_BIT(NOT_CLAIMED_MEDIA_LEVEL) | EVIDENCE_BIT(NOT_CLAIMED_OUTSIDE_COPIES) |
                       EVIDENCE_BIT(NOT_CLAIMED_READERS) | EVIDENCE_BIT(NOT_CLAIMED_EARLIER_ROOT) |
                       EVIDENCE_BIT(NOT_CLAIMED_METADATA_NAMES) | EVIDENCE_BIT(NOT_CLAIMED_OTHER_WRITES)};
    common.not_claimed |=
        copies->disks > 0 ? EVIDENCE_BIT(NOT_CLAIMED_LYING_NODE) | EVIDENCE_BIT(NOT_CLAIMED_UNIT_TAGS) : 0;
    common.not_claimed |= copies->dead > 0 ? EVIDENCE_BIT(NOT_CLAIMED_LOST_DISKS) : 0;
    if (common.checks == NULL) {
        return NULL;
    }
    return evidence_begin(issuer, &common);
}

static void object_fill(const struct evidence_issuer *issuer, const Trilith__ErasureRecord *record,
                        const struct evidence_object_parts *parts, json_t *payload, bool *good)
{
    json_t *gateways = json_object();
    json_t *metadata = json_object();
    evidence_put(gateways, "acked", evidence_number(parts->gateways_acked), good);
    evidence_put(gateways, "total", evidence_number(parts->gateways), good);
    evidence_put(metadata, "names_sealed", json_false(), good);
    evidence_put(metadata, "tombstone_compacted_by", json_null(), good);
    evidence_put(metadata, "wal_purged_at", json_null(), good);
    evidence_put(payload, "subject", subject_value(issuer, record, good), good);
    evidence_put(payload, "ever_held_total", evidence_number(record->wipes_total), good);
    evidence_put(payload, "shared_chunks_retained", json_integer(0), good);
    evidence_put(payload, "gateways", gateways, good);
    evidence_put(payload, "metadata", metadata, good);
}

enum status evidence_object(const struct evidence_issuer *issuer, struct tables *tables, uint64_t erasure_id,
                            const struct evidence_object_parts *parts, json_t **payload)
{
    Trilith__ErasureRecord *record = NULL;
    struct evidence_copies copies;
    uint32_t shares_pending = 0;
    json_t *crypto = json_object();
    json_t *replicas = NULL;
    json_t *object = NULL;
    bool good = crypto != NULL;
    enum status status = tables_get(tables, key_erasure(erasure_id), &trilith__erasure_record__descriptor, &record);
    if (status == STATUS_OK) {
        status = evidence_epoch(tables, erasure_id, issuer->slot_backend, crypto, &shares_pending);
    }
    if (status == STATUS_OK) {
        status = evidence_replicas(tables, erasure_id, &copies, &replicas);
    }
    if (status == STATUS_OK) {
        crypto_fill(issuer, tables, record, parts, crypto, &good);
        object = begin(issuer, record, erasure_id, parts, &copies, shares_pending);
        good = good && object != NULL;
        object_fill(issuer, record, parts, object, &good);
        evidence_put(object, "crypto", json_incref(crypto), &good);
        evidence_put(object, "replicas", json_incref(replicas), &good);
        status = tables->failed != STATUS_OK ? tables->failed : good ? STATUS_OK : STATUS_FULL;
    }
    json_decref(crypto);
    json_decref(replicas);
    if (status != STATUS_OK) {
        json_decref(object);
        return status;
    }
    *payload = object;
    return STATUS_OK;
}
