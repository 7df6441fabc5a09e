/* test_grace.c - deletions that can be taken back, and versions that must not go. */
#include "tests/unit/request_fixture.h"

#define GRACE_MS 5000

static struct meta_fixture f;

static void setup(void)
{
    fixture_open(&f);
    cr_assert_eq(fixture_set_grace(&f, "photos", GRACE_MS), STATUS_OK);
}

static void teardown(void)
{
    fixture_audit(&f);
    fixture_close(&f);
}

TestSuite(grace, .init = setup, .fini = teardown);

static void put(const char *key, size_t chunks)
{
    cr_assert_eq(fixture_put(&f, key, strlen(key), chunks), STATUS_OK);
}

static uint64_t delete_one(const char *key)
{
    cr_assert_eq(fixture_delete(&f, "photos", key, strlen(key)), STATUS_OK);
    return f.outcome.erasure_id;
}

static const Trilith__ClusterRecord *cluster(void)
{
    return state_cluster(f.state);
}

static uint64_t wipes_owed(void)
{
    return fixture_count_rows(&f, key_prefix(key_wipe(0, (const uint8_t[16]){0}), 1));
}

static enum status look_up(const char *key)
{
    Trilith__Object *object = NULL;
    return fixture_look_up(&f, key, &object);
}

/* ---- grace ------------------------------------------------------------------------------------- */

Test(grace, a_deletion_has_its_number_at_once_and_destroys_nothing_yet)
{
    put("a", 2);
    uint64_t live = cluster()->leaves_live;
    uint64_t id = delete_one("a");
    cr_assert_neq(id, 0);
    cr_assert_eq(look_up("a"), STATUS_NOT_FOUND, "nobody is given it");
    cr_assert_eq(cluster()->objects, 0);
    cr_assert_eq(cluster()->grace_objects, 1);
    cr_assert_eq(cluster()->leaves_live, live, "its key is there");
    cr_assert_eq(f.outcome.punctured_count, 0);
    cr_assert_eq(wipes_owed(), 0);
    cr_assert_eq(fixture_erasure(&f, id)->grace_until_ms, f.now_ms + GRACE_MS);
    cr_assert_eq(fixture_tenant(&f, f.tenant)->deks[0]->objects, 1, "its data key is needed");
    fixture_audit(&f);
}

Test(grace, an_overwritten_version_has_a_grace_time_too)
{
    put("a", 1);
    put("a", 2);
    cr_assert_neq(f.outcome.erasure_id, 0);
    cr_assert_eq(cluster()->objects, 1);
    cr_assert_eq(cluster()->grace_objects, 1);
    cr_assert_eq(wipes_owed(), 0);
    cr_assert_str_eq(fixture_erasure(&f, f.outcome.erasure_id)->reason, "overwrite");
}

Test(grace, what_is_taken_back_is_what_it_was)
{
    put("a", 2);
    Trilith__Object *object = NULL;
    cr_assert_eq(fixture_look_up(&f, "a", &object), STATUS_OK);
    uint8_t before[4096];
    size_t bytes = trilith__object__pack(object, before);
    uint64_t id = delete_one("a");
    cr_assert_eq(fixture_undo(&f, id), STATUS_OK);
    cr_assert_eq(fixture_look_up(&f, "a", &object), STATUS_OK);
    uint8_t after[4096];
    cr_assert_eq(trilith__object__pack(object, after), bytes);
    cr_assert_arr_eq(before, after, bytes);
    cr_assert_eq(cluster()->objects, 1);
    cr_assert_eq(cluster()->grace_objects, 0);
    cr_assert_eq(fixture_tenant(&f, f.tenant)->object_bytes, 2000);
    cr_assert_eq(fixture_undo(&f, id), STATUS_NOT_FOUND, "once");
    f.now_ms += 2 * GRACE_MS;
    cr_assert_eq(fixture_grace_end(&f), STATUS_OK);
    cr_assert_eq(look_up("a"), STATUS_OK);
    cr_assert_neq(fixture_erasure(&f, id)->taken_back_ms, 0);
}

