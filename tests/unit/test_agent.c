/* test_agent.c - a node and a scripted metadata service: joining, leases, catching up, wiping, finding orphans.
 *
 * The disk is a real store on a simulated disk. What is promised: no disk serves before it has wiped what it must; no
 * puts without a lease; every wipe is carried out and reported, however often the service goes away; orphans are
 * asked about once they are old enough, and never before. */
#include "node/agent.h"

#include "chunk_store_fixture.h"
#include "proto/attestation.h"
#include "tests/sim/sim_net.h"

#define DISK_ID      5u
#define WANTED_MAX   700u
#define CHECKED_MAX  700u
#define LEASE_MS     10000u
#define ORPHAN_AFTER 60000u
#define REPORTS_MAX  16u

static struct world world;
static struct sim_net *net;
static struct chunk_host host;
static struct agent *agent;

static struct {
    struct rpc_service rpc;
    struct rpc_server *server;
    unsigned registrations;
    unsigned heartbeats;
    unsigned pulls;
    enum status answer; /* to everything, when not OK */
    bool forget_node;   /* heartbeats are answered with STATUS_NOT_FOUND */
    struct chunk_id wipes[WANTED_MAX];
    bool wiped[WANTED_MAX];
    Trilith__WipeOutcome outcomes[WANTED_MAX];
    uint32_t wipe_count;
    unsigned reports_to_lose;
    enum status report_answer;       /* to those that are lost; OK: unavailable */
    char *attestations[REPORTS_MAX]; /* of every report that came, lost ones too */
    unsigned report_count;
    Trilith__WipeTechnique technique; /* of every wipe */
    Trilith__WipeTechnique used[WANTED_MAX];
    struct public_key public_key; /* registered */
    uint64_t journal_index;
    uint64_t keys_since; /* of the last heartbeat */
    char serial[64];     /* of the first medium */
    struct chunk_id checked[CHECKED_MAX];
    uint32_t checked_count;
    struct chunk_id referenced;
    uint8_t cluster_id[CLUSTER_ID_BYTES];
    Trilith__DiskState reported_state;
    uint64_t epoch;
} meta;

static struct key_pool *keys;
static struct key *seed;
static struct key_horizon horizon;
static unsigned joined_count;
static unsigned serving_count;
static unsigned map_count;
static uint64_t map_epoch;

/* ---- the scripted service ---------------------------------------------------------------------------- */

static uint8_t disk_uuid[16];

static void fill_map(Trilith__Map *map)
{
    static char name[] = "n1";
    static char address[] = "127.0.0.1:7500";
    static Trilith__MapNode node;
    static Trilith__MapDisk disk;
    static Trilith__MapNode *nodes[] = {&node};
    static Trilith__MapDisk *disks[] = {&disk};
    trilith__map_node__init(&node);
    node.id = 1;
    node.name = name;
    node.rpc_address = address;
    trilith__map_disk__init(&disk);
    disk.id = DISK_ID;
    disk.node_id = 1;
    disk.uuid.data = disk_uuid;
    disk.uuid.len = 16;
    trilith__map__init(map);
    map->epoch = meta.epoch;
    map->n_nodes = 1;
    map->nodes = nodes;
    map->n_disks = 1;
    map->disks = disks;
}

static void meta_register(struct rpc_request *request)
{
    const Trilith__NodeRegisterRequest *message = (const Trilith__NodeRegisterRequest *)request->message;
    static uint32_t disk_ids[] = {DISK_ID};
    meta.registrations++;
    cr_assert_eq(message->n_disks, 1);
    memcpy(disk_uuid, message->disks[0]->uuid.data, 16);
    cr_assert_eq(message->public_key.len, PUBLIC_KEY_BYTES);
    memcpy(meta.public_key.bytes, message->public_key.data, PUBLIC_KEY_BYTES);
    cr_assert_eq(message->n_media, 1);
    snprintf(meta.serial, sizeof(meta.serial), "%s", message->media[0]->serial);
    Trilith__Map map;
    fill_map(&map);
    Trilith__NodeRegisterReply reply = TRILITH__NODE_REGISTER_REPLY__INIT;
    reply.node_id = 1;
    reply.cluster_id.data = meta.cluster_id;
    reply.cluster_id.len = sizeof(meta.cluster_id);
    reply.lease_ms = LEASE_MS;
    reply.map = &map;
    reply.n_disk_ids = 1;
    reply.disk_ids = disk_ids;
    rpc_reply(request, STATUS_OK, &reply.base);
}

