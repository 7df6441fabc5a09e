/* tenant_erasure.c - the steps that erase a tenant. Its plan and its stages are in tenant_request.c. */
#include "meta/tenant_erasure.h"

#include "meta/catalog_row.h"
#include "meta/erasure.h"
#include "meta/grace.h"
#include "meta/leaves.h"
#include "meta/tenants.h"

#include "base/bytes.h"
#include "base/merkle.h"

#include <string.h>

#define INVENTORY_LEAF_BYTES (16 + 4 + 8)

/* One step under way. Rows that several parts of it count in are read once and written at its end. */
struct step {
    struct change *change;
    Trilith__RequestRecord *record;
    Trilith__TenantErasure *found; /* in the record */
    Trilith__TenantRecord *tenant;
    struct erasure_draft *draft;
    struct merkle_edge edge;
    uint32_t versions; /* of this step */
    uint32_t chunks;
    bool complete; /* nothing is left */
};

/* ---- the inventory ----------------------------------------------------------------------------- */

/* STATUS_CORRUPT (and the tables have failed): the edge is not one. */
static enum status edge_load(struct step *step)
{
    const Trilith__TenantErasure *found = step->found;
    step->edge = (struct merkle_edge){.size = found->edge_size};
    size_t at = 0;
    for (unsigned level = 0; level < MERKLE_LEVELS_MAX; level++) {
        if ((found->edge_size >> level & 1) == 0) {
            continue;
        }
        if (found->edge.len < at + SHA256_BYTES) {
            return tables_fail(step->change->tables, STATUS_CORRUPT);
        }
        memcpy(step->edge.full[level].bytes, found->edge.data + at, SHA256_BYTES);
        at += SHA256_BYTES;
    }
    return STATUS_OK;
}

static enum status edge_keep(struct step *step)
{
    Trilith__TenantErasure *found = step->found;
    uint8_t *hashes = scratch_take(&step->change->tables->scratch, (MERKLE_LEVELS_MAX + 1) * SHA256_BYTES);
    if (hashes == NULL) {
        return tables_fail(step->change->tables, STATUS_TOO_LARGE);
    }
    size_t bytes = 0;
    for (unsigned level = 0; level < MERKLE_LEVELS_MAX; level++) {
        if ((step->edge.size >> level & 1) != 0) {
            memcpy(hashes + bytes, step->edge.full[level].bytes, SHA256_BYTES);
            bytes += SHA256_BYTES;
        }
    }
    found->edge_size = step->edge.size;
    found->edge = (ProtobufCBinaryData){.data = hashes, .len = bytes};
    if (step->complete) {
        struct merkle_hash root;
        merkle_root(&step->edge, &root);
        found->inventory_root.data = scratch_copy(&step->change->tables->scratch, root.bytes, SHA256_BYTES);
        found->inventory_root.len = SHA256_BYTES;
    }
    return step->change->tables->scratch.exhausted ? tables_fail(step->change->tables, STATUS_TOO_LARGE) : STATUS_OK;
}

static void inventory_add(struct step *step, const Trilith__Object *version)
{
    uint8_t entry[INVENTORY_LEAF_BYTES];
    struct merkle_hash leaf;
    struct byte_writer writer = byte_writer_of(entry, sizeof(entry));
    write_bytes(&writer, version->version_id.data, 16);
    write_u32_be(&writer, (uint32_t)version->n_chunks);
    write_u64_be(&writer, version->size);
    merkle_leaf(entry, sizeof(entry), &leaf);
    merkle_append(&step->edge, &leaf, NULL, NULL);
    step->found->versions++;
    step->found->bytes += version->size;
    step->found->chunks += version->n_chunks;
}

/* ---- 1. keys ----------------------------------------------------------------------------------- */

/* The first bucket from `from` on that has pages. STATUS_NOT_FOUND: none has. */
static enum status bucket_with_pages(struct step *step, uint64_t from, uint64_t *bucket_id)
{
    struct tables *tables = step->change->tables;
    struct table_walk walk;
    struct kv_slice key, value;
    const struct table_key start = key_bucket_page(step->tenant->id, from, 0);
    table_walk_open(&walk, tables, key_prefix(start, 9));
    table_walk_seek(&walk, &start);
    bool found = table_walk_row(&walk, &key, &value);
    if (found) {
        *bucket_id = number_of_be((const uint8_t *)key.data + 9, 8);
    }
    table_walk_close(&walk);
    return found ? STATUS_OK : tables->failed != STATUS_OK ? tables->failed : STATUS_NOT_FOUND;
}

