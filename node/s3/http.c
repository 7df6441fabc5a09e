/* http.c - see http.h. The only file that names libmicrohttpd.
 *
 * How the library (0.9.75) calls us, and what follows from it:
 *   - target_received() runs when the request line is read; what it returns is the request's context. Only there the
 *     target is seen as it was sent.
 *   - handle_request() runs first when the head is complete. Suspended there, it runs again in the same way after the
 *     resume; the library sends "100 Continue" only when it returned neither suspended nor with an answer.
 *   - An answer queued in such a first call makes the library close the connection afterwards, whatever the request. So
 *     answers are queued in the last call, after the body, whenever the connection is worth keeping.
 *   - In between it runs with pieces of the body. What it leaves is offered again; unless suspended, at once.
 *   - A suspended connection has no timeout, and a client that goes away is noticed after the resume.
 *   - A client that closes in the same moment as it sends its last bytes is noticed only by the idle timeout: the library
 *     takes a short read for the end of what epoll (edge-triggered) has announced. So that timeout should not be off.
 *   - request_completed() runs once per request that target_received() saw, before the library forgets it. */
#include "node/s3/http.h"

#include "base/log.h"
#include "node/s3/exchange.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LISTEN_BACKLOG     1024
#define READ_BLOCK_BYTES   KIB(120) /* of an answer, per call of the library; below malloc's threshold for mmap */
#define SPARE_EXCHANGES    16       /* for requests whose last call still ends after their connection has gone */
#define ADDRESS_BYTES      128
#define DOMAIN_BYTES       256
#define LIBRARY_LINE_BYTES 256

struct http_exchange {
    struct s3_exchange exchange;
    struct http_front *front;
    struct MHD_Connection *connection; /* NULL when the library has forgotten the request */
    bool begun;                        /* the head has been handed to the exchange */
    bool head_passed;                  /* the library goes on to the body, or to the last call */
    bool suspended;
    uint64_t dropped_bytes;
    struct list_link link; /* of the free ones */
};

struct http_front {
    struct loop *loop;
    struct s3_service service;
    struct MHD_Daemon *daemon;
    struct MHD_Response *overload; /* when there is no exchange: never, if the pool is right */
    struct http_exchange *pool;
    unsigned pool_count;
    unsigned busy;
    struct list free;
    uint64_t drain_bytes_max;
    unsigned connections_max;
    bool full; /* of connections, after the last turn */
    struct loop_task turn_task;
    bool turn_deferred;
    struct loop_timer timer;
    bool closing;
    int descriptor;
    char address[ADDRESS_BYTES];
    char domain[DOMAIN_BYTES];
};

struct http_front_options http_front_default_options(void)
{
    return (struct http_front_options){.listen = "127.0.0.1:9000",
                                       .connections_max = 1024,
                                       .connection_memory_bytes = KIB(64),
                                       .idle_timeout_s = 60,
                                       .drain_bytes_max = MIB(64)};
}

/* ---- the pool ---------------------------------------------------------------------------------- */

static void free_when_idle(struct http_front *front)
{
    if (!front->closing || front->busy > 0 || front->turn_deferred) {
        return;
    }
    for (unsigned i = 0; i < front->pool_count; i++) {
        s3_exchange_deinit(&front->pool[i].exchange);
    }
    free(front->pool);
    free(front);
}

static void turn_later(struct http_front *front)
{
    if (!front->turn_deferred) {
        front->turn_deferred = true;
        loop_defer(front->loop, &front->turn_task);
    }
}

static void exchange_woken(struct s3_exchange *exchange)
{
    struct http_exchange *http = CONTAINER_OF(exchange, struct http_exchange, exchange);
    if (http->suspended) {
        http->suspended = false;
        MHD_resume_connection(http->connection);
        turn_later(http->front);
    }
}

static void exchange_released(struct s3_exchange *exchange)
{
    struct http_exchange *http = CONTAINER_OF(exchange, struct http_exchange, exchange);
    struct http_front *front = http->front;
    CHECK(http->connection == NULL);
    s3_exchange_reset(exchange); /* Now, not when it is used again: it wipes what was said about an object. */
    list_prepend(&front->free, &http->link);
    front->busy--;
    free_when_idle(front);
}

