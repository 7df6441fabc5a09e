/* test_vault.c - what a vault promises: a leaf has one value for ever, an erased leaf has none, whatever happens
 * between.
 *
 * What it refuses to start with is in test_vault_start.c, crashes are in test_vault_crash.c, what an attacker finds is
 * in test_vault_forensic.c. */
#include "tests/unit/vault_fixture.h"

static struct world *world;

static void setup(void)
{
    world = world_open(7, 6);
}

static void teardown(void)
{
    world_close(world);
}

TestSuite(vault, .init = setup, .fini = teardown, .timeout = 120);

/* ---- leaves ------------------------------------------------------------------------------------ */

Test(vault, leaves_are_all_different_and_stay_the_same)
{
    world_check(world);
    for (uint32_t page = 1; page < world->opened_end; page++) {
        for (uint32_t slot = 1; slot < GGM_LEAVES; slot++) {
            cr_assert_arr_neq(world->leaves[page][slot].bytes, world->leaves[page][slot - 1].bytes, KEY_BYTES);
        }
        cr_assert_arr_neq(world->leaves[page][0].bytes, world->leaves[page - 1][0].bytes, KEY_BYTES);
    }
    cr_assert(world_close_epoch(world));
    world_check(world);
    world_restart(world);
    world_check(world);
}

Test(vault, says_nothing_of_places_that_do_not_exist)
{
    struct key leaf = {0};
    const struct ggm_bitmap none = {0};
    cr_assert_eq(vault_derive(world->vault, 0, 0, &leaf), STATUS_INVALID);
    cr_assert_eq(vault_derive(world->vault, 1, GGM_LEAVES, &leaf), STATUS_INVALID);
    cr_assert_eq(vault_puncture(world->vault, 0, &none), STATUS_INVALID);
}

Test(vault, without_a_table_says_no_leaf_but_takes_punctures)
{
    struct key leaf;
    world_check(world);
    world_stop(world);
    cr_assert_eq(world_open_slot(world, false), STATUS_OK);
    world_open_vault(world);
    cr_assert_eq(vault_derive(world->vault, 1, 0, &leaf), STATUS_UNAVAILABLE);
    world_puncture(world, 1, 0);
    cr_assert_eq(vault_derive(world->vault, 1, 0, &leaf), STATUS_UNAVAILABLE);
    cr_assert_eq(world_settle(world), STATUS_OK);
    cr_assert_eq(world_load(world), STATUS_OK);
    world_check(world);
}

Test(vault, refuses_a_punctured_leaf_at_once)
{
    world_puncture(world, 2, 77);
    world_check(world);
    world_puncture(world, 2, 77);
    world_check(world);
}

Test(vault, forgets_a_whole_page)
{
    for (uint32_t slot = 0; slot < GGM_LEAVES; slot++) {
        world_puncture(world, 3, slot);
    }
    cr_assert(world_close_epoch(world));
    cr_assert_eq(vault_closed(world->vault)->leaves_erased, GGM_LEAVES);
    cr_assert_eq(vault_closed(world->vault)->pages_punctured, 0, "a dead page has no cover");
    world_restart(world);
    world_check(world);
    cr_assert(world_close_epoch(world));
    world_check(world);
}

Test(vault, keeps_its_punctures_apart_whatever_their_order)
{
    enum { PAGES = 700, SLOTS = 3 };
    static bool model[PAGES][SLOTS];
    struct punctures punctures = {0};
    struct sim_random random = sim_random_of(5);
    for (unsigned i = 0; i < 30000; i++) {
        uint32_t page = 1 + (uint32_t)sim_random_below(&random, PAGES - 1);
        uint32_t slot = (uint32_t)sim_random_below(&random, SLOTS);
        bool adds = sim_random_percent(&random, i / 5000 % 2 == 0 ? 70 : 30);
        struct ggm_bitmap leaves = {0};
        ggm_bit_set(&leaves, slot);
        if (adds) {
            cr_assert_eq(punctures_add(&punctures, page, &leaves), STATUS_OK);
        } else {
            punctures_forget(&punctures, page, &leaves);
        }
        model[page][slot] = adds;
        if (i % 1000 == 0) {
            punctures_seal(&punctures);
        }
        page = 1 + (uint32_t)sim_random_below(&random, PAGES - 1);
        slot = (uint32_t)sim_random_below(&random, SLOTS);
        cr_assert_eq(punctures_has(&punctures, page, slot), model[page][slot]);
    }
    uint32_t count = 0;
    for (uint32_t page = 1; page < PAGES; page++) {
        count += model[page][0] || model[page][1] || model[page][2] ? 1 : 0;
    }
    cr_assert_eq(punctures.count, count);
    punctures_release(&punctures);
}

/* ---- against a model --------------------------------------------------------------------------- */

