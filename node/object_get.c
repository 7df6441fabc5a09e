/* object_get.c - one GET: the record from the catalog, units fetched ahead, checked, opened, handed out.
 *
 *   open ──> OBJECT_GET ──> DEK ──> opened(info)         range ──> windows ──> read ──> STATUS_CLOSED
 *
 * A window is what the range needs of one chunk, in one slab. The front window is being handed out while the one
 * behind it is fetched:
 *
 *   FREE ──> WAITING (for a slab, only when the get holds none) ──> FETCHING ──> READY ──handed out──> FREE
 *                                                        ^   │ error, timeout, mismatch     │ a unit does not open
 *                                             next replica└───┴── PAUSING (second round) <──┘
 *                                                            └──> FAILED: nobody has it
 *
 * Units are opened when they are handed out, while they go through the cache anyway. A unit whose CRC is right but that
 * does not open is a mismatch like any other: the rest of the window is fetched from another replica. */
#include "node/gateway_parts.h"
#include "node/read_plan.h"

#include "base/buggify.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

#define WINDOWS         2u
#define SECOND_ROUND_NS (250 * NS_PER_MS)
#define BUCKET_NAME_MAX 63

struct get_window {
    struct object_get *get;
    enum { WINDOW_FREE, WINDOW_WAITING, WINDOW_FETCHING, WINDOW_PAUSING, WINDOW_READY, WINDOW_FAILED } stage;
    uint32_t chunk;       /* index in the object */
    uint64_t chunk_start; /* offset of the chunk in the object */
    uint64_t end;         /* offset in the object of the first byte behind what the range wants of this chunk */
    uint32_t next_unit;   /* the first that is not open yet */
    uint32_t end_unit;
    uint32_t data_unit; /* the unit at the start of fetch.data */
    enum status status; /* of WINDOW_FAILED */
    struct slab *slab;
    struct slab_waiter waiter;
    struct read_plan plan;
    struct loop_timer timer;
    struct chunk_fetch fetch;
};

struct get_ref {
    struct chunk_id id;
    uint32_t pg;
    uint32_t bytes;
};

struct object_get {
    struct gateway *gateway;
    struct list_link link;
    struct object_get_request request; /* its pointers are not used after the open */
    bool closed;
    bool calling;
    bool wake_queued;
    struct loop_task wake;
    struct rpc_call call;
    struct tenant_key_wait dek_wait;
    struct key *leaf;
    struct key *object_key;
    struct object_identity identity;
    struct object_info info;
    enum suite suite;
    size_t sealed_meta_bytes;

    uint64_t position; /* next byte to hand out */
    uint64_t end;      /* of the range */
    bool has_range;
    uint32_t chunk_count;
    uint32_t next_chunk; /* next to open a window for */
    uint64_t next_chunk_start;
    struct get_window windows[WINDOWS];
    unsigned front;
    unsigned active;

    uint8_t key[OBJECT_KEY_BYTES_MAX];
    size_t key_bytes;
    struct object_meta meta;
    uint8_t sealed_meta[OBJECT_META_SEALED_MAX];
    struct get_ref refs[OBJECT_CHUNKS_MAX];
};

static void windows_advance(struct object_get *get);
static void window_ask(struct get_window *window);

/* ---- the pool of gets --------------------------------------------------------------------------- */

void object_gets_open(struct gateway *gateway, uint32_t gets_max)
{
    gateway->gets = calloc(gets_max, sizeof(*gateway->gets));
    CHECK(gateway->gets != NULL);
    list_init(&gateway->free_gets);
    list_init(&gateway->active_gets);
    for (uint32_t i = 0; i < gets_max; i++) {
        gateway->gets[i].gateway = gateway;
        list_append(&gateway->free_gets, &gateway->gets[i].link);
    }
}

void object_gets_stop(struct gateway *gateway)
{
    LIST_EACH (&gateway->active_gets, link) {
        struct object_get *get = LIST_ENTRY(link, struct object_get, link);
        if (!get->closed) {
            object_get_close(get);
        }
    }
}

