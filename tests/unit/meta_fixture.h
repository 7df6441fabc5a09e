/* meta_fixture.h - for tests of the metadata state: a state machine on a simulated table, and commands in one line. */
#ifndef TRILITH_TESTS_META_FIXTURE_H
#define TRILITH_TESTS_META_FIXTURE_H

#include "meta/catalog.h"
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

static inline enum status fixture_tenant_create(struct meta_fixture *f, const char *name)
{
    char text[128];
    uint8_t wrapped[72] = {1};
    Trilith__TenantCreate create = TRILITH__TENANT_CREATE__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    (void)snprintf(text, sizeof(text), "%s", name);
    create.name = text;
    create.wrapped_dek = (ProtobufCBinaryData){.data = wrapped, .len = sizeof(wrapped)};
    command.change_case = TRILITH__COMMAND__CHANGE_TENANT_CREATE;
    command.tenant_create = &create;
    return fixture_apply(f, &command);
}

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
    Trilith__ObjectDeleteRequest request = TRILITH__OBJECT_DELETE_REQUEST__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    (void)snprintf(name, sizeof(name), "%s", bucket);
    memcpy(copy, key, key_bytes);
    request.tenant_id = f->tenant;
    request.bucket = name;
    request.key = (ProtobufCBinaryData){.data = copy, .len = key_bytes};
    command.change_case = TRILITH__COMMAND__CHANGE_OBJECT_DELETE;
    command.object_delete = &request;
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

/* Report `outcome` for everything that `disk` owes. Returns how many wipes that were. */
static inline size_t fixture_wipe_all(struct meta_fixture *f, uint32_t disk, Trilith__WipeOutcome outcome)
{
    Trilith__WipePullReply pulled = TRILITH__WIPE_PULL_REPLY__INIT;
    cr_assert_eq(erasure_pull(fixture_tables(f), disk, NULL, WIPES_PULLED_MAX, &pulled), STATUS_OK);
    static Trilith__WipeResult results[WIPES_PULLED_MAX];
    static Trilith__WipeResult *pointers[WIPES_PULLED_MAX];
    for (size_t i = 0; i < pulled.n_wipes; i++) {
        trilith__wipe_result__init(&results[i]);
        results[i].chunk_id = pulled.wipes[i]->chunk_id;
        results[i].erasure_id = pulled.wipes[i]->erasure_id;
        results[i].outcome = outcome;
        pointers[i] = &results[i];
    }
    Trilith__RecordWipes wipes = TRILITH__RECORD_WIPES__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    wipes.disk_id = disk;
    wipes.results = pointers;
    wipes.n_results = pulled.n_wipes;
    command.change_case = TRILITH__COMMAND__CHANGE_RECORD_WIPES;
    command.record_wipes = &wipes;
    cr_assert_eq(fixture_apply(f, &command), STATUS_OK);
    return pulled.n_wipes;
}

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

#endif
