/* agent.c - registration, heartbeats, the lease, and the wipers and orphan walks of this node's disks. */
#include "node/agent.h"

#include "base/buggify.h"
#include "base/log.h"
#include "node/mover.h"
#include "node/orphans.h"
#include "node/wiper.h"

#include <stdlib.h>

#define RETRY_FIRST_NS     (200 * NS_PER_MS)
#define RETRY_LAST_NS      (2 * NS_PER_S)
#define REFRESH_PAUSE_NS   (50 * NS_PER_MS)
#define LEASE_MS_MIN       100u
#define WIPES_CATCHING_UP  WIPER_PARALLEL_MAX
#define WIPES_BESIDE_WORK  8u
#define FAILED_WIPES_PAUSE (30 * NS_PER_S) /* a device that refuses is not asked again at every heartbeat */

struct agent_disk {
    struct agent *agent;
    struct chunk_host_disk *disk;
    struct host_stats stats;             /* the job: another thread's while it is under way */
    struct chunk_store_stats last_stats; /* what it brought last */
    struct wiper *wiper;
    struct orphans *orphans;
    uint64_t no_wipes_until_ns;
};

struct agent {
    struct agent_parts parts;
    struct rpc_client *meta;
    bool stopped;
    bool registered;
    bool serving_told;
    bool calling;
    uint32_t collecting; /* disks whose stats are under way */
    uint64_t node_id;
    struct wiper_signer signer;
    struct public_key public_key;
    uint64_t sent_ns; /* when the call in flight was sent: a lease counts from here */
    uint64_t lease_ns;
    uint64_t retry_ns;
    uint64_t last_beat_ns;
    struct map *map; /* as decoded, without health; NULL: none yet */
    struct mover *mover;
    struct rpc_call call;
    struct loop_timer beat;
    struct loop_timer lease_end;
    uint32_t disk_count;
    struct agent_disk disks[CHUNK_HOST_DISKS_MAX];
};

static void beat_fired(struct loop_timer *timer);
static void lease_ended(struct loop_timer *timer);
static void disk_wiped(void *user, struct chunk_host_disk *disk, uint32_t failed);

static void beat_after(struct agent *agent, uint64_t pause_ns)
{
    if (!agent->stopped) {
        loop_timer_start(agent->parts.loop, &agent->beat, loop_now_ns(agent->parts.loop) + pause_ns);
    }
}

struct agent *agent_open(const struct agent_parts *parts)
{
    struct rpc_client *meta = rpc_client_open(parts->loop, parts->net, parts->meta_address);
    if (meta == NULL) {
        return NULL;
    }
    struct agent *agent = calloc(1, sizeof(*agent));
    CHECK(agent != NULL);
    agent->parts = *parts;
    agent->meta = meta;
    agent->retry_ns = RETRY_FIRST_NS;
    agent->beat.fire = beat_fired;
    agent->lease_end.fire = lease_ended;
    agent->disk_count = parts->host->disk_count;
    agent->signer = (struct wiper_signer){.seed = parts->seed,
                                          .node = parts->name,
                                          .boot_id = parts->boot_id,
                                          .sw_digest = parts->sw_digest,
                                          .cluster_id = agent->parts.cluster_id};
    signature_public_key(parts->seed, &agent->public_key);
    for (uint32_t i = 0; i < agent->disk_count; i++) {
        struct agent_disk *disk = &agent->disks[i];
        disk->agent = agent;
        disk->disk = &parts->host->disks[i];
        disk->wiper = wiper_open(&(struct wiper_parts){.loop = parts->loop,
                                                       .meta = meta,
                                                       .disk = disk->disk,
                                                       .signer = &agent->signer,
                                                       .call_ns = parts->call_ns,
                                                       .done = disk_wiped,
                                                       .user = agent});
        disk->orphans = orphans_open(&(struct orphans_parts){.loop = parts->loop,
                                                             .meta = meta,
                                                             .host = parts->host,
                                                             .disk = disk->disk,
                                                             .orphan_after_ms = parts->orphan_after_ms,
                                                             .call_ns = parts->call_ns});
    }
    agent->mover = mover_open(&(struct mover_parts){.loop = parts->loop,
                                                    .net = parts->net,
                                                    .host = parts->host,
                                                    .meta = meta,
                                                    .bytes_per_s = parts->move_bytes_per_s,
                                                    .call_ns = parts->call_ns});
    beat_after(agent, 0);
    return agent;
}

