/* test_sim_loop.c - simulated time: order, jumps, and the same run from the same seed. */
#include "tests/sim/sim_loop.h"

#include <criterion/criterion.h>

#define EVENTS_MAX 64

struct recorder {
    struct loop_timer timer;
    struct loop_task task;
    int number;
};

static struct sim_loop *sim;
static struct loop *loop;
static int events[EVENTS_MAX];
static size_t event_count;

static void setup(void)
{
    sim = sim_loop_open(7);
    loop = sim_loop_interface(sim);
    event_count = 0;
}

static void teardown(void)
{
    sim_loop_close(sim);
}

TestSuite(sim_loop, .init = setup, .fini = teardown);

static void record_timer(struct loop_timer *timer)
{
    events[event_count++] = CONTAINER_OF(timer, struct recorder, timer)->number;
}

static void record_task(struct loop_task *task)
{
    events[event_count++] = CONTAINER_OF(task, struct recorder, task)->number;
}

Test(sim_loop, fires_timers_by_deadline_and_jumps_in_between)
{
    struct recorder recorders[20] = {0};
    uint64_t start_ns = loop_now_ns(loop);
    for (int i = 0; i < 20; i++) {
        recorders[i].number = i;
        recorders[i].timer.fire = record_timer;
        loop_timer_start(loop, &recorders[i].timer, start_ns + (uint64_t)((i * 7) % 20) * NS_PER_MS);
    }
    loop_timer_stop(loop, &recorders[4].timer);
    loop_timer_stop(loop, &recorders[4].timer);
    sim_loop_run_until_idle(sim);

    cr_assert_eq(event_count, 19);
    for (size_t i = 1; i < event_count; i++) {
        cr_assert_lt((events[i - 1] * 7) % 20, (events[i] * 7) % 20);
        cr_assert_neq(events[i], 4);
    }
    cr_assert_eq(loop_now_ns(loop), start_ns + 19 * NS_PER_MS);
}

Test(sim_loop, moves_a_timer_that_is_armed_already)
{
    struct recorder early = {.number = 1, .timer = {.fire = record_timer}};
    struct recorder late = {.number = 2, .timer = {.fire = record_timer}};
    uint64_t start_ns = loop_now_ns(loop);
    loop_timer_start(loop, &early.timer, start_ns + 10);
    loop_timer_start(loop, &late.timer, start_ns + 20);
    loop_timer_start(loop, &early.timer, start_ns + 30);
    cr_assert(loop_timer_is_armed(&early.timer));
    sim_loop_run_until_idle(sim);
    cr_assert_not(loop_timer_is_armed(&early.timer));
    int expected[] = {2, 1};
    cr_assert_eq(event_count, 2);
    cr_assert_arr_eq(events, expected, sizeof(expected));
}

Test(sim_loop, runs_tasks_before_timers_and_without_passing_time)
{
    struct recorder timer = {.number = 1, .timer = {.fire = record_timer}};
    struct recorder first = {.number = 2, .task = {.run = record_task}};
    struct recorder second = {.number = 3, .task = {.run = record_task}};
    uint64_t start_ns = loop_now_ns(loop);
    loop_timer_start(loop, &timer.timer, start_ns);
    loop_defer(loop, &first.task);
    loop_post(loop, &second.task);
    cr_assert_eq(event_count, 0);
    sim_loop_run_until_idle(sim);
    int expected[] = {2, 3, 1};
    cr_assert_arr_eq(events, expected, sizeof(expected));
    cr_assert_eq(loop_now_ns(loop), start_ns);
    cr_assert_not(sim_loop_step(sim));
}

Test(sim_loop, runs_for_a_while_and_no_longer)
{
    struct recorder inside = {.number = 1, .timer = {.fire = record_timer}};
    struct recorder outside = {.number = 2, .timer = {.fire = record_timer}};
    uint64_t start_ns = loop_now_ns(loop);
    loop_timer_start(loop, &inside.timer, start_ns + NS_PER_S);
    loop_timer_start(loop, &outside.timer, start_ns + NS_PER_S + 1);
    sim_loop_run_for(sim, NS_PER_S);
    cr_assert_eq(event_count, 1);
    cr_assert_eq(loop_now_ns(loop), start_ns + NS_PER_S);
}

Test(sim_loop, draws_the_same_bytes_from_the_same_seed)
{
    uint8_t ours[40];
    uint8_t theirs[40];
    struct sim_loop *other = sim_loop_open(7);
    loop_random(loop, ours, sizeof(ours));
    loop_random(sim_loop_interface(other), theirs, sizeof(theirs));
    cr_assert_arr_eq(ours, theirs, sizeof(ours));
    sim_loop_close(other);
    other = sim_loop_open(8);
    loop_random(sim_loop_interface(other), theirs, sizeof(theirs));
    cr_assert_arr_neq(ours, theirs, sizeof(ours));
    sim_loop_close(other);
}

Test(sim_loop, shifts_the_wall_clock_but_not_the_steady_one)
{
    uint64_t steady_ns = loop_now_ns(loop);
    uint64_t wall_ms = loop_wall_ms(loop);
    sim_loop_shift_wall(sim, -5000);
    cr_assert_eq(loop_wall_ms(loop), wall_ms - 5000);
    cr_assert_eq(loop_now_ns(loop), steady_ns);
}
