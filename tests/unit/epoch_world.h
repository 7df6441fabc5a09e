/* epoch_world.h - n servers that close epochs, each an epoch machine over a vault that is a few numbers: for test_epoch.c.
 *
 * Model      One journal for all (epoch_journal.h); a submission is lost, or comes into it later, and each server applies it
 *            in its own time. A vault is a slot of two cells and a set of tables; a table says how many leaves it has left
 *            out. Messages take any time and any order, get lost and come twice.
 * Crashes    A server forgets everything but slot, tables, and how far it had applied the journal. Of a vault action under
 *            way a part has happened. What it had submitted may come into the journal yet; of a single server, only
 *            before it starts again.
 * Checks     world_check() after each step: the rules in epoch.h. */
#ifndef TRILITH_TESTS_UNIT_EPOCH_WORLD_H
#define TRILITH_TESTS_UNIT_EPOCH_WORLD_H

#include "tests/unit/epoch_journal.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define WORLD_ENTRIES_MAX  20000u
#define WORLD_MESSAGES_MAX 256u
#define WORLD_TABLES_MAX   64u
#define WORLD_PENDING_MAX  64u
#define NOBODY             UINT32_MAX

struct world_cell {
    bool holds;
    uint64_t epoch;
    uint8_t commitment[COMMITMENT_BYTES];
    struct shamir_share share;
};

struct world_table {
    uint64_t epoch; /* 0: free */
    uint8_t commitment[COMMITMENT_BYTES];
    uint64_t leaves_erased;
};

struct world_server {
    /* What lasts. */
    struct world_cell cells[SLOT_CELLS];
    struct world_table tables[WORLD_TABLES_MAX];
    uint32_t applied; /* entries */
    struct journal_state state;

    /* What a crash takes. */
    struct epoch_machine *machine; /* NULL: down */
    bool is_loaded;
    uint64_t loaded_epoch;
    struct world_cell prepared; /* holds: there is something prepared */
    uint64_t punctured;
    uint64_t sealed;
    bool is_calling;
    struct epoch_action call;
    uint64_t call_sealed; /* `sealed` when it began */
    bool serves;
    bool has_failed;
    uint64_t fetch_from; /* bit i */
};

struct world_message {
    bool is_set;
    uint32_t from;
    uint32_t to;
    struct epoch_message message;
};

struct world_pending {
    bool is_set;
    struct journal_entry entry;
};

struct world {
    uint32_t servers;
    uint64_t random;
    uint64_t now_ns;
    uint32_t leader;
    bool is_faulty;
    uint32_t vault_fails_ppm;

    struct journal_entry *entries;
    bool *accepted;
    uint32_t entry_count;
    struct journal_state head; /* all entries applied */
    struct world_pending pending[WORLD_PENDING_MAX];
    struct world_message messages[WORLD_MESSAGES_MAX];
    struct world_server server[EPOCH_SERVERS_MAX];
    struct epoch_actions actions;
    uint64_t erased_claimed; /* the last epoch that an EpochErased was submitted of */
    uint64_t switches;
    uint64_t crashes;
    uint64_t given_up;
    const char *broken; /* the rule that does not hold; NULL: all do */
};

