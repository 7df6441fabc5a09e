/* keeper_world.h - n metadata servers with real vaults and keepers, over simulated loops, disks, tables and slots: for
 * test_keeper.c. Journal and replicated state are those of epoch_journal.h; messages take any time and order, and get lost.
 *
 * The model knows which leaves were punctured, by which entry of the journal, and what value each leaf has had since it was
 * first said. A server that starts is told the punctures that its current table may not have left out: all others the table
 * must refuse by itself.
 * Crashes    The process ends in the middle of what it does, and the machine loses power: I/O in flight is gone, what was not
 *            flushed is old, new or garbage. */
#ifndef TRILITH_TESTS_UNIT_KEEPER_WORLD_H
#define TRILITH_TESTS_UNIT_KEEPER_WORLD_H

#include "meta/vault/keeper.h"
#include "meta/vault/slot_cell.h"
#include "meta/vault/slot_file.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_kv.h"
#include "tests/sim/sim_random.h"
#include "tests/unit/epoch_journal.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define PAGES_MAX    24u /* pages of the model: 1..PAGES_MAX-1 */
#define PAGES_MARGIN 4u
#define MESSAGES_MAX 256u
#define PENDING_MAX  32u
#define WAITS_MAX    8u
#define NOBODY       UINT32_MAX
#define NEVER        UINT32_MAX

struct server_wait {
    struct keeper_wait wait;
    struct server *server;
    bool is_used;
    uint32_t since; /* entries that this server had applied */
};

struct server {
    struct world *world;
    uint32_t number;
    struct sim_loop *loop;
    struct sim_disk *disk;
    struct kv *covers;
    struct slot *slot;
    bool slot_is_opening;
    enum status slot_status;
    struct keeper *keeper; /* NULL: down, or its slot is being opened */
    bool serves;
    bool has_failed;
    bool has_closed;
    struct journal_state state;
    struct server_wait waits[WAITS_MAX];
    uint64_t fetch_from; /* bit i */
};

struct world_message {
    bool is_set;
    uint32_t from;
    uint32_t to;
    struct epoch_message message;
};

struct world {
    struct sim_loop *base;
    struct sim_random random;
    uint32_t servers;
    uint32_t leader;
    bool is_faulty;
    uint64_t epoch_ns;
    uint64_t seed;
    struct journal_entry *entries;
    bool *accepted;
    uint32_t entry_count;
    uint32_t entries_max;
    struct journal_state head;
    struct journal_entry pending[PENDING_MAX];
    uint32_t pending_count;
    struct world_message messages[MESSAGES_MAX];
    struct server server[EPOCH_SERVERS_MAX];

    uint32_t opened_end;                          /* the pages 1 .. opened_end - 1 are in use */
    uint32_t punctured_by[PAGES_MAX][GGM_LEAVES]; /* entry; NEVER */
    struct ggm_bitmap known[PAGES_MAX];
    struct key leaves[PAGES_MAX][GGM_LEAVES];
    uint64_t operations; /* leaves said, refused, punctured; closes; starts */
    uint64_t waits_answered;
    uint64_t crashes;
    uint64_t fetches;
};

/* Slots whose process died, maybe in the middle of a call. Kept, so that they are no leaks. */
#define LOST_MAX 16384u
static struct slot *lost_slots[LOST_MAX];
static uint32_t lost_count;

static inline uint64_t world_below(struct world *world, uint64_t bound)
{
    return sim_random_below(&world->random, bound);
}

static inline bool world_chance(struct world *world, uint32_t percent)
{
    return world_below(world, 100) < percent;
}

static inline bool is_same(const uint8_t a[COMMITMENT_BYTES], const uint8_t b[COMMITMENT_BYTES])
{
    return memcmp(a, b, COMMITMENT_BYTES) == 0;
}

/* ---- the journal ------------------------------------------------------------------------------- */

