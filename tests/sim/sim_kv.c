/* sim_kv.c - a persistent treap: every version of the table is a root, and versions share what they have in common.
 *
 * That makes the three things a table must do here one and the same: an iterator keeps the root of its time, a crash
 * goes back to an older root, a write that fails leaves the root alone. Nodes are immutable once they are linked and
 * are counted. A node's priority is a hash of its key, so the shape depends on the keys alone. */
#include "tests/sim/sim_kv.h"

#include "tests/sim/sim_random.h"

#include <stdlib.h>
#include <string.h>

#define VERSIONS_MAX 1024

/* A key and its value, shared by all versions of the node. */
struct entry {
    unsigned references;
    size_t key_bytes;
    size_t value_bytes;
    uint8_t data[]; /* key, then value */
};

struct node {
    unsigned references;
    uint64_t priority;
    struct entry *entry;
    struct node *left;
    struct node *right;
};

struct sim_kv {
    struct kv base;
    struct node *root;
    struct node *versions[VERSIONS_MAX]; /* a ring: the states before each batch since the last flush */
    size_t version_first;
    size_t version_count;
    uint64_t fail_countdown; /* 0: nothing fails for good */
    uint64_t fail_some;      /* how many of the next calls fail */
    enum status fail_some_status;
    struct sim_kv_counts counts;
    bool remembers;
    struct entry **remembered; /* every row that was ever written */
    size_t remembered_count;
    size_t remembered_capacity;
};

struct operation {
    bool deletes;
    struct entry *entry; /* the value is empty when it deletes */
};

struct sim_batch {
    struct kv_batch base;
    struct operation *operations;
    size_t count;
    size_t capacity;
};

struct sim_iterator {
    struct kv_iterator base;
    struct node *root;
    const struct node *at; /* NULL: past the end */
};

static struct sim_kv *sim_of(struct kv *kv)
{
    return CONTAINER_OF(kv, struct sim_kv, base);
}

/* ---- the treap ------------------------------------------------------------------------------------ */

static struct entry *entry_new(struct kv_slice key, struct kv_slice value)
{
    struct entry *entry = malloc(sizeof(*entry) + key.bytes + value.bytes);
    CHECK(entry != NULL);
    entry->references = 1;
    entry->key_bytes = key.bytes;
    entry->value_bytes = value.bytes;
    if (key.bytes > 0) {
        memcpy(entry->data, key.data, key.bytes);
    }
    if (value.bytes > 0) {
        memcpy(entry->data + key.bytes, value.data, value.bytes);
    }
    return entry;
}

static struct entry *entry_hold(struct entry *entry)
{
    entry->references++;
    return entry;
}

static void entry_release(struct entry *entry)
{
    if (--entry->references == 0) {
        free(entry);
    }
}

static struct kv_slice entry_key(const struct entry *entry)
{
    return KV_SLICE(entry->data, entry->key_bytes);
}

static int key_compare(struct kv_slice a, struct kv_slice b)
{
    size_t shared = a.bytes < b.bytes ? a.bytes : b.bytes;
    int order = shared == 0 ? 0 : memcmp(a.data, b.data, shared);
    return order != 0 ? order : (a.bytes > b.bytes) - (a.bytes < b.bytes);
}

static uint64_t key_priority(struct kv_slice key)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a, then mixed. */
    const uint8_t *bytes = key.data;
    for (size_t i = 0; i < key.bytes; i++) {
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    return sim_splitmix(&hash);
}

static struct node *node_hold(struct node *node)
{
    if (node != NULL) {
        node->references++;
    }
    return node;
}

static void node_release(struct node *node)
{
    if (node == NULL || --node->references > 0) {
        return;
    }
    node_release(node->left);
    node_release(node->right);
    entry_release(node->entry);
    free(node);
}

/* All of `entry`, `left` and `right` are given away to the new node. */
static struct node *node_new(struct entry *entry, uint64_t priority, struct node *left, struct node *right)
{
    struct node *node = malloc(sizeof(*node));
    CHECK(node != NULL);
    *node = (struct node){.references = 1, .priority = priority, .entry = entry, .left = left, .right = right};
    return node;
}

/* The nodes of `node` below `key` and above it, as two new trees; a node with that very key is left out. `node` itself
 * is only borrowed. */
