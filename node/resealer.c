/* resealer.c - pull hints, move one object at a time through a get and a put, at a bounded rate. */
#include "node/resealer.h"

#include "base/log.h"
#include "node/gateway_parts.h"
#include "node/object.h"

#include <inttypes.h>
#include <stdlib.h>

#define ITEMS_MAX       16u
#define BUCKET_NAME_MAX 63u
#define REST_NS         (5 * NS_PER_S) /* and up to a quarter more, so that nodes don't ask in step */
#define BUSY_PAUSE_NS   (100 * NS_PER_MS)
#define STALE_PAUSE_NS  (1 * NS_PER_S) /* all hints of a batch were of the past */
#define RETRY_FIRST_NS  (1 * NS_PER_S)
#define RETRY_LAST_NS   (60 * NS_PER_S)
#define BURST_NS        (20 * NS_PER_MS) /* how much unused time may be made up for */
#define OBJECT_COST_MIN UNIT_BYTES       /* of the smallest object, for its record, leaf and commit */
#define BUFFER_BYTES    UNIT_BYTES

struct reseal_item {
    uint64_t tenant_id;
    char bucket[BUCKET_NAME_MAX + 1];
    uint8_t key[OBJECT_KEY_BYTES_MAX];
    size_t key_bytes;
    struct version_id version;
    uint32_t dek_version;
};

struct resealer {
    struct gateway *gateway;
    struct loop *loop;
    uint64_t bytes_per_s;
    uint64_t node_id; /* 0: not joined */
    bool stopped;
    enum { RESEALER_RESTING, RESEALER_PULLING, RESEALER_OPENING, RESEALER_MOVING, RESEALER_COMMITTING } stage;
    struct loop_timer timer; /* RESTING: the next pull, or the next item; MOVING: the next piece */
    struct rpc_call call;
    uint64_t retry_ns;
    uint64_t paid_until_ns; /* everything moved so far has had its time by then */

    struct reseal_item items[ITEMS_MAX];
    uint32_t item_count;
    uint32_t next_item;
    uint32_t failed; /* of this batch */
    uint64_t batch_objects;
    uint64_t batch_bytes;
    uint64_t objects;

    struct object_get *get;
    struct object_put *put;
    uint64_t size; /* of the object at hand */
    uint64_t moved;
    uint8_t *buffer; /* guarded */
    size_t buffer_used;
    size_t buffer_taken;
};

static void timer_fired(struct loop_timer *timer);
static void item_move(struct resealer *resealer);

struct resealer *resealer_open(struct gateway *gateway, uint64_t bytes_per_s)
{
    CHECK(bytes_per_s >= RESEALER_BYTES_PER_S_MIN);
    uint8_t *buffer = guarded_take(BUFFER_BYTES);
    if (buffer == NULL) {
        return NULL;
    }
    struct resealer *resealer = calloc(1, sizeof(*resealer));
    CHECK(resealer != NULL);
    resealer->gateway = gateway;
    resealer->loop = gateway_loop(gateway);
    resealer->bytes_per_s = bytes_per_s;
    resealer->retry_ns = RETRY_FIRST_NS;
    resealer->buffer = buffer;
    resealer->timer.fire = timer_fired;
    return resealer;
}

uint64_t resealer_objects(const struct resealer *resealer)
{
    return resealer->objects;
}

bool resealer_is_idle(const struct resealer *resealer)
{
    return resealer->stage != RESEALER_PULLING;
}

void resealer_close(struct resealer *resealer)
{
    CHECK(resealer->stopped && resealer_is_idle(resealer));
    guarded_release(resealer->buffer);
    free(resealer);
}

/* ---- pace --------------------------------------------------------------------------------------- */

static void wake_at(struct resealer *resealer, uint64_t at_ns)
{
    loop_timer_start(resealer->loop, &resealer->timer, at_ns);
}

static void rest(struct resealer *resealer, uint64_t pause_ns)
{
    resealer->stage = RESEALER_RESTING;
    wake_at(resealer, loop_now_ns(resealer->loop) + pause_ns);
}

static uint64_t jittered_rest_ns(struct resealer *resealer)
{
    uint64_t random = 0;
    loop_random(resealer->loop, &random, sizeof(random));
    return REST_NS + random % (REST_NS / 4);
}

