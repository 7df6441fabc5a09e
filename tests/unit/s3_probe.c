/* s3_probe.c - see s3_probe.h. */
#include "tests/unit/s3_probe.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static void woken(struct s3_exchange *exchange)
{
    CONTAINER_OF(exchange, struct probe, exchange)->wakes++;
}

static void released(struct s3_exchange *exchange)
{
    struct probe *probe = CONTAINER_OF(exchange, struct probe, exchange);
    CHECK(!probe->released);
    probe->released = true;
}

static const struct s3_transport transport = {.wake = woken, .released = released};

void probe_open(struct probe *probe)
{
    memset(probe, 0, sizeof(*probe));
    probe->sim = sim_loop_open(1);
    fake_gateway_open(&probe->gateway, sim_loop_interface(probe->sim));
    probe->service.gateway = &probe->gateway;
    s3_exchange_init(&probe->exchange, &probe->service, &transport);
}

void probe_close(struct probe *probe)
{
    s3_exchange_deinit(&probe->exchange);
    text_buffer_free(&probe->body);
    fake_gateway_close(&probe->gateway);
    sim_loop_close(probe->sim);
}

void probe_begin(struct probe *probe, const char *method, const char *target)
{
    s3_exchange_reset(&probe->exchange);
    text_buffer_reset(&probe->body, MIB(64));
    probe->released = false;
    probe->text_used = 0;
    probe->header_count = 0;
    probe->method = method;
    probe->target = target;
    probe->raw = false;
    probe->clock_shift_ms = 0;
    probe->region = "us-east-1";
    probe->secret = FAKE_SECRET;
    probe->payload_hash = SIGV4_UNSIGNED_PAYLOAD;
    probe->body_stops_at = SIZE_MAX;
    probe->piece = 0;
    probe->unsigned_name = NULL;
    probe->status = 0;
    probe->broken = false;
    probe->body_admitted = false;
}

static struct text_span keep(struct probe *probe, const char *text)
{
    size_t bytes = strlen(text);
    CHECK(bytes < PROBE_TEXT_BYTES - probe->text_used);
    char *copy = probe->text + probe->text_used;
    memcpy(copy, text, bytes + 1);
    probe->text_used += bytes + 1;
    return (struct text_span){.data = copy, .bytes = bytes};
}

void probe_header(struct probe *probe, const char *name, const char *value)
{
    CHECK(probe->header_count < PROBE_HEADERS_MAX);
    struct sigv4_field *header = &probe->headers[probe->header_count++];
    header->name = keep(probe, name);
    header->value = keep(probe, value);
}

static void sign(struct probe *probe, const char *access_key)
{
    char authorization[4096];
    char timestamp[DATE_AMZ_BYTES];
    int64_t wall_ms = (int64_t)loop_wall_ms(sim_loop_interface(probe->sim)) + probe->clock_shift_ms;
    date_to_amz((uint64_t)wall_ms, timestamp);
    probe_header(probe, "Host", "s3.example.com:9000");
    probe_header(probe, "X-Amz-Date", timestamp);
    probe_header(probe, "x-amz-content-sha256", probe->payload_hash);
    struct text_span rest = text_span_of(probe->target);
    struct sigv4_request request = {.method = text_span_of(probe->method),
                                    .path = text_span_cut(&rest, '?'),
                                    .headers = probe->headers,
                                    .header_count = probe->header_count,
                                    .payload_hash = text_span_of(probe->payload_hash)};
    request.query = rest;
    CHECK(sigv4_sign(&request, access_key, probe->secret, probe->region, timestamp, authorization,
                     sizeof(authorization)) == STATUS_OK);
    probe_header(probe, "Authorization", authorization);
}

static void add_length(struct probe *probe, size_t bytes)
{
    char text[24];
    for (size_t i = 0; i < probe->header_count; i++) {
        if (text_span_equals_ignoring_case(probe->headers[i].name, "content-length") ||
            text_span_equals_ignoring_case(probe->headers[i].name, "transfer-encoding")) {
            return;
        }
    }
    (void)snprintf(text, sizeof(text), "%zu", bytes);
    probe_header(probe, "Content-Length", text);
}

