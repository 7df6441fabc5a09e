/* listing.c - ListObjectsV2, and the older ListObjects on the same call to the metadata service.
 *
 * The order is that of the keys' bytes; a page ends with the opaque place to go on from (ObjectListReply.next), which V2
 * hands out as hex in the continuation token and V1 in clear as NextMarker. */
#include "node/s3/routes.h"
#include "node/s3/xml_writer.h"

#include <stdio.h>

#define KEYS_PER_PAGE_MAX 1000

/* The parameters, decoded and checked; the spans point into the request. */
struct listing {
    bool is_v2;
    bool with_owner;
    enum xml_names names;
    uint32_t max;
    bool has_max, has_delimiter, has_start_after, has_token;
    struct text_span prefix, delimiter, start_after, token;
    uint8_t place[S3_KEY_BYTES_MAX]; /* decoded from the token */
    size_t place_bytes;
};

static bool read_names(const struct s3_request *request, struct listing *listing)
{
    struct text_span value;
    listing->names = XML_NAMES_PLAIN;
    if (!s3_request_parameter(request, "encoding-type", &value) || value.bytes == 0) {
        return true;
    }
    listing->names = XML_NAMES_URL;
    return text_span_equals(value, "url");
}

static bool read_max(const struct s3_request *request, struct listing *listing)
{
    struct text_span value;
    uint64_t number;
    listing->max = KEYS_PER_PAGE_MAX;
    if (!s3_request_parameter(request, "max-keys", &value) || value.bytes == 0) {
        return true;
    }
    if (!text_span_to_number(value, &number) || number > INT32_MAX) {
        return false;
    }
    listing->max = number < KEYS_PER_PAGE_MAX ? (uint32_t)number : KEYS_PER_PAGE_MAX;
    return true;
}

static bool read_token(const struct s3_request *request, struct listing *listing)
{
    if (!listing->is_v2 || !s3_request_parameter(request, "continuation-token", &listing->token)) {
        return true;
    }
    size_t bytes = listing->token.bytes / 2;
    if (bytes == 0 || bytes > sizeof(listing->place) ||
        !hex_decode(listing->token.data, listing->token.bytes, listing->place, bytes) ||
        memchr(listing->place, 0, bytes) != NULL) {
        return false;
    }
    listing->has_token = true;
    listing->place_bytes = bytes;
    return true;
}

static bool read_listing(const struct s3_request *request, struct listing *listing)
{
    struct text_span value;
    *listing = (struct listing){.is_v2 = false};
    if (s3_request_parameter(request, "list-type", &value)) {
        listing->is_v2 = text_span_equals(value, "2");
        if (!listing->is_v2 && !text_span_equals(value, "1")) {
            return false;
        }
    }
    (void)s3_request_parameter(request, "prefix", &listing->prefix);
    listing->has_delimiter =
        s3_request_parameter(request, "delimiter", &listing->delimiter) && listing->delimiter.bytes > 0;
    listing->has_start_after =
        s3_request_parameter(request, listing->is_v2 ? "start-after" : "marker", &listing->start_after);
    listing->with_owner =
        !listing->is_v2 || (s3_request_parameter(request, "fetch-owner", &value) && text_span_equals(value, "true"));
    if (listing->start_after.bytes > 0 && memchr(listing->start_after.data, 0, listing->start_after.bytes) != NULL) {
        return false; /* No key has such a byte. */
    }
    return listing->prefix.bytes <= S3_KEY_BYTES_MAX && listing->delimiter.bytes <= S3_KEY_BYTES_MAX &&
           listing->start_after.bytes <= S3_KEY_BYTES_MAX && read_names(request, listing) &&
           read_max(request, listing) && read_token(request, listing);
}

static struct text_span span_of(const ProtobufCBinaryData *data)
{
    return (struct text_span){.data = (const char *)data->data, .bytes = data->len};
}

static void write_next(struct text_buffer *out, const struct listing *listing, const ProtobufCBinaryData *next)
{
    if (!listing->is_v2) {
        xml_name(out, "NextMarker", span_of(next), listing->names);
        return;
    }
    xml_open(out, "NextContinuationToken");
    for (size_t i = 0; i < next->len; i++) {
        char hex[3];
        hex_encode(next->data + i, 1, hex);
        text_buffer_append(out, hex, 2);
    }
    xml_close(out, "NextContinuationToken");
}

