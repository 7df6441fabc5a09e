/* kms.c - the queue in front of a KMS provider, and the thread that calls it.
 *
 * One call at a time is with the worker. `busy` and `current` tell the loop's side how it stands:
 *
 *   busy  current
 *   no    NULL     nothing is under way
 *   yes   a call   the worker performs its copy; the deadline is armed
 *   yes   NULL     that call was answered when its time was up: the provider is stuck, all others fail at once
 *
 * Each turn of the loop begins or fails one call, and `done` is the last thing it does: it may close the kms.
 * Memory is counted by reference: the owner, the worker, and each task that the loop has in its queue hold one. So a
 * worker that comes back long after kms_close() finds everything in place, and the last to leave frees it. */
#include "meta/kms.h"

#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct kms {
    struct loop *loop;
    struct kms_provider *provider;
    const char *provider_name; /* outlives the provider, which the worker closes */
    struct kms_options options;
    struct kms_health health;
    struct list waiting; /* calls that nobody has begun, the oldest first */
    struct kms_call *current;
    bool busy;
    uint64_t begun_ns; /* since when the worker has, or could have had, `current` */
    uint64_t freed_ns; /* when it came back from the call before */
    struct loop_timer deadline;
    struct loop_task turn;
    bool turn_is_queued;
    bool closed;

    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    /* Under the mutex. The copy belongs to the worker while `performing`, else to the loop thread. */
    bool performing;
    bool leave;
    unsigned references;
    struct loop_task performed;
    struct kms_call copy;
    struct key *copy_dek; /* guarded */
    struct kms_batch copy_batch;
};

static const char *operation_name(enum kms_operation operation)
{
    switch (operation) {
    case KMS_CREATE:
        return "create";
    case KMS_IMPORT:
        return "import";
    case KMS_TRANSPORT:
        return "transport";
    case KMS_WRAP:
        return "wrap";
    case KMS_UNWRAP:
        return "unwrap";
    case KMS_DESTROY:
        return "destroy";
    case KMS_CHECK:
        return "check";
    case KMS_SIGNING_KEY:
        return "signing-key";
    case KMS_SIGN:
        return "sign";
    }
    UNREACHABLE();
}

/* ---- signing ----------------------------------------------------------------------------------- */

const uint8_t *kms_batch_message(const struct kms_batch *batch, uint32_t index, size_t *bytes)
{
    uint32_t start = index == 0 ? 0 : batch->ends[index - 1];
    CHECK(index < batch->count);
    *bytes = batch->ends[index] - start;
    return batch->bytes + start;
}

static bool batch_is_valid(const struct kms_batch *batch)
{
    uint32_t end = 0;
    bool valid = batch != NULL && batch->count > 0 && batch->count <= KMS_SIGN_MAX;
    for (uint32_t i = 0; valid && i < batch->count; i++) {
        valid = batch->ends[i] >= end && batch->ends[i] <= KMS_SIGN_BYTES_MAX;
        end = batch->ends[i];
    }
    return valid;
}

static bool batch_verifies(const struct kms_call *call)
{
    for (uint32_t i = 0; i < call->batch->count; i++) {
        size_t bytes = 0;
        const uint8_t *message = kms_batch_message(call->batch, i, &bytes);
        if (!signature_verify(&call->signing_key, message, bytes, &call->batch->signatures[i])) {
            return false;
        }
    }
    return true;
}

void kms_perform(struct kms_provider *provider, struct kms_call *call)
{
    provider->ops->perform(provider, call);
    if (call->operation == KMS_SIGN && call->status == STATUS_OK && !batch_verifies(call)) {
        call->status = STATUS_NOT_FOUND;
        (void)snprintf(
            call->message, sizeof(call->message),
            "the KMS provider %s has another signing key %u than this cluster: put back the key file or token "
            "that it began with",
            provider->name, call->number);
    }
}

static bool operation_has_dek(enum kms_operation operation)
{
    return operation == KMS_WRAP || operation == KMS_UNWRAP;
}

static void kms_hold(struct kms *kms)
{
    (void)pthread_mutex_lock(&kms->mutex);
    kms->references++;
    (void)pthread_mutex_unlock(&kms->mutex);
}

static void kms_drop(struct kms *kms)
{
    (void)pthread_mutex_lock(&kms->mutex);
    kms->references--;
    bool last = kms->references == 0;
    (void)pthread_mutex_unlock(&kms->mutex);
    if (last) {
        guarded_release(kms->copy_dek);
        free(kms->copy_batch.bytes);
        (void)pthread_cond_destroy(&kms->changed);
        (void)pthread_mutex_destroy(&kms->mutex);
        free(kms);
    }
}

