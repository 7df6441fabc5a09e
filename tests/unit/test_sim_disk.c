/* test_sim_disk.c - the simulated disk keeps what it promised, loses only what it may, and does so from the seed. */
#include "tests/sim/sim_disk_image.h"
#include "tests/unit/sim_disk_fixture.h"

#include <signal.h>

TestSuite(sim_disk, .init = setup, .fini = teardown);

/* How many sectors of `bytes` durable bytes hold only `fill`. */
static unsigned durable_sectors(uint8_t fill, uint64_t bytes)
{
    return sectors_of(SIM_DISK_DURABLE, fill, 0, bytes);
}

Test(sim_disk, keeps_flushed_writes_through_a_crash)
{
    cr_assert_eq(write_filled(1, FILE_BYTES, 0, 0), STATUS_OK);
    cr_assert_eq(flush(), STATUS_OK);
    sim_disk_crash(sim);
    cr_assert_eq(durable_sectors(1, FILE_BYTES), FILE_BYTES / SIM_DISK_SECTOR_BYTES);
}

Test(sim_disk, keeps_durable_writes_through_a_crash)
{
    cr_assert_eq(write_filled(2, FILE_BYTES, 0, DISK_DURABLE), STATUS_OK);
    sim_disk_crash(sim);
    cr_assert_eq(durable_sectors(2, FILE_BYTES), FILE_BYTES / SIM_DISK_SECTOR_BYTES);
}

Test(sim_disk, tears_unflushed_writes_sector_by_sector)
{
    cr_assert_eq(write_filled(1, FILE_BYTES, 0, DISK_DURABLE), STATUS_OK);
    cr_assert_eq(write_filled(2, FILE_BYTES, 0, 0), STATUS_OK);
    sim_disk_crash(sim);
    unsigned old_sectors = durable_sectors(1, FILE_BYTES);
    unsigned new_sectors = durable_sectors(2, FILE_BYTES);
    unsigned sectors = FILE_BYTES / SIM_DISK_SECTOR_BYTES;
    cr_assert_gt(old_sectors, sectors / 4);
    cr_assert_gt(new_sectors, sectors / 4);
    cr_assert_gt(old_sectors + new_sectors, sectors * 9 / 10);
    cr_assert_lt(old_sectors + new_sectors, sectors, "some garbage is expected among %u sectors", sectors);
}

Test(sim_disk, lets_io_in_flight_vanish_in_a_crash)
{
    struct probe probe = {0};
    memset(block, 3, BLOCK_BYTES);
    disk_write(file, &probe.io, block, BLOCK_BYTES, 0, 0, probe_done);
    sim_disk_crash(sim);
    sim_loop_run_until_idle(loop);
    cr_assert_not(probe.done);
}

Test(sim_disk, refuses_io_on_a_handle_from_before_the_crash)
{
    sim_disk_crash(sim);
    cr_assert_eq(write_filled(1, BLOCK_BYTES, 0, 0), STATUS_IO);
    disk_file_close(file);
    cr_assert_eq(disk_file_open(disk, "segment", false, &file), STATUS_OK);
    cr_assert_eq(write_filled(1, BLOCK_BYTES, 0, 0), STATUS_OK);
}

Test(sim_disk, does_not_promise_a_write_that_completed_after_the_flush_started)
{
    /* Over many seeds, a write racing with the flush must be lost at least once, and never be the cause of losing
     * what the flush did cover. */
    unsigned lost = 0;
    teardown();
    for (uint64_t seed = 1; seed <= 40; seed++) {
        open_with_seed(seed);
        cr_assert_eq(write_filled(1, BLOCK_BYTES, 0, 0), STATUS_OK);
        struct probe flushing = {0};
        struct probe writing = {0};
        memset(block, 2, 2 * BLOCK_BYTES);
        disk_flush(file, &flushing.io, probe_done);
        disk_write(file, &writing.io, block, 2 * BLOCK_BYTES, 0, 0, probe_done);
        cr_assert_eq(probe_wait(&flushing), STATUS_OK);
        cr_assert(writing.done || sim_loop_run_until(loop, &writing.done));
        cr_assert_eq(durable_sectors(1, BLOCK_BYTES) + durable_sectors(2, BLOCK_BYTES), 8);
        sim_disk_crash(sim);
        lost += durable_sectors(2, 2 * BLOCK_BYTES) < 16 ? 1 : 0;
        if (seed < 40) {
            teardown();
        }
    }
    cr_assert_gt(lost, 0);
}

