/* test_keeper.c - the keeper over real vaults: closes, waits, failures, and the end of the process at every step of a close.
 *
 * TRILITH_VAULT_OPERATIONS says how many operations on leaves the random runs do in all; the default suits a slow core with
 * sanitizers, a soak takes millions. */
#include "base/buggify.h"
#include "tests/unit/keeper_world.h"

#define ENTRIES_MAX 100000u
#define ENDS_MAX    4000u

static struct world *world;
static struct server *server;

static void setup(void)
{
    world = world_open(1, 11, ENTRIES_MAX);
    server = &world->server[0];
    world_run(world);
}

static void teardown(void)
{
#ifdef TRILITH_BUGGIFY
    buggify_hooks = (struct buggify_hooks){0};
#endif
    world_close(world);
}

TestSuite(keeper, .init = setup, .fini = teardown, .timeout = 120);

/* Some leaves are known, and some of those punctured. */
static void use_some(uint32_t salt)
{
    server_check_leaves(server);
    for (uint32_t i = 0; i < 40; i++) {
        world_puncture(world, 1 + (i * 7 + salt) % (world->opened_end - 1), (i * 37 + salt * 5) % GGM_LEAVES);
    }
    while (server->keeper != NULL && server->state.applied < world->entry_count) {
        server_apply(server);
    }
}

/* One server, at rest: one share, of the epoch that the state names. */
static void check_one_epoch(void)
{
    uint8_t commitment[COMMITMENT_BYTES];
    uint64_t epoch = server->state.current.epoch;
    cr_assert(slot_holds(server, epoch, commitment));
    cr_assert(is_same(commitment, server->state.current.commitment));
    cr_assert_not(slot_holds(server, epoch + 1, commitment));
    cr_assert_not(epoch > 0 && slot_holds(server, epoch - 1, commitment));
}

Test(keeper, begins_the_first_epoch_by_itself_and_serves)
{
    cr_assert(server->serves);
    cr_assert_eq(server->state.current.epoch, 1);
    server_check_leaves(server);
    check_one_epoch();
}

Test(keeper, closes_when_asked_and_says_what_it_did)
{
    use_some(1);
    cr_assert(server_close_epoch(server));
    cr_assert_eq(world->waits_answered, 0, "not before it is done");
    world_run(world);
    cr_assert_eq(world->waits_answered, 1);
    cr_assert_eq(server->state.current.epoch, 2);
    const struct keeper_figures *figures = keeper_figures(server->keeper);
    cr_assert_eq(figures->closes, 1);
    cr_assert_eq(figures->closed.leaves_erased_total, server->state.punctured);
    cr_assert_gt(figures->closed.bytes_written, 0);
    cr_assert_gt(figures->duration_ns, 0);
    cr_assert_gt(keeper_memory(server->keeper), 0);
    check_one_epoch();
    server_check_leaves(server);
}

Test(keeper, waits_share_a_close_until_it_is_sealed_and_later_ones_get_the_next)
{
    use_some(1);
    cr_assert(server_close_epoch(server));
    cr_assert(server_close_epoch(server));
    while (server->state.sealed.epoch == 0) {
        world_step(world);
    }
    use_some(2);
    cr_assert(server_close_epoch(server));
    cr_assert(server_close_epoch(server));
    while (server->state.current.epoch < 2 || server->state.erasing != 0) {
        world_step(world);
    }
    for (uint32_t i = 0; i < 20; i++) {
        (void)sim_loop_step(world->base);
    }
    cr_assert_eq(world->waits_answered, 2);
    world_run(world);
    cr_assert_eq(world->waits_answered, 4);
    cr_assert_eq(server->state.current.epoch, 3, "and no further");
}

Test(keeper, closes_by_itself_only_when_something_was_punctured)
{
    server_stop(server);
    world->epoch_ns = 900 * NS_PER_S;
    server_start(server);
    world_run(world);
    sim_loop_run_for(world->base, 3000 * NS_PER_S);
    world_run(world);
    cr_assert_eq(server->state.current.epoch, 1);
    use_some(1);
    sim_loop_run_for(world->base, 901 * NS_PER_S);
    for (uint32_t i = 0; i < 400 && server->state.current.epoch == 1; i++) {
        world_step(world);
    }
    world_run(world);
    cr_assert_eq(server->state.current.epoch, 2);
    sim_loop_run_for(world->base, 3000 * NS_PER_S);
    world_run(world);
    cr_assert_eq(server->state.current.epoch, 2);
}

