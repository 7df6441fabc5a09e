/* mover.c - one move at a time: its sources one after the other, each page by page, the chunks of a page side by side.
 *
 *   IDLE ──> PULLING ──> (per page) LISTING ──> LOCATING ──> CHECKING ──> COPYING ──> REPORTING ──> next page, source, move
 *    ^          │ none                                                                                  │
 *    └──────────┴────────────────────────────── a pause, when a move could not be ended ────────────────┘
 */
#include "node/mover.h"

#include "base/buggify.h"
#include "base/log.h"

#include <stdlib.h>

#define RETRY_NS     (2 * NS_PER_S)
#define CHUNK_NS     (30 * NS_PER_S) /* to read one chunk from one source */
#define SOURCES_MAX  REPLICAS
#define NO_MORE_WORK UINT32_MAX

/* A chunk of a page. */
struct mover_item {
    struct chunk_id id;
    uint64_t tenant_id;
    uint32_t chunk_bytes;
    enum suite suite;
    bool wanted;
};

/* A chunk on its way. */
struct mover_slot {
    struct mover *mover;
    bool busy;
    uint32_t item;
    unsigned source;
    unsigned tried;  /* one bit per source */
    bool only_gone;  /* every source that was asked said that it has not got it */
    uint8_t *buffer; /* CHUNK_BYTES_MAX, aligned; NULL until it is needed */
    struct chunk_fetch fetch;
    struct host_put put;
};

struct mover_source {
    uint32_t disk_id;
    bool is_leaving;
    bool walked;
    unsigned failures;
};

/* A move as it was pulled. */
struct mover_move {
    uint32_t pg;
    unsigned source_count;
    struct mover_source sources[SOURCES_MAX]; /* the one that leaves is the first */
};

struct mover {
    struct mover_parts parts;
    struct chunk_client *client;
    bool stopped;
    bool calling;
    bool working; /* a job of the host is under way */
    enum {
        MOVER_IDLE,
        MOVER_PULLING,
        MOVER_LISTING,
        MOVER_LOCATING,
        MOVER_CHECKING,
        MOVER_COPYING,
        MOVER_REPORTING
    } stage;
    struct rpc_call call;
    struct loop_timer timer; /* the pause after a failure, or what the rate asks for */
    bool waiting_all[CHUNK_HOST_DISKS_MAX];
    struct mover_stats stats;

    struct chunk_host_disk *disk; /* that takes over */
    uint32_t disk_number;
    uint32_t move_count;
    uint32_t move_at;
    bool any_failed; /* of the moves that were pulled together */
    struct mover_move moves[MOVER_MOVES_MAX];

    unsigned source_at;
    bool failed;   /* a chunk of this move could not be copied */
    bool given_up; /* the leader wants it no more */
    bool more;     /* behind this page */
    bool has_cursor;
    struct chunk_id cursor;
    uint64_t chunks; /* of this move, so far */
    uint64_t bytes;
    uint64_t next_copy_ns; /* by the rate */

    uint32_t item_count;
    uint32_t next_item;
    unsigned copying;
    struct mover_slot slots[MOVER_PARALLEL_MAX];
    struct mover_item items[MOVER_PAGE_MAX];
    struct chunk_id ids[MOVER_PAGE_MAX];
    bool found[MOVER_PAGE_MAX];
    struct chunk_location locations[MOVER_PAGE_MAX];
    struct host_locate locate;
};

static void timer_fired(struct loop_timer *timer);
static void next_disk(struct mover *mover);
static void pull(struct mover *mover);
static void move_begin(struct mover *mover);
static void page_list(struct mover *mover);
static void page_check(struct mover *mover);
static void copy_next(struct mover *mover);
static void report(struct mover *mover, bool complete);

static struct mover_move *current(struct mover *mover)
{
    return &mover->moves[mover->move_at];
}

/* ---- life ---------------------------------------------------------------------------------------- */

struct mover *mover_open(const struct mover_parts *parts)
{
    struct mover *mover = calloc(1, sizeof(*mover));
    CHECK(mover != NULL);
    mover->parts = *parts;
    mover->client = chunk_client_open(parts->loop, parts->net, parts->host);
    mover->timer.fire = timer_fired;
    for (unsigned i = 0; i < MOVER_PARALLEL_MAX; i++) {
        mover->slots[i].mover = mover;
    }
    return mover;
}

