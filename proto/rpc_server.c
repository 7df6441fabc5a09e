/* rpc_server.c - listens, receives requests, hands them to the service, and sends the replies.
 *
 * The way of a request:
 *
 *   header   a request state is taken; what can't be served (unknown type, payload without slabs) is marked with its
 *            refusal, its bytes are read and dropped, and the reply says so
 *   message  unpacked into the request's arena; with payload, a slab is taken or waited for (nothing more is read
 *            meanwhile, so the peer feels it), but no longer than the requester waits
 *   complete handed to the service
 *   reply    queued; the state is free when it was sent, or at once when the connection has gone
 *
 * A request counts against its connection until its reply was sent, so a peer that does not read its replies can't
 * make us queue more than RPC_SERVER_REQUESTS_MAX of them. Memory for messages is bounded per server. */
#include "base/log.h"
#include "proto/codec.h"
#include "proto/frame_stream.h"

#include <stdlib.h>

#define CONNECTIONS_MAX    1024u
#define IDLE_NS            (60 * NS_PER_S) /* an idle connection gives way to a new one after this */
#define STALL_NS           (60 * NS_PER_S) /* for a frame that began to arrive, and for one send */
#define SERVER_MEMORY_MAX  MIB(256)        /* messages of requests being received and served */
#define SPARE_REQUESTS_MAX 1024u

enum request_stage {
    REQUEST_RECEIVING, /* not with the service yet */
    REQUEST_SERVING,   /* with the service */
    REQUEST_REPLYING,  /* the reply is queued, or `sent` is on its way */
};

struct server_request {
    struct rpc_request public;
    struct rpc_server *server;
    enum request_stage stage;
    uint64_t number;
    enum status refusal; /* not STATUS_OK: answered with this, never handed to the service */
    struct frame_out out;
    struct arena arena;
    void (*sent)(void *user);
    void *sent_user;
    struct loop_task task; /* runs `sent` when there is no connection */
    struct list_link link; /* of its connection, or of spare ones */
};

struct rpc_connection {
    struct rpc_server *server;
    struct frame_stream frames;
    struct server_request *receiving;
    struct slab_waiter waiter;
    struct loop_timer wait_timer; /* ends the wait for a slab */
    unsigned requests_in_flight;
    struct list requests;
    struct list_link link;
};

struct rpc_server {
    struct loop *loop;
    struct net *net;
    struct rpc_service *service;
    struct net_listener listener;
    bool is_closing;
    bool is_full; /* the log knows that connections are being refused */
    unsigned connection_count;
    struct list connections;
    unsigned requests_alive;
    unsigned spare_count;
    struct list spare_requests;
    struct arena_pool arenas;
    struct loop_task free_task;
    bool free_is_deferred;
};

/* ---- the life of a request's state ----------------------------------------------------------- */

static void server_free_run(struct loop_task *task)
{
    struct rpc_server *server = CONTAINER_OF(task, struct rpc_server, free_task);
    while (!list_is_empty(&server->spare_requests)) {
        struct server_request *state =
            LIST_ENTRY(list_take_first(&server->spare_requests), struct server_request, link);
        frame_out_deinit(&state->out);
        free(state);
    }
    arena_pool_deinit(&server->arenas);
    free(server);
}

static void server_free_if_over(struct rpc_server *server)
{
    if (server->is_closing && !server->free_is_deferred && server->requests_alive == 0 &&
        server->connection_count == 0) {
        server->free_is_deferred = true;
        loop_defer(server->loop, &server->free_task);
    }
}

static struct server_request *server_request_take(struct rpc_connection *connection)
{
    struct rpc_server *server = connection->server;
    struct server_request *state = NULL;
    struct list_link *spare = list_take_first(&server->spare_requests);
    if (spare != NULL) {
        state = LIST_ENTRY(spare, struct server_request, link);
        server->spare_count--;
    } else {
        state = calloc(1, sizeof(*state));
        if (state == NULL) {
            return NULL;
        }
    }
    server->requests_alive++;
    state->server = server;
    state->stage = REQUEST_RECEIVING;
    state->public.connection = connection;
    state->public.private_state = state;
    list_link_init(&state->public.link);
    list_append(&connection->requests, &state->link);
    return state;
}

/* The request's own payload and message are not needed any more. */
static void server_request_drop_content(struct server_request *state)
{
    if (state->public.payload != NULL) {
        slab_release(state->public.payload);
        state->public.payload = NULL;
    }
    state->public.message = NULL;
    arena_release(&state->arena, false);
}

