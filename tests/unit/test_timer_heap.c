/* test_timer_heap.c - the heap against the plainest model: an array searched for the least deadline. */
#include "base/timer_heap.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>

#define TIMERS 200

static uint64_t model_least(const struct loop_timer *timers, size_t count)
{
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < count; i++) {
        if (timers[i].heap_position != 0 && timers[i].deadline_ns < least) {
            least = timers[i].deadline_ns;
        }
    }
    return least;
}

Test(timer_heap, agrees_with_a_model_under_random_use)
{
    static struct loop_timer timers[TIMERS];
    struct timer_heap heap;
    timer_heap_init(&heap, 1); /* So that it also grows. */
    uint32_t armed = 0;
    srand(7);
    for (int step = 0; step < 50000; step++) {
        struct loop_timer *timer = &timers[rand() % TIMERS];
        uint64_t deadline_ns = (uint64_t)(rand() % 1000);
        if (timer->heap_position == 0) {
            timer_heap_insert(&heap, timer, deadline_ns);
            armed++;
        } else if (rand() % 2 == 0) {
            timer_heap_move(&heap, timer, deadline_ns);
        } else {
            timer_heap_remove(&heap, timer);
            armed--;
        }
        cr_assert_eq(heap.count, armed);
        struct loop_timer *first = timer_heap_first(&heap);
        cr_assert_eq(first == NULL, armed == 0);
        if (first != NULL) {
            cr_assert_eq(first->deadline_ns, model_least(timers, TIMERS));
        }
    }
    timer_heap_deinit(&heap);
    for (size_t i = 0; i < TIMERS; i++) {
        cr_assert_eq(timers[i].heap_position, 0);
    }
}

Test(timer_heap, gives_timers_back_in_the_order_of_their_deadlines)
{
    static struct loop_timer timers[TIMERS];
    struct timer_heap heap;
    timer_heap_init(&heap, TIMERS);
    for (uint64_t i = 0; i < TIMERS; i++) {
        timer_heap_insert(&heap, &timers[i], i * 73 % TIMERS);
    }
    for (uint64_t i = 0; i < TIMERS; i++) {
        struct loop_timer *first = timer_heap_first(&heap);
        cr_assert_eq(first->deadline_ns, i);
        timer_heap_remove(&heap, first);
        cr_assert_not(loop_timer_is_armed(first));
    }
    cr_assert_null(timer_heap_first(&heap));
    timer_heap_deinit(&heap);
}

Test(timer_heap, the_same_calls_give_the_same_order_of_equals)
{
    static struct loop_timer timers[2][16];
    for (size_t run = 0; run < 2; run++) {
        struct timer_heap heap;
        timer_heap_init(&heap, 4);
        for (size_t i = 0; i < 16; i++) {
            timer_heap_insert(&heap, &timers[run][i], i % 3);
        }
        for (size_t i = 0; i < 5; i++) {
            timer_heap_remove(&heap, timer_heap_first(&heap));
        }
        for (size_t i = 0; run == 1 && i < 16; i++) {
            cr_assert_eq(timers[1][i].heap_position != 0, timers[0][i].deadline_ns != UINT64_MAX);
        }
        for (size_t i = 0; i < 16; i++) {
            if (timers[run][i].heap_position == 0) {
                timers[run][i].deadline_ns = UINT64_MAX;
            }
        }
        timer_heap_deinit(&heap);
    }
}

Test(timer_heap, inserting_twice_is_a_bug, .signal = SIGABRT)
{
    struct loop_timer timer = {0};
    struct timer_heap heap;
    timer_heap_init(&heap, 1);
    timer_heap_insert(&heap, &timer, 1);
    timer_heap_insert(&heap, &timer, 2);
}

Test(timer_heap, removing_a_stranger_is_a_bug, .signal = SIGABRT)
{
    struct loop_timer inside = {0};
    struct loop_timer stranger = {.heap_position = 1};
    struct timer_heap heap;
    timer_heap_init(&heap, 1);
    timer_heap_insert(&heap, &inside, 1);
    timer_heap_remove(&heap, &stranger);
}