static bool wipes_are_open(void)
{
    for (uint32_t i = 0; i < meta.wipe_count; i++) {
        if (!meta.wiped[i]) {
            return true;
        }
    }
    return false;
}

static void meta_heartbeat(struct rpc_request *request)
{
    const Trilith__NodeHeartbeatRequest *message = (const Trilith__NodeHeartbeatRequest *)request->message;
    static uint32_t disk_ids[] = {DISK_ID};
    meta.heartbeats++;
    if (meta.forget_node) {
        rpc_reply(request, STATUS_NOT_FOUND, NULL);
        return;
    }
    meta.reported_state = message->disks[0]->state;
    meta.keys_since = message->keys_since_index;
    Trilith__Map map;
    fill_map(&map);
    Trilith__NodeHeartbeatReply reply = TRILITH__NODE_HEARTBEAT_REPLY__INIT;
    reply.lease_ms = LEASE_MS;
    reply.journal_index = meta.journal_index;
    reply.map = message->map_epoch < meta.epoch ? &map : NULL;
    reply.n_disks_with_wipes = wipes_are_open() ? 1 : 0;
    reply.disks_with_wipes = disk_ids;
    rpc_reply(request, STATUS_OK, &reply.base);
}

/* Wipes come in the order of the list, which is by chunk id. */
static void meta_pull(struct rpc_request *request)
{
    const Trilith__WipePullRequest *message = (const Trilith__WipePullRequest *)request->message;
    static Trilith__Wipe wipes[1024];
    static Trilith__Wipe *pointers[1024];
    Trilith__WipePullReply reply = TRILITH__WIPE_PULL_REPLY__INIT;
    meta.pulls++;
    cr_assert_eq(message->disk_id, DISK_ID);
    for (uint32_t i = 0; i < meta.wipe_count; i++) {
        bool is_after =
            message->after_chunk_id.len == 0 || memcmp(meta.wipes[i].bytes, message->after_chunk_id.data, 16) > 0;
        if (meta.wiped[i] || !is_after) {
            continue;
        }
        if (reply.n_wipes == message->max) {
            reply.more = true;
            break;
        }
        trilith__wipe__init(&wipes[reply.n_wipes]);
        wipes[reply.n_wipes].chunk_id.data = meta.wipes[i].bytes;
        wipes[reply.n_wipes].chunk_id.len = 16;
        wipes[reply.n_wipes].erasure_id = 77;
        wipes[reply.n_wipes].technique = meta.technique;
        pointers[reply.n_wipes] = &wipes[reply.n_wipes];
        reply.n_wipes++;
    }
    reply.wipes = pointers;
    rpc_reply(request, STATUS_OK, &reply.base);
}

static void meta_wipe_done(struct rpc_request *request)
{
    const Trilith__WipeDoneRequest *message = (const Trilith__WipeDoneRequest *)request->message;
    if (meta.report_count < REPORTS_MAX) {
        meta.attestations[meta.report_count++] =
            strndup((const char *)message->attestation.data, message->attestation.len);
    }
    cr_assert_eq(attestation_check(message->attestation.data, message->attestation.len, &meta.public_key, "n1", DISK_ID,
                                   message->results, message->n_results),
                 STATUS_OK);
    if (meta.reports_to_lose > 0) {
        meta.reports_to_lose--;
        rpc_reply(request, meta.report_answer == STATUS_OK ? STATUS_UNAVAILABLE : meta.report_answer, NULL);
        return;
    }
    for (size_t r = 0; r < message->n_results; r++) {
        for (uint32_t i = 0; i < meta.wipe_count; i++) {
            if (memcmp(meta.wipes[i].bytes, message->results[r]->chunk_id.data, 16) == 0) {
                meta.outcomes[i] = message->results[r]->outcome;
                meta.used[i] = message->results[r]->technique;
                meta.wiped[i] = meta.outcomes[i] != TRILITH__WIPE_OUTCOME__WIPE_FAILED;
            }
        }
    }
    rpc_reply(request, STATUS_OK, NULL);
}

