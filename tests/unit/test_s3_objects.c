/* test_s3_objects.c - objects: what is stored and given back, what a client's checksums are good for, and failures. */
#include "tests/unit/s3_probe.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of "hello". */
#define HELLO_SHA256     "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
#define HELLO_SHA256_B64 "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="
#define HELLO_MD5_B64    "XUFAKrxLKna5cZ2REBfFkg=="
#define HELLO_SHA1_B64   "qvTGHdzF6KLavt4PO0gs2a6pQ00="
#define HELLO_CRC32_B64  "NhCmhg=="
#define HELLO_CRC32C_B64 "mnG7TA=="

static struct probe probe;

static void setup(void)
{
    probe_open(&probe);
    fake_gateway_add_bucket(&probe.gateway, "bucket");
}

static void teardown(void)
{
    probe_close(&probe);
}

TestSuite(s3_objects, .init = setup, .fini = teardown);

static unsigned editor(const char *method, const char *target, const char *body)
{
    return probe_do(&probe, method, target, FAKE_EDITOR, body);
}

static bool body_is(const char *text)
{
    return probe.body.used == strlen(text) &&
           (probe.body.used == 0 || memcmp(probe.body.data, text, strlen(text)) == 0);
}

static void header_is(const char *name, const char *value)
{
    const char *got = probe_answer_header(&probe, name);
    cr_assert_not_null(got, "%s", name);
    cr_assert_str_eq(got, value);
}

Test(s3_objects, come_back_as_they_were_put)
{
    cr_assert_eq(editor("PUT", "/bucket/dir/key", "hello"), 200);
    header_is("ETag", "\"0123456789abcdef0123456789abcdef-1\"");
    cr_assert_null(probe_answer_header(&probe, "x-trilith-erasure"));
    cr_assert_eq(editor("GET", "/bucket/dir/key", ""), 200);
    cr_assert(body_is("hello"));
    header_is("ETag", "\"0123456789abcdef0123456789abcdef-1\"");
    header_is("Last-Modified", "Tue, 14 Nov 2023 22:13:20 GMT");
    header_is("Content-Type", "binary/octet-stream");
    header_is("Accept-Ranges", "bytes");
}

Test(s3_objects, may_be_empty)
{
    cr_assert_eq(editor("PUT", "/bucket/key", ""), 200);
    cr_assert_eq(editor("GET", "/bucket/key", ""), 200);
    cr_assert_eq(probe.body.used, 0);
    cr_assert_eq(probe.exchange.answer.body_bytes, 0);
}

Test(s3_objects, pass_through_in_pieces_both_ways)
{
    static char data[300000];
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (char)(i * 7 + i / 251);
    }
    probe.gateway.put_window = 1000;
    probe.gateway.get_piece = 777;
    probe_begin(&probe, "PUT", "/bucket/key");
    probe.piece = 4097;
    probe_send(&probe, FAKE_EDITOR, data, sizeof(data));
    cr_assert_eq(probe.status, 200);
    cr_assert_eq(editor("GET", "/bucket/key", ""), 200);
    cr_assert_not(probe.broken);
    cr_assert_eq(probe.body.used, sizeof(data));
    cr_assert_eq(memcmp(probe.body.data, data, sizeof(data)), 0);
}

Test(s3_objects, name_the_erasure_of_what_they_replace_or_delete)
{
    cr_assert_eq(editor("PUT", "/bucket/key", "one"), 200);
    cr_assert_eq(editor("PUT", "/bucket/key", "two"), 200);
    header_is("x-trilith-erasure", "1");
    cr_assert_eq(editor("DELETE", "/bucket/key", ""), 204);
    header_is("x-trilith-erasure", "2");
    cr_assert_eq(editor("DELETE", "/bucket/key", ""), 204);
    cr_assert_null(probe_answer_header(&probe, "x-trilith-erasure"));
    cr_assert_eq(editor("DELETE", "/none/key", ""), 404);
    cr_assert(probe_body_has(&probe, "NoSuchBucket"));
}

