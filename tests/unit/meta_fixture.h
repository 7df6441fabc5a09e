/* meta_fixture.h - for tests of the metadata state: a state machine on a simulated table, and commands in one line. */
#ifndef TRILITH_TESTS_META_FIXTURE_H
#define TRILITH_TESTS_META_FIXTURE_H

#include "meta/catalog.h"
#include "meta/epochs.h"
#include "meta/erasure.h"
#include "meta/leaves.h"
#include "meta/registry.h"
#include "meta/state.h"
#include "meta/tenants.h"
#include "tests/sim/sim_kv.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define FIXTURE_CHUNKS_MAX 64
#define FIXTURE_LEASE_MS   1000000

struct meta_fixture {
    struct kv *kv;
    struct state *state;
    uint64_t index;
    uint64_t now_ms;
    uint64_t next_chunk; /* names of chunks and versions are drawn from here */
    uint64_t next_version;
    uint32_t pg; /* where the next commits put their chunks */
    struct outcome outcome;
    uint64_t tenant;
    uint64_t bucket;
    char *requested_by; /* of deletions */
    bool has_salt;
    uint8_t ref_salt[32];
};

static inline enum status fixture_apply(struct meta_fixture *f, Trilith__Command *command)
{
    static uint8_t bytes[COMMAND_BYTES_MAX];
    command->time_ms = f->now_ms;
    size_t size = protobuf_c_message_get_packed_size(&command->base);
    cr_assert_leq(size, sizeof(bytes));
    protobuf_c_message_pack(&command->base, bytes);
    enum status status = state_apply(f->state, ++f->index, bytes, size, &f->outcome);
    cr_assert_eq(status, STATUS_OK, "apply: %s", status_name(status));
    return f->outcome.status;
}

static inline struct tables *fixture_tables(struct meta_fixture *f)
{
    struct tables *tables = state_tables(f->state);
    scratch_reset(&tables->scratch);
    return tables;
}

static inline enum status fixture_join_disks(struct meta_fixture *f, const char *name, const char *domain,
                                             uint8_t first_uuid, size_t disk_count)
{
    char node[64];
    char failure_domain[64];
    static char rpc[] = "127.0.0.1:7500";
    uint8_t uuids[8][16];
    Trilith__NodeJoinDisk disks[8];
    Trilith__NodeJoinDisk *pointers[8];
    Trilith__NodeJoin join = TRILITH__NODE_JOIN__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    (void)snprintf(node, sizeof(node), "%s", name);
    (void)snprintf(failure_domain, sizeof(failure_domain), "%s", domain);
    for (size_t i = 0; i < disk_count; i++) {
        memset(uuids[i], (int)(first_uuid + i), 16);
        trilith__node_join_disk__init(&disks[i]);
        disks[i].uuid = (ProtobufCBinaryData){.data = uuids[i], .len = 16};
        disks[i].capacity = GIB(1);
        pointers[i] = &disks[i];
    }
    join.name = node;
    join.rpc_address = rpc;
    join.s3_address = rpc;
    join.failure_domain = failure_domain;
    join.disks = pointers;
    join.n_disks = disk_count;
    join.pgs_per_disk = 24;
    join.scatter_width = 4;
    command.change_case = TRILITH__COMMAND__CHANGE_NODE_JOIN;
    command.node_join = &join;
    return fixture_apply(f, &command);
}

static inline enum status fixture_join(struct meta_fixture *f, const char *name, uint8_t uuid)
{
    return fixture_join_disks(f, name, name, uuid, 1);
}

static inline enum status fixture_lease(struct meta_fixture *f, uint64_t tenant, uint64_t bucket, uint32_t count)
{
    Trilith__LeaseLeaves lease = TRILITH__LEASE_LEAVES__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    lease.node_id = 1;
    lease.tenant_id = tenant;
    lease.bucket_id = bucket;
    lease.count = count;
    lease.expires_ms = f->now_ms + FIXTURE_LEASE_MS;
    command.change_case = TRILITH__COMMAND__CHANGE_LEASE_LEAVES;
    command.lease_leaves = &lease;
    return fixture_apply(f, &command);
}

