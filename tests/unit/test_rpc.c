/* test_rpc.c - calls between a client and a server on simulated streams, which cut the bytes everywhere.
 *
 * The service keeps requests or answers at once, as a test wants. Every test ends with nothing left over: no slab in
 * use, no stream open, no memory leaked (under sanitizers). */
#include "proto/rpc.h"

#include "proto/frame_stream.h"
#include "tests/sim/sim_net.h"
#include "tests/sim/sim_random.h"

#include "base/checksum.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define CHUNK_PUT   TRILITH__MESSAGE_TYPE__CHUNK_PUT
#define CHUNK_GET   TRILITH__MESSAGE_TYPE__CHUNK_GET
#define NODE_PING   TRILITH__MESSAGE_TYPE__NODE_PING
#define TENANT_KEY  TRILITH__MESSAGE_TYPE__TENANT_KEY
#define BUCKET_LIST TRILITH__MESSAGE_TYPE__BUCKET_LIST

#define KEPT_MAX    2048

static struct sim_loop *sim;
static struct loop *loop;
static struct sim_net *sim_net;
static struct net *net;
static struct slab_pool *slabs;
static struct rpc_server *server;
static struct rpc_client *client;
static char address[NET_ADDRESS_BYTES];

/* ---- the service ----------------------------------------------------------------------------- */

static struct {
    struct rpc_service service;
    bool keeps; /* requests are kept for the test to answer */
    struct rpc_request *kept[KEPT_MAX];
    unsigned kept_count;
    unsigned handled;
    unsigned sent;
    uint8_t *payload; /* of replies to CHUNK_GET: first_unit bytes of it */
} service;

static void payload_fill(uint8_t *data, size_t bytes, unsigned seed)
{
    for (size_t i = 0; i < bytes; i++) {
        data[i] = (uint8_t)(seed + i * 7 + (i >> 8));
    }
}

static bool payload_matches(const uint8_t *data, size_t bytes, unsigned seed)
{
    for (size_t i = 0; i < bytes; i++) {
        if (data[i] != (uint8_t)(seed + i * 7 + (i >> 8))) {
            return false;
        }
    }
    return true;
}

static void payload_sent(void *user)
{
    cr_assert_eq(user, &service);
    service.sent++;
}

static void answer_get(struct rpc_request *request)
{
    const Trilith__ChunkGetRequest *asked = (const void *)request->message;
    uint32_t bytes = asked->first_unit;
    Trilith__ChunkGetReply reply = TRILITH__CHUNK_GET_REPLY__INIT;
    reply.chunk_bytes = bytes;
    const struct iovec payload[2] = {
        {.iov_base = service.payload, .iov_len = bytes / 3},
        {.iov_base = service.payload + bytes / 3, .iov_len = bytes - bytes / 3},
    };
    rpc_reply_with_payload(request, STATUS_OK, &reply.base, payload, 2, payload_sent, &service);
}

static void answer(struct rpc_request *request)
{
    if (request->type == CHUNK_PUT) {
        const Trilith__ChunkPutRequest *put = (const void *)request->message;
        cr_assert_eq(put->chunk_bytes, request->payload_bytes);
        bool whole =
            request->payload_bytes == 0 || payload_matches(request->payload->data, request->payload_bytes, put->pg);
        rpc_reply(request, whole ? STATUS_OK : STATUS_CORRUPT, NULL);
    } else if (request->type == CHUNK_GET) {
        answer_get(request);
    } else if (request->type == TENANT_KEY) {
        const Trilith__TenantKeyRequest *asked = (const void *)request->message;
        uint8_t dek[32];
        memset(dek, (int)asked->tenant_id, sizeof(dek));
        Trilith__TenantKeyReply reply = TRILITH__TENANT_KEY_REPLY__INIT;
        reply.dek = (ProtobufCBinaryData){.len = sizeof(dek), .data = dek};
        rpc_reply(request, STATUS_OK, &reply.base);
    } else {
        rpc_reply(request, STATUS_OK, NULL);
    }
}

static void service_handle(struct rpc_service *which, struct rpc_request *request)
{
    cr_assert_eq(which, &service.service);
    service.handled++;
    if (service.keeps) {
        cr_assert_lt(service.kept_count, KEPT_MAX);
        service.kept[service.kept_count++] = request;
    } else {
        answer(request);
    }
}

static void answer_kept(void)
{
    for (unsigned i = 0; i < service.kept_count; i++) {
        answer(service.kept[i]);
    }
    service.kept_count = 0;
}

/* ---- calls ----------------------------------------------------------------------------------- */

struct probe {
    struct rpc_call call;
    bool done;
    uint64_t done_ns;
    unsigned order;
    uint8_t *buffer;
    uint64_t seen; /* what the test's own `seen` function found in the reply */
};

static unsigned done_count;

static void probe_done(struct rpc_call *call)
{
    struct probe *probe = CONTAINER_OF(call, struct probe, call);
    cr_assert_not(probe->done, "done runs once");
    probe->done = true;
    probe->done_ns = loop_now_ns(loop);
    probe->order = done_count++;
    if (call->reply != NULL && call->type == CHUNK_GET) {
        probe->seen = ((const Trilith__ChunkGetReply *)(const void *)call->reply)->chunk_bytes;
    } else if (call->reply != NULL && call->type == TENANT_KEY && call->status == STATUS_OK) {
        const Trilith__TenantKeyReply *reply = (const void *)call->reply;
        probe->seen = reply->dek.len == 32 ? reply->dek.data[31] : 0;
    }
}

static void probe_init(struct probe *probe, uint16_t type, uint64_t timeout_ns)
{
    memset(probe, 0, sizeof(*probe));
    probe->call.type = type;
    probe->call.deadline_ns = loop_now_ns(loop) + timeout_ns;
    probe->call.done = probe_done;
}

static void start_ping(struct probe *probe, uint64_t timeout_ns)
{
    probe_init(probe, NODE_PING, timeout_ns);
    rpc_call_start(client, &probe->call, NULL);
    cr_assert_not(probe->done, "done never runs inside the start");
}

/* Put `bytes` bytes as up to RPC_PAYLOAD_VECTORS_MAX vectors. */
static void start_put(struct probe *probe, uint32_t bytes, unsigned seed, unsigned vectors, uint64_t timeout_ns)
{
    probe_init(probe, CHUNK_PUT, timeout_ns);
    probe->buffer = malloc(bytes + 1);
    payload_fill(probe->buffer, bytes, seed);
    size_t offset = 0;
    for (unsigned i = 0; i < vectors; i++) {
        size_t part = i + 1 == vectors ? bytes - offset : bytes / vectors;
        probe->call.payload[i] = (struct iovec){.iov_base = probe->buffer + offset, .iov_len = part};
        offset += part;
    }
    probe->call.payload_count = vectors;
    Trilith__ChunkPutRequest request = TRILITH__CHUNK_PUT_REQUEST__INIT;
    request.chunk_bytes = bytes;
    request.pg = seed;
    rpc_call_start(client, &probe->call, &request.base);
}

static void start_get(struct probe *probe, uint32_t bytes, uint32_t capacity, uint64_t timeout_ns)
{
    probe_init(probe, CHUNK_GET, timeout_ns);
    probe->buffer = malloc(capacity + 1);
    memset(probe->buffer, 0xee, capacity + 1);
    probe->call.reply_buffer = probe->buffer;
    probe->call.reply_capacity = capacity;
    Trilith__ChunkGetRequest request = TRILITH__CHUNK_GET_REQUEST__INIT;
    request.first_unit = bytes;
    rpc_call_start(client, &probe->call, &request.base);
}

static void probe_free(struct probe *probe)
{
    free(probe->buffer);
    probe->buffer = NULL;
}

static void wait_done(struct probe *probe)
{
    cr_assert(sim_loop_run_until(sim, &probe->done));
}

static void expect(struct probe *probe, enum status status)
{
    wait_done(probe);
    cr_assert_eq(probe->call.status, status, "%s instead of %s", status_name(probe->call.status), status_name(status));
}

