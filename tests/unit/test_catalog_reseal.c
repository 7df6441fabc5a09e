/* test_catalog_reseal.c - versions and the DEKs that they are sealed under: what is counted, what is refused, and how a
 * version is sealed anew. */
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

/* ---- keys -------------------------------------------------------------------------------------- */

TestSuite(catalog_key, .init = setup, .fini = teardown);

Test(catalog_key, suite_is_the_buckets_choice_among_two)
{
    static const struct {
        uint32_t asked, kept;
    } good[] = {{0, 1}, {1, 1}, {2, 2}};
    char name[] = "bucket0";
    Trilith__BucketCreateRequest create = TRILITH__BUCKET_CREATE_REQUEST__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    create.tenant_id = f->tenant;
    create.name = name;
    command.change_case = TRILITH__COMMAND__CHANGE_BUCKET_CREATE;
    command.bucket_create = &create;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        Trilith__BucketRecord *bucket = NULL;
        name[6]++;
        create.suite = good[i].asked;
        cr_assert_eq(fixture_apply(f, &command), STATUS_OK);
        cr_assert_eq(catalog_bucket(fixture_tables(f), f->tenant, name, &bucket), STATUS_OK);
        cr_assert_eq(bucket->suite, good[i].kept);
        cr_assert_eq(catalog_bucket_message(state_tables(f->state), bucket)->suite, good[i].kept);
    }
    name[6]++;
    create.suite = 3;
    cr_assert_eq(fixture_apply(f, &command), STATUS_INVALID);
}

Test(catalog_key, of_a_revoked_tenant_seals_nothing_new)
{
    fixture_commit_prepare(f, &commit, "a", 1, 1);
    cr_assert_eq(fixture_key_state(f, f->tenant, true), STATUS_OK);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_KEY_REVOKED);
    cr_assert_eq(fixture_key_state(f, f->tenant, false), STATUS_OK);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
    cr_assert_eq(fixture_key_state(f, f->tenant, true), STATUS_OK);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK, "it is committed already");
    cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK, "deleting needs no key");
}

Test(catalog_key, that_was_destroyed_seals_nothing_new)
{
    fixture_commit_prepare(f, &commit, "a", 1, 1);
    cr_assert_eq(fixture_dek_add(f, f->tenant), STATUS_OK);
    cr_assert_eq(fixture_dek_destroy(f, f->tenant, 1), STATUS_OK);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_CONFLICT);
    commit.object.dek_version = 2;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
}

Test(catalog_key, counts_what_is_sealed_under_it)
{
    cr_assert_eq(fixture_put(f, "a", 1, 3), STATUS_OK);
    cr_assert_eq(fixture_put(f, "b", 1, 2), STATUS_OK);
    cr_assert_eq(fixture_dek_add(f, f->tenant), STATUS_OK);
    fixture_commit_prepare(f, &commit, "a", 1, 1);
    commit.object.dek_version = 2;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
    const Trilith__TenantRecord *tenant = fixture_tenant(f, f->tenant);
    cr_assert_eq(tenant->deks[0]->objects, 1);
    cr_assert_eq(tenant->deks[0]->object_bytes, 2000);
    cr_assert_eq(tenant->deks[1]->objects, 1);
    cr_assert_eq(tenant->deks[1]->object_bytes, 1000);
    cr_assert_eq(fixture_dek_destroy(f, f->tenant, 1), STATUS_NOT_EMPTY);
    cr_assert_eq(fixture_delete(f, "photos", "b", 1), STATUS_OK);
    cr_assert_eq(fixture_tenant(f, f->tenant)->deks[0]->object_bytes, 0);
    cr_assert_eq(fixture_dek_destroy(f, f->tenant, 1), STATUS_OK);
    fixture_audit(f);
}

/* ---- sealing anew ------------------------------------------------------------------------------ */

TestSuite(catalog_reseal, .init = setup, .fini = teardown);

