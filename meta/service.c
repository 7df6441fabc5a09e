/* service.c - the core: from request to command to reply, and the life of the service. */
#include "meta/service_private.h"

#include "base/buggify.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

#define TICK_NS      NS_PER_S
#define SERVICE_KEYS (VAULT_PAGE_LEAVES + 8) /* a whole lease, and what a callback needs besides */

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
    {TRILITH__MESSAGE_TYPE__RESEAL_PULL, serve_reseal_pull, NULL},
    {TRILITH__MESSAGE_TYPE__BUCKET_CREATE, serve_bucket_create, finish_bucket_create},
    {TRILITH__MESSAGE_TYPE__BUCKET_GET, serve_bucket_get, NULL},
    {TRILITH__MESSAGE_TYPE__BUCKET_DELETE, serve_bucket_delete, NULL},
    {TRILITH__MESSAGE_TYPE__BUCKET_LIST, serve_bucket_list, NULL},
    {TRILITH__MESSAGE_TYPE__OBJECT_COMMIT, serve_object_commit, finish_object_commit},
    {TRILITH__MESSAGE_TYPE__OBJECT_GET, serve_object_get, NULL},
    {TRILITH__MESSAGE_TYPE__OBJECT_DELETE, serve_object_delete, finish_object_delete},
    {TRILITH__MESSAGE_TYPE__OBJECT_LIST, serve_object_list, NULL},
    {TRILITH__MESSAGE_TYPE__CLUSTER_STATUS, serve_cluster_status, NULL},
    {TRILITH__MESSAGE_TYPE__TENANT_CREATE, serve_tenant_create, NULL},
    {TRILITH__MESSAGE_TYPE__TENANT_LIST, serve_tenant_list, NULL},
    {TRILITH__MESSAGE_TYPE__CREDENTIAL_CREATE, serve_credential_create, NULL},
    {TRILITH__MESSAGE_TYPE__CREDENTIAL_LIST, serve_credential_list, NULL},
    {TRILITH__MESSAGE_TYPE__CREDENTIAL_REVOKE, serve_credential_revoke, NULL},
    {TRILITH__MESSAGE_TYPE__OBJECT_LOCATE, serve_object_locate, NULL},
    {TRILITH__MESSAGE_TYPE__OBJECT_OPENING, serve_object_opening, NULL},
    {TRILITH__MESSAGE_TYPE__ERASURE_GET, serve_erasure_get, NULL},
    {TRILITH__MESSAGE_TYPE__ERASURE_LIST, serve_erasure_list, NULL},
    {TRILITH__MESSAGE_TYPE__KEY_SHOW, serve_key_show, NULL},
    {TRILITH__MESSAGE_TYPE__KEY_ROTATE, serve_key_rotate, NULL},
    {TRILITH__MESSAGE_TYPE__KEY_TRANSPORT, serve_key_transport, NULL},
    {TRILITH__MESSAGE_TYPE__KEY_IMPORT, serve_key_import, NULL},
    {TRILITH__MESSAGE_TYPE__KEY_SET_STATE, serve_key_set_state, finish_key_set_state},
    {TRILITH__MESSAGE_TYPE__EPOCH_CLOSE, serve_epoch_close, NULL},
    {TRILITH__MESSAGE_TYPE__OBJECT_HOLD, serve_object_hold, NULL},
    {TRILITH__MESSAGE_TYPE__BUCKET_SET, serve_bucket_set, finish_bucket_set},
    {TRILITH__MESSAGE_TYPE__ERASURE_UNDO, serve_erasure_undo, NULL},
    {TRILITH__MESSAGE_TYPE__PERSON_SET, serve_person_set, NULL},
    {TRILITH__MESSAGE_TYPE__PERSON_LIST, serve_person_list, NULL},
    {TRILITH__MESSAGE_TYPE__REQUEST_CREATE, serve_request_create, finish_request},
    {TRILITH__MESSAGE_TYPE__REQUEST_LIST, serve_request_list, NULL},
    {TRILITH__MESSAGE_TYPE__REQUEST_GET, serve_request_get, NULL},
    {TRILITH__MESSAGE_TYPE__REQUEST_APPROVE, serve_request_approve, finish_request},
    {TRILITH__MESSAGE_TYPE__REQUEST_CANCEL, serve_request_cancel, finish_request},
    {TRILITH__MESSAGE_TYPE__MEDIUM_REPORT, serve_medium_report, finish_request},
    {TRILITH__MESSAGE_TYPE__CERT_LIST, serve_cert_list, NULL},
    {TRILITH__MESSAGE_TYPE__CERT_GET, serve_cert_get, NULL},
    {TRILITH__MESSAGE_TYPE__LEDGER_HEAD, serve_ledger_head, NULL},
    {TRILITH__MESSAGE_TYPE__LEDGER_READ, serve_ledger_read, NULL},
    {TRILITH__MESSAGE_TYPE__ATTESTATION_GET, serve_attestation_get, NULL},
    {TRILITH__MESSAGE_TYPE__SIGNING_KEY_LIST, serve_signing_key_list, NULL},
    {TRILITH__MESSAGE_TYPE__SIGNING_KEY_ROTATE, serve_signing_key_rotate, NULL},
    {TRILITH__MESSAGE_TYPE__MOVE_PULL, serve_move_pull, NULL},
    {TRILITH__MESSAGE_TYPE__MOVE_CHECK, serve_move_check, NULL},
    {TRILITH__MESSAGE_TYPE__MOVE_DONE, serve_move_done, finish_move_done},
    {TRILITH__MESSAGE_TYPE__MOVE_LIST, serve_move_list, NULL},
    {TRILITH__MESSAGE_TYPE__DISK_DRAIN, serve_disk_drain, finish_disk_drain},
    {TRILITH__MESSAGE_TYPE__DISK_GET, serve_disk_get, NULL},
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
    if (!service_is_sound(service)) {
        rpc_reply(request, STATUS_UNAVAILABLE, NULL);
        return;
    }
    row->serve(service, request);
}