static void server_request_free(struct server_request *state)
{
    struct rpc_server *server = state->server;
    server_request_drop_content(state);
    list_remove(&state->link);
    frame_out_recycle(&state->out, message_reply_is_secret(state->public.type));
    struct frame_out out = state->out;
    *state = (struct server_request){.out = out};
    if (server->spare_count < SPARE_REQUESTS_MAX) {
        server->spare_count++;
        list_append(&server->spare_requests, &state->link);
    } else {
        frame_out_deinit(&state->out);
        free(state);
    }
    CHECK(server->requests_alive > 0);
    server->requests_alive--;
    server_free_if_over(server);
}

/* ---- replying -------------------------------------------------------------------------------- */

static void server_request_sent(struct frame_out *out)
{
    struct server_request *state = CONTAINER_OF(out, struct server_request, out);
    struct rpc_connection *connection = state->public.connection;
    void (*sent)(void *user) = state->sent;
    void *sent_user = state->sent_user;
    server_request_free(state);
    CHECK(connection->requests_in_flight > 0);
    connection->requests_in_flight--;
    if (sent != NULL) {
        sent(sent_user);
    }
    frame_stream_resume(&connection->frames);
}

static void server_request_sent_run(struct loop_task *task)
{
    struct server_request *state = CONTAINER_OF(task, struct server_request, task);
    void (*sent)(void *user) = state->sent;
    void *sent_user = state->sent_user;
    server_request_free(state);
    sent(sent_user);
}

/* There is nobody to reply to. */
static void server_request_drop(struct server_request *state)
{
    server_request_drop_content(state);
    list_remove(&state->link);
    if (state->sent == NULL) {
        server_request_free(state);
    } else {
        state->task.run = server_request_sent_run;
        loop_defer(state->server->loop, &state->task);
    }
}

/* Put status, message and payload into the frame. A reply that is over the limits becomes an error. */
static bool server_request_pack(struct server_request *state, enum status status, const ProtobufCMessage *reply,
                                const struct iovec *payload, unsigned payload_count)
{
    enum status packed = frame_out_pack(&state->out, reply);
    if (packed != STATUS_OK) {
        log_event(LOG_ERROR, "rpc_reply_unsendable", "type=%s reason=%s", message_type_name(state->public.type),
                  status_name(packed));
        status = packed;
        payload_count = 0;
        if (frame_out_pack(&state->out, NULL) != STATUS_OK) {
            return false;
        }
    }
    if (payload_count > 0) {
        memcpy(state->out.payload, payload, payload_count * sizeof(*payload));
        state->out.payload_count = payload_count;
    }
    struct frame_header header = {
        .kind = FRAME_REPLY,
        .type = state->public.type,
        .request = state->number,
        .status = status,
    };
    frame_out_finish(&state->out, &header);
    return true;
}

static void server_request_reply(struct server_request *state, enum status status, const ProtobufCMessage *reply,
                                 const struct iovec *payload, unsigned payload_count)
{
    struct rpc_connection *connection = state->public.connection;
    state->stage = REQUEST_REPLYING;
    if (connection == NULL || connection->frames.closing) {
        /* Those of a closing connection that is not closed yet still count there; nobody minds. */
        server_request_drop(state);
        return;
    }
    if (!server_request_pack(state, status, reply, payload, payload_count)) {
        frame_stream_close(&connection->frames, STATUS_BUSY);
        server_request_drop(state);
        return;
    }
    server_request_drop_content(state);
    state->out.sent = server_request_sent;
    frame_stream_send(&connection->frames, &state->out);
}

void rpc_reply_with_payload(struct rpc_request *request, enum status status, const ProtobufCMessage *reply,
                            const struct iovec *payload, unsigned payload_count, void (*sent)(void *user), void *user)
{
    struct server_request *state = request->private_state;
    CHECK(state != NULL && state->stage == REQUEST_SERVING);
    CHECK(payload_count <= RPC_PAYLOAD_VECTORS_MAX);
    CHECK(payload_count == 0 || sent != NULL);
    CHECK(reply == NULL || reply->descriptor == message_reply_descriptor(request->type));
    state->sent = sent;
    state->sent_user = user;
    server_request_reply(state, status, reply, payload, payload_count);
}

void rpc_reply(struct rpc_request *request, enum status status, const ProtobufCMessage *reply)
{
    rpc_reply_with_payload(request, status, reply, NULL, 0, NULL, NULL);
}

/* ---- receiving requests ---------------------------------------------------------------------- */

static struct rpc_connection *connection_of(struct frame_stream *frames)
{
    return CONTAINER_OF(frames, struct rpc_connection, frames);
}

