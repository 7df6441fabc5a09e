/* put_commit.c - how a PUT ends at the metadata service: its chunks become an object, or they are condemned.
 *
 * A commit is repeated, with the same version, while its answer is missing and there is time: the service takes a
 * version once. When the outcome stays unknown nothing is condemned, because the object may be there; the orphan rule
 * settles it. Condemning is reported in the background; when even that fails, the orphan rule does it, too. A put that
 * is given up as a whole also names its leaf, once something sealed under it has left this process: the key of a write
 * that failed is destroyed like that of an object that was deleted. */
#include "node/object_put_parts.h"

#include "base/buggify.h"
#include "base/log.h"

#include <stdio.h>

#define COMMIT_CALLS_MAX 3u /* calls' worth of time a commit is retried for */
#define COMMIT_PAUSE_NS  (100 * NS_PER_MS)
#define ABORT_TRIES_MAX  3u
#define ABORT_PAUSE_NS   (500 * NS_PER_MS)
#define ABORT_REFS_MAX   1024u /* of one CHUNKS_ABORT */

/* ---- condemning ---------------------------------------------------------------------------------- */

static void abort_forget_reported(struct object_put *put)
{
    uint32_t reported = put->abort_refs;
    uint32_t from_condemned = reported < put->condemned_count ? reported : put->condemned_count;
    put->condemned_count -= from_condemned;
    memmove(put->condemned, put->condemned + from_condemned, put->condemned_count * sizeof(put->condemned[0]));
    reported -= from_condemned;
    for (uint32_t i = 0; i < put->next_chunk && reported > 0; i++) {
        if (put->refs[i].pg != 0) {
            put->refs[i].pg = 0;
            reported--;
        }
    }
    put->leaf_reported = put->leaf_reported || put->abort_names_leaf;
}

static void abort_fired(struct loop_timer *timer)
{
    struct object_put *put = CONTAINER_OF(timer, struct object_put, abort_timer);
    put->aborting = false;
    put_condemn_start(put);
    object_put_try_free(put);
}

static void abort_done(struct rpc_call *call)
{
    struct object_put *put = CONTAINER_OF(call, struct object_put, abort_call);
    bool may_retry =
        call->status == STATUS_TIMEOUT || call->status == STATUS_UNAVAILABLE || call->status == STATUS_BUSY;
    if (may_retry && ++put->abort_tries < ABORT_TRIES_MAX && !put->gateway->stopped) {
        put->abort_timer.fire = abort_fired;
        loop_timer_start(put->gateway->loop, &put->abort_timer, loop_now_ns(put->gateway->loop) + ABORT_PAUSE_NS);
        return;
    }
    if (call->status != STATUS_OK) {
        log_event(LOG_WARNING, "abort_not_reported", "chunks=%u reason=%s", put->abort_refs, status_name(call->status));
    }
    put->aborting = false;
    put->abort_tries = 0;
    abort_forget_reported(put);
    put_condemn_start(put);
    object_put_try_free(put);
}

/* Is the put given up as a whole, and is it known how everything that it sent has ended? */
static bool put_is_void(const struct object_put *put)
{
    return put->ended && !put->keep_chunks && object_put_sends_nothing(put) && !put->committing;
}

static uint32_t abort_collect(const struct object_put *put, struct commit_message *message)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < put->condemned_count && count < ABORT_REFS_MAX; i++, count++) {
        message->ids[count] = put->condemned[i].id;
        message->refs[count].pg = put->condemned[i].pg;
        message->refs[count].chunk_bytes = put->condemned[i].bytes;
    }
    bool all = put_is_void(put);
    for (uint32_t i = 0; all && i < put->next_chunk && count < ABORT_REFS_MAX; i++) {
        if (put->refs[i].pg != 0) {
            message->ids[count] = put->refs[i].id;
            message->refs[count].pg = put->refs[i].pg;
            message->refs[count].chunk_bytes = put->refs[i].bytes;
            count++;
        }
    }
    return count;
}

