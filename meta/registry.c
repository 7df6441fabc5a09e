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
        pg->target = record->target;
        pg->leaving = record->leaving;
        pg->changed_epoch = record->changed_epoch;
        map->pgs[map->n_pgs++] = pg;
    }
    table_walk_close(&walk);
    return status == STATUS_OK ? tables->failed : status;
}

static bool map_has_node(const Trilith__Map *map, uint64_t node_id)
{
    for (size_t i = 0; i < map->n_nodes; i++) {
        if (map->nodes[i]->id == node_id) {
            return true;
        }
    }
    return false;
}

/* Leave out what is gone for good: nodes, and with them their disks, which are removed too. */
static void map_shrink(Trilith__Map *map)
{
    size_t kept = 0;
    for (size_t i = 0; i < map->n_nodes; i++) {
        if (!map->nodes[i]->removed) {
            map->nodes[kept++] = map->nodes[i];
        }
    }
    map->n_nodes = kept;
    kept = 0;
    for (size_t i = 0; i < map->n_disks; i++) {
        if (map_has_node(map, map->disks[i]->node_id)) {
            map->disks[kept++] = map->disks[i];
        }
    }
    map->n_disks = kept;
}

/* The map with nodes that are gone. */
static enum status map_read(struct tables *tables, uint64_t epoch, Trilith__Map **result)
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

enum status registry_map(struct tables *tables, uint64_t epoch, Trilith__Map **map)
{
    enum status status = map_read(tables, epoch, map);
    if (status == STATUS_OK) {
        map_shrink(*map);
    }
    return status;
}

enum status registry_node_key(struct tables *tables, uint64_t node_id, struct public_key *key)
{
    Trilith__NodeKeyRecord *record = NULL;
    enum status status = tables_get(tables, key_node_keys(node_id), &trilith__node_key_record__descriptor, &record);
    if (status != STATUS_OK) {
        return status;
    }
    const Trilith__NodeKey *current = record->n_keys > 0 ? record->keys[record->n_keys - 1] : NULL;
    if (current == NULL || current->public_key.len != sizeof(key->bytes)) {
        return tables_fail(tables, STATUS_CORRUPT);
    }
    memcpy(key->bytes, current->public_key.data, sizeof(key->bytes));
    return STATUS_OK;
}

