/* moves.c - rows of PGs on their way, and of disks that leave. */
#include "meta/moves.h"

#include "meta/erasure.h"
#include "meta/registry.h"
#include "meta/requests.h"

#include <string.h>

/* ---- reads ------------------------------------------------------------------------------------- */

enum status moves_pg(struct tables *tables, uint32_t pg_id, Trilith__PgRecord **pg)
{
    enum status status = tables_get(tables, key_pg(pg_id), &trilith__pg_record__descriptor, pg);
    if (status == STATUS_OK && (*pg)->n_members != REPLICAS) {
        return tables_fail(tables, STATUS_CORRUPT);
    }
    return status;
}

bool pg_has_member(const Trilith__PgRecord *pg, uint32_t disk_id)
{
    for (size_t i = 0; i < pg->n_members; i++) {
        if (pg->members[i] == disk_id) {
            return true;
        }
    }
    return false;
}

bool pg_is_foreign(const Trilith__PgRecord *pg, uint32_t disk_id)
{
    return !pg_has_member(pg, disk_id) && pg->target != disk_id;
}

static bool was_member(const Trilith__PgRecord *pg, uint32_t disk_id)
{
    for (size_t i = 0; i < pg->n_former; i++) {
        if (pg->former[i] == disk_id) {
            return true;
        }
    }
    return false;
}

enum status moves_all(struct tables *tables, struct move *moves, size_t *count)
{
    struct table_walk walk;
    struct kv_slice key, value;
    enum status status = STATUS_OK;
    *count = 0;
    table_walk_open(&walk, tables, key_prefix(key_pg_moving(0), 1));
    for (; status == STATUS_OK && table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        if (key.bytes != 5 || *count == MOVES_MAX) {
            status = tables_fail(tables, STATUS_CORRUPT);
            break;
        }
        struct move *move = &moves[*count];
        move->pg_id = (uint32_t)number_of_be((const uint8_t *)key.data + 1, 4);
        status = moves_pg(tables, move->pg_id, &move->pg);
        if (status == STATUS_NOT_FOUND || (status == STATUS_OK && move->pg->target == 0)) {
            status = tables_fail(tables, STATUS_CORRUPT);
        }
        *count += 1;
    }
    table_walk_close(&walk);
    return status == STATUS_OK ? tables->failed : status;
}

