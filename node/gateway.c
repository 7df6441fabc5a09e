/* gateway.c - one reactor's gateway: opened, given maps, swept, stopped, closed. */
#include "node/gateway_parts.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

/* How long a key may stand in memory after its lease. */
#define SWEEP_EVERY_NS (1 * NS_PER_S)

/* A put or get holds its leaf and its object key, and for a moment a chunk key or metadata key besides. */
#define KEYS_PER_OPERATION 3u

static void sweep_fired(struct loop_timer *timer)
{
    struct gateway *gateway = CONTAINER_OF(timer, struct gateway, sweep);
    tenant_keys_sweep(gateway->tenant_keys);
    leaf_leases_sweep(gateway->leaves);
    credential_cache_sweep(gateway->credentials);
    object_puts_sweep(gateway);
    object_gets_sweep(gateway);
    if (gateway->sealer_is_set && loop_now_ns(gateway->loop) >= gateway->sealer_until_ns) {
        sealer_forget(gateway->sealer);
        gateway->sealer_is_set = false;
    }
    loop_timer_start(gateway->loop, &gateway->sweep, loop_now_ns(gateway->loop) + SWEEP_EVERY_NS);
}

struct gateway *gateway_open(const struct gateway_options *options)
{
    CHECK(options->puts_max > 0 && options->gets_max > 0);
    uint32_t key_slots = LEAF_KEY_SLOTS_MAX + TENANT_KEYS_MAX + CREDENTIAL_KEY_SLOTS_MAX +
                         (options->puts_max + options->gets_max) * KEYS_PER_OPERATION;
    struct sealer *sealer = sealer_open(options->sealer);
    struct key_pool *keys = key_pool_open(key_slots);
    struct rpc_client *meta = rpc_client_open(options->loop, options->net, options->meta_address);
    if (sealer == NULL || keys == NULL || meta == NULL) {
        log_event(LOG_ERROR, "gateway_open_failed", "cipher=%s keys=%s", sealer == NULL ? "failed" : "ok",
                  keys == NULL ? "not_lockable" : "ok");
        if (sealer != NULL) {
            sealer_close(sealer);
        }
        if (keys != NULL) {
            key_pool_close(keys);
        }
        if (meta != NULL) {
            rpc_client_close(meta);
        }
        return NULL;
    }
    struct gateway *gateway = calloc(1, sizeof(*gateway));
    CHECK(gateway != NULL);
    gateway->options = *options;
    gateway->loop = options->loop;
    gateway->slabs = options->slabs;
    gateway->sealer = sealer;
    gateway->keys = keys;
    gateway->meta = meta;
    snprintf(gateway->node_name, sizeof(gateway->node_name), "%s", options->node_name);
    gateway->chunks = chunk_client_open(options->loop, options->net, options->host);
    gateway->tenant_keys = tenant_keys_open(options->loop, meta, keys, options->meta_call_ns);
    gateway->leaves = leaf_leases_open(options->loop, meta, keys, options->meta_call_ns);
    gateway->credentials = credential_cache_open(options->loop, meta, keys, options->meta_call_ns);
    key_holder_init(&gateway->key_holder, options->horizon);
    gateway->commit = calloc(1, sizeof(*gateway->commit));
    CHECK(gateway->commit != NULL);
    object_puts_open(gateway, options->puts_max);
    object_gets_open(gateway, options->gets_max);
    gateway->sweep.fire = sweep_fired;
    loop_timer_start(gateway->loop, &gateway->sweep, loop_now_ns(gateway->loop) + SWEEP_EVERY_NS);
    return gateway;
}

void gateway_stop(struct gateway *gateway)
{
    CHECK(!gateway->stopped);
    gateway->stopped = true;
    loop_timer_stop(gateway->loop, &gateway->sweep);
    object_puts_stop(gateway);
    object_gets_stop(gateway);
    tenant_keys_stop(gateway->tenant_keys);
    leaf_leases_stop(gateway->leaves);
    credential_cache_stop(gateway->credentials);
    rpc_client_close(gateway->meta);
    gateway->meta = NULL;
}

bool gateway_is_idle(const struct gateway *gateway)
{
    return gateway->puts_in_flight == 0 && gateway->gets_in_flight == 0 && tenant_keys_is_idle(gateway->tenant_keys) &&
           leaf_leases_is_idle(gateway->leaves) && credential_cache_is_idle(gateway->credentials);
}

void gateway_close(struct gateway *gateway)
{
    CHECK(gateway->stopped);
    CHECK(gateway_is_idle(gateway));
    object_puts_close(gateway);
    object_gets_close(gateway);
    tenant_keys_close(gateway->tenant_keys);
    leaf_leases_close(gateway->leaves);
    credential_cache_close(gateway->credentials);
    chunk_client_close(gateway->chunks);
    sealer_close(gateway->sealer);
    CHECK(key_pool_in_use(gateway->keys) == 0);
    key_pool_close(gateway->keys);
    free(gateway->commit);
    free(gateway);
}

void gateway_set_map(struct gateway *gateway, struct map *map, uint64_t local_node)
{
    chunk_client_set_map(gateway->chunks, map, local_node);
    leaf_leases_set_node(gateway->leaves, local_node);
}

enum status gateway_sealer_begin(struct gateway *gateway, const struct object_key *object_key,
                                 const struct chunk_binding *binding)
{
    CHECK(object_key->derived != NULL && loop_now_ns(gateway->loop) < object_key->until_ns);
    gateway->sealer_until_ns = object_key->until_ns;
    if (gateway->sealer_is_set && chunk_id_equal(&gateway->sealer_chunk, &binding->chunk)) {
        return STATUS_OK;
    }
    struct key *chunk_key = key_take(gateway->keys);
    if (chunk_key == NULL) {
        return STATUS_BUSY;
    }
    derive_chunk_key(object_key->derived, &binding->chunk, chunk_key);
    sealer_begin(gateway->sealer, chunk_key, binding);
    key_release(gateway->keys, chunk_key);
    gateway->sealer_chunk = binding->chunk;
    gateway->sealer_is_set = true;
    return STATUS_OK;
}

void gateway_sealer_forget(struct gateway *gateway, const struct chunk_id *chunk)
{
    if (gateway->sealer_is_set && chunk_id_equal(&gateway->sealer_chunk, chunk)) {
        sealer_forget(gateway->sealer);
        gateway->sealer_is_set = false;
    }
}

bool gateway_is_busy(const struct gateway *gateway)
{
    return gateway->puts_in_flight > gateway->options.puts_max / 2 ||
           gateway->gets_in_flight > gateway->options.gets_max / 2;
}

/* ---- for the S3 front --------------------------------------------------------------------------- */

void gateway_credential(struct gateway *gateway, struct credential_lookup *lookup)
{
    lookup->gateway = gateway;
    credential_cache_find(gateway->credentials, lookup);
}

void gateway_credential_cancel(struct credential_lookup *lookup)
{
    list_remove(&lookup->link);
}

struct loop *gateway_loop(struct gateway *gateway)
{
    return gateway->loop;
}

struct rpc_client *gateway_meta(struct gateway *gateway)
{
    return gateway->meta;
}

uint64_t gateway_meta_deadline_ns(struct gateway *gateway)
{
    return loop_now_ns(gateway->loop) + gateway->options.meta_call_ns;
}

const char *gateway_node_name(const struct gateway *gateway)
{
    return gateway->node_name;
}
