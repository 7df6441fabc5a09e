/* person_key.c - key files of people. */
#include "cluster/person_key.h"

#include "cluster/command.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PEM_FILE_BYTES_MAX 4096

/* Write all of it and flush it to the disk. */
static bool write_all(int fd, const char *text, size_t bytes)
{
    size_t written = 0;
    while (written < bytes) {
        ssize_t step = write(fd, text + written, bytes - written);
        if (step < 0 && errno == EINTR) {
            continue;
        }
        if (step <= 0) {
            return false;
        }
        written += (size_t)step;
    }
    return fsync(fd) == 0;
}

int person_key_make(const char *path, struct public_key *public_key)
{
    char pem[SECRET_KEY_PEM_BYTES];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return command_fail("%s can't be made: %s%s", path, strerror(errno),
                            errno == EEXIST ? "; a key that is there is never overwritten" : "");
    }
    struct key_pool *pool = key_pool_open(1);
    struct key *seed = pool == NULL ? NULL : key_take(pool);
    bool good = seed != NULL && fchmod(fd, 0600) == 0;
    if (good) {
        key_make(seed);
        signature_public_key(seed, public_key);
        secret_key_to_pem(seed, pem);
        good = write_all(fd, pem, strlen(pem));
    }
    int error = errno;
    wipe_memory(pem, sizeof(pem));
    key_release(pool, seed);
    if (pool != NULL) {
        key_pool_close(pool);
    }
    good = close(fd) == 0 && good;
    if (!good) {
        (void)unlink(path);
        return command_fail("%s can't be written: %s", path, seed == NULL ? "no memory" : strerror(error));
    }
    return 0;
}

/* Read a file of at most PEM_FILE_BYTES_MAX. `is_secret`: nobody but its owner may read it. */
static int file_read(const char *path, bool is_secret, char text[PEM_FILE_BYTES_MAX], size_t *bytes)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return command_fail("%s can't be read: %s", path, strerror(errno));
    }
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        close(fd);
        return command_fail("%s is not a file", path);
    }
    if (is_secret && (status.st_mode & 077) != 0) {
        close(fd);
        return command_fail("others can read or write %s; chmod 600 it, or make another key if they may have it", path);
    }
    *bytes = 0;
    ssize_t step = 0;
    while (*bytes < PEM_FILE_BYTES_MAX &&
           ((step = read(fd, text + *bytes, PEM_FILE_BYTES_MAX - *bytes)) > 0 || (step < 0 && errno == EINTR))) {
        *bytes += step > 0 ? (size_t)step : 0;
    }
    close(fd);
    if (step < 0) {
        return command_fail("%s can't be read: %s", path, strerror(errno));
    }
    return 0;
}

int person_key_read(const char *path, struct key *seed)
{
    char text[PEM_FILE_BYTES_MAX];
    size_t bytes = 0;
    int result = file_read(path, true, text, &bytes);
    if (result == 0 && secret_key_from_pem(text, bytes, seed) != STATUS_OK) {
        result = command_fail("%s is not an Ed25519 private key in PEM; `trilith person key FILE` makes one", path);
    }
    wipe_memory(text, sizeof(text));
    return result;
}

int person_key_read_public(const char *path, struct public_key *public_key)
{
    char text[PEM_FILE_BYTES_MAX];
    size_t bytes = 0;
    int result = file_read(path, false, text, &bytes);
    if (result != 0) {
        return result;
    }
    if (public_key_from_pem(text, bytes, public_key) == STATUS_OK) {
        return 0;
    }
    bool is_private = memmem(text, bytes, "PRIVATE KEY", 11) != NULL;
    wipe_memory(text, sizeof(text));
    if (is_private) {
        return command_fail(
            "%s is a private key, which nobody else should have; give the public one: `openssl pkey -in %s "
            "-pubout`",
            path, path);
    }
    return command_fail("%s is not an Ed25519 public key in PEM", path);
}