static const struct s3_transport transport = {.wake = exchange_woken, .released = exchange_released};

static struct http_exchange *exchange_take(struct http_front *front, struct MHD_Connection *connection)
{
    struct list_link *link = list_take_first(&front->free);
    if (link == NULL) {
        return NULL;
    }
    struct http_exchange *http = LIST_ENTRY(link, struct http_exchange, link);
    http->connection = connection;
    http->begun = false;
    http->head_passed = false;
    http->suspended = false;
    http->dropped_bytes = 0;
    front->busy++;
    return http;
}

/* ---- answers ----------------------------------------------------------------------------------- */

static void suspend(struct http_exchange *http)
{
    CHECK(!http->suspended);
    http->suspended = true;
    MHD_suspend_connection(http->connection);
}

static ssize_t read_answer(void *user, uint64_t position, char *buffer, size_t capacity)
{
    struct http_exchange *http = user;
    size_t taken;
    (void)position; /* The library reads in order. */
    if (s3_exchange_read(&http->exchange, buffer, capacity, &taken) != STATUS_OK) {
        /* The length was promised, so also an early end breaks the connection. */
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    if (taken == 0) {
        suspend(http);
    }
    return (ssize_t)taken;
}

static struct MHD_Response *create_response(struct http_exchange *http)
{
    struct s3_exchange *exchange = &http->exchange;
    const struct s3_answer *answer = &exchange->answer;
    if (answer->body_bytes == exchange->text.used || answer->body_bytes == 0) {
        size_t bytes = (size_t)answer->body_bytes;
        exchange->sent_bytes = bytes;
        return MHD_create_response_from_buffer(bytes, bytes > 0 ? exchange->text.data : NULL, MHD_RESPMEM_PERSISTENT);
    }
    size_t block = answer->body == S3_BODY_NONE            ? 1
                   : answer->body_bytes < READ_BLOCK_BYTES ? (size_t)answer->body_bytes
                                                           : READ_BLOCK_BYTES;
    return MHD_create_response_from_callback(answer->body_bytes, block, read_answer, http, NULL);
}

static enum MHD_Result queue_answer(struct http_exchange *http)
{
    const struct s3_answer *answer = &http->exchange.answer;
    struct MHD_Response *response = create_response(http);
    if (response == NULL) {
        return MHD_NO;
    }
    for (unsigned i = 0; i < answer->header_count; i++) {
        if (MHD_add_response_header(response, answer->headers[i].name, answer->headers[i].value) != MHD_YES) {
            log_event(LOG_WARNING, "s3_header_dropped", "request=%s", http->exchange.request_id);
        }
    }
    enum MHD_Result result = MHD_queue_response(http->connection, answer->http_status, response);
    MHD_destroy_response(response);
    return result;
}

/* ---- requests ---------------------------------------------------------------------------------- */

static void *target_received(void *user, const char *target, struct MHD_Connection *connection)
{
    struct http_exchange *http = exchange_take(user, connection);
    if (http != NULL) {
        s3_request_set_target(&http->exchange.request, text_span_of(target));
    }
    return http;
}

static enum MHD_Result header_received(void *user, enum MHD_ValueKind kind, const char *name, size_t name_bytes,
                                       const char *value, size_t value_bytes)
{
    (void)kind;
    struct http_exchange *http = user;
    s3_request_add_header(&http->exchange.request, (struct text_span){.data = name, .bytes = name_bytes},
                          (struct text_span){.data = value == NULL ? "" : value, .bytes = value_bytes});
    return MHD_YES;
}

static void begin(struct http_exchange *http, const char *method)
{
    http->begun = true;
    s3_request_set_method(&http->exchange.request, text_span_of(method));
    (void)MHD_get_connection_values_n(http->connection, MHD_HEADER_KIND, header_received, http);
    s3_exchange_begin(&http->exchange);
}

/* Whether it is better to read the body of an answered request away than to close the connection under it. */
static bool body_is_worth_reading(const struct http_exchange *http)
{
    const struct s3_request *request = &http->exchange.request;
    struct text_span expect;
    if (!request->framing_known || request->is_chunked || request->content_bytes > http->front->drain_bytes_max) {
        return false;
    }
    return request->content_bytes == 0 || !s3_request_header(request, "expect", &expect);
}

/* The head is complete: decide whether the body may come. */
static enum MHD_Result handle_head(struct http_exchange *http)
{
    switch (http->exchange.stage) {
    case S3_CHECKING:
    case S3_FINISHING:
        suspend(http);
        return MHD_YES;
    case S3_RECEIVING:
        http->head_passed = true;
        return MHD_YES;
    case S3_ANSWERED:
        if (!body_is_worth_reading(http)) {
            return queue_answer(http);
        }
        http->head_passed = true;
        return MHD_YES;
    case S3_IDLE:
        break;
    }
    UNREACHABLE();
}

static enum MHD_Result handle_body(struct http_exchange *http, const char *data, size_t *bytes)
{
    size_t offered = *bytes;
    if (http->exchange.stage == S3_ANSWERED) {
        http->dropped_bytes += offered;
        *bytes = 0;
        return http->dropped_bytes > http->front->drain_bytes_max ? MHD_NO : MHD_YES;
    }
    size_t taken = s3_exchange_write(&http->exchange, data, offered);
    *bytes = offered - taken;
    if (taken < offered) {
        suspend(http);
    }
    return MHD_YES;
}

static enum MHD_Result handle_end(struct http_exchange *http)
{
    if (http->exchange.stage == S3_RECEIVING) {
        s3_exchange_body_end(&http->exchange);
    }
    if (http->exchange.stage == S3_ANSWERED) {
        return queue_answer(http);
    }
    suspend(http);
    return MHD_YES;
}

static enum MHD_Result handle_request(void *user, struct MHD_Connection *connection, const char *url,
                                      const char *method, const char *version, const char *data, size_t *data_bytes,
                                      void **request_context)
{
    struct http_front *front = user;
    struct http_exchange *http = *request_context;
    (void)url, (void)version;
    if (http == NULL) {
        return MHD_queue_response(connection, MHD_HTTP_SERVICE_UNAVAILABLE, front->overload);
    }
    if (!http->begun) {
        begin(http, method);
    }
    if (!http->head_passed) {
        return handle_head(http);
    }
    return *data_bytes > 0 ? handle_body(http, data, data_bytes) : handle_end(http);
}

static void request_completed(void *user, struct MHD_Connection *connection, void **request_context,
                              enum MHD_RequestTerminationCode code)
{
    struct http_exchange *http = *request_context;
    (void)user, (void)connection, (void)code;
    if (http != NULL) {
        *request_context = NULL;
        http->connection = NULL;
        http->suspended = false;
        s3_exchange_end(&http->exchange);
    }
}

/* The library would decode its own copy of the target, which we do not use. */
static size_t leave_as_it_is(void *user, struct MHD_Connection *connection, char *text)
{
    (void)user, (void)connection;
    return strlen(text);
}

static void library_says(void *user, const char *format, va_list arguments) PRINTF_LIKE(2, 0);
static void library_says(void *user, const char *format, va_list arguments)
{
    char line[LIBRARY_LINE_BYTES];
    (void)user;
    if (!log_is_enabled(LOG_DEBUG)) {
        return;
    }
    (void)vsnprintf(line, sizeof(line), format, arguments);
    line[strcspn(line, "\r\n")] = '\0';
    log_event(LOG_DEBUG, "http_library", "message=\"%s\"", line);
}

/* ---- turning ----------------------------------------------------------------------------------- */

/* At its limit the library stops listening, and listens again only in the turn after the one in which a connection has
 * gone. True: that turn is due. */
static bool has_room_again(struct http_front *front)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(front->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    bool was_full = front->full;
    front->full = info != NULL && info->num_connections >= front->connections_max;
    return was_full && !front->full;
}

void http_front_turn(struct http_front *front)
{
    unsigned long long wait_ms;
    if (front->closing) {
        return;
    }
    (void)MHD_run(front->daemon);
    if (has_room_again(front)) {
        turn_later(front);
    }
    if (MHD_get_timeout(front->daemon, &wait_ms) != MHD_YES) {
        loop_timer_stop(front->loop, &front->timer);
    } else if (wait_ms == 0) {
        turn_later(front);
    } else {
        loop_timer_start(front->loop, &front->timer, loop_now_ns(front->loop) + wait_ms * NS_PER_MS);
    }
}

static void deferred_turn(struct loop_task *task)
{
    struct http_front *front = CONTAINER_OF(task, struct http_front, turn_task);
    front->turn_deferred = false;
    http_front_turn(front);
    free_when_idle(front);
}

static void timer_fired(struct loop_timer *timer)
{
    http_front_turn(CONTAINER_OF(timer, struct http_front, timer));
}

/* ---- opening and closing ----------------------------------------------------------------------- */

/* Resolve "host:port" or "[v6]:port" with numeric host and port. */
static enum status parse_address(const char *text, struct sockaddr_storage *address, socklen_t *address_bytes)
{
    char host[ADDRESS_BYTES];
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon[1] == '\0') {
        return STATUS_INVALID;
    }
    struct text_span host_text = {.data = text, .bytes = (size_t)(colon - text)};
    if (host_text.bytes >= 2 && host_text.data[0] == '[' && host_text.data[host_text.bytes - 1] == ']') {
        host_text.data++;
        host_text.bytes -= 2;
    }
    if (!text_span_copy(host_text, host, sizeof(host))) {
        return STATUS_INVALID;
    }
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
    struct addrinfo *found = NULL;
    if (getaddrinfo(host, colon + 1, &hints, &found) != 0) {
        return STATUS_INVALID;
    }
    memcpy(address, found->ai_addr, found->ai_addrlen);
    *address_bytes = found->ai_addrlen;
    freeaddrinfo(found);
    return STATUS_OK;
}

