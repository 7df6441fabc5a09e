/* erasure.h - getting rid of chunks: who must wipe what, what is condemned, and when an erasure is complete.
 *
 * An erasure is one decision to destroy some chunks: a version was deleted or overwritten, a tenant is erased, a
 * gateway gave chunks up, a disk holds chunks that no object refers to, or that were moved away from it. For each
 * chunk, every disk that is, ever was, or is about to be a member of its PG owes an answer: a *wipe*. Nodes pull the
 * wipes of their disks, wipe, and report. The erasure is open until every wipe is accounted for (wiped and read back,
 * never held, or the disk was removed with evidence of its own); a device that refused keeps it open.
 *
 *   (grace time, or being filled) ──> punctured, wipes owed ──> wipes done ──┬──> closed ──certificate──>
 *                                          └── seal takes its keys ──> epoch destroyed ──┘
 *
 * It is closed when, besides, the vault's epoch in which its keys last stood has been destroyed (epochs.h): then
 * neither the copies nor their keys are left. A record notes the seal that takes its punctures; all of its keys are
 * gone with that seal. Ids grow with the journal, and most erasures puncture when their id is given out: so below the
 * id `keys_destroyed_below` the keys of all are gone, but of those that are *late*: deletions that had a grace time,
 * and tenants. Those keep their row of the table of open erasures until they are certified, or until their wipes are
 * done.
 *
 * An erasure of chunks that were given up, were moved away, or are orphans, is closed in the same way but says nothing
 * of keys: the leaf behind them goes its own way. The keys of a version are those of all its sealings: also of one that
 * was under way, or left half-made by a node that crashed, when the version went. Its leaf is punctured in the same
 * command (catalog.h), its chunks are orphans.
 *
 * A condemned chunk is remembered: a commit that names it is refused from then on. That is what makes the orphan
 * rule safe without trusting clocks: the check and the commit are ordered by the journal, and one of them loses.
 *
 * A disk owes at most one wipe per chunk. When one is pending, a later erasure of the same chunk does not add another:
 * the chunk is going already, and the first erasure's account stays right.
 *
 * Changes are in erasure.c, erasure_draft.c and erasure_wipes.c, reads in erasure_read.c. */
#ifndef TRILITH_META_ERASURE_H
#define TRILITH_META_ERASURE_H

#include "meta/change.h"

#define REQUESTED_BYTES_MAX       256u /* of who asked, as it is kept */
#define ERASURE_CHUNKS_MAX        1280u
#define ERASURE_FILL_CHUNKS_MAX   4096u
#define WIPES_PULLED_MAX          1024u
#define DISK_IDS_MAX              4096u /* disk ids ever given out */
#define ERASURE_REF_BYTES         32
#define ATTESTATION_JWS_BYTES_MAX KIB(128)
#define DISK_ATTESTATIONS_MAX     256u /* named one by one, per erasure and disk; of further ones there is a chain */

/* Why a version goes, and what is to be kept of that for a certificate. Texts are copied. */
struct erasure_cause {
    const char *reason;        /* "delete", "overwrite", "expire", "reseal" */
    const char *requested_by;  /* access key; NULL: nobody asked by name */
    const uint8_t *object_ref; /* 32 bytes, erasure_object_ref(); NULL: the tenant has no K_ref */
    uint64_t requested_ms;     /* 0: now */
    uint64_t grace_until_ms;   /* 0: there was no grace time */
    uint64_t erasure_id;       /* given out by erasure_take_id() before; 0: the next */
    Trilith__WipeTechnique technique;
};

/* How a certificate names an object: HMAC-SHA256(ref_salt, version id | bucket | 00 | key). False: no salt, no name. */
bool erasure_object_ref(ProtobufCBinaryData ref_salt, const uint8_t version_id[16], const char *bucket,
                        ProtobufCBinaryData key, uint8_t object_ref[32]);

/* Destroy the chunks of a version that is going, and whose leaves are punctured in the same command: takes their
 * references away and opens an erasure, or fills the one that was given out for it. Sets outcome.erasure_id. STATUS_OK,
 * else the tables have failed. */