/* So many versions of a bucket have lost their leaves. Which of them are in grace does not matter to the sum; in the
 * end it is all of both. */
static enum status keyless_count(struct step *step, uint64_t bucket_id, uint64_t live)
{
    struct tables *tables = step->change->tables;
    Trilith__ClusterRecord *cluster = step->change->cluster;
    Trilith__BucketRecord *bucket = NULL;
    if (live == 0) {
        return STATUS_OK; /* It may be a bucket that was deleted long ago. */
    }
    enum status status = tables_get(tables, key_bucket(bucket_id), &trilith__bucket_record__descriptor, &bucket);
    if (status != STATUS_OK) {
        return tables_missing(tables, status);
    }
    uint64_t keyed = bucket->objects > bucket->keyless ? bucket->objects - bucket->keyless : 0;
    uint64_t objects = live < keyed ? live : keyed;
    bucket->keyless += live;
    if (bucket->keyless > bucket->objects + bucket->grace_objects || cluster->objects < objects ||
        cluster->grace_objects < live - objects) {
        return tables_fail(tables, STATUS_CORRUPT);
    }
    cluster->objects -= objects;
    cluster->grace_objects -= live - objects;
    tables_put(tables, key_bucket(bucket_id), bucket);
    return STATUS_OK;
}

/* Its DEKs and K_ref have lost their leaves. */
static enum status tenant_keys_gone(struct step *step, uint64_t live)
{
    struct change *change = step->change;
    Trilith__TenantRecord *tenant = step->tenant;
    uint64_t expected = tenant->ref_page != 0 ? 1 : 0;
    for (size_t i = 0; i < tenant->n_deks; i++) {
        Trilith__DekRecord *dek = tenant->deks[i];
        if (dek->destroyed_ms != 0) {
            continue;
        }
        expected++;
        dek->destroyed_ms = change->time_ms;
        dek->destroyed_seal = change->cluster->seal + 1;
        tables_delete(change->tables, key_dek(tenant->id, dek->version));
        CHECK(change->cluster->deks > 0);
        change->cluster->deks--;
    }
    if (live != expected) {
        return tables_fail(change->tables, STATUS_CORRUPT);
    }
    if (tenant->ref_page != 0) {
        CHECK(change->cluster->refs > 0);
        change->cluster->refs--;
        tenant->ref_page = 0;
        tenant->ref_slot = 0;
        step->found->k_ref_gone_ms = change->time_ms;
    }
    step->found->keys_gone_ms = change->time_ms;
    step->found->keys_seal = change->cluster->seal + 1;
    return STATUS_OK;
}

static enum status step_keys(struct step *step)
{
    uint64_t bucket_id = 0;
    uint64_t live = 0;
    bool more = false;
    enum status status = bucket_with_pages(step, 1, &bucket_id);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        return status;
    }
    /* The page of the keys in one command: how many of them live says whether the sum is right. */
    uint32_t pages_max = bucket_id != 0 ? TENANT_STEP_PAGES : PAGES_DROPPED_MAX;
    status = leaves_drop_live(step->change, step->tenant->id, bucket_id, pages_max, &live, &more);
    if (status != STATUS_OK) {
        return status;
    }
    step->found->pages_dropped += (uint32_t)step->change->outcome.punctured_count;
    step->found->leaves_dropped += live;
    return bucket_id != 0 ? keyless_count(step, bucket_id, live) : tenant_keys_gone(step, live);
}

/* ---- 2. versions and buckets ------------------------------------------------------------------- */

static bool step_has_room(const struct step *step)
{
    return step->versions < TENANT_STEP_VERSIONS && step->chunks < TENANT_STEP_CHUNKS;
}

/* A version that the catalog or grace had: its chunks are to be wiped. */
static enum status version_add(struct step *step, Trilith__BucketRecord *bucket, const Trilith__Object *version)
{
    Trilith__TenantRecord *tenant = step->tenant;
    Trilith__DekRecord *dek = tenant_dek(tenant, version->dek_version);
    if (bucket->keyless == 0 || tenant->chunks < version->n_chunks || version->version_id.len != 16) {
        return tables_fail(step->change->tables, STATUS_CORRUPT);
    }
    bucket->keyless--;
    tenant->chunks -= version->n_chunks;
    if (dek != NULL && dek->objects > 0 && dek->object_bytes >= version->size) {
        dek->objects--;
        dek->object_bytes -= version->size;
    }
    step->versions++;
    step->chunks += (uint32_t)version->n_chunks;
    inventory_add(step, version);
    return erasure_fill_version(step->draft, version);
}

