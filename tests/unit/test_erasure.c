/* test_erasure.c - what is deleted is owed by every disk of its PGs until it is accounted for; orphans lose races. */
#include "tests/unit/meta_audit.h"

static struct meta_fixture fixture;
static struct meta_fixture *const f = &fixture;
static struct fixture_commit commit;

static void setup(void)
{
    fixture_open(f);
}

static void teardown(void)
{
    fixture_close(f);
}

static Trilith__Erasure *erasure_of(uint64_t id)
{
    Trilith__Erasure *erasure = NULL;
    cr_assert_eq(erasure_get(fixture_tables(f), id, &erasure), STATUS_OK);
    return erasure;
}

static size_t wipe_everywhere(Trilith__WipeOutcome outcome)
{
    size_t count = 0;
    for (uint32_t disk = 1; disk <= 4; disk++) {
        count += fixture_wipe_all(f, disk, outcome);
    }
    return count;
}

TestSuite(erasure, .init = setup, .fini = teardown);

Test(erasure, of_a_deleted_object_is_open_until_every_copy_is_accounted_for)
{
    cr_assert_eq(fixture_put(f, "a", 1, 3), STATUS_OK);
    cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
    uint64_t id = f->outcome.erasure_id;
    const Trilith__Erasure *erasure = erasure_of(id);
    cr_assert_str_eq(erasure->reason, "delete");
    cr_assert_eq(erasure->chunks, 3);
    cr_assert_eq(erasure->wipes_total, 9);
    cr_assert_eq(erasure->n_open_disks, 3);
    cr_assert_eq(erasure->closed_ms, 0);
    cr_assert_eq(state_cluster(f->state)->erasures_open, 1);

    uint32_t last = erasure->open_disks[2];
    for (uint32_t disk = 1; disk <= 4; disk++) {
        if (disk != last) {
            (void)fixture_wipe_all(f, disk, TRILITH__WIPE_OUTCOME__WIPE_WIPED);
        }
    }
    cr_assert_eq(erasure_of(id)->closed_ms, 0);
    cr_assert_eq(erasure_of(id)->n_open_disks, 1);
    cr_assert_eq(fixture_wipe_all(f, last, TRILITH__WIPE_OUTCOME__WIPE_NEVER_HELD), 3);
    cr_assert_eq(erasure_of(id)->closed_ms, 0, "its key still stands in the vault");
    cr_assert_eq(erasure_of(id)->n_open_disks, 0);
    f->now_ms += 1000;
    (void)fixture_close_epoch(f);
    cr_assert_eq(erasure_of(id)->closed_ms, f->now_ms);
    cr_assert_eq(state_cluster(f->state)->erasures_open, 0);
    cr_assert_not(erasure_disk_owes(state_tables(f->state), last));
}

Test(erasure, of_an_empty_object_has_only_a_key_to_lose)
{
    cr_assert_eq(fixture_put(f, "a", 1, 0), STATUS_OK);
    cr_assert_eq(fixture_put(f, "a", 1, 0), STATUS_OK);
    cr_assert_neq(f->outcome.erasure_id, 0);
    cr_assert_str_eq(erasure_of(1)->reason, "overwrite");
    cr_assert_eq(erasure_of(1)->closed_ms, 0);
    cr_assert_eq(state_cluster(f->state)->erasures_open, 1);
    (void)fixture_close_epoch(f);
    cr_assert_eq(erasure_of(1)->closed_ms, f->now_ms);
    cr_assert_eq(state_cluster(f->state)->erasures_open, 0);
}

