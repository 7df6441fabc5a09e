/* sim_client.c - what clients ask for, how long they wait, and what they make of the answer. */
#include "tests/sim/sim_client.h"

#include "tests/sim/sim_cluster.h"
#include "tests/sim/sim_request.h"

#include <stdio.h>

#define CONTENT_BLOCK_BYTES 512u
#define MARKER_BYTES        16u
#define SPOILED_PERCENT     3u
#define LEAVES_NS_MAX       (60 * NS_PER_MS)
#define CUT_OFF_NS          NS_PER_MS
#define NO_NODE_NS          (50 * NS_PER_MS)
#define NODE_TRIES          8u

_Static_assert(sizeof(SIM_MARKER) == MARKER_BYTES + 1, "the marker is 16 bytes");
_Static_assert((CONTENT_BLOCK_BYTES - MARKER_BYTES) % sizeof(uint64_t) == 0, "the rest of a block is whole words");

/* ---- names and content ------------------------------------------------------------------------- */

/* Some keys lie below others, as in folders. */
void sim_key_name(uint32_t key, char name[SIM_KEY_NAME_BYTES])
{
    (void)snprintf(name, SIM_KEY_NAME_BYTES, key % 5 == 4 ? "folder/key-%02u" : "key-%02u", key);
}

uint32_t sim_key_from_name(const char *name, size_t name_bytes)
{
    for (uint32_t key = 0; key < SIM_KEYS_MAX; key++) {
        char known[SIM_KEY_NAME_BYTES];
        sim_key_name(key, known);
        if (strlen(known) == name_bytes && memcmp(known, name, name_bytes) == 0) {
            return key;
        }
    }
    return UINT32_MAX;
}

uint32_t sim_key_bucket(const struct sim_cluster *cluster, uint32_t key)
{
    return key % cluster->options.buckets;
}

static void block_fill(uint64_t value, uint64_t number, uint8_t block[CONTENT_BLOCK_BYTES])
{
    uint64_t state = value * UINT64_C(0x9e3779b97f4a7c15) ^ number << 40 ^ number;
    memcpy(block, SIM_MARKER, MARKER_BYTES);
    for (size_t at = MARKER_BYTES; at < CONTENT_BLOCK_BYTES; at += sizeof(uint64_t)) {
        uint64_t word = sim_splitmix(&state);
        memcpy(block + at, &word, sizeof(word));
    }
}

void sim_content_fill(uint64_t value, uint64_t offset, void *buffer, size_t bytes)
{
    uint8_t *to = buffer;
    while (bytes > 0) {
        uint8_t block[CONTENT_BLOCK_BYTES];
        size_t within = (size_t)(offset % CONTENT_BLOCK_BYTES);
        size_t part = CONTENT_BLOCK_BYTES - within < bytes ? CONTENT_BLOCK_BYTES - within : bytes;
        if (part == CONTENT_BLOCK_BYTES) {
            block_fill(value, offset / CONTENT_BLOCK_BYTES, to);
        } else {
            block_fill(value, offset / CONTENT_BLOCK_BYTES, block);
            memcpy(to, block + within, part);
        }
        to += part;
        offset += part;
        bytes -= part;
    }
}

/* ---- drawing ----------------------------------------------------------------------------------- */

static uint64_t draw_size(struct sim_random *random, const struct sim_options *options)
{
    if (sim_random_percent(random, options->large_percent)) {
        uint64_t size =
            sim_random_between(random, 0, 2) * CHUNK_BYTES_MAX + sim_random_below(random, CHUNK_BYTES_MAX) + 1;
        bool whole = sim_random_percent(random, 25);
        return whole ? (size + CHUNK_BYTES_MAX - 1) / CHUNK_BYTES_MAX * CHUNK_BYTES_MAX : size;
    }
    static const uint32_t edges[] = {0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, UNIT_BYTES - 1, UNIT_BYTES, UNIT_BYTES + 1};
    uint64_t edge = edges[sim_random_below(random, ARRAY_LENGTH(edges))];
    bool on_edge = sim_random_percent(random, 15);
    uint64_t size = sim_random_below(random, (uint64_t)options->small_bytes_max + 1);
    return on_edge && edge <= options->small_bytes_max ? edge : size;
}

static enum sim_operation_kind draw_kind(struct sim_random *random, const struct sim_options *options)
{
    uint64_t drawn = sim_random_below(random, 100);
    if (drawn < options->put_percent) {
        return SIM_PUT;
    }
    if (drawn < (uint64_t)options->put_percent + options->delete_percent) {
        return SIM_DELETE;
    }
    static const enum sim_operation_kind reads[] = {SIM_GET,       SIM_GET,       SIM_GET,  SIM_GET,
                                                    SIM_GET_RANGE, SIM_GET_RANGE, SIM_HEAD, SIM_LIST};
    return reads[sim_random_below(random, ARRAY_LENGTH(reads))];
}

