/* http_client.h - one blocking HTTP/1.1 keep-alive connection to an S3 endpoint, as cheap as a load driver needs it.
 *
 * It speaks only what S3 servers answer: a status line, headers, a body with Content-Length (or chunked, for XML). The
 * body is received straight into the caller's buffer. A broken connection is reported and reopened by the next
 * request. One thread per connection. */
#ifndef TRILITH_BENCH_HTTP_CLIENT_H
#define TRILITH_BENCH_HTTP_CLIENT_H

#include "base/status.h"

#include "base/check.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_HEAD_BYTES_MAX 8192

struct http_client {
    char address[64]; /* host:port */
    int descriptor;   /* -1: not connected */
    uint8_t head[HTTP_HEAD_BYTES_MAX];
};

void http_client_init(struct http_client *client, const char *address);
void http_client_deinit(struct http_client *client);

/* Send `head` (request line and headers, ending with an empty line) and `body`, and read the answer. At most `capacity`
 * bytes of its body go to `answer`; the rest is read away. `*http_status` and `*answer_bytes` (the whole length) are
 * written on STATUS_OK. STATUS_UNAVAILABLE: no connection, or it broke; STATUS_CORRUPT: the answer is not HTTP. */
MUST_USE enum status http_request(struct http_client *client, const char *head, size_t head_bytes, const void *body,
                                  size_t body_bytes, bool answer_has_body, void *answer, size_t capacity,
                                  int *http_status, uint64_t *answer_bytes);

#endif