static inline void world_append(struct world *world, const struct journal_entry *entry)
{
    cr_assert_lt(world->entry_count, world->entries_max);
    uint32_t number = world->entry_count++;
    world->entries[number] = *entry;
    world->accepted[number] = journal_apply(&world->head, entry);
    if (entry->kind == ENTRY_PUNCTURE) {
        world->punctured_by[entry->page][entry->slot] = number;
        world->operations++;
    }
}

static inline void record_of(const struct journal_state *state, Trilith__ClusterRecord *record, uint8_t *commitment)
{
    trilith__cluster_record__init(record);
    memcpy(commitment, state->current.commitment, COMMITMENT_BYTES);
    record->epoch = state->current.epoch;
    record->servers = state->current.servers;
    record->threshold = state->current.threshold;
    record->pages_end = state->current.pages_end;
    record->commitment =
        (ProtobufCBinaryData){.len = state->current.epoch != 0 ? COMMITMENT_BYTES : 0, .data = commitment};
    record->sealed_epoch = state->sealed.epoch;
    record->sealed_pages_end = state->sealed.pages_end;
    record->erasing_epoch = state->erasing;
}

static inline void puncture(struct server *server, const struct journal_entry *entry)
{
    struct ggm_bitmap leaves = {0};
    ggm_bit_set(&leaves, entry->slot);
    cr_assert_eq(keeper_puncture(server->keeper, entry->page, &leaves), STATUS_OK);
}

/* One server applies its next entry, and tells its keeper. */
static inline void server_apply(struct server *server)
{
    struct world *world = server->world;
    uint32_t number = server->state.applied;
    struct journal_entry *entry = &world->entries[number];
    cr_assert_eq(journal_apply(&server->state, entry), world->accepted[number]);
    if (!world->accepted[number]) {
        if (entry->submitter == server->number) {
            keeper_refused(server->keeper);
        }
        return;
    }
    Trilith__Command command = TRILITH__COMMAND__INIT;
    Trilith__EpochSeal seal = TRILITH__EPOCH_SEAL__INIT;
    Trilith__EpochSwitch change = TRILITH__EPOCH_SWITCH__INIT;
    Trilith__EpochErased erased = TRILITH__EPOCH_ERASED__INIT;
    Trilith__ClusterRecord record;
    uint8_t commitment[COMMITMENT_BYTES];
    record_of(&server->state, &record, commitment);
    ProtobufCBinaryData bytes = {.len = COMMITMENT_BYTES, .data = entry->commitment};
    switch (entry->kind) {
    case ENTRY_PUNCTURE:
        puncture(server, entry);
        return;
    case ENTRY_SEAL:
        seal.epoch = entry->epoch;
        seal.commitment = bytes;
        seal.servers = world->servers;
        seal.threshold = world->servers / 2 + 1;
        command.change_case = TRILITH__COMMAND__CHANGE_EPOCH_SEAL;
        command.epoch_seal = &seal;
        break;
    case ENTRY_SWITCH:
        change.epoch = entry->epoch;
        change.commitment = bytes;
        change.prepared = entry->who;
        change.leaves_erased = entry->leaves_erased;
        command.change_case = TRILITH__COMMAND__CHANGE_EPOCH_SWITCH;
        command.epoch_switch = &change;
        break;
    case ENTRY_ERASED:
        erased.epoch = entry->epoch;
        erased.destroyed = entry->who;
        command.change_case = TRILITH__COMMAND__CHANGE_EPOCH_ERASED;
        command.epoch_erased = &erased;
        break;
    }
    keeper_applied(server->keeper, &command, &record);
}

/* ---- what a keeper needs ----------------------------------------------------------------------- */

