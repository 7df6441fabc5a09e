/* test_rpc_uring.c - the same client and server over real TCP on loopback, on one io_uring reactor. */
#include "base/uring.h"
#include "proto/rpc.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define CHUNK_PUT  TRILITH__MESSAGE_TYPE__CHUNK_PUT
#define CHUNK_GET  TRILITH__MESSAGE_TYPE__CHUNK_GET
#define NODE_PING  TRILITH__MESSAGE_TYPE__NODE_PING
#define TIMEOUT_NS (60 * NS_PER_S)

static struct uring_loop *uring;
static struct loop *loop;
static struct slab_pool *slabs;
static struct rpc_server *server;
static struct rpc_client *client;
static uint8_t *content;
static bool service_is_silent;
static struct rpc_request *kept;

/* ---- service and calls ----------------------------------------------------------------------- */

static void payload_sent(void *user)
{
    slab_release(user);
}

/* CHUNK_PUT is checked against `content`; CHUNK_GET gets `first_unit` bytes of it, by way of a slab. */
static void service_handle(struct rpc_service *service, struct rpc_request *request)
{
    (void)service;
    if (service_is_silent) {
        kept = request;
    } else if (request->type == CHUNK_PUT) {
        bool same = memcmp(request->payload->data, content, request->payload_bytes) == 0;
        rpc_reply(request, same ? STATUS_OK : STATUS_CORRUPT, NULL);
    } else if (request->type == CHUNK_GET) {
        uint32_t bytes = ((const Trilith__ChunkGetRequest *)(const void *)request->message)->first_unit;
        struct slab *slab = slab_take(slabs, bytes);
        cr_assert_not_null(slab);
        memcpy(slab->data, content, bytes);
        const struct iovec payload = {.iov_base = slab->data, .iov_len = bytes};
        rpc_reply_with_payload(request, STATUS_OK, NULL, &payload, 1, payload_sent, slab);
    } else {
        rpc_reply(request, STATUS_OK, NULL);
    }
}

static struct rpc_service service = {.handle = service_handle};

struct probe {
    struct rpc_call call;
    bool done;
};

static void probe_done(struct rpc_call *call)
{
    struct probe *probe = CONTAINER_OF(call, struct probe, call);
    cr_assert_not(probe->done);
    probe->done = true;
}

static void probe_init(struct probe *probe, uint16_t type, uint64_t timeout_ns)
{
    *probe = (struct probe){.call = {.type = type, .deadline_ns = loop_now_ns(loop) + timeout_ns, .done = probe_done}};
}

static void turn(void)
{
    uring_loop_turn(uring, loop_now_ns(loop) + 10 * NS_PER_MS);
}

static void expect(struct probe *probe, enum status status)
{
    while (!probe->done) {
        turn();
    }
    cr_assert_eq(probe->call.status, status, "%s", status_name(probe->call.status));
}

static void start_put(struct probe *probe, uint32_t bytes, uint64_t timeout_ns)
{
    Trilith__ChunkPutRequest request = TRILITH__CHUNK_PUT_REQUEST__INIT;
    probe_init(probe, CHUNK_PUT, timeout_ns);
    probe->call.payload[0] = (struct iovec){.iov_base = content, .iov_len = bytes};
    probe->call.payload_count = 1;
    rpc_call_start(client, &probe->call, &request.base);
}

static void start_get(struct probe *probe, uint32_t bytes, uint8_t *buffer)
{
    Trilith__ChunkGetRequest request = TRILITH__CHUNK_GET_REQUEST__INIT;
    request.first_unit = bytes;
    probe_init(probe, CHUNK_GET, TIMEOUT_NS);
    probe->call.reply_buffer = buffer;
    probe->call.reply_capacity = bytes;
    rpc_call_start(client, &probe->call, &request.base);
}

/* ---- setting up ------------------------------------------------------------------------------ */

