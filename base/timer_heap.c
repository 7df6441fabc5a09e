/* timer_heap.c - a textbook binary heap (Knuth, volume 3, 5.2.3) whose elements know their positions: the children of
 * position p are at 2p and 2p + 1. */
#include "base/timer_heap.h"

#include <stdlib.h>

void timer_heap_init(struct timer_heap *heap, uint32_t capacity)
{
    CHECK(capacity > 0);
    *heap = (struct timer_heap){.capacity = capacity};
    heap->timers = calloc(capacity, sizeof(struct loop_timer *));
    CHECK(heap->timers != NULL);
}

void timer_heap_deinit(struct timer_heap *heap)
{
    for (uint32_t i = 0; i < heap->count; i++) {
        heap->timers[i]->heap_position = 0;
    }
    free(heap->timers);
    *heap = (struct timer_heap){.timers = NULL};
}

static void place(struct timer_heap *heap, struct loop_timer *timer, uint32_t position)
{
    heap->timers[position - 1] = timer;
    timer->heap_position = position;
}

/* Let `timer` rise from the hole at `position` to where no parent is later than it. Returns where the hole ended. */
static uint32_t rise(struct timer_heap *heap, const struct loop_timer *timer, uint32_t position)
{
    while (position > 1 && timer->deadline_ns < heap->timers[position / 2 - 1]->deadline_ns) {
        place(heap, heap->timers[position / 2 - 1], position);
        position /= 2;
    }
    return position;
}

/* Let `timer` sink from the hole at `position` to where no child is earlier than it. */
static uint32_t sink(struct timer_heap *heap, const struct loop_timer *timer, uint32_t position)
{
    while (position <= heap->count / 2) {
        uint32_t child = position * 2;
        if (child < heap->count && heap->timers[child]->deadline_ns < heap->timers[child - 1]->deadline_ns) {
            child++;
        }
        if (timer->deadline_ns <= heap->timers[child - 1]->deadline_ns) {
            break;
        }
        place(heap, heap->timers[child - 1], position);
        position = child;
    }
    return position;
}

/* Put `timer` where it belongs, given that the rest is in order and there is a hole at `position`. */
static void settle(struct timer_heap *heap, struct loop_timer *timer, uint32_t position)
{
    place(heap, timer, sink(heap, timer, rise(heap, timer, position)));
}

static void check_is_in(const struct timer_heap *heap, const struct loop_timer *timer)
{
    CHECK(timer->heap_position > 0);
    CHECK(timer->heap_position <= heap->count);
    CHECK(heap->timers[timer->heap_position - 1] == timer);
}

static void grow(struct timer_heap *heap)
{
    CHECK(heap->capacity <= UINT32_MAX / 2);
    heap->capacity *= 2;
    heap->timers = realloc(heap->timers, heap->capacity * sizeof(struct loop_timer *));
    CHECK(heap->timers != NULL);
}

void timer_heap_insert(struct timer_heap *heap, struct loop_timer *timer, uint64_t deadline_ns)
{
    CHECK(timer->heap_position == 0);
    if (heap->count == heap->capacity) {
        grow(heap);
    }
    timer->deadline_ns = deadline_ns;
    heap->count++;
    place(heap, timer, heap->count);
    settle(heap, timer, heap->count);
}

void timer_heap_move(struct timer_heap *heap, struct loop_timer *timer, uint64_t deadline_ns)
{
    check_is_in(heap, timer);
    timer->deadline_ns = deadline_ns;
    settle(heap, timer, timer->heap_position);
}

void timer_heap_remove(struct timer_heap *heap, struct loop_timer *timer)
{
    check_is_in(heap, timer);
    uint32_t hole = timer->heap_position;
    struct loop_timer *last = heap->timers[heap->count - 1];
    heap->count--;
    timer->heap_position = 0;
    if (last != timer) {
        settle(heap, last, hole);
    }
}

struct loop_timer *timer_heap_first(const struct timer_heap *heap)
{
    return heap->count > 0 ? heap->timers[0] : NULL;
}
