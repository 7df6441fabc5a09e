/* test_sim_disk_faults.c - each fault of the simulated disk does what its name says, is counted when it did, and marks
 * what the device put somewhere by itself. */
#include "tests/unit/sim_disk_fixture.h"

TestSuite(sim_disk_faults, .init = setup, .fini = teardown);

static uint64_t count_of(enum sim_disk_fault fault)
{
    return sim_disk_fault_count(sim, fault);
}

/* How many blocks of the file are stray. */
static unsigned stray_blocks(void)
{
    unsigned count = 0;
    for (uint64_t offset = 0; offset < FILE_BYTES; offset += BLOCK_BYTES) {
        count += sim_disk_is_stray(sim, "segment", offset) ? 1 : 0;
    }
    return count;
}

Test(sim_disk_faults, have_names_of_their_own)
{
    for (int a = 0; a < SIM_DISK_FAULTS; a++) {
        cr_assert_not_null(sim_disk_fault_name((enum sim_disk_fault)a));
        for (int b = 0; b < a; b++) {
            cr_assert_str_neq(sim_disk_fault_name((enum sim_disk_fault)a), sim_disk_fault_name((enum sim_disk_fault)b));
        }
    }
}

Test(sim_disk_faults, do_not_happen_unasked)
{
    for (unsigned round = 0; round < 50; round++) {
        cr_assert_eq(write_filled((uint8_t)round, FILE_BYTES, 0, round % 2 == 0 ? DISK_DURABLE : 0), STATUS_OK);
        cr_assert_eq(read_back(FILE_BYTES, 0), STATUS_OK);
        cr_assert_eq(flush(), STATUS_OK);
    }
    for (int fault = 0; fault < SIM_DISK_FAULTS; fault++) {
        cr_assert_eq(count_of((enum sim_disk_fault)fault), 0);
    }
    cr_assert_eq(stray_blocks(), 0);
}

/* ---- lost and misdirected writes ------------------------------------------------------------------- */

Test(sim_disk_faults, a_lost_write_leaves_both_images_old)
{
    cr_assert_eq(write_filled(1, 2 * BLOCK_BYTES, 0, DISK_DURABLE), STATUS_OK);
    always(SIM_DISK_LOST_WRITE);
    cr_assert_eq(write_filled(2, BLOCK_BYTES, 0, DISK_DURABLE), STATUS_OK);
    cr_assert_eq(flush(), STATUS_OK);
    cr_assert(holds(SIM_DISK_CACHE, 1, 0, 2 * BLOCK_BYTES));
    cr_assert(holds(SIM_DISK_DURABLE, 1, 0, 2 * BLOCK_BYTES));
    cr_assert_eq(count_of(SIM_DISK_LOST_WRITE), 1);
    cr_assert(sim_disk_is_stray(sim, "segment", 0));
    cr_assert_eq(stray_blocks(), 1);

    cr_assert_eq(write_filled(1, 2 * BLOCK_BYTES, 0, DISK_DURABLE), STATUS_OK);
    cr_assert_eq(count_of(SIM_DISK_LOST_WRITE), 1, "nothing was lost");
    never();
    cr_assert_eq(write_filled(3, BLOCK_BYTES, 0, DISK_DURABLE), STATUS_OK);
    cr_assert_eq(stray_blocks(), 0);
}

Test(sim_disk_faults, a_misdirected_write_lands_elsewhere_in_the_same_file)
{
    for (uint8_t round = 1; round <= 40; round++) {
        cr_assert_eq(write_filled(0, FILE_BYTES, 0, DISK_DURABLE), STATUS_OK);
        cr_assert_eq(write_filled(100, 2 * BLOCK_BYTES, 8 * BLOCK_BYTES, DISK_DURABLE), STATUS_OK);
        cr_assert_eq(stray_blocks(), 0);
        always(SIM_DISK_MISDIRECTED);
        cr_assert_eq(write_filled(round, 2 * BLOCK_BYTES, 8 * BLOCK_BYTES, round % 2 == 0 ? DISK_DURABLE : 0),
                     STATUS_OK);
        never();
        cr_assert(holds(SIM_DISK_CACHE, 100, 8 * BLOCK_BYTES, 2 * BLOCK_BYTES), "the target stays old");
        cr_assert_eq(sectors_of(SIM_DISK_CACHE, round, 0, FILE_BYTES), 2 * BLOCK_SECTORS);
        unsigned durable = sectors_of(SIM_DISK_DURABLE, round, 0, FILE_BYTES);
        cr_assert_eq(durable, round % 2 == 0 ? 2 * BLOCK_SECTORS : 0);
        cr_assert_eq(stray_blocks(), 4, "where it landed, and where it did not");
        cr_assert_eq(count_of(SIM_DISK_MISDIRECTED), round);
    }
}

