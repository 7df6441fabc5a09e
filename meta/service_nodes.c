/* service_nodes.c - requests from storage nodes: joining, heartbeats, chunks given up, wipes; and the cluster's
 * state. */
#include "meta/service_private.h"

#include "meta/erasure.h"
#include "meta/registry.h"

#include "base/log.h"
#include "proto/attestation.h"

#define CHUNKS_MAX 1024u /* in one request */

static uint64_t map_epoch(const struct meta_service *service)
{
    return state_cluster(service->parts.state)->map_epoch;
}

static bool reports_are_valid(Trilith__DiskReport *const *reports, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (reports[i]->uuid.len != 16) {
            return false;
        }
    }
    return count <= MEMBERSHIP_NODE_DISKS_MAX;
}

/* ---- health ------------------------------------------------------------------------------------ */

Trilith__DiskHealth **service_disk_health(struct meta_service *service, const Trilith__Map *map)
{
    struct scratch *scratch = &state_tables(service->parts.state)->scratch;
    uint64_t now_ns = loop_now_ns(service->parts.loop);
    Trilith__DiskHealth **health = scratch_take(scratch, (map->n_disks + 1) * sizeof(health[0]));
    Trilith__DiskHealth *all = scratch_take(scratch, (map->n_disks + 1) * sizeof(*all));
    if (health == NULL || all == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < map->n_disks; i++) {
        const Trilith__MapDisk *disk = map->disks[i];
        const struct disk_belief *belief = membership_disk(&service->membership, disk->node_id, disk->id);
        trilith__disk_health__init(&all[i]);
        all[i].disk_id = disk->id;
        all[i].up = membership_disk_is_up(&service->membership, disk->node_id, disk->id, now_ns);
        all[i].free = belief != NULL ? belief->free : 0;
        all[i].state = belief != NULL ? belief->state : TRILITH__DISK_STATE__DISK_STATE_NONE;
        health[i] = &all[i];
    }
    return health;
}

/* ---- register ---------------------------------------------------------------------------------- */

/* Whether another node that is up claims one of these disks: then one of the two is an impostor, or was copied. */
static bool disk_is_claimed(struct meta_service *service, struct tables *tables,
                            const Trilith__NodeRegisterRequest *message)
{
    for (size_t i = 0; i < message->n_disks; i++) {
        Trilith__MapDisk *disk = NULL;
        Trilith__MapNode *node = NULL;
        if (registry_disk_by_uuid(tables, message->disks[i]->uuid.data, &disk) == STATUS_OK &&
            registry_node(tables, disk->node_id, &node) == STATUS_OK && strcmp(node->name, message->name) != 0 &&
            membership_disk(&service->membership, node->id, disk->id) != NULL &&
            membership_node_state(&service->membership, node->id, loop_now_ns(service->parts.loop)) == NODE_UP) {
            log_event(LOG_WARNING, "disk_claimed_twice", "disk=%u node=%s claimant=%s", disk->id, node->name,
                      message->name);
            return true;
        }
    }
    return false;
}

static void reply_registered(struct meta_service *service, struct rpc_request *request, uint64_t node_id)
{
    const Trilith__NodeRegisterRequest *message = MESSAGE_OF(request, Trilith__NodeRegisterRequest);
    struct tables *tables = service_tables(service);
    Trilith__NodeRegisterReply reply = TRILITH__NODE_REGISTER_REPLY__INIT;
    enum status status = STATUS_OK;
    reply.node_id = node_id;
    reply.cluster_id = state_cluster(service->parts.state)->cluster_id;
    reply.lease_ms = (uint32_t)service->options.node_lease_ms;
    reply.disk_ids = scratch_take(&tables->scratch, (message->n_disks + 1) * sizeof(reply.disk_ids[0]));
    reply.n_disk_ids = message->n_disks;
    for (size_t i = 0; status == STATUS_OK && i < message->n_disks; i++) {
        Trilith__MapDisk *disk = NULL;
        status = registry_disk_by_uuid(tables, message->disks[i]->uuid.data, &disk);
        reply.disk_ids[i] = status == STATUS_OK ? disk->id : 0;
    }
    if (status == STATUS_OK) {
        status = membership_hear(&service->membership, node_id, loop_now_ns(service->parts.loop), message->disks,
                                 reply.disk_ids, message->n_disks);
    }
    if (status == STATUS_OK) {
        membership_set_keys_since(&service->membership, node_id, 0);
        status = registry_map(tables, map_epoch(service), &reply.map);
    }
    service_reply(service, request, status, &reply);
}

