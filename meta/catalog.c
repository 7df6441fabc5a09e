/* catalog.c - buckets and versions: the changes and the look-ups. Listing is in catalog_list.c. */
#include "meta/catalog.h"

#include "meta/catalog_row.h"
#include "meta/erasure.h"
#include "meta/grace.h"
#include "meta/leaves.h"
#include "meta/tenants.h"

#include "base/bytes.h"
#include "base/seal.h"

#include <stdlib.h>
#include <string.h>

/* Object.modified_ms, reseal_*, legal_hold and retain_until_ms, packed: what is added to the object of a commit, then
 * or later. */
#define ADDED_BYTES_MAX (11 + 6 + 6 + 11 + 11 + 2 + 12)

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

enum status catalog_bucket_by_id(struct tables *tables, uint64_t bucket_id, Trilith__BucketRecord **bucket)
{
    return tables_get(tables, key_bucket(bucket_id), &trilith__bucket_record__descriptor, bucket);
}

static bool suite_is_valid(uint32_t suite)
{
    return suite == SUITE_AES_256_GCM || suite == SUITE_SM4_GCM;
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
    status = catalog_bucket_by_id(tables, bucket_id, bucket);
    return status == STATUS_OK ? STATUS_OK : tables_missing(tables, status);
}

enum status catalog_bucket_create(struct change *change, const Trilith__BucketCreateRequest *command)
{
    struct tables *tables = change->tables;
    uint32_t suite = command->suite == 0 ? SUITE_AES_256_GCM : command->suite;
    if (!bucket_name_is_valid(command->name) || !suite_is_valid(suite) ||
        !grace_rules_are_valid(command->technique, command->grace_ms)) {
        return STATUS_INVALID;
    }
    Trilith__TenantRecord *tenant = NULL;
    enum status status = tenant_by_id(tables, command->tenant_id, &tenant);
    if (status == STATUS_OK) {
        status = tenant_may_change(tenant);
    }
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
    bucket.suite = suite;
    bucket.technique = command->technique;
    bucket.grace_ms = command->grace_ms;
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
    if (bucket->objects > 0 || bucket->grace_objects > 0) {
        return STATUS_NOT_EMPTY;
    }
    status = tenant_by_id(tables, bucket->tenant_id, &tenant);
    if (status != STATUS_OK) {
        return tables_missing(tables, status);
    }
    status = tenant_may_change(tenant);
    if (status != STATUS_OK) {
        return status;
    }
    tenant->buckets--;
    tables_put(tables, key_tenant(tenant->id), tenant);
    tables_delete(tables, key_bucket(bucket->id));
    tables_delete(tables, key_bucket_name(tenant->id, bucket->name));
    return leaves_drop(change, tenant->id, bucket->id);
}

/* ---- versions ---------------------------------------------------------------------------------- */

/* What the row of `object` takes at most, whenever it is committed. */
static size_t object_row_bytes_max(const Trilith__Object *object)
{
    return OBJECT_ROW_FIXED_BYTES + OBJECT_ETAG_BYTES_MAX + protobuf_c_message_get_packed_size(&object->base) +
           ADDED_BYTES_MAX;
}

static bool has_what_only_we_set(const Trilith__Object *object)
{
    return object->reseal_page != 0 || object->reseal_slot != 0 || object->reseal_node != 0 ||
           object->reseal_until_ms != 0 || object->legal_hold || object->retain_until_ms != 0;
}