Test(erasure, stays_open_when_a_device_refuses)
{
    cr_assert_eq(fixture_put(f, "a", 1, 1), STATUS_OK);
    cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
    uint64_t id = f->outcome.erasure_id;
    cr_assert_eq(wipe_everywhere(TRILITH__WIPE_OUTCOME__WIPE_FAILED), 3);
    cr_assert_eq(erasure_of(id)->wipes_done, 0);
    (void)fixture_close_epoch(f);
    cr_assert_eq(erasure_of(id)->closed_ms, 0);
    cr_assert(erasure_of(id)->key_destroyed);
    f->now_ms += 1000;
    cr_assert_eq(wipe_everywhere(TRILITH__WIPE_OUTCOME__WIPE_WIPED), 3);
    cr_assert_eq(erasure_of(id)->closed_ms, f->now_ms, "the later of the two");
    cr_assert_eq(erasure_of(id)->key_destroyed_ms, f->now_ms - 1000);
    cr_assert_eq(state_cluster(f->state)->erasures_open, 0);
}

/* ---- keys -------------------------------------------------------------------------------------- */

/* Delete an object of one chunk. Returns its erasure. */
static uint64_t put_and_delete(void)
{
    cr_assert_eq(fixture_put(f, "a", 1, 1), STATUS_OK);
    cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
    return f->outcome.erasure_id;
}

Test(erasure, waits_for_the_epoch_in_which_its_key_last_stood)
{
    (void)fixture_close_epoch(f);
    uint64_t before = put_and_delete();
    cr_assert_eq(fixture_seal(f, 2, 2), STATUS_OK);
    uint64_t behind = put_and_delete();
    (void)wipe_everywhere(TRILITH__WIPE_OUTCOME__WIPE_WIPED);
    cr_assert_eq(fixture_switch(f, 2, 2), STATUS_OK);
    cr_assert_not(erasure_of(before)->key_destroyed, "the old root may still be read");
    cr_assert_eq(state_cluster(f->state)->erasures_open, 2);
    f->now_ms += 1000;
    cr_assert_eq(fixture_erased(f, 1, 3), STATUS_OK);
    cr_assert(erasure_of(before)->key_destroyed);
    cr_assert_eq(erasure_of(before)->key_epoch, 1);
    cr_assert_eq(erasure_of(before)->key_destroyed_ms, f->now_ms);
    cr_assert_eq(erasure_of(before)->closed_ms, f->now_ms);
    cr_assert_not(erasure_of(behind)->key_destroyed, "it came behind the seal");
    cr_assert_eq(erasure_of(behind)->key_epoch, 0);
    cr_assert_eq(state_cluster(f->state)->erasures_open, 1);
    fixture_audit(f);
    cr_assert_eq(fixture_close_epoch(f), 2);
    cr_assert_eq(fixture_close_epoch(f), 3);
    cr_assert_eq(erasure_of(before)->key_epoch, 1, "later epochs had nothing to do with it");
    cr_assert_eq(erasure_of(behind)->key_epoch, 2);
    cr_assert_eq(state_cluster(f->state)->erasures_open, 0);
    fixture_audit(f);
}

Test(erasure, wipes_may_end_before_during_and_after_the_close)
{
    (void)fixture_close_epoch(f);
    uint64_t first = put_and_delete();
    (void)wipe_everywhere(TRILITH__WIPE_OUTCOME__WIPE_WIPED);
    uint64_t second = put_and_delete();
    cr_assert_eq(fixture_seal(f, 2, 2), STATUS_OK);
    (void)wipe_everywhere(TRILITH__WIPE_OUTCOME__WIPE_WIPED);
    fixture_audit(f);
    cr_assert_eq(fixture_seal(f, 2, 3), STATUS_OK, "another attempt");
    uint64_t third = put_and_delete();
    cr_assert_eq(fixture_switch(f, 2, 3), STATUS_OK);
    (void)wipe_everywhere(TRILITH__WIPE_OUTCOME__WIPE_WIPED);
    fixture_audit(f);
    cr_assert_eq(fixture_erased(f, 1, 7), STATUS_OK);
    cr_assert_neq(erasure_of(first)->closed_ms, 0);
    cr_assert_neq(erasure_of(second)->closed_ms, 0);
    cr_assert_eq(erasure_of(third)->closed_ms, 0);
    fixture_audit(f);
}

