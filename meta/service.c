/* service.c - the core: from request to command to reply, and the life of the service. */
#include "meta/service_private.h"

#include "meta/leaves.h"

#include "base/buggify.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

#define TICK_NS      NS_PER_S
#define SERVICE_KEYS (VAULT_PAGE_LEAVES + 8) /* a whole lease, and what unwrapping needs */

/* ---- the table of requests --------------------------------------------------------------------- */

struct service_row {
    uint16_t type;
    service_request *serve;
    service_finish *finish; /* NULL: an empty reply, or no command */
};

static const struct service_row rows[] = {
    {TRILITH__MESSAGE_TYPE__NODE_REGISTER, serve_node_register, finish_node_register},
    {TRILITH__MESSAGE_TYPE__NODE_HEARTBEAT, serve_node_heartbeat, NULL},
    {TRILITH__MESSAGE_TYPE__TENANT_KEY, serve_tenant_key, NULL},
    {TRILITH__MESSAGE_TYPE__CREDENTIAL_GET, serve_credential_get, NULL},
    {TRILITH__MESSAGE_TYPE__LEAF_LEASE, serve_leaf_lease, finish_leaf_lease},
    {TRILITH__MESSAGE_TYPE__CHUNKS_ABORT, serve_chunks_abort, NULL},
    {TRILITH__MESSAGE_TYPE__CHUNKS_CHECK, serve_chunks_check, finish_chunks_check},
    {TRILITH__MESSAGE_TYPE__WIPE_PULL, serve_wipe_pull, NULL},
    {TRILITH__MESSAGE_TYPE__WIPE_DONE, serve_wipe_done, NULL},
    {TRILITH__MESSAGE_TYPE__BUCKET_CREATE, serve_bucket_create, finish_bucket_create},
    {TRILITH__MESSAGE_TYPE__BUCKET_GET, serve_bucket_get, NULL},
    {TRILITH__MESSAGE_TYPE__BUCKET_DELETE, serve_bucket_delete, NULL},
    {TRILITH__MESSAGE_TYPE__BUCKET_LIST, serve_bucket_list, NULL},
    {TRILITH__MESSAGE_TYPE__OBJECT_COMMIT, serve_object_commit, finish_object_commit},
    {TRILITH__MESSAGE_TYPE__OBJECT_GET, serve_object_get, NULL},
    {TRILITH__MESSAGE_TYPE__OBJECT_DELETE, serve_object_delete, finish_object_delete},
    {TRILITH__MESSAGE_TYPE__OBJECT_LIST, serve_object_list, NULL},
    {TRILITH__MESSAGE_TYPE__CLUSTER_STATUS, serve_cluster_status, NULL},
    {TRILITH__MESSAGE_TYPE__TENANT_CREATE, serve_tenant_create, finish_tenant_create},
    {TRILITH__MESSAGE_TYPE__TENANT_LIST, serve_tenant_list, NULL},
    {TRILITH__MESSAGE_TYPE__CREDENTIAL_CREATE, serve_credential_create, finish_credential_create},
    {TRILITH__MESSAGE_TYPE__CREDENTIAL_LIST, serve_credential_list, NULL},
    {TRILITH__MESSAGE_TYPE__CREDENTIAL_REVOKE, serve_credential_revoke, NULL},
    {TRILITH__MESSAGE_TYPE__OBJECT_LOCATE, serve_object_locate, NULL},
    {TRILITH__MESSAGE_TYPE__ERASURE_GET, serve_erasure_get, NULL},
    {TRILITH__MESSAGE_TYPE__ERASURE_LIST, serve_erasure_list, NULL},
};

static const struct service_row *row_of(uint16_t type)
{
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        if (rows[i].type == type) {
            return &rows[i];
        }
    }
    return NULL;
}

static void handle(struct rpc_service *rpc, struct rpc_request *request)
{
    struct meta_service *service = CONTAINER_OF(rpc, struct meta_service, rpc);
    const struct service_row *row = row_of(request->type);
    if (row == NULL) {
        rpc_reply(request, STATUS_UNSUPPORTED, NULL);
        return;
    }
    if (service->failed != STATUS_OK || service->stopping) {
        rpc_reply(request, STATUS_UNAVAILABLE, NULL);
        return;
    }
    row->serve(service, request);
}

