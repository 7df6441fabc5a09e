/* registry.c - nodes, disks and PGs as rows, and the map built from them. */
#include "meta/registry.h"

#include "meta/erasure.h"
#include "meta/membership.h"
#include "meta/placement.h"

#include "base/net.h"

#include <string.h>

/* ---- reads ------------------------------------------------------------------------------------- */

enum status registry_node(struct tables *tables, uint64_t node_id, Trilith__MapNode **node)
{
    return tables_get(tables, key_node(node_id), &trilith__map_node__descriptor, node);
}

enum status registry_disk(struct tables *tables, uint32_t disk_id, Trilith__MapDisk **disk)
{
    return tables_get(tables, key_disk(disk_id), &trilith__map_disk__descriptor, disk);
}

enum status registry_disk_by_uuid(struct tables *tables, const uint8_t uuid[16], Trilith__MapDisk **disk)
{
    uint64_t disk_id = 0;
    enum status status = tables_get_number(tables, key_disk_uuid(uuid), &disk_id);
    return status == STATUS_OK ? registry_disk(tables, (uint32_t)disk_id, disk) : status;
}

static enum status node_by_name(struct tables *tables, const char *name, Trilith__MapNode **node)
{
    uint64_t node_id = 0;
    enum status status = tables_get_number(tables, key_node_name(name), &node_id);
    return status == STATUS_OK ? registry_node(tables, node_id, node) : status;
}

/* All rows whose key is `letter_key`'s letter and a number, unpacked. `rows` has room for `max`. */
static enum status rows_read(struct tables *tables, struct table_key letter_key,
                             const ProtobufCMessageDescriptor *descriptor, void **rows, size_t max, size_t *count)
{
    struct table_walk walk;
    struct kv_slice key, value;
    enum status status = STATUS_OK;
    *count = 0;
    table_walk_open(&walk, tables, key_prefix(letter_key, 1));
    for (; table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        void *row = *count < max ? tables_unpack(tables, descriptor, value) : NULL;
        if (row == NULL) {
            status = STATUS_CORRUPT;
            break;
        }
        rows[(*count)++] = row;
    }
    table_walk_close(&walk);
    return status == STATUS_OK ? tables->failed : status;
}

static enum status pgs_read(struct tables *tables, Trilith__Map *map)
{
    struct table_walk walk;
    struct kv_slice key, value;
    enum status status = STATUS_OK;
    table_walk_open(&walk, tables, key_prefix(key_pg(0), 1));
    for (; table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        const Trilith__PgRecord *record = tables_unpack(tables, &trilith__pg_record__descriptor, value);
        Trilith__MapPg *pg = scratch_take(&tables->scratch, sizeof(*pg));
        if (record == NULL || pg == NULL || map->n_pgs == PLACEMENT_PGS_MAX || key.bytes != 5) {
            status = STATUS_CORRUPT;
            break;
        }
        trilith__map_pg__init(pg);
        pg->id = (uint32_t)number_of_be((const uint8_t *)key.data + 1, 4);
        pg->n_members = record->n_members;
        pg->members = record->members;
        map->pgs[map->n_pgs++] = pg;
    }
    table_walk_close(&walk);
    return status == STATUS_OK ? tables->failed : status;
}

enum status registry_map(struct tables *tables, uint64_t epoch, Trilith__Map **result)
{
    struct scratch *scratch = &tables->scratch;
    Trilith__Map *map = scratch_take(scratch, sizeof(*map));
    void **nodes = scratch_take(scratch, MEMBERSHIP_NODES_MAX * sizeof(void *));
    void **disks = scratch_take(scratch, PLACEMENT_DISKS_MAX * sizeof(void *));
    Trilith__MapPg **pgs = scratch_take(scratch, PLACEMENT_PGS_MAX * sizeof(Trilith__MapPg *));
    if (map == NULL || nodes == NULL || disks == NULL || pgs == NULL) {
        return STATUS_TOO_LARGE;
    }
    trilith__map__init(map);
    map->epoch = epoch;
    map->pgs = pgs;
    enum status status =
        rows_read(tables, key_node(0), &trilith__map_node__descriptor, nodes, MEMBERSHIP_NODES_MAX, &map->n_nodes);
    if (status == STATUS_OK) {
        status =
            rows_read(tables, key_disk(0), &trilith__map_disk__descriptor, disks, PLACEMENT_DISKS_MAX, &map->n_disks);
    }
    if (status == STATUS_OK) {
        status = pgs_read(tables, map);
    }
    map->nodes = (Trilith__MapNode **)(void *)nodes;
    map->disks = (Trilith__MapDisk **)(void *)disks;
    *result = map;
    return status;
}

