/* tenant_request.c - the request that erases a tenant: its plan, what it does to the tenant while it waits, its stages.
 *
 * The plan is the inventory as it is when the request is made: from then on the tenant's keys are off and nothing of it
 * changes, so it stays true. Plan:
 *
 *   schema, kind, subject     as every plan (request_approval.c)
 *   tenant       {id, name, created_at}
 *   inventory    {buckets, objects, versions, versions_in_grace, bytes, chunks, pages, credentials,
 *                 bucket_list [{name, objects, versions_in_grace}], bucket_list_complete,
 *                 deks [{version, created_at, state}], cmk {key_id, imported, action}, k_ref}
 *   holds        {legal_holds, retained_until}: none, or there would be no request
 *   disks        [{id, uuid, node}], disks_exact: those that are known to be asked; or, of very many versions, all there are
 *   epoch_bound  {epoch}: the keys go with the close of this epoch of the vault, or of a later one
 *   steps        what will be done, in order
 *   not_covered  what it can't reach */
#include "meta/tenant_erasure.h"

#include "meta/catalog_row.h"
#include "meta/erasure.h"
#include "meta/evidence.h"
#include "meta/leaves.h"
#include "meta/registry.h"
#include "meta/tenants.h"

#include <string.h>

#define PLAN_BUCKETS_MAX 200u
#define PLAN_DISKS_MAX   400u
#define PLAN_ROWS_MAX    20000u /* of versions that are looked at for disks: a fraction of a second */
#define STAGE_ERASING    "erasing"
#define STAGE_CLOSING    "closing"

/* ---- what the plan lists ----------------------------------------------------------------------- */

struct inventory {
    struct tables *tables;
    const Trilith__TenantRecord *tenant;
    json_t *buckets;
    bool buckets_complete;
    uint64_t pages;
    uint32_t rows;
    bool disks_exact;
    bool on_disk[DISK_IDS_MAX + 1];
    bool pg_seen[65536]; /* by the low bits of its id: a PG that is looked at again costs a little time */
    uint32_t pg_of[65536];
};

static enum status pg_note(struct inventory *inventory, uint32_t pg_id)
{
    uint32_t slot = pg_id & 0xffff;
    if (inventory->pg_seen[slot] && inventory->pg_of[slot] == pg_id) {
        return STATUS_OK;
    }
    struct tables *tables = inventory->tables;
    Trilith__PgRecord *pg = NULL;
    size_t used_bytes = tables->scratch.used;
    enum status status = tables_get(tables, key_pg(pg_id), &trilith__pg_record__descriptor, &pg);
    if (status != STATUS_OK) {
        return tables_missing(tables, status);
    }
    inventory->pg_seen[slot] = true;
    inventory->pg_of[slot] = pg_id;
    for (size_t i = 0; i < pg->n_members + pg->n_former; i++) {
        uint32_t disk_id = i < pg->n_members ? pg->members[i] : pg->former[i - pg->n_members];
        inventory->on_disk[disk_id <= DISK_IDS_MAX ? disk_id : 0] = true;
    }
    inventory->on_disk[pg->target <= DISK_IDS_MAX ? pg->target : 0] = true;
    tables->scratch.used = used_bytes;
    return STATUS_OK;
}

static enum status version_note(struct inventory *inventory, const Trilith__Object *version)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < version->n_chunks; i++) {
        status = pg_note(inventory, version->chunks[i]->pg);
    }
    return status;
}

/* The disks of a bucket's versions, as long as there are not too many of them. */
static enum status objects_note(struct inventory *inventory, uint64_t bucket_id)
{
    struct tables *tables = inventory->tables;
    struct table_walk walk;
    struct kv_slice key, value;
    enum status status = STATUS_OK;
    table_walk_open(&walk, tables, key_object_prefix(bucket_id, NULL, 0));
    for (; status == STATUS_OK && table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        size_t used_bytes = tables->scratch.used;
        struct object_row row;
        if (++inventory->rows > PLAN_ROWS_MAX) {
            inventory->disks_exact = false;
            break;
        }
        const Trilith__Object *object =
            object_row_decode(value, &row) ? tables_unpack(tables, &trilith__object__descriptor, row.packed) : NULL;
        status = object == NULL ? tables_fail(tables, STATUS_CORRUPT) : version_note(inventory, object);
        tables->scratch.used = used_bytes;
    }
    table_walk_close(&walk);
    return status == STATUS_OK ? tables->failed : status;
}

