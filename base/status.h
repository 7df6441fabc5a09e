/* status.h - the one way in which an operation says how it ended.
 *
 * errno, cqe->res, RocksDB's error strings and libsodium's -1 become a status at the edge that saw
 * them. The numbers travel in reply frames, so they are never renumbered. */
#ifndef TRILITH_BASE_STATUS_H
#define TRILITH_BASE_STATUS_H

#include <stdint.h>

enum status {
    STATUS_OK = 0,
    STATUS_INVALID = 1,      /* the request or the bytes are malformed, or an argument is out of range */
    STATUS_CORRUPT = 2,      /* bytes fail their checksum, tag or identity */
    STATUS_NOT_FOUND = 3,    /* no such thing */
    STATUS_EXISTS = 4,       /* it is there already */
    STATUS_GONE = 5,         /* it was erased and will not come back */
    STATUS_CONFLICT = 6,     /* not in this state; nothing was changed */
    STATUS_DENIED = 7,       /* the caller may not, or a key or signature is wrong */
    STATUS_FULL = 8,         /* no room on the disk or in the cluster */
    STATUS_BUSY = 9,         /* a bounded resource is taken; the same request may work later */
    STATUS_TIMEOUT = 10,     /* the deadline passed; the outcome is unknown */
    STATUS_UNAVAILABLE = 11, /* the peer or part can't be reached or does not serve now */
    STATUS_IO = 12,          /* the device or the kernel failed; the outcome is unknown */
    STATUS_TOO_LARGE = 13,   /* over a stated limit */
    STATUS_UNSUPPORTED = 14, /* this build, version or file system can't do it */
    STATUS_CANCELLED = 15,   /* given up by its owner or at shutdown */
    STATUS_FENCED = 16,      /* the disk failed before and is read-only now */
    STATUS_NOT_EMPTY = 17,   /* it still holds something */
    STATUS_CLOSED = 18,      /* the stream's other side has closed it */
    STATUS_KEY_REVOKED = 19, /* the tenant's keys are switched off, until they are enabled again */
    STATUS_KEY_AWAY = 20,    /* what holds the tenant's master key can't be reached now */
    STATUS_HELD = 21,        /* a legal hold or retention forbids it */
    STATUS_COUNT
};

/* A lower-case word for logs and messages ("not_found"); "unknown" for a number outside the enum. */
const char *status_name(enum status status);

/* A status from a number that came over the wire: numbers we don't know become STATUS_IO. */
enum status status_from_wire(uint32_t number);

/* A status from a positive errno. */
enum status status_from_errno(int error);

#endif