/* ---- joining ----------------------------------------------------------------------------------- */

static bool word_is_valid(const char *word, size_t bytes_max)
{
    size_t length = strlen(word);
    if (length < 1 || length > bytes_max) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (word[i] <= ' ' || word[i] > '~') {
            return false;
        }
    }
    return true;
}

static bool join_is_valid(const Trilith__NodeJoin *command)
{
    if (!word_is_valid(command->name, NODE_NAME_BYTES_MAX) ||
        !word_is_valid(command->rpc_address, NET_ADDRESS_BYTES - 1) ||
        !word_is_valid(command->s3_address, NET_ADDRESS_BYTES - 1) ||
        !word_is_valid(command->failure_domain, NODE_NAME_BYTES_MAX) || command->n_disks > NODE_DISKS_MAX ||
        command->pgs_per_disk < 1 || command->pgs_per_disk > PGS_PER_DISK_MAX ||
        command->scatter_width < REPLICAS - 1 || command->scatter_width > SCATTER_WIDTH_MAX) {
        return false;
    }
    for (size_t i = 0; i < command->n_disks; i++) {
        if (command->disks[i]->uuid.len != 16) {
            return false;
        }
        for (size_t j = 0; j < i; j++) {
            if (memcmp(command->disks[i]->uuid.data, command->disks[j]->uuid.data, 16) == 0) {
                return false;
            }
        }
    }
    return true;
}

static bool node_is_same(const Trilith__MapNode *node, const Trilith__NodeJoin *command)
{
    return strcmp(node->rpc_address, command->rpc_address) == 0 && strcmp(node->s3_address, command->s3_address) == 0 &&
           strcmp(node->failure_domain, command->failure_domain) == 0;
}

enum status registry_node_is_known(struct tables *tables, const Trilith__NodeJoin *command, uint64_t *node_id)
{
    if (!join_is_valid(command)) {
        return STATUS_NOT_FOUND;
    }
    Trilith__MapNode *node = NULL;
    enum status status = node_by_name(tables, command->name, &node);
    if (status != STATUS_OK) {
        return status;
    }
    bool same = node_is_same(node, command);
    for (size_t i = 0; same && i < command->n_disks; i++) {
        Trilith__MapDisk *disk = NULL;
        status = registry_disk_by_uuid(tables, command->disks[i]->uuid.data, &disk);
        if (status != STATUS_OK) {
            return status;
        }
        same = disk->node_id == node->id && disk->capacity == command->disks[i]->capacity;
    }
    *node_id = same ? node->id : *node_id;
    return same ? STATUS_OK : STATUS_NOT_FOUND;
}

/* A join while it is worked out on the map in memory; the map becomes the one after the join. */
struct join {
    struct change *change;
    const Trilith__NodeJoin *command;
    Trilith__Map *map;
    Trilith__MapNode *node;
    uint32_t first_new_disk; /* disks from this id on join for the first time */
    bool changed;
};

static void *join_take(struct join *join, size_t bytes)
{
    void *memory = scratch_take(&join->change->tables->scratch, bytes);
    if (memory == NULL) {
        join->change->tables->failed = STATUS_TOO_LARGE;
    }
    return memory;
}

static enum status join_node(struct join *join)
{
    const Trilith__NodeJoin *command = join->command;
    Trilith__Map *map = join->map;
    for (size_t i = 0; i < map->n_nodes; i++) {
        if (strcmp(map->nodes[i]->name, command->name) == 0) {
            join->node = map->nodes[i];
        }
    }
    if (join->node == NULL) {
        if (map->n_nodes == MEMBERSHIP_NODES_MAX) {
            return STATUS_FULL;
        }
        join->node = join_take(join, sizeof(*join->node));
        if (join->node == NULL) {
            return STATUS_TOO_LARGE;
        }
        trilith__map_node__init(join->node);
        join->node->id = join->change->cluster->next_node_id++;
        join->node->name = command->name;
        map->nodes[map->n_nodes++] = join->node;
        tables_put_number(join->change->tables, key_node_name(command->name), join->node->id);
    } else if (node_is_same(join->node, command)) {
        return STATUS_OK;
    }
    join->node->rpc_address = command->rpc_address;
    join->node->s3_address = command->s3_address;
    join->node->failure_domain = command->failure_domain;
    join->changed = true;
    tables_put(join->change->tables, key_node(join->node->id), join->node);
    return STATUS_OK;
}

