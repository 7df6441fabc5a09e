/* test_chunk_store_damage.c - segments whose headers are lost, batches misread once: what is good stays, what is gone is
 * said to be gone only when it is. */
#include "node/store/recovery.h"
#include "tests/unit/chunk_store_fixture.h"

#define CAPACITY    (8 * STORE_SEGMENT_BYTES_MIN + MIB(1))
#define SMALL_BYTES 100000
#define LARGE_BYTES 1000000
#define CHUNKS_MAX  64u

static struct world world;

static void setup(void)
{
    world = world_new(1, CAPACITY);
    cr_assert_eq(world_open_store(&world), STATUS_OK);
}

static void teardown(void)
{
    world_free(&world);
}

TestSuite(chunk_store_damage, .init = setup, .fini = teardown);

static struct chunk_location where(uint32_t number)
{
    struct chunk_location location;
    struct chunk_id id = chunk_id_of(number);
    cr_assert_eq(chunk_store_locate(world.store, &id, &location), STATUS_OK);
    return location;
}

static void put_small(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        cr_assert_eq(world_put(&world, i, SMALL_BYTES), STATUS_OK);
    }
}

static void damage_segment_header(const char *segment)
{
    sim_disk_corrupt(world.disk, segment, 40, 0xff);
}

/* The header of the batch that a chunk stands in, when it stands there alone. */
static void damage_batch_header(const struct chunk_location *location)
{
    sim_disk_corrupt(world.disk, location->segment, location->offset - BLOCK_BYTES + 100, 1);
}

static void zero_block(const char *segment, uint64_t offset)
{
    uint8_t block[BLOCK_BYTES];
    cr_assert(sim_disk_copy(world.disk, SIM_DISK_DURABLE, segment, offset, block, sizeof(block)));
    for (uint64_t i = 0; i < sizeof(block); i++) {
        if (block[i] != 0) {
            sim_disk_corrupt(world.disk, segment, offset + i, block[i]);
        }
    }
}

/* Put large chunks until the first segment is full. Returns the number behind the last one. */
static uint32_t fill_first_segment(void)
{
    uint32_t number = 0;
    do {
        cr_assert_lt(number, CHUNKS_MAX);
        cr_assert_eq(world_put(&world, number, LARGE_BYTES), STATUS_OK);
        number++;
    } while (strcmp(where(number - 1).segment, where(0).segment) == 0);
    return number;
}

/* Close, make the segment that has the first chunk a segment without any good header, open. Returns how many chunks stood
 * there. */
static uint32_t lose_first_segment(uint32_t count)
{
    struct chunk_location places[CHUNKS_MAX];
    uint32_t lost = 0;
    for (uint32_t i = 0; i < count; i++) {
        places[i] = where(i);
        lost += strcmp(places[i].segment, places[0].segment) == 0;
    }
    world_close_store(&world);
    damage_segment_header(places[0].segment);
    for (uint32_t i = 0; i < lost; i++) {
        damage_batch_header(&places[i]);
    }
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    return lost;
}

/* ---- adopted segments ---------------------------------------------------------------------------- */

static void lose_header_and_first_batch(uint32_t count)
{
    put_small(count);
    struct chunk_location first = where(0);
    world_close_store(&world);
    damage_segment_header(first.segment);
    damage_batch_header(&first);
    world_lose_index(&world);
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    cr_assert_eq(world_stats(&world).corrupt_found, 1);
    cr_assert_eq(world_get(&world, 0, SMALL_BYTES), STATUS_NOT_FOUND);
    cr_assert_not(world_holds_content(&world, 0, SMALL_BYTES));
    for (uint32_t i = 1; i < count; i++) {
        cr_assert_eq(world_get(&world, i, SMALL_BYTES), STATUS_OK, "chunk %u of %u", i, count);
    }
}

Test(chunk_store_damage, a_lost_segment_header_and_first_batch_cost_that_batch_only)
{
    lose_header_and_first_batch(5);
    world_close_store(&world);
    world_lose_index(&world);
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    for (uint32_t i = 1; i < 5; i++) {
        cr_assert_eq(world_get(&world, i, SMALL_BYTES), STATUS_OK);
    }
}

Test(chunk_store_damage, the_only_batch_behind_a_lost_first_one_stays)
{
    lose_header_and_first_batch(2);
}

/* The superblock does not say that anything was durable. */
Test(chunk_store_damage, the_only_batch_behind_a_lost_first_one_stays_after_a_crash)
{
    put_small(2);
    struct chunk_location first = where(0);
    world_crash(&world, 1);
    damage_segment_header(first.segment);
    damage_batch_header(&first);
    world_lose_index(&world);
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    cr_assert_eq(world_get(&world, 1, SMALL_BYTES), STATUS_OK);
}

/* ---- misread once -------------------------------------------------------------------------------- */

