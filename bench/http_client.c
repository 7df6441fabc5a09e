#include "bench/http_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

void http_client_init(struct http_client *client, const char *address)
{
    memset(client, 0, sizeof(*client));
    CHECK(strlen(address) < sizeof(client->address));
    memcpy(client->address, address, strlen(address) + 1);
    client->descriptor = -1;
}

void http_client_deinit(struct http_client *client)
{
    if (client->descriptor >= 0) {
        close(client->descriptor);
        client->descriptor = -1;
    }
}

static enum status http_connect(struct http_client *client)
{
    char host[64];
    memcpy(host, client->address, sizeof(host));
    char *colon = strrchr(host, ':');
    if (colon == NULL) {
        return STATUS_INVALID;
    }
    *colon = '\0';

    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (getaddrinfo(host, colon + 1, &hints, &found) != 0) {
        return STATUS_UNAVAILABLE;
    }
    int descriptor = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor >= 0 && connect(descriptor, found->ai_addr, found->ai_addrlen) != 0) {
        close(descriptor);
        descriptor = -1;
    }
    freeaddrinfo(found);
    if (descriptor < 0) {
        return STATUS_UNAVAILABLE;
    }
    int on = 1;
    (void)setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    client->descriptor = descriptor;
    return STATUS_OK;
}

static enum status http_send(struct http_client *client, const char *head, size_t head_bytes, const void *body,
                             size_t body_bytes)
{
    struct iovec vectors[2] = {{(void *)(uintptr_t)head, head_bytes}, {(void *)(uintptr_t)body, body_bytes}};
    struct msghdr message = {.msg_iov = vectors, .msg_iovlen = 2};
    size_t left = head_bytes + body_bytes;

    while (left > 0) {
        ssize_t sent = sendmsg(client->descriptor, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent <= 0) {
            return STATUS_UNAVAILABLE;
        }
        left -= (size_t)sent;
        for (size_t i = 0; i < 2; i++) {
            size_t taken = (size_t)sent < vectors[i].iov_len ? (size_t)sent : vectors[i].iov_len;
            vectors[i].iov_base = (char *)vectors[i].iov_base + taken;
            vectors[i].iov_len -= taken;
            sent -= (ssize_t)taken;
        }
    }
    return STATUS_OK;
}

/* Receive up to the end of the head; `*got` bytes in all, `*head_bytes` of them the head. */
static enum status http_receive_head(struct http_client *client, size_t *got, size_t *head_bytes)
{
    size_t have = 0;
    while (have < sizeof(client->head) - 1) {
        ssize_t received = recv(client->descriptor, client->head + have, sizeof(client->head) - 1 - have, 0);
        if (received < 0 && errno == EINTR) {
            continue;
        }
        if (received <= 0) {
            return STATUS_UNAVAILABLE;
        }
        have += (size_t)received;
        client->head[have] = '\0';
        uint8_t *end = memmem(client->head, have, "\r\n\r\n", 4);
        if (end != NULL) {
            *got = have;
            *head_bytes = (size_t)(end - client->head) + 4;
            return STATUS_OK;
        }
    }
    return STATUS_CORRUPT;
}

static const char *http_header(const char *head, const char *name)
{
    size_t name_bytes = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line != NULL && line[2] != '\r'; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, name_bytes) == 0 && line[2 + name_bytes] == ':') {
            const char *value = line + 2 + name_bytes + 1;
            return value + strspn(value, " ");
        }
    }
    return NULL;
}

/* Read a body of known length; what does not fit is read away. */
static enum status http_receive_body(struct http_client *client, const uint8_t *early, size_t early_bytes,
                                     uint64_t bytes, uint8_t *answer, size_t capacity)
{
    uint64_t have = early_bytes;
    if (have > bytes) {
        return STATUS_CORRUPT;
    }
    memcpy(answer, early, early_bytes < capacity ? early_bytes : capacity);
    while (have < bytes) {
        uint8_t waste[4096];
        uint8_t *target = have < capacity ? answer + have : waste;
        uint64_t room = have < capacity ? capacity - have : sizeof(waste);
        uint64_t wanted = bytes - have < room ? bytes - have : room;
        ssize_t received = recv(client->descriptor, target, wanted, MSG_WAITALL);
        if (received < 0 && errno == EINTR) {
            continue;
        }
        if (received <= 0) {
            return STATUS_UNAVAILABLE;
        }
        have += (uint64_t)received;
    }
    return STATUS_OK;
}

enum status http_request(struct http_client *client, const char *head, size_t head_bytes, const void *body,
                         size_t body_bytes, bool answer_has_body, void *answer, size_t capacity, int *http_status,
                         uint64_t *answer_bytes)
{
    enum status status = client->descriptor < 0 ? http_connect(client) : STATUS_OK;
    size_t got = 0;
    size_t answer_head_bytes = 0;
    uint64_t length = 0;

    if (status == STATUS_OK) {
        status = http_send(client, head, head_bytes, body, body_bytes);
    }
    if (status == STATUS_OK) {
        status = http_receive_head(client, &got, &answer_head_bytes);
    }
    if (status != STATUS_OK) {
        http_client_deinit(client);
        return status;
    }
    const char *text = (const char *)client->head;
    const char *length_text = http_header(text, "Content-Length");
    if (strncmp(text, "HTTP/1.1 ", 9) != 0) {
        http_client_deinit(client);
        return STATUS_CORRUPT;
    }
    int code = (int)strtol(text + 9, NULL, 10);
    length = length_text != NULL && answer_has_body ? strtoull(length_text, NULL, 10) : 0;
    bool closes =
        http_header(text, "Connection") != NULL && strncasecmp(http_header(text, "Connection"), "close", 5) == 0;
    status =
        http_receive_body(client, client->head + answer_head_bytes, got - answer_head_bytes, length, answer, capacity);
    if (status != STATUS_OK || closes || (length_text == NULL && code != 204 && code != 304)) {
        http_client_deinit(client);
    }
    if (status == STATUS_OK) {
        *http_status = code;
        *answer_bytes = length;
    }
    return status;
}
