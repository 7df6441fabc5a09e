/* test_epoch.c - closing epochs of the vault over 1, 3 and 5 servers: each rule by hand, then any order of events that
 * chance finds, with the rules of epoch.h checked after every step.
 *
 * That the checks can fail was tried with copies of the code that were wrong on purpose. The random runs alone find: a claim
 * with n - t destroyed, or before the destruction ended; an old share that is kept; a slot settled while an attempt is
 * undecided; another attempt's root taken; no repetition of DESTROYED; no end of an attempt that stands still. Only the tests
 * by hand find: a switch with t - 1 prepared (the journal refuses it, so nothing is lost), PREPARED of another attempt
 * counted, and a share prepared again after it was promised. */
#include "tests/unit/epoch_world.h"

#include <stdio.h>

/* ---- by hand: one machine, its events and actions ---------------------------------------------- */

struct bench {
    struct epoch_machine *machine;
    struct epoch_actions actions;
    uint64_t now_ns;
    struct key random[EPOCH_SERVERS_MAX];
    struct vault_epoch sealed;
};

static struct bench bench;

static void bench_step(struct epoch_event event)
{
    event.now_ns = bench.now_ns;
    epoch_step(bench.machine, &event, &bench.actions);
}

static void bench_open(uint32_t self, uint32_t servers, uint64_t epoch, uint64_t sealed, uint64_t erasing)
{
    memset(&bench, 0, sizeof(bench));
    bench.now_ns = NS_PER_S;
    bench.machine = epoch_machine_init(calloc(1, epoch_machine_bytes()), self, servers);
    for (uint32_t i = 0; i < EPOCH_SERVERS_MAX; i++) {
        memset(&bench.random[i], 0x11 * (int)(i + 1), KEY_BYTES);
    }
    struct vault_epoch current = {.epoch = epoch, .servers = servers, .threshold = servers / 2 + 1};
    key_commitment(&(struct key){{1}}, current.commitment);
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_START, .current = current, .sealed = sealed, .epoch = erasing});
}

static void bench_close(void)
{
    free(bench.machine);
}

TestSuite(epoch, .fini = bench_close);

/* The n-th action of a kind in the last step; NULL: there were fewer. */
static const struct epoch_action *nth_action(enum epoch_action_kind kind, uint32_t n)
{
    for (uint32_t i = 0; i < bench.actions.count; i++) {
        if (bench.actions.actions[i].kind == kind && n-- == 0) {
            return &bench.actions.actions[i];
        }
    }
    return NULL;
}

static const struct epoch_action *action(enum epoch_action_kind kind)
{
    return nth_action(kind, 0);
}

static uint32_t sent(enum epoch_message_kind kind)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < bench.actions.count; i++) {
        const struct epoch_action *one = &bench.actions.actions[i];
        count += one->kind == EPOCH_SEND && one->message.kind == kind ? 1 : 0;
    }
    return count;
}

static void vault_ends(enum status status)
{
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_VAULT, .status = status, .leaves_erased = 7});
}

static void tick(uint64_t ns)
{
    bench.now_ns += ns;
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_TICK});
}

/* The shares of the epoch that bench_open() names: of the root {1}. */
static struct shamir_share share_of(uint32_t server, uint32_t servers)
{
    struct shamir_share shares[EPOCH_SERVERS_MAX];
    struct key random[EPOCH_SERVERS_MAX] = {{{9}}, {{8}}, {{7}}};
    shamir_split(&(struct key){{1}}, servers, servers / 2 + 1, random, shares);
    return shares[server];
}

static void says(uint32_t from, struct epoch_message message)
{
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_MESSAGE, .from = from, .message = &message});
}

static void share_comes(uint32_t from, uint32_t servers, uint64_t epoch, bool is_wrong)
{
    struct epoch_message message = {.kind = EPOCH_SHARE, .epoch = epoch, .share = share_of(from, servers)};
    key_commitment(&(struct key){{1}}, message.commitment);
    message.share.value.bytes[3] ^= is_wrong ? 1 : 0;
    says(from, message);
}

