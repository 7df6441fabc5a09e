/* service_moves.c - the leader's part in moving PGs: which disk takes which PG and when, what the target's node asks,
 * and what operators see of it.
 *
 * Once a tick the leader looks at the map, if a disk drains or a PG is on its way. It gives up moves whose target
 * drains, was removed, or has not served for MOVE_PATIENCE_LEASES; then it begins moves for disks that drain, within
 * the bounds of moves.h: a target stands in a third failure domain, is up, takes PGs, was never in the PG's history,
 * and has the most room. What it can't begin it says in words (DISK_GET). Progress that targets report is kept in
 * memory only. */
#include "meta/service_private.h"

#include "meta/decommission.h"
#include "meta/erasure.h"
#include "meta/moves.h"
#include "meta/placement.h"
#include "meta/registry.h"

#include "base/log.h"

#include <stdlib.h>

#define MOVE_PATIENCE_LEASES 8u
#define MOVE_PATIENCE_NS_MIN (30 * NS_PER_S)
#define NOTES_MAX            MEMBERSHIP_NODE_DISKS_MAX
/* What must be free at a target besides what it is expected to get: a disk with less takes no chunks. */
#define TARGET_RESERVE_BYTES ((uint64_t)4 * CHUNK_BYTES_MAX)

/* A move as its target reports it. */
struct move_watch {
    uint32_t pg_id; /* 0: free */
    uint32_t target;
    uint64_t chunks;
    uint64_t bytes;
    uint64_t away_since_ns; /* the target does not serve since; 0: it does */
};

/* Why a disk that drains does not get rid of its PGs now. */
struct drain_note {
    uint32_t disk_id;
    const char *waiting;
};

/* A disk without PGs and chunks, as its node says: since when. */
struct empty_watch {
    uint32_t disk_id; /* 0: free */
    uint64_t erasures_below;
};

struct service_moves {
    struct empty_watch empties[NOTES_MAX];
    struct move_watch watches[MOVES_MAX];
    struct drain_note notes[NOTES_MAX];
    size_t note_count;
    uint64_t quiet_epoch; /* with this map there is nothing to do */
};

struct service_moves *service_moves_open(void)
{
    return calloc(1, sizeof(struct service_moves));
}

void service_moves_close(struct service_moves *moves)
{
    free(moves);
}

static struct move_watch *watch_of(struct service_moves *moves, const struct move *move)
{
    struct move_watch *unused = NULL;
    for (size_t i = 0; i < MOVES_MAX; i++) {
        struct move_watch *watch = &moves->watches[i];
        if (watch->pg_id == move->pg_id && watch->target == move->pg->target) {
            return watch;
        }
        unused = watch->pg_id == 0 ? watch : unused;
    }
    CHECK(unused != NULL); /* There are no more moves than watches: those of ended ones are given back first. */
    *unused = (struct move_watch){.pg_id = move->pg_id, .target = move->pg->target};
    return unused;
}

/* Give back the watches of moves that are over. */
static void watches_sweep(struct service_moves *moves, const struct move *current, size_t count)
{
    for (size_t w = 0; w < MOVES_MAX; w++) {
        struct move_watch *watch = &moves->watches[w];
        bool goes_on = false;
        for (size_t i = 0; i < count; i++) {
            goes_on = goes_on || (current[i].pg_id == watch->pg_id && current[i].pg->target == watch->target);
        }
        if (!goes_on) {
            *watch = (struct move_watch){0};
        }
    }
}

/* All moves, with the watches brought up to them. */
static enum status moves_look(struct meta_service *service, struct tables *tables, struct move *current, size_t *count)
{
    enum status status = moves_all(tables, current, count);
    if (status == STATUS_OK) {
        watches_sweep(service->moves, current, *count);
    }
    return status;
}

/* ---- what the leader believes -------------------------------------------------------------------- */

static uint64_t now_of(const struct meta_service *service)
{
    return loop_now_ns(service->parts.loop);
}

static const Trilith__MapDisk *map_disk(const Trilith__Map *map, uint32_t disk_id)
{
    for (size_t i = 0; i < map->n_disks; i++) {
        if (map->disks[i]->id == disk_id) {
            return map->disks[i];
        }
    }
    return NULL;
}

