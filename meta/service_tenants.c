/* service_tenants.c - requests about tenants, their keys and their credentials. */
#include "meta/service_private.h"

#include "meta/tenants.h"

#define MESSAGE_OF(request, type) ((type *)(uintptr_t)(request)->message)
#define CREDENTIAL_KEY_LABEL      "credential"

_Static_assert(ACCESS_KEY_BYTES == ACCESS_KEY_CHARACTERS + 1, "an access key and its terminator");

/* ---- keys -------------------------------------------------------------------------------------- */

/* Unwrap a tenant's DEK into `dek`. STATUS_OK; STATUS_NOT_FOUND: no such version; STATUS_DENIED: the KMS refuses. */
static enum status dek_unwrap(struct meta_service *service, struct tables *tables, const Trilith__TenantRecord *tenant,
                              uint32_t version, struct key *dek)
{
    struct kv_slice wrapped;
    enum status status = tenant_wrapped_dek(tables, tenant->id, version, &wrapped);
    if (status != STATUS_OK) {
        return status;
    }
    return kms_unwrap(service->parts.kms, tenant->name, version, wrapped.data, wrapped.bytes, dek);
}

void serve_tenant_key(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__TenantKeyRequest *message = MESSAGE_OF(request, Trilith__TenantKeyRequest);
    struct tables *tables = service_tables(service);
    Trilith__TenantKeyReply reply = TRILITH__TENANT_KEY_REPLY__INIT;
    Trilith__TenantRecord *tenant = NULL;
    struct key *dek = key_take(service->keys);
    CHECK(dek != NULL);
    enum status status = tenant_by_id(tables, message->tenant_id, &tenant);
    if (status == STATUS_OK) {
        reply.dek_version = message->dek_version != 0 ? message->dek_version : tenant->dek_version;
        reply.dek = (ProtobufCBinaryData){.data = dek->bytes, .len = KEY_BYTES};
        reply.lease_ms = (uint32_t)service->options.key_lease_ms;
        status = dek_unwrap(service, tables, tenant, reply.dek_version, dek);
    }
    service_reply(service, request, status, &reply);
    key_release(service->keys, dek);
}

/* ---- tenants ----------------------------------------------------------------------------------- */

static void reply_tenant(struct meta_service *service, struct rpc_request *request, const char *name)
{
    struct tables *tables = service_tables(service);
    Trilith__TenantReply reply = TRILITH__TENANT_REPLY__INIT;
    Trilith__TenantRecord *record = NULL;
    enum status status = tenant_by_name(tables, name, &record);
    reply.tenant = status == STATUS_OK ? tenant_message(tables, record) : NULL;
    service_reply(service, request, status, &reply);
}

void serve_tenant_create(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__TenantCreateRequest *message = MESSAGE_OF(request, Trilith__TenantCreateRequest);
    Trilith__TenantRecord *tenant = NULL;
    enum status status = STATUS_INVALID;
    if (tenant_name_is_valid(message->name)) {
        status = tenant_by_name(service_tables(service), message->name, &tenant);
    }
    if (status != STATUS_NOT_FOUND) {
        service_reply_status(service, request, status == STATUS_OK ? STATUS_EXISTS : status);
        return;
    }

    uint8_t wrapped[KMS_WRAPPED_BYTES];
    struct key *dek = key_take(service->keys);
    CHECK(dek != NULL);
    loop_random(service->parts.loop, dek->bytes, KEY_BYTES);
    status = kms_wrap(service->parts.kms, message->name, 1, dek, wrapped);
    key_release(service->keys, dek);
    if (status != STATUS_OK) {
        service_reply_status(service, request, status);
        return;
    }
    Trilith__TenantCreate create = TRILITH__TENANT_CREATE__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    create.name = message->name;
    create.wrapped_dek = (ProtobufCBinaryData){.data = wrapped, .len = sizeof(wrapped)};
    command.change_case = TRILITH__COMMAND__CHANGE_TENANT_CREATE;
    command.tenant_create = &create;
    (void)service_submit(service, request, &command);
}