/* What a node says about itself besides its disks: its key, and what each disk lies on; or nothing of the kind. */
static bool node_is_described(const Trilith__NodeRegisterRequest *message)
{
    return (message->public_key.len == 0 || message->public_key.len == PUBLIC_KEY_BYTES) &&
           (message->n_media == 0 || message->n_media == message->n_disks);
}

void serve_node_register(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__NodeRegisterRequest *message = MESSAGE_OF(request, Trilith__NodeRegisterRequest);
    const Trilith__ClusterRecord *cluster = state_cluster(service->parts.state);
    struct tables *tables = service_tables(service);
    if (message->cluster_id.len != 0 &&
        (message->cluster_id.len != 16 || memcmp(message->cluster_id.data, cluster->cluster_id.data, 16) != 0)) {
        service_reply_status(service, request, STATUS_DENIED);
        return;
    }
    if (!reports_are_valid(message->disks, message->n_disks) || !node_is_described(message)) {
        service_reply_status(service, request, STATUS_INVALID);
        return;
    }
    if (disk_is_claimed(service, tables, message)) {
        service_reply_status(service, request, STATUS_CONFLICT);
        return;
    }

    Trilith__NodeJoin join = TRILITH__NODE_JOIN__INIT;
    join.name = message->name;
    join.rpc_address = message->rpc_address;
    join.s3_address = message->s3_address;
    join.failure_domain = message->failure_domain;
    join.pgs_per_disk = service->options.pgs_per_disk;
    join.scatter_width = service->options.scatter_width;
    join.disks = scratch_take(&tables->scratch, (message->n_disks + 1) * sizeof(join.disks[0]));
    Trilith__NodeJoinDisk *disks = scratch_take(&tables->scratch, (message->n_disks + 1) * sizeof(*disks));
    for (size_t i = 0; i < message->n_disks; i++) {
        trilith__node_join_disk__init(&disks[i]);
        disks[i].uuid = message->disks[i]->uuid;
        disks[i].capacity = message->disks[i]->capacity;
        disks[i].medium = message->n_media != 0 ? message->media[i] : NULL;
        join.disks[i] = &disks[i];
    }
    join.n_disks = message->n_disks;
    join.public_key = message->public_key;

    uint64_t node_id = 0;
    if (registry_node_is_known(tables, &join, &node_id) == STATUS_OK) {
        reply_registered(service, request, node_id);
        return;
    }
    Trilith__Command command = TRILITH__COMMAND__INIT;
    command.change_case = TRILITH__COMMAND__CHANGE_NODE_JOIN;
    command.node_join = &join;
    service_submit(service, request, &command);
}

void finish_node_register(struct meta_service *service, struct rpc_request *request, const struct outcome *outcome)
{
    const Trilith__NodeRegisterRequest *message = MESSAGE_OF(request, Trilith__NodeRegisterRequest);
    log_event(LOG_INFO, "node_joined", "node=%llu name=%s disks=%zu epoch=%llu", (unsigned long long)outcome->id,
              message->name, message->n_disks, (unsigned long long)map_epoch(service));
    reply_registered(service, request, outcome->id);
}

/* ---- heartbeat --------------------------------------------------------------------------------- */

/* The ids of the disks that a node reports. STATUS_NOT_FOUND: it must register first; STATUS_CONFLICT: one of them has
 * been taken over by another node. */
