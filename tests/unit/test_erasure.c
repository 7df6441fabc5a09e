/* test_erasure.c - what is deleted is owed by every disk of its PGs until it is accounted for; orphans lose races. */
#include "tests/unit/meta_audit.h"

#include "base/digest.h"

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

/* ---- what is kept for a certificate ------------------------------------------------------------ */

Test(erasure, notes_the_facts_of_a_version)
{
    char who[] = "AKIAEXAMPLE000000001";
    f->requested_by = who;
    f->has_salt = true;
    memset(f->ref_salt, 0x5a, sizeof(f->ref_salt));
    fixture_commit_prepare(f, &commit, "a", 1, 2);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
    uint64_t created_ms = f->now_ms;
    f->now_ms += 5000;
    cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
    uint64_t id = f->outcome.erasure_id;
    const Trilith__ErasureRecord *record = fixture_erasure(f, id);
    cr_assert_eq(record->tenant_id, f->tenant);
    cr_assert_eq(record->bucket_id, f->bucket);
    cr_assert_arr_eq(record->version_id.data, commit.version, 16);
    cr_assert_eq(record->object_bytes, 2000);
    cr_assert_eq(record->created_ms, created_ms);
    cr_assert_eq(record->requested_ms, f->now_ms);
    cr_assert_eq(record->punctured_ms, f->now_ms);
    cr_assert_eq(record->suite, 1);
    cr_assert_eq(record->dek_version, 1);
    cr_assert_eq(record->page, commit.object.page);
    cr_assert_eq(record->slot, commit.object.slot);
    cr_assert_str_eq(record->requested_by, who);
    cr_assert_eq(record->index, f->index);
    cr_assert_eq(record->punctured_index, f->index);
    cr_assert_eq(record->seal, state_cluster(f->state)->seal + 1);

    uint8_t named[16 + 7 + 1], expected[32];
    memcpy(named, commit.version, 16);
    memcpy(named + 16, "photos", 7);
    named[23] = 'a';
    hmac_sha256(f->ref_salt, 32, named, sizeof(named), expected);
    cr_assert_eq(record->object_ref.len, 32);
    cr_assert_arr_eq(record->object_ref.data, expected, 32);
}

/* SHA-256 over `head` and who owes what, chunk by chunk in the order of the version, disk by disk in that of the PG. */
static void plan_of(struct meta_fixture *on, size_t chunk_count, const uint8_t *head, uint8_t sum[32])
{
    Trilith__PgRecord *pg = NULL;
    struct digest digest;
    cr_assert_eq(tables_get(fixture_tables(on), key_pg(on->pg), &trilith__pg_record__descriptor, &pg), STATUS_OK);
    digest_begin(&digest, DIGEST_SHA256);
    digest_update(&digest, head, head != NULL ? 32 : 0);
    for (size_t i = 0; i < chunk_count; i++) {
        for (size_t m = 0; m < pg->n_members; m++) {
            const uint8_t disk[4] = {0, 0, 0, (uint8_t)pg->members[m]};
            digest_update(&digest, disk, 4);
            digest_update(&digest, commit.ids[i], 16);
        }
    }
    digest_end(&digest, sum);
}

Test(erasure, plan_is_every_wipe_in_its_order)
{
    uint8_t expected[32];
    fixture_commit_prepare(f, &commit, "a", 1, 60);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
    cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
    plan_of(f, 60, NULL, expected);
    const Trilith__ErasureRecord *record = fixture_erasure(f, f->outcome.erasure_id);
    cr_assert_eq(record->wipes_total, 180);
    cr_assert_eq(record->plan_sha256.len, 32);
    cr_assert_arr_eq(record->plan_sha256.data, expected, 32);
}

Test(erasure, without_a_salt_names_no_object)
{
    cr_assert_eq(fixture_put(f, "a", 1, 1), STATUS_OK);
    cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
    cr_assert_eq(fixture_erasure(f, f->outcome.erasure_id)->object_ref.len, 0);
}

static Trilith__DiskWipesRecord *wipes_of(uint64_t id, uint32_t disk)
{
    Trilith__DiskWipesRecord *wipes = NULL;
    cr_assert_eq(
        tables_get(fixture_tables(f), key_disk_wipes(id, disk), &trilith__disk_wipes_record__descriptor, &wipes),
        STATUS_OK);
    return wipes;
}

