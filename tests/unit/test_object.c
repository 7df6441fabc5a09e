/* test_object.c - whole objects written and read through one gateway, a scripted metadata service and four scripted
 * nodes, all on one simulated loop and net.
 *
 * The nodes keep chunks in memory and fail on demand: so every fault of a replica that a reader or writer must survive can
 * be had exactly when it is wanted. What is promised: right bytes or an error, never wrong bytes; three copies of
 * whatever was committed; whatever was sent and not committed is condemned; no slab and no key is left behind. */
#include "base/digest.h"
#include "node/gateway_parts.h"
#include "tests/sim/sim_loop.h"
#include "tests/sim/sim_net.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define NODES       4u
#define COPIES_MAX  256u
#define HELD_MAX    64u
#define OBJECTS_MAX 8u

/* ---- scripted nodes ------------------------------------------------------------------------------- */

struct copy {
    struct chunk_id id;
    uint32_t pg;
    uint32_t bytes;
    uint8_t *data;
    uint8_t seals[CHUNK_SEALS_BYTES_MAX];
};

struct fake_node {
    struct rpc_service rpc;
    struct rpc_server *server;
    char address[NET_ADDRESS_BYTES];
    uint32_t disk_id;
    struct copy copies[COPIES_MAX];
    uint32_t copy_count;
    enum status put_status; /* answer puts so, storing nothing */
    unsigned put_failures;  /* ... this many times */
    enum status get_status; /* answer gets so */
    bool hold_puts;         /* never answer */
    bool hold_gets;
    bool flip;                  /* change one byte of every reply's payload */
    bool swap;                  /* answer with another chunk's (well summed) units */
    bool cut;                   /* leave the last byte out */
    unsigned gets_before_death; /* when above 0: break all streams at that get */
    unsigned gets;
    unsigned puts;
};

static struct sim_loop *sim;
static struct sim_net *net;
static struct loop *loop;
static struct slab_pool *replica_slabs;
static struct slab_pool *slabs;
static struct gateway *gateway;
static struct fake_node nodes[NODES];
static struct rpc_request *held[HELD_MAX];
static unsigned held_count;

static void hold(struct rpc_request *request)
{
    cr_assert(held_count < HELD_MAX);
    held[held_count++] = request;
}

static struct copy *node_find(struct fake_node *node, const uint8_t *id)
{
    for (uint32_t i = 0; i < node->copy_count; i++) {
        if (memcmp(node->copies[i].id.bytes, id, 16) == 0) {
            return &node->copies[i];
        }
    }
    return NULL;
}

static void node_put(struct fake_node *node, struct rpc_request *request)
{
    const Trilith__ChunkPutRequest *message = (const Trilith__ChunkPutRequest *)request->message;
    node->puts++;
    if (node->hold_puts) {
        hold(request);
        return;
    }
    if (node->put_failures > 0) {
        node->put_failures--;
        rpc_reply(request, node->put_status, NULL);
        return;
    }
    cr_assert_eq(message->disk_id, node->disk_id);
    cr_assert_eq(request->payload_bytes, message->chunk_bytes);
    cr_assert_eq(chunk_first_bad_unit(request->payload->data, message->chunk_bytes, 0,
                                      chunk_unit_count(message->chunk_bytes), message->seals.data),
                 UINT32_MAX);
    cr_assert_null(node_find(node, message->chunk_id.data), "an id is written once");
    cr_assert(node->copy_count < COPIES_MAX);
    struct copy *copy = &node->copies[node->copy_count++];
    memcpy(copy->id.bytes, message->chunk_id.data, 16);
    copy->pg = message->pg;
    copy->bytes = message->chunk_bytes;
    copy->data = malloc(copy->bytes);
    memcpy(copy->data, request->payload->data, copy->bytes);
    memcpy(copy->seals, message->seals.data, message->seals.len);
    rpc_reply(request, STATUS_OK, NULL);
}

static void free_sent(void *user)
{
    free(user);
}

static void node_get(struct fake_node *node, struct rpc_request *request)
{
    const Trilith__ChunkGetRequest *message = (const Trilith__ChunkGetRequest *)request->message;
    node->gets++;
    if (node->gets_before_death > 0 && node->gets >= node->gets_before_death) {
        node->hold_gets = true;
        hold(request);
        sim_net_break_address(net, node->address);
        return;
    }
    if (node->hold_gets) {
        hold(request);
        return;
    }
    struct copy *copy = node_find(node, message->chunk_id.data);
    if (node->get_status != STATUS_OK || copy == NULL) {
        rpc_reply(request, copy == NULL ? STATUS_NOT_FOUND : node->get_status, NULL);
        return;
    }
    if (node->swap) {
        for (uint32_t i = 0; i < node->copy_count; i++) {
            if (&node->copies[i] != copy && node->copies[i].bytes == copy->bytes) {
                copy = &node->copies[i];
                break;
            }
        }
    }
    uint32_t from = message->first_unit * UNIT_BYTES;
    uint32_t bytes = message->unit_count * UNIT_BYTES;
    bytes = from + bytes > copy->bytes ? copy->bytes - from : bytes;
    uint8_t *data = malloc(bytes);
    memcpy(data, copy->data + from, bytes);
    if (node->flip) {
        data[bytes / 2] ^= 1;
    }
    Trilith__ChunkGetReply reply = TRILITH__CHUNK_GET_REPLY__INIT;
    reply.chunk_bytes = copy->bytes;
    reply.suite = SUITE_AES_256_GCM;
    reply.seals.data = copy->seals + (size_t)message->first_unit * UNIT_SEAL_BYTES;
    reply.seals.len = (size_t)message->unit_count * UNIT_SEAL_BYTES;
    struct iovec payload = {.iov_base = data, .iov_len = node->cut ? bytes - 1 : bytes};
    if (payload.iov_len == 0) {
        rpc_reply(request, STATUS_OK, &reply.base);
        free(data);
        return;
    }
    rpc_reply_with_payload(request, STATUS_OK, &reply.base, &payload, 1, free_sent, data);
}

