/* put_chunk.c - one chunk of a PUT: sealed unit by unit, sent to the members of a PG, sealed anew and sent elsewhere.
 *
 *   FILLING ──sealed──> SENDING ──all members durable──> FREE
 *                        │   ^
 *         member failed  v   │ after a pause, under a new id, to another PG
 *                       PAUSING ──attempts or time over──> the put fails
 *
 * The slab is read by the kernel until every member has said how it ended; only then is it opened and sealed again. */
#include "node/object_put_parts.h"

#include "base/buggify.h"
#include "base/log.h"

/* Attempts to make one chunk durable. The pause before the next one doubles each time, 1.5 s in all: in it a node with
 * an old map fetches the new one, and one that has just started begins to serve. However many attempts there were, we
 * give up after as many deadlines of one copy as CHUNK_DEADLINES_MAX. */
#define CHUNK_ATTEMPTS_MAX   5u
#define CHUNK_PAUSE_FIRST_NS (100 * NS_PER_MS)
#define CHUNK_DEADLINES_MAX  3u

static void chunk_send_all(struct put_chunk *chunk);
static void chunk_step(struct put_chunk *chunk, const struct replicate_event *event);

void put_chunk_free(struct put_chunk *chunk)
{
    loop_timer_stop(chunk->put->gateway->loop, &chunk->timer);
    gateway_sealer_forget(chunk->put->gateway, &chunk->id);
    slab_release(chunk->slab);
    chunk->slab = NULL;
    chunk->stage = PUT_CHUNK_FREE;
}

/* ---- sealing ------------------------------------------------------------------------------------- */

static struct chunk_binding chunk_binding(const struct put_chunk *chunk)
{
    return (struct chunk_binding){.identity = chunk->put->object_key.identity,
                                  .chunk = chunk->id,
                                  .chunk_index = chunk->index,
                                  .chunk_bytes = chunk->bytes,
                                  .suite = chunk->put->request.suite};
}

void put_chunk_seal_ready_units(struct put_chunk *chunk)
{
    struct object_put *put = chunk->put;
    uint32_t full = chunk->filled == chunk->bytes ? chunk_unit_count(chunk->bytes) : chunk->filled / UNIT_BYTES;
    if (chunk->sealed_units == full || object_key_use(&put->object_key) == NULL) {
        return;
    }
    struct chunk_binding binding = chunk_binding(chunk);
    if (gateway_sealer_begin(put->gateway, &put->object_key, &binding) != STATUS_OK) {
        object_put_fail(put, STATUS_UNAVAILABLE);
        return;
    }
    for (; chunk->sealed_units < full; chunk->sealed_units++) {
        uint32_t unit = chunk->sealed_units;
        seal_unit(put->gateway->sealer, unit, chunk->slab->data + (size_t)unit * UNIT_BYTES,
                  chunk->seals + (size_t)unit * UNIT_SEAL_BYTES);
    }
    if (chunk->filled == chunk->bytes) {
        chunk->slab->dirty_bytes = 0; /* Only ciphertext is left in it. */
        gateway_sealer_forget(put->gateway, &chunk->id);
        chunk->give_up_ns =
            loop_now_ns(put->gateway->loop) + CHUNK_DEADLINES_MAX * put->gateway->options.chunk_write_ns;
        chunk_send_all(chunk);
    }
}

/* ---- sending ------------------------------------------------------------------------------------- */

static void chunk_attempt_failed(struct put_chunk *chunk, enum status status);

/* Where this chunk goes: three members that are up and not suspected; else two, if the bucket accepts that; else the
 * same again without our suspicions, which may be wrong. */
static enum status choose_members(struct object_put *put, struct map_choice *choice)
{
    const struct map *map = chunk_client_map(put->gateway->chunks);
    if (map == NULL) {
        return STATUS_UNAVAILABLE;
    }
    struct map_avoid suspects;
    chunk_client_suspects(put->gateway->chunks, &suspects);
    uint64_t random = 0;
    loop_random(put->gateway->loop, &random, sizeof(random));
    enum status status = STATUS_UNAVAILABLE;
    for (unsigned round = 0; round < 2 && status != STATUS_OK; round++) {
        const struct map_avoid *avoid = round == 0 ? &suspects : NULL;
        status = map_choose_pg(map, avoid, REPLICAS, random, choice);
        if (status != STATUS_OK && put->request.degraded_writes) {
            status = map_choose_pg(map, avoid, REPLICAS - 1, random, choice);
        }
    }
    return status;
}

