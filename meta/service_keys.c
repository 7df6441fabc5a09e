/* service_keys.c - jobs: what the service does with the KMS, one step after the other, beside everything else; and the
 * requests that change or hand out a tenant's keys.
 *
 *   request ──> job: step ──> KMS or journal ──> step ──> … ──> end: the request is answered
 *
 * A DEK is kept as a box under a vault leaf of the tenant's page of keys, around what the KMS made of it (SealedDek).
 * To open it, the leaf opens the box, and the KMS the rest. Boxes and KMS calls are bound to
 *
 *   "TRLdek2" | tenant u64le | version u32le            the box's context; for the KMS followed by the tenant's name
 *
 * The tables may change while a job waits. So what a step reads is copied, and who answers looks again whether the
 * tenant was switched off. Jobs are bounded, and the service's end ends them: a command whose outcome is not known is
 * answered like any other, and a KMS call is waited for. What a job that was cut off leaves behind is harmless: a CMK
 * without DEKs in the KMS, a leased leaf that lapses. */
#include "meta/service_private.h"

#include "base/buggify.h"
#include "base/bytes.h"
#include "base/log.h"

#include <stdio.h>

#define DEK_CONTEXT_BYTES (7 + 8 + 4)
#define KEY_LEASE_MS      UINT64_C(3600000) /* of a leaf for a DEK: longer than any job */
#define KMS_CHECK_NS      (10 * NS_PER_S)

_Static_assert(DEK_CONTEXT_BYTES + TENANT_NAME_BYTES_MAX <= KMS_CONTEXT_BYTES_MAX, "a KMS context holds any tenant");
_Static_assert(KMS_WRAPPED_BYTES_MAX + BOX_OVERHEAD_BYTES <= SEALED_DEK_BYTES_MAX,
               "a sealed DEK holds what a KMS makes");
_Static_assert(SEALED_DEK_BYTES_MAX <= KMS_IMPORT_BYTES_MAX, "a KMS call holds what a sealed DEK holds");

/* ---- jobs -------------------------------------------------------------------------------------- */

struct key_job *key_job_take(struct meta_service *service, struct rpc_request *request)
{
    struct list_link *link = list_take_first(&service->jobs_free);
    if (link == NULL) {
        if (request != NULL) {
            rpc_reply(request, STATUS_BUSY, NULL);
        }
        return NULL;
    }
    struct key_job *job = LIST_ENTRY(link, struct key_job, link);
    *job = (struct key_job){.service = service,
                            .request = request,
                            .dek = key_take(service->job_keys),
                            .credential_key = key_take(service->job_keys)};
    CHECK(job->dek != NULL && job->credential_key != NULL); /* The pool has two for each job. */
    list_append(&service->jobs_busy, &job->link);
    return job;
}

static void job_end(struct key_job *job, enum status status)
{
    struct meta_service *service = job->service;
    CHECK(!job->waiting);
    if (job->end != NULL) {
        job->end(job, status);
    } else {
        service_reply_status(service, job->request, status);
    }
    if (job->change != NULL) { /* What a KMS made, without its box, is only one lock away from the DEK. */
        wipe_memory(job->change, sizeof(*job->change));
    }
    wipe_memory(job->call.sealed, sizeof(job->call.sealed));
    key_release(service->job_keys, job->dek);
    key_release(service->job_keys, job->credential_key);
    list_remove(&job->link);
    list_append(&service->jobs_free, &job->link);
    service_stop_check(service);
}

/* Take steps until one of them waits. */
static void job_advance(struct key_job *job)
{
    while (!job->waiting) {
        enum status status = service_is_sound(job->service) ? STATUS_OK : STATUS_UNAVAILABLE;
        if (status == STATUS_OK && *job->next != NULL) {
            key_step *step = *job->next++;
            status = step(job);
        } else {
            job_end(job, status);
            return;
        }
        if (status != STATUS_OK) {
            job_end(job, status);
            return;
        }
    }
}

void key_job_run(struct key_job *job, key_step *const *steps, key_end *end)
{
    job->next = steps;
    job->end = end;
    job_advance(job);
}

void key_job_refuse(struct key_job *job, enum status status)
{
    job_end(job, status);
}

