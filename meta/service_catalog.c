/* service_catalog.c - requests about buckets, leaves and objects. */
#include "meta/service_private.h"

#include "meta/leaves.h"
#include "meta/registry.h"
#include "meta/tenants.h"

/* ---- buckets ----------------------------------------------------------------------------------- */

static void reply_bucket(struct meta_service *service, struct rpc_request *request, uint64_t tenant_id,
                         const char *name)
{
    struct tables *tables = service_tables(service);
    Trilith__BucketRecord *record = NULL;
    Trilith__BucketReply reply = TRILITH__BUCKET_REPLY__INIT;
    Trilith__TenantRecord *tenant = NULL;
    enum status status = catalog_bucket(tables, tenant_id, name, &record);
    if (status == STATUS_OK) {
        status = tenant_by_id(tables, tenant_id, &tenant);
    }
    if (status == STATUS_OK) {
        reply.bucket = catalog_bucket_message(tables, record);
        if (reply.bucket != NULL) {
            reply.bucket->dek_version = tenant->dek_version;
        }
    }
    service_reply(service, request, status, &reply);
}

void serve_bucket_create(struct meta_service *service, struct rpc_request *request)
{
    Trilith__BucketCreateRequest *message = MESSAGE_OF(request, Trilith__BucketCreateRequest);
    if (!bucket_name_is_valid(message->name)) {
        service_reply_status(service, request, STATUS_INVALID);
        return;
    }
    Trilith__Command command = TRILITH__COMMAND__INIT;
    command.change_case = TRILITH__COMMAND__CHANGE_BUCKET_CREATE;
    command.bucket_create = message;
    service_submit(service, request, &command);
}

void finish_bucket_create(struct meta_service *service, struct rpc_request *request, const struct outcome *outcome)
{
    const Trilith__BucketCreateRequest *message = MESSAGE_OF(request, Trilith__BucketCreateRequest);
    (void)outcome;
    reply_bucket(service, request, message->tenant_id, message->name);
}

void serve_bucket_get(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__BucketGetRequest *message = MESSAGE_OF(request, Trilith__BucketGetRequest);
    reply_bucket(service, request, message->tenant_id, message->name);
}

void serve_bucket_delete(struct meta_service *service, struct rpc_request *request)
{
    Trilith__Command command = TRILITH__COMMAND__INIT;
    command.change_case = TRILITH__COMMAND__CHANGE_BUCKET_DELETE;
    command.bucket_delete = MESSAGE_OF(request, Trilith__BucketDeleteRequest);
    service_submit(service, request, &command);
}

void serve_bucket_list(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__BucketListRequest *message = MESSAGE_OF(request, Trilith__BucketListRequest);
    Trilith__BucketListReply reply = TRILITH__BUCKET_LIST_REPLY__INIT;
    enum status status =
        catalog_bucket_list(service_tables(service), message->tenant_id, message->start_after, message->max, &reply);
    service_reply(service, request, status, &reply);
}

/* ---- leaves ------------------------------------------------------------------------------------ */

/* STATUS_KEY_REVOKED: the tenant is switched off. */
static enum status tenant_may_use(struct tables *tables, uint64_t tenant_id)
{
    Trilith__TenantRecord *tenant = NULL;
    enum status status = tenant_by_id(tables, tenant_id, &tenant);
    return status == STATUS_OK ? tenant_access(tenant) : status;
}

void serve_leaf_lease(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__LeafLeaseRequest *message = MESSAGE_OF(request, Trilith__LeafLeaseRequest);
    struct tables *tables = service_tables(service);
    Trilith__MapNode *node = NULL;
    bool valid = message->count >= 1 && message->count <= PAGE_LEAVES && message->bucket_id != 0 &&
                 catalog_reseal_lease_is_valid(message->reseal_key, message->reseal_version, message->count);
    enum status status = valid ? registry_node(tables, message->node_id, &node) : STATUS_INVALID;
    if (status == STATUS_OK) {
        status = tenant_may_use(tables, message->tenant_id);
    }
    if (status != STATUS_OK) {
        service_reply_status(service, request, status);
        return;
    }
    Trilith__LeaseLeaves lease = TRILITH__LEASE_LEAVES__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    lease.node_id = message->node_id;
    lease.tenant_id = message->tenant_id;
    lease.bucket_id = message->bucket_id;
    lease.count = message->count;
    lease.expires_ms = service_now_ms(service) + service->options.leaf_lease_ms;
    lease.reseal_key = message->reseal_key;
    lease.reseal_version = message->reseal_version;
    command.change_case = TRILITH__COMMAND__CHANGE_LEASE_LEAVES;
    command.lease_leaves = &lease;
    service_submit(service, request, &command);
}

