/* client_call.c - the life of a call on the client's side; rpc_client_private.h says who holds it when. */
#include "base/buggify.h"
#include "proto/codec.h"
#include "proto/rpc_client_private.h"

#include <stdlib.h>

#define SILENCE_NS (10 * NS_PER_S) /* a peer that owes replies and is silent this long has gone */

/* ---- the life of a call's state -------------------------------------------------------------- */
/* A state with a slot of its own. STATUS_BUSY: too many calls, or no memory. */
static enum status client_call_take(struct rpc_client *client, struct client_call **taken)
{
    if (client->free_slot_count == 0) {
        return STATUS_BUSY;
    }
    struct client_call *state = NULL;
    struct list_link *spare = list_take_first(&client->spare_calls);
    if (spare != NULL) {
        state = LIST_ENTRY(spare, struct client_call, link);
    } else {
        state = calloc(1, sizeof(*state));
        if (state == NULL) {
            return STATUS_BUSY;
        }
    }
    uint16_t slot = client->free_slots[--client->free_slot_count];
    CHECK(client->slots[slot] == NULL);
    client->slots[slot] = state;
    client->calls_alive++;
    client->sequence++;
    state->client = client;
    state->request = client->sequence << RPC_SLOT_BITS | slot;
    *taken = state;
    return STATUS_OK;
}

/* From here on a reply to this call is late. */
static void client_call_leave_slot(struct client_call *state)
{
    struct rpc_client *client = state->client;
    uint16_t slot = (uint16_t)(state->request & (RPC_CALLS_MAX - 1));
    if (client->slots[slot] == state) {
        client->slots[slot] = NULL;
        client->free_slots[client->free_slot_count++] = slot;
    }
}

void client_call_free_if_over(struct client_call *state)
{
    struct rpc_client *client = state->client;
    if (state->call != NULL || state->out.stage != FRAME_OUT_IDLE || state->is_receiving) {
        return;
    }
    arena_release(&state->arena, state->reply_is_secret);
    frame_out_recycle(&state->out, false);
    struct frame_out out = state->out;
    *state = (struct client_call){.out = out};
    list_append(&client->spare_calls, &state->link);
    CHECK(client->calls_alive > 0);
    client->calls_alive--;
    client_free_if_over(client);
}

static bool client_call_buffers_are_in_use(const struct client_call *state)
{
    bool sends_payload = state->out.stage == FRAME_OUT_SENDING && state->out.payload_count > 0;
    return sends_payload || state->receives_payload;
}

void client_call_deliver(struct client_call *state)
{
    struct rpc_call *call = state->call;
    CHECK(call != NULL && state->is_decided && !client_call_buffers_are_in_use(state));
    frame_out_withdraw(&state->out);
    loop_timer_stop(state->client->loop, &call->timer);
    list_remove(&call->link);
    client_call_leave_slot(state);
    call->status = state->outcome;
    call->private_state = NULL;
    state->call = NULL;
    call->done(call); /* Last use of call: its owner may reuse it from here on. */
    client_call_free_if_over(state);
}

static void client_call_deliver_run(struct loop_task *task)
{
    struct rpc_call *call = CONTAINER_OF(task, struct rpc_call, task);
    client_call_deliver(call->private_state);
}

bool client_call_decide(struct client_call *state, enum status outcome)
{
    if (!state->is_decided) {
        state->is_decided = true;
        state->outcome = outcome;
        client_call_leave_slot(state);
    }
    return !client_call_buffers_are_in_use(state) && !state->is_deferred;
}

/* The outcome is known inside a call of the owner: `done` has to wait for the loop. */
static void client_call_defer(struct client_call *state)
{
    struct rpc_call *call = state->call;
    state->is_deferred = true;
    frame_out_withdraw(&state->out);
    loop_timer_stop(state->client->loop, &call->timer);
    list_remove(&call->link);
    call->task.run = client_call_deliver_run;
    loop_defer(state->client->loop, &call->task);
}

void client_call_forget_reply(struct rpc_call *call)
{
    call->reply = NULL;
    call->reply_payload_bytes = 0;
}

/* ---- starting and giving up ------------------------------------------------------------------ */

