/* test_inspect.c - the offline walker sees what the store wrote, and every kind of damage; garbage does not harm it. */
#include "node/store/inspect.h"
#include "tests/unit/chunk_store_fixture.h"

#include <unistd.h>

#define CAPACITY (6 * STORE_SEGMENT_BYTES_MIN + MIB(1))

static struct world world;

struct counter {
    struct inspect_visitor visitor;
    struct inspect_summary summary;
    unsigned states[5];
    unsigned bad;
    struct inspect_record last_of[64]; /* by chunk number: the record with payload that is not replaced */
};

/* ---- the simulated disk as a source --------------------------------------------------------------- */

struct each_name {
    void (*each)(void *user, const char *name);
    void *user;
};

static void each_file(void *user, const char *name, uint64_t bytes)
{
    struct each_name *to = user;
    (void)bytes;
    to->each(to->user, name);
}

static enum status sim_list(struct inspect_source *source, void (*each)(void *user, const char *name), void *user)
{
    struct each_name to = {each, user};
    (void)source;
    return disk_list_files(sim_disk_interface(world.disk), each_file, &to);
}

static enum status sim_size(struct inspect_source *source, const char *name, uint64_t *bytes)
{
    (void)source;
    return sim_disk_bytes(world.disk, name, bytes) != NULL ? STATUS_OK : STATUS_NOT_FOUND;
}

static enum status sim_read(struct inspect_source *source, const char *name, uint64_t offset, uint8_t *buffer,
                            size_t bytes)
{
    uint64_t size;
    (void)source;
    const uint8_t *image = sim_disk_bytes(world.disk, name, &size);
    cr_assert(image != NULL && offset + bytes <= size);
    memcpy(buffer, image + offset, bytes);
    return STATUS_OK;
}

static struct inspect_source source = {sim_list, sim_size, sim_read};

static void count_record(struct inspect_visitor *visitor, const struct inspect_record *record)
{
    struct counter *counter = CONTAINER_OF(visitor, struct counter, visitor);
    counter->states[record->state]++;
    counter->bad += !record->good;
    for (uint32_t number = 0; number < 64; number++) {
        struct chunk_id id = chunk_id_of(number);
        if (chunk_id_equal(&id, &record->record.chunk.id) && record->offset != 0 && record->state != INSPECT_REPLACED) {
            counter->last_of[number] = *record;
        }
    }
}

static struct counter inspect(void)
{
    struct counter counter = {.visitor = {.record = count_record}};
    cr_assert_eq(inspect_store(&source, &counter.visitor, &counter.summary), STATUS_OK);
    return counter;
}

static unsigned findings(const struct counter *counter)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < INSPECT_FINDING_KINDS; i++) {
        sum += counter->summary.findings[i];
    }
    return (unsigned)sum;
}

static void setup(void)
{
    world = world_new(3, CAPACITY);
    cr_assert_eq(world_open_store(&world), STATUS_OK);
}

static void teardown(void)
{
    world_free(&world);
}

TestSuite(inspect, .init = setup, .fini = teardown);

Test(inspect, a_fresh_store_has_nothing_to_report)
{
    struct counter counter = inspect();
    cr_assert(counter.summary.superblock_good);
    cr_assert_eq(findings(&counter), 0);
    cr_assert_eq(counter.summary.records, 0);
    cr_assert_eq(counter.summary.segments, 3);
}

Test(inspect, live_erased_and_tombstones_are_told_apart_and_named_where_the_store_locates_them)
{
    struct chunk_location location;
    struct chunk_id id = chunk_id_of(1);
    for (uint32_t i = 0; i < 10; i++) {
        cr_assert_eq(world_put(&world, i, 1 + i * 30000), STATUS_OK);
    }
    cr_assert_eq(world_erase(&world, 4, NULL), STATUS_OK);
    cr_assert_eq(world_erase(&world, 7, NULL), STATUS_OK);
    cr_assert_eq(world_erase(&world, 50, NULL), STATUS_NOT_FOUND);
    struct counter counter = inspect();
    cr_assert_eq(findings(&counter), 0);
    cr_assert_eq(counter.states[INSPECT_LIVE], 8);
    cr_assert_eq(counter.states[INSPECT_ERASED], 2);
    cr_assert_eq(counter.states[INSPECT_STATEMENT], 5);
    cr_assert_eq(counter.summary.live_chunks, 8);
    cr_assert_eq(counter.summary.live_bytes, world_stats(&world).live_bytes);
    cr_assert_eq(counter.last_of[4].state, INSPECT_ERASED);
    cr_assert_eq(chunk_store_locate(world.store, &id, &location), STATUS_OK);
    cr_assert_eq(counter.last_of[1].offset, location.offset);
    cr_assert_eq(counter.last_of[1].record.chunk.chunk_bytes, location.length);
    cr_assert_eq(counter.last_of[1].record.chunk.pg, 3);
}

Test(inspect, every_flipped_byte_is_found)
{
    cr_assert_eq(world_put(&world, 1, 5000), STATUS_OK);
    cr_assert_eq(world_put(&world, 2, 5000), STATUS_OK);
    cr_assert_eq(world_put(&world, 3, 5000), STATUS_OK);
    cr_assert_eq(world_erase(&world, 2, NULL), STATUS_OK);
    const char *name = "segment-00000000";
    uint64_t end = world.store->writer.open->end;
    for (uint64_t at = 0; at < end + BLOCK_BYTES; at += at % BLOCK_BYTES < 160 ? 7 : 211) {
        sim_disk_corrupt(world.disk, name, at, 0x10);
        struct counter counter = inspect();
        cr_assert_geq(findings(&counter), 1, "byte %lu", at);
        sim_disk_corrupt(world.disk, name, at, 0x10);
    }
    struct counter counter = inspect();
    cr_assert_eq(findings(&counter), 0);
}

