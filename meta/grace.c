/* grace.c - versions in their time of grace, and what holds versions. */
#include "meta/grace.h"

#include "meta/catalog.h"
#include "meta/catalog_row.h"
#include "meta/leaves.h"
#include "meta/tenants.h"

#include <string.h>

bool grace_rules_are_valid(Trilith__WipeTechnique technique, uint64_t grace_ms)
{
    return (technique == TRILITH__WIPE_TECHNIQUE__TECHNIQUE_OVERWRITE ||
            technique == TRILITH__WIPE_TECHNIQUE__TECHNIQUE_DOD3) &&
           grace_ms <= GRACE_MS_MAX;
}

bool version_is_held(const Trilith__Object *version, uint64_t time_ms)
{
    return version->legal_hold || version->retain_until_ms > time_ms;
}

/* ---- rows -------------------------------------------------------------------------------------- */

enum status grace_get(struct tables *tables, uint64_t erasure_id, Trilith__GraceRecord **record)
{
    enum status status = tables_get(tables, key_grace(erasure_id), &trilith__grace_record__descriptor, record);
    if (status == STATUS_OK && ((*record)->object == NULL || (*record)->object->version_id.len != 16 ||
                                (*record)->key.len < 1 || (*record)->key.len > OBJECT_KEY_BYTES_MAX)) {
        return tables_fail(tables, STATUS_CORRUPT);
    }
    return status;
}

static enum status bucket_get(struct tables *tables, uint64_t bucket_id, Trilith__BucketRecord **bucket)
{
    enum status status = tables_get(tables, key_bucket(bucket_id), &trilith__bucket_record__descriptor, bucket);
    return status == STATUS_OK ? STATUS_OK : tables_missing(tables, status);
}

static enum status tenant_get(struct tables *tables, uint64_t tenant_id, Trilith__TenantRecord **tenant)
{
    enum status status = tenant_by_id(tables, tenant_id, tenant);
    return status == STATUS_OK ? STATUS_OK : tables_missing(tables, status);
}

/* It is due at another time. */
static void due_move(struct tables *tables, uint64_t erasure_id, Trilith__GraceRecord *record, uint64_t due_ms)
{
    tables_delete(tables, key_grace_due(record->due_ms, erasure_id));
    record->due_ms = due_ms;
    tables_put_bytes(tables, key_grace_due(due_ms, erasure_id), "", 0);
    tables_put(tables, key_grace(erasure_id), record);
}

void grace_rows_delete(struct tables *tables, uint64_t erasure_id, const Trilith__GraceRecord *record)
{
    tables_delete(tables, key_grace(erasure_id));
    tables_delete(tables, key_grace_due(record->due_ms, erasure_id));
    tables_delete(tables, key_bucket_grace(record->bucket_id, erasure_id));
}

/* ---- begin ------------------------------------------------------------------------------------- */

enum status grace_begin(struct change *change, const Trilith__BucketRecord *bucket, ProtobufCBinaryData key,
                        const Trilith__Object *version, const struct erasure_cause *cause, ProtobufCBinaryData ref_salt)
{
    static char none[] = "";
    struct tables *tables = change->tables;
    struct erasure_cause with_grace = *cause;
    with_grace.grace_until_ms = change->time_ms + bucket->grace_ms;
    enum status status = erasure_take_id(change, bucket->tenant_id, bucket->id, &with_grace, version);
    if (status != STATUS_OK) {
        return status;
    }
    Trilith__Object object = *version;
    object.reseal_page = 0;
    object.reseal_slot = 0;
    object.reseal_node = 0;
    object.reseal_until_ms = 0;
    Trilith__GraceRecord record;
    trilith__grace_record__init(&record);
    record.tenant_id = bucket->tenant_id;
    record.bucket_id = bucket->id;
    record.bucket = bucket->name;
    record.key = key;
    record.object = &object;
    record.until_ms = with_grace.grace_until_ms;
    record.due_ms = with_grace.grace_until_ms;
    record.reason = scratch_copy(&tables->scratch, cause->reason, strlen(cause->reason));
    record.requested_by = none;
    if (cause->requested_by != NULL) {
        record.requested_by =
            scratch_copy(&tables->scratch, cause->requested_by, strnlen(cause->requested_by, REQUESTED_BYTES_MAX));
    }
    record.ref_salt = ref_salt;
    if (record.reason == NULL || record.requested_by == NULL) {
        return tables_fail(tables, STATUS_TOO_LARGE);
    }
    tables_put(tables, key_grace(change->outcome.erasure_id), &record);
    tables_put_bytes(tables, key_grace_due(record.due_ms, change->outcome.erasure_id), "", 0);
    tables_put_bytes(tables, key_bucket_grace(bucket->id, change->outcome.erasure_id), "", 0);
    return STATUS_OK;
}