static void random_punctures(struct world *of, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t page = (uint32_t)sim_random_between(&of->random, 1, of->opened_end - 1);
        uint32_t slot = (uint32_t)sim_random_below(&of->random, GGM_LEAVES);
        uint32_t run = sim_random_percent(&of->random, 10) ? 40 : 1;
        for (; run > 0 && slot < GGM_LEAVES; run--, slot++) {
            world_puncture(of, page, slot);
        }
    }
}

static void random_operation(struct world *of)
{
    uint64_t choice = sim_random_below(&of->random, 100);
    enum status status;
    if (choice < 40) {
        random_punctures(of, 1 + (uint32_t)sim_random_below(&of->random, 12));
    } else if (choice < 55) {
        uint32_t room = PAGES_MAX - of->opened_end;
        of->opened_end += room > 0 ? (uint32_t)sim_random_below(&of->random, room < 4 ? room + 1 : 4) : 0;
    } else if (choice < 80) {
        uint64_t before = vault_closed(of->vault)->leaves_erased_total;
        uint64_t erased = world_erased_count(of);
        cr_assert_eq(before, erased, "conservation: counted from covers, as many as the state says");
        cr_assert(world_close_epoch(of));
        cr_assert_eq(vault_closed(of->vault)->leaves_erased, world_erased_count(of) - erased);
        cr_assert_eq(vault_closed(of->vault)->leaves_erased_total, world_erased_count(of));
        world_check_one_epoch(of);
    } else if (choice < 90) {
        struct outcome outcome = {0};
        world_seal(of);
        cr_assert(world_prepare(of, &status));
        cr_assert_eq(status, STATUS_OK);
        random_punctures(of, 3);
        vault_abandon(of->vault, outcome_set, &outcome);
        cr_assert(world_wait(of, &outcome));
        cr_assert_eq(outcome.status, STATUS_OK);
        world_check_one_epoch(of);
    } else {
        world_restart(of);
    }
}

Test(vault, agrees_with_its_model_over_random_operations)
{
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct world *of = world_open(seed, 3);
        for (unsigned i = 0; i < 60; i++) {
            random_operation(of);
            if (i % 7 == 0) {
                world_check(of);
            }
        }
        world_check(of);
        world_restart(of);
        world_check(of);
        world_close(of);
    }
}

/* ---- slices ------------------------------------------------------------------------------------ */

Test(vault, serves_and_punctures_between_the_slices_of_a_close)
{
    struct outcome outcome = {0};
    struct shamir_share share = {.index = 1};
    uint64_t steps = 0;
    world_check(world);
    cr_assert(world_close_epoch(world));
    random_punctures(world, 60);
    world_seal(world);
    share.value = world->next_root;
    vault_prepare(world->vault, &world->next, &world->next_root, &share, outcome_set, &outcome);
    while (!outcome.done) {
        uint32_t page = (uint32_t)sim_random_between(&world->random, 1, world->opened_end - 1);
        cr_assert(sim_loop_step(world->loop));
        world_puncture(world, page, (uint32_t)sim_random_below(&world->random, GGM_LEAVES));
        for (uint32_t slot = 0; slot < GGM_LEAVES; slot += 5) {
            world_check_leaf(world, page, slot);
        }
        if (steps % 3 == 0) {
            vault_seal(world->vault); /* Sealed again by somebody: not in the table that is being written. */
        }
        steps++;
    }
    cr_assert_eq(outcome.status, STATUS_OK);
    cr_assert_gt(steps, 10);
    world_switch(world);
    world_check(world);
    cr_assert_gt(world->vault->punctures.count, 0, "what came after the seal waits");
    cr_assert(world_destroy(world, &outcome.status));
    world_check(world);
    world_restart(world);
    world_check(world);
    cr_assert(world_close_epoch(world));
    cr_assert_eq(world->vault->punctures.count, 0);
    cr_assert_eq(vault_closed(world->vault)->leaves_erased_total, world_erased_count(world));
    world_check(world);
}

