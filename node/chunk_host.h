/* chunk_host.h - the disks of this process, reachable from each of its reactors.
 *
 * Every disk has one chunk_store, which belongs to one reactor (its owner). Whoever wants something of a disk fills a
 * job and starts it from its own reactor, its home: the job travels to the owner by loop_post(), the store works, the
 * job travels back and `done` runs at home. When home is the owner, nothing is posted.
 *
 * What a disk does depends on its state (enum Trilith__DiskState): a disk that catches up on erasures serves nobody; a
 * fenced or full one takes no puts; and without a lease from the metadata service no disk takes puts, because the
 * leader may count on this node being gone.
 *
 * Ownership  Jobs and their buffers belong to the caller and stay untouched until `done`, which runs exactly once and
 *            never inside the call that starts the job. A job can't be called off.
 * Threads    Disks are added before the second reactor knows the host. Jobs start on their home's thread; states are
 *            atomic. */
#ifndef TRILITH_NODE_CHUNK_HOST_H
#define TRILITH_NODE_CHUNK_HOST_H

#include "node/map.h"
#include "node/medium.h"
#include "node/store/chunk_store.h"
#include "proto/wire.pb-c.h"

#include <stdatomic.h>

#define CHUNK_HOST_DISKS_MAX  64
#define CHUNK_HOST_PATH_BYTES 512
#define CHUNK_HOST_LOCATE_MAX 1024
#define CHUNK_HOST_LIST_MAX   256

/* One disk of this process. */
struct chunk_host_disk {
    struct loop *owner;
    struct chunk_store *store;
    struct uuid uuid;
    char path[CHUNK_HOST_PATH_BYTES];
    atomic_uint id;                   /* in the map; 0 until this node has registered */
    atomic_uint state;                /* enum _Trilith__DiskState */
    struct medium medium;             /* what `path` lies on; set before the second reactor knows the host */
    atomic_uint clients;              /* puts and gets that the store is at work on */
    atomic_uint_least64_t clients_ns; /* when the last of them began or ended */
};

struct chunk_host {
    struct chunk_host_disk disks[CHUNK_HOST_DISKS_MAX];
    uint32_t disk_count;
    atomic_uint_least64_t lease_until_ns; /* by the loops' clock; 0: no lease */
    atomic_flag map_lock;                 /* held for a moment, to take `map` */
    struct map *map;                      /* NULL: none yet */
};

void chunk_host_init(struct chunk_host *host);

/* Add a disk whose store lives on `owner`; it begins in DISK_CATCHING_UP. STATUS_OK; STATUS_TOO_LARGE: too many disks,
 * or too long a path; STATUS_EXISTS: a disk with this uuid is here already. */
MUST_USE enum status chunk_host_add(struct chunk_host *host, struct loop *owner, struct chunk_store *store,
                                    const char *path);

/* The disk with this id in the map, or NULL when it is not here. */
struct chunk_host_disk *chunk_host_find(struct chunk_host *host, uint32_t disk_id);

/* The node's lease lasts until then; 0: it has none. Every put asks the loop's clock when it begins and when it is
 * done: a process that was stopped handles what lies in its sockets before any timer tells it that the lease has ended.
 * That clock is read once per turn of the loop, so what one turn has begun it may finish. A put refused at its end
 * stands on the disk: the writer has it condemned, like any copy of an attempt that failed. */
void chunk_host_set_lease(struct chunk_host *host, uint64_t until_ns);
bool chunk_host_lease_holds(const struct chunk_host *host, uint64_t now_ns);

/* Which disks take copies of which PGs (map_check_put()): asked when a put begins, and when it is durable. Set before
 * the leader hears that this node has the map, and before the lease that came with it; the host takes its own
 * reference. NULL: no more. Any thread. */
void chunk_host_set_map(struct chunk_host *host, struct map *map);
/* The newest map, held for the caller; NULL: none yet. */
struct map *chunk_host_map(struct chunk_host *host);

