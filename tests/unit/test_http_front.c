/* test_http_front.c - the front as a client sees it: the real HTTP library on a real loop, spoken to over TCP by a raw
 * client, with the gateway in memory. The server runs on a thread of its own; the test is the client. */
#include "base/uring.h"
#include "node/s3/http.h"
#include "node/s3/sigv4.h"
#include "tests/unit/fake_gateway.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define TEXT_BYTES KIB(80)

/* ---- the server -------------------------------------------------------------------------------- */

static struct {
    pthread_t thread;
    sem_t ready;
    struct gateway gateway; /* set up before the start; read after the stop */
    struct http_front_options options;
    struct uring_loop *loop;
    struct http_front *front;
    struct uring_watch watch;
    unsigned port;
    unsigned busy_at_stop;
} server;

static void front_readable(struct uring_watch *watch)
{
    (void)watch;
    http_front_turn(server.front);
}

static void *serve(void *unused)
{
    (void)unused;
    char message[256] = "";
    cr_assert_eq(uring_loop_open(&server.loop, message, sizeof(message)), STATUS_OK, "%s", message);
    struct loop *loop = uring_loop_interface(server.loop);
    server.gateway.loop = loop;
    enum status status = http_front_open(&server.gateway, &server.options, &server.front, message, sizeof(message));
    cr_assert_eq(status, STATUS_OK, "%s", message);
    server.port = (unsigned)atoi(strrchr(http_front_address(server.front), ':') + 1);
    server.watch = (struct uring_watch){.ready = front_readable, .descriptor = http_front_descriptor(server.front)};
    uring_watch_start(server.loop, &server.watch);
    sem_post(&server.ready);
    uring_loop_run(server.loop);
    server.busy_at_stop = http_front_busy(server.front);
    uring_watch_stop(server.loop, &server.watch);
    http_front_close(server.front);
    for (unsigned i = 0; i < 10; i++) {
        uring_loop_turn(server.loop, loop_now_ns(loop) + NS_PER_MS); /* What was in flight ends here. */
    }
    uring_loop_close(server.loop);
    return NULL;
}

static void prepare(void)
{
    memset(&server, 0, sizeof(server));
    fake_gateway_open(&server.gateway, NULL);
    fake_gateway_add_bucket(&server.gateway, "bucket");
    server.options = http_front_default_options();
    server.options.listen = "127.0.0.1:0";
    server.options.connections_max = 8;
    cr_assert_eq(sem_init(&server.ready, 0, 0), 0);
}

static void start(void)
{
    cr_assert_eq(pthread_create(&server.thread, NULL, serve, NULL), 0);
    while (sem_wait(&server.ready) != 0) {
    }
}

static void stop(void)
{
    uring_loop_stop(server.loop);
    pthread_join(server.thread, NULL);
}

static void cleanup(void)
{
    fake_gateway_close(&server.gateway);
    sem_destroy(&server.ready);
}

TestSuite(http_front, .init = prepare, .fini = cleanup, .timeout = 60);

/* ---- the client -------------------------------------------------------------------------------- */

struct answer {
    unsigned status; /* 0: the connection was closed before an answer */
    char head[KIB(8)];
    char *body;
    size_t body_bytes;
    bool whole; /* Content-Length bytes came */
};

static struct answer answer;

static int dial(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)server.port)};
    struct timeval patience = {.tv_sec = 20};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_geq(fd, 0);
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static bool send_all(int fd, const void *data, size_t bytes)
{
    const char *at = data;
    while (bytes > 0) {
        ssize_t sent = send(fd, at, bytes, MSG_NOSIGNAL);
        if (sent <= 0) {
            return false;
        }
        at += sent;
        bytes -= (size_t)sent;
    }
    return true;
}

