/* requests.c - rows of requests: made, approved, from stage to stage, done. Plans and approvals are in
 * request_approval.c. */
#include "meta/requests.h"

#include "meta/people.h"

#include "base/digest.h"

#include <string.h>

#define REQUESTS_LIST_MAX 1000u

const struct request_kind *request_kind_of(Trilith__RequestKind kind)
{
    static const struct request_kind *const kinds[] = {&tenant_erasure_kind, &disk_decommission_kind,
                                                       &node_decommission_kind};
    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
        if (kinds[i]->kind == kind) {
            return kinds[i];
        }
    }
    return NULL;
}

/* ---- rows -------------------------------------------------------------------------------------- */

enum status request_get(struct tables *tables, uint64_t request_id, Trilith__RequestRecord **record)
{
    enum status status = tables_get(tables, key_request(request_id), &trilith__request_record__descriptor, record);
    if (status == STATUS_OK && ((*record)->request == NULL || request_kind_of((*record)->request->kind) == NULL)) {
        return tables_fail(tables, STATUS_CORRUPT);
    }
    return status;
}

enum status request_put(struct change *change, const Trilith__RequestRecord *record)
{
    if (protobuf_c_message_get_packed_size(&record->base) > TABLE_VALUE_BYTES_MAX) {
        return STATUS_TOO_LARGE;
    }
    tables_put(change->tables, key_request(record->request->id), record);
    return STATUS_OK;
}

const Trilith__RequestFact *request_fact(const Trilith__RequestRecord *record, const char *stage)
{
    for (size_t i = record->n_facts; i-- > 0;) {
        if (strcmp(record->facts[i]->stage, stage) == 0) {
            return record->facts[i];
        }
    }
    return NULL;
}

static bool is_open(const Trilith__Request *request)
{
    return request->state == TRILITH__REQUEST_STATE__REQUEST_OPEN ||
           request->state == TRILITH__REQUEST_STATE__REQUEST_RUNNING;
}

/* It has come to its end. */
static void request_close(struct change *change, Trilith__RequestRecord *record, Trilith__RequestState state,
                          char *stage)
{
    Trilith__Request *request = record->request;
    CHECK(is_open(request));
    CHECK(change->cluster->requests_open > 0);
    request->state = state;
    request->stage = stage;
    request->finished_ms = change->time_ms;
    change->cluster->requests_open--;
    tables_delete(change->tables, key_request_open(request->id));
}

/* ---- made -------------------------------------------------------------------------------------- */

static uint64_t subject_id(const Trilith__Request *request)
{
    switch (request->kind) {
    case TRILITH__REQUEST_KIND__REQUEST_TENANT:
        return request->tenant_id;
    case TRILITH__REQUEST_KIND__REQUEST_DISK:
        return request->disk_id;
    case TRILITH__REQUEST_KIND__REQUEST_NODE:
        return request->node_id;
    case TRILITH__REQUEST_KIND__REQUEST_NONE:
    case _TRILITH__REQUEST_KIND_IS_INT_SIZE:
        break;
    }
    return 0;
}

/* STATUS_EXISTS: an open or running request is about the same; outcome.id says which. */
static enum status subject_is_free(struct change *change, const Trilith__Request *request)
{
    Trilith__RequestRecord *record = NULL;
    uint64_t id = 0;
    uint32_t count = 0;
    for (;;) {
        size_t used_bytes = change->tables->scratch.used;
        enum status status = request_next_open(change->tables, id, &record);
        if (status != STATUS_OK) {
            return status == STATUS_NOT_FOUND ? STATUS_OK : status;
        }
        id = record->request->id;
        if (record->request->kind == request->kind && subject_id(record->request) == subject_id(request)) {
            change->outcome.id = id;
            return STATUS_EXISTS;
        }
        if (++count >= REQUESTS_OPEN_MAX) {
            return STATUS_FULL;
        }
        change->tables->scratch.used = used_bytes;
    }
}

static bool plan_is_valid(const Trilith__Request *request)
{
    uint8_t hash[SHA256_BYTES];
    if (request->plan.len < 2 || request->plan.len > PLAN_BYTES_MAX || request->plan_sha256.len != SHA256_BYTES) {
        return false;
    }
    sha256(request->plan.data, request->plan.len, hash);
    return memcmp(hash, request->plan_sha256.data, SHA256_BYTES) == 0;
}

