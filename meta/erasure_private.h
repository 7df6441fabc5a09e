/* erasure_private.h - between the files of erasure.h: how an erasure is accounted for when its wipes are done, or more
 * come. */
#ifndef TRILITH_META_ERASURE_PRIVATE_H
#define TRILITH_META_ERASURE_PRIVATE_H

#include "meta/erasure.h"

/* ---- drafts (erasure_draft.c) ------------------------------------------------------------------ */

struct plan_block; /* wipes in the order in which they were written down, for plan_sha256 */

/* An erasure while wipes are added to it: how much each disk owes, counted up before it is written. */
struct erasure_draft {
    struct change *change;
    uint64_t id; /* 0: none is given out before the first wipe */
    Trilith__ErasureRecord *record;
    bool exists;    /* it was opened by a command before */
    bool was_wiped; /* and its wipes were done */
    struct plan_block *plan;
    struct plan_block *plan_last;
    uint32_t owed[DISK_IDS_MAX + 1];    /* by disk id */
    uint32_t removed[DISK_IDS_MAX + 1]; /* likewise: by disks that are removed, settled by that */
    uint8_t standing[DISK_IDS_MAX + 1];
};

/* One that adds to `record` (of `erasure_id`, 0: it begins one). NULL: the tables have failed. */
struct erasure_draft *draft_of(struct change *change, uint64_t erasure_id, Trilith__ErasureRecord *record);
/* One of a new erasure; its number is given out with its first wipe, or by draft_take_id(). NULL: the tables have
 * failed. */
struct erasure_draft *draft_begin(struct change *change, uint64_t tenant_id, const char *reason);
void draft_take_id(struct erasure_draft *draft);
/* What this command punctures is taken by the next seal. */
void draft_puncture(struct erasure_draft *draft);
/* Let `disk_id` owe a wipe of `chunk`. If it owes one already, that stays as it is; but an erasure that will have a
 * certificate takes it over from one that will not (a copy that was moved away, say): it must not be closed before that
 * copy is gone, too. A disk that is removed has settled it by that, unless it `has` the copy by its own word: then it is
 * back. STATUS_OK, else the tables have failed. */
MUST_USE enum status draft_owe(struct erasure_draft *draft, uint32_t disk_id, bool has, const uint8_t *chunk);
/* Every disk that is, was or is about to be a member of the PG, and `holder`, which says that it has a copy, unless it
 * is 0, owes a wipe of `chunk`. STATUS_NOT_FOUND: no such PG. */
MUST_USE enum status draft_add_chunk(struct erasure_draft *draft, const uint8_t *chunk, uint32_t pg_id,
                                     uint32_t holder);
/* Write it down. Sets outcome.erasure_id. STATUS_OK, else the tables have failed. */
MUST_USE enum status draft_end(struct erasure_draft *draft);

/* ---- accounts (erasure_wipes.c) ---------------------------------------------------------------- */

/* The wipes of an erasure are all accounted for: sets closed_ms, and counts it. Its row of open ones goes, or, for one
 * that is late, says until when it is open. The caller writes the record. */
void erasure_finish(struct change *change, uint64_t erasure_id, Trilith__ErasureRecord *record);
/* They were, and there are more now. STATUS_OK, else the tables have failed. */
MUST_USE enum status erasure_unfinish(struct change *change, uint64_t erasure_id, Trilith__ErasureRecord *record);
/* Wipes that `disk_id` owed to an erasure are owed to another one from now on. The caller ends it (erasure_let_go_end())
 * when it has named all its disks. STATUS_OK, else the tables have failed. */
MUST_USE enum status erasure_let_go(struct change *change, uint64_t erasure_id, Trilith__ErasureRecord *record,
                                    uint32_t disk_id, uint32_t wipes);
void erasure_let_go_end(struct change *change, uint64_t erasure_id, Trilith__ErasureRecord *record);

/* What was settled on a disk so far, or an empty record. */
MUST_USE enum status disk_wipes_get(struct tables *tables, uint64_t erasure_id, uint32_t disk_id,
                                    Trilith__DiskWipesRecord **record);

/* The value of a row of wipes owed. */
struct wipe_owed {
    uint64_t erasure_id;
    Trilith__WipeTechnique technique;
};
void wipe_put(struct tables *tables, uint32_t disk_id, const uint8_t chunk_id[16], const struct wipe_owed *owed);
/* False: not one. */
bool wipe_decode(struct kv_slice value, struct wipe_owed *owed);
/* STATUS_OK, STATUS_NOT_FOUND. */
MUST_USE enum status wipe_get(struct tables *tables, uint32_t disk_id, const uint8_t chunk_id[16],
                              struct wipe_owed *owed);

#endif
