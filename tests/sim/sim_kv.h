/* sim_kv.h - base/kv.h in memory, with the durability of a table whose write-ahead log is off.
 *
 * Crash      sim_kv_crash() goes back to the state after some batch at or after the last kv_flush(), drawn from the
 *            seed: always a prefix of the batches, never half of one.
 * Bound      As a real table writes itself out in time, at most the last 1,024 batches can be lost.
 * Failure    sim_kv_fail_after(): from the n-th write or flush on, all end with STATUS_IO and change nothing.
 *            sim_kv_fail_some(): so do a few, with any status.
 * Loss       sim_kv_lose(): the directory is gone; the table is empty. */
#ifndef TRILITH_TESTS_SIM_KV_H
#define TRILITH_TESTS_SIM_KV_H

#include "base/kv.h"

#include <stdint.h>

/* An empty table. Never NULL. kv_close() frees it; batches and iterators must be closed before. */
struct kv *sim_kv_open(void);

/* Lose power. Open iterators stay valid on what they saw. Failures set up before are forgotten. */
void sim_kv_crash(struct kv *kv, uint64_t seed);

/* The `writes`-th kv_write() or kv_flush() from now (1: the next one) and all after it fail. 0: stop failing. */
void sim_kv_fail_after(struct kv *kv, uint64_t writes);

/* The next `writes` calls of kv_write() or kv_flush() fail with `status` (STATUS_FULL, STATUS_IO), then all is well. */
void sim_kv_fail_some(struct kv *kv, uint64_t writes, enum status status);

/* Lose everything, flushed or not. */
void sim_kv_lose(struct kv *kv);

/* How often a crash took batches back, a failure hit a call, and everything was lost. */
struct sim_kv_counts {
    uint64_t rolled_back;
    uint64_t failed;
    uint64_t lost;
};
void sim_kv_counts(struct kv *kv, struct sim_kv_counts *counts);

/* Walk all rows as they stand now, in order: for searches for what must not be there. */
void sim_kv_each(struct kv *kv,
                 void (*each)(void *user, const void *key, size_t key_bytes, const void *value, size_t value_bytes),
                 void *user);

/* From now on keep every row that is written, also when it is deleted or taken back later: as old files of a real table do. And
 * walk them, in the order in which they were written. */
void sim_kv_remember(struct kv *kv);
void sim_kv_each_ever(struct kv *kv,
                      void (*each)(void *user, const void *key, size_t key_bytes, const void *value,
                                   size_t value_bytes),
                      void *user);

/* How many batches a crash could take back now. */
uint64_t sim_kv_unflushed(struct kv *kv);

#endif
