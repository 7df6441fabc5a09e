/* approval.h - what a person signs to approve a request: one small JWS over what would be done.
 *
 * A compact JWS (base/jws.h), typ "approval+jws", kid the person's name, payload with these members and no others
 *
 *
 *   {"action":"approve","at":TIME,"kind":"tenant"|"disk"|"node","person":NAME,"plan_sha256":HEX,"request":ID,"subject":NAME}
 *
 * TIME is RFC 3339 UTC with milliseconds, by the clock of who signs. The plan itself is canonical JSON, so whoever has
 * it can see for themselves that the hash is its own.
 * Bounds     APPROVAL_BYTES_MAX.
 * Threads    Pure. */
#ifndef TRILITH_PROTO_APPROVAL_H
#define TRILITH_PROTO_APPROVAL_H

#include "base/jws.h"
#include "proto/wire.pb-c.h"

#define APPROVAL_TYPE      "approval+jws"
#define APPROVAL_BYTES_MAX KIB(4)

/* "tenant", "disk", "node"; NULL: no such kind. */
const char *approval_kind(Trilith__RequestKind kind);

/* The payload with which `person` approves `request`; to be freed with json_decref(). NULL: the request has no
 * plan_sha256 or kind, or no memory. */
MUST_USE json_t *approval_payload(const Trilith__Request *request, const char *person, uint64_t now_ms);

/* Take an approval of `request` apart: jws->kid is who it says it is from. The signature is not looked at:
 * jws_verify(). jws_close() whatever it returns. STATUS_OK; STATUS_INVALID: no approval, or of another request;
 * STATUS_CONFLICT: of this one with another plan. */
MUST_USE enum status approval_open(struct jws *jws, const void *text, size_t bytes, const Trilith__Request *request);

#endif