static inline bool on_submit(void *user, Trilith__Command *command)
{
    struct server *server = user;
    struct world *world = server->world;
    if (world->pending_count == PENDING_MAX || (world->is_faulty && world_chance(world, 5))) {
        return false;
    }
    struct journal_entry entry = {.submitter = server->number};
    ProtobufCBinaryData commitment = {0};
    if (command->change_case == TRILITH__COMMAND__CHANGE_EPOCH_SEAL) {
        entry.kind = ENTRY_SEAL;
        entry.epoch = command->epoch_seal->epoch;
        commitment = command->epoch_seal->commitment;
        cr_assert_eq(command->epoch_seal->servers, world->servers);
        cr_assert_eq(command->epoch_seal->threshold, world->servers / 2 + 1);
    } else if (command->change_case == TRILITH__COMMAND__CHANGE_EPOCH_SWITCH) {
        entry.kind = ENTRY_SWITCH;
        entry.epoch = command->epoch_switch->epoch;
        entry.who = command->epoch_switch->prepared;
        entry.leaves_erased = command->epoch_switch->leaves_erased;
        commitment = command->epoch_switch->commitment;
    } else {
        cr_assert_eq(command->change_case, TRILITH__COMMAND__CHANGE_EPOCH_ERASED);
        entry.kind = ENTRY_ERASED;
        entry.epoch = command->epoch_erased->epoch;
        entry.who = command->epoch_erased->destroyed;
    }
    if (commitment.len == COMMITMENT_BYTES) { /* EpochErased has none. */
        memcpy(entry.commitment, commitment.data, COMMITMENT_BYTES);
    }
    world->pending[world->pending_count++] = entry;
    return true;
}

static inline void on_send(void *user, uint32_t to, const struct epoch_message *message)
{
    struct server *server = user;
    struct world *world = server->world;
    if (world->is_faulty && world_chance(world, 10)) {
        return;
    }
    uint64_t at = world_below(world, MESSAGES_MAX); /* When all places are taken, the one that is there gets lost. */
    for (uint64_t i = 0; i < MESSAGES_MAX && world->messages[at].is_set; i++) {
        at = (at + 1) % MESSAGES_MAX;
    }
    world->messages[at] = (struct world_message){.is_set = true, .from = server->number, .to = to, .message = *message};
}

static inline void on_serving(void *user)
{
    struct server *server = user;
    cr_assert_not(server->serves, "once");
    server->serves = true;
}

static inline void on_failed(void *user, enum status status)
{
    struct server *server = user;
    (void)status;
    server->has_failed = true;
}

static inline void on_closed(void *user)
{
    struct server *server = user;
    server->keeper = NULL;
    server->has_closed = true;
}

/* Told STATUS_OK: all that was punctured before the call is out of the current table, and the old root is destroyed. */
static inline void on_wait_ended(struct keeper_wait *wait, enum status status, uint64_t epoch)
{
    struct server_wait *ended = CONTAINER_OF(wait, struct server_wait, wait);
    struct server *server = ended->server;
    cr_assert(ended->is_used);
    ended->is_used = false;
    if (status == STATUS_OK) {
        cr_assert_geq(server->state.switched_at, ended->since, "sealed after the call");
        cr_assert_lt(epoch, server->state.current.epoch);
        server->world->waits_answered++;
    } else {
        cr_assert(status == STATUS_UNAVAILABLE || status == STATUS_FULL || status == STATUS_IO, "%s",
                  status_name(status));
    }
}

/* False: as many wait as may. */
static inline bool server_close_epoch(struct server *server)
{
    for (uint32_t i = 0; i < WAITS_MAX; i++) {
        struct server_wait *wait = &server->waits[i];
        if (!wait->is_used) {
            *wait = (struct server_wait){
                .wait.closed = on_wait_ended, .server = server, .is_used = true, .since = server->state.applied};
            keeper_close_epoch(server->keeper, &wait->wait);
            server->world->operations++;
            return true;
        }
    }
    return false;
}

/* ---- starting and crashing --------------------------------------------------------------------- */

