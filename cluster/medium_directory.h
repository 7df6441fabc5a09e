/* medium_directory.h - a disk of a cluster that is a directory on a file system with other things on it.
 *
 * Its segment files and its superblock are overwritten in place, flushed, read back and removed; the superblock last,
 * so that a directory which is half done is still known as one. Whatever else lies there is left alone. Nothing is
 * claimed of the medium: where the file system moved blocks, or keeps copies of them, they still hold what they held. A
 * file that can't be written, or whose read-back differs, is kept, and with it the superblock and the seed: the wipe
 * stays where it is and tries what is left once more when called again.
 * Errors     As medium_wipe.h; STATUS_IO also when files are left.
 * Threads    One. */
#ifndef TRILITH_CLUSTER_MEDIUM_DIRECTORY_H
#define TRILITH_CLUSTER_MEDIUM_DIRECTORY_H

#include "cluster/medium_wipe.h"

#define MEDIUM_FILES_MAX (1u << 20)

/* STATUS_OK; STATUS_UNSUPPORTED: no disk of a cluster (`resuming`: it may have no superblock any more);
 * STATUS_NOT_FOUND, STATUS_IO. */
MUST_USE enum status medium_directory_identify(const char *path, bool resuming, struct medium_identity *identity,
                                               char *message);
/* wipe->io is not used. */
MUST_USE enum status medium_directory_run(struct medium_wipe *wipe);

#endif
