/* service_private.h - private to the service: its core (service.c) and the requests by subject (service_nodes.c,
 * service_catalog.c, service_tenants.c). */
#ifndef TRILITH_META_SERVICE_PRIVATE_H
#define TRILITH_META_SERVICE_PRIVATE_H

#include "meta/membership.h"
#include "meta/service.h"
#include "proto/rpc.h"

#define ACCESS_KEY_BYTES 21 /* with the terminator */
#define SECRET_KEY_BYTES 41

/* A command under way and the request that waits for it. */
struct operation {
    struct journal_entry entry;
    struct rpc_request *request;       /* NULL: the service's own */
    struct list_link link;             /* in free or busy */
    char access_key[ACCESS_KEY_BYTES]; /* CREDENTIAL_CREATE: the one that was drawn */
};

struct meta_service {
    struct meta_service_parts parts;
    struct meta_service_options options;
    struct journal_user journal_user;
    struct rpc_service rpc;
    struct rpc_server *server;
    struct journal *journal;
    struct vault *vault;
    struct key_pool *keys;
    struct membership membership;
    struct operation *operations; /* SERVICE_OPERATIONS_MAX */
    struct list free;
    struct list busy;
    uint8_t *command; /* COMMAND_BYTES_MAX: one being packed */
    struct loop_timer tick;
    enum status failed;
    bool stopping;
    char address[NET_ADDRESS_BYTES];
    void (*started)(void *user, enum status status);
    void *started_user;
    struct loop_task start_task;
    enum status start_status;
    void (*stopped)(void *user);
    void *stopped_user;
};

/* Pack `command` (its time is filled in) and put it into the journal on behalf of `request`. When that is refused the
 * request is answered at once. */
struct operation *service_submit(struct meta_service *service, struct rpc_request *request, Trilith__Command *command);

/* Answer. A read that found the tables damaged ends the service and is answered with STATUS_IO. */
void service_reply(struct meta_service *service, struct rpc_request *request, enum status status, const void *reply);
void service_reply_status(struct meta_service *service, struct rpc_request *request, enum status status);

/* Tables for a read: their scratch memory is empty. */
struct tables *service_tables(struct meta_service *service);
void service_fail(struct meta_service *service, enum status status);

/* Each serves one type: replies, or submits a command. */
typedef void service_request(struct meta_service *service, struct rpc_request *request);
/* Each answers one type after its command was applied (outcome.status is STATUS_OK). */
typedef void service_finish(struct meta_service *service, const struct operation *operation,
                            const struct outcome *outcome);

service_request serve_node_register, serve_node_heartbeat, serve_chunks_abort, serve_chunks_check, serve_wipe_pull,
    serve_wipe_done, serve_cluster_status, serve_erasure_get, serve_erasure_list;
service_finish finish_node_register, finish_chunks_check;

service_request serve_bucket_create, serve_bucket_get, serve_bucket_delete, serve_bucket_list, serve_leaf_lease,
    serve_object_commit, serve_object_get, serve_object_delete, serve_object_list, serve_object_locate;
service_finish finish_bucket_create, finish_leaf_lease, finish_object_commit, finish_object_delete;

service_request serve_tenant_key, serve_credential_get, serve_tenant_create, serve_tenant_list, serve_credential_create,
    serve_credential_list, serve_credential_revoke;
service_finish finish_tenant_create, finish_credential_create;

/* The health of all disks of `map`, in scratch memory. NULL: no room. */
Trilith__DiskHealth **service_disk_health(struct meta_service *service, const Trilith__Map *map);

#endif
