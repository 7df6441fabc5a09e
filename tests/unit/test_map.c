/* test_map.c - a map is refused unless it is consistent; choices go to members that are up, in proportion to room. */
#include "node/map.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define COUNT 6u

/* A wire map of six nodes with one disk each and four PGs, to be spoilt by each test. */
static struct {
    Trilith__Map map;
    Trilith__MapNode nodes[COUNT];
    Trilith__MapDisk disks[COUNT];
    Trilith__MapPg pgs[4];
    Trilith__DiskHealth health[COUNT];
    Trilith__MapNode *node_pointers[COUNT];
    Trilith__MapDisk *disk_pointers[COUNT];
    Trilith__MapPg *pg_pointers[4];
    Trilith__DiskHealth *health_pointers[COUNT];
    char names[COUNT][16];
    char addresses[COUNT][32];
    uint8_t uuids[COUNT][16];
    uint32_t members[4][4];
} wire;

static void setup(void)
{
    static const uint32_t members[4][4] = {{1, 2, 3}, {2, 3, 4}, {4, 5, 6}, {1, 5, 6}};
    memcpy(wire.members, members, sizeof(members));
    trilith__map__init(&wire.map);
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(wire.names[i], sizeof(wire.names[i]), "node%u", i + 1);
        snprintf(wire.addresses[i], sizeof(wire.addresses[i]), "127.0.0.1:%u", 7500 + i);
        memset(wire.uuids[i], (int)i, 16);
        trilith__map_node__init(&wire.nodes[i]);
        wire.nodes[i].id = COUNT - i; /* out of order on purpose */
        wire.nodes[i].name = wire.names[i];
        wire.nodes[i].rpc_address = wire.addresses[i];
        wire.node_pointers[i] = &wire.nodes[i];
        trilith__map_disk__init(&wire.disks[i]);
        wire.disks[i].id = COUNT - i;
        wire.disks[i].node_id = COUNT - i;
        wire.disks[i].uuid.data = wire.uuids[i];
        wire.disks[i].uuid.len = 16;
        wire.disk_pointers[i] = &wire.disks[i];
        trilith__disk_health__init(&wire.health[i]);
        wire.health[i].disk_id = i + 1;
        wire.health[i].up = true;
        wire.health[i].free = GIB(1);
        wire.health[i].state = TRILITH__DISK_STATE__DISK_SERVING;
        wire.health_pointers[i] = &wire.health[i];
    }
    for (unsigned i = 0; i < 4; i++) {
        trilith__map_pg__init(&wire.pgs[i]);
        wire.pgs[i].id = 4 - i;
        wire.pgs[i].members = wire.members[i];
        wire.pgs[i].n_members = 3;
        wire.pg_pointers[i] = &wire.pgs[i];
    }
    wire.map.epoch = 9;
    wire.map.n_nodes = COUNT;
    wire.map.nodes = wire.node_pointers;
    wire.map.n_disks = COUNT;
    wire.map.disks = wire.disk_pointers;
    wire.map.n_pgs = 4;
    wire.map.pgs = wire.pg_pointers;
}

TestSuite(map, .init = setup);

static struct map *decode_with_health(void)
{
    struct map *bare = NULL;
    cr_assert_eq(map_decode(&wire.map, &bare), STATUS_OK);
    struct map *map = map_with_health(bare, wire.health_pointers, COUNT);
    map_release(bare);
    return map;
}

Test(map, finds_what_it_holds_whatever_the_order_on_the_wire)
{
    struct map *map = decode_with_health();
    for (uint32_t id = 1; id <= COUNT; id++) {
        cr_assert_eq(map_find_node(map, id)->id, id);
        cr_assert_eq(map_find_disk(map, id)->node_id, id);
    }
    cr_assert(map_pg_has_member(map_find_pg(map, 4), 1));
    cr_assert_not(map_pg_has_member(map_find_pg(map, 4), 4));
    cr_assert_null(map_find_node(map, 7));
    cr_assert_null(map_find_disk(map, 0));
    cr_assert_null(map_find_pg(map, 5));
    map_release(map);
}

