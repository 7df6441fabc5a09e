/* fake_gateway.c - see fake_gateway.h. It stands in for node_core and for proto's client at link time. */
#include "tests/unit/fake_gateway.h"

#include <stdio.h>
#include <stdlib.h>

void fake_gateway_open(struct gateway *gateway, struct loop *loop)
{
    memset(gateway, 0, sizeof(*gateway));
    gateway->loop = loop;
    gateway->get_fails_at = UINT64_MAX;
    gateway->get_failure = STATUS_CORRUPT;
}

void fake_gateway_close(struct gateway *gateway)
{
    while (gateway->objects != NULL) {
        struct fake_object *object = gateway->objects;
        gateway->objects = object->next;
        free(object->data);
        free(object);
    }
}

/* ---- the gateway ------------------------------------------------------------------------------- */

struct loop *gateway_loop(struct gateway *gateway)
{
    return gateway->loop;
}

/* The client is opaque to the front, so the gateway itself can stand for it. */
struct rpc_client *gateway_meta(struct gateway *gateway)
{
    return (struct rpc_client *)(void *)gateway;
}

uint64_t gateway_meta_deadline_ns(struct gateway *gateway)
{
    return loop_now_ns(gateway->loop) + 10 * NS_PER_S;
}

const char *gateway_node_name(const struct gateway *gateway)
{
    (void)gateway;
    return "node1";
}

static void lookup_run(struct loop_task *task)
{
    struct credential_lookup *lookup = CONTAINER_OF(task, struct credential_lookup, task);
    struct gateway *gateway = lookup->gateway;
    struct credential credential = {.tenant_id = 7, .tenant_name = "acme", .secret_key = FAKE_SECRET};
    if (gateway == NULL) {
        return; /* Cancelled. */
    }
    (void)snprintf(credential.access_key, sizeof(credential.access_key), "%s", lookup->access_key);
    credential.role = strcmp(lookup->access_key, FAKE_OWNER) == 0    ? ROLE_OWNER
                      : strcmp(lookup->access_key, FAKE_EDITOR) == 0 ? ROLE_EDITOR
                                                                     : ROLE_VIEWER;
    bool known = credential.role != ROLE_VIEWER || strcmp(lookup->access_key, FAKE_VIEWER) == 0;
    enum status status = gateway->credential_status != STATUS_OK ? gateway->credential_status
                         : known                                 ? STATUS_OK
                                                                 : STATUS_NOT_FOUND;
    lookup->done(lookup, status, status == STATUS_OK ? &credential : NULL);
}

void gateway_credential(struct gateway *gateway, struct credential_lookup *lookup)
{
    gateway->lookups++;
    lookup->gateway = gateway;
    lookup->task.run = lookup_run;
    loop_defer(gateway->loop, &lookup->task);
}

void gateway_credential_cancel(struct credential_lookup *lookup)
{
    lookup->gateway = NULL;
}

/* ---- buckets and objects ----------------------------------------------------------------------- */

static uint64_t bucket_find(const struct gateway *gateway, const char *name)
{
    for (unsigned i = 0; i < FAKE_BUCKETS_MAX; i++) {
        if (name[0] != '\0' && strcmp(gateway->buckets[i], name) == 0) {
            return i + 1;
        }
    }
    return 0;
}

void fake_gateway_add_bucket(struct gateway *gateway, const char *name)
{
    for (unsigned i = 0; i < FAKE_BUCKETS_MAX; i++) {
        if (gateway->buckets[i][0] == '\0') {
            (void)snprintf(gateway->buckets[i], sizeof(gateway->buckets[i]), "%s", name);
            return;
        }
    }
    CHECK(false);
}

static int compare_bytes(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
    size_t shorter = a_bytes < b_bytes ? a_bytes : b_bytes;
    int order = shorter == 0 ? 0 : memcmp(a, b, shorter);
    return order != 0 ? order : a_bytes == b_bytes ? 0 : a_bytes < b_bytes ? -1 : 1;
}

/* Where the object with this key stands, or would stand. */
static struct fake_object **object_place(struct gateway *gateway, uint64_t bucket_id, const void *key, size_t key_bytes)
{
    struct fake_object **place = &gateway->objects;
    while (*place != NULL && ((*place)->bucket_id < bucket_id ||
                              ((*place)->bucket_id == bucket_id &&
                               compare_bytes((*place)->key, (*place)->key_bytes, key, key_bytes) < 0))) {
        place = &(*place)->next;
    }
    return place;
}

