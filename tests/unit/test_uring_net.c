/* test_uring_net.c - TCP streams on the loopback: all bytes however they are cut, and every way a stream can end. */
#include "base/uring.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define ECHO_BYTES MIB(64)
#define PIECE_MAX  ((size_t)300000)

struct transfer {
    struct stream_io io;
    bool done;
};

static struct uring_loop *reactor;
static struct loop *loop;
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
    if (server != NULL) {
        stream_close(server);
    }
    server = stream;
}

static void connect_done(struct net_connect *which, struct stream *stream)
{
    cr_assert_eq(which, &connector);
    client = stream;
    connected = true;
}

static enum status connect_to(const char *address, uint64_t deadline_ns)
{
    connected = false;
    net_connect(net, &connector, address, deadline_ns, connect_done);
    cr_assert_not(connected);
    while (!connected) {
        uring_loop_turn(reactor, UINT64_MAX);
    }
    return connector.status;
}

static void setup(void)
{
    char message[256] = "";
    cr_assert_eq(uring_loop_open(&reactor, message, sizeof(message)), STATUS_OK, "%s", message);
    loop = uring_loop_interface(reactor);
    net = uring_loop_net(reactor);
    listener.accepted = accepted;
    cr_assert_eq(net_listen(net, &listener, "127.0.0.1:0"), STATUS_OK);
    cr_assert_eq(connect_to(listener.address, UINT64_MAX), STATUS_OK);
    while (server == NULL) {
        uring_loop_turn(reactor, UINT64_MAX);
    }
}

static void teardown(void)
{
    if (client != NULL) {
        stream_close(client);
    }
    if (server != NULL) {
        stream_close(server);
    }
    net_listener_close(net, &listener);
    uring_loop_close(reactor);
}

TestSuite(uring_net, .init = setup, .fini = teardown, .timeout = 120);

static enum status transfer_wait(struct transfer *transfer)
{
    while (!transfer->done) {
        uring_loop_turn(reactor, UINT64_MAX);
    }
    transfer->done = false;
    return transfer->io.status;
}

static enum status recv_wait(struct stream *stream, void *buffer, size_t min, size_t max, size_t *bytes)
{
    struct transfer transfer = {0};
    stream_recv(stream, &transfer.io, buffer, min, max, transfer_done);
    cr_assert_not(transfer.done);
    enum status status = transfer_wait(&transfer);
    *bytes = transfer.io.bytes;
    return status;
}

static enum status send_wait(struct stream *stream, const char *text)
{
    struct transfer transfer = {0};
    struct iovec vector = {.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};
    stream_send(stream, &transfer.io, &vector, 1, transfer_done);
    cr_assert_not(transfer.done);
    return transfer_wait(&transfer);
}

/* ---- the echo ------------------------------------------------------------------------------------------- */

/* On a reactor of its own thread: sends back what it receives, in pieces of whatever size came. */
struct echo {
    struct net_listener listener;
    struct stream *stream;
    struct stream_io recv;
    struct stream_io send;
    struct iovec vector;
    struct uring_loop *reactor;
    uint8_t buffer[100000];
};

static struct echo echo;
static pthread_barrier_t echo_ready;

static void echo_received(struct stream_io *io);

static void echo_sent(struct stream_io *io)
{
    cr_assert_eq(io->status, STATUS_OK);
    stream_recv(echo.stream, &echo.recv, echo.buffer, 1, sizeof(echo.buffer), echo_received);
}

static void echo_received(struct stream_io *io)
{
    if (io->status != STATUS_OK) {
        cr_assert_eq(io->status, STATUS_CLOSED);
        stream_close(echo.stream);
        uring_loop_stop(echo.reactor);
        return;
    }
    echo.vector = (struct iovec){.iov_base = echo.buffer, .iov_len = io->bytes};
    stream_send(echo.stream, &echo.send, &echo.vector, 1, echo_sent);
}

static void echo_accepted(struct net_listener *which, struct stream *stream)
{
    (void)which;
    echo.stream = stream;
    stream_recv(stream, &echo.recv, echo.buffer, 1, sizeof(echo.buffer), echo_received);
}

static void *echo_run(void *unused)
{
    (void)unused;
    char message[256];
    cr_assert_eq(uring_loop_open(&echo.reactor, message, sizeof(message)), STATUS_OK);
    echo.listener.accepted = echo_accepted;
    cr_assert_eq(net_listen(uring_loop_net(echo.reactor), &echo.listener, "[::1]:0"), STATUS_OK);
    pthread_barrier_wait(&echo_ready);
    uring_loop_run(echo.reactor);
    net_listener_close(uring_loop_net(echo.reactor), &echo.listener);
    uring_loop_close(echo.reactor);
    return NULL;
}

