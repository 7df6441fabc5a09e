/* test_leaves.c - every leaf goes one way, belongs to one, and is counted: rules one by one, then at random against a
 * model that knows nothing of rows. */
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

static const Trilith__ClusterRecord *cluster(void)
{
    return state_cluster(f->state);
}

static uint64_t count_rows(struct table_key prefix)
{
    struct table_walk walk;
    struct kv_slice key, value;
    uint64_t count = 0;
    table_walk_open(&walk, fixture_tables(f), prefix);
    for (; table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        count++;
    }
    table_walk_close(&walk);
    return count;
}

static uint64_t count_leases(void)
{
    return count_rows(key_prefix(key_lease(0, 0, 0), 1));
}

/* How many leaves the last command punctured. */
static uint32_t punctured(void)
{
    uint32_t count = 0;
    for (size_t i = 0; i < f->outcome.punctured_count; i++) {
        count += fixture_bits(f->outcome.punctured[i].leaves.bits);
    }
    return count;
}

TestSuite(leaves, .init = setup, .fini = teardown);

Test(leaves, lease_is_of_a_page_of_that_bucket_alone)
{
    cr_assert_eq(fixture_lease(f, f->tenant, f->bucket, 0), STATUS_INVALID);
    cr_assert_eq(fixture_lease(f, f->tenant, f->bucket, 257), STATUS_INVALID);
    cr_assert_eq(fixture_lease(f, f->tenant, 0, 0), STATUS_INVALID);
    cr_assert_eq(fixture_lease(f, f->tenant, 0, 257), STATUS_INVALID);
    cr_assert_eq(fixture_lease(f, 99, 0, 1), STATUS_NOT_FOUND);
    cr_assert_eq(fixture_lease(f, 99, f->bucket, 1), STATUS_NOT_FOUND);
    cr_assert_eq(fixture_lease(f, f->tenant, 99, 1), STATUS_NOT_FOUND);
    cr_assert_eq(fixture_lease(f, f->tenant, 0, 1), STATUS_OK);
    uint32_t keys = f->outcome.leased.page;
    cr_assert_eq(fixture_lease(f, f->tenant, f->bucket, 1), STATUS_OK);
    cr_assert_neq(f->outcome.leased.page, keys);
    cr_assert_eq(count_rows(key_prefix(key_bucket_page(f->tenant, 0, 0), 17)), 1);
    cr_assert_eq(count_rows(key_prefix(key_bucket_page(f->tenant, f->bucket, 0), 17)), 1);
    fixture_audit(f);
}

Test(leaves, of_keys_are_not_for_objects_nor_the_other_way)
{
    const struct leaf_at key_leaf = fixture_lease_for_keys(f, f->tenant, 1);
    fixture_commit_prepare(f, &commit, "a", 1, 0);
    const struct leaf_at object_leaf = {.page = commit.object.page, .slot = commit.object.slot};
    commit.object.page = key_leaf.page;
    commit.object.slot = key_leaf.slot;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_CONFLICT);
    Trilith__SealedDek dek = fixture_sealed_dek(2, object_leaf);
    cr_assert_eq(fixture_dek_apply(f, f->tenant, &dek, FIXTURE_CMK), STATUS_CONFLICT);
    cr_assert_eq(fixture_abort(f, NULL, 0, key_leaf), STATUS_OK);
    cr_assert_eq(punctured(), 0, "a gateway has no say about keys");
    dek.page = key_leaf.page;
    dek.slot = key_leaf.slot;
    cr_assert_eq(fixture_dek_apply(f, f->tenant, &dek, FIXTURE_CMK), STATUS_OK);
    fixture_audit(f);
}

Test(leaves, overwriting_uses_one_and_punctures_one_of_the_same_page)
{
    cr_assert_eq(fixture_put(f, "a", 1, 0), STATUS_OK);
    uint64_t live = cluster()->leaves_live;
    cr_assert_eq(fixture_put(f, "a", 1, 0), STATUS_OK);
    cr_assert_eq(punctured(), 1);
    cr_assert_eq(cluster()->leaves_live, live);
    fixture_audit(f);
    uint32_t page = commit.object.page;
    cr_assert_eq(fixture_lease(f, f->tenant, f->bucket, 256), STATUS_OK);
    cr_assert_eq(fixture_put(f, "a", 1, 0), STATUS_OK);
    cr_assert_eq(punctured(), 1);
    cr_assert_neq(f->outcome.punctured[0].page, page, "across two pages too");
    fixture_audit(f);
}