static void buffers_free(struct mover *mover)
{
    for (unsigned i = 0; i < MOVER_PARALLEL_MAX; i++) {
        free(mover->slots[i].buffer);
        mover->slots[i].buffer = NULL;
    }
}

void mover_set_map(struct mover *mover, struct map *map, uint64_t local_node)
{
    if (!mover->stopped) {
        chunk_client_set_map(mover->client, map, local_node);
    }
}

void mover_stop(struct mover *mover)
{
    mover->stopped = true;
    loop_timer_stop(mover->parts.loop, &mover->timer);
    for (unsigned i = 0; i < MOVER_PARALLEL_MAX; i++) {
        if (mover->slots[i].busy && mover->slots[i].put.job.done == NULL) {
            chunk_fetch_cancel(&mover->slots[i].fetch);
        }
    }
    if (mover->calling) {
        rpc_call_cancel(&mover->call);
    }
}

bool mover_is_idle(const struct mover *mover)
{
    return !mover->calling && !mover->working && mover->copying == 0 && (mover->stopped || mover->stage == MOVER_IDLE);
}

void mover_close(struct mover *mover)
{
    CHECK(mover_is_idle(mover));
    loop_timer_stop(mover->parts.loop, &mover->timer);
    chunk_client_close(mover->client);
    buffers_free(mover);
    free(mover);
}

void mover_stats(const struct mover *mover, struct mover_stats *stats)
{
    *stats = mover->stats;
}

/* ---- which disk ---------------------------------------------------------------------------------- */

void mover_wake(struct mover *mover, const uint32_t *disk_ids, size_t count)
{
    const struct chunk_host *host = mover->parts.host;
    for (size_t i = 0; i < count; i++) {
        for (uint32_t d = 0; d < host->disk_count; d++) {
            if (disk_ids[i] != 0 && atomic_load(&host->disks[d].id) == disk_ids[i]) {
                mover->waiting_all[d] = true;
            }
        }
    }
    if (mover->stage == MOVER_IDLE && !mover->stopped && !loop_timer_is_armed(&mover->timer)) {
        next_disk(mover);
    }
}

static void next_disk(struct mover *mover)
{
    mover->stage = MOVER_IDLE;
    for (uint32_t d = 0; d < mover->parts.host->disk_count; d++) {
        if (mover->waiting_all[d]) {
            mover->waiting_all[d] = false;
            mover->disk = &mover->parts.host->disks[d];
            mover->disk_number = d;
            pull(mover);
            return;
        }
    }
    buffers_free(mover);
}

static void timer_fired(struct loop_timer *timer)
{
    struct mover *mover = CONTAINER_OF(timer, struct mover, timer);
    if (mover->stage == MOVER_COPYING) {
        copy_next(mover);
    } else if (mover->stage == MOVER_IDLE) {
        next_disk(mover);
    }
}

/* ---- calls --------------------------------------------------------------------------------------- */

static void call_start(struct mover *mover, struct rpc_client *to, uint16_t type, const ProtobufCMessage *request,
                       void (*done)(struct rpc_call *call))
{
    memset(&mover->call, 0, sizeof(mover->call));
    mover->call.type = type;
    mover->call.deadline_ns = loop_now_ns(mover->parts.loop) + mover->parts.call_ns;
    mover->call.done = done;
    mover->calling = true;
    rpc_call_start(to, &mover->call, request);
}

static uint32_t disk_id_of(const struct mover *mover)
{
    return atomic_load(&mover->disk->id);
}

/* ---- pull ---------------------------------------------------------------------------------------- */

/* Take a move over from the wire. False: it can't be one. */
static bool move_accept(const Trilith__PgMove *wire, uint32_t disk_id, struct mover_move *move)
{
    *move = (struct mover_move){.pg = wire->pg};
    if (wire->pg == 0 || wire->target != disk_id || wire->n_sources > SOURCES_MAX) {
        return false;
    }
    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < wire->n_sources; i++) {
            bool is_leaving = wire->sources[i] == wire->leaving;
            if (is_leaving == (round == 0)) {
                move->sources[move->source_count++] =
                    (struct mover_source){.disk_id = wire->sources[i], .is_leaving = is_leaving};
            }
        }
    }
    return move->source_count > 0 && move->sources[0].is_leaving;
}

