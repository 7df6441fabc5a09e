/* object_get.c - one GET: the record from the catalog, units fetched ahead, checked, opened, handed out.
 *
 *   open ──> OBJECT_GET ──> DEK ──> opened(info)         range ──> windows ──> read ──> STATUS_CLOSED
 *
 * A version may be sealed anew (resealer.h) while it is being read: its chunks are then wiped, its leaf and perhaps its
 * DEK destroyed, and the same bytes stand elsewhere under another key. So a get whose next unit can't be had, or whose
 * key is gone, looks once more: if the record names the same version under another leaf, it goes on there.
 *
 * What is fetched ahead is get_window.c's business. Nothing is handed out while the key may not be used: when the lease
 * of the DEK has ended, reading waits until it was renewed, or fails. */
#include "node/object_get_parts.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

static void look_again(struct object_get *get, enum status reason);
static void look_go_on(struct object_get *get);

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

void object_gets_sweep(struct gateway *gateway)
{
    LIST_EACH (&gateway->active_gets, link) {
        object_key_sweep(&LIST_ENTRY(link, struct object_get, link)->object_key);
    }
}

void object_gets_close(struct gateway *gateway)
{
    CHECK(list_is_empty(&gateway->active_gets));
    free(gateway->gets);
}

/* Wipe the key. A reply that is awaited may still bring one. */
static void key_end(struct object_get *get)
{
    object_key_end(&get->object_key);
    if (!get->calling) {
        key_let_go(&get->gateway->key_holder, &get->held_key);
    }
}

/* Give the slot back when nothing of a closed get is under way any more. */
static void get_try_free(struct object_get *get)
{
    if (!get->closed || get->calling || get->wake_queued || !get_windows_are_free(get)) {
        return;
    }
    key_end(get);
    list_remove(&get->link);
    get->gateway->gets_in_flight--;
    wipe_memory(get->meta.bytes, get->meta.used);
    list_append(&get->gateway->free_gets, &get->link);
}

void object_get_close(struct object_get *get)
{
    CHECK(!get->closed);
    get->closed = true;
    if (get->calling) {
        rpc_call_cancel(&get->call);
    }
    get_windows_give_up(get);
    key_end(get);
    get_try_free(get);
}

void object_get_window_freed(struct object_get *get)
{
    if (get->closed) {
        get_try_free(get);
    } else {
        look_go_on(get);
    }
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

void object_get_wake(struct object_get *get)
{
    if (!get->wake_queued) {
        get->wake_queued = true;
        loop_defer(get->gateway->loop, &get->wake);
    }
}

/* ---- the record ---------------------------------------------------------------------------------- */

static void get_opened(struct object_get *get, enum status status)
{
    get->is_open = status == STATUS_OK;
    get->request.opened(get->request.user, status, status == STATUS_OK ? &get->info : NULL);
}

/* Stand at the chunk that holds the next byte to hand out. */
static void range_seek(struct object_get *get)
{
    get->next_chunk = 0;
    get->next_chunk_start = 0;
    while (get->next_chunk_start + get->refs[get->next_chunk].bytes <= get->position) {
        get->next_chunk_start += get->refs[get->next_chunk].bytes;
        get->next_chunk++;
    }
}

/* The record and its key are here: can its sealed part be opened? Then it is what was committed. */
static enum status record_open(struct object_get *get)
{
    const struct key *object_key = object_key_use(&get->object_key);
    struct key *meta_key = key_take(get->gateway->keys);
    CHECK(object_key != NULL);
    if (meta_key == NULL) {
        return STATUS_UNAVAILABLE;
    }
    derive_meta_key(object_key, meta_key);
    enum status status = object_meta_open(meta_key, &get->object_key.identity, get->info.size, get->sealed_meta,
                                          get->sealed_meta_bytes, &get->meta);
    key_release(get->gateway->keys, meta_key);
    if (status != STATUS_OK) {
        char hex[ID_HEX_BYTES];
        id_to_hex(get->info.version.bytes, hex);
        log_event(LOG_ERROR, "object_record_mismatch", "version=%s", hex);
    }
    return status;
}

static enum status status_of_key(enum status status)
{
    switch (status) {
    case STATUS_OK:
    case STATUS_TIMEOUT:
    case STATUS_DENIED:
    case STATUS_KEY_REVOKED:
    case STATUS_KEY_AWAY:
    case STATUS_GONE: /* the DEK was destroyed */
        return status;
    case STATUS_NOT_FOUND: /* the tenant */
        return STATUS_DENIED;
    default:
        return STATUS_UNAVAILABLE;
    }
}

/* The end of the opening, or of looking again. */
static void record_and_key_here(struct object_get *get, enum status status)
{
    if (status != STATUS_OK) {
        key_end(get);
    }
    if (!get->looking_again) {
        get_opened(get, status);
        return;
    }
    get->looking_again = false;
    get->failed = status;
    if (status == STATUS_OK) {
        range_seek(get);
        get_windows_advance(get);
    }
    object_get_wake(get);
}

static void key_ready(struct object_key *key, enum status status)
{
    struct object_get *get = CONTAINER_OF(key, struct object_get, object_key);
    status = status_of_key(status);
    if (!get->is_open && status == STATUS_GONE) {
        status = STATUS_UNAVAILABLE; /* It was sealed anew after its record was read: the client's next try finds it. */
    }
    if (get->looking_again || !get->is_open) {
        record_and_key_here(get, status == STATUS_OK ? record_open(get) : status);
    } else if (status == STATUS_GONE) {
        look_again(get, status);
    } else {
        get->failed = status;
        object_get_wake(get);
    }
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
        object->dek_version == 0 || !refs_accept(get, object)) {
        return STATUS_CORRUPT;
    }
    get->info.suite = (enum suite)object->suite;
    if (!suite_is_supported(get->gateway->sealer, get->info.suite)) {
        return STATUS_UNSUPPORTED;
    }
    get->page = object->page;
    get->slot = object->slot;
    get->info.dek_version = object->dek_version;
    get->info.bucket_id = reply->bucket_id;
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
                    &get->object_key.identity);
    struct key *leaf = key_take(get->gateway->keys);
    if (leaf == NULL) {
        return STATUS_UNAVAILABLE;
    }
    memcpy(leaf->bytes, reply->leaf.data, KEY_BYTES);
    key_hold_from(&get->gateway->key_holder, &get->held_key, reply->journal_index);
    get->object_key.ready = key_ready;
    object_key_begin(&get->object_key, get->gateway->loop, get->gateway->tenant_keys, get->gateway->keys,
                     get->request.tenant_id, object->dek_version, leaf);
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
    case STATUS_KEY_REVOKED:
    case STATUS_KEY_AWAY:
        return status;
    case STATUS_GONE: /* its leaf is punctured: for a reader it does not exist any more */
        return STATUS_NOT_FOUND;
    default:
        return STATUS_UNAVAILABLE;
    }
}

