/* test_mover.c - a disk takes a PG over: from a scripted node that holds three disks, told by a scripted leader, into a
 * real store on a simulated disk. What is promised: everything that is wanted is durable before the end is reported,
 * and nothing is reported else; what is erased does not come back, whichever came first, the copy or the wipe. */
#include "node/mover.h"

#include "chunk_store_fixture.h"
#include "tests/sim/sim_net.h"

#define TARGET     9u /* disk ids: 1 leaves, 2 and 3 stay */
#define PG         3u
#define CHUNKS_MAX 400u
#define BYTES      5000u

static struct world world;
static struct sim_net *net;
static struct chunk_host host;
static struct mover *mover;
static struct rpc_client *to_meta;

/* The node with the sources, and the leader. */
static struct {
    struct rpc_service source_rpc;
    struct rpc_service meta_rpc;
    struct rpc_server *source;
    struct rpc_server *meta;
    uint32_t chunks;                 /* numbers 1..chunks; each disk has those that it does not lack */
    bool lacks[4][CHUNKS_MAX + 1];   /* by disk */
    bool damaged[4][CHUNKS_MAX + 1]; /* likewise */
    bool away[4];
    bool unwanted[CHUNKS_MAX + 1];
    void (*fetching)(uint32_t number); /* NULL, or what happens when a chunk is asked for */
    bool open;                         /* the move goes on */
    bool given_up;
    uint32_t fetches;
    uint32_t ends; /* reported as complete */
    uint64_t reported;
} script;

static uint8_t *payload;
static uint8_t seals[CHUNK_SEALS_BYTES_MAX];

/* ---- the node with the sources ------------------------------------------------------------------- */

static int order_of(const void *left, const void *right)
{
    struct chunk_id a = chunk_id_of(*(const uint32_t *)left);
    struct chunk_id b = chunk_id_of(*(const uint32_t *)right);
    return memcmp(a.bytes, b.bytes, 16);
}

static void source_list(struct rpc_request *request)
{
    const Trilith__ChunkListRequest *message = (const Trilith__ChunkListRequest *)request->message;
    static Trilith__ListedChunk chunks[CHUNKS_MAX];
    static Trilith__ListedChunk *pointers[CHUNKS_MAX];
    static struct chunk_id ids[CHUNKS_MAX];
    uint32_t numbers[CHUNKS_MAX];
    Trilith__ChunkListReply reply = TRILITH__CHUNK_LIST_REPLY__INIT;
    cr_assert(message->disk_id >= 1 && message->disk_id <= 3);
    cr_assert_eq(message->pg, PG);
    for (uint32_t i = 0; i < script.chunks; i++) {
        numbers[i] = i + 1;
    }
    qsort(numbers, script.chunks, sizeof(numbers[0]), order_of);
    for (uint32_t i = 0; i < script.chunks; i++) {
        struct chunk_id id = chunk_id_of(numbers[i]);
        bool is_after = message->after_chunk_id.len == 0 || memcmp(id.bytes, message->after_chunk_id.data, 16) > 0;
        if (!is_after || script.lacks[message->disk_id][numbers[i]]) {
            continue;
        }
        if (reply.n_chunks == message->max) {
            reply.more = true;
            reply.next = (ProtobufCBinaryData){.data = ids[reply.n_chunks - 1].bytes, .len = 16};
            break;
        }
        ids[reply.n_chunks] = id;
        trilith__listed_chunk__init(&chunks[reply.n_chunks]);
        chunks[reply.n_chunks].chunk_id = (ProtobufCBinaryData){.data = ids[reply.n_chunks].bytes, .len = 16};
        chunks[reply.n_chunks].chunk_bytes = BYTES;
        chunks[reply.n_chunks].tenant_id = 7;
        chunks[reply.n_chunks].suite = SUITE_AES_256_GCM;
        pointers[reply.n_chunks] = &chunks[reply.n_chunks];
        reply.n_chunks++;
    }
    reply.chunks = pointers;
    rpc_reply(request, script.away[message->disk_id] ? STATUS_UNAVAILABLE : STATUS_OK, &reply.base);
}

