/* test_vault_start.c - a vault starts only with what belongs together: its own slot, table and metadata, all of the
 * newest time and undamaged. Everything else is refused with the right status, a message that says what is wrong, and
 * nothing destroyed. */
#include "tests/unit/vault_fixture.h"

static struct world *world;

static void setup(void)
{
    world = world_open(7, 6);
}

static void teardown(void)
{
    world_close(world);
}

TestSuite(vault_start, .init = setup, .fini = teardown, .timeout = 120);

/* ---- files that are not what they should be ---------------------------------------------------- */

static void current_table_name(char name[DISK_NAME_BYTES])
{
    table_name(world->current.epoch, name);
}

/* Start must fail so, and say why. */
static void start_is_refused(enum status expected, const char *word)
{
    enum status status = world_start(world);
    cr_assert_eq(status, expected, "%s: %s", status_name(status), vault_message(world->vault));
    cr_assert_not_null(strstr(vault_message(world->vault), word), "%s", vault_message(world->vault));
    struct key leaf;
    cr_assert_eq(vault_derive(world->vault, 1, 0, &leaf), STATUS_UNAVAILABLE);
}

Test(vault_start, refuses_a_table_with_any_flipped_bit)
{
    char name[DISK_NAME_BYTES];
    uint64_t bytes;
    cr_assert(world_close_epoch(world));
    current_table_name(name);
    cr_assert(sim_disk_file_bytes(world->disk, name, &bytes));
    world_stop(world);
    for (unsigned i = 0; i < 60; i++) {
        uint64_t offset = i < 30 ? i * 3 : sim_random_below(&world->random, bytes);
        uint8_t bit = (uint8_t)(1u << (i % 8));
        sim_disk_corrupt(world->disk, name, offset, bit);
        start_is_refused(STATUS_CORRUPT, name);
        sim_disk_corrupt(world->disk, name, offset, bit);
        world_stop(world);
    }
    cr_assert_eq(world_start(world), STATUS_OK);
}

static void file_write_done(struct disk_io *io)
{
    cr_assert_eq(io->status, STATUS_OK);
}

/* Write a file anew with other content. */
static void file_write(const char *name, const uint8_t *content, uint64_t bytes)
{
    struct disk *disk = sim_disk_interface(world->disk);
    struct disk_file *file;
    struct disk_io io;
    uint64_t before;
    if (sim_disk_file_bytes(world->disk, name, &before)) {
        cr_assert_eq(disk_file_remove(disk, name), STATUS_OK);
    }
    cr_assert_eq(disk_file_open(disk, name, true, &file), STATUS_OK);
    disk_allocate(file, &io, bytes, file_write_done);
    sim_loop_run_until_idle(world->loop);
    disk_write(file, &io, content, bytes, 0, DISK_DURABLE, file_write_done);
    sim_loop_run_until_idle(world->loop);
    disk_file_close(file);
}

static uint8_t *file_copy(const char *name, uint64_t *bytes)
{
    cr_assert(sim_disk_file_bytes(world->disk, name, bytes));
    uint8_t *copy = aligned_alloc(BLOCK_BYTES, *bytes);
    cr_assert_not_null(copy);
    cr_assert(sim_disk_copy(world->disk, SIM_DISK_CACHE, name, 0, copy, *bytes));
    return copy;
}

Test(vault_start, refuses_a_missing_a_truncated_and_another_epochs_table)
{
    char name[DISK_NAME_BYTES];
    uint64_t bytes;
    uint64_t old_bytes;
    world_check(world);
    cr_assert(world_close_epoch(world));
    current_table_name(name);
    uint8_t *old = file_copy(name, &old_bytes);
    cr_assert(world_close_epoch(world));
    current_table_name(name);
    uint8_t *own = file_copy(name, &bytes);
    world_stop(world);

    cr_assert_eq(disk_file_remove(sim_disk_interface(world->disk), name), STATUS_OK);
    start_is_refused(STATUS_NOT_FOUND, "is missing");
    world_stop(world);
    file_write(name, own, bytes - BLOCK_BYTES);
    start_is_refused(STATUS_CORRUPT, "truncated");
    world_stop(world);
    file_write(name, old, old_bytes);
    start_is_refused(STATUS_CORRUPT, "another epoch's");
    world_stop(world);
    memcpy(old, own, TABLE_HEADER_BYTES); /* This epoch's header before another one's rows. */
    file_write(name, old, old_bytes);
    start_is_refused(STATUS_CORRUPT, "damaged");
    world_stop(world);
    file_write(name, own, bytes);
    cr_assert_eq(world_start(world), STATUS_OK);
    world_check(world);
    free(old);
    free(own);
}

