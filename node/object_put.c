/* object_put.c - one PUT: body into slabs, slabs sealed and sent to three disks, chunks committed as an object.
 *
 *   start ──> leaf ──> DEK ──> key ready ┐
 *   write ──> chunk FILLING ─────────────┴─> SENDING ──all durable──> FREE       finish ──> commit ──> done(STATUS_OK)
 *                                             │   ^
 *                              member failed  v   │ sealed anew under a new id
 *                                            PAUSING ──attempts or time over──> done(error)
 *
 * A unit is sealed as soon as it is full and the key is there, while it is still in the cache. When the lease of the
 * DEK ends, everything that needs the key waits until it was renewed, as it waited at the start, or the put fails. A
 * put that has failed or was given up first collects the outcomes of everything it has sent, because the kernel reads
 * from its slabs until then, and tells the metadata service which chunks to condemn, and the leaf to destroy if
 * anything was sealed under it. The client hears of the failure before that.
 *
 * When a commit's outcome is unknown nothing is condemned here: the object may be there. The orphan rule settles it. */
#include "node/object_put_parts.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- the pool of puts --------------------------------------------------------------------------- */

void object_puts_open(struct gateway *gateway, uint32_t puts_max)
{
    gateway->puts = calloc(puts_max, sizeof(*gateway->puts));
    CHECK(gateway->puts != NULL);
    list_init(&gateway->free_puts);
    list_init(&gateway->active_puts);
    for (uint32_t i = 0; i < puts_max; i++) {
        gateway->puts[i].gateway = gateway;
        list_append(&gateway->free_puts, &gateway->puts[i].link);
    }
}

void object_puts_stop(struct gateway *gateway)
{
    LIST_EACH (&gateway->active_puts, link) {
        struct object_put *put = LIST_ENTRY(link, struct object_put, link);
        put->committing = put->committing && !loop_timer_is_armed(&put->commit_timer);
        put->aborting = put->aborting && !loop_timer_is_armed(&put->abort_timer);
        loop_timer_stop(gateway->loop, &put->commit_timer);
        loop_timer_stop(gateway->loop, &put->abort_timer);
        put->keep_chunks = put->keep_chunks || put->finishing; /* The commit may have been carried out. */
        object_put_fail(put, STATUS_CANCELLED);
        object_put_settle(put); /* One that has failed before may have been waiting to report. */
    }
}

void object_puts_sweep(struct gateway *gateway)
{
    LIST_EACH (&gateway->active_puts, link) {
        object_key_sweep(&LIST_ENTRY(link, struct object_put, link)->object_key);
    }
}

void object_puts_close(struct gateway *gateway)
{
    CHECK(list_is_empty(&gateway->active_puts));
    free(gateway->puts);
}

bool object_put_sends_nothing(const struct object_put *put)
{
    for (unsigned i = 0; i < OBJECT_SLABS_MAX; i++) {
        if (put->chunks[i].stage != PUT_CHUNK_FREE) {
            return false;
        }
    }
    return true;
}

/* Give the slot back when nothing of this put is under way any more. */
void object_put_try_free(struct object_put *put)
{
    if (!put->ended || put->done_pending || put->wake_queued || put->committing || put->aborting ||
        !object_put_sends_nothing(put)) {
        return;
    }
    CHECK(put->spare == NULL && put->object_key.leaf == NULL);
    list_remove(&put->link);
    put->gateway->puts_in_flight--;
    wipe_memory(put->meta.bytes, put->meta.used);
    list_append(&put->gateway->free_puts, &put->link);
}

/* ---- telling the user ---------------------------------------------------------------------------- */

static void put_wake(struct object_put *put)
{
    if (!put->wake_queued) {
        put->wake_queued = true;
        loop_defer(put->gateway->loop, &put->wake);
    }
}

