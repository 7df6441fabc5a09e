/* vault_load.c - the table of the current epoch, from its file into guarded memory, piece by piece. */
#include "meta/vault/vault_private.h"

#include "base/log.h"

#include <stdio.h>

#define STALE_NAMES_MAX  16u
#define TABLE_NAME_BYTES 22u /* "table-" and 16 hex digits */

enum load_stage { LOAD_STARTED, LOAD_HEADER_READ, LOAD_PIECE, LOAD_PIECE_READ };

static void load_fail(struct vault *vault, enum status status, const char *what)
{
    char name[DISK_NAME_BYTES];
    table_name(vault->work.epoch.epoch, name);
    if (status == STATUS_NOT_FOUND || status == STATUS_CORRUPT) {
        vault_say(vault,
                  "the vault's file %s %s: put it back as it was when this server stopped; without it all objects "
                  "are lost",
                  name, what);
    } else if (status == STATUS_FULL) {
        vault_say(vault, "no guarded memory for the vault's file %s: raise the memory or memlock limit of this server",
                  name);
    } else {
        vault_say(vault, "the vault's file %s %s (%s): check the disk, and the owner of its directory", name, what,
                  status_name(status));
    }
    work_end(vault, status);
}

static void load_start(struct vault *vault)
{
    char name[DISK_NAME_BYTES];
    uint8_t commitment[COMMITMENT_BYTES];
    const struct vault_epoch *epoch = &vault->work.epoch;
    key_commitment(&vault->secrets->sealing.root, commitment);
    if (memcmp(commitment, epoch->commitment, sizeof(commitment)) != 0) {
        vault_say(vault,
                  "what the root slot holds is not the root of epoch %llu: it was changed, or is another server's. Put "
                  "back this server's own slot",
                  (unsigned long long)epoch->epoch);
        work_end(vault, STATUS_DENIED);
        return;
    }
    if (epoch->epoch == 0 || epoch->pages_end == 0 || epoch->pages_end > TABLE_PAGES_MAX) {
        vault_say(vault, "the metadata names no epoch with a table");
        work_end(vault, STATUS_INVALID);
        return;
    }
    enum status status = covers_check(vault);
    if (status != STATUS_OK) {
        vault_say(vault, "the directory of the vault's covers %s: put back this server's own as it was when it stopped",
                  status == STATUS_IO ? "can't be read" : "is another vault's");
        work_end(vault, status);
        return;
    }
    table_name(epoch->epoch, name);
    status = disk_file_open(vault->parts.disk, name, false, &vault->work.file);
    if (status != STATUS_OK) {
        load_fail(vault, status, status == STATUS_NOT_FOUND ? "is missing" : "can't be opened");
        return;
    }
    if (vault->work.file->bytes != table_file_bytes(epoch->pages_end)) {
        load_fail(vault, STATUS_CORRUPT, "is truncated, or has another length than it was written with");
        return;
    }
    work_read(vault, TABLE_HEADER_BYTES, 0, LOAD_HEADER_READ);
}

/* Everything that the state knows must be said by the header too; what it alone says the blocks vouch for. */
static void load_header(struct vault *vault)
{
    struct table_header header;
    const struct vault_epoch *epoch = &vault->work.epoch;
    enum status status = table_header_decode(vault->buffer, &header);
    if (status != STATUS_OK) {
        load_fail(vault, STATUS_CORRUPT,
                  status == STATUS_UNSUPPORTED ? "is of a later version of this program"
                                               : "is damaged at its beginning");
        return;
    }
    if (memcmp(header.vault_uuid, vault->uuid, sizeof(vault->uuid)) != 0) {
        load_fail(vault, STATUS_CORRUPT, "is another vault's");
        return;
    }
    if (header.epoch != epoch->epoch || header.pages_end != epoch->pages_end ||
        memcmp(header.commitment, epoch->commitment, COMMITMENT_BYTES) != 0) {
        load_fail(vault, STATUS_CORRUPT, "is another epoch's");
        return;
    }
    memcpy(vault->secrets->sealing.header, vault->buffer, TABLE_HEADER_BOUND_BYTES);
    vault->work.leaves_erased_total = header.leaves_erased_total;
    status = table_reserve(&vault->work.table, epoch->pages_end);
    if (status != STATUS_OK) {
        load_fail(vault, status, "");
        return;
    }
    work_yield(vault, LOAD_PIECE);
}

