/* approval.c - making and reading approvals. */
#include "proto/approval.h"

#include "base/digest.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define TIME_TEXT_BYTES 40
#define MEMBERS         7

const char *approval_kind(Trilith__RequestKind kind)
{
    switch (kind) {
    case TRILITH__REQUEST_KIND__REQUEST_TENANT:
        return "tenant";
    case TRILITH__REQUEST_KIND__REQUEST_DISK:
        return "disk";
    case TRILITH__REQUEST_KIND__REQUEST_NODE:
        return "node";
    case TRILITH__REQUEST_KIND__REQUEST_NONE:
    case _TRILITH__REQUEST_KIND_IS_INT_SIZE:
        break;
    }
    return NULL;
}

static void time_text(uint64_t time_ms, char text[TIME_TEXT_BYTES])
{
    struct tm parts = {0};
    time_t seconds = (time_t)(time_ms / 1000);
    char day[24];
    (void)gmtime_r(&seconds, &parts);
    (void)strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &parts);
    (void)snprintf(text, TIME_TEXT_BYTES, "%s.%03uZ", day, (unsigned)(time_ms % 1000));
}

json_t *approval_payload(const Trilith__Request *request, const char *person, uint64_t now_ms)
{
    char hash[2 * SHA256_BYTES + 1];
    char at[TIME_TEXT_BYTES];
    const char *kind = approval_kind(request->kind);
    if (kind == NULL || request->plan_sha256.len != SHA256_BYTES) {
        return NULL;
    }
    hex_encode(request->plan_sha256.data, SHA256_BYTES, hash);
    time_text(now_ms, at);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:s}", "action", "approve", "at", at, "kind", kind, "person",
                     person, "plan_sha256", hash, "request", (json_int_t)request->id, "subject", request->subject);
}

static bool member_is(const json_t *payload, const char *name, const char *expected)
{
    const char *value = json_string_value(json_object_get(payload, name));
    return value != NULL && strcmp(value, expected) == 0;
}

/* Does it say just what approves this request, all of it and no more? */
static enum status payload_check(const struct jws *jws, const Trilith__Request *request)
{
    char hash[2 * SHA256_BYTES + 1];
    const char *kind = approval_kind(request->kind);
    const json_t *payload = jws->payload;
    const json_t *id = json_object_get(payload, "request");
    if (strcmp(jws->type, APPROVAL_TYPE) != 0 || kind == NULL || json_object_size(payload) != MEMBERS ||
        !member_is(payload, "action", "approve") || !member_is(payload, "kind", kind) ||
        !member_is(payload, "subject", request->subject) || !member_is(payload, "person", jws->kid) ||
        !json_is_string(json_object_get(payload, "at")) || !json_is_integer(id) ||
        (uint64_t)json_integer_value(id) != request->id || request->plan_sha256.len != SHA256_BYTES) {
        return STATUS_INVALID;
    }
    hex_encode(request->plan_sha256.data, SHA256_BYTES, hash);
    return member_is(payload, "plan_sha256", hash) ? STATUS_OK : STATUS_CONFLICT;
}

enum status approval_open(struct jws *jws, const void *text, size_t bytes, const Trilith__Request *request)
{
    *jws = (struct jws){0};
    if (bytes == 0 || bytes > APPROVAL_BYTES_MAX) {
        return STATUS_INVALID;
    }
    enum status status = jws_open(jws, text, bytes);
    return status == STATUS_OK ? payload_check(jws, request) : STATUS_INVALID;
}
