/* model_chunks.c - the chunks and disks of the reference model, and the fingerprints of every block of ciphertext. */
#include "tests/sim/model.h"
#include "tests/sim/model_private.h"

#include <stdlib.h>

#define TABLE_FIRST 1024u

void model_init(struct model *model, struct sim_cluster *cluster)
{
    memset(model, 0, sizeof(*model));
    model->cluster = cluster;
    model->vault.gone_erasures = 1; /* Ids begin with 1. */
    model->chunk_table_size = TABLE_FIRST;
    model->chunk_table = calloc(model->chunk_table_size, sizeof(model->chunk_table[0]));
    model->print_table_size = TABLE_FIRST;
    model->prints = calloc(model->print_table_size, sizeof(model->prints[0]));
    CHECK(model->chunk_table != NULL && model->prints != NULL);
}

/* ---- chunks by id -------------------------------------------------------------------------------- */

/* Ids are random: any eight bytes of one are a hash. */
static uint64_t hash_of_id(const uint8_t id[16])
{
    uint64_t hash;
    memcpy(&hash, id, sizeof(hash));
    return hash;
}

/* Where the id stands in the table, or where it would. */
static uint32_t chunk_slot(const struct model *model, const uint8_t id[16])
{
    uint32_t mask = model->chunk_table_size - 1;
    uint32_t slot = (uint32_t)hash_of_id(id) & mask;
    while (model->chunk_table[slot] != 0 &&
           memcmp(model->chunks[model->chunk_table[slot] - 1]->id.bytes, id, 16) != 0) {
        slot = (slot + 1) & mask;
    }
    return slot;
}

uint32_t model_chunk_number(const struct model *model, const uint8_t id[16])
{
    return model->chunk_table[chunk_slot(model, id)] - 1; /* 0 - 1 is UINT32_MAX: not there. */
}

static void chunk_table_grow(struct model *model)
{
    free(model->chunk_table);
    model->chunk_table_size *= 2;
    model->chunk_table = calloc(model->chunk_table_size, sizeof(model->chunk_table[0]));
    CHECK(model->chunk_table != NULL);
    for (uint32_t i = 0; i < model->chunk_count; i++) {
        model->chunk_table[chunk_slot(model, model->chunks[i]->id.bytes)] = i + 1;
    }
}

struct model_chunk *model_chunk_take(struct model *model, const uint8_t id[16], uint32_t *number)
{
    uint32_t slot = chunk_slot(model, id);
    if (model->chunk_table[slot] == 0) {
        size_t capacity = model->chunk_capacity;
        model->chunks = model_grow(model->chunks, &capacity, model->chunk_count, sizeof(struct model_chunk *));
        model->chunk_capacity = (uint32_t)capacity;
        struct model_chunk *chunk = calloc(1, sizeof(*chunk));
        CHECK(chunk != NULL);
        memcpy(chunk->id.bytes, id, sizeof(chunk->id.bytes));
        chunk->first_seen_ns = sim_loop_world_ns(model->cluster->world);
        model->chunks[model->chunk_count++] = chunk;
        model->chunk_table[slot] = model->chunk_count;
        if (model->chunk_count * 2 > model->chunk_table_size) {
            chunk_table_grow(model);
        }
    }
    uint32_t found = model_chunk_number(model, id);
    if (number != NULL) {
        *number = found;
    }
    return model->chunks[found];
}

bool model_chunk_is_closed(const struct model_chunk *chunk)
{
    for (uint32_t i = 0; i < MODEL_DISKS_MAX; i++) {
        if (chunk->copies[i].wipe == MODEL_OWED) {
            return false;
        }
    }
    return chunk->fate == MODEL_CONDEMNED || chunk->fate == MODEL_ERASED;
}

bool model_copy_must_be_gone(const struct model_chunk *chunk, uint32_t disk)
{
    return chunk->copies[disk].wipe == MODEL_WIPED || model_chunk_is_closed(chunk);
}

/* ---- disks --------------------------------------------------------------------------------------- */

uint32_t model_disk_number(const struct sim_node_disk *disk)
{
    return disk->node->number * SIM_NODE_DISKS_MAX + (uint32_t)(disk - disk->node->disks);
}

struct sim_node_disk *model_disk_of(const struct model *model, uint32_t number)
{
    uint32_t node = number / SIM_NODE_DISKS_MAX;
    uint32_t disk = number % SIM_NODE_DISKS_MAX;
    bool exists = node < model->cluster->node_count && disk < model->cluster->nodes[node].disk_count;
    return exists ? &model->cluster->nodes[node].disks[disk] : NULL;
}