/* Open while one byte reads wrong, until `healed_when` says that it was met. */
static void open_misreading(const char *segment, uint64_t offset, bool (*healed_when)(const struct chunk_store *store))
{
    bool healed = false;
    sim_disk_corrupt(world.disk, segment, offset, 1);
    world.opened = false;
    const struct chunk_store *store =
        store_open_start(world.loop, sim_disk_interface(world.disk), world.kv, &world.options, world_opened, &world);
    while (!world.opened) {
        cr_assert(sim_loop_step(world.sim));
        if (!healed && !world.opened && healed_when(store)) {
            sim_disk_corrupt(world.disk, segment, offset, 1);
            healed = true;
        }
    }
    cr_assert(healed);
    cr_assert_eq(world.open_status, STATUS_OK);
}

static bool payload_was_judged(const struct chunk_store *store)
{
    return store->recovery != NULL && store->recovery->header_good;
}

Test(chunk_store_damage, a_payload_that_is_misread_once_is_not_cut_off)
{
    put_small(2);
    struct chunk_location last = where(1);
    world_crash(&world, 3);
    world_lose_index(&world);
    open_misreading(last.segment, last.offset + 5000, payload_was_judged);
    cr_assert_eq(world_stats(&world).torn_batches, 0);
    cr_assert_eq(world_get(&world, 1, SMALL_BYTES), STATUS_OK);
}

static bool later_batch_was_found(const struct chunk_store *store)
{
    return store->recovery != NULL && store->recovery->found;
}

/* The second batch is damaged. The third is misread while it is being looked for: the fourth is found. */
Test(chunk_store_damage, a_batch_that_is_misread_once_behind_damage_is_not_zeroed)
{
    put_small(5);
    struct chunk_location damaged = where(1);
    struct chunk_location misread = where(2);
    world_close_store(&world);
    world_lose_index(&world);
    damage_batch_header(&damaged);
    open_misreading(misread.segment, misread.offset - BLOCK_BYTES + 100, later_batch_was_found);
    for (uint32_t i = 0; i < 5; i++) {
        cr_assert_eq(world_get(&world, i, SMALL_BYTES), i == 1 ? STATUS_NOT_FOUND : STATUS_OK, "chunk %u", i);
    }
}

static bool second_batch_was_adopted(const struct chunk_store *store)
{
    return store->recovery != NULL && store->recovery->adopting_again;
}

Test(chunk_store_damage, a_first_batch_that_is_misread_once_is_adopted)
{
    put_small(3);
    struct chunk_location first = where(0);
    world_close_store(&world);
    world_lose_index(&world);
    damage_segment_header(first.segment);
    open_misreading(first.segment, first.offset - BLOCK_BYTES + 100, second_batch_was_adopted);
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert_eq(world_get(&world, i, SMALL_BYTES), STATUS_OK, "chunk %u", i);
    }
}

/* ---- segments that are given up ------------------------------------------------------------------ */

Test(chunk_store_damage, a_segment_that_the_index_knows_is_not_free)
{
    uint32_t count = fill_first_segment();
    struct chunk_location victim = where(2);
    struct segment *segment = &world.store->segments.segments[0];
    uint64_t generation = segment->header.generation;
    world_close_store(&world);
    zero_block(victim.segment, 0);
    zero_block(victim.segment, BLOCK_BYTES);
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    segment = &world.store->segments.segments[0];
    cr_assert_eq(segment->state, SEGMENT_WIPING);
    cr_assert(segment->unaccounted);
    cr_assert_gt(segment->header.generation, generation);
    cr_assert_eq(world_stats(&world).corrupt_found, 1);
    cr_assert_eq(world_get(&world, 2, LARGE_BYTES), STATUS_CORRUPT);

    uint64_t overwritten;
    uint32_t end = count + 60;
    cr_assert_eq(world_erase(&world, 2, &overwritten), STATUS_OK);
    cr_assert_eq(overwritten, 0);
    cr_assert_not(world_holds_content(&world, 2, LARGE_BYTES));
    for (uint32_t i = count; i < end; i++) {
        cr_assert_eq(world_put(&world, i, LARGE_BYTES), STATUS_OK);
    }
    cr_assert_eq(world_erase(&world, 3, NULL), STATUS_OK);
    for (uint32_t i = count; i < end; i++) {
        cr_assert_eq(world_get(&world, i, LARGE_BYTES), STATUS_OK, "chunk %u", i);
    }
}

Test(chunk_store_damage, an_erase_of_a_chunk_whose_segment_was_given_up_ends_with_its_wipe)
{
    uint32_t count = fill_first_segment();
    uint32_t lost = lose_first_segment(count);
    cr_assert_eq(lost, count - 1);
    cr_assert_eq(world_stats(&world).corrupt_found, 1);
    cr_assert_eq(world_get(&world, count - 1, LARGE_BYTES), STATUS_OK);
    cr_assert(world_holds_content(&world, 0, LARGE_BYTES));
    cr_assert_eq(world_erase(&world, 0, NULL), STATUS_OK);
    for (uint32_t i = 0; i < lost; i++) {
        cr_assert_not(world_holds_content(&world, i, LARGE_BYTES));
    }
    world_close_store(&world);
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    cr_assert_eq(world_erase(&world, 0, NULL), STATUS_OK);
    cr_assert_eq(world_erase(&world, 1, NULL), STATUS_OK);
    cr_assert_eq(world_put(&world, 1, LARGE_BYTES), STATUS_GONE);
}

