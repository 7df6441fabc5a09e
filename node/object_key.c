/* object_key.c - derived from leaf and DEK, wiped when the DEK's lease is over, derived again when it was renewed. */
#include "node/object_key.h"

static void dek_here(struct tenant_key_wait *wait, enum status status, const struct tenant_key *dek);

static void dek_ask(struct object_key *key)
{
    key->asking = true;
    key->wait.dek_version = key->dek_version;
    key->wait.done = dek_here;
    tenant_keys_get(key->tenant_keys, &key->wait);
}

static void derived_wipe(struct object_key *key)
{
    key_release(key->pool, key->derived);
    key->derived = NULL;
}

static void dek_here(struct tenant_key_wait *wait, enum status status, const struct tenant_key *dek)
{
    struct object_key *key = CONTAINER_OF(wait, struct object_key, wait);
    key->asking = false;
    derived_wipe(key);
    if (status == STATUS_OK) {
        key->derived = key_take(key->pool);
        status = key->derived == NULL ? STATUS_BUSY : STATUS_OK;
    }
    if (status == STATUS_OK) {
        derive_object_key(key->leaf, dek->key, &key->identity, key->derived);
        key->dek_version = dek->version;
        key->until_ns = dek->until_ns;
    }
    key->ready(key, status);
}

void object_key_begin(struct object_key *key, struct loop *loop, struct tenant_keys *tenant_keys, struct key_pool *pool,
                      uint64_t tenant_id, uint32_t dek_version, struct key *leaf)
{
    CHECK(key->leaf == NULL && leaf != NULL);
    key->loop = loop;
    key->tenant_keys = tenant_keys;
    key->pool = pool;
    key->leaf = leaf;
    key->dek_version = dek_version;
    key->wait.tenant_id = tenant_id;
    dek_ask(key);
}

void object_key_sweep(struct object_key *key)
{
    if (key->derived != NULL && loop_now_ns(key->loop) >= key->until_ns) {
        derived_wipe(key);
    }
}

const struct key *object_key_use(struct object_key *key)
{
    if (key->leaf == NULL) {
        return NULL;
    }
    object_key_sweep(key);
    if (key->derived == NULL && !key->asking) {
        dek_ask(key);
    }
    return key->derived;
}

void object_key_end(struct object_key *key)
{
    if (key->leaf == NULL) {
        return;
    }
    if (key->asking) {
        tenant_keys_cancel(&key->wait);
        key->asking = false;
    }
    derived_wipe(key);
    key_release(key->pool, key->leaf);
    key->leaf = NULL;
}
