/* requests.h - what needs two people: erasing a tenant, decommissioning a disk or a node. From the question to its
 * certificate.
 *
 *   REQUEST_OPEN, stage "approval" ──two approvals──> REQUEST_RUNNING, stages of its kind ──> "certify" ──> REQUEST_DONE
 *        └──cancelled, or REQUEST_OPEN_MS have passed──> REQUEST_CANCELLED <──cancelled, where the kind lets it──┘
 *
 * A request is made with its *plan*: canonical JSON that says what would be done, to what, and what can't be. Its
 * SHA-256 is what people approve; the plan never changes afterwards. Two approvals by two people with two keys start
 * it.
 *
 * An approval is a JWS of the person (proto/approval.h), signed with the key that is on record for them (people.h).
 * The leader verifies it (request_approval_check()); what it saw goes into the command, and applying compares that with
 * the tables of then.
 *
 * Once it runs, nobody needs to ask again: once per tick the leader calls `advance` of the kind for each running
 * request. That looks at the tables, and submits the one command that comes next, if it is time
 * (service_request_submit(), service_request_advance()). At most one is in flight per request. Nothing is kept in
 * memory between ticks, so a leader that begins goes on where the tables are. Stages are texts; each kind has its own,
 * and all end with REQUEST_STAGE_CERTIFY: there the certifier issues the certificate, and request_certified() makes the
 * request DONE in the same command.
 *
 * What a stage has shown is kept with the request as a *fact*: JSON, in the order of time. What a certificate says
 * comes from plan and facts.
 * Bounds REQUESTS_OPEN_MAX open or running; a plan PLAN_BYTES_MAX; a fact FACT_BYTES_MAX, all of one request
 * FACTS_BYTES_MAX.
 * Threads    One. What applies commands is pure. */
#ifndef TRILITH_META_REQUESTS_H
#define TRILITH_META_REQUESTS_H

#include "meta/change.h"
#include "proto/approval.h"

#define REQUESTS_OPEN_MAX       64u
#define REQUEST_OPEN_MS         (UINT64_C(7) * 24 * 3600 * 1000)
#define REQUEST_APPROVALS       2u
#define REQUEST_TEXT_BYTES_MAX  512u /* of each text that people give */
#define PLAN_BYTES_MAX          KIB(48)
#define FACT_BYTES_MAX          KIB(24)
#define FACTS_BYTES_MAX         KIB(80)

#define REQUEST_STAGE_APPROVAL  "approval"
#define REQUEST_STAGE_CERTIFY   "certify"
#define REQUEST_STAGE_DONE      "done"
#define REQUEST_STAGE_CANCELLED "cancelled"

struct meta_service;
struct membership;

/* What a plan is made from. */
struct request_plan_parts {
    struct tables *tables; /* results may stand in the scratch */
    const Trilith__ClusterRecord *cluster;
    const struct membership *membership;
    uint64_t now_ms;
};

/* What one kind of request is. Functions may be NULL where it says so. */
struct request_kind {
    Trilith__RequestKind kind;
    const char *name;        /* "tenant" */
    const char *first_stage; /* of one that runs */

    /* The leader, before anything is decided: find the subject by `request->subject` (fill in tenant_id, disk_id or
     * node_id, and the subject's proper name), and say what would be done. `*plan` is the caller's (json_decref). The
     * members "kind", "subject", and "schema" are added by the caller. STATUS_NOT_FOUND: no such subject; STATUS_HELD;
     * STATUS_CONFLICT: it can't be done as things are. */
    enum status (*plan)(const struct request_plan_parts *parts, Trilith__Request *request, json_t **plan);

    /* Applying: the request is being made; it has its id. STATUS_EXISTS for the same subject was seen to. May be
     * NULL. */
    enum status (*asked)(struct change *change, Trilith__RequestRecord *record);
    /* Applying: the last approval has come. Another status than STATUS_OK refuses that approval. May be NULL. */
    enum status (*begin)(struct change *change, Trilith__RequestRecord *record);
    /* Applying: it is being cancelled, open (record->request->state) or running. STATUS_CONFLICT: not any more. NULL:
     * an open one can be cancelled and there is nothing to do for it, a running one can't. */
    enum status (*cancel)(struct change *change, Trilith__RequestRecord *record);
    /* Applying: from one stage to another; `record` has the old one still. May refuse (STATUS_CONFLICT). May be
     * NULL. */
    enum status (*staged)(struct change *change, Trilith__RequestRecord *record, const char *to);
    /* Applying: its certificate has been issued. May be NULL. */
    enum status (*certified)(struct change *change, Trilith__RequestRecord *record);

    /* Reads: fill in request->done and total of the stage under way, for people. May be NULL. */
    enum status (*progress)(const struct request_plan_parts *parts, const Trilith__RequestRecord *record,
                            Trilith__Request *request);
    /* The leader's tick: submit what comes next, if it is time. Never in stage "certify". The record is a copy that
     * lasts until this returns; the scratch may be used. */
    void (*advance)(struct meta_service *service, const Trilith__RequestRecord *record);
};