static struct table_key subject_key(const Trilith__Request *request)
{
    switch (request->kind) {
    case TRILITH__REQUEST_KIND__REQUEST_DISK:
        return key_disk(request->disk_id);
    case TRILITH__REQUEST_KIND__REQUEST_NODE:
        return key_node(request->node_id);
    case TRILITH__REQUEST_KIND__REQUEST_TENANT:
    case TRILITH__REQUEST_KIND__REQUEST_NONE:
    case _TRILITH__REQUEST_KIND_IS_INT_SIZE:
        break;
    }
    return key_tenant(request->tenant_id);
}

enum status request_subject_hash(struct tables *tables, const Trilith__Request *request, ProtobufCBinaryData *hash)
{
    struct kv_slice row;
    uint8_t *bytes = scratch_take(&tables->scratch, SHA256_BYTES);
    enum status status = tables_get_bytes(tables, subject_key(request), &row);
    if (status != STATUS_OK || bytes == NULL) {
        return status != STATUS_OK ? status : STATUS_TOO_LARGE;
    }
    sha256(row.data, row.bytes, bytes);
    *hash = (ProtobufCBinaryData){.data = bytes, .len = SHA256_BYTES};
    return STATUS_OK;
}

/* Is the subject as it was when the plan was made? What was under way meanwhile may have changed it. */
static enum status plan_is_true(struct tables *tables, const Trilith__RequestCreate *command)
{
    ProtobufCBinaryData hash = {0};
    if (command->subject_sha256.len != SHA256_BYTES) {
        return STATUS_INVALID;
    }
    enum status status = request_subject_hash(tables, command->request, &hash);
    if (status != STATUS_OK) {
        return status;
    }
    return memcmp(hash.data, command->subject_sha256.data, SHA256_BYTES) == 0 ? STATUS_OK : STATUS_BUSY;
}

/* What a new request takes over from what was asked, and nothing else. */
static void request_begin(const struct change *change, const Trilith__Request *asked, Trilith__Request *request)
{
    static char stage[] = REQUEST_STAGE_APPROVAL;
    trilith__request__init(request);
    request->id = change->cluster->next_request_id;
    request->kind = asked->kind;
    request->state = TRILITH__REQUEST_STATE__REQUEST_OPEN;
    request->tenant_id = asked->tenant_id;
    request->disk_id = asked->disk_id;
    request->node_id = asked->node_id;
    request->subject = asked->subject;
    request->requested_ms = change->time_ms;
    request->requested_by = asked->requested_by;
    request->reason_code = asked->reason_code;
    request->legal_basis = asked->legal_basis;
    request->contract_ref = asked->contract_ref;
    request->plan = asked->plan;
    request->plan_sha256 = asked->plan_sha256;
    request->expires_ms = change->time_ms + REQUEST_OPEN_MS;
    request->stage = stage;
    request->dead = asked->dead;
    request->destination = asked->destination;
    request->destination_details = asked->destination_details;
    request->property_number = asked->property_number;
    request->classification = asked->classification;
    request->backup = asked->backup;
    request->backup_location = asked->backup_location;
}

enum status request_create(struct change *change, const Trilith__RequestCreate *command)
{
    const Trilith__Request *asked = command->request;
    if (asked == NULL || !request_is_valid(asked) || !plan_is_valid(asked) || subject_id(asked) == 0) {
        return STATUS_INVALID;
    }
    enum status status = subject_is_free(change, asked);
    if (status == STATUS_OK) {
        status = plan_is_true(change->tables, command);
    }
    if (status != STATUS_OK) {
        return status;
    }
    if (change->cluster->next_request_id == 0) {
        change->cluster->next_request_id = 1; /* The first of all. */
    }
    Trilith__Request request;
    Trilith__RequestRecord record;
    trilith__request_record__init(&record);
    request_begin(change, asked, &request);
    record.request = &request;
    const struct request_kind *kind = request_kind_of(request.kind);
    if (kind->asked != NULL) {
        status = kind->asked(change, &record);
    }
    if (status == STATUS_OK) {
        status = request_put(change, &record);
    }
    if (status != STATUS_OK) {
        return status;
    }
    change->cluster->next_request_id++;
    change->cluster->requests_open++;
    tables_put_bytes(change->tables, key_request_open(request.id), "", 0);
    change->outcome.id = request.id;
    return STATUS_OK;
}

/* ---- approved ---------------------------------------------------------------------------------- */

/* STATUS_EXISTS: this person, or somebody with the same key, has approved already. */
static enum status approver_is_new(struct tables *tables, const Trilith__Request *request,
                                   const Trilith__Person *person)
{
    for (size_t i = 0; i < request->n_approvals; i++) {
        Trilith__Person *earlier = NULL;
        if (strcmp(request->approvals[i]->person, person->name) == 0) {
            return STATUS_EXISTS;
        }
        enum status status = person_get(tables, request->approvals[i]->person, &earlier);
        if (status != STATUS_OK) {
            return tables_missing(tables, status); /* Who has signed stays on record. */
        }
        if (memcmp(earlier->public_key.data, person->public_key.data, PUBLIC_KEY_BYTES) == 0) {
            return STATUS_EXISTS;
        }
    }
    return STATUS_OK;
}

