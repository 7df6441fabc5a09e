/* test_kms_queue.c - the queue in front of a KMS provider: nothing waits for one that is stuck, every call is answered
 * once, and what comes back late changes nothing. The provider is a fake that blocks until it is let go. */
#include "base/uring.h"
#include "meta/kms.h"
#include "tests/sim/sim_loop.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALL_NS (200 * NS_PER_MS)

struct fake {
    struct kms_provider provider;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool blocks;     /* perform() waits until this is false, */
    unsigned passes; /* or one of these is left */
    bool closed;
    unsigned performed;
    enum status answer;
    const struct key *seen_dek; /* where the worker's DEK was */
    struct key seed;            /* signs with it */
};

static struct fake fake;
static struct uring_loop *uring;
static struct loop *loop;
static struct kms *kms;

static void fake_perform(struct kms_provider *provider, struct kms_call *call)
{
    struct fake *self = CONTAINER_OF(provider, struct fake, provider);
    (void)pthread_mutex_lock(&self->mutex);
    while (self->blocks && self->passes == 0) {
        (void)pthread_cond_wait(&self->changed, &self->mutex);
    }
    self->passes -= self->passes > 0 ? 1 : 0;
    self->performed++;
    self->seen_dek = call->dek;
    call->status = self->answer;
    call->message[0] = '\0';
    if (call->status != STATUS_OK) {
        (void)snprintf(call->message, sizeof(call->message), "the fake says no");
    }
    if (call->operation == KMS_WRAP) {
        memcpy(call->sealed, call->dek->bytes, KEY_BYTES);
        call->sealed_bytes = KEY_BYTES;
    } else if (call->operation == KMS_UNWRAP) {
        memcpy(call->dek->bytes, call->sealed, KEY_BYTES);
    } else if (call->operation == KMS_SIGN) {
        for (uint32_t i = 0; i < call->batch->count; i++) {
            size_t bytes = 0;
            const uint8_t *text = kms_batch_message(call->batch, i, &bytes);
            signature_sign(&self->seed, text, bytes, &call->batch->signatures[i]);
        }
    } else if (call->operation == KMS_CREATE) {
        (void)snprintf(call->cmk, sizeof(call->cmk), "fake:%u", self->performed);
    }
    (void)pthread_mutex_unlock(&self->mutex);
}

static void fake_close(struct kms_provider *provider)
{
    struct fake *self = CONTAINER_OF(provider, struct fake, provider);
    (void)pthread_mutex_lock(&self->mutex);
    self->closed = true;
    (void)pthread_cond_broadcast(&self->changed);
    (void)pthread_mutex_unlock(&self->mutex);
}

static const struct kms_provider_ops fake_ops = {.perform = fake_perform, .close = fake_close};

static void fake_block(bool blocks)
{
    (void)pthread_mutex_lock(&fake.mutex);
    fake.blocks = blocks;
    (void)pthread_cond_broadcast(&fake.changed);
    (void)pthread_mutex_unlock(&fake.mutex);
}

static void fake_let_one_pass(void)
{
    (void)pthread_mutex_lock(&fake.mutex);
    fake.passes = 1;
    (void)pthread_cond_broadcast(&fake.changed);
    (void)pthread_mutex_unlock(&fake.mutex);
}

static void fake_answer(enum status status)
{
    (void)pthread_mutex_lock(&fake.mutex);
    fake.answer = status;
    (void)pthread_mutex_unlock(&fake.mutex);
}

/* A call and how often it was answered. */
struct probe {
    struct kms_call call;
    unsigned answers;
    unsigned order;
};

static unsigned answered;

static void probe_done(struct kms_call *call)
{
    struct probe *probe = CONTAINER_OF(call, struct probe, call);
    probe->answers++;
    answered++;
    probe->order = answered;
}

static void start(struct probe *probe, enum kms_operation operation, struct key *dek)
{
    probe->call = (struct kms_call){.operation = operation, .dek = dek, .done = probe_done};
    if (operation == KMS_UNWRAP) {
        memset(probe->call.sealed, 0x77, KEY_BYTES);
        probe->call.sealed_bytes = KEY_BYTES;
    }
    unsigned before = probe->answers;
    kms_start(kms, &probe->call);
    cr_assert_eq(probe->answers, before, "done never runs inside kms_start()");
}