Test(keeper, who_waits_is_told_when_the_keeper_stops_in_the_middle)
{
    for (uint32_t steps = 0; steps < 60; steps++) {
        use_some(steps);
        cr_assert(server_close_epoch(server));
        for (uint32_t i = 0; i < steps; i++) {
            world_step(world);
        }
        server_stop(server); /* Checks that no wait is left. */
        server_start(server);
        world_run(world);
        server_check_leaves(server);
        check_one_epoch();
    }
}

Test(keeper, a_disk_that_is_full_ends_the_waits_and_the_close_is_tried_again)
{
    use_some(1);
    sim_disk_limit_bytes(server->disk, 1);
    cr_assert(server_close_epoch(server));
    while (server->waits[0].is_used) {
        world_step(world);
    }
    cr_assert_eq(world->waits_answered, 0);
    cr_assert_eq(server->state.current.epoch, 1);
    cr_assert_neq(keeper_message(server->keeper)[0], '\0');
    server_check_leaves(server);
    sim_disk_heal(server->disk);
    world_run(world);
    cr_assert_eq(server->state.current.epoch, 2);
    server_check_leaves(server);
    check_one_epoch();
}

Test(keeper, a_destruction_that_fails_is_never_claimed)
{
    use_some(1);
    cr_assert(server_close_epoch(server));
    while (server->state.current.epoch == 1) {
        world_step(world);
    }
    sim_disk_fail_after(server->disk, 1, STATUS_IO);
    while (!server->has_failed) {
        world_step(world);
    }
    cr_assert_eq(server->state.erasing, 1);
    cr_assert_eq(world->pending_count, 0);
    cr_assert_not(server->waits[0].is_used);
    cr_assert_eq(world->waits_answered, 0);
    struct key leaf;
    cr_assert_eq(keeper_derive(server->keeper, 1, 200, &leaf), STATUS_UNAVAILABLE);
    server_crash(server);
    server_start(server);
    world_run(world);
    cr_assert_eq(server->state.erasing, 0);
    check_one_epoch();
    server_check_leaves(server);
}

Test(keeper, without_the_lead_it_closes_nothing)
{
    world_lead(world, NOBODY);
    use_some(1);
    cr_assert(server_close_epoch(server));
    while (server->waits[0].is_used) {
        cr_assert(sim_loop_step(world->base));
    }
    cr_assert_eq(world->waits_answered, 0);
    cr_assert_eq(world->pending_count, 0);
}

Test(keeper, refuses_a_state_of_another_number_of_servers)
{
    server_stop(server);
    server->state.current.servers = 3;
    server_start(server);
    while (!server->has_failed) {
        cr_assert(sim_loop_step(world->base));
    }
    cr_assert_not_null(strstr(keeper_message(server->keeper), "shared out over 3"));
    cr_assert_not(server->serves);
}

/* ---- the end of the process at every step ------------------------------------------------------ */

/* After the crash: all is as before, or as after the close; and the next close works. */
static void recover(void)
{
    server_crash(server);
    server_start(server);
    world_run(world);
    check_one_epoch();
    server_check_leaves(server);
}

Test(keeper, killed_after_any_step_of_a_close_it_loses_and_keeps_nothing)
{
    bool done = false;
    for (uint32_t steps = 0; !done; steps++) {
        cr_assert_lt(steps, ENDS_MAX);
        use_some(steps);
        uint64_t answered = world->waits_answered;
        cr_assert(server_close_epoch(server));
        for (uint32_t i = 0; i < steps && !done; i++) {
            world_step(world);
            done = world->waits_answered > answered;
        }
        recover();
    }
}

#ifdef TRILITH_BUGGIFY
static enum kill_point kill_wanted;
static bool kill_passed;

static void note_kill_point(enum kill_point point)
{
    kill_passed = kill_passed || point == kill_wanted;
}

Test(keeper, killed_at_each_kill_point_of_a_close_it_loses_and_keeps_nothing)
{
    static const enum kill_point points[] = {
        KILL_VAULT_SEALED,   KILL_VAULT_COVERS_DURABLE,  KILL_VAULT_TABLE_DURABLE, KILL_VAULT_SHARE_PUT,
        KILL_VAULT_SWITCHED, KILL_VAULT_SHARE_DESTROYED, KILL_VAULT_TABLE_REMOVED, KILL_VAULT_ERASED};
    buggify_hooks.passed = note_kill_point;
    for (uint32_t i = 0; i < 4 * ARRAY_LENGTH(points); i++) {
        kill_wanted = points[i % ARRAY_LENGTH(points)];
        kill_passed = false;
        use_some(i);
        cr_assert(server_close_epoch(server));
        for (uint32_t step = 0; !kill_passed; step++) {
            cr_assert_lt(step, ENDS_MAX, "%s is never passed", kill_point_name(kill_wanted));
            world_step(world);
        }
        recover();
    }
}

