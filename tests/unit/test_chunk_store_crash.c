/* test_chunk_store_crash.c - power loss at every I/O, and a device that fails at every I/O.
 *
 * Method  A random workload (puts and erases of chunks of all sizes, several at a time) runs on a simulated disk until
 *         the n-th I/O has been started; then power is lost, for n = 1, 2, 3, ... Of what was not durable each sector
 *         stays old, becomes new or turns to garbage; the index table falls back to some earlier prefix, or is lost
 *         altogether. The store is opened again, sometimes losing power in the middle of that, and must then agree
 *         with what had been acknowledged:
 *           put acknowledged, no erase asked for    comes back identical
 *           erase acknowledged                      gone, its bytes are on no medium, and a new put is refused
 *           anything else                           whole or absent
 *         The offline inspector must find nothing to complain about: no torn tail, no residue, no bad unit. */
#include "node/store/inspect.h"
#include "tests/unit/chunk_store_fixture.h"

#define CHUNKS        40
#define IN_FLIGHT_MAX 6
#define CAPACITY      (6 * STORE_SEGMENT_BYTES_MIN + MIB(1))

struct chunk_model {
    struct probe *put;   /* NULL: not asked for */
    struct probe *erase; /* the last one */
};

struct trial {
    struct world world;
    struct chunk_model chunks[CHUNKS];
    struct probe *finished[CHUNKS * 4]; /* freed at the end */
    unsigned finished_count;
    uint64_t random;
    bool large; /* chunks so large that the disk fills and is cleaned */
};

static uint64_t draw(struct trial *trial, uint64_t below)
{
    trial->random = trial->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (trial->random >> 33) % below;
}

static uint32_t chunk_bytes_of(const struct trial *trial, uint32_t number)
{
    static const uint32_t sizes[] = {1,          4095,           4096,   4097,   20000, 65535,
                                     UNIT_BYTES, UNIT_BYTES + 1, 200000, MIB(1), 30000, 3 * UNIT_BYTES,
                                     777,        CHUNK_BYTES_MAX};
    return trial->large ? (uint32_t)MIB(1) + number * 60000 : sizes[number % ARRAY_LENGTH(sizes)];
}

static uint64_t io_count(const struct trial *trial)
{
    uint64_t sum = 0;
    for (int kind = DISK_READ; kind <= DISK_ALLOCATE; kind++) {
        sum += sim_disk_io_count(trial->world.disk, (enum disk_io_kind)kind);
    }
    return sum;
}

static unsigned in_flight(const struct trial *trial)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < CHUNKS; i++) {
        count += trial->chunks[i].put != NULL && !trial->chunks[i].put->done;
        count += trial->chunks[i].erase != NULL && !trial->chunks[i].erase->done;
    }
    return count;
}

/* Ask for something more. */
static void issue(struct trial *trial)
{
    uint32_t number = (uint32_t)draw(trial, CHUNKS);
    struct chunk_model *chunk = &trial->chunks[number];
    if (chunk->put == NULL && chunk->erase == NULL && draw(trial, 10) > 0) {
        chunk->put = probe_new(number);
        put_start_of(&trial->world, chunk->put, chunk_bytes_of(trial, number));
    } else if (draw(trial, 3) == 0 && (chunk->erase == NULL || chunk->erase->done)) {
        if (chunk->erase != NULL) {
            if (chunk->erase->status == STATUS_OK || chunk->erase->status == STATUS_NOT_FOUND) {
                return;
            }
            trial->finished[trial->finished_count++] = chunk->erase;
        }
        chunk->erase = probe_new(number);
        erase_start_of(&trial->world, chunk->erase);
    }
}

/* Work until `ios` more I/Os have been started, or `steps` turns are over. */
static void work(struct trial *trial, uint64_t ios, unsigned steps)
{
    uint64_t end = io_count(trial) + ios;
    for (unsigned i = 0; i < steps && io_count(trial) < end && trial->finished_count < CHUNKS * 3; i++) {
        if (in_flight(trial) < IN_FLIGHT_MAX && draw(trial, 3) == 0) {
            issue(trial);
        }
        (void)sim_loop_step(trial->world.sim);
    }
}

