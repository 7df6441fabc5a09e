/* test_vault_crash.c - power is lost after every step of a close: exactly one epoch is left, no live leaf is lost, and
 * no erased leaf comes back.
 *
 * Method  A script (a close among others) is run again and again in equal worlds, each time a step of the loop further;
 *         there the machine loses power: of what was not durable any sectors are left (sim_disk.h), and of the covers a
 *         prefix of the batches (sim_kv.h). Then the vault starts with what the state says, and all leaves are
 *         compared. A step is one I/O or one slice of computing, so every I/O has a crash before and after it.
 * Power   The script must come to its end at some number of steps, else the loop has shown nothing. */
#include "tests/unit/vault_fixture.h"

#define STEPS_MAX 2000u
#define SEEDS     6u

TestSuite(vault_crash, .timeout = 280);

static void puncture_some(struct world *world, uint32_t every)
{
    for (uint32_t page = 1; page < world->opened_end; page++) {
        for (uint32_t slot = page; slot < GGM_LEAVES; slot += every + page * 7) {
            world_puncture(world, page, slot);
        }
    }
}

/* Start as after a power failure, twice, and hold everything against the model. */
static void recover_and_check(struct world *world, uint64_t seed)
{
    world_lose_power(world, seed);
    enum status status = world_start(world);
    cr_assert_eq(status, STATUS_OK, "%s: %s", status_name(status), vault_message(world->vault));
    world_check(world);
    world_check_one_epoch(world);
    cr_assert_eq(vault_closed(world->vault)->leaves_erased_total, world_erased_count(world));
    cr_assert(world_close_epoch(world));
    world_check(world);
    world_check_one_epoch(world);
    cr_assert_eq(vault_closed(world->vault)->leaves_erased_total, world_erased_count(world));
    world_restart(world);
    world_check(world);
}

/* True: the script came to its end before the steps did. */
static bool close_and_crash(uint64_t seed, uint64_t steps)
{
    struct world *world = world_open(seed, 5);
    world_check(world);
    puncture_some(world, 31);
    cr_assert(world_close_epoch(world));
    world->opened_end += 2;
    world_check(world);
    puncture_some(world, 13);
    world->steps_left = steps;
    bool ended = world_close_epoch(world);
    recover_and_check(world, seed * 1000 + steps);
    world_close(world);
    return ended;
}

Test(vault_crash, at_every_step_of_a_close)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t steps = 1;
        while (steps < STEPS_MAX && !close_and_crash(seed, steps)) {
            steps++;
        }
        cr_assert_lt(steps, STEPS_MAX);
        cr_assert_gt(steps, 15, "%lu steps", steps);
    }
}

/* The process was killed while it settled what another crash had left. */
static bool settle_and_crash(uint64_t seed, uint64_t steps, bool *ended)
{
    struct world *world = world_open(seed, 4);
    struct outcome outcome = {0};
    world_check(world);
    puncture_some(world, 31);
    world->steps_left = 14 + seed * 2; /* Somewhere in prepare or destroy. */
    bool closed = world_close_epoch(world);
    world_lose_power(world, seed);
    cr_assert_eq(world_open_slot(world, false), STATUS_OK);
    world_open_vault(world);
    world->steps_left = steps;
    vault_settle(world->vault, &world->current, outcome_set, &outcome);
    *ended = world_wait(world, &outcome);
    recover_and_check(world, seed + steps);
    world_close(world);
    return closed;
}

Test(vault_crash, while_it_settles)
{
    for (uint64_t seed = 1; seed <= 12; seed++) {
        bool ended = false;
        uint64_t steps = 1;
        bool closed = false;
        for (; !ended && !closed; steps++) {
            cr_assert_lt(steps, STEPS_MAX);
            closed = settle_and_crash(seed, steps, &ended);
        }
    }
}

/* The very first epoch: before it is in the state, a crash leaves a slot that is as good as new. */
static bool begin_and_crash(uint64_t seed, uint64_t steps)
{
    struct world *world = calloc(1, sizeof(*world));
    cr_assert_not_null(world);
    cr_assert_eq(keys_start_process(), STATUS_OK);
    world->random = sim_random_of(seed);
    world->loop = sim_loop_open(seed);
    world->disk = sim_disk_open(world->loop, seed);
    world->covers = sim_kv_open();
    world->steps_left = NO_STEP_LIMIT;
    world->opened_end = 4;
    cr_assert_eq(world_open_slot(world, true), STATUS_OK);
    world_open_vault(world);
    cr_assert_eq(world_settle(world), STATUS_OK);
    world->steps_left = steps;
    bool ended = world_close_epoch(world);
    world_lose_power(world, seed + steps);
    cr_assert_eq(world_open_slot(world, false), STATUS_OK);
    world_open_vault(world);
    enum status status = world_settle(world);
    cr_assert_eq(status, STATUS_OK, "%s: %s", status_name(status), vault_message(world->vault));
    if (world->current.epoch == 0) {
        cr_assert(world_close_epoch(world));
    } else {
        cr_assert_eq(world_load(world), STATUS_OK);
    }
    world_check(world);
    world_check_one_epoch(world);
    world_close(world);
    return ended;
}

Test(vault_crash, at_every_step_of_the_first_epoch)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        uint64_t steps = 1;
        while (steps < STEPS_MAX && !begin_and_crash(seed, steps)) {
            steps++;
        }
        cr_assert_lt(steps, STEPS_MAX);
        cr_assert_gt(steps, 5);
    }
}

/* Attempts that are given up, by hand or by a crash, and then made again: their covers and tables are never taken for
 * those of the epoch. */
static bool abandon_and_crash(uint64_t seed, uint64_t steps)
{
    struct world *world = world_open(seed, 5);
    struct outcome outcome = {0};
    enum status status;
    world_check(world);
    puncture_some(world, 31);
    cr_assert(world_close_epoch(world));
    puncture_some(world, 23);
    world_seal(world);
    cr_assert(world_prepare(world, &status));
    cr_assert_eq(status, STATUS_OK);
    world->steps_left = steps;
    vault_abandon(world->vault, outcome_set, &outcome);
    bool ended = world_wait(world, &outcome);
    recover_and_check(world, seed + steps);
    world_close(world);
    return ended;
}

Test(vault_crash, at_every_step_of_giving_up)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t steps = 1;
        while (steps < STEPS_MAX && !abandon_and_crash(seed, steps)) {
            steps++;
        }
        cr_assert_lt(steps, STEPS_MAX);
    }
}
