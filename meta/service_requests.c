/* service_requests.c - the leader's part in what needs two people, in what can be taken back, and in what holds
 * versions: the requests of operators about them, and what goes on by itself once a second.
 *
 *   each second: open requests that nobody approved in time are cancelled; running ones take their next step (requests.h); deletions
 *   whose grace time is over go on
 *
 * Of each running request one command is in flight at most, and of those that end grace times one. When one was
 * applied, the next follows at once, so that a long erasure does not wait for seconds. */
#include "meta/service_private.h"

#include "meta/grace.h"
#include "meta/people.h"
#include "meta/requests.h"
#include "meta/tenant_erasure.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CMK_AGAIN_NS (60 * NS_PER_S) /* a key management that was away is asked again */

/* What is under way for one request. */
struct request_slot {
    struct meta_service *service;
    uint64_t request_id; /* 0: free */
    bool in_flight;
    struct operation operation;
    bool destroying_cmk;
    uint64_t cmk_tried_ns; /* 0: not yet by this leader */
};

struct service_requests {
    struct request_slot slots[REQUESTS_OPEN_MAX];
    bool ending_grace;
    struct operation grace;
};

struct service_requests *service_requests_open(void)
{
    return calloc(1, sizeof(struct service_requests));
}

void service_requests_close(struct service_requests *requests)
{
    free(requests);
}

/* ---- commands of running requests -------------------------------------------------------------- */

static struct request_slot *slot_of(struct meta_service *service, uint64_t request_id)
{
    struct request_slot *unused = NULL;
    for (size_t i = 0; i < REQUESTS_OPEN_MAX; i++) {
        struct request_slot *slot = &service->requests->slots[i];
        if (slot->request_id == request_id) {
            return slot;
        }
        unused = slot->request_id == 0 && unused == NULL ? slot : unused;
    }
    if (unused != NULL) {
        *unused = (struct request_slot){.service = service, .request_id = request_id};
    }
    return unused;
}

static void request_look(struct meta_service *service, uint64_t request_id);

static void request_applied(struct meta_service *service, struct operation *operation, enum status status,
                            const struct outcome *outcome)
{
    struct request_slot *slot = CONTAINER_OF(operation, struct request_slot, operation);
    slot->in_flight = false;
    if (outcome != NULL && status == STATUS_OK && service_is_sound(service)) {
        request_look(service, slot->request_id);
    }
}

enum status service_request_submit(struct meta_service *service, uint64_t request_id, Trilith__Command *command)
{
    struct request_slot *slot = slot_of(service, request_id);
    if (slot == NULL || slot->in_flight || !service_is_sound(service)) {
        return STATUS_BUSY;
    }
    slot->in_flight = true;
    enum status status = service_submit_own(service, &slot->operation, request_applied, command);
    slot->in_flight = status == STATUS_OK;
    return status == STATUS_OK ? STATUS_OK : STATUS_BUSY;
}

enum status service_request_advance(struct meta_service *service, uint64_t request_id, const char *from, const char *to,
                                    const json_t *fact)
{
    Trilith__RequestAdvance advance;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    size_t bytes = 0;
    char *text = fact == NULL ? NULL : json_canonical(fact, &bytes);
    if (fact != NULL && text == NULL) {
        return STATUS_BUSY;
    }
    trilith__request_advance__init(&advance);
    advance.id = request_id;
    advance.from = (char *)(uintptr_t)from;
    advance.to = (char *)(uintptr_t)to;
    advance.fact = (ProtobufCBinaryData){.data = (uint8_t *)text, .len = bytes};
    command.change_case = TRILITH__COMMAND__CHANGE_REQUEST_ADVANCE;
    command.request_advance = &advance;
    enum status status = service_request_submit(service, request_id, &command);
    free(text);
    return status;
}

/* ---- the tenant's part ------------------------------------------------------------------------- */

