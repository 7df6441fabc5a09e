/* secret_file.h - a file that holds 32 secret bytes: made once, and read only when nobody else can read it.
 *
 * The file must be a regular file (no symbolic link) that belongs to the user of this process, with no permission
 * for anyone else (mode 0600 or 0400): anything else is refused, because a key that others could read protects
 * nothing. Synchronous: for start-up. */
#ifndef TRILITH_META_SECRET_FILE_H
#define TRILITH_META_SECRET_FILE_H

#include "base/keys.h"

enum secret_format {
    SECRET_RAW,        /* exactly 32 bytes */
    SECRET_HEX_OR_RAW, /* written as 64 hex digits and a newline; read like that, without the newline, or raw */
};

/* STATUS_OK; STATUS_NOT_FOUND; STATUS_DENIED: owner or mode; STATUS_INVALID: the content; STATUS_IO. `message` says
 * what is wrong and what would be right, without the secret. */
MUST_USE enum status secret_file_read(const char *path, enum secret_format format, struct key *key, char *message,
                                      size_t message_bytes);

/* Make the file with fresh random bytes, durably. STATUS_OK; STATUS_EXISTS; STATUS_NOT_FOUND (no such directory);
 * STATUS_DENIED; STATUS_IO. */
MUST_USE enum status secret_file_create(const char *path, enum secret_format format, char *message,
                                        size_t message_bytes);

#endif
