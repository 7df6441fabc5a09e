/* routes.h - which request is which operation, and who may do it: one table.
 *
 * A row names the method, what the request is about, the sub-resource (a parameter that makes it another operation) and
 * every other parameter it understands. A request with a parameter that no row understands is refused as not
 * implemented: asking for ?acl must never delete, list or overwrite something. */
#ifndef TRILITH_NODE_S3_ROUTES_H
#define TRILITH_NODE_S3_ROUTES_H

#include "node/s3/exchange.h"

#define S3_ROUTE_PARAMETERS_MAX 8

enum s3_request_body {
    S3_TAKES_NOTHING,  /* a body is read and dropped */
    S3_TAKES_DOCUMENT, /* it is gathered in exchange->text for `finish` */
    S3_TAKES_OBJECT,   /* it is handed to `write` as it comes; Content-Length is needed */
};

struct s3_operation {
    const char *name; /* for the log: "PutObject" */
    enum s3_request_body body;
    /* The caller may do this. Leads, now or later, to an answer or, when a body is taken, to s3_receive(). */
    void (*start)(struct s3_exchange *exchange);
    /* S3_TAKES_OBJECT: take a piece; fewer bytes than given: s3_exchange's wake() follows. */
    size_t (*write)(struct s3_exchange *exchange, const void *data, size_t bytes);
    /* When a body is taken: it is whole and its checksums are right. Leads to an answer. */
    void (*finish)(struct s3_exchange *exchange);
};

struct s3_route {
    enum s3_method method;
    enum s3_level level;
    const char *subresource; /* NULL: the thing itself */
    const char *parameters[S3_ROUTE_PARAMETERS_MAX];
    enum role role; /* the least that is needed */
    const struct s3_operation *operation;
};

/* S3_NONE and the row; S3_NOT_IMPLEMENTED or S3_METHOD_NOT_ALLOWED. `request` is resolved without error. */
enum s3_error s3_route_find(const struct s3_request *request, const struct s3_route **route);

extern const struct s3_operation s3_list_buckets;        /* service.c */
extern const struct s3_operation s3_create_bucket;       /* bucket.c */
extern const struct s3_operation s3_head_bucket;         /* bucket.c */
extern const struct s3_operation s3_delete_bucket;       /* bucket.c */
extern const struct s3_operation s3_get_bucket_location; /* bucket.c */
extern const struct s3_operation s3_list_objects;        /* listing.c */
extern const struct s3_operation s3_put_object;          /* object_ops.c */
extern const struct s3_operation s3_get_object;          /* object_ops.c */
extern const struct s3_operation s3_head_object;         /* object_ops.c */
extern const struct s3_operation s3_delete_object;       /* object_ops.c */

#endif