static void cmk_fact(struct request_slot *slot, const struct key_job *job, enum status status)
{
    struct meta_service *service = slot->service;
    Trilith__RequestRecord *record = NULL;
    bool destroyed = status == STATUS_OK && job->call.status == STATUS_OK;
    bool inseparable = status == STATUS_OK && job->call.status == STATUS_UNSUPPORTED;
    bool missing = status == STATUS_OK && job->call.status == STATUS_NOT_FOUND;
    const char *state = destroyed ? "destroyed" : inseparable ? "not_separable" : missing ? "not_found" : "away";
    if (request_get(service_tables(service), slot->request_id, &record) != STATUS_OK || !service_is_sound(service)) {
        return;
    }
    bool closing = strcmp(record->request->stage, "closing") == 0;
    if (closing && strcmp(state, "away") == 0) {
        return; /* That is known. */
    }
    json_t *fact = json_pack("{s:{s:s, s:s, s:I}}", "cmk", "action", "destroy", "state", state, "at_ms",
                             (json_int_t)service_now_ms(service));
    if (fact != NULL && service_request_advance(service, slot->request_id, closing ? "closing" : "erasing", "closing",
                                                fact) == STATUS_OK) {
        log_event(LOG_INFO, "tenant_cmk", "request=%llu state=%s", (unsigned long long)slot->request_id, state);
    }
    json_decref(fact);
}

static void end_cmk_destroy(struct key_job *job, enum status status)
{
    struct service_requests *requests = job->service->requests;
    for (size_t i = 0; i < REQUESTS_OPEN_MAX; i++) {
        struct request_slot *slot = &requests->slots[i];
        if (slot->destroying_cmk && slot->request_id == job->request_id) {
            slot->destroying_cmk = false;
            cmk_fact(slot, job, status);
        }
    }
}

static void cmk_destroy(struct meta_service *service, const Trilith__RequestRecord *record)
{
    static key_step *const steps[] = {key_cmk_destroy, NULL};
    uint64_t now_ns = loop_now_ns(service->parts.loop);
    struct request_slot *slot = slot_of(service, record->request->id);
    bool is_late = slot == NULL || slot->cmk_tried_ns == 0 || now_ns - slot->cmk_tried_ns >= CMK_AGAIN_NS;
    if (slot == NULL || slot->destroying_cmk || slot->in_flight || !is_late) {
        return;
    }
    struct key_job *job = key_job_take(service, NULL);
    if (job == NULL) {
        return;
    }
    slot->cmk_tried_ns = now_ns;
    slot->destroying_cmk = true;
    job->tenant_id = record->request->tenant_id;
    job->request_id = record->request->id;
    key_job_run(job, steps, end_cmk_destroy);
}

/* Is the master key's end known, or is there none? */
static bool cmk_is_settled(const Trilith__RequestRecord *record)
{
    bool settled = record->tenant == NULL || record->tenant->cmk[0] == '\0';
    for (size_t i = 0; i < record->n_facts; i++) {
        json_t *fact = json_from_canonical((const char *)record->facts[i]->fact.data, record->facts[i]->fact.len);
        const char *state = json_string_value(json_object_get(json_object_get(fact, "cmk"), "state"));
        settled = settled || (state != NULL && strcmp(state, "away") != 0);
        json_decref(fact);
    }
    return settled;
}

static void erasing_advance(struct meta_service *service, const Trilith__RequestRecord *record)
{
    const Trilith__Request *request = record->request;
    Trilith__TenantRecord *tenant = NULL;
    Trilith__TenantEraseStep step = TRILITH__TENANT_ERASE_STEP__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    if (tenant_by_id(service_tables(service), request->tenant_id, &tenant) != STATUS_OK) {
        return;
    }
    if (tenant->erased_ms == 0) {
        step.request_id = request->id;
        command.change_case = TRILITH__COMMAND__CHANGE_TENANT_ERASE_STEP;
        command.tenant_erase_step = &step;
        service_request_submit(service, request->id, &command); /* Else with the next tick. */
    } else if (cmk_is_settled(record)) {
        service_request_advance(service, request->id, "erasing", "closing", NULL);
    } else {
        cmk_destroy(service, record);
    }
}