static void meta_check(struct rpc_request *request)
{
    const Trilith__ChunksCheckRequest *message = (const Trilith__ChunksCheckRequest *)request->message;
    static protobuf_c_boolean referenced[1024];
    cr_assert_leq(message->n_chunks, 256);
    for (size_t i = 0; i < message->n_chunks; i++) {
        cr_assert(meta.checked_count < CHECKED_MAX);
        memcpy(meta.checked[meta.checked_count++].bytes, message->chunks[i]->chunk_id.data, 16);
        referenced[i] = memcmp(meta.referenced.bytes, message->chunks[i]->chunk_id.data, 16) == 0;
    }
    Trilith__ChunksCheckReply reply = TRILITH__CHUNKS_CHECK_REPLY__INIT;
    reply.n_referenced = message->n_chunks;
    reply.referenced = referenced;
    rpc_reply(request, STATUS_OK, &reply.base);
}

static void meta_handle(struct rpc_service *rpc, struct rpc_request *request)
{
    (void)rpc;
    if (meta.answer != STATUS_OK) {
        rpc_reply(request, meta.answer, NULL);
        return;
    }
    switch (request->type) {
    case TRILITH__MESSAGE_TYPE__NODE_REGISTER:
        meta_register(request);
        return;
    case TRILITH__MESSAGE_TYPE__NODE_HEARTBEAT:
        meta_heartbeat(request);
        return;
    case TRILITH__MESSAGE_TYPE__WIPE_PULL:
        meta_pull(request);
        return;
    case TRILITH__MESSAGE_TYPE__WIPE_DONE:
        meta_wipe_done(request);
        return;
    case TRILITH__MESSAGE_TYPE__CHUNKS_CHECK:
        meta_check(request);
        return;
    default:
        rpc_reply(request, STATUS_UNSUPPORTED, NULL);
        return;
    }
}

/* ---- fixture ----------------------------------------------------------------------------------------- */

static void map_changed(void *user, struct map *map, uint64_t node_id)
{
    (void)user;
    cr_assert_eq(node_id, 1);
    map_count++;
    map_epoch = map->epoch;
}

static void joined(void *user, const uint8_t cluster_id[CLUSTER_ID_BYTES])
{
    (void)user;
    cr_assert_eq(memcmp(cluster_id, meta.cluster_id, CLUSTER_ID_BYTES), 0);
    joined_count++;
}

static void serving(void *user)
{
    (void)user;
    serving_count++;
}

static void setup(void)
{
    memset(&meta, 0, sizeof(meta));
    memset(meta.cluster_id, 0xcc, sizeof(meta.cluster_id));
    meta.epoch = 1;
    joined_count = serving_count = map_count = 0;
    cr_assert_eq(keys_start_process(), STATUS_OK);
    keys = key_pool_open(1);
    seed = key_take(keys);
    memset(seed->bytes, 9, sizeof(seed->bytes));
    key_horizon_init(&horizon);
    world = world_new(5, MIB(256));
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    net = sim_net_open(world.sim, 6);
    chunk_host_init(&host);
    cr_assert_eq(chunk_host_add(&host, world.loop, world.store, "/disk"), STATUS_OK);
    snprintf(host.disks[0].medium.serial, sizeof(host.disks[0].medium.serial), "SERIAL7");
    snprintf(host.disks[0].medium.interface, sizeof(host.disks[0].medium.interface), "sata");
    host.disks[0].medium.rotational = true;
    meta.rpc.handle = meta_handle;
    cr_assert_eq(rpc_server_open(world.loop, sim_net_interface(net), "meta:1", &meta.rpc, &meta.server), STATUS_OK);
}

static void start_in_cluster(const uint8_t *cluster_id)
{
    struct agent_parts parts = {.loop = world.loop,
                                .net = sim_net_interface(net),
                                .host = &host,
                                .meta_address = "meta:1",
                                .name = "n1",
                                .rpc_address = "127.0.0.1:7500",
                                .s3_address = "127.0.0.1:9000",
                                .failure_domain = "n1",
                                .boot_id = "boot",
                                .sw_digest = "",
                                .seed = seed,
                                .horizon = &horizon,
                                .orphan_after_ms = ORPHAN_AFTER,
                                .call_ns = 2 * NS_PER_S,
                                .map_changed = map_changed,
                                .joined = joined,
                                .serving = serving};
    if (cluster_id != NULL) {
        parts.has_cluster_id = true;
        memcpy(parts.cluster_id, cluster_id, CLUSTER_ID_BYTES);
    }
    agent = agent_open(&parts);
    cr_assert_not_null(agent);
}

