/* orphans.c - the walk:  list a page ──> ask about what is old enough ──> pause ──> next page ──> ... ──> rest. Or, when PGs
 * have left the disk, about what is of other PGs. */
#include "node/orphans.h"

#include "base/buggify.h"
#include "base/log.h"

#include <stdlib.h>

#define PAGE_PAUSE_NS (20 * NS_PER_MS) /* 12,800 chunks a second at most */
#define RETRY_NS      (5 * NS_PER_S)
#define REST_MS_MIN   1000u
#define REST_MS_MAX   600000u

struct orphans {
    struct orphans_parts parts;
    bool stopped;
    bool busy; /* a job or call is under way */
    enum { WALK_NONE, WALK_OLD, WALK_MOVED } walk;
    bool wants_moved;        /* PGs have left the disk since the last walk for that began */
    bool is_removed;         /* by the map: for good */
    bool young;              /* of a removed disk's page: ask about what may not be committed yet */
    uint64_t pgs_mark;       /* which PGs were this disk's, by the last map */
    struct map *map;         /* of this walk for what was moved */
    uint64_t asked_until_ms; /* everything stored before this has been asked about */
    uint64_t cut_ms;         /* what this walk will have asked about */
    uint64_t found;
    uint32_t asked; /* of the page: how many */
    bool last_page;
    struct loop_timer timer;
    struct host_list list;
    struct rpc_call call;
};

static void timer_fired(struct loop_timer *timer);
static void page_ask(struct orphans *orphans);

static void wake_after(struct orphans *orphans, uint64_t pause_ns)
{
    if (!orphans->stopped) {
        loop_timer_start(orphans->parts.loop, &orphans->timer, loop_now_ns(orphans->parts.loop) + pause_ns);
    }
}

static uint64_t rest_ns(const struct orphans *orphans)
{
    uint64_t rest_ms = orphans->parts.orphan_after_ms / 4;
    rest_ms = rest_ms < REST_MS_MIN ? REST_MS_MIN : rest_ms;
    return (rest_ms > REST_MS_MAX ? REST_MS_MAX : rest_ms) * NS_PER_MS;
}

struct orphans *orphans_open(const struct orphans_parts *parts)
{
    struct orphans *orphans = calloc(1, sizeof(*orphans));
    CHECK(orphans != NULL);
    orphans->parts = *parts;
    orphans->timer.fire = timer_fired;
    wake_after(orphans, rest_ns(orphans));
    return orphans;
}

void orphans_stop(struct orphans *orphans)
{
    orphans->stopped = true;
    loop_timer_stop(orphans->parts.loop, &orphans->timer);
}

bool orphans_is_idle(const struct orphans *orphans)
{
    return !orphans->busy;
}

void orphans_close(struct orphans *orphans)
{
    CHECK(orphans->stopped && !orphans->busy);
    map_release(orphans->map);
    free(orphans);
}

uint64_t orphans_found(const struct orphans *orphans)
{
    return orphans->found;
}

/* ---- what was moved ------------------------------------------------------------------------------ */

static bool is_mine(const struct orphans *orphans, const struct map_pg *pg)
{
    uint32_t disk_id = atomic_load(&orphans->parts.disk->id);
    return map_pg_has_member(pg, disk_id) || pg->target == disk_id;
}

void orphans_map_changed(struct orphans *orphans)
{
    struct map *map = chunk_host_map(orphans->parts.host);
    if (map == NULL) {
        return;
    }
    uint64_t mark = 14695981039346656037u; /* FNV-1a over the PGs */
    for (uint32_t i = 0; i < map->pg_count; i++) {
        if (is_mine(orphans, &map->pgs[i])) {
            mark = (mark ^ map->pgs[i].id) * 1099511628211u;
        }
    }
    const struct map_disk *disk = map_find_disk(map, atomic_load(&orphans->parts.disk->id));
    orphans->is_removed = disk != NULL && disk->is_removed;
    map_release(map);
    if (mark != orphans->pgs_mark) {
        orphans->pgs_mark = mark;
        orphans->wants_moved = true;
        if (orphans->walk == WALK_NONE && !orphans->busy) {
            wake_after(orphans, PAGE_PAUSE_NS);
        }
    }
}

/* ---- a page -------------------------------------------------------------------------------------- */

static void page_over(struct orphans *orphans)
{
    if (orphans->walk == WALK_MOVED && orphans->is_removed && !orphans->young) {
        orphans->young = true;
        page_ask(orphans);
        return;
    }
    orphans->young = false;
    if (!orphans->last_page) {
        orphans->list.from_start = false;
        orphans->list.after = orphans->list.headers[orphans->list.count - 1].id;
        wake_after(orphans, PAGE_PAUSE_NS);
        return;
    }
    if (orphans->walk == WALK_OLD) {
        orphans->asked_until_ms = orphans->cut_ms;
    }
    orphans->walk = WALK_NONE;
    map_release(orphans->map);
    orphans->map = NULL;
    wake_after(orphans, orphans->wants_moved ? PAGE_PAUSE_NS : rest_ns(orphans));
}

