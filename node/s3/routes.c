/* routes.c - see routes.h. A new operation is one row here and one struct s3_operation. */
#include "node/s3/routes.h"

static const struct s3_route routes[] = {
    {S3_GET, S3_SERVICE, NULL, {"max-buckets", "continuation-token", "prefix"}, ROLE_VIEWER, &s3_list_buckets},

    {S3_PUT, S3_BUCKET, NULL, {NULL}, ROLE_OWNER, &s3_create_bucket},
    {S3_HEAD, S3_BUCKET, NULL, {NULL}, ROLE_VIEWER, &s3_head_bucket},
    {S3_DELETE, S3_BUCKET, NULL, {NULL}, ROLE_OWNER, &s3_delete_bucket},
    {S3_GET, S3_BUCKET, "location", {NULL}, ROLE_VIEWER, &s3_get_bucket_location},
    {S3_GET,
     S3_BUCKET,
     "list-type",
     {"prefix", "delimiter", "max-keys", "start-after", "continuation-token", "encoding-type", "fetch-owner"},
     ROLE_VIEWER,
     &s3_list_objects},
    {S3_GET,
     S3_BUCKET,
     NULL,
     {"prefix", "delimiter", "max-keys", "marker", "encoding-type"},
     ROLE_VIEWER,
     &s3_list_objects},

    {S3_PUT, S3_OBJECT, NULL, {NULL}, ROLE_EDITOR, &s3_put_object},
    {S3_GET,
     S3_OBJECT,
     NULL,
     {"response-content-type", "response-content-language", "response-expires", "response-cache-control",
      "response-content-disposition", "response-content-encoding"},
     ROLE_VIEWER,
     &s3_get_object},
    {S3_HEAD, S3_OBJECT, NULL, {NULL}, ROLE_VIEWER, &s3_head_object},
    {S3_DELETE, S3_OBJECT, NULL, {NULL}, ROLE_EDITOR, &s3_delete_object},
};

/* Parameters that say nothing about the operation: the SDK's label, the signature, and the checksum of an empty body
 * that some SDKs leave in presigned URLs. */
static const char *const neutral[] = {
    "x-id",
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-Content-Sha256",
    "x-amz-checksum-crc32",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-user-agent",
};

static bool is_neutral(struct text_span name)
{
    for (size_t i = 0; i < ARRAY_LENGTH(neutral); i++) {
        if (text_span_equals(name, neutral[i])) {
            return true;
        }
    }
    return false;
}

static bool route_understands(const struct s3_route *route, struct text_span name)
{
    if (is_neutral(name) || (route->subresource != NULL && text_span_equals(name, route->subresource))) {
        return true;
    }
    for (size_t i = 0; i < S3_ROUTE_PARAMETERS_MAX && route->parameters[i] != NULL; i++) {
        if (text_span_equals(name, route->parameters[i])) {
            return true;
        }
    }
    return false;
}

static bool route_matches(const struct s3_route *route, const struct s3_request *request)
{
    struct text_span value;
    if (route->method != request->method || route->level != request->level ||
        (route->subresource != NULL && !s3_request_parameter(request, route->subresource, &value))) {
        return false;
    }
    for (size_t i = 0; i < request->parameter_count; i++) {
        if (!route_understands(route, request->parameters[i].name)) {
            return false;
        }
    }
    return true;
}

enum s3_error s3_route_find(const struct s3_request *request, const struct s3_route **route)
{
    for (size_t i = 0; i < ARRAY_LENGTH(routes); i++) {
        if (route_matches(&routes[i], request)) {
            *route = &routes[i];
            return S3_NONE;
        }
    }
    /* S3 knows every method but these on every level; that we do not serve them yet is another matter. */
    bool unknown = request->method == S3_OTHER_METHOD || (request->level == S3_SERVICE && request->method != S3_GET);
    return unknown ? S3_METHOD_NOT_ALLOWED : S3_NOT_IMPLEMENTED;
}
