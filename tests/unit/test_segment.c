/* test_segment.c - names of segment files, choice of free ones, and flushes that are shared. */
#include "node/store/segment.h"
#include "tests/sim/sim_disk.h"

#include <criterion/criterion.h>

Test(segment, names_and_numbers_belong_together)
{
    char name[DISK_NAME_BYTES];
    uint32_t number;
    segment_name(0xabcdef, name);
    cr_assert_str_eq(name, "segment-00abcdef");
    cr_assert(segment_number_from_name(name, &number));
    cr_assert_eq(number, 0xabcdef);
    segment_name(UINT32_MAX, name);
    cr_assert(segment_number_from_name(name, &number));
    cr_assert_eq(number, UINT32_MAX);
    static const char *const others[] = {"",
                                         "segment",
                                         "segment-",
                                         "segment-1",
                                         "superblock",
                                         "segment-000000001",
                                         "segment-0000000g",
                                         "segment-00ABCDEF",
                                         " segment-00000001",
                                         "segment-00000001~",
                                         "segment--0000001"};
    for (size_t i = 0; i < ARRAY_LENGTH(others); i++) {
        cr_assert_not(segment_number_from_name(others[i], &number), "%s", others[i]);
    }
}

Test(segment, prewritten_ones_are_taken_first_and_the_kept_ones_left_alone)
{
    struct segment_table table;
    segment_table_init(&table, NULL, 6, MIB(16));
    cr_assert_eq(segments_free(&table), 6);
    cr_assert_eq(segment_choose_free(&table, 0)->number, 0);
    segment_set_state(&table.segments[1], SEGMENT_ALLOCATED);
    segment_set_state(&table.segments[4], SEGMENT_READY);
    cr_assert_eq(segments_free(&table), 6);
    cr_assert_eq(segment_choose_free(&table, 0)->number, 4);
    cr_assert_eq(segment_choose_free(&table, 2)->number, 0);
    table.segments[4].busy = true;
    cr_assert_eq(segment_choose_free(&table, 0)->number, 1);
    table.segments[4].busy = false;
    table.allocatable = 0;
    cr_assert_null(segment_choose_free(&table, 2));
    segment_set_state(&table.segments[4], SEGMENT_OPEN);
    segment_set_state(&table.segments[4], SEGMENT_FULL);
    cr_assert_eq(segments_free(&table), 1);
    segment_table_deinit(&table);
}

Test(segment, a_place_is_known_only_in_the_same_use_of_the_file)
{
    struct segment_table table;
    segment_table_init(&table, NULL, 2, MIB(16));
    struct chunk_place place = {.segment = 1, .generation = 3};
    cr_assert_null(segment_of_place(&table, &place));
    segment_set_state(&table.segments[1], SEGMENT_FULL);
    table.segments[1].header.generation = 3;
    cr_assert_eq(segment_of_place(&table, &place), &table.segments[1]);
    place.generation = 4;
    cr_assert_null(segment_of_place(&table, &place));
    place = (struct chunk_place){.segment = 2, .generation = 3};
    cr_assert_null(segment_of_place(&table, &place));
    place = (struct chunk_place){0};
    cr_assert_null(segment_of_place(&table, &place));
    segment_table_deinit(&table);
}

static unsigned flushed;
static unsigned failed;

static void count_flush(struct flush_waiter *waiter, enum status status)
{
    (void)waiter;
    flushed++;
    failed += status != STATUS_OK;
}

static void no_op(struct disk_io *io)
{
    (void)io;
}

Test(segment, whoever_comes_while_a_flush_is_under_way_shares_the_next_one)
{
    struct sim_loop *loop = sim_loop_open(1);
    struct sim_disk *disk = sim_disk_open(loop, 1);
    struct segment_table table;
    struct flush_waiter waiters[10] = {0};
    struct disk_io io;
    segment_table_init(&table, sim_disk_interface(disk), 1, MIB(16));
    cr_assert_eq(disk_file_open(sim_disk_interface(disk), "segment-00000000", true, &table.segments[0].file),
                 STATUS_OK);
    disk_allocate(table.segments[0].file, &io, MIB(1), no_op);
    sim_loop_run_until_idle(loop);
    for (size_t i = 0; i < ARRAY_LENGTH(waiters); i++) {
        segment_flush(&table.segments[0], &waiters[i], count_flush);
    }
    cr_assert_eq(flushed, 0);
    sim_loop_run_until_idle(loop);
    cr_assert_eq(flushed, 10);
    cr_assert_eq(failed, 0);
    cr_assert_eq(table.flush_count, 2);
    cr_assert_eq(sim_disk_io_count(disk, DISK_FLUSH), 2);
    sim_disk_fail_after(disk, 1, STATUS_IO);
    segment_flush(&table.segments[0], &waiters[0], count_flush);
    segment_flush(&table.segments[0], &waiters[1], count_flush);
    sim_loop_run_until_idle(loop);
    cr_assert_eq(failed, 2);
    segment_table_deinit(&table);
    sim_disk_close(disk);
    sim_loop_close(loop);
}