/* Server 0 of `servers`, leader, with epoch 4 loaded. */
static void open_ready(uint32_t servers)
{
    bench_open(0, servers, 4, 0, 0);
    cr_assert_not_null(action(EPOCH_VAULT_SETTLE));
    bench_step((struct epoch_event){
        .kind = EPOCH_EVENT_VAULT, .status = STATUS_OK, .has_share = true, .share = share_of(0, servers)});
    for (uint32_t from = 1; action(EPOCH_VAULT_LOAD) == NULL; from++) {
        cr_assert_lt(from, servers);
        share_comes(from, servers, 4, false);
    }
    cr_assert_eq(action(EPOCH_VAULT_LOAD)->root.bytes[0], 1);
    vault_ends(STATUS_OK);
    cr_assert_not_null(action(EPOCH_SERVE));
    cr_assert_not(epoch_is_busy(bench.machine));
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_LEADERSHIP, .is_leader = true});
}

static void seal_applied(const uint8_t commitment[COMMITMENT_BYTES])
{
    struct epoch_event event = {.kind = EPOCH_EVENT_SEALED, .current = {.epoch = 5}};
    memcpy(event.current.commitment, commitment, COMMITMENT_BYTES);
    bench.sealed = event.current;
    bench_step(event);
}

static void close_and_seal(void)
{
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_CLOSE, .random = bench.random});
    const struct epoch_action *seal = action(EPOCH_SUBMIT_SEAL);
    cr_assert_not_null(seal);
    cr_assert_eq(seal->epoch, 5);
    uint8_t commitment[COMMITMENT_BYTES];
    memcpy(commitment, seal->commitment, COMMITMENT_BYTES);
    seal_applied(commitment);
}

static void prepared_comes(uint32_t from, uint64_t leaves_erased)
{
    struct epoch_message message = {.kind = EPOCH_PREPARED, .epoch = 5, .leaves_erased = leaves_erased};
    memcpy(message.commitment, bench.sealed.commitment, COMMITMENT_BYTES);
    says(from, message);
}

static void switch_applied(void)
{
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_SWITCHED, .current = bench.sealed, .leaves_erased = 7});
}

Test(epoch, one_server_closes_in_order)
{
    open_ready(1);
    close_and_seal();
    cr_assert_eq(bench.actions.actions[0].kind, EPOCH_VAULT_SEAL, "nothing comes between the seal and its punctures");
    cr_assert_not_null(action(EPOCH_VAULT_PREPARE));
    cr_assert_null(action(EPOCH_SUBMIT_SWITCH));
    vault_ends(STATUS_OK);
    cr_assert_not_null(action(EPOCH_SUBMIT_SWITCH));
    cr_assert_eq(action(EPOCH_SUBMIT_SWITCH)->who, 1);
    cr_assert_eq(action(EPOCH_SUBMIT_SWITCH)->leaves_erased, 7);
    cr_assert_null(action(EPOCH_VAULT_DESTROY), "the old root stands until the journal has the next one");
    switch_applied();
    cr_assert_eq(bench.actions.actions[0].kind, EPOCH_VAULT_SWITCH);
    cr_assert_eq(bench.actions.actions[1].kind, EPOCH_VAULT_DESTROY);
    cr_assert_eq(bench.actions.actions[1].epoch, 4);
    cr_assert_null(action(EPOCH_SUBMIT_ERASED));
    vault_ends(STATUS_OK);
    cr_assert_eq(action(EPOCH_SUBMIT_ERASED)->epoch, 4);
    cr_assert(epoch_is_busy(bench.machine));
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_ERASED, .epoch = 4});
    cr_assert_not(epoch_is_busy(bench.machine));
}

