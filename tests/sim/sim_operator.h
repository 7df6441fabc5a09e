/* sim_operator.h - who works on the tenant's keys, on the vault and on the disks while the cluster runs: admin calls that take their time, fail
 * and are asked again.
 *
 * Rotations and closes of an epoch are asked for once each: what comes of them the commands say. Revoking is a wish: as long as
 * the tables say otherwise, and nobody has said that it is done, the operator asks again. That a disk be drained is asked
 * for once, and a refusal taken;  that it stay, until somebody says that it does.
 * Deletions that can be taken back, and what is held, are looked up in the tables, where an operator has lists. A hold is asked for
 * once; lifting is a wish: as long as anything is held. */
#ifndef TRILITH_TESTS_SIM_OPERATOR_H
#define TRILITH_TESTS_SIM_OPERATOR_H

#include "base/loop.h"
#include "proto/rpc.h"

#define SIM_OPERATOR_CALLS 8u

struct sim_cluster;

struct sim_operator_call {
    struct rpc_call call;
    struct sim_operator *operator;
    bool busy;
    bool revokes; /* KEY_SET_STATE */
    bool drains;  /* DISK_DRAIN */
};

struct sim_operator {
    struct sim_cluster *cluster;
    struct rpc_client *client;
    struct sim_operator_call calls[SIM_OPERATOR_CALLS];
    struct loop_timer timer;
    bool wants_revoked;
    uint64_t wished_ns;          /* since when */
    bool acknowledged;           /* what is wanted was acknowledged */
    uint64_t revoked_ns;         /* when the last revocation was acknowledged, for the first time */
    uint64_t closes_answered;    /* of epochs, with STATUS_OK, */
    uint64_t epoch_answered;     /* the last of them */
    uint64_t rotations_answered; /* with STATUS_OK */
    struct loop_timer drain_timer;
    uint32_t drained_disk;    /* that was to be drained last; 0: none was */
    bool wants_to_stay;       /* that disk is to stay */
    uint64_t drains_answered; /* with STATUS_OK */
    struct loop_timer hold_timer;
    bool wants_no_holds;
    struct loop_timer undo_timer;
    uint64_t undo_until_ns;
    uint64_t undo_chance;
};

/* `client` stays open as long as the world turns. */
void sim_operator_init(struct sim_operator *operator, struct sim_cluster * cluster, struct rpc_client *client);
/* Each false: too much is asked already. */
bool sim_operator_rotate(struct sim_operator *operator, bool cmk);
bool sim_operator_close_epoch(struct sim_operator *operator);
void sim_operator_revoke(struct sim_operator *operator, bool revoked);
/* One disk at a time: false while another is drained. */
bool sim_operator_drain(struct sim_operator *operator, uint32_t disk_id);
void sim_operator_keep(struct sim_operator *operator);
/* Take back one of the deletions that can be: as soon as there is one, within `patience_ns`; which, `chance` says. False: no
 * bucket has a time of grace. */
bool sim_operator_undo(struct sim_operator *operator, uint64_t chance, uint64_t patience_ns);
/* Put a legal hold on a key's latest version or on a version in its time of grace; and lift all that stand. */
bool sim_operator_hold(struct sim_operator *operator, uint64_t chance);
void sim_operator_let_go(struct sim_operator *operator);
/* Nothing is asked, the tenant is enabled, no disk drains, nothing is held. */
bool sim_operator_is_idle(struct sim_operator *operator);

#endif
