/* service_decommission.c - the leader's part in taking disks and nodes out: what comes next, and reports that are
 * handed in.
 *
 * Each function looks at the tables and submits at most one command; with the next tick it looks again. */
#include "meta/decommission.h"
#include "meta/erasure.h"
#include "meta/registry.h"
#include "meta/service_private.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>

static bool in_stage(const Trilith__RequestRecord *record, const char *stage)
{
    return strcmp(record->request->stage, stage) == 0;
}

/* Go on to the next stage with a fact, which is taken over. */
static void go_on(struct meta_service *service, const Trilith__RequestRecord *record, const char *to, json_t *fact)
{
    if (fact != NULL &&
        service_request_advance(service, record->request->id, record->request->stage, to, fact) == STATUS_OK) {
        log_event(LOG_INFO, "decommission", "request=%llu from=%s to=%s", (unsigned long long)record->request->id,
                  record->request->stage, to);
    }
    json_decref(fact);
}

/* ---- disks ---------------------------------------------------------------------------------------- */

static void drain(struct meta_service *service, const Trilith__RequestRecord *record)
{
    Trilith__DiskDrainRequest drain = TRILITH__DISK_DRAIN_REQUEST__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    drain.disk_id = record->request->disk_id;
    drain.on = true;
    command.change_case = TRILITH__COMMAND__CHANGE_DISK_DRAIN;
    command.disk_drain = &drain;
    enum status ignored = service_request_submit(service, record->request->id, &command);
    (void)ignored; /* Else with the next tick. */
}

/* Whether a disk is as dead as its request says: its node is down, or is up and says that the disk has failed, or
 * nothing of it. Silence shows nothing before it has lasted: a leader that has just begun has heard nobody. */
static bool disk_is_dead(const struct meta_service *service, const Trilith__MapDisk *disk)
{
    const struct disk_belief *belief = membership_disk(&service->membership, disk->node_id, disk->id);
    enum node_state state =
        membership_node_state(&service->membership, disk->node_id, loop_now_ns(service->parts.loop));
    return state == NODE_DOWN ||
           (state == NODE_UP && (belief == NULL || belief->state == TRILITH__DISK_STATE__DISK_FENCED));
}

/* The proof that a disk is empty: by the tables, and by its node's own word. A dead one has no word; one that is not
 * known to be dead waits. */
static void draining_advance(struct meta_service *service, const Trilith__RequestRecord *record)
{
    struct tables *tables = service_tables(service);
    const Trilith__Request *request = record->request;
    Trilith__MapDisk *disk = NULL;
    struct disk_left left;
    if (registry_disk(tables, request->disk_id, &disk) != STATUS_OK) {
        return;
    }
    if (disk->phase == TRILITH__DISK_PHASE__DISK_ACTIVE) {
        drain(service, record);
        return;
    }
    enum status status = disk_is_empty(tables, request->disk_id, &left);
    const struct disk_belief *belief = membership_disk(&service->membership, disk->node_id, disk->id);
    bool moved_away = (status == STATUS_OK || status == STATUS_NOT_EMPTY) && left.pgs == 0 && left.coming == 0;
    if (!moved_away || !(request->dead ? disk_is_dead(service, disk) : service_disk_is_empty(service, disk, &left))) {
        return;
    }
    bool known = belief != NULL;
    go_on(service, record, request->dead ? DECOMMISSION_REMOVING : DECOMMISSION_MEDIUM,
          json_pack("{s:I, s:I, s:I, s:b, s:o, s:o}", "at_ms", (json_int_t)service_now_ms(service), "pgs",
                    (json_int_t)left.pgs, "coming", (json_int_t)left.coming, "owes_wipes", left.owes_wipes ? 1 : 0,
                    "chunks_reported", known ? json_integer((json_int_t)belief->chunks) : json_null(), "bytes_reported",
                    known ? json_integer((json_int_t)belief->used) : json_null()));
}

/* The seal that takes the keys of every erasure that there is now (service_vault.c says when there will be another
 * one). */
static uint64_t seal_of_now(const Trilith__ClusterRecord *cluster)
{
    bool unsealed = cluster->next_erasure_id > cluster->keys_sealed_below || cluster->wiped_since_seal > 0;
    return cluster->seal + (unsealed ? 1 : 0);
}

static void removing_advance(struct meta_service *service, const Trilith__RequestRecord *record)
{
    struct tables *tables = service_tables(service);
    const Trilith__Request *request = record->request;
    Trilith__MapDisk *disk = NULL;
    Trilith__DiskRemove remove = TRILITH__DISK_REMOVE__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    if (registry_disk(tables, request->disk_id, &disk) != STATUS_OK) {
        return;
    }
    if (disk->phase == TRILITH__DISK_PHASE__DISK_REMOVED && !erasure_disk_owes(tables, request->disk_id)) {
        go_on(service, record, request->dead ? DECOMMISSION_KEYS : REQUEST_STAGE_CERTIFY,
              json_pack("{s:I, s:I}", "at_ms", (json_int_t)service_now_ms(service), "seal",
                        (json_int_t)seal_of_now(state_cluster(service->parts.state))));
        return;
    }
    remove.disk_id = request->disk_id;
    remove.dead = request->dead;
    remove.request_id = request->id;
    command.change_case = TRILITH__COMMAND__CHANGE_DISK_REMOVE;
    command.disk_remove = &remove;
    enum status ignored = service_request_submit(service, request->id, &command);
    (void)ignored; /* Else with the next tick. */
}

