/* frame_stream.c - see frame_stream.h.
 *
 * Receiving is one loop, frame_stream_step(): it carries the frame at hand from stage to stage for as long as the
 * bytes suffice, and starts one recv when they do not. Every I/O and task that will call back is counted in `pending`;
 * the one that brings it to zero while closing ends the stream. */
#include "proto/frame_stream.h"

#include "base/checksum.h"
#include "base/keys.h"
#include "base/log.h"
#include "proto/codec.h"

#include <stdlib.h>

#define FRAME_OUT_BYTES_MIN  512u
#define FRAME_OUT_BYTES_KEPT 4096u /* a frame's buffer that grew beyond this is freed after use */

_Static_assert(FRAME_SEND_VECTORS_MAX > RPC_PAYLOAD_VECTORS_MAX, "a frame fits into one send");

/* ---- frames on their way out ----------------------------------------------------------------- */

static bool frame_out_reserve(struct frame_out *frame, size_t bytes)
{
    if (frame->bytes_capacity >= bytes) {
        return true;
    }
    size_t capacity = FRAME_OUT_BYTES_MIN;
    while (capacity < bytes) {
        capacity *= 2;
    }
    uint8_t *grown = malloc(capacity);
    if (grown == NULL) {
        return false;
    }
    free(frame->bytes);
    frame->bytes = grown;
    frame->bytes_capacity = capacity;
    return true;
}

enum status frame_out_pack(struct frame_out *frame, const ProtobufCMessage *message)
{
    CHECK(frame->stage == FRAME_OUT_IDLE);
    size_t message_bytes = message == NULL ? 0 : protobuf_c_message_get_packed_size(message);
    if (message_bytes > FRAME_MESSAGE_BYTES_MAX) {
        return STATUS_TOO_LARGE;
    }
    if (!frame_out_reserve(frame, FRAME_HEADER_BYTES + message_bytes)) {
        return STATUS_BUSY;
    }
    if (message != NULL) {
        size_t packed = protobuf_c_message_pack(message, frame->bytes + FRAME_HEADER_BYTES);
        CHECK(packed == message_bytes);
    }
    frame->bytes_used = FRAME_HEADER_BYTES + message_bytes;
    frame->payload_count = 0;
    return STATUS_OK;
}

void frame_out_finish(struct frame_out *frame, struct frame_header *header)
{
    CHECK(frame->bytes_used >= FRAME_HEADER_BYTES);
    size_t payload_bytes = 0;
    for (unsigned i = 0; i < frame->payload_count; i++) {
        CHECK(frame->payload[i].iov_len <= FRAME_PAYLOAD_BYTES_MAX - payload_bytes);
        payload_bytes += frame->payload[i].iov_len;
    }
    header->message_bytes = (uint32_t)(frame->bytes_used - FRAME_HEADER_BYTES);
    header->payload_bytes = (uint32_t)payload_bytes;
    header->message_crc = crc32c(0, frame->bytes + FRAME_HEADER_BYTES, header->message_bytes);
    frame_encode(header, frame->bytes);
}

void frame_out_recycle(struct frame_out *frame, bool wipe)
{
    CHECK(frame->stage == FRAME_OUT_IDLE);
    if (wipe && frame->bytes_used > 0) {
        wipe_memory(frame->bytes, frame->bytes_used);
    }
    frame->bytes_used = 0;
    frame->payload_count = 0;
    if (frame->bytes_capacity > FRAME_OUT_BYTES_KEPT) {
        frame_out_deinit(frame);
    }
}

void frame_out_deinit(struct frame_out *frame)
{
    free(frame->bytes);
    frame->bytes = NULL;
    frame->bytes_capacity = 0;
}

/* ---- closing --------------------------------------------------------------------------------- */

static void frame_out_end(struct frame_out *frame)
{
    list_remove(&frame->link);
    frame->stage = FRAME_OUT_IDLE;
    frame->sent(frame);
}