static uint32_t number_of(const uint8_t *id)
{
    for (uint32_t number = 1; number <= script.chunks; number++) {
        struct chunk_id one = chunk_id_of(number);
        if (memcmp(one.bytes, id, 16) == 0) {
            return number;
        }
    }
    cr_assert_fail("no such chunk");
    return 0;
}

static void sent(void *user)
{
    free(user);
}

static void source_get(struct rpc_request *request)
{
    const Trilith__ChunkGetRequest *message = (const Trilith__ChunkGetRequest *)request->message;
    uint32_t number = number_of(message->chunk_id.data);
    Trilith__ChunkGetReply reply = TRILITH__CHUNK_GET_REPLY__INIT;
    script.fetches++;
    if (script.fetching != NULL) {
        script.fetching(number);
    }
    if (script.away[message->disk_id] || script.lacks[message->disk_id][number]) {
        rpc_reply(request, script.away[message->disk_id] ? STATUS_UNAVAILABLE : STATUS_GONE, NULL);
        return;
    }
    uint8_t *copy = aligned_buffer(2 * BLOCK_BYTES);
    fill_content(number, copy, BYTES);
    fill_seals(number, copy, BYTES, seals);
    copy[17] ^= script.damaged[message->disk_id][number] ? 1 : 0;
    reply.chunk_bytes = BYTES;
    reply.suite = SUITE_AES_256_GCM;
    reply.seals = (ProtobufCBinaryData){.data = seals, .len = UNIT_SEAL_BYTES};
    struct iovec body = {.iov_base = copy, .iov_len = BYTES};
    rpc_reply_with_payload(request, STATUS_OK, &reply.base, &body, 1, sent, copy);
}

static void source_handle(struct rpc_service *rpc, struct rpc_request *request)
{
    (void)rpc;
    if (request->type == TRILITH__MESSAGE_TYPE__CHUNK_LIST) {
        source_list(request);
    } else {
        cr_assert_eq(request->type, TRILITH__MESSAGE_TYPE__CHUNK_GET);
        source_get(request);
    }
}

/* ---- the leader ---------------------------------------------------------------------------------- */

static void meta_pull(struct rpc_request *request)
{
    static uint32_t sources[] = {2, 1, 3};
    Trilith__MovePullReply reply = TRILITH__MOVE_PULL_REPLY__INIT;
    Trilith__PgMove move;
    Trilith__PgMove *moves[] = {&move};
    trilith__pg_move__init(&move);
    move.pg = PG;
    move.target = TARGET;
    move.leaving = 1;
    move.sources = sources;
    move.n_sources = 3;
    reply.moves = moves;
    reply.n_moves = script.open ? 1 : 0;
    rpc_reply(request, STATUS_OK, &reply.base);
}

static void meta_check(struct rpc_request *request)
{
    const Trilith__MoveCheckRequest *message = (const Trilith__MoveCheckRequest *)request->message;
    protobuf_c_boolean wanted[1024];
    Trilith__MoveCheckReply reply = TRILITH__MOVE_CHECK_REPLY__INIT;
    for (size_t i = 0; i < message->n_chunk_ids; i++) {
        wanted[i] = !script.unwanted[number_of(message->chunk_ids[i].data)];
    }
    reply.wanted = wanted;
    reply.n_wanted = message->n_chunk_ids;
    rpc_reply(request, script.given_up ? STATUS_CONFLICT : STATUS_OK, &reply.base);
}