/* How many leaves the last command punctured. */
static uint32_t punctured(void)
{
    uint32_t count = 0;
    for (size_t i = 0; i < f->outcome.punctured_count; i++) {
        count += fixture_bits(f->outcome.punctured[i].leaves.bits);
    }
    return count;
}

/* Whether the last command punctured this leaf. */
static bool was_punctured(struct leaf_at leaf)
{
    for (size_t i = 0; i < f->outcome.punctured_count; i++) {
        const struct page_puncture *puncture = &f->outcome.punctured[i];
        if (puncture->page == leaf.page && ggm_bit(&puncture->leaves, leaf.slot)) {
            return true;
        }
    }
    return false;
}

static struct leaf_at leaf_of(const struct fixture_commit *of)
{
    return (struct leaf_at){.page = of->object.page, .slot = of->object.slot};
}

/* A leaf leased to seal the version anew that `commit` holds. */
static struct leaf_at reseal_leaf(void)
{
    cr_assert_eq(fixture_lease_for_reseal(f, commit.request.key, commit.object.version_id), STATUS_OK);
    cr_assert_eq(f->outcome.leased.count, 1);
    return (struct leaf_at){.page = f->outcome.leased.page, .slot = f->outcome.leased.first_slot};
}

/* `anew`: the version that `commit` holds, under a leaf leased for that, other chunks and the current DEK. */
static void reseal_prepare(struct fixture_commit *anew)
{
    fixture_commit_prepare(f, anew, commit.request.key.data, commit.request.key.len, commit.object.n_chunks);
    memcpy(anew->version, commit.version, 16);
    anew->object.dek_version = 2;
    anew->request.reseal_from = 1;
    const struct leaf_at leaf = reseal_leaf();
    anew->object.page = leaf.page;
    anew->object.slot = leaf.slot;
}

/* What is leased next lies on another page. */
static void use_up_page(void)
{
    cr_assert_eq(fixture_lease(f, f->tenant, f->bucket, 256), STATUS_OK);
    cr_assert_eq(f->outcome.leased.first_slot + f->outcome.leased.count, PAGE_LEAVES);
}

static void commit_and_rotate(size_t chunks)
{
    fixture_commit_prepare(f, &commit, "a", 1, chunks);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
    cr_assert_eq(fixture_dek_add(f, f->tenant), STATUS_OK);
}

Test(catalog_reseal, gives_the_version_another_leaf_and_erases_the_old_copy)
{
    static struct fixture_commit anew;
    cr_assert_eq(fixture_put(f, "a", 1, 1), STATUS_OK);
    commit_and_rotate(2);
    uint64_t committed_ms = f->now_ms;
    f->now_ms += 5000;
    reseal_prepare(&anew);
    cr_assert_eq(fixture_commit_apply(f, &anew), STATUS_OK);
    cr_assert_eq(f->outcome.modified_ms, committed_ms, "to its owner nothing has changed");
    cr_assert_eq(f->outcome.punctured_count, 1);
    uint64_t erasure_id = f->outcome.erasure_id;

    Trilith__Object *object = NULL;
    Trilith__Erasure *erasure = NULL;
    cr_assert_eq(fixture_look_up(f, "a", &object), STATUS_OK);
    cr_assert_eq(object->page, anew.object.page);
    cr_assert_eq(object->slot, anew.object.slot);
    cr_assert_eq(object->dek_version, 2);
    cr_assert_eq(object->modified_ms, committed_ms);
    cr_assert_arr_eq(object->version_id.data, commit.version, 16);
    cr_assert_eq(erasure_get(fixture_tables(f), erasure_id, &erasure), STATUS_OK);
    cr_assert_str_eq(erasure->reason, "reseal");
    cr_assert_eq(erasure->chunks, 2);
    cr_assert_eq(state_cluster(f->state)->objects, 1);
    cr_assert_eq(state_cluster(f->state)->object_bytes, 2000);
    cr_assert_eq(fixture_dek_destroy(f, f->tenant, 1), STATUS_OK, "nothing is left under the old one");
    fixture_audit(f);
}

