/* service_private.h - private to the service: its core (service.c), the vault's keeper in it (service_vault.c), the
 * jobs that wait for the KMS (service_keys.c), sealing anew (service_reseal.c), and the requests by subject
 * (service_nodes.c, service_catalog.c, service_tenants.c, service_keys.c). */
#ifndef TRILITH_META_SERVICE_PRIVATE_H
#define TRILITH_META_SERVICE_PRIVATE_H

#include "meta/catalog.h"
#include "meta/membership.h"
#include "meta/moves.h"
#include "meta/service.h"
#include "meta/tenants.h"
#include "proto/rpc.h"

#include "base/digest.h"

#define ACCESS_KEY_BYTES    (ACCESS_KEY_CHARACTERS + 1)
#define SECRET_KEY_BYTES    41 /* with the terminator */
#define SEALED_SECRET_BYTES (SECRET_KEY_BYTES - 1 + BOX_OVERHEAD_BYTES)

/* A request's message as a part of a command: it is only packed, never changed. */
#define MESSAGE_OF(request, type) ((type *)(uintptr_t)(request)->message)

/* ---- commands ---------------------------------------------------------------------------------- */

struct operation;

/* A command has come to its end: it was applied, and `outcome` says how; or `outcome` is NULL: the service is ending
 * with `status`, and whether the command will be applied is not known. */
typedef void operation_done(struct meta_service *service, struct operation *operation, enum status status,
                            const struct outcome *outcome);

/* A command under way and who waits for it. */
struct operation {
    struct journal_entry entry;
    operation_done *done;
    struct rpc_request *request; /* NULL: the service's own */
    struct list_link link;       /* in operations_free or operations_busy */
};

/* ---- jobs that wait for the KMS ---------------------------------------------------------------- */

#define KEY_JOBS_MAX    256u
#define KEY_CHANGES_MAX 16u

struct key_job;

/* One step of a job: does something at once, or starts the one thing that the next step needs. Another status than
 * STATUS_OK ends the job with it. */
typedef enum status key_step(struct key_job *job);
/* Answers the job's request, whatever became of it. The job is given back when this returns. */
typedef void key_end(struct key_job *job, enum status status);

/* What a change of a tenant's keys puts together. One at a time per tenant, so that none is made from old tables. */
struct key_change {
    bool taken;
    bool imported;
    char cmk[KMS_CMK_BYTES];          /* the one that wraps from now on */
    char replaced_cmk[KMS_CMK_BYTES]; /* CmkSet: the one before */
    uint32_t count;                   /* DEKs to wrap */
    uint32_t at;                      /* the one that is being wrapped */
    struct {
        uint32_t version;
        struct leaf_range leaf;
        uint8_t sealed[SEALED_DEK_BYTES_MAX];
        size_t sealed_bytes;
    } deks[DEKS_MAX];
};

/* What one request, or the service itself, wants of the KMS, and how far it has come. */
struct key_job {
    struct meta_service *service;
    struct list_link link;       /* in jobs_free or jobs_busy */
    struct rpc_request *request; /* NULL: the service's own */
    key_step *const *next;       /* the steps that are left, NULL behind the last */
    key_end *end;
    struct kms_call call;
    struct operation operation;
    struct leaf_range leased; /* of the last command */
    uint64_t id;              /* likewise */
    uint64_t request_id;      /* of a tenant's erasure, whose master key goes */
    uint64_t tenant_id;
    char tenant[TENANT_NAME_BYTES_MAX + 1];
    uint32_t version;                  /* the DEK that is opened */
    uint32_t resealed_from;            /* the one before, of a credential that is sealed anew */
    char access_key[ACCESS_KEY_BYTES]; /* of jobs for credentials */
    unsigned attempts;
    struct key_change *change; /* NULL: it changes no keys */
    struct key *dek;           /* each job has its two places in guarded memory */
    struct key *credential_key;
    bool waiting; /* for the KMS or the journal */
};

/* ---- the service ------------------------------------------------------------------------------- */

#define EPOCH_WAITS_MAX    64u
#define RESEAL_TENANTS_MAX 32u