Test(erasure, keeps_what_each_disk_attested)
{
    uint64_t id = put_and_delete();
    uint32_t disk = erasure_of(id)->open_disks[0];
    uint32_t other = erasure_of(id)->open_disks[1];
    cr_assert_eq(fixture_wipe_attested(f, disk, TRILITH__WIPE_OUTCOME__WIPE_WIPED, "h.p.s"), 1);
    uint8_t sum[32];
    sha256("h.p.s", 5, sum);
    const Trilith__DiskWipesRecord *wipes = wipes_of(id, disk);
    cr_assert_eq(wipes->wiped, 1);
    cr_assert_eq(wipes->bytes, 4096);
    cr_assert_eq(wipes->node_id, disk, "one disk per node");
    cr_assert_eq(wipes->finished_ms, f->now_ms);
    cr_assert_eq(wipes->n_attestations, 1);
    cr_assert_arr_eq(wipes->attestations[0].data, sum, 32);
    Trilith__AttestationRecord *attestation = NULL;
    cr_assert_eq(erasure_attestation(fixture_tables(f), sum, &attestation), STATUS_OK);
    cr_assert_eq(attestation->disk_id, disk);
    cr_assert_arr_eq(attestation->jws.data, "h.p.s", 5);

    cr_assert_eq(fixture_wipe_attested(f, other, TRILITH__WIPE_OUTCOME__WIPE_FAILED, "refused"), 1);
    sha256("refused", 7, sum);
    cr_assert_eq(erasure_attestation(fixture_tables(f), sum, &attestation), STATUS_NOT_FOUND,
                 "it accounts for nothing");
    cr_assert_eq(fixture_wipe_attested(f, other, TRILITH__WIPE_OUTCOME__WIPE_NEVER_HELD, "never"), 1);
    cr_assert_eq(wipes_of(id, other)->never_held, 1);
    cr_assert_eq(wipes_of(id, other)->wiped, 0);
    struct erasure_facts facts;
    cr_assert_eq(erasure_facts(fixture_tables(f), id, &facts), STATUS_OK);
    cr_assert_eq(facts.disk_count, 3);
    cr_assert_not(facts.keys_gone);
    uint64_t owed = 0;
    for (size_t i = 0; i < facts.disk_count; i++) {
        cr_assert(i == 0 || facts.disks[i - 1].disk_id < facts.disks[i].disk_id);
        owed += facts.disks[i].owed;
    }
    cr_assert_eq(owed, 1);
}

Test(erasure, chains_all_attestations_of_a_disk_and_notes_the_least_technique)
{
    uint8_t chain[32];
    size_t chain_bytes = 0;
    uint64_t id = 0;
    /* One chunk at a time. */
    fixture_commit_prepare(f, &commit, "a", 1, FIXTURE_CHUNKS_MAX);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
    cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
    id = f->outcome.erasure_id;
    uint32_t disk = erasure_of(id)->open_disks[0];
    for (size_t i = 0; i < FIXTURE_CHUNKS_MAX; i++) {
        Trilith__WipeResult result = TRILITH__WIPE_RESULT__INIT;
        Trilith__WipeResult *results[1] = {&result};
        Trilith__RecordWipes wipes = TRILITH__RECORD_WIPES__INIT;
        Trilith__Command command = TRILITH__COMMAND__INIT;
        uint8_t jws[2] = {(uint8_t)(i >> 8), (uint8_t)i};
        uint8_t linked[64];
        result.chunk_id = (ProtobufCBinaryData){.data = commit.ids[i], .len = 16};
        result.erasure_id = id;
        result.outcome = TRILITH__WIPE_OUTCOME__WIPE_WIPED;
        result.technique =
            i == 7 ? TRILITH__WIPE_TECHNIQUE__TECHNIQUE_OVERWRITE : TRILITH__WIPE_TECHNIQUE__TECHNIQUE_DOD3;
        wipes.disk_id = disk;
        wipes.results = results;
        wipes.n_results = 1;
        wipes.attestation = (ProtobufCBinaryData){.data = jws, .len = 2};
        command.change_case = TRILITH__COMMAND__CHANGE_RECORD_WIPES;
        command.record_wipes = &wipes;
        cr_assert_eq(fixture_apply(f, &command), STATUS_OK);
        memcpy(linked, chain, chain_bytes);
        sha256(jws, 2, linked + chain_bytes);
        sha256(linked, chain_bytes + 32, chain);
        chain_bytes = 32;
        Trilith__WipeTechnique least =
            i < 7 ? TRILITH__WIPE_TECHNIQUE__TECHNIQUE_DOD3 : TRILITH__WIPE_TECHNIQUE__TECHNIQUE_OVERWRITE;
        cr_assert_eq(wipes_of(id, disk)->technique, least, "the least that was used");
    }
    const Trilith__DiskWipesRecord *wipes = wipes_of(id, disk);
    cr_assert_eq(wipes->attestations_count, FIXTURE_CHUNKS_MAX);
    cr_assert_eq(wipes->n_attestations, FIXTURE_CHUNKS_MAX);
    cr_assert_arr_eq(wipes->attestations_chain.data, chain, 32);
}

