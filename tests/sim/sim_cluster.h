/* sim_cluster.h - the whole cluster of one run: metadata service, nodes, clients, network, in one world and one thread.
 *
 * Nobody here judges. What happens is told to the watch (checkers.h), which does.
 *
 * Determinism  A run depends on its options alone: all chance comes from the seed (also that of libsodium, see
 *              sim_chance_install()), all time from the world. Memory addresses decide nothing.
 * Memory       A process that goes down is forgotten, not freed; so is the cluster itself, when the simulator's own process
 *              ends. Whoever runs many seeds runs each in a process of its own. */
#ifndef TRILITH_TESTS_SIM_CLUSTER_H
#define TRILITH_TESTS_SIM_CLUSTER_H

#include "proto/command.pb-c.h"
#include "tests/sim/sim_client.h"
#include "tests/sim/sim_meta.h"
#include "tests/sim/sim_node.h"
#include "tests/sim/sim_operator.h"

#define SIM_TENANT_NAME "acme"

/* Who is told. Any of the functions may be NULL. None may change the cluster. */
struct sim_watch {
    /* The metadata service is about to apply (or, `replay`, applies again after a start) entry `index`; afterwards its
     * state is right behind it. */
    void (*applying)(struct sim_watch *watch, uint64_t index, const Trilith__Command *command, const void *bytes,
                     size_t size, bool replay);
    void (*applied)(struct sim_watch *watch, uint64_t index, const Trilith__Command *command, bool replay);
    /* All disks of a node have caught up after a registration. */
    void (*serving)(struct sim_watch *watch, struct sim_node *node);
    /* A process has gone (crash, kill, stop) or come to RUNNING. `node` NULL: the metadata service. */
    void (*went_down)(struct sim_watch *watch, struct sim_node *node, bool power_lost);
    void (*came_up)(struct sim_watch *watch, struct sim_node *node);
    /* A client begins an operation; and hears how it ended, or gives it up. */
    void (*operation_begins)(struct sim_watch *watch, const struct sim_operation *operation);
    void (*operation_ends)(struct sim_watch *watch, const struct sim_operation *operation);
    /* A node's disk is written (see sim_disk_observer). */
    void (*writing)(struct sim_watch *watch, struct sim_node *node, struct sim_node_disk *disk, const char *name,
                    uint64_t offset, const uint8_t *content, size_t bytes);
};

struct sim_cluster {
    struct sim_options options;
    struct sim_loop *world;
    struct sim_net *net;
    struct sim_watch *watch; /* never NULL */
    struct sim_meta meta;
    struct sim_node nodes[SIM_NODES_MAX];
    uint32_t node_count;
    struct sim_client clients[SIM_CLIENTS_MAX];
    uint32_t client_count;
    struct sim_client hand;     /* of sim_cluster_do(); its number is client_count */
    struct sim_operator keeper; /* of the tenant's keys */
    uint64_t tenant_id;
    char access_key[ACCESS_KEY_BYTES_MAX + 1]; /* of the clients: an editor of the tenant */
    char secret_key[SECRET_KEY_BYTES_MAX + 1];
    uint64_t operation_count; /* drawn so far: numbers of operations, and of values */
    uint64_t value_count;
    uint64_t key_sizes[SIM_KEYS_MAX]; /* of the last put begun, so that ranges are worth asking for */

    /* Private from here on. */
    struct list requests; /* struct sim_request, of all clients */
    struct loop_timer stop_timer;
    bool time_over;
    unsigned doomed; /* processes to be taken down after this step */
    struct sim_host *admin_machine;
    struct rpc_client *admin;
};

/* From now on everything that libsodium draws comes from `seed`. Before each seed, before sim_cluster_open(). */
void sim_chance_install(uint64_t seed);

/* Boot everything without faults, make the tenant, its credential and the buckets "bucket0".., and let the world turn until
 * all nodes serve. False: it did not come up within a minute of simulated time. sim_secrets_make() and
 * sim_chance_install() were called before. The chances of I/O faults in `options` are left to whoever plays nemesis. */
bool sim_cluster_open(struct sim_cluster *cluster, const struct sim_options *options, struct sim_watch *watch);

/* Let the clients begin to work; or end what they do and begin nothing new. */
void sim_cluster_load(struct sim_cluster *cluster, bool on);
/* Operations in flight. */
uint32_t sim_cluster_busy(const struct sim_cluster *cluster);

/* Step the world until its time is `until_ns`, or `stop` (NULL: never) is true. A process that a kill point has condemned, or a
 * metadata service that has failed, is taken down between two steps. */
void sim_cluster_run(struct sim_cluster *cluster, uint64_t until_ns, bool (*stop)(struct sim_cluster *cluster));

/* One operation, now, by the extra client that takes no part in the load, at the given node; the world turns until it has
 * ended. For the reading at the end of a run. The caller fills kind to length; client, numbers (also of the value, when it
 * is 0) and the outcome are filled here. `operation->body` stands until the next call. */
void sim_cluster_do(struct sim_cluster *cluster, struct sim_operation *operation);

/* The tenant's record as the tables have it; the caller frees it. NULL: there is none now. */
Trilith__TenantRecord *sim_cluster_tenant(const struct sim_cluster *cluster);

/* Who runs: the process whose step it is now. -1: the metadata service; -2: nobody in particular. For kill points. */
int sim_cluster_running(const struct sim_cluster *cluster);
/* Take the process that runs now down as soon as its step is over. */
void sim_cluster_condemn_running(struct sim_cluster *cluster, bool power_lost);

#endif
