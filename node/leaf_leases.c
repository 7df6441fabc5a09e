/* leaf_leases.c - the stock of leaves of each bucket, the puts that wait for one, and the calls for leaves to
 * reseal. */
#include "node/leaf_leases.h"

#include "base/buggify.h"

#include <stdlib.h>

struct leaf_stock {
    struct leaf_leases *leases;
    bool used;
    bool fetching;
    bool deliver_queued;
    uint64_t tenant_id;
    uint64_t bucket_id;
    uint64_t used_ns; /* when a leaf was last asked for */
    struct leaf leaves[LEAF_STOCK_MAX];
    uint32_t first; /* ring: the oldest leaf */
    uint32_t count;
    struct list waits;
    struct loop_task deliver;
    struct rpc_call call;
};

/* A call for one leaf, to seal a version anew. */
struct leaf_call {
    struct leaf_leases *leases;
    bool used;
    struct leaf_wait *wait; /* NULL: cancelled */
    struct rpc_call call;
};

struct leaf_leases {
    struct loop *loop;
    struct rpc_client *meta;
    struct key_pool *pool;
    uint64_t call_ns;
    uint64_t node_id;
    struct list refused;
    struct loop_task refuse;
    bool refuse_queued;
    struct leaf_stock stocks[LEAF_BUCKETS_MAX];
    struct leaf_call calls[LEAF_RESEALS_MAX];
};

static void stock_deliver(struct loop_task *task);
static void refuse_run(struct loop_task *task);

struct leaf_leases *leaf_leases_open(struct loop *loop, struct rpc_client *meta, struct key_pool *pool,
                                     uint64_t call_ns)
{
    struct leaf_leases *leases = calloc(1, sizeof(*leases));
    CHECK(leases != NULL);
    leases->loop = loop;
    leases->meta = meta;
    leases->pool = pool;
    leases->call_ns = call_ns;
    list_init(&leases->refused);
    leases->refuse.run = refuse_run;
    for (uint32_t i = 0; i < LEAF_BUCKETS_MAX; i++) {
        leases->stocks[i].leases = leases;
        leases->stocks[i].deliver.run = stock_deliver;
        list_init(&leases->stocks[i].waits);
    }
    for (uint32_t i = 0; i < LEAF_RESEALS_MAX; i++) {
        leases->calls[i].leases = leases;
    }
    return leases;
}

static struct leaf stock_pop(struct leaf_stock *stock)
{
    CHECK(stock->count > 0);
    struct leaf leaf = stock->leaves[stock->first];
    stock->leaves[stock->first].key = NULL;
    stock->first = (stock->first + 1) % LEAF_STOCK_MAX;
    stock->count--;
    return leaf;
}

static void stock_drop_lapsed(struct leaf_stock *stock, uint64_t now_ns)
{
    while (stock->count > 0 && stock->leaves[stock->first].until_ns <= now_ns) {
        key_release(stock->leases->pool, stock_pop(stock).key);
    }
}

void leaf_leases_stop(struct leaf_leases *leases)
{
    leases->meta = NULL;
}

void leaf_leases_close(struct leaf_leases *leases)
{
    CHECK(leaf_leases_is_idle(leases));
    for (uint32_t i = 0; i < LEAF_BUCKETS_MAX; i++) {
        stock_drop_lapsed(&leases->stocks[i], UINT64_MAX);
    }
    free(leases);
}

bool leaf_leases_is_idle(const struct leaf_leases *leases)
{
    bool idle = !leases->refuse_queued;
    for (uint32_t i = 0; i < LEAF_BUCKETS_MAX; i++) {
        idle = idle && !leases->stocks[i].fetching && !leases->stocks[i].deliver_queued;
    }
    for (uint32_t i = 0; i < LEAF_RESEALS_MAX; i++) {
        idle = idle && !leases->calls[i].used;
    }
    return idle;
}

void leaf_leases_set_node(struct leaf_leases *leases, uint64_t node_id)
{
    leases->node_id = node_id;
}

/* ---- refill ------------------------------------------------------------------------------------- */

static bool reply_is_right(const Trilith__LeafLeaseReply *reply)
{
    if (reply == NULL || reply->n_leaves == 0) {
        return false;
    }
    for (size_t i = 0; i < reply->n_leaves; i++) {
        if (reply->leaves[i].len != KEY_BYTES) {
            return false;
        }
    }
    return true;
}

/* Put the leaves into the stock. Those that find no room, or no slot for their key, are passed over: a leaf that is
 * never used costs nothing but itself. */
static void stock_accept(struct leaf_stock *stock, const Trilith__LeafLeaseReply *reply)
{
    uint64_t lease_ns = BUGGIFY(BUGGIFY_GATEWAY_LEAVES_LAPSED) ? 0 : reply->lease_ms * NS_PER_MS;
    uint64_t until_ns = loop_now_ns(stock->leases->loop) + lease_ns - lease_ns / 8;
    for (size_t i = 0; i < reply->n_leaves && stock->count < LEAF_STOCK_MAX; i++) {
        struct key *key = key_take(stock->leases->pool);
        if (key == NULL) {
            return;
        }
        memcpy(key->bytes, reply->leaves[i].data, KEY_BYTES);
        stock->leaves[(stock->first + stock->count++) % LEAF_STOCK_MAX] = (struct leaf){
            .page = reply->page, .slot = reply->first_slot + (uint32_t)i, .key = key, .until_ns = until_ns};
    }
}