static struct fake_object *object_find(struct gateway *gateway, uint64_t bucket_id, const void *key, size_t key_bytes)
{
    struct fake_object *object = *object_place(gateway, bucket_id, key, key_bytes);
    bool same = object != NULL && object->bucket_id == bucket_id &&
                compare_bytes(object->key, object->key_bytes, key, key_bytes) == 0;
    return same ? object : NULL;
}

static bool object_remove(struct gateway *gateway, uint64_t bucket_id, const void *key, size_t key_bytes)
{
    struct fake_object *object = object_find(gateway, bucket_id, key, key_bytes);
    if (object == NULL) {
        return false;
    }
    *object_place(gateway, bucket_id, key, key_bytes) = object->next;
    free(object->data);
    free(object);
    return true;
}

struct fake_object *fake_gateway_find(struct gateway *gateway, const char *bucket, const char *key)
{
    return object_find(gateway, bucket_find(gateway, bucket), key, strlen(key));
}

static struct fake_object *object_add(struct gateway *gateway, uint64_t bucket_id, const void *key, size_t key_bytes)
{
    struct fake_object *object = calloc(1, sizeof(*object));
    struct fake_object **place = object_place(gateway, bucket_id, key, key_bytes);
    CHECK(object != NULL);
    object->bucket_id = bucket_id;
    memcpy(object->key, key, key_bytes);
    object->key_bytes = key_bytes;
    object->modified_ms = UINT64_C(1700000000123);
    (void)snprintf(object->etag, sizeof(object->etag), "0123456789abcdef0123456789abcdef-1");
    object->next = *place;
    *place = object;
    return object;
}

struct fake_object *fake_gateway_add_object(struct gateway *gateway, const char *bucket, const char *key,
                                            const void *data, size_t bytes)
{
    struct fake_object *object = object_add(gateway, bucket_find(gateway, bucket), key, strlen(key));
    object->data = malloc(bytes + 1);
    CHECK(object->data != NULL);
    if (bytes > 0) {
        memcpy(object->data, data, bytes);
    }
    object->size = bytes;
    return object;
}

/* ---- calls to the metadata service ------------------------------------------------------------- */

/* A call in flight: what was asked, copied. */
struct fake_call {
    struct rpc_call *call;
    struct gateway *gateway;
    struct loop_task task;
    bool cancelled;
    char bucket[64];
    uint8_t key[2048], delimiter[2048], start_after[2048];
    size_t key_bytes, delimiter_bytes, start_after_bytes; /* the key is the prefix of a listing */
    uint32_t max;
};

static void finish(struct fake_call *fake, enum status status, const ProtobufCMessage *reply)
{
    struct rpc_call *call = fake->call;
    free(fake);
    call->status = status;
    call->reply = reply;
    call->private_state = NULL;
    call->done(call);
}

static void bucket_create(struct fake_call *fake)
{
    Trilith__BucketReply reply;
    trilith__bucket_reply__init(&reply);
    bool exists = bucket_find(fake->gateway, fake->bucket) != 0;
    if (!exists) {
        fake_gateway_add_bucket(fake->gateway, fake->bucket);
    }
    finish(fake, exists ? STATUS_EXISTS : STATUS_OK, &reply.base);
}

static void bucket_get(struct fake_call *fake)
{
    Trilith__BucketReply reply;
    Trilith__Bucket bucket;
    trilith__bucket_reply__init(&reply);
    trilith__bucket__init(&bucket);
    bucket.id = bucket_find(fake->gateway, fake->bucket);
    bucket.name = fake->bucket;
    bucket.suite = fake->gateway->bucket_suite;
    reply.bucket = &bucket;
    finish(fake, bucket.id == 0 ? STATUS_NOT_FOUND : STATUS_OK, &reply.base);
}

static void bucket_delete(struct fake_call *fake)
{
    Trilith__Empty reply;
    trilith__empty__init(&reply);
    uint64_t id = bucket_find(fake->gateway, fake->bucket);
    enum status status = id == 0 ? STATUS_NOT_FOUND : STATUS_OK;
    for (struct fake_object *object = fake->gateway->objects; object != NULL; object = object->next) {
        status = object->bucket_id == id ? STATUS_NOT_EMPTY : status;
    }
    if (status == STATUS_OK) {
        fake->gateway->buckets[id - 1][0] = '\0';
    }
    finish(fake, status, &reply.base);
}

