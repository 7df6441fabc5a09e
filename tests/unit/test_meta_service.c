/* test_meta_service.c - the metadata service as its peers see it: over RPC, through crashes, and what it leaves on disk. */
#include "meta/journal_local.h"
#include "meta/kms_file.h"
#include "meta/secret_file.h"
#include "meta/service.h"
#include "meta/vault/vault_local.h"
#include "proto/rpc.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_kv.h"
#include "tests/sim/sim_net.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LEASE_MS 10000

static char directory[] = "/tmp/trilith-test-service-XXXXXX";
static char key_path[128];
static char root_path[128];
static char message[512];
static struct sim_loop *sim;
static struct sim_disk *disk;
static struct sim_net *net;
static struct kv *kv;
static struct kms *kms;

/* One life of the service. */
static struct {
    struct state *state;
    struct meta_service *service;
    struct journal *journal;
    struct vault *vault;
    struct rpc_client *client;
    bool answered;
    bool stopped;
    unsigned failures;
    enum status status;
} life;

static void journal_opened(void *user, enum status status, struct journal *journal, const char *text)
{
    (void)user;
    cr_assert_eq(status, STATUS_OK, "%s", text);
    life.journal = journal;
    life.answered = true;
}

static void started(void *user, enum status status)
{
    (void)user;
    life.status = status;
    life.answered = true;
}

static void service_failed(void *user, enum status status)
{
    (void)user;
    cr_assert_neq(status, STATUS_OK);
    life.failures++;
}

static void stopped(void *user)
{
    (void)user;
    life.stopped = true;
}

static void start(void)
{
    memset(&life, 0, sizeof(life));
    cr_assert_eq(state_open(kv, &life.state), STATUS_OK);
    const struct meta_service_parts parts = {.loop = sim_loop_interface(sim),
                                             .net = sim_net_interface(net),
                                             .kv = kv,
                                             .state = life.state,
                                             .kms = kms,
                                             .failed = service_failed};
    const struct meta_service_options options = {.node_lease_ms = LEASE_MS,
                                                 .leaf_lease_ms = 3600000,
                                                 .key_lease_ms = 30000,
                                                 .pgs_per_disk = 24,
                                                 .scatter_width = 4};
    life.service = meta_service_open(&parts, &options);
    cr_assert_not_null(life.service);
    const struct journal_local_options journal_options = {.segment_bytes = JOURNAL_SEGMENT_BYTES_MIN,
                                                          .segments_wanted = 2,
                                                          .applied_index = state_applied_index(life.state)};
    journal_local_open(sim_loop_interface(sim), sim_disk_interface(disk), &journal_options,
                       meta_service_journal_user(life.service), journal_opened, NULL);
    cr_assert(sim_loop_run_until(sim, &life.answered));
    cr_assert_eq(meta_service_health(life.service), STATUS_OK);
    bool may_create = state_cluster(life.state)->next_page == 1;
    cr_assert_eq(vault_local_open(root_path, may_create, &life.vault, message, sizeof(message)), STATUS_OK);
    life.answered = false;
    meta_service_start(life.service, life.journal, life.vault, "meta:7400", started, NULL);
    cr_assert(sim_loop_run_until(sim, &life.answered));
    cr_assert_eq(life.status, STATUS_OK);
    life.client = rpc_client_open(sim_loop_interface(sim), sim_net_interface(net), meta_service_address(life.service));
    cr_assert_not_null(life.client);
}

static void end(void)
{
    rpc_client_close(life.client);
    meta_service_stop(life.service, stopped, NULL);
    cr_assert(sim_loop_run_until(sim, &life.stopped));
    sim_loop_run_for(sim, NS_PER_S);
    vault_close(life.vault);
    state_close(life.state);
}

/* Lose power: the tables go back to some flushed state, the disk keeps what was durable. */
static void crash(uint64_t seed)
{
    sim_disk_crash(disk);
    rpc_client_close(life.client);
    meta_service_abandon(life.service);
    journal_local_abandon(life.journal);
    sim_loop_run_for(sim, NS_PER_S);
    vault_close(life.vault);
    state_close(life.state);
    sim_kv_crash(kv, seed);
}

