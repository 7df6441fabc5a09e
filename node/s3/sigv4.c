/* sigv4.c - see sigv4.h. */
#include "node/s3/sigv4.h"

#include "base/keys.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define ALGORITHM             "AWS4-HMAC-SHA256"
#define SECRET_KEY_BYTES_HERE 128 /* longest secret we sign with */
#define SIGNED_HEADERS_BYTES  2048

/* ---- hashing text piece by piece --------------------------------------------------------------- */

/* Gathers small pieces, because the hash takes a call per update. */
struct text_hash {
    struct digest digest;
    size_t used;
    char pending[512];
};

static void text_hash_flush(struct text_hash *hash)
{
    digest_update(&hash->digest, hash->pending, hash->used);
    hash->used = 0;
}

static void text_hash_byte(struct text_hash *hash, char byte)
{
    if (hash->used == sizeof(hash->pending)) {
        text_hash_flush(hash);
    }
    hash->pending[hash->used++] = byte;
}

static void text_hash_span(struct text_hash *hash, struct text_span span)
{
    for (size_t i = 0; i < span.bytes; i++) {
        text_hash_byte(hash, span.data[i]);
    }
}

/* ---- canonical coding -------------------------------------------------------------------------- */

/* Walks coded text and gives the canonical coding of the same text, byte by byte. */
struct recode {
    struct text_span rest;
    enum uri_part part;
    char pending[2]; /* the digits of a %XX that has been begun */
    unsigned pending_count;
};

static struct recode recode_of(struct text_span text, enum uri_part part)
{
    return (struct recode){.rest = text, .part = part};
}

/* The next canonical byte, or -1 at the end. A '%' that starts no code is a byte like any other. */
static int recode_next(struct recode *recode)
{
    static const char digits[] = "0123456789ABCDEF";
    if (recode->pending_count > 0) {
        return recode->pending[2 - recode->pending_count--];
    }
    if (recode->rest.bytes == 0) {
        return -1;
    }
    unsigned char byte = (unsigned char)recode->rest.data[0];
    size_t used = 1;
    bool coded = false;
    if (byte == '%' && recode->rest.bytes >= 3) {
        int high = uri_hex_digit(recode->rest.data[1]);
        int low = uri_hex_digit(recode->rest.data[2]);
        if (high >= 0 && low >= 0) {
            byte = (unsigned char)(high * 16 + low);
            used = 3;
            coded = true;
        }
    } else if (byte == '+' && recode->part == URI_QUERY) {
        byte = ' ';
    }
    recode->rest.data += used;
    recode->rest.bytes -= used;
    if (uri_is_unreserved(byte) || (byte == '/' && !coded && recode->part == URI_PATH)) {
        return byte;
    }
    recode->pending[0] = digits[byte >> 4];
    recode->pending[1] = digits[byte & 15];
    recode->pending_count = 2;
    return '%';
}

static void hash_recoded(struct text_hash *hash, struct text_span text, enum uri_part part)
{
    struct recode recode = recode_of(text, part);
    for (int byte = recode_next(&recode); byte >= 0; byte = recode_next(&recode)) {
        text_hash_byte(hash, (char)byte);
    }
}

static int compare_recoded(struct text_span a, struct text_span b)
{
    struct recode left = recode_of(a, URI_QUERY);
    struct recode right = recode_of(b, URI_QUERY);
    for (;;) {
        int x = recode_next(&left);
        int y = recode_next(&right);
        if (x != y) {
            return x < y ? -1 : 1;
        }
        if (x < 0) {
            return 0;
        }
    }
}

static int compare_parameters(const struct sigv4_field *a, const struct sigv4_field *b)
{
    int by_name = compare_recoded(a->name, b->name);
    return by_name != 0 ? by_name : compare_recoded(a->value, b->value);
}