static inline uint64_t world_random(struct world *world)
{
    world->random += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    uint64_t z = world->random;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static inline uint32_t world_below(struct world *world, uint32_t bound)
{
    return (uint32_t)(world_random(world) % bound);
}

static inline bool world_chance(struct world *world, uint32_t percent)
{
    return world_below(world, 100) < percent;
}

static inline bool same_commitment(const uint8_t a[COMMITMENT_BYTES], const uint8_t b[COMMITMENT_BYTES])
{
    return memcmp(a, b, COMMITMENT_BYTES) == 0;
}

static inline struct world *world_open(uint32_t servers, uint64_t seed)
{
    struct world *world = calloc(1, sizeof(*world));
    world->entries = calloc(WORLD_ENTRIES_MAX, sizeof(world->entries[0]));
    world->accepted = calloc(WORLD_ENTRIES_MAX, sizeof(world->accepted[0]));
    cr_assert(world->entries != NULL && world->accepted != NULL);
    world->servers = servers;
    world->random = seed;
    world->now_ns = NS_PER_S;
    world->leader = NOBODY;
    world->is_faulty = true;
    world->head.servers = servers;
    for (uint32_t i = 0; i < servers; i++) {
        world->server[i].state.servers = servers;
    }
    return world;
}

static inline void world_close(struct world *world)
{
    for (uint32_t i = 0; i < world->servers; i++) {
        free(world->server[i].machine);
    }
    free(world->entries);
    free(world->accepted);
    free(world);
}

/* ---- the vault that is a few numbers ----------------------------------------------------------- */

static inline struct world_table *table_find(struct world_server *server, uint64_t epoch,
                                             const uint8_t commitment[COMMITMENT_BYTES])
{
    for (uint32_t i = 0; i < WORLD_TABLES_MAX; i++) {
        struct world_table *table = &server->tables[i];
        if (table->epoch != 0 && table->epoch == epoch && same_commitment(table->commitment, commitment)) {
            return table;
        }
    }
    return NULL;
}

static inline void table_put(struct world_server *server, uint64_t epoch, const uint8_t commitment[COMMITMENT_BYTES],
                             uint64_t leaves_erased)
{
    struct world_table *table = table_find(server, epoch, commitment);
    for (uint32_t i = 0; table == NULL; i++) {
        cr_assert_lt(i, WORLD_TABLES_MAX);
        table = server->tables[i].epoch == 0 ? &server->tables[i] : NULL;
    }
    table->epoch = epoch;
    memcpy(table->commitment, commitment, COMMITMENT_BYTES);
    table->leaves_erased = leaves_erased;
}

/* Remove the tables of an epoch, but not that of `kept`. */
static inline void tables_remove(struct world_server *server, uint64_t epoch, const struct vault_epoch *kept)
{
    for (uint32_t i = 0; i < WORLD_TABLES_MAX; i++) {
        struct world_table *table = &server->tables[i];
        if (table->epoch == epoch &&
            (kept == NULL || kept->epoch != epoch || !same_commitment(kept->commitment, table->commitment))) {
            memset(table, 0, sizeof(*table));
        }
    }
}

static inline enum status vault_does_settle(struct world_server *server, const struct vault_epoch *current,
                                            struct shamir_share *share)
{
    enum status status = STATUS_NOT_FOUND;
    for (uint32_t i = 0; i < SLOT_CELLS; i++) {
        struct world_cell *cell = &server->cells[i];
        if (cell->holds && cell->epoch == current->epoch && same_commitment(cell->commitment, current->commitment)) {
            *share = cell->share;
            status = STATUS_OK;
        } else if (cell->holds) {
            tables_remove(server, cell->epoch, current);
            memset(cell, 0, sizeof(*cell));
        }
    }
    memset(&server->prepared, 0, sizeof(server->prepared));
    server->is_loaded = false;
    return status;
}

static inline enum status vault_does_load(struct world_server *server, const struct epoch_action *action)
{
    uint8_t commitment[COMMITMENT_BYTES];
    key_commitment(&action->root, commitment);
    if (!same_commitment(commitment, action->target.commitment)) {
        return STATUS_DENIED;
    }
    if (table_find(server, action->target.epoch, action->target.commitment) == NULL) {
        return STATUS_NOT_FOUND;
    }
    server->is_loaded = true;
    server->loaded_epoch = action->target.epoch;
    return STATUS_OK;
}

/* The first `parts` of three: the earlier attempt is abandoned, the table written, the share put. */
static inline enum status vault_does_prepare(struct world_server *server, const struct epoch_action *action,
                                             uint32_t parts)
{
    const struct vault_epoch *next = &action->target;
    struct world_cell *cell = &server->cells[next->epoch % SLOT_CELLS];
    uint8_t commitment[COMMITMENT_BYTES];
    key_commitment(&action->root, commitment);
    cr_assert(same_commitment(commitment, next->commitment), "another attempt's root");
    cr_assert(server->is_loaded || next->epoch == 1);
    cr_assert(!cell->holds || cell->epoch == next->epoch, "the cell still holds an older epoch");
    if (parts > 0) {
        tables_remove(server, next->epoch, NULL);
        memset(cell, 0, sizeof(*cell));
        memset(&server->prepared, 0, sizeof(server->prepared));
    }
    if (parts > 1) {
        table_put(server, next->epoch, next->commitment, server->call_sealed);
    }
    if (parts > 2) {
        cell->holds = true;
        cell->epoch = next->epoch;
        memcpy(cell->commitment, next->commitment, COMMITMENT_BYTES);
        cell->share = action->share;
        server->prepared = *cell;
    }
    return STATUS_OK;
}

static inline void vault_does_destroy(struct world_server *server, uint64_t epoch, uint32_t parts)
{
    struct world_cell *cell = &server->cells[epoch % SLOT_CELLS];
    if (parts > 0 && cell->holds && cell->epoch == epoch) {
        memset(cell, 0, sizeof(*cell));
    }
    if (parts > 1) {
        tables_remove(server, epoch, NULL);
    }
}

/* ---- carrying out ------------------------------------------------------------------------------ */

static inline void world_step(struct world *world, uint32_t number, struct epoch_event *event);

static inline void world_submit(struct world *world, const struct journal_entry *entry)
{
    for (uint32_t i = 0; i < WORLD_PENDING_MAX; i++) {
        if (!world->pending[i].is_set) {
            world->pending[i].is_set = true;
            world->pending[i].entry = *entry;
            return;
        }
    }
    world->broken = "too many submissions are under way";
}

static inline void world_send(struct world *world, uint32_t from, const struct epoch_action *action)
{
    uint32_t copies = !world->is_faulty ? 1 : world_chance(world, 20) ? 0 : world_chance(world, 15) ? 2 : 1;
    for (; copies > 0; copies--) {
        uint32_t at = world_below(world, WORLD_MESSAGES_MAX); /* A place that is taken: what is there gets lost. */
        world->messages[at] =
            (struct world_message){.is_set = true, .from = from, .to = action->to, .message = action->message};
    }
}

static inline void world_carry_out(struct world *world, uint32_t number, const struct epoch_action *action)
{
    struct world_server *server = &world->server[number];
    struct journal_entry entry = {.submitter = number, .epoch = action->epoch, .who = action->who};
    memcpy(entry.commitment, action->commitment, COMMITMENT_BYTES);
    entry.leaves_erased = action->leaves_erased;
    switch (action->kind) {
    case EPOCH_SUBMIT_SEAL:
        entry.kind = ENTRY_SEAL;
        world_submit(world, &entry);
        return;
    case EPOCH_SUBMIT_SWITCH:
        entry.kind = ENTRY_SWITCH;
        world_submit(world, &entry);
        return;
    case EPOCH_SUBMIT_ERASED:
        entry.kind = ENTRY_ERASED;
        world->erased_claimed = action->epoch > world->erased_claimed ? action->epoch : world->erased_claimed;
        world_submit(world, &entry);
        return;
    case EPOCH_SEND:
        cr_assert(action->to < world->servers && action->to != number);
        world_send(world, number, action);
        return;
    case EPOCH_VAULT_SEAL:
        server->sealed = server->punctured;
        return;
    case EPOCH_VAULT_SWITCH:
        cr_assert_not(server->is_calling);
        cr_assert(server->prepared.holds);
        server->is_loaded = true;
        server->loaded_epoch = server->prepared.epoch;
        memset(&server->prepared, 0, sizeof(server->prepared));
        return;
    case EPOCH_VAULT_SETTLE:
    case EPOCH_VAULT_LOAD:
    case EPOCH_VAULT_PREPARE:
    case EPOCH_VAULT_DESTROY:
        cr_assert_not(server->is_calling, "one at a time");
        server->is_calling = true;
        server->call = *action;
        server->call_sealed = server->sealed;
        return;
    case EPOCH_SERVE:
        cr_assert_not(server->serves, "once");
        server->serves = true;
        return;
    case EPOCH_GIVEN_UP:
        world->given_up++;
        return;
    case EPOCH_FAIL:
        server->has_failed = true;
        return;
    }
    UNREACHABLE();
}

static inline void world_step(struct world *world, uint32_t number, struct epoch_event *event)
{
    struct world_server *server = &world->server[number];
    event->now_ns = world->now_ns;
    epoch_step(server->machine, event, &world->actions);
    uint32_t count = world->actions.count;
    for (uint32_t i = 0; i < count; i++) {
        world_carry_out(world, number, &world->actions.actions[i]);
    }
    if (epoch_wants_close(server->machine) && event->kind != EPOCH_EVENT_CLOSE) {
        struct key random[EPOCH_SERVERS_MAX];
        for (uint32_t i = 0; i < sizeof(random); i += 8) {
            uint64_t word = world_random(world);
            memcpy(&random[i / KEY_BYTES].bytes[i % KEY_BYTES], &word, sizeof(word));
        }
        struct epoch_event close = {.kind = EPOCH_EVENT_CLOSE, .random = random};
        world_step(world, number, &close);
    }
}

/* ---- what happens ------------------------------------------------------------------------------ */

static inline void world_append(struct world *world, const struct journal_entry *entry)
{
    cr_assert_lt(world->entry_count, WORLD_ENTRIES_MAX);
    world->entries[world->entry_count] = *entry;
    world->accepted[world->entry_count] = journal_apply(&world->head, entry);
    if (entry->kind == ENTRY_SWITCH && world->accepted[world->entry_count]) {
        world->switches++;
    }
    world->entry_count++;
}

static inline void world_close_epoch(struct world *world, uint32_t number)
{
    struct key random[EPOCH_SERVERS_MAX];
    for (uint32_t i = 0; i < sizeof(random); i += 8) {
        uint64_t word = world_random(world);
        memcpy(&random[i / KEY_BYTES].bytes[i % KEY_BYTES], &word, sizeof(word));
    }
    struct epoch_event close = {.kind = EPOCH_EVENT_CLOSE, .random = random};
    world_step(world, number, &close);
}

static inline void world_start(struct world *world, uint32_t number)
{
    struct world_server *server = &world->server[number];
    cr_assert_null(server->machine);
    while (world->servers == 1 && server->applied < world->entry_count) { /* Alone, it replays all there is. */
        (void)journal_apply(&server->state, &world->entries[server->applied++]);
    }
    server->is_loaded = false;
    memset(&server->prepared, 0, sizeof(server->prepared));
    server->is_calling = false;
    server->serves = false;
    server->fetch_from = 0;
    server->punctured = server->state.punctured;
    server->sealed = 0;
    server->machine = epoch_machine_init(calloc(1, epoch_machine_bytes()), number, world->servers);
    struct epoch_event start = {.kind = EPOCH_EVENT_START,
                                .current = server->state.current,
                                .sealed = server->state.sealed.epoch,
                                .epoch = server->state.erasing};
    world_step(world, number, &start);
    if (world->leader == number) {
        struct epoch_event leadership = {.kind = EPOCH_EVENT_LEADERSHIP, .is_leader = true};
        world_step(world, number, &leadership);
    }
}

static inline void world_crash(struct world *world, uint32_t number)
{
    struct world_server *server = &world->server[number];
    if (server->is_calling) {
        uint32_t parts = world_below(world, 4);
        struct shamir_share share;
        if (server->call.kind == EPOCH_VAULT_PREPARE) {
            (void)vault_does_prepare(server, &server->call, parts);
        } else if (server->call.kind == EPOCH_VAULT_DESTROY) {
            vault_does_destroy(server, server->call.epoch, parts);
        } else if (server->call.kind == EPOCH_VAULT_SETTLE && parts > 1) {
            (void)vault_does_settle(server, &server->call.target, &share);
        }
    }
    server->is_calling = false;
    free(server->machine);
    server->machine = NULL;
    world->crashes++;
    for (uint32_t i = 0; i < WORLD_PENDING_MAX && world->servers == 1; i++) { /* Alone: in its journal, or nowhere. */
        if (world->pending[i].is_set && world_chance(world, 50)) {
            world_append(world, &world->pending[i].entry);
        }
        world->pending[i].is_set = false;
    }
}

static inline void world_vault_ends(struct world *world, uint32_t number)
{
    struct world_server *server = &world->server[number];
    struct epoch_action call = server->call;
    struct epoch_event event = {.kind = EPOCH_EVENT_VAULT};
    server->is_calling = false;
    bool fails = world->is_faulty && world_below(world, 1000000) < world->vault_fails_ppm;
    switch (call.kind) {
    case EPOCH_VAULT_SETTLE:
        event.status = vault_does_settle(server, &call.target, &event.share);
        event.has_share = event.status == STATUS_OK;
        break;
    case EPOCH_VAULT_LOAD:
        event.status = vault_does_load(server, &call);
        break;
    case EPOCH_VAULT_PREPARE:
        event.status = vault_does_prepare(server, &call, fails ? world_below(world, 3) : 3);
        event.status = fails ? STATUS_FULL : event.status;
        event.leaves_erased = server->call_sealed;
        break;
    case EPOCH_VAULT_DESTROY:
        vault_does_destroy(server, call.epoch, 3);
        break;
    default:
        UNREACHABLE();
    }
    world_step(world, number, &event);
}

/* A submission comes into the journal, or is lost. */
static inline void world_journal(struct world *world, uint32_t at)
{
    struct journal_entry entry = world->pending[at].entry;
    world->pending[at].is_set = false;
    if (world->is_faulty && world_chance(world, 20)) {
        if (world->server[entry.submitter].machine != NULL) {
            struct epoch_event event = {.kind = EPOCH_EVENT_REFUSED};
            world_step(world, entry.submitter, &event);
        }
        return;
    }
    world_append(world, &entry);
}

/* One server applies its next entry. */
static inline void world_apply(struct world *world, uint32_t number)
{
    struct world_server *server = &world->server[number];
    const struct journal_entry *entry = &world->entries[server->applied];
    bool accepted = journal_apply(&server->state, entry);
    cr_assert_eq(accepted, world->accepted[server->applied]);
    server->applied++;
    struct epoch_event event = {.epoch = entry->epoch, .leaves_erased = entry->leaves_erased};
    if (!accepted) {
        event.kind = EPOCH_EVENT_REFUSED;
        if (entry->submitter == number) {
            world_step(world, number, &event);
        }
        return;
    }
    switch (entry->kind) {
    case ENTRY_PUNCTURE:
        server->punctured++;
        return;
    case ENTRY_SEAL:
        event.kind = EPOCH_EVENT_SEALED;
        event.current = server->state.sealed;
        break;
    case ENTRY_SWITCH:
        event.kind = EPOCH_EVENT_SWITCHED;
        event.current = server->state.current;
        break;
    case ENTRY_ERASED:
        event.kind = EPOCH_EVENT_ERASED;
        break;
    }
    world_step(world, number, &event);
}

/* Another server (NOBODY: none) leads from now on. */
static inline void world_lead(struct world *world, uint32_t leader)
{
    uint32_t before = world->leader;
    world->leader = leader;
    if (before == leader) {
        return;
    }
    struct epoch_event event = {.kind = EPOCH_EVENT_LEADERSHIP};
    if (before != NOBODY && world->server[before].machine != NULL) {
        world_step(world, before, &event);
    }
    event.is_leader = true;
    if (leader != NOBODY && world->server[leader].machine != NULL) {
        world_step(world, leader, &event);
    }
}

static inline void world_message_comes(struct world *world, uint32_t at)
{
    struct world_message copy = world->messages[at];
    world->messages[at].is_set = false;
    struct world_server *server = &world->server[copy.to];
    if (server->machine == NULL) {
        return;
    }
    if (copy.message.kind == EPOCH_FETCH) {
        world->server[copy.from].fetch_from |= UINT64_C(1) << copy.to;
    }
    struct epoch_event event = {.kind = EPOCH_EVENT_MESSAGE, .from = copy.from, .message = &copy.message};
    world_step(world, copy.to, &event);
}

/* Out of band: whoever has the current table copies it. */
static inline void world_fetch(struct world *world, uint32_t number)
{
    struct world_server *server = &world->server[number];
    for (uint32_t i = 0; i < world->servers; i++) {
        struct world_server *source = &world->server[i];
        struct world_table *table = table_find(source, server->state.current.epoch, server->state.current.commitment);
        if (epoch_wants_table(server->machine) && (server->fetch_from & UINT64_C(1) << i) != 0 &&
            source->machine != NULL && table != NULL) {
            table_put(server, table->epoch, table->commitment, table->leaves_erased);
            struct epoch_event event = {.kind = EPOCH_EVENT_FETCHED};
            server->fetch_from = 0;
            world_step(world, number, &event);
            return;
        }
    }
}

/* ---- the rules --------------------------------------------------------------------------------- */

/* How many slots hold a share of this root. */
static inline uint32_t world_shares(const struct world *world, uint64_t epoch,
                                    const uint8_t commitment[COMMITMENT_BYTES])
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < world->servers; i++) {
        const struct world_cell *cell = &world->server[i].cells[epoch % SLOT_CELLS];
        count += cell->holds && cell->epoch == epoch && same_commitment(cell->commitment, commitment) ? 1 : 0;
    }
    return count;
}