Test(erasure, of_chunks_that_were_given_up_claims_no_key)
{
    fixture_commit_prepare(f, &commit, "a", 1, 2);
    cr_assert_eq(fixture_condemn(f, TRILITH__CONDEMN_REASON__CONDEMN_ABORT, 0, commit.pointers, 1), STATUS_OK);
    uint64_t id = f->outcome.erasure_id;
    (void)wipe_everywhere(TRILITH__WIPE_OUTCOME__WIPE_WIPED);
    (void)fixture_close_epoch(f);
    cr_assert_neq(erasure_of(id)->closed_ms, 0);
    cr_assert_not(erasure_of(id)->key_destroyed, "the leaf may be used by what is written in the end");
    cr_assert_eq(erasure_of(id)->key_destroyed_ms, 0);
}

Test(erasure, of_a_write_that_was_given_up_takes_its_leaf)
{
    fixture_commit_prepare(f, &commit, "a", 1, 1);
    const struct leaf_at leaf = {.page = commit.object.page, .slot = commit.object.slot};
    cr_assert_eq(fixture_abort(f, commit.pointers, 1, leaf), STATUS_OK);
    cr_assert_eq(f->outcome.punctured_count, 1);
    cr_assert_neq(f->outcome.erasure_id, 0);
    commit.object.n_chunks = 0;
    commit.object.size = 0;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_CONFLICT, "its leaf is gone");
    cr_assert_eq(fixture_abort(f, NULL, 0, leaf), STATUS_OK);
    cr_assert_eq(f->outcome.punctured_count, 0, "once is enough");
    fixture_audit(f);

    fixture_commit_prepare(f, &commit, "b", 1, 1);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
    const struct leaf_at live = {.page = commit.object.page, .slot = commit.object.slot};
    cr_assert_eq(fixture_abort(f, commit.pointers, 1, live), STATUS_OK);
    cr_assert_eq(f->outcome.punctured_count, 0, "the commit came first");
    cr_assert_eq(f->outcome.erasure_id, 0);
    fixture_audit(f);
}

Test(erasure, is_pulled_in_pages_by_chunk)
{
    cr_assert_eq(fixture_put(f, "a", 1, 50), STATUS_OK);
    cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
    uint32_t disk = erasure_of(f->outcome.erasure_id)->open_disks[0];
    uint8_t after[16];
    bool more = true;
    size_t total = 0;
    while (more) {
        Trilith__WipePullReply reply = TRILITH__WIPE_PULL_REPLY__INIT;
        cr_assert_eq(erasure_pull(fixture_tables(f), disk, total == 0 ? NULL : after, 7, &reply), STATUS_OK);
        for (size_t i = 0; i < reply.n_wipes; i++) {
            cr_assert(total == 0 || memcmp(after, reply.wipes[i]->chunk_id.data, 16) < 0);
            memcpy(after, reply.wipes[i]->chunk_id.data, 16);
            total++;
        }
        more = reply.more;
    }
    cr_assert_eq(total, 50);
}

Test(erasure, ignores_reports_of_what_is_not_owed)
{
    cr_assert_eq(fixture_put(f, "a", 1, 1), STATUS_OK);
    cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
    uint64_t id = f->outcome.erasure_id;
    uint8_t unknown[16] = {1, 2, 3};
    Trilith__WipeResult result = TRILITH__WIPE_RESULT__INIT;
    Trilith__WipeResult *results[2] = {&result, &result};
    Trilith__RecordWipes wipes = TRILITH__RECORD_WIPES__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    result.chunk_id = (ProtobufCBinaryData){.data = unknown, .len = 16};
    result.erasure_id = id;
    result.outcome = TRILITH__WIPE_OUTCOME__WIPE_WIPED;
    wipes.disk_id = 1;
    wipes.results = results;
    wipes.n_results = 2;
    command.change_case = TRILITH__COMMAND__CHANGE_RECORD_WIPES;
    command.record_wipes = &wipes;
    cr_assert_eq(fixture_apply(f, &command), STATUS_OK);
    cr_assert_eq(erasure_of(id)->wipes_done, 0);
    result.outcome = TRILITH__WIPE_OUTCOME__WIPE_NONE;
    cr_assert_eq(fixture_apply(f, &command), STATUS_INVALID);
    result.outcome = TRILITH__WIPE_OUTCOME__WIPE_WIPED;
    result.chunk_id.len = 3;
    cr_assert_eq(fixture_apply(f, &command), STATUS_INVALID);
}

