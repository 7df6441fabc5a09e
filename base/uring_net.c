/* uring_net.c - base/net.h as TCP on io_uring.
 *
 * Receiving   Straight into the caller's buffer: MSG_WAITALL when the length is known, a plain recv otherwise. No
 *             buffer, no recv: a reader that stops reading closes the TCP window, and that is the back-pressure.
 * Sending     One sendmsg of all vectors, continued where a partial one stopped. MSG_NOSIGNAL: a dead peer is a
 *             status, not SIGPIPE. No zero-copy: on loopback it copies anyway and waits for a second completion.
 * Listening   SO_REUSEPORT, so that each reactor has a listener of its own and the kernel spreads connections;
 *             multishot accept, armed again when the kernel ends it, after a pause when descriptors ran out.
 * Closing     shutdown(2) ends what is in flight at once. The stream's memory and descriptor go when the last
 *             completion is in, for until then the kernel may use both.
 * Options     TCP_NODELAY everywhere; buffer sizes are left to the kernel's autotuning. */
#include "base/uring_private.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG          1024
#define ACCEPT_PAUSE_NS  (100 * NS_PER_MS)
#define ATTEMPTS_MAX     64u
#define SEND_VECTORS_MAX 1024u

struct uring_stream {
    struct stream base;
    struct uring_loop *loop;
    int descriptor;
    int slot;
    bool closed; /* by its owner */

    struct uring_op recv_op;
    struct stream_io *recv; /* NULL: none in flight */
    unsigned recv_attempts;

    struct uring_op send_op;
    struct stream_io *send;
    unsigned send_attempts;
    struct msghdr message;
};

static struct uring_loop *loop_of(struct net *net)
{
    return CONTAINER_OF(net, struct uring_loop, net);
}

static struct uring_stream *stream_of(struct stream *base)
{
    return CONTAINER_OF(base, struct uring_stream, base);
}

/* ---- addresses ----------------------------------------------------------------------------------------- */

/* getaddrinfo() alone takes an empty port, and numbers beyond 65535 modulo 65536. */
static bool port_is_valid(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    return digits > 0 && digits <= 5 && text[digits] == '\0' && strtoul(text, NULL, 10) <= UINT16_MAX;
}

/* Read "127.0.0.1:80" or "[::1]:80". */
static bool address_parse(const char *text, struct sockaddr_storage *address, socklen_t *address_bytes)
{
    char host[NET_ADDRESS_BYTES];
    const char *colon = strrchr(text, ':');
    if (colon == NULL || strlen(text) >= sizeof(host) || !port_is_valid(colon + 1)) {
        return false;
    }
    size_t host_bytes = (size_t)(colon - text);
    const char *host_start = text;
    if (host_bytes >= 2 && text[0] == '[' && text[host_bytes - 1] == ']') {
        host_start++;
        host_bytes -= 2;
    }
    memcpy(host, host_start, host_bytes);
    host[host_bytes] = '\0';

    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    if (host_bytes == 0 || getaddrinfo(host, colon + 1, &hints, &found) != 0) {
        return false;
    }
    memcpy(address, found->ai_addr, found->ai_addrlen);
    *address_bytes = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

static void address_format(const struct sockaddr_storage *address, char text[NET_ADDRESS_BYTES])
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (address->ss_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address, sizeof(v6));
        inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof(host));
        snprintf(text, NET_ADDRESS_BYTES, "[%s]:%u", host, ntohs(v6.sin6_port));
    } else {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof(v4));
        inet_ntop(AF_INET, &v4.sin_addr, host, sizeof(host));
        snprintf(text, NET_ADDRESS_BYTES, "%s:%u", host, ntohs(v4.sin_port));
    }
}

static void socket_set(int descriptor, int level, int option)
{
    int one = 1;
    (void)setsockopt(descriptor, level, option, &one, sizeof(one)); /* Works on TCP sockets; else just slower. */
}

/* ---- streams --------------------------------------------------------------------------------------------- */

/* Last use of the stream when it is closed and nothing is in flight. */
static void stream_free_when_quiet(struct uring_stream *stream)
{
    if (stream->closed && stream->recv == NULL && stream->send == NULL) {
        uring_slot_give_back(stream->loop, stream->slot);
        close(stream->descriptor);
        free(stream);
    }
}

/* Whether a failed operation should simply run again. */
static bool is_passing(int result, unsigned *attempts)
{
    return (result == -EINTR || result == -EAGAIN) && ++*attempts < ATTEMPTS_MAX;
}

static enum status stream_status(const struct uring_stream *stream, int result)
{
    if (stream->closed) {
        return STATUS_CANCELLED;
    }
    switch (-result) {
    case 0:
    case EPIPE:
    case ECONNRESET:
    case ENOTCONN:
        return STATUS_CLOSED;
    case ECANCELED:
        return STATUS_CANCELLED;
    default:
        return STATUS_IO;
    }
}