bool catalog_commit_is_valid(const Trilith__ObjectCommitRequest *command)
{
    const Trilith__Object *object = command->object;
    if (object == NULL || command->key.len < 1 || command->key.len > OBJECT_KEY_BYTES_MAX ||
        object->version_id.len != 16 || object->n_chunks > OBJECT_CHUNKS_MAX ||
        strlen(object->etag) > OBJECT_ETAG_BYTES_MAX || object->sealed_meta.len > OBJECT_META_SEALED_MAX ||
        !suite_is_valid(object->suite) || has_what_only_we_set(object) || object->base.n_unknown_fields != 0) {
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
        return tables_fail(tables, STATUS_TOO_LARGE);
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
enum status object_row_put(struct tables *tables, uint64_t bucket_id, ProtobufCBinaryData key,
                           const Trilith__Object *object, uint64_t replaced_erasure_id)
{
    size_t capacity = object_row_bytes_max(object);
    uint8_t *row = scratch_take(&tables->scratch, capacity);
    CHECK(capacity <= TABLE_VALUE_BYTES_MAX + ADDED_BYTES_MAX); /* catalog_commit_is_valid() has seen to it. */
    if (row == NULL) {
        return tables_fail(tables, STATUS_TOO_LARGE);
    }
    size_t etag_bytes = strlen(object->etag);
    struct byte_writer writer = byte_writer_of(row, capacity);
    write_u64_be(&writer, object->size);
    write_u64_be(&writer, object->modified_ms);
    write_bytes(&writer, object->version_id.data, 16);
    write_u64_be(&writer, replaced_erasure_id);
    write_u32_be(&writer, object->dek_version);
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
    row->dek_version = read_u32_be(&reader);
    row->etag_bytes = read_u8(&reader);
    row->etag = (const char *)read_span(&reader, row->etag_bytes);
    row->packed = KV_SLICE(reader.at, reader.left);
    return !reader.failed;
}

enum status object_row_get(struct tables *tables, uint64_t bucket_id, ProtobufCBinaryData key, struct object_row *row,
                           Trilith__Object **object)
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
        return tables_fail(tables, STATUS_CORRUPT);
    }
    *object = tables_unpack(tables, &trilith__object__descriptor, row->packed);
    return *object == NULL ? tables->failed : STATUS_OK;
}