Test(grace, nothing_is_taken_back_over_a_newer_version)
{
    put("a", 1);
    put("a", 1);
    uint64_t id = f.outcome.erasure_id;
    cr_assert_eq(fixture_undo(&f, id), STATUS_CONFLICT);
    uint64_t newer = delete_one("a");
    cr_assert_eq(fixture_undo(&f, id), STATUS_OK, "the newer one is gone");
    cr_assert_eq(fixture_undo(&f, newer), STATUS_CONFLICT);
    cr_assert_eq(fixture_undo(&f, 999), STATUS_NOT_FOUND);
}

Test(grace, when_it_is_over_the_key_is_punctured_and_the_copies_are_wiped)
{
    put("a", 2);
    uint64_t id = delete_one("a");
    f.now_ms += GRACE_MS - 1;
    cr_assert_not(grace_is_due(fixture_tables(&f), f.now_ms));
    cr_assert_eq(fixture_grace_end(&f), STATUS_OK);
    cr_assert_eq(cluster()->grace_objects, 1, "not a moment too early");
    f.now_ms += 1;
    cr_assert(grace_is_due(fixture_tables(&f), f.now_ms));
    uint64_t live = cluster()->leaves_live;
    cr_assert_eq(fixture_grace_end(&f), STATUS_OK);
    cr_assert_eq(cluster()->grace_objects, 0);
    cr_assert_eq(cluster()->leaves_live, live - 1);
    cr_assert_eq(f.outcome.punctured_count, 1);
    cr_assert_eq(wipes_owed(), 6, "two chunks on three disks");
    cr_assert_eq(fixture_undo(&f, id), STATUS_NOT_FOUND, "there is no way back");
    cr_assert_eq(fixture_tenant(&f, f.tenant)->deks[0]->objects, 0);
    fixture_audit(&f);
    fixture_wipe_everywhere(&f);
    (void)fixture_close_epoch(&f);
    (void)fixture_close_epoch(&f);
    Trilith__Erasure *erasure = NULL;
    cr_assert_eq(erasure_get(fixture_tables(&f), id, &erasure), STATUS_OK);
    cr_assert_neq(erasure->closed_ms, 0);
}

/* Its number is older than the epoch that has its key: the bound on numbers alone would say too much. */
Test(grace, an_epoch_that_ends_during_the_grace_time_takes_nothing_of_it)
{
    put("a", 1);
    uint64_t id = delete_one("a");
    (void)fixture_close_epoch(&f);
    (void)fixture_close_epoch(&f);
    f.now_ms += GRACE_MS;
    cr_assert_eq(fixture_grace_end(&f), STATUS_OK);
    fixture_wipe_everywhere(&f);
    Trilith__Erasure *erasure = NULL;
    cr_assert_eq(erasure_get(fixture_tables(&f), id, &erasure), STATUS_OK);
    cr_assert_eq(erasure->closed_ms, 0, "its key is still in the vault's table");
    cr_assert_not(erasure->key_destroyed);
    (void)fixture_close_epoch(&f);
    cr_assert_eq(erasure_get(fixture_tables(&f), id, &erasure), STATUS_OK);
    cr_assert_neq(erasure->closed_ms, 0);
}

Test(grace, many_that_are_due_go_in_bounded_commands)
{
    char key[8];
    for (unsigned i = 0; i < 150; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        put(key, 1);
        (void)delete_one(key);
    }
    f.now_ms += GRACE_MS;
    for (unsigned left = 150; left > 0;) {
        cr_assert(grace_is_due(fixture_tables(&f), f.now_ms));
        cr_assert_eq(fixture_grace_end(&f), STATUS_OK);
        left -= left < GRACE_ENDED_MAX ? left : GRACE_ENDED_MAX;
        cr_assert_eq(cluster()->grace_objects, left);
        fixture_audit(&f);
    }
    cr_assert_not(grace_is_due(fixture_tables(&f), f.now_ms));
    cr_assert_eq(wipes_owed(), 450);
}

Test(grace, large_versions_bound_a_command_by_their_chunks)
{
    char key[8];
    for (unsigned i = 0; i < 40; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        put(key, 64);
        (void)delete_one(key);
    }
    f.now_ms += GRACE_MS;
    cr_assert_eq(fixture_grace_end(&f), STATUS_OK);
    cr_assert_eq(cluster()->grace_objects, 40 - GRACE_CHUNKS_MAX / 64);
}