static void page_answered(struct rpc_call *call)
{
    struct orphans *orphans = CONTAINER_OF(call, struct orphans, call);
    const Trilith__ChunksCheckReply *reply = (const Trilith__ChunksCheckReply *)call->reply;
    orphans->busy = false;
    if (orphans->stopped) {
        return;
    }
    if (call->status != STATUS_OK || reply == NULL || reply->n_referenced != orphans->asked) {
        wake_after(orphans, RETRY_NS); /* The same page again. */
        return;
    }
    uint32_t found = 0;
    for (size_t i = 0; i < reply->n_referenced; i++) {
        found += !reply->referenced[i];
    }
    if (found > 0) {
        orphans->found += found;
        log_event(LOG_INFO, "orphans_condemned", "disk=%u chunks=%u", atomic_load(&orphans->parts.disk->id), found);
    }
    page_over(orphans);
}

/* It may be of a write that is not committed yet. */
static bool is_young(const struct orphans *orphans, const struct chunk_header *header)
{
    return header->stored_ms >= orphans->asked_until_ms &&
           header->stored_ms + orphans->parts.orphan_after_ms > loop_wall_ms(orphans->parts.loop);
}

static bool is_to_be_asked(const struct orphans *orphans, const struct chunk_header *header)
{
    if (orphans->walk == WALK_MOVED) {
        const struct map_pg *pg = map_find_pg(orphans->map, header->pg);
        return orphans->is_removed ? is_young(orphans, header) == orphans->young
                                   : (pg != NULL && !is_mine(orphans, pg));
    }
    return header->stored_ms >= orphans->asked_until_ms && header->stored_ms < orphans->cut_ms;
}

static void page_ask(struct orphans *orphans)
{
    Trilith__ChunkRef refs[CHUNK_HOST_LIST_MAX];
    Trilith__ChunkRef *pointers[CHUNK_HOST_LIST_MAX];
    uint64_t tenant_ids[CHUNK_HOST_LIST_MAX];
    orphans->asked = 0;
    for (size_t i = 0; i < orphans->list.count; i++) {
        struct chunk_header *header = &orphans->list.headers[i];
        if (is_to_be_asked(orphans, header)) {
            Trilith__ChunkRef *ref = &refs[orphans->asked];
            trilith__chunk_ref__init(ref);
            ref->chunk_id.data = header->id.bytes;
            ref->chunk_id.len = sizeof(header->id.bytes);
            ref->pg = header->pg;
            ref->chunk_bytes = header->chunk_bytes;
            tenant_ids[orphans->asked] = header->tenant_id;
            pointers[orphans->asked++] = ref;
        }
    }
    if (orphans->asked == 0) {
        page_over(orphans);
        return;
    }
    Trilith__ChunksCheckRequest request = TRILITH__CHUNKS_CHECK_REQUEST__INIT;
    request.disk_id = atomic_load(&orphans->parts.disk->id);
    request.n_chunks = orphans->asked;
    request.chunks = pointers;
    request.n_tenant_ids = orphans->asked;
    request.tenant_ids = tenant_ids;
    request.moved_only = orphans->walk == WALK_MOVED && (!orphans->is_removed || orphans->young);
    memset(&orphans->call, 0, sizeof(orphans->call));
    orphans->call.type = TRILITH__MESSAGE_TYPE__CHUNKS_CHECK;
    orphans->call.deadline_ns = loop_now_ns(orphans->parts.loop) + orphans->parts.call_ns;
    orphans->call.done = page_answered;
    orphans->busy = true;
    rpc_call_start(orphans->parts.meta, &orphans->call, &request.base);
}

static void page_listed(struct host_job *job)
{
    struct orphans *orphans = CONTAINER_OF(job, struct orphans, list.job);
    orphans->busy = false;
    if (orphans->stopped) {
        return;
    }
    if (job->status != STATUS_OK) {
        wake_after(orphans, RETRY_NS); /* The same page again. */
        return;
    }
    bool cut = orphans->list.count > 1 && BUGGIFY(BUGGIFY_NODE_ORPHAN_PAGE_OF_ONE);
    orphans->last_page = orphans->list.count < CHUNK_HOST_LIST_MAX && !cut;
    orphans->list.count = cut ? 1 : orphans->list.count;
    orphans->young = false;
    page_ask(orphans);
}

/* ---- the walk ------------------------------------------------------------------------------------ */

/* Begin a walk if there can be something to ask about: has a PG left, or is anything stored between the last cut and
 * this one? */
static bool walk_begin(struct orphans *orphans)
{
    if (orphans->wants_moved) {
        orphans->wants_moved = false;
        orphans->map = chunk_host_map(orphans->parts.host);
        orphans->list.from_start = true;
        orphans->walk = WALK_MOVED;
        return true;
    }
    uint64_t now_ms = loop_wall_ms(orphans->parts.loop);
    if (now_ms < orphans->parts.orphan_after_ms || now_ms - orphans->parts.orphan_after_ms <= orphans->asked_until_ms) {
        return false;
    }
    orphans->cut_ms = now_ms - orphans->parts.orphan_after_ms;
    orphans->list.from_start = true;
    orphans->walk = WALK_OLD;
    return true;
}

static void timer_fired(struct loop_timer *timer)
{
    struct orphans *orphans = CONTAINER_OF(timer, struct orphans, timer);
    Trilith__DiskState state = chunk_host_disk_state(orphans->parts.disk);
    bool disk_is_ready = state == TRILITH__DISK_STATE__DISK_SERVING || state == TRILITH__DISK_STATE__DISK_FULL;
    if (!disk_is_ready || (orphans->walk == WALK_NONE && !walk_begin(orphans))) {
        wake_after(orphans, orphans->wants_moved ? NS_PER_S : rest_ns(orphans));
        return;
    }
    orphans->busy = true;
    chunk_host_list(orphans->parts.disk, &orphans->list, orphans->parts.loop, page_listed);
}
