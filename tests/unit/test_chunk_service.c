/* test_chunk_service.c - chunks put and fetched over the wire, to a real store on a simulated disk.
 *
 * The service's reactor is not the disk's: jobs travel there and back. What is refused: requests that are malformed,
 * for a disk that is not here, not a member, catching up, fenced, or without a lease; and nothing of them is stored. */
#include "node/chunk_service.h"

#include "chunk_store_fixture.h"
#include "tests/sim/sim_net.h"

#include <stdio.h>

#define DISK_ID 5u
#define PG      3u

static struct world world;
static struct sim_net *net;
static struct chunk_host host;
static struct slab_pool *slabs;
static struct chunk_service *service;
static struct rpc_server *server;
static struct rpc_client *client;
static unsigned behind_count;
static uint8_t *payload;
static uint8_t *reply_buffer;
static uint8_t seals[CHUNK_SEALS_BYTES_MAX];

/* ---- a second reactor: the same simulated loop behind another address ------------------------------- */

static struct loop other_reactor;

static uint64_t other_now_ns(struct loop *loop)
{
    (void)loop;
    return loop_now_ns(world.loop);
}

static uint64_t other_wall_ms(struct loop *loop)
{
    (void)loop;
    return loop_wall_ms(world.loop);
}

static void other_random(struct loop *loop, void *buffer, size_t bytes)
{
    (void)loop;
    loop_random(world.loop, buffer, bytes);
}

static void other_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ns)
{
    (void)loop;
    loop_timer_start(world.loop, timer, deadline_ns);
}

static void other_timer_stop(struct loop *loop, struct loop_timer *timer)
{
    (void)loop;
    loop_timer_stop(world.loop, timer);
}

static void other_defer(struct loop *loop, struct loop_task *task)
{
    (void)loop;
    loop_defer(world.loop, task);
}

static unsigned posts;

static void other_post(struct loop *loop, struct loop_task *task)
{
    (void)loop;
    posts++;
    loop_post(world.loop, task);
}

static const struct loop_ops other_ops = {.now_ns = other_now_ns,
                                          .wall_ms = other_wall_ms,
                                          .random = other_random,
                                          .timer_start = other_timer_start,
                                          .timer_stop = other_timer_stop,
                                          .defer = other_defer,
                                          .post = other_post};

/* ---- fixture --------------------------------------------------------------------------------------- */

static void map_is_behind(void *user)
{
    (void)user;
    behind_count++;
}

/* As the PG stands in the next map that is made. */
static uint32_t pg_target;
static uint64_t pg_changed;
static Trilith__DiskPhase disk_phase;

static struct map *make_map_of(uint64_t epoch)
{
    static char name[] = "n";
    static char address[] = "127.0.0.1:1";
    static uint8_t uuid[16];
    static uint32_t members[] = {DISK_ID, DISK_ID + 1, DISK_ID + 2};
    Trilith__MapNode node;
    trilith__map_node__init(&node);
    node.id = 1;
    node.name = name;
    node.rpc_address = address;
    Trilith__MapNode *nodes[] = {&node};
    Trilith__MapDisk disks[4];
    Trilith__MapDisk *disk_pointers[4];
    for (unsigned i = 0; i < 4; i++) {
        trilith__map_disk__init(&disks[i]);
        disks[i].id = DISK_ID + i;
        disks[i].node_id = 1;
        disks[i].phase = i == 0 ? disk_phase : TRILITH__DISK_PHASE__DISK_ACTIVE;
        disks[i].uuid.data = uuid;
        disks[i].uuid.len = 16;
        disk_pointers[i] = &disks[i];
    }
    Trilith__MapPg pg = TRILITH__MAP_PG__INIT;
    pg.id = PG;
    pg.n_members = 3;
    pg.members = members;
    pg.target = pg_target;
    pg.leaving = pg_target != 0 ? DISK_ID + 1 : 0;
    pg.changed_epoch = pg_changed;
    Trilith__MapPg *pgs[] = {&pg};
    Trilith__Map wire = TRILITH__MAP__INIT;
    wire.epoch = epoch;
    wire.n_nodes = 1;
    wire.nodes = nodes;
    wire.n_disks = 4;
    wire.disks = disk_pointers;
    wire.n_pgs = 1;
    wire.pgs = pgs;
    struct map *map = NULL;
    cr_assert_eq(map_decode(&wire, &map), STATUS_OK);
    return map;
}

