/* range.h - the Range header of a read (RFC 9110, 14.1.2), as S3 understands it: one range of bytes. Pure. */
#ifndef TRILITH_NODE_S3_RANGE_H
#define TRILITH_NODE_S3_RANGE_H

#include "node/s3/uri.h"

enum range_kind {
    RANGE_WHOLE,         /* the header is malformed, of another unit, or names several ranges: it is ignored */
    RANGE_PART,          /* `first` and `bytes` are set; inside the object */
    RANGE_UNSATISFIABLE, /* answer 416 */
};

/* Read "bytes=a-b", "bytes=a-" or "bytes=-n" for an object of `size` bytes. b and n are clamped to the object. A range
 * that starts at or behind the end, "-0", and any range of an empty object can't be satisfied. */
enum range_kind range_resolve(struct text_span header, uint64_t size, uint64_t *first, uint64_t *bytes);

#endif
