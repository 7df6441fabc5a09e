/* test_s3_authentication.c - who is let in: signatures, clocks, unsigned headers, presigned URLs, roles. */
#include "tests/unit/s3_probe.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct probe probe;

static void setup(void)
{
    probe_open(&probe);
    fake_gateway_add_bucket(&probe.gateway, "bucket");
    fake_gateway_add_object(&probe.gateway, "bucket", "key", "content", 7);
}

static void teardown(void)
{
    probe_close(&probe);
}

TestSuite(s3_authentication, .init = setup, .fini = teardown);

/* Send what was begun as the owner; the answer has to be this error. */
static void refused(unsigned status, const char *code)
{
    char element[80];
    probe_send(&probe, FAKE_OWNER, "", 0);
    (void)snprintf(element, sizeof(element), "<Code>%s</Code>", code);
    cr_assert_eq(probe.status, status, "%u, not %u %s", probe.status, status, code);
    cr_assert(probe_body_has(&probe, element), "%s", code);
}

Test(s3_authentication, lets_a_good_signature_in_whatever_the_region)
{
    cr_assert_eq(probe_do(&probe, "GET", "/bucket/key", FAKE_VIEWER, ""), 200);
    probe_begin(&probe, "GET", "/bucket/key");
    probe.region = "mars-north-7";
    probe_send(&probe, FAKE_VIEWER, "", 0);
    cr_assert_eq(probe.status, 200);
}

Test(s3_authentication, says_who_answered_and_names_the_request)
{
    cr_assert_eq(probe_do(&probe, "GET", "/bucket/none", FAKE_VIEWER, ""), 404);
    cr_assert_str_eq(probe_answer_header(&probe, "Server"), "Trilith");
    const char *id = probe_answer_header(&probe, "x-amz-request-id");
    char element[64];
    cr_assert_eq(strlen(id), 16);
    (void)snprintf(element, sizeof(element), "<RequestId>%s</RequestId>", id);
    cr_assert(probe_body_has(&probe, element));
    cr_assert(probe_body_has(&probe, "<Resource>/bucket/none</Resource>"));
}

Test(s3_authentication, refuses_anonymous_requests)
{
    probe_begin(&probe, "GET", "/bucket/key");
    probe.raw = true;
    probe_header(&probe, "Host", "h");
    refused(403, "AccessDenied");
    cr_assert_eq(probe.gateway.lookups, 0);
}

Test(s3_authentication, refuses_wrong_secrets_and_unknown_keys)
{
    probe_begin(&probe, "GET", "/bucket/key");
    probe.secret = "another";
    refused(403, "SignatureDoesNotMatch");
    probe_begin(&probe, "GET", "/bucket/key");
    probe_send(&probe, "AKIDNOBODY", "", 0);
    cr_assert_eq(probe.status, 403);
    cr_assert(probe_body_has(&probe, "InvalidAccessKeyId"));
}

Test(s3_authentication, refuses_access_keys_that_are_too_long)
{
    char key[ACCESS_KEY_BYTES_MAX + 2];
    memset(key, 'A', sizeof(key) - 1);
    key[sizeof(key) - 1] = '\0';
    probe_begin(&probe, "GET", "/bucket/key");
    probe_send(&probe, key, "", 0);
    cr_assert_eq(probe.status, 403);
    cr_assert(probe_body_has(&probe, "InvalidAccessKeyId"));
}

Test(s3_authentication, allows_fifteen_minutes_of_skew_and_no_more)
{
    static const struct {
        int64_t shift_s;
        bool allowed;
    } cases[] = {{0, true}, {899, true}, {-899, true}, {902, false}, {-902, false}, {86400, false}};
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        probe_begin(&probe, "GET", "/bucket/key");
        probe.clock_shift_ms = cases[i].shift_s * 1000;
        probe_send(&probe, FAKE_OWNER, "", 0);
        cr_assert_eq(probe.status, cases[i].allowed ? 200 : 403, "%zu", i);
        cr_assert_eq(probe_body_has(&probe, "RequestTimeTooSkewed"), !cases[i].allowed, "%zu", i);
    }
}

Test(s3_authentication, wants_every_amz_header_signed)
{
    probe_begin(&probe, "PUT", "/bucket/key");
    probe.unsigned_name = "X-Amz-Meta-Evil";
    probe.unsigned_value = "1";
    refused(403, "AccessDenied");
    cr_assert_not_null(fake_gateway_find(&probe.gateway, "bucket", "key"));
    probe_begin(&probe, "GET", "/bucket/key");
    probe.unsigned_name = "Accept-Encoding";
    probe.unsigned_value = "identity";
    probe_send(&probe, FAKE_OWNER, "", 0);
    cr_assert_eq(probe.status, 200);
}

Test(s3_authentication, refuses_malformed_and_old_authorizations)
{
    probe_begin(&probe, "GET", "/bucket/key");
    probe.raw = true;
    probe_header(&probe, "Host", "h");
    probe_header(&probe, "Authorization", "AWS4-HMAC-SHA256 nonsense");
    refused(400, "AuthorizationHeaderMalformed");
    probe_begin(&probe, "GET", "/bucket/key");
    probe.raw = true;
    probe_header(&probe, "Authorization", "AWS AKID:signature");
    refused(400, "InvalidRequest");
    probe_begin(&probe, "GET", "/bucket/key?AWSAccessKeyId=AKID&Signature=a&Expires=1");
    probe.raw = true;
    refused(400, "InvalidRequest");
    cr_assert(probe_body_has(&probe, "AWS4-HMAC-SHA256"));
}