static bool disk_can_be_read(const struct meta_service *service, const Trilith__MapDisk *disk)
{
    return disk != NULL && membership_disk_is_up(&service->membership, disk->node_id, disk->id, now_of(service));
}

/* Whether the disk takes chunks: up, and not full. */
static bool disk_takes_chunks(const struct meta_service *service, const Trilith__MapDisk *disk)
{
    const struct disk_belief *belief =
        disk != NULL ? membership_disk(&service->membership, disk->node_id, disk->id) : NULL;
    return disk_can_be_read(service, disk) && belief->state == TRILITH__DISK_STATE__DISK_SERVING;
}

/* Step 2 of moves.h. */
static bool move_is_ready(const struct meta_service *service, const Trilith__Map *map, const Trilith__PgRecord *pg)
{
    for (size_t i = 0; i < map->n_nodes; i++) {
        if (!membership_node_has_map(&service->membership, map->nodes[i]->id, pg->move_map_epoch, now_of(service))) {
            return false;
        }
    }
    return true;
}

/* Can everything be copied? Either from the disk that leaves, or from the two that stay. */
static bool move_has_sources(const struct meta_service *service, const Trilith__Map *map, const Trilith__PgRecord *pg)
{
    bool leaving = disk_can_be_read(service, map_disk(map, pg->leaving));
    bool others = true;
    for (size_t i = 0; i < pg->n_members; i++) {
        others = others && (pg->members[i] == pg->leaving || disk_can_be_read(service, map_disk(map, pg->members[i])));
    }
    return leaving || others;
}

/* ---- the planner --------------------------------------------------------------------------------- */

/* A disk of the map, while moves are planned. */
struct disk_plan {
    const Trilith__MapDisk *disk;
    uint32_t domain;
    uint32_t pgs;
    uint32_t coming;  /* PGs on their way to it */
    uint32_t going;   /* and from it */
    uint64_t used;    /* as its node said */
    uint64_t free;    /* likewise, less what is on its way to it */
    bool takes_moves; /* may be a target */
    bool owes;        /* may be one when it has wiped what it owes (move_target_owes()) */
};

struct planner {
    struct meta_service *service;
    struct tables *tables;
    Trilith__Map *map;
    struct disk_plan *disks; /* in the order of map->disks */
    struct placement_candidate *candidates;
    struct move *moves;
    size_t move_count;
    size_t moves_max;
};

static struct disk_plan *plan_of(const struct planner *planner, uint32_t disk_id)
{
    for (size_t i = 0; i < planner->map->n_disks; i++) {
        if (planner->map->disks[i]->id == disk_id) {
            return &planner->disks[i];
        }
    }
    return NULL;
}

/* How much of a PG lies on a disk, more or less. */
static uint64_t pg_bytes(const struct disk_plan *plan)
{
    return plan != NULL && plan->pgs > 0 ? plan->used / plan->pgs : 0;
}

static void planner_count(struct planner *planner)
{
    const Trilith__Map *map = planner->map;
    for (size_t i = 0; i < map->n_disks; i++) {
        const Trilith__MapDisk *disk = map->disks[i];
        const struct disk_belief *belief = membership_disk(&planner->service->membership, disk->node_id, disk->id);
        planner->disks[i] = (struct disk_plan){.disk = disk,
                                               .domain = registry_disk_domain(map, disk),
                                               .used = belief != NULL ? belief->used : 0,
                                               .free = belief != NULL ? belief->free : 0,
                                               .takes_moves = disk->phase == TRILITH__DISK_PHASE__DISK_ACTIVE &&
                                                              disk_takes_chunks(planner->service, disk)};
    }
    for (size_t i = 0; i < map->n_pgs; i++) {
        for (size_t m = 0; m < map->pgs[i]->n_members; m++) {
            struct disk_plan *plan = plan_of(planner, map->pgs[i]->members[m]);
            if (plan != NULL) {
                plan->pgs++;
            }
        }
    }
    for (size_t i = 0; i < planner->move_count; i++) {
        const struct disk_plan *leaving = plan_of(planner, planner->moves[i].pg->leaving);
        struct disk_plan *target = plan_of(planner, planner->moves[i].pg->target);
        uint64_t expected = pg_bytes(leaving);
        if (target != NULL) {
            target->coming++;
            target->free -= expected < target->free ? expected : target->free;
        }
        if (leaving != NULL) {
            plan_of(planner, leaving->disk->id)->going++;
        }
    }
}

