/* body_check.c - see body_check.h. */
#include "node/s3/body_check.h"

#include "base/checksum.h"

#include <string.h>

/* The headers with a base64 value. */
static const struct {
    const char *header;
    enum body_sum sum;
    size_t bytes;
    enum s3_error malformed;
} promised[] = {
    {"content-md5", BODY_MD5, MD5_BYTES, S3_INVALID_DIGEST},
    {"x-amz-checksum-sha1", BODY_SHA1, SHA1_BYTES, S3_INVALID_REQUEST},
    {"x-amz-checksum-sha256", BODY_SHA256, SHA256_BYTES, S3_INVALID_REQUEST},
    {"x-amz-checksum-crc32", BODY_CRC32, 4, S3_INVALID_REQUEST},
    {"x-amz-checksum-crc32c", BODY_CRC32C, 4, S3_INVALID_REQUEST},
};

static bool is_streaming(struct text_span payload_hash)
{
    return text_span_starts_with(payload_hash, "STREAMING-");
}

/* Forms of a body that we do not undo yet. */
static bool is_framed(const struct s3_request *request)
{
    struct text_span value;
    if (s3_request_header(request, "x-amz-content-sha256", &value) && is_streaming(value)) {
        return true;
    }
    return s3_request_header(request, "x-amz-trailer", &value) ||
           s3_request_header(request, "x-amz-decoded-content-length", &value);
}

static enum s3_error read_payload_hash(struct body_check *check, const struct s3_request *request)
{
    struct text_span value;
    if (!s3_request_header(request, "x-amz-content-sha256", &value) || text_span_equals(value, "UNSIGNED-PAYLOAD")) {
        return S3_NONE;
    }
    if (!hex_decode(value.data, value.bytes, check->value[BODY_PAYLOAD_SHA256], SHA256_BYTES)) {
        return S3_MISSING_CONTENT_SHA256;
    }
    check->expected[BODY_PAYLOAD_SHA256] = true;
    return S3_NONE;
}

static enum s3_error read_promises(struct body_check *check, const struct s3_request *request)
{
    unsigned checksums = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(promised); i++) {
        struct text_span value;
        enum body_sum sum = promised[i].sum;
        if (!s3_request_header(request, promised[i].header, &value)) {
            continue;
        }
        if (!base64_decode(value.data, value.bytes, check->value[sum], promised[i].bytes)) {
            return promised[i].malformed;
        }
        check->expected[sum] = true;
        checksums += sum == BODY_MD5 ? 0 : 1;
    }
    return checksums > 1 ? S3_INVALID_REQUEST : S3_NONE;
}

enum s3_error body_check_begin(struct body_check *check, const struct s3_request *request)
{
    memset(check, 0, sizeof(*check));
    if (is_framed(request)) {
        return S3_NOT_IMPLEMENTED;
    }
    enum s3_error error = read_payload_hash(check, request);
    if (error == S3_NONE) {
        error = read_promises(check, request);
    }
    if (error != S3_NONE) {
        return error;
    }
    if (check->expected[BODY_PAYLOAD_SHA256] || check->expected[BODY_SHA256]) {
        digest_begin(&check->sha256, DIGEST_SHA256);
    }
    if (check->expected[BODY_MD5]) {
        digest_begin(&check->md5, DIGEST_MD5);
    }
    if (check->expected[BODY_SHA1]) {
        digest_begin(&check->sha1, DIGEST_SHA1);
    }
    check->begun = true;
    return S3_NONE;
}

static void update_digest(struct digest *digest, const void *data, size_t bytes)
{
    if (digest->handle != NULL) {
        digest_update(digest, data, bytes);
    }
}

void body_check_update(struct body_check *check, const void *data, size_t bytes)
{
    CHECK(check->begun);
    update_digest(&check->sha256, data, bytes);
    update_digest(&check->md5, data, bytes);
    update_digest(&check->sha1, data, bytes);
    if (check->expected[BODY_CRC32]) {
        check->crc32 = crc32(check->crc32, data, bytes);
    }
    if (check->expected[BODY_CRC32C]) {
        check->crc32c = crc32c(check->crc32c, data, bytes);
    }
}

static void end_digest(struct digest *digest, uint8_t *result)
{
    if (digest->handle != NULL) {
        digest_end(digest, result);
        digest->handle = NULL;
    }
}

static void store_be32(uint32_t number, uint8_t *bytes)
{
    for (unsigned i = 0; i < 4; i++) {
        bytes[i] = (uint8_t)(number >> (24 - 8 * i));
    }
}

enum s3_error body_check_end(struct body_check *check)
{
    static const size_t sum_bytes[BODY_SUM_COUNT] = {
        [BODY_PAYLOAD_SHA256] = SHA256_BYTES, [BODY_MD5] = MD5_BYTES, [BODY_SHA1] = SHA1_BYTES,
        [BODY_SHA256] = SHA256_BYTES,         [BODY_CRC32] = 4,       [BODY_CRC32C] = 4};
    uint8_t actual[BODY_SUM_COUNT][DIGEST_BYTES_MAX] = {{0}};
    CHECK(check->begun);
    end_digest(&check->sha256, actual[BODY_SHA256]);
    memcpy(actual[BODY_PAYLOAD_SHA256], actual[BODY_SHA256], SHA256_BYTES);
    end_digest(&check->md5, actual[BODY_MD5]);
    end_digest(&check->sha1, actual[BODY_SHA1]);
    store_be32(check->crc32, actual[BODY_CRC32]);
    store_be32(check->crc32c, actual[BODY_CRC32C]);
    check->begun = false;
    for (unsigned sum = 0; sum < BODY_SUM_COUNT; sum++) {
        if (check->expected[sum] && !equal_constant_time(actual[sum], check->value[sum], sum_bytes[sum])) {
            return sum == BODY_PAYLOAD_SHA256 ? S3_WRONG_CONTENT_SHA256 : S3_BAD_DIGEST;
        }
    }
    return S3_NONE;
}

static void abandon_digest(struct digest *digest)
{
    if (digest->handle != NULL) {
        digest_abandon(digest);
        digest->handle = NULL;
    }
}

void body_check_abandon(struct body_check *check)
{
    if (check->begun) {
        abandon_digest(&check->sha256);
        abandon_digest(&check->md5);
        abandon_digest(&check->sha1);
        check->begun = false;
    }
}
