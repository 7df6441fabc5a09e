/* test_move_service.c - draining through the metadata service: when copying may begin, what the target's node is told,
 * when a move is given up, and what an operator sees. Five nodes with a disk each; disk i has the uuid i, i, .. */
#include "tests/unit/meta_service_world.h"

static void move_setup(void)
{
    setup();
    register_nodes();
    cr_assert_eq(register_node("node5", 5, NULL), STATUS_OK);
}

TestSuite(move_service, .init = move_setup, .fini = call_teardown, .timeout = 120);

static uint64_t epoch_now(void)
{
    return state_cluster(life.state)->map_epoch;
}

/* A heartbeat of node `node` that says it has the map of `epoch`. */
static void beat(uint8_t node, uint64_t epoch, uint64_t chunks)
{
    uint8_t uuid[16];
    Trilith__DiskReport report = TRILITH__DISK_REPORT__INIT;
    Trilith__DiskReport *reports[1] = {&report};
    Trilith__NodeHeartbeatRequest request = TRILITH__NODE_HEARTBEAT_REQUEST__INIT;
    memset(uuid, node, sizeof(uuid));
    report.uuid = (ProtobufCBinaryData){.data = uuid, .len = 16};
    report.state = TRILITH__DISK_STATE__DISK_SERVING;
    report.capacity = GIB(1);
    report.free = GIB(1);
    report.chunks = chunks;
    request.node_id = node;
    request.map_epoch = epoch;
    request.disks = reports;
    request.n_disks = 1;
    cr_assert_eq(CALL(NODE_HEARTBEAT, &request), STATUS_OK);
}

static void all_beat(void)
{
    for (uint8_t node = 1; node <= 5; node++) {
        beat(node, epoch_now(), 0);
    }
}

static enum status drain(uint32_t disk_id, bool on)
{
    Trilith__DiskDrainRequest request = TRILITH__DISK_DRAIN_REQUEST__INIT;
    request.disk_id = disk_id;
    request.on = on;
    return CALL(DISK_DRAIN, &request);
}

static const Trilith__MoveListReply *moves(void)
{
    Trilith__Empty empty = TRILITH__EMPTY__INIT;
    cr_assert_eq(CALL(MOVE_LIST, &empty), STATUS_OK);
    return REPLY(MoveListReply);
}

static size_t pulled(uint32_t disk_id)
{
    Trilith__MovePullRequest request = TRILITH__MOVE_PULL_REQUEST__INIT;
    request.disk_id = disk_id;
    cr_assert_eq(CALL(MOVE_PULL, &request), STATUS_OK);
    return REPLY(MovePullReply)->n_moves;
}

static enum status done(uint32_t pg, uint32_t disk_id, bool complete)
{
    Trilith__MoveDoneRequest request = TRILITH__MOVE_DONE_REQUEST__INIT;
    request.pg = pg;
    request.disk_id = disk_id;
    request.chunks = 3;
    request.bytes = 3000;
    request.complete = complete;
    return CALL(MOVE_DONE, &request);
}

static const Trilith__DiskGetReply *disk_get(uint32_t disk_id)
{
    Trilith__DiskGetRequest request = TRILITH__DISK_GET_REQUEST__INIT;
    request.disk_id = disk_id;
    cr_assert_eq(CALL(DISK_GET, &request), STATUS_OK);
    return REPLY(DiskGetReply);
}

Test(move_service, refuses_what_is_unknown_or_can_not_work)
{
    Trilith__MovePullRequest pull = TRILITH__MOVE_PULL_REQUEST__INIT;
    Trilith__MoveCheckRequest check = TRILITH__MOVE_CHECK_REQUEST__INIT;
    Trilith__DiskGetRequest get = TRILITH__DISK_GET_REQUEST__INIT;
    pull.disk_id = get.disk_id = 99;
    cr_assert_eq(CALL(MOVE_PULL, &pull), STATUS_NOT_FOUND);
    cr_assert_eq(CALL(DISK_GET, &get), STATUS_NOT_FOUND);
    check.pg = 1;
    check.disk_id = 1;
    cr_assert_eq(CALL(MOVE_CHECK, &check), STATUS_CONFLICT, "it is not being moved");
    check.pg = 9999;
    cr_assert_eq(CALL(MOVE_CHECK, &check), STATUS_NOT_FOUND);
    cr_assert_eq(done(1, 5, true), STATUS_CONFLICT);
    cr_assert_eq(done(9999, 5, true), STATUS_NOT_FOUND);
    cr_assert_eq(drain(99, true), STATUS_NOT_FOUND);
    cr_assert_eq(drain(5, true), STATUS_OK);
    cr_assert_eq(drain(4, true), STATUS_OK);
    cr_assert_eq(drain(3, true), STATUS_CONFLICT);
}

