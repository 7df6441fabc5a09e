/* test_slot_file.c - the root slot in a file: what was put is read back, what was destroyed is overwritten, damage
 * shows. */
#include "meta/vault/slot_cell.h"
#include "meta/vault/slot_file.h"
#include "tests/sim/sim_disk.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static struct sim_loop *loop;
static struct sim_disk *disk;
static struct slot *slot;
static struct slot_cell *cells; /* SLOT_CELLS of them */
static bool done;
static enum status opened_status;

static void slot_opened(void *user, enum status status, struct slot *opened)
{
    (void)user;
    cr_assert_not(done);
    done = true;
    opened_status = status;
    slot = opened;
}

static enum status open_slot(bool create)
{
    done = false;
    slot_file_open(sim_loop_interface(loop), sim_disk_interface(disk), create, slot_opened, NULL);
    cr_assert_not(done, "never inside the call");
    cr_assert(sim_loop_run_until(loop, &done));
    return opened_status;
}

static void setup(void)
{
    cr_assert_eq(keys_start_process(), STATUS_OK);
    loop = sim_loop_open(3);
    disk = sim_disk_open(loop, 3);
    cells = guarded_take(SLOT_CELLS * sizeof(*cells));
    cr_assert_not_null(cells);
    cr_assert_eq(open_slot(true), STATUS_OK);
}

static void teardown(void)
{
    if (slot != NULL) {
        slot_close(slot);
    }
    guarded_release(cells);
    sim_disk_close(disk);
    sim_loop_close(loop);
}

TestSuite(slot_file, .init = setup, .fini = teardown);

static void call_done(struct slot_call *call)
{
    (void)call;
    cr_assert_not(done);
    done = true;
}

static enum status run(enum slot_operation operation, uint64_t epoch)
{
    struct slot_call call = {.operation = operation, .epoch = epoch, .cells = cells, .done = call_done};
    done = false;
    slot_start(slot, &call);
    cr_assert_not(done, "never inside the call");
    cr_assert(sim_loop_run_until(loop, &done));
    return call.status;
}

static void fill(struct slot_cell *cell, uint64_t epoch)
{
    *cell = (struct slot_cell){.state = SLOT_HOLDS, .epoch = epoch, .servers = 5, .threshold = 3, .share.index = 4};
    memset(cell->vault_uuid, 0x11, sizeof(cell->vault_uuid));
    memset(cell->share.value.bytes, (int)(0x80 + epoch), KEY_BYTES);
    memset(cell->commitment, (int)(0x40 + epoch), COMMITMENT_BYTES);
}

static enum status put(uint64_t epoch)
{
    fill(&cells[0], epoch);
    return run(SLOT_PUT, 0);
}

/* Is the share of `epoch` anywhere on the device, durably or in its cache? */
static bool share_is_on_device(uint64_t epoch)
{
    uint8_t share[KEY_BYTES];
    memset(share, (int)(0x80 + epoch), sizeof(share));
    for (int image = SIM_DISK_DURABLE; image <= SIM_DISK_CACHE; image++) {
        uint8_t bytes[2 * BLOCK_BYTES];
        cr_assert(sim_disk_copy(disk, (enum sim_disk_image)image, "root-slot", 0, bytes, sizeof(bytes)));
        if (memmem(bytes, sizeof(bytes), share, sizeof(share)) != NULL) {
            return true;
        }
    }
    return false;
}

Test(slot_file, is_empty_when_new)
{
    cr_assert_eq(run(SLOT_READ, 0), STATUS_OK);
    cr_assert_eq(cells[0].state, SLOT_EMPTY);
    cr_assert_eq(cells[1].state, SLOT_EMPTY);
    cr_assert_str_eq(slot->backend, "file");
}