Test(epoch, the_first_epoch_begins_at_once_and_leaves_nothing_to_destroy)
{
    bench_open(0, 1, 0, 0, 0);
    cr_assert_eq(action(EPOCH_VAULT_SETTLE)->target.epoch, 0);
    vault_ends(STATUS_NOT_FOUND);
    cr_assert_null(action(EPOCH_SERVE));
    cr_assert_not(epoch_wants_close(bench.machine), "not the leader yet");
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_LEADERSHIP, .is_leader = true});
    cr_assert(epoch_wants_close(bench.machine));
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_CLOSE, .random = bench.random});
    struct vault_epoch first = {.epoch = 1};
    memcpy(first.commitment, action(EPOCH_SUBMIT_SEAL)->commitment, COMMITMENT_BYTES);
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_SEALED, .current = first});
    cr_assert_not_null(action(EPOCH_VAULT_PREPARE));
    vault_ends(STATUS_OK);
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_SWITCHED, .current = first, .leaves_erased = 7});
    cr_assert_not_null(action(EPOCH_VAULT_SWITCH));
    cr_assert_not_null(action(EPOCH_SERVE));
    cr_assert_null(action(EPOCH_VAULT_DESTROY));
    cr_assert_not(epoch_is_busy(bench.machine));
}

Test(epoch, a_close_is_ignored_by_who_does_not_lead_or_is_closing)
{
    open_ready(3);
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_LEADERSHIP, .is_leader = false});
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_CLOSE, .random = bench.random});
    cr_assert_eq(bench.actions.count, 0);
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_LEADERSHIP, .is_leader = true});
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_CLOSE, .random = bench.random});
    cr_assert_not_null(action(EPOCH_SUBMIT_SEAL));
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_CLOSE, .random = bench.random});
    cr_assert_eq(bench.actions.count, 0);
}

Test(epoch, each_server_gets_its_own_share_and_the_switch_needs_a_majority)
{
    open_ready(5);
    close_and_seal();
    cr_assert_eq(sent(EPOCH_PREPARE), 4);
    for (uint32_t i = 0; i < 4; i++) {
        const struct epoch_action *send = nth_action(EPOCH_SEND, i);
        cr_assert_eq(send->message.share.index, send->to + 1);
        cr_assert_eq(memcmp(&send->message.root, &bench.random[0], KEY_BYTES), 0);
    }
    vault_ends(STATUS_OK); /* It is prepared itself: one. */
    prepared_comes(1, 7);
    prepared_comes(1, 7);
    tick(EPOCH_REPEAT_NS * 4);
    cr_assert_null(action(EPOCH_SUBMIT_SWITCH), "two of five, however often they say so");
    cr_assert_eq(sent(EPOCH_PREPARE), 3, "only to those that have not answered");
    prepared_comes(2, 7);
    cr_assert_null(action(EPOCH_SUBMIT_SWITCH), "the others get as long as these took");
    tick(EPOCH_REPEAT_NS * 5);
    cr_assert_not_null(action(EPOCH_SUBMIT_SWITCH));
    cr_assert_eq(action(EPOCH_SUBMIT_SWITCH)->who, 7);
}

Test(epoch, when_all_are_prepared_nobody_is_waited_for)
{
    open_ready(3);
    close_and_seal();
    vault_ends(STATUS_OK);
    prepared_comes(1, 7);
    prepared_comes(2, 7);
    cr_assert_not_null(action(EPOCH_SUBMIT_SWITCH));
}

Test(epoch, servers_that_counted_otherwise_are_not_enough)
{
    open_ready(3);
    close_and_seal();
    vault_ends(STATUS_OK);
    prepared_comes(1, 8);
    tick(EPOCH_REPEAT_NS * 8);
    cr_assert_null(action(EPOCH_SUBMIT_SWITCH));
    prepared_comes(2, 8);
    tick(EPOCH_REPEAT_NS * 20);
    cr_assert_eq(action(EPOCH_SUBMIT_SWITCH)->who, 6);
    cr_assert_eq(action(EPOCH_SUBMIT_SWITCH)->leaves_erased, 8);
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_SWITCHED, .current = bench.sealed, .leaves_erased = 8});
    cr_assert_eq(action(EPOCH_FAIL)->status, STATUS_CORRUPT, "its own table holds other leaves");
}

