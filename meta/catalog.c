/* catalog.c - buckets and versions: the changes and the look-ups. Listing is in catalog_list.c. */
#include "meta/catalog.h"

#include "meta/catalog_row.h"
#include "meta/erasure.h"
#include "meta/leaves.h"

#include "base/bytes.h"

#include <stdlib.h>
#include <string.h>

#define MODIFIED_BYTES_MAX 11 /* Object.modified_ms, packed: what applying a commit may add to it */

static bool is_letter_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool bucket_name_is_valid(const char *name)
{
    size_t length = strlen(name);
    if (length < 3 || length > BUCKET_NAME_BYTES_MAX) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (!is_letter_or_digit(name[i]) && name[i] != '-' && name[i] != '.') {
            return false;
        }
    }
    return is_letter_or_digit(name[0]) && is_letter_or_digit(name[length - 1]);
}

/* A row that another row promises is missing: the tables are damaged. */
static enum status row_missing(struct tables *tables, enum status status)
{
    if (tables->failed == STATUS_OK) {
        tables->failed = STATUS_CORRUPT;
    }
    return status == STATUS_NOT_FOUND ? STATUS_CORRUPT : status;
}

static enum status bucket_get(struct tables *tables, uint64_t bucket_id, Trilith__BucketRecord **bucket)
{
    return tables_get(tables, key_bucket(bucket_id), &trilith__bucket_record__descriptor, bucket);
}

static enum status tenant_get(struct tables *tables, uint64_t tenant_id, Trilith__TenantRecord **tenant)
{
    return tables_get(tables, key_tenant(tenant_id), &trilith__tenant_record__descriptor, tenant);
}

/* ---- buckets ----------------------------------------------------------------------------------- */

enum status catalog_bucket(struct tables *tables, uint64_t tenant_id, const char *name, Trilith__BucketRecord **bucket)
{
    if (!bucket_name_is_valid(name)) {
        return STATUS_NOT_FOUND;
    }
    uint64_t bucket_id = 0;
    enum status status = tables_get_number(tables, key_bucket_name(tenant_id, name), &bucket_id);
    if (status != STATUS_OK) {
        return status;
    }
    status = bucket_get(tables, bucket_id, bucket);
    return status == STATUS_OK ? STATUS_OK : row_missing(tables, status);
}

enum status catalog_bucket_create(struct change *change, const Trilith__BucketCreateRequest *command)
{
    struct tables *tables = change->tables;
    if (!bucket_name_is_valid(command->name)) {
        return STATUS_INVALID;
    }
    Trilith__TenantRecord *tenant = NULL;
    enum status status = tenant_get(tables, command->tenant_id, &tenant);
    if (status != STATUS_OK) {
        return status;
    }
    status = tables_get_number(tables, key_bucket_name(tenant->id, command->name), &change->outcome.id);
    if (status != STATUS_NOT_FOUND) {
        return status == STATUS_OK ? STATUS_EXISTS : status;
    }

    Trilith__BucketRecord bucket = TRILITH__BUCKET_RECORD__INIT;
    bucket.id = change->cluster->next_bucket_id++;
    bucket.tenant_id = tenant->id;
    bucket.name = command->name;
    bucket.created_ms = change->time_ms;
    bucket.degraded_writes = command->degraded_writes;
    tenant->buckets++;
    tables_put(tables, key_bucket(bucket.id), &bucket);
    tables_put_number(tables, key_bucket_name(tenant->id, bucket.name), bucket.id);
    tables_put(tables, key_tenant(tenant->id), tenant);
    change->outcome.id = bucket.id;
    return STATUS_OK;
}

enum status catalog_bucket_delete(struct change *change, const Trilith__BucketDeleteRequest *command)
{
    struct tables *tables = change->tables;
    Trilith__BucketRecord *bucket = NULL;
    Trilith__TenantRecord *tenant = NULL;
    enum status status = catalog_bucket(tables, command->tenant_id, command->name, &bucket);
    if (status != STATUS_OK) {
        return status;
    }
    if (bucket->objects > 0) {
        return STATUS_NOT_EMPTY;
    }
    status = tenant_get(tables, bucket->tenant_id, &tenant);
    if (status != STATUS_OK) {
        return row_missing(tables, status);
    }
    tenant->buckets--;
    tables_put(tables, key_tenant(tenant->id), tenant);
    tables_delete(tables, key_bucket(bucket->id));
    tables_delete(tables, key_bucket_name(tenant->id, bucket->name));
    return STATUS_OK;
}

