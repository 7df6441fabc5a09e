/* verify_ledger.h - a whole ledger, checked with nothing but its files (ledger_tiles.h) and the public keys of its
 * signers.
 *
 * Checked: the checkpoint's signature; every entry and tile, up to the root; every entry's form, and that no
 * certificate stands there twice; with an older checkpoint that the ledger has only grown since. Of the certificates in
 * certificates/ (*.jws, in any number): signature, form and rules; that each but those of objects stands in the ledger
 * with this SHA-256, those of objects in a batch that is there; that keys follow one another, each signed for by the
 * one before; and when there is one for each entry, that numbers and totals have no gaps. An entry that was never
 * written can't be missed by looking at a ledger: for that there are checkpoints kept elsewhere.
 * Bounds     VERIFY_LEDGER_ENTRIES_MAX entries, as many certificates.
 * Threads    One. */
#ifndef TRILITH_CLUSTER_VERIFY_LEDGER_H
#define TRILITH_CLUSTER_VERIFY_LEDGER_H

#include "base/checkpoint.h"
#include "cluster/evidence_files.h"
#include "cluster/verify_report.h"

#define VERIFY_LEDGER_ENTRIES_MAX (16u << 20)

struct ledger_question {
    struct evidence_files *files;
    const struct public_key *keys; /* one of which must have signed the checkpoint */
    size_t key_count;
    const char *since; /* an older checkpoint; NULL: none */
    size_t since_bytes;
};

/* STATUS_OK: nothing is wrong; `*head` is what the checkpoint states. STATUS_DENIED: the report's problem says what
 * is. */
MUST_USE enum status verify_ledger(const struct ledger_question *question, struct verify_report *report,
                                   struct checkpoint *head);

#endif