static void recv_prepare(struct uring_op *op, struct io_uring_sqe *sqe)
{
    const struct uring_stream *stream = CONTAINER_OF(op, struct uring_stream, recv_op);
    const struct stream_io *io = stream->recv;
    int flags = io->bytes_min == io->bytes_max ? MSG_WAITALL : 0;
    io_uring_prep_recv(sqe, stream->descriptor, io->buffer + io->bytes, io->bytes_max - io->bytes, flags);
    uring_sqe_use_slot(sqe, stream->slot);
}

static void recv_complete(struct uring_op *op, int result, unsigned cqe_flags)
{
    (void)cqe_flags;
    struct uring_stream *stream = CONTAINER_OF(op, struct uring_stream, recv_op);
    struct stream_io *io = stream->recv;
    if (result > 0) {
        io->bytes += (size_t)result;
        CHECK(io->bytes <= io->bytes_max);
    }
    bool has_enough = io->bytes >= io->bytes_min;
    if (!stream->closed && !has_enough && (result > 0 || is_passing(result, &stream->recv_attempts))) {
        uring_op_start(stream->loop, op);
        return;
    }
    io->status = has_enough && !stream->closed ? STATUS_OK : stream_status(stream, result);
    stream->recv = NULL;
    stream_free_when_quiet(stream);
    io->done(io);
}

static void net_op_recv(struct stream *base, struct stream_io *io)
{
    struct uring_stream *stream = stream_of(base);
    CHECK(stream->recv == NULL && !stream->closed);
    stream->recv = io;
    stream->recv_attempts = 0;
    uring_op_start(stream->loop, &stream->recv_op);
}

static void send_prepare(struct uring_op *op, struct io_uring_sqe *sqe)
{
    struct uring_stream *stream = CONTAINER_OF(op, struct uring_stream, send_op);
    const struct stream_io *io = stream->send;
    stream->message = (struct msghdr){.msg_iov = io->vectors, .msg_iovlen = io->vector_count};
    io_uring_prep_sendmsg(sqe, stream->descriptor, &stream->message, MSG_NOSIGNAL | MSG_WAITALL);
    uring_sqe_use_slot(sqe, stream->slot);
}

/* Move the front of the vectors behind the bytes that were sent. */
static void vectors_use_up(struct stream_io *io, size_t bytes)
{
    io->bytes += bytes;
    while (io->vector_count > 0 && bytes >= io->vectors->iov_len) {
        bytes -= io->vectors->iov_len;
        io->vectors++;
        io->vector_count--;
    }
    if (io->vector_count > 0) {
        io->vectors->iov_base = (uint8_t *)io->vectors->iov_base + bytes;
        io->vectors->iov_len -= bytes;
    } else {
        CHECK(bytes == 0);
    }
}

static void send_complete(struct uring_op *op, int result, unsigned cqe_flags)
{
    (void)cqe_flags;
    struct uring_stream *stream = CONTAINER_OF(op, struct uring_stream, send_op);
    struct stream_io *io = stream->send;
    if (result > 0) {
        vectors_use_up(io, (size_t)result);
    }
    bool all_sent = io->vector_count == 0;
    if (!stream->closed && !all_sent && (result > 0 || is_passing(result, &stream->send_attempts))) {
        uring_op_start(stream->loop, op);
        return;
    }
    io->status = all_sent && !stream->closed ? STATUS_OK : stream_status(stream, result);
    stream->send = NULL;
    stream_free_when_quiet(stream);
    io->done(io);
}

static void net_op_send(struct stream *base, struct stream_io *io)
{
    struct uring_stream *stream = stream_of(base);
    CHECK(stream->send == NULL && !stream->closed);
    CHECK(io->vector_count <= SEND_VECTORS_MAX);
    stream->send = io;
    stream->send_attempts = 0;
    uring_op_start(stream->loop, &stream->send_op);
}

static void net_op_close(struct stream *base)
{
    struct uring_stream *stream = stream_of(base);
    CHECK(!stream->closed);
    stream->closed = true;
    if (stream->recv != NULL || stream->send != NULL) {
        (void)shutdown(stream->descriptor, SHUT_RDWR); /* A peer that is gone already makes this fail: fine. */
        uring_op_cancel(stream->loop, &stream->recv_op);
        uring_op_cancel(stream->loop, &stream->send_op);
    }
    stream_free_when_quiet(stream);
}

