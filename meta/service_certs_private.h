/* service_certs_private.h - what the parts of the certifier share: service_certs.c takes rounds from choice to journal,
 * service_certs_make.c says what is due and renders it. */
#ifndef TRILITH_META_SERVICE_CERTS_PRIVATE_H
#define TRILITH_META_SERVICE_CERTS_PRIVATE_H

#include "meta/evidence.h"
#include "meta/ledger.h"
#include "meta/service_private.h"

#define ROUND_OBJECTS_MAX   48u
#define ROUND_ITEMS_MAX     (ROUND_OBJECTS_MAX + 1) /* and the batch */
#define ROUND_SIGN_BYTES    KMS_SIGN_BYTES_MAX
#define ROUND_COMMAND_BYTES KIB(160)
#define ROUND_SLICE         8u    /* objects rendered in one turn of the loop */
#define ROUND_SCAN_MAX      256u  /* due erasures looked at for one round, when gateways hold some of them back */
#define CERTIFIER_NODES_MAX 1024u /* with more, the keys' lease decides */
#define KID_BYTES           (2 * 16 + 1 + 10 + 1)

_Static_assert(ROUND_ITEMS_MAX <= KMS_SIGN_MAX, "one call signs a round");

/* One certificate that is being made. */
struct round_item {
    char id[EVIDENCE_UUID_BYTES];
    char supersedes[EVIDENCE_UUID_BYTES];
    const char *type;
    uint64_t erasure_id;
    uint64_t request_id;
    uint64_t tenant_id;
    uint8_t object_ref[SHA256_BYTES];
    size_t object_ref_bytes;
    char *text; /* its payload, canonical; of an object without `batch` */
    size_t text_bytes;
    bool is_partial;
    char *signing_input;
    char *plain; /* of an object: what is packed */
    size_t plain_bytes;
    uint8_t *packed; /* of an object, */
    size_t packed_bytes;
    char *jws; /* of others */
};

/* Certificates that are issued by one command. Exactly one has a ledger entry of its own: the last. */
struct certs_round {
    struct round_item items[ROUND_ITEMS_MAX];
    struct merkle_hash leaves[ROUND_OBJECTS_MAX]; /* of the objects */
    size_t count;
    size_t bytes; /* about what is to be signed */
    size_t packed_count;
    size_t packed_bytes; /* what the command will have of objects */
    uint64_t now_ms;
    uint64_t first_seq;
    uint32_t signer;                 /* number of the key that signs the certificates */
    uint64_t due[ROUND_OBJECTS_MAX]; /* erasures, and how many gateways have let go of each */
    uint32_t acked[ROUND_OBJECTS_MAX];
    size_t due_count;
    size_t due_next; /* the first that is not rendered yet */
    bool due_seen;   /* there are due erasures, in the round or not */
    uint32_t gateways;
    char entry[EVIDENCE_ENTRY_BYTES];
    size_t entry_bytes;
};

enum certifier_stage {
    CERTIFIER_IDLE,
    CERTIFIER_ASKING,        /* the KMS for a signing key */
    CERTIFIER_ADDING,        /* that key to the tables */
    CERTIFIER_RENDERING,     /* in slices */
    CERTIFIER_SIGNING,       /* the KMS, the certificates */
    CERTIFIER_PACKING,       /* in slices */
    CERTIFIER_SEALING,       /* the KMS, the checkpoint by the current key */
    CERTIFIER_SEALING_TWICE, /* the KMS, the checkpoint by the other key while keys overlap */
    CERTIFIER_ISSUING,       /* the journal */
};

struct certifier {
    struct meta_service *service;
    enum certifier_stage stage;
    struct certs_round round;
    struct loop_task task;
    bool task_is_queued;
    size_t objects_max;                       /* of the next round: fewer when certificates are long */
    struct loop_timer pause;                  /* armed: clients come first */
    uint64_t begun_index;                     /* journal index applied when the round began */
    uint64_t retry_ns;                        /* not before: something has failed */
    uint32_t manifest_of;                     /* the manifest of this key is known to be in the ledger */
    uint64_t keys_since[CERTIFIER_NODES_MAX]; /* of each node of the map */
    uint64_t silence_ns[CERTIFIER_NODES_MAX]; /* since each was heard of */
    char origin[CHECKPOINT_ORIGIN_BYTES];
    char message[KMS_MESSAGE_BYTES + 64]; /* why nothing is issued; empty: nothing is wrong */
    struct rpc_request *rotation;         /* waits for the next key */
    bool is_of_keys;                      /* the round is about a key, or its manifest */
    bool rotating;                        /* a new key is wanted although there is one */
    struct kms_call call;
    struct kms_batch batch;
    bool kms_has_call;
    struct operation operation;
    bool journal_has_command;
    struct checkpoint head;
    char note[CHECKPOINT_BYTES_MAX];
    uint64_t requests_ns;     /* when requests are to be looked at again: there may be large ones */
    uint64_t request_refused; /* the last that could not be certified, so that it is said once */
    uint64_t issued;          /* since the start, for figures */
};

/* Drop what the round holds. */
void certs_round_clear(struct certs_round *round);
/* Who issues, as signing key `signer`. `kid` has KID_BYTES. */
struct evidence_issuer certs_issuer(const struct meta_service *service, uint32_t signer, uint64_t now_ms, char *kid);

/* What is due now? Fills in `due` (no object is rendered yet). False: nothing. */
bool certs_find_due(struct certifier *certifier);
/* Render the next few. STATUS_OK: there are more; STATUS_NOT_FOUND: that was all, the batch stands behind them (or
 * nothing is left to certify: count 0); else the round must be given up. */
MUST_USE enum status certs_render_slice(struct certifier *certifier);
/* The certificate of a request; or of a tenant, anew, after a copy had turned up. STATUS_NOT_FOUND: none is due. */
MUST_USE enum status certs_render_request(struct certifier *certifier);
/* The manifest of key `number`. */
MUST_USE enum status certs_render_manifest(struct certifier *certifier, uint32_t number);
/* Is the manifest of the current key in the ledger? Looks at the last certificate. */
MUST_USE enum status certs_manifest_is_there(struct certifier *certifier, uint32_t number, bool *is_there);
/* Pack the next few that were signed. STATUS_OK: there are more; STATUS_NOT_FOUND: that was all; STATUS_TOO_LARGE: the
 * command would be too long; STATUS_FULL: no memory. */
MUST_USE enum status certs_pack_slice(struct certifier *certifier);
/* Make what is signed of all items. False: no memory, or over JWS_BYTES_MAX. */
bool certs_round_encode(struct certifier *certifier);

#endif
