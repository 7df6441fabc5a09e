/* service.c - operations on the service itself: ListBuckets. */
#include "node/s3/routes.h"
#include "node/s3/xml_writer.h"

#define BUCKETS_PER_CALL  1000
#define BUCKETS_TOTAL_MAX 10000 /* of one listing; a tenant's limit is lower */

static void write_owner(struct s3_exchange *exchange)
{
    xml_open(&exchange->text, "Owner");
    xml_word(&exchange->text, "ID", exchange->caller.tenant_name);
    xml_word(&exchange->text, "DisplayName", exchange->caller.tenant_name);
    xml_close(&exchange->text, "Owner");
}

static void ask_for_buckets(struct s3_exchange *exchange, char *start_after);

static void buckets_listed(struct s3_exchange *exchange, enum status status, const ProtobufCMessage *message)
{
    if (status != STATUS_OK) {
        s3_answer_status(exchange, status);
        return;
    }
    const Trilith__BucketListReply *reply = (const Trilith__BucketListReply *)message;
    struct text_buffer *out = &exchange->text;
    for (size_t i = 0; i < reply->n_buckets; i++) {
        char created[DATE_ISO_BYTES];
        date_to_iso(reply->buckets[i]->created_ms, created);
        xml_open(out, "Bucket");
        xml_word(out, "Name", reply->buckets[i]->name);
        xml_word(out, "CreationDate", created);
        xml_close(out, "Bucket");
    }
    exchange->range_bytes += reply->n_buckets;
    if (reply->truncated && reply->n_buckets > 0 && exchange->range_bytes < BUCKETS_TOTAL_MAX) {
        ask_for_buckets(exchange, reply->buckets[reply->n_buckets - 1]->name);
        return;
    }
    xml_close(out, "Buckets");
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
    static char from_the_start[] = "";
    text_buffer_reset(&exchange->text, S3_ANSWER_BYTES_MAX);
    xml_begin(&exchange->text, "ListAllMyBucketsResult", S3_NAMESPACE);
    write_owner(exchange);
    xml_open(&exchange->text, "Buckets");
    exchange->range_bytes = 0;
    ask_for_buckets(exchange, from_the_start);
}

const struct s3_operation s3_list_buckets = {
    .name = "ListBuckets", .body = S3_TAKES_NOTHING, .start = list_buckets_start};
