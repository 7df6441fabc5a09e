/* rpc_client.c - one peer, one lane: opening, closing and turning it to another address. Its calls and connections
 * are in client_call.c and client_connection.c. */
#include "proto/rpc_client_private.h"

#include <stdlib.h>

#define CLIENT_MEMORY_MAX MIB(96) /* unpacked replies of one client; one of the largest always fits */

static void client_free_run(struct loop_task *task)
{
    struct rpc_client *client = CONTAINER_OF(task, struct rpc_client, free_task);
    while (!list_is_empty(&client->spare_calls)) {
        struct client_call *state = LIST_ENTRY(list_take_first(&client->spare_calls), struct client_call, link);
        frame_out_deinit(&state->out);
        free(state);
    }
    arena_pool_deinit(&client->arenas);
    free(client);
}

void client_free_if_over(struct rpc_client *client)
{
    if (client->is_closing && !client->free_is_deferred && client->calls_alive == 0 &&
        list_is_empty(&client->connections)) {
        client->free_is_deferred = true;
        loop_defer(client->loop, &client->free_task);
    }
}

static void client_pause_over(struct loop_timer *timer)
{
    client_connect_if_wanted(CONTAINER_OF(timer, struct rpc_client, pause_timer));
}

/* ---- the client ------------------------------------------------------------------------------ */

static bool address_copy(char target[NET_ADDRESS_BYTES], const char *address)
{
    size_t length = strnlen(address, NET_ADDRESS_BYTES);
    if (length == NET_ADDRESS_BYTES) {
        length = 0; /* No such address can exist; connecting to an empty one is refused. */
    }
    bool differs = strncmp(target, address, NET_ADDRESS_BYTES) != 0;
    memset(target, 0, NET_ADDRESS_BYTES);
    memcpy(target, address, length);
    return differs;
}

struct rpc_client *rpc_client_open(struct loop *loop, struct net *net, const char *address)
{
    struct rpc_client *client = calloc(1, sizeof(*client));
    if (client == NULL) {
        return NULL;
    }
    client->loop = loop;
    client->net = net;
    address_copy(client->address, address);
    list_init(&client->connections);
    list_init(&client->waiting);
    list_init(&client->spare_calls);
    arena_pool_init(&client->arenas, CLIENT_MEMORY_MAX);
    client->pause_timer.fire = client_pause_over;
    client->free_task.run = client_free_run;
    for (unsigned slot = 0; slot < RPC_CALLS_MAX; slot++) {
        client->free_slots[client->free_slot_count++] = (uint16_t)(RPC_CALLS_MAX - 1 - slot);
    }
    return client;
}

void rpc_client_set_address(struct rpc_client *client, const char *address)
{
    CHECK(!client->is_closing);
    if (!address_copy(client->address, address)) {
        return;
    }
    struct client_connection *connection = client->current;
    client->current = NULL;
    if (connection != NULL) {
        client_connection_give_up(connection, STATUS_UNAVAILABLE);
    }
    /* What is known about the old peer says nothing about the new one. */
    client->failures = 0;
    loop_timer_stop(client->loop, &client->pause_timer);
    client_connect_if_wanted(client);
}

void rpc_client_close(struct rpc_client *client)
{
    CHECK(!client->is_closing);
    client->is_closing = true;
    loop_timer_stop(client->loop, &client->pause_timer);
    while (!list_is_empty(&client->waiting)) {
        struct rpc_call *call = LIST_ENTRY(list_first(&client->waiting), struct rpc_call, link);
        rpc_call_cancel(call);
    }
    LIST_EACH (&client->connections, link) {
        struct client_connection *connection = LIST_ENTRY(link, struct client_connection, link);
        connection->end = STATUS_CANCELLED;
        client_connection_give_up(connection, STATUS_CANCELLED);
    }
    client_free_if_over(client);
}
