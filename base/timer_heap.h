/* timer_heap.h - the armed timers of one loop: a binary heap ordered by deadline.
 *
 * Both implementations of loop.h keep their timers in one. A timer knows its place (loop_timer.heap_position, 1-based,
 * 0 when not armed), so that it can be stopped or moved in O(log n). Timers with equal deadlines come out in no
 * particular order, but always in the same one after the same calls.
 *
 * Memory     The array is allocated at init and doubles when full; it never shrinks, so a steady load allocates
 *            nothing. Without memory the process stops: a timer that is silently not armed would hang something.
 * Threads    One. */
#ifndef TRILITH_BASE_TIMER_HEAP_H
#define TRILITH_BASE_TIMER_HEAP_H

#include "base/loop.h"

struct timer_heap {
    struct loop_timer **timers; /* [0] is position 1 */
    uint32_t count;
    uint32_t capacity;
};

/* Room for `capacity` (at least 1) timers before the array grows. */
void timer_heap_init(struct timer_heap *heap, uint32_t capacity);
/* Timers that are still in the heap are disarmed. */
void timer_heap_deinit(struct timer_heap *heap);

/* Add a timer that is not armed. */
void timer_heap_insert(struct timer_heap *heap, struct loop_timer *timer, uint64_t deadline_ns);
/* Give an armed timer another deadline. */
void timer_heap_move(struct timer_heap *heap, struct loop_timer *timer, uint64_t deadline_ns);
/* Take an armed timer out. */
void timer_heap_remove(struct timer_heap *heap, struct loop_timer *timer);
/* The timer with the earliest deadline, still armed, or NULL. */
struct loop_timer *timer_heap_first(const struct timer_heap *heap);

#endif