/* Write the head of a signed request; `extra` are more header lines, unsigned. */
static size_t write_head(char *text, const char *method, const char *target, const char *access_key, size_t length,
                         const char *extra)
{
    char timestamp[DATE_AMZ_BYTES];
    char authorization[1024];
    struct timespec now;
    cr_assert_eq(clock_gettime(CLOCK_REALTIME, &now), 0);
    date_to_amz((uint64_t)now.tv_sec * 1000, timestamp);
    struct sigv4_field headers[] = {{text_span_of("host"), text_span_of("h")},
                                    {text_span_of("x-amz-content-sha256"), text_span_of(SIGV4_UNSIGNED_PAYLOAD)},
                                    {text_span_of("x-amz-date"), text_span_of(timestamp)}};
    struct text_span rest = text_span_of(target);
    struct sigv4_request request = {.method = text_span_of(method),
                                    .path = text_span_cut(&rest, '?'),
                                    .headers = headers,
                                    .header_count = 3,
                                    .payload_hash = text_span_of(SIGV4_UNSIGNED_PAYLOAD)};
    request.query = rest;
    cr_assert_eq(
        sigv4_sign(&request, access_key, FAKE_SECRET, "us-east-1", timestamp, authorization, sizeof(authorization)),
        STATUS_OK);
    char length_line[48] = "";
    if (length != SIZE_MAX) {
        (void)snprintf(length_line, sizeof(length_line), "Content-Length: %zu\r\n", length);
    }
    int bytes = snprintf(text, TEXT_BYTES,
                         "%s %s HTTP/1.1\r\nHost: h\r\nx-amz-date: %s\r\nx-amz-content-sha256: %s\r\n"
                         "Authorization: %s\r\n%s%s\r\n",
                         method, target, timestamp, SIGV4_UNSIGNED_PAYLOAD, authorization, length_line, extra);
    cr_assert(bytes > 0 && (size_t)bytes < TEXT_BYTES);
    return (size_t)bytes;
}

static char text[TEXT_BYTES];

static void send_head(int fd, const char *method, const char *target, const char *access_key, size_t length,
                      const char *extra)
{
    size_t bytes = write_head(text, method, target, access_key, length, extra);
    cr_assert(send_all(fd, text, bytes));
}

/* The value of a header, in a static buffer; NULL: there is none. */
static const char *header(const char *name)
{
    static char value[256];
    size_t name_bytes = strlen(name);
    for (const char *line = answer.head; line != NULL; line = strstr(line, "\r\n")) {
        line += strncmp(line, "\r\n", 2) == 0 ? 2 : 0;
        if (strncasecmp(line, name, name_bytes) == 0 && line[name_bytes] == ':') {
            (void)snprintf(value, sizeof(value), "%.*s", (int)strcspn(line + name_bytes + 2, "\r"),
                           line + name_bytes + 2);
            return value;
        }
    }
    return NULL;
}

/* Read one answer, byte by byte up to the end of its head, so that the next one stays in the socket. */
static unsigned receive(int fd, bool head_only)
{
    size_t used = 0;
    free(answer.body);
    memset(&answer, 0, sizeof(answer));
    while (used < 4 || memcmp(answer.head + used - 4, "\r\n\r\n", 4) != 0) {
        cr_assert_lt(used, sizeof(answer.head) - 1);
        ssize_t got = recv(fd, answer.head + used, 1, 0);
        cr_assert(got >= 0 || errno == ECONNRESET, "no answer in time");
        if (got <= 0) {
            return 0;
        }
        used++;
    }
    cr_assert_eq(sscanf(answer.head, "HTTP/1.1 %u", &answer.status), 1);
    const char *length = header("Content-Length");
    size_t wanted = length == NULL || head_only ? 0 : (size_t)strtoull(length, NULL, 10);
    answer.body = calloc(1, wanted + 1);
    cr_assert_not_null(answer.body);
    while (answer.body_bytes < wanted) {
        ssize_t got = recv(fd, answer.body + answer.body_bytes, wanted - answer.body_bytes, 0);
        if (got <= 0) {
            return answer.status;
        }
        answer.body_bytes += (size_t)got;
    }
    answer.whole = true;
    return answer.status;
}

static unsigned request(int fd, const char *method, const char *target, const char *access_key, const void *body,
                        size_t bytes)
{
    send_head(fd, method, target, access_key, bytes, "");
    cr_assert(send_all(fd, body, bytes));
    return receive(fd, strcmp(method, "HEAD") == 0);
}

/* Nothing more comes: the server has closed the connection. */
static bool is_closed(int fd)
{
    char byte;
    ssize_t got = recv(fd, &byte, 1, 0);
    return got == 0 || (got < 0 && errno == ECONNRESET);
}

/* ---- tests ------------------------------------------------------------------------------------- */

