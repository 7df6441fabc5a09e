/* test_sigv4.c - signatures against the published examples: the AWS Signature Version 4 test suite and the S3 API
 * reference ("Authenticating Requests", 24 May 2013). */
#include "node/s3/sigv4.h"

#include <criterion/criterion.h>
#include <string.h>

#define SUITE_SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define S3_SECRET    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define EMPTY_HASH   "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define S3_HOST      "examplebucket.s3.amazonaws.com"

static const char *signature_of(const struct sigv4_request *request, const struct sigv4_claim *claim,
                                const char *secret)
{
    static char hex[2 * SIGV4_SIGNATURE_BYTES + 1];
    uint8_t signature[SIGV4_SIGNATURE_BYTES];
    cr_assert_eq(sigv4_signature(request, claim, secret, signature), STATUS_OK);
    hex_encode(signature, sizeof(signature), hex);
    return hex;
}

/* One case of the suite: `extra` are headers besides Host and X-Amz-Date, in the order sent. */
static const char *suite(const char *method, const char *path, const char *query, const char *signed_headers,
                         const struct sigv4_field *extra, size_t extra_count)
{
    struct sigv4_field headers[8] = {
        {.name = text_span_of("Host"), .value = text_span_of("example.amazonaws.com")},
        {.name = text_span_of("X-Amz-Date"), .value = text_span_of("20150830T123600Z")},
    };
    for (size_t i = 0; i < extra_count; i++) {
        headers[2 + i] = extra[i];
    }
    struct sigv4_request request = {.method = text_span_of(method),
                                    .path = text_span_of(path),
                                    .query = text_span_of(query),
                                    .headers = headers,
                                    .header_count = 2 + extra_count,
                                    .payload_hash = text_span_of(EMPTY_HASH)};
    struct sigv4_claim claim = {.access_key = text_span_of("AKIDEXAMPLE"),
                                .date = text_span_of("20150830"),
                                .region = text_span_of("us-east-1"),
                                .service = text_span_of("service"),
                                .signed_headers = text_span_of(signed_headers),
                                .timestamp = text_span_of("20150830T123600Z")};
    return signature_of(&request, &claim, SUITE_SECRET);
}