Test(s3_objects, are_missed_by_name)
{
    cr_assert_eq(editor("GET", "/bucket/none", ""), 404);
    cr_assert(probe_body_has(&probe, "NoSuchKey"));
    cr_assert_eq(editor("GET", "/none/key", ""), 404);
    cr_assert(probe_body_has(&probe, "NoSuchBucket"));
    cr_assert_eq(editor("HEAD", "/bucket/none", ""), 404);
    cr_assert_eq(probe.body.used, 0);
    cr_assert_eq(editor("PUT", "/none/key", "x"), 404);
    cr_assert_not(probe.body_admitted);
}

Test(s3_objects, keep_their_headers_verbatim)
{
    probe_begin(&probe, "PUT", "/bucket/key");
    probe_header(&probe, "Content-Type", "text/plain; charset=utf-8");
    probe_header(&probe, "Cache-Control", "max-age=60");
    probe_header(&probe, "Content-Disposition", "attachment; filename=\"a b\"");
    probe_header(&probe, "Content-Encoding", "gzip,aws-chunked");
    probe_header(&probe, "Content-Language", "de");
    probe_header(&probe, "Expires", "never, really");
    probe_header(&probe, "X-Amz-Meta-Colour", "deep  blue");
    probe_send(&probe, FAKE_EDITOR, "hello", 5);
    cr_assert_eq(probe.status, 200);
    cr_assert_eq(editor("HEAD", "/bucket/key", ""), 200);
    header_is("Content-Type", "text/plain; charset=utf-8");
    header_is("Cache-Control", "max-age=60");
    header_is("Content-Disposition", "attachment; filename=\"a b\"");
    header_is("Content-Encoding", "gzip");
    header_is("Content-Language", "de");
    header_is("Expires", "never, really");
    header_is("x-amz-meta-colour", "deep  blue");
    cr_assert_eq(probe.exchange.answer.body_bytes, 5);
    cr_assert_eq(probe.exchange.answer.body, S3_BODY_NONE);
}

Test(s3_objects, lose_a_lone_aws_chunked)
{
    probe_begin(&probe, "PUT", "/bucket/key");
    probe_header(&probe, "Content-Encoding", "aws-chunked");
    probe_send(&probe, FAKE_EDITOR, "hello", 5);
    cr_assert_eq(probe.status, 200);
    cr_assert_eq(editor("GET", "/bucket/key", ""), 200);
    cr_assert_null(probe_answer_header(&probe, "Content-Encoding"));
    cr_assert(body_is("hello"));
}

Test(s3_objects, answer_with_the_headers_that_the_query_asks_for)
{
    probe_begin(&probe, "PUT", "/bucket/key");
    probe_header(&probe, "Content-Type", "text/plain");
    probe_send(&probe, FAKE_EDITOR, "hello", 5);
    cr_assert_eq(editor("GET", "/bucket/key?response-content-type=image%2Fpng&response-expires=soon", ""), 200);
    header_is("Content-Type", "image/png");
    header_is("Expires", "soon");
    cr_assert_eq(editor("GET", "/bucket/key?response-content-type=a%0d%0aSet-Cookie:b", ""), 400);
}

Test(s3_objects, bound_their_metadata)
{
    static char value[3000];
    memset(value, 'v', sizeof(value) - 1);
    probe_begin(&probe, "PUT", "/bucket/key");
    probe_header(&probe, "x-amz-meta-a", value);
    probe_send(&probe, FAKE_EDITOR, "hello", 5);
    cr_assert_eq(probe.status, 400);
    cr_assert(probe_body_has(&probe, "MetadataTooLarge"));
    cr_assert_null(fake_gateway_find(&probe.gateway, "bucket", "key"));
}

/* ---- ranges and conditions --------------------------------------------------------------------- */

