/* map.c - decoding and checking a map, and the two questions asked of it: where to write, whom to read. */
#include "node/map.h"

#include <stdlib.h>

/* ---- decode ------------------------------------------------------------------------------------ */

static struct map *map_allocate(uint32_t node_count, uint32_t disk_count, uint32_t pg_count)
{
    struct map *map = calloc(1, sizeof(*map));
    CHECK(map != NULL);
    atomic_init(&map->references, 1);
    map->node_count = node_count;
    map->disk_count = disk_count;
    map->pg_count = pg_count;
    map->nodes = calloc((size_t)node_count + 1, sizeof(*map->nodes));
    map->disks = calloc((size_t)disk_count + 1, sizeof(*map->disks));
    map->pgs = calloc((size_t)pg_count + 1, sizeof(*map->pgs));
    CHECK(map->nodes != NULL && map->disks != NULL && map->pgs != NULL);
    return map;
}

static void map_free(struct map *map)
{
    free(map->nodes);
    free(map->disks);
    free(map->pgs);
    free(map);
}

/* Copy a text of the wire. False: it does not fit, or there is nothing in it. */
static bool text_copy(char *target, size_t capacity, const char *source)
{
    size_t bytes = source == NULL ? 0 : strnlen(source, capacity);
    if (bytes == 0 || bytes == capacity) {
        return false;
    }
    memcpy(target, source, bytes + 1);
    return true;
}

static int node_compare(const void *a, const void *b)
{
    uint64_t left = ((const struct map_node *)a)->id;
    uint64_t right = ((const struct map_node *)b)->id;
    return (left > right) - (left < right);
}

static int disk_compare(const void *a, const void *b)
{
    uint32_t left = ((const struct map_disk *)a)->id;
    uint32_t right = ((const struct map_disk *)b)->id;
    return (left > right) - (left < right);
}

static int pg_compare(const void *a, const void *b)
{
    uint32_t left = ((const struct map_pg *)a)->id;
    uint32_t right = ((const struct map_pg *)b)->id;
    return (left > right) - (left < right);
}

static bool nodes_decode(const Trilith__Map *wire, struct map *map)
{
    for (uint32_t i = 0; i < map->node_count; i++) {
        const Trilith__MapNode *source = wire->nodes[i];
        struct map_node *node = &map->nodes[i];
        node->id = source->id;
        if (node->id == 0 || !text_copy(node->name, sizeof(node->name), source->name) ||
            !text_copy(node->rpc_address, sizeof(node->rpc_address), source->rpc_address)) {
            return false;
        }
    }
    qsort(map->nodes, map->node_count, sizeof(*map->nodes), node_compare);
    for (uint32_t i = 1; i < map->node_count; i++) {
        if (map->nodes[i - 1].id == map->nodes[i].id) {
            return false;
        }
    }
    return true;
}

static bool disks_decode(const Trilith__Map *wire, struct map *map)
{
    for (uint32_t i = 0; i < map->disk_count; i++) {
        const Trilith__MapDisk *source = wire->disks[i];
        struct map_disk *disk = &map->disks[i];
        disk->id = source->id;
        disk->node_id = source->node_id;
        if (disk->id == 0 || source->uuid.len != sizeof(disk->uuid.bytes) ||
            map_find_node(map, disk->node_id) == NULL) {
            return false;
        }
        memcpy(disk->uuid.bytes, source->uuid.data, sizeof(disk->uuid.bytes));
        disk->is_draining = source->phase == TRILITH__DISK_PHASE__DISK_DRAINING;
        disk->is_removed = source->phase == TRILITH__DISK_PHASE__DISK_REMOVED;
    }
    qsort(map->disks, map->disk_count, sizeof(*map->disks), disk_compare);
    for (uint32_t i = 1; i < map->disk_count; i++) {
        if (map->disks[i - 1].id == map->disks[i].id) {
            return false;
        }
    }
    return true;
}

/* A PG's target: a disk that is no member, in the place of one that is. */
static bool target_decode(const struct map *map, const Trilith__MapPg *source, struct map_pg *pg)
{
    pg->target = source->target;
    pg->leaving = source->leaving;
    pg->changed_epoch = source->changed_epoch;
    if (pg->target == 0) {
        return pg->leaving == 0;
    }
    return map_find_disk(map, pg->target) != NULL && !map_pg_has_member(pg, pg->target) &&
           map_pg_has_member(pg, pg->leaving);
}

static bool pgs_decode(const Trilith__Map *wire, struct map *map)
{
    for (uint32_t i = 0; i < map->pg_count; i++) {
        const Trilith__MapPg *source = wire->pgs[i];
        struct map_pg *pg = &map->pgs[i];
        pg->id = source->id;
        if (pg->id == 0 || source->n_members != REPLICAS) {
            return false;
        }
        for (unsigned m = 0; m < REPLICAS; m++) {
            pg->members[m] = source->members[m];
            if (map_find_disk(map, pg->members[m]) == NULL) {
                return false;
            }
        }
        if (pg->members[0] == pg->members[1] || pg->members[0] == pg->members[2] || pg->members[1] == pg->members[2]) {
            return false;
        }
        if (!target_decode(map, source, pg)) {
            return false;
        }
    }
    qsort(map->pgs, map->pg_count, sizeof(*map->pgs), pg_compare);
    for (uint32_t i = 1; i < map->pg_count; i++) {
        if (map->pgs[i - 1].id == map->pgs[i].id) {
            return false;
        }
    }
    return true;
}

