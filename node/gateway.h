/* gateway.h - what one reactor of a node needs to serve S3: the map, the metadata service, peers, keys, buffers.
 *
 * One per reactor, opened by main.c; nothing in it is shared with another reactor. The S3 front (node/s3) and the
 * object operations (object.h) get their parts from here.
 * Threads    Loop thread only. */
#ifndef TRILITH_NODE_GATEWAY_H
#define TRILITH_NODE_GATEWAY_H

#include "base/keys.h"
#include "base/loop.h"
#include "base/slab.h"
#include "proto/rpc.h"

struct gateway;

enum role { ROLE_VIEWER = 1, ROLE_EDITOR = 2, ROLE_OWNER = 3 };

#define ACCESS_KEY_BYTES_MAX  64
#define SECRET_KEY_BYTES_MAX  64
#define TENANT_NAME_BYTES_MAX 64

/* An access key and whose it is. The secret stands in guarded memory; it serves no longer than its lease. */
struct credential {
    char access_key[ACCESS_KEY_BYTES_MAX + 1];
    uint64_t tenant_id;
    char tenant_name[TENANT_NAME_BYTES_MAX + 1];
    enum role role;
    const char *secret_key; /* terminated; in guarded memory */
};

/* Find a credential, from the cache or from the metadata service. The caller fills `access_key`. `done` runs once,
 * later: STATUS_OK and `credential` (valid until `done` returns), STATUS_NOT_FOUND, STATUS_KEY_REVOKED, STATUS_KEY_AWAY,
 * STATUS_UNAVAILABLE, STATUS_TIMEOUT, STATUS_BUSY. */
struct credential_lookup {
    char access_key[ACCESS_KEY_BYTES_MAX + 1];
    void (*done)(struct credential_lookup *lookup, enum status status, const struct credential *credential);

    struct gateway *gateway; /* private */
    struct rpc_call call;
    struct loop_task task;
    struct list_link link;
};
void gateway_credential(struct gateway *gateway, struct credential_lookup *lookup);
/* Give up: `done` does not run any more. Harmless when it ran already. */
void gateway_credential_cancel(struct credential_lookup *lookup);

struct loop *gateway_loop(struct gateway *gateway);
/* For buckets, listings and deletes, the front speaks to the metadata service itself. */
struct rpc_client *gateway_meta(struct gateway *gateway);
/* How long a call to the metadata service may take, as a deadline from now. */
uint64_t gateway_meta_deadline_ns(struct gateway *gateway);
/* The name of this node, for the Server header and logs. */
const char *gateway_node_name(const struct gateway *gateway);

#endif