/* `bytes` were moved: that takes its time. */
static void pay(struct resealer *resealer, uint64_t bytes)
{
    uint64_t now_ns = loop_now_ns(resealer->loop);
    uint64_t from_ns = now_ns > BURST_NS ? now_ns - BURST_NS : 0;
    from_ns = resealer->paid_until_ns > from_ns ? resealer->paid_until_ns : from_ns;
    resealer->paid_until_ns = from_ns + bytes * NS_PER_S / resealer->bytes_per_s;
}

static bool must_wait(struct resealer *resealer)
{
    if (loop_now_ns(resealer->loop) >= resealer->paid_until_ns) {
        return false;
    }
    wake_at(resealer, resealer->paid_until_ns);
    return true;
}

/* ---- the end of an item, and of a batch ----------------------------------------------------------- */

static void buffer_wipe(struct resealer *resealer)
{
    wipe_memory(resealer->buffer, resealer->buffer_used);
    resealer->buffer_used = 0;
    resealer->buffer_taken = 0;
}

static void retry_later(struct resealer *resealer)
{
    rest(resealer, resealer->retry_ns);
    resealer->retry_ns = resealer->retry_ns * 2 < RETRY_LAST_NS ? resealer->retry_ns * 2 : RETRY_LAST_NS;
}

static void batch_over(struct resealer *resealer)
{
    if (resealer->batch_objects > 0) {
        log_event(LOG_INFO, "reseal_progress", "objects=%" PRIu64 " bytes=%" PRIu64, resealer->batch_objects,
                  resealer->batch_bytes);
    }
    if (resealer->batch_objects > 0 || resealer->failed == 0) {
        resealer->retry_ns = RETRY_FIRST_NS;
    }
    if (resealer->failed == 0) {
        rest(resealer, resealer->batch_objects > 0 ? 0 : STALE_PAUSE_NS);
        return;
    }
    log_event(LOG_INFO, "reseal_delayed", "failed=%u pause_s=%" PRIu64, resealer->failed,
              resealer->retry_ns / NS_PER_S);
    retry_later(resealer);
}

/* The item at hand is done with. What is no longer as it was when the hint was given is no failure. */
static void item_over(struct resealer *resealer, enum status status)
{
    if (resealer->get != NULL) {
        object_get_close(resealer->get);
        resealer->get = NULL;
    }
    buffer_wipe(resealer);
    pay(resealer, resealer->moved < OBJECT_COST_MIN ? OBJECT_COST_MIN - resealer->moved : 0);
    if (status == STATUS_OK) {
        resealer->objects++;
        resealer->batch_objects++;
        resealer->batch_bytes += resealer->size;
    } else if (status != STATUS_NOT_FOUND && status != STATUS_CONFLICT) {
        const struct reseal_item *item = &resealer->items[resealer->next_item];
        char hex[ID_HEX_BYTES];
        id_to_hex(item->version.bytes, hex);
        log_event(LOG_DEBUG, "reseal_failed", "tenant=%" PRIu64 " version=%s reason=%s", item->tenant_id, hex,
                  status_name(status));
        resealer->failed++;
    }
    resealer->next_item++;
    if (resealer->next_item == resealer->item_count) {
        batch_over(resealer);
    } else {
        rest(resealer, 0);
    }
}

/* ---- one item ----------------------------------------------------------------------------------- */

static void put_done(void *user, enum status status, const struct object_put_result *result)
{
    struct resealer *resealer = user;
    (void)result;
    resealer->put = NULL;
    item_over(resealer, status);
}

/* The get has failed: the put goes with it, and says when it is gone. */
static void item_give_up(struct resealer *resealer)
{
    loop_timer_stop(resealer->loop, &resealer->timer);
    resealer->stage = RESEALER_COMMITTING;
    object_put_abort(resealer->put);
}

/* Hand what is in the buffer to the put. False: it takes no more now. */
static bool buffer_hand_over(struct resealer *resealer)
{
    size_t left = resealer->buffer_used - resealer->buffer_taken;
    size_t taken = object_put_write(resealer->put, resealer->buffer + resealer->buffer_taken, left);
    resealer->buffer_taken += taken;
    resealer->moved += taken;
    pay(resealer, taken);
    if (taken < left) {
        return false;
    }
    buffer_wipe(resealer);
    return true;
}