static void meta_handle(struct rpc_service *rpc, struct rpc_request *request)
{
    (void)rpc;
    if (request->type == TRILITH__MESSAGE_TYPE__MOVE_PULL) {
        meta_pull(request);
    } else if (request->type == TRILITH__MESSAGE_TYPE__MOVE_CHECK) {
        meta_check(request);
    } else {
        const Trilith__MoveDoneRequest *message = (const Trilith__MoveDoneRequest *)request->message;
        cr_assert_eq(request->type, TRILITH__MESSAGE_TYPE__MOVE_DONE);
        script.reported = message->chunks;
        script.ends += message->complete ? 1 : 0;
        script.open = script.open && !message->complete;
        rpc_reply(request, STATUS_OK, NULL);
    }
}

/* ---- fixture ------------------------------------------------------------------------------------- */

static struct map *make_map(void)
{
    static char names[2][3] = {"n1", "n2"};
    static char addresses[2][4] = {"n:1", "s:1"};
    static uint8_t uuid[16];
    static uint32_t members[] = {1, 2, 3};
    Trilith__MapNode nodes[2];
    Trilith__MapNode *node_pointers[2];
    Trilith__MapDisk disks[4];
    Trilith__MapDisk *disk_pointers[4];
    for (unsigned i = 0; i < 2; i++) {
        trilith__map_node__init(&nodes[i]);
        nodes[i].id = i + 1;
        nodes[i].name = names[i];
        nodes[i].rpc_address = addresses[i];
        node_pointers[i] = &nodes[i];
    }
    for (unsigned i = 0; i < 4; i++) {
        trilith__map_disk__init(&disks[i]);
        disks[i].id = i < 3 ? i + 1 : TARGET;
        disks[i].node_id = i < 3 ? 2 : 1;
        disks[i].uuid = (ProtobufCBinaryData){.data = uuid, .len = 16};
        disk_pointers[i] = &disks[i];
    }
    Trilith__MapPg pg = TRILITH__MAP_PG__INIT;
    Trilith__MapPg *pgs[] = {&pg};
    pg.id = PG;
    pg.n_members = 3;
    pg.members = members;
    pg.target = TARGET;
    pg.leaving = 1;
    pg.changed_epoch = 4;
    Trilith__Map wire = TRILITH__MAP__INIT;
    wire.epoch = 4;
    wire.n_nodes = 2;
    wire.nodes = node_pointers;
    wire.n_disks = 4;
    wire.disks = disk_pointers;
    wire.n_pgs = 1;
    wire.pgs = pgs;
    struct map *map = NULL;
    cr_assert_eq(map_decode(&wire, &map), STATUS_OK);
    return map;
}

static void open_mover(uint64_t bytes_per_s)
{
    to_meta = rpc_client_open(world.loop, sim_net_interface(net), "m:1");
    mover = mover_open(&(struct mover_parts){.loop = world.loop,
                                             .net = sim_net_interface(net),
                                             .host = &host,
                                             .meta = to_meta,
                                             .bytes_per_s = bytes_per_s,
                                             .call_ns = NS_PER_S});
    struct map *map = make_map();
    chunk_host_set_map(&host, map);
    mover_set_map(mover, map, 1);
    map_release(map);
}

static void close_mover(void)
{
    mover_stop(mover);
    while (!mover_is_idle(mover)) {
        cr_assert(sim_loop_step(world.sim));
    }
    mover_close(mover);
    rpc_client_close(to_meta);
}

static void setup(void)
{
    memset(&script, 0, sizeof(script));
    script.open = true;
    world = world_new(8, MIB(256));
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    net = sim_net_open(world.sim, 6);
    chunk_host_init(&host);
    cr_assert_eq(chunk_host_add(&host, world.loop, world.store, "/disk"), STATUS_OK);
    atomic_store(&host.disks[0].id, TARGET);
    chunk_host_disk_set_state(&host.disks[0], TRILITH__DISK_STATE__DISK_SERVING);
    chunk_host_set_lease(&host, UINT64_MAX);
    script.source_rpc.handle = source_handle;
    script.meta_rpc.handle = meta_handle;
    struct net *interface = sim_net_interface(net);
    cr_assert_eq(rpc_server_open(world.loop, interface, "s:1", &script.source_rpc, &script.source), STATUS_OK);
    cr_assert_eq(rpc_server_open(world.loop, interface, "m:1", &script.meta_rpc, &script.meta), STATUS_OK);
    payload = aligned_buffer(CHUNK_BYTES_MAX);
    open_mover(0);
}

