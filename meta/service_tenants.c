/* service_tenants.c - requests about tenants, what is known of their keys, and their credentials.
 *
 * An S3 secret is kept as a box under a key that is derived from a DEK of its tenant. It is opened for one reply and
 * wiped; while a job waits, only the key stands in guarded memory. */
#include "meta/service_private.h"

#include "base/log.h"

#include <stdio.h>

#define CREDENTIAL_KEY_LABEL "credential"
#define ATTEMPTS_MAX         3u /* a DEK was rotated in between: from the start again */

/* ---- tenants ----------------------------------------------------------------------------------- */

static void end_tenant_create(struct key_job *job, enum status status)
{
    struct tables *tables = service_tables(job->service);
    Trilith__TenantReply reply = TRILITH__TENANT_REPLY__INIT;
    Trilith__TenantRecord *record = NULL;
    if (status == STATUS_OK) {
        status = tenant_by_name(tables, job->tenant, &record);
    }
    reply.tenant = status == STATUS_OK ? tenant_message(tables, record) : NULL;
    service_reply(job->service, job->request, status, &reply);
}

static enum status step_tenant_create(struct key_job *job)
{
    Trilith__TenantCreate create = TRILITH__TENANT_CREATE__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    create.name = job->tenant;
    command.change_case = TRILITH__COMMAND__CHANGE_TENANT_CREATE;
    command.tenant_create = &create;
    return key_job_submit(job, &command);
}

static enum status step_tenant_created(struct key_job *job)
{
    job->tenant_id = job->id;
    job->change->count = 1;
    job->change->deks[0].version = 1;
    return STATUS_OK;
}

/* A tenant whose making was cut off stands there without a DEK: making it again gives it one. */
void serve_tenant_create(struct meta_service *service, struct rpc_request *request)
{
    static key_step *const steps[] = {
        step_tenant_create, step_tenant_created, key_cmk_create, key_cmk_take,  key_dek_draw,
        key_dek_lease,      key_dek_seal,        key_dek_add,    key_dek_added, NULL};
    const Trilith__TenantCreateRequest *message = MESSAGE_OF(request, Trilith__TenantCreateRequest);
    Trilith__TenantRecord *tenant = NULL;
    enum status status = STATUS_INVALID;
    if (tenant_name_is_valid(message->name)) {
        status = tenant_by_name(service_tables(service), message->name, &tenant);
    }
    if (status == STATUS_OK && tenant->dek_version != 0) {
        status = STATUS_EXISTS;
    }
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        service_reply_status(service, request, status);
        return;
    }
    struct key_job *job = key_job_take(service, request);
    if (job == NULL) {
        return;
    }
    (void)snprintf(job->tenant, sizeof(job->tenant), "%s", message->name);
    status = key_job_begin_change(job);
    if (status == STATUS_OK) {
        key_job_run(job, steps, end_tenant_create);
    } else {
        key_job_refuse(job, status);
    }
}

void serve_tenant_list(struct meta_service *service, struct rpc_request *request)
{
    Trilith__TenantListReply reply = TRILITH__TENANT_LIST_REPLY__INIT;
    enum status status = tenant_list(service_tables(service), &reply);
    service_reply(service, request, status, &reply);
}

/* ---- keys, without secrets --------------------------------------------------------------------- */

/* A version that is destroyed is beyond recovery when the seal that took its leaf is final. */
static Trilith__DataKey *data_key(struct meta_service *service, const Trilith__TenantRecord *tenant,
                                  const Trilith__DekRecord *dek)
{
    static char current[] = "current";
    static char retiring[] = "retiring";
    static char destroyed[] = "destroyed";
    Trilith__DataKey *key = scratch_take(&state_tables(service->parts.state)->scratch, sizeof(*key));
    if (key == NULL) {
        return NULL;
    }
    trilith__data_key__init(key);
    key->version = dek->version;
    key->state = dek->destroyed_ms != 0 ? destroyed : dek->retired_ms != 0 ? retiring : current;
    key->created_ms = dek->created_ms;
    key->cmk = dek->destroyed_ms == 0 ? tenant->cmk : key->cmk;
    key->objects = dek->objects;
    key->object_bytes = dek->object_bytes;
    key->credentials = dek->credentials;
    key->retired_ms = dek->retired_ms;
    key->destroyed_ms = dek->destroyed_ms;
    key->beyond_recovery =
        dek->destroyed_ms != 0 && dek->destroyed_seal <= state_cluster(service->parts.state)->erased_seal;
    return key;
}