static void node_handle(struct rpc_service *rpc, struct rpc_request *request)
{
    struct fake_node *node = CONTAINER_OF(rpc, struct fake_node, rpc);
    if (request->type == TRILITH__MESSAGE_TYPE__CHUNK_PUT) {
        node_put(node, request);
    } else {
        node_get(node, request);
    }
}

/* ---- scripted metadata service --------------------------------------------------------------------- */

struct stored_object {
    uint8_t key[64];
    size_t key_bytes;
    uint8_t *packed;
    size_t packed_bytes;
    uint32_t slot;
};

static struct {
    struct rpc_service rpc;
    struct rpc_server *server;
    struct stored_object objects[OBJECTS_MAX];
    unsigned object_count;
    struct chunk_id condemned[COPIES_MAX];
    unsigned condemned_count;
    unsigned commits;
    enum status commit_status; /* answer commits so, storing nothing */
    unsigned commits_to_lose;  /* carry out, but never answer */
    bool hold_keys;            /* never answer TENANT_KEY */
    enum status leaf_status;
    uint32_t next_slot;
    unsigned leaf_calls;
    unsigned key_calls;
    unsigned credential_calls;
    uint64_t object_size_lie; /* added to the size of every record */
} meta;

static void leaf_of_slot(uint32_t slot, uint8_t leaf[KEY_BYTES])
{
    memset(leaf, 0x5a, KEY_BYTES);
    memcpy(leaf, &slot, sizeof(slot));
}

static struct stored_object *object_find(const void *key, size_t key_bytes)
{
    for (unsigned i = 0; i < meta.object_count; i++) {
        if (meta.objects[i].key_bytes == key_bytes && memcmp(meta.objects[i].key, key, key_bytes) == 0) {
            return &meta.objects[i];
        }
    }
    return NULL;
}

static void meta_commit(struct rpc_request *request)
{
    const Trilith__ObjectCommitRequest *message = (const Trilith__ObjectCommitRequest *)request->message;
    meta.commits++;
    if (meta.commit_status != STATUS_OK) {
        rpc_reply(request, meta.commit_status, NULL);
        return;
    }
    struct stored_object *object = object_find(message->key.data, message->key.len);
    if (object == NULL) {
        cr_assert(meta.object_count < OBJECTS_MAX);
        object = &meta.objects[meta.object_count++];
    }
    free(object->packed);
    object->key_bytes = message->key.len;
    memcpy(object->key, message->key.data, message->key.len);
    object->packed_bytes = trilith__object__get_packed_size(message->object);
    object->packed = malloc(object->packed_bytes);
    trilith__object__pack(message->object, object->packed);
    object->slot = message->object->slot;
    if (meta.commits_to_lose > 0) {
        meta.commits_to_lose--;
        hold(request);
        return;
    }
    Trilith__ObjectCommitReply reply = TRILITH__OBJECT_COMMIT_REPLY__INIT;
    reply.modified_ms = 1234567;
    rpc_reply(request, STATUS_OK, &reply.base);
}

static void meta_get(struct rpc_request *request)
{
    const Trilith__ObjectGetRequest *message = (const Trilith__ObjectGetRequest *)request->message;
    struct stored_object *object = object_find(message->key.data, message->key.len);
    if (object == NULL) {
        rpc_reply(request, STATUS_NOT_FOUND, NULL);
        return;
    }
    uint8_t leaf[KEY_BYTES];
    leaf_of_slot(object->slot, leaf);
    Trilith__ObjectGetReply reply = TRILITH__OBJECT_GET_REPLY__INIT;
    reply.object = trilith__object__unpack(NULL, object->packed_bytes, object->packed);
    reply.object->modified_ms = 1234567;
    reply.object->size += meta.object_size_lie;
    reply.bucket_id = 7;
    reply.leaf.data = leaf;
    reply.leaf.len = sizeof(leaf);
    rpc_reply(request, STATUS_OK, &reply.base);
    trilith__object__free_unpacked(reply.object, NULL);
}

static void meta_leaves(struct rpc_request *request)
{
    const Trilith__LeafLeaseRequest *message = (const Trilith__LeafLeaseRequest *)request->message;
    meta.leaf_calls++;
    if (meta.leaf_status != STATUS_OK) {
        rpc_reply(request, meta.leaf_status, NULL);
        return;
    }
    uint8_t leaves[256][KEY_BYTES];
    ProtobufCBinaryData datas[256];
    cr_assert_leq(message->count, 256);
    for (uint32_t i = 0; i < message->count; i++) {
        leaf_of_slot(meta.next_slot + i, leaves[i]);
        datas[i] = (ProtobufCBinaryData){.data = leaves[i], .len = KEY_BYTES};
    }
    Trilith__LeafLeaseReply reply = TRILITH__LEAF_LEASE_REPLY__INIT;
    reply.page = 3;
    reply.first_slot = meta.next_slot;
    reply.n_leaves = message->count;
    reply.leaves = datas;
    reply.lease_ms = 60000;
    meta.next_slot += message->count;
    rpc_reply(request, STATUS_OK, &reply.base);
}

static void meta_key(struct rpc_request *request)
{
    meta.key_calls++;
    if (meta.hold_keys) {
        hold(request);
        return;
    }
    uint8_t dek[KEY_BYTES];
    memset(dek, 0x11, sizeof(dek));
    Trilith__TenantKeyReply reply = TRILITH__TENANT_KEY_REPLY__INIT;
    reply.dek.data = dek;
    reply.dek.len = sizeof(dek);
    reply.dek_version = 1;
    reply.lease_ms = 60000;
    rpc_reply(request, STATUS_OK, &reply.base);
}

static void meta_abort(struct rpc_request *request)
{
    const Trilith__ChunksAbortRequest *message = (const Trilith__ChunksAbortRequest *)request->message;
    for (size_t i = 0; i < message->n_chunks; i++) {
        cr_assert(meta.condemned_count < COPIES_MAX);
        memcpy(meta.condemned[meta.condemned_count++].bytes, message->chunks[i]->chunk_id.data, 16);
    }
    rpc_reply(request, STATUS_OK, NULL);
}