static void pulled(struct rpc_call *call)
{
    struct mover *mover = CONTAINER_OF(call, struct mover, call);
    const Trilith__MovePullReply *reply = (const Trilith__MovePullReply *)call->reply;
    mover->calling = false;
    if (mover->stopped) {
        return;
    }
    mover->move_count = 0;
    for (size_t i = 0; call->status == STATUS_OK && reply != NULL && i < reply->n_moves; i++) {
        if (mover->move_count < MOVER_MOVES_MAX &&
            move_accept(reply->moves[i], disk_id_of(mover), &mover->moves[mover->move_count])) {
            mover->move_count++;
        }
    }
    mover->move_at = 0;
    mover->any_failed = false;
    if (mover->move_count == 0) {
        next_disk(mover);
        return;
    }
    move_begin(mover);
}

static void pull(struct mover *mover)
{
    Trilith__MovePullRequest request = TRILITH__MOVE_PULL_REQUEST__INIT;
    request.disk_id = disk_id_of(mover);
    mover->stage = MOVER_PULLING;
    call_start(mover, mover->parts.meta, TRILITH__MESSAGE_TYPE__MOVE_PULL, &request.base, pulled);
}

/* ---- one move ------------------------------------------------------------------------------------ */

static void move_begin(struct mover *mover)
{
    mover->source_at = 0;
    mover->failed = false;
    mover->given_up = false;
    mover->has_cursor = false;
    mover->chunks = 0;
    mover->bytes = 0;
    page_list(mover);
}

/* Nothing more can be done for this move now. */
static void move_over(struct mover *mover, bool complete)
{
    if (complete) {
        mover->stats.moves++;
        log_event(LOG_INFO, "pg_taken_over", "disk=%u pg=%u chunks=%llu bytes=%llu", disk_id_of(mover),
                  current(mover)->pg, (unsigned long long)mover->chunks, (unsigned long long)mover->bytes);
    }
    mover->any_failed = mover->any_failed || (!complete && !mover->given_up);
    if (++mover->move_at < mover->move_count) {
        move_begin(mover);
        return;
    }
    mover->waiting_all[mover->disk_number] = true; /* There may be more. */
    if (mover->any_failed) {
        mover->stage = MOVER_IDLE;
        loop_timer_start(mover->parts.loop, &mover->timer, loop_now_ns(mover->parts.loop) + RETRY_NS);
        return;
    }
    next_disk(mover);
}

/* Is everything here that must be? What leaves, or what both that stay have. */
static bool is_complete(const struct mover_move *move, bool failed)
{
    bool others = move->source_count == REPLICAS;
    for (unsigned i = 1; i < move->source_count; i++) {
        others = others && move->sources[i].walked;
    }
    return !failed && (move->sources[0].walked || others);
}

/* The walk through one source is over: the next, or the end. */
static void source_over(struct mover *mover)
{
    struct mover_move *move = current(mover);
    mover->has_cursor = false;
    if (++mover->source_at < move->source_count) {
        page_list(mover);
        return;
    }
    if (is_complete(move, mover->failed)) {
        report(mover, true);
    } else {
        move_over(mover, false);
    }
}

/* ---- a page -------------------------------------------------------------------------------------- */

static bool page_accept(struct mover *mover, const Trilith__ChunkListReply *reply)
{
    if (reply == NULL || reply->n_chunks > MOVER_PAGE_MAX ||
        (reply->more && reply->next.len != sizeof(mover->cursor.bytes))) {
        return false;
    }
    for (size_t i = 0; i < reply->n_chunks; i++) {
        const Trilith__ListedChunk *chunk = reply->chunks[i];
        if (chunk->chunk_id.len != sizeof(mover->ids[i].bytes) || chunk->chunk_bytes < 1 ||
            chunk->chunk_bytes > CHUNK_BYTES_MAX ||
            (chunk->suite != SUITE_AES_256_GCM && chunk->suite != SUITE_SM4_GCM)) {
            return false;
        }
        memcpy(mover->ids[i].bytes, chunk->chunk_id.data, sizeof(mover->ids[i].bytes));
        mover->items[i] = (struct mover_item){.id = mover->ids[i],
                                              .tenant_id = chunk->tenant_id,
                                              .chunk_bytes = chunk->chunk_bytes,
                                              .suite = (enum suite)chunk->suite};
    }
    bool goes_on = !mover->has_cursor || !reply->more ||
                   memcmp(reply->next.data, mover->cursor.bytes, sizeof(mover->cursor.bytes)) > 0;
    mover->item_count = (uint32_t)reply->n_chunks;
    mover->more = reply->more;
    if (reply->more && goes_on) {
        memcpy(mover->cursor.bytes, reply->next.data, sizeof(mover->cursor.bytes));
        mover->has_cursor = true;
    }
    return goes_on;
}