/* ---- health ------------------------------------------------------------------------------------ */

static void health_note(struct kms *kms, bool available, const char *message)
{
    struct kms_health *health = &kms->health;
    (void)snprintf(health->message, sizeof(health->message), "%s", available ? "" : message);
    if (available == health->available) {
        return;
    }
    uint64_t now_ms = loop_wall_ms(kms->loop);
    if (available) {
        log_event(LOG_INFO, "kms_back", "provider=%s away_ms=%llu", kms->provider_name,
                  (unsigned long long)(now_ms > health->since_ms ? now_ms - health->since_ms : 0));
    } else {
        log_event(LOG_WARNING, "kms_away", "provider=%s reason=%s", kms->provider_name, message);
    }
    health->available = available;
    health->since_ms = now_ms;
}

/* ---- the worker -------------------------------------------------------------------------------- */

static void *worker_run(void *argument)
{
    struct kms *kms = argument;
    (void)pthread_mutex_lock(&kms->mutex);
    while (!kms->leave) {
        if (!kms->performing) {
            (void)pthread_cond_wait(&kms->changed, &kms->mutex);
            continue;
        }
        (void)pthread_mutex_unlock(&kms->mutex);
        kms_perform(kms->provider, &kms->copy);
        (void)pthread_mutex_lock(&kms->mutex);
        kms->performing = false;
        (void)pthread_cond_signal(&kms->changed); /* kms_close() may be waiting for it. */
        if (!kms->leave) {
            kms->references++; /* The task's. */
            loop_post(kms->loop, &kms->performed);
        }
    }
    kms->performing = false; /* A call that it has not begun is dropped. */
    (void)pthread_cond_signal(&kms->changed);
    (void)pthread_mutex_unlock(&kms->mutex);
    kms->provider->ops->close(kms->provider);
    kms_drop(kms);
    return NULL;
}

/* Signals are for the loop's thread. */
static bool worker_start(struct kms *kms)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    kms->references = 2; /* The owner's and the worker's. */
    bool started = pthread_create(&kms->thread, NULL, worker_run, kms) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!started) {
        kms->references = 1;
    }
    return started;
}

/* ---- turns of the loop ------------------------------------------------------------------------- */

static void turn_queue(struct kms *kms)
{
    if (!kms->turn_is_queued && !kms->closed) {
        kms->turn_is_queued = true;
        kms_hold(kms);
        loop_defer(kms->loop, &kms->turn);
    }
}

/* Arm the deadline for what is due first: the call that the worker has, or the one that has waited for longest. */
static void deadline_set(struct kms *kms)
{
    struct list_link *first = list_first(&kms->waiting);
    if (kms->current == NULL || kms->closed) {
        loop_timer_stop(kms->loop, &kms->deadline);
        return;
    }
    uint64_t since_ns = kms->begun_ns;
    if (first != NULL) {
        const struct kms_call *oldest = LIST_ENTRY(first, struct kms_call, link);
        since_ns = oldest->started_ns < since_ns ? oldest->started_ns : since_ns;
    }
    loop_timer_start(kms->loop, &kms->deadline, since_ns + kms->options.call_ns);
}

/* The last use of `kms` by whoever calls this. */
static void call_answer(struct kms *kms, struct kms_call *call)
{
    if (!list_is_empty(&kms->waiting)) {
        turn_queue(kms);
    }
    deadline_set(kms);
    CHECK(call->status != STATUS_OK || call->message[0] == '\0');
    call->done(call);
}

static void call_give_up(struct kms *kms, struct kms_call *call, const char *why)
{
    call->status = STATUS_KEY_AWAY;
    (void)snprintf(call->message, sizeof(call->message), "the KMS provider %s %s %llu ms", kms->provider_name, why,
                   (unsigned long long)(kms->options.call_ns / NS_PER_MS));
    call_answer(kms, call);
}

