/* test_sim_loop.c - simulated time: order, jumps, worlds of several loops, and the same run from the same seed. */
#include "tests/sim/sim_loop.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

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

/* ---- worlds ------------------------------------------------------------------------------------ */

static struct sim_loop *fork_a;
static struct sim_loop *fork_b;

static void setup_world(void)
{
    setup();
    fork_a = sim_loop_fork(sim, "a", 1);
    fork_b = sim_loop_fork(sim, "b", 2);
}

static void teardown_world(void)
{
    sim_loop_close(fork_b);
    sim_loop_close(fork_a);
    teardown();
}

TestSuite(sim_world, .init = setup_world, .fini = teardown_world);

static void arm_at_world(struct sim_loop *of, struct recorder *recorder, int number, uint64_t world_ns)
{
    recorder->number = number;
    recorder->timer.fire = record_timer;
    loop_timer_start(sim_loop_interface(of), &recorder->timer, sim_loop_deadline_ns(of, world_ns));
}

static void defer_to(struct sim_loop *of, struct recorder *recorder, int number)
{
    recorder->number = number;
    recorder->task.run = record_task;
    loop_defer(sim_loop_interface(of), &recorder->task);
}

static void check_events(const int *expected, size_t count)
{
    cr_assert_eq(event_count, count);
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(events[i], expected[i], "event %zu is %d, not %d", i, events[i], expected[i]);
    }
}

Test(sim_world, gives_each_loop_a_clock_and_chance_of_its_own)
{
    struct loop *a = sim_loop_interface(fork_a);
    struct loop *b = sim_loop_interface(fork_b);
    cr_assert_eq(sim_loop_world_ns(fork_a), NS_PER_S);
    cr_assert_neq(loop_now_ns(a), loop_now_ns(b));
    cr_assert_geq(loop_now_ns(a), NS_PER_S);
    cr_assert_eq(loop_wall_ms(a), loop_wall_ms(loop));
    cr_assert_eq(loop_wall_ms(b), loop_wall_ms(loop));
    cr_assert_str_eq(sim_loop_name(fork_b), "b");
    uint64_t ours;
    uint64_t theirs;
    loop_random(a, &ours, sizeof(ours));
    loop_random(b, &theirs, sizeof(theirs));
    cr_assert_neq(ours, theirs);
    sim_loop_shift_wall(fork_a, 7000);
    cr_assert_eq(loop_wall_ms(a), loop_wall_ms(b) + 7000);
}

Test(sim_world, runs_all_loops_by_the_worlds_time)
{
    struct recorder recorders[5] = {0};
    uint64_t start_ns = sim_loop_world_ns(sim);
    arm_at_world(fork_a, &recorders[0], 0, start_ns + 30);
    arm_at_world(fork_b, &recorders[1], 1, start_ns + 10);
    arm_at_world(sim, &recorders[2], 2, start_ns + 20);
    arm_at_world(fork_a, &recorders[3], 3, start_ns + 5);
    arm_at_world(fork_b, &recorders[4], 4, start_ns + 40);
    sim_loop_run_for(fork_b, 35);
    cr_assert_eq(sim_loop_world_ns(sim), start_ns + 35);
    check_events((int[]){3, 1, 2, 0}, 4);
    cr_assert(sim_loop_step(fork_a)); /* Whichever loop is asked. */
    check_events((int[]){3, 1, 2, 0, 4}, 5);
    cr_assert_not(sim_loop_step(sim));
}

Test(sim_world, runs_equal_times_in_the_order_of_the_calls)
{
    struct recorder recorders[30] = {0};
    struct recorder tasks[6] = {0};
    struct sim_loop *loops[] = {fork_b, sim, fork_a};
    uint64_t start_ns = sim_loop_world_ns(sim);
    for (int i = 0; i < 30; i++) {
        arm_at_world(loops[i % 3], &recorders[i], 100 + i, start_ns + 10);
    }
    for (int i = 0; i < 6; i++) {
        defer_to(loops[(i * 2) % 3], &tasks[i], i);
    }
    /* Armed again is armed last. */
    arm_at_world(fork_b, &recorders[0], 130, start_ns + 10);
    sim_loop_run_until_idle(sim);
    cr_assert_eq(event_count, 36);
    for (int i = 0; i < 6; i++) {
        cr_assert_eq(events[i], i);
    }
    for (int i = 6; i < 36; i++) {
        cr_assert_eq(events[i], 100 + i - 5);
    }
}