static enum status join_disk(struct join *join, const Trilith__NodeJoinDisk *wanted)
{
    Trilith__Map *map = join->map;
    Trilith__MapDisk *disk = NULL;
    for (size_t i = 0; i < map->n_disks; i++) {
        if (memcmp(map->disks[i]->uuid.data, wanted->uuid.data, 16) == 0) {
            disk = map->disks[i];
        }
    }
    if (disk == NULL) {
        if (map->n_disks == PLACEMENT_DISKS_MAX || join->change->cluster->next_disk_id > DISK_IDS_MAX) {
            return STATUS_FULL;
        }
        disk = join_take(join, sizeof(*disk));
        if (disk == NULL) {
            return STATUS_TOO_LARGE;
        }
        trilith__map_disk__init(disk);
        disk->id = join->change->cluster->next_disk_id++;
        disk->uuid = wanted->uuid;
        map->disks[map->n_disks++] = disk;
        tables_put_number(join->change->tables, key_disk_uuid(wanted->uuid.data), disk->id);
    } else if (disk->node_id == join->node->id && disk->capacity == wanted->capacity) {
        return STATUS_OK;
    }
    disk->node_id = join->node->id;
    disk->capacity = wanted->capacity;
    join->changed = true;
    tables_put(join->change->tables, key_disk(disk->id), disk);
    return STATUS_OK;
}

/* The number of a disk's failure domain: the position of the first node in it. */
static uint32_t disk_domain(const Trilith__Map *map, const Trilith__MapDisk *disk)
{
    const char *domain = "";
    for (size_t i = 0; i < map->n_nodes; i++) {
        if (map->nodes[i]->id == disk->node_id) {
            domain = map->nodes[i]->failure_domain;
        }
    }
    for (size_t i = 0; i < map->n_nodes; i++) {
        if (strcmp(map->nodes[i]->failure_domain, domain) == 0) {
            return (uint32_t)i;
        }
    }
    return UINT32_MAX;
}

/* Check that every PG is still spread over three domains, then add the PGs that are wanting. */
static enum status join_place(struct join *join)
{
    struct change *change = join->change;
    const Trilith__Map *map = join->map;
    struct placement *placement = join_take(join, sizeof(*placement));
    if (placement == NULL) {
        return STATUS_TOO_LARGE;
    }
    placement_init(placement, join->command->pgs_per_disk, join->command->scatter_width);
    for (size_t i = 0; i < map->n_disks; i++) {
        if (!placement_add_disk(placement, map->disks[i]->id, disk_domain(map, map->disks[i]))) {
            return STATUS_FULL;
        }
        if (map->disks[i]->id >= join->first_new_disk) {
            placement_set_joining(placement, map->disks[i]->id);
        }
    }
    for (size_t i = 0; i < map->n_pgs; i++) {
        const Trilith__MapPg *pg = map->pgs[i];
        if (pg->n_members != REPLICAS || !placement_add_pg(placement, pg->members)) {
            change->tables->failed = STATUS_CORRUPT;
            return STATUS_CORRUPT;
        }
        if (!placement_pg_is_spread(placement, pg->members)) {
            return STATUS_CONFLICT;
        }
    }
    uint32_t members[REPLICAS];
    while (placement_next(placement, members)) {
        Trilith__PgRecord record = TRILITH__PG_RECORD__INIT;
        record.n_members = REPLICAS;
        record.members = members;
        tables_put(change->tables, key_pg(change->cluster->next_pg_id++), &record);
        join->changed = true;
    }
    return STATUS_OK;
}

enum status registry_node_join(struct change *change, const Trilith__NodeJoin *command)
{
    if (!join_is_valid(command)) {
        return STATUS_INVALID;
    }
    struct join join = {.change = change, .command = command, .first_new_disk = change->cluster->next_disk_id};
    enum status status = registry_map(change->tables, change->cluster->map_epoch, &join.map);
    if (status != STATUS_OK) {
        change->tables->failed = status;
        return status;
    }
    status = join_node(&join);
    for (size_t i = 0; status == STATUS_OK && i < command->n_disks; i++) {
        status = join_disk(&join, command->disks[i]);
    }
    if (status == STATUS_OK) {
        status = join_place(&join);
    }
    change->cluster->map_epoch += join.changed ? 1 : 0;
    change->outcome.id = join.node != NULL ? join.node->id : 0;
    return status;
}