static void start(void)
{
    start_in_cluster(NULL);
}

static void teardown(void)
{
    agent_stop(agent);
    for (unsigned i = 0; i < 100000 && !agent_is_idle(agent); i++) {
        cr_assert(sim_loop_step(world.sim));
    }
    agent_close(agent);
    rpc_server_close(meta.server);
    sim_loop_run_for(world.sim, NS_PER_S);
    sim_net_close(net);
    world_free(&world);
    key_release(keys, seed);
    key_pool_close(keys);
    for (unsigned i = 0; i < meta.report_count; i++) {
        free(meta.attestations[i]);
    }
}

TestSuite(agent, .init = setup, .fini = teardown, .timeout = 120);

static bool got;

static void get_came(struct host_job *job)
{
    cr_assert_eq(job->status, STATUS_OK);
    got = true;
}

static Trilith__DiskState disk_state(void)
{
    return chunk_host_disk_state(&host.disks[0]);
}

static bool lease_holds(void)
{
    return chunk_host_lease_holds(&host, loop_now_ns(world.loop));
}

static int id_compare(const void *a, const void *b)
{
    return memcmp(a, b, 16);
}

static void want_wiped(uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        meta.wipes[meta.wipe_count++] = chunk_id_of(first + i);
    }
    qsort(meta.wipes, meta.wipe_count, sizeof(meta.wipes[0]), id_compare);
}

/* ---- joining and leases ------------------------------------------------------------------------------- */

Test(agent, joins_serves_and_keeps_its_lease)
{
    start();
    sim_loop_run_for(world.sim, NS_PER_S);
    cr_assert_eq(meta.registrations, 1);
    cr_assert_eq(joined_count, 1);
    cr_assert_eq(serving_count, 1);
    cr_assert_eq(disk_state(), TRILITH__DISK_STATE__DISK_SERVING);
    cr_assert_eq(meta.reported_state, TRILITH__DISK_STATE__DISK_SERVING, "the leader knows at once");
    sim_loop_run_for(world.sim, 60 * NS_PER_S);
    cr_assert(lease_holds());
    cr_assert_eq(meta.registrations, 1);
    cr_assert(meta.heartbeats >= 23 && meta.heartbeats <= 28, "%u heartbeats in a minute", meta.heartbeats);
    cr_assert_eq(serving_count, 1);
}

Test(agent, waits_for_a_service_that_is_away)
{
    meta.answer = STATUS_UNAVAILABLE;
    start();
    sim_loop_run_for(world.sim, 20 * NS_PER_S);
    cr_assert_eq(meta.registrations, 0);
    cr_assert_eq(disk_state(), TRILITH__DISK_STATE__DISK_CATCHING_UP);
    cr_assert_not(lease_holds());
    meta.answer = STATUS_OK;
    sim_loop_run_for(world.sim, 5 * NS_PER_S);
    cr_assert_eq(serving_count, 1);
}

Test(agent, takes_no_puts_without_a_lease_and_registers_again)
{
    start();
    sim_loop_run_for(world.sim, NS_PER_S);
    meta.answer = STATUS_UNAVAILABLE;
    sim_loop_run_for(world.sim, (LEASE_MS + 1000) * NS_PER_MS);
    cr_assert_not(lease_holds());
    meta.answer = STATUS_OK;
    sim_loop_run_for(world.sim, 5 * NS_PER_S);
    cr_assert(lease_holds());
    cr_assert_eq(meta.registrations, 2);
    cr_assert_eq(disk_state(), TRILITH__DISK_STATE__DISK_SERVING);
    cr_assert_eq(joined_count, 1);
}

Test(agent, registers_again_when_it_is_not_known_any_more)
{
    start();
    sim_loop_run_for(world.sim, NS_PER_S);
    meta.forget_node = true;
    sim_loop_run_for(world.sim, 3 * NS_PER_S);
    meta.forget_node = false;
    sim_loop_run_for(world.sim, 3 * NS_PER_S);
    cr_assert_geq(meta.registrations, 2);
    cr_assert_eq(disk_state(), TRILITH__DISK_STATE__DISK_SERVING);
}

