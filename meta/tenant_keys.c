/* tenant_keys.c - a tenant's DEKs: a new one, another master key around them, an end to one. */
#include "meta/tenants.h"

#include "meta/kms.h"
#include "meta/leaves.h"

#include <string.h>

static bool dek_is_destroyed(const Trilith__DekRecord *dek)
{
    return dek->destroyed_ms != 0;
}

static bool cmk_name_is_valid(const char *cmk)
{
    return cmk[0] != '\0' && strlen(cmk) < KMS_CMK_BYTES;
}

static bool sealed_dek_is_valid(const Trilith__SealedDek *dek)
{
    return dek != NULL && dek->sealed.len > 0 && dek->sealed.len <= SEALED_DEK_BYTES_MAX;
}

/* What is known of it and no more: the command may have carried anything besides. */
static void sealed_dek_put(struct tables *tables, uint64_t tenant_id, const Trilith__SealedDek *dek)
{
    Trilith__SealedDek row = TRILITH__SEALED_DEK__INIT;
    row.version = dek->version;
    row.page = dek->page;
    row.slot = dek->slot;
    row.sealed = dek->sealed;
    tables_put(tables, key_dek(tenant_id, dek->version), &row);
}

static enum status sealed_dek_get(struct tables *tables, uint64_t tenant_id, uint32_t version, Trilith__SealedDek **dek)
{
    return tables_get(tables, key_dek(tenant_id, version), &trilith__sealed_dek__descriptor, dek);
}

/* ---- leaves ------------------------------------------------------------------------------------ */

enum status tenant_lease_leaves(struct change *change, const Trilith__LeaseLeaves *command)
{
    if (command->count < 1 || command->count > PAGE_LEAVES) {
        return STATUS_INVALID;
    }
    Trilith__TenantRecord *tenant = NULL;
    enum status status = tenant_by_id(change->tables, command->tenant_id, &tenant);
    if (status != STATUS_OK) {
        return status;
    }
    status = tenant_may_change(tenant);
    if (status == STATUS_OK) {
        status = leaves_lease(change, tenant->id, 0, &tenant->key_page, command, NULL);
    }
    if (status == STATUS_OK) {
        tables_put(change->tables, key_tenant(tenant->id), tenant);
    }
    return status;
}

/* ---- a new DEK --------------------------------------------------------------------------------- */

/* Make room for one more record: the oldest destroyed one is forgotten. STATUS_FULL: none is. */
static enum status dek_records_make_room(Trilith__TenantRecord *tenant)
{
    if (tenant->n_deks < DEKS_MAX) {
        return STATUS_OK;
    }
    for (size_t i = 0; i < tenant->n_deks; i++) {
        if (dek_is_destroyed(tenant->deks[i])) {
            memmove(&tenant->deks[i], &tenant->deks[i + 1], (tenant->n_deks - i - 1) * sizeof(Trilith__DekRecord *));
            tenant->n_deks--;
            return STATUS_OK;
        }
    }
    return STATUS_FULL;
}

static enum status dek_record_add(struct change *change, Trilith__TenantRecord *tenant, uint32_t version)
{
    struct scratch *scratch = &change->tables->scratch;
    Trilith__DekRecord **deks = scratch_take(scratch, (tenant->n_deks + 1) * sizeof(Trilith__DekRecord *));
    Trilith__DekRecord *added = scratch_take(scratch, sizeof(*added));
    if (deks == NULL || added == NULL) {
        return tables_fail(change->tables, STATUS_TOO_LARGE);
    }
    for (size_t i = 0; i < tenant->n_deks; i++) {
        deks[i] = tenant->deks[i];
        if (deks[i]->version == tenant->dek_version) {
            deks[i]->retired_ms = change->time_ms;
        }
    }
    trilith__dek_record__init(added);
    added->version = version;
    added->created_ms = change->time_ms;
    deks[tenant->n_deks++] = added;
    tenant->deks = deks;
    tenant->dek_version = version;
    return STATUS_OK;
}