enum status catalog_lease_leaves(struct change *change, const Trilith__LeaseLeaves *command)
{
    if (command->count < 1 || command->count > PAGE_LEAVES) {
        return STATUS_INVALID;
    }
    Trilith__BucketRecord *bucket = NULL;
    enum status status = bucket_get(change->tables, command->bucket_id, &bucket);
    if (status != STATUS_OK) {
        return status;
    }
    if (bucket->tenant_id != command->tenant_id) {
        return STATUS_NOT_FOUND;
    }
    status = leaves_lease(change, bucket, command);
    if (status == STATUS_OK) {
        tables_put(change->tables, key_bucket(bucket->id), bucket);
    }
    return status;
}

/* ---- versions ---------------------------------------------------------------------------------- */

/* What the row of `object` takes at most, whenever it is committed. */
static size_t object_row_bytes_max(const Trilith__Object *object)
{
    return OBJECT_ROW_FIXED_BYTES + OBJECT_ETAG_BYTES_MAX + protobuf_c_message_get_packed_size(&object->base) +
           MODIFIED_BYTES_MAX;
}

bool catalog_commit_is_valid(const Trilith__ObjectCommitRequest *command)
{
    const Trilith__Object *object = command->object;
    if (object == NULL || command->key.len < 1 || command->key.len > OBJECT_KEY_BYTES_MAX ||
        object->version_id.len != 16 || object->n_chunks > OBJECT_CHUNKS_MAX ||
        strlen(object->etag) > OBJECT_ETAG_BYTES_MAX || object->sealed_meta.len > OBJECT_META_SEALED_MAX ||
        object->suite == 0 || object->suite > UINT8_MAX || object->base.n_unknown_fields != 0) {
        return false;
    }
    uint64_t bytes = 0;
    for (size_t i = 0; i < object->n_chunks; i++) {
        const Trilith__ChunkRef *chunk = object->chunks[i];
        if (chunk->chunk_id.len != 16 || chunk->chunk_bytes < 1 || chunk->chunk_bytes > CHUNK_BYTES_MAX ||
            chunk->base.n_unknown_fields != 0) {
            return false;
        }
        bytes += chunk->chunk_bytes;
    }
    return bytes == object->size && object_row_bytes_max(object) <= TABLE_VALUE_BYTES_MAX;
}

static int chunk_order(const void *left, const void *right)
{
    const Trilith__ChunkRef *const *a = left;
    const Trilith__ChunkRef *const *b = right;
    return memcmp((*a)->chunk_id.data, (*b)->chunk_id.data, 16);
}

static enum status chunks_are_distinct(struct tables *tables, const Trilith__Object *object)
{
    Trilith__ChunkRef **sorted = scratch_take(&tables->scratch, (object->n_chunks + 1) * sizeof(Trilith__ChunkRef *));
    if (sorted == NULL) {
        tables->failed = STATUS_TOO_LARGE;
        return STATUS_TOO_LARGE;
    }
    for (size_t i = 0; i < object->n_chunks; i++) {
        sorted[i] = object->chunks[i];
    }
    qsort(sorted, object->n_chunks, sizeof(sorted[0]), chunk_order);
    for (size_t i = 1; i < object->n_chunks; i++) {
        if (chunk_order(&sorted[i - 1], &sorted[i]) == 0) {
            return STATUS_INVALID;
        }
    }
    return STATUS_OK;
}

/* The chunks of a new version: each in a PG that exists, none condemned, none in another version. */
static enum status chunks_are_free(struct tables *tables, const Trilith__Object *object)
{
    enum status status = chunks_are_distinct(tables, object);
    for (size_t i = 0; status == STATUS_OK && i < object->n_chunks; i++) {
        const uint8_t *id = object->chunks[i]->chunk_id.data;
        status = tables_find(tables, key_pg(object->chunks[i]->pg));
        if (status != STATUS_OK) {
            return status == STATUS_NOT_FOUND ? STATUS_INVALID : status;
        }
        const enum status condemned = erasure_find_condemned(tables, id);
        const enum status referenced = tables_find(tables, key_chunk(id));
        if (condemned == STATUS_OK || referenced == STATUS_OK) {
            return STATUS_CONFLICT;
        }
    }
    return status;
}

