/* test_sim_net.c - simulated streams: all bytes in order, closing, hosts, faults, crashes, the same run from the same seed. */
#include "tests/sim/sim_net.h"

#include "tests/sim/sim_random.h"

#include <criterion/criterion.h>
#include <stdio.h>
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

Test(sim_net, ends_a_send_that_waits_for_room_when_the_other_side_closes)
{
    struct transfer sending = {0};
    struct iovec vector;
    uint8_t *payload = calloc(1, PAYLOAD_BYTES);
    send_start(client, &sending, &vector, payload, PAYLOAD_BYTES);
    sim_loop_run_until_idle(loop);
    cr_assert_not(sending.done);
    stream_close(server);
    sim_loop_run_until_idle(loop);
    cr_assert(sending.done);
    cr_assert_eq(sending.io.status, STATUS_CLOSED);
    free(payload);
}

/* ---- hosts -------------------------------------------------------------------------------------------- */

/* A process of a machine: its memory is this struct, so that it can be thrown away as a whole. */
struct process {
    struct sim_host *host;
    struct sim_loop *loop;
    struct net *net;
    struct net_listener listener;
    struct net_connect connector;
    struct stream *stream; /* the last one connected or accepted */
    bool is_connected;
    bool keeps_first; /* one stream is enough */
    unsigned accepted_count;
    struct transfer sending;
    struct transfer receiving;
    struct iovec vector;
    uint8_t buffer[KIB(512)];
};

static struct process *a;
static struct process *b;

static void process_accepted(struct net_listener *which, struct stream *stream)
{
    struct process *process = CONTAINER_OF(which, struct process, listener);
    if (process->keeps_first && process->stream != NULL) {
        stream_close(stream);
        return;
    }
    process->stream = stream;
    process->accepted_count++;
}

static void process_connected(struct net_connect *which, struct stream *stream)
{
    struct process *process = CONTAINER_OF(which, struct process, connector);
    process->stream = stream;
    process->is_connected = true;
}

static struct process *process_start(const char *name, uint64_t seed)
{
    struct process *process = calloc(1, sizeof(*process));
    cr_assert_not_null(process);
    process->loop = sim_loop_fork(loop, name, seed);
    process->host = sim_net_host(sim, name, process->loop);
    process->net = sim_host_interface(process->host);
    process->listener.accepted = process_accepted;
    char address[NET_ADDRESS_BYTES];
    snprintf(address, sizeof(address), "%s:7000", name);
    cr_assert_eq(net_listen(process->net, &process->listener, address), STATUS_OK);
    return process;
}

/* Kill it, and give its memory back: whoever still touches it is caught by the address sanitizer. */
static void process_kill(struct process *process, bool silent)
{
    sim_host_crash(process->host, silent);
    cr_assert_eq(sim_host_open_streams(process->host), 0);
    sim_loop_close(process->loop);
    memset(process, 0xa5, sizeof(*process));
    free(process);
}

static void process_connect(struct process *process, const char *address, uint64_t timeout_ns)
{
    process->is_connected = false;
    process->stream = NULL;
    uint64_t deadline_ns = loop_now_ns(sim_loop_interface(process->loop)) + timeout_ns;
    net_connect(process->net, &process->connector, address, deadline_ns, process_connected);
}

static void process_send(struct process *process, size_t bytes)
{
    send_start(process->stream, &process->sending, &process->vector, process->buffer, bytes);
}

static void process_recv(struct process *process, size_t bytes)
{
    recv_start(process->stream, &process->receiving, process->buffer, bytes, bytes);
}

static void open_hosts(uint64_t seed)
{
    loop = sim_loop_open(seed);
    sim = sim_net_open(loop, seed);
    a = process_start("a", seed + 1);
    b = process_start("b", seed + 2);
    process_connect(a, "b:7000", NS_PER_S);
    sim_loop_run_until_idle(loop);
    cr_assert(a->stream != NULL && b->stream != NULL);
    cr_assert_eq(sim_host_open_streams(a->host), 1);
    cr_assert_eq(sim_host_open_streams(b->host), 1);
}

