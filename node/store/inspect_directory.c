/* inspect_directory.c - the inspector's source for a directory of files: plain system calls, synchronous, read-only.
 *
 * The one place of the store that names them: it is for a command line on a disk that no store has open. Reads go
 * through the page cache and are dropped from it afterwards. */
#include "node/store/inspect.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct directory_source {
    struct inspect_source base;
    DIR *directory;
    int file; /* the file that was read last; -1: none */
    char file_name[DISK_NAME_BYTES];
};

static struct directory_source *directory_of(struct inspect_source *source)
{
    return CONTAINER_OF(source, struct directory_source, base);
}

static enum status directory_list(struct inspect_source *base, void (*each)(void *user, const char *name), void *user)
{
    struct directory_source *source = directory_of(base);
    const struct dirent *entry;

    errno = 0;
    while ((entry = readdir(source->directory)) != NULL) {
        each(user, entry->d_name);
    }
    return errno == 0 ? STATUS_OK : status_from_errno(errno);
}

static enum status directory_size(struct inspect_source *base, const char *name, uint64_t *bytes)
{
    struct stat about;

    if (fstatat(dirfd(directory_of(base)->directory), name, &about, 0) != 0) {
        return status_from_errno(errno);
    }
    if (!S_ISREG(about.st_mode)) {
        return STATUS_INVALID;
    }
    *bytes = (uint64_t)about.st_size;
    return STATUS_OK;
}

static enum status directory_open_file(struct directory_source *source, const char *name)
{
    if (source->file >= 0 && strcmp(source->file_name, name) == 0) {
        return STATUS_OK;
    }
    if (source->file >= 0) {
        close(source->file);
    }
    source->file = openat(dirfd(source->directory), name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (source->file < 0) {
        return status_from_errno(errno);
    }
    snprintf(source->file_name, sizeof(source->file_name), "%s", name);
    return STATUS_OK;
}

static enum status directory_read(struct inspect_source *base, const char *name, uint64_t offset, uint8_t *buffer,
                                  size_t bytes)
{
    struct directory_source *source = directory_of(base);
    enum status status = directory_open_file(source, name);

    for (size_t done = 0; status == STATUS_OK && done < bytes;) {
        ssize_t got = pread(source->file, buffer + done, bytes - done, (off_t)(offset + done));
        if (got > 0) {
            done += (size_t)got;
        } else if (got == 0 || errno != EINTR) {
            status = STATUS_IO; /* The end of the file, too: it has become shorter under us. */
        }
    }
    if (status == STATUS_OK) {
        (void)posix_fadvise(source->file, (off_t)offset, (off_t)bytes, POSIX_FADV_DONTNEED);
    }
    return status;
}

enum status inspect_directory(const char *directory, struct inspect_visitor *visitor, struct inspect_summary *summary,
                              char *message, size_t message_bytes)
{
    struct directory_source source = {
        .base = {.list = directory_list, .size = directory_size, .read = directory_read},
        .directory = opendir(directory),
        .file = -1,
    };

    if (source.directory == NULL) {
        enum status status = status_from_errno(errno);
        snprintf(message, message_bytes, "can't open the directory %s: %s", directory, status_name(status));
        return status;
    }
    enum status status = inspect_store(&source.base, visitor, summary);
    if (status == STATUS_NOT_FOUND) {
        snprintf(message, message_bytes, "%s holds no store: there is neither a superblock nor a segment", directory);
    } else if (status != STATUS_OK) {
        snprintf(message, message_bytes, "can't read the directory %s: %s", directory, status_name(status));
    }
    if (source.file >= 0) {
        close(source.file);
    }
    closedir(source.directory);
    return status;
}