static void meta_credential(struct rpc_request *request)
{
    const Trilith__CredentialGetRequest *message = (const Trilith__CredentialGetRequest *)request->message;
    static uint8_t secret[] = "a secret of more than thirty-two bytes!!";
    static char tenant[] = "acme";
    static char role[] = "editor";
    meta.credential_calls++;
    if (strcmp(message->access_key, "KNOWN") != 0) {
        rpc_reply(request, STATUS_NOT_FOUND, NULL);
        return;
    }
    Trilith__CredentialGetReply reply;
    trilith__credential_get_reply__init(&reply);
    reply.tenant_id = 1;
    reply.tenant_name = tenant;
    reply.role = role;
    reply.secret_key.data = secret;
    reply.secret_key.len = sizeof(secret) - 1;
    reply.lease_ms = 10000;
    rpc_reply(request, STATUS_OK, &reply.base);
}

static void meta_handle(struct rpc_service *rpc, struct rpc_request *request)
{
    (void)rpc;
    switch (request->type) {
    case TRILITH__MESSAGE_TYPE__OBJECT_COMMIT:
        meta_commit(request);
        return;
    case TRILITH__MESSAGE_TYPE__OBJECT_GET:
        meta_get(request);
        return;
    case TRILITH__MESSAGE_TYPE__LEAF_LEASE:
        meta_leaves(request);
        return;
    case TRILITH__MESSAGE_TYPE__TENANT_KEY:
        meta_key(request);
        return;
    case TRILITH__MESSAGE_TYPE__CHUNKS_ABORT:
        meta_abort(request);
        return;
    case TRILITH__MESSAGE_TYPE__CREDENTIAL_GET:
        meta_credential(request);
        return;
    default:
        rpc_reply(request, STATUS_UNSUPPORTED, NULL);
        return;
    }
}

/* ---- fixture --------------------------------------------------------------------------------------- */

/* A map of the first `count` nodes, those of `down_mask` down, with every triple of disks as a PG. */
static void publish_map(unsigned count, unsigned down_mask)
{
    Trilith__MapNode map_nodes[NODES];
    Trilith__MapDisk map_disks[NODES];
    Trilith__MapPg map_pgs[4];
    Trilith__DiskHealth health[NODES];
    Trilith__MapNode *node_pointers[NODES];
    Trilith__MapDisk *disk_pointers[NODES];
    Trilith__MapPg *pg_pointers[4];
    Trilith__DiskHealth *health_pointers[NODES];
    static uint32_t triples[4][3] = {{1, 2, 3}, {1, 2, 4}, {1, 3, 4}, {2, 3, 4}};
    uint8_t uuids[NODES][16];
    char names[NODES][16];
    for (unsigned i = 0; i < count; i++) {
        snprintf(names[i], sizeof(names[i]), "node%u", i + 1);
        memset(uuids[i], (int)i + 1, 16);
        trilith__map_node__init(&map_nodes[i]);
        map_nodes[i].id = i + 1;
        map_nodes[i].name = names[i];
        map_nodes[i].rpc_address = nodes[i].address;
        map_nodes[i].failure_domain = names[i];
        trilith__map_disk__init(&map_disks[i]);
        map_disks[i].id = i + 1;
        map_disks[i].node_id = i + 1;
        map_disks[i].uuid.data = uuids[i];
        map_disks[i].uuid.len = 16;
        trilith__disk_health__init(&health[i]);
        health[i].disk_id = i + 1;
        health[i].up = (down_mask & 1u << i) == 0;
        health[i].free = GIB(1);
        health[i].state = TRILITH__DISK_STATE__DISK_SERVING;
        node_pointers[i] = &map_nodes[i];
        disk_pointers[i] = &map_disks[i];
        health_pointers[i] = &health[i];
    }
    unsigned pg_count = count == 3 ? 1 : 4;
    for (unsigned i = 0; i < pg_count; i++) {
        trilith__map_pg__init(&map_pgs[i]);
        map_pgs[i].id = i + 1;
        map_pgs[i].n_members = 3;
        map_pgs[i].members = triples[i];
        pg_pointers[i] = &map_pgs[i];
    }
    Trilith__Map wire = TRILITH__MAP__INIT;
    wire.epoch = 1;
    wire.n_nodes = wire.n_disks = count;
    wire.nodes = node_pointers;
    wire.disks = disk_pointers;
    wire.n_pgs = pg_count;
    wire.pgs = pg_pointers;
    struct map *bare = NULL;
    cr_assert_eq(map_decode(&wire, &bare), STATUS_OK);
    struct map *map = map_with_health(bare, health_pointers, count);
    gateway_set_map(gateway, map, 0);
    map_release(map);
    map_release(bare);
}

static void open_gateway(uint32_t large_slabs)
{
    slabs = slab_pool_open(loop, 8, large_slabs);
    gateway = gateway_open(&(struct gateway_options){
        .loop = loop,
        .net = sim_net_interface(net),
        .meta_address = rpc_server_address(meta.server),
        .node_name = "node1",
        .slabs = slabs,
        .puts_max = 8,
        .gets_max = 8,
        .meta_call_ns = 2 * NS_PER_S,
        .chunk_write_ns = 2 * NS_PER_S,
        .chunk_read_ns = 1 * NS_PER_S,
    });
    cr_assert_not_null(gateway);
    publish_map(4, 0);
}

static void setup(void)
{
    cr_assert_eq(keys_start_process(), STATUS_OK);
    memset(nodes, 0, sizeof(nodes));
    memset(&meta, 0, sizeof(meta));
    held_count = 0;
    sim = sim_loop_open(42);
    loop = sim_loop_interface(sim);
    net = sim_net_open(sim, 43);
    replica_slabs = slab_pool_open(loop, 16, 16);
    for (unsigned i = 0; i < NODES; i++) {
        char address[NET_ADDRESS_BYTES];
        snprintf(address, sizeof(address), "node%u:7500", i + 1);
        nodes[i].rpc.slabs = replica_slabs;
        nodes[i].rpc.handle = node_handle;
        nodes[i].disk_id = i + 1;
        cr_assert_eq(rpc_server_open(loop, sim_net_interface(net), address, &nodes[i].rpc, &nodes[i].server),
                     STATUS_OK);
        snprintf(nodes[i].address, sizeof(nodes[i].address), "%s", rpc_server_address(nodes[i].server));
    }
    meta.rpc.handle = meta_handle;
    cr_assert_eq(rpc_server_open(loop, sim_net_interface(net), "meta:7400", &meta.rpc, &meta.server), STATUS_OK);
    open_gateway(6);
}