Test(sim_disk, fails_the_nth_io_and_all_later_ones)
{
    sim_disk_fail_after(sim, 3, STATUS_IO);
    cr_assert_eq(write_filled(1, BLOCK_BYTES, 0, 0), STATUS_OK);
    cr_assert_eq(flush(), STATUS_OK);
    cr_assert_eq(write_filled(2, BLOCK_BYTES, 0, 0), STATUS_IO);
    cr_assert_eq(flush(), STATUS_IO);
    sim_disk_fail_after(sim, 0, STATUS_OK);
    cr_assert_eq(flush(), STATUS_OK);
}

Test(sim_disk, fails_only_the_kinds_it_was_told_to)
{
    sim_disk_fail_kinds(sim, 1u << DISK_FLUSH);
    sim_disk_fail_after(sim, 1, STATUS_IO);
    cr_assert_eq(write_filled(1, BLOCK_BYTES, 0, 0), STATUS_OK);
    cr_assert_eq(flush(), STATUS_IO);
    cr_assert_eq(sim_disk_io_count(sim, DISK_FLUSH), 1);
}

Test(sim_disk, is_full_at_its_limit)
{
    uint64_t free_bytes;
    sim_disk_limit_bytes(sim, FILE_BYTES + BLOCK_BYTES);
    cr_assert_eq(disk_space(disk, &free_bytes), STATUS_OK);
    cr_assert_eq(free_bytes, BLOCK_BYTES);
    cr_assert_eq(allocate(FILE_BYTES + 2 * BLOCK_BYTES), STATUS_FULL);
    cr_assert_eq(file->bytes, FILE_BYTES);
    cr_assert_eq(allocate(FILE_BYTES + BLOCK_BYTES), STATUS_OK);
}

Test(sim_disk, reads_back_rot_that_was_put_in)
{
    struct probe probe = {0};
    cr_assert_eq(write_filled(5, BLOCK_BYTES, BLOCK_BYTES, 0), STATUS_OK);
    sim_disk_corrupt(sim, "segment", BLOCK_BYTES + 7, 0xff);
    disk_read(file, &probe.io, block, BLOCK_BYTES, BLOCK_BYTES, probe_done);
    cr_assert_eq(probe_wait(&probe), STATUS_OK);
    cr_assert_eq(block[7], 5 ^ 0xff);
    cr_assert_eq(block[8], 5);
}

static void count_file(void *user, const char *name, uint64_t bytes)
{
    (void)name;
    cr_assert_eq(bytes, FILE_BYTES);
    ++*(unsigned *)user;
}

Test(sim_disk, lists_opens_and_removes_files)
{
    unsigned count = 0;
    struct disk_file *other;
    cr_assert_eq(disk_list_files(disk, count_file, &count), STATUS_OK);
    cr_assert_eq(count, 1);
    cr_assert_eq(disk_file_open(disk, "missing", false, &other), STATUS_NOT_FOUND);
    cr_assert_eq(disk_file_open(disk, "segment", false, &other), STATUS_OK);
    cr_assert_eq(disk_file_remove(disk, "segment"), STATUS_OK);
    cr_assert_eq(disk_file_remove(disk, "segment"), STATUS_NOT_FOUND);
    disk_file_close(other);
    uint64_t bytes;
    cr_assert_null(sim_disk_bytes(sim, "segment", &bytes));
}

