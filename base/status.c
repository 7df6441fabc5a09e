/* status.c - names of the statuses, and where foreign error numbers become one. */
#include "base/status.h"
#include "base/check.h"

#include <errno.h>

static const char *const names[STATUS_COUNT] = {
    [STATUS_OK] = "ok",
    [STATUS_INVALID] = "invalid",
    [STATUS_CORRUPT] = "corrupt",
    [STATUS_NOT_FOUND] = "not_found",
    [STATUS_EXISTS] = "exists",
    [STATUS_GONE] = "gone",
    [STATUS_CONFLICT] = "conflict",
    [STATUS_DENIED] = "denied",
    [STATUS_FULL] = "full",
    [STATUS_BUSY] = "busy",
    [STATUS_TIMEOUT] = "timeout",
    [STATUS_UNAVAILABLE] = "unavailable",
    [STATUS_IO] = "io",
    [STATUS_TOO_LARGE] = "too_large",
    [STATUS_UNSUPPORTED] = "unsupported",
    [STATUS_CANCELLED] = "cancelled",
    [STATUS_FENCED] = "fenced",
    [STATUS_NOT_EMPTY] = "not_empty",
    [STATUS_CLOSED] = "closed",
    [STATUS_KEY_REVOKED] = "key_revoked",
    [STATUS_KEY_AWAY] = "key_away",
    [STATUS_HELD] = "held",
};

const char *status_name(enum status status)
{
    /* The cast folds negative values into "too large". */
    return (unsigned)status < STATUS_COUNT ? names[status] : "unknown";
}

enum status status_from_wire(uint32_t number)
{
    return number < STATUS_COUNT ? (enum status)number : STATUS_IO;
}

enum status status_from_errno(int error)
{
    CHECK(error > 0);
    switch (error) {
    case EINVAL:
    case ENAMETOOLONG:
    case ENOTDIR:
    case EISDIR:
        return STATUS_INVALID;
    case ENOENT:
        return STATUS_NOT_FOUND;
    case EEXIST:
    case EADDRINUSE:
        return STATUS_EXISTS;
    case EACCES:
    case EPERM:
    case EROFS:
        return STATUS_DENIED;
    case ENOSPC:
    case EDQUOT:
        return STATUS_FULL;
    case EAGAIN:
    case EBUSY:
    case ENOMEM:
    case ENOBUFS:
    case EMFILE:
    case ENFILE:
        return STATUS_BUSY;
    case ETIMEDOUT:
    case ETIME:
        return STATUS_TIMEOUT;
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case ENETDOWN:
    case EADDRNOTAVAIL:
        return STATUS_UNAVAILABLE;
    case EFBIG:
    case EOVERFLOW:
    case EMSGSIZE:
        return STATUS_TOO_LARGE;
    case ENOSYS:
    case EOPNOTSUPP:
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
        return STATUS_UNSUPPORTED;
    case ECANCELED:
        return STATUS_CANCELLED;
    case ENOTEMPTY:
        return STATUS_NOT_EMPTY;
    case EPIPE:
    case ECONNRESET:
    case ECONNABORTED:
    case ENOTCONN:
    case ESHUTDOWN:
        return STATUS_CLOSED;
    default:
        return STATUS_IO;
    }
}