Test(catalog_reseal, may_be_said_twice)
{
    static struct fixture_commit anew;
    cr_assert_eq(fixture_put(f, "a", 1, 1), STATUS_OK);
    commit_and_rotate(2);
    uint64_t overwrite_id = 1;
    reseal_prepare(&anew);
    cr_assert_eq(fixture_commit_apply(f, &anew), STATUS_OK);
    uint64_t next_erasure_id = state_cluster(f->state)->next_erasure_id;
    cr_assert_eq(fixture_commit_apply(f, &anew), STATUS_OK);
    cr_assert_eq(f->outcome.erasure_id, 0);
    cr_assert_eq(f->outcome.punctured_count, 0);
    cr_assert_eq(state_cluster(f->state)->next_erasure_id, next_erasure_id);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK, "the first commit, told again after all");
    cr_assert_eq(f->outcome.erasure_id, overwrite_id);
    Trilith__Object *object = NULL;
    cr_assert_eq(fixture_look_up(f, "a", &object), STATUS_OK);
    cr_assert_eq(object->slot, anew.object.slot);
    fixture_audit(f);
}

Test(catalog_reseal, loses_against_a_newer_version_and_a_delete)
{
    static struct fixture_commit anew;
    static struct fixture_commit newer;
    commit_and_rotate(1);
    reseal_prepare(&anew);
    fixture_commit_prepare(f, &newer, "a", 1, 1);
    newer.object.dek_version = 2;
    cr_assert_eq(fixture_commit_apply(f, &newer), STATUS_OK);
    cr_assert_eq(fixture_commit_apply(f, &anew), STATUS_CONFLICT);
    cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
    cr_assert_eq(fixture_commit_apply(f, &anew), STATUS_CONFLICT);
    fixture_audit(f);
}

Test(catalog_reseal, happens_once_for_two_who_try)
{
    static struct fixture_commit first;
    static struct fixture_commit second;
    commit_and_rotate(1);
    reseal_prepare(&first);
    reseal_prepare(&second);
    cr_assert_eq(fixture_commit_apply(f, &first), STATUS_CONFLICT, "the second one's leaf took the place of its own");
    cr_assert_eq(fixture_commit_apply(f, &second), STATUS_OK);
    cr_assert_eq(fixture_commit_apply(f, &first), STATUS_CONFLICT, "it is not under that DEK any more");
    fixture_audit(f);
}

/* ---- the leaf of a sealing that nobody finishes ------------------------------------------------- */

Test(catalog_reseal, leaf_goes_with_the_version_when_it_is_deleted)
{
    for (unsigned other_page = 0; other_page < 2; other_page++) {
        fixture_commit_prepare(f, &commit, "a", 1, 1);
        cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
        if (other_page == 1) {
            use_up_page();
        }
        const struct leaf_at leaf = reseal_leaf();
        cr_assert_eq(punctured(), 0);
        cr_assert_eq(leaf.page != commit.object.page, other_page == 1);
        cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
        cr_assert_eq(punctured(), 2);
        cr_assert(was_punctured(leaf), "nobody has said whether anything was sealed under it");
        cr_assert(was_punctured(leaf_of(&commit)));
        fixture_audit(f);
    }
}

Test(catalog_reseal, leaf_goes_with_the_version_when_it_is_overwritten)
{
    static struct fixture_commit newer;
    for (unsigned other_page = 0; other_page < 2; other_page++) {
        fixture_commit_prepare(f, &commit, "a", 1, 1);
        cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
        if (other_page == 1) {
            use_up_page();
        }
        const struct leaf_at leaf = reseal_leaf();
        fixture_commit_prepare(f, &newer, "a", 1, 1);
        cr_assert_eq(fixture_commit_apply(f, &newer), STATUS_OK);
        cr_assert_eq(punctured(), 2);
        cr_assert(was_punctured(leaf));
        cr_assert(was_punctured(leaf_of(&commit)));
        fixture_audit(f);
        Trilith__Object *object = NULL;
        cr_assert_eq(fixture_look_up(f, "a", &object), STATUS_OK);
        cr_assert_eq(object->reseal_page, 0, "the new version has none");
        cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
        cr_assert_eq(punctured(), 1);
    }
}