static enum status approval_add(struct change *change, Trilith__Request *request,
                                const Trilith__RequestApprove *command)
{
    struct scratch *scratch = &change->tables->scratch;
    Trilith__Approval *added = scratch_take(scratch, sizeof(*added));
    Trilith__Approval **approvals = scratch_take(scratch, (request->n_approvals + 1) * sizeof(Trilith__Approval *));
    if (added == NULL || approvals == NULL) {
        return tables_fail(change->tables, STATUS_TOO_LARGE);
    }
    for (size_t i = 0; i < request->n_approvals; i++) {
        approvals[i] = request->approvals[i];
    }
    trilith__approval__init(added);
    added->person = command->person;
    added->time_ms = change->time_ms;
    added->jws = command->jws;
    approvals[request->n_approvals++] = added;
    request->approvals = approvals;
    return STATUS_OK;
}

static enum status approval_check(struct change *change, const Trilith__Request *request,
                                  const Trilith__RequestApprove *command, Trilith__Person **person)
{
    if (request->state != TRILITH__REQUEST_STATE__REQUEST_OPEN || change->time_ms >= request->expires_ms) {
        return STATUS_CONFLICT;
    }
    if (command->plan_sha256.len != SHA256_BYTES ||
        memcmp(command->plan_sha256.data, request->plan_sha256.data, SHA256_BYTES) != 0) {
        return STATUS_CONFLICT;
    }
    enum status status = person_get(change->tables, command->person, person);
    if (status != STATUS_OK) {
        return status == STATUS_NOT_FOUND ? STATUS_DENIED : status;
    }
    bool same_key = command->public_key.len == PUBLIC_KEY_BYTES &&
                    memcmp(command->public_key.data, (*person)->public_key.data, PUBLIC_KEY_BYTES) == 0;
    if (!same_key || (*person)->removed_ms != 0) {
        return STATUS_DENIED;
    }
    return approver_is_new(change->tables, request, *person);
}

/* Of people who may still approve: who was removed meanwhile does not count. */
static enum status approvals_count(struct tables *tables, const Trilith__Request *request, uint32_t *count)
{
    *count = 0;
    for (size_t i = 0; i < request->n_approvals; i++) {
        Trilith__Person *person = NULL;
        enum status status = person_get(tables, request->approvals[i]->person, &person);
        if (status != STATUS_OK) {
            return tables_missing(tables, status); /* Who has signed stays on record. */
        }
        *count += person->removed_ms == 0;
    }
    return STATUS_OK;
}

/* The last approval has come: it runs. */
static enum status request_start(struct change *change, Trilith__RequestRecord *record)
{
    const struct request_kind *kind = request_kind_of(record->request->kind);
    record->request->state = TRILITH__REQUEST_STATE__REQUEST_RUNNING;
    record->request->stage = scratch_copy(&change->tables->scratch, kind->first_stage, strlen(kind->first_stage));
    if (record->request->stage == NULL) {
        return tables_fail(change->tables, STATUS_TOO_LARGE);
    }
    return kind->begin == NULL ? STATUS_OK : kind->begin(change, record);
}

enum status request_approve(struct change *change, const Trilith__RequestApprove *command)
{
    Trilith__RequestRecord *record = NULL;
    Trilith__Person *person = NULL;
    uint32_t count = 0;
    if (command->jws.len == 0 || command->jws.len > APPROVAL_BYTES_MAX) {
        return STATUS_INVALID;
    }
    enum status status = request_get(change->tables, command->id, &record);
    if (status == STATUS_OK) {
        status = approval_check(change, record->request, command, &person);
    }
    if (status == STATUS_OK) {
        status = approval_add(change, record->request, command);
    }
    if (status == STATUS_OK) {
        status = approvals_count(change->tables, record->request, &count);
    }
    if (status == STATUS_OK && count >= REQUEST_APPROVALS) {
        status = request_start(change, record);
    }
    if (status == STATUS_OK) {
        status = request_put(change, record);
    }
    if (status == STATUS_OK) {
        person_note_signed(change, person);
        change->outcome.id = command->id;
    }
    return status;
}

/* ---- from stage to stage ----------------------------------------------------------------------- */