/* ---- end ---------------------------------------------------------------------------------------
 *
 * Several versions go with one command, and reads do not see its writes: so each bucket and tenant is read once,
 * counted down, and written at the end; and all leaves are punctured together. */

struct ending {
    struct change *change;
    uint32_t count;
    uint32_t chunks;
    struct leaf_at leaves[GRACE_ENDED_MAX];
    uint64_t ids[GRACE_ENDED_MAX];
    const Trilith__GraceRecord *records[GRACE_ENDED_MAX];
    Trilith__BucketRecord *buckets[GRACE_ENDED_MAX];
    uint32_t bucket_count;
    Trilith__TenantRecord *tenants[GRACE_ENDED_MAX];
    uint32_t tenant_count;
};

static enum status ending_bucket(struct ending *ending, uint64_t bucket_id, Trilith__BucketRecord **bucket)
{
    for (uint32_t i = 0; i < ending->bucket_count; i++) {
        if (ending->buckets[i]->id == bucket_id) {
            *bucket = ending->buckets[i];
            return STATUS_OK;
        }
    }
    enum status status = bucket_get(ending->change->tables, bucket_id, bucket);
    if (status == STATUS_OK) {
        ending->buckets[ending->bucket_count++] = *bucket;
    }
    return status;
}

static enum status ending_tenant(struct ending *ending, uint64_t tenant_id, Trilith__TenantRecord **tenant)
{
    for (uint32_t i = 0; i < ending->tenant_count; i++) {
        if (ending->tenants[i]->id == tenant_id) {
            *tenant = ending->tenants[i];
            return STATUS_OK;
        }
    }
    enum status status = tenant_get(ending->change->tables, tenant_id, tenant);
    if (status == STATUS_OK) {
        ending->tenants[ending->tenant_count++] = *tenant;
    }
    return status;
}

/* Count one out of everything that counts it. */
static enum status ending_count(struct ending *ending, const Trilith__GraceRecord *record,
                                Trilith__TenantRecord *tenant)
{
    struct tables *tables = ending->change->tables;
    const Trilith__Object *object = record->object;
    Trilith__BucketRecord *bucket = NULL;
    enum status status = ending_bucket(ending, record->bucket_id, &bucket);
    if (status != STATUS_OK) {
        return status;
    }
    Trilith__DekRecord *dek = tenant_dek(tenant, object->dek_version);
    if (dek == NULL || dek->objects == 0 || dek->object_bytes < object->size || bucket->grace_objects == 0 ||
        tenant->grace_objects == 0 || tenant->grace_bytes < object->size || tenant->chunks < object->n_chunks ||
        ending->change->cluster->grace_objects == 0) {
        return tables_fail(tables, STATUS_CORRUPT);
    }
    dek->objects--;
    dek->object_bytes -= object->size;
    bucket->grace_objects--;
    tenant->grace_objects--;
    tenant->grace_bytes -= object->size;
    tenant->chunks -= object->n_chunks;
    ending->change->cluster->grace_objects--;
    return STATUS_OK;
}