bool key_jobs_are_idle(const struct meta_service *service)
{
    return list_is_empty(&service->jobs_busy);
}

static void job_applied(struct meta_service *service, struct operation *operation, enum status status,
                        const struct outcome *outcome)
{
    struct key_job *job = CONTAINER_OF(operation, struct key_job, operation);
    (void)service;
    job->waiting = false;
    if (outcome == NULL || status != STATUS_OK) {
        job_end(job, status);
        return;
    }
    job->leased = outcome->leased;
    job->id = outcome->id;
    job_advance(job);
}

enum status key_job_submit(struct key_job *job, Trilith__Command *command)
{
    enum status status = service_submit_own(job->service, &job->operation, job_applied, command);
    job->waiting = status == STATUS_OK;
    return status;
}

/* What a refusal of the KMS means for who asked us. That it does not know a key, or can't open what it made, is no
 * fault of the request: the tenant's keys are not to be had here now. */
static enum status kms_status(const struct kms_call *call)
{
    bool is_of_key =
        call->status == STATUS_NOT_FOUND || call->status == STATUS_DENIED || call->status == STATUS_INVALID;
    return is_of_key && call->operation != KMS_IMPORT ? STATUS_KEY_AWAY : call->status;
}

static void kms_answered(struct kms_call *call)
{
    struct key_job *job = CONTAINER_OF(call, struct key_job, call);
    job->waiting = false;
    if (call->status == STATUS_OK) {
        job_advance(job);
        return;
    }
    bool may_stay = call->operation == KMS_DESTROY; /* Nothing opens with it any more. */
    if (call->operation != KMS_CHECK && !(may_stay && call->status == STATUS_UNSUPPORTED)) {
        log_event(LOG_WARNING, "kms_refused", "tenant=%s cmk=%s reason=%s message=%s", job->tenant, call->cmk,
                  status_name(call->status), call->message);
    }
    if (may_stay) {
        job_advance(job);
    } else {
        job_end(job, kms_status(call));
    }
}

static enum status kms_begin(struct key_job *job, enum kms_operation operation, const char *cmk)
{
    job->call.operation = operation;
    job->call.done = kms_answered;
    (void)snprintf(job->call.cmk, sizeof(job->call.cmk), "%s", cmk);
    job->waiting = true;
    kms_start(job->service->parts.kms, &job->call);
    return STATUS_OK;
}

static enum status step_check(struct key_job *job)
{
    return kms_begin(job, KMS_CHECK, "");
}

static void end_check(struct key_job *job, enum status status)
{
    (void)job;
    (void)status; /* kms_health() has it. */
}

/* So that the status says when the KMS is away although nobody needs it now. */
void key_jobs_tick(struct meta_service *service)
{
    static key_step *const steps[] = {step_check, NULL};
    uint64_t now_ns = loop_now_ns(service->parts.loop);
    bool is_due = service->kms_checked_ns == 0 || now_ns - service->kms_checked_ns >= KMS_CHECK_NS;
    if (!service_is_sound(service) || !is_due || !kms_is_idle(service->parts.kms)) {
        return;
    }
    struct key_job *job = key_job_take(service, NULL);
    if (job != NULL) {
        service->kms_checked_ns = now_ns;
        key_job_run(job, steps, end_check);
    }
}

/* ---- opening a DEK ----------------------------------------------------------------------------- */

static size_t dek_context(const struct key_job *job, uint32_t version, uint8_t context[KMS_CONTEXT_BYTES_MAX])
{
    size_t name_bytes = strlen(job->tenant);
    struct byte_writer writer = byte_writer_of(context, KMS_CONTEXT_BYTES_MAX);
    write_bytes(&writer, "TRLdek2", 7);
    write_u64(&writer, job->tenant_id);
    write_u32(&writer, version);
    write_bytes(&writer, job->tenant, name_bytes);
    return DEK_CONTEXT_BYTES + name_bytes;
}

