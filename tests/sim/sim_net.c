/* sim_net.c - streams as pairs of bounded pipes, moved by one ordered list of events.
 *
 * Everything that happens is an event with a due time; events of the same time run in the order they were made. An end
 * of a stream lives until its owner has closed it and no event names it any more. */
#include "tests/sim/sim_net.h"

#include "tests/sim/sim_random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIPE_BYTES        KIB(256)
#define SEGMENT_BYTES_MAX KIB(64)
#define TINY_PERCENT      10
#define LATENCY_MIN_NS    (5 * NS_PER_US)
#define LATENCY_MAX_NS    (100 * NS_PER_US)
#define HOLD_RETRY_NS     (10 * NS_PER_MS)
#define FIRST_PICKED_PORT 20000u

enum event_kind {
    EVENT_SEGMENT, /* `data` arrives at `end` */
    EVENT_FINISH,  /* the other side's close arrives at `end` */
    EVENT_PUMP,    /* `end` moves more of its send into the pipe */
    EVENT_DONE,    /* `io` completes */
    EVENT_CONNECT, /* `connect` reaches its address */
    EVENT_ACCEPT,  /* `listener` is told of `end` */
};

struct sim_event {
    struct list_link link; /* in sim_net.events, by due time and then by order */
    uint64_t due_ns;
    enum event_kind kind;
    struct sim_end *end;
    struct stream_io *io;
    struct sim_connect *connect;
    struct sim_listener *listener;
    size_t bytes;
    uint8_t data[];
};

/* One side of a stream. */
struct sim_end {
    struct stream base;
    struct sim_net *net;
    struct sim_end *peer;  /* NULL once the peer's memory is gone */
    struct list_link link; /* in sim_net.ends */
    char address[NET_ADDRESS_BYTES];
    struct stream_io *recv;
    struct stream_io *send;
    uint8_t *arrived; /* ring of PIPE_BYTES */
    size_t arrived_first;
    size_t arrived_bytes;
    size_t under_way_bytes; /* sent to this end, not arrived yet */
    uint64_t last_due_ns;   /* of what was sent to this end: keeps segments in order */
    unsigned events;        /* that name this end */
    bool pumping;           /* an EVENT_PUMP is waiting */
    bool closed;            /* by its owner */
    bool finished;          /* the other side's close has arrived */
    bool broken;
};

struct sim_connect {
    struct list_link link; /* in sim_net.connects */
    struct net_connect *request;
    char address[NET_ADDRESS_BYTES];
    uint64_t deadline_ns;
};

struct sim_listener {
    struct list_link link; /* in sim_net.listeners */
    struct net_listener *request;
    char address[NET_ADDRESS_BYTES];
};

struct sim_net {
    struct net base;
    struct loop *loop;
    struct sim_random random;
    struct loop_timer timer;
    struct list events;
    struct list ends;
    struct list connects;
    struct list listeners;
    unsigned next_port;
    unsigned open_ends;
    char held[NET_ADDRESS_BYTES]; /* empty: none */
};

static struct sim_net *sim_of(struct net *net)
{
    return CONTAINER_OF(net, struct sim_net, base);
}

static struct sim_end *end_of(struct stream *stream)
{
    return CONTAINER_OF(stream, struct sim_end, base);
}

/* ---- events ----------------------------------------------------------------------------------------- */

static void timer_rearm(struct sim_net *sim)
{
    struct list_link *first = list_first(&sim->events);
    if (first == NULL) {
        loop_timer_stop(sim->loop, &sim->timer);
    } else {
        loop_timer_start(sim->loop, &sim->timer, LIST_ENTRY(first, struct sim_event, link)->due_ns);
    }
}

static struct sim_event *event_add(struct sim_net *sim, enum event_kind kind, struct sim_end *end, size_t data_bytes,
                                   uint64_t due_ns)
{
    struct sim_event *event = calloc(1, sizeof(*event) + data_bytes);
    CHECK(event != NULL);
    event->kind = kind;
    event->end = end;
    event->due_ns = due_ns;
    event->bytes = data_bytes;
    if (end != NULL) {
        end->events++;
    }
    struct list_link *position = sim->events.head.previous;
    while (position != &sim->events.head && LIST_ENTRY(position, struct sim_event, link)->due_ns > due_ns) {
        position = position->previous;
    }
    list_insert_before(position->next, &event->link);
    timer_rearm(sim);
    return event;
}

