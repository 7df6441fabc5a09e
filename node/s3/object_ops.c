/* object_ops.c - operations on an object: put, get, head, delete. */
#include "node/s3/object_headers.h"
#include "node/s3/preconditions.h"
#include "node/s3/range.h"
#include "node/s3/routes.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- put --------------------------------------------------------------------------------------
 *
 *   start ── bucket asked ── object_put_start ──> S3_RECEIVING ──> finish ──> object_put_finish ──> 200
 *
 * The body is let in only when the bucket is known and the put is admitted. */

static void put_done(void *user, enum status status, const struct object_put_result *result)
{
    struct s3_exchange *exchange = user;
    exchange->put = NULL;
    switch (status) {
    case STATUS_OK:
        s3_answer_etag(exchange, result->etag);
        if (result->erasure_id != 0) {
            s3_answer_header_number(exchange, "x-trilith-erasure", result->erasure_id);
        }
        s3_answer_empty(exchange, 200);
        return;
    case STATUS_EXISTS:
        s3_answer_error(exchange, S3_PRECONDITION_FAILED);
        return;
    case STATUS_NOT_FOUND:
        s3_answer_error(exchange, S3_NO_SUCH_BUCKET);
        return;
    case STATUS_UNSUPPORTED:
        s3_answer_error(exchange, S3_SUITE_NOT_BUILT);
        return;
    default:
        s3_answer_status(exchange, status);
    }
}

static void put_writable(void *user)
{
    struct s3_exchange *exchange = user;
    exchange->transport->wake(exchange);
}

static void put_bucket_found(struct s3_exchange *exchange, enum status status, const ProtobufCMessage *message)
{
    if (status != STATUS_OK) {
        s3_answer_error(exchange, status == STATUS_NOT_FOUND ? S3_NO_SUCH_BUCKET : s3_error_from_status(status));
        return;
    }
    const Trilith__BucketReply *reply = (const Trilith__BucketReply *)message;
    if (reply->bucket == NULL) {
        s3_answer_status(exchange, STATUS_CORRUPT);
        return;
    }
    const struct s3_request *request = &exchange->request;
    struct text_span value;
    struct object_put_request put = {.tenant_id = exchange->caller.tenant_id,
                                     .bucket_id = reply->bucket->id,
                                     .degraded_writes = reply->bucket->degraded_writes,
                                     .suite = (enum suite)reply->bucket->suite,
                                     .dek_version = reply->bucket->dek_version,
                                     .if_none_match = s3_request_header(request, "if-none-match", &value),
                                     .key = (const uint8_t *)request->key.data,
                                     .key_bytes = request->key.bytes,
                                     .size = request->content_bytes,
                                     .meta = &exchange->meta,
                                     .requested_by = exchange->lookup.access_key,
                                     .user = exchange,
                                     .writable = put_writable,
                                     .done = put_done};
    exchange->put = object_put_start(exchange->service->gateway, &put);
    if (exchange->put == NULL) {
        s3_answer_error(exchange, S3_SLOW_DOWN);
        return;
    }
    s3_receive(exchange);
}

/* Conditions on a write: only "create, never replace" is served. */
static enum s3_error check_write_conditions(const struct s3_request *request)
{
    struct text_span value;
    if (s3_request_header(request, "if-none-match", &value) && !text_span_equals(value, "*")) {
        return S3_NOT_IMPLEMENTED;
    }
    bool other = s3_request_header(request, "if-match", &value) ||
                 s3_request_header(request, "if-modified-since", &value) ||
                 s3_request_header(request, "if-unmodified-since", &value);
    return other ? S3_NOT_IMPLEMENTED : S3_NONE;
}

static void put_object_start(struct s3_exchange *exchange)
{
    enum s3_error error = check_write_conditions(&exchange->request);
    if (error == S3_NONE) {
        error = s3_headers_to_meta(&exchange->request, &exchange->meta);
    }
    if (error != S3_NONE) {
        s3_answer_error(exchange, error);
        return;
    }
    Trilith__BucketGetRequest request;
    trilith__bucket_get_request__init(&request);
    request.tenant_id = exchange->caller.tenant_id;
    request.name = exchange->request.bucket;
    s3_call(exchange, TRILITH__MESSAGE_TYPE__BUCKET_GET, &request.base, put_bucket_found);
}

static size_t put_object_write(struct s3_exchange *exchange, const void *data, size_t bytes)
{
    return object_put_write(exchange->put, data, bytes);
}

static void put_object_finish(struct s3_exchange *exchange)
{
    object_put_finish(exchange->put);
}

const struct s3_operation s3_put_object = {.name = "PutObject",
                                           .body = S3_TAKES_OBJECT,
                                           .start = put_object_start,
                                           .write = put_object_write,
                                           .finish = put_object_finish};

/* ---- get and head -----------------------------------------------------------------------------
 *
 * The answer to a get begins only when its first bytes are here and verified: an object whose copies are all damaged or
 * out of reach gets an error with a status, not a broken connection. Small objects are read whole before the answer. */

