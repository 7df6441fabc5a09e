/* test_moves.c - moving PGs through the state machine: members change one at a time, nothing forgets where copies were,
 * and a disk is empty when it says so. Four nodes with a disk each, and a fifth where a target is wanted. */
#include "meta/moves.h"
#include "tests/unit/meta_fixture.h"

static struct meta_fixture fixture;
static struct meta_fixture *const f = &fixture;

static void setup(void)
{
    fixture_open(f);
    cr_assert_eq(fixture_join(f, "node5", 5), STATUS_OK);
}

static void teardown(void)
{
    fixture_close(f);
}

TestSuite(moves, .init = setup, .fini = teardown, .timeout = 60);

/* ---- commands in one line ---------------------------------------------------------------------- */

static enum status drain(uint32_t disk_id, bool on)
{
    Trilith__DiskDrainRequest request = TRILITH__DISK_DRAIN_REQUEST__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    request.disk_id = disk_id;
    request.on = on;
    request.pgs_per_disk = 24;
    request.scatter_width = 4;
    command.change_case = TRILITH__COMMAND__CHANGE_DISK_DRAIN;
    command.disk_drain = &request;
    return fixture_apply(f, &command);
}

static enum status begin(uint32_t pg, uint32_t leaving, uint32_t target)
{
    Trilith__PgMoveBegin request = TRILITH__PG_MOVE_BEGIN__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    request.pg = pg;
    request.leaving = leaving;
    request.target = target;
    command.change_case = TRILITH__COMMAND__CHANGE_PG_MOVE_BEGIN;
    command.pg_move_begin = &request;
    return fixture_apply(f, &command);
}

static enum status finish(uint32_t pg, uint32_t target, bool complete)
{
    Trilith__PgMoveEnd request = TRILITH__PG_MOVE_END__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    request.pg = pg;
    request.target = target;
    request.complete = complete;
    command.change_case = TRILITH__COMMAND__CHANGE_PG_MOVE_END;
    command.pg_move_end = &request;
    return fixture_apply(f, &command);
}

static enum status remove_disk(uint32_t disk_id)
{
    Trilith__DiskRemove request = TRILITH__DISK_REMOVE__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    request.disk_id = disk_id;
    command.change_case = TRILITH__COMMAND__CHANGE_DISK_REMOVE;
    command.disk_remove = &request;
    return fixture_apply(f, &command);
}

static enum status remove_node(uint64_t node_id)
{
    Trilith__NodeRemove request = TRILITH__NODE_REMOVE__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    request.node_id = node_id;
    command.change_case = TRILITH__COMMAND__CHANGE_NODE_REMOVE;
    command.node_remove = &request;
    return fixture_apply(f, &command);
}

/* ---- looking ----------------------------------------------------------------------------------- */

static Trilith__PgRecord *pg_of(uint32_t pg_id)
{
    Trilith__PgRecord *pg = NULL;
    cr_assert_eq(moves_pg(fixture_tables(f), pg_id, &pg), STATUS_OK);
    return pg;
}

static uint64_t epoch_now(void)
{
    return state_cluster(f->state)->map_epoch;
}

static Trilith__Map *map_now(void)
{
    Trilith__Map *map = NULL;
    cr_assert_eq(registry_map(fixture_tables(f), epoch_now(), &map), STATUS_OK);
    return map;
}

/* A disk that is no member of the PG and was none; 0: there is no other. */
static uint32_t outsider(uint32_t pg_id)
{
    const Trilith__PgRecord *pg = pg_of(pg_id);
    for (uint32_t disk_id = 1; disk_id <= 5; disk_id++) {
        bool was = false;
        for (size_t i = 0; i < pg->n_former; i++) {
            was = was || pg->former[i] == disk_id;
        }
        if (!pg_has_member(pg, disk_id) && !was) {
            return disk_id;
        }
    }
    return 0;
}

static bool owes(uint32_t disk_id)
{
    return erasure_disk_owes(fixture_tables(f), disk_id);
}

