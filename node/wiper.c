/* wiper.c - a pass over the erasures of one disk:  pull a page ──> wipe its entries ──> sign and report it ──> next
 *                                                  page. */
#include "node/wiper.h"

#include "base/buggify.h"
#include "base/log.h"
#include "proto/attestation.h"

#include <stdlib.h>

#define RETRY_FIRST_NS (500 * NS_PER_MS)
#define RETRY_LAST_NS  (10 * NS_PER_S)
#define PAUSE_NS_MIN   (2 * NS_PER_MS)
#define PAUSE_NS_MAX   (500 * NS_PER_MS)
#define WAVE_NS_SHORT  (4 * NS_PER_MS) /* the next wave may be larger */
#define WAVE_NS_LONG   (8 * NS_PER_MS) /* it is smaller, if this one was long for what it wrote */
#define WAVE_BYTES     KIB(512) /* less than this does not make a wave long: its flushes do, and it shares them */
#define WAVE_FIRST     4u
/* The metadata service checks and applies a report in one turn of its loop: several milliseconds for 256 erasures. */
#define PAGE_BESIDE_CLIENTS 64u

_Static_assert(WIPER_PAGE_MAX <= ATTESTATION_RESULTS_MAX, "a page is one attestation");
_Static_assert((int)WIPE_OVERWRITE == (int)TRILITH__WIPE_TECHNIQUE__TECHNIQUE_OVERWRITE &&
                   (int)WIPE_DOD3 == (int)TRILITH__WIPE_TECHNIQUE__TECHNIQUE_DOD3,
               "the store has the numbers of the wire");

struct wipe_item {
    struct chunk_id chunk;
    uint64_t erasure_id;
    Trilith__WipeTechnique asked;
    Trilith__WipeOutcome outcome;
    enum wipe_technique used;
    uint64_t bytes;
    uint8_t digest[SHA256_BYTES];
};

struct wipe_slot {
    struct wiper *wiper;
    uint32_t item;
    bool busy;
    struct host_erase erase;
};

struct wiper {
    struct wiper_parts parts;
    enum { WIPER_IDLE, WIPER_PULLING, WIPER_WIPING, WIPER_REPORTING } stage;
    bool stopped;
    bool calling;
    bool again;
    unsigned parallel;
    unsigned wiping;
    bool more;
    bool has_cursor;
    struct chunk_id cursor;
    uint32_t failed;
    uint32_t item_count;
    uint32_t next_item;
    uint32_t mismatches; /* of this page */
    uint64_t wave_ns;    /* when the present wave began */
    uint64_t wave_bytes; /* overwritten by it */
    unsigned wave_max;   /* wipes in it, while clients are about */
    uint64_t started_ms; /* of this page, wall clock */
    char *attestation;   /* of this page, from when it is wiped until it is reported */
    uint64_t retry_ns;
    struct rpc_call call;
    struct loop_timer retry;
    struct loop_timer pause; /* between two waves */
    struct host_job unwait;  /* tells the store that nobody waits any more */
    bool unwaiting;
    struct wipe_slot slots[WIPER_PARALLEL_MAX];
    struct wipe_item items[WIPER_PAGE_MAX];
};

static bool clients_come_first(const struct wiper *wiper);
static void pull_page(struct wiper *wiper);
static void wipe_next(struct wiper *wiper);
static void report_page(struct wiper *wiper);
static void pause_over(struct loop_timer *timer);

struct wiper *wiper_open(const struct wiper_parts *parts)
{
    struct wiper *wiper = calloc(1, sizeof(*wiper));
    CHECK(wiper != NULL);
    CHECK(parts->signer != NULL);
    wiper->parts = *parts;
    wiper->wave_max = WAVE_FIRST;
    wiper->pause.fire = pause_over;
    for (unsigned i = 0; i < WIPER_PARALLEL_MAX; i++) {
        wiper->slots[i].wiper = wiper;
    }
    return wiper;
}

static void unwaited(struct host_job *job)
{
    CONTAINER_OF(job, struct wiper, unwait)->unwaiting = false;
}

void wiper_stop(struct wiper *wiper)
{
    wiper->stopped = true;
    loop_timer_stop(wiper->parts.loop, &wiper->retry);
    loop_timer_stop(wiper->parts.loop, &wiper->pause);
    if (wiper->wiping > 0 && !wiper->unwaiting) {
        wiper->unwaiting = true;
        chunk_host_close_soon(wiper->parts.disk, &wiper->unwait, wiper->parts.loop, unwaited);
    }
}

bool wiper_is_idle(const struct wiper *wiper)
{
    return !wiper->calling && !wiper->unwaiting && wiper->wiping == 0 && (wiper->stopped || wiper->stage == WIPER_IDLE);
}