/* ---- replies ----------------------------------------------------------------------------------- */

bool service_is_sound(const struct meta_service *service)
{
    return service->failed == STATUS_OK && !service->stopping;
}

uint64_t service_now_ms(const struct meta_service *service)
{
    uint64_t now_ms = loop_wall_ms(service->parts.loop);
    uint64_t state_ms = state_time_ms(service->parts.state);
    return now_ms > state_ms ? now_ms : state_ms;
}

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

void service_operation_free(struct meta_service *service, struct operation *operation)
{
    list_append(&service->operations_free, &operation->link);
}

enum status service_submit_own(struct meta_service *service, struct operation *operation, operation_done *done,
                               Trilith__Command *command)
{
    command->time_ms = loop_wall_ms(service->parts.loop);
    size_t bytes = protobuf_c_message_get_packed_size(&command->base);
    if (!service_is_sound(service)) {
        return STATUS_UNAVAILABLE;
    }
    if (bytes > COMMAND_BYTES_MAX) {
        return STATUS_TOO_LARGE;
    }
    protobuf_c_message_pack(&command->base, service->command);
    enum status status = journal_submit(service->journal, &operation->entry, service->command, bytes);
    if (status != STATUS_OK) {
        return status == STATUS_FENCED ? STATUS_UNAVAILABLE : status;
    }
    operation->done = done;
    list_append(&service->operations_busy, &operation->link);
    return STATUS_OK;
}

static enum status submit_pooled(struct meta_service *service, struct rpc_request *request, operation_done *done,
                                 Trilith__Command *command)
{
    struct list_link *link = BUGGIFY(BUGGIFY_META_BUSY) ? NULL : list_take_first(&service->operations_free);
    if (link == NULL) {
        return STATUS_BUSY;
    }
    struct operation *operation = LIST_ENTRY(link, struct operation, link);
    operation->request = request;
    enum status status = service_submit_own(service, operation, done, command);
    if (status != STATUS_OK) {
        service_operation_free(service, operation);
    }
    return status;
}

enum status service_submit_pooled(struct meta_service *service, operation_done *done, Trilith__Command *command)
{
    return submit_pooled(service, NULL, done, command);
}

static void request_done(struct meta_service *service, struct operation *operation, enum status status,
                         const struct outcome *outcome)
{
    struct rpc_request *request = operation->request;
    service_operation_free(service, operation);
    if (outcome == NULL) {
        rpc_reply(request, status, NULL);
        return;
    }
    const struct service_row *row = row_of(request->type);
    if (status != STATUS_OK || row->finish == NULL) {
        service_reply_status(service, request, status);
    } else {
        row->finish(service, request, outcome);
    }
}

void service_submit(struct meta_service *service, struct rpc_request *request, Trilith__Command *command)
{
    enum status status = submit_pooled(service, request, request_done, command);
    if (status != STATUS_OK) {
        service_reply_status(service, request, status);
    }
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
    if (status == STATUS_OK) {
        certifier_applied(service, &outcome);
        status = service_vault_applied(service, &outcome);
    }
    if (status != STATUS_OK && status != STATUS_EXISTS) {
        log_event(LOG_ERROR, "command_not_applied", "index=%llu reason=%s", (unsigned long long)index,
                  status_name(status));
        service_fail(service, status);
        return;
    }
    if (operation != NULL) {
        KILL_POINT(KILL_META_APPLIED);
        list_remove(&operation->link); /* It is answered here, even when answering finds the tables damaged. */
        operation->done(service, operation, outcome.status, &outcome);
    }
}