static bool wanted(uint32_t pg_id, const uint8_t chunk_id[16])
{
    bool is_wanted = false;
    Trilith__PgRecord *pg = pg_of(pg_id);
    cr_assert_eq(move_chunk_is_wanted(state_tables(f->state), pg, chunk_id, &is_wanted), STATUS_OK);
    return is_wanted;
}

static size_t pgs_of(uint32_t disk_id)
{
    struct disk_left left;
    enum status status = disk_is_empty(fixture_tables(f), disk_id, &left);
    cr_assert(status == STATUS_OK || status == STATUS_NOT_EMPTY);
    return left.pgs;
}

/* Move every PG of a disk away. */
static void empty_disk(uint32_t disk_id)
{
    uint32_t pgs = state_cluster(f->state)->next_pg_id;
    for (uint32_t pg = 1; pg < pgs; pg++) {
        if (pg_has_member(pg_of(pg), disk_id)) {
            uint32_t target = outsider(pg);
            cr_assert_neq(target, 0);
            cr_assert_eq(begin(pg, disk_id, target), STATUS_OK);
            cr_assert_eq(finish(pg, target, true), STATUS_OK);
        }
    }
}

/* An object of one chunk in PG `pg`; its id into `id`. */
static void put(const char *key, uint32_t pg, uint8_t id[16])
{
    static struct fixture_commit commit;
    f->pg = pg;
    fixture_commit_prepare(f, &commit, key, strlen(key), 1);
    memcpy(id, commit.ids[0], 16);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
}

/* ---- a move ------------------------------------------------------------------------------------ */

Test(moves, puts_the_target_into_the_place_of_the_leaving_disk)
{
    uint32_t target = outsider(1);
    uint32_t before[REPLICAS];
    memcpy(before, pg_of(1)->members, sizeof(before));
    uint64_t epoch = epoch_now();

    cr_assert_eq(begin(1, before[1], target), STATUS_OK);
    const Trilith__PgRecord *pg = pg_of(1);
    cr_assert_eq(pg->target, target);
    cr_assert_eq(pg->leaving, before[1]);
    cr_assert_eq(pg->move_map_epoch, epoch + 1);
    cr_assert_eq(pg->changed_epoch, epoch + 1);
    cr_assert_eq(pg->move_index, f->index);
    cr_assert_eq(epoch_now(), epoch + 1);
    cr_assert_arr_eq(pg->members, before, sizeof(before), "members stay while it goes on");
    cr_assert_eq(state_cluster(f->state)->moves, 1);
    cr_assert_eq(map_now()->pgs[0]->target, target);
    cr_assert_eq(map_now()->pgs[0]->changed_epoch, epoch + 1);

    cr_assert_eq(finish(1, target, true), STATUS_OK);
    pg = pg_of(1);
    cr_assert_eq(pg->target, 0);
    cr_assert_eq(pg->leaving, 0);
    cr_assert_eq(pg->members[0], before[0]);
    cr_assert_eq(pg->members[1], target);
    cr_assert_eq(pg->members[2], before[2]);
    cr_assert_eq(pg->n_former, 1);
    cr_assert_eq(pg->former[0], before[1]);
    cr_assert_eq(pg->changed_epoch, epoch + 2);
    cr_assert_eq(epoch_now(), epoch + 2);
    cr_assert_eq(state_cluster(f->state)->moves, 0);
    cr_assert_eq(finish(1, target, true), STATUS_CONFLICT, "said twice");
}

Test(moves, that_is_given_up_leaves_the_target_in_the_history_and_never_comes_back_to_it)
{
    uint32_t target = outsider(1);
    uint32_t leaving = pg_of(1)->members[0];
    cr_assert_eq(begin(1, leaving, target), STATUS_OK);
    cr_assert_eq(finish(1, target, false), STATUS_OK);
    const Trilith__PgRecord *pg = pg_of(1);
    cr_assert(pg_has_member(pg, leaving));
    cr_assert(pg_is_foreign(pg, target));
    cr_assert_eq(pg->n_former, 1);
    cr_assert_eq(pg->former[0], target);
    cr_assert_eq(begin(1, leaving, target), STATUS_CONFLICT, "what was wiped there never comes back there");
}