static void event_free(struct sim_event *event)
{
    list_remove(&event->link);
    if (event->end != NULL) {
        event->end->events--;
    }
    free(event);
}

static uint64_t draw_latency_ns(struct sim_net *sim)
{
    return sim_random_between(&sim->random, LATENCY_MIN_NS, LATENCY_MAX_NS);
}

static void io_complete(struct sim_end *end, struct stream_io *io, enum status status)
{
    io->status = status;
    event_add(end->net, EVENT_DONE, end, 0, loop_now_ns(end->net->loop))->io = io;
}

/* ---- ends ------------------------------------------------------------------------------------------- */

static struct sim_end *end_new(struct sim_net *sim, const char *address)
{
    struct sim_end *end = calloc(1, sizeof(*end));
    CHECK(end != NULL);
    end->base.net = &sim->base;
    end->net = sim;
    memcpy(end->address, address, strlen(address) + 1);
    end->arrived = malloc(PIPE_BYTES);
    CHECK(end->arrived != NULL);
    list_append(&sim->ends, &end->link);
    sim->open_ends++;
    return end;
}

static void end_free(struct sim_end *end)
{
    if (end->peer != NULL) {
        end->peer->peer = NULL;
    }
    list_remove(&end->link);
    free(end->arrived);
    free(end);
}

static void end_free_when_unused(struct sim_end *end)
{
    if (end->closed && end->events == 0) {
        end_free(end);
    }
}

static bool is_held(const struct sim_net *sim, const char *address)
{
    return sim->held[0] != '\0' && strcmp(sim->held, address) == 0;
}

static void pump_soon(struct sim_end *end)
{
    if (end->send != NULL && !end->pumping) {
        end->pumping = true;
        event_add(end->net, EVENT_PUMP, end, 0, loop_now_ns(end->net->loop));
    }
}

/* Hand what has arrived to the recv in flight, and complete it when that is enough or no more will come. */
static void recv_progress(struct sim_end *end)
{
    struct stream_io *io = end->recv;
    if (io == NULL) {
        return;
    }
    size_t taken = 0;
    while (io->bytes < io->bytes_max && end->arrived_bytes > 0) {
        size_t bytes = io->bytes_max - io->bytes;
        size_t contiguous = PIPE_BYTES - end->arrived_first;
        bytes = bytes < end->arrived_bytes ? bytes : end->arrived_bytes;
        bytes = bytes < contiguous ? bytes : contiguous;
        memcpy(io->buffer + io->bytes, end->arrived + end->arrived_first, bytes);
        end->arrived_first = (end->arrived_first + bytes) % PIPE_BYTES;
        end->arrived_bytes -= bytes;
        io->bytes += bytes;
        taken += bytes;
    }
    if (taken > 0 && end->peer != NULL) {
        pump_soon(end->peer);
    }
    if (io->bytes >= io->bytes_min) {
        end->recv = NULL;
        io_complete(end, io, STATUS_OK);
    } else if (end->broken || end->finished) {
        end->recv = NULL;
        io_complete(end, io, end->broken ? STATUS_IO : STATUS_CLOSED);
    }
}

static void data_arrive(struct sim_end *end, const struct sim_event *event)
{
    CHECK(end->under_way_bytes >= event->bytes);
    end->under_way_bytes -= event->bytes;
    if (end->closed || end->broken) {
        return;
    }
    CHECK(end->arrived_bytes + event->bytes <= PIPE_BYTES);
    for (size_t done = 0; done < event->bytes;) {
        size_t at = (end->arrived_first + end->arrived_bytes) % PIPE_BYTES;
        size_t bytes = event->bytes - done;
        bytes = bytes < PIPE_BYTES - at ? bytes : PIPE_BYTES - at;
        memcpy(end->arrived + at, event->data + done, bytes);
        end->arrived_bytes += bytes;
        done += bytes;
    }
    recv_progress(end);
}