static enum status read_bound_address(int descriptor, char *text, size_t text_bytes)
{
    struct sockaddr_storage address;
    socklen_t bytes = sizeof(address);
    char host[64];
    char port[8];
    if (getsockname(descriptor, (struct sockaddr *)&address, &bytes) != 0 ||
        getnameinfo((struct sockaddr *)&address, bytes, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return STATUS_IO;
    }
    bool v6 = strchr(host, ':') != NULL;
    (void)snprintf(text, text_bytes, "%s%s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "", port);
    return STATUS_OK;
}

/* Accepted connections inherit TCP_NODELAY from the listening socket. */
static enum status open_listener(const char *listen_on, int *descriptor)
{
    struct sockaddr_storage address;
    socklen_t address_bytes = 0;
    const int yes = 1;
    enum status status = parse_address(listen_on, &address, &address_bytes);
    if (status != STATUS_OK) {
        return status;
    }
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return STATUS_IO;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof(yes)) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)) != 0 ||
        bind(fd, (struct sockaddr *)&address, address_bytes) != 0 || listen(fd, LISTEN_BACKLOG) != 0) {
        status = errno == EADDRINUSE ? STATUS_EXISTS : errno == EACCES || errno == EPERM ? STATUS_DENIED : STATUS_IO;
        close(fd);
        return status;
    }
    *descriptor = fd;
    return STATUS_OK;
}

