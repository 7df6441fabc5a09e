/* test_chunk_store_crash.c - power loss at every I/O, and a device that fails at every I/O.
 *
 * Method  A random workload (puts and erases of chunks of all sizes, several at a time) runs on a simulated disk until
 *         the n-th I/O has been started; then power is lost, for n = 1, 2, 3, ... Of what was not durable each sector
 *         stays old, becomes new or turns to garbage; the index table falls back to some earlier prefix, or is lost
 *         altogether. The store is opened again, sometimes losing power in the middle of that, and must then keep
 *         what chunk_store_trial.h says. */
#include "tests/unit/chunk_store_trial.h"

#define IN_FLIGHT_MAX 6
#define CAPACITY      (6 * STORE_SEGMENT_BYTES_MIN + MIB(1))

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

static void crash_at(uint64_t seed, uint64_t ios, bool large)
{
    struct trial *trial = trial_new(seed, CAPACITY, large);
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
        struct trial *trial = trial_new(9000 + n, CAPACITY, false);
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
        struct trial *trial = trial_new(700 + n, CAPACITY, false);
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

/* A killed process leaves what it wrote in memory of the machine: whole to every reader, and not durable. The next one may
 * not answer for it before it has flushed. */
Test(chunk_store_crash, what_a_killed_process_left_unflushed_is_durable_before_it_is_answered_for)
{
    struct world world = world_new(5, 6 * STORE_SEGMENT_BYTES_MIN);
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    cr_assert_eq(world_put(&world, 1, 5000), STATUS_OK);
    struct probe *probe = probe_new(2);
    uint64_t flushes = sim_disk_io_count(world.disk, DISK_FLUSH);
    put_start_of(&world, probe, 5000);
    while (sim_disk_io_count(world.disk, DISK_FLUSH) == flushes) {
        cr_assert(sim_loop_step(world.sim));
    }
    cr_assert_not(probe->done);

    sim_disk_kill(world.disk);
    chunk_store_abandon(world.store);
    sim_loop_run_until_idle(world.sim);
    sim_kv_crash(world.kv, 1);
    cr_assert_eq(world_open_store(&world), STATUS_OK);
    cr_assert_eq(world_get(&world, 2, 5000), STATUS_OK, "the batch was written, or this test says nothing");
    cr_assert_eq(world_put(&world, 2, 5000), STATUS_OK, "the identical chunk is there");
    for (uint64_t seed = 1; seed <= 8; seed++) {
        world_crash(&world, seed);
        cr_assert_eq(world_open_store(&world), STATUS_OK);
        cr_assert_eq(world_get(&world, 2, 5000), STATUS_OK);
    }
    probe_free(probe);
    world_free(&world);
}