/* ---- replies ----------------------------------------------------------------------------------- */

struct tables *service_tables(struct meta_service *service)
{
    struct tables *tables = state_tables(service->parts.state);
    scratch_reset(&tables->scratch);
    return tables;
}

void service_reply(struct meta_service *service, struct rpc_request *request, enum status status, const void *reply)
{
    enum status tables_failed = state_tables(service->parts.state)->failed;
    if (tables_failed != STATUS_OK) {
        rpc_reply(request, STATUS_IO, NULL);
        service_fail(service, tables_failed);
        return;
    }
    rpc_reply(request, status, status == STATUS_OK ? reply : NULL);
}

void service_reply_status(struct meta_service *service, struct rpc_request *request, enum status status)
{
    service_reply(service, request, status, NULL);
}

/* ---- commands ---------------------------------------------------------------------------------- */

static void operation_end(struct meta_service *service, struct operation *operation)
{
    list_remove(&operation->link);
    list_append(&service->free, &operation->link);
}

static enum status submit_packed(struct meta_service *service, struct operation *operation, Trilith__Command *command)
{
    command->time_ms = loop_wall_ms(service->parts.loop);
    size_t bytes = protobuf_c_message_get_packed_size(&command->base);
    if (bytes > COMMAND_BYTES_MAX) {
        return STATUS_TOO_LARGE;
    }
    protobuf_c_message_pack(&command->base, service->command);
    return journal_submit(service->journal, &operation->entry, service->command, bytes);
}

struct operation *service_submit(struct meta_service *service, struct rpc_request *request, Trilith__Command *command)
{
    struct list_link *link = BUGGIFY(BUGGIFY_META_BUSY) ? NULL : list_take_first(&service->free);
    if (link == NULL) {
        rpc_reply(request, STATUS_BUSY, NULL);
        return NULL;
    }
    struct operation *operation = LIST_ENTRY(link, struct operation, link);
    operation->request = request;
    enum status status = submit_packed(service, operation, command);
    if (status != STATUS_OK) {
        list_append(&service->free, &operation->link);
        service_reply_status(service, request, status == STATUS_FENCED ? STATUS_UNAVAILABLE : status);
        return NULL;
    }
    list_append(&service->busy, &operation->link);
    return operation;
}

static void start_finish(struct meta_service *service, enum status status);

static void operation_finish(struct meta_service *service, struct operation *operation, const struct outcome *outcome)
{
    struct rpc_request *request = operation->request;
    list_remove(&operation->link); /* It is answered here, even when answering finds the tables damaged. */
    if (request == NULL) {
        KILL_POINT(KILL_META_CLUSTER_CREATED);
        operation_end(service, operation);
        start_finish(service, outcome->status == STATUS_EXISTS ? STATUS_OK : outcome->status);
        return;
    }
    const struct service_row *row = row_of(request->type);
    if (outcome->status != STATUS_OK || row->finish == NULL) {
        service_reply_status(service, request, outcome->status);
    } else {
        row->finish(service, operation, outcome);
    }
    operation_end(service, operation);
}

static void committed(struct journal_user *user, uint64_t index, const void *bytes, size_t size,
                      struct journal_entry *entry)
{
    struct meta_service *service = CONTAINER_OF(user, struct meta_service, journal_user);
    struct operation *operation = entry == NULL ? NULL : CONTAINER_OF(entry, struct operation, entry);
    if (service->failed != STATUS_OK) {
        return;
    }
    struct outcome outcome = {0};
    enum status status = state_apply(service->parts.state, index, bytes, size, &outcome);
    if (status == STATUS_OK && outcome.punctured.count > 0 && service->vault != NULL) {
        KILL_POINT(KILL_META_NOT_YET_PUNCTURED);
        status = vault_puncture(service->vault, outcome.punctured.page, outcome.punctured.first_slot);
    }
    if (status != STATUS_OK && status != STATUS_EXISTS) {
        log_event(LOG_ERROR, "command_not_applied", "index=%llu reason=%s", (unsigned long long)index,
                  status_name(status));
        service_fail(service, status);
        return;
    }
    if (operation != NULL) {
        KILL_POINT(KILL_META_APPLIED);
        operation_finish(service, operation, &outcome);
    }
}