/* The directories of two servers were swapped: the start is refused, and must not cost the other one its only table. */
Test(vault_start, removes_other_tables_only_when_its_own_has_opened)
{
    static const char others[] = "table-0000000000000063";
    char name[DISK_NAME_BYTES];
    uint64_t bytes;
    uint64_t others_bytes;
    cr_assert(world_close_epoch(world));
    current_table_name(name);
    uint8_t *own = file_copy(name, &bytes);
    world_stop(world);
    file_write(others, own, bytes);
    cr_assert_eq(disk_file_remove(sim_disk_interface(world->disk), name), STATUS_OK);
    start_is_refused(STATUS_NOT_FOUND, "is missing");
    cr_assert(sim_disk_file_bytes(world->disk, others, &others_bytes));
    world_stop(world);
    own[bytes - 1] ^= 1;
    file_write(name, own, bytes);
    start_is_refused(STATUS_CORRUPT, "damaged");
    cr_assert(sim_disk_file_bytes(world->disk, others, &others_bytes));
    world_stop(world);
    own[bytes - 1] ^= 1;
    file_write(name, own, bytes);
    cr_assert_eq(world_start(world), STATUS_OK);
    cr_assert_not(sim_disk_file_bytes(world->disk, others, &others_bytes), "what a crash has left takes no room");
    free(own);
}

Test(vault_start, refuses_a_header_that_its_blocks_do_not_vouch_for_and_blocks_out_of_place)
{
    char name[DISK_NAME_BYTES];
    uint64_t bytes;
    struct table_header header;
    world->opened_end = 4000; /* Three blocks. */
    cr_assert(world_close_epoch(world));
    current_table_name(name);
    uint8_t *own = file_copy(name, &bytes);
    uint8_t *changed = aligned_alloc(BLOCK_BYTES, bytes);
    cr_assert_not_null(changed);
    cr_assert_eq(bytes, TABLE_HEADER_BYTES + 3 * TABLE_BLOCK_BYTES);
    world_stop(world);

    memcpy(changed, own, bytes);
    cr_assert_eq(table_header_decode(own, &header), STATUS_OK);
    header.leaves_erased_total += 1; /* With a checksum that is right. */
    table_header_encode(&header, changed);
    file_write(name, changed, bytes);
    start_is_refused(STATUS_CORRUPT, "damaged");
    world_stop(world);

    memcpy(changed, own, bytes);
    memcpy(changed + table_block_offset(0), own + table_block_offset(1), TABLE_BLOCK_BYTES);
    memcpy(changed + table_block_offset(1), own + table_block_offset(0), TABLE_BLOCK_BYTES);
    file_write(name, changed, bytes);
    start_is_refused(STATUS_CORRUPT, "damaged");
    world_stop(world);

    file_write(name, own, bytes);
    cr_assert_eq(world_start(world), STATUS_OK);
    free(own);
    free(changed);
}

Test(vault_start, refuses_another_vaults_table_and_slot)
{
    char name[DISK_NAME_BYTES];
    uint64_t bytes;
    uint64_t slot_bytes;
    struct world *other = world_open(99, 6);
    struct world *own = world;
    cr_assert(world_close_epoch(own));
    world_stop(own);
    world_stop(other);
    memset(other->uuid, 0x77, sizeof(other->uuid)); /* As far as the state of `other` knows, it is another one. */
    world = other;
    cr_assert_eq(world_open_slot(other, false), STATUS_OK);
    world_open_vault(other);
    cr_assert_eq(world_settle(other), STATUS_CONFLICT);
    cr_assert_not_null(strstr(vault_message(other->vault), "another metadata server's slot"));
    world_stop(other);

    /* The same epoch, the same length, and a header that its blocks vouch for. */
    memset(other->uuid, 0x5a, sizeof(other->uuid));
    cr_assert_eq(world_start(other), STATUS_OK);
    cr_assert(world_close_epoch(other));
    current_table_name(name);
    uint8_t *table = file_copy(name, &bytes);
    uint8_t *slot = file_copy("root-slot", &slot_bytes);
    world = own;
    file_write(name, table, bytes);
    start_is_refused(STATUS_CORRUPT, "another epoch's");
    world_stop(own);
    file_write("root-slot", slot, slot_bytes);
    start_is_refused(STATUS_CONFLICT, "another root of epoch");
    free(table);
    free(slot);
    world_close(other);
}

