/* object_world.c - see object_world.h. */
#include "tests/unit/object_world.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- scripted nodes ------------------------------------------------------------------------------- */

struct sim_loop *sim;
struct sim_net *net;
struct loop *loop;
static struct slab_pool *replica_slabs;
struct slab_pool *slabs;
struct gateway *gateway;
struct key_horizon horizon;
struct fake_node nodes[NODES];
struct rpc_request *held[HELD_MAX];
unsigned held_count;

struct fake_meta meta;

bool is_condemned(const uint8_t *id)
{
    for (unsigned i = 0; i < meta.condemned_count; i++) {
        if (memcmp(meta.condemned[i].bytes, id, 16) == 0) {
            return true;
        }
    }
    return false;
}

static void hold(struct rpc_request *request)
{
    cr_assert(held_count < HELD_MAX);
    held[held_count++] = request;
}

struct copy *node_find(struct fake_node *node, const uint8_t *id)
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
    copy->suite = message->suite;
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
    if (copy != NULL && meta.condemned_are_wiped && is_condemned(copy->id.bytes)) {
        rpc_reply(request, STATUS_GONE, NULL);
        return;
    }
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
    reply.suite = copy->suite;
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

static void leaf_of_slot(uint32_t slot, uint8_t leaf[KEY_BYTES])
{
    memset(leaf, 0x5a, KEY_BYTES);
    memcpy(leaf, &slot, sizeof(slot));
}

struct stored_object *object_find(const void *key, size_t key_bytes)
{
    for (unsigned i = 0; i < meta.object_count; i++) {
        if (meta.objects[i].key_bytes == key_bytes && memcmp(meta.objects[i].key, key, key_bytes) == 0) {
            return &meta.objects[i];
        }
    }
    return NULL;
}

Trilith__Object *object_record(const char *key)
{
    const struct stored_object *object = object_find(key, strlen(key));
    cr_assert_not_null(object);
    return trilith__object__unpack(NULL, object->packed_bytes, object->packed);
}

static void condemn(const Trilith__ChunkRef *ref)
{
    cr_assert(meta.condemned_count < COPIES_MAX);
    memcpy(meta.condemned[meta.condemned_count++].bytes, ref->chunk_id.data, 16);
}

/* May this version be sealed anew? Then its old chunks are an erasure. */
static enum status reseal_accept(const struct stored_object *stored, const Trilith__ObjectCommitRequest *message)
{
    const Trilith__Object *after = message->object;
    if (meta.reseals_overtaken > 0) {
        meta.reseals_overtaken--;
        return STATUS_CONFLICT;
    }
    if (stored == NULL) {
        return STATUS_CONFLICT;
    }
    Trilith__Object *before = trilith__object__unpack(NULL, stored->packed_bytes, stored->packed);
    bool same = memcmp(before->version_id.data, after->version_id.data, 16) == 0;
    enum status status = STATUS_OK;
    if (!same || before->dek_version != message->reseal_from) {
        status = STATUS_CONFLICT;
    } else {
        cr_assert_eq(after->dek_version, meta.dek_version, "to the current DEK");
        cr_assert_str_eq(after->etag, before->etag);
        cr_assert_eq(after->size, before->size);
        cr_assert_eq(after->suite, before->suite);
        cr_assert_neq(after->slot, before->slot, "a leaf is used once");
        cr_assert_eq(after->slot, stored->reseal_slot, "and noted before");
        for (size_t i = 0; i < before->n_chunks; i++) {
            condemn(before->chunks[i]);
        }
        meta.reseals++;
    }
    trilith__object__free_unpacked(before, NULL);
    return status;
}

static void meta_commit(struct rpc_request *request)
{
    const Trilith__ObjectCommitRequest *message = (const Trilith__ObjectCommitRequest *)request->message;
    meta.commits++;
    struct stored_object *object = object_find(message->key.data, message->key.len);
    enum status status = meta.refusal != STATUS_OK ? meta.refusal : meta.commit_status;
    if (status == STATUS_OK && message->reseal_from != 0) {
        status = reseal_accept(object, message);
    }
    if (status != STATUS_OK) {
        rpc_reply(request, status, NULL);
        return;
    }
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
    object->reseal_slot = 0;
    if (meta.commits_to_lose > 0) {
        meta.commits_to_lose--;
        hold(request);
        return;
    }
    Trilith__ObjectCommitReply reply = TRILITH__OBJECT_COMMIT_REPLY__INIT;
    reply.modified_ms = 1234567;
    rpc_reply(request, STATUS_OK, &reply.base);
}

