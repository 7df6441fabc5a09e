/* test_placement.c - every PG stands in three domains; disks are evenly loaded; few distinct triples. */
#include "meta/placement.h"
#include "tests/unit/meta_fixture.h"

static struct placement placement;

/* All PGs made so far, so that a placement can be built anew for each join, as the state machine does. */
struct pg {
    uint32_t members[REPLICAS];
};
static struct pg pgs[PLACEMENT_PGS_MAX];
static uint32_t pg_count;
static uint32_t domains[PLACEMENT_DISKS_MAX + 1]; /* by disk id */
static uint32_t disk_count;

static void start(uint32_t pgs_per_disk, uint32_t scatter_width)
{
    placement_init(&placement, pgs_per_disk, scatter_width);
    for (uint32_t id = 1; id <= disk_count; id++) {
        cr_assert(placement_add_disk(&placement, id, domains[id]));
    }
    for (uint32_t i = 0; i < pg_count; i++) {
        cr_assert(placement_add_pg(&placement, pgs[i].members));
    }
}

static void join(uint32_t domain, uint32_t pgs_per_disk, uint32_t scatter_width)
{
    domains[++disk_count] = domain;
    start(pgs_per_disk, scatter_width);
    placement_set_joining(&placement, disk_count);
    uint32_t members[REPLICAS];
    while (placement_next(&placement, members)) {
        cr_assert(placement_pg_is_spread(&placement, members));
        memcpy(pgs[pg_count++].members, members, sizeof(members));
    }
}

static void extremes(uint32_t *least, uint32_t *most)
{
    *least = UINT32_MAX;
    *most = 0;
    for (uint32_t i = 0; i < placement.disk_count; i++) {
        *least = placement.disks[i].pgs < *least ? placement.disks[i].pgs : *least;
        *most = placement.disks[i].pgs > *most ? placement.disks[i].pgs : *most;
    }
}

static int triple_order(const void *left, const void *right)
{
    return memcmp(left, right, sizeof(struct pg));
}

static uint32_t count_distinct_triples(void)
{
    static struct pg sorted[PLACEMENT_PGS_MAX];
    for (uint32_t i = 0; i < pg_count; i++) {
        sorted[i] = pgs[i];
        for (unsigned a = 0; a < REPLICAS; a++) {
            for (unsigned b = a + 1; b < REPLICAS; b++) {
                if (sorted[i].members[b] < sorted[i].members[a]) {
                    uint32_t swap = sorted[i].members[a];
                    sorted[i].members[a] = sorted[i].members[b];
                    sorted[i].members[b] = swap;
                }
            }
        }
    }
    qsort(sorted, pg_count, sizeof(sorted[0]), triple_order);
    uint32_t distinct = 0;
    for (uint32_t i = 0; i < pg_count; i++) {
        distinct += i == 0 || triple_order(&sorted[i - 1], &sorted[i]) != 0 ? 1 : 0;
    }
    return distinct;
}

Test(placement, needs_three_domains)
{
    join(1, 96, 4);
    join(1, 96, 4);
    join(2, 96, 4);
    cr_assert_eq(pg_count, 0);
    join(3, 96, 4);
    cr_assert_gt(pg_count, 0);
}

Test(placement, is_even_over_the_first_nodes_as_they_come)
{
    uint32_t least = 0;
    uint32_t most = 0;
    join(1, 96, 4);
    join(2, 96, 4);
    join(3, 96, 4);
    cr_assert_eq(pg_count, 8);
    for (uint32_t node = 4; node <= 8; node++) {
        join(node, 96, 4);
        extremes(&least, &most);
        uint32_t slack = node <= 5 ? 0 : most / 2;
        cr_assert_leq(most - least, slack, "%u nodes: %u..%u", node, least, most);
    }
}

Test(placement, turns_the_order_of_members)
{
    uint32_t first[4] = {0};
    join(1, 96, 4);
    join(2, 96, 4);
    join(3, 96, 4);
    for (uint32_t i = 0; i < pg_count; i++) {
        first[pgs[i].members[0]]++;
    }
    cr_assert_geq(first[1], 2);
    cr_assert_geq(first[2], 2);
    cr_assert_geq(first[3], 2);
}

Test(placement, holds_its_promises_for_up_to_200_disks)
{
    for (uint32_t shape = 0; shape < 3; shape++) {
        pg_count = 0;
        disk_count = 0;
        for (uint32_t i = 0; i < 200; i++) {
            /* One disk per node; four disks per node; twenty disks in each of ten racks, one rack after the other. */
            uint32_t domain = shape == 0 ? i : shape == 1 ? i / 4 : i / 20;
            join(domain, 48, 4);
            if (i % 40 != 39 || pg_count == 0) {
                continue;
            }
            uint32_t least = 0;
            uint32_t most = 0;
            extremes(&least, &most);
            uint32_t mean = REPLICAS * pg_count / disk_count;
            uint32_t distinct = count_distinct_triples();
            cr_assert_geq(least, 4, "at least a twelfth");
            cr_assert_leq(most, 4 * mean, "shape %u, %u disks: most %u, mean %u", shape, disk_count, most, mean);
            cr_assert_leq(distinct, 3 * disk_count, "shape %u, %u disks: %u triples", shape, disk_count, distinct);
        }
    }
}