Test(erasure, tells_nodes_how_the_bucket_wants_it_done)
{
    cr_assert_eq(fixture_bucket_set(f, 0, TRILITH__WIPE_TECHNIQUE__TECHNIQUE_DOD3), STATUS_OK);
    uint64_t id = put_and_delete();
    Trilith__WipePullReply reply = TRILITH__WIPE_PULL_REPLY__INIT;
    cr_assert_eq(erasure_pull(fixture_tables(f), erasure_of(id)->open_disks[0], NULL, 10, &reply), STATUS_OK);
    cr_assert_eq(reply.n_wipes, 1);
    cr_assert_eq(reply.wipes[0]->technique, TRILITH__WIPE_TECHNIQUE__TECHNIQUE_DOD3);
    cr_assert_eq(reply.wipes[0]->erasure_id, id);
    (void)wipe_everywhere(TRILITH__WIPE_OUTCOME__WIPE_WIPED);
    cr_assert_eq(erasure_of(id)->wipes_done, 3);
}

/* ---- where chunks are, were, and are about to be ------------------------------------------------ */

static Trilith__PgRecord *pg_of(struct meta_fixture *on)
{
    Trilith__PgRecord *pg = NULL;
    cr_assert_eq(tables_get(fixture_tables(on), key_pg(on->pg), &trilith__pg_record__descriptor, &pg), STATUS_OK);
    return pg;
}

/* The one disk of four that is no member of the fixture's PG. */
static uint32_t outsider_of(const Trilith__PgRecord *pg)
{
    return 1 + 2 + 3 + 4 - pg->members[0] - pg->members[1] - pg->members[2];
}

Test(erasure, is_owed_by_a_disk_that_takes_the_pg_over)
{
    cr_assert_eq(fixture_put(f, "a", 1, 1), STATUS_OK);
    Trilith__PgRecord *pg = pg_of(f);
    uint32_t target = outsider_of(pg);
    pg->target = target;
    pg->leaving = pg->members[0];
    fixture_row(f, key_pg(f->pg), pg);
    cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
    uint64_t id = f->outcome.erasure_id;
    cr_assert_eq(erasure_of(id)->wipes_total, 4);
    cr_assert_eq(erasure_of(id)->n_open_disks, 4);
    cr_assert(erasure_disk_owes(fixture_tables(f), target));
}

Test(erasure, of_a_copy_that_was_moved_away_is_for_that_disk_alone)
{
    fixture_commit_prepare(f, &commit, "a", 1, 1);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
    uint32_t outsider = outsider_of(pg_of(f));
    uint32_t member = pg_of(f)->members[0];
    cr_assert_eq(erasure_find_moved(fixture_tables(f), member, commit.ids[0]), STATUS_NOT_FOUND);
    cr_assert_eq(erasure_find_moved(fixture_tables(f), outsider, commit.ids[0]), STATUS_OK);
    cr_assert_eq(fixture_condemn(f, TRILITH__CONDEMN_REASON__CONDEMN_ORPHAN, outsider, commit.pointers, 1), STATUS_OK);
    uint64_t id = f->outcome.erasure_id;
    cr_assert_str_eq(erasure_of(id)->reason, "move");
    cr_assert_eq(erasure_of(id)->wipes_total, 1);
    cr_assert_eq(erasure_of(id)->open_disks[0], outsider);
    cr_assert_not(erasure_of(id)->certifiable);
    cr_assert_eq(erasure_find_condemned(fixture_tables(f), commit.ids[0]), STATUS_NOT_FOUND, "it is in use");
    cr_assert_eq(tables_find(fixture_tables(f), key_chunk(commit.ids[0])), STATUS_OK);
    cr_assert_eq(fixture_condemn(f, TRILITH__CONDEMN_REASON__CONDEMN_ORPHAN, outsider, commit.pointers, 1), STATUS_OK);
    cr_assert_eq(f->outcome.erasure_id, 0, "owed already");
    cr_assert_eq(fixture_condemn(f, TRILITH__CONDEMN_REASON__CONDEMN_ORPHAN, member, commit.pointers, 1), STATUS_OK);
    cr_assert_eq(f->outcome.erasure_id, 0, "a member's copy stays");

    Trilith__PgRecord *pg = pg_of(f);
    pg->target = outsider;
    fixture_row(f, key_pg(f->pg), pg);
    cr_assert_eq(erasure_find_moved(fixture_tables(f), outsider, commit.ids[0]), STATUS_NOT_FOUND,
                 "it is about to be a member");
    (void)wipe_everywhere(TRILITH__WIPE_OUTCOME__WIPE_WIPED);
    (void)fixture_close_epoch(f);
    cr_assert_neq(erasure_of(id)->closed_ms, 0);
    cr_assert_not(erasure_of(id)->key_destroyed, "the key is in use");
    fixture_audit(f);
}