static enum status planner_open(struct planner *planner, struct meta_service *service)
{
    struct tables *tables = service_tables(service);
    *planner = (struct planner){.service = service, .tables = tables};
    enum status status = registry_map(tables, state_cluster(service->parts.state)->map_epoch, &planner->map);
    if (status != STATUS_OK) {
        return status;
    }
    size_t count = planner->map->n_disks + 1;
    planner->disks = scratch_take(&tables->scratch, count * sizeof(*planner->disks));
    planner->candidates = scratch_take(&tables->scratch, count * sizeof(*planner->candidates));
    planner->moves = scratch_take(&tables->scratch, MOVES_MAX * sizeof(*planner->moves));
    if (planner->disks == NULL || planner->candidates == NULL || planner->moves == NULL) {
        return STATUS_TOO_LARGE;
    }
    size_t quarter = planner->map->n_pgs / 4;
    planner->moves_max = quarter < 1 ? 1 : quarter > MOVES_MAX ? MOVES_MAX : quarter;
    status = moves_look(service, tables, planner->moves, &planner->move_count);
    if (status == STATUS_OK) {
        planner_count(planner);
    }
    return status;
}

static void move_submitted(struct meta_service *service, struct operation *operation, enum status status,
                           const struct outcome *outcome)
{
    service_operation_free(service, operation);
    if (outcome == NULL || status != STATUS_OK) {
        return; /* The next tick looks again. */
    }
    const Trilith__Command *command = outcome->command;
    if (command->change_case == TRILITH__COMMAND__CHANGE_PG_MOVE_BEGIN) {
        log_event(LOG_INFO, "move_begun", "pg=%u leaving=%u target=%u", command->pg_move_begin->pg,
                  command->pg_move_begin->leaving, command->pg_move_begin->target);
    } else if (command->change_case == TRILITH__COMMAND__CHANGE_PG_MOVE_END) {
        log_event(LOG_WARNING, "move_given_up", "pg=%u target=%u", command->pg_move_end->pg,
                  command->pg_move_end->target);
    }
}

static bool submit_begin(struct meta_service *service, uint32_t pg_id, uint32_t leaving, uint32_t target)
{
    Trilith__PgMoveBegin begin = TRILITH__PG_MOVE_BEGIN__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    begin.pg = pg_id;
    begin.leaving = leaving;
    begin.target = target;
    command.change_case = TRILITH__COMMAND__CHANGE_PG_MOVE_BEGIN;
    command.pg_move_begin = &begin;
    return service_submit_pooled(service, move_submitted, &command) == STATUS_OK;
}

static void submit_give_up(struct meta_service *service, const struct move *move)
{
    Trilith__PgMoveEnd end = TRILITH__PG_MOVE_END__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    end.pg = move->pg_id;
    end.target = move->pg->target;
    command.change_case = TRILITH__COMMAND__CHANGE_PG_MOVE_END;
    command.pg_move_end = &end;
    if (service_submit_pooled(service, move_submitted, &command) != STATUS_OK) {
        return; /* The next tick looks again. */
    }
}

/* Moves whose target will not do any more. */
static void plan_giving_up(struct planner *planner)
{
    struct meta_service *service = planner->service;
    uint64_t patience_ns = MOVE_PATIENCE_LEASES * service->membership.lease_ns;
    patience_ns = patience_ns < MOVE_PATIENCE_NS_MIN ? MOVE_PATIENCE_NS_MIN : patience_ns;
    for (size_t i = 0; i < planner->move_count; i++) {
        const struct move *move = &planner->moves[i];
        struct move_watch *watch = watch_of(service->moves, move);
        const Trilith__MapDisk *target = map_disk(planner->map, move->pg->target);
        bool is_gone = target == NULL || target->phase != TRILITH__DISK_PHASE__DISK_ACTIVE;
        if (disk_takes_chunks(service, target)) {
            watch->away_since_ns = 0;
        } else if (watch->away_since_ns == 0) {
            watch->away_since_ns = now_of(service);
        }
        bool is_away = watch->away_since_ns != 0 && now_of(service) - watch->away_since_ns > patience_ns;
        if (is_gone || is_away) {
            submit_give_up(service, move);
        }
    }
}