Test(http_front, keeps_connections_over_requests_of_every_kind)
{
    start();
    int fd = dial();
    cr_assert_eq(request(fd, "PUT", "/bucket/key%20a?x-id=PutObject", FAKE_EDITOR, "hello", 5), 200);
    cr_assert_str_eq(header("Server"), "Trilith");
    cr_assert_not_null(header("x-amz-request-id"));
    cr_assert_not_null(header("Date"));
    cr_assert_eq(request(fd, "GET", "/bucket/key%20a", FAKE_EDITOR, "", 0), 200);
    cr_assert_str_eq(answer.body, "hello");
    cr_assert_eq(request(fd, "HEAD", "/bucket/key%20a", FAKE_EDITOR, "", 0), 200);
    cr_assert_str_eq(header("Content-Length"), "5");
    cr_assert_eq(request(fd, "HEAD", "/bucket/none", FAKE_EDITOR, "", 0), 404);
    cr_assert_eq(request(fd, "GET", "/bucket/none", FAKE_EDITOR, "", 0), 404);
    cr_assert_not_null(strstr(answer.body, "NoSuchKey"));
    cr_assert_eq(request(fd, "GET", "/bucket?list-type=2", FAKE_EDITOR, "", 0), 200);
    cr_assert_not_null(strstr(answer.body, "<Key>key a</Key>"));
    cr_assert_eq(request(fd, "DELETE", "/bucket/key%20a", FAKE_EDITOR, "", 0), 204);
    cr_assert_eq(request(fd, "GET", "/", FAKE_EDITOR, "", 0), 200);
    close(fd);
    stop();
}

Test(http_front, says_continue_only_when_the_body_is_admitted)
{
    start();
    int fd = dial();
    send_head(fd, "PUT", "/bucket/key", FAKE_EDITOR, 5, "Expect: 100-continue\r\n");
    cr_assert_eq(receive(fd, true), 100);
    cr_assert(send_all(fd, "hello", 5));
    cr_assert_eq(receive(fd, false), 200);
    cr_assert_eq(request(fd, "GET", "/bucket/key", FAKE_EDITOR, "", 0), 200);
    cr_assert_str_eq(answer.body, "hello");
    close(fd);
    fd = dial();
    send_head(fd, "PUT", "/bucket/key", FAKE_VIEWER, 5, "Expect: 100-continue\r\n");
    cr_assert_eq(receive(fd, false), 403);
    cr_assert_not_null(strstr(answer.body, "AccessDenied"));
    cr_assert(is_closed(fd));
    close(fd);
    stop();
}

Test(http_front, reads_a_refused_body_away_and_keeps_the_connection)
{
    static char body[200000];
    start();
    int fd = dial();
    cr_assert_eq(request(fd, "PUT", "/bucket/key", FAKE_VIEWER, body, sizeof(body)), 403);
    cr_assert_eq(request(fd, "GET", "/bucket/key", FAKE_VIEWER, "", 0), 404);
    close(fd);
    stop();
}

Test(http_front, closes_under_a_refused_body_that_is_too_long_to_read_away)
{
    server.options.drain_bytes_max = 1000;
    start();
    int fd = dial();
    send_head(fd, "PUT", "/bucket/key", FAKE_VIEWER, 1001, "");
    cr_assert_eq(receive(fd, false), 403);
    cr_assert(is_closed(fd));
    close(fd);
    stop();
}

Test(http_front, answers_pipelined_requests_in_order)
{
    fake_gateway_add_object(&server.gateway, "bucket", "one", "1", 1);
    fake_gateway_add_object(&server.gateway, "bucket", "two", "22", 2);
    start();
    int fd = dial();
    static char both[2 * TEXT_BYTES];
    size_t bytes = write_head(both, "GET", "/bucket/one", FAKE_VIEWER, SIZE_MAX, "");
    bytes += write_head(both + bytes, "GET", "/bucket/two", FAKE_VIEWER, SIZE_MAX, "");
    cr_assert(send_all(fd, both, bytes));
    cr_assert_eq(receive(fd, false), 200);
    cr_assert_str_eq(answer.body, "1");
    cr_assert_eq(receive(fd, false), 200);
    cr_assert_str_eq(answer.body, "22");
    close(fd);
    stop();
}

static char *pattern(size_t bytes)
{
    char *data = malloc(bytes);
    cr_assert_not_null(data);
    for (size_t i = 0; i < bytes; i++) {
        data[i] = (char)(i * 31 + i / 997);
    }
    return data;
}