void service_reply_keys(struct meta_service *service, struct rpc_request *request, const char *name)
{
    static char imported[] = "imported";
    static char generated[] = "generated";
    struct tables *tables = service_tables(service);
    Trilith__TenantRecord *tenant = NULL;
    Trilith__KeyShowReply reply = TRILITH__KEY_SHOW_REPLY__INIT;
    enum status status = tenant_by_name(tables, name, &tenant);
    if (status != STATUS_OK) {
        service_reply_status(service, request, status);
        return;
    }
    reply.tenant = tenant->name;
    reply.revoked = tenant->revoked;
    reply.state_ms = tenant->state_ms;
    reply.cmk = tenant->cmk;
    reply.cmk_origin = tenant->cmk_imported ? imported : generated;
    reply.cmk_ms = tenant->cmk_ms;
    reply.data_keys = scratch_take(&tables->scratch, (tenant->n_deks + 1) * sizeof(reply.data_keys[0]));
    for (size_t i = tenant->n_deks; reply.data_keys != NULL && i-- > 0;) {
        const Trilith__DekRecord *dek = tenant->deks[i];
        Trilith__DataKey *key = data_key(service, tenant, dek);
        if (key == NULL) {
            break;
        }
        reply.data_keys[reply.n_data_keys++] = key;
        reply.reseal_objects += dek->retired_ms != 0 ? dek->objects : 0;
        reply.reseal_bytes += dek->retired_ms != 0 ? dek->object_bytes : 0;
    }
    service_reply(service, request, tables->scratch.exhausted ? STATUS_TOO_LARGE : STATUS_OK, &reply);
}

void serve_key_show(struct meta_service *service, struct rpc_request *request)
{
    service_reply_keys(service, request, MESSAGE_OF(request, Trilith__KeyShowRequest)->tenant);
}

void serve_key_set_state(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__KeySetStateRequest *message = MESSAGE_OF(request, Trilith__KeySetStateRequest);
    Trilith__TenantRecord *tenant = NULL;
    Trilith__KeyStateSet set = TRILITH__KEY_STATE_SET__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    enum status status = tenant_by_name(service_tables(service), message->tenant, &tenant);
    if (status != STATUS_OK) {
        service_reply_status(service, request, status);
        return;
    }
    set.tenant_id = tenant->id;
    set.revoked = message->revoked;
    command.change_case = TRILITH__COMMAND__CHANGE_KEY_STATE_SET;
    command.key_state_set = &set;
    service_submit(service, request, &command);
}

void finish_key_set_state(struct meta_service *service, struct rpc_request *request, const struct outcome *outcome)
{
    const Trilith__KeySetStateRequest *message = MESSAGE_OF(request, Trilith__KeySetStateRequest);
    (void)outcome;
    log_event(LOG_INFO, "keys_switched", "tenant=%s revoked=%s", message->tenant, message->revoked ? "yes" : "no");
    service_reply_keys(service, request, message->tenant);
}

/* ---- secrets ----------------------------------------------------------------------------------- */

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

/* The opened DEK is needed for nothing but the key of the credentials. */
static enum status step_credential_key(struct key_job *job)
{
    derive_named_key(job->dek, CREDENTIAL_KEY_LABEL, job->credential_key);
    wipe_memory(job->dek->bytes, KEY_BYTES);
    return STATUS_OK;
}

/* The secret of a record, into `secret` (the caller wipes it). */
static enum status secret_open(const struct key *key, const char *access_key, const Trilith__CredentialRecord *record,
                               char secret[SECRET_KEY_BYTES])
{
    if (record->sealed_secret.len != SEALED_SECRET_BYTES) {
        return STATUS_CORRUPT;
    }
    enum status status =
        box_open(key, access_key, strlen(access_key), record->sealed_secret.data, SEALED_SECRET_BYTES, secret);
    secret[SECRET_KEY_BYTES - 1] = '\0';
    return status == STATUS_OK ? STATUS_OK : STATUS_CORRUPT;
}

/* The credential and its tenant, in the scratch. STATUS_KEY_REVOKED: the tenant is switched off. */
static enum status credential_find(struct meta_service *service, const char *access_key,
                                   Trilith__CredentialRecord **record, Trilith__TenantRecord **tenant)
{
    struct tables *tables = service_tables(service);
    enum status status = credential_get(tables, access_key, record);
    if (status == STATUS_OK) {
        status = tenant_by_id(tables, (*record)->tenant_id, tenant);
    }
    return status == STATUS_OK ? tenant_access(*tenant) : status;
}