void finish_tenant_create(struct meta_service *service, const struct operation *operation,
                          const struct outcome *outcome)
{
    const Trilith__TenantCreateRequest *message = MESSAGE_OF(operation->request, Trilith__TenantCreateRequest);
    (void)outcome;
    reply_tenant(service, operation->request, message->name);
}

void serve_tenant_list(struct meta_service *service, struct rpc_request *request)
{
    Trilith__TenantListReply reply = TRILITH__TENANT_LIST_REPLY__INIT;
    enum status status = tenant_list(service_tables(service), &reply);
    service_reply(service, request, status, &reply);
}

/* ---- credentials ------------------------------------------------------------------------------- */

/* Draw `length` characters of `alphabet`, each equally likely, and a terminator. */
static void draw_text(struct loop *loop, const char *alphabet, char *text, size_t length)
{
    size_t letters = strlen(alphabet);
    size_t fair = 256 / letters * letters; /* Bytes from here on would favour the first letters. */
    for (size_t used = 0; used < length;) {
        uint8_t random[64];
        loop_random(loop, random, sizeof(random));
        for (size_t i = 0; i < sizeof(random) && used < length; i++) {
            if (random[i] < fair) {
                text[used++] = alphabet[random[i] % letters];
            }
        }
        wipe_memory(random, sizeof(random));
    }
    text[length] = '\0';
}

/* The key that a tenant's S3 secrets are sealed under, into `key`. */
static enum status credential_key(struct meta_service *service, struct tables *tables,
                                  const Trilith__TenantRecord *tenant, uint32_t version, struct key *key)
{
    struct key *dek = key_take(service->keys);
    CHECK(dek != NULL);
    enum status status = dek_unwrap(service, tables, tenant, version, dek);
    if (status == STATUS_OK) {
        derive_named_key(dek, CREDENTIAL_KEY_LABEL, key);
    }
    key_release(service->keys, dek);
    return status;
}

/* The S3 secret of an access key, into `secret` (the caller wipes it). STATUS_NOT_FOUND: no such access key. */
static enum status secret_open(struct meta_service *service, struct tables *tables, const char *access_key,
                               Trilith__CredentialRecord **record, Trilith__TenantRecord **tenant,
                               char secret[SECRET_KEY_BYTES])
{
    enum status status = credential_get(tables, access_key, record);
    if (status != STATUS_OK) {
        return status;
    }
    status = tenant_by_id(tables, (*record)->tenant_id, tenant);
    if (status != STATUS_OK || (*record)->sealed_secret.len != SECRET_KEY_BYTES - 1 + BOX_OVERHEAD_BYTES) {
        return status != STATUS_OK ? status : STATUS_CORRUPT;
    }
    struct key *key = key_take(service->keys);
    CHECK(key != NULL);
    status = credential_key(service, tables, *tenant, (*record)->dek_version, key);
    if (status == STATUS_OK) {
        status = box_open(key, access_key, strlen(access_key), (*record)->sealed_secret.data,
                          (*record)->sealed_secret.len, secret);
        secret[SECRET_KEY_BYTES - 1] = '\0';
    }
    key_release(service->keys, key);
    return status;
}

void serve_credential_get(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__CredentialGetRequest *message = MESSAGE_OF(request, Trilith__CredentialGetRequest);
    Trilith__CredentialGetReply reply = TRILITH__CREDENTIAL_GET_REPLY__INIT;
    Trilith__CredentialRecord *record = NULL;
    Trilith__TenantRecord *tenant = NULL;
    char secret[SECRET_KEY_BYTES] = {0};
    enum status status = secret_open(service, service_tables(service), message->access_key, &record, &tenant, secret);
    if (status == STATUS_OK) {
        reply.tenant_id = tenant->id;
        reply.tenant_name = tenant->name;
        reply.secret_key = (ProtobufCBinaryData){.data = (uint8_t *)secret, .len = SECRET_KEY_BYTES - 1};
        reply.role = record->role;
        reply.lease_ms = (uint32_t)service->options.key_lease_ms;
    }
    service_reply(service, request, status, &reply);
    wipe_memory(secret, sizeof(secret));
}