Test(move_service, copying_begins_when_every_node_has_the_map_or_its_lease_is_over)
{
    all_beat();
    cr_assert_eq(drain(5, true), STATUS_OK);
    cr_assert_gt(moves()->n_moves, 0);
    cr_assert_leq(REPLY(MoveListReply)->n_moves, MOVES_PER_DISK_MAX);
    uint32_t pg = REPLY(MoveListReply)->moves[0]->pg;
    uint32_t target = REPLY(MoveListReply)->moves[0]->target;
    cr_assert_eq(REPLY(MoveListReply)->moves[0]->leaving, 5);
    cr_assert_not(REPLY(MoveListReply)->moves[0]->ready);
    cr_assert_str_not_empty(REPLY(MoveListReply)->moves[0]->waiting);
    cr_assert_eq(pulled(target), 0);
    for (uint8_t node = 1; node <= 4; node++) {
        beat(node, epoch_now(), 0);
    }
    cr_assert_eq(pulled(target), 0, "node 5 may still acknowledge puts");
    beat(5, epoch_now(), 0);
    cr_assert_gt(pulled(target), 0);
    beat((uint8_t)target, epoch_now(), 0);
    cr_assert_eq(REPLY(NodeHeartbeatReply)->n_disks_with_moves, 1);
    cr_assert_eq(REPLY(NodeHeartbeatReply)->disks_with_moves[0], target);

    cr_assert_eq(done(pg, target, false), STATUS_OK);
    cr_assert_eq(moves()->moves[0]->chunks, 3);
    cr_assert_eq(done(pg, target, true), STATUS_OK);
    cr_assert_eq(done(pg, target, true), STATUS_OK, "said again");
    cr_assert_eq(done(pg, 5, true), STATUS_CONFLICT);
}

Test(move_service, a_node_that_is_down_does_not_hold_a_move_up)
{
    all_beat();
    cr_assert_eq(drain(5, true), STATUS_OK);
    uint32_t target = moves()->moves[0]->target;
    uint64_t silent_ms = 0;
    while (silent_ms < 2 * LEASE_MS + 2000) { /* All but node 5. */
        for (uint8_t node = 1; node <= 4; node++) {
            beat(node, epoch_now(), 0);
        }
        if (silent_ms < LEASE_MS) {
            cr_assert_eq(pulled(target), 0);
        }
        sim_loop_run_for(sim, 2000 * NS_PER_MS);
        silent_ms += 2000;
    }
    cr_assert_gt(pulled(target), 0);
}

Test(move_service, empties_a_disk_and_says_when_it_is_empty)
{
    all_beat();
    cr_assert_eq(drain(5, true), STATUS_OK);
    for (unsigned round = 0; round < 200 && moves()->n_moves > 0; round++) {
        uint32_t pg = REPLY(MoveListReply)->moves[0]->pg;
        uint32_t target = REPLY(MoveListReply)->moves[0]->target;
        all_beat();
        cr_assert_eq(done(pg, target, true), STATUS_OK);
    }
    beat(5, epoch_now(), 7);
    cr_assert_eq(disk_get(5)->pgs, 0);
    cr_assert_not(REPLY(DiskGetReply)->empty, "its node still has chunks");
    beat(5, epoch_now(), 0);
    cr_assert(disk_get(5)->empty);
    cr_assert_str_empty(REPLY(DiskGetReply)->waiting);
    cr_assert_eq(disk_get(1)->disk->phase, TRILITH__DISK_PHASE__DISK_ACTIVE);
    cr_assert_not(REPLY(DiskGetReply)->empty);
}

Test(move_service, says_why_pgs_can_not_leave)
{
    all_beat();
    sim_loop_run_for(sim, (LEASE_MS + 1000) * NS_PER_MS);
    beat(5, epoch_now(), 0); /* All others are away. */
    cr_assert_eq(drain(5, true), STATUS_OK);
    cr_assert_eq(moves()->n_moves, 0);
    cr_assert_str_not_empty(disk_get(5)->waiting);
    all_beat();
    sim_loop_run_for(sim, 2 * NS_PER_S);
    cr_assert_gt(moves()->n_moves, 0);
    cr_assert_str_empty(disk_get(5)->waiting);
}

Test(move_service, gives_a_move_up_whose_target_stays_away)
{
    all_beat();
    cr_assert_eq(drain(5, true), STATUS_OK);
    uint32_t pg = moves()->moves[0]->pg;
    uint32_t target = REPLY(MoveListReply)->moves[0]->target;
    for (uint64_t ms = 0; ms < 12 * LEASE_MS; ms += 2000) {
        sim_loop_run_for(sim, 2000 * NS_PER_MS);
        for (uint8_t node = 1; node <= 5; node++) {
            if (node != target) {
                beat(node, epoch_now(), 0);
            }
        }
    }
    for (size_t i = 0; i < moves()->n_moves; i++) {
        bool is_same = REPLY(MoveListReply)->moves[i]->pg == pg && REPLY(MoveListReply)->moves[i]->target == target;
        cr_assert_not(is_same);
    }
    cr_assert_eq(done(pg, target, true), STATUS_CONFLICT);
}

Test(move_service, goes_on_after_the_leader_began_anew)
{
    all_beat();
    cr_assert_eq(drain(5, true), STATUS_OK);
    size_t count = moves()->n_moves;
    uint32_t target = REPLY(MoveListReply)->moves[0]->target;
    crash(7);
    start();
    cr_assert_eq(moves()->n_moves, count);
    cr_assert_eq(pulled(target), 0, "nobody has been heard yet");
    all_beat();
    cr_assert_gt(pulled(target), 0);
}
