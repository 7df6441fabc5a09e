/* memory_scan.h - whether a secret stands anywhere in the memory of this process.
 *
 * A test marks its secrets while it has them, lets the product use and release them, and then scans: every mapped page
 * that can be read (/proc/self/smaps, pagemap, mem), whatever it belongs to: heap, freed heap that the sanitizer keeps,
 * stacks, data, guarded memory. Of each place it is known whether a core dump would hold it: its mapping lacks the flag
 * `dd`.
 *
 * Masks      A mark holds its secret masked, and the scanner's own buffer is left out and wiped: nothing finds itself.
 * Left out   Mappings above MEMORY_MAPPING_BYTES_MAX: the sanitizer's shadow, which tells about memory and holds none.
 * Errors     What can't be read fails the test (CHECK), but for single pages that belong to a device. */
#ifndef TRILITH_TESTS_MEMORY_SCAN_H
#define TRILITH_TESTS_MEMORY_SCAN_H

#include "base/keys.h"

#include <stdbool.h>

#define MEMORY_MARK_BYTES_MIN    16
#define MEMORY_MARK_BYTES_MAX    64
#define MEMORY_MAPPING_BYTES_MAX (1ull << 40)

struct memory_mark {
    const char *name;
    size_t bytes;
    uint8_t masked[MEMORY_MARK_BYTES_MAX];

    /* Of the last scan. */
    unsigned places;
    unsigned places_in_core; /* those that a core dump would hold, or does */
    char where[160];         /* the first one; of several, the first that a core dump would hold */
};

/* Remember `secret` (MEMORY_MARK_BYTES_MIN..MAX bytes) under `name`, which stays the caller's. */
void memory_mark_set(struct memory_mark *mark, const char *name, const void *secret, size_t bytes);
/* Whether the bytes at `data` are the marked secret. */
bool memory_mark_matches(const struct memory_mark *mark, const void *data);

/* Run `body` far down the stack, below anything that a scan uses for itself: what it leaves can still be found. */
void memory_run_below(void (*body)(void *argument), void *argument);

/* Look through this process for each of the marks. */
void memory_scan(struct memory_mark *marks, unsigned count);

/* Take a core dump of this process as it is (of a copy of it, which ends with SIGABRT) with the guard off, and look
 * through the file. False: this machine writes none to a plain file; `why` says so. */
MUST_USE bool memory_scan_core(struct memory_mark *marks, unsigned count, char *why, size_t why_bytes);

#endif
