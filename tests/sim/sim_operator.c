/* sim_operator.c - see sim_operator.h. */
#include "tests/sim/sim_operator.h"

#include "meta/catalog_row.h"
#include "meta/tables.h"
#include "tests/sim/sim_cluster.h"
#include "tests/sim/sim_kv.h"

#define CALL_NS  (5 * NS_PER_S)
#define AGAIN_NS (500 * NS_PER_MS)
#define LOOK_NS  (100 * NS_PER_MS)

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
    if (call->type == TRILITH__MESSAGE_TYPE__DISK_DRAIN &&
        !asked->drains &&
        operator->wants_to_stay &&(call->status == STATUS_OK || call->status == STATUS_NOT_FOUND ||
                                   call->status == STATUS_GONE)) {
        operator->drained_disk = 0;
        operator->wants_to_stay = false;
    }
    if (call->status != STATUS_OK) {
        return;
    }
    operator->drains_answered += call->type == TRILITH__MESSAGE_TYPE__DISK_DRAIN && asked->drains ? 1 : 0;
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

/* ---- disks ------------------------------------------------------------------------------------------ */

static struct sim_operator_call *ask_drain(struct sim_operator *operator, bool on)
{
    Trilith__DiskDrainRequest request;
    trilith__disk_drain_request__init(&request);
    request.disk_id = operator->drained_disk;
    request.on = on;
    struct sim_operator_call *asked = ask(operator, TRILITH__MESSAGE_TYPE__DISK_DRAIN, &request.base);
    if (asked != NULL) {
        asked->drains = on;
    }
    return asked;
}

bool sim_operator_drain(struct sim_operator *operator, uint32_t disk_id)
{
    if (operator->drained_disk != 0 || disk_id == 0) {
        return false;
    }
    operator->drained_disk = disk_id;
    if (ask_drain(operator, true) == NULL) {
        operator->drained_disk = 0;
    }
    return operator->drained_disk != 0;
}

static bool is_asking_to_drain(const struct sim_operator *operator)
{
    for (uint32_t i = 0; i < SIM_OPERATOR_CALLS; i++) {
        if (operator->calls[i].busy && operator->calls[i].call.type == TRILITH__MESSAGE_TYPE__DISK_DRAIN) {
            return true;
        }
    }
    return false;
}

/* Not before what was asked for is answered: it might arrive later. */
static void keeps(struct loop_timer *timer)
{
    struct sim_operator *operator= CONTAINER_OF(timer, struct sim_operator, drain_timer);
    if (!operator->wants_to_stay) {
        return;
    }
    if (!is_asking_to_drain(operator)) {
        (void)ask_drain(operator, false);
    }
    loop_timer_start(loop_of(operator), timer, loop_now_ns(loop_of(operator)) + AGAIN_NS);
}

void sim_operator_keep(struct sim_operator *operator)
{
    if (operator->drained_disk != 0 && !operator->wants_to_stay) {
        operator->wants_to_stay = true;
        loop_timer_start(loop_of(operator), &operator->drain_timer, loop_now_ns(loop_of(operator)));
    }
}

/* ---- deletions taken back, holds ------------------------------------------------------------------- */

#define HELD_MAX 8u /* lifted by one look */

/* What the tables say of versions: those in their time of grace, and those that are held. */
struct versions_seen {
    bool deletes_only; /* of those in their time of grace */
    uint64_t graced;
    uint64_t wanted; /* number of the one in grace that is to be kept in mind */
    uint64_t wanted_id;
    uint32_t held_count;
    struct version_held {
        uint64_t bucket_id;
        uint64_t erasure_id; /* 0: it is the latest */
        char key[SIM_KEY_NAME_BYTES];
    } held[HELD_MAX];
};

static void see_held(struct versions_seen *seen, uint64_t bucket_id, uint64_t erasure_id, const void *key, size_t bytes)
{
    if (seen->held_count < HELD_MAX && bytes < SIM_KEY_NAME_BYTES) {
        struct version_held *held = &seen->held[seen->held_count++];
        *held = (struct version_held){.bucket_id = bucket_id, .erasure_id = erasure_id};
        memcpy(held->key, key, bytes);
    }
}

