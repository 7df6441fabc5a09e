/* test_catalog.c - buckets, commits, deletes and leaves; and listings held against a brute-force model. */
#include "tests/unit/meta_fixture.h"

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

TestSuite(catalog_bucket, .init = setup, .fini = teardown);

Test(catalog_bucket, names_are_those_of_s3)
{
    cr_assert(bucket_name_is_valid("abc"));
    cr_assert(bucket_name_is_valid("a.b-9"));
    cr_assert_not(bucket_name_is_valid("ab"));
    cr_assert_not(bucket_name_is_valid("Abc"));
    cr_assert_not(bucket_name_is_valid("-abc"));
    cr_assert_not(bucket_name_is_valid("abc."));
    cr_assert_not(bucket_name_is_valid("a_c"));
    cr_assert_not(bucket_name_is_valid(""));
    cr_assert(bucket_name_is_valid("123456789012345678901234567890123456789012345678901234567890123"));
    cr_assert_not(bucket_name_is_valid("1234567890123456789012345678901234567890123456789012345678901234"));
}

Test(catalog_bucket, belongs_to_its_tenant_alone)
{
    Trilith__BucketRecord *bucket = NULL;
    cr_assert_eq(fixture_tenant_create(f, "other"), STATUS_OK);
    uint64_t other = f->outcome.id;
    cr_assert_eq(catalog_bucket(fixture_tables(f), other, "photos", &bucket), STATUS_NOT_FOUND);
    cr_assert_eq(fixture_bucket_create(f, other, "photos"), STATUS_OK);
    cr_assert_eq(fixture_lease(f, other, f->bucket, 1), STATUS_NOT_FOUND);

    fixture_commit_prepare(f, &commit, "a", 1, 0);
    commit.request.tenant_id = other;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_NOT_FOUND);
}

Test(catalog_bucket, can_be_deleted_only_when_empty)
{
    cr_assert_eq(fixture_put(f, "a", 1, 1), STATUS_OK);
    cr_assert_eq(fixture_bucket_delete(f, f->tenant, "photos"), STATUS_NOT_EMPTY);
    cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
    cr_assert_eq(fixture_bucket_delete(f, f->tenant, "photos"), STATUS_OK);
    cr_assert_eq(fixture_bucket_delete(f, f->tenant, "photos"), STATUS_NOT_FOUND);
}

Test(catalog_bucket, are_listed_in_order_and_in_pages)
{
    cr_assert_eq(fixture_bucket_create(f, f->tenant, "zoo"), STATUS_OK);
    cr_assert_eq(fixture_bucket_create(f, f->tenant, "alpha"), STATUS_OK);
    Trilith__BucketListReply reply = TRILITH__BUCKET_LIST_REPLY__INIT;
    cr_assert_eq(catalog_bucket_list(fixture_tables(f), f->tenant, "", 2, &reply), STATUS_OK);
    cr_assert_eq(reply.n_buckets, 2);
    cr_assert(reply.truncated);
    cr_assert_str_eq(reply.buckets[0]->name, "alpha");
    cr_assert_str_eq(reply.buckets[1]->name, "photos");
    trilith__bucket_list_reply__init(&reply);
    cr_assert_eq(catalog_bucket_list(fixture_tables(f), f->tenant, "photos", 2, &reply), STATUS_OK);
    cr_assert_eq(reply.n_buckets, 1);
    cr_assert_not(reply.truncated);
    cr_assert_str_eq(reply.buckets[0]->name, "zoo");
}

/* ---- commits ----------------------------------------------------------------------------------- */

TestSuite(catalog_commit, .init = setup, .fini = teardown);

Test(catalog_commit, makes_the_version_readable)
{
    Trilith__Object *object = NULL;
    fixture_commit_prepare(f, &commit, "a", 1, 3);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
    cr_assert_eq(f->outcome.modified_ms, f->now_ms);
    cr_assert_eq(f->outcome.erasure_id, 0);
    cr_assert_eq(fixture_look_up(f, "a", &object), STATUS_OK);
    cr_assert_eq(object->size, 3000);
    cr_assert_eq(object->modified_ms, f->now_ms);
    cr_assert_eq(object->n_chunks, 3);
    cr_assert_arr_eq(object->chunks[2]->chunk_id.data, commit.ids[2], 16);
    cr_assert_eq(fixture_look_up(f, "b", &object), STATUS_NOT_FOUND);
}