/* One bucket per reply, so that the front has to ask again. */
static void bucket_list(struct fake_call *fake)
{
    Trilith__BucketListReply reply;
    Trilith__Bucket bucket;
    Trilith__Bucket *list[1] = {&bucket};
    trilith__bucket_list_reply__init(&reply);
    trilith__bucket__init(&bucket);
    bucket.created_ms = UINT64_C(1700000000123);
    bucket.name = NULL;
    unsigned after = 0;
    for (unsigned i = 0; i < FAKE_BUCKETS_MAX; i++) {
        char *name = fake->gateway->buckets[i];
        if (name[0] == '\0' || strcmp(name, fake->bucket) <= 0) {
            continue;
        }
        after++;
        if (bucket.name == NULL || strcmp(name, bucket.name) < 0) {
            bucket.name = name;
        }
    }
    reply.buckets = list;
    reply.n_buckets = after > 0 ? 1 : 0;
    reply.truncated = after > 1;
    finish(fake, STATUS_OK, &reply.base);
}

static bool starts_with(const void *text, size_t bytes, const void *prefix, size_t prefix_bytes)
{
    return bytes >= prefix_bytes && (prefix_bytes == 0 || memcmp(text, prefix, prefix_bytes) == 0);
}

/* The length of the common prefix of `object`, or 0. */
static size_t common_prefix_bytes(const struct fake_call *fake, const struct fake_object *object)
{
    if (fake->delimiter_bytes == 0) {
        return 0;
    }
    for (size_t at = fake->key_bytes; at + fake->delimiter_bytes <= object->key_bytes; at++) {
        if (memcmp(object->key + at, fake->delimiter, fake->delimiter_bytes) == 0) {
            return at + fake->delimiter_bytes;
        }
    }
    return 0;
}

struct fake_page {
    Trilith__ListedObject objects[1000];
    Trilith__ListedObject *list[1000];
    ProtobufCBinaryData prefixes[1000];
    size_t object_count, prefix_count;
    ProtobufCBinaryData last;
};

/* False: the page is full. */
static bool page_add(struct fake_call *fake, struct fake_page *page, struct fake_object *object)
{
    size_t prefix = common_prefix_bytes(fake, object);
    ProtobufCBinaryData name = {.data = object->key, .len = prefix > 0 ? prefix : object->key_bytes};
    if (prefix > 0 && page->prefix_count > 0) {
        const ProtobufCBinaryData *before = &page->prefixes[page->prefix_count - 1];
        if (compare_bytes(before->data, before->len, name.data, name.len) == 0) {
            return true;
        }
    }
    if (compare_bytes(name.data, name.len, fake->start_after, fake->start_after_bytes) <= 0) {
        return true;
    }
    if (page->object_count + page->prefix_count == fake->max) {
        return false;
    }
    page->last = name;
    if (prefix > 0) {
        page->prefixes[page->prefix_count++] = name;
        return true;
    }
    Trilith__ListedObject *listed = &page->objects[page->object_count];
    trilith__listed_object__init(listed);
    listed->key = name;
    listed->size = object->size;
    listed->modified_ms = object->modified_ms;
    listed->etag = object->etag;
    page->list[page->object_count++] = listed;
    return true;
}

static void object_list(struct fake_call *fake)
{
    static struct fake_page page;
    Trilith__ObjectListReply reply;
    trilith__object_list_reply__init(&reply);
    memset(&page, 0, sizeof(page));
    uint64_t id = bucket_find(fake->gateway, fake->bucket);
    for (struct fake_object *object = fake->gateway->objects; object != NULL; object = object->next) {
        if (object->bucket_id == id && starts_with(object->key, object->key_bytes, fake->key, fake->key_bytes) &&
            !page_add(fake, &page, object)) {
            reply.truncated = true;
            reply.next = page.last;
            break;
        }
    }
    reply.objects = page.list;
    reply.n_objects = page.object_count;
    reply.prefixes = page.prefixes;
    reply.n_prefixes = page.prefix_count;
    finish(fake, id == 0 ? STATUS_CONFLICT : STATUS_OK, &reply.base);
}