/* ---- tables of other epochs -------------------------------------------------------------------- */

struct stale_names {
    char kept[DISK_NAME_BYTES];
    char names[STALE_NAMES_MAX][DISK_NAME_BYTES];
    uint32_t count;
};

static void stale_collect(void *user, const char *name, uint64_t bytes)
{
    struct stale_names *stale = user;
    (void)bytes;
    bool is_table = strncmp(name, "table-", 6) == 0 && strlen(name) == TABLE_NAME_BYTES;
    if (is_table && strcmp(name, stale->kept) != 0 && stale->count < STALE_NAMES_MAX) {
        (void)snprintf(stale->names[stale->count], DISK_NAME_BYTES, "%s", name);
        stale->count++;
    }
}

/* What crashes have left. Best effort: without their roots they are noise. Only when the current table has opened:
 * until then this may be another server's directory, and one of them its only table. */
static void stale_tables_remove(struct vault *vault, uint64_t current)
{
    struct stale_names stale = {0};
    enum status status;
    table_name(current, stale.kept);
    do {
        stale.count = 0;
        status = disk_list_files(vault->parts.disk, stale_collect, &stale);
        for (uint32_t i = 0; i < stale.count && status == STATUS_OK; i++) {
            status = disk_file_remove(vault->parts.disk, stale.names[i]);
        }
    } while (status == STATUS_OK && stale.count == STALE_NAMES_MAX);
    if (status != STATUS_OK) {
        log_event(LOG_WARNING, "vault_tables_kept", "status=%s hint=%s", status_name(status),
                  "they open for nobody; only their room is lost");
    }
}

/* ---- piece by piece ---------------------------------------------------------------------------- */

static void load_finish(struct vault *vault)
{
    struct vault_work *work = &vault->work;
    table_release(&vault->table);
    vault->table = work->table;
    work->table = (struct table){0};
    vault->current = work->epoch;
    vault->closed = (struct vault_closed){.leaves_erased_total = work->leaves_erased_total};
    nursery_of(&vault->secrets->sealing.root, &vault->secrets->nursery);
    vault->is_loaded = true;
    stale_tables_remove(vault, vault->current.epoch);
    work_end(vault, STATUS_OK);
}

static void load_piece(struct vault *vault)
{
    struct vault_work *work = &vault->work;
    uint32_t left = table_blocks(work->epoch.pages_end) - work->at;
    if (left == 0) {
        load_finish(vault);
        return;
    }
    work->blocks = left < PIECE_BLOCKS ? left : PIECE_BLOCKS;
    while (work->table.region_count * TABLE_REGION_BLOCKS < work->at + work->blocks) {
        enum status status = table_extend(&work->table, NULL);
        if (status != STATUS_OK) {
            load_fail(vault, status, "");
            return;
        }
    }
    work_read(vault, work->blocks * TABLE_BLOCK_BYTES, table_block_offset(work->at), LOAD_PIECE_READ);
}

static void load_open_piece(struct vault *vault)
{
    struct vault_work *work = &vault->work;
    for (uint32_t i = 0; i < work->blocks; i++) {
        uint32_t block = work->at + i;
        enum status status = table_block_open(&vault->secrets->sealing, block, work->epoch.pages_end,
                                              vault->buffer + i * TABLE_BLOCK_BYTES, table_block(&work->table, block));
        if (status != STATUS_OK) {
            load_fail(vault, status, "is damaged, or was put together from several copies");
            return;
        }
    }
    work->at += work->blocks;
    load_piece(vault);
}

static void load_resume(struct vault *vault, enum status status)
{
    if (status != STATUS_OK) {
        load_fail(vault, status, "can't be read");
        return;
    }
    switch ((enum load_stage)vault->work.stage) {
    case LOAD_STARTED:
        load_start(vault);
        return;
    case LOAD_HEADER_READ:
        load_header(vault);
        return;
    case LOAD_PIECE:
        load_piece(vault);
        return;
    case LOAD_PIECE_READ:
        load_open_piece(vault);
        return;
    }
    UNREACHABLE();
}

void vault_load(struct vault *vault, const struct vault_epoch *epoch, const struct key *root, vault_done *done,
                void *user)
{
    CHECK(!vault->next.exists);
    vault->secrets->sealing.root = *root; /* Before work_begin(): `root` may be the share that settle has found. */
    work_begin(vault, load_resume, done, user);
    vault->work.epoch = *epoch;
}
