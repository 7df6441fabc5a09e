/* archive.c - libarchive's ustar writer on a file descriptor of ours, renamed when it is done. */
#include "cluster/archive.h"

#include "base/digest.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINK_TARGET_BYTES 101  /* with the terminator: what ustar holds */
#define KNOWN_MAX         4096 /* contents that are remembered; a later one takes the place of an earlier one */

/* Where some contents stand. */
struct known_contents {
    uint8_t sha256[SHA256_BYTES];
    char path[LINK_TARGET_BYTES]; /* "": nothing is known */
};

struct archive_file {
    struct archive *writer;
    struct archive_entry *entry;
    int file;
    char path[PATH_MAX];
    char partial[PATH_MAX];
    uint64_t time_ms;
    enum status status; /* the first error */
    struct known_contents known[KNOWN_MAX];
};

void archive_abandon(struct archive_file *archive)
{
    if (archive == NULL) {
        return;
    }
    archive_entry_free(archive->entry);
    if (archive->writer != NULL) {
        archive_write_free(archive->writer);
    }
    if (archive->file >= 0) {
        close(archive->file);
        unlink(archive->partial);
    }
    free(archive);
}

enum status archive_open(const char *path, uint64_t time_ms, struct archive_file **result)
{
    struct archive_file *archive = calloc(1, sizeof(*archive));
    if (archive == NULL) {
        return STATUS_BUSY;
    }
    archive->file = -1;
    archive->time_ms = time_ms;
    int used = snprintf(archive->path, sizeof(archive->path), "%s", path);
    int more = snprintf(archive->partial, sizeof(archive->partial), "%s.partial", path);
    if (used < 0 || more < 0 || (size_t)more >= sizeof(archive->partial)) {
        archive_abandon(archive);
        errno = ENAMETOOLONG;
        return STATUS_IO;
    }
    archive->file = open(archive->partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (archive->file < 0) {
        int error = errno;
        archive_abandon(archive);
        errno = error;
        return STATUS_IO;
    }
    archive->writer = archive_write_new();
    archive->entry = archive_entry_new();
    if (archive->writer == NULL || archive->entry == NULL ||
        archive_write_set_format_ustar(archive->writer) != ARCHIVE_OK ||
        archive_write_open_fd(archive->writer, archive->file) != ARCHIVE_OK) {
        archive_abandon(archive);
        return STATUS_BUSY;
    }
    *result = archive;
    return STATUS_OK;
}

/* "a/b": no way out of the directory where it is unpacked. */
static bool is_name(const char *name)
{
    size_t bytes = strlen(name);
    if (bytes == 0 || bytes >= ARCHIVE_PATH_BYTES || name[0] == '/' || name[bytes - 1] == '/') {
        return false;
    }
    for (const char *part = name; part != NULL; part = strchr(part, '/')) {
        part += part == name ? 0 : 1;
        size_t part_bytes = strcspn(part, "/");
        if (part_bytes == 0 || (part_bytes == 1 && part[0] == '.') || (part_bytes == 2 && memcmp(part, "..", 2) == 0)) {
            return false;
        }
    }
    return true;
}

/* Where these contents stand already; else they are remembered to stand at `name`, and NULL is returned. */
static const char *find_contents(struct archive_file *archive, const char *name, const void *data, size_t bytes)
{
    uint8_t sha[SHA256_BYTES];
    if (bytes < ARCHIVE_LINK_BYTES) {
        return NULL;
    }
    sha256(data, bytes, sha);
    struct known_contents *known = &archive->known[((unsigned)sha[0] << 8 | sha[1]) % KNOWN_MAX];
    if (known->path[0] != '\0' && memcmp(known->sha256, sha, sizeof(sha)) == 0) {
        return known->path;
    }
    if (strlen(name) < sizeof(known->path)) {
        memcpy(known->sha256, sha, sizeof(sha));
        snprintf(known->path, sizeof(known->path), "%s", name);
    }
    return NULL;
}

enum status archive_add(struct archive_file *archive, const char *name, const void *data, size_t bytes)
{
    if (archive->status != STATUS_OK) {
        return archive->status;
    }
    if (!is_name(name)) {
        return archive->status = STATUS_INVALID;
    }
    const char *first = find_contents(archive, name, data, bytes);
    bytes = first == NULL ? bytes : 0;
    archive_entry_clear(archive->entry);
    archive_entry_set_pathname(archive->entry, name);
    archive_entry_set_size(archive->entry, (la_int64_t)bytes);
    archive_entry_set_filetype(archive->entry, AE_IFREG);
    archive_entry_set_perm(archive->entry, 0644);
    archive_entry_set_mtime(archive->entry, (time_t)(archive->time_ms / 1000), 0);
    archive_entry_set_uname(archive->entry, "root");
    archive_entry_set_gname(archive->entry, "root");
    if (first != NULL) {
        archive_entry_set_hardlink(archive->entry, first);
    }
    if (archive_write_header(archive->writer, archive->entry) != ARCHIVE_OK ||
        (bytes > 0 && archive_write_data(archive->writer, data, bytes) != (la_ssize_t)bytes) ||
        archive_write_finish_entry(archive->writer) != ARCHIVE_OK) {
        archive->status = STATUS_IO;
    }
    return archive->status;
}

uint64_t archive_bytes(const struct archive_file *archive)
{
    la_int64_t bytes = archive_filter_bytes(archive->writer, -1);
    return bytes < 0 ? 0 : (uint64_t)bytes;
}

/* The rename is durable when the directory is. */
static bool sync_directory_of(const char *path)
{
    char directory[PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(directory, sizeof(directory), "%.*s",
             slash == NULL   ? 1
             : slash == path ? 1
                             : (int)(slash - path),
             slash == NULL ? "." : path);
    int file = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = file >= 0 && fsync(file) == 0;
    if (file >= 0) {
        close(file);
    }
    return synced;
}

enum status archive_close(struct archive_file *archive)
{
    if (archive->status == STATUS_OK && (archive_write_close(archive->writer) != ARCHIVE_OK ||
                                         fsync(archive->file) != 0 || rename(archive->partial, archive->path) != 0)) {
        archive->status = STATUS_IO;
    }
    enum status status = archive->status;
    if (status == STATUS_OK) {
        close(archive->file);
        archive->file = -1;
        status = sync_directory_of(archive->path) ? STATUS_OK : STATUS_IO;
    }
    archive_abandon(archive);
    return status;
}

static enum status folder_write(struct evidence_files *files, const char *name, const void *data, size_t bytes)
{
    struct archive_folder *folder = CONTAINER_OF(files, struct archive_folder, files);
    char path[ARCHIVE_PATH_BYTES];
    int used = snprintf(path, sizeof(path), "%s%s", folder->prefix, name);
    return used < 0 || (size_t)used >= sizeof(path) ? STATUS_INVALID : archive_add(folder->archive, path, data, bytes);
}

static enum status folder_read(struct evidence_files *files, const char *name, size_t bytes_max, char **data,
                               size_t *bytes)
{
    (void)files, (void)name, (void)bytes_max, (void)data, (void)bytes;
    return STATUS_UNSUPPORTED;
}

static enum status folder_list(struct evidence_files *files, const char *folder, size_t names_max, char ***names,
                               size_t *count)
{
    (void)files, (void)folder, (void)names_max, (void)names, (void)count;
    return STATUS_UNSUPPORTED;
}

void archive_folder_init(struct archive_folder *folder, struct archive_file *archive, const char *prefix)
{
    *folder = (struct archive_folder){.files = {.read = folder_read, .list = folder_list, .write = folder_write},
                                      .archive = archive,
                                      .prefix = prefix};
}
