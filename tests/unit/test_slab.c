/* test_slab.c - slabs come from one arena, wait in order, and are wiped when they were dirty. */
#include "base/slab.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

/* ---- a loop that only knows deferred tasks, run by hand ----------------------------------------- */

static struct list tasks;

static void loop_take_task(struct loop *loop, struct loop_task *task)
{
    (void)loop;
    list_append(&tasks, &task->link);
}

static const struct loop_ops ops = {.defer = loop_take_task};
static struct loop loop = {.ops = &ops};

/* Run what waits now; what it defers waits for the next call. Returns how many ran. */
static int run_tasks(void)
{
    struct list turn;
    int count = 0;
    list_init(&turn);
    while (!list_is_empty(&tasks)) {
        list_append(&turn, list_take_first(&tasks));
    }
    while (!list_is_empty(&turn)) {
        struct loop_task *task = LIST_ENTRY(list_take_first(&turn), struct loop_task, link);
        task->run(task);
        count++;
    }
    return count;
}

/* ---- probes ------------------------------------------------------------------------------------ */

struct probe {
    struct slab_waiter waiter;
    struct slab *slab;
    int order;
};

static struct slab_pool *pool;
static struct probe probes[8];
static int served;

static void probe_ready(struct slab_waiter *waiter, struct slab *slab)
{
    struct probe *probe = CONTAINER_OF(waiter, struct probe, waiter);
    cr_assert_null(probe->slab);
    probe->slab = slab;
    probe->order = ++served;
}

static void setup(void)
{
    list_init(&tasks);
    memset(probes, 0, sizeof(probes));
    served = 0;
    pool = NULL;
}

static void open_pool(uint32_t small_count, uint32_t large_count)
{
    pool = slab_pool_open(&loop, small_count, large_count);
    cr_assert_not_null(pool);
}

static void wait_for(size_t probe, uint32_t bytes)
{
    slab_wait(pool, &probes[probe].waiter, bytes, probe_ready);
}

TestSuite(slab, .init = setup);

/* ---- take and release -------------------------------------------------------------------------- */

Test(slab, lies_aligned_inside_the_arena_and_apart_from_the_others)
{
    open_pool(3, 2);
    uint8_t *start;
    size_t bytes;
    slab_pool_arena(pool, &start, &bytes);
    cr_assert_eq(bytes, 3 * (size_t)SLAB_SMALL_BYTES + 2 * (size_t)SLAB_LARGE_BYTES);
    struct slab *slabs[5];
    for (size_t i = 0; i < 5; i++) {
        slabs[i] = slab_take(pool, i < 3 ? 1 : SLAB_LARGE_BYTES);
        cr_assert_not_null(slabs[i]);
        cr_assert_eq((uintptr_t)slabs[i]->data % BLOCK_BYTES, 0);
        cr_assert(slabs[i]->data >= start && slabs[i]->data + slabs[i]->capacity <= start + bytes);
        memset(slabs[i]->data, (int)i + 1, slabs[i]->capacity);
    }
    for (size_t i = 0; i < 5; i++) {
        cr_assert_eq(slabs[i]->data[0], i + 1);
        cr_assert_eq(slabs[i]->data[slabs[i]->capacity - 1], i + 1);
    }
    cr_assert_eq(slab_pool_in_use(pool), 5);
    cr_assert_null(slab_take(pool, 1));
    cr_assert_null(slab_take(pool, SLAB_LARGE_BYTES));
    for (size_t i = 0; i < 5; i++) {
        slab_release(slabs[i]);
    }
    cr_assert_eq(slab_pool_in_use(pool), 0);
    slab_pool_close(pool);
}

Test(slab, size_follows_the_request)
{
    open_pool(1, 1);
    struct slab *small = slab_take(pool, SLAB_SMALL_BYTES);
    cr_assert_eq(small->capacity, SLAB_SMALL_BYTES);
    slab_release(small);
    struct slab *large = slab_take(pool, SLAB_SMALL_BYTES + 1);
    cr_assert_eq(large->capacity, SLAB_LARGE_BYTES);
    slab_release(large);
    slab_pool_close(pool);
}

Test(slab, a_small_request_takes_a_large_slab_when_that_is_all_there_is)
{
    open_pool(1, 1);
    struct slab *first = slab_take(pool, 1);
    struct slab *second = slab_take(pool, 1);
    cr_assert_eq(first->capacity, SLAB_SMALL_BYTES);
    cr_assert_eq(second->capacity, SLAB_LARGE_BYTES);
    slab_release(first);
    slab_release(second);
    slab_pool_close(pool);
}