Test(catalog_commit, of_the_same_version_gives_the_same_outcome)
{
    cr_assert_eq(fixture_put(f, "a", 1, 1), STATUS_OK);
    fixture_commit_prepare(f, &commit, "a", 1, 2);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
    struct outcome first = f->outcome;
    cr_assert_neq(first.erasure_id, 0);
    f->now_ms += 5000;
    commit.request.if_none_match = true;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
    cr_assert_eq(f->outcome.erasure_id, first.erasure_id);
    cr_assert_eq(f->outcome.modified_ms, first.modified_ms);
    cr_assert_eq(state_cluster(f->state)->objects, 1);
}

Test(catalog_commit, of_a_version_that_was_replaced_does_not_bring_it_back)
{
    fixture_commit_prepare(f, &commit, "a", 1, 1);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
    cr_assert_eq(fixture_put(f, "a", 1, 1), STATUS_OK);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_CONFLICT);
    cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_CONFLICT);
}

Test(catalog_commit, respects_if_none_match)
{
    cr_assert_eq(fixture_put(f, "a", 1, 1), STATUS_OK);
    fixture_commit_prepare(f, &commit, "a", 1, 1);
    commit.request.if_none_match = true;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_EXISTS);
    fixture_commit_prepare(f, &commit, "b", 1, 1);
    commit.request.if_none_match = true;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
}

Test(catalog_commit, is_refused_when_the_bucket_has_gone)
{
    fixture_commit_prepare(f, &commit, "a", 1, 1);
    cr_assert_eq(fixture_bucket_delete(f, f->tenant, "photos"), STATUS_OK);
    cr_assert_eq(fixture_bucket_create(f, f->tenant, "photos"), STATUS_OK);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_NOT_FOUND, "a bucket made anew must not get the object");
}

Test(catalog_commit, last_of_two_wins_and_the_first_is_erased)
{
    static struct fixture_commit second;
    Trilith__Object *object = NULL;
    fixture_commit_prepare(f, &commit, "a", 1, 1);
    fixture_commit_prepare(f, &second, "a", 1, 2);
    cr_assert_eq(fixture_commit_apply(f, &second), STATUS_OK);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
    cr_assert_neq(f->outcome.erasure_id, 0);
    cr_assert_eq(f->outcome.punctured_count, 1);
    cr_assert_eq(f->outcome.punctured[0].page, second.object.page);
    cr_assert_eq(f->outcome.punctured[0].leaves.bits[second.object.slot / 8], 1u << (second.object.slot % 8));
    cr_assert_eq(fixture_look_up(f, "a", &object), STATUS_OK);
    cr_assert_arr_eq(object->version_id.data, commit.version, 16);
}

Test(catalog_commit, refuses_what_is_malformed)
{
    static uint8_t long_key[OBJECT_KEY_BYTES_MAX + 1];
    memset(long_key, 'k', sizeof(long_key));
    fixture_commit_prepare(f, &commit, "a", 1, 2);
    commit.object.size++;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_INVALID, "sizes do not add up");
    fixture_commit_prepare(f, &commit, "", 0, 2);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_INVALID, "empty key");
    fixture_commit_prepare(f, &commit, long_key, sizeof(long_key), 2);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_INVALID, "long key");
    fixture_commit_prepare(f, &commit, long_key, sizeof(long_key) - 1, 2);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK, "the longest key");
    fixture_commit_prepare(f, &commit, "a", 1, 2);
    commit.chunks[1].chunk_id.len = 15;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_INVALID, "short id");
    fixture_commit_prepare(f, &commit, "a", 1, 2);
    commit.object.version_id.len = 0;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_INVALID, "no version");
    fixture_commit_prepare(f, &commit, "a", 1, 2);
    commit.chunks[0].chunk_bytes = 0;
    commit.object.size = 1000;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_INVALID, "empty chunk");
    fixture_commit_prepare(f, &commit, "a", 1, 1);
    commit.chunks[0].chunk_bytes = CHUNK_BYTES_MAX + 1;
    commit.object.size = CHUNK_BYTES_MAX + 1;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_INVALID, "long chunk");
    fixture_commit_prepare(f, &commit, "a", 1, 1);
    commit.chunks[0].pg = 9999;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_INVALID, "no such PG");
    fixture_commit_prepare(f, &commit, "a", 1, 2);
    memcpy(commit.ids[1], commit.ids[0], 16);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_INVALID, "one chunk twice");
    fixture_commit_prepare(f, &commit, "a", 1, 1);
    commit.object.dek_version = 2;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_INVALID, "no such DEK");
    commit.object.dek_version = 0;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_INVALID, "no DEK");
    commit.object.dek_version = 1;
    commit.object.suite = 3;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_INVALID, "no such suite");
    commit.request.object = NULL;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_INVALID, "no object");
}