Test(sim_disk_faults, what_a_crash_leaves_of_a_misdirected_write_is_stray)
{
    unsigned left = 0;
    for (unsigned round = 0; round < 20; round++) {
        always(SIM_DISK_MISDIRECTED);
        cr_assert_eq(write_filled(7, BLOCK_BYTES, 0, 0), STATUS_OK);
        never();
        sim_disk_crash(sim);
        file_reopen();
        for (uint64_t offset = 0; offset < FILE_BYTES; offset += BLOCK_BYTES) {
            if (sectors_of(SIM_DISK_DURABLE, 7, offset, BLOCK_BYTES) > 0) {
                cr_assert(sim_disk_is_stray(sim, "segment", offset));
                left++;
            }
        }
        cr_assert_eq(write_filled(0, FILE_BYTES, 0, DISK_DURABLE), STATUS_OK);
    }
    cr_assert_gt(left, 15);
}

Test(sim_disk_faults, a_misdirected_write_lands_in_other_files_too)
{
    struct disk_file *first = file;
    cr_assert_eq(disk_file_open(disk, "other", true, &file), STATUS_OK);
    cr_assert_eq(allocate(FILE_BYTES), STATUS_OK);
    struct disk_file *small;
    cr_assert_eq(disk_file_open(disk, "small", true, &small), STATUS_OK);
    file = first;
    always(SIM_DISK_MISDIRECTED);
    unsigned in_other = 0;
    for (uint8_t round = 1; round <= 40; round++) {
        uint8_t content[FILE_BYTES];
        cr_assert_eq(write_filled(round, BLOCK_BYTES, 0, 0), STATUS_OK);
        cr_assert(sim_disk_copy(sim, SIM_DISK_CACHE, "other", 0, content, FILE_BYTES));
        for (uint64_t at = 0; at < FILE_BYTES; at += BLOCK_BYTES) {
            if (content[at] == round) {
                cr_assert(sim_disk_is_stray(sim, "other", at));
                in_other++;
            }
        }
    }
    cr_assert(in_other > 5 && in_other < 35, "%u", in_other);
}

Test(sim_disk_faults, a_misdirected_write_goes_to_its_target_when_there_is_no_other_place)
{
    always(SIM_DISK_MISDIRECTED);
    cr_assert_eq(write_filled(1, FILE_BYTES, 0, 0), STATUS_OK);
    cr_assert(holds(SIM_DISK_CACHE, 1, 0, FILE_BYTES));
    cr_assert_eq(count_of(SIM_DISK_MISDIRECTED), 0);
    cr_assert_eq(stray_blocks(), 0);
}

Test(sim_disk_faults, what_a_good_write_covered_is_stray_again_when_a_crash_brings_it_back)
{
    unsigned back = 0;
    unsigned gone = 0;
    for (unsigned round = 0; round < 1500; round++) {
        cr_assert_eq(write_filled(1, BLOCK_BYTES, 0, DISK_DURABLE), STATUS_OK);
        always(SIM_DISK_LOST_WRITE);
        cr_assert_eq(write_filled(2, BLOCK_BYTES, 0, DISK_DURABLE), STATUS_OK);
        never();
        struct probe probe = {0};
        memset(block, 3, BLOCK_BYTES);
        disk_write(file, &probe.io, block, BLOCK_BYTES, 0, 0, probe_done);
        if (round % 2 == 0) {
            cr_assert_eq(probe_wait(&probe), STATUS_OK);
        }
        sim_disk_crash(sim);
        bool has_old = sectors_of(SIM_DISK_DURABLE, 1, 0, BLOCK_BYTES) > 0;
        cr_assert_eq(sim_disk_is_stray(sim, "segment", 0), has_old);
        back += has_old ? 1 : 0;
        gone += has_old ? 0 : 1;
        file_reopen();
    }
    cr_assert_gt(back, 100);
    cr_assert_gt(gone, 0);
}

/* ---- lost flushes ---------------------------------------------------------------------------------- */

Test(sim_disk_faults, a_lost_flush_makes_nothing_durable)
{
    always(SIM_DISK_LOST_FLUSH);
    cr_assert_eq(write_filled(1, FILE_BYTES, 0, 0), STATUS_OK);
    cr_assert_eq(flush(), STATUS_OK);
    cr_assert(holds(SIM_DISK_CACHE, 1, 0, FILE_BYTES));
    cr_assert(holds(SIM_DISK_DURABLE, 0, 0, FILE_BYTES));
    cr_assert_eq(count_of(SIM_DISK_LOST_FLUSH), 1);
    cr_assert_eq(stray_blocks(), 0, "nothing is wrong before the power goes");
}