static enum status fact_add(struct change *change, Trilith__RequestRecord *record,
                            const Trilith__RequestAdvance *command)
{
    struct scratch *scratch = &change->tables->scratch;
    size_t bytes = command->fact.len;
    if (bytes == 0) {
        return STATUS_OK;
    }
    for (size_t i = 0; i < record->n_facts; i++) {
        bytes += record->facts[i]->fact.len;
    }
    if (bytes > FACTS_BYTES_MAX) {
        return STATUS_FULL;
    }
    Trilith__RequestFact *added = scratch_take(scratch, sizeof(*added));
    Trilith__RequestFact **facts = scratch_take(scratch, (record->n_facts + 1) * sizeof(Trilith__RequestFact *));
    if (added == NULL || facts == NULL) {
        return tables_fail(change->tables, STATUS_TOO_LARGE);
    }
    for (size_t i = 0; i < record->n_facts; i++) {
        facts[i] = record->facts[i];
    }
    trilith__request_fact__init(added);
    added->stage = command->from;
    added->time_ms = change->time_ms;
    added->fact = command->fact;
    facts[record->n_facts++] = added;
    record->facts = facts;
    return STATUS_OK;
}

static enum status request_cancel(struct change *change, Trilith__RequestRecord *record)
{
    static char stage[] = REQUEST_STAGE_CANCELLED;
    const struct request_kind *kind = request_kind_of(record->request->kind);
    bool open = record->request->state == TRILITH__REQUEST_STATE__REQUEST_OPEN;
    if (kind->cancel == NULL && !open) {
        return STATUS_CONFLICT;
    }
    change->outcome.id = record->request->id; /* moves_disk_drain() looks at it. */
    enum status status = kind->cancel == NULL ? STATUS_OK : kind->cancel(change, record);
    if (status == STATUS_OK) {
        request_close(change, record, TRILITH__REQUEST_STATE__REQUEST_CANCELLED, stage);
    }
    return status;
}

/* To another stage of a request that runs; only its certificate makes it done. */
static enum status request_stage(struct change *change, Trilith__RequestRecord *record, char *to)
{
    const struct request_kind *kind = request_kind_of(record->request->kind);
    if (record->request->state != TRILITH__REQUEST_STATE__REQUEST_RUNNING || strcmp(to, REQUEST_STAGE_DONE) == 0 ||
        strcmp(to, REQUEST_STAGE_APPROVAL) == 0) {
        return STATUS_CONFLICT;
    }
    enum status status = kind->staged == NULL ? STATUS_OK : kind->staged(change, record, to);
    if (status == STATUS_OK) {
        record->request->stage = to;
    }
    return status;
}

static bool stage_is_valid(const char *stage)
{
    size_t length = strlen(stage);
    return length >= 1 && length <= 32 && strspn(stage, "abcdefghijklmnopqrstuvwxyz_") == length;
}

enum status request_advance(struct change *change, const Trilith__RequestAdvance *command)
{
    Trilith__RequestRecord *record = NULL;
    if (!stage_is_valid(command->from) || !stage_is_valid(command->to) || command->fact.len > FACT_BYTES_MAX) {
        return STATUS_INVALID;
    }
    enum status status = request_get(change->tables, command->id, &record);
    if (status != STATUS_OK) {
        return status;
    }
    if (!is_open(record->request) || strcmp(record->request->stage, command->from) != 0) {
        return STATUS_CONFLICT;
    }
    status = fact_add(change, record, command);
    if (status == STATUS_OK && strcmp(command->to, REQUEST_STAGE_CANCELLED) == 0) {
        status = request_cancel(change, record);
    } else if (status == STATUS_OK && strcmp(command->from, command->to) != 0) {
        status = request_stage(change, record, command->to);
    }
    if (status == STATUS_OK) {
        change->outcome.id = command->id;
        status = request_put(change, record);
    }
    return status;
}

enum status request_certified(struct change *change, uint64_t request_id, const char *certificate_id)
{
    static char stage[] = REQUEST_STAGE_DONE;
    Trilith__RequestRecord *record = NULL;
    enum status status = request_get(change->tables, request_id, &record);
    if (status != STATUS_OK) {
        return status == STATUS_NOT_FOUND ? STATUS_CONFLICT : status;
    }
    Trilith__Request *request = record->request;
    bool again = request->state == TRILITH__REQUEST_STATE__REQUEST_DONE;
    bool due =
        request->state == TRILITH__REQUEST_STATE__REQUEST_RUNNING && strcmp(request->stage, REQUEST_STAGE_CERTIFY) == 0;
    if (!again && !due) {
        return STATUS_CONFLICT;
    }
    request->certificate = scratch_copy(&change->tables->scratch, certificate_id, strlen(certificate_id));
    if (request->certificate == NULL) {
        return tables_fail(change->tables, STATUS_TOO_LARGE);
    }
    const struct request_kind *kind = request_kind_of(request->kind);
    if (kind->certified != NULL) {
        status = kind->certified(change, record);
    }
    if (status == STATUS_OK && due) {
        request_close(change, record, TRILITH__REQUEST_STATE__REQUEST_DONE, stage);
    }
    return status == STATUS_OK ? request_put(change, record) : status;
}

