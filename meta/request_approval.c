/* request_approval.c - plans of requests, and the approvals that people sign. */
#include "meta/people.h"
#include "meta/requests.h"

#include "base/digest.h"

#include <stdlib.h>
#include <string.h>

/* ---- what people say --------------------------------------------------------------------------- */

static bool is_one_of(const char *text, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

bool request_is_valid(const Trilith__Request *request)
{
    static const char *const destinations[] = {
        "", "internal_reuse", "external_reuse", "recycling", "manufacturer", "destroy", "other"};
    static const char *const backups[] = {"", "yes", "no", "unknown"};
    const char *texts[] = {request->subject,         request->requested_by,   request->reason_code,
                           request->legal_basis,     request->contract_ref,   request->destination_details,
                           request->property_number, request->classification, request->backup_location};
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        if (!people_text_is_valid(texts[i], REQUEST_TEXT_BYTES_MAX)) {
            return false;
        }
    }
    return request_kind_of(request->kind) != NULL && request->subject[0] != '\0' && request->reason_code[0] != '\0' &&
           is_one_of(request->destination, destinations, ARRAY_LENGTH(destinations)) &&
           is_one_of(request->backup, backups, ARRAY_LENGTH(backups));
}

/* ---- plans ------------------------------------------------------------------------------------- */

/* The plan as bytes in the scratch, and its hash. */
static enum status plan_keep(struct scratch *scratch, const json_t *plan, Trilith__Request *request)
{
    size_t bytes = 0;
    char *text = json_canonical(plan, &bytes);
    enum status status = text == NULL ? STATUS_FULL : bytes > PLAN_BYTES_MAX ? STATUS_TOO_LARGE : STATUS_OK;
    uint8_t *hash = scratch_take(scratch, SHA256_BYTES);
    if (status == STATUS_OK) {
        request->plan.data = scratch_copy(scratch, text, bytes);
        request->plan.len = bytes;
        status = hash == NULL || request->plan.data == NULL ? STATUS_TOO_LARGE : STATUS_OK;
    }
    if (status == STATUS_OK) {
        sha256(request->plan.data, bytes, hash);
        request->plan_sha256 = (ProtobufCBinaryData){.data = hash, .len = SHA256_BYTES};
    }
    free(text);
    return status;
}

enum status request_plan(const struct request_plan_parts *parts, Trilith__Request *request)
{
    json_t *plan = NULL;
    if (!request_is_valid(request)) {
        return STATUS_INVALID;
    }
    const struct request_kind *kind = request_kind_of(request->kind);
    enum status status = kind->plan(parts, request, &plan);
    if (status != STATUS_OK) {
        return status;
    }
    bool whole = json_object_set_new(plan, "schema", json_string("request-plan/1")) == 0 &&
                 json_object_set_new(plan, "kind", json_string(kind->name)) == 0 &&
                 json_object_set_new(plan, "subject", json_string(request->subject)) == 0;
    status = whole ? plan_keep(&parts->tables->scratch, plan, request) : STATUS_FULL;
    json_decref(plan);
    return status;
}

/* ---- approvals --------------------------------------------------------------------------------- */

/* The key of whom the approval names has signed it. */
static enum status signature_check(struct tables *tables, const struct jws *jws, ProtobufCBinaryData text,
                                   Trilith__Person **person)
{
    struct public_key key;
    enum status status = person_get(tables, jws->kid, person);
    if (status != STATUS_OK) {
        return status == STATUS_NOT_FOUND ? STATUS_DENIED : status;
    }
    memcpy(key.bytes, (*person)->public_key.data, PUBLIC_KEY_BYTES);
    bool verified = (*person)->removed_ms == 0 && jws_verify(jws, (const char *)text.data, &key);
    return verified ? STATUS_OK : STATUS_DENIED;
}

enum status request_approval_check(struct tables *tables, const Trilith__Request *request, ProtobufCBinaryData text,
                                   Trilith__RequestApprove *command)
{
    struct jws jws;
    Trilith__Person *person = NULL;
    enum status status = approval_open(&jws, text.data, text.len, request);
    if (status == STATUS_OK) {
        status = signature_check(tables, &jws, text, &person);
    }
    if (status == STATUS_OK) {
        trilith__request_approve__init(command);
        command->id = request->id;
        command->person = person->name;
        command->jws = text;
        command->public_key = person->public_key;
        command->plan_sha256 = request->plan_sha256;
    }
    jws_close(&jws);
    return status;
}
