/* exchange.h - one S3 request and its answer, from the decoded head to the last byte; knows nothing of HTTP libraries.
 *
 *   begin ──> S3_CHECKING ──> S3_RECEIVING ──body_end──> S3_FINISHING ──> S3_ANSWERED ──> end
 *                 │  └──────────(operations without a body)──^                ^
 *                 └── refused: any stage ──────────────────────────────────────┘
 *
 * A transport (http.c, or a test) fills `request`, calls s3_exchange_begin() and then does what the stage asks for: wait
 * (S3_CHECKING, S3_FINISHING), bring the body (S3_RECEIVING) or send the answer (S3_ANSWERED). S3_RECEIVING is entered
 * only after authentication, authorization and admission: that is when "100 Continue" may go out. Whenever something has
 * changed, transport->wake() runs, from a loop callback.
 *
 * Ownership  The transport owns the exchange and gets it back through transport->released(), which follows
 *            s3_exchange_end() at once, or later when a call is still in flight.
 * Bounds     Documents are at most S3_DOCUMENT_BYTES_MAX in and S3_ANSWER_BYTES_MAX out; object bodies pass through.
 * Threads    Loop thread only. */
#ifndef TRILITH_NODE_S3_EXCHANGE_H
#define TRILITH_NODE_S3_EXCHANGE_H

#include "node/object.h"
#include "node/s3/authenticate.h"
#include "node/s3/body_check.h"
#include "node/s3/request.h"

#define S3_DOCUMENT_BYTES_MAX    KIB(64)
#define S3_ANSWER_BYTES_MAX      MIB(16)
#define S3_ANSWER_HEADERS_MAX    (OBJECT_META_FIELDS_MAX + 16)
#define S3_ANSWER_HEADER_BYTES   (OBJECT_META_BYTES_MAX + KIB(4))
#define S3_REQUEST_ID_BYTES      17
#define S3_FIRST_PIECE_BYTES_MAX KIB(16) /* of an object, read before the answer begins: see object_ops.c */

struct s3_exchange;
struct s3_route;

/* What all exchanges of one front share. */
struct s3_service {
    struct gateway *gateway;
    const char *domain; /* of virtual-host style requests; NULL: path style only */
    bool access_log;    /* a line for every request, not only for failures of ours */
};

struct s3_transport {
    /* The stage has changed, more of the body can be taken, or there is something to read. */
    void (*wake)(struct s3_exchange *exchange);
    /* After s3_exchange_end(): the exchange may be used anew or freed. */
    void (*released)(struct s3_exchange *exchange);
};

enum s3_stage { S3_IDLE, S3_CHECKING, S3_RECEIVING, S3_FINISHING, S3_ANSWERED };

enum s3_answer_body {
    S3_BODY_NONE,   /* but Content-Length may be above 0: the answer to HEAD */
    S3_BODY_TEXT,   /* exchange->text */
    S3_BODY_OBJECT, /* exchange->text, then what s3_exchange_read() gives */
};

struct s3_answer {
    unsigned http_status;
    enum s3_error error; /* S3_NONE for success */
    enum s3_answer_body body;
    uint64_t body_bytes; /* for Content-Length */
    struct {
        const char *name;
        const char *value;
    } headers[S3_ANSWER_HEADERS_MAX];
    unsigned header_count;
    char header_text[S3_ANSWER_HEADER_BYTES]; /* where names and values stand */
    size_t header_text_used;
    bool overflow;
};

/* On whose behalf. */
struct s3_caller {
    uint64_t tenant_id;
    enum role role;
    char tenant_name[TENANT_NAME_BYTES_MAX + 1];
};

struct s3_exchange {
    struct s3_service *service;
    const struct s3_transport *transport;
    struct s3_request request;
    enum s3_stage stage;
    struct s3_answer answer;
    struct text_buffer text; /* the document received, then the document or first piece to send */
    char request_id[S3_REQUEST_ID_BYTES];