/* ---- sending ---------------------------------------------------------------------------------------- */

static size_t draw_segment_bytes(struct sim_net *sim, size_t room)
{
    size_t longest = room < SEGMENT_BYTES_MAX ? room : SEGMENT_BYTES_MAX;
    if (sim_random_percent(&sim->random, TINY_PERCENT)) {
        return 1;
    }
    return (size_t)sim_random_between(&sim->random, 1, longest);
}

/* Copy up to `bytes` from the front of the vectors, using them up. Returns how many there were. */
static size_t vectors_take(struct stream_io *io, uint8_t *target, size_t bytes)
{
    size_t taken = 0;
    while (taken < bytes && io->vector_count > 0) {
        struct iovec *vector = io->vectors;
        size_t part = bytes - taken < vector->iov_len ? bytes - taken : vector->iov_len;
        if (part > 0) {
            memcpy(target + taken, vector->iov_base, part);
        }
        vector->iov_base = (uint8_t *)vector->iov_base + part;
        vector->iov_len -= part;
        taken += part;
        while (io->vector_count > 0 && io->vectors->iov_len == 0) {
            io->vectors++;
            io->vector_count--;
        }
    }
    return taken;
}

/* Move one segment of the send in flight into the pipe. */
static void send_progress(struct sim_end *end)
{
    struct sim_net *sim = end->net;
    struct stream_io *io = end->send;
    struct sim_end *peer = end->peer;
    end->pumping = false;
    if (io == NULL || is_held(sim, end->address)) {
        return;
    }
    if (end->broken || end->finished || peer == NULL) {
        end->send = NULL;
        io_complete(end, io, end->broken ? STATUS_IO : STATUS_CLOSED);
        return;
    }
    size_t used = peer->closed ? 0 : peer->arrived_bytes + peer->under_way_bytes;
    size_t room = used < PIPE_BYTES ? PIPE_BYTES - used : 0;
    if (room == 0) {
        return; /* The receiver pumps when it has taken something. */
    }
    uint64_t due_ns = loop_now_ns(sim->loop) + draw_latency_ns(sim);
    due_ns = due_ns > peer->last_due_ns ? due_ns : peer->last_due_ns;
    peer->last_due_ns = due_ns;
    struct sim_event *event = event_add(sim, EVENT_SEGMENT, peer, draw_segment_bytes(sim, room), due_ns);
    event->bytes = vectors_take(io, event->data, event->bytes);
    peer->under_way_bytes += event->bytes;
    io->bytes += event->bytes;
    if (io->vector_count == 0) {
        end->send = NULL;
        io_complete(end, io, STATUS_OK);
    } else {
        pump_soon(end);
    }
}

static void sim_recv(struct stream *stream, struct stream_io *io)
{
    struct sim_end *end = end_of(stream);
    CHECK(end->recv == NULL && !end->closed);
    end->recv = io;
    recv_progress(end);
}

static void sim_send(struct stream *stream, struct stream_io *io)
{
    struct sim_end *end = end_of(stream);
    CHECK(end->send == NULL && !end->closed);
    end->send = io;
    pump_soon(end);
}

static void sim_stream_close(struct stream *stream)
{
    struct sim_end *end = end_of(stream);
    struct sim_net *sim = end->net;
    CHECK(!end->closed);
    end->closed = true;
    sim->open_ends--;
    if (end->recv != NULL) {
        io_complete(end, end->recv, STATUS_CANCELLED);
        end->recv = NULL;
    }
    if (end->send != NULL) {
        io_complete(end, end->send, STATUS_CANCELLED);
        end->send = NULL;
    }
    if (end->peer != NULL && !end->peer->closed && !end->broken) {
        uint64_t due_ns = loop_now_ns(sim->loop) + draw_latency_ns(sim);
        due_ns = due_ns > end->peer->last_due_ns ? due_ns : end->peer->last_due_ns;
        end->peer->last_due_ns = due_ns;
        event_add(sim, EVENT_FINISH, end->peer, 0, due_ns);
    }
    end_free_when_unused(end);
}

/* ---- connecting ------------------------------------------------------------------------------------- */