void object_gets_close(struct gateway *gateway)
{
    CHECK(list_is_empty(&gateway->active_gets));
    free(gateway->gets);
}

static void window_release_slab(struct get_window *window)
{
    slab_release(window->slab);
    window->slab = NULL;
}

static void get_release_keys(struct object_get *get)
{
    key_release(get->gateway->keys, get->leaf);
    key_release(get->gateway->keys, get->object_key);
    get->leaf = NULL;
    get->object_key = NULL;
}

/* Give the slot back when nothing of a closed get is under way any more. */
static void get_try_free(struct object_get *get)
{
    if (!get->closed || get->calling || get->wake_queued) {
        return;
    }
    for (unsigned i = 0; i < WINDOWS; i++) {
        if (get->windows[i].stage != WINDOW_FREE) {
            return;
        }
    }
    list_remove(&get->link);
    get->gateway->gets_in_flight--;
    wipe_memory(get->meta.bytes, get->meta.used);
    list_append(&get->gateway->free_gets, &get->link);
}

void object_get_close(struct object_get *get)
{
    CHECK(!get->closed);
    get->closed = true;
    tenant_keys_cancel(&get->dek_wait);
    if (get->calling) {
        rpc_call_cancel(&get->call);
    }
    for (unsigned i = 0; i < WINDOWS; i++) {
        struct get_window *window = &get->windows[i];
        if (window->stage != WINDOW_FREE) {
            gateway_sealer_forget(get->gateway, &get->refs[window->chunk].id);
        }
        if (window->stage == WINDOW_FETCHING) {
            /* Its slab is released when the fetch has ended. To break it off would break the connection for others. */
            if (get->gateway->stopped) {
                chunk_fetch_cancel(&window->fetch);
            }
            continue;
        }
        if (window->stage == WINDOW_WAITING) {
            slab_wait_cancel(get->gateway->slabs, &window->waiter);
        }
        loop_timer_stop(get->gateway->loop, &window->timer);
        if (window->slab != NULL) {
            window_release_slab(window);
        }
        window->stage = WINDOW_FREE;
    }
    get_release_keys(get);
    get_try_free(get);
}

static void wake_run(struct loop_task *task)
{
    struct object_get *get = CONTAINER_OF(task, struct object_get, wake);
    get->wake_queued = false;
    if (get->closed) {
        get_try_free(get);
        return;
    }
    get->request.readable(get->request.user);
}

static void get_wake(struct object_get *get)
{
    if (!get->wake_queued) {
        get->wake_queued = true;
        loop_defer(get->gateway->loop, &get->wake);
    }
}

/* ---- the record ---------------------------------------------------------------------------------- */

static void get_opened(struct object_get *get, enum status status)
{
    if (status != STATUS_OK) {
        get_release_keys(get);
    }
    get->request.opened(get->request.user, status, status == STATUS_OK ? &get->info : NULL);
}

/* The record and its key are here: can its sealed part be opened? Then it is what was committed. */
static void dek_ready(struct tenant_key_wait *wait, enum status status, const struct key *dek, uint32_t dek_version)
{
    struct object_get *get = CONTAINER_OF(wait, struct object_get, dek_wait);
    (void)dek_version;
    if (status != STATUS_OK) {
        bool may_say = status == STATUS_TIMEOUT || status == STATUS_DENIED;
        get_opened(get, status == STATUS_NOT_FOUND ? STATUS_DENIED : (may_say ? status : STATUS_UNAVAILABLE));
        return;
    }
    struct key *meta_key = key_take(get->gateway->keys);
    get->object_key = key_take(get->gateway->keys);
    if (meta_key == NULL || get->object_key == NULL) {
        key_release(get->gateway->keys, meta_key);
        get_opened(get, STATUS_UNAVAILABLE);
        return;
    }
    derive_object_key(get->leaf, dek, &get->identity, get->object_key);
    derive_meta_key(get->object_key, meta_key);
    key_release(get->gateway->keys, get->leaf);
    get->leaf = NULL;
    status = object_meta_open(meta_key, &get->identity, get->info.size, get->sealed_meta, get->sealed_meta_bytes,
                              &get->meta);
    key_release(get->gateway->keys, meta_key);
    if (status != STATUS_OK) {
        char hex[ID_HEX_BYTES];
        id_to_hex(get->info.version.bytes, hex);
        log_event(LOG_ERROR, "object_record_mismatch", "version=%s", hex);
    }
    get_opened(get, status);
}

