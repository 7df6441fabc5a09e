/* slot_file.h - a slot in a file of two 4 KiB blocks, "root-slot", overwritten in place through disk.h (O_DIRECT,
 * durable writes, read back). slot_cell.h has the layout of a cell. */
#ifndef TRILITH_META_VAULT_SLOT_FILE_H
#define TRILITH_META_VAULT_SLOT_FILE_H

#include "base/disk.h"
#include "meta/vault/slot.h"

/* Open the slot on `disk` (the caller's, outlives it), making the file when `create` and there is none. `opened` runs
 * once, later: STATUS_OK; STATUS_NOT_FOUND: no file, and not `create`; STATUS_INVALID: a file of another size;
 * STATUS_DENIED; STATUS_FULL; STATUS_IO. */
void slot_file_open(struct loop *loop, struct disk *disk, bool create,
                    void (*opened)(void *user, enum status status, struct slot *slot), void *user);

#endif