Test(s3_authentication, refuses_session_tokens)
{
    probe_begin(&probe, "GET", "/bucket/key");
    probe_header(&probe, "x-amz-security-token", "token");
    refused(400, "InvalidToken");
}

Test(s3_authentication, answers_when_credentials_cannot_be_looked_up)
{
    probe.gateway.credential_status = STATUS_UNAVAILABLE;
    probe_begin(&probe, "GET", "/bucket/key");
    refused(503, "ServiceUnavailable");
    probe.gateway.credential_status = STATUS_BUSY;
    probe_begin(&probe, "GET", "/bucket/key");
    refused(503, "SlowDown");
    probe.gateway.credential_status = STATUS_KEY_REVOKED;
    probe_begin(&probe, "GET", "/bucket/key");
    refused(400, "KMS.DisabledException");
    probe.gateway.credential_status = STATUS_KEY_AWAY;
    probe_begin(&probe, "GET", "/bucket/key");
    refused(503, "KMS.UnavailableException");
}

Test(s3_authentication, gives_each_role_what_it_may)
{
    static const struct {
        const char *method, *target, *access_key;
        unsigned status;
    } cases[] = {
        {"GET", "/bucket/key", FAKE_VIEWER, 200},
        {"GET", "/bucket", FAKE_VIEWER, 200},
        {"GET", "/", FAKE_VIEWER, 200},
        {"PUT", "/bucket/new", FAKE_VIEWER, 403},
        {"DELETE", "/bucket/key", FAKE_VIEWER, 403},
        {"PUT", "/new-bucket", FAKE_EDITOR, 403},
        {"DELETE", "/bucket", FAKE_EDITOR, 403},
        {"PUT", "/bucket/new", FAKE_EDITOR, 200},
        {"PUT", "/new-bucket", FAKE_OWNER, 200},
        {"DELETE", "/bucket/new", FAKE_EDITOR, 204},
        {"DELETE", "/new-bucket", FAKE_OWNER, 204},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        cr_assert_eq(probe_do(&probe, cases[i].method, cases[i].target, cases[i].access_key, ""), cases[i].status,
                     "%s %s as %s: %u", cases[i].method, cases[i].target, cases[i].access_key, probe.status);
    }
}

/* ---- presigned URLs ---------------------------------------------------------------------------- */

static char presigned_target[1024];

/* GET /bucket/key, signed in the query. */
static void presign(int64_t shift_ms, const char *expires, const char *secret)
{
    char timestamp[DATE_AMZ_BYTES];
    char hex[2 * SIGV4_SIGNATURE_BYTES + 1];
    uint8_t signature[SIGV4_SIGNATURE_BYTES];
    date_to_amz((uint64_t)((int64_t)loop_wall_ms(sim_loop_interface(probe.sim)) + shift_ms), timestamp);
    int path = snprintf(presigned_target, sizeof(presigned_target),
                        "/bucket/key?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=%s%%2F%.8s%%2Fus-east-1%%2Fs3"
                        "%%2Faws4_request&X-Amz-Date=%s&X-Amz-Expires=%s&X-Amz-SignedHeaders=host",
                        FAKE_VIEWER, timestamp, timestamp, expires);
    struct sigv4_field host = {.name = text_span_of("host"), .value = text_span_of("h:1")};
    struct text_span rest = text_span_of(presigned_target);
    struct sigv4_request request = {.method = text_span_of("GET"),
                                    .path = text_span_cut(&rest, '?'),
                                    .headers = &host,
                                    .header_count = 1,
                                    .payload_hash = text_span_of(SIGV4_UNSIGNED_PAYLOAD)};
    request.query = rest;
    struct sigv4_claim claim = {.date = {.data = timestamp, .bytes = 8},
                                .region = text_span_of("us-east-1"),
                                .service = text_span_of("s3"),
                                .signed_headers = text_span_of("host"),
                                .timestamp = text_span_of(timestamp)};
    cr_assert_eq(sigv4_signature(&request, &claim, secret, signature), STATUS_OK);
    hex_encode(signature, sizeof(signature), hex);
    (void)snprintf(presigned_target + path, sizeof(presigned_target) - (size_t)path, "&X-Amz-Signature=%s", hex);
    probe_begin(&probe, "GET", presigned_target);
    probe.raw = true;
    probe_header(&probe, "Host", "h:1");
}

Test(s3_authentication, lets_presigned_urls_in_until_they_expire)
{
    presign(0, "60", FAKE_SECRET);
    probe_send(&probe, NULL, "", 0);
    cr_assert_eq(probe.status, 200);
    presign(-59000, "60", FAKE_SECRET);
    probe_send(&probe, NULL, "", 0);
    cr_assert_eq(probe.status, 200);
    presign(-62000, "60", FAKE_SECRET);
    refused(403, "AccessDenied");
    presign(3600000, "60", FAKE_SECRET);
    refused(403, "RequestTimeTooSkewed");
}

Test(s3_authentication, refuses_presigned_urls_that_are_wrong)
{
    presign(0, "60", "another");
    refused(403, "SignatureDoesNotMatch");
    presign(0, "0", FAKE_SECRET);
    refused(400, "AuthorizationQueryParametersError");
    presign(0, "604801", FAKE_SECRET);
    refused(400, "AuthorizationQueryParametersError");
    presign(0, "60", FAKE_SECRET);
    probe_header(&probe, "x-amz-meta-a", "unsigned");
    refused(403, "AccessDenied");
}
