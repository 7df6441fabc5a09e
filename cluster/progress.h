/* progress.h - a line on the terminal for anything longer than a second: how much, how fast, how long still.
 *
 * Drawn on stderr, and only when that is a terminal; at most ten times a second, and not at all in the first second. */
#ifndef TRILITH_CLUSTER_PROGRESS_H
#define TRILITH_CLUSTER_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *what; /* "put recording.bin" */
    uint64_t total;   /* bytes, or things; 0: not known */
    bool counts_bytes;
    bool shown;
    bool enabled;
    uint64_t start_ns;
    uint64_t drawn_ns;
};

/* `what` must stay valid until progress_end(). */
void progress_begin(struct progress *progress, const char *what, uint64_t total, bool counts_bytes);
void progress_set(struct progress *progress, uint64_t done);
/* Take the line away again. */
void progress_end(struct progress *progress);

#endif