static bool refs_accept(struct object_get *get, const Trilith__Object *object)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < object->n_chunks; i++) {
        const Trilith__ChunkRef *ref = object->chunks[i];
        if (ref->chunk_id.len != sizeof(get->refs[i].id.bytes) || ref->chunk_bytes == 0 ||
            ref->chunk_bytes > CHUNK_BYTES_MAX) {
            return false;
        }
        memcpy(get->refs[i].id.bytes, ref->chunk_id.data, sizeof(get->refs[i].id.bytes));
        get->refs[i].pg = ref->pg;
        get->refs[i].bytes = ref->chunk_bytes;
        sum += ref->chunk_bytes;
    }
    get->chunk_count = (uint32_t)object->n_chunks;
    return sum == object->size;
}

/* Take a record from the catalog over, checking what will be relied on. */
static enum status record_accept(struct object_get *get, const Trilith__ObjectGetReply *reply)
{
    const Trilith__Object *object = reply == NULL ? NULL : reply->object;
    if (object == NULL || object->version_id.len != sizeof(get->info.version.bytes) ||
        object->n_chunks > OBJECT_CHUNKS_MAX || object->sealed_meta.len > OBJECT_META_SEALED_MAX ||
        object->etag == NULL || strlen(object->etag) >= sizeof(get->info.etag) || reply->leaf.len != KEY_BYTES ||
        !suite_is_supported(get->gateway->sealer, (enum suite)object->suite) || !refs_accept(get, object)) {
        return STATUS_CORRUPT;
    }
    get->suite = (enum suite)object->suite;
    get->info.size = object->size;
    get->info.modified_ms = object->modified_ms;
    get->info.meta = &get->meta;
    memcpy(get->info.version.bytes, object->version_id.data, sizeof(get->info.version.bytes));
    memcpy(get->info.etag, object->etag, strlen(object->etag) + 1);
    get->sealed_meta_bytes = object->sealed_meta.len;
    if (get->sealed_meta_bytes > 0) {
        memcpy(get->sealed_meta, object->sealed_meta.data, get->sealed_meta_bytes);
    }
    derive_identity(get->request.tenant_id, reply->bucket_id, &get->info.version, get->key, get->key_bytes,
                    &get->identity);
    get->leaf = key_take(get->gateway->keys);
    if (get->leaf == NULL) {
        return STATUS_UNAVAILABLE;
    }
    memcpy(get->leaf->bytes, reply->leaf.data, KEY_BYTES);
    get->dek_wait.dek_version = object->dek_version;
    return STATUS_OK;
}

static enum status status_of_record(enum status status)
{
    switch (status) {
    case STATUS_OK:
    case STATUS_NOT_FOUND:
    case STATUS_CONFLICT:
    case STATUS_TIMEOUT:
    case STATUS_DENIED:
    case STATUS_CORRUPT:
        return status;
    case STATUS_GONE: /* its leaf is punctured: for a reader it does not exist any more */
        return STATUS_NOT_FOUND;
    default:
        return STATUS_UNAVAILABLE;
    }
}

static void record_here(struct rpc_call *call)
{
    struct object_get *get = CONTAINER_OF(call, struct object_get, call);
    const Trilith__ObjectGetReply *reply = (const Trilith__ObjectGetReply *)call->reply;
    enum status status = status_of_record(call->status);
    get->calling = false;
    if (!get->closed && status == STATUS_OK) {
        status = record_accept(get, reply);
    }
    if (reply != NULL && reply->leaf.data != NULL) {
        wipe_memory(reply->leaf.data, reply->leaf.len);
    }
    if (get->closed) {
        get_try_free(get);
    } else if (status != STATUS_OK) {
        get_opened(get, status);
    } else {
        get->dek_wait.tenant_id = get->request.tenant_id;
        get->dek_wait.done = dek_ready;
        tenant_keys_get(get->gateway->tenant_keys, &get->dek_wait);
    }
}