static void wait_kept(unsigned count)
{
    while (service.kept_count < count) {
        cr_assert(sim_loop_step(sim), "only %u requests arrive", service.kept_count);
    }
}

/* ---- setting up ------------------------------------------------------------------------------ */

static void open_server(const char *where)
{
    cr_assert_eq(rpc_server_open(loop, net, where, &service.service, &server), STATUS_OK);
    strcpy(address, rpc_server_address(server));
}

static void setup_with_slabs(uint64_t seed, unsigned small, unsigned large)
{
    sim = sim_loop_open(seed);
    loop = sim_loop_interface(sim);
    sim_net = sim_net_open(sim, seed);
    net = sim_net_interface(sim_net);
    slabs = slab_pool_open(loop, small, large);
    memset(&service, 0, sizeof(service));
    service.service.slabs = slabs;
    service.service.handle = service_handle;
    service.payload = malloc(CHUNK_BYTES_MAX);
    payload_fill(service.payload, CHUNK_BYTES_MAX, 9);
    done_count = 0;
    open_server("node:0");
    client = rpc_client_open(loop, net, address);
    cr_assert_not_null(client);
}

static void setup(void)
{
    setup_with_slabs(1, 8, 8);
}

static void teardown(void)
{
    if (client != NULL) {
        rpc_client_close(client);
        client = NULL;
    }
    if (server != NULL) {
        rpc_server_close(server);
        server = NULL;
    }
    sim_loop_run_until_idle(sim);
    answer_kept();
    sim_loop_run_until_idle(sim);
    cr_assert_eq(slab_pool_in_use(slabs), 0);
    cr_assert_eq(sim_net_open_streams(sim_net), 0);
    slab_pool_close(slabs);
    sim_net_close(sim_net);
    sim_loop_close(sim);
    free(service.payload);
}

TestSuite(rpc, .init = setup, .fini = teardown);
TestSuite(rpc_prepared); /* these set up for themselves */

/* ---- calls that succeed ---------------------------------------------------------------------- */

Test(rpc, answers_a_call)
{
    struct probe ping;
    start_ping(&ping, NS_PER_S);
    expect(&ping, STATUS_OK);
    cr_assert_eq(ping.call.reply_payload_bytes, 0);
}

Test(rpc, carries_messages_both_ways)
{
    struct probe probe;
    probe_init(&probe, TENANT_KEY, NS_PER_S);
    Trilith__TenantKeyRequest request = TRILITH__TENANT_KEY_REQUEST__INIT;
    request.tenant_id = 77;
    rpc_call_start(client, &probe.call, &request.base);
    expect(&probe, STATUS_OK);
    cr_assert_eq(probe.seen, 77);
}

Test(rpc, carries_request_payload_of_every_awkward_size)
{
    const uint32_t sizes[] = {1,
                              47,
                              48,
                              49,
                              4095,
                              4096,
                              4097,
                              8191,
                              8192,
                              8193,
                              UNIT_BYTES - 1,
                              UNIT_BYTES,
                              UNIT_BYTES + 1,
                              MIB(1) + 3,
                              MIB(4) - 1,
                              CHUNK_BYTES_MAX};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        struct probe put;
        start_put(&put, sizes[i], (unsigned)i, 1 + (unsigned)i % RPC_PAYLOAD_VECTORS_MAX, NS_PER_S);
        expect(&put, STATUS_OK);
        probe_free(&put);
    }
}

Test(rpc, carries_reply_payload_into_the_callers_buffer)
{
    const uint32_t sizes[] = {1, 3, 4096, 8192, UNIT_BYTES + 1, CHUNK_BYTES_MAX};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        struct probe get;
        start_get(&get, sizes[i], sizes[i], NS_PER_S);
        expect(&get, STATUS_OK);
        cr_assert_eq(get.seen, sizes[i]);
        cr_assert_eq(get.call.reply_payload_bytes, sizes[i]);
        cr_assert(payload_matches(get.buffer, sizes[i], 9));
        cr_assert_eq(get.buffer[sizes[i]], 0xee, "nothing is written behind the payload");
        sim_loop_run_until_idle(sim);
        cr_assert_eq(service.sent, i + 1);
        probe_free(&get);
    }
}

Test(rpc, carries_messages_up_to_the_limit_of_a_frame)
{
    uint8_t *cursor = calloc(1, FRAME_MESSAGE_BYTES_MAX);
    const size_t sizes[] = {FRAME_STAGING_BYTES - 60, FRAME_STAGING_BYTES, FRAME_MESSAGE_BYTES_MAX - 8};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        struct probe probe;
        probe_init(&probe, TRILITH__MESSAGE_TYPE__WIPE_PULL, NS_PER_S);
        Trilith__WipePullRequest request = TRILITH__WIPE_PULL_REQUEST__INIT;
        request.after_chunk_id = (ProtobufCBinaryData){.len = sizes[i], .data = cursor};
        rpc_call_start(client, &probe.call, &request.base);
        expect(&probe, STATUS_OK);
    }
    struct probe probe;
    probe_init(&probe, TRILITH__MESSAGE_TYPE__WIPE_PULL, NS_PER_S);
    Trilith__WipePullRequest request = TRILITH__WIPE_PULL_REQUEST__INIT;
    request.after_chunk_id = (ProtobufCBinaryData){.len = FRAME_MESSAGE_BYTES_MAX, .data = cursor};
    rpc_call_start(client, &probe.call, &request.base);
    cr_assert_not(probe.done);
    expect(&probe, STATUS_TOO_LARGE);
    free(cursor);
}

static void reply_with_error(struct rpc_service *which, struct rpc_request *request)
{
    (void)which;
    rpc_reply(request, STATUS_FENCED, NULL);
}

Test(rpc, passes_on_the_status_of_the_service)
{
    service.service.handle = reply_with_error;
    struct probe put;
    start_put(&put, KIB(100), 1, 1, NS_PER_S);
    expect(&put, STATUS_FENCED);
    cr_assert_not_null(put.call.reply);
    probe_free(&put);
}

Test(rpc, gives_the_service_the_callers_deadline)
{
    service.keeps = true;
    struct probe ping;
    start_ping(&ping, 5 * NS_PER_S);
    wait_kept(1);
    uint64_t left_ns = service.kept[0]->deadline_ns - loop_now_ns(loop);
    cr_assert(left_ns > 4900 * NS_PER_MS && left_ns <= 5001 * NS_PER_MS);
    answer_kept();
    expect(&ping, STATUS_OK);
}

Test(rpc, matches_a_thousand_replies_that_come_in_any_order)
{
    enum { CONNECTIONS = 4, CALLS = RPC_SERVER_REQUESTS_MAX - 1 };
    static struct probe probes[CONNECTIONS][CALLS];
    struct rpc_client *clients[CONNECTIONS];
    struct sim_random random = sim_random_of(5);
    service.keeps = true;
    for (unsigned c = 0; c < CONNECTIONS; c++) {
        clients[c] = rpc_client_open(loop, net, address);
        for (unsigned i = 0; i < CALLS; i++) {
            probe_init(&probes[c][i], TENANT_KEY, 10 * NS_PER_S);
            Trilith__TenantKeyRequest request = TRILITH__TENANT_KEY_REQUEST__INIT;
            request.tenant_id = 1 + (c * CALLS + i) % 250;
            rpc_call_start(clients[c], &probes[c][i].call, &request.base);
        }
    }
    wait_kept(CONNECTIONS * CALLS);
    while (service.kept_count > 0) {
        unsigned pick = (unsigned)sim_random_between(&random, 0, service.kept_count - 1);
        struct rpc_request *request = service.kept[pick];
        service.kept[pick] = service.kept[--service.kept_count];
        answer(request);
        sim_loop_step(sim);
    }
    for (unsigned c = 0; c < CONNECTIONS; c++) {
        for (unsigned i = 0; i < CALLS; i++) {
            expect(&probes[c][i], STATUS_OK);
            cr_assert_eq(probes[c][i].seen, 1 + (c * CALLS + i) % 250);
        }
        rpc_client_close(clients[c]);
    }
}