static enum status heartbeat_disks(struct tables *tables, const Trilith__NodeHeartbeatRequest *message,
                                   uint32_t *disk_ids)
{
    for (size_t i = 0; i < message->n_disks; i++) {
        Trilith__MapDisk *disk = NULL;
        enum status status = registry_disk_by_uuid(tables, message->disks[i]->uuid.data, &disk);
        if (status != STATUS_OK) {
            return status;
        }
        if (disk->node_id != message->node_id) {
            return STATUS_CONFLICT;
        }
        disk_ids[i] = disk->id;
    }
    return STATUS_OK;
}

void serve_node_heartbeat(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__NodeHeartbeatRequest *message = MESSAGE_OF(request, Trilith__NodeHeartbeatRequest);
    struct tables *tables = service_tables(service);
    uint32_t disk_ids[MEMBERSHIP_NODE_DISKS_MAX];
    uint32_t owing[MEMBERSHIP_NODE_DISKS_MAX];
    uint32_t moving[MEMBERSHIP_NODE_DISKS_MAX];
    Trilith__NodeHeartbeatReply reply = TRILITH__NODE_HEARTBEAT_REPLY__INIT;
    Trilith__MapNode *node = NULL;
    Trilith__Map *map = NULL;
    enum status status = reports_are_valid(message->disks, message->n_disks)
                             ? registry_node(tables, message->node_id, &node)
                             : STATUS_INVALID;
    if (status == STATUS_OK) {
        status = heartbeat_disks(tables, message, disk_ids);
    }
    if (status == STATUS_OK) {
        status = membership_hear(&service->membership, message->node_id, loop_now_ns(service->parts.loop),
                                 message->disks, disk_ids, message->n_disks);
    }
    if (status == STATUS_OK) {
        membership_set_map_epoch(&service->membership, message->node_id, message->map_epoch);
        if (message->keys_since_index <= state_applied_index(service->parts.state)) {
            membership_set_keys_since(&service->membership, message->node_id, message->keys_since_index);
        } /* Else it has heard another journal than this one: that says nothing. */
        status = registry_map(tables, map_epoch(service), &map);
    }
    if (status != STATUS_OK) {
        service_reply_status(service, request, status);
        return;
    }
    reply.journal_index = state_applied_index(service->parts.state);
    reply.lease_ms = (uint32_t)service->options.node_lease_ms;
    reply.map = message->map_epoch != map->epoch ? map : NULL;
    reply.health = service_disk_health(service, map);
    reply.n_health = reply.health != NULL ? map->n_disks : 0;
    reply.disks_with_wipes = owing;
    for (size_t i = 0; i < message->n_disks; i++) {
        if (erasure_disk_owes(tables, disk_ids[i])) {
            owing[reply.n_disks_with_wipes++] = disk_ids[i];
        }
    }
    reply.disks_with_moves = moving;
    reply.n_disks_with_moves = service_moves_wait_for(service, map, disk_ids, message->n_disks, moving);
    service_reply(service, request, STATUS_OK, &reply);
}

/* ---- chunks given up --------------------------------------------------------------------------- */

static bool chunks_are_valid(Trilith__ChunkRef *const *chunks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (chunks[i]->chunk_id.len != 16) {
            return false;
        }
    }
    return count <= CHUNKS_MAX;
}

static void submit_condemnation(struct meta_service *service, struct rpc_request *request,
                                Trilith__CondemnChunks *condemn)
{
    Trilith__Command command = TRILITH__COMMAND__INIT;
    command.change_case = TRILITH__COMMAND__CHANGE_CONDEMN_CHUNKS;
    command.condemn_chunks = condemn;
    service_submit(service, request, &command);
}

void serve_chunks_abort(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__ChunksAbortRequest *message = MESSAGE_OF(request, Trilith__ChunksAbortRequest);
    if (!chunks_are_valid(message->chunks, message->n_chunks)) {
        service_reply_status(service, request, STATUS_INVALID);
        return;
    }
    if (message->n_chunks == 0 && message->page == 0) {
        service_reply_status(service, request, STATUS_OK);
        return;
    }
    Trilith__CondemnChunks condemn = TRILITH__CONDEMN_CHUNKS__INIT;
    condemn.reason = TRILITH__CONDEMN_REASON__CONDEMN_ABORT;
    condemn.tenant_id = message->tenant_id;
    condemn.chunks = message->chunks;
    condemn.n_chunks = message->n_chunks;
    condemn.page = message->page;
    condemn.slot = message->slot;
    submit_condemnation(service, request, &condemn);
}