static bool erase_is_acknowledged(const struct chunk_model *chunk)
{
    return chunk->erase != NULL && chunk->erase->done &&
           (chunk->erase->status == STATUS_OK || chunk->erase->status == STATUS_NOT_FOUND);
}

static bool put_is_acknowledged(const struct chunk_model *chunk)
{
    return chunk->put != NULL && chunk->put->done && chunk->put->status == STATUS_OK;
}

static void verify_chunk(struct trial *trial, uint32_t number)
{
    const struct chunk_model *chunk = &trial->chunks[number];
    enum status status = world_get(&trial->world, number, chunk_bytes_of(trial, number));
    if (erase_is_acknowledged(chunk)) {
        cr_assert_eq(status, STATUS_GONE, "chunk %u was erased: %s", number, status_name(status));
    } else if (put_is_acknowledged(chunk) && chunk->erase == NULL) {
        cr_assert_eq(status, STATUS_OK, "chunk %u was acknowledged: %s", number, status_name(status));
    } else if (chunk->put == NULL && chunk->erase == NULL) {
        cr_assert_eq(status, STATUS_NOT_FOUND, "chunk %u never was: %s", number, status_name(status));
    } else {
        bool may_be_gone = chunk->erase != NULL;
        cr_assert(status == STATUS_OK || (status == STATUS_NOT_FOUND && !put_is_acknowledged(chunk)) ||
                      (status == STATUS_GONE && may_be_gone),
                  "chunk %u: %s", number, status_name(status));
    }
}

