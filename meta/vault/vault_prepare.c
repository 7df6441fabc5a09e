/* vault_prepare.c - the next epoch beside the current one: covers, table, share, in that order, each durable before the
 * next.
 *
 *   abandon what was prepared before ──> copy the rows ──> rows for the pages opened since ──> covers ──> flush
 *     ──> table: write, flush, read back, compare ──> share into the slot ──> done
 *   any error ──> abandon ──> done(why)
 *
 * The share comes last: until it is in the slot, all that was written is sealed under a root that only this process's
 * memory has, and after a crash it is noise. The current table is only read, so the loop may serve leaves between the
 * slices; what is punctured meanwhile is refused and waits for the epoch after: which leaves are left out was fixed
 * at the start. */
#include "meta/vault/vault_private.h"

#include "base/buggify.h"

#include <stdlib.h>

enum prepare_stage {
    PREPARE_STARTED,
    PREPARE_COPY,
    PREPARE_GROW,
    PREPARE_COVERS,
    PREPARE_CREATE,
    PREPARE_ALLOCATED,
    PREPARE_WRITE,
    PREPARE_FLUSHED,
    PREPARE_HEADER_READ,
    PREPARE_PIECE_READ,
    PREPARE_PUT,
};

static void prepare_resume(struct vault *vault, enum status status);

/* ---- failing ----------------------------------------------------------------------------------- */

static void prepare_cleaned_up(struct vault *vault, enum status status)
{
    (void)status; /* What could not be cleaned up is tried again by the next prepare, or by settle. */
    work_end(vault, vault->work.outcome);
}

static void prepare_fail(struct vault *vault, enum status status)
{
    vault->work.outcome = status;
    abandon_within(vault, prepare_cleaned_up);
}

static void prepare_fail_table(struct vault *vault, enum status status, const char *what)
{
    char name[DISK_NAME_BYTES];
    table_name(vault->next.epoch.epoch, name);
    vault_say(vault,
              "the vault's file %s can't be %s (%s): the epoch goes on, and nothing that was deleted in it is final. "
              "%s",
              name, what, status_name(status),
              status == STATUS_FULL ? "Make room on the disk of the vault" : "Check the disk of the vault");
    prepare_fail(vault, status);
}

static void prepare_fail_memory(struct vault *vault)
{
    vault_say(
        vault,
        "no guarded memory for the next table of the vault: the epoch goes on, and nothing that was deleted in it "
        "is final. Raise the memory or memlock limit of this server");
    prepare_fail(vault, STATUS_FULL);
}

/* ---- rows -------------------------------------------------------------------------------------- */

/* Fix what is left out: everything sealed, of pages that the next table has. */
static enum status punctured_collect(struct vault *vault)
{
    const struct punctures *punctures = &vault->punctures;
    struct page_list *list = &vault->next.punctured;
    if (punctures->count == 0) {
        return STATUS_OK;
    }
    list->pages = calloc(punctures->count, sizeof(list->pages[0]));
    if (list->pages == NULL) {
        return STATUS_FULL;
    }
    for (uint32_t i = 0; i < punctures->capacity; i++) {
        const struct puncture *place = &punctures->places[i];
        if (place->page == 0 || place->page >= vault->next.epoch.pages_end || bitmap_is_empty(&place->sealed)) {
            continue;
        }
        list->pages[list->count] = (struct punctured_page){
            .page = place->page, .generation_before = COVER_NONE, .generation = COVER_NONE, .leaves = place->sealed};
        list->count++;
    }
    return STATUS_OK;
}

static void prepare_begin_attempt(struct vault *vault)
{
    struct attempt *next = &vault->next;
    next->exists = true;
    next->epoch = vault->work.epoch;
    next->closed.leaves_erased_total = vault->is_loaded ? vault->closed.leaves_erased_total : 0;
    nursery_of(&vault->secrets->sealing.root, &vault->secrets->next_nursery);
    if (punctured_collect(vault) != STATUS_OK || table_reserve(&next->table, next->epoch.pages_end) != STATUS_OK) {
        prepare_fail_memory(vault);
        return;
    }
    work_yield(vault, PREPARE_COPY);
}