static void reply_checked(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__ChunksCheckRequest *message = MESSAGE_OF(request, Trilith__ChunksCheckRequest);
    struct tables *tables = service_tables(service);
    protobuf_c_boolean referenced[CHUNKS_MAX];
    Trilith__ChunksCheckReply reply = TRILITH__CHUNKS_CHECK_REPLY__INIT;
    for (size_t i = 0; i < message->n_chunks; i++) {
        const uint8_t *id = message->chunks[i]->chunk_id.data;
        referenced[i] = (message->moved_only || tables_find(tables, key_chunk(id)) == STATUS_OK) &&
                        erasure_find_moved(tables, message->disk_id, id) == STATUS_NOT_FOUND;
    }
    reply.referenced = referenced;
    reply.n_referenced = message->n_chunks;
    service_reply(service, request, STATUS_OK, &reply);
}

/* Whether the disk holds a chunk that must go and does not know it yet. */
static bool chunk_is_orphan(struct tables *tables, uint32_t disk_id, const uint8_t *chunk_id)
{
    return tables_find(tables, key_chunk(chunk_id)) == STATUS_NOT_FOUND &&
           (tables_find(tables, key_wipe(disk_id, chunk_id)) == STATUS_NOT_FOUND ||
            erasure_find_condemned(tables, chunk_id) == STATUS_NOT_FOUND);
}

/* Whether the disk holds a copy of a chunk that has moved to other disks, and does not know yet that it must go. */
static bool chunk_was_moved(struct tables *tables, uint32_t disk_id, const uint8_t *chunk_id)
{
    return erasure_find_moved(tables, disk_id, chunk_id) == STATUS_OK &&
           tables_find(tables, key_wipe(disk_id, chunk_id)) == STATUS_NOT_FOUND;
}

void serve_chunks_check(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__ChunksCheckRequest *message = MESSAGE_OF(request, Trilith__ChunksCheckRequest);
    struct tables *tables = service_tables(service);
    Trilith__MapDisk *disk = NULL;
    bool names_tenants = message->n_tenant_ids != 0;
    enum status status = chunks_are_valid(message->chunks, message->n_chunks) &&
                                 (!names_tenants || message->n_tenant_ids == message->n_chunks)
                             ? registry_disk(tables, message->disk_id, &disk)
                             : STATUS_INVALID;
    if (status != STATUS_OK) {
        service_reply_status(service, request, status);
        return;
    }
    Trilith__CondemnChunks condemn = TRILITH__CONDEMN_CHUNKS__INIT;
    condemn.reason = TRILITH__CONDEMN_REASON__CONDEMN_ORPHAN;
    condemn.disk_id = message->disk_id;
    condemn.chunks = scratch_take(&tables->scratch, (message->n_chunks + 1) * sizeof(condemn.chunks[0]));
    condemn.tenant_ids = scratch_take(&tables->scratch, (message->n_chunks + 1) * sizeof(condemn.tenant_ids[0]));
    if (condemn.chunks == NULL || condemn.tenant_ids == NULL) {
        service_reply_status(service, request, STATUS_TOO_LARGE);
        return;
    }
    for (size_t i = 0; i < message->n_chunks; i++) {
        const uint8_t *id = message->chunks[i]->chunk_id.data;
        if ((!message->moved_only && chunk_is_orphan(tables, message->disk_id, id)) ||
            chunk_was_moved(tables, message->disk_id, id)) {
            condemn.tenant_ids[condemn.n_chunks] = names_tenants ? message->tenant_ids[i] : 0;
            condemn.chunks[condemn.n_chunks++] = message->chunks[i];
        }
    }
    condemn.n_tenant_ids = names_tenants ? condemn.n_chunks : 0;
    if (condemn.n_chunks == 0) {
        reply_checked(service, request);
        return;
    }
    submit_condemnation(service, request, &condemn);
}