/* A copy that was moved away is not wiped yet when its object is deleted: the object's erasure must wait for it. */
Test(erasure, takes_over_what_is_still_owed_of_a_copy_that_was_moved_away)
{
    fixture_commit_prepare(f, &commit, "a", 1, 2);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
    Trilith__PgRecord *pg = pg_of(f);
    uint32_t former = outsider_of(pg);
    pg->former = &former;
    pg->n_former = 1;
    fixture_row(f, key_pg(f->pg), pg);
    cr_assert_eq(fixture_condemn(f, TRILITH__CONDEMN_REASON__CONDEMN_ORPHAN, former, commit.pointers, 2), STATUS_OK);
    uint64_t moved = f->outcome.erasure_id;
    cr_assert_eq(erasure_of(moved)->wipes_total, 2);
    cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
    uint64_t id = f->outcome.erasure_id;
    cr_assert_neq(id, moved);
    cr_assert_eq(erasure_of(id)->wipes_total, 8, "of three members and a former one");
    cr_assert_eq(erasure_of(id)->n_open_disks, 4);
    cr_assert_eq(erasure_of(moved)->wipes_total, 0);
    cr_assert_eq(erasure_of(moved)->n_open_disks, 0);
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(fixture_wipe_all(f, pg_of(f)->members[i], TRILITH__WIPE_OUTCOME__WIPE_WIPED), 2);
    }
    (void)fixture_close_epoch(f);
    cr_assert_eq(erasure_of(id)->closed_ms, 0, "one disk has yet to say");
    cr_assert_neq(erasure_of(moved)->closed_ms, 0);
    (void)wipe_everywhere(TRILITH__WIPE_OUTCOME__WIPE_WIPED);
    cr_assert_neq(erasure_of(id)->closed_ms, 0);
    cr_assert_eq(state_cluster(f->state)->erasures_open, 0);
    fixture_audit(f);
}

Test(erasure, orphans_and_moved_copies_of_one_report_are_two_erasures)
{
    fixture_commit_prepare(f, &commit, "a", 1, 1);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
    static struct fixture_commit never;
    fixture_commit_prepare(f, &never, "b", 1, 1);
    uint32_t outsider = outsider_of(pg_of(f));
    Trilith__ChunkRef *both[2] = {commit.pointers[0], never.pointers[0]};
    cr_assert_eq(fixture_condemn(f, TRILITH__CONDEMN_REASON__CONDEMN_ORPHAN, outsider, both, 2), STATUS_OK);
    uint64_t id = f->outcome.erasure_id;
    cr_assert_str_eq(erasure_of(id)->reason, "orphan");
    cr_assert_eq(erasure_of(id)->wipes_total, 4);
    uint64_t other = id == 1 ? 2 : 1;
    cr_assert_str_eq(erasure_of(other)->reason, "move");
    cr_assert_eq(erasure_of(other)->wipes_total, 1);
    fixture_audit(f);
}

static void disk_remove(uint32_t disk_id, bool dead)
{
    Trilith__MapDisk *disk = NULL;
    cr_assert_eq(registry_disk(fixture_tables(f), disk_id, &disk), STATUS_OK);
    disk->phase = TRILITH__DISK_PHASE__DISK_REMOVED;
    disk->dead = dead;
    fixture_row(f, key_disk(disk_id), disk);
}

static bool settle_removed(uint32_t disk_id, bool dead, uint32_t max)
{
    struct fixture_change direct;
    bool more = false;
    cr_assert_eq(erasure_settle_removed(fixture_change_begin(f, &direct), disk_id, dead, max, &more), STATUS_OK);
    fixture_change_end(f, &direct);
    return more;
}