/* A stream on a connected socket, which it owns from here on. */
static struct uring_stream *stream_new(struct uring_loop *loop, int descriptor)
{
    struct uring_stream *stream = calloc(1, sizeof(*stream));
    CHECK(stream != NULL);
    socket_set(descriptor, IPPROTO_TCP, TCP_NODELAY);
    stream->base.net = &loop->net;
    stream->loop = loop;
    stream->descriptor = descriptor;
    stream->slot = uring_slot_take(loop, descriptor);
    stream->recv_op.prepare = recv_prepare;
    stream->recv_op.complete = recv_complete;
    stream->send_op.prepare = send_prepare;
    stream->send_op.complete = send_complete;
    return stream;
}

/* ---- connecting ------------------------------------------------------------------------------------------- */

struct connecting {
    struct uring_op op;
    struct uring_loop *loop;
    struct net_connect *request;
    struct loop_timer deadline;
    struct loop_task refusal; /* delivers a failure that was known at once */
    enum status refusal_status;
    int descriptor;
    bool timed_out;
    struct sockaddr_storage address;
    socklen_t address_bytes;
};

static void connecting_end(struct connecting *connecting, enum status status, struct stream *stream)
{
    struct net_connect *request = connecting->request;
    loop_timer_stop(&connecting->loop->loop, &connecting->deadline);
    free(connecting);
    request->status = status;
    request->private_state = NULL;
    request->done(request, stream);
}

static void connecting_refuse(struct loop_task *task)
{
    struct connecting *connecting = CONTAINER_OF(task, struct connecting, refusal);
    connecting_end(connecting, connecting->refusal_status, NULL);
}

static void connecting_expire(struct loop_timer *timer)
{
    struct connecting *connecting = CONTAINER_OF(timer, struct connecting, deadline);
    connecting->timed_out = true;
    uring_op_cancel(connecting->loop, &connecting->op);
}

static void connecting_prepare(struct uring_op *op, struct io_uring_sqe *sqe)
{
    struct connecting *connecting = CONTAINER_OF(op, struct connecting, op);
    io_uring_prep_connect(sqe, connecting->descriptor, (struct sockaddr *)&connecting->address,
                          connecting->address_bytes);
}

static void connecting_complete(struct uring_op *op, int result, unsigned cqe_flags)
{
    (void)cqe_flags;
    struct connecting *connecting = CONTAINER_OF(op, struct connecting, op);
    if (result == 0 || result == -EISCONN) {
        struct uring_stream *stream = stream_new(connecting->loop, connecting->descriptor);
        connecting_end(connecting, STATUS_OK, &stream->base);
        return;
    }
    close(connecting->descriptor);
    bool expired = connecting->timed_out || result == -ETIMEDOUT;
    connecting_end(connecting, expired ? STATUS_TIMEOUT : STATUS_UNAVAILABLE, NULL);
}

