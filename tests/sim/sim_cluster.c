/* sim_cluster.c - boots the cluster, turns its world, and takes down between two steps whom a step has doomed. */
#include "tests/sim/sim_cluster.h"

#include "meta/tables.h"
#include "proto/rpc.h"

#include <stdio.h>

#define BOOT_NS       (60 * NS_PER_S)
#define BOOT_LOOK_NS  (200 * NS_PER_MS)
#define ADMIN_CALL_NS (10 * NS_PER_S)

/* ---- turning ----------------------------------------------------------------------------------- */

static void time_is_over(struct loop_timer *timer)
{
    CONTAINER_OF(timer, struct sim_cluster, stop_timer)->time_over = true;
}

static void reap(struct sim_cluster *cluster)
{
    sim_meta_reap(&cluster->meta);
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        sim_node_reap(&cluster->nodes[i]);
    }
    CHECK(cluster->doomed == 0);
}

void sim_cluster_run(struct sim_cluster *cluster, uint64_t until_ns, bool (*stop)(struct sim_cluster *cluster))
{
    struct loop *loop = sim_loop_interface(cluster->world);
    if (until_ns < sim_loop_world_ns(cluster->world)) {
        return;
    }
    cluster->time_over = false;
    loop_timer_start(loop, &cluster->stop_timer, until_ns);
    while (!cluster->time_over && (stop == NULL || !stop(cluster))) {
        CHECK(sim_loop_step(cluster->world));
        if (cluster->doomed > 0) {
            reap(cluster);
        }
    }
    loop_timer_stop(loop, &cluster->stop_timer);
}

int sim_cluster_running(const struct sim_cluster *cluster)
{
    const struct sim_loop *loop = sim_loop_running(cluster->world);
    if (loop == NULL) {
        return -2;
    }
    if (loop == cluster->meta.loop) {
        return -1;
    }
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        if (loop == cluster->nodes[i].loop) {
            return (int)i;
        }
    }
    return -2;
}

void sim_cluster_condemn_running(struct sim_cluster *cluster, bool power_lost)
{
    int running = sim_cluster_running(cluster);
    CHECK(running >= -1);
    enum sim_doom *doom = running == -1 ? &cluster->meta.doom : &cluster->nodes[running].doom;
    if (*doom == SIM_NOT_DOOMED) {
        cluster->doomed++;
    }
    *doom = power_lost ? SIM_DOOM_POWER_LOST : SIM_DOOM_KILLED;
}

/* ---- the administrator --------------------------------------------------------------------------- */

/* What comes out of a call: copies, because the reply stands only until `done` returns. */
struct admin_call {
    struct rpc_call call;
    struct sim_cluster *cluster;
    bool done;
    enum status status;
};

static void text_keep(char *to, size_t to_bytes, const char *text)
{
    CHECK(strlen(text) < to_bytes);
    (void)snprintf(to, to_bytes, "%s", text);
}

static void admin_answered(struct rpc_call *call)
{
    struct admin_call *admin = CONTAINER_OF(call, struct admin_call, call);
    struct sim_cluster *cluster = admin->cluster;
    admin->done = true;
    admin->status = call->status;
    if (call->status != STATUS_OK) {
        return;
    }
    if (call->type == TRILITH__MESSAGE_TYPE__TENANT_CREATE) {
        cluster->tenant_id = ((const Trilith__TenantReply *)(const void *)call->reply)->tenant->id;
    } else if (call->type == TRILITH__MESSAGE_TYPE__CREDENTIAL_CREATE) {
        const Trilith__CredentialCreateReply *reply = (const Trilith__CredentialCreateReply *)(const void *)call->reply;
        text_keep(cluster->access_key, sizeof(cluster->access_key), reply->access_key);
        text_keep(cluster->secret_key, sizeof(cluster->secret_key), reply->secret_key);
    }
}

static bool admin_do(struct sim_cluster *cluster, uint16_t type, const ProtobufCMessage *request)
{
    struct admin_call admin = {.call = {.type = type, .done = admin_answered}, .cluster = cluster};
    admin.call.deadline_ns = loop_now_ns(sim_loop_interface(cluster->world)) + ADMIN_CALL_NS;
    rpc_call_start(cluster->admin, &admin.call, request);
    while (!admin.done) {
        CHECK(sim_loop_step(cluster->world));
    }
    return admin.status == STATUS_OK;
}

static bool tenant_make(struct sim_cluster *cluster)
{
    char tenant_name[] = SIM_TENANT_NAME;
    char role[] = "editor";
    Trilith__TenantCreateRequest tenant;
    Trilith__CredentialCreateRequest credential;
    trilith__tenant_create_request__init(&tenant);
    trilith__credential_create_request__init(&credential);
    tenant.name = tenant_name;
    credential.tenant = tenant_name;
    credential.role = role;
    return admin_do(cluster, TRILITH__MESSAGE_TYPE__TENANT_CREATE, &tenant.base) &&
           admin_do(cluster, TRILITH__MESSAGE_TYPE__CREDENTIAL_CREATE, &credential.base);
}