Test(epoch, what_belongs_to_another_attempt_is_not_taken)
{
    open_ready(3);
    close_and_seal();
    vault_ends(STATUS_OK);
    struct epoch_message message = {.kind = EPOCH_PREPARED, .epoch = 5, .leaves_erased = 7};
    says(1, message); /* Another commitment. */
    memcpy(message.commitment, bench.sealed.commitment, COMMITMENT_BYTES);
    message.epoch = 6;
    says(1, message);
    says(0, message); /* Itself, and nobody: not by message. */
    says(9, message);
    tick(EPOCH_REPEAT_NS * 8);
    cr_assert_null(action(EPOCH_SUBMIT_SWITCH));
    uint8_t other[COMMITMENT_BYTES] = {5};
    seal_applied(other); /* Another leader's. */
    cr_assert_not_null(action(EPOCH_VAULT_SEAL));
    prepared_comes(1, 7);
    tick(EPOCH_REPEAT_NS * 8);
    cr_assert_null(action(EPOCH_SUBMIT_SWITCH));
    cr_assert_eq(sent(EPOCH_PREPARE), 0, "its root is forgotten");
}

Test(epoch, a_server_prepares_only_what_is_sealed_and_once)
{
    open_ready(3);
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_LEADERSHIP, .is_leader = false});
    struct epoch_message good = {
        .kind = EPOCH_PREPARE, .epoch = 5, .root = bench.random[0], .share = {.index = 1, .value = bench.random[2]}};
    key_commitment(&good.root, good.commitment);
    says(1, good);
    cr_assert_eq(bench.actions.count, 0, "nothing is sealed yet");
    seal_applied(good.commitment);

    struct epoch_message wrong = good; /* Another attempt's. */
    wrong.root = bench.random[1];
    key_commitment(&wrong.root, wrong.commitment);
    says(1, wrong);
    cr_assert_eq(bench.actions.count, 0);
    wrong = good; /* A root that is not what was sealed. */
    wrong.root = bench.random[1];
    says(1, wrong);
    cr_assert_eq(bench.actions.count, 0);
    wrong = good; /* Another server's share. */
    wrong.share.index = 2;
    says(1, wrong);
    cr_assert_eq(bench.actions.count, 0);

    says(1, good);
    cr_assert_not_null(action(EPOCH_VAULT_PREPARE));
    says(1, good);
    cr_assert_eq(bench.actions.count, 0, "it is being prepared");
    vault_ends(STATUS_OK);
    cr_assert_eq(sent(EPOCH_PREPARED), 1);
    cr_assert_eq(action(EPOCH_SEND)->to, 1);
    cr_assert_eq(action(EPOCH_SEND)->message.leaves_erased, 7);
    says(1, good);
    cr_assert_eq(sent(EPOCH_PREPARED), 1);
    cr_assert_null(action(EPOCH_VAULT_PREPARE));
    tick(EPOCH_ATTEMPT_NS);
    says(1, good);
    cr_assert_null(action(EPOCH_VAULT_PREPARE), "who has said so keeps what it has");
}