static uint32_t draw_state = 12345;

static size_t draw_below(size_t bound)
{
    draw_state = draw_state * 1664525u + 1013904223u;
    return (size_t)(draw_state >> 8) % bound;
}

/* Cut the next piece of `data` into up to 8 vectors, some of them empty. Returns its size. */
static size_t cut_piece(uint8_t *data, size_t left, struct iovec vectors[8], unsigned *count)
{
    size_t piece = 1 + draw_below(PIECE_MAX < left ? PIECE_MAX : left);
    size_t at = 0;
    *count = 1 + (unsigned)draw_below(8);
    for (unsigned i = 0; i < *count; i++) {
        size_t bytes = i + 1 == *count ? piece - at : draw_below(piece - at + 1);
        vectors[i] = (struct iovec){.iov_base = data + at, .iov_len = bytes};
        at += bytes;
    }
    return piece;
}

Test(uring_net, gets_64_mib_back_from_another_reactor_however_they_are_cut)
{
    pthread_t thread;
    pthread_barrier_init(&echo_ready, NULL, 2);
    cr_assert_eq(pthread_create(&thread, NULL, echo_run, NULL), 0);
    pthread_barrier_wait(&echo_ready);
    stream_close(client);
    cr_assert_eq(connect_to(echo.listener.address, loop_now_ns(loop) + NS_PER_S), STATUS_OK);

    uint8_t *data = malloc(ECHO_BYTES);
    uint8_t *back = calloc(1, ECHO_BYTES);
    for (size_t i = 0; i < ECHO_BYTES; i++) {
        data[i] = (uint8_t)(i * 2654435761u >> 13);
    }
    struct transfer sending = {.done = true};
    struct transfer receiving = {.done = true};
    struct iovec vectors[8];
    unsigned count;
    size_t sent = 0;
    size_t received = 0;
    while (received < ECHO_BYTES) {
        if (sending.done && sent < ECHO_BYTES) {
            sending.done = false;
            sent += cut_piece(data + sent, ECHO_BYTES - sent, vectors, &count);
            stream_send(client, &sending.io, vectors, count, transfer_done);
        }
        if (receiving.done) {
            size_t max = 1 + draw_below(ECHO_BYTES - received < PIECE_MAX ? ECHO_BYTES - received : PIECE_MAX);
            max = max < sent - received || sent == ECHO_BYTES ? max : sent - received;
            size_t min = draw_below(2) == 0 || max == 0 ? max : 1 + draw_below(max);
            if (max > 0) {
                receiving.done = false;
                stream_recv(client, &receiving.io, back + received, min, max, transfer_done);
            }
        }
        uring_loop_turn(reactor, loop_now_ns(loop) + NS_PER_MS);
        if (receiving.done && receiving.io.bytes > 0) {
            cr_assert_eq(receiving.io.status, STATUS_OK);
            received += receiving.io.bytes;
            receiving.io.bytes = 0;
        }
    }
    cr_assert_arr_eq(data, back, ECHO_BYTES);
    stream_close(client);
    client = NULL;
    pthread_join(thread, NULL);
    free(data);
    free(back);
}

/* ---- how streams end -------------------------------------------------------------------------------------- */

Test(uring_net, receives_as_soon_as_the_minimum_is_there)
{
    char buffer[16];
    size_t bytes;
    cr_assert_eq(send_wait(client, "hello"), STATUS_OK);
    cr_assert_eq(recv_wait(server, buffer, 2, 16, &bytes), STATUS_OK);
    cr_assert(bytes >= 2 && bytes <= 5);
}

Test(uring_net, reads_the_rest_and_then_says_that_the_peer_has_closed)
{
    char buffer[16];
    size_t bytes;
    cr_assert_eq(send_wait(client, "bye"), STATUS_OK);
    stream_close(client);
    client = NULL;
    cr_assert_eq(recv_wait(server, buffer, 3, 3, &bytes), STATUS_OK);
    cr_assert_eq(recv_wait(server, buffer, 1, 16, &bytes), STATUS_CLOSED);
}