static void setup_hosts(void)
{
    open_hosts(11);
}

static void teardown_hosts(void)
{
    if (a != NULL) {
        process_kill(a, false);
    }
    if (b != NULL) {
        process_kill(b, false);
    }
    sim_net_close(sim);
    sim_loop_close(loop);
}

TestSuite(sim_hosts, .init = setup_hosts, .fini = teardown_hosts);

static uint64_t count(enum sim_net_fault fault)
{
    return sim_net_fault_count(sim, fault);
}

static void fill(uint8_t *buffer, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        buffer[i] = (uint8_t)(i * 31 + (i >> 8));
    }
}

static void check_filled(const uint8_t *buffer, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        cr_assert_eq(buffer[i], (uint8_t)(i * 31 + (i >> 8)));
    }
}

/* Send `bytes` from a to b and see them arrive whole. */
static void check_carries(size_t bytes)
{
    fill(a->buffer, bytes);
    memset(b->buffer, 0, bytes);
    process_send(a, bytes);
    process_recv(b, bytes);
    sim_loop_run_until_idle(loop);
    cr_assert(a->sending.done && b->receiving.done);
    cr_assert_eq(a->sending.io.status, STATUS_OK);
    cr_assert_eq(b->receiving.io.status, STATUS_OK);
    check_filled(b->buffer, bytes);
}

Test(sim_hosts, carries_bytes_between_two_machines)
{
    check_carries(KIB(500));
    cr_assert_gt(count(SIM_NET_SHORT), 0);
    cr_assert_eq(count(SIM_NET_CUT) + count(SIM_NET_CLOG) + count(SIM_NET_SLOW) + count(SIM_NET_RESET), 0);
}

Test(sim_hosts, leaves_bytes_in_the_pipe_of_a_paused_process)
{
    sim_loop_pause(b->loop, true);
    process_recv(b, KIB(100));
    process_send(a, KIB(500));
    fill(a->buffer, KIB(500));
    process_connect(a, "b:7000", NS_PER_S); /* The kernel answers, the process does not. */
    sim_loop_run_for(loop, NS_PER_S);
    cr_assert(a->is_connected);
    cr_assert_not_null(a->stream);
    cr_assert_eq(b->accepted_count, 1);
    cr_assert_eq(a->sending.io.bytes, KIB(256));
    cr_assert_not(a->sending.done);
    cr_assert_eq(b->receiving.io.bytes, 0);

    sim_loop_pause(b->loop, false);
    struct stream *first = b->stream;
    sim_loop_run_until_idle(loop);
    cr_assert_eq(b->accepted_count, 2);
    cr_assert(b->receiving.done);
    check_filled(b->buffer, KIB(100));
    b->stream = first;
    recv_start(first, &b->receiving, b->buffer + KIB(100), KIB(400), KIB(400));
    sim_loop_run_until_idle(loop);
    cr_assert(b->receiving.done && a->sending.done);
    check_filled(b->buffer, KIB(500));
}

Test(sim_hosts, delivers_after_a_cut_what_was_sent_during_it)
{
    sim_net_cut(sim, a->host, b->host, true);
    fill(a->buffer, KIB(100));
    process_send(a, KIB(100));
    process_recv(b, KIB(100));
    sim_loop_run_for(loop, 60 * NS_PER_S);
    cr_assert(a->sending.done);
    cr_assert_eq(b->receiving.io.bytes, 0);
    cr_assert_gt(count(SIM_NET_CUT), 0);
    stream_close(a->stream);
    sim_loop_run_for(loop, NS_PER_S);

    sim_net_cut(sim, a->host, b->host, false);
    sim_loop_run_until_idle(loop);
    cr_assert(b->receiving.done);
    cr_assert_eq(b->receiving.io.status, STATUS_OK);
    check_filled(b->buffer, KIB(100));
    process_recv(b, 1);
    sim_loop_run_until_idle(loop);
    cr_assert_eq(b->receiving.io.status, STATUS_CLOSED);
}

