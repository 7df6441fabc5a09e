/* meta_service_world.h - the metadata service on simulated disks, tables and network, as its peers see it.
 *
 * Each life of the service runs on a loop of its own, so a crash stops it between any two steps: nothing of it ever
 * runs again, and what it had allocated is kept in `lost`. The KMS is a fake that holds its master keys across lives,
 * forgets those it is told to destroy, and can be told to be away. */
#ifndef TRILITH_TESTS_UNIT_META_SERVICE_WORLD_H
#define TRILITH_TESTS_UNIT_META_SERVICE_WORLD_H

#include "meta/journal_local.h"
#include "meta/service_private.h"
#include "meta/vault/slot_file.h"
#include "proto/attestation.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_kv.h"
#include "tests/sim/sim_net.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define LEASE_MS           10000
#define LEAF_LEASE_MS      3600000
#define DEK_RETIRE_MS      60000
#define SIGNING_OVERLAP_MS 3600000
#define SOFTWARE_SHA256    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define CMKS_MAX           64u
#define LIVES_MAX          128u

static struct sim_loop *sim;
static struct sim_disk *disk; /* the journal's */
static struct sim_disk *tables_disk;
static struct sim_disk *slot_disk;
static bool slot_is_new; /* make the slot's file although there was an epoch already */
static struct sim_net *net;
static struct kv *kv;
static struct kv *covers;

/* One life of the service. */
static struct life {
    struct sim_loop *loop;
    struct sim_host *host;
    struct kms *kms;
    struct slot *slot;
    struct state *state;
    struct meta_service *service;
    struct journal *journal;
    struct rpc_client *client;
    bool answered;
    bool stopped;
    unsigned failures;
    enum status status;
} life;

static struct life lost[LIVES_MAX]; /* what crashes have left behind: no leaks */
static unsigned life_count;

/* ---- the KMS ----------------------------------------------------------------------------------- */

static struct {
    struct kms_provider base;
    struct key cmks[CMKS_MAX]; /* zero: destroyed */
    unsigned count;
    bool is_away;
    bool lacks_ed25519;  /* it can't hold signing keys */
    bool has_other_keys; /* than before, of the same numbers */
    unsigned signed_calls;
    bool keeps_destroyed;    /* KMS_DESTROY answers STATUS_UNSUPPORTED */
    void (*meanwhile)(void); /* NULL, or what happens while it unwraps */
} fake_kms;

static const struct key zero_key;

static struct key *fake_cmk(const char *name)
{
    unsigned number = 0;
    if (sscanf(name, "fake:%032x", &number) != 1 || number == 0 || number > fake_kms.count) {
        return NULL;
    }
    struct key *cmk = &fake_kms.cmks[number - 1];
    return memcmp(cmk, &zero_key, sizeof(zero_key)) == 0 ? NULL : cmk;
}

static void fake_cmk_new(struct kms_call *call, const uint8_t *bytes)
{
    cr_assert_lt(fake_kms.count, CMKS_MAX);
    struct key *cmk = &fake_kms.cmks[fake_kms.count++];
    if (bytes != NULL) {
        memcpy(cmk->bytes, bytes, KEY_BYTES);
    } else {
        key_make(cmk);
    }
    (void)snprintf(call->cmk, sizeof(call->cmk), "fake:%032x", fake_kms.count);
}

static enum status fake_with_cmk(struct kms_call *call)
{
    struct key *cmk = fake_cmk(call->cmk);
    if (cmk == NULL) {
        return STATUS_NOT_FOUND;
    }
    switch (call->operation) {
    case KMS_WRAP:
        box_seal(cmk, call->context, call->context_bytes, call->dek->bytes, KEY_BYTES, call->sealed);
        call->sealed_bytes = KEY_BYTES + BOX_OVERHEAD_BYTES;
        return STATUS_OK;
    case KMS_UNWRAP:
        if (fake_kms.meanwhile != NULL) {
            fake_kms.meanwhile();
        }
        if (call->sealed_bytes != KEY_BYTES + BOX_OVERHEAD_BYTES) {
            return STATUS_DENIED;
        }
        return box_open(cmk, call->context, call->context_bytes, call->sealed, call->sealed_bytes, call->dek->bytes);
    case KMS_DESTROY:
        if (fake_kms.keeps_destroyed) {
            return STATUS_UNSUPPORTED;
        }
        *cmk = zero_key;
        return STATUS_OK;
    default:
        return STATUS_INVALID;
    }
}