/* Node `node` leases a leaf to seal this version of a key of the fixture's bucket anew. */
static inline enum status fixture_lease_for_reseal_by(struct meta_fixture *f, uint64_t node, ProtobufCBinaryData key,
                                                      ProtobufCBinaryData version)
{
    Trilith__LeaseLeaves lease = TRILITH__LEASE_LEAVES__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    lease.node_id = node;
    lease.tenant_id = f->tenant;
    lease.bucket_id = f->bucket;
    lease.count = 1;
    lease.expires_ms = f->now_ms + FIXTURE_LEASE_MS;
    lease.reseal_key = key;
    lease.reseal_version = version;
    command.change_case = TRILITH__COMMAND__CHANGE_LEASE_LEAVES;
    command.lease_leaves = &lease;
    return fixture_apply(f, &command);
}

static inline enum status fixture_lease_for_reseal(struct meta_fixture *f, ProtobufCBinaryData key,
                                                   ProtobufCBinaryData version)
{
    return fixture_lease_for_reseal_by(f, 1, key, version);
}

/* A tenant without keys. */
static inline enum status fixture_tenant_begin(struct meta_fixture *f, const char *name)
{
    char text[128];
    Trilith__TenantCreate create = TRILITH__TENANT_CREATE__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    (void)snprintf(text, sizeof(text), "%s", name);
    create.name = text;
    command.change_case = TRILITH__COMMAND__CHANGE_TENANT_CREATE;
    command.tenant_create = &create;
    return fixture_apply(f, &command);
}

#define FIXTURE_CMK "file:0011223344556677"

static inline Trilith__TenantRecord *fixture_tenant(struct meta_fixture *f, uint64_t tenant)
{
    Trilith__TenantRecord *record = NULL;
    cr_assert_eq(tenant_by_id(fixture_tables(f), tenant, &record), STATUS_OK);
    return record;
}

/* A DEK as the KMS and the vault would have left it; `leaf` is where it is sealed. */
static inline Trilith__SealedDek fixture_sealed_dek(uint32_t version, struct leaf_at leaf)
{
    static uint8_t sealed[112] = {1};
    Trilith__SealedDek dek = TRILITH__SEALED_DEK__INIT;
    dek.version = version;
    dek.page = leaf.page;
    dek.slot = leaf.slot;
    dek.sealed = (ProtobufCBinaryData){.data = sealed, .len = sizeof(sealed)};
    return dek;
}

static inline enum status fixture_dek_apply(struct meta_fixture *f, uint64_t tenant, Trilith__SealedDek *dek,
                                            const char *cmk)
{
    char name[64];
    Trilith__DekAdd add = TRILITH__DEK_ADD__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    (void)snprintf(name, sizeof(name), "%s", cmk);
    add.tenant_id = tenant;
    add.dek = dek;
    add.cmk = name;
    command.change_case = TRILITH__COMMAND__CHANGE_DEK_ADD;
    command.dek_add = &add;
    return fixture_apply(f, &command);
}

/* Lease leaves for keys of a tenant; outcome.leased. */
static inline struct leaf_at fixture_lease_for_keys(struct meta_fixture *f, uint64_t tenant, uint32_t count)
{
    cr_assert_eq(fixture_lease(f, tenant, 0, count), STATUS_OK);
    return (struct leaf_at){.page = f->outcome.leased.page, .slot = f->outcome.leased.first_slot};
}

/* The tenant's next DEK, under a leaf leased for it. */
static inline enum status fixture_dek_add(struct meta_fixture *f, uint64_t tenant)
{
    const struct leaf_at leaf = fixture_lease_for_keys(f, tenant, 1);
    const Trilith__TenantRecord *record = fixture_tenant(f, tenant);
    Trilith__SealedDek dek = fixture_sealed_dek(record->dek_version + 1, leaf);
    return fixture_dek_apply(f, tenant, &dek, record->cmk[0] != '\0' ? record->cmk : FIXTURE_CMK);
}