Test(uring_net, says_closed_when_the_peer_leaves_in_the_middle)
{
    char buffer[16];
    size_t bytes;
    cr_assert_eq(send_wait(client, "half"), STATUS_OK);
    stream_close(client);
    client = NULL;
    cr_assert_eq(recv_wait(server, buffer, 8, 8, &bytes), STATUS_CLOSED);
    cr_assert_eq(bytes, 4);
}

Test(uring_net, says_closed_to_a_sender_whose_peer_is_gone_and_raises_no_signal)
{
    enum status status = STATUS_OK;
    stream_close(client);
    client = NULL;
    for (int i = 0; i < 100 && status == STATUS_OK; i++) {
        status = send_wait(server, "is anybody there?");
        uring_loop_turn(reactor, loop_now_ns(loop) + NS_PER_MS);
    }
    cr_assert_eq(status, STATUS_CLOSED);
}

Test(uring_net, cancels_what_is_in_flight_when_its_owner_closes)
{
    struct transfer receiving = {0};
    struct transfer sending = {0};
    char buffer[16];
    uint8_t *data = calloc(1, ECHO_BYTES); /* More than the sockets take, so it stays in flight. */
    struct iovec vector = {.iov_base = data, .iov_len = ECHO_BYTES};
    stream_recv(client, &receiving.io, buffer, 16, 16, transfer_done);
    stream_send(client, &sending.io, &vector, 1, transfer_done);
    for (int i = 0; i < 5; i++) {
        uring_loop_turn(reactor, loop_now_ns(loop) + NS_PER_MS);
    }
    stream_close(client);
    client = NULL;
    cr_assert_not(receiving.done || sending.done);
    cr_assert_eq(transfer_wait(&receiving), STATUS_CANCELLED);
    cr_assert_eq(transfer_wait(&sending), STATUS_CANCELLED);
    free(data);
}

Test(uring_net, cancels_what_was_never_submitted)
{
    struct transfer receiving = {0};
    char buffer[16];
    stream_recv(client, &receiving.io, buffer, 16, 16, transfer_done);
    stream_close(client);
    client = NULL;
    cr_assert_eq(transfer_wait(&receiving), STATUS_CANCELLED);
}

Test(uring_net, refuses_a_connection_where_nobody_listens)
{
    char address[NET_ADDRESS_BYTES];
    memcpy(address, listener.address, sizeof(address));
    stream_close(client);
    net_listener_close(net, &listener);
    for (int i = 0; i < 3; i++) {
        uring_loop_turn(reactor, loop_now_ns(loop) + NS_PER_MS);
    }
    cr_assert_eq(connect_to(address, UINT64_MAX), STATUS_UNAVAILABLE);
    cr_assert_null(client);
    cr_assert_eq(net_listen(net, &listener, address), STATUS_OK, "the port must be free again");
}

Test(uring_net, gives_up_connecting_at_the_deadline)
{
    /* 192.0.2.0/24 is reserved for documentation (RFC 5737): either nothing answers, or there is no route. */
    stream_close(client);
    uint64_t start_ns = loop_now_ns(loop);
    enum status status = connect_to("192.0.2.1:9", start_ns + 30 * NS_PER_MS);
    cr_assert(status == STATUS_TIMEOUT || status == STATUS_UNAVAILABLE);
    cr_assert(status == STATUS_UNAVAILABLE || loop_now_ns(loop) >= start_ns + 30 * NS_PER_MS);
}

Test(uring_net, times_out_a_connect_that_is_past_its_deadline_already)
{
    stream_close(client);
    enum status status = connect_to(listener.address, 1);
    cr_assert(status == STATUS_TIMEOUT || status == STATUS_OK, "loopback may win the race");
}

Test(uring_net, refuses_addresses_it_can_not_read)
{
    static const char *const bad[] = {
        "", "nonsense", "127.0.0.1", "127.0.0.1:", ":80", "127.0.0.1:99999x", "host:80", "[::1:80"};
    stream_close(client);
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        struct net_listener refused = {.accepted = accepted};
        cr_assert_eq(net_listen(net, &refused, bad[i]), STATUS_INVALID, "'%s'", bad[i]);
        cr_assert_eq(connect_to(bad[i], UINT64_MAX), STATUS_INVALID, "'%s'", bad[i]);
    }
}

Test(uring_net, lets_two_listeners_share_an_address)
{
    struct net_listener second = {.accepted = accepted};
    cr_assert_eq(net_listen(net, &second, listener.address), STATUS_OK);
    cr_assert_str_eq(second.address, listener.address);
    net_listener_close(net, &second);
}
