/* vault.c - what the vault answers at once: leaves, punctures, the switch; and the steps of its slower work.
 *
 * A leaf is refused when it is punctured in memory, or when the table can't say it; so an erased leaf is never said,
 * whether its epoch is closed or not. A leaf that is not punctured is said in every epoch in the same way: the next
 * table takes over its seed, or its cover, or what the nursery says of its page. */
#include "meta/vault/vault_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define LABEL_BYTES 32

struct vault *vault_open(const struct vault_parts *parts, const uint8_t vault_uuid[VAULT_UUID_BYTES])
{
    struct vault *vault = calloc(1, sizeof(*vault));
    if (vault == NULL) {
        return NULL;
    }
    vault->parts = *parts;
    memcpy(vault->uuid, vault_uuid, sizeof(vault->uuid));
    vault->secrets = guarded_take(sizeof(*vault->secrets));
    vault->buffer = aligned_alloc(BLOCK_BYTES, PIECE_BLOCKS * TABLE_BLOCK_BYTES);
    if (vault->secrets == NULL || vault->buffer == NULL) {
        vault_close(vault);
        return NULL;
    }
    memset(vault->buffer, 0, PIECE_BLOCKS * TABLE_BLOCK_BYTES);
    return vault;
}

void vault_close(struct vault *vault)
{
    CHECK(vault->work.resume == NULL);
    attempt_forget(vault);
    table_release(&vault->table);
    table_release(&vault->retired);
    punctures_release(&vault->punctures);
    free(vault->replaced.pages);
    free(vault->buffer);
    guarded_release(vault->secrets); /* Wipes. */
    free(vault);
}

const char *vault_message(const struct vault *vault)
{
    return vault->message;
}

const struct shamir_share *vault_share(const struct vault *vault)
{
    return vault->has_share ? &vault->secrets->share : NULL;
}

bool vault_is_prepared(const struct vault *vault, uint64_t epoch, const uint8_t commitment[COMMITMENT_BYTES])
{
    return vault->next.is_prepared && vault->next.epoch.epoch == epoch &&
           memcmp(vault->next.epoch.commitment, commitment, COMMITMENT_BYTES) == 0;
}

const struct vault_closed *vault_closed(const struct vault *vault)
{
    return vault->next.is_prepared ? &vault->next.closed : &vault->closed;
}

size_t vault_memory(const struct vault *vault)
{
    return sizeof(*vault->secrets) + table_memory(&vault->table) + table_memory(&vault->next.table) +
           table_memory(&vault->retired) + table_memory(&vault->work.table);
}

/* ---- leaves ------------------------------------------------------------------------------------ */

enum status vault_derive(struct vault *vault, uint32_t page, uint32_t slot, struct key *leaf)
{
    struct vault_secrets *secrets = vault->secrets;
    if (page == 0 || slot >= GGM_LEAVES) {
        return STATUS_INVALID;
    }
    if (!vault->is_loaded) {
        return STATUS_UNAVAILABLE;
    }
    if (punctures_has(&vault->punctures, page, slot)) {
        return STATUS_GONE;
    }
    if (page >= vault->current.pages_end) {
        nursery_seed(&secrets->nursery, page, &secrets->seed);
        ggm_seed_leaf(&secrets->seed, slot, leaf);
        wipe_memory(&secrets->seed, sizeof(secrets->seed));
        return STATUS_OK;
    }
    struct table_row row = table_row(&vault->table, page);
    switch (row.type) {
    case TABLE_WHOLE:
        ggm_seed_leaf(row.key, slot, leaf);
        return STATUS_OK;
    case TABLE_DEAD:
        return STATUS_GONE;
    case TABLE_PUNCTURED: {
        enum status status = cover_read(vault, page, &row);
        status = status == STATUS_OK ? ggm_cover_leaf(&secrets->cover, slot, leaf) : status;
        wipe_memory(&secrets->cover, sizeof(secrets->cover));
        return status;
    }
    case TABLE_NO_ROW:
        break;
    }
    UNREACHABLE(); /* Rows were checked when the table was loaded, or written here. */
}

enum status vault_puncture(struct vault *vault, uint32_t page, const struct ggm_bitmap *leaves)
{
    return page == 0 ? STATUS_INVALID : punctures_add(&vault->punctures, page, leaves);
}

void nursery_of(const struct key *root, struct key *nursery)
{
    derive_named_key(root, "nursery", nursery);
}

void nursery_seed(const struct key *nursery, uint32_t page, struct key *seed)
{
    char label[LABEL_BYTES];
    (void)snprintf(label, sizeof(label), "page %08x", page);
    derive_named_key(nursery, label, seed);
}

