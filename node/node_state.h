/* node_state.h - the little that a node remembers about itself, in the file `state` of its directory.
 *
 * A text of lines "name value": `format 1`; `cluster` and the cluster's id in hex, once it has joined one; `durable_write`
 * and 0 or 1, once the disks have been probed. Written anew as a whole: to a second file, flushed, renamed. No secrets.
 * Synchronous: at start, and once when the node joins. */
#ifndef TRILITH_NODE_NODE_STATE_H
#define TRILITH_NODE_NODE_STATE_H

#include "base/status.h"

#include "base/check.h"
#include <stdbool.h>
#include <stdint.h>

struct node_state {
    bool has_cluster;
    uint8_t cluster_id[16];
    bool has_probed;
    bool durable_write; /* one durable write is faster than write and flush */
};

/* STATUS_OK, also when there is no such file yet; STATUS_CORRUPT: it makes no sense; STATUS_IO. */
MUST_USE enum status node_state_load(const char *directory, struct node_state *state);
MUST_USE enum status node_state_save(const char *directory, const struct node_state *state);

#endif
