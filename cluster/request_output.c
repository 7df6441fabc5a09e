/* request_output.c - requests and plans as text and JSON. */
#include "cluster/request_output.h"

#include "base/digest.h"
#include "base/jws.h"
#include "cluster/output.h"
#include "proto/approval.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PATH_BYTES     160
#define LIST_SHOWN_MAX 5

const char *request_state_word(Trilith__RequestState state)
{
    switch (state) {
    case TRILITH__REQUEST_STATE__REQUEST_OPEN:
        return "open";
    case TRILITH__REQUEST_STATE__REQUEST_RUNNING:
        return "running";
    case TRILITH__REQUEST_STATE__REQUEST_DONE:
        return "done";
    case TRILITH__REQUEST_STATE__REQUEST_CANCELLED:
        return "cancelled";
    case TRILITH__REQUEST_STATE__REQUEST_STATE_NONE:
    case _TRILITH__REQUEST_STATE_IS_INT_SIZE:
        break;
    }
    return "planned";
}

static const char *kind_word(const Trilith__Request *request)
{
    const char *word = approval_kind(request->kind);
    return word == NULL ? "unknown" : word;
}

static void hash_hex(const Trilith__Request *request, char hex[2 * SHA256_BYTES + 1])
{
    hex[0] = '\0';
    if (request->plan_sha256.len == SHA256_BYTES) {
        hex_encode(request->plan_sha256.data, SHA256_BYTES, hex);
    }
}

json_t *request_plan_read(const Trilith__Request *request)
{
    uint8_t hash[SHA256_BYTES];
    sha256(request->plan.data, request->plan.len, hash);
    if (request->plan_sha256.len != SHA256_BYTES || memcmp(hash, request->plan_sha256.data, SHA256_BYTES) != 0) {
        return NULL;
    }
    return json_from_canonical((const char *)request->plan.data, request->plan.len);
}

/* ---- for scripts ------------------------------------------------------------------------------- */

static json_t *text_or_null(const char *text)
{
    return text[0] == '\0' ? json_null() : output_json_bytes(text, strlen(text));
}

static json_t *approvals_json(const Trilith__Request *request)
{
    json_t *list = json_array();
    for (size_t i = 0; i < request->n_approvals; i++) {
        const Trilith__Approval *approval = request->approvals[i];
        json_array_append_new(list, json_pack("{s:o, s:o, s:o}", "person", text_or_null(approval->person), "at",
                                              output_json_time(approval->time_ms), "jws",
                                              output_json_bytes(approval->jws.data, approval->jws.len)));
    }
    return list;
}

json_t *request_json(const Trilith__Request *request)
{
    char hash[2 * SHA256_BYTES + 1];
    json_t *plan = request->plan.len > 0 ? request_plan_read(request) : NULL;
    hash_hex(request, hash);
    json_t *value =
        json_pack("{s:I, s:s, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:o, s:o}", "id",
                  (json_int_t)request->id, "kind", kind_word(request), "subject", text_or_null(request->subject),
                  "state", request_state_word(request->state), "stage", text_or_null(request->stage), "requested",
                  output_json_time(request->requested_ms), "requested_by", text_or_null(request->requested_by),
                  "reason", text_or_null(request->reason_code), "legal_basis", text_or_null(request->legal_basis),
                  "contract_ref", text_or_null(request->contract_ref), "plan", plan == NULL ? json_null() : plan,
                  "done", (json_int_t)request->done, "total", (json_int_t)request->total, "approvals",
                  approvals_json(request), "plan_sha256", text_or_null(hash));
    json_t *more = json_pack(
        "{s:o, s:o, s:o, s:o, s:b, s:o}", "erasure",
        request->erasure_id == 0 ? json_null() : json_integer((json_int_t)request->erasure_id), "expires",
        request->state == TRILITH__REQUEST_STATE__REQUEST_OPEN ? output_json_time(request->expires_ms) : json_null(),
        "finished", output_json_time(request->finished_ms), "certificate", text_or_null(request->certificate), "dead",
        request->dead ? 1 : 0, "destination", text_or_null(request->destination));
    if (value == NULL || more == NULL || json_object_update(value, more) != 0) {
        json_decref(value);
        value = NULL;
    }
    json_decref(more);
    return value;
}

/* ---- for people -------------------------------------------------------------------------------- */

static void print_text(const char *text)
{
    output_text(text, strlen(text));
}

void request_print_title(void)
{
    printf("%-8s %-8s %-24s %-10s %-14s %-10s %-24s %s\n", "REQUEST", "KIND", "SUBJECT", "STATE", "STAGE", "APPROVED",
           "REQUESTED", "CERTIFICATE");
}