/* The row of an object, from message to bytes and back. */
static enum status object_put(struct tables *tables, uint64_t bucket_id, ProtobufCBinaryData key,
                              const Trilith__Object *object, uint64_t replaced_erasure_id)
{
    size_t capacity = object_row_bytes_max(object);
    uint8_t *row = scratch_take(&tables->scratch, capacity);
    CHECK(capacity <= TABLE_VALUE_BYTES_MAX + MODIFIED_BYTES_MAX); /* catalog_commit_is_valid() has seen to it. */
    if (row == NULL) {
        tables->failed = STATUS_TOO_LARGE;
        return STATUS_TOO_LARGE;
    }
    size_t etag_bytes = strlen(object->etag);
    struct byte_writer writer = byte_writer_of(row, capacity);
    write_u64_be(&writer, object->size);
    write_u64_be(&writer, object->modified_ms);
    write_bytes(&writer, object->version_id.data, 16);
    write_u64_be(&writer, replaced_erasure_id);
    write_u8(&writer, (uint8_t)etag_bytes);
    write_bytes(&writer, object->etag, etag_bytes);
    size_t packed = protobuf_c_message_pack(&object->base, row + writer.written);
    tables_put_bytes(tables, key_object(bucket_id, key.data, key.len), row, writer.written + packed);
    return STATUS_OK;
}

bool object_row_decode(struct kv_slice value, struct object_row *row)
{
    struct byte_reader reader = byte_reader_of(value.data, value.bytes);
    row->size = read_u64_be(&reader);
    row->modified_ms = read_u64_be(&reader);
    row->version_id = read_span(&reader, 16);
    row->replaced_erasure_id = read_u64_be(&reader);
    row->etag_bytes = read_u8(&reader);
    row->etag = (const char *)read_span(&reader, row->etag_bytes);
    row->packed = KV_SLICE(reader.at, reader.left);
    return !reader.failed;
}

static enum status object_get(struct tables *tables, uint64_t bucket_id, ProtobufCBinaryData key,
                              struct object_row *row, Trilith__Object **object)
{
    if (key.len < 1 || key.len > OBJECT_KEY_BYTES_MAX) {
        return STATUS_NOT_FOUND;
    }
    struct kv_slice value;
    enum status status = tables_get_bytes(tables, key_object(bucket_id, key.data, key.len), &value);
    if (status != STATUS_OK) {
        return status;
    }
    if (!object_row_decode(value, row)) {
        tables->failed = STATUS_CORRUPT;
        return STATUS_CORRUPT;
    }
    *object = tables_unpack(tables, &trilith__object__descriptor, row->packed);
    return *object == NULL ? tables->failed : STATUS_OK;
}

enum status catalog_object(struct tables *tables, uint64_t bucket_id, ProtobufCBinaryData object_key,
                           Trilith__Object **object)
{
    struct object_row row;
    return object_get(tables, bucket_id, object_key, &row, object);
}

static void chunks_refer(struct tables *tables, const Trilith__BucketRecord *bucket, const Trilith__Object *object)
{
    for (size_t i = 0; i < object->n_chunks; i++) {
        Trilith__ChunkRecord record = TRILITH__CHUNK_RECORD__INIT;
        record.tenant_id = bucket->tenant_id;
        record.bucket_id = bucket->id;
        record.version_id = object->version_id;
        record.pg = object->chunks[i]->pg;
        record.chunk_bytes = object->chunks[i]->chunk_bytes;
        tables_put(tables, key_chunk(object->chunks[i]->chunk_id.data), &record);
    }
}