static inline enum status fixture_dek_destroy(struct meta_fixture *f, uint64_t tenant, uint32_t version)
{
    Trilith__DekDestroy destroy = TRILITH__DEK_DESTROY__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    destroy.tenant_id = tenant;
    destroy.version = version;
    command.change_case = TRILITH__COMMAND__CHANGE_DEK_DESTROY;
    command.dek_destroy = &destroy;
    return fixture_apply(f, &command);
}

static inline enum status fixture_cmk_apply(struct meta_fixture *f, uint64_t tenant, const char *cmk,
                                            const char *replaced, Trilith__SealedDek *deks, size_t count)
{
    char names[2][64];
    Trilith__SealedDek *pointers[DEKS_MAX + 1];
    Trilith__CmkSet set = TRILITH__CMK_SET__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    (void)snprintf(names[0], sizeof(names[0]), "%s", cmk);
    (void)snprintf(names[1], sizeof(names[1]), "%s", replaced);
    for (size_t i = 0; i < count; i++) {
        pointers[i] = &deks[i];
    }
    set.tenant_id = tenant;
    set.cmk = names[0];
    set.replaced_cmk = names[1];
    set.imported = true;
    set.deks = pointers;
    set.n_deks = count;
    command.change_case = TRILITH__COMMAND__CHANGE_CMK_SET;
    command.cmk_set = &set;
    return fixture_apply(f, &command);
}

/* Every DEK that is not destroyed, as it would be under another master key: `deks` has DEKS_MAX. Returns how many. */
static inline size_t fixture_deks_anew(struct meta_fixture *f, uint64_t tenant, Trilith__SealedDek *deks)
{
    uint32_t versions[DEKS_MAX];
    size_t count = 0;
    const Trilith__TenantRecord *record = fixture_tenant(f, tenant);
    for (size_t i = 0; i < record->n_deks; i++) {
        if (record->deks[i]->destroyed_ms == 0) {
            versions[count++] = record->deks[i]->version;
        }
    }
    for (size_t i = 0; i < count; i++) {
        deks[i] = fixture_sealed_dek(versions[i], fixture_lease_for_keys(f, tenant, 1));
    }
    return count;
}

/* The tenant's DEKs under another master key. */
static inline enum status fixture_cmk_set(struct meta_fixture *f, uint64_t tenant, const char *cmk)
{
    char replaced[64];
    Trilith__SealedDek deks[DEKS_MAX];
    size_t count = fixture_deks_anew(f, tenant, deks);
    (void)snprintf(replaced, sizeof(replaced), "%s", fixture_tenant(f, tenant)->cmk);
    return fixture_cmk_apply(f, tenant, cmk, replaced, deks, count);
}

static inline enum status fixture_key_state(struct meta_fixture *f, uint64_t tenant, bool revoked)
{
    Trilith__KeyStateSet set = TRILITH__KEY_STATE_SET__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    set.tenant_id = tenant;
    set.revoked = revoked;
    command.change_case = TRILITH__COMMAND__CHANGE_KEY_STATE_SET;
    command.key_state_set = &set;
    return fixture_apply(f, &command);
}

/* A tenant with its first DEK. */
static inline enum status fixture_tenant_create(struct meta_fixture *f, const char *name)
{
    enum status status = fixture_tenant_begin(f, name);
    return status == STATUS_OK ? fixture_dek_add(f, f->outcome.id) : status;
}

static inline enum status fixture_credential_create(struct meta_fixture *f, const char *tenant, const char *access_key,
                                                    uint32_t dek_version)
{
    char names[2][128];
    char role[] = "owner";
    uint8_t sealed[72] = {2};
    Trilith__CredentialCreate create = TRILITH__CREDENTIAL_CREATE__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    (void)snprintf(names[0], sizeof(names[0]), "%s", tenant);
    (void)snprintf(names[1], sizeof(names[1]), "%s", access_key);
    create.tenant = names[0];
    create.access_key = names[1];
    create.role = role;
    create.sealed_secret = (ProtobufCBinaryData){.data = sealed, .len = sizeof(sealed)};
    create.dek_version = dek_version;
    command.change_case = TRILITH__COMMAND__CHANGE_CREDENTIAL_CREATE;
    command.credential_create = &create;
    return fixture_apply(f, &command);
}

