/* error.c - see error.h. */
#include "node/s3/error.h"

#include "base/check.h"
#include "node/s3/xml_writer.h"

struct error_row {
    unsigned http_status;
    const char *code;
    const char *message;
};

static const struct error_row rows[S3_ERROR_COUNT] = {
    [S3_NONE] = {200, "None", "No error."},
    [S3_ACCESS_DENIED] = {403, "AccessDenied", "Access Denied"},
    [S3_AUTHORIZATION_HEADER_MALFORMED] = {400, "AuthorizationHeaderMalformed",
                                           "The authorization header you provided is invalid."},
    [S3_AUTHORIZATION_QUERY_MALFORMED] = {400, "AuthorizationQueryParametersError",
                                          "The authentication parameters of the query are incomplete or invalid."},
    [S3_BAD_DIGEST] = {400, "BadDigest", "The checksum you specified did not match what we received."},
    [S3_BUCKET_NOT_EMPTY] = {409, "BucketNotEmpty", "The bucket you tried to delete is not empty."},
    [S3_ENTITY_TOO_LARGE] = {400, "EntityTooLarge",
                             "Your proposed upload exceeds the maximum allowed size of 5 GiB for one PUT."},
    [S3_EXPIRED] = {403, "AccessDenied", "Request has expired"},
    [S3_HEADERS_NOT_SIGNED] = {403, "AccessDenied",
                               "There were headers present in the request which were not signed: every x-amz-* header "
                               "and Host must be."},
    [S3_INCOMPLETE_BODY] = {400, "IncompleteBody",
                            "You did not provide the number of bytes specified by the Content-Length header."},
    [S3_INSUFFICIENT_STORAGE] = {507, "InsufficientStorage", "There is no room left for this object."},
    [S3_INTERNAL_ERROR] = {500, "InternalError", "We encountered an internal error. Please try again."},
    [S3_INVALID_ACCESS_KEY_ID] = {403, "InvalidAccessKeyId",
                                  "The access key id you provided does not exist in our records."},
    [S3_INVALID_ARGUMENT] = {400, "InvalidArgument", "A parameter of the request is invalid."},
    [S3_INVALID_BUCKET_NAME] = {400, "InvalidBucketName", "The specified bucket is not valid."},
    [S3_INVALID_DIGEST] = {400, "InvalidDigest", "The Content-MD5 you specified is not valid."},
    [S3_INVALID_RANGE] = {416, "InvalidRange", "The requested range is not satisfiable."},
    [S3_INVALID_REQUEST] = {400, "InvalidRequest", "The request is malformed or contradicts itself."},
    [S3_INVALID_STORAGE_CLASS] = {400, "InvalidStorageClass", "The storage class you specified is not valid."},
    [S3_INVALID_TOKEN] = {400, "InvalidToken", "The provided token is malformed or otherwise invalid."},
    [S3_INVALID_URI] = {400, "InvalidURI", "Couldn't parse the specified URI."},
    [S3_KEY_TOO_LONG] = {400, "KeyTooLongError", "Your key is too long: at most 1024 bytes."},
    [S3_KMS_DISABLED] = {400, "KMS.DisabledException",
                         "The keys of this tenant are switched off; its security administrator can enable them again."},
    [S3_KMS_UNAVAILABLE] = {503, "KMS.UnavailableException",
                            "What holds the tenant's master key can't be reached at the moment; try again later."},
    [S3_MALFORMED_XML] = {400, "MalformedXML",
                          "The XML you provided was not well-formed or did not validate against our schema."},
    [S3_MESSAGE_TOO_LARGE] = {400, "MaxMessageLengthExceeded", "Your request was too big."},
    [S3_METADATA_TOO_LARGE] = {400, "MetadataTooLarge",
                               "Your metadata headers exceed the maximum allowed metadata size."},
    [S3_METHOD_NOT_ALLOWED] = {405, "MethodNotAllowed", "The specified method is not allowed against this resource."},
    [S3_MISSING_CONTENT_LENGTH] = {411, "MissingContentLength", "You must provide the Content-Length HTTP header."},
    [S3_MISSING_CONTENT_SHA256] = {400, "InvalidRequest",
                                   "Missing or invalid header for this request: x-amz-content-sha256"},
    [S3_NO_SUCH_BUCKET] = {404, "NoSuchBucket", "The specified bucket does not exist"},
    [S3_NO_SUCH_KEY] = {404, "NoSuchKey", "The specified key does not exist."},
    [S3_NOT_IMPLEMENTED] = {501, "NotImplemented",
                            "A header or parameter you provided implies functionality that is not implemented."},
    [S3_OBJECT_HELD] = {403, "AccessDenied",
                        "A legal hold or retention forbids that this object is deleted or overwritten."},
    [S3_OLD_SIGNATURE] = {400, "InvalidRequest",
                          "The authorization mechanism you have provided is not supported. Please use "
                          "AWS4-HMAC-SHA256."},
    [S3_PRECONDITION_FAILED] = {412, "PreconditionFailed",
                                "At least one of the pre-conditions you specified did not hold"},
    [S3_REQUEST_HEADER_TOO_LARGE] = {400, "RequestHeaderSectionTooLarge",
                                     "Your request has too many headers or they are too long."},
    [S3_REQUEST_TIME_TOO_SKEWED] = {403, "RequestTimeTooSkewed",
                                    "The difference between the request time and the current time is too large."},
    [S3_REQUEST_URI_TOO_LONG] = {414, "RequestURITooLong", "The request's URI is too long."},
    [S3_SERVICE_UNAVAILABLE] = {503, "ServiceUnavailable", "The service is unavailable right now. Please retry."},
    [S3_SIGNATURE_DOES_NOT_MATCH] = {403, "SignatureDoesNotMatch",
                                     "The request signature we calculated does not match the signature you provided. "
                                     "Check your key and signing method."},
    [S3_SLOW_DOWN] = {503, "SlowDown", "Please reduce your request rate."},
    [S3_SUITE_NOT_BUILT] =
        {501, "NotImplemented",
         "This gateway was built without SM4-GCM, with which the objects of this bucket are sealed."},
    [S3_WRONG_CONTENT_SHA256] = {400, "XAmzContentSHA256Mismatch",
                                 "The provided 'x-amz-content-sha256' header does not match what was computed."},
};

