/* fuzz_message.c - what a peer can make of messages, alone and on a connection. The first byte says which:
 *
 *   0      the next byte is a message type, the rest is unpacked as its request and as its reply
 *   1      the rest is fed to a server's connection as it is
 *   else   the rest is cut into frames (type, message length, payload length, then the bytes) whose checksums fit,
 *          and fed to a server's connection: so that what lies behind the checksums is reached too
 *
 * The connection runs on the simulated loop over a stream made here, which hands out the bytes in pieces whose length
 * they decide themselves, and then ends. The service touches every field it is given; nothing may be left over. */
#include "base/checksum.h"
#include "base/log.h"
#include "proto/codec.h"
#include "proto/rpc.h"
#include "tests/sim/sim_loop.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* ---- unpacking ------------------------------------------------------------------------------- */

static void unpack_as(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t bytes)
{
    struct arena_pool pool;
    struct arena arena;
    const ProtobufCMessage *message = NULL;
    size_t limit = message_unpacked_bytes_max((uint32_t)bytes);
    arena_pool_init(&pool, MIB(256));
    arena_init(&arena, &pool, limit);
    if (descriptor != NULL && message_unpack(descriptor, &arena, data, bytes, &message) == STATUS_OK) {
        CHECK(message->descriptor == descriptor);
        size_t packed_bytes = protobuf_c_message_get_packed_size(message);
        uint8_t *packed = malloc(packed_bytes + 1);
        CHECK(protobuf_c_message_pack(message, packed) == packed_bytes);
        free(packed);
    }
    CHECK(arena.used_bytes <= limit);
    arena_release(&arena, true);
    arena_pool_deinit(&pool);
}

/* ---- a stream of given bytes ----------------------------------------------------------------- */

struct script {
    struct net net;
    struct stream stream;
    struct loop *loop;
    struct net_listener *listener;
    const uint8_t *at;
    size_t left;
    struct stream_io *recv;
    struct stream_io *send;
    struct loop_task recv_task;
    struct loop_task send_task;
    bool is_closed;
};

static struct script *script_of(struct stream *stream)
{
    return CONTAINER_OF(stream, struct script, stream);
}

static void script_recv_run(struct loop_task *task)
{
    struct script *script = CONTAINER_OF(task, struct script, recv_task);
    struct stream_io *io = script->recv;
    script->recv = NULL;
    io->status = STATUS_CANCELLED;
    if (!script->is_closed) {
        size_t wanted = io->bytes_min + (script->left > 0 ? script->at[0] % 64u : 0);
        wanted = wanted < io->bytes_max ? wanted : io->bytes_max;
        size_t given = wanted < script->left ? wanted : script->left;
        if (given > 0) {
            memcpy(io->buffer, script->at, given);
        }
        script->at += given;
        script->left -= given;
        io->bytes = given;
        io->status = given >= io->bytes_min ? STATUS_OK : STATUS_CLOSED;
    }
    io->done(io);
}

static void script_send_run(struct loop_task *task)
{
    struct script *script = CONTAINER_OF(task, struct script, send_task);
    struct stream_io *io = script->send;
    script->send = NULL;
    io->status = script->is_closed ? STATUS_CANCELLED : STATUS_OK;
    io->done(io);
}

static void script_recv(struct stream *stream, struct stream_io *io)
{
    struct script *script = script_of(stream);
    CHECK(script->recv == NULL && !script->is_closed);
    script->recv = io;
    loop_defer(script->loop, &script->recv_task);
}

static void script_send(struct stream *stream, struct stream_io *io)
{
    struct script *script = script_of(stream);
    CHECK(script->send == NULL && !script->is_closed);
    script->send = io;
    loop_defer(script->loop, &script->send_task);
}

static void script_close(struct stream *stream)
{
    CHECK(!script_of(stream)->is_closed);
    script_of(stream)->is_closed = true;
}