/* ---- reads ------------------------------------------------------------------------------------- */

enum status request_next_open(struct tables *tables, uint64_t after_id, Trilith__RequestRecord **record)
{
    struct table_walk walk;
    struct kv_slice key, value;
    if (after_id == UINT64_MAX) {
        return STATUS_NOT_FOUND;
    }
    const struct table_key start = key_request_open(after_id + 1);
    table_walk_open(&walk, tables, key_prefix(key_request_open(0), 1));
    table_walk_seek(&walk, &start);
    bool found = table_walk_row(&walk, &key, &value);
    uint64_t id = found && key.bytes == 9 ? number_of_be((const uint8_t *)key.data + 1, 8) : 0;
    table_walk_close(&walk);
    if (!found) {
        return tables->failed != STATUS_OK ? tables->failed : STATUS_NOT_FOUND;
    }
    enum status status = request_get(tables, id, record);
    return status == STATUS_NOT_FOUND ? tables_missing(tables, status) : status;
}

enum status request_next_to_certify(struct tables *tables, uint64_t after_id, Trilith__RequestRecord **record)
{
    for (;;) {
        size_t used_bytes = tables->scratch.used;
        enum status status = request_next_open(tables, after_id, record);
        if (status != STATUS_OK || strcmp((*record)->request->stage, REQUEST_STAGE_CERTIFY) == 0) {
            return status;
        }
        after_id = (*record)->request->id;
        tables->scratch.used = used_bytes;
    }
}

/* Without its plan: a list of many is for people to choose from. */
static Trilith__Request *list_row(struct tables *tables, struct kv_slice value)
{
    const Trilith__RequestRecord *record = tables_unpack(tables, &trilith__request_record__descriptor, value);
    if (record == NULL || record->request == NULL) {
        (void)tables_fail(tables, STATUS_CORRUPT);
        return NULL;
    }
    record->request->plan.len = 0;
    return record->request;
}

static enum status first_listed(struct tables *tables, uint64_t *first)
{
    Trilith__ClusterRecord *cluster = NULL;
    enum status status = tables_get(tables, key_cluster(), &trilith__cluster_record__descriptor, &cluster);
    if (status == STATUS_OK && cluster->next_request_id > REQUESTS_LIST_MAX) {
        *first = cluster->next_request_id - REQUESTS_LIST_MAX;
    }
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status request_list(struct tables *tables, bool open_only, Trilith__RequestListReply *reply)
{
    uint64_t first = 0;
    enum status status = open_only ? STATUS_OK : first_listed(tables, &first);
    reply->requests = scratch_take(&tables->scratch, REQUESTS_LIST_MAX * sizeof(reply->requests[0]));
    if (status != STATUS_OK || reply->requests == NULL) {
        return status == STATUS_OK ? STATUS_TOO_LARGE : status;
    }
    if (open_only) {
        Trilith__RequestRecord *record = NULL;
        uint64_t id = 0;
        while (reply->n_requests < REQUESTS_LIST_MAX &&
               (status = request_next_open(tables, id, &record)) == STATUS_OK) {
            id = record->request->id;
            record->request->plan.len = 0;
            reply->requests[reply->n_requests++] = record->request;
        }
        status = status == STATUS_NOT_FOUND ? STATUS_OK : status;
    } else {
        struct table_walk walk;
        struct kv_slice key, value;
        const struct table_key start = key_request(first);
        table_walk_open(&walk, tables, key_prefix(key_request(0), 1));
        table_walk_seek(&walk, &start);
        for (; reply->n_requests < REQUESTS_LIST_MAX && table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
            Trilith__Request *request = list_row(tables, value);
            if (request == NULL) {
                break;
            }
            reply->requests[reply->n_requests++] = request;
        }
        table_walk_close(&walk);
        status = tables->failed;
    }
    for (size_t i = 0; i < reply->n_requests / 2; i++) {
        Trilith__Request *swapped = reply->requests[i];
        reply->requests[i] = reply->requests[reply->n_requests - 1 - i];
        reply->requests[reply->n_requests - 1 - i] = swapped;
    }
    return status;
}
