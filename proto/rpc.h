/* rpc.h - requests and replies over one byte stream, with deadlines and bulk payload.
 *
 * An rpc_client is one peer and one lane (control or data): it connects when first used, reconnects with growing
 * pauses, keeps many calls in flight on one stream and matches replies by number. An rpc_server listens and hands
 * each request to the service. Payload is received straight into a slab (server) or the caller's buffer (client).
 * A lost message is a broken connection: every call in flight on it ends with STATUS_UNAVAILABLE.
 *
 * Deadlines   Every call has one. When it passes, `done` gets STATUS_TIMEOUT: at once when no buffer of the caller
 *             is in use by the kernel, otherwise the connection is closed first. A late reply is read and dropped.
 * Repeating   A peer that lost its power says no goodbye: the next call finds the old connection dead. A call that
 *             `may_repeat`, carries no payload and was sent on a connection that had served before is sent once more, on a
 *             new one, when that connection ends before its answer has come, and its deadline has not.
 * Bounds      Calls in flight per client and requests in flight per connection are limited: a client over its limit
 *             refuses with STATUS_BUSY, a server stops reading.
 * Messages    protobuf-c structs. Unpacked ones live in an arena that belongs to the call or request and are valid
 *             until `done` returns (client) or the reply is given (server). Unknown fields are ignored, except
 *             within the object of an OBJECT_COMMIT, which is stored as it came and refused when it has some. Strings
 *             and bytes are bounded by the frame, their content is checked by whoever uses them.
 * Threads     One loop. `done` and `handle` never run inside the call that starts something. */
#ifndef TRILITH_PROTO_RPC_H
#define TRILITH_PROTO_RPC_H

#include "base/loop.h"
#include "base/net.h"
#include "base/slab.h"
#include "proto/frame.h"
#include "proto/wire.pb-c.h"

#define RPC_PAYLOAD_VECTORS_MAX 8
#define RPC_CALLS_MAX           1024 /* in flight per client */
#define RPC_SERVER_REQUESTS_MAX 256  /* in flight per connection */

struct rpc_client;
struct rpc_server;
struct rpc_connection;

/* ---- client ---------------------------------------------------------------------------------- */

/* One call. The caller fills the first group and keeps payload and reply buffer untouched until `done`. */
struct rpc_call {
    uint16_t type; /* enum MessageType: decides which message the reply carries */
    struct iovec payload[RPC_PAYLOAD_VECTORS_MAX];
    unsigned payload_count;
    void *reply_buffer; /* for the reply's payload; NULL: none is expected */
    uint32_t reply_capacity;
    uint64_t deadline_ns; /* on the loop's clock */
    bool may_repeat;      /* carried out twice it does no harm: see Repeating */
    void (*done)(struct rpc_call *call);

    /* The outcome, valid in `done`. STATUS_OK, a status the server replied with, or: STATUS_TIMEOUT;
     * STATUS_UNAVAILABLE (no connection, or it broke); STATUS_CORRUPT (malformed reply); STATUS_TOO_LARGE (the reply's
     * payload exceeds the buffer); STATUS_CANCELLED. */
    enum status status;
    const ProtobufCMessage *reply; /* unpacked; NULL unless the server replied. Also with an error status */
    uint32_t reply_payload_bytes;

    void *private_state;
    struct list_link link;
    struct loop_timer timer;
    struct loop_task task;
};

/* `address` is "host:port". Connects lazily. NULL: no memory. */
MUST_USE struct rpc_client *rpc_client_open(struct loop *loop, struct net *net, const char *address);
/* Ends every call with STATUS_CANCELLED (their `done` runs, later), then frees the client by itself. */
void rpc_client_close(struct rpc_client *client);
/* Point at another address: calls in flight end with STATUS_UNAVAILABLE when it differs. */
void rpc_client_set_address(struct rpc_client *client, const char *address);

/* Start `call` with `request` (copied before this returns; NULL: an empty message). `done` runs once, later, whatever
 * happens. */
void rpc_call_start(struct rpc_client *client, struct rpc_call *call, const ProtobufCMessage *request);
/* Give up: `done` runs later with STATUS_CANCELLED, unless the outcome was known first. */
void rpc_call_cancel(struct rpc_call *call);

/* ---- server ---------------------------------------------------------------------------------- */

/* One request being served. */
struct rpc_request {
    uint16_t type;
    const ProtobufCMessage *message;
    struct slab *payload; /* NULL without payload; the request holds one reference */
    uint32_t payload_bytes;
    uint64_t deadline_ns;  /* on the loop's clock: after it nobody waits for the reply */
    void *user;            /* the service's own, NULL at first */
    struct loop_task task; /* the service's own, to carry the request to another reactor and back */
    struct rpc_connection *connection;
    void *private_state;
    struct list_link link;
};

struct rpc_service {
    struct slab_pool *slabs; /* where payload is received into; NULL: requests with payload are refused */
    /* Serve `request`: rpc_reply() must follow, once, from the loop's thread, now or later. */
    void (*handle)(struct rpc_service *service, struct rpc_request *request);
};

MUST_USE enum status rpc_server_open(struct loop *loop, struct net *net, const char *address,
                                     struct rpc_service *service, struct rpc_server **server);
/* The bound address: port 0 has become the real one. */
const char *rpc_server_address(const struct rpc_server *server);
/* Stop listening and close all connections. Requests being served stay valid until their rpc_reply(). */
void rpc_server_close(struct rpc_server *server);

/* Answer and give the request back. `reply` is copied before this returns (NULL: an empty message). `payload` (at most
 * RPC_PAYLOAD_VECTORS_MAX vectors) must stay until `sent` has run (later, also when the connection is gone); NULL
 * `sent` is for replies without payload. A request whose connection has gone is dropped quietly. */
void rpc_reply(struct rpc_request *request, enum status status, const ProtobufCMessage *reply);
void rpc_reply_with_payload(struct rpc_request *request, enum status status, const ProtobufCMessage *reply,
                            const struct iovec *payload, unsigned payload_count, void (*sent)(void *user), void *user);

/* ---- codec ----------------------------------------------------------------------------------- */

/* The protobuf descriptor of the request or reply of `type`, or NULL for a type that does not exist. */
const ProtobufCMessageDescriptor *message_request_descriptor(uint16_t type);
const ProtobufCMessageDescriptor *message_reply_descriptor(uint16_t type);
/* The type's name for logs: "CHUNK_PUT". */
const char *message_type_name(uint16_t type);

#endif