Test(sim_hosts, cuts_one_direction_only)
{
    sim_net_cut(sim, b->host, a->host, true);
    check_carries(KIB(200));
    /* But b cannot say that it has room again. */
    process_send(a, KIB(200));
    process_recv(b, KIB(200));
    sim_loop_run_until_idle(loop);
    cr_assert_not(a->sending.done);
    cr_assert_eq(a->sending.io.bytes, KIB(56));
    sim_net_cut(sim, b->host, a->host, false);
    sim_loop_run_until_idle(loop);
    cr_assert(a->sending.done && b->receiving.done);
}

Test(sim_hosts, holds_a_reset_that_meets_a_cut)
{
    sim_net_cut(sim, a->host, b->host, true);
    process_recv(a, 1);
    process_recv(b, 1);
    sim_net_reset(sim, a->host, b->host, false);
    sim_loop_run_until_idle(loop);
    cr_assert_eq(count(SIM_NET_RESET), 1);
    cr_assert_eq(a->receiving.io.status, STATUS_IO);
    cr_assert_not(b->receiving.done);
    sim_net_cut(sim, a->host, b->host, false);
    sim_loop_run_until_idle(loop);
    cr_assert_eq(b->receiving.io.status, STATUS_IO);
}

Test(sim_hosts, needs_both_directions_to_connect)
{
    for (int way = 0; way < 2; way++) {
        struct sim_host *from = way == 0 ? a->host : b->host;
        struct sim_host *to = way == 0 ? b->host : a->host;
        sim_net_cut(sim, from, to, true);
        uint64_t met = count(SIM_NET_CUT);
        process_connect(a, "b:7000", NS_PER_S);
        sim_loop_run_for(loop, NS_PER_S - 1);
        cr_assert_not(a->is_connected);
        sim_loop_run_until_idle(loop);
        cr_assert(a->is_connected);
        cr_assert_eq(a->connector.status, STATUS_TIMEOUT);
        cr_assert_eq(count(SIM_NET_CUT), met + 1);

        process_connect(a, "b:7000", 10 * NS_PER_S);
        sim_loop_run_for(loop, NS_PER_S);
        sim_net_cut(sim, from, to, false);
        sim_loop_run_until_idle(loop);
        cr_assert_eq(a->connector.status, STATUS_OK);
        cr_assert_not_null(a->stream);
    }
}

Test(sim_hosts, lets_a_clog_end_by_itself)
{
    uint64_t until_ns = sim_loop_world_ns(loop) + 5 * NS_PER_S;
    sim_loop_set_drift(b->loop, -700);
    sim_net_clog(sim, a->host, b->host, until_ns);
    fill(a->buffer, KIB(10));
    process_send(a, KIB(10));
    process_recv(b, KIB(10));
    sim_loop_run_for(loop, 5 * NS_PER_S - 1);
    cr_assert_eq(b->receiving.io.bytes, 0);
    cr_assert_gt(count(SIM_NET_CLOG), 0);
    cr_assert_eq(count(SIM_NET_CUT), 0);
    sim_loop_run_until_idle(loop);
    cr_assert(b->receiving.done);
    check_filled(b->buffer, KIB(10));
    cr_assert_geq(sim_loop_world_ns(loop), until_ns);
    cr_assert_lt(sim_loop_world_ns(loop), until_ns + NS_PER_MS);
}

Test(sim_hosts, hears_of_room_after_a_clog_of_the_way_back)
{
    uint64_t until_ns = sim_loop_world_ns(loop) + 5 * NS_PER_S;
    sim_net_clog(sim, b->host, a->host, until_ns);
    process_send(a, KIB(500));
    process_recv(b, KIB(500));
    sim_loop_run_for(loop, 4 * NS_PER_S);
    cr_assert_eq(a->sending.io.bytes, KIB(256));
    sim_loop_run_until_idle(loop);
    cr_assert(a->sending.done && b->receiving.done);
    cr_assert_geq(sim_loop_world_ns(loop), until_ns);
}