void finish_chunks_check(struct meta_service *service, struct rpc_request *request, const struct outcome *outcome)
{
    (void)outcome; /* What was not referenced when the command was applied never will be. */
    reply_checked(service, request);
}

/* ---- wipes ------------------------------------------------------------------------------------- */

void serve_wipe_pull(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__WipePullRequest *message = MESSAGE_OF(request, Trilith__WipePullRequest);
    struct tables *tables = service_tables(service);
    Trilith__WipePullReply reply = TRILITH__WIPE_PULL_REPLY__INIT;
    Trilith__MapDisk *disk = NULL;
    size_t after_bytes = message->after_chunk_id.len;
    enum status status = message->max > WIPES_PULLED_MAX || (after_bytes != 0 && after_bytes != 16)
                             ? STATUS_INVALID
                             : registry_disk(tables, message->disk_id, &disk);
    if (status == STATUS_OK) {
        status = erasure_pull(tables, message->disk_id, after_bytes == 16 ? message->after_chunk_id.data : NULL,
                              message->max, &reply);
    }
    service_reply(service, request, status, &reply);
}

/* Whether the node that has the disk has signed, with the key that it registered, for exactly these results. STATUS_OK;
 * STATUS_DENIED: it has not; STATUS_INVALID: it is no attestation; STATUS_NOT_FOUND: no such disk; STATUS_TOO_LARGE.
 * `*packed`: what is kept of it, to be freed with free(). */
static enum status wipes_are_attested(struct tables *tables, const Trilith__WipeDoneRequest *message, uint8_t **packed,
                                      size_t *packed_bytes)
{
    Trilith__MapDisk *disk = NULL;
    Trilith__MapNode *node = NULL;
    struct public_key key;
    if (message->n_results > CHUNKS_MAX) {
        return STATUS_TOO_LARGE;
    }
    enum status status = registry_disk(tables, message->disk_id, &disk);
    if (status == STATUS_OK) {
        status = registry_node(tables, disk->node_id, &node);
    }
    if (status != STATUS_OK) {
        return status;
    }
    if (message->attestation.len == 0 || registry_node_key(tables, node->id, &key) != STATUS_OK) {
        return STATUS_DENIED;
    }
    return attestation_check_and_pack(message->attestation.data, message->attestation.len, &key, node->name,
                                      message->disk_id, message->results, message->n_results, packed, packed_bytes);
}

void serve_wipe_done(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__WipeDoneRequest *message = MESSAGE_OF(request, Trilith__WipeDoneRequest);
    if (message->n_results == 0) {
        service_reply_status(service, request, STATUS_OK);
        return;
    }
    uint8_t hash[SHA256_BYTES];
    uint8_t *packed = NULL;
    size_t packed_bytes = 0;
    enum status status = wipes_are_attested(service_tables(service), message, &packed, &packed_bytes);
    if (status != STATUS_OK) {
        log_event(LOG_WARNING, "wipes_refused", "disk=%u results=%zu reason=%s", message->disk_id, message->n_results,
                  status_name(status));
        service_reply_status(service, request, status);
        return;
    }
    Trilith__RecordWipes wipes = TRILITH__RECORD_WIPES__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    wipes.disk_id = message->disk_id;
    wipes.results = message->results;
    wipes.n_results = message->n_results;
    sha256(message->attestation.data, message->attestation.len, hash);
    wipes.attestation_packed = (ProtobufCBinaryData){.data = packed, .len = packed_bytes};
    wipes.attestation_sha256 = (ProtobufCBinaryData){.data = hash, .len = sizeof(hash)};
    command.change_case = TRILITH__COMMAND__CHANGE_RECORD_WIPES;
    command.record_wipes = &wipes;
    service_submit(service, request, &command);
    free(packed);
}

/* ---- the cluster, for operators ---------------------------------------------------------------- */