enum status catalog_object(struct tables *tables, uint64_t bucket_id, ProtobufCBinaryData object_key,
                           Trilith__Object **object)
{
    struct object_row row;
    return object_row_get(tables, bucket_id, object_key, &row, object);
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

/* Versions that come and go with one command; each may be NULL. */
struct version_count {
    const Trilith__Object *added;
    const Trilith__Object *erased;
    const Trilith__Object *graced; /* it leaves the table, but its leaf, its chunks and its place under a DEK stay */
};

static enum status count_under_deks(struct change *change, const Trilith__TenantRecord *tenant,
                                    const struct version_count *count)
{
    if (count->added != NULL) {
        Trilith__DekRecord *dek = tenant_dek(tenant, count->added->dek_version);
        CHECK(dek != NULL); /* dek_check() has seen to it. */
        dek->objects++;
        dek->object_bytes += count->added->size;
    }
    if (count->erased != NULL) {
        Trilith__DekRecord *dek = tenant_dek(tenant, count->erased->dek_version);
        if (dek == NULL || dek->objects == 0 || dek->object_bytes < count->erased->size) {
            return tables_fail(change->tables, STATUS_CORRUPT);
        }
        dek->objects--;
        dek->object_bytes -= count->erased->size;
    }
    return STATUS_OK;
}

/* Count versions in and out. Writes bucket and tenant. */
static enum status count_versions(struct change *change, Trilith__BucketRecord *bucket, Trilith__TenantRecord *tenant,
                                  const struct version_count *count)
{
    const Trilith__Object *removed = count->erased != NULL ? count->erased : count->graced;
    uint64_t objects_in = count->added != NULL ? 1 : 0;
    uint64_t objects_out = removed != NULL ? 1 : 0;
    uint64_t bytes_in = count->added != NULL ? count->added->size : 0;
    uint64_t bytes_out = removed != NULL ? removed->size : 0;
    CHECK(count->erased == NULL || count->graced == NULL); /* A key has one version. */
    bucket->objects += objects_in - objects_out;
    tenant->objects += objects_in - objects_out;
    tenant->object_bytes += bytes_in - bytes_out;
    tenant->chunks += count->added != NULL ? count->added->n_chunks : 0;
    tenant->chunks -= count->erased != NULL ? count->erased->n_chunks : 0;
    change->cluster->objects += objects_in - objects_out;
    change->cluster->object_bytes += bytes_in - bytes_out;
    if (count->graced != NULL) {
        bucket->grace_objects++;
        tenant->grace_objects++;
        tenant->grace_bytes += bytes_out;
        change->cluster->grace_objects++;
    }
    tables_put(change->tables, key_bucket(bucket->id), bucket);
    enum status status = count_under_deks(change, tenant, count);
    tables_put(change->tables, key_tenant(tenant->id), tenant);
    return status;
}

/* The leaves that go with a version: its own, and one that was leased to seal it anew and may have been used for that,
 * whoever did so and however far they came. Returns how many. */
static size_t version_leaves(const Trilith__Object *object, struct leaf_at leaves[2])
{
    leaves[0] = (struct leaf_at){.page = object->page, .slot = object->slot};
    leaves[1] = (struct leaf_at){.page = object->reseal_page, .slot = object->reseal_slot, .idle = true};
    return object->reseal_page != 0 ? 2 : 1;
}

/* How a version leaves the catalog. */
struct departure {
    const char *reason;
    const char *requested_by;
    ProtobufCBinaryData ref_salt;
    bool graced; /* it can be taken back for a time: nothing of it is destroyed now */
};

/* Which of its leaves go now: of one with a time of grace only the idle one. The first is at `*first`. */
static size_t departing_leaves(const Trilith__Object *version, const struct departure *departure,
                               struct leaf_at leaves[2], size_t *first)
{
    size_t count = version_leaves(version, leaves);
    *first = departure->graced ? 1 : 0;
    return count - *first;
}

/* Its erasure begins, or its time of grace. */
static enum status version_departs(struct change *change, const Trilith__BucketRecord *bucket, ProtobufCBinaryData key,
                                   const Trilith__Object *version, const struct departure *departure)
{
    uint8_t object_ref[ERASURE_REF_BYTES];
    struct erasure_cause cause = {
        .reason = departure->reason, .requested_by = departure->requested_by, .technique = bucket->technique};
    if (erasure_object_ref(departure->ref_salt, version->version_id.data, bucket->name, key, object_ref)) {
        cause.object_ref = object_ref;
    }
    return departure->graced ? grace_begin(change, bucket, key, version, &cause, departure->ref_salt)
                             : erasure_of_version(change, bucket->tenant_id, bucket->id, &cause, version);
}

/* ---- leases ------------------------------------------------------------------------------------ */

bool catalog_reseal_lease_is_valid(ProtobufCBinaryData key, ProtobufCBinaryData version_id, uint32_t count)
{
    bool none = key.len == 0 && version_id.len == 0;
    return none || (key.len >= 1 && key.len <= OBJECT_KEY_BYTES_MAX && version_id.len == 16 && count == 1);
}

/* Lease a leaf to seal a version anew, and note it in the version's row, in place of the one noted there. */
static enum status lease_for_reseal(struct change *change, Trilith__BucketRecord *bucket,
                                    const Trilith__LeaseLeaves *command)
{
    struct object_row row;
    Trilith__Object *object = NULL;
    struct leaf_at leaves[2];
    enum status status = object_row_get(change->tables, bucket->id, command->reseal_key, &row, &object);
    if (status != STATUS_OK) {
        return status == STATUS_NOT_FOUND ? STATUS_CONFLICT : status;
    }
    bool held = object->reseal_node != command->node_id && change->time_ms < object->reseal_until_ms;
    if (held || memcmp(row.version_id, command->reseal_version.data, 16) != 0) {
        return STATUS_CONFLICT;
    }
    const struct leaf_at *instead_of = version_leaves(object, leaves) == 2 ? &leaves[1] : NULL;
    status = leaves_lease(change, bucket->tenant_id, bucket->id, &bucket->open_page, command, instead_of);
    if (status != STATUS_OK) {
        return status;
    }
    object->reseal_page = change->outcome.leased.page;
    object->reseal_slot = change->outcome.leased.first_slot;
    object->reseal_node = command->node_id;
    object->reseal_until_ms = change->time_ms + RESEAL_HOLD_MS + object->size * 1000 / RESEAL_HOLD_BYTES_PER_S;
    return object_row_put(change->tables, bucket->id, command->reseal_key, object, row.replaced_erasure_id);
}

enum status catalog_lease_leaves(struct change *change, const Trilith__LeaseLeaves *command)
{
    if (command->count < 1 || command->count > PAGE_LEAVES ||
        !catalog_reseal_lease_is_valid(command->reseal_key, command->reseal_version, command->count)) {
        return STATUS_INVALID;
    }
    Trilith__BucketRecord *bucket = NULL;
    enum status status = catalog_bucket_by_id(change->tables, command->bucket_id, &bucket);
    if (status != STATUS_OK) {
        return status;
    }
    if (bucket->tenant_id != command->tenant_id) {
        return STATUS_NOT_FOUND;
    }
    Trilith__TenantRecord *tenant = NULL;
    status = tenant_by_id(change->tables, bucket->tenant_id, &tenant);
    if (status != STATUS_OK) {
        return tables_missing(change->tables, status);
    }
    status = tenant_may_change(tenant);
    if (status != STATUS_OK) {
        return status;
    }
    status = command->reseal_key.len > 0
                 ? lease_for_reseal(change, bucket, command)
                 : leaves_lease(change, bucket->tenant_id, bucket->id, &bucket->open_page, command, NULL);
    if (status == STATUS_OK) {
        tables_put(change->tables, key_bucket(bucket->id), bucket);
    }
    return status;
}

/* ---- commit ------------------------------------------------------------------------------------ */

/* A commit under way: what stood there before, and whose it is. */
struct commit {
    struct change *change;
    const Trilith__ObjectCommitRequest *command;
    Trilith__BucketRecord *bucket;
    Trilith__TenantRecord *tenant;
    struct object_row row;
    Trilith__Object *replaced; /* NULL: the key is new */
};

static enum status commit_read(struct commit *commit)
{
    struct tables *tables = commit->change->tables;
    const Trilith__ObjectCommitRequest *command = commit->command;
    enum status status = catalog_bucket_by_id(tables, command->bucket_id, &commit->bucket);
    if (status != STATUS_OK) {
        return status;
    }
    if (commit->bucket->tenant_id != command->tenant_id) {
        return STATUS_NOT_FOUND;
    }
    status = tenant_by_id(tables, command->tenant_id, &commit->tenant);
    if (status != STATUS_OK) {
        return tables_missing(tables, status);
    }
    status = object_row_get(tables, commit->bucket->id, command->key, &commit->row, &commit->replaced);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* Has this very commit been made before? */
static bool commit_is_repeated(const struct commit *commit)
{
    const Trilith__Object *object = commit->command->object;
    if (commit->replaced == NULL || memcmp(commit->row.version_id, object->version_id.data, 16) != 0) {
        return false;
    }
    return commit->command->reseal_from == 0 ||
           (commit->replaced->page == object->page && commit->replaced->slot == object->slot);
}

/* Sealing anew gives the same version another leaf, DEK and chunks, and nothing else. */
static enum status reseal_check(const struct commit *commit)
{
    const Trilith__Object *object = commit->command->object;
    const Trilith__Object *replaced = commit->replaced;
    if (replaced == NULL || memcmp(commit->row.version_id, object->version_id.data, 16) != 0 ||
        commit->row.dek_version != commit->command->reseal_from || replaced->reseal_page != object->page ||
        replaced->reseal_slot != object->slot) {
        return STATUS_CONFLICT;
    }
    bool same = object->size == replaced->size && strcmp(object->etag, replaced->etag) == 0;
    return same && object->dek_version == commit->tenant->dek_version ? STATUS_OK : STATUS_INVALID;
}

static enum status dek_check(const Trilith__TenantRecord *tenant, uint32_t version)
{
    const Trilith__DekRecord *dek = tenant_dek(tenant, version);
    if (dek != NULL && dek->destroyed_ms == 0) {
        return STATUS_OK;
    }
    return version >= 1 && version <= tenant->dek_version ? STATUS_CONFLICT : STATUS_INVALID;
}

/* Everything that can refuse a commit, in the order in which refusals are reported; but for its leaf. */
static enum status commit_check(const struct commit *commit)
{
    const Trilith__ObjectCommitRequest *command = commit->command;
    enum status status = tenant_access(commit->tenant);
    if (status != STATUS_OK) {
        return status;
    }
    if (command->reseal_from != 0) {
        status = reseal_check(commit);
    } else if (command->if_none_match && commit->replaced != NULL) {
        status = STATUS_EXISTS;
    } else if (commit->replaced != NULL && version_is_held(commit->replaced, commit->change->time_ms)) {
        status = STATUS_HELD;
    }
    if (status == STATUS_OK) {
        status = dek_check(commit->tenant, command->object->dek_version);
    }
    return status == STATUS_OK ? chunks_are_free(commit->change->tables, command->object) : status;
}

/* How the version that it replaces goes. Sealed anew it is the same version: there is nothing to take back. */
static struct departure commit_departure(const struct commit *commit)
{
    bool reseal = commit->command->reseal_from != 0;
    return (struct departure){.reason = reseal ? "reseal" : "overwrite",
                              .requested_by = commit->command->requested_by,
                              .ref_salt = commit->command->ref_salt,
                              .graced = !reseal && commit->bucket->grace_ms > 0};
}

/* Its leaf and chunks for those of the version that it replaces. */
static enum status commit_exchange(const struct commit *commit)
{
    const Trilith__Object *object = commit->command->object;
    const Trilith__Object *replaced = commit->replaced;
    const struct departure departure = commit_departure(commit);
    const struct leaf_at used = {.page = object->page, .slot = object->slot};
    struct leaf_at gone[2];
    size_t first = 0;
    size_t gone_count = replaced != NULL ? departing_leaves(replaced, &departure, gone, &first) : 0;
    if (commit->command->reseal_from != 0) {
        gone_count = 1; /* The other one is `used`. */
    }
    enum status status = leaves_exchange(commit->change, commit->bucket->tenant_id, commit->bucket->id, &used, 1,
                                         gone + first, gone_count);
    if (status == STATUS_OK && replaced != NULL) {
        status = version_departs(commit->change, commit->bucket, commit->command->key, replaced, &departure);
    }
    return status;
}

static enum status commit_count(const struct commit *commit)
{
    bool graced = commit_departure(commit).graced;
    const struct version_count count = {.added = commit->command->object,
                                        .erased = graced ? NULL : commit->replaced,
                                        .graced = graced ? commit->replaced : NULL};
    return count_versions(commit->change, commit->bucket, commit->tenant, &count);
}

enum status catalog_object_commit(struct change *change, const Trilith__ObjectCommitRequest *command)
{
    if (!catalog_commit_is_valid(command)) {
        return STATUS_INVALID;
    }
    struct commit commit = {.change = change, .command = command};
    bool reseal = command->reseal_from != 0;
    enum status status = commit_read(&commit);
    if (status != STATUS_OK) {
        return status;
    }
    if (commit_is_repeated(&commit)) {
        change->outcome.modified_ms = commit.row.modified_ms;
        change->outcome.erasure_id = reseal ? 0 : commit.row.replaced_erasure_id;
        return STATUS_OK;
    }
    status = commit_check(&commit);
    if (status == STATUS_OK) {
        status = commit_exchange(&commit);
    }
    if (status == STATUS_OK) {
        status = commit_count(&commit);
    }
    if (status != STATUS_OK) {
        return status;
    }
    Trilith__Object object = *command->object;
    object.modified_ms = reseal ? commit.row.modified_ms : change->time_ms;
    object.legal_hold = reseal && commit.replaced->legal_hold;
    object.retain_until_ms = reseal ? commit.replaced->retain_until_ms : 0;
    change->outcome.modified_ms = object.modified_ms;
    chunks_refer(change->tables, commit.bucket, &object);
    return object_row_put(change->tables, commit.bucket->id, command->key, &object,
                          reseal ? commit.row.replaced_erasure_id : change->outcome.erasure_id);
}

/* ---- delete ------------------------------------------------------------------------------------ */

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
    status = object_row_get(tables, bucket->id, command->key, &row, &object);
    if (status != STATUS_OK) {
        return status == STATUS_NOT_FOUND ? STATUS_OK : status;
    }
    CHECK(object != NULL);
    Trilith__TenantRecord *tenant = NULL;
    status = tenant_by_id(tables, bucket->tenant_id, &tenant);
    if (status != STATUS_OK) {
        return tables_missing(tables, status);
    }
    status = tenant_may_change(tenant);
    if (status == STATUS_OK && version_is_held(object, change->time_ms)) {
        status = STATUS_HELD;
    }
    if (status != STATUS_OK) {
        return status;
    }
    const struct departure departure = {.reason = "delete",
                                        .requested_by = command->requested_by,
                                        .ref_salt = command->ref_salt,
                                        .graced = bucket->grace_ms > 0};
    struct leaf_at leaves[2];
    size_t first = 0;
    size_t leaf_count = departing_leaves(object, &departure, leaves, &first);
    status = leaves_exchange(change, bucket->tenant_id, bucket->id, NULL, 0, leaves + first, leaf_count);
    if (status == STATUS_OK) {
        status = version_departs(change, bucket, command->key, object, &departure);
    }
    if (status == STATUS_OK) {
        const struct version_count count = {.erased = departure.graced ? NULL : object,
                                            .graced = departure.graced ? object : NULL};
        status = count_versions(change, bucket, tenant, &count);
    }
    tables_delete(tables, key_object(bucket->id, command->key.data, command->key.len));
    return status;
}