static void object_delete(struct fake_call *fake)
{
    Trilith__ObjectDeleteReply reply;
    trilith__object_delete_reply__init(&reply);
    uint64_t id = bucket_find(fake->gateway, fake->bucket);
    if (id != 0 && object_remove(fake->gateway, id, fake->key, fake->key_bytes)) {
        reply.erasure_id = ++fake->gateway->erasures;
    }
    finish(fake, id == 0 ? STATUS_CONFLICT : STATUS_OK, &reply.base);
}

static void call_run(struct loop_task *task)
{
    struct fake_call *fake = CONTAINER_OF(task, struct fake_call, task);
    if (fake->cancelled) {
        finish(fake, STATUS_CANCELLED, NULL);
    } else if (fake->gateway->call_status != STATUS_OK) {
        finish(fake, fake->gateway->call_status, NULL);
    } else {
        switch (fake->call->type) {
        case TRILITH__MESSAGE_TYPE__BUCKET_CREATE:
            bucket_create(fake);
            return;
        case TRILITH__MESSAGE_TYPE__BUCKET_GET:
            bucket_get(fake);
            return;
        case TRILITH__MESSAGE_TYPE__BUCKET_DELETE:
            bucket_delete(fake);
            return;
        case TRILITH__MESSAGE_TYPE__BUCKET_LIST:
            bucket_list(fake);
            return;
        case TRILITH__MESSAGE_TYPE__OBJECT_LIST:
            object_list(fake);
            return;
        case TRILITH__MESSAGE_TYPE__OBJECT_DELETE:
            object_delete(fake);
            return;
        default:
            UNREACHABLE();
        }
    }
}

static size_t copy_bytes(uint8_t *target, const ProtobufCBinaryData *data)
{
    if (data->len > 0) {
        memcpy(target, data->data, data->len);
    }
    return data->len;
}

static void copy_request(struct fake_call *fake, const ProtobufCMessage *request)
{
    const char *bucket = "";
    if (fake->call->type == TRILITH__MESSAGE_TYPE__OBJECT_LIST) {
        const Trilith__ObjectListRequest *list = (const Trilith__ObjectListRequest *)request;
        bucket = list->bucket;
        fake->key_bytes = copy_bytes(fake->key, &list->prefix);
        fake->delimiter_bytes = copy_bytes(fake->delimiter, &list->delimiter);
        fake->start_after_bytes = copy_bytes(fake->start_after, &list->start_after);
        fake->max = list->max;
    } else if (fake->call->type == TRILITH__MESSAGE_TYPE__OBJECT_DELETE) {
        const Trilith__ObjectDeleteRequest *removal = (const Trilith__ObjectDeleteRequest *)request;
        bucket = removal->bucket;
        fake->key_bytes = copy_bytes(fake->key, &removal->key);
    } else if (fake->call->type == TRILITH__MESSAGE_TYPE__BUCKET_LIST) {
        bucket = ((const Trilith__BucketListRequest *)request)->start_after;
    } else {
        bucket = ((const Trilith__BucketGetRequest *)request)->name; /* The three have one shape at the start. */
    }
    (void)snprintf(fake->bucket, sizeof(fake->bucket), "%s", bucket);
}

void rpc_call_start(struct rpc_client *client, struct rpc_call *call, const ProtobufCMessage *request)
{
    struct gateway *gateway = (struct gateway *)(void *)client;
    struct fake_call *fake = calloc(1, sizeof(*fake));
    CHECK(fake != NULL);
    fake->call = call;
    fake->gateway = gateway;
    fake->task.run = call_run;
    call->private_state = fake;
    copy_request(fake, request);
    if (!gateway->hold_calls) {
        loop_defer(gateway->loop, &fake->task);
    }
}

void rpc_call_cancel(struct rpc_call *call)
{
    struct fake_call *fake = call->private_state;
    if (fake != NULL && !fake->cancelled) {
        fake->cancelled = true;
        if (fake->gateway->hold_calls) {
            loop_defer(fake->gateway->loop, &fake->task);
        }
    }
}

/* ---- metadata of objects ----------------------------------------------------------------------- */

enum status object_meta_add(struct object_meta *meta, const char *name, const char *value)
{
    uint16_t lengths[2] = {(uint16_t)strlen(name), (uint16_t)strlen(value)};
    size_t needed = sizeof(lengths) + lengths[0] + lengths[1];
    if (meta->count == OBJECT_META_FIELDS_MAX || needed > OBJECT_META_BYTES_MAX - meta->used) {
        return STATUS_TOO_LARGE;
    }
    memcpy(meta->bytes + meta->used, lengths, sizeof(lengths));
    memcpy(meta->bytes + meta->used + sizeof(lengths), name, lengths[0]);
    memcpy(meta->bytes + meta->used + sizeof(lengths) + lengths[0], value, lengths[1]);
    meta->used += needed;
    meta->count++;
    return STATUS_OK;
}

