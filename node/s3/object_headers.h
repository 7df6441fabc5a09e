/* object_headers.h - the headers that S3 gives a meaning to: which are kept with an object, and which ask for something
 * that is not built. Pure.
 *
 * A header is never ignored when it would change what is stored or who may see it: every x-amz-* header that the table
 * in object_headers.c does not know, or knows with other values, is refused as not implemented. */
#ifndef TRILITH_NODE_S3_OBJECT_HEADERS_H
#define TRILITH_NODE_S3_OBJECT_HEADERS_H

#include "node/object.h"
#include "node/s3/request.h"

#define S3_USER_METADATA_BYTES_MAX 2048 /* names and values of all x-amz-meta-* */

/* S3_NONE, or why an x-amz-* header of this request can't be served. */
enum s3_error s3_headers_check(const struct s3_request *request);

/* Gather what is kept with a new object. */
enum s3_error s3_headers_to_meta(const struct s3_request *request, struct object_meta *meta);

#endif
