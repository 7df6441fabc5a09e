/* change.h - one command while it is being applied: what the parts of the state machine read, write and answer.
 *
 * The parts (catalog, leaves, erasure, tenants, registry) are functions from tables and a command to writes in
 * tables->batch, changed counters and an outcome. When one refuses, the state drops writes and counters, so a
 * part may refuse at any point. Reads do not see the running command's writes: each part reads a row once. */
#ifndef TRILITH_META_CHANGE_H
#define TRILITH_META_CHANGE_H

#include "meta/tables.h"

/* Some leaves of one page of the vault. */
struct leaf_range {
    uint32_t page;
    uint32_t first_slot;
    uint32_t count;
};

/* What applying a command has brought about, for the reply and for the world outside the tables. */
struct outcome {
    enum status status;
    uint64_t id;          /* the node, bucket or tenant */
    uint64_t erasure_id;  /* 0: none was opened */
    uint64_t modified_ms; /* of the committed version */
    struct leaf_range leased;
    struct leaf_range punctured; /* count 0: none. The vault must be told. */
};

struct change {
    struct tables *tables;
    Trilith__ClusterRecord *cluster; /* counters; kept when the command is not refused */
    uint64_t time_ms;
    struct outcome outcome;
};

#endif