/* The page is done: the next one, or the source has been walked to its end. */
static void page_over(struct mover *mover)
{
    if (mover->more) {
        page_list(mover);
        return;
    }
    current(mover)->sources[mover->source_at].walked = true;
    source_over(mover);
}

static void page_located(struct host_job *job)
{
    struct mover *mover = CONTAINER_OF(job, struct mover, locate.job);
    mover->working = false;
    if (mover->stopped) {
        return;
    }
    if (job->status != STATUS_OK) {
        move_over(mover, false);
        return;
    }
    uint32_t missing = 0;
    for (uint32_t i = 0; i < mover->item_count; i++) {
        if (!mover->found[i]) {
            mover->items[missing] = mover->items[i];
            mover->ids[missing++] = mover->items[i].id;
        }
    }
    mover->item_count = missing;
    if (missing == 0) {
        page_over(mover);
        return;
    }
    page_check(mover);
}

static void page_listed(struct rpc_call *call)
{
    struct mover *mover = CONTAINER_OF(call, struct mover, call);
    mover->calling = false;
    if (mover->stopped) {
        return;
    }
    if (call->status != STATUS_OK || !page_accept(mover, (const Trilith__ChunkListReply *)call->reply)) {
        current(mover)->sources[mover->source_at].failures++;
        source_over(mover); /* Not walked to its end. */
        return;
    }
    if (mover->item_count == 0) {
        page_over(mover);
        return;
    }
    mover->stage = MOVER_LOCATING;
    mover->locate = (struct host_locate){
        .ids = mover->ids, .count = mover->item_count, .found = mover->found, .locations = mover->locations};
    mover->working = true;
    chunk_host_locate(mover->disk, &mover->locate, mover->parts.loop, page_located);
}

static void page_list(struct mover *mover)
{
    struct mover_source *source = &current(mover)->sources[mover->source_at];
    struct rpc_client *peer = chunk_client_peer(mover->client, source->disk_id);
    mover->stage = MOVER_LISTING;
    if (peer == NULL) {
        source->failures++;
        source_over(mover);
        return;
    }
    Trilith__ChunkListRequest request = TRILITH__CHUNK_LIST_REQUEST__INIT;
    request.disk_id = source->disk_id;
    request.pg = current(mover)->pg;
    request.max = MOVER_PAGE_MAX;
    if (mover->has_cursor) {
        request.after_chunk_id.data = mover->cursor.bytes;
        request.after_chunk_id.len = sizeof(mover->cursor.bytes);
    }
    call_start(mover, peer, TRILITH__MESSAGE_TYPE__CHUNK_LIST, &request.base, page_listed);
}

static void page_checked(struct rpc_call *call)
{
    struct mover *mover = CONTAINER_OF(call, struct mover, call);
    const Trilith__MoveCheckReply *reply = (const Trilith__MoveCheckReply *)call->reply;
    mover->calling = false;
    if (mover->stopped) {
        return;
    }
    if (call->status != STATUS_OK || reply == NULL || reply->n_wanted != mover->item_count) {
        mover->given_up = call->status == STATUS_CONFLICT || call->status == STATUS_NOT_FOUND;
        move_over(mover, false);
        return;
    }
    for (uint32_t i = 0; i < mover->item_count; i++) {
        mover->items[i].wanted = reply->wanted[i];
    }
    mover->next_item = 0;
    mover->stage = MOVER_COPYING;
    copy_next(mover);
}

