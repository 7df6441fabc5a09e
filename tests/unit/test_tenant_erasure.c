/* test_tenant_erasure.c - a tenant goes as a whole: keys first, every sum right after every command, nothing left, and
 * a neighbour who notices nothing. */
#include "base/merkle.h"
#include "meta/evidence_tenant.h"
#include "tests/unit/request_fixture.h"

#define STEPS_MAX 400

static struct meta_fixture f;
static uint64_t neighbour;
static uint64_t neighbours_bucket;

static void setup(void)
{
    fixture_open(&f);
    cr_assert_eq(fixture_person_add(&f, "Ada", 0), STATUS_OK);
    cr_assert_eq(fixture_person_add(&f, "Bob", 1), STATUS_OK);
    cr_assert_eq(fixture_tenant_create_with_ref(&f, "other"), STATUS_OK);
    neighbour = f.outcome.id;
    cr_assert_eq(fixture_bucket_create(&f, neighbour, "photos"), STATUS_OK);
    neighbours_bucket = f.outcome.id;
}

static void teardown(void)
{
    fixture_audit(&f);
    fixture_close(&f);
}

TestSuite(tenant_erasure, .init = setup, .fini = teardown);

static void put_for(uint64_t tenant, uint64_t bucket, const char *key, size_t chunks)
{
    uint64_t kept[2] = {f.tenant, f.bucket};
    f.tenant = tenant;
    f.bucket = bucket;
    cr_assert_eq(fixture_put(&f, key, strlen(key), chunks), STATUS_OK);
    f.tenant = kept[0];
    f.bucket = kept[1];
}

static void approve(uint64_t id)
{
    cr_assert_eq(fixture_approve(&f, id, "Ada", 0), STATUS_OK);
    cr_assert_eq(fixture_approve(&f, id, "Bob", 1), STATUS_OK);
}

/* Erase what is left; every sum is looked at after every command. Returns how many commands that took. */
static unsigned erase_all(uint64_t id)
{
    unsigned steps = 0;
    while (fixture_tenant(&f, f.tenant)->erased_ms == 0) {
        cr_assert_eq(fixture_erase_step(&f, id), STATUS_OK, "step %u", steps);
        fixture_audit(&f);
        cr_assert_lt(++steps, STEPS_MAX);
    }
    cr_assert_eq(fixture_erase_step(&f, id), STATUS_NOT_FOUND, "nothing is left to do");
    return steps;
}

static uint64_t rows(struct table_key prefix)
{
    return fixture_count_rows(&f, prefix);
}

static const Trilith__ClusterRecord *cluster(void)
{
    return state_cluster(f.state);
}

/* Buckets, versions, what is in grace, access keys, several DEKs, and a leaf that is leased. */
static void fill(unsigned objects)
{
    char key[16];
    for (unsigned i = 0; i < objects; i++) {
        (void)snprintf(key, sizeof(key), "k%05u", i);
        put_for(f.tenant, f.bucket, key, 1 + i % 3);
    }
    put_for(neighbour, neighbours_bucket, "theirs", 2);
    cr_assert_eq(fixture_bucket_create(&f, f.tenant, "empty"), STATUS_OK);
    cr_assert_eq(fixture_bucket_create(&f, f.tenant, "more"), STATUS_OK);
    put_for(f.tenant, f.outcome.id, "x", 2);
    cr_assert_eq(fixture_dek_add(&f, f.tenant), STATUS_OK);
    cr_assert_eq(fixture_credential_create(&f, "acme", "ABCDEFGHIJKLMNOPQRST", 2), STATUS_OK);
    cr_assert_eq(fixture_lease(&f, f.tenant, f.bucket, 20), STATUS_OK);
    cr_assert_eq(fixture_set_grace(&f, "photos", 100000), STATUS_OK);
    cr_assert_eq(fixture_delete(&f, "photos", "k00000", 6), STATUS_OK);
    cr_assert_eq(fixture_delete(&f, "photos", "k00001", 6), STATUS_OK);
}