void wiper_close(struct wiper *wiper)
{
    CHECK(wiper_is_idle(wiper));
    loop_timer_stop(wiper->parts.loop, &wiper->retry);
    loop_timer_stop(wiper->parts.loop, &wiper->pause);
    free(wiper->attestation);
    free(wiper);
}

void wiper_start(struct wiper *wiper, unsigned parallel)
{
    CHECK(parallel > 0 && parallel <= WIPER_PARALLEL_MAX);
    wiper->parallel = parallel;
    if (wiper->stopped) {
        return;
    }
    if (wiper->stage != WIPER_IDLE) {
        wiper->again = true;
        return;
    }
    wiper->has_cursor = false;
    wiper->failed = 0;
    wiper->retry_ns = RETRY_FIRST_NS;
    pull_page(wiper);
}

/* ---- calls --------------------------------------------------------------------------------------- */

static void call_start(struct wiper *wiper, uint16_t type, const ProtobufCMessage *request,
                       void (*done)(struct rpc_call *call))
{
    memset(&wiper->call, 0, sizeof(wiper->call));
    wiper->call.type = type;
    wiper->call.deadline_ns = loop_now_ns(wiper->parts.loop) + wiper->parts.call_ns;
    wiper->call.done = done;
    wiper->calling = true;
    rpc_call_start(wiper->parts.meta, &wiper->call, request);
}

static void retry_fired(struct loop_timer *timer)
{
    struct wiper *wiper = CONTAINER_OF(timer, struct wiper, retry);
    if (wiper->stage == WIPER_PULLING) {
        pull_page(wiper);
    } else {
        report_page(wiper);
    }
}

/* The metadata service is away: the same step again, after a growing pause. */
static void retry_later(struct wiper *wiper)
{
    wiper->retry.fire = retry_fired;
    loop_timer_start(wiper->parts.loop, &wiper->retry, loop_now_ns(wiper->parts.loop) + wiper->retry_ns);
    wiper->retry_ns = wiper->retry_ns * 2 < RETRY_LAST_NS ? wiper->retry_ns * 2 : RETRY_LAST_NS;
}

/* ---- pull ---------------------------------------------------------------------------------------- */

static bool page_accept(struct wiper *wiper, const Trilith__WipePullReply *reply)
{
    if (reply == NULL || reply->n_wipes > WIPER_PAGE_MAX || (reply->more && reply->n_wipes == 0)) {
        return false;
    }
    for (size_t i = 0; i < reply->n_wipes; i++) {
        const Trilith__Wipe *wipe = reply->wipes[i];
        if (wipe->chunk_id.len != sizeof(wiper->items[i].chunk.bytes)) {
            return false;
        }
        wiper->items[i] = (struct wipe_item){.erasure_id = wipe->erasure_id, .asked = wipe->technique};
        memcpy(wiper->items[i].chunk.bytes, wipe->chunk_id.data, sizeof(wiper->items[i].chunk.bytes));
    }
    wiper->item_count = (uint32_t)reply->n_wipes;
    wiper->more = reply->more;
    return true;
}

static void pass_over(struct wiper *wiper)
{
    wiper->stage = WIPER_IDLE;
    if (wiper->again) {
        wiper->again = false;
        wiper_start(wiper, wiper->parallel);
        return;
    }
    wiper->parts.done(wiper->parts.user, wiper->parts.disk, wiper->failed);
}

static void page_pulled(struct rpc_call *call)
{
    struct wiper *wiper = CONTAINER_OF(call, struct wiper, call);
    wiper->calling = false;
    if (wiper->stopped) {
        return;
    }
    if (call->status != STATUS_OK || !page_accept(wiper, (const Trilith__WipePullReply *)call->reply)) {
        retry_later(wiper);
        return;
    }
    wiper->retry_ns = RETRY_FIRST_NS;
    if (wiper->item_count == 0) {
        pass_over(wiper);
        return;
    }
    wiper->cursor = wiper->items[wiper->item_count - 1].chunk;
    wiper->has_cursor = true;
    wiper->next_item = 0;
    wiper->mismatches = 0;
    wiper->started_ms = loop_wall_ms(wiper->parts.loop);
    wiper->stage = WIPER_WIPING;
    wipe_next(wiper);
}

static void pull_page(struct wiper *wiper)
{
    Trilith__WipePullRequest request = TRILITH__WIPE_PULL_REQUEST__INIT;
    request.disk_id = atomic_load(&wiper->parts.disk->id);
    request.max = clients_come_first(wiper) ? PAGE_BESIDE_CLIENTS : WIPER_PAGE_MAX;
    request.max = BUGGIFY(BUGGIFY_NODE_WIPE_PAGE_OF_ONE) ? 1 : request.max;
    if (wiper->has_cursor) {
        request.after_chunk_id.data = wiper->cursor.bytes;
        request.after_chunk_id.len = sizeof(wiper->cursor.bytes);
    }
    wiper->stage = WIPER_PULLING;
    call_start(wiper, TRILITH__MESSAGE_TYPE__WIPE_PULL, &request.base, page_pulled);
}