Test(leaves, given_up_are_punctured_only_when_idle_and_the_tenants_own)
{
    cr_assert_eq(fixture_lease(f, f->tenant, f->bucket, 2), STATUS_OK);
    const struct leaf_at leaf = {.page = f->outcome.leased.page, .slot = f->outcome.leased.first_slot};
    const struct leaf_at fresh = {.page = leaf.page, .slot = leaf.slot + 2};
    const struct leaf_at beyond = {.page = leaf.page, .slot = 5000};
    const struct leaf_at unknown = {.page = 4000, .slot = 0};
    uint64_t tenant = f->tenant;
    cr_assert_eq(fixture_abort(f, NULL, 0, fresh), STATUS_OK);
    cr_assert_eq(fixture_abort(f, NULL, 0, beyond), STATUS_OK);
    cr_assert_eq(fixture_abort(f, NULL, 0, unknown), STATUS_OK);
    f->tenant = tenant + 1;
    cr_assert_eq(fixture_abort(f, NULL, 0, leaf), STATUS_OK);
    f->tenant = 0;
    cr_assert_eq(fixture_abort(f, NULL, 0, leaf), STATUS_OK);
    cr_assert_eq(cluster()->leaves_punctured, 0);
    f->tenant = tenant;
    cr_assert_eq(fixture_abort(f, NULL, 0, leaf), STATUS_OK);
    cr_assert_eq(punctured(), 1);
    cr_assert_eq(cluster()->leaves_punctured, 1);
    fixture_audit(f);
}

Test(leaves, lapse_punctures_what_was_not_used_in_time)
{
    cr_assert_eq(fixture_lease(f, f->tenant, f->bucket, 10), STATUS_OK);
    const struct leaf_range leased = f->outcome.leased;
    fixture_commit_prepare(f, &commit, "a", 1, 0);
    commit.object.slot = leased.first_slot + 3;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
    f->now_ms += FIXTURE_LEASE_MS - 1;
    cr_assert_not(leaves_have_lapsed(fixture_tables(f), f->now_ms));
    cr_assert_eq(fixture_lapse(f), STATUS_OK);
    cr_assert_eq(punctured(), 0, "a lease still holds");
    f->now_ms++;
    cr_assert(leaves_have_lapsed(fixture_tables(f), f->now_ms));
    cr_assert_eq(fixture_lapse(f), STATUS_OK);
    cr_assert_eq(f->outcome.punctured_count, 1, "one page");
    cr_assert_eq(punctured(), 10, "nine, and the one of the commit's own lease");
    cr_assert_eq(f->outcome.punctured[0].leaves.bits[0], 0xf7, "not the one in use");
    cr_assert_eq(count_leases(), 0);
    cr_assert_not(leaves_have_lapsed(fixture_tables(f), UINT64_MAX));
    cr_assert_eq(fixture_lapse(f), STATUS_OK);
    cr_assert_eq(punctured(), 0);
    fixture_audit(f);
}

Test(leaves, lapse_takes_a_bounded_number_oldest_first)
{
    for (size_t i = 0; i < LEASES_LAPSED_MAX + 44; i++) {
        f->now_ms++;
        cr_assert_eq(fixture_lease(f, f->tenant, f->bucket, 1), STATUS_OK);
    }
    uint64_t leases = count_leases();
    f->now_ms += FIXTURE_LEASE_MS;
    cr_assert_eq(fixture_lapse(f), STATUS_OK);
    cr_assert_eq(count_leases(), leases - LEASES_LAPSED_MAX);
    cr_assert(leaves_have_lapsed(fixture_tables(f), f->now_ms));
    cr_assert_eq(fixture_lapse(f), STATUS_OK);
    cr_assert_eq(count_leases(), 0);
    fixture_audit(f);
}