/* Take the leaf's box off: what is left is for the KMS, in the job's call. */
static enum status box_take_off(struct key_job *job, const Trilith__SealedDek *sealed)
{
    struct meta_service *service = job->service;
    if (sealed->sealed.len <= BOX_OVERHEAD_BYTES || sealed->sealed.len > SEALED_DEK_BYTES_MAX) {
        return STATUS_CORRUPT;
    }
    struct key *leaf = key_take(service->keys);
    CHECK(leaf != NULL);
    enum status status = service_derive(service, sealed->page, sealed->slot, leaf);
    if (status == STATUS_OK) {
        status = box_open(leaf, job->call.context, DEK_CONTEXT_BYTES, sealed->sealed.data, sealed->sealed.len,
                          job->call.sealed);
        job->call.sealed_bytes = sealed->sealed.len - BOX_OVERHEAD_BYTES;
        status = status == STATUS_OK ? STATUS_OK : STATUS_CORRUPT;
    }
    key_release(service->keys, leaf);
    return status;
}

enum status key_unwrap(struct key_job *job)
{
    struct tables *tables = service_tables(job->service);
    Trilith__TenantRecord *tenant = NULL;
    Trilith__SealedDek *sealed = NULL;
    enum status status = tenant_by_id(tables, job->tenant_id, &tenant);
    if (status == STATUS_OK) {
        status = tenant_sealed_dek(tables, job->tenant_id, job->version, &sealed);
    }
    if (status != STATUS_OK) {
        return status;
    }
    (void)snprintf(job->tenant, sizeof(job->tenant), "%s", tenant->name);
    job->call.context_bytes = dek_context(job, job->version, job->call.context);
    job->call.dek = job->dek;
    status = box_take_off(job, sealed);
    return status == STATUS_OK ? kms_begin(job, KMS_UNWRAP, tenant->cmk) : status;
}

static void end_tenant_key(struct key_job *job, enum status status)
{
    struct meta_service *service = job->service;
    Trilith__TenantKeyReply reply = TRILITH__TENANT_KEY_REPLY__INIT;
    Trilith__TenantRecord *tenant = NULL;
    if (status == STATUS_OK) {
        status = tenant_by_id(service_tables(service), job->tenant_id, &tenant);
    }
    if (status == STATUS_OK) {
        status = tenant_access(tenant);
    }
    reply.dek = (ProtobufCBinaryData){.data = job->dek->bytes, .len = KEY_BYTES};
    reply.dek_version = job->version;
    reply.lease_ms = (uint32_t)service->options.key_lease_ms;
    service_reply(service, job->request, status, &reply);
}

void serve_tenant_key(struct meta_service *service, struct rpc_request *request)
{
    static key_step *const steps[] = {key_unwrap, NULL};
    const Trilith__TenantKeyRequest *message = MESSAGE_OF(request, Trilith__TenantKeyRequest);
    Trilith__TenantRecord *tenant = NULL;
    enum status status = tenant_by_id(service_tables(service), message->tenant_id, &tenant);
    if (status == STATUS_OK) {
        status = tenant_access(tenant);
    }
    if (status != STATUS_OK) {
        service_reply_status(service, request, status);
        return;
    }
    uint32_t version = message->dek_version != 0 ? message->dek_version : tenant->dek_version;
    struct key_job *job = key_job_take(service, request);
    if (job != NULL) {
        job->tenant_id = message->tenant_id;
        job->version = version;
        key_job_run(job, steps, end_tenant_key);
    }
}

/* ---- making a DEK ------------------------------------------------------------------------------ */

enum status key_cmk_create(struct key_job *job)
{
    return kms_begin(job, KMS_CREATE, "");
}

enum status key_cmk_take(struct key_job *job)
{
    (void)snprintf(job->change->cmk, sizeof(job->change->cmk), "%s", job->call.cmk);
    job->change->imported = job->call.operation == KMS_IMPORT;
    return STATUS_OK;
}

/* The DEK in the job's place, wrapped by the CMK of the change. */
static enum status key_wrap(struct key_job *job)
{
    job->call.context_bytes = dek_context(job, job->change->deks[job->change->at].version, job->call.context);
    job->call.dek = job->dek;
    return kms_begin(job, KMS_WRAP, job->change->cmk);
}

enum status key_dek_draw(struct key_job *job)
{
    loop_random(job->service->parts.loop, job->dek->bytes, KEY_BYTES);
    return key_wrap(job);
}