/* Does the record name the version that is being read, under another leaf? */
static bool is_sealed_anew(const struct object_get *get, const Trilith__ObjectGetReply *reply)
{
    const Trilith__Object *object = reply == NULL ? NULL : reply->object;
    return object != NULL && object->version_id.len == sizeof(get->info.version.bytes) &&
           memcmp(object->version_id.data, get->info.version.bytes, sizeof(get->info.version.bytes)) == 0 &&
           object->size == get->info.size && (object->page != get->page || object->slot != get->slot);
}

static void record_here(struct rpc_call *call)
{
    struct object_get *get = CONTAINER_OF(call, struct object_get, call);
    const Trilith__ObjectGetReply *reply = (const Trilith__ObjectGetReply *)call->reply;
    enum status status = status_of_record(call->status);
    get->calling = false;
    if (!get->closed && status == STATUS_OK) {
        status = get->looking_again && !is_sealed_anew(get, reply) ? get->reason : record_accept(get, reply);
    }
    if (reply != NULL && reply->leaf.data != NULL) {
        wipe_memory(reply->leaf.data, reply->leaf.len);
    }
    if (get->closed) {
        get_try_free(get);
    } else if (status != STATUS_OK) {
        bool is_refusal = status == STATUS_KEY_REVOKED || status == STATUS_KEY_AWAY;
        record_and_key_here(get, get->looking_again && !is_refusal ? get->reason : status);
    }
}

static void record_ask(struct object_get *get)
{
    Trilith__ObjectGetRequest request;
    trilith__object_get_request__init(&request);
    request.tenant_id = get->request.tenant_id;
    request.bucket = get->bucket;
    request.key.data = get->key;
    request.key.len = get->key_bytes;
    memset(&get->call, 0, sizeof(get->call));
    get->call.type = TRILITH__MESSAGE_TYPE__OBJECT_GET;
    get->call.deadline_ns = gateway_meta_deadline_ns(get->gateway);
    get->call.may_repeat = true;
    get->call.done = record_here;
    get->calling = true;
    key_hold(&get->gateway->key_holder, &get->held_key);
    rpc_call_start(get->gateway->meta, &get->call, &request.base);
}

/* The next unit can't be had, for `reason`: see at the top. */
static void look_again(struct object_get *get, enum status reason)
{
    CHECK(get->is_open && !get->looking_again);
    get->looking_again = true;
    get->reason = reason;
    key_end(get);
    get_windows_give_up(get);
    look_go_on(get);
}

/* Goes on when the last window is free. */
static void look_go_on(struct object_get *get)
{
    if (get_windows_are_free(get)) {
        get->active = 0;
        record_ask(get);
    }
}

struct object_get *object_get_open(struct gateway *gateway, const struct object_get_request *request)
{
    CHECK(request->key_bytes > 0 && request->key_bytes <= OBJECT_KEY_BYTES_MAX);
    CHECK(strlen(request->bucket) <= OBJECT_GET_BUCKET_MAX);
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
    snprintf(get->bucket, sizeof(get->bucket), "%s", request->bucket);
    record_ask(get);
    return get;
}

/* ---- read ---------------------------------------------------------------------------------------- */

void object_get_range(struct object_get *get, uint64_t offset, uint64_t bytes)
{
    CHECK(!get->has_range && get->is_open);
    CHECK(bytes > 0 && offset < get->info.size && bytes <= get->info.size - offset);
    get->has_range = true;
    get->position = offset;
    get->end = offset + bytes;
    range_seek(get);
    get_windows_advance(get);
}

enum status object_get_read(struct object_get *get, void *buffer, size_t capacity, size_t *taken)
{
    CHECK(get->has_range && !get->closed);
    CHECK(capacity > 0);
    size_t total = 0;
    *taken = 0;
    if (get->position == get->end) {
        return STATUS_CLOSED;
    }
    if (get->failed != STATUS_OK || get->looking_again) {
        return get->failed;
    }
    while (total < capacity && get->position < get->end) {
        struct get_window *window = &get->windows[get->front];
        if (window->stage == WINDOW_FAILED && total == 0) {
            look_again(get, window->status);
            break;
        }
        if (window->stage != WINDOW_READY || object_key_use(&get->object_key) == NULL) {
            break;
        }
        total += get_window_copy(window, (uint8_t *)buffer + total, capacity - total);
        if (get->position == window->end) {
            get_front_finished(get);
        }
        get_windows_advance(get);
    }
    *taken = total;
    return STATUS_OK;
}
