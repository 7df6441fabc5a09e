/* codec.c - the table of message types: what a request and a reply of each carries. */
#include "proto/codec.h"

#include "proto/rpc.h"

#define UNPACKED_FACTOR    24u
#define UNPACKED_ALLOWANCE (64u * 1024u)

struct message_type {
    const ProtobufCMessageDescriptor *request;
    const ProtobufCMessageDescriptor *reply;
    bool reply_is_secret;
};

#define ENTRY(TYPE, request_name, reply_name)                                                                          \
    [TRILITH__MESSAGE_TYPE__##                                                                                         \
        TYPE] = {&trilith__##request_name##__descriptor, &trilith__##reply_name##__descriptor, false}
#define SECRET_ENTRY(TYPE, request_name, reply_name)                                                                   \
    [TRILITH__MESSAGE_TYPE__##                                                                                         \
        TYPE] = {&trilith__##request_name##__descriptor, &trilith__##reply_name##__descriptor, true}

/* By number; holes are types that do not exist. */
static const struct message_type message_types[] = {
    ENTRY(CHUNK_PUT, chunk_put_request, empty),
    ENTRY(CHUNK_GET, chunk_get_request, chunk_get_reply),
    ENTRY(CHUNK_LOCATE, chunk_locate_request, chunk_locate_reply),
    ENTRY(NODE_PING, empty, empty),
    ENTRY(CHUNK_LIST, chunk_list_request, chunk_list_reply),

    ENTRY(NODE_REGISTER, node_register_request, node_register_reply),
    ENTRY(NODE_HEARTBEAT, node_heartbeat_request, node_heartbeat_reply),
    SECRET_ENTRY(TENANT_KEY, tenant_key_request, tenant_key_reply),
    SECRET_ENTRY(CREDENTIAL_GET, credential_get_request, credential_get_reply),
    SECRET_ENTRY(LEAF_LEASE, leaf_lease_request, leaf_lease_reply),
    ENTRY(CHUNKS_ABORT, chunks_abort_request, empty),
    ENTRY(CHUNKS_CHECK, chunks_check_request, chunks_check_reply),
    ENTRY(WIPE_PULL, wipe_pull_request, wipe_pull_reply),
    ENTRY(WIPE_DONE, wipe_done_request, empty),
    ENTRY(RESEAL_PULL, reseal_pull_request, reseal_pull_reply),
    ENTRY(MOVE_PULL, move_pull_request, move_pull_reply),
    ENTRY(MOVE_CHECK, move_check_request, move_check_reply),
    ENTRY(MOVE_DONE, move_done_request, empty),

    ENTRY(BUCKET_CREATE, bucket_create_request, bucket_reply),
    ENTRY(BUCKET_GET, bucket_get_request, bucket_reply),
    ENTRY(BUCKET_DELETE, bucket_delete_request, empty),
    ENTRY(BUCKET_LIST, bucket_list_request, bucket_list_reply),
    ENTRY(OBJECT_COMMIT, object_commit_request, object_commit_reply),
    SECRET_ENTRY(OBJECT_GET, object_get_request, object_get_reply),
    ENTRY(OBJECT_DELETE, object_delete_request, object_delete_reply),
    ENTRY(OBJECT_LIST, object_list_request, object_list_reply),
    ENTRY(OBJECT_HOLD, object_hold_request, empty),
    ENTRY(BUCKET_SET, bucket_set_request, bucket_reply),

    ENTRY(CLUSTER_STATUS, empty, cluster_status_reply),
    ENTRY(TENANT_CREATE, tenant_create_request, tenant_reply),
    ENTRY(TENANT_LIST, empty, tenant_list_reply),
    SECRET_ENTRY(CREDENTIAL_CREATE, credential_create_request, credential_create_reply),
    ENTRY(CREDENTIAL_LIST, credential_list_request, credential_list_reply),
    ENTRY(CREDENTIAL_REVOKE, credential_revoke_request, empty),
    ENTRY(OBJECT_LOCATE, object_locate_request, object_locate_reply),
    ENTRY(ERASURE_GET, erasure_get_request, erasure_reply),
    ENTRY(ERASURE_LIST, erasure_list_request, erasure_list_reply),
    ENTRY(KEY_SHOW, key_show_request, key_show_reply),
    ENTRY(KEY_ROTATE, key_rotate_request, key_show_reply),
    ENTRY(KEY_TRANSPORT, empty, key_transport_reply),
    ENTRY(KEY_IMPORT, key_import_request, key_show_reply),
    ENTRY(KEY_SET_STATE, key_set_state_request, key_show_reply),
    ENTRY(EPOCH_CLOSE, empty, epoch_close_reply),
    ENTRY(ERASURE_UNDO, erasure_undo_request, empty),
    ENTRY(CERT_LIST, cert_list_request, cert_list_reply),
    ENTRY(CERT_GET, cert_get_request, cert_get_reply),
    ENTRY(LEDGER_HEAD, empty, ledger_head_reply),
    ENTRY(LEDGER_READ, ledger_read_request, ledger_read_reply),
    ENTRY(ATTESTATION_GET, attestation_get_request, attestation_get_reply),
    ENTRY(SIGNING_KEY_LIST, empty, signing_key_list_reply),
    ENTRY(SIGNING_KEY_ROTATE, empty, signing_key_list_reply),
    ENTRY(PERSON_SET, person_set_request, empty),
    ENTRY(PERSON_LIST, empty, person_list_reply),
    ENTRY(REQUEST_CREATE, request_create_request, request_reply),
    ENTRY(REQUEST_LIST, request_list_request, request_list_reply),
    ENTRY(REQUEST_GET, request_get_request, request_reply),
    ENTRY(REQUEST_APPROVE, request_approve_request, request_reply),
    ENTRY(REQUEST_CANCEL, request_get_request, request_reply),
    ENTRY(DISK_DRAIN, disk_drain_request, empty),
    ENTRY(MOVE_LIST, empty, move_list_reply),
    ENTRY(DISK_GET, disk_get_request, disk_get_reply),
    ENTRY(MEDIUM_REPORT, medium_report_request, request_reply),
    SECRET_ENTRY(OBJECT_OPENING, object_opening_request, object_opening_reply),
};

static const struct message_type *message_type_find(uint16_t type)
{
    if (type >= ARRAY_LENGTH(message_types) || message_types[type].request == NULL) {
        return NULL;
    }
    return &message_types[type];
}

const ProtobufCMessageDescriptor *message_request_descriptor(uint16_t type)
{
    const struct message_type *found = message_type_find(type);
    return found == NULL ? NULL : found->request;
}

const ProtobufCMessageDescriptor *message_reply_descriptor(uint16_t type)
{
    const struct message_type *found = message_type_find(type);
    return found == NULL ? NULL : found->reply;
}

bool message_reply_is_secret(uint16_t type)
{
    const struct message_type *found = message_type_find(type);
    return found != NULL && found->reply_is_secret;
}

const char *message_type_name(uint16_t type)
{
    const ProtobufCEnumValue *value =
        protobuf_c_enum_descriptor_get_value(&trilith__message_type__descriptor, (int)type);
    return value == NULL ? "unknown" : value->name;
}

size_t message_unpacked_bytes_max(uint32_t message_bytes)
{
    return (size_t)message_bytes * UNPACKED_FACTOR + UNPACKED_ALLOWANCE;
}

enum status message_unpack(const ProtobufCMessageDescriptor *descriptor, struct arena *arena, const uint8_t *data,
                           size_t bytes, const ProtobufCMessage **message)
{
    ProtobufCMessage *unpacked = protobuf_c_message_unpack(descriptor, &arena->allocator, bytes, data);
    if (unpacked == NULL) {
        enum status refusal = arena_refusal(arena);
        return refusal == STATUS_OK ? STATUS_INVALID : refusal;
    }
    *message = unpacked;
    return STATUS_OK;
}
