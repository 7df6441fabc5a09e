/* chunk_client.c - peers, suspicions, sends and fetches. */
#include "node/chunk_client.h"

#include <stdlib.h>

struct peer {
    uint64_t node_id;
    struct rpc_client *rpc;
};

struct suspect {
    uint32_t disk_id;
    uint64_t until_ns;
};

struct chunk_client {
    struct loop *loop;
    struct net *net;
    struct chunk_host *host;
    struct map *map;
    uint64_t local_node;
    struct suspect suspects[MAP_AVOID_MAX];
    uint32_t peer_count;
    struct peer peers[MAP_NODES_MAX];
};

struct chunk_client *chunk_client_open(struct loop *loop, struct net *net, struct chunk_host *host)
{
    struct chunk_client *client = calloc(1, sizeof(*client));
    CHECK(client != NULL);
    client->loop = loop;
    client->net = net;
    client->host = host;
    return client;
}

void chunk_client_close(struct chunk_client *client)
{
    for (uint32_t i = 0; i < client->peer_count; i++) {
        rpc_client_close(client->peers[i].rpc);
    }
    map_release(client->map);
    free(client);
}

/* ---- the map and the peers ----------------------------------------------------------------------- */

void chunk_client_set_map(struct chunk_client *client, struct map *map, uint64_t local_node)
{
    map_hold(map);
    map_release(client->map);
    client->map = map;
    client->local_node = local_node;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < client->peer_count; i++) {
        struct peer peer = client->peers[i];
        const struct map_node *node = map_find_node(map, peer.node_id);
        if (node == NULL) {
            rpc_client_close(peer.rpc);
            continue;
        }
        rpc_client_set_address(peer.rpc, node->rpc_address);
        client->peers[kept++] = peer;
    }
    client->peer_count = kept;
}

const struct map *chunk_client_map(const struct chunk_client *client)
{
    return client->map;
}

uint64_t chunk_client_local_node(const struct chunk_client *client)
{
    return client->local_node;
}

/* The connection to the node of a disk; NULL: the map does not know it, or there is no memory. */
static struct rpc_client *peer_of_disk(struct chunk_client *client, uint32_t disk_id)
{
    const struct map_disk *disk = client->map == NULL ? NULL : map_find_disk(client->map, disk_id);
    if (disk == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < client->peer_count; i++) {
        if (client->peers[i].node_id == disk->node_id) {
            return client->peers[i].rpc;
        }
    }
    const struct map_node *node = map_find_node(client->map, disk->node_id);
    CHECK(node != NULL && client->peer_count < MAP_NODES_MAX);
    struct rpc_client *rpc = rpc_client_open(client->loop, client->net, node->rpc_address);
    if (rpc != NULL) {
        client->peers[client->peer_count++] = (struct peer){.node_id = disk->node_id, .rpc = rpc};
    }
    return rpc;
}

struct rpc_client *chunk_client_peer(struct chunk_client *client, uint32_t disk_id)
{
    return peer_of_disk(client, disk_id);
}

void chunk_client_suspect(struct chunk_client *client, uint32_t disk_id)
{
    struct suspect *oldest = &client->suspects[0];
    for (uint32_t i = 0; i < MAP_AVOID_MAX; i++) {
        struct suspect *suspect = &client->suspects[i];
        if (suspect->disk_id == disk_id) {
            oldest = suspect;
            break;
        }
        if (suspect->until_ns < oldest->until_ns) {
            oldest = suspect;
        }
    }
    *oldest = (struct suspect){.disk_id = disk_id, .until_ns = loop_now_ns(client->loop) + CHUNK_CLIENT_SUSPECT_NS};
}

void chunk_client_suspects(struct chunk_client *client, struct map_avoid *avoid)
{
    uint64_t now_ns = loop_now_ns(client->loop);
    avoid->count = 0;
    for (uint32_t i = 0; i < MAP_AVOID_MAX; i++) {
        if (client->suspects[i].until_ns > now_ns) {
            avoid->disks[avoid->count++] = client->suspects[i].disk_id;
        }
    }
}

/* ---- send ---------------------------------------------------------------------------------------- */

static void send_local_done(struct host_job *job)
{
    struct chunk_send *send = CONTAINER_OF(job, struct chunk_send, via.local.job);
    send->done(send, job->status);
}

