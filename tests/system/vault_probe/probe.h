/* probe.h - vault-probe: what somebody with copies of a metadata server's files, and time, can do to one leaf.
 *
 *   probe.c    opens tables the way the product does, with every root that any slot file holds
 *   search.c   looks at every 32 bytes of every file: are they a root, the leaf, or a key that the leaf follows from?
 *   windows.c  looks for any 16 bytes of given content (ciphertext that was erased) at every offset of every file
 *
 * A program for tests: it reads whole files into memory and keeps secrets in ordinary memory. */
#ifndef TRILITH_TESTS_VAULT_PROBE_H
#define TRILITH_TESTS_VAULT_PROBE_H

#include "base/keys.h"

#define PROBE_FILES_MAX       64
#define PROBE_COMMITMENTS_MAX 64
#define PROBE_SECRETS_MAX     16

struct probe_search {
    struct key leaf;
    uint32_t slot;
    uint8_t commitments[PROBE_COMMITMENTS_MAX][COMMITMENT_BYTES]; /* of roots that must be nowhere */
    unsigned commitment_count;
    struct key secrets[PROBE_SECRETS_MAX]; /* that must stand nowhere in clear */
    unsigned secret_count;
};

/* Read a whole file; NULL: it can't be read (and stderr says why). To be freed. */
uint8_t *probe_read_file(const char *path, size_t *bytes);

/* Print a line for each finding in the file: "root PATH OFFSET NUMBER", "leaf PATH OFFSET DEPTH", "secret PATH OFFSET
 * NUMBER"; add the windows looked at to `*windows`. False: the file can't be read. */
bool probe_search_file(const struct probe_search *search, const char *path, uint64_t *windows);

/* Print "window PATH OFFSET CONTENT-OFFSET RUN" for the first findings in each file, and at the end "found N". The exit
 * status. */
int probe_windows(const char *content_path, char **paths, int count);

#endif
