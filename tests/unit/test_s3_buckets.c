/* test_s3_buckets.c - buckets and listings: create, head, location, delete, ListBuckets, ListObjects of both kinds. */
#include "tests/unit/s3_probe.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct probe probe;

static void setup(void)
{
    probe_open(&probe);
}

static void teardown(void)
{
    probe_close(&probe);
}

TestSuite(s3_buckets, .init = setup, .fini = teardown);

static unsigned owner(const char *method, const char *target)
{
    return probe_do(&probe, method, target, FAKE_OWNER, "");
}

Test(s3_buckets, are_created_once_and_again)
{
    cr_assert_eq(owner("PUT", "/bucket"), 200);
    cr_assert_str_eq(probe_answer_header(&probe, "Location"), "/bucket");
    cr_assert_eq(owner("PUT", "/bucket"), 200);
    cr_assert_eq(owner("HEAD", "/bucket/"), 200);
    cr_assert_str_eq(probe_answer_header(&probe, "x-amz-bucket-region"), "us-east-1");
}

Test(s3_buckets, take_any_location_but_no_bad_document)
{
    cr_assert_eq(probe_do(&probe, "PUT", "/bucket", FAKE_OWNER,
                          "<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint>"
                          "</CreateBucketConfiguration>"),
                 200);
    cr_assert_eq(probe_do(&probe, "PUT", "/other", FAKE_OWNER, "<CreateBucketConfiguration>"), 400);
    cr_assert(probe_body_has(&probe, "MalformedXML"));
    cr_assert_eq(owner("HEAD", "/other"), 404);
    cr_assert_eq(probe.body.used, 0);
}

Test(s3_buckets, refuse_documents_that_are_too_big_before_they_come)
{
    probe_begin(&probe, "PUT", "/bucket");
    probe_header(&probe, "Content-Length", "70000");
    probe_send(&probe, FAKE_OWNER, "", 0);
    cr_assert_eq(probe.status, 400);
    cr_assert_not(probe.body_admitted);
}

Test(s3_buckets, refuse_bad_names)
{
    cr_assert_eq(owner("PUT", "/Bad_Name"), 400);
    cr_assert(probe_body_has(&probe, "InvalidBucketName"));
}

