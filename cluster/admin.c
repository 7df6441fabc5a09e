/* admin.c - a call to the metadata service or a node, waited for by turning the reactor. */
#include "cluster/admin.h"

#include "base/uring.h"
#include "cluster/client_config.h"
#include "cluster/command.h"

#include <stdlib.h>
#include <string.h>

#define CALL_TIMEOUT_MS   10000
#define NODE_CLIENTS_MAX  256
#define CLOSING_TURNS_MAX 16
#define CLOSING_TURN_NS   NS_PER_MS

struct node_client {
    char address[NET_ADDRESS_BYTES];
    struct rpc_client *client;
};

struct admin {
    struct uring_loop *uring;
    struct loop *loop;
    struct rpc_client *meta;
    char meta_address[NET_ADDRESS_BYTES];
    struct node_client nodes[NODE_CLIENTS_MAX];
    size_t node_count;
};

struct admin *admin_open(struct command *command)
{
    const struct client_config *config = command_config(command);
    if (config == NULL) {
        return NULL;
    }
    struct admin *admin = calloc(1, sizeof(*admin));
    if (admin == NULL) {
        command_fail("out of memory");
        return NULL;
    }
    char message[512];
    if (uring_loop_open(&admin->uring, message, sizeof(message)) != STATUS_OK) {
        command_fail("%s", message);
        free(admin);
        return NULL;
    }
    admin->loop = uring_loop_interface(admin->uring);
    snprintf(admin->meta_address, sizeof(admin->meta_address), "%s", config->meta);
    admin->meta = rpc_client_open(admin->loop, uring_loop_net(admin->uring), admin->meta_address);
    if (admin->meta == NULL) {
        command_fail("out of memory");
        uring_loop_close(admin->uring);
        free(admin);
        return NULL;
    }
    return admin;
}

void admin_close(struct admin *admin)
{
    if (admin == NULL) {
        return;
    }
    rpc_client_close(admin->meta);
    for (size_t i = 0; i < admin->node_count; i++) {
        rpc_client_close(admin->nodes[i].client);
    }
    /* Clients free themselves when their streams have ended, which takes some turns of the reactor. */
    for (unsigned turn = 0; turn < CLOSING_TURNS_MAX; turn++) {
        uring_loop_turn(admin->uring, loop_now_ns(admin->loop) + CLOSING_TURN_NS);
    }
    uring_loop_close(admin->uring);
    free(admin);
}

/* ---- one call ---------------------------------------------------------------------------------- */

struct waited_call {
    struct rpc_call call;
    bool finished;
    ProtobufCMessage *reply;
};

/* Copy a message: what the call gives is valid in `done` only. NULL: no memory. */
static ProtobufCMessage *copy_message(const ProtobufCMessage *message)
{
    size_t bytes = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = malloc(bytes + 1);
    if (packed == NULL) {
        return NULL;
    }
    protobuf_c_message_pack(message, packed);
    ProtobufCMessage *copy = protobuf_c_message_unpack(message->descriptor, NULL, bytes, packed);
    free(packed);
    return copy;
}

static void call_done(struct rpc_call *call)
{
    struct waited_call *waited = CONTAINER_OF(call, struct waited_call, call);
    waited->finished = true;
    if (call->status == STATUS_OK && call->reply != NULL) {
        waited->reply = copy_message(call->reply);
    }
}

static enum status call_and_wait(struct admin *admin, struct rpc_client *client, uint16_t type,
                                 const ProtobufCMessage *request, uint64_t within_ms, ProtobufCMessage **reply)
{
    struct waited_call waited = {.call = {.type = type, .done = call_done}};
    waited.call.deadline_ns = loop_now_ns(admin->loop) + within_ms * NS_PER_MS;
    rpc_call_start(client, &waited.call, request);
    while (!waited.finished) {
        uring_loop_turn(admin->uring, waited.call.deadline_ns);
    }
    if (waited.call.status != STATUS_OK) {
        return waited.call.status;
    }
    if (waited.reply == NULL) {
        return STATUS_CORRUPT;
    }
    *reply = waited.reply;
    return STATUS_OK;
}

enum status admin_call(struct admin *admin, uint16_t type, const ProtobufCMessage *request, ProtobufCMessage **reply)
{
    return call_and_wait(admin, admin->meta, type, request, CALL_TIMEOUT_MS, reply);
}

enum status admin_call_within(struct admin *admin, uint16_t type, const ProtobufCMessage *request, uint64_t within_ms,
                              ProtobufCMessage **reply)
{
    return call_and_wait(admin, admin->meta, type, request, within_ms, reply);
}