static void record_ask(struct object_get *get, const char *bucket_name)
{
    char bucket[BUCKET_NAME_MAX + 1];
    snprintf(bucket, sizeof(bucket), "%s", bucket_name);
    Trilith__ObjectGetRequest request;
    trilith__object_get_request__init(&request);
    request.tenant_id = get->request.tenant_id;
    request.bucket = bucket;
    request.key.data = get->key;
    request.key.len = get->key_bytes;
    get->call.type = TRILITH__MESSAGE_TYPE__OBJECT_GET;
    get->call.deadline_ns = gateway_meta_deadline_ns(get->gateway);
    get->call.may_repeat = true;
    get->call.done = record_here;
    get->calling = true;
    rpc_call_start(get->gateway->meta, &get->call, &request.base);
}

struct object_get *object_get_open(struct gateway *gateway, const struct object_get_request *request)
{
    CHECK(request->key_bytes > 0 && request->key_bytes <= OBJECT_KEY_BYTES_MAX);
    CHECK(strlen(request->bucket) <= BUCKET_NAME_MAX);
    struct list_link *link = gateway->stopped ? NULL : list_take_first(&gateway->free_gets);
    if (link == NULL) {
        return NULL;
    }
    struct object_get *get = LIST_ENTRY(link, struct object_get, link);
    /* What follows the key is long: its used parts are written before they are read. */
    memset(get, 0, offsetof(struct object_get, key));
    get->gateway = gateway;
    list_append(&gateway->active_gets, &get->link);
    gateway->gets_in_flight++;
    get->request = *request;
    get->key_bytes = request->key_bytes;
    memcpy(get->key, request->key, request->key_bytes);
    get->request.key = NULL;
    get->request.bucket = NULL;
    get->meta.used = 0;
    get->meta.count = 0;
    get->wake.run = wake_run;
    for (unsigned i = 0; i < WINDOWS; i++) {
        get->windows[i].get = get;
    }
    record_ask(get, request->bucket);
    return get;
}

/* ---- windows ------------------------------------------------------------------------------------- */

static void window_failed(struct get_window *window, enum status status)
{
    window->stage = WINDOW_FAILED;
    window->status = status;
    window_release_slab(window);
    get_wake(window->get);
}

/* A copy did not hold what was sealed. Counted and logged once per copy seen: the scrubber's business is to repair it. */
static void note_mismatch(struct get_window *window, const char *found_by)
{
    char hex[ID_HEX_BYTES];
    id_to_hex(window->fetch.id.bytes, hex);
    window->get->gateway->replica_mismatches++;
    log_event(LOG_WARNING, "replica_mismatch", "chunk=%s disk=%u found_by=%s", hex, window->fetch.disk_id, found_by);
}

static void window_fetched(struct chunk_fetch *fetch, enum status status)
{
    struct get_window *window = CONTAINER_OF(fetch, struct get_window, fetch);
    struct object_get *get = window->get;
    if (get->closed) {
        window_release_slab(window);
        window->stage = WINDOW_FREE;
        get_try_free(get);
        return;
    }
    if (status == STATUS_OK) {
        window->stage = WINDOW_READY;
        get_wake(get);
        return;
    }
    if (status == STATUS_CORRUPT) {
        note_mismatch(window, "crc");
    } else if (status == STATUS_TIMEOUT || status == STATUS_UNAVAILABLE) {
        chunk_client_suspect(get->gateway->chunks, fetch->disk_id);
    }
    read_plan_failed(&window->plan, status);
    window_ask(window);
}

static void window_fetch(struct get_window *window)
{
    struct object_get *get = window->get;
    const struct get_ref *ref = &get->refs[window->chunk];
    struct chunk_fetch *fetch = &window->fetch;
    window->stage = WINDOW_FETCHING;
    window->data_unit = window->next_unit;
    fetch->id = ref->id;
    fetch->first_unit = window->next_unit;
    fetch->unit_count = window->end_unit - window->next_unit;
    fetch->chunk_bytes = ref->bytes;
    fetch->suite = get->suite;
    fetch->buffer = window->slab->data;
    fetch->buffer_bytes = window->slab->capacity;
    fetch->deadline_ns = loop_now_ns(get->gateway->loop) + get->gateway->options.chunk_read_ns;
    fetch->done = window_fetched;
    chunk_client_fetch(get->gateway->chunks, fetch);
}

