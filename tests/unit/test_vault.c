/* test_vault.c - leaves are the same after a restart, all different, and gone once punctured. */
#include "meta/secret_file.h"
#include "meta/vault/vault_local.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[] = "/tmp/trilith-test-vault-XXXXXX";
static char path[128];
static char message[512];
static struct vault *vault;

static void setup(void)
{
    cr_assert_eq(keys_start_process(), STATUS_OK);
    cr_assert_not_null(mkdtemp(directory));
    (void)snprintf(path, sizeof(path), "%s/root", directory);
    cr_assert_eq(vault_local_open(path, true, &vault, message, sizeof(message)), STATUS_OK, "%s", message);
}

static void teardown(void)
{
    vault_close(vault);
    (void)unlink(path);
    (void)rmdir(directory);
}

TestSuite(vault, .init = setup, .fini = teardown);

Test(vault, makes_its_root_once_and_privately)
{
    struct stat info;
    cr_assert_eq(stat(path, &info), 0);
    cr_assert_eq(info.st_mode & 07777, 0600);
    cr_assert_eq(info.st_size, 32);
    struct key before;
    struct key after;
    cr_assert_eq(vault_derive(vault, 1, 0, &before), STATUS_OK);
    vault_close(vault);
    cr_assert_eq(vault_local_open(path, false, &vault, message, sizeof(message)), STATUS_OK);
    cr_assert_eq(vault_derive(vault, 1, 0, &after), STATUS_OK);
    cr_assert_arr_eq(before.bytes, after.bytes, KEY_BYTES);
}

Test(vault, never_makes_another_root_for_a_cluster_that_had_one)
{
    struct vault *second = NULL;
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(vault_local_open(path, false, &second, message, sizeof(message)), STATUS_NOT_FOUND);
    cr_assert_neq(access(path, F_OK), 0);
}

Test(vault, refuses_a_root_that_others_can_read_or_of_another_size)
{
    struct vault *second = NULL;
    cr_assert_eq(chmod(path, 0640), 0);
    cr_assert_eq(vault_local_open(path, true, &second, message, sizeof(message)), STATUS_DENIED);
    cr_assert_not_null(strstr(message, "0600"));
    cr_assert_eq(chmod(path, 0600), 0);
    cr_assert_eq(truncate(path, 31), 0);
    cr_assert_eq(vault_local_open(path, true, &second, message, sizeof(message)), STATUS_INVALID);
    cr_assert_eq(truncate(path, 64), 0);
    cr_assert_eq(vault_local_open(path, true, &second, message, sizeof(message)), STATUS_INVALID);
}

Test(vault, says_a_lease_as_it_derives_single_leaves)
{
    struct key leaves[4];
    struct key *pointers[4] = {&leaves[0], &leaves[1], &leaves[2], &leaves[3]};
    struct key single;
    cr_assert_eq(vault_lease(vault, 3, 10, pointers, 4), STATUS_OK);
    for (uint32_t i = 0; i < 4; i++) {
        cr_assert_eq(vault_derive(vault, 3, 10 + i, &single), STATUS_OK);
        cr_assert_arr_eq(leaves[i].bytes, single.bytes, KEY_BYTES);
    }
    cr_assert(memcmp(leaves[0].bytes, leaves[1].bytes, KEY_BYTES) != 0);
    cr_assert_eq(vault_derive(vault, 4, 10, &single), STATUS_OK);
    cr_assert(memcmp(leaves[0].bytes, single.bytes, KEY_BYTES) != 0);
}

Test(vault, refuses_a_punctured_leaf_and_only_that)
{
    struct key leaf;
    struct key other;
    struct key *both[2] = {&leaf, &other};
    static const uint32_t pages[] = {1, 2047, 2048, 70000};
    for (size_t i = 0; i < ARRAY_LENGTH(pages); i++) {
        cr_assert_eq(vault_puncture(vault, pages[i], 77), STATUS_OK);
        cr_assert_eq(vault_puncture(vault, pages[i], 77), STATUS_OK);
        cr_assert_eq(vault_derive(vault, pages[i], 77, &leaf), STATUS_GONE);
        cr_assert_eq(vault_lease(vault, pages[i], 76, both, 2), STATUS_GONE);
        cr_assert_eq(vault_derive(vault, pages[i], 76, &leaf), STATUS_OK);
        cr_assert_eq(vault_derive(vault, pages[i] + 1, 77, &leaf), STATUS_OK);
    }
    cr_assert_eq(vault_derive(vault, 1, 77, &leaf), STATUS_GONE, "still, after the set has grown");
}

Test(vault, refuses_slots_that_do_not_exist)
{
    struct key leaf;
    struct key *one[1] = {&leaf};
    cr_assert_eq(vault_derive(vault, 0, 0, &leaf), STATUS_INVALID);
    cr_assert_eq(vault_derive(vault, 1, VAULT_PAGE_LEAVES, &leaf), STATUS_INVALID);
    cr_assert_eq(vault_puncture(vault, 1, VAULT_PAGE_LEAVES), STATUS_INVALID);
    cr_assert_eq(vault_lease(vault, 1, VAULT_PAGE_LEAVES, one, 1), STATUS_INVALID);
}