/* One pending callback is over. The last one of a closing stream ends it. */
static void frame_stream_settle(struct frame_stream *frames)
{
    CHECK(frames->pending > 0);
    frames->pending--;
    if (frames->pending > 0 || !frames->closing) {
        return;
    }
    CHECK(list_is_empty(&frames->sending_queue));
    while (!list_is_empty(&frames->queue)) {
        frame_out_end(LIST_ENTRY(list_first(&frames->queue), struct frame_out, link));
    }
    wipe_memory(frames->staging, sizeof(frames->staging));
    frames->events->closed(frames);
}

static void frame_stream_close_run(struct loop_task *task)
{
    frame_stream_settle(CONTAINER_OF(task, struct frame_stream, close_task));
}

void frame_stream_close(struct frame_stream *frames, enum status reason)
{
    if (frames->closing) {
        return;
    }
    frames->closing = true;
    frames->end = reason;
    loop_timer_stop(frames->loop, &frames->recv_timer);
    loop_timer_stop(frames->loop, &frames->send_timer);
    stream_close(frames->stream);
    frames->stream = NULL;
    if (frames->pending == 0) {
        frames->pending++;
        loop_defer(frames->loop, &frames->close_task);
    }
}

void frame_stream_refuse(struct frame_stream *frames, enum status reason, const char *what)
{
    if (!frames->closing) {
        log_event(LOG_WARNING, "rpc_frame_refused", "address=%s reason=%s what=\"%s\"", frames->address,
                  status_name(reason), what);
        frame_stream_close(frames, reason);
    }
}

static void recv_stalled(struct loop_timer *timer)
{
    frame_stream_refuse(CONTAINER_OF(timer, struct frame_stream, recv_timer), STATUS_TIMEOUT,
                        "a frame that began did not arrive");
}

static void send_stalled(struct loop_timer *timer)
{
    frame_stream_refuse(CONTAINER_OF(timer, struct frame_stream, send_timer), STATUS_TIMEOUT,
                        "the peer does not read what was sent");
}

/* ---- receiving -------------------------------------------------------------------------------
 *
 *   FRAMES_HEADER ──> FRAMES_MESSAGE ──> FRAMES_PAYLOAD_WAIT ──> FRAMES_PAYLOAD ──> complete, FRAMES_HEADER
 *        │                  └─ no payload ────────┼─────────────────────────────────────────^
 *        └─ nobody wants it ──> FRAMES_DROP <─────┘ payload not wanted
 */
static void frame_stream_step(struct frame_stream *frames);

static size_t staged_bytes(const struct frame_stream *frames)
{
    return frames->staged_end - frames->staged_start;
}

/* Overwrite what the staging area still holds of frames that are over. */
static void staging_wipe_consumed(struct frame_stream *frames)
{
    wipe_memory(frames->staging, frames->staged_start);
    wipe_memory(frames->staging + frames->staged_end, sizeof(frames->staging) - frames->staged_end);
}

static void frame_stream_recv_done(struct stream_io *io)
{
    struct frame_stream *frames = CONTAINER_OF(io, struct frame_stream, recv_io);
    frames->receiving = false;
    if (frames->closing) {
        frame_stream_settle(frames);
        return;
    }
    if (io->status != STATUS_OK) {
        frame_stream_close(frames, io->status);
    } else {
        frames->received_ns = loop_now_ns(frames->loop);
        bool into_staging = frames->message == NULL && frames->payload == NULL;
        if (into_staging) {
            frames->staged_end += io->bytes;
            CHECK(frames->staged_end <= sizeof(frames->staging));
        } else {
            CHECK(io->bytes == frames->section_left);
            frames->section_left = 0;
        }
        frame_stream_step(frames);
    }
    frame_stream_settle(frames);
}