Test(catalog_reseal, leaf_can_not_be_the_one_of_the_version_that_takes_its_place)
{
    static struct fixture_commit newer;
    commit_and_rotate(1);
    fixture_commit_prepare(f, &newer, "a", 1, 1);
    const struct leaf_at leaf = reseal_leaf();
    newer.object.page = leaf.page;
    newer.object.slot = leaf.slot;
    cr_assert_eq(fixture_commit_apply(f, &newer), STATUS_CONFLICT, "it may have sealed what is replaced");
    fixture_audit(f);
}

Test(catalog_reseal, leaf_gives_way_to_the_next_one)
{
    commit_and_rotate(1);
    struct leaf_at leaf = reseal_leaf();
    for (unsigned round = 0; round < 4; round++) {
        if (round == 2) {
            use_up_page();
        }
        const struct leaf_at next = reseal_leaf();
        cr_assert_eq(next.page != leaf.page, round == 2);
        cr_assert_eq(punctured(), 1);
        cr_assert(was_punctured(leaf));
        fixture_audit(f);
        leaf = next;
    }
    cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
    cr_assert_eq(punctured(), 2, "those of before are gone already");
    fixture_audit(f);
}

Test(catalog_reseal, leaf_does_not_give_way_to_another_node_for_as_long_as_it_may_need)
{
    static struct fixture_commit anew;
    fixture_commit_prepare(f, &commit, "a", 1, 2);
    for (size_t i = 0; i < 2; i++) {
        commit.chunks[i].chunk_bytes = MIB(4);
    }
    commit.object.size = MIB(8);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
    cr_assert_eq(fixture_dek_add(f, f->tenant), STATUS_OK);
    const ProtobufCBinaryData key = commit.request.key;
    const ProtobufCBinaryData version = commit.object.version_id;
    (void)reseal_leaf();
    uint64_t leased_ms = f->now_ms;
    f->now_ms += RESEAL_HOLD_MS + 8 * 1000 - 1;
    cr_assert_eq(fixture_lease_for_reseal_by(f, 2, key, version), STATUS_CONFLICT, "for its size at 1 MiB/s");
    cr_assert_eq(punctured(), 0);
    f->now_ms = leased_ms + RESEAL_HOLD_MS + 8 * 1000;
    cr_assert_eq(fixture_lease_for_reseal_by(f, 2, key, version), STATUS_OK);
    cr_assert_eq(punctured(), 1);
    cr_assert_eq(fixture_lease_for_reseal_by(f, 1, key, version), STATUS_CONFLICT, "now it is the other one's turn");
    cr_assert_eq(fixture_lease_for_reseal_by(f, 2, key, version), STATUS_OK, "it has begun again");

    const struct leaf_range leased = f->outcome.leased;
    fixture_commit_prepare(f, &anew, "a", 1, 2);
    for (size_t i = 0; i < 2; i++) {
        anew.chunks[i].chunk_bytes = MIB(4);
    }
    memcpy(anew.version, commit.version, 16);
    anew.object.size = MIB(8);
    anew.object.page = leased.page;
    anew.object.slot = leased.first_slot;
    anew.object.dek_version = 2;
    anew.request.reseal_from = 1;
    cr_assert_eq(fixture_commit_apply(f, &anew), STATUS_OK);
    Trilith__Object *object = NULL;
    cr_assert_eq(fixture_look_up(f, "a", &object), STATUS_OK);
    cr_assert_eq(object->reseal_until_ms, 0);
    cr_assert_eq(object->reseal_node, 0);
    cr_assert_eq(fixture_lease_for_reseal_by(f, 1, key, version), STATUS_OK, "it is as good as new");
    fixture_audit(f);
}