Test(epoch, a_claim_needs_a_majority_of_destructions_by_different_servers)
{
    open_ready(3);
    close_and_seal();
    vault_ends(STATUS_OK);
    prepared_comes(1, 7);
    prepared_comes(2, 7);
    switch_applied();
    says(1, (struct epoch_message){.kind = EPOCH_DESTROYED, .epoch = 4});
    says(1, (struct epoch_message){.kind = EPOCH_DESTROYED, .epoch = 4});
    says(2, (struct epoch_message){.kind = EPOCH_DESTROYED, .epoch = 3});
    cr_assert_null(action(EPOCH_SUBMIT_ERASED));
    vault_ends(STATUS_OK);
    cr_assert_eq(sent(EPOCH_DESTROYED), 2);
    cr_assert_eq(action(EPOCH_SUBMIT_ERASED)->who, 3);
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_REFUSED});
    cr_assert_null(action(EPOCH_SUBMIT_ERASED), "not at once");
    tick(EPOCH_REPEAT_NS);
    cr_assert_not_null(action(EPOCH_SUBMIT_ERASED));
    cr_assert_eq(sent(EPOCH_DESTROYED), 2, "until it is applied");
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_ERASED, .epoch = 4});
    tick(EPOCH_REPEAT_NS);
    cr_assert_eq(bench.actions.count, 0);
}

Test(epoch, a_destruction_that_fails_stops_the_server_and_nothing_is_claimed)
{
    open_ready(1);
    close_and_seal();
    vault_ends(STATUS_OK);
    switch_applied();
    vault_ends(STATUS_IO);
    cr_assert_eq(action(EPOCH_FAIL)->status, STATUS_IO);
    cr_assert_null(action(EPOCH_SUBMIT_ERASED));
    tick(EPOCH_REPEAT_NS);
    cr_assert_eq(bench.actions.count, 0);
}

Test(epoch, a_single_server_that_cannot_prepare_gives_up_and_tries_again_later)
{
    open_ready(1);
    close_and_seal();
    vault_ends(STATUS_FULL);
    cr_assert_eq(action(EPOCH_GIVEN_UP)->status, STATUS_FULL);
    cr_assert_null(action(EPOCH_FAIL));
    cr_assert_not(epoch_wants_close(bench.machine));
    tick(EPOCH_ATTEMPT_NS);
    cr_assert(epoch_wants_close(bench.machine));
    bench.random[0].bytes[5] ^= 1;
    close_and_seal();
    vault_ends(STATUS_OK);
    cr_assert_not_null(action(EPOCH_SUBMIT_SWITCH));
}

Test(epoch, a_seal_that_is_refused_is_never_submitted_with_the_same_root)
{
    open_ready(3);
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_CLOSE, .random = bench.random});
    uint8_t commitment[COMMITMENT_BYTES];
    memcpy(commitment, action(EPOCH_SUBMIT_SEAL)->commitment, COMMITMENT_BYTES);
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_REFUSED});
    seal_applied(commitment); /* It had come through all the same. */
    cr_assert_eq(sent(EPOCH_PREPARE), 0);
    tick(EPOCH_REPEAT_NS);
    cr_assert(epoch_wants_close(bench.machine));
}

Test(epoch, a_switch_that_is_refused_again_and_again_is_given_up)
{
    open_ready(1);
    close_and_seal();
    vault_ends(STATUS_OK);
    for (uint32_t i = 1; i < EPOCH_REFUSALS_MAX; i++) {
        bench_step((struct epoch_event){.kind = EPOCH_EVENT_REFUSED});
        cr_assert_null(action(EPOCH_SUBMIT_SWITCH));
        tick(EPOCH_REPEAT_NS);
        cr_assert_not_null(action(EPOCH_SUBMIT_SWITCH));
    }
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_REFUSED});
    cr_assert_eq(action(EPOCH_GIVEN_UP)->status, STATUS_CONFLICT);
}

Test(epoch, wrong_shares_are_left_out_when_others_suffice)
{
    bench_open(0, 5, 4, 0, 0);
    bench_step((struct epoch_event){
        .kind = EPOCH_EVENT_VAULT, .status = STATUS_OK, .has_share = true, .share = share_of(0, 5)});
    cr_assert_eq(sent(EPOCH_SHARE_WANTED), 4);
    share_comes(1, 5, 4, true);
    share_comes(2, 5, 4, false);
    share_comes(2, 5, 4, false);
    share_comes(3, 5, 3, false); /* Of another epoch. */
    cr_assert_null(action(EPOCH_VAULT_LOAD));
    tick(EPOCH_REPEAT_NS);
    cr_assert_eq(sent(EPOCH_SHARE_WANTED), 4);
    share_comes(4, 5, 4, false);
    cr_assert_not_null(action(EPOCH_VAULT_LOAD));
}