/* Is it the first DEK that the job makes? A second leaf goes with that: the tenant's reference key. */
static enum status leaves_wanted(struct key_job *job, uint32_t *count)
{
    Trilith__TenantRecord *tenant = NULL;
    enum status status = tenant_by_id(service_tables(job->service), job->tenant_id, &tenant);
    *count = status == STATUS_OK && tenant->dek_version == 0 ? 2 : 1;
    return status;
}

/* Note what the KMS made, and lease the leaf that it will be sealed under. */
enum status key_dek_lease(struct key_job *job)
{
    uint32_t count = 1;
    struct key_change *change = job->change;
    wipe_memory(job->dek->bytes, KEY_BYTES);
    if (job->call.sealed_bytes == 0 || job->call.sealed_bytes > KMS_WRAPPED_BYTES_MAX) {
        return STATUS_KEY_AWAY;
    }
    memcpy(change->deks[change->at].sealed, job->call.sealed, job->call.sealed_bytes);
    change->deks[change->at].sealed_bytes = job->call.sealed_bytes;
    enum status status = leaves_wanted(job, &count);
    if (status != STATUS_OK) {
        return status;
    }

    Trilith__LeaseLeaves lease = TRILITH__LEASE_LEAVES__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    lease.tenant_id = job->tenant_id;
    lease.count = count;
    lease.expires_ms = service_now_ms(job->service) + KEY_LEASE_MS;
    command.change_case = TRILITH__COMMAND__CHANGE_LEASE_LEAVES;
    command.lease_leaves = &lease;
    return key_job_submit(job, &command);
}

enum status key_dek_seal(struct key_job *job)
{
    struct meta_service *service = job->service;
    struct key_change *change = job->change;
    uint8_t context[KMS_CONTEXT_BYTES_MAX];
    uint8_t wrapped[KMS_WRAPPED_BYTES_MAX];
    size_t wrapped_bytes = change->deks[change->at].sealed_bytes;
    struct key *leaf = key_take(service->keys);
    CHECK(leaf != NULL && job->leased.count >= 1);
    memcpy(wrapped, change->deks[change->at].sealed, wrapped_bytes);
    enum status status = service_derive(service, job->leased.page, job->leased.first_slot, leaf);
    if (status == STATUS_OK) {
        (void)dek_context(job, change->deks[change->at].version, context);
        box_seal(leaf, context, DEK_CONTEXT_BYTES, wrapped, wrapped_bytes, change->deks[change->at].sealed);
        change->deks[change->at].sealed_bytes = wrapped_bytes + BOX_OVERHEAD_BYTES;
        change->deks[change->at].leaf = job->leased;
    }
    key_release(service->keys, leaf);
    return status;
}

static void sealed_dek_fill(struct key_change *change, uint32_t at, Trilith__SealedDek *dek)
{
    trilith__sealed_dek__init(dek);
    dek->version = change->deks[at].version;
    dek->page = change->deks[at].leaf.page;
    dek->slot = change->deks[at].leaf.first_slot;
    dek->sealed = (ProtobufCBinaryData){.data = change->deks[at].sealed, .len = change->deks[at].sealed_bytes};
}

enum status key_dek_add(struct key_job *job)
{
    Trilith__SealedDek dek;
    Trilith__DekAdd add = TRILITH__DEK_ADD__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    uint32_t count = 1;
    enum status status = leaves_wanted(job, &count);
    if (status == STATUS_OK && job->leased.count < count) {
        status =
            STATUS_BUSY; /* That was the last leaf of a page of attempts that were cut off. The next one has a new page. */
    }
    if (status != STATUS_OK) {
        return status;
    }
    sealed_dek_fill(job->change, 0, &dek);
    if (count == 2) {
        add.ref_page = job->leased.page;
        add.ref_slot = job->leased.first_slot + 1;
    }
    add.tenant_id = job->tenant_id;
    add.dek = &dek;
    add.cmk = job->change->cmk;
    add.cmk_imported = job->change->imported;
    command.change_case = TRILITH__COMMAND__CHANGE_DEK_ADD;
    command.dek_add = &add;
    return key_job_submit(job, &command);
}