/* NULL: there is no such kind. */
const struct request_kind *request_kind_of(Trilith__RequestKind kind);

/* The kinds: tenant_erasure.c; decommission.c has the other two. */
extern const struct request_kind tenant_erasure_kind;
extern const struct request_kind disk_decommission_kind;
extern const struct request_kind node_decommission_kind;

/* ---- changes ----------------------------------------------------------------------------------- */

/* outcome.id: the request. STATUS_OK; STATUS_EXISTS: there is an open or running one about the same subject
 * (outcome.id);
 * STATUS_FULL: REQUESTS_OPEN_MAX; STATUS_BUSY: its subject has changed since the plan was made; STATUS_INVALID; what
 * the kind refuses. */
MUST_USE enum status request_create(struct change *change, const Trilith__RequestCreate *command);
/* outcome.id. STATUS_OK; STATUS_NOT_FOUND (the request); STATUS_DENIED: no such person, not any more, or another key
 * than the one verified with; STATUS_EXISTS: that person, or somebody with that key, has approved it already;
 * STATUS_CONFLICT: not open (any more), or another plan; STATUS_HELD and what else the kind refuses. */
MUST_USE enum status request_approve(struct change *change, const Trilith__RequestApprove *command);
/* From stage to stage, or to REQUEST_STAGE_CANCELLED. With `from` equal to `to` only the fact is added. STATUS_OK;
 * STATUS_NOT_FOUND;
 * STATUS_CONFLICT: not in stage `from`, or it can't be cancelled any more; STATUS_FULL: too many facts;
 * STATUS_INVALID. */
MUST_USE enum status request_advance(struct change *change, const Trilith__RequestAdvance *command);

/* For CertIssue: the request has its certificate. STATUS_OK; STATUS_CONFLICT: it is not in stage "certify". Also for
 * one that is DONE and was certified again (a superseding certificate): then only the id changes. */
MUST_USE enum status request_certified(struct change *change, uint64_t request_id, const char *certificate_id);
/* Write `record` back, for what a kind changes by a command of its own. */
MUST_USE enum status request_put(struct change *change, const Trilith__RequestRecord *record);

/* ---- reads; results stand in the scratch ------------------------------------------------------- */

/* STATUS_OK, STATUS_NOT_FOUND. */
MUST_USE enum status request_get(struct tables *tables, uint64_t request_id, Trilith__RequestRecord **record);
/* The first open or running request behind `after_id`. STATUS_NOT_FOUND: no more. */
MUST_USE enum status request_next_open(struct tables *tables, uint64_t after_id, Trilith__RequestRecord **record);
/* The first one behind `after_id` that is in stage "certify". STATUS_NOT_FOUND: no more. For the certifier. */
MUST_USE enum status request_next_to_certify(struct tables *tables, uint64_t after_id, Trilith__RequestRecord **record);
/* All, newest first, or only those open or running; without plans. */
MUST_USE enum status request_list(struct tables *tables, bool open_only, Trilith__RequestListReply *reply);
/* The last fact of a stage; NULL: none. */
const Trilith__RequestFact *request_fact(const Trilith__RequestRecord *record, const char *stage);

/* ---- plans and approvals (the leader) ---------------------------------------------------------- */

/* Is what people gave well-formed? Kind, texts, destination and backup as wire.proto says; nothing that only the
 * service sets. */
bool request_is_valid(const Trilith__Request *request);
/* Make the plan of `request`: fills in its ids, plan and plan_sha256 (in the scratch). STATUS_TOO_LARGE: over
 * PLAN_BYTES_MAX; else as the kind's `plan`. */
MUST_USE enum status request_plan(const struct request_plan_parts *parts, Trilith__Request *request);
/* SHA-256 of the row of its subject, in the scratch: the plan is true as long as that stays. STATUS_NOT_FOUND: there is
 * none. */
MUST_USE enum status request_subject_hash(struct tables *tables, const Trilith__Request *request,
                                          ProtobufCBinaryData *hash);
/* Verify an approval of `request` with the key that is on record for who signed it. Fills in a command; its parts stand
 * in `jws` and in the scratch. STATUS_OK; STATUS_INVALID: not such a JWS, or about another request; STATUS_CONFLICT:
 * another plan; STATUS_DENIED: an unknown or removed person, or the signature does not verify. */
MUST_USE enum status request_approval_check(struct tables *tables, const Trilith__Request *request,
                                            ProtobufCBinaryData jws, Trilith__RequestApprove *command);

/* ---- the service (service_requests.c); for `advance` ------------------------------------------- */

/* Submit `command` on behalf of a running request. STATUS_OK: it is in flight, and `advance` is not called for this
 * request until it was applied. STATUS_BUSY: not now; the next tick tries again, so nobody needs to look. */
enum status service_request_submit(struct meta_service *service, uint64_t request_id, Trilith__Command *command);
/* The same for a RequestAdvance; `fact` may be NULL (it is encoded here and stays the caller's). */
enum status service_request_advance(struct meta_service *service, uint64_t request_id, const char *from, const char *to,
                                    const json_t *fact);
void service_requests_tick(struct meta_service *service);

#endif