void agent_stop(struct agent *agent)
{
    agent->stopped = true;
    loop_timer_stop(agent->parts.loop, &agent->beat);
    loop_timer_stop(agent->parts.loop, &agent->lease_end);
    for (uint32_t i = 0; i < agent->disk_count; i++) {
        wiper_stop(agent->disks[i].wiper);
        orphans_stop(agent->disks[i].orphans);
    }
    mover_stop(agent->mover);
    rpc_client_close(agent->meta);
}

bool agent_is_idle(const struct agent *agent)
{
    bool idle = !agent->calling && agent->collecting == 0 && mover_is_idle(agent->mover);
    for (uint32_t i = 0; i < agent->disk_count; i++) {
        idle = idle && wiper_is_idle(agent->disks[i].wiper) && orphans_is_idle(agent->disks[i].orphans);
    }
    return idle;
}

void agent_close(struct agent *agent)
{
    CHECK(agent->stopped && agent_is_idle(agent));
    for (uint32_t i = 0; i < agent->disk_count; i++) {
        wiper_close(agent->disks[i].wiper);
        orphans_close(agent->disks[i].orphans);
    }
    mover_close(agent->mover);
    chunk_host_set_map(agent->parts.host, NULL);
    map_release(agent->map);
    free(agent);
}

void agent_refresh(struct agent *agent)
{
    uint64_t now_ns = loop_now_ns(agent->parts.loop);
    bool is_soon = loop_timer_is_armed(&agent->beat) && agent->beat.deadline_ns <= now_ns + REFRESH_PAUSE_NS;
    if (!agent->stopped && !agent->calling && agent->collecting == 0 && !is_soon) {
        beat_after(agent, now_ns - agent->last_beat_ns > REFRESH_PAUSE_NS ? 0 : REFRESH_PAUSE_NS);
    }
}

/* ---- the lease ----------------------------------------------------------------------------------- */

static void lease_ended(struct loop_timer *timer)
{
    struct agent *agent = CONTAINER_OF(timer, struct agent, lease_end);
    chunk_host_set_lease(agent->parts.host, 0);
    agent->registered = false;
    log_event(LOG_WARNING, "lease_ended", "node=%s", agent->parts.name);
}

static void lease_renewed(struct agent *agent, uint32_t lease_ms)
{
    agent->lease_ns = (lease_ms < LEASE_MS_MIN ? LEASE_MS_MIN : lease_ms) * NS_PER_MS;
    agent->retry_ns = RETRY_FIRST_NS;
    uint64_t until_ns = agent->sent_ns + agent->lease_ns;
    chunk_host_set_lease(agent->parts.host, until_ns);
    loop_timer_start(agent->parts.loop, &agent->lease_end, until_ns);
    beat_after(agent, agent->lease_ns / 4);
}

static void call_failed(struct agent *agent, const char *what, enum status status)
{
    log_event(agent->registered ? LOG_WARNING : LOG_INFO, what, "meta=%s reason=%s", agent->parts.meta_address,
              status_name(status));
    beat_after(agent, agent->retry_ns);
    agent->retry_ns = agent->retry_ns * 2 < RETRY_LAST_NS ? agent->retry_ns * 2 : RETRY_LAST_NS;
}

static void call_start(struct agent *agent, uint16_t type, const ProtobufCMessage *request,
                       void (*done)(struct rpc_call *call))
{
    memset(&agent->call, 0, sizeof(agent->call));
    agent->sent_ns = loop_now_ns(agent->parts.loop);
    agent->last_beat_ns = agent->sent_ns;
    agent->call.type = type;
    agent->call.deadline_ns = agent->sent_ns + agent->parts.call_ns;
    agent->call.done = done;
    agent->calling = true;
    rpc_call_start(agent->meta, &agent->call, request);
}