static struct map *make_map(void)
{
    return make_map_of(10);
}

static void setup(void)
{
    pg_target = 0;
    pg_changed = 0;
    disk_phase = TRILITH__DISK_PHASE__DISK_ACTIVE;
    world = world_new(5, MIB(256));
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    other_reactor.ops = &other_ops;
    posts = 0;
    behind_count = 0;
    net = sim_net_open(world.sim, 6);
    chunk_host_init(&host);
    cr_assert_eq(chunk_host_add(&host, &other_reactor, world.store, "/disk"), STATUS_OK);
    atomic_store(&host.disks[0].id, DISK_ID);
    chunk_host_disk_set_state(&host.disks[0], TRILITH__DISK_STATE__DISK_SERVING);
    chunk_host_set_lease(&host, UINT64_MAX);
    slabs = slab_pool_open(world.loop, 2, 2);
    service = chunk_service_open(&(struct chunk_service_parts){
        .loop = world.loop, .host = &host, .slabs = slabs, .requests_max = 4, .map_is_behind = map_is_behind});
    struct map *map = make_map();
    chunk_service_set_map(service, map);
    map_release(map);
    cr_assert_eq(rpc_server_open(world.loop, sim_net_interface(net), "n:1", chunk_service_rpc(service), &server),
                 STATUS_OK);
    client = rpc_client_open(world.loop, sim_net_interface(net), rpc_server_address(server));
    payload = aligned_buffer(CHUNK_BYTES_MAX);
    reply_buffer = aligned_buffer(CHUNK_BYTES_MAX);
}

static void teardown(void)
{
    rpc_client_close(client);
    sim_loop_run_for(world.sim, NS_PER_S);
    rpc_server_close(server);
    sim_loop_run_for(world.sim, NS_PER_S);
    cr_assert_eq(chunk_service_in_flight(service), 0);
    cr_assert_eq(slab_pool_in_use(slabs), 0);
    chunk_service_close(service);
    chunk_host_set_map(&host, NULL);
    slab_pool_close(slabs);
    sim_net_close(net);
    free(payload);
    free(reply_buffer);
    world_free(&world);
}

TestSuite(chunk_service, .init = setup, .fini = teardown, .timeout = 120);

/* ---- calls ------------------------------------------------------------------------------------------ */

struct caller {
    struct rpc_call call;
    bool done;
    enum status status;
    uint32_t chunk_bytes;
    size_t seal_bytes;
    bool found[2];
    struct chunk_location place; /* of the second chunk asked about */
};

static void call_done(struct rpc_call *call)
{
    struct caller *caller = CONTAINER_OF(call, struct caller, call);
    caller->done = true;
    caller->status = call->status;
    if (call->type == TRILITH__MESSAGE_TYPE__CHUNK_GET && call->status == STATUS_OK) {
        const Trilith__ChunkGetReply *reply = (const Trilith__ChunkGetReply *)call->reply;
        caller->chunk_bytes = reply->chunk_bytes;
        caller->seal_bytes = reply->seals.len;
        cr_assert_eq(memcmp(reply->seals.data, seals, reply->seals.len), 0);
    }
    if (call->type == TRILITH__MESSAGE_TYPE__CHUNK_LOCATE && call->status == STATUS_OK) {
        const Trilith__ChunkLocateReply *reply = (const Trilith__ChunkLocateReply *)call->reply;
        cr_assert_eq(reply->n_places, 2);
        caller->found[0] = reply->places[0]->found;
        caller->found[1] = reply->places[1]->found;
        caller->place.offset = reply->places[1]->offset;
        caller->place.length = reply->places[1]->length;
        cr_assert_eq(strncmp(reply->places[1]->segment, "/disk/segment-", 14), 0);
        snprintf(caller->place.segment, sizeof(caller->place.segment), "%s", reply->places[1]->segment + 6);
        cr_assert_str_eq(reply->places[1]->state, "live");
    }
}