static void recv_start(struct frame_stream *frames, uint8_t *buffer, size_t bytes_min, size_t bytes_max)
{
    bool frame_has_begun = frames->stage != FRAMES_HEADER || staged_bytes(frames) > 0;
    if (frames->stall_ns != 0 && frame_has_begun && !loop_timer_is_armed(&frames->recv_timer)) {
        loop_timer_start(frames->loop, &frames->recv_timer, loop_now_ns(frames->loop) + frames->stall_ns);
    }
    frames->receiving = true;
    frames->pending++;
    stream_recv(frames->stream, &frames->recv_io, buffer, bytes_min, bytes_max, frame_stream_recv_done);
}

/* Receive at least `bytes_min` more bytes behind what is staged. */
static void recv_staged(struct frame_stream *frames, size_t bytes_min)
{
    if (sizeof(frames->staging) - frames->staged_end < bytes_min || staged_bytes(frames) == 0) {
        size_t staged = staged_bytes(frames);
        memmove(frames->staging, frames->staging + frames->staged_start, staged);
        frames->staged_start = 0;
        frames->staged_end = staged;
    }
    recv_start(frames, frames->staging + frames->staged_end, bytes_min, sizeof(frames->staging) - frames->staged_end);
}

/* Move what is staged of the current section to `target`, or nowhere when NULL. */
static void section_take_staged(struct frame_stream *frames, uint8_t *target)
{
    size_t staged = staged_bytes(frames);
    size_t bytes = staged < frames->section_left ? staged : frames->section_left;
    if (target != NULL && bytes > 0) {
        memcpy(target, frames->staging + frames->staged_start, bytes);
    }
    frames->staged_start += bytes;
    frames->section_left -= bytes;
}

static void frame_complete(struct frame_stream *frames)
{
    loop_timer_stop(frames->loop, &frames->recv_timer);
    frames->stage = FRAMES_HEADER;
    frames->arena = NULL;
    frames->message = NULL;
    frames->payload = NULL;
    if (frames->header.kind == FRAME_REPLY && message_reply_is_secret(frames->header.type)) {
        staging_wipe_consumed(frames);
    }
    frames->events->complete(frames, frames->dropped);
}

static void frame_begin_drop(struct frame_stream *frames, size_t bytes)
{
    frames->message = NULL;
    frames->section_left = bytes;
    frames->stage = FRAMES_DROP;
}

/* The advance functions return true when the frame got on, false when it waits for bytes or for the owner. */
static bool advance_header(struct frame_stream *frames)
{
    struct frame_header *header = &frames->header;
    if (frames->paused) {
        return false;
    }
    if (staged_bytes(frames) < FRAME_HEADER_BYTES) {
        recv_staged(frames, 1); /* not more, so that the first byte starts the clock of the frame */
        return false;
    }
    enum status status = frame_decode(frames->staging + frames->staged_start, header);
    if (status != STATUS_OK) {
        frame_stream_refuse(frames, status, "a frame header does not decode");
        return false;
    }
    frames->staged_start += FRAME_HEADER_BYTES;
    frames->stage = FRAMES_MESSAGE;
    frames->dropped = false;
    frames->section_left = header->message_bytes;
    frames->arena = frames->events->header(frames);
    if (frames->closing) {
        return false;
    }
    if (frames->arena != NULL && header->message_bytes > sizeof(frames->staging)) {
        frames->message = arena_take(frames->arena, header->message_bytes);
        if (frames->message == NULL) {
            frames->arena = NULL;
        } else {
            section_take_staged(frames, frames->message);
        }
    }
    if (frames->arena == NULL) {
        frames->dropped = true;
        frame_begin_drop(frames, (size_t)header->message_bytes + header->payload_bytes);
    }
    return true;
}

