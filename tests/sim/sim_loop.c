/* sim_loop.c - simulated time: the loops of one world, each with a clock, a heap of timers and a place in one queue of
 * tasks.
 *
 * Time       A loop's clock is a line through the world's time: local = base + (world - base) * (1 + ppm / 1,000,000). The
 *            heap is ordered by local deadlines, so a change of the drift (a new line from the present point on) moves no
 *            timer in it; only the world's time of the loop's first timer has to be worked out again.
 * Order      Every arming takes the next number of the world, and equal times are ordered by it. A step scans the first
 *            timers of all loops: they are few, and lie side by side in one array.
 * Tasks      One list for the world, in the order of the calls. A task says whose it is through `post_next`, which is the
 *            loop's to use. Those of a paused loop move to a list of its own and come back at the end.
 * Crash      Once a loop is closed, nothing here points to its timers or tasks. */
#include "tests/sim/sim_loop.h"

#include "tests/sim/sim_random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The simulated run starts here: some morning in 2026. */
#define WALL_START_MS   UINT64_C(1780000000000)
#define NAME_BYTES      32
#define MILLION         UINT64_C(1000000)
#define DRIFT_PPM_MAX   1000
#define UPTIME_MAX_NS   (1000 * NS_PER_S)
#define TIMERS_START    64u
#define LOOPS_START     8u
#define TRACE_FACTOR    UINT64_C(0x9e3779b97f4a7c15)
#define NOTHING_TO_FIRE ((struct first_timer){.world_ns = UINT64_MAX, .sequence = UINT64_MAX})

enum step_kind { STEP_TASK = 1, STEP_TIMER, STEP_NOTE };

/* A place in a heap of timers. */
struct armed_timer {
    uint64_t deadline_ns; /* by the clock of its loop */
    uint64_t sequence;
    struct loop_timer *timer;
};

/* What a loop would fire next. */
struct first_timer {
    uint64_t world_ns;
    uint64_t sequence;
};

struct sim_loop {
    struct loop loop;
    struct sim_world *world;
    struct sim_random random;
    struct loop_task owner; /* tasks of this loop point here */
    struct list waiting;    /* tasks while the loop is paused */
    uint32_t number;        /* in the order of the forks, never used twice */
    uint32_t slot;          /* in sim_world.loops */
    bool paused;
    char name[NAME_BYTES];

    uint64_t base_world_ns; /* At this time of the world ... */
    uint64_t base_local_ns; /* ... the local clock said this. */
    int32_t drift_ppm;
    uint64_t uptime_ns; /* what the local clock was ahead of the world's when it started */
    int64_t wall_shift_ms;

    struct armed_timer *timers; /* binary heap: [0] is position 1, the children of p are 2p and 2p + 1 */
    uint32_t timer_count;
    uint32_t timer_capacity;
};

struct sim_world {
    uint64_t now_ns;
    uint64_t next_sequence;
    uint64_t steps;
    uint64_t trace;
    struct list tasks;
    struct sim_loop *root;
    struct sim_loop *running; /* whose step it is, or was last; NULL when that loop has been closed */
    struct sim_loop **loops;
    struct first_timer *firsts; /* of each loop; nothing while it is paused */
    uint32_t loop_count;
    uint32_t loop_capacity;
    uint32_t next_number;
};

static struct sim_loop *sim_of(struct loop *loop)
{
    return CONTAINER_OF(loop, struct sim_loop, loop);
}

/* ---- trace ------------------------------------------------------------------------------------- */

static void trace_mix(struct sim_world *world, uint64_t fact)
{
    world->trace = (sim_random_rotate(world->trace, 29) ^ fact) * TRACE_FACTOR;
}

static void trace_step(const struct sim_loop *sim, enum step_kind kind)
{
    trace_mix(sim->world, sim->world->now_ns);
    trace_mix(sim->world, (uint64_t)sim->number << 8 | kind);
}

/* ---- clocks ------------------------------------------------------------------------------------ */

static uint64_t local_rate(const struct sim_loop *sim)
{
    return (uint64_t)((int64_t)MILLION + sim->drift_ppm);
}

/* What the local clock says at a time of the world not before its base. In two parts, so that nothing overflows. */
static uint64_t local_at(const struct sim_loop *sim, uint64_t world_ns)
{
    uint64_t passed_ns = world_ns - sim->base_world_ns;
    if (sim->drift_ppm == 0) {
        return sim->base_local_ns + passed_ns;
    }
    uint64_t rate = local_rate(sim);
    return sim->base_local_ns + passed_ns / MILLION * rate + passed_ns % MILLION * rate / MILLION;
}