Test(rpc, sends_small_calls_together_and_in_order)
{
    enum { CALLS = 200 };
    static struct probe probes[CALLS];
    for (unsigned i = 0; i < CALLS; i++) {
        start_ping(&probes[i], NS_PER_S);
    }
    for (unsigned i = 0; i < CALLS; i++) {
        expect(&probes[i], STATUS_OK);
        cr_assert_eq(probes[i].order, i);
    }
}

Test(rpc_prepared, mixes_payload_and_small_calls_whatever_the_segments)
{
    for (uint64_t seed = 1; seed <= 10; seed++) {
        setup_with_slabs(seed, 4, 2);
        struct probe puts[6];
        struct probe gets[6];
        struct probe pings[6];
        for (unsigned i = 0; i < 6; i++) {
            start_put(&puts[i], 1 + 90000 * i, i, 3, 10 * NS_PER_S);
            start_get(&gets[i], 1 + 70000 * i, 500000, 10 * NS_PER_S);
            start_ping(&pings[i], 10 * NS_PER_S);
        }
        for (unsigned i = 0; i < 6; i++) {
            expect(&puts[i], STATUS_OK);
            expect(&gets[i], STATUS_OK);
            expect(&pings[i], STATUS_OK);
            cr_assert(payload_matches(gets[i].buffer, 1 + 70000 * i, 9));
            probe_free(&puts[i]);
            probe_free(&gets[i]);
        }
        teardown();
    }
}

/* ---- bounds ---------------------------------------------------------------------------------- */

Test(rpc, refuses_more_calls_than_a_client_may_have_in_flight)
{
    static struct probe probes[RPC_CALLS_MAX + 1];
    service.keeps = true;
    for (unsigned i = 0; i <= RPC_CALLS_MAX; i++) {
        start_ping(&probes[i], 10 * NS_PER_S);
    }
    expect(&probes[RPC_CALLS_MAX], STATUS_BUSY);
    cr_assert_eq(done_count, 1);
    service.keeps = false;
    while (done_count <= RPC_CALLS_MAX) {
        answer_kept();
        cr_assert(sim_loop_step(sim));
    }
}

Test(rpc, stops_reading_when_a_connection_has_its_requests_in_flight)
{
    static struct probe probes[RPC_SERVER_REQUESTS_MAX + 50];
    service.keeps = true;
    for (unsigned i = 0; i < ARRAY_LENGTH(probes); i++) {
        start_ping(&probes[i], 10 * NS_PER_S);
    }
    sim_loop_run_for(sim, NS_PER_S);
    cr_assert_eq(service.kept_count, RPC_SERVER_REQUESTS_MAX);
    answer(service.kept[0]);
    service.kept[0] = service.kept[--service.kept_count];
    sim_loop_run_for(sim, NS_PER_S);
    cr_assert_eq(service.kept_count, RPC_SERVER_REQUESTS_MAX);
    answer_kept();
    sim_loop_run_for(sim, NS_PER_S);
    answer_kept();
    for (unsigned i = 0; i < ARRAY_LENGTH(probes); i++) {
        expect(&probes[i], STATUS_OK);
    }
}

Test(rpc_prepared, waits_for_a_slab_and_feels_the_back_pressure)
{
    setup_with_slabs(3, 0, 1);
    service.keeps = true;
    struct probe puts[5];
    for (unsigned i = 0; i < 5; i++) {
        start_put(&puts[i], MIB(1), i, 1, 100 * NS_PER_S);
    }
    for (unsigned i = 0; i < 5; i++) {
        sim_loop_run_for(sim, NS_PER_S);
        cr_assert_eq(service.kept_count, 1, "the next request has to wait for the slab");
        cr_assert_eq(slab_pool_in_use(slabs), 1);
        cr_assert_eq(done_count, i);
        answer_kept();
        expect(&puts[i], STATUS_OK);
    }
    for (unsigned i = 0; i < 5; i++) {
        probe_free(&puts[i]);
    }
    teardown();
}

Test(rpc_prepared, gives_up_waiting_for_a_slab_when_the_requester_does)
{
    setup_with_slabs(3, 0, 1);
    struct slab *taken = slab_take(slabs, CHUNK_BYTES_MAX);
    struct probe put;
    start_put(&put, KIB(16), 1, 1, NS_PER_S);
    expect(&put, STATUS_TIMEOUT);
    sim_loop_run_for(sim, NS_PER_S);
    cr_assert_eq(service.handled, 0);
    slab_release(taken);
    struct probe ping;
    start_ping(&ping, NS_PER_S);
    expect(&ping, STATUS_OK);
    probe_free(&put);
    teardown();
}

Test(rpc, refuses_payload_where_none_is_taken)
{
    service.service.slabs = NULL;
    struct probe put;
    start_put(&put, MIB(1), 1, 1, NS_PER_S);
    expect(&put, STATUS_INVALID);
    struct probe ping;
    start_ping(&ping, NS_PER_S);
    expect(&ping, STATUS_OK);
    probe_free(&put);
}

Test(rpc, refuses_reply_payload_that_does_not_fit)
{
    struct probe get;
    start_get(&get, MIB(1), MIB(1) - 1, NS_PER_S);
    expect(&get, STATUS_TOO_LARGE);
    for (size_t i = 0; i < MIB(1); i++) {
        cr_assert_eq(get.buffer[i], 0xee);
    }
    struct probe ping;
    start_ping(&ping, NS_PER_S);
    expect(&ping, STATUS_OK);
    probe_free(&get);
}

/* ---- deadlines and giving up ----------------------------------------------------------------- */

Test(rpc, ends_a_call_at_its_deadline_and_drops_the_late_reply)
{
    service.keeps = true;
    struct probe late;
    start_get(&late, KIB(300), KIB(300), NS_PER_S);
    wait_kept(1);
    sim_loop_run_for(sim, NS_PER_S - NS_PER_MS - loop_now_ns(loop));
    expect(&late, STATUS_TIMEOUT);
    cr_assert_eq(late.done_ns, late.call.deadline_ns);
    cr_assert_null(late.call.reply);
    answer_kept();
    sim_loop_run_for(sim, NS_PER_S);
    cr_assert_eq(late.buffer[0], 0xee);
    service.keeps = false;
    struct probe ping;
    start_ping(&ping, NS_PER_S);
    expect(&ping, STATUS_OK);
    cr_assert_eq(sim_net_open_streams(sim_net), 2, "the connection is still the first");
    probe_free(&late);
}

Test(rpc, ends_a_call_whose_deadline_has_passed_at_the_start)
{
    struct probe ping;
    sim_loop_run_for(sim, NS_PER_S);
    start_ping(&ping, 0);
    expect(&ping, STATUS_TIMEOUT);
}

/* The address stalls with the payload half sent: the buffer must not be the caller's again before the kernel let go. */
Test(rpc, closes_the_connection_when_a_deadline_passes_while_payload_is_sent)
{
    struct probe ping;
    start_ping(&ping, NS_PER_S);
    expect(&ping, STATUS_OK);
    sim_net_hold(sim_net, address, true);
    struct probe put;
    struct probe other;
    start_put(&put, CHUNK_BYTES_MAX, 1, 1, NS_PER_S);
    start_ping(&other, 10 * NS_PER_S);
    expect(&put, STATUS_TIMEOUT);
    memset(put.buffer, 0, CHUNK_BYTES_MAX); /* it is ours again */
    expect(&other, STATUS_UNAVAILABLE);
    sim_net_hold(sim_net, address, false);
    struct probe again;
    start_ping(&again, NS_PER_S);
    expect(&again, STATUS_OK);
    cr_assert_eq(service.handled, 2);
    probe_free(&put);
}