static inline void on_slot_opened(void *user, enum status status, struct slot *slot)
{
    struct server *server = user;
    struct world *world = server->world;
    server->slot_is_opening = false;
    server->slot_status = status;
    cr_assert_eq(status, STATUS_OK);
    server->slot = slot;
    while (world->servers == 1 && server->state.applied < world->entry_count) { /* Alone, it replays all there is. */
        (void)journal_apply(&server->state, &world->entries[server->state.applied]);
    }
    struct keeper_options options = {.parts = {.loop = sim_loop_interface(server->loop),
                                               .disk = sim_disk_interface(server->disk),
                                               .covers = server->covers,
                                               .slot = slot},
                                     .vault_uuid = {7, 7, 7},
                                     .self = server->number,
                                     .servers = world->servers,
                                     .epoch_ns = world->epoch_ns};
    struct keeper_user callbacks = {
        .submit = on_submit, .send = on_send, .serving = on_serving, .failed = on_failed, .user = server};
    Trilith__ClusterRecord record;
    uint8_t commitment[COMMITMENT_BYTES];
    record_of(&server->state, &record, commitment);
    server->keeper = keeper_open(&options, &record, &callbacks);
    cr_assert_not_null(server->keeper);
    for (uint32_t i = server->state.switched_at; i < server->state.applied; i++) {
        if (world->entries[i].kind == ENTRY_PUNCTURE) {
            puncture(server, &world->entries[i]);
        }
    }
    if (world->leader == server->number) {
        keeper_lead(server->keeper, true);
    }
    world->operations++;
}

static inline void server_start(struct server *server)
{
    server->serves = false;
    server->has_failed = false;
    server->has_closed = false;
    server->fetch_from = 0;
    server->slot_is_opening = true;
    slot_file_open(sim_loop_interface(server->loop), sim_disk_interface(server->disk), true, on_slot_opened, server);
}

static inline void world_pending_settle(struct world *world)
{
    for (uint32_t i = 0; i < world->pending_count; i++) { /* Alone: in its journal, or nowhere. */
        if (world_chance(world, 50)) {
            world_append(world, &world->pending[i]);
        }
    }
    world->pending_count = 0;
}

static inline void server_crash(struct server *server)
{
    struct world *world = server->world;
    char name[] = "server";
    cr_assert_not_null(server->keeper);
    sim_disk_crash(server->disk);
    sim_kv_crash(server->covers, world_below(world, UINT32_MAX));
    struct sim_loop *old = server->loop;
    server->loop = sim_loop_fork(world->base, name, world_below(world, UINT32_MAX));
    sim_disk_attach(server->disk, server->loop);
    sim_loop_close(old);
    keeper_abandon(server->keeper);
    server->keeper = NULL;
    cr_assert_lt(lost_count, LOST_MAX);
    lost_slots[lost_count++] = server->slot;
    memset(server->waits, 0, sizeof(server->waits));
    if (world->servers == 1) {
        world_pending_settle(world);
    }
    world->crashes++;
}

/* As a process ends that was asked to. */
static inline void server_stop(struct server *server)
{
    keeper_close(server->keeper, on_closed, server);
    cr_assert(sim_loop_run_until(server->loop, &server->has_closed));
    slot_close(server->slot);
    for (uint32_t i = 0; i < WAITS_MAX; i++) {
        cr_assert_not(server->waits[i].is_used, "every wait is told");
    }
    if (server->world->servers == 1) {
        world_pending_settle(server->world);
    }
}

