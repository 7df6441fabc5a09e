/* test_vault_exhaustive.c - every single call of the disk and of the table of covers fails once, or from then on for
 * ever; and every allocation. The vault says so, loses nothing, and goes on when the failure is over. */
#include "tests/unit/vault_fixture.h"

#include "tests/unit/alloc_fault.h"
#include "tests/unit/io_fault.h"

#define NTH_MAX 500u

TestSuite(vault_exhaustive, .timeout = 240);

static void puncture_some(struct world *world, uint32_t step)
{
    for (uint32_t page = 1; page < world->opened_end; page++) {
        for (uint32_t slot = page; slot < GGM_LEAVES; slot += step) {
            world_puncture(world, page, slot);
        }
    }
}

/* A world with covers, and more punctured than they say. */
static struct world *world_with_covers(uint64_t seed)
{
    struct world *world = world_open(seed, 4);
    world_check(world);
    puncture_some(world, 41);
    cr_assert(world_close_epoch(world));
    puncture_some(world, 29);
    io_fault_watch_disk(world->disk);
    io_fault_watch_kv(world->covers);
    return world;
}

/* ---- I/O --------------------------------------------------------------------------------------- */

/* Returns whether the n-th call was reached. */
static bool close_fails_at(enum io_fault_kind kind, uint64_t nth)
{
    struct world *world = world_with_covers(nth);
    enum status status;
    io_fault_arm(kind, nth);
    world_seal(world);
    cr_assert(world_prepare(world, &status));
    bool is_prepared = status == STATUS_OK;
    if (is_prepared) {
        world_switch(world);
        cr_assert(world_destroy(world, &status));
    }
    bool reached = io_fault_reached();
    io_fault_disarm();
    if (status != STATUS_OK) {
        cr_assert(reached);
        cr_assert_neq(vault_message(world->vault)[0], '\0');
    }
    world_check(world);
    if (is_prepared && status != STATUS_OK) {
        cr_assert(world_destroy(world, &status));
        cr_assert_eq(status, STATUS_OK);
    }
    cr_assert(world_close_epoch(world));
    world_check(world);
    world_restart(world);
    world_check(world);
    world_check_one_epoch(world);
    cr_assert_eq(vault_closed(world->vault)->leaves_erased_total, world_erased_count(world));
    world_close(world);
    return reached;
}

/* Starting fails, and works when it is tried again. */
static bool start_fails_at(enum io_fault_kind kind, uint64_t nth)
{
    struct world *world = world_with_covers(nth);
    enum status status;
    world_seal(world);
    cr_assert(world_prepare(world, &status));
    cr_assert_eq(status, STATUS_OK);
    world_lose_power(world, nth); /* There is something to settle. */
    cr_assert_eq(world_open_slot(world, false), STATUS_OK);
    world_open_vault(world);
    io_fault_arm(kind, nth);
    status = world_settle(world);
    status = status == STATUS_OK ? world_load(world) : status;
    bool reached = io_fault_reached();
    io_fault_disarm();
    cr_assert(status == STATUS_OK || reached);
    cr_assert(status == STATUS_OK || vault_message(world->vault)[0] != '\0');
    world_restart(world);
    world_check(world);
    world_check_one_epoch(world);
    world_close(world);
    return reached;
}

static void at_every_call(bool (*fails_at)(enum io_fault_kind kind, uint64_t nth), uint64_t least)
{
    for (enum io_fault_kind kind = IO_FAULT_ONCE; kind <= IO_FAULT_FOR_EVER; kind++) {
        uint64_t nth = 1;
        while (fails_at(kind, nth)) {
            nth++;
            cr_assert_lt(nth, NTH_MAX);
        }
        cr_assert_gt(nth, least, "%lu calls", nth);
    }
}

Test(vault_exhaustive, every_call_of_a_close_fails)
{
    at_every_call(close_fails_at, 15);
}

Test(vault_exhaustive, every_call_of_a_start_fails)
{
    at_every_call(start_fails_at, 8);
}