Test(rpc, closes_the_connection_when_a_deadline_passes_while_payload_arrives)
{
    service.keeps = true;
    struct probe get;
    start_get(&get, CHUNK_BYTES_MAX, CHUNK_BYTES_MAX, NS_PER_S);
    wait_kept(1);
    answer_kept();
    while (get.buffer[KIB(64)] == 0xee) { /* until some of it has arrived */
        cr_assert(sim_loop_step(sim));
    }
    cr_assert_not(get.done);
    sim_net_hold(sim_net, address, true);
    expect(&get, STATUS_TIMEOUT);
    cr_assert_null(get.call.reply);
    memset(get.buffer, 0x11, CHUNK_BYTES_MAX);
    sim_net_hold(sim_net, address, false);
    sim_loop_run_for(sim, NS_PER_S);
    for (size_t i = 0; i < CHUNK_BYTES_MAX; i++) {
        cr_assert_eq(get.buffer[i], 0x11, "nothing is written after done");
    }
    probe_free(&get);
}

Test(rpc, cancels_a_call_in_every_state)
{
    struct probe probes[3];
    service.keeps = true;
    start_ping(&probes[0], 10 * NS_PER_S); /* waits for a connection */
    rpc_call_cancel(&probes[0].call);
    rpc_call_cancel(&probes[0].call);
    cr_assert_not(probes[0].done, "done never runs inside the cancel");
    expect(&probes[0], STATUS_CANCELLED);

    start_ping(&probes[1], 10 * NS_PER_S);
    wait_kept(1);
    rpc_call_cancel(&probes[1].call); /* waits for its reply */
    expect(&probes[1], STATUS_CANCELLED);

    start_ping(&probes[2], 10 * NS_PER_S); /* is queued */
    rpc_call_cancel(&probes[2].call);
    expect(&probes[2], STATUS_CANCELLED);
    rpc_call_cancel(&probes[2].call); /* harmless afterwards */

    sim_loop_run_for(sim, NS_PER_S);
    cr_assert_eq(service.handled, 1, "what was cancelled in the queue was not sent");
    answer_kept();
    service.keeps = false;
    start_ping(&probes[0], NS_PER_S);
    expect(&probes[0], STATUS_OK);
}

Test(rpc, cancels_calls_whose_buffers_are_in_use)
{
    struct probe put;
    start_put(&put, CHUNK_BYTES_MAX, 1, 1, 10 * NS_PER_S);
    while (slab_pool_in_use(slabs) == 0) {
        cr_assert(sim_loop_step(sim));
    }
    rpc_call_cancel(&put.call);
    cr_assert_not(put.done);
    expect(&put, STATUS_CANCELLED);
    probe_free(&put);

    struct probe get;
    start_get(&get, CHUNK_BYTES_MAX, CHUNK_BYTES_MAX, 10 * NS_PER_S);
    while (get.buffer[KIB(64)] == 0xee) {
        cr_assert(sim_loop_step(sim));
    }
    rpc_call_cancel(&get.call);
    expect(&get, STATUS_CANCELLED);
    probe_free(&get);
}

Test(rpc, closing_a_client_cancels_all_its_calls)
{
    struct probe probes[4];
    service.keeps = true;
    start_ping(&probes[0], 10 * NS_PER_S);
    wait_kept(1);
    start_put(&probes[1], CHUNK_BYTES_MAX, 1, 1, 10 * NS_PER_S);
    while (slab_pool_in_use(slabs) == 0) {
        cr_assert(sim_loop_step(sim));
    }
    start_ping(&probes[2], 10 * NS_PER_S);
    rpc_client_close(client);
    client = NULL;
    cr_assert_eq(done_count, 0);
    for (unsigned i = 0; i < 3; i++) {
        expect(&probes[i], STATUS_CANCELLED);
    }
    probe_free(&probes[1]);
}

Test(rpc, closing_a_client_that_never_connected_is_harmless)
{
    rpc_client_close(client);
    client = rpc_client_open(loop, net, "nowhere:1");
    struct probe ping;
    start_ping(&ping, NS_PER_S);
    rpc_client_close(client);
    client = NULL;
    expect(&ping, STATUS_CANCELLED);
}

static void close_in_done(struct rpc_call *call)
{
    probe_done(call);
    if (client != NULL) {
        rpc_client_close(client);
        client = NULL;
    }
}

Test(rpc, a_client_may_be_closed_and_called_from_done)
{
    struct probe probes[3];
    for (unsigned i = 0; i < 3; i++) {
        probe_init(&probes[i], NODE_PING, NS_PER_S);
        probes[i].call.done = close_in_done;
        rpc_call_start(client, &probes[i].call, NULL);
    }
    expect(&probes[0], STATUS_OK);
    expect(&probes[2], STATUS_CANCELLED);
    expect(&probes[1], STATUS_CANCELLED);
}

static unsigned again_left;
static void call_again(struct rpc_call *call)
{
    cr_assert_eq(call->status, STATUS_OK);
    if (again_left-- > 0) {
        rpc_call_start(client, call, NULL);
    } else {
        probe_done(call);
    }
}

Test(rpc, a_call_may_be_started_again_from_done)
{
    struct probe probe;
    again_left = 100;
    probe_init(&probe, NODE_PING, 10 * NS_PER_S);
    probe.call.done = call_again;
    rpc_call_start(client, &probe.call, NULL);
    expect(&probe, STATUS_OK);
    cr_assert_eq(service.handled, 101);
}

/* ---- connections that fail ------------------------------------------------------------------- */

Test(rpc, fails_at_once_when_nobody_listens)
{
    struct probe ping;
    rpc_client_set_address(client, "nobody:1");
    uint64_t started_ns = loop_now_ns(loop);
    start_ping(&ping, 100 * NS_PER_S);
    expect(&ping, STATUS_UNAVAILABLE);
    cr_assert_lt(ping.done_ns - started_ns, NS_PER_MS);
}

Test(rpc, waits_longer_between_attempts_up_to_two_seconds)
{
    rpc_client_set_address(client, "nobody:1");
    uint64_t longest_ns = 0;
    for (unsigned i = 0; i < 20; i++) {
        struct probe ping;
        uint64_t started_ns = loop_now_ns(loop);
        start_ping(&ping, 100 * NS_PER_S);
        expect(&ping, STATUS_UNAVAILABLE);
        uint64_t took_ns = ping.done_ns - started_ns;
        cr_assert(i < 1 || took_ns >= 24 * NS_PER_MS, "attempt %u came after %llu ns", i, (unsigned long long)took_ns);
        cr_assert_leq(took_ns, 2001 * NS_PER_MS);
        longest_ns = took_ns > longest_ns ? took_ns : longest_ns;
    }
    cr_assert_geq(longest_ns, NS_PER_S);
}

Test(rpc, a_call_made_in_the_pause_ends_at_its_own_deadline)
{
    struct probe ping;
    rpc_client_set_address(client, "nobody:1");
    for (unsigned i = 0; i < 10; i++) {
        start_ping(&ping, 100 * NS_PER_S);
        expect(&ping, STATUS_UNAVAILABLE);
    }
    start_ping(&ping, 10 * NS_PER_MS);
    expect(&ping, STATUS_TIMEOUT);
}

Test(rpc, finds_a_server_that_comes_back)
{
    struct probe ping;
    start_ping(&ping, NS_PER_S);
    expect(&ping, STATUS_OK);
    rpc_server_close(server);
    server = NULL;
    sim_loop_run_until_idle(sim);
    start_ping(&ping, 10 * NS_PER_S);
    expect(&ping, STATUS_UNAVAILABLE);
    open_server(address);
    start_ping(&ping, 10 * NS_PER_S);
    expect(&ping, STATUS_OK);
}

