/* error.h - the errors of S3 by name: code, HTTP status, and the sentence for people. */
#ifndef TRILITH_NODE_S3_ERROR_H
#define TRILITH_NODE_S3_ERROR_H

#include "base/status.h"
#include "node/s3/text_buffer.h"
#include "node/s3/uri.h"

enum s3_error {
    S3_NONE,
    S3_ACCESS_DENIED,
    S3_AUTHORIZATION_HEADER_MALFORMED,
    S3_AUTHORIZATION_QUERY_MALFORMED,
    S3_BAD_DIGEST,
    S3_BUCKET_NOT_EMPTY,
    S3_ENTITY_TOO_LARGE,
    S3_EXPIRED,
    S3_HEADERS_NOT_SIGNED,
    S3_INCOMPLETE_BODY,
    S3_INSUFFICIENT_STORAGE,
    S3_INTERNAL_ERROR,
    S3_INVALID_ACCESS_KEY_ID,
    S3_INVALID_ARGUMENT,
    S3_INVALID_BUCKET_NAME,
    S3_INVALID_DIGEST,
    S3_INVALID_RANGE,
    S3_INVALID_REQUEST,
    S3_INVALID_STORAGE_CLASS,
    S3_INVALID_TOKEN,
    S3_INVALID_URI,
    S3_KEY_TOO_LONG,
    S3_KMS_DISABLED,
    S3_KMS_UNAVAILABLE,
    S3_MALFORMED_XML,
    S3_MESSAGE_TOO_LARGE,
    S3_METADATA_TOO_LARGE,
    S3_METHOD_NOT_ALLOWED,
    S3_MISSING_CONTENT_LENGTH,
    S3_MISSING_CONTENT_SHA256,
    S3_NO_SUCH_BUCKET,
    S3_NO_SUCH_KEY,
    S3_NOT_IMPLEMENTED,
    S3_OBJECT_HELD,
    S3_OLD_SIGNATURE,
    S3_PRECONDITION_FAILED,
    S3_REQUEST_HEADER_TOO_LARGE,
    S3_REQUEST_TIME_TOO_SKEWED,
    S3_REQUEST_URI_TOO_LONG,
    S3_SERVICE_UNAVAILABLE,
    S3_SIGNATURE_DOES_NOT_MATCH,
    S3_SLOW_DOWN,
    S3_SUITE_NOT_BUILT,
    S3_WRONG_CONTENT_SHA256,
    S3_ERROR_COUNT
};

unsigned s3_error_http_status(enum s3_error error);
const char *s3_error_code(enum s3_error error);

/* What a client hears when a part of us ended with `status` (not STATUS_OK) and nothing more exact is known. */
enum s3_error s3_error_from_status(enum status status);

/* The <Error> document. */
void s3_error_write(struct text_buffer *out, enum s3_error error, struct text_span resource, const char *request_id);

#endif
