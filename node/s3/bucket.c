/* bucket.c - operations on a bucket: create, head, delete, location. */
#include "node/s3/routes.h"
#include "node/s3/xml_reader.h"
#include "node/s3/xml_writer.h"

/* ---- create ------------------------------------------------------------------------------------ */

static void bucket_created(struct s3_exchange *exchange, enum status status, const ProtobufCMessage *reply)
{
    (void)reply;
    char location[S3_BUCKET_BYTES_MAX + 2];
    /* Names belong to the tenant, so one that exists is the caller's own: us-east-1 answers 200 to that. */
    if (status != STATUS_OK && status != STATUS_EXISTS) {
        s3_answer_status(exchange, status);
        return;
    }
    location[0] = '/';
    memcpy(location + 1, exchange->request.bucket, sizeof(exchange->request.bucket));
    s3_answer_header(exchange, "Location", location);
    s3_answer_empty(exchange, 200);
}

static void create_bucket_start(struct s3_exchange *exchange)
{
    s3_receive(exchange);
}

/* Any location is accepted: there is one. */
static void create_bucket_finish(struct s3_exchange *exchange)
{
    char region[XML_REGION_BYTES_MAX];
    if (exchange->text.failed) {
        s3_answer_error(exchange, S3_INTERNAL_ERROR);
        return;
    }
    if (exchange->text.used > 0 &&
        xml_read_create_bucket(exchange->text.data, exchange->text.used, region) != STATUS_OK) {
        s3_answer_error(exchange, S3_MALFORMED_XML);
        return;
    }
    Trilith__BucketCreateRequest request;
    trilith__bucket_create_request__init(&request);
    request.tenant_id = exchange->caller.tenant_id;
    request.name = exchange->request.bucket;
    s3_call(exchange, TRILITH__MESSAGE_TYPE__BUCKET_CREATE, &request.base, bucket_created);
}

const struct s3_operation s3_create_bucket = {
    .name = "CreateBucket", .body = S3_TAKES_DOCUMENT, .start = create_bucket_start, .finish = create_bucket_finish};

/* ---- head and location ------------------------------------------------------------------------- */

static void ask_for_bucket(struct s3_exchange *exchange, void (*done)(struct s3_exchange *exchange, enum status status,
                                                                      const ProtobufCMessage *reply))
{
    Trilith__BucketGetRequest request;
    trilith__bucket_get_request__init(&request);
    request.tenant_id = exchange->caller.tenant_id;
    request.name = exchange->request.bucket;
    s3_call(exchange, TRILITH__MESSAGE_TYPE__BUCKET_GET, &request.base, done);
}

/* True: `status` is an error and has been answered. */
static bool refused(struct s3_exchange *exchange, enum status status)
{
    if (status == STATUS_OK) {
        return false;
    }
    s3_answer_error(exchange, status == STATUS_NOT_FOUND   ? S3_NO_SUCH_BUCKET
                              : status == STATUS_NOT_EMPTY ? S3_BUCKET_NOT_EMPTY
                                                           : s3_error_from_status(status));
    return true;
}

static void head_bucket_found(struct s3_exchange *exchange, enum status status, const ProtobufCMessage *reply)
{
    (void)reply;
    if (!refused(exchange, status)) {
        s3_answer_header(exchange, "x-amz-bucket-region", "us-east-1");
        s3_answer_empty(exchange, 200);
    }
}

static void head_bucket_start(struct s3_exchange *exchange)
{
    ask_for_bucket(exchange, head_bucket_found);
}

const struct s3_operation s3_head_bucket = {.name = "HeadBucket", .body = S3_TAKES_NOTHING, .start = head_bucket_start};

static void location_found(struct s3_exchange *exchange, enum status status, const ProtobufCMessage *reply)
{
    (void)reply;
    if (!refused(exchange, status)) {
        /* The location of us-east-1 is written as nothing. */
        text_buffer_reset(&exchange->text, S3_DOCUMENT_BYTES_MAX);
        xml_begin(&exchange->text, "LocationConstraint", S3_NAMESPACE);
        xml_close(&exchange->text, "LocationConstraint");
        s3_answer_text(exchange, 200);
    }
}

static void get_bucket_location_start(struct s3_exchange *exchange)
{
    ask_for_bucket(exchange, location_found);
}

const struct s3_operation s3_get_bucket_location = {
    .name = "GetBucketLocation", .body = S3_TAKES_NOTHING, .start = get_bucket_location_start};

/* ---- delete ------------------------------------------------------------------------------------ */

static void bucket_deleted(struct s3_exchange *exchange, enum status status, const ProtobufCMessage *reply)
{
    (void)reply;
    if (!refused(exchange, status)) {
        s3_answer_empty(exchange, 204);
    }
}

static void delete_bucket_start(struct s3_exchange *exchange)
{
    Trilith__BucketDeleteRequest request;
    trilith__bucket_delete_request__init(&request);
    request.tenant_id = exchange->caller.tenant_id;
    request.name = exchange->request.bucket;
    s3_call(exchange, TRILITH__MESSAGE_TYPE__BUCKET_DELETE, &request.base, bucket_deleted);
}

const struct s3_operation s3_delete_bucket = {
    .name = "DeleteBucket", .body = S3_TAKES_NOTHING, .start = delete_bucket_start};