static void tree_split(struct node *node, struct kv_slice key, struct node **below, struct node **above)
{
    if (node == NULL) {
        *below = NULL;
        *above = NULL;
        return;
    }
    int order = key_compare(entry_key(node->entry), key);
    if (order == 0) {
        *below = node_hold(node->left);
        *above = node_hold(node->right);
    } else if (order < 0) {
        struct node *rest = NULL;
        tree_split(node->right, key, &rest, above);
        *below = node_new(entry_hold(node->entry), node->priority, node_hold(node->left), rest);
    } else {
        struct node *rest = NULL;
        tree_split(node->left, key, below, &rest);
        *above = node_new(entry_hold(node->entry), node->priority, rest, node_hold(node->right));
    }
}

/* One tree of two that are only borrowed; all keys of `below` are smaller. */
static struct node *tree_join(struct node *below, struct node *above)
{
    if (below == NULL || above == NULL) {
        return node_hold(below == NULL ? above : below);
    }
    if (below->priority >= above->priority) {
        return node_new(entry_hold(below->entry), below->priority, node_hold(below->left),
                        tree_join(below->right, above));
    }
    return node_new(entry_hold(above->entry), above->priority, tree_join(below, above->left), node_hold(above->right));
}

static const struct node *tree_find(const struct node *node, struct kv_slice key)
{
    while (node != NULL) {
        int order = key_compare(key, entry_key(node->entry));
        if (order == 0) {
            return node;
        }
        node = order < 0 ? node->left : node->right;
    }
    return NULL;
}

/* The first node at or (`after`) behind `key`. */
static const struct node *tree_seek(const struct node *node, struct kv_slice key, bool after)
{
    const struct node *best = NULL;
    while (node != NULL) {
        int order = key_compare(entry_key(node->entry), key);
        if (order > 0 || (order == 0 && !after)) {
            best = node;
            node = node->left;
        } else {
            node = node->right;
        }
    }
    return best;
}

/* The table after one operation, as a new root; `root` is only borrowed. */
static struct node *tree_apply(struct node *root, const struct operation *operation)
{
    struct kv_slice key = entry_key(operation->entry);
    struct node *below = NULL;
    struct node *above = NULL;
    tree_split(root, key, &below, &above);
    struct node *left = below;
    if (!operation->deletes) {
        struct node *single = node_new(entry_hold(operation->entry), key_priority(key), NULL, NULL);
        left = tree_join(below, single);
        node_release(below);
        node_release(single);
    }
    struct node *result = tree_join(left, above);
    node_release(left);
    node_release(above);
    return result;
}

/* ---- reading and writing ---------------------------------------------------------------------------- */

static enum status sim_get(struct kv *kv, struct kv_slice key, void *buffer, size_t capacity, size_t *bytes)
{
    const struct node *node = tree_find(sim_of(kv)->root, key);
    if (node == NULL) {
        return STATUS_NOT_FOUND;
    }
    *bytes = node->entry->value_bytes;
    if (*bytes > capacity) {
        return STATUS_TOO_LARGE;
    }
    if (*bytes > 0) {
        memcpy(buffer, node->entry->data + node->entry->key_bytes, *bytes);
    }
    return STATUS_OK;
}

/* What becomes of the next call that writes. */
static enum status next_outcome(struct sim_kv *sim)
{
    enum status outcome = STATUS_OK;
    if (sim->fail_some > 0) {
        sim->fail_some--;
        outcome = sim->fail_some_status;
    }
    if (sim->fail_countdown == 1) {
        outcome = STATUS_IO;
    } else if (sim->fail_countdown > 1) {
        sim->fail_countdown--;
    }
    sim->counts.failed += outcome != STATUS_OK ? 1 : 0;
    return outcome;
}

/* Forget the `count` oldest states: they can't come back any more. */
static void versions_drop(struct sim_kv *sim, size_t count)
{
    for (; count > 0; count--) {
        node_release(sim->versions[sim->version_first]);
        sim->version_first = (sim->version_first + 1) % VERSIONS_MAX;
        sim->version_count--;
    }
}

/* Old files keep what was written, also when it was deleted or taken back since. */
static void remember(struct sim_kv *sim, const struct sim_batch *batch)
{
    for (size_t i = 0; sim->remembers && i < batch->count; i++) {
        if (batch->operations[i].deletes) {
            continue;
        }
        if (sim->remembered_count == sim->remembered_capacity) {
            sim->remembered_capacity = sim->remembered_capacity == 0 ? 64 : 2 * sim->remembered_capacity;
            sim->remembered = reallocarray(sim->remembered, sim->remembered_capacity, sizeof(struct entry *));
            CHECK(sim->remembered != NULL);
        }
        sim->remembered[sim->remembered_count++] = entry_hold(batch->operations[i].entry);
    }
}