Test(grace, a_chunk_in_grace_is_no_orphan)
{
    static struct fixture_commit commit;
    fixture_commit_prepare(&f, &commit, "a", 1, 1);
    cr_assert_eq(fixture_commit_apply(&f, &commit), STATUS_OK);
    (void)delete_one("a");
    Trilith__ChunkRef *chunks[1] = {&commit.chunks[0]};
    cr_assert_eq(fixture_condemn(&f, TRILITH__CONDEMN_REASON__CONDEMN_ORPHAN, 1, chunks, 1), STATUS_OK);
    cr_assert_eq(fixture_condemn(&f, TRILITH__CONDEMN_REASON__CONDEMN_ABORT, 0, chunks, 1), STATUS_OK);
    cr_assert_eq(wipes_owed(), 0);
}

Test(grace, a_bucket_with_something_in_grace_is_not_empty)
{
    put("a", 1);
    uint64_t id = delete_one("a");
    cr_assert_eq(fixture_bucket_delete(&f, f.tenant, "photos"), STATUS_NOT_EMPTY);
    f.now_ms += GRACE_MS;
    cr_assert_eq(fixture_grace_end(&f), STATUS_OK);
    cr_assert_eq(fixture_bucket_delete(&f, f.tenant, "photos"), STATUS_OK);
    cr_assert_eq(fixture_undo(&f, id), STATUS_NOT_FOUND);
}

Test(grace, a_data_key_that_something_in_grace_is_under_is_not_destroyed)
{
    put("a", 1);
    (void)delete_one("a");
    cr_assert_eq(fixture_dek_add(&f, f.tenant), STATUS_OK);
    cr_assert_eq(fixture_dek_destroy(&f, f.tenant, 1), STATUS_NOT_EMPTY);
    f.now_ms += GRACE_MS;
    cr_assert_eq(fixture_grace_end(&f), STATUS_OK);
    cr_assert_eq(fixture_dek_destroy(&f, f.tenant, 1), STATUS_OK);
}

Test(grace, without_a_grace_time_a_version_goes_at_once)
{
    cr_assert_eq(fixture_set_grace(&f, "photos", 0), STATUS_OK);
    put("a", 1);
    uint64_t id = delete_one("a");
    cr_assert_eq(cluster()->grace_objects, 0);
    cr_assert_eq(wipes_owed(), 3);
    cr_assert_eq(fixture_undo(&f, id), STATUS_NOT_FOUND);
}

Test(grace, a_grace_time_is_at_most_ninety_days_and_a_technique_is_one_that_there_is)
{
    cr_assert_eq(fixture_set_grace(&f, "photos", GRACE_MS_MAX), STATUS_OK);
    cr_assert_eq(fixture_set_grace(&f, "photos", GRACE_MS_MAX + 1), STATUS_INVALID);
    cr_assert_eq(fixture_set_grace(&f, "nothing", 1), STATUS_NOT_FOUND);
    cr_assert(grace_rules_are_valid(TRILITH__WIPE_TECHNIQUE__TECHNIQUE_DOD3, 0));
    cr_assert_not(grace_rules_are_valid((Trilith__WipeTechnique)2, 0));
    cr_assert_not(grace_rules_are_valid((Trilith__WipeTechnique)-1, 0));
}

/* Sealing anew leaves a leaf noted in the version's row: it goes with the version, also when that has a grace time. */
Test(grace, a_leaf_to_seal_it_anew_goes_at_once)
{
    static struct fixture_commit commit;
    fixture_commit_prepare(&f, &commit, "a", 1, 1);
    cr_assert_eq(fixture_commit_apply(&f, &commit), STATUS_OK);
    cr_assert_eq(fixture_lease_for_reseal(&f, commit.request.key, commit.object.version_id), STATUS_OK);
    uint64_t punctured = cluster()->leaves_punctured;
    uint64_t id = delete_one("a");
    cr_assert_eq(cluster()->leaves_punctured, punctured + 1);
    cr_assert_eq(fixture_undo(&f, id), STATUS_OK);
    fixture_audit(&f);
    Trilith__Object *object = NULL;
    cr_assert_eq(fixture_look_up(&f, "a", &object), STATUS_OK);
    cr_assert_eq(object->reseal_page, 0);
    (void)delete_one("a");
    f.now_ms += GRACE_MS;
    cr_assert_eq(fixture_grace_end(&f), STATUS_OK);
}