static inline struct world *world_open(uint32_t servers, uint64_t seed, uint32_t entries_max)
{
    struct world *world = calloc(1, sizeof(*world));
    cr_assert_not_null(world);
    cr_assert_eq(keys_start_process(), STATUS_OK);
    world->entries_max = entries_max;
    world->entries = calloc(entries_max, sizeof(world->entries[0]));
    world->accepted = calloc(entries_max, sizeof(world->accepted[0]));
    cr_assert(world->entries != NULL && world->accepted != NULL);
    world->seed = seed;
    world->random = sim_random_of(seed);
    world->base = sim_loop_open(seed);
    world->servers = servers;
    world->opened_end = 4;
    world->head.servers = servers;
    world->head.pages_end = PAGES_MAX + PAGES_MARGIN;
    memset(world->punctured_by, 0xff, sizeof(world->punctured_by));
    for (uint32_t i = 0; i < servers; i++) {
        struct server *server = &world->server[i];
        server->world = world;
        server->number = i;
        server->state = world->head;
        server->loop = sim_loop_fork(world->base, "server", seed + i);
        server->disk = sim_disk_open(server->loop, seed + i);
        server->covers = sim_kv_open();
        server_start(server);
    }
    return world;
}

static inline void world_close(struct world *world)
{
    for (uint32_t i = 0; i < world->servers; i++) {
        struct server *server = &world->server[i];
        if (server->keeper != NULL) {
            server_stop(server);
        }
        kv_close(server->covers);
        sim_disk_close(server->disk);
        sim_loop_close(server->loop);
    }
    sim_loop_close(world->base);
    free(world->entries);
    free(world->accepted);
    free(world);
}

static inline void world_lead(struct world *world, uint32_t leader)
{
    uint32_t before = world->leader;
    world->leader = leader;
    if (before == leader) {
        return;
    }
    if (before != NOBODY && world->server[before].keeper != NULL) {
        keeper_lead(world->server[before].keeper, false);
    }
    if (leader != NOBODY && world->server[leader].keeper != NULL) {
        keeper_lead(world->server[leader].keeper, true);
    }
}

/* ---- what lies on the devices ------------------------------------------------------------------ */

static inline bool slot_holds(struct server *server, uint64_t epoch, uint8_t commitment[COMMITMENT_BYTES])
{
    uint8_t block[BLOCK_BYTES];
    struct slot_cell cell;
    unsigned number = slot_cell_of(epoch);
    if (!sim_disk_copy(server->disk, SIM_DISK_DURABLE, "root-slot", number * BLOCK_BYTES, block, sizeof(block))) {
        return false;
    }
    slot_cell_decode(block, number, &cell);
    bool holds = cell.state == SLOT_HOLDS && cell.epoch == epoch;
    memcpy(commitment, cell.commitment, COMMITMENT_BYTES);
    wipe_memory(&cell, sizeof(cell));
    return holds;
}

/* How many slots hold a share of the same root of this epoch, for the root of which most do. */
static inline uint32_t world_shares(struct world *world, uint64_t epoch)
{
    uint8_t commitments[EPOCH_SERVERS_MAX][COMMITMENT_BYTES];
    uint32_t most = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < world->servers; i++) {
        count += slot_holds(&world->server[i], epoch, commitments[count]) ? 1 : 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t same = 0;
        for (uint32_t j = 0; j < count; j++) {
            same += is_same(commitments[i], commitments[j]) ? 1 : 0;
        }
        most = same > most ? same : most;
    }
    return most;
}

/* The epoch that holds can be opened; what was erased can't. */
static inline void world_check_slots(struct world *world)
{
    uint32_t threshold = world->servers / 2 + 1;
    uint64_t current = world->head.current.epoch;
    if (current == 0) {
        return;
    }
    cr_assert_geq(world_shares(world, current), threshold, "epoch %llu is locked out", (unsigned long long)current);
    if (current >= 2 && world->head.erasing == 0 && world->head.sealed.epoch == 0) {
        cr_assert_lt(world_shares(world, current - 1), threshold, "epoch %llu is not erased",
                     (unsigned long long)current - 1);
    }
}

/* ---- leaves ------------------------------------------------------------------------------------ */