Test(leaves, of_a_deleted_bucket_are_all_punctured)
{
    cr_assert_eq(fixture_bucket_create(f, f->tenant, "second"), STATUS_OK);
    uint64_t second = f->outcome.id;
    cr_assert_eq(fixture_lease(f, f->tenant, second, 256), STATUS_OK);
    cr_assert_eq(fixture_lease(f, f->tenant, second, 256), STATUS_OK);
    cr_assert_eq(fixture_lease(f, f->tenant, second, 3), STATUS_OK);
    cr_assert_eq(fixture_put(f, "a", 1, 0), STATUS_OK);
    cr_assert_eq(fixture_bucket_delete(f, f->tenant, "second"), STATUS_OK);
    cr_assert_eq(f->outcome.punctured_count, 3);
    cr_assert_eq(punctured(), 3 * 256, "fresh ones too");
    cr_assert_eq(count_rows(key_prefix(key_bucket_page(f->tenant, second, 0), 17)), 0);
    fixture_audit(f);
    f->now_ms += FIXTURE_LEASE_MS;
    cr_assert_eq(fixture_lapse(f), STATUS_OK);
    cr_assert_leq(punctured(), 1, "a dropped page has nothing left to lapse");
    fixture_audit(f);
    uint8_t name[] = "a";
    Trilith__Object *object = NULL;
    const ProtobufCBinaryData other = {.data = name, .len = 1};
    cr_assert_eq(catalog_object(fixture_tables(f), f->bucket, other, &object), STATUS_OK, "it is as it was");
}

Test(leaves, many_pages_are_dropped_at_once)
{
    for (size_t i = 0; i < 5000; i++) {
        cr_assert_eq(fixture_lease(f, f->tenant, f->bucket, 256), STATUS_OK);
    }
    cr_assert_eq(fixture_bucket_delete(f, f->tenant, "photos"), STATUS_OK);
    cr_assert_eq(f->outcome.punctured_count, 5000);
    cr_assert_eq(punctured(), 5000 * 256);
    cr_assert_eq(cluster()->leaves_punctured, 5000 * 256);
    cr_assert_eq(fixture_count_dirty(f), 5000 * 256);
}

Test(leaves, of_a_page_with_a_live_one_are_not_dropped)
{
    for (size_t i = 0; i < 2; i++) { /* the tenant's first DEK stands on the first page */
        cr_assert_eq(fixture_lease(f, f->tenant, 0, 256), STATUS_OK);
    }
    struct tables *tables = fixture_tables(f);
    Trilith__ClusterRecord sums = *cluster();
    struct change change = {.tables = tables, .cluster = &sums, .time_ms = f->now_ms};
    kv_batch_clear(tables->batch);
    cr_assert_eq(leaves_drop(&change, f->tenant, 0), STATUS_OK);
    cr_assert_eq(change.outcome.punctured_count, 1);
    cr_assert_eq(change.outcome.punctured[0].page, sums.next_page - 1);
    cr_assert_eq(sums.leaves_live, 1);
    cr_assert_eq(sums.leaves_punctured, 256);
    kv_batch_clear(tables->batch);
}

/* ---- the pages of a tenant that is erased ------------------------------------------------------ */

Test(leaves, live_ones_are_dropped_page_by_page_with_their_tenant)
{
    static const uint64_t live_left[] = {300 - 256, 0};
    for (uint32_t i = 0; i < 300; i++) {
        char key[8];
        int bytes = snprintf(key, sizeof(key), "%u", i);
        cr_assert_eq(fixture_put(f, key, (size_t)bytes, 0), STATUS_OK);
    }
    uint64_t keys = state_cluster(f->state)->leaves_live - 300;
    for (size_t step = 0; step < 2; step++) {
        struct fixture_change direct;
        uint64_t dropped = 0;
        bool more = false;
        cr_assert_eq(leaves_drop_live(fixture_change_begin(f, &direct), f->tenant, f->bucket, 1, &dropped, &more),
                     STATUS_OK);
        cr_assert_eq(dropped, step == 0 ? 256 : 44);
        cr_assert_eq(more, step == 0);
        cr_assert_eq(direct.change.outcome.punctured_count, 1, "the vault is told");
        direct.cluster.objects -= dropped;
        fixture_change_end(f, &direct);
        cr_assert_eq(state_cluster(f->state)->leaves_live, keys + live_left[step]);
        const struct fixture_leaves leaves = fixture_count_leaves(f);
        cr_assert_eq(leaves.live, keys + live_left[step]);
        cr_assert_eq(leaves.punctured, state_cluster(f->state)->leaves_punctured);
        cr_assert_eq(leaves.punctured, 256 * (step + 1));
        cr_assert(epochs_balance(state_cluster(f->state)));
    }
    cr_assert_eq(fixture_seal(f, 1, 1), STATUS_OK);
    cr_assert_eq(fixture_switch(f, 1, 1), STATUS_OK, "the sums agree");
}

/* ---- at random, against a model ---------------------------------------------------------------- */

#define MODEL_PAGES   64
#define MODEL_OBJECTS 12
#define MODEL_BUCKETS 3
#define MODEL_DEKS    40