static bool fires_sometimes(enum buggify_point point)
{
    static unsigned passes;
    return point == BUGGIFY_VAULT_SEAL_AGAIN && passes++ % 4 < 2;
}

Test(keeper, seals_again_although_prepared_and_comes_to_the_same)
{
    buggify_hooks.fires = fires_sometimes;
    for (uint32_t i = 0; i < 6; i++) {
        use_some(i);
        cr_assert(server_close_epoch(server));
        world_run(world);
        server_check_leaves(server);
        check_one_epoch();
    }
    cr_assert_eq(world->waits_answered, 6);
}
#endif

/* ---- any order, against the model -------------------------------------------------------------- */

static uint64_t variable(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

static void random_leaves(struct world *of, struct server *at)
{
    for (uint32_t i = 0; i < 24 / of->servers && at->keeper != NULL; i++) {
        uint32_t page = 1 + (uint32_t)world_below(of, of->opened_end - 1);
        server_check_leaf(at, page, (uint32_t)world_below(of, GGM_LEAVES));
    }
}

static bool is_down(const struct server *at)
{
    return at->keeper == NULL && !at->slot_is_opening;
}

static void random_fault(struct world *of, struct server *at)
{
    uint32_t leader = (uint32_t)world_below(of, of->servers + 1);
    if (is_down(at)) {
        if (world_chance(of, 40)) { /* Others may close an epoch meanwhile. */
            server_start(at);
        }
    } else if (at->keeper != NULL && world_chance(of, 3)) {
        server_crash(at);
    } else if (of->servers > 1 && world_chance(of, 3)) {
        world_lead(of, leader < of->servers && of->server[leader].keeper != NULL ? leader : NOBODY);
    } else if (of->leader == NOBODY || is_down(&of->server[of->leader])) {
        world_lead(of, leader % of->servers);
    }
}

static void random_operation(struct world *of)
{
    struct server *at = &of->server[world_below(of, of->servers)];
    uint64_t choice = world_below(of, 100);
    if (choice < 40) {
        random_leaves(of, at);
    } else if (choice < 43) {
        for (uint64_t count = world_below(of, 12); count > 0; count--) {
            world_puncture(of, 1 + (uint32_t)world_below(of, of->opened_end - 1),
                           (uint32_t)world_below(of, GGM_LEAVES));
        }
    } else if (choice < 44 && of->opened_end < PAGES_MAX) {
        of->opened_end++;
    } else if (choice < 47) {
        at = of->leader != NOBODY ? &of->server[of->leader] : at;
        if (at->keeper != NULL) {
            (void)server_close_epoch(at);
        }
    } else if (choice < 60) {
        random_fault(of, at);
    }
    for (uint32_t i = 0; i < 16 * of->servers - 10; i++) { /* Several need messages, and each its turn. */
        world_step(of);
    }
}

static void random_run(uint32_t servers, uint64_t share)
{
    uint64_t operations = variable("TRILITH_VAULT_OPERATIONS", 150000) * share / 100;
    uint64_t closes = 0;
    uint64_t crashes = 0;
    uint64_t fetches = 0;
    uint64_t done = 0;
    for (uint64_t seed = 1; done < operations; seed++) {
        struct world *of = world_open(servers, seed, ENTRIES_MAX);
        of->is_faulty = true;
        while (of->operations < 20000 && done + of->operations < operations) {
            random_operation(of);
            world_check_slots(of);
        }
        of->is_faulty = false;
        for (uint32_t i = 0; i < servers; i++) {
            if (is_down(&of->server[i])) {
                server_start(&of->server[i]);
            }
        }
        world_lead(of, (uint32_t)world_below(of, servers));
        world_run(of);
        for (uint32_t i = 0; i < servers; i++) {
            server_check_leaves(&of->server[i]);
            cr_assert_not(of->server[i].has_failed, "%s", keeper_message(of->server[i].keeper));
        }
        world_check_slots(of);
        closes += of->head.current.epoch;
        crashes += of->crashes;
        fetches += of->fetches;
        done += of->operations;
        world_close(of);
    }
    if (getenv("TRILITH_VAULT_OPERATIONS") != NULL) {
        (void)fprintf(stderr, "%u servers: %llu operations, %llu closes, %llu crashes, %llu tables fetched\n", servers,
                      (unsigned long long)done, (unsigned long long)closes, (unsigned long long)crashes,
                      (unsigned long long)fetches);
    }
    cr_assert_gt(closes, 0);
}

TestSuite(keepers, .timeout = 3000);

Test(keepers, one_server_in_any_order)
{
    random_run(1, 60);
}

Test(keepers, three_servers_in_any_order)
{
    random_run(3, 25);
}

Test(keepers, five_servers_in_any_order)
{
    random_run(5, 15);
}