/* How a stored header is written; x-amz-meta-* stay as they are. */
static const char *header_name(const char *name, size_t bytes)
{
    static const char *const known[] = {"Content-Type",     "Cache-Control",    "Content-Disposition",
                                        "Content-Encoding", "Content-Language", "Expires"};
    struct text_span span = {.data = name, .bytes = bytes};
    for (size_t i = 0; i < ARRAY_LENGTH(known); i++) {
        if (text_span_equals_ignoring_case(span, known[i])) {
            return known[i];
        }
    }
    return NULL;
}

/* The value of a response-* parameter that replaces `name`. Header values have no control characters. */
static bool override_of(const struct s3_request *request, const char *name, struct text_span *value)
{
    char parameter[64];
    (void)snprintf(parameter, sizeof(parameter), "response-%s", name);
    for (char *c = parameter; *c != '\0'; c++) {
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
    }
    return s3_request_parameter(request, parameter, value);
}

static bool overrides_are_clean(const struct s3_request *request)
{
    for (size_t i = 0; i < request->parameter_count; i++) {
        if (!text_span_starts_with(request->parameters[i].name, "response-")) {
            continue;
        }
        struct text_span value = request->parameters[i].value;
        for (size_t j = 0; j < value.bytes; j++) {
            if ((unsigned char)value.data[j] < 0x20 || value.data[j] == 0x7f) {
                return false;
            }
        }
    }
    return true;
}

static void add_override_headers(struct s3_exchange *exchange)
{
    static const char *const names[] = {"Content-Type",     "Cache-Control",    "Content-Disposition",
                                        "Content-Encoding", "Content-Language", "Expires"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        struct text_span value;
        if (override_of(&exchange->request, names[i], &value)) {
            s3_answer_header_span(exchange, names[i], strlen(names[i]), value.data, value.bytes);
        }
    }
}

static void add_stored_headers(struct s3_exchange *exchange, const struct object_meta *meta)
{
    size_t cursor = 0;
    const char *name;
    const char *value;
    size_t name_bytes;
    size_t value_bytes;
    bool has_type = false;
    struct text_span replaced;
    while (object_meta_next(meta, &cursor, &name, &name_bytes, &value, &value_bytes)) {
        const char *known = header_name(name, name_bytes);
        if (known == NULL) {
            s3_answer_header_span(exchange, name, name_bytes, value, value_bytes);
            continue;
        }
        has_type = has_type || strcmp(known, "Content-Type") == 0;
        if (!override_of(&exchange->request, known, &replaced)) {
            s3_answer_header_span(exchange, known, strlen(known), value, value_bytes);
        }
    }
    if (!has_type && !override_of(&exchange->request, "Content-Type", &replaced)) {
        s3_answer_header(exchange, "Content-Type", "binary/octet-stream");
    }
}

static void add_object_headers(struct s3_exchange *exchange, const struct object_info *info)
{
    char modified[DATE_HTTP_BYTES];
    date_to_http(info->modified_ms, modified);
    s3_answer_etag(exchange, info->etag);
    s3_answer_header(exchange, "Last-Modified", modified);
    s3_answer_header(exchange, "Accept-Ranges", "bytes");
}

/* Which bytes to send: sets range_first, range_bytes and success_status. False: answered with an error. */
static bool choose_range(struct s3_exchange *exchange, const struct object_info *info)
{
    struct text_span range;
    char content_range[80];
    exchange->range_first = 0;
    exchange->range_bytes = info->size;
    exchange->success_status = 200;
    if (!s3_request_header(&exchange->request, "range", &range) ||
        !preconditions_allow_range(&exchange->request, info->etag, info->modified_ms)) {
        return true;
    }
    switch (range_resolve(range, info->size, &exchange->range_first, &exchange->range_bytes)) {
    case RANGE_WHOLE:
        return true;
    case RANGE_UNSATISFIABLE:
        s3_answer_error(exchange, S3_INVALID_RANGE);
        return false;
    case RANGE_PART:
        exchange->success_status = 206;
        (void)snprintf(content_range, sizeof(content_range), "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64,
                       exchange->range_first, exchange->range_first + exchange->range_bytes - 1, info->size);
        s3_answer_header(exchange, "Content-Range", content_range);
        return true;
    }
    UNREACHABLE();
}

/* Gather the first piece; answer when it is whole, or when it can't be had. */
static void gather_first_piece(struct s3_exchange *exchange)
{
    struct text_buffer *text = &exchange->text;
    while (text->used < exchange->first_piece_bytes) {
        size_t wanted = (size_t)exchange->first_piece_bytes - text->used;
        size_t taken = 0;
        void *room = text_buffer_room(text, wanted);
        if (room == NULL) {
            s3_answer_status(exchange, STATUS_BUSY);
            return;
        }
        enum status status = object_get_read(exchange->get, room, wanted, &taken);
        if (status != STATUS_OK) {
            s3_answer_status(exchange, status == STATUS_CLOSED ? STATUS_CORRUPT : status);
            return;
        }
        if (taken == 0) {
            return; /* get_readable() goes on. */
        }
        text_buffer_advance(text, taken);
    }
    s3_answer_object(exchange, exchange->success_status, S3_BODY_OBJECT, exchange->range_bytes);
}