static bool advance_message(struct frame_stream *frames)
{
    const struct frame_header *header = &frames->header;
    const uint8_t *message = frames->message;
    if (message == NULL) {
        if (staged_bytes(frames) < header->message_bytes) {
            recv_staged(frames, header->message_bytes - staged_bytes(frames));
            return false;
        }
        message = frames->staging + frames->staged_start;
        frames->staged_start += header->message_bytes;
    } else if (frames->section_left > 0) {
        recv_start(frames, frames->message + (header->message_bytes - frames->section_left), frames->section_left,
                   frames->section_left);
        return false;
    }
    if (crc32c(0, message, header->message_bytes) != header->message_crc) {
        frame_stream_refuse(frames, STATUS_CORRUPT, "a message does not fit its checksum");
        return false;
    }
    frames->message = NULL;
    frames->stage = FRAMES_PAYLOAD_WAIT;
    loop_timer_stop(frames->loop, &frames->recv_timer);
    frames->events->message(frames, message);
    if (!frames->closing && header->payload_bytes == 0) {
        frame_complete(frames);
    }
    return true;
}

static bool advance_payload(struct frame_stream *frames)
{
    size_t received = frames->header.payload_bytes - frames->section_left;
    section_take_staged(frames, frames->payload + received);
    if (frames->section_left > 0) {
        received = frames->header.payload_bytes - frames->section_left;
        recv_start(frames, frames->payload + received, frames->section_left, frames->section_left);
        return false;
    }
    frame_complete(frames);
    return true;
}

static bool advance_drop(struct frame_stream *frames)
{
    section_take_staged(frames, NULL);
    if (frames->section_left > 0) {
        recv_staged(frames, 1);
        return false;
    }
    frame_complete(frames);
    return true;
}

static bool frame_stream_advance(struct frame_stream *frames)
{
    switch (frames->stage) {
    case FRAMES_HEADER:
        return advance_header(frames);
    case FRAMES_MESSAGE:
        return advance_message(frames);
    case FRAMES_PAYLOAD_WAIT:
        return false;
    case FRAMES_PAYLOAD:
        return advance_payload(frames);
    case FRAMES_DROP:
        return advance_drop(frames);
    }
    UNREACHABLE();
}

static void frame_stream_step(struct frame_stream *frames)
{
    if (frames->stepping) {
        return; /* An event asked for it; the loop below goes on when the event returns. */
    }
    frames->stepping = true;
    while (!frames->closing && !frames->receiving && frame_stream_advance(frames)) {
    }
    frames->stepping = false;
}

void frame_stream_receive_payload(struct frame_stream *frames, uint8_t *payload)
{
    CHECK(frames->stage == FRAMES_PAYLOAD_WAIT);
    CHECK(frames->header.payload_bytes > 0);
    frames->stage = FRAMES_PAYLOAD;
    frames->payload = payload;
    frames->section_left = frames->header.payload_bytes;
    frame_stream_step(frames);
}

void frame_stream_drop_payload(struct frame_stream *frames)
{
    CHECK(frames->stage == FRAMES_PAYLOAD_WAIT);
    CHECK(frames->header.payload_bytes > 0);
    frame_begin_drop(frames, frames->header.payload_bytes);
    frame_stream_step(frames);
}

void frame_stream_pause(struct frame_stream *frames)
{
    frames->paused = true;
}

void frame_stream_resume(struct frame_stream *frames)
{
    if (frames->paused) {
        frames->paused = false;
        frame_stream_step(frames);
    }
}

bool frame_stream_is_between_frames(const struct frame_stream *frames)
{
    return frames->stage == FRAMES_HEADER && staged_bytes(frames) == 0;
}

/* ---- sending --------------------------------------------------------------------------------- */

static void frame_stream_send_done(struct stream_io *io);

/* Add one frame to the vectors. False: it does not fit into this send. */
static bool gather(struct frame_stream *frames, struct frame_out *frame, unsigned *count, size_t *bytes)
{
    if (*count + 1 + frame->payload_count > FRAME_SEND_VECTORS_MAX || *bytes >= FRAME_SEND_BYTES_MAX) {
        return false;
    }
    frames->vectors[(*count)++] = (struct iovec){.iov_base = frame->bytes, .iov_len = frame->bytes_used};
    *bytes += frame->bytes_used;
    for (unsigned i = 0; i < frame->payload_count; i++) {
        if (frame->payload[i].iov_len > 0) {
            frames->vectors[(*count)++] = frame->payload[i];
            *bytes += frame->payload[i].iov_len;
        }
    }
    return true;
}

