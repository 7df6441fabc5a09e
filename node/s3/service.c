/* service.c - operations on the service itself: ListBuckets. */
#include "node/s3/routes.h"
#include "node/s3/xml_writer.h"

#define BUCKETS_PER_CALL  1000
#define BUCKETS_TOTAL_MAX 10000 /* of one listing */

/* The parameters, decoded and checked. */
struct bucket_query {
    uint64_t max;
    struct text_span prefix;
    char start_after[S3_BUCKET_BYTES_MAX + 1]; /* the continuation token is the last name before it */
};

static bool read_query(const struct s3_request *request, struct bucket_query *query)
{
    struct text_span value;
    *query = (struct bucket_query){.max = BUCKETS_TOTAL_MAX};
    (void)s3_request_parameter(request, "prefix", &query->prefix);
    if (s3_request_parameter(request, "max-buckets", &value) &&
        (!text_span_to_number(value, &query->max) || query->max < 1 || query->max > BUCKETS_TOTAL_MAX)) {
        return false;
    }
    return !s3_request_parameter(request, "continuation-token", &value) ||
           (s3_bucket_name_is_valid(value) && text_span_copy(value, query->start_after, sizeof(query->start_after)));
}

static void write_owner(struct s3_exchange *exchange)
{
    xml_open(&exchange->text, "Owner");
    xml_word(&exchange->text, "ID", exchange->caller.tenant_name);
    xml_word(&exchange->text, "DisplayName", exchange->caller.tenant_name);
    xml_close(&exchange->text, "Owner");
}

static void ask_for_buckets(struct s3_exchange *exchange, char *start_after);

/* Write a bucket, and count it, if it was asked for. */
static void write_bucket(struct s3_exchange *exchange, const struct bucket_query *query, const Trilith__Bucket *bucket)
{
    struct text_buffer *out = &exchange->text;
    char created[DATE_ISO_BYTES];
    if (strlen(bucket->name) < query->prefix.bytes ||
        (query->prefix.bytes > 0 && memcmp(bucket->name, query->prefix.data, query->prefix.bytes) != 0)) {
        return;
    }
    exchange->range_bytes++;
    date_to_iso(bucket->created_ms, created);
    xml_open(out, "Bucket");
    xml_word(out, "Name", bucket->name);
    xml_word(out, "CreationDate", created);
    xml_close(out, "Bucket");
}

static void buckets_listed(struct s3_exchange *exchange, enum status status, const ProtobufCMessage *message)
{
    if (status != STATUS_OK) {
        s3_answer_status(exchange, status);
        return;
    }
    const Trilith__BucketListReply *reply = (const Trilith__BucketListReply *)message;
    struct text_buffer *out = &exchange->text;
    struct bucket_query query;
    if (!read_query(&exchange->request, &query)) {
        UNREACHABLE(); /* It could be read when the call was made. */
    }
    size_t seen = 0;
    for (; seen < reply->n_buckets && exchange->range_bytes < query.max; seen++) {
        write_bucket(exchange, &query, reply->buckets[seen]);
    }
    char *last = seen > 0 ? reply->buckets[seen - 1]->name : NULL;
    bool full = exchange->range_bytes == query.max;
    if (reply->truncated && last != NULL && !full) {
        ask_for_buckets(exchange, last);
        return;
    }
    xml_close(out, "Buckets");
    if (last != NULL && full && (reply->truncated || seen < reply->n_buckets)) {
        xml_word(out, "ContinuationToken", last);
    }
    if (query.prefix.bytes > 0) {
        xml_text(out, "Prefix", query.prefix);
    }
    xml_close(out, "ListAllMyBucketsResult");
    s3_answer_text(exchange, 200);
}

static void ask_for_buckets(struct s3_exchange *exchange, char *start_after)
{
    Trilith__BucketListRequest request;
    trilith__bucket_list_request__init(&request);
    request.tenant_id = exchange->caller.tenant_id;
    request.start_after = start_after;
    request.max = BUCKETS_PER_CALL;
    s3_call(exchange, TRILITH__MESSAGE_TYPE__BUCKET_LIST, &request.base, buckets_listed);
}

static void list_buckets_start(struct s3_exchange *exchange)
{
    struct bucket_query query;
    if (!read_query(&exchange->request, &query)) {
        s3_answer_error(exchange, S3_INVALID_ARGUMENT);
        return;
    }
    text_buffer_reset(&exchange->text, S3_ANSWER_BYTES_MAX);
    xml_begin(&exchange->text, "ListAllMyBucketsResult", S3_NAMESPACE);
    write_owner(exchange);
    xml_open(&exchange->text, "Buckets");
    exchange->range_bytes = 0;
    ask_for_buckets(exchange, query.start_after);
}

const struct s3_operation s3_list_buckets = {
    .name = "ListBuckets", .body = S3_TAKES_NOTHING, .start = list_buckets_start};