Test(http_front, moves_large_bodies_through_pauses_both_ways)
{
    size_t bytes = MIB(6) + 12345;
    char *data = pattern(bytes);
    server.gateway.put_window = 20000;
    server.gateway.get_piece = 50000;
    start();
    int fd = dial();
    cr_assert_eq(request(fd, "PUT", "/bucket/key", FAKE_EDITOR, data, bytes), 200);
    cr_assert_eq(request(fd, "GET", "/bucket/key", FAKE_EDITOR, "", 0), 200);
    cr_assert(answer.whole);
    cr_assert_eq(memcmp(answer.body, data, bytes), 0);
    close(fd);
    stop();
    cr_assert_eq(server.gateway.puts_open, 0);
    free(data);
}

Test(http_front, takes_a_body_that_comes_in_drops)
{
    start();
    int fd = dial();
    send_head(fd, "PUT", "/bucket/key", FAKE_EDITOR, 50, "");
    for (unsigned i = 0; i < 50; i++) {
        cr_assert(send_all(fd, "x", 1));
    }
    cr_assert_eq(receive(fd, false), 200);
    close(fd);
    stop();
    cr_assert_eq(fake_gateway_find(&server.gateway, "bucket", "key")->size, 50);
}

Test(http_front, closes_connections_on_which_nothing_moves)
{
    server.options.idle_timeout_s = 1;
    start();
    int half_head = dial();
    int half_body = dial();
    int silent = dial();
    cr_assert(send_all(half_head, "GET /bucket/key HT", 18));
    send_head(half_body, "PUT", "/bucket/key", FAKE_EDITOR, 50, "");
    cr_assert(send_all(half_body, "xxx", 3));
    cr_assert(is_closed(half_head));
    cr_assert(is_closed(half_body));
    cr_assert(is_closed(silent));
    close(half_head);
    close(half_body);
    close(silent);
    stop();
    cr_assert_eq(server.busy_at_stop, 0);
    cr_assert_eq(server.gateway.puts_open, 0);
    cr_assert_null(fake_gateway_find(&server.gateway, "bucket", "key"));
}

Test(http_front, outlives_garbage)
{
    static const char *const garbage[] = {
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "\x16\x03\x01\x02\x01\x01\xfc\x03\x03",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\n no colon\r\n\r\n",
        "PUT /bucket/key HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n",
        "PUT /b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        "GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n",
        "PUT /bucket/key HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"};
    fake_gateway_add_object(&server.gateway, "bucket", "key", "hello", 5);
    server.options.idle_timeout_s = 1; /* What is no request at all is waited for. */
    start();
    for (size_t i = 0; i < ARRAY_LENGTH(garbage); i++) {
        int fd = dial();
        cr_assert(send_all(fd, garbage[i], strlen(garbage[i])));
        cr_assert_eq(shutdown(fd, SHUT_WR), 0);
        unsigned status = receive(fd, true);
        cr_assert(status == 0 || status >= 400, "%zu: %u", i, status);
        close(fd);
    }
    int fd = dial();
    cr_assert_eq(request(fd, "GET", "/bucket/key", FAKE_VIEWER, "", 0), 200);
    close(fd);
    stop();
}

Test(http_front, refuses_heads_that_are_too_large)
{
    start();
    int fd = dial();
    memset(text, 'a', sizeof(text));
    cr_assert(send_all(fd, "GET / HTTP/1.1\r\nHost: h\r\nX: ", 28));
    (void)send_all(fd, text, sizeof(text));
    unsigned status = receive(fd, true);
    cr_assert(status == 0 || status == 431 || status == 400, "%u", status);
    close(fd);

    fd = dial();
    cr_assert(send_all(fd, "GET /bucket HTTP/1.1\r\nHost: h\r\n", 31));
    for (unsigned i = 0; i < 200; i++) {
        cr_assert(send_all(fd, "A: b\r\n", 6));
    }
    cr_assert(send_all(fd, "\r\n", 2));
    cr_assert_eq(receive(fd, false), 400);
    cr_assert_not_null(strstr(answer.body, "RequestHeaderSectionTooLarge"));
    close(fd);

    fd = dial();
    memset(text, 'a', 20000);
    memcpy(text, "GET /", 5);
    strcpy(text + 20000, " HTTP/1.1\r\nHost: h\r\n\r\n");
    cr_assert(send_all(fd, text, strlen(text)));
    cr_assert_eq(receive(fd, false), 414);
    close(fd);
    stop();
}