/* ---- wipe ---------------------------------------------------------------------------------------- */

static void wave_go_on(struct wiper *wiper);

static void item_wiped(struct host_job *job)
{
    struct wipe_slot *slot = CONTAINER_OF(job, struct wipe_slot, erase.job);
    struct wiper *wiper = slot->wiper;
    struct wipe_item *item = &wiper->items[slot->item];
    switch (job->status) {
    case STATUS_OK:
        item->outcome = TRILITH__WIPE_OUTCOME__WIPE_WIPED;
        item->bytes = slot->erase.erase.overwritten_bytes;
        wiper->wave_bytes += item->bytes;
        item->used = slot->erase.erase.used;
        memcpy(item->digest, slot->erase.erase.digest, sizeof(item->digest));
        break;
    case STATUS_NOT_FOUND:
        item->outcome = TRILITH__WIPE_OUTCOME__WIPE_NEVER_HELD;
        break;
    default:
        if (wiper->stopped) {
            break; /* It is not reported either. */
        }
        item->outcome = TRILITH__WIPE_OUTCOME__WIPE_FAILED;
        wiper->mismatches += slot->erase.erase.mismatch ? 1 : 0;
        wiper->failed++;
        log_event(LOG_ERROR, "wipe_failed", "disk=%u erasure=%llu reason=%s", atomic_load(&wiper->parts.disk->id),
                  (unsigned long long)item->erasure_id, status_name(job->status));
        break;
    }
    slot->busy = false;
    wiper->wiping--;
    if (!wiper->stopped) {
        wave_go_on(wiper);
    }
}

/* Overwriting with patterns first is for media that turn; on others, or where that can't be known, it is not done. */
static enum wipe_technique technique_for(const struct wiper *wiper, Trilith__WipeTechnique asked)
{
    return asked == TRILITH__WIPE_TECHNIQUE__TECHNIQUE_DOD3 && wiper->parts.disk->medium.rotational ? WIPE_DOD3
                                                                                                    : WIPE_OVERWRITE;
}

static bool clients_come_first(const struct wiper *wiper)
{
    return chunk_host_disk_state(wiper->parts.disk) != TRILITH__DISK_STATE__DISK_CATCHING_UP &&
           chunk_host_disk_has_clients(wiper->parts.disk, loop_now_ns(wiper->parts.loop));
}

static void pause_over(struct loop_timer *timer)
{
    wipe_next(CONTAINER_OF(timer, struct wiper, pause));
}

/* A wipe has ended. With clients about, the next ones begin when all of this wave have, after a pause. */
static void wave_go_on(struct wiper *wiper)
{
    uint64_t now_ns = loop_now_ns(wiper->parts.loop);
    if (wiper->next_item == wiper->item_count || !clients_come_first(wiper)) {
        wipe_next(wiper);
        return;
    }
    if (wiper->wiping > 0) {
        return;
    }
    uint64_t wave_ns = now_ns - wiper->wave_ns;
    uint64_t pause_ns = wave_ns * WIPER_PAUSES;
    if (wave_ns > WAVE_NS_LONG && wiper->wave_bytes > WAVE_BYTES) {
        wiper->wave_max = (wiper->wave_max + 1) / 2;
    } else if ((wave_ns < WAVE_NS_SHORT || wiper->wave_bytes < WAVE_BYTES) && wiper->wave_max < WIPER_PARALLEL_MAX) {
        wiper->wave_max++;
    }
    pause_ns = pause_ns < PAUSE_NS_MIN ? PAUSE_NS_MIN : pause_ns > PAUSE_NS_MAX ? PAUSE_NS_MAX : pause_ns;
    loop_timer_start(wiper->parts.loop, &wiper->pause, now_ns + pause_ns);
}

/* Keep as many wipes going as this pass may; when the page is done, report it. */
static void wipe_next(struct wiper *wiper)
{
    bool in_waves = clients_come_first(wiper) && wiper->wave_max < wiper->parallel;
    unsigned parallel = in_waves ? wiper->wave_max : wiper->parallel;
    if (wiper->wiping == 0) {
        wiper->wave_ns = loop_now_ns(wiper->parts.loop);
        wiper->wave_bytes = 0;
    }
    for (unsigned i = 0; i < WIPER_PARALLEL_MAX; i++) {
        struct wipe_slot *slot = &wiper->slots[i];
        if (wiper->next_item == wiper->item_count || wiper->wiping >= parallel) {
            break;
        }
        if (slot->busy) {
            continue;
        }
        slot->busy = true;
        slot->item = wiper->next_item++;
        memset(&slot->erase, 0, sizeof(slot->erase));
        slot->erase.erase.id = wiper->items[slot->item].chunk;
        slot->erase.erase.technique = technique_for(wiper, wiper->items[slot->item].asked);
        wiper->wiping++;
        chunk_host_erase(wiper->parts.disk, &slot->erase, wiper->parts.loop, item_wiped);
    }
    if (wiper->wiping == 0) {
        KILL_POINT(KILL_NODE_PAGE_WIPED);
        report_page(wiper);
    }
}

