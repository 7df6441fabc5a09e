/* tsan_kms.c - a loop and its KMS worker passing calls back and forth, with a provider that is sometimes too slow: a
 * plain program, so that it can run under the thread sanitizer, which the test framework's forked processes do not
 * bear.
 *
 * Every answer that came in time must be that of its own call. Exits 0 when enough calls were. */
#include "base/uring.h"
#include "meta/kms.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CALLS   2000u
#define WINDOW  8u
#define CALL_MS 4u

/* Half of them unwrap, the others sign. */
struct slot {
    struct kms_call call;
    struct key *dek;
    struct kms_batch batch;
    uint8_t message;
    bool signs;
    uint8_t expected;
};

struct slow_provider {
    struct kms_provider base;
    unsigned performed;
};

static struct key seed = {{1, 2, 3}}; /* No secret. */
static struct public_key public_key;
static struct uring_loop *uring;
static struct kms *kms;
static struct slot slots[WINDOW];
static unsigned started;
static unsigned in_time;
static unsigned late;
static unsigned active;

static void provider_perform(struct kms_provider *base, struct kms_call *call)
{
    struct slow_provider *provider = CONTAINER_OF(base, struct slow_provider, base);
    provider->performed++;
    if (provider->performed % 400 == 0) {
        (void)usleep(3 * CALL_MS * 1000);
    }
    if (call->operation == KMS_SIGN) {
        size_t bytes = 0;
        const uint8_t *text = kms_batch_message(call->batch, 0, &bytes);
        signature_sign(&seed, text, bytes, &call->batch->signatures[0]);
    } else {
        memset(call->dek->bytes, call->sealed[0], KEY_BYTES);
    }
    call->status = STATUS_OK;
    call->message[0] = '\0';
}

static void provider_close(struct kms_provider *base)
{
    (void)base;
}

static void slot_start(struct slot *slot);

static void slot_done(struct kms_call *call)
{
    struct slot *slot = CONTAINER_OF(call, struct slot, call);
    if (call->status == STATUS_OK && slot->signs) {
        CHECK(signature_verify(&public_key, &slot->expected, 1, &slot->batch.signatures[0]));
        in_time++;
    } else if (call->status == STATUS_OK) {
        CHECK(slot->dek->bytes[0] == slot->expected);
        CHECK(slot->dek->bytes[KEY_BYTES - 1] == slot->expected);
        in_time++;
    } else {
        CHECK(call->status == STATUS_KEY_AWAY);
        late++;
    }
    slot->message = 0;
    wipe_memory(slot->dek, sizeof(*slot->dek)); /* A late writer would be a race. */
    if (in_time < CALLS) {
        slot_start(slot);
    } else {
        active--;
        if (active == 0) {
            uring_loop_stop(uring);
        }
    }
}

static void slot_start(struct slot *slot)
{
    slot->expected = (uint8_t)started;
    slot->call = (struct kms_call){.operation = KMS_UNWRAP, .dek = slot->dek, .sealed_bytes = 1, .done = slot_done};
    slot->call.sealed[0] = slot->expected;
    if (slot->signs) {
        slot->message = slot->expected;
        slot->batch = (struct kms_batch){.count = 1, .ends = {1}, .bytes = &slot->message};
        slot->call.operation = KMS_SIGN;
        slot->call.signing_key = public_key;
        slot->call.batch = &slot->batch;
    }
    started++;
    kms_start(kms, &slot->call);
}

int main(void)
{
    static const struct kms_provider_ops ops = {.perform = provider_perform, .close = provider_close};
    static struct slow_provider provider = {.base = {.ops = &ops, .name = "slow"}};
    char message[256];
    CHECK(keys_start_process() == STATUS_OK);
    signature_public_key(&seed, &public_key);
    if (uring_loop_open(&uring, message, sizeof(message)) != STATUS_OK) {
        fprintf(stderr, "%s\n", message);
        return 1;
    }
    kms = kms_open(uring_loop_interface(uring), &provider.base, &(struct kms_options){.call_ns = CALL_MS * NS_PER_MS});
    CHECK(kms != NULL);
    for (unsigned i = 0; i < WINDOW; i++) {
        slots[i].dek = guarded_take(sizeof(struct key));
        CHECK(slots[i].dek != NULL);
        slots[i].signs = i % 2 != 0;
        active++;
        slot_start(&slots[i]);
    }
    uring_loop_run(uring);
    while (!kms_is_idle(kms)) {
        uring_loop_turn(uring, loop_now_ns(uring_loop_interface(uring)) + NS_PER_MS);
    }
    kms_close(kms);
    uring_loop_close(uring);
    for (unsigned i = 0; i < WINDOW; i++) {
        guarded_release(slots[i].dek);
    }
    CHECK(late > 0);
    printf("%u calls in time, %u given up, %u performed\n", in_time, late, provider.performed);
    return 0;
}