static struct sim_listener *listener_find(struct sim_net *sim, const char *address)
{
    LIST_EACH (&sim->listeners, link) {
        struct sim_listener *listener = LIST_ENTRY(link, struct sim_listener, link);
        if (strcmp(listener->address, address) == 0) {
            return listener;
        }
    }
    return NULL;
}

static void connect_end(struct sim_connect *connect, enum status status, struct sim_end *end)
{
    struct net_connect *request = connect->request;
    list_remove(&connect->link);
    free(connect);
    request->status = status;
    request->done(request, end != NULL ? &end->base : NULL);
}

static void connect_progress(struct sim_net *sim, struct sim_connect *connect)
{
    if (is_held(sim, connect->address)) {
        uint64_t now_ns = loop_now_ns(sim->loop);
        if (now_ns >= connect->deadline_ns) {
            connect_end(connect, STATUS_TIMEOUT, NULL);
            return;
        }
        uint64_t retry_ns = now_ns + HOLD_RETRY_NS;
        retry_ns = retry_ns < connect->deadline_ns ? retry_ns : connect->deadline_ns;
        event_add(sim, EVENT_CONNECT, NULL, 0, retry_ns)->connect = connect;
        return;
    }
    struct sim_listener *listener = listener_find(sim, connect->address);
    if (listener == NULL) {
        connect_end(connect, STATUS_UNAVAILABLE, NULL);
        return;
    }
    /* The next connection goes to the next listener of this address. */
    list_remove(&listener->link);
    list_append(&sim->listeners, &listener->link);

    struct sim_end *ours = end_new(sim, connect->address);
    struct sim_end *theirs = end_new(sim, connect->address);
    ours->peer = theirs;
    theirs->peer = ours;
    event_add(sim, EVENT_ACCEPT, theirs, 0, loop_now_ns(sim->loop))->listener = listener;
    connect_end(connect, STATUS_OK, ours);
}

static void sim_connect(struct net *net, struct net_connect *request, const char *address, uint64_t deadline_ns)
{
    struct sim_net *sim = sim_of(net);
    CHECK(strlen(address) < NET_ADDRESS_BYTES);
    struct sim_connect *connect = calloc(1, sizeof(*connect));
    CHECK(connect != NULL);
    connect->request = request;
    connect->deadline_ns = deadline_ns;
    memcpy(connect->address, address, strlen(address) + 1);
    list_append(&sim->connects, &connect->link);
    event_add(sim, EVENT_CONNECT, NULL, 0, loop_now_ns(sim->loop) + draw_latency_ns(sim))->connect = connect;
}

static enum status sim_listen(struct net *net, struct net_listener *request, const char *address)
{
    struct sim_net *sim = sim_of(net);
    const char *colon = strrchr(address, ':');
    if (colon == NULL || strlen(address) + 5 >= NET_ADDRESS_BYTES) {
        return STATUS_INVALID;
    }
    struct sim_listener *listener = calloc(1, sizeof(*listener));
    CHECK(listener != NULL);
    if (strcmp(colon, ":0") == 0) {
        snprintf(listener->address, sizeof(listener->address), "%.*s:%u", (int)(colon - address), address,
                 FIRST_PICKED_PORT + sim->next_port++);
    } else {
        memcpy(listener->address, address, strlen(address) + 1);
    }
    listener->request = request;
    memcpy(request->address, listener->address, sizeof(request->address));
    request->private_state = listener;
    list_append(&sim->listeners, &listener->link);
    return STATUS_OK;
}

static void sim_listener_close(struct net *net, struct net_listener *request)
{
    struct sim_listener *listener = request->private_state;
    /* Connections that it has not been told of yet are closed, as the kernel does with its backlog. */
    LIST_EACH (&sim_of(net)->events, link) {
        struct sim_event *event = LIST_ENTRY(link, struct sim_event, link);
        if (event->kind == EVENT_ACCEPT && event->listener == listener) {
            event->listener = NULL;
        }
    }
    list_remove(&listener->link);
    free(listener);
    request->private_state = NULL;
}

/* ---- running ---------------------------------------------------------------------------------------- */