static Trilith__DiskPhase phase_of(const Trilith__Map *map, uint32_t disk_id)
{
    for (size_t i = 0; i < map->n_disks; i++) {
        if (map->disks[i]->id == disk_id) {
            return map->disks[i]->phase;
        }
    }
    return TRILITH__DISK_PHASE__DISK_REMOVED;
}

static Trilith__NodeStatus *node_status(struct meta_service *service, const Trilith__Map *map, Trilith__MapNode *node)
{
    struct scratch *scratch = &state_tables(service->parts.state)->scratch;
    uint64_t now_ns = loop_now_ns(service->parts.loop);
    const struct member *member = membership_member(&service->membership, node->id);
    size_t disk_count = member != NULL ? member->disk_count : 0;
    Trilith__NodeStatus *status = scratch_take(scratch, sizeof(*status));
    Trilith__DiskReport *reports = scratch_take(scratch, (disk_count + 1) * sizeof(*reports));
    if (status == NULL || reports == NULL) {
        return NULL;
    }
    trilith__node_status__init(status);
    status->disks = scratch_take(scratch, (disk_count + 1) * sizeof(status->disks[0]));
    status->disk_ids = scratch_take(scratch, (disk_count + 1) * sizeof(status->disk_ids[0]));
    status->phases = scratch_take(scratch, (disk_count + 1) * sizeof(status->phases[0]));
    if (status->disks == NULL || status->disk_ids == NULL || status->phases == NULL) {
        return NULL;
    }
    const char *state = node_state_name(membership_node_state(&service->membership, node->id, now_ns));
    status->node = node;
    status->state = scratch_copy(scratch, state, strlen(state));
    status->last_seen_ms = membership_silence_ns(&service->membership, node->id, now_ns) / NS_PER_MS;
    for (size_t i = 0; i < disk_count; i++) {
        struct disk_belief *belief = &member->disks[i];
        trilith__disk_report__init(&reports[i]);
        reports[i].uuid = (ProtobufCBinaryData){.data = belief->uuid, .len = sizeof(belief->uuid)};
        reports[i].path = belief->path;
        reports[i].capacity = belief->capacity;
        reports[i].used = belief->used;
        reports[i].free = belief->free;
        reports[i].state = belief->state;
        reports[i].chunks = belief->chunks;
        reports[i].corrupt_found = belief->corrupt_found;
        reports[i].wiped = belief->wiped;
        status->disks[i] = &reports[i];
        status->disk_ids[i] = belief->disk_id;
        status->phases[i] = phase_of(map, belief->disk_id);
    }
    status->n_disks = disk_count;
    status->n_disk_ids = disk_count;
    status->n_phases = disk_count;
    return status;
}

static const Trilith__DiskHealth *health_of(const Trilith__Map *map, Trilith__DiskHealth *const *health,
                                            uint32_t disk_id)
{
    for (size_t i = 0; i < map->n_disks; i++) {
        if (health[i]->disk_id == disk_id) {
            return health[i];
        }
    }
    return NULL;
}

static void count_pgs(const Trilith__Map *map, Trilith__DiskHealth *const *health, Trilith__ClusterStatusReply *reply)
{
    reply->pgs_total = (uint32_t)map->n_pgs;
    for (size_t i = 0; i < map->n_pgs; i++) {
        size_t up = 0;
        for (size_t m = 0; m < map->pgs[i]->n_members; m++) {
            const Trilith__DiskHealth *disk = health_of(map, health, map->pgs[i]->members[m]);
            up += disk != NULL && disk->up ? 1 : 0;
        }
        reply->pgs_clean += up == REPLICAS ? 1 : 0;
        reply->pgs_degraded += up > 0 && up < REPLICAS ? 1 : 0;
        reply->pgs_unavailable += up == 0 ? 1 : 0;
    }
}

static void fill_keys_and_vault(struct meta_service *service, Trilith__KmsStatus *kms, Trilith__VaultStatus *vault,
                                Trilith__ClusterStatusReply *reply)
{
    const struct kms_health *health = kms_health(service->parts.kms);
    trilith__kms_status__init(kms);
    kms->provider = (char *)(uintptr_t)kms_provider_name(service->parts.kms);
    kms->available = health->available;
    kms->since_ms = health->since_ms;
    kms->message = (char *)(uintptr_t)health->message;
    *vault = service_vault_status(service);
    reply->kms = kms;
    reply->vault = vault;
    reply->healthy = reply->healthy && kms->available && vault->balanced;
}

