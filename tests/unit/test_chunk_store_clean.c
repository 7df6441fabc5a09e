/* test_chunk_store_clean.c - erasing and closing while cleaning left an older copy behind, or is being interrupted.
 *
 * Each test fills a small store with chunks of 1 MiB and erases every other one: cleaning has to move the rest. */
#include "tests/unit/chunk_store_fixture.h"

#define CAPACITY   (6 * STORE_SEGMENT_BYTES_MIN + MIB(1))
#define PROBES_MAX 200u
#define STEPS_MAX  8000000u
#define LATER_FROM 10000u /* numbers of chunks that are put after the first filling */

static struct world world;
static struct probe *probes[PROBES_MAX];
static unsigned probe_count;

static void setup(void)
{
    world = world_new(1, CAPACITY);
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    probe_count = 0;
}

static void teardown(void)
{
    for (unsigned i = 0; i < probe_count; i++) {
        cr_assert(probes[i]->done);
        probe_free(probes[i]);
    }
    world_free(&world);
}

TestSuite(chunk_store_clean, .init = setup, .fini = teardown);

static struct chunk_entry entry_of(uint32_t number)
{
    struct chunk_entry entry;
    struct chunk_id id = chunk_id_of(number);
    cr_assert_eq(chunk_index_get(&world.store->index, &id, &entry), STATUS_OK);
    return entry;
}

/* Put chunks until there is no room. Returns the number behind the last one. */
static uint32_t fill_from(uint32_t number)
{
    while (world_put(&world, number, MIB(1)) == STATUS_OK) {
        number++;
    }
    return number;
}

/* Fill the store and start to erase every even chunk. Returns how many there were. */
static uint32_t fill_and_erase_even(void)
{
    uint32_t count = fill_from(0);
    for (uint32_t i = 0; i < count; i += 2) {
        cr_assert_lt(probe_count, PROBES_MAX);
        probes[probe_count] = probe_new(i);
        erase_start_of(&world, probes[probe_count++]);
    }
    return count;
}

static void corrupt_segment(const struct segment *segment, uint64_t offset)
{
    char name[DISK_NAME_BYTES];
    segment_name(segment->number, name);
    sim_disk_corrupt(world.disk, name, offset, 0x55);
}

/* ---- older copies -------------------------------------------------------------------------------- */

/* Go on until the read-back of a segment wipe is under way. */
static struct segment *run_to_read_back(void)
{
    const struct preparer *preparer = &world.store->preparer;
    for (unsigned i = 0; i < STEPS_MAX; i++) {
        cr_assert(sim_loop_step(world.sim));
        if (preparer->stage == PREPARE_VERIFY && preparer->wiping) {
            return preparer->segment;
        }
    }
    cr_assert_fail("no segment is wiped");
    return NULL;
}

static void run_while(const struct segment *segment, enum prepare_stage stage)
{
    const struct preparer *preparer = &world.store->preparer;
    while (preparer->segment == segment && preparer->stage == stage) {
        cr_assert(sim_loop_step(world.sim));
    }
}

/* Erase the chunks of which an old copy stands in this use of the segment. Returns how many. */
static unsigned erase_moved(const struct segment *segment, uint64_t generation, uint32_t count, enum status expected)
{
    unsigned tried = 0;
    for (uint32_t i = 1; i < count; i += 2) {
        struct chunk_entry entry = entry_of(i);
        if (entry.state == CHUNK_LIVE && entry.previous.segment == segment->number &&
            entry.previous.generation == generation) {
            cr_assert_eq(world_erase(&world, i, NULL), expected);
            cr_assert_eq(entry_of(i).state, expected == STATUS_OK ? CHUNK_ERASED : CHUNK_LIVE);
            tried++;
        }
    }
    return tried;
}

Test(chunk_store_clean, an_old_copy_in_a_retired_segment_forbids_to_say_wiped)
{
    uint32_t count = fill_and_erase_even();
    struct segment *retired = run_to_read_back();
    uint64_t generation = retired->header.generation;
    while (retired->state != SEGMENT_RETIRED) {
        struct segment *wiped = run_to_read_back();
        if (wiped == retired) {
            corrupt_segment(retired, world.store->segments.segment_bytes - 1);
        }
        run_while(wiped, PREPARE_VERIFY);
    }
    cr_assert_gt(erase_moved(retired, generation, count, STATUS_CORRUPT), 0);

    /* The device has come to its senses: nothing is stuck for ever. */
    sim_loop_run_for(world.sim, 60 * NS_PER_S);
    cr_assert_eq(retired->header.generation, generation + 1);
    cr_assert_gt(erase_moved(retired, generation, count, STATUS_OK), 0);
}