static void call_begin(struct caller *caller, uint16_t type, const ProtobufCMessage *request)
{
    caller->call.type = type;
    caller->call.deadline_ns = loop_now_ns(world.loop) + 5 * NS_PER_S;
    caller->call.done = call_done;
    rpc_call_start(client, &caller->call, request);
}

/* A good CHUNK_PUT of chunk `number`, to be spoilt. */
static Trilith__ChunkPutRequest put_request(uint32_t number, uint32_t chunk_bytes, struct chunk_id *id)
{
    *id = chunk_id_of(number);
    fill_content(number, payload, chunk_bytes);
    fill_seals(number, payload, chunk_bytes, seals);
    Trilith__ChunkPutRequest request = TRILITH__CHUNK_PUT_REQUEST__INIT;
    request.chunk_id.data = id->bytes;
    request.chunk_id.len = 16;
    request.pg = PG;
    request.disk_id = DISK_ID;
    request.map_epoch = 10;
    request.suite = SUITE_AES_256_GCM;
    request.chunk_bytes = chunk_bytes;
    request.seals.data = seals;
    request.seals.len = (size_t)chunk_unit_count(chunk_bytes) * UNIT_SEAL_BYTES;
    request.tenant_id = 7;
    return request;
}

static enum status put(const Trilith__ChunkPutRequest *request, uint32_t payload_bytes)
{
    struct caller caller = {.done = false};
    caller.call.payload[0] = (struct iovec){.iov_base = payload, .iov_len = payload_bytes};
    caller.call.payload_count = payload_bytes > 0;
    call_begin(&caller, TRILITH__MESSAGE_TYPE__CHUNK_PUT, &request->base);
    cr_assert(sim_loop_run_until(world.sim, &caller.done));
    return caller.status;
}

static enum status get(uint32_t number, uint32_t disk_id, uint32_t first, uint32_t count, struct caller *caller)
{
    struct chunk_id id = chunk_id_of(number);
    Trilith__ChunkGetRequest request = TRILITH__CHUNK_GET_REQUEST__INIT;
    request.chunk_id.data = id.bytes;
    request.chunk_id.len = 16;
    request.disk_id = disk_id;
    request.first_unit = first;
    request.unit_count = count;
    memset(caller, 0, sizeof(*caller));
    caller->call.reply_buffer = reply_buffer;
    caller->call.reply_capacity = CHUNK_BYTES_MAX;
    call_begin(caller, TRILITH__MESSAGE_TYPE__CHUNK_GET, &request.base);
    cr_assert(sim_loop_run_until(world.sim, &caller->done));
    return caller->status;
}

/* ---- put and get ------------------------------------------------------------------------------------ */

Test(chunk_service, gives_back_what_was_put)
{
    static const uint32_t sizes[] = {1, 4096, UNIT_BYTES, UNIT_BYTES + 1, CHUNK_BYTES_MAX};
    for (uint32_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        struct chunk_id id;
        Trilith__ChunkPutRequest request = put_request(i, sizes[i], &id);
        cr_assert_eq(put(&request, sizes[i]), STATUS_OK);
        struct caller caller;
        cr_assert_eq(get(i, DISK_ID, 0, 0, &caller), STATUS_OK);
        cr_assert_eq(caller.chunk_bytes, sizes[i]);
        cr_assert_eq(caller.call.reply_payload_bytes, sizes[i]);
        cr_assert_eq(caller.seal_bytes, chunk_unit_count(sizes[i]) * UNIT_SEAL_BYTES);
        cr_assert_eq(memcmp(reply_buffer, payload, sizes[i]), 0);
        cr_assert_eq(world_get(&world, i, sizes[i]), STATUS_OK, "as the store has it");
    }
    cr_assert_gt(posts, 0, "the disk belongs to another reactor");
}

