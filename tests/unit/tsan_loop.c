/* tsan_loop.c - three reactors that post to each other as fast as they can: a plain program, so that it can run under
 * the thread sanitizer, which the test framework's forked processes do not bear.
 *
 * Each message carries a payload that every reactor writes to without locks; that is right only if loop_post() hands
 * over all of it. Exits 0 when every message has made all its hops. */
#include "base/uring.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define REACTORS      3u
#define MESSAGES      64u
#define HOPS          3000u
#define PAYLOAD_WORDS 8u

struct message {
    struct loop_task task;
    unsigned at; /* the reactor that has it */
    unsigned hops;
    uint64_t payload[PAYLOAD_WORDS];
};

struct reactor {
    pthread_t thread;
    unsigned number;
    struct uring_loop *uring;
    uint64_t messages_seen;
};

static struct reactor reactors[REACTORS];
static struct message messages[MESSAGES];
static atomic_uint messages_finished;
static pthread_barrier_t all_open;

static void message_arrive(struct loop_task *task)
{
    struct message *message = CONTAINER_OF(task, struct message, task);
    reactors[message->at].messages_seen++;
    for (unsigned i = 0; i < PAYLOAD_WORDS; i++) {
        CHECK(message->payload[i] == message->hops + i);
        message->payload[i]++;
    }
    message->hops++;
    if (message->hops == HOPS) {
        if (atomic_fetch_add(&messages_finished, 1) + 1 == MESSAGES) {
            for (unsigned i = 0; i < REACTORS; i++) {
                uring_loop_stop(reactors[i].uring);
            }
        }
        return;
    }
    message->at = (message->at + 1 + message->hops % 2) % REACTORS;
    loop_post(uring_loop_interface(reactors[message->at].uring), &message->task);
}

static void *reactor_run(void *argument)
{
    struct reactor *reactor = argument;
    char text[256];
    if (uring_loop_open(&reactor->uring, text, sizeof(text)) != STATUS_OK) {
        fprintf(stderr, "%s\n", text);
        UNREACHABLE();
    }
    pthread_barrier_wait(&all_open);
    for (unsigned i = reactor->number; i < MESSAGES; i += REACTORS) {
        unsigned target = (i + 1) % REACTORS;
        messages[i].task.run = message_arrive;
        messages[i].at = target;
        for (unsigned word = 0; word < PAYLOAD_WORDS; word++) {
            messages[i].payload[word] = word;
        }
        loop_post(uring_loop_interface(reactors[target].uring), &messages[i].task);
    }
    uring_loop_run(reactor->uring);
    pthread_barrier_wait(&all_open); /* Nobody closes while another may still ring its doorbell. */
    uring_loop_close(reactor->uring);
    return NULL;
}

int main(void)
{
    CHECK(pthread_barrier_init(&all_open, NULL, REACTORS) == 0);
    for (unsigned i = 0; i < REACTORS; i++) {
        reactors[i].number = i;
        CHECK(pthread_create(&reactors[i].thread, NULL, reactor_run, &reactors[i]) == 0);
    }
    uint64_t seen = 0;
    for (unsigned i = 0; i < REACTORS; i++) {
        CHECK(pthread_join(reactors[i].thread, NULL) == 0);
        seen += reactors[i].messages_seen;
    }
    CHECK(seen == (uint64_t)MESSAGES * HOPS);
    printf("%llu messages between %u reactors\n", (unsigned long long)seen, REACTORS);
    return 0;
}
