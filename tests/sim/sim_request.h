/* sim_request.h - one S3 request of a client, brought to a node's S3 service as node/s3/http.c brings it, without HTTP.
 *
 * The request lives in two processes. On the client's side it is begun, abandoned, and heard of; on the node's loop it
 * drives the exchange (node/s3/exchange.h): the head, the body piece by piece, the answer piece by piece, the end. Either
 * side may go away at any time; the request frees itself when neither needs it any more. */
#ifndef TRILITH_TESTS_SIM_REQUEST_H
#define TRILITH_TESTS_SIM_REQUEST_H

#include "node/s3/exchange.h"
#include "tests/sim/sim_cluster.h"

#define SIM_REQUEST_TEXT_BYTES  2048
#define SIM_REQUEST_HEADERS_MAX 12

struct sim_request {
    struct s3_exchange exchange;
    struct sim_cluster *cluster;
    struct sim_client *client; /* NULL: it has gone */
    struct sim_node *node;
    struct sim_loop *loop; /* of the node's process */
    struct list_link link; /* in cluster->requests */
    struct sim_random random;
    bool slow;

    char text[SIM_REQUEST_TEXT_BYTES]; /* of the head */
    size_t text_used;
    struct sigv4_field headers[SIM_REQUEST_HEADERS_MAX];
    size_t header_count;
    const char *method;
    char target[96];
    uint8_t *content; /* that is put; NULL for other requests */
    uint64_t content_bytes;
    uint64_t sent;

    struct loop_timer step;       /* on the node's loop, as what follows */
    struct loop_task leave_task;  /* the client has gone */
    struct loop_task answer_task; /* on the client's loop: it is told */
    bool begun;
    bool body_over;
    bool ended;    /* s3_exchange_end() was called */
    bool released; /* the exchange is ours alone again, or the process has gone */
    bool answering;
    bool heard; /* the client has been told, or has gone */

    unsigned http_status; /* what has come of the answer; 0: nothing */
    bool broken;          /* its body ended early */
    uint8_t *body;
    uint64_t body_bytes;
    uint64_t body_bytes_max;
    uint64_t object_bytes;
};

/* Bring client->operation to `node`, which is RUNNING. When the answer is complete or has broken off,
 * sim_client_answered() runs on the client's loop. Never NULL. */
struct sim_request *sim_request_start(struct sim_client *client, struct sim_node *node);
/* The client needs the request no more, answered or not. */
void sim_request_leave(struct sim_request *request);

/* The node's process stops: its front ends every connection. On the node's loop. */
void sim_requests_break(struct sim_cluster *cluster, const struct sim_node *node);
/* Whether exchanges of this process are not released yet. */
bool sim_requests_remain(const struct sim_cluster *cluster, const struct sim_node *node);
/* The node's process has gone, with its loop. */
void sim_requests_drop(struct sim_cluster *cluster, const struct sim_node *node);

#endif