static inline void server_check_leaf(struct server *server, uint32_t page, uint32_t slot)
{
    struct world *world = server->world;
    struct key leaf;
    enum status status = keeper_derive(server->keeper, page, slot, &leaf);
    world->operations++;
    if (status == STATUS_UNAVAILABLE) {
        cr_assert(!server->serves || world->servers > 1);
        return;
    }
    if (world->punctured_by[page][slot] < server->state.applied) {
        cr_assert_eq(status, STATUS_GONE, "server %u page %u slot %u: %s", server->number, page, slot,
                     status_name(status));
        return;
    }
    cr_assert_eq(status, STATUS_OK, "server %u page %u slot %u: %s", server->number, page, slot, status_name(status));
    if (!ggm_bit(&world->known[page], slot)) {
        ggm_bit_set(&world->known[page], slot);
        world->leaves[page][slot] = leaf;
    }
    cr_assert_arr_eq(leaf.bytes, world->leaves[page][slot].bytes, KEY_BYTES, "page %u slot %u has changed", page, slot);
}

static inline void server_check_leaves(struct server *server)
{
    for (uint32_t page = 1; page < server->world->opened_end; page++) {
        for (uint32_t slot = 0; slot < GGM_LEAVES; slot++) {
            server_check_leaf(server, page, slot);
        }
    }
}

/* Into the journal at once. */
static inline void world_puncture(struct world *world, uint32_t page, uint32_t slot)
{
    if (world->punctured_by[page][slot] == NEVER) {
        struct journal_entry entry = {.kind = ENTRY_PUNCTURE, .submitter = NOBODY, .page = page, .slot = slot};
        world_append(world, &entry);
    }
}

/* ---- what happens ------------------------------------------------------------------------------ */

struct fetching {
    struct kv_batch *batch;
};

static inline void fetch_row(void *user, const void *key, size_t key_bytes, const void *value, size_t value_bytes)
{
    struct fetching *fetching = user;
    kv_batch_put(fetching->batch, KV_SLICE(key, key_bytes), KV_SLICE(value, value_bytes));
}

static inline void io_ended(struct disk_io *io)
{
    (void)io;
}

/* The table and covers of `source`, byte by byte, both as they are now. */
static inline void fetch_copy(struct server *server, struct server *source, uint64_t epoch)
{
    char name[DISK_NAME_BYTES];
    uint64_t bytes = 0;
    struct disk_file *file;
    struct disk_io io = {0};
    struct disk *disk = sim_disk_interface(server->disk);
    struct fetching fetching = {.batch = kv_batch_open(server->covers)};
    sim_kv_each(source->covers, fetch_row, &fetching);
    (void)snprintf(name, sizeof(name), "table-%016llx", (unsigned long long)epoch);
    cr_assert(sim_disk_file_bytes(source->disk, name, &bytes));
    uint8_t *content = aligned_alloc(BLOCK_BYTES, bytes);
    cr_assert(sim_disk_copy(source->disk, SIM_DISK_CACHE, name, 0, content, bytes));
    cr_assert_eq(disk_file_open(disk, name, true, &file), STATUS_OK);
    disk_allocate(file, &io, bytes, io_ended);
    while (file->bytes < bytes) {
        cr_assert(sim_loop_step(server->loop));
    }
    disk_write(file, &io, content, bytes, 0, DISK_DURABLE, io_ended);
    sim_loop_run_for(server->loop, 50 * NS_PER_MS);
    disk_file_close(file);
    free(content);
    cr_assert_eq(kv_write(server->covers, fetching.batch), STATUS_OK);
    kv_batch_close(fetching.batch);
    cr_assert_eq(kv_flush(server->covers), STATUS_OK);
}

static inline void server_fetch(struct server *server)
{
    struct world *world = server->world;
    uint8_t commitment[COMMITMENT_BYTES];
    for (uint32_t i = 0; i < world->servers; i++) {
        struct server *source = &world->server[i];
        uint64_t epoch = server->state.current.epoch;
        if ((server->fetch_from & UINT64_C(1) << i) == 0 || !source->serves || source->keeper == NULL ||
            source->state.current.epoch != epoch || !slot_holds(source, epoch, commitment) ||
            !is_same(commitment, server->state.current.commitment)) {
            continue;
        }
        server->fetch_from = 0;
        world->fetches++;
        fetch_copy(server, source, epoch);
        if (server->keeper != NULL) {
            keeper_fetched(server->keeper);
        }
        return;
    }
}