/* An import is "encrypted" by turning every bit over; one that begins with 0 does not open. */
static enum status fake_import(struct kms_call *call)
{
    uint8_t plain[KEY_BYTES];
    if (call->sealed_bytes != KEY_BYTES) {
        return STATUS_INVALID;
    }
    for (size_t i = 0; i < KEY_BYTES; i++) {
        plain[i] = (uint8_t)~call->sealed[i];
    }
    if (call->sealed[0] == 0) {
        return STATUS_DENIED;
    }
    fake_cmk_new(call, plain);
    return STATUS_OK;
}

/* The seed of a signing key is its number, again and again. */
static void fake_sign(struct kms_call *call)
{
    struct key seed;
    memset(&seed, (int)call->number + (fake_kms.has_other_keys ? 100 : 0), sizeof(seed));
    if (fake_kms.lacks_ed25519) {
        call->status = STATUS_UNSUPPORTED;
        (void)snprintf(call->message, sizeof(call->message), "it lacks Ed25519");
    } else if (call->operation == KMS_SIGNING_KEY) {
        signature_public_key(&seed, &call->signing_key);
    } else {
        fake_kms.signed_calls++;
        for (uint32_t i = 0; i < call->batch->count; i++) {
            size_t bytes = 0;
            const uint8_t *text = kms_batch_message(call->batch, i, &bytes);
            signature_sign(&seed, text, bytes, &call->batch->signatures[i]);
        }
    }
}

static void fake_perform(struct kms_provider *provider, struct kms_call *call)
{
    (void)provider;
    call->message[0] = '\0';
    call->status = STATUS_OK;
    if (fake_kms.is_away) {
        call->status = STATUS_KEY_AWAY;
        (void)snprintf(call->message, sizeof(call->message), "unplugged");
    } else if (call->operation == KMS_CREATE) {
        fake_cmk_new(call, NULL);
    } else if (call->operation == KMS_IMPORT) {
        call->status = fake_import(call);
    } else if (call->operation == KMS_TRANSPORT) {
        (void)snprintf(call->public_key, sizeof(call->public_key), "PEM");
        (void)snprintf(call->algorithm, sizeof(call->algorithm), "RSA-OAEP-SHA256");
    } else if (call->operation == KMS_SIGNING_KEY || call->operation == KMS_SIGN) {
        fake_sign(call);
    } else if (call->operation != KMS_CHECK) {
        call->status = fake_with_cmk(call);
    }
}

static void fake_close(struct kms_provider *provider)
{
    (void)provider;
}

static const struct kms_provider_ops fake_ops = {.perform = fake_perform, .close = fake_close};

/* ---- lives ------------------------------------------------------------------------------------- */

static inline void journal_opened(void *user, enum status status, struct journal *journal, const char *text)
{
    (void)user;
    cr_assert_eq(status, STATUS_OK, "%s", text);
    life.journal = journal;
    life.answered = true;
}

static inline void slot_opened(void *user, enum status status, struct slot *slot)
{
    (void)user;
    life.status = status;
    life.slot = slot;
    life.answered = true;
}

static inline void started(void *user, enum status status)
{
    (void)user;
    life.status = status;
    life.answered = true;
}

static inline void service_failed(void *user, enum status status)
{
    (void)user;
    cr_assert_neq(status, STATUS_OK);
    life.failures++;
}

static inline void stopped(void *user)
{
    (void)user;
    life.stopped = true;
}

static inline void wait_for(const bool *flag)
{
    cr_assert(sim_loop_run_until(sim, flag));
}

