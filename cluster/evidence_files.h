/* evidence_files.h - the files that evidence is made of: certificates, tiles, keys, under names below one directory.
 *
 * What verifies takes them through this interface, so that it can be held against files that a test makes up and
 * damages. Names are made by the program or checked by it: relative, no "..". What is read is somebody else's: each
 * read has a bound, and only regular files are read.
 * Threads    One. */
#ifndef TRILITH_CLUSTER_EVIDENCE_FILES_H
#define TRILITH_CLUSTER_EVIDENCE_FILES_H

#include "base/status.h"

#include "base/check.h"
#include <stdbool.h>
#include <stddef.h>

struct evidence_files {
    /* The whole file; `*data` is to be freed with free(). STATUS_OK; STATUS_NOT_FOUND; STATUS_TOO_LARGE: over
     * `bytes_max`;
     * STATUS_INVALID: no regular file; STATUS_FULL: no memory; STATUS_IO. */
    enum status (*read)(struct evidence_files *files, const char *name, size_t bytes_max, char **data, size_t *bytes);
    /* The names in a folder, sorted, without those that begin with a dot; to be freed with evidence_names_free().
     * Statuses as read(); STATUS_TOO_LARGE: more than `names_max`. */
    enum status (*list)(struct evidence_files *files, const char *folder, size_t names_max, char ***names,
                        size_t *count);
    /* Write a file, over one of that name; folders are made. STATUS_OK, STATUS_IO, STATUS_FULL. */
    enum status (*write)(struct evidence_files *files, const char *name, const void *data, size_t bytes);
};

void evidence_names_free(char **names, size_t count);

/* One part of a name that came from elsewhere: 1..63 of A-Z a-z 0-9 . _ -, and no dot in front. */
bool evidence_name_is_plain(const char *name);

/* The files below a directory. */
struct evidence_directory {
    struct evidence_files files;
    int descriptor;
};

/* STATUS_OK; STATUS_NOT_FOUND; STATUS_DENIED; STATUS_IO. Closed with evidence_directory_close() after STATUS_OK
 * only. */
MUST_USE enum status evidence_directory_open(struct evidence_directory *directory, const char *path);
void evidence_directory_close(struct evidence_directory *directory);

/* One file by its path, as files.read(). */
MUST_USE enum status evidence_file_read(const char *path, size_t bytes_max, char **data, size_t *bytes);

#endif