Test(tenant_erasure, everything_of_it_goes_and_nothing_of_a_neighbour)
{
    fill(10);
    uint64_t live = cluster()->leaves_live;
    uint64_t graced = f.outcome.erasure_id;
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    approve(1);
    (void)erase_all(1);
    cr_assert_eq(cluster()->objects, 1);
    cr_assert_eq(cluster()->grace_objects, 0);
    cr_assert_eq(cluster()->object_bytes, 2000);
    cr_assert_eq(cluster()->deks, 1);
    cr_assert_eq(cluster()->refs, 1);
    cr_assert_eq(cluster()->leaves_live, 3, "the neighbour's version, DEK and reference key");
    cr_assert_lt(cluster()->leaves_live, live);
    cr_assert_eq(rows(key_prefix(key_object_prefix(f.bucket, NULL, 0), 9)), 0);
    cr_assert_eq(rows(key_prefix(key_grace(0), 1)), 0);
    cr_assert_eq(rows(key_prefix(key_grace_due(0, 0), 1)), 0);
    cr_assert_eq(rows(key_prefix(key_bucket_grace(0, 0), 1)), 0);
    cr_assert_eq(rows(key_bucket_name(f.tenant, "")), 0);
    cr_assert_eq(rows(key_prefix(key_bucket_page(f.tenant, 0, 0), 9)), 0);
    cr_assert_eq(rows(key_prefix(key_dek(f.tenant, 0), 9)), 0);
    cr_assert_eq(rows(key_prefix(key_credential(""), 1)), 0);
    cr_assert_eq(rows(key_prefix(key_chunk((const uint8_t[16]){0}), 1)), 2);
    cr_assert_eq(rows(key_prefix(key_bucket_page(neighbour, 0, 0), 9)), 2);
    const Trilith__TenantRecord *tenant = fixture_tenant(&f, f.tenant);
    cr_assert_str_eq(tenant->name, "acme");
    cr_assert_eq(tenant->objects + tenant->grace_objects + tenant->object_bytes + tenant->grace_bytes, 0);
    cr_assert_eq(tenant->chunks + tenant->buckets, 0);
    cr_assert_eq(fixture_tenant_begin(&f, "acme"), STATUS_EXISTS, "its name stays taken");
    const Trilith__ErasureRecord *own = fixture_erasure(&f, graced);
    cr_assert_eq(own->tenant_request, 1, "what was in grace went with its tenant");
    cr_assert_neq(own->closed_ms, 0);
}

