/* object_headers.c - see object_headers.h. */
#include "node/s3/object_headers.h"

#include <string.h>
#include <strings.h>

#define META_PREFIX "x-amz-meta-"

/* What we do with an x-amz-* header that is not user metadata. */
struct header_rule {
    const char *name;
    const char *only[3]; /* the values that mean what we do anyway; none: any value */
    enum s3_error otherwise;
};

static const struct header_rule rules[] = {
    {"x-amz-date", {NULL}, S3_NONE},
    {"x-amz-content-sha256", {NULL}, S3_NONE},
    {"x-amz-user-agent", {NULL}, S3_NONE},
    {"x-amz-api-version", {NULL}, S3_NONE},
    {"x-amz-checksum-mode", {NULL}, S3_NONE},
    {"x-amz-sdk-checksum-algorithm", {NULL}, S3_NONE}, /* Announces one of the next four, or something refused. */
    {"x-amz-checksum-crc32", {NULL}, S3_NONE},
    {"x-amz-checksum-crc32c", {NULL}, S3_NONE},
    {"x-amz-checksum-sha1", {NULL}, S3_NONE},
    {"x-amz-checksum-sha256", {NULL}, S3_NONE},
    {"x-amz-request-payer", {NULL}, S3_NONE},
    {"x-amz-acl", {"private", "bucket-owner-full-control"}, S3_NOT_IMPLEMENTED},
    {"x-amz-server-side-encryption", {"AES256"}, S3_NOT_IMPLEMENTED}, /* Everything is encrypted. */
    {"x-amz-storage-class", {"STANDARD"}, S3_INVALID_STORAGE_CLASS},
    {"x-amz-object-ownership", {"BucketOwnerEnforced"}, S3_NOT_IMPLEMENTED},
    {"x-amz-bucket-object-lock-enabled", {"false"}, S3_NOT_IMPLEMENTED},
};

/* Kept verbatim; Content-Encoding has its own rule. */
static const char *const kept[] = {"content-type", "cache-control", "content-disposition", "content-language",
                                   "expires"};

static bool has_prefix(struct text_span name, const char *prefix)
{
    size_t bytes = strlen(prefix);
    return name.bytes >= bytes && strncasecmp(name.data, prefix, bytes) == 0;
}

static enum s3_error check_header(const struct sigv4_field *header)
{
    for (size_t i = 0; i < ARRAY_LENGTH(rules); i++) {
        if (!text_span_equals_ignoring_case(header->name, rules[i].name)) {
            continue;
        }
        if (rules[i].only[0] == NULL) {
            return S3_NONE;
        }
        for (size_t j = 0; j < ARRAY_LENGTH(rules[i].only) && rules[i].only[j] != NULL; j++) {
            if (text_span_equals(header->value, rules[i].only[j])) {
                return S3_NONE;
            }
        }
        return rules[i].otherwise;
    }
    return S3_NOT_IMPLEMENTED;
}

enum s3_error s3_headers_check(const struct s3_request *request)
{
    for (size_t i = 0; i < request->header_count; i++) {
        const struct sigv4_field *header = &request->headers[i];
        if (!has_prefix(header->name, "x-amz-") || has_prefix(header->name, META_PREFIX)) {
            continue;
        }
        enum s3_error error = check_header(header);
        if (error != S3_NONE) {
            return error;
        }
    }
    return S3_NONE;
}

/* ---- what is kept ------------------------------------------------------------------------------ */

static enum s3_error add_field(struct object_meta *meta, struct text_span name, struct text_span value)
{
    char name_text[256];
    char value_text[OBJECT_META_BYTES_MAX];
    if (!text_span_copy(name, name_text, sizeof(name_text)) || !text_span_copy(value, value_text, sizeof(value_text))) {
        return S3_METADATA_TOO_LARGE;
    }
    for (char *c = name_text; *c != '\0'; c++) {
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
    }
    return object_meta_add(meta, name_text, value_text) == STATUS_OK ? S3_NONE : S3_METADATA_TOO_LARGE;
}

/* "aws-chunked" describes the upload, not the object: it is taken out, the other codings stay. */
static enum s3_error add_content_encoding(struct object_meta *meta, struct text_span value)
{
    char codings[256];
    size_t used = 0;
    while (value.bytes > 0) {
        struct text_span coding = text_span_trim(text_span_cut(&value, ','));
        if (coding.bytes == 0 || text_span_equals_ignoring_case(coding, "aws-chunked")) {
            continue;
        }
        if (used + coding.bytes + 1 > sizeof(codings)) {
            return S3_METADATA_TOO_LARGE;
        }
        if (used > 0) {
            codings[used++] = ',';
        }
        memcpy(codings + used, coding.data, coding.bytes);
        used += coding.bytes;
    }
    if (used == 0) {
        return S3_NONE;
    }
    return add_field(meta, text_span_of("content-encoding"), (struct text_span){.data = codings, .bytes = used});
}

static enum s3_error add_user_metadata(struct object_meta *meta, const struct s3_request *request)
{
    size_t bytes = 0;
    for (size_t i = 0; i < request->header_count; i++) {
        const struct sigv4_field *header = &request->headers[i];
        if (!has_prefix(header->name, META_PREFIX)) {
            continue;
        }
        bytes += header->name.bytes - strlen(META_PREFIX) + header->value.bytes;
        if (bytes > S3_USER_METADATA_BYTES_MAX || header->name.bytes == strlen(META_PREFIX)) {
            return S3_METADATA_TOO_LARGE;
        }
        enum s3_error error = add_field(meta, header->name, header->value);
        if (error != S3_NONE) {
            return error;
        }
    }
    return S3_NONE;
}

enum s3_error s3_headers_to_meta(const struct s3_request *request, struct object_meta *meta)
{
    meta->used = 0;
    meta->count = 0;
    struct text_span value;
    for (size_t i = 0; i < ARRAY_LENGTH(kept); i++) {
        if (s3_request_header(request, kept[i], &value) && value.bytes > 0) {
            enum s3_error error = add_field(meta, text_span_of(kept[i]), value);
            if (error != S3_NONE) {
                return error;
            }
        }
    }
    if (s3_request_header(request, "content-encoding", &value)) {
        enum s3_error error = add_content_encoding(meta, value);
        if (error != S3_NONE) {
            return error;
        }
    }
    return add_user_metadata(meta, request);
}