Test(moves, refuses_what_is_no_move)
{
    uint32_t target = outsider(1);
    uint32_t member = pg_of(1)->members[0];
    uint64_t epoch = epoch_now();
    cr_assert_eq(begin(9999, member, target), STATUS_NOT_FOUND);
    cr_assert_eq(begin(1, member, 99), STATUS_NOT_FOUND);
    cr_assert_eq(begin(1, target, target), STATUS_CONFLICT, "what leaves must be a member");
    cr_assert_eq(begin(1, member, pg_of(1)->members[1]), STATUS_CONFLICT, "the target must be none");
    cr_assert_eq(finish(1, target, true), STATUS_CONFLICT);
    cr_assert_eq(finish(9999, target, true), STATUS_NOT_FOUND);
    cr_assert_eq(epoch_now(), epoch);

    cr_assert_eq(begin(1, member, target), STATUS_OK);
    cr_assert_eq(begin(1, member, target), STATUS_CONFLICT, "one at a time");
    cr_assert_eq(finish(1, member, true), STATUS_CONFLICT, "not that target");
}

Test(moves, keeps_members_in_three_domains)
{
    uint32_t member = pg_of(1)->members[0];
    uint32_t other = pg_of(1)->members[1];
    char domain[16];
    (void)snprintf(domain, sizeof(domain), "node%u", other);
    cr_assert_eq(fixture_join_disks(f, "node6", domain, 6, 1), STATUS_OK, "a disk in the domain of a member");
    cr_assert_eq(begin(1, member, 6), STATUS_CONFLICT);
    cr_assert_eq(begin(1, other, 6), STATUS_OK, "of the one that leaves: the same three domains as before");
}

Test(moves, go_to_no_disk_that_drains)
{
    uint32_t target = outsider(1);
    cr_assert_eq(drain(target, true), STATUS_OK);
    cr_assert_eq(begin(1, pg_of(1)->members[0], target), STATUS_CONFLICT);
}

Test(moves, have_a_bound)
{
    uint32_t begun = 0;
    cr_assert_eq(fixture_join_disks(f, "node6", "node6", 10, 8), STATUS_OK);
    uint32_t pgs = state_cluster(f->state)->next_pg_id;
    cr_assert_gt(pgs, MOVES_MAX + 1);
    for (uint32_t pg = 1; pg < pgs; pg++) {
        enum status status = begin(pg, pg_of(pg)->members[0], outsider(pg));
        cr_assert(status == STATUS_OK || (status == STATUS_FULL && begun == MOVES_MAX));
        begun += status == STATUS_OK ? 1 : 0;
    }
    struct move moves[MOVES_MAX];
    size_t count = 0;
    cr_assert_eq(moves_all(fixture_tables(f), moves, &count), STATUS_OK);
    cr_assert_eq(count, MOVES_MAX);
}

/* ---- erasures ---------------------------------------------------------------------------------- */

Test(moves, what_is_erased_meanwhile_is_owed_by_the_target)
{
    uint8_t id[16];
    put("key", 1, id);
    uint32_t target = outsider(1);
    uint32_t leaving = pg_of(1)->members[0];
    cr_assert_eq(begin(1, leaving, target), STATUS_OK);
    cr_assert(wanted(1, id));
    cr_assert_eq(fixture_delete(f, "photos", "key", 3), STATUS_OK);
    cr_assert_not(wanted(1, id));
    cr_assert(owes(target));
    cr_assert(owes(leaving));
    /* Even when all others have wiped it and said so. */
    for (unsigned i = 0; i < REPLICAS; i++) {
        (void)fixture_wipe_all(f, pg_of(1)->members[i], TRILITH__WIPE_OUTCOME__WIPE_WIPED);
    }
    cr_assert(owes(target));
    cr_assert_not(wanted(1, id));
}