static enum status graced_note(struct inventory *inventory, uint64_t bucket_id)
{
    struct tables *tables = inventory->tables;
    struct table_walk walk;
    struct kv_slice key, value;
    enum status status = STATUS_OK;
    table_walk_open(&walk, tables, key_prefix(key_bucket_grace(bucket_id, 0), 9));
    for (; status == STATUS_OK && table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        size_t used_bytes = tables->scratch.used;
        Trilith__GraceRecord *record = NULL;
        if (++inventory->rows > PLAN_ROWS_MAX) {
            inventory->disks_exact = false;
            break;
        }
        status = tables_get(tables, key_grace(number_of_be((const uint8_t *)key.data + 9, 8)),
                            &trilith__grace_record__descriptor, &record);
        status = status == STATUS_OK ? version_note(inventory, record->object) : tables_missing(tables, status);
        tables->scratch.used = used_bytes;
    }
    table_walk_close(&walk);
    return status == STATUS_OK ? tables->failed : status;
}

static enum status bucket_note(struct inventory *inventory, uint64_t bucket_id, bool *good)
{
    struct tables *tables = inventory->tables;
    Trilith__BucketRecord *bucket = NULL;
    enum status status = tables_get(tables, key_bucket(bucket_id), &trilith__bucket_record__descriptor, &bucket);
    if (status != STATUS_OK) {
        return tables_missing(tables, status);
    }
    if (json_array_size(inventory->buckets) < PLAN_BUCKETS_MAX) {
        json_t *line = json_pack("{s:s, s:o, s:o}", "name", bucket->name, "objects", evidence_number(bucket->objects),
                                 "versions_in_grace", evidence_number(bucket->grace_objects));
        *good = *good && line != NULL && json_array_append_new(inventory->buckets, line) == 0;
    } else {
        inventory->buckets_complete = false;
    }
    status = inventory->disks_exact ? objects_note(inventory, bucket_id) : STATUS_OK;
    return status == STATUS_OK && inventory->disks_exact ? graced_note(inventory, bucket_id) : status;
}

static enum status inventory_take(struct inventory *inventory)
{
    struct tables *tables = inventory->tables;
    struct table_walk walk;
    struct kv_slice key, value;
    bool good = true;
    enum status status = STATUS_OK;
    table_walk_open(&walk, tables, key_bucket_name(inventory->tenant->id, ""));
    for (; status == STATUS_OK && table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        size_t used_bytes = tables->scratch.used;
        status = value.bytes == 8 ? bucket_note(inventory, number_of_be(value.data, 8), &good)
                                  : tables_fail(tables, STATUS_CORRUPT);
        tables->scratch.used = used_bytes;
    }
    table_walk_close(&walk);
    table_walk_open(&walk, tables, key_prefix(key_bucket_page(inventory->tenant->id, 0, 0), 9));
    for (; inventory->pages < PAGES_DROPPED_MAX && table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        inventory->pages++;
    }
    table_walk_close(&walk);
    status = status == STATUS_OK ? tables->failed : status;
    return status == STATUS_OK && !good ? STATUS_FULL : status;
}

/* Disks that stand, with the names of their nodes. */
static json_t *disks_json(struct inventory *inventory, uint64_t map_epoch, bool *good)
{
    json_t *list = json_array();
    Trilith__Map *map = NULL;
    if (registry_map(inventory->tables, map_epoch, &map) != STATUS_OK) {
        *good = false;
        return list;
    }
    for (size_t i = 0; i < map->n_disks && json_array_size(list) < PLAN_DISKS_MAX; i++) {
        const Trilith__MapDisk *disk = map->disks[i];
        const char *node = "";
        bool asked = !inventory->disks_exact || (disk->id <= DISK_IDS_MAX && inventory->on_disk[disk->id]);
        for (size_t n = 0; n < map->n_nodes; n++) {
            node = map->nodes[n]->id == disk->node_id ? map->nodes[n]->name : node;
        }
        if (asked && disk->uuid.len == 16) {
            json_t *line = json_pack("{s:I, s:o, s:s}", "id", (json_int_t)disk->id, "uuid",
                                     evidence_uuid(disk->uuid.data), "node", node);
            *good = *good && line != NULL && json_array_append_new(list, line) == 0;
        }
    }
    inventory->disks_exact = inventory->disks_exact && json_array_size(list) < PLAN_DISKS_MAX;
    return list;
}