static void refuse(enum status expected)
{
    struct map *map = NULL;
    cr_assert_eq(map_decode(&wire.map, &map), expected);
    cr_assert_null(map, "nothing is written on failure");
    setup();
}

Test(map, that_contradicts_itself_is_refused)
{
    wire.nodes[0].id = 0;
    refuse(STATUS_INVALID);
    wire.nodes[0].id = wire.nodes[1].id;
    refuse(STATUS_INVALID);
    wire.names[2][0] = '\0';
    refuse(STATUS_INVALID);
    wire.disks[0].node_id = 77;
    refuse(STATUS_INVALID);
    wire.disks[0].uuid.len = 15;
    refuse(STATUS_INVALID);
    wire.disks[3].id = wire.disks[4].id;
    refuse(STATUS_INVALID);
    wire.members[1][2] = wire.members[1][0];
    refuse(STATUS_INVALID);
    wire.members[1][2] = 99;
    refuse(STATUS_INVALID);
    wire.pgs[2].n_members = 2;
    refuse(STATUS_INVALID);
    wire.pgs[2].n_members = 4;
    refuse(STATUS_INVALID);
    wire.pgs[2].id = 0;
    refuse(STATUS_INVALID);
    static char long_name[MAP_NAME_BYTES + 1];
    memset(long_name, 'x', sizeof(long_name) - 1);
    wire.nodes[5].name = long_name;
    refuse(STATUS_INVALID);
    wire.map.n_nodes = MAP_NODES_MAX + 1;
    refuse(STATUS_TOO_LARGE);
    wire.map.n_pgs = MAP_PGS_MAX + 1;
    refuse(STATUS_TOO_LARGE);
}

Test(map, without_anything_is_a_map)
{
    wire.map.n_nodes = wire.map.n_disks = wire.map.n_pgs = 0;
    struct map *map = decode_with_health();
    struct map_choice choice;
    uint32_t disks[REPLICAS];
    cr_assert_eq(map_choose_pg(map, NULL, 3, 5, &choice), STATUS_UNAVAILABLE);
    cr_assert_eq(map_order_replicas(map, 1, 0, NULL, 5, disks), 0);
    map_release(map);
}

Test(map, chooses_only_pgs_whose_members_are_up_and_not_avoided)
{
    wire.health[0].up = false;                                    /* disk 1: PGs 4 and 1 are out */
    wire.health[3].state = TRILITH__DISK_STATE__DISK_CATCHING_UP; /* disk 4: PGs 3 and 2 are out */
    struct map *map = decode_with_health();
    struct map_choice choice;
    cr_assert_eq(map_choose_pg(map, NULL, 3, 1, &choice), STATUS_UNAVAILABLE);
    for (uint64_t random = 0; random < 100; random++) {
        cr_assert_eq(map_choose_pg(map, NULL, 2, random * 77777, &choice), STATUS_OK);
        cr_assert_eq(choice.copies, 2);
        for (unsigned i = 0; i < 2; i++) {
            cr_assert(choice.disks[i] != 1 && choice.disks[i] != 4);
            cr_assert(map_pg_has_member(map_find_pg(map, choice.pg), choice.disks[i]));
        }
    }
    map_release(map);
    setup();
    map = decode_with_health();
    struct map_avoid avoid = {.disks = {5}, .count = 1};
    for (uint64_t random = 0; random < 100; random++) {
        cr_assert_eq(map_choose_pg(map, &avoid, 3, random * 77777, &choice), STATUS_OK);
        cr_assert_eq(choice.copies, 3);
        cr_assert(choice.pg == 4 || choice.pg == 3);
    }
    map_release(map);
}