/* ---- memory ------------------------------------------------------------------------------------ */

static bool ends_well(struct world *world, const struct outcome *outcome)
{
    return world_wait(world, outcome) && outcome->status == STATUS_OK;
}

/* A close with a puncture in it, without any assertion on what may fail: true when all was as it should be. */
static bool script_run(struct world *world)
{
    struct ggm_bitmap leaves = {.bits = {1}};
    struct outcome steps[3] = {{0}};
    struct shamir_share share = {.index = 1};
    struct key before;
    struct key after;
    bool works = vault_puncture(world->vault, 2, &leaves) == STATUS_OK;
    bool was_said = vault_derive(world->vault, 2, 1, &before) == STATUS_OK;
    world_seal(world);
    share.value = world->next_root;
    vault_prepare(world->vault, &world->next, &world->next_root, &share, outcome_set, &steps[0]);
    if (ends_well(world, &steps[0])) {
        world_switch(world);
        vault_destroy(world->vault, world->current.epoch - 1, outcome_set, &steps[1]);
        works = ends_well(world, &steps[1]) && works;
    } else {
        works = false;
        if (!alloc_fault_hit() || steps[0].status != STATUS_FULL || vault_message(world->vault)[0] == '\0') {
            return false;
        }
    }
    /* Whatever failed: the live leaf is what it was, and the refused one is refused. */
    bool is_same = was_said && vault_derive(world->vault, 2, 1, &after) == STATUS_OK &&
                   memcmp(&before, &after, sizeof(before)) == 0;
    bool is_refused = vault_derive(world->vault, 2, 0, &after) == STATUS_GONE;
    return is_same && (works ? is_refused : alloc_fault_hit());
}

static bool script(void)
{
    struct world *world = calloc(1, sizeof(*world));
    struct outcome steps[2] = {{0}};
    struct shamir_share share = {.index = 1};
    CHECK(world != NULL && keys_start_process() == STATUS_OK);
    world->random = sim_random_of(1);
    world->loop = sim_loop_open(1);
    world->disk = sim_disk_open(world->loop, 1);
    world->covers = sim_kv_open();
    world->steps_left = NO_STEP_LIMIT;
    world->opened_end = 3;
    bool good = world_open_slot(world, true) == STATUS_OK;
    if (good) {
        struct vault_parts parts = {.loop = world_loop(world),
                                    .disk = sim_disk_interface(world->disk),
                                    .covers = world->covers,
                                    .slot = world->slot};
        world->vault = vault_open(&parts, world->uuid);
        good = world->vault != NULL;
    }
    if (good) {
        world_seal(world);
        share.value = world->next_root;
        vault_prepare(world->vault, &world->next, &world->next_root, &share, outcome_set, &steps[0]);
        good = ends_well(world, &steps[0]);
    }
    if (good) {
        world_switch(world);
        good = script_run(world);
    } else {
        good = alloc_fault_hit();
    }
    if (world->vault != NULL) {
        vault_close(world->vault);
    }
    if (world->slot != NULL) {
        slot_close(world->slot);
    }
    kv_close(world->covers);
    sim_disk_close(world->disk);
    sim_loop_close(world->loop);
    free(world);
    return good;
}

Test(vault_exhaustive, every_allocation_fails)
{
    static const struct alloc_fault_stop stops[] = {{.file = "slot_file.c", .condition = "slot != NULL"}, {NULL, NULL}};
    for (int for_ever = 0; for_ever <= 1; for_ever++) {
        uint64_t nth = 1;
        enum alloc_fault_end end;
        do {
            end = alloc_fault_run(script, nth, for_ever != 0, stops);
            cr_assert_neq(end, ALLOC_FAULT_BROKEN, "allocation %lu", nth);
            nth++;
        } while (end != ALLOC_FAULT_UNTOUCHED && nth < NTH_MAX);
        cr_assert_eq(end, ALLOC_FAULT_UNTOUCHED);
        cr_assert_gt(nth, 6, "%lu allocations", nth);
    }
}
