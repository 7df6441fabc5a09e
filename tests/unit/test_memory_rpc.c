/* test_memory_rpc.c - a secret that went from a server to a client stands nowhere in either of them afterwards.
 *
 * Both ends are in this process, over TCP on loopback, so that what is under way is the kernel's. The service replies
 * with secrets in guarded memory, which are released before the scan; the connections and all their buffers are still
 * there. */
#include "base/uring.h"
#include "proto/rpc.h"
#include "tests/unit/memory_scan.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <sys/prctl.h>

#define TENANT_KEY        TRILITH__MESSAGE_TYPE__TENANT_KEY
#define CREDENTIAL_GET    TRILITH__MESSAGE_TYPE__CREDENTIAL_GET
#define CREDENTIAL_CREATE TRILITH__MESSAGE_TYPE__CREDENTIAL_CREATE
#define LEAF_LEASE        TRILITH__MESSAGE_TYPE__LEAF_LEASE
#define OBJECT_GET        TRILITH__MESSAGE_TYPE__OBJECT_GET

#define LEAVES_MAX        256
#define TEXT_BYTES        40
#define TIMEOUT_NS        (60 * NS_PER_S)

static struct uring_loop *uring;
static struct loop *loop;
static struct rpc_server *server;
static struct rpc_client *client;
static struct key *secrets; /* LEAVES_MAX of them, guarded; a reply tells the first ones */
static char *text;          /* a secret of TEXT_BYTES characters */
static unsigned leaf_count;
static bool service_is_silent;
static struct rpc_request *kept;
static struct memory_mark marks[LEAVES_MAX + 1]; /* the last one is the text */

/* ---- the service ----------------------------------------------------------------------------- */

static ProtobufCBinaryData bytes_of(struct key *key)
{
    return (ProtobufCBinaryData){.len = KEY_BYTES, .data = key->bytes};
}

static void reply_leaves(struct rpc_request *request)
{
    ProtobufCBinaryData leaves[LEAVES_MAX];
    for (unsigned i = 0; i < leaf_count; i++) {
        leaves[i] = bytes_of(&secrets[i]);
    }
    Trilith__LeafLeaseReply reply;
    trilith__leaf_lease_reply__init(&reply);
    reply.page = 5;
    reply.n_leaves = leaf_count;
    reply.leaves = leaves;
    rpc_reply(request, STATUS_OK, &reply.base);
}

static void reply_object(struct rpc_request *request)
{
    static uint8_t sealed_meta[300];
    Trilith__Object object;
    trilith__object__init(&object);
    object.sealed_meta = (ProtobufCBinaryData){.len = sizeof(sealed_meta), .data = sealed_meta};
    Trilith__ObjectGetReply reply;
    trilith__object_get_reply__init(&reply);
    reply.object = &object;
    reply.leaf = bytes_of(&secrets[0]);
    rpc_reply(request, STATUS_OK, &reply.base);
}

static void answer(struct rpc_request *request)
{
    if (request->type == TENANT_KEY) {
        Trilith__TenantKeyReply reply;
        trilith__tenant_key_reply__init(&reply);
        reply.dek = bytes_of(&secrets[0]);
        rpc_reply(request, STATUS_OK, &reply.base);
    } else if (request->type == CREDENTIAL_GET) {
        Trilith__CredentialGetReply reply;
        trilith__credential_get_reply__init(&reply);
        reply.secret_key = bytes_of(&secrets[0]);
        rpc_reply(request, STATUS_OK, &reply.base);
    } else if (request->type == CREDENTIAL_CREATE) {
        Trilith__CredentialCreateReply reply;
        trilith__credential_create_reply__init(&reply);
        reply.secret_key = text;
        rpc_reply(request, STATUS_OK, &reply.base);
    } else if (request->type == LEAF_LEASE) {
        reply_leaves(request);
    } else {
        cr_assert_eq(request->type, OBJECT_GET);
        reply_object(request);
    }
}

static void service_handle(struct rpc_service *service, struct rpc_request *request)
{
    (void)service;
    if (service_is_silent) {
        cr_assert_null(kept);
        kept = request;
    } else {
        answer(request);
    }
}

static struct rpc_service service = {.handle = service_handle};

/* ---- calls ----------------------------------------------------------------------------------- */