Test(slot_file, holds_what_was_put_also_after_power_loss)
{
    cr_assert_eq(put(7), STATUS_OK);
    cr_assert_eq(put(8), STATUS_OK);
    slot_close(slot);
    sim_disk_crash(disk);
    cr_assert_eq(open_slot(false), STATUS_OK);
    cr_assert_eq(run(SLOT_READ, 0), STATUS_OK);
    for (uint64_t epoch = 7; epoch <= 8; epoch++) {
        struct slot_cell expected;
        const struct slot_cell *cell = &cells[epoch % 2];
        fill(&expected, epoch);
        cr_assert_eq(cell->state, SLOT_HOLDS);
        cr_assert_eq(cell->epoch, epoch);
        cr_assert_eq(cell->servers, 5);
        cr_assert_eq(cell->threshold, 3);
        cr_assert_eq(cell->share.index, 4);
        cr_assert_arr_eq(cell->share.value.bytes, expected.share.value.bytes, KEY_BYTES);
        cr_assert_arr_eq(cell->commitment, expected.commitment, COMMITMENT_BYTES);
        cr_assert_arr_eq(cell->vault_uuid, expected.vault_uuid, VAULT_UUID_BYTES);
    }
}

Test(slot_file, destroys_one_epoch_and_leaves_the_other)
{
    cr_assert_eq(put(7), STATUS_OK);
    cr_assert_eq(put(8), STATUS_OK);
    cr_assert(share_is_on_device(7));
    cr_assert_eq(run(SLOT_DESTROY, 7), STATUS_OK);
    cr_assert_not(share_is_on_device(7));
    cr_assert(share_is_on_device(8));
    cr_assert_eq(run(SLOT_READ, 0), STATUS_OK);
    cr_assert_eq(cells[1].state, SLOT_DESTROYED);
    cr_assert_eq(cells[1].epoch, 7);
    cr_assert_eq(cells[1].vault_uuid[0], 0x11);
    cr_assert_eq(cells[1].share.index, 0);
    cr_assert_eq(cells[0].state, SLOT_HOLDS);
    cr_assert_eq(run(SLOT_DESTROY, 7), STATUS_OK, "also when it is gone");
}

Test(slot_file, does_not_destroy_the_next_epoch_in_place_of_the_last)
{
    cr_assert_eq(put(7), STATUS_OK);
    cr_assert_eq(put(9), STATUS_OK);
    cr_assert_not(share_is_on_device(7), "overwritten in place");
    cr_assert_eq(run(SLOT_DESTROY, 7), STATUS_OK);
    cr_assert(share_is_on_device(9));
}

Test(slot_file, overwrites_a_damaged_cell)
{
    cr_assert_eq(put(7), STATUS_OK);
    sim_disk_corrupt(disk, "root-slot", BLOCK_BYTES + 3000, 1);
    cr_assert_eq(run(SLOT_READ, 0), STATUS_OK);
    cr_assert_eq(cells[1].state, SLOT_DAMAGED);
    cr_assert_eq(run(SLOT_DESTROY, 7), STATUS_OK);
    cr_assert_not(share_is_on_device(7));
    cr_assert_eq(run(SLOT_READ, 0), STATUS_OK);
    cr_assert_eq(cells[1].state, SLOT_DESTROYED);
}

Test(slot_file, notices_every_flipped_bit_and_swapped_cells)
{
    cr_assert_eq(put(7), STATUS_OK);
    for (uint64_t at = 0; at < BLOCK_BYTES; at += at < 120 ? 1 : 397) {
        uint8_t bit = (uint8_t)(1u << (at % 8));
        sim_disk_corrupt(disk, "root-slot", BLOCK_BYTES + at, bit);
        cr_assert_eq(run(SLOT_READ, 0), STATUS_OK);
        cr_assert_eq(cells[1].state, SLOT_DAMAGED, "byte %lu", at);
        cr_assert_eq(cells[1].share.index, 0);
        sim_disk_corrupt(disk, "root-slot", BLOCK_BYTES + at, bit);
    }
    uint8_t block[BLOCK_BYTES];
    struct slot_cell cell;
    cr_assert(sim_disk_copy(disk, SIM_DISK_CACHE, "root-slot", BLOCK_BYTES, block, sizeof(block)));
    slot_cell_decode(block, 0, &cell);
    cr_assert_eq(cell.state, SLOT_DAMAGED);
    slot_cell_decode(block, 1, &cell);
    cr_assert_eq(cell.state, SLOT_HOLDS);
}

