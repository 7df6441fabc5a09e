/* sim_client.h - clients of the simulated cluster: signed S3 requests, given to a node's S3 service without HTTP.
 *
 * A client works on one thing at a time: it draws an operation, picks a node, drives the exchange (node/s3/exchange.h) as
 * http.c does, and hears the answer, or gives up after its patience, or is cut off because the node has gone. A key has
 * one client that writes it, always the same; everyone reads all keys.
 *
 * Now and then a put announces a checksum that its body does not have (`spoiled`): the node must refuse it. Some clients go
 * away in the middle, and some send and read in small pieces with pauses. No network lies between a client and a node but
 * a short delay; a node that is paused or gone is what a client suffers from.
 *
 * The content of an object is drawn from its value number (sim_content_fill()): any stretch of it can be made again by
 * whoever knows the number, and every 512 bytes begin with the same 16 bytes, SIM_MARKER, so that plaintext is found
 * wherever it leaks to. */
#ifndef TRILITH_TESTS_SIM_CLIENT_H
#define TRILITH_TESTS_SIM_CLIENT_H

#include "base/loop.h"
#include "tests/sim/sim_loop.h"
#include "tests/sim/sim_options.h"
#include "tests/sim/sim_random.h"

#define SIM_MARKER "TRILITH-PLAINTXT" /* 16 bytes */

struct sim_cluster;
struct sim_node;

enum sim_operation_kind { SIM_PUT, SIM_GET, SIM_GET_RANGE, SIM_HEAD, SIM_DELETE, SIM_LIST, SIM_OPERATION_KINDS };

enum sim_outcome {
    SIM_DONE,    /* 2xx, and for reads the whole body */
    SIM_ABSENT,  /* 404 from a read or a delete */
    SIM_REFUSED, /* an answer that promises that nothing was done: 4xx */
    SIM_UNKNOWN, /* 5xx, no answer, or a read whose body broke off: what a write did is not known */
};

struct sim_operation {
    enum sim_operation_kind kind;
    uint32_t client;
    uint32_t node;   /* that was asked */
    uint32_t bucket; /* number */
    uint32_t key;    /* number; its name is sim_key_name() */
    uint64_t number; /* of the operation, from 1 */
    uint64_t value;  /* PUT: the value number, never 0, never used twice */
    uint64_t size;   /* PUT: bytes of the object */
    uint64_t offset; /* GET_RANGE */
    uint64_t length; /* GET_RANGE: as asked for; may reach beyond the end */
    bool spoiled;    /* PUT: announced with a wrong checksum, so it must be SIM_REFUSED, or without an answer */

    uint64_t began_ns; /* world time */
    uint64_t ended_ns; /* outcome, from here on */
    enum sim_outcome outcome;
    unsigned http_status; /* 0: no answer */
    bool node_went_down;  /* the node, or the client itself, went away */
    bool client_left;     /* it was the client, on purpose */
    const uint8_t *body;  /* of a read, as far as it came; stands during operation_ends */
    uint64_t body_bytes;
    uint64_t object_bytes; /* what the answer's headers say of the whole object's size, for reads */
};

#define SIM_KEY_NAME_BYTES 32
void sim_key_name(uint32_t key, char name[SIM_KEY_NAME_BYTES]);
uint32_t sim_key_from_name(const char *name, size_t name_bytes); /* UINT32_MAX: no name of ours */
uint32_t sim_key_bucket(const struct sim_cluster *cluster, uint32_t key);
void sim_content_fill(uint64_t value, uint64_t offset, void *buffer, size_t bytes);

struct sim_client {
    struct sim_cluster *cluster;
    uint32_t number;
    struct sim_loop *loop;
    struct sim_random random;
    struct sim_operation operation;
    bool loaded; /* begins a new operation when one has ended */
    bool busy;
    bool by_hand; /* started by sim_cluster_do() */
    bool slow;    /* in this operation */
    bool leaves;  /* goes away when its (short) patience ends */
    bool cut_off; /* the node's process has gone: nothing more will be heard */
    uint64_t counts[SIM_OPERATION_KINDS];
    struct sim_request *request; /* private: the exchange under way and its buffers */
    struct loop_timer next;
    struct loop_timer patience;
};

void sim_client_init(struct sim_client *client, struct sim_cluster *cluster, uint32_t number);
void sim_client_load(struct sim_client *client, bool on);
/* Begin `client->operation`, filled in, now. */
void sim_client_begin(struct sim_client *client);
/* The node's process has gone: whoever waits for it hears nothing more, and learns of that at once, or, when the machine
 * fell `silent`, by its patience. */
void sim_client_node_went_down(struct sim_client *client, const struct sim_node *node, bool silent);
/* Give the request of an operation that has ended back, and with it the body. */
void sim_client_forget(struct sim_client *client);
/* The answer is complete, or has broken off; it stands in client->request. */
void sim_client_answered(struct sim_client *client);

#endif
