/* exchange.c - see exchange.h. */
#include "node/s3/exchange.h"

#include "base/keys.h"
#include "base/log.h"
#include "node/s3/object_headers.h"
#include "node/s3/routes.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- life -------------------------------------------------------------------------------------- */

void s3_exchange_init(struct s3_exchange *exchange, struct s3_service *service, const struct s3_transport *transport)
{
    exchange->service = service;
    exchange->transport = transport;
    exchange->stage = S3_IDLE;
    s3_exchange_reset(exchange);
}

/* What the last request said about its object, and what was answered about it. */
static void wipe_metadata(struct s3_exchange *exchange)
{
    wipe_memory(exchange->meta.bytes, exchange->meta.used);
    wipe_memory(exchange->answer.header_text, exchange->answer.header_text_used);
    exchange->meta.used = 0;
    exchange->meta.count = 0;
    exchange->answer.header_text_used = 0;
}

void s3_exchange_reset(struct s3_exchange *exchange)
{
    CHECK(!exchange->call_active);
    CHECK(!exchange->lookup_active);
    CHECK(exchange->put == NULL);
    CHECK(exchange->get == NULL);
    exchange->stage = S3_IDLE;
    exchange->ended = false;
    exchange->route = NULL;
    exchange->received_bytes = 0;
    exchange->sent_bytes = 0;
    exchange->started_ns = 0;
    exchange->answer.http_status = 0;
    exchange->answer.error = S3_NONE;
    exchange->answer.body = S3_BODY_NONE;
    exchange->answer.body_bytes = 0;
    exchange->answer.header_count = 0;
    exchange->answer.overflow = false;
    wipe_metadata(exchange);
    exchange->request_id[0] = '\0';
    memset(&exchange->caller, 0, sizeof(exchange->caller));
    text_buffer_reset(&exchange->text, S3_DOCUMENT_BYTES_MAX);
    s3_request_init(&exchange->request);
}

void s3_exchange_deinit(struct s3_exchange *exchange)
{
    wipe_metadata(exchange);
    text_buffer_free(&exchange->text);
}

struct loop *s3_exchange_loop(struct s3_exchange *exchange)
{
    return gateway_loop(exchange->service->gateway);
}

static const char *operation_name(const struct s3_exchange *exchange)
{
    return exchange->route == NULL ? "-" : exchange->route->operation->name;
}

static void log_exchange(struct s3_exchange *exchange)
{
    unsigned http_status = exchange->answer.http_status;
    /* Anybody can bring about a SlowDown or a 501, without a credential: they must not flood the log. */
    bool ours = http_status >= 500 && http_status != 501 && exchange->answer.error != S3_SLOW_DOWN;
    enum log_level level = ours ? LOG_WARNING : exchange->service->access_log ? LOG_INFO : LOG_DEBUG;
    if (!log_is_enabled(level)) {
        return;
    }
    uint64_t took_us = (loop_now_ns(s3_exchange_loop(exchange)) - exchange->started_ns) / NS_PER_US;
    log_event(level, "s3_request",
              "request=%s operation=%s tenant=%" PRIu64 " status=%u code=%s in_bytes=%" PRIu64 " out_bytes=%" PRIu64
              " took_us=%" PRIu64,
              exchange->request_id, operation_name(exchange), exchange->caller.tenant_id, http_status,
              exchange->answer.error == S3_NONE ? "-" : s3_error_code(exchange->answer.error), exchange->received_bytes,
              exchange->sent_bytes, took_us);
}

/* Let go of what is in flight; a call to the metadata service still ends by itself. */
static void let_go(struct s3_exchange *exchange)
{
    if (exchange->lookup_active) {
        exchange->lookup_active = false;
        gateway_credential_cancel(&exchange->lookup);
    }
    if (exchange->put != NULL) {
        object_put_detach(exchange->put);
        exchange->put = NULL;
    }
    if (exchange->get != NULL) {
        wipe_memory(exchange->text.data, exchange->text.used); /* The first piece of somebody's object. */
        object_get_close(exchange->get);
        exchange->get = NULL;
    }
    body_check_abandon(&exchange->check);
}

void s3_exchange_end(struct s3_exchange *exchange)
{
    CHECK(!exchange->ended);
    if (exchange->stage != S3_IDLE) {
        log_exchange(exchange);
    }
    exchange->ended = true;
    let_go(exchange);
    if (exchange->call_active) {
        rpc_call_cancel(&exchange->call);
        return; /* call_finished() releases. */
    }
    exchange->transport->released(exchange);
}

