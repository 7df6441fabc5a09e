/* sim_operator.c - see sim_operator.h. */
#include "tests/sim/sim_operator.h"

#include "tests/sim/sim_cluster.h"

#define CALL_NS  (5 * NS_PER_S)
#define AGAIN_NS (500 * NS_PER_MS)

static struct loop *loop_of(const struct sim_operator *operator)
{
    return sim_loop_interface(operator->cluster->world);
}

static bool tables_say_revoked(const struct sim_operator *operator)
{
    Trilith__TenantRecord *record = sim_cluster_tenant(operator->cluster);
    bool revoked = record != NULL && record->revoked;
    if (record != NULL) {
        trilith__tenant_record__free_unpacked(record, NULL);
    }
    return revoked;
}

static void answered(struct rpc_call *call)
{
    struct sim_operator_call *asked = CONTAINER_OF(call, struct sim_operator_call, call);
    struct sim_operator *operator= asked->operator;
    asked->busy = false;
    if (call->status != STATUS_OK) {
        return;
    }
    if (call->type == TRILITH__MESSAGE_TYPE__KEY_SET_STATE && asked->revokes == operator->wants_revoked) {
        operator->acknowledged = true;
        if (asked->revokes && operator->revoked_ns <= operator->wished_ns) {
            operator->revoked_ns = sim_loop_world_ns(operator->cluster->world);
        }
    } else if (call->type == TRILITH__MESSAGE_TYPE__KEY_ROTATE) {
        operator->rotations_answered++;
    } else if (call->type == TRILITH__MESSAGE_TYPE__EPOCH_CLOSE) {
        operator->closes_answered++;
        operator->epoch_answered =((const Trilith__EpochCloseReply *)(const void *)call->reply)->epoch;
    }
}

static struct sim_operator_call *ask(struct sim_operator *operator, uint16_t type, const ProtobufCMessage *request)
{
    for (uint32_t i = 0; i < SIM_OPERATOR_CALLS; i++) {
        struct sim_operator_call *asked = &operator->calls[i];
        if (!asked->busy) {
            *asked = (struct sim_operator_call){
                .call = {.type = type, .done = answered, .deadline_ns = loop_now_ns(loop_of(operator)) + CALL_NS},
                .operator= operator,
                .busy = true };
            rpc_call_start(operator->client, &asked->call, request);
            return asked;
        }
    }
    return NULL;
}

bool sim_operator_rotate(struct sim_operator *operator, bool cmk)
{
    char tenant[] = SIM_TENANT_NAME;
    Trilith__KeyRotateRequest request;
    trilith__key_rotate_request__init(&request);
    request.tenant = tenant;
    request.cmk = cmk;
    return ask(operator, TRILITH__MESSAGE_TYPE__KEY_ROTATE, &request.base) != NULL;
}

bool sim_operator_close_epoch(struct sim_operator *operator)
{
    return ask(operator, TRILITH__MESSAGE_TYPE__EPOCH_CLOSE, NULL) != NULL;
}

static bool is_setting_state(const struct sim_operator *operator)
{
    for (uint32_t i = 0; i < SIM_OPERATOR_CALLS; i++) {
        if (operator->calls[i].busy && operator->calls[i].call.type == TRILITH__MESSAGE_TYPE__KEY_SET_STATE) {
            return true;
        }
    }
    return false;
}

static bool is_as_wanted(struct sim_operator *operator)
{
    return operator->acknowledged && tables_say_revoked(operator) == operator->wants_revoked;
}

static void looks(struct loop_timer *timer)
{
    struct sim_operator *operator= CONTAINER_OF(timer, struct sim_operator, timer);
    if (is_as_wanted(operator)) {
        return;
    }
    if (!is_setting_state(operator)) {
        char tenant[] = SIM_TENANT_NAME;
        Trilith__KeySetStateRequest request;
        trilith__key_set_state_request__init(&request);
        request.tenant = tenant;
        request.revoked = operator->wants_revoked;
        operator->acknowledged = false;
        struct sim_operator_call *asked = ask(operator, TRILITH__MESSAGE_TYPE__KEY_SET_STATE, &request.base);
        if (asked != NULL) {
            asked->revokes = operator->wants_revoked;
        }
    }
    loop_timer_start(loop_of(operator), timer, loop_now_ns(loop_of(operator)) + AGAIN_NS);
}

void sim_operator_revoke(struct sim_operator *operator, bool revoked)
{
    operator->wants_revoked = revoked;
    operator->wished_ns = sim_loop_world_ns(operator->cluster->world);
    operator->acknowledged = false;
    loop_timer_start(loop_of(operator), &operator->timer, loop_now_ns(loop_of(operator)));
}

bool sim_operator_is_idle(struct sim_operator *operator)
{
    for (uint32_t i = 0; i < SIM_OPERATOR_CALLS; i++) {
        if (operator->calls[i].busy) {
            return false;
        }
    }
    if (!operator->wants_revoked && !loop_timer_is_armed(&operator->timer) && tables_say_revoked(operator)) {
        sim_operator_revoke(operator, false); /* A request that had been given up has arrived after all. */
    }
    return !operator->wants_revoked && is_as_wanted(operator);
}

void sim_operator_init(struct sim_operator *operator, struct sim_cluster * cluster, struct rpc_client *client)
{
    *operator=(struct sim_operator){.cluster = cluster, .client = client, .acknowledged = true};
    operator->timer.fire = looks;
}