/* A run of random writes and a crash, as one number. */
static uint64_t run_fingerprint(uint64_t seed)
{
    struct probe probes[16] = {0};
    uint64_t fingerprint = 0;
    open_with_seed(seed);
    memset(block, 9, sizeof(block));
    for (size_t i = 0; i < ARRAY_LENGTH(probes); i++) {
        disk_write(file, &probes[i].io, block, 2 * BLOCK_BYTES, i * BLOCK_BYTES, 0, probe_done);
    }
    for (int steps = 0; steps < 8; steps++) {
        sim_loop_step(loop);
        for (size_t i = 0; i < ARRAY_LENGTH(probes); i++) {
            fingerprint = fingerprint * 31 + (probes[i].done ? 1 : 0);
        }
    }
    sim_disk_crash(sim);
    uint64_t bytes;
    const uint8_t *image = sim_disk_bytes(sim, "segment", &bytes);
    for (uint64_t i = 0; i < bytes; i++) {
        fingerprint = fingerprint * 31 + image[i];
    }
    return fingerprint;
}

Test(sim_disk, replays_a_run_from_its_seed)
{
    teardown();
    uint64_t first = run_fingerprint(99);
    teardown();
    uint64_t second = run_fingerprint(99);
    teardown();
    uint64_t other = run_fingerprint(100);
    cr_assert_eq(first, second);
    cr_assert_neq(first, other);
}

/* ---- failure --------------------------------------------------------------------------------------- */

Test(sim_disk, drops_what_a_failed_flush_did_not_make_durable)
{
    cr_assert_eq(write_filled(1, FILE_BYTES, 0, DISK_DURABLE), STATUS_OK);
    cr_assert_eq(write_filled(2, FILE_BYTES, 0, 0), STATUS_OK);
    sim_disk_fail_kinds(sim, 1u << DISK_FLUSH);
    sim_disk_fail_after(sim, 1, STATUS_IO);
    cr_assert_eq(flush(), STATUS_IO);
    unsigned old_sectors = sectors_of(SIM_DISK_CACHE, 1, 0, FILE_BYTES);
    unsigned new_sectors = sectors_of(SIM_DISK_CACHE, 2, 0, FILE_BYTES);
    cr_assert_gt(old_sectors, FILE_SECTORS / 4);
    cr_assert_gt(new_sectors, FILE_SECTORS / 4);
    cr_assert_eq(old_sectors + new_sectors, FILE_SECTORS);
    cr_assert_eq(durable_sectors(2, FILE_BYTES), new_sectors);

    /* Nothing is dirty any more: a flush that works brings nothing back, and a crash finds nothing to tear. */
    sim_disk_fail_after(sim, 0, STATUS_OK);
    cr_assert_eq(flush(), STATUS_OK);
    sim_disk_crash(sim);
    cr_assert_eq(durable_sectors(1, FILE_BYTES), old_sectors);
    cr_assert_eq(durable_sectors(2, FILE_BYTES), new_sectors);
    cr_assert_eq(sim_disk_fault_count(sim, SIM_DISK_FLUSH_ERROR), 1);
}

Test(sim_disk, leaves_some_sectors_of_a_failed_write)
{
    cr_assert_eq(write_filled(1, FILE_BYTES, 0, DISK_DURABLE), STATUS_OK);
    sim_disk_fail_after(sim, 1, STATUS_FULL);
    cr_assert_eq(write_filled(2, FILE_BYTES, 0, DISK_DURABLE), STATUS_FULL);
    unsigned new_sectors = sectors_of(SIM_DISK_CACHE, 2, 0, FILE_BYTES);
    cr_assert_gt(new_sectors, FILE_SECTORS / 4);
    cr_assert_eq(new_sectors + sectors_of(SIM_DISK_CACHE, 1, 0, FILE_BYTES), FILE_SECTORS);
    cr_assert_eq(durable_sectors(1, FILE_BYTES), FILE_SECTORS);
}

/* ---- the ends of a process ------------------------------------------------------------------------- */

