/* mover.h - takes placement groups over for the disks of this node: copies their chunks from the disks that have them.
 *
 * meta/moves.h has the protocol. For each disk that is the target of a move:
 *
 *   MOVE_PULL ──> for each move, for each source:  CHUNK_LIST a page ──> what is not here yet ──> MOVE_CHECK ──> copies ──> next page
 *             <── MOVE_DONE ──────────────────────────────────────────────────────────────────────────────────────────┘
 *
 * A copy is read from any source, the CRC of each unit checked, another source asked when that fails; then it is stored
 * as any chunk is. It is right that the store refuses what was erased here (STATUS_GONE): the wipe came first. What is
 * here already is not copied again, so a mover that begins anew after a crash goes on where it was. A move is complete
 * when all that was wanted is durable, of the disk that leaves, or of both that stay; nothing is reported as complete
 * otherwise. A move that can't be ended now (sources away, this disk full) is tried again after a pause; the leader
 * decides how long.
 *
 * Clients come first: at most `bytes_per_s` are copied, and one chunk at a time while clients use the disk.
 * Bounds One move at a time, MOVER_PARALLEL_MAX chunks of it, a buffer of 4 MiB for each, given back when there is
 * nothing to do.
 * Threads    Loop thread only. One per process, where the agent lives. */
#ifndef TRILITH_NODE_MOVER_H
#define TRILITH_NODE_MOVER_H

#include "node/chunk_client.h"
#include "node/chunk_host.h"
#include "proto/rpc.h"

#define MOVER_PARALLEL_MAX 4u
#define MOVER_PAGE_MAX     256u
#define MOVER_MOVES_MAX    64u

struct mover;

struct mover_parts {
    struct loop *loop;
    struct net *net;
    struct chunk_host *host;
    struct rpc_client *meta;
    uint64_t bytes_per_s; /* 0: without bound */
    uint64_t call_ns;     /* deadline of one call */
};

struct mover_stats {
    uint64_t moves;  /* ended, complete */
    uint64_t chunks; /* copied */
    uint64_t bytes;
    uint64_t gone; /* not copied, because they were erased meanwhile */
};

/* Never NULL. */
struct mover *mover_open(const struct mover_parts *parts);
/* Where the sources are. */
void mover_set_map(struct mover *mover, struct map *map, uint64_t local_node);
/* These disks have PGs to take over (NodeHeartbeatReply). Others' disks are passed over. */
void mover_wake(struct mover *mover, const uint32_t *disk_ids, size_t count);
/* Take up nothing more; what is under way comes to its end. */
void mover_stop(struct mover *mover);
bool mover_is_idle(const struct mover *mover);
/* Only when idle. */
void mover_close(struct mover *mover);
void mover_stats(const struct mover *mover, struct mover_stats *stats);

#endif
