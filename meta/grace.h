/* grace.h - deletions that can be taken back for a time, and versions that must not go: grace, legal hold, retention.
 *
 *   version ──deleted or overwritten──> in grace ──time is over, nothing holds it──> its key punctured, its wipes owed
 *                  ^                        │
 *                  └──────── undo ──────────┘
 *
 * In a bucket with a grace time a version that is deleted or overwritten leaves the table of objects at once: nobody is
 * given it or its key. Its leaf, its chunks and its place under a DEK stay, counted as grace_objects; its chunks still
 * belong to a version, so that scrub takes them for no orphans, and repair keeps them whole. The erasure has its number
 * from the beginning. Taking it back puts the version in its place again, unless its key has another by now.
 *
 * Sealing anew (catalog.h) does not reach a version in grace: a DEK under which there is one is not destroyed before it
 * has gone, or was taken back and sealed anew. So a rotated DEK can last as long as the longest grace time, 90 days.
 *
 * A legal hold (until it is lifted) or retention (until a time, which can only be moved later) forbids that a version
 * is deleted or overwritten: STATUS_HELD. That is looked at again when a grace time ends: a version that is held by
 * then waits, and goes when nothing holds it any more; it can be taken back as long as it waits. While the erasure of
 * its tenant is asked for, nothing in grace goes either: the plan that people approve stays true.
 * Bounds     GRACE_ENDED_MAX versions and GRACE_CHUNKS_MAX chunks by one command, at least one version.
 * Threads    Pure. */
#ifndef TRILITH_META_GRACE_H
#define TRILITH_META_GRACE_H

#include "meta/erasure.h"

#define GRACE_MS_MAX     (UINT64_C(90) * 24 * 3600 * 1000)
#define GRACE_HELD_MS    UINT64_C(3600000) /* a legal hold is looked at again after so long; lifting it does so at once */
#define GRACE_ENDED_MAX  64u
#define GRACE_CHUNKS_MAX 2048u
#define RETENTION_MS_MAX (UINT64_C(100) * 366 * 24 * 3600 * 1000)

/* A technique that there is, and a grace time of at most 90 days? */
bool grace_rules_are_valid(Trilith__WipeTechnique technique, uint64_t grace_ms);
/* Does a legal hold or retention forbid that it goes? */
bool version_is_held(const Trilith__Object *version, uint64_t time_ms);

/* ---- changes ----------------------------------------------------------------------------------- */

/* The grace time of `version` begins, in place of its erasure. The caller takes its row away and counts it out. An idle
 * leaf to seal it anew is punctured by the caller. Sets outcome.erasure_id. STATUS_OK, else the tables have failed. */
MUST_USE enum status grace_begin(struct change *change, const Trilith__BucketRecord *bucket, ProtobufCBinaryData key,
                                 const Trilith__Object *version, const struct erasure_cause *cause,
                                 ProtobufCBinaryData ref_salt);
/* Erase what is due. Those that are held, or whose tenant's erasure is asked for, are put off. STATUS_OK. */
MUST_USE enum status grace_end(struct change *change);
/* STATUS_OK; STATUS_NOT_FOUND: no such deletion, or it can't be taken back (any more); STATUS_CONFLICT: its key has
 * another version by now; STATUS_KEY_REVOKED: its tenant is being erased, or that is asked for. */
MUST_USE enum status grace_undo(struct change *change, const Trilith__ErasureUndoRequest *command);
/* Legal hold and retention of the latest version of a key, or of the one in grace under erasure_id. STATUS_OK;
 * STATUS_CONFLICT: no such bucket; STATUS_NOT_FOUND: no such version; STATUS_HELD: retention would end earlier than it
 * does; STATUS_KEY_REVOKED: its tenant is being erased; STATUS_INVALID: nothing is set, or retention over a hundred
 * years. */
MUST_USE enum status grace_hold(struct change *change, const Trilith__ObjectHoldRequest *command);
/* Technique and grace time, for what is deleted from now on. STATUS_OK; STATUS_NOT_FOUND; STATUS_KEY_REVOKED;
 * STATUS_INVALID. */
MUST_USE enum status grace_bucket_set(struct change *change, const Trilith__BucketSetRequest *command);

/* Take a version in grace out of all tables of grace: it goes with its tenant. Counting is the caller's. */
void grace_rows_delete(struct tables *tables, uint64_t erasure_id, const Trilith__GraceRecord *record);

/* ---- reads ------------------------------------------------------------------------------------- */

/* STATUS_OK, STATUS_NOT_FOUND. In the scratch. */
MUST_USE enum status grace_get(struct tables *tables, uint64_t erasure_id, Trilith__GraceRecord **record);
/* Is there anything for grace_end() at `time_ms`? */
bool grace_is_due(struct tables *tables, uint64_t time_ms);

#endif