Test(chunk_service, gives_the_units_asked_for)
{
    struct chunk_id id;
    Trilith__ChunkPutRequest request = put_request(1, 5 * UNIT_BYTES + 9, &id);
    cr_assert_eq(put(&request, 5 * UNIT_BYTES + 9), STATUS_OK);
    memmove(seals, seals + 4 * UNIT_SEAL_BYTES, 2 * UNIT_SEAL_BYTES);
    struct caller caller;
    cr_assert_eq(get(1, DISK_ID, 4, 2, &caller), STATUS_OK);
    cr_assert_eq(caller.call.reply_payload_bytes, UNIT_BYTES + 9);
    cr_assert_eq(memcmp(reply_buffer, payload + 4 * UNIT_BYTES, UNIT_BYTES + 9), 0);
    cr_assert_eq(get(1, DISK_ID, 6, 1, &caller), STATUS_INVALID);
    cr_assert_eq(get(1, DISK_ID, 64, 1, &caller), STATUS_INVALID);
    cr_assert_eq(get(1, DISK_ID, 1, 64, &caller), STATUS_INVALID);
    cr_assert_eq(get(1, DISK_ID, UINT32_MAX, UINT32_MAX, &caller), STATUS_INVALID);
    cr_assert_eq(get(2, DISK_ID, 0, 0, &caller), STATUS_NOT_FOUND);
    cr_assert_eq(get(1, DISK_ID + 1, 0, 0, &caller), STATUS_CONFLICT);
}

Test(chunk_service, refuses_malformed_puts)
{
    struct chunk_id id;
    struct caller caller;
    Trilith__ChunkPutRequest request = put_request(1, 5000, &id);
    request.chunk_id.len = 15;
    cr_assert_eq(put(&request, 5000), STATUS_INVALID);
    request = put_request(1, 5000, &id);
    cr_assert_eq(put(&request, 4999), STATUS_INVALID);
    cr_assert_eq(put(&request, 0), STATUS_INVALID);
    request.chunk_bytes = 0;
    cr_assert_eq(put(&request, 5000), STATUS_INVALID);
    request.chunk_bytes = CHUNK_BYTES_MAX + 1;
    cr_assert_eq(put(&request, 5000), STATUS_INVALID);
    request = put_request(1, 5000, &id);
    request.seals.len = 23;
    cr_assert_eq(put(&request, 5000), STATUS_INVALID);
    request = put_request(1, 5000, &id);
    request.suite = 9;
    cr_assert_eq(put(&request, 5000), STATUS_INVALID);
    request = put_request(1, 5000, &id);
    request.pg = 0;
    cr_assert_eq(put(&request, 5000), STATUS_INVALID);
    request = put_request(1, 5000, &id);
    payload[77] ^= 1;
    cr_assert_eq(put(&request, 5000), STATUS_CORRUPT);
    cr_assert_eq(get(1, DISK_ID, 0, 0, &caller), STATUS_NOT_FOUND);
}

Test(chunk_service, refuses_chunks_that_do_not_belong_here)
{
    struct chunk_id id;
    Trilith__ChunkPutRequest request = put_request(1, 5000, &id);
    request.disk_id = DISK_ID + 1; /* a member, but not here */
    cr_assert_eq(put(&request, 5000), STATUS_CONFLICT);
    request = put_request(1, 5000, &id);
    request.pg = PG + 1; /* no such PG, and our map is as new as the writer's */
    cr_assert_eq(put(&request, 5000), STATUS_CONFLICT);
    cr_assert_eq(behind_count, 0);
    request.map_epoch = 11; /* the writer knows more */
    cr_assert_eq(put(&request, 5000), STATUS_BUSY);
    cr_assert_eq(behind_count, 1);
    request = put_request(1, 5000, &id);
    request.map_epoch = 11; /* but a member is a member */
    cr_assert_eq(put(&request, 5000), STATUS_OK);
}