Test(sim_hosts, slows_one_direction_down)
{
    sim_net_slow(sim, a->host, b->host, 1000);
    uint64_t start_ns = sim_loop_world_ns(loop);
    check_carries(1);
    cr_assert_geq(sim_loop_world_ns(loop), start_ns + 5 * NS_PER_MS);
    cr_assert_leq(sim_loop_world_ns(loop), start_ns + 100 * NS_PER_MS);
    cr_assert_eq(count(SIM_NET_SLOW), 1);
    process_send(b, 1);
    process_recv(a, 1);
    start_ns = sim_loop_world_ns(loop);
    sim_loop_run_until_idle(loop);
    cr_assert_leq(sim_loop_world_ns(loop), start_ns + 100 * NS_PER_US);
    cr_assert_eq(count(SIM_NET_SLOW), 1);
}

Test(sim_hosts, resets_some_of_the_streams_between_two_hosts)
{
    struct stream *streams[40];
    struct transfer transfers[40] = {0};
    uint8_t buffers[40];
    struct process *c = process_start("c", 3);
    process_connect(a, "c:7000", NS_PER_S);
    sim_loop_run_until_idle(loop);
    process_recv(a, 1); /* to c: not meant */
    for (size_t i = 0; i < 40; i++) {
        process_connect(b, "a:7000", NS_PER_S);
        sim_loop_run_until_idle(loop);
        streams[i] = b->stream;
        recv_start(streams[i], &transfers[i], &buffers[i], 1, 1);
    }
    sim_net_reset(sim, a->host, b->host, true);
    sim_loop_run_until_idle(loop);
    unsigned ended = 0;
    for (size_t i = 0; i < 40; i++) {
        ended += transfers[i].done;
        cr_assert(!transfers[i].done || transfers[i].io.status == STATUS_IO);
    }
    cr_assert(ended > 5 && ended < 35);
    cr_assert(count(SIM_NET_RESET) == ended || count(SIM_NET_RESET) == ended + 1); /* The first stream has no recv. */
    cr_assert_not(a->receiving.done);
    sim_net_reset(sim, a->host, NULL, false);
    sim_loop_run_until_idle(loop);
    cr_assert(a->receiving.done);
    cr_assert_eq(count(SIM_NET_RESET), 42);
    for (size_t i = 0; i < 40; i++) {
        cr_assert(transfers[i].done);
        stream_close(streams[i]);
    }
    process_kill(c, false);
}

Test(sim_hosts, refuses_nobody_while_its_backlog_is_full)
{
    sim_net_backlog_full(sim, b->host, true);
    process_connect(a, "b:7000", NS_PER_S);
    sim_loop_run_until_idle(loop);
    cr_assert_eq(a->connector.status, STATUS_TIMEOUT);
    cr_assert_eq(count(SIM_NET_BACKLOG), 1);
    process_connect(a, "b:7000", NS_PER_S);
    sim_loop_run_for(loop, NS_PER_S / 2);
    sim_net_backlog_full(sim, b->host, false);
    sim_loop_run_until_idle(loop);
    cr_assert_eq(a->connector.status, STATUS_OK);
}

Test(sim_hosts, heals_everything_at_once)
{
    uint64_t start_ns = sim_loop_world_ns(loop);
    sim_net_cut(sim, a->host, b->host, true);
    sim_net_clog(sim, a->host, b->host, UINT64_MAX - 1);
    sim_net_clog(sim, b->host, a->host, UINT64_MAX - 1);
    sim_net_slow(sim, a->host, b->host, 10000);
    sim_net_backlog_full(sim, b->host, true);
    process_send(a, KIB(500));
    process_recv(b, KIB(500));
    process_connect(a, "b:7000", 10 * NS_PER_S);
    sim_loop_run_for(loop, NS_PER_S);
    cr_assert_not(a->is_connected);
    struct stream *second = b->stream;
    sim_net_heal(sim);
    sim_loop_run_until_idle(loop);
    cr_assert(a->sending.done && b->receiving.done);
    cr_assert_eq(a->connector.status, STATUS_OK);
    cr_assert_neq(b->stream, second);
    cr_assert_leq(sim_loop_world_ns(loop), start_ns + 2 * NS_PER_S);
}