Test(erasure, what_a_removed_disk_owed_is_settled_in_parts)
{
    cr_assert_eq(fixture_put(f, "a", 1, 3), STATUS_OK);
    cr_assert_eq(fixture_put(f, "b", 1, 2), STATUS_OK);
    uint32_t disk = pg_of(f)->members[1];
    cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
    cr_assert_eq(fixture_delete(f, "photos", "b", 1), STATUS_OK);
    disk_remove(disk, true);
    for (uint32_t other = 1; other <= 4; other++) {
        if (other != disk) {
            (void)fixture_wipe_all(f, other, TRILITH__WIPE_OUTCOME__WIPE_WIPED);
        }
    }
    cr_assert_eq(erasure_of(1)->n_open_disks, 1);
    cr_assert(settle_removed(disk, true, 2));
    cr_assert(settle_removed(disk, true, 2));
    cr_assert_not(settle_removed(disk, true, 2));
    cr_assert_not(erasure_disk_owes(fixture_tables(f), disk));
    cr_assert_eq(erasure_of(1)->n_open_disks, 0);
    cr_assert_eq(wipes_of(1, disk)->removed, 3);
    cr_assert_eq(wipes_of(2, disk)->removed, 2);
    cr_assert(wipes_of(1, disk)->dead);
    cr_assert_eq(wipes_of(1, disk)->wiped, 0);
    cr_assert_eq(state_cluster(f->state)->certificates_due, 2);
    fixture_audit(f);
    (void)fixture_close_epoch(f);
    cr_assert_neq(erasure_of(1)->closed_ms, 0);
    fixture_audit(f);
}

Test(erasure, does_not_ask_a_disk_that_is_gone)
{
    cr_assert_eq(fixture_put(f, "a", 1, 2), STATUS_OK);
    uint32_t disk = pg_of(f)->members[0];
    disk_remove(disk, false);
    cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
    uint64_t id = f->outcome.erasure_id;
    cr_assert_eq(erasure_of(id)->wipes_total, 6);
    cr_assert_eq(erasure_of(id)->wipes_done, 2);
    cr_assert_eq(erasure_of(id)->n_open_disks, 2);
    cr_assert_eq(wipes_of(id, disk)->removed, 2);
    cr_assert_not(wipes_of(id, disk)->dead);
    (void)wipe_everywhere(TRILITH__WIPE_OUTCOME__WIPE_WIPED);
    (void)fixture_close_epoch(f);
    cr_assert_neq(erasure_of(id)->closed_ms, 0);
    fixture_audit(f);
}

/* A disk that was removed, dead or not, and says that it holds a copy: it is back, and must wipe. Where there are only
 * rows that it once was a member, it is not asked. */
Test(erasure, is_owed_by_a_removed_disk_that_says_it_has_a_copy)
{
    struct fixture_commit standing;
    fixture_commit_prepare(f, &standing, "b", 2, 1);
    cr_assert_eq(fixture_commit_apply(f, &standing), STATUS_OK);
    fixture_commit_prepare(f, &commit, "a", 1, 2);
    uint32_t disk = pg_of(f)->members[0];
    disk_remove(disk, true);
    cr_assert_eq(fixture_condemn(f, TRILITH__CONDEMN_REASON__CONDEMN_ORPHAN, disk, commit.pointers, 1), STATUS_OK);
    uint64_t id = f->outcome.erasure_id;
    cr_assert_eq(erasure_of(id)->wipes_total, 3);
    cr_assert_eq(erasure_of(id)->wipes_done, 0, "a member that holds it owes it, removed or not");
    cr_assert(erasure_disk_owes(fixture_tables(f), disk));
    cr_assert_eq(fixture_condemn(f, TRILITH__CONDEMN_REASON__CONDEMN_ABORT, 0, commit.pointers + 1, 1), STATUS_OK);
    cr_assert_eq(erasure_of(f->outcome.erasure_id)->wipes_done, 1, "it is not asked about what it did not name");

    (void)wipe_everywhere(TRILITH__WIPE_OUTCOME__WIPE_WIPED);
    cr_assert_eq(fixture_condemn(f, TRILITH__CONDEMN_REASON__CONDEMN_ORPHAN, disk, commit.pointers, 1), STATUS_OK);
    cr_assert_neq(f->outcome.erasure_id, 0, "it has it again");
    cr_assert(erasure_disk_owes(fixture_tables(f), disk));
    fixture_audit(f);
}