void answer_record(struct rpc_request *request)
{
    const Trilith__ObjectGetRequest *message = (const Trilith__ObjectGetRequest *)request->message;
    struct stored_object *object = object_find(message->key.data, message->key.len);
    if (object == NULL || meta.refusal != STATUS_OK) {
        rpc_reply(request, object == NULL ? STATUS_NOT_FOUND : meta.refusal, NULL);
        return;
    }
    uint8_t leaf[KEY_BYTES];
    leaf_of_slot(object->slot, leaf);
    Trilith__ObjectGetReply reply = TRILITH__OBJECT_GET_REPLY__INIT;
    reply.object = trilith__object__unpack(NULL, object->packed_bytes, object->packed);
    reply.object->modified_ms = 1234567;
    reply.object->size += meta.object_size_lie;
    reply.bucket_id = BUCKET_ID;
    reply.journal_index = meta.journal_index;
    reply.leaf.data = leaf;
    reply.leaf.len = sizeof(leaf);
    rpc_reply(request, STATUS_OK, &reply.base);
    trilith__object__free_unpacked(reply.object, NULL);
}

static void meta_get(struct rpc_request *request)
{
    if (meta.hold_records) {
        hold(request);
    } else {
        answer_record(request);
    }
}

/* May this version be sealed anew? Then its leaf is noted. */
static enum status reseal_lease(const Trilith__LeafLeaseRequest *message)
{
    meta.reseal_leases++;
    meta.object_count = meta.drop_before_reseal ? 0 : meta.object_count;
    cr_assert_eq(message->count, 1);
    cr_assert_eq(message->reseal_version.len, 16);
    struct stored_object *stored = object_find(message->reseal_key.data, message->reseal_key.len);
    if (stored == NULL) {
        return STATUS_CONFLICT;
    }
    Trilith__Object *object = trilith__object__unpack(NULL, stored->packed_bytes, stored->packed);
    bool same = memcmp(object->version_id.data, message->reseal_version.data, 16) == 0;
    trilith__object__free_unpacked(object, NULL);
    stored->reseal_slot = same ? meta.next_slot : stored->reseal_slot;
    return same ? STATUS_OK : STATUS_CONFLICT;
}

