/* sim_operator.h - who works on the tenant's keys and on the vault while the cluster runs: admin calls that take their time, fail
 * and are asked again.
 *
 * Rotations and closes of an epoch are asked for once each: what comes of them the commands say. Revoking is a wish: as long as
 * the tables say otherwise, and nobody has said that it is done, the operator asks again. */
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
};

/* `client` stays open as long as the world turns. */
void sim_operator_init(struct sim_operator *operator, struct sim_cluster * cluster, struct rpc_client *client);
/* Each false: too much is asked already. */
bool sim_operator_rotate(struct sim_operator *operator, bool cmk);
bool sim_operator_close_epoch(struct sim_operator *operator);
void sim_operator_revoke(struct sim_operator *operator, bool revoked);
/* Nothing is asked, and the tenant is enabled. */
bool sim_operator_is_idle(struct sim_operator *operator);

#endif