/* ---- looking a credential up ------------------------------------------------------------------- */

static void credential_look_up(struct meta_service *service, struct rpc_request *request, unsigned attempts);

static void end_credential_get(struct key_job *job, enum status status)
{
    struct meta_service *service = job->service;
    Trilith__CredentialGetReply reply = TRILITH__CREDENTIAL_GET_REPLY__INIT;
    Trilith__CredentialRecord *record = NULL;
    Trilith__TenantRecord *tenant = NULL;
    char secret[SECRET_KEY_BYTES] = {0};
    if (status == STATUS_OK) {
        status = credential_find(service, job->access_key, &record, &tenant);
    }
    if (status == STATUS_OK && record->dek_version != job->version && job->attempts < ATTEMPTS_MAX) {
        credential_look_up(service, job->request, job->attempts + 1);
        return;
    }
    if (status == STATUS_OK) {
        status = secret_open(job->credential_key, job->access_key, record, secret);
    }
    if (status == STATUS_OK) {
        reply.tenant_id = tenant->id;
        reply.tenant_name = tenant->name;
        reply.secret_key = (ProtobufCBinaryData){.data = (uint8_t *)secret, .len = SECRET_KEY_BYTES - 1};
        reply.role = record->role;
        reply.lease_ms = (uint32_t)service->options.key_lease_ms;
    }
    service_reply(service, job->request, status, &reply);
    wipe_memory(secret, sizeof(secret));
}

static void credential_look_up(struct meta_service *service, struct rpc_request *request, unsigned attempts)
{
    static key_step *const steps[] = {key_unwrap, step_credential_key, NULL};
    const Trilith__CredentialGetRequest *message = MESSAGE_OF(request, Trilith__CredentialGetRequest);
    Trilith__CredentialRecord *record = NULL;
    Trilith__TenantRecord *tenant = NULL;
    enum status status = strlen(message->access_key) == ACCESS_KEY_CHARACTERS
                             ? credential_find(service, message->access_key, &record, &tenant)
                             : STATUS_NOT_FOUND;
    if (status != STATUS_OK) {
        service_reply_status(service, request, status);
        return;
    }
    struct key_job *job = key_job_take(service, request);
    if (job == NULL) {
        return;
    }
    (void)snprintf(job->access_key, sizeof(job->access_key), "%s", message->access_key);
    job->tenant_id = tenant->id;
    job->version = record->dek_version;
    job->attempts = attempts;
    key_job_run(job, steps, end_credential_get);
}

void serve_credential_get(struct meta_service *service, struct rpc_request *request)
{
    credential_look_up(service, request, 1);
}

/* ---- making a credential ----------------------------------------------------------------------- */