/* ---- failure ----------------------------------------------------------------------------------- */

static void operations_answer(struct meta_service *service, enum status status)
{
    struct list_link *link = NULL;
    while ((link = list_take_first(&service->busy)) != NULL) {
        struct operation *operation = LIST_ENTRY(link, struct operation, link);
        if (operation->request != NULL) {
            rpc_reply(operation->request, status, NULL);
        }
        list_append(&service->free, &operation->link);
    }
}

void service_fail(struct meta_service *service, enum status status)
{
    if (service->failed != STATUS_OK) {
        return;
    }
    service->failed = status;
    log_event(LOG_ERROR, "meta_failed", "reason=%s", status_name(status));
    loop_timer_stop(service->parts.loop, &service->tick);
    operations_answer(service, STATUS_IO);
    if (service->started != NULL) {
        start_finish(service, status);
    } else if (service->server != NULL) {
        service->parts.failed(service->parts.user, status);
    }
}

static void journal_failed(struct journal_user *user, enum status status)
{
    service_fail(CONTAINER_OF(user, struct meta_service, journal_user), status);
}

/* ---- time -------------------------------------------------------------------------------------- */

/* Shorten the journal: what the tables have durably need not be replayed. */
static void checkpoint(struct meta_service *service)
{
    uint64_t applied = state_applied_index(service->parts.state);
    if (kv_flush(service->parts.kv) != STATUS_OK) {
        service_fail(service, STATUS_IO);
        return;
    }
    KILL_POINT(KILL_META_TABLES_FLUSHED);
    journal_release(service->journal, applied);
}

static void tick_fire(struct loop_timer *timer)
{
    struct meta_service *service = CONTAINER_OF(timer, struct meta_service, tick);
    loop_timer_start(service->parts.loop, timer, loop_now_ns(service->parts.loop) + TICK_NS);
    journal_tick(service->journal);
    bool wanted = journal_wants_release(service->journal);
    if (wanted ? !BUGGIFY(BUGGIFY_META_CHECKPOINT_LATE) : BUGGIFY(BUGGIFY_META_CHECKPOINT_EARLY)) {
        checkpoint(service);
    }
}

/* ---- life -------------------------------------------------------------------------------------- */

static void service_free(struct meta_service *service)
{
    membership_deinit(&service->membership);
    if (service->keys != NULL) {
        key_pool_close(service->keys);
    }
    free(service->operations);
    free(service->command);
    free(service);
}

struct meta_service *meta_service_open(const struct meta_service_parts *parts,
                                       const struct meta_service_options *options)
{
    struct meta_service *service = calloc(1, sizeof(*service));
    if (service == NULL) {
        return NULL;
    }
    service->parts = *parts;
    service->options = *options;
    service->journal_user = (struct journal_user){.committed = committed, .failed = journal_failed};
    service->rpc = (struct rpc_service){.handle = handle};
    service->operations = calloc(SERVICE_OPERATIONS_MAX, sizeof(struct operation));
    service->command = malloc(COMMAND_BYTES_MAX);
    service->keys = key_pool_open(SERVICE_KEYS);
    membership_init(&service->membership, options->node_lease_ms * NS_PER_MS, loop_now_ns(parts->loop));
    if (service->operations == NULL || service->command == NULL || service->keys == NULL) {
        service_free(service);
        return NULL;
    }
    list_init(&service->free);
    list_init(&service->busy);
    for (size_t i = 0; i < SERVICE_OPERATIONS_MAX; i++) {
        list_append(&service->free, &service->operations[i].link);
    }
    service->tick.fire = tick_fire;
    return service;
}

struct journal_user *meta_service_journal_user(struct meta_service *service)
{
    return &service->journal_user;
}

enum status meta_service_health(const struct meta_service *service)
{
    return service->failed;
}

const char *meta_service_address(const struct meta_service *service)
{
    return rpc_server_address(service->server);
}

