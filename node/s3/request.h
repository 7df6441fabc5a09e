/* request.h - the head of one S3 request, decoded with bounds: what http.c and the fuzzer fill and everything else reads.
 *
 * Fill it with s3_request_init(), _set_method(), _set_target(), any number of _add_header() and then _resolve(). The first error sticks;
 * later calls then do nothing. The target is copied; header texts stay where they are and must outlive the request.
 * Pure. */
#ifndef TRILITH_NODE_S3_REQUEST_H
#define TRILITH_NODE_S3_REQUEST_H

#include "node/s3/error.h"
#include "node/s3/sigv4.h"

#define S3_TARGET_BYTES_MAX KIB(16)
#define S3_HEADERS_MAX      100
#define S3_PARAMETERS_MAX   SIGV4_PARAMETERS_MAX
#define S3_BUCKET_BYTES_MIN 3
#define S3_BUCKET_BYTES_MAX 63
#define S3_KEY_BYTES_MAX    1024
#define S3_OBJECT_BYTES_MAX (UINT64_C(5) << 30)

enum s3_method { S3_GET, S3_HEAD, S3_PUT, S3_POST, S3_DELETE, S3_OTHER_METHOD };

/* What a request is about. */
enum s3_level { S3_SERVICE, S3_BUCKET, S3_OBJECT };

struct s3_request {
    enum s3_error error; /* the first thing that was wrong */
    enum s3_method method;
    char method_text[8];
    char target[S3_TARGET_BYTES_MAX];
    struct text_span path;  /* into `target`, as sent */
    struct text_span query; /* into `target`, as sent, without '?' */
    struct sigv4_field headers[S3_HEADERS_MAX];
    size_t header_count;

    /* From here on set by s3_request_resolve(). */
    enum s3_level level;
    char bucket[S3_BUCKET_BYTES_MAX + 1];
    struct text_span key;                             /* decoded; into `decoded` */
    struct sigv4_field parameters[S3_PARAMETERS_MAX]; /* decoded; into `decoded` */
    size_t parameter_count;
    bool framing_known; /* the next three are set: whoever sends the body away knows how long it is */
    bool has_content_length;
    bool is_chunked; /* Transfer-Encoding is given */
    uint64_t content_bytes;
    char decoded[S3_TARGET_BYTES_MAX];
    size_t decoded_bytes;
};

void s3_request_init(struct s3_request *request);
void s3_request_set_method(struct s3_request *request, struct text_span method);
void s3_request_set_target(struct s3_request *request, struct text_span target);
void s3_request_add_header(struct s3_request *request, struct text_span name, struct text_span value);
/* Decode all. `domain`: "BUCKET.domain" in the Host header names the bucket; NULL or empty: only path style.
 * Sets request->error when the request is refused. */
void s3_request_resolve(struct s3_request *request, const char *domain);

/* The first header or parameter of that name (headers: lower case); false: there is none. */
bool s3_request_header(const struct s3_request *request, const char *name, struct text_span *value);
bool s3_request_parameter(const struct s3_request *request, const char *name, struct text_span *value);

/* 3..63 of a-z 0-9 - . , starting and ending with a letter or digit, no "..", ".-" or "-.", not like an IPv4 address, no
 * reserved prefix or suffix. */
bool s3_bucket_name_is_valid(struct text_span name);

#endif