struct probe {
    struct rpc_call call;
    bool done;
    bool is_as_sent; /* the secrets arrived */
};

static bool leaves_are_as_sent(const Trilith__LeafLeaseReply *reply)
{
    bool same = reply->n_leaves == leaf_count;
    for (unsigned i = 0; same && i < leaf_count; i++) {
        same = reply->leaves[i].len == KEY_BYTES && memory_mark_matches(&marks[i], reply->leaves[i].data);
    }
    return same;
}

static bool reply_is_as_sent(const struct rpc_call *call)
{
    const void *reply = call->reply;
    switch (call->type) {
    case TENANT_KEY:
        return memory_mark_matches(&marks[0], ((const Trilith__TenantKeyReply *)reply)->dek.data);
    case CREDENTIAL_GET:
        return memory_mark_matches(&marks[0], ((const Trilith__CredentialGetReply *)reply)->secret_key.data);
    case CREDENTIAL_CREATE:
        return memory_mark_matches(&marks[LEAVES_MAX], ((const Trilith__CredentialCreateReply *)reply)->secret_key);
    case OBJECT_GET:
        return memory_mark_matches(&marks[0], ((const Trilith__ObjectGetReply *)reply)->leaf.data);
    default:
        return leaves_are_as_sent(reply);
    }
}

static void probe_done(struct rpc_call *call)
{
    struct probe *probe = CONTAINER_OF(call, struct probe, call);
    cr_assert_not(probe->done);
    probe->done = true;
    probe->is_as_sent = call->status == STATUS_OK && reply_is_as_sent(call);
}

static void start(struct probe *probe, uint16_t type, uint64_t timeout_ns)
{
    *probe = (struct probe){.call = {.type = type, .deadline_ns = loop_now_ns(loop) + timeout_ns, .done = probe_done}};
    rpc_call_start(client, &probe->call, NULL);
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
    cr_assert(status != STATUS_OK || probe->is_as_sent);
}

/* ---- setting up ------------------------------------------------------------------------------ */

static void make_secrets(void)
{
    secrets = guarded_take(LEAVES_MAX * sizeof(*secrets));
    text = guarded_take(TEXT_BYTES + 1);
    cr_assert(secrets != NULL && text != NULL);
    for (unsigned i = 0; i < LEAVES_MAX; i++) {
        key_make(&secrets[i]);
        memory_mark_set(&marks[i], "secret", &secrets[i], KEY_BYTES);
    }
    for (unsigned i = 0; i < TEXT_BYTES; i++) {
        text[i] = (char)('A' + secrets[i].bytes[0] % 26);
    }
    memory_mark_set(&marks[LEAVES_MAX], "secret as text", text, TEXT_BYTES);
}

static void setup(void)
{
    char message[256];
    cr_assert_eq(keys_start_process(), STATUS_OK);
    cr_assert_eq(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0);
    enum status status = uring_loop_open(&uring, message, sizeof(message));
    if (status == STATUS_DENIED || status == STATUS_UNSUPPORTED) {
        cr_skip_test("%s", message);
    }
    cr_assert_eq(status, STATUS_OK, "%s", message);
    loop = uring_loop_interface(uring);
    make_secrets();
    cr_assert_eq(rpc_server_open(loop, uring_loop_net(uring), "127.0.0.1:0", &service, &server), STATUS_OK);
    client = rpc_client_open(loop, uring_loop_net(uring), rpc_server_address(server));
}

static void teardown(void)
{
    rpc_client_close(client);
    if (server != NULL) {
        rpc_server_close(server);
    }
    for (unsigned turns = 0; turns < 20; turns++) {
        turn();
    }
    uring_loop_close(uring);
    guarded_release(secrets);
    guarded_release(text);
}

TestSuite(memory_rpc, .init = setup, .fini = teardown);

/* Let both ends come to rest, release the secrets themselves and look for copies. */
static void expect_nothing(void)
{
    for (unsigned turns = 0; turns < 5; turns++) {
        turn();
    }
    guarded_release(secrets);
    guarded_release(text);
    secrets = NULL;
    text = NULL;
    memory_scan(marks, ARRAY_LENGTH(marks));
    for (unsigned i = 0; i < ARRAY_LENGTH(marks); i++) {
        cr_expect_eq(marks[i].places, 0, "%u: %u places: %s", i, marks[i].places, marks[i].where);
    }
}