Test(epoch, a_share_is_given_only_of_the_epoch_that_holds)
{
    open_ready(3);
    struct epoch_message wanted = {.kind = EPOCH_SHARE_WANTED, .epoch = 4};
    key_commitment(&(struct key){{1}}, wanted.commitment);
    says(2, wanted);
    cr_assert_eq(sent(EPOCH_SHARE), 1);
    cr_assert_eq(action(EPOCH_SEND)->to, 2);
    cr_assert_eq(action(EPOCH_SEND)->message.share.index, 1);
    wanted.epoch = 3;
    says(2, wanted);
    cr_assert_eq(sent(EPOCH_SHARE), 0);
    wanted.epoch = 4;
    wanted.commitment[0] ^= 1;
    says(2, wanted);
    cr_assert_eq(sent(EPOCH_SHARE), 0);
}

Test(epoch, a_single_server_without_its_share_or_table_fails)
{
    bench_open(0, 1, 4, 0, 0);
    vault_ends(STATUS_NOT_FOUND);
    cr_assert_eq(action(EPOCH_FAIL)->status, STATUS_NOT_FOUND);
    bench_close();
    bench_open(0, 1, 4, 0, 0);
    vault_ends(STATUS_CONFLICT);
    cr_assert_eq(action(EPOCH_FAIL)->status, STATUS_CONFLICT);
    bench_close();
    bench_open(0, 1, 4, 0, 0);
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_VAULT, .has_share = true, .share = share_of(0, 1)});
    vault_ends(STATUS_CORRUPT);
    cr_assert_eq(action(EPOCH_FAIL)->status, STATUS_CORRUPT);
}

Test(epoch, one_of_several_fetches_a_table_that_it_lacks)
{
    bench_open(0, 3, 4, 0, 0);
    vault_ends(STATUS_NOT_FOUND);
    share_comes(1, 3, 4, false);
    share_comes(2, 3, 4, false);
    cr_assert_not_null(action(EPOCH_VAULT_LOAD));
    vault_ends(STATUS_NOT_FOUND);
    cr_assert_eq(sent(EPOCH_FETCH), 2);
    tick(EPOCH_REPEAT_NS);
    cr_assert_eq(sent(EPOCH_FETCH), 2);
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_FETCHED});
    cr_assert_eq(sent(EPOCH_SHARE_WANTED), 2);
    share_comes(1, 3, 4, false);
    share_comes(2, 3, 4, false);
    vault_ends(STATUS_OK);
    cr_assert_not_null(action(EPOCH_SERVE));
}

Test(epoch, who_starts_while_an_attempt_is_sealed_leaves_its_slot_alone)
{
    bench_open(1, 3, 4, 5, 0);
    cr_assert_null(action(EPOCH_VAULT_SETTLE));
    tick(EPOCH_REPEAT_NS);
    cr_assert_null(action(EPOCH_VAULT_SETTLE));
    uint8_t other[COMMITMENT_BYTES] = {5};
    seal_applied(other);
    cr_assert_not_null(action(EPOCH_VAULT_SEAL));
    cr_assert_eq(action(EPOCH_VAULT_SETTLE)->target.epoch, 4);
    bench_close();
    bench_open(1, 3, 4, 5, 0);
    bench.sealed.epoch = 5;
    switch_applied();
    cr_assert_eq(action(EPOCH_VAULT_SETTLE)->target.epoch, 5);
    vault_ends(STATUS_NOT_FOUND);
    cr_assert_eq(action(EPOCH_VAULT_DESTROY)->epoch, 4, "it has missed the switch: its old share goes all the same");
    bench_close();
    bench_open(0, 1, 4, 5, 0);
    cr_assert_not_null(action(EPOCH_VAULT_SETTLE), "alone, nothing can be on its way");
}

