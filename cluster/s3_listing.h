/* s3_listing.h - the XML that a gateway answers with, read into plain structs: listings and errors.
 *
 * The bytes come from the network: no entity is expanded, nothing else is fetched, every field is bounded, and what
 * is not the expected document is STATUS_CORRUPT. */
#ifndef TRILITH_CLUSTER_S3_LISTING_H
#define TRILITH_CLUSTER_S3_LISTING_H

#include "base/check.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LISTING_NAME_BYTES 1025

enum listing_kind { LISTING_BUCKET, LISTING_OBJECT, LISTING_PREFIX };

/* One entry. Terminated texts; names are as the gateway meant them, percent-decoding done. */
struct listing_entry {
    enum listing_kind kind;
    char name[LISTING_NAME_BYTES];
    size_t name_bytes;
    uint64_t size;
    char modified[40];
    char etag[100];
};

/* Read a ListAllMyBucketsResult or ListBucketResult (encoding-type=url) and call `each` for every entry, in order.
 * `token` gets the next continuation token, or "" at the end. STATUS_OK or STATUS_CORRUPT. */
MUST_USE enum status s3_listing_read(const char *xml, size_t bytes,
                                     void (*each)(void *user, const struct listing_entry *entry), void *user,
                                     char *token, size_t token_bytes);

/* Read an <Error> as well as it goes: both texts are "" when it is none. */
void s3_error_read(const char *xml, size_t bytes, char *code, size_t code_bytes, char *message, size_t message_bytes);

#endif