void request_print_line(const Trilith__Request *request)
{
    char requested[OUTPUT_TIME_BYTES];
    char approved[16];
    output_time(request->requested_ms, requested);
    snprintf(approved, sizeof(approved), "%zu of 2", request->n_approvals);
    printf("%-8" PRIu64 " %-8s ", request->id, kind_word(request));
    print_text(request->subject);
    printf("%*s %-10s %-14s %-10s %-24s %s\n", strlen(request->subject) < 24 ? (int)(24 - strlen(request->subject)) : 0,
           "", request_state_word(request->state), request->stage, approved, requested,
           request->certificate[0] != '\0' ? request->certificate : "-");
}

static void print_member(const char *name, const char *text)
{
    if (text[0] != '\0') {
        printf("%-16s ", name);
        print_text(text);
        printf("\n");
    }
}

static void print_time(const char *name, uint64_t time_ms)
{
    char text[OUTPUT_TIME_BYTES];
    if (time_ms != 0) {
        output_time(time_ms, text);
        printf("%-16s %s\n", name, text);
    }
}

void request_print(const Trilith__Request *request)
{
    char hash[2 * SHA256_BYTES + 1];
    hash_hex(request, hash);
    if (request->id != 0) {
        printf("%-16s %" PRIu64 "\n", "request", request->id);
    }
    print_member("kind", kind_word(request));
    print_member("subject", request->subject);
    print_member("state", request_state_word(request->state));
    print_member("stage", request->stage);
    if (request->total > 0) {
        printf("%-16s %" PRIu64 " of %" PRIu64 "\n", "progress", request->done, request->total);
    }
    print_time("requested", request->requested_ms);
    print_member("requested by", request->requested_by);
    print_member("reason", request->reason_code);
    print_member("legal basis", request->legal_basis);
    print_member("contract", request->contract_ref);
    for (size_t i = 0; i < request->n_approvals; i++) {
        print_member("approved by", request->approvals[i]->person);
    }
    if (request->state == TRILITH__REQUEST_STATE__REQUEST_OPEN) {
        print_time("expires", request->expires_ms);
    }
    if (request->erasure_id != 0) {
        printf("%-16s %" PRIu64 "\n", "erasure", request->erasure_id);
    }
    print_member("certificate", request->certificate);
    print_time("finished", request->finished_ms);
    print_member("plan sha256", hash);
}

static void print_value(const char *path, const json_t *value);

static void print_list(const char *path, const json_t *list)
{
    size_t count = json_array_size(list);
    char below[PATH_BYTES];
    if (count == 0) {
        printf("  %-36s none\n", path);
    }
    for (size_t i = 0; i < count && i < LIST_SHOWN_MAX; i++) {
        snprintf(below, sizeof(below), "%.140s[%zu]", path, i);
        print_value(below, json_array_get(list, i));
    }
    if (count > LIST_SHOWN_MAX) {
        printf("  %-36s and %zu more\n", path, count - LIST_SHOWN_MAX);
    }
}

/* A list's entry in one line: its members one behind the other. */
static void print_entry(const char *path, const json_t *entry)
{
    const char *name;
    json_t *value;
    printf("  %-36s", path);
    json_object_foreach((json_t *)(uintptr_t)entry, name, value)
    {
        printf(" %s ", name);
        if (json_is_string(value)) {
            print_text(json_string_value(value));
        } else if (json_is_integer(value)) {
            printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
        } else {
            printf("%s", json_is_true(value) ? "yes" : json_is_false(value) ? "no" : "-");
        }
    }
    printf("\n");
}

static void print_object(const char *path, const json_t *object)
{
    char below[PATH_BYTES];
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        snprintf(below, sizeof(below), "%.80s%s%.70s", path, path[0] == '\0' ? "" : ".", name);
        print_value(below, value);
    }
}

/* Plans are a few levels deep: json_from_canonical() has seen to that. */
static void print_value(const char *path, const json_t *value)
{
    size_t length = strlen(path);
    if (json_is_object(value)) {
        if (length > 0 && path[length - 1] == ']') {
            print_entry(path, value);
        } else {
            print_object(path, value);
        }
    } else if (json_is_array(value)) {
        print_list(path, value);
    } else if (json_is_string(value)) {
        printf("  %-36s ", path);
        print_text(json_string_value(value));
        printf("\n");
    } else if (json_is_integer(value)) {
        printf("  %-36s %" JSON_INTEGER_FORMAT "\n", path, json_integer_value(value));
    } else {
        printf("  %-36s %s\n", path, json_is_true(value) ? "yes" : json_is_false(value) ? "no" : "-");
    }
}

void request_plan_print(const json_t *plan)
{
    print_value("", plan);
}