Test(epoch, a_new_leader_seals_anew_and_finishes_what_is_being_erased)
{
    bench_open(1, 3, 4, 5, 0);
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_LEADERSHIP, .is_leader = true});
    cr_assert(epoch_wants_close(bench.machine));
    bench_close();
    bench_open(1, 3, 5, 0, 4);
    bench_step((struct epoch_event){.kind = EPOCH_EVENT_LEADERSHIP, .is_leader = true});
    cr_assert_not(epoch_wants_close(bench.machine), "one thing after the other");
    vault_ends(STATUS_NOT_FOUND);
    vault_ends(STATUS_OK); /* Its own share of 4. */
    says(0, (struct epoch_message){.kind = EPOCH_DESTROYED, .epoch = 4});
    cr_assert_eq(action(EPOCH_SUBMIT_ERASED)->who, 3);
}

Test(epoch, an_attempt_that_stands_still_is_begun_anew)
{
    open_ready(3);
    close_and_seal();
    vault_ends(STATUS_OK);
    tick(EPOCH_ATTEMPT_NS - 1);
    cr_assert_not(epoch_wants_close(bench.machine));
    tick(1);
    cr_assert(epoch_wants_close(bench.machine));
    bench.random[0].bytes[5] ^= 1;
    close_and_seal();
    vault_ends(STATUS_OK);
    tick(EPOCH_ATTEMPT_NS);
    cr_assert_not(epoch_wants_close(bench.machine), "twice as long now");
}

/* ---- any order --------------------------------------------------------------------------------- */

#define STEPS      3000u
#define CALM_STEPS 6000u

/* One thing that may happen next. */
static void world_random_step(struct world *world)
{
    uint32_t number = world_below(world, world->servers);
    struct world_server *server = &world->server[number];
    world->now_ns += world_below(world, 40) * NS_PER_MS;
    switch (world_below(world, 16)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4: {
        uint32_t at = world_below(world, WORLD_MESSAGES_MAX);
        for (uint32_t i = 0; i < WORLD_MESSAGES_MAX; i++) {
            uint32_t candidate = (at + i) % WORLD_MESSAGES_MAX;
            if (world->messages[candidate].is_set) {
                world_message_comes(world, candidate);
                return;
            }
        }
        return;
    }
    case 5:
    case 6:
    case 7:
        if (server->machine != NULL && server->is_calling) {
            world_vault_ends(world, number);
        }
        return;
    case 8:
    case 9:
    case 10:
        if (server->machine != NULL && server->applied < world->entry_count) {
            world_apply(world, number);
        }
        return;
    case 11: {
        uint32_t at = world_below(world, WORLD_PENDING_MAX);
        for (uint32_t i = 0; i < WORLD_PENDING_MAX; i++) {
            if (world->pending[(at + i) % WORLD_PENDING_MAX].is_set) {
                world_journal(world, (at + i) % WORLD_PENDING_MAX);
                return;
            }
        }
        return;
    }
    case 12:
        if (server->machine != NULL) {
            struct epoch_event tick_event = {.kind = EPOCH_EVENT_TICK};
            world_step(world, number, &tick_event);
        }
        return;
    case 13: {
        struct journal_entry puncture = {.kind = ENTRY_PUNCTURE};
        if (world_chance(world, 20)) {
            world_submit(world, &puncture);
        } else if (world->leader != NOBODY && world->server[world->leader].machine != NULL) {
            world_close_epoch(world, world->leader);
        }
        return;
    }
    case 14:
        if (server->machine != NULL && server->fetch_from != 0) {
            world_fetch(world, number);
        } else if (world->is_faulty && world_chance(world, 5)) {
            uint32_t leader = world_below(world, world->servers + 1);
            world_lead(world, leader < world->servers && world->server[leader].machine != NULL ? leader : NOBODY);
        }
        return;
    case 15:
        if (server->machine == NULL && (!world->is_faulty || world_chance(world, 30))) {
            world_start(world, number);
        } else if (server->machine != NULL && world->is_faulty && world_chance(world, 12)) {
            if (world->leader == number) {
                world_lead(world, world_chance(world, 50) || world->servers == 1 ? number : NOBODY);
            }
            world_crash(world, number);
        }
        return;
    }
}