Test(slab, a_held_slab_stays_out_until_the_last_release)
{
    open_pool(1, 0);
    struct slab *slab = slab_take(pool, 1);
    slab_hold(slab);
    slab_release(slab);
    cr_assert_eq(slab_pool_in_use(pool), 1);
    cr_assert_null(slab_take(pool, 1));
    slab_release(slab);
    cr_assert_eq(slab_pool_in_use(pool), 0);
    slab_pool_close(pool);
}

/* ---- wiping ------------------------------------------------------------------------------------ */

Test(slab, dirty_bytes_are_wiped_on_the_last_release_only)
{
    open_pool(1, 0);
    struct slab *slab = slab_take(pool, 1);
    memset(slab->data, 0x5a, slab->capacity);
    slab->dirty_bytes = 1000;
    slab_hold(slab);
    slab_release(slab);
    cr_assert_eq(slab->data[0], 0x5a);
    cr_assert_eq(slab->dirty_bytes, 1000);
    slab_release(slab);
    for (size_t i = 0; i < 1000; i++) {
        cr_assert_eq(slab->data[i], 0);
    }
    cr_assert_eq(slab->data[1000], 0x5a);
    cr_assert_eq(slab->dirty_bytes, 0);
    slab_pool_close(pool);
}

Test(slab, a_slab_handed_on_to_a_waiter_is_wiped_too)
{
    open_pool(1, 0);
    struct slab *slab = slab_take(pool, 1);
    memset(slab->data, 0x5a, slab->capacity);
    slab->dirty_bytes = slab->capacity;
    wait_for(0, 1);
    slab_release(slab);
    run_tasks();
    cr_assert_eq(probes[0].slab, slab);
    for (size_t i = 0; i < slab->capacity; i++) {
        cr_assert_eq(slab->data[i], 0);
    }
    slab_release(slab);
    slab_pool_close(pool);
}

/* ---- waiting ----------------------------------------------------------------------------------- */

Test(slab, waiters_are_served_in_order_and_never_inside_a_call)
{
    open_pool(1, 0);
    struct slab *slab = slab_take(pool, 1);
    wait_for(0, 1);
    wait_for(1, 1);
    wait_for(2, 1);
    cr_assert_eq(run_tasks(), 0, "nothing to hand out, nothing to do");
    for (size_t i = 0; i < 3; i++) {
        slab_release(slab);
        cr_assert_null(probes[i].slab);
        run_tasks();
        cr_assert_eq(probes[i].order, (int)i + 1);
        slab = probes[i].slab;
        cr_assert_eq(slab->references, 1);
    }
    slab_release(slab);
    cr_assert_eq(slab_pool_in_use(pool), 0);
    slab_pool_close(pool);
}

Test(slab, waiting_with_a_free_slab_is_served_later)
{
    open_pool(1, 0);
    wait_for(0, 1);
    cr_assert_null(probes[0].slab);
    run_tasks();
    cr_assert_not_null(probes[0].slab);
    slab_release(probes[0].slab);
    slab_pool_close(pool);
}

Test(slab, nobody_passes_the_line)
{
    open_pool(1, 0);
    struct slab *slab = slab_take(pool, 1);
    wait_for(0, 1);
    slab_release(slab);
    cr_assert_null(slab_take(pool, 1), "the free slab belongs to the line");
    run_tasks();
    cr_assert_eq(probes[0].slab, slab);
    slab_release(slab);
    cr_assert_eq(slab_take(pool, 1), slab);
    slab_release(slab);
    slab_pool_close(pool);
}

Test(slab, a_large_slab_goes_to_the_line_for_large_ones_first)
{
    open_pool(1, 1);
    struct slab *small = slab_take(pool, 1);
    struct slab *large = slab_take(pool, SLAB_LARGE_BYTES);
    wait_for(0, 1);
    wait_for(1, SLAB_LARGE_BYTES);
    slab_release(large);
    run_tasks();
    cr_assert_null(probes[0].slab);
    cr_assert_eq(probes[1].slab, large);
    slab_release(large);
    run_tasks();
    cr_assert_eq(probes[0].slab, large, "nobody waits for it any more");
    slab_release(large);
    slab_release(small);
    slab_pool_close(pool);
}