Test(sim_world, lets_a_paused_process_wait_while_the_others_go_on)
{
    struct recorder recorders[4] = {0};
    struct recorder tasks[3] = {0};
    uint64_t start_ns = sim_loop_world_ns(sim);
    uint64_t local_ns = loop_now_ns(sim_loop_interface(fork_a));
    defer_to(fork_a, &tasks[0], 10);
    defer_to(fork_b, &tasks[1], 11);
    arm_at_world(fork_a, &recorders[0], 0, start_ns + 20);
    arm_at_world(fork_b, &recorders[1], 1, start_ns + 30);
    arm_at_world(fork_a, &recorders[2], 2, start_ns + 10);
    arm_at_world(fork_a, &recorders[3], 3, start_ns + 90);
    sim_loop_pause(fork_a, true);
    sim_loop_pause(fork_a, true);
    cr_assert(sim_loop_is_paused(fork_a));
    defer_to(fork_a, &tasks[2], 12);
    sim_loop_run_for(sim, 50);
    check_events((int[]){11, 1}, 2);
    cr_assert_not(sim_loop_step(sim));
    cr_assert_eq(loop_now_ns(sim_loop_interface(fork_a)), local_ns + 50); /* The clock goes on. */

    sim_loop_pause(fork_a, false);
    cr_assert_not(sim_loop_is_paused(fork_a));
    sim_loop_run_for(sim, 0);
    check_events((int[]){11, 1, 10, 12, 2, 0}, 6);
    cr_assert_eq(sim_loop_world_ns(sim), start_ns + 50);
    sim_loop_run_until_idle(sim);
    check_events((int[]){11, 1, 10, 12, 2, 0, 3}, 7);
}

Test(sim_world, lets_clocks_run_fast_and_slow_and_never_back)
{
    struct loop *a = sim_loop_interface(fork_a);
    struct recorder early = {0};
    struct recorder late = {0};
    uint64_t local_ns = loop_now_ns(a);
    uint64_t world_ns = sim_loop_world_ns(sim);
    uint64_t wall_ms = loop_wall_ms(a);
    arm_at_world(fork_a, &early, 1, world_ns + 100 * NS_PER_S);
    sim_loop_set_drift(fork_a, 500);
    cr_assert_eq(loop_now_ns(a), local_ns);
    sim_loop_run_for(sim, 50 * NS_PER_S);
    cr_assert_eq(loop_now_ns(a), local_ns + 50 * NS_PER_S + 25 * NS_PER_MS);
    cr_assert_eq(loop_wall_ms(a), wall_ms + 50025);
    cr_assert_eq(loop_wall_ms(loop), wall_ms + 50000);

    /* The rest, 49.975 s by the local clock, at -1,000 ppm. */
    sim_loop_set_drift(fork_a, -1000);
    cr_assert_eq(loop_now_ns(a), local_ns + 50 * NS_PER_S + 25 * NS_PER_MS);
    uint64_t step_ns = 100 * NS_PER_S + 25 * NS_PER_MS;
    sim_loop_run_for(sim, step_ns - 50 * NS_PER_S - 1);
    cr_assert_eq(event_count, 0);
    sim_loop_run_until_idle(sim);
    cr_assert_eq(event_count, 1);
    cr_assert_geq(loop_now_ns(a), local_ns + 100 * NS_PER_S);
    cr_assert_leq(loop_now_ns(a), local_ns + 100 * NS_PER_S + 1);
    uint64_t passed_ns = sim_loop_world_ns(sim) - world_ns;
    cr_assert_geq(passed_ns, step_ns + 25 * NS_PER_US);
    cr_assert_leq(passed_ns, step_ns + 30 * NS_PER_US);

    /* With a slow clock, too, a timer for a time of the world fires there, not before. */
    for (uint64_t ahead_ns = 1; ahead_ns < 5000; ahead_ns += 7) {
        uint64_t target_ns = sim_loop_world_ns(sim) + ahead_ns;
        event_count = 0;
        arm_at_world(fork_a, &late, 2, target_ns);
        sim_loop_run_until_idle(sim);
        cr_assert_eq(event_count, 1);
        cr_assert_geq(sim_loop_world_ns(sim), target_ns);
        cr_assert_leq(sim_loop_world_ns(sim), target_ns + 1);
        cr_assert_geq(loop_now_ns(a), late.timer.deadline_ns);
    }
}

Test(sim_world, never_fires_what_is_due_never)
{
    struct recorder never = {0};
    struct recorder soon = {0};
    arm_at_world(fork_a, &never, 1, UINT64_MAX - 1);
    arm_at_world(fork_b, &soon, 2, sim_loop_world_ns(sim) + 10);
    sim_loop_run_until_idle(sim);
    check_events((int[]){2}, 1);
    cr_assert_eq(sim_loop_world_ns(sim), NS_PER_S + 10);
    cr_assert(loop_timer_is_armed(&never.timer));
}

