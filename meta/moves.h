/* moves.h - moving placement groups from one disk to another, one by one: what draining a disk is made of.
 *
 *   DISK_DRAIN on ──> phase DRAINING ──for each PG of the disk──> PgMoveBegin ──copied──> PgMoveEnd{complete} ──> no PGs left
 *   DISK_DRAIN off ──> phase ACTIVE, its moves are given up      └──target dies, drains──> PgMoveEnd{not complete}
 *   DiskRemove ──> phase REMOVED, for good
 *
 * One move puts `target` into the place of `leaving`, a member of the PG. While it goes on the members stay what they
 * are: they serve reads and owe wipes as ever. The target owes wipes too, from PgMoveBegin on.
 *
 *   1  PgMoveBegin    the row gets target and leaving, and the epoch of the map that says so (move_map_epoch). From here on
 *                     gateways that know that map put nothing into the PG, and nodes that know it take nothing (node/chunk_host.h).
 *   2  ready          when every node knows that map, or can't acknowledge anything any more: its lease has ended. See "Puts".
 *   3  copying        the target's node (node/mover.h) lists the PG's chunks at the sources, the leaving disk and the other two
 *                     members; asks which are wanted (MOVE_CHECK); reads them from a source, checks every CRC, stores them.
 *                     A move is complete when everything the leaving disk holds, or everything the two others hold,
 *                     is durable at the target. (A write that was accepted with two copies stands on one of those two.)
 *   4  PgMoveEnd      the target is a member, the leaving disk a former one, with the next epoch of the map. Or, given up:
 *                     the target is a former member, as it may hold copies.
 *   5  what is left   A disk asks about every chunk that it holds of a PG it is no member of; each is condemned for that disk
 *                     alone, and wiped with an attestation. A disk without PGs, chunks and wipes that it owes is empty:
 *                     disk_is_empty(), and its node's own report.
 *
 * Invariants
 *   M-spread   Members, and members with the target in the place of the leaving disk, stand in three failure domains.
 *   M-once     A PG has at most one target; a disk that was in the PG's history is never its target again. (Its copies were
 *              wiped, and an id that was wiped on a disk never comes back to it.)
 *   M-history  Every disk that may ever have held a chunk of the PG is a member, the target or a former one: rows before
 *              bytes, as the target stands in the row before anything is copied, and leaves it only into `former`.
 *   M-copies   Whoever becomes a member has every chunk of the PG that was committed before, or ever will be.
 *
 * Puts       Why M-copies holds. A put names the epoch of the map by which its PG was chosen. A disk acknowledges it only if,
 *            in the map that its node has when the copy is durable, the PG has not changed since that epoch, has no target, and
 *            the disk is a member. A chunk is committed only if all disks that the gateway had chosen (three, or two in a
 *            bucket that accepts that) have acknowledged it. So let a chunk be acknowledged by a disk D of the PG as it was before
 *            the move. D's node did not know the map of PgMoveBegin then. Since the move is ready only when it does, the
 *            copy was durable, and so in the list of D, before anything was listed; and the ends of all later moves see it
 *            through their own lists. What a disk refuses at the end of a put stands there, but never gets
 *            committed: the gateway gives the whole attempt up, and it is condemned; the target, which owes wipes since step 1, with
 *            the others. A node that is down can't acknowledge: its lease, which it asks for when a copy is durable, has ended, and a
 *            new one comes only together with the newest map.
 * Erasures   What is erased before PgMoveBegin is not copied: each disk that held it owes the wipe, and MOVE_CHECK says no, or
 *            has reported it wiped and can't give it any more. What is erased later is owed by the target as well: when
 *            the wipe comes first it leaves a tombstone and the copy is refused (STATUS_GONE), else the copy is wiped.
 * Bounds MOVES_MAX moves at a time, MOVES_PER_DISK_MAX per disk, and never more than a quarter of the PGs.
 * PG_HISTORY_MAX.
 *
 * The parts that apply commands are pure. When to begin, when one is ready and when to give it up is the leader's to
 * decide: service_moves.c, at the bottom. */
#ifndef TRILITH_META_MOVES_H
#define TRILITH_META_MOVES_H

#include "meta/change.h"

#define MOVES_MAX              64u
#define MOVES_PER_DISK_MAX     2u
#define MOVE_CHECKED_MAX       1024u
#define DISK_DOMAINS_MIN       3u
#define DISK_WIPES_COUNTED_MAX 10000u
#define DISK_REMOVE_WIPES_MAX  2048u
#define MOVE_WIPES_OWED_MAX    2048u

/* ---- applying ---------------------------------------------------------------------------------- */