/* ---- report -------------------------------------------------------------------------------------- */

static void page_reported(struct rpc_call *call)
{
    struct wiper *wiper = CONTAINER_OF(call, struct wiper, call);
    wiper->calling = false;
    if (wiper->stopped) {
        return;
    }
    if (call->status != STATUS_OK) {
        if (call->status == STATUS_DENIED || call->status == STATUS_INVALID) {
            log_event(LOG_ERROR, "attestation_refused", "disk=%u reason=%s", atomic_load(&wiper->parts.disk->id),
                      status_name(call->status));
        }
        retry_later(wiper);
        return;
    }
    KILL_POINT(KILL_NODE_PAGE_REPORTED);
    wiper->retry_ns = RETRY_FIRST_NS;
    if (BUGGIFY(BUGGIFY_NODE_WIPES_REPORTED_TWICE)) {
        report_page(wiper);
        return;
    }
    free(wiper->attestation);
    wiper->attestation = NULL;
    if (wiper->more) {
        pull_page(wiper);
    } else {
        pass_over(wiper);
    }
}

static void result_fill(struct wipe_item *item, Trilith__WipeResult *result)
{
    trilith__wipe_result__init(result);
    result->chunk_id = (ProtobufCBinaryData){.data = item->chunk.bytes, .len = sizeof(item->chunk.bytes)};
    result->erasure_id = item->erasure_id;
    result->outcome = item->outcome;
    result->bytes = item->bytes;
    result->technique = (Trilith__WipeTechnique)item->used;
    if (item->bytes > 0) {
        result->digest = (ProtobufCBinaryData){.data = item->digest, .len = sizeof(item->digest)};
    }
}

/* What the node signs for. NULL: no memory. */
static char *attestation_of(struct wiper *wiper, Trilith__WipeResult *const *results)
{
    const struct wiper_signer *signer = wiper->parts.signer;
    Trilith__WipeTechnique asked[WIPER_PAGE_MAX];
    Trilith__Medium medium;
    medium_fill(&wiper->parts.disk->medium, &medium);
    for (uint32_t i = 0; i < wiper->item_count; i++) {
        asked[i] = wiper->items[i].asked;
    }
    const struct attestation_facts facts = {.node = signer->node,
                                            .boot_id = signer->boot_id,
                                            .sw_digest = signer->sw_digest,
                                            .cluster_id = signer->cluster_id,
                                            .disk_id = atomic_load(&wiper->parts.disk->id),
                                            .disk_uuid = wiper->parts.disk->uuid,
                                            .medium = &medium,
                                            .asked = asked,
                                            .mismatches = wiper->mismatches,
                                            .started_ms = wiper->started_ms,
                                            .finished_ms = loop_wall_ms(wiper->parts.loop)};
    return attestation_make(&facts, results, wiper->item_count, signer->seed);
}

static void report_page(struct wiper *wiper)
{
    Trilith__WipeResult results[WIPER_PAGE_MAX];
    Trilith__WipeResult *pointers[WIPER_PAGE_MAX];
    for (uint32_t i = 0; i < wiper->item_count; i++) {
        result_fill(&wiper->items[i], &results[i]);
        pointers[i] = &results[i];
    }
    wiper->stage = WIPER_REPORTING;
    if (wiper->attestation == NULL) {
        wiper->attestation = attestation_of(wiper, pointers);
    }
    if (wiper->attestation == NULL) {
        log_event(LOG_ERROR, "attestation_not_made", "disk=%u", atomic_load(&wiper->parts.disk->id));
        retry_later(wiper);
        return;
    }
    Trilith__WipeDoneRequest request = TRILITH__WIPE_DONE_REQUEST__INIT;
    request.disk_id = atomic_load(&wiper->parts.disk->id);
    request.n_results = wiper->item_count;
    request.results = pointers;
    request.attestation =
        (ProtobufCBinaryData){.data = (uint8_t *)wiper->attestation, .len = strlen(wiper->attestation)};
    call_start(wiper, TRILITH__MESSAGE_TYPE__WIPE_DONE, &request.base, page_reported);
}