Test(sim_disk_faults, a_flush_with_nothing_at_stake_is_not_counted_as_lost)
{
    always(SIM_DISK_LOST_FLUSH);
    cr_assert_eq(flush(), STATUS_OK);
    cr_assert_eq(write_filled(0, FILE_BYTES, 0, 0), STATUS_OK);
    cr_assert_eq(flush(), STATUS_OK);
    cr_assert_eq(count_of(SIM_DISK_LOST_FLUSH), 0);
}

Test(sim_disk_faults, the_next_honest_flush_makes_up_for_a_lost_one)
{
    always(SIM_DISK_LOST_FLUSH);
    cr_assert_eq(write_filled(1, FILE_BYTES, 0, 0), STATUS_OK);
    cr_assert_eq(flush(), STATUS_OK);
    never();
    cr_assert_eq(flush(), STATUS_OK);
    sim_disk_crash(sim);
    cr_assert(holds(SIM_DISK_DURABLE, 1, 0, FILE_BYTES));
    cr_assert_eq(stray_blocks(), 0);
}

/* After a crash that follows a lie about content 2 over 1: a block is stray unless it is whole. */
static void assert_stray_unless_whole(void)
{
    unsigned whole = 0;
    for (uint64_t offset = 0; offset < FILE_BYTES; offset += BLOCK_BYTES) {
        bool is_whole = holds(SIM_DISK_DURABLE, 2, offset, BLOCK_BYTES);
        cr_assert_eq(sim_disk_is_stray(sim, "segment", offset), !is_whole);
        whole += is_whole ? 1 : 0;
    }
    cr_assert_lt(whole, FILE_BLOCKS / 4);
}

Test(sim_disk_faults, a_crash_after_a_lost_flush_brings_back_what_is_stray)
{
    cr_assert_eq(write_filled(1, FILE_BYTES, 0, DISK_DURABLE), STATUS_OK);
    always(SIM_DISK_LOST_FLUSH);
    cr_assert_eq(write_filled(2, FILE_BYTES, 0, 0), STATUS_OK);
    cr_assert_eq(flush(), STATUS_OK);
    sim_disk_crash(sim);
    assert_stray_unless_whole();
}

Test(sim_disk_faults, a_durable_write_can_be_lied_about_too)
{
    cr_assert_eq(write_filled(1, FILE_BYTES, 0, DISK_DURABLE), STATUS_OK);
    always(SIM_DISK_LOST_FLUSH);
    cr_assert_eq(write_filled(2, FILE_BYTES, 0, DISK_DURABLE), STATUS_OK);
    cr_assert_eq(count_of(SIM_DISK_LOST_FLUSH), 1);
    cr_assert(holds(SIM_DISK_CACHE, 2, 0, FILE_BYTES));
    cr_assert(holds(SIM_DISK_DURABLE, 1, 0, FILE_BYTES));
    sim_disk_crash(sim);
    assert_stray_unless_whole();
}

Test(sim_disk_faults, after_a_lost_flush_and_another_write_only_what_is_older_than_both_is_stray)
{
    unsigned stray = 0;
    cr_assert_eq(write_filled(1, FILE_BYTES, 0, DISK_DURABLE), STATUS_OK);
    always(SIM_DISK_LOST_FLUSH);
    cr_assert_eq(write_filled(2, FILE_BYTES, 0, 0), STATUS_OK);
    cr_assert_eq(flush(), STATUS_OK);
    cr_assert_eq(write_filled(3, FILE_BYTES, 0, 0), STATUS_OK);
    sim_disk_crash(sim);
    for (uint64_t offset = 0; offset < FILE_BYTES; offset += BLOCK_BYTES) {
        if (sectors_of(SIM_DISK_DURABLE, 1, offset, BLOCK_BYTES) > 0) {
            cr_assert(sim_disk_is_stray(sim, "segment", offset));
            stray++;
        } else if (holds(SIM_DISK_DURABLE, 3, offset, BLOCK_BYTES)) {
            cr_assert_not(sim_disk_is_stray(sim, "segment", offset));
        }
    }
    cr_assert_gt(stray, 0);
}

