/* vault_unload.c - a vault that lets go of what it has in memory, without touching its devices. */
#include "meta/vault/vault_private.h"

#include <stdlib.h>

void vault_unload(struct vault *vault)
{
    CHECK(vault->work.resume == NULL);
    attempt_forget(vault);
    table_release(&vault->table);
    table_release(&vault->retired);
    free(vault->replaced.pages);
    vault->replaced = (struct page_list){0};
    vault->is_loaded = false;
    vault->has_share = false;
    vault->current = (struct vault_epoch){0};
    wipe_memory(&vault->secrets->nursery, sizeof(vault->secrets->nursery));
    wipe_memory(&vault->secrets->share, sizeof(vault->secrets->share));
}

void vault_drop(struct vault *vault)
{
    table_release(&vault->work.table);
    vault->work.file = NULL; /* Its handle went with the devices. */
    vault->work.resume = NULL;
    vault_close(vault);
}