/* Parameters sorted by coded name, then by coded value. */
static enum status hash_query(struct text_hash *hash, struct text_span query)
{
    struct sigv4_field sorted[SIGV4_PARAMETERS_MAX];
    size_t count = 0;
    struct sigv4_field parameter;
    while (uri_query_next(&query, &parameter.name, &parameter.value)) {
        if (text_span_equals(parameter.name, "X-Amz-Signature")) {
            continue;
        }
        if (count == SIGV4_PARAMETERS_MAX) {
            return STATUS_TOO_LARGE;
        }
        size_t position = count++;
        while (position > 0 && compare_parameters(&parameter, &sorted[position - 1]) < 0) {
            sorted[position] = sorted[position - 1];
            position--;
        }
        sorted[position] = parameter;
    }
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            text_hash_byte(hash, '&');
        }
        hash_recoded(hash, sorted[i].name, URI_QUERY);
        text_hash_byte(hash, '=');
        hash_recoded(hash, sorted[i].value, URI_QUERY);
    }
    return STATUS_OK;
}

static void hash_header_value(struct text_hash *hash, struct text_span value)
{
    value = text_span_trim(value);
    bool blank = false;
    for (size_t i = 0; i < value.bytes; i++) {
        char byte = value.data[i];
        if (byte == ' ' || byte == '\t') {
            blank = true;
            continue;
        }
        if (blank) {
            text_hash_byte(hash, ' ');
            blank = false;
        }
        text_hash_byte(hash, byte);
    }
}

static bool names_equal(struct text_span a, struct text_span b)
{
    return a.bytes == b.bytes && (a.bytes == 0 || strncasecmp(a.data, b.data, a.bytes) == 0);
}

/* One line per signed name, in the order of the claim; a header that is not there has an empty value. */
static void hash_headers(struct text_hash *hash, const struct sigv4_request *request, struct text_span signed_headers)
{
    while (signed_headers.bytes > 0) {
        struct text_span name = text_span_cut(&signed_headers, ';');
        text_hash_span(hash, name);
        text_hash_byte(hash, ':');
        bool first = true;
        for (size_t i = 0; i < request->header_count; i++) {
            if (!names_equal(request->headers[i].name, name)) {
                continue;
            }
            if (!first) {
                text_hash_byte(hash, ',');
            }
            hash_header_value(hash, request->headers[i].value);
            first = false;
        }
        text_hash_byte(hash, '\n');
    }
}

static enum status hash_canonical_request(const struct sigv4_request *request, struct text_span signed_headers,
                                          uint8_t result[SHA256_BYTES])
{
    struct text_hash hash = {.used = 0};
    digest_begin(&hash.digest, DIGEST_SHA256);
    text_hash_span(&hash, request->method);
    text_hash_byte(&hash, '\n');
    if (request->path.bytes == 0) {
        text_hash_byte(&hash, '/');
    }
    hash_recoded(&hash, request->path, URI_PATH);
    text_hash_byte(&hash, '\n');
    enum status status = hash_query(&hash, request->query);
    if (status != STATUS_OK) {
        digest_abandon(&hash.digest);
        return status;
    }
    text_hash_byte(&hash, '\n');
    hash_headers(&hash, request, signed_headers);
    text_hash_byte(&hash, '\n');
    text_hash_span(&hash, signed_headers);
    text_hash_byte(&hash, '\n');
    text_hash_span(&hash, request->payload_hash);
    text_hash_flush(&hash);
    digest_end(&hash.digest, result);
    return STATUS_OK;
}

/* ---- keys and signatures ----------------------------------------------------------------------- */

/* kSigning = HMAC(HMAC(HMAC(HMAC("AWS4" + secret, date), region), service), "aws4_request"). */
static enum status derive_signing_key(const char *secret_key, const struct sigv4_claim *claim,
                                      uint8_t key[SHA256_BYTES])
{
    char start[4 + SECRET_KEY_BYTES_HERE];
    size_t secret_bytes = strlen(secret_key);
    if (secret_bytes > SECRET_KEY_BYTES_HERE) {
        return STATUS_TOO_LARGE;
    }
    memcpy(start, "AWS4", 4);
    memcpy(start + 4, secret_key, secret_bytes);
    uint8_t step[SHA256_BYTES];
    hmac_sha256(start, 4 + secret_bytes, claim->date.data, claim->date.bytes, key);
    hmac_sha256(key, SHA256_BYTES, claim->region.data, claim->region.bytes, step);
    hmac_sha256(step, SHA256_BYTES, claim->service.data, claim->service.bytes, key);
    hmac_sha256(key, SHA256_BYTES, "aws4_request", 12, step);
    memcpy(key, step, SHA256_BYTES);
    wipe_memory(start, sizeof(start));
    wipe_memory(step, sizeof(step));
    return STATUS_OK;
}