static void closing_advance(struct meta_service *service, const Trilith__RequestRecord *record)
{
    struct tables *tables = service_tables(service);
    const Trilith__Request *request = record->request;
    Trilith__ErasureRecord *erasure = NULL;
    if (erasure_record(tables, request->erasure_id, &erasure) != STATUS_OK) {
        return;
    }
    /* What gateways still had in their memory when the keys went has lapsed with their leases. */
    bool lapsed = record->tenant != NULL &&
                  service_now_ms(service) >= record->tenant->keys_gone_ms + service->options.key_lease_ms;
    if (lapsed && erasure_is_wiped(erasure) &&
        erasure_keys_are_gone(state_cluster(service->parts.state), request->erasure_id, erasure)) {
        service_request_advance(service, request->id, "closing", REQUEST_STAGE_CERTIFY, NULL);
    } else if (!cmk_is_settled(record)) {
        cmk_destroy(service, record);
    }
}

void tenant_erasure_advance(struct meta_service *service, const Trilith__RequestRecord *record)
{
    if (strcmp(record->request->stage, "erasing") == 0) {
        erasing_advance(service, record);
    } else if (strcmp(record->request->stage, "closing") == 0) {
        closing_advance(service, record);
    }
}

/* ---- once a second ----------------------------------------------------------------------------- */

static void request_expire(struct meta_service *service, const Trilith__Request *request)
{
    json_t *fact = json_pack("{s:s}", "cancelled", "nobody approved it in time");
    if (fact != NULL && service_request_advance(service, request->id, REQUEST_STAGE_APPROVAL, REQUEST_STAGE_CANCELLED,
                                                fact) == STATUS_OK) {
        log_event(LOG_INFO, "request_expired", "request=%llu subject=%s", (unsigned long long)request->id,
                  request->subject);
    }
    json_decref(fact);
}

/* The next thing that is to be done for a request, if there is any. */
static void request_look(struct meta_service *service, uint64_t request_id)
{
    Trilith__RequestRecord *in_scratch = NULL;
    struct request_slot *slot = slot_of(service, request_id);
    if (slot == NULL || slot->in_flight || request_get(service_tables(service), request_id, &in_scratch) != STATUS_OK) {
        return;
    }
    const Trilith__Request *request = in_scratch->request;
    bool open = request->state == TRILITH__REQUEST_STATE__REQUEST_OPEN;
    if (open && request->expires_ms <= service_now_ms(service)) {
        request_expire(service, request);
    }
    if (request->state != TRILITH__REQUEST_STATE__REQUEST_RUNNING ||
        strcmp(request->stage, REQUEST_STAGE_CERTIFY) == 0) {
        slot->request_id = slot->in_flight || slot->destroying_cmk ? slot->request_id : 0;
        return;
    }
    /* A copy, as whoever advances it uses the scratch. */
    size_t bytes = protobuf_c_message_get_packed_size(&in_scratch->base);
    uint8_t *packed = malloc(bytes);
    if (packed == NULL) {
        return;
    }
    protobuf_c_message_pack(&in_scratch->base, packed);
    Trilith__RequestRecord *record = trilith__request_record__unpack(NULL, bytes, packed);
    if (record != NULL) {
        request_kind_of(record->request->kind)->advance(service, record);
        trilith__request_record__free_unpacked(record, NULL);
    }
    free(packed);
}

static void grace_applied(struct meta_service *service, struct operation *operation, enum status status,
                          const struct outcome *outcome);

static void grace_look(struct meta_service *service)
{
    Trilith__GraceEnd end = TRILITH__GRACE_END__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    struct service_requests *requests = service->requests;
    if (requests->ending_grace || !grace_is_due(service_tables(service), service_now_ms(service))) {
        return;
    }
    command.change_case = TRILITH__COMMAND__CHANGE_GRACE_END;
    command.grace_end = &end;
    requests->ending_grace = true;
    requests->ending_grace = service_submit_own(service, &requests->grace, grace_applied, &command) == STATUS_OK;
}