Test(agent, refuses_another_cluster)
{
    uint8_t other[CLUSTER_ID_BYTES] = {1};
    start_in_cluster(other);
    sim_loop_run_for(world.sim, 5 * NS_PER_S);
    cr_assert_geq(meta.registrations, 1);
    cr_assert_eq(serving_count, 0);
    cr_assert_not(lease_holds());
    cr_assert_eq(atomic_load(&host.disks[0].id), 0);
}

Test(agent, passes_newer_maps_on)
{
    start();
    sim_loop_run_for(world.sim, NS_PER_S);
    cr_assert_eq(map_epoch, 1);
    meta.epoch = 4;
    agent_refresh(agent);
    sim_loop_run_for(world.sim, 200 * NS_PER_MS);
    cr_assert_eq(map_epoch, 4, "at once when somebody asked");
    meta.epoch = 5;
    sim_loop_run_for(world.sim, 3 * NS_PER_S);
    cr_assert_eq(map_epoch, 5, "otherwise with the next heartbeat");
}

/* ---- wiping -------------------------------------------------------------------------------------------- */

Test(agent, does_not_serve_before_it_has_wiped_what_it_missed)
{
    for (uint32_t i = 0; i < 5; i++) {
        cr_assert_eq(world_put(&world, i, 10000), STATUS_OK);
    }
    want_wiped(0, 3);
    want_wiped(1000, 1); /* never held */
    meta.reports_to_lose = 3;
    start();
    sim_loop_run_for(world.sim, 2 * NS_PER_S);
    cr_assert_eq(disk_state(), TRILITH__DISK_STATE__DISK_CATCHING_UP, "nothing is reported yet");
    cr_assert_eq(serving_count, 0);
    sim_loop_run_for(world.sim, 20 * NS_PER_S);
    cr_assert_eq(disk_state(), TRILITH__DISK_STATE__DISK_SERVING);
    unsigned never_held = 0;
    for (uint32_t i = 0; i < meta.wipe_count; i++) {
        cr_assert(meta.wiped[i]);
        never_held += meta.outcomes[i] == TRILITH__WIPE_OUTCOME__WIPE_NEVER_HELD;
    }
    cr_assert_eq(never_held, 1);
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert_eq(world_get(&world, i, 10000), STATUS_GONE);
        cr_assert_not(world_holds_content(&world, i, 10000));
    }
    cr_assert_eq(world_get(&world, 3, 10000), STATUS_OK);
    cr_assert_eq(world_get(&world, 4, 10000), STATUS_OK);
}

Test(agent, wipes_in_pages_what_it_hears_of_later)
{
    start();
    sim_loop_run_for(world.sim, NS_PER_S);
    for (uint32_t i = 0; i < 10; i++) {
        cr_assert_eq(world_put(&world, i, 4096), STATUS_OK);
    }
    want_wiped(0, 600);
    sim_loop_run_for(world.sim, 30 * NS_PER_S);
    cr_assert_not(wipes_are_open());
    cr_assert_geq(meta.pulls, 1 + 3);
    cr_assert_eq(world_get(&world, 9, 4096), STATUS_GONE);
}

Test(agent, reports_a_wipe_that_the_device_refuses_as_failed)
{
    start();
    sim_loop_run_for(world.sim, NS_PER_S);
    cr_assert_eq(world_put(&world, 1, 4096), STATUS_OK);
    sim_disk_fail_after(world.disk, 1, STATUS_IO);
    want_wiped(1, 1);
    sim_loop_run_for(world.sim, 20 * NS_PER_S);
    cr_assert_eq(meta.outcomes[0], TRILITH__WIPE_OUTCOME__WIPE_FAILED);
    cr_assert(wipes_are_open());
    cr_assert_leq(meta.pulls, 4, "the device is left alone for a while");
    sim_disk_fail_after(world.disk, 0, STATUS_OK);
}

/* ---- attesting ------------------------------------------------------------------------------------------ */

Test(agent, registers_what_it_signs_with_and_what_its_disks_are)
{
    struct public_key expected;
    start();
    sim_loop_run_for(world.sim, NS_PER_S);
    signature_public_key(seed, &expected);
    cr_assert_eq(memcmp(&expected, &meta.public_key, sizeof(expected)), 0);
    cr_assert_str_eq(meta.serial, "SERIAL7");
}