Test(rpc, a_broken_connection_ends_its_calls_and_the_next_call_makes_another)
{
    struct probe probes[3];
    service.keeps = true;
    start_ping(&probes[0], 10 * NS_PER_S);
    wait_kept(1);
    start_put(&probes[1], CHUNK_BYTES_MAX, 1, 1, 10 * NS_PER_S);
    start_get(&probes[2], KIB(10), KIB(10), 10 * NS_PER_S);
    while (slab_pool_in_use(slabs) == 0) {
        cr_assert(sim_loop_step(sim));
    }
    sim_net_break(sim_net);
    for (unsigned i = 0; i < 3; i++) {
        expect(&probes[i], STATUS_UNAVAILABLE);
        cr_assert_null(probes[i].call.reply);
        probe_free(&probes[i]);
    }
    sim_loop_run_until_idle(sim);
    cr_assert_eq(slab_pool_in_use(slabs), 0);
    service.keeps = false;
    start_ping(&probes[0], 10 * NS_PER_S);
    expect(&probes[0], STATUS_OK);
    answer_kept(); /* of the first connection: dropped quietly */
}

static void start_repeatable(struct probe *probe)
{
    probe_init(probe, NODE_PING, 10 * NS_PER_S);
    probe->call.may_repeat = true;
    rpc_call_start(client, &probe->call, NULL);
}

Test(rpc, a_call_that_may_be_repeated_is_sent_once_more_when_an_old_connection_breaks)
{
    struct probe first, repeated;
    start_ping(&first, NS_PER_S);
    expect(&first, STATUS_OK);
    service.keeps = true;
    start_repeatable(&repeated);
    wait_kept(1);
    sim_net_break(sim_net);
    wait_kept(2);
    cr_assert_not(repeated.done);
    answer_kept(); /* the first one of which nobody hears any more */
    expect(&repeated, STATUS_OK);
    cr_assert_eq(service.handled, 3);
}

static void reply_at_length(struct rpc_service *which, struct rpc_request *request)
{
    (void)which;
    static uint8_t much[KIB(200)];
    Trilith__TenantKeyReply reply = TRILITH__TENANT_KEY_REPLY__INIT;
    reply.dek = (ProtobufCBinaryData){.len = request->type == TENANT_KEY ? sizeof(much) : 0, .data = much};
    rpc_reply(request, STATUS_OK, request->type == TENANT_KEY ? &reply.base : NULL);
}

/* What the first answer had taken is given back: closing the client looks whether anything is missing. */
Test(rpc_prepared, a_call_may_be_repeated_in_the_middle_of_its_answer)
{
    for (unsigned steps = 1; steps < 120; steps += 3) {
        setup_with_slabs(steps, 2, 2);
        service.service.handle = reply_at_length;
        struct probe first, repeated;
        start_ping(&first, NS_PER_S);
        expect(&first, STATUS_OK);
        probe_init(&repeated, TENANT_KEY, 10 * NS_PER_S);
        repeated.call.may_repeat = true;
        rpc_call_start(client, &repeated.call, NULL);
        for (unsigned step = 0; step < steps && !repeated.done; step++) {
            cr_assert(sim_loop_step(sim));
        }
        sim_net_break(sim_net);
        expect(&repeated, STATUS_OK);
        teardown();
    }
}

Test(rpc, a_call_is_repeated_only_once_and_only_where_the_peer_has_served)
{
    struct probe fresh, first, repeated;
    service.keeps = true;
    start_repeatable(&fresh);
    wait_kept(1);
    sim_net_break(sim_net);
    expect(&fresh, STATUS_UNAVAILABLE);
    service.keeps = false;
    start_ping(&first, 10 * NS_PER_S);
    expect(&first, STATUS_OK);
    service.keeps = true;
    start_repeatable(&repeated);
    wait_kept(2);
    sim_net_break(sim_net);
    wait_kept(3);
    sim_net_break(sim_net);
    expect(&repeated, STATUS_UNAVAILABLE);
}

Test(rpc_prepared, a_connection_may_break_at_any_step)
{
    for (unsigned steps = 0; steps < 150; steps++) {
        setup_with_slabs(steps + 1, 2, 2);
        struct probe put;
        struct probe get;
        struct probe ping;
        start_put(&put, KIB(200), 3, 2, 10 * NS_PER_S);
        start_get(&get, KIB(200), KIB(200), 10 * NS_PER_S);
        start_ping(&ping, 10 * NS_PER_S);
        for (unsigned i = 0; i < steps; i++) {
            sim_loop_step(sim);
        }
        sim_net_break(sim_net);
        wait_done(&put);
        wait_done(&get);
        wait_done(&ping);
        cr_assert(put.call.status == STATUS_OK || put.call.status == STATUS_UNAVAILABLE);
        cr_assert(get.call.status == STATUS_UNAVAILABLE ||
                  (get.call.status == STATUS_OK && payload_matches(get.buffer, KIB(200), 9)));
        probe_free(&put);
        probe_free(&get);
        sim_loop_run_until_idle(sim); /* the news has reached everybody */
        cr_assert_eq(slab_pool_in_use(slabs), 0);
        start_ping(&ping, 10 * NS_PER_S);
        expect(&ping, STATUS_OK);
        teardown();
    }
}

Test(rpc, a_new_address_ends_what_is_in_flight_and_takes_what_waits)
{
    struct rpc_server *first = server;
    struct probe old;
    struct probe waiting;
    service.keeps = true;
    start_ping(&old, 10 * NS_PER_S);
    wait_kept(1);
    rpc_client_set_address(client, address); /* the same: nothing happens */
    open_server("other:0");
    rpc_client_set_address(client, address);
    start_ping(&waiting, 10 * NS_PER_S);
    expect(&old, STATUS_UNAVAILABLE);
    service.keeps = false;
    expect(&waiting, STATUS_OK);
    rpc_server_close(first);
}

Test(rpc, leaves_a_peer_that_has_gone_silent)
{
    struct probe probes[10];
    start_ping(&probes[0], NS_PER_S);
    expect(&probes[0], STATUS_OK);
    service.keeps = true;
    for (unsigned i = 0; i < ARRAY_LENGTH(probes); i++) {
        cr_assert_eq(sim_net_open_streams(sim_net), 2);
        start_ping(&probes[i], NS_PER_S);
        expect(&probes[i], STATUS_TIMEOUT);
    }
    sim_loop_run_for(sim, NS_PER_S / 2);
    cr_assert_eq(sim_net_open_streams(sim_net), 0);
    answer_kept();
    service.keeps = false;
    start_ping(&probes[0], NS_PER_S);
    expect(&probes[0], STATUS_OK);
}

/* ---- closing the server ---------------------------------------------------------------------- */

Test(rpc, requests_outlive_a_closed_server)
{
    struct probe put;
    struct probe get;
    service.keeps = true;
    start_put(&put, KIB(50), 4, 1, 10 * NS_PER_S);
    start_get(&get, KIB(50), KIB(50), 10 * NS_PER_S);
    wait_kept(2);
    rpc_server_close(server);
    server = NULL;
    expect(&put, STATUS_UNAVAILABLE);
    expect(&get, STATUS_UNAVAILABLE);
    sim_loop_run_until_idle(sim);
    cr_assert(payload_matches(service.kept[0]->payload->data, KIB(50), 4));
    answer_kept();
    cr_assert_eq(service.sent, 0, "sent never runs inside the reply");
    sim_loop_run_until_idle(sim);
    cr_assert_eq(service.sent, 1);
    probe_free(&put);
    probe_free(&get);
}

Test(rpc_prepared, a_server_closes_while_payload_arrives_or_waits)
{
    for (unsigned steps = 0; steps < 60; steps++) {
        setup_with_slabs(steps + 1, 0, 1);
        struct probe puts[3];
        for (unsigned i = 0; i < 3; i++) {
            start_put(&puts[i], KIB(300), i, 1, 10 * NS_PER_S);
        }
        for (unsigned i = 0; i < steps; i++) {
            sim_loop_step(sim);
        }
        rpc_server_close(server);
        server = NULL;
        for (unsigned i = 0; i < 3; i++) {
            wait_done(&puts[i]);
            probe_free(&puts[i]);
        }
        teardown();
    }
}