static void close_gateway(void)
{
    gateway_stop(gateway);
    for (unsigned i = 0; i < 1000000 && !gateway_is_idle(gateway); i++) {
        cr_assert(sim_loop_step(sim));
    }
    cr_assert_eq(slab_pool_in_use(slabs), 0);
    gateway_close(gateway);
    sim_loop_run_until_idle(sim);
    slab_pool_close(slabs);
}

static void teardown(void)
{
    close_gateway();
    for (unsigned i = 0; i < held_count; i++) {
        rpc_reply(held[i], STATUS_CANCELLED, NULL);
    }
    for (unsigned i = 0; i < NODES; i++) {
        rpc_server_close(nodes[i].server);
        for (uint32_t c = 0; c < nodes[i].copy_count; c++) {
            free(nodes[i].copies[c].data);
        }
    }
    rpc_server_close(meta.server);
    for (unsigned i = 0; i < meta.object_count; i++) {
        free(meta.objects[i].packed);
    }
    sim_loop_run_until_idle(sim);
    cr_assert_eq(slab_pool_in_use(replica_slabs), 0);
    slab_pool_close(replica_slabs);
    sim_net_close(net);
    sim_loop_close(sim);
}

TestSuite(object, .init = setup, .fini = teardown, .timeout = 240);

/* ---- a client that puts ----------------------------------------------------------------------------- */

struct writer {
    struct object_put *put;
    const uint8_t *data;
    size_t bytes;
    size_t written;
    uint64_t random; /* 0: as much as is taken at once */
    bool finish;
    bool done;
    bool detached;
    enum status status;
    struct object_put_result result;
};

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

static void writer_push(struct writer *writer)
{
    while (writer->written < writer->bytes) {
        size_t want = writer->bytes - writer->written;
        if (writer->random != 0) {
            size_t piece = 1 + next_random(&writer->random) % 200000;
            want = piece < want ? piece : want;
        }
        size_t took = object_put_write(writer->put, writer->data + writer->written, want);
        cr_assert_leq(took, want);
        writer->written += took;
        if (took < want) {
            return;
        }
    }
    if (writer->finish) {
        object_put_finish(writer->put);
        writer->finish = false;
    }
}

static void writer_writable(void *user)
{
    writer_push(user);
}

static void writer_done(void *user, enum status status, const struct object_put_result *result)
{
    struct writer *writer = user;
    cr_assert_not(writer->done);
    cr_assert_not(writer->detached);
    writer->done = true;
    writer->status = status;
    if (status == STATUS_OK) {
        writer->result = *result;
    } else {
        cr_assert_null(result);
    }
}

static struct object_meta some_meta;

static void writer_begin(struct writer *writer, const char *key, const uint8_t *data, size_t bytes, bool degraded)
{
    some_meta.used = 0;
    some_meta.count = 0;
    cr_assert_eq(object_meta_add(&some_meta, "content-type", "text/plain"), STATUS_OK);
    writer->data = data;
    writer->bytes = bytes;
    struct object_put_request request = {.tenant_id = 1,
                                         .bucket_id = 7,
                                         .degraded_writes = degraded,
                                         .key = (const uint8_t *)key,
                                         .key_bytes = strlen(key),
                                         .size = bytes,
                                         .meta = &some_meta,
                                         .user = writer,
                                         .writable = writer_writable,
                                         .done = writer_done};
    writer->put = object_put_start(gateway, &request);
    cr_assert_not_null(writer->put);
}

static bool run_until(const bool *flag)
{
    for (unsigned i = 0; i < 20000000 && !*flag; i++) {
        if (!sim_loop_step(sim)) {
            return false;
        }
    }
    return *flag;
}

static enum status put_object(const char *key, const uint8_t *data, size_t bytes, uint64_t random, bool degraded)
{
    struct writer writer = {.random = random, .finish = true};
    writer_begin(&writer, key, data, bytes, degraded);
    writer_push(&writer);
    cr_assert(run_until(&writer.done), "a put ends");
    return writer.status;
}

/* ---- a client that gets ------------------------------------------------------------------------------ */

struct reader {
    struct object_get *get;
    uint64_t offset;
    uint64_t want; /* 0: all of it */
    uint8_t *data;
    size_t taken;
    bool done;
    enum status opened;
    enum status status;
    struct object_info info;
    uint64_t random;
};

static void reader_readable(void *user)
{
    struct reader *reader = user;
    while (!reader->done) {
        size_t capacity = 1 + next_random(&reader->random) % 100000;
        size_t left = (size_t)reader->want - reader->taken;
        uint8_t scratch[1];
        size_t taken = 0;
        enum status status = left == 0 ? object_get_read(reader->get, scratch, 1, &taken)
                                       : object_get_read(reader->get, reader->data + reader->taken,
                                                         capacity < left ? capacity : left, &taken);
        if (status == STATUS_OK && taken == 0) {
            return;
        }
        if (status == STATUS_OK) {
            reader->taken += taken;
            continue;
        }
        reader->status = status;
        reader->done = true;
    }
}

static void reader_opened(void *user, enum status status, const struct object_info *info)
{
    struct reader *reader = user;
    reader->opened = status;
    if (status != STATUS_OK) {
        reader->status = status;
        reader->done = true;
        return;
    }
    reader->info = *info;
    if (reader->want == 0) {
        reader->want = info->size - reader->offset;
    }
    if (reader->want == 0) {
        reader->status = STATUS_CLOSED;
        reader->done = true;
        return;
    }
    reader->data = malloc((size_t)reader->want);
    object_get_range(reader->get, reader->offset, reader->want);
}