enum status registry_medium(struct tables *tables, uint32_t disk_id, Trilith__Medium **medium)
{
    return tables_get(tables, key_medium(disk_id), &trilith__medium__descriptor, medium);
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

/* Texts that a node's system gave it, of any characters. */
static bool medium_is_valid(const Trilith__Medium *medium)
{
    const char *texts[] = {medium->vendor, medium->model,       medium->serial,
                           medium->wwn,    medium->firmware,    medium->interface,
                           medium->device, medium->file_system, medium->mount_options};
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        if (strnlen(texts[i], MEDIUM_TEXT_BYTES_MAX + 1) > MEDIUM_TEXT_BYTES_MAX) {
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
        command->scatter_width < REPLICAS - 1 || command->scatter_width > SCATTER_WIDTH_MAX ||
        (command->public_key.len != 0 && command->public_key.len != PUBLIC_KEY_BYTES)) {
        return false;
    }
    for (size_t i = 0; i < command->n_disks; i++) {
        const Trilith__Medium *medium = command->disks[i]->medium;
        if (command->disks[i]->uuid.len != 16 || (medium != NULL && !medium_is_valid(medium))) {
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

/* Whether the node said nothing of its key, or said it before. A row that does not decode marks the tables as
 * failed. */
static bool key_is_same(struct tables *tables, uint64_t node_id, const Trilith__NodeJoin *command)
{
    struct public_key key;
    return command->public_key.len == 0 ||
           (registry_node_key(tables, node_id, &key) == STATUS_OK && command->public_key.len == sizeof(key.bytes) &&
            memcmp(key.bytes, command->public_key.data, sizeof(key.bytes)) == 0);
}

/* Likewise of what a disk lies on. */
static bool medium_is_same(struct tables *tables, uint32_t disk_id, const Trilith__Medium *medium)
{
    Trilith__Medium *known = NULL;
    if (medium == NULL) {
        return true;
    }
    if (registry_medium(tables, disk_id, &known) != STATUS_OK) {
        return false;
    }
    return strcmp(known->vendor, medium->vendor) == 0 && strcmp(known->model, medium->model) == 0 &&
           strcmp(known->serial, medium->serial) == 0 && strcmp(known->wwn, medium->wwn) == 0 &&
           strcmp(known->firmware, medium->firmware) == 0 && strcmp(known->interface, medium->interface) == 0 &&
           strcmp(known->device, medium->device) == 0 && known->capacity == medium->capacity &&
           known->rotational == medium->rotational && known->discard == medium->discard &&
           strcmp(known->file_system, medium->file_system) == 0 &&
           strcmp(known->mount_options, medium->mount_options) == 0 && known->shares_extents == medium->shares_extents;
}

/* A node that was removed comes back into the map with a disk that was not. */
static bool disk_brings_back(const Trilith__MapNode *node, const Trilith__MapDisk *disk)
{
    return node->removed && disk->phase != TRILITH__DISK_PHASE__DISK_REMOVED;
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
    bool same = node_is_same(node, command) && key_is_same(tables, node->id, command);
    for (size_t i = 0; same && i < command->n_disks; i++) {
        Trilith__MapDisk *disk = NULL;
        status = registry_disk_by_uuid(tables, command->disks[i]->uuid.data, &disk);
        if (status != STATUS_OK) {
            return status;
        }
        same = disk->node_id == node->id && disk->capacity == command->disks[i]->capacity &&
               medium_is_same(tables, disk->id, command->disks[i]->medium) && !disk_brings_back(node, disk);
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
    bool node_changed;
    bool changed; /* the map */
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
    join->node_changed = true;
    join->node->rpc_address = command->rpc_address;
    join->node->s3_address = command->s3_address;
    join->node->failure_domain = command->failure_domain;
    return STATUS_OK;
}

/* The key that the node signs with: the ones before stay, for what they have signed. */
static enum status join_key(struct join *join)
{
    struct tables *tables = join->change->tables;
    if (key_is_same(tables, join->node->id, join->command)) {
        return tables->failed;
    }
    Trilith__NodeKeyRecord *record = NULL;
    Trilith__NodeKeyRecord none;
    enum status status =
        tables_get(tables, key_node_keys(join->node->id), &trilith__node_key_record__descriptor, &record);
    if (status == STATUS_NOT_FOUND) {
        trilith__node_key_record__init(&none);
        record = &none;
    } else if (status != STATUS_OK) {
        return status;
    }
    if (record->n_keys == NODE_KEYS_MAX) {
        return STATUS_FULL;
    }
    Trilith__NodeKey *key = join_take(join, sizeof(*key));
    Trilith__NodeKey **keys = join_take(join, (record->n_keys + 1) * sizeof(Trilith__NodeKey *));
    if (key == NULL || keys == NULL) {
        return STATUS_TOO_LARGE;
    }
    trilith__node_key__init(key);
    key->public_key = join->command->public_key;
    key->from_ms = join->change->time_ms;
    for (size_t i = 0; i < record->n_keys; i++) {
        keys[i] = record->keys[i];
    }
    keys[record->n_keys++] = key;
    record->keys = keys;
    tables_put(tables, key_node_keys(join->node->id), record);
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
    }
    if (!medium_is_same(join->change->tables, disk->id, wanted->medium)) {
        tables_put(join->change->tables, key_medium(disk->id), wanted->medium);
    }
    if (disk_brings_back(join->node, disk)) {
        join->node->removed = false;
        join->node_changed = true;
    }
    if (disk->node_id == join->node->id && disk->capacity == wanted->capacity) {
        return STATUS_OK;
    }
    disk->node_id = join->node->id;
    disk->capacity = wanted->capacity;
    join->changed = true;
    tables_put(join->change->tables, key_disk(disk->id), disk);
    return STATUS_OK;
}

uint32_t registry_disk_domain(const Trilith__Map *map, const Trilith__MapDisk *disk)
{
    const char *domain = NULL;
    for (size_t i = 0; i < map->n_nodes; i++) {
        if (map->nodes[i]->id == disk->node_id) {
            domain = map->nodes[i]->failure_domain;
        }
    }
    if (domain == NULL) {
        return UINT32_MAX;
    }
    for (size_t i = 0; i < map->n_nodes; i++) {
        if (strcmp(map->nodes[i]->failure_domain, domain) == 0) {
            return (uint32_t)i;
        }
    }
    return UINT32_MAX;
}

/* Whether the PG would be spread with the disk that is taking a member's place. */
static bool target_is_spread(const struct placement *placement, const Trilith__MapPg *pg)
{
    uint32_t members[REPLICAS];
    if (pg->target == 0) {
        return true;
    }
    for (unsigned i = 0; i < REPLICAS; i++) {
        members[i] = pg->members[i] == pg->leaving ? pg->target : pg->members[i];
    }
    return placement_pg_is_spread(placement, members);
}

/* Whether a disk of the map is one that gets as many PGs as the others have. */
static bool is_joining(const struct pgs_wanted *wanted, const Trilith__MapDisk *disk)
{
    return disk->id == wanted->joining || (wanted->joining_from != 0 && disk->id >= wanted->joining_from);
}

static enum status placement_fill(struct placement *placement, const Trilith__Map *map, const struct pgs_wanted *wanted)
{
    placement_init(placement, wanted->pgs_per_disk, wanted->scatter_width);
    for (size_t i = 0; i < map->n_disks; i++) {
        const Trilith__MapDisk *disk = map->disks[i];
        if (disk->phase == TRILITH__DISK_PHASE__DISK_REMOVED) {
            continue;
        }
        if (!placement_add_disk(placement, disk->id, registry_disk_domain(map, disk))) {
            return STATUS_FULL;
        }
        if (disk->phase == TRILITH__DISK_PHASE__DISK_DRAINING) {
            placement_set_closed(placement, disk->id);
        }
        if (is_joining(wanted, disk)) {
            placement_set_joining(placement, disk->id);
        }
    }
    for (size_t i = 0; i < map->n_pgs; i++) {
        const Trilith__MapPg *pg = map->pgs[i];
        if (pg->n_members != REPLICAS || !placement_add_pg(placement, pg->members)) {
            return STATUS_CORRUPT;
        }
        if (!placement_pg_is_spread(placement, pg->members) || !target_is_spread(placement, pg)) {
            return STATUS_CONFLICT;
        }
    }
    return STATUS_OK;
}

enum status registry_add_pgs(struct change *change, const Trilith__Map *map, const struct pgs_wanted *wanted)
{
    struct placement *placement = scratch_take(&change->tables->scratch, sizeof(*placement));
    if (placement == NULL || wanted->pgs_per_disk < 1 || wanted->pgs_per_disk > PGS_PER_DISK_MAX ||
        wanted->scatter_width < REPLICAS - 1 || wanted->scatter_width > SCATTER_WIDTH_MAX) {
        return placement == NULL ? tables_fail(change->tables, STATUS_TOO_LARGE) : STATUS_INVALID;
    }
    enum status status = placement_fill(placement, map, wanted);
    if (status != STATUS_OK) {
        return status == STATUS_CORRUPT ? tables_fail(change->tables, status) : status;
    }
    uint32_t members[REPLICAS];
    while (placement_next(placement, members)) {
        Trilith__PgRecord record = TRILITH__PG_RECORD__INIT;
        record.n_members = REPLICAS;
        record.members = members;
        record.changed_epoch = wanted->epoch;
        tables_put(change->tables, key_pg(change->cluster->next_pg_id++), &record);
    }
    return STATUS_OK;
}

/* Check that every PG is still spread over three domains, then add the PGs that are wanting. */
static enum status join_place(struct join *join)
{
    struct change *change = join->change;
    const struct pgs_wanted wanted = {.pgs_per_disk = join->command->pgs_per_disk,
                                      .scatter_width = join->command->scatter_width,
                                      .joining_from = join->first_new_disk,
                                      .epoch = change->cluster->map_epoch + 1};
    uint32_t next_pg_id = change->cluster->next_pg_id;
    enum status status = registry_add_pgs(change, join->map, &wanted);
    join->changed = join->changed || change->cluster->next_pg_id != next_pg_id;
    return status;
}

enum status registry_node_join(struct change *change, const Trilith__NodeJoin *command)
{
    if (!join_is_valid(command)) {
        return STATUS_INVALID;
    }
    struct join join = {.change = change, .command = command, .first_new_disk = change->cluster->next_disk_id};
    enum status status = map_read(change->tables, change->cluster->map_epoch, &join.map);
    if (status != STATUS_OK) {
        change->tables->failed = status;
        return status;
    }
    status = join_node(&join);
    if (status == STATUS_OK) {
        status = join_key(&join);
    }
    for (size_t i = 0; status == STATUS_OK && i < command->n_disks; i++) {
        status = join_disk(&join, command->disks[i]);
    }
    if (status == STATUS_OK && join.node_changed) {
        tables_put(change->tables, key_node(join.node->id), join.node);
        join.changed = true;
    }
    if (status == STATUS_OK) {
        map_shrink(join.map);
        status = join_place(&join);
    }
    change->cluster->map_epoch += join.changed ? 1 : 0;
    change->outcome.id = join.node != NULL ? join.node->id : 0;
    return status;
}