/* Who waits for the end of an epoch. */
struct epoch_wait {
    struct keeper_wait wait;
    struct meta_service *service;
    struct rpc_request *request; /* NULL: free, or answered already */
    bool taken;
};

/* A tenant with DEKs that were rotated out: what is under them is sealed anew, then they are destroyed. */
struct reseal {
    uint64_t tenant_id;       /* 0: free */
    uint32_t current;         /* the tenant's DEK, seen first at current_seen_ns */
    uint64_t current_seen_ns; /* a wall clock that was set back does not stop this one */
    struct reseal_walk walk;  /* hands out versions */
    uint64_t walk_began_ns;
    uint32_t proven; /* the DEK under which nothing must be found; 0: none is proven */
    uint64_t proof_rows;
    struct reseal_walk proof;
    bool sealing_credential;
    bool destroying;
    struct operation destroy;
};

struct meta_service {
    struct meta_service_parts parts;
    struct meta_service_options options;
    struct journal_user journal_user;
    struct rpc_service rpc;
    struct rpc_server *server;
    struct journal *journal;
    struct membership membership;
    struct operation *operations; /* SERVICE_OPERATIONS_MAX */
    struct list operations_free;
    struct list operations_busy;
    uint8_t *command; /* COMMAND_BYTES_MAX: one being packed */
    struct loop_timer tick;
    enum status failed;
    char message[VAULT_MESSAGE_BYTES];
    char address[NET_ADDRESS_BYTES];
    void (*started)(void *user, enum status status);
    void *started_user;
    struct loop_task start_task;
    enum status start_status;
    bool stopping;
    bool journal_is_closed;
    void (*stopped)(void *user);
    void *stopped_user;
    struct loop_task stop_task;

    struct keeper *keeper;          /* NULL until the journal was replayed, and once it has closed */
    struct key_pool *keys;          /* a lease of leaves, or what one callback needs */
    struct epoch_wait *epoch_waits; /* EPOCH_WAITS_MAX */
    bool audit_failed;              /* the last switch of epochs did not balance */
    struct operation lapse;
    bool lapsing;

    struct key_pool *job_keys;
    struct key_job *jobs; /* KEY_JOBS_MAX */
    struct list jobs_free;
    struct list jobs_busy;
    struct key_change *changes; /* KEY_CHANGES_MAX */
    uint64_t kms_checked_ns;

    struct certifier *certifier;

    struct reseal *reseals; /* RESEAL_TENANTS_MAX */
    uint64_t reseal_tenant; /* tenants up to this one were looked at in this round */
    uint32_t reseal_turn;   /* whose versions are handed out next */

    struct service_moves *moves;
    struct service_requests *requests;
};

/* Pack `command` (its time is filled in) and put it into the journal on behalf of `request`. When that is refused the
 * request is answered at once. */
void service_submit(struct meta_service *service, struct rpc_request *request, Trilith__Command *command);
/* The same for a part of the service, whose `operation` it is: `done` is told, unless the command is refused here.
 * STATUS_BUSY, STATUS_TOO_LARGE, STATUS_UNAVAILABLE. */
MUST_USE enum status service_submit_own(struct meta_service *service, struct operation *operation, operation_done *done,
                                        Trilith__Command *command);
/* The same with an operation out of the pool. */
MUST_USE enum status service_submit_pooled(struct meta_service *service, operation_done *done,
                                           Trilith__Command *command);
void service_operation_free(struct meta_service *service, struct operation *operation);

/* Answer. A read that found the tables damaged ends the service and is answered with STATUS_IO. */
void service_reply(struct meta_service *service, struct rpc_request *request, enum status status, const void *reply);
void service_reply_status(struct meta_service *service, struct rpc_request *request, enum status status);

/* Tables for a read: their scratch memory is empty. */
struct tables *service_tables(struct meta_service *service);
void service_fail(struct meta_service *service, enum status status);
/* The wall clock, or the state's, which may be ahead of it after the wall clock was set back. */
uint64_t service_now_ms(const struct meta_service *service);
/* Does it neither fail nor stop? */
bool service_is_sound(const struct meta_service *service);
/* The start has come to its end. */
void service_start_finish(struct meta_service *service, enum status status);
/* A part has ended: the last one ends the stop. */
void service_stop_check(struct meta_service *service);

