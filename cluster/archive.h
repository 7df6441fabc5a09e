/* archive.h - a tar file (POSIX ustar, by libarchive) that is written piece by piece: what an auditor takes away.
 *
 * Contents that were put in before are not stored again: the file is a hard link to the first one, here and where it
 * is unpacked. Files only, owned by root, readable by all, all with the one time that was given: so the same contents
 * give the same bytes. It is written beside its place and comes there when it is whole and on the disk: what is found
 * under its name is whole.
 * Errors   The first one stays: what follows does nothing, and archive_close() tells it.
 * Threads  One. */
#ifndef TRILITH_CLUSTER_ARCHIVE_H
#define TRILITH_CLUSTER_ARCHIVE_H

#include "cluster/evidence_files.h"

#include <stdint.h>

#define ARCHIVE_LINK_BYTES 256 /* contents from so many bytes on are looked for */
#define ARCHIVE_PATH_BYTES                                                                                             \
    200 /* of a file in it, with the terminator: ustar holds more only when a slash stands right */

struct archive_file;

/* Begin the archive that will be `path`. STATUS_OK; STATUS_IO: it can't be written there (errno); STATUS_BUSY: no
 * memory. */
MUST_USE enum status archive_open(const char *path, uint64_t time_ms, struct archive_file **archive);
/* Add a file. `name` has no leading slash. STATUS_INVALID: no name for a file in an archive; STATUS_IO. */
MUST_USE enum status archive_add(struct archive_file *archive, const char *name, const void *data, size_t bytes);
/* Bytes written so far. */
uint64_t archive_bytes(const struct archive_file *archive);
/* Finish it and put it into its place. STATUS_OK, or the first status of all; then nothing is left of it. */
MUST_USE enum status archive_close(struct archive_file *archive);
/* Give it up. NULL is allowed. */
void archive_abandon(struct archive_file *archive);

/* A folder of an archive, for whoever writes evidence files; it is only written. */
struct archive_folder {
    struct evidence_files files;
    struct archive_file *archive;
    const char *prefix; /* "ledger/"; may be changed between two files */
};

void archive_folder_init(struct archive_folder *folder, struct archive_file *archive, const char *prefix);

#endif
