/* fuzz_command.c - commands of any bytes are applied or refused; the state machine never breaks its own tables.
 *
 * Input: up to 32 commands, each u16 length (little-endian) and that many bytes, applied to a cluster with three nodes, a
 * tenant with a DEK, a bucket, and leased leaves for both, in the second epoch of its vault. A command that does not decode
 * ends the run, as it would end the service. Afterwards the tables must still load, and the leaves must balance. */
#include "meta/epochs.h"
#include "meta/state.h"
#include "tests/sim/sim_kv.h"

#include <stdlib.h>
#include <string.h>

#define COMMANDS_MAX 32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct state *state;
static uint64_t last_index;

static void apply(Trilith__Command *command)
{
    static uint8_t bytes[4096];
    struct outcome outcome;
    command->time_ms = 1000;
    size_t size = protobuf_c_message_get_packed_size(&command->base);
    CHECK(size <= sizeof(bytes));
    protobuf_c_message_pack(&command->base, bytes);
    CHECK(state_apply(state, ++last_index, bytes, size, &outcome) == STATUS_OK);
    CHECK(outcome.status == STATUS_OK);
}

static void apply_join(uint8_t number)
{
    char name[2] = {(char)('a' + number), '\0'};
    char address[] = "127.0.0.1:1";
    uint8_t uuid[16] = {number};
    Trilith__NodeJoinDisk disk = TRILITH__NODE_JOIN_DISK__INIT;
    Trilith__NodeJoinDisk *disks[1] = {&disk};
    Trilith__NodeJoin join = TRILITH__NODE_JOIN__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    disk.uuid = (ProtobufCBinaryData){.data = uuid, .len = 16};
    join.name = name;
    join.failure_domain = name;
    join.rpc_address = address;
    join.s3_address = address;
    join.disks = disks;
    join.n_disks = 1;
    join.pgs_per_disk = 12;
    join.scatter_width = 4;
    command.change_case = TRILITH__COMMAND__CHANGE_NODE_JOIN;
    command.node_join = &join;
    apply(&command);
}

static void apply_lease(uint64_t bucket_id)
{
    Trilith__LeaseLeaves lease = TRILITH__LEASE_LEAVES__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    lease.node_id = bucket_id == 0 ? 0 : 1;
    lease.tenant_id = 1;
    lease.bucket_id = bucket_id;
    lease.count = 16;
    lease.expires_ms = UINT64_MAX;
    command.change_case = TRILITH__COMMAND__CHANGE_LEASE_LEAVES;
    command.lease_leaves = &lease;
    apply(&command);
}

/* Page 1 has the tenant's keys: its first leaf is the DEK's, fifteen more are leased. */
static void apply_dek(void)
{
    uint8_t sealed[16] = {1};
    char cmk[] = "file:1";
    Trilith__SealedDek dek = TRILITH__SEALED_DEK__INIT;
    Trilith__DekAdd add = TRILITH__DEK_ADD__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    apply_lease(0);
    dek.version = 1;
    dek.page = 1;
    dek.sealed = (ProtobufCBinaryData){.data = sealed, .len = sizeof(sealed)};
    add.tenant_id = 1;
    add.dek = &dek;
    add.cmk = cmk;
    command.change_case = TRILITH__COMMAND__CHANGE_DEK_ADD;
    command.dek_add = &add;
    apply(&command);
}

/* Switch to `epoch`, whose commitment is that number 32 times. */
static void apply_epoch(uint64_t epoch)
{
    uint8_t commitment[32];
    Trilith__EpochSeal seal = TRILITH__EPOCH_SEAL__INIT;
    Trilith__EpochSwitch switching = TRILITH__EPOCH_SWITCH__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    memset(commitment, (int)epoch, sizeof(commitment));
    seal.epoch = epoch;
    seal.commitment = (ProtobufCBinaryData){.data = commitment, .len = sizeof(commitment)};
    seal.servers = 1;
    seal.threshold = 1;
    command.change_case = TRILITH__COMMAND__CHANGE_EPOCH_SEAL;
    command.epoch_seal = &seal;
    apply(&command);
    switching.epoch = epoch;
    switching.commitment = seal.commitment;
    switching.prepared = 1;
    command.change_case = TRILITH__COMMAND__CHANGE_EPOCH_SWITCH;
    command.epoch_switch = &switching;
    apply(&command);
}

static void prepare(void)
{
    uint8_t bytes[16] = {1};
    char tenant_name[] = "acme";
    char bucket_name[] = "photos";
    Trilith__ClusterCreate cluster = TRILITH__CLUSTER_CREATE__INIT;
    Trilith__TenantCreate tenant = TRILITH__TENANT_CREATE__INIT;
    Trilith__BucketCreateRequest bucket = TRILITH__BUCKET_CREATE_REQUEST__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    cluster.cluster_id = (ProtobufCBinaryData){.data = bytes, .len = 16};
    command.change_case = TRILITH__COMMAND__CHANGE_CLUSTER_CREATE;
    command.cluster_create = &cluster;
    apply(&command);
    for (uint8_t i = 0; i < 3; i++) {
        apply_join(i);
    }
    tenant.name = tenant_name;
    command.change_case = TRILITH__COMMAND__CHANGE_TENANT_CREATE;
    command.tenant_create = &tenant;
    apply(&command);
    apply_dek();
    bucket.tenant_id = 1;
    bucket.name = bucket_name;
    command.change_case = TRILITH__COMMAND__CHANGE_BUCKET_CREATE;
    command.bucket_create = &bucket;
    apply(&command);
    apply_lease(1);
    apply_epoch(1);
    apply_epoch(2); /* so that epoch 1 waits to be destroyed */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kv *kv = sim_kv_open();
    CHECK(state_open(kv, &state) == STATUS_OK);
    last_index = 0;
    prepare();
    for (unsigned i = 0; i < COMMANDS_MAX && size >= 2; i++) {
        size_t bytes = (size_t)data[0] | (size_t)data[1] << 8;
        bytes = bytes < size - 2 ? bytes : size - 2;
        struct outcome outcome;
        enum status status = state_apply(state, last_index + 1, data + 2, bytes, &outcome);
        if (status != STATUS_OK) {
            CHECK(status == STATUS_CORRUPT);
            CHECK(state_tables(state)->failed == STATUS_OK); /* It was the command, not the tables. */
            break;
        }
        last_index++;
        data += 2 + bytes;
        size -= 2 + bytes;
    }
    state_close(state);
    CHECK(state_open(kv, &state) == STATUS_OK);
    CHECK(state_applied_index(state) == last_index);
    CHECK(epochs_balance(state_cluster(state)));
    state_close(state);
    kv_close(kv);
    return 0;
}
