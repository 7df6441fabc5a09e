/* body_check.h - what a client says about the bytes of its body, held against the bytes that came.
 *
 * Verified: Content-MD5, x-amz-content-sha256 as hex, x-amz-checksum-crc32, -crc32c, -sha1, -sha256. Refused as not
 * implemented, before any byte is read: the STREAMING-* forms (whose framing would otherwise be stored as content), bodies
 * announced as aws-chunked with a decoded length, trailers, and other checksum algorithms. */
#ifndef TRILITH_NODE_S3_BODY_CHECK_H
#define TRILITH_NODE_S3_BODY_CHECK_H

#include "base/digest.h"
#include "node/s3/error.h"
#include "node/s3/request.h"

/* The digests that a body can need at once. */
enum body_sum { BODY_PAYLOAD_SHA256, BODY_MD5, BODY_SHA1, BODY_SHA256, BODY_CRC32, BODY_CRC32C, BODY_SUM_COUNT };

struct body_check {
    bool expected[BODY_SUM_COUNT];
    uint8_t value[BODY_SUM_COUNT][DIGEST_BYTES_MAX];
    struct digest sha256, md5, sha1;
    uint32_t crc32, crc32c;
    bool begun;
};

/* Read what the headers promise and begin. S3_NONE, or why the request is refused. */
enum s3_error body_check_begin(struct body_check *check, const struct s3_request *request);
void body_check_update(struct body_check *check, const void *data, size_t bytes);
/* S3_NONE: all that was promised is so. Else S3_BAD_DIGEST or S3_WRONG_CONTENT_SHA256. */
enum s3_error body_check_end(struct body_check *check);
/* Harmless when not begun. */
void body_check_abandon(struct body_check *check);

#endif