enum status tenant_dek_add(struct change *change, const Trilith__DekAdd *command)
{
    const Trilith__SealedDek *dek = command->dek;
    bool has_ref = command->ref_page != 0 || command->ref_slot != 0;
    if (!sealed_dek_is_valid(dek) || !cmk_name_is_valid(command->cmk) ||
        (has_ref && (command->ref_page == 0 || dek->version != 1))) {
        return STATUS_INVALID;
    }
    Trilith__TenantRecord *tenant = NULL;
    enum status status = tenant_by_id(change->tables, command->tenant_id, &tenant);
    if (status != STATUS_OK) {
        return status;
    }
    status = tenant_may_change(tenant);
    if (status != STATUS_OK) {
        return status;
    }
    bool first_cmk = tenant->cmk[0] == '\0';
    if (dek->version == 0 || dek->version != tenant->dek_version + 1 ||
        (!first_cmk && strcmp(tenant->cmk, command->cmk) != 0)) {
        return STATUS_CONFLICT;
    }
    const struct leaf_at leaves[2] = {{.page = dek->page, .slot = dek->slot},
                                      {.page = command->ref_page, .slot = command->ref_slot}};
    status = leaves_exchange(change, tenant->id, 0, leaves, command->ref_page != 0 ? 2 : 1, NULL, 0);
    if (status == STATUS_OK) {
        status = dek_records_make_room(tenant);
    }
    if (status == STATUS_OK) {
        status = dek_record_add(change, tenant, dek->version);
    }
    if (status != STATUS_OK) {
        return status;
    }
    if (first_cmk) {
        tenant->cmk = command->cmk;
        tenant->cmk_imported = command->cmk_imported;
        tenant->cmk_ms = change->time_ms;
    }
    if (command->ref_page != 0) {
        tenant->ref_page = command->ref_page;
        tenant->ref_slot = command->ref_slot;
        change->cluster->refs++;
    }
    change->cluster->deks++;
    sealed_dek_put(change->tables, tenant->id, dek);
    tables_put(change->tables, key_tenant(tenant->id), tenant);
    change->outcome.id = tenant->id;
    return STATUS_OK;
}

/* ---- an end to one ----------------------------------------------------------------------------- */

enum status tenant_dek_destroy(struct change *change, const Trilith__DekDestroy *command)
{
    struct tables *tables = change->tables;
    Trilith__TenantRecord *tenant = NULL;
    enum status status = tenant_by_id(tables, command->tenant_id, &tenant);
    if (status != STATUS_OK) {
        return status;
    }
    Trilith__DekRecord *record = tenant_dek(tenant, command->version);
    if (record == NULL || dek_is_destroyed(record)) {
        return record == NULL ? STATUS_NOT_FOUND : STATUS_OK;
    }
    if (record->version == tenant->dek_version) {
        return STATUS_CONFLICT;
    }
    status = tenant_may_change(tenant);
    if (status != STATUS_OK) {
        return status;
    }
    if (record->objects > 0 || record->credentials > 0) {
        return STATUS_NOT_EMPTY;
    }
    Trilith__SealedDek *dek = NULL;
    status = sealed_dek_get(tables, tenant->id, record->version, &dek);
    if (status != STATUS_OK) {
        return tables_missing(tables, status);
    }
    const struct leaf_at leaf = {.page = dek->page, .slot = dek->slot};
    status = leaves_exchange(change, tenant->id, 0, NULL, 0, &leaf, 1);
    if (status != STATUS_OK) {
        return status;
    }
    record->destroyed_ms = change->time_ms;
    record->destroyed_seal = change->cluster->seal + 1;
    change->cluster->deks--;
    tables_delete(tables, key_dek(tenant->id, record->version));
    tables_put(tables, key_tenant(tenant->id), tenant);
    return STATUS_OK;
}

/* ---- another master key ------------------------------------------------------------------------ */

/* Are `deks` well-formed, and exactly those of the tenant that are not destroyed, each once? */
static enum status deks_are_all(const Trilith__TenantRecord *tenant, const Trilith__CmkSet *command)
{
    size_t kept = 0;
    for (size_t i = 0; i < tenant->n_deks; i++) {
        kept += dek_is_destroyed(tenant->deks[i]) ? 0 : 1;
    }
    if (command->n_deks != kept) {
        return STATUS_CONFLICT;
    }
    for (size_t i = 0; i < command->n_deks; i++) {
        const Trilith__DekRecord *record = tenant_dek(tenant, command->deks[i]->version);
        if (record == NULL || dek_is_destroyed(record)) {
            return STATUS_CONFLICT;
        }
        for (size_t before = 0; before < i; before++) {
            if (command->deks[before]->version == command->deks[i]->version) {
                return STATUS_CONFLICT;
            }
        }
    }
    return STATUS_OK;
}