void finish_leaf_lease(struct meta_service *service, struct rpc_request *request, const struct outcome *outcome)
{
    const struct leaf_range leased = outcome->leased;
    struct tables *tables = service_tables(service);
    uint32_t count = leased.count;
    struct key *leaves[PAGE_LEAVES] = {NULL};
    enum status status = STATUS_OK;
    CHECK(count >= 1 && count <= PAGE_LEAVES);
    for (uint32_t i = 0; i < count; i++) {
        leaves[i] = key_take(service->keys);
        CHECK(leaves[i] != NULL); /* The pool holds a whole page, and nothing else is out between callbacks. */
        enum status derived = service_derive(service, leased.page, leased.first_slot + i, leaves[i]);
        status = status == STATUS_OK ? derived : status;
    }

    Trilith__LeafLeaseReply reply = TRILITH__LEAF_LEASE_REPLY__INIT;
    reply.page = leased.page;
    reply.first_slot = leased.first_slot;
    reply.lease_ms = (uint32_t)service->options.leaf_lease_ms;
    reply.leaves = scratch_take(&tables->scratch, count * sizeof(reply.leaves[0]));
    CHECK(reply.leaves != NULL);
    for (uint32_t i = 0; i < count; i++) {
        reply.leaves[i] = (ProtobufCBinaryData){.data = leaves[i]->bytes, .len = KEY_BYTES};
    }
    reply.n_leaves = count;
    service_reply(service, request, status, &reply);
    for (uint32_t i = 0; i < count; i++) {
        key_release(service->keys, leaves[i]);
    }
}

/* ---- objects ----------------------------------------------------------------------------------- */

void serve_object_commit(struct meta_service *service, struct rpc_request *request)
{
    Trilith__ObjectCommitRequest *message = MESSAGE_OF(request, Trilith__ObjectCommitRequest);
    if (!catalog_commit_is_valid(message)) {
        service_reply_status(service, request, STATUS_INVALID);
        return;
    }
    Trilith__Command command = TRILITH__COMMAND__INIT;
    command.change_case = TRILITH__COMMAND__CHANGE_OBJECT_COMMIT;
    command.object_commit = message;
    service_submit(service, request, &command);
}

void finish_object_commit(struct meta_service *service, struct rpc_request *request, const struct outcome *outcome)
{
    Trilith__ObjectCommitReply reply = TRILITH__OBJECT_COMMIT_REPLY__INIT;
    reply.modified_ms = outcome->modified_ms;
    reply.erasure_id = outcome->erasure_id;
    service_reply(service, request, STATUS_OK, &reply);
}

/* Find bucket and object by name. STATUS_CONFLICT: no such bucket; STATUS_NOT_FOUND: no such object. */
static enum status object_find(struct tables *tables, uint64_t tenant_id, const char *bucket_name,
                               ProtobufCBinaryData key, Trilith__BucketRecord **bucket, Trilith__Object **object)
{
    enum status status = catalog_bucket(tables, tenant_id, bucket_name, bucket);
    if (status != STATUS_OK) {
        return status == STATUS_NOT_FOUND ? STATUS_CONFLICT : status;
    }
    return catalog_object(tables, (*bucket)->id, key, object);
}