static enum status step_credential_add(struct key_job *job)
{
    const Trilith__CredentialCreateRequest *message = MESSAGE_OF(job->request, Trilith__CredentialCreateRequest);
    struct loop *loop = job->service->parts.loop;
    char secret[SECRET_KEY_BYTES];
    uint8_t sealed[SEALED_SECRET_BYTES];
    draw_text(loop, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", job->access_key, ACCESS_KEY_CHARACTERS);
    draw_text(loop, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", secret, SECRET_KEY_BYTES - 1);
    box_seal(job->credential_key, job->access_key, ACCESS_KEY_CHARACTERS, secret, SECRET_KEY_BYTES - 1, sealed);
    wipe_memory(secret, sizeof(secret));

    Trilith__CredentialCreate create = TRILITH__CREDENTIAL_CREATE__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    create.tenant = message->tenant;
    create.role = message->role;
    create.access_key = job->access_key;
    create.sealed_secret = (ProtobufCBinaryData){.data = sealed, .len = sizeof(sealed)};
    create.dek_version = job->version;
    command.change_case = TRILITH__COMMAND__CHANGE_CREDENTIAL_CREATE;
    command.credential_create = &create;
    return key_job_submit(job, &command);
}

static void credential_make(struct meta_service *service, struct rpc_request *request, unsigned attempts);

/* STATUS_CONFLICT: the tenant has another DEK by now; STATUS_EXISTS: the access key that was drawn. */
static void end_credential_create(struct key_job *job, enum status status)
{
    struct meta_service *service = job->service;
    Trilith__CredentialCreateReply reply = TRILITH__CREDENTIAL_CREATE_REPLY__INIT;
    Trilith__CredentialRecord *record = NULL;
    Trilith__TenantRecord *tenant = NULL;
    char secret[SECRET_KEY_BYTES] = {0};
    if ((status == STATUS_CONFLICT || status == STATUS_EXISTS) && job->attempts < ATTEMPTS_MAX) {
        credential_make(service, job->request, job->attempts + 1);
        return;
    }
    if (status == STATUS_OK) {
        status = credential_find(service, job->access_key, &record, &tenant);
    }
    if (status == STATUS_OK) {
        status = secret_open(job->credential_key, job->access_key, record, secret);
    }
    reply.access_key = job->access_key;
    reply.secret_key = secret;
    service_reply(service, job->request, status, &reply);
    wipe_memory(secret, sizeof(secret));
}

static void credential_make(struct meta_service *service, struct rpc_request *request, unsigned attempts)
{
    static key_step *const steps[] = {key_unwrap, step_credential_key, step_credential_add, NULL};
    const Trilith__CredentialCreateRequest *message = MESSAGE_OF(request, Trilith__CredentialCreateRequest);
    Trilith__TenantRecord *tenant = NULL;
    enum status status = role_is_valid(message->role)
                             ? tenant_by_name(service_tables(service), message->tenant, &tenant)
                             : STATUS_INVALID;
    if (status == STATUS_OK) {
        status = tenant_may_change(tenant);
    }
    if (status == STATUS_OK) {
        status = tenant_access(tenant);
    }
    if (status != STATUS_OK) {
        service_reply_status(service, request, status);
        return;
    }
    struct key_job *job = key_job_take(service, request);
    if (job == NULL) {
        return;
    }
    job->tenant_id = tenant->id;
    job->version = tenant->dek_version;
    job->attempts = attempts;
    key_job_run(job, steps, end_credential_create);
}

void serve_credential_create(struct meta_service *service, struct rpc_request *request)
{
    credential_make(service, request, 1);
}

/* ---- sealing a credential anew ----------------------------------------------------------------- */

/* The old DEK's key is noted; now the new DEK. */
static enum status step_reseal_to(struct key_job *job)
{
    Trilith__TenantRecord *tenant = NULL;
    enum status status = tenant_by_id(service_tables(job->service), job->tenant_id, &tenant);
    if (status != STATUS_OK) {
        return status;
    }
    job->resealed_from = job->version;
    job->version = tenant->dek_version;
    return key_unwrap(job);
}

static enum status step_reseal(struct key_job *job)
{
    struct meta_service *service = job->service;
    Trilith__CredentialRecord *record = NULL;
    uint8_t sealed[SEALED_SECRET_BYTES];
    char secret[SECRET_KEY_BYTES] = {0};
    enum status status = credential_get(service_tables(service), job->access_key, &record);
    if (status == STATUS_OK && record->dek_version != job->resealed_from) {
        status = STATUS_CONFLICT;
    }
    if (status == STATUS_OK) {
        status = secret_open(job->credential_key, job->access_key, record, secret);
    }
    if (status != STATUS_OK) {
        return status;
    }
    (void)step_credential_key(job);
    box_seal(job->credential_key, job->access_key, ACCESS_KEY_CHARACTERS, secret, SECRET_KEY_BYTES - 1, sealed);
    wipe_memory(secret, sizeof(secret));

    Trilith__CredentialReseal reseal = TRILITH__CREDENTIAL_RESEAL__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    reseal.access_key = job->access_key;
    reseal.sealed_secret = (ProtobufCBinaryData){.data = sealed, .len = sizeof(sealed)};
    reseal.dek_version = job->version;
    command.change_case = TRILITH__COMMAND__CHANGE_CREDENTIAL_RESEAL;
    command.credential_reseal = &reseal;
    return key_job_submit(job, &command);
}

static void end_reseal(struct key_job *job, enum status status)
{
    reseal_credential_done(job->service, job->tenant_id, status);
}

bool credential_reseal_begin(struct meta_service *service, uint64_t tenant_id, const char *access_key, uint32_t version)
{
    static key_step *const steps[] = {key_unwrap, step_credential_key, step_reseal_to, step_reseal, NULL};
    struct key_job *job = key_job_take(service, NULL);
    if (job == NULL) {
        return false;
    }
    (void)snprintf(job->access_key, sizeof(job->access_key), "%s", access_key);
    job->tenant_id = tenant_id;
    job->version = version;
    key_job_run(job, steps, end_reseal);
    return true;
}

/* ---- lists ------------------------------------------------------------------------------------- */

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
    service_submit(service, request, &command);
}