/* Held, or kept for a plan: it is looked at again later. */
static bool put_off(struct ending *ending, uint64_t erasure_id, Trilith__GraceRecord *record,
                    const Trilith__TenantRecord *tenant)
{
    uint64_t now_ms = ending->change->time_ms;
    if (!version_is_held(record->object, now_ms) && tenant_may_change(tenant) == STATUS_OK) {
        return false;
    }
    bool until_known = !record->object->legal_hold && record->object->retain_until_ms > now_ms;
    due_move(ending->change->tables, erasure_id, record,
             until_known ? record->object->retain_until_ms : now_ms + GRACE_HELD_MS);
    return true;
}

static enum status ending_add(struct ending *ending, uint64_t erasure_id)
{
    struct tables *tables = ending->change->tables;
    Trilith__GraceRecord *record = NULL;
    Trilith__TenantRecord *tenant = NULL;
    enum status status = grace_get(tables, erasure_id, &record);
    if (status != STATUS_OK) {
        return tables_missing(tables, status);
    }
    status = ending_tenant(ending, record->tenant_id, &tenant);
    if (status != STATUS_OK || put_off(ending, erasure_id, record, tenant)) {
        return status;
    }
    status = ending_count(ending, record, tenant);
    if (status != STATUS_OK) {
        return status;
    }
    ending->leaves[ending->count] = (struct leaf_at){.page = record->object->page, .slot = record->object->slot};
    ending->ids[ending->count] = erasure_id;
    ending->records[ending->count++] = record;
    ending->chunks += (uint32_t)record->object->n_chunks;
    grace_rows_delete(tables, erasure_id, record);
    return STATUS_OK;
}

/* What of those that are due fits into one command. */
static enum status ending_gather(struct ending *ending)
{
    struct tables *tables = ending->change->tables;
    struct table_walk walk;
    struct kv_slice key, value;
    enum status status = STATUS_OK;
    uint32_t looked = 0;
    table_walk_open(&walk, tables, key_prefix(key_grace_due(0, 0), 1));
    for (; status == STATUS_OK && looked < GRACE_ENDED_MAX && ending->chunks < GRACE_CHUNKS_MAX &&
           table_walk_row(&walk, &key, &value);
         table_walk_next(&walk)) {
        const uint8_t *bytes = key.data;
        if (key.bytes != 17) {
            status = tables_fail(tables, STATUS_CORRUPT);
        } else if (number_of_be(bytes + 1, 8) > ending->change->time_ms) {
            break;
        } else {
            status = ending_add(ending, number_of_be(bytes + 9, 8));
            looked++;
        }
    }
    table_walk_close(&walk);
    return status == STATUS_OK ? tables->failed : status;
}

/* The erasure that was announced when the version was deleted. */
static enum status ending_erase(struct ending *ending, uint32_t at)
{
    const Trilith__GraceRecord *record = ending->records[at];
    uint8_t object_ref[ERASURE_REF_BYTES];
    Trilith__BucketRecord *bucket = NULL;
    enum status status = ending_bucket(ending, record->bucket_id, &bucket);
    if (status != STATUS_OK) {
        return status;
    }
    struct erasure_cause cause = {.reason = record->reason,
                                  .requested_by = record->requested_by,
                                  .grace_until_ms = record->until_ms,
                                  .erasure_id = ending->ids[at],
                                  .technique = bucket->technique};
    if (erasure_object_ref(record->ref_salt, record->object->version_id.data, record->bucket, record->key,
                           object_ref)) {
        cause.object_ref = object_ref;
    }
    return erasure_of_version(ending->change, record->tenant_id, record->bucket_id, &cause, record->object);
}

enum status grace_end(struct change *change)
{
    struct ending *ending = scratch_take(&change->tables->scratch, sizeof(*ending));
    if (ending == NULL) {
        return tables_fail(change->tables, STATUS_TOO_LARGE);
    }
    ending->change = change;
    enum status status = ending_gather(ending);
    if (status == STATUS_OK && ending->count > 0) {
        status = leaves_exchange(change, 0, 0, NULL, 0, ending->leaves, ending->count);
    }
    for (uint32_t i = 0; status == STATUS_OK && i < ending->count; i++) {
        status = ending_erase(ending, i);
    }
    if (status != STATUS_OK) {
        return status;
    }
    for (uint32_t i = 0; ending->count > 0 && i < ending->bucket_count; i++) {
        tables_put(change->tables, key_bucket(ending->buckets[i]->id), ending->buckets[i]);
    }
    for (uint32_t i = 0; ending->count > 0 && i < ending->tenant_count; i++) {
        tables_put(change->tables, key_tenant(ending->tenants[i]->id), ending->tenants[i]);
    }
    change->outcome.erasure_id = 0; /* There may be several. */
    return STATUS_OK;
}