static void turn(void)
{
    uring_loop_turn(uring, loop_now_ns(loop) + 5 * NS_PER_MS);
}

static void await(const struct probe *probe, unsigned answers)
{
    for (unsigned i = 0; probe->answers < answers && i < 2000; i++) {
        turn();
    }
    cr_assert_eq(probe->answers, answers);
}

static void await_idle(void)
{
    for (unsigned i = 0; !kms_is_idle(kms) && i < 2000; i++) {
        turn();
    }
    cr_assert(kms_is_idle(kms));
}

static void fake_init(void)
{
    fake = (struct fake){.provider = {.ops = &fake_ops, .name = "fake"}};
    cr_assert_eq(pthread_mutex_init(&fake.mutex, NULL), 0);
    cr_assert_eq(pthread_cond_init(&fake.changed, NULL), 0);
}

static void setup(void)
{
    char message[256];
    cr_assert_eq(keys_start_process(), STATUS_OK);
    cr_assert_eq(uring_loop_open(&uring, message, sizeof(message)), STATUS_OK, "%s", message);
    loop = uring_loop_interface(uring);
    fake_init();
    kms = kms_open(loop, &fake.provider, &(struct kms_options){.call_ns = CALL_NS});
    cr_assert_not_null(kms);
}

static void teardown(void)
{
    if (kms != NULL) {
        fake_block(false);
        kms_close(kms);
        cr_assert(fake.closed);
    }
    uring_loop_close(uring);
}

TestSuite(kms_queue, .init = setup, .fini = teardown, .timeout = 60);

Test(kms_queue, answers_in_order_with_copies)
{
    struct probe probes[5] = {0};
    struct key *dek = guarded_take(sizeof(*dek));
    memset(dek, 0x42, sizeof(*dek));
    start(&probes[0], KMS_WRAP, dek);
    for (size_t i = 1; i < ARRAY_LENGTH(probes); i++) {
        start(&probes[i], KMS_CREATE, NULL);
    }
    cr_assert_not(kms_is_idle(kms));
    await(&probes[4], 1);
    for (size_t i = 0; i < ARRAY_LENGTH(probes); i++) {
        cr_assert_eq(probes[i].answers, 1);
        cr_assert_eq(probes[i].order, i + 1);
        cr_assert_eq(probes[i].call.status, STATUS_OK);
    }
    cr_assert_arr_eq(probes[0].call.sealed, dek->bytes, KEY_BYTES);
    cr_assert_str_eq(probes[1].call.cmk, "fake:2");
    memset(dek, 0, sizeof(*dek));
    start(&probes[0], KMS_UNWRAP, dek);
    await(&probes[0], 2);
    cr_assert_eq(dek->bytes[31], 0x77);
    cr_assert_eq(probes[0].call.dek, dek);
    cr_assert_neq(fake.seen_dek, dek, "the worker never sees the caller's memory");
    await_idle();
    cr_assert(kms_health(kms)->available);
    cr_assert_str_eq(kms_provider_name(kms), "fake");
    guarded_release(dek);
}

Test(kms_queue, a_stuck_provider_fails_everything_in_time_and_changes_nothing_later)
{
    struct probe stuck = {0};
    struct probe behind = {0};
    struct probe later = {0};
    struct key *dek = guarded_take(sizeof(*dek));
    fake_block(true);
    uint64_t begun_ns = loop_now_ns(loop);
    start(&stuck, KMS_UNWRAP, dek);
    start(&behind, KMS_CREATE, NULL);
    await(&stuck, 1);
    cr_assert_geq(loop_now_ns(loop), begun_ns + CALL_NS);
    await(&behind, 1);
    cr_assert_eq(stuck.call.status, STATUS_KEY_AWAY);
    cr_assert_eq(behind.call.status, STATUS_KEY_AWAY);
    cr_assert_not_null(strstr(stuck.call.message, "has not answered"), "%s", stuck.call.message);
    cr_assert_not_null(strstr(behind.call.message, "stuck"), "%s", behind.call.message);
    cr_assert_not(kms_health(kms)->available);
    cr_assert_neq(kms_health(kms)->message[0], '\0');
    cr_assert_not(kms_is_idle(kms), "the provider still has the call");

    start(&later, KMS_CHECK, NULL);
    turn();
    cr_assert_eq(later.answers, 1, "it fails at once");
    cr_assert_eq(later.call.status, STATUS_KEY_AWAY);

    memset(&stuck.call, 0xee, sizeof(stuck.call)); /* The owner is done with it. */
    struct kms_call untouched = stuck.call;
    fake_block(false);
    await_idle();
    cr_assert_eq(memcmp(&untouched, &stuck.call, sizeof(untouched)), 0, "the late answer is dropped");
    static const struct key zeros;
    cr_assert_arr_eq(dek->bytes, zeros.bytes, KEY_BYTES);
    cr_assert_eq(stuck.answers, 1);
    cr_assert(kms_health(kms)->available, "but it tells that the provider is back");

    start(&later, KMS_CREATE, NULL);
    await(&later, 2);
    cr_assert_eq(later.call.status, STATUS_OK);
    cr_assert_eq(fake.performed, 2, "the one that was stuck, and this");
    guarded_release(dek);
}