Test(s3_buckets, have_no_location)
{
    fake_gateway_add_bucket(&probe.gateway, "bucket");
    cr_assert_eq(owner("GET", "/bucket?location"), 200);
    cr_assert(probe_body_has(&probe, "<LocationConstraint xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                                     "</LocationConstraint>"));
    cr_assert_eq(owner("GET", "/none?location"), 404);
    cr_assert(probe_body_has(&probe, "NoSuchBucket"));
}

Test(s3_buckets, are_deleted_when_empty)
{
    fake_gateway_add_bucket(&probe.gateway, "bucket");
    fake_gateway_add_object(&probe.gateway, "bucket", "key", "", 0);
    cr_assert_eq(owner("DELETE", "/bucket"), 409);
    cr_assert(probe_body_has(&probe, "BucketNotEmpty"));
    cr_assert_eq(owner("DELETE", "/bucket/key"), 204);
    cr_assert_eq(owner("DELETE", "/bucket"), 204);
    cr_assert_eq(owner("DELETE", "/bucket"), 404);
}

Test(s3_buckets, are_listed_over_several_calls)
{
    fake_gateway_add_bucket(&probe.gateway, "ccc");
    fake_gateway_add_bucket(&probe.gateway, "aaa");
    fake_gateway_add_bucket(&probe.gateway, "bbb");
    cr_assert_eq(owner("GET", "/"), 200);
    const char *a = memmem(probe.body.data, probe.body.used, "<Name>aaa</Name>", 16);
    const char *b = memmem(probe.body.data, probe.body.used, "<Name>bbb</Name>", 16);
    const char *c = memmem(probe.body.data, probe.body.used, "<Name>ccc</Name>", 16);
    cr_assert(a != NULL && a < b && b < c);
    cr_assert(probe_body_has(&probe, "<CreationDate>2023-11-14T22:13:20.123Z</CreationDate>"));
    cr_assert(probe_body_has(&probe, "<Owner><ID>acme</ID><DisplayName>acme</DisplayName></Owner>"));
}

Test(s3_buckets, are_listed_in_pages_and_by_prefix)
{
    fake_gateway_add_bucket(&probe.gateway, "ccc");
    fake_gateway_add_bucket(&probe.gateway, "aaa");
    fake_gateway_add_bucket(&probe.gateway, "aab");
    cr_assert_eq(owner("GET", "/?max-buckets=2"), 200);
    cr_assert(probe_body_has(&probe, "<Name>aaa</Name>"));
    cr_assert(probe_body_has(&probe, "<Name>aab</Name>"));
    cr_assert_not(probe_body_has(&probe, "<Name>ccc</Name>"));
    cr_assert(probe_body_has(&probe, "<ContinuationToken>aab</ContinuationToken>"));
    cr_assert_eq(owner("GET", "/?max-buckets=2&continuation-token=aab"), 200);
    cr_assert(probe_body_has(&probe, "<Name>ccc</Name>"));
    cr_assert_not(probe_body_has(&probe, "<Name>aab</Name>"));
    cr_assert_not(probe_body_has(&probe, "ContinuationToken"));
    cr_assert_eq(owner("GET", "/?max-buckets=3"), 200);
    cr_assert_not(probe_body_has(&probe, "ContinuationToken"), "exactly all of them");
    cr_assert_eq(owner("GET", "/?prefix=aa"), 200);
    cr_assert(probe_body_has(&probe, "<Name>aab</Name>"));
    cr_assert(probe_body_has(&probe, "<Prefix>aa</Prefix>"));
    cr_assert_not(probe_body_has(&probe, "<Name>ccc</Name>"));
    static const char *const bad[] = {"max-buckets=0", "max-buckets=10001", "max-buckets=x", "continuation-token=A_"};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        char target[64];
        (void)snprintf(target, sizeof(target), "/?%s", bad[i]);
        cr_assert_eq(owner("GET", target), 400, "%s", bad[i]);
        cr_assert(probe_body_has(&probe, "InvalidArgument"), "%s", bad[i]);
    }
    cr_assert_eq(owner("GET", "/?bucket-region=us-east-1"), 501);
}

Test(s3_buckets, answer_when_the_metadata_service_does_not)
{
    probe.gateway.call_status = STATUS_TIMEOUT;
    cr_assert_eq(owner("GET", "/"), 503);
    cr_assert_eq(owner("PUT", "/bucket"), 503);
    cr_assert_eq(owner("GET", "/bucket"), 503);
    probe.gateway.call_status = STATUS_CORRUPT;
    cr_assert_eq(owner("DELETE", "/bucket"), 500);
    cr_assert(probe_body_has(&probe, "InternalError"));
}

/* ---- listings ---------------------------------------------------------------------------------- */

static void fill(void)
{
    static const char *const keys[] = {"a", "a/1", "a/2", "b&c", "dir/x", "dir/y/z", "e \xc3\xa4+", "z"};
    fake_gateway_add_bucket(&probe.gateway, "bucket");
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
        fake_gateway_add_object(&probe.gateway, "bucket", keys[i], "12345", 5);
    }
}

/* Each of `pieces` (up to NULL) stands in the answer, in this order. */
static void has_in_order(const char *const *pieces)
{
    const char *at = probe.body.data;
    size_t left = probe.body.used;
    for (; *pieces != NULL; pieces++) {
        const char *found = memmem(at, left, *pieces, strlen(*pieces));
        cr_assert_not_null(found, "%s in %.*s", *pieces, (int)probe.body.used, probe.body.data);
        left -= (size_t)(found - at);
        at = found;
    }
}