Test(catalog_reseal, leaf_may_have_gone_before_its_version)
{
    commit_and_rotate(1);
    const struct leaf_at lapsed = reseal_leaf();
    f->now_ms += FIXTURE_LEASE_MS;
    cr_assert_eq(fixture_lapse(f), STATUS_OK);
    cr_assert(was_punctured(lapsed));
    const struct leaf_at given_up = reseal_leaf();
    cr_assert_eq(punctured(), 0, "it was gone");
    cr_assert_eq(fixture_abort(f, NULL, 0, given_up), STATUS_OK);
    cr_assert(was_punctured(given_up));
    cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
    cr_assert_eq(punctured(), 1);
    cr_assert(was_punctured(leaf_of(&commit)));
    fixture_audit(f);
}

Test(catalog_reseal, leaf_becomes_the_versions_own)
{
    static struct fixture_commit anew;
    commit_and_rotate(1);
    reseal_prepare(&anew);
    cr_assert_eq(fixture_commit_apply(f, &anew), STATUS_OK);
    cr_assert_eq(punctured(), 1);
    cr_assert(was_punctured(leaf_of(&commit)));
    Trilith__Object *object = NULL;
    cr_assert_eq(fixture_look_up(f, "a", &object), STATUS_OK);
    cr_assert_eq(object->reseal_page, 0);
    cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
    cr_assert_eq(punctured(), 1);
    cr_assert(was_punctured(leaf_of(&anew)));
    fixture_audit(f);
}

Test(catalog_reseal, takes_no_other_leaf)
{
    static struct fixture_commit anew;
    commit_and_rotate(1);
    reseal_prepare(&anew);
    const struct leaf_at leaf = leaf_of(&anew);
    cr_assert_eq(fixture_lease(f, f->tenant, f->bucket, 1), STATUS_OK);
    anew.object.page = f->outcome.leased.page;
    anew.object.slot = f->outcome.leased.first_slot;
    cr_assert_eq(fixture_commit_apply(f, &anew), STATUS_CONFLICT, "leased for anything");
    anew.object.page = leaf.page;
    anew.object.slot = leaf.slot;
    cr_assert_eq(fixture_commit_apply(f, &anew), STATUS_OK);
    fixture_audit(f);
}

Test(catalog_reseal, leaf_is_for_the_latest_version_only)
{
    commit_and_rotate(1);
    const struct fixture_commit old = commit;
    uint8_t version[16];
    memcpy(version, old.version, 16);
    const ProtobufCBinaryData key = commit.request.key;
    const ProtobufCBinaryData id = {.data = version, .len = 16};
    ProtobufCBinaryData none = {0};
    ProtobufCBinaryData bent = id;
    bent.len = 15;
    cr_assert_eq(fixture_lease_for_reseal(f, key, none), STATUS_INVALID);
    cr_assert_eq(fixture_lease_for_reseal(f, none, id), STATUS_INVALID);
    cr_assert_eq(fixture_lease_for_reseal(f, key, bent), STATUS_INVALID);
    bent = key;
    bent.len = OBJECT_KEY_BYTES_MAX + 1;
    cr_assert_eq(fixture_lease_for_reseal(f, bent, id), STATUS_INVALID);
    cr_assert_not(catalog_reseal_lease_is_valid(key, id, 2), "one leaf for one version");
    uint64_t next_page = state_cluster(f->state)->next_page;
    cr_assert_eq(fixture_put(f, "a", 1, 1), STATUS_OK);
    cr_assert_eq(fixture_lease_for_reseal(f, key, id), STATUS_CONFLICT, "replaced");
    cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
    cr_assert_eq(fixture_lease_for_reseal(f, key, id), STATUS_CONFLICT, "deleted");
    cr_assert_eq(state_cluster(f->state)->next_page, next_page);
    fixture_audit(f);
}

Test(catalog_reseal, leaf_is_not_for_a_commit_to_say)
{
    fixture_commit_prepare(f, &commit, "a", 1, 1);
    commit.object.reseal_page = 1;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_INVALID);
    commit.object.reseal_page = 0;
    commit.object.reseal_slot = 1;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_INVALID);
    commit.object.reseal_slot = 0;
    commit.object.reseal_node = 1;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_INVALID);
    commit.object.reseal_node = 0;
    commit.object.reseal_until_ms = 1;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_INVALID);
    commit.object.reseal_until_ms = 0;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
}