#define SCOPE_PART_BYTES_MAX 64

enum status sigv4_signature(const struct sigv4_request *request, const struct sigv4_claim *claim,
                            const char *secret_key, uint8_t signature[SIGV4_SIGNATURE_BYTES])
{
    uint8_t request_hash[SHA256_BYTES];
    enum status status = hash_canonical_request(request, claim->signed_headers, request_hash);
    if (status != STATUS_OK) {
        return status;
    }
    char request_hash_hex[2 * SHA256_BYTES + 1];
    hex_encode(request_hash, sizeof(request_hash), request_hash_hex);
    char text[5 * SCOPE_PART_BYTES_MAX + 160];
    int bytes =
        snprintf(text, sizeof(text), ALGORITHM "\n%.*s\n%.*s/%.*s/%.*s/aws4_request\n%s", (int)claim->timestamp.bytes,
                 claim->timestamp.data, (int)claim->date.bytes, claim->date.data, (int)claim->region.bytes,
                 claim->region.data, (int)claim->service.bytes, claim->service.data, request_hash_hex);
    if (bytes < 0 || (size_t)bytes >= sizeof(text)) {
        return STATUS_TOO_LARGE;
    }
    uint8_t key[SHA256_BYTES];
    status = derive_signing_key(secret_key, claim, key);
    if (status != STATUS_OK) {
        return status;
    }
    hmac_sha256(key, sizeof(key), text, (size_t)bytes, signature);
    wipe_memory(key, sizeof(key));
    return STATUS_OK;
}

enum status sigv4_verify(const struct sigv4_request *request, const struct sigv4_claim *claim, const char *secret_key)
{
    uint8_t expected[SIGV4_SIGNATURE_BYTES];
    enum status status = sigv4_signature(request, claim, secret_key, expected);
    if (status == STATUS_OK && !equal_constant_time(expected, claim->signature, sizeof(expected))) {
        status = STATUS_DENIED;
    }
    /* What would have been right is as good as a signature. */
    wipe_memory(expected, sizeof(expected));
    return status;
}

/* ---- claims ------------------------------------------------------------------------------------ */

enum status sigv4_claim_from_parts(struct text_span credential, struct text_span signed_headers,
                                   struct text_span signature, struct sigv4_claim *claim)
{
    struct sigv4_claim read = {.signed_headers = signed_headers};
    read.access_key = text_span_cut(&credential, '/');
    read.date = text_span_cut(&credential, '/');
    read.region = text_span_cut(&credential, '/');
    read.service = text_span_cut(&credential, '/');
    if (!text_span_equals(credential, "aws4_request") || read.access_key.bytes == 0 || read.date.bytes != 8 ||
        read.region.bytes > SCOPE_PART_BYTES_MAX || read.service.bytes == 0 ||
        read.service.bytes > SCOPE_PART_BYTES_MAX || signed_headers.bytes == 0) {
        return STATUS_INVALID;
    }
    if (!hex_decode(signature.data, signature.bytes, read.signature, sizeof(read.signature))) {
        return STATUS_INVALID;
    }
    *claim = read;
    return STATUS_OK;
}