Test(catalog_commit, refuses_fields_that_are_not_known)
{
    static uint8_t bytes[TABLE_VALUE_BYTES_MAX];
    static ProtobufCMessageUnknownField unknown = {
        .tag = 1000, .wire_type = PROTOBUF_C_WIRE_TYPE_VARINT, .data = bytes, .len = 1};
    fixture_commit_prepare(f, &commit, "a", 1, 2);
    commit.object.base.unknown_fields = &unknown;
    commit.object.base.n_unknown_fields = 1;
    cr_assert_not(catalog_commit_is_valid(&commit.request));
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_INVALID, "in the object");
    fixture_commit_prepare(f, &commit, "a", 1, 2);
    commit.chunks[1].base.unknown_fields = &unknown;
    commit.chunks[1].base.n_unknown_fields = 1;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_INVALID, "in a chunk");
}

Test(catalog_commit, refuses_a_chunk_of_another_version)
{
    static struct fixture_commit other;
    fixture_commit_prepare(f, &other, "a", 1, 1);
    cr_assert_eq(fixture_commit_apply(f, &other), STATUS_OK);
    fixture_commit_prepare(f, &commit, "b", 1, 1);
    memcpy(commit.ids[0], other.ids[0], 16);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_CONFLICT);
    fixture_commit_prepare(f, &commit, "a", 1, 1);
    memcpy(commit.ids[0], other.ids[0], 16);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_CONFLICT, "nor of the version it replaces");
}

Test(catalog_commit, keeps_an_object_of_the_most_chunks)
{
    static Trilith__ChunkRef chunks[OBJECT_CHUNKS_MAX + 1];
    static Trilith__ChunkRef *pointers[OBJECT_CHUNKS_MAX + 1];
    static uint8_t ids[OBJECT_CHUNKS_MAX + 1][16];
    for (size_t i = 0; i <= OBJECT_CHUNKS_MAX; i++) {
        memset(ids[i], 0xee, 16);
        memcpy(ids[i], &i, sizeof(i));
        trilith__chunk_ref__init(&chunks[i]);
        chunks[i].chunk_id = (ProtobufCBinaryData){.data = ids[i], .len = 16};
        chunks[i].pg = 1;
        chunks[i].chunk_bytes = CHUNK_BYTES_MAX;
        pointers[i] = &chunks[i];
    }
    fixture_commit_prepare(f, &commit, "big", 3, 0);
    commit.object.chunks = pointers;
    commit.object.n_chunks = OBJECT_CHUNKS_MAX + 1;
    commit.object.size = (uint64_t)CHUNK_BYTES_MAX * (OBJECT_CHUNKS_MAX + 1);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_INVALID);
    commit.object.n_chunks = OBJECT_CHUNKS_MAX;
    commit.object.size = (uint64_t)CHUNK_BYTES_MAX * OBJECT_CHUNKS_MAX;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
    Trilith__Object *object = NULL;
    cr_assert_eq(fixture_look_up(f, "big", &object), STATUS_OK);
    cr_assert_eq(object->n_chunks, OBJECT_CHUNKS_MAX);
    cr_assert_eq(fixture_delete(f, "photos", "big", 3), STATUS_OK);
    cr_assert_neq(f->outcome.erasure_id, 0);
}