/* ---- grace time -------------------------------------------------------------------------------- */

Test(erasure, with_a_grace_time_is_judged_by_its_own_puncture)
{
    (void)fixture_close_epoch(f);
    cr_assert_eq(fixture_bucket_set(f, 5000, TRILITH__WIPE_TECHNIQUE__TECHNIQUE_OVERWRITE), STATUS_OK);
    uint64_t graced = put_and_delete();
    cr_assert_neq(graced, 0);
    cr_assert_eq(erasure_of(graced)->wipes_total, 0);
    cr_assert_eq(erasure_of(graced)->closed_ms, 0);
    cr_assert_eq(erasure_of(graced)->grace_until_ms, f->now_ms + 5000);
    cr_assert_str_eq(erasure_of(graced)->waiting, "the end of its grace time");
    fixture_audit(f);
    (void)fixture_close_epoch(f);
    cr_assert_gt(state_cluster(f->state)->keys_destroyed_below, graced, "its id says nothing");
    cr_assert_eq(erasure_of(graced)->closed_ms, 0);
    cr_assert_not(erasure_of(graced)->key_destroyed);
    expect_open(3, (const uint64_t[]){graced, 0});
    fixture_audit(f);

    f->now_ms += 6000;
    cr_assert_eq(fixture_grace_end(f), STATUS_OK);
    cr_assert_eq(erasure_of(graced)->wipes_total, 3);
    cr_assert_eq(erasure_of(graced)->grace_until_ms, 0);
    expect_open(3, (const uint64_t[]){graced, 0});
    fixture_wipe_everywhere(f);
    cr_assert_eq(erasure_of(graced)->closed_ms, 0, "its key stands");
    expect_open(3, (const uint64_t[]){graced, 0});
    cr_assert_eq(state_cluster(f->state)->certificates_due, 1);
    fixture_audit(f);
    uint64_t epoch = state_cluster(f->state)->epoch;
    f->now_ms += 1000;
    (void)fixture_close_epoch(f);
    cr_assert_eq(erasure_of(graced)->closed_ms, f->now_ms);
    cr_assert_eq(erasure_of(graced)->key_epoch, epoch);
    cr_assert_eq(state_cluster(f->state)->erasures_open, 0);
    expect_open(3, (const uint64_t[]){0});
    fixture_audit(f);
}

Test(erasure, with_a_grace_time_that_ends_while_an_epoch_closes_waits_for_the_next)
{
    (void)fixture_close_epoch(f);
    cr_assert_eq(fixture_bucket_set(f, 5000, TRILITH__WIPE_TECHNIQUE__TECHNIQUE_OVERWRITE), STATUS_OK);
    uint64_t graced = put_and_delete();
    f->now_ms += 6000;
    cr_assert_eq(fixture_seal(f, 2, 2), STATUS_OK);
    cr_assert_eq(fixture_grace_end(f), STATUS_OK);
    fixture_wipe_everywhere(f);
    fixture_audit(f);
    cr_assert_eq(fixture_switch(f, 2, 2), STATUS_OK);
    cr_assert_eq(fixture_erased(f, 1, 3), STATUS_OK);
    cr_assert_gt(state_cluster(f->state)->keys_destroyed_below, graced);
    cr_assert_eq(erasure_of(graced)->closed_ms, 0, "its puncture came behind the seal");
    expect_open(1, (const uint64_t[]){graced, 0});
    fixture_audit(f);
    cr_assert_eq(fixture_close_epoch(f), 2);
    cr_assert_neq(erasure_of(graced)->closed_ms, 0);
    cr_assert_eq(erasure_of(graced)->key_epoch, 2);
    fixture_audit(f);
}

Test(erasure, that_was_taken_back_is_over_and_claims_nothing)
{
    cr_assert_eq(fixture_bucket_set(f, 5000, TRILITH__WIPE_TECHNIQUE__TECHNIQUE_OVERWRITE), STATUS_OK);
    uint64_t id = put_and_delete();
    Trilith__ErasureUndoRequest undo = TRILITH__ERASURE_UNDO_REQUEST__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    undo.id = id;
    command.change_case = TRILITH__COMMAND__CHANGE_ERASURE_UNDO;
    command.erasure_undo = &undo;
    cr_assert_eq(fixture_apply(f, &command), STATUS_OK);
    cr_assert_eq(erasure_of(id)->taken_back_ms, f->now_ms);
    cr_assert_not(erasure_of(id)->certifiable);
    cr_assert_not(erasure_of(id)->key_destroyed);
    cr_assert_str_eq(erasure_of(id)->waiting, "");
    expect_open(3, (const uint64_t[]){0});
    cr_assert_eq(state_cluster(f->state)->erasures_open, 0);
    fixture_audit(f);
    (void)fixture_close_epoch(f);
    cr_assert_not(erasure_of(id)->key_destroyed);
    cr_assert_eq(state_cluster(f->state)->certificates_due, 0);
    fixture_audit(f);
}