static enum status object_add(struct step *step, Trilith__BucketRecord *bucket, struct kv_slice key,
                              struct kv_slice value)
{
    struct tables *tables = step->change->tables;
    struct object_row row;
    uint8_t name[OBJECT_KEY_BYTES_MAX];
    size_t name_bytes = 0;
    if (!object_row_decode(value, &row) || !key_object_decode(key.data, key.bytes, name, &name_bytes)) {
        return tables_fail(tables, STATUS_CORRUPT);
    }
    const Trilith__Object *object = tables_unpack(tables, &trilith__object__descriptor, row.packed);
    if (object == NULL) {
        return tables->failed;
    }
    tables_delete(tables, key_object(bucket->id, name, name_bytes));
    if (bucket->objects == 0 || step->tenant->objects == 0 || step->tenant->object_bytes < object->size ||
        step->change->cluster->object_bytes < object->size) {
        return tables_fail(tables, STATUS_CORRUPT);
    }
    bucket->objects--;
    step->tenant->objects--;
    step->tenant->object_bytes -= object->size;
    step->change->cluster->object_bytes -= object->size;
    return version_add(step, bucket, object);
}

static enum status graced_add(struct step *step, Trilith__BucketRecord *bucket, struct kv_slice key)
{
    struct tables *tables = step->change->tables;
    Trilith__TenantRecord *tenant = step->tenant;
    uint64_t erasure_id = key.bytes == 17 ? number_of_be((const uint8_t *)key.data + 9, 8) : 0;
    Trilith__GraceRecord *record = NULL;
    enum status status = grace_get(tables, erasure_id, &record);
    if (status != STATUS_OK) {
        return tables_missing(tables, status);
    }
    grace_rows_delete(tables, erasure_id, record);
    if (bucket->grace_objects == 0 || tenant->grace_objects == 0 || tenant->grace_bytes < record->object->size) {
        return tables_fail(tables, STATUS_CORRUPT);
    }
    bucket->grace_objects--;
    tenant->grace_objects--;
    tenant->grace_bytes -= record->object->size;
    step->found->versions_in_grace++;
    status = erasure_hand_over(step->change, erasure_id, step->record->request->id);
    return status == STATUS_OK ? version_add(step, bucket, record->object) : tables_missing(tables, status);
}

/* The versions of a bucket, of one of the two tables, while there is room. `*all`: that was the last. */
static enum status versions_add(struct step *step, Trilith__BucketRecord *bucket, struct table_key prefix, bool graced,
                                bool *all)
{
    struct table_walk walk;
    struct kv_slice key, value;
    enum status status = STATUS_OK;
    table_walk_open(&walk, step->change->tables, prefix);
    bool more = table_walk_row(&walk, &key, &value);
    while (status == STATUS_OK && more && step_has_room(step)) {
        status = graced ? graced_add(step, bucket, key) : object_add(step, bucket, key, value);
        table_walk_next(&walk);
        more = table_walk_row(&walk, &key, &value);
    }
    table_walk_close(&walk);
    *all = !more;
    return status == STATUS_OK ? step->change->tables->failed : status;
}

/* Nothing is left in it. */
static enum status bucket_remove(struct step *step, const Trilith__BucketRecord *bucket)
{
    struct tables *tables = step->change->tables;
    if (bucket->objects != 0 || bucket->grace_objects != 0 || bucket->keyless != 0 || step->tenant->buckets == 0) {
        return tables_fail(tables, STATUS_CORRUPT);
    }
    step->tenant->buckets--;
    step->found->buckets++;
    tables_delete(tables, key_bucket(bucket->id));
    tables_delete(tables, key_bucket_name(step->tenant->id, bucket->name));
    return STATUS_OK;
}

static enum status step_bucket(struct step *step, uint64_t bucket_id)
{
    struct tables *tables = step->change->tables;
    Trilith__BucketRecord *bucket = NULL;
    bool all_objects = false;
    bool all_graced = false;
    enum status status = tables_get(tables, key_bucket(bucket_id), &trilith__bucket_record__descriptor, &bucket);
    if (status != STATUS_OK) {
        return tables_missing(tables, status);
    }
    status = versions_add(step, bucket, key_object_prefix(bucket_id, NULL, 0), false, &all_objects);
    if (status == STATUS_OK) {
        status = versions_add(step, bucket, key_prefix(key_bucket_grace(bucket_id, 0), 9), true, &all_graced);
    }
    if (status == STATUS_OK && all_objects && all_graced) {
        return bucket_remove(step, bucket);
    }
    tables_put(tables, key_bucket(bucket_id), bucket);
    return status;
}