static bool was_in_history(const Trilith__PgRecord *pg, uint32_t disk_id)
{
    for (size_t i = 0; i < pg->n_former; i++) {
        if (pg->former[i] == disk_id) {
            return true;
        }
    }
    return false;
}

/* A target for one PG, or 0 and why not. */
static uint32_t plan_target(struct planner *planner, const Trilith__PgRecord *pg, const struct disk_plan *leaving,
                            const char **waiting)
{
    uint32_t kept[REPLICAS - 1];
    unsigned kept_count = 0;
    for (size_t m = 0; m < pg->n_members; m++) {
        const struct disk_plan *member = plan_of(planner, pg->members[m]);
        if (pg->members[m] != leaving->disk->id && kept_count < REPLICAS - 1) {
            kept[kept_count++] = member != NULL ? member->domain : UINT32_MAX;
        }
    }
    size_t count = 0;
    bool any_busy = false;
    for (size_t i = 0; i < planner->map->n_disks; i++) {
        const struct disk_plan *plan = &planner->disks[i];
        if (!plan->takes_moves || pg_has_member(pg, plan->disk->id) || was_in_history(pg, plan->disk->id)) {
            continue;
        }
        if (plan->coming >= MOVES_PER_DISK_MAX || plan->owes) {
            any_busy = true;
            continue;
        }
        planner->candidates[count++] = (struct placement_candidate){.disk_id = plan->disk->id,
                                                                    .domain = plan->domain,
                                                                    .pgs = plan->pgs + plan->coming,
                                                                    .free_bytes = plan->free};
    }
    uint64_t bytes = pg_bytes(leaving) + TARGET_RESERVE_BYTES;
    uint32_t target = placement_choose_target(planner->candidates, count, kept, bytes);
    if (target == 0 && !any_busy) {
        bool only_room = placement_choose_target(planner->candidates, count, kept, 0) != 0;
        *waiting = only_room
                       ? "no disk that could take its PGs has enough room"
                       : "no disk that is up may take some of its PGs: it must stand in another failure domain than "
                         "the two copies that stay, must not drain, and must never have held that PG before";
    }
    return target;
}

static void note(struct service_moves *moves, uint32_t disk_id, const char *waiting)
{
    if (waiting != NULL && moves->note_count < NOTES_MAX) {
        moves->notes[moves->note_count++] = (struct drain_note){.disk_id = disk_id, .waiting = waiting};
    }
}

/* Begin moves from one disk that drains. */
static enum status plan_disk(struct planner *planner, struct disk_plan *leaving)
{
    const char *waiting = NULL;
    for (size_t i = 0; i < planner->map->n_pgs; i++) {
        const Trilith__MapPg *listed = planner->map->pgs[i];
        if (leaving->going >= MOVES_PER_DISK_MAX || planner->move_count >= planner->moves_max) {
            break;
        }
        Trilith__PgRecord *pg = NULL;
        bool is_member = listed->members[0] == leaving->disk->id || listed->members[1] == leaving->disk->id ||
                         listed->members[2] == leaving->disk->id;
        if (listed->target != 0 || !is_member) {
            continue;
        }
        enum status status = moves_pg(planner->tables, listed->id, &pg);
        if (status != STATUS_OK) {
            return tables_missing(planner->tables, status);
        }
        uint32_t target = plan_target(planner, pg, leaving, &waiting);
        for (bool owes = false; target != 0; target = plan_target(planner, pg, leaving, &waiting)) {
            status = move_target_owes(planner->tables, target, listed->id, &owes);
            if (status != STATUS_OK) {
                return status;
            }
            if (!owes) {
                break;
            }
            plan_of(planner, target)->owes = true; /* Not in this tick. */
        }
        if (target == 0 || !submit_begin(planner->service, listed->id, leaving->disk->id, target)) {
            continue;
        }
        struct disk_plan *plan = plan_of(planner, target);
        uint64_t expected = pg_bytes(leaving);
        plan->coming++;
        plan->free -= expected < plan->free ? expected : plan->free;
        leaving->going++;
        planner->move_count++;
    }
    note(planner->service->moves, leaving->disk->id, waiting);
    return STATUS_OK;
}