/* ---- crashes ------------------------------------------------------------------------------------------ */

Test(sim_hosts, tells_the_peers_of_a_process_that_was_killed)
{
    process_recv(a, 1);
    process_recv(b, KIB(100)); /* Half of it is in b's buffer when it dies, more is under way. */
    process_send(a, KIB(500));
    sim_loop_run_for(loop, 100 * NS_PER_US);
    process_connect(b, "a:7000", NS_PER_S);
    uint64_t start_ns = sim_loop_world_ns(loop);
    process_kill(b, false);
    b = NULL;
    cr_assert_eq(sim_net_open_streams(sim), 1);
    sim_loop_run_until_idle(loop);
    cr_assert_eq(a->receiving.io.status, STATUS_IO);
    cr_assert_eq(a->sending.io.status, STATUS_IO);
    cr_assert_geq(sim_loop_world_ns(loop), start_ns + 100 * NS_PER_US);
    cr_assert_leq(sim_loop_world_ns(loop), start_ns + 50 * NS_PER_MS);
    cr_assert_eq(a->accepted_count, 0);
    stream_close(a->stream);
    cr_assert_eq(sim_net_open_streams(sim), 0);

    /* The machine is up: it refuses. */
    process_connect(a, "b:7000", NS_PER_S);
    sim_loop_run_until_idle(loop);
    cr_assert_eq(a->connector.status, STATUS_UNAVAILABLE);
    b = process_start("b", 99);
    process_connect(a, "b:7000", NS_PER_S);
    sim_loop_run_until_idle(loop);
    cr_assert_eq(a->connector.status, STATUS_OK);
    check_carries(KIB(300));
}

Test(sim_hosts, leaves_peers_half_open_when_a_machine_falls_silent)
{
    struct stream *half_open = a->stream;
    process_recv(a, 1);
    process_send(a, KIB(500));
    process_kill(b, true);
    b = NULL;
    cr_assert_eq(count(SIM_NET_HALF_OPEN), 1);
    sim_loop_run_for(loop, 60 * NS_PER_S);
    cr_assert_not(a->receiving.done);
    cr_assert_not(a->sending.done);
    cr_assert_eq(a->sending.io.bytes, KIB(256));

    process_connect(a, "b:7000", NS_PER_S);
    sim_loop_run_for(loop, 2 * NS_PER_S);
    cr_assert(a->is_connected);
    cr_assert_eq(a->connector.status, STATUS_TIMEOUT);

    /* Once the machine runs again, it answers what is sent again with a reset. */
    b = process_start("b", 99);
    sim_loop_run_for(loop, 100 * NS_PER_MS);
    cr_assert(a->receiving.done && a->sending.done);
    cr_assert_eq(a->receiving.io.status, STATUS_IO);
    cr_assert_eq(a->sending.io.status, STATUS_IO);
    stream_close(half_open);
    cr_assert_eq(sim_net_open_streams(sim), 0);
}

Test(sim_hosts, resets_a_half_open_stream_only_when_something_is_sent_on_it)
{
    process_recv(a, 1);
    process_kill(b, true);
    b = process_start("b", 99);
    sim_loop_run_for(loop, 60 * NS_PER_S);
    cr_assert_not(a->receiving.done);
    sim_net_cut(sim, a->host, b->host, true);
    process_send(a, 1);
    sim_loop_run_for(loop, 60 * NS_PER_S);
    cr_assert(a->sending.done);
    cr_assert_eq(a->sending.io.status, STATUS_OK);
    cr_assert_not(a->receiving.done);
    sim_net_cut(sim, a->host, b->host, false);
    sim_loop_run_until_idle(loop);
    cr_assert_eq(a->receiving.io.status, STATUS_IO);
}