static json_t *deks_json(const Trilith__TenantRecord *tenant)
{
    json_t *list = json_array();
    for (size_t i = 0; i < tenant->n_deks; i++) {
        const Trilith__DekRecord *dek = tenant->deks[i];
        const char *state = dek->destroyed_ms != 0 ? "destroyed" : dek->retired_ms != 0 ? "retiring" : "current";
        (void)json_array_append_new(list, json_pack("{s:I, s:o, s:s}", "version", (json_int_t)dek->version,
                                                    "created_at", evidence_time(dek->created_ms), "state", state));
    }
    return list;
}

static json_t *inventory_json(const struct inventory *inventory, size_t credentials, bool *good)
{
    const Trilith__TenantRecord *tenant = inventory->tenant;
    json_t *value = json_object();
    evidence_put(value, "buckets", evidence_number(tenant->buckets), good);
    evidence_put(value, "objects", evidence_number(tenant->objects), good);
    evidence_put(value, "versions", evidence_number(tenant->objects + tenant->grace_objects), good);
    evidence_put(value, "versions_in_grace", evidence_number(tenant->grace_objects), good);
    evidence_put(value, "bytes", evidence_number(tenant->object_bytes + tenant->grace_bytes), good);
    evidence_put(value, "chunks", evidence_number(tenant->chunks), good);
    evidence_put(value, "pages", evidence_number(inventory->pages), good);
    evidence_put(value, "credentials", evidence_number(credentials), good);
    evidence_put(value, "bucket_list", json_incref(inventory->buckets), good);
    evidence_put(value, "bucket_list_complete", json_boolean(inventory->buckets_complete), good);
    evidence_put(value, "deks", deks_json(tenant), good);
    evidence_put(value, "cmk",
                 json_pack("{s:o, s:b, s:s}", "key_id", evidence_text(tenant->cmk), "imported",
                           tenant->cmk_imported ? 1 : 0, "action", "destroy, where what holds it can destroy it alone"),
                 good);
    evidence_put(value, "k_ref", json_boolean(tenant->ref_page != 0), good);
    return value;
}

static json_t *sentences(const char *const *texts, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        (void)json_array_append_new(list, json_string(texts[i]));
    }
    return list;
}

static json_t *plan_json(struct inventory *inventory, uint64_t map_epoch, uint64_t vault_epoch, size_t credentials)
{
    static const char *const steps[] = {
        "Every page of the vault with keys of the tenant's buckets is punctured, then the page with its data keys.",
        "Every version becomes wipes on every disk that is or ever was to hold a copy of it.",
        "Buckets and access keys are removed. The tenant's name stays taken.",
        "The tenant's master key is destroyed in the key management, where that can destroy it alone.",
        "When the vault's epoch is destroyed and every disk has answered, a certificate is issued.",
    };
    static const char *const not_covered[] = {
        "Copies that the tenant or readers made.",
        "Backups of the master key outside of the key management.",
        "Names of buckets and objects in old files of the metadata service, until they are rewritten.",
    };
    const Trilith__TenantRecord *tenant = inventory->tenant;
    bool good = true;
    json_t *plan = json_object();
    evidence_put(plan, "tenant",
                 json_pack("{s:I, s:s, s:o}", "id", (json_int_t)tenant->id, "name", tenant->name, "created_at",
                           evidence_time(tenant->created_ms)),
                 &good);
    evidence_put(plan, "inventory", inventory_json(inventory, credentials, &good), &good);
    evidence_put(plan, "holds",
                 json_pack("{s:I, s:o}", "legal_holds", (json_int_t)tenant->holds, "retained_until", json_null()),
                 &good);
    evidence_put(plan, "disks", disks_json(inventory, map_epoch, &good), &good);
    evidence_put(plan, "disks_exact", json_boolean(inventory->disks_exact), &good);
    evidence_put(plan, "epoch_bound", json_pack("{s:I}", "epoch", (json_int_t)vault_epoch), &good);
    evidence_put(plan, "steps", sentences(steps, ARRAY_LENGTH(steps)), &good);
    evidence_put(plan, "not_covered", sentences(not_covered, ARRAY_LENGTH(not_covered)), &good);
    if (!good) {
        json_decref(plan);
        return NULL;
    }
    return plan;
}

