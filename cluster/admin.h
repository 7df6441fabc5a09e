/* admin.h - calls to the metadata service and to nodes, one at a time, each waited for.
 *
 * A command line does one thing after another, so this turns the reactor inside admin_call() until the reply is
 * there. Replies are copies that belong to the caller.
 * Errors   enum status as the service gave it, or STATUS_UNAVAILABLE and STATUS_TIMEOUT; admin_failed() says in words what
 *          that means.
 * Threads  One. */
#ifndef TRILITH_CLUSTER_ADMIN_H
#define TRILITH_CLUSTER_ADMIN_H

#include "proto/rpc.h"

struct admin;
struct command;

/* Reach the cluster of the command's configuration. NULL: the user has been told why. Nothing is connected yet. */
struct admin *admin_open(struct command *command);
/* NULL is allowed. */
void admin_close(struct admin *admin);

/* Ask the metadata service. On STATUS_OK `*reply` is the reply message of `type`, to be freed with admin_reply_free(). */
MUST_USE enum status admin_call(struct admin *admin, uint16_t type, const ProtobufCMessage *request,
                                ProtobufCMessage **reply);
/* The same for what may take longer than ten seconds: `within_ms`. */
MUST_USE enum status admin_call_within(struct admin *admin, uint16_t type, const ProtobufCMessage *request,
                                       uint64_t within_ms, ProtobufCMessage **reply);
/* Ask the node at `address`, which a reply of the metadata service gave. */
MUST_USE enum status admin_call_node(struct admin *admin, const char *address, uint16_t type,
                                     const ProtobufCMessage *request, ProtobufCMessage **reply);
/* NULL is allowed. */
void admin_reply_free(ProtobufCMessage *reply);

/* Turn the reactor for `ms` milliseconds: between two polls. */
void admin_pause(struct admin *admin, uint64_t ms);
uint64_t admin_now_ms(struct admin *admin);

/* Say on stderr what `status` means for `what` ("tenant \"x\""), and return COMMAND_FAILED. */
int admin_failed(const struct admin *admin, enum status status, const char *what);

/* The number of the tenant called `name`. STATUS_NOT_FOUND: there is none. */
MUST_USE enum status admin_tenant_id(struct admin *admin, const char *name, uint64_t *tenant_id);

#endif