static void pause_over(struct loop_timer *timer)
{
    window_fetch(CONTAINER_OF(timer, struct get_window, timer));
}

/* Ask the next replica, if there is one. */
static void window_ask(struct get_window *window)
{
    struct object_get *get = window->get;
    switch (read_plan_next(&window->plan, &window->fetch.disk_id)) {
    case READ_PLAN_ASK:
        window_fetch(window);
        return;
    case READ_PLAN_ASK_LATER:
        window->stage = WINDOW_PAUSING;
        window->timer.fire = pause_over;
        loop_timer_start(get->gateway->loop, &window->timer, loop_now_ns(get->gateway->loop) + SECOND_ROUND_NS);
        return;
    case READ_PLAN_HOPELESS:
        window_failed(window, read_plan_status(&window->plan));
        return;
    }
    UNREACHABLE();
}

static void window_start(struct get_window *window, struct slab *slab)
{
    struct object_get *get = window->get;
    const struct map *map = chunk_client_map(get->gateway->chunks);
    uint32_t disks[REPLICAS];
    unsigned count = 0;
    window->slab = slab;
    if (map != NULL) {
        struct map_avoid suspects;
        uint64_t random = 0;
        chunk_client_suspects(get->gateway->chunks, &suspects);
        loop_random(get->gateway->loop, &random, sizeof(random));
        count = map_order_replicas(map, get->refs[window->chunk].pg, chunk_client_local_node(get->gateway->chunks),
                                   &suspects, random, disks);
    }
    if (count > 1 && BUGGIFY(BUGGIFY_GATEWAY_LAST_REPLICA_FIRST)) {
        uint32_t last = disks[count - 1];
        disks[count - 1] = disks[0];
        disks[0] = last;
    }
    read_plan_init(&window->plan, disks, count);
    window_ask(window);
}

static void window_slab_ready(struct slab_waiter *waiter, struct slab *slab)
{
    window_start(CONTAINER_OF(waiter, struct get_window, waiter), slab);
}

/* Which units of its chunk the next window has to cover. */
static void window_aim(struct object_get *get, struct get_window *window)
{
    uint64_t start = get->next_chunk_start;
    uint64_t chunk_end = start + get->refs[get->next_chunk].bytes;
    uint64_t from = get->position > start ? get->position : start;
    window->chunk = get->next_chunk;
    window->chunk_start = start;
    window->end = get->end < chunk_end ? get->end : chunk_end;
    window->next_unit = (uint32_t)((from - start) / UNIT_BYTES);
    window->end_unit = (uint32_t)((window->end - start + UNIT_BYTES - 1) / UNIT_BYTES);
}

/* Open windows while there is something to fetch and a place for it. */
static void windows_advance(struct object_get *get)
{
    while (get->active < WINDOWS && get->next_chunk < get->chunk_count && get->next_chunk_start < get->end) {
        struct get_window *window = &get->windows[(get->front + get->active) % WINDOWS];
        CHECK(window->stage == WINDOW_FREE);
        window_aim(get, window);
        uint32_t bytes = (window->end_unit - window->next_unit) * UNIT_BYTES;
        if (get->active > 0 && BUGGIFY(BUGGIFY_GATEWAY_NO_READ_AHEAD)) {
            return;
        }
        struct slab *slab = slab_take(get->gateway->slabs, bytes);
        if (slab == NULL && get->active > 0) {
            return; /* Fetching ahead is a luxury: never wait in line for it. */
        }
        get->active++;
        get->next_chunk_start += get->refs[get->next_chunk].bytes;
        get->next_chunk++;
        if (slab == NULL) {
            window->stage = WINDOW_WAITING;
            slab_wait(get->gateway->slabs, &window->waiter, bytes, window_slab_ready);
        } else {
            window_start(window, slab);
        }
    }
}