Test(sim_disk_faults, a_sector_that_is_as_promised_is_not_stray)
{
    unsigned sound = 0;
    for (unsigned round = 0; round < 60; round++) {
        struct probe probe = {0};
        cr_assert_eq(write_filled(1, BLOCK_BYTES, 0, DISK_DURABLE), STATUS_OK);
        always(SIM_DISK_LOST_FLUSH);
        memset(block + 3 * SIM_DISK_SECTOR_BYTES, 2, SIM_DISK_SECTOR_BYTES);
        disk_write(file, &probe.io, block, BLOCK_BYTES, 0, 0, probe_done);
        cr_assert_eq(probe_wait(&probe), STATUS_OK);
        cr_assert_eq(flush(), STATUS_OK);
        cr_assert_eq(write_filled(3, BLOCK_BYTES, 0, 0), STATUS_OK);
        sim_disk_crash(sim);
        unsigned kept = sectors_of(SIM_DISK_DURABLE, 1, 0, BLOCK_BYTES);
        if (kept + sectors_of(SIM_DISK_DURABLE, 3, 0, BLOCK_BYTES) == BLOCK_SECTORS) { /* no garbage */
            bool is_older = holds(SIM_DISK_DURABLE, 1, 3 * SIM_DISK_SECTOR_BYTES, SIM_DISK_SECTOR_BYTES);
            cr_assert_eq(sim_disk_is_stray(sim, "segment", 0), is_older);
            sound += !is_older && kept > 0 ? 1 : 0;
        }
        never();
        file_reopen();
    }
    cr_assert_gt(sound, 5);
}

Test(sim_disk_faults, a_flush_that_fails_after_one_that_was_lost_leaves_stray_what_it_drops)
{
    cr_assert_eq(write_filled(1, FILE_BYTES, 0, DISK_DURABLE), STATUS_OK);
    always(SIM_DISK_LOST_FLUSH);
    cr_assert_eq(write_filled(2, FILE_BYTES, 0, 0), STATUS_OK);
    cr_assert_eq(flush(), STATUS_OK);
    always(SIM_DISK_FLUSH_ERROR);
    cr_assert_eq(flush(), STATUS_IO);
    assert_stray_unless_whole();
}

/* ---- errors ---------------------------------------------------------------------------------------- */

Test(sim_disk_faults, a_read_error_happens_once)
{
    cr_assert_eq(write_filled(1, BLOCK_BYTES, 0, 0), STATUS_OK);
    always(SIM_DISK_READ_ERROR);
    cr_assert_eq(read_back(BLOCK_BYTES, 0), STATUS_IO);
    cr_assert_eq(count_of(SIM_DISK_READ_ERROR), 1);
    never();
    cr_assert_eq(read_back(BLOCK_BYTES, 0), STATUS_OK);
    cr_assert_eq(block[0], 1);
}

Test(sim_disk_faults, a_write_error_leaves_some_sectors)
{
    always(SIM_DISK_WRITE_ERROR);
    cr_assert_eq(write_filled(1, FILE_BYTES, 0, 0), STATUS_IO);
    unsigned sectors = sectors_of(SIM_DISK_CACHE, 1, 0, FILE_BYTES);
    cr_assert(sectors > FILE_SECTORS / 4 && sectors < FILE_SECTORS * 3 / 4);
    cr_assert_eq(count_of(SIM_DISK_WRITE_ERROR), 1);
    never();
    cr_assert_eq(flush(), STATUS_OK);
    cr_assert_eq(sectors_of(SIM_DISK_DURABLE, 1, 0, FILE_BYTES), sectors);
}

Test(sim_disk_faults, a_flush_error_drops_what_was_dirty)
{
    cr_assert_eq(write_filled(1, FILE_BYTES, 0, 0), STATUS_OK);
    always(SIM_DISK_FLUSH_ERROR);
    cr_assert_eq(flush(), STATUS_IO);
    unsigned sectors = sectors_of(SIM_DISK_DURABLE, 1, 0, FILE_BYTES);
    cr_assert(sectors > FILE_SECTORS / 4 && sectors < FILE_SECTORS * 3 / 4);
    cr_assert_eq(sectors_of(SIM_DISK_CACHE, 1, 0, FILE_BYTES), sectors);
    cr_assert_eq(sectors_of(SIM_DISK_CACHE, 0, 0, FILE_BYTES), FILE_SECTORS - sectors);
    cr_assert_eq(count_of(SIM_DISK_FLUSH_ERROR), 1);
    cr_assert_eq(count_of(SIM_DISK_GARBAGE), 0);
}

Test(sim_disk_faults, full_is_told_to_allocations_and_new_files)
{
    struct disk_file *other;
    always(SIM_DISK_FULL);
    cr_assert_eq(allocate(2 * FILE_BYTES), STATUS_FULL);
    cr_assert_eq(file->bytes, FILE_BYTES);
    cr_assert_eq(disk_file_open(disk, "other", true, &other), STATUS_FULL);
    cr_assert_eq(count_of(SIM_DISK_FULL), 2);
    cr_assert_eq(disk_file_open(disk, "segment", true, &other), STATUS_OK);
    cr_assert_eq(write_filled(1, BLOCK_BYTES, 0, 0), STATUS_OK);
    never();
    cr_assert_eq(disk_file_open(disk, "other", false, &other), STATUS_NOT_FOUND);
    cr_assert_eq(allocate(2 * FILE_BYTES), STATUS_OK);
}

/* ---- what goes bad at rest -------------------------------------------------------------------------- */