Test(agent, sends_the_same_attestation_however_often_a_report_gets_lost)
{
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert_eq(world_put(&world, i, 10000), STATUS_OK);
    }
    want_wiped(0, 3);
    meta.reports_to_lose = 3;
    meta.report_answer = STATUS_DENIED; /* Not even a refusal makes it say something else. */
    start();
    sim_loop_run_for(world.sim, 60 * NS_PER_S);
    cr_assert_not(wipes_are_open());
    cr_assert_eq(meta.report_count, 4);
    for (unsigned i = 1; i < meta.report_count; i++) {
        cr_assert_str_eq(meta.attestations[i], meta.attestations[0]);
    }
    struct attestation attestation;
    struct attestation_entry entry;
    cr_assert_eq(attestation_open(&attestation, meta.attestations[0], strlen(meta.attestations[0]), &meta.public_key),
                 STATUS_OK);
    cr_assert(attestation_find(&attestation, 77, &entry));
    cr_assert_eq(entry.wiped, 3);
    cr_assert_eq(entry.bytes, 3 * 3 * BLOCK_BYTES);
    cr_assert_str_eq(json_string_value(json_object_get(attestation.jws.payload, "boot_id")), "boot");
    attestation_close(&attestation);
}

Test(agent, wipes_with_patterns_first_on_a_disk_that_turns)
{
    meta.technique = TRILITH__WIPE_TECHNIQUE__TECHNIQUE_DOD3;
    cr_assert_eq(world_put(&world, 1, 10000), STATUS_OK);
    want_wiped(1, 1);
    start();
    sim_loop_run_for(world.sim, 5 * NS_PER_S);
    cr_assert_eq(meta.used[0], TRILITH__WIPE_TECHNIQUE__TECHNIQUE_DOD3);
    cr_assert_not_null(meta.attestations[0]);
}

/* It was asked for three passes, makes one, and says so. */
Test(agent, wipes_with_one_pass_elsewhere_and_says_so)
{
    struct attestation attestation;
    meta.technique = TRILITH__WIPE_TECHNIQUE__TECHNIQUE_DOD3;
    host.disks[0].medium.rotational = false;
    cr_assert_eq(world_put(&world, 1, 10000), STATUS_OK);
    want_wiped(1, 1);
    start();
    sim_loop_run_for(world.sim, 5 * NS_PER_S);
    cr_assert_eq(meta.used[0], TRILITH__WIPE_TECHNIQUE__TECHNIQUE_OVERWRITE);
    cr_assert_eq(attestation_open(&attestation, meta.attestations[0], strlen(meta.attestations[0]), &meta.public_key),
                 STATUS_OK);
    const json_t *technique = json_object_get(attestation.jws.payload, "technique");
    cr_assert_str_eq(json_string_value(json_object_get(technique, "asked")), "dod3");
    cr_assert_str_eq(json_string_value(json_object_get(technique, "used")), "overwrite");
    cr_assert_eq(json_array_size(json_object_get(attestation.jws.payload, "passes")), 1);
    attestation_close(&attestation);
}

/* ---- clients come first --------------------------------------------------------------------------------- */

static uint64_t time_to_wipe_ns(bool with_clients)
{
    uint64_t begin_ns = loop_now_ns(world.loop);
    while (wipes_are_open()) {
        if (with_clients) {
            atomic_store(&host.disks[0].clients_ns, loop_now_ns(world.loop));
        }
        sim_loop_run_for(world.sim, NS_PER_MS);
        cr_assert_lt(loop_now_ns(world.loop) - begin_ns, 300 * NS_PER_S, "clients may not stop it altogether");
    }
    return loop_now_ns(world.loop) - begin_ns;
}

Test(agent, wipes_less_of_the_time_while_clients_use_the_disk)
{
    uint64_t taken_ns[2];
    start();
    sim_loop_run_for(world.sim, NS_PER_S);
    for (uint32_t turn = 0; turn < 2; turn++) {
        for (uint32_t i = 0; i < 200; i++) {
            cr_assert_eq(world_put(&world, turn * 1000 + i, 4096), STATUS_OK);
        }
        sim_loop_run_for(world.sim, NS_PER_S);
        want_wiped(turn * 1000, 200);
        agent_refresh(agent);
        taken_ns[turn] = time_to_wipe_ns(turn == 1);
    }
    cr_assert_gt(taken_ns[1], 2 * taken_ns[0], "%lu ms alone, %lu ms beside clients", taken_ns[0] / NS_PER_MS,
                 taken_ns[1] / NS_PER_MS);
}