/* ---- the map ------------------------------------------------------------------------------------- */

/* Take a map over if it is newer. False: it is not a map. */
static bool map_accept(struct agent *agent, const Trilith__Map *wire)
{
    if (wire == NULL || (agent->map != NULL && wire->epoch < agent->map->epoch)) {
        return agent->map != NULL;
    }
    struct map *map = NULL;
    enum status status = map_decode(wire, &map);
    if (status != STATUS_OK) {
        log_event(LOG_ERROR, "map_refused", "epoch=%llu reason=%s", (unsigned long long)wire->epoch,
                  status_name(status));
        return false;
    }
    map_release(agent->map);
    agent->map = map;
    chunk_host_set_map(agent->parts.host, map); /* Before any heartbeat says that this node has it. */
    return true;
}

static void map_publish(struct agent *agent, Trilith__DiskHealth *const *health, size_t count)
{
    struct map *map = map_with_health(agent->map, health, count);
    agent->parts.map_changed(agent->parts.user, map, agent->node_id);
    mover_set_map(agent->mover, map, agent->node_id);
    for (uint32_t i = 0; i < agent->disk_count; i++) {
        orphans_map_changed(agent->disks[i].orphans);
    }
    map_release(map);
}

/* ---- disks --------------------------------------------------------------------------------------- */

static void tell_when_serving(struct agent *agent)
{
    for (uint32_t i = 0; i < agent->disk_count; i++) {
        if (chunk_host_disk_state(agent->disks[i].disk) == TRILITH__DISK_STATE__DISK_CATCHING_UP) {
            return;
        }
    }
    beat_after(agent, 0); /* The leader shall know at once. */
    if (!agent->serving_told) {
        agent->serving_told = true;
        agent->parts.serving(agent->parts.user);
    }
}

/* A pass of the wiper is over. If the disk was catching up, it has. */
static void disk_wiped(void *user, struct chunk_host_disk *host_disk, uint32_t failed)
{
    struct agent *agent = user;
    for (uint32_t i = 0; i < agent->disk_count; i++) {
        struct agent_disk *disk = &agent->disks[i];
        if (disk->disk != host_disk) {
            continue;
        }
        if (failed > 0) {
            disk->no_wipes_until_ns = loop_now_ns(agent->parts.loop) + FAILED_WIPES_PAUSE;
        }
        if (agent->registered && chunk_host_disk_state(host_disk) == TRILITH__DISK_STATE__DISK_CATCHING_UP) {
            chunk_host_disk_set_state(host_disk, TRILITH__DISK_STATE__DISK_SERVING);
            chunk_host_disk_follow(host_disk, &disk->last_stats);
            tell_when_serving(agent);
        }
    }
}

static void wipes_take_up(struct agent *agent, const uint32_t *disk_ids, size_t count)
{
    uint64_t now_ns = loop_now_ns(agent->parts.loop);
    for (size_t i = 0; i < count; i++) {
        for (uint32_t d = 0; d < agent->disk_count; d++) {
            struct agent_disk *disk = &agent->disks[d];
            bool is_free = wiper_is_idle(disk->wiper) && now_ns >= disk->no_wipes_until_ns;
            if (atomic_load(&disk->disk->id) == disk_ids[i] && is_free) {
                wiper_start(disk->wiper, WIPES_BESIDE_WORK);
            }
        }
    }
}

static void report_fill(const struct agent_disk *disk, Trilith__DiskReport *report)
{
    const struct chunk_store_stats *stats = &disk->last_stats;
    trilith__disk_report__init(report);
    report->uuid.data = disk->disk->uuid.bytes;
    report->uuid.len = sizeof(disk->disk->uuid.bytes);
    report->path = disk->disk->path;
    report->capacity = stats->capacity_bytes;
    report->used = stats->live_bytes;
    report->free = stats->free_bytes;
    report->state = chunk_host_disk_state(disk->disk);
    report->chunks = stats->chunks;
    report->corrupt_found = stats->corrupt_found;
    report->wiped = stats->wiped;
}

/* ---- register ------------------------------------------------------------------------------------ */