/* ---- the vault (service_vault.c) --------------------------------------------------------------- */

/* Open the keeper and tell it what was punctured; service_start_finish() follows when the vault is open. */
MUST_USE enum status service_vault_start(struct meta_service *service);
/* After state_apply(): tell the keeper. `refused`: by the state. */
MUST_USE enum status service_vault_applied(struct meta_service *service, const struct outcome *outcome);
/* Answer whoever waits for an epoch. */
void service_vault_answer(struct meta_service *service, enum status status);
/* As keeper_derive(); STATUS_UNAVAILABLE when the service ends. */
MUST_USE enum status service_derive(struct meta_service *service, uint32_t page, uint32_t slot, struct key *leaf);
void service_vault_tick(struct meta_service *service);
Trilith__VaultStatus service_vault_status(const struct meta_service *service);

/* ---- keys (service_keys.c) --------------------------------------------------------------------- */

/* Take a job for `request` (NULL: the service's own). NULL: KEY_JOBS_MAX are under way; the request was answered
 * then. */
struct key_job *key_job_take(struct meta_service *service, struct rpc_request *request);
/* Take the steps, now or as soon as what they wait for has come. */
void key_job_run(struct key_job *job, key_step *const *steps, key_end *end);
/* End a job that was taken and not run. */
void key_job_refuse(struct key_job *job, enum status status);
/* For steps: submit the command that the next one waits for. */
MUST_USE enum status key_job_submit(struct key_job *job, Trilith__Command *command);
/* Let the job change the keys of the tenant that it names. STATUS_BUSY: another one does, or KEY_CHANGES_MAX are under
 * way. */
MUST_USE enum status key_job_begin_change(struct key_job *job);
/* Answer with what KEY_SHOW shows of a tenant (service_tenants.c). */
void service_reply_keys(struct meta_service *service, struct rpc_request *request, const char *name);
/* Is a job changing the keys of this tenant? */
bool key_is_changing(const struct meta_service *service, const char *tenant);
bool key_jobs_are_idle(const struct meta_service *service);
void key_jobs_tick(struct meta_service *service);

/* Open the DEK `version` of the job's tenant: it stands in `dek` when the next step runs. */
key_step key_unwrap;
/* Make a DEK, `change->deks[0].version`, and add it: in this order; key_cmk_* for a tenant without CMK. */
key_step key_cmk_create, key_cmk_take, key_dek_draw, key_dek_lease, key_dek_seal, key_dek_add, key_dek_added;

/* What names an object in certificates (wire.proto, ObjectDeleteRequest.ref_salt): HMAC-SHA256(K_ref of the tenant,
 * bucket | 00 | key). In service_catalog.c. STATUS_NOT_FOUND: no such tenant, or it has no K_ref; STATUS_INVALID: no
 * name of an object; statuses of service_derive(), STATUS_GONE for a tenant that was erased. */
MUST_USE enum status service_ref_salt(struct meta_service *service, uint64_t tenant_id, const char *bucket,
                                      ProtobufCBinaryData object_key, uint8_t salt[SHA256_BYTES]);

/* Destroy the master key of the job's tenant in the KMS: job->call.status says how that went. */
key_step key_cmk_destroy;

/* ---- what needs two people, or can be taken back (service_requests.c) --------------------------- */

/* NULL: no memory. */
MUST_USE struct service_requests *service_requests_open(void);
/* NULL is allowed. */
void service_requests_close(struct service_requests *requests);
void service_requests_tick(struct meta_service *service);
/* Answer with a bucket (service_catalog.c). */
void service_reply_bucket(struct meta_service *service, struct rpc_request *request, uint64_t tenant_id,
                          const char *name);

/* ---- sealing anew (service_reseal.c) ----------------------------------------------------------- */