/* A header that was torn by a crash stands in front of zeros: nothing was given up. */
Test(chunk_store_damage, a_torn_header_of_an_empty_segment_is_no_damage)
{
    char name[DISK_NAME_BYTES];
    put_small(1);
    for (uint32_t i = 0; i < world.store->segments.count; i++) {
        if (world.store->segments.segments[i].state == SEGMENT_ALLOCATED) {
            segment_name(i, name);
        }
    }
    world_close_store(&world);
    sim_disk_corrupt(world.disk, name, 7, 0x11);
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    cr_assert_eq(world_stats(&world).corrupt_found, 0);
}

/* ---- closing ------------------------------------------------------------------------------------- */

Test(chunk_store_damage, closing_answers_an_erase_that_waits_for_the_wipe_of_a_segment)
{
    put_small(1);
    (void)lose_first_segment(1);
    struct probe *probe = probe_new(0);
    erase_start_of(&world, probe);
    cr_assert_eq(world.store->segments.segments[0].state, SEGMENT_WIPING);
    world_close_store(&world);
    cr_assert(probe->done);
    cr_assert_eq(probe->done_count, 1);
    cr_assert_eq(probe->status, STATUS_UNAVAILABLE);
    probe_free(probe);
}

Test(chunk_store_damage, a_store_that_will_be_closed_lets_no_erase_wait)
{
    put_small(1);
    (void)lose_first_segment(1);
    struct probe *probes[] = {probe_new(0), probe_new(77), probe_new(0)};
    erase_start_of(&world, probes[0]);
    erase_start_of(&world, probes[1]);
    chunk_store_close_soon(world.store);
    erase_start_of(&world, probes[2]);
    for (unsigned i = 0; i < ARRAY_LENGTH(probes); i++) {
        cr_assert_eq(probe_wait(&world, probes[i]), STATUS_UNAVAILABLE);
        cr_assert_eq(world.store->segments.segments[0].state, SEGMENT_WIPING);
    }
    sim_loop_run_for(world.sim, 10 * NS_PER_S);
    for (unsigned i = 0; i < ARRAY_LENGTH(probes); i++) {
        cr_assert_eq(probes[i]->done_count, 1);
        probe_free(probes[i]);
    }
}

/* ---- the superblock ------------------------------------------------------------------------------- */

static void block_read(struct disk_io *io)
{
    io->buffer = NULL; /* Says that it is over. */
}

/* How many copies of the superblock the device refuses to read. */
static unsigned unreadable_copies(struct world *own)
{
    struct disk_file *file;
    uint8_t *block = aligned_buffer(BLOCK_BYTES);
    unsigned unreadable = 0;
    cr_assert_eq(disk_file_open(sim_disk_interface(own->disk), SUPERBLOCK_NAME, false, &file), STATUS_OK);
    for (uint64_t offset = 0; offset < SUPERBLOCK_BYTES; offset += BLOCK_BYTES) {
        struct disk_io io = {0};
        disk_read(file, &io, block, BLOCK_BYTES, offset, block_read);
        while (io.buffer != NULL) {
            cr_assert(sim_loop_step(own->sim));
        }
        unreadable += io.status != STATUS_OK ? 1 : 0;
    }
    disk_file_close(file);
    free(block);
    return unreadable;
}

Test(chunk_store_damage, a_superblock_copy_that_can_not_be_read_does_not_matter)
{
    unsigned opened = 0;
    for (uint64_t seed = 1; opened < 3; seed++) {
        cr_assert_lt(seed, 200, "no flaw falls on the superblock");
        struct world own = world_new(seed, 6 * STORE_SEGMENT_BYTES_MIN);
        cr_assert_eq(world_open_store(&own), STATUS_OK);
        world_close_store(&own);
        cr_assert(sim_disk_rot(own.disk, SIM_DISK_LATENT));
        if (unreadable_copies(&own) == 1) {
            opened++;
            cr_assert_eq(world_open_store(&own), STATUS_OK);
            cr_assert_eq(world_put(&own, 1, 5000), STATUS_OK);
            world_crash(&own, seed);
            cr_assert_eq(world_open_store(&own), STATUS_OK);
            cr_assert_eq(world_get(&own, 1, 5000), STATUS_OK);
        }
        world_free(&own);
    }
}

Test(chunk_store_damage, a_superblock_that_can_not_be_read_at_all_is_not_made_anew)
{
    struct world own = world_new(1, 6 * STORE_SEGMENT_BYTES_MIN);
    cr_assert_eq(world_open_store(&own), STATUS_OK);
    cr_assert_eq(world_put(&own, 1, 5000), STATUS_OK);
    world_close_store(&own);
    sim_disk_fail_kinds(own.disk, 1u << DISK_READ);
    sim_disk_fail_after(own.disk, 1, STATUS_IO);
    cr_assert_eq(world_open_store(&own), STATUS_IO);
    sim_disk_fail_after(own.disk, 0, STATUS_IO);
    cr_assert_eq(world_open_store(&own), STATUS_OK);
    cr_assert_eq(world_get(&own, 1, 5000), STATUS_OK);
    world_free(&own);
}