Test(sim_disk_faults, a_latent_sector_cannot_be_read_until_it_is_written)
{
    cr_assert_not(sim_disk_rot(sim, SIM_DISK_LATENT), "there is nothing to go bad");
    cr_assert_eq(write_filled(1, BLOCK_BYTES, 5 * BLOCK_BYTES, DISK_DURABLE), STATUS_OK);
    cr_assert(sim_disk_rot(sim, SIM_DISK_LATENT));
    cr_assert_eq(count_of(SIM_DISK_LATENT), 1);
    cr_assert_eq(read_back(BLOCK_BYTES, 5 * BLOCK_BYTES), STATUS_IO);
    cr_assert_eq(read_back(FILE_BYTES, 0), STATUS_IO);
    cr_assert_eq(read_back(5 * BLOCK_BYTES, 0), STATUS_OK);
    cr_assert_eq(read_back(BLOCK_BYTES, 6 * BLOCK_BYTES), STATUS_OK);
    sim_disk_crash(sim);
    file_reopen();
    cr_assert_eq(read_back(BLOCK_BYTES, 5 * BLOCK_BYTES), STATUS_IO);

    cr_assert_eq(write_filled(2, BLOCK_BYTES, 5 * BLOCK_BYTES, 0), STATUS_OK);
    cr_assert_eq(read_back(FILE_BYTES, 0), STATUS_OK);
    cr_assert_eq(flush(), STATUS_OK);
    sim_disk_crash(sim);
    file_reopen();
    cr_assert_eq(read_back(FILE_BYTES, 0), STATUS_OK);
}

Test(sim_disk_faults, a_latent_sector_is_still_there_when_the_write_over_it_did_not_last)
{
    unsigned unreadable = 0;
    unsigned readable = 0;
    for (unsigned round = 0; round < 40; round++) {
        cr_assert_eq(write_filled(1, BLOCK_BYTES, 0, DISK_DURABLE), STATUS_OK);
        cr_assert(sim_disk_rot(sim, SIM_DISK_LATENT));
        cr_assert_eq(write_filled(2, BLOCK_BYTES, 0, 0), STATUS_OK);
        sim_disk_crash(sim);
        file_reopen();
        enum status status = read_back(BLOCK_BYTES, 0);
        unreadable += status == STATUS_IO ? 1 : 0;
        readable += status == STATUS_OK ? 1 : 0;
    }
    cr_assert_gt(unreadable, 5);
    cr_assert_gt(readable, 5);
}

Test(sim_disk_faults, rot_flips_a_bit_or_ruins_a_sector_or_a_block)
{
    static const enum sim_disk_fault kinds[] = {SIM_DISK_ROT_BIT, SIM_DISK_ROT_SECTOR, SIM_DISK_ROT_BLOCK};
    static const unsigned bits_min[] = {1, 1000, 10000};
    static const unsigned bits_max[] = {1, 3000, 20000};
    static const unsigned sectors[] = {1, 1, BLOCK_SECTORS};
    for (size_t kind = 0; kind < ARRAY_LENGTH(kinds); kind++) {
        cr_assert_eq(write_filled(0x55, BLOCK_BYTES, 9 * BLOCK_BYTES, DISK_DURABLE), STATUS_OK);
        cr_assert_eq(stray_blocks(), 0);
        cr_assert(sim_disk_rot(sim, kinds[kind]));
        cr_assert_eq(count_of(kinds[kind]), 1);
        cr_assert_eq(sectors_of(SIM_DISK_DURABLE, 0, 0, FILE_BYTES), FILE_SECTORS - BLOCK_SECTORS);
        cr_assert_eq(sectors_of(SIM_DISK_DURABLE, 0x55, 0, FILE_BYTES), BLOCK_SECTORS - sectors[kind]);
        cr_assert(sim_disk_is_stray(sim, "segment", 9 * BLOCK_BYTES));
        cr_assert_eq(stray_blocks(), 1);
        cr_assert_eq(read_back(BLOCK_BYTES, 9 * BLOCK_BYTES), STATUS_OK);
        unsigned bits = 0;
        for (size_t i = 0; i < BLOCK_BYTES; i++) {
            bits += (unsigned)__builtin_popcount(block[i] ^ 0x55u);
        }
        cr_assert(bits >= bits_min[kind] && bits <= bits_max[kind], "%u bits", bits);
    }
}