Test(chunk_store_clean, a_read_that_fails_once_does_not_end_the_wipe_of_a_segment)
{
    uint32_t count = fill_and_erase_even();
    struct segment *wiped = run_to_read_back();
    uint64_t generation = wiped->header.generation;
    sim_disk_fail_kinds(world.disk, 1u << DISK_READ);
    sim_disk_fail_after(world.disk, 1, STATUS_IO);
    run_while(wiped, PREPARE_VERIFY);
    sim_disk_fail_after(world.disk, 0, STATUS_OK);
    cr_assert_eq(wiped->state, SEGMENT_WIPING);
    cr_assert_gt(erase_moved(wiped, generation, count, STATUS_OK), 0);
    cr_assert_eq(wiped->header.generation, generation + 1);
}

Test(chunk_store_clean, what_a_failed_read_left_half_moved_is_cleaned_later)
{
    struct cleaner *cleaner = &world.store->cleaner;
    uint32_t count = fill_and_erase_even();
    while (cleaner->stage != CLEAN_MOVING || !cleaner->victim->moved_out || cleaner->victim->live_chunks == 0) {
        cr_assert(sim_loop_step(world.sim));
    }
    struct segment *victim = cleaner->victim;
    uint64_t generation = victim->header.generation;
    sim_disk_fail_kinds(world.disk, 1u << DISK_READ);
    sim_disk_fail_after(world.disk, 1, STATUS_IO);
    while (!victim->stuck) {
        cr_assert(sim_loop_step(world.sim));
    }
    sim_disk_fail_after(world.disk, 0, STATUS_OK);
    cr_assert_gt(erase_moved(victim, generation, count, STATUS_CORRUPT), 0);
    sim_loop_run_for(world.sim, 60 * NS_PER_S);
    cr_assert_gt(erase_moved(victim, generation, count, STATUS_OK), 0);
}

/* A chunk that was moved out of the victim, and the last one that is to be moved; false: not both yet. */
static bool moved_and_last(const struct segment *victim, uint32_t count, uint32_t *moved, uint32_t *last)
{
    uint64_t offset = 0;
    bool any_moved = false;
    for (uint32_t i = 1; i < count; i += 2) {
        struct chunk_entry entry = entry_of(i);
        if (entry.previous.generation != 0 && entry.previous.segment == victim->number) {
            *moved = i;
            any_moved = true;
        }
        if (entry.place.segment == victim->number && entry.place.offset > offset) {
            offset = entry.place.offset;
            *last = i;
        }
    }
    return any_moved && offset > 0 && victim->live_chunks >= 3;
}

/* Erase all other chunks where `keep` stands, so that it is worth cleaning. */
static void erase_around(uint32_t keep, uint32_t count, uint32_t later_end)
{
    uint32_t segment = entry_of(keep).place.segment;
    for (uint32_t i = 1; i < later_end; i++) {
        i = i == count ? LATER_FROM : i;
        struct chunk_entry entry = entry_of(i);
        if (i != keep && entry.state == CHUNK_LIVE && entry.place.segment == segment) {
            (void)world_erase(&world, i, NULL);
        }
    }
}