static bool buckets_make(struct sim_cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->options.buckets; i++) {
        char name[24];
        Trilith__BucketCreateRequest bucket;
        trilith__bucket_create_request__init(&bucket);
        (void)snprintf(name, sizeof(name), "bucket%u", i);
        bucket.tenant_id = cluster->tenant_id;
        bucket.name = name;
        bucket.grace_ms = i + 1 == cluster->options.buckets ? cluster->options.grace_ms : 0;
        if (!admin_do(cluster, TRILITH__MESSAGE_TYPE__BUCKET_CREATE, &bucket.base)) {
            return false;
        }
    }
    return true;
}

/* ---- boot ---------------------------------------------------------------------------------------- */

static bool meta_is_up(struct sim_cluster *cluster)
{
    return cluster->meta.state == SIM_RUNNING;
}

static bool all_serve(struct sim_cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        if (!cluster->nodes[i].serving) {
            return false;
        }
    }
    return true;
}

static void parts_init(struct sim_cluster *cluster)
{
    uint64_t seed = cluster->options.seed;
    cluster->world = sim_loop_open(seed);
    cluster->net = sim_net_open(cluster->world, seed ^ UINT64_C(0x6e6574)); /* "net" */
    cluster->stop_timer.fire = time_is_over;
    list_init(&cluster->requests);
    sim_meta_init(&cluster->meta, cluster);
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        sim_node_init(&cluster->nodes[i], cluster, i);
    }
    for (uint32_t i = 0; i < cluster->client_count; i++) {
        sim_client_init(&cluster->clients[i], cluster, i);
    }
    sim_client_init(&cluster->hand, cluster, cluster->client_count);
    cluster->admin_machine = sim_net_host(cluster->net, "admin", cluster->world);
    cluster->admin = rpc_client_open(sim_loop_interface(cluster->world), sim_host_interface(cluster->admin_machine),
                                     SIM_META_ADDRESS);
    CHECK(cluster->admin != NULL);
}

/* Let the world turn until `ready`; whoever goes down meanwhile, at a kill point, is started again. */
static void boot_until(struct sim_cluster *cluster, uint64_t until_ns, bool (*ready)(struct sim_cluster *cluster))
{
    while (!ready(cluster) && sim_loop_world_ns(cluster->world) < until_ns) {
        if (cluster->meta.state == SIM_DOWN) {
            sim_meta_start(&cluster->meta);
        }
        for (uint32_t i = 0; i < cluster->node_count; i++) {
            if (cluster->nodes[i].state == SIM_DOWN) {
                sim_node_start(&cluster->nodes[i]);
            }
        }
        sim_cluster_run(cluster, sim_loop_world_ns(cluster->world) + BOOT_LOOK_NS, ready);
    }
}

bool sim_cluster_open(struct sim_cluster *cluster, const struct sim_options *options, struct sim_watch *watch)
{
    CHECK(options->nodes >= 1 && options->nodes <= SIM_NODES_MAX);
    CHECK(options->clients >= 1 && options->clients <= SIM_CLIENTS_MAX);
    CHECK(options->keys >= 1 && options->keys <= SIM_KEYS_MAX);
    CHECK(options->buckets >= 1);
    CHECK(watch != NULL);
    memset(cluster, 0, sizeof(*cluster));
    cluster->options = *options;
    cluster->watch = watch;
    cluster->node_count = options->nodes;
    cluster->client_count = options->clients;
    parts_init(cluster);
    uint64_t until_ns = sim_loop_world_ns(cluster->world) + BOOT_NS;
    boot_until(cluster, until_ns, meta_is_up);
    if (!meta_is_up(cluster) || !tenant_make(cluster) || !buckets_make(cluster)) {
        return false;
    }
    boot_until(cluster, until_ns, all_serve);
    sim_operator_init(&cluster->keeper, cluster, cluster->admin);
    return all_serve(cluster);
}

Trilith__TenantRecord *sim_cluster_tenant(const struct sim_cluster *cluster)
{
    static uint8_t row[TABLE_VALUE_BYTES_MAX];
    struct table_key key = key_tenant(cluster->tenant_id);
    size_t bytes = 0;
    if (kv_get(cluster->meta.tables, KV_SLICE(key.bytes, key.length), row, sizeof(row), &bytes) != STATUS_OK) {
        return NULL;
    }
    return trilith__tenant_record__unpack(NULL, bytes, row);
}

/* ---- load ------------------------------------------------------------------------------------------ */

void sim_cluster_load(struct sim_cluster *cluster, bool on)
{
    for (uint32_t i = 0; i < cluster->client_count; i++) {
        sim_client_load(&cluster->clients[i], on);
    }
}

uint32_t sim_cluster_busy(const struct sim_cluster *cluster)
{
    uint32_t busy = cluster->hand.busy ? 1 : 0;
    for (uint32_t i = 0; i < cluster->client_count; i++) {
        busy += cluster->clients[i].busy ? 1 : 0;
    }
    return busy;
}

static bool hand_is_free(struct sim_cluster *cluster)
{
    return !cluster->hand.busy;
}

void sim_cluster_do(struct sim_cluster *cluster, struct sim_operation *operation)
{
    struct sim_client *hand = &cluster->hand;
    CHECK(operation->node < cluster->node_count);
    sim_client_forget(hand);
    hand->operation = *operation;
    hand->by_hand = true;
    sim_client_begin(hand);
    sim_cluster_run(cluster, UINT64_MAX / 2, hand_is_free);
    *operation = hand->operation;
}