bool object_meta_next(const struct object_meta *meta, size_t *cursor, const char **name, size_t *name_bytes,
                      const char **value, size_t *value_bytes)
{
    uint16_t lengths[2];
    if (*cursor == meta->used) {
        return false;
    }
    memcpy(lengths, meta->bytes + *cursor, sizeof(lengths));
    *name = (const char *)meta->bytes + *cursor + sizeof(lengths);
    *name_bytes = lengths[0];
    *value = *name + lengths[0];
    *value_bytes = lengths[1];
    *cursor += sizeof(lengths) + lengths[0] + lengths[1];
    return true;
}

/* ---- put --------------------------------------------------------------------------------------- */

struct object_put {
    struct gateway *gateway;
    struct object_put_request request;
    struct object_meta meta;
    uint8_t key[OBJECT_KEY_BYTES_MAX];
    uint8_t *data;
    uint64_t written;
    bool waiting, finished, failed, aborted;
    struct loop_task writable_task, done_task;
    bool writable_queued, done_queued, detached;
};

static void put_free(struct object_put *put)
{
    if (!put->writable_queued && !put->done_queued) {
        put->gateway->puts_open--;
        free(put->data);
        free(put);
    }
}

static void put_commit(struct object_put *put, struct object_put_result *result)
{
    const struct object_put_request *request = &put->request;
    if (object_remove(put->gateway, request->bucket_id, put->key, request->key_bytes)) {
        result->erasure_id = ++put->gateway->erasures;
    }
    struct fake_object *object = object_add(put->gateway, request->bucket_id, put->key, request->key_bytes);
    object->data = put->data;
    object->size = request->size;
    object->meta = put->meta;
    put->data = NULL;
    memcpy(result->etag, object->etag, sizeof(result->etag));
    result->modified_ms = object->modified_ms;
}

static void put_done_run(struct loop_task *task)
{
    struct object_put *put = CONTAINER_OF(task, struct object_put, done_task);
    struct object_put_result result = {.erasure_id = 0};
    enum status status = put->aborted ? STATUS_CANCELLED : put->gateway->put_status;
    put->done_queued = false;
    if (status == STATUS_OK && put->request.if_none_match &&
        object_find(put->gateway, put->request.bucket_id, put->key, put->request.key_bytes) != NULL) {
        status = STATUS_EXISTS;
    }
    if (status == STATUS_OK) {
        put_commit(put, &result);
    }
    if (!put->detached) {
        put->detached = true;
        put->request.done(put->request.user, status, status == STATUS_OK ? &result : NULL);
    }
    put_free(put);
}

static void put_queue_done(struct object_put *put)
{
    if (!put->done_queued) {
        put->done_queued = true;
        loop_defer(put->gateway->loop, &put->done_task);
    }
}

static void put_writable_run(struct loop_task *task)
{
    struct object_put *put = CONTAINER_OF(task, struct object_put, writable_task);
    put->writable_queued = false;
    if (put->detached) {
        put_free(put);
        return;
    }
    put->waiting = false;
    put->request.writable(put->request.user);
}

struct object_put *object_put_start(struct gateway *gateway, const struct object_put_request *request)
{
    if (gateway->refuse_puts) {
        return NULL;
    }
    struct object_put *put = calloc(1, sizeof(*put));
    CHECK(put != NULL);
    put->gateway = gateway;
    put->request = *request;
    gateway->put_suite = request->suite;
    put->meta = *request->meta;
    memcpy(put->key, request->key, request->key_bytes);
    put->data = malloc(request->size < MIB(64) ? request->size + 1 : 1); /* Tests of huge sizes write nothing. */
    CHECK(put->data != NULL);
    put->done_task.run = put_done_run;
    put->writable_task.run = put_writable_run;
    gateway->puts_open++;
    return put;
}