static void start_signing(struct probe *probe, struct kms_batch *batch, const struct public_key *key)
{
    probe->call =
        (struct kms_call){.operation = KMS_SIGN, .number = 1, .signing_key = *key, .batch = batch, .done = probe_done};
    kms_start(kms, &probe->call);
}

Test(kms_queue, signatures_are_handed_out_when_they_verify_and_never_late)
{
    static uint8_t text[] = "onetwo";
    static const struct signature none;
    struct kms_batch batch = {.count = 2, .ends = {3, 6}, .bytes = text};
    struct probe probe = {0};
    struct public_key key;
    signature_public_key(&fake.seed, &key);
    start_signing(&probe, &batch, &key);
    await(&probe, 1);
    cr_assert_eq(probe.call.status, STATUS_OK, "%s", probe.call.message);
    cr_assert(signature_verify(&key, "one", 3, &batch.signatures[0]));
    cr_assert(signature_verify(&key, "two", 3, &batch.signatures[1]));

    memset(batch.signatures, 0, sizeof(batch.signatures));
    fake.seed.bytes[0] ^= 1; /* The provider has come back with another key. */
    start_signing(&probe, &batch, &key);
    await(&probe, 2);
    cr_assert_eq(probe.call.status, STATUS_NOT_FOUND);
    cr_assert_eq(memcmp(&batch.signatures[0], &none, sizeof(none)), 0);
    fake.seed.bytes[0] ^= 1;

    fake_block(true);
    start_signing(&probe, &batch, &key);
    await(&probe, 3);
    cr_assert_eq(probe.call.status, STATUS_KEY_AWAY);
    memset(text, 'x', 6); /* The owner is done with it: what the worker signs is its own copy. */
    fake_block(false);
    await_idle();
    cr_assert_eq(memcmp(&batch.signatures[0], &none, sizeof(none)), 0, "the late answer is dropped");
    memcpy(text, "onetwo", 6);
}

/* The first call is let go in time and the second is not: the third has then waited for too long before the second has
 * had its time. False: this machine was too busy to show it. */
static bool wait_behind_a_slow_call(struct probe probes[3])
{
    fake_block(true);
    for (unsigned i = 0; i < 3; i++) {
        probes[i].answers = 0;
        start(&probes[i], KMS_CREATE, NULL);
    }
    uint64_t begun_ns = loop_now_ns(loop);
    while (loop_now_ns(loop) < begun_ns + CALL_NS / 2) {
        turn();
    }
    fake_let_one_pass();
    await(&probes[0], 1);
    await(&probes[2], 1);
    return probes[0].call.status == STATUS_OK && probes[1].answers == 0;
}

Test(kms_queue, a_call_that_waits_for_too_long_is_given_up_but_the_provider_is_not)
{
    bool shown = false;
    for (unsigned i = 0; i < 20 && !shown; i++) {
        struct probe probes[3] = {0};
        shown = wait_behind_a_slow_call(probes);
        if (shown) {
            cr_assert_eq(probes[2].call.status, STATUS_KEY_AWAY);
            cr_assert_not_null(strstr(probes[2].call.message, "busy"), "%s", probes[2].call.message);
            cr_assert(kms_health(kms)->available);
        }
        await(&probes[1], 1);
        fake_block(false);
        await_idle();
    }
    cr_assert(shown, "never in 20 attempts");
}