/* ---- whole tenants ----------------------------------------------------------------------------- */

static uint64_t open_whole(void)
{
    struct fixture_change direct;
    cr_assert_eq(erasure_open_whole(fixture_change_begin(f, &direct), f->tenant, 9, "Ada", f->now_ms), STATUS_OK);
    fixture_change_end(f, &direct);
    uint64_t id = f->outcome.erasure_id;
    Trilith__TenantRecord *tenant = fixture_tenant(f, f->tenant);
    tenant->erasure_id = id;
    fixture_row(f, key_tenant(f->tenant), tenant);
    return id;
}

/* The version of a key goes to the tenant's erasure, and, when asked, so do all leaves of the bucket with it. */
static void fill(uint64_t id, char *key, bool drop, bool complete)
{
    struct fixture_change direct;
    struct change *change = fixture_change_begin(f, &direct);
    enum status status = STATUS_OK;
    Trilith__Object *version = NULL;
    struct erasure_draft *draft = erasure_fill_begin(change, id, &status);
    Trilith__BucketRecord *bucket = NULL;
    cr_assert_not_null(draft);
    cr_assert_eq(catalog_bucket_by_id(change->tables, f->bucket, &bucket), STATUS_OK);
    bucket->keyless -= key != NULL ? 1 : 0;
    if (key != NULL) {
        const ProtobufCBinaryData name = {.data = (uint8_t *)key, .len = strlen(key)};
        cr_assert_eq(catalog_object(change->tables, f->bucket, name, &version), STATUS_OK);
        cr_assert_eq(erasure_fill_version(draft, version), STATUS_OK);
        tables_delete(change->tables, key_object(f->bucket, name.data, name.len));
    }
    if (drop) {
        uint64_t dropped = 0;
        bool more = false;
        cr_assert_eq(leaves_drop_live(change, f->tenant, f->bucket, 100, &dropped, &more), STATUS_OK);
        cr_assert_not(more);
        direct.cluster.objects -= dropped;
        bucket->keyless += dropped;
    }
    tables_put(change->tables, key_bucket(f->bucket), bucket);
    cr_assert_eq(erasure_fill_end(draft, complete), STATUS_OK);
    fixture_change_end(f, &direct);
}

Test(erasure, of_a_tenant_is_filled_by_several_commands_and_closed_when_complete)
{
    char a[] = "a", b[] = "b";
    (void)fixture_close_epoch(f);
    cr_assert_eq(fixture_put(f, "a", 1, 2), STATUS_OK);
    fixture_commit_prepare(f, &commit, "b", 1, 1);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
    uint64_t id = open_whole();
    cr_assert_str_eq(erasure_of(id)->reason, "tenant");
    cr_assert_eq(fixture_erasure(f, id)->plan_sha256.len, 0);
    cr_assert_str_eq(erasure_of(id)->waiting, "the rest of what is the tenant's");
    fill(id, a, true, false);
    fixture_audit(f);
    fixture_wipe_everywhere(f);
    cr_assert_eq(erasure_of(id)->wipes_done, 6);
    cr_assert_eq(state_cluster(f->state)->certificates_due, 0, "more may come");
    (void)fixture_close_epoch(f);
    cr_assert_eq(erasure_of(id)->closed_ms, 0);
    uint8_t first_plan[32], plan[32];
    memcpy(first_plan, fixture_erasure(f, id)->plan_sha256.data, 32);
    fill(id, b, false, true);
    plan_of(f, 1, first_plan, plan);
    cr_assert_arr_eq(fixture_erasure(f, id)->plan_sha256.data, plan, 32, "it goes on from the one before");
    fixture_audit(f);
    enum status status = STATUS_OK;
    struct fixture_change direct;
    cr_assert_null(erasure_fill_begin(fixture_change_begin(f, &direct), id, &status));
    cr_assert_eq(status, STATUS_CONFLICT, "it is complete");
    cr_assert_eq(erasure_of(id)->closed_ms, 0);
    cr_assert_eq(erasure_of(id)->wipes_total, 9);
    cr_assert_eq(fixture_erasure(f, id)->versions, 2);
    cr_assert_eq(fixture_erasure(f, id)->object_bytes, 3000);
    fixture_wipe_everywhere(f);
    cr_assert_neq(erasure_of(id)->closed_ms, 0, "the keys went with the epoch before");
    cr_assert_eq(erasure_of(id)->key_epoch, 1);
    cr_assert_eq(state_cluster(f->state)->certificates_due, 1);
    fixture_audit(f);
}

