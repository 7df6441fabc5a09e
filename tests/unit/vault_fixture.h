/* vault_fixture.h - a vault over a simulated loop, disk, table of covers and slot, and a model of what it must say.
 *
 * The model is the replicated state in small: which pages are opened, which leaves are punctured, and which epoch
 * holds. It knows the value of every leaf that was ever said: a leaf has it for ever, until it is punctured.
 * Everything is driven step by step of the loop, so a test can stop at any step and lose power there. */
#ifndef TRILITH_TESTS_UNIT_VAULT_FIXTURE_H
#define TRILITH_TESTS_UNIT_VAULT_FIXTURE_H

#include "meta/vault/slot_cell.h"
#include "meta/vault/slot_file.h"
#include "meta/vault/vault_private.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_kv.h"
#include "tests/sim/sim_random.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGES_MAX     48u /* pages of the model: 1..PAGES_MAX-1 */
#define EPOCHS_MAX    512u
#define MARGIN        4u
#define LOST_MAX      4096u
#define NO_STEP_LIMIT UINT64_MAX

struct outcome {
    bool done;
    enum status status;
    struct slot *slot;
};

struct world {
    struct sim_loop *loop;
    struct sim_disk *disk;
    struct kv *covers;
    struct slot *slot;
    struct vault *vault;
    struct sim_random random;
    uint64_t steps_left; /* how far the code under test may run */
    uint8_t uuid[VAULT_UUID_BYTES];

    /* The model. */
    struct vault_epoch current; /* epoch 0: none yet */
    uint32_t opened_end;        /* the pages 1 .. opened_end - 1 are in use */
    struct ggm_bitmap punctured[PAGES_MAX];
    struct ggm_bitmap sealed[PAGES_MAX];
    struct ggm_bitmap erased[PAGES_MAX]; /* punctured, sealed and switched */
    struct ggm_bitmap known[PAGES_MAX];
    struct key leaves[PAGES_MAX][GGM_LEAVES];
    struct vault_epoch next;
    struct key roots[EPOCHS_MAX]; /* of each epoch that was switched to */
    struct key drawn[EPOCHS_MAX]; /* of each attempt, the last ones only */
    uint32_t drawn_count;
    struct key next_root;
};

/* Slots whose process died in the middle of a call. Kept, so that they are no leaks. */
static struct slot *lost_slots[LOST_MAX];
static uint32_t lost_count;

static inline void outcome_set(void *user, enum status status)
{
    struct outcome *outcome = user;
    cr_assert_not(outcome->done, "done runs once");
    outcome->done = true;
    outcome->status = status;
}

static inline void slot_opened(void *user, enum status status, struct slot *slot)
{
    struct outcome *outcome = user;
    outcome_set(outcome, status);
    outcome->slot = slot;
}

/* False: out of steps. */
static inline bool world_wait(struct world *world, const struct outcome *outcome)
{
    cr_assert_not(outcome->done, "done never runs inside the call");
    while (!outcome->done && world->steps_left > 0) {
        cr_assert(sim_loop_step(world->loop), "something must be left to do");
        world->steps_left -= world->steps_left == NO_STEP_LIMIT ? 0 : 1;
    }
    return outcome->done;
}

static inline struct loop *world_loop(const struct world *world)
{
    return sim_loop_interface(world->loop);
}

static inline enum status world_open_slot(struct world *world, bool create)
{
    struct outcome outcome = {0};
    slot_file_open(world_loop(world), sim_disk_interface(world->disk), create, slot_opened, &outcome);
    cr_assert(world_wait(world, &outcome));
    world->slot = outcome.slot;
    return outcome.status;
}

/* A vault that knows what the state says must be refused, and has no root yet. */
static inline void world_open_vault(struct world *world)
{
    struct vault_parts parts = {.loop = world_loop(world),
                                .disk = sim_disk_interface(world->disk),
                                .covers = world->covers,
                                .slot = world->slot};
    world->vault = vault_open(&parts, world->uuid);
    cr_assert_not_null(world->vault);
    for (uint32_t page = 1; page < PAGES_MAX; page++) {
        struct ggm_bitmap left = world->punctured[page];
        for (size_t i = 0; i < GGM_BITMAP_BYTES; i++) {
            left.bits[i] &= (uint8_t)~world->erased[page].bits[i];
        }
        cr_assert_eq(vault_puncture(world->vault, page, &left), STATUS_OK);
    }
}

static inline enum status world_settle(struct world *world)
{
    struct outcome outcome = {0};
    vault_settle(world->vault, &world->current, outcome_set, &outcome);
    cr_assert(world_wait(world, &outcome));
    return outcome.status;
}