unsigned s3_error_http_status(enum s3_error error)
{
    CHECK(error < S3_ERROR_COUNT);
    return rows[error].http_status;
}

const char *s3_error_code(enum s3_error error)
{
    CHECK(error < S3_ERROR_COUNT);
    return rows[error].code;
}

enum s3_error s3_error_from_status(enum status status)
{
    switch (status) {
    case STATUS_BUSY:
        return S3_SLOW_DOWN;
    case STATUS_UNAVAILABLE:
    case STATUS_TIMEOUT:
    case STATUS_CANCELLED:
    case STATUS_FENCED:
    case STATUS_CLOSED:
        return S3_SERVICE_UNAVAILABLE;
    case STATUS_FULL:
        return S3_INSUFFICIENT_STORAGE;
    case STATUS_DENIED: /* No key for it: there is no such tenant. */
        return S3_ACCESS_DENIED;
    case STATUS_KEY_REVOKED:
        return S3_KMS_DISABLED;
    case STATUS_KEY_AWAY:
        return S3_KMS_UNAVAILABLE;
    case STATUS_HELD:
        return S3_OBJECT_HELD;
    case STATUS_INVALID:
        return S3_INVALID_REQUEST;
    case STATUS_OK:
    case STATUS_CORRUPT:
    case STATUS_NOT_FOUND:
    case STATUS_EXISTS:
    case STATUS_GONE:
    case STATUS_CONFLICT:
    case STATUS_IO:
    case STATUS_TOO_LARGE:
    case STATUS_UNSUPPORTED:
    case STATUS_NOT_EMPTY:
    case STATUS_COUNT:
        break;
    }
    return S3_INTERNAL_ERROR;
}

void s3_error_write(struct text_buffer *out, enum s3_error error, struct text_span resource, const char *request_id)
{
    CHECK(error < S3_ERROR_COUNT);
    xml_begin(out, "Error", NULL);
    xml_word(out, "Code", rows[error].code);
    xml_word(out, "Message", rows[error].message);
    xml_text(out, "Resource", resource);
    xml_word(out, "RequestId", request_id);
    xml_close(out, "Error");
}