void serve_object_get(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__ObjectGetRequest *message = MESSAGE_OF(request, Trilith__ObjectGetRequest);
    Trilith__ObjectGetReply reply = TRILITH__OBJECT_GET_REPLY__INIT;
    Trilith__BucketRecord *bucket = NULL;
    struct tables *tables = service_tables(service);
    struct key *leaf = key_take(service->keys);
    CHECK(leaf != NULL);
    enum status status = object_find(tables, message->tenant_id, message->bucket, message->key, &bucket, &reply.object);
    if (status == STATUS_OK) {
        status = tenant_may_use(tables, message->tenant_id);
    }
    if (status == STATUS_OK) {
        reply.bucket_id = bucket->id;
        reply.leaf = (ProtobufCBinaryData){.data = leaf->bytes, .len = KEY_BYTES};
        status = service_derive(service, reply.object->page, reply.object->slot, leaf);
    }
    service_reply(service, request, status, &reply);
    key_release(service->keys, leaf);
}

void serve_object_delete(struct meta_service *service, struct rpc_request *request)
{
    Trilith__Command command = TRILITH__COMMAND__INIT;
    command.change_case = TRILITH__COMMAND__CHANGE_OBJECT_DELETE;
    command.object_delete = MESSAGE_OF(request, Trilith__ObjectDeleteRequest);
    service_submit(service, request, &command);
}

void finish_object_delete(struct meta_service *service, struct rpc_request *request, const struct outcome *outcome)
{
    Trilith__ObjectDeleteReply reply = TRILITH__OBJECT_DELETE_REPLY__INIT;
    reply.erasure_id = outcome->erasure_id;
    service_reply(service, request, STATUS_OK, &reply);
}

void serve_object_list(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__ObjectListRequest *message = MESSAGE_OF(request, Trilith__ObjectListRequest);
    struct tables *tables = service_tables(service);
    Trilith__ObjectListReply reply = TRILITH__OBJECT_LIST_REPLY__INIT;
    Trilith__BucketRecord *bucket = NULL;
    enum status status = catalog_bucket(tables, message->tenant_id, message->bucket, &bucket);
    if (status == STATUS_OK) {
        const struct list_query query = {.bucket_id = bucket->id,
                                         .prefix = message->prefix,
                                         .delimiter = message->delimiter,
                                         .start_after = message->start_after,
                                         .max = message->max};
        status = catalog_list(tables, &query, &reply);
    } else if (status == STATUS_NOT_FOUND) {
        status = STATUS_CONFLICT;
    }
    service_reply(service, request, status, &reply);
}

/* The tenant that an operator names, directly or through an access key. */
static enum status locate_tenant(struct tables *tables, const Trilith__ObjectLocateRequest *message,
                                 uint64_t *tenant_id)
{
    enum status status;
    if (message->tenant[0] != '\0') {
        Trilith__TenantRecord *tenant = NULL;
        status = tenant_by_name(tables, message->tenant, &tenant);
        *tenant_id = status == STATUS_OK ? tenant->id : 0;
        return status;
    }
    Trilith__CredentialRecord *credential = NULL;
    status = credential_get(tables, message->access_key, &credential);
    *tenant_id = status == STATUS_OK ? credential->tenant_id : 0;
    return status;
}

void serve_object_locate(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__ObjectLocateRequest *message = MESSAGE_OF(request, Trilith__ObjectLocateRequest);
    struct tables *tables = service_tables(service);
    Trilith__ObjectLocateReply reply = TRILITH__OBJECT_LOCATE_REPLY__INIT;
    Trilith__BucketRecord *bucket = NULL;
    uint64_t tenant_id = 0;
    enum status status = locate_tenant(tables, message, &tenant_id);
    if (status == STATUS_OK) {
        status = object_find(tables, tenant_id, message->bucket, message->key, &bucket, &reply.object);
    } else if (status == STATUS_NOT_FOUND) {
        status = STATUS_CONFLICT;
    }
    if (status == STATUS_OK) {
        status = registry_map(tables, state_cluster(service->parts.state)->map_epoch, &reply.map);
    }
    if (status == STATUS_OK) {
        reply.health = service_disk_health(service, reply.map);
        reply.n_health = reply.health != NULL ? reply.map->n_disks : 0;
    }
    service_reply(service, request, status, &reply);
}
