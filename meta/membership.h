/* membership.h - which nodes are alive, as the leader sees it: leases renewed by heartbeats. Pure.
 *
 *   up        heard within the lease
 *   suspect   not heard for longer than that: nothing new is placed there
 *   down      not heard for two leases
 *
 * Beliefs, not facts: never journaled, lost with the leader and built anew from the heartbeats that come in. A node
 * that is known but was not heard since this leader began is suspect at first. Time is the leader's monotonic clock. */
#ifndef TRILITH_META_MEMBERSHIP_H
#define TRILITH_META_MEMBERSHIP_H

#include "base/ids.h"
#include "base/status.h"
#include "proto/wire.pb-c.h"

#define MEMBERSHIP_NODES_MAX      1024u
#define MEMBERSHIP_NODE_DISKS_MAX 64u

enum node_state { NODE_UP, NODE_SUSPECT, NODE_DOWN };

/* What a node last said about one of its disks. */
struct disk_belief {
    uint32_t disk_id;
    uint8_t uuid[16];
    char path[128]; /* cut when longer */
    uint64_t capacity;
    uint64_t used;
    uint64_t free;
    uint64_t chunks;
    uint64_t corrupt_found;
    uint64_t wiped;
    Trilith__DiskState state;
};

struct member {
    uint64_t node_id; /* 0: free entry */
    uint64_t heard_ns;
    bool heard;
    uint64_t map_epoch;  /* of the map that it has, by its last heartbeat; 0: it has not said since it registered */
    uint64_t keys_since; /* membership_keys_since() */
    uint32_t disk_count;
    struct disk_belief *disks; /* MEMBERSHIP_NODE_DISKS_MAX */
};

struct membership {
    uint64_t lease_ns;
    uint64_t began_ns;
    struct member members[MEMBERSHIP_NODES_MAX];
};

void membership_init(struct membership *membership, uint64_t lease_ns, uint64_t now_ns);
void membership_deinit(struct membership *membership);

/* A heartbeat or a registration: `disk_ids[i]` is the id of `reports[i]`. STATUS_OK; STATUS_FULL: too many nodes or
 * disks, or no memory. */
MUST_USE enum status membership_hear(struct membership *membership, uint64_t node_id, uint64_t now_ns,
                                     Trilith__DiskReport *const *reports, const uint32_t *disk_ids, size_t count);

/* The node said, in the heartbeat that was just heard, that it has the map of this epoch. 0: it has just registered. */
void membership_set_map_epoch(struct membership *membership, uint64_t node_id, uint64_t map_epoch);
/* Whether the node can't acknowledge a put any more by an older map than that of `map_epoch`: it has that map, or its
 * lease has ended long ago (and with a new one it gets a newer map). */
bool membership_node_has_map(const struct membership *membership, uint64_t node_id, uint64_t map_epoch,
                             uint64_t now_ns);

/* The node says that no object key in its memory came with the journal before `index`. Such a thing, once true of a
 * process, stays true, so the newest one counts, in whatever order they arrive. 0: it has just registered, and may be
 * another process. */
void membership_set_keys_since(struct membership *membership, uint64_t node_id, uint64_t index);
/* What the node last said, 0: nothing since it registered, or since this leader began. */
uint64_t membership_keys_since(const struct membership *membership, uint64_t node_id);

enum node_state membership_node_state(const struct membership *membership, uint64_t node_id, uint64_t now_ns);
/* "up", "suspect", "down". */
const char *node_state_name(enum node_state state);
/* Nanoseconds since the node was heard (since the leader began, when it never was). */
uint64_t membership_silence_ns(const struct membership *membership, uint64_t node_id, uint64_t now_ns);
/* The node, or NULL when it was not heard yet. */
const struct member *membership_member(const struct membership *membership, uint64_t node_id);
/* What `node_id` said about `disk_id`, or NULL. */
const struct disk_belief *membership_disk(const struct membership *membership, uint64_t node_id, uint32_t disk_id);
/* Whether the disk can be read from: its node is up and said that it serves, or is full. */
bool membership_disk_is_up(const struct membership *membership, uint64_t node_id, uint32_t disk_id, uint64_t now_ns);

#endif