/* Move every DEK to its new leaf, and puncture the old ones. */
static enum status deks_move(struct change *change, const Trilith__TenantRecord *tenant, const Trilith__CmkSet *command)
{
    struct leaf_at used[DEKS_MAX];
    struct leaf_at gone[DEKS_MAX];
    CHECK(command->n_deks <= DEKS_MAX);
    for (size_t i = 0; i < command->n_deks; i++) {
        const Trilith__SealedDek *dek = command->deks[i];
        Trilith__SealedDek *before = NULL;
        enum status status = sealed_dek_get(change->tables, tenant->id, dek->version, &before);
        if (status != STATUS_OK) {
            return tables_missing(change->tables, status);
        }
        used[i] = (struct leaf_at){.page = dek->page, .slot = dek->slot};
        gone[i] = (struct leaf_at){.page = before->page, .slot = before->slot};
        sealed_dek_put(change->tables, tenant->id, dek);
    }
    return leaves_exchange(change, tenant->id, 0, used, command->n_deks, gone, command->n_deks);
}

enum status tenant_cmk_set(struct change *change, const Trilith__CmkSet *command)
{
    if (!cmk_name_is_valid(command->cmk)) {
        return STATUS_INVALID;
    }
    for (size_t i = 0; i < command->n_deks; i++) {
        if (!sealed_dek_is_valid(command->deks[i])) {
            return STATUS_INVALID;
        }
    }
    Trilith__TenantRecord *tenant = NULL;
    enum status status = tenant_by_id(change->tables, command->tenant_id, &tenant);
    if (status != STATUS_OK) {
        return status;
    }
    if (strcmp(tenant->cmk, command->replaced_cmk) != 0) {
        return STATUS_CONFLICT;
    }
    status = tenant_may_change(tenant);
    if (status == STATUS_OK) {
        status = deks_are_all(tenant, command);
    }
    if (status == STATUS_OK) {
        status = deks_move(change, tenant, command);
    }
    if (status != STATUS_OK) {
        return status;
    }
    tenant->cmk = command->cmk;
    tenant->cmk_imported = command->imported;
    tenant->cmk_ms = change->time_ms;
    tables_put(change->tables, key_tenant(tenant->id), tenant);
    return STATUS_OK;
}

/* ---- off and on -------------------------------------------------------------------------------- */

enum status tenant_key_state_set(struct change *change, const Trilith__KeyStateSet *command)
{
    Trilith__TenantRecord *tenant = NULL;
    enum status status = tenant_by_id(change->tables, command->tenant_id, &tenant);
    if (status == STATUS_OK && tenant_may_change(tenant) != STATUS_OK) {
        /* Whoever wants them on again cancels the request. */
        status = tenant->erased_ms != 0 ? STATUS_NOT_FOUND : command->revoked ? STATUS_OK : STATUS_CONFLICT;
        return status;
    }
    if (status != STATUS_OK || (bool)tenant->revoked == (bool)command->revoked) {
        return status;
    }
    tenant->revoked = command->revoked;
    tenant->state_ms = change->time_ms;
    tables_put(change->tables, key_tenant(tenant->id), tenant);
    return STATUS_OK;
}

/* ---- reads ------------------------------------------------------------------------------------- */

Trilith__DekRecord *tenant_dek(const Trilith__TenantRecord *tenant, uint32_t version)
{
    for (size_t i = 0; i < tenant->n_deks; i++) {
        if (tenant->deks[i]->version == version) {
            return tenant->deks[i];
        }
    }
    return NULL;
}

enum status tenant_sealed_dek(struct tables *tables, uint64_t tenant_id, uint32_t version, Trilith__SealedDek **dek)
{
    enum status status = sealed_dek_get(tables, tenant_id, version, dek);
    if (status != STATUS_NOT_FOUND) {
        return status;
    }
    Trilith__TenantRecord *tenant = NULL;
    status = tenant_by_id(tables, tenant_id, &tenant);
    if (status != STATUS_OK) {
        return status;
    }
    return version >= 1 && version <= tenant->dek_version ? STATUS_GONE : STATUS_NOT_FOUND;
}