static enum status sim_write(struct kv *kv, struct kv_batch *base)
{
    struct sim_kv *sim = sim_of(kv);
    const struct sim_batch *batch = CONTAINER_OF(base, struct sim_batch, base);
    enum status outcome = next_outcome(sim);
    if (outcome != STATUS_OK) {
        return outcome;
    }
    struct node *root = node_hold(sim->root);
    for (size_t i = 0; i < batch->count; i++) {
        struct node *next = tree_apply(root, &batch->operations[i]);
        node_release(root);
        root = next;
    }
    remember(sim, batch);
    if (sim->version_count == VERSIONS_MAX) {
        versions_drop(sim, 1);
    }
    sim->versions[(sim->version_first + sim->version_count) % VERSIONS_MAX] = sim->root;
    sim->version_count++;
    sim->root = root;
    return STATUS_OK;
}

static enum status sim_flush(struct kv *kv)
{
    struct sim_kv *sim = sim_of(kv);
    enum status outcome = next_outcome(sim);
    if (outcome != STATUS_OK) {
        return outcome;
    }
    versions_drop(sim, sim->version_count);
    return STATUS_OK;
}

/* ---- batches ---------------------------------------------------------------------------------------- */

static struct kv_batch *sim_batch_open(struct kv *kv)
{
    struct sim_batch *batch = calloc(1, sizeof(*batch));
    CHECK(batch != NULL);
    batch->base.kv = kv;
    return &batch->base;
}

static void batch_append(struct kv_batch *base, struct entry *entry, bool deletes)
{
    struct sim_batch *batch = CONTAINER_OF(base, struct sim_batch, base);
    if (batch->count == batch->capacity) {
        batch->capacity = batch->capacity == 0 ? 16 : 2 * batch->capacity;
        batch->operations = reallocarray(batch->operations, batch->capacity, sizeof(*batch->operations));
        CHECK(batch->operations != NULL);
    }
    batch->operations[batch->count++] = (struct operation){.deletes = deletes, .entry = entry};
}

static void sim_batch_put(struct kv_batch *base, struct kv_slice key, struct kv_slice value)
{
    batch_append(base, entry_new(key, value), false);
}

static void sim_batch_delete(struct kv_batch *base, struct kv_slice key)
{
    batch_append(base, entry_new(key, KV_SLICE(NULL, 0)), true);
}

static void sim_batch_clear(struct kv_batch *base)
{
    struct sim_batch *batch = CONTAINER_OF(base, struct sim_batch, base);
    for (size_t i = 0; i < batch->count; i++) {
        entry_release(batch->operations[i].entry);
    }
    batch->count = 0;
}

static void sim_batch_close(struct kv_batch *base)
{
    struct sim_batch *batch = CONTAINER_OF(base, struct sim_batch, base);
    sim_batch_clear(base);
    free(batch->operations);
    free(batch);
}

/* ---- iterators -------------------------------------------------------------------------------------- */

static struct sim_iterator *iterator_of(struct kv_iterator *base)
{
    return CONTAINER_OF(base, struct sim_iterator, base);
}

static struct kv_iterator *sim_iterator_open(struct kv *kv)
{
    struct sim_iterator *iterator = calloc(1, sizeof(*iterator));
    CHECK(iterator != NULL);
    iterator->base.kv = kv;
    iterator->root = node_hold(sim_of(kv)->root);
    return &iterator->base;
}

static void sim_seek(struct kv_iterator *base, struct kv_slice key)
{
    struct sim_iterator *iterator = iterator_of(base);
    iterator->at = tree_seek(iterator->root, key, false);
}

static bool sim_valid(struct kv_iterator *base)
{
    return iterator_of(base)->at != NULL;
}

static void sim_next(struct kv_iterator *base)
{
    struct sim_iterator *iterator = iterator_of(base);
    CHECK(iterator->at != NULL);
    iterator->at = tree_seek(iterator->root, entry_key(iterator->at->entry), true);
}

static struct kv_slice sim_key(struct kv_iterator *base)
{
    CHECK(iterator_of(base)->at != NULL);
    return entry_key(iterator_of(base)->at->entry);
}

static struct kv_slice sim_value(struct kv_iterator *base)
{
    CHECK(iterator_of(base)->at != NULL);
    const struct entry *entry = iterator_of(base)->at->entry;
    return KV_SLICE(entry->data + entry->key_bytes, entry->value_bytes);
}