static void prepare_copy(struct vault *vault)
{
    struct table *table = &vault->next.table;
    for (unsigned i = 0; i < SLICE_REGIONS && !table_is_complete(table); i++) {
        if (table_extend(table, &vault->table) != STATUS_OK) {
            prepare_fail_memory(vault);
            return;
        }
    }
    vault->work.at = vault->is_loaded ? vault->current.pages_end : 1;
    work_yield(vault, table_is_complete(table) ? PREPARE_GROW : PREPARE_COPY);
}

/* The pages opened in the current epoch, and the margin behind them, become rows. In epoch 1 all are of its own
 * nursery. */
static void prepare_grow(struct vault *vault)
{
    struct vault_secrets *secrets = vault->secrets;
    struct vault_work *work = &vault->work;
    const struct key *nursery = vault->is_loaded ? &secrets->nursery : &secrets->next_nursery;
    for (unsigned i = 0; i < SLICE_SEEDS && work->at < vault->next.epoch.pages_end; i++, work->at++) {
        nursery_seed(nursery, work->at, &secrets->seed);
        table_row_set(&vault->next.table, work->at, TABLE_WHOLE, 0, &secrets->seed);
    }
    wipe_memory(&secrets->seed, sizeof(secrets->seed));
    if (work->at < vault->next.epoch.pages_end) {
        work_yield(vault, PREPARE_GROW);
        return;
    }
    work->at = 0;
    work_yield(vault, PREPARE_COVERS);
}

static enum status covers_write_some(struct vault *vault)
{
    struct page_list *list = &vault->next.punctured;
    struct kv_batch *batch = kv_batch_open(vault->parts.covers);
    enum status status = STATUS_OK;
    if (vault->work.at == 0) {
        covers_mark(vault, batch);
    }
    for (unsigned i = 0; i < SLICE_PAGES && vault->work.at < list->count && status == STATUS_OK; i++) {
        status = cover_puncture(vault, &list->pages[vault->work.at], batch);
        vault->work.at++;
    }
    if (status == STATUS_OK) {
        status = kv_write(vault->parts.covers, batch);
        if (status == STATUS_OK && vault->work.at == list->count) {
            status = kv_flush(vault->parts.covers);
        }
        if (status != STATUS_OK) {
            vault_say(
                vault,
                "the covers of the vault can't be written (%s): the epoch goes on, and nothing that was deleted in "
                "it is final. Check the disk of the covers, and its room",
                status_name(status));
        }
    }
    kv_batch_close(batch);
    return status;
}

static void prepare_covers(struct vault *vault)
{
    if (vault->next.punctured.count > 0) {
        enum status status = covers_write_some(vault);
        if (status != STATUS_OK) {
            prepare_fail(vault, status);
            return;
        }
    }
    if (vault->work.at < vault->next.punctured.count) {
        work_yield(vault, PREPARE_COVERS);
        return;
    }
    KILL_POINT(KILL_VAULT_COVERS_DURABLE);
    vault->next.closed.leaves_erased_total += vault->next.closed.leaves_erased;
    work_yield(vault, PREPARE_CREATE);
}

/* ---- the table --------------------------------------------------------------------------------- */

static void prepare_create(struct vault *vault)
{
    char name[DISK_NAME_BYTES];
    table_name(vault->next.epoch.epoch, name);
    enum status status =
        disk_file_remove(vault->parts.disk, name); /* A shorter file would not shrink, nor old bytes go. */
    if (status == STATUS_OK || status == STATUS_NOT_FOUND) {
        status = disk_file_open(vault->parts.disk, name, true, &vault->work.file);
    }
    if (status != STATUS_OK) {
        prepare_fail_table(vault, status, "made");
        return;
    }
    work_allocate(vault, table_file_bytes(vault->next.epoch.pages_end), PREPARE_ALLOCATED);
}

/* The header, into the buffer; what binds the blocks to it, into the sealing. */
static void prepare_header(struct vault *vault)
{
    const struct attempt *next = &vault->next;
    struct table_header header = {.epoch = next->epoch.epoch,
                                  .pages_end = next->epoch.pages_end,
                                  .leaves_erased_total = next->closed.leaves_erased_total};
    memcpy(header.vault_uuid, vault->uuid, sizeof(header.vault_uuid));
    memcpy(header.commitment, next->epoch.commitment, sizeof(header.commitment));
    table_header_encode(&header, vault->buffer);
    memcpy(vault->secrets->sealing.header, vault->buffer, TABLE_HEADER_BOUND_BYTES);
    vault->work.at = 0;
    work_write(vault, TABLE_HEADER_BYTES, 0, PREPARE_WRITE);
}