Test(catalog_commit, of_a_missing_bucket_or_object_is_told_apart_when_deleting)
{
    cr_assert_eq(fixture_delete(f, "nowhere", "a", 1), STATUS_CONFLICT);
    cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
    cr_assert_eq(f->outcome.erasure_id, 0);
}

/* ---- leaves ------------------------------------------------------------------------------------ */

TestSuite(catalog_leaf, .init = setup, .fini = teardown);

Test(catalog_leaf, is_given_out_once)
{
    bool given[4][PAGE_LEAVES] = {{false}};
    for (size_t total = 0; total < 2 * PAGE_LEAVES;) {
        cr_assert_eq(fixture_lease(f, f->tenant, f->bucket, 100), STATUS_OK);
        struct leaf_range range = f->outcome.leased;
        cr_assert(range.count == 100 || range.count == 56);
        for (uint32_t i = 0; i < range.count; i++) {
            cr_assert_not(given[range.page][range.first_slot + i]);
            given[range.page][range.first_slot + i] = true;
        }
        total += range.count;
    }
}

Test(catalog_leaf, pages_are_never_shared_by_buckets)
{
    cr_assert_eq(fixture_bucket_create(f, f->tenant, "second"), STATUS_OK);
    uint64_t second = f->outcome.id;
    cr_assert_eq(fixture_lease(f, f->tenant, f->bucket, 1), STATUS_OK);
    uint32_t page = f->outcome.leased.page;
    cr_assert_eq(fixture_lease(f, f->tenant, second, 1), STATUS_OK);
    cr_assert_neq(f->outcome.leased.page, page);

    fixture_commit_prepare(f, &commit, "a", 1, 0);
    commit.request.bucket_id = second;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_CONFLICT, "a leaf of another bucket");
}

Test(catalog_leaf, is_used_once)
{
    static struct fixture_commit other;
    fixture_commit_prepare(f, &commit, "a", 1, 1);
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
    fixture_commit_prepare(f, &other, "b", 1, 1);
    other.object.page = commit.object.page;
    other.object.slot = commit.object.slot;
    cr_assert_eq(fixture_commit_apply(f, &other), STATUS_CONFLICT);
    cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
    cr_assert_eq(fixture_commit_apply(f, &other), STATUS_CONFLICT, "punctured");
}

Test(catalog_leaf, must_be_leased_and_in_time)
{
    fixture_commit_prepare(f, &commit, "a", 1, 1);
    commit.object.slot++;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_CONFLICT, "never leased");
    commit.object.slot = PAGE_LEAVES;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_CONFLICT, "no such slot");
    commit.object.page = 77;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_CONFLICT, "no such page");

    fixture_commit_prepare(f, &commit, "a", 1, 1);
    f->now_ms += FIXTURE_LEASE_MS;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_CONFLICT, "the lease is over");
    fixture_commit_prepare(f, &commit, "a", 1, 1);
    f->now_ms += FIXTURE_LEASE_MS - 1;
    cr_assert_eq(fixture_commit_apply(f, &commit), STATUS_OK);
}

/* ---- listing ----------------------------------------------------------------------------------- */

#define MODEL_KEYS_MAX 400

struct text {
    uint8_t bytes[24];
    size_t length;
};

static struct text keys[MODEL_KEYS_MAX];
static size_t key_count;
static uint64_t random_state;

static uint32_t draw(uint32_t below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(random_state >> 33) % below;
}

static int text_order(const void *left, const void *right)
{
    const struct text *a = left;
    const struct text *b = right;
    int order = memcmp(a->bytes, b->bytes, a->length < b->length ? a->length : b->length);
    return order != 0 ? order : (int)a->length - (int)b->length;
}