/* ---- failure ----------------------------------------------------------------------------------- */

static void operations_answer(struct meta_service *service, enum status status)
{
    struct list_link *link = NULL;
    while ((link = list_take_first(&service->operations_busy)) != NULL) {
        struct operation *operation = LIST_ENTRY(link, struct operation, link);
        operation->done(service, operation, status, NULL);
    }
}

void service_fail(struct meta_service *service, enum status status)
{
    if (service->failed != STATUS_OK) {
        return;
    }
    service->failed = status;
    log_event(LOG_ERROR, "meta_failed", "reason=%s message=%s", status_name(status), service->message);
    loop_timer_stop(service->parts.loop, &service->tick);
    certifier_stop(service);
    operations_answer(service, STATUS_IO);
    service_vault_answer(service, STATUS_IO);
    if (service->started != NULL) {
        service_start_finish(service, status);
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
    service_vault_tick(service);
    key_jobs_tick(service);
    reseal_tick(service);
    certifier_tick(service);
    service_moves_tick(service);
    service_requests_tick(service);
    if (!service_is_sound(service)) {
        return;
    }
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
    if (service->certifier != NULL) {
        certifier_close(service->certifier);
    }
    if (service->keys != NULL) {
        key_pool_close(service->keys);
    }
    if (service->job_keys != NULL) {
        key_pool_close(service->job_keys);
    }
    free(service->operations);
    free(service->command);
    free(service->epoch_waits);
    free(service->jobs);
    free(service->changes);
    free(service->reseals);
    service_moves_close(service->moves);
    service_requests_close(service->requests);
    free(service);
}

static bool service_allocate(struct meta_service *service)
{
    service->operations = calloc(SERVICE_OPERATIONS_MAX, sizeof(*service->operations));
    service->command = malloc(COMMAND_BYTES_MAX);
    service->epoch_waits = calloc(EPOCH_WAITS_MAX, sizeof(*service->epoch_waits));
    service->jobs = calloc(KEY_JOBS_MAX, sizeof(*service->jobs));
    service->changes = calloc(KEY_CHANGES_MAX, sizeof(*service->changes));
    service->reseals = calloc(RESEAL_TENANTS_MAX, sizeof(*service->reseals));
    service->moves = service_moves_open();
    service->requests = service_requests_open();
    service->keys = key_pool_open(SERVICE_KEYS);
    service->job_keys = key_pool_open(2 * KEY_JOBS_MAX);
    service->certifier = certifier_open(service);
    return service->certifier != NULL && service->operations != NULL && service->command != NULL &&
           service->epoch_waits != NULL && service->jobs != NULL && service->changes != NULL &&
           service->reseals != NULL && service->moves != NULL && service->requests != NULL && service->keys != NULL &&
           service->job_keys != NULL;
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
    membership_init(&service->membership, options->node_lease_ms * NS_PER_MS, loop_now_ns(parts->loop));
    if (!service_allocate(service)) {
        service_free(service);
        return NULL;
    }
    list_init(&service->operations_free);
    list_init(&service->operations_busy);
    list_init(&service->jobs_free);
    list_init(&service->jobs_busy);
    for (size_t i = 0; i < SERVICE_OPERATIONS_MAX; i++) {
        list_append(&service->operations_free, &service->operations[i].link);
    }
    for (size_t i = 0; i < KEY_JOBS_MAX; i++) {
        list_append(&service->jobs_free, &service->jobs[i].link);
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

const char *meta_service_message(const struct meta_service *service)
{
    return service->message;
}

const char *meta_service_address(const struct meta_service *service)
{
    return rpc_server_address(service->server);
}

/* ---- start -------------------------------------------------------------------------------------
 *
 *   meta_service_start ──> (ClusterCreate, when the journal is new) ──> service_vault_start ──> serving ──> start_run
 *
 * The vault comes after the cluster: it is the cluster's id that tables and slot are bound to. */

static void start_run(struct loop_task *task)
{
    struct meta_service *service = CONTAINER_OF(task, struct meta_service, start_task);
    void (*started)(void *, enum status) = service->started;
    enum status status = service->failed != STATUS_OK ? service->failed : service->start_status;
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

void service_start_finish(struct meta_service *service, enum status status)
{
    if (service->start_task.run != NULL) {
        return;
    }
    service->start_status = status;
    service->start_task.run = start_run;
    loop_defer(service->parts.loop, &service->start_task);
}

/* The journal and the tables must speak of the same cluster. */
static enum status start_check(struct meta_service *service)
{
    const Trilith__ClusterRecord *cluster = state_cluster(service->parts.state);
    if (service->failed != STATUS_OK) {
        return service->failed;
    }
    if (cluster->cluster_id.len != 0 && memcmp(cluster->cluster_id.data, service->journal->id.bytes, 16) != 0) {
        (void)snprintf(service->message, sizeof(service->message),
                       "journal and tables belong to different clusters: put back the directory that was there before");
        return STATUS_CONFLICT;
    }
    return STATUS_OK;
}

static void start_vault(struct meta_service *service)
{
    enum status status = service_vault_start(service);
    if (status != STATUS_OK) {
        service_start_finish(service, status);
    }
}

static void cluster_created(struct meta_service *service, struct operation *operation, enum status status,
                            const struct outcome *outcome)
{
    service_operation_free(service, operation);
    if (outcome == NULL || (status != STATUS_OK && status != STATUS_EXISTS)) {
        service_start_finish(service, status);
        return;
    }
    KILL_POINT(KILL_META_CLUSTER_CREATED);
    start_vault(service);
}

static enum status create_cluster(struct meta_service *service)
{
    Trilith__ClusterCreate create = TRILITH__CLUSTER_CREATE__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    struct uuid *id = &service->journal->id;
    create.cluster_id = (ProtobufCBinaryData){.data = id->bytes, .len = sizeof(id->bytes)};
    command.change_case = TRILITH__COMMAND__CHANGE_CLUSTER_CREATE;
    command.cluster_create = &create;
    struct list_link *link = list_take_first(&service->operations_free);
    CHECK(link != NULL); /* Nothing else runs yet. */
    struct operation *operation = LIST_ENTRY(link, struct operation, link);
    enum status status = service_submit_own(service, operation, cluster_created, &command);
    if (status != STATUS_OK) {
        service_operation_free(service, operation);
    }
    return status;
}

void meta_service_start(struct meta_service *service, struct journal *journal, const char *address,
                        void (*started)(void *user, enum status status), void *user)
{
    service->journal = journal;
    service->started = started;
    service->started_user = user;
    (void)snprintf(service->address, sizeof(service->address), "%s", address);
    enum status status = start_check(service);
    if (status == STATUS_OK && state_cluster(service->parts.state)->cluster_id.len != 0) {
        start_vault(service);
        return;
    }
    if (status == STATUS_OK) {
        status = create_cluster(service);
    }
    if (status != STATUS_OK) {
        service_start_finish(service, status);
    }
}

/* ---- stop --------------------------------------------------------------------------------------
 *
 *   meta_service_stop ──> keeper closed ──> journal closed ──> the KMS has answered what it was asked ──> stopped
 */

static void stop_run(struct loop_task *task)
{
    struct meta_service *service = CONTAINER_OF(task, struct meta_service, stop_task);
    void (*stopped)(void *) = service->stopped;
    void *user = service->stopped_user;
    if (service->failed == STATUS_OK && kv_flush(service->parts.kv) != STATUS_OK) {
        log_event(LOG_ERROR, "tables_not_flushed", "reason=io");
    }
    service_free(service);
    stopped(user);
}

void service_stop_check(struct meta_service *service)
{
    if (service->journal_is_closed && key_jobs_are_idle(service) && certifier_is_idle(service) &&
        service->stop_task.run == NULL) {
        service->stop_task.run = stop_run;
        loop_defer(service->parts.loop, &service->stop_task);
    }
}

static void journal_closed(void *user)
{
    struct meta_service *service = user;
    operations_answer(service, STATUS_UNAVAILABLE);
    service->journal_is_closed = true;
    service_stop_check(service);
}

static void keeper_closed(void *user)
{
    struct meta_service *service = user;
    service->keeper = NULL;
    if (service->journal == NULL) {
        journal_closed(service);
        return;
    }
    journal_close(service->journal, journal_closed, service);
}

void meta_service_stop(struct meta_service *service, void (*stopped)(void *user), void *user)
{
    CHECK(!service->stopping);
    service->stopping = true;
    service->stopped = stopped;
    service->stopped_user = user;
    loop_timer_stop(service->parts.loop, &service->tick);
    certifier_stop(service);
    if (service->server != NULL) {
        rpc_server_close(service->server);
        service->server = NULL;
    }
    if (service->keeper == NULL) {
        keeper_closed(service);
        return;
    }
    keeper_close(service->keeper, keeper_closed, service);
}

void meta_service_abandon(struct meta_service *service)
{
    CHECK(service->journal == NULL); /* Else meta_service_stop(). */
    service_free(service);
}
