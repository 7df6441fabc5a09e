/* map.h - the cluster as this node knows it: nodes, disks, placement groups, and what the leader believes about them.
 *
 * A map is decoded from the wire once, checked once, and never changed again: a newer one replaces it. So it can be
 * read by every reactor at the same time; whoever keeps one holds a reference. Everything in it is bounded and
 * consistent: a map that names a missing node or disk, or a PG without three distinct disks, is refused whole.
 *
 * Pure: no time and no chance of its own; randomness is an argument.
 * Threads    Any; the reference count is atomic, the rest never changes. */
#ifndef TRILITH_NODE_MAP_H
#define TRILITH_NODE_MAP_H

#include "base/ids.h"
#include "base/net.h"
#include "base/status.h"
#include "proto/wire.pb-c.h"

#include <stdatomic.h>

#define MAP_NODES_MAX      1024u
#define MAP_DISKS_MAX      16384u
#define MAP_PGS_MAX        262144u
#define MAP_NAME_BYTES     65 /* 64 and the terminator */
#define MAP_AVOID_MAX      32u
#define MAP_FREE_BYTES_MIN ((uint64_t)4 * CHUNK_BYTES_MAX) /* a disk with less takes no new chunk */

struct map_node {
    uint64_t id;
    char name[MAP_NAME_BYTES];
    char rpc_address[NET_ADDRESS_BYTES];
};

struct map_disk {
    uint32_t id;
    uint64_t node_id;
    struct uuid uuid;
    bool is_draining;
    bool is_removed;     /* gone for good: it serves nothing */
    bool up;             /* its node's lease holds and it serves */
    bool takes_chunks;   /* up, not fenced, not full */
    bool is_full;        /* up, and would take chunks if it had room */
    uint64_t free_bytes; /* as of the last heartbeat */
};

struct map_pg {
    uint32_t id;
    uint32_t members[REPLICAS]; /* disk ids */
    uint32_t target;            /* the disk that is taking the place of `leaving`, a member; 0: none */
    uint32_t leaving;
    uint64_t changed_epoch; /* of the map in which members or target changed last */
};

struct map {
    atomic_uint references;
    uint64_t epoch;
    struct map_node *nodes; /* each array in order of id */
    uint32_t node_count;
    struct map_disk *disks;
    uint32_t disk_count;
    struct map_pg *pgs;
    uint32_t pg_count;
};

/* Disks that this gateway has its own reasons not to like, for a while. */
struct map_avoid {
    uint32_t disks[MAP_AVOID_MAX];
    uint32_t count;
};

/* A new map with one reference, from the wire: nobody is up in it until map_with_health(). STATUS_OK; STATUS_INVALID:
 * it contradicts itself; STATUS_TOO_LARGE: over a limit above. */
MUST_USE enum status map_decode(const Trilith__Map *wire, struct map **map);

/* A copy of `map` with what `health` says; disks that it does not name are down. Disks unknown to the map are passed
 * over: the health may be newer than the map. Never NULL. */
struct map *map_with_health(const struct map *map, Trilith__DiskHealth *const *health, size_t health_count);

void map_hold(struct map *map);
/* NULL is allowed. */
void map_release(struct map *map);

/* NULL: no such thing. */
const struct map_node *map_find_node(const struct map *map, uint64_t id);
const struct map_disk *map_find_disk(const struct map *map, uint32_t id);
const struct map_pg *map_find_pg(const struct map *map, uint32_t id);
bool map_pg_has_member(const struct map_pg *pg, uint32_t disk_id);

/* A copy of a chunk that is to be stored. */
struct map_put {
    uint32_t pg;
    uint32_t disk_id;
    uint64_t map_epoch; /* of the map by which the PG was chosen */
    bool takes_over;    /* for the disk that is taking the PG over, not for a writer */
};

/* May this disk take the copy? Asked before it is stored, and when it is durable, each time with the newest map: where
 * a chunk may ever have been must follow from the history of its PG, and a chunk that is committed must be known to a
 * disk that is taking the PG over (meta/moves.h has the argument). So a writer's copy is taken only while the disk is a
 * member, the PG has no target, and has not changed since the writer chose it. STATUS_OK; STATUS_CONFLICT; STATUS_BUSY:
 * this map is older than the writer's, and may be why. */
MUST_USE enum status map_check_put(const struct map *map, const struct map_put *put);

/* Where a new chunk goes. */
struct map_choice {
    uint32_t pg;
    uint32_t disks[REPLICAS]; /* the members to write to */
    unsigned copies;          /* REPLICAS, or one less when that was asked for */
};

/* PGs that are being moved are not chosen, and those of a disk that drains only when no others will do.
 *
 * Choose a PG for a new chunk among those with at least `copies` (2 or 3) members that take chunks and are not in
 * `avoid`, each with a probability proportional to the free space of its fullest such member. `random` is 64 random
 * bits. STATUS_OK; STATUS_FULL: members are up, but no PG has room; STATUS_UNAVAILABLE: too few are up. */
MUST_USE enum status map_choose_pg(const struct map *map, const struct map_avoid *avoid, unsigned copies,
                                   uint64_t random, struct map_choice *choice);

/* The members of a PG in the order in which a reader on `local_node` (0: none) should ask them: its own disk, then
 * those that are up and not in `avoid`, then up ones, then the rest; within each group in an order drawn from `random`.
 * Returns how many: 0 when the PG is unknown. */
unsigned map_order_replicas(const struct map *map, uint32_t pg, uint64_t local_node, const struct map_avoid *avoid,
                            uint64_t random, uint32_t disks[REPLICAS]);

#endif