/* The first time of the world at which the local clock says `local_ns` or more; its base, when that was before. */
static uint64_t world_at(const struct sim_loop *sim, uint64_t local_ns)
{
    if (local_ns <= sim->base_local_ns) {
        return sim->base_world_ns;
    }
    uint64_t rate = local_rate(sim);
    uint64_t ahead_ns = local_ns - sim->base_local_ns;
    if (ahead_ns > UINT64_MAX / 2) {
        return UINT64_MAX; /* "never" */
    }
    return sim->base_world_ns + ahead_ns / rate * MILLION + (ahead_ns % rate * MILLION + rate - 1) / rate;
}

static uint64_t sim_now_ns(struct loop *loop)
{
    const struct sim_loop *sim = sim_of(loop);
    return local_at(sim, sim->world->now_ns);
}

static uint64_t sim_wall_ms(struct loop *loop)
{
    const struct sim_loop *sim = sim_of(loop);
    uint64_t local_ns = local_at(sim, sim->world->now_ns);
    return WALL_START_MS + (local_ns - sim->uptime_ns) / NS_PER_MS + (uint64_t)sim->wall_shift_ms;
}

/* ---- the heap of timers ------------------------------------------------------------------------ */

static bool is_earlier(const struct armed_timer *a, const struct armed_timer *b)
{
    return a->deadline_ns < b->deadline_ns || (a->deadline_ns == b->deadline_ns && a->sequence < b->sequence);
}

static void heap_place(struct sim_loop *sim, struct armed_timer armed, uint32_t position)
{
    sim->timers[position - 1] = armed;
    armed.timer->heap_position = position;
}

/* Put `armed` where it belongs, given that the rest is in order and there is a hole at `position`. */
static void heap_settle(struct sim_loop *sim, struct armed_timer armed, uint32_t position)
{
    while (position > 1 && is_earlier(&armed, &sim->timers[position / 2 - 1])) {
        heap_place(sim, sim->timers[position / 2 - 1], position);
        position /= 2;
    }
    while (position <= sim->timer_count / 2) {
        uint32_t child = position * 2;
        if (child < sim->timer_count && is_earlier(&sim->timers[child], &sim->timers[child - 1])) {
            child++;
        }
        if (is_earlier(&armed, &sim->timers[child - 1])) {
            break;
        }
        heap_place(sim, sim->timers[child - 1], position);
        position = child;
    }
    heap_place(sim, armed, position);
}

static void heap_remove(struct sim_loop *sim, struct loop_timer *timer)
{
    uint32_t hole = timer->heap_position;
    CHECK(hole > 0 && hole <= sim->timer_count);
    CHECK(sim->timers[hole - 1].timer == timer);
    struct armed_timer last = sim->timers[sim->timer_count - 1];
    sim->timer_count--;
    timer->heap_position = 0;
    if (last.timer != timer) {
        heap_settle(sim, last, hole);
    }
}

static uint32_t heap_add_hole(struct sim_loop *sim)
{
    if (sim->timer_count == sim->timer_capacity) {
        CHECK(sim->timer_capacity <= UINT32_MAX / 2);
        sim->timer_capacity *= 2;
        sim->timers = realloc(sim->timers, sim->timer_capacity * sizeof(*sim->timers));
        CHECK(sim->timers != NULL);
    }
    return ++sim->timer_count;
}

/* Note in the world's array what this loop fires next, when that may have changed. */
static void first_note(struct sim_loop *sim)
{
    struct first_timer *first = &sim->world->firsts[sim->slot];
    if (sim->paused || sim->timer_count == 0) {
        *first = NOTHING_TO_FIRE;
    } else if (first->sequence != sim->timers[0].sequence) {
        first->sequence = sim->timers[0].sequence;
        first->world_ns = world_at(sim, sim->timers[0].deadline_ns);
    }
}

/* ---- the interface ----------------------------------------------------------------------------- */

static void sim_fill_random(struct loop *loop, void *buffer, size_t bytes)
{
    sim_random_bytes(&sim_of(loop)->random, buffer, bytes);
}

static void sim_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ns)
{
    struct sim_loop *sim = sim_of(loop);
    uint32_t position = timer->heap_position;
    if (position != 0) {
        CHECK(position <= sim->timer_count && sim->timers[position - 1].timer == timer);
    } else {
        position = heap_add_hole(sim);
    }
    timer->deadline_ns = deadline_ns;
    struct armed_timer armed = {deadline_ns, sim->world->next_sequence++, timer};
    heap_settle(sim, armed, position);
    first_note(sim);
}

static void sim_timer_stop(struct loop *loop, struct loop_timer *timer)
{
    if (loop_timer_is_armed(timer)) {
        heap_remove(sim_of(loop), timer);
        first_note(sim_of(loop));
    }
}