static struct arena *connection_header(struct frame_stream *frames)
{
    struct rpc_connection *connection = connection_of(frames);
    struct rpc_server *server = connection->server;
    const struct frame_header *header = &frames->header;
    if (header->kind != FRAME_REQUEST) {
        frame_stream_refuse(frames, STATUS_CORRUPT, "a client sent a reply");
        return NULL;
    }
    struct server_request *state = server_request_take(connection);
    if (state == NULL) {
        frame_stream_refuse(frames, STATUS_BUSY, "no memory for a request");
        return NULL;
    }
    connection->receiving = state;
    connection->requests_in_flight++;
    if (connection->requests_in_flight >= RPC_SERVER_REQUESTS_MAX) {
        frame_stream_pause(frames);
    }
    state->number = header->request;
    state->public.type = header->type;
    state->public.payload_bytes = header->payload_bytes;
    state->public.deadline_ns = loop_now_ns(server->loop) + header->deadline_ms * NS_PER_MS;
    if (message_request_descriptor(header->type) == NULL) {
        state->refusal = STATUS_UNSUPPORTED;
        return NULL;
    }
    if (header->payload_bytes > 0 && server->service->slabs == NULL) {
        state->refusal = STATUS_INVALID;
        return NULL;
    }
    size_t room = header->message_bytes > FRAME_STAGING_BYTES ? header->message_bytes : 0;
    arena_init(&state->arena, &server->arenas, room + message_unpacked_bytes_max(header->message_bytes));
    return &state->arena;
}

static void connection_receive_into(struct rpc_connection *connection, struct slab *slab)
{
    connection->receiving->public.payload = slab;
    frame_stream_receive_payload(&connection->frames, slab->data);
}

static void connection_slab_ready(struct slab_waiter *waiter, struct slab *slab)
{
    struct rpc_connection *connection = CONTAINER_OF(waiter, struct rpc_connection, waiter);
    loop_timer_stop(connection->server->loop, &connection->wait_timer);
    if (connection->frames.closing) {
        slab_release(slab);
        return;
    }
    connection_receive_into(connection, slab);
}

/* No slab came free while anybody waited for this request. */
static void connection_wait_over(struct loop_timer *timer)
{
    struct rpc_connection *connection = CONTAINER_OF(timer, struct rpc_connection, wait_timer);
    slab_wait_cancel(connection->server->service->slabs, &connection->waiter);
    connection->receiving->refusal = STATUS_BUSY;
    frame_stream_drop_payload(&connection->frames);
}

static void connection_message(struct frame_stream *frames, const uint8_t *message)
{
    struct rpc_connection *connection = connection_of(frames);
    struct rpc_server *server = connection->server;
    struct server_request *state = connection->receiving;
    const struct frame_header *header = &frames->header;
    state->refusal = message_unpack(message_request_descriptor(header->type), &state->arena, message,
                                    header->message_bytes, &state->public.message);
    if (header->payload_bytes == 0) {
        return;
    }
    if (state->refusal != STATUS_OK) {
        frame_stream_drop_payload(frames);
        return;
    }
    struct slab *slab = slab_take(server->service->slabs, header->payload_bytes);
    if (slab != NULL) {
        connection_receive_into(connection, slab);
        return;
    }
    slab_wait(server->service->slabs, &connection->waiter, header->payload_bytes, connection_slab_ready);
    loop_timer_start(server->loop, &connection->wait_timer, state->public.deadline_ns);
}

static void connection_complete(struct frame_stream *frames, bool dropped)
{
    struct rpc_connection *connection = connection_of(frames);
    struct rpc_server *server = connection->server;
    struct server_request *state = connection->receiving;
    connection->receiving = NULL;
    if (dropped && state->refusal == STATUS_OK) {
        state->refusal = STATUS_BUSY; /* There was no memory for the message. */
    }
    if (state->refusal == STATUS_OK && loop_now_ns(server->loop) >= state->public.deadline_ns) {
        state->refusal = STATUS_TIMEOUT;
    }
    if (state->refusal != STATUS_OK) {
        server_request_reply(state, state->refusal, NULL, NULL, 0);
        return;
    }
    state->stage = REQUEST_SERVING;
    server->service->handle(server->service, &state->public);
}

/* ---- connections ----------------------------------------------------------------------------- */

static void connection_stop_waiting(struct rpc_connection *connection)
{
    struct rpc_server *server = connection->server;
    loop_timer_stop(server->loop, &connection->wait_timer);
    if (list_is_linked(&connection->waiter.link)) {
        slab_wait_cancel(server->service->slabs, &connection->waiter);
    }
}