static enum status registration_accept(struct agent *agent, const Trilith__NodeRegisterReply *reply)
{
    if (reply == NULL || reply->node_id == 0 || reply->cluster_id.len != CLUSTER_ID_BYTES ||
        reply->n_disk_ids != agent->disk_count || reply->map == NULL) {
        return STATUS_CORRUPT;
    }
    if (agent->parts.has_cluster_id && memcmp(agent->parts.cluster_id, reply->cluster_id.data, CLUSTER_ID_BYTES) != 0) {
        return STATUS_CONFLICT;
    }
    /* After a restart of the service its map counts, whatever epoch we have seen. */
    map_release(agent->map);
    agent->map = NULL;
    if (!map_accept(agent, reply->map)) {
        return STATUS_CORRUPT;
    }
    agent->node_id = reply->node_id;
    for (uint32_t i = 0; i < agent->disk_count; i++) {
        atomic_store(&agent->disks[i].disk->id, reply->disk_ids[i]);
    }
    if (!agent->parts.has_cluster_id) {
        KILL_POINT(KILL_NODE_JOINED);
        agent->parts.has_cluster_id = true;
        memcpy(agent->parts.cluster_id, reply->cluster_id.data, CLUSTER_ID_BYTES);
        agent->parts.joined(agent->parts.user, agent->parts.cluster_id);
    }
    return STATUS_OK;
}

static void register_done(struct rpc_call *call)
{
    struct agent *agent = CONTAINER_OF(call, struct agent, call);
    const Trilith__NodeRegisterReply *reply = (const Trilith__NodeRegisterReply *)call->reply;
    agent->calling = false;
    if (agent->stopped) {
        return;
    }
    enum status status = call->status == STATUS_OK ? registration_accept(agent, reply) : call->status;
    if (status != STATUS_OK) {
        call_failed(agent, "register_failed", status);
        return;
    }
    agent->registered = true;
    log_event(LOG_INFO, "registered", "node=%s id=%llu epoch=%llu", agent->parts.name,
              (unsigned long long)agent->node_id, (unsigned long long)agent->map->epoch);
    for (uint32_t i = 0; i < agent->disk_count; i++) {
        chunk_host_disk_set_state(agent->disks[i].disk, TRILITH__DISK_STATE__DISK_CATCHING_UP);
        wiper_start(agent->disks[i].wiper, WIPES_CATCHING_UP);
    }
    lease_renewed(agent, reply->lease_ms);
    map_publish(agent, NULL, 0);
}

/* The message has text fields that are not ours to change; protobuf-c takes them as char *. */
static char *text_for_message(const char *text)
{
    return (char *)(uintptr_t)text;
}

static void register_send(struct agent *agent)
{
    Trilith__DiskReport reports[CHUNK_HOST_DISKS_MAX];
    Trilith__DiskReport *pointers[CHUNK_HOST_DISKS_MAX];
    for (uint32_t i = 0; i < agent->disk_count; i++) {
        report_fill(&agent->disks[i], &reports[i]);
        pointers[i] = &reports[i];
    }
    Trilith__NodeRegisterRequest request;
    trilith__node_register_request__init(&request);
    request.name = text_for_message(agent->parts.name);
    request.rpc_address = text_for_message(agent->parts.rpc_address);
    request.s3_address = text_for_message(agent->parts.s3_address);
    request.failure_domain = text_for_message(agent->parts.failure_domain);
    request.version = text_for_message(TRILITH_VERSION);
    if (agent->parts.has_cluster_id) {
        request.cluster_id.data = agent->parts.cluster_id;
        request.cluster_id.len = CLUSTER_ID_BYTES;
    }
    request.n_disks = agent->disk_count;
    request.disks = pointers;
    Trilith__Medium media[CHUNK_HOST_DISKS_MAX];
    Trilith__Medium *media_pointers[CHUNK_HOST_DISKS_MAX];
    for (uint32_t i = 0; i < agent->disk_count; i++) {
        medium_fill(&agent->disks[i].disk->medium, &media[i]);
        media_pointers[i] = &media[i];
    }
    request.n_media = agent->disk_count;
    request.media = media_pointers;
    request.public_key = (ProtobufCBinaryData){.data = agent->public_key.bytes, .len = sizeof(agent->public_key.bytes)};
    call_start(agent, TRILITH__MESSAGE_TYPE__NODE_REGISTER, &request.base, register_done);
}