Test(http_front, wants_a_length)
{
    start();
    int fd = dial();
    send_head(fd, "PUT", "/bucket/key", FAKE_EDITOR, SIZE_MAX, "Transfer-Encoding: chunked\r\n");
    cr_assert_eq(receive(fd, false), 411);
    close(fd);
    stop();
}

Test(http_front, serves_no_more_connections_than_its_limit_at_once)
{
    server.options.connections_max = 2;
    fake_gateway_add_object(&server.gateway, "bucket", "key", "hello", 5);
    start();
    int first = dial();
    int second = dial();
    cr_assert_eq(request(first, "GET", "/bucket/key", FAKE_VIEWER, "", 0), 200);
    cr_assert_eq(request(second, "GET", "/bucket/key", FAKE_VIEWER, "", 0), 200);
    int third = dial(); /* The kernel takes it; the front does not, yet. */
    send_head(third, "GET", "/bucket/key", FAKE_VIEWER, SIZE_MAX, "");
    cr_assert_eq(request(second, "GET", "/bucket/key", FAKE_VIEWER, "", 0), 200);
    char byte;
    cr_assert_lt(recv(third, &byte, 1, MSG_DONTWAIT), 0);
    close(first);
    cr_assert_eq(receive(third, false), 200);
    close(second);
    close(third);
    stop();
}

Test(http_front, breaks_the_connection_when_an_object_breaks)
{
    size_t bytes = MIB(1);
    char *data = pattern(bytes);
    fake_gateway_add_object(&server.gateway, "bucket", "key", data, bytes);
    server.gateway.get_piece = 70000;
    server.gateway.get_fails_at = 400000;
    start();
    int fd = dial();
    cr_assert_eq(request(fd, "GET", "/bucket/key", FAKE_VIEWER, "", 0), 200);
    cr_assert_not(answer.whole);
    cr_assert_leq(answer.body_bytes, 400000);
    cr_assert_eq(memcmp(answer.body, data, answer.body_bytes), 0);
    cr_assert(is_closed(fd));
    close(fd);
    stop();
    cr_assert_eq(server.gateway.gets_open, 0);
    free(data);
}

Test(http_front, answers_when_a_write_fails_in_the_middle)
{
    size_t bytes = MIB(2);
    char *data = pattern(bytes);
    server.gateway.put_fails_at = 100000;
    server.gateway.put_status = STATUS_UNAVAILABLE;
    start();
    int fd = dial();
    cr_assert_eq(request(fd, "PUT", "/bucket/key", FAKE_EDITOR, data, bytes), 503);
    cr_assert_eq(request(fd, "GET", "/bucket/key", FAKE_EDITOR, "", 0), 404);
    close(fd);
    stop();
    free(data);
}

Test(http_front, stores_nothing_when_the_client_goes_away)
{
    server.gateway.put_window = 100;
    start();
    int fd = dial();
    send_head(fd, "PUT", "/bucket/key", FAKE_EDITOR, 100000, "");
    cr_assert(send_all(fd, text, 50000));
    close(fd);
    fd = dial();
    cr_assert_eq(request(fd, "GET", "/bucket/key", FAKE_EDITOR, "", 0), 404);
    close(fd);
    stop();
    cr_assert_eq(server.gateway.puts_open, 0);
    cr_assert_null(fake_gateway_find(&server.gateway, "bucket", "key"));
}

Test(http_front, closes_in_order_while_requests_wait)
{
    server.gateway.hold_calls = true;
    start();
    int fd = dial();
    int other = dial();
    send_head(fd, "GET", "/bucket", FAKE_VIEWER, SIZE_MAX, "");
    cr_assert_eq(request(other, "GET", "/nobody", "AKIDNOBODY", "", 0), 403); /* By now the first one waits. */
    stop();
    cr_assert_eq(receive(fd, false), 0);
    close(fd);
    close(other);
}

Test(http_front, says_why_it_cannot_listen)
{
    char message[256];
    struct http_front *front;
    start();
    static const char *const bad[] = {"localhost", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "no.such.host:1", ""};
    struct http_front_options options = server.options;
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        options.listen = bad[i];
        cr_assert_eq(http_front_open(&server.gateway, &options, &front, message, sizeof(message)), STATUS_INVALID);
        cr_assert_not_null(strstr(message, "listen"));
    }
    stop();
}
