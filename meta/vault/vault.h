/* vault.h - the vault of one metadata server: the leaves that every object key depends on, and how they are forgotten.
 *
 *   leaf         32 secret bytes, named by page and slot (ggm.h); the state knows which is whose (meta/leaves.h)
 *   page table   per page: whole (its seed), punctured (a key that opens its cover), or dead
 *   root         random, one per epoch: seals the page table, and says the seeds of pages opened in this epoch
 *   slot         where the root's share stands: the only thing that must be erasable (slot.h)
 *
 * On the devices:
 *   table-<epoch>   a file; block b of 64 KiB is a box under derive_named_key(root, "block <b>"); layout: table.h
 *   covers          a kv: page u32be | generation u32be -> box of a cover under the page's key. Residue of old
 *                   generations is harmless: the keys that open them stood in tables whose roots are destroyed
 *                   The row of page 0 holds the vault's uuid
 *   slot            the share
 * Pages from the table's end on have no row: seed = derive_named_key(derive_named_key(root, "nursery"), "page <page>"),
 * 8 hex digits. So a page is opened without writing anything.
 *
 * Puncturing refuses a leaf at once, in memory; who opens a vault must puncture again what the state says. Closing an
 * epoch makes it final, in steps that the protocol (epoch.h) orders:
 *   vault_seal      the punctures so far are those that the next table will leave out
 *   vault_prepare   write covers and the next table under the next root, durably, read it back; put the share into
 *                   the slot
 *   vault_switch    that is the table from now on
 *   vault_destroy   overwrite the old share, read it back; remove the old table. Now nobody can say the punctured leaves
 * After a crash between any two, vault_settle() finds one or two epochs in the slot, and the state says which one holds.
 *
 * Sizes: 36 bytes of guarded memory and of table per page of 256 leaves; a cover is 35 bytes to 4.3 KiB.
 * Ownership  Leaves are written into keys of the caller's pool; a root or share that is passed in is copied.
 * Threads    Loop thread only. One of load, prepare, destroy, abandon at a time; `done` never runs inside the call. */
#ifndef TRILITH_META_VAULT_VAULT_H
#define TRILITH_META_VAULT_VAULT_H

#include "base/disk.h"
#include "base/kv.h"
#include "base/loop.h"
#include "meta/vault/ggm.h"
#include "meta/vault/slot.h"

#define VAULT_PAGE_LEAVES   GGM_LEAVES
#define VAULT_PAGE_MARGIN   2048u /* a sealed table ends so many pages behind the last opened one */
#define VAULT_MESSAGE_BYTES 512

struct vault;

/* All stay the caller's and outlive the vault. */
struct vault_parts {
    struct loop *loop;
    struct disk *disk; /* for the tables */
    struct kv *covers;
    struct slot *slot;
};

/* An epoch, as the state knows it. */
struct vault_epoch {
    uint64_t epoch; /* from 1 */
    uint32_t servers;
    uint32_t threshold;
    uint32_t pages_end; /* the table has the pages 1 .. pages_end - 1 */
    uint8_t commitment[COMMITMENT_BYTES];
};

/* What a close has done here, for the audit and the figures. */
struct vault_closed {
    uint64_t leaves_erased_total; /* in all epochs: counted from covers, not from the state */
    uint64_t leaves_erased;       /* by this close */
    uint64_t bytes_written;       /* table, covers and slot */
    uint32_t pages_punctured;     /* covers written */
};

typedef void vault_done(void *user, enum status status);

/* A vault without a root yet. `vault_uuid`: the cluster's id; tables and slots of another are refused. NULL: no
 * memory. */
MUST_USE struct vault *vault_open(const struct vault_parts *parts, const uint8_t vault_uuid[VAULT_UUID_BYTES]);
/* With nothing under way. Wipes all. */
void vault_close(struct vault *vault);
/* As a crash would leave it: also with something under way, whose I/O must never complete any more. Wipes all. For
 * tests. */
void vault_drop(struct vault *vault);
/* Why the last settle, load, prepare or destroy failed, for people: what is wrong and what to do. */
const char *vault_message(const struct vault *vault);

/* ---- opening ----------------------------------------------------------------------------------- */