Test(moves, what_was_erased_before_is_not_copied)
{
    uint8_t id[16];
    put("key", 1, id);
    cr_assert_eq(fixture_delete(f, "photos", "key", 3), STATUS_OK);
    uint32_t target = outsider(1);
    uint32_t leaving = pg_of(1)->members[0];
    uint32_t stays = pg_of(1)->members[1];
    cr_assert_eq(begin(1, leaving, target), STATUS_OK);
    cr_assert_not(owes(target));
    cr_assert_not(wanted(1, id));
    /* The disk that leaves has wiped it; another could still give it. */
    (void)fixture_wipe_all(f, leaving, TRILITH__WIPE_OUTCOME__WIPE_WIPED);
    cr_assert(owes(stays));
    cr_assert_not(wanted(1, id));
}

Test(moves, what_was_given_up_is_not_copied)
{
    uint8_t id[16] = {9, 9, 9};
    Trilith__ChunkRef chunk = TRILITH__CHUNK_REF__INIT;
    Trilith__ChunkRef *chunks[1] = {&chunk};
    chunk.chunk_id = (ProtobufCBinaryData){.data = id, .len = 16};
    chunk.pg = 1;
    cr_assert_eq(begin(1, pg_of(1)->members[0], outsider(1)), STATUS_OK);
    cr_assert(wanted(1, id), "of a write that is not committed yet");
    cr_assert_eq(fixture_abort(f, chunks, 1, (struct leaf_at){0}), STATUS_OK);
    cr_assert_not(wanted(1, id));
}

Test(moves, what_was_moved_away_goes_from_that_disk_alone)
{
    uint8_t id[16];
    put("key", 1, id);
    uint32_t target = outsider(1);
    uint32_t leaving = pg_of(1)->members[0];
    Trilith__ChunkRef chunk = TRILITH__CHUNK_REF__INIT;
    Trilith__ChunkRef *chunks[1] = {&chunk};
    chunk.chunk_id = (ProtobufCBinaryData){.data = id, .len = 16};
    chunk.pg = 1;
    cr_assert_eq(begin(1, leaving, target), STATUS_OK);
    cr_assert_eq(erasure_find_moved(fixture_tables(f), leaving, id), STATUS_NOT_FOUND, "it is a member still");
    cr_assert_eq(erasure_find_moved(fixture_tables(f), target, id), STATUS_NOT_FOUND);
    cr_assert_eq(finish(1, target, true), STATUS_OK);
    cr_assert_eq(erasure_find_moved(fixture_tables(f), leaving, id), STATUS_OK);
    cr_assert_eq(erasure_find_moved(fixture_tables(f), target, id), STATUS_NOT_FOUND);

    cr_assert_eq(fixture_condemn(f, TRILITH__CONDEMN_REASON__CONDEMN_ORPHAN, leaving, chunks, 1), STATUS_OK);
    for (uint32_t disk_id = 1; disk_id <= 5; disk_id++) {
        cr_assert_eq(owes(disk_id), disk_id == leaving);
    }
    cr_assert_eq(tables_find(fixture_tables(f), key_chunk(id)), STATUS_OK, "the object has it still");
    cr_assert_eq(erasure_find_condemned(fixture_tables(f), id), STATUS_NOT_FOUND);
    cr_assert(wanted(1, id), "a former member's wipe says nothing of the chunk");
}

