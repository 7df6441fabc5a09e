/* epochs.h - the epochs of the vault as the replicated state knows them: which one holds, which is being prepared,
 * which are gone. vault/epoch.h has the protocol; here are only its decisions, and the sums that must agree.
 *
 *   epoch e holds ──EpochSeal e+1──> closing ──EpochSwitch e+1──> e+1 holds, e is to be destroyed ──EpochErased e──> done
 *
 * Each seal has a number. A puncture stands in the row (seal that will take it, page); a switch drops the rows that its
 * table has left out. What seals up to `erased_seal` took is destroyed for good. Most erasures puncture when their id
 * is given out, and ids grow with the journal: so the same is true of those below the id `keys_destroyed_below`
 * (erasure.h says of which not).
 *
 * The audit: a switch says how many leaves the vault has erased in all, counted from covers; it must be what the state
 * counted as punctured when it was sealed. And live leaves are as many as versions, those that can still be taken back
 * among them, DEKs, and reference keys of tenants. A switch that does not balance is refused, and nothing is
 * claimed. */
#ifndef TRILITH_META_EPOCHS_H
#define TRILITH_META_EPOCHS_H

#include "meta/change.h"

#define EPOCH_SERVERS_LIMIT 7

/* STATUS_OK; STATUS_CONFLICT: not the epoch after the current one, or the one before is not destroyed yet;
 * STATUS_INVALID: malformed. Again for the same epoch replaces the attempt before. */
MUST_USE enum status epochs_seal(struct change *change, const Trilith__EpochSeal *command);
/* STATUS_OK; STATUS_CONFLICT: not what was sealed last, or fewer servers than the threshold; STATUS_CORRUPT is never
 * answered for sums that do not agree: that is STATUS_NOT_EMPTY (and status shows it), the current epoch goes on. */
MUST_USE enum status epochs_switch(struct change *change, const Trilith__EpochSwitch *command);
/* STATUS_OK; STATUS_CONFLICT: not the one to be destroyed, or too few. Epoch 0 (none) is never destroyed: the first
 * switch leaves nothing to do. */
MUST_USE enum status epochs_erased(struct change *change, const Trilith__EpochErased *command);

/* ---- reads ------------------------------------------------------------------------------------- */

/* STATUS_OK, STATUS_NOT_FOUND. In the scratch. One that is sealed and not yet switched to has begun_ms 0; epoch 0
 * stands for what was before the first. */
MUST_USE enum status epochs_get(struct tables *tables, uint64_t epoch, Trilith__EpochRecord **record);
/* The epoch whose destruction took along the keys of an erasure that punctured when its id was given out.
 * STATUS_NOT_FOUND: none yet. */
MUST_USE enum status epochs_of_erasure(struct tables *tables, uint64_t erasure_id, Trilith__EpochRecord **record);
/* The epoch whose destruction took along what the seal of that number took (1..). STATUS_NOT_FOUND: none yet. */
MUST_USE enum status epochs_of_seal(struct tables *tables, uint64_t seal, Trilith__EpochRecord **record);
/* Do the live leaves add up: versions, DEKs and reference keys? */
bool epochs_balance(const Trilith__ClusterRecord *cluster);

#endif