/* Text of few letters, so that prefixes and delimiters meet: with zero bytes, FF and UTF-8. */
static struct text random_text(uint32_t pieces_max)
{
    static const struct text pieces[] = {
        {"a", 1},  {"b", 1},  {"/", 1},     {"\0", 1}, {"\xff", 1}, {"\xc3\xa9", 2}, {"\xe4\xb8\xad", 3},
        {"\1", 1}, {"//", 2}, {"\0\xff", 2}};
    struct text text = {.length = 0};
    for (uint32_t i = draw(pieces_max + 1); i > 0; i--) {
        const struct text *piece = &pieces[draw(ARRAY_LENGTH(pieces))];
        memcpy(text.bytes + text.length, piece->bytes, piece->length);
        text.length += piece->length;
    }
    return text;
}

static ProtobufCBinaryData binary_of(struct text *text)
{
    return (ProtobufCBinaryData){.data = text->bytes, .len = text->length};
}

/* What a listing must give, row by row, the slow way. */
static size_t model_list(const struct list_query *query, struct text *rows, bool *is_prefix)
{
    size_t count = 0;
    struct text after = {.length = query->start_after.len};
    memcpy(after.bytes, query->start_after.data, after.length);
    for (size_t i = 0; i < key_count; i++) {
        struct text row = keys[i];
        if (row.length < query->prefix.len || memcmp(row.bytes, query->prefix.data, query->prefix.len) != 0) {
            continue;
        }
        uint8_t *found = query->delimiter.len == 0
                             ? NULL
                             : memmem(row.bytes + query->prefix.len, row.length - query->prefix.len,
                                      query->delimiter.data, query->delimiter.len);
        if (found != NULL) {
            row.length = (size_t)(found - row.bytes) + query->delimiter.len;
        }
        bool repeated = count > 0 && text_order(&rows[count - 1], &row) == 0 && found != NULL && is_prefix[count - 1];
        if (repeated || (after.length > 0 && text_order(&row, &after) <= 0)) {
            continue;
        }
        is_prefix[count] = found != NULL;
        rows[count++] = row;
    }
    return count;
}

static void expect_row(const Trilith__ObjectListReply *reply, size_t *object, size_t *prefix, const struct text *row,
                       bool row_is_prefix)
{
    ProtobufCBinaryData got;
    if (row_is_prefix) {
        cr_assert_lt(*prefix, reply->n_prefixes);
        got = reply->prefixes[(*prefix)++];
    } else {
        cr_assert_lt(*object, reply->n_objects);
        got = reply->objects[(*object)++]->key;
    }
    cr_assert_eq(got.len, row->length);
    cr_assert(memcmp(got.data, row->bytes, row->length) == 0);
}

static void check_listing(struct list_query *query)
{
    static struct text rows[MODEL_KEYS_MAX];
    static bool is_prefix[MODEL_KEYS_MAX];
    struct text cursor;
    size_t expected = model_list(query, rows, is_prefix);
    size_t seen = 0;
    for (;;) { /* Page by page, each continued with `next`. */
        Trilith__ObjectListReply reply = TRILITH__OBJECT_LIST_REPLY__INIT;
        cr_assert_eq(catalog_list(fixture_tables(f), query, &reply), STATUS_OK);
        size_t got = reply.n_objects + reply.n_prefixes;
        cr_assert_leq(got, query->max);
        cr_assert_leq(got, expected - seen);
        size_t object = 0;
        size_t prefix = 0;
        for (size_t i = 0; i < got; i++, seen++) {
            expect_row(&reply, &object, &prefix, &rows[seen], is_prefix[seen]);
        }
        cr_assert_eq(reply.truncated, seen < expected);
        if (!reply.truncated) {
            cr_assert_eq(reply.next.len, 0);
            return;
        }
        cursor.length = reply.next.len;
        memcpy(cursor.bytes, reply.next.data, cursor.length);
        cr_assert_eq(text_order(&cursor, &rows[seen - 1]), 0);
        query->start_after = binary_of(&cursor);
    }
}

TestSuite(catalog_list, .init = setup, .fini = teardown);