Test(slot_file, says_when_the_device_did_not_do_what_it_said)
{
    struct sim_disk_faults faults = {.ppm[SIM_DISK_LOST_WRITE] = 1000000};
    sim_disk_set_faults(disk, &faults);
    cr_assert_eq(put(7), STATUS_CORRUPT);
    sim_disk_heal(disk);
    cr_assert_eq(put(7), STATUS_OK);
    sim_disk_set_faults(disk, &faults);
    cr_assert_eq(run(SLOT_DESTROY, 7), STATUS_CORRUPT);
    sim_disk_heal(disk);
    cr_assert_eq(run(SLOT_DESTROY, 7), STATUS_OK);
    cr_assert_not(share_is_on_device(7));
}

Test(slot_file, passes_on_what_the_device_says)
{
    for (uint64_t nth = 1; nth <= 2; nth++) {
        sim_disk_fail_after(disk, nth, STATUS_IO);
        cr_assert_eq(put(8), STATUS_IO);
        sim_disk_fail_after(disk, 0, STATUS_OK);
    }
    for (uint64_t nth = 1; nth <= 3; nth++) {
        sim_disk_fail_after(disk, nth, STATUS_IO);
        cr_assert_eq(run(SLOT_DESTROY, 8), STATUS_IO);
        sim_disk_fail_after(disk, 0, STATUS_OK);
    }
    sim_disk_fail_after(disk, 1, STATUS_IO);
    cr_assert_eq(run(SLOT_READ, 0), STATUS_IO);
    sim_disk_fail_after(disk, 0, STATUS_OK);
    cr_assert_eq(run(SLOT_DESTROY, 8), STATUS_OK);
}

/* Power fails while a cell is being put or destroyed: the other cell is never touched. */
Test(slot_file, a_torn_write_hurts_only_its_own_cell)
{
    static struct slot *lost[64]; /* Their calls never end. */
    unsigned damaged = 0;
    for (unsigned i = 0; i < ARRAY_LENGTH(lost); i++) {
        struct slot_call call = {.operation = SLOT_PUT, .cells = cells, .done = call_done};
        cr_assert_eq(put(8), STATUS_OK);
        cr_assert_eq(put(9), STATUS_OK);
        fill(&cells[0], 11);
        slot_start(slot, &call);
        sim_disk_crash(disk);
        lost[i] = slot;
        cr_assert_eq(open_slot(false), STATUS_OK);
        cr_assert_eq(run(SLOT_READ, 0), STATUS_OK);
        cr_assert_eq(cells[0].state, SLOT_HOLDS);
        cr_assert_eq(cells[0].epoch, 8);
        damaged += cells[1].state == SLOT_DAMAGED ? 1 : 0;
        cr_assert(cells[1].state == SLOT_DAMAGED || cells[1].epoch == 9 || cells[1].epoch == 11);
    }
    cr_assert_gt(damaged, 0);
}

Test(slot_file, is_made_only_when_asked_and_whole)
{
    struct disk_file *file;
    slot_close(slot);
    cr_assert_eq(disk_file_remove(sim_disk_interface(disk), "root-slot"), STATUS_OK);
    cr_assert_eq(open_slot(false), STATUS_NOT_FOUND);
    cr_assert_null(slot);
    /* Its making was cut off: there is a file without bytes. */
    cr_assert_eq(disk_file_open(sim_disk_interface(disk), "root-slot", true, &file), STATUS_OK);
    disk_file_close(file);
    cr_assert_eq(open_slot(false), STATUS_INVALID);
    cr_assert_eq(open_slot(true), STATUS_OK);
    cr_assert_eq(put(1), STATUS_OK);
}

static void io_done(struct disk_io *io)
{
    cr_assert_eq(io->status, STATUS_OK);
    done = true;
}

Test(slot_file, refuses_a_file_of_another_size_and_a_full_disk)
{
    struct disk_file *file;
    struct disk_io io;
    slot_close(slot);
    cr_assert_eq(disk_file_open(sim_disk_interface(disk), "root-slot", false, &file), STATUS_OK);
    done = false;
    disk_allocate(file, &io, 3 * BLOCK_BYTES, io_done);
    cr_assert(sim_loop_run_until(loop, &done));
    disk_file_close(file);
    cr_assert_eq(open_slot(true), STATUS_INVALID);
    cr_assert_eq(disk_file_remove(sim_disk_interface(disk), "root-slot"), STATUS_OK);
    sim_disk_limit_bytes(disk, BLOCK_BYTES);
    cr_assert_eq(open_slot(true), STATUS_FULL);
    cr_assert_null(slot);
}
