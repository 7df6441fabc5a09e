/* request.c - see request.h. */
#include "node/s3/request.h"

#include <string.h>
#include <strings.h>

void s3_request_init(struct s3_request *request)
{
    /* The two big buffers are written before they are read; clearing them for every request would be a waste. */
    request->error = S3_NONE;
    request->method = S3_OTHER_METHOD;
    request->method_text[0] = '\0';
    request->path = (struct text_span){.data = request->target, .bytes = 0};
    request->query = request->path;
    request->header_count = 0;
    request->level = S3_SERVICE;
    request->bucket[0] = '\0';
    request->key = (struct text_span){.data = request->decoded, .bytes = 0};
    request->parameter_count = 0;
    request->framing_known = false;
    request->has_content_length = false;
    request->is_chunked = false;
    request->content_bytes = 0;
    request->decoded_bytes = 0;
}

static void refuse(struct s3_request *request, enum s3_error error)
{
    if (request->error == S3_NONE) {
        request->error = error;
    }
}

static enum s3_method method_from_text(const char *text)
{
    static const char *const names[] = {
        [S3_GET] = "GET", [S3_HEAD] = "HEAD", [S3_PUT] = "PUT", [S3_POST] = "POST", [S3_DELETE] = "DELETE"};
    for (unsigned method = 0; method < ARRAY_LENGTH(names); method++) {
        if (strcmp(text, names[method]) == 0) {
            return (enum s3_method)method;
        }
    }
    return S3_OTHER_METHOD;
}

void s3_request_set_method(struct s3_request *request, struct text_span method)
{
    if (text_span_copy(method, request->method_text, sizeof(request->method_text))) {
        request->method = method_from_text(request->method_text);
    } else {
        request->method = S3_OTHER_METHOD;
        request->method_text[0] = '\0';
    }
}

void s3_request_set_target(struct s3_request *request, struct text_span target)
{
    if (target.bytes > sizeof(request->target)) {
        refuse(request, S3_REQUEST_URI_TOO_LONG);
        return;
    }
    if (target.bytes == 0 || target.data[0] != '/') {
        refuse(request, S3_INVALID_URI);
        return;
    }
    memcpy(request->target, target.data, target.bytes);
    struct text_span rest = {.data = request->target, .bytes = target.bytes};
    request->path = text_span_cut(&rest, '?');
    request->query = rest;
}

void s3_request_add_header(struct s3_request *request, struct text_span name, struct text_span value)
{
    if (request->header_count == S3_HEADERS_MAX) {
        refuse(request, S3_REQUEST_HEADER_TOO_LARGE);
        return;
    }
    request->headers[request->header_count++] = (struct sigv4_field){.name = name, .value = text_span_trim(value)};
}

bool s3_request_header(const struct s3_request *request, const char *name, struct text_span *value)
{
    for (size_t i = 0; i < request->header_count; i++) {
        if (text_span_equals_ignoring_case(request->headers[i].name, name)) {
            *value = request->headers[i].value;
            return true;
        }
    }
    return false;
}

bool s3_request_parameter(const struct s3_request *request, const char *name, struct text_span *value)
{
    for (size_t i = 0; i < request->parameter_count; i++) {
        if (text_span_equals(request->parameters[i].name, name)) {
            *value = request->parameters[i].value;
            return true;
        }
    }
    return false;
}

/* ---- names ------------------------------------------------------------------------------------- */

static bool is_lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Four groups of digits: such a name would be an address in virtual-host style. */
static bool looks_like_ipv4(struct text_span name)
{
    unsigned groups = 0;
    while (name.bytes > 0) {
        uint64_t number;
        if (!text_span_to_number(text_span_cut(&name, '.'), &number)) {
            return false;
        }
        groups++;
    }
    return groups == 4;
}

static bool text_span_ends_with(struct text_span span, const char *text)
{
    size_t bytes = strlen(text);
    return span.bytes >= bytes && memcmp(span.data + span.bytes - bytes, text, bytes) == 0;
}

bool s3_bucket_name_is_valid(struct text_span name)
{
    if (name.bytes < S3_BUCKET_BYTES_MIN || name.bytes > S3_BUCKET_BYTES_MAX || !is_lower_or_digit(name.data[0]) ||
        !is_lower_or_digit(name.data[name.bytes - 1])) {
        return false;
    }
    for (size_t i = 0; i < name.bytes; i++) {
        char c = name.data[i];
        if (!is_lower_or_digit(c) && c != '-' && c != '.') {
            return false;
        }
        if (c == '.' && !is_lower_or_digit(name.data[i + 1])) {
            return false; /* The last byte is no '.', so there is a next one. */
        }
        if (c == '-' && name.data[i + 1] == '.') {
            return false;
        }
    }
    return !looks_like_ipv4(name) && !text_span_starts_with(name, "xn--") && !text_span_starts_with(name, "sthree-") &&
           !text_span_ends_with(name, "-s3alias") && !text_span_ends_with(name, "--ol-s3");
}