/* Count a version in, and the one it replaces out; either may be NULL. */
static enum status count_versions(struct change *change, Trilith__BucketRecord *bucket, const Trilith__Object *added,
                                  const Trilith__Object *removed)
{
    Trilith__TenantRecord *tenant = NULL;
    enum status status = tenant_get(change->tables, bucket->tenant_id, &tenant);
    if (status != STATUS_OK) {
        return row_missing(change->tables, status);
    }
    uint64_t objects_in = added != NULL ? 1 : 0;
    uint64_t objects_out = removed != NULL ? 1 : 0;
    uint64_t bytes_in = added != NULL ? added->size : 0;
    uint64_t bytes_out = removed != NULL ? removed->size : 0;
    bucket->objects += objects_in - objects_out;
    tenant->objects += objects_in - objects_out;
    tenant->object_bytes += bytes_in - bytes_out;
    change->cluster->objects += objects_in - objects_out;
    change->cluster->object_bytes += bytes_in - bytes_out;
    tables_put(change->tables, key_bucket(bucket->id), bucket);
    tables_put(change->tables, key_tenant(tenant->id), tenant);
    return STATUS_OK;
}

/* Everything that a commit reads and that can refuse it, in the order in which refusals are reported. */
static enum status commit_check(struct change *change, const Trilith__ObjectCommitRequest *command,
                                const Trilith__BucketRecord *bucket)
{
    struct tables *tables = change->tables;
    const Trilith__Object *object = command->object;
    enum status status = tables_find(tables, key_dek(bucket->tenant_id, object->dek_version));
    if (status != STATUS_OK) {
        return status == STATUS_NOT_FOUND ? STATUS_INVALID : status;
    }
    return chunks_are_free(tables, object);
}

enum status catalog_object_commit(struct change *change, const Trilith__ObjectCommitRequest *command)
{
    struct tables *tables = change->tables;
    if (!catalog_commit_is_valid(command)) {
        return STATUS_INVALID;
    }
    Trilith__BucketRecord *bucket = NULL;
    enum status status = bucket_get(tables, command->bucket_id, &bucket);
    if (status != STATUS_OK) {
        return status;
    }
    if (bucket->tenant_id != command->tenant_id) {
        return STATUS_NOT_FOUND;
    }

    struct object_row row;
    Trilith__Object *replaced = NULL;
    status = object_get(tables, bucket->id, command->key, &row, &replaced);
    if (status == STATUS_OK && memcmp(row.version_id, command->object->version_id.data, 16) == 0) {
        change->outcome.modified_ms = row.modified_ms;
        change->outcome.erasure_id = row.replaced_erasure_id;
        return STATUS_OK;
    }
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        return status;
    }
    if (status == STATUS_OK && command->if_none_match) {
        return STATUS_EXISTS;
    }

    status = commit_check(change, command, bucket);
    if (status == STATUS_OK) {
        status = leaves_use(change, bucket, command->object->page, command->object->slot, replaced);
    }
    if (status == STATUS_OK && replaced != NULL) {
        status = erasure_of_version(change, bucket->tenant_id, "overwrite", replaced);
    }
    if (status == STATUS_OK) {
        status = count_versions(change, bucket, command->object, replaced);
    }
    if (status != STATUS_OK) {
        return status;
    }
    Trilith__Object object = *command->object;
    object.modified_ms = change->time_ms;
    change->outcome.modified_ms = change->time_ms;
    chunks_refer(tables, bucket, &object);
    return object_put(tables, bucket->id, command->key, &object, change->outcome.erasure_id);
}

enum status catalog_object_delete(struct change *change, const Trilith__ObjectDeleteRequest *command)
{
    struct tables *tables = change->tables;
    Trilith__BucketRecord *bucket = NULL;
    enum status status = catalog_bucket(tables, command->tenant_id, command->bucket, &bucket);
    if (status != STATUS_OK) {
        return status == STATUS_NOT_FOUND ? STATUS_CONFLICT : status;
    }
    struct object_row row;
    Trilith__Object *object = NULL;
    status = object_get(tables, bucket->id, command->key, &row, &object);
    if (status != STATUS_OK) {
        return status == STATUS_NOT_FOUND ? STATUS_OK : status;
    }
    status = leaves_puncture(change, object);
    if (status == STATUS_OK) {
        status = erasure_of_version(change, bucket->tenant_id, "delete", object);
    }
    if (status == STATUS_OK) {
        status = count_versions(change, bucket, NULL, object);
    }
    tables_delete(tables, key_object(bucket->id, command->key.data, command->key.len));
    return status;
}