/* A chunk of the tenant that no object has turns up on a disk. */
static enum status orphan_turns_up(uint32_t disk, uint64_t tenant)
{
    Trilith__CondemnChunks condemn = TRILITH__CONDEMN_CHUNKS__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    uint64_t tenants[1] = {tenant};
    condemn.reason = TRILITH__CONDEMN_REASON__CONDEMN_ORPHAN;
    condemn.disk_id = disk;
    condemn.chunks = commit.pointers;
    condemn.n_chunks = 1;
    condemn.tenant_ids = tenants;
    condemn.n_tenant_ids = 1;
    command.change_case = TRILITH__COMMAND__CHANGE_CONDEMN_CHUNKS;
    command.condemn_chunks = &condemn;
    return fixture_apply(f, &command);
}

Test(erasure, of_a_tenant_opens_again_when_more_turns_up)
{
    (void)fixture_close_epoch(f);
    fixture_commit_prepare(f, &commit, "late", 4, 1);
    cr_assert_eq(fixture_put(f, "a", 1, 1), STATUS_OK);
    uint64_t id = open_whole();
    char a[] = "a";
    fill(id, a, true, true);
    fixture_wipe_everywhere(f);
    (void)fixture_close_epoch(f);
    cr_assert_neq(erasure_of(id)->closed_ms, 0);
    cr_assert_eq(state_cluster(f->state)->certificates_due, 1);

    cr_assert_eq(orphan_turns_up(2, f->tenant), STATUS_OK);
    cr_assert_eq(f->outcome.erasure_id, id);
    cr_assert_eq(erasure_of(id)->closed_ms, 0);
    cr_assert_eq(erasure_of(id)->reopened, 1);
    cr_assert_eq(state_cluster(f->state)->certificates_due, 0);
    cr_assert_eq(state_cluster(f->state)->erasures_open, 1);
    expect_open(1, (const uint64_t[]){id, 0});
    fixture_audit(f);
    fixture_wipe_everywhere(f);
    cr_assert_neq(erasure_of(id)->closed_ms, 0);
    cr_assert_eq(state_cluster(f->state)->certificates_due, 1);
    expect_open(1, (const uint64_t[]){0});
    fixture_audit(f);

    /* A chunk of a tenant that lives is an orphan like any other. */
    fixture_commit_prepare(f, &commit, "other", 5, 1);
    cr_assert_eq(orphan_turns_up(2, 77), STATUS_OK);
    cr_assert_str_eq(erasure_of(f->outcome.erasure_id)->reason, "orphan");
}

Test(erasure, of_a_tenant_can_be_reopened_by_disk_and_chunk)
{
    (void)fixture_close_epoch(f);
    fixture_commit_prepare(f, &commit, "late", 4, 2);
    uint64_t other = put_and_delete();
    uint64_t id = open_whole();
    fill(id, NULL, true, true);
    (void)fixture_close_epoch(f);
    cr_assert_neq(erasure_of(id)->closed_ms, 0);
    const uint8_t *chunks[2] = {commit.ids[0], commit.ids[1]};
    bool is_new[2] = {false, false};
    for (size_t pass = 0; pass < 2; pass++) {
        struct fixture_change direct;
        cr_assert_eq(erasure_reopen(fixture_change_begin(f, &direct), id, 3, chunks, 2, is_new), STATUS_OK);
        fixture_change_end(f, &direct);
        cr_assert_eq(is_new[0], pass == 0, "once is enough");
        cr_assert_eq(erasure_of(id)->wipes_total, 2);
    }
    cr_assert_eq(erasure_of(id)->reopened, 1);
    fixture_audit(f);
    struct fixture_change direct;
    cr_assert_eq(erasure_reopen(fixture_change_begin(f, &direct), other, 3, chunks, 2, NULL), STATUS_NOT_FOUND);
    cr_assert_eq(erasure_reopen(fixture_change_begin(f, &direct), 999, 3, chunks, 2, NULL), STATUS_NOT_FOUND);
}