/* Make `count` refs, of which ids, PGs and sizes are filled in, ready for a message. */
static void refs_complete(struct commit_message *message, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        Trilith__ChunkRef *ref = &message->refs[i];
        uint32_t pg = ref->pg;
        uint32_t bytes = ref->chunk_bytes;
        trilith__chunk_ref__init(ref);
        ref->chunk_id.data = message->ids[i].bytes;
        ref->chunk_id.len = sizeof(message->ids[i].bytes);
        ref->pg = pg;
        ref->chunk_bytes = bytes;
        message->pointers[i] = ref;
    }
}

void put_condemn_start(struct object_put *put)
{
    struct gateway *gateway = put->gateway;
    if (put->aborting || gateway->meta == NULL) {
        return;
    }
    put->abort_refs = abort_collect(put, gateway->commit);
    put->abort_names_leaf = put_is_void(put) && put->leaf_is_used && !put->leaf_reported;
    if (put->abort_refs == 0 && !put->abort_names_leaf) {
        return;
    }
    refs_complete(gateway->commit, put->abort_refs);
    Trilith__ChunksAbortRequest request = TRILITH__CHUNKS_ABORT_REQUEST__INIT;
    request.tenant_id = put->request.tenant_id;
    request.n_chunks = put->abort_refs;
    request.chunks = gateway->commit->pointers;
    request.page = put->abort_names_leaf ? put->page : 0;
    request.slot = put->abort_names_leaf ? put->slot : 0;
    memset(&put->abort_call, 0, sizeof(put->abort_call));
    put->abort_call.type = TRILITH__MESSAGE_TYPE__CHUNKS_ABORT;
    put->abort_call.deadline_ns = gateway_meta_deadline_ns(gateway);
    put->abort_call.done = abort_done;
    put->aborting = true;
    rpc_call_start(gateway->meta, &put->abort_call, &request.base);
}

/* ---- commit -------------------------------------------------------------------------------------- */

static void commit_fired(struct loop_timer *timer)
{
    struct object_put *put = CONTAINER_OF(timer, struct object_put, commit_timer);
    put->committing = false;
    object_put_progress(put);
}

static void commit_succeeded(struct object_put *put, const Trilith__ObjectCommitReply *reply)
{
    put->result.version = put->version;
    put->result.modified_ms = reply->modified_ms;
    put->result.erasure_id = reply->erasure_id;
    put->keep_chunks = true;
    object_put_end(put, STATUS_OK);
}

/* Was the request perhaps carried out although it did not end well? */
static bool commit_outcome_is_unknown(const struct rpc_call *call)
{
    switch (call->status) {
    case STATUS_OK: /* without a reply that could be read */
    case STATUS_TIMEOUT:
    case STATUS_CORRUPT:
    case STATUS_IO:
        return true;
    case STATUS_BUSY:
    case STATUS_UNAVAILABLE: /* said by the service: not carried out; else the connection broke */
        return call->reply == NULL;
    default:
        return false;
    }
}

/* A refusal says that no earlier try was carried out, because the same version would have been accepted again; but not
 * when the tenant's keys were switched off or lost in between, nor when the version is one that is sealed anew: then
 * the earlier try itself may be why the version is not what it was. */
static bool refusal_holds_for_earlier_tries(const struct object_put *put, enum status status)
{
    return put->request.reseal_from == 0 && status != STATUS_KEY_REVOKED && status != STATUS_KEY_AWAY;
}

