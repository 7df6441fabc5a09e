/* lossfs.h - the state of one mounted lossfs, shared by what serves the kernel (lossfs.c), the files (node.c) and what
 * obeys the test (control.c).
 *
 * Threads  One lock for all. An operation of the kernel takes it with lossfs_enter(), which also waits while the file
 *          system is stalled; a command takes it with lossfs_lock(), so commands are obeyed while everything hangs. */
#ifndef TRILITH_TESTS_SYSTEM_LOSSFS_LOSSFS_H
#define TRILITH_TESTS_SYSTEM_LOSSFS_LOSSFS_H

#include "tests/system/lossfs/volatile_file.h"

#include <pthread.h>
#include <sys/types.h>

/* A file or directory that the kernel knows, or that has something unflushed. */
struct node {
    struct list_link link; /* in lossfs.nodes */
    int place;             /* O_PATH descriptor of it on the backing file system: survives renaming */
    dev_t device;
    ino_t inode;
    uint64_t lookups; /* references that the kernel holds */
    bool is_open;     /* `file` is there: a regular file that was opened or resized once */
    struct volatile_file file;
};

/* What goes wrong, as the test said. The counts are operations still to fail. */
struct faults {
    uint64_t fail_flush;
    uint64_t fail_write;
    uint64_t fail_read;
    bool full;  /* nothing can grow, nothing new fits */
    bool stall; /* nothing is answered */
    bool lie;   /* flushes do nothing and say that they did */
    bool harsh; /* a power loss keeps nothing that was unflushed: no luck */
};

struct counters {
    uint64_t reads;
    uint64_t writes;
    uint64_t durable_writes; /* of `writes`, those that came with O_DSYNC or O_SYNC */
    uint64_t flushes;
    uint64_t lies;
    uint64_t failed; /* operations that were made to fail */
    uint64_t stalled;
    uint64_t losses;
    struct loss loss;
};

struct lossfs {
    pthread_mutex_t lock;
    pthread_cond_t resumed;
    uint64_t chance; /* what decides about sectors; starts as the seed */
    struct faults faults;
    struct counters counters;
    struct list nodes;
    struct node *root;
};

void lossfs_lock(struct lossfs *lossfs);
void lossfs_unlock(struct lossfs *lossfs);
/* lossfs_lock(), as soon as nothing is stalled. */
void lossfs_enter(struct lossfs *lossfs);

/* The node of `place`, which it takes over: the one that is known, or a new one. One more lookup. Returns an errno. */
MUST_USE int node_lookup(struct lossfs *lossfs, int place, struct node **result);
/* The kernel gives `lookups` back. A node that nobody needs any more is freed. */
void node_forget(struct lossfs *lossfs, struct node *node, uint64_t lookups);
/* Make node->file usable. Returns an errno. */
MUST_USE int node_open(struct node *node);
/* The path of the open descriptor, for calls that take none: "/proc/self/fd/N". */
#define PLACE_BYTES 32
void node_place(const struct node *node, char path[PLACE_BYTES]);

/* The power fails, for all files. Returns an errno. */
MUST_USE int lossfs_lose(struct lossfs *lossfs);
/* Bring all that is unflushed to the disk. Returns an errno. */
MUST_USE int lossfs_flush(struct lossfs *lossfs);

/* Obey commands from standard input, answering each with a line, until its end. */
void control_run(struct lossfs *lossfs);

#endif