Test(chunk_service, follows_the_state_of_the_disk_and_the_lease)
{
    struct chunk_id id;
    struct caller caller;
    Trilith__ChunkPutRequest request = put_request(1, 5000, &id);
    cr_assert_eq(put(&request, 5000), STATUS_OK);
    chunk_host_set_lease(&host, 0);
    request = put_request(2, 5000, &id);
    cr_assert_eq(put(&request, 5000), STATUS_UNAVAILABLE);
    put_request(1, 5000, &id);
    cr_assert_eq(get(1, DISK_ID, 0, 0, &caller), STATUS_OK, "reads go on without a lease");
    chunk_host_set_lease(&host, UINT64_MAX);
    static const struct {
        Trilith__DiskState state;
        enum status put;
        enum status get;
    } cases[] = {
        {TRILITH__DISK_STATE__DISK_CATCHING_UP, STATUS_UNAVAILABLE, STATUS_UNAVAILABLE},
        {TRILITH__DISK_STATE__DISK_FENCED, STATUS_FENCED, STATUS_OK},
        {TRILITH__DISK_STATE__DISK_FULL, STATUS_FULL, STATUS_OK},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        chunk_host_disk_set_state(&host.disks[0], cases[i].state);
        request = put_request(2, 5000, &id);
        cr_assert_eq(put(&request, 5000), cases[i].put);
        put_request(1, 5000, &id);
        cr_assert_eq(get(1, DISK_ID, 0, 0, &caller), cases[i].get);
    }
}

Test(chunk_service, disk_that_fails_is_fenced_at_once)
{
    struct chunk_id id;
    sim_disk_fail_after(world.disk, 1, STATUS_IO);
    Trilith__ChunkPutRequest request = put_request(1, 5000, &id);
    enum status status = put(&request, 5000);
    cr_assert(status == STATUS_IO || status == STATUS_FENCED);
    cr_assert_eq(chunk_host_disk_state(&host.disks[0]), TRILITH__DISK_STATE__DISK_FENCED);
    request = put_request(2, 5000, &id);
    cr_assert_eq(put(&request, 5000), STATUS_FENCED);
    sim_disk_fail_after(world.disk, 0, STATUS_OK);
}

Test(chunk_service, serves_more_gets_than_it_has_slabs)
{
    struct chunk_id id;
    Trilith__ChunkPutRequest request = put_request(1, CHUNK_BYTES_MAX, &id);
    cr_assert_eq(put(&request, CHUNK_BYTES_MAX), STATUS_OK);
    struct caller callers[6];
    uint8_t *buffers[6];
    memset(callers, 0, sizeof(callers));
    unsigned ok = 0;
    unsigned busy = 0;
    for (unsigned i = 0; i < 6; i++) {
        Trilith__ChunkGetRequest get_request = TRILITH__CHUNK_GET_REQUEST__INIT;
        get_request.chunk_id.data = id.bytes;
        get_request.chunk_id.len = 16;
        get_request.disk_id = DISK_ID;
        buffers[i] = aligned_buffer(CHUNK_BYTES_MAX);
        callers[i].call.reply_buffer = buffers[i];
        callers[i].call.reply_capacity = CHUNK_BYTES_MAX;
        call_begin(&callers[i], TRILITH__MESSAGE_TYPE__CHUNK_GET, &get_request.base);
    }
    for (unsigned i = 0; i < 6; i++) {
        cr_assert(sim_loop_run_until(world.sim, &callers[i].done));
        ok += callers[i].status == STATUS_OK;
        busy += callers[i].status == STATUS_BUSY;
        free(buffers[i]);
    }
    cr_assert_eq(ok + busy, 6);
    cr_assert_geq(ok, 4);
}

