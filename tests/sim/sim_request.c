/* sim_request.c - the head of a request, and the steps that bring it through an exchange.
 *
 *   begin ──> (S3_CHECKING: wait) ──> S3_RECEIVING: pieces, end of body ──> (S3_FINISHING: wait) ──> S3_ANSWERED: pieces
 *                                                                                                       └──> the client hears
 * One function, step_run(), does whatever the stage asks for. It runs from one timer on the node's loop, which the
 * transport's wake() arms, and which pauses of slow clients delay. */
#include "tests/sim/sim_request.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define REGION            "us-east-1"
#define CONNECT_NS_MIN    (20 * NS_PER_US)
#define CONNECT_NS_MAX    (300 * NS_PER_US)
#define PIECE_BYTES_MAX   KIB(128)
#define PIECES_IN_A_ROW   4u /* then others get a turn */
#define PIECES_PAUSE_NS   (100 * NS_PER_US)
#define SLOW_PIECES       24u /* a slow client's body comes in about this many pieces */
#define SLOW_PAUSE_MS_MAX 60u
#define DIGEST_PERCENT    30u /* of the puts announce a checksum */

/* ---- life -------------------------------------------------------------------------------------- */

static void free_if_over(struct sim_request *request)
{
    if (request->released && request->heard && !request->answering) {
        list_remove(&request->link);
        free(request->content);
        free(request->body);
        free(request);
    }
}

static void woken(struct s3_exchange *exchange)
{
    struct sim_request *request = CONTAINER_OF(exchange, struct sim_request, exchange);
    if (!request->ended && !loop_timer_is_armed(&request->step)) {
        struct loop *loop = sim_loop_interface(request->loop);
        loop_timer_start(loop, &request->step, loop_now_ns(loop));
    }
}

static void released(struct s3_exchange *exchange)
{
    struct sim_request *request = CONTAINER_OF(exchange, struct sim_request, exchange);
    CHECK(request->ended && !request->released);
    s3_exchange_reset(exchange);
    s3_exchange_deinit(exchange);
    request->released = true;
    free_if_over(request);
}

static const struct s3_transport transport = {.wake = woken, .released = released};

/* ---- the head ---------------------------------------------------------------------------------- */

static struct text_span keep(struct sim_request *request, const char *text)
{
    size_t bytes = strlen(text);
    CHECK(bytes < SIM_REQUEST_TEXT_BYTES - request->text_used);
    char *copy = request->text + request->text_used;
    memcpy(copy, text, bytes + 1);
    request->text_used += bytes + 1;
    return (struct text_span){.data = copy, .bytes = bytes};
}

static void header(struct sim_request *request, const char *name, const char *value)
{
    CHECK(request->header_count < SIM_REQUEST_HEADERS_MAX);
    struct sigv4_field *field = &request->headers[request->header_count++];
    field->name = keep(request, name);
    field->value = keep(request, value);
}

static void header_number(struct sim_request *request, const char *name, uint64_t number)
{
    char text[24];
    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
    header(request, name, text);
}

static const char *const methods[SIM_OPERATION_KINDS] = {
    [SIM_PUT] = "PUT",   [SIM_GET] = "GET",       [SIM_GET_RANGE] = "GET",
    [SIM_HEAD] = "HEAD", [SIM_DELETE] = "DELETE", [SIM_LIST] = "GET"};

static void write_target(struct sim_request *request, const struct sim_operation *operation)
{
    if (operation->kind == SIM_LIST) {
        (void)snprintf(request->target, sizeof(request->target), "/bucket%u?list-type=2", operation->bucket);
        return;
    }
    char name[SIM_KEY_NAME_BYTES];
    sim_key_name(operation->key, name);
    (void)snprintf(request->target, sizeof(request->target), "/bucket%u/%s", operation->bucket, name);
}

static void content_make(struct sim_request *request, const struct sim_operation *operation)
{
    request->content_bytes = operation->size;
    request->content = malloc(operation->size + 1);
    CHECK(request->content != NULL);
    sim_content_fill(operation->value, 0, request->content, operation->size);
}

static void header_md5(struct sim_request *request, bool spoiled)
{
    uint8_t md5[MD5_BYTES];
    char text[4 * ((MD5_BYTES + 2) / 3) + 1];
    struct digest digest;
    digest_begin(&digest, DIGEST_MD5);
    digest_update(&digest, request->content, request->content_bytes);
    digest_end(&digest, md5);
    md5[0] ^= spoiled ? 1 : 0;
    base64_encode(md5, sizeof(md5), text);
    header(request, "Content-MD5", text);
}

