/* erasure.h - getting rid of chunks: who must wipe what, what is condemned, and when an erasure is complete.
 *
 * An erasure is one decision to destroy some chunks: a version was deleted or overwritten, a gateway gave chunks up,
 * a disk holds chunks that no object refers to. For each chunk, every disk that is or ever was a member of its PG
 * owes an answer: a *wipe*. Nodes pull the wipes of their disks, wipe, and report. The erasure is open until every
 * wipe is accounted for (wiped and read back, or never held); a device that refused keeps it open.
 *
 * It is closed when, besides, the vault's epoch in which it began has been destroyed (epochs.h): then neither the copies
 * nor their keys are left. Keys are settled for all erasures below an id at once. An erasure of chunks that were given up,
 * or are orphans, is closed in the same way but says nothing of keys: the leaf behind them goes its own way.
 * The keys of a version are those of all its sealings: also of one that was under way, or left half-made by a node that
 * crashed, when the version went. Its leaf is punctured in the same command (catalog.h), its chunks are orphans.
 *
 * A condemned chunk is remembered: a commit that names it is refused from then on. That is what makes the orphan
 * rule safe without trusting clocks: the check and the commit are ordered by the journal, and one of them loses.
 *
 * A disk owes at most one wipe per chunk. When one is pending, a later erasure of the same chunk does not add another:
 * the chunk is going already, and the first erasure's account stays right. */
#ifndef TRILITH_META_ERASURE_H
#define TRILITH_META_ERASURE_H

#include "meta/change.h"

#define ERASURE_CHUNKS_MAX 1280u
#define WIPES_PULLED_MAX   1024u
#define DISK_IDS_MAX       4096u /* disk ids ever given out */

/* Destroy the chunks of a version that is going: takes their references away and opens an erasure, closed at once when
 * there is nothing to wipe. Sets outcome.erasure_id. STATUS_OK, else the tables have failed. */
MUST_USE enum status erasure_of_version(struct change *change, uint64_t tenant_id, const char *reason,
                                        const Trilith__Object *version);

/* Condemn those chunks of the command that no object refers to, and give up the leaf that it names (leaves_give_up()). Sets
 * outcome.erasure_id when there were any new ones. STATUS_OK; STATUS_INVALID: malformed, or a PG that does not exist. */
MUST_USE enum status erasure_condemn(struct change *change, const Trilith__CondemnChunks *command);

/* Take note of what a disk reported. Reports of wipes that are not owed (any more) are ignored. */
MUST_USE enum status erasure_record_wipes(struct change *change, const Trilith__RecordWipes *command);

/* STATUS_OK: condemned; STATUS_NOT_FOUND. */
MUST_USE enum status erasure_find_condemned(struct tables *tables, const uint8_t chunk_id[16]);

/* ---- reads ------------------------------------------------------------------------------------- */

/* The wipes that `disk_id` owes, by chunk id, behind `after` (NULL: from the start); at most `max`. Ids stand in the
 * scratch. */
MUST_USE enum status erasure_pull(struct tables *tables, uint32_t disk_id, const uint8_t *after, uint32_t max,
                                  Trilith__WipePullReply *reply);
bool erasure_disk_owes(struct tables *tables, uint32_t disk_id);

/* One erasure, in the scratch. STATUS_OK, STATUS_NOT_FOUND. */
MUST_USE enum status erasure_get(struct tables *tables, uint64_t erasure_id, Trilith__Erasure **erasure);
/* Those behind `after_id`, at most `max`, oldest first. Of open ones only open ones are looked at. */
MUST_USE enum status erasure_list(struct tables *tables, uint64_t after_id, uint32_t max, bool open_only,
                                  Trilith__ErasureListReply *reply);

#endif
