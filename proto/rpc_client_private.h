/* rpc_client_private.h - private to proto: the parts of an rpc_client.
 *
 *   rpc_client.c         the client: open, close, another address
 *   client_call.c        the life of a call: started, decided, delivered
 *   client_connection.c  connections: made with growing pauses, carry calls, match replies, end
 *
 * A call is in the hands of three parties, each of which must let go before its state is used again:
 *
 *   the owner     from rpc_call_start() until `done`: `call` is not NULL
 *   the sender    from being queued until `sent`: the frame is not FRAME_OUT_IDLE
 *   the receiver  while its reply arrives: `is_receiving`
 *
 * `done` may run early, while the kernel still sends our own copy of the message; it may not while the kernel sends
 * from the owner's payload or receives into the owner's buffer: then the connection is closed first, and the outcome,
 * decided already, is delivered when the I/O has ended.
 *
 * Connections are objects of their own: one that is given up (broken, or closed for a deadline) dies at its own pace
 * with the calls that were sent on it, while the client already speaks over the next one. */
#ifndef TRILITH_PROTO_RPC_CLIENT_PRIVATE_H
#define TRILITH_PROTO_RPC_CLIENT_PRIVATE_H

#include "proto/frame_stream.h"

#define RPC_SLOT_BITS 10u

_Static_assert(RPC_CALLS_MAX == 1u << RPC_SLOT_BITS, "a request number holds the slot of its call");

struct client_connection;

struct client_call {
    struct rpc_client *client;
    struct rpc_call *call;                /* NULL once `done` has run */
    struct client_connection *connection; /* NULL while waiting for one */
    uint64_t request;                     /* sequence << RPC_SLOT_BITS | slot */
    enum status outcome;
    bool is_decided;       /* `outcome` holds; nothing but the delivery is left */
    bool is_deferred;      /* the delivery is on its way through call->task */
    bool is_receiving;     /* connection->receiving is this one */
    bool receives_payload; /* the kernel may be writing into the owner's buffer */
    bool reply_is_secret;
    bool is_repeated; /* sent for the second time */
    struct frame_out out;
    struct arena arena;    /* for the unpacked reply */
    struct list_link link; /* of spare ones */
};

struct client_connection {
    struct rpc_client *client;
    struct net_connect connect;
    struct frame_stream frames;
    bool is_open;           /* connected: `frames` is in use */
    bool is_given_up;       /* no longer the client's current one */
    bool has_replied;       /* the peer is known to serve */
    enum status end;        /* what calls end with that are not decided when it has closed */
    uint64_t unanswered_ns; /* since when replies are owed while nothing came at all; 0: they are not */
    struct list calls;
    struct client_call *receiving; /* whose reply is arriving; NULL: nobody's */
    struct list_link link;
};

struct rpc_client {
    struct loop *loop;
    struct net *net;
    char address[NET_ADDRESS_BYTES];
    bool is_closing;
    struct client_connection *current; /* connecting or open; NULL: none */
    struct list connections;           /* the current one and those given up */
    struct list waiting;               /* calls without a connection, in order */
    struct list spare_calls;
    struct arena_pool arenas;
    uint64_t sequence;             /* of the last request number given out */
    unsigned failures;             /* attempts in a row that brought no reply */
    unsigned calls_alive;          /* states in use, for whatever party */
    struct loop_timer pause_timer; /* armed: no attempt to connect until it fires */
    struct loop_task free_task;
    bool free_is_deferred;
    unsigned free_slot_count;
    uint16_t free_slots[RPC_CALLS_MAX];
    struct client_call *slots[RPC_CALLS_MAX];
};

/* ---- client_call.c --------------------------------------------------------------------------- */

/* The outcome is known, if it was not before. Returns true when it may be delivered now. */
bool client_call_decide(struct client_call *state, enum status outcome);
/* Run `done` of a call that may be delivered. */
void client_call_deliver(struct client_call *state);
/* The call ends without what its reply brought. */
void client_call_forget_reply(struct rpc_call *call);
/* Keep the state for the next call, once nobody has it in hand any more. */
void client_call_free_if_over(struct client_call *state);

/* ---- client_connection.c --------------------------------------------------------------------- */

/* Connect when calls wait, and nothing is under way and no pause stands against it. */
void client_connect_if_wanted(struct rpc_client *client);
bool client_connection_takes_calls(const struct client_connection *connection);
/* Queue the frame of a call that is not linked anywhere on an open connection. */
void client_connection_send(struct client_connection *connection, struct client_call *state);
/* Close `connection` because of something on our side; its calls end when it has closed. */
void client_connection_give_up(struct client_connection *connection, enum status reason);

/* ---- rpc_client.c ---------------------------------------------------------------------------- */

/* A closed client goes when its last call and connection have. */
void client_free_if_over(struct rpc_client *client);

#endif
