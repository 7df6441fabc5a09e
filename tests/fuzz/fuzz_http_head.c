/* fuzz_http_head.c - a request head from the network to the decision what to do with it: target, headers, parameters,
 * authentication, route, metadata, checksums, range and conditions. Lines end with \n or \r\n. */
#include "node/s3/authenticate.h"
#include "node/s3/body_check.h"
#include "node/s3/object_headers.h"
#include "node/s3/preconditions.h"
#include "node/s3/range.h"
#include "node/s3/routes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct s3_request request;
static struct object_meta meta;
static struct body_check check;

static struct text_span take_line(struct text_span *rest)
{
    struct text_span line = text_span_cut(rest, '\n');
    if (line.bytes > 0 && line.data[line.bytes - 1] == '\r') {
        line.bytes--;
    }
    return line;
}

static void read_head(struct text_span rest)
{
    struct text_span line = take_line(&rest);
    s3_request_init(&request);
    s3_request_set_method(&request, text_span_cut(&line, ' '));
    s3_request_set_target(&request, text_span_cut(&line, ' '));
    while (rest.bytes > 0) {
        line = take_line(&rest);
        if (line.bytes == 0) {
            break;
        }
        struct text_span name = text_span_cut(&line, ':');
        s3_request_add_header(&request, name, line);
    }
    s3_request_resolve(&request, "s3.example.com");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct s3_authentication authentication;
    const struct s3_route *route;
    struct text_span value;
    uint64_t first;
    uint64_t length;
    read_head((struct text_span){.data = (const char *)data, .bytes = bytes});
    if (request.error != S3_NONE) {
        return 0;
    }
    if (s3_authentication_read(&request, UINT64_C(1369353600000), &authentication) == S3_NONE) {
        (void)s3_authentication_verify(&authentication, &request, "secret");
    }
    (void)s3_route_find(&request, &route);
    (void)s3_headers_check(&request);
    (void)s3_headers_to_meta(&request, &meta);
    (void)preconditions_evaluate(&request, "etag-1", UINT64_C(1369353600000));
    if (s3_request_header(&request, "range", &value) && range_resolve(value, 1000, &first, &length) == RANGE_PART) {
        CHECK(length > 0 && first < 1000 && length <= 1000 - first);
    }
    if (body_check_begin(&check, &request) == S3_NONE) {
        body_check_update(&check, "abc", 3);
        (void)body_check_end(&check);
    }
    return 0;
}