Test(vault, has_tables_of_many_blocks_and_grows)
{
    world_check(world);
    uint32_t opened = world->opened_end;
    world->opened_end = 20000; /* More than a piece of blocks, and more than a region of memory. */
    world_puncture(world, 2, 9);
    cr_assert(world_close_epoch(world));
    struct key first;
    struct key last;
    struct key again;
    struct ggm_bitmap leaves = {0};
    cr_assert_eq(vault_derive(world->vault, 1819, 3, &first), STATUS_OK);
    cr_assert_eq(vault_derive(world->vault, 19999, 255, &last), STATUS_OK);
    ggm_bit_set(&leaves, 4);
    cr_assert_eq(vault_puncture(world->vault, 19999, &leaves), STATUS_OK);
    cr_assert(world_close_epoch(world));
    cr_assert_geq(vault_memory(world->vault), 20000u * 36);
    cr_assert_lt(vault_memory(world->vault), 20000u * 36 + MIB(1));
    cr_assert_geq(vault_closed(world->vault)->bytes_written, 20000u * 36);
    world_restart(world);
    cr_assert_eq(vault_derive(world->vault, 1819, 3, &again), STATUS_OK);
    cr_assert_arr_eq(again.bytes, first.bytes, KEY_BYTES);
    cr_assert_eq(vault_derive(world->vault, 19999, 255, &again), STATUS_OK);
    cr_assert_arr_eq(again.bytes, last.bytes, KEY_BYTES);
    cr_assert_eq(vault_derive(world->vault, 19999, 4, &again), STATUS_GONE);
    world->opened_end = opened;
    world_check(world);
}

Test(vault, keeps_nothing_of_the_old_epoch_in_memory_when_it_says_destroyed)
{
    enum status status;
    cr_assert(world_close_epoch(world));
    size_t before = vault_memory(world->vault);
    world_seal(world);
    cr_assert(world_prepare(world, &status));
    cr_assert_gt(vault_memory(world->vault), before);
    world_switch(world);
    cr_assert_gt(vault_memory(world->vault), before);
    cr_assert(world_destroy(world, &status));
    cr_assert_eq(status, STATUS_OK);
    cr_assert_eq(vault_memory(world->vault), before);

    /* Nor any root: not of the epoch before, not of this one. */
    const uint8_t *secrets = (const uint8_t *)world->vault->secrets;
    for (uint64_t epoch = 1; epoch <= world->current.epoch; epoch++) {
        cr_assert_null(memmem(secrets, sizeof(*world->vault->secrets), world->roots[epoch].bytes, KEY_BYTES));
    }
}

/* ---- steps in the wrong order ------------------------------------------------------------------ */

Test(vault, refuses_an_epoch_that_can_not_follow)
{
    enum status status;
    world_seal(world);
    world->next.epoch = 3;
    cr_assert(world_prepare(world, &status));
    cr_assert_eq(status, STATUS_INVALID);
    world_seal(world);
    world->next.pages_end = 0;
    cr_assert(world_prepare(world, &status));
    cr_assert_eq(status, STATUS_INVALID);
    world_seal(world);
    world->next.commitment[0] ^= 1;
    cr_assert(world_prepare(world, &status));
    cr_assert_eq(status, STATUS_DENIED);
    world_seal(world);
    world->next.threshold = 2;
    cr_assert(world_prepare(world, &status));
    cr_assert_eq(status, STATUS_INVALID);
    world_check(world);
    world_check_one_epoch(world);
}

Test(vault, a_second_prepare_abandons_the_first)
{
    enum status status;
    world_puncture(world, 1, 5);
    world_seal(world);
    cr_assert(world_prepare(world, &status));
    struct vault_epoch first = world->next;
    world_puncture(world, 1, 6);
    cr_assert(world_close_epoch(world));
    cr_assert_not(vault_is_prepared(world->vault, first.epoch, first.commitment));
    cr_assert_eq(vault_closed(world->vault)->leaves_erased, 2);
    world_check_one_epoch(world);
    world_restart(world);
    world_check(world);
}

Test(vault, keeps_only_the_covers_that_its_table_opens)
{
    uint32_t rows = 0;
    for (unsigned i = 0; i < 5; i++) {
        for (uint32_t page = 1; page < world->opened_end; page++) {
            world_puncture(world, page, i * 11);
        }
        cr_assert(world_close_epoch(world));
    }
    struct kv_iterator *iterator = kv_iterator_open(world->covers);
    for (kv_iterator_seek(iterator, KV_SLICE("\0\0\0\1", 4)); kv_iterator_valid(iterator); kv_iterator_next(iterator)) {
        rows++;
    }
    kv_iterator_close(iterator);
    cr_assert_eq(rows, world->opened_end - 1);
}

/* ---- devices that fail ------------------------------------------------------------------------- */

/* Whatever fails during prepare: it says so, the epoch goes on, and the next close works. */
static void prepare_with_failing_disk(enum status failure, unsigned kinds)
{
    for (uint64_t nth = 1; nth < 100; nth++) {
        enum status status;
        struct world *of = world_open(nth, 4);
        world_check(of);
        random_punctures(of, 5);
        world_seal(of);
        sim_disk_fail_kinds(of->disk, kinds);
        sim_disk_fail_after(of->disk, nth, failure);
        cr_assert(world_prepare(of, &status));
        bool failed = status != STATUS_OK;
        if (failed) {
            cr_assert(status == failure || status == STATUS_IO, "%s", status_name(status));
            cr_assert_neq(vault_message(of->vault)[0], '\0');
            cr_assert_not(vault_is_prepared(of->vault, of->next.epoch, of->next.commitment));
        }
        sim_disk_fail_after(of->disk, 0, STATUS_OK);
        world_check(of);
        cr_assert(world_close_epoch(of));
        world_check_one_epoch(of);
        world_restart(of);
        world_check(of);
        world_close(of);
        if (!failed) {
            cr_assert_gt(nth, 1);
            return;
        }
    }
    cr_assert_fail("prepare never works");
}