void service_moves_tick(struct meta_service *service)
{
    struct service_moves *moves = service->moves;
    const Trilith__ClusterRecord *cluster = state_cluster(service->parts.state);
    if (cluster->moves == 0 && moves->quiet_epoch == cluster->map_epoch) {
        return;
    }
    struct planner planner;
    bool quiet = cluster->moves == 0;
    enum status status = planner_open(&planner, service);
    moves->note_count = 0;
    if (status == STATUS_OK) {
        plan_giving_up(&planner);
    }
    for (size_t i = 0; status == STATUS_OK && i < planner.map->n_disks; i++) {
        struct disk_plan *plan = &planner.disks[i];
        if (plan->disk->phase == TRILITH__DISK_PHASE__DISK_DRAINING && plan->pgs > 0) {
            quiet = false;
            status = plan_disk(&planner, plan);
        }
    }
    moves->quiet_epoch = status == STATUS_OK && quiet ? cluster->map_epoch : 0;
    if (planner.tables->failed != STATUS_OK) {
        service_fail(service, planner.tables->failed);
    }
}

/* ---- the target's node ---------------------------------------------------------------------------- */

/* What people and targets are told of a move. */
static Trilith__PgMove *move_told(struct meta_service *service, const Trilith__Map *map, const struct move *move)
{
    struct scratch *scratch = &state_tables(service->parts.state)->scratch;
    const struct move_watch *watch = watch_of(service->moves, move);
    Trilith__PgMove *told = scratch_take(scratch, sizeof(*told));
    if (told == NULL) {
        return NULL;
    }
    trilith__pg_move__init(told);
    told->pg = move->pg_id;
    told->target = move->pg->target;
    told->leaving = move->pg->leaving;
    told->sources = move->pg->members;
    told->n_sources = move->pg->n_members;
    told->chunks = watch->chunks;
    told->bytes = watch->bytes;
    told->begun_ms = move->pg->move_begun_ms;
    told->ready = move_is_ready(service, map, move->pg);
    const Trilith__MapDisk *leaving = map_disk(map, move->pg->leaving);
    const struct disk_belief *belief =
        leaving != NULL ? membership_disk(&service->membership, leaving->node_id, leaving->id) : NULL;
    uint64_t pgs = 0;
    for (size_t i = 0; i < map->n_pgs; i++) {
        for (size_t m = 0; m < map->pgs[i]->n_members; m++) {
            pgs += map->pgs[i]->members[m] == move->pg->leaving ? 1 : 0;
        }
    }
    if (belief != NULL && pgs > 0) {
        told->chunks_expected = belief->chunks / pgs;
        told->bytes_expected = belief->used / pgs;
    }
    const char *waiting = !told->ready ? "not all nodes know of it yet"
                          : !disk_takes_chunks(service, map_disk(map, move->pg->target))
                              ? "the disk that takes the PG over is not serving"
                          : !move_has_sources(service, map, move->pg) ? "too few of the disks that hold the PG are up"
                                                                      : "";
    told->waiting = scratch_copy(scratch, waiting, strlen(waiting));
    return told->waiting != NULL ? told : NULL;
}

/* Which moves are asked for. */
struct moves_wanted {
    uint32_t disk_id; /* 0: all */
    bool leaving;     /* those from the disk too, not only those to it */
    bool ready;       /* only those that are */
};