Test(s3_buckets, list_everything_with_size_date_and_tag)
{
    fill();
    cr_assert_eq(owner("GET", "/bucket?list-type=2"), 200);
    has_in_order((const char *const[]){"<Name>bucket</Name>", "<Prefix></Prefix>", "<KeyCount>8</KeyCount>",
                                       "<MaxKeys>1000</MaxKeys>", "<IsTruncated>false</IsTruncated>",
                                       "<Contents><Key>a</Key><LastModified>2023-11-14T22:13:20.123Z</LastModified>",
                                       "<ETag>&quot;0123456789abcdef0123456789abcdef-1&quot;</ETag>",
                                       "<Size>5</Size><StorageClass>STANDARD</StorageClass></Contents>",
                                       "<Key>b&amp;c</Key>", "<Key>e \xc3\xa4+</Key>", "<Key>z</Key>", NULL});
    cr_assert_not(probe_body_has(&probe, "<Owner>"));
}

Test(s3_buckets, fold_keys_at_the_delimiter)
{
    fill();
    cr_assert_eq(owner("GET", "/bucket?list-type=2&delimiter=%2F&encoding-type=url&prefix="), 200);
    has_in_order((const char *const[]){"<KeyCount>6</KeyCount>", "<Delimiter>/</Delimiter>",
                                       "<EncodingType>url</EncodingType>", "<Key>a</Key>", "<Key>b%26c</Key>",
                                       "<Key>e+%C3%A4%2B</Key>", "<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>",
                                       "<CommonPrefixes><Prefix>dir/</Prefix></CommonPrefixes>", NULL});
    cr_assert_not(probe_body_has(&probe, "<Key>a/1</Key>"));
    cr_assert_eq(owner("GET", "/bucket?list-type=2&delimiter=%2F&prefix=dir%2F"), 200);
    has_in_order((const char *const[]){"<Prefix>dir/</Prefix>", "<Key>dir/x</Key>",
                                       "<CommonPrefixes><Prefix>dir/y/</Prefix></CommonPrefixes>", NULL});
}

/* Copy the text of the first element of that name. */
static bool element(const char *name, char *text, size_t capacity)
{
    char open[64];
    (void)snprintf(open, sizeof(open), "<%s>", name);
    const char *start = memmem(probe.body.data, probe.body.used, open, strlen(open));
    if (start == NULL) {
        return false;
    }
    start += strlen(open);
    size_t left = probe.body.used - (size_t)(start - probe.body.data);
    const char *end = memchr(start, '<', left);
    cr_assert_lt((size_t)(end - start), capacity);
    memcpy(text, start, (size_t)(end - start));
    text[end - start] = '\0';
    return true;
}

Test(s3_buckets, page_through_with_continuation_tokens)
{
    fill();
    char target[256] = "/bucket?list-type=2&max-keys=3&delimiter=%2F";
    char token[128];
    static const char *const first_names[] = {"<Key>a</Key>", "<Key>e \xc3\xa4+</Key>"};
    for (unsigned page = 0; page < 2; page++) {
        cr_assert_eq(owner("GET", target), 200);
        cr_assert(probe_body_has(&probe, first_names[page]), "%u", page);
        cr_assert_eq(element("NextContinuationToken", token, sizeof(token)), page == 0);
        (void)snprintf(target, sizeof(target), "/bucket?list-type=2&max-keys=3&delimiter=%%2F&continuation-token=%s",
                       token);
    }
    cr_assert(probe_body_has(&probe, "<IsTruncated>false</IsTruncated>"));
    cr_assert(probe_body_has(&probe, "<ContinuationToken>"));
}

Test(s3_buckets, start_after_a_key_that_need_not_exist)
{
    fill();
    cr_assert_eq(owner("GET", "/bucket?list-type=2&start-after=dir%2Fa"), 200);
    has_in_order(
        (const char *const[]){"<StartAfter>dir/a</StartAfter>", "<KeyCount>4</KeyCount>", "<Key>dir/x</Key>", NULL});
}

Test(s3_buckets, list_in_the_old_way_with_markers)
{
    fill();
    cr_assert_eq(owner("GET", "/bucket?max-keys=2&marker=a%2F1"), 200);
    has_in_order((const char *const[]){"<Marker>a/1</Marker>", "<MaxKeys>2</MaxKeys>",
                                       "<IsTruncated>true</IsTruncated>", "<NextMarker>b&amp;c</NextMarker>",
                                       "<Key>a/2</Key>", "<Owner><ID>acme</ID>", "<Key>b&amp;c</Key>", NULL});
    cr_assert_not(probe_body_has(&probe, "KeyCount"));
}

