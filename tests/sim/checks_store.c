/* checks_store.c - I3 and E3 where the bytes are: what a store answers to a read is the chunk as it was written, and what it
 * says to be wiped is.
 *
 * A gateway would find damage too, by the seal, and ask another replica: clients hear nothing of a store that does not look.
 * So its own answers are held against what the model knows of each chunk. All of them: the simulator is linked with
 * --wrap=chunk_store_get, and each read tells checkers_read() how it ended, before whoever asked hears of it. */
#include "tests/sim/checks.h"

#include "base/checksum.h"
#include "node/store/segment.h"

#include <inttypes.h>
#include <stdlib.h>

#define READ_NS_MAX (60 * NS_PER_S)
#define SAMPLE_OF   8u /* of the chunks of a disk without lossy faults one in so many is read at rest */
#define TAG_BYTES   16u
#define CRC_OFFSET  20u
#define CRC_BYTES   4u
#define SEALED_CRC  TAG_BYTES /* its offset; the layout of a seal is that of base/seal.h */

/* ---- reads under way ---------------------------------------------------------------------------------- */

struct watched_get {
    struct chunk_get *get;
    void (*done)(struct chunk_get *get, enum status status);
};

/* Those of processes that have gone stay: their memory is never used again. */
static struct watched_get *watched;
static size_t watched_count;
static size_t watched_capacity;

static struct watched_get *watched_take(struct chunk_get *get)
{
    for (size_t i = 0; i < watched_count; i++) {
        if (watched[i].get == get) {
            return &watched[i];
        }
    }
    if (watched_count == watched_capacity) {
        watched_capacity = watched_capacity == 0 ? 64 : 2 * watched_capacity;
        watched = realloc(watched, watched_capacity * sizeof(watched[0]));
        CHECK(watched != NULL);
    }
    watched[watched_count].get = get;
    return &watched[watched_count++];
}

static void watched_done(struct chunk_get *get, enum status status)
{
    struct watched_get *found = watched_take(get);
    get->done = found->done;
    *found = watched[--watched_count];
    checkers_read(get, status);
    get->done(get, status);
}

/* The linker brings every call of chunk_store_get() here; the names are its own. */
void __real_chunk_store_get(struct chunk_store *store, struct chunk_get *get);
void __wrap_chunk_store_get(struct chunk_store *store, struct chunk_get *get);

void __wrap_chunk_store_get(struct chunk_store *store, struct chunk_get *get)
{
    CHECK(get->done != NULL);
    watched_take(get)->done = get->done;
    get->done = watched_done;
    __real_chunk_store_get(store, get);
}

/* ---- judging an answer --------------------------------------------------------------------------------- */

/* Counted here and not by the product's own function: that one is what is being tested. */
static bool unit_is_as_written(const uint8_t *data, uint32_t bytes, const uint8_t seal[UNIT_SEAL_BYTES])
{
    uint32_t crc = crc32c(crc32c(crc32c(0, data, bytes), seal + SEALED_CRC, CRC_BYTES), seal, TAG_BYTES);
    uint8_t expected[CRC_BYTES] = {(uint8_t)crc, (uint8_t)(crc >> 8), (uint8_t)(crc >> 16), (uint8_t)(crc >> 24)};
    return memcmp(expected, seal + CRC_OFFSET, CRC_BYTES) == 0;
}

static void check_answer(const struct check *check)
{
    const struct chunk_get *get = check->get;
    uint32_t number = model_chunk_number(check->model, get->id.bytes);
    const struct model_chunk *chunk = number != UINT32_MAX ? check->model->chunks[number] : NULL;
    if (get->status != STATUS_OK || chunk == NULL || !chunk->has_seals) {
        return;
    }
    check_counts(check);
    if (get->header.chunk_bytes != chunk->bytes) {
        sim_violated("I3-store", "%s: chunk %s has %u bytes, the store says %u", check->disk->path, hex_of(&get->id),
                     chunk->bytes, get->header.chunk_bytes);
    }
    const uint8_t *seals = chunk->seals + (size_t)get->first_unit * UNIT_SEAL_BYTES;
    const uint8_t *data = get->data;
    for (uint32_t i = 0; i < get->unit_count; i++) {
        uint32_t bytes = chunk_unit_bytes(chunk->bytes, get->first_unit + i);
        const uint8_t *seal = seals + (size_t)i * UNIT_SEAL_BYTES;
        if (memcmp(seal, get->seals + (size_t)i * UNIT_SEAL_BYTES, UNIT_SEAL_BYTES) != 0 ||
            !unit_is_as_written(data, bytes, seal)) {
            sim_violated("I3-store", "%s: unit %u of chunk %s is not what was written, and the store hands it out",
                         check->disk->path, get->first_unit + i, hex_of(&get->id));
        }
        data += bytes;
    }
}

/* ---- reading at rest ------------------------------------------------------------------------------------ */

static bool own_is_over;