/* Begin to drain a disk, or stop. Again is no error. Stopping gives the disk's moves up, and PGs when it is short of
 * them.
 * STATUS_OK; STATUS_NOT_FOUND: no such disk; STATUS_GONE: it was removed; STATUS_CONFLICT: with it away, fewer than
 * three failure domains have disks that take PGs. */
MUST_USE enum status moves_disk_drain(struct change *change, const Trilith__DiskDrainRequest *command);

/* STATUS_OK; STATUS_NOT_FOUND: no such PG or target; STATUS_CONFLICT: the PG is being moved, `leaving` is no member,
 * the target was in the PG's history or takes no PGs, or members would share a failure domain; STATUS_FULL: no room in
 * the history. */
MUST_USE enum status moves_begin(struct change *change, const Trilith__PgMoveBegin *command);

/* STATUS_OK; STATUS_NOT_FOUND: no such PG; STATUS_CONFLICT: it is not being moved to that target. */
MUST_USE enum status moves_end(struct change *change, const Trilith__PgMoveEnd *command);

/* The disk is gone for good; wipes that it still owed are settled by that, DISK_REMOVE_WIPES_MAX with each command: the
 * leader repeats it until erasure_disk_owes() says no. STATUS_OK, also again; STATUS_NOT_FOUND; STATUS_NOT_EMPTY: a PG
 * has it as a member or target. */
MUST_USE enum status moves_disk_remove(struct change *change, const Trilith__DiskRemove *command);

/* The node is gone for good. STATUS_OK, also again; STATUS_NOT_FOUND; STATUS_NOT_EMPTY: a disk of it is not removed. */
MUST_USE enum status moves_node_remove(struct change *change, const Trilith__NodeRemove *command);

/* ---- reads; results stand in the scratch ------------------------------------------------------- */

/* What keeps a disk from being empty, as the tables have it. What lies on it only its node can say. */
struct disk_left {
    uint32_t pgs;    /* it is a member of */
    uint32_t coming; /* it is the target of */
    bool owes_wipes;
};
/* STATUS_OK: it is empty, as far as the tables know; STATUS_NOT_EMPTY; STATUS_NOT_FOUND: no such disk. */
MUST_USE enum status disk_is_empty(struct tables *tables, uint32_t disk_id, struct disk_left *left);

/* STATUS_NOT_FOUND: no such PG. */
MUST_USE enum status moves_pg(struct tables *tables, uint32_t pg_id, Trilith__PgRecord **pg);
bool pg_has_member(const Trilith__PgRecord *pg, uint32_t disk_id);
/* Whether the disk has no business with chunks of the PG: it is neither a member nor the target. */
bool pg_is_foreign(const Trilith__PgRecord *pg, uint32_t disk_id);

/* A PG that is being moved, and its row. */
struct move {
    uint32_t pg_id;
    Trilith__PgRecord *pg;
};
/* All that go on, by PG; `moves` has room for MOVES_MAX. */
MUST_USE enum status moves_all(struct tables *tables, struct move *moves, size_t *count);

/* Does the disk owe a wipe to an erasure with an id below `erasure_id`? Over DISK_WIPES_COUNTED_MAX rows: it does. */
MUST_USE enum status disk_owes_before(struct tables *tables, uint32_t disk_id, uint64_t erasure_id, bool *owes);

/* Does the disk owe a wipe of a chunk of this PG that an object refers to? Then it must not take the PG over: the wipe
 * would take what the move brings. More than MOVE_WIPES_OWED_MAX wipes are not looked through: it has to wipe them
 * first. */
MUST_USE enum status move_target_owes(struct tables *tables, uint32_t disk_id, uint32_t pg_id, bool *owes);

/* Is a chunk that a source has of this PG worth copying? Not if it is condemned, or any disk of the PG owes its
 * wipe. */
MUST_USE enum status move_chunk_is_wanted(struct tables *tables, const Trilith__PgRecord *pg,
                                          const uint8_t chunk_id[16], bool *wanted);

/* How many failure domains have disks that take PGs, without `disk_id` (0: with all). */
uint32_t domains_open(const Trilith__Map *map, uint32_t disk_id);

/* ---- the leader's part (service_moves.c) ------------------------------------------------------- */

struct meta_service;
struct service_moves;

/* NULL: no memory. */
MUST_USE struct service_moves *service_moves_open(void);
void service_moves_close(struct service_moves *moves);
/* Once a tick: begin moves for disks that drain, give up those that can't end. */
void service_moves_tick(struct meta_service *service);
/* Of `count` disks those that are to take a PG over that may be copied now, into `waiting`. Returns how many. */
size_t service_moves_wait_for(struct meta_service *service, const Trilith__Map *map, const uint32_t *disk_ids,
                              size_t count, uint32_t *waiting);

#endif