/* ---- resolve ----------------------------------------------------------------------------------- */

/* Decode into the request's store. All decoded text together is no longer than the target. */
static bool decode(struct s3_request *request, struct text_span text, enum uri_part part, struct text_span *decoded)
{
    char *room = request->decoded + request->decoded_bytes;
    size_t bytes;
    if (!uri_decode(text, part, room, sizeof(request->decoded) - request->decoded_bytes, &bytes)) {
        return false;
    }
    request->decoded_bytes += bytes;
    *decoded = (struct text_span){.data = room, .bytes = bytes};
    return true;
}

/* The bucket in "bucket.domain" or "bucket.domain:port"; false: the host is something else. */
static bool bucket_from_host(struct text_span host, const char *domain, struct text_span *bucket)
{
    if (domain == NULL || domain[0] == '\0') {
        return false;
    }
    struct text_span name = text_span_cut(&host, ':');
    size_t domain_bytes = strlen(domain);
    if (name.bytes < domain_bytes + 2 || name.data[name.bytes - domain_bytes - 1] != '.' ||
        strncasecmp(name.data + name.bytes - domain_bytes, domain, domain_bytes) != 0) {
        return false;
    }
    *bucket = (struct text_span){.data = name.data, .bytes = name.bytes - domain_bytes - 1};
    return true;
}

static void set_bucket(struct s3_request *request, struct text_span name)
{
    if (!s3_bucket_name_is_valid(name) || !text_span_copy(name, request->bucket, sizeof(request->bucket))) {
        refuse(request, S3_INVALID_BUCKET_NAME);
        return;
    }
    request->level = S3_BUCKET;
}

static void set_key(struct s3_request *request, struct text_span coded)
{
    struct text_span key;
    if (coded.bytes == 0) {
        return;
    }
    if (!decode(request, coded, URI_PATH, &key) || !utf8_is_valid(key.data, key.bytes)) {
        refuse(request, S3_INVALID_URI);
        return;
    }
    if (key.bytes > S3_KEY_BYTES_MAX) {
        refuse(request, S3_KEY_TOO_LONG);
        return;
    }
    request->key = key;
    request->level = S3_OBJECT;
}

static void resolve_path(struct s3_request *request, const char *domain)
{
    struct text_span rest = request->path;
    if (rest.bytes == 0) {
        return;
    }
    rest.data++; /* The slash that s3_request_set_target() asked for. */
    rest.bytes--;
    struct text_span host;
    struct text_span bucket;
    if (s3_request_header(request, "host", &host) && bucket_from_host(host, domain, &bucket)) {
        set_bucket(request, bucket);
        set_key(request, rest);
        return;
    }
    struct text_span coded = text_span_cut(&rest, '/');
    if (coded.bytes == 0) {
        if (rest.bytes > 0) {
            refuse(request, S3_INVALID_BUCKET_NAME);
        }
        return;
    }
    if (!decode(request, coded, URI_PATH, &bucket)) {
        refuse(request, S3_INVALID_URI);
        return;
    }
    set_bucket(request, bucket);
    set_key(request, rest);
}

static void resolve_query(struct s3_request *request)
{
    struct text_span rest = request->query;
    struct sigv4_field coded;
    while (uri_query_next(&rest, &coded.name, &coded.value)) {
        if (request->parameter_count == S3_PARAMETERS_MAX) {
            refuse(request, S3_INVALID_ARGUMENT);
            return;
        }
        struct sigv4_field *parameter = &request->parameters[request->parameter_count];
        if (!decode(request, coded.name, URI_QUERY, &parameter->name) ||
            !decode(request, coded.value, URI_QUERY, &parameter->value)) {
            refuse(request, S3_INVALID_URI);
            return;
        }
        request->parameter_count++;
    }
}

/* Two Content-Length headers, or one beside Transfer-Encoding, are how requests are smuggled: refused. */
static void resolve_framing(struct s3_request *request)
{
    for (size_t i = 0; i < request->header_count; i++) {
        const struct sigv4_field *header = &request->headers[i];
        if (text_span_equals_ignoring_case(header->name, "transfer-encoding")) {
            request->is_chunked = true;
        } else if (text_span_equals_ignoring_case(header->name, "content-length")) {
            uint64_t bytes;
            if (request->has_content_length || !text_span_to_number(header->value, &bytes)) {
                refuse(request, S3_INVALID_REQUEST);
                return;
            }
            request->has_content_length = true;
            request->content_bytes = bytes;
        }
    }
    if (request->is_chunked && request->has_content_length) {
        refuse(request, S3_INVALID_REQUEST);
        return;
    }
    request->framing_known = true;
}

void s3_request_resolve(struct s3_request *request, const char *domain)
{
    if (request->error != S3_NONE) {
        return;
    }
    resolve_framing(request);
    resolve_query(request);
    resolve_path(request, domain);
}