Test(kms_queue, tells_since_when_a_provider_is_away)
{
    struct probe probe = {0};
    uint64_t opened_ms = kms_health(kms)->since_ms;
    fake_answer(STATUS_DENIED);
    start(&probe, KMS_CHECK, NULL);
    await(&probe, 1);
    cr_assert_eq(probe.call.status, STATUS_DENIED);
    cr_assert(kms_health(kms)->available, "it has answered");
    fake_answer(STATUS_KEY_AWAY);
    start(&probe, KMS_CHECK, NULL);
    await(&probe, 2);
    cr_assert_not(kms_health(kms)->available);
    cr_assert_str_eq(kms_health(kms)->message, "the fake says no");
    uint64_t away_ms = kms_health(kms)->since_ms;
    cr_assert_geq(away_ms, opened_ms);
    turn();
    start(&probe, KMS_CHECK, NULL);
    await(&probe, 3);
    cr_assert_eq(kms_health(kms)->since_ms, away_ms, "still the same absence");
    fake_answer(STATUS_OK);
    start(&probe, KMS_CHECK, NULL);
    await(&probe, 4);
    cr_assert(kms_health(kms)->available);
    cr_assert_str_empty(kms_health(kms)->message);
}

Test(kms_queue, leaves_a_stuck_provider_behind_when_it_is_closed)
{
    struct probe stuck = {0};
    struct probe behind = {0};
    fake_block(true);
    start(&stuck, KMS_CREATE, NULL);
    await(&stuck, 1);
    start(&behind, KMS_CREATE, NULL);
    kms_close(kms);
    kms = NULL;
    turn();
    cr_assert_eq(behind.answers, 0, "dropped");
    fake_block(false);
    (void)pthread_mutex_lock(&fake.mutex);
    while (!fake.closed) {
        (void)pthread_cond_wait(&fake.changed, &fake.mutex);
    }
    (void)pthread_mutex_unlock(&fake.mutex);
    turn();
    cr_assert_eq(stuck.answers, 1);
}

static void close_kms(struct kms_call *call)
{
    probe_done(call);
    kms_close(kms);
    kms = NULL;
}

Test(kms_queue, may_be_closed_by_the_answer)
{
    struct probe last = {0};
    struct probe dropped = {0};
    last.call = (struct kms_call){.operation = KMS_CHECK, .done = close_kms};
    kms_start(kms, &last.call);
    start(&dropped, KMS_CHECK, NULL);
    await(&last, 1);
    cr_assert(fake.closed);
    for (unsigned i = 0; i < 5; i++) {
        turn();
    }
    cr_assert_eq(dropped.answers, 0);
}

/* ---- without a thread -------------------------------------------------------------------------- */

Test(kms_inline, performs_one_call_per_turn_on_the_loop)
{
    struct sim_loop *sim = sim_loop_open(1);
    struct probe probes[3] = {0};
    cr_assert_eq(keys_start_process(), STATUS_OK);
    fake_init();
    kms = kms_open(sim_loop_interface(sim), &fake.provider, &(struct kms_options){.inline_calls = true});
    cr_assert_not_null(kms);
    for (size_t i = 0; i < ARRAY_LENGTH(probes); i++) {
        start(&probes[i], KMS_CREATE, NULL);
    }
    cr_assert_eq(fake.performed, 0);
    for (unsigned i = 0; i < ARRAY_LENGTH(probes); i++) {
        cr_assert(sim_loop_step(sim));
        cr_assert_eq(fake.performed, i + 1);
        cr_assert_eq(probes[i].answers, 1);
    }
    cr_assert(kms_is_idle(kms));
    fake.answer = STATUS_KEY_AWAY;
    start(&probes[0], KMS_CHECK, NULL);
    sim_loop_run_until_idle(sim);
    cr_assert_eq(probes[0].call.status, STATUS_KEY_AWAY);
    cr_assert_not(kms_health(kms)->available);

    start(&probes[1], KMS_CHECK, NULL); /* Dropped. */
    kms_close(kms);
    cr_assert(fake.closed);
    sim_loop_run_until_idle(sim);
    cr_assert_eq(probes[1].answers, 1);
    sim_loop_close(sim);
}