Test(tenant_erasure, its_certificate_has_the_inventory_and_waits_for_wipes_and_keys)
{
    fill(10);
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    json_t *plan = json_from_canonical((const char *)fixture_request_record(&f, 1)->request->plan.data,
                                       fixture_request_record(&f, 1)->request->plan.len);
    const json_t *inventory = json_object_get(plan, "inventory");
    approve(1);
    (void)erase_all(1);
    const Trilith__TenantErasure *found = fixture_request_record(&f, 1)->tenant;
    cr_assert_eq(found->versions, (uint64_t)json_integer_value(json_object_get(inventory, "versions")));
    cr_assert_eq(found->versions_in_grace,
                 (uint64_t)json_integer_value(json_object_get(inventory, "versions_in_grace")));
    cr_assert_eq(found->bytes, (uint64_t)json_integer_value(json_object_get(inventory, "bytes")));
    cr_assert_eq(found->chunks, (uint64_t)json_integer_value(json_object_get(inventory, "chunks")));
    cr_assert_eq(found->buckets, (uint64_t)json_integer_value(json_object_get(inventory, "buckets")));
    cr_assert_eq(found->credentials, 1);
    cr_assert_eq(found->inventory_root.len, SHA256_BYTES);
    json_decref(plan);

    cr_assert_eq(fixture_advance(&f, 1, "erasing", "closing", "{\"cmk\":{\"state\":\"not_separable\"}}"), STATUS_OK);
    cr_assert_eq(fixture_advance(&f, 1, "closing", "certify", NULL), STATUS_CONFLICT, "nothing is wiped");
    fixture_wipe_everywhere(&f);
    cr_assert_eq(fixture_advance(&f, 1, "closing", "certify", NULL), STATUS_CONFLICT, "the vault still has the keys");
    (void)fixture_close_epoch(&f);
    (void)fixture_close_epoch(&f);
    cr_assert_eq(fixture_advance(&f, 1, "closing", "certify", NULL), STATUS_OK);

    static const uint8_t cluster_id[16] = {7};
    const struct evidence_issuer issuer = {.organization = "Acme",
                                           .cluster_id = cluster_id,
                                           .kid = "x/1",
                                           .now_ms = f.now_ms,
                                           .slot_backend = "file",
                                           .software_version = "0"};
    json_t *payload = NULL;
    Trilith__RequestRecord *record = fixture_request_record(&f, 1);
    cr_assert_eq(evidence_tenant(&issuer, state_tables(f.state), cluster(), record,
                                 "01890000-0000-7000-8000-000000000001", 1, NULL, &payload),
                 STATUS_OK);
    size_t bytes = 0;
    char *text = json_canonical(payload, &bytes);
    cr_assert_not_null(text, "a payload is canonical");
    const json_t *subject = json_object_get(payload, "subject");
    const json_t *crypto = json_object_get(payload, "crypto");
    cr_assert_eq(json_integer_value(json_object_get(subject, "versions")), 11);
    cr_assert_eq(json_array_size(json_object_get(json_object_get(payload, "request"), "approvals")), 2);
    cr_assert_str_eq(json_string_value(json_object_get(json_object_get(crypto, "cmk"), "state")), "not_separable");
    cr_assert_str_eq(json_string_value(json_object_get(json_object_get(crypto, "cmk"), "action")), "none");
    cr_assert_str_eq(json_string_value(json_object_get(payload, "result")), "ERASED");
    cr_assert_eq(json_array_size(json_object_get(crypto, "dek")), 2);
    cr_assert_gt(json_array_size(json_object_get(payload, "replicas_summary")), 0);
    cr_assert(json_is_string(json_object_get(crypto, "epoch_erased_at")));
    free(text);
    json_decref(payload);
}

/* The inventory's root is that of the tree over (version, chunks, bytes), in the order in which the tables have
 * them. */
Test(tenant_erasure, the_inventory_can_be_made_again_from_what_there_was)
{
    struct merkle_edge edge = {0};
    struct merkle_hash root;
    for (uint8_t i = 0; i < 5; i++) {
        char key[4] = {'k', (char)('0' + i)};
        put_for(f.tenant, f.bucket, key, i);
        uint8_t entry[28] = {0};
        struct merkle_hash leaf;
        entry[0] = (uint8_t)f.next_version;
        entry[19] = i;
        entry[26] = (uint8_t)(i * 1000 >> 8);
        entry[27] = (uint8_t)(i * 1000 & 0xff);
        merkle_leaf(entry, sizeof(entry), &leaf);
        merkle_append(&edge, &leaf, NULL, NULL);
    }
    merkle_root(&edge, &root);
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    approve(1);
    (void)erase_all(1);
    const Trilith__TenantErasure *found = fixture_request_record(&f, 1)->tenant;
    cr_assert_eq(found->versions, 5);
    cr_assert_arr_eq(found->inventory_root.data, root.bytes, SHA256_BYTES);
}

Test(tenant_erasure, keys_go_before_any_version)
{
    fill(5);
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    approve(1);
    while (fixture_request_record(&f, 1)->tenant->keys_gone_ms == 0) {
        cr_assert_eq(fixture_erase_step(&f, 1), STATUS_OK);
        fixture_audit(&f);
        cr_assert_eq(fixture_request_record(&f, 1)->tenant->versions, 0);
    }
    cr_assert_eq(cluster()->leaves_live, 3);
    cr_assert_eq(rows(key_prefix(key_bucket_page(f.tenant, 0, 0), 9)), 0);
    cr_assert_gt(rows(key_prefix(key_object_prefix(f.bucket, NULL, 0), 9)), 0, "versions without a key");
    (void)erase_all(1);
}

