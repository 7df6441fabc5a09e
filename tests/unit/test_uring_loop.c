/* test_uring_loop.c - the reactor on a real ring: timers, tasks, posts from other threads, watches, stopping. */
#include "base/uring.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define POSTS_PER_THREAD 50000

static struct uring_loop *reactor;
static struct loop *loop;

static void setup(void)
{
    char message[256] = "";
    cr_assert_eq(uring_loop_open(&reactor, message, sizeof(message)), STATUS_OK, "%s", message);
    loop = uring_loop_interface(reactor);
}

static void teardown(void)
{
    uring_loop_close(reactor);
}

TestSuite(uring_loop, .init = setup, .fini = teardown, .timeout = 60);

struct recorder {
    struct loop_timer timer;
    struct loop_task task;
    int number;
};

static int events[16];
static size_t event_count;

static void record_timer(struct loop_timer *timer)
{
    const struct recorder *recorder = CONTAINER_OF(timer, struct recorder, timer);
    cr_assert_geq(loop_now_ns(loop), timer->deadline_ns);
    events[event_count++] = recorder->number;
}

static void record_task(struct loop_task *task)
{
    events[event_count++] = CONTAINER_OF(task, struct recorder, task)->number;
}

static void stop_from_timer(struct loop_timer *timer)
{
    (void)timer;
    uring_loop_stop(reactor);
}

Test(uring_loop, fires_timers_in_the_order_of_their_deadlines_and_not_early)
{
    struct recorder recorders[5] = {0};
    struct loop_timer stop = {.fire = stop_from_timer};
    static const unsigned delays_ms[] = {12, 3, 9, 6, 15};
    uint64_t start_ns = loop_now_ns(loop);
    for (int i = 0; i < 5; i++) {
        recorders[i].number = i;
        recorders[i].timer.fire = record_timer;
        loop_timer_start(loop, &recorders[i].timer, start_ns + delays_ms[i] * NS_PER_MS);
    }
    loop_timer_stop(loop, &recorders[3].timer);
    loop_timer_start(loop, &recorders[1].timer, start_ns + 10 * NS_PER_MS);
    loop_timer_start(loop, &stop, start_ns + 20 * NS_PER_MS);
    uring_loop_run(reactor);
    int expected[] = {2, 1, 0, 4};
    cr_assert_eq(event_count, 4);
    cr_assert_arr_eq(events, expected, sizeof(expected));
}

Test(uring_loop, runs_deferred_tasks_in_order_and_never_inside_the_call)
{
    struct recorder first = {.number = 1, .task = {.run = record_task}};
    struct recorder second = {.number = 2, .task = {.run = record_task}};
    loop_defer(loop, &first.task);
    loop_defer(loop, &second.task);
    cr_assert_eq(event_count, 0);
    uring_loop_turn(reactor, UINT64_MAX); /* A waiting task keeps it from sleeping. */
    int expected[] = {1, 2};
    cr_assert_eq(event_count, 2);
    cr_assert_arr_eq(events, expected, sizeof(expected));
}

Test(uring_loop, turns_no_longer_than_until_the_deadline)
{
    uint64_t start_ns = loop_now_ns(loop);
    uring_loop_turn(reactor, start_ns + 5 * NS_PER_MS);
    cr_assert_geq(loop_now_ns(loop), start_ns + 5 * NS_PER_MS);
    uring_loop_turn(reactor, 0);
}

/* ---- posting from other threads ---------------------------------------------------------------------- */

struct post {
    struct loop_task task;
    unsigned thread;
    unsigned number;
};

static struct post posts[2][POSTS_PER_THREAD];
static unsigned posts_seen[2];

static void post_arrive(struct loop_task *task)
{
    const struct post *post = CONTAINER_OF(task, struct post, task);
    cr_assert_eq(post->number, posts_seen[post->thread], "posts of one thread must arrive in their order");
    posts_seen[post->thread]++;
    if (posts_seen[0] == POSTS_PER_THREAD && posts_seen[1] == POSTS_PER_THREAD) {
        uring_loop_stop(reactor);
    }
}

static void *post_all(void *argument)
{
    struct post *own = argument;
    for (unsigned i = 0; i < POSTS_PER_THREAD; i++) {
        loop_post(loop, &own[i].task);
    }
    return NULL;
}

