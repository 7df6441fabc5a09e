/* test_s3_request.c - the decoding of request heads: buckets, keys, parameters, framing, and the limits. */
#include "node/s3/request.h"

#include <criterion/criterion.h>
#include <string.h>

static struct s3_request request;

static enum s3_error resolve(const char *method, const char *target, const char *host, const char *domain)
{
    s3_request_init(&request);
    s3_request_set_method(&request, text_span_of(method));
    s3_request_set_target(&request, text_span_of(target));
    s3_request_add_header(&request, text_span_of("HOST"), text_span_of(host));
    s3_request_resolve(&request, domain);
    return request.error;
}

Test(s3_request, finds_bucket_and_key_in_path_style)
{
    cr_assert_eq(resolve("GET", "/", "h", NULL), S3_NONE);
    cr_assert_eq(request.level, S3_SERVICE);
    cr_assert_eq(resolve("GET", "/bucket", "h", NULL), S3_NONE);
    cr_assert_eq(request.level, S3_BUCKET);
    cr_assert_eq(resolve("GET", "/bucket/", "h", NULL), S3_NONE);
    cr_assert_eq(request.level, S3_BUCKET);
    cr_assert_str_eq(request.bucket, "bucket");
    cr_assert_eq(resolve("PUT", "/bucket/dir//../a%20b+c%2Fd?x=1", "h", NULL), S3_NONE);
    cr_assert_eq(request.level, S3_OBJECT);
    cr_assert(text_span_equals(request.key, "dir//../a b+c/d"));
    cr_assert_eq(request.method, S3_PUT);
}

Test(s3_request, finds_the_bucket_in_the_host_when_a_domain_is_set)
{
    cr_assert_eq(resolve("GET", "/a/b", "bucket.S3.example.com:9000", "s3.example.com"), S3_NONE);
    cr_assert_str_eq(request.bucket, "bucket");
    cr_assert(text_span_equals(request.key, "a/b"));
    cr_assert_eq(resolve("GET", "/", "my.bucket.s3.example.com", "s3.example.com"), S3_NONE);
    cr_assert_str_eq(request.bucket, "my.bucket");
    cr_assert_eq(request.level, S3_BUCKET);
    cr_assert_eq(resolve("GET", "/bucket/key", "s3.example.com", "s3.example.com"), S3_NONE);
    cr_assert_str_eq(request.bucket, "bucket");
    cr_assert_eq(resolve("GET", "/bucket/key", "10.0.0.1:9000", "s3.example.com"), S3_NONE);
    cr_assert_str_eq(request.bucket, "bucket");
}

Test(s3_request, takes_only_good_bucket_names)
{
    static const char *const good[] = {"abc", "a-b", "a.b.c", "123", "1.2.3.4.5", "a--b"};
    static const char *const bad[] = {"ab",      "Abc",         "a_b",  "-abc",  "abc-",
                                      "a..b",    "a.-b",        "a-.b", ".abc",  "192.168.1.1",
                                      "xn--abc", "abc-s3alias", "a b",  "a%2Fb", "abc--ol-s3"};
    char target[80] = "/";
    for (size_t i = 0; i < ARRAY_LENGTH(good); i++) {
        strcpy(target + 1, good[i]);
        cr_assert_eq(resolve("GET", target, "h", NULL), S3_NONE, "%s", good[i]);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        strcpy(target + 1, bad[i]);
        cr_assert_neq(resolve("GET", target, "h", NULL), S3_NONE, "%s", bad[i]);
    }
    memset(target + 1, 'a', 64);
    target[65] = '\0';
    cr_assert_eq(resolve("GET", target, "h", NULL), S3_INVALID_BUCKET_NAME);
    target[64] = '\0';
    cr_assert_eq(resolve("GET", target, "h", NULL), S3_NONE);
}