/* An epoch that closes while the steps are under way balances, and does not claim what came after it. */
Test(tenant_erasure, an_epoch_may_close_between_any_two_steps)
{
    fill(300);
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    approve(1);
    uint64_t erasure_id = fixture_request_record(&f, 1)->request->erasure_id;
    cr_assert_neq(erasure_id, 0);
    while (fixture_tenant(&f, f.tenant)->erased_ms == 0) {
        cr_assert_eq(fixture_erase_step(&f, 1), STATUS_OK);
        (void)fixture_close_epoch(&f);
        fixture_audit(&f);
        cr_assert_not(fixture_tenant(&f, f.tenant)->erased_ms == 0 &&
                      erasure_is_wiped(fixture_erasure(&f, erasure_id)));
    }
    fixture_wipe_everywhere(&f);
    (void)fixture_close_epoch(&f);
    const Trilith__ErasureRecord *erasure = fixture_erasure(&f, erasure_id);
    cr_assert(erasure_is_wiped(erasure));
    cr_assert(erasure_keys_are_gone(cluster(), erasure_id, erasure));
}

Test(tenant_erasure, wipes_reported_between_the_steps_count)
{
    fill(300);
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    approve(1);
    while (fixture_tenant(&f, f.tenant)->erased_ms == 0) {
        cr_assert_eq(fixture_erase_step(&f, 1), STATUS_OK);
        fixture_wipe_everywhere(&f);
        fixture_audit(&f);
    }
    (void)fixture_close_epoch(&f);
    (void)fixture_close_epoch(&f);
    fixture_audit(&f);
    cr_assert_eq(fixture_advance(&f, 1, "erasing", "closing", NULL), STATUS_OK);
    cr_assert_eq(fixture_advance(&f, 1, "closing", "certify", NULL), STATUS_OK);
}

Test(tenant_erasure, a_step_is_bounded)
{
    fill(300);
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    approve(1);
    uint64_t versions = 0;
    while (fixture_tenant(&f, f.tenant)->erased_ms == 0) {
        uint64_t owed = rows(key_prefix(key_wipe(0, (const uint8_t[16]){0}), 1));
        cr_assert_eq(fixture_erase_step(&f, 1), STATUS_OK);
        uint64_t now = fixture_request_record(&f, 1)->tenant->versions;
        cr_assert_leq(now - versions, TENANT_STEP_VERSIONS);
        cr_assert_leq(rows(key_prefix(key_wipe(0, (const uint8_t[16]){0}), 1)) - owed, 2000);
        versions = now;
    }
    cr_assert_eq(versions, 301);
}

Test(tenant_erasure, an_empty_tenant_goes_too)
{
    cr_assert_eq(fixture_bucket_delete(&f, f.tenant, "photos"), STATUS_OK);
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    approve(1);
    (void)erase_all(1);
    (void)fixture_close_epoch(&f);
    (void)fixture_close_epoch(&f);
    cr_assert_eq(fixture_advance(&f, 1, "erasing", "closing", NULL), STATUS_OK);
    cr_assert_eq(fixture_advance(&f, 1, "closing", "certify", NULL), STATUS_OK);
}

Test(tenant_erasure, late_writes_of_it_are_refused)
{
    static struct fixture_commit commit;
    fixture_commit_prepare(&f, &commit, "late", 4, 1);
    put_for(f.tenant, f.bucket, "a", 1);
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    approve(1);
    cr_assert_eq(fixture_erase_step(&f, 1), STATUS_OK);
    cr_assert_eq(fixture_commit_apply(&f, &commit), STATUS_KEY_REVOKED);
    cr_assert_eq(fixture_lease(&f, f.tenant, f.bucket, 1), STATUS_KEY_REVOKED);
    cr_assert_eq(fixture_lease(&f, f.tenant, 0, 1), STATUS_KEY_REVOKED);
    cr_assert_eq(fixture_delete(&f, "photos", "a", 1), STATUS_KEY_REVOKED);
    cr_assert_eq(fixture_key_state(&f, f.tenant, false), STATUS_CONFLICT);
    cr_assert_eq(fixture_legal_hold(&f, "a", 0, true), STATUS_KEY_REVOKED, "there is no way back");
    (void)erase_all(1);
    cr_assert_eq(fixture_commit_apply(&f, &commit), STATUS_NOT_FOUND);
    cr_assert_eq(fixture_bucket_create(&f, f.tenant, "again"), STATUS_NOT_FOUND);
    cr_assert_eq(fixture_credential_create(&f, "acme", "ABCDEFGHIJKLMNOPQRST", 1), STATUS_NOT_FOUND);
    cr_assert_eq(fixture_key_state(&f, f.tenant, false), STATUS_NOT_FOUND);
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_NOT_FOUND);
}