Test(s3_buckets, list_owners_when_asked)
{
    fill();
    cr_assert_eq(owner("GET", "/bucket?list-type=2&fetch-owner=true"), 200);
    cr_assert(probe_body_has(&probe, "<Owner><ID>acme</ID>"));
}

Test(s3_buckets, clamp_and_check_max_keys)
{
    fill();
    cr_assert_eq(owner("GET", "/bucket?list-type=2&max-keys=0"), 200);
    cr_assert(probe_body_has(&probe, "<KeyCount>0</KeyCount><MaxKeys>0</MaxKeys><IsTruncated>false</IsTruncated>"));
    cr_assert_eq(owner("GET", "/bucket?list-type=2&max-keys=100000"), 200);
    cr_assert(probe_body_has(&probe, "<MaxKeys>1000</MaxKeys>"));
    static const char *const bad[] = {"max-keys=-1",
                                      "max-keys=x",
                                      "max-keys=99999999999",
                                      "continuation-token=zz",
                                      "continuation-token=abc",
                                      "encoding-type=base64",
                                      "list-type=3",
                                      "continuation-token=610062",
                                      "start-after=a%00b"};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        char target[128];
        (void)snprintf(target, sizeof(target), "/bucket?%s%s", strstr(bad[i], "list-type") ? "" : "list-type=2&",
                       bad[i]);
        cr_assert_eq(owner("GET", target), 400, "%s", bad[i]);
        cr_assert(probe_body_has(&probe, "InvalidArgument"), "%s", bad[i]);
    }
}

Test(s3_buckets, refuse_places_longer_than_a_key)
{
    char target[2 * S3_KEY_BYTES_MAX + 128];
    fill();
    static const char *const starts[] = {
        "/bucket?list-type=2&continuation-token=", "/bucket?list-type=2&start-after=", "/bucket?marker="};
    for (size_t i = 0; i < ARRAY_LENGTH(starts); i++) {
        size_t bytes = strlen(starts[i]);
        size_t longest = i == 0 ? 2 * S3_KEY_BYTES_MAX : S3_KEY_BYTES_MAX;
        memcpy(target, starts[i], bytes);
        memset(target + bytes, '7', longest + 2);
        target[bytes + longest] = '\0';
        cr_assert_eq(owner("GET", target), 200, "%s", starts[i]);
        target[bytes + longest] = '7';
        target[bytes + longest + 2] = '\0';
        cr_assert_eq(owner("GET", target), 400, "%s", starts[i]);
        cr_assert(probe_body_has(&probe, "InvalidArgument"));
    }
}

Test(s3_buckets, list_a_thousand_keys_of_any_bytes)
{
    fake_gateway_add_bucket(&probe.gateway, "bucket");
    for (unsigned i = 0; i < 1200; i++) {
        char key[64];
        (void)snprintf(key, sizeof(key), "%05u&<>\x01", 1199 - i);
        fake_gateway_add_object(&probe.gateway, "bucket", key, "", 0);
    }
    cr_assert_eq(owner("GET", "/bucket?list-type=2"), 200);
    has_in_order((const char *const[]){"<KeyCount>1000</KeyCount>", "<IsTruncated>true</IsTruncated>",
                                       "<Key>00000&amp;&lt;&gt;&#x1;</Key>", "<Key>00999&amp;", NULL});
    cr_assert_not(probe_body_has(&probe, "<Key>01000"));
}

Test(s3_buckets, end_well_when_the_client_goes_while_a_call_is_in_flight)
{
    probe.gateway.hold_calls = true;
    probe_begin(&probe, "GET", "/bucket");
    probe_send(&probe, FAKE_OWNER, "", 0); /* Ends the exchange; it is released when the cancelled call is over. */
    cr_assert_eq(probe.status, 0);
    cr_assert(probe.released);
}