static enum status sim_iterator_status(struct kv_iterator *base)
{
    (void)base;
    return STATUS_OK;
}

static void sim_iterator_close(struct kv_iterator *base)
{
    node_release(iterator_of(base)->root);
    free(iterator_of(base));
}

/* ---- life ------------------------------------------------------------------------------------------- */

static void sim_close(struct kv *kv)
{
    struct sim_kv *sim = sim_of(kv);
    versions_drop(sim, sim->version_count);
    node_release(sim->root);
    for (size_t i = 0; i < sim->remembered_count; i++) {
        entry_release(sim->remembered[i]);
    }
    free(sim->remembered);
    free(sim);
}

static const struct kv_ops sim_kv_ops = {
    .get = sim_get,
    .batch_open = sim_batch_open,
    .batch_put = sim_batch_put,
    .batch_delete = sim_batch_delete,
    .batch_clear = sim_batch_clear,
    .batch_close = sim_batch_close,
    .write = sim_write,
    .iterator_open = sim_iterator_open,
    .seek = sim_seek,
    .valid = sim_valid,
    .next = sim_next,
    .key = sim_key,
    .value = sim_value,
    .iterator_close = sim_iterator_close,
    .flush = sim_flush,
    .close = sim_close,
    .iterator_status = sim_iterator_status,
};

struct kv *sim_kv_open(void)
{
    struct sim_kv *sim = calloc(1, sizeof(*sim));
    CHECK(sim != NULL);
    sim->base.ops = &sim_kv_ops;
    return &sim->base;
}

void sim_kv_crash(struct kv *kv, uint64_t seed)
{
    struct sim_kv *sim = sim_of(kv);
    struct sim_random random = sim_random_of(seed);
    size_t kept = (size_t)sim_random_below(&random, sim->version_count + 1);
    if (kept < sim->version_count) {
        struct node *root = node_hold(sim->versions[(sim->version_first + kept) % VERSIONS_MAX]);
        node_release(sim->root);
        sim->root = root;
        sim->counts.rolled_back++;
    }
    versions_drop(sim, sim->version_count);
    sim->fail_countdown = 0;
    sim->fail_some = 0;
}

void sim_kv_lose(struct kv *kv)
{
    struct sim_kv *sim = sim_of(kv);
    sim->counts.lost += sim->root != NULL || sim->version_count > 0 ? 1 : 0;
    versions_drop(sim, sim->version_count);
    node_release(sim->root);
    sim->root = NULL;
}

void sim_kv_fail_after(struct kv *kv, uint64_t writes)
{
    sim_of(kv)->fail_countdown = writes;
}

void sim_kv_fail_some(struct kv *kv, uint64_t writes, enum status status)
{
    CHECK(writes == 0 || status != STATUS_OK);
    sim_of(kv)->fail_some = writes;
    sim_of(kv)->fail_some_status = status;
}

void sim_kv_counts(struct kv *kv, struct sim_kv_counts *counts)
{
    *counts = sim_of(kv)->counts;
}

void sim_kv_each(struct kv *kv,
                 void (*each)(void *user, const void *key, size_t key_bytes, const void *value, size_t value_bytes),
                 void *user)
{
    struct node *root = node_hold(sim_of(kv)->root); /* Stands whatever `each` does to the table. */
    const struct node *node = tree_seek(root, KV_SLICE(NULL, 0), false);
    while (node != NULL) {
        const struct entry *entry = node->entry;
        each(user, entry->data, entry->key_bytes, entry->data + entry->key_bytes, entry->value_bytes);
        node = tree_seek(root, entry_key(entry), true);
    }
    node_release(root);
}

void sim_kv_remember(struct kv *kv)
{
    sim_of(kv)->remembers = true;
}

void sim_kv_each_ever(struct kv *kv,
                      void (*each)(void *user, const void *key, size_t key_bytes, const void *value,
                                   size_t value_bytes),
                      void *user)
{
    const struct sim_kv *sim = sim_of(kv);
    for (size_t i = 0; i < sim->remembered_count; i++) {
        const struct entry *entry = sim->remembered[i];
        each(user, entry->data, entry->key_bytes, entry->data + entry->key_bytes, entry->value_bytes);
    }
}

uint64_t sim_kv_unflushed(struct kv *kv)
{
    return sim_of(kv)->version_count;
}