Test(sim_hosts, resets_a_half_open_stream_as_soon_as_it_is_used)
{
    process_recv(a, 1);
    process_kill(b, true);
    b = process_start("b", 99);
    sim_loop_run_until_idle(loop);
    cr_assert_not(a->receiving.done);
    process_send(a, 1);
    sim_loop_run_until_idle(loop);
    cr_assert_eq(a->sending.io.status, STATUS_OK);
    cr_assert_eq(a->receiving.io.status, STATUS_IO);
}

Test(sim_hosts, answers_what_was_under_way_when_the_machine_fell_silent)
{
    process_recv(a, 1);
    process_send(a, 1);
    while (!a->sending.done) {
        cr_assert(sim_loop_step(loop));
    }
    process_kill(b, true);
    sim_loop_run_until_idle(loop);
    cr_assert_not(a->receiving.done);
    b = process_start("b", 99);
    sim_loop_run_until_idle(loop);
    cr_assert_eq(a->receiving.io.status, STATUS_IO);
}

Test(sim_hosts, survives_the_death_of_both_sides_and_of_streams_within_one_host)
{
    process_connect(a, "a:7000", NS_PER_S);
    sim_loop_run_until_idle(loop);
    cr_assert_eq(sim_host_open_streams(a->host), 3);
    process_send(a, KIB(500));
    process_send(b, KIB(500));
    process_recv(b, KIB(10));
    sim_loop_run_for(loop, 50 * NS_PER_US);
    process_kill(a, true);
    process_kill(b, false);
    a = b = NULL;
    cr_assert_eq(sim_net_open_streams(sim), 0);
    cr_assert_eq(count(SIM_NET_HALF_OPEN), 1);
    sim_loop_run_until_idle(loop);
}

Test(sim_hosts, forgets_a_connection_that_was_not_accepted_yet)
{
    sim_loop_pause(b->loop, true);
    process_connect(a, "b:7000", NS_PER_S);
    sim_loop_run_until_idle(loop);
    cr_assert_not_null(a->stream);
    process_recv(a, 1);
    process_kill(b, false);
    b = NULL;
    sim_loop_run_until_idle(loop);
    cr_assert_eq(a->receiving.io.status, STATUS_IO);
}

Test(sim_hosts, closes_what_a_closed_listener_was_not_told_of)
{
    sim_loop_pause(b->loop, true);
    process_connect(a, "b:7000", NS_PER_S);
    sim_loop_run_until_idle(loop);
    process_recv(a, 1);
    net_listener_close(b->net, &b->listener);
    sim_loop_pause(b->loop, false);
    sim_loop_run_until_idle(loop);
    cr_assert_eq(b->accepted_count, 1);
    cr_assert_eq(a->receiving.io.status, STATUS_CLOSED);
}

Test(sim_hosts, ends_in_good_order_when_it_has_closed_everything)
{
    process_send(b, 3);
    sim_loop_run_until_idle(loop);
    stream_close(b->stream);
    net_listener_close(b->net, &b->listener);
    process_kill(b, true);
    b = NULL;
    cr_assert_eq(count(SIM_NET_HALF_OPEN), 0);
    process_recv(a, 3);
    sim_loop_run_until_idle(loop);
    cr_assert_eq(a->receiving.io.status, STATUS_OK);
    process_recv(a, 1);
    sim_loop_run_until_idle(loop);
    cr_assert_eq(a->receiving.io.status, STATUS_CLOSED);
    stream_close(a->stream);
    sim_loop_run_until_idle(loop);
    cr_assert_eq(sim_net_open_streams(sim), 0);
}