/* What can't be read must not lie around either. One chunk per call: it is a search over the whole disk. */
static void verify_absent(struct trial *trial)
{
    uint32_t start = (uint32_t)draw(trial, CHUNKS);
    for (uint32_t i = 0; i < CHUNKS; i++) {
        uint32_t number = (start + i) % CHUNKS;
        uint32_t bytes = chunk_bytes_of(trial, number);
        if (trial->chunks[number].put != NULL && bytes > 16 && world_get(&trial->world, number, bytes) != STATUS_OK) {
            cr_assert_not(world_holds_content(&trial->world, number, bytes), "chunk %u is still there", number);
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

static void each_file(void *user, const char *name, uint64_t bytes)
{
    struct sim_source *source = user;
    (void)bytes;
    source->each(source->user, name);
}

static enum status sim_list(struct inspect_source *base, void (*each)(void *user, const char *name), void *user)
{
    struct sim_source *source = CONTAINER_OF(base, struct sim_source, base);
    source->each = each;
    source->user = user;
    return disk_list_files(sim_disk_interface(source->disk), each_file, source);
}

static enum status sim_size(struct inspect_source *base, const char *name, uint64_t *bytes)
{
    struct sim_source *source = CONTAINER_OF(base, struct sim_source, base);
    return sim_disk_bytes(source->disk, name, bytes) != NULL ? STATUS_OK : STATUS_NOT_FOUND;
}

static enum status sim_read(struct inspect_source *base, const char *name, uint64_t offset, uint8_t *buffer,
                            size_t bytes)
{
    struct sim_source *source = CONTAINER_OF(base, struct sim_source, base);
    uint64_t size;
    memcpy(buffer, sim_disk_bytes(source->disk, name, &size) + offset, bytes);
    return STATUS_OK;
}

static void forbid_finding(struct inspect_visitor *visitor, const struct inspect_finding *finding)
{
    (void)visitor;
    /* A torn write of one of the four superblock copies is what they are four for. */
    cr_assert_eq(finding->kind, INSPECT_SUPERBLOCK_BAD, "%s in %s at %lu, %lu bytes",
                 inspect_finding_name(finding->kind), finding->name, finding->offset, finding->bytes);
}

static void verify_medium(struct trial *trial)
{
    struct sim_source source = {.base = {sim_list, sim_size, sim_read}, .disk = trial->world.disk};
    struct inspect_visitor visitor = {.finding = forbid_finding};
    struct inspect_summary summary;
    cr_assert_eq(inspect_store(&source.base, &visitor, &summary), STATUS_OK);
    struct chunk_store_stats stats = world_stats(&trial->world);
    cr_assert_eq(summary.live_chunks, stats.chunks);
    cr_assert_eq(summary.live_bytes, stats.live_bytes);
}

/* ---- power loss ------------------------------------------------------------------------------------ */

static void crash(struct trial *trial, struct chunk_store *opening, bool lose_index)
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
static void reopen(struct trial *trial, uint64_t ios)
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
    cr_assert_eq(world->open_status, STATUS_OK, "open: %s", status_name(world->open_status));
}

static void verify(struct trial *trial)
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
static void settle_after_crash(struct trial *trial)
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

static struct trial *trial_new(uint64_t seed, bool large)
{
    struct trial *trial = calloc(1, sizeof(*trial));
    cr_assert_not_null(trial);
    trial->world = world_new(seed, CAPACITY);
    trial->world.options.durable_writes = seed % 3 == 0;
    trial->random = seed * 1000003 + 17;
    trial->large = large;
    return trial;
}

static void trial_free(struct trial *trial)
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

static void crash_at(uint64_t seed, uint64_t ios, bool large)
{
    struct trial *trial = trial_new(seed, large);
    reopen(trial, 0);
    work(trial, ios, 100000);
    crash(trial, NULL, seed % 4 == 1);
    settle_after_crash(trial);
    reopen(trial, seed % 2 == 0 ? 1 + draw(trial, 25) : 0);
    verify(trial);
    work(trial, 1 + draw(trial, 60), 100000);
    crash(trial, NULL, seed % 4 == 2);
    settle_after_crash(trial);
    reopen(trial, 0);
    verify(trial);
    world_close_store(&trial->world);
    reopen(trial, 0);
    cr_assert_eq(world_stats(&trial->world).recovered_batches, 0);
    verify(trial);
    trial_free(trial);
}

Test(chunk_store_crash, at_every_early_io, .timeout = 280)
{
    for (uint64_t n = 1; n <= 80; n++) {
        crash_at(n, n, false);
    }
}

Test(chunk_store_crash, at_every_later_io, .timeout = 280)
{
    for (uint64_t n = 81; n <= 320; n += 5) {
        crash_at(n, n, false);
    }
}

Test(chunk_store_crash, at_any_io_of_a_disk_that_fills_and_is_cleaned, .timeout = 280)
{
    for (uint64_t n = 1; n <= 24; n++) {
        crash_at(5000 + n, 20 + n * 73, true);
    }
}

/* ---- failing devices ------------------------------------------------------------------------------- */

Test(chunk_store_crash, a_device_that_fails_at_any_io_loses_nothing_acknowledged, .timeout = 280)
{
    for (uint64_t n = 1; n <= 60; n++) {
        struct trial *trial = trial_new(9000 + n, false);
        reopen(trial, 0);
        sim_disk_fail_after(trial->world.disk, n, STATUS_IO);
        work(trial, UINT64_MAX / 2, 3000);
        sim_loop_run_for(trial->world.sim, NS_PER_S);
        for (uint32_t i = 0; i < CHUNKS; i++) {
            const struct chunk_model *chunk = &trial->chunks[i];
            cr_assert(chunk->put == NULL || chunk->put->done, "n %lu: put %u has no answer", n, i);
            cr_assert(chunk->erase == NULL || chunk->erase->done, "n %lu: erase %u has no answer", n, i);
        }
        crash(trial, NULL, n % 3 == 0);
        reopen(trial, 0);
        verify(trial);
        trial_free(trial);
    }
}

Test(chunk_store_crash, an_open_that_fails_at_any_io_says_so_and_can_be_tried_again)
{
    for (uint64_t n = 1; n <= 25; n++) {
        struct trial *trial = trial_new(700 + n, false);
        reopen(trial, 0);
        work(trial, 60, 100000);
        crash(trial, NULL, n % 2 == 0);
        settle_after_crash(trial);
        sim_disk_fail_after(trial->world.disk, n, STATUS_IO);
        enum status status = world_open_store(&trial->world);
        if (status != STATUS_OK) {
            cr_assert_eq(status, STATUS_IO);
            cr_assert_null(trial->world.store);
            sim_disk_fail_after(trial->world.disk, 0, STATUS_OK);
            reopen(trial, 0);
            verify(trial);
        } else {
            sim_loop_run_for(trial->world.sim, NS_PER_S);
            sim_disk_fail_after(trial->world.disk, 0, STATUS_OK);
        }
        trial_free(trial);
    }
}