static enum status script_listen(struct net *net, struct net_listener *listener, const char *address)
{
    (void)address;
    CONTAINER_OF(net, struct script, net)->listener = listener;
    return STATUS_OK;
}

static void script_listener_close(struct net *net, struct net_listener *listener)
{
    (void)net;
    (void)listener;
}

static const struct net_ops script_ops = {
    .listen = script_listen,
    .listener_close = script_listener_close,
    .recv = script_recv,
    .send = script_send,
    .close = script_close,
};

/* ---- a server on it -------------------------------------------------------------------------- */

static void service_handle(struct rpc_service *service, struct rpc_request *request)
{
    (void)service;
    CHECK(request->message->descriptor == message_request_descriptor(request->type));
    uint32_t sum = (uint32_t)protobuf_c_message_get_packed_size(request->message);
    if (request->payload != NULL) {
        sum = crc32c(sum, request->payload->data, request->payload_bytes);
    }
    rpc_reply(request, sum % 2 == 0 ? STATUS_OK : STATUS_CONFLICT, NULL);
}

static void serve(const uint8_t *data, size_t bytes)
{
    struct sim_loop *sim = sim_loop_open(1);
    struct loop *loop = sim_loop_interface(sim);
    struct slab_pool *slabs = slab_pool_open(loop, 1, 1);
    struct rpc_service service = {.slabs = slabs, .handle = service_handle};
    struct script script = {
        .net = {.ops = &script_ops},
        .loop = loop,
        .at = data,
        .left = bytes,
        .recv_task = {.run = script_recv_run},
        .send_task = {.run = script_send_run},
    };
    script.stream.net = &script.net;
    struct rpc_server *server = NULL;
    CHECK(rpc_server_open(loop, &script.net, "fuzz:1", &service, &server) == STATUS_OK);
    script.listener->accepted(script.listener, &script.stream);
    sim_loop_run_until_idle(sim);
    CHECK(script.is_closed);
    rpc_server_close(server);
    sim_loop_run_until_idle(sim);
    CHECK(slab_pool_in_use(slabs) == 0);
    slab_pool_close(slabs);
    sim_loop_close(sim);
}

/* Each frame: type, message length / 4, payload length / 16, then as many bytes as there are. */
static void serve_frames(const uint8_t *data, size_t bytes)
{
    static uint8_t wire[64 * 1024];
    size_t used = 0;
    uint64_t request = 0;
    while (bytes >= 3 && used + FRAME_HEADER_BYTES + 255 * 20 <= sizeof(wire)) {
        size_t message_bytes = data[1] * 4u;
        size_t payload_bytes = data[2] * 16u;
        struct frame_header header = {.kind = FRAME_REQUEST, .type = data[0], .request = ++request, .deadline_ms = 100};
        data += 3;
        bytes -= 3;
        message_bytes = message_bytes < bytes ? message_bytes : bytes;
        payload_bytes = payload_bytes < bytes - message_bytes ? payload_bytes : bytes - message_bytes;
        header.message_bytes = (uint32_t)message_bytes;
        header.payload_bytes = (uint32_t)payload_bytes;
        header.message_crc = crc32c(0, data, message_bytes);
        frame_encode(&header, wire + used);
        memcpy(wire + used + FRAME_HEADER_BYTES, data, message_bytes + payload_bytes);
        used += FRAME_HEADER_BYTES + message_bytes + payload_bytes;
        data += message_bytes + payload_bytes;
        bytes -= message_bytes + payload_bytes;
    }
    serve(wire, used);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    log_set_level(LOG_ERROR);
    if (bytes < 2) {
        return 0;
    }
    if (data[0] == 0) {
        unpack_as(message_request_descriptor(data[1]), data + 2, bytes - 2);
        unpack_as(message_reply_descriptor(data[1]), data + 2, bytes - 2);
    } else if (data[0] == 1) {
        serve(data + 1, bytes - 1);
    } else {
        serve_frames(data + 1, bytes - 1);
    }
    return 0;
}