static enum status moves_tell(struct meta_service *service, struct tables *tables, const struct moves_wanted *wanted,
                              Trilith__PgMove ***told, size_t *told_count)
{
    struct move *moves = scratch_take(&tables->scratch, MOVES_MAX * sizeof(*moves));
    Trilith__PgMove **list = scratch_take(&tables->scratch, MOVES_MAX * sizeof(Trilith__PgMove *));
    Trilith__Map *map = NULL;
    size_t count = 0;
    enum status status = registry_map(tables, state_cluster(service->parts.state)->map_epoch, &map);
    if (moves == NULL || list == NULL || status != STATUS_OK) {
        return status != STATUS_OK ? status : STATUS_TOO_LARGE;
    }
    status = moves_look(service, tables, moves, &count);
    *told = list;
    *told_count = 0;
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        bool is_wanted = wanted->disk_id == 0 || moves[i].pg->target == wanted->disk_id ||
                         (wanted->leaving && moves[i].pg->leaving == wanted->disk_id);
        if (!is_wanted || (wanted->ready && !move_is_ready(service, map, moves[i].pg))) {
            continue;
        }
        list[*told_count] = move_told(service, map, &moves[i]);
        if (list[*told_count] == NULL) {
            return STATUS_TOO_LARGE;
        }
        *told_count += 1;
    }
    return status;
}

size_t service_moves_wait_for(struct meta_service *service, const Trilith__Map *map, const uint32_t *disk_ids,
                              size_t count, uint32_t *waiting)
{
    struct tables *tables = state_tables(service->parts.state); /* The caller's answer stands in the scratch. */
    struct move moves[MOVES_MAX];
    size_t move_count = 0;
    size_t waiting_count = 0;
    if (state_cluster(service->parts.state)->moves == 0 || moves_all(tables, moves, &move_count) != STATUS_OK) {
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        bool waits = false;
        for (size_t m = 0; m < move_count && !waits; m++) {
            waits = moves[m].pg->target == disk_ids[i] && move_is_ready(service, map, moves[m].pg);
        }
        if (waits) {
            waiting[waiting_count++] = disk_ids[i];
        }
    }
    return waiting_count;
}

void serve_move_pull(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__MovePullRequest *message = MESSAGE_OF(request, Trilith__MovePullRequest);
    struct tables *tables = service_tables(service);
    const struct moves_wanted wanted = {.disk_id = message->disk_id, .ready = true};
    Trilith__MovePullReply reply = TRILITH__MOVE_PULL_REPLY__INIT;
    enum status status = tables_find(tables, key_disk(message->disk_id));
    if (status == STATUS_OK) {
        status = moves_tell(service, tables, &wanted, &reply.moves, &reply.n_moves);
    }
    service_reply(service, request, status, &reply);
}

/* The row of a PG that is being moved to `disk_id`. STATUS_CONFLICT: it is not (any more). */
static enum status moving_pg(struct tables *tables, uint32_t pg_id, uint32_t disk_id, Trilith__PgRecord **pg)
{
    enum status status = moves_pg(tables, pg_id, pg);
    return status == STATUS_OK && (disk_id == 0 || (*pg)->target != disk_id) ? STATUS_CONFLICT : status;
}

void serve_move_check(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__MoveCheckRequest *message = MESSAGE_OF(request, Trilith__MoveCheckRequest);
    struct tables *tables = service_tables(service);
    Trilith__MoveCheckReply reply = TRILITH__MOVE_CHECK_REPLY__INIT;
    protobuf_c_boolean wanted[MOVE_CHECKED_MAX];
    Trilith__PgRecord *pg = NULL;
    enum status status = message->n_chunk_ids > MOVE_CHECKED_MAX
                             ? STATUS_INVALID
                             : moving_pg(tables, message->pg, message->disk_id, &pg);
    for (size_t i = 0; status == STATUS_OK && i < message->n_chunk_ids; i++) {
        bool is_wanted = false;
        status = message->chunk_ids[i].len != 16
                     ? STATUS_INVALID
                     : move_chunk_is_wanted(tables, pg, message->chunk_ids[i].data, &is_wanted);
        wanted[i] = is_wanted;
    }
    reply.wanted = wanted;
    reply.n_wanted = message->n_chunk_ids;
    service_reply(service, request, status, &reply);
}