static inline void open_parts(void)
{
    struct sim_disk *disks[] = {disk, tables_disk, slot_disk};
    memset(&life, 0, sizeof(life));
    cr_assert_lt(life_count, LIVES_MAX);
    life.loop = sim_loop_fork(sim, "meta", 100 + life_count++);
    life.host = sim_net_host(net, "meta", life.loop);
    for (size_t i = 0; i < ARRAY_LENGTH(disks); i++) {
        sim_disk_attach(disks[i], life.loop);
    }
    const struct kms_options kms_options = {.call_ns = 5 * NS_PER_S, .inline_calls = true};
    fake_kms.base = (struct kms_provider){.ops = &fake_ops, .name = "fake"};
    life.kms = kms_open(sim_loop_interface(life.loop), &fake_kms.base, &kms_options);
    cr_assert_not_null(life.kms);
    cr_assert_eq(state_open(kv, &life.state), STATUS_OK);
    slot_file_open(sim_loop_interface(life.loop), sim_disk_interface(slot_disk),
                   slot_is_new || state_cluster(life.state)->epoch == 0, slot_opened, NULL);
    wait_for(&life.answered);
    cr_assert_eq(life.status, STATUS_OK);
}

/* Start the service, which may be refused. */
static inline enum status start_with(uint64_t epoch_ms)
{
    open_parts();
    struct loop *loop = sim_loop_interface(life.loop);
    const struct meta_service_parts parts = {
        .loop = loop,
        .net = sim_host_interface(life.host),
        .kv = kv,
        .state = life.state,
        .kms = life.kms,
        .vault = {.loop = loop, .disk = sim_disk_interface(tables_disk), .covers = covers, .slot = life.slot},
        .failed = service_failed};
    const struct meta_service_options options = {.node_lease_ms = LEASE_MS,
                                                 .leaf_lease_ms = LEAF_LEASE_MS,
                                                 .key_lease_ms = 30000,
                                                 .pgs_per_disk = 24,
                                                 .scatter_width = 4,
                                                 .epoch_ms = epoch_ms,
                                                 .dek_retire_ms = DEK_RETIRE_MS,
                                                 .signing_overlap_ms = SIGNING_OVERLAP_MS,
                                                 .organization = "Example GmbH",
                                                 .software_sha256 = SOFTWARE_SHA256};
    life.service = meta_service_open(&parts, &options);
    cr_assert_not_null(life.service);
    const struct journal_local_options journal_options = {.segment_bytes = JOURNAL_SEGMENT_BYTES_MIN,
                                                          .segments_wanted = 2,
                                                          .applied_index = state_applied_index(life.state)};
    life.answered = false;
    journal_local_open(loop, sim_disk_interface(disk), &journal_options, meta_service_journal_user(life.service),
                       journal_opened, NULL);
    wait_for(&life.answered);
    cr_assert_eq(meta_service_health(life.service), STATUS_OK);
    life.answered = false;
    meta_service_start(life.service, life.journal, "meta:7400", started, NULL);
    wait_for(&life.answered);
    if (life.status == STATUS_OK) {
        life.client = rpc_client_open(sim_loop_interface(sim), sim_net_interface(net), "meta:7400");
        cr_assert_not_null(life.client);
    }
    return life.status;
}

static inline void start(void)
{
    cr_assert_eq(start_with(0), STATUS_OK, "%s", meta_service_message(life.service));
}

static inline void end(void)
{
    if (life.client != NULL) {
        rpc_client_close(life.client);
    }
    meta_service_stop(life.service, stopped, NULL);
    wait_for(&life.stopped);
    sim_loop_run_for(sim, NS_PER_S);
    slot_close(life.slot);
    state_close(life.state);
    cr_assert(kms_is_idle(life.kms));
    kms_close(life.kms);
    sim_host_crash(life.host, false);
    sim_loop_close(life.loop);
}

/* Lose power: the tables go back to some flushed state, the disks keep what was durable. */
static inline void crash(uint64_t seed)
{
    sim_disk_crash(disk);
    sim_disk_crash(tables_disk);
    sim_disk_crash(slot_disk);
    sim_kv_crash(kv, seed);
    sim_kv_crash(covers, seed + 1);
    if (life.client != NULL) {
        rpc_client_close(life.client);
    }
    lost[life_count - 1] = life;
    sim_host_crash(life.host, false);
    sim_loop_close(life.loop);
    sim_loop_run_for(sim, NS_PER_S);
}

static inline void setup(void)
{
    cr_assert_eq(keys_start_process(), STATUS_OK);
    sim = sim_loop_open(3);
    disk = sim_disk_open(sim, 3);
    tables_disk = sim_disk_open(sim, 4);
    slot_disk = sim_disk_open(sim, 5);
    net = sim_net_open(sim, 3);
    kv = sim_kv_open();
    covers = sim_kv_open();
    start();
}