/* Read the slot and settle what a crash has left behind. `current` is the epoch that the state says holds (epoch 0:
 * none yet). A cell of a later epoch was never switched to: it is destroyed. A cell of an earlier one, beside the
 * current, is destroyed: that close is finished. Then:
 *   STATUS_OK         the share of the current epoch is here: vault_share(). Epoch 0 has none and misses none
 *   STATUS_NOT_FOUND  this server has no share of it (it was away at the switch); never with one server
 *   STATUS_CONFLICT   the slot belongs to another vault, is empty, or holds only an epoch that is over (an older copy of
 *                     the slot was put back) or not yet known to the state (an older copy of the metadata was)
 *   STATUS_CORRUPT    the slot is damaged      STATUS_IO
 * A slot that is refused with STATUS_CONFLICT is left as it is. Not with a table loaded: vault_unload() first. */
void vault_settle(struct vault *vault, const struct vault_epoch *current, vault_done *done, void *user);
/* The share that was found, for sending it to the server that puts the root together, or NULL. It is wiped when the
 * next load, prepare, destroy or abandon starts; vault_load() may be given its value as the root. */
const struct shamir_share *vault_share(const struct vault *vault);

/* Load the table of `epoch` with its root; when it has opened, the tables of other epochs are removed. STATUS_OK;
 * STATUS_DENIED: not this epoch's root (commitment); STATUS_NOT_FOUND: the table is missing; STATUS_CORRUPT: truncated,
 * changed, or another epoch's, or the covers are another vault's; STATUS_FULL: no memory; STATUS_INVALID: there is no
 * such epoch; STATUS_IO. */
void vault_load(struct vault *vault, const struct vault_epoch *epoch, const struct key *root, vault_done *done,
                void *user);
/* Forget the table that is loaded and what was prepared, in memory only; punctures stay. With nothing under way. For a
 * server that was away at a switch: it settles again. */
void vault_unload(struct vault *vault);
/* ---- leaves: without a table loaded, STATUS_UNAVAILABLE ------------------------------------------ */

/* STATUS_OK; STATUS_GONE: punctured; STATUS_INVALID: no such slot, or page 0; STATUS_UNAVAILABLE; STATUS_CORRUPT,
 * STATUS_IO: the page's cover can't be read. */
MUST_USE enum status vault_derive(struct vault *vault, uint32_t page, uint32_t slot, struct key *leaf);
/* Forget leaves of one page; those that were forgotten before stay so. STATUS_OK; STATUS_INVALID: page 0; STATUS_FULL:
 * no memory. Works without a table too: it is how a vault being opened learns what it must refuse. */
MUST_USE enum status vault_puncture(struct vault *vault, uint32_t page, const struct ggm_bitmap *leaves);

/* ---- the steps of a close ---------------------------------------------------------------------- */

/* What was punctured so far is sealed: the next prepare leaves it out. Adds to what was sealed before. */
void vault_seal(struct vault *vault);
/* Write the next epoch beside the current one; any earlier attempt is abandoned first. Without a table only for epoch
 * 1, whose table is all nursery. STATUS_OK: durable, read back, and the share is in the slot; vault_closed() says what
 * was done. Else nothing has changed for the current epoch: STATUS_FULL, STATUS_IO, STATUS_CORRUPT (also: a page's
 * cover is lost); STATUS_INVALID: this epoch can't follow; STATUS_DENIED: not its root; STATUS_UNAVAILABLE: no
 * table, and not epoch 1. */
void vault_prepare(struct vault *vault, const struct vault_epoch *next, const struct key *root,
                   const struct shamir_share *share, vault_done *done, void *user);
/* Is this epoch, with this commitment, prepared and not switched to? */
bool vault_is_prepared(const struct vault *vault, uint64_t epoch, const uint8_t commitment[COMMITMENT_BYTES]);
/* The prepared epoch is the current one from now on. What was punctured after the seal stays refused, and waits for the
 * next. Sync: memory only. */
void vault_switch(struct vault *vault);
/* Destroy the share of `epoch`, which must not be the current one, and remove its table and the covers that only it
 * could open. STATUS_OK: read back; STATUS_IO, STATUS_CORRUPT: not destroyed, or not known to be. */
void vault_destroy(struct vault *vault, uint64_t epoch, vault_done *done, void *user);
/* Forget what was prepared: destroy its share and remove its table. */
void vault_abandon(struct vault *vault, vault_done *done, void *user);

const struct vault_closed *vault_closed(const struct vault *vault);
/* Guarded memory in use, bytes. */
size_t vault_memory(const struct vault *vault);

#endif