bool grace_is_due(struct tables *tables, uint64_t time_ms)
{
    struct table_walk walk;
    struct kv_slice key, value;
    table_walk_open(&walk, tables, key_prefix(key_grace_due(0, 0), 1));
    bool due = table_walk_row(&walk, &key, &value) && key.bytes == 17 &&
               number_of_be((const uint8_t *)key.data + 1, 8) <= time_ms;
    table_walk_close(&walk);
    return due;
}

/* ---- taken back -------------------------------------------------------------------------------- */

static enum status undo_count(struct change *change, const Trilith__GraceRecord *record, Trilith__TenantRecord *tenant)
{
    Trilith__BucketRecord *bucket = NULL;
    const Trilith__Object *object = record->object;
    enum status status = bucket_get(change->tables, record->bucket_id, &bucket);
    if (status != STATUS_OK) {
        return status;
    }
    if (bucket->grace_objects == 0 || tenant->grace_objects == 0 || tenant->grace_bytes < object->size ||
        change->cluster->grace_objects == 0) {
        return tables_fail(change->tables, STATUS_CORRUPT);
    }
    bucket->grace_objects--;
    tenant->grace_objects--;
    tenant->grace_bytes -= object->size;
    change->cluster->grace_objects--;
    bucket->objects++;
    tenant->objects++;
    tenant->object_bytes += object->size;
    change->cluster->objects++;
    change->cluster->object_bytes += object->size;
    tables_put(change->tables, key_bucket(bucket->id), bucket);
    tables_put(change->tables, key_tenant(tenant->id), tenant);
    return STATUS_OK;
}

enum status grace_undo(struct change *change, const Trilith__ErasureUndoRequest *command)
{
    struct tables *tables = change->tables;
    Trilith__GraceRecord *record = NULL;
    Trilith__TenantRecord *tenant = NULL;
    struct object_row row;
    Trilith__Object *newer = NULL;
    enum status status = grace_get(tables, command->id, &record);
    if (status != STATUS_OK) {
        return status;
    }
    status = tenant_get(tables, record->tenant_id, &tenant);
    if (status == STATUS_OK) {
        status = tenant_may_change(tenant);
    }
    if (status != STATUS_OK) {
        return status;
    }
    status = object_row_get(tables, record->bucket_id, record->key, &row, &newer);
    if (status != STATUS_NOT_FOUND) {
        return status == STATUS_OK ? STATUS_CONFLICT : status;
    }
    status = undo_count(change, record, tenant);
    if (status == STATUS_OK) {
        status = erasure_take_back(change, command->id);
    }
    if (status != STATUS_OK) {
        return status == STATUS_NOT_FOUND || status == STATUS_CONFLICT ? tables_fail(tables, STATUS_CORRUPT) : status;
    }
    grace_rows_delete(tables, command->id, record);
    return object_row_put(tables, record->bucket_id, record->key, record->object, 0);
}

/* ---- holds ------------------------------------------------------------------------------------- */

static bool hold_is_valid(const Trilith__ObjectHoldRequest *command, uint64_t time_ms)
{
    bool retention = !command->set_retention || command->retain_until_ms <= time_ms + RETENTION_MS_MAX;
    return (command->set_hold || command->set_retention) && retention;
}

/* The version as it is to be from now on, and what its tenant counts. STATUS_HELD: retention would end earlier. */
static enum status hold_set(Trilith__Object *object, Trilith__TenantRecord *tenant,
                            const Trilith__ObjectHoldRequest *command)
{
    if (command->set_retention) {
        if (command->retain_until_ms < object->retain_until_ms) {
            return STATUS_HELD;
        }
        object->retain_until_ms = command->retain_until_ms;
        if (tenant->retained_until_ms < command->retain_until_ms) {
            tenant->retained_until_ms = command->retain_until_ms;
        }
    }
    if (command->set_hold && (bool)object->legal_hold != (bool)command->legal_hold) {
        object->legal_hold = command->legal_hold;
        tenant->holds += command->legal_hold ? 1 : -UINT64_C(1);
    }
    return STATUS_OK;
}