static enum status step_versions(struct step *step)
{
    struct table_walk walk;
    struct kv_slice key, value;
    enum status status = STATUS_OK;
    table_walk_open(&walk, step->change->tables, key_bucket_name(step->tenant->id, ""));
    for (uint32_t buckets = 0; status == STATUS_OK && buckets < TENANT_STEP_BUCKETS && step_has_room(step) &&
                               table_walk_row(&walk, &key, &value);
         buckets++) {
        status = value.bytes == 8 ? step_bucket(step, number_of_be(value.data, 8))
                                  : tables_fail(step->change->tables, STATUS_CORRUPT);
        table_walk_next(&walk);
    }
    table_walk_close(&walk);
    return status == STATUS_OK ? step->change->tables->failed : status;
}

/* ---- 3. access keys, and the end --------------------------------------------------------------- */

static enum status step_credentials(struct step *step, bool *any)
{
    struct tables *tables = step->change->tables;
    struct table_walk walk;
    struct kv_slice key, value;
    uint32_t count = 0;
    table_walk_open(&walk, tables, key_tenant_credential(step->tenant->id, ""));
    for (; count < TENANT_STEP_CREDENTIALS && table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        const char *access_key = scratch_copy(&tables->scratch, (const uint8_t *)key.data + 9, key.bytes - 9);
        if (access_key == NULL) {
            (void)tables_fail(tables, STATUS_TOO_LARGE);
            break;
        }
        tables_delete(tables, key_credential(access_key));
        tables_delete(tables, key_tenant_credential(step->tenant->id, access_key));
        step->found->credentials++;
        count++;
    }
    table_walk_close(&walk);
    *any = count > 0;
    return tables->failed;
}

/* Only the tenant's record is left: it says so. */
static void step_end(struct step *step)
{
    for (size_t i = 0; i < step->tenant->n_deks; i++) {
        step->tenant->deks[i]->credentials = 0;
    }
    step->tenant->erased_ms = step->change->time_ms;
    step->complete = true;
}

static enum status step_rest(struct step *step)
{
    bool any = false;
    if (step->tenant->buckets > 0) {
        return step_versions(step);
    }
    enum status status = step_credentials(step, &any);
    if (status == STATUS_OK && !any) {
        step_end(step);
    }
    return status;
}

/* ---- a step ------------------------------------------------------------------------------------ */

/* STATUS_NOT_FOUND: there is nothing to do under this request. */
static enum status step_begin(struct step *step, uint64_t request_id)
{
    struct tables *tables = step->change->tables;
    enum status status = request_get(tables, request_id, &step->record);
    if (status != STATUS_OK) {
        return status;
    }
    const Trilith__Request *request = step->record->request;
    step->found = step->record->tenant;
    if (request->kind != TRILITH__REQUEST_KIND__REQUEST_TENANT ||
        request->state != TRILITH__REQUEST_STATE__REQUEST_RUNNING ||
        strcmp(request->stage, tenant_erasure_kind.first_stage) != 0) {
        return STATUS_NOT_FOUND;
    }
    status = tenant_by_id(tables, request->tenant_id, &step->tenant);
    if (status != STATUS_OK) {
        return tables_missing(tables, status);
    }
    if (step->found == NULL || step->tenant->erasing_request != request_id) {
        return tables_fail(tables, STATUS_CORRUPT);
    }
    if (step->tenant->erased_ms != 0) {
        return STATUS_NOT_FOUND;
    }
    step->draft = erasure_fill_begin(step->change, step->tenant->erasure_id, &status);
    if (step->draft == NULL) {
        return tables_missing(tables, status);
    }
    return edge_load(step);
}

enum status tenant_erase_step(struct change *change, const Trilith__TenantEraseStep *command)
{
    struct step *step = scratch_take(&change->tables->scratch, sizeof(*step));
    if (step == NULL) {
        return tables_fail(change->tables, STATUS_TOO_LARGE);
    }
    step->change = change;
    enum status status = step_begin(step, command->request_id);
    if (status == STATUS_OK) {
        status = step->found->keys_gone_ms == 0 ? step_keys(step) : step_rest(step);
    }
    if (status == STATUS_OK) {
        status = erasure_fill_end(step->draft, step->complete);
    }
    if (status == STATUS_OK) {
        status = edge_keep(step);
    }
    if (status != STATUS_OK) {
        return status;
    }
    tables_put(change->tables, key_tenant(step->tenant->id), step->tenant);
    return request_put(change, step->record);
}