static void sim_defer(struct loop *loop, struct loop_task *task)
{
    struct sim_loop *sim = sim_of(loop);
    task->post_next = &sim->owner;
    list_append(sim->paused ? &sim->waiting : &sim->world->tasks, &task->link);
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

/* ---- worlds ------------------------------------------------------------------------------------ */

static void world_add(struct sim_world *world, struct sim_loop *sim)
{
    if (world->loop_count == world->loop_capacity) {
        world->loop_capacity = world->loop_capacity > 0 ? world->loop_capacity * 2 : LOOPS_START;
        world->loops = realloc(world->loops, world->loop_capacity * sizeof(struct sim_loop *));
        world->firsts = realloc(world->firsts, world->loop_capacity * sizeof(*world->firsts));
        CHECK(world->loops != NULL && world->firsts != NULL);
    }
    sim->world = world;
    sim->number = world->next_number++;
    sim->slot = world->loop_count++;
    world->loops[sim->slot] = sim;
    world->firsts[sim->slot] = NOTHING_TO_FIRE;
}

static void world_remove(struct sim_world *world, const struct sim_loop *sim)
{
    uint32_t last = --world->loop_count;
    world->loops[sim->slot] = world->loops[last];
    world->loops[sim->slot]->slot = sim->slot;
    world->firsts[sim->slot] = world->firsts[last];
}

static struct sim_loop *loop_new(struct sim_world *world, const char *name, uint64_t seed, uint64_t uptime_ns)
{
    struct sim_loop *sim = calloc(1, sizeof(*sim));
    CHECK(sim != NULL);
    sim->loop.ops = &sim_loop_ops;
    sim->random = sim_random_of(seed);
    list_init(&sim->waiting);
    snprintf(sim->name, sizeof(sim->name), "%s", name);
    sim->base_world_ns = world->now_ns;
    sim->base_local_ns = world->now_ns + uptime_ns;
    sim->uptime_ns = uptime_ns;
    sim->timer_capacity = TIMERS_START;
    sim->timers = calloc(sim->timer_capacity, sizeof(*sim->timers));
    CHECK(sim->timers != NULL);
    world_add(world, sim);
    return sim;
}

struct sim_loop *sim_loop_open(uint64_t seed)
{
    struct sim_world *world = calloc(1, sizeof(*world));
    CHECK(world != NULL);
    world->now_ns = NS_PER_S; /* Not zero, so that "never" and "at the start" differ. */
    list_init(&world->tasks);
    world->root = loop_new(world, "world", seed, 0);
    return world->root;
}

struct sim_loop *sim_loop_fork(struct sim_loop *sim, const char *name, uint64_t seed)
{
    uint64_t state = ~seed; /* Of its own: loop_random() is drawn from the seed itself. */
    return loop_new(sim->world, name, seed, sim_splitmix(&state) % UPTIME_MAX_NS);
}

/* Move the tasks of a loop from the world's list to its own. */
static void tasks_set_aside(struct sim_loop *sim)
{
    LIST_EACH (&sim->world->tasks, link) {
        if (LIST_ENTRY(link, struct loop_task, link)->post_next == &sim->owner) {
            list_remove(link);
            list_append(&sim->waiting, link);
        }
    }
}

void sim_loop_close(struct sim_loop *sim)
{
    struct sim_world *world = sim->world;
    CHECK(sim != world->root || world->loop_count == 1);
    tasks_set_aside(sim);
    while (list_take_first(&sim->waiting) != NULL) {
    }
    for (uint32_t i = 0; i < sim->timer_count; i++) {
        sim->timers[i].timer->heap_position = 0;
    }
    world_remove(world, sim);
    if (world->running == sim) {
        world->running = NULL;
    }
    if (sim == world->root) {
        free(world->loops);
        free(world->firsts);
        free(world);
    }
    free(sim->timers);
    free(sim);
}

struct loop *sim_loop_interface(struct sim_loop *sim)
{
    return &sim->loop;
}

const char *sim_loop_name(const struct sim_loop *sim)
{
    return sim->name;
}

struct sim_loop *sim_loop_running(const struct sim_loop *sim)
{
    return sim->world->running;
}

uint64_t sim_loop_world_ns(const struct sim_loop *sim)
{
    return sim->world->now_ns;
}

uint64_t sim_loop_deadline_ns(const struct sim_loop *sim, uint64_t world_ns)
{
    if (world_ns <= sim->world->now_ns) {
        return local_at(sim, sim->world->now_ns);
    }
    if (world_ns > UINT64_MAX / 4) {
        return UINT64_MAX; /* "never" */
    }
    /* A slow clock says the same for two nanoseconds of the world: the least that it does not say before. */
    return local_at(sim, world_ns - 1) + 1;
}

uint64_t sim_loop_steps(const struct sim_loop *sim)
{
    return sim->world->steps;
}

uint64_t sim_loop_trace(const struct sim_loop *sim)
{
    return sim->world->trace;
}

void sim_loop_note(struct sim_loop *sim, uint64_t fact)
{
    trace_mix(sim->world, fact);
    trace_mix(sim->world, (uint64_t)sim->number << 8 | STEP_NOTE);
}

/* ---- running ----------------------------------------------------------------------------------- */

/* The slot of the loop whose first timer is due before all others; loop_count, when no timer is armed. A timer that is due
 * at UINT64_MAX is never due. */
static uint32_t earliest_slot(const struct sim_world *world)
{
    uint32_t found = world->loop_count;
    struct first_timer least = NOTHING_TO_FIRE;
    for (uint32_t slot = 0; slot < world->loop_count; slot++) {
        const struct first_timer *first = &world->firsts[slot];
        bool is_before =
            first->world_ns < least.world_ns || (first->world_ns == least.world_ns && first->sequence < least.sequence);
        if (is_before && first->world_ns != UINT64_MAX) {
            least = *first;
            found = slot;
        }
    }
    return found;
}

/* The loop of the task or timer that runs is not touched after it: it may have closed it. */
static void run_task(struct sim_world *world)
{
    struct loop_task *task = LIST_ENTRY(list_take_first(&world->tasks), struct loop_task, link);
    world->steps++;
    world->running = CONTAINER_OF(task->post_next, struct sim_loop, owner);
    trace_step(world->running, STEP_TASK);
    task->run(task);
}

static void run_timer(struct sim_world *world, uint32_t slot)
{
    struct sim_loop *sim = world->loops[slot];
    uint64_t due_ns = world->firsts[slot].world_ns;
    struct loop_timer *timer = sim->timers[0].timer;
    heap_remove(sim, timer);
    first_note(sim);
    world->now_ns = due_ns > world->now_ns ? due_ns : world->now_ns;
    world->steps++;
    world->running = sim;
    trace_step(sim, STEP_TIMER);
    timer->fire(timer);
}

/* Run one task or timer that is due until `end_ns`. False: there is none. */
static bool world_step(struct sim_world *world, uint64_t end_ns)
{
    if (!list_is_empty(&world->tasks)) {
        run_task(world);
        return true;
    }
    uint32_t slot = earliest_slot(world);
    if (slot == world->loop_count || world->firsts[slot].world_ns > end_ns) {
        return false;
    }
    run_timer(world, slot);
    return true;
}

bool sim_loop_step(struct sim_loop *sim)
{
    return world_step(sim->world, UINT64_MAX);
}

void sim_loop_run_until_idle(struct sim_loop *sim)
{
    struct sim_world *world = sim->world;
    while (world_step(world, UINT64_MAX)) {
    }
}

void sim_loop_run_for(struct sim_loop *sim, uint64_t duration_ns)
{
    struct sim_world *world = sim->world;
    uint64_t end_ns = world->now_ns + duration_ns;
    while (world_step(world, end_ns)) {
    }
    world->now_ns = end_ns;
}

bool sim_loop_run_until(struct sim_loop *sim, const bool *flag)
{
    struct sim_world *world = sim->world;
    while (!*flag) {
        if (!world_step(world, UINT64_MAX)) {
            return false;
        }
    }
    return true;
}

/* ---- faults ------------------------------------------------------------------------------------ */

void sim_loop_shift_wall(struct sim_loop *sim, int64_t shift_ms)
{
    sim->wall_shift_ms += shift_ms;
}

void sim_loop_set_drift(struct sim_loop *sim, int32_t ppm)
{
    CHECK(ppm >= -DRIFT_PPM_MAX && ppm <= DRIFT_PPM_MAX);
    sim->base_local_ns = local_at(sim, sim->world->now_ns);
    sim->base_world_ns = sim->world->now_ns;
    sim->drift_ppm = ppm;
    sim->world->firsts[sim->slot] = NOTHING_TO_FIRE;
    first_note(sim);
}

void sim_loop_pause(struct sim_loop *sim, bool paused)
{
    if (paused == sim->paused) {
        return;
    }
    sim->paused = paused;
    if (paused) {
        tasks_set_aside(sim);
    } else {
        for (struct list_link *link; (link = list_take_first(&sim->waiting)) != NULL;) {
            list_append(&sim->world->tasks, link);
        }
    }
    first_note(sim);
}

bool sim_loop_is_paused(const struct sim_loop *sim)
{
    return sim->paused;
}