Test(sim_disk_faults, rot_finds_every_place_that_is_not_zero)
{
    bool hit[4] = {false};
    cr_assert_not(sim_disk_rot(sim, SIM_DISK_ROT_BIT));
    cr_assert_eq(write_filled(1, BLOCK_BYTES, 0, 0), STATUS_OK);
    cr_assert_not(sim_disk_rot(sim, SIM_DISK_ROT_BIT), "it is not on the medium yet");
    cr_assert_eq(flush(), STATUS_OK);
    cr_assert_eq(write_filled(2, BLOCK_BYTES, 0, 0), STATUS_OK);
    cr_assert_not(sim_disk_rot(sim, SIM_DISK_ROT_BIT), "something newer is on its way over it");
    for (unsigned round = 0; round < 60; round++) {
        cr_assert_eq(write_filled(1, 4 * BLOCK_BYTES, 0, DISK_DURABLE), STATUS_OK);
        cr_assert(sim_disk_rot(sim, SIM_DISK_ROT_BIT));
        for (unsigned i = 0; i < 4; i++) {
            hit[i] = hit[i] || sim_disk_is_stray(sim, "segment", i * BLOCK_BYTES);
        }
    }
    cr_assert(hit[0] && hit[1] && hit[2] && hit[3]);
}

Test(sim_disk_faults, things_go_bad_by_chance_while_others_are_written)
{
    static const enum sim_disk_fault kinds[] = {SIM_DISK_ROT_BIT, SIM_DISK_ROT_SECTOR, SIM_DISK_ROT_BLOCK,
                                                SIM_DISK_LATENT};
    cr_assert_eq(write_filled(1, FILE_BYTES, 0, DISK_DURABLE), STATUS_OK);
    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
        struct sim_disk_faults faults = {0};
        faults.ppm[kinds[i]] = ALWAYS / 4;
        sim_disk_set_faults(sim, &faults);
        for (unsigned round = 0; round < 100; round++) {
            cr_assert_eq(write_filled(2, BLOCK_BYTES, 0, 0), STATUS_OK);
        }
        cr_assert(count_of(kinds[i]) > 10 && count_of(kinds[i]) < 45, "%lu", count_of(kinds[i]));
    }
}

/* ---- time ------------------------------------------------------------------------------------------ */

static uint64_t duration_of_a_read(void)
{
    uint64_t start_ns = loop_now_ns(sim_loop_interface(loop));
    cr_assert_eq(read_back(BLOCK_BYTES, 0), STATUS_OK);
    return loop_now_ns(sim_loop_interface(loop)) - start_ns;
}

Test(sim_disk_faults, a_slow_io_takes_ten_to_a_thousand_times_as_long)
{
    /* Of two disks with one seed, each latency of the slow one is that of the other, times the factor. */
    uint64_t sound_ns[30];
    for (size_t i = 0; i < ARRAY_LENGTH(sound_ns); i++) {
        sound_ns[i] = duration_of_a_read();
        cr_assert(sound_ns[i] >= 20 * NS_PER_US && sound_ns[i] <= 200 * NS_PER_US);
    }
    teardown();
    setup();
    always(SIM_DISK_SLOW);
    for (size_t i = 0; i < ARRAY_LENGTH(sound_ns); i++) {
        uint64_t slow_ns = duration_of_a_read();
        cr_assert(slow_ns % sound_ns[i] == 0 && slow_ns >= 10 * sound_ns[i] && slow_ns <= 1000 * sound_ns[i]);
    }
    cr_assert_eq(count_of(SIM_DISK_SLOW), ARRAY_LENGTH(sound_ns));
}

Test(sim_disk_faults, a_slow_disk_is_slow_until_told_otherwise)
{
    uint64_t first_ns = duration_of_a_read();
    uint64_t second_ns = duration_of_a_read();
    teardown();
    setup();
    sim_disk_slow(sim, 100000);
    cr_assert_eq(duration_of_a_read(), 100000 * first_ns);
    sim_disk_slow(sim, 1);
    cr_assert_eq(duration_of_a_read(), second_ns);
}

Test(sim_disk_faults, stuck_io_completes_when_the_disk_is_healed)
{
    struct probe probes[2] = {0};
    always(SIM_DISK_STUCK);
    memset(block, 1, BLOCK_BYTES);
    disk_write(file, &probes[0].io, block, BLOCK_BYTES, 0, 0, probe_done);
    disk_flush(file, &probes[1].io, probe_done);
    sim_loop_run_for(loop, 3600 * NS_PER_S);
    cr_assert(!probes[0].done && !probes[1].done);
    cr_assert_eq(count_of(SIM_DISK_STUCK), 2);
    cr_assert(holds(SIM_DISK_CACHE, 0, 0, BLOCK_BYTES));
    sim_disk_heal(sim);
    cr_assert(!probes[0].done && !probes[1].done, "never inside the call");
    sim_loop_run_for(loop, NS_PER_MS);
    cr_assert(probes[0].done && probes[1].done);
    cr_assert(probes[0].status == STATUS_OK && probes[1].status == STATUS_OK);
    cr_assert(holds(SIM_DISK_CACHE, 1, 0, BLOCK_BYTES));
}