Test(sim_disk, never_looks_at_the_memory_of_a_process_that_is_gone)
{
    /* A sanitizer sees it when it does. */
    for (unsigned round = 0; round < 20; round++) {
        struct probe *probes = calloc(4, sizeof(*probes));
        uint8_t *buffer = malloc(2 * BLOCK_BYTES);
        cr_assert(probes != NULL && buffer != NULL);
        memset(buffer, 5, 2 * BLOCK_BYTES);
        disk_write(file, &probes[0].io, buffer, 2 * BLOCK_BYTES, 0, 0, probe_done);
        disk_flush(file, &probes[1].io, probe_done);
        disk_read(file, &probes[2].io, buffer, BLOCK_BYTES, 0, probe_done);
        disk_allocate(file, &probes[3].io, FILE_BYTES, probe_done);
        free(probes);
        free(buffer);
        if (round % 2 == 0) {
            sim_disk_crash(sim);
        } else {
            sim_disk_kill(sim);
        }
        sim_loop_run_until_idle(loop);
        file_reopen();
    }
}

Test(sim_disk, keeps_completed_writes_when_the_process_is_killed)
{
    cr_assert_eq(write_filled(1, FILE_BYTES, 0, 0), STATUS_OK);
    sim_disk_kill(sim);
    cr_assert(holds(SIM_DISK_CACHE, 1, 0, FILE_BYTES));
    cr_assert(holds(SIM_DISK_DURABLE, 0, 0, FILE_BYTES));
    cr_assert_eq(write_filled(9, BLOCK_BYTES, 0, 0), STATUS_IO, "the old handle is of no use");

    file_reopen();
    cr_assert_eq(flush(), STATUS_OK);
    sim_disk_crash(sim);
    cr_assert_eq(durable_sectors(1, FILE_BYTES), FILE_SECTORS);
}

Test(sim_disk, does_all_or_nothing_or_some_blocks_of_a_write_when_the_process_is_killed)
{
    unsigned none = 0;
    unsigned some = 0;
    unsigned all = 0;
    for (unsigned round = 0; round < 60; round++) {
        struct probe probe = {0};
        cr_assert_eq(write_filled(1, 4 * BLOCK_BYTES, 0, DISK_DURABLE), STATUS_OK);
        memset(block, 2, 4 * BLOCK_BYTES);
        disk_write(file, &probe.io, block, 4 * BLOCK_BYTES, 0, 0, probe_done);
        sim_disk_kill(sim);
        sim_loop_run_until_idle(loop);
        cr_assert_not(probe.done);
        unsigned fresh = 0;
        for (unsigned i = 0; i < 4; i++) {
            unsigned sectors = sectors_of(SIM_DISK_CACHE, 2, i * BLOCK_BYTES, BLOCK_BYTES);
            cr_assert(sectors == 0 || sectors == BLOCK_SECTORS, "no block is torn");
            fresh += sectors / BLOCK_SECTORS;
        }
        none += fresh == 0 ? 1 : 0;
        all += fresh == 4 ? 1 : 0;
        some += fresh != 0 && fresh != 4 ? 1 : 0;
        file_reopen();
    }
    cr_assert_gt(none, 5);
    cr_assert_gt(some, 5);
    cr_assert_gt(all, 5);
}

Test(sim_disk, goes_on_with_the_loop_of_the_next_process)
{
    cr_assert_eq(write_filled(1, BLOCK_BYTES, 0, DISK_DURABLE), STATUS_OK);
    struct probe probe = {0};
    disk_read(file, &probe.io, block, BLOCK_BYTES, 0, probe_done);
    sim_disk_kill(sim);
    sim_loop_close(loop);
    loop = sim_loop_open(12);
    sim_disk_attach(sim, loop);
    cr_assert_not(probe.done);
    file_reopen();
    cr_assert_eq(read_back(BLOCK_BYTES, 0), STATUS_OK);
    cr_assert_eq(block[0], 1);

    /* Between two processes there is no loop: heal, look and close must do without. */
    sim_disk_crash(sim);
    sim_loop_close(loop);
    sim_disk_heal(sim);
    cr_assert_eq(durable_sectors(1, BLOCK_BYTES), BLOCK_SECTORS);
    sim_disk_close(sim);
    open_with_seed(1);
}

