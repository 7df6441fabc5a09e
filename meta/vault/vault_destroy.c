/* vault_destroy.c - what must not be there any more: the epoch before, or an attempt at the next one.
 *
 * In both the share is what counts: once it is overwritten and read back, table and covers are noise, so that they
 * can't be removed is worth a warning and no more. The old table's rows in memory are wiped before the share is: when
 * destroy says STATUS_OK, nothing in this process can say an erased leaf either. */
#include "meta/vault/vault_private.h"

#include "base/buggify.h"
#include "base/log.h"

#include <stdlib.h>

static void table_file_remove(struct vault *vault, uint64_t epoch)
{
    char name[DISK_NAME_BYTES];
    table_name(epoch, name);
    enum status status = disk_file_remove(vault->parts.disk, name);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        log_event(LOG_WARNING, "vault_table_kept", "file=%s status=%s hint=%s", name, status_name(status),
                  "it opens for nobody; only its room is lost");
    }
}

static void say_not_destroyed(struct vault *vault, uint64_t epoch, enum status status)
{
    vault_say(vault, "the root of epoch %llu is not destroyed: the root slot %s (%s). Check the slot's device",
              (unsigned long long)epoch,
              status == STATUS_CORRUPT ? "does not hold what was written to it" : "can't be written or read back",
              status_name(status));
}

/* ---- destroy ----------------------------------------------------------------------------------- */

enum destroy_stage { DESTROY_WIPE, DESTROY_SLOT, DESTROY_COVERS };

static void destroy_wipe(struct vault *vault)
{
    struct table *retired = &vault->retired;
    for (unsigned i = 0; i < SLICE_REGIONS; i++) {
        if (!table_shrink(retired)) {
            work_slot(vault, SLOT_DESTROY, vault->work.epoch.epoch, DESTROY_SLOT);
            return;
        }
    }
    work_yield(vault, DESTROY_WIPE);
}

/* The covers that the last switch replaced. Those of earlier epochs, after a destruction that failed, stay: residue. */
static void destroy_covers(struct vault *vault)
{
    struct page_list *list = &vault->replaced;
    if (vault->work.epoch.epoch + 1 != vault->current.epoch) {
        work_end(vault, STATUS_OK);
        return;
    }
    if (vault->work.at < list->count) {
        vault->work.at = covers_delete(vault, list, COVER_BEFORE, vault->work.at);
        work_yield(vault, DESTROY_COVERS);
        return;
    }
    free(list->pages);
    *list = (struct page_list){0};
    work_end(vault, STATUS_OK);
}

static void destroy_resume(struct vault *vault, enum status status)
{
    if (status != STATUS_OK) {
        say_not_destroyed(vault, vault->work.epoch.epoch, status);
        work_end(vault, status);
        return;
    }
    switch ((enum destroy_stage)vault->work.stage) {
    case DESTROY_WIPE:
        destroy_wipe(vault);
        return;
    case DESTROY_SLOT:
        KILL_POINT(KILL_VAULT_SHARE_DESTROYED);
        table_file_remove(vault, vault->work.epoch.epoch);
        KILL_POINT(KILL_VAULT_TABLE_REMOVED);
        destroy_covers(vault);
        return;
    case DESTROY_COVERS:
        destroy_covers(vault);
        return;
    }
    UNREACHABLE();
}

void vault_destroy(struct vault *vault, uint64_t epoch, vault_done *done, void *user)
{
    CHECK(!vault->is_loaded || epoch != vault->current.epoch);
    CHECK(!vault->next.exists || epoch != vault->next.epoch.epoch); /* That would be vault_abandon(). */
    work_begin(vault, destroy_resume, done, user);
    vault->work.epoch.epoch = epoch;
}

/* ---- abandon ----------------------------------------------------------------------------------- */

enum abandon_stage { ABANDON_STARTED, ABANDON_SLOT, ABANDON_COVERS, ABANDON_WIPE };

static void abandon_slot_done(struct vault *vault, enum status status)
{
    struct attempt *next = &vault->next;
    next->in_slot = status != STATUS_OK;
    table_file_remove(vault, next->epoch.epoch); /* Also when its share stands: alone, that opens nothing. */
    if (status != STATUS_OK) {
        if (vault->message[0] == '\0') {
            say_not_destroyed(vault, next->epoch.epoch, status);
        }
        vault->work.then(vault, status);
        return;
    }
    vault->work.at = 0;
    work_yield(vault, ABANDON_COVERS);
}

static void abandon_covers(struct vault *vault)
{
    if (vault->work.at < vault->next.punctured.count) {
        vault->work.at = covers_delete(vault, &vault->next.punctured, COVER_AFTER, vault->work.at);
        work_yield(vault, ABANDON_COVERS);
        return;
    }
    work_yield(vault, ABANDON_WIPE);
}

static void abandon_wipe(struct vault *vault)
{
    for (unsigned i = 0; i < SLICE_REGIONS; i++) {
        if (!table_shrink(&vault->next.table)) {
            attempt_forget(vault);
            vault->work.then(vault, STATUS_OK);
            return;
        }
    }
    work_yield(vault, ABANDON_WIPE);
}

static void abandon_resume(struct vault *vault, enum status status)
{
    switch ((enum abandon_stage)vault->work.stage) {
    case ABANDON_STARTED:
        if (vault->next.in_slot) {
            work_slot(vault, SLOT_DESTROY, vault->next.epoch.epoch, ABANDON_SLOT);
        } else {
            abandon_slot_done(vault, STATUS_OK);
        }
        return;
    case ABANDON_SLOT:
        abandon_slot_done(vault, status);
        return;
    case ABANDON_COVERS:
        abandon_covers(vault);
        return;
    case ABANDON_WIPE:
        abandon_wipe(vault);
        return;
    }
    UNREACHABLE();
}

void abandon_within(struct vault *vault, void (*then)(struct vault *vault, enum status status))
{
    work_close_file(vault);
    vault->next.is_prepared = false;
    vault->work.then = then;
    vault->work.resume = abandon_resume;
    if (!vault->next.exists) {
        then(vault, STATUS_OK);
        return;
    }
    work_yield(vault, ABANDON_STARTED);
}

static void abandon_start(struct vault *vault, enum status status)
{
    (void)status;
    abandon_within(vault, work_end);
}

void vault_abandon(struct vault *vault, vault_done *done, void *user)
{
    work_begin(vault, abandon_start, done, user);
}
