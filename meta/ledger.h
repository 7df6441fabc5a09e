/* ledger.h - the append-only log of what was certified, as a Merkle tree over the tables (base/merkle.h).
 *
 * An entry stands under its index, the hash of each full subtree under its level and index: written once, never
 * changed. cluster->ledger_size and ledger_root are the head; its signed form, the checkpoint, is written with every
 * append, and what is signed must say just that head. Entries are opaque here (evidence.h), 1..LEDGER_ENTRY_BYTES_MAX
 * bytes. */
#ifndef TRILITH_META_LEDGER_H
#define TRILITH_META_LEDGER_H

#include "meta/change.h"

#include "base/checkpoint.h"

#define LEDGER_ENTRY_BYTES_MAX    256u
#define LEDGER_ENTRIES_APPEND_MAX 64u
#define LEDGER_READ_MAX           1024u

/* Append `count` (1..LEDGER_ENTRIES_APPEND_MAX) entries and keep `note` as the head. The note's first line is the
 * ledger's name, which never changes; size and root must be those after appending; whoever submitted it has seen to
 * signatures.
 * STATUS_OK; STATUS_INVALID: an entry of a wrong size, or something else than a note; STATUS_CONFLICT: a note about
 * another head. */
MUST_USE enum status ledger_append(struct change *change, const ProtobufCBinaryData *entries, size_t count,
                                   const char *note);

/* ---- reads; results stand in the scratch ------------------------------------------------------- */

/* The head after appending `count` entries to what is there: what the next checkpoint must say. The origin is left
 * empty.
 * STATUS_OK; STATUS_INVALID: an entry of a wrong size; else the tables have failed. */
MUST_USE enum status ledger_next(struct tables *tables, const Trilith__ClusterRecord *cluster,
                                 const ProtobufCBinaryData *entries, size_t count, struct checkpoint *head);
/* The last checkpoint, terminated. STATUS_NOT_FOUND: nothing was appended yet. */
MUST_USE enum status ledger_checkpoint(struct tables *tables, char **note);
/* Entries from `first` on, at most `max`. STATUS_OK, STATUS_INVALID (`max` over LEDGER_READ_MAX). */
MUST_USE enum status ledger_read(struct tables *tables, uint64_t first, uint32_t max, Trilith__LedgerReadReply *reply);
/* STATUS_OK, STATUS_NOT_FOUND. */
MUST_USE enum status ledger_entry(struct tables *tables, uint64_t index, ProtobufCBinaryData *entry);
/* The inclusion proof of leaf `index` in the tree of `size` leaves. STATUS_OK; STATUS_INVALID: not below it. */
MUST_USE enum status ledger_proof(struct tables *tables, uint64_t index, uint64_t size,
                                  struct merkle_hash proof[MERKLE_PROOF_MAX], size_t *count);

#endif
