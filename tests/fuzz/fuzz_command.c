/* fuzz_command.c - commands of any bytes are applied or refused; the state machine never breaks its own tables.
 *
 * Input: up to 32 commands, each u16 length (little-endian) and that many bytes, applied to a cluster with three nodes,
 * a tenant and a bucket with leased leaves. A command that does not decode ends the run, as it would end the service.
 * Afterwards the tables must still load. */
#include "meta/state.h"
#include "tests/sim/sim_kv.h"

#include <stdlib.h>

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

static void prepare(void)
{
    uint8_t bytes[16] = {1};
    char tenant_name[] = "acme";
    char bucket_name[] = "photos";
    Trilith__ClusterCreate cluster = TRILITH__CLUSTER_CREATE__INIT;
    Trilith__TenantCreate tenant = TRILITH__TENANT_CREATE__INIT;
    Trilith__BucketCreateRequest bucket = TRILITH__BUCKET_CREATE_REQUEST__INIT;
    Trilith__LeaseLeaves lease = TRILITH__LEASE_LEAVES__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    cluster.cluster_id = (ProtobufCBinaryData){.data = bytes, .len = 16};
    command.change_case = TRILITH__COMMAND__CHANGE_CLUSTER_CREATE;
    command.cluster_create = &cluster;
    apply(&command);
    for (uint8_t i = 0; i < 3; i++) {
        apply_join(i);
    }
    tenant.name = tenant_name;
    tenant.wrapped_dek = cluster.cluster_id;
    command.change_case = TRILITH__COMMAND__CHANGE_TENANT_CREATE;
    command.tenant_create = &tenant;
    apply(&command);
    bucket.tenant_id = 1;
    bucket.name = bucket_name;
    command.change_case = TRILITH__COMMAND__CHANGE_BUCKET_CREATE;
    command.bucket_create = &bucket;
    apply(&command);
    lease.node_id = 1;
    lease.tenant_id = 1;
    lease.bucket_id = 1;
    lease.count = 16;
    lease.expires_ms = UINT64_MAX;
    command.change_case = TRILITH__COMMAND__CHANGE_LEASE_LEAVES;
    command.lease_leaves = &lease;
    apply(&command);
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
    state_close(state);
    kv_close(kv);
    return 0;
}