/* How many blocks the next piece has; 0: all are done. */
static uint32_t piece_blocks(const struct vault *vault)
{
    uint32_t left = table_blocks(vault->next.epoch.pages_end) - vault->work.at;
    return left < PIECE_BLOCKS ? left : PIECE_BLOCKS;
}

static void prepare_write_piece(struct vault *vault)
{
    struct vault_work *work = &vault->work;
    uint32_t blocks = piece_blocks(vault);
    uint64_t offset = table_block_offset(work->at);
    if (blocks == 0) {
        work_flush(vault, PREPARE_FLUSHED);
        return;
    }
    for (uint32_t i = 0; i < blocks; i++) {
        table_block_seal(&vault->secrets->sealing, work->at + i, table_block(&vault->next.table, work->at + i),
                         vault->buffer + i * TABLE_BLOCK_BYTES);
    }
    work->at += blocks;
    work_write(vault, blocks * TABLE_BLOCK_BYTES, offset, PREPARE_WRITE);
}

/* Ask for the next piece, or put the share when all have been read back. */
static void prepare_read_piece(struct vault *vault)
{
    struct vault_work *work = &vault->work;
    work->blocks = piece_blocks(vault);
    if (work->blocks > 0) {
        work_read(vault, work->blocks * TABLE_BLOCK_BYTES, table_block_offset(work->at), PREPARE_PIECE_READ);
        return;
    }
    work_close_file(vault);
    KILL_POINT(KILL_VAULT_TABLE_DURABLE);
    vault->next.in_slot = true; /* From here on it may be. */
    work->bytes_written += BLOCK_BYTES;
    work_slot(vault, SLOT_PUT, vault->next.epoch.epoch, PREPARE_PUT);
}

static void prepare_check_header(struct vault *vault)
{
    struct table_header header;
    if (table_header_decode(vault->buffer, &header) != STATUS_OK ||
        memcmp(vault->buffer, vault->secrets->sealing.header, TABLE_HEADER_BOUND_BYTES) != 0) {
        prepare_fail_table(vault, STATUS_CORRUPT, "read back as it was written");
        return;
    }
    vault->work.at = 0;
    prepare_read_piece(vault);
}

static void prepare_check_piece(struct vault *vault)
{
    struct vault_work *work = &vault->work;
    struct vault_secrets *secrets = vault->secrets;
    bool is_same = true;
    for (uint32_t i = 0; i < work->blocks && is_same; i++) {
        is_same = table_block_open(&secrets->sealing, work->at + i, vault->next.epoch.pages_end,
                                   vault->buffer + i * TABLE_BLOCK_BYTES, secrets->rows) == STATUS_OK &&
                  memcmp(secrets->rows, table_block(&vault->next.table, work->at + i), TABLE_PLAIN_BYTES) == 0;
    }
    wipe_memory(secrets->rows, sizeof(secrets->rows));
    if (!is_same) {
        prepare_fail_table(vault, STATUS_CORRUPT, "read back as it was written");
        return;
    }
    work->at += work->blocks;
    prepare_read_piece(vault);
}

/* ---- one after the other ----------------------------------------------------------------------- */

static void prepare_earlier_abandoned(struct vault *vault, enum status status)
{
    vault->work.resume = prepare_resume;
    if (status != STATUS_OK) {
        work_end(vault, status);
        return;
    }
    prepare_begin_attempt(vault);
}