static void reply_wipe(const Trilith__LeafLeaseReply *reply)
{
    for (size_t i = 0; reply != NULL && i < reply->n_leaves; i++) {
        wipe_memory(reply->leaves[i].data, reply->leaves[i].len);
    }
}

static void stock_fail_waits(struct leaf_stock *stock, enum status status)
{
    struct list told;
    list_init(&told);
    for (struct list_link *link; (link = list_take_first(&stock->waits)) != NULL;) {
        list_append(&told, link);
    }
    for (struct list_link *link; (link = list_take_first(&told)) != NULL;) {
        struct leaf_wait *wait = LIST_ENTRY(link, struct leaf_wait, link);
        wait->done(wait, status, NULL);
    }
}

static void stock_serve(struct leaf_stock *stock);
static void stock_serve_and_refill(struct leaf_stock *stock);

static void stock_refilled(struct rpc_call *call)
{
    struct leaf_stock *stock = CONTAINER_OF(call, struct leaf_stock, call);
    const Trilith__LeafLeaseReply *reply = (const Trilith__LeafLeaseReply *)call->reply;
    enum status status = call->status;
    stock->fetching = false;
    if (status == STATUS_OK) {
        uint32_t before = stock->count;
        status = reply_is_right(reply) ? STATUS_OK : STATUS_CORRUPT;
        if (status == STATUS_OK) {
            stock_accept(stock, reply);
            status = stock->count > before ? STATUS_OK : STATUS_BUSY;
        }
    }
    reply_wipe(reply);
    if (status == STATUS_OK) {
        stock_serve_and_refill(stock);
        return;
    }
    stock_serve(stock);
    stock_fail_waits(stock, status);
}

static void lease_start(struct leaf_leases *leases, struct rpc_call *call, Trilith__LeafLeaseRequest *request,
                        void (*done)(struct rpc_call *call))
{
    request->node_id = leases->node_id;
    memset(call, 0, sizeof(*call));
    call->type = TRILITH__MESSAGE_TYPE__LEAF_LEASE;
    call->deadline_ns = loop_now_ns(leases->loop) + leases->call_ns;
    call->may_repeat =
        true; /* Leaves leased twice are lost, or the second takes the place of the first: never wrong. */
    call->done = done;
    rpc_call_start(leases->meta, call, &request->base);
}

static void stock_refill(struct leaf_stock *stock)
{
    if (stock->leases->meta == NULL) {
        stock_fail_waits(stock, STATUS_UNAVAILABLE);
        return;
    }
    Trilith__LeafLeaseRequest request = TRILITH__LEAF_LEASE_REQUEST__INIT;
    request.tenant_id = stock->tenant_id;
    request.bucket_id = stock->bucket_id;
    request.count = BUGGIFY(BUGGIFY_GATEWAY_LEASE_OF_ONE_LEAF) ? 1 : LEAF_LEASE_COUNT;
    stock->fetching = true;
    lease_start(stock->leases, &stock->call, &request, stock_refilled);
}

/* ---- leaves to seal versions anew --------------------------------------------------------------- */

/* The leaf of a reply goes to who waits for it. */
static enum status call_take_leaf(struct leaf_call *call, const Trilith__LeafLeaseReply *reply, struct leaf *leaf)
{
    if (!reply_is_right(reply) || reply->n_leaves != 1) {
        return STATUS_CORRUPT;
    }
    uint64_t lease_ns = reply->lease_ms * NS_PER_MS;
    *leaf = (struct leaf){.page = reply->page,
                          .slot = reply->first_slot,
                          .key = key_take(call->leases->pool),
                          .until_ns = loop_now_ns(call->leases->loop) + lease_ns - lease_ns / 8};
    if (leaf->key == NULL) {
        return STATUS_BUSY;
    }
    memcpy(leaf->key->bytes, reply->leaves[0].data, KEY_BYTES);
    return STATUS_OK;
}

static void call_done(struct rpc_call *rpc)
{
    struct leaf_call *call = CONTAINER_OF(rpc, struct leaf_call, call);
    const Trilith__LeafLeaseReply *reply = (const Trilith__LeafLeaseReply *)rpc->reply;
    struct leaf_wait *wait = call->wait;
    struct leaf leaf = {0};
    enum status status = rpc->status;
    if (status == STATUS_OK && wait != NULL) {
        status = call_take_leaf(call, reply, &leaf);
    }
    reply_wipe(reply);
    call->used = false;
    call->wait = NULL;
    if (wait != NULL) {
        wait->call = NULL;
        wait->done(wait, status, status == STATUS_OK ? &leaf : NULL);
    }
}

