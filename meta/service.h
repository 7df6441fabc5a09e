/* service.h - the metadata service: requests become journal commands or reads, and replies.
 *
 *   request ──> checks ──> read ────────────────────────────────────> reply
 *                   └────> command ──> journal ──> state_apply ──> reply
 *
 * A change is answered only when its command is durable in the journal and applied, in that order: so every read that
 * starts after an answer sees the change. Reads are served from the tables. A journal or table that fails ends the
 * service: everything under way is answered with STATUS_IO, its outcome unknown, and `failed` runs.
 *
 * The vault's keeper (vault/keeper.h) is told of every command that concerns it, in the order of the journal, before
 * the command's sender is answered. Requests that need the KMS wait for it beside the loop; no others do.
 *
 * Secrets (leaves, DEKs, S3 secrets) are put together from guarded memory for one reply and wiped; journal and tables
 * never see them in clear.
 * Bounds     SERVICE_OPERATIONS_MAX commands under way; beyond that requests get STATUS_BUSY.
 * Threads    Loop thread only. */
#ifndef TRILITH_META_SERVICE_H
#define TRILITH_META_SERVICE_H

#include "base/kv.h"
#include "base/loop.h"
#include "base/net.h"
#include "meta/journal.h"
#include "meta/kms.h"
#include "meta/state.h"
#include "meta/vault/keeper.h"

#define SERVICE_OPERATIONS_MAX 4096u

struct meta_service;

struct meta_service_options {
    uint64_t node_lease_ms; /* how long a node counts as up after it was heard */
    uint64_t leaf_lease_ms; /* how long fresh leaves may be used: longer than the longest write */
    uint64_t key_lease_ms;  /* how long a gateway may keep a tenant's DEK or a credential */
    uint32_t pgs_per_disk;  /* placement.h */
    uint32_t scatter_width;
    uint64_t epoch_ms;      /* how long a leaf that was punctured may stand in the vault; 0: until somebody asks */
    uint64_t dek_retire_ms; /* how long writes that began under a DEK that was rotated out may still be committed */
    uint64_t signing_overlap_ms; /* how long checkpoints are signed by the signing key before, too */
    const char *organization;    /* that issues certificates; NULL or "": not said */
    char software_sha256[65];    /* of the running program, in hex; "": not known */
};

/* What the service stands on. All stay the caller's and outlive it, but for the journal. */
struct meta_service_parts {
    struct loop *loop;
    struct net *net;
    struct kv *kv;
    struct state *state;
    struct kms *kms;
    struct vault_parts vault;                       /* its loop is `loop` */
    void (*failed)(void *user, enum status status); /* once; the service should be stopped */
    void *user;
};

/* Make the service; it serves nothing yet, but its journal user replays. NULL: no memory. */
MUST_USE struct meta_service *meta_service_open(const struct meta_service_parts *parts,
                                                const struct meta_service_options *options);
/* Who applies the journal's entries: for opening the journal. */
struct journal_user *meta_service_journal_user(struct meta_service *service);
/* STATUS_OK, or why a replayed or committed command could not be applied. */
enum status meta_service_health(const struct meta_service *service);

/* Begin to serve on `address`: makes the cluster when the journal is new, opens the vault (and begins its first epoch),
 * tells it what was punctured. `started` runs once, later: STATUS_OK; the statuses of vault_settle() and vault_load(),
 * and meta_service_message() says what to do; STATUS_CONFLICT: journal and tables belong to different clusters;
 * STATUS_EXISTS, STATUS_DENIED, STATUS_INVALID: the address; STATUS_CORRUPT, STATUS_IO. The service owns `journal` from
 * here on. */
void meta_service_start(struct meta_service *service, struct journal *journal, const char *address,
                        void (*started)(void *user, enum status status), void *user);
/* For people: why it did not start or had to stop; empty when there is nothing more to say than the status. */
const char *meta_service_message(const struct meta_service *service);
/* The bound address. */
const char *meta_service_address(const struct meta_service *service);

/* Stop taking requests, finish what is under way, make the tables durable, close the journal, free the service. */
void meta_service_stop(struct meta_service *service, void (*stopped)(void *user), void *user);
/* Free a service that was not started. Its journal, if it was opened, has been closed before. */
void meta_service_abandon(struct meta_service *service);

#endif
