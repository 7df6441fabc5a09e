/* sim_loop.h - base/loop.h in simulated time: one thread, one queue of events, one seed.
 *
 * Model      Time stands still while a callback runs and jumps to the next timer when nothing else is left. Deferred
 *            and posted tasks run before timers, in the order of the calls; timers run by deadline, equal ones in an
 *            order that depends on the calls alone. loop_random() is drawn from the seed. Nothing depends on addresses,
 *            so the same seed and the same calls give the same run.
 * Faults     None of its own but the wall clock, which can be shifted. Delays, losses and crashes come from sim_disk,
 *            sim_net and sim_kv, which live on this loop's timers.
 * Sharing    Any number of parts, and whole nodes, may live on one simulated loop. */
#ifndef TRILITH_TESTS_SIM_LOOP_H
#define TRILITH_TESTS_SIM_LOOP_H

#include "base/loop.h"

struct sim_loop;

/* Never NULL. */
struct sim_loop *sim_loop_open(uint64_t seed);

/* Timers still armed are disarmed and tasks still waiting are forgotten; neither runs. */
void sim_loop_close(struct sim_loop *sim);

struct loop *sim_loop_interface(struct sim_loop *sim);

/* Run the next task, or else the next timer, jumping to its deadline. False: there is neither. */
bool sim_loop_step(struct sim_loop *sim);

/* Step until nothing is left. A timer that always arms itself again makes this endless: use sim_loop_run_for(). */
void sim_loop_run_until_idle(struct sim_loop *sim);

/* Run everything that is due within the next `duration_ns`; the time is that much later afterwards. */
void sim_loop_run_for(struct sim_loop *sim, uint64_t duration_ns);

/* Step until `*flag` is true. False: nothing was left to do before that. */
bool sim_loop_run_until(struct sim_loop *sim, const bool *flag);

/* Let the wall clock jump, as an operator or NTP would. */
void sim_loop_shift_wall(struct sim_loop *sim, int64_t shift_ms);

#endif