Test(s3_request, bounds_keys_and_wants_utf8)
{
    char target[1200] = "/bucket/";
    memset(target + 8, 'k', S3_KEY_BYTES_MAX);
    target[8 + S3_KEY_BYTES_MAX] = '\0';
    cr_assert_eq(resolve("GET", target, "h", NULL), S3_NONE);
    target[8 + S3_KEY_BYTES_MAX] = 'k';
    target[9 + S3_KEY_BYTES_MAX] = '\0';
    cr_assert_eq(resolve("GET", target, "h", NULL), S3_KEY_TOO_LONG);
    cr_assert_eq(resolve("GET", "/bucket/%ff", "h", NULL), S3_INVALID_URI);
    cr_assert_eq(resolve("GET", "/bucket/a%00b", "h", NULL), S3_INVALID_URI);
    cr_assert_eq(resolve("GET", "/bucket/%", "h", NULL), S3_INVALID_URI);
    cr_assert_eq(resolve("GET", "/bucket/%E2%82%AC", "h", NULL), S3_NONE);
    cr_assert_eq(request.key.bytes, 3);
}

Test(s3_request, refuses_targets_that_are_no_path_or_too_long)
{
    static char target[S3_TARGET_BYTES_MAX + 2];
    cr_assert_eq(resolve("GET", "*", "h", NULL), S3_INVALID_URI);
    cr_assert_eq(resolve("GET", "", "h", NULL), S3_INVALID_URI);
    cr_assert_eq(resolve("GET", "//key", "h", NULL), S3_INVALID_BUCKET_NAME);
    memset(target, 'a', sizeof(target) - 1);
    target[0] = '/';
    cr_assert_eq(resolve("GET", target, "h", NULL), S3_REQUEST_URI_TOO_LONG);
}

Test(s3_request, decodes_parameters)
{
    struct text_span value;
    cr_assert_eq(resolve("GET", "/bucket?prefix=a%2Fb+c&acl&max-keys=5", "h", NULL), S3_NONE);
    cr_assert(s3_request_parameter(&request, "prefix", &value));
    cr_assert(text_span_equals(value, "a/b c"));
    cr_assert(s3_request_parameter(&request, "acl", &value));
    cr_assert_eq(value.bytes, 0);
    cr_assert_not(s3_request_parameter(&request, "ACL", &value));
    cr_assert_eq(resolve("GET", "/bucket?a=%zz", "h", NULL), S3_INVALID_URI);
}

Test(s3_request, bounds_parameters_and_headers)
{
    char target[16 + 2 * (S3_PARAMETERS_MAX + 1)] = "/bucket?";
    for (unsigned i = 0; i <= S3_PARAMETERS_MAX; i++) {
        strcat(target, "a&");
    }
    cr_assert_eq(resolve("GET", target, "h", NULL), S3_INVALID_ARGUMENT);
    s3_request_init(&request);
    s3_request_set_target(&request, text_span_of("/"));
    for (unsigned i = 0; i < 2000; i++) {
        s3_request_add_header(&request, text_span_of("a"), text_span_of("b"));
    }
    s3_request_resolve(&request, NULL);
    cr_assert_eq(request.error, S3_REQUEST_HEADER_TOO_LARGE);
    cr_assert_not(request.framing_known);
}

static enum s3_error framing(const char *name, const char *value, const char *other_name, const char *other_value)
{
    s3_request_init(&request);
    s3_request_set_target(&request, text_span_of("/"));
    s3_request_add_header(&request, text_span_of(name), text_span_of(value));
    if (other_name != NULL) {
        s3_request_add_header(&request, text_span_of(other_name), text_span_of(other_value));
    }
    s3_request_resolve(&request, NULL);
    return request.error;
}

Test(s3_request, refuses_lengths_that_contradict_each_other)
{
    cr_assert_eq(framing("Content-Length", " 12 ", NULL, NULL), S3_NONE);
    cr_assert_eq(request.content_bytes, 12);
    cr_assert_eq(framing("Content-Length", "12", "content-length", "12"), S3_INVALID_REQUEST);
    cr_assert_eq(framing("Content-Length", "12", "Transfer-Encoding", "chunked"), S3_INVALID_REQUEST);
    cr_assert_eq(framing("Content-Length", "-1", NULL, NULL), S3_INVALID_REQUEST);
    cr_assert_eq(framing("Content-Length", "1e3", NULL, NULL), S3_INVALID_REQUEST);
    cr_assert_eq(framing("Transfer-Encoding", "chunked", NULL, NULL), S3_NONE);
    cr_assert(request.is_chunked);
}
