/* state.c - one command, one batch. */
#include "meta/state.h"

#include "meta/catalog.h"
#include "meta/certificates.h"
#include "meta/epochs.h"
#include "meta/erasure.h"
#include "meta/grace.h"
#include "meta/leaves.h"
#include "meta/moves.h"
#include "meta/people.h"
#include "meta/registry.h"
#include "meta/requests.h"
#include "meta/tenant_erasure.h"
#include "meta/tenants.h"

#include "base/bytes.h"
#include "base/keys.h"

#include <stdlib.h>
#include <string.h>

struct state {
    struct tables tables;
    uint64_t applied_index;
    uint64_t time_ms;
    Trilith__ClusterRecord cluster; /* its bytes point to the fields below */
    uint8_t cluster_id[16];
    uint8_t commitment[COMMITMENT_BYTES];
    uint8_t sealed_commitment[COMMITMENT_BYTES];
    uint8_t ledger_root[SHA256_BYTES];
};

/* ---- open -------------------------------------------------------------------------------------- */

static void cluster_begin(Trilith__ClusterRecord *cluster)
{
    trilith__cluster_record__init(cluster);
    cluster->next_node_id = 1;
    cluster->next_disk_id = 1;
    cluster->next_pg_id = 1;
    cluster->next_tenant_id = 1;
    cluster->next_bucket_id = 1;
    cluster->next_page = 1;
    cluster->next_erasure_id = 1;
    cluster->keys_destroyed_below = 1;
    cluster->keys_sealed_below = 1;
}

static bool bytes_are_valid(ProtobufCBinaryData value, size_t size)
{
    return value.len == 0 || value.len == size;
}

static bool cluster_is_valid(const Trilith__ClusterRecord *record)
{
    return record->cluster_id.len == 16 && bytes_are_valid(record->commitment, COMMITMENT_BYTES) &&
           bytes_are_valid(record->sealed_commitment, COMMITMENT_BYTES) &&
           bytes_are_valid(record->ledger_root, SHA256_BYTES);
}

/* Let `value`, of `size` bytes or none, stand in `buffer`. */
static void bytes_keep(ProtobufCBinaryData *value, uint8_t *buffer, size_t size)
{
    CHECK(bytes_are_valid(*value, size));
    if (value->len > 0) {
        memmove(buffer, value->data, value->len);
    }
    value->data = value->len > 0 ? buffer : NULL;
}

static void cluster_keep(struct state *state, const Trilith__ClusterRecord *record)
{
    state->cluster = *record;
    bytes_keep(&state->cluster.cluster_id, state->cluster_id, sizeof(state->cluster_id));
    bytes_keep(&state->cluster.commitment, state->commitment, sizeof(state->commitment));
    bytes_keep(&state->cluster.sealed_commitment, state->sealed_commitment, sizeof(state->sealed_commitment));
    bytes_keep(&state->cluster.ledger_root, state->ledger_root, sizeof(state->ledger_root));
    /* The record was unpacked into scratch memory; what protobuf-c noted about it goes with that. */
    state->cluster.base.n_unknown_fields = 0;
    state->cluster.base.unknown_fields = NULL;
}

static enum status state_load(struct state *state)
{
    struct kv_slice applied;
    enum status status = tables_get_bytes(&state->tables, key_applied(), &applied);
    if (status == STATUS_NOT_FOUND) {
        cluster_begin(&state->cluster);
        return STATUS_OK;
    }
    if (status != STATUS_OK) {
        return status;
    }
    struct byte_reader reader = byte_reader_of(applied.data, applied.bytes);
    state->applied_index = read_u64_be(&reader);
    state->time_ms = read_u64_be(&reader);
    Trilith__ClusterRecord *record = NULL;
    status = tables_get(&state->tables, key_cluster(), &trilith__cluster_record__descriptor, &record);
    if (status == STATUS_NOT_FOUND && !reader.failed) {
        cluster_begin(&state->cluster);
        return STATUS_OK;
    }
    if (status != STATUS_OK) {
        return status;
    }
    if (reader.failed || !cluster_is_valid(record)) {
        return STATUS_CORRUPT;
    }
    cluster_keep(state, record);
    return STATUS_OK;
}

enum status state_open(struct kv *kv, struct state **result)
{
    struct state *state = calloc(1, sizeof(*state));
    if (state == NULL) {
        return STATUS_FULL;
    }
    if (!tables_open(&state->tables, kv)) {
        free(state);
        return STATUS_FULL;
    }
    enum status status = state_load(state);
    if (status != STATUS_OK) {
        state_close(state);
        return status;
    }
    *result = state;
    return STATUS_OK;
}