enum status key_dek_added(struct key_job *job)
{
    KILL_POINT(KILL_META_DEK_ADDED);
    log_event(LOG_INFO, "dek_added", "tenant=%s version=%u cmk=%s", job->tenant, job->change->deks[0].version,
              job->change->cmk);
    return STATUS_OK;
}

/* ---- another master key ------------------------------------------------------------------------
 *
 *   cmk made or imported ──> each DEK: old CMK opens it, new one wraps it, fresh leaf ──> CmkSet ──> old CMK destroyed
 *
 * Nothing that is sealed under the DEKs is touched. The leaves that the DEKs had are punctured by CmkSet: what the old
 * CMK could open is beyond recovery with the next close of an epoch. */
static enum status step_rewrap(struct key_job *job);

static enum status step_import(struct key_job *job)
{
    const Trilith__KeyImportRequest *message = MESSAGE_OF(job->request, Trilith__KeyImportRequest);
    memcpy(job->call.sealed, message->wrapped.data, message->wrapped.len);
    job->call.sealed_bytes = message->wrapped.len;
    return kms_begin(job, KMS_IMPORT, "");
}

static enum status step_rewrap_unwrap(struct key_job *job)
{
    job->version = job->change->deks[job->change->at].version;
    return key_unwrap(job);
}

static enum status step_rewrap_next(struct key_job *job)
{
    return ++job->change->at < job->change->count ? step_rewrap(job) : STATUS_OK;
}

static enum status step_cmk_set(struct key_job *job)
{
    struct key_change *change = job->change;
    Trilith__SealedDek deks[DEKS_MAX];
    Trilith__SealedDek *pointers[DEKS_MAX];
    Trilith__CmkSet set = TRILITH__CMK_SET__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    for (uint32_t i = 0; i < change->count; i++) {
        sealed_dek_fill(change, i, &deks[i]);
        pointers[i] = &deks[i];
    }
    set.tenant_id = job->tenant_id;
    set.cmk = change->cmk;
    set.imported = change->imported;
    set.deks = pointers;
    set.n_deks = change->count;
    set.replaced_cmk = change->replaced_cmk;
    command.change_case = TRILITH__COMMAND__CHANGE_CMK_SET;
    command.cmk_set = &set;
    return key_job_submit(job, &command);
}

static enum status step_cmk_destroy(struct key_job *job)
{
    log_event(LOG_INFO, "cmk_set", "tenant=%s cmk=%s replaced=%s deks=%u", job->tenant, job->change->cmk,
              job->change->replaced_cmk, job->change->count);
    return kms_begin(job, KMS_DESTROY, job->change->replaced_cmk);
}

enum status key_cmk_destroy(struct key_job *job)
{
    Trilith__TenantRecord *tenant = NULL;
    enum status status = tenant_by_id(service_tables(job->service), job->tenant_id, &tenant);
    if (status != STATUS_OK) {
        return status;
    }
    (void)snprintf(job->tenant, sizeof(job->tenant), "%s", tenant->name);
    return kms_begin(job, KMS_DESTROY, tenant->cmk);
}

static enum status step_rewrap(struct key_job *job)
{
    static key_step *const steps[] = {step_rewrap_unwrap, key_wrap,     key_dek_lease,    key_dek_seal,
                                      step_rewrap_next,   step_cmk_set, step_cmk_destroy, NULL};
    job->next = steps;
    return STATUS_OK;
}

/* ---- requests that change a tenant's keys ------------------------------------------------------- */

static void end_key_show(struct key_job *job, enum status status)
{
    if (status == STATUS_OK) {
        service_reply_keys(job->service, job->request, job->tenant);
    } else {
        service_reply_status(job->service, job->request, status);
    }
}

bool key_is_changing(const struct meta_service *service, const char *tenant)
{
    LIST_EACH (&service->jobs_busy, link) {
        const struct key_job *job = LIST_ENTRY(link, struct key_job, link);
        if (job->change != NULL && strcmp(job->tenant, tenant) == 0) {
            return true;
        }
    }
    return false;
}