static inline enum status fixture_credential_reseal(struct meta_fixture *f, const char *access_key,
                                                    uint32_t dek_version)
{
    char name[128];
    uint8_t sealed[72] = {3};
    Trilith__CredentialReseal reseal = TRILITH__CREDENTIAL_RESEAL__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    (void)snprintf(name, sizeof(name), "%s", access_key);
    reseal.access_key = name;
    reseal.sealed_secret = (ProtobufCBinaryData){.data = sealed, .len = sizeof(sealed)};
    reseal.dek_version = dek_version;
    command.change_case = TRILITH__COMMAND__CHANGE_CREDENTIAL_RESEAL;
    command.credential_reseal = &reseal;
    return fixture_apply(f, &command);
}

static inline enum status fixture_credential_revoke(struct meta_fixture *f, const char *access_key)
{
    char name[128];
    Trilith__CredentialRevokeRequest revoke = TRILITH__CREDENTIAL_REVOKE_REQUEST__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    (void)snprintf(name, sizeof(name), "%s", access_key);
    revoke.access_key = name;
    command.change_case = TRILITH__COMMAND__CHANGE_CREDENTIAL_REVOKE;
    command.credential_revoke = &revoke;
    return fixture_apply(f, &command);
}

/* A tenant with its first DEK and its reference key, as a service makes it. */
static inline enum status fixture_tenant_create_with_ref(struct meta_fixture *f, const char *name)
{
    enum status status = fixture_tenant_begin(f, name);
    if (status != STATUS_OK) {
        return status;
    }
    char cmk[] = FIXTURE_CMK;
    Trilith__DekAdd add = TRILITH__DEK_ADD__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    add.tenant_id = f->outcome.id;
    const struct leaf_at leaf = fixture_lease_for_keys(f, add.tenant_id, 2);
    Trilith__SealedDek dek = fixture_sealed_dek(1, leaf);
    add.dek = &dek;
    add.cmk = cmk;
    add.ref_page = leaf.page;
    add.ref_slot = leaf.slot + 1;
    command.change_case = TRILITH__COMMAND__CHANGE_DEK_ADD;
    command.dek_add = &add;
    return fixture_apply(f, &command);
}

/* ---- the vault's epochs ------------------------------------------------------------------------ */

/* Seal `epoch` for three servers; the commitment is 32 times `mark`. */
static inline enum status fixture_seal(struct meta_fixture *f, uint64_t epoch, uint8_t mark)
{
    uint8_t commitment[32];
    Trilith__EpochSeal seal = TRILITH__EPOCH_SEAL__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    memset(commitment, mark, sizeof(commitment));
    seal.epoch = epoch;
    seal.commitment = (ProtobufCBinaryData){.data = commitment, .len = sizeof(commitment)};
    seal.servers = 3;
    seal.threshold = 2;
    command.change_case = TRILITH__COMMAND__CHANGE_EPOCH_SEAL;
    command.epoch_seal = &seal;
    return fixture_apply(f, &command);
}

static inline enum status fixture_switch_as(struct meta_fixture *f, uint64_t epoch, uint8_t mark, uint64_t prepared,
                                            uint64_t leaves_erased)
{
    uint8_t commitment[32];
    Trilith__EpochSwitch switching = TRILITH__EPOCH_SWITCH__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    memset(commitment, mark, sizeof(commitment));
    switching.epoch = epoch;
    switching.commitment = (ProtobufCBinaryData){.data = commitment, .len = sizeof(commitment)};
    switching.prepared = prepared;
    switching.leaves_erased = leaves_erased;
    command.change_case = TRILITH__COMMAND__CHANGE_EPOCH_SWITCH;
    command.epoch_switch = &switching;
    return fixture_apply(f, &command);
}

/* Two of three servers have prepared, and their vaults agree with the state. */
static inline enum status fixture_switch(struct meta_fixture *f, uint64_t epoch, uint8_t mark)
{
    return fixture_switch_as(f, epoch, mark, 5, state_cluster(f->state)->sealed_punctured);
}