static inline void teardown(void)
{
    end();
    kv_close(kv);
    kv_close(covers);
    sim_net_close(net);
    sim_disk_close(disk);
    sim_disk_close(tables_disk);
    sim_disk_close(slot_disk);
    sim_loop_close(sim);
}

/* ---- calls ------------------------------------------------------------------------------------- */

/* A call and what is kept of its reply, packed: the reply itself lives only until `done` returns. */
struct probe {
    struct rpc_call call;
    bool done;
    enum status status;
    uint8_t *packed;
    size_t packed_bytes;
    ProtobufCMessage *reply;
};

static struct probe last;

static inline void probe_done(struct rpc_call *call)
{
    struct probe *probe = CONTAINER_OF(call, struct probe, call);
    probe->done = true;
    probe->status = call->status;
    if (call->status == STATUS_OK && call->reply != NULL) {
        probe->packed_bytes = protobuf_c_message_get_packed_size(call->reply);
        probe->packed = malloc(probe->packed_bytes + 1);
        protobuf_c_message_pack(call->reply, probe->packed);
        probe->reply = protobuf_c_message_unpack(call->reply->descriptor, NULL, probe->packed_bytes, probe->packed);
    }
}

static inline void probe_clear(struct probe *probe)
{
    if (probe->reply != NULL) {
        protobuf_c_message_free_unpacked(probe->reply, NULL);
    }
    free(probe->packed);
    memset(probe, 0, sizeof(*probe));
}

static inline void probe_start(struct probe *probe, uint16_t type, const void *request)
{
    probe_clear(probe);
    probe->call.type = type;
    probe->call.done = probe_done;
    probe->call.deadline_ns = loop_now_ns(sim_loop_interface(sim)) + 10 * NS_PER_S;
    rpc_call_start(life.client, &probe->call, request);
}

/* Call and wait. The reply stands in last.reply until the next call. */
static inline enum status call(uint16_t type, const void *request)
{
    probe_start(&last, type, request);
    wait_for(&last.done);
    return last.status;
}

#define START(probe, TYPE, request) probe_start(probe, TRILITH__MESSAGE_TYPE__##TYPE, &(request)->base)
#define CALL(TYPE, request)         call(TRILITH__MESSAGE_TYPE__##TYPE, &(request)->base)
#define REPLY(Type)                 ((const Trilith__##Type *)(const void *)last.reply)

static inline void call_teardown(void)
{
    probe_clear(&last);
    teardown();
}

/* ---- what most tests need ---------------------------------------------------------------------- */

/* A node signs with a seed that is its disk's uuid byte, again and again. */
static inline struct key node_seed(uint8_t uuid)
{
    struct key seed;
    memset(seed.bytes, uuid, sizeof(seed.bytes));
    return seed;
}

static inline enum status register_node(const char *name, uint8_t uuid, const uint8_t *cluster_id)
{
    static uint8_t id[16];
    struct public_key public_key;
    const struct key seed = node_seed(uuid);
    char text[32];
    char path[] = "/disk";
    char address[] = "127.0.0.1:7500";
    uint8_t uuid_bytes[16];
    Trilith__DiskReport report = TRILITH__DISK_REPORT__INIT;
    Trilith__DiskReport *reports[1] = {&report};
    Trilith__NodeRegisterRequest request = TRILITH__NODE_REGISTER_REQUEST__INIT;
    (void)snprintf(text, sizeof(text), "%s", name);
    memset(uuid_bytes, uuid, sizeof(uuid_bytes));
    report.uuid = (ProtobufCBinaryData){.data = uuid_bytes, .len = 16};
    report.path = path;
    report.capacity = GIB(1);
    report.free = GIB(1);
    report.state = TRILITH__DISK_STATE__DISK_SERVING;
    request.name = text;
    request.failure_domain = text;
    request.rpc_address = address;
    request.s3_address = address;
    request.disks = reports;
    request.n_disks = 1;
    signature_public_key(&seed, &public_key);
    request.public_key = (ProtobufCBinaryData){.data = public_key.bytes, .len = sizeof(public_key.bytes)};
    if (cluster_id != NULL) {
        memcpy(id, cluster_id, 16);
        request.cluster_id = (ProtobufCBinaryData){.data = id, .len = 16};
    }
    return CALL(NODE_REGISTER, &request);
}