Test(vault, survives_io_errors_at_every_step_of_prepare)
{
    prepare_with_failing_disk(STATUS_IO, ~0u);
}

Test(vault, survives_a_disk_that_can_not_read_back)
{
    prepare_with_failing_disk(STATUS_IO, 1u << DISK_READ);
}

Test(vault, survives_a_full_disk)
{
    prepare_with_failing_disk(STATUS_FULL, 1u << DISK_ALLOCATE | 1u << DISK_WRITE);
}

Test(vault, survives_a_table_of_covers_that_fails)
{
    for (uint64_t nth = 1; nth <= 2; nth++) {
        enum status status;
        world_check(world);
        world_puncture(world, 1, (uint32_t)nth);
        world_seal(world);
        sim_kv_fail_after(world->covers, nth);
        cr_assert(world_prepare(world, &status));
        cr_assert_eq(status, STATUS_IO);
        cr_assert_neq(vault_message(world->vault)[0], '\0');
        sim_kv_fail_after(world->covers, 0);
        world_check(world);
        world_check_one_epoch(world);
    }
    cr_assert(world_close_epoch(world));
    world_restart(world);
    world_check(world);
}

Test(vault, never_says_destroyed_when_the_slot_could_not_be_written)
{
    for (uint64_t nth = 1; nth <= 3; nth++) { /* Look, write, read back. */
        enum status status;
        world_seal(world);
        cr_assert(world_prepare(world, &status));
        world_switch(world);
        sim_disk_fail_after(world->disk, nth, STATUS_IO);
        cr_assert(world_destroy(world, &status));
        cr_assert_eq(status, STATUS_IO);
        cr_assert_neq(vault_message(world->vault)[0], '\0');
        sim_disk_fail_after(world->disk, 0, STATUS_OK);
        cr_assert(world_destroy(world, &status));
        cr_assert_eq(status, STATUS_OK);
        world_check_one_epoch(world);
    }
}

Test(vault, notices_a_device_that_loses_writes)
{
    struct sim_disk_faults faults = {.ppm[SIM_DISK_LOST_WRITE] = 1000000};
    enum status status;
    world_check(world);
    world_seal(world);
    sim_disk_set_faults(world->disk, &faults);
    cr_assert(world_prepare(world, &status));
    cr_assert_eq(status, STATUS_CORRUPT);
    sim_disk_heal(world->disk);
    world_check(world);

    cr_assert(world_close_epoch(world));
    world_seal(world);
    cr_assert(world_prepare(world, &status));
    world_switch(world);
    sim_disk_set_faults(world->disk, &faults);
    cr_assert(world_destroy(world, &status));
    cr_assert_eq(status, STATUS_CORRUPT, "an overwriting that did not happen is no destruction");
    sim_disk_heal(world->disk);
    world_restart(world);
    world_check_one_epoch(world);
    world_check(world);
}

/* The n-th write of a prepare is one that the device forgets: header, rows, share. */
Test(vault, reads_back_whatever_it_writes)
{
    for (uint64_t nth = 1; nth <= 3; nth++) {
        struct sim_disk_faults faults = {.ppm[SIM_DISK_LOST_WRITE] = 1000000};
        struct outcome outcome = {0};
        struct shamir_share share = {.index = 1};
        uint64_t before = sim_disk_io_count(world->disk, DISK_WRITE);
        world_check(world);
        world_seal(world);
        share.value = world->next_root;
        vault_prepare(world->vault, &world->next, &world->next_root, &share, outcome_set, &outcome);
        /* The fate of a write is drawn when it starts. */
        while (!outcome.done) {
            uint64_t writes = sim_disk_io_count(world->disk, DISK_WRITE) - before;
            faults.ppm[SIM_DISK_LOST_WRITE] = writes == nth - 1 ? 1000000 : 0;
            sim_disk_set_faults(world->disk, &faults);
            cr_assert(sim_loop_step(world->loop));
        }
        sim_disk_heal(world->disk);
        cr_assert_eq(outcome.status, STATUS_CORRUPT, "write %lu: %s", nth, status_name(outcome.status));
        world_check_one_epoch(world);
        world_check(world);
    }
    cr_assert(world_close_epoch(world));
    world_restart(world);
    world_check(world);
}