static struct MHD_Daemon *start_library(struct http_front *front, const struct http_front_options *options,
                                        int listener)
{
    return MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, handle_request, front,
        MHD_OPTION_EXTERNAL_LOGGER, library_says, NULL, MHD_OPTION_LISTEN_SOCKET, listener, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)options->connections_max, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)options->idle_timeout_s,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)options->connection_memory_bytes, MHD_OPTION_NOTIFY_COMPLETED,
        request_completed, front, MHD_OPTION_URI_LOG_CALLBACK, target_received, front, MHD_OPTION_UNESCAPE_CALLBACK,
        leave_as_it_is, NULL, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
}

static bool open_pool(struct http_front *front, unsigned count)
{
    front->pool = calloc(count, sizeof(*front->pool));
    if (front->pool == NULL) {
        return false;
    }
    front->pool_count = count;
    for (unsigned i = 0; i < count; i++) {
        front->pool[i].front = front;
        s3_exchange_init(&front->pool[i].exchange, &front->service, &transport);
        list_append(&front->free, &front->pool[i].link);
    }
    return true;
}

static enum status open_parts(struct http_front *front, const struct http_front_options *options)
{
    int listener;
    enum status status = open_listener(options->listen, &listener);
    if (status != STATUS_OK) {
        return status;
    }
    status = read_bound_address(listener, front->address, sizeof(front->address));
    if (status == STATUS_OK) {
        front->overload = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
        if (front->overload == NULL || !open_pool(front, options->connections_max + SPARE_EXCHANGES)) {
            status = STATUS_IO;
        }
    }
    if (status == STATUS_OK) {
        front->daemon = start_library(front, options, listener);
        if (front->daemon != NULL) {
            return STATUS_OK; /* The library closes the listener. */
        }
        status = STATUS_IO;
    }
    close(listener);
    return status;
}