Test(chunk_store_clean, a_chunk_is_not_moved_again_while_its_older_copy_stands)
{
    const struct cleaner *cleaner = &world.store->cleaner;
    struct segment *stuck = NULL;
    uint32_t moved = 0;
    uint32_t last = 0;
    uint32_t count = fill_and_erase_even();
    for (unsigned i = 0; i < STEPS_MAX && stuck == NULL; i++) {
        cr_assert(sim_loop_step(world.sim));
        if (cleaner->stage == CLEAN_MOVING && cleaner->victim->moved_out &&
            moved_and_last(cleaner->victim, count, &moved, &last)) {
            stuck = cleaner->victim;
        }
    }
    cr_assert_not_null(stuck);
    corrupt_segment(stuck, entry_of(last).place.offset + 5000);
    sim_loop_run_for(world.sim, 20 * NS_PER_S);
    cr_assert(stuck->stuck);
    cr_assert_eq(stuck->state, SEGMENT_FULL);

    uint32_t end = LATER_FROM;
    for (unsigned round = 0; round < 12; round++) {
        end = fill_from(end);
        erase_around(moved, count, end);
        sim_loop_run_for(world.sim, 10 * NS_PER_S);
    }
    struct segment *holds = &world.store->segments.segments[entry_of(moved).place.segment];
    cr_assert_eq(entry_of(moved).previous.segment, stuck->number);
    cr_assert_eq(holds->held_by, stuck);
    cr_assert_eq(world_erase(&world, moved, NULL), STATUS_CORRUPT);

    /* The damaged chunk goes; then the segment can be cleaned, and after it the one that it held. */
    cr_assert_eq(world_erase(&world, last, NULL), STATUS_OK);
    sim_loop_run_for(world.sim, 20 * NS_PER_S);
    cr_assert_not(stuck->stuck);
    cr_assert_null(holds->held_by);
    cr_assert_eq(world_erase(&world, moved, NULL), STATUS_OK);
    cr_assert_not(world_holds_content(&world, moved, MIB(1)));
}

/* ---- damage and restarts ------------------------------------------------------------------------- */

Test(chunk_store_clean, damage_that_stands_in_the_way_is_counted_once)
{
    (void)fill_and_erase_even();
    struct segment *damaged = &world.store->segments.segments[entry_of(1).place.segment];
    corrupt_segment(damaged, entry_of(1).place.offset + 5000);
    sim_loop_run_for(world.sim, 100 * NS_PER_S);
    cr_assert_gt(damaged->clean_failures, 3);
    cr_assert_eq(world_stats(&world).corrupt_found, 1);
}

/* Go on until a cleaned segment is being wiped, and open the store again. */
static struct segment *open_again_in_wipe(bool damage_and_lose_index)
{
    uint32_t number = run_to_read_back()->number;
    struct chunk_place damaged = entry_of(1).place;
    cr_assert_eq(entry_of(1).state, CHUNK_LIVE);
    cr_assert_neq(damaged.segment, number);
    world_close_store(&world);
    if (damage_and_lose_index) {
        char name[DISK_NAME_BYTES];
        segment_name(damaged.segment, name);
        sim_disk_corrupt(world.disk, name, damaged.offset - BLOCK_BYTES + 100, 1);
        world_lose_index(&world);
    }
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    cr_assert_eq(world.store->segments.segments[number].state, SEGMENT_WIPING);
    return &world.store->segments.segments[number];
}

Test(chunk_store_clean, an_erase_of_an_unknown_chunk_does_not_wait_for_the_wipe_of_a_cleaned_segment)
{
    (void)fill_and_erase_even();
    const struct segment *wiped = open_again_in_wipe(false);
    cr_assert_not(wiped->unaccounted);
    cr_assert_eq(world_erase(&world, LATER_FROM, NULL), STATUS_NOT_FOUND);
    cr_assert_eq(wiped->state, SEGMENT_WIPING);
}

/* The lost record may have said which chunk was moved from there: its old copy is known to nobody. */
Test(chunk_store_clean, an_erase_of_an_unknown_chunk_waits_for_it_when_records_were_lost)
{
    (void)fill_and_erase_even();
    const struct segment *wiped = open_again_in_wipe(true);
    cr_assert(wiped->unaccounted);
    uint32_t number = wiped->number;
    uint64_t generation = wiped->header.generation;
    world_close_store(&world);
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    wiped = &world.store->segments.segments[number];
    cr_assert(wiped->unaccounted, "it is marked on the disk");
    cr_assert_eq(world_erase(&world, LATER_FROM, NULL), STATUS_NOT_FOUND);
    cr_assert_gt(wiped->header.generation, generation);
}

/* ---- closing ------------------------------------------------------------------------------------- */

static bool erases_are_done(void)
{
    for (unsigned i = 0; i < probe_count; i++) {
        if (!probes[i]->done) {
            return false;
        }
    }
    return true;
}