Test(catalog_reseal, lease_leaves_the_version_as_it_is)
{
    cr_assert_eq(fixture_put(f, "a", 1, 1), STATUS_OK);
    commit_and_rotate(2);
    uint64_t modified_ms = f->now_ms;
    uint64_t overwrite_id = 1;
    f->now_ms += 5000;
    const struct leaf_at leaf = reseal_leaf();
    Trilith__Object *object = NULL;
    cr_assert_eq(fixture_look_up(f, "a", &object), STATUS_OK);
    cr_assert_eq(object->reseal_page, leaf.page);
    cr_assert_eq(object->reseal_slot, leaf.slot);
    cr_assert_eq(object->page, commit.object.page);
    cr_assert_eq(object->slot, commit.object.slot);
    cr_assert_eq(object->dek_version, 1);
    cr_assert_eq(object->modified_ms, modified_ms);
    cr_assert_eq(object->n_chunks, 2);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK, "the first commit, told again after all");
    cr_assert_eq(f->outcome.erasure_id, overwrite_id);
    cr_assert_eq(f->outcome.modified_ms, modified_ms);
    cr_assert_eq(punctured(), 0);
    fixture_audit(f);
}

Test(catalog_reseal, refuses_to_change_the_version_or_miss_the_current_key)
{
    static struct fixture_commit anew;
    static char etag[] = "another";
    commit_and_rotate(2);
    reseal_prepare(&anew);
    anew.object.dek_version = 1;
    cr_assert_eq(fixture_commit_apply(f, &anew), STATUS_INVALID, "not to the current DEK");
    anew.object.dek_version = 2;
    anew.request.reseal_from = 2;
    cr_assert_eq(fixture_commit_apply(f, &anew), STATUS_CONFLICT, "not under that DEK");
    anew.request.reseal_from = 1;
    anew.object.n_chunks = 1;
    anew.object.size = 1000;
    cr_assert_eq(fixture_commit_apply(f, &anew), STATUS_INVALID, "another size");
    anew.object.n_chunks = 2;
    anew.object.size = 2000;
    anew.object.etag = etag;
    cr_assert_eq(fixture_commit_apply(f, &anew), STATUS_INVALID, "another etag");
    anew.object.etag = commit.object.etag;
    cr_assert_eq(fixture_key_state(f, f->tenant, true), STATUS_OK);
    cr_assert_eq(fixture_commit_apply(f, &anew), STATUS_KEY_REVOKED);
    cr_assert_eq(fixture_key_state(f, f->tenant, false), STATUS_OK);
    cr_assert_eq(fixture_commit_apply(f, &anew), STATUS_OK);
    fixture_audit(f);
}

/* Walk to the end, `rows` rows and `items` items at a time. Returns how many were found; checks that each is one of
 * 1..9 in its bucket, in order, and under the old DEK. */
static size_t walk_all(uint32_t rows, uint32_t items)
{
    struct reseal_walk walk = {.tenant_id = f->tenant, .current = 2};
    char last[80] = "";
    size_t found = 0;
    for (size_t calls = 0; !walk.ended; calls++) {
        Trilith__ResealPullReply reply = TRILITH__RESEAL_PULL_REPLY__INIT;
        cr_assert_lt(calls, 200, "no progress");
        cr_assert_eq(catalog_reseal_walk(fixture_tables(f), &walk, rows, items, &reply), STATUS_OK);
        cr_assert_leq(reply.n_items, items);
        cr_assert_leq(reply.n_items, rows);
        for (size_t i = 0; i < reply.n_items; i++) {
            const Trilith__ResealItem *item = reply.items[i];
            char name[80];
            (void)snprintf(name, sizeof(name), "%s/%.*s", item->bucket, (int)item->key.len, (char *)item->key.data);
            cr_assert_gt(strcmp(name, last), 0);
            memcpy(last, name, sizeof(last));
            cr_assert_eq(item->dek_version, 1);
            cr_assert_eq(item->tenant_id, f->tenant);
            cr_assert_eq(item->version_id.len, 16);
            cr_assert_eq(item->size, 1000);
        }
        found += reply.n_items;
    }
    return found;
}