void serve_move_done(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__MoveDoneRequest *message = MESSAGE_OF(request, Trilith__MoveDoneRequest);
    struct tables *tables = service_tables(service);
    Trilith__PgRecord *pg = NULL;
    enum status status = moving_pg(tables, message->pg, message->disk_id, &pg);
    if (status == STATUS_CONFLICT && pg->target == 0 && pg_has_member(pg, message->disk_id)) {
        service_reply_status(service, request, STATUS_OK); /* It has said so before. */
        return;
    }
    if (status != STATUS_OK) {
        service_reply_status(service, request, status);
        return;
    }
    const struct move move = {.pg_id = message->pg, .pg = pg};
    struct move *moves = scratch_take(&tables->scratch, MOVES_MAX * sizeof(*moves));
    size_t count = 0;
    status = moves != NULL ? moves_look(service, tables, moves, &count) : STATUS_TOO_LARGE;
    if (status != STATUS_OK || !message->complete) {
        if (status == STATUS_OK) {
            struct move_watch *watch = watch_of(service->moves, &move);
            watch->chunks = message->chunks;
            watch->bytes = message->bytes;
        }
        service_reply_status(service, request, status);
        return;
    }
    Trilith__PgMoveEnd end = TRILITH__PG_MOVE_END__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    end.pg = message->pg;
    end.target = message->disk_id;
    end.complete = true;
    command.change_case = TRILITH__COMMAND__CHANGE_PG_MOVE_END;
    command.pg_move_end = &end;
    service_submit(service, request, &command);
}

void finish_move_done(struct meta_service *service, struct rpc_request *request, const struct outcome *outcome)
{
    const Trilith__MoveDoneRequest *message = MESSAGE_OF(request, Trilith__MoveDoneRequest);
    (void)outcome;
    log_event(LOG_INFO, "move_done", "pg=%u target=%u chunks=%llu bytes=%llu", message->pg, message->disk_id,
              (unsigned long long)message->chunks, (unsigned long long)message->bytes);
    service_moves_tick(service); /* The next PG need not wait for the clock. */
    service_reply_status(service, request, STATUS_OK);
}

/* ---- operators ------------------------------------------------------------------------------------ */

void serve_move_list(struct meta_service *service, struct rpc_request *request)
{
    Trilith__MoveListReply reply = TRILITH__MOVE_LIST_REPLY__INIT;
    const struct moves_wanted wanted = {.disk_id = 0};
    enum status status = moves_tell(service, service_tables(service), &wanted, &reply.moves, &reply.n_moves);
    service_reply(service, request, status, &reply);
}

void serve_disk_drain(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__DiskDrainRequest *message = MESSAGE_OF(request, Trilith__DiskDrainRequest);
    Trilith__DiskDrainRequest drain = TRILITH__DISK_DRAIN_REQUEST__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    drain.disk_id = message->disk_id;
    drain.on = message->on;
    drain.pgs_per_disk = service->options.pgs_per_disk;
    drain.scatter_width = service->options.scatter_width;
    command.change_case = TRILITH__COMMAND__CHANGE_DISK_DRAIN;
    command.disk_drain = &drain;
    service_submit(service, request, &command);
}

void finish_disk_drain(struct meta_service *service, struct rpc_request *request, const struct outcome *outcome)
{
    const Trilith__DiskDrainRequest *message = MESSAGE_OF(request, Trilith__DiskDrainRequest);
    (void)outcome;
    log_event(LOG_INFO, message->on ? "disk_draining" : "disk_stays", "disk=%u", message->disk_id);
    service_moves_tick(service);
    service_reply_status(service, request, STATUS_OK);
}

static uint64_t wipes_count(struct tables *tables, uint32_t disk_id)
{
    static const uint8_t first_chunk[16];
    struct table_walk walk;
    struct kv_slice key, value;
    uint64_t count = 0;
    table_walk_open(&walk, tables, key_prefix(key_wipe(disk_id, first_chunk), 5));
    for (; count < DISK_WIPES_COUNTED_MAX && table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        count++;
    }
    table_walk_close(&walk);
    return count;
}

/* A disk that was a member of PGs is asked about every chunk of them that is erased: where clients delete all the time
 * it always owes some wipe, of chunks that it has not. So what counts is that it has wiped all that it owed when it was
 * first seen without PGs and chunks. Seen by this leader: another one begins anew. */
