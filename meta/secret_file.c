/* secret_file.c - reading and making files with secrets, with the checks that they deserve. */
#include "meta/secret_file.h"

#include "base/bytes.h"
#include "base/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEX_DIGITS   64
#define MAGIC        "TRLKEYFP"
#define MAGIC_BYTES  8
#define VERSION      1u
#define HEADER_BYTES 36
#define SALT_OFFSET  20
#define READ_MAX     1024 /* more than any of these files has */

_Static_assert(HEX_DIGITS == 2 * KEY_BYTES, "two digits a byte");
_Static_assert(SALT_OFFSET + PASSPHRASE_SALT_BYTES == HEADER_BYTES, "the salt ends the header");
_Static_assert(KEY_FILE_BYTES_MAX > HEX_DIGITS + 1, "a protected key is no hex");

static enum status refuse_errno(const char *path, const char *what, char *message, size_t message_bytes)
{
    int error = errno;
    (void)snprintf(message, message_bytes, "%s: %s: %s", path, what, strerror(error));
    return error == EEXIST ? STATUS_EXISTS : error == ELOOP ? STATUS_DENIED : status_from_errno(error);
}

/* ---- private files ----------------------------------------------------------------------------- */

static enum status check_owner_and_mode(int file, const char *path, char *message, size_t message_bytes)
{
    struct stat info;
    if (fstat(file, &info) != 0) {
        return refuse_errno(path, "can't be examined", message, message_bytes);
    }
    if (!S_ISREG(info.st_mode)) {
        (void)snprintf(message, message_bytes, "%s: a file with a secret must be a regular file", path);
        return STATUS_DENIED;
    }
    if (info.st_uid != geteuid()) {
        (void)snprintf(message, message_bytes,
                       "%s: belongs to user %u, but this process runs as user %u (chown it, or run as its owner)", path,
                       (unsigned)info.st_uid, (unsigned)geteuid());
        return STATUS_DENIED;
    }
    if ((info.st_mode & 0177) != 0) {
        (void)snprintf(message, message_bytes, "%s: has mode %04o; a file with a secret must be 0600 (chmod 600 %s)",
                       path, (unsigned)(info.st_mode & 07777), path);
        return STATUS_DENIED;
    }
    return STATUS_OK;
}

/* Up to `capacity` bytes of a private file. */
static enum status private_read(const char *path, uint8_t *content, size_t capacity, size_t *bytes, char *message,
                                size_t message_bytes)
{
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0) {
        return refuse_errno(path, "can't be opened", message, message_bytes);
    }
    enum status status = check_owner_and_mode(file, path, message, message_bytes);
    size_t count = 0;
    ssize_t got = 1;
    while (status == STATUS_OK && count < capacity && got != 0) {
        got = read(file, content + count, capacity - count);
        if (got < 0 && errno != EINTR) {
            status = refuse_errno(path, "can't be read", message, message_bytes);
        }
        count += got > 0 ? (size_t)got : 0;
    }
    (void)close(file);
    *bytes = count;
    return status;
}

enum status secret_line_read(const char *path, char *line, size_t capacity, char *message, size_t message_bytes)
{
    size_t bytes = 0;
    enum status status = private_read(path, (uint8_t *)line, capacity, &bytes, message, message_bytes);
    if (status != STATUS_OK) {
        return status;
    }
    const char *end = memchr(line, '\n', bytes);
    size_t length = end != NULL ? (size_t)(end - line) : bytes;
    if (length > 0 && length < capacity && line[length - 1] == '\r') {
        length--;
    }
    if (length == 0 || length >= capacity || memchr(line, '\0', length) != NULL) {
        (void)snprintf(message, message_bytes, "%s: the first line must hold the secret, 1 to %zu bytes of text", path,
                       capacity - 1);
        return STATUS_INVALID;
    }
    wipe_memory(line + length, capacity - length);
    return STATUS_OK;
}

bool write_whole(int file, const void *content, size_t bytes)
{
    const uint8_t *at = content;
    while (bytes > 0) {
        ssize_t put = write(file, at, bytes);
        if (put < 0 && errno != EINTR) {
            return false;
        }
        at += put > 0 ? put : 0;
        bytes -= put > 0 ? (size_t)put : 0;
    }
    return true;
}

bool flush_directory_of(const char *path)
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

/* ---- key files --------------------------------------------------------------------------------- */

static enum status decode_protected(const uint8_t *content, struct key_file *file)
{
    struct byte_reader reader = byte_reader_of(content + MAGIC_BYTES, HEADER_BYTES - MAGIC_BYTES);
    uint32_t version = read_u32(&reader);
    file->cost.passes = read_u32(&reader);
    file->cost.memory_kib = read_u32(&reader);
    if (version != VERSION || !passphrase_cost_is_valid(&file->cost)) {
        return STATUS_UNSUPPORTED;
    }
    file->is_protected = true;
    memcpy(file->content, content, KEY_FILE_BYTES_MAX);
    return STATUS_OK;
}

enum status key_file_decode(const void *content, size_t bytes, struct key_file *file)
{
    const char *text = content;
    file->is_protected = false;
    if (bytes == KEY_FILE_BYTES_MAX && memcmp(text, MAGIC, MAGIC_BYTES) == 0) {
        return decode_protected(content, file);
    }
    if (bytes == KEY_BYTES) {
        memcpy(file->key.bytes, content, KEY_BYTES);
        return STATUS_OK;
    }
    if (bytes == HEX_DIGITS + 1 && text[HEX_DIGITS] == '\n') {
        bytes--;
    }
    return bytes == HEX_DIGITS && hex_decode(text, bytes, file->key.bytes, KEY_BYTES) ? STATUS_OK : STATUS_INVALID;
}