/* Used all the same, they would lose the pages of this vault, and those of the other one when it writes. */
Test(vault_start, refuses_another_vaults_covers)
{
    struct world *other = world_open(99, 6);
    struct kv *own = world->covers;
    world_stop(other);
    memset(other->uuid, 0x77, sizeof(other->uuid));
    sim_disk_close(other->disk); /* A new one: the slot is the old vault's. */
    other->disk = sim_disk_open(other->loop, 99);
    memset(&other->current, 0, sizeof(other->current));
    cr_assert_eq(world_open_slot(other, true), STATUS_OK);
    world_open_vault(other);
    cr_assert_eq(world_settle(other), STATUS_OK);
    cr_assert(world_close_epoch(other));
    world_puncture(other, 1, 7);
    cr_assert(world_close_epoch(other));

    world_puncture(world, 1, 9);
    cr_assert(world_close_epoch(world));
    world_stop(world);
    world->covers = other->covers;
    start_is_refused(STATUS_CORRUPT, "another vault's");
    world_stop(world);
    world->covers = own;
    cr_assert_eq(world_start(world), STATUS_OK);
    world_check(world);
    world_close(other);
}

Test(vault_start, refuses_a_root_that_is_not_the_epochs)
{
    struct outcome outcome = {0};
    struct key wrong = {.bytes = {1}};
    world_stop(world);
    cr_assert_eq(world_open_slot(world, false), STATUS_OK);
    world_open_vault(world);
    cr_assert_eq(world_settle(world), STATUS_OK);
    vault_load(world->vault, &world->current, &wrong, outcome_set, &outcome);
    cr_assert(world_wait(world, &outcome));
    cr_assert_eq(outcome.status, STATUS_DENIED);
}

Test(vault_start, refuses_an_older_copy_of_the_slot)
{
    uint64_t bytes;
    cr_assert(world_close_epoch(world));
    uint8_t *older = file_copy("root-slot", &bytes);
    for (unsigned i = 0; i < 4; i++) { /* Both parities. */
        cr_assert(world_close_epoch(world));
        uint64_t now_bytes;
        uint8_t *now = file_copy("root-slot", &now_bytes);
        world_stop(world);
        file_write("root-slot", older, bytes);
        start_is_refused(STATUS_CONFLICT, "older copy of the slot");
        world_stop(world);
        file_write("root-slot", now, bytes);
        cr_assert_eq(world_start(world), STATUS_OK);
        free(now);
    }
    free(older);
}

Test(vault_start, refuses_an_older_copy_of_the_metadata_and_destroys_nothing)
{
    struct vault_epoch first = world->current;
    struct vault_epoch states[3];
    world_check(world);
    cr_assert(world_close_epoch(world));
    struct vault_epoch second = world->current;
    cr_assert(world_close_epoch(world));
    struct vault_epoch now = world->current;
    states[0] = (struct vault_epoch){0};
    states[1] = first;
    states[2] = second;
    for (size_t i = 0; i < ARRAY_LENGTH(states); i++) {
        world_stop(world);
        world->current = states[i];
        start_is_refused(STATUS_CONFLICT, "older copy of the metadata");
    }
    world->current = now;
    world_restart(world);
    world_check(world);
}

static void call_done(struct slot_call *call)
{
    (void)call;
}

/* An epoch that is more than one ahead: nobody prepared that, so it is not taken for an attempt and destroyed. */
Test(vault_start, never_destroys_an_epoch_that_it_can_not_have_prepared)
{
    struct slot_call call = {.operation = SLOT_PUT, .cells = world->vault->secrets->cells, .done = call_done};
    *call.cells = (struct slot_cell){
        .state = SLOT_HOLDS, .epoch = 4, .servers = 1, .threshold = 1, .share = {.index = 1, .value.bytes = {9}}};
    memcpy(call.cells->vault_uuid, world->uuid, sizeof(world->uuid));
    slot_start(world->slot, &call);
    sim_loop_run_until_idle(world->loop);
    cr_assert_eq(call.status, STATUS_OK);
    world_stop(world);
    for (unsigned i = 0; i < 2; i++) {
        start_is_refused(STATUS_CONFLICT, "older copy of the metadata");
        world_stop(world);
    }
    cr_assert_eq(world_open_slot(world, false), STATUS_OK);
    world_open_vault(world);
}