/* With the share that settle has found: n = t = 1. */
static inline enum status world_load(struct world *world)
{
    struct outcome outcome = {0};
    cr_assert_not_null(vault_share(world->vault));
    vault_load(world->vault, &world->current, &vault_share(world->vault)->value, outcome_set, &outcome);
    cr_assert(world_wait(world, &outcome));
    return outcome.status;
}

/* ---- the steps of a close ---------------------------------------------------------------------- */

static inline void world_seal(struct world *world)
{
    vault_seal(world->vault);
    memcpy(world->sealed, world->punctured, sizeof(world->sealed));
    world->next = (struct vault_epoch){.epoch = world->current.epoch + 1,
                                       .servers = 1,
                                       .threshold = 1,
                                       .pages_end = world->current.epoch == 0 ? 1 : world->opened_end + MARGIN};
    sim_random_bytes(&world->random, world->next_root.bytes, KEY_BYTES);
    key_commitment(&world->next_root, world->next.commitment);
    world->drawn[world->drawn_count++ % EPOCHS_MAX] = world->next_root;
}

/* False: out of steps. */
static inline bool world_prepare(struct world *world, enum status *status)
{
    struct outcome outcome = {0};
    struct shamir_share share = {.index = 1, .value = world->next_root};
    vault_prepare(world->vault, &world->next, &world->next_root, &share, outcome_set, &outcome);
    bool done = world_wait(world, &outcome);
    *status = outcome.status;
    return done;
}

static inline void world_switch(struct world *world)
{
    vault_switch(world->vault);
    world->current = world->next;
    cr_assert_lt(world->current.epoch, EPOCHS_MAX);
    world->roots[world->current.epoch] = world->next_root;
    memcpy(world->erased, world->sealed, sizeof(world->erased));
}

static inline bool world_destroy(struct world *world, enum status *status)
{
    struct outcome outcome = {0};
    vault_destroy(world->vault, world->current.epoch - 1, outcome_set, &outcome);
    bool done = world_wait(world, &outcome);
    *status = outcome.status;
    return done;
}

/* From seal to destroyed; false: out of steps somewhere. */
static inline bool world_close_epoch(struct world *world)
{
    enum status status;
    world_seal(world);
    if (!world_prepare(world, &status) || world->steps_left == 0) {
        return false;
    }
    cr_assert_eq(status, STATUS_OK, "prepare: %s: %s", status_name(status), vault_message(world->vault));
    cr_assert(vault_is_prepared(world->vault, world->next.epoch, world->next.commitment));
    world_switch(world);
    if (world->current.epoch == 1) {
        return true;
    }
    if (!world_destroy(world, &status)) {
        return false;
    }
    cr_assert_eq(status, STATUS_OK, "destroy: %s: %s", status_name(status), vault_message(world->vault));
    return true;
}

/* ---- beginning and ending ---------------------------------------------------------------------- */

/* A world whose vault is in epoch 1, with `pages` pages opened. Never NULL. */
static inline struct world *world_open(uint64_t seed, uint32_t pages)
{
    struct world *world = calloc(1, sizeof(*world));
    cr_assert_not_null(world);
    cr_assert_eq(keys_start_process(), STATUS_OK);
    world->random = sim_random_of(seed);
    world->loop = sim_loop_open(seed);
    world->disk = sim_disk_open(world->loop, seed);
    world->covers = sim_kv_open();
    world->steps_left = NO_STEP_LIMIT;
    world->opened_end = 1 + pages;
    memset(world->uuid, 0x5a, sizeof(world->uuid));
    cr_assert_eq(world_open_slot(world, true), STATUS_OK);
    world_open_vault(world);
    cr_assert_eq(world_settle(world), STATUS_OK);
    cr_assert_null(vault_share(world->vault));
    cr_assert(world_close_epoch(world));
    return world;
}

static inline void world_stop(struct world *world)
{
    vault_close(world->vault);
    slot_close(world->slot);
}

static inline void world_close(struct world *world)
{
    world_stop(world);
    kv_close(world->covers);
    sim_disk_close(world->disk);
    sim_loop_close(world->loop);
    free(world);
}

/* Settle and load; STATUS_OK: the vault serves. */
static inline enum status world_start(struct world *world)
{
    cr_assert_eq(world_open_slot(world, false), STATUS_OK);
    world_open_vault(world);
    enum status status = world_settle(world);
    return status == STATUS_OK ? world_load(world) : status;
}