static void describe_content(const char *path, enum status status, const uint8_t *content, size_t bytes, char *message,
                             size_t message_bytes)
{
    if (status == STATUS_UNSUPPORTED) {
        (void)snprintf(message, message_bytes,
                       "%s: was made by a later version, or its header is damaged; use the program that made it, or "
                       "restore it from your copy",
                       path);
    } else if (bytes >= MAGIC_BYTES && memcmp(content, MAGIC, MAGIC_BYTES) == 0) {
        (void)snprintf(message, message_bytes,
                       "%s: is a protected key file, but not of %d bytes: truncated or damaged; "
                       "restore it from your copy",
                       path, KEY_FILE_BYTES_MAX);
    } else {
        (void)snprintf(
            message, message_bytes,
            "%s: is not a key file: it must hold a key of 32 bytes, raw or as 64 hex digits, and nothing else", path);
    }
}

enum status key_file_read(const char *path, struct key_file *file, char *message, size_t message_bytes)
{
    uint8_t *content = guarded_take(READ_MAX);
    size_t bytes = 0;
    if (content == NULL) {
        (void)snprintf(message, message_bytes, "%s: no locked memory for the key: raise the limit memlock", path);
        return STATUS_FULL;
    }
    enum status status = private_read(path, content, READ_MAX, &bytes, message, message_bytes);
    if (status == STATUS_OK) {
        status = key_file_decode(content, bytes, file);
        if (status != STATUS_OK) {
            describe_content(path, status, content, bytes, message, message_bytes);
        }
    }
    guarded_release(content);
    return status;
}

enum status key_file_unlock(const struct key_file *file, const char *passphrase, struct key *key)
{
    CHECK(file->is_protected);
    struct key *lock = guarded_take(sizeof(*lock));
    if (lock == NULL) {
        return STATUS_FULL;
    }
    enum status status = passphrase_key(passphrase, file->content + SALT_OFFSET, &file->cost, lock);
    if (status == STATUS_OK) {
        status = box_open(lock, file->content, HEADER_BYTES, file->content + HEADER_BYTES,
                          KEY_FILE_BYTES_MAX - HEADER_BYTES, key->bytes);
    }
    guarded_release(lock);
    return status;
}

/* The content of a file that protects `secret` by a passphrase. `lock` is scratch, guarded. */
static enum status encode_protected(const struct key *secret, const char *passphrase,
                                    const struct passphrase_cost *cost, struct key *lock,
                                    uint8_t content[KEY_FILE_BYTES_MAX])
{
    struct key salt; /* No secret. */
    key_make(&salt);
    struct byte_writer writer = byte_writer_of(content, HEADER_BYTES);
    write_bytes(&writer, MAGIC, MAGIC_BYTES);
    write_u32(&writer, VERSION);
    write_u32(&writer, cost->passes);
    write_u32(&writer, cost->memory_kib);
    write_bytes(&writer, salt.bytes, PASSPHRASE_SALT_BYTES);
    CHECK(!writer.failed && writer.left == 0);
    enum status status = passphrase_key(passphrase, content + SALT_OFFSET, cost, lock);
    if (status == STATUS_OK) {
        box_seal(lock, content, HEADER_BYTES, secret->bytes, KEY_BYTES, content + HEADER_BYTES);
    }
    return status;
}

static enum status file_write_new(const char *path, const void *content, size_t bytes, char *message,
                                  size_t message_bytes)
{
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0) {
        return refuse_errno(path, "can't be created", message, message_bytes);
    }
    bool written =
        write_whole(file, content, bytes) && fchmod(file, 0600) == 0 && fsync(file) == 0 && flush_directory_of(path);
    enum status status = written ? STATUS_OK : refuse_errno(path, "can't be written", message, message_bytes);
    (void)close(file);
    if (status != STATUS_OK) {
        (void)unlink(path);
    }
    return status;
}

enum status key_file_create(const char *path, const char *passphrase, const struct passphrase_cost *cost, char *message,
                            size_t message_bytes)
{
    struct {
        struct key key;
        struct key lock;
        uint8_t content[KEY_FILE_BYTES_MAX];
    } * secret;
    if (passphrase != NULL && strlen(passphrase) < SECRET_PASSPHRASE_MIN) {
        (void)snprintf(message, message_bytes, "the passphrase for %s must have at least %d bytes", path,
                       SECRET_PASSPHRASE_MIN);
        return STATUS_INVALID;
    }
    secret = guarded_take(sizeof(*secret));
    if (secret == NULL) {
        (void)snprintf(message, message_bytes, "%s: no locked memory for the key: raise the limit memlock", path);
        return STATUS_FULL;
    }
    enum status status = STATUS_OK;
    size_t bytes = HEX_DIGITS + 1;
    key_make(&secret->key);
    if (passphrase == NULL) {
        hex_encode(secret->key.bytes, KEY_BYTES, (char *)secret->content);
        secret->content[HEX_DIGITS] = '\n';
    } else {
        status = encode_protected(&secret->key, passphrase, cost, &secret->lock, secret->content);
        bytes = KEY_FILE_BYTES_MAX;
    }
    if (status == STATUS_OK) {
        status = file_write_new(path, secret->content, bytes, message, message_bytes);
    } else {
        (void)snprintf(message, message_bytes,
                       "%s: deriving a key from the passphrase takes %u MiB of memory: free some", path,
                       cost->memory_kib / 1024);
    }
    guarded_release(secret);
    return status;
}