bool service_disk_is_empty(struct meta_service *service, const Trilith__MapDisk *disk, const struct disk_left *left)
{
    struct empty_watch *watch = NULL;
    const struct disk_belief *belief = membership_disk(&service->membership, disk->node_id, disk->id);
    bool holds_nothing = left->pgs == 0 && left->coming == 0 && belief != NULL && belief->chunks == 0 &&
                         membership_node_state(&service->membership, disk->node_id, now_of(service)) == NODE_UP;
    for (size_t i = 0; i < NOTES_MAX; i++) {
        struct empty_watch *one = &service->moves->empties[i];
        watch = one->disk_id == disk->id || (one->disk_id == 0 && watch == NULL) ? one : watch;
        if (one->disk_id == disk->id) {
            break;
        }
    }
    if (!holds_nothing || watch == NULL) {
        if (watch != NULL && watch->disk_id == disk->id) {
            watch->disk_id = 0;
        }
        return holds_nothing && !left->owes_wipes;
    }
    if (watch->disk_id == 0) {
        *watch = (struct empty_watch){disk->id, state_cluster(service->parts.state)->next_erasure_id};
    }
    bool owes = true;
    return disk_owes_before(state_tables(service->parts.state), disk->id, watch->erasures_below, &owes) == STATUS_OK &&
           !owes;
}

/* What keeps the disk's PGs from leaving, in words; "" when nothing does. */
static const char *drain_waiting(const struct service_moves *moves, uint32_t disk_id)
{
    for (size_t i = 0; i < moves->note_count; i++) {
        if (moves->notes[i].disk_id == disk_id) {
            return moves->notes[i].waiting;
        }
    }
    return "";
}

static Trilith__DiskReport *report_told(struct tables *tables, const struct disk_belief *belief)
{
    Trilith__DiskReport *report = scratch_take(&tables->scratch, sizeof(*report));
    if (report == NULL) {
        return NULL;
    }
    trilith__disk_report__init(report);
    report->uuid = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)belief->uuid, .len = sizeof(belief->uuid)};
    report->path = (char *)(uintptr_t)belief->path;
    report->capacity = belief->capacity;
    report->used = belief->used;
    report->free = belief->free;
    report->state = belief->state;
    report->chunks = belief->chunks;
    report->corrupt_found = belief->corrupt_found;
    report->wiped = belief->wiped;
    return report;
}

void serve_disk_get(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__DiskGetRequest *message = MESSAGE_OF(request, Trilith__DiskGetRequest);
    struct tables *tables = service_tables(service);
    Trilith__DiskGetReply reply;
    struct disk_left left;
    const struct moves_wanted wanted = {.disk_id = message->disk_id, .leaving = true};
    trilith__disk_get_reply__init(&reply);
    enum status status = registry_disk(tables, message->disk_id, &reply.disk);
    if (status == STATUS_OK) {
        status = registry_node(tables, reply.disk->node_id, &reply.node);
    }
    enum status empty = status == STATUS_OK ? disk_is_empty(tables, message->disk_id, &left) : STATUS_NOT_EMPTY;
    if (status == STATUS_OK && empty != STATUS_NOT_EMPTY) {
        status = empty;
    }
    if (status == STATUS_OK) {
        status = moves_tell(service, tables, &wanted, &reply.moves, &reply.n_moves);
    }
    if (status == STATUS_OK) {
        enum status known = registry_medium(tables, message->disk_id, &reply.medium);
        status = known == STATUS_NOT_FOUND ? STATUS_OK : known;
    }
    if (status != STATUS_OK) {
        service_reply_status(service, request, status);
        return;
    }
    const struct disk_belief *belief = membership_disk(&service->membership, reply.node->id, message->disk_id);
    enum node_state state = membership_node_state(&service->membership, reply.node->id, now_of(service));
    reply.node_state = (char *)(uintptr_t)node_state_name(state);
    reply.report = belief != NULL ? report_told(tables, belief) : NULL;
    reply.pgs = left.pgs;
    reply.pgs_coming = left.coming;
    reply.wipes_owed = wipes_count(tables, message->disk_id);
    reply.waiting = (char *)(uintptr_t)drain_waiting(service->moves, message->disk_id);
    reply.empty = service_disk_is_empty(service, reply.disk, &left);
    reply.came_back = reply.disk->phase == TRILITH__DISK_PHASE__DISK_REMOVED && belief != NULL && state == NODE_UP;
    service_reply(service, request, STATUS_OK, &reply);
}