Test(sim_disk, completes_nothing_while_its_process_stands_still)
{
    struct sim_loop *process = sim_loop_fork(loop, "process", 5);
    sim_disk_attach(sim, process);
    struct probe probe = {0};
    memset(block, 1, BLOCK_BYTES);
    disk_write(file, &probe.io, block, BLOCK_BYTES, 0, 0, probe_done);
    sim_loop_pause(process, true);
    sim_loop_run_for(loop, NS_PER_S);
    cr_assert_not(probe.done);
    sim_loop_pause(process, false);
    cr_assert_eq(probe_wait(&probe), STATUS_OK);

    disk_write(file, &probe.io, block, BLOCK_BYTES, 0, 0, probe_done);
    sim_disk_kill(sim);
    sim_loop_close(process);
    sim_disk_attach(sim, loop);
    sim_loop_run_for(loop, NS_PER_S);
    cr_assert_not(probe.done);
    file_reopen();
    cr_assert_eq(read_back(BLOCK_BYTES, 0), STATUS_OK);
    cr_assert_eq(block[0], 1);
}

Test(sim_disk, attaching_while_io_is_in_flight_is_a_bug, .signal = SIGABRT)
{
    struct probe probe = {0};
    always(SIM_DISK_STUCK);
    disk_read(file, &probe.io, block, BLOCK_BYTES, 0, probe_done);
    sim_disk_attach(sim, loop);
}

Test(sim_disk, changing_a_buffer_in_flight_is_a_bug, .signal = SIGABRT)
{
    struct probe probe = {0};
    memset(block, 1, 4 * BLOCK_BYTES);
    disk_write(file, &probe.io, block, 4 * BLOCK_BYTES, 0, 0, probe_done);
    block[2 * BLOCK_BYTES + 77] = 2;
    (void)probe_wait(&probe);
}

Test(sim_disk, changing_a_buffer_of_zeros_in_flight_is_a_bug, .signal = SIGABRT)
{
    struct probe probe = {0};
    memset(block, 0, 4 * BLOCK_BYTES);
    disk_write(file, &probe.io, block, 4 * BLOCK_BYTES, 0, 0, probe_done);
    block[4 * BLOCK_BYTES - 1] = 2;
    (void)probe_wait(&probe);
}

/* ---- looking --------------------------------------------------------------------------------------- */

static void note_name(void *user, const char *name, uint64_t bytes)
{
    char *names = user;
    cr_assert(bytes == 0 || strcmp(name, "segment") == 0);
    strcat(strcat(names, name), " ");
}

Test(sim_disk, knows_its_files_in_order)
{
    struct disk_file *others[3];
    char names[100] = "";
    uint64_t bytes;
    cr_assert_eq(disk_file_open(disk, "zebra", true, &others[0]), STATUS_OK);
    cr_assert_eq(disk_file_open(disk, "ant", true, &others[1]), STATUS_OK);
    cr_assert_eq(disk_file_open(disk, "segment-2", true, &others[2]), STATUS_OK);
    sim_disk_each_file(sim, note_name, names);
    cr_assert_str_eq(names, "ant segment segment-2 zebra ");
    cr_assert(sim_disk_file_bytes(sim, "segment", &bytes));
    cr_assert_eq(bytes, FILE_BYTES);
    cr_assert_not(sim_disk_file_bytes(sim, "segmen", &bytes));
}

Test(sim_disk, copies_from_either_image_at_any_alignment)
{
    uint8_t copy[BLOCK_BYTES];
    cr_assert_eq(write_filled(1, 2 * BLOCK_BYTES, 0, DISK_DURABLE), STATUS_OK);
    cr_assert_eq(write_filled(2, BLOCK_BYTES, BLOCK_BYTES, 0), STATUS_OK);
    cr_assert(sim_disk_copy(sim, SIM_DISK_CACHE, "segment", BLOCK_BYTES - 3, copy, 7));
    cr_assert_arr_eq(copy, ((uint8_t[]){1, 1, 1, 2, 2, 2, 2}), 7);
    cr_assert(sim_disk_copy(sim, SIM_DISK_DURABLE, "segment", 2 * BLOCK_BYTES - 3, copy, 5));
    cr_assert_arr_eq(copy, ((uint8_t[]){1, 1, 1, 0, 0}), 5);
    cr_assert(sim_disk_copy(sim, SIM_DISK_CACHE, "segment", FILE_BYTES - 1, copy, 1));
    cr_assert_not(sim_disk_copy(sim, SIM_DISK_CACHE, "segment", FILE_BYTES - 1, copy, 2));
    cr_assert_not(sim_disk_copy(sim, SIM_DISK_CACHE, "other", 0, copy, 1));
}

