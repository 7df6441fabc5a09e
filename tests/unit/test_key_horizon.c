/* test_key_horizon.c - what a node may say about the age of the keys in its memory. */
#include "node/key_horizon.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

#define THREADS 2
#define ROUNDS  200000u
#define LOOKS   300u /* while a key is held: about as long as a claim takes */

static struct key_horizon horizon;
static struct key_holder one;
static struct key_holder two;

static void setup(void)
{
    key_horizon_init(&horizon);
    key_holder_init(&one, &horizon);
    key_holder_init(&two, &horizon);
}

TestSuite(key_horizon, .init = setup);

Test(key_horizon, is_nothing_until_the_service_was_heard)
{
    struct held_key key = {.held = false};
    cr_assert_eq(key_horizon_since(&horizon), 0);
    key_hold(&one, &key);
    cr_assert_eq(key_horizon_since(&horizon), 0);
}

Test(key_horizon, is_the_newest_index_when_no_key_is_held)
{
    key_horizon_heard(&horizon, 7);
    key_horizon_heard(&horizon, 5);
    cr_assert_eq(key_horizon_since(&horizon), 7);
}

Test(key_horizon, is_held_back_by_the_oldest_key_of_any_reactor)
{
    struct held_key a = {.held = false};
    struct held_key b = {.held = false};
    struct held_key c = {.held = false};
    key_horizon_heard(&horizon, 10);
    key_hold(&one, &a);
    key_horizon_heard(&horizon, 20);
    key_hold(&two, &b);
    key_horizon_heard(&horizon, 30);
    key_hold(&one, &c);
    cr_assert_eq(key_horizon_since(&horizon), 10);
    key_let_go(&one, &a);
    cr_assert_eq(key_horizon_since(&horizon), 20);
    key_let_go(&two, &b);
    cr_assert_eq(key_horizon_since(&horizon), 30);
    key_horizon_heard(&horizon, 40);
    cr_assert_eq(key_horizon_since(&horizon), 30);
    key_let_go(&one, &c);
    key_let_go(&one, &c);
    cr_assert_eq(key_horizon_since(&horizon), 40);
}

Test(key_horizon, counts_a_key_from_when_it_was_asked_for_until_its_answer_says_better)
{
    struct held_key a = {.held = false};
    struct held_key b = {.held = false};
    key_horizon_heard(&horizon, 10);
    key_hold(&one, &a);
    key_hold(&one, &b);
    key_horizon_heard(&horizon, 50);
    cr_assert_eq(key_horizon_since(&horizon), 10);
    key_hold_from(&one, &a, 30);
    cr_assert_eq(key_horizon_since(&horizon), 10);
    key_hold_from(&one, &b, 20);
    cr_assert_eq(key_horizon_since(&horizon), 20);
    key_hold_from(&one, &b, 5);
    key_hold_from(&one, &b, 0);
    cr_assert_eq(key_horizon_since(&horizon), 20, "never older than it was known to be");
    key_let_go(&one, &b);
    cr_assert_eq(key_horizon_since(&horizon), 30);
    key_hold_from(&one, &a, 60);
    key_let_go(&one, &a);
    cr_assert_eq(key_horizon_since(&horizon), 60, "an answer is heard, too");
}

Test(key_horizon, may_be_absent)
{
    struct key_holder alone;
    struct held_key key = {.held = false};
    key_holder_init(&alone, NULL);
    key_hold(&alone, &key);
    key_hold_from(&alone, &key, 3);
    key_let_go(&alone, &key);
}

/* ---- threads ------------------------------------------------------------------------------------- */

static atomic_uint_least64_t journal; /* the service's index */
static atomic_uint_least64_t claimed; /* what this process has said last */
static atomic_bool over;
static atomic_uint violations;

/* A reactor: asks for keys, which come with the index of the journal at some moment between question and answer. */
static void *reactor_run(void *argument)
{
    struct key_holder *holder = argument;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct held_key key = {.held = false};
        key_hold(holder, &key);
        uint64_t answered = atomic_load(&journal);
        /* Whatever has been said until the key is gone must be true of it. */
        bool is_true = atomic_load(&claimed) <= answered;
        /* The journal grows, and another call brings word of it. */
        key_horizon_heard(&horizon, atomic_fetch_add(&journal, 1) + 1);
        key_hold_from(holder, &key, answered);
        is_true = is_true && key_horizon_since(&horizon) <= answered;
        for (unsigned look = 0; look < LOOKS; look++) {
            is_true = is_true && atomic_load(&claimed) <= answered;
        }
        atomic_fetch_add(&violations, is_true ? 0 : 1);
        key_let_go(holder, &key);
        for (unsigned look = 0; look < LOOKS; look++) {
            (void)atomic_load(&claimed); /* Nothing is held for a while: a claim may begin. */
        }
    }
    return NULL;
}

/* The heartbeat: claims. */
static void *agent_run(void *argument)
{
    (void)argument;
    while (!atomic_load(&over)) {
        atomic_store(&claimed, key_horizon_since(&horizon));
    }
    return NULL;
}

Test(key_horizon, never_claims_too_much_while_keys_come_and_go_on_other_threads)
{
    /* Holders that hold nothing: looking at all of them takes long enough for the others to get in between. */
    static struct key_holder others[KEY_HOLDERS_MAX - 2];
    pthread_t threads[THREADS];
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        key_holder_init(&others[i], &horizon);
    }
    cr_assert_eq(pthread_create(&threads[0], NULL, agent_run, NULL), 0);
    cr_assert_eq(pthread_create(&threads[1], NULL, reactor_run, &one), 0);
    cr_assert_eq(pthread_join(threads[1], NULL), 0);
    atomic_store(&over, true);
    cr_assert_eq(pthread_join(threads[0], NULL), 0);
    cr_assert_eq(atomic_load(&violations), 0);
}