Test(sigv4, matches_get_vanilla)
{
    cr_assert_str_eq(suite("GET", "/", "", "host;x-amz-date", NULL, 0),
                     "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
}

Test(sigv4, matches_post_vanilla)
{
    cr_assert_str_eq(suite("POST", "/", "", "host;x-amz-date", NULL, 0),
                     "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
}

Test(sigv4, sorts_parameters_get_vanilla_query_order)
{
    cr_assert_str_eq(suite("GET", "/", "Param2=value2&Param1=value1", "host;x-amz-date", NULL, 0),
                     "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
}

Test(sigv4, leaves_unreserved_bytes_alone_get_unreserved)
{
    cr_assert_str_eq(suite("GET", "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "",
                           "host;x-amz-date", NULL, 0),
                     "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f");
}

Test(sigv4, codes_utf8_once_however_it_was_sent_get_utf8)
{
    const char *expected = "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85";
    cr_assert_str_eq(suite("GET", "/\xe1\x88\xb4", "", "host;x-amz-date", NULL, 0), expected);
    cr_assert_str_eq(suite("GET", "/%e1%88%b4", "", "host;x-amz-date", NULL, 0), expected);
    cr_assert_str_eq(suite("GET", "/%E1%88%B4", "", "host;x-amz-date", NULL, 0), expected);
}

Test(sigv4, codes_spaces_get_space)
{
    cr_assert_str_eq(suite("GET", "/example%20space/", "", "host;x-amz-date", NULL, 0),
                     "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741");
}

Test(sigv4, trims_and_collapses_blanks_get_header_value_trim)
{
    struct sigv4_field extra[] = {
        {.name = text_span_of("My-Header1"), .value = text_span_of(" value1")},
        {.name = text_span_of("My-Header2"), .value = text_span_of(" \"a   b \t c\"  ")},
    };
    cr_assert_str_eq(suite("GET", "/", "", "host;my-header1;my-header2;x-amz-date", extra, 2),
                     "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736");
}

Test(sigv4, joins_repeated_headers_get_header_key_duplicate)
{
    struct sigv4_field extra[] = {
        {.name = text_span_of("My-Header1"), .value = text_span_of("value2")},
        {.name = text_span_of("my-header1"), .value = text_span_of("value2")},
        {.name = text_span_of("My-Header1"), .value = text_span_of("value1")},
    };
    cr_assert_str_eq(suite("GET", "/", "", "host;my-header1;x-amz-date", extra, 3),
                     "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea");
}

/* One case of the S3 reference. */
static const char *s3_example(const char *method, const char *path, const char *query, const char *signed_headers,
                              const struct sigv4_field *headers, size_t header_count, const char *payload_hash)
{
    struct sigv4_request request = {.method = text_span_of(method),
                                    .path = text_span_of(path),
                                    .query = text_span_of(query),
                                    .headers = headers,
                                    .header_count = header_count,
                                    .payload_hash = text_span_of(payload_hash)};
    struct sigv4_claim claim = {.access_key = text_span_of("AKIAIOSFODNN7EXAMPLE"),
                                .date = text_span_of("20130524"),
                                .region = text_span_of("us-east-1"),
                                .service = text_span_of("s3"),
                                .signed_headers = text_span_of(signed_headers),
                                .timestamp = text_span_of("20130524T000000Z")};
    return signature_of(&request, &claim, S3_SECRET);
}

Test(sigv4, matches_the_s3_get_with_range)
{
    struct sigv4_field headers[] = {
        {.name = text_span_of("Host"), .value = text_span_of(S3_HOST)},
        {.name = text_span_of("Range"), .value = text_span_of("bytes=0-9")},
        {.name = text_span_of("x-amz-content-sha256"), .value = text_span_of(EMPTY_HASH)},
        {.name = text_span_of("x-amz-date"), .value = text_span_of("20130524T000000Z")},
    };
    cr_assert_str_eq(
        s3_example("GET", "/test.txt", "", "host;range;x-amz-content-sha256;x-amz-date", headers, 4, EMPTY_HASH),
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

Test(sigv4, matches_the_s3_put)
{
    const char *hash = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    struct sigv4_field headers[] = {
        {.name = text_span_of("Date"), .value = text_span_of("Fri, 24 May 2013 00:00:00 GMT")},
        {.name = text_span_of("Host"), .value = text_span_of(S3_HOST)},
        {.name = text_span_of("x-amz-content-sha256"), .value = text_span_of(hash)},
        {.name = text_span_of("x-amz-date"), .value = text_span_of("20130524T000000Z")},
        {.name = text_span_of("x-amz-storage-class"), .value = text_span_of("REDUCED_REDUNDANCY")},
    };
    cr_assert_str_eq(s3_example("PUT", "/test$file.text", "",
                                "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class", headers, 5, hash),
                     "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

Test(sigv4, matches_the_s3_subresource_without_a_value)
{
    struct sigv4_field headers[] = {
        {.name = text_span_of("Host"), .value = text_span_of(S3_HOST)},
        {.name = text_span_of("x-amz-content-sha256"), .value = text_span_of(EMPTY_HASH)},
        {.name = text_span_of("x-amz-date"), .value = text_span_of("20130524T000000Z")},
    };
    const char *signed_headers = "host;x-amz-content-sha256;x-amz-date";
    cr_assert_str_eq(s3_example("GET", "/", "lifecycle", signed_headers, headers, 3, EMPTY_HASH),
                     "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
    cr_assert_str_eq(s3_example("GET", "/", "prefix=J&max-keys=2", signed_headers, headers, 3, EMPTY_HASH),
                     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

Test(sigv4, matches_the_s3_presigned_url)
{
    struct sigv4_field headers[] = {{.name = text_span_of("Host"), .value = text_span_of(S3_HOST)}};
    cr_assert_str_eq(
        s3_example("GET", "/test.txt",
                   "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3"
                   "%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
                   "&X-Amz-Signature=00",
                   "host", headers, 1, SIGV4_UNSIGNED_PAYLOAD),
        "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
}

/* ---- signing and verifying --------------------------------------------------------------------- */

struct signed_request {
    struct sigv4_field headers[3];
    struct sigv4_request request;
    char authorization[1024];
    struct sigv4_claim claim;
};

static void sign(struct signed_request *it, const char *path, const char *query)
{
    it->headers[0] = (struct sigv4_field){text_span_of("x-amz-date"), text_span_of("20130524T000000Z")};
    it->headers[1] = (struct sigv4_field){text_span_of("Host"), text_span_of("127.0.0.1:9000")};
    it->headers[2] = (struct sigv4_field){text_span_of("X-Amz-Content-Sha256"), text_span_of(EMPTY_HASH)};
    it->request = (struct sigv4_request){.method = text_span_of("GET"),
                                         .path = text_span_of(path),
                                         .query = text_span_of(query),
                                         .headers = it->headers,
                                         .header_count = 3,
                                         .payload_hash = text_span_of(EMPTY_HASH)};
    cr_assert_eq(sigv4_sign(&it->request, "AKID", S3_SECRET, "us-east-1", "20130524T000000Z", it->authorization,
                            sizeof(it->authorization)),
                 STATUS_OK);
    cr_assert_eq(sigv4_claim_from_header(text_span_of(it->authorization), &it->claim), STATUS_OK);
    it->claim.timestamp = text_span_of("20130524T000000Z");
}

Test(sigv4, verifies_what_it_signed)
{
    struct signed_request it;
    sign(&it, "/bucket/a%2Fb//../c+d", "x=%20y&a&a=");
    cr_assert(text_span_equals(it.claim.signed_headers, "host;x-amz-content-sha256;x-amz-date"));
    cr_assert(text_span_equals(it.claim.access_key, "AKID"));
    cr_assert_eq(sigv4_verify(&it.request, &it.claim, S3_SECRET), STATUS_OK);
}

Test(sigv4, refuses_any_change)
{
    struct signed_request it;
    sign(&it, "/bucket/key", "prefix=a");
    cr_assert_eq(sigv4_verify(&it.request, &it.claim, SUITE_SECRET), STATUS_DENIED);
    it.request.path = text_span_of("/bucket/kez");
    cr_assert_eq(sigv4_verify(&it.request, &it.claim, S3_SECRET), STATUS_DENIED);
    sign(&it, "/bucket/key", "prefix=a");
    it.request.query = text_span_of("prefix=b");
    cr_assert_eq(sigv4_verify(&it.request, &it.claim, S3_SECRET), STATUS_DENIED);
    sign(&it, "/bucket/key", "prefix=a");
    it.request.method = text_span_of("PUT");
    cr_assert_eq(sigv4_verify(&it.request, &it.claim, S3_SECRET), STATUS_DENIED);
    sign(&it, "/bucket/key", "prefix=a");
    it.claim.signature[31] ^= 1;
    cr_assert_eq(sigv4_verify(&it.request, &it.claim, S3_SECRET), STATUS_DENIED);
}

Test(sigv4, keeps_a_coded_slash_apart_from_a_slash)
{
    struct signed_request it;
    sign(&it, "/bucket/a%2Fb", "");
    it.request.path = text_span_of("/bucket/a/b");
    cr_assert_eq(sigv4_verify(&it.request, &it.claim, S3_SECRET), STATUS_DENIED);
}

Test(sigv4, bounds_the_parameters)
{
    struct signed_request it;
    char query[4 * (SIGV4_PARAMETERS_MAX + 1) + 1];
    sign(&it, "/", "");
    memset(query, 0, sizeof(query));
    for (unsigned i = 0; i <= SIGV4_PARAMETERS_MAX; i++) {
        memcpy(query + 4 * (size_t)i, "a=b&", 4);
    }
    it.request.query = text_span_of(query);
    cr_assert_eq(sigv4_verify(&it.request, &it.claim, S3_SECRET), STATUS_TOO_LARGE);
}

Test(sigv4, says_when_the_authorization_does_not_fit)
{
    struct signed_request it;
    char small[40];
    sign(&it, "/", "");
    cr_assert_eq(sigv4_sign(&it.request, "AKID", S3_SECRET, "us-east-1", "20130524T000000Z", small, sizeof(small)),
                 STATUS_TOO_LARGE);
}

Test(sigv4, refuses_malformed_authorizations)
{
#define SIGNATURE "0000000000000000000000000000000000000000000000000000000000000000"
    static const char *const bad[] = {
        "",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 ",
        "AWS4-HMAC-SHA256Credential=a/20130524/r/s3/aws4_request,SignedHeaders=host,Signature=" SIGNATURE,
        "AWS4-HMAC-SHA512 Credential=a/20130524/r/s3/aws4_request,SignedHeaders=host,Signature=" SIGNATURE,
        "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_reques,SignedHeaders=host,Signature=" SIGNATURE,
        "AWS4-HMAC-SHA256 Credential=/20130524/r/s3/aws4_request,SignedHeaders=host,Signature=" SIGNATURE,
        "AWS4-HMAC-SHA256 Credential=a/2013052/r/s3/aws4_request,SignedHeaders=host,Signature=" SIGNATURE,
        "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request,SignedHeaders=,Signature=" SIGNATURE,
        "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request,SignedHeaders=host,Signature=0" SIGNATURE,
        "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request,SignedHeaders=host,Signature=zz",
        "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request,SignedHeaders=host",
        "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request,Credential=b,SignedHeaders=host,Signature=" SIGNATURE,
        "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request,Other=b,SignedHeaders=host,Signature=" SIGNATURE,
    };
    struct sigv4_claim claim;
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        cr_assert_eq(sigv4_claim_from_header(text_span_of(bad[i]), &claim), STATUS_INVALID, "%s", bad[i]);
    }
}
