/* checkers.h - the promises of the cluster, each a named function that looks for its violation all the time.
 *
 * The names are those of the reliability model: I durability and integrity, E erasure, P placement and accounting, M the
 * metadata service, V the vault and the keys of tenants, C certificates, L liveness, R resources. Each checker says in words what is promised and when it looks; to add one,
 * write the function and a line in the table of checkers.c. What they know comes from three sources: the watch
 * (sim_cluster.h) tells what happened; the model (model.h) says what must therefore be true; the simulated disks and
 * tables show what is.
 *
 * A violation ends the run: sim_violated() prints the promise and what was seen, and the process exits with
 * SIM_EXIT_VIOLATED. */
#ifndef TRILITH_TESTS_SIM_CHECKERS_H
#define TRILITH_TESTS_SIM_CHECKERS_H

#include "tests/sim/model.h"
#include "tests/sim/reading.h"
#include "tests/sim/sim_cluster.h"

#include "base/merkle.h"
#include "base/signature.h"

#define SIM_EXIT_VIOLATED 3

/* When a checker looks. Any set of them. */
enum checker_moment {
    AT_APPLIED = 1 << 0,   /* the metadata service has applied a command; `check->command` */
    AT_SERVING = 1 << 1,   /* a node serves; `check->node` */
    AT_OPERATION = 1 << 2, /* a client's operation has ended; `check->operation` */
    AT_WRITE = 1 << 3,     /* a disk is about to be written; `check->write_*`, `check->writing` */
    AT_SECOND = 1 << 4,    /* every simulated second */
    AT_SETTLED = 1 << 5,   /* faults have ended, everything has come to rest */
    AT_UP = 1 << 6,        /* a process runs; `check->node` or NULL */
    AT_APPLYING = 1 << 7,  /* the metadata service is about to apply a command; `check->command`, `check->entry` */
    AT_READ = 1 << 8,      /* a store has answered a read; `check->get`, `check->disk` */
    AT_STORED = 1 << 9,    /* a node has stored a copy and is about to say so; `check->node` */
};

struct checkers;
struct leaf_book;

/* What is looked at now. */
struct check {
    struct checkers *checkers;
    struct sim_cluster *cluster;
    struct model *model;
    enum checker_moment moment;
    size_t number; /* of the checker */
    uint64_t now_ns;
    const Trilith__Command *command;
    const struct model_change *change; /* AT_APPLIED for the first time: what came of it; else NULL */
    uint64_t index;                    /* of the command */
    const uint8_t *entry;              /* its bytes */
    size_t entry_bytes;
    struct sim_node *node;
    const struct sim_operation *operation;
    const struct reading *reading; /* of a read: what the model says of it */
    struct sim_node_disk *disk;
    const char *write_name;
    uint64_t write_offset;
    const uint8_t *write_content;
    const struct model_writing *writing; /* what it is */
    const struct chunk_get *get;         /* with its outcome */
};

struct checker {
    const char *name;    /* "I1" */
    const char *promise; /* one sentence */
    unsigned moments;
    void (*look)(const struct check *check);
};

#define CHECKERS_MAX 48u

/* A command as it was applied first, and a hash over all tables behind it; 0: not taken. */
struct checked_entry {
    uint64_t bytes_hash;
    uint64_t tables_hash;
};

/* What is remembered of a node between two looks. */
struct checked_node {
    uint64_t incarnation; /* that was looked at last */
    uint64_t up_ns;       /* when its process came to run */
    uint64_t paused_ns;   /* when it was last seen to stand still */
    int64_t wall_ms;      /* its wall clock less the world's time */
    bool has_wall;
    bool wall_jumped; /* ever */
    uint32_t streams; /* open when it had come to rest */
    uint64_t streams_incarnation;
};

