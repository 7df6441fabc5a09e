/* catalog_list.c - listing buckets and objects: ordered walks that step over what is rolled up. */
#include "meta/catalog.h"

#include "meta/catalog_row.h"

#include <string.h>

/* ---- buckets ----------------------------------------------------------------------------------- */

Trilith__Bucket *catalog_bucket_message(struct tables *tables, const Trilith__BucketRecord *record)
{
    Trilith__Bucket *bucket = scratch_take(&tables->scratch, sizeof(*bucket));
    if (bucket == NULL) {
        return NULL;
    }
    trilith__bucket__init(bucket);
    bucket->id = record->id;
    bucket->name = record->name;
    bucket->created_ms = record->created_ms;
    bucket->degraded_writes = record->degraded_writes;
    bucket->suite = record->suite;
    bucket->technique = record->technique;
    bucket->grace_ms = record->grace_ms;
    return bucket;
}

enum status catalog_bucket_list(struct tables *tables, uint64_t tenant_id, const char *start_after, uint32_t max,
                                Trilith__BucketListReply *reply)
{
    if (max > LIST_ROWS_MAX || strlen(start_after) > BUCKET_NAME_BYTES_MAX) {
        return STATUS_INVALID;
    }
    reply->buckets = scratch_take(&tables->scratch, ((size_t)max + 1) * sizeof(Trilith__Bucket *));
    if (reply->buckets == NULL || max == 0) {
        return max == 0 ? STATUS_OK : STATUS_TOO_LARGE;
    }
    struct table_walk walk;
    struct kv_slice key, value;
    table_walk_open(&walk, tables, key_bucket_name(tenant_id, ""));
    struct table_key start = key_bucket_name(tenant_id, start_after);
    key_after(&start);
    table_walk_seek(&walk, &start);
    enum status status = STATUS_OK;
    for (; status == STATUS_OK && table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        if (reply->n_buckets == max) {
            reply->truncated = true;
            break;
        }
        Trilith__BucketRecord *record = NULL;
        status = value.bytes != 8 ? STATUS_CORRUPT
                                  : tables_get(tables, key_bucket(number_of_be(value.data, 8)),
                                               &trilith__bucket_record__descriptor, &record);
        Trilith__Bucket *bucket = status == STATUS_OK ? catalog_bucket_message(tables, record) : NULL;
        if (bucket != NULL) {
            reply->buckets[reply->n_buckets++] = bucket;
        }
    }
    table_walk_close(&walk);
    return tables->scratch.exhausted ? STATUS_TOO_LARGE : status;
}

/* ---- objects ----------------------------------------------------------------------------------- */

/* A listing under way. The walk stands at the next row to look at. */
struct listing {
    struct tables *tables;
    const struct list_query *query;
    Trilith__ObjectListReply *reply;
    struct table_walk walk;
    uint8_t key[OBJECT_KEY_BYTES_MAX];
    size_t key_bytes;
};

static bool has_prefix(const uint8_t *key, size_t key_bytes, ProtobufCBinaryData prefix)
{
    return prefix.len == 0 || (key_bytes >= prefix.len && memcmp(key, prefix.data, prefix.len) == 0);
}

/* How long the common prefix is that `key` is rolled up into; 0: it stands for itself. */
static size_t common_prefix_bytes(const struct list_query *query, const uint8_t *key, size_t key_bytes)
{
    if (query->delimiter.len == 0 || key_bytes < query->prefix.len) {
        return 0;
    }
    const uint8_t *found =
        memmem(key + query->prefix.len, key_bytes - query->prefix.len, query->delimiter.data, query->delimiter.len);
    return found == NULL ? 0 : (size_t)(found - key) + query->delimiter.len;
}

/* Move behind every key that begins with `start`. */
static void listing_skip(struct listing *listing, const uint8_t *start, size_t bytes)
{
    struct table_key key = key_object_prefix(listing->query->bucket_id, start, bytes);
    CHECK(key_after_prefix(&key)); /* It begins with the letter of its table, so there is always something behind. */
    table_walk_seek(&listing->walk, &key);
}