static void member_done(struct chunk_send *send, enum status status)
{
    struct put_member *member = CONTAINER_OF(send, struct put_member, send);
    chunk_step(member->chunk,
               &(struct replicate_event){.kind = REPLICATE_OUTCOME, .member = member->number, .status = status});
}

static void deadline_fired(struct loop_timer *timer)
{
    chunk_step(CONTAINER_OF(timer, struct put_chunk, timer), &(struct replicate_event){.kind = REPLICATE_DEADLINE});
}

static void chunk_send_all(struct put_chunk *chunk)
{
    struct object_put *put = chunk->put;
    struct map_choice choice;
    enum status status = choose_members(put, &choice);
    if (status != STATUS_OK) {
        chunk_attempt_failed(chunk, status);
        return;
    }
    chunk->stage = PUT_CHUNK_SENDING;
    chunk->was_sent = true;
    put->leaf_is_used = true;
    put->refs[chunk->index] = (struct put_ref){.id = chunk->id, .pg = choice.pg, .bytes = chunk->bytes};
    replicate_init(&chunk->replicate, choice.copies);
    uint64_t deadline_ns = loop_now_ns(put->gateway->loop) + put->gateway->options.chunk_write_ns;
    for (unsigned i = 0; i < choice.copies; i++) {
        struct put_member *member = &chunk->members[i];
        member->chunk = chunk;
        member->number = i;
        member->send.disk_id = choice.disks[i];
        member->send.header = (struct chunk_header){.id = chunk->id,
                                                    .tenant_id = put->request.tenant_id,
                                                    .pg = choice.pg,
                                                    .chunk_bytes = chunk->bytes,
                                                    .suite = put->request.suite};
        member->send.payload = chunk->slab->data;
        member->send.seals = chunk->seals;
        member->send.deadline_ns = deadline_ns;
        member->send.done = member_done;
        chunk_client_send(put->gateway->chunks, &member->send);
    }
    chunk->timer.fire = deadline_fired;
    loop_timer_start(put->gateway->loop, &chunk->timer, deadline_ns);
}

static void chunk_durable(struct put_chunk *chunk)
{
    struct object_put *put = chunk->put;
    put_chunk_free(chunk);
    put->durable_chunks++;
    object_put_progress(put);
}

static void chunk_step(struct put_chunk *chunk, const struct replicate_event *event)
{
    struct object_put *put = chunk->put;
    struct replicate_actions actions;
    replicate_step(&chunk->replicate, event, &actions);
    if (actions.suspect_member && !put->ended) {
        uint32_t disk_id = chunk->members[event->member].send.disk_id;
        chunk_client_suspect(put->gateway->chunks, disk_id);
        log_event(LOG_WARNING, "replica_write_failed", "disk=%u reason=%s", disk_id, status_name(event->status));
    }
    for (unsigned i = 0; i < REPLICAS; i++) {
        if ((actions.cancel & 1u << i) != 0) {
            chunk_send_cancel(&chunk->members[i].send);
        }
    }
    if (!actions.finished) {
        return;
    }
    loop_timer_stop(put->gateway->loop, &chunk->timer);
    if (put->ended) {
        put_chunk_free(chunk);
        object_put_settle(put);
    } else if (actions.outcome == STATUS_OK && !(chunk->attempts == 0 && BUGGIFY(BUGGIFY_GATEWAY_CHUNK_SENT_AGAIN))) {
        chunk_durable(chunk);
    } else {
        chunk_attempt_failed(chunk, actions.outcome);
    }
}

void put_chunk_give_up(struct put_chunk *chunk)
{
    chunk_step(chunk, &(struct replicate_event){.kind = REPLICATE_GIVE_UP});
}

/* ---- another attempt ------------------------------------------------------------------------------ */