enum model_leaf { FRESH, IDLE, LIVE, PUNCTURED };

struct model_lease {
    struct leaf_range range;
    uint64_t expires_ms;
};

/* What a reader of leaves.h and epochs.h would write on paper. */
static struct {
    enum model_leaf leaves[MODEL_PAGES][PAGE_LEAVES];
    uint64_t lost_before[MODEL_PAGES]
                        [PAGE_LEAVES]; /* by which seal a punctured leaf is taken; 0: it is not punctured */
    uint64_t seal;
    uint64_t switched_seal;
    struct model_lease leases[4096];
    size_t lease_count;
    struct leaf_at objects[MODEL_BUCKETS][MODEL_OBJECTS]; /* page 0: there is none */
    struct leaf_at reseals[MODEL_BUCKETS][MODEL_OBJECTS]; /* leased to seal the object anew; page 0: none */
    uint8_t versions[MODEL_BUCKETS][MODEL_OBJECTS][16];
    struct leaf_at deks[MODEL_DEKS]; /* by version; page 0: none, or destroyed */
    uint64_t buckets[MODEL_BUCKETS]; /* 0: deleted */
} model;

static uint64_t random_state;

static uint32_t draw(uint32_t below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(random_state >> 33) % below;
}

static void model_lose(struct leaf_at leaf)
{
    model.leaves[leaf.page][leaf.slot] = PUNCTURED;
    model.lost_before[leaf.page][leaf.slot] = model.seal + 1;
}

static void model_lease_noted(void)
{
    const struct leaf_range range = f->outcome.leased;
    cr_assert_lt(range.page, MODEL_PAGES);
    for (uint32_t i = 0; i < range.count; i++) {
        cr_assert_eq(model.leaves[range.page][range.first_slot + i], FRESH, "given out twice");
        model.leaves[range.page][range.first_slot + i] = IDLE;
    }
    cr_assert_lt(model.lease_count, 4096);
    model.leases[model.lease_count++] =
        (struct model_lease){.range = range, .expires_ms = f->now_ms + FIXTURE_LEASE_MS};
}

static struct leaf_at leased_leaf(uint64_t bucket)
{
    cr_assert_eq(fixture_lease(f, f->tenant, bucket, 1), STATUS_OK);
    model_lease_noted();
    return (struct leaf_at){.page = f->outcome.leased.page, .slot = f->outcome.leased.first_slot};
}

/* The object goes, or what was begun to seal it anew. Returns whether a leaf goes with that. */
static bool model_lose_reseal(size_t bucket, size_t object)
{
    const struct leaf_at leaf = model.reseals[bucket][object];
    bool idle = leaf.page != 0 && model.leaves[leaf.page][leaf.slot] == IDLE;
    if (idle) {
        model_lose(leaf);
    }
    model.reseals[bucket][object] = (struct leaf_at){0};
    return idle;
}

static void act_put(size_t bucket)
{
    uint8_t key = (uint8_t)('A' + draw(MODEL_OBJECTS));
    struct leaf_at *leaf = &model.objects[bucket][key - 'A'];
    f->bucket = model.buckets[bucket];
    fixture_commit_prepare(f, &commit, &key, 1, 0);
    model_lease_noted();
    commit.object.dek_version = fixture_tenant(f, f->tenant)->dek_version;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
    uint32_t lost = model_lose_reseal(bucket, key - 'A') ? 1 : 0;
    if (leaf->page != 0) {
        model_lose(*leaf);
        lost++;
    }
    cr_assert_eq(punctured(), lost);
    memcpy(model.versions[bucket][key - 'A'], commit.version, 16);
    *leaf = (struct leaf_at){.page = commit.object.page, .slot = commit.object.slot};
    model.leaves[leaf->page][leaf->slot] = LIVE;
}

static void act_delete(size_t bucket)
{
    static const char *const names[MODEL_BUCKETS] = {"bucket-0", "bucket-1", "bucket-2"};
    uint8_t key = (uint8_t)('A' + draw(MODEL_OBJECTS));
    struct leaf_at *leaf = &model.objects[bucket][key - 'A'];
    cr_assert_eq(fixture_delete(f, names[bucket], &key, 1), STATUS_OK);
    uint32_t lost = model_lose_reseal(bucket, key - 'A') ? 1 : 0;
    cr_assert_eq(punctured(), lost + (leaf->page != 0 ? 1 : 0));
    if (leaf->page != 0) {
        model_lose(*leaf);
        *leaf = (struct leaf_at){0};
    }
}

