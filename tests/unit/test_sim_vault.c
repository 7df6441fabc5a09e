/* test_sim_vault.c - what the checkers know of the vault: what somebody can say who has a root, old files and old covers. */
#include "tests/sim/sim_vault.h"
#include "tests/sim/vault_view.h"

#include "meta/vault/vault.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct sim_loop *world;
static struct sim_vault stands;
static struct slot *slot;
static struct vault *vault;
static uint8_t uuid[VAULT_UUID_BYTES] = "of the test";
static struct key roots[4];
static bool answered;
static enum status answer;

static void slot_is_open(void *user, enum status status, struct slot *opened)
{
    (void)user;
    answered = true;
    answer = status;
    slot = opened;
}

static void vault_has_done(void *user, enum status status)
{
    (void)user;
    answered = true;
    answer = status;
}

static void turn_until_answered(void)
{
    while (!answered) {
        cr_assert(sim_loop_step(world));
    }
    answered = false;
    cr_assert_eq(answer, STATUS_OK);
}

/* Epoch 1 is begun; the pages from 2,050 on are of its nursery. */
static struct vault_epoch epoch_of(uint64_t number)
{
    struct vault_epoch epoch = {.epoch = number, .servers = 1, .threshold = 1, .pages_end = 2050};
    key_commitment(&roots[number], epoch.commitment);
    return epoch;
}

static void begin_epoch(uint64_t number)
{
    struct vault_epoch epoch = epoch_of(number);
    struct shamir_share share;
    shamir_split(&roots[number], 1, 1, NULL, &share);
    vault_seal(vault);
    vault_prepare(vault, &epoch, &roots[number], &share, vault_has_done, NULL);
    turn_until_answered();
    vault_switch(vault);
}

static void setup(void)
{
    struct sim_random random = sim_random_of(3);
    cr_assert_eq(keys_start_process(), STATUS_OK);
    world = sim_loop_open(5);
    sim_vault_init(&stands, world, &random);
    sim_vault_slot_open(&stands, sim_loop_interface(world), true, slot_is_open, NULL);
    turn_until_answered();
    for (size_t i = 0; i < ARRAY_LENGTH(roots); i++) {
        sim_random_bytes(&random, roots[i].bytes, KEY_BYTES);
    }
    const struct vault_parts parts = {.loop = sim_loop_interface(world),
                                      .disk = sim_disk_interface(stands.tables_disk),
                                      .covers = stands.covers,
                                      .slot = slot};
    vault = vault_open(&parts, uuid);
    cr_assert_not_null(vault);
    struct vault_epoch none = {0};
    vault_settle(vault, &none, vault_has_done, NULL);
    turn_until_answered();
    begin_epoch(1);
}

static void teardown(void)
{
    vault_close(vault);
    slot_close(slot);
}

TestSuite(sim_vault, .init = setup, .fini = teardown);

struct names {
    char table[8][DISK_NAME_BYTES];
    unsigned count;
};

static void name_take(void *user, const char *name, uint64_t bytes)
{
    struct names *names = user;
    (void)bytes;
    cr_assert_lt(names->count, 8);
    (void)snprintf(names->table[names->count++], DISK_NAME_BYTES, "%s", name);
}

/* The view of the table that opens under this root; NULL: none does. */
static struct vault_view *view_under(const struct key *root)
{
    struct names names = {.count = 0};
    struct vault_view *view = NULL;
    sim_disk_each_file(stands.tables_disk, name_take, &names);
    for (unsigned i = 0; view == NULL && i < names.count; i++) {
        view = vault_view_open(stands.tables_disk, SIM_DISK_DURABLE, names.table[i], root);
    }
    return view;
}

static struct key leaf_of(uint32_t page, uint32_t leaf_slot)
{
    struct key leaf;
    cr_assert_eq(vault_derive(vault, page, leaf_slot, &leaf), STATUS_OK);
    return leaf;
}

static bool key_is(const struct key *one, const struct key *other)
{
    return memcmp(one, other, sizeof(*one)) == 0;
}

static void puncture(uint32_t page, uint32_t leaf_slot)
{
    struct ggm_bitmap leaves = {0};
    ggm_bit_set(&leaves, leaf_slot);
    cr_assert_eq(vault_puncture(vault, page, &leaves), STATUS_OK);
}

static void destroy_epoch(uint64_t number)
{
    vault_destroy(vault, number, vault_has_done, NULL);
    turn_until_answered();
}

Test(sim_vault, a_view_says_what_the_vault_says)
{
    static struct key leaves[GGM_LEAVES];
    struct ggm_bitmap has;
    struct vault_view *view = view_under(&roots[1]);
    cr_assert_not_null(view);
    cr_assert_eq(vault_view_epoch(view), 1);
    vault_view_leaves(view, stands.covers, 17, leaves, &has);
    for (uint32_t at = 0; at < GGM_LEAVES; at += 15) {
        struct key leaf = leaf_of(17, at);
        cr_assert(ggm_bit(&has, at) && key_is(&leaves[at], &leaf));
    }
    struct key leaf = leaf_of(5000, 200);
    vault_view_nursery(&roots[1], 5000, leaves);
    cr_assert(key_is(&leaves[200], &leaf));
    vault_view_close(view);
    cr_assert_null(view_under(&roots[2]), "of another root");
}

Test(sim_vault, a_view_of_the_next_epoch_has_lost_what_was_punctured)
{
    static struct key leaves[GGM_LEAVES];
    struct ggm_bitmap has;
    struct key kept = leaf_of(17, 4);
    puncture(17, 5);
    begin_epoch(2);
    destroy_epoch(1);
    struct vault_view *view = view_under(&roots[2]);
    cr_assert_not_null(view);
    vault_view_leaves(view, stands.covers, 17, leaves, &has);
    cr_assert_not(ggm_bit(&has, 5));
    cr_assert(ggm_bit(&has, 4) && key_is(&leaves[4], &kept));
    vault_view_close(view);
    cr_assert_null(view_under(&roots[1]), "its table is removed");
}

Test(sim_vault, a_view_takes_old_covers_when_it_has_their_key)
{
    static struct key leaves[GGM_LEAVES];
    struct ggm_bitmap has;
    puncture(17, 5);
    begin_epoch(2);
    struct key gone = leaf_of(17, 6);
    struct vault_view *before = view_under(&roots[2]);
    destroy_epoch(1);
    puncture(17, 6);
    begin_epoch(3);
    destroy_epoch(2);
    vault_view_leaves(before, stands.covers, 17, leaves, &has);
    cr_assert(ggm_bit(&has, 6) && key_is(&leaves[6], &gone), "who kept the table of epoch 2 and its root has it");
    struct vault_view *now = view_under(&roots[3]);
    vault_view_leaves(now, stands.covers, 17, leaves, &has);
    cr_assert_not(ggm_bit(&has, 6), "who has the root of epoch 3 and every cover there ever was has not");
    cr_assert(ggm_bit(&has, 7));
    vault_view_close(before);
    vault_view_close(now);
}

Test(sim_vault, every_share_that_was_given_to_the_slot_is_known)
{
    begin_epoch(2);
    cr_assert_eq(stands.share_count, 2);
    cr_assert_eq(stands.shares[0].epoch, 1);
    cr_assert_eq(stands.shares[1].epoch, 2);
    cr_assert(key_is(&stands.shares[1].share, &roots[2]));
}
