/* change.h - one command while it is being applied: what the parts of the state machine read, write and answer.
 *
 * The parts (catalog, epochs, erasure, leaves, registry, tenants) are functions from tables and a command to writes in
 * tables->batch, changed counters and an outcome. When one refuses, the state drops writes and counters, so a
 * part may refuse at any point. Reads do not see the running command's writes: each part reads a row once. */
#ifndef TRILITH_META_CHANGE_H
#define TRILITH_META_CHANGE_H

#include "meta/tables.h"
#include "meta/vault/ggm.h"

/* Some leaves of one page of the vault. */
struct leaf_range {
    uint32_t page;
    uint32_t first_slot;
    uint32_t count;
};

/* Leaves of one page that were punctured by a command. */
struct page_puncture {
    uint32_t page;
    struct ggm_bitmap leaves;
};

/* What applying a command has brought about, for the reply and for the world outside the tables. */
struct outcome {
    enum status status;
    uint64_t id;          /* the node, bucket or tenant */
    uint64_t erasure_id;  /* 0: none was opened */
    uint64_t modified_ms; /* of the committed version */
    struct leaf_range leased;
    struct page_puncture *punctured; /* the vault must be told; in the scratch, like the command */
    size_t punctured_count;
    const Trilith__Command *command; /* that was applied; until the tables are next used */
};

struct change {
    struct tables *tables;
    Trilith__ClusterRecord *cluster; /* counters; kept when the command is not refused */
    uint64_t time_ms;
    uint64_t index; /* of the command in the journal */
    struct outcome outcome;
    struct taken_wipe *taken; /* wipes that change hands (erasure.h), in the scratch, newest first */
    size_t taken_count;
};

#endif