/* A node that runs; nodes that don't refuse the connection at once, and the next one is tried. */
static bool draw_node(struct sim_client *client, uint32_t *number)
{
    const struct sim_cluster *cluster = client->cluster;
    for (unsigned try = 0; try < NODE_TRIES; try++) {
        *number = (uint32_t)sim_random_below(&client->random, cluster->node_count);
        if (cluster->nodes[*number].state == SIM_RUNNING) {
            return true;
        }
    }
    return false;
}

/* A key that this client writes. False: there is none. */
static bool draw_own_key(struct sim_client *client, uint32_t *key)
{
    const struct sim_cluster *cluster = client->cluster;
    if (client->number >= cluster->options.keys) {
        return false;
    }
    uint32_t own = (cluster->options.keys - client->number + cluster->client_count - 1) / cluster->client_count;
    *key = (uint32_t)sim_random_below(&client->random, own) * cluster->client_count + client->number;
    return true;
}

static void draw_range(struct sim_client *client, struct sim_operation *operation)
{
    uint64_t size = client->cluster->key_sizes[operation->key];
    operation->offset = sim_random_below(&client->random, size + 1);
    operation->length = sim_random_between(&client->random, 1, size + 16);
    if (sim_random_percent(&client->random, 50)) {
        operation->length = sim_random_between(&client->random, 1, 1000);
    }
}

static void draw_operation(struct sim_client *client)
{
    struct sim_cluster *cluster = client->cluster;
    const struct sim_options *options = &cluster->options;
    struct sim_operation *operation = &client->operation;
    operation->kind = draw_kind(&client->random, options);
    operation->key = (uint32_t)sim_random_below(&client->random, options->keys);
    bool writes = operation->kind == SIM_PUT || operation->kind == SIM_DELETE;
    if (writes && !draw_own_key(client, &operation->key)) {
        operation->kind = SIM_GET;
        writes = false;
    }
    operation->bucket = operation->kind == SIM_LIST ? (uint32_t)sim_random_below(&client->random, options->buckets)
                                                    : sim_key_bucket(cluster, operation->key);
    if (operation->kind == SIM_PUT) {
        operation->size = draw_size(&client->random, options);
        operation->spoiled = sim_random_percent(&client->random, SPOILED_PERCENT);
    } else if (operation->kind == SIM_GET_RANGE) {
        draw_range(client, operation);
    }
    client->slow = sim_random_percent(&client->random, options->slow_client_percent);
    client->leaves = (operation->kind == SIM_PUT || operation->kind == SIM_GET) &&
                     sim_random_percent(&client->random, options->client_gone_percent);
}

/* ---- life of an operation ------------------------------------------------------------------------ */

static struct loop *loop_of(struct sim_client *client)
{
    return sim_loop_interface(client->loop);
}

static void timer_after(struct sim_client *client, struct loop_timer *timer, uint64_t wait_ns)
{
    loop_timer_start(loop_of(client), timer, loop_now_ns(loop_of(client)) + wait_ns);
}

static void next_wait(struct sim_client *client, uint64_t mean_ns)
{
    if (client->loaded) {
        timer_after(client, &client->next, sim_random_below(&client->random, 2 * mean_ns + 1));
    }
}

static void next_fired(struct loop_timer *timer)
{
    struct sim_client *client = CONTAINER_OF(timer, struct sim_client, next);
    uint32_t node = 0;
    if (!draw_node(client, &node)) {
        next_wait(client, NO_NODE_NS);
        return;
    }
    memset(&client->operation, 0, sizeof(client->operation));
    client->operation.node = node;
    client->by_hand = false;
    draw_operation(client);
    sim_client_begin(client);
}

void sim_client_begin(struct sim_client *client)
{
    struct sim_cluster *cluster = client->cluster;
    struct sim_operation *operation = &client->operation;
    CHECK(!client->busy && client->request == NULL);
    client->busy = true;
    client->cut_off = false;
    operation->client = client->number;
    operation->number = ++cluster->operation_count;
    if (operation->kind == SIM_PUT) {
        operation->value = operation->value == 0 ? ++cluster->value_count : operation->value;
        cluster->key_sizes[operation->key] = operation->size;
    }
    operation->began_ns = sim_loop_world_ns(cluster->world);
    if (cluster->watch->operation_begins != NULL) {
        cluster->watch->operation_begins(cluster->watch, operation);
    }
    struct sim_node *node = &cluster->nodes[operation->node];
    uint64_t patience_ns = cluster->options.patience_ms * NS_PER_MS;
    if (node->state != SIM_RUNNING) {
        client->cut_off = true;
        patience_ns = CUT_OFF_NS;
    } else {
        client->request = sim_request_start(client, node);
        if (client->leaves) {
            patience_ns = sim_random_below(&client->random, LEAVES_NS_MAX >> sim_random_below(&client->random, 6));
        }
    }
    timer_after(client, &client->patience, patience_ns);
}

