/* service_vault.c - the vault's keeper within the service: started, told what the state has applied, asked for leaves,
 * and told to close epochs.
 *
 * A leaf that the state has punctured is refused by the keeper before whoever asked for it is answered, so no reply
 * that comes later can bring it back. What the keeper was not told because the process ended stands in the tables, and
 * is told at the next start before anything is served. */
#include "meta/service_private.h"

#include "meta/epochs.h"
#include "meta/leaves.h"

#include "base/buggify.h"
#include "base/log.h"

#include <stdio.h>

/* ---- what the keeper asks for ------------------------------------------------------------------ */

static void keeper_command_done(struct meta_service *service, struct operation *operation, enum status status,
                                const struct outcome *outcome)
{
    (void)outcome; /* What was applied the keeper has heard from service_vault_applied(). */
    service_operation_free(service, operation);
    if (status != STATUS_OK && service->keeper != NULL && service_is_sound(service)) {
        keeper_refused(service->keeper);
    }
}

static bool keeper_submits(void *user, Trilith__Command *command)
{
    return service_submit_pooled(user, keeper_command_done, command) == STATUS_OK;
}

static void keeper_serves(void *user)
{
    service_start_finish(user, STATUS_OK);
}

static void keeper_fails(void *user, enum status status)
{
    struct meta_service *service = user;
    (void)snprintf(service->message, sizeof(service->message), "%s", keeper_message(service->keeper));
    service_fail(service, status);
}

/* ---- start ------------------------------------------------------------------------------------- */

struct dirty_pages {
    struct meta_service *service;
    enum status status;
};

static void puncture_dirty(void *user, const struct page_puncture *page)
{
    struct dirty_pages *dirty = user;
    if (dirty->status == STATUS_OK) {
        dirty->status = keeper_puncture(dirty->service->keeper, page->page, &page->leaves);
    }
}

/* Erasures that no seal has taken: those of chunks that no object has (orphans) puncture nothing. Of those that were
 * punctured late, which their ids do not show, the punctures themselves say it, or that their wipes are done. */
static void note_unsealed(struct meta_service *service)
{
    const Trilith__ClusterRecord *cluster = state_cluster(service->parts.state);
    if (cluster->next_erasure_id > cluster->keys_sealed_below || cluster->wiped_since_seal > 0) {
        keeper_note_unsealed(service->keeper);
    }
}

enum status service_vault_start(struct meta_service *service)
{
    const Trilith__ClusterRecord *cluster = state_cluster(service->parts.state);
    struct keeper_options options = {
        .parts = service->parts.vault, .self = 0, .servers = 1, .epoch_ns = service->options.epoch_ms * NS_PER_MS};
    const struct keeper_user user = {
        .submit = keeper_submits, .serving = keeper_serves, .failed = keeper_fails, .user = service};
    CHECK(cluster->cluster_id.len == VAULT_UUID_BYTES);
    memcpy(options.vault_uuid, cluster->cluster_id.data, VAULT_UUID_BYTES);
    service->keeper = keeper_open(&options, cluster, &user);
    if (service->keeper == NULL) {
        (void)snprintf(service->message, sizeof(service->message),
                       "no (locked) memory for the vault: raise the limit memlock");
        return STATUS_FULL;
    }
    struct dirty_pages dirty = {.service = service, .status = STATUS_OK};
    enum status status = leaves_each_dirty(service_tables(service), puncture_dirty, &dirty);
    status = status == STATUS_OK ? dirty.status : status;
    if (status == STATUS_OK) {
        note_unsealed(service);
        keeper_lead(service->keeper, true);
    }
    return status;
}

/* ---- what the state has applied ---------------------------------------------------------------- */

static void note_audit(struct meta_service *service, const struct outcome *outcome)
{
    const Trilith__ClusterRecord *cluster = state_cluster(service->parts.state);
    service->audit_failed = outcome->status == STATUS_NOT_EMPTY;
    if (service->audit_failed) {
        log_event(LOG_ERROR, "epoch_not_balanced", "epoch=%llu erased=%llu punctured=%llu",
                  (unsigned long long)outcome->command->epoch_switch->epoch,
                  (unsigned long long)outcome->command->epoch_switch->leaves_erased,
                  (unsigned long long)cluster->sealed_punctured);
    }
}