/* Take a leaf to seal an object anew, and perhaps another one in its place. */
static void act_reseal(size_t bucket)
{
    uint8_t key = (uint8_t)('A' + draw(MODEL_OBJECTS));
    const ProtobufCBinaryData name = {.data = &key, .len = 1};
    const ProtobufCBinaryData version = {.data = model.versions[bucket][key - 'A'], .len = 16};
    bool exists = model.objects[bucket][key - 'A'].page != 0;
    f->bucket = model.buckets[bucket];
    for (uint32_t rounds = draw(3); rounds > 0; rounds--) {
        cr_assert_eq(fixture_lease_for_reseal(f, name, version), exists ? STATUS_OK : STATUS_CONFLICT);
        if (!exists) {
            return;
        }
        const struct leaf_at leaf = {.page = f->outcome.leased.page, .slot = f->outcome.leased.first_slot};
        cr_assert_eq(punctured(), model_lose_reseal(bucket, key - 'A') ? 1 : 0);
        model_lease_noted();
        model.reseals[bucket][key - 'A'] = leaf;
    }
}

static void act_give_up(size_t bucket)
{
    struct leaf_at leaf = leased_leaf(model.buckets[bucket]);
    leaf.slot = draw(2) == 0 ? leaf.slot : draw(PAGE_LEAVES); /* its own, or any of that page */
    bool idle = model.leaves[leaf.page][leaf.slot] == IDLE;
    cr_assert_eq(fixture_abort(f, NULL, 0, leaf), STATUS_OK);
    cr_assert_eq(punctured(), idle ? 1 : 0);
    if (idle) {
        model_lose(leaf);
    }
}

static void act_lapse(void)
{
    f->now_ms += draw(FIXTURE_LEASE_MS / 2);
    cr_assert_eq(fixture_lapse(f), STATUS_OK);
    size_t kept = 0;
    for (size_t i = 0; i < model.lease_count; i++) {
        const struct model_lease lease = model.leases[i];
        if (lease.expires_ms > f->now_ms) {
            model.leases[kept++] = lease;
            continue;
        }
        for (uint32_t slot = lease.range.first_slot; slot < lease.range.first_slot + lease.range.count; slot++) {
            if (model.leaves[lease.range.page][slot] == IDLE) {
                model_lose((struct leaf_at){.page = lease.range.page, .slot = slot});
            }
        }
    }
    model.lease_count = kept;
}

/* Delete a bucket that is empty, and make it anew. */
static void act_drop(size_t bucket)
{
    char name[16];
    bool empty = true;
    (void)snprintf(name, sizeof(name), "bucket-%zu", bucket);
    for (size_t i = 0; i < MODEL_OBJECTS; i++) {
        empty = empty && model.objects[bucket][i].page == 0;
    }
    uint8_t owned[MODEL_PAGES] = {0};
    for (uint32_t page = 1; page < cluster()->next_page; page++) {
        Trilith__PageRecord *record = NULL;
        cr_assert_eq(tables_get(fixture_tables(f), key_page(page), &trilith__page_record__descriptor, &record),
                     STATUS_OK);
        owned[page] = record->bucket_id == model.buckets[bucket] ? 1 : 0;
    }
    cr_assert_eq(fixture_bucket_delete(f, f->tenant, name), empty ? STATUS_OK : STATUS_NOT_EMPTY);
    if (!empty) {
        return;
    }
    for (uint32_t page = 1; page < MODEL_PAGES; page++) {
        for (uint32_t slot = 0; owned[page] != 0 && slot < PAGE_LEAVES; slot++) {
            if (model.leaves[page][slot] != PUNCTURED) {
                model_lose((struct leaf_at){.page = page, .slot = slot});
            }
        }
    }
    cr_assert_eq(fixture_bucket_create(f, f->tenant, name), STATUS_OK);
    model.buckets[bucket] = f->outcome.id;
}