/* For people who look into a seed. */
static void world_show(const struct world *world)
{
    const struct journal_state *head = &world->head;
    (void)fprintf(stderr, "now %llu ms, leader %u, current %llu, sealed %llu, erasing %llu, entries %u\n",
                  (unsigned long long)(world->now_ns / NS_PER_MS), world->leader,
                  (unsigned long long)head->current.epoch, (unsigned long long)head->sealed.epoch,
                  (unsigned long long)head->erasing, world->entry_count);
    for (uint32_t i = 0; i < world->servers; i++) {
        const struct world_server *server = &world->server[i];
        (void)fprintf(stderr,
                      "server %u: up %d applied %u loaded %d %llu calling %d %d serves %d failed %d fetch %llx\n", i,
                      server->machine != NULL, server->applied, server->is_loaded,
                      (unsigned long long)server->loaded_epoch, server->is_calling, (int)server->call.kind,
                      server->serves, server->has_failed, (unsigned long long)server->fetch_from);
    }
}

/* No more faults: a close begun now must come to its end, and every server must serve the same epoch. */
static bool world_comes_to_rest(struct world *world)
{
    world->is_faulty = false;
    for (uint32_t i = 0; i < world->servers; i++) {
        if (world->server[i].machine == NULL) {
            world_start(world, i);
        }
    }
    world_lead(world, world_below(world, world->servers));
    uint64_t aim = world->head.current.epoch + 3;
    for (uint32_t step = 0; step < CALM_STEPS * world->servers && world->broken == NULL; step++) {
        world_random_step(world);
        world_check(world);
        bool rests = world->head.current.epoch >= aim && world->head.erasing == 0;
        for (uint32_t i = 0; rests && i < world->servers; i++) {
            struct world_server *server = &world->server[i];
            rests = server->serves && server->is_loaded && server->loaded_epoch == world->head.current.epoch;
        }
        if (rests) {
            return true;
        }
    }
    if (getenv("TRILITH_EPOCH_SHOW") != NULL) {
        world_show(world);
    }
    return false;
}

static uint64_t variable(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

static void world_trial(uint32_t servers, uint64_t seed, struct world *sums)
{
    struct world *world = world_open(servers, seed);
    world->vault_fails_ppm = (uint32_t)(seed % 3) * 50000;
    for (uint32_t i = 0; i < servers; i++) {
        world_start(world, i);
    }
    world_lead(world, 0);
    for (uint32_t step = 0; step < STEPS && world->broken == NULL; step++) {
        world_random_step(world);
        world_check(world);
    }
    cr_assert_null(world->broken, "servers %u seed %llu: %s", servers, (unsigned long long)seed, world->broken);
    cr_assert(world_comes_to_rest(world), "servers %u seed %llu: does not come to rest (%s)", servers,
              (unsigned long long)seed, world->broken != NULL ? world->broken : "no progress");
    sums->switches += world->switches;
    sums->crashes += world->crashes;
    sums->given_up += world->given_up;
    world_close(world);
}

static void world_trials(uint32_t servers)
{
    uint64_t seeds = variable("TRILITH_EPOCH_SEEDS", 150);
    struct world sums = {0};
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        world_trial(servers, seed, &sums);
    }
    cr_assert_gt(sums.switches, seeds * 2);
    cr_assert_gt(sums.crashes, seeds * 2);
}

Test(epoch_in_any_order, one_server)
{
    world_trials(1);
}

Test(epoch_in_any_order, three_servers)
{
    world_trials(3);
}

Test(epoch_in_any_order, five_servers)
{
    world_trials(5);
}