Test(erasure, counts_a_result_told_twice_once)
{
    cr_assert_eq(fixture_put(f, "a", 1, 1), STATUS_OK);
    fixture_commit_prepare(f, &commit, "b", 1, 1);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
    cr_assert_eq(fixture_delete(f, "photos", "b", 1), STATUS_OK);
    uint64_t id = f->outcome.erasure_id;
    uint32_t disk = erasure_of(id)->open_disks[0];
    Trilith__WipeResult result = TRILITH__WIPE_RESULT__INIT;
    Trilith__WipeResult *results[2] = {&result, &result};
    Trilith__RecordWipes wipes = TRILITH__RECORD_WIPES__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    result.chunk_id = (ProtobufCBinaryData){.data = commit.ids[0], .len = 16};
    result.erasure_id = id;
    result.outcome = TRILITH__WIPE_OUTCOME__WIPE_WIPED;
    wipes.disk_id = disk;
    wipes.results = results;
    wipes.n_results = 2;
    command.change_case = TRILITH__COMMAND__CHANGE_RECORD_WIPES;
    command.record_wipes = &wipes;
    cr_assert_eq(fixture_apply(f, &command), STATUS_OK);
    cr_assert_eq(fixture_apply(f, &command), STATUS_OK);
    cr_assert_eq(erasure_of(id)->wipes_done, 1);
}

/* ---- condemned chunks -------------------------------------------------------------------------- */

Test(erasure, abort_condemns_and_the_commit_loses)
{
    fixture_commit_prepare(f, &commit, "a", 1, 2);
    cr_assert_eq(fixture_condemn(f, TRILITH__CONDEMN_REASON__CONDEMN_ABORT, 0, commit.pointers, 1), STATUS_OK);
    uint64_t id = f->outcome.erasure_id;
    cr_assert_eq(erasure_of(id)->wipes_total, 3);
    cr_assert_str_eq(erasure_of(id)->reason, "abort");
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_CONFLICT);

    cr_assert_eq(fixture_condemn(f, TRILITH__CONDEMN_REASON__CONDEMN_ABORT, 0, commit.pointers, 1), STATUS_OK);
    cr_assert_eq(f->outcome.erasure_id, 0, "said twice, erased once");
    cr_assert_eq(wipe_everywhere(TRILITH__WIPE_OUTCOME__WIPE_NEVER_HELD), 3);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_CONFLICT, "condemned for ever");
}

Test(erasure, orphan_rule_leaves_committed_chunks_alone)
{
    fixture_commit_prepare(f, &commit, "a", 1, 2);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
    cr_assert_eq(fixture_condemn(f, TRILITH__CONDEMN_REASON__CONDEMN_ORPHAN, 1, commit.pointers, 2), STATUS_OK);
    cr_assert_eq(f->outcome.erasure_id, 0);
    cr_assert_eq(fixture_condemn(f, TRILITH__CONDEMN_REASON__CONDEMN_ABORT, 0, commit.pointers, 2), STATUS_OK);
    cr_assert_eq(f->outcome.erasure_id, 0);
    cr_assert_eq(wipe_everywhere(TRILITH__WIPE_OUTCOME__WIPE_WIPED), 0);
}