/* The client for `address`, opened when it is new. NULL: too many nodes, or no memory. */
static struct rpc_client *node_client(struct admin *admin, const char *address)
{
    for (size_t i = 0; i < admin->node_count; i++) {
        if (strcmp(admin->nodes[i].address, address) == 0) {
            return admin->nodes[i].client;
        }
    }
    if (admin->node_count == NODE_CLIENTS_MAX || strlen(address) >= NET_ADDRESS_BYTES) {
        return NULL;
    }
    struct node_client *node = &admin->nodes[admin->node_count];
    snprintf(node->address, sizeof(node->address), "%s", address);
    node->client = rpc_client_open(admin->loop, uring_loop_net(admin->uring), address);
    if (node->client != NULL) {
        admin->node_count++;
    }
    return node->client;
}

enum status admin_call_node(struct admin *admin, const char *address, uint16_t type, const ProtobufCMessage *request,
                            ProtobufCMessage **reply)
{
    struct rpc_client *client = node_client(admin, address);
    if (client == NULL) {
        return STATUS_BUSY;
    }
    return call_and_wait(admin, client, type, request, CALL_TIMEOUT_MS, reply);
}

void admin_reply_free(ProtobufCMessage *reply)
{
    if (reply != NULL) {
        protobuf_c_message_free_unpacked(reply, NULL);
    }
}

void admin_pause(struct admin *admin, uint64_t ms)
{
    uint64_t until_ns = loop_now_ns(admin->loop) + ms * NS_PER_MS;
    while (loop_now_ns(admin->loop) < until_ns) {
        uring_loop_turn(admin->uring, until_ns);
    }
}

uint64_t admin_now_ms(struct admin *admin)
{
    return loop_now_ns(admin->loop) / NS_PER_MS;
}

int admin_failed(const struct admin *admin, enum status status, const char *what)
{
    switch (status) {
    case STATUS_UNAVAILABLE:
        return command_fail("the metadata service at %s can't be reached; check that it runs and that the "
                            "configuration names its address",
                            admin->meta_address);
    case STATUS_TIMEOUT:
        return command_fail("the metadata service at %s did not answer in time; whether the request took effect is "
                            "unknown, so look before trying again",
                            admin->meta_address);
    case STATUS_NOT_FOUND:
        return command_fail("there is no %s", what);
    case STATUS_EXISTS:
        return command_fail("%s exists already; choose another name", what);
    case STATUS_NOT_EMPTY:
        return command_fail("%s is not empty; delete what it holds first", what);
    case STATUS_INVALID:
        return command_fail("%s: the metadata service refused the name or a value; check its spelling and length",
                            what);
    case STATUS_DENIED:
        return command_fail("%s: the metadata service does not permit it", what);
    case STATUS_KEY_REVOKED:
        return command_fail("%s: its keys are switched off; `trilith key enable` switches them on again, unless its "
                            "erasure is asked for (`trilith request list --open`)",
                            what);
    case STATUS_KEY_AWAY:
        return command_fail("%s: what holds the master keys can't be reached; `trilith status` says why", what);
    case STATUS_HELD:
        return command_fail("%s: a legal hold or retention forbids it", what);
    case STATUS_OK:
    case STATUS_CORRUPT:
    case STATUS_GONE:
    case STATUS_CONFLICT:
    case STATUS_FULL:
    case STATUS_BUSY:
    case STATUS_IO:
    case STATUS_TOO_LARGE:
    case STATUS_UNSUPPORTED:
    case STATUS_CANCELLED:
    case STATUS_FENCED:
    case STATUS_CLOSED:
    case STATUS_COUNT:
        break;
    }
    return command_fail("%s: the metadata service answered \"%s\"; its log says more", what, status_name(status));
}

enum status admin_tenant_id(struct admin *admin, const char *name, uint64_t *tenant_id)
{
    ProtobufCMessage *message = NULL;
    enum status status = admin_call(admin, TRILITH__MESSAGE_TYPE__TENANT_LIST, NULL, &message);
    if (status != STATUS_OK) {
        return status;
    }
    const Trilith__TenantListReply *reply = (const Trilith__TenantListReply *)message;
    status = STATUS_NOT_FOUND;
    for (size_t i = 0; i < reply->n_tenants; i++) {
        if (strcmp(reply->tenants[i]->name, name) == 0) {
            *tenant_id = reply->tenants[i]->id;
            status = reply->tenants[i]->erased_ms == 0 ? STATUS_OK : STATUS_NOT_FOUND;
        }
    }
    admin_reply_free(message);
    return status;
}