static inline enum status fixture_erased(struct meta_fixture *f, uint64_t epoch, uint64_t destroyed)
{
    Trilith__EpochErased erased = TRILITH__EPOCH_ERASED__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    erased.epoch = epoch;
    erased.destroyed = destroyed;
    command.change_case = TRILITH__COMMAND__CHANGE_EPOCH_ERASED;
    command.epoch_erased = &erased;
    return fixture_apply(f, &command);
}

/* The current epoch is closed and destroyed. Returns its number. */
static inline uint64_t fixture_close_epoch(struct meta_fixture *f)
{
    uint64_t epoch = state_cluster(f->state)->epoch;
    cr_assert_eq(fixture_seal(f, epoch + 1, (uint8_t)(epoch + 1)), STATUS_OK);
    cr_assert_eq(fixture_switch(f, epoch + 1, (uint8_t)(epoch + 1)), STATUS_OK);
    if (epoch > 0) {
        cr_assert_eq(fixture_erased(f, epoch, 3), STATUS_OK);
    }
    return epoch;
}

static inline enum status fixture_lapse(struct meta_fixture *f)
{
    Trilith__LapseLeaves lapse = TRILITH__LAPSE_LEAVES__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    command.change_case = TRILITH__COMMAND__CHANGE_LAPSE_LEAVES;
    command.lapse_leaves = &lapse;
    return fixture_apply(f, &command);
}

/* ---- buckets and objects ----------------------------------------------------------------------- */

static inline enum status fixture_bucket_create(struct meta_fixture *f, uint64_t tenant, const char *name)
{
    char text[128];
    Trilith__BucketCreateRequest create = TRILITH__BUCKET_CREATE_REQUEST__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    (void)snprintf(text, sizeof(text), "%s", name);
    create.tenant_id = tenant;
    create.name = text;
    command.change_case = TRILITH__COMMAND__CHANGE_BUCKET_CREATE;
    command.bucket_create = &create;
    return fixture_apply(f, &command);
}

static inline enum status fixture_bucket_delete(struct meta_fixture *f, uint64_t tenant, const char *name)
{
    char text[128];
    Trilith__BucketDeleteRequest request = TRILITH__BUCKET_DELETE_REQUEST__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    (void)snprintf(text, sizeof(text), "%s", name);
    request.tenant_id = tenant;
    request.name = text;
    command.change_case = TRILITH__COMMAND__CHANGE_BUCKET_DELETE;
    command.bucket_delete = &request;
    return fixture_apply(f, &command);
}

/* A commit that a test may bend before it is applied. */
struct fixture_commit {
    Trilith__ObjectCommitRequest request;
    Trilith__Object object;
    Trilith__ChunkRef chunks[FIXTURE_CHUNKS_MAX];
    Trilith__ChunkRef *pointers[FIXTURE_CHUNKS_MAX];
    uint8_t ids[FIXTURE_CHUNKS_MAX][16];
    uint8_t version[16];
    uint8_t key[OBJECT_KEY_BYTES_MAX + 1];
};

/* A good commit of `chunk_count` chunks of 1,000 bytes under a leaf leased for it. */
static inline void fixture_commit_prepare(struct meta_fixture *f, struct fixture_commit *commit, const void *key,
                                          size_t key_bytes, size_t chunk_count)
{
    static char etag[] = "0123456789abcdef-1";
    cr_assert_leq(key_bytes, sizeof(commit->key));
    cr_assert_eq(fixture_lease(f, f->tenant, f->bucket, 1), STATUS_OK);
    trilith__object_commit_request__init(&commit->request);
    trilith__object__init(&commit->object);
    memcpy(commit->key, key, key_bytes);
    memset(commit->version, 0, sizeof(commit->version));
    uint64_t version = ++f->next_version;
    memcpy(commit->version, &version, sizeof(version));
    for (size_t i = 0; i < chunk_count; i++) {
        uint64_t chunk = ++f->next_chunk * UINT64_C(0x9e3779b97f4a7c15);
        memset(commit->ids[i], 0xc5, 16);
        memcpy(commit->ids[i], &chunk, sizeof(chunk));
        trilith__chunk_ref__init(&commit->chunks[i]);
        commit->chunks[i].chunk_id = (ProtobufCBinaryData){.data = commit->ids[i], .len = 16};
        commit->chunks[i].pg = f->pg;
        commit->chunks[i].chunk_bytes = 1000;
        commit->pointers[i] = &commit->chunks[i];
    }
    commit->object.version_id = (ProtobufCBinaryData){.data = commit->version, .len = 16};
    commit->object.size = 1000 * chunk_count;
    commit->object.suite = 1;
    commit->object.dek_version = 1;
    commit->object.page = f->outcome.leased.page;
    commit->object.slot = f->outcome.leased.first_slot;
    commit->object.etag = etag;
    commit->object.chunks = commit->pointers;
    commit->object.n_chunks = chunk_count;
    commit->request.tenant_id = f->tenant;
    commit->request.bucket_id = f->bucket;
    commit->request.key = (ProtobufCBinaryData){.data = commit->key, .len = key_bytes};
    commit->request.object = &commit->object;
}