Test(map, chooses_in_proportion_to_the_room_of_the_fullest_member)
{
    wire.health[0].free = GIB(3);
    wire.health[1].free = GIB(3);
    wire.health[2].free = GIB(3);
    wire.health[3].free = MAP_FREE_BYTES_MIN - 1; /* disk 4 is full: PGs 3 and 2 weigh nothing */
    struct map *map = decode_with_health();
    unsigned chosen[5] = {0};
    uint64_t random = 1;
    for (unsigned i = 0; i < 4000; i++) {
        struct map_choice choice;
        random = random * 6364136223846793005u + 1442695040888963407u;
        cr_assert_eq(map_choose_pg(map, NULL, 3, random >> 16, &choice), STATUS_OK);
        chosen[choice.pg]++;
    }
    cr_assert_eq(chosen[3], 0);
    cr_assert_eq(chosen[2], 0);
    cr_assert(chosen[4] > 2 * chosen[1] && chosen[4] < 4 * chosen[1], "three to one");
    map_release(map);
}

Test(map, says_full_when_members_are_up_without_room)
{
    for (unsigned i = 0; i < COUNT; i++) {
        wire.health[i].free = 0;
    }
    struct map *map = decode_with_health();
    struct map_choice choice;
    cr_assert_eq(map_choose_pg(map, NULL, 3, 1, &choice), STATUS_FULL);
    map_release(map);
}

Test(map, says_full_when_members_are_up_and_say_so_themselves)
{
    wire.health[0].state = TRILITH__DISK_STATE__DISK_FULL; /* disk 1: PGs 4 and 1 */
    wire.health[3].state = TRILITH__DISK_STATE__DISK_FULL; /* disk 4: PGs 3 and 2 */
    struct map *map = decode_with_health();
    struct map_choice choice;
    cr_assert_eq(map_choose_pg(map, NULL, 3, 1, &choice), STATUS_FULL);
    map_release(map);
}

Test(map, orders_replicas_local_first_then_up_then_the_rest)
{
    wire.health[2].up = false;
    struct map *map = decode_with_health();
    bool first_seen[COUNT + 1] = {false};
    for (uint64_t i = 0; i < 64; i++) {
        uint32_t disks[REPLICAS];
        uint64_t random = i * 0x9e3779b97f4a7c15u;
        cr_assert_eq(map_order_replicas(map, 4, 2, NULL, random, disks), 3);
        cr_assert(disks[0] == 2 && disks[1] == 1 && disks[2] == 3);
        struct map_avoid avoid = {.disks = {2}, .count = 1};
        cr_assert_eq(map_order_replicas(map, 4, 2, &avoid, random, disks), 3);
        cr_assert(disks[0] == 1 && disks[1] == 2 && disks[2] == 3);
        cr_assert_eq(map_order_replicas(map, 2, 0, NULL, random, disks), 3);
        first_seen[disks[0]] = true;
    }
    cr_assert(first_seen[4] && first_seen[5] && first_seen[6], "chance spreads the readers");
    map_release(map);
}

Test(map, is_kept_by_whoever_holds_it)
{
    struct map *map = decode_with_health();
    map_hold(map);
    map_release(map);
    cr_assert_eq(map->epoch, 9);
    map_release(map);
    map_release(NULL);
}

/* ---- PGs that are being moved ------------------------------------------------------------------ */

/* PG 1 of the wire (members 1, 5, 6) gets disk 2 in the place of disk 5. */
static void begin_move(void)
{
    for (unsigned i = 0; i < 4; i++) {
        if (wire.pgs[i].id == 1) {
            wire.pgs[i].target = 2;
            wire.pgs[i].leaving = 5;
            wire.pgs[i].changed_epoch = 9;
        }
    }
}

Test(map, refuses_a_target_that_can_not_be_one)
{
    struct map *map = NULL;
    begin_move();
    cr_assert_eq(map_decode(&wire.map, &map), STATUS_OK);
    cr_assert_eq(map_find_pg(map, 1)->target, 2);
    map_release(map);
    for (unsigned i = 0; i < 4; i++) {
        if (wire.pgs[i].id == 1) {
            wire.pgs[i].target = 99;
            cr_assert_eq(map_decode(&wire.map, &map), STATUS_INVALID, "no such disk");
            wire.pgs[i].target = 6;
            cr_assert_eq(map_decode(&wire.map, &map), STATUS_INVALID, "a member");
            wire.pgs[i].target = 2;
            wire.pgs[i].leaving = 3;
            cr_assert_eq(map_decode(&wire.map, &map), STATUS_INVALID, "what leaves is none");
            wire.pgs[i].target = 0;
            cr_assert_eq(map_decode(&wire.map, &map), STATUS_INVALID, "nothing takes its place");
        }
    }
}

