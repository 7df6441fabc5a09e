/* credential_cache.h - access keys and their secrets, each for as long as its lease lasts.
 *
 * What gateway_credential() works on. That a key does not exist, or that its tenant's keys are switched off or out of
 * reach, is remembered for CREDENTIAL_REFUSED_NS, so that clients without access do not become load on the metadata
 * service. Secrets stand in guarded memory and are wiped at the first sweep after their lease, which counts from the
 * moment in which the credential was asked for.
 * Threads    Loop thread only. */
#ifndef TRILITH_NODE_CREDENTIAL_CACHE_H
#define TRILITH_NODE_CREDENTIAL_CACHE_H

#include "node/gateway.h"

#define CREDENTIALS_MAX          128u /* held at once */
#define CREDENTIAL_REFUSED_NS    (1 * NS_PER_S)
#define CREDENTIAL_SECRET_SLOTS  ((SECRET_KEY_BYTES_MAX + KEY_BYTES - 1) / KEY_BYTES)
#define CREDENTIAL_KEY_SLOTS_MAX (CREDENTIALS_MAX * CREDENTIAL_SECRET_SLOTS)

struct credential_cache;

/* Never NULL. Needs CREDENTIAL_KEY_SLOTS_MAX slots of `pool`. */
struct credential_cache *credential_cache_open(struct loop *loop, struct rpc_client *meta, struct key_pool *pool,
                                               uint64_t call_ns);
/* The metadata service is not to be asked any more. */
void credential_cache_stop(struct credential_cache *cache);
/* Only when idle. */
void credential_cache_close(struct credential_cache *cache);
bool credential_cache_is_idle(const struct credential_cache *cache);

/* As gateway_credential(). */
void credential_cache_find(struct credential_cache *cache, struct credential_lookup *lookup);

/* Wipe what has outlived its lease. */
void credential_cache_sweep(struct credential_cache *cache);

#endif