Test(catalog_list, agrees_with_a_brute_force_model)
{
    random_state = 7;
    while (key_count < MODEL_KEYS_MAX / 2) {
        struct text key = random_text(6);
        if (key.length == 0) {
            continue;
        }
        bool known = false;
        for (size_t i = 0; i < key_count; i++) {
            known = known || text_order(&keys[i], &key) == 0;
        }
        cr_assert_eq(fixture_put(f, key.bytes, key.length, 0), STATUS_OK);
        if (!known) {
            keys[key_count++] = key;
        }
    }
    qsort(keys, key_count, sizeof(keys[0]), text_order);

    for (size_t round = 0; round < 1500; round++) {
        struct text prefix = random_text(draw(3));
        struct text after = random_text(draw(4) == 0 ? 5 : 0);
        struct text delimiter = random_text(draw(3) == 0 ? 2 : 0);
        if (draw(2) == 0) {
            delimiter = (struct text){.bytes = "/", .length = 1};
        }
        struct list_query query = {.bucket_id = f->bucket,
                                   .prefix = binary_of(&prefix),
                                   .delimiter = binary_of(&delimiter),
                                   .start_after = binary_of(&after),
                                   .max = 1 + draw(draw(2) == 0 ? 5 : 300)};
        check_listing(&query);
    }
}

Test(catalog_list, of_zero_rows_is_empty_and_whole)
{
    cr_assert_eq(fixture_put(f, "a", 1, 0), STATUS_OK);
    Trilith__ObjectListReply reply = TRILITH__OBJECT_LIST_REPLY__INIT;
    const struct list_query query = {.bucket_id = f->bucket, .max = 0};
    cr_assert_eq(catalog_list(fixture_tables(f), &query, &reply), STATUS_OK);
    cr_assert_eq(reply.n_objects + reply.n_prefixes, 0);
    cr_assert_not(reply.truncated);
}

Test(catalog_list, refuses_what_is_too_long)
{
    static uint8_t bytes[OBJECT_KEY_BYTES_MAX + 1];
    Trilith__ObjectListReply reply = TRILITH__OBJECT_LIST_REPLY__INIT;
    struct list_query query = {.bucket_id = f->bucket, .max = LIST_ROWS_MAX + 1};
    cr_assert_eq(catalog_list(fixture_tables(f), &query, &reply), STATUS_INVALID);
    query.max = 1;
    query.prefix = (ProtobufCBinaryData){.data = bytes, .len = sizeof(bytes)};
    cr_assert_eq(catalog_list(fixture_tables(f), &query, &reply), STATUS_INVALID);
}

Test(catalog_list, starts_after_the_longest_keys)
{
    static uint8_t after[OBJECT_KEY_BYTES_MAX];
    static const uint8_t fill[] = {0x00, 0xff};
    cr_assert_eq(fixture_put(f, "\x01", 1, 0), STATUS_OK);
    for (size_t i = 0; i < ARRAY_LENGTH(fill); i++) {
        memset(after, fill[i], sizeof(after));
        cr_assert_eq(fixture_put(f, after, sizeof(after), 0), STATUS_OK);
        Trilith__ObjectListReply reply = TRILITH__OBJECT_LIST_REPLY__INIT;
        const struct list_query query = {
            .bucket_id = f->bucket, .max = 10, .start_after = {.data = after, .len = sizeof(after)}};
        cr_assert_eq(catalog_list(fixture_tables(f), &query, &reply), STATUS_OK);
        cr_assert_eq(reply.n_objects, fill[i] == 0x00 ? 1 : 0);
    }
}

Test(catalog_list, shows_nothing_of_other_buckets)
{
    cr_assert_eq(fixture_bucket_create(f, f->tenant, "second"), STATUS_OK);
    uint64_t second = f->outcome.id;
    cr_assert_eq(fixture_put(f, "\xff\xff", 2, 0), STATUS_OK);
    Trilith__ObjectListReply reply = TRILITH__OBJECT_LIST_REPLY__INIT;
    const struct list_query query = {.bucket_id = second, .max = 10};
    cr_assert_eq(catalog_list(fixture_tables(f), &query, &reply), STATUS_OK);
    cr_assert_eq(reply.n_objects, 0);
}