static void wake_run(struct loop_task *task)
{
    struct object_put *put = CONTAINER_OF(task, struct object_put, wake);
    put->wake_queued = false;
    if (put->done_pending) {
        put->done_pending = false;
        put->user_gone = true;
        put->request.done(put->request.user, put->status, put->status == STATUS_OK ? &put->result : NULL);
        object_put_try_free(put);
        return;
    }
    if (put->ended) {
        object_put_try_free(put);
        return;
    }
    if (put->wants_writable && !put->user_gone) {
        put->wants_writable = false;
        put->request.writable(put->request.user);
    }
}

/* ---- the end ------------------------------------------------------------------------------------- */

static void put_release_keys(struct object_put *put)
{
    leaf_leases_cancel(&put->leaf_wait);
    object_key_end(&put->object_key);
    key_let_go(&put->gateway->key_holder, &put->held_key);
}

void object_put_end(struct object_put *put, enum status status)
{
    CHECK(!put->ended);
    put->ended = true;
    put->status = status;
    put->done_pending = !put->user_gone;
    put_release_keys(put);
    put_wake(put);
}

/* End with an error. What is being sent goes on to its own end, which is near: to break it off would break the
 * connection for all others. */
void object_put_fail(struct object_put *put, enum status status)
{
    if (put->ended) {
        return;
    }
    object_put_end(put, status);
    slab_wait_cancel(put->gateway->slabs, &put->waiter);
    put->waiting_for_slab = false;
    if (put->spare != NULL) {
        slab_release(put->spare);
        put->spare = NULL;
    }
    put->filling = NULL;
    for (unsigned i = 0; i < OBJECT_SLABS_MAX; i++) {
        struct put_chunk *chunk = &put->chunks[i];
        if (chunk->stage == PUT_CHUNK_FILLING || chunk->stage == PUT_CHUNK_PAUSING) {
            put_chunk_free(chunk);
        } else if (chunk->stage == PUT_CHUNK_SENDING && put->gateway->stopped) {
            put_chunk_give_up(chunk);
        }
    }
    object_put_settle(put);
}

/* After the end: when everything sent has said how it ended, have it condemned, then go. */
void object_put_settle(struct object_put *put)
{
    if (put->ended && object_put_sends_nothing(put) && !put->committing) {
        put_condemn_start(put);
        object_put_try_free(put);
    }
}

/* Something has become durable, or the key or the end of the body has come: what is possible now? */
void object_put_progress(struct object_put *put)
{
    if (put->ended) {
        return;
    }
    if (put->wants_writable && !put->waiting_for_slab) {
        put_wake(put);
    }
    bool may_commit = put->finishing && put->durable_chunks == put->chunk_count && !put->committing;
    if (may_commit && object_key_use(&put->object_key) != NULL) {
        put_commit_start(put);
    }
}

/* ---- keys ---------------------------------------------------------------------------------------- */

/* What the client hears when a part behind us did not do its work: only the commit may have an unknown outcome. */
enum status object_put_status(enum status status)
{
    switch (status) {
    case STATUS_OK:
    case STATUS_NOT_FOUND:
    case STATUS_EXISTS:
    case STATUS_DENIED:
    case STATUS_FULL:
    case STATUS_CANCELLED:
    case STATUS_KEY_REVOKED:
    case STATUS_KEY_AWAY:
    case STATUS_HELD:
        return status;
    default:
        return STATUS_UNAVAILABLE;
    }
}

/* The key may be used (again). A version is sealed anew under a newer DEK, or it would be in vain. */
static void key_ready(struct object_key *key, enum status status)
{
    struct object_put *put = CONTAINER_OF(key, struct object_put, object_key);
    if (status == STATUS_OK && put->request.reseal_from != 0 && key->dek_version <= put->request.reseal_from) {
        object_put_fail(put, STATUS_CONFLICT);
        return;
    }
    if (status != STATUS_OK) {
        put->keep_chunks = put->commit_unknown;
        object_put_fail(put, put->keep_chunks ? STATUS_TIMEOUT : object_put_status(status));
        return;
    }
    for (unsigned i = 0; i < OBJECT_SLABS_MAX && !put->ended; i++) {
        put_chunk_key_ready(&put->chunks[i]);
    }
    object_put_progress(put);
}