static void call_start(struct leaf_call *call, struct leaf_wait *wait)
{
    const struct leaf_reseal *reseal = wait->reseal;
    Trilith__LeafLeaseRequest request = TRILITH__LEAF_LEASE_REQUEST__INIT;
    request.tenant_id = wait->tenant_id;
    request.bucket_id = wait->bucket_id;
    request.count = 1;
    request.reseal_key = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)reseal->key, .len = reseal->key_bytes};
    request.reseal_version = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)reseal->version->bytes,
                                                   .len = sizeof(reseal->version->bytes)};
    call->used = true;
    call->wait = wait;
    wait->call = call;
    lease_start(call->leases, &call->call, &request, call_done);
}

/* NULL: as many calls as there may be are under way, or none is to be made any more. */
static struct leaf_call *call_find(struct leaf_leases *leases)
{
    for (uint32_t i = 0; leases->meta != NULL && i < LEAF_RESEALS_MAX; i++) {
        if (!leases->calls[i].used) {
            return &leases->calls[i];
        }
    }
    return NULL;
}

/* ---- take --------------------------------------------------------------------------------------- */

/* Serve who waits, in order, as long as there are leaves. */
static void stock_serve(struct leaf_stock *stock)
{
    stock_drop_lapsed(stock, loop_now_ns(stock->leases->loop));
    while (stock->count > 0 && !list_is_empty(&stock->waits)) {
        struct leaf_wait *wait = LIST_ENTRY(list_take_first(&stock->waits), struct leaf_wait, link);
        struct leaf leaf = stock_pop(stock);
        wait->done(wait, STATUS_OK, &leaf);
    }
}

static void stock_serve_and_refill(struct leaf_stock *stock)
{
    stock_serve(stock);
    if (stock->count < LEAF_LEASE_COUNT / 4 && !stock->fetching) {
        stock_refill(stock);
    }
}

static void stock_deliver(struct loop_task *task)
{
    struct leaf_stock *stock = CONTAINER_OF(task, struct leaf_stock, deliver);
    stock->deliver_queued = false;
    stock_serve_and_refill(stock);
}

static void refuse_run(struct loop_task *task)
{
    struct leaf_leases *leases = CONTAINER_OF(task, struct leaf_leases, refuse);
    leases->refuse_queued = false;
    for (struct list_link *link; (link = list_take_first(&leases->refused)) != NULL;) {
        struct leaf_wait *wait = LIST_ENTRY(link, struct leaf_wait, link);
        wait->done(wait, STATUS_BUSY, NULL);
    }
}

/* The stock of a bucket, made in place of the one that has been idle longest; NULL when all are in use. */
static struct leaf_stock *stock_find(struct leaf_leases *leases, uint64_t tenant_id, uint64_t bucket_id)
{
    struct leaf_stock *victim = NULL;
    for (uint32_t i = 0; i < LEAF_BUCKETS_MAX; i++) {
        struct leaf_stock *stock = &leases->stocks[i];
        if (stock->used && stock->tenant_id == tenant_id && stock->bucket_id == bucket_id) {
            return stock;
        }
        bool idle = !stock->fetching && !stock->deliver_queued && list_is_empty(&stock->waits);
        if (idle && (victim == NULL || stock->used_ns < victim->used_ns)) {
            victim = stock;
        }
    }
    if (victim != NULL) {
        stock_drop_lapsed(victim, UINT64_MAX);
        victim->used = true;
        victim->tenant_id = tenant_id;
        victim->bucket_id = bucket_id;
    }
    return victim;
}

static void refuse_later(struct leaf_leases *leases, struct leaf_wait *wait)
{
    list_append(&leases->refused, &wait->link);
    if (!leases->refuse_queued) {
        leases->refuse_queued = true;
        loop_defer(leases->loop, &leases->refuse);
    }
}

static void take_for_reseal(struct leaf_leases *leases, struct leaf_wait *wait)
{
    struct leaf_call *call = call_find(leases);
    if (call == NULL) {
        refuse_later(leases, wait);
    } else {
        call_start(call, wait);
    }
    wait->reseal = NULL;
}

void leaf_leases_take(struct leaf_leases *leases, struct leaf_wait *wait)
{
    if (wait->reseal != NULL) {
        take_for_reseal(leases, wait);
        return;
    }
    struct leaf_stock *stock = stock_find(leases, wait->tenant_id, wait->bucket_id);
    if (stock == NULL) {
        refuse_later(leases, wait);
        return;
    }
    stock->used_ns = loop_now_ns(leases->loop);
    list_append(&stock->waits, &wait->link);
    if (!stock->deliver_queued) {
        stock->deliver_queued = true;
        loop_defer(leases->loop, &stock->deliver);
    }
}

void leaf_leases_cancel(struct leaf_wait *wait)
{
    list_remove(&wait->link);
    if (wait->call != NULL) {
        wait->call->wait = NULL; /* Its leaf is wiped when it comes; the version's row has a note of it. */
        wait->call = NULL;
    }
}

void leaf_leases_sweep(struct leaf_leases *leases)
{
    for (uint32_t i = 0; i < LEAF_BUCKETS_MAX; i++) {
        stock_drop_lapsed(&leases->stocks[i], loop_now_ns(leases->loop));
    }
}