enum status map_decode(const Trilith__Map *wire, struct map **result)
{
    if (wire->n_nodes > MAP_NODES_MAX || wire->n_disks > MAP_DISKS_MAX || wire->n_pgs > MAP_PGS_MAX) {
        return STATUS_TOO_LARGE;
    }
    struct map *map = map_allocate((uint32_t)wire->n_nodes, (uint32_t)wire->n_disks, (uint32_t)wire->n_pgs);
    map->epoch = wire->epoch;
    if (!nodes_decode(wire, map) || !disks_decode(wire, map) || !pgs_decode(wire, map)) {
        map_free(map);
        return STATUS_INVALID;
    }
    *result = map;
    return STATUS_OK;
}

struct map *map_with_health(const struct map *map, Trilith__DiskHealth *const *health, size_t health_count)
{
    struct map *copy = map_allocate(map->node_count, map->disk_count, map->pg_count);
    copy->epoch = map->epoch;
    memcpy(copy->nodes, map->nodes, map->node_count * sizeof(*map->nodes));
    memcpy(copy->disks, map->disks, map->disk_count * sizeof(*map->disks));
    memcpy(copy->pgs, map->pgs, map->pg_count * sizeof(*map->pgs));
    for (uint32_t i = 0; i < copy->disk_count; i++) {
        copy->disks[i].up = false;
        copy->disks[i].takes_chunks = false;
        copy->disks[i].is_full = false;
        copy->disks[i].free_bytes = 0;
    }
    for (size_t i = 0; i < health_count; i++) {
        struct map_disk key = {.id = health[i]->disk_id};
        struct map_disk *disk = bsearch(&key, copy->disks, copy->disk_count, sizeof(key), disk_compare);
        if (disk == NULL) {
            continue;
        }
        disk->up = health[i]->up;
        disk->free_bytes = health[i]->free;
        disk->takes_chunks = disk->up && health[i]->state == TRILITH__DISK_STATE__DISK_SERVING;
        disk->is_full = disk->up && health[i]->state == TRILITH__DISK_STATE__DISK_FULL;
    }
    return copy;
}

void map_hold(struct map *map)
{
    atomic_fetch_add_explicit(&map->references, 1, memory_order_relaxed);
}

void map_release(struct map *map)
{
    if (map != NULL && atomic_fetch_sub_explicit(&map->references, 1, memory_order_acq_rel) == 1) {
        map_free(map);
    }
}

/* ---- find -------------------------------------------------------------------------------------- */

const struct map_node *map_find_node(const struct map *map, uint64_t id)
{
    /* While a map is being decoded this runs on the sorted nodes, with disks and PGs still to come. */
    struct map_node key = {.id = id};
    return bsearch(&key, map->nodes, map->node_count, sizeof(key), node_compare);
}

const struct map_disk *map_find_disk(const struct map *map, uint32_t id)
{
    struct map_disk key = {.id = id};
    return bsearch(&key, map->disks, map->disk_count, sizeof(key), disk_compare);
}

const struct map_pg *map_find_pg(const struct map *map, uint32_t id)
{
    struct map_pg key = {.id = id};
    return bsearch(&key, map->pgs, map->pg_count, sizeof(key), pg_compare);
}

bool map_pg_has_member(const struct map_pg *pg, uint32_t disk_id)
{
    return pg->members[0] == disk_id || pg->members[1] == disk_id || pg->members[2] == disk_id;
}

enum status map_check_put(const struct map *map, const struct map_put *put)
{
    const struct map_pg *pg = map_find_pg(map, put->pg);
    bool may;
    if (put->takes_over) {
        may = pg != NULL && put->disk_id != 0 && pg->target == put->disk_id;
    } else {
        may =
            pg != NULL && map_pg_has_member(pg, put->disk_id) && pg->target == 0 && pg->changed_epoch <= put->map_epoch;
    }
    if (may) {
        return STATUS_OK;
    }
    return put->map_epoch > map->epoch ? STATUS_BUSY : STATUS_CONFLICT;
}

/* ---- choose ------------------------------------------------------------------------------------ */

static bool is_avoided(const struct map_avoid *avoid, uint32_t disk_id)
{
    for (uint32_t i = 0; avoid != NULL && i < avoid->count; i++) {
        if (avoid->disks[i] == disk_id) {
            return true;
        }
    }
    return false;
}

