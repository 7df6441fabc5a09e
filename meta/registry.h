/* registry.h - the durable map: nodes, disks and placement groups, and how they change when a node joins.
 *
 * A node is known by its name, a disk by its uuid; both keep their number for ever. A disk may turn up at another
 * node (it was carried there) and keeps its PGs. The members of a PG stand in three failure domains, always: what
 * would break that is refused. The map's epoch counts the changes.
 *
 * With each registration a node says which key it signs with and what its disks lie on. Keys that were used before are
 * kept: what they have signed must stay verifiable. What leaves is described in moves.h: a disk that was removed keeps
 * its number and gets no PG when it turns up again; a node that was removed is left out of the map, and comes back
 * under its old number when it registers with a disk that was not removed. */
#ifndef TRILITH_META_REGISTRY_H
#define TRILITH_META_REGISTRY_H

#include "base/signature.h"
#include "meta/change.h"

#define NODE_NAME_BYTES_MAX 63
#define NODE_DISKS_MAX      64u
#define PGS_PER_DISK_MAX    4096u
#define SCATTER_WIDTH_MAX   64u
#define PG_HISTORY_MAX      64u
#define NODE_KEYS_MAX       256u
/* Of each text that says what a disk lies on. */
#define MEDIUM_TEXT_BYTES_MAX 511u

/* Take a node in, or take note of what has changed about it; add PGs when disks are short of them.
 * outcome.id: the node. STATUS_OK; STATUS_INVALID: malformed; STATUS_CONFLICT: two members of a PG would share a
 * failure domain; STATUS_FULL: over a maximum of nodes, disks, PGs, or keys of a node. */
MUST_USE enum status registry_node_join(struct change *change, const Trilith__NodeJoin *command);

/* Which PGs to add (placement.h). */
struct pgs_wanted {
    uint32_t pgs_per_disk;
    uint32_t scatter_width;
    uint32_t joining;      /* this disk gets as many as the others have; 0: none does */
    uint32_t joining_from; /* likewise all from this id on; 0: none */
    uint64_t epoch;        /* of the map that will have them */
};
/* Add PGs for disks of `map` that are short of them. The map's epoch is the caller's to count. STATUS_OK;
 * STATUS_INVALID: no such settings; STATUS_CONFLICT: a PG's members share a failure domain; STATUS_FULL: too many
 * disks. */
MUST_USE enum status registry_add_pgs(struct change *change, const Trilith__Map *map, const struct pgs_wanted *wanted);

/* Whether joining would change anything: a node that comes back as it was needs no command. STATUS_OK: it is known like
 * that, and `*node_id` is set; STATUS_NOT_FOUND: it is not. */
MUST_USE enum status registry_node_is_known(struct tables *tables, const Trilith__NodeJoin *command, uint64_t *node_id);

/* ---- reads; results stand in the scratch memory ------------------------------------------------ */

MUST_USE enum status registry_node(struct tables *tables, uint64_t node_id, Trilith__MapNode **node);
MUST_USE enum status registry_disk(struct tables *tables, uint32_t disk_id, Trilith__MapDisk **disk);
/* STATUS_NOT_FOUND: no disk has this uuid. */
MUST_USE enum status registry_disk_by_uuid(struct tables *tables, const uint8_t uuid[16], Trilith__MapDisk **disk);
/* Without nodes that were removed and their disks. */
MUST_USE enum status registry_map(struct tables *tables, uint64_t epoch, Trilith__Map **map);
/* The number of a disk's failure domain: equal for disks of one domain, UINT32_MAX when its node is not in the map. */
uint32_t registry_disk_domain(const Trilith__Map *map, const Trilith__MapDisk *disk);

/* The key that a node signs with now. STATUS_NOT_FOUND: it never told one. */
MUST_USE enum status registry_node_key(struct tables *tables, uint64_t node_id, struct public_key *key);
/* What a disk lies on, as its node told last. STATUS_NOT_FOUND: never. */
MUST_USE enum status registry_medium(struct tables *tables, uint32_t disk_id, Trilith__Medium **medium);

#endif