static void page_check(struct mover *mover)
{
    ProtobufCBinaryData ids[MOVER_PAGE_MAX];
    Trilith__MoveCheckRequest request = TRILITH__MOVE_CHECK_REQUEST__INIT;
    for (uint32_t i = 0; i < mover->item_count; i++) {
        ids[i] = (ProtobufCBinaryData){.data = mover->ids[i].bytes, .len = sizeof(mover->ids[i].bytes)};
    }
    request.disk_id = disk_id_of(mover);
    request.pg = current(mover)->pg;
    request.n_chunk_ids = mover->item_count;
    request.chunk_ids = ids;
    mover->stage = MOVER_CHECKING;
    call_start(mover, mover->parts.meta, TRILITH__MESSAGE_TYPE__MOVE_CHECK, &request.base, page_checked);
}

/* ---- a chunk ------------------------------------------------------------------------------------- */

static void slot_fetch(struct mover_slot *slot);

/* The chunk has come to its end: copied, gone, or not copied. */
static void slot_over(struct mover_slot *slot)
{
    struct mover *mover = slot->mover;
    slot->busy = false;
    mover->copying--;
    if (!mover->stopped) {
        copy_next(mover);
    }
}

static void slot_stored(struct host_job *job)
{
    struct mover_slot *slot = CONTAINER_OF(job, struct mover_slot, put.job);
    struct mover *mover = slot->mover;
    const struct mover_item *item = &mover->items[slot->item];
    switch (job->status) {
    case STATUS_OK:
        mover->chunks++;
        mover->bytes += item->chunk_bytes;
        mover->stats.chunks++;
        mover->stats.bytes += item->chunk_bytes;
        break;
    case STATUS_GONE:
        mover->stats.gone++; /* Its wipe was here first. */
        break;
    default:
        mover->failed = true;
        log_event(LOG_WARNING, "chunk_not_taken_over", "disk=%u pg=%u reason=%s", disk_id_of(mover), current(mover)->pg,
                  status_name(job->status));
        break;
    }
    slot->put.job.done = NULL;
    slot_over(slot);
}

static void slot_store(struct mover_slot *slot)
{
    struct mover *mover = slot->mover;
    const struct mover_item *item = &mover->items[slot->item];
    if (slot->fetch.data != slot->buffer) {
        memmove(slot->buffer, slot->fetch.data, item->chunk_bytes);
    }
    memset(&slot->put, 0, sizeof(slot->put));
    slot->put.put.header = (struct chunk_header){.id = item->id,
                                                 .tenant_id = item->tenant_id,
                                                 .pg = current(mover)->pg,
                                                 .chunk_bytes = item->chunk_bytes,
                                                 .suite = item->suite};
    slot->put.put.payload = slot->buffer;
    slot->put.put.seals = slot->fetch.seals;
    slot->put.takes_over = true;
    chunk_host_put(mover->parts.host, mover->disk, &slot->put, mover->parts.loop, slot_stored);
}

static void slot_fetched(struct chunk_fetch *fetch, enum status status)
{
    struct mover_slot *slot = CONTAINER_OF(fetch, struct mover_slot, fetch);
    struct mover *mover = slot->mover;
    if (mover->stopped) {
        slot_over(slot);
    } else if (status == STATUS_OK) {
        slot_store(slot);
    } else {
        bool is_gone = status == STATUS_GONE || status == STATUS_NOT_FOUND;
        slot->only_gone = slot->only_gone && is_gone;
        current(mover)->sources[slot->source].failures += is_gone ? 0 : 1;
        slot_fetch(slot);
    }
}

/* Ask the source that failed least and was not asked yet; when none is left, the chunk was erased everywhere, or it
 * can't be copied now. */
static void slot_fetch(struct mover_slot *slot)
{
    struct mover *mover = slot->mover;
    const struct mover_move *move = current(mover);
    const struct mover_item *item = &mover->items[slot->item];
    unsigned best = NO_MORE_WORK;
    for (unsigned i = 0; i < move->source_count; i++) {
        bool is_better = best == NO_MORE_WORK || move->sources[i].failures < move->sources[best].failures;
        if ((slot->tried & 1u << i) == 0 && is_better) {
            best = i;
        }
    }
    if (best == NO_MORE_WORK) {
        mover->stats.gone += slot->only_gone ? 1 : 0;
        mover->failed = mover->failed || !slot->only_gone;
        slot_over(slot);
        return;
    }
    slot->source = best;
    slot->tried |= 1u << best;
    memset(&slot->fetch, 0, sizeof(slot->fetch));
    slot->fetch.id = item->id;
    slot->fetch.disk_id = move->sources[best].disk_id;
    slot->fetch.unit_count = chunk_unit_count(item->chunk_bytes);
    slot->fetch.chunk_bytes = item->chunk_bytes;
    slot->fetch.suite = item->suite;
    slot->fetch.buffer = slot->buffer;
    slot->fetch.buffer_bytes = CHUNK_BYTES_MAX;
    slot->fetch.deadline_ns = loop_now_ns(mover->parts.loop) + CHUNK_NS;
    slot->fetch.done = slot_fetched;
    chunk_client_fetch(mover->client, &slot->fetch);
}