Test(sim_disk_faults, stuck_io_vanishes_in_a_crash)
{
    struct probe probe = {0};
    always(SIM_DISK_STUCK);
    memset(block, 1, FILE_BYTES);
    disk_write(file, &probe.io, block, FILE_BYTES, 0, 0, probe_done);
    sim_disk_crash(sim);
    sim_disk_heal(sim);
    sim_loop_run_until_idle(loop);
    cr_assert_not(probe.done);
    cr_assert_gt(sectors_of(SIM_DISK_DURABLE, 1, 0, FILE_BYTES), FILE_SECTORS / 4);
}

Test(sim_disk_faults, healing_ends_everything_but_damage)
{
    struct sim_disk_faults faults;
    for (int fault = 0; fault < SIM_DISK_FAULTS; fault++) {
        faults.ppm[fault] = ALWAYS;
    }
    cr_assert_eq(write_filled(1, BLOCK_BYTES, 0, DISK_DURABLE), STATUS_OK);
    sim_disk_corrupt(sim, "segment", 0, 1);
    sim_disk_set_faults(sim, &faults);
    sim_disk_slow(sim, 1000);
    sim_disk_limit_bytes(sim, FILE_BYTES);
    sim_disk_fail_after(sim, 1, STATUS_IO);
    sim_disk_fail_kinds(sim, 1u << DISK_WRITE);
    struct probe late = {0};
    never();
    disk_flush(file, &late.io, probe_done);
    sim_disk_set_faults(sim, &faults);
    sim_disk_heal(sim);
    sim_loop_run_for(loop, NS_PER_MS);
    cr_assert(late.done, "what was slow is not waited for");
    cr_assert_leq(duration_of_a_read(), 200 * NS_PER_US);
    cr_assert_eq(allocate(2 * FILE_BYTES), STATUS_OK);
    cr_assert(sim_disk_is_stray(sim, "segment", 0));
    cr_assert_eq(write_filled(2, FILE_BYTES, 0, 0), STATUS_OK);
    cr_assert_eq(flush(), STATUS_OK);
    cr_assert(holds(SIM_DISK_DURABLE, 2, 0, FILE_BYTES));
}

Test(sim_disk_faults, do_not_change_when_io_completes)
{
    /* Errors and lies leave every latency as it was. */
    static const enum sim_disk_fault kinds[] = {SIM_DISK_LOST_WRITE,  SIM_DISK_MISDIRECTED, SIM_DISK_LOST_FLUSH,
                                                SIM_DISK_WRITE_ERROR, SIM_DISK_FLUSH_ERROR, SIM_DISK_ROT_BIT,
                                                SIM_DISK_ROT_BLOCK};
    uint64_t sound_ns = 0;
    for (size_t kind = 0; kind <= ARRAY_LENGTH(kinds); kind++) {
        teardown();
        setup();
        if (kind > 0) {
            always(kinds[kind - 1]);
        }
        for (unsigned round = 0; round < 20; round++) {
            (void)write_filled((uint8_t)(round + 1), 2 * BLOCK_BYTES, 0, round % 2 == 0 ? DISK_DURABLE : 0);
            (void)flush();
        }
        uint64_t end_ns = loop_now_ns(sim_loop_interface(loop));
        sound_ns = kind == 0 ? end_ns : sound_ns;
        cr_assert_eq(end_ns, sound_ns);
        cr_assert(kind == 0 || count_of(kinds[kind - 1]) > 0);
    }
}

/* ---- short transfers ------------------------------------------------------------------------------- */

Test(sim_disk_faults, a_short_write_lets_other_io_in_between_and_is_whole_in_the_end)
{
    unsigned mixed = 0;
    always(SIM_DISK_SHORT);
    for (uint8_t round = 1; round <= 60; round++) {
        struct probe writing = {0};
        uint8_t *content = malloc(FILE_BYTES);
        cr_assert_not_null(content);
        memset(content, round, FILE_BYTES);
        disk_write(file, &writing.io, content, FILE_BYTES, 0, 0, probe_done);
        while (!writing.done) {
            unsigned fresh = sectors_of(SIM_DISK_CACHE, round, 0, FILE_BYTES);
            mixed += fresh > 0 && fresh < FILE_SECTORS ? 1 : 0;
            cr_assert(sim_loop_step(loop));
        }
        cr_assert_eq(writing.status, STATUS_OK);
        cr_assert(holds(SIM_DISK_CACHE, round, 0, FILE_BYTES));
        free(content);
    }
    cr_assert_gt(mixed, 59, "every one of them was seen in part");
    cr_assert_eq(count_of(SIM_DISK_SHORT), 60);
    cr_assert_eq(write_filled(200, BLOCK_BYTES, 0, 0), STATUS_OK);
    cr_assert_eq(count_of(SIM_DISK_SHORT), 60, "one block has no parts");
}

