/* upkeep.c - what a store does besides requests: superblock, index on the disk, fencing, closing.
 *
 * The index table has no log of its own, so it is made durable here: after INDEX_FLUSH_BYTES of new batches or
 * UPKEEP_NS after the first of them, whichever comes first. That bounds what recovery has to walk. The superblock's
 * durable lsn follows at the same time: it is a hint, and never ahead of the truth. An idle store has no timer. */
#include "node/store/store_private.h"

#include "base/log.h"

/* ---- superblock ---------------------------------------------------------------------------------- */

static void superblock_end(struct chunk_store *store, enum status status)
{
    store->superblock.in_flight = false;
    if (store->superblock.done != NULL) {
        store->superblock.done(store, status);
    }
}

static void superblock_flushed(struct disk_io *io)
{
    superblock_end(CONTAINER_OF(io, struct chunk_store, superblock.io), io->status);
}

static void superblock_written(struct disk_io *io)
{
    struct chunk_store *store = CONTAINER_OF(io, struct chunk_store, superblock.io);

    if (io->status != STATUS_OK) {
        superblock_end(store, io->status);
        return;
    }
    KILL_POINT(KILL_STORE_SUPERBLOCK_WRITTEN);
    disk_flush(store->superblock.file, io, superblock_flushed);
}

void superblock_write(struct chunk_store *store, bool clean,
                      void (*done)(struct chunk_store *store, enum status status))
{
    struct superblock_write *superblock = &store->superblock;

    CHECK(!superblock->in_flight);
    superblock->in_flight = true;
    superblock->done = done;
    superblock->state.sequence++;
    superblock->state.clean = clean;
    superblock->state.capacity_bytes = store->options.capacity_bytes;
    if (store->writer.durable_lsn > superblock->state.durable_lsn) {
        superblock->state.durable_lsn = store->writer.durable_lsn;
    }
    superblock_encode(&superblock->state, superblock->blocks);
    disk_write(superblock->file, &superblock->io, superblock->blocks, BLOCK_BYTES,
               superblock_offset(superblock->state.sequence), 0, superblock_written);
}

static void upkeep_superblock_done(struct chunk_store *store, enum status status)
{
    if (status != STATUS_OK) {
        store_fence(store, status, "superblock_write");
        batch_writer_pump(store);
    }
    store_close_continue(store);
}

static void hint_write(struct chunk_store *store)
{
    if (!store->fenced && !store->superblock.in_flight) {
        superblock_write(store, false, upkeep_superblock_done);
    }
}

/* ---- the index on the disk ----------------------------------------------------------------------- */

enum status index_flush(struct chunk_store *store)
{
    enum status status = STATUS_OK;

    if (store->fenced) {
        return STATUS_FENCED; /* The index may lack records that the position is past. */
    }
    if (store->writer.settled.offset != 0) {
        status = chunk_index_write(&store->index, &store->writer.settled);
    }
    if (status == STATUS_OK) {
        status = kv_flush(store->kv);
    }
    store->writer.unflushed_index_bytes = 0;
    if (status != STATUS_OK) {
        store_fence(store, status, "index_flush");
    } else {
        KILL_POINT(KILL_STORE_INDEX_FLUSHED);
    }
    return status;
}

static void upkeep_timer_restart(struct chunk_store *store)
{
    loop_timer_start(store->loop, &store->upkeep_timer, loop_now_ns(store->loop) + UPKEEP_NS);
}

void upkeep_timer_fired(struct loop_timer *timer)
{
    struct chunk_store *store = CONTAINER_OF(timer, struct chunk_store, upkeep_timer);

    if (store->fenced || store->closing) {
        return;
    }
    if (BUGGIFY(BUGGIFY_STORE_INDEX_FLUSH_LATE)) {
        upkeep_timer_restart(store);
        return;
    }
    if (index_flush(store) == STATUS_OK) {
        hint_write(store);
    }
    batch_writer_pump(store);
}

void upkeep_after_batches(struct chunk_store *store, uint64_t bytes)
{
    store->writer.unflushed_index_bytes += bytes;
    if (store->writer.unflushed_index_bytes >= INDEX_FLUSH_BYTES || BUGGIFY(BUGGIFY_STORE_INDEX_FLUSH_EARLY)) {
        (void)!index_flush(store); /* A failure has fenced the store; there is nobody else to tell. */
    }
    if (BUGGIFY(BUGGIFY_STORE_SUPERBLOCK_EARLY)) {
        hint_write(store);
    }
    if (!loop_timer_is_armed(&store->upkeep_timer)) {
        upkeep_timer_restart(store);
    }
}

/* ---- failure ------------------------------------------------------------------------------------- */

void store_fence(struct chunk_store *store, enum status status, const char *what)
{
    if (store->fenced) {
        return;
    }
    char hex[ID_HEX_BYTES];
    id_to_hex(store->superblock.state.store.bytes, hex);
    log_event(LOG_ERROR, "store_fenced", "store=%s what=%s status=%s", hex, what, status_name(status));
    store->fenced = true;
    if (!store->closing) { /* Closing has that timer for itself. */
        loop_timer_stop(store->loop, &store->upkeep_timer);
    }
    eraser_refuse_waiting(store, STATUS_FENCED);
}

/* ---- close --------------------------------------------------------------------------------------- */

static void close_end(struct chunk_store *store)
{
    void (*closed)(void *user) = store->closed;
    void *user = store->closed_user;

    store_free(store);
    closed(user);
}

static void close_fired(struct loop_timer *timer)
{
    close_end(CONTAINER_OF(timer, struct chunk_store, upkeep_timer));
}

/* The end comes from the loop: callers up the stack still use the store. */
static void close_end_later(struct chunk_store *store)
{
    store->upkeep_timer.fire = close_fired;
    loop_timer_start(store->loop, &store->upkeep_timer, loop_now_ns(store->loop));
}

static void close_superblock_done(struct chunk_store *store, enum status status)
{
    if (status != STATUS_OK) {
        store_fence(store, status, "superblock_write");
    }
    close_end_later(store);
}

void store_close_continue(struct chunk_store *store)
{
    if (!store->closing || store->close_decided || !batch_writer_is_idle(store) || store->eraser.active > 0 ||
        store->cleaner.stage != CLEAN_IDLE || store->preparer.stage != PREPARE_IDLE || store->superblock.in_flight) {
        return;
    }
    store->close_decided = true;
    if (index_flush(store) == STATUS_OK) {
        superblock_write(store, true, close_superblock_done);
        return;
    }
    /* A fenced disk is left as it is. Its superblock stays unclean, which makes the next open look at everything. */
    close_end_later(store);
}