Test(sim_hosts, waits_for_ever_at_a_clog_that_does_not_end)
{
    sim_net_clog(sim, a->host, b->host, UINT64_MAX);
    process_send(a, 10);
    process_recv(b, 10);
    sim_loop_run_until_idle(loop);
    cr_assert(a->sending.done);
    cr_assert_not(b->receiving.done);
    cr_assert_lt(sim_loop_world_ns(loop), 2 * NS_PER_S);
    sim_net_heal(sim);
    sim_loop_run_until_idle(loop);
    cr_assert(b->receiving.done);
}

/* ---- the same run from the same seed ------------------------------------------------------------------ */

static bool is_flying(const struct transfer *transfer)
{
    return transfer->io.done != NULL && !transfer->done;
}

static bool has_failed(const struct transfer *transfer)
{
    return transfer->done && transfer->io.status != STATUS_OK;
}

/* Keep a process busy: send and receive what it can; close a stream that has failed, and connect to `address` again. */
static void process_tend(struct process *process, const char *address, struct sim_random *random)
{
    process->keeps_first = true;
    if (process->stream != NULL && (has_failed(&process->sending) || has_failed(&process->receiving))) {
        stream_close(process->stream);
        process->stream = NULL;
        return;
    }
    if (process->stream == NULL) {
        bool is_connecting = process->connector.done != NULL && !process->is_connected;
        if (is_flying(&process->sending) || is_flying(&process->receiving) || is_connecting) {
            return;
        }
        process->sending = process->receiving = (struct transfer){0};
        if (address != NULL) {
            process_connect(process, address, NS_PER_S);
        }
        return;
    }
    if (!is_flying(&process->sending)) {
        process_send(process, sim_random_between(random, 1, KIB(400)));
    }
    if (!is_flying(&process->receiving)) {
        process_recv(process, sim_random_between(random, 1, KIB(400)));
    }
}

/* Some minutes of two hosts that talk while everything happens to them. */
static uint64_t trace_of(uint64_t seed)
{
    open_hosts(seed);
    struct sim_random random = sim_random_of(seed);
    for (int round = 0; round < 200; round++) {
        struct process *from = sim_random_percent(&random, 50) ? a : b;
        struct process *to = from == a ? b : a;
        switch (sim_random_below(&random, 8)) {
        case 0:
            sim_net_cut(sim, from->host, to->host, sim_random_percent(&random, 50));
            break;
        case 1:
            sim_net_clog(sim, from->host, to->host, sim_loop_world_ns(loop) + sim_random_below(&random, NS_PER_S));
            break;
        case 2:
            sim_net_slow(sim, from->host, to->host, (uint32_t)sim_random_between(&random, 1, 1000));
            break;
        case 3:
            sim_loop_pause(from->loop, sim_random_percent(&random, 50));
            break;
        case 4:
            sim_loop_set_drift(from->loop, (int32_t)sim_random_below(&random, 2001) - 1000);
            break;
        case 5:
            sim_net_heal(sim);
            break;
        case 6:
            if (sim_random_percent(&random, 30)) {
                sim_net_reset(sim, from->host, to->host, false);
            }
            break;
        case 7:
            if (sim_random_percent(&random, 30)) {
                bool is_a = from == a;
                bool silent = sim_random_percent(&random, 50);
                process_kill(from, silent);
                from = process_start(is_a ? "a" : "b", sim_random_u64(&random));
                *(is_a ? &a : &b) = from;
            }
            break;
        }
        process_tend(a, "b:7000", &random);
        process_tend(b, NULL, &random);
        sim_loop_run_for(loop, sim_random_below(&random, NS_PER_S));
    }
    uint64_t trace = sim_loop_trace(loop);
    teardown_hosts();
    a = b = NULL;
    return trace;
}

Test(sim_net_trace, is_the_same_for_the_same_seed_only)
{
    uint64_t previous = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        uint64_t trace = trace_of(seed);
        cr_assert_eq(trace_of(seed), trace);
        cr_assert_neq(trace, previous);
        previous = trace;
    }
}