enum status sigv4_claim_from_header(struct text_span authorization, struct sigv4_claim *claim)
{
    if (!text_span_starts_with(authorization, ALGORITHM)) {
        return STATUS_INVALID;
    }
    authorization.data += strlen(ALGORITHM);
    authorization.bytes -= strlen(ALGORITHM);
    if (authorization.bytes == 0 || authorization.data[0] != ' ') {
        return STATUS_INVALID;
    }
    struct text_span credential = {.bytes = 0};
    struct text_span signed_headers = {.bytes = 0};
    struct text_span signature = {.bytes = 0};
    while (authorization.bytes > 0) {
        struct text_span value = text_span_trim(text_span_cut(&authorization, ','));
        struct text_span name = text_span_cut(&value, '=');
        struct text_span *target = text_span_equals(name, "Credential")      ? &credential
                                   : text_span_equals(name, "SignedHeaders") ? &signed_headers
                                   : text_span_equals(name, "Signature")     ? &signature
                                                                             : NULL;
        if (target == NULL || target->bytes > 0) {
            return STATUS_INVALID;
        }
        *target = value;
    }
    return sigv4_claim_from_parts(credential, signed_headers, signature, claim);
}

bool sigv4_claim_signs(const struct sigv4_claim *claim, struct text_span name)
{
    struct text_span rest = claim->signed_headers;
    while (rest.bytes > 0) {
        if (names_equal(text_span_cut(&rest, ';'), name)) {
            return true;
        }
    }
    return false;
}

/* ---- signing ----------------------------------------------------------------------------------- */

static int compare_names(struct text_span a, struct text_span b)
{
    size_t shorter = a.bytes < b.bytes ? a.bytes : b.bytes;
    int order = strncasecmp(a.data, b.data, shorter);
    if (order != 0) {
        return order;
    }
    return a.bytes == b.bytes ? 0 : a.bytes < b.bytes ? -1 : 1;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Write the names of all headers, sorted, once each, in lower case. */
static enum status list_signed_headers(const struct sigv4_request *request, char *list, size_t capacity)
{
    struct text_span sorted[SIGV4_SIGNED_FIELDS_MAX];
    size_t count = 0;
    if (request->header_count > SIGV4_SIGNED_FIELDS_MAX) {
        return STATUS_TOO_LARGE;
    }
    for (size_t i = 0; i < request->header_count; i++) {
        size_t position = count++;
        while (position > 0 && compare_names(request->headers[i].name, sorted[position - 1]) < 0) {
            sorted[position] = sorted[position - 1];
            position--;
        }
        sorted[position] = request->headers[i].name;
    }
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && compare_names(sorted[i], sorted[i - 1]) == 0) {
            continue;
        }
        if (used + sorted[i].bytes + 2 > capacity) {
            return STATUS_TOO_LARGE;
        }
        if (used > 0) {
            list[used++] = ';';
        }
        for (size_t j = 0; j < sorted[i].bytes; j++) {
            list[used++] = lower(sorted[i].data[j]);
        }
    }
    list[used] = '\0';
    return STATUS_OK;
}

enum status sigv4_sign(const struct sigv4_request *request, const char *access_key, const char *secret_key,
                       const char *region, const char timestamp[DATE_AMZ_BYTES], char *authorization, size_t capacity)
{
    char signed_headers[SIGNED_HEADERS_BYTES];
    enum status status = list_signed_headers(request, signed_headers, sizeof(signed_headers));
    if (status != STATUS_OK) {
        return status;
    }
    struct sigv4_claim claim = {.access_key = text_span_of(access_key),
                                .date = {.data = timestamp, .bytes = 8},
                                .region = text_span_of(region),
                                .service = text_span_of("s3"),
                                .signed_headers = text_span_of(signed_headers),
                                .timestamp = text_span_of(timestamp)};
    uint8_t signature[SIGV4_SIGNATURE_BYTES];
    status = sigv4_signature(request, &claim, secret_key, signature);
    if (status != STATUS_OK) {
        return status;
    }
    char signature_hex[2 * SIGV4_SIGNATURE_BYTES + 1];
    hex_encode(signature, sizeof(signature), signature_hex);
    int bytes = snprintf(authorization, capacity,
                         ALGORITHM " Credential=%s/%.8s/%s/s3/aws4_request, SignedHeaders=%s, Signature=%s", access_key,
                         timestamp, region, signed_headers, signature_hex);
    return bytes < 0 || (size_t)bytes >= capacity ? STATUS_TOO_LARGE : STATUS_OK;
}