static void meta_leaves(struct rpc_request *request)
{
    const Trilith__LeafLeaseRequest *message = (const Trilith__LeafLeaseRequest *)request->message;
    meta.leaf_calls++;
    if (meta.leaf_status != STATUS_OK || meta.refusal != STATUS_OK) {
        rpc_reply(request, meta.leaf_status != STATUS_OK ? meta.leaf_status : meta.refusal, NULL);
        return;
    }
    enum status status = message->reseal_key.len > 0 ? reseal_lease(message) : STATUS_OK;
    if (status != STATUS_OK) {
        rpc_reply(request, status, NULL);
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

void answer_key(struct rpc_request *request)
{
    const Trilith__TenantKeyRequest *message = (const Trilith__TenantKeyRequest *)request->message;
    uint32_t version = message->dek_version == 0 ? meta.dek_version : message->dek_version;
    if (meta.old_deks_are_gone && version != meta.dek_version) {
        rpc_reply(request, STATUS_GONE, NULL);
        return;
    }
    uint8_t dek[KEY_BYTES];
    memset(dek, 0x10 + (int)version, sizeof(dek));
    Trilith__TenantKeyReply reply = TRILITH__TENANT_KEY_REPLY__INIT;
    reply.dek.data = dek;
    reply.dek.len = sizeof(dek);
    reply.dek_version = version;
    reply.lease_ms = meta.dek_lease_ms;
    rpc_reply(request, STATUS_OK, &reply.base);
}

static void meta_key(struct rpc_request *request)
{
    meta.key_calls++;
    if (meta.hold_keys) {
        hold(request);
    } else if (meta.refusal != STATUS_OK) {
        rpc_reply(request, meta.refusal, NULL);
    } else {
        answer_key(request);
    }
}

static void reseal_item_fill(const struct stored_object *stored, const Trilith__Object *object,
                             Trilith__ResealItem *item)
{
    static char bucket[] = "bucket";
    static uint8_t gone[16];
    trilith__reseal_item__init(item);
    item->tenant_id = 1;
    item->bucket = bucket;
    item->key.data = (uint8_t *)(uintptr_t)stored->key;
    item->key.len = stored->key_bytes;
    item->version_id.data = meta.stale_items ? gone : object->version_id.data;
    item->version_id.len = 16;
    item->dek_version = object->dek_version;
    item->size = object->size;
}

static void meta_reseal_pull(struct rpc_request *request)
{
    const Trilith__ResealPullRequest *message = (const Trilith__ResealPullRequest *)request->message;
    Trilith__ResealItem items[OBJECTS_MAX];
    Trilith__ResealItem *pointers[OBJECTS_MAX];
    Trilith__Object *objects[OBJECTS_MAX];
    Trilith__ResealPullReply reply = TRILITH__RESEAL_PULL_REPLY__INIT;
    meta.reseal_pulls++;
    cr_assert_eq(message->node_id, 1);
    cr_assert(message->max >= 1 && message->max <= 64);
    for (unsigned i = 0; i < meta.object_count; i++) {
        objects[i] = trilith__object__unpack(NULL, meta.objects[i].packed_bytes, meta.objects[i].packed);
        if (objects[i]->dek_version != meta.dek_version && reply.n_items < message->max) {
            reseal_item_fill(&meta.objects[i], objects[i], &items[reply.n_items]);
            pointers[reply.n_items] = &items[reply.n_items];
            reply.n_items++;
        }
    }
    reply.items = pointers;
    rpc_reply(request, STATUS_OK, &reply.base);
    for (unsigned i = 0; i < meta.object_count; i++) {
        trilith__object__free_unpacked(objects[i], NULL);
    }
}

static void meta_abort(struct rpc_request *request)
{
    const Trilith__ChunksAbortRequest *message = (const Trilith__ChunksAbortRequest *)request->message;
    meta.aborts++;
    for (size_t i = 0; i < message->n_chunks; i++) {
        condemn(message->chunks[i]);
    }
    if (message->page != 0) {
        cr_assert_eq(message->page, 3);
        cr_assert(meta.given_up_count < COPIES_MAX);
        meta.given_up[meta.given_up_count++] = message->slot;
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
    if (meta.refusal != STATUS_OK) {
        rpc_reply(request, meta.refusal, NULL);
        return;
    }
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
    case TRILITH__MESSAGE_TYPE__RESEAL_PULL:
        meta_reseal_pull(request);
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

void publish_map(unsigned count, unsigned down_mask)
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

void open_gateway(enum sealer_implementation sealer)
{
    slabs = slab_pool_open(loop, 8, 6);
    gateway = gateway_open(&(struct gateway_options){
        .loop = loop,
        .net = sim_net_interface(net),
        .meta_address = rpc_server_address(meta.server),
        .node_name = "node1",
        .horizon = &horizon,
        .slabs = slabs,
        .puts_max = PUTS_MAX,
        .gets_max = GETS_MAX,
        .meta_call_ns = 2 * NS_PER_S,
        .chunk_write_ns = 2 * NS_PER_S,
        .chunk_read_ns = 1 * NS_PER_S,
        .sealer = sealer,
    });
    cr_assert_not_null(gateway);
    publish_map(4, 0);
}

void world_open(void)
{
    cr_assert_eq(keys_start_process(), STATUS_OK);
    memset(nodes, 0, sizeof(nodes));
    memset(&meta, 0, sizeof(meta));
    meta.dek_version = 1;
    meta.dek_lease_ms = 60000;
    held_count = 0;
    key_horizon_init(&horizon);
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
    open_gateway(SEALER_FASTEST);
}

void close_gateway(void)
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

void world_close(void)
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