static void grace_applied(struct meta_service *service, struct operation *operation, enum status status,
                          const struct outcome *outcome)
{
    struct service_requests *requests = CONTAINER_OF(operation, struct service_requests, grace);
    requests->ending_grace = false;
    if (outcome != NULL && status == STATUS_OK && service_is_sound(service)) {
        grace_look(service);
    }
}

void service_requests_tick(struct meta_service *service)
{
    uint64_t ids[REQUESTS_OPEN_MAX];
    size_t count = 0;
    Trilith__RequestRecord *record = NULL;
    if (!service_is_sound(service)) {
        return;
    }
    grace_look(service);
    uint64_t after = 0;
    while (count < REQUESTS_OPEN_MAX && request_next_open(service_tables(service), after, &record) == STATUS_OK) {
        after = record->request->id;
        ids[count++] = after;
    }
    for (size_t i = 0; i < count; i++) {
        request_look(service, ids[i]);
    }
    enum status failed = state_tables(service->parts.state)->failed;
    if (failed != STATUS_OK) {
        service_fail(service, failed);
    }
}

/* ---- requests about requests ------------------------------------------------------------------- */

static struct request_plan_parts plan_parts(struct meta_service *service, struct tables *tables)
{
    return (struct request_plan_parts){.tables = tables,
                                       .cluster = state_cluster(service->parts.state),
                                       .membership = &service->membership,
                                       .now_ms = service_now_ms(service)};
}

static void reply_request(struct meta_service *service, struct rpc_request *request, uint64_t id)
{
    struct tables *tables = service_tables(service);
    Trilith__RequestRecord *record = NULL;
    Trilith__RequestReply reply = TRILITH__REQUEST_REPLY__INIT;
    enum status status = request_get(tables, id, &record);
    if (status == STATUS_OK) {
        const struct request_kind *kind = request_kind_of(record->request->kind);
        const struct request_plan_parts parts = plan_parts(service, tables);
        reply.request = record->request;
        status = kind->progress == NULL ? STATUS_OK : kind->progress(&parts, record, record->request);
    }
    service_reply(service, request, status, &reply);
}

void serve_request_create(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__RequestCreateRequest *message = MESSAGE_OF(request, Trilith__RequestCreateRequest);
    struct tables *tables = service_tables(service);
    Trilith__RequestCreate create;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    Trilith__RequestReply reply = TRILITH__REQUEST_REPLY__INIT;
    if (message->request == NULL) {
        service_reply_status(service, request, STATUS_INVALID);
        return;
    }
    trilith__request_create__init(&create);
    Trilith__Request planned = *message->request;
    const struct request_plan_parts parts = plan_parts(service, tables);
    enum status status = request_plan(&parts, &planned);
    if (status == STATUS_OK && !message->dry_run) {
        status = request_subject_hash(tables, &planned, &create.subject_sha256);
    }
    if (status != STATUS_OK || message->dry_run) {
        planned.expires_ms = parts.now_ms + REQUEST_OPEN_MS;
        reply.request = &planned;
        service_reply(service, request, status, &reply);
        return;
    }
    create.request = &planned;
    command.change_case = TRILITH__COMMAND__CHANGE_REQUEST_CREATE;
    command.request_create = &create;
    service_submit(service, request, &command);
}

void finish_request(struct meta_service *service, struct rpc_request *request, const struct outcome *outcome)
{
    uint64_t id = outcome->id;
    log_event(LOG_INFO, "request_changed", "request=%llu", (unsigned long long)id);
    reply_request(service, request, id);
    if (service_is_sound(service)) {
        request_look(service, id);
    }
}

void serve_request_get(struct meta_service *service, struct rpc_request *request)
{
    reply_request(service, request, MESSAGE_OF(request, Trilith__RequestGetRequest)->id);
}