/* Report wipes as node `name`, signed with the key of `uuid`. */
static inline enum status report_wipes(const char *name, uint8_t uuid, uint32_t disk_id, Trilith__WipeResult **results,
                                       size_t count)
{
    static const Trilith__WipeTechnique asked[ATTESTATION_RESULTS_MAX];
    const struct key seed = node_seed(uuid);
    struct attestation_facts facts = {.node = name, .boot_id = "", .sw_digest = "", .disk_id = disk_id, .asked = asked};
    Trilith__WipeDoneRequest done = TRILITH__WIPE_DONE_REQUEST__INIT;
    memset(facts.disk_uuid.bytes, uuid, sizeof(facts.disk_uuid.bytes));
    char *attestation = attestation_make(&facts, results, count, &seed);
    cr_assert_not_null(attestation);
    done.disk_id = disk_id;
    done.results = results;
    done.n_results = count;
    done.attestation = (ProtobufCBinaryData){.data = (uint8_t *)attestation, .len = strlen(attestation)};
    enum status status = CALL(WIPE_DONE, &done);
    free(attestation);
    return status;
}

static inline void register_nodes(void)
{
    cr_assert_eq(register_node("node1", 1, NULL), STATUS_OK);
    cr_assert_eq(register_node("node2", 2, NULL), STATUS_OK);
    cr_assert_eq(register_node("node3", 3, NULL), STATUS_OK);
    cr_assert_eq(register_node("node4", 4, NULL), STATUS_OK);
}

static inline enum status create_tenant(const char *name)
{
    char copy[64];
    Trilith__TenantCreateRequest tenant = TRILITH__TENANT_CREATE_REQUEST__INIT;
    (void)snprintf(copy, sizeof(copy), "%s", name);
    tenant.name = copy;
    return CALL(TENANT_CREATE, &tenant);
}

static inline void create_tenant_and_bucket(void)
{
    char bucket_name[] = "photos";
    Trilith__BucketCreateRequest bucket = TRILITH__BUCKET_CREATE_REQUEST__INIT;
    cr_assert_eq(create_tenant("acme"), STATUS_OK);
    cr_assert_eq(REPLY(TenantReply)->tenant->id, 1);
    bucket.tenant_id = 1;
    bucket.name = bucket_name;
    cr_assert_eq(CALL(BUCKET_CREATE, &bucket), STATUS_OK);
    cr_assert_eq(REPLY(BucketReply)->bucket->id, 1);
}

/* A leaf lease, to seal version `number` of `key` anew (NULL: for what is to come); the leaf goes to `leaf`. */
static inline enum status lease_leaf_for(const char *key, uint8_t number, uint32_t *page, uint32_t *slot,
                                         uint8_t leaf[32])
{
    Trilith__LeafLeaseRequest request = TRILITH__LEAF_LEASE_REQUEST__INIT;
    uint8_t version[16];
    memset(version, number, sizeof(version));
    if (key != NULL) {
        request.reseal_key = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)key, .len = strlen(key)};
        request.reseal_version = (ProtobufCBinaryData){.data = version, .len = sizeof(version)};
    }
    request.node_id = 1;
    request.tenant_id = 1;
    request.bucket_id = 1;
    request.count = 1;
    enum status status = CALL(LEAF_LEASE, &request);
    if (status == STATUS_OK) {
        cr_assert_eq(REPLY(LeafLeaseReply)->n_leaves, 1);
        *page = REPLY(LeafLeaseReply)->page;
        *slot = REPLY(LeafLeaseReply)->first_slot;
        memcpy(leaf, REPLY(LeafLeaseReply)->leaves[0].data, 32);
    }
    return status;
}

static inline enum status lease_leaf(uint32_t *page, uint32_t *slot, uint8_t leaf[32])
{
    return lease_leaf_for(NULL, 0, page, slot, leaf);
}

/* Write version `number` of `key`, with one chunk `chunk`, under a DEK; `reseal_from`: the same version, sealed
 * anew. */
