/* ledger_export.h - the whole ledger as files: tiles, checkpoint, keys, and every certificate that has an entry of its
 * own.
 *
 *   checkpoint, tile/...        cluster/ledger_tiles.h
 *   log.vkey                    the ledger's name and current key, one line, for other people's tools
 *   keys/issuer-N.pem           every key that ever signed, keys.pem: all of them
 *   certificates/ID.jws         of every entry
 *
 * A directory that holds an export already is extended: its entries are read back and checked against its own
 * checkpoint, and the new head must be that of a ledger which begins with them. So a ledger that was taken back, or
 * changed, is refused where somebody has kept an export, and the export stays as it was.
 * Threads  One. */
#ifndef TRILITH_CLUSTER_LEDGER_EXPORT_H
#define TRILITH_CLUSTER_LEDGER_EXPORT_H

#include "base/checkpoint.h"
#include "cluster/evidence_files.h"
#include "proto/wire.pb-c.h"

struct admin;
struct progress;

/* The head, with its signature checked. */
struct ledger_head {
    ProtobufCMessage *head; /* LedgerHeadReply */
    ProtobufCMessage *keys; /* SigningKeyListReply */
    struct checkpoint checkpoint;
};

/* Ask for the head and the keys. STATUS_OK; STATUS_NOT_FOUND: nothing was ever signed; STATUS_DENIED: the head is not
 * signed with one of the keys, or says something else than the service; statuses of admin_call(). Free it whatever
 * this returns. */
MUST_USE enum status ledger_head_fetch(struct admin *admin, struct ledger_head *head);
void ledger_head_free(struct ledger_head *head);
/* Has the key number `index` of the list signed the head? */
bool ledger_head_signed_by(const struct ledger_head *head, size_t index);

/* The public key as bytes; false: the service gave something else. */
MUST_USE bool ledger_key(const Trilith__SigningKey *key, struct public_key *public_key);
/* keys/issuer-N.pem, keys.pem, log.vkey. Statuses of files->write(). */
MUST_USE enum status ledger_keys_write(const Trilith__SigningKeyListReply *keys, struct evidence_files *files);

/* Why an export was refused, as a sentence. */
#define LEDGER_EXPORT_PROBLEM_BYTES 256

/* Export the ledger of `head`. `extend`: `files` may hold one already. `old_size`: entries that it had. STATUS_OK;
 * STATUS_CONFLICT: what is there is no beginning of this ledger, or it is damaged: `problem` says what; statuses of
 * admin_call() and files->write(). */
MUST_USE enum status ledger_export(struct admin *admin, const struct ledger_head *head, struct evidence_files *files,
                                   bool extend, struct progress *progress, uint64_t *old_size,
                                   char problem[LEDGER_EXPORT_PROBLEM_BYTES]);

#endif