Test(agent, knows_of_clients_by_their_puts_and_gets)
{
    struct host_get get;
    static uint8_t buffer[65536] __attribute__((aligned(4096)));
    start();
    sim_loop_run_for(world.sim, NS_PER_S);
    cr_assert_eq(world_put(&world, 1, 4096), STATUS_OK);
    cr_assert_not(chunk_host_disk_has_clients(&host.disks[0], loop_now_ns(world.loop)));
    memset(&get, 0, sizeof(get));
    get.get.id = chunk_id_of(1);
    get.get.buffer = buffer;
    get.get.buffer_bytes = sizeof(buffer);
    got = false;
    chunk_host_get(&host.disks[0], &get, world.loop, get_came);
    cr_assert(chunk_host_disk_has_clients(&host.disks[0], loop_now_ns(world.loop)));
    cr_assert(sim_loop_run_until(world.sim, &got));
    cr_assert_eq(atomic_load(&host.disks[0].clients), 0);
    cr_assert(chunk_host_disk_has_clients(&host.disks[0], loop_now_ns(world.loop)));
    sim_loop_run_for(world.sim, NS_PER_S);
    cr_assert_not(chunk_host_disk_has_clients(&host.disks[0], loop_now_ns(world.loop)));
}

/* ---- keys in memory --------------------------------------------------------------------------------------- */

Test(agent, says_since_when_its_keys_are)
{
    struct key_holder holder;
    struct held_key key = {.held = false};
    key_holder_init(&holder, &horizon);
    meta.journal_index = 40;
    start();
    sim_loop_run_for(world.sim, NS_PER_S);
    sim_loop_run_for(world.sim, 6 * NS_PER_S);
    cr_assert_eq(meta.keys_since, 40, "no key is held: as new as what was heard");
    key_hold(&holder, &key);
    meta.journal_index = 90;
    sim_loop_run_for(world.sim, 6 * NS_PER_S);
    cr_assert_eq(meta.keys_since, 40, "a key from before is held");
    key_let_go(&holder, &key);
    sim_loop_run_for(world.sim, 6 * NS_PER_S);
    cr_assert_eq(meta.keys_since, 90);
}

/* ---- orphans ------------------------------------------------------------------------------------------- */

static unsigned times_checked(uint32_t number)
{
    struct chunk_id id = chunk_id_of(number);
    unsigned times = 0;
    for (uint32_t i = 0; i < meta.checked_count; i++) {
        times += chunk_id_equal(&meta.checked[i], &id);
    }
    return times;
}

Test(agent, asks_about_old_chunks_once_and_about_young_ones_not_at_all)
{
    start();
    sim_loop_run_for(world.sim, NS_PER_S);
    for (uint32_t i = 0; i < 300; i++) { /* more than a page */
        cr_assert_eq(world_put(&world, i, 4096), STATUS_OK);
    }
    meta.referenced = chunk_id_of(7);
    sim_loop_run_for(world.sim, (ORPHAN_AFTER - 10000) * NS_PER_MS);
    cr_assert_eq(meta.checked_count, 0);
    sim_loop_run_for(world.sim, 40 * NS_PER_S);
    cr_assert_eq(meta.checked_count, 300);
    cr_assert_eq(world_put(&world, 1000, 4096), STATUS_OK);
    sim_loop_run_for(world.sim, 2ull * ORPHAN_AFTER * NS_PER_MS);
    cr_assert_eq(meta.checked_count, 301, "what was asked once is not asked again");
    cr_assert_eq(times_checked(1000), 1);
    cr_assert_eq(times_checked(7), 1);
}

Test(agent, asks_again_when_the_answer_was_lost)
{
    start();
    sim_loop_run_for(world.sim, NS_PER_S);
    cr_assert_eq(world_put(&world, 1, 4096), STATUS_OK);
    sim_loop_run_for(world.sim, (ORPHAN_AFTER - 5000) * NS_PER_MS);
    sim_net_break(net);
    sim_loop_run_for(world.sim, 60 * NS_PER_S);
    cr_assert_geq(times_checked(1), 1);
}