static bool cluster_is_healthy(const Trilith__Map *map, Trilith__DiskHealth *const *health,
                               const Trilith__ClusterStatusReply *reply)
{
    bool healthy = reply->pgs_total > 0 && reply->pgs_clean == reply->pgs_total;
    for (size_t i = 0; i < reply->n_nodes; i++) {
        healthy = healthy && strcmp(reply->nodes[i]->state, "up") == 0;
    }
    for (size_t i = 0; i < map->n_disks; i++) {
        bool is_removed = map->disks[i]->phase == TRILITH__DISK_PHASE__DISK_REMOVED;
        healthy = healthy && (is_removed || (health[i]->up && health[i]->state == TRILITH__DISK_STATE__DISK_SERVING));
    }
    return healthy;
}

void serve_cluster_status(struct meta_service *service, struct rpc_request *request)
{
    static char version[] = TRILITH_VERSION;
    const Trilith__ClusterRecord *cluster = state_cluster(service->parts.state);
    struct tables *tables = service_tables(service);
    Trilith__ClusterStatusReply reply = TRILITH__CLUSTER_STATUS_REPLY__INIT;
    Trilith__KmsStatus kms;
    Trilith__VaultStatus vault;
    Trilith__EvidenceStatus evidence = certifier_status(service); /* First: it uses the scratch. */
    Trilith__Map *map = NULL;
    enum status status = registry_map(tables, cluster->map_epoch, &map);
    Trilith__DiskHealth **health = status == STATUS_OK ? service_disk_health(service, map) : NULL;
    reply.nodes = health != NULL ? scratch_take(&tables->scratch, (map->n_nodes + 1) * sizeof(reply.nodes[0])) : NULL;
    if (reply.nodes == NULL) {
        service_reply_status(service, request, status != STATUS_OK ? status : STATUS_TOO_LARGE);
        return;
    }
    for (size_t i = 0; i < map->n_nodes; i++) {
        Trilith__NodeStatus *node = node_status(service, map, map->nodes[i]);
        if (node == NULL) {
            service_reply_status(service, request, STATUS_TOO_LARGE);
            return;
        }
        reply.nodes[reply.n_nodes++] = node;
    }
    count_pgs(map, health, &reply);
    reply.healthy = cluster_is_healthy(map, health, &reply);
    fill_keys_and_vault(service, &kms, &vault, &reply);
    reply.evidence = &evidence;
    reply.cluster_id = cluster->cluster_id;
    reply.erasures_open = cluster->erasures_open;
    reply.objects = cluster->objects;
    reply.object_bytes = cluster->object_bytes;
    reply.journal_index = state_applied_index(service->parts.state);
    reply.map_epoch = cluster->map_epoch;
    reply.version = version;
    service_reply(service, request, STATUS_OK, &reply);
}

void serve_erasure_get(struct meta_service *service, struct rpc_request *request)
{
    Trilith__ErasureReply reply = TRILITH__ERASURE_REPLY__INIT;
    const Trilith__ErasureGetRequest *message = MESSAGE_OF(request, Trilith__ErasureGetRequest);
    enum status status = erasure_get(service_tables(service), message->id, &reply.erasure);
    service_reply(service, request, status, &reply);
}

void serve_erasure_list(struct meta_service *service, struct rpc_request *request)
{
    Trilith__ErasureListReply reply = TRILITH__ERASURE_LIST_REPLY__INIT;
    const Trilith__ErasureListRequest *message = MESSAGE_OF(request, Trilith__ErasureListRequest);
    enum status status = message->max > 1000 ? STATUS_INVALID
                                             : erasure_list(service_tables(service), message->after_id, message->max,
                                                            message->open_only, &reply);
    service_reply(service, request, status, &reply);
}