enum status key_job_begin_change(struct key_job *job)
{
    struct meta_service *service = job->service;
    if (key_is_changing(service, job->tenant)) {
        return STATUS_BUSY;
    }
    for (size_t i = 0; i < KEY_CHANGES_MAX; i++) {
        if (!service->changes[i].taken) {
            job->change = &service->changes[i];
            *job->change = (struct key_change){.taken = true};
            return STATUS_OK;
        }
    }
    return STATUS_BUSY;
}

/* A change of the keys of a tenant that has some: the change begins with all DEKs that are not destroyed. */
static enum status change_begin(struct key_job *job, const char *name)
{
    Trilith__TenantRecord *tenant = NULL;
    enum status status = tenant_by_name(service_tables(job->service), name, &tenant);
    if (status == STATUS_OK) {
        status = tenant->dek_version == 0 ? STATUS_NOT_FOUND : tenant_may_change(tenant);
    }
    if (status != STATUS_OK) {
        return status; /* An erased tenant has no DEK to go on from. */
    }
    job->tenant_id = tenant->id;
    (void)snprintf(job->tenant, sizeof(job->tenant), "%s", tenant->name);
    status = reseal_is_destroying(job->service, tenant->id) ? STATUS_BUSY : key_job_begin_change(job);
    if (status != STATUS_OK) {
        return status;
    }
    struct key_change *change = job->change;
    change->imported = tenant->cmk_imported;
    (void)snprintf(change->cmk, sizeof(change->cmk), "%s", tenant->cmk);
    (void)snprintf(change->replaced_cmk, sizeof(change->replaced_cmk), "%s", tenant->cmk);
    for (size_t i = 0; i < tenant->n_deks; i++) {
        if (tenant->deks[i]->destroyed_ms == 0 && change->count < DEKS_MAX) {
            change->deks[change->count++].version = tenant->deks[i]->version;
        }
    }
    return STATUS_OK;
}

static void run_change(struct meta_service *service, struct rpc_request *request, const char *tenant,
                       key_step *const *steps)
{
    struct key_job *job = key_job_take(service, request);
    if (job == NULL) {
        return;
    }
    enum status status = change_begin(job, tenant);
    if (status == STATUS_OK) {
        key_job_run(job, steps, end_key_show);
    } else {
        key_job_refuse(job, status);
    }
}

/* Of all the DEKs only a new one. */
static enum status step_dek_version(struct key_job *job)
{
    struct key_change *change = job->change;
    change->deks[0].version = change->deks[change->count - 1].version + 1;
    change->count = 1;
    return STATUS_OK;
}

void serve_key_rotate(struct meta_service *service, struct rpc_request *request)
{
    static key_step *const dek_steps[] = {step_dek_version, key_dek_draw,  key_dek_lease, key_dek_seal,
                                          key_dek_add,      key_dek_added, NULL};
    static key_step *const cmk_steps[] = {key_cmk_create, key_cmk_take, step_rewrap, NULL};
    const Trilith__KeyRotateRequest *message = MESSAGE_OF(request, Trilith__KeyRotateRequest);
    run_change(service, request, message->tenant, message->cmk ? cmk_steps : dek_steps);
}

void serve_key_import(struct meta_service *service, struct rpc_request *request)
{
    static key_step *const steps[] = {step_import, key_cmk_take, step_rewrap, NULL};
    const Trilith__KeyImportRequest *message = MESSAGE_OF(request, Trilith__KeyImportRequest);
    if (message->wrapped.len == 0 || message->wrapped.len > KMS_IMPORT_BYTES_MAX) {
        service_reply_status(service, request, STATUS_INVALID);
        return;
    }
    run_change(service, request, message->tenant, steps);
}

static enum status step_transport(struct key_job *job)
{
    return kms_begin(job, KMS_TRANSPORT, "");
}

static void end_transport(struct key_job *job, enum status status)
{
    Trilith__KeyTransportReply reply = TRILITH__KEY_TRANSPORT_REPLY__INIT;
    reply.public_key = job->call.public_key;
    reply.algorithm = job->call.algorithm;
    service_reply(job->service, job->request, status, &reply);
}

void serve_key_transport(struct meta_service *service, struct rpc_request *request)
{
    static key_step *const steps[] = {step_transport, NULL};
    struct key_job *job = key_job_take(service, request);
    if (job != NULL) {
        key_job_run(job, steps, end_transport);
    }
}
