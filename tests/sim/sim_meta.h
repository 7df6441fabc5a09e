/* sim_meta.h - the metadata service in the simulated cluster: state, journal, vault, KMS and service on simulated edges.
 *
 * The same parts as in meta/main.c, in the same order. What the vault stands on and the KMS are in sim_vault.h. The key file of
 * the KMS is real and made once for a whole run of the simulator (sim_secrets.h): what is tested here is not how it is kept.
 * Between the journal and the service stands a listener, so that checkers hear every command as it is applied. */
#ifndef TRILITH_TESTS_SIM_META_H
#define TRILITH_TESTS_SIM_META_H

#include "meta/journal_local.h"
#include "meta/service.h"
#include "tests/sim/sim_kv.h"
#include "tests/sim/sim_node.h"
#include "tests/sim/sim_secrets.h"
#include "tests/sim/sim_vault.h"

#define SIM_META_ADDRESS "meta:rpc"

struct sim_meta {
    struct sim_cluster *cluster;
    struct sim_disk *disk; /* of the machine: the journal */
    struct kv *tables;
    struct sim_vault vault;
    struct sim_random random;
    int32_t drift_ppm;

    enum sim_process_state state;
    enum sim_doom doom;
    enum status refusal; /* why the last start, or the service, failed; STATUS_OK: neither */
    uint64_t incarnation;
    uint64_t applied;         /* index of the last entry applied, also by replay */
    struct sim_loop *loop;    /* of the process, NULL while it is down */
    struct sim_host *machine; /* stays from the first start on */
    struct kms *kms;
    struct slot *slot;
    struct state *meta_state;
    struct meta_service *service;
    struct journal *journal;
    struct journal_user listener; /* stands before the service's own */

    struct journal_user *behind_listener; /* private from here on */
    struct loop_task next_task;
    struct loop_task stop_task;
    enum status step_status;
    uint64_t released_at_start;
};

void sim_meta_init(struct sim_meta *meta, struct sim_cluster *cluster);
/* As the functions of sim_node.h. A service that fails stops by itself, its reason in `refusal`. */
void sim_meta_start(struct sim_meta *meta);
void sim_meta_crash(struct sim_meta *meta, bool silent);
void sim_meta_kill(struct sim_meta *meta);
void sim_meta_stop(struct sim_meta *meta);

/* Between two steps: take it down, when it is doomed. */
void sim_meta_reap(struct sim_meta *meta);

#endif