/* What can't be prepared, whatever the devices do. */
static enum status prepare_refuse(struct vault *vault)
{
    const struct vault_epoch *next = &vault->work.epoch;
    uint8_t commitment[COMMITMENT_BYTES];
    key_commitment(&vault->secrets->sealing.root, commitment);
    if (!vault->is_loaded && next->epoch != 1) {
        vault_say(vault, "epoch %llu can't be prepared without the table of the epoch before",
                  (unsigned long long)next->epoch);
        return STATUS_UNAVAILABLE;
    }
    const struct slot_cell *cell = &vault->secrets->cells[0];
    if (next->servers == 0 || next->servers > SHAMIR_SHARES_MAX || next->threshold == 0 ||
        next->threshold > next->servers || cell->share.index == 0 || cell->share.index > next->servers) {
        vault_say(vault, "epoch %llu can't be shared out over %u servers with threshold %u",
                  (unsigned long long)next->epoch, next->servers, next->threshold);
        return STATUS_INVALID;
    }
    uint64_t epoch = vault->is_loaded ? vault->current.epoch + 1 : 1;
    uint32_t pages_min = vault->is_loaded ? vault->current.pages_end : 1;
    if (next->epoch != epoch || next->pages_end < pages_min || next->pages_end > TABLE_PAGES_MAX) {
        vault_say(vault, "epoch %llu with %u pages can't follow epoch %llu with %u", (unsigned long long)next->epoch,
                  next->pages_end, (unsigned long long)epoch - 1, pages_min);
        return STATUS_INVALID;
    }
    if (memcmp(commitment, next->commitment, sizeof(commitment)) != 0) {
        vault_say(vault, "the root that was sent for epoch %llu is not the one that was agreed on",
                  (unsigned long long)next->epoch);
        return STATUS_DENIED;
    }
    return STATUS_OK;
}

static void prepare_start(struct vault *vault)
{
    enum status status = prepare_refuse(vault);
    if (status != STATUS_OK) {
        work_end(vault, status);
        return;
    }
    abandon_within(vault, prepare_earlier_abandoned);
}

static void prepare_put_done(struct vault *vault)
{
    KILL_POINT(KILL_VAULT_SHARE_PUT);
    vault->next.closed.bytes_written = vault->work.bytes_written;
    vault->next.is_prepared = true;
    work_end(vault, STATUS_OK);
}

static void prepare_io_failed(struct vault *vault, enum status status)
{
    switch ((enum prepare_stage)vault->work.stage) {
    case PREPARE_PUT:
        vault_say(
            vault,
            "the root slot can't be written (%s): the epoch goes on, and nothing that was deleted in it is final. "
            "Check the slot's device",
            status_name(status));
        prepare_fail(vault, status);
        return;
    case PREPARE_HEADER_READ:
    case PREPARE_PIECE_READ:
        prepare_fail_table(vault, status, "read back");
        return;
    default:
        prepare_fail_table(vault, status, "written");
        return;
    }
}

static void prepare_resume(struct vault *vault, enum status status)
{
    if (status != STATUS_OK) {
        prepare_io_failed(vault, status);
        return;
    }
    switch ((enum prepare_stage)vault->work.stage) {
    case PREPARE_STARTED:
        prepare_start(vault);
        return;
    case PREPARE_COPY:
        prepare_copy(vault);
        return;
    case PREPARE_GROW:
        prepare_grow(vault);
        return;
    case PREPARE_COVERS:
        prepare_covers(vault);
        return;
    case PREPARE_CREATE:
        prepare_create(vault);
        return;
    case PREPARE_ALLOCATED:
        prepare_header(vault);
        return;
    case PREPARE_WRITE:
        prepare_write_piece(vault);
        return;
    case PREPARE_FLUSHED:
        work_read(vault, TABLE_HEADER_BYTES, 0, PREPARE_HEADER_READ);
        return;
    case PREPARE_HEADER_READ:
        prepare_check_header(vault);
        return;
    case PREPARE_PIECE_READ:
        prepare_check_piece(vault);
        return;
    case PREPARE_PUT:
        prepare_put_done(vault);
        return;
    }
    UNREACHABLE();
}

void vault_prepare(struct vault *vault, const struct vault_epoch *next, const struct key *root,
                   const struct shamir_share *share, vault_done *done, void *user)
{
    struct slot_cell *cell = &vault->secrets->cells[0];
    *cell = (struct slot_cell){.state = SLOT_HOLDS,
                               .epoch = next->epoch,
                               .servers = next->servers,
                               .threshold = next->threshold,
                               .share.index = share->index};
    memcpy(cell->vault_uuid, vault->uuid, sizeof(cell->vault_uuid));
    memcpy(cell->commitment, next->commitment, sizeof(cell->commitment));
    cell->share.value = share->value;
    vault->secrets->sealing.root = *root;
    work_begin(vault, prepare_resume, done, user);
    vault->work.epoch = *next;
}
