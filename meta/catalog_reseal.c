/* catalog_reseal.c - finding versions that are sealed under DEKs other than the current one.
 *
 * A tenant's rows are walked bucket by bucket, in the order of names, a bounded number at a time. What is looked at is the
 * beginning of a row: its list of chunks is not decoded. */
#include "meta/catalog.h"

#include "meta/catalog_row.h"

#include <string.h>

/* One call of the walk. */
struct reseal_search {
    struct tables *tables;
    struct reseal_walk *walk;
    uint32_t rows_left;
    uint32_t items_left;
    Trilith__ResealPullReply *reply;
    uint8_t key[OBJECT_KEY_BYTES_MAX]; /* of the row that is looked at */
    size_t key_bytes;
};

/* Go to the bucket where the walk stands, or `behind` it to the next; one that was deleted leads to the next as well.
 * `*bucket_id` is 0 behind the last. */
static enum status bucket_seek(struct reseal_search *search, bool behind, uint64_t *bucket_id)
{
    struct reseal_walk *at = search->walk;
    struct table_walk walk;
    struct kv_slice key, value;
    struct table_key start = key_bucket_name(at->tenant_id, at->bucket);
    if (behind) {
        key_after(&start);
    }
    *bucket_id = 0;
    table_walk_open(&walk, search->tables, key_bucket_name(at->tenant_id, ""));
    table_walk_seek(&walk, &start);
    bool found = table_walk_row(&walk, &key, &value);
    size_t name_bytes = found ? key.bytes - walk.prefix.length : 0;
    if (found && (name_bytes == 0 || name_bytes > BUCKET_NAME_BYTES_MAX || value.bytes != 8)) {
        (void)tables_fail(search->tables, STATUS_CORRUPT);
    } else if (found) {
        char name[BUCKET_NAME_BYTES_MAX + 1] = {0};
        memcpy(name, (const uint8_t *)key.data + walk.prefix.length, name_bytes);
        if (strcmp(name, at->bucket) != 0) {
            memcpy(at->bucket, name, sizeof(name));
            at->key_bytes = 0;
        }
        *bucket_id = number_of_be(value.data, 8);
    }
    table_walk_close(&walk);
    return search->tables->failed;
}

static enum status item_add(struct reseal_search *search, const struct object_row *row)
{
    struct scratch *scratch = &search->tables->scratch;
    const struct reseal_walk *at = search->walk;
    Trilith__ResealItem *item = scratch_take(scratch, sizeof(*item));
    if (item == NULL) {
        return STATUS_TOO_LARGE;
    }
    trilith__reseal_item__init(item);
    item->tenant_id = at->tenant_id;
    item->bucket = scratch_copy(scratch, at->bucket, strlen(at->bucket));
    item->key =
        (ProtobufCBinaryData){.data = scratch_copy(scratch, search->key, search->key_bytes), .len = search->key_bytes};
    item->version_id = (ProtobufCBinaryData){.data = scratch_copy(scratch, row->version_id, 16), .len = 16};
    item->dek_version = row->dek_version;
    item->size = row->size;
    if (scratch->exhausted) {
        return STATUS_TOO_LARGE;
    }
    search->reply->items[search->reply->n_items++] = item;
    search->items_left--;
    return STATUS_OK;
}

/* Look at rows of one bucket, behind where the walk stands. `*ended`: there are no more. */
static enum status bucket_search(struct reseal_search *search, uint64_t bucket_id, bool *ended)
{
    struct reseal_walk *at = search->walk;
    struct table_walk walk;
    struct kv_slice key, value;
    enum status status = STATUS_OK;
    table_walk_open(&walk, search->tables, key_object_prefix(bucket_id, NULL, 0));
    if (at->key_bytes > 0) {
        struct table_key start = key_object(bucket_id, at->key, at->key_bytes);
        key_after(&start);
        table_walk_seek(&walk, &start);
    }
    *ended = false;
    while (status == STATUS_OK && search->rows_left > 0 && search->items_left > 0) {
        if (!table_walk_row(&walk, &key, &value)) {
            *ended = true;
            break;
        }
        struct object_row row;
        if (!key_object_decode(key.data, key.bytes, search->key, &search->key_bytes) ||
            !object_row_decode(value, &row)) {
            status = tables_fail(search->tables, STATUS_CORRUPT);
            break;
        }
        if (row.dek_version != at->current) {
            status = item_add(search, &row);
        }
        if (status == STATUS_OK) {
            memcpy(at->key, search->key, search->key_bytes);
            at->key_bytes = search->key_bytes;
        }
        search->rows_left--;
        table_walk_next(&walk);
    }
    table_walk_close(&walk);
    return status == STATUS_OK ? search->tables->failed : status;
}

enum status catalog_reseal_walk(struct tables *tables, struct reseal_walk *walk, uint32_t rows_max, uint32_t items_max,
                                Trilith__ResealPullReply *reply)
{
    struct reseal_search search = {
        .tables = tables, .walk = walk, .rows_left = rows_max, .items_left = items_max, .reply = reply};
    size_t before = reply->n_items;
    Trilith__ResealItem **items =
        scratch_take(&tables->scratch, (before + items_max + 1) * sizeof(Trilith__ResealItem *));
    if (items == NULL) {
        return STATUS_TOO_LARGE;
    }
    for (size_t i = 0; i < before; i++) {
        items[i] = reply->items[i];
    }
    reply->items = items;

    enum status status = STATUS_OK;
    bool behind = false;
    while (status == STATUS_OK && !walk->ended && search.rows_left > 0 && search.items_left > 0) {
        uint64_t bucket_id = 0;
        status = bucket_seek(&search, behind, &bucket_id);
        search.rows_left -= behind ? 1 : 0; /* So that a call goes past so many empty buckets at most. */
        walk->ended = status == STATUS_OK && bucket_id == 0;
        if (status == STATUS_OK && !walk->ended) {
            status = bucket_search(&search, bucket_id, &behind);
        }
    }
    return status;
}