static void own_done(struct chunk_get *get, enum status status)
{
    (void)get;
    (void)status;
    own_is_over = true;
}

static bool own_read_is_over(struct sim_cluster *cluster)
{
    (void)cluster;
    return own_is_over;
}

/* The world turns until the store has answered; what it says is judged as everybody's. */
static void read_chunk(const struct check *check, struct sim_node_disk *disk, const struct model_chunk *chunk)
{
    static _Alignas(BLOCK_BYTES) uint8_t buffer[CHUNK_BYTES_MAX];
    static struct chunk_get get;
    get = (struct chunk_get){.id = chunk->id, .buffer = buffer, .buffer_bytes = sizeof(buffer), .done = own_done};
    own_is_over = false;
    chunk_store_get(disk->store, &get);
    sim_cluster_run(check->cluster, sim_loop_world_ns(check->cluster->world) + READ_NS_MAX, own_read_is_over);
    if (!own_is_over) {
        sim_violated("I3-store", "%s: a read of chunk %s has no end", disk->path, hex_of(&chunk->id));
    }
}

static void read_disk(const struct check *check, struct sim_node_disk *disk)
{
    uint32_t number = model_disk_number(disk);
    uint32_t part = model_disk_is_lossy(check->model, number) ? 1 : SAMPLE_OF;
    for (uint32_t i = 0; i < check->model->chunk_count && disk->node->state == SIM_RUNNING; i++) {
        const struct model_chunk *chunk = check->model->chunks[i];
        struct chunk_location location;
        bool is_chosen = (i + check->cluster->options.seed) % part == 0 && chunk->copies[number].place_count > 0;
        if (is_chosen && chunk_store_locate(disk->store, &chunk->id, &location) == STATUS_OK &&
            location.state == CHUNK_LIVE) {
            read_chunk(check, disk, chunk);
        }
    }
}

/* I3 at the node: whenever a store answers a read with STATUS_OK, the units and their seals are those that were written under
 * this id: damage, lost and misdirected writes are found where they are. At rest whatever is live is read: all of a disk
 * with lossy faults, a part of the others. */
void check_stores_answer_right(const struct check *check)
{
    if (check->moment == AT_READ) {
        check_answer(check);
        return;
    }
    for (uint32_t i = 0; i < check->cluster->node_count; i++) {
        struct sim_node *node = &check->cluster->nodes[i];
        for (uint32_t d = 0; node->state == SIM_RUNNING && d < node->disk_count; d++) {
            read_disk(check, &node->disks[d]);
        }
    }
}

/* ---- E3: reading back -------------------------------------------------------------------------------------- */

/* Whether the device still shows ciphertext of the chunk where its ERASE record says that it was to be overwritten. */
static bool shows_ciphertext(const struct check *check, const struct model_chunk *chunk, uint32_t disk)
{
    const struct chunk_place *place = &chunk->copies[disk].intent_place;
    uint32_t blocks = payload_block_count(chunk->bytes);
    uint8_t block[BLOCK_BYTES];
    char name[DISK_NAME_BYTES];
    bool shows = false;
    segment_name(place->segment, name);
    for (uint32_t i = 0; !shows && i < blocks; i++) {
        shows = sim_disk_copy(model_disk_of(check->model, disk)->disk, SIM_DISK_CACHE, name,
                              place->offset + (uint64_t)i * BLOCK_BYTES, block, sizeof(block)) &&
                model_chunk_of_sector(check->model, block) == chunk;
    }
    return shows;
}

/* E3: the device may have lost the overwriting write, or brought it elsewhere: reading back would have shown that, so no such
 * fault excuses a wipe that is recorded. Exempt: disks of the atlas in SIM_SAFETY, which may lie about flushes and go back
 * to what they had before. */
void check_wipes_were_seen(const struct check *check)
{
    const Trilith__Command *command = check->command;
    if (check->change == NULL || command->change_case != TRILITH__COMMAND__CHANGE_RECORD_WIPES) {
        return;
    }
    uint32_t disk = model_disk_with_id(check->model, command->record_wipes->disk_id);
    bool may_lie = disk == UINT32_MAX || model_disk_may_lie_about_flushes(check->model, disk);
    for (size_t i = 0; !may_lie && i < command->record_wipes->n_results; i++) {
        const ProtobufCBinaryData *id = &command->record_wipes->results[i]->chunk_id;
        uint32_t number = id->len == 16 ? model_chunk_number(check->model, id->data) : UINT32_MAX;
        const struct model_chunk *chunk = number != UINT32_MAX ? check->model->chunks[number] : NULL;
        if (chunk == NULL || chunk->copies[disk].wipe != MODEL_WIPED || !chunk->copies[disk].has_intent) {
            continue;
        }
        check_counts(check);
        if (shows_ciphertext(check, chunk, disk)) {
            sim_violated("E3-seen", "chunk %s stands on %s, and its wipe is recorded", hex_of(&chunk->id),
                         disk_name(check, disk));
        }
    }
}