static void get_readable(void *user)
{
    struct s3_exchange *exchange = user;
    if (exchange->stage == S3_ANSWERED) {
        exchange->transport->wake(exchange);
    } else {
        gather_first_piece(exchange);
    }
}

static void answer_open_error(struct s3_exchange *exchange, enum status status)
{
    s3_answer_error(exchange, status == STATUS_NOT_FOUND     ? S3_NO_SUCH_KEY
                              : status == STATUS_CONFLICT    ? S3_NO_SUCH_BUCKET
                              : status == STATUS_UNSUPPORTED ? S3_SUITE_NOT_BUILT
                                                             : s3_error_from_status(status));
}

static void get_opened(void *user, enum status status, const struct object_info *info)
{
    struct s3_exchange *exchange = user;
    if (status != STATUS_OK) {
        answer_open_error(exchange, status);
        return;
    }
    switch (preconditions_evaluate(&exchange->request, info->etag, info->modified_ms)) {
    case PRECONDITION_FAILED:
        s3_answer_error(exchange, S3_PRECONDITION_FAILED);
        return;
    case PRECONDITION_NOT_MODIFIED:
        add_object_headers(exchange, info);
        s3_answer_empty(exchange, 304);
        return;
    case PRECONDITION_HOLDS:
        break;
    }
    if (!choose_range(exchange, info)) {
        return;
    }
    add_object_headers(exchange, info);
    add_stored_headers(exchange, info->meta);
    add_override_headers(exchange);
    if (exchange->request.method == S3_HEAD || exchange->range_bytes == 0) {
        s3_answer_object(exchange, exchange->success_status, S3_BODY_NONE, exchange->range_bytes);
        return;
    }
    text_buffer_reset(&exchange->text, S3_FIRST_PIECE_BYTES_MAX);
    exchange->first_piece_bytes =
        exchange->range_bytes < S3_FIRST_PIECE_BYTES_MAX ? exchange->range_bytes : S3_FIRST_PIECE_BYTES_MAX;
    object_get_range(exchange->get, exchange->range_first, exchange->range_bytes);
    gather_first_piece(exchange);
}

static void get_object_start(struct s3_exchange *exchange)
{
    const struct s3_request *request = &exchange->request;
    if (!overrides_are_clean(request)) {
        s3_answer_error(exchange, S3_INVALID_ARGUMENT);
        return;
    }
    struct object_get_request get = {.tenant_id = exchange->caller.tenant_id,
                                     .bucket = request->bucket,
                                     .key = (const uint8_t *)request->key.data,
                                     .key_bytes = request->key.bytes,
                                     .user = exchange,
                                     .opened = get_opened,
                                     .readable = get_readable};
    exchange->get = object_get_open(exchange->service->gateway, &get);
    if (exchange->get == NULL) {
        s3_answer_error(exchange, S3_SLOW_DOWN);
    }
}

const struct s3_operation s3_get_object = {.name = "GetObject", .body = S3_TAKES_NOTHING, .start = get_object_start};
const struct s3_operation s3_head_object = {.name = "HeadObject", .body = S3_TAKES_NOTHING, .start = get_object_start};

/* ---- delete ------------------------------------------------------------------------------------ */

static void object_deleted(struct s3_exchange *exchange, enum status status, const ProtobufCMessage *message)
{
    if (status != STATUS_OK) {
        s3_answer_error(exchange, status == STATUS_CONFLICT ? S3_NO_SUCH_BUCKET : s3_error_from_status(status));
        return;
    }
    /* A key that was not there is deleted as well; it just has no erasure. */
    const Trilith__ObjectDeleteReply *reply = (const Trilith__ObjectDeleteReply *)message;
    if (reply->erasure_id != 0) {
        s3_answer_header_number(exchange, "x-trilith-erasure", reply->erasure_id);
    }
    s3_answer_empty(exchange, 204);
}

static void delete_object_start(struct s3_exchange *exchange)
{
    struct text_span value;
    if (check_write_conditions(&exchange->request) != S3_NONE ||
        s3_request_header(&exchange->request, "if-none-match", &value)) {
        s3_answer_error(exchange, S3_NOT_IMPLEMENTED);
        return;
    }
    uint8_t key[S3_KEY_BYTES_MAX];
    memcpy(key, exchange->request.key.data, exchange->request.key.bytes);
    Trilith__ObjectDeleteRequest request;
    trilith__object_delete_request__init(&request);
    request.tenant_id = exchange->caller.tenant_id;
    request.bucket = exchange->request.bucket;
    request.key = (ProtobufCBinaryData){.data = key, .len = exchange->request.key.bytes};
    request.requested_by = exchange->lookup.access_key;
    s3_call(exchange, TRILITH__MESSAGE_TYPE__OBJECT_DELETE, &request.base, object_deleted);
}

const struct s3_operation s3_delete_object = {
    .name = "DeleteObject", .body = S3_TAKES_NOTHING, .start = delete_object_start};
