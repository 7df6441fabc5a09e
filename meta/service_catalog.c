/* service_catalog.c - requests about buckets, leaves and objects. */
#include "meta/service_private.h"

#include "meta/leaves.h"
#include "meta/registry.h"
#include "meta/tenants.h"

#include "base/bytes.h"
#include "base/digest.h"

#include <stdio.h>
#include <string.h>

/* ---- buckets ----------------------------------------------------------------------------------- */

void service_reply_bucket(struct meta_service *service, struct rpc_request *request, uint64_t tenant_id,
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
    service_reply_bucket(service, request, message->tenant_id, message->name);
}

void serve_bucket_get(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__BucketGetRequest *message = MESSAGE_OF(request, Trilith__BucketGetRequest);
    service_reply_bucket(service, request, message->tenant_id, message->name);
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

/* ---- names of objects -------------------------------------------------------------------------- */

#define REF_KEY_LABEL "object-ref"

/* K_ref of a tenant. STATUS_NOT_FOUND: it has none. */
static enum status ref_key(struct meta_service *service, uint64_t tenant_id, struct key *key)
{
    Trilith__TenantRecord *tenant = NULL;
    enum status status = tenant_by_id(service_tables(service), tenant_id, &tenant);
    if (status != STATUS_OK || tenant->ref_page == 0) {
        return status == STATUS_OK ? STATUS_NOT_FOUND : status;
    }
    struct key *leaf = key_take(service->keys);
    CHECK(leaf != NULL);
    status = service_derive(service, tenant->ref_page, tenant->ref_slot, leaf);
    if (status == STATUS_OK) {
        derive_named_key(leaf, REF_KEY_LABEL, key);
    }
    key_release(service->keys, leaf);
    return status;
}

enum status service_ref_salt(struct meta_service *service, uint64_t tenant_id, const char *bucket,
                             ProtobufCBinaryData object_key, uint8_t salt[SHA256_BYTES])
{
    uint8_t name[BUCKET_NAME_BYTES_MAX + 1 + OBJECT_KEY_BYTES_MAX];
    size_t bucket_bytes = strlen(bucket) + 1; /* With its 00. */
    if (bucket_bytes > BUCKET_NAME_BYTES_MAX + 1 || object_key.len > OBJECT_KEY_BYTES_MAX) {
        return STATUS_INVALID;
    }
    struct byte_writer writer = byte_writer_of(name, sizeof(name));
    write_bytes(&writer, bucket, bucket_bytes);
    write_bytes(&writer, object_key.data, object_key.len);
    struct key *key = key_take(service->keys);
    CHECK(key != NULL);
    enum status status = ref_key(service, tenant_id, key);
    if (status == STATUS_OK) {
        hmac_sha256(key->bytes, KEY_BYTES, name, writer.written, salt);
    }
    key_release(service->keys, key);
    return status;
}

/* Let `*ref_salt` be what the certificate of an erasure of this object is to be made with, or nothing when its tenant
 * has no reference key (any more); whatever the request said. STATUS_OK, else nothing may be erased now. */
static enum status ref_salt_fill(struct meta_service *service, uint64_t tenant_id, const char *bucket,
                                 ProtobufCBinaryData object_key, uint8_t salt[SHA256_BYTES],
                                 ProtobufCBinaryData *ref_salt)
{
    enum status status = service_ref_salt(service, tenant_id, bucket, object_key, salt);
    *ref_salt = (ProtobufCBinaryData){0};
    if (status == STATUS_OK) {
        *ref_salt = (ProtobufCBinaryData){.data = salt, .len = SHA256_BYTES};
    }
    bool has_none = status == STATUS_NOT_FOUND || status == STATUS_GONE || status == STATUS_INVALID;
    return has_none ? STATUS_OK : status;
}

void serve_object_opening(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__ObjectOpeningRequest *message = MESSAGE_OF(request, Trilith__ObjectOpeningRequest);
    Trilith__ObjectOpeningReply reply;
    Trilith__TenantRecord *tenant = NULL;
    uint8_t salt[SHA256_BYTES];
    trilith__object_opening_reply__init(&reply);
    enum status status = tenant_by_name(service_tables(service), message->tenant, &tenant);
    if (status == STATUS_OK) {
        status = service_ref_salt(service, tenant->id, message->bucket, message->key, salt);
        reply.ref_salt = (ProtobufCBinaryData){.data = salt, .len = SHA256_BYTES};
    }
    service_reply(service, request, status, &reply);
    wipe_memory(salt, sizeof(salt));
}

/* ---- objects ----------------------------------------------------------------------------------- */

void serve_object_commit(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__ObjectCommitRequest *message = MESSAGE_OF(request, Trilith__ObjectCommitRequest);
    Trilith__ObjectCommitRequest commit = *message;
    Trilith__BucketRecord *bucket = NULL;
    char name[BUCKET_NAME_BYTES_MAX + 1];
    uint8_t salt[SHA256_BYTES];
    enum status status = catalog_commit_is_valid(message) ? STATUS_OK : STATUS_INVALID;
    if (status == STATUS_OK) {
        status = catalog_bucket_by_id(service_tables(service), message->bucket_id, &bucket);
    }
    if (status == STATUS_OK) {
        (void)snprintf(name, sizeof(name), "%s", bucket->name);
        status = ref_salt_fill(service, message->tenant_id, name, message->key, salt, &commit.ref_salt);
    }
    if (status != STATUS_OK) {
        service_reply_status(service, request, status);
        return;
    }
    Trilith__Command command = TRILITH__COMMAND__INIT;
    command.change_case = TRILITH__COMMAND__CHANGE_OBJECT_COMMIT;
    command.object_commit = &commit;
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
        reply.journal_index = state_applied_index(service->parts.state);
        reply.bucket_id = bucket->id;
        reply.leaf = (ProtobufCBinaryData){.data = leaf->bytes, .len = KEY_BYTES};
        status = service_derive(service, reply.object->page, reply.object->slot, leaf);
    }
    service_reply(service, request, status, &reply);
    key_release(service->keys, leaf);
}

void serve_object_delete(struct meta_service *service, struct rpc_request *request)
{
    const Trilith__ObjectDeleteRequest *message = MESSAGE_OF(request, Trilith__ObjectDeleteRequest);
    Trilith__ObjectDeleteRequest delete = *message;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    uint8_t salt[SHA256_BYTES];
    enum status status =
        ref_salt_fill(service, message->tenant_id, message->bucket, message->key, salt, &delete.ref_salt);
    if (status != STATUS_OK) {
        service_reply_status(service, request, status);
        return;
    }
    command.change_case = TRILITH__COMMAND__CHANGE_OBJECT_DELETE;
    command.object_delete = &delete;
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