static void net_op_connect(struct net *net, struct net_connect *request, const char *address, uint64_t deadline_ns)
{
    struct connecting *connecting = calloc(1, sizeof(*connecting));
    CHECK(connecting != NULL);
    connecting->loop = loop_of(net);
    connecting->request = request;
    connecting->refusal.run = connecting_refuse;
    connecting->deadline.fire = connecting_expire;
    request->private_state = connecting;

    if (!address_parse(address, &connecting->address, &connecting->address_bytes)) {
        connecting->refusal_status = STATUS_INVALID;
        loop_defer(&connecting->loop->loop, &connecting->refusal);
        return;
    }
    connecting->descriptor = socket(connecting->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
    if (connecting->descriptor < 0) {
        log_event(LOG_WARNING, "connect_failed", "address=%s reason=%s", address, strerror(errno));
        connecting->refusal_status = STATUS_UNAVAILABLE;
        loop_defer(&connecting->loop->loop, &connecting->refusal);
        return;
    }
    connecting->op.prepare = connecting_prepare;
    connecting->op.complete = connecting_complete;
    if (deadline_ns != UINT64_MAX) {
        loop_timer_start(&connecting->loop->loop, &connecting->deadline, deadline_ns);
    }
    uring_op_start(connecting->loop, &connecting->op);
}

/* ---- listening --------------------------------------------------------------------------------------------- */

struct listening {
    struct uring_op op;
    struct uring_loop *loop;
    struct net_listener *request; /* NULL once it was closed */
    struct loop_timer pause;
    struct loop_task free_task;
    int descriptor;
    bool single_shot; /* this kernel has no multishot accept */
};

static void listening_free(struct loop_task *task)
{
    struct listening *listening = CONTAINER_OF(task, struct listening, free_task);
    close(listening->descriptor);
    free(listening);
}

static void listening_resume(struct loop_timer *timer)
{
    struct listening *listening = CONTAINER_OF(timer, struct listening, pause);
    uring_op_start(listening->loop, &listening->op);
}

static void accept_prepare(struct uring_op *op, struct io_uring_sqe *sqe)
{
    const struct listening *listening = CONTAINER_OF(op, struct listening, op);
    if (listening->single_shot) {
        io_uring_prep_accept(sqe, listening->descriptor, NULL, NULL, SOCK_CLOEXEC);
    } else {
        io_uring_prep_multishot_accept(sqe, listening->descriptor, NULL, NULL, SOCK_CLOEXEC);
    }
}

static void accept_failed(struct listening *listening, int error)
{
    if (error == EINVAL && !listening->single_shot) {
        listening->single_shot = true;
        uring_op_start(listening->loop, &listening->op);
        return;
    }
    if (error == ECONNABORTED || error == EINTR || error == EAGAIN) {
        uring_op_start(listening->loop, &listening->op);
        return;
    }
    /* Out of descriptors or memory: connections wait in the backlog while others close. */
    log_event(LOG_WARNING, "accept_paused", "address=%s reason=%s", listening->request->address, strerror(error));
    loop_timer_start(&listening->loop->loop, &listening->pause, listening->loop->now_ns + ACCEPT_PAUSE_NS);
}

static void accept_complete(struct uring_op *op, int result, unsigned cqe_flags)
{
    struct listening *listening = CONTAINER_OF(op, struct listening, op);
    bool more = (cqe_flags & IORING_CQE_F_MORE) != 0;
    if (result >= 0 && listening->request == NULL) {
        close(result);
    } else if (result >= 0) {
        struct uring_stream *stream = stream_new(listening->loop, result);
        listening->request->accepted(listening->request, &stream->base); /* May close the listener. */
    }
    if (more) {
        return;
    }
    if (listening->request == NULL) {
        loop_defer(&listening->loop->loop, &listening->free_task);
    } else if (result < 0) {
        accept_failed(listening, -result);
    } else {
        uring_op_start(listening->loop, op);
    }
}

static enum status listen_status(int error)
{
    switch (error) {
    case EADDRINUSE:
        return STATUS_EXISTS;
    case EACCES:
    case EPERM:
        return STATUS_DENIED;
    case EADDRNOTAVAIL:
        return STATUS_INVALID;
    default:
        return STATUS_IO;
    }
}

/* A bound and listening socket, or -errno. */
static int listen_socket(const struct sockaddr_storage *address, socklen_t address_bytes)
{
    int descriptor = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
    if (descriptor < 0) {
        return -errno;
    }
    socket_set(descriptor, SOL_SOCKET, SO_REUSEADDR);
    socket_set(descriptor, SOL_SOCKET, SO_REUSEPORT);
    if (bind(descriptor, (const struct sockaddr *)address, address_bytes) != 0 || listen(descriptor, BACKLOG) != 0) {
        int error = errno;
        close(descriptor);
        return -error;
    }
    return descriptor;
}

static enum status net_op_listen(struct net *net, struct net_listener *request, const char *text)
{
    struct sockaddr_storage address = {0};
    socklen_t address_bytes = 0;
    if (!address_parse(text, &address, &address_bytes)) {
        return STATUS_INVALID;
    }
    int descriptor = listen_socket(&address, address_bytes);
    if (descriptor < 0) {
        return listen_status(-descriptor);
    }
    socklen_t bound_bytes = sizeof(address);
    if (getsockname(descriptor, (struct sockaddr *)&address, &bound_bytes) != 0) {
        close(descriptor);
        return STATUS_IO;
    }
    struct listening *listening = calloc(1, sizeof(*listening));
    CHECK(listening != NULL);
    listening->loop = loop_of(net);
    listening->request = request;
    listening->descriptor = descriptor;
    listening->op.prepare = accept_prepare;
    listening->op.complete = accept_complete;
    listening->pause.fire = listening_resume;
    listening->free_task.run = listening_free;
    address_format(&address, request->address);
    request->private_state = listening;
    uring_op_start(listening->loop, &listening->op);
    return STATUS_OK;
}

static void net_op_listener_close(struct net *net, struct net_listener *request)
{
    struct listening *listening = request->private_state;
    struct uring_loop *loop = loop_of(net);
    CHECK(listening != NULL && listening->request == request);
    listening->request = NULL;
    request->private_state = NULL;
    /* Connections are refused from now on, even while the accept is still being taken back. */
    (void)shutdown(listening->descriptor, SHUT_RDWR);
    if (loop_timer_is_armed(&listening->pause)) {
        loop_timer_stop(&loop->loop, &listening->pause);
        loop_defer(&loop->loop, &listening->free_task);
    } else {
        uring_op_cancel(loop, &listening->op); /* Inside `accepted` of a last completion, that one frees it. */
    }
}

const struct net_ops uring_net_ops = {
    .connect = net_op_connect,
    .listen = net_op_listen,
    .listener_close = net_op_listener_close,
    .recv = net_op_recv,
    .send = net_op_send,
    .close = net_op_close,
};