/* No key ever seals two different chunks, and an id that may lie on a disk is never written again: open what was
 * sealed, in place, and seal it under a new id. */
static enum status chunk_seal_anew(struct put_chunk *chunk)
{
    struct gateway *gateway = chunk->put->gateway;
    struct chunk_binding binding = chunk_binding(chunk);
    enum status status = gateway_sealer_begin(gateway, &chunk->put->object_key, &binding);
    chunk->slab->dirty_bytes = chunk->bytes;
    uint32_t units = chunk_unit_count(chunk->bytes);
    for (uint32_t unit = 0; unit < units && status == STATUS_OK; unit++) {
        status = open_unit(gateway->sealer, unit, chunk->slab->data + (size_t)unit * UNIT_BYTES,
                           chunk->seals + (size_t)unit * UNIT_SEAL_BYTES);
    }
    gateway_sealer_forget(gateway, &chunk->id);
    if (status != STATUS_OK) {
        log_event(LOG_ERROR, "chunk_changed_in_memory", "reason=%s", status_name(status));
        return status;
    }
    loop_random(gateway->loop, chunk->id.bytes, sizeof(chunk->id.bytes));
    binding = chunk_binding(chunk);
    status = gateway_sealer_begin(gateway, &chunk->put->object_key, &binding);
    for (uint32_t unit = 0; unit < units && status == STATUS_OK; unit++) {
        seal_unit(gateway->sealer, unit, chunk->slab->data + (size_t)unit * UNIT_BYTES,
                  chunk->seals + (size_t)unit * UNIT_SEAL_BYTES);
    }
    gateway_sealer_forget(gateway, &chunk->id);
    chunk->slab->dirty_bytes = status == STATUS_OK ? 0 : chunk->bytes;
    chunk->was_sent = false;
    return status;
}

static void chunk_try_again(struct put_chunk *chunk)
{
    chunk->waits_for_key = chunk->was_sent && object_key_use(&chunk->put->object_key) == NULL;
    if (chunk->waits_for_key) {
        return;
    }
    enum status status = chunk->was_sent ? chunk_seal_anew(chunk) : STATUS_OK;
    if (status != STATUS_OK) {
        object_put_fail(chunk->put, STATUS_UNAVAILABLE);
        return;
    }
    chunk_send_all(chunk);
}

static void pause_over(struct loop_timer *timer)
{
    chunk_try_again(CONTAINER_OF(timer, struct put_chunk, timer));
}

void put_chunk_key_ready(struct put_chunk *chunk)
{
    if (chunk->stage == PUT_CHUNK_FILLING) {
        put_chunk_seal_ready_units(chunk);
    } else if (chunk->stage == PUT_CHUNK_PAUSING && chunk->waits_for_key) {
        chunk_try_again(chunk);
    }
}

/* The attempt is over and nobody reads the slab any more. Condemn what was sent, and try elsewhere or give up. */
static void chunk_attempt_failed(struct put_chunk *chunk, enum status status)
{
    struct object_put *put = chunk->put;
    struct put_ref *ref = &put->refs[chunk->index];
    chunk->stage = PUT_CHUNK_PAUSING;
    bool no_room_to_remember = ref->pg != 0 && put->condemned_count == CONDEMNED_MAX;
    if (ref->pg != 0 && !no_room_to_remember) {
        KILL_POINT(KILL_GATEWAY_CHUNK_FAILED);
        put->condemned[put->condemned_count++] = *ref;
        ref->pg = 0;
        put_condemn_start(put);
    }
    uint64_t now_ns = loop_now_ns(put->gateway->loop);
    if (++chunk->attempts == CHUNK_ATTEMPTS_MAX || now_ns >= chunk->give_up_ns || no_room_to_remember) {
        object_put_fail(put, status == STATUS_FULL ? STATUS_FULL : STATUS_UNAVAILABLE);
        return;
    }
    chunk->timer.fire = pause_over;
    loop_timer_start(put->gateway->loop, &chunk->timer, now_ns + (CHUNK_PAUSE_FIRST_NS << (chunk->attempts - 1)));
}