static struct mover_slot *slot_take(struct mover *mover)
{
    for (unsigned i = 0; i < MOVER_PARALLEL_MAX; i++) {
        struct mover_slot *slot = &mover->slots[i];
        if (slot->busy) {
            continue;
        }
        if (slot->buffer == NULL) {
            slot->buffer = aligned_alloc(BLOCK_BYTES, CHUNK_BYTES_MAX);
        }
        return slot->buffer != NULL ? slot : NULL;
    }
    return NULL;
}

/* What the rate allows: the copy of `bytes` may begin now, or the timer was set. */
static bool rate_allows(struct mover *mover, uint32_t bytes)
{
    uint64_t now_ns = loop_now_ns(mover->parts.loop);
    if (mover->parts.bytes_per_s == 0) {
        return true;
    }
    if (now_ns < mover->next_copy_ns) {
        loop_timer_start(mover->parts.loop, &mover->timer, mover->next_copy_ns);
        return false;
    }
    mover->next_copy_ns = now_ns + (uint64_t)bytes * NS_PER_S / mover->parts.bytes_per_s;
    return true;
}

static void copy_next(struct mover *mover)
{
    while (mover->next_item < mover->item_count) {
        uint64_t now_ns = loop_now_ns(mover->parts.loop);
        unsigned parallel = chunk_host_disk_has_clients(mover->disk, now_ns) ? 1 : MOVER_PARALLEL_MAX;
        if (!mover->items[mover->next_item].wanted) {
            mover->next_item++;
            continue;
        }
        if (mover->copying >= parallel || loop_timer_is_armed(&mover->timer)) {
            return;
        }
        struct mover_slot *slot = slot_take(mover);
        if (slot == NULL) {
            mover->failed = true; /* No memory: later. */
            mover->next_item = mover->item_count;
            break;
        }
        if (!rate_allows(mover, mover->items[mover->next_item].chunk_bytes)) {
            return;
        }
        slot->busy = true;
        slot->item = mover->next_item++;
        slot->tried = 0;
        slot->only_gone = true;
        mover->copying++;
        slot_fetch(slot);
    }
    if (mover->copying == 0 && mover->stage == MOVER_COPYING) {
        report(mover, false);
    }
}

/* ---- report -------------------------------------------------------------------------------------- */

static void report_answered(struct mover *mover, enum status status, bool complete)
{
    mover->calling = false;
    if (mover->stopped) {
        return;
    }
    if (status == STATUS_CONFLICT || status == STATUS_NOT_FOUND) {
        mover->given_up = true;
        move_over(mover, false);
    } else if (complete) {
        move_over(mover, status == STATUS_OK);
    } else {
        page_over(mover); /* Progress that nobody has heard of is no harm. */
    }
}

static void end_reported(struct rpc_call *call)
{
    report_answered(CONTAINER_OF(call, struct mover, call), call->status, true);
}

static void progress_reported(struct rpc_call *call)
{
    report_answered(CONTAINER_OF(call, struct mover, call), call->status, false);
}

static void report(struct mover *mover, bool complete)
{
    Trilith__MoveDoneRequest request = TRILITH__MOVE_DONE_REQUEST__INIT;
    request.disk_id = disk_id_of(mover);
    request.pg = current(mover)->pg;
    request.chunks = mover->chunks;
    request.bytes = mover->bytes;
    request.complete = complete;
    mover->stage = MOVER_REPORTING;
    call_start(mover, mover->parts.meta, TRILITH__MESSAGE_TYPE__MOVE_DONE, &request.base,
               complete ? end_reported : progress_reported);
}
