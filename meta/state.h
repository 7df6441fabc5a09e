/* state.h - the metadata state machine: commands in, tables out. Deterministic.
 *
 * Commands are applied in the order of their indexes, each as one batch of the kv together with its index. So after a
 * crash the tables are at some command, they know which, and replaying the journal from there gives what was lost.
 * Two state machines that applied the same commands have the same tables, byte for byte.
 *
 * A command may be refused (outcome.status): then it changes nothing but the index. A kv that fails, or rows that
 * contradict each other, end the state machine: state_apply() says so, and the service must stop.
 * The state's clock is the time in the commands; it never goes back, whatever the leaders' clocks do.
 * Pure: no I/O but the kv, no clock, no chance. */
#ifndef TRILITH_META_STATE_H
#define TRILITH_META_STATE_H

#include "meta/change.h"

#define COMMAND_BYTES_MAX KIB(192)

struct state;

/* Load the state from `kv` (which stays the caller's), or begin an empty one. STATUS_OK; STATUS_CORRUPT: the rows do not
 * decode; STATUS_IO; STATUS_FULL: no memory. */
MUST_USE enum status state_open(struct kv *kv, struct state **state);
void state_close(struct state *state);

/* Apply command `index` (from 1, without gaps).
 *   STATUS_OK        applied; outcome->status says whether it was refused
 *   STATUS_EXISTS    it was applied before (a replay); nothing happened
 *   STATUS_CORRUPT   the command does not decode, or tables contradict each other      STATUS_IO  the kv failed
 * After the last two the state must not be used any more. Resets the scratch memory of the tables. */
MUST_USE enum status state_apply(struct state *state, uint64_t index, const void *command, size_t bytes,
                                 struct outcome *outcome);

/* Whether `bytes` decode as a command that this build knows. Uses the scratch memory. */
bool state_command_is_known(struct state *state, const void *command, size_t bytes);

uint64_t state_applied_index(const struct state *state);
/* The state's clock: the greatest time in a command so far. */
uint64_t state_time_ms(const struct state *state);
/* Counters. `cluster_id.len` is 0 before the first command. */
const Trilith__ClusterRecord *state_cluster(const struct state *state);
/* For reads between commands. The reader resets the scratch memory when it begins. */
struct tables *state_tables(struct state *state);

#endif