Test(chunk_service, locates_chunks)
{
    struct chunk_id id;
    Trilith__ChunkPutRequest request = put_request(1, 5000, &id);
    cr_assert_eq(put(&request, 5000), STATUS_OK);
    struct chunk_id unknown = chunk_id_of(2);
    ProtobufCBinaryData ids[] = {{.data = unknown.bytes, .len = 16}, {.data = id.bytes, .len = 16}};
    Trilith__ChunkLocateRequest locate = TRILITH__CHUNK_LOCATE_REQUEST__INIT;
    locate.disk_id = DISK_ID;
    locate.n_chunk_ids = 2;
    locate.chunk_ids = ids;
    struct caller caller = {.done = false};
    call_begin(&caller, TRILITH__MESSAGE_TYPE__CHUNK_LOCATE, &locate.base);
    cr_assert(sim_loop_run_until(world.sim, &caller.done));
    cr_assert_eq(caller.status, STATUS_OK);
    cr_assert(!caller.found[0] && caller.found[1]);
    cr_assert_eq(caller.place.length, 5000);
    uint64_t segment_bytes = 0;
    const uint8_t *segment = sim_disk_bytes(world.disk, caller.place.segment, &segment_bytes);
    cr_assert_not_null(segment);
    cr_assert_eq(memcmp(segment + caller.place.offset, payload, 5000), 0, "the payload lies where it says");
    ids[0].len = 3;
    caller.done = false;
    memset(&caller.call, 0, sizeof(caller.call));
    call_begin(&caller, TRILITH__MESSAGE_TYPE__CHUNK_LOCATE, &locate.base);
    cr_assert(sim_loop_run_until(world.sim, &caller.done));
    cr_assert_eq(caller.status, STATUS_INVALID);
}

Test(chunk_service, answers_a_ping_and_refuses_what_is_not_its_business)
{
    struct caller caller = {.done = false};
    call_begin(&caller, TRILITH__MESSAGE_TYPE__NODE_PING, NULL);
    cr_assert(sim_loop_run_until(world.sim, &caller.done));
    cr_assert_eq(caller.status, STATUS_OK);
    Trilith__WipePullRequest request = TRILITH__WIPE_PULL_REQUEST__INIT;
    memset(&caller, 0, sizeof(caller));
    call_begin(&caller, TRILITH__MESSAGE_TYPE__WIPE_PULL, &request.base);
    cr_assert(sim_loop_run_until(world.sim, &caller.done));
    cr_assert_eq(caller.status, STATUS_UNSUPPORTED);
}

/* ---- PGs that are being moved ------------------------------------------------------------------------- */

static void host_has_map(uint64_t epoch)
{
    struct map *map = make_map_of(epoch);
    chunk_host_set_map(&host, map);
    map_release(map);
}

Test(chunk_service, a_put_that_ends_after_its_pg_began_to_move_is_not_acknowledged)
{
    struct chunk_id id;
    struct caller caller = {.done = false};
    host_has_map(10);
    Trilith__ChunkPutRequest request = put_request(1, 5000, &id);
    caller.call.payload[0] = (struct iovec){.iov_base = payload, .iov_len = 5000};
    caller.call.payload_count = 1;
    call_begin(&caller, TRILITH__MESSAGE_TYPE__CHUNK_PUT, &request.base);
    while (chunk_service_in_flight(service) == 0) {
        cr_assert(sim_loop_step(world.sim));
    }
    cr_assert_not(caller.done);
    pg_target = DISK_ID + 3;
    pg_changed = 11;
    host_has_map(11);
    cr_assert(sim_loop_run_until(world.sim, &caller.done));
    cr_assert_eq(caller.status, STATUS_CONFLICT);
    cr_assert_eq(world_get(&world, 1, 5000), STATUS_OK, "it stands there, to be condemned");

    request = put_request(2, 5000, &id);
    request.map_epoch = 11;
    cr_assert_eq(put(&request, 5000), STATUS_CONFLICT, "nor is one begun");
    cr_assert_eq(world_get(&world, 2, 5000), STATUS_NOT_FOUND);
    pg_target = 0;
    pg_changed = 12;
    host_has_map(12);
    request = put_request(3, 5000, &id);
    request.map_epoch = 11;
    cr_assert_eq(put(&request, 5000), STATUS_CONFLICT, "chosen before the move ended");
    request.map_epoch = 12;
    cr_assert_eq(put(&request, 5000), STATUS_OK);
}

static struct {
    uint32_t count;
    bool more;
    struct chunk_id last;
    struct chunk_id next;
} listed;