Test(rpc, reply_payload_is_given_back_when_the_client_goes)
{
    struct probe get;
    start_get(&get, CHUNK_BYTES_MAX, CHUNK_BYTES_MAX, 10 * NS_PER_S);
    while (get.buffer[0] == 0xee) {
        cr_assert(sim_loop_step(sim));
    }
    cr_assert_eq(service.sent, 0);
    rpc_client_close(client);
    client = NULL;
    expect(&get, STATUS_CANCELLED);
    sim_loop_run_until_idle(sim);
    cr_assert_eq(service.sent, 1);
    probe_free(&get);
}

/* ---- peers that misbehave -------------------------------------------------------------------- */

/* A raw stream to the server, or to a client that connects to it. */
static struct {
    struct net_connect connect;
    struct net_listener listener;
    struct stream *stream;
    struct stream_io recv;
    struct stream_io send;
    struct iovec vector;
    bool recv_done;
    bool send_done;
    uint8_t received[4096];
} raw;

static void raw_connected(struct net_connect *connect, struct stream *stream)
{
    (void)connect;
    raw.stream = stream;
}

static void raw_accepted(struct net_listener *listener, struct stream *stream)
{
    (void)listener;
    raw.stream = stream;
}

static void raw_recv_done(struct stream_io *io)
{
    (void)io;
    raw.recv_done = true;
}

static void raw_send_done(struct stream_io *io)
{
    (void)io;
    raw.send_done = true;
}

static void raw_recv(size_t bytes_min)
{
    raw.recv_done = false;
    stream_recv(raw.stream, &raw.recv, raw.received, bytes_min, sizeof(raw.received), raw_recv_done);
}

static void raw_send(const void *data, size_t bytes)
{
    raw.send_done = false;
    raw.vector = (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = bytes};
    stream_send(raw.stream, &raw.send, &raw.vector, 1, raw_send_done);
    sim_loop_run_until(sim, &raw.send_done);
}

static void raw_open(void)
{
    memset(&raw, 0, sizeof(raw));
    net_connect(net, &raw.connect, address, UINT64_MAX, raw_connected);
    while (raw.stream == NULL) {
        cr_assert(sim_loop_step(sim));
    }
}

static void raw_close(void)
{
    stream_close(raw.stream);
    sim_loop_run_until_idle(sim);
}

static void raw_listen(void)
{
    memset(&raw, 0, sizeof(raw));
    raw.listener.accepted = raw_accepted;
    cr_assert_eq(net_listen(net, &raw.listener, "raw:1"), STATUS_OK);
    rpc_client_set_address(client, "raw:1");
}

/* A ping frame as a client sends it. */
static size_t ping_frame(uint8_t *bytes, uint16_t type, uint32_t payload_bytes)
{
    struct frame_header header = {
        .kind = FRAME_REQUEST, .type = type, .request = 5, .deadline_ms = 60000, .payload_bytes = payload_bytes};
    frame_encode(&header, bytes);
    return FRAME_HEADER_BYTES;
}

static void expect_server_closes(void)
{
    raw_recv(1);
    cr_assert(sim_loop_run_until(sim, &raw.recv_done));
    cr_assert_neq(raw.recv.status, STATUS_OK);
    raw_close();
}

Test(rpc, answers_an_unknown_type_and_goes_on)
{
    uint8_t bytes[FRAME_HEADER_BYTES + 100] = {0};
    struct frame_header reply;
    raw_open();
    ping_frame(bytes, 999, 100);
    raw_send(bytes, sizeof(bytes));
    raw_recv(FRAME_HEADER_BYTES);
    cr_assert(sim_loop_run_until(sim, &raw.recv_done));
    cr_assert_eq(frame_decode(raw.received, &reply), STATUS_OK);
    cr_assert_eq(reply.kind, FRAME_REPLY);
    cr_assert_eq(reply.type, 999);
    cr_assert_eq(reply.request, 5);
    cr_assert_eq(reply.status, STATUS_UNSUPPORTED);

    raw_send(bytes, ping_frame(bytes, NODE_PING, 0));
    raw_recv(FRAME_HEADER_BYTES);
    cr_assert(sim_loop_run_until(sim, &raw.recv_done));
    cr_assert_eq(frame_decode(raw.received, &reply), STATUS_OK);
    cr_assert_eq(reply.status, STATUS_OK);
    raw_close();
}

Test(rpc, answers_a_message_that_is_no_encoding_with_invalid)
{
    uint8_t bytes[FRAME_HEADER_BYTES + 4] = {0};
    const uint8_t garbage[4] = {0x0a, 0xff, 0xff, 0xff};
    struct frame_header header = {.kind = FRAME_REQUEST,
                                  .type = BUCKET_LIST,
                                  .request = 6,
                                  .deadline_ms = 1000,
                                  .message_bytes = sizeof(garbage),
                                  .message_crc = crc32c(0, garbage, sizeof(garbage))};
    frame_encode(&header, bytes);
    memcpy(bytes + FRAME_HEADER_BYTES, garbage, sizeof(garbage));
    struct frame_header reply;
    raw_open();
    raw_send(bytes, sizeof(bytes));
    raw_recv(FRAME_HEADER_BYTES);
    cr_assert(sim_loop_run_until(sim, &raw.recv_done));
    cr_assert_eq(frame_decode(raw.received, &reply), STATUS_OK);
    cr_assert_eq(reply.status, STATUS_INVALID);
    cr_assert_eq(service.handled, 0);
    raw_close();
}

Test(rpc, refuses_work_that_nobody_waits_for_any_more)
{
    uint8_t bytes[FRAME_HEADER_BYTES];
    struct frame_header header = {.kind = FRAME_REQUEST, .type = NODE_PING, .request = 6, .deadline_ms = 0};
    frame_encode(&header, bytes);
    struct frame_header reply;
    raw_open();
    raw_send(bytes, sizeof(bytes));
    raw_recv(FRAME_HEADER_BYTES);
    cr_assert(sim_loop_run_until(sim, &raw.recv_done));
    cr_assert_eq(frame_decode(raw.received, &reply), STATUS_OK);
    cr_assert_eq(reply.status, STATUS_TIMEOUT);
    cr_assert_eq(service.handled, 0);
    raw_close();
}

Test(rpc, a_flipped_byte_anywhere_in_a_header_closes_the_connection)
{
    for (size_t at = 0; at < FRAME_HEADER_BYTES; at++) {
        uint8_t bytes[FRAME_HEADER_BYTES];
        raw_open();
        ping_frame(bytes, NODE_PING, 0);
        bytes[at] ^= 0x40;
        raw_send(bytes, sizeof(bytes));
        expect_server_closes();
        cr_assert_eq(service.handled, 0);
    }
}

Test(rpc, a_message_that_does_not_fit_its_checksum_closes_the_connection)
{
    uint8_t bytes[FRAME_HEADER_BYTES + 2];
    const uint8_t message[2] = {0x08, 0x01};
    struct frame_header header = {.kind = FRAME_REQUEST,
                                  .type = BUCKET_LIST,
                                  .deadline_ms = 1000,
                                  .message_bytes = 2,
                                  .message_crc = crc32c(0, message, 2) ^ 1};
    frame_encode(&header, bytes);
    memcpy(bytes + FRAME_HEADER_BYTES, message, 2);
    raw_open();
    raw_send(bytes, sizeof(bytes));
    expect_server_closes();
    cr_assert_eq(service.handled, 0);
}

/* The lengths are refused as they stand in the header: none of the gigabytes they promise is waited for. */
Test(rpc, oversize_lengths_are_refused_before_reading_on)
{
    for (unsigned field = 0; field < 2; field++) {
        uint8_t bytes[FRAME_HEADER_BYTES];
        ping_frame(bytes, NODE_PING, 0);
        memset(bytes + 24 + 4 * field, 0xff, 4);
        uint32_t crc = crc32c(0, bytes, 44);
        for (unsigned i = 0; i < 4; i++) {
            bytes[44 + i] = (uint8_t)(crc >> (8 * i));
        }
        raw_open();
        raw_send(bytes, sizeof(bytes));
        expect_server_closes();
    }
}