static void free_unopened(struct http_front *front)
{
    if (front->overload != NULL) {
        MHD_destroy_response(front->overload);
    }
    free(front->pool);
    free(front);
}

enum status http_front_open(struct gateway *gateway, const struct http_front_options *options,
                            struct http_front **front, char *message, size_t message_bytes)
{
    CHECK(options->connections_max > 0);
    struct http_front *opened = calloc(1, sizeof(*opened));
    if (opened == NULL) {
        (void)snprintf(message, message_bytes, "no memory for the S3 front");
        return STATUS_IO;
    }
    list_init(&opened->free);
    opened->loop = gateway_loop(gateway);
    opened->drain_bytes_max = options->drain_bytes_max;
    opened->connections_max = options->connections_max;
    opened->turn_task.run = deferred_turn;
    opened->timer.fire = timer_fired;
    (void)snprintf(opened->domain, sizeof(opened->domain), "%s", options->domain == NULL ? "" : options->domain);
    opened->service =
        (struct s3_service){.gateway = gateway, .domain = opened->domain, .access_log = options->access_log};
    enum status status = open_parts(opened, options);
    if (status != STATUS_OK) {
        (void)snprintf(message, message_bytes, "can't listen for S3 on %s: %s", options->listen, status_name(status));
        free_unopened(opened);
        return status;
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(opened->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    CHECK(info != NULL);
    opened->descriptor = info->epoll_fd;
    turn_later(opened); /* The first turn puts the listener into the descriptor. */
    *front = opened;
    return STATUS_OK;
}

const char *http_front_address(const struct http_front *front)
{
    return front->address;
}

int http_front_descriptor(const struct http_front *front)
{
    return front->descriptor;
}

unsigned http_front_busy(const struct http_front *front)
{
    return front->busy;
}

void http_front_stop_accepting(struct http_front *front)
{
    int listener = MHD_quiesce_daemon(front->daemon);
    if (listener >= 0) {
        (void)MHD_run(front->daemon); /* Takes the listener out of the descriptor: it must be open for that. */
        close(listener);
        turn_later(front);
    }
}

void http_front_close(struct http_front *front)
{
    CHECK(!front->closing);
    front->closing = true;
    loop_timer_stop(front->loop, &front->timer);
    for (unsigned i = 0; i < front->pool_count; i++) {
        struct http_exchange *http = &front->pool[i];
        if (http->suspended) {
            http->suspended = false;
            MHD_resume_connection(http->connection);
        }
    }
    /* Ends every request through request_completed(). */
    front->busy++; /* Nothing is freed until we are through. */
    MHD_stop_daemon(front->daemon);
    MHD_destroy_response(front->overload);
    front->busy--;
    free_when_idle(front);
}