static void reader_begin(struct reader *reader, const char *key)
{
    reader->random = 99;
    struct object_get_request request = {.tenant_id = 1,
                                         .bucket = "bucket",
                                         .key = (const uint8_t *)key,
                                         .key_bytes = strlen(key),
                                         .user = reader,
                                         .opened = reader_opened,
                                         .readable = reader_readable};
    reader->get = object_get_open(gateway, &request);
    cr_assert_not_null(reader->get);
}

static void reader_end(struct reader *reader)
{
    object_get_close(reader->get);
    free(reader->data);
}

/* Read a range (bytes 0: to the end) and say how it ended; whatever came must be right. */
static enum status get_object(const char *key, const uint8_t *expected, uint64_t offset, uint64_t bytes)
{
    struct reader reader = {.offset = offset, .want = bytes};
    reader_begin(&reader, key);
    cr_assert(run_until(&reader.done), "a get ends");
    if (reader.taken > 0) {
        cr_assert_eq(memcmp(reader.data, expected + offset, reader.taken), 0, "never wrong bytes");
    }
    if (reader.status == STATUS_CLOSED) {
        cr_assert_eq(reader.taken, reader.want);
    }
    enum status status = reader.status;
    reader_end(&reader);
    return status;
}

static uint8_t *make_data(size_t bytes)
{
    uint8_t *data = malloc(bytes + 1);
    uint64_t random = bytes + 1;
    for (size_t i = 0; i < bytes; i++) {
        data[i] = (uint8_t)next_random(&random);
    }
    return data;
}

static unsigned copies_of(const uint8_t *id)
{
    unsigned copies = 0;
    for (unsigned i = 0; i < NODES; i++) {
        copies += node_find(&nodes[i], id) != NULL;
    }
    return copies;
}

static bool is_condemned(const uint8_t *id)
{
    for (unsigned i = 0; i < meta.condemned_count; i++) {
        if (memcmp(meta.condemned[i].bytes, id, 16) == 0) {
            return true;
        }
    }
    return false;
}

/* Every committed chunk has `copies` copies and is not condemned; every other copy anywhere is condemned. */
static void check_copies(unsigned copies)
{
    unsigned committed = 0;
    unsigned total = 0;
    for (unsigned i = 0; i < meta.object_count; i++) {
        Trilith__Object *object = trilith__object__unpack(NULL, meta.objects[i].packed_bytes, meta.objects[i].packed);
        for (size_t c = 0; c < object->n_chunks; c++) {
            cr_assert_eq(copies_of(object->chunks[c]->chunk_id.data), copies);
            cr_assert_not(is_condemned(object->chunks[c]->chunk_id.data));
            committed += copies;
        }
        trilith__object__free_unpacked(object, NULL);
    }
    for (unsigned i = 0; i < NODES; i++) {
        for (uint32_t c = 0; c < nodes[i].copy_count; c++) {
            total += !is_condemned(nodes[i].copies[c].id.bytes);
        }
    }
    cr_assert_eq(total, committed);
}

/* ---- round trips ------------------------------------------------------------------------------------ */

static void round_trip(size_t bytes)
{
    uint8_t *data = make_data(bytes);
    cr_assert_eq(put_object("key", data, bytes, bytes + 17, false), STATUS_OK, "%zu bytes", bytes);
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED, "%zu bytes", bytes);
    free(data);
}

Test(object, of_every_boundary_size_comes_back)
{
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, UNIT_BYTES - 1, UNIT_BYTES, UNIT_BYTES + 1, 5 * UNIT_BYTES};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        round_trip(sizes[i]);
    }
}

Test(object, of_a_chunk_more_or_less_comes_back)
{
    round_trip(CHUNK_BYTES_MAX - 1);
    round_trip(CHUNK_BYTES_MAX);
    round_trip(CHUNK_BYTES_MAX + 1);
}

Test(object, of_several_chunks_comes_back_whole_and_in_ranges)
{
    size_t bytes = 5u * CHUNK_BYTES_MAX + 12345;
    uint8_t *data = make_data(bytes);
    cr_assert_eq(put_object("key", data, bytes, 0, false), STATUS_OK);
    check_copies(3);
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
    cr_assert_eq(get_object("key", data, bytes - 1, 1), STATUS_CLOSED);
    cr_assert_eq(get_object("key", data, UNIT_BYTES - 1, 2), STATUS_CLOSED);
    cr_assert_eq(get_object("key", data, CHUNK_BYTES_MAX - 1, 2), STATUS_CLOSED);
    cr_assert_eq(get_object("key", data, 3u * CHUNK_BYTES_MAX, 1), STATUS_CLOSED);
    cr_assert_eq(get_object("key", data, 100000, 3u * CHUNK_BYTES_MAX), STATUS_CLOSED);
    free(data);
}

Test(object, carries_its_size_etag_and_metadata)
{
    uint8_t *data = make_data(10);
    struct writer writer = {.finish = true};
    writer_begin(&writer, "key", data, 10, false);
    writer_push(&writer);
    cr_assert(run_until(&writer.done));
    cr_assert_eq(writer.result.modified_ms, 1234567);
    struct reader reader = {0};
    reader_begin(&reader, "key");
    cr_assert(run_until(&reader.done));
    cr_assert_eq(reader.info.size, 10);
    cr_assert_str_eq(reader.info.etag, writer.result.etag);
    cr_assert_eq(strlen(writer.result.etag), 34);
    size_t cursor = 0;
    const char *name = NULL;
    const char *value = NULL;
    size_t name_bytes = 0;
    size_t value_bytes = 0;
    cr_assert(object_meta_next(reader.info.meta, &cursor, &name, &name_bytes, &value, &value_bytes));
    cr_assert(name_bytes == 12 && memcmp(name, "content-type", 12) == 0);
    cr_assert(value_bytes == 10 && memcmp(value, "text/plain", 10) == 0);
    reader_end(&reader);
    free(data);
}

Test(object, that_is_not_there_is_not_found)
{
    cr_assert_eq(get_object("nothing", NULL, 0, 0), STATUS_NOT_FOUND);
}