void state_close(struct state *state)
{
    tables_close(&state->tables);
    free(state);
}

uint64_t state_applied_index(const struct state *state)
{
    return state->applied_index;
}

uint64_t state_time_ms(const struct state *state)
{
    return state->time_ms;
}

const Trilith__ClusterRecord *state_cluster(const struct state *state)
{
    return &state->cluster;
}

struct tables *state_tables(struct state *state)
{
    return &state->tables;
}

/* ---- apply ------------------------------------------------------------------------------------- */

static enum status cluster_create(struct change *change, const Trilith__ClusterCreate *command)
{
    if (change->cluster->cluster_id.len != 0) {
        return STATUS_EXISTS;
    }
    if (command->cluster_id.len != 16) {
        return STATUS_INVALID;
    }
    change->cluster->cluster_id = command->cluster_id;
    change->cluster->created_ms = change->time_ms;
    return STATUS_OK;
}

static enum status change_apply(struct change *change, const Trilith__Command *command)
{
    if (change->cluster->cluster_id.len == 0 && command->change_case != TRILITH__COMMAND__CHANGE_CLUSTER_CREATE) {
        return STATUS_INVALID; /* Nothing comes before the cluster. */
    }
    switch (command->change_case) {
    case TRILITH__COMMAND__CHANGE_CLUSTER_CREATE:
        return cluster_create(change, command->cluster_create);
    case TRILITH__COMMAND__CHANGE_NODE_JOIN:
        return registry_node_join(change, command->node_join);
    case TRILITH__COMMAND__CHANGE_LEASE_LEAVES:
        return command->lease_leaves->bucket_id == 0 ? tenant_lease_leaves(change, command->lease_leaves)
                                                     : catalog_lease_leaves(change, command->lease_leaves);
    case TRILITH__COMMAND__CHANGE_CONDEMN_CHUNKS:
        return erasure_condemn(change, command->condemn_chunks);
    case TRILITH__COMMAND__CHANGE_RECORD_WIPES:
        return erasure_record_wipes(change, command->record_wipes);
    case TRILITH__COMMAND__CHANGE_BUCKET_CREATE:
        return catalog_bucket_create(change, command->bucket_create);
    case TRILITH__COMMAND__CHANGE_BUCKET_DELETE:
        return catalog_bucket_delete(change, command->bucket_delete);
    case TRILITH__COMMAND__CHANGE_OBJECT_COMMIT:
        return catalog_object_commit(change, command->object_commit);
    case TRILITH__COMMAND__CHANGE_OBJECT_DELETE:
        return catalog_object_delete(change, command->object_delete);
    case TRILITH__COMMAND__CHANGE_TENANT_CREATE:
        return tenant_create(change, command->tenant_create);
    case TRILITH__COMMAND__CHANGE_CREDENTIAL_CREATE:
        return credential_create(change, command->credential_create);
    case TRILITH__COMMAND__CHANGE_CREDENTIAL_REVOKE:
        return credential_revoke(change, command->credential_revoke);
    case TRILITH__COMMAND__CHANGE_CREDENTIAL_RESEAL:
        return credential_reseal(change, command->credential_reseal);
    case TRILITH__COMMAND__CHANGE_DEK_ADD:
        return tenant_dek_add(change, command->dek_add);
    case TRILITH__COMMAND__CHANGE_DEK_DESTROY:
        return tenant_dek_destroy(change, command->dek_destroy);
    case TRILITH__COMMAND__CHANGE_CMK_SET:
        return tenant_cmk_set(change, command->cmk_set);
    case TRILITH__COMMAND__CHANGE_KEY_STATE_SET:
        return tenant_key_state_set(change, command->key_state_set);
    case TRILITH__COMMAND__CHANGE_EPOCH_SEAL:
        return epochs_seal(change, command->epoch_seal);
    case TRILITH__COMMAND__CHANGE_EPOCH_SWITCH:
        return epochs_switch(change, command->epoch_switch);
    case TRILITH__COMMAND__CHANGE_EPOCH_ERASED:
        return epochs_erased(change, command->epoch_erased);
    case TRILITH__COMMAND__CHANGE_LAPSE_LEAVES:
        return leaves_lapse(change);
    case TRILITH__COMMAND__CHANGE_CERT_ISSUE:
        return certificates_issue(change, command->cert_issue);
    case TRILITH__COMMAND__CHANGE_SIGNING_KEY_ADD:
        return signing_key_add(change, command->signing_key_add);
    case TRILITH__COMMAND__CHANGE_DISK_DRAIN:
        return moves_disk_drain(change, command->disk_drain);
    case TRILITH__COMMAND__CHANGE_PG_MOVE_BEGIN:
        return moves_begin(change, command->pg_move_begin);
    case TRILITH__COMMAND__CHANGE_PG_MOVE_END:
        return moves_end(change, command->pg_move_end);
    case TRILITH__COMMAND__CHANGE_DISK_REMOVE:
        return moves_disk_remove(change, command->disk_remove);
    case TRILITH__COMMAND__CHANGE_NODE_REMOVE:
        return moves_node_remove(change, command->node_remove);
    case TRILITH__COMMAND__CHANGE_PERSON_SET:
        return person_set(change, command->person_set);
    case TRILITH__COMMAND__CHANGE_REQUEST_CREATE:
        return request_create(change, command->request_create);
    case TRILITH__COMMAND__CHANGE_REQUEST_APPROVE:
        return request_approve(change, command->request_approve);
    case TRILITH__COMMAND__CHANGE_REQUEST_ADVANCE:
        return request_advance(change, command->request_advance);
    case TRILITH__COMMAND__CHANGE_TENANT_ERASE_STEP:
        return tenant_erase_step(change, command->tenant_erase_step);
    case TRILITH__COMMAND__CHANGE_GRACE_END:
        return grace_end(change);
    case TRILITH__COMMAND__CHANGE_ERASURE_UNDO:
        return grace_undo(change, command->erasure_undo);
    case TRILITH__COMMAND__CHANGE_OBJECT_HOLD:
        return grace_hold(change, command->object_hold);
    case TRILITH__COMMAND__CHANGE_BUCKET_SET:
        return grace_bucket_set(change, command->bucket_set);
    case TRILITH__COMMAND__CHANGE__NOT_SET:
    case _TRILITH__COMMAND__CHANGE__CASE_IS_INT_SIZE:
        break;
    }
    return STATUS_UNSUPPORTED;
}