/* ---- heartbeat ----------------------------------------------------------------------------------- */

/* The service answered, but does not know this node (any more): it has to register again. */
static bool is_unknown_there(const struct rpc_call *call)
{
    return call->status == STATUS_NOT_FOUND || call->status == STATUS_CONFLICT || call->status == STATUS_GONE ||
           call->status == STATUS_DENIED;
}

static void heartbeat_done(struct rpc_call *call)
{
    struct agent *agent = CONTAINER_OF(call, struct agent, call);
    const Trilith__NodeHeartbeatReply *reply = (const Trilith__NodeHeartbeatReply *)call->reply;
    agent->calling = false;
    if (agent->stopped) {
        return;
    }
    if (is_unknown_there(call)) {
        agent->registered = false;
        beat_after(agent, 0);
        return;
    }
    if (call->status != STATUS_OK || reply == NULL || !map_accept(agent, reply->map)) {
        call_failed(agent, "heartbeat_failed", call->status == STATUS_OK ? STATUS_CORRUPT : call->status);
        return;
    }
    if (!agent->registered) { /* The lease ended while this was under way. */
        beat_after(agent, 0);
        return;
    }
    if (agent->parts.horizon != NULL) {
        key_horizon_heard(agent->parts.horizon, reply->journal_index);
    }
    lease_renewed(agent, reply->lease_ms);
    if (!BUGGIFY(BUGGIFY_NODE_MAP_LATE)) {
        map_publish(agent, reply->health, reply->n_health);
    }
    wipes_take_up(agent, reply->disks_with_wipes, reply->n_disks_with_wipes);
    mover_wake(agent->mover, reply->disks_with_moves, reply->n_disks_with_moves);
}

static void heartbeat_send(struct agent *agent)
{
    Trilith__DiskReport reports[CHUNK_HOST_DISKS_MAX];
    Trilith__DiskReport *pointers[CHUNK_HOST_DISKS_MAX];
    for (uint32_t i = 0; i < agent->disk_count; i++) {
        report_fill(&agent->disks[i], &reports[i]);
        pointers[i] = &reports[i];
    }
    Trilith__NodeHeartbeatRequest request = TRILITH__NODE_HEARTBEAT_REQUEST__INIT;
    request.node_id = agent->node_id;
    request.map_epoch = agent->map->epoch;
    request.n_disks = agent->disk_count;
    request.disks = pointers;
    request.keys_since_index = agent->parts.horizon != NULL ? key_horizon_since(agent->parts.horizon) : 0;
    call_start(agent, TRILITH__MESSAGE_TYPE__NODE_HEARTBEAT, &request.base, heartbeat_done);
}

/* ---- the beat ------------------------------------------------------------------------------------ */

static void stats_collected(struct host_job *job)
{
    struct agent_disk *disk = CONTAINER_OF(job, struct agent_disk, stats.job);
    struct agent *agent = disk->agent;
    disk->last_stats = disk->stats.stats;
    chunk_host_disk_follow(disk->disk, &disk->last_stats);
    agent->collecting--;
    if (agent->collecting > 0 || agent->stopped) {
        return;
    }
    if (agent->registered) {
        heartbeat_send(agent);
    } else {
        register_send(agent);
    }
}

static void beat_fired(struct loop_timer *timer)
{
    struct agent *agent = CONTAINER_OF(timer, struct agent, beat);
    if (agent->calling || agent->collecting > 0) {
        return; /* The end of that arms the timer again. */
    }
    if (agent->registered && BUGGIFY(BUGGIFY_NODE_HEARTBEAT_SKIPPED)) {
        beat_after(agent, agent->lease_ns / 4);
        return;
    }
    agent->collecting = agent->disk_count;
    for (uint32_t i = 0; i < agent->disk_count; i++) {
        chunk_host_stats(agent->disks[i].disk, &agent->disks[i].stats, agent->parts.loop, stats_collected);
    }
}
