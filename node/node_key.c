/* node_key.c - reads the node's key file, or makes it. The text of the file stands in guarded memory only. */
#include "node/node_key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 512

static enum status refuse(enum status status, const char *path, const char *what, char *message, size_t message_bytes)
{
    snprintf(message, message_bytes, "%s: %s", path, what);
    return status;
}

static enum status refuse_errno(const char *path, char *message, size_t message_bytes)
{
    return refuse(STATUS_IO, path, strerror(errno), message, message_bytes);
}

static enum status file_check(int file, const char *path, char *message, size_t message_bytes)
{
    struct stat what;
    if (fstat(file, &what) != 0) {
        return refuse_errno(path, message, message_bytes);
    }
    if (!S_ISREG(what.st_mode)) {
        return refuse(STATUS_CORRUPT, path, "is not a file", message, message_bytes);
    }
    if (what.st_uid != geteuid()) {
        return refuse(STATUS_DENIED, path, "belongs to another user; the node must own its key", message,
                      message_bytes);
    }
    if ((what.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        return refuse(STATUS_DENIED, path,
                      "others may read or write it; chmod 600, and if somebody may have read it, stop trusting it",
                      message, message_bytes);
    }
    return STATUS_OK;
}

static enum status key_read(int file, const char *path, char *pem, struct key *seed, char *message,
                            size_t message_bytes)
{
    enum status status = file_check(file, path, message, message_bytes);
    if (status != STATUS_OK) {
        return status;
    }
    ssize_t got = read(file, pem, SECRET_KEY_PEM_BYTES);
    if (got < 0) {
        return refuse_errno(path, message, message_bytes);
    }
    return secret_key_from_pem(pem, (size_t)got, seed) == STATUS_OK
               ? STATUS_OK
               : refuse(STATUS_CORRUPT, path, "is not an Ed25519 key in PEM", message, message_bytes);
}

static bool file_write(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0) {
        return false;
    }
    bool written =
        fchmod(file, 0600) == 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text) && fsync(file) == 0;
    return close(file) == 0 && written;
}

static bool directory_flush(const char *directory)
{
    int file = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool flushed = file >= 0 && fsync(file) == 0;
    if (file >= 0) {
        close(file);
    }
    return flushed;
}

static enum status key_make_file(const char *directory, const char *path, char *pem, struct key *seed, char *message,
                                 size_t message_bytes)
{
    char new_path[PATH_BYTES + 8];
    snprintf(new_path, sizeof(new_path), "%s.new", path);
    key_make(seed);
    secret_key_to_pem(seed, pem);
    if (!file_write(new_path, pem) || rename(new_path, path) != 0 || !directory_flush(directory)) {
        return refuse_errno(path, message, message_bytes);
    }
    return STATUS_OK;
}

enum status node_key_load(const char *directory, struct key *seed, char *message, size_t message_bytes)
{
    char path[PATH_BYTES];
    if ((size_t)snprintf(path, sizeof(path), "%s/node-key", directory) >= sizeof(path)) {
        return refuse(STATUS_IO, directory, "is too long a path", message, message_bytes);
    }
    char *pem = guarded_take(SECRET_KEY_PEM_BYTES);
    if (pem == NULL) {
        return refuse(STATUS_IO, path, "no memory that can be locked", message, message_bytes);
    }
    enum status status;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file >= 0) {
        status = key_read(file, path, pem, seed, message, message_bytes);
        close(file);
    } else if (errno == ENOENT) {
        status = key_make_file(directory, path, pem, seed, message, message_bytes);
    } else {
        status = refuse_errno(path, message, message_bytes);
    }
    guarded_release(pem);
    return status;
}