bool model_disk_is_lossy(const struct model *model, uint32_t number)
{
    return (model->cluster->options.lossy_nodes >> (number / SIM_NODE_DISKS_MAX) & 1) != 0;
}

bool model_disk_may_lie_about_flushes(const struct model *model, uint32_t number)
{
    const struct sim_options *options = &model->cluster->options;
    return options->mode == SIM_SAFETY && options->disk_faults.ppm[SIM_DISK_LOST_FLUSH] > 0 &&
           model_disk_is_lossy(model, number);
}

void model_learn_disks(struct model *model)
{
    for (uint32_t i = 0; i < MODEL_DISKS_MAX; i++) {
        struct sim_node_disk *disk = model_disk_of(model, i);
        if (disk != NULL && disk->store != NULL && !model->disks[i].known) {
            struct chunk_store_stats stats;
            chunk_store_stats(disk->store, &stats);
            model->disks[i].known = true;
            model->disks[i].uuid = stats.store_uuid;
        }
        for (uint32_t j = 0; model->disks[i].known && model->disks[i].id == 0 && j < model->joined_count; j++) {
            if (uuid_equal(&model->joined[j].uuid, &model->disks[i].uuid)) {
                model->disks[i].id = model->joined[j].id;
            }
        }
    }
}

uint32_t model_disk_with_id(struct model *model, uint32_t disk_id)
{
    for (unsigned round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < MODEL_DISKS_MAX; i++) {
            if (model->disks[i].id == disk_id && disk_id != 0) {
                return i;
            }
        }
        model_learn_disks(model);
    }
    return UINT32_MAX;
}

/* ---- fingerprints -------------------------------------------------------------------------------- */

/* Of the first bytes of a sector. 0: too little there to recognise it by. */
static uint64_t print_of(const uint8_t *sector)
{
    uint64_t print;
    memcpy(&print, sector, sizeof(print));
    return print;
}

static size_t print_slot(const struct model *model, uint64_t print)
{
    size_t mask = model->print_table_size - 1;
    size_t slot = (size_t)(print ^ print >> 32) & mask;
    while (model->prints[slot].print != 0 && model->prints[slot].print != print) {
        slot = (slot + 1) & mask;
    }
    return slot;
}

static void print_add(struct model *model, uint64_t print, uint32_t chunk)
{
    if (print == 0) {
        return;
    }
    size_t slot = print_slot(model, print);
    model->print_count += model->prints[slot].print == 0 ? 1 : 0;
    model->prints[slot] = (struct model_print){.print = print, .chunk = chunk};
}

static void prints_reserve(struct model *model, size_t more)
{
    size_t size = model->print_table_size;
    while ((model->print_count + more) * 2 > size) {
        size *= 2;
    }
    if (size == model->print_table_size) {
        return;
    }
    struct model_print *old = model->prints;
    size_t old_size = model->print_table_size;
    model->prints = calloc(size, sizeof(model->prints[0]));
    CHECK(model->prints != NULL);
    model->print_table_size = size;
    model->print_count = 0;
    for (size_t i = 0; i < old_size; i++) {
        print_add(model, old[i].print, old[i].chunk);
    }
    free(old);
}

size_t model_prints_of(const uint8_t *payload, size_t bytes, uint64_t *prints)
{
    size_t count = 0;
    for (size_t at = 0; at + PRINT_BYTES_LEAST <= bytes; at += SIM_DISK_SECTOR_BYTES) {
        prints[count++] = print_of(payload + at);
    }
    return count;
}

void model_prints_add(struct model *model, uint32_t chunk, const uint64_t *prints, size_t count)
{
    if (model->chunks[chunk]->has_prints) {
        return;
    }
    model->chunks[chunk]->has_prints = true;
    prints_reserve(model, count);
    for (size_t i = 0; i < count; i++) {
        print_add(model, prints[i], chunk);
    }
}

struct model_chunk *model_chunk_of_sector(const struct model *model, const uint8_t sector[SIM_DISK_SECTOR_BYTES])
{
    uint64_t print = print_of(sector);
    if (print == 0) {
        return NULL;
    }
    const struct model_print *found = &model->prints[print_slot(model, print)];
    return found->print == print ? model->chunks[found->chunk] : NULL;
}