Test(uring_loop, runs_a_hundred_thousand_posts_of_two_threads_each_in_its_order)
{
    pthread_t threads[2];
    for (unsigned t = 0; t < 2; t++) {
        for (unsigned i = 0; i < POSTS_PER_THREAD; i++) {
            posts[t][i] = (struct post){.task = {.run = post_arrive}, .thread = t, .number = i};
        }
    }
    for (unsigned t = 0; t < 2; t++) {
        cr_assert_eq(pthread_create(&threads[t], NULL, post_all, posts[t]), 0);
    }
    uring_loop_run(reactor);
    for (unsigned t = 0; t < 2; t++) {
        pthread_join(threads[t], NULL);
        cr_assert_eq(posts_seen[t], POSTS_PER_THREAD);
    }
}

static void stop_from_signal(int number)
{
    (void)number;
    uring_loop_stop(reactor);
}

static void *send_signal(void *argument)
{
    pthread_kill(*(pthread_t *)argument, SIGUSR1);
    return NULL;
}

Test(uring_loop, stops_from_a_signal_handler_while_it_sleeps)
{
    pthread_t self = pthread_self();
    pthread_t thread;
    signal(SIGUSR1, stop_from_signal);
    cr_assert_eq(pthread_create(&thread, NULL, send_signal, &self), 0);
    uring_loop_run(reactor);
    pthread_join(thread, NULL);
}

/* ---- chance, watches ------------------------------------------------------------------------------------ */

Test(uring_loop, draws_bytes_that_differ)
{
    uint8_t first[32] = {0};
    uint8_t second[32] = {0};
    loop_random(loop, first, sizeof(first));
    loop_random(loop, second, sizeof(second));
    cr_assert_arr_neq(first, second, sizeof(first));
    cr_assert_gt(loop_wall_ms(loop), UINT64_C(1600000000000));
}

static unsigned ready_count;

/* Leaves the descriptor readable until the third time. */
static void watch_ready(struct uring_watch *watch)
{
    if (++ready_count == 3) {
        uint64_t value;
        cr_assert_eq(read(watch->descriptor, &value, sizeof(value)), (ssize_t)sizeof(value));
    }
}

Test(uring_loop, watches_a_descriptor_as_long_as_it_is_readable)
{
    struct uring_watch watch = {.ready = watch_ready, .descriptor = eventfd(1, EFD_CLOEXEC)};
    uring_watch_start(reactor, &watch);
    while (ready_count < 3) {
        uring_loop_turn(reactor, UINT64_MAX);
    }
    for (int i = 0; i < 3; i++) {
        uring_loop_turn(reactor, loop_now_ns(loop) + NS_PER_MS);
    }
    cr_assert_eq(ready_count, 3);

    uint64_t one = 1;
    uring_watch_stop(reactor, &watch);
    cr_assert_eq(write(watch.descriptor, &one, sizeof(one)), (ssize_t)sizeof(one));
    for (int i = 0; i < 3; i++) {
        uring_loop_turn(reactor, loop_now_ns(loop) + NS_PER_MS);
    }
    cr_assert_eq(ready_count, 3);
    close(watch.descriptor);
}

/* More than the completion queue may hold: the rest waits for room, and none is forgotten. */
enum { WATCHES = 5000 };

struct counted_watch {
    struct uring_watch watch;
    unsigned ready;
};

static unsigned watches_seen;

static void counted_ready(struct uring_watch *watch)
{
    struct counted_watch *counted = CONTAINER_OF(watch, struct counted_watch, watch);
    watches_seen += counted->ready++ == 0 ? 1 : 0;
}

Test(uring_loop, keeps_more_operations_waiting_than_the_ring_has_room_for)
{
    static struct counted_watch watches[WATCHES];
    int descriptor = eventfd(1, EFD_CLOEXEC);
    for (size_t i = 0; i < WATCHES; i++) {
        watches[i].watch = (struct uring_watch){.ready = counted_ready, .descriptor = descriptor};
        uring_watch_start(reactor, &watches[i].watch);
    }
    while (watches_seen < WATCHES) {
        uring_loop_turn(reactor, UINT64_MAX);
    }
    for (size_t i = 0; i < WATCHES; i++) {
        uring_watch_stop(reactor, &watches[i].watch);
    }
    uring_loop_turn(reactor, 0);
    close(descriptor);
}