struct seen_blocks {
    unsigned count;
    uint64_t offsets[FILE_BLOCKS];
    uint8_t fills[FILE_BLOCKS];
};

static void note_block(void *user, const char *name, uint64_t offset, const uint8_t bytes[BLOCK_BYTES])
{
    struct seen_blocks *seen = user;
    cr_assert_str_eq(name, "segment");
    seen->offsets[seen->count] = offset;
    seen->fills[seen->count++] = bytes[BLOCK_BYTES - 1];
}

Test(sim_disk, walks_the_blocks_that_are_not_zero)
{
    struct seen_blocks durable = {0};
    struct seen_blocks cache = {0};
    cr_assert_eq(write_filled(0, FILE_BYTES, 0, DISK_DURABLE), STATUS_OK);
    cr_assert_eq(write_filled(3, BLOCK_BYTES, 9 * BLOCK_BYTES, DISK_DURABLE), STATUS_OK);
    cr_assert_eq(write_filled(4, BLOCK_BYTES, 5 * BLOCK_BYTES, DISK_DURABLE), STATUS_OK);
    cr_assert_eq(write_filled(0, BLOCK_BYTES, 9 * BLOCK_BYTES, 0), STATUS_OK);
    sim_disk_each_block(sim, SIM_DISK_DURABLE, note_block, &durable);
    sim_disk_each_block(sim, SIM_DISK_CACHE, note_block, &cache);
    cr_assert_eq(durable.count, 2);
    cr_assert(durable.offsets[0] == 5 * BLOCK_BYTES && durable.fills[0] == 4);
    cr_assert(durable.offsets[1] == 9 * BLOCK_BYTES && durable.fills[1] == 3);
    cr_assert_eq(cache.count, 1);
    cr_assert_eq(cache.offsets[0], 5 * BLOCK_BYTES);
}

Test(sim_disk, shows_stable_storage_as_it_is_now_not_as_it_was_at_the_last_look)
{
    uint64_t bytes;
    cr_assert_eq(write_filled(1, BLOCK_BYTES, 0, 0), STATUS_OK);
    cr_assert_eq(sim_disk_bytes(sim, "segment", &bytes)[0], 0);
    cr_assert_eq(bytes, FILE_BYTES);
    cr_assert_eq(flush(), STATUS_OK);
    cr_assert_eq(sim_disk_bytes(sim, "segment", &bytes)[0], 1);
    sim_disk_corrupt(sim, "segment", 0, 0x80);
    cr_assert_eq(sim_disk_bytes(sim, "segment", &bytes)[0], 0x81);
    cr_assert_eq(allocate(2 * FILE_BYTES), STATUS_OK);
    cr_assert_eq(sim_disk_bytes(sim, "segment", &bytes)[2 * FILE_BYTES - 1], 0);
    cr_assert_eq(bytes, 2 * FILE_BYTES);
}