static Trilith__Command *command_decode(struct state *state, const void *bytes, size_t size)
{
    scratch_reset(&state->tables.scratch);
    if (size > COMMAND_BYTES_MAX) {
        return NULL;
    }
    ProtobufCMessage *message =
        protobuf_c_message_unpack(&trilith__command__descriptor, &state->tables.scratch.allocator, size, bytes);
    return (Trilith__Command *)message;
}

bool state_command_is_known(struct state *state, const void *bytes, size_t size)
{
    const Trilith__Command *command = command_decode(state, bytes, size);
    return command != NULL && command->change_case != TRILITH__COMMAND__CHANGE__NOT_SET;
}

static void put_applied(struct state *state, uint64_t index, uint64_t time_ms)
{
    uint8_t applied[16];
    struct byte_writer writer = byte_writer_of(applied, sizeof(applied));
    write_u64_be(&writer, index);
    write_u64_be(&writer, time_ms);
    tables_put_bytes(&state->tables, key_applied(), applied, sizeof(applied));
}

enum status state_apply(struct state *state, uint64_t index, const void *bytes, size_t size, struct outcome *outcome)
{
    struct tables *tables = &state->tables;
    if (index <= state->applied_index) {
        return STATUS_EXISTS;
    }
    const Trilith__Command *command = index == state->applied_index + 1 ? command_decode(state, bytes, size) : NULL;
    if (command == NULL) {
        return STATUS_CORRUPT;
    }

    Trilith__ClusterRecord cluster = state->cluster;
    struct change change = {.tables = tables, .cluster = &cluster, .index = index};
    change.time_ms = command->time_ms > state->time_ms ? command->time_ms : state->time_ms;
    kv_batch_clear(tables->batch);
    change.outcome.status = change_apply(&change, command);
    if (change.outcome.status == STATUS_OK) {
        change.outcome.status = erasure_end_change(&change);
    }
    if (tables->failed != STATUS_OK) {
        return tables->failed == STATUS_IO ? STATUS_IO : STATUS_CORRUPT;
    }
    if (change.outcome.status == STATUS_UNSUPPORTED) {
        return STATUS_CORRUPT; /* A command of a newer build: applying the rest without it would fork the state. */
    }

    bool refused = change.outcome.status != STATUS_OK;
    if (refused) {
        kv_batch_clear(tables->batch);
        change.outcome = (struct outcome){.status = change.outcome.status, .id = change.outcome.id};
    } else {
        tables_put(tables, key_cluster(), &cluster);
    }
    change.outcome.command = command;
    put_applied(state, index, change.time_ms);
    if (kv_write(tables->kv, tables->batch) != STATUS_OK) {
        tables->failed = STATUS_IO;
        return STATUS_IO;
    }
    if (!refused) {
        cluster_keep(state, &cluster);
    }
    state->applied_index = index;
    state->time_ms = change.time_ms;
    *outcome = change.outcome;
    return STATUS_OK;
}