/* What x-amz-content-sha256 says, and a Content-MD5 now and then. A spoiled put has one of the two wrong. */
static void announce_checksums(struct sim_request *request, bool spoiled, char payload_hash[2 * SHA256_BYTES + 1])
{
    (void)snprintf(payload_hash, 2 * SHA256_BYTES + 1, "%s", SIGV4_UNSIGNED_PAYLOAD);
    if (request->content == NULL || (!spoiled && !sim_random_percent(&request->random, DIGEST_PERCENT))) {
        return;
    }
    if (sim_random_percent(&request->random, 50)) {
        header_md5(request, spoiled);
        return;
    }
    uint8_t hash[SHA256_BYTES];
    sha256(request->content, request->content_bytes, hash);
    hash[0] ^= spoiled ? 1 : 0;
    hex_encode(hash, sizeof(hash), payload_hash);
}

static void sign(struct sim_request *request, const char *payload_hash)
{
    char authorization[1024];
    char timestamp[DATE_AMZ_BYTES];
    struct sim_cluster *cluster = request->cluster;
    date_to_amz(loop_wall_ms(sim_loop_interface(request->client->loop)), timestamp);
    header(request, "Host", request->node->s3_address);
    header(request, "X-Amz-Date", timestamp);
    header(request, "x-amz-content-sha256", payload_hash);
    struct text_span rest = text_span_of(request->target);
    struct sigv4_request to_sign = {.method = text_span_of(request->method),
                                    .path = text_span_cut(&rest, '?'),
                                    .headers = request->headers,
                                    .header_count = request->header_count,
                                    .payload_hash = text_span_of(payload_hash)};
    to_sign.query = rest;
    CHECK(sigv4_sign(&to_sign, cluster->access_key, cluster->secret_key, REGION, timestamp, authorization,
                     sizeof(authorization)) == STATUS_OK);
    header(request, "Authorization", authorization);
}

static void head_make(struct sim_request *request, const struct sim_operation *operation)
{
    char payload_hash[2 * SHA256_BYTES + 1];
    request->method = methods[operation->kind];
    write_target(request, operation);
    if (operation->kind == SIM_PUT) {
        content_make(request, operation);
        header_number(request, "Content-Length", operation->size);
    }
    if (operation->kind == SIM_GET_RANGE) {
        char range[64];
        (void)snprintf(range, sizeof(range), "bytes=%llu-%llu", (unsigned long long)operation->offset,
                       (unsigned long long)(operation->offset + operation->length - 1));
        header(request, "Range", range);
    }
    announce_checksums(request, operation->spoiled, payload_hash);
    sign(request, payload_hash);
}

/* ---- the steps --------------------------------------------------------------------------------- */

static void step_after(struct sim_request *request, uint64_t pause_ns)
{
    struct loop *loop = sim_loop_interface(request->loop);
    loop_timer_start(loop, &request->step, loop_now_ns(loop) + pause_ns);
}

/* After a piece: go on later, when there were enough in a row or the client is slow. True: go on at once. */
static bool next_piece_now(struct sim_request *request, unsigned pieces)
{
    if (request->slow) {
        step_after(request, sim_random_below(&request->random, SLOW_PAUSE_MS_MAX * NS_PER_MS));
        return false;
    }
    if (pieces >= PIECES_IN_A_ROW) {
        step_after(request, PIECES_PAUSE_NS);
        return false;
    }
    return true;
}

static size_t piece_bytes(struct sim_request *request, uint64_t left, uint64_t whole)
{
    uint64_t most = request->slow ? whole / SLOW_PIECES * 2 + 2 : PIECE_BYTES_MAX;
    uint64_t bytes = sim_random_between(&request->random, 1, most);
    if (!request->slow && sim_random_percent(&request->random, 80)) {
        bytes = most; /* Mostly as much as the socket's buffer holds. */
    }
    return (size_t)(bytes < left ? bytes : left);
}

static void begin(struct sim_request *request)
{
    struct s3_request *head = &request->exchange.request;
    request->begun = true;
    s3_request_set_method(head, text_span_of(request->method));
    s3_request_set_target(head, text_span_of(request->target));
    for (size_t i = 0; i < request->header_count; i++) {
        s3_request_add_header(head, request->headers[i].name, request->headers[i].value);
    }
    s3_exchange_begin(&request->exchange);
}

static void bring_body(struct sim_request *request)
{
    struct s3_exchange *exchange = &request->exchange;
    unsigned pieces = 0;
    while (request->sent < request->content_bytes) {
        size_t piece = piece_bytes(request, request->content_bytes - request->sent, request->content_bytes);
        size_t taken = s3_exchange_write(exchange, request->content + request->sent, piece);
        request->sent += taken;
        if (exchange->stage != S3_RECEIVING || taken < piece || !next_piece_now(request, ++pieces)) {
            return;
        }
    }
    if (!request->body_over) {
        request->body_over = true;
        s3_exchange_body_end(exchange);
    }
}

/* Tell the client what has come. */
static void finish(struct sim_request *request, bool broken)
{
    request->broken = broken;
    request->ended = true;
    if (request->client != NULL) {
        request->answering = true;
        loop_post(sim_loop_interface(request->client->loop), &request->answer_task);
    }
    s3_exchange_end(&request->exchange); /* May free the request, when nobody waits for the answer. */
}

