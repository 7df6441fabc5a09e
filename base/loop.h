/* loop.h - the interface to one reactor: time, chance, timers, and work for later.
 *
 * A process runs N reactors, one per thread; each owns its connections, buffers and disks. Nothing is
 * shared between them but loop_post(). Production is uring_loop.c; the simulator is tests/sim/sim_loop.c.
 * Code above this interface reaches time and randomness in no other way, which is what makes the whole
 * cluster runnable in one deterministic process.
 *
 * Threads    Everything is for the loop's own thread, except loop_post().
 * Ownership  Timers and tasks are embedded in their owner; the loop links them while they wait.
 * Re-entry   No callback ever runs inside the call that arms it. */
#ifndef TRILITH_BASE_LOOP_H
#define TRILITH_BASE_LOOP_H

#include "base/list.h"

#include <stdint.h>

struct loop;

/* Fires once, at or after its deadline, on the loop's thread. Zero-initialise before first use. */
struct loop_timer {
    void (*fire)(struct loop_timer *timer);
    uint64_t deadline_ns;
    uint32_t heap_position; /* private to the loop: 1-based; 0 means not armed */
};

/* Runs once, soon, on the loop's thread. Zero-initialise before first use. */
struct loop_task {
    void (*run)(struct loop_task *task);
    struct list_link link;       /* private to the loop */
    struct loop_task *post_next; /* private to the loop */
};

struct loop_ops {
    uint64_t (*now_ns)(struct loop *loop);
    uint64_t (*wall_ms)(struct loop *loop);
    void (*random)(struct loop *loop, void *buffer, size_t bytes);
    void (*timer_start)(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ns);
    void (*timer_stop)(struct loop *loop, struct loop_timer *timer);
    void (*defer)(struct loop *loop, struct loop_task *task);
    void (*post)(struct loop *loop, struct loop_task *task);
};

struct loop {
    const struct loop_ops *ops;
};

/* Monotonic nanoseconds since some start; never goes back. Cached once per turn of the loop. */
static inline uint64_t loop_now_ns(struct loop *loop)
{
    return loop->ops->now_ns(loop);
}

/* Milliseconds since 1970 UTC, as the machine believes; may jump. For records and people, never for timeouts. */
static inline uint64_t loop_wall_ms(struct loop *loop)
{
    return loop->ops->wall_ms(loop);
}

/* Fill `buffer` with bytes from the process's cryptographic generator (the simulator: from the seed). */
static inline void loop_random(struct loop *loop, void *buffer, size_t bytes)
{
    loop->ops->random(loop, buffer, bytes);
}

/* Arm `timer`, or move it when it is armed already. `timer->fire` must be set. */
static inline void loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ns)
{
    CHECK(timer->fire != NULL);
    loop->ops->timer_start(loop, timer, deadline_ns);
}

/* Disarm `timer`; harmless when it is not armed. */
static inline void loop_timer_stop(struct loop *loop, struct loop_timer *timer)
{
    loop->ops->timer_stop(loop, timer);
}

static inline bool loop_timer_is_armed(const struct loop_timer *timer)
{
    return timer->heap_position != 0;
}

/* Run `task` on this loop after the running callback has returned, in the order of the calls. A task
 * that waits already is a bug. */
static inline void loop_defer(struct loop *loop, struct loop_task *task)
{
    CHECK(task->run != NULL);
    loop->ops->defer(loop, task);
}

/* Hand `task` to another reactor (or this one): it runs there, on that thread. Callable from any thread.
 * The task, and all that it names, belongs to the receiving thread from here on. */
static inline void loop_post(struct loop *loop, struct loop_task *task)
{
    CHECK(task->run != NULL);
    loop->ops->post(loop, task);
}

#endif