Trilith__DiskState chunk_host_disk_state(const struct chunk_host_disk *disk);
void chunk_host_disk_set_state(struct chunk_host_disk *disk, Trilith__DiskState state);

/* Is somebody putting or getting here, or was just now? Then work of the node's own should take less of the disk. */
bool chunk_host_disk_has_clients(const struct chunk_host_disk *disk, uint64_t now_ns);

/* Follow the store: fenced, full, or serving again. A disk that catches up stays so, unless it failed. */
void chunk_host_disk_follow(struct chunk_host_disk *disk, const struct chunk_store_stats *stats);

/* ---- jobs -------------------------------------------------------------------------------------- */

struct host_job {
    void (*done)(struct host_job *job); /* set by the call that starts it */
    enum status status;                 /* the outcome, valid in `done` */

    struct chunk_host_disk *disk; /* from here on private until `done` */
    struct loop *home;
    void (*work)(struct host_job *job);
    struct loop_task task;
};

/* Store a chunk: statuses of chunk_store_put(), and STATUS_UNAVAILABLE (catching up, or no lease at the beginning or
 * the end; in the latter case the copy may be there), STATUS_CONFLICT or STATUS_BUSY (map_check_put(), likewise),
 * STATUS_FENCED, STATUS_FULL. The caller fills put.header, put.payload and put.seals, and the next two. */
struct host_put {
    struct host_job job;
    struct chunk_put put;
    uint64_t map_epoch; /* of the map by which the PG was chosen */
    bool takes_over;    /* for the disk that is taking the PG over */

    struct chunk_host *host; /* private until `done` */
    enum status refusal;
};
void chunk_host_put(struct chunk_host *host, struct chunk_host_disk *disk, struct host_put *put, struct loop *home,
                    void (*done)(struct host_job *job));

/* Read units: statuses of chunk_store_get(), and STATUS_UNAVAILABLE (catching up). The caller fills get.id to
 * get.buffer_bytes. */
struct host_get {
    struct host_job job;
    struct chunk_get get;
};
void chunk_host_get(struct chunk_host_disk *disk, struct host_get *get, struct loop *home,
                    void (*done)(struct host_job *job));

/* Wipe a copy: statuses of chunk_store_erase(), in any state of the disk. The caller fills erase.id and
 * erase.technique. */
struct host_erase {
    struct host_job job;
    struct chunk_erase erase;
};
void chunk_host_erase(struct chunk_host_disk *disk, struct host_erase *erase, struct loop *home,
                      void (*done)(struct host_job *job));

/* The store is going to be closed: erases that wait there are answered, see chunk_store_close_soon(). */
void chunk_host_close_soon(struct chunk_host_disk *disk, struct host_job *job, struct loop *home,
                           void (*done)(struct host_job *job));

/* Where chunks lie: found[i] and, when true, locations[i] for each of `count` ids. */
struct host_locate {
    struct host_job job;
    const struct chunk_id *ids;
    uint32_t count;
    bool *found;
    struct chunk_location *locations;
};
void chunk_host_locate(struct chunk_host_disk *disk, struct host_locate *locate, struct loop *home,
                       void (*done)(struct host_job *job));

/* Headers of live chunks above `after` (with `from_start`: from the first), in id order; fewer than
 * CHUNK_HOST_LIST_MAX means the end. Any status but STATUS_OK says nothing about what is there. */
struct host_list {
    struct host_job job;
    bool from_start;
    struct chunk_id after;
    struct chunk_header headers[CHUNK_HOST_LIST_MAX];
    size_t count;
};
void chunk_host_list(struct chunk_host_disk *disk, struct host_list *list, struct loop *home,
                     void (*done)(struct host_job *job));

/* How the disk is. */
struct host_stats {
    struct host_job job;
    struct chunk_store_stats stats;
};
void chunk_host_stats(struct chunk_host_disk *disk, struct host_stats *stats, struct loop *home,
                      void (*done)(struct host_job *job));

#endif