/* ---- what may happen to a secret reply --------------------------------------------------------- */

static void call_each_type(void *argument)
{
    (void)argument;
    const uint16_t types[] = {TENANT_KEY, CREDENTIAL_GET, CREDENTIAL_CREATE, OBJECT_GET, LEAF_LEASE};
    struct probe probes[ARRAY_LENGTH(types)];
    leaf_count = 7;
    for (size_t i = 0; i < ARRAY_LENGTH(types); i++) {
        start(&probes[i], types[i], TIMEOUT_NS);
        expect(&probes[i], STATUS_OK);
    }
}

Test(memory_rpc, secret_replies_of_each_type_leave_nothing)
{
    memory_run_below(call_each_type, NULL);
    expect_nothing();
}

/* Too long for the staging area and for the buffers that are kept: other memory is used for it. */
static void lease_many(void *argument)
{
    (void)argument;
    struct probe probe;
    leaf_count = LEAVES_MAX;
    start(&probe, LEAF_LEASE, TIMEOUT_NS);
    expect(&probe, STATUS_OK);
}

Test(memory_rpc, long_secret_reply_leaves_nothing)
{
    memory_run_below(lease_many, NULL);
    expect_nothing();
}

/* Replies of all lengths follow each other closely, so that each is cut and moved in the staging area. */
static void call_many_at_once(void *argument)
{
    (void)argument;
    struct probe probes[300];
    leaf_count = 99;
    for (size_t i = 0; i < ARRAY_LENGTH(probes); i++) {
        start(&probes[i], i % 3 == 0 ? LEAF_LEASE : TENANT_KEY, TIMEOUT_NS);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(probes); i++) {
        expect(&probes[i], STATUS_OK);
    }
}

Test(memory_rpc, secret_replies_close_together_leave_nothing)
{
    memory_run_below(call_many_at_once, NULL);
    expect_nothing();
}

/* Nobody waits any more, so the client reads it and drops it. */
static void call_and_lose_patience(void *argument)
{
    (void)argument;
    struct probe probe;
    leaf_count = 20;
    service_is_silent = true;
    start(&probe, LEAF_LEASE, 20 * NS_PER_MS);
    while (kept == NULL) {
        turn();
    }
    expect(&probe, STATUS_TIMEOUT);
    answer(kept);
}

Test(memory_rpc, late_secret_reply_leaves_nothing)
{
    memory_run_below(call_and_lose_patience, NULL);
    expect_nothing();
}

/* The reply is packed, and then there is nobody to send it to. */
static void reply_to_nobody(void *argument)
{
    (void)argument;
    struct probe probe;
    leaf_count = LEAVES_MAX;
    service_is_silent = true;
    start(&probe, LEAF_LEASE, TIMEOUT_NS);
    while (kept == NULL) {
        turn();
    }
    answer(kept);
    rpc_server_close(server);
    server = NULL;
    expect(&probe, STATUS_UNAVAILABLE);
}

Test(memory_rpc, unsent_secret_reply_leaves_nothing)
{
    memory_run_below(reply_to_nobody, NULL);
    expect_nothing();
}

/* The connection ends with a secret reply half read, or not read at all. */
static void close_while_replies_arrive(void *argument)
{
    (void)argument;
    static struct probe probes[200];
    leaf_count = LEAVES_MAX;
    for (size_t i = 0; i < ARRAY_LENGTH(probes); i++) {
        start(&probes[i], LEAF_LEASE, TIMEOUT_NS);
    }
    while (!probes[3].done) {
        turn();
    }
    rpc_client_set_address(client, "127.0.0.1:1");
    for (size_t i = 0; i < ARRAY_LENGTH(probes); i++) {
        while (!probes[i].done) {
            turn();
        }
    }
}

Test(memory_rpc, connection_closed_amid_secret_replies_leaves_nothing)
{
    memory_run_below(close_while_replies_arrive, NULL);
    expect_nothing();
}

/* The end of both, with whatever they kept for the next call. */
Test(memory_rpc, closed_client_and_server_leave_nothing)
{
    memory_run_below(call_many_at_once, NULL);
    rpc_server_close(server);
    server = NULL;
    rpc_client_set_address(client, "127.0.0.1:1");
    for (unsigned turns = 0; turns < 20; turns++) {
        turn();
    }
    expect_nothing();
}