static void accept_end(struct sim_listener *listener, struct sim_end *end)
{
    if (listener == NULL) {
        sim_stream_close(&end->base);
    } else {
        listener->request->accepted(listener->request, &end->base);
    }
}

static void event_run(struct sim_net *sim, const struct sim_event *event)
{
    switch (event->kind) {
    case EVENT_SEGMENT:
        data_arrive(event->end, event);
        return;
    case EVENT_FINISH:
        event->end->finished = true;
        recv_progress(event->end);
        return;
    case EVENT_PUMP:
        send_progress(event->end);
        return;
    case EVENT_DONE:
        event->io->done(event->io);
        return;
    case EVENT_CONNECT:
        connect_progress(sim, event->connect);
        return;
    case EVENT_ACCEPT:
        accept_end(event->listener, event->end);
        return;
    }
    UNREACHABLE();
}

/* One event per call, so that a test can step through them. */
static void run_first(struct loop_timer *timer)
{
    struct sim_net *sim = CONTAINER_OF(timer, struct sim_net, timer);
    struct sim_event *event = LIST_ENTRY(list_first(&sim->events), struct sim_event, link);
    struct sim_end *end = event->end;
    list_remove(&event->link);
    timer_rearm(sim);
    event_run(sim, event);
    event_free(event);
    if (end != NULL) {
        end_free_when_unused(end);
    }
}

/* ---- the test's side ---------------------------------------------------------------------------------- */

static const struct net_ops sim_net_ops = {
    .connect = sim_connect,
    .listen = sim_listen,
    .listener_close = sim_listener_close,
    .recv = sim_recv,
    .send = sim_send,
    .close = sim_stream_close,
};

struct sim_net *sim_net_open(struct sim_loop *loop, uint64_t seed)
{
    struct sim_net *sim = calloc(1, sizeof(*sim));
    CHECK(sim != NULL);
    sim->base.ops = &sim_net_ops;
    sim->loop = sim_loop_interface(loop);
    sim->random = sim_random_of(seed);
    sim->timer.fire = run_first;
    list_init(&sim->events);
    list_init(&sim->ends);
    list_init(&sim->connects);
    list_init(&sim->listeners);
    return sim;
}

void sim_net_close(struct sim_net *sim)
{
    LIST_EACH (&sim->events, link) {
        event_free(LIST_ENTRY(link, struct sim_event, link));
    }
    timer_rearm(sim);
    LIST_EACH (&sim->ends, link) {
        end_free(LIST_ENTRY(link, struct sim_end, link));
    }
    LIST_EACH (&sim->connects, link) {
        list_remove(link);
        free(LIST_ENTRY(link, struct sim_connect, link));
    }
    LIST_EACH (&sim->listeners, link) {
        list_remove(link);
        free(LIST_ENTRY(link, struct sim_listener, link));
    }
    free(sim);
}

struct net *sim_net_interface(struct sim_net *sim)
{
    return &sim->base;
}

static void end_break(struct sim_end *end)
{
    if (end->closed || end->broken) {
        return;
    }
    end->broken = true;
    end->arrived_bytes = 0;
    recv_progress(end);
    pump_soon(end);
}

void sim_net_break(struct sim_net *sim)
{
    LIST_EACH (&sim->ends, link) {
        end_break(LIST_ENTRY(link, struct sim_end, link));
    }
}

void sim_net_break_address(struct sim_net *sim, const char *address)
{
    LIST_EACH (&sim->ends, link) {
        struct sim_end *end = LIST_ENTRY(link, struct sim_end, link);
        if (strcmp(end->address, address) == 0) {
            end_break(end);
        }
    }
}

void sim_net_hold(struct sim_net *sim, const char *address, bool held)
{
    CHECK(strlen(address) < NET_ADDRESS_BYTES);
    if (held) {
        memcpy(sim->held, address, strlen(address) + 1);
        return;
    }
    sim->held[0] = '\0';
    LIST_EACH (&sim->ends, link) {
        pump_soon(LIST_ENTRY(link, struct sim_end, link));
    }
}

unsigned sim_net_open_streams(const struct sim_net *sim)
{
    return sim->open_ends;
}
