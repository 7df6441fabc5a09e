/* wiper.c - a pass over the erasures of one disk:  pull a page ──> wipe its entries ──> report it ──> next page. */
#include "node/wiper.h"

#include "base/buggify.h"
#include "base/log.h"

#include <stdlib.h>

#define RETRY_FIRST_NS (500 * NS_PER_MS)
#define RETRY_LAST_NS  (10 * NS_PER_S)

struct wipe_item {
    struct chunk_id chunk;
    uint64_t erasure_id;
    Trilith__WipeOutcome outcome;
    uint64_t bytes;
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
    uint64_t retry_ns;
    struct rpc_call call;
    struct loop_timer retry;
    struct host_job unwait; /* tells the store that nobody waits any more */
    bool unwaiting;
    struct wipe_slot slots[WIPER_PARALLEL_MAX];
    struct wipe_item items[WIPER_PAGE_MAX];
};

static void pull_page(struct wiper *wiper);
static void wipe_next(struct wiper *wiper);
static void report_page(struct wiper *wiper);

struct wiper *wiper_open(const struct wiper_parts *parts)
{
    struct wiper *wiper = calloc(1, sizeof(*wiper));
    CHECK(wiper != NULL);
    wiper->parts = *parts;
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
        wiper->items[i] = (struct wipe_item){.erasure_id = wipe->erasure_id};
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
    wiper->stage = WIPER_WIPING;
    wipe_next(wiper);
}

static void pull_page(struct wiper *wiper)
{
    Trilith__WipePullRequest request = TRILITH__WIPE_PULL_REQUEST__INIT;
    request.disk_id = atomic_load(&wiper->parts.disk->id);
    request.max = BUGGIFY(BUGGIFY_NODE_WIPE_PAGE_OF_ONE) ? 1 : WIPER_PAGE_MAX;
    if (wiper->has_cursor) {
        request.after_chunk_id.data = wiper->cursor.bytes;
        request.after_chunk_id.len = sizeof(wiper->cursor.bytes);
    }
    wiper->stage = WIPER_PULLING;
    call_start(wiper, TRILITH__MESSAGE_TYPE__WIPE_PULL, &request.base, page_pulled);
}

/* ---- wipe ---------------------------------------------------------------------------------------- */

static void item_wiped(struct host_job *job)
{
    struct wipe_slot *slot = CONTAINER_OF(job, struct wipe_slot, erase.job);
    struct wiper *wiper = slot->wiper;
    struct wipe_item *item = &wiper->items[slot->item];
    switch (job->status) {
    case STATUS_OK:
        item->outcome = TRILITH__WIPE_OUTCOME__WIPE_WIPED;
        item->bytes = slot->erase.erase.overwritten_bytes;
        break;
    case STATUS_NOT_FOUND:
        item->outcome = TRILITH__WIPE_OUTCOME__WIPE_NEVER_HELD;
        break;
    default:
        if (wiper->stopped) {
            break; /* It is not reported either. */
        }
        item->outcome = TRILITH__WIPE_OUTCOME__WIPE_FAILED;
        wiper->failed++;
        log_event(LOG_ERROR, "wipe_failed", "disk=%u erasure=%llu reason=%s", atomic_load(&wiper->parts.disk->id),
                  (unsigned long long)item->erasure_id, status_name(job->status));
        break;
    }
    slot->busy = false;
    wiper->wiping--;
    if (!wiper->stopped) {
        wipe_next(wiper);
    }
}

/* Keep as many wipes going as this pass may; when the page is done, report it. */
static void wipe_next(struct wiper *wiper)
{
    for (unsigned i = 0; i < WIPER_PARALLEL_MAX; i++) {
        struct wipe_slot *slot = &wiper->slots[i];
        if (wiper->next_item == wiper->item_count || wiper->wiping == wiper->parallel) {
            break;
        }
        if (slot->busy) {
            continue;
        }
        slot->busy = true;
        slot->item = wiper->next_item++;
        memset(&slot->erase, 0, sizeof(slot->erase));
        slot->erase.erase.id = wiper->items[slot->item].chunk;
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
        retry_later(wiper);
        return;
    }
    KILL_POINT(KILL_NODE_PAGE_REPORTED);
    wiper->retry_ns = RETRY_FIRST_NS;
    if (BUGGIFY(BUGGIFY_NODE_WIPES_REPORTED_TWICE)) {
        report_page(wiper);
        return;
    }
    if (wiper->more) {
        pull_page(wiper);
    } else {
        pass_over(wiper);
    }
}

static void report_page(struct wiper *wiper)
{
    Trilith__WipeResult results[WIPER_PAGE_MAX];
    Trilith__WipeResult *pointers[WIPER_PAGE_MAX];
    for (uint32_t i = 0; i < wiper->item_count; i++) {
        trilith__wipe_result__init(&results[i]);
        results[i].chunk_id.data = wiper->items[i].chunk.bytes;
        results[i].chunk_id.len = sizeof(wiper->items[i].chunk.bytes);
        results[i].erasure_id = wiper->items[i].erasure_id;
        results[i].outcome = wiper->items[i].outcome;
        results[i].bytes = wiper->items[i].bytes;
        pointers[i] = &results[i];
    }
    Trilith__WipeDoneRequest request = TRILITH__WIPE_DONE_REQUEST__INIT;
    request.disk_id = atomic_load(&wiper->parts.disk->id);
    request.n_results = wiper->item_count;
    request.results = pointers;
    wiper->stage = WIPER_REPORTING;
    call_start(wiper, TRILITH__MESSAGE_TYPE__WIPE_DONE, &request.base, page_reported);
}
