/* alloc_fault.h - the n-th allocation of product code fails. For exhaustive loops: a script is run for n = 1, 2, 3, ...
 * until it ends untouched.
 *
 * What       Calls of malloc, calloc, realloc, aligned_alloc and posix_memalign that product code itself makes. Not
 *            counted: those of libraries (they are not linked with the wrappers), of the simulator (any function of a
 *            file sim_*.c), of tests, and of base/timer_heap.c, whose one growing array belongs to the loop.
 *            Who calls is told by the return address and the symbols of the running program.
 * End        A script runs in a process of its own. There are three good ends: the failure never came; the product
 *            answered with a status, and leaks nothing (with AddressSanitizer); or it stopped in a CHECK of the very
 *            allocation, where stopping is the design.
 * Linking    unit_test(NAME ... nth_fault), which brings the wrappers. */
#ifndef TRILITH_TESTS_UNIT_ALLOC_FAULT_H
#define TRILITH_TESTS_UNIT_ALLOC_FAULT_H

#include <stdbool.h>
#include <stdint.h>

enum alloc_fault_end {
    ALLOC_FAULT_UNTOUCHED, /* there was no n-th allocation */
    ALLOC_FAULT_ANSWERED,  /* the script ended as a script that was refused should */
    ALLOC_FAULT_STOPPED,   /* in a CHECK, by design */
    ALLOC_FAULT_BROKEN,    /* anything else: it says so on stderr */
};

/* A CHECK that may stop the process when an allocation has failed: its file, and a part of its condition. */
struct alloc_fault_stop {
    const char *file;
    const char *condition;
};

/* Run `script`, which returns whether all was as it should be, with the `nth` allocation failing: once, or that one and
 * all that follow. `stops` ends with a file that is
 * NULL. */
enum alloc_fault_end alloc_fault_run(bool (*script)(void), uint64_t nth, bool for_ever,
                                     const struct alloc_fault_stop *stops);

/* Within a script: an allocation has failed, so the product may refuse things. */
bool alloc_fault_hit(void);

/* Whether memory has leaked in this process so far; always false without AddressSanitizer. Says what on stderr. */
bool alloc_fault_leaks(void);

#endif