static void client_call_timed_out(struct loop_timer *timer)
{
    struct rpc_call *call = CONTAINER_OF(timer, struct rpc_call, timer);
    struct client_call *state = call->private_state;
    struct client_connection *connection = state->connection;
    if (state->is_decided) {
        /* Only the kernel still holds the payload of a call that was answered: make it let go. */
        client_connection_give_up(connection, STATUS_UNAVAILABLE);
        return;
    }
    uint64_t now_ns = loop_now_ns(state->client->loop);
    bool peer_is_silent =
        connection != NULL && connection->unanswered_ns != 0 && now_ns - connection->unanswered_ns >= SILENCE_NS;
    client_call_forget_reply(call);
    bool deliver = client_call_decide(state, STATUS_TIMEOUT);
    if (connection != NULL && (!deliver || peer_is_silent)) {
        client_connection_give_up(connection, STATUS_UNAVAILABLE);
    }
    if (deliver) {
        client_call_deliver(state);
    }
}

static void client_call_sent(struct frame_out *out)
{
    struct client_call *state = CONTAINER_OF(out, struct client_call, out);
    if (state->call == NULL) {
        client_call_free_if_over(state);
    } else if (state->is_decided && !client_call_buffers_are_in_use(state) && !state->is_deferred) {
        client_call_deliver(state);
    }
}

/* Never accepted: there is no state. */
static void client_call_refused_run(struct loop_task *task)
{
    struct rpc_call *call = CONTAINER_OF(task, struct rpc_call, task);
    call->done(call);
}

static void client_call_refuse(struct rpc_client *client, struct rpc_call *call, enum status status)
{
    call->status = status;
    call->private_state = NULL;
    call->task.run = client_call_refused_run;
    loop_defer(client->loop, &call->task);
}

/* Open, of use before, and nobody waits for a reply on it. */
static bool connection_is_idle(const struct client_connection *connection)
{
    return connection != NULL && connection->is_open && !connection->frames.closing && connection->has_replied &&
           list_is_empty(&connection->calls);
}

void rpc_call_start(struct rpc_client *client, struct rpc_call *call, const ProtobufCMessage *request)
{
    CHECK(call->done != NULL);
    CHECK(!client->is_closing);
    CHECK(call->payload_count <= RPC_PAYLOAD_VECTORS_MAX);
    CHECK(message_request_descriptor(call->type) != NULL);
    CHECK(request == NULL || request->descriptor == message_request_descriptor(call->type));

    call->status = STATUS_OK;
    client_call_forget_reply(call);
    call->timer = (struct loop_timer){.fire = client_call_timed_out};
    call->task = (struct loop_task){0};
    list_link_init(&call->link);

    struct client_call *state = NULL;
    enum status status = client_call_take(client, &state);
    if (status != STATUS_OK) {
        client_call_refuse(client, call, status);
        return;
    }
    status = frame_out_pack(&state->out, request);
    if (status != STATUS_OK) {
        client_call_leave_slot(state);
        client_call_free_if_over(state);
        client_call_refuse(client, call, status);
        return;
    }
    memcpy(state->out.payload, call->payload, call->payload_count * sizeof(call->payload[0]));
    state->out.payload_count = call->payload_count;
    state->out.sent = client_call_sent;
    state->call = call;
    call->private_state = state;
    loop_timer_start(client->loop, &call->timer, call->deadline_ns);
    if (connection_is_idle(client->current) && BUGGIFY(BUGGIFY_RPC_RECONNECT)) {
        client_connection_give_up(client->current, STATUS_UNAVAILABLE);
    }
    if (client_connection_takes_calls(client->current)) {
        client_connection_send(client->current, state);
    } else {
        list_append(&client->waiting, &call->link);
        client_connect_if_wanted(client);
    }
}

void rpc_call_cancel(struct rpc_call *call)
{
    struct client_call *state = call->private_state;
    if (state == NULL || state->is_decided) {
        return;
    }
    client_call_forget_reply(call);
    if (client_call_decide(state, STATUS_CANCELLED)) {
        client_call_defer(state);
    } else {
        client_connection_give_up(state->connection, STATUS_UNAVAILABLE);
    }
}
