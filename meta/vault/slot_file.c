/* slot_file.c - see slot_file.h. A cell is one block (slot_cell.h), cell e % 2 at offset 4096 * (e % 2).
 *
 *   put      write the cell, durably ──> read it back ──> compare
 *   destroy  read the cell: another epoch's share? then there is nothing to destroy ──> write, read back, compare
 *
 * A power loss may leave a cell half written: damaged. Only the cell that is not the current epoch's is ever written,
 * so whoever settles the slot knows which one may look like that.
 * Blocks that hold shares are only ever in guarded memory here, and wiped when the call ends. What the device keeps of
 * an overwritten block (flash) is beyond this file: slot.h. */
#include "meta/vault/slot_file.h"

#include "meta/vault/slot_cell.h"

#include <stdlib.h>

#define SLOT_FILE_NAME  "root-slot"
#define SLOT_FILE_BYTES (SLOT_CELLS * SLOT_CELL_BYTES)

_Static_assert(sizeof(struct slot_cell) <= BLOCK_BYTES, "the last block of the guarded region has room for one");

struct slot_file {
    struct slot slot;
    struct loop *loop;
    struct disk_file *file;
    void *region;           /* guarded, one block more than is used */
    uint8_t *wanted;        /* a block inside the region, aligned: what is written */
    uint8_t *found;         /* SLOT_FILE_BYTES likewise: what is read, or read back */
    struct slot_cell *held; /* likewise: what a cell that is to be destroyed holds */
    struct slot_call *call;
    enum { SLOT_READING, SLOT_LOOKING, SLOT_WRITING, SLOT_READING_BACK } stage;
    uint64_t epoch; /* whose cell it is about */
    struct disk_io io;
    struct loop_task task;

    /* While it is being opened. */
    void (*opened)(void *user, enum status status, struct slot *slot);
    void *user;
    enum status open_status;
};

/* ---- calls ------------------------------------------------------------------------------------- */

static void slot_resume(struct disk_io *io);

static void call_end(struct slot_file *slot, enum status status)
{
    struct slot_call *call = slot->call;
    wipe_memory(slot->wanted, SLOT_CELL_BYTES);
    wipe_memory(slot->found, SLOT_FILE_BYTES);
    wipe_memory(slot->held, sizeof(*slot->held));
    slot->call = NULL;
    call->status = status;
    call->done(call); /* Last use: its owner may start the next one, or close the slot. */
}

static uint64_t cell_offset(const struct slot_file *slot)
{
    return slot_cell_of(slot->epoch) * (uint64_t)SLOT_CELL_BYTES;
}

static void cell_write(struct slot_file *slot, const struct slot_cell *cell)
{
    slot_cell_encode(cell, slot->wanted);
    slot->stage = SLOT_WRITING;
    disk_write(slot->file, &slot->io, slot->wanted, SLOT_CELL_BYTES, cell_offset(slot), DISK_DURABLE, slot_resume);
}

/* The cell was read: is there anything of the epoch in it, or may there be? */
static void destroy_after_look(struct slot_file *slot)
{
    slot_cell_decode(slot->found, slot_cell_of(slot->epoch), slot->held);
    if (slot->held->state == SLOT_HOLDS && slot->held->epoch != slot->epoch) {
        call_end(slot, STATUS_OK);
        return;
    }
    struct slot_cell destroyed = {.state = SLOT_DESTROYED, .epoch = slot->epoch};
    memcpy(destroyed.vault_uuid, slot->held->vault_uuid, sizeof(destroyed.vault_uuid));
    cell_write(slot, &destroyed);
}

static void slot_resume(struct disk_io *io)
{
    struct slot_file *slot = CONTAINER_OF(io, struct slot_file, io);
    if (io->status != STATUS_OK) {
        call_end(slot, STATUS_IO);
        return;
    }
    switch (slot->stage) {
    case SLOT_READING:
        for (unsigned i = 0; i < SLOT_CELLS; i++) {
            slot_cell_decode(slot->found + i * SLOT_CELL_BYTES, i, &slot->call->cells[i]);
        }
        call_end(slot, STATUS_OK);
        return;
    case SLOT_LOOKING:
        destroy_after_look(slot);
        return;
    case SLOT_WRITING:
        slot->stage = SLOT_READING_BACK;
        disk_read(slot->file, &slot->io, slot->found, SLOT_CELL_BYTES, cell_offset(slot), slot_resume);
        return;
    case SLOT_READING_BACK:
        call_end(slot, memcmp(slot->found, slot->wanted, SLOT_CELL_BYTES) == 0 ? STATUS_OK : STATUS_CORRUPT);
        return;
    }
    UNREACHABLE();
}