Test(slab, a_small_slab_never_serves_a_large_request)
{
    open_pool(2, 1);
    struct slab *large = slab_take(pool, SLAB_LARGE_BYTES);
    wait_for(0, SLAB_LARGE_BYTES);
    struct slab *small = slab_take(pool, 1);
    cr_assert_not_null(small, "the line for large ones does not hold up small ones");
    slab_release(small);
    run_tasks();
    cr_assert_null(probes[0].slab);
    slab_release(large);
    run_tasks();
    cr_assert_eq(probes[0].slab, large);
    slab_release(large);
    slab_pool_close(pool);
}

Test(slab, who_leaves_the_line_is_not_served)
{
    open_pool(1, 0);
    struct slab *slab = slab_take(pool, 1);
    wait_for(0, 1);
    wait_for(1, 1);
    slab_release(slab);
    slab_wait_cancel(pool, &probes[0].waiter);
    run_tasks();
    cr_assert_null(probes[0].slab);
    cr_assert_eq(probes[1].slab, slab);
    slab_wait_cancel(pool, &probes[1].waiter);
    slab_release(slab);
    slab_pool_close(pool);
}

Test(slab, leaving_the_line_lets_small_ones_use_large_slabs)
{
    open_pool(1, 1);
    struct slab *small = slab_take(pool, 1);
    struct slab *large = slab_take(pool, SLAB_LARGE_BYTES);
    wait_for(0, SLAB_LARGE_BYTES);
    wait_for(1, 1);
    slab_release(large);
    slab_wait_cancel(pool, &probes[0].waiter);
    run_tasks();
    cr_assert_eq(probes[1].slab, large);
    slab_release(large);
    slab_release(small);
    slab_pool_close(pool);
}

static int rounds_left;

static void greedy_ready(struct slab_waiter *waiter, struct slab *slab)
{
    slab_release(slab);
    if (rounds_left-- > 0) {
        slab_wait(pool, waiter, 1, greedy_ready);
    }
}

Test(slab, who_waits_again_from_inside_leaves_the_loop_its_turn)
{
    open_pool(2, 0);
    struct slab_waiter greedy = {0};
    rounds_left = 100;
    slab_wait(pool, &greedy, 1, greedy_ready);
    int turns = 0;
    while (run_tasks() > 0) {
        turns++;
    }
    cr_assert_lt(rounds_left, 0);
    cr_assert_geq(turns, 50);
    slab_pool_close(pool);
}

Test(slab, closing_with_a_delivery_still_deferred_is_safe)
{
    open_pool(1, 0);
    wait_for(0, 1);
    slab_wait_cancel(pool, &probes[0].waiter);
    slab_pool_close(pool);
    cr_assert_eq(run_tasks(), 1);
    cr_assert_null(probes[0].slab);
}

Test(slab, nothing_leaks_under_random_use)
{
    open_pool(3, 2);
    unsigned seed = 11;
    for (int step = 0; step < 20000; step++) {
        seed = seed * 1103515245u + 12345u;
        struct probe *probe = &probes[seed >> 16 & 7];
        uint32_t bytes = seed >> 20 & 1 ? 1 : SLAB_LARGE_BYTES;
        if (probe->slab != NULL) {
            probe->slab->dirty_bytes = seed >> 24;
            slab_release(probe->slab);
            probe->slab = NULL;
        } else if (list_is_linked(&probe->waiter.link)) {
            if (seed >> 28 == 0) {
                slab_wait_cancel(pool, &probe->waiter);
            }
        } else {
            probe->slab = slab_take(pool, bytes);
            if (probe->slab == NULL) {
                slab_wait(pool, &probe->waiter, bytes, probe_ready);
            }
        }
        if (seed >> 27 & 1) {
            run_tasks();
        }
        cr_assert_leq(slab_pool_in_use(pool), 5);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(probes); i++) {
        slab_wait_cancel(pool, &probes[i].waiter);
        if (probes[i].slab != NULL) {
            slab_release(probes[i].slab);
        }
    }
    cr_assert_eq(slab_pool_in_use(pool), 0);
    slab_pool_close(pool);
    run_tasks();
}

/* ---- misuse ------------------------------------------------------------------------------------ */

Test(slab, releasing_too_often_is_a_bug, .signal = SIGABRT)
{
    open_pool(1, 0);
    struct slab *slab = slab_take(pool, 1);
    slab_release(slab);
    slab_release(slab);
}

Test(slab, closing_with_a_slab_out_is_a_bug, .signal = SIGABRT)
{
    open_pool(1, 0);
    cr_assert_not_null(slab_take(pool, 1));
    slab_pool_close(pool);
}

Test(slab, waiting_for_a_size_that_can_never_come_is_a_bug, .signal = SIGABRT)
{
    open_pool(1, 0);
    wait_for(0, SLAB_LARGE_BYTES);
}
