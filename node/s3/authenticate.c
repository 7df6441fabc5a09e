/* authenticate.c - see authenticate.h. */
#include "node/s3/authenticate.h"

#include <string.h>
#include <strings.h>

/* The time of the request: x-amz-date, or the Date header when that is missing. */
static bool read_header_time(const struct s3_request *request, uint64_t *signed_ms)
{
    struct text_span value;
    if (s3_request_header(request, "x-amz-date", &value)) {
        return date_from_amz(value, signed_ms);
    }
    return s3_request_header(request, "date", &value) &&
           (date_from_http(value, signed_ms) || date_from_amz(value, signed_ms));
}

static bool is_skewed(uint64_t signed_ms, uint64_t wall_ms)
{
    uint64_t apart = signed_ms > wall_ms ? signed_ms - wall_ms : wall_ms - signed_ms;
    return apart > SIGV4_SKEW_MS_MAX;
}

static enum s3_error check_coverage(const struct s3_request *request, const struct sigv4_claim *claim)
{
    if (!sigv4_claim_signs(claim, text_span_of("host"))) {
        return S3_HEADERS_NOT_SIGNED;
    }
    for (size_t i = 0; i < request->header_count; i++) {
        struct text_span name = request->headers[i].name;
        bool is_amz = name.bytes >= 6 && strncasecmp(name.data, "x-amz-", 6) == 0;
        if (is_amz && !sigv4_claim_signs(claim, name)) {
            return S3_HEADERS_NOT_SIGNED;
        }
    }
    return S3_NONE;
}

static enum s3_error read_from_header(const struct s3_request *request, struct text_span authorization,
                                      uint64_t wall_ms, struct s3_authentication *authentication)
{
    uint64_t signed_ms;
    if (text_span_starts_with(authorization, "AWS ")) {
        return S3_OLD_SIGNATURE;
    }
    if (sigv4_claim_from_header(authorization, &authentication->claim) != STATUS_OK) {
        return S3_AUTHORIZATION_HEADER_MALFORMED;
    }
    if (!read_header_time(request, &signed_ms)) {
        return S3_ACCESS_DENIED;
    }
    if (is_skewed(signed_ms, wall_ms)) {
        return S3_REQUEST_TIME_TOO_SKEWED;
    }
    if (!s3_request_header(request, "x-amz-content-sha256", &authentication->payload_hash)) {
        return S3_MISSING_CONTENT_SHA256;
    }
    date_to_amz(signed_ms, authentication->timestamp);
    return S3_NONE;
}

static enum s3_error read_from_query(const struct s3_request *request, uint64_t wall_ms,
                                     struct s3_authentication *authentication)
{
    struct text_span algorithm, credential, date, expires, signed_headers, signature;
    uint64_t signed_ms;
    uint64_t expires_s;
    if (!s3_request_parameter(request, "X-Amz-Algorithm", &algorithm) ||
        !text_span_equals(algorithm, "AWS4-HMAC-SHA256") ||
        !s3_request_parameter(request, "X-Amz-Credential", &credential) ||
        !s3_request_parameter(request, "X-Amz-Date", &date) ||
        !s3_request_parameter(request, "X-Amz-Expires", &expires) ||
        !s3_request_parameter(request, "X-Amz-SignedHeaders", &signed_headers) ||
        !s3_request_parameter(request, "X-Amz-Signature", &signature) || !date_from_amz(date, &signed_ms) ||
        !text_span_to_number(expires, &expires_s) || expires_s < 1 || expires_s > SIGV4_EXPIRES_S_MAX ||
        sigv4_claim_from_parts(credential, signed_headers, signature, &authentication->claim) != STATUS_OK) {
        return S3_AUTHORIZATION_QUERY_MALFORMED;
    }
    if (signed_ms > wall_ms + SIGV4_SKEW_MS_MAX) {
        return S3_REQUEST_TIME_TOO_SKEWED;
    }
    if (wall_ms > signed_ms + expires_s * 1000) {
        return S3_EXPIRED;
    }
    if (!s3_request_header(request, "x-amz-content-sha256", &authentication->payload_hash)) {
        authentication->payload_hash = text_span_of(SIGV4_UNSIGNED_PAYLOAD);
    }
    date_to_amz(signed_ms, authentication->timestamp);
    return S3_NONE;
}

enum s3_error s3_authentication_read(const struct s3_request *request, uint64_t wall_ms,
                                     struct s3_authentication *authentication)
{
    struct text_span value;
    enum s3_error error;
    bool in_query = s3_request_parameter(request, "X-Amz-Signature", &value) ||
                    s3_request_parameter(request, "X-Amz-Algorithm", &value);
    if (s3_request_header(request, "authorization", &value)) {
        error = in_query ? S3_INVALID_ARGUMENT : read_from_header(request, value, wall_ms, authentication);
    } else if (in_query) {
        error = read_from_query(request, wall_ms, authentication);
    } else {
        /* A signature of version 2 in the query is told apart, because some SDKs still presign that way by default. */
        error = s3_request_parameter(request, "AWSAccessKeyId", &value) ? S3_OLD_SIGNATURE : S3_ACCESS_DENIED;
    }
    if (error != S3_NONE) {
        return error;
    }
    struct sigv4_claim *claim = &authentication->claim;
    claim->timestamp = text_span_of(authentication->timestamp);
    if (memcmp(claim->date.data, authentication->timestamp, 8) != 0 || !text_span_equals(claim->service, "s3")) {
        return in_query ? S3_AUTHORIZATION_QUERY_MALFORMED : S3_AUTHORIZATION_HEADER_MALFORMED;
    }
    /* There are no temporary credentials yet, so no token can be right. */
    if (s3_request_header(request, "x-amz-security-token", &value) ||
        s3_request_parameter(request, "X-Amz-Security-Token", &value)) {
        return S3_INVALID_TOKEN;
    }
    return check_coverage(request, claim);
}

enum s3_error s3_authentication_verify(const struct s3_authentication *authentication, const struct s3_request *request,
                                       const char *secret_key)
{
    struct sigv4_request signed_request = {.method = text_span_of(request->method_text),
                                           .path = request->path,
                                           .query = request->query,
                                           .headers = request->headers,
                                           .header_count = request->header_count,
                                           .payload_hash = authentication->payload_hash};
    switch (sigv4_verify(&signed_request, &authentication->claim, secret_key)) {
    case STATUS_OK:
        return S3_NONE;
    case STATUS_TOO_LARGE:
        return S3_INVALID_ARGUMENT;
    default:
        return S3_SIGNATURE_DOES_NOT_MATCH;
    }
}