static void leaf_ready(struct leaf_wait *wait, enum status status, const struct leaf *leaf)
{
    struct object_put *put = CONTAINER_OF(wait, struct object_put, leaf_wait);
    if (status != STATUS_OK) {
        bool has_changed = put->request.reseal_from != 0 && status == STATUS_CONFLICT;
        object_put_fail(put, has_changed ? STATUS_CONFLICT : object_put_status(status));
        return;
    }
    put->page = leaf->page;
    put->slot = leaf->slot;
    put->object_key.ready = key_ready;
    struct gateway *gateway = put->gateway;
    object_key_begin(&put->object_key, gateway->loop, gateway->tenant_keys, gateway->keys, put->request.tenant_id,
                     put->request.dek_version, leaf->key);
}

/* ---- start --------------------------------------------------------------------------------------- */

struct object_put *object_put_start(struct gateway *gateway, const struct object_put_request *request)
{
    CHECK(request->key_bytes > 0 && request->key_bytes <= OBJECT_KEY_BYTES_MAX);
    CHECK(request->size <= OBJECT_BYTES_MAX);
    CHECK((request->reseal_from != 0) == (request->version != NULL));
    struct list_link *link = gateway->stopped ? NULL : list_take_first(&gateway->free_puts);
    if (link == NULL) {
        return NULL;
    }
    struct object_put *put = LIST_ENTRY(link, struct object_put, link);
    /* The refs and the metadata are long: their used parts are written before they are read. */
    memset(put, 0, offsetof(struct object_put, condemned));
    put->gateway = gateway;
    list_append(&gateway->active_puts, &put->link);
    gateway->puts_in_flight++;
    put->request = *request;
    put->key_bytes = request->key_bytes;
    memcpy(put->key, request->key, request->key_bytes);
    put->meta.used = request->meta->used;
    put->meta.count = request->meta->count;
    memcpy(put->meta.bytes, request->meta->bytes, request->meta->used);
    put->wake.run = wake_run;
    put->chunk_count = (uint32_t)((request->size + CHUNK_BYTES_MAX - 1) / CHUNK_BYTES_MAX);
    if (request->version != NULL) {
        put->version = *request->version;
    } else {
        loop_random(gateway->loop, put->version.bytes, sizeof(put->version.bytes));
    }
    snprintf(put->requested_by, sizeof(put->requested_by), "%s",
             request->requested_by != NULL ? request->requested_by : "");
    put->request.key = NULL;
    put->request.meta = NULL;
    put->request.requested_by = NULL;
    put->request.version = NULL;
    put->request.suite = request->suite == 0 ? SUITE_AES_256_GCM : request->suite;
    derive_identity(request->tenant_id, request->bucket_id, &put->version, put->key, put->key_bytes,
                    &put->object_key.identity);
    if (!suite_is_supported(gateway->sealer, put->request.suite)) {
        object_put_fail(put, STATUS_UNSUPPORTED);
        return put;
    }
    key_hold(&gateway->key_holder, &put->held_key);
    put->leaf_wait.tenant_id = request->tenant_id;
    put->leaf_wait.bucket_id = request->bucket_id;
    put->leaf_wait.done = leaf_ready;
    struct leaf_reseal reseal = {.key = put->key, .key_bytes = put->key_bytes, .version = &put->version};
    put->leaf_wait.reseal = request->reseal_from != 0 ? &reseal : NULL;
    leaf_leases_take(gateway->leaves, &put->leaf_wait);
    return put;
}

/* ---- filling -------------------------------------------------------------------------- */

