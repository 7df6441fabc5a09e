/* http.h - the HTTP side of the S3 front: one libmicrohttpd server per reactor, run from the reactor's own loop.
 *
 * Every request gets an exchange from a pool that is as large as the number of connections, so nothing waits for memory.
 * A connection whose request waits for something (a credential, room for more of its body, the next unit of an object) is
 * suspended: nothing is read from it, and TCP tells the client to wait. "100 Continue" goes out only when the exchange
 * has admitted the body.
 *
 * A request that is refused while its body is still to come: with "Expect: 100-continue" the final status goes out at
 * once; otherwise a body of at most `drain_bytes_max` is read away first, so that the client sees the status and may keep
 * the connection; a longer one is answered at once and the connection closed.
 *
 * What the library itself refuses (malformed request lines, heads larger than `connection_memory_bytes`) gets its own
 * plain 400, 414 or 431 and the connection is closed.
 * Threads    Loop thread only. */
#ifndef TRILITH_NODE_S3_HTTP_H
#define TRILITH_NODE_S3_HTTP_H

#include "node/gateway.h"

struct http_front;

struct http_front_options {
    const char *listen;       /* "host:port", numeric; port 0 picks one; several reactors may share an address */
    const char *domain;       /* of virtual-host style requests; NULL or empty: path style only */
    uint32_t connections_max; /* 1.. */
    uint32_t connection_memory_bytes; /* of head and body buffers; 64 KiB is a good value */
    uint32_t idle_timeout_s;          /* a connection on which nothing moves is closed; 0: never */
    uint64_t drain_bytes_max;
    bool access_log;
};

/* The values a daemon starts from. */
struct http_front_options http_front_default_options(void);

/* Listen and serve. On failure writes one line for people into `message`.
 *   STATUS_INVALID  the address can't be read    STATUS_EXISTS  it is in use    STATUS_DENIED  not permitted
 *   STATUS_IO       anything else */
MUST_USE enum status http_front_open(struct gateway *gateway, const struct http_front_options *options,
                                     struct http_front **front, char *message, size_t message_bytes);
/* The bound address: port 0 has become the real one. */
const char *http_front_address(const struct http_front *front);
/* Watch this descriptor for input; call http_front_turn() when it is readable. */
int http_front_descriptor(const struct http_front *front);
/* Do what there is to do, without waiting. Timeouts and resumed connections need no call: the front arms a timer and
 * defers turns on the loop by itself. */
void http_front_turn(struct http_front *front);
/* Requests in progress. */
unsigned http_front_busy(const struct http_front *front);
/* Take no new connections; those there are go on. */
void http_front_stop_accepting(struct http_front *front);
/* Close every connection, give up what was not committed. The descriptor is gone when this returns (stop watching it
 * before); the memory goes by itself when the last call in flight has ended, so let the loop turn on. */
void http_front_close(struct http_front *front);

#endif