static size_t credential_count(struct tables *tables, uint64_t tenant_id)
{
    struct table_walk walk;
    struct kv_slice key, value;
    size_t count = 0;
    table_walk_open(&walk, tables, key_tenant_credential(tenant_id, ""));
    for (; count < CREDENTIALS_LIST_MAX && table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        count++;
    }
    table_walk_close(&walk);
    return count;
}

/* May the tenant go? A hold or retention on any of its versions forbids it. */
static enum status tenant_is_free(const Trilith__TenantRecord *tenant, uint64_t time_ms)
{
    return tenant->holds > 0 || tenant->retained_until_ms > time_ms ? STATUS_HELD : STATUS_OK;
}

static enum status tenant_plan(const struct request_plan_parts *parts, Trilith__Request *request, json_t **plan)
{
    Trilith__TenantRecord *tenant = NULL;
    enum status status = tenant_by_name(parts->tables, request->subject, &tenant);
    if (status == STATUS_OK) {
        status = tenant->erased_ms != 0                   ? STATUS_NOT_FOUND
                 : tenant_may_change(tenant) != STATUS_OK ? STATUS_EXISTS
                                                          : tenant_is_free(tenant, parts->now_ms);
    }
    if (status != STATUS_OK) {
        return status;
    }
    struct inventory *inventory = scratch_take(&parts->tables->scratch, sizeof(*inventory));
    if (inventory == NULL) {
        return STATUS_TOO_LARGE;
    }
    inventory->tables = parts->tables;
    inventory->tenant = tenant;
    inventory->buckets = json_array();
    inventory->buckets_complete = true;
    inventory->disks_exact = true;
    status = inventory_take(inventory);
    if (status == STATUS_OK) {
        request->tenant_id = tenant->id;
        request->subject = tenant->name;
        *plan = plan_json(inventory, parts->cluster->map_epoch, parts->cluster->epoch,
                          credential_count(parts->tables, tenant->id));
        status = *plan == NULL ? STATUS_FULL : STATUS_OK;
    }
    json_decref(inventory->buckets);
    return status;
}

/* ---- applying ---------------------------------------------------------------------------------- */

static enum status subject_get(struct change *change, const Trilith__RequestRecord *record,
                               Trilith__TenantRecord **tenant)
{
    enum status status = tenant_by_id(change->tables, record->request->tenant_id, tenant);
    return status == STATUS_NOT_FOUND ? tables_missing(change->tables, status) : status;
}

static void keys_switch(struct change *change, Trilith__TenantRecord *tenant, bool revoked)
{
    if ((bool)tenant->revoked != revoked) {
        tenant->revoked = revoked;
        tenant->state_ms = change->time_ms;
    }
}

static enum status tenant_asked(struct change *change, Trilith__RequestRecord *record)
{
    Trilith__TenantRecord *tenant = NULL;
    enum status status = tenant_by_id(change->tables, record->request->tenant_id, &tenant);
    if (status == STATUS_OK) {
        status = tenant_may_change(tenant);
    }
    if (status == STATUS_OK) {
        status = tenant_is_free(tenant, change->time_ms);
    }
    Trilith__TenantErasure *found = scratch_take(&change->tables->scratch, sizeof(*found));
    if (status != STATUS_OK || found == NULL) {
        return status != STATUS_OK ? status : tables_fail(change->tables, STATUS_TOO_LARGE);
    }
    trilith__tenant_erasure__init(found);
    found->keys_were_on = !tenant->revoked;
    found->cmk = tenant->cmk;
    found->cmk_imported = tenant->cmk_imported;
    record->tenant = found;
    tenant->asked_request = record->request->id;
    keys_switch(change, tenant, true);
    tables_put(change->tables, key_tenant(tenant->id), tenant);
    return STATUS_OK;
}