static inline enum status fixture_commit_apply(struct meta_fixture *f, struct fixture_commit *commit)
{
    Trilith__Command command = TRILITH__COMMAND__INIT;
    command.change_case = TRILITH__COMMAND__CHANGE_OBJECT_COMMIT;
    command.object_commit = &commit->request;
    return fixture_apply(f, &command);
}

static inline enum status fixture_put(struct meta_fixture *f, const void *key, size_t key_bytes, size_t chunk_count)
{
    static struct fixture_commit commit;
    fixture_commit_prepare(f, &commit, key, key_bytes, chunk_count);
    return fixture_commit_apply(f, &commit);
}

static inline enum status fixture_delete(struct meta_fixture *f, const char *bucket, const void *key, size_t key_bytes)
{
    char name[128];
    uint8_t copy[OBJECT_KEY_BYTES_MAX];
    Trilith__ObjectDeleteRequest request;
    trilith__object_delete_request__init(&request);
    Trilith__Command command = TRILITH__COMMAND__INIT;
    (void)snprintf(name, sizeof(name), "%s", bucket);
    memcpy(copy, key, key_bytes);
    request.tenant_id = f->tenant;
    request.bucket = name;
    request.key = (ProtobufCBinaryData){.data = copy, .len = key_bytes};
    request.requested_by = f->requested_by != NULL ? f->requested_by : request.requested_by;
    request.ref_salt = (ProtobufCBinaryData){.data = f->ref_salt, .len = f->has_salt ? sizeof(f->ref_salt) : 0};
    command.change_case = TRILITH__COMMAND__CHANGE_OBJECT_DELETE;
    command.object_delete = &request;
    return fixture_apply(f, &command);
}

/* A gateway gives up `count` chunks and the leaf of their write. */
static inline enum status fixture_abort(struct meta_fixture *f, Trilith__ChunkRef **chunks, size_t count,
                                        struct leaf_at leaf)
{
    Trilith__CondemnChunks condemn = TRILITH__CONDEMN_CHUNKS__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    condemn.reason = TRILITH__CONDEMN_REASON__CONDEMN_ABORT;
    condemn.tenant_id = f->tenant;
    condemn.chunks = chunks;
    condemn.n_chunks = count;
    condemn.page = leaf.page;
    condemn.slot = leaf.slot;
    command.change_case = TRILITH__COMMAND__CHANGE_CONDEMN_CHUNKS;
    command.condemn_chunks = &condemn;
    return fixture_apply(f, &command);
}

static inline enum status fixture_condemn(struct meta_fixture *f, Trilith__CondemnReason reason, uint32_t disk,
                                          Trilith__ChunkRef **chunks, size_t count)
{
    Trilith__CondemnChunks condemn = TRILITH__CONDEMN_CHUNKS__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    condemn.reason = reason;
    condemn.tenant_id = f->tenant;
    condemn.disk_id = disk;
    condemn.chunks = chunks;
    condemn.n_chunks = count;
    command.change_case = TRILITH__COMMAND__CHANGE_CONDEMN_CHUNKS;
    command.condemn_chunks = &condemn;
    return fixture_apply(f, &command);
}