/* Give the worker a copy of `call`: the inputs only, the results are to be its own. */
static void call_begin(struct kms *kms, struct kms_call *call)
{
    kms->current = call;
    kms->busy = true;
    kms->begun_ns = call->started_ns > kms->freed_ns ? call->started_ns : kms->freed_ns;
    (void)pthread_mutex_lock(&kms->mutex);
    CHECK(!kms->performing);
    kms->copy = *call;
    kms->copy.link = (struct list_link){0};
    kms->copy.done = NULL;
    kms->copy.dek = operation_has_dek(call->operation) ? kms->copy_dek : NULL;
    if (call->operation == KMS_WRAP) {
        *kms->copy_dek = *call->dek;
    }
    kms->copy.batch = NULL;
    if (call->operation == KMS_SIGN) {
        kms->copy.batch = &kms->copy_batch;
        kms->copy_batch.count = call->batch->count;
        memcpy(kms->copy_batch.ends, call->batch->ends, sizeof(call->batch->ends));
        memcpy(kms->copy_batch.bytes, call->batch->bytes, call->batch->ends[call->batch->count - 1]);
    }
    kms->performing = true;
    (void)pthread_cond_signal(&kms->changed);
    (void)pthread_mutex_unlock(&kms->mutex);
    deadline_set(kms);
}

static void call_perform_inline(struct kms *kms, struct kms_call *call)
{
    kms_perform(kms->provider, call);
    health_note(kms, call->status != STATUS_KEY_AWAY, call->message);
    call_answer(kms, call);
}

static void turn_run(struct loop_task *task)
{
    struct kms *kms = CONTAINER_OF(task, struct kms, turn);
    kms->turn_is_queued = false;
    bool waits_for_worker = kms->busy && kms->current != NULL;
    if (!kms->closed && !waits_for_worker && !list_is_empty(&kms->waiting)) {
        struct kms_call *call = LIST_ENTRY(list_take_first(&kms->waiting), struct kms_call, link);
        if (kms->options.inline_calls) {
            call_perform_inline(kms, call);
        } else if (kms->busy) {
            call_give_up(kms, call, "is stuck in an earlier call for more than");
        } else {
            call_begin(kms, call);
        }
    }
    kms_drop(kms);
}

/* Take the results out of the worker's copy. */
static void call_take_results(struct kms *kms, struct kms_call *call)
{
    const struct kms_call *copy = &kms->copy;
    memcpy(call->cmk, copy->cmk, sizeof(call->cmk));
    memcpy(call->sealed, copy->sealed, sizeof(call->sealed));
    call->sealed_bytes = copy->sealed_bytes;
    memcpy(call->public_key, copy->public_key, sizeof(call->public_key));
    memcpy(call->algorithm, copy->algorithm, sizeof(call->algorithm));
    memcpy(call->message, copy->message, sizeof(call->message));
    call->signing_key = copy->signing_key;
    call->status = copy->status;
    if (call->operation == KMS_SIGN && call->status == STATUS_OK) {
        memcpy(call->batch->signatures, kms->copy_batch.signatures, sizeof(call->batch->signatures));
    }
    if (call->operation == KMS_UNWRAP && call->status == STATUS_OK) {
        *call->dek = *kms->copy_dek;
    }
}

static void performed_run(struct loop_task *task)
{
    struct kms *kms = CONTAINER_OF(task, struct kms, performed);
    struct kms_call *call = kms->current;
    kms->current = NULL;
    kms->busy = false;
    kms->freed_ns = loop_now_ns(kms->loop);
    if (!kms->closed) {
        health_note(kms, kms->copy.status != STATUS_KEY_AWAY, kms->copy.message);
    }
    if (call != NULL) {
        call_take_results(kms, call);
    } else {
        log_event(LOG_WARNING, "kms_answer_dropped", "provider=%s operation=%s status=%s cmk=%s", kms->provider_name,
                  operation_name(kms->copy.operation), status_name(kms->copy.status), kms->copy.cmk);
    }
    wipe_memory(kms->copy_dek, sizeof(*kms->copy_dek));
    if (call != NULL && !kms->closed) {
        call_answer(kms, call);
    } else if (!list_is_empty(&kms->waiting)) {
        turn_queue(kms);
    }
    kms_drop(kms);
}

static void deadline_fire(struct loop_timer *timer)
{
    struct kms *kms = CONTAINER_OF(timer, struct kms, deadline);
    uint64_t now_ns = loop_now_ns(kms->loop);
    struct kms_call *call = kms->current;
    CHECK(call != NULL);
    if (now_ns >= kms->begun_ns + kms->options.call_ns) {
        kms->current = NULL;
        char message[KMS_MESSAGE_BYTES];
        (void)snprintf(message, sizeof(message), "no answer to %s within %llu ms", operation_name(call->operation),
                       (unsigned long long)(kms->options.call_ns / NS_PER_MS));
        health_note(kms, false, message);
        call_give_up(kms, call, "has not answered within");
        return;
    }
    struct list_link *first = list_first(&kms->waiting);
    CHECK(first != NULL);
    list_remove(first);
    call_give_up(kms, LIST_ENTRY(first, struct kms_call, link), "was busy with other calls for");
}