static void act_keys(void)
{
    const Trilith__TenantRecord *tenant = fixture_tenant(f, f->tenant);
    uint32_t current = tenant->dek_version;
    if (current + 1 < MODEL_DEKS && draw(2) == 0) {
        struct leaf_at leaf = leased_leaf(0);
        Trilith__SealedDek dek = fixture_sealed_dek(current + 1, leaf);
        cr_assert_eq(fixture_dek_apply(f, f->tenant, &dek, FIXTURE_CMK), STATUS_OK);
        model.deks[current + 1] = leaf;
        model.leaves[leaf.page][leaf.slot] = LIVE;
        return;
    }
    uint32_t version = 1 + draw(current);
    const Trilith__DekRecord *record = tenant_dek(tenant, version);
    cr_assert_not_null(record);
    enum status expected = STATUS_OK;
    if (record->destroyed_ms == 0 && version == current) {
        expected = STATUS_CONFLICT;
    } else if (record->objects > 0) {
        expected = STATUS_NOT_EMPTY;
    }
    cr_assert_eq(fixture_dek_destroy(f, f->tenant, version), expected);
    if (expected == STATUS_OK && model.deks[version].page != 0) {
        model_lose(model.deks[version]);
        model.deks[version] = (struct leaf_at){0};
    }
}

static void act_epoch(void)
{
    uint64_t epoch = cluster()->epoch;
    switch (draw(3)) {
    case 0:
        if (fixture_seal(f, epoch + 1, 7) == STATUS_OK) {
            model.seal++;
        }
        return;
    case 1:
        if (cluster()->sealed_epoch != 0) {
            cr_assert_eq(fixture_switch(f, epoch + 1, 7), STATUS_OK);
            model.switched_seal = model.seal;
        }
        return;
    default:
        (void)fixture_erased(f, cluster()->erasing_epoch, 3);
        return;
    }
}

static void check_model(void)
{
    uint64_t pages = cluster()->next_page - 1;
    uint64_t counts[4] = {0};
    uint64_t erased = 0;
    cr_assert_lt(pages, MODEL_PAGES);
    for (uint64_t page = 1; page <= pages; page++) {
        for (uint32_t slot = 0; slot < PAGE_LEAVES; slot++) {
            counts[model.leaves[page][slot]]++;
            uint64_t seal = model.lost_before[page][slot];
            erased += seal != 0 && seal <= model.switched_seal ? 1 : 0;
        }
    }
    const struct fixture_leaves leaves = fixture_count_leaves(f);
    cr_assert_eq(leaves.fresh, counts[FRESH]);
    cr_assert_eq(leaves.idle, counts[IDLE]);
    cr_assert_eq(leaves.live, counts[LIVE]);
    cr_assert_eq(leaves.punctured, counts[PUNCTURED]);
    cr_assert_eq(cluster()->leaves_erased, erased);
    cr_assert_eq(cluster()->seal, model.seal);
    cr_assert_eq(count_leases(), model.lease_count);
    fixture_audit(f);
}

static void run_model(uint64_t seed)
{
    fixture_open(f);
    memset(&model, 0, sizeof(model));
    random_state = seed;
    Trilith__SealedDek *dek = NULL;
    cr_assert_eq(tenant_sealed_dek(fixture_tables(f), f->tenant, 1, &dek), STATUS_OK);
    model.deks[1] = (struct leaf_at){.page = dek->page, .slot = dek->slot};
    model.leaves[dek->page][dek->slot] = LIVE;
    model.leases[model.lease_count++] = (struct model_lease){
        .range = {.page = dek->page, .first_slot = dek->slot, .count = 1}, .expires_ms = f->now_ms + FIXTURE_LEASE_MS};
    for (size_t bucket = 0; bucket < MODEL_BUCKETS; bucket++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "bucket-%zu", bucket);
        cr_assert_eq(fixture_bucket_create(f, f->tenant, name), STATUS_OK);
        model.buckets[bucket] = f->outcome.id;
    }
    for (size_t step = 0; step < 1200; step++) {
        size_t bucket = draw(MODEL_BUCKETS);
        switch (draw(14)) {
        case 0:
        case 1:
        case 2:
            act_put(bucket);
            break;
        case 3:
        case 4:
        case 5:
            act_delete(bucket);
            break;
        case 6:
            act_give_up(bucket);
            break;
        case 7:
            act_lapse();
            break;
        case 8:
            act_keys();
            break;
        case 9:
            act_drop(bucket);
            break;
        case 10:
        case 11:
            act_reseal(bucket);
            break;
        default:
            act_epoch();
            break;
        }
        if (step % 20 == 0) {
            check_model();
        }
    }
    check_model();
    cr_assert_gt(cluster()->epoch, 3);
    cr_assert_gt(cluster()->leaves_erased, 0);
    fixture_close(f);
}

Test(leaves_model, agrees_with_the_rows, .timeout = 120)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        run_model(seed);
    }
}