Test(rpc, a_reply_sent_to_a_server_closes_the_connection)
{
    uint8_t bytes[FRAME_HEADER_BYTES];
    struct frame_header header = {.kind = FRAME_REPLY, .type = NODE_PING};
    frame_encode(&header, bytes);
    raw_open();
    raw_send(bytes, sizeof(bytes));
    expect_server_closes();
}

Test(rpc, drops_a_connection_that_never_completes_its_header)
{
    uint8_t bytes[FRAME_HEADER_BYTES];
    raw_open();
    sim_loop_run_for(sim, 1000 * NS_PER_S);
    ping_frame(bytes, NODE_PING, 0);
    raw_send(bytes, FRAME_HEADER_BYTES - 1);
    uint64_t sent_ns = loop_now_ns(loop);
    expect_server_closes();
    uint64_t took_ns = loop_now_ns(loop) - sent_ns;
    cr_assert(took_ns > 59 * NS_PER_S && took_ns < 61 * NS_PER_S);
}

Test(rpc, takes_back_the_slab_of_payload_that_never_completes)
{
    uint8_t bytes[FRAME_HEADER_BYTES + 10] = {0};
    raw_open();
    ping_frame(bytes, NODE_PING, MIB(1));
    raw_send(bytes, sizeof(bytes));
    sim_loop_run_for(sim, NS_PER_S);
    cr_assert_eq(slab_pool_in_use(slabs), 1);
    expect_server_closes();
    cr_assert_eq(slab_pool_in_use(slabs), 0);
}

Test(rpc, a_connection_that_ends_within_a_frame_leaves_nothing)
{
    for (size_t cut = 1; cut < FRAME_HEADER_BYTES + 1000; cut += 37) {
        uint8_t bytes[FRAME_HEADER_BYTES + 1000] = {0};
        raw_open();
        ping_frame(bytes, NODE_PING, 1000);
        raw_send(bytes, cut);
        raw_close();
        cr_assert_eq(slab_pool_in_use(slabs), 0);
        cr_assert_eq(sim_net_open_streams(sim_net), 0);
    }
    cr_assert_eq(service.handled, 0);
}

Test(rpc, bounds_its_connections_and_lets_idle_ones_give_way)
{
    enum { MANY = 1024 };
    static struct net_connect connects[MANY + 2];
    static struct stream *streams[MANY + 2];
    memset(&raw, 0, sizeof(raw));
    for (unsigned i = 0; i < MANY + 2; i++) {
        if (i == MANY + 1) {
            sim_loop_run_for(sim, 61 * NS_PER_S);
        }
        raw.stream = NULL;
        net_connect(net, &connects[i], address, UINT64_MAX, raw_connected);
        while (raw.stream == NULL) {
            cr_assert(sim_loop_step(sim));
        }
        streams[i] = raw.stream;
        sim_loop_run_for(sim, NS_PER_MS);
        unsigned refused = i < MANY ? 0 : 1;
        cr_assert_eq(sim_net_open_streams(sim_net), 2 * (i + 1) - refused * (i - MANY + 1), "connection %u", i);
    }
    for (unsigned i = 0; i < MANY + 2; i++) {
        stream_close(streams[i]);
    }
    sim_loop_run_until_idle(sim);
}

/* A client whose server answers with `bytes` to its first request. */
static void answer_raw(struct probe *probe, uint8_t *bytes, size_t length, bool copy_request_number)
{
    while (raw.stream == NULL) {
        cr_assert(sim_loop_step(sim));
    }
    raw_recv(FRAME_HEADER_BYTES);
    cr_assert(sim_loop_run_until(sim, &raw.recv_done));
    struct frame_header request;
    cr_assert_eq(frame_decode(raw.received, &request), STATUS_OK);
    if (copy_request_number) {
        struct frame_header reply;
        cr_assert_eq(frame_decode(bytes, &reply), STATUS_OK);
        reply.request = request.request;
        frame_encode(&reply, bytes);
    }
    raw_send(bytes, length);
    wait_done(probe);
    stream_close(raw.stream);
    net_listener_close(net, &raw.listener);
    sim_loop_run_until_idle(sim);
}

Test(rpc, a_reply_that_is_no_encoding_is_corrupt_for_its_call)
{
    const uint8_t garbage[3] = {0x0a, 0xff, 0xff};
    uint8_t bytes[FRAME_HEADER_BYTES + 3];
    struct frame_header header = {
        .kind = FRAME_REPLY, .type = NODE_PING, .message_bytes = 3, .message_crc = crc32c(0, garbage, 3)};
    frame_encode(&header, bytes);
    memcpy(bytes + FRAME_HEADER_BYTES, garbage, 3);
    struct probe ping;
    raw_listen();
    start_ping(&ping, NS_PER_S);
    answer_raw(&ping, bytes, sizeof(bytes), true);
    cr_assert_eq(ping.call.status, STATUS_CORRUPT);
    cr_assert_null(ping.call.reply);
}

Test(rpc, a_reply_with_a_wrong_checksum_is_corrupt_for_its_call)
{
    uint8_t bytes[FRAME_HEADER_BYTES + 2] = {0};
    struct frame_header header = {.kind = FRAME_REPLY, .type = NODE_PING, .message_bytes = 2, .message_crc = 1};
    frame_encode(&header, bytes);
    struct probe ping;
    raw_listen();
    start_ping(&ping, NS_PER_S);
    answer_raw(&ping, bytes, sizeof(bytes), true);
    cr_assert_eq(ping.call.status, STATUS_CORRUPT);
}

Test(rpc, a_reply_of_another_type_is_corrupt)
{
    uint8_t bytes[FRAME_HEADER_BYTES];
    struct frame_header header = {.kind = FRAME_REPLY, .type = CHUNK_PUT};
    frame_encode(&header, bytes);
    struct probe ping;
    raw_listen();
    start_ping(&ping, NS_PER_S);
    answer_raw(&ping, bytes, sizeof(bytes), true);
    cr_assert_eq(ping.call.status, STATUS_CORRUPT);
}

Test(rpc, a_reply_to_what_was_never_asked_closes_the_connection)
{
    uint8_t bytes[FRAME_HEADER_BYTES];
    struct frame_header header = {.kind = FRAME_REPLY, .type = NODE_PING, .request = UINT64_MAX};
    frame_encode(&header, bytes);
    struct probe ping;
    raw_listen();
    start_ping(&ping, NS_PER_S);
    answer_raw(&ping, bytes, sizeof(bytes), false);
    cr_assert_eq(ping.call.status, STATUS_UNAVAILABLE);
}

Test(rpc, garbage_from_a_server_closes_the_connection)
{
    uint8_t bytes[200];
    memset(bytes, 0xa5, sizeof(bytes));
    struct probe ping;
    raw_listen();
    start_ping(&ping, NS_PER_S);
    answer_raw(&ping, bytes, sizeof(bytes), false);
    cr_assert_eq(ping.call.status, STATUS_UNAVAILABLE);
}

/* The answer comes while the request's payload is still being sent: the outcome is known, the buffer is not free yet. */
Test(rpc, an_early_reply_waits_until_the_payload_is_the_callers_again)
{
    uint8_t bytes[FRAME_HEADER_BYTES];
    struct frame_header header = {.kind = FRAME_REPLY, .type = CHUNK_PUT, .status = STATUS_FULL};
    frame_encode(&header, bytes);
    struct probe put;
    raw_listen();
    start_put(&put, CHUNK_BYTES_MAX, 1, 1, NS_PER_S);
    answer_raw(&put, bytes, sizeof(bytes), true);
    cr_assert_eq(put.call.status, STATUS_FULL);
    cr_assert_eq(put.done_ns, put.call.deadline_ns, "nobody read the payload: the deadline made the kernel let go");
    cr_assert_not_null(put.call.reply);
    probe_free(&put);
}

/* ---- what goes over the interface of streams ------------------------------------------------- */