void reseal_tick(struct meta_service *service);
/* Is a DEK of this tenant being destroyed? */
bool reseal_is_destroying(const struct meta_service *service, uint64_t tenant_id);
/* Seal the secret of `access_key`, now under DEK `version`, under the tenant's current one (service_tenants.c). False:
 * not now; else reseal_credential_done() tells how it went, perhaps before this returns. */
MUST_USE bool credential_reseal_begin(struct meta_service *service, uint64_t tenant_id, const char *access_key,
                                      uint32_t version);
void reseal_credential_done(struct meta_service *service, uint64_t tenant_id, enum status status);

/* ---- certificates (service_certs.c) ------------------------------------------------------------ */

/* NULL: no memory. */
MUST_USE struct certifier *certifier_open(struct meta_service *service);
void certifier_close(struct certifier *certifier);
/* The service ends: whoever waits for a key is answered, no round begins. */
void certifier_stop(struct meta_service *service);
/* Does neither the KMS nor the journal nor the loop have anything of it? */
bool certifier_is_idle(const struct meta_service *service);
void certifier_tick(struct meta_service *service);
/* A command was applied, which may have made something due. */
void certifier_applied(struct meta_service *service, const struct outcome *outcome);
/* Look whether something is due. */
void certifier_wake(struct meta_service *service);
/* Make the next signing key; `request` is answered when its manifest is in the ledger. */
void certifier_rotate(struct meta_service *service, struct rpc_request *request);
/* The ledger's name, "trilith/<cluster id>"; until the next call. */
const char *certifier_origin(struct meta_service *service);
Trilith__EvidenceStatus certifier_status(struct meta_service *service);
/* Answer with the signing keys (service_certs_read.c). */
void service_reply_signing_keys(struct meta_service *service, struct rpc_request *request);
/* When the oldest open erasure was asked for; 0: none is open. The scratch is used. */
uint64_t certs_oldest_open_ms(struct tables *tables);

/* ---- requests ---------------------------------------------------------------------------------- */

/* Each serves one type: replies, or submits a command, or runs a job. */
typedef void service_request(struct meta_service *service, struct rpc_request *request);
/* Each answers one type after its command was applied (outcome.status is STATUS_OK). */
typedef void service_finish(struct meta_service *service, struct rpc_request *request, const struct outcome *outcome);

service_request serve_node_register, serve_node_heartbeat, serve_chunks_abort, serve_chunks_check, serve_wipe_pull,
    serve_wipe_done, serve_cluster_status, serve_erasure_get, serve_erasure_list;
service_finish finish_node_register, finish_chunks_check;

service_request serve_bucket_create, serve_bucket_get, serve_bucket_delete, serve_bucket_list, serve_leaf_lease,
    serve_object_commit, serve_object_get, serve_object_delete, serve_object_list, serve_object_locate,
    serve_object_opening;
service_finish finish_bucket_create, finish_leaf_lease, finish_object_commit, finish_object_delete;

service_request serve_credential_get, serve_tenant_create, serve_tenant_list, serve_credential_create,
    serve_credential_list, serve_credential_revoke;

service_request serve_tenant_key, serve_key_show, serve_key_rotate, serve_key_transport, serve_key_import,
    serve_key_set_state;
service_finish finish_key_set_state;

service_request serve_epoch_close, serve_reseal_pull;

service_request serve_request_create, serve_request_list, serve_request_get, serve_request_approve,
    serve_request_cancel, serve_person_set, serve_person_list, serve_object_hold, serve_bucket_set, serve_erasure_undo;
service_request serve_medium_report;
service_finish finish_request, finish_bucket_set;

service_request serve_cert_list, serve_cert_get, serve_ledger_head, serve_ledger_read, serve_attestation_get,
    serve_signing_key_list, serve_signing_key_rotate;

service_request serve_move_pull, serve_move_check, serve_move_done, serve_move_list, serve_disk_drain, serve_disk_get;
service_finish finish_move_done, finish_disk_drain;

/* The health of all disks of `map`, in scratch memory. NULL: no room. */
Trilith__DiskHealth **service_disk_health(struct meta_service *service, const Trilith__Map *map);

#endif