Test(catalog_reseal, walk_finds_all_versions_under_other_keys)
{
    static const char *const buckets[] = {"aaa", "empty", "photos", "zzz"};
    cr_assert_eq(fixture_tenant_create(f, "other"), STATUS_OK);
    uint64_t other = f->outcome.id;
    cr_assert_eq(fixture_bucket_create(f, other, "others"), STATUS_OK);
    for (size_t i = 0; i < 4; i++) {
        Trilith__BucketRecord *bucket = NULL;
        (void)fixture_bucket_create(f, f->tenant, buckets[i]);
        cr_assert_eq(catalog_bucket(fixture_tables(f), f->tenant, buckets[i], &bucket), STATUS_OK);
        f->bucket = bucket->id;
        for (char key = '1'; i != 1 && key <= '9'; key++) {
            cr_assert_eq(fixture_put(f, &key, 1, 1), STATUS_OK);
        }
    }
    cr_assert_eq(walk_all(1000, 1000), 27);
    cr_assert_eq(fixture_dek_add(f, f->tenant), STATUS_OK);
    for (char key = '1'; key <= '9'; key += 2) { /* in the last bucket */
        fixture_commit_prepare(f, &commit, &key, 1, 1);
        commit.object.dek_version = 2;
        cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
    }
    for (uint32_t rows = 1; rows < 12; rows++) {
        cr_assert_eq(walk_all(rows, 3), 22, "%u rows", rows);
        cr_assert_eq(walk_all(rows, 100), 22, "%u rows", rows);
    }
}

Test(catalog_reseal, walk_goes_on_where_a_bucket_was_deleted_and_adds_to_the_reply)
{
    struct reseal_walk walk = {.tenant_id = f->tenant, .current = 2};
    Trilith__ResealPullReply reply = TRILITH__RESEAL_PULL_REPLY__INIT;
    uint64_t photos = f->bucket;
    cr_assert_eq(fixture_put(f, "a", 1, 0), STATUS_OK);
    cr_assert_eq(fixture_put(f, "b", 1, 0), STATUS_OK);
    cr_assert_eq(fixture_bucket_create(f, f->tenant, "quiet"), STATUS_OK);
    f->bucket = f->outcome.id;
    cr_assert_eq(fixture_put(f, "A", 1, 0), STATUS_OK);
    f->bucket = photos;
    cr_assert_eq(catalog_reseal_walk(fixture_tables(f), &walk, 1, 9, &reply), STATUS_OK);
    cr_assert_eq(reply.n_items, 1);
    cr_assert_not(walk.ended);
    cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
    cr_assert_eq(fixture_delete(f, "photos", "b", 1), STATUS_OK);
    cr_assert_eq(fixture_bucket_delete(f, f->tenant, "photos"), STATUS_OK);

    trilith__reseal_pull_reply__init(&reply);
    struct tables *tables = fixture_tables(f);
    struct reseal_walk first = {.tenant_id = 77, .current = 2};
    cr_assert_eq(catalog_reseal_walk(tables, &first, 9, 9, &reply), STATUS_OK);
    cr_assert(first.ended);
    cr_assert_eq(reply.n_items, 0, "no such tenant");
    cr_assert_eq(catalog_reseal_walk(tables, &walk, 9, 9, &reply), STATUS_OK);
    cr_assert_eq(reply.n_items, 1, "its key sorts before where the walk stood in the bucket that is gone");
    cr_assert_str_eq(reply.items[0]->bucket, "quiet");
    struct reseal_walk again = {.tenant_id = f->tenant, .current = 2};
    cr_assert_eq(catalog_reseal_walk(tables, &again, 9, 9, &reply), STATUS_OK);
    cr_assert_eq(reply.n_items, 2);
    cr_assert_str_eq(reply.items[0]->bucket, "quiet");
}
