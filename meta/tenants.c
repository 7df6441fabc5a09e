/* tenants.c - rows of tenants and credentials. What a tenant's DEKs go through is in tenant_keys.c. */
#include "meta/tenants.h"

#include <string.h>

#define SEALED_SECRET_BYTES_MAX 256

bool tenant_name_is_valid(const char *name)
{
    size_t length = strlen(name);
    return length >= TENANT_NAME_BYTES_MIN && length <= TENANT_NAME_BYTES_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == length;
}

bool role_is_valid(const char *role)
{
    return strcmp(role, "owner") == 0 || strcmp(role, "editor") == 0 || strcmp(role, "viewer") == 0;
}

static bool access_key_is_valid(const char *access_key)
{
    return strlen(access_key) == ACCESS_KEY_CHARACTERS &&
           strspn(access_key, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ACCESS_KEY_CHARACTERS;
}

/* ---- changes ----------------------------------------------------------------------------------- */

/* One that is there but has no DEK is a creation that stopped half way: it may go on. */
static enum status tenant_exists(struct change *change, uint64_t tenant_id)
{
    Trilith__TenantRecord *tenant = NULL;
    enum status status = tenant_by_id(change->tables, tenant_id, &tenant);
    if (status != STATUS_OK) {
        return tables_missing(change->tables, status);
    }
    return tenant->dek_version == 0 ? STATUS_OK : STATUS_EXISTS;
}

enum status tenant_create(struct change *change, const Trilith__TenantCreate *command)
{
    struct tables *tables = change->tables;
    if (!tenant_name_is_valid(command->name)) {
        return STATUS_INVALID;
    }
    enum status status = tables_get_number(tables, key_tenant_name(command->name), &change->outcome.id);
    if (status != STATUS_NOT_FOUND) {
        return status == STATUS_OK ? tenant_exists(change, change->outcome.id) : status;
    }
    Trilith__TenantRecord tenant = TRILITH__TENANT_RECORD__INIT;
    tenant.id = change->cluster->next_tenant_id++;
    tenant.name = command->name;
    tenant.created_ms = change->time_ms;
    tables_put(tables, key_tenant(tenant.id), &tenant);
    tables_put_number(tables, key_tenant_name(tenant.name), tenant.id);
    change->outcome.id = tenant.id;
    return STATUS_OK;
}

static bool sealed_secret_is_valid(ProtobufCBinaryData sealed_secret)
{
    return sealed_secret.len > 0 && sealed_secret.len <= SEALED_SECRET_BYTES_MAX;
}

static size_t credential_count(struct tables *tables, uint64_t tenant_id)
{
    struct table_walk walk;
    struct kv_slice key, value;
    size_t count = 0;
    table_walk_open(&walk, tables, key_tenant_credential(tenant_id, ""));
    for (; table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        count++;
    }
    table_walk_close(&walk);
    return count;
}

enum status credential_create(struct change *change, const Trilith__CredentialCreate *command)
{
    struct tables *tables = change->tables;
    if (!access_key_is_valid(command->access_key) || !role_is_valid(command->role) ||
        !sealed_secret_is_valid(command->sealed_secret)) {
        return STATUS_INVALID;
    }
    Trilith__TenantRecord *tenant = NULL;
    enum status status = tenant_by_name(tables, command->tenant, &tenant);
    if (status != STATUS_OK) {
        return status;
    }
    status = tables_find(tables, key_credential(command->access_key));
    if (status != STATUS_NOT_FOUND) {
        return status == STATUS_OK ? STATUS_EXISTS : status;
    }
    status = tenant_may_change(tenant);
    if (status != STATUS_OK) {
        return status;
    }
    Trilith__DekRecord *dek = tenant_dek(tenant, command->dek_version);
    if (dek == NULL || dek->version != tenant->dek_version) {
        return STATUS_CONFLICT;
    }
    if (credential_count(tables, tenant->id) >= CREDENTIALS_LIST_MAX) {
        return STATUS_FULL;
    }
    dek->credentials++;
    tables_put(tables, key_tenant(tenant->id), tenant);
    Trilith__CredentialRecord credential = TRILITH__CREDENTIAL_RECORD__INIT;
    credential.tenant_id = tenant->id;
    credential.role = command->role;
    credential.created_ms = change->time_ms;
    credential.sealed_secret = command->sealed_secret;
    credential.dek_version = command->dek_version;
    tables_put(tables, key_credential(command->access_key), &credential);
    tables_put_bytes(tables, key_tenant_credential(tenant->id, command->access_key), "", 0);
    change->outcome.id = tenant->id;
    return STATUS_OK;
}

/* The tenant of a credential, which is no longer sealed under the DEK that it names. The caller writes the tenant. */
static enum status credential_leave_dek(struct tables *tables, const Trilith__CredentialRecord *credential,
                                        Trilith__TenantRecord **tenant)
{
    enum status status = tenant_by_id(tables, credential->tenant_id, tenant);
    if (status != STATUS_OK) {
        return tables_missing(tables, status);
    }
    Trilith__DekRecord *dek = tenant_dek(*tenant, credential->dek_version);
    if (dek == NULL || dek->credentials == 0) {
        return tables_fail(tables, STATUS_CORRUPT);
    }
    dek->credentials--;
    return STATUS_OK;
}

enum status credential_reseal(struct change *change, const Trilith__CredentialReseal *command)
{
    struct tables *tables = change->tables;
    if (!sealed_secret_is_valid(command->sealed_secret)) {
        return STATUS_INVALID;
    }
    Trilith__CredentialRecord *credential = NULL;
    Trilith__TenantRecord *tenant = NULL;
    enum status status = credential_get(tables, command->access_key, &credential);
    if (status == STATUS_OK) {
        status = credential_leave_dek(tables, credential, &tenant);
    }
    if (status != STATUS_OK) {
        return status;
    }
    status = tenant_may_change(tenant);
    if (status != STATUS_OK) {
        return status;
    }
    Trilith__DekRecord *dek = tenant_dek(tenant, command->dek_version);
    if (dek == NULL || dek->version != tenant->dek_version) {
        return STATUS_CONFLICT;
    }
    dek->credentials++;
    credential->sealed_secret = command->sealed_secret;
    credential->dek_version = dek->version;
    tables_put(tables, key_tenant(tenant->id), tenant);
    tables_put(tables, key_credential(command->access_key), credential);
    return STATUS_OK;
}

enum status credential_revoke(struct change *change, const Trilith__CredentialRevokeRequest *command)
{
    Trilith__CredentialRecord *credential = NULL;
    Trilith__TenantRecord *tenant = NULL;
    enum status status = credential_get(change->tables, command->access_key, &credential);
    if (status == STATUS_OK) {
        status = credential_leave_dek(change->tables, credential, &tenant);
    }
    if (status != STATUS_OK) {
        return status;
    }
    tables_put(change->tables, key_tenant(tenant->id), tenant);
    tables_delete(change->tables, key_credential(command->access_key));
    tables_delete(change->tables, key_tenant_credential(credential->tenant_id, command->access_key));
    return STATUS_OK;
}

/* ---- reads ------------------------------------------------------------------------------------- */

enum status tenant_by_id(struct tables *tables, uint64_t tenant_id, Trilith__TenantRecord **tenant)
{
    return tables_get(tables, key_tenant(tenant_id), &trilith__tenant_record__descriptor, tenant);
}

enum status tenant_by_name(struct tables *tables, const char *name, Trilith__TenantRecord **tenant)
{
    uint64_t id = 0;
    if (!tenant_name_is_valid(name)) {
        return STATUS_NOT_FOUND;
    }
    enum status status = tables_get_number(tables, key_tenant_name(name), &id);
    return status == STATUS_OK ? tenant_by_id(tables, id, tenant) : status;
}

Trilith__Tenant *tenant_message(struct tables *tables, const Trilith__TenantRecord *record)
{
    Trilith__Tenant *tenant = scratch_take(&tables->scratch, sizeof(*tenant));
    if (tenant == NULL) {
        return NULL;
    }
    trilith__tenant__init(tenant);
    tenant->id = record->id;
    tenant->name = record->name;
    tenant->created_ms = record->created_ms;
    tenant->buckets = record->buckets;
    tenant->objects = record->objects;
    tenant->object_bytes = record->object_bytes;
    tenant->asked_request = record->asked_request;
    tenant->erasing_request = record->erasing_request;
    tenant->erased_ms = record->erased_ms;
    return tenant;
}

enum status tenant_list(struct tables *tables, Trilith__TenantListReply *reply)
{
    reply->tenants = scratch_take(&tables->scratch, TENANTS_LIST_MAX * sizeof(reply->tenants[0]));
    if (reply->tenants == NULL) {
        return STATUS_TOO_LARGE;
    }
    struct table_walk walk;
    struct kv_slice key, value;
    enum status status = STATUS_OK;
    table_walk_open(&walk, tables, key_prefix(key_tenant(0), 1));
    for (; reply->n_tenants < TENANTS_LIST_MAX && table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        const Trilith__TenantRecord *record = tables_unpack(tables, &trilith__tenant_record__descriptor, value);
        Trilith__Tenant *tenant = record == NULL ? NULL : tenant_message(tables, record);
        if (tenant == NULL) {
            status = STATUS_CORRUPT;
            break;
        }
        reply->tenants[reply->n_tenants++] = tenant;
    }
    table_walk_close(&walk);
    return status;
}

enum status credential_get(struct tables *tables, const char *access_key, Trilith__CredentialRecord **credential)
{
    if (!access_key_is_valid(access_key)) {
        return STATUS_NOT_FOUND;
    }
    return tables_get(tables, key_credential(access_key), &trilith__credential_record__descriptor, credential);
}

enum status credential_list(struct tables *tables, const char *tenant_name, Trilith__CredentialListReply *reply)
{
    Trilith__TenantRecord *tenant = NULL;
    enum status status = tenant_by_name(tables, tenant_name, &tenant);
    if (status != STATUS_OK) {
        return status;
    }
    reply->credentials = scratch_take(&tables->scratch, CREDENTIALS_LIST_MAX * sizeof(reply->credentials[0]));
    if (reply->credentials == NULL) {
        return STATUS_TOO_LARGE;
    }
    struct table_walk walk;
    struct kv_slice key, value;
    table_walk_open(&walk, tables, key_tenant_credential(tenant->id, ""));
    while (reply->n_credentials < CREDENTIALS_LIST_MAX && table_walk_row(&walk, &key, &value)) {
        char *access_key = scratch_copy(&tables->scratch, (const uint8_t *)key.data + 9, key.bytes - 9);
        Trilith__Credential *credential = scratch_take(&tables->scratch, sizeof(*credential));
        Trilith__CredentialRecord *record = NULL;
        status =
            access_key == NULL || credential == NULL ? STATUS_TOO_LARGE : credential_get(tables, access_key, &record);
        if (status != STATUS_OK) {
            break;
        }
        trilith__credential__init(credential);
        credential->access_key = access_key;
        credential->role = record->role;
        credential->created_ms = record->created_ms;
        reply->credentials[reply->n_credentials++] = credential;
        table_walk_next(&walk);
    }
    table_walk_close(&walk);
    return status;
}