size_t object_put_write(struct object_put *put, const void *data, size_t bytes)
{
    CHECK(!put->finished && !put->detached);
    size_t taken = bytes;
    if (put->failed) {
        return bytes;
    }
    if (put->waiting) {
        return 0;
    }
    if (put->gateway->put_window > 0 && bytes > put->gateway->put_window) {
        taken = put->gateway->put_window;
        put->waiting = true;
        put->writable_queued = true;
        loop_defer(put->gateway->loop, &put->writable_task);
    }
    CHECK(put->written + taken <= put->request.size);
    memcpy(put->data + put->written, data, taken);
    put->written += taken;
    if (put->gateway->put_fails_at > 0 && put->written >= put->gateway->put_fails_at) {
        put->failed = true;
        put_queue_done(put);
        return bytes;
    }
    return taken;
}

void object_put_finish(struct object_put *put)
{
    CHECK(put->written == put->request.size || put->failed);
    put->finished = true;
    put_queue_done(put);
}

void object_put_abort(struct object_put *put)
{
    CHECK(!put->finished);
    put->aborted = true;
    put_queue_done(put);
}

void object_put_detach(struct object_put *put)
{
    put->detached = true;
    put->aborted = put->aborted || !put->finished;
    put_free(put);
}

/* ---- get --------------------------------------------------------------------------------------- */

struct object_get {
    struct gateway *gateway;
    struct object_get_request request;
    struct fake_object *object;
    enum status open_status;
    uint64_t at, end, allowed; /* `allowed`: how far may be read before the next pause */
    bool opened, closed;
    struct loop_task task;
    bool queued;
};

static void get_queue(struct object_get *get)
{
    if (!get->queued) {
        get->queued = true;
        loop_defer(get->gateway->loop, &get->task);
    }
}

static void get_free(struct object_get *get)
{
    get->gateway->gets_open--;
    free(get);
}

static void get_run(struct loop_task *task)
{
    struct object_get *get = CONTAINER_OF(task, struct object_get, task);
    get->queued = false;
    if (get->closed) {
        get_free(get);
        return;
    }
    if (get->opened) {
        get->allowed = get->gateway->get_piece == 0 ? get->end : get->at + get->gateway->get_piece;
        get->request.readable(get->request.user);
        return;
    }
    get->opened = true;
    struct object_info info = {.size = 0};
    if (get->object != NULL) {
        info.size = get->object->size;
        info.modified_ms = get->object->modified_ms;
        memcpy(info.etag, get->object->etag, sizeof(info.etag));
        info.meta = &get->object->meta;
    }
    get->request.opened(get->request.user, get->open_status, get->open_status == STATUS_OK ? &info : NULL);
}

struct object_get *object_get_open(struct gateway *gateway, const struct object_get_request *request)
{
    if (gateway->refuse_gets) {
        return NULL;
    }
    struct object_get *get = calloc(1, sizeof(*get));
    CHECK(get != NULL);
    get->gateway = gateway;
    get->request = *request;
    get->task.run = get_run;
    uint64_t bucket_id = bucket_find(gateway, request->bucket);
    get->object = object_find(gateway, bucket_id, request->key, request->key_bytes);
    get->open_status = gateway->get_status != STATUS_OK ? gateway->get_status
                       : bucket_id == 0                 ? STATUS_CONFLICT
                       : get->object == NULL            ? STATUS_NOT_FOUND
                                                        : STATUS_OK;
    gateway->gets_open++;
    get_queue(get);
    return get;
}

void object_get_range(struct object_get *get, uint64_t offset, uint64_t bytes)
{
    CHECK(bytes > 0 && offset + bytes <= get->object->size);
    get->at = offset;
    get->end = offset + bytes;
    get->allowed = offset;
    get_queue(get);
}

enum status object_get_read(struct object_get *get, void *buffer, size_t capacity, size_t *taken)
{
    if (get->at == get->end) {
        return STATUS_CLOSED;
    }
    if (get->at >= get->gateway->get_fails_at) {
        return get->gateway->get_failure;
    }
    uint64_t limit = get->allowed < get->end ? get->allowed : get->end;
    limit = limit < get->gateway->get_fails_at ? limit : get->gateway->get_fails_at;
    size_t bytes = limit - get->at < capacity ? (size_t)(limit - get->at) : capacity;
    if (bytes == 0) {
        get_queue(get);
    } else {
        memcpy(buffer, get->object->data + get->at, bytes);
        get->at += bytes;
    }
    *taken = bytes;
    return STATUS_OK;
}

void object_get_close(struct object_get *get)
{
    get->closed = true;
    if (!get->queued) {
        get_free(get);
    }
}
