/* membership.c - a table of who was heard when. */
#include "meta/membership.h"

#include <stdlib.h>

void membership_init(struct membership *membership, uint64_t lease_ns, uint64_t now_ns)
{
    CHECK(lease_ns > 0);
    memset(membership, 0, sizeof(*membership));
    membership->lease_ns = lease_ns;
    membership->began_ns = now_ns;
}

void membership_deinit(struct membership *membership)
{
    for (size_t i = 0; i < MEMBERSHIP_NODES_MAX; i++) {
        free(membership->members[i].disks);
    }
    memset(membership, 0, sizeof(*membership));
}

const struct member *membership_member(const struct membership *membership, uint64_t node_id)
{
    for (size_t i = 0; i < MEMBERSHIP_NODES_MAX && membership->members[i].node_id != 0; i++) {
        if (membership->members[i].node_id == node_id) {
            return &membership->members[i];
        }
    }
    return NULL;
}

/* The entry of `node_id`, taken when it is new; NULL: no room. Entries are never given back: nodes are for ever. */
static struct member *member_take(struct membership *membership, uint64_t node_id)
{
    for (size_t i = 0; i < MEMBERSHIP_NODES_MAX; i++) {
        struct member *member = &membership->members[i];
        if (member->node_id == node_id) {
            return member;
        }
        if (member->node_id == 0) {
            member->disks = calloc(MEMBERSHIP_NODE_DISKS_MAX, sizeof(member->disks[0]));
            member->node_id = member->disks != NULL ? node_id : 0;
            return member->disks != NULL ? member : NULL;
        }
    }
    return NULL;
}

static void belief_set(struct disk_belief *belief, uint32_t disk_id, const Trilith__DiskReport *report)
{
    memset(belief, 0, sizeof(*belief));
    belief->disk_id = disk_id;
    memcpy(belief->uuid, report->uuid.data, sizeof(belief->uuid));
    size_t path_bytes = strnlen(report->path, sizeof(belief->path) - 1);
    memcpy(belief->path, report->path, path_bytes);
    belief->capacity = report->capacity;
    belief->used = report->used;
    belief->free = report->free;
    belief->chunks = report->chunks;
    belief->corrupt_found = report->corrupt_found;
    belief->wiped = report->wiped;
    belief->state = report->state;
}

enum status membership_hear(struct membership *membership, uint64_t node_id, uint64_t now_ns,
                            Trilith__DiskReport *const *reports, const uint32_t *disk_ids, size_t count)
{
    CHECK(node_id != 0);
    struct member *member = count <= MEMBERSHIP_NODE_DISKS_MAX ? member_take(membership, node_id) : NULL;
    if (member == NULL) {
        return STATUS_FULL;
    }
    for (size_t i = 0; i < count; i++) {
        CHECK(reports[i]->uuid.len == sizeof(member->disks[i].uuid));
        belief_set(&member->disks[i], disk_ids[i], reports[i]);
    }
    member->disk_count = (uint32_t)count;
    member->heard_ns = now_ns;
    member->heard = true;
    return STATUS_OK;
}

uint64_t membership_silence_ns(const struct membership *membership, uint64_t node_id, uint64_t now_ns)
{
    const struct member *member = membership_member(membership, node_id);
    uint64_t since = member != NULL && member->heard ? member->heard_ns : membership->began_ns;
    return now_ns > since ? now_ns - since : 0;
}

void membership_set_map_epoch(struct membership *membership, uint64_t node_id, uint64_t map_epoch)
{
    for (size_t i = 0; i < MEMBERSHIP_NODES_MAX && membership->members[i].node_id != 0; i++) {
        if (membership->members[i].node_id == node_id) {
            membership->members[i].map_epoch = map_epoch;
        }
    }
}

bool membership_node_has_map(const struct membership *membership, uint64_t node_id, uint64_t map_epoch, uint64_t now_ns)
{
    const struct member *member = membership_member(membership, node_id);
    return (member != NULL && member->heard && member->map_epoch >= map_epoch) ||
           membership_node_state(membership, node_id, now_ns) == NODE_DOWN;
}

void membership_set_keys_since(struct membership *membership, uint64_t node_id, uint64_t index)
{
    for (size_t i = 0; i < MEMBERSHIP_NODES_MAX && membership->members[i].node_id != 0; i++) {
        struct member *member = &membership->members[i];
        if (member->node_id == node_id && (index == 0 || index > member->keys_since)) {
            member->keys_since = index;
        }
    }
}

uint64_t membership_keys_since(const struct membership *membership, uint64_t node_id)
{
    const struct member *member = membership_member(membership, node_id);
    return member != NULL ? member->keys_since : 0;
}

enum node_state membership_node_state(const struct membership *membership, uint64_t node_id, uint64_t now_ns)
{
    const struct member *member = membership_member(membership, node_id);
    uint64_t silence_ns = membership_silence_ns(membership, node_id, now_ns);
    if (silence_ns > 2 * membership->lease_ns) {
        return NODE_DOWN;
    }
    if (member == NULL || !member->heard || silence_ns > membership->lease_ns) {
        return NODE_SUSPECT;
    }
    return NODE_UP;
}

const char *node_state_name(enum node_state state)
{
    switch (state) {
    case NODE_UP:
        return "up";
    case NODE_SUSPECT:
        return "suspect";
    case NODE_DOWN:
        return "down";
    }
    UNREACHABLE();
}

const struct disk_belief *membership_disk(const struct membership *membership, uint64_t node_id, uint32_t disk_id)
{
    const struct member *member = membership_member(membership, node_id);
    for (uint32_t i = 0; member != NULL && i < member->disk_count; i++) {
        if (member->disks[i].disk_id == disk_id) {
            return &member->disks[i];
        }
    }
    return NULL;
}

bool membership_disk_is_up(const struct membership *membership, uint64_t node_id, uint32_t disk_id, uint64_t now_ns)
{
    const struct disk_belief *belief = membership_disk(membership, node_id, disk_id);
    return belief != NULL && membership_node_state(membership, node_id, now_ns) == NODE_UP &&
           (belief->state == TRILITH__DISK_STATE__DISK_SERVING || belief->state == TRILITH__DISK_STATE__DISK_FULL);
}