/* Report `outcome` for everything that `disk` owes, with an attestation (NULL: none). Returns how many wipes that
 * were. */
static inline size_t fixture_wipe_attested(struct meta_fixture *f, uint32_t disk, Trilith__WipeOutcome outcome,
                                           const char *attestation)
{
    uint8_t jws[256];
    Trilith__WipePullReply pulled = TRILITH__WIPE_PULL_REPLY__INIT;
    cr_assert_eq(erasure_pull(fixture_tables(f), disk, NULL, WIPES_PULLED_MAX, &pulled), STATUS_OK);
    static Trilith__WipeResult results[WIPES_PULLED_MAX];
    static Trilith__WipeResult *pointers[WIPES_PULLED_MAX];
    for (size_t i = 0; i < pulled.n_wipes; i++) {
        trilith__wipe_result__init(&results[i]);
        results[i].chunk_id = pulled.wipes[i]->chunk_id;
        results[i].erasure_id = pulled.wipes[i]->erasure_id;
        results[i].outcome = outcome;
        results[i].technique = pulled.wipes[i]->technique;
        results[i].bytes = outcome == TRILITH__WIPE_OUTCOME__WIPE_WIPED ? 4096 : 0;
        pointers[i] = &results[i];
    }
    Trilith__RecordWipes wipes = TRILITH__RECORD_WIPES__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    wipes.disk_id = disk;
    wipes.results = pointers;
    wipes.n_results = pulled.n_wipes;
    if (attestation != NULL) {
        wipes.attestation = (ProtobufCBinaryData){.data = jws, .len = strlen(attestation)};
        cr_assert_leq(wipes.attestation.len, sizeof(jws));
        memcpy(jws, attestation, wipes.attestation.len);
    }
    command.change_case = TRILITH__COMMAND__CHANGE_RECORD_WIPES;
    command.record_wipes = &wipes;
    cr_assert_eq(fixture_apply(f, &command), STATUS_OK);
    return pulled.n_wipes;
}

static inline size_t fixture_wipe_all(struct meta_fixture *f, uint32_t disk, Trilith__WipeOutcome outcome)
{
    return fixture_wipe_attested(f, disk, outcome, NULL);
}

/* Wipe everything on all disks. */
static inline void fixture_wipe_everywhere(struct meta_fixture *f)
{
    for (uint32_t disk = 1; disk <= 4; disk++) {
        (void)fixture_wipe_all(f, disk, TRILITH__WIPE_OUTCOME__WIPE_WIPED);
    }
}

static inline Trilith__ErasureRecord *fixture_erasure(struct meta_fixture *f, uint64_t id)
{
    Trilith__ErasureRecord *record = NULL;
    cr_assert_eq(erasure_record(fixture_tables(f), id, &record), STATUS_OK);
    return record;
}

/* ---- life -------------------------------------------------------------------------------------- */

/* An empty state with a cluster. */
static inline void fixture_open_empty(struct meta_fixture *f)
{
    static uint8_t cluster_id[16] = {7};
    Trilith__ClusterCreate create = TRILITH__CLUSTER_CREATE__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    *f = (struct meta_fixture){.kv = sim_kv_open(), .now_ms = 1000000, .pg = 1};
    cr_assert_eq(state_open(f->kv, &f->state), STATUS_OK);
    create.cluster_id = (ProtobufCBinaryData){.data = cluster_id, .len = 16};
    command.change_case = TRILITH__COMMAND__CHANGE_CLUSTER_CREATE;
    command.cluster_create = &create;
    cr_assert_eq(fixture_apply(f, &command), STATUS_OK);
}

/* A cluster with four nodes of one disk, a tenant "acme" and its bucket "photos". */
static inline void fixture_open(struct meta_fixture *f)
{
    fixture_open_empty(f);
    cr_assert_eq(fixture_join(f, "node1", 1), STATUS_OK);
    cr_assert_eq(fixture_join(f, "node2", 2), STATUS_OK);
    cr_assert_eq(fixture_join(f, "node3", 3), STATUS_OK);
    cr_assert_eq(fixture_join(f, "node4", 4), STATUS_OK);
    cr_assert_eq(fixture_tenant_create(f, "acme"), STATUS_OK);
    f->tenant = f->outcome.id;
    cr_assert_eq(fixture_bucket_create(f, f->tenant, "photos"), STATUS_OK);
    f->bucket = f->outcome.id;
}