static void spare_ready(struct slab_waiter *waiter, struct slab *slab)
{
    struct object_put *put = CONTAINER_OF(waiter, struct object_put, waiter);
    put->waiting_for_slab = false;
    put->spare = slab;
    put_wake(put);
}

static struct put_chunk *free_chunk(struct object_put *put)
{
    for (unsigned i = 0; i < OBJECT_SLABS_MAX; i++) {
        if (put->chunks[i].stage == PUT_CHUNK_FREE) {
            return &put->chunks[i];
        }
    }
    return NULL;
}

static uint32_t chunk_bytes_at(const struct object_put *put, uint32_t index)
{
    uint64_t rest = put->request.size - (uint64_t)index * CHUNK_BYTES_MAX;
    return rest < CHUNK_BYTES_MAX ? (uint32_t)rest : CHUNK_BYTES_MAX;
}

/* Begin to fill the next chunk. NULL: three are on their way, or no slab is free; then we stand in line for one, and
 * hold none that could not be sent. */
static struct put_chunk *open_chunk(struct object_put *put)
{
    struct put_chunk *chunk = free_chunk(put);
    if (chunk == NULL || put->waiting_for_slab) {
        return NULL;
    }
    uint32_t bytes = chunk_bytes_at(put, put->next_chunk);
    struct slab *slab = put->spare != NULL ? put->spare : slab_take(put->gateway->slabs, bytes);
    put->spare = NULL;
    if (slab == NULL) {
        put->waiting_for_slab = true;
        slab_wait(put->gateway->slabs, &put->waiter, bytes, spare_ready);
        return NULL;
    }
    memset(chunk, 0, offsetof(struct put_chunk, seals));
    chunk->put = put;
    chunk->stage = PUT_CHUNK_FILLING;
    chunk->index = put->next_chunk;
    chunk->bytes = bytes;
    chunk->slab = slab;
    loop_random(put->gateway->loop, chunk->id.bytes, sizeof(chunk->id.bytes));
    put->refs[put->next_chunk] = (struct put_ref){.pg = 0};
    put->next_chunk++;
    return chunk;
}

size_t object_put_write(struct object_put *put, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    size_t left = bytes;
    CHECK(!put->finishing);
    while (left > 0) {
        if (put->ended) {
            return bytes;
        }
        if (put->filling == NULL) {
            CHECK(put->next_chunk < put->chunk_count);
            put->filling = open_chunk(put);
            if (put->filling == NULL) {
                put->wants_writable = true;
                break;
            }
        }
        struct put_chunk *chunk = put->filling;
        uint32_t room = chunk->bytes - chunk->filled;
        uint32_t unit_room = UNIT_BYTES - chunk->filled % UNIT_BYTES;
        size_t take = left < unit_room ? left : unit_room;
        take = take < room ? take : room;
        memcpy(chunk->slab->data + chunk->filled, at, take);
        chunk->filled += (uint32_t)take;
        chunk->slab->dirty_bytes = chunk->filled;
        at += take;
        left -= take;
        if (chunk->filled == chunk->bytes) {
            put->filling = NULL;
        }
        put_chunk_seal_ready_units(chunk);
    }
    return bytes - left;
}

/* ---- what the user says ---------------------------------------------------------------------------- */

void object_put_finish(struct object_put *put)
{
    CHECK(!put->finishing);
    if (!put->ended) {
        CHECK(put->next_chunk == put->chunk_count && put->filling == NULL);
    }
    put->finishing = true;
    object_put_progress(put);
}

void object_put_abort(struct object_put *put)
{
    CHECK(!put->finishing);
    object_put_fail(put, STATUS_CANCELLED);
}

void object_put_detach(struct object_put *put)
{
    put->user_gone = true;
    put->done_pending = false;
    if (!put->finishing) {
        object_put_fail(put, STATUS_CANCELLED);
    }
    if (put->ended) {
        put_wake(put); /* So that the slot is given back, and not within this call. */
    }
}
