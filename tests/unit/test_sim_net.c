/* test_sim_net.c - simulated streams: all bytes in order, closing, breaking, stalling, the same run from the same seed. */
#include "tests/sim/sim_net.h"

#include "tests/sim/sim_random.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define PAYLOAD_BYTES MIB(2)

struct transfer {
    struct stream_io io;
    bool done;
};

static struct sim_loop *loop;
static struct sim_net *sim;
static struct net *net;
static struct net_listener listener;
static struct net_connect connector;
static struct stream *client;
static struct stream *server;
static bool connected;

static void transfer_done(struct stream_io *io)
{
    struct transfer *transfer = CONTAINER_OF(io, struct transfer, io);
    cr_assert_not(transfer->done);
    transfer->done = true;
}

static void accepted(struct net_listener *which, struct stream *stream)
{
    cr_assert_eq(which, &listener);
    server = stream;
}

static void connect_done(struct net_connect *which, struct stream *stream)
{
    cr_assert_eq(which, &connector);
    client = stream;
    connected = true;
}

static void open_with_seed(uint64_t seed)
{
    loop = sim_loop_open(seed);
    sim = sim_net_open(loop, seed);
    net = sim_net_interface(sim);
    listener = (struct net_listener){.accepted = accepted};
    connected = false;
    client = server = NULL;
    cr_assert_eq(net_listen(net, &listener, "node-1:0"), STATUS_OK);
    net_connect(net, &connector, listener.address, UINT64_MAX, connect_done);
    sim_loop_run_until_idle(loop);
    cr_assert(client != NULL && server != NULL);
}

static void setup(void)
{
    open_with_seed(5);
}

static void teardown(void)
{
    sim_net_close(sim);
    sim_loop_close(loop);
}

TestSuite(sim_net, .init = setup, .fini = teardown);

static void send_start(struct stream *stream, struct transfer *transfer, struct iovec *vector, const void *data,
                       size_t bytes)
{
    *vector = (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = bytes};
    transfer->done = false;
    stream_send(stream, &transfer->io, vector, 1, transfer_done);
}

static void recv_start(struct stream *stream, struct transfer *transfer, void *buffer, size_t min, size_t max)
{
    transfer->done = false;
    stream_recv(stream, &transfer->io, buffer, min, max, transfer_done);
}

/* Send PAYLOAD_BYTES and receive them in pieces of drawn size; returns how long it took in simulated time. */
static uint64_t carry_payload(uint64_t seed)
{
    struct sim_random random = sim_random_of(seed);
    uint8_t *payload = malloc(PAYLOAD_BYTES);
    uint8_t *arrived = calloc(1, PAYLOAD_BYTES);
    sim_random_bytes(&random, payload, PAYLOAD_BYTES);
    struct transfer sending = {0};
    struct iovec vector;
    send_start(client, &sending, &vector, payload, PAYLOAD_BYTES);
    for (size_t at = 0; at < PAYLOAD_BYTES;) {
        struct transfer receiving = {0};
        size_t max = sim_random_between(&random, 1, 100000);
        max = max < PAYLOAD_BYTES - at ? max : PAYLOAD_BYTES - at;
        size_t min = sim_random_between(&random, 1, max);
        recv_start(server, &receiving, arrived + at, min, max);
        cr_assert_not(receiving.done);
        cr_assert(sim_loop_run_until(loop, &receiving.done));
        cr_assert_eq(receiving.io.status, STATUS_OK);
        cr_assert(receiving.io.bytes >= min && receiving.io.bytes <= max);
        at += receiving.io.bytes;
    }
    cr_assert(sending.done);
    cr_assert_eq(sending.io.bytes, PAYLOAD_BYTES);
    cr_assert_arr_eq(arrived, payload, PAYLOAD_BYTES);
    free(payload);
    free(arrived);
    return loop_now_ns(sim_loop_interface(loop));
}

Test(sim_net, carries_all_bytes_in_order_however_they_are_cut)
{
    carry_payload(1);
}

Test(sim_net, replays_a_run_from_its_seed)
{
    uint64_t first = carry_payload(3);
    teardown();
    open_with_seed(5);
    cr_assert_eq(carry_payload(3), first);
}

