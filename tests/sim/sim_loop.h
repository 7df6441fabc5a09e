/* sim_loop.h - base/loop.h in simulated time: one thread, one queue of events, one seed.
 *
 * Model      Time stands still while a callback runs and jumps to the next timer when nothing else is left. Deferred
 *            and posted tasks run before timers, in the order of the calls; timers run by deadline, equal ones in an
 *            order that depends on the calls alone. loop_random() is drawn from the seed. Nothing depends on addresses,
 *            so the same seed and the same calls give the same run.
 * Worlds     sim_loop_open() makes a world. sim_loop_fork() adds the loop of one more process to it: its own monotonic and
 *            wall clock, its own chance, its own tasks and timers; all of them run in one order, that of the world's time
 *            (equal times: the order of the calls). Stepping any loop of a world steps the world. Most unit tests need
 *            only the first loop, and any number of parts may share it.
 * Faults     A clock that runs fast or slow, or jumps (wall); a process that stands still (sim_loop_pause: its tasks and
 *            timers wait and run late) or is gone (sim_loop_close on a fork: nothing of it ever runs again, and what it
 *            had allocated stays as it was). Delays, losses and crashes of I/O come from sim_disk, sim_net and sim_kv.
 * Trace      A hash over every step: world time, loop, kind of step. Equal seeds must give equal traces. */
#ifndef TRILITH_TESTS_SIM_LOOP_H
#define TRILITH_TESTS_SIM_LOOP_H

#include "base/loop.h"

struct sim_loop;

/* The first loop of a new world. Never NULL. */
struct sim_loop *sim_loop_open(uint64_t seed);

/* One more loop in the world of `sim`. `name` is for traces, and copied. Its wall clock agrees with the world's; its
 * monotonic clock starts somewhere of its own, as that of another machine does. Never NULL. */
struct sim_loop *sim_loop_fork(struct sim_loop *sim, const char *name, uint64_t seed);
const char *sim_loop_name(const struct sim_loop *sim);

/* Timers still armed are disarmed and tasks still waiting are forgotten; neither runs. Neither timers nor tasks are
 * touched after it. The first loop of a world is closed last. */
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

/* From now on this loop's clocks run `ppm` parts per million faster (or slower) than the world's: -1,000..1,000. */
void sim_loop_set_drift(struct sim_loop *sim, int32_t ppm);

/* Stop the process, as SIGSTOP does, or let it go on. Its clocks go on meanwhile. */
void sim_loop_pause(struct sim_loop *sim, bool paused);
bool sim_loop_is_paused(const struct sim_loop *sim);

/* The loop of this world whose step it is now, or was last; NULL: there was none, or it has been closed. */
struct sim_loop *sim_loop_running(const struct sim_loop *sim);

/* The world's own time, which no drift touches, starting at NS_PER_S. */
uint64_t sim_loop_world_ns(const struct sim_loop *sim);

/* The deadline, by this loop's own clock, of a timer that is to fire at the world's time `world_ns` (or as soon after it
 * as that clock can tell), as far as its drift does not change. A time that has passed is now; UINT64_MAX is never, for
 * timers as well. */
uint64_t sim_loop_deadline_ns(const struct sim_loop *sim, uint64_t world_ns);

/* Steps of this world so far, and the hash over them. */
uint64_t sim_loop_steps(const struct sim_loop *sim);
uint64_t sim_loop_trace(const struct sim_loop *sim);

/* Mix a fact into the trace: the fakes tell outcomes of I/O with it. */
void sim_loop_note(struct sim_loop *sim, uint64_t fact);

#endif
