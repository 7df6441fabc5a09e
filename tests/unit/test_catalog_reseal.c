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

static enum status look_up(const char *key, Trilith__Object **object)
{
    uint8_t copy[64];
    size_t bytes = strlen(key);
    memcpy(copy, key, bytes);
    return catalog_object(fixture_tables(f), f->bucket, (ProtobufCBinaryData){.data = copy, .len = bytes}, object);
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

/* `anew`: the version that `commit` holds, under a fresh leaf, other chunks and the current DEK. */
static void reseal_prepare(struct fixture_commit *anew)
{
    fixture_commit_prepare(f, anew, commit.request.key.data, commit.request.key.len, commit.object.n_chunks);
    memcpy(anew->version, commit.version, 16);
    anew->object.dek_version = 2;
    anew->request.reseal_from = 1;
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
    cr_assert_eq(look_up("a", &object), STATUS_OK);
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
    cr_assert_eq(look_up("a", &object), STATUS_OK);
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
    cr_assert_eq(fixture_commit_apply(f, &first), STATUS_OK);
    cr_assert_eq(fixture_commit_apply(f, &second), STATUS_CONFLICT, "it is not under that DEK any more");
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

/* Walk to the end, `rows` rows and `items` items at a time. Returns how many were found; checks that each is one of 1..9
 * in its bucket, in order, and under the old DEK. */
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