Test(map, takes_no_writers_copy_while_a_pg_is_moved_and_none_that_began_before_it_changed)
{
    struct map *map = decode_with_health();
    struct map_put put = {.pg = 1, .disk_id = 5, .map_epoch = 9};
    cr_assert_eq(map_check_put(map, &put), STATUS_OK);
    put.disk_id = 2;
    cr_assert_eq(map_check_put(map, &put), STATUS_CONFLICT, "no member");
    put.map_epoch = 10;
    cr_assert_eq(map_check_put(map, &put), STATUS_BUSY, "the writer knows more");
    map_release(map);

    begin_move();
    map = decode_with_health();
    put = (struct map_put){.pg = 1, .disk_id = 5, .map_epoch = 9};
    cr_assert_eq(map_check_put(map, &put), STATUS_CONFLICT, "it is being moved");
    put.disk_id = 2;
    cr_assert_eq(map_check_put(map, &put), STATUS_CONFLICT, "the target takes nothing from writers");
    put.takes_over = true;
    cr_assert_eq(map_check_put(map, &put), STATUS_OK);
    put.disk_id = 5;
    cr_assert_eq(map_check_put(map, &put), STATUS_CONFLICT);
    map_release(map);

    for (unsigned i = 0; i < 4; i++) { /* The move is over: disk 2 is a member. */
        if (wire.pgs[i].id == 1) {
            wire.pgs[i].members[1] = 2;
            wire.pgs[i].target = 0;
            wire.pgs[i].leaving = 0;
        }
    }
    map = decode_with_health();
    put = (struct map_put){.pg = 1, .disk_id = 6, .map_epoch = 8};
    cr_assert_eq(map_check_put(map, &put), STATUS_CONFLICT, "chosen when it was another PG");
    put.map_epoch = 9;
    cr_assert_eq(map_check_put(map, &put), STATUS_OK);
    put.disk_id = 5;
    cr_assert_eq(map_check_put(map, &put), STATUS_CONFLICT, "not any more");
    map_release(map);
}

static bool ever_chosen(const struct map *map, uint32_t pg)
{
    bool chosen = false;
    for (uint64_t random = 0; random < 64; random++) {
        struct map_choice choice;
        enum status status = map_choose_pg(map, NULL, REPLICAS, random * UINT64_C(0x9e3779b97f4a7c15), &choice);
        cr_assert_eq(status, STATUS_OK);
        chosen = chosen || choice.pg == pg;
    }
    return chosen;
}

Test(map, chooses_no_pg_that_is_moved_and_one_of_a_draining_disk_last)
{
    struct map *map = decode_with_health();
    cr_assert(ever_chosen(map, 1));
    cr_assert(ever_chosen(map, 2));
    map_release(map);
    begin_move();
    map = decode_with_health();
    cr_assert_not(ever_chosen(map, 1));
    cr_assert(ever_chosen(map, 2));
    map_release(map);
    wire.disks[COUNT - 6].phase = TRILITH__DISK_PHASE__DISK_DRAINING; /* disk 6, of PG 2 too */
    map = decode_with_health();
    cr_assert_not(ever_chosen(map, 2));
    map_release(map);
    for (unsigned i = 0; i < COUNT; i++) {
        wire.disks[i].phase = TRILITH__DISK_PHASE__DISK_DRAINING;
    }
    map = decode_with_health();
    cr_assert(ever_chosen(map, 2), "when nothing else is left");
    cr_assert_not(ever_chosen(map, 1));
    map_release(map);
}