/* A dead disk's certificate speaks of keys that are destroyed: so they must be. */
static void keys_advance(struct meta_service *service, const Trilith__RequestRecord *record)
{
    json_t *removed = decommission_fact(record, DECOMMISSION_REMOVING);
    uint64_t seal = medium_number(removed, "seal"); /* UINT64_MAX, which never comes: there is no such fact */
    json_decref(removed);
    if (state_cluster(service->parts.state)->erased_seal >= seal) {
        go_on(service, record, REQUEST_STAGE_CERTIFY, json_pack("{s:I}", "at_ms", (json_int_t)service_now_ms(service)));
    }
}

void disk_decommission_advance(struct meta_service *service, const Trilith__RequestRecord *record)
{
    if (in_stage(record, DECOMMISSION_DRAINING)) {
        draining_advance(service, record);
    } else if (in_stage(record, DECOMMISSION_REMOVING)) {
        removing_advance(service, record);
    } else if (in_stage(record, DECOMMISSION_KEYS)) {
        keys_advance(service, record);
    }
}

/* ---- nodes ---------------------------------------------------------------------------------------- */

static void node_disks_advance(struct meta_service *service, const Trilith__RequestRecord *record)
{
    Trilith__Map *map = NULL;
    uint32_t left = 0;
    uint32_t all = 0;
    if (registry_map(service_tables(service), state_cluster(service->parts.state)->map_epoch, &map) != STATUS_OK) {
        return;
    }
    for (size_t i = 0; i < map->n_disks; i++) {
        bool own = map->disks[i]->node_id == record->request->node_id;
        all += own;
        left += own && map->disks[i]->phase != TRILITH__DISK_PHASE__DISK_REMOVED;
    }
    if (left == 0) {
        go_on(service, record, DECOMMISSION_REMOVING,
              json_pack("{s:I, s:I}", "at_ms", (json_int_t)service_now_ms(service), "disks", (json_int_t)all));
    }
}

static void node_removing_advance(struct meta_service *service, const Trilith__RequestRecord *record)
{
    const Trilith__Request *request = record->request;
    Trilith__MapNode *node = NULL;
    Trilith__NodeRemove remove = TRILITH__NODE_REMOVE__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    if (registry_node(service_tables(service), request->node_id, &node) != STATUS_OK) {
        return;
    }
    if (node->removed) {
        go_on(service, record, REQUEST_STAGE_CERTIFY,
              json_pack("{s:I, s:I}", "at_ms", (json_int_t)service_now_ms(service), "map_epoch",
                        (json_int_t)state_cluster(service->parts.state)->map_epoch));
        return;
    }
    remove.node_id = request->node_id;
    remove.request_id = request->id;
    command.change_case = TRILITH__COMMAND__CHANGE_NODE_REMOVE;
    command.node_remove = &remove;
    enum status ignored = service_request_submit(service, request->id, &command);
    (void)ignored; /* Else with the next tick. */
}

void node_decommission_advance(struct meta_service *service, const Trilith__RequestRecord *record)
{
    if (in_stage(record, DECOMMISSION_DRAINING)) {
        node_disks_advance(service, record);
    } else if (in_stage(record, DECOMMISSION_REMOVING)) {
        node_removing_advance(service, record);
    }
}

/* ---- reports -------------------------------------------------------------------------------------- */

void serve_medium_report(struct meta_service *service, struct rpc_request *request)
{
    static char medium[] = DECOMMISSION_MEDIUM;
    static char removing[] = DECOMMISSION_REMOVING;
    const Trilith__MediumReportRequest *message = MESSAGE_OF(request, Trilith__MediumReportRequest);
    struct tables *tables = service_tables(service);
    Trilith__RequestRecord *record = NULL;
    Trilith__RequestAdvance advance;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    json_t *fact = NULL;
    bool accepted = false;
    enum status status = request_get(tables, message->request_id, &record);
    if (status == STATUS_OK) {
        status = decommission_report_check(tables, record, message, service_now_ms(service), &fact, &accepted);
    }
    size_t bytes = 0;
    char *text = status == STATUS_OK ? json_canonical(fact, &bytes) : NULL;
    json_decref(fact);
    if (status == STATUS_OK && text == NULL) {
        status = STATUS_INVALID;
    }
    if (status != STATUS_OK) {
        service_reply_status(service, request, status);
        return;
    }
    trilith__request_advance__init(&advance);
    advance.id = message->request_id;
    advance.from = medium;
    advance.to = accepted ? removing : medium;
    advance.fact = (ProtobufCBinaryData){.data = (uint8_t *)text, .len = bytes};
    command.change_case = TRILITH__COMMAND__CHANGE_REQUEST_ADVANCE;
    command.request_advance = &advance;
    log_event(LOG_INFO, "medium_report", "request=%llu accepted=%d", (unsigned long long)message->request_id, accepted);
    service_submit(service, request, &command);
    free(text);
}