void serve_credential_create(struct meta_service *service, struct rpc_request *request)
{
    Trilith__CredentialCreateRequest *message = MESSAGE_OF(request, Trilith__CredentialCreateRequest);
    struct tables *tables = service_tables(service);
    Trilith__TenantRecord *tenant = NULL;
    struct key *key = key_take(service->keys);
    CHECK(key != NULL);
    enum status status =
        role_is_valid(message->role) ? tenant_by_name(tables, message->tenant, &tenant) : STATUS_INVALID;
    if (status == STATUS_OK) {
        status = credential_key(service, tables, tenant, tenant->dek_version, key);
    }
    if (status != STATUS_OK) {
        key_release(service->keys, key);
        service_reply_status(service, request, status);
        return;
    }
    char access_key[ACCESS_KEY_BYTES];
    char secret[SECRET_KEY_BYTES];
    uint8_t sealed[SECRET_KEY_BYTES - 1 + BOX_OVERHEAD_BYTES];
    draw_text(service->parts.loop, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", access_key, ACCESS_KEY_CHARACTERS);
    draw_text(service->parts.loop, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", secret,
              SECRET_KEY_BYTES - 1);
    box_seal(key, access_key, ACCESS_KEY_CHARACTERS, secret, SECRET_KEY_BYTES - 1, sealed);
    wipe_memory(secret, sizeof(secret));
    key_release(service->keys, key);

    Trilith__CredentialCreate create = TRILITH__CREDENTIAL_CREATE__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    create.tenant = message->tenant;
    create.role = message->role;
    create.access_key = access_key;
    create.sealed_secret = (ProtobufCBinaryData){.data = sealed, .len = sizeof(sealed)};
    create.dek_version = tenant->dek_version;
    command.change_case = TRILITH__COMMAND__CHANGE_CREDENTIAL_CREATE;
    command.credential_create = &create;
    struct operation *operation = service_submit(service, request, &command);
    if (operation != NULL) {
        memcpy(operation->access_key, access_key, sizeof(access_key));
    }
}

void finish_credential_create(struct meta_service *service, const struct operation *operation,
                              const struct outcome *outcome)
{
    Trilith__CredentialCreateReply reply = TRILITH__CREDENTIAL_CREATE_REPLY__INIT;
    Trilith__CredentialRecord *record = NULL;
    Trilith__TenantRecord *tenant = NULL;
    char access_key[ACCESS_KEY_BYTES];
    char secret[SECRET_KEY_BYTES] = {0};
    (void)outcome;
    memcpy(access_key, operation->access_key, sizeof(access_key));
    enum status status = secret_open(service, service_tables(service), access_key, &record, &tenant, secret);
    reply.access_key = access_key;
    reply.secret_key = secret;
    service_reply(service, operation->request, status, &reply);
    wipe_memory(secret, sizeof(secret));
}

void serve_credential_list(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__CredentialListRequest *message = MESSAGE_OF(request, Trilith__CredentialListRequest);
    Trilith__CredentialListReply reply = TRILITH__CREDENTIAL_LIST_REPLY__INIT;
    enum status status = credential_list(service_tables(service), message->tenant, &reply);
    service_reply(service, request, status, &reply);
}

void serve_credential_revoke(struct meta_service *service, struct rpc_request *request)
{
    Trilith__Command command = TRILITH__COMMAND__INIT;
    command.change_case = TRILITH__COMMAND__CHANGE_CREDENTIAL_REVOKE;
    command.credential_revoke = MESSAGE_OF(request, Trilith__CredentialRevokeRequest);
    (void)service_submit(service, request, &command);
}