static void start_run(struct loop_task *task)
{
    struct meta_service *service = CONTAINER_OF(task, struct meta_service, start_task);
    void (*started)(void *, enum status) = service->started;
    enum status status = service->start_status;
    service->started = NULL;
    if (status == STATUS_OK) {
        status =
            rpc_server_open(service->parts.loop, service->parts.net, service->address, &service->rpc, &service->server);
    }
    if (status == STATUS_OK) {
        loop_timer_start(service->parts.loop, &service->tick, loop_now_ns(service->parts.loop) + TICK_NS);
    }
    started(service->started_user, status);
}

static void start_finish(struct meta_service *service, enum status status)
{
    if (service->start_task.run != NULL) {
        return;
    }
    service->start_status = status;
    service->start_task.run = start_run;
    loop_defer(service->parts.loop, &service->start_task);
}

static void puncture_known(void *user, uint32_t page, uint32_t slot)
{
    struct meta_service *service = user;
    enum status status = vault_puncture(service->vault, page, slot);
    if (status != STATUS_OK && service->failed == STATUS_OK) {
        service->failed = status;
    }
}

/* The journal and the tables must speak of the same cluster. */
static enum status start_check(struct meta_service *service)
{
    const Trilith__ClusterRecord *cluster = state_cluster(service->parts.state);
    if (service->failed != STATUS_OK) {
        return service->failed;
    }
    if (cluster->cluster_id.len != 0 && memcmp(cluster->cluster_id.data, service->journal->id.bytes, 16) != 0) {
        return STATUS_CONFLICT;
    }
    enum status status = leaves_each_punctured(service_tables(service), puncture_known, service);
    return status == STATUS_OK ? service->failed : status;
}

void meta_service_start(struct meta_service *service, struct journal *journal, struct vault *vault, const char *address,
                        void (*started)(void *user, enum status status), void *user)
{
    service->journal = journal;
    service->vault = vault;
    service->started = started;
    service->started_user = user;
    (void)snprintf(service->address, sizeof(service->address), "%s", address);
    enum status status = start_check(service);
    if (status != STATUS_OK || state_cluster(service->parts.state)->cluster_id.len != 0) {
        start_finish(service, status);
        return;
    }
    Trilith__ClusterCreate create = TRILITH__CLUSTER_CREATE__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    create.cluster_id = (ProtobufCBinaryData){.data = journal->id.bytes, .len = sizeof(journal->id.bytes)};
    command.change_case = TRILITH__COMMAND__CHANGE_CLUSTER_CREATE;
    command.cluster_create = &create;
    struct list_link *link = list_take_first(&service->free);
    CHECK(link != NULL); /* Nothing else runs yet. */
    struct operation *operation = LIST_ENTRY(link, struct operation, link);
    operation->request = NULL;
    list_append(&service->busy, &operation->link);
    status = submit_packed(service, operation, &command);
    if (status != STATUS_OK) {
        operation_end(service, operation);
        start_finish(service, status);
    }
}

static void journal_closed(void *user)
{
    struct meta_service *service = user;
    void (*stopped)(void *) = service->stopped;
    void *stopped_user = service->stopped_user;
    operations_answer(service, STATUS_UNAVAILABLE);
    if (service->failed == STATUS_OK && kv_flush(service->parts.kv) != STATUS_OK) {
        log_event(LOG_ERROR, "tables_not_flushed", "reason=io");
    }
    service_free(service);
    stopped(stopped_user);
}

void meta_service_stop(struct meta_service *service, void (*stopped)(void *user), void *user)
{
    CHECK(!service->stopping);
    service->stopping = true;
    service->stopped = stopped;
    service->stopped_user = user;
    loop_timer_stop(service->parts.loop, &service->tick);
    if (service->server != NULL) {
        rpc_server_close(service->server);
        service->server = NULL;
    }
    if (service->journal == NULL) {
        journal_closed(service);
        return;
    }
    journal_close(service->journal, journal_closed, service);
}

void meta_service_abandon(struct meta_service *service)
{
    loop_timer_stop(service->parts.loop, &service->tick);
    operations_answer(service, STATUS_UNAVAILABLE);
    if (service->server != NULL) {
        rpc_server_close(service->server);
    }
    service_free(service);
}
