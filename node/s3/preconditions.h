/* preconditions.h - If-Match and its relatives on reads (RFC 9110, 13.2.2). Pure. */
#ifndef TRILITH_NODE_S3_PRECONDITIONS_H
#define TRILITH_NODE_S3_PRECONDITIONS_H

#include "node/s3/request.h"

enum precondition { PRECONDITION_HOLDS, PRECONDITION_NOT_MODIFIED, PRECONDITION_FAILED };

/* Hold the request's conditions against an object. `etag` is without quotes. If-Match beats If-Unmodified-Since,
 * If-None-Match beats If-Modified-Since; a date that can't be read is ignored. */
enum precondition preconditions_evaluate(const struct s3_request *request, const char *etag, uint64_t modified_ms);

/* Whether a Range header counts: false when If-Range names another version. */
bool preconditions_allow_range(const struct s3_request *request, const char *etag, uint64_t modified_ms);

#endif
