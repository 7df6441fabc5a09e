/* s3_probe.h - one signed S3 request through the front without a network: a transport that a test drives.
 *
 *   probe_begin(&probe, "PUT", "/bucket/key"); probe_header(&probe, ...); probe_send(&probe, FAKE_OWNER, body, bytes);
 *
 * and then the answer is in probe.status, probe.body and probe_answer_header(). */
#ifndef TRILITH_TESTS_S3_PROBE_H
#define TRILITH_TESTS_S3_PROBE_H

#include "node/s3/exchange.h"
#include "tests/sim/sim_loop.h"
#include "tests/unit/fake_gateway.h"

#define PROBE_HEADERS_MAX 120
#define PROBE_TEXT_BYTES  KIB(64)

struct probe {
    struct sim_loop *sim;
    struct gateway gateway;
    struct s3_service service;
    struct s3_exchange exchange;
    bool released;
    unsigned wakes;

    char text[PROBE_TEXT_BYTES]; /* of the request's headers */
    size_t text_used;
    struct sigv4_field headers[PROBE_HEADERS_MAX];
    size_t header_count;
    const char *method;
    const char *target;
    bool raw; /* add no headers, do not sign */
    int64_t clock_shift_ms;
    const char *region;
    const char *secret;
    const char *payload_hash;  /* instead of UNSIGNED-PAYLOAD */
    size_t body_stops_at;      /* the body ends early: the client goes away */
    size_t piece;              /* bytes per write; 0: all */
    const char *unsigned_name; /* a header that is added after signing */
    const char *unsigned_value;

    unsigned status;
    struct text_buffer body;
    bool broken;        /* the answer's body ended before its length */
    bool body_admitted; /* "100 Continue" would have gone out */
};

void probe_open(struct probe *probe);
void probe_close(struct probe *probe);
void probe_begin(struct probe *probe, const char *method, const char *target);
void probe_header(struct probe *probe, const char *name, const char *value);
/* Sign as `access_key`, send all, and read the answer to its end. */
void probe_send(struct probe *probe, const char *access_key, const void *body, size_t bytes);
/* In one line: a request without headers of its own. Returns the HTTP status. */
unsigned probe_do(struct probe *probe, const char *method, const char *target, const char *access_key,
                  const char *body);
/* The value of a header of the answer, or NULL. */
const char *probe_answer_header(const struct probe *probe, const char *name);
bool probe_body_has(const struct probe *probe, const char *text);

#endif