Test(erasure, orphan_is_owed_by_its_holder_even_outside_the_pg)
{
    Trilith__PgRecord *pg = NULL;
    fixture_commit_prepare(f, &commit, "a", 1, 1);
    cr_assert_eq(tables_get(fixture_tables(f), key_pg(f->pg), &trilith__pg_record__descriptor, &pg), STATUS_OK);
    uint32_t outsider = 1 + 2 + 3 + 4 - pg->members[0] - pg->members[1] - pg->members[2];
    cr_assert_eq(fixture_condemn(f, TRILITH__CONDEMN_REASON__CONDEMN_ORPHAN, outsider, commit.pointers, 1), STATUS_OK);
    cr_assert_eq(erasure_of(f->outcome.erasure_id)->wipes_total, 4);
    cr_assert_str_eq(erasure_of(f->outcome.erasure_id)->reason, "orphan");
}

Test(erasure, a_chunk_that_comes_back_is_erased_again_where_it_is)
{
    fixture_commit_prepare(f, &commit, "a", 1, 1);
    cr_assert_eq(fixture_condemn(f, TRILITH__CONDEMN_REASON__CONDEMN_ORPHAN, 1, commit.pointers, 1), STATUS_OK);
    cr_assert_eq(fixture_condemn(f, TRILITH__CONDEMN_REASON__CONDEMN_ORPHAN, 1, commit.pointers, 1), STATUS_OK);
    cr_assert_eq(f->outcome.erasure_id, 0, "owed already");
    (void)wipe_everywhere(TRILITH__WIPE_OUTCOME__WIPE_WIPED);
    cr_assert_eq(fixture_condemn(f, TRILITH__CONDEMN_REASON__CONDEMN_ORPHAN, 1, commit.pointers, 1), STATUS_OK);
    cr_assert_neq(f->outcome.erasure_id, 0);
    cr_assert_eq(erasure_of(f->outcome.erasure_id)->wipes_total, 1);
    cr_assert_eq(erasure_of(f->outcome.erasure_id)->open_disks[0], 1);
}

Test(erasure, a_deleted_chunk_asked_about_keeps_its_first_account)
{
    fixture_commit_prepare(f, &commit, "a", 1, 1);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
    cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
    uint64_t id = f->outcome.erasure_id;
    uint32_t disk = erasure_of(id)->open_disks[0];
    cr_assert_eq(fixture_condemn(f, TRILITH__CONDEMN_REASON__CONDEMN_ORPHAN, disk, commit.pointers, 1), STATUS_OK);
    cr_assert_eq(f->outcome.erasure_id, 0);
    cr_assert_eq(wipe_everywhere(TRILITH__WIPE_OUTCOME__WIPE_WIPED), 3);
    cr_assert_eq(erasure_of(id)->n_open_disks, 0);
}

Test(erasure, condemnation_refuses_what_is_malformed)
{
    fixture_commit_prepare(f, &commit, "a", 1, 2);
    commit.chunks[1].pg = 4242;
    cr_assert_eq(fixture_condemn(f, TRILITH__CONDEMN_REASON__CONDEMN_ABORT, 0, commit.pointers, 2), STATUS_INVALID);
    cr_assert_eq(erasure_find_condemned(fixture_tables(f), commit.ids[0]), STATUS_NOT_FOUND, "nothing was changed");
    cr_assert_eq(fixture_condemn(f, TRILITH__CONDEMN_REASON__CONDEMN_ORPHAN, 77, commit.pointers, 1), STATUS_INVALID);
    cr_assert_eq(fixture_condemn(f, TRILITH__CONDEMN_REASON__CONDEMN_ORPHAN, 0, commit.pointers, 1), STATUS_INVALID);
    cr_assert_eq(fixture_condemn(f, TRILITH__CONDEMN_REASON__CONDEMN_NONE, 0, commit.pointers, 1), STATUS_INVALID);
    const struct leaf_at leaf = {.page = commit.object.page, .slot = commit.object.slot};
    commit.chunks[0].chunk_id.len = 17;
    cr_assert_eq(fixture_abort(f, commit.pointers, 1, leaf), STATUS_INVALID);
    cr_assert_eq(fixture_condemn(f, TRILITH__CONDEMN_REASON__CONDEMN_ABORT, 0, commit.pointers, 1), STATUS_INVALID);
}