/* False: the client has gone in the middle. */
static bool bring_body(struct probe *probe, const char *body, size_t bytes)
{
    size_t sent = 0;
    while (sent < bytes) {
        if (sent >= probe->body_stops_at) {
            return false;
        }
        size_t piece = bytes - sent;
        if (probe->piece > 0 && piece > probe->piece) {
            piece = probe->piece;
        }
        if (piece > probe->body_stops_at - sent) {
            piece = probe->body_stops_at - sent;
        }
        size_t taken = s3_exchange_write(&probe->exchange, body + sent, piece);
        sent += taken;
        if (taken < piece && !sim_loop_step(probe->sim)) {
            CHECK(false); /* It waits, but nothing will ever come. */
        }
    }
    return true;
}

static void read_answer(struct probe *probe)
{
    struct s3_exchange *exchange = &probe->exchange;
    while (exchange->answer.body != S3_BODY_NONE) {
        char buffer[4096];
        size_t taken = 0;
        enum status status = s3_exchange_read(exchange, buffer, sizeof(buffer), &taken);
        if (status != STATUS_OK) {
            probe->broken = status != STATUS_CLOSED || probe->body.used != exchange->answer.body_bytes;
            return;
        }
        text_buffer_append(&probe->body, buffer, taken);
        if (taken == 0 && !sim_loop_step(probe->sim)) {
            CHECK(false);
        }
    }
}

static void run(struct probe *probe, const void *body, size_t bytes)
{
    struct s3_exchange *exchange = &probe->exchange;
    s3_exchange_begin(exchange);
    while (exchange->stage == S3_CHECKING && sim_loop_step(probe->sim)) {
    }
    if (exchange->stage == S3_RECEIVING) {
        probe->body_admitted = true;
        if (!bring_body(probe, body, bytes)) {
            return;
        }
        s3_exchange_body_end(exchange);
    }
    while (exchange->stage == S3_FINISHING && sim_loop_step(probe->sim)) {
    }
    if (exchange->stage == S3_ANSWERED) {
        probe->status = exchange->answer.http_status;
        read_answer(probe);
    }
}

void probe_send(struct probe *probe, const char *access_key, const void *body, size_t bytes)
{
    if (!probe->raw) {
        add_length(probe, bytes);
        sign(probe, access_key);
    }
    if (probe->unsigned_name != NULL) {
        probe_header(probe, probe->unsigned_name, probe->unsigned_value);
    }
    struct s3_request *request = &probe->exchange.request;
    s3_request_set_method(request, text_span_of(probe->method));
    s3_request_set_target(request, text_span_of(probe->target));
    for (size_t i = 0; i < probe->header_count; i++) {
        s3_request_add_header(request, probe->headers[i].name, probe->headers[i].value);
    }
    run(probe, body, bytes);
    s3_exchange_end(&probe->exchange);
    sim_loop_run_until_idle(probe->sim);
    CHECK(probe->released);
    CHECK(probe->gateway.puts_open == 0);
    CHECK(probe->gateway.gets_open == 0);
}

unsigned probe_do(struct probe *probe, const char *method, const char *target, const char *access_key, const char *body)
{
    probe_begin(probe, method, target);
    probe_send(probe, access_key, body, strlen(body));
    return probe->status;
}

const char *probe_answer_header(const struct probe *probe, const char *name)
{
    const struct s3_answer *answer = &probe->exchange.answer;
    for (unsigned i = 0; i < answer->header_count; i++) {
        if (strcasecmp(answer->headers[i].name, name) == 0) {
            return answer->headers[i].value;
        }
    }
    return NULL;
}

bool probe_body_has(const struct probe *probe, const char *text)
{
    return probe->body.used > 0 && memmem(probe->body.data, probe->body.used, text, strlen(text)) != NULL;
}