static void setup(void)
{
    char message[256];
    enum status status = uring_loop_open(&uring, message, sizeof(message));
    if (status == STATUS_DENIED || status == STATUS_UNSUPPORTED) {
        cr_skip_test("%s", message);
    }
    cr_assert_eq(status, STATUS_OK, "%s", message);
    loop = uring_loop_interface(uring);
    slabs = slab_pool_open(loop, 4, 8);
    service.slabs = slabs;
    content = malloc(CHUNK_BYTES_MAX);
    loop_random(loop, content, CHUNK_BYTES_MAX);
    cr_assert_eq(rpc_server_open(loop, uring_loop_net(uring), "127.0.0.1:0", &service, &server), STATUS_OK);
    client = rpc_client_open(loop, uring_loop_net(uring), rpc_server_address(server));
}

static void teardown(void)
{
    rpc_client_close(client);
    rpc_server_close(server);
    /* Client and server free themselves once the kernel has let go of their sockets: a few turns. */
    for (unsigned turns = 0; turns < 20 || slab_pool_in_use(slabs) > 0; turns++) {
        turn();
    }
    slab_pool_close(slabs);
    uring_loop_close(uring);
    free(content);
}

TestSuite(rpc_uring, .init = setup, .fini = teardown);

Test(rpc_uring, answers_calls)
{
    struct probe probes[300];
    for (size_t i = 0; i < ARRAY_LENGTH(probes); i++) {
        probe_init(&probes[i], NODE_PING, TIMEOUT_NS);
        rpc_call_start(client, &probes[i].call, NULL);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(probes); i++) {
        expect(&probes[i], STATUS_OK);
    }
}

Test(rpc_uring, carries_whole_chunks_both_ways)
{
    enum { ROUNDS = 16 };
    uint8_t *buffer = malloc(CHUNK_BYTES_MAX);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct probe put[3];
        struct probe get;
        for (unsigned p = 0; p < 3; p++) {
            start_put(&put[p], CHUNK_BYTES_MAX - p * 4097, TIMEOUT_NS);
        }
        start_get(&get, CHUNK_BYTES_MAX - i, buffer);
        for (unsigned p = 0; p < 3; p++) {
            expect(&put[p], STATUS_OK);
        }
        expect(&get, STATUS_OK);
        cr_assert_eq(get.call.reply_payload_bytes, CHUNK_BYTES_MAX - i);
        cr_assert_eq(memcmp(buffer, content, CHUNK_BYTES_MAX - i), 0);
    }
    free(buffer);
}

Test(rpc_uring, is_refused_where_nobody_listens)
{
    struct probe ping;
    rpc_client_set_address(client, "127.0.0.1:1");
    probe_init(&ping, NODE_PING, TIMEOUT_NS);
    rpc_call_start(client, &ping.call, NULL);
    expect(&ping, STATUS_UNAVAILABLE);
}

Test(rpc_uring, times_out_and_drops_the_late_reply)
{
    struct probe ping;
    service_is_silent = true;
    probe_init(&ping, NODE_PING, 20 * NS_PER_MS);
    rpc_call_start(client, &ping.call, NULL);
    expect(&ping, STATUS_TIMEOUT);
    service_is_silent = false;
    if (kept != NULL) {
        rpc_reply(kept, STATUS_OK, NULL);
    }
    probe_init(&ping, NODE_PING, TIMEOUT_NS);
    rpc_call_start(client, &ping.call, NULL);
    expect(&ping, STATUS_OK);
}

/* All slabs of the server are taken, so the payload stops half way in the socket. */
Test(rpc_uring, gives_payload_back_at_the_deadline)
{
    struct slab *taken[12];
    for (size_t i = 0; i < ARRAY_LENGTH(taken); i++) {
        taken[i] = slab_take(slabs, i < 8 ? CHUNK_BYTES_MAX : 1);
    }
    struct probe puts[4];
    for (size_t i = 0; i < ARRAY_LENGTH(puts); i++) {
        start_put(&puts[i], CHUNK_BYTES_MAX, 100 * NS_PER_MS);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(puts); i++) {
        while (!puts[i].done) {
            turn();
        }
        cr_assert_neq(puts[i].call.status, STATUS_OK);
    }
    cr_assert_eq(puts[0].call.status, STATUS_TIMEOUT);
    for (size_t i = 0; i < ARRAY_LENGTH(taken); i++) {
        slab_release(taken[i]);
    }
    struct probe again;
    start_put(&again, CHUNK_BYTES_MAX, TIMEOUT_NS);
    expect(&again, STATUS_OK);
}
