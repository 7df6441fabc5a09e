/* chunk_store_trial.h - a store that is asked for things while everything goes wrong, and a model of what it then owes.
 *
 * Promise     put acknowledged, no erase asked for    comes back identical
 *             erase acknowledged                      gone, its bytes are on no medium, and a new put is refused
 *             a read has said that it is gone         gone for ever
 *             anything else                           whole or absent
 * Medium      The offline inspector finds nothing to complain about: no torn tail, no residue, no bad unit. */
#ifndef TRILITH_TESTS_UNIT_CHUNK_STORE_TRIAL_H
#define TRILITH_TESTS_UNIT_CHUNK_STORE_TRIAL_H

#include "node/store/inspect.h"
#include "tests/unit/chunk_store_fixture.h"

#define CHUNKS 40

struct chunk_model {
    struct probe *put;   /* NULL: not asked for */
    struct probe *erase; /* the last one */
    bool was_gone;       /* a read said so */
};

struct trial {
    struct world world;
    struct chunk_model chunks[CHUNKS];
    struct probe *finished[CHUNKS * 4]; /* freed at the end */
    unsigned finished_count;
    uint64_t random;
    bool large;     /* chunks so large that the disk fills and is cleaned */
    bool prewrites; /* segments are written with zeros ahead of need */
    char text[64];  /* which trial this is, for messages */
};

static inline uint64_t draw(struct trial *trial, uint64_t below)
{
    trial->random = trial->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (trial->random >> 33) % below;
}

static inline uint32_t chunk_bytes_of(const struct trial *trial, uint32_t number)
{
    static const uint32_t sizes[] = {1,          4095,           4096,   4097,   20000, 65535,
                                     UNIT_BYTES, UNIT_BYTES + 1, 200000, MIB(1), 30000, 3 * UNIT_BYTES,
                                     777,        CHUNK_BYTES_MAX};
    return trial->large ? (uint32_t)MIB(1) + number * 60000 : sizes[number % ARRAY_LENGTH(sizes)];
}

static inline uint64_t io_count(const struct trial *trial)
{
    uint64_t sum = 0;
    for (int kind = DISK_READ; kind <= DISK_ALLOCATE; kind++) {
        sum += sim_disk_io_count(trial->world.disk, (enum disk_io_kind)kind);
    }
    return sum;
}

static inline unsigned in_flight(const struct trial *trial)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < CHUNKS; i++) {
        count += trial->chunks[i].put != NULL && !trial->chunks[i].put->done;
        count += trial->chunks[i].erase != NULL && !trial->chunks[i].erase->done;
    }
    return count;
}

static inline bool erase_is_acknowledged(const struct chunk_model *chunk)
{
    return chunk->erase != NULL && chunk->erase->done &&
           (chunk->erase->status == STATUS_OK || chunk->erase->status == STATUS_NOT_FOUND);
}

static inline bool put_is_acknowledged(const struct chunk_model *chunk)
{
    return chunk->put != NULL && chunk->put->done && chunk->put->status == STATUS_OK;
}

static inline void verify_chunk(struct trial *trial, uint32_t number)
{
    const struct chunk_model *chunk = &trial->chunks[number];
    enum status status = world_get(&trial->world, number, chunk_bytes_of(trial, number));
    if (erase_is_acknowledged(chunk) || chunk->was_gone) {
        cr_assert_eq(status, STATUS_GONE, "%s: chunk %u was erased: %s", trial->text, number, status_name(status));
    } else if (put_is_acknowledged(chunk) && chunk->erase == NULL) {
        cr_assert_eq(status, STATUS_OK, "%s: chunk %u was acknowledged: %s", trial->text, number, status_name(status));
    } else if (chunk->put == NULL && chunk->erase == NULL) {
        cr_assert_eq(status, STATUS_NOT_FOUND, "%s: chunk %u never was: %s", trial->text, number, status_name(status));
    } else {
        bool may_be_gone = chunk->erase != NULL;
        cr_assert(status == STATUS_OK || (status == STATUS_NOT_FOUND && !put_is_acknowledged(chunk)) ||
                      (status == STATUS_GONE && may_be_gone),
                  "%s: chunk %u: %s", trial->text, number, status_name(status));
    }
}

/* What can't be read must not lie around either. One chunk per call: it is a search over the whole disk. */
static inline void verify_absent(struct trial *trial)
{
    uint32_t start = (uint32_t)draw(trial, CHUNKS);
    for (uint32_t i = 0; i < CHUNKS; i++) {
        uint32_t number = (start + i) % CHUNKS;
        uint32_t bytes = chunk_bytes_of(trial, number);
        if (trial->chunks[number].put != NULL && bytes > 16 && world_get(&trial->world, number, bytes) != STATUS_OK) {
            cr_assert_not(world_holds_content(&trial->world, number, bytes), "%s: chunk %u is still there", trial->text,
                          number);
            return;
        }
    }
}

/* ---- the inspector on the simulated disk ---------------------------------------------------------- */

struct sim_source {
    struct inspect_source base;
    struct sim_disk *disk;
    void (*each)(void *user, const char *name);
    void *user;
};

static inline void each_file(void *user, const char *name, uint64_t bytes)
{
    struct sim_source *source = user;
    (void)bytes;
    source->each(source->user, name);
}

static inline enum status sim_list(struct inspect_source *base, void (*each)(void *user, const char *name), void *user)
{
    struct sim_source *source = CONTAINER_OF(base, struct sim_source, base);
    source->each = each;
    source->user = user;
    return disk_list_files(sim_disk_interface(source->disk), each_file, source);
}