static enum status hold_latest(struct change *change, Trilith__TenantRecord *tenant,
                               const Trilith__ObjectHoldRequest *command)
{
    Trilith__BucketRecord *bucket = NULL;
    struct object_row row;
    Trilith__Object *object = NULL;
    enum status status = catalog_bucket(change->tables, tenant->id, command->bucket, &bucket);
    if (status != STATUS_OK) {
        return status == STATUS_NOT_FOUND ? STATUS_CONFLICT : status;
    }
    status = object_row_get(change->tables, bucket->id, command->key, &row, &object);
    if (status == STATUS_OK) {
        status = hold_set(object, tenant, command);
    }
    return status == STATUS_OK
               ? object_row_put(change->tables, bucket->id, command->key, object, row.replaced_erasure_id)
               : status;
}

static enum status hold_in_grace(struct change *change, Trilith__TenantRecord *tenant,
                                 const Trilith__ObjectHoldRequest *command)
{
    struct tables *tables = change->tables;
    Trilith__GraceRecord *record = NULL;
    enum status status = grace_get(tables, command->erasure_id, &record);
    if (status == STATUS_OK && record->tenant_id != tenant->id) {
        status = STATUS_NOT_FOUND;
    }
    if (status == STATUS_OK) {
        status = hold_set(record->object, tenant, command);
    }
    if (status != STATUS_OK) {
        return status;
    }
    /* One that had been put off is due again when its grace time says so: at once, if that is over. */
    uint64_t due_ms = version_is_held(record->object, change->time_ms) ? record->due_ms : record->until_ms;
    if (due_ms != record->due_ms) {
        due_move(tables, command->erasure_id, record, due_ms);
    } else {
        tables_put(tables, key_grace(command->erasure_id), record);
    }
    return STATUS_OK;
}

enum status grace_hold(struct change *change, const Trilith__ObjectHoldRequest *command)
{
    Trilith__TenantRecord *tenant = NULL;
    if (!hold_is_valid(command, change->time_ms)) {
        return STATUS_INVALID;
    }
    enum status status = tenant_by_id(change->tables, command->tenant_id, &tenant);
    if (status != STATUS_OK) {
        return status;
    }
    if (tenant->erasing_request != 0) {
        return tenant->erased_ms != 0 ? STATUS_NOT_FOUND : STATUS_KEY_REVOKED;
    }
    status = command->erasure_id != 0 ? hold_in_grace(change, tenant, command) : hold_latest(change, tenant, command);
    if (status == STATUS_OK) {
        tables_put(change->tables, key_tenant(tenant->id), tenant);
    }
    return status;
}

/* ---- rules of a bucket ------------------------------------------------------------------------- */

enum status grace_bucket_set(struct change *change, const Trilith__BucketSetRequest *command)
{
    Trilith__BucketRecord *bucket = NULL;
    Trilith__TenantRecord *tenant = NULL;
    if (!grace_rules_are_valid(command->set_technique ? command->technique : 0,
                               command->set_grace ? command->grace_ms : 0)) {
        return STATUS_INVALID;
    }
    enum status status = tenant_by_id(change->tables, command->tenant_id, &tenant);
    if (status == STATUS_OK) {
        status = tenant_may_change(tenant);
    }
    if (status == STATUS_OK) {
        status = catalog_bucket(change->tables, tenant->id, command->name, &bucket);
    }
    if (status != STATUS_OK) {
        return status;
    }
    bucket->technique = command->set_technique ? command->technique : bucket->technique;
    bucket->grace_ms = command->set_grace ? command->grace_ms : bucket->grace_ms;
    tables_put(change->tables, key_bucket(bucket->id), bucket);
    return STATUS_OK;
}