Test(object, stands_nowhere_in_plaintext)
{
    size_t bytes = 3u * UNIT_BYTES;
    uint8_t *data = make_data(bytes);
    cr_assert_eq(put_object("key", data, bytes, 0, false), STATUS_OK);
    for (unsigned i = 0; i < NODES; i++) {
        for (uint32_t c = 0; c < nodes[i].copy_count; c++) {
            cr_assert_null(memmem(nodes[i].copies[c].data, nodes[i].copies[c].bytes, data + 1000, 16));
        }
    }
    free(data);
}

Test(object, of_many_writers_at_once_get_through_with_few_slabs)
{
    size_t bytes = 3u * CHUNK_BYTES_MAX + 5;
    uint8_t *data = make_data(bytes);
    struct writer writers[4];
    memset(writers, 0, sizeof(writers));
    static const char *keys[4] = {"a", "b", "c", "d"};
    for (unsigned i = 0; i < 4; i++) {
        writers[i].finish = true;
        writers[i].random = i + 1;
        writer_begin(&writers[i], keys[i], data, bytes, false);
        writer_push(&writers[i]);
    }
    for (unsigned i = 0; i < 4; i++) {
        cr_assert(run_until(&writers[i].done));
        cr_assert_eq(writers[i].status, STATUS_OK);
    }
    check_copies(3);
    struct reader readers[4];
    memset(readers, 0, sizeof(readers));
    for (unsigned i = 0; i < 4; i++) {
        reader_begin(&readers[i], keys[i]);
    }
    for (unsigned i = 0; i < 4; i++) {
        cr_assert(run_until(&readers[i].done));
        cr_assert_eq(readers[i].status, STATUS_CLOSED);
        cr_assert_eq(memcmp(readers[i].data, data, bytes), 0);
        reader_end(&readers[i]);
    }
    cr_assert_leq(meta.leaf_calls, 2);
    cr_assert_leq(meta.key_calls, 2);
    free(data);
}

Test(object, puts_above_the_limit_are_refused)
{
    struct writer writers[8];
    memset(writers, 0, sizeof(writers));
    for (unsigned i = 0; i < 8; i++) {
        writer_begin(&writers[i], "key", NULL, 100, false);
    }
    struct object_put_request request = {.tenant_id = 1,
                                         .bucket_id = 7,
                                         .key = (const uint8_t *)"k",
                                         .key_bytes = 1,
                                         .size = 1,
                                         .meta = &some_meta,
                                         .writable = writer_writable,
                                         .done = writer_done};
    cr_assert_null(object_put_start(gateway, &request));
    for (unsigned i = 0; i < 8; i++) {
        writers[i].detached = true;
        object_put_detach(writers[i].put);
    }
    sim_loop_run_for(sim, NS_PER_S);
    cr_assert_eq(gateway->puts_in_flight, 0);
}

/* ---- reading around damage --------------------------------------------------------------------------- */

static const size_t damaged_bytes = 2u * CHUNK_BYTES_MAX + 777;

static uint8_t *put_for_damage(void)
{
    uint8_t *data = make_data(damaged_bytes);
    cr_assert_eq(put_object("key", data, damaged_bytes, 0, false), STATUS_OK);
    return data;
}

Test(object, read_survives_any_one_replica_that_flips_a_byte)
{
    uint8_t *data = put_for_damage();
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i].flip = true;
        cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
        nodes[i].flip = false;
    }
    cr_assert_gt(gateway->replica_mismatches, 0);
    free(data);
}

Test(object, read_survives_a_replica_that_gives_another_chunk)
{
    uint8_t *data = put_for_damage();
    for (unsigned i = 0; i < 3; i++) {
        nodes[i].swap = true;
        cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
        nodes[i].swap = false;
    }
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i].swap = true;
    }
    enum status status = get_object("key", data, 0, 0);
    cr_assert(status == STATUS_CORRUPT || status == STATUS_CLOSED);
    cr_assert_gt(gateway->replica_mismatches, 0);
    free(data);
}

Test(object, read_survives_a_replica_that_cuts_its_answer_short)
{
    uint8_t *data = put_for_damage();
    nodes[0].cut = true;
    nodes[1].cut = true;
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
    free(data);
}

Test(object, read_survives_replicas_that_fail_or_hang)
{
    static const enum status statuses[] = {STATUS_IO, STATUS_CORRUPT, STATUS_NOT_FOUND, STATUS_GONE,
                                           STATUS_UNAVAILABLE};
    uint8_t *data = put_for_damage();
    for (size_t s = 0; s < ARRAY_LENGTH(statuses); s++) {
        nodes[0].get_status = statuses[s];
        nodes[1].get_status = statuses[s];
        cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED, "%s", status_name(statuses[s]));
    }
    nodes[0].get_status = STATUS_OK;
    nodes[1].get_status = STATUS_OK;
    nodes[2].hold_gets = true;
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
    free(data);
}

Test(object, read_survives_a_node_that_dies_midway)
{
    uint8_t *data = put_for_damage();
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i].gets = 0;
    }
    nodes[0].gets_before_death = 1;
    nodes[3].gets_before_death = 2;
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
    free(data);
}

Test(object, read_of_three_damaged_copies_is_an_error)
{
    uint8_t *data = put_for_damage();
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i].flip = true;
    }
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CORRUPT);
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i].flip = false;
        nodes[i].get_status = STATUS_GONE;
    }
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_GONE);
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i].get_status = STATUS_OK;
        nodes[i].hold_gets = true;
    }
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_TIMEOUT);
    free(data);
}

Test(object, read_asks_each_replica_at_most_twice)
{
    uint8_t *data = make_data(100);
    cr_assert_eq(put_object("key", data, 100, 0, false), STATUS_OK);
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i].get_status = STATUS_IO;
        nodes[i].gets = 0;
    }
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_UNAVAILABLE);
    unsigned gets = 0;
    for (unsigned i = 0; i < NODES; i++) {
        cr_assert_leq(nodes[i].gets, 2);
        gets += nodes[i].gets;
    }
    cr_assert_eq(gets, 6);
    free(data);
}

Test(object, record_with_a_changed_size_is_refused)
{
    uint8_t *data = make_data(0);
    cr_assert_eq(put_object("key", data, 0, 0, false), STATUS_OK);
    meta.object_size_lie = 1;
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CORRUPT);
    free(data);
}

