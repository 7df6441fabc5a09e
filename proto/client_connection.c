/* client_connection.c - the connections of a client, and the replies that come over them. */
#include "base/log.h"
#include "proto/codec.h"
#include "proto/rpc_client_private.h"

#include <stdlib.h>

#define CONNECT_NS   (3 * NS_PER_S) /* for one attempt to connect */
#define PAUSE_MIN_NS (50 * NS_PER_MS)
#define PAUSE_MAX_NS (2 * NS_PER_S)

/* ---- sending --------------------------------------------------------------------------------- */

bool client_connection_takes_calls(const struct client_connection *connection)
{
    return connection != NULL && connection->is_open && !connection->frames.closing;
}

void client_connection_send(struct client_connection *connection, struct client_call *state)
{
    struct rpc_call *call = state->call;
    uint64_t now_ns = loop_now_ns(connection->client->loop);
    uint64_t left_ms = call->deadline_ns <= now_ns ? 0 : (call->deadline_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS;
    struct frame_header header = {
        .kind = FRAME_REQUEST,
        .type = call->type,
        .request = state->request,
        .deadline_ms = left_ms < UINT32_MAX ? (uint32_t)left_ms : UINT32_MAX,
    };
    frame_out_finish(&state->out, &header);
    state->connection = connection;
    if (connection->unanswered_ns == 0) {
        connection->unanswered_ns = now_ns;
    }
    list_append(&connection->calls, &call->link);
    frame_stream_send(&connection->frames, &state->out);
}

/* ---- receiving replies ----------------------------------------------------------------------- */

static struct client_connection *connection_of(struct frame_stream *frames)
{
    return CONTAINER_OF(frames, struct client_connection, frames);
}

static struct arena *connection_header(struct frame_stream *frames)
{
    struct client_connection *connection = connection_of(frames);
    struct rpc_client *client = connection->client;
    const struct frame_header *header = &frames->header;
    connection->receiving = NULL;
    connection->unanswered_ns = 0;
    if (header->kind != FRAME_REPLY) {
        frame_stream_refuse(frames, STATUS_CORRUPT, "a server sent a request");
        return NULL;
    }
    struct client_call *state = client->slots[header->request & (RPC_CALLS_MAX - 1)];
    if (state == NULL || state->request != header->request || state->connection != connection) {
        if (header->request >> RPC_SLOT_BITS > client->sequence) {
            frame_stream_refuse(frames, STATUS_CORRUPT, "a reply to what was never asked");
        }
        return NULL; /* It comes too late: read and drop it. */
    }
    if (header->type != state->call->type) {
        client_call_decide(state, STATUS_CORRUPT);
        frame_stream_refuse(frames, STATUS_CORRUPT, "a reply of another type than the request");
        return NULL;
    }
    connection->receiving = state;
    state->is_receiving = true;
    state->reply_is_secret = message_reply_is_secret(header->type);
    size_t room = header->message_bytes > FRAME_STAGING_BYTES ? header->message_bytes : 0;
    arena_init(&state->arena, &client->arenas, room + message_unpacked_bytes_max(header->message_bytes));
    return &state->arena;
}

/* What the call will end with, apart from the reply's own status: STATUS_OK when its payload is welcome. */
static enum status client_call_take_message(struct client_call *state, const struct frame_header *header,
                                            const uint8_t *message)
{
    struct rpc_call *call = state->call;
    enum status status = message_unpack(message_reply_descriptor(header->type), &state->arena, message,
                                        header->message_bytes, &call->reply);
    if (status != STATUS_OK) {
        return status == STATUS_BUSY ? STATUS_BUSY : STATUS_CORRUPT;
    }
    if (header->payload_bytes > (call->reply_buffer == NULL ? 0 : call->reply_capacity)) {
        return STATUS_TOO_LARGE;
    }
    return STATUS_OK;
}

static void connection_message(struct frame_stream *frames, const uint8_t *message)
{
    struct client_connection *connection = connection_of(frames);
    struct client_call *state = connection->receiving;
    const struct frame_header *header = &frames->header;
    if (state->call == NULL || state->is_decided) {
        if (header->payload_bytes > 0) {
            frame_stream_drop_payload(frames);
        }
        return;
    }
    enum status status = client_call_take_message(state, header, message);
    if (status != STATUS_OK) {
        if (header->payload_bytes > 0) {
            frame_stream_drop_payload(frames);
        }
        if (client_call_decide(state, status)) {
            client_call_deliver(state);
        }
        return;
    }
    if (header->payload_bytes > 0) {
        state->receives_payload = true;
        frame_stream_receive_payload(frames, state->call->reply_buffer);
    }
}

static void connection_complete(struct frame_stream *frames, bool dropped)
{
    struct client_connection *connection = connection_of(frames);
    struct rpc_client *client = connection->client;
    struct client_call *state = connection->receiving;
    connection->receiving = NULL;
    if (!connection->has_replied) {
        connection->has_replied = true;
        if (client->failures > 0 && client->current == connection) {
            client->failures = 0;
            log_event(LOG_INFO, "rpc_peer_reachable", "address=%s", client->address);
        }
    }
    if (!list_is_empty(&connection->calls) && connection->unanswered_ns == 0) {
        connection->unanswered_ns = loop_now_ns(client->loop);
    }
    if (state == NULL) {
        return;
    }
    state->is_receiving = false;
    state->receives_payload = false;
    if (state->call == NULL) {
        client_call_free_if_over(state);
        return;
    }
    if (!state->is_decided) {
        state->call->reply_payload_bytes = dropped ? 0 : frames->header.payload_bytes;
    }
    if (client_call_decide(state, dropped ? STATUS_BUSY : status_from_wire(frames->header.status))) {
        client_call_deliver(state);
    }
}

/* ---- connections ----------------------------------------------------------------------------- */

static void connection_free(struct client_connection *connection)
{
    struct rpc_client *client = connection->client;
    CHECK(list_is_empty(&connection->calls));
    list_remove(&connection->link);
    free(connection);
    client_free_if_over(client);
}

/* An attempt brought nothing: wait a little longer each time, each client a different while. */
static void client_note_failure(struct rpc_client *client, enum status reason)
{
    if (client->failures == 0) {
        log_event(LOG_WARNING, "rpc_peer_unreachable", "address=%s reason=%s", client->address, status_name(reason));
    }
    unsigned doublings = client->failures < 8 ? client->failures : 8;
    client->failures++;
    uint64_t pause_ns = PAUSE_MIN_NS << doublings;
    if (pause_ns > PAUSE_MAX_NS) {
        pause_ns = PAUSE_MAX_NS;
    }
    uint32_t chance = 0;
    loop_random(client->loop, &chance, sizeof(chance));
    pause_ns = pause_ns / 2 + chance % (pause_ns / 2);
    loop_timer_start(client->loop, &client->pause_timer, loop_now_ns(client->loop) + pause_ns);
}

/* The client has no current connection any more. */
static void client_drop_current(struct rpc_client *client, enum status reason)
{
    struct client_connection *connection = client->current;
    client->current = NULL;
    connection->is_given_up = true;
    if (!client->is_closing && !connection->has_replied) {
        client_note_failure(client, reason);
    }
}

void client_connection_give_up(struct client_connection *connection, enum status reason)
{
    struct rpc_client *client = connection->client;
    if (client->current == connection) {
        client_drop_current(client, reason);
    }
    connection->is_given_up = true;
    if (connection->is_open) {
        frame_stream_close(&connection->frames, reason);
    }
    client_connect_if_wanted(client);
}

/* Whether a call that the end of its connection left without an answer is worth another connection. */
static bool call_is_to_be_repeated(const struct client_connection *connection, const struct client_call *state)
{
    const struct rpc_call *call = state->call;
    return call->may_repeat && !state->is_repeated && !state->is_decided && connection->has_replied &&
           connection->end == STATUS_UNAVAILABLE && !connection->client->is_closing && call->payload_count == 0 &&
           state->out.stage == FRAME_OUT_IDLE;
}

static void connection_closed(struct frame_stream *frames)
{
    struct client_connection *connection = connection_of(frames);
    struct rpc_client *client = connection->client;
    struct client_call *receiving = connection->receiving;
    connection->receiving = NULL;
    if (client->current == connection) {
        client_drop_current(client, frames->end);
    }
    if (receiving != NULL) {
        receiving->is_receiving = false;
        receiving->receives_payload = false;
        if (receiving->call == NULL) {
            client_call_free_if_over(receiving);
        } else if (frames->end == STATUS_CORRUPT) {
            client_call_decide(receiving, STATUS_CORRUPT);
        }
    }
    while (!list_is_empty(&connection->calls)) {
        struct rpc_call *call = LIST_ENTRY(list_first(&connection->calls), struct rpc_call, link);
        struct client_call *state = call->private_state;
        if (!state->is_decided) {
            client_call_forget_reply(call);
        }
        if (call_is_to_be_repeated(connection, state)) {
            state->is_repeated = true;
            state->connection = NULL;
            arena_release(&state->arena, state->reply_is_secret); /* A reply may have begun. */
            state->reply_is_secret = false;
            list_remove(&call->link);
            list_append(&client->waiting, &call->link);
            continue;
        }
        CHECK(client_call_decide(state, connection->end));
        client_call_deliver(state);
    }
    if (!client->is_closing) {
        client_connect_if_wanted(client);
    }
    connection_free(connection);
}

static const struct frame_stream_events connection_events = {
    .header = connection_header,
    .message = connection_message,
    .complete = connection_complete,
    .closed = connection_closed,
};

/* No connection could be made: calls that waited for it are told at once, they may know another peer. */
static void client_fail_waiting(struct rpc_client *client)
{
    struct list failed;
    list_init(&failed);
    while (!list_is_empty(&client->waiting)) {
        list_append(&failed, list_take_first(&client->waiting));
    }
    while (!list_is_empty(&failed)) {
        struct rpc_call *call = LIST_ENTRY(list_first(&failed), struct rpc_call, link);
        CHECK(client_call_decide(call->private_state, STATUS_UNAVAILABLE));
        client_call_deliver(call->private_state);
    }
}

static void connection_made(struct net_connect *connect, struct stream *stream)
{
    struct client_connection *connection = CONTAINER_OF(connect, struct client_connection, connect);
    struct rpc_client *client = connection->client;
    if (connection->is_given_up) {
        if (stream != NULL) {
            stream_close(stream);
        }
        connection_free(connection);
        return;
    }
    if (stream == NULL) {
        client_drop_current(client, connect->status);
        connection_free(connection);
        client_fail_waiting(client);
        return;
    }
    connection->is_open = true;
    frame_stream_open(&connection->frames, client->loop, stream, &connection_events, client->address, 0);
    while (!list_is_empty(&client->waiting)) {
        struct rpc_call *call = LIST_ENTRY(list_take_first(&client->waiting), struct rpc_call, link);
        client_connection_send(connection, call->private_state);
    }
}

void client_connect_if_wanted(struct rpc_client *client)
{
    if (client->is_closing || client->current != NULL || list_is_empty(&client->waiting) ||
        loop_timer_is_armed(&client->pause_timer)) {
        return;
    }
    struct client_connection *connection = calloc(1, sizeof(*connection));
    if (connection == NULL) {
        client_note_failure(client, STATUS_BUSY); /* The next attempt, or the deadlines, will come. */
        return;
    }
    connection->client = client;
    connection->end = STATUS_UNAVAILABLE;
    list_init(&connection->calls);
    list_append(&client->connections, &connection->link);
    client->current = connection;
    net_connect(client->net, &connection->connect, client->address, loop_now_ns(client->loop) + CONNECT_NS,
                connection_made);
}