void object_get_range(struct object_get *get, uint64_t offset, uint64_t bytes)
{
    CHECK(!get->has_range && get->object_key != NULL);
    CHECK(bytes > 0 && offset < get->info.size && bytes <= get->info.size - offset);
    get->has_range = true;
    get->position = offset;
    get->end = offset + bytes;
    while (get->next_chunk_start + get->refs[get->next_chunk].bytes <= offset) {
        get->next_chunk_start += get->refs[get->next_chunk].bytes;
        get->next_chunk++;
    }
    windows_advance(get);
}

/* ---- read ---------------------------------------------------------------------------------------- */

/* Open the window's next unit. False: it does not open, and another replica is being asked. */
static bool window_open_unit(struct get_window *window)
{
    struct object_get *get = window->get;
    const struct get_ref *ref = &get->refs[window->chunk];
    struct chunk_binding binding = {.identity = get->identity,
                                    .chunk = ref->id,
                                    .chunk_index = window->chunk,
                                    .chunk_bytes = ref->bytes,
                                    .suite = get->suite};
    uint32_t position = window->next_unit - window->data_unit;
    uint8_t *data = window->fetch.data + (size_t)position * UNIT_BYTES;
    enum status status = gateway_sealer_begin(get->gateway, get->object_key, &binding);
    if (status == STATUS_OK) {
        uint32_t dirty = (uint32_t)(data - window->slab->data) + chunk_unit_bytes(ref->bytes, window->next_unit);
        window->slab->dirty_bytes = dirty > window->slab->dirty_bytes ? dirty : window->slab->dirty_bytes;
        status = open_unit(get->gateway->sealer, window->next_unit, data,
                           window->fetch.seals + (size_t)position * UNIT_SEAL_BYTES);
    }
    if (status == STATUS_OK) {
        window->next_unit++;
        return true;
    }
    gateway_sealer_forget(get->gateway, &ref->id);
    if (status == STATUS_CORRUPT) {
        note_mismatch(window, "tag");
    }
    read_plan_failed(&window->plan, status);
    window_ask(window);
    return false;
}

/* Copy from the front window, which is ready. Returns the bytes copied: 0 when a unit did not open. */
static size_t window_copy(struct get_window *window, uint8_t *target, size_t capacity)
{
    struct object_get *get = window->get;
    uint64_t in_chunk = get->position - window->chunk_start;
    uint32_t unit = (uint32_t)(in_chunk / UNIT_BYTES);
    if (unit == window->next_unit && !window_open_unit(window)) {
        return 0;
    }
    uint64_t unit_end = window->chunk_start + (uint64_t)(unit + 1) * UNIT_BYTES;
    uint64_t end = unit_end < window->end ? unit_end : window->end;
    size_t take = end - get->position < capacity ? (size_t)(end - get->position) : capacity;
    memcpy(target, window->fetch.data + (in_chunk - (uint64_t)window->data_unit * UNIT_BYTES), take);
    get->position += take;
    return take;
}

static void front_finished(struct object_get *get)
{
    struct get_window *window = &get->windows[get->front];
    gateway_sealer_forget(get->gateway, &get->refs[window->chunk].id);
    window_release_slab(window);
    window->stage = WINDOW_FREE;
    get->front = (get->front + 1) % WINDOWS;
    get->active--;
}

enum status object_get_read(struct object_get *get, void *buffer, size_t capacity, size_t *taken)
{
    CHECK(get->has_range && !get->closed);
    CHECK(capacity > 0);
    size_t total = 0;
    if (get->position == get->end) {
        return STATUS_CLOSED;
    }
    while (total < capacity && get->position < get->end) {
        struct get_window *window = &get->windows[get->front];
        if (window->stage == WINDOW_FAILED && total == 0) {
            return window->status;
        }
        if (window->stage != WINDOW_READY) {
            break;
        }
        total += window_copy(window, (uint8_t *)buffer + total, capacity - total);
        if (get->position == window->end) {
            front_finished(get);
        }
        windows_advance(get);
    }
    *taken = total;
    return STATUS_OK;
}