Test(erasure, are_listed_in_order)
{
    for (size_t i = 0; i < 5; i++) {
        cr_assert_eq(fixture_put(f, "a", 1, i % 2), STATUS_OK);
    }
    Trilith__ErasureListReply reply = TRILITH__ERASURE_LIST_REPLY__INIT;
    cr_assert_eq(erasure_list(fixture_tables(f), 0, 3, false, &reply), STATUS_OK);
    cr_assert_eq(reply.n_erasures, 3);
    cr_assert(reply.more);
    cr_assert_eq(reply.erasures[0]->id, 1);
    trilith__erasure_list_reply__init(&reply);
    cr_assert_eq(erasure_list(fixture_tables(f), 3, 3, false, &reply), STATUS_OK);
    cr_assert_eq(reply.n_erasures, 1);
    cr_assert_not(reply.more);
    trilith__erasure_list_reply__init(&reply);
    cr_assert_eq(erasure_list(fixture_tables(f), 0, 10, true, &reply), STATUS_OK);
    cr_assert_eq(reply.n_erasures, 4, "their keys still stand");
    trilith__erasure_list_reply__init(&reply);
    cr_assert_eq(erasure_list(fixture_tables(f), UINT64_MAX, 10, true, &reply), STATUS_OK);
    cr_assert_eq(reply.n_erasures, 0);
    Trilith__Erasure *missing = NULL;
    cr_assert_eq(erasure_get(fixture_tables(f), 999, &missing), STATUS_NOT_FOUND);
}

/* The ids of open erasures, listed `max` at a time, are `expected`, which ends with 0. */
static void expect_open(uint32_t max, const uint64_t *expected)
{
    uint64_t after = 0;
    bool more = true;
    for (size_t calls = 0; more; calls++) {
        Trilith__ErasureListReply reply = TRILITH__ERASURE_LIST_REPLY__INIT;
        cr_assert_lt(calls, 20);
        cr_assert_eq(erasure_list(fixture_tables(f), after, max, true, &reply), STATUS_OK);
        cr_assert_leq(reply.n_erasures, max);
        for (size_t i = 0; i < reply.n_erasures; i++) {
            cr_assert_eq(reply.erasures[i]->id, *expected++);
            cr_assert_eq(reply.erasures[i]->closed_ms, 0);
            after = reply.erasures[i]->id;
        }
        more = reply.more;
    }
    cr_assert_eq(*expected, 0);
}

Test(erasure, open_ones_are_listed_whatever_keeps_them_open)
{
    for (size_t i = 0; i < 5; i++) {
        cr_assert_eq(fixture_put(f, "a", 1, i % 2), STATUS_OK);
    }
    expect_open(9, (const uint64_t[]){1, 2, 3, 4, 0});
    (void)fixture_close_epoch(f);
    expect_open(9, (const uint64_t[]){2, 4, 0});
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(fixture_put(f, "a", 1, 1), STATUS_OK);
    }
    for (uint32_t max = 1; max < 7; max++) {
        expect_open(max, (const uint64_t[]){2, 4, 5, 6, 7, 0});
    }
    (void)wipe_everywhere(TRILITH__WIPE_OUTCOME__WIPE_WIPED);
    for (uint32_t max = 1; max < 7; max++) {
        expect_open(max, (const uint64_t[]){5, 6, 7, 0});
    }
    (void)fixture_close_epoch(f);
    expect_open(3, (const uint64_t[]){0});
}