Test(placement, gives_the_same_for_the_same)
{
    uint32_t members[2][REPLICAS];
    for (uint32_t i = 1; i <= 9; i++) {
        domains[++disk_count] = i;
    }
    for (size_t i = 0; i < 2; i++) {
        start(96, 4);
        for (size_t n = 0; n < 20; n++) {
            cr_assert(placement_next(&placement, members[i]));
        }
    }
    cr_assert_arr_eq(members[0], members[1], sizeof(members[0]));
}

Test(placement, refuses_what_does_not_fit)
{
    uint32_t unknown[REPLICAS] = {1, 2, 99};
    for (uint32_t i = 1; i <= 3; i++) {
        domains[++disk_count] = i;
    }
    start(96, 4);
    cr_assert_not(placement_add_pg(&placement, unknown));
    cr_assert_not(placement_pg_is_spread(&placement, unknown));
}

/* ---- through the state machine ----------------------------------------------------------------- */

static struct meta_fixture fixture;
static struct meta_fixture *const f = &fixture;

static void setup(void)
{
    fixture_open_empty(f);
}

static void teardown(void)
{
    fixture_close(f);
}

static Trilith__Map *map_of(void)
{
    Trilith__Map *map = NULL;
    cr_assert_eq(registry_map(fixture_tables(f), state_cluster(f->state)->map_epoch, &map), STATUS_OK);
    return map;
}

TestSuite(registry, .init = setup, .fini = teardown);

Test(registry, has_pgs_once_three_nodes_joined_and_more_with_the_fourth)
{
    cr_assert_eq(fixture_join(f, "node1", 1), STATUS_OK);
    cr_assert_eq(fixture_join(f, "node2", 2), STATUS_OK);
    cr_assert_eq(map_of()->n_pgs, 0);
    cr_assert_eq(fixture_join(f, "node3", 3), STATUS_OK);
    size_t three = map_of()->n_pgs;
    cr_assert_gt(three, 0);
    cr_assert_eq(fixture_join(f, "node4", 4), STATUS_OK);
    const Trilith__Map *map = map_of();
    cr_assert_gt(map->n_pgs, three);
    cr_assert_eq(map->epoch, 4);
    cr_assert_eq(map->n_nodes, 4);
    cr_assert_eq(map->n_disks, 4);
}

Test(registry, knows_nodes_by_name_and_disks_by_uuid)
{
    cr_assert_eq(fixture_join(f, "node1", 1), STATUS_OK);
    cr_assert_eq(f->outcome.id, 1);
    uint64_t epoch = state_cluster(f->state)->map_epoch;
    cr_assert_eq(fixture_join(f, "node1", 1), STATUS_OK);
    cr_assert_eq(f->outcome.id, 1);
    cr_assert_eq(state_cluster(f->state)->map_epoch, epoch, "nothing has changed");
    cr_assert_eq(fixture_join_disks(f, "node1", "node1", 1, 2), STATUS_OK);
    cr_assert_eq(map_of()->n_disks, 2);
    cr_assert_eq(state_cluster(f->state)->map_epoch, epoch + 1);
}

Test(registry, a_disk_carried_to_another_node_keeps_its_id)
{
    cr_assert_eq(fixture_join(f, "node1", 1), STATUS_OK);
    cr_assert_eq(fixture_join(f, "node2", 2), STATUS_OK);
    cr_assert_eq(fixture_join(f, "node9", 1), STATUS_OK);
    cr_assert_eq(map_of()->n_disks, 2);
    cr_assert_eq(map_of()->disks[0]->id, 1);
    cr_assert_eq(map_of()->disks[0]->node_id, 3);
}

Test(registry, refuses_to_bring_two_members_of_a_pg_into_one_domain)
{
    for (uint8_t i = 1; i <= 3; i++) {
        char name[8];
        (void)snprintf(name, sizeof(name), "node%u", i);
        cr_assert_eq(fixture_join(f, name, i), STATUS_OK);
    }
    uint64_t epoch = state_cluster(f->state)->map_epoch;
    cr_assert_eq(fixture_join(f, "node2", 1), STATUS_CONFLICT, "disk 1 at node2");
    cr_assert_eq(fixture_join_disks(f, "node1", "node2", 1, 1), STATUS_CONFLICT, "node1 in node2's domain");
    cr_assert_eq(state_cluster(f->state)->map_epoch, epoch);
    cr_assert_eq(map_of()->disks[0]->node_id, 1);
}

Test(registry, refuses_what_is_malformed)
{
    cr_assert_eq(fixture_join(f, "", 1), STATUS_INVALID);
    cr_assert_eq(fixture_join(f, "with space", 1), STATUS_INVALID);
    cr_assert_eq(fixture_join_disks(f, "node1", "", 1, 1), STATUS_INVALID);
    cr_assert_eq(map_of()->n_nodes, 0);
}