/* Whether a PG takes chunks, in this round: first those that lose no member, then any that is not on its way. */
static bool pg_is_open(const struct map *map, const struct map_pg *pg, bool with_draining)
{
    for (unsigned m = 0; m < REPLICAS && !with_draining; m++) {
        if (map_find_disk(map, pg->members[m])->is_draining) {
            return false;
        }
    }
    return pg->target == 0;
}

/* The members of a PG that can take a chunk now, and the weight they give it: MiB free on the fullest of them. */
static unsigned pg_usable_members(const struct map *map, const struct map_avoid *avoid, const struct map_pg *pg,
                                  uint32_t disks[REPLICAS], uint64_t *weight)
{
    unsigned usable = 0;
    uint64_t least = UINT64_MAX;
    for (unsigned m = 0; m < REPLICAS; m++) {
        const struct map_disk *disk = map_find_disk(map, pg->members[m]);
        if (!disk->takes_chunks || is_avoided(avoid, disk->id)) {
            continue;
        }
        disks[usable++] = disk->id;
        uint64_t free_bytes = disk->free_bytes < MAP_FREE_BYTES_MIN ? 0 : disk->free_bytes;
        least = free_bytes < least ? free_bytes : least;
    }
    *weight = least >> 20;
    return usable;
}

/* The members that could take a chunk if they had room. */
static unsigned pg_willing_members(const struct map *map, const struct map_avoid *avoid, const struct map_pg *pg)
{
    unsigned willing = 0;
    for (unsigned m = 0; m < REPLICAS; m++) {
        const struct map_disk *disk = map_find_disk(map, pg->members[m]);
        willing += (disk->takes_chunks || disk->is_full) && !is_avoided(avoid, disk->id) ? 1 : 0;
    }
    return willing;
}

static enum status choose_among(const struct map *map, const struct map_avoid *avoid, unsigned copies, uint64_t random,
                                bool with_draining, struct map_choice *choice)
{
    uint64_t total = 0;
    bool any_up = false;
    uint32_t disks[REPLICAS];
    uint64_t weight = 0;
    for (uint32_t i = 0; i < map->pg_count; i++) {
        if (!pg_is_open(map, &map->pgs[i], with_draining)) {
            continue;
        }
        any_up = any_up || pg_willing_members(map, avoid, &map->pgs[i]) >= copies;
        if (pg_usable_members(map, avoid, &map->pgs[i], disks, &weight) >= copies) {
            total += weight;
        }
    }
    if (total == 0) {
        return any_up ? STATUS_FULL : STATUS_UNAVAILABLE;
    }
    uint64_t ticket = random % total;
    for (uint32_t i = 0; i < map->pg_count; i++) {
        unsigned usable = pg_usable_members(map, avoid, &map->pgs[i], disks, &weight);
        if (usable < copies || !pg_is_open(map, &map->pgs[i], with_draining)) {
            continue;
        }
        if (ticket < weight) {
            choice->pg = map->pgs[i].id;
            choice->copies = usable;
            memcpy(choice->disks, disks, sizeof(disks));
            return STATUS_OK;
        }
        ticket -= weight;
    }
    UNREACHABLE();
}

enum status map_choose_pg(const struct map *map, const struct map_avoid *avoid, unsigned copies, uint64_t random,
                          struct map_choice *choice)
{
    CHECK(copies == REPLICAS || copies == REPLICAS - 1);
    enum status status = choose_among(map, avoid, copies, random, false, choice);
    if (status == STATUS_OK) {
        return status;
    }
    enum status second = choose_among(map, avoid, copies, random, true, choice);
    return second == STATUS_UNAVAILABLE ? status : second;
}

unsigned map_order_replicas(const struct map *map, uint32_t pg_id, uint64_t local_node, const struct map_avoid *avoid,
                            uint64_t random, uint32_t disks[REPLICAS])
{
    const struct map_pg *pg = map_find_pg(map, pg_id);
    if (pg == NULL) {
        return 0;
    }
    unsigned rank[REPLICAS];
    for (unsigned m = 0; m < REPLICAS; m++) {
        const struct map_disk *disk = map_find_disk(map, pg->members[m]);
        bool is_good = disk->up && !is_avoided(avoid, disk->id);
        bool is_local = local_node != 0 && disk->node_id == local_node;
        unsigned group = is_good ? (is_local ? 0 : 1) : (disk->up ? 2 : 3);
        /* Chance decides within a group, the position breaks the last ties. */
        rank[m] = group << 16 | (unsigned)(random >> (16 * m) & 0x3fff) << 2 | m;
        disks[m] = disk->id;
    }
    for (unsigned i = 1; i < REPLICAS; i++) {
        for (unsigned j = i; j > 0 && rank[j - 1] > rank[j]; j--) {
            unsigned rank_swapped = rank[j];
            uint32_t disk_swapped = disks[j];
            rank[j] = rank[j - 1];
            disks[j] = disks[j - 1];
            rank[j - 1] = rank_swapped;
            disks[j - 1] = disk_swapped;
        }
    }
    return REPLICAS;
}