static unsigned get_with(const char *method, const char *name, const char *value)
{
    probe_begin(&probe, method, "/bucket/key");
    probe_header(&probe, name, value);
    probe_send(&probe, FAKE_EDITOR, "", 0);
    return probe.status;
}

Test(s3_objects, give_ranges)
{
    fake_gateway_add_object(&probe.gateway, "bucket", "key", "0123456789", 10);
    cr_assert_eq(get_with("GET", "Range", "bytes=2-4"), 206);
    cr_assert(body_is("234"));
    header_is("Content-Range", "bytes 2-4/10");
    cr_assert_eq(get_with("GET", "Range", "bytes=-3"), 206);
    cr_assert(body_is("789"));
    cr_assert_eq(get_with("GET", "Range", "bytes=8-99"), 206);
    cr_assert(body_is("89"));
    cr_assert_eq(get_with("GET", "Range", "bytes=0-1,3-4"), 200);
    cr_assert(body_is("0123456789"));
    cr_assert_eq(get_with("GET", "Range", "bytes=10-"), 416);
    cr_assert(probe_body_has(&probe, "InvalidRange"));
    cr_assert_eq(get_with("HEAD", "Range", "bytes=2-4"), 206);
    cr_assert_eq(probe.exchange.answer.body_bytes, 3);
}

Test(s3_objects, are_read_under_conditions)
{
    fake_gateway_add_object(&probe.gateway, "bucket", "key", "0123456789", 10);
    const char *etag = "\"0123456789abcdef0123456789abcdef-1\"";
    cr_assert_eq(get_with("GET", "If-Match", etag), 200);
    cr_assert_eq(get_with("GET", "If-Match", "\"other\""), 412);
    cr_assert(probe_body_has(&probe, "PreconditionFailed"));
    cr_assert_eq(get_with("GET", "If-None-Match", etag), 304);
    header_is("ETag", etag);
    cr_assert_eq(probe.body.used, 0);
    cr_assert_eq(get_with("HEAD", "If-Modified-Since", "Wed, 15 Nov 2023 00:00:00 GMT"), 304);
}

Test(s3_objects, are_created_once_with_if_none_match)
{
    cr_assert_eq(get_with("PUT", "If-None-Match", "*"), 200);
    cr_assert_eq(get_with("PUT", "If-None-Match", "*"), 412);
    cr_assert(probe_body_has(&probe, "PreconditionFailed"));
    cr_assert_eq(get_with("PUT", "If-None-Match", "\"etag\""), 501);
    cr_assert_eq(get_with("PUT", "If-Match", "\"etag\""), 501);
    cr_assert_eq(get_with("DELETE", "If-Match", "\"etag\""), 501);
}

/* ---- checksums --------------------------------------------------------------------------------- */

static unsigned put_hello(const char *name, const char *value)
{
    probe_begin(&probe, "PUT", "/bucket/key");
    probe_header(&probe, name, value);
    probe_send(&probe, FAKE_EDITOR, "hello", 5);
    return probe.status;
}

Test(s3_objects, are_stored_when_the_checksum_is_right)
{
    cr_assert_eq(put_hello("Content-MD5", HELLO_MD5_B64), 200);
    cr_assert_eq(put_hello("x-amz-checksum-sha1", HELLO_SHA1_B64), 200);
    cr_assert_eq(put_hello("x-amz-checksum-sha256", HELLO_SHA256_B64), 200);
    cr_assert_eq(put_hello("x-amz-checksum-crc32", HELLO_CRC32_B64), 200);
    cr_assert_eq(put_hello("x-amz-checksum-crc32c", HELLO_CRC32C_B64), 200);
}