Test(moves, no_target_owes_a_wipe_of_what_it_would_get)
{
    uint8_t of_pg[16];
    uint8_t of_another[16];
    uint32_t target = outsider(1);
    uint32_t other = 2;
    while (pg_has_member(pg_of(other), target)) {
        other++;
    }
    put("here", 1, of_pg);
    put("there", other, of_another);
    Trilith__ChunkRef chunk = TRILITH__CHUNK_REF__INIT;
    Trilith__ChunkRef *chunks[1] = {&chunk};
    chunk.chunk_id = (ProtobufCBinaryData){.data = of_another, .len = 16};
    chunk.pg = other;
    cr_assert_eq(fixture_condemn(f, TRILITH__CONDEMN_REASON__CONDEMN_ORPHAN, target, chunks, 1), STATUS_OK);
    cr_assert(owes(target));
    bool before = true;
    uint64_t erasure_id = f->outcome.erasure_id;
    cr_assert_eq(disk_owes_before(state_tables(f->state), target, erasure_id, &before), STATUS_OK);
    cr_assert_not(before, "it is owed to that very erasure");
    cr_assert_eq(disk_owes_before(state_tables(f->state), target, erasure_id + 1, &before), STATUS_OK);
    cr_assert(before);
    bool of_this = true;
    cr_assert_eq(move_target_owes(state_tables(f->state), target, 1, &of_this), STATUS_OK);
    cr_assert_not(of_this, "wipes of other PGs, of which a busy disk always owes some, hinder nothing");
    chunk.chunk_id = (ProtobufCBinaryData){.data = of_pg, .len = 16};
    chunk.pg = 1;
    cr_assert_eq(fixture_condemn(f, TRILITH__CONDEMN_REASON__CONDEMN_ORPHAN, target, chunks, 1), STATUS_OK);
    cr_assert_eq(begin(1, pg_of(1)->members[0], target), STATUS_CONFLICT);
    (void)fixture_wipe_all(f, target, TRILITH__WIPE_OUTCOME__WIPE_WIPED);
    cr_assert_eq(begin(1, pg_of(1)->members[0], target), STATUS_OK);
}

/* ---- draining ---------------------------------------------------------------------------------- */

Test(moves, draining_closes_a_disk_and_staying_opens_it)
{
    uint64_t epoch = epoch_now();
    cr_assert_eq(drain(5, true), STATUS_OK);
    cr_assert_eq(map_now()->disks[4]->phase, TRILITH__DISK_PHASE__DISK_DRAINING);
    cr_assert_eq(epoch_now(), epoch + 1);
    cr_assert_eq(drain(5, true), STATUS_OK);
    cr_assert_eq(epoch_now(), epoch + 1, "again is no error, and no change");

    size_t pgs = pgs_of(5);
    cr_assert_eq(fixture_join(f, "node6", 6), STATUS_OK);
    cr_assert_eq(pgs_of(5), pgs, "it gets no PGs from those that join");
    cr_assert_eq(drain(5, false), STATUS_OK);
    cr_assert_eq(map_now()->disks[4]->phase, TRILITH__DISK_PHASE__DISK_ACTIVE);
    cr_assert_eq(drain(99, true), STATUS_NOT_FOUND);
}

Test(moves, refuses_to_drain_below_three_domains)
{
    cr_assert_eq(drain(5, true), STATUS_OK);
    cr_assert_eq(drain(4, true), STATUS_OK);
    cr_assert_eq(drain(3, true), STATUS_CONFLICT);
    cr_assert_eq(drain(5, false), STATUS_OK);
    cr_assert_eq(drain(3, true), STATUS_OK);
}

Test(moves, staying_gives_up_what_is_on_its_way_and_gets_pgs_again)
{
    uint32_t leaving = pg_of(1)->members[0];
    uint32_t target = outsider(1);
    cr_assert_eq(drain(leaving, true), STATUS_OK);
    cr_assert_eq(begin(1, leaving, target), STATUS_OK);
    uint64_t epoch = epoch_now();
    cr_assert_eq(drain(leaving, false), STATUS_OK);
    cr_assert_eq(pg_of(1)->target, 0);
    cr_assert(pg_has_member(pg_of(1), leaving));
    cr_assert_eq(state_cluster(f->state)->moves, 0);
    cr_assert_eq(pg_of(1)->changed_epoch, epoch + 1);
    cr_assert_eq(epoch_now(), epoch + 1);
    cr_assert_eq(finish(1, target, true), STATUS_CONFLICT, "too late");

    cr_assert_eq(drain(leaving, true), STATUS_OK);
    empty_disk(leaving);
    cr_assert_eq(pgs_of(leaving), 0);
    cr_assert_eq(drain(leaving, false), STATUS_OK);
    cr_assert_gt(pgs_of(leaving), 0);
}