enum status service_vault_applied(struct meta_service *service, const struct outcome *outcome)
{
    if (service->keeper == NULL || service->stopping) {
        return STATUS_OK; /* A replay, or too late: the tables say it at the next start. */
    }
    enum status status = STATUS_OK;
    if (outcome->punctured_count > 0) {
        KILL_POINT(KILL_META_NOT_YET_PUNCTURED);
    }
    for (size_t i = 0; status == STATUS_OK && i < outcome->punctured_count; i++) {
        status = keeper_puncture(service->keeper, outcome->punctured[i].page, &outcome->punctured[i].leaves);
    }
    Trilith__Command__ChangeCase change = outcome->command->change_case;
    if (change == TRILITH__COMMAND__CHANGE_EPOCH_SWITCH) {
        note_audit(service, outcome);
    }
    bool is_epoch = change == TRILITH__COMMAND__CHANGE_EPOCH_SEAL || change == TRILITH__COMMAND__CHANGE_EPOCH_SWITCH ||
                    change == TRILITH__COMMAND__CHANGE_EPOCH_ERASED;
    if (status == STATUS_OK && is_epoch && outcome->status == STATUS_OK) {
        keeper_applied(service->keeper, outcome->command, state_cluster(service->parts.state));
    }
    note_unsealed(service);
    return status;
}

/* ---- leaves ------------------------------------------------------------------------------------ */

enum status service_derive(struct meta_service *service, uint32_t page, uint32_t slot, struct key *leaf)
{
    if (service->keeper == NULL || !service_is_sound(service)) {
        return STATUS_UNAVAILABLE;
    }
    return keeper_derive(service->keeper, page, slot, leaf);
}

static void lapsed(struct meta_service *service, struct operation *operation, enum status status,
                   const struct outcome *outcome)
{
    (void)operation;
    (void)status;
    (void)outcome;
    service->lapsing = false;
}

/* Leases that ran out unused are given up: their leaves would otherwise stay in the vault for ever. */
static void leases_lapse(struct meta_service *service)
{
    if (service->lapsing || !leaves_have_lapsed(service_tables(service), service_now_ms(service))) {
        return;
    }
    Trilith__LapseLeaves lapse_leaves = TRILITH__LAPSE_LEAVES__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    command.change_case = TRILITH__COMMAND__CHANGE_LAPSE_LEAVES;
    command.lapse_leaves = &lapse_leaves;
    service->lapsing = service_submit_own(service, &service->lapse, lapsed, &command) == STATUS_OK;
}

/* ---- closing an epoch -------------------------------------------------------------------------- */

static void epoch_closed(struct keeper_wait *keeper_wait, enum status status, uint64_t epoch)
{
    struct epoch_wait *wait = CONTAINER_OF(keeper_wait, struct epoch_wait, wait);
    struct rpc_request *request = wait->request;
    wait->taken = false;
    wait->request = NULL;
    if (request == NULL) { /* It was answered when the service stopped. */
        return;
    }
    Trilith__EpochCloseReply reply = TRILITH__EPOCH_CLOSE_REPLY__INIT;
    if (status == STATUS_OK) {
        const struct keeper_figures *figures = keeper_figures(wait->service->keeper);
        reply.epoch = epoch;
        reply.leaves_erased = figures->closed.leaves_erased;
        reply.duration_ms = figures->duration_ns / NS_PER_MS;
    }
    rpc_reply(request, status, status == STATUS_OK ? &reply.base : NULL);
}

void serve_epoch_close(struct meta_service *service, struct rpc_request *request)
{
    for (size_t i = 0; i < EPOCH_WAITS_MAX; i++) {
        struct epoch_wait *wait = &service->epoch_waits[i];
        if (!wait->taken) {
            *wait = (struct epoch_wait){
                .wait = {.closed = epoch_closed}, .service = service, .request = request, .taken = true};
            keeper_close_epoch(service->keeper, &wait->wait);
            return;
        }
    }
    service_reply_status(service, request, STATUS_BUSY);
}

void service_vault_tick(struct meta_service *service)
{
    leases_lapse(service);
}

void service_vault_answer(struct meta_service *service, enum status status)
{
    for (size_t i = 0; i < EPOCH_WAITS_MAX; i++) {
        struct epoch_wait *wait = &service->epoch_waits[i];
        if (wait->request != NULL) {
            rpc_reply(wait->request, status, NULL);
            wait->request = NULL;
        }
    }
}

/* ---- status ------------------------------------------------------------------------------------ */

Trilith__VaultStatus service_vault_status(const struct meta_service *service)
{
    const Trilith__ClusterRecord *cluster = state_cluster(service->parts.state);
    const struct keeper_figures *figures = keeper_figures(service->keeper);
    Trilith__VaultStatus status = TRILITH__VAULT_STATUS__INIT;
    status.epoch = cluster->epoch;
    status.epoch_ms = cluster->epoch_ms;
    status.closing = keeper_is_closing(service->keeper);
    status.slot = (char *)(uintptr_t)service->parts.vault.slot->backend;
    status.leaves_live = cluster->leaves_live;
    status.leaves_punctured = cluster->leaves_punctured - cluster->leaves_erased;
    status.leaves_erased = cluster->leaves_erased;
    status.balanced = !service->audit_failed && epochs_balance(cluster);
    status.close_ms = figures->duration_ns / NS_PER_MS;
    status.close_bytes = figures->closed.bytes_written;
    return status;
}
