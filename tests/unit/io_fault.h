/* io_fault.h - the n-th I/O of the code under test fails, or is where a test stops it. For exhaustive loops: a script is
 * run for n = 1, 2, 3, ... until it ends untouched.
 *
 * I/O        Everything that can fail at the disk and at the table, in one count: opening, removing and listing files,
 *            reads, writes, flushes, allocations; and the table's gets, writes, flushes and opened iterators.
 * Failure    STATUS_IO. Of the disk's asynchronous I/O the simulated disk makes what it makes of a failure: a failed
 *            write leaves some sectors, a failed flush drops what was dirty. The table changes nothing. An iterator
 *            that fails is at its end, and says so when asked for its status.
 * How        The operations of the simulated disk and table are replaced by ones that count and then call them.
 * Log        Silent: unit_test(NAME ... nth_fault) replaces log_event().
 * State      One disk and any number of simulated tables at a time, in static memory: tests run in their own processes. */
#ifndef TRILITH_TESTS_UNIT_IO_FAULT_H
#define TRILITH_TESTS_UNIT_IO_FAULT_H

#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_kv.h"

enum io_fault_kind {
    IO_FAULT_NONE,     /* only count: the test stops the code when io_fault_reached() */
    IO_FAULT_ONCE,     /* the n-th fails, all others work */
    IO_FAULT_FOR_EVER, /* the n-th and all that follow fail */
};

/* Put the counter between the code under test and a disk or a table. Undone by closing them. */
void io_fault_watch_disk(struct sim_disk *disk);
void io_fault_watch_kv(struct kv *kv);

/* From now on: count from 1, and let the `nth` be special. */
void io_fault_arm(enum io_fault_kind kind, uint64_t nth);

/* Nothing fails any more. */
void io_fault_disarm(void);

/* The n-th I/O has been started. */
bool io_fault_reached(void);

#endif
