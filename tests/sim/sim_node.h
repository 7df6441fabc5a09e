/* sim_node.h - one storage node in the simulated cluster: the product's parts, put together on simulated edges.
 *
 * The third composition root beside node/main.c and node/reactor.c: one reactor, the same parts in the same order
 * (stores, chunk_host, gateway, resealer, chunk_service, rpc_server, agent, and the S3 service of node/s3 without HTTP). What
 * belongs to the machine and outlives the process (disks, index tables, the node's state file) is kept apart from what
 * belongs to the process.
 *
 *   DOWN ──sim_node_start──> STARTING ──stores open, service up──> RUNNING ──sim_node_stop──> STOPPING ──> DOWN
 *    ^                          │   └── refused (its reason in `refusal`) ──> DOWN                            ^
 *    └─────────────── sim_node_crash, sim_node_kill: at any time, at once ────────────────────────────────────┘
 *
 * A crashed process is forgotten, not freed: nothing of it runs again, and its memory stays as it was until the
 * simulator's own process ends (but for its slabs' pages and its ciphers, which would be too much).
 * Crash and kill are called between two steps of the world, or from a timer of the world's own loop; from within the
 * process itself sim_cluster_condemn_running() does it. */
#ifndef TRILITH_TESTS_SIM_NODE_H
#define TRILITH_TESTS_SIM_NODE_H

#include "node/agent.h"
#include "node/chunk_service.h"
#include "node/gateway_parts.h"
#include "node/key_horizon.h"
#include "node/node_state.h"
#include "node/resealer.h"
#include "node/s3/exchange.h"
#include "tests/sim/sim_kv.h"
#include "tests/sim/sim_options.h"
#include "tests/sim/sim_random.h"

struct sim_cluster;

enum sim_process_state { SIM_DOWN, SIM_STARTING, SIM_RUNNING, SIM_STOPPING };

/* How a process is to be taken down as soon as the step that runs now is over. */
enum sim_doom { SIM_NOT_DOOMED, SIM_DOOM_STOPPED, SIM_DOOM_KILLED, SIM_DOOM_POWER_LOST };

struct sim_node_disk {
    struct sim_disk *disk; /* of the machine */
    struct kv *index;
    bool rebuild_index;        /* at the next start: the table was lost */
    struct chunk_store *store; /* of the process, NULL while it is down */
    char path[32];             /* "node3/disk1" */
    enum status status;
    bool answered;
    bool closed;
    struct sim_node *node;
    struct sim_disk_observer observer;
};

struct sim_node {
    struct sim_cluster *cluster;
    uint32_t number; /* from 0 */
    char name[16];   /* "node1" is number 0 */
    char domain[16];
    struct sim_random random;
    struct sim_node_disk disks[SIM_NODE_DISKS_MAX];
    uint32_t disk_count;
    struct node_state saved; /* the state file */
    struct key *seed;        /* the key file; in a pool of its own, which the end of the process gives back */
    int32_t drift_ppm;       /* of its clocks, also after a restart */

    enum sim_process_state state;
    enum sim_doom doom;
    enum status refusal;      /* why the last start ended in DOWN; STATUS_OK: it did not */
    uint32_t refused_disk;    /* which disk said so */
    bool serving;             /* the agent has said so since the start */
    uint64_t incarnation;     /* counts starts */
    struct sim_host *machine; /* stays from the first start on */
    struct sim_loop *loop;    /* from here on of the process, NULL while it is down */
    struct key_horizon horizon;
    struct chunk_host *host;
    struct slab_pool *gateway_slabs;
    struct slab_pool *replica_slabs;
    struct gateway *gateway;
    struct resealer *resealer;
    struct chunk_service *chunks;
    struct rpc_server *rpc;
    struct agent *agent;
    struct s3_service s3;
    uint64_t node_id; /* in the map; 0 until known */

    char rpc_address[24]; /* private from here on */
    char s3_address[24];
    struct loop_task next_task;
    struct loop_task stop_task;
    struct loop_timer stop_timer;
    struct loop_task map_task;
    bool map_posted;
    struct map *given_map; /* not taken yet */
    uint64_t given_node;
    struct loop_task refresh_task;
    bool refresh_posted;
};

void sim_node_init(struct sim_node *node, struct sim_cluster *cluster, uint32_t number);
void sim_node_start(struct sim_node *node);
/* Power loss of the whole machine: disks and tables crash too, also when no process runs. `silent`: peers hear nothing. */
void sim_node_crash(struct sim_node *node, bool silent);
/* SIGKILL: what the kernel has of written data stays. */
void sim_node_kill(struct sim_node *node);
/* An orderly stop, as SIGTERM; ends in DOWN after a while, when nothing hangs. Nothing when it is not RUNNING. */
void sim_node_stop(struct sim_node *node);

/* Between two steps: take it down, when it is doomed. */
void sim_node_reap(struct sim_node *node);

#endif
