/* s3_client.h - S3 requests to the cluster's gateways, one at a time, on libcurl.
 *
 * The gateways of the configuration are asked in turn: one that can't be reached, breaks off or says it is busy is
 * followed by the next, at most S3_ROUNDS times around. Bodies go out with their SHA-256 under the signature, so what
 * was stored is what was read from the file.
 * Ownership  The caller owns the exchange and what it points to; s3_exchange_release() frees what came back.
 * Threads    One. */
#ifndef TRILITH_CLUSTER_S3_CLIENT_H
#define TRILITH_CLUSTER_S3_CLIENT_H

#include "base/digest.h"
#include "base/status.h"
#include "cluster/client_config.h"
#include "cluster/progress.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#define S3_ROUNDS         3
#define S3_TEXT_BYTES_MAX (8u * 1024 * 1024) /* the longest answer that is kept in memory */
#define S3_VALUE_BYTES    256
#define S3_SHA256_BYTES   (2 * SHA256_BYTES + 1) /* as hex, with the terminator */

struct s3_client;
struct command;

/* The place of an object: "BUCKET/KEY", "BUCKET" or nothing. Points into the text it was read from. */
struct s3_place {
    char bucket[64];
    const char *key; /* "" for none */
};

/* Split "BUCKET/KEY". False: the bucket's name is empty or too long, or the key is too long. */
MUST_USE bool s3_place_read(const char *text, struct s3_place *place);

/* One request and its answer. The caller fills the first group, zero elsewhere. */
struct s3_exchange {
    const char *method;
    const struct s3_place *place; /* NULL: the service itself */
    const char *query;            /* percent-encoded; NULL: none */
    const char *content_type;     /* NULL: none */
    FILE *body;                   /* NULL: none; read from its start, again for every attempt */
    uint64_t body_bytes;
    char body_sha256[S3_SHA256_BYTES]; /* of the body */
    /* Takes the body of a successful answer piece by piece; false stops. NULL: the body is kept in `text`. */
    bool (*sink)(void *user, const void *data, size_t bytes);
    /* Forget what the sink took: another gateway begins again. False, or NULL: that is not possible. */
    bool (*restart)(void *user);
    void *user;
    struct progress *progress; /* NULL: none */

    unsigned http_status; /* 0: no answer came */
    uint64_t length;      /* Content-Length */
    bool has_length;
    uint64_t received; /* bytes of a successful body */
    char etag[S3_VALUE_BYTES];
    char modified[S3_VALUE_BYTES];
    char type[S3_VALUE_BYTES];
    char version[S3_VALUE_BYTES];
    char erasure[S3_VALUE_BYTES];
    json_t *metadata; /* x-amz-meta-* without that prefix; NULL: none came */
    char *text;       /* terminated; NULL: no body was kept */
    size_t text_bytes;
    char error_code[64]; /* "NoSuchKey" */
    char problem[512];   /* why it failed, for people */
};

/* NULL: the configuration is missing or lacks access keys, or no memory; the user has been told. */
struct s3_client *s3_client_open(struct command *command);
/* NULL is allowed. */
void s3_client_close(struct s3_client *client);

/* Perform `exchange`. STATUS_OK: a 2xx answer, and all of it came. Else `problem` says why: STATUS_NOT_FOUND,
 * STATUS_DENIED, STATUS_EXISTS, STATUS_NOT_EMPTY, STATUS_INVALID (refused as it is), STATUS_UNAVAILABLE (no gateway answered, or all
 * are busy), STATUS_CORRUPT (the answer broke off or is longer or shorter than announced), STATUS_IO (the sink stopped). */
MUST_USE enum status s3_perform(struct s3_client *client, struct s3_exchange *exchange);
/* Say `problem` on stderr for `what`, and return COMMAND_FAILED. */
int s3_failed(const struct s3_exchange *exchange, const char *what);
/* Free what came back; the exchange may be used again. */
void s3_exchange_release(struct s3_exchange *exchange);

/* SHA-256 and length of a whole file, which is left at its start. STATUS_OK or STATUS_IO. */
MUST_USE enum status s3_file_digest(FILE *file, uint64_t *bytes, char sha256_hex[S3_SHA256_BYTES]);

#endif