enum status move_chunk_is_wanted(struct tables *tables, const Trilith__PgRecord *pg, const uint8_t chunk_id[16],
                                 bool *wanted)
{
    enum status status = erasure_find_condemned(tables, chunk_id);
    *wanted = status == STATUS_NOT_FOUND;
    for (size_t i = 0; status == STATUS_NOT_FOUND && i < pg->n_members + pg->n_former + 1; i++) {
        uint32_t disk_id = i < pg->n_members                  ? pg->members[i]
                           : i < pg->n_members + pg->n_former ? pg->former[i - pg->n_members]
                                                              : pg->target;
        status = tables_find(tables, key_wipe(disk_id, chunk_id));
        /* A former member owes wipes of what was moved away from it, too: that says nothing of the chunk. */
        bool is_former = i >= pg->n_members && i < pg->n_members + pg->n_former;
        if (status == STATUS_OK && is_former) {
            status = STATUS_NOT_FOUND;
        } else if (status == STATUS_OK) {
            *wanted = false;
        }
    }
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

uint32_t domains_open(const Trilith__Map *map, uint32_t disk_id)
{
    uint32_t count = 0;
    for (size_t i = 0; i < map->n_nodes; i++) {
        bool is_open = false;
        for (size_t d = 0; d < map->n_disks && !is_open; d++) {
            is_open = map->disks[d]->id != disk_id && map->disks[d]->phase == TRILITH__DISK_PHASE__DISK_ACTIVE &&
                      registry_disk_domain(map, map->disks[d]) == i;
        }
        count += is_open ? 1 : 0;
    }
    return count;
}

/* Count PGs that have the disk as a member, and as a target. */
static enum status disk_pgs(struct tables *tables, uint32_t disk_id, struct disk_left *left)
{
    struct table_walk walk;
    struct kv_slice key, value;
    table_walk_open(&walk, tables, key_prefix(key_pg(0), 1));
    for (; table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        const Trilith__PgRecord *pg = tables_unpack(tables, &trilith__pg_record__descriptor, value);
        if (pg == NULL) {
            break;
        }
        left->pgs += pg_has_member(pg, disk_id) ? 1 : 0;
        left->coming += pg->target == disk_id ? 1 : 0;
    }
    table_walk_close(&walk);
    return tables->failed;
}

enum status disk_is_empty(struct tables *tables, uint32_t disk_id, struct disk_left *left)
{
    *left = (struct disk_left){0};
    enum status status = tables_find(tables, key_disk(disk_id));
    if (status == STATUS_OK) {
        status = disk_pgs(tables, disk_id, left);
    }
    if (status != STATUS_OK) {
        return status;
    }
    left->owes_wipes = erasure_disk_owes(tables, disk_id);
    bool empty = left->pgs == 0 && left->coming == 0 && !left->owes_wipes;
    return tables->failed != STATUS_OK ? tables->failed : empty ? STATUS_OK : STATUS_NOT_EMPTY;
}

/* ---- moves ------------------------------------------------------------------------------------- */

/* The name of the failure domain that a disk stands in. */
static enum status domain_of(struct tables *tables, uint32_t disk_id, const char **domain)
{
    Trilith__MapDisk *disk = NULL;
    Trilith__MapNode *node = NULL;
    enum status status = registry_disk(tables, disk_id, &disk);
    if (status == STATUS_OK) {
        status = registry_node(tables, disk->node_id, &node);
    }
    if (status != STATUS_OK) {
        return tables_missing(tables, status);
    }
    *domain = node->failure_domain;
    return STATUS_OK;
}

/* M-spread, with the target in the place of the leaving disk. */
static enum status check_spread(struct tables *tables, const Trilith__PgRecord *pg, const Trilith__PgMoveBegin *command)
{
    const char *domains[REPLICAS] = {"", "", ""};
    for (unsigned i = 0; i < REPLICAS; i++) {
        uint32_t disk_id = pg->members[i] == command->leaving ? command->target : pg->members[i];
        enum status status = domain_of(tables, disk_id, &domains[i]);
        if (status != STATUS_OK) {
            return status;
        }
    }
    bool spread = strcmp(domains[0], domains[1]) != 0 && strcmp(domains[1], domains[2]) != 0 &&
                  strcmp(domains[0], domains[2]) != 0;
    return spread ? STATUS_OK : STATUS_CONFLICT;
}

/* Is the chunk one of the PG, by an object that refers to it? */
static enum status chunk_is_of_pg(struct tables *tables, const uint8_t chunk_id[16], uint32_t pg_id, bool *is_of_pg)
{
    size_t used_bytes = tables->scratch.used;
    Trilith__ChunkRecord *chunk = NULL;
    enum status status = tables_get(tables, key_chunk(chunk_id), &trilith__chunk_record__descriptor, &chunk);
    *is_of_pg = status == STATUS_OK && chunk->pg == pg_id;
    tables->scratch.used = used_bytes;
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status move_target_owes(struct tables *tables, uint32_t disk_id, uint32_t pg_id, bool *owes)
{
    static const uint8_t first_chunk[16];
    struct table_walk walk;
    struct kv_slice key, value;
    enum status status = STATUS_OK;
    uint32_t count = 0;
    *owes = false;
    table_walk_open(&walk, tables, key_prefix(key_wipe(disk_id, first_chunk), 5));
    for (; status == STATUS_OK && !*owes && table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        if (key.bytes != 21) {
            status = tables_fail(tables, STATUS_CORRUPT);
        } else if (count++ == MOVE_WIPES_OWED_MAX) {
            *owes = true;
        } else {
            status = chunk_is_of_pg(tables, (const uint8_t *)key.data + 5, pg_id, owes);
        }
    }
    table_walk_close(&walk);
    return status == STATUS_OK ? tables->failed : status;
}

enum status disk_owes_before(struct tables *tables, uint32_t disk_id, uint64_t erasure_id, bool *owes)
{
    static const uint8_t first_chunk[16];
    struct table_walk walk;
    struct kv_slice key, value;
    uint32_t count = 0;
    *owes = false;
    table_walk_open(&walk, tables, key_prefix(key_wipe(disk_id, first_chunk), 5));
    for (; !*owes && table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        if (value.bytes < 8) {
            (void)tables_fail(tables, STATUS_CORRUPT);
            break;
        }
        *owes = number_of_be(value.data, 8) < erasure_id || ++count == DISK_WIPES_COUNTED_MAX;
    }
    table_walk_close(&walk);
    return tables->failed;
}

/* The PG is another one from the next map on. */
static void pg_changed(struct change *change, Trilith__PgRecord *pg, uint64_t epoch)
{
    change->cluster->map_epoch = epoch;
    pg->changed_epoch = epoch;
}

enum status moves_begin(struct change *change, const Trilith__PgMoveBegin *command)
{
    struct tables *tables = change->tables;
    Trilith__PgRecord *pg = NULL;
    Trilith__MapDisk *target = NULL;
    enum status status = moves_pg(tables, command->pg, &pg);
    if (status == STATUS_OK) {
        status = registry_disk(tables, command->target, &target);
    }
    if (status != STATUS_OK) {
        return status;
    }
    if (pg->target != 0 || !pg_has_member(pg, command->leaving) || pg_has_member(pg, command->target) ||
        was_member(pg, command->target) || target->phase != TRILITH__DISK_PHASE__DISK_ACTIVE) {
        return STATUS_CONFLICT;
    }
    if (change->cluster->moves >= MOVES_MAX || pg->n_former >= PG_HISTORY_MAX) {
        return STATUS_FULL;
    }
    status = check_spread(tables, pg, command);
    if (status != STATUS_OK) {
        return status;
    }
    bool owes = false;
    status = move_target_owes(tables, command->target, command->pg, &owes);
    if (status != STATUS_OK || owes) {
        return status != STATUS_OK ? status : STATUS_CONFLICT;
    }
    pg->target = command->target;
    pg->leaving = command->leaving;
    pg->move_begun_ms = change->time_ms;
    pg->move_index = change->index;
    pg_changed(change, pg, change->cluster->map_epoch + 1);
    pg->move_map_epoch = pg->changed_epoch;
    change->cluster->moves++;
    tables_put(tables, key_pg(command->pg), pg);
    tables_put_bytes(tables, key_pg_moving(command->pg), "", 0);
    return STATUS_OK;
}

/* Write down that `disk_id` was a member, or was to be. */
static enum status history_add(struct tables *tables, Trilith__PgRecord *pg, uint32_t disk_id)
{
    uint32_t *former = scratch_take(&tables->scratch, (pg->n_former + 1) * sizeof(*former));
    if (former == NULL) {
        return tables_fail(tables, STATUS_TOO_LARGE);
    }
    for (size_t i = 0; i < pg->n_former; i++) {
        former[i] = pg->former[i];
    }
    former[pg->n_former++] = disk_id;
    pg->former = former;
    return STATUS_OK;
}

/* The move of `pg` is over, with the map of `epoch`. */
static enum status move_finish(struct change *change, uint32_t pg_id, Trilith__PgRecord *pg, bool complete,
                               uint64_t epoch)
{
    CHECK(change->cluster->moves > 0);
    for (size_t i = 0; complete && i < pg->n_members; i++) {
        pg->members[i] = pg->members[i] == pg->leaving ? pg->target : pg->members[i];
    }
    enum status status = history_add(change->tables, pg, complete ? pg->leaving : pg->target);
    if (status != STATUS_OK) {
        return status;
    }
    pg->target = 0;
    pg->leaving = 0;
    pg->move_begun_ms = 0;
    pg->move_index = 0;
    pg->move_map_epoch = 0;
    pg_changed(change, pg, epoch);
    change->cluster->moves--;
    tables_put(change->tables, key_pg(pg_id), pg);
    tables_delete(change->tables, key_pg_moving(pg_id));
    return STATUS_OK;
}

enum status moves_end(struct change *change, const Trilith__PgMoveEnd *command)
{
    Trilith__PgRecord *pg = NULL;
    enum status status = moves_pg(change->tables, command->pg, &pg);
    if (status != STATUS_OK) {
        return status;
    }
    if (pg->target == 0 || pg->target != command->target) {
        return STATUS_CONFLICT;
    }
    return move_finish(change, command->pg, pg, command->complete, change->cluster->map_epoch + 1);
}

/* ---- draining ---------------------------------------------------------------------------------- */

/* The disk stays: give up what is on its way from it, all with the map of `epoch`. */
static enum status moves_give_up(struct change *change, uint32_t disk_id, uint64_t epoch)
{
    struct move *moves = scratch_take(&change->tables->scratch, MOVES_MAX * sizeof(*moves));
    size_t count = 0;
    enum status status =
        moves == NULL ? tables_fail(change->tables, STATUS_TOO_LARGE) : moves_all(change->tables, moves, &count);
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        if (moves[i].pg->leaving == disk_id) {
            status = move_finish(change, moves[i].pg_id, moves[i].pg, false, epoch);
        }
    }
    return status;
}

static Trilith__MapDisk *disk_of_map(const Trilith__Map *map, uint32_t disk_id)
{
    for (size_t i = 0; i < map->n_disks; i++) {
        if (map->disks[i]->id == disk_id) {
            return map->disks[i];
        }
    }
    return NULL;
}

/* STATUS_CONFLICT: a request that runs takes the disk out; only cancelling that lets it stay. The one that this change
 * is about (outcome.id) is just being cancelled. */
static enum status disk_may_stay(const struct change *change, uint32_t disk_id)
{
    struct tables *tables = change->tables;
    Trilith__RequestRecord *record = NULL;
    uint64_t id = 0;
    for (;;) {
        size_t used_bytes = tables->scratch.used;
        enum status status = request_next_open(tables, id, &record);
        if (status != STATUS_OK) {
            return status == STATUS_NOT_FOUND ? STATUS_OK : status;
        }
        const Trilith__Request *request = record->request;
        id = request->id;
        if (request->kind == TRILITH__REQUEST_KIND__REQUEST_DISK && request->disk_id == disk_id &&
            request->state == TRILITH__REQUEST_STATE__REQUEST_RUNNING && id != change->outcome.id) {
            return STATUS_CONFLICT;
        }
        tables->scratch.used = used_bytes;
    }
}

enum status moves_disk_drain(struct change *change, const Trilith__DiskDrainRequest *command)
{
    struct tables *tables = change->tables;
    Trilith__Map *map = NULL;
    enum status status = registry_map(tables, change->cluster->map_epoch, &map);
    if (status != STATUS_OK) {
        return tables_fail(tables, status);
    }
    Trilith__MapDisk *disk = disk_of_map(map, command->disk_id);
    if (disk == NULL) {
        status = tables_find(tables, key_disk(command->disk_id));
        return status == STATUS_OK ? STATUS_GONE : status;
    }
    if (disk->phase == TRILITH__DISK_PHASE__DISK_REMOVED) {
        return STATUS_GONE;
    }
    bool is_on = disk->phase == TRILITH__DISK_PHASE__DISK_DRAINING;
    if (is_on == (command->on != 0)) {
        return STATUS_OK;
    }
    if (command->on && domains_open(map, command->disk_id) < DISK_DOMAINS_MIN) {
        return STATUS_CONFLICT;
    }
    status = command->on ? STATUS_OK : disk_may_stay(change, disk->id);
    if (status != STATUS_OK) {
        return status;
    }
    uint64_t epoch = change->cluster->map_epoch + 1;
    disk->phase = command->on ? TRILITH__DISK_PHASE__DISK_DRAINING : TRILITH__DISK_PHASE__DISK_ACTIVE;
    tables_put(tables, key_disk(disk->id), disk);
    if (!command->on) {
        status = moves_give_up(change, disk->id, epoch);
    }
    if (status == STATUS_OK && !command->on && command->pgs_per_disk > 0) {
        const struct pgs_wanted wanted = {.pgs_per_disk = command->pgs_per_disk,
                                          .scatter_width = command->scatter_width,
                                          .joining = disk->id,
                                          .epoch = epoch};
        status = registry_add_pgs(change, map, &wanted);
    }
    change->cluster->map_epoch = epoch;
    return status;
}

/* ---- gone for good ----------------------------------------------------------------------------- */

enum status moves_disk_remove(struct change *change, const Trilith__DiskRemove *command)
{
    struct tables *tables = change->tables;
    Trilith__MapDisk *disk = NULL;
    struct disk_left left = {0};
    enum status status = registry_disk(tables, command->disk_id, &disk);
    if (status == STATUS_OK) {
        status = disk_pgs(tables, command->disk_id, &left);
    }
    if (status != STATUS_OK) {
        return status;
    }
    if (left.pgs != 0 || left.coming != 0) {
        return STATUS_NOT_EMPTY;
    }
    if (disk->phase != TRILITH__DISK_PHASE__DISK_REMOVED) {
        disk->phase = TRILITH__DISK_PHASE__DISK_REMOVED;
        disk->dead = command->dead;
        tables_put(tables, key_disk(disk->id), disk);
        change->cluster->map_epoch++;
    }
    bool more = false;
    return erasure_settle_removed(change, command->disk_id, command->dead, DISK_REMOVE_WIPES_MAX, &more);
}

/* Whether every disk of the node is removed. */
static enum status node_disks_removed(struct tables *tables, uint64_t node_id, bool *removed)
{
    struct table_walk walk;
    struct kv_slice key, value;
    *removed = true;
    table_walk_open(&walk, tables, key_prefix(key_disk(0), 1));
    for (; table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        const Trilith__MapDisk *disk = tables_unpack(tables, &trilith__map_disk__descriptor, value);
        if (disk == NULL) {
            break;
        }
        if (disk->node_id == node_id && disk->phase != TRILITH__DISK_PHASE__DISK_REMOVED) {
            *removed = false;
        }
    }
    table_walk_close(&walk);
    return tables->failed;
}

enum status moves_node_remove(struct change *change, const Trilith__NodeRemove *command)
{
    Trilith__MapNode *node = NULL;
    bool removed = false;
    enum status status = registry_node(change->tables, command->node_id, &node);
    if (status == STATUS_OK && !node->removed) {
        status = node_disks_removed(change->tables, node->id, &removed);
    } else if (status == STATUS_OK) {
        return STATUS_OK;
    }
    if (status != STATUS_OK) {
        return status;
    }
    if (!removed) {
        return STATUS_NOT_EMPTY;
    }
    node->removed = true;
    tables_put(change->tables, key_node(node->id), node);
    change->cluster->map_epoch++;
    return STATUS_OK;
}