static void list_done(struct rpc_call *call)
{
    struct caller *caller = CONTAINER_OF(call, struct caller, call);
    const Trilith__ChunkListReply *reply = (const Trilith__ChunkListReply *)call->reply;
    caller->done = true;
    caller->status = call->status;
    if (call->status != STATUS_OK) {
        return;
    }
    listed.count = (uint32_t)reply->n_chunks;
    listed.more = reply->more;
    if (reply->n_chunks > 0) {
        memcpy(listed.last.bytes, reply->chunks[reply->n_chunks - 1]->chunk_id.data, 16);
        cr_assert_eq(reply->chunks[0]->chunk_bytes, 5000);
        cr_assert_eq(reply->chunks[0]->tenant_id, 7);
        cr_assert_eq(reply->chunks[0]->suite, SUITE_AES_256_GCM);
    }
    if (reply->more) {
        memcpy(listed.next.bytes, reply->next.data, 16);
    }
}

static enum status list(uint32_t disk_id, uint32_t pg, uint32_t max, bool go_on)
{
    struct caller caller = {.done = false};
    Trilith__ChunkListRequest request = TRILITH__CHUNK_LIST_REQUEST__INIT;
    request.disk_id = disk_id;
    request.pg = pg;
    request.max = max;
    request.after_chunk_id = (ProtobufCBinaryData){.data = listed.next.bytes, .len = go_on ? 16 : 0};
    caller.call.type = TRILITH__MESSAGE_TYPE__CHUNK_LIST;
    caller.call.deadline_ns = loop_now_ns(world.loop) + 5 * NS_PER_S;
    caller.call.done = list_done;
    rpc_call_start(client, &caller.call, &request.base);
    cr_assert(sim_loop_run_until(world.sim, &caller.done));
    return caller.status;
}

Test(chunk_service, lists_the_chunks_of_a_pg_page_by_page)
{
    struct chunk_id id;
    for (uint32_t i = 1; i <= 7; i++) {
        Trilith__ChunkPutRequest request = put_request(i, 5000, &id);
        cr_assert_eq(put(&request, 5000), STATUS_OK);
    }
    cr_assert_eq(list(DISK_ID, PG, 1024, false), STATUS_OK);
    cr_assert_eq(listed.count, 7);
    cr_assert_not(listed.more);
    uint32_t seen = 0;
    for (bool first = true; first || listed.more; first = false) {
        cr_assert_eq(list(DISK_ID, PG, 3, !first), STATUS_OK);
        seen += listed.count;
        cr_assert_leq(seen, 7);
    }
    cr_assert_eq(seen, 7);
    cr_assert_eq(list(DISK_ID, PG + 1, 10, false), STATUS_OK);
    cr_assert_eq(listed.count, 0);
    cr_assert_eq(list(DISK_ID + 1, PG, 10, false), STATUS_CONFLICT);
    cr_assert_eq(list(DISK_ID, PG, 0, false), STATUS_INVALID);
    cr_assert_eq(list(DISK_ID, PG, 1025, false), STATUS_INVALID);
    chunk_host_disk_set_state(&host.disks[0], TRILITH__DISK_STATE__DISK_CATCHING_UP);
    cr_assert_eq(list(DISK_ID, PG, 10, false), STATUS_UNAVAILABLE, "it may lack what it has not applied yet");
}

Test(chunk_service, a_disk_that_was_removed_serves_nothing)
{
    struct chunk_id id;
    struct caller caller;
    Trilith__ChunkPutRequest request = put_request(1, 5000, &id);
    cr_assert_eq(put(&request, 5000), STATUS_OK);
    disk_phase = TRILITH__DISK_PHASE__DISK_REMOVED;
    struct map *map = make_map_of(11);
    chunk_service_set_map(service, map);
    map_release(map);
    cr_assert_eq(get(1, DISK_ID, 0, 0, &caller), STATUS_CONFLICT);
    cr_assert_eq(list(DISK_ID, PG, 10, false), STATUS_CONFLICT);
}
