/* sigv4.h - AWS Signature Version 4: what is signed, and signing and verifying it.
 *
 * The canonical request is hashed as it is built, so nothing here has a size limit of its own and nothing is
 * allocated. Path and query are taken as they stood in the request line and re-coded by S3's rules: decoded once,
 * unreserved bytes plain, all else %XX; "/" stays "/" and "%2F" stays "%2F"; nothing is folded ("//", "." and ".." are
 * part of a key). Header values are trimmed and inner blanks become one space; repeated headers are joined by commas.
 *
 * The command line and the benchmark sign with this library too: it depends on base only.
 * Secrets    Keys derived on the way are wiped before a function returns. Signatures are compared in constant time.
 * Source     "Create a signed AWS API request" (AWS IAM user guide) and the S3 API reference on SigV4. Pure. */
#ifndef TRILITH_NODE_S3_SIGV4_H
#define TRILITH_NODE_S3_SIGV4_H

#include "base/check.h"
#include "base/digest.h"
#include "node/s3/dates.h"
#include "node/s3/uri.h"

#define SIGV4_SIGNATURE_BYTES   SHA256_BYTES
#define SIGV4_PARAMETERS_MAX    64 /* of a query */
#define SIGV4_SIGNED_FIELDS_MAX 64 /* when we sign */
#define SIGV4_UNSIGNED_PAYLOAD  "UNSIGNED-PAYLOAD"
#define SIGV4_EXPIRES_S_MAX     604800 /* of a presigned URL: a week */
#define SIGV4_SKEW_MS_MAX       (UINT64_C(15) * 60 * 1000)

struct sigv4_field {
    struct text_span name;
    struct text_span value;
};

/* What is signed. */
struct sigv4_request {
    struct text_span method;
    struct text_span path;  /* as sent, up to the '?'; percent-coded */
    struct text_span query; /* as sent, after the '?'; percent-coded */
    const struct sigv4_field *headers;
    size_t header_count;
    struct text_span payload_hash; /* the value of x-amz-content-sha256, or UNSIGNED-PAYLOAD */
};

/* Who claims to have signed, and how: the content of an Authorization header or of a presigned query. The spans point
 * into the text it was read from. */
struct sigv4_claim {
    struct text_span access_key;
    struct text_span date; /* yyyymmdd of the scope */
    struct text_span region;
    struct text_span service;
    struct text_span signed_headers; /* lower-case names, separated by ';' */
    uint8_t signature[SIGV4_SIGNATURE_BYTES];
    struct text_span timestamp; /* of the request, "20130524T000000Z"; set by the caller before verifying */
};

/* Read "AWS4-HMAC-SHA256 Credential=..., SignedHeaders=..., Signature=...". STATUS_INVALID: anything else. */
MUST_USE enum status sigv4_claim_from_header(struct text_span authorization, struct sigv4_claim *claim);
/* From the decoded parameters X-Amz-Credential, X-Amz-SignedHeaders and X-Amz-Signature. */
MUST_USE enum status sigv4_claim_from_parts(struct text_span credential, struct text_span signed_headers,
                                            struct text_span signature, struct sigv4_claim *claim);

/* Whether `name` (any case) is among the signed headers. */
bool sigv4_claim_signs(const struct sigv4_claim *claim, struct text_span name);

/* Whether `request` carries the signature that `secret_key` gives. A parameter X-Amz-Signature is left out of the query.
 *   STATUS_DENIED  another signature    STATUS_TOO_LARGE  more than SIGV4_PARAMETERS_MAX parameters */
MUST_USE enum status sigv4_verify(const struct sigv4_request *request, const struct sigv4_claim *claim,
                                  const char *secret_key);

/* The signature that `secret_key` gives for what `claim` names; claim->signature is not read. Also what presigning
 * needs. STATUS_TOO_LARGE as above. */
MUST_USE enum status sigv4_signature(const struct sigv4_request *request, const struct sigv4_claim *claim,
                                     const char *secret_key, uint8_t signature[SIGV4_SIGNATURE_BYTES]);

/* For clients: write the value of the Authorization header. All of request->headers are signed; "host",
 * "x-amz-content-sha256" and "x-amz-date" (equal to `timestamp`) must be among them. The service is "s3".
 *   STATUS_TOO_LARGE  over a limit, or `capacity` is too small */
MUST_USE enum status sigv4_sign(const struct sigv4_request *request, const char *access_key, const char *secret_key,
                                const char *region, const char timestamp[DATE_AMZ_BYTES], char *authorization,
                                size_t capacity);

#endif