static inline void fixture_close(struct meta_fixture *f)
{
    state_close(f->state);
    kv_close(f->kv);
}

/* A change of the tables that no command makes, for what others build commands of: begin, then any functions that take
 * a change, then end. The state is opened anew. */
struct fixture_change {
    struct change change;
    Trilith__ClusterRecord cluster;
};

static inline struct change *fixture_change_begin(struct meta_fixture *f, struct fixture_change *direct)
{
    struct tables *tables = fixture_tables(f);
    direct->cluster = *state_cluster(f->state);
    direct->change =
        (struct change){.tables = tables, .cluster = &direct->cluster, .time_ms = f->now_ms, .index = f->index};
    kv_batch_clear(tables->batch);
    return &direct->change;
}

static inline void fixture_change_end(struct meta_fixture *f, struct fixture_change *direct)
{
    struct tables *tables = state_tables(f->state);
    cr_assert_eq(tables->failed, STATUS_OK);
    tables_put(tables, key_cluster(), &direct->cluster);
    cr_assert_eq(kv_write(f->kv, tables->batch), STATUS_OK);
    f->outcome.erasure_id = direct->change.outcome.erasure_id;
    state_close(f->state);
    cr_assert_eq(state_open(f->kv, &f->state), STATUS_OK);
}

/* Write one row over, behind the state's back. */
static inline void fixture_row(struct meta_fixture *f, struct table_key key, const void *message)
{
    struct fixture_change direct;
    tables_put(fixture_change_begin(f, &direct)->tables, key, message);
    fixture_change_end(f, &direct);
}

/* How long deletions from the fixture's bucket can be taken back, and how its copies are overwritten. */
static inline enum status fixture_bucket_set(struct meta_fixture *f, uint64_t grace_ms,
                                             Trilith__WipeTechnique technique)
{
    char name[] = "photos";
    Trilith__BucketSetRequest set;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    trilith__bucket_set_request__init(&set);
    set.tenant_id = f->tenant;
    set.name = name;
    set.set_grace = true;
    set.grace_ms = grace_ms;
    set.set_technique = true;
    set.technique = technique;
    command.change_case = TRILITH__COMMAND__CHANGE_BUCKET_SET;
    command.bucket_set = &set;
    return fixture_apply(f, &command);
}

static inline enum status fixture_grace_end(struct meta_fixture *f)
{
    Trilith__GraceEnd end = TRILITH__GRACE_END__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    command.change_case = TRILITH__COMMAND__CHANGE_GRACE_END;
    command.grace_end = &end;
    return fixture_apply(f, &command);
}

/* A fingerprint of everything in a table: FNV-1a over keys and values with their lengths. */
static inline uint64_t fixture_fingerprint(struct kv *kv)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    struct kv_iterator *iterator = kv_iterator_open(kv);
    kv_iterator_seek(iterator, KV_SLICE("", 0));
    for (; kv_iterator_valid(iterator); kv_iterator_next(iterator)) {
        const struct kv_slice both[2] = {kv_iterator_key(iterator), kv_iterator_value(iterator)};
        for (size_t s = 0; s < 2; s++) {
            hash = (hash ^ both[s].bytes) * UINT64_C(0x100000001b3);
            for (size_t i = 0; i < both[s].bytes; i++) {
                hash = (hash ^ ((const uint8_t *)both[s].data)[i]) * UINT64_C(0x100000001b3);
            }
        }
    }
    kv_iterator_close(iterator);
    return hash;
}

/* The version of a key of the fixture's bucket, in the scratch. */
static inline enum status fixture_look_up(struct meta_fixture *f, const char *key, Trilith__Object **object)
{
    uint8_t copy[64];
    size_t bytes = strlen(key);
    memcpy(copy, key, bytes);
    return catalog_object(fixture_tables(f), f->bucket, (ProtobufCBinaryData){.data = copy, .len = bytes}, object);
}

#endif