Test(sim_world, keeps_the_order_of_timers_when_the_drift_changes)
{
    struct recorder recorders[40] = {0};
    struct loop *a = sim_loop_interface(fork_a);
    uint64_t local_ns = loop_now_ns(a);
    for (int i = 0; i < 40; i++) {
        recorders[i].number = i * 7 % 40;
        recorders[i].timer.fire = record_timer;
        loop_timer_start(a, &recorders[i].timer, local_ns + (uint64_t)recorders[i].number);
    }
    sim_loop_set_drift(fork_a, 1000);
    sim_loop_run_for(sim, 20);
    sim_loop_set_drift(fork_a, -1000);
    sim_loop_run_until_idle(sim);
    for (int i = 0; i < 40; i++) {
        cr_assert_eq(events[i], i);
    }
}

Test(sim_world, touches_nothing_of_a_process_that_is_gone)
{
    struct recorder *dead = malloc(3 * sizeof(*dead));
    memset(dead, 0, 3 * sizeof(*dead));
    struct recorder alive = {0};
    struct sim_loop *running = sim_loop_fork(sim, "running", 9);
    struct sim_loop *paused = sim_loop_fork(sim, "paused", 10);
    struct sim_loop *last = sim_loop_fork(sim, "last", 11);
    uint64_t start_ns = sim_loop_world_ns(sim);
    arm_at_world(running, &dead[0], 1, start_ns + 10);
    defer_to(running, &dead[1], 2);
    arm_at_world(last, &alive, 3, start_ns + 20);
    sim_loop_pause(paused, true);
    defer_to(paused, &dead[2], 2);
    sim_loop_close(running);
    sim_loop_close(paused);
    cr_assert_not(loop_timer_is_armed(&dead[0].timer));
    cr_assert_not(list_is_linked(&dead[1].task.link));
    cr_assert_not(list_is_linked(&dead[2].task.link));
    free(dead); /* The address sanitizer watches it from here on. */
    struct sim_loop *again = sim_loop_fork(sim, "running", 12);
    sim_loop_run_until_idle(sim);
    check_events((int[]){3}, 1);
    cr_assert_eq(sim_loop_world_ns(sim), start_ns + 20);
    sim_loop_close(again);
    sim_loop_close(last);
}

struct closer {
    struct loop_timer timer;
    struct sim_loop *victim;
};

static void close_victim(struct loop_timer *timer)
{
    sim_loop_close(CONTAINER_OF(timer, struct closer, timer)->victim);
}

Test(sim_world, may_close_a_loop_from_its_own_timer)
{
    struct closer closer = {.timer.fire = close_victim, .victim = sim_loop_fork(sim, "victim", 9)};
    loop_timer_start(sim_loop_interface(closer.victim), &closer.timer, 0);
    sim_loop_run_until_idle(sim);
    cr_assert_not(sim_loop_step(sim));
}

/* A little world of its own, which draws its steps from chance. */
struct walker {
    struct loop_timer timer;
    struct sim_loop *loop;
    int left;
};

static void walk(struct loop_timer *timer)
{
    struct walker *walker = CONTAINER_OF(timer, struct walker, timer);
    struct loop *of = sim_loop_interface(walker->loop);
    uint8_t byte;
    loop_random(of, &byte, sizeof(byte));
    if (walker->left-- > 0) {
        loop_timer_start(of, timer, loop_now_ns(of) + byte);
    }
}

static uint64_t trace_of(uint64_t seed, uint64_t note)
{
    struct sim_loop *world = sim_loop_open(seed);
    struct walker walkers[4] = {0};
    for (uint64_t i = 0; i < 4; i++) {
        walkers[i] = (struct walker){.timer.fire = walk, .left = 100};
        walkers[i].loop = sim_loop_fork(world, "walker", seed + i);
        walk(&walkers[i].timer);
    }
    sim_loop_run_until_idle(world);
    cr_assert_eq(sim_loop_steps(world), 400);
    sim_loop_note(walkers[3].loop, note);
    uint64_t trace = sim_loop_trace(walkers[0].loop);
    for (size_t i = 0; i < 4; i++) {
        sim_loop_close(walkers[i].loop);
    }
    sim_loop_close(world);
    return trace;
}

Test(sim_world, traces_the_same_steps_from_the_same_seed)
{
    cr_assert_eq(trace_of(1, 5), trace_of(1, 5));
    cr_assert_neq(trace_of(1, 5), trace_of(2, 5));
    cr_assert_neq(trace_of(1, 5), trace_of(1, 6));
}