static inline enum status commit_object(const char *key, uint8_t number, uint8_t chunk_number, uint32_t dek_version,
                                        uint32_t reseal_from, uint8_t leaf[32])
{
    char etag[] = "etag";
    uint8_t version[16];
    uint8_t chunk_id[16];
    char key_copy[64];
    Trilith__ChunkRef chunk = TRILITH__CHUNK_REF__INIT;
    Trilith__ChunkRef *chunks[1] = {&chunk};
    Trilith__Object object = TRILITH__OBJECT__INIT;
    Trilith__ObjectCommitRequest request;
    trilith__object_commit_request__init(&request);
    enum status status = lease_leaf_for(reseal_from != 0 ? key : NULL, number, &object.page, &object.slot, leaf);
    if (status != STATUS_OK) {
        return status;
    }
    (void)snprintf(key_copy, sizeof(key_copy), "%s", key);
    memset(version, number, sizeof(version));
    memset(chunk_id, chunk_number, sizeof(chunk_id));
    chunk.chunk_id = (ProtobufCBinaryData){.data = chunk_id, .len = 16};
    chunk.pg = 1;
    chunk.chunk_bytes = 100;
    object.version_id = (ProtobufCBinaryData){.data = version, .len = 16};
    object.size = 100;
    object.suite = 1;
    object.dek_version = dek_version;
    object.etag = etag;
    object.chunks = chunks;
    object.n_chunks = 1;
    request.tenant_id = 1;
    request.bucket_id = 1;
    request.key = (ProtobufCBinaryData){.data = (uint8_t *)key_copy, .len = strlen(key_copy)};
    request.object = &object;
    request.reseal_from = reseal_from;
    return CALL(OBJECT_COMMIT, &request);
}

static inline enum status put_object(const char *key, uint8_t number, uint8_t leaf[32])
{
    return commit_object(key, number, (uint8_t)(0x80 + number), 1, 0, leaf);
}

static inline enum status get_object(const char *bucket, const char *key)
{
    char bucket_copy[64];
    char key_copy[64];
    Trilith__ObjectGetRequest request = TRILITH__OBJECT_GET_REQUEST__INIT;
    (void)snprintf(bucket_copy, sizeof(bucket_copy), "%s", bucket);
    (void)snprintf(key_copy, sizeof(key_copy), "%s", key);
    request.tenant_id = 1;
    request.bucket = bucket_copy;
    request.key = (ProtobufCBinaryData){.data = (uint8_t *)key_copy, .len = strlen(key_copy)};
    return CALL(OBJECT_GET, &request);
}

static inline enum status delete_object(const char *key)
{
    char bucket[] = "photos";
    char key_copy[64];
    Trilith__ObjectDeleteRequest request;
    trilith__object_delete_request__init(&request);
    (void)snprintf(key_copy, sizeof(key_copy), "%s", key);
    request.tenant_id = 1;
    request.bucket = bucket;
    request.key = (ProtobufCBinaryData){.data = (uint8_t *)key_copy, .len = strlen(key_copy)};
    return CALL(OBJECT_DELETE, &request);
}

/* The DEK of a tenant into `dek`. */
static inline enum status tenant_key(uint64_t tenant_id, uint32_t version, uint8_t dek[32])
{
    Trilith__TenantKeyRequest request = TRILITH__TENANT_KEY_REQUEST__INIT;
    request.tenant_id = tenant_id;
    request.dek_version = version;
    enum status status = CALL(TENANT_KEY, &request);
    if (status == STATUS_OK) {
        cr_assert_eq(REPLY(TenantKeyReply)->dek.len, 32);
        memcpy(dek, REPLY(TenantKeyReply)->dek.data, 32);
    }
    return status;
}

static inline enum status close_epoch(void)
{
    Trilith__Empty empty = TRILITH__EMPTY__INIT;
    return CALL(EPOCH_CLOSE, &empty);
}

static inline const Trilith__VaultStatus *vault_status(void)
{
    Trilith__Empty empty = TRILITH__EMPTY__INIT;
    cr_assert_eq(CALL(CLUSTER_STATUS, &empty), STATUS_OK);
    return REPLY(ClusterStatusReply)->vault;
}

/* What the vault says of a leaf. */
static inline enum status leaf_status(uint32_t page, uint32_t slot)
{
    struct key leaf;
    return service_derive(life.service, page, slot, &leaf);
}

#endif