Test(sim_disk, uses_no_memory_for_zeros_and_one_block_for_equal_content)
{
    static const uint8_t zeros[BLOCK_BYTES];
    struct sim_blocks blocks = {0};
    struct sim_file *image = sim_file_new(&blocks, "image");
    sim_file_grow(image, MIB(16));
    struct sim_block *zero = sim_block_of(&blocks, zeros);
    for (uint64_t index = 0; index < MIB(16) / BLOCK_BYTES; index++) {
        sim_file_put(image, index, zero, 1);
    }
    sim_file_log(image, 0, MIB(16) / BLOCK_BYTES, 1);
    cr_assert_null(blocks.slabs);

    memset(block, 1, BLOCK_BYTES);
    struct sim_block *one = sim_block_of(&blocks, block);
    struct sim_block *same = sim_block_of(&blocks, block);
    sim_file_put(image, 7, one, 2);
    sim_file_log(image, 7, 1, 2);
    sim_file_flush(image, 2);
    cr_assert_eq(image->places[7].image[SIM_DISK_DURABLE], one);
    cr_assert_eq(image->places[7].image[SIM_DISK_CACHE], one);
    cr_assert_eq(image->dirty_count, 0);
    sim_file_put(image, 7, zero, 3);
    sim_file_put(image, 7, same, 4);
    cr_assert_eq(image->places[7].image[SIM_DISK_CACHE], one);
    cr_assert_eq(one->references, 3);
    sim_block_release(&blocks, one);
    sim_block_release(&blocks, same);
    list_link_init(&image->link);
    sim_file_free(image);
    sim_blocks_deinit(&blocks);
}

struct listener {
    struct sim_disk_observer base;
    unsigned writes;
    uint64_t bytes;
    uint8_t old_fill;
    uint8_t new_fill;
};

static void listener_writing(struct sim_disk_observer *base, struct sim_disk *where, const char *name, uint64_t offset,
                             const uint8_t *content, size_t bytes)
{
    struct listener *listener = CONTAINER_OF(base, struct listener, base);
    cr_assert(sim_disk_copy(where, SIM_DISK_CACHE, name, offset, &listener->old_fill, 1));
    listener->new_fill = content[bytes - 1];
    listener->bytes += bytes;
    listener->writes++;
}

Test(sim_disk, tells_of_writes_before_they_are_applied)
{
    struct listener listener = {.base = {listener_writing}};
    cr_assert_eq(write_filled(1, BLOCK_BYTES, 0, 0), STATUS_OK);
    sim_disk_observe(sim, &listener.base);
    cr_assert_eq(write_filled(2, BLOCK_BYTES, 0, 0), STATUS_OK);
    cr_assert_eq(listener.writes, 1);
    cr_assert(listener.old_fill == 1 && listener.new_fill == 2);
    always(SIM_DISK_LOST_WRITE);
    cr_assert_eq(write_filled(3, BLOCK_BYTES, 0, 0), STATUS_OK);
    cr_assert_eq(write_filled(4, BLOCK_BYTES, 0, 0), STATUS_OK);
    cr_assert_eq(listener.writes, 3);
    cr_assert(listener.old_fill == 2 && listener.new_fill == 4);
    always(SIM_DISK_WRITE_ERROR);
    cr_assert_eq(write_filled(5, BLOCK_BYTES, 0, 0), STATUS_IO);
    cr_assert_eq(listener.writes, 3);
    always(SIM_DISK_SHORT);
    cr_assert_eq(write_filled(6, FILE_BYTES, 0, 0), STATUS_OK);
    cr_assert_eq(listener.bytes, 3 * BLOCK_BYTES + FILE_BYTES);
    cr_assert_gt(listener.writes, 4);
    sim_disk_observe(sim, NULL);
    cr_assert_eq(write_filled(7, BLOCK_BYTES, 0, 0), STATUS_OK);
    cr_assert_eq(listener.new_fill, 6);
}

static uint64_t trace_of(uint8_t fill, uint64_t offset, enum sim_disk_fault fault)
{
    teardown();
    setup();
    always(fault);
    (void)write_filled(fill, BLOCK_BYTES, offset, 0);
    return sim_loop_trace(loop);
}

Test(sim_disk, tells_the_trace_what_became_of_io)
{
    uint64_t trace = trace_of(1, 0, SIM_DISK_FAULTS);
    cr_assert_eq(trace_of(1, 0, SIM_DISK_FAULTS), trace);
    cr_assert_neq(trace_of(2, 0, SIM_DISK_FAULTS), trace);
    cr_assert_neq(trace_of(1, BLOCK_BYTES, SIM_DISK_FAULTS), trace);
    cr_assert_neq(trace_of(1, 0, SIM_DISK_WRITE_ERROR), trace);
}