Test(s3_objects, are_not_stored_when_the_checksum_is_wrong)
{
    static const struct {
        const char *name, *value, *code;
    } cases[] = {
        {"Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA==", "BadDigest"},
        {"Content-MD5", "AAAA", "InvalidDigest"},
        {"Content-MD5", "not base64 at all!!!!!!!", "InvalidDigest"},
        {"x-amz-checksum-sha1", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=", "BadDigest"},
        {"x-amz-checksum-sha256", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "BadDigest"},
        {"x-amz-checksum-crc32", "AAAAAA==", "BadDigest"},
        {"x-amz-checksum-crc32c", "AAAAAA==", "BadDigest"},
        {"x-amz-checksum-crc32", "zzz", "InvalidRequest"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        cr_assert_eq(put_hello(cases[i].name, cases[i].value), 400, "%zu", i);
        cr_assert(probe_body_has(&probe, cases[i].code), "%zu", i);
        cr_assert_null(fake_gateway_find(&probe.gateway, "bucket", "key"), "%zu", i);
    }
}

Test(s3_objects, hold_the_signed_payload_hash_to_be_true_in_either_case)
{
    static const char upper[] = "2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824";
    static const struct {
        const char *hash;
        unsigned status;
    } cases[] = {{HELLO_SHA256, 200},
                 {upper, 200},
                 {"00", 400},
                 {"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", 400}};
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        probe_begin(&probe, "PUT", "/bucket/key");
        probe.payload_hash = cases[i].hash;
        probe_send(&probe, FAKE_EDITOR, "hello", 5);
        cr_assert_eq(probe.status, cases[i].status, "%zu", i);
    }
    cr_assert(probe_body_has(&probe, "XAmzContentSHA256Mismatch"));
}

Test(s3_objects, are_refused_in_forms_that_would_be_stored_wrong)
{
    static const char *const hashes[] = {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
                                         "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
                                         "STREAMING-UNSIGNED-PAYLOAD-TRAILER"};
    for (size_t i = 0; i < ARRAY_LENGTH(hashes); i++) {
        probe_begin(&probe, "PUT", "/bucket/key");
        probe.payload_hash = hashes[i];
        probe_send(&probe, FAKE_EDITOR, "5\r\nhello\r\n0\r\n\r\n", 15);
        cr_assert_eq(probe.status, 501);
        cr_assert_not(probe.body_admitted);
    }
    cr_assert_eq(put_hello("x-amz-decoded-content-length", "5"), 501);
    cr_assert_eq(put_hello("x-amz-trailer", "x-amz-checksum-crc32"), 501);
    cr_assert_eq(put_hello("x-amz-checksum-crc64nvme", "AAAAAAAAAAA="), 501);
    cr_assert_null(fake_gateway_find(&probe.gateway, "bucket", "key"));
}

Test(s3_objects, refuse_headers_that_ask_for_what_is_not_built)
{
    static const char *const headers[][2] = {
        {"x-amz-copy-source", "/bucket/other"},
        {"x-amz-acl", "public-read"},
        {"x-amz-tagging", "a=b"},
        {"x-amz-server-side-encryption", "aws:kms"},
        {"x-amz-server-side-encryption-customer-algorithm", "AES256"},
        {"x-amz-object-lock-mode", "COMPLIANCE"},
        {"x-amz-grant-read", "id=1"},
        {"x-amz-website-redirect-location", "/"},
        {"x-amz-something-new", "1"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(headers); i++) {
        cr_assert_eq(put_hello(headers[i][0], headers[i][1]), 501, "%s", headers[i][0]);
        cr_assert_not(probe.body_admitted);
    }
    cr_assert_eq(put_hello("x-amz-storage-class", "GLACIER"), 400);
    cr_assert_eq(put_hello("x-amz-storage-class", "STANDARD"), 200);
    cr_assert_eq(put_hello("x-amz-acl", "private"), 200);
    cr_assert_eq(put_hello("x-amz-server-side-encryption", "AES256"), 200);
}

/* ---- lengths ----------------------------------------------------------------------------------- */

Test(s3_objects, need_a_length_that_is_not_too_large)
{
    cr_assert_eq(put_hello("Transfer-Encoding", "chunked"), 411);
    cr_assert(probe_body_has(&probe, "MissingContentLength"));
    cr_assert_eq(put_hello("Content-Length", "5368709121"), 400);
    cr_assert(probe_body_has(&probe, "EntityTooLarge"));
    cr_assert_not(probe.body_admitted);
}

Test(s3_objects, are_not_stored_when_the_body_ends_early)
{
    cr_assert_eq(put_hello("Content-Length", "6"), 400);
    cr_assert(probe_body_has(&probe, "IncompleteBody"));
    cr_assert_null(fake_gateway_find(&probe.gateway, "bucket", "key"));
}

Test(s3_objects, are_not_stored_when_the_client_goes_away)
{
    probe_begin(&probe, "PUT", "/bucket/key");
    probe.body_stops_at = 3;
    probe_send(&probe, FAKE_EDITOR, "hello", 5);
    cr_assert_eq(probe.status, 0);
    cr_assert_null(fake_gateway_find(&probe.gateway, "bucket", "key"));
}

/* ---- failures ---------------------------------------------------------------------------------- */

Test(s3_objects, say_why_a_write_failed)
{
    static const struct {
        enum status status;
        unsigned http_status;
        const char *code;
    } cases[] = {
        {STATUS_FULL, 507, "InsufficientStorage"},
        {STATUS_UNAVAILABLE, 503, "ServiceUnavailable"},
        {STATUS_TIMEOUT, 503, "ServiceUnavailable"},
        {STATUS_BUSY, 503, "SlowDown"},
        {STATUS_DENIED, 403, "AccessDenied"},
        {STATUS_NOT_FOUND, 404, "NoSuchBucket"},
        {STATUS_CORRUPT, 500, "InternalError"},
        {STATUS_EXISTS, 412, "PreconditionFailed"},
        {STATUS_KEY_REVOKED, 400, "KMS.DisabledException"},
        {STATUS_KEY_AWAY, 503, "KMS.UnavailableException"},
        {STATUS_HELD, 403, "AccessDenied"},
        {STATUS_UNSUPPORTED, 501, "NotImplemented"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        probe.gateway.put_status = cases[i].status;
        cr_assert_eq(editor("PUT", "/bucket/key", "hello"), cases[i].http_status, "%zu", i);
        cr_assert(probe_body_has(&probe, cases[i].code), "%zu", i);
    }
}

Test(s3_objects, take_the_rest_of_a_body_whose_write_has_failed)
{
    static char data[100000];
    probe.gateway.put_status = STATUS_UNAVAILABLE;
    probe.gateway.put_fails_at = 10000;
    probe_begin(&probe, "PUT", "/bucket/key");
    probe.piece = 1000;
    probe_send(&probe, FAKE_EDITOR, data, sizeof(data));
    cr_assert_eq(probe.status, 503);
    cr_assert_null(fake_gateway_find(&probe.gateway, "bucket", "key"));
}

Test(s3_objects, are_refused_quickly_under_overload)
{
    probe.gateway.refuse_puts = true;
    probe.gateway.refuse_gets = true;
    cr_assert_eq(editor("PUT", "/bucket/key", "hello"), 503);
    cr_assert(probe_body_has(&probe, "SlowDown"));
    cr_assert_not(probe.body_admitted);
    cr_assert_eq(editor("GET", "/bucket/key", ""), 503);
    cr_assert(probe_body_has(&probe, "SlowDown"));
}

Test(s3_objects, that_cannot_be_read_give_an_error_not_wrong_bytes)
{
    fake_gateway_add_object(&probe.gateway, "bucket", "key", "0123456789", 10);
    probe.gateway.get_fails_at = 0;
    cr_assert_eq(editor("GET", "/bucket/key", ""), 500);
    cr_assert(probe_body_has(&probe, "InternalError"));
    cr_assert_null(probe_answer_header(&probe, "ETag"));
    probe.gateway.get_fails_at = 5;
    cr_assert_eq(editor("GET", "/bucket/key", ""), 500);
    probe.gateway.get_fails_at = UINT64_MAX;
    probe.gateway.get_status = STATUS_UNAVAILABLE;
    cr_assert_eq(editor("GET", "/bucket/key", ""), 503);
    probe.gateway.get_status = STATUS_DENIED;
    cr_assert_eq(editor("GET", "/bucket/key", ""), 403);
}

Test(s3_objects, whose_keys_are_switched_off_or_out_of_reach_say_so)
{
    static const struct {
        enum status status;
        unsigned http_status;
        const char *code;
        const char *message;
    } cases[] = {
        {STATUS_KEY_REVOKED, 400, "<Code>KMS.DisabledException</Code>", "can enable them again"},
        {STATUS_KEY_AWAY, 503, "<Code>KMS.UnavailableException</Code>", "try again later"},
        {STATUS_UNSUPPORTED, 501, "<Code>NotImplemented</Code>", "built without SM4-GCM"},
    };
    fake_gateway_add_object(&probe.gateway, "bucket", "key", "0123456789", 10);
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        probe.gateway.get_status = cases[i].status;
        cr_assert_eq(editor("GET", "/bucket/key", ""), cases[i].http_status);
        cr_assert(probe_body_has(&probe, cases[i].code));
        cr_assert(probe_body_has(&probe, cases[i].message));
        cr_assert_eq(editor("HEAD", "/bucket/key", ""), cases[i].http_status);
        probe.gateway.get_status = STATUS_OK;
        if (cases[i].status != STATUS_UNSUPPORTED) {
            probe.gateway.get_fails_at = 5; /* Within the first piece: nothing has been answered yet. */
            probe.gateway.get_failure = cases[i].status;
            cr_assert_eq(editor("GET", "/bucket/key", ""), cases[i].http_status);
            cr_assert(probe_body_has(&probe, cases[i].code));
            cr_assert_null(probe_answer_header(&probe, "ETag"));
            probe.gateway.get_fails_at = UINT64_MAX;
        }
        probe.gateway.call_status = cases[i].status == STATUS_UNSUPPORTED ? STATUS_OK : cases[i].status;
        if (probe.gateway.call_status != STATUS_OK) {
            cr_assert_eq(editor("PUT", "/bucket/key", "hello"), cases[i].http_status);
            cr_assert(probe_body_has(&probe, cases[i].code));
        }
        probe.gateway.call_status = STATUS_OK;
    }
}

Test(s3_objects, are_sealed_with_the_suite_of_their_bucket)
{
    cr_assert_eq(editor("PUT", "/bucket/key", "hello"), 200);
    cr_assert_eq(probe.gateway.put_suite, 0);
    probe.gateway.bucket_suite = SUITE_SM4_GCM;
    cr_assert_eq(editor("PUT", "/bucket/key", "hello"), 200);
    cr_assert_eq(probe.gateway.put_suite, SUITE_SM4_GCM);
}

Test(s3_objects, whose_key_is_revoked_midway_break_the_connection)
{
    static char data[200000];
    fake_gateway_add_object(&probe.gateway, "bucket", "key", data, sizeof(data));
    probe.gateway.get_fails_at = 100000;
    probe.gateway.get_failure = STATUS_KEY_REVOKED;
    cr_assert_eq(editor("GET", "/bucket/key", ""), 200);
    cr_assert(probe.broken);
    cr_assert_eq(probe.body.used, 100000);
}

Test(s3_objects, that_break_in_the_middle_break_the_connection)
{
    static char data[200000];
    fake_gateway_add_object(&probe.gateway, "bucket", "key", data, sizeof(data));
    probe.gateway.get_fails_at = 100000;
    cr_assert_eq(editor("GET", "/bucket/key", ""), 200);
    cr_assert(probe.broken);
    cr_assert_eq(probe.body.used, 100000);
}