static inline enum status sim_size(struct inspect_source *base, const char *name, uint64_t *bytes)
{
    struct sim_source *source = CONTAINER_OF(base, struct sim_source, base);
    return sim_disk_file_bytes(source->disk, name, bytes) ? STATUS_OK : STATUS_NOT_FOUND;
}

static inline enum status sim_read(struct inspect_source *base, const char *name, uint64_t offset, uint8_t *buffer,
                                   size_t bytes)
{
    struct sim_source *source = CONTAINER_OF(base, struct sim_source, base);
    return sim_disk_copy(source->disk, SIM_DISK_DURABLE, name, offset, buffer, bytes) ? STATUS_OK : STATUS_IO;
}

struct trial_visitor {
    struct inspect_visitor base;
    const struct trial *trial;
};

static inline void forbid_finding(struct inspect_visitor *visitor, const struct inspect_finding *finding)
{
    const struct trial_visitor *self = CONTAINER_OF(visitor, struct trial_visitor, base);
    /* A torn write of one of the four superblock copies is what they are four for. And zeros written ahead, torn by a
     * crash, leave what the device makes of them in space that nobody has used yet: the inspector can't know. */
    if (self->trial->prewrites && finding->kind == INSPECT_RESIDUE) {
        return;
    }
    cr_assert_eq(finding->kind, INSPECT_SUPERBLOCK_BAD, "%s: %s in %s at %lu, %lu bytes", self->trial->text,
                 inspect_finding_name(finding->kind), finding->name, finding->offset, finding->bytes);
}

static inline void verify_medium(struct trial *trial)
{
    struct sim_source source = {.base = {sim_list, sim_size, sim_read}, .disk = trial->world.disk};
    struct trial_visitor visitor = {.base = {.finding = forbid_finding}, .trial = trial};
    struct inspect_summary summary;
    cr_assert_eq(inspect_store(&source.base, &visitor.base, &summary), STATUS_OK);
    struct chunk_store_stats stats = world_stats(&trial->world);
    cr_assert_eq(summary.live_chunks, stats.chunks);
    cr_assert_eq(summary.live_bytes, stats.live_bytes);
}

/* ---- power loss ------------------------------------------------------------------------------------ */

static inline void crash(struct trial *trial, struct chunk_store *opening, bool lose_index)
{
    struct world *world = &trial->world;
    sim_disk_crash(world->disk);
    chunk_store_abandon(opening != NULL ? opening : world->store);
    world->store = NULL;
    sim_loop_run_until_idle(world->sim); /* Answers that were on their way: they are acknowledgements. */
    if (lose_index) {
        world_lose_index(world);
    } else {
        sim_kv_crash(world->kv, draw(trial, 1u << 30));
    }
}

/* Open; when `ios` > 0, lose power after so many I/Os of that, and open again. */
static inline void reopen(struct trial *trial, uint64_t ios)
{
    struct world *world = &trial->world;
    uint64_t end = io_count(trial) + ios;
    world->opened = false;
    struct chunk_store *opening =
        store_open_start(world->loop, sim_disk_interface(world->disk), world->kv, &world->options, world_opened, world);
    while (!world->opened && (ios == 0 || io_count(trial) < end)) {
        cr_assert(sim_loop_step(world->sim));
    }
    if (!world->opened) {
        crash(trial, opening, false);
        reopen(trial, 0);
        return;
    }
    cr_assert_eq(world->open_status, STATUS_OK, "%s: open: %s", trial->text, status_name(world->open_status));
}

static inline void verify(struct trial *trial)
{
    for (uint32_t i = 0; i < CHUNKS; i++) {
        verify_chunk(trial, i);
    }
    sim_loop_run_for(trial->world.sim, 30 * NS_PER_S); /* Interrupted erasures and wipes come to their end. */
    for (uint32_t i = 0; i < CHUNKS; i++) {
        verify_chunk(trial, i);
    }
    cr_assert_eq(world_stats(&trial->world).erasing_bytes, 0);
    cr_assert_not(world_stats(&trial->world).fenced);
    world_audit(&trial->world);
    verify_absent(trial);
    verify_medium(trial);
}

/* Whoever was not answered before the power went will not be answered any more: what they asked for may have been done,
 * and may be asked for again. */
static inline void settle_after_crash(struct trial *trial)
{
    for (uint32_t i = 0; i < CHUNKS; i++) {
        struct chunk_model *chunk = &trial->chunks[i];
        if (chunk->put != NULL && !chunk->put->done) {
            chunk->put->done = true;
            chunk->put->status = STATUS_IO;
        }
        if (chunk->erase != NULL && !chunk->erase->done) {
            chunk->erase->done = true;
            chunk->erase->status = STATUS_IO;
        }
    }
}

static inline struct trial *trial_new(uint64_t seed, uint64_t capacity_bytes, bool large)
{
    struct trial *trial = calloc(1, sizeof(*trial));
    cr_assert_not_null(trial);
    trial->world = world_new(seed, capacity_bytes);
    trial->world.options.durable_writes = seed % 3 == 0;
    trial->random = seed * 1000003 + 17;
    trial->large = large;
    return trial;
}

static inline void trial_free(struct trial *trial)
{
    world_free(&trial->world);
    for (uint32_t i = 0; i < CHUNKS; i++) {
        if (trial->chunks[i].put != NULL) {
            probe_free(trial->chunks[i].put);
        }
        if (trial->chunks[i].erase != NULL) {
            probe_free(trial->chunks[i].erase);
        }
    }
    for (unsigned i = 0; i < trial->finished_count; i++) {
        probe_free(trial->finished[i]);
    }
    free(trial);
}

#endif