static void send_start(struct frame_stream *frames)
{
    unsigned count = 0;
    size_t bytes = 0;
    while (!list_is_empty(&frames->queue)) {
        struct frame_out *frame = LIST_ENTRY(list_first(&frames->queue), struct frame_out, link);
        if (!gather(frames, frame, &count, &bytes)) {
            break;
        }
        list_remove(&frame->link);
        frame->stage = FRAME_OUT_SENDING;
        list_append(&frames->sending_queue, &frame->link);
    }
    if (count == 0) {
        return;
    }
    if (frames->stall_ns != 0) {
        loop_timer_start(frames->loop, &frames->send_timer, loop_now_ns(frames->loop) + frames->stall_ns);
    }
    frames->sending = true;
    frames->pending++;
    stream_send(frames->stream, &frames->send_io, frames->vectors, count, frame_stream_send_done);
}

static void frame_stream_send_done(struct stream_io *io)
{
    struct frame_stream *frames = CONTAINER_OF(io, struct frame_stream, send_io);
    frames->sending = false;
    loop_timer_stop(frames->loop, &frames->send_timer);
    if (io->status != STATUS_OK) {
        frame_stream_close(frames, io->status);
    }
    while (!list_is_empty(&frames->sending_queue)) {
        frame_out_end(LIST_ENTRY(list_first(&frames->sending_queue), struct frame_out, link));
    }
    if (!frames->closing) {
        send_start(frames);
    }
    frame_stream_settle(frames);
}

static void frame_stream_send_run(struct loop_task *task)
{
    struct frame_stream *frames = CONTAINER_OF(task, struct frame_stream, send_task);
    frames->send_is_deferred = false;
    if (!frames->closing && !frames->sending) {
        send_start(frames);
    }
    frame_stream_settle(frames);
}

void frame_stream_send(struct frame_stream *frames, struct frame_out *frame)
{
    CHECK(frame->stage == FRAME_OUT_IDLE);
    CHECK(frame->sent != NULL);
    frame->stage = FRAME_OUT_QUEUED;
    list_append(&frames->queue, &frame->link);
    /* Deferred, so that what else is queued in this turn goes along. */
    if (!frames->closing && !frames->sending && !frames->send_is_deferred) {
        frames->send_is_deferred = true;
        frames->pending++;
        loop_defer(frames->loop, &frames->send_task);
    }
}

bool frame_out_withdraw(struct frame_out *frame)
{
    if (frame->stage != FRAME_OUT_QUEUED) {
        return false;
    }
    list_remove(&frame->link);
    frame->stage = FRAME_OUT_IDLE;
    return true;
}

/* ---- opening --------------------------------------------------------------------------------- */

void frame_stream_open(struct frame_stream *frames, struct loop *loop, struct stream *stream,
                       const struct frame_stream_events *events, const char *address, uint64_t stall_ns)
{
    memset(frames, 0, offsetof(struct frame_stream, staging));
    frames->loop = loop;
    frames->stream = stream;
    frames->events = events;
    frames->address = address;
    frames->stall_ns = stall_ns;
    frames->received_ns = loop_now_ns(loop);
    frames->stage = FRAMES_HEADER;
    frames->send_task.run = frame_stream_send_run;
    frames->close_task.run = frame_stream_close_run;
    frames->recv_timer.fire = recv_stalled;
    frames->send_timer.fire = send_stalled;
    list_init(&frames->queue);
    list_init(&frames->sending_queue);
    frame_stream_step(frames); /* Starts the first recv; nothing is staged, so no event runs. */
}