/* Everything about the page but its entries. */
static void write_page(struct s3_exchange *exchange, const struct listing *listing,
                       const Trilith__ObjectListReply *reply)
{
    struct text_buffer *out = &exchange->text;
    xml_word(out, "Name", exchange->request.bucket);
    xml_name(out, "Prefix", listing->prefix, listing->names);
    if (!listing->is_v2) {
        xml_name(out, "Marker", listing->start_after, listing->names);
    } else if (listing->has_start_after) {
        xml_name(out, "StartAfter", listing->start_after, listing->names);
    }
    if (listing->has_token) {
        xml_text(out, "ContinuationToken", listing->token);
    }
    if (listing->is_v2) {
        xml_number(out, "KeyCount", reply->n_objects + reply->n_prefixes);
    }
    xml_number(out, "MaxKeys", listing->max);
    if (listing->has_delimiter) {
        xml_name(out, "Delimiter", listing->delimiter, listing->names);
    }
    if (listing->names == XML_NAMES_URL) {
        xml_word(out, "EncodingType", "url");
    }
    /* With max-keys=0 nothing follows, whatever the bucket holds. */
    bool truncated = reply->truncated && listing->max > 0;
    xml_word(out, "IsTruncated", truncated ? "true" : "false");
    if (truncated) {
        write_next(out, listing, &reply->next);
    }
}

static void write_object(struct s3_exchange *exchange, const struct listing *listing,
                         const Trilith__ListedObject *object)
{
    struct text_buffer *out = &exchange->text;
    char modified[DATE_ISO_BYTES];
    char etag[OBJECT_ETAG_BYTES + 3];
    date_to_iso(object->modified_ms, modified);
    (void)snprintf(etag, sizeof(etag), "\"%.*s\"", (int)OBJECT_ETAG_BYTES, object->etag);
    xml_open(out, "Contents");
    xml_name(out, "Key", span_of(&object->key), listing->names);
    xml_word(out, "LastModified", modified);
    xml_word(out, "ETag", etag);
    xml_number(out, "Size", object->size);
    if (listing->with_owner) {
        xml_open(out, "Owner");
        xml_word(out, "ID", exchange->caller.tenant_name);
        xml_word(out, "DisplayName", exchange->caller.tenant_name);
        xml_close(out, "Owner");
    }
    xml_word(out, "StorageClass", "STANDARD");
    xml_close(out, "Contents");
}

static void objects_listed(struct s3_exchange *exchange, enum status status, const ProtobufCMessage *message)
{
    if (status != STATUS_OK) {
        s3_answer_error(exchange, status == STATUS_CONFLICT ? S3_NO_SUCH_BUCKET : s3_error_from_status(status));
        return;
    }
    struct listing listing;
    if (!read_listing(&exchange->request, &listing)) {
        UNREACHABLE(); /* It could be read when the call was made. */
    }
    const Trilith__ObjectListReply *reply = (const Trilith__ObjectListReply *)message;
    struct text_buffer *out = &exchange->text;
    text_buffer_reset(out, S3_ANSWER_BYTES_MAX);
    xml_begin(out, "ListBucketResult", S3_NAMESPACE);
    write_page(exchange, &listing, reply);
    for (size_t i = 0; i < reply->n_objects; i++) {
        write_object(exchange, &listing, reply->objects[i]);
    }
    for (size_t i = 0; i < reply->n_prefixes; i++) {
        xml_open(out, "CommonPrefixes");
        xml_name(out, "Prefix", span_of(&reply->prefixes[i]), listing.names);
        xml_close(out, "CommonPrefixes");
    }
    xml_close(out, "ListBucketResult");
    s3_answer_text(exchange, 200);
}

/* protobuf-c wants bytes it could write to; it only reads what it packs. */
static ProtobufCBinaryData binary_of(struct text_span span)
{
    union {
        const char *given;
        uint8_t *wanted;
    } data = {.given = span.data};
    return (ProtobufCBinaryData){.data = data.wanted, .len = span.bytes};
}

static void list_objects_start(struct s3_exchange *exchange)
{
    struct listing listing;
    if (!read_listing(&exchange->request, &listing)) {
        s3_answer_error(exchange, S3_INVALID_ARGUMENT);
        return;
    }
    Trilith__ObjectListRequest request;
    trilith__object_list_request__init(&request);
    request.tenant_id = exchange->caller.tenant_id;
    request.bucket = exchange->request.bucket;
    request.prefix = binary_of(listing.prefix);
    request.delimiter = binary_of(listing.delimiter);
    request.start_after = listing.has_token ? (ProtobufCBinaryData){.data = listing.place, .len = listing.place_bytes}
                                            : binary_of(listing.start_after);
    request.max = listing.max;
    s3_call(exchange, TRILITH__MESSAGE_TYPE__OBJECT_LIST, &request.base, objects_listed);
}

const struct s3_operation s3_list_objects = {
    .name = "ListObjects", .body = S3_TAKES_NOTHING, .start = list_objects_start};