/* The size of the whole object, as the headers say. */
static uint64_t object_bytes_of(const struct s3_answer *answer)
{
    for (unsigned i = 0; i < answer->header_count; i++) {
        const char *slash = strchr(answer->headers[i].value, '/');
        if (strcasecmp(answer->headers[i].name, "content-range") == 0 && slash != NULL) {
            return strtoull(slash + 1, NULL, 10);
        }
    }
    return answer->body_bytes;
}

static void answer_begins(struct sim_request *request)
{
    const struct s3_answer *answer = &request->exchange.answer;
    request->http_status = answer->http_status;
    request->object_bytes = object_bytes_of(answer);
    if (answer->body != S3_BODY_NONE) {
        request->body_bytes_max = answer->body_bytes;
        request->body = malloc(answer->body_bytes + 1);
        CHECK(request->body != NULL);
    }
}

static void read_answer(struct sim_request *request)
{
    if (request->http_status == 0) {
        answer_begins(request);
    }
    unsigned pieces = 0;
    while (request->body_bytes < request->body_bytes_max) {
        uint64_t left = request->body_bytes_max - request->body_bytes;
        size_t taken = 0;
        enum status status = s3_exchange_read(&request->exchange, request->body + request->body_bytes,
                                              piece_bytes(request, left, request->body_bytes_max), &taken);
        if (status != STATUS_OK) {
            finish(request, true);
            return;
        }
        request->body_bytes += taken;
        if (taken == 0) {
            return; /* wake() says when there is more. */
        }
        if (request->body_bytes < request->body_bytes_max && !next_piece_now(request, ++pieces)) {
            return;
        }
    }
    finish(request, false);
}

static void step_run(struct loop_timer *timer)
{
    struct sim_request *request = CONTAINER_OF(timer, struct sim_request, step);
    if (!request->begun) {
        begin(request);
        return;
    }
    switch (request->exchange.stage) {
    case S3_CHECKING:
    case S3_FINISHING:
        return;
    case S3_RECEIVING:
        bring_body(request);
        return;
    case S3_ANSWERED:
        read_answer(request);
        return;
    case S3_IDLE:
        break;
    }
    UNREACHABLE();
}

/* ---- the client's side --------------------------------------------------------------------------- */

static void answer_run(struct loop_task *task)
{
    struct sim_request *request = CONTAINER_OF(task, struct sim_request, answer_task);
    request->answering = false;
    if (request->client != NULL) {
        sim_client_answered(request->client);
    } else {
        free_if_over(request);
    }
}

static void exchange_break(struct sim_request *request)
{
    if (!request->ended) {
        request->ended = true;
        loop_timer_stop(sim_loop_interface(request->loop), &request->step);
        s3_exchange_end(&request->exchange);
    }
}

static void leave_run(struct loop_task *task)
{
    exchange_break(CONTAINER_OF(task, struct sim_request, leave_task));
}

struct sim_request *sim_request_start(struct sim_client *client, struct sim_node *node)
{
    CHECK(node->state == SIM_RUNNING);
    struct sim_request *request = calloc(1, sizeof(*request));
    CHECK(request != NULL);
    request->cluster = client->cluster;
    request->client = client;
    request->node = node;
    request->loop = node->loop;
    request->random = sim_random_of(sim_random_u64(&client->random));
    request->slow = client->slow;
    request->step.fire = step_run;
    request->leave_task.run = leave_run;
    request->answer_task.run = answer_run;
    list_append(&client->cluster->requests, &request->link);
    s3_exchange_init(&request->exchange, &node->s3, &transport);
    head_make(request, &client->operation);
    step_after(request, sim_random_between(&request->random, CONNECT_NS_MIN, CONNECT_NS_MAX));
    return request;
}

void sim_request_leave(struct sim_request *request)
{
    CHECK(request->client != NULL);
    request->client = NULL;
    request->heard = true;
    if (!request->ended) {
        loop_post(sim_loop_interface(request->loop), &request->leave_task);
    }
    free_if_over(request);
}

/* ---- the node's end ------------------------------------------------------------------------------ */

void sim_requests_break(struct sim_cluster *cluster, const struct sim_node *node)
{
    LIST_EACH (&cluster->requests, link) {
        struct sim_request *request = LIST_ENTRY(link, struct sim_request, link);
        if (request->loop == node->loop) {
            exchange_break(request);
        }
    }
}

bool sim_requests_remain(const struct sim_cluster *cluster, const struct sim_node *node)
{
    LIST_EACH (&cluster->requests, link) {
        const struct sim_request *request = LIST_ENTRY(link, const struct sim_request, link);
        if (request->loop == node->loop && !request->released) {
            return true;
        }
    }
    return false;
}

void sim_requests_drop(struct sim_cluster *cluster, const struct sim_node *node)
{
    LIST_EACH (&cluster->requests, link) {
        struct sim_request *request = LIST_ENTRY(link, struct sim_request, link);
        if (request->node == node && !request->released) {
            request->ended = true;
            request->released = true;
            free_if_over(request);
        }
    }
}