/* ---- for the owner ----------------------------------------------------------------------------- */

static bool primitives_init(struct kms *kms)
{
    pthread_condattr_t attributes;
    if (pthread_mutex_init(&kms->mutex, NULL) != 0) {
        return false;
    }
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    bool ready = pthread_cond_init(&kms->changed, &attributes) == 0;
    (void)pthread_condattr_destroy(&attributes);
    if (!ready) {
        (void)pthread_mutex_destroy(&kms->mutex);
    }
    return ready;
}

struct kms *kms_open(struct loop *loop, struct kms_provider *provider, const struct kms_options *options)
{
    CHECK(options->inline_calls || options->call_ns > 0);
    struct kms *kms = calloc(1, sizeof(*kms));
    struct key *copy_dek = guarded_take(sizeof(*copy_dek));
    uint8_t *copy_bytes = options->inline_calls ? NULL : malloc(KMS_SIGN_BYTES_MAX);
    bool has_memory = kms != NULL && copy_dek != NULL && (copy_bytes != NULL || options->inline_calls);
    if (!has_memory || !primitives_init(kms)) {
        free(kms);
        free(copy_bytes);
        guarded_release(copy_dek);
        return NULL;
    }
    kms->copy_batch.bytes = copy_bytes;
    kms->loop = loop;
    kms->provider = provider;
    kms->provider_name = provider->name;
    kms->options = *options;
    kms->copy_dek = copy_dek;
    kms->references = 1;
    kms->health = (struct kms_health){.available = true, .since_ms = loop_wall_ms(loop)};
    kms->deadline.fire = deadline_fire;
    kms->turn.run = turn_run;
    kms->performed.run = performed_run;
    list_init(&kms->waiting);
    if (!options->inline_calls && !worker_start(kms)) {
        kms_drop(kms);
        return NULL;
    }
    return kms;
}

/* Tell the worker to leave; wait until it has, unless it is stuck in a call. */
static void worker_stop(struct kms *kms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + (kms->current == NULL ? 0 : kms->options.call_ns);
    until.tv_sec += (time_t)(ns / NS_PER_S);
    until.tv_nsec = (long)(ns % NS_PER_S);
    (void)pthread_mutex_lock(&kms->mutex);
    kms->leave = true;
    (void)pthread_cond_signal(&kms->changed);
    while (kms->performing && pthread_cond_timedwait(&kms->changed, &kms->mutex, &until) != ETIMEDOUT) {
    }
    bool stuck = kms->performing;
    pthread_t thread = kms->thread;
    (void)pthread_mutex_unlock(&kms->mutex);
    if (stuck) {
        log_event(LOG_WARNING, "kms_left_behind", "provider=%s reason=%s", kms->provider_name,
                  "it does not come back from a call");
        (void)pthread_detach(thread);
    } else {
        (void)pthread_join(thread, NULL);
    }
}

void kms_close(struct kms *kms)
{
    kms->closed = true;
    if (loop_timer_is_armed(&kms->deadline)) { /* Else the loop may be gone already. */
        loop_timer_stop(kms->loop, &kms->deadline);
    }
    LIST_EACH (&kms->waiting, link) {
        list_remove(link);
    }
    if (kms->options.inline_calls) {
        kms->provider->ops->close(kms->provider);
    } else {
        worker_stop(kms);
    }
    kms->current = NULL;
    kms_drop(kms);
}

bool kms_is_idle(const struct kms *kms)
{
    return !kms->busy && kms->current == NULL && list_is_empty(&kms->waiting);
}

void kms_start(struct kms *kms, struct kms_call *call)
{
    CHECK(call->done != NULL);
    CHECK(!kms->closed);
    CHECK(!operation_has_dek(call->operation) || call->dek != NULL);
    CHECK(call->operation != KMS_SIGN || batch_is_valid(call->batch));
    CHECK(call->context_bytes <= sizeof(call->context));
    CHECK(call->sealed_bytes <= sizeof(call->sealed));
    CHECK(memchr(call->cmk, '\0', sizeof(call->cmk)) != NULL);
    call->started_ns = loop_now_ns(kms->loop);
    call->message[0] = '\0';
    list_append(&kms->waiting, &call->link);
    if (kms->busy && kms->current != NULL) {
        deadline_set(kms);
    } else {
        turn_queue(kms);
    }
}

const char *kms_provider_name(const struct kms *kms)
{
    return kms->provider_name;
}

const struct kms_health *kms_health(const struct kms *kms)
{
    return &kms->health;
}