/* ---- holds ------------------------------------------------------------------------------------- */

Test(grace, a_held_version_is_neither_deleted_nor_overwritten)
{
    put("a", 1);
    cr_assert_eq(fixture_legal_hold(&f, "a", 0, true), STATUS_OK);
    cr_assert_eq(fixture_delete(&f, "photos", "a", 1), STATUS_HELD);
    cr_assert_eq(fixture_put(&f, "a", 1, 1), STATUS_HELD);
    cr_assert_eq(look_up("a"), STATUS_OK);
    cr_assert_eq(cluster()->grace_objects, 0);
    cr_assert_eq(fixture_legal_hold(&f, "a", 0, false), STATUS_OK);
    (void)delete_one("a");
}

Test(grace, a_bucket_without_grace_time_holds_as_well)
{
    cr_assert_eq(fixture_set_grace(&f, "photos", 0), STATUS_OK);
    put("a", 1);
    cr_assert_eq(fixture_legal_hold(&f, "a", 0, true), STATUS_OK);
    cr_assert_eq(fixture_delete(&f, "photos", "a", 1), STATUS_HELD);
    cr_assert_eq(fixture_put(&f, "a", 1, 1), STATUS_HELD);
    cr_assert_eq(wipes_owed(), 0);
}

Test(grace, retention_only_grows_and_ends_by_itself)
{
    put("a", 1);
    cr_assert_eq(fixture_retain(&f, "a", f.now_ms + 1000), STATUS_OK);
    cr_assert_eq(fixture_retain(&f, "a", f.now_ms + 999), STATUS_HELD);
    cr_assert_eq(fixture_retain(&f, "a", f.now_ms + 2000), STATUS_OK);
    cr_assert_eq(fixture_retain(&f, "a", 0), STATUS_HELD);
    f.now_ms += 1999;
    cr_assert_eq(fixture_delete(&f, "photos", "a", 1), STATUS_HELD);
    f.now_ms += 1;
    (void)delete_one("a");
    cr_assert_eq(fixture_retain(&f, "b", f.now_ms + 1), STATUS_NOT_FOUND);
    cr_assert_eq(fixture_retain(&f, "b", f.now_ms + RETENTION_MS_MAX + 1), STATUS_INVALID);
}

Test(grace, a_hold_is_looked_at_again_when_the_grace_time_ends)
{
    put("a", 1);
    uint64_t id = delete_one("a");
    cr_assert_eq(fixture_legal_hold(&f, "", id, true), STATUS_OK);
    f.now_ms += GRACE_MS;
    cr_assert_eq(fixture_grace_end(&f), STATUS_OK);
    cr_assert_eq(cluster()->grace_objects, 1, "it waits");
    cr_assert_eq(wipes_owed(), 0);
    cr_assert_not(grace_is_due(fixture_tables(&f), f.now_ms), "and nobody asks again and again");
    fixture_audit(&f);
    f.now_ms += GRACE_HELD_MS;
    cr_assert_eq(fixture_grace_end(&f), STATUS_OK);
    cr_assert_eq(cluster()->grace_objects, 1);
    cr_assert_eq(fixture_legal_hold(&f, "", id, false), STATUS_OK);
    cr_assert(grace_is_due(fixture_tables(&f), f.now_ms), "lifted: it is due at once");
    cr_assert_eq(fixture_grace_end(&f), STATUS_OK);
    cr_assert_eq(cluster()->grace_objects, 0);
    cr_assert_eq(wipes_owed(), 3);
}

Test(grace, what_waits_for_a_hold_can_be_taken_back)
{
    put("a", 1);
    uint64_t id = delete_one("a");
    cr_assert_eq(fixture_legal_hold(&f, "", id, true), STATUS_OK);
    f.now_ms += GRACE_MS;
    cr_assert_eq(fixture_grace_end(&f), STATUS_OK);
    cr_assert_eq(fixture_undo(&f, id), STATUS_OK);
    cr_assert_eq(fixture_delete(&f, "photos", "a", 1), STATUS_HELD, "and it is held as before");
    cr_assert_eq(fixture_count_rows(&f, key_prefix(key_grace_due(0, 0), 1)), 0);
}