static void setup(void)
{
    cr_assert_eq(keys_start_process(), STATUS_OK);
    cr_assert_not_null(mkdtemp(directory));
    (void)snprintf(key_path, sizeof(key_path), "%s/key", directory);
    (void)snprintf(root_path, sizeof(root_path), "%s/root", directory);
    cr_assert_eq(secret_file_create(key_path, SECRET_HEX_OR_RAW, message, sizeof(message)), STATUS_OK);
    cr_assert_eq(kms_file_open(key_path, &kms, message, sizeof(message)), STATUS_OK);
    sim = sim_loop_open(3);
    disk = sim_disk_open(sim, 3);
    net = sim_net_open(sim, 3);
    kv = sim_kv_open();
    start();
}

static void teardown(void)
{
    end();
    kv_close(kv);
    sim_net_close(net);
    sim_disk_close(disk);
    sim_loop_close(sim);
    kms_close(kms);
    (void)unlink(key_path);
    (void)unlink(root_path);
    (void)rmdir(directory);
}

/* ---- calls ------------------------------------------------------------------------------------- */

/* A call and what is kept of its reply, packed: the reply itself lives only until `done` returns. */
static struct {
    struct rpc_call call;
    bool done;
    enum status status;
    uint8_t *packed;
    size_t packed_bytes;
    ProtobufCMessage *reply;
} last;

static void call_done(struct rpc_call *call)
{
    last.done = true;
    last.status = call->status;
    if (call->status == STATUS_OK && call->reply != NULL) {
        last.packed_bytes = protobuf_c_message_get_packed_size(call->reply);
        last.packed = malloc(last.packed_bytes + 1);
        protobuf_c_message_pack(call->reply, last.packed);
        last.reply = protobuf_c_message_unpack(call->reply->descriptor, NULL, last.packed_bytes, last.packed);
    }
}

static void call_clear(void)
{
    if (last.reply != NULL) {
        protobuf_c_message_free_unpacked(last.reply, NULL);
    }
    free(last.packed);
    memset(&last, 0, sizeof(last));
}

/* Call and wait. The reply stands in last.reply until the next call. */
static enum status call(uint16_t type, const void *request)
{
    call_clear();
    last.call.type = type;
    last.call.done = call_done;
    last.call.deadline_ns = loop_now_ns(sim_loop_interface(sim)) + 10 * NS_PER_S;
    rpc_call_start(life.client, &last.call, request);
    cr_assert(sim_loop_run_until(sim, &last.done));
    return last.status;
}

#define CALL(TYPE, request) call(TRILITH__MESSAGE_TYPE__##TYPE, &(request)->base)
#define REPLY(Type)         ((const Trilith__##Type *)(const void *)last.reply)

static enum status register_node(const char *name, uint8_t uuid, const uint8_t *cluster_id)
{
    static uint8_t id[16];
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
    if (cluster_id != NULL) {
        memcpy(id, cluster_id, 16);
        request.cluster_id = (ProtobufCBinaryData){.data = id, .len = 16};
    }
    return CALL(NODE_REGISTER, &request);
}

static void register_nodes(void)
{
    cr_assert_eq(register_node("node1", 1, NULL), STATUS_OK);
    cr_assert_eq(register_node("node2", 2, NULL), STATUS_OK);
    cr_assert_eq(register_node("node3", 3, NULL), STATUS_OK);
    cr_assert_eq(register_node("node4", 4, NULL), STATUS_OK);
}

