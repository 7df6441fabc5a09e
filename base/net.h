/* net.h - the interface to other machines: ordered byte streams.
 *
 * Production is uring_net.c (TCP over io_uring); the simulator is tests/sim/sim_net.c. TLS will be one
 * more implementation that wraps another stream: nothing above this header will change for it.
 *
 * Order       At most one recv and one send are in flight per stream; a second is a bug.
 * Ownership   The caller owns the stream_io, the buffers and the iovec array until `done`.
 * Closing     stream_close() ends what is in flight with STATUS_CANCELLED (each `done` still runs, later),
 *             then frees the stream by itself: after the call the caller touches the stream no more.
 * Threads     Loop thread only. `done` never runs inside the call that starts the operation. */
#ifndef TRILITH_BASE_NET_H
#define TRILITH_BASE_NET_H

#include "base/list.h"
#include "base/status.h"

#include <stddef.h>
#include <sys/uio.h>

#define NET_ADDRESS_BYTES 64 /* "host:port" as text, with the terminator */

struct net;
struct stream;

struct stream_io {
    void (*done)(struct stream_io *io); /* set by the call that starts it */
    enum status status;                 /* STATUS_OK, STATUS_CLOSED, STATUS_CANCELLED, STATUS_IO; valid in `done` */
    size_t bytes;                       /* transferred so far; valid in `done` */

    /* The request; private to the implementation until `done`. */
    struct stream *stream;
    uint8_t *buffer;
    size_t bytes_min;
    size_t bytes_max;
    struct iovec *vectors;
    unsigned vector_count;
    unsigned kind;
    uint64_t due_ns;
    struct list_link link;
};

/* A connection being made. */
struct net_connect {
    void (*done)(struct net_connect *connect, struct stream *stream); /* NULL stream: see status */
    enum status status; /* STATUS_OK, STATUS_UNAVAILABLE, STATUS_TIMEOUT, STATUS_INVALID */
    void *private_state;
    uint64_t due_ns;
    struct list_link link;
};

/* A port being listened on. The caller fills `accepted`, which then owns each new stream. */
struct net_listener {
    void (*accepted)(struct net_listener *listener, struct stream *stream);
    char address[NET_ADDRESS_BYTES]; /* as bound: port 0 has become the real one */
    void *private_state;
};

struct net_ops {
    void (*connect)(struct net *net, struct net_connect *connect, const char *address, uint64_t deadline_ns);
    enum status (*listen)(struct net *net, struct net_listener *listener, const char *address);
    void (*listener_close)(struct net *net, struct net_listener *listener);
    void (*recv)(struct stream *stream, struct stream_io *io);
    void (*send)(struct stream *stream, struct stream_io *io);
    void (*close)(struct stream *stream);
};

struct net {
    const struct net_ops *ops;
};

struct stream {
    struct net *net;
};

/* Connect to "host:port" (numeric host). `done` runs once. */
static inline void net_connect(struct net *net, struct net_connect *connect, const char *address, uint64_t deadline_ns,
                               void (*done)(struct net_connect *connect, struct stream *stream))
{
    connect->done = done;
    net->ops->connect(net, connect, address, deadline_ns);
}

/* Listen on "host:port" (numeric host; port 0 picks one). Several reactors may listen on the same address.
 *   STATUS_INVALID  the address can't be read    STATUS_EXISTS  in use    STATUS_DENIED  not permitted */
MUST_USE static inline enum status net_listen(struct net *net, struct net_listener *listener, const char *address)
{
    return net->ops->listen(net, listener, address);
}

static inline void net_listener_close(struct net *net, struct net_listener *listener)
{
    net->ops->listener_close(net, listener);
}

/* Receive at least `bytes_min` (1..bytes_max) and at most `bytes_max` bytes, straight into `buffer`. */
static inline void stream_recv(struct stream *stream, struct stream_io *io, void *buffer, size_t bytes_min,
                               size_t bytes_max, void (*done)(struct stream_io *io))
{
    CHECK(bytes_min > 0 && bytes_min <= bytes_max);
    io->done = done;
    io->status = STATUS_OK;
    io->bytes = 0;
    io->stream = stream;
    io->buffer = buffer;
    io->bytes_min = bytes_min;
    io->bytes_max = bytes_max;
    stream->net->ops->recv(stream, io);
}

/* Send all of `vectors` (1..1024, at least one byte in sum). The array is used up while sending. */
static inline void stream_send(struct stream *stream, struct stream_io *io, struct iovec *vectors,
                               unsigned vector_count, void (*done)(struct stream_io *io))
{
    CHECK(vector_count > 0 && vector_count <= 1024);
    io->done = done;
    io->status = STATUS_OK;
    io->bytes = 0;
    io->stream = stream;
    io->vectors = vectors;
    io->vector_count = vector_count;
    stream->net->ops->send(stream, io);
}

static inline void stream_close(struct stream *stream)
{
    stream->net->ops->close(stream);
}

#endif