Test(tenant_erasure, a_request_that_does_not_erase_takes_no_step)
{
    cr_assert_eq(fixture_erase_step(&f, 1), STATUS_NOT_FOUND);
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    cr_assert_eq(fixture_erase_step(&f, 1), STATUS_NOT_FOUND, "nobody has approved it");
    cr_assert_eq(fixture_approve(&f, 1, "Ada", 0), STATUS_OK);
    cr_assert_eq(fixture_erase_step(&f, 1), STATUS_NOT_FOUND, "one has");
    cr_assert_eq(rows(key_bucket_name(f.tenant, "")), 1);
}

/* A leader that crashes has the journal: the commands again, from any of them on, give the same tables, and the next
 * step follows. */
Test(tenant_erasure, a_crash_between_any_two_steps_changes_nothing)
{
    fill(200);
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    approve(1);
    while (fixture_tenant(&f, f.tenant)->erased_ms == 0) {
        uint64_t before = fixture_fingerprint(f.kv);
        uint64_t index = f.index;
        state_close(f.state); /* What was in memory is gone. */
        cr_assert_eq(state_open(f.kv, &f.state), STATUS_OK);
        cr_assert_eq(state_applied_index(f.state), index);
        cr_assert_eq(fixture_fingerprint(f.kv), before);
        cr_assert_eq(fixture_erase_step(&f, 1), STATUS_OK);
        fixture_audit(&f);
    }
    cr_assert_eq(fixture_request_record(&f, 1)->tenant->versions, 201);
}

Test(tenant_erasure, two_state_machines_come_to_the_same_tables)
{
    uint64_t prints[2];
    for (size_t run = 0; run < 2; run++) {
        if (run > 0) {
            teardown();
            setup();
        }
        fill(40);
        cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
        approve(1);
        (void)erase_all(1);
        prints[run] = fixture_fingerprint(f.kv);
    }
    cr_assert_eq(prints[0], prints[1]);
}

Test(tenant_erasure, a_copy_that_turns_up_later_opens_it_again)
{
    static struct fixture_commit commit;
    fixture_commit_prepare(&f, &commit, "a", 1, 1);
    cr_assert_eq(fixture_commit_apply(&f, &commit), STATUS_OK);
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    approve(1);
    (void)erase_all(1);
    uint64_t erasure_id = fixture_request_record(&f, 1)->request->erasure_id;
    fixture_wipe_everywhere(&f);
    (void)fixture_close_epoch(&f);
    (void)fixture_close_epoch(&f);
    cr_assert_eq(fixture_advance(&f, 1, "erasing", "closing", NULL), STATUS_OK);
    cr_assert_eq(fixture_advance(&f, 1, "closing", "certify", NULL), STATUS_OK);
    Trilith__ChunkRef *chunks[1] = {&commit.chunks[0]};
    cr_assert_eq(fixture_condemn(&f, TRILITH__CONDEMN_REASON__CONDEMN_ORPHAN, 1, chunks, 1), STATUS_OK);
    const Trilith__ErasureRecord *erasure = fixture_erasure(&f, erasure_id);
    cr_assert_not(erasure_is_wiped(erasure));
    cr_assert_eq(erasure->reopened, 1);
    fixture_wipe_everywhere(&f);
    cr_assert(erasure_is_wiped(fixture_erasure(&f, erasure_id)));
}