void serve_request_list(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__RequestListRequest *message = MESSAGE_OF(request, Trilith__RequestListRequest);
    Trilith__RequestListReply reply = TRILITH__REQUEST_LIST_REPLY__INIT;
    enum status status = request_list(service_tables(service), message->open_only, &reply);
    service_reply(service, request, status, &reply);
}

void serve_request_approve(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__RequestApproveRequest *message = MESSAGE_OF(request, Trilith__RequestApproveRequest);
    struct tables *tables = service_tables(service);
    Trilith__RequestRecord *record = NULL;
    Trilith__RequestApprove approve;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    enum status status = request_get(tables, message->id, &record);
    if (status == STATUS_OK) {
        status = request_approval_check(tables, record->request, message->jws, &approve);
    }
    if (status != STATUS_OK) {
        service_reply_status(service, request, status);
        return;
    }
    command.change_case = TRILITH__COMMAND__CHANGE_REQUEST_APPROVE;
    command.request_approve = &approve;
    service_submit(service, request, &command);
}

void serve_request_cancel(struct meta_service *service, struct rpc_request *request)
{
    static char cancelled[] = REQUEST_STAGE_CANCELLED;
    const Trilith__RequestGetRequest *message = MESSAGE_OF(request, Trilith__RequestGetRequest);
    Trilith__RequestRecord *record = NULL;
    Trilith__RequestAdvance advance;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    enum status status = request_get(service_tables(service), message->id, &record);
    if (status != STATUS_OK) {
        service_reply_status(service, request, status);
        return;
    }
    trilith__request_advance__init(&advance);
    advance.id = message->id;
    advance.from = record->request->stage;
    advance.to = cancelled;
    command.change_case = TRILITH__COMMAND__CHANGE_REQUEST_ADVANCE;
    command.request_advance = &advance;
    service_submit(service, request, &command);
}

/* ---- requests about people, holds, grace ------------------------------------------------------- */

void serve_person_set(struct meta_service *service, struct rpc_request *request)
{
    Trilith__Command command = TRILITH__COMMAND__INIT;
    command.change_case = TRILITH__COMMAND__CHANGE_PERSON_SET;
    command.person_set = MESSAGE_OF(request, Trilith__PersonSetRequest);
    service_submit(service, request, &command);
}

void serve_person_list(struct meta_service *service, struct rpc_request *request)
{
    Trilith__PersonListReply reply = TRILITH__PERSON_LIST_REPLY__INIT;
    enum status status = person_list(service_tables(service), &reply);
    service_reply(service, request, status, &reply);
}

void serve_object_hold(struct meta_service *service, struct rpc_request *request)
{
    Trilith__Command command = TRILITH__COMMAND__INIT;
    command.change_case = TRILITH__COMMAND__CHANGE_OBJECT_HOLD;
    command.object_hold = MESSAGE_OF(request, Trilith__ObjectHoldRequest);
    service_submit(service, request, &command);
}

void serve_bucket_set(struct meta_service *service, struct rpc_request *request)
{
    Trilith__Command command = TRILITH__COMMAND__INIT;
    command.change_case = TRILITH__COMMAND__CHANGE_BUCKET_SET;
    command.bucket_set = MESSAGE_OF(request, Trilith__BucketSetRequest);
    service_submit(service, request, &command);
}

void finish_bucket_set(struct meta_service *service, struct rpc_request *request, const struct outcome *outcome)
{
    const Trilith__BucketSetRequest *message = MESSAGE_OF(request, Trilith__BucketSetRequest);
    (void)outcome;
    service_reply_bucket(service, request, message->tenant_id, message->name);
}

void serve_erasure_undo(struct meta_service *service, struct rpc_request *request)
{
    Trilith__Command command = TRILITH__COMMAND__INIT;
    command.change_case = TRILITH__COMMAND__CHANGE_ERASURE_UNDO;
    command.erasure_undo = MESSAGE_OF(request, Trilith__ErasureUndoRequest);
    service_submit(service, request, &command);
}