/* What is remembered of a disk between two looks. */
struct checked_disk {
    uint64_t incarnation;
    uint64_t failures;               /* of writes and flushes, up to the last look */
    uint64_t failures_before;        /* up to the one before */
    uint64_t fenced_ns;              /* when the store of this process was first seen fenced; 0: never */
    uint64_t fenced_lsn;             /* of its next batch then */
    uint64_t write_incarnation;      /* of the process whose writes are looked at */
    uint64_t failures_before_writes; /* of writes and flushes, before the first write of this process */
    bool must_not_write;             /* one has failed since, */
    uint64_t next_lsn;               /* and this was the next batch when that was seen */
};

/* A leaf of the vault. */
struct checked_leaf {
    uint32_t page;
    uint32_t slot;
};

#define CHECKED_SIGNING_KEYS 8u

/* The evidence that commands have brought. */
struct checked_evidence {
    struct public_key keys[CHECKED_SIGNING_KEYS]; /* that were announced, oldest first */
    uint32_t key_count;
    uint64_t certificates;
    bool *certified; /* by id: erasures that have one */
    size_t certified_end;
    struct merkle_edge ledger;
};

#define CHECKED_LEAVES_KEPT 8u /* of those that were alive, and of those that are gone */

struct checkers {
    struct sim_watch watch;
    struct sim_cluster *cluster;
    struct model model;
    struct loop_timer second;     /* on the world's own loop */
    uint64_t looks[CHECKERS_MAX]; /* how often each has looked at something that could have been wrong */
    uint64_t operations[SIM_OPERATION_KINDS][SIM_UNKNOWN + 1];

    uint64_t seconds;
    uint32_t settled; /* how often */
    struct checked_node nodes[SIM_NODES_MAX];
    struct checked_disk disks[MODEL_DISKS_MAX];
    struct checked_entry *entries; /* by index of the command */
    size_t entry_capacity;
    uint64_t last_index;      /* told last by the metadata service that runs */
    uint64_t last_index_ever; /* the highest one ever told */
    uint64_t most_index;      /* the highest one ever applied */
    uint64_t meta_incarnation;
    bool has_leaf_before; /* of the object that a command is about to replace or delete */
    struct checked_leaf leaf_before;
    struct key leaves[CHECKED_LEAVES_KEPT];    /* secrets of some leaves, the latest ones, to be looked for at rest */
    uint64_t leaf_count;                       /* kept ever */
    struct key page_keys[CHECKED_LEAVES_KEPT]; /* likewise, out of page tables */
    uint64_t page_key_count;
    struct leaf_book *book;   /* of all leaves */
    uint64_t epochs_erased;   /* epochs whose end was looked at */
    uint64_t enabled_ns;      /* when the tenant's keys were enabled last */
    uint32_t nodes_left_down; /* at rest: a disk of theirs was damaged past what a start can mend */
    bool *closed;             /* by id: erasures known to be closed */
    struct checked_evidence evidence;
    uint64_t closed_end;
};

/* Before sim_cluster_open(), which gets `checkers->watch`. */
void checkers_init(struct checkers *checkers, struct sim_cluster *cluster);
/* The cluster is open: begin to look every second. */
void checkers_start(struct checkers *checkers);
/* Everything has come to rest: look a last time, at everything. */
void checkers_settled(struct checkers *checkers);
/* A store answers a read; whoever asked hears of it next. */
void checkers_read(const struct chunk_get *get, enum status status);
/* A node's job to store a chunk has ended; whoever asked hears of it next. */
void checkers_stored(const struct chunk_host *host, enum status status);
/* Promise L2, for a run with one slow or stuck disk or node and no other fault: what reads took then, and what they may
 * take at most. */
void checkers_latencies(struct checkers *checkers, const uint64_t *latencies_ns, size_t count, uint64_t bound_ns);

size_t checkers_count(void);
const struct checker *checkers_at(size_t number);

/* The checker that looks now has really judged something. */
void check_counts(const struct check *check);

/* Say which promise is broken and how, and exit. */
_Noreturn __attribute__((format(printf, 2, 3))) void sim_violated(const char *promise, const char *format, ...);

#endif