/* Move pieces until something has to be waited for: the get, the put, or the pace. */
static void item_move(struct resealer *resealer)
{
    loop_timer_stop(resealer->loop, &resealer->timer); /* Whoever calls: the pace is asked again below. */
    while (resealer->moved < resealer->size) {
        if (resealer->buffer_used > 0) {
            if (!buffer_hand_over(resealer)) {
                return; /* put_writable() goes on. */
            }
            continue;
        }
        if (must_wait(resealer)) {
            return;
        }
        size_t taken = 0;
        if (object_get_read(resealer->get, resealer->buffer, BUFFER_BYTES, &taken) != STATUS_OK) {
            item_give_up(resealer);
            return;
        }
        if (taken == 0) {
            return; /* get_readable() goes on. */
        }
        resealer->buffer_used = taken;
    }
    resealer->stage = RESEALER_COMMITTING;
    object_put_finish(resealer->put);
}

static void put_writable(void *user)
{
    struct resealer *resealer = user;
    if (resealer->stage == RESEALER_MOVING) {
        item_move(resealer);
    }
}

static void get_readable(void *user)
{
    struct resealer *resealer = user;
    if (resealer->stage == RESEALER_MOVING) {
        item_move(resealer);
    }
}

static enum status item_begin_put(struct resealer *resealer, const struct object_info *info)
{
    const struct reseal_item *item = &resealer->items[resealer->next_item];
    if (memcmp(info->version.bytes, item->version.bytes, sizeof(info->version.bytes)) != 0 ||
        info->dek_version != item->dek_version) {
        return STATUS_CONFLICT;
    }
    tenant_keys_note_rotation(resealer->gateway->tenant_keys, item->tenant_id, item->dek_version);
    struct object_put_request request = {.tenant_id = item->tenant_id,
                                         .bucket_id = info->bucket_id,
                                         .suite = info->suite,
                                         .key = item->key,
                                         .key_bytes = item->key_bytes,
                                         .size = info->size,
                                         .meta = info->meta,
                                         .reseal_from = item->dek_version,
                                         .version = &item->version,
                                         .user = resealer,
                                         .writable = put_writable,
                                         .done = put_done};
    resealer->put = object_put_start(resealer->gateway, &request);
    return resealer->put == NULL ? STATUS_BUSY : STATUS_OK;
}

static void get_opened(void *user, enum status status, const struct object_info *info)
{
    struct resealer *resealer = user;
    if (status == STATUS_OK) {
        status = item_begin_put(resealer, info);
    }
    if (status != STATUS_OK) {
        item_over(resealer, status);
        return;
    }
    resealer->size = info->size;
    resealer->stage = RESEALER_MOVING;
    if (info->size > 0) {
        object_get_range(resealer->get, 0, info->size);
    }
    item_move(resealer);
}

static void item_start(struct resealer *resealer)
{
    if (gateway_is_busy(resealer->gateway)) {
        rest(resealer, BUSY_PAUSE_NS);
        return;
    }
    if (must_wait(resealer)) {
        return;
    }
    const struct reseal_item *item = &resealer->items[resealer->next_item];
    resealer->size = 0;
    resealer->moved = 0;
    struct object_get_request request = {.tenant_id = item->tenant_id,
                                         .bucket = item->bucket,
                                         .key = item->key,
                                         .key_bytes = item->key_bytes,
                                         .user = resealer,
                                         .opened = get_opened,
                                         .readable = get_readable};
    resealer->get = object_get_open(resealer->gateway, &request);
    if (resealer->get == NULL) {
        rest(resealer, BUSY_PAUSE_NS);
        return;
    }
    resealer->stage = RESEALER_OPENING;
}

/* ---- pull --------------------------------------------------------------------------------------- */