Test(sim_net, sends_vectors_with_empty_ones_among_them)
{
    struct transfer sending = {0};
    struct transfer receiving = {0};
    char text[8] = {0};
    struct iovec vectors[] = {{.iov_base = NULL, .iov_len = 0},
                              {.iov_base = (char[]){"abc"}, .iov_len = 3},
                              {.iov_base = NULL, .iov_len = 0},
                              {.iov_base = (char[]){"defg"}, .iov_len = 4},
                              {.iov_base = NULL, .iov_len = 0}};
    stream_send(client, &sending.io, vectors, 5, transfer_done);
    recv_start(server, &receiving, text, 7, 7);
    sim_loop_run_until_idle(loop);
    cr_assert(sending.done && receiving.done);
    cr_assert_str_eq(text, "abcdefg");
}

Test(sim_net, blocks_a_sender_whose_receiver_does_not_read)
{
    struct transfer sending = {0};
    struct iovec vector;
    uint8_t *payload = calloc(1, PAYLOAD_BYTES);
    send_start(client, &sending, &vector, payload, PAYLOAD_BYTES);
    sim_loop_run_until_idle(loop);
    cr_assert_not(sending.done);
    cr_assert_eq(sending.io.bytes, KIB(256));
    stream_close(client);
    sim_loop_run_until_idle(loop);
    cr_assert_eq(sending.io.status, STATUS_CANCELLED);
    free(payload);
}

Test(sim_net, ends_a_recv_with_closed_after_the_last_byte)
{
    struct transfer sending = {0};
    struct transfer receiving = {0};
    struct iovec vector;
    char buffer[8];
    send_start(client, &sending, &vector, "abc", 3);
    sim_loop_run_until_idle(loop);
    stream_close(client);
    recv_start(server, &receiving, buffer, 3, 8);
    sim_loop_run_until_idle(loop);
    cr_assert_eq(receiving.io.status, STATUS_OK);
    recv_start(server, &receiving, buffer, 1, 8);
    sim_loop_run_until_idle(loop);
    cr_assert_eq(receiving.io.status, STATUS_CLOSED);
    send_start(server, &sending, &vector, "x", 1);
    sim_loop_run_until_idle(loop);
    cr_assert_eq(sending.io.status, STATUS_CLOSED);
    stream_close(server);
    sim_loop_run_until_idle(loop);
    cr_assert_eq(sim_net_open_streams(sim), 0);
}

Test(sim_net, cancels_what_is_in_flight_when_its_owner_closes)
{
    struct transfer receiving = {0};
    char buffer[8];
    recv_start(client, &receiving, buffer, 8, 8);
    stream_close(client);
    cr_assert_not(receiving.done);
    sim_loop_run_until_idle(loop);
    cr_assert(receiving.done);
    cr_assert_eq(receiving.io.status, STATUS_CANCELLED);
}

Test(sim_net, breaks_both_sides)
{
    struct transfer ours = {0};
    struct transfer theirs = {0};
    char buffer[8];
    recv_start(client, &ours, buffer, 1, 8);
    recv_start(server, &theirs, buffer, 1, 8);
    sim_net_break_address(sim, "elsewhere:1");
    sim_loop_run_until_idle(loop);
    cr_assert_not(ours.done);
    sim_net_break(sim);
    sim_loop_run_until_idle(loop);
    cr_assert_eq(ours.io.status, STATUS_IO);
    cr_assert_eq(theirs.io.status, STATUS_IO);
}

Test(sim_net, refuses_a_connection_where_nobody_listens)
{
    connected = false;
    net_connect(net, &connector, "node-1:1", UINT64_MAX, connect_done);
    sim_loop_run_until_idle(loop);
    cr_assert(connected);
    cr_assert_null(client);
    cr_assert_eq(connector.status, STATUS_UNAVAILABLE);
}

Test(sim_net, stalls_an_address_until_it_is_let_go)
{
    struct transfer sending = {0};
    struct transfer receiving = {0};
    struct iovec vector;
    char buffer[8];
    sim_net_hold(sim, listener.address, true);
    send_start(client, &sending, &vector, "abc", 3);
    recv_start(server, &receiving, buffer, 3, 3);
    sim_loop_run_for(loop, NS_PER_S);
    cr_assert_not(receiving.done);

    struct stream *kept = client;
    connected = false;
    net_connect(net, &connector, listener.address, loop_now_ns(sim_loop_interface(loop)) + NS_PER_S, connect_done);
    sim_loop_run_for(loop, 2 * NS_PER_S);
    cr_assert(connected);
    cr_assert_eq(connector.status, STATUS_TIMEOUT);
    client = kept;

    sim_net_hold(sim, listener.address, false);
    sim_loop_run_until_idle(loop);
    cr_assert(receiving.done);
}