Test(grace, one_that_is_held_does_not_keep_others)
{
    put("a", 1);
    put("b", 1);
    uint64_t id = delete_one("a");
    (void)delete_one("b");
    cr_assert_eq(fixture_legal_hold(&f, "", id, true), STATUS_OK);
    f.now_ms += GRACE_MS;
    cr_assert_eq(fixture_grace_end(&f), STATUS_OK);
    cr_assert_eq(cluster()->grace_objects, 1);
    cr_assert_eq(wipes_owed(), 3);
}

Test(grace, a_hold_goes_with_the_version_when_it_is_sealed_anew)
{
    static struct fixture_commit commit;
    fixture_commit_prepare(&f, &commit, "a", 1, 1);
    cr_assert_eq(fixture_commit_apply(&f, &commit), STATUS_OK);
    cr_assert_eq(fixture_legal_hold(&f, "a", 0, true), STATUS_OK);
    cr_assert_eq(fixture_retain(&f, "a", f.now_ms + 10), STATUS_OK);
    cr_assert_eq(fixture_dek_add(&f, f.tenant), STATUS_OK);
    cr_assert_eq(fixture_lease_for_reseal(&f, commit.request.key, commit.object.version_id), STATUS_OK);
    const struct leaf_range leaf = f.outcome.leased;
    uint8_t chunk[16] = {0x77};
    commit.chunks[0].chunk_id.data = chunk;
    commit.object.page = leaf.page;
    commit.object.slot = leaf.first_slot;
    commit.object.dek_version = 2;
    commit.request.reseal_from = 1;
    cr_assert_eq(fixture_commit_apply(&f, &commit), STATUS_OK);
    cr_assert_eq(cluster()->grace_objects, 0, "it is the same version: there is nothing to take back");
    cr_assert_eq(wipes_owed(), 3);
    cr_assert_eq(fixture_delete(&f, "photos", "a", 1), STATUS_HELD);
    Trilith__Object *object = NULL;
    cr_assert_eq(fixture_look_up(&f, "a", &object), STATUS_OK);
    cr_assert(object->legal_hold);
    cr_assert_eq(object->retain_until_ms, f.now_ms + 10);
}

Test(grace, nobody_sets_a_hold_by_writing_a_version)
{
    static struct fixture_commit commit;
    fixture_commit_prepare(&f, &commit, "a", 1, 1);
    commit.object.legal_hold = true;
    cr_assert_eq(fixture_commit_apply(&f, &commit), STATUS_INVALID);
    commit.object.legal_hold = false;
    commit.object.retain_until_ms = 1;
    cr_assert_eq(fixture_commit_apply(&f, &commit), STATUS_INVALID);
}

Test(grace, holds_are_counted_once)
{
    put("a", 1);
    put("b", 1);
    cr_assert_eq(fixture_legal_hold(&f, "a", 0, true), STATUS_OK);
    cr_assert_eq(fixture_legal_hold(&f, "a", 0, true), STATUS_OK);
    cr_assert_eq(fixture_legal_hold(&f, "b", 0, false), STATUS_OK);
    cr_assert_eq(fixture_tenant(&f, f.tenant)->holds, 1);
    cr_assert_eq(fixture_legal_hold(&f, "a", 0, false), STATUS_OK);
    cr_assert_eq(fixture_tenant(&f, f.tenant)->holds, 0);
    cr_assert_eq(fixture_hold(&f, "a", 0, NULL, NULL), STATUS_INVALID, "nothing is set");
}

Test(grace, nothing_in_grace_goes_while_the_erasure_of_its_tenant_is_asked_for)
{
    put("a", 1);
    uint64_t id = delete_one("a");
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    f.now_ms += GRACE_MS;
    cr_assert_eq(fixture_grace_end(&f), STATUS_OK);
    cr_assert_eq(cluster()->grace_objects, 1);
    cr_assert_eq(fixture_undo(&f, id), STATUS_KEY_REVOKED);
    cr_assert_eq(fixture_advance(&f, 1, REQUEST_STAGE_APPROVAL, REQUEST_STAGE_CANCELLED, NULL), STATUS_OK);
    f.now_ms += GRACE_HELD_MS;
    cr_assert_eq(fixture_grace_end(&f), STATUS_OK);
    cr_assert_eq(cluster()->grace_objects, 0);
}
