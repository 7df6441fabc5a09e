/* sim_loop.c - simulated time: a queue of tasks and a heap of timers. */
#include "tests/sim/sim_loop.h"

#include "base/timer_heap.h"
#include "tests/sim/sim_random.h"

#include <stdlib.h>

/* The simulated run starts here: some morning in 2026. */
#define WALL_START_MS UINT64_C(1780000000000)

struct sim_loop {
    struct loop loop;
    struct sim_random random;
    uint64_t now_ns;
    int64_t wall_shift_ms;
    struct list tasks;
    struct timer_heap timers;
};

static struct sim_loop *sim_of(struct loop *loop)
{
    return CONTAINER_OF(loop, struct sim_loop, loop);
}

/* ---- the interface ----------------------------------------------------------------------------- */

static uint64_t sim_now_ns(struct loop *loop)
{
    return sim_of(loop)->now_ns;
}

static uint64_t sim_wall_ms(struct loop *loop)
{
    struct sim_loop *sim = sim_of(loop);
    return WALL_START_MS + sim->now_ns / NS_PER_MS + (uint64_t)sim->wall_shift_ms;
}

static void sim_fill_random(struct loop *loop, void *buffer, size_t bytes)
{
    sim_random_bytes(&sim_of(loop)->random, buffer, bytes);
}

static void sim_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ns)
{
    struct sim_loop *sim = sim_of(loop);
    if (loop_timer_is_armed(timer)) {
        timer_heap_move(&sim->timers, timer, deadline_ns);
    } else {
        timer_heap_insert(&sim->timers, timer, deadline_ns);
    }
}

static void sim_timer_stop(struct loop *loop, struct loop_timer *timer)
{
    if (loop_timer_is_armed(timer)) {
        timer_heap_remove(&sim_of(loop)->timers, timer);
    }
}

static void sim_defer(struct loop *loop, struct loop_task *task)
{
    list_append(&sim_of(loop)->tasks, &task->link);
}

static const struct loop_ops sim_loop_ops = {
    .now_ns = sim_now_ns,
    .wall_ms = sim_wall_ms,
    .random = sim_fill_random,
    .timer_start = sim_timer_start,
    .timer_stop = sim_timer_stop,
    .defer = sim_defer,
    .post = sim_defer, /* All simulated reactors share one thread. */
};

/* ---- running ----------------------------------------------------------------------------------- */

struct sim_loop *sim_loop_open(uint64_t seed)
{
    struct sim_loop *sim = calloc(1, sizeof(*sim));
    CHECK(sim != NULL);
    sim->loop.ops = &sim_loop_ops;
    sim->random = sim_random_of(seed);
    sim->now_ns = NS_PER_S; /* Not zero, so that "never" and "at the start" differ. */
    list_init(&sim->tasks);
    timer_heap_init(&sim->timers, 64);
    return sim;
}

void sim_loop_close(struct sim_loop *sim)
{
    while (list_take_first(&sim->tasks) != NULL) {
    }
    timer_heap_deinit(&sim->timers);
    free(sim);
}

struct loop *sim_loop_interface(struct sim_loop *sim)
{
    return &sim->loop;
}

bool sim_loop_step(struct sim_loop *sim)
{
    struct list_link *link = list_take_first(&sim->tasks);
    if (link != NULL) {
        struct loop_task *task = LIST_ENTRY(link, struct loop_task, link);
        task->run(task);
        return true;
    }
    struct loop_timer *timer = timer_heap_first(&sim->timers);
    if (timer == NULL) {
        return false;
    }
    timer_heap_remove(&sim->timers, timer);
    if (timer->deadline_ns > sim->now_ns) {
        sim->now_ns = timer->deadline_ns;
    }
    timer->fire(timer);
    return true;
}

void sim_loop_run_until_idle(struct sim_loop *sim)
{
    while (sim_loop_step(sim)) {
    }
}

/* Whether something can run without time passing beyond `end_ns`. */
static bool is_due(const struct sim_loop *sim, uint64_t end_ns)
{
    const struct loop_timer *timer = timer_heap_first(&sim->timers);
    return !list_is_empty(&sim->tasks) || (timer != NULL && timer->deadline_ns <= end_ns);
}

void sim_loop_run_for(struct sim_loop *sim, uint64_t duration_ns)
{
    uint64_t end_ns = sim->now_ns + duration_ns;
    while (is_due(sim, end_ns)) {
        sim_loop_step(sim);
    }
    sim->now_ns = end_ns;
}

bool sim_loop_run_until(struct sim_loop *sim, const bool *flag)
{
    while (!*flag) {
        if (!sim_loop_step(sim)) {
            return false;
        }
    }
    return true;
}

void sim_loop_shift_wall(struct sim_loop *sim, int64_t shift_ms)
{
    sim->wall_shift_ms += shift_ms;
}