Test(object, get_closed_at_any_moment_leaves_nothing_behind)
{
    uint8_t *data = put_for_damage();
    for (unsigned steps = 0; steps < 400; steps += 7) {
        struct reader reader = {0};
        reader_begin(&reader, "key");
        for (unsigned i = 0; i < steps && !reader.done; i++) {
            sim_loop_step(sim);
        }
        reader_end(&reader);
        sim_loop_run_for(sim, 100 * NS_PER_MS);
        cr_assert_eq(gateway->gets_in_flight, 0);
        cr_assert_eq(slab_pool_in_use(slabs), 0);
    }
    free(data);
}

/* ---- writing around failures ------------------------------------------------------------------------- */

Test(object, put_goes_to_another_pg_when_a_member_fails)
{
    static const enum status statuses[] = {STATUS_IO, STATUS_FENCED, STATUS_FULL, STATUS_BUSY, STATUS_CONFLICT};
    for (size_t s = 0; s < ARRAY_LENGTH(statuses); s++) {
        for (unsigned i = 0; i < NODES; i++) {
            nodes[i].put_status = statuses[s];
            nodes[i].put_failures = i == 0 ? 1 : 0;
        }
        size_t bytes = 2u * CHUNK_BYTES_MAX + 9;
        uint8_t *data = make_data(bytes);
        cr_assert_eq(put_object("key", data, bytes, 3, false), STATUS_OK, "%s", status_name(statuses[s]));
        cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
        free(data);
        sim_loop_run_for(sim, 10 * NS_PER_S);
    }
    cr_assert_gt(meta.condemned_count, 0);
}

Test(object, put_keeps_three_copies_and_condemns_the_failed_attempt)
{
    nodes[0].put_status = STATUS_IO;
    nodes[0].put_failures = 1;
    nodes[1].put_status = STATUS_IO;
    nodes[1].put_failures = 1;
    uint8_t *data = make_data(300000);
    cr_assert_eq(put_object("key", data, 300000, 0, false), STATUS_OK);
    sim_loop_run_for(sim, NS_PER_S);
    check_copies(3);
    free(data);
}

Test(object, put_survives_a_member_that_hangs)
{
    nodes[2].hold_puts = true;
    uint8_t *data = make_data(300000);
    for (unsigned i = 0; i < 4; i++) {
        cr_assert_eq(put_object("key", data, 300000, 0, false), STATUS_OK);
    }
    cr_assert_leq(nodes[2].puts, 2, "a disk that hangs is left alone for a while");
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
    free(data);
}

Test(object, put_that_no_member_takes_fails_and_is_condemned)
{
    for (unsigned i = 1; i < NODES; i++) {
        nodes[i].put_status = STATUS_IO;
        nodes[i].put_failures = 1000;
    }
    uint8_t *data = make_data(3u * CHUNK_BYTES_MAX);
    cr_assert_eq(put_object("key", data, 3u * CHUNK_BYTES_MAX, 0, false), STATUS_UNAVAILABLE);
    sim_loop_run_for(sim, 5 * NS_PER_S);
    cr_assert_eq(meta.object_count, 0);
    check_copies(3);
    cr_assert_eq(gateway->puts_in_flight, 0);
    free(data);
}

Test(object, put_with_two_healthy_domains_depends_on_the_bucket)
{
    uint8_t *data = make_data(100000);
    publish_map(3, 1u << 1);
    cr_assert_eq(put_object("key", data, 100000, 0, false), STATUS_UNAVAILABLE);
    cr_assert_eq(put_object("key", data, 100000, 0, true), STATUS_OK);
    check_copies(2);
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
    free(data);
}

Test(object, put_aborted_midway_leaves_nothing)
{
    size_t bytes = 4u * CHUNK_BYTES_MAX;
    uint8_t *data = make_data(bytes);
    for (unsigned steps = 0; steps < 3000; steps += 211) {
        struct writer writer = {.random = steps + 1};
        writer_begin(&writer, "key", data, bytes, false);
        writer_push(&writer);
        for (unsigned i = 0; i < steps; i++) {
            sim_loop_step(sim);
        }
        cr_assert_not(writer.done);
        object_put_abort(writer.put);
        cr_assert_not(writer.done, "not within the call");
        cr_assert(run_until(&writer.done));
        cr_assert_eq(writer.status, STATUS_CANCELLED);
        sim_loop_run_for(sim, 5 * NS_PER_S);
        cr_assert_eq(gateway->puts_in_flight, 0);
        cr_assert_eq(slab_pool_in_use(slabs), 0);
    }
    check_copies(3);
    cr_assert_eq(meta.commits, 0);
    free(data);
}

Test(object, put_detached_before_its_end_is_aborted)
{
    uint8_t *data = make_data(CHUNK_BYTES_MAX + 5);
    struct writer writer = {0};
    writer_begin(&writer, "key", data, CHUNK_BYTES_MAX + 5, false);
    writer_push(&writer);
    sim_loop_run_for(sim, 10 * NS_PER_MS);
    writer.detached = true;
    object_put_detach(writer.put);
    sim_loop_run_for(sim, 5 * NS_PER_S);
    cr_assert_eq(gateway->puts_in_flight, 0);
    check_copies(3);
    free(data);
}

Test(object, put_detached_after_its_end_is_committed)
{
    uint8_t *data = make_data(CHUNK_BYTES_MAX + 5);
    struct writer writer = {.finish = true};
    writer_begin(&writer, "key", data, CHUNK_BYTES_MAX + 5, false);
    writer_push(&writer);
    writer.detached = true;
    object_put_detach(writer.put);
    sim_loop_run_for(sim, 5 * NS_PER_S);
    cr_assert_eq(meta.object_count, 1);
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
    free(data);
}