static void send_remote_done(struct rpc_call *call)
{
    struct chunk_send *send = CONTAINER_OF(call, struct chunk_send, via.remote);
    send->done(send, call->status);
}

static void send_refused(struct loop_task *task)
{
    struct chunk_send *send = CONTAINER_OF(task, struct chunk_send, task);
    send->done(send, STATUS_UNAVAILABLE);
}

static void send_local(struct chunk_client *client, struct chunk_send *send, struct chunk_host_disk *disk)
{
    struct host_put *put = &send->via.local;
    memset(put, 0, sizeof(*put));
    put->put.header = send->header;
    put->put.payload = send->payload;
    put->put.seals = send->seals;
    put->map_epoch = client->map != NULL ? client->map->epoch : 0;
    chunk_host_put(client->host, disk, put, client->loop, send_local_done);
}

static void send_remote(struct chunk_client *client, struct chunk_send *send, struct rpc_client *rpc)
{
    struct rpc_call *call = &send->via.remote;
    memset(call, 0, sizeof(*call));
    call->type = TRILITH__MESSAGE_TYPE__CHUNK_PUT;
    call->payload[0] = (struct iovec){.iov_base = send->payload, .iov_len = send->header.chunk_bytes};
    call->payload_count = 1;
    call->deadline_ns = send->deadline_ns;
    call->done = send_remote_done;

    Trilith__ChunkPutRequest request = TRILITH__CHUNK_PUT_REQUEST__INIT;
    request.chunk_id.data = send->header.id.bytes;
    request.chunk_id.len = sizeof(send->header.id.bytes);
    request.pg = send->header.pg;
    request.disk_id = send->disk_id;
    request.map_epoch = client->map->epoch;
    request.suite = send->header.suite;
    request.chunk_bytes = send->header.chunk_bytes;
    request.seals.data = (uint8_t *)(uintptr_t)send->seals;
    request.seals.len = (size_t)chunk_unit_count(send->header.chunk_bytes) * UNIT_SEAL_BYTES;
    request.tenant_id = send->header.tenant_id;
    rpc_call_start(rpc, call, &request.base);
}

void chunk_client_send(struct chunk_client *client, struct chunk_send *send)
{
    CHECK(send->done != NULL);
    send->client = client;
    send->task.run = send_refused;
    struct chunk_host_disk *disk = chunk_host_find(client->host, send->disk_id);
    struct rpc_client *rpc = disk != NULL ? NULL : peer_of_disk(client, send->disk_id);
    send->is_remote = rpc != NULL;
    if (disk != NULL) {
        send_local(client, send, disk);
    } else if (rpc != NULL) {
        send_remote(client, send, rpc);
    } else {
        loop_defer(client->loop, &send->task);
    }
}

void chunk_send_cancel(struct chunk_send *send)
{
    if (send->is_remote) {
        rpc_call_cancel(&send->via.remote);
    }
}

/* ---- fetch --------------------------------------------------------------------------------------- */

static uint32_t fetch_data_bytes(const struct chunk_fetch *fetch)
{
    uint32_t last = fetch->first_unit + fetch->unit_count - 1;
    return (fetch->unit_count - 1) * UNIT_BYTES + chunk_unit_bytes(fetch->chunk_bytes, last);
}

static void fetch_local_done(struct host_job *job)
{
    struct chunk_fetch *fetch = CONTAINER_OF(job, struct chunk_fetch, via.local.job);
    const struct chunk_get *get = &fetch->via.local.get;
    enum status status = job->status;
    if (status == STATUS_OK) {
        /* The store has just checked every CRC on the way from the disk; in between is only our own memory. */
        bool is_right = get->header.chunk_bytes == fetch->chunk_bytes && get->header.suite == fetch->suite &&
                        get->data_bytes == fetch_data_bytes(fetch);
        status = is_right ? STATUS_OK : STATUS_CORRUPT;
    }
    if (status == STATUS_OK) {
        fetch->data = get->data;
        memcpy(fetch->seals, get->seals, (size_t)fetch->unit_count * UNIT_SEAL_BYTES);
    }
    fetch->done(fetch, status);
}