static inline void world_check(struct world *world)
{
    uint32_t threshold = world->servers / 2 + 1;
    const struct vault_epoch *current = &world->head.current;
    if (current->epoch != 0 && world_shares(world, current->epoch, current->commitment) < threshold) {
        world->broken = "the epoch that holds can't be opened from the slots";
    }
    for (uint32_t i = 0; i < world->servers; i++) {
        struct world_server *server = &world->server[i];
        for (uint32_t k = 0; k < SLOT_CELLS; k++) {
            struct world_cell *cell = &server->cells[k];
            bool is_current =
                cell->holds && cell->epoch == current->epoch && same_commitment(cell->commitment, current->commitment);
            struct world_table *table = is_current ? table_find(server, cell->epoch, cell->commitment) : NULL;
            if (is_current && table == NULL) {
                world->broken = "a share of the epoch that holds, and no table";
            }
            uint64_t claimed = world->erased_claimed;
            bool is_over = cell->epoch <= claimed || (cell->epoch == claimed + 1 && cell->epoch == current->epoch);
            if (cell->holds && !is_current && claimed != 0 && is_over &&
                world_shares(world, cell->epoch, cell->commitment) >= threshold) {
                world->broken = "an epoch that is said to be erased, or a dead attempt, can be opened from the slots";
            }
        }
        if (server->has_failed) {
            world->broken = "a server has failed";
        }
        if (server->machine != NULL && server->serves && server->is_loaded && server->loaded_epoch == current->epoch &&
            table_find(server, current->epoch, current->commitment) == NULL) {
            world->broken = "an epoch is loaded and has no table";
        }
    }
}

#endif