Test(moves, a_disk_is_empty_when_nothing_is_left_and_nothing_owed)
{
    struct disk_left left;
    uint8_t id[16];
    put("key", 1, id);
    uint32_t leaving = pg_of(1)->members[0];
    cr_assert_eq(disk_is_empty(fixture_tables(f), leaving, &left), STATUS_NOT_EMPTY);
    cr_assert_gt(left.pgs, 0);
    cr_assert_not(left.owes_wipes);
    cr_assert_eq(drain(leaving, true), STATUS_OK);
    empty_disk(leaving);
    cr_assert_eq(fixture_delete(f, "photos", "key", 3), STATUS_OK);
    cr_assert_eq(disk_is_empty(fixture_tables(f), leaving, &left), STATUS_NOT_EMPTY);
    cr_assert_eq(left.pgs, 0);
    cr_assert(left.owes_wipes);
    (void)fixture_wipe_all(f, leaving, TRILITH__WIPE_OUTCOME__WIPE_WIPED);
    cr_assert_eq(disk_is_empty(fixture_tables(f), leaving, &left), STATUS_OK);
    cr_assert_eq(disk_is_empty(fixture_tables(f), 99, &left), STATUS_NOT_FOUND);
}

/* ---- gone for good ----------------------------------------------------------------------------- */

Test(moves, a_disk_is_removed_when_no_pg_has_it)
{
    cr_assert_eq(remove_disk(99), STATUS_NOT_FOUND);
    cr_assert_eq(remove_disk(5), STATUS_NOT_EMPTY);
    cr_assert_eq(drain(5, true), STATUS_OK);
    empty_disk(5);
    cr_assert_eq(remove_disk(5), STATUS_OK);
    uint64_t epoch = epoch_now();
    cr_assert_eq(remove_disk(5), STATUS_OK);
    cr_assert_eq(epoch_now(), epoch);
    cr_assert_eq(drain(5, true), STATUS_GONE);
    cr_assert_eq(drain(5, false), STATUS_GONE);
    cr_assert_eq(begin(1, pg_of(1)->members[0], 5), STATUS_CONFLICT);

    /* It turns up again: known, and of no use. */
    cr_assert_eq(fixture_join(f, "node5", 5), STATUS_OK);
    cr_assert_eq(fixture_join(f, "node6", 6), STATUS_OK);
    cr_assert_eq(pgs_of(5), 0);
    cr_assert_eq(map_now()->disks[4]->phase, TRILITH__DISK_PHASE__DISK_REMOVED);
}

Test(moves, a_target_is_not_removed)
{
    uint32_t pg = 1;
    while (pg_has_member(pg_of(pg), 5)) {
        pg++;
    }
    cr_assert_eq(begin(pg, pg_of(pg)->members[0], 5), STATUS_OK);
    cr_assert_eq(drain(5, true), STATUS_OK);
    empty_disk(5);
    cr_assert_eq(pgs_of(5), 0);
    cr_assert_eq(remove_disk(5), STATUS_NOT_EMPTY);
    cr_assert_eq(finish(pg, 5, false), STATUS_OK);
    cr_assert_eq(remove_disk(5), STATUS_OK);
}

Test(moves, a_node_is_removed_with_its_disks_and_comes_back_with_another)
{
    cr_assert_eq(remove_node(99), STATUS_NOT_FOUND);
    cr_assert_eq(remove_node(5), STATUS_NOT_EMPTY);
    cr_assert_eq(drain(5, true), STATUS_OK);
    empty_disk(5);
    cr_assert_eq(remove_disk(5), STATUS_OK);
    cr_assert_eq(remove_node(5), STATUS_OK);
    cr_assert_eq(remove_node(5), STATUS_OK);
    cr_assert_eq(map_now()->n_nodes, 4);
    cr_assert_eq(map_now()->n_disks, 4);

    cr_assert_eq(fixture_join(f, "node5", 5), STATUS_OK, "as it was");
    cr_assert_eq(map_now()->n_nodes, 4);
    cr_assert_eq(fixture_join_disks(f, "node5", "node5", 5, 2), STATUS_OK, "with a new disk");
    cr_assert_eq(f->outcome.id, 5);
    cr_assert_eq(map_now()->n_nodes, 5);
    cr_assert_eq(map_now()->n_disks, 6);
    cr_assert_eq(pgs_of(5), 0);
    cr_assert_gt(pgs_of(6), 0);
}