static void see_graced(struct versions_seen *seen, uint64_t id, const void *value, size_t value_bytes)
{
    Trilith__GraceRecord *record = trilith__grace_record__unpack(NULL, value_bytes, value);
    CHECK(record != NULL && record->object != NULL);
    if (!seen->deletes_only || strcmp(record->reason, "delete") == 0) {
        seen->wanted_id = seen->graced++ == seen->wanted ? id : seen->wanted_id;
    }
    if (record->object->legal_hold) {
        see_held(seen, record->bucket_id, id, record->key.data, record->key.len);
    }
    trilith__grace_record__free_unpacked(record, NULL);
}

static void see_version(void *user, const void *key, size_t key_bytes, const void *value, size_t value_bytes)
{
    const uint8_t *bytes = key;
    struct object_row row;
    if (bytes[0] == 'G' && key_bytes == 9) {
        see_graced(user, number_of_be(bytes + 1, 8), value, value_bytes);
    } else if (bytes[0] == 'o' &&
               key_bytes > 11) { /* Our names are free of zeros: key_object() adds two bytes, and that is all. */
        CHECK(object_row_decode(KV_SLICE(value, value_bytes), &row));
        Trilith__Object *object = trilith__object__unpack(NULL, row.packed.bytes, row.packed.data);
        CHECK(object != NULL);
        if (object->legal_hold) {
            see_held(user, number_of_be(bytes + 1, 8), 0, bytes + 9, key_bytes - 11);
        }
        trilith__object__free_unpacked(object, NULL);
    }
}

static void look_at_versions(const struct sim_operator *operator, struct versions_seen * seen)
{
    sim_kv_each(operator->cluster->meta.tables, see_version, seen);
}

/* Which deletion can be taken back; 0: none. What an overwrite replaced can't, as long as what replaced it is there. */
static uint64_t undoable(const struct sim_operator *operator)
{
    struct versions_seen seen = {.wanted = UINT64_MAX, .deletes_only = operator->undo_chance % 8 != 0 };
    look_at_versions(operator, & seen);
    if (seen.graced == 0) {
        return 0;
    }
    seen = (struct versions_seen){.wanted = operator->undo_chance % seen.graced, .deletes_only = seen.deletes_only};
    look_at_versions(operator, & seen);
    return seen.wanted_id;
}

/* Until there is one. */
static void takes_back(struct loop_timer *timer)
{
    struct sim_operator *operator= CONTAINER_OF(timer, struct sim_operator, undo_timer);
    uint64_t id = undoable(operator);
    if (id != 0) {
        Trilith__ErasureUndoRequest request;
        trilith__erasure_undo_request__init(&request);
        request.id = id;
        (void)ask(operator, TRILITH__MESSAGE_TYPE__ERASURE_UNDO, &request.base);
    } else if (loop_now_ns(loop_of(operator)) < operator->undo_until_ns) {
        loop_timer_start(loop_of(operator), timer, loop_now_ns(loop_of(operator)) + LOOK_NS);
    }
}

bool sim_operator_undo(struct sim_operator *operator, uint64_t chance, uint64_t patience_ns)
{
    if (operator->cluster->options.grace_ms == 0) {
        return false;
    }
    operator->undo_chance = chance;
    operator->undo_until_ns = loop_now_ns(loop_of(operator)) + patience_ns;
    loop_timer_start(loop_of(operator), &operator->undo_timer, loop_now_ns(loop_of(operator)));
    return true;
}

static bool ask_hold(struct sim_operator *operator, char * bucket, char *key, uint64_t erasure_id, bool on)
{
    Trilith__ObjectHoldRequest request;
    trilith__object_hold_request__init(&request);
    request.tenant_id = operator->cluster->tenant_id;
    request.bucket = bucket;
    request.key = (ProtobufCBinaryData){.data = (uint8_t *)key, .len = strlen(key)};
    request.erasure_id = erasure_id;
    request.set_hold = true;
    request.legal_hold = on;
    return ask(operator, TRILITH__MESSAGE_TYPE__OBJECT_HOLD, &request.base) != NULL;
}