/* ---- seal and switch --------------------------------------------------------------------------- */

void vault_seal(struct vault *vault)
{
    punctures_seal(&vault->punctures);
}

void vault_switch(struct vault *vault)
{
    struct attempt *next = &vault->next;
    CHECK(next->is_prepared);
    CHECK(vault->work.resume == NULL);
    /* Only what this table leaves out: whatever was sealed or punctured since then waits. */
    for (uint32_t i = 0; i < next->punctured.count; i++) {
        punctures_forget(&vault->punctures, next->punctured.pages[i].page, &next->punctured.pages[i].leaves);
    }
    table_release(&vault->retired); /* Empty, unless the destruction before failed. */
    free(vault->replaced.pages);
    vault->retired = vault->table;
    vault->replaced = next->punctured;
    vault->table = next->table;
    vault->current = next->epoch;
    vault->closed = next->closed;
    vault->secrets->nursery = vault->secrets->next_nursery;
    vault->is_loaded = true;
    next->table = (struct table){0};
    next->punctured = (struct page_list){0};
    attempt_forget(vault);
}

void attempt_forget(struct vault *vault)
{
    table_release(&vault->next.table);
    free(vault->next.punctured.pages);
    vault->next = (struct attempt){0};
    if (vault->secrets != NULL) {
        wipe_memory(&vault->secrets->next_nursery, sizeof(vault->secrets->next_nursery));
    }
}

/* ---- work -------------------------------------------------------------------------------------- */

static void task_run(struct loop_task *task)
{
    struct vault *vault = CONTAINER_OF(task, struct vault, work.task);
    vault->work.resume(vault, STATUS_OK);
}

static void io_done(struct disk_io *io)
{
    struct vault *vault = CONTAINER_OF(io, struct vault, work.io);
    vault->work.resume(vault, io->status);
}

static void call_done(struct slot_call *call)
{
    struct vault *vault = CONTAINER_OF(call, struct vault, work.call);
    vault->work.resume(vault, call->status);
}

void work_begin(struct vault *vault, void (*resume)(struct vault *vault, enum status status), vault_done *done,
                void *user)
{
    CHECK(vault->work.resume == NULL);
    CHECK(done != NULL);
    vault->work = (struct vault_work){.resume = resume, .done = done, .user = user, .task.run = task_run};
    vault->has_share = false;
    wipe_memory(&vault->secrets->share, sizeof(vault->secrets->share));
    vault->message[0] = '\0';
    work_yield(vault, 0);
}

void work_yield(struct vault *vault, int stage)
{
    vault->work.stage = stage;
    loop_defer(vault->parts.loop, &vault->work.task);
}

void work_read(struct vault *vault, size_t bytes, uint64_t offset, int stage)
{
    vault->work.stage = stage;
    disk_read(vault->work.file, &vault->work.io, vault->buffer, bytes, offset, io_done);
}

void work_write(struct vault *vault, size_t bytes, uint64_t offset, int stage)
{
    vault->work.stage = stage;
    vault->work.bytes_written += bytes;
    disk_write(vault->work.file, &vault->work.io, vault->buffer, bytes, offset, 0, io_done);
}

void work_flush(struct vault *vault, int stage)
{
    vault->work.stage = stage;
    disk_flush(vault->work.file, &vault->work.io, io_done);
}

void work_allocate(struct vault *vault, uint64_t bytes, int stage)
{
    vault->work.stage = stage;
    disk_allocate(vault->work.file, &vault->work.io, bytes, io_done);
}

void work_slot(struct vault *vault, enum slot_operation operation, uint64_t epoch, int stage)
{
    vault->work.stage = stage;
    vault->work.call =
        (struct slot_call){.operation = operation, .epoch = epoch, .cells = vault->secrets->cells, .done = call_done};
    slot_start(vault->parts.slot, &vault->work.call);
}

void work_close_file(struct vault *vault)
{
    if (vault->work.file != NULL) {
        disk_file_close(vault->work.file);
        vault->work.file = NULL;
    }
}

void work_end(struct vault *vault, enum status status)
{
    vault_done *done = vault->work.done;
    void *user = vault->work.user;
    work_close_file(vault);
    table_release(&vault->work.table);
    wipe_memory(vault->secrets->cells, sizeof(vault->secrets->cells));
    wipe_memory(&vault->secrets->sealing, sizeof(vault->secrets->sealing));
    vault->work.resume = NULL;
    done(user, status);
}

void vault_say(struct vault *vault, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(vault->message, sizeof(vault->message), format, arguments);
    va_end(arguments);
}