Test(sim_disk_faults, a_short_read_can_see_a_write_in_the_middle)
{
    unsigned mixed = 0;
    for (uint8_t round = 1; round <= 60; round++) {
        struct probe reading = {0};
        struct probe writing = {0};
        static uint8_t content[FILE_BYTES];
        static uint8_t result[FILE_BYTES];
        memset(content, round, FILE_BYTES);
        always(SIM_DISK_SHORT);
        disk_read(file, &reading.io, result, FILE_BYTES, 0, probe_done);
        never();
        disk_write(file, &writing.io, content, FILE_BYTES, 0, 0, probe_done);
        cr_assert_eq(probe_wait(&writing), STATUS_OK);
        cr_assert(reading.done || sim_loop_run_until(loop, &reading.done));
        cr_assert_eq(reading.status, STATUS_OK);
        cr_assert_eq(reading.io.bytes_done, FILE_BYTES);
        cr_assert(result[FILE_BYTES - 1] == round || result[FILE_BYTES - 1] == round - 1);
        mixed += result[0] != result[FILE_BYTES - 1] ? 1 : 0;
    }
    cr_assert_gt(mixed, 5);
}

Test(sim_disk_faults, a_short_write_of_a_killed_process_keeps_the_parts_that_were_done)
{
    unsigned partly = 0;
    unsigned further = 0;
    always(SIM_DISK_SHORT);
    for (uint8_t round = 1; round <= 40; round++) {
        struct probe writing = {0};
        memset(block, round, FILE_BYTES);
        disk_write(file, &writing.io, block, FILE_BYTES, 0, 0, probe_done);
        cr_assert(sim_loop_step(loop));
        unsigned before = sectors_of(SIM_DISK_CACHE, round, 0, FILE_BYTES);
        cr_assert_gt(before, 0);
        sim_disk_kill(sim);
        unsigned after = sectors_of(SIM_DISK_CACHE, round, 0, FILE_BYTES);
        cr_assert_geq(after, before);
        partly += after < FILE_SECTORS ? 1 : 0;
        further += after > before && after < FILE_SECTORS ? 1 : 0;
        file_reopen();
    }
    cr_assert_gt(partly, 5);
    cr_assert_gt(further, 5, "some blocks of the rest were written");
}

/* ---- crashes --------------------------------------------------------------------------------------- */

Test(sim_disk_faults, a_write_is_torn_only_when_sectors_of_both_kinds_are_there)
{
    uint64_t changed = 0;
    for (unsigned round = 0; round < 40; round++) {
        struct probe probe = {0};
        cr_assert_eq(write_filled(1, BLOCK_BYTES, 0, DISK_DURABLE), STATUS_OK);
        memset(block + 3 * SIM_DISK_SECTOR_BYTES, 2, SIM_DISK_SECTOR_BYTES);
        disk_write(file, &probe.io, block, BLOCK_BYTES, 0, 0, probe_done);
        if (round % 2 == 0) {
            cr_assert_eq(probe_wait(&probe), STATUS_OK);
        }
        sim_disk_crash(sim);
        changed += sectors_of(SIM_DISK_DURABLE, 2, 0, BLOCK_BYTES);
        file_reopen();
    }
    cr_assert(changed > 5 && changed < 35);
    cr_assert_eq(count_of(SIM_DISK_TORN), 0, "one sector is old or new, and the others are the same");

    for (unsigned round = 0; round < 10; round++) {
        struct probe probe = {0};
        memset(block, 3, 2 * BLOCK_BYTES);
        disk_write(file, &probe.io, block, 2 * BLOCK_BYTES, 0, 0, probe_done);
        if (round % 2 == 0) {
            cr_assert_eq(probe_wait(&probe), STATUS_OK);
        }
        sim_disk_crash(sim);
        file_reopen();
        cr_assert_eq(write_filled(1, 2 * BLOCK_BYTES, 0, DISK_DURABLE), STATUS_OK);
    }
    cr_assert_geq(count_of(SIM_DISK_TORN), 9);
}

Test(sim_disk_faults, garbage_is_counted_by_the_sector)
{
    cr_assert_eq(write_filled(1, FILE_BYTES, 0, DISK_DURABLE), STATUS_OK);
    cr_assert_eq(write_filled(1, FILE_BYTES, 0, 0), STATUS_OK);
    sim_disk_crash(sim);
    unsigned sound = sectors_of(SIM_DISK_DURABLE, 1, 0, FILE_BYTES);
    cr_assert_lt(sound, FILE_SECTORS);
    cr_assert_eq(count_of(SIM_DISK_GARBAGE), FILE_SECTORS - sound);
    cr_assert_eq(count_of(SIM_DISK_TORN), 0);
}