static void teardown(void)
{
    close_mover();
    sim_loop_run_for(world.sim, NS_PER_S);
    rpc_server_close(script.source);
    rpc_server_close(script.meta);
    sim_loop_run_for(world.sim, NS_PER_S);
    chunk_host_set_map(&host, NULL);
    sim_net_close(net);
    free(payload);
    world_free(&world);
}

TestSuite(mover, .init = setup, .fini = teardown, .timeout = 120);

/* Let the mover work for a while. */
static void work(uint64_t seconds)
{
    static const uint32_t disks[] = {TARGET};
    mover_wake(mover, disks, 1);
    sim_loop_run_for(world.sim, seconds * NS_PER_S);
}

/* ---- what is copied ------------------------------------------------------------------------------ */

Test(mover, copies_all_that_is_wanted_and_then_says_so)
{
    script.chunks = 300; /* more than a page */
    script.unwanted[7] = true;
    work(60);
    cr_assert_eq(script.ends, 1);
    cr_assert_eq(script.reported, 299);
    for (uint32_t number = 1; number <= 300; number++) {
        cr_assert_eq(world_get(&world, number, BYTES), number == 7 ? STATUS_NOT_FOUND : STATUS_OK);
    }
    cr_assert(mover_is_idle(mover));
}

Test(mover, an_empty_pg_is_taken_over)
{
    work(5);
    cr_assert_eq(script.ends, 1);
}

Test(mover, takes_what_is_damaged_at_one_source_from_another)
{
    script.chunks = 20;
    for (uint32_t number = 1; number <= 20; number++) {
        script.damaged[1][number] = true;
    }
    script.damaged[2][5] = true;
    work(10);
    cr_assert_eq(script.ends, 1);
    for (uint32_t number = 1; number <= 20; number++) {
        cr_assert_eq(world_get(&world, number, BYTES), STATUS_OK);
    }
}

Test(mover, what_no_source_can_give_keeps_the_move_open)
{
    script.chunks = 5;
    script.damaged[1][3] = script.damaged[2][3] = script.damaged[3][3] = true;
    work(20);
    cr_assert_eq(script.ends, 0);
    cr_assert_eq(world_get(&world, 3, BYTES), STATUS_NOT_FOUND);
    cr_assert_eq(world_get(&world, 4, BYTES), STATUS_OK);
    script.damaged[3][3] = false;
    work(20);
    cr_assert_eq(script.ends, 1);
    cr_assert_eq(world_get(&world, 3, BYTES), STATUS_OK);
}

Test(mover, goes_on_after_a_restart_and_copies_nothing_twice)
{
    script.chunks = 40;
    script.away[2] = script.away[3] = true;
    script.damaged[1][40] = true;
    work(1);
    cr_assert_eq(script.ends, 0);
    close_mover();
    open_mover(0);
    script.damaged[1][40] = false;
    script.fetches = 0;
    work(10);
    cr_assert_eq(script.ends, 1);
    cr_assert_eq(script.fetches, 1);
}

/* ---- which sources ------------------------------------------------------------------------------- */

Test(mover, needs_what_leaves_or_both_that_stay)
{
    script.chunks = 10;
    script.lacks[2][1] = true; /* Of a write that was accepted with two copies. */
    script.lacks[3][2] = true;
    script.away[1] = script.away[2] = true;
    work(10);
    cr_assert_eq(script.ends, 0, "one that stays may lack what the others have");
    script.away[2] = false;
    work(10);
    cr_assert_eq(script.ends, 1);
    cr_assert_eq(world_get(&world, 1, BYTES), STATUS_OK);
    cr_assert_eq(world_get(&world, 2, BYTES), STATUS_OK);
}