MUST_USE enum status erasure_of_version(struct change *change, uint64_t tenant_id, uint64_t bucket_id,
                                        const struct erasure_cause *cause, const Trilith__Object *version);

/* Give out the number of an erasure whose grace time begins (cause->grace_until_ms): it counts as open, and owes
 * nothing yet; the leaf of `version` is live. It goes on with erasure_of_version(), or ends with erasure_take_back().
 * Sets outcome.erasure_id. STATUS_OK, else the tables have failed. */
MUST_USE enum status erasure_take_id(struct change *change, uint64_t tenant_id, uint64_t bucket_id,
                                     const struct erasure_cause *cause, const Trilith__Object *version);
/* The deletion was taken back. STATUS_OK; STATUS_NOT_FOUND; STATUS_CONFLICT: it is not in its grace time. */
MUST_USE enum status erasure_take_back(struct change *change, uint64_t erasure_id);
/* Its version goes with its tenant instead, under the tenant's erasure: this one ends, and says which request that was.
 * Statuses likewise. */
MUST_USE enum status erasure_hand_over(struct change *change, uint64_t erasure_id, uint64_t request_id);

/* ---- of a whole tenant ------------------------------------------------------------------------- */

/* Open the erasure of a tenant, reason "tenant", which is filled by later commands and not closed before that is
 * complete. Sets outcome.erasure_id. STATUS_OK, else the tables have failed. */
MUST_USE enum status erasure_open_whole(struct change *change, uint64_t tenant_id, uint64_t request_id,
                                        const char *requested_by, uint64_t requested_ms);

/* One command's part of filling it: begin, any number of versions (together at most ERASURE_FILL_CHUNKS_MAX chunks, no
 * chunk twice), end. In scratch memory. Nothing else of the same command may touch that erasure. */
struct erasure_draft;
/* NULL: the tables have failed. STATUS_CONFLICT in `*status`: it is complete, or there is no such erasure. */
struct erasure_draft *erasure_fill_begin(struct change *change, uint64_t erasure_id, enum status *status);
/* The chunks of `version`, which leaves with its rows: their references are taken away and every disk owes its wipe.
 * The record counts versions and bytes. STATUS_OK, else the tables have failed. */
MUST_USE enum status erasure_fill_version(struct erasure_draft *draft, const Trilith__Object *version);
/* After everything that this command punctures (leaves.h). `complete`: nothing more comes, all its keys are punctured:
 * from here on it can be closed. STATUS_OK, else the tables have failed. */
MUST_USE enum status erasure_fill_end(struct erasure_draft *draft, bool complete);

/* Copies of `count` chunks of a tenant that is being erased, or was, have turned up on `disk_id`: it owes their wipes
 * to the tenant's erasure, which is open again when it was closed (reopened, and a certificate that it has will be
 * superseded). Chunks that it owes already are left out. `is_new[i]` (NULL: nobody asks) says of which it did not.
 * STATUS_OK;
 * STATUS_NOT_FOUND: no such erasure, or not a tenant's; else the tables have failed. */
MUST_USE enum status erasure_reopen(struct change *change, uint64_t erasure_id, uint32_t disk_id,
                                    const uint8_t *const *chunks, size_t count, bool *is_new);

/* ---- chunks that no version has, wipes, disks that leave ------------------------------------- */

/* Condemn those chunks of the command that no object refers to, and give up the leaf that it names (leaves_give_up()).
 * A copy of a chunk that an object does refer to, on a disk that is neither a member of its PG nor to become one, was
 * moved away: it is wiped there alone, reason "move". Orphans of a tenant that is being erased, or was, go to its
 * erasure. Sets outcome.erasure_id when there were any new ones. STATUS_OK; STATUS_INVALID: malformed, or a PG that
 * does not exist. */
MUST_USE enum status erasure_condemn(struct change *change, const Trilith__CondemnChunks *command);

/* Take note of what a disk reported. Reports of wipes that are not owed (any more) are ignored. The attestation is kept
 * when it accounts for any wipe that was owed. STATUS_OK; STATUS_INVALID: malformed, or an attestation over
 * ATTESTATION_JWS_BYTES_MAX. */