/* ---- answers ----------------------------------------------------------------------------------- */

static const char *answer_store(struct s3_answer *answer, const char *text, size_t bytes)
{
    if (bytes >= sizeof(answer->header_text) - answer->header_text_used) {
        answer->overflow = true;
        return "";
    }
    char *copy = answer->header_text + answer->header_text_used;
    memcpy(copy, text, bytes);
    copy[bytes] = '\0';
    answer->header_text_used += bytes + 1;
    return copy;
}

void s3_answer_header_span(struct s3_exchange *exchange, const char *name, size_t name_bytes, const char *value,
                           size_t value_bytes)
{
    struct s3_answer *answer = &exchange->answer;
    if (answer->header_count == S3_ANSWER_HEADERS_MAX) {
        answer->overflow = true;
        return;
    }
    const char *stored_name = answer_store(answer, name, name_bytes);
    const char *stored_value = answer_store(answer, value, value_bytes);
    answer->headers[answer->header_count].name = stored_name;
    answer->headers[answer->header_count].value = stored_value;
    answer->header_count++;
}

void s3_answer_header(struct s3_exchange *exchange, const char *name, const char *value)
{
    s3_answer_header_span(exchange, name, strlen(name), value, strlen(value));
}

void s3_answer_header_number(struct s3_exchange *exchange, const char *name, uint64_t number)
{
    char text[24];
    (void)snprintf(text, sizeof(text), "%" PRIu64, number);
    s3_answer_header(exchange, name, text);
}

void s3_answer_etag(struct s3_exchange *exchange, const char *etag)
{
    char quoted[OBJECT_ETAG_BYTES + 3];
    (void)snprintf(quoted, sizeof(quoted), "\"%.*s\"", (int)OBJECT_ETAG_BYTES, etag);
    s3_answer_header(exchange, "ETag", quoted);
}

static void answer_with(struct s3_exchange *exchange, unsigned http_status, enum s3_answer_body body,
                        uint64_t body_bytes)
{
    CHECK(exchange->stage != S3_ANSWERED);
    CHECK(!exchange->ended);
    exchange->answer.http_status = http_status;
    exchange->answer.body = body;
    exchange->answer.body_bytes = body_bytes;
    s3_answer_header(exchange, "x-amz-request-id", exchange->request_id);
    s3_answer_header(exchange, "Server", "Trilith");
    exchange->stage = S3_ANSWERED;
    exchange->transport->wake(exchange);
}

void s3_answer_empty(struct s3_exchange *exchange, unsigned http_status)
{
    text_buffer_reset(&exchange->text, 0);
    answer_with(exchange, http_status, S3_BODY_NONE, 0);
}

void s3_answer_text(struct s3_exchange *exchange, unsigned http_status)
{
    if (exchange->text.failed) {
        s3_answer_error(exchange, S3_INTERNAL_ERROR);
        return;
    }
    s3_answer_header(exchange, "Content-Type", "application/xml");
    answer_with(exchange, http_status, S3_BODY_TEXT, exchange->text.used);
}

void s3_answer_object(struct s3_exchange *exchange, unsigned http_status, enum s3_answer_body body, uint64_t body_bytes)
{
    if (exchange->answer.overflow) {
        s3_answer_error(exchange, S3_INTERNAL_ERROR);
        return;
    }
    answer_with(exchange, http_status, body, body_bytes);
}

void s3_answer_error(struct s3_exchange *exchange, enum s3_error error)
{
    let_go(exchange);
    wipe_metadata(exchange);
    exchange->answer.error = error;
    exchange->answer.header_count = 0;
    if (exchange->request.method == S3_HEAD) {
        s3_answer_empty(exchange, s3_error_http_status(error));
        return;
    }
    text_buffer_reset(&exchange->text, S3_DOCUMENT_BYTES_MAX + S3_TARGET_BYTES_MAX * 6);
    s3_error_write(&exchange->text, error, exchange->request.path, exchange->request_id);
    if (exchange->text.failed) { /* No memory: the status line has to do. */
        s3_answer_empty(exchange, s3_error_http_status(error));
        return;
    }
    s3_answer_header(exchange, "Content-Type", "application/xml");
    answer_with(exchange, s3_error_http_status(error), S3_BODY_TEXT, exchange->text.used);
}

