/* registry.h - the durable map: nodes, disks and placement groups, and how they change when a node joins.
 *
 * A node is known by its name, a disk by its uuid; both keep their number for ever. A disk may turn up at another
 * node (it was carried there) and keeps its PGs. The members of a PG stand in three failure domains, always: what
 * would break that is refused. The map's epoch counts the changes. */
#ifndef TRILITH_META_REGISTRY_H
#define TRILITH_META_REGISTRY_H

#include "meta/change.h"

#define NODE_NAME_BYTES_MAX 63
#define NODE_DISKS_MAX      64u
#define PGS_PER_DISK_MAX    4096u
#define SCATTER_WIDTH_MAX   64u
#define PG_HISTORY_MAX      64u

/* Take a node in, or take note of what has changed about it; add PGs when disks are short of them.
 * outcome.id: the node. STATUS_OK; STATUS_INVALID: malformed; STATUS_CONFLICT: two members of a PG would share a
 * failure domain; STATUS_FULL: over a maximum of nodes, disks or PGs. */
MUST_USE enum status registry_node_join(struct change *change, const Trilith__NodeJoin *command);

/* Whether joining would change anything: a node that comes back as it was needs no command. STATUS_OK: it is known like
 * that, and `*node_id` is set; STATUS_NOT_FOUND: it is not. */
MUST_USE enum status registry_node_is_known(struct tables *tables, const Trilith__NodeJoin *command, uint64_t *node_id);

/* ---- reads; results stand in the scratch memory ------------------------------------------------ */

MUST_USE enum status registry_node(struct tables *tables, uint64_t node_id, Trilith__MapNode **node);
MUST_USE enum status registry_disk(struct tables *tables, uint32_t disk_id, Trilith__MapDisk **disk);
/* STATUS_NOT_FOUND: no disk has this uuid. */
MUST_USE enum status registry_disk_by_uuid(struct tables *tables, const uint8_t uuid[16], Trilith__MapDisk **disk);
MUST_USE enum status registry_map(struct tables *tables, uint64_t epoch, Trilith__Map **map);

#endif