MUST_USE enum status erasure_record_wipes(struct change *change, const Trilith__RecordWipes *command);

/* A disk is removed (its row says so): up to `max` wipes that it still owes are settled by that. `dead`: it could not
 * be wiped. `*more`: call again with the next command. What is erased later does not ask the disk any more. STATUS_OK,
 * else the tables have failed. */
MUST_USE enum status erasure_settle_removed(struct change *change, uint32_t disk_id, bool dead, uint32_t max,
                                            bool *more);

/* At the end of every command: wipes that it let an erasure take over from others are taken off those, once for all
 * erasures that the command opened. STATUS_OK, else the tables have failed. */
MUST_USE enum status erasure_end_change(struct change *change);

/* STATUS_OK: condemned; STATUS_NOT_FOUND. */
MUST_USE enum status erasure_find_condemned(struct tables *tables, const uint8_t chunk_id[16]);

/* ---- reads ------------------------------------------------------------------------------------- */

/* The wipes that `disk_id` owes, by chunk id, behind `after` (NULL: from the start); at most `max`. Ids stand in the
 * scratch. */
MUST_USE enum status erasure_pull(struct tables *tables, uint32_t disk_id, const uint8_t *after, uint32_t max,
                                  Trilith__WipePullReply *reply);
bool erasure_disk_owes(struct tables *tables, uint32_t disk_id);
/* Is `disk_id` neither a member of the PG of this chunk, which an object refers to, nor to become one? STATUS_OK: so a
 * copy there is to be wiped; STATUS_NOT_FOUND: it may stay, or no object refers to it. */
MUST_USE enum status erasure_find_moved(struct tables *tables, uint32_t disk_id, const uint8_t chunk_id[16]);

/* Will it have a certificate? "delete", "overwrite", "expire" and "tenant" will; not what an older version opened,
 * whose record has no facts. */
bool erasure_is_certifiable(const Trilith__ErasureRecord *record);
/* Are its keys beyond recovery, or has it none to lose? */
bool erasure_keys_are_gone(const Trilith__ClusterRecord *cluster, uint64_t erasure_id,
                           const Trilith__ErasureRecord *record);
/* Are its wipes all accounted for, with none to come? */
bool erasure_is_wiped(const Trilith__ErasureRecord *record);

/* The record itself. STATUS_OK, STATUS_NOT_FOUND. */
MUST_USE enum status erasure_record(struct tables *tables, uint64_t erasure_id, Trilith__ErasureRecord **record);
/* An attestation by its SHA-256. STATUS_OK, STATUS_NOT_FOUND. */
MUST_USE enum status erasure_attestation(struct tables *tables, const uint8_t sha256[32],
                                         Trilith__AttestationRecord **record);

/* What there is to say about one erasure. All of it stands in the scratch. */
struct erasure_facts {
    uint64_t id;
    Trilith__ErasureRecord *record;
    bool keys_gone;
    Trilith__EpochRecord *epoch;      /* in which its keys last stood, destroyed; NULL: not yet */
    Trilith__EpochRecord *epoch_next; /* the one behind that, without them; NULL likewise */
    size_t disk_count;
    struct erasure_disk {
        uint32_t disk_id;
        uint64_t owed;                   /* wipes still open */
        Trilith__DiskWipesRecord *wipes; /* what was settled; empty when nothing was */
    } * disks;                           /* every disk that owed or owes a wipe, by id */
};
/* STATUS_OK, STATUS_NOT_FOUND. */
MUST_USE enum status erasure_facts(struct tables *tables, uint64_t erasure_id, struct erasure_facts *facts);

/* One erasure, in the scratch. STATUS_OK, STATUS_NOT_FOUND. */
MUST_USE enum status erasure_get(struct tables *tables, uint64_t erasure_id, Trilith__Erasure **erasure);
/* Those behind `after_id`, at most `max`, oldest first. Of open ones only open ones are looked at. */
MUST_USE enum status erasure_list(struct tables *tables, uint64_t after_id, uint32_t max, bool open_only,
                                  Trilith__ErasureListReply *reply);

#endif