Test(chunk_store_clean, a_store_that_closes_while_a_flush_fails_outlives_the_flush)
{
    const struct preparer *preparer = &world.store->preparer;
    bool reached = false;
    fill_and_erase_even();
    for (unsigned i = 0; i < STEPS_MAX && !reached; i++) {
        cr_assert(sim_loop_step(world.sim));
        reached = erases_are_done() && preparer->stage == PREPARE_MARK && !preparer->segment->flushes.in_flight;
    }
    cr_assert(reached);
    sim_disk_fail_kinds(world.disk, 1u << DISK_FLUSH);
    sim_disk_fail_after(world.disk, 1, STATUS_IO);
    world_close_store(&world);
}

/* ---- failures of the index ----------------------------------------------------------------------- */

Test(chunk_store_clean, an_index_that_failed_is_not_flushed_past_what_it_lacks)
{
    cr_assert_eq(world_put(&world, 1, 4096), STATUS_OK);
    sim_kv_fail_after(world.kv, 1);
    cr_assert_eq(world_put(&world, 2, 4096), STATUS_IO);
    cr_assert(world.store->fenced);
    sim_kv_fail_after(world.kv, 0);
    cr_assert_eq(index_flush(world.store), STATUS_FENCED);
    world_close_store(&world);
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    cr_assert_eq(world_get(&world, 1, 4096), STATUS_OK);
    cr_assert_eq(world_get(&world, 2, 4096), STATUS_OK); /* It is in the log. */
    world_audit(&world);
}

static enum status iterator_fails(struct kv_iterator *iterator)
{
    (void)iterator;
    return STATUS_IO;
}

Test(chunk_store_clean, a_walk_of_the_index_that_fails_is_not_its_end)
{
    const struct kv_ops *good = world.kv->ops;
    struct kv_ops bad = *good;
    struct chunk_header headers[4];
    struct chunk_id id;
    size_t count = 77;
    bad.iterator_status = iterator_fails;
    cr_assert_eq(world_put(&world, 1, 4096), STATUS_OK);
    world.kv->ops = &bad;
    cr_assert_eq(chunk_store_list(world.store, NULL, headers, ARRAY_LENGTH(headers), &count), STATUS_IO);
    cr_assert_eq(count, 77);
    cr_assert_eq(chunk_index_next_erasing(&world.store->index, NULL, &id), STATUS_IO);
    cr_assert_eq(chunk_index_clear(&world.store->index), STATUS_IO);
    world.kv->ops = good;
    cr_assert_eq(world_get(&world, 1, 4096), STATUS_OK);
}

/* ---- recovery ------------------------------------------------------------------------------------ */

static uint64_t flushes_of_open(void)
{
    uint64_t before = sim_disk_io_count(world.disk, DISK_FLUSH);
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    return sim_disk_io_count(world.disk, DISK_FLUSH) - before;
}

Test(chunk_store_clean, recovery_flushes_what_it_is_going_to_acknowledge)
{
    cr_assert_eq(world_put(&world, 1, 4096), STATUS_OK);
    world_close_store(&world);
    uint64_t clean = flushes_of_open();
    cr_assert_eq(world_put(&world, 2, 4096), STATUS_OK);
    world_crash(&world, 1);
    uint64_t unclean = flushes_of_open();
    cr_assert_gt(unclean, clean);
    cr_assert_eq(world_get(&world, 2, 4096), STATUS_OK);
}

/* The copy of the superblock before the newest says that the store was closed: it must not be believed. */
Test(chunk_store_clean, recovery_does_not_believe_an_old_superblock_that_it_was_closed)
{
    cr_assert_eq(world_put(&world, 1, 4096), STATUS_OK);
    world_close_store(&world);
    uint64_t clean = flushes_of_open();
    uint64_t newest = superblock_offset(world.store->superblock.state.sequence);
    cr_assert_eq(world_put(&world, 2, 4096), STATUS_OK);
    world_crash(&world, 1);
    sim_disk_corrupt(world.disk, SUPERBLOCK_NAME, newest + 100, 1);
    cr_assert_gt(flushes_of_open(), clean);
    cr_assert_eq(world_get(&world, 2, 4096), STATUS_OK);
}