Test(vault_start, refuses_an_empty_and_a_damaged_slot)
{
    uint64_t bytes;
    static uint8_t zeros[2 * BLOCK_BYTES];
    world_check(world);
    cr_assert(world_close_epoch(world));
    uint8_t *now = file_copy("root-slot", &bytes);
    world_stop(world);
    sim_disk_corrupt(world->disk, "root-slot", slot_cell_of(world->current.epoch) * BLOCK_BYTES + 50, 1);
    start_is_refused(STATUS_CORRUPT, "damaged");
    world_stop(world);
    file_write("root-slot", zeros, bytes);
    start_is_refused(STATUS_CONFLICT, "holds no root");
    world_stop(world);
    file_write("root-slot", now, bytes);
    cr_assert_eq(world_start(world), STATUS_OK);
    world_check(world);
    free(now);
}

Test(vault_start, a_lost_cover_costs_only_its_page)
{
    struct key leaf;
    world_check(world);
    world_puncture(world, 1, 1);
    cr_assert(world_close_epoch(world));
    sim_kv_lose(world->covers);
    cr_assert_eq(vault_derive(world->vault, 1, 2, &leaf), STATUS_CORRUPT);
    cr_assert_eq(vault_derive(world->vault, 2, 2, &leaf), STATUS_OK);
    /* The page can't be punctured further: the close says so, and nothing changes. */
    enum status status;
    world_puncture(world, 1, 2);
    world_seal(world);
    cr_assert(world_prepare(world, &status));
    cr_assert_eq(status, STATUS_CORRUPT);
    cr_assert_not_null(strstr(vault_message(world->vault), "page 1"));
}

/* ---- one of several servers -------------------------------------------------------------------- */

Test(vault_start, a_server_that_missed_the_switch_destroys_its_old_share)
{
    world_stop(world);
    cr_assert_eq(world_open_slot(world, false), STATUS_OK);
    world_open_vault(world);
    struct vault_epoch ahead = world->current;
    ahead.epoch = 2;
    ahead.servers = 3;
    ahead.threshold = 2;
    ahead.commitment[0] ^= 1;
    world->current = ahead;
    cr_assert_eq(world_settle(world), STATUS_NOT_FOUND);
    cr_assert_null(vault_share(world->vault));
    uint8_t block[BLOCK_BYTES];
    struct slot_cell cell;
    cr_assert(sim_disk_copy(world->disk, SIM_DISK_DURABLE, "root-slot", BLOCK_BYTES, block, sizeof(block)));
    slot_cell_decode(block, 1, &cell);
    cr_assert_eq(cell.state, SLOT_DESTROYED);
    cr_assert_eq(cell.epoch, 1);
}

/* It prepared an attempt that the others did not switch to: they switched to another one. */
Test(vault_start, a_server_that_prepared_another_attempt_destroys_both_its_shares)
{
    enum status status;
    uint8_t blocks[SLOT_CELLS][BLOCK_BYTES];
    struct key leaf;
    world_seal(world);
    cr_assert(world_prepare(world, &status));
    cr_assert_eq(status, STATUS_OK);
    world->current = world->next;
    world->current.servers = 3;
    world->current.threshold = 2;
    world->current.commitment[0] ^= 1;
    vault_unload(world->vault);
    cr_assert_eq(vault_derive(world->vault, 1, 0, &leaf), STATUS_UNAVAILABLE);
    cr_assert_eq(world_settle(world), STATUS_NOT_FOUND);
    for (unsigned i = 0; i < SLOT_CELLS; i++) {
        struct slot_cell cell;
        cr_assert(sim_disk_copy(world->disk, SIM_DISK_DURABLE, "root-slot", i * BLOCK_BYTES, blocks[i], BLOCK_BYTES));
        slot_cell_decode(blocks[i], i, &cell);
        cr_assert_eq(cell.state, SLOT_DESTROYED);
        cr_assert_null(memmem(blocks[i], BLOCK_BYTES, world->roots[1].bytes, KEY_BYTES));
        cr_assert_null(memmem(blocks[i], BLOCK_BYTES, world->next_root.bytes, KEY_BYTES));
    }
}