static bool is_read(enum sim_operation_kind kind)
{
    return kind != SIM_PUT && kind != SIM_DELETE;
}

static enum sim_outcome outcome_of(const struct sim_operation *operation, bool broken)
{
    unsigned http_status = operation->http_status;
    if (http_status >= 200 && http_status < 300 && !broken) {
        return SIM_DONE;
    }
    if (http_status == 404 && operation->kind != SIM_PUT) {
        return SIM_ABSENT;
    }
    return http_status >= 400 && http_status < 500 ? SIM_REFUSED : SIM_UNKNOWN;
}

/* Take what has come of the answer. */
static void answer_take(struct sim_client *client, bool complete)
{
    const struct sim_request *request = client->request;
    struct sim_operation *operation = &client->operation;
    operation->http_status = complete ? request->http_status : 0;
    operation->outcome = complete ? outcome_of(operation, request->broken) : SIM_UNKNOWN;
    if (is_read(operation->kind) && request->http_status >= 200 && request->http_status < 300) {
        operation->body = request->body;
        operation->body_bytes = request->body_bytes;
        operation->object_bytes = request->object_bytes;
    }
}

static void operation_end(struct sim_client *client)
{
    struct sim_cluster *cluster = client->cluster;
    struct sim_operation *operation = &client->operation;
    loop_timer_stop(loop_of(client), &client->patience);
    operation->ended_ns = sim_loop_world_ns(cluster->world);
    client->counts[operation->kind]++;
    client->busy = false;
    sim_loop_note(cluster->world,
                  operation->number << 16 | (uint64_t)operation->outcome << 12 | operation->http_status);
    if (cluster->watch->operation_ends != NULL) {
        cluster->watch->operation_ends(cluster->watch, operation);
    }
    if (client->by_hand) {
        return; /* Whoever waits for it looks at the answer first. */
    }
    sim_client_forget(client);
    next_wait(client, cluster->options.think_ms * NS_PER_MS);
}

void sim_client_forget(struct sim_client *client)
{
    if (client->request != NULL) {
        struct sim_request *request = client->request;
        client->request = NULL;
        sim_request_leave(request);
    }
    client->operation.body = NULL;
    client->operation.body_bytes = 0;
}

void sim_client_answered(struct sim_client *client)
{
    if (client->busy) {
        answer_take(client, true);
        operation_end(client);
    }
}

/* The client gives up: out of patience, cut off, or because it is one that leaves. */
static void patience_over(struct loop_timer *timer)
{
    struct sim_client *client = CONTAINER_OF(timer, struct sim_client, patience);
    client->operation.outcome = SIM_UNKNOWN;
    if (client->request != NULL) {
        answer_take(client, false);
    }
    client->operation.client_left = client->leaves && !client->cut_off;
    client->operation.node_went_down = client->leaves || client->cut_off;
    operation_end(client);
}

void sim_client_node_went_down(struct sim_client *client, const struct sim_node *node, bool silent)
{
    if (!client->busy || client->request == NULL || client->request->node != node || client->request->ended) {
        return;
    }
    client->cut_off = true;
    if (!silent) {
        timer_after(client, &client->patience, CUT_OFF_NS);
    }
}

/* ---- load -------------------------------------------------------------------------------------- */

void sim_client_init(struct sim_client *client, struct sim_cluster *cluster, uint32_t number)
{
    char name[24];
    memset(client, 0, sizeof(*client));
    (void)snprintf(name, sizeof(name), "client%u", number + 1);
    client->cluster = cluster;
    client->number = number;
    client->random = sim_random_of(cluster->options.seed ^ (UINT64_C(0x636c69656e74) << 8 | number)); /* "client" */
    client->loop = sim_loop_fork(cluster->world, name, sim_random_u64(&client->random));
    client->next.fire = next_fired;
    client->patience.fire = patience_over;
}

void sim_client_load(struct sim_client *client, bool on)
{
    client->loaded = on;
    if (!on) {
        loop_timer_stop(loop_of(client), &client->next);
    } else if (!client->busy && !loop_timer_is_armed(&client->next)) {
        next_wait(client, client->cluster->options.think_ms * NS_PER_MS);
    }
}