bool sim_operator_hold(struct sim_operator *operator, uint64_t chance)
{
    const struct sim_cluster *cluster = operator->cluster;
    struct versions_seen seen = {.wanted = UINT64_MAX};
    look_at_versions(operator, & seen);
    uint32_t key = (uint32_t)(chance / 16 % cluster->options.keys);
    char bucket[24];
    char name[SIM_KEY_NAME_BYTES];
    (void)snprintf(bucket, sizeof(bucket), "bucket%u", sim_key_bucket(cluster, key));
    sim_key_name(key, name);
    if (seen.graced == 0 || chance % 4 == 0) {
        return ask_hold(operator, bucket, name, 0, true);
    }
    seen = (struct versions_seen){.wanted = chance / 16 % seen.graced};
    look_at_versions(operator, & seen);
    return ask_hold(operator, bucket, name, seen.wanted_id, true);
}

static bool is_asking_to_hold(const struct sim_operator *operator)
{
    for (uint32_t i = 0; i < SIM_OPERATOR_CALLS; i++) {
        if (operator->calls[i].busy && operator->calls[i].call.type == TRILITH__MESSAGE_TYPE__OBJECT_HOLD) {
            return true;
        }
    }
    return false;
}

static void bucket_name_of(const struct sim_operator *operator, uint64_t bucket_id, char name[24])
{
    uint64_t id = 0;
    for (uint32_t i = 0; i < operator->cluster->options.buckets && id != bucket_id; i++) {
        uint8_t value[8];
        size_t bytes = 0;
        (void)snprintf(name, 24, "bucket%u", i);
        struct table_key key = key_bucket_name(operator->cluster->tenant_id, name);
        if (kv_get(operator->cluster->meta.tables, KV_SLICE(key.bytes, key.length), value, sizeof(value), &bytes) ==
            STATUS_OK) {
            id = number_of_be(value, 8);
        }
    }
}

/* Not before what was asked for is answered: it might arrive later. */
static void lets_go(struct loop_timer *timer)
{
    struct sim_operator *operator= CONTAINER_OF(timer, struct sim_operator, hold_timer);
    struct versions_seen seen = {.wanted = UINT64_MAX};
    if (is_asking_to_hold(operator)) {
        loop_timer_start(loop_of(operator), timer, loop_now_ns(loop_of(operator)) + AGAIN_NS);
        return;
    }
    look_at_versions(operator, & seen);
    for (uint32_t i = 0; i < seen.held_count; i++) {
        char bucket[24];
        bucket_name_of(operator, seen.held[i].bucket_id, bucket);
        (void)ask_hold(operator, bucket, seen.held[i].key, seen.held[i].erasure_id, false);
    }
    operator->wants_no_holds = seen.held_count> 0;
    if (operator->wants_no_holds) {
        loop_timer_start(loop_of(operator), timer, loop_now_ns(loop_of(operator)) + AGAIN_NS);
    }
}

void sim_operator_let_go(struct sim_operator *operator)
{
    if (!operator->wants_no_holds) {
        operator->wants_no_holds = true;
        loop_timer_start(loop_of(operator), &operator->hold_timer, loop_now_ns(loop_of(operator)));
    }
}

static bool anything_is_held(struct sim_operator *operator)
{
    struct versions_seen seen = {.wanted = UINT64_MAX};
    look_at_versions(operator, & seen);
    if (seen.held_count > 0) {
        sim_operator_let_go(operator); /* A request that had been given up has arrived after all. */
    }
    return seen.held_count > 0 || operator->wants_no_holds;
}

/* ---- the tenant -------------------------------------------------------------------------------------- */

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
    bool held = anything_is_held(operator);
    return !operator->wants_revoked && is_as_wanted(operator) && operator->drained_disk == 0 && !held;
}

void sim_operator_init(struct sim_operator *operator, struct sim_cluster * cluster, struct rpc_client *client)
{
    *operator=(struct sim_operator){.cluster = cluster, .client = client, .acknowledged = true};
    operator->timer.fire = looks;
    operator->drain_timer.fire = keeps;
    operator->hold_timer.fire = lets_go;
    operator->undo_timer.fire = takes_back;
}
