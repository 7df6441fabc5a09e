/* test_membership.c - a node is up while its lease holds, then suspect, then down; by the leader's clock alone. */
#include "meta/membership.h"

#include <criterion/criterion.h>

#define LEASE_NS (10 * NS_PER_S)

static struct membership membership;

static void setup(void)
{
    membership_init(&membership, LEASE_NS, 1000);
}

static void teardown(void)
{
    membership_deinit(&membership);
}

static void hear(uint64_t node_id, uint64_t now_ns, Trilith__DiskState state)
{
    static uint8_t uuid[16] = {1};
    static char path[] = "/disk";
    Trilith__DiskReport report = TRILITH__DISK_REPORT__INIT;
    Trilith__DiskReport *reports[1] = {&report};
    uint32_t disk_ids[1] = {7};
    report.uuid = (ProtobufCBinaryData){.data = uuid, .len = 16};
    report.path = path;
    report.free = 500;
    report.state = state;
    cr_assert_eq(membership_hear(&membership, node_id, now_ns, reports, disk_ids, 1), STATUS_OK);
}

TestSuite(membership, .init = setup, .fini = teardown);

Test(membership, follows_the_lease)
{
    hear(1, 5000, TRILITH__DISK_STATE__DISK_SERVING);
    cr_assert_eq(membership_node_state(&membership, 1, 5000), NODE_UP);
    cr_assert_eq(membership_node_state(&membership, 1, 5000 + LEASE_NS), NODE_UP);
    cr_assert_eq(membership_node_state(&membership, 1, 5001 + LEASE_NS), NODE_SUSPECT);
    cr_assert_eq(membership_node_state(&membership, 1, 5000 + 2 * LEASE_NS), NODE_SUSPECT);
    cr_assert_eq(membership_node_state(&membership, 1, 5001 + 2 * LEASE_NS), NODE_DOWN);
    hear(1, 5002 + 3 * LEASE_NS, TRILITH__DISK_STATE__DISK_SERVING);
    cr_assert_eq(membership_node_state(&membership, 1, 5002 + 3 * LEASE_NS), NODE_UP);
}

Test(membership, doubts_whom_a_new_leader_has_not_heard)
{
    cr_assert_eq(membership_node_state(&membership, 1, 1000), NODE_SUSPECT);
    cr_assert_eq(membership_node_state(&membership, 1, 1001 + 2 * LEASE_NS), NODE_DOWN);
    cr_assert_null(membership_member(&membership, 1));
    cr_assert_null(membership_disk(&membership, 1, 7));
}

Test(membership, a_disk_is_up_when_it_serves_and_its_node_lives)
{
    hear(1, 5000, TRILITH__DISK_STATE__DISK_SERVING);
    cr_assert(membership_disk_is_up(&membership, 1, 7, 5000));
    cr_assert_not(membership_disk_is_up(&membership, 1, 8, 5000));
    cr_assert_not(membership_disk_is_up(&membership, 1, 7, 5001 + LEASE_NS));
    hear(1, 6000, TRILITH__DISK_STATE__DISK_FULL);
    cr_assert(membership_disk_is_up(&membership, 1, 7, 6000), "a full disk can be read");
    hear(1, 6000, TRILITH__DISK_STATE__DISK_CATCHING_UP);
    cr_assert_not(membership_disk_is_up(&membership, 1, 7, 6000));
    hear(1, 6000, TRILITH__DISK_STATE__DISK_FENCED);
    cr_assert_not(membership_disk_is_up(&membership, 1, 7, 6000));
    cr_assert_eq(membership_disk(&membership, 1, 7)->free, 500);
}

Test(membership, is_bounded)
{
    Trilith__DiskReport *none[1] = {NULL};
    uint32_t disk_ids[1] = {0};
    for (uint64_t node = 1; node <= MEMBERSHIP_NODES_MAX; node++) {
        cr_assert_eq(membership_hear(&membership, node, 1000, none, disk_ids, 0), STATUS_OK);
    }
    cr_assert_eq(membership_hear(&membership, MEMBERSHIP_NODES_MAX + 1, 1000, none, disk_ids, 0), STATUS_FULL);
    cr_assert_eq(membership_hear(&membership, 1, 1000, none, disk_ids, MEMBERSHIP_NODE_DISKS_MAX + 1), STATUS_FULL);
}

/* ---- keys in memory ------------------------------------------------------------------------------- */

Test(membership, keeps_the_newest_index_that_a_node_has_said_since_it_registered)
{
    hear(1, 5000, TRILITH__DISK_STATE__DISK_SERVING);
    cr_assert_eq(membership_keys_since(&membership, 1), 0, "it has not said");
    membership_set_keys_since(&membership, 1, 40);
    membership_set_keys_since(&membership, 1, 30); /* sent before, arrives late */
    cr_assert_eq(membership_keys_since(&membership, 1), 40);
    membership_set_keys_since(&membership, 1, 50);
    cr_assert_eq(membership_keys_since(&membership, 1), 50);
    cr_assert_eq(membership_keys_since(&membership, 2), 0, "nobody has heard of it");
    membership_set_keys_since(&membership, 2, 60);
    cr_assert_eq(membership_keys_since(&membership, 2), 0);
    membership_set_keys_since(&membership, 1, 0);
    cr_assert_eq(membership_keys_since(&membership, 1), 0, "a process that has just registered has not said");
}