Test(object, commit_that_is_refused_condemns_the_chunks)
{
    static const enum status refusals[][2] = {{STATUS_CONFLICT, STATUS_UNAVAILABLE},
                                              {STATUS_NOT_FOUND, STATUS_NOT_FOUND},
                                              {STATUS_EXISTS, STATUS_EXISTS},
                                              {STATUS_DENIED, STATUS_DENIED}};
    uint8_t *data = make_data(CHUNK_BYTES_MAX + 5);
    for (size_t i = 0; i < ARRAY_LENGTH(refusals); i++) {
        meta.commit_status = refusals[i][0];
        cr_assert_eq(put_object("key", data, CHUNK_BYTES_MAX + 5, 0, false), refusals[i][1]);
        sim_loop_run_for(sim, NS_PER_S);
        check_copies(3);
    }
    free(data);
}

Test(object, commit_whose_answer_is_lost_is_asked_for_again)
{
    meta.commits_to_lose = 1;
    uint8_t *data = make_data(1000);
    cr_assert_eq(put_object("key", data, 1000, 0, false), STATUS_OK);
    cr_assert_eq(meta.commits, 2);
    cr_assert_eq(meta.condemned_count, 0);
    free(data);
}

Test(object, commit_without_any_answer_condemns_nothing)
{
    meta.commits_to_lose = 1000;
    uint8_t *data = make_data(1000);
    cr_assert_eq(put_object("key", data, 1000, 0, false), STATUS_TIMEOUT);
    sim_loop_run_for(sim, 10 * NS_PER_S);
    cr_assert_eq(meta.condemned_count, 0, "the object may be there");
    cr_assert_eq(get_object("key", data, 0, 0), STATUS_CLOSED);
    free(data);
}

Test(object, without_a_metadata_service_ends_in_time)
{
    uint8_t *data = make_data(100000);
    sim_net_hold(net, rpc_server_address(meta.server), true);
    cr_assert_eq(put_object("key", data, 100000, 0, false), STATUS_UNAVAILABLE);
    enum status status = get_object("key", data, 0, 0);
    cr_assert(status == STATUS_TIMEOUT || status == STATUS_UNAVAILABLE);
    sim_loop_run_for(sim, 10 * NS_PER_S);
    cr_assert_eq(gateway->puts_in_flight, 0);
    sim_net_hold(net, rpc_server_address(meta.server), false);
    sim_loop_run_for(sim, 10 * NS_PER_S);
    round_trip(1000);
    free(data);
}

Test(object, put_without_a_key_is_refused)
{
    uint8_t *data = make_data(1000);
    meta.leaf_status = STATUS_DENIED;
    cr_assert_eq(put_object("key", data, 1000, 0, false), STATUS_DENIED);
    meta.leaf_status = STATUS_NOT_FOUND;
    cr_assert_eq(put_object("key", data, 1000, 0, false), STATUS_NOT_FOUND);
    free(data);
}

Test(object, gateway_stops_in_the_middle_of_everything)
{
    size_t bytes = 4u * CHUNK_BYTES_MAX;
    uint8_t *data = make_data(bytes);
    cr_assert_eq(put_object("there", data, bytes, 0, false), STATUS_OK);
    for (unsigned steps = 0; steps < 1200; steps += 97) {
        struct writer writer = {.random = steps + 1, .finish = true};
        writer_begin(&writer, "key", data, bytes, false);
        writer_push(&writer);
        struct reader reader = {0};
        reader_begin(&reader, "there");
        for (unsigned i = 0; i < steps && !writer.done; i++) {
            sim_loop_step(sim);
        }
        if (!reader.done) {
            reader_end(&reader); /* The front closes its gets before it goes. */
        } else {
            object_get_close(reader.get);
            free(reader.data);
        }
        close_gateway();
        cr_assert(writer.done);
        open_gateway(6);
    }
    free(data);
}

/* ---- credentials -------------------------------------------------------------------------------------- */

static struct {
    struct credential_lookup lookup;
    bool done;
    enum status status;
    char secret[SECRET_KEY_BYTES_MAX + 1];
    enum role role;
} probe;

static void credential_done(struct credential_lookup *lookup, enum status status, const struct credential *credential)
{
    (void)lookup;
    probe.done = true;
    probe.status = status;
    if (status == STATUS_OK) {
        memcpy(probe.secret, credential->secret_key, strlen(credential->secret_key) + 1);
        probe.role = credential->role;
    }
}

static enum status look_up(const char *access_key)
{
    memset(&probe, 0, sizeof(probe));
    snprintf(probe.lookup.access_key, sizeof(probe.lookup.access_key), "%s", access_key);
    probe.lookup.done = credential_done;
    gateway_credential(gateway, &probe.lookup);
    cr_assert_not(probe.done, "not within the call");
    cr_assert(run_until(&probe.done));
    return probe.status;
}

Test(object, credential_is_fetched_once_per_lease)
{
    cr_assert_eq(look_up("KNOWN"), STATUS_OK);
    cr_assert_str_eq(probe.secret, "a secret of more than thirty-two bytes!!");
    cr_assert_eq(probe.role, ROLE_EDITOR);
    cr_assert_eq(look_up("KNOWN"), STATUS_OK);
    cr_assert_eq(meta.credential_calls, 1);
    sim_loop_run_for(sim, 11 * NS_PER_S);
    cr_assert_eq(look_up("KNOWN"), STATUS_OK);
    cr_assert_eq(meta.credential_calls, 2);
}

Test(object, credential_that_does_not_exist_is_remembered_for_a_second)
{
    cr_assert_eq(look_up("UNKNOWN"), STATUS_NOT_FOUND);
    cr_assert_eq(look_up("UNKNOWN"), STATUS_NOT_FOUND);
    cr_assert_eq(meta.credential_calls, 1);
    sim_loop_run_for(sim, 2 * NS_PER_S);
    cr_assert_eq(look_up("UNKNOWN"), STATUS_NOT_FOUND);
    cr_assert_eq(meta.credential_calls, 2);
}

Test(object, credential_lookup_can_be_given_up)
{
    memset(&probe, 0, sizeof(probe));
    snprintf(probe.lookup.access_key, sizeof(probe.lookup.access_key), "KNOWN");
    probe.lookup.done = credential_done;
    gateway_credential(gateway, &probe.lookup);
    gateway_credential_cancel(&probe.lookup);
    sim_loop_run_for(sim, NS_PER_S);
    cr_assert_not(probe.done);
}