/* The net's operations with an eye on them: how many sends there were, and which memory was given to the kernel. */
static struct {
    const struct net_ops *real;
    struct net_ops ops;
    unsigned sends;
    struct {
        const uint8_t *start;
        size_t bytes;
    } seen[64];
    unsigned seen_count;
} watch;

static void watch_memory(const void *start, size_t bytes)
{
    cr_assert_lt(watch.seen_count, ARRAY_LENGTH(watch.seen));
    watch.seen[watch.seen_count].start = start;
    watch.seen[watch.seen_count++].bytes = bytes;
}

static void watched_send(struct stream *stream, struct stream_io *io)
{
    watch.sends++;
    for (unsigned i = 0; i < io->vector_count && watch.seen_count < ARRAY_LENGTH(watch.seen); i++) {
        watch_memory(io->vectors[i].iov_base, io->vectors[i].iov_len);
    }
    watch.real->send(stream, io);
}

static void watched_recv(struct stream *stream, struct stream_io *io)
{
    if (watch.seen_count < ARRAY_LENGTH(watch.seen)) {
        watch_memory(io->buffer, io->bytes_max);
    }
    watch.real->recv(stream, io);
}

static void watch_net(void)
{
    memset(&watch, 0, sizeof(watch));
    watch.real = net->ops;
    watch.ops = *net->ops;
    watch.ops.send = watched_send;
    watch.ops.recv = watched_recv;
    net->ops = &watch.ops;
}

Test(rpc, gathers_small_frames_into_few_sends)
{
    enum { CALLS = 200 };
    static struct probe probes[CALLS];
    start_ping(&probes[0], NS_PER_S);
    expect(&probes[0], STATUS_OK);
    watch_net();
    for (unsigned i = 0; i < CALLS; i++) {
        start_ping(&probes[i], NS_PER_S);
    }
    for (unsigned i = 0; i < CALLS; i++) {
        expect(&probes[i], STATUS_OK);
    }
    cr_assert_leq(watch.sends, CALLS / 4, "%u sends for %u calls and their replies", watch.sends, CALLS);
}

Test(rpc, leaves_no_copy_of_a_key_in_any_buffer)
{
    struct probe probe;
    start_ping(&probe, NS_PER_S);
    expect(&probe, STATUS_OK);
    watch_net();
    for (unsigned i = 0; i < 5; i++) {
        probe_init(&probe, TENANT_KEY, NS_PER_S);
        Trilith__TenantKeyRequest request = TRILITH__TENANT_KEY_REQUEST__INIT;
        request.tenant_id = 0xa7;
        rpc_call_start(client, &probe.call, &request.base);
        expect(&probe, STATUS_OK);
        cr_assert_eq(probe.seen, 0xa7);
    }
    sim_loop_run_until_idle(sim);
    uint8_t key_part[8];
    memset(key_part, 0xa7, sizeof(key_part));
    cr_assert_gt(watch.seen_count, 5);
    for (unsigned i = 0; i < watch.seen_count; i++) {
        cr_assert_null(memmem(watch.seen[i].start, watch.seen[i].bytes, key_part, sizeof(key_part)));
    }
}

/* ---- everything at once ---------------------------------------------------------------------- */

enum { STORM_PROBES = 24, STORM_STEPS = 600 };

struct storm {
    struct sim_random random;
    struct probe probes[STORM_PROBES];
    bool running[STORM_PROBES];
    unsigned started;
    unsigned succeeded;
};

/* Look at a call that is done, and make its buffer ours: nobody may write there any more. */
static void storm_settle(struct storm *storm, unsigned i)
{
    struct probe *probe = &storm->probes[i];
    if (!storm->running[i] || !probe->done) {
        return;
    }
    storm->running[i] = false;
    storm->succeeded += probe->call.status == STATUS_OK;
    if (probe->call.status == STATUS_OK && probe->call.type == CHUNK_GET) {
        cr_assert(payload_matches(probe->buffer, probe->call.reply_payload_bytes, 9));
    }
    probe_free(probe);
}

static void storm_start(struct storm *storm, unsigned i)
{
    if (storm->running[i]) {
        return;
    }
    uint64_t timeout_ns = sim_random_between(&storm->random, 0, 20 * NS_PER_MS);
    uint32_t bytes = (uint32_t)sim_random_between(&storm->random, 1, KIB(400));
    storm->running[i] = true;
    storm->started++;
    switch (sim_random_below(&storm->random, 3)) {
    case 0:
        start_ping(&storm->probes[i], timeout_ns);
        return;
    case 1:
        start_put(&storm->probes[i], bytes, i, 1 + i % 4, timeout_ns);
        return;
    default:
        start_get(&storm->probes[i], bytes, bytes, timeout_ns);
        return;
    }
}

static void storm_act(struct storm *storm)
{
    unsigned i = (unsigned)sim_random_below(&storm->random, STORM_PROBES);
    uint64_t dice = sim_random_below(&storm->random, 100);
    if (dice < 60) {
        storm_start(storm, i);
    } else if (dice < 68 && storm->running[i]) {
        rpc_call_cancel(&storm->probes[i].call);
    } else if (dice < 70) {
        sim_net_break(sim_net);
    } else if (dice < 74) {
        sim_net_hold(sim_net, address, dice < 72);
    } else if (dice < 80) {
        service.keeps = !service.keeps;
    } else if (dice < 95) {
        answer_kept();
    } else if (dice < 96) {
        rpc_server_close(server);
        open_server(address);
    }
}

Test(rpc_prepared, every_call_ends_once_whatever_happens)
{
    unsigned started = 0;
    unsigned succeeded = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        static struct storm storm;
        setup_with_slabs(seed, 2, 2);
        storm = (struct storm){.random = sim_random_of(seed)};
        for (unsigned step = 0; step < STORM_STEPS; step++) {
            storm_act(&storm);
            for (uint64_t i = sim_random_below(&storm.random, 30); i > 0; i--) {
                sim_loop_step(sim);
            }
            for (unsigned i = 0; i < STORM_PROBES; i++) {
                storm_settle(&storm, i);
            }
        }
        sim_net_hold(sim_net, address, false);
        rpc_client_close(client);
        client = NULL;
        answer_kept();
        service.keeps = false;
        sim_loop_run_until_idle(sim);
        for (unsigned i = 0; i < STORM_PROBES; i++) {
            storm_settle(&storm, i);
            cr_assert_not(storm.running[i], "seed %u", (unsigned)seed);
        }
        started += storm.started;
        succeeded += storm.succeeded;
        teardown();
    }
    cr_assert(succeeded > started / 10, "%u of %u", succeeded, started);
}

/* Two mebibytes each, as received and as unpacked, while the service keeps them all. */
Test(rpc, refuses_messages_beyond_its_memory_and_goes_on)
{
    enum { CALLS = 80 };
    static struct probe probes[CALLS];
    uint8_t *cursor = calloc(1, FRAME_MESSAGE_BYTES_MAX);
    service.keeps = true;
    for (unsigned i = 0; i < CALLS; i++) {
        probe_init(&probes[i], TRILITH__MESSAGE_TYPE__WIPE_PULL, 60 * NS_PER_S);
        Trilith__WipePullRequest request = TRILITH__WIPE_PULL_REQUEST__INIT;
        request.after_chunk_id = (ProtobufCBinaryData){.len = FRAME_MESSAGE_BYTES_MAX - 8, .data = cursor};
        rpc_call_start(client, &probes[i].call, &request.base);
    }
    free(cursor);
    sim_loop_run_for(sim, NS_PER_S);
    cr_assert(service.kept_count > CALLS / 2 && service.kept_count < CALLS);
    cr_assert_eq(service.kept_count + done_count, CALLS);
    answer_kept();
    for (unsigned i = 0; i < CALLS; i++) {
        wait_done(&probes[i]);
        cr_assert(probes[i].call.status == STATUS_OK || probes[i].call.status == STATUS_BUSY);
    }
    struct probe ping;
    service.keeps = false;
    start_ping(&ping, NS_PER_S);
    expect(&ping, STATUS_OK);
}