static enum status tenant_begin(struct change *change, Trilith__RequestRecord *record)
{
    Trilith__TenantRecord *tenant = NULL;
    const Trilith__Request *request = record->request;
    enum status status = subject_get(change, record, &tenant);
    if (status == STATUS_OK) {
        status = tenant_is_free(tenant, change->time_ms);
    }
    if (status == STATUS_OK) {
        status = erasure_open_whole(change, tenant->id, request->id, request->requested_by, request->requested_ms);
    }
    if (status != STATUS_OK) {
        return status;
    }
    tenant->asked_request = 0;
    tenant->erasing_request = request->id;
    tenant->erasure_id = change->outcome.erasure_id;
    record->request->erasure_id = change->outcome.erasure_id;
    tables_put(change->tables, key_tenant(tenant->id), tenant);
    return STATUS_OK;
}

static enum status tenant_cancel(struct change *change, Trilith__RequestRecord *record)
{
    Trilith__TenantRecord *tenant = NULL;
    if (record->request->state != TRILITH__REQUEST_STATE__REQUEST_OPEN) {
        return STATUS_CONFLICT; /* Its keys are going, and there is no way back. */
    }
    enum status status = subject_get(change, record, &tenant);
    if (status != STATUS_OK) {
        return status;
    }
    tenant->asked_request = 0;
    keys_switch(change, tenant, !(record->tenant != NULL && record->tenant->keys_were_on));
    tables_put(change->tables, key_tenant(tenant->id), tenant);
    return STATUS_OK;
}

/* STATUS_OK: every wipe is accounted for, and its keys are beyond recovery. STATUS_CONFLICT: not yet. */
static enum status erasure_is_over(struct tables *tables, const Trilith__ClusterRecord *cluster, uint64_t erasure_id)
{
    Trilith__ErasureRecord *erasure = NULL;
    enum status status = erasure_record(tables, erasure_id, &erasure);
    if (status != STATUS_OK) {
        return tables_missing(tables, status);
    }
    return erasure_is_wiped(erasure) && erasure_keys_are_gone(cluster, erasure_id, erasure) ? STATUS_OK
                                                                                            : STATUS_CONFLICT;
}

static enum status tenant_staged(struct change *change, Trilith__RequestRecord *record, const char *to)
{
    Trilith__TenantRecord *tenant = NULL;
    enum status status = subject_get(change, record, &tenant);
    if (status != STATUS_OK) {
        return status;
    }
    if (strcmp(record->request->stage, STAGE_ERASING) == 0 && strcmp(to, STAGE_CLOSING) == 0) {
        return tenant->erased_ms != 0 ? STATUS_OK : STATUS_CONFLICT;
    }
    if (strcmp(record->request->stage, STAGE_CLOSING) == 0 && strcmp(to, REQUEST_STAGE_CERTIFY) == 0) {
        return erasure_is_over(change->tables, change->cluster, tenant->erasure_id);
    }
    return STATUS_CONFLICT;
}

/* ---- reads ------------------------------------------------------------------------------------- */

static enum status tenant_progress(const struct request_plan_parts *parts, const Trilith__RequestRecord *record,
                                   Trilith__Request *request)
{
    Trilith__TenantRecord *tenant = NULL;
    Trilith__ErasureRecord *erasure = NULL;
    if (strcmp(request->stage, STAGE_ERASING) == 0 && record->tenant != NULL) {
        enum status status = tenant_by_id(parts->tables, request->tenant_id, &tenant);
        if (status == STATUS_OK) {
            request->done = record->tenant->versions;
            request->total = record->tenant->versions + tenant->objects + tenant->grace_objects;
        }
        return status;
    }
    if (strcmp(request->stage, STAGE_CLOSING) == 0) {
        enum status status = erasure_record(parts->tables, request->erasure_id, &erasure);
        if (status == STATUS_OK) {
            request->done = erasure->wipes_done;
            request->total = erasure->wipes_total;
        }
        return status;
    }
    return STATUS_OK;
}

const struct request_kind tenant_erasure_kind = {.kind = TRILITH__REQUEST_KIND__REQUEST_TENANT,
                                                 .name = "tenant",
                                                 .first_stage = STAGE_ERASING,
                                                 .plan = tenant_plan,
                                                 .asked = tenant_asked,
                                                 .begin = tenant_begin,
                                                 .cancel = tenant_cancel,
                                                 .staged = tenant_staged,
                                                 .progress = tenant_progress,
                                                 .advance = tenant_erasure_advance};