    /* Private from here on. */
    bool ended;
    bool lookup_active;
    bool call_active;
    const struct s3_route *route;
    struct s3_authentication authentication;
    struct s3_caller caller;
    struct credential_lookup lookup;
    struct rpc_call call;
    void (*call_done)(struct s3_exchange *exchange, enum status status, const ProtobufCMessage *reply);
    struct body_check check;
    uint64_t received_bytes; /* of the request's body */
    uint64_t sent_bytes;     /* of the answer's body */
    uint64_t started_ns;
    struct object_put *put;
    struct object_get *get;
    struct object_meta meta;
    uint64_t range_first; /* of a get: what is to be sent */
    uint64_t range_bytes;
    uint64_t first_piece_bytes; /* what has to be there before the answer begins */
    unsigned success_status;
};

/* ---- for transports ---------------------------------------------------------------------------- */

/* Once, for zeroed memory. */
void s3_exchange_init(struct s3_exchange *exchange, struct s3_service *service, const struct s3_transport *transport);
/* Forget what the last request left, and wipe what was said about its object. The exchange must be new or released. */
void s3_exchange_reset(struct s3_exchange *exchange);
void s3_exchange_deinit(struct s3_exchange *exchange);

/* The head is complete in exchange->request (not yet resolved). */
void s3_exchange_begin(struct s3_exchange *exchange);
/* Bring a piece of the body. Returns how much was taken; less than `bytes`: wait for wake(). When the answer stands
 * already, everything is taken and dropped. */
size_t s3_exchange_write(struct s3_exchange *exchange, const void *data, size_t bytes);
/* The body is over. */
void s3_exchange_body_end(struct s3_exchange *exchange);
/* Bring on the answer's body (S3_BODY_TEXT and S3_BODY_OBJECT). STATUS_OK: `*taken` bytes, 0: wait for wake().
 * STATUS_CLOSED: that was all. Anything else: the rest will not come; break the connection. */
MUST_USE enum status s3_exchange_read(struct s3_exchange *exchange, void *buffer, size_t capacity, size_t *taken);
/* The answer has been sent, or the client has gone. What was not committed is given up. */
void s3_exchange_end(struct s3_exchange *exchange);

/* ---- for operations ---------------------------------------------------------------------------- */

struct loop *s3_exchange_loop(struct s3_exchange *exchange);

/* Admit the body: S3_RECEIVING. */
void s3_receive(struct s3_exchange *exchange);

/* Call the metadata service. `done` runs once, later, unless the exchange ends first. `reply` is NULL unless the status
 * is STATUS_OK. */
void s3_call(struct s3_exchange *exchange, uint16_t type, const ProtobufCMessage *request,
             void (*done)(struct s3_exchange *exchange, enum status status, const ProtobufCMessage *reply));

/* Add a header to the answer; both texts are copied. */
void s3_answer_header(struct s3_exchange *exchange, const char *name, const char *value);
void s3_answer_header_span(struct s3_exchange *exchange, const char *name, size_t name_bytes, const char *value,
                           size_t value_bytes);
void s3_answer_header_number(struct s3_exchange *exchange, const char *name, uint64_t number);
/* "\"etag\"". */
void s3_answer_etag(struct s3_exchange *exchange, const char *etag);

/* The ends of every operation; exactly one of them, once. */
void s3_answer_empty(struct s3_exchange *exchange, unsigned http_status);
void s3_answer_text(struct s3_exchange *exchange, unsigned http_status); /* exchange->text is an XML document */
/* Headers were added; `body_bytes` follow through s3_exchange_read(), or, for HEAD, do not. */
void s3_answer_object(struct s3_exchange *exchange, unsigned http_status, enum s3_answer_body body,
                      uint64_t body_bytes);
void s3_answer_error(struct s3_exchange *exchange, enum s3_error error);
void s3_answer_status(struct s3_exchange *exchange, enum status status); /* s3_error_from_status() */

#endif
