/* authenticate.h - who signed a request, and whether everything that had to be signed was. Pure: the credential is
 * looked up between the two steps by the caller. */
#ifndef TRILITH_NODE_S3_AUTHENTICATE_H
#define TRILITH_NODE_S3_AUTHENTICATE_H

#include "node/s3/request.h"

struct s3_authentication {
    struct sigv4_claim claim; /* points into the request */
    struct text_span payload_hash;
    char timestamp[DATE_AMZ_BYTES];
};

/* Step one: read the claim from the Authorization header or from a presigned query, check its clock (15 minutes of skew;
 * the expiry of a presigned URL) and that Host and every x-amz-* header are signed. Any region is accepted.
 * S3_NONE, or the error to answer with. `request` must be resolved without error. */
enum s3_error s3_authentication_read(const struct s3_request *request, uint64_t wall_ms,
                                     struct s3_authentication *authentication);

/* Step two: S3_NONE, S3_SIGNATURE_DOES_NOT_MATCH or S3_INVALID_ARGUMENT. */
enum s3_error s3_authentication_verify(const struct s3_authentication *authentication, const struct s3_request *request,
                                       const char *secret_key);

#endif
