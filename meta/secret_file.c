/* secret_file.c - reading and making a key file with the checks a key deserves. */
#include "meta/secret_file.h"

#include "base/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEX_DIGITS (2 * KEY_BYTES)

static enum status refuse_errno(const char *path, const char *what, char *message, size_t message_bytes)
{
    int error = errno;
    (void)snprintf(message, message_bytes, "%s: %s: %s", path, what, strerror(error));
    return error == EEXIST ? STATUS_EXISTS : error == ELOOP ? STATUS_DENIED : status_from_errno(error);
}

static enum status check_owner_and_mode(int file, const char *path, char *message, size_t message_bytes)
{
    struct stat info;
    if (fstat(file, &info) != 0) {
        return refuse_errno(path, "can't be examined", message, message_bytes);
    }
    if (!S_ISREG(info.st_mode)) {
        (void)snprintf(message, message_bytes, "%s: a key file must be a regular file", path);
        return STATUS_DENIED;
    }
    if (info.st_uid != geteuid()) {
        (void)snprintf(message, message_bytes, "%s: belongs to user %u, but this process runs as user %u", path,
                       (unsigned)info.st_uid, (unsigned)geteuid());
        return STATUS_DENIED;
    }
    if ((info.st_mode & 0177) != 0) {
        (void)snprintf(message, message_bytes, "%s: has mode %04o; a key file must be 0600 (chmod 600 %s)", path,
                       (unsigned)(info.st_mode & 07777), path);
        return STATUS_DENIED;
    }
    return STATUS_OK;
}

/* The content of a key file to a key. `bytes` has at most HEX_DIGITS + 2 bytes. */
static bool secret_decode(const uint8_t *bytes, size_t count, enum secret_format format, struct key *key)
{
    if (count == KEY_BYTES) {
        memcpy(key->bytes, bytes, KEY_BYTES);
        return true;
    }
    if (format == SECRET_RAW) {
        return false;
    }
    if (count == HEX_DIGITS + 1 && bytes[HEX_DIGITS] == '\n') {
        count--;
    }
    return count == HEX_DIGITS && hex_decode((const char *)bytes, count, key->bytes, KEY_BYTES);
}

enum status secret_file_read(const char *path, enum secret_format format, struct key *key, char *message,
                             size_t message_bytes)
{
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0) {
        return refuse_errno(path, "can't be opened", message, message_bytes);
    }
    enum status status = check_owner_and_mode(file, path, message, message_bytes);
    if (status != STATUS_OK) {
        (void)close(file);
        return status;
    }
    uint8_t bytes[HEX_DIGITS + 2];
    size_t count = 0;
    ssize_t got = 1;
    while (count < sizeof(bytes) && got > 0) {
        got = read(file, bytes + count, sizeof(bytes) - count);
        count += got > 0 ? (size_t)got : 0;
    }
    if (got < 0) {
        status = refuse_errno(path, "can't be read", message, message_bytes);
    } else if (!secret_decode(bytes, count, format, key)) {
        (void)snprintf(message, message_bytes, "%s: must hold %s, and nothing else", path,
                       format == SECRET_RAW ? "32 bytes" : "a key of 32 bytes, raw or as 64 hex digits");
        status = STATUS_INVALID;
    }
    wipe_memory(bytes, sizeof(bytes));
    (void)close(file);
    return status;
}

static bool write_all(int file, const uint8_t *bytes, size_t count)
{
    while (count > 0) {
        ssize_t put = write(file, bytes, count);
        if (put < 0 && errno != EINTR) {
            return false;
        }
        bytes += put > 0 ? put : 0;
        count -= put > 0 ? (size_t)put : 0;
    }
    return true;
}

/* Make the directory entry of `path` durable. */
static bool flush_directory_of(const char *path)
{
    char *copy = strdup(path);
    int directory = copy == NULL ? -1 : open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool flushed = directory >= 0 && fsync(directory) == 0;
    if (directory >= 0) {
        (void)close(directory);
    }
    free(copy);
    return flushed;
}

enum status secret_file_create(const char *path, enum secret_format format, char *message, size_t message_bytes)
{
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0) {
        return refuse_errno(path, "can't be created", message, message_bytes);
    }
    struct key secret;
    char text[HEX_DIGITS + 2];
    key_make(&secret);
    hex_encode(secret.bytes, KEY_BYTES, text);
    text[HEX_DIGITS] = '\n';
    bool written = format == SECRET_RAW ? write_all(file, secret.bytes, KEY_BYTES)
                                        : write_all(file, (const uint8_t *)text, HEX_DIGITS + 1);
    wipe_memory(&secret, sizeof(secret));
    wipe_memory(text, sizeof(text));
    written = written && fchmod(file, 0600) == 0 && fsync(file) == 0 && flush_directory_of(path);
    enum status status = written ? STATUS_OK : refuse_errno(path, "can't be written", message, message_bytes);
    (void)close(file);
    if (status != STATUS_OK) {
        (void)unlink(path);
    }
    return status;
}
