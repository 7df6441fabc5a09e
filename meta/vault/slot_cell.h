/* slot_cell.h - a cell of the root slot as a block of 4 KiB. Pure.
 *
 *   offset  bytes
 *        0      8  "TRLslot1"
 *        8      4  format, 1
 *       12      4  state: 1 holds a share, 2 destroyed
 *       16     16  vault uuid (destroyed: of the share that stood here, or zero when that was damaged)
 *       32      8  epoch
 *       40      4  servers u8 | threshold u8 | share index u8 | 0     zero from here on when destroyed
 *       44     32  share
 *       76     32  commitment of the root
 *      108   3984  zero
 *     4092      4  CRC32C of all before
 *
 * All zeros: never written. Anything else is damage: also a cell that stands where the other one belongs. */
#ifndef TRILITH_META_VAULT_SLOT_CELL_H
#define TRILITH_META_VAULT_SLOT_CELL_H

#include "meta/vault/slot.h"

#define SLOT_CELL_BYTES BLOCK_BYTES

/* Which cell an epoch stands in. */
static inline unsigned slot_cell_of(uint64_t epoch)
{
    return (unsigned)(epoch % SLOT_CELLS);
}

/* A cell that holds or is destroyed. `block` becomes secret when it holds. */
void slot_cell_encode(const struct slot_cell *cell, uint8_t block[SLOT_CELL_BYTES]);
/* What block number `number` says; SLOT_DAMAGED is the answer to anything that is not a cell. */
void slot_cell_decode(const uint8_t block[SLOT_CELL_BYTES], unsigned number, struct slot_cell *cell);

#endif