static inline void message_comes(struct world *world)
{
    uint64_t at = world_below(world, MESSAGES_MAX);
    for (uint64_t i = 0; i < MESSAGES_MAX; i++) {
        struct world_message *message = &world->messages[(at + i) % MESSAGES_MAX];
        if (!message->is_set) {
            continue;
        }
        message->is_set = false;
        struct epoch_message copy = message->message;
        if (copy.kind == EPOCH_FETCH) {
            world->server[message->from].fetch_from |= UINT64_C(1) << message->to;
        } else if (world->server[message->to].keeper != NULL) {
            keeper_message_came(world->server[message->to].keeper, message->from, &copy);
        }
        return;
    }
}

/* The first submission comes into the journal, or is lost. */
static inline void journal_takes(struct world *world)
{
    if (world->pending_count == 0) {
        return;
    }
    struct journal_entry entry = world->pending[0];
    world->pending_count--;
    memmove(world->pending, world->pending + 1, world->pending_count * sizeof(world->pending[0]));
    if (world->is_faulty && world_chance(world, 5)) {
        if (world->server[entry.submitter].keeper != NULL) {
            keeper_refused(world->server[entry.submitter].keeper);
        }
        return;
    }
    world_append(world, &entry);
}

/* Everything that can go on does, a little. */
static inline void world_step(struct world *world)
{
    struct server *server = &world->server[world_below(world, world->servers)];
    (void)sim_loop_step(world->base);
    if (world->servers > 1) {
        message_comes(world);
    }
    journal_takes(world);
    for (uint32_t i = 0; i < 3 && server->keeper != NULL && server->state.applied < world->entry_count; i++) {
        server_apply(server);
    }
    if (server->keeper != NULL && server->fetch_from != 0 && keeper_wants_table(server->keeper)) {
        server_fetch(server);
    }
}

static inline bool world_rests(const struct world *world)
{
    bool rests = world->pending_count == 0 && world->head.current.epoch != 0 && world->head.sealed.epoch == 0 &&
                 world->head.erasing == 0;
    for (uint32_t i = 0; rests && i < world->servers; i++) {
        const struct server *server = &world->server[i];
        rests = server->keeper != NULL && server->serves && server->state.applied == world->entry_count &&
                !keeper_is_closing(server->keeper);
        for (uint32_t k = 0; k < WAITS_MAX; k++) {
            rests = rests && !server->waits[k].is_used;
        }
    }
    return rests;
}

/* For people: where everybody stands. */
static inline void world_show(const struct world *world)
{
    const struct journal_state *head = &world->head;
    (void)fprintf(stderr, "leader %u entries %u pending %u epoch %llu sealed %llu erasing %llu\n", world->leader,
                  world->entry_count, world->pending_count, (unsigned long long)head->current.epoch,
                  (unsigned long long)head->sealed.epoch, (unsigned long long)head->erasing);
    for (uint32_t i = 0; i < world->servers; i++) {
        const struct server *server = &world->server[i];
        (void)fprintf(stderr, "server %u: up %d serves %d failed %d applied %u closing %d wants table %d\n", i,
                      server->keeper != NULL, server->serves, server->has_failed, server->state.applied,
                      server->keeper != NULL && keeper_is_closing(server->keeper),
                      server->keeper != NULL && keeper_wants_table(server->keeper));
    }
}

/* Until nothing is left to do. */
static inline void world_run(struct world *world)
{
    for (uint32_t i = 0; !world_rests(world); i++) {
        if (i == 200000) {
            world_show(world);
            cr_assert_fail("%u servers, seed %llu: does not come to rest", world->servers,
                           (unsigned long long)world->seed);
        }
        world_step(world);
    }
}

#endif