static void create_tenant_and_bucket(void)
{
    char tenant_name[] = "acme";
    char bucket_name[] = "photos";
    Trilith__TenantCreateRequest tenant = TRILITH__TENANT_CREATE_REQUEST__INIT;
    Trilith__BucketCreateRequest bucket = TRILITH__BUCKET_CREATE_REQUEST__INIT;
    tenant.name = tenant_name;
    cr_assert_eq(CALL(TENANT_CREATE, &tenant), STATUS_OK);
    cr_assert_eq(REPLY(TenantReply)->tenant->id, 1);
    bucket.tenant_id = 1;
    bucket.name = bucket_name;
    cr_assert_eq(CALL(BUCKET_CREATE, &bucket), STATUS_OK);
    cr_assert_eq(REPLY(BucketReply)->bucket->id, 1);
}

/* A leaf lease; the leaf goes to `leaf`. */
static enum status lease_leaf(uint32_t *page, uint32_t *slot, uint8_t leaf[32])
{
    Trilith__LeafLeaseRequest request = TRILITH__LEAF_LEASE_REQUEST__INIT;
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

static enum status put_object(const char *key, uint8_t number, uint8_t leaf[32])
{
    char etag[] = "etag";
    uint8_t version[16];
    uint8_t chunk_id[16];
    char key_copy[64];
    Trilith__ChunkRef chunk = TRILITH__CHUNK_REF__INIT;
    Trilith__ChunkRef *chunks[1] = {&chunk};
    Trilith__Object object = TRILITH__OBJECT__INIT;
    Trilith__ObjectCommitRequest request = TRILITH__OBJECT_COMMIT_REQUEST__INIT;
    enum status status = lease_leaf(&object.page, &object.slot, leaf);
    if (status != STATUS_OK) {
        return status;
    }
    (void)snprintf(key_copy, sizeof(key_copy), "%s", key);
    memset(version, number, sizeof(version));
    memset(chunk_id, 0x80 + number, sizeof(chunk_id));
    chunk.chunk_id = (ProtobufCBinaryData){.data = chunk_id, .len = 16};
    chunk.pg = 1;
    chunk.chunk_bytes = 100;
    object.version_id = (ProtobufCBinaryData){.data = version, .len = 16};
    object.size = 100;
    object.suite = 1;
    object.dek_version = 1;
    object.etag = etag;
    object.chunks = chunks;
    object.n_chunks = 1;
    request.tenant_id = 1;
    request.bucket_id = 1;
    request.key = (ProtobufCBinaryData){.data = (uint8_t *)key_copy, .len = strlen(key_copy)};
    request.object = &object;
    return CALL(OBJECT_COMMIT, &request);
}

static enum status get_object(const char *bucket, const char *key)
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

static enum status delete_object(const char *key)
{
    char bucket[] = "photos";
    char key_copy[64];
    Trilith__ObjectDeleteRequest request = TRILITH__OBJECT_DELETE_REQUEST__INIT;
    (void)snprintf(key_copy, sizeof(key_copy), "%s", key);
    request.tenant_id = 1;
    request.bucket = bucket;
    request.key = (ProtobufCBinaryData){.data = (uint8_t *)key_copy, .len = strlen(key_copy)};
    return CALL(OBJECT_DELETE, &request);
}

static void call_teardown(void)
{
    call_clear();
    teardown();
}

TestSuite(meta_service, .init = setup, .fini = call_teardown, .timeout = 120);

/* ---- behaviours -------------------------------------------------------------------------------- */

Test(meta_service, takes_nodes_in_and_hands_out_the_map)
{
    uint8_t cluster_id[16];
    register_nodes();
    const Trilith__NodeRegisterReply *reply = REPLY(NodeRegisterReply);
    cr_assert_eq(reply->node_id, 4);
    cr_assert_eq(reply->n_disk_ids, 1);
    cr_assert_eq(reply->disk_ids[0], 4);
    cr_assert_eq(reply->lease_ms, LEASE_MS);
    cr_assert_eq(reply->map->n_nodes, 4);
    cr_assert_gt(reply->map->n_pgs, 0);
    memcpy(cluster_id, reply->cluster_id.data, 16);
    cr_assert_eq(register_node("node4", 4, cluster_id), STATUS_OK);
    cr_assert_eq(REPLY(NodeRegisterReply)->node_id, 4);
    cluster_id[0] ^= 1;
    cr_assert_eq(register_node("node4", 4, cluster_id), STATUS_DENIED);
}

Test(meta_service, refuses_a_disk_that_a_live_node_claims)
{
    register_nodes();
    cr_assert_eq(register_node("node9", 1, NULL), STATUS_CONFLICT);
    sim_loop_run_for(sim, (LEASE_MS + 1000) * NS_PER_MS);
    cr_assert_eq(register_node("node9", 1, NULL), STATUS_OK, "carried over from a node that is gone");
    cr_assert_eq(REPLY(NodeRegisterReply)->disk_ids[0], 1);
}

Test(meta_service, heartbeats_keep_a_cluster_healthy)
{
    Trilith__Empty empty = TRILITH__EMPTY__INIT;
    cr_assert_eq(CALL(CLUSTER_STATUS, &empty), STATUS_OK);
    cr_assert_not(REPLY(ClusterStatusReply)->healthy, "no PG yet");
    register_nodes();
    cr_assert_eq(CALL(CLUSTER_STATUS, &empty), STATUS_OK);
    cr_assert(REPLY(ClusterStatusReply)->healthy);
    cr_assert_eq(REPLY(ClusterStatusReply)->pgs_clean, REPLY(ClusterStatusReply)->pgs_total);

    sim_loop_run_for(sim, (LEASE_MS + 1000) * NS_PER_MS);
    uint8_t uuid[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    Trilith__DiskReport report = TRILITH__DISK_REPORT__INIT;
    Trilith__DiskReport *reports[1] = {&report};
    Trilith__NodeHeartbeatRequest beat = TRILITH__NODE_HEARTBEAT_REQUEST__INIT;
    report.uuid = (ProtobufCBinaryData){.data = uuid, .len = 16};
    report.state = TRILITH__DISK_STATE__DISK_SERVING;
    beat.node_id = 1;
    beat.disks = reports;
    beat.n_disks = 1;
    cr_assert_eq(CALL(NODE_HEARTBEAT, &beat), STATUS_OK);
    cr_assert_not_null(REPLY(NodeHeartbeatReply)->map);
    cr_assert_eq(REPLY(NodeHeartbeatReply)->n_health, 4);
    cr_assert(REPLY(NodeHeartbeatReply)->health[0]->up);
    cr_assert_not(REPLY(NodeHeartbeatReply)->health[1]->up);
    beat.map_epoch = REPLY(NodeHeartbeatReply)->map->epoch;
    cr_assert_eq(CALL(NODE_HEARTBEAT, &beat), STATUS_OK);
    cr_assert_null(REPLY(NodeHeartbeatReply)->map);
    beat.node_id = 2;
    cr_assert_eq(CALL(NODE_HEARTBEAT, &beat), STATUS_CONFLICT, "a disk of another node");
    beat.node_id = 77;
    cr_assert_eq(CALL(NODE_HEARTBEAT, &beat), STATUS_NOT_FOUND);
    report.uuid.len = 15;
    cr_assert_eq(CALL(NODE_HEARTBEAT, &beat), STATUS_INVALID);

    cr_assert_eq(CALL(CLUSTER_STATUS, &empty), STATUS_OK);
    cr_assert_not(REPLY(ClusterStatusReply)->healthy);
    cr_assert_str_eq(REPLY(ClusterStatusReply)->nodes[1]->state, "suspect");
    cr_assert_eq(REPLY(ClusterStatusReply)->pgs_clean, 0);
}

Test(meta_service, stores_finds_and_erases_an_object)
{
    uint8_t leaf[32];
    register_nodes();
    create_tenant_and_bucket();
    cr_assert_eq(get_object("nowhere", "a"), STATUS_CONFLICT);
    cr_assert_eq(get_object("photos", "a"), STATUS_NOT_FOUND);
    cr_assert_eq(put_object("a", 1, leaf), STATUS_OK);
    cr_assert_gt(REPLY(ObjectCommitReply)->modified_ms, 0);
    cr_assert_eq(get_object("photos", "a"), STATUS_OK);
    cr_assert_eq(REPLY(ObjectGetReply)->object->size, 100);
    cr_assert_eq(REPLY(ObjectGetReply)->bucket_id, 1);
    cr_assert_arr_eq(REPLY(ObjectGetReply)->leaf.data, leaf, 32, "the leaf it was written under");

    cr_assert_eq(delete_object("a"), STATUS_OK);
    uint64_t erasure = REPLY(ObjectDeleteReply)->erasure_id;
    cr_assert_neq(erasure, 0);
    cr_assert_eq(get_object("photos", "a"), STATUS_NOT_FOUND);
    struct key again;
    cr_assert_eq(vault_derive(life.vault, 1, 0, &again), STATUS_GONE);

    Trilith__ErasureGetRequest get = TRILITH__ERASURE_GET_REQUEST__INIT;
    get.id = erasure;
    cr_assert_eq(CALL(ERASURE_GET, &get), STATUS_OK);
    cr_assert_eq(REPLY(ErasureReply)->erasure->n_open_disks, 3);
    for (uint32_t disk_id = 1; disk_id <= 4; disk_id++) {
        Trilith__WipePullRequest pull = TRILITH__WIPE_PULL_REQUEST__INIT;
        pull.disk_id = disk_id;
        pull.max = 10;
        cr_assert_eq(CALL(WIPE_PULL, &pull), STATUS_OK);
        if (REPLY(WipePullReply)->n_wipes == 0) {
            continue;
        }
        uint8_t chunk[16];
        memcpy(chunk, REPLY(WipePullReply)->wipes[0]->chunk_id.data, 16);
        Trilith__WipeResult result = TRILITH__WIPE_RESULT__INIT;
        Trilith__WipeResult *results[1] = {&result};
        Trilith__WipeDoneRequest done = TRILITH__WIPE_DONE_REQUEST__INIT;
        result.chunk_id = (ProtobufCBinaryData){.data = chunk, .len = 16};
        result.erasure_id = erasure;
        result.outcome = TRILITH__WIPE_OUTCOME__WIPE_WIPED;
        done.disk_id = disk_id;
        done.results = results;
        done.n_results = 1;
        cr_assert_eq(CALL(WIPE_DONE, &done), STATUS_OK);
    }
    cr_assert_eq(CALL(ERASURE_GET, &get), STATUS_OK);
    cr_assert_neq(REPLY(ErasureReply)->erasure->closed_ms, 0);
    get.id = 99;
    cr_assert_eq(CALL(ERASURE_GET, &get), STATUS_NOT_FOUND);
}

Test(meta_service, punctured_leaves_stay_refused_after_a_restart)
{
    uint8_t leaf[32];
    struct key again;
    register_nodes();
    create_tenant_and_bucket();
    cr_assert_eq(put_object("a", 1, leaf), STATUS_OK);
    cr_assert_eq(put_object("b", 2, leaf), STATUS_OK);
    cr_assert_eq(delete_object("a"), STATUS_OK);
    end();
    start();
    cr_assert_eq(vault_derive(life.vault, 1, 0, &again), STATUS_GONE);
    cr_assert_eq(get_object("photos", "b"), STATUS_OK);
    cr_assert_arr_eq(REPLY(ObjectGetReply)->leaf.data, leaf, 32);
}

Test(meta_service, condemns_orphans_and_leaves_objects_alone)
{
    uint8_t leaf[32];
    uint8_t ids[2][16];
    register_nodes();
    create_tenant_and_bucket();
    cr_assert_eq(put_object("a", 1, leaf), STATUS_OK);
    memset(ids[0], 0x81, 16);
    memset(ids[1], 0x99, 16);
    Trilith__ChunkRef chunks[2];
    Trilith__ChunkRef *pointers[2] = {&chunks[0], &chunks[1]};
    Trilith__ChunksCheckRequest check = TRILITH__CHUNKS_CHECK_REQUEST__INIT;
    for (size_t i = 0; i < 2; i++) {
        trilith__chunk_ref__init(&chunks[i]);
        chunks[i].chunk_id = (ProtobufCBinaryData){.data = ids[i], .len = 16};
        chunks[i].pg = 1;
        chunks[i].chunk_bytes = 100;
    }
    check.disk_id = 1;
    check.chunks = pointers;
    check.n_chunks = 1;
    uint64_t index = state_applied_index(life.state);
    cr_assert_eq(CALL(CHUNKS_CHECK, &check), STATUS_OK);
    cr_assert(REPLY(ChunksCheckReply)->referenced[0]);
    cr_assert_eq(state_applied_index(life.state), index, "nothing to say to the journal");
    check.n_chunks = 2;
    cr_assert_eq(CALL(CHUNKS_CHECK, &check), STATUS_OK);
    cr_assert(REPLY(ChunksCheckReply)->referenced[0]);
    cr_assert_not(REPLY(ChunksCheckReply)->referenced[1]);
    cr_assert_eq(state_applied_index(life.state), index + 1);
    cr_assert_eq(CALL(CHUNKS_CHECK, &check), STATUS_OK);
    cr_assert_eq(state_applied_index(life.state), index + 1, "condemned already");
    cr_assert_eq(put_object("b", 0x19, leaf), STATUS_CONFLICT, "the commit comes too late");
    check.disk_id = 55;
    cr_assert_eq(CALL(CHUNKS_CHECK, &check), STATUS_NOT_FOUND);
}

Test(meta_service, gives_each_tenant_a_key_and_credentials)
{
    char owner[] = "owner";
    char acme[] = "acme";
    char nobody[] = "nobody";
    char access_key[32];
    char secret[64];
    create_tenant_and_bucket();
    Trilith__TenantKeyRequest key = TRILITH__TENANT_KEY_REQUEST__INIT;
    key.tenant_id = 1;
    cr_assert_eq(CALL(TENANT_KEY, &key), STATUS_OK);
    cr_assert_eq(REPLY(TenantKeyReply)->dek.len, 32);
    cr_assert_eq(REPLY(TenantKeyReply)->dek_version, 1);
    key.dek_version = 2;
    cr_assert_eq(CALL(TENANT_KEY, &key), STATUS_NOT_FOUND);

    Trilith__CredentialCreateRequest create = TRILITH__CREDENTIAL_CREATE_REQUEST__INIT;
    create.tenant = acme;
    create.role = owner;
    cr_assert_eq(CALL(CREDENTIAL_CREATE, &create), STATUS_OK);
    (void)snprintf(access_key, sizeof(access_key), "%s", REPLY(CredentialCreateReply)->access_key);
    (void)snprintf(secret, sizeof(secret), "%s", REPLY(CredentialCreateReply)->secret_key);
    cr_assert_eq(strlen(access_key), 20);
    cr_assert_eq(strlen(secret), 40);
    create.tenant = nobody;
    cr_assert_eq(CALL(CREDENTIAL_CREATE, &create), STATUS_NOT_FOUND);
    create.tenant = acme;
    create.role = nobody;
    cr_assert_eq(CALL(CREDENTIAL_CREATE, &create), STATUS_INVALID);

    Trilith__CredentialGetRequest get = TRILITH__CREDENTIAL_GET_REQUEST__INIT;
    get.access_key = access_key;
    cr_assert_eq(CALL(CREDENTIAL_GET, &get), STATUS_OK);
    cr_assert_eq(REPLY(CredentialGetReply)->secret_key.len, 40);
    cr_assert_arr_eq(REPLY(CredentialGetReply)->secret_key.data, (uint8_t *)secret, 40);
    cr_assert_str_eq(REPLY(CredentialGetReply)->tenant_name, "acme");
    cr_assert_str_eq(REPLY(CredentialGetReply)->role, "owner");

    Trilith__CredentialListRequest list = TRILITH__CREDENTIAL_LIST_REQUEST__INIT;
    list.tenant = acme;
    cr_assert_eq(CALL(CREDENTIAL_LIST, &list), STATUS_OK);
    cr_assert_eq(REPLY(CredentialListReply)->n_credentials, 1);
    cr_assert_str_eq(REPLY(CredentialListReply)->credentials[0]->access_key, access_key);

    Trilith__CredentialRevokeRequest revoke = TRILITH__CREDENTIAL_REVOKE_REQUEST__INIT;
    revoke.access_key = access_key;
    cr_assert_eq(CALL(CREDENTIAL_REVOKE, &revoke), STATUS_OK);
    cr_assert_eq(CALL(CREDENTIAL_REVOKE, &revoke), STATUS_NOT_FOUND);
    cr_assert_eq(CALL(CREDENTIAL_GET, &get), STATUS_NOT_FOUND);
}

Test(meta_service, tenants_are_unique_and_well_named)
{
    char name[64] = "acme";
    Trilith__TenantCreateRequest create = TRILITH__TENANT_CREATE_REQUEST__INIT;
    Trilith__Empty empty = TRILITH__EMPTY__INIT;
    create.name = name;
    cr_assert_eq(CALL(TENANT_CREATE, &create), STATUS_OK);
    cr_assert_eq(CALL(TENANT_CREATE, &create), STATUS_EXISTS);
    (void)snprintf(name, sizeof(name), "No");
    cr_assert_eq(CALL(TENANT_CREATE, &create), STATUS_INVALID);
    cr_assert_eq(CALL(TENANT_LIST, &empty), STATUS_OK);
    cr_assert_eq(REPLY(TenantListReply)->n_tenants, 1);
}

Test(meta_service, locates_objects_for_operators)
{
    uint8_t leaf[32];
    char acme[] = "acme";
    char bucket[] = "photos";
    register_nodes();
    create_tenant_and_bucket();
    cr_assert_eq(put_object("a", 1, leaf), STATUS_OK);
    Trilith__ObjectLocateRequest request = TRILITH__OBJECT_LOCATE_REQUEST__INIT;
    request.tenant = acme;
    request.bucket = bucket;
    request.key = (ProtobufCBinaryData){.data = (uint8_t *)acme, .len = 1};
    cr_assert_eq(CALL(OBJECT_LOCATE, &request), STATUS_OK);
    cr_assert_eq(REPLY(ObjectLocateReply)->object->n_chunks, 1);
    cr_assert_eq(REPLY(ObjectLocateReply)->map->n_disks, 4);
    cr_assert_eq(REPLY(ObjectLocateReply)->n_health, 4);
    request.key.len = 2;
    cr_assert_eq(CALL(OBJECT_LOCATE, &request), STATUS_NOT_FOUND);
}

/* ---- crashes and failures ---------------------------------------------------------------------- */

Test(meta_service, keeps_every_acknowledged_object_through_crashes)
{
    uint8_t leaves[60][32];
    char key[16];
    register_nodes();
    create_tenant_and_bucket();
    for (uint8_t i = 0; i < 60; i++) {
        (void)snprintf(key, sizeof(key), "key-%u", i);
        cr_assert_eq(put_object(key, i + 1, leaves[i]), STATUS_OK);
        if (i % 6 == 5) {
            crash(i);
            start();
        }
    }
    for (uint8_t i = 0; i < 60; i++) {
        (void)snprintf(key, sizeof(key), "key-%u", i);
        cr_assert_eq(get_object("photos", key), STATUS_OK);
        cr_assert_arr_eq(REPLY(ObjectGetReply)->leaf.data, leaves[i], 32);
    }
    cr_assert_eq(state_cluster(life.state)->objects, 60);
}

Test(meta_service, answers_and_stops_when_the_journal_fails)
{
    uint8_t leaf[32];
    register_nodes();
    create_tenant_and_bucket();
    sim_disk_fail_after(disk, 1, STATUS_IO);
    cr_assert_eq(put_object("a", 1, leaf), STATUS_IO);
    cr_assert_eq(life.failures, 1);
    cr_assert_eq(get_object("photos", "a"), STATUS_UNAVAILABLE);
    sim_disk_fail_after(disk, 0, STATUS_OK);
}

Test(meta_service, answers_and_stops_when_the_tables_fail)
{
    uint8_t leaf[32];
    register_nodes();
    create_tenant_and_bucket();
    sim_kv_fail_after(kv, 1);
    cr_assert_eq(put_object("a", 1, leaf), STATUS_IO);
    cr_assert_eq(life.failures, 1);
    sim_kv_fail_after(kv, 0);
}

/* ---- no secrets on disk ------------------------------------------------------------------------ */

static void expect_absent(const void *image, size_t bytes, const void *secret, size_t secret_bytes, const char *what)
{
    cr_assert_null(memmem(image, bytes, secret, secret_bytes), "%s", what);
}

static void search_everything(const void *secret, size_t secret_bytes, const char *what)
{
    for (unsigned i = 0; i < 16; i++) {
        char name[DISK_NAME_BYTES];
        uint64_t bytes = 0;
        (void)snprintf(name, sizeof(name), "journal-%08x", i);
        const uint8_t *image = sim_disk_bytes(disk, name, &bytes);
        if (image != NULL) {
            expect_absent(image, (size_t)bytes, secret, secret_bytes, what);
        }
    }
    struct kv_iterator *iterator = kv_iterator_open(kv);
    kv_iterator_seek(iterator, KV_SLICE("", 0));
    for (; kv_iterator_valid(iterator); kv_iterator_next(iterator)) {
        struct kv_slice key = kv_iterator_key(iterator);
        struct kv_slice value = kv_iterator_value(iterator);
        expect_absent(key.data, key.bytes, secret, secret_bytes, what);
        expect_absent(value.data, value.bytes, secret, secret_bytes, what);
    }
    kv_iterator_close(iterator);
}

Test(meta_service, writes_no_secret_to_journal_or_tables)
{
    uint8_t leaf[32];
    char owner[] = "owner";
    char acme[] = "acme";
    register_nodes();
    create_tenant_and_bucket();
    cr_assert_eq(put_object("a", 1, leaf), STATUS_OK);
    search_everything(leaf, sizeof(leaf), "leaf");
    search_everything(leaf, 8, "part of the leaf");

    Trilith__TenantKeyRequest key = TRILITH__TENANT_KEY_REQUEST__INIT;
    key.tenant_id = 1;
    cr_assert_eq(CALL(TENANT_KEY, &key), STATUS_OK);
    search_everything(REPLY(TenantKeyReply)->dek.data, 32, "DEK");
    search_everything(REPLY(TenantKeyReply)->dek.data, 8, "part of the DEK");

    Trilith__CredentialCreateRequest create = TRILITH__CREDENTIAL_CREATE_REQUEST__INIT;
    create.tenant = acme;
    create.role = owner;
    cr_assert_eq(CALL(CREDENTIAL_CREATE, &create), STATUS_OK);
    search_everything(REPLY(CredentialCreateReply)->secret_key, 40, "S3 secret");
    search_everything(REPLY(CredentialCreateReply)->secret_key, 10, "part of the S3 secret");

    uint8_t root[32];
    FILE *file = fopen(root_path, "rb");
    cr_assert_not_null(file);
    cr_assert_eq(fread(root, 1, sizeof(root), file), sizeof(root));
    (void)fclose(file);
    search_everything(root, sizeof(root), "root");
    uint64_t bytes = 0;
    const uint8_t *image = sim_disk_bytes(disk, "journal-00000000", &bytes);
    cr_assert_not_null(memmem(image, (size_t)bytes, "acme", 4), "the search does find what is there");
}