static bool item_decode(const Trilith__ResealItem *wire, struct reseal_item *item)
{
    if (wire->bucket == NULL || strlen(wire->bucket) > BUCKET_NAME_MAX || wire->key.len == 0 ||
        wire->key.len > OBJECT_KEY_BYTES_MAX || wire->version_id.len != sizeof(item->version.bytes) ||
        wire->dek_version == 0) {
        return false;
    }
    item->tenant_id = wire->tenant_id;
    memcpy(item->bucket, wire->bucket, strlen(wire->bucket) + 1);
    memcpy(item->key, wire->key.data, wire->key.len);
    item->key_bytes = wire->key.len;
    memcpy(item->version.bytes, wire->version_id.data, sizeof(item->version.bytes));
    item->dek_version = wire->dek_version;
    return true;
}

/* Take the items over, beginning anywhere in the list: another node that got the same ones meets us late. */
static enum status items_accept(struct resealer *resealer, const Trilith__ResealPullReply *reply)
{
    if (reply == NULL || reply->n_items > ITEMS_MAX) {
        return STATUS_CORRUPT;
    }
    uint64_t random = 0;
    loop_random(resealer->loop, &random, sizeof(random));
    for (size_t i = 0; i < reply->n_items; i++) {
        if (!item_decode(reply->items[(i + random % ITEMS_MAX) % reply->n_items], &resealer->items[i])) {
            return STATUS_CORRUPT;
        }
    }
    resealer->item_count = (uint32_t)reply->n_items;
    return STATUS_OK;
}

static void pulled(struct rpc_call *call)
{
    struct resealer *resealer = CONTAINER_OF(call, struct resealer, call);
    const Trilith__ResealPullReply *reply = (const Trilith__ResealPullReply *)call->reply;
    resealer->stage = RESEALER_RESTING;
    resealer->item_count = 0;
    resealer->next_item = 0;
    resealer->failed = 0;
    resealer->batch_objects = 0;
    resealer->batch_bytes = 0;
    if (resealer->stopped) {
        return;
    }
    enum status status = call->status == STATUS_OK ? items_accept(resealer, reply) : call->status;
    if (status != STATUS_OK) {
        log_event(LOG_DEBUG, "reseal_pull_failed", "reason=%s", status_name(status));
        resealer->item_count = 0;
        retry_later(resealer);
    } else if (resealer->item_count == 0) {
        resealer->retry_ns = RETRY_FIRST_NS;
        rest(resealer, jittered_rest_ns(resealer));
    } else {
        item_start(resealer);
    }
}

static void pull(struct resealer *resealer)
{
    Trilith__ResealPullRequest request = TRILITH__RESEAL_PULL_REQUEST__INIT;
    request.node_id = resealer->node_id;
    request.max = ITEMS_MAX;
    memset(&resealer->call, 0, sizeof(resealer->call));
    resealer->call.type = TRILITH__MESSAGE_TYPE__RESEAL_PULL;
    resealer->call.deadline_ns = gateway_meta_deadline_ns(resealer->gateway);
    resealer->call.may_repeat = true;
    resealer->call.done = pulled;
    resealer->stage = RESEALER_PULLING;
    rpc_call_start(gateway_meta(resealer->gateway), &resealer->call, &request.base);
}

static void timer_fired(struct loop_timer *timer)
{
    struct resealer *resealer = CONTAINER_OF(timer, struct resealer, timer);
    if (resealer->stage == RESEALER_MOVING) {
        item_move(resealer);
    } else if (resealer->next_item < resealer->item_count) {
        item_start(resealer);
    } else {
        pull(resealer);
    }
}

/* ---- life --------------------------------------------------------------------------------------- */

void resealer_set_node(struct resealer *resealer, uint64_t node_id)
{
    bool begins = resealer->node_id == 0 && node_id != 0 && !resealer->stopped;
    resealer->node_id = node_id;
    if (begins) {
        rest(resealer, jittered_rest_ns(resealer));
    }
}

void resealer_stop(struct resealer *resealer)
{
    resealer->stopped = true;
    loop_timer_stop(resealer->loop, &resealer->timer);
    if (resealer->get != NULL) {
        object_get_close(resealer->get);
        resealer->get = NULL;
    }
    if (resealer->put != NULL) {
        object_put_detach(resealer->put);
        resealer->put = NULL;
    }
    buffer_wipe(resealer);
    if (resealer->stage == RESEALER_PULLING) {
        rpc_call_cancel(&resealer->call);
    } else {
        resealer->stage = RESEALER_RESTING;
    }
}
