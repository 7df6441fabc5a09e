/* evidence_files.c - the files below a directory, by its descriptor. */
#include "cluster/evidence_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_BYTES_MAX 256

static struct evidence_directory *directory_of(struct evidence_files *files)
{
    return CONTAINER_OF(files, struct evidence_directory, files);
}

static enum status status_of_open(int error)
{
    return error == ENOENT || error == ENOTDIR ? STATUS_NOT_FOUND : error == EACCES ? STATUS_DENIED : STATUS_IO;
}

/* ---- reading ----------------------------------------------------------------------------------- */

/* `*bytes` (in: expected): what was there. */
static enum status read_all(int descriptor, char *data, size_t *bytes)
{
    size_t done = 0;
    while (done < *bytes) {
        ssize_t got = read(descriptor, data + done, *bytes - done);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return STATUS_IO;
        }
        if (got == 0) {
            break;
        }
        done += (size_t)got;
    }
    *bytes = done;
    return STATUS_OK;
}

static enum status read_file(int descriptor, size_t bytes_max, char **data, size_t *bytes)
{
    struct stat info;
    if (fstat(descriptor, &info) != 0) {
        return STATUS_IO;
    }
    if (!S_ISREG(info.st_mode)) {
        return STATUS_INVALID;
    }
    if (info.st_size < 0 || (uint64_t)info.st_size > bytes_max) {
        return STATUS_TOO_LARGE;
    }
    size_t size = (size_t)info.st_size;
    char *buffer = malloc(size + 1);
    if (buffer == NULL) {
        return STATUS_FULL;
    }
    enum status status = read_all(descriptor, buffer, &size);
    if (status != STATUS_OK) {
        free(buffer);
        return status;
    }
    buffer[size] = '\0';
    *data = buffer;
    *bytes = size;
    return STATUS_OK;
}

static enum status read_at(int directory, const char *name, size_t bytes_max, char **data, size_t *bytes)
{
    /* Without O_NONBLOCK the open of a pipe would wait for its writer. */
    int descriptor = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (descriptor < 0) {
        return status_of_open(errno);
    }
    enum status status = read_file(descriptor, bytes_max, data, bytes);
    (void)close(descriptor);
    return status;
}

static enum status directory_read(struct evidence_files *files, const char *name, size_t bytes_max, char **data,
                                  size_t *bytes)
{
    return read_at(directory_of(files)->descriptor, name, bytes_max, data, bytes);
}

enum status evidence_file_read(const char *path, size_t bytes_max, char **data, size_t *bytes)
{
    return read_at(AT_FDCWD, path, bytes_max, data, bytes);
}

/* ---- listing ----------------------------------------------------------------------------------- */

void evidence_names_free(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(names[i]);
    }
    free(names);
}

bool evidence_name_is_plain(const char *name)
{
    size_t length = strlen(name);
    return length >= 1 && length <= 63 && name[0] != '.' &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == length;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

struct name_list {
    char **names;
    size_t count;
    size_t room;
};

static bool name_add(struct name_list *list, const char *name)
{
    if (list->count == list->room) {
        size_t room = list->room == 0 ? 64 : 2 * list->room;
        char **names = realloc(list->names, room * sizeof(*names));
        if (names == NULL) {
            return false;
        }
        list->names = names;
        list->room = room;
    }
    list->names[list->count] = strdup(name);
    if (list->names[list->count] == NULL) {
        return false;
    }
    list->count++;
    return true;
}

static enum status list_folder(DIR *folder, size_t names_max, struct name_list *list)
{
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (entry == NULL) {
            return errno == 0 ? STATUS_OK : STATUS_IO;
        }
        if (entry->d_name[0] == '.') {
            continue;
        }
        if (list->count == names_max) {
            return STATUS_TOO_LARGE;
        }
        if (!name_add(list, entry->d_name)) {
            return STATUS_FULL;
        }
    }
}

static enum status directory_list(struct evidence_files *files, const char *name, size_t names_max, char ***names,
                                  size_t *count)
{
    int descriptor = openat(directory_of(files)->descriptor, name, O_RDONLY | O_CLOEXEC | O_DIRECTORY);
    if (descriptor < 0) {
        return status_of_open(errno);
    }
    DIR *folder = fdopendir(descriptor);
    if (folder == NULL) {
        (void)close(descriptor);
        return STATUS_FULL;
    }
    struct name_list list = {0};
    enum status status = list_folder(folder, names_max, &list);
    (void)closedir(folder);
    if (status != STATUS_OK) {
        evidence_names_free(list.names, list.count);
        return status;
    }
    if (list.count > 0) {
        qsort(list.names, list.count, sizeof(*list.names), compare_names);
    }
    *names = list.names;
    *count = list.count;
    return STATUS_OK;
}

/* ---- writing ----------------------------------------------------------------------------------- */

/* Make the folders on the way to `name`. */
static enum status make_folders(int directory, const char *name)
{
    char path[NAME_BYTES_MAX];
    for (const char *slash = strchr(name, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        size_t bytes = (size_t)(slash - name);
        CHECK(bytes < sizeof(path));
        memcpy(path, name, bytes);
        path[bytes] = '\0';
        if (mkdirat(directory, path, 0755) != 0 && errno != EEXIST) {
            return errno == ENOSPC ? STATUS_FULL : STATUS_IO;
        }
    }
    return STATUS_OK;
}

static enum status write_all(int descriptor, const void *data, size_t bytes)
{
    const char *at = data;
    while (bytes > 0) {
        ssize_t put = write(descriptor, at, bytes);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            return errno == ENOSPC ? STATUS_FULL : STATUS_IO;
        }
        at += put;
        bytes -= (size_t)put;
    }
    return STATUS_OK;
}

static enum status directory_write(struct evidence_files *files, const char *name, const void *data, size_t bytes)
{
    int directory = directory_of(files)->descriptor;
    enum status status = make_folders(directory, name);
    if (status != STATUS_OK) {
        return status;
    }
    int descriptor = openat(directory, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (descriptor < 0) {
        return errno == ENOSPC ? STATUS_FULL : STATUS_IO;
    }
    status = write_all(descriptor, data, bytes);
    if (close(descriptor) != 0 && status == STATUS_OK) {
        status = STATUS_IO;
    }
    return status;
}

/* ---- the directory ----------------------------------------------------------------------------- */

enum status evidence_directory_open(struct evidence_directory *directory, const char *path)
{
    directory->descriptor = open(path, O_RDONLY | O_CLOEXEC | O_DIRECTORY);
    if (directory->descriptor < 0) {
        return status_of_open(errno);
    }
    directory->files =
        (struct evidence_files){.read = directory_read, .list = directory_list, .write = directory_write};
    return STATUS_OK;
}

void evidence_directory_close(struct evidence_directory *directory)
{
    (void)close(directory->descriptor);
    directory->descriptor = -1;
}