static void commit_done(struct rpc_call *call)
{
    struct object_put *put = CONTAINER_OF(call, struct object_put, commit_call);
    put->committing = false;
    if (put->ended) { /* The gateway is being stopped. */
        object_put_settle(put);
        return;
    }
    if (call->status == STATUS_OK && call->reply != NULL && !BUGGIFY(BUGGIFY_GATEWAY_COMMIT_SENT_AGAIN)) {
        KILL_POINT(KILL_GATEWAY_COMMIT_ANSWERED);
        commit_succeeded(put, (const Trilith__ObjectCommitReply *)call->reply);
        object_put_settle(put);
        return;
    }
    bool unknown = commit_outcome_is_unknown(call);
    put->commit_unknown = put->commit_unknown || unknown;
    bool may_retry = unknown || call->status == STATUS_BUSY || call->status == STATUS_UNAVAILABLE;
    uint64_t again_ns = loop_now_ns(put->gateway->loop) + COMMIT_PAUSE_NS;
    if (may_retry && again_ns < put->commit_until_ns) {
        put->committing = true;
        put->commit_timer.fire = commit_fired;
        loop_timer_start(put->gateway->loop, &put->commit_timer, again_ns);
        return;
    }
    put->keep_chunks = put->commit_unknown && (may_retry || !refusal_holds_for_earlier_tries(put, call->status));
    bool has_changed = put->request.reseal_from != 0 && call->status == STATUS_CONFLICT;
    if (put->keep_chunks && !has_changed) {
        object_put_fail(put, STATUS_TIMEOUT);
    } else {
        object_put_fail(put, has_changed ? STATUS_CONFLICT : object_put_status(call->status));
    }
}

static void commit_fill_object(struct object_put *put, Trilith__Object *object)
{
    struct commit_message *message = put->gateway->commit;
    object->version_id.data = put->version.bytes;
    object->version_id.len = sizeof(put->version.bytes);
    object->size = put->request.size;
    object->suite = put->request.suite;
    object->dek_version = put->object_key.dek_version;
    object->page = put->page;
    object->slot = put->slot;
    object->etag = put->result.etag;
    for (uint32_t i = 0; i < put->chunk_count; i++) {
        CHECK(put->refs[i].pg != 0);
        message->ids[i] = put->refs[i].id;
        message->refs[i].pg = put->refs[i].pg;
        message->refs[i].chunk_bytes = put->refs[i].bytes;
    }
    refs_complete(message, put->chunk_count);
    object->n_chunks = put->chunk_count;
    object->chunks = message->pointers;
}

static void commit_send(struct object_put *put)
{
    struct gateway *gateway = put->gateway;
    const struct key *object_key = object_key_use(&put->object_key);
    struct key *meta_key = key_take(gateway->keys);
    CHECK(object_key != NULL);
    if (meta_key == NULL) {
        put->keep_chunks = put->commit_unknown;
        object_put_fail(put, put->keep_chunks ? STATUS_TIMEOUT : STATUS_UNAVAILABLE);
        return;
    }
    derive_meta_key(object_key, meta_key);
    size_t sealed_bytes = object_meta_seal(meta_key, &put->object_key.identity, put->request.size, &put->meta,
                                           gateway->commit->sealed_meta);
    key_release(gateway->keys, meta_key);

    char hex[ID_HEX_BYTES];
    id_to_hex(put->version.bytes, hex);
    snprintf(put->result.etag, sizeof(put->result.etag), "%s-%u", hex, put->chunk_count);
    Trilith__Object object;
    trilith__object__init(&object);
    commit_fill_object(put, &object);
    object.sealed_meta.data = gateway->commit->sealed_meta;
    object.sealed_meta.len = sealed_bytes;
    Trilith__ObjectCommitRequest request;
    trilith__object_commit_request__init(&request);
    request.tenant_id = put->request.tenant_id;
    request.bucket_id = put->request.bucket_id;
    request.key.data = put->key;
    request.key.len = put->key_bytes;
    request.object = &object;
    request.if_none_match = put->request.if_none_match;
    request.reseal_from = put->request.reseal_from;
    request.requested_by = put->requested_by;

    memset(&put->commit_call, 0, sizeof(put->commit_call));
    put->commit_call.type = TRILITH__MESSAGE_TYPE__OBJECT_COMMIT;
    put->commit_call.deadline_ns = gateway_meta_deadline_ns(gateway);
    put->commit_call.done = commit_done;
    put->committing = true;
    put->leaf_is_used = true;
    rpc_call_start(gateway->meta, &put->commit_call, &request.base);
}

void put_commit_start(struct object_put *put)
{
    if (put->commit_until_ns == 0) {
        KILL_POINT(KILL_GATEWAY_CHUNKS_DURABLE);
        put->commit_until_ns = loop_now_ns(put->gateway->loop) + COMMIT_CALLS_MAX * put->gateway->options.meta_call_ns;
    }
    commit_send(put);
}