void s3_answer_status(struct s3_exchange *exchange, enum status status)
{
    s3_answer_error(exchange, s3_error_from_status(status));
}

/* ---- calls ------------------------------------------------------------------------------------- */

static void call_finished(struct rpc_call *call)
{
    struct s3_exchange *exchange = CONTAINER_OF(call, struct s3_exchange, call);
    exchange->call_active = false;
    if (exchange->ended) {
        exchange->transport->released(exchange);
        return;
    }
    enum status status = call->status;
    if (status == STATUS_OK && call->reply == NULL) {
        status = STATUS_CORRUPT;
    }
    exchange->call_done(exchange, status, status == STATUS_OK ? call->reply : NULL);
}

/* Twice the same: a change carried out twice may undo what another client did in between. */
static bool is_read(uint16_t type)
{
    return type == TRILITH__MESSAGE_TYPE__BUCKET_GET || type == TRILITH__MESSAGE_TYPE__BUCKET_LIST ||
           type == TRILITH__MESSAGE_TYPE__OBJECT_LIST;
}

void s3_call(struct s3_exchange *exchange, uint16_t type, const ProtobufCMessage *request,
             void (*done)(struct s3_exchange *exchange, enum status status, const ProtobufCMessage *reply))
{
    CHECK(!exchange->call_active);
    struct gateway *gateway = exchange->service->gateway;
    memset(&exchange->call, 0, sizeof(exchange->call));
    exchange->call.type = type;
    exchange->call.deadline_ns = gateway_meta_deadline_ns(gateway);
    exchange->call.may_repeat = is_read(type);
    exchange->call.done = call_finished;
    exchange->call_done = done;
    exchange->call_active = true;
    rpc_call_start(gateway_meta(gateway), &exchange->call, request);
}

/* ---- checking ---------------------------------------------------------------------------------- */

/* What the method, the role and the headers allow. */
static enum s3_error authorize(struct s3_exchange *exchange)
{
    const struct s3_request *request = &exchange->request;
    const struct s3_route *route;
    enum s3_error error = s3_route_find(request, &route);
    if (error != S3_NONE) {
        return error;
    }
    exchange->route = route;
    if (exchange->caller.role < route->role) {
        return S3_ACCESS_DENIED;
    }
    error = s3_headers_check(request);
    if (error != S3_NONE || route->operation->body == S3_TAKES_NOTHING) {
        return error;
    }
    if (!request->has_content_length && (request->is_chunked || route->operation->body == S3_TAKES_OBJECT)) {
        return S3_MISSING_CONTENT_LENGTH;
    }
    if (route->operation->body == S3_TAKES_DOCUMENT && request->content_bytes > S3_DOCUMENT_BYTES_MAX) {
        return S3_MESSAGE_TOO_LARGE;
    }
    if (request->content_bytes > S3_OBJECT_BYTES_MAX) {
        return S3_ENTITY_TOO_LARGE;
    }
    return body_check_begin(&exchange->check, request);
}

static void credential_found(struct credential_lookup *lookup, enum status status, const struct credential *credential)
{
    struct s3_exchange *exchange = CONTAINER_OF(lookup, struct s3_exchange, lookup);
    exchange->lookup_active = false;
    if (status != STATUS_OK) {
        s3_answer_error(exchange, status == STATUS_NOT_FOUND ? S3_INVALID_ACCESS_KEY_ID : s3_error_from_status(status));
        return;
    }
    enum s3_error error =
        s3_authentication_verify(&exchange->authentication, &exchange->request, credential->secret_key);
    if (error != S3_NONE) {
        s3_answer_error(exchange, error);
        return;
    }
    exchange->caller.tenant_id = credential->tenant_id;
    exchange->caller.role = credential->role;
    memcpy(exchange->caller.tenant_name, credential->tenant_name, sizeof(exchange->caller.tenant_name));
    error = authorize(exchange);
    if (error != S3_NONE) {
        s3_answer_error(exchange, error);
        return;
    }
    if (exchange->route->operation->body == S3_TAKES_NOTHING) {
        exchange->stage = S3_FINISHING;
    }
    exchange->route->operation->start(exchange);
}

static void draw_request_id(struct s3_exchange *exchange)
{
    uint8_t bytes[(S3_REQUEST_ID_BYTES - 1) / 2];
    loop_random(s3_exchange_loop(exchange), bytes, sizeof(bytes));
    hex_encode(bytes, sizeof(bytes), exchange->request_id);
    for (char *c = exchange->request_id; *c != '\0'; c++) {
        *c = (char)(*c >= 'a' ? *c - 'a' + 'A' : *c);
    }
}

