/* frame_stream.h - private to proto: frames over one byte stream, in both directions. Client and server stand on it.
 *
 * Sending     Frames leave in the order they were queued. What is queued within one turn of the loop, or while a send
 *             is under way, goes out in one stream_send(): headers, messages and payload gathered, nothing copied.
 * Receiving   Bytes arrive in a small staging area; a message is read in place when it fits there. Payload beyond
 *             what was staged goes straight to where the owner wants it. The owner is told, in this order:
 *                 header    the frame's header stands in `header`. Gives the arena for the message, or NULL: message
 *                           and payload are read and dropped
 *                 message   the whole message, its CRC checked. With payload, the owner must now or later call
 *                           frame_stream_receive_payload() or frame_stream_drop_payload()
 *                 complete  the frame is over; `dropped` when its message was not delivered
 *             A frame that does not decode ends the stream with one line in the log.
 * Closing     From either side, for whatever reason, ends with one `closed`, after the kernel has let go of every
 *             buffer and every queued frame got its `sent`. Nothing else is called after it.
 * Threads     One loop. No event runs inside frame_stream_open(), _send() or _close(); they may inside the others. */
#ifndef TRILITH_PROTO_FRAME_STREAM_H
#define TRILITH_PROTO_FRAME_STREAM_H

#include "proto/arena.h"
#include "proto/rpc.h"

#define FRAME_STAGING_BYTES    8192u
#define FRAME_SEND_VECTORS_MAX 64u
#define FRAME_SEND_BYTES_MAX   (256u * 1024u) /* frames are added to one send until it has this much */

struct frame_stream;

/* One frame on its way out. Its owner embeds and keeps it until `sent`. Zero-initialise before first use. */
struct frame_out {
    void (*sent)(struct frame_out *frame); /* the stream is done with it, whatever came of it */
    struct iovec payload[RPC_PAYLOAD_VECTORS_MAX];
    unsigned payload_count;
    enum { FRAME_OUT_IDLE, FRAME_OUT_QUEUED, FRAME_OUT_SENDING } stage;

    uint8_t *bytes; /* header and message */
    size_t bytes_capacity;
    size_t bytes_used;
    struct list_link link;
};

/* Pack `message` (NULL: empty) behind the room for the header. STATUS_TOO_LARGE: over the limit of a frame.
 * STATUS_BUSY: no memory. */
MUST_USE enum status frame_out_pack(struct frame_out *frame, const ProtobufCMessage *message);
/* Write the header in front; lengths and CRC are filled in here. */
void frame_out_finish(struct frame_out *frame, struct frame_header *header);
/* Make ready for the next use: a buffer that had to grow is freed; wiped first when `wipe`. */
void frame_out_recycle(struct frame_out *frame, bool wipe);
/* Free what it holds. */
void frame_out_deinit(struct frame_out *frame);

struct frame_stream_events {
    struct arena *(*header)(struct frame_stream *frames);
    void (*message)(struct frame_stream *frames, const uint8_t *message);
    void (*complete)(struct frame_stream *frames, bool dropped);
    void (*closed)(struct frame_stream *frames); /* may free it */
};

struct frame_stream {
    struct loop *loop;
    struct stream *stream;
    const struct frame_stream_events *events;
    const char *address;        /* for the log: the peer's, or the one listened on */
    uint64_t stall_ns;          /* a frame or send that has begun must get on within this; 0: no limit */
    struct frame_header header; /* of the frame being received */
    uint64_t received_ns;       /* when the last byte came */
    enum status end;            /* why it is closing */
    bool closing;

    /* Private. */
    enum {
        FRAMES_HEADER,       /* until a whole header is staged */
        FRAMES_MESSAGE,      /* until the message is whole */
        FRAMES_PAYLOAD_WAIT, /* until the owner says where the payload goes */
        FRAMES_PAYLOAD,      /* until the payload is whole */
        FRAMES_DROP,         /* until the rest of the frame has gone by */
    } stage;
    bool paused;
    bool stepping;       /* frame_stream_step() is on the stack */
    bool dropped;        /* the message was not delivered */
    unsigned pending;    /* I/Os and tasks that will still call back */
    struct arena *arena; /* for the message being received */
    uint8_t *message;    /* a message too long for the staging area */
    uint8_t *payload;    /* where payload goes */
    size_t section_left; /* bytes of message, payload or dropped bytes still to come */
    bool receiving;
    bool sending;
    bool send_is_deferred;
    struct stream_io recv_io;
    struct stream_io send_io;
    struct loop_task send_task;
    struct loop_task close_task;
    struct loop_timer recv_timer;
    struct loop_timer send_timer;
    struct list queue;         /* not yet given to the stream */
    struct list sending_queue; /* in the send under way */
    struct iovec vectors[FRAME_SEND_VECTORS_MAX];
    size_t staged_start;
    size_t staged_end;
    uint8_t staging[FRAME_STAGING_BYTES];
};

/* Take over `stream` and start to receive. `address` must outlive it. */
void frame_stream_open(struct frame_stream *frames, struct loop *loop, struct stream *stream,
                       const struct frame_stream_events *events, const char *address, uint64_t stall_ns);

/* Queue a finished frame. */
void frame_stream_send(struct frame_stream *frames, struct frame_out *frame);
/* Take a frame back from the queue it may be in. False: it was not queued, or it is being sent already. */
bool frame_out_withdraw(struct frame_out *frame);

/* Where the payload of the frame being received goes: header.payload_bytes bytes, untouched until `complete` or
 * `closed`. */
void frame_stream_receive_payload(struct frame_stream *frames, uint8_t *payload);
void frame_stream_drop_payload(struct frame_stream *frames);

/* Begin no further frame until resumed. */
void frame_stream_pause(struct frame_stream *frames);
void frame_stream_resume(struct frame_stream *frames);

/* True while no part of a frame has come that is not dealt with. */
bool frame_stream_is_between_frames(const struct frame_stream *frames);

/* Begin to close; harmless when it has begun. */
void frame_stream_close(struct frame_stream *frames, enum status reason);
/* The same, for a peer that broke the protocol: with the line in the log. */
void frame_stream_refuse(struct frame_stream *frames, enum status reason, const char *what);

#endif
