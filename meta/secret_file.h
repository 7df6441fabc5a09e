/* secret_file.h - a file that holds a secret: made once, and read only when nobody else can read it.
 *
 * The file must be a regular file (no symbolic link) that belongs to the user of this process, with no permission
 * for anyone else (mode 0600 or 0400): anything else is refused, because a secret that others could read protects
 * nothing. A key file holds a key of 32 bytes, raw or as 64 hex digits, or one that is protected by a passphrase:
 *
 *    0    8  magic "TRLKEYFP"
 *    8    4  version, 1
 *   12    4  passes, and
 *   16    4  memory in KiB: what one try costs (passphrase.h)
 *   20   16  salt
 *   36   72  box of the key under the passphrase's key; bytes 0..35 are its context
 *
 * Synchronous: for start-up. Messages say what is wrong and what would be right, without the secret. */
#ifndef TRILITH_META_SECRET_FILE_H
#define TRILITH_META_SECRET_FILE_H

#include "base/keys.h"
#include "base/passphrase.h"

#define SECRET_PASSPHRASE_MIN 12 /* bytes */
#define KEY_FILE_BYTES_MAX    (36 + KEY_BYTES + BOX_OVERHEAD_BYTES)

/* What a key file holds. */
struct key_file {
    bool is_protected;
    struct key key; /* when it is not */
    struct passphrase_cost cost;
    uint8_t content[KEY_FILE_BYTES_MAX]; /* when it is */
};

/* Decode the content of a key file. STATUS_OK; STATUS_INVALID: it is none; STATUS_UNSUPPORTED: of a later version, or the
 * cost is out of bounds. `file` may then hold parts of a key: wipe it in any case. */
MUST_USE enum status key_file_decode(const void *content, size_t bytes, struct key_file *file);

/* Read a key file into `file`, which lies in guarded memory. STATUS_OK; STATUS_NOT_FOUND; STATUS_DENIED: owner or mode;
 * STATUS_INVALID: the content; STATUS_UNSUPPORTED; STATUS_IO. */
MUST_USE enum status key_file_read(const char *path, struct key_file *file, char *message, size_t message_bytes);

/* Open what is protected. STATUS_OK; STATUS_DENIED: another passphrase, or changed bytes; STATUS_FULL: not as much memory as
 * the cost asks for. */
MUST_USE enum status key_file_unlock(const struct key_file *file, const char *passphrase, struct key *key);

/* Make the file with a fresh random key, durably; in hex when `passphrase` is NULL. STATUS_OK; STATUS_EXISTS;
 * STATUS_NOT_FOUND (no such directory); STATUS_DENIED; STATUS_INVALID: the passphrase is too short; STATUS_FULL; STATUS_IO. */
MUST_USE enum status key_file_create(const char *path, const char *passphrase, const struct passphrase_cost *cost,
                                     char *message, size_t message_bytes);

/* The first line of a private file, without its end, as terminated text in guarded memory: a passphrase or a PIN.
 * STATUS_OK; STATUS_INVALID: empty, longer than `capacity` - 1 bytes, or with a zero in it; else as key_file_read(). */
MUST_USE enum status secret_line_read(const char *path, char *line, size_t capacity, char *message,
                                      size_t message_bytes);

/* Write `bytes` bytes where `file` stands. False: errno says why. */
bool write_whole(int file, const void *content, size_t bytes);
/* Make the directory entry of `path` durable. */
bool flush_directory_of(const char *path);

#endif