void s3_exchange_begin(struct s3_exchange *exchange)
{
    CHECK(exchange->stage == S3_IDLE);
    struct s3_request *request = &exchange->request;
    struct loop *loop = s3_exchange_loop(exchange);
    exchange->stage = S3_CHECKING;
    exchange->started_ns = loop_now_ns(loop);
    draw_request_id(exchange);
    s3_request_resolve(request, exchange->service->domain);
    enum s3_error error = request->error;
    if (error == S3_NONE) {
        error = s3_authentication_read(request, loop_wall_ms(loop), &exchange->authentication);
    }
    if (error == S3_NONE && !text_span_copy(exchange->authentication.claim.access_key, exchange->lookup.access_key,
                                            sizeof(exchange->lookup.access_key))) {
        error = S3_INVALID_ACCESS_KEY_ID;
    }
    if (error != S3_NONE) {
        s3_answer_error(exchange, error);
        return;
    }
    exchange->lookup_active = true;
    exchange->lookup.done = credential_found;
    gateway_credential(exchange->service->gateway, &exchange->lookup);
}

/* ---- bodies ------------------------------------------------------------------------------------ */

void s3_receive(struct s3_exchange *exchange)
{
    CHECK(exchange->stage == S3_CHECKING);
    CHECK(exchange->route->operation->body != S3_TAKES_NOTHING);
    text_buffer_reset(&exchange->text, S3_DOCUMENT_BYTES_MAX);
    exchange->stage = S3_RECEIVING;
    exchange->transport->wake(exchange);
}

size_t s3_exchange_write(struct s3_exchange *exchange, const void *data, size_t bytes)
{
    if (exchange->stage != S3_RECEIVING) {
        CHECK(exchange->stage == S3_ANSWERED);
        return bytes;
    }
    uint64_t left = exchange->request.content_bytes - exchange->received_bytes;
    size_t offered = bytes < left ? bytes : (size_t)left;
    size_t taken = offered;
    if (exchange->route->operation->body == S3_TAKES_DOCUMENT) {
        text_buffer_append(&exchange->text, data, offered);
    } else if (offered > 0) {
        taken = exchange->route->operation->write(exchange, data, offered);
    }
    exchange->received_bytes += taken;
    if (exchange->stage == S3_RECEIVING) {
        body_check_update(&exchange->check, data, taken);
    }
    /* Bytes beyond the announced length are no part of the body. */
    return taken == offered ? bytes : taken;
}

void s3_exchange_body_end(struct s3_exchange *exchange)
{
    if (exchange->stage != S3_RECEIVING) {
        CHECK(exchange->stage == S3_ANSWERED);
        return;
    }
    if (exchange->received_bytes != exchange->request.content_bytes) {
        s3_answer_error(exchange, S3_INCOMPLETE_BODY);
        return;
    }
    enum s3_error error = body_check_end(&exchange->check);
    if (error != S3_NONE) {
        s3_answer_error(exchange, error);
        return;
    }
    exchange->stage = S3_FINISHING;
    exchange->route->operation->finish(exchange);
}

enum status s3_exchange_read(struct s3_exchange *exchange, void *buffer, size_t capacity, size_t *taken)
{
    CHECK(exchange->stage == S3_ANSWERED);
    CHECK(exchange->answer.body != S3_BODY_NONE);
    if (exchange->sent_bytes < exchange->text.used) {
        size_t left = exchange->text.used - (size_t)exchange->sent_bytes;
        size_t bytes = left < capacity ? left : capacity;
        memcpy(buffer, exchange->text.data + exchange->sent_bytes, bytes);
        exchange->sent_bytes += bytes;
        *taken = bytes;
        return STATUS_OK;
    }
    if (exchange->answer.body == S3_BODY_TEXT || exchange->get == NULL) {
        return STATUS_CLOSED;
    }
    size_t bytes;
    enum status status = object_get_read(exchange->get, buffer, capacity, &bytes);
    if (status == STATUS_OK) {
        exchange->sent_bytes += bytes;
        *taken = bytes;
    } else if (status != STATUS_CLOSED) {
        log_event(LOG_ERROR, "s3_read_broken", "request=%s reason=%s", exchange->request_id, status_name(status));
    }
    return status;
}