Test(mover, what_leaves_is_enough)
{
    script.chunks = 10;
    script.away[2] = script.away[3] = true;
    work(10);
    cr_assert_eq(script.ends, 1);
}

/* ---- erasures ------------------------------------------------------------------------------------ */

Test(mover, a_wipe_that_comes_before_the_copy_keeps_it_away)
{
    uint64_t bytes = 0;
    script.chunks = 5;
    cr_assert_eq(world_erase(&world, 3, &bytes), STATUS_NOT_FOUND);
    /* The leader was asked before the chunk was erased: all of them are wanted. The tombstone is what is left. */
    work(10);
    cr_assert_eq(script.ends, 1);
    cr_assert_eq(world_get(&world, 3, BYTES), STATUS_GONE);
    cr_assert_not(world_holds_content(&world, 3, BYTES));
}

static void erase_while_fetching(uint32_t number)
{
    if (number == 3 && world_get(&world, 3, BYTES) == STATUS_NOT_FOUND) {
        uint64_t bytes = 0;
        cr_assert_eq(world_erase(&world, 3, &bytes), STATUS_NOT_FOUND);
    }
}

Test(mover, a_wipe_while_the_copy_is_on_its_way_keeps_it_away)
{
    struct mover_stats stats;
    script.chunks = 5;
    script.fetching = erase_while_fetching;
    work(10);
    cr_assert_eq(script.ends, 1);
    cr_assert_eq(world_get(&world, 3, BYTES), STATUS_GONE);
    cr_assert_not(world_holds_content(&world, 3, BYTES));
    mover_stats(mover, &stats);
    cr_assert_eq(stats.gone, 1);
    cr_assert_eq(stats.chunks, 4);
}

Test(mover, a_wipe_that_comes_after_the_copy_wipes_it)
{
    uint64_t bytes = 0;
    script.chunks = 5;
    work(10);
    cr_assert_eq(script.ends, 1);
    cr_assert_eq(world_erase(&world, 3, &bytes), STATUS_OK);
    cr_assert_gt(bytes, 0);
    cr_assert_eq(world_get(&world, 3, BYTES), STATUS_GONE);
    cr_assert_not(world_holds_content(&world, 3, BYTES));
}

Test(mover, what_all_sources_have_erased_is_no_failure)
{
    script.chunks = 5;
    work(0);
    script.lacks[1][2] = false;
    script.fetching = NULL;
    for (unsigned disk = 1; disk <= 3; disk++) {
        script.lacks[disk][2] = true;
    }
    work(10);
    cr_assert_eq(script.ends, 1);
}

/* ---- bounds --------------------------------------------------------------------------------------- */

Test(mover, stops_when_the_leader_has_given_the_move_up)
{
    script.chunks = 5;
    script.given_up = true;
    work(3);
    script.open = false;
    work(3);
    cr_assert_eq(script.ends, 0);
    cr_assert_eq(script.fetches, 0);
    cr_assert(mover_is_idle(mover));
}

Test(mover, keeps_to_its_rate)
{
    script.chunks = 100;
    close_mover();
    open_mover(10 * BYTES);
    work(5);
    cr_assert_eq(script.ends, 0);
    cr_assert_leq(script.fetches, 60);
    cr_assert_geq(script.fetches, 40);
    work(10);
    cr_assert_eq(script.ends, 1);
}

Test(mover, takes_nothing_without_a_lease)
{
    script.chunks = 5;
    chunk_host_set_lease(&host, 0);
    work(5);
    cr_assert_eq(script.ends, 0);
    cr_assert_eq(world_get(&world, 1, BYTES), STATUS_NOT_FOUND);
}