/* Stand at the first row that may be listed. */
static void listing_start(struct listing *listing)
{
    const struct list_query *query = listing->query;
    ProtobufCBinaryData after = query->start_after;
    struct table_key prefix = key_object_prefix(query->bucket_id, query->prefix.data, query->prefix.len);
    table_walk_open(&listing->walk, listing->tables, prefix);
    if (after.len == 0) {
        return;
    }
    if (has_prefix(after.data, after.len, query->prefix)) {
        size_t common = common_prefix_bytes(query, after.data, after.len);
        if (common > 0) {
            listing_skip(listing, after.data, common);
            return;
        }
    }
    struct table_key key = key_object(query->bucket_id, after.data, after.len);
    key_after(&key);
    size_t shorter = key.length < prefix.length ? key.length : prefix.length;
    int order = memcmp(key.bytes, prefix.bytes, shorter);
    if (order > 0 || (order == 0 && key.length > prefix.length)) {
        table_walk_seek(&listing->walk, &key);
    }
}

static enum status listing_add_object(struct listing *listing, struct kv_slice value)
{
    struct scratch *scratch = &listing->tables->scratch;
    struct object_row row;
    if (!object_row_decode(value, &row)) {
        return STATUS_CORRUPT;
    }
    Trilith__ListedObject *object = scratch_take(scratch, sizeof(*object));
    if (object == NULL) {
        return STATUS_TOO_LARGE;
    }
    trilith__listed_object__init(object);
    object->key.data = scratch_copy(scratch, listing->key, listing->key_bytes);
    object->key.len = listing->key_bytes;
    object->size = row.size;
    object->modified_ms = row.modified_ms;
    object->etag = scratch_copy(scratch, row.etag, row.etag_bytes);
    object->version_id.data = scratch_copy(scratch, row.version_id, 16);
    object->version_id.len = 16;
    if (scratch->exhausted) {
        return STATUS_TOO_LARGE;
    }
    listing->reply->objects[listing->reply->n_objects++] = object;
    listing->reply->next = object->key;
    return STATUS_OK;
}

static enum status listing_add_prefix(struct listing *listing, size_t bytes)
{
    uint8_t *copy = scratch_copy(&listing->tables->scratch, listing->key, bytes);
    if (copy == NULL) {
        return STATUS_TOO_LARGE;
    }
    ProtobufCBinaryData prefix = {.data = copy, .len = bytes};
    listing->reply->prefixes[listing->reply->n_prefixes++] = prefix;
    listing->reply->next = prefix;
    return STATUS_OK;
}

static enum status listing_run(struct listing *listing)
{
    Trilith__ObjectListReply *reply = listing->reply;
    struct kv_slice key, value;
    while (table_walk_row(&listing->walk, &key, &value)) {
        if (reply->n_objects + reply->n_prefixes == listing->query->max) {
            reply->truncated = true;
            return STATUS_OK;
        }
        if (!key_object_decode(key.data, key.bytes, listing->key, &listing->key_bytes)) {
            return STATUS_CORRUPT;
        }
        size_t common = common_prefix_bytes(listing->query, listing->key, listing->key_bytes);
        if (common == 0) {
            enum status status = listing_add_object(listing, value);
            if (status != STATUS_OK) {
                return status;
            }
            table_walk_next(&listing->walk);
            continue;
        }
        enum status status = listing_add_prefix(listing, common);
        if (status != STATUS_OK) {
            return status;
        }
        listing_skip(listing, listing->key, common);
    }
    return STATUS_OK;
}

enum status catalog_list(struct tables *tables, const struct list_query *query, Trilith__ObjectListReply *reply)
{
    if (query->max > LIST_ROWS_MAX || query->prefix.len > OBJECT_KEY_BYTES_MAX ||
        query->delimiter.len > OBJECT_KEY_BYTES_MAX || query->start_after.len > OBJECT_KEY_BYTES_MAX) {
        return STATUS_INVALID;
    }
    if (query->max == 0) {
        return STATUS_OK;
    }
    struct listing *listing = scratch_take(&tables->scratch, sizeof(*listing));
    reply->objects = scratch_take(&tables->scratch, query->max * sizeof(reply->objects[0]));
    reply->prefixes = scratch_take(&tables->scratch, query->max * sizeof(reply->prefixes[0]));
    if (listing == NULL || reply->objects == NULL || reply->prefixes == NULL) {
        return STATUS_TOO_LARGE;
    }
    listing->tables = tables;
    listing->query = query;
    listing->reply = reply;
    listing_start(listing);
    enum status status = listing_run(listing);
    table_walk_close(&listing->walk);
    if (!reply->truncated) {
        reply->next = (ProtobufCBinaryData){0};
    }
    return status;
}