/* Requests with the service outlive the connection; the one being received does not. */
static void connection_closed(struct frame_stream *frames)
{
    struct rpc_connection *connection = connection_of(frames);
    struct rpc_server *server = connection->server;
    connection_stop_waiting(connection);
    if (connection->receiving != NULL) {
        server_request_free(connection->receiving);
        connection->receiving = NULL;
    }
    while (!list_is_empty(&connection->requests)) {
        struct server_request *state = LIST_ENTRY(list_take_first(&connection->requests), struct server_request, link);
        CHECK(state->stage == REQUEST_SERVING);
        state->public.connection = NULL;
    }
    list_remove(&connection->link);
    free(connection);
    CHECK(server->connection_count > 0);
    server->connection_count--;
    server->is_full = false;
    server_free_if_over(server);
}

static const struct frame_stream_events connection_events = {
    .header = connection_header,
    .message = connection_message,
    .complete = connection_complete,
    .closed = connection_closed,
};

static bool connection_is_idle(const struct rpc_connection *connection, uint64_t now_ns)
{
    return connection->requests_in_flight == 0 && frame_stream_is_between_frames(&connection->frames) &&
           !connection->frames.closing && now_ns - connection->frames.received_ns >= IDLE_NS;
}

/* Make room by closing the connection that has been idle longest. False: none has been for long. */
static bool server_evict_idle(struct rpc_server *server)
{
    struct rpc_connection *oldest = NULL;
    uint64_t now_ns = loop_now_ns(server->loop);
    LIST_EACH (&server->connections, link) {
        struct rpc_connection *connection = LIST_ENTRY(link, struct rpc_connection, link);
        if (connection_is_idle(connection, now_ns) &&
            (oldest == NULL || connection->frames.received_ns < oldest->frames.received_ns)) {
            oldest = connection;
        }
    }
    if (oldest == NULL) {
        return false;
    }
    frame_stream_close(&oldest->frames, STATUS_BUSY);
    return true;
}

static void server_refuse_connection(struct rpc_server *server, struct stream *stream)
{
    if (!server->is_full && !server->is_closing) {
        server->is_full = true;
        log_event(LOG_WARNING, "rpc_connections_full", "address=%s connections=%u", server->listener.address,
                  server->connection_count);
    }
    stream_close(stream);
}

static void server_accepted(struct net_listener *listener, struct stream *stream)
{
    struct rpc_server *server = CONTAINER_OF(listener, struct rpc_server, listener);
    bool has_room = server->connection_count < CONNECTIONS_MAX || server_evict_idle(server);
    struct rpc_connection *connection = NULL;
    if (has_room && !server->is_closing) {
        connection = calloc(1, sizeof(*connection));
    }
    if (connection == NULL) {
        server_refuse_connection(server, stream);
        return;
    }
    connection->server = server;
    connection->wait_timer.fire = connection_wait_over;
    list_init(&connection->requests);
    list_append(&server->connections, &connection->link);
    server->connection_count++;
    frame_stream_open(&connection->frames, server->loop, stream, &connection_events, server->listener.address,
                      STALL_NS);
}

/* ---- the server ------------------------------------------------------------------------------ */

enum status rpc_server_open(struct loop *loop, struct net *net, const char *address, struct rpc_service *service,
                            struct rpc_server **server)
{
    CHECK(service->handle != NULL);
    struct rpc_server *opened = calloc(1, sizeof(*opened));
    if (opened == NULL) {
        return STATUS_BUSY;
    }
    opened->loop = loop;
    opened->net = net;
    opened->service = service;
    opened->free_task.run = server_free_run;
    list_init(&opened->connections);
    list_init(&opened->spare_requests);
    arena_pool_init(&opened->arenas, SERVER_MEMORY_MAX);
    opened->listener.accepted = server_accepted;
    enum status status = net_listen(net, &opened->listener, address);
    if (status != STATUS_OK) {
        free(opened);
        return status;
    }
    *server = opened;
    return STATUS_OK;
}

const char *rpc_server_address(const struct rpc_server *server)
{
    return server->listener.address;
}

void rpc_server_close(struct rpc_server *server)
{
    CHECK(!server->is_closing);
    server->is_closing = true;
    net_listener_close(server->net, &server->listener);
    LIST_EACH (&server->connections, link) {
        struct rpc_connection *connection = LIST_ENTRY(link, struct rpc_connection, link);
        connection_stop_waiting(connection);
        frame_stream_close(&connection->frames, STATUS_CANCELLED);
    }
    server_free_if_over(server);
}
