/* fuzz_sigv4.c - authorization headers, canonicalisation and dates. The input is lines: authorization, path, query, then
 * headers. Whatever we sign ourselves has to verify, if the headers' names are names. */
#include "node/s3/sigv4.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#define HEADERS_MAX 80

static bool is_name(struct text_span name)
{
    for (size_t i = 0; i < name.bytes; i++) {
        if (!uri_is_unreserved((unsigned char)name.data[i])) {
            return false;
        }
    }
    return name.bytes > 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct text_span rest = {.data = (const char *)data, .bytes = bytes};
    struct sigv4_field headers[HEADERS_MAX];
    struct sigv4_claim claim;
    char authorization[4096];
    uint64_t wall_ms;
    struct text_span claimed = text_span_cut(&rest, '\n');
    struct sigv4_request request = {.method = text_span_of("GET"), .payload_hash = text_span_of("UNSIGNED-PAYLOAD")};
    request.path = text_span_cut(&rest, '\n');
    request.query = text_span_cut(&rest, '\n');
    bool names_are_good = true;
    while (rest.bytes > 0 && request.header_count < HEADERS_MAX) {
        struct text_span line = text_span_cut(&rest, '\n');
        struct sigv4_field *header = &headers[request.header_count++];
        header->name = text_span_cut(&line, ':');
        header->value = line;
        names_are_good = names_are_good && is_name(header->name);
    }
    request.headers = headers;
    (void)date_from_amz(claimed, &wall_ms);
    (void)date_from_http(claimed, &wall_ms);
    if (sigv4_claim_from_header(claimed, &claim) == STATUS_OK) {
        claim.timestamp = text_span_of("20130524T000000Z");
        (void)sigv4_claim_signs(&claim, text_span_of("host"));
        (void)sigv4_verify(&request, &claim, "secret");
    }
    if (names_are_good &&
        sigv4_sign(&request, "AKID", "secret", "us-east-1", "20130524T000000Z", authorization, sizeof(authorization)) ==
            STATUS_OK &&
        sigv4_claim_from_header(text_span_of(authorization), &claim) == STATUS_OK) {
        claim.timestamp = text_span_of("20130524T000000Z");
        CHECK(sigv4_verify(&request, &claim, "secret") == STATUS_OK);
    }
    return 0;
}