static inline void world_restart(struct world *world)
{
    world_stop(world);
    enum status status = world_start(world);
    cr_assert_eq(status, STATUS_OK, "%s: %s", status_name(status), vault_message(world->vault));
}

/* The process is gone in the middle of whatever it did; the machine loses power with it. */
static inline void world_lose_power(struct world *world, uint64_t seed)
{
    bool is_working = world->vault->work.resume != NULL;
    sim_disk_crash(world->disk);
    sim_kv_crash(world->covers, seed);
    /* Only the tasks of the dead process were waiting: let them go. */
    struct sim_loop *old = world->loop;
    world->loop = sim_loop_open(seed);
    sim_disk_attach(world->disk, world->loop);
    sim_loop_close(old);
    vault_drop(world->vault);
    if (is_working) {
        cr_assert_lt(lost_count, LOST_MAX);
        lost_slots[lost_count] = world->slot;
        lost_count++;
    } else {
        slot_close(world->slot);
    }
    world->steps_left = NO_STEP_LIMIT;
}

/* ---- the model --------------------------------------------------------------------------------- */

static inline void world_puncture(struct world *world, uint32_t page, uint32_t slot)
{
    struct ggm_bitmap leaves = {0};
    ggm_bit_set(&leaves, slot);
    ggm_bit_set(&world->punctured[page], slot);
    cr_assert_eq(vault_puncture(world->vault, page, &leaves), STATUS_OK);
}

/* One leaf is what the model says. */
static inline void world_check_leaf(struct world *world, uint32_t page, uint32_t slot)
{
    struct key leaf;
    enum status status = vault_derive(world->vault, page, slot, &leaf);
    if (ggm_bit(&world->punctured[page], slot)) {
        cr_assert_eq(status, STATUS_GONE, "page %u slot %u: %s", page, slot, status_name(status));
        return;
    }
    cr_assert_eq(status, STATUS_OK, "page %u slot %u: %s", page, slot, status_name(status));
    if (!ggm_bit(&world->known[page], slot)) {
        ggm_bit_set(&world->known[page], slot);
        world->leaves[page][slot] = leaf;
    }
    cr_assert_arr_eq(leaf.bytes, world->leaves[page][slot].bytes, KEY_BYTES, "page %u slot %u changed", page, slot);
}

static inline void world_check(struct world *world)
{
    for (uint32_t page = 1; page < world->opened_end; page++) {
        for (uint32_t slot = 0; slot < GGM_LEAVES; slot++) {
            world_check_leaf(world, page, slot);
        }
    }
}

/* Everything that is punctured and erased is so without anybody saying it again. */
static inline uint64_t world_erased_count(const struct world *world)
{
    uint64_t count = 0;
    for (uint32_t page = 1; page < PAGES_MAX; page++) {
        for (uint32_t slot = 0; slot < GGM_LEAVES; slot++) {
            count += ggm_bit(&world->erased[page], slot) ? 1 : 0;
        }
    }
    return count;
}

struct tables_seen {
    uint32_t count;
    char name[DISK_NAME_BYTES];
};

static inline void table_seen(void *user, const char *name, uint64_t bytes)
{
    struct tables_seen *seen = user;
    (void)bytes;
    if (strncmp(name, "table-", 6) == 0) {
        seen->count++;
        (void)snprintf(seen->name, sizeof(seen->name), "%s", name);
    }
}

/* Exactly one epoch: one share in the slot, one table, both of the epoch that the state names. */
static inline void world_check_one_epoch(struct world *world)
{
    struct slot_cell cells[SLOT_CELLS];
    struct tables_seen seen = {0};
    char name[DISK_NAME_BYTES];
    for (unsigned i = 0; i < SLOT_CELLS; i++) {
        uint8_t block[BLOCK_BYTES];
        cr_assert(sim_disk_copy(world->disk, SIM_DISK_DURABLE, "root-slot", i * BLOCK_BYTES, block, sizeof(block)));
        slot_cell_decode(block, i, &cells[i]);
    }
    const struct slot_cell *own = &cells[slot_cell_of(world->current.epoch)];
    cr_assert_eq(own->state, SLOT_HOLDS);
    cr_assert_eq(own->epoch, world->current.epoch);
    enum slot_state other = cells[slot_cell_of(world->current.epoch + 1)].state;
    cr_assert(other == SLOT_EMPTY || other == SLOT_DESTROYED);
    sim_disk_each_file(world->disk, table_seen, &seen);
    table_name(world->current.epoch, name);
    cr_assert_eq(seen.count, 1);
    cr_assert_str_eq(seen.name, name);
}

#endif