/* Is what arrived what was asked for, whole and undamaged? */
static bool fetch_reply_is_right(struct chunk_fetch *fetch, const Trilith__ChunkGetReply *reply, uint32_t bytes)
{
    if (reply == NULL || reply->chunk_bytes != fetch->chunk_bytes || reply->suite != fetch->suite ||
        bytes != fetch_data_bytes(fetch) || reply->seals.len != (size_t)fetch->unit_count * UNIT_SEAL_BYTES) {
        return false;
    }
    for (uint32_t i = 0; i < fetch->unit_count; i++) {
        uint32_t unit_bytes = chunk_unit_bytes(fetch->chunk_bytes, fetch->first_unit + i);
        if (!unit_crc_matches(fetch->buffer + (size_t)i * UNIT_BYTES, unit_bytes,
                              reply->seals.data + (size_t)i * UNIT_SEAL_BYTES)) {
            return false;
        }
    }
    memcpy(fetch->seals, reply->seals.data, reply->seals.len);
    return true;
}

static void fetch_remote_done(struct rpc_call *call)
{
    struct chunk_fetch *fetch = CONTAINER_OF(call, struct chunk_fetch, via.remote);
    enum status status = call->status;
    if (status == STATUS_OK) {
        const Trilith__ChunkGetReply *reply = (const Trilith__ChunkGetReply *)call->reply;
        status = fetch_reply_is_right(fetch, reply, call->reply_payload_bytes) ? STATUS_OK : STATUS_CORRUPT;
        fetch->data = fetch->buffer;
    }
    fetch->done(fetch, status);
}

static void fetch_refused(struct loop_task *task)
{
    struct chunk_fetch *fetch = CONTAINER_OF(task, struct chunk_fetch, task);
    fetch->done(fetch, STATUS_UNAVAILABLE);
}

static void fetch_local(struct chunk_client *client, struct chunk_fetch *fetch, struct chunk_host_disk *disk)
{
    struct host_get *get = &fetch->via.local;
    memset(get, 0, sizeof(*get));
    get->get.id = fetch->id;
    get->get.first_unit = fetch->first_unit;
    get->get.unit_count = fetch->unit_count;
    get->get.buffer = fetch->buffer;
    get->get.buffer_bytes = fetch->buffer_bytes;
    chunk_host_get(disk, get, client->loop, fetch_local_done);
}

static void fetch_remote(struct chunk_fetch *fetch, struct rpc_client *rpc)
{
    struct rpc_call *call = &fetch->via.remote;
    memset(call, 0, sizeof(*call));
    call->type = TRILITH__MESSAGE_TYPE__CHUNK_GET;
    call->reply_buffer = fetch->buffer;
    call->reply_capacity = fetch->buffer_bytes;
    call->deadline_ns = fetch->deadline_ns;
    call->done = fetch_remote_done;

    Trilith__ChunkGetRequest request = TRILITH__CHUNK_GET_REQUEST__INIT;
    request.chunk_id.data = fetch->id.bytes;
    request.chunk_id.len = sizeof(fetch->id.bytes);
    request.disk_id = fetch->disk_id;
    request.first_unit = fetch->first_unit;
    request.unit_count = fetch->unit_count;
    rpc_call_start(rpc, call, &request.base);
}

void chunk_client_fetch(struct chunk_client *client, struct chunk_fetch *fetch)
{
    CHECK(fetch->done != NULL);
    CHECK(fetch->unit_count > 0 && fetch->first_unit + fetch->unit_count <= chunk_unit_count(fetch->chunk_bytes));
    CHECK(fetch_data_bytes(fetch) <= fetch->buffer_bytes);
    fetch->client = client;
    fetch->task.run = fetch_refused;
    struct chunk_host_disk *disk = chunk_host_find(client->host, fetch->disk_id);
    struct rpc_client *rpc = disk != NULL ? NULL : peer_of_disk(client, fetch->disk_id);
    fetch->is_remote = rpc != NULL;
    if (disk != NULL) {
        fetch_local(client, fetch, disk);
    } else if (rpc != NULL) {
        fetch_remote(fetch, rpc);
    } else {
        loop_defer(client->loop, &fetch->task);
    }
}

void chunk_fetch_cancel(struct chunk_fetch *fetch)
{
    if (fetch->is_remote) {
        rpc_call_cancel(&fetch->via.remote);
    }
}