static void slot_file_start(struct slot *base, struct slot_call *call)
{
    struct slot_file *slot = CONTAINER_OF(base, struct slot_file, slot);
    CHECK(slot->call == NULL);
    slot->call = call;
    switch (call->operation) {
    case SLOT_READ:
        slot->stage = SLOT_READING;
        disk_read(slot->file, &slot->io, slot->found, SLOT_FILE_BYTES, 0, slot_resume);
        return;
    case SLOT_PUT:
        CHECK(call->cells[0].state == SLOT_HOLDS);
        slot->epoch = call->cells[0].epoch;
        cell_write(slot, &call->cells[0]);
        return;
    case SLOT_DESTROY:
        slot->epoch = call->epoch;
        slot->stage = SLOT_LOOKING;
        disk_read(slot->file, &slot->io, slot->found, SLOT_CELL_BYTES, cell_offset(slot), slot_resume);
        return;
    }
    UNREACHABLE();
}

static void slot_file_close(struct slot *base)
{
    struct slot_file *slot = CONTAINER_OF(base, struct slot_file, slot);
    CHECK(slot->call == NULL);
    if (slot->file != NULL) {
        disk_file_close(slot->file);
    }
    guarded_release(slot->region); /* Wipes. */
    free(slot);
}

static const struct slot_ops slot_file_ops = {.start = slot_file_start, .close = slot_file_close};

/* ---- opening ----------------------------------------------------------------------------------- */

static void open_end(struct slot_file *slot, enum status status)
{
    void (*opened)(void *, enum status, struct slot *) = slot->opened;
    void *user = slot->user;
    if (status != STATUS_OK) {
        slot_file_close(&slot->slot);
        slot = NULL;
    }
    opened(user, status, slot == NULL ? NULL : &slot->slot);
}

static void open_refused(struct loop_task *task)
{
    struct slot_file *slot = CONTAINER_OF(task, struct slot_file, task);
    open_end(slot, slot->open_status);
}

static void file_allocated(struct disk_io *io)
{
    struct slot_file *slot = CONTAINER_OF(io, struct slot_file, io);
    open_end(slot, io->status);
}

static enum status buffers_take(struct slot_file *slot)
{
    slot->region = guarded_take(SLOT_CELL_BYTES + SLOT_FILE_BYTES + 2 * BLOCK_BYTES);
    if (slot->region == NULL) {
        return STATUS_FULL;
    }
    uintptr_t start = ((uintptr_t)slot->region + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
    slot->wanted = (uint8_t *)start; /* O_DIRECT wants whole, aligned blocks. */
    slot->found = slot->wanted + SLOT_CELL_BYTES;
    slot->held = (struct slot_cell *)(void *)(slot->found + SLOT_FILE_BYTES);
    return STATUS_OK;
}

void slot_file_open(struct loop *loop, struct disk *disk, bool create,
                    void (*opened)(void *user, enum status status, struct slot *slot), void *user)
{
    struct slot_file *slot = calloc(1, sizeof(*slot));
    CHECK(slot != NULL); /* A few hundred bytes at start-up; there is nobody yet to give a status to. */
    slot->slot = (struct slot){.ops = &slot_file_ops, .backend = "file"};
    slot->loop = loop;
    slot->opened = opened;
    slot->user = user;
    slot->task.run = open_refused;

    enum status status = buffers_take(slot);
    if (status == STATUS_OK) {
        status = disk_file_open(disk, SLOT_FILE_NAME, create, &slot->file);
    }
    /* A file without bytes is one whose making was cut off. */
    if (status == STATUS_OK && create && slot->file->bytes == 0) {
        disk_allocate(slot->file, &slot->io, SLOT_FILE_BYTES, file_allocated);
        return;
    }
    if (status == STATUS_OK && slot->file->bytes != SLOT_FILE_BYTES) {
        status = STATUS_INVALID;
    }
    slot->open_status = status;
    loop_defer(loop, &slot->task);
}