Test(inspect, damage_is_named_for_what_it_is)
{
    struct chunk_location live;
    struct chunk_location erased;
    struct chunk_id live_id = chunk_id_of(1);
    struct chunk_id erased_id = chunk_id_of(2);
    for (uint32_t i = 0; i < 5; i++) {
        cr_assert_eq(world_put(&world, i, 200000), STATUS_OK);
    }
    cr_assert_eq(world_erase(&world, 2, NULL), STATUS_OK);
    cr_assert_eq(chunk_store_locate(world.store, &live_id, &live), STATUS_OK);
    cr_assert_eq(chunk_store_locate(world.store, &erased_id, &erased), STATUS_OK);
    sim_disk_corrupt(world.disk, live.segment, live.offset + 150000, 1);
    sim_disk_corrupt(world.disk, erased.segment, erased.offset + 5, 1);
    sim_disk_corrupt(world.disk, "segment-00000001", 9999, 1);
    sim_disk_corrupt(world.disk, SUPERBLOCK_NAME, 9, 1);
    sim_disk_corrupt(world.disk, live.segment, 100, 1);
    struct counter counter = inspect();
    cr_assert_eq(counter.summary.findings[INSPECT_UNIT_BAD], 1);
    cr_assert_eq(counter.last_of[1].bad_unit, 2);
    cr_assert_eq(counter.summary.findings[INSPECT_WIPE_BAD], 1);
    cr_assert_eq(counter.summary.findings[INSPECT_RESIDUE], 1);
    cr_assert_eq(counter.summary.findings[INSPECT_SUPERBLOCK_BAD], 1);
    cr_assert_eq(counter.summary.findings[INSPECT_HEADER_BAD], 1);
    cr_assert_eq(counter.summary.live_chunks, 4);
}

Test(inspect, a_damaged_acknowledged_batch_is_not_called_a_torn_tail)
{
    struct chunk_location location;
    struct chunk_id id = chunk_id_of(1);
    for (uint32_t i = 0; i < 4; i++) {
        cr_assert_eq(world_put(&world, i, 200000), STATUS_OK);
    }
    cr_assert_eq(chunk_store_locate(world.store, &id, &location), STATUS_OK);
    sim_disk_corrupt(world.disk, location.segment, location.offset - BLOCK_BYTES + 90, 1);
    struct counter counter = inspect();
    cr_assert_eq(counter.summary.findings[INSPECT_BATCH_BAD], 1);
    cr_assert_eq(counter.summary.findings[INSPECT_TORN_TAIL], 0);
    cr_assert_eq(counter.summary.live_chunks, 3);
}

Test(inspect, what_a_crash_tore_is_a_torn_tail_and_gone_after_the_next_open)
{
    cr_assert_eq(world_put(&world, 1, 5000), STATUS_OK);
    uint64_t end = world.store->writer.open->end;
    sim_disk_corrupt(world.disk, "segment-00000000", end + 700, 9);
    struct counter counter = inspect();
    cr_assert_eq(counter.summary.findings[INSPECT_TORN_TAIL], 1);
    world_crash(&world, 1);
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    cr_assert_eq(world_stats(&world).torn_batches, 1);
    counter = inspect();
    cr_assert_eq(findings(&counter), 0);
    cr_assert_eq(world_get(&world, 1, 5000), STATUS_OK);
}

Test(inspect, moved_chunks_are_live_once)
{
    for (uint32_t i = 0; i < 60; i++) {
        (void)world_put(&world, i, MIB(1));
    }
    for (uint32_t i = 0; i < 60; i += 2) {
        (void)world_erase(&world, i, NULL);
    }
    sim_loop_run_for(world.sim, 60 * NS_PER_S);
    struct counter counter = inspect();
    cr_assert_eq(findings(&counter), 0);
    cr_assert_eq(counter.summary.live_chunks, world_stats(&world).chunks);
    cr_assert_eq(counter.summary.live_bytes, world_stats(&world).live_bytes);
    bool moved = false;
    for (uint32_t i = 0; i < 60; i++) {
        moved = moved || counter.last_of[i].record.type == RECORD_MOVE;
    }
    cr_assert(moved);
}

/* ---- a directory ---------------------------------------------------------------------------------- */

Test(inspect_directory, what_is_no_store_is_said_so)
{
    struct inspect_visitor visitor = {0};
    struct inspect_summary summary;
    char message[200] = "";
    cr_assert_eq(inspect_directory("/nonexistent/place", &visitor, &summary, message, sizeof(message)),
                 STATUS_NOT_FOUND);
    cr_assert_neq(message[0], 0);
    char directory[] = "/tmp/inspect-XXXXXX";
    cr_assert_not_null(mkdtemp(directory));
    cr_assert_eq(inspect_directory(directory, &visitor, &summary, message, sizeof(message)), STATUS_NOT_FOUND);
    cr_assert_eq(rmdir(directory), 0);
}
