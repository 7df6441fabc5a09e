/* service_certs.c - the certifier: from what is due to certificates in the journal, one round at a time.
 *
 *   due ──> rendered ──> KMS signs all ──> packed ──> ledger entry, next head ──> KMS signs the checkpoint
 *    ^                                                                                  │
 *    └─────────────── applied <──── CertIssue in the journal <──────────────────────────┘
 *
 * A round makes up to ROUND_OBJECTS_MAX object certificates and their batch, or the one certificate of a request, or
 * the manifest of a new key. Everything is decided anew from the tables at the beginning of a round, and only the last
 * step changes them: a round that is cut off anywhere leaves nothing behind, and one whose command was applied is not
 * made again.
 *
 * Keys    The first signing key is made as soon as the service serves; its manifest is the ledger's first leaf. Rotation: the
 *         next key's row, then its manifest, signed with the key before; from then on the new one signs. Checkpoints are signed
 *         by both for signing_overlap. Nothing else is issued between a key's row and its manifest.
 * Failure The KMS away, a token without Ed25519, another key file: certificates wait, the status says why, all else goes on.
 * Clients Rendering and packing are cut into slices, one per turn of the loop, and while commands of clients come in, rounds have a pause between them.
 * Bounds  One round, one KMS call, one command. */
#include "meta/service_certs_private.h"

#include "meta/certificates.h"
#include "meta/requests.h"

#include "base/buggify.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

#define PAUSE_NS      (10 * NS_PER_MS)
#define RETRY_NS      (5 * NS_PER_S)
#define LOOK_AGAIN_NS (NS_PER_S / 2)
#define ORIGIN_PREFIX "trilith/"

_Static_assert(sizeof(ORIGIN_PREFIX) + 32 <= CHECKPOINT_ORIGIN_BYTES, "an origin fits");

static void sign_round(struct certifier *certifier);

/* ---- waking up --------------------------------------------------------------------------------- */

static void task_queue(struct certifier *certifier)
{
    if (!certifier->task_is_queued && service_is_sound(certifier->service)) {
        certifier->task_is_queued = true;
        loop_defer(certifier->service->parts.loop, &certifier->task);
    }
}

static bool may_begin(const struct certifier *certifier)
{
    return certifier->stage == CERTIFIER_IDLE && !loop_timer_is_armed(&certifier->pause) &&
           loop_now_ns(certifier->service->parts.loop) >= certifier->retry_ns;
}

void certifier_wake(struct meta_service *service)
{
    struct certifier *certifier = service->certifier;
    const Trilith__ClusterRecord *cluster = state_cluster(service->parts.state);
    bool is_due = cluster->signing_key == 0 || cluster->certificates_due > 0 || cluster->requests_open > 0 ||
                  certifier->rotating || certifier->manifest_of != cluster->signing_key;
    if (service->server != NULL && is_due && may_begin(certifier)) {
        task_queue(certifier);
    }
}

void certifier_applied(struct meta_service *service, const struct outcome *outcome)
{
    switch (outcome->command->change_case) {
    case TRILITH__COMMAND__CHANGE_EPOCH_ERASED:
    case TRILITH__COMMAND__CHANGE_REQUEST_ADVANCE:
        service->certifier->requests_ns = 0;
        certifier_wake(service);
        break;
    case TRILITH__COMMAND__CHANGE_CERT_ISSUE:
    case TRILITH__COMMAND__CHANGE_RECORD_WIPES:
        certifier_wake(service);
        break;
    default:
        break;
    }
}

static void pause_fire(struct loop_timer *timer)
{
    certifier_wake(CONTAINER_OF(timer, struct certifier, pause)->service);
}

/* ---- the end of a round ------------------------------------------------------------------------ */

static void round_end(struct certifier *certifier)
{
    certs_round_clear(&certifier->round);
    certifier->stage = CERTIFIER_IDLE;
    service_stop_check(certifier->service);
}

/* Whoever asked for another key is told how it went. */
static void rotation_answer(struct certifier *certifier, enum status status)
{
    struct rpc_request *request = certifier->rotation;
    certifier->rotation = NULL;
    certifier->rotating = false;
    if (request == NULL) {
        return;
    }
    if (status == STATUS_OK) {
        service_reply_signing_keys(certifier->service, request);
    } else {
        rpc_reply(request, status, NULL);
    }
}

static void round_fail(struct certifier *certifier, enum status status, const char *what, const char *message)
{
    struct meta_service *service = certifier->service;
    char text[sizeof(certifier->message)];
    (void)snprintf(text, sizeof(text), "%s: %.200s", what, message[0] != '\0' ? message : status_name(status));
    if (strcmp(text, certifier->message) != 0) { /* Once, not with every try. */
        log_event(LOG_WARNING, "certificates_wait", "reason=%s message=%s", status_name(status), text);
    }
    memcpy(certifier->message, text, sizeof(text));
    certifier->retry_ns = loop_now_ns(service->parts.loop) + RETRY_NS;
    if (certifier->is_of_keys) {
        rotation_answer(certifier, status);
    }
    enum status tables_failed = state_tables(service->parts.state)->failed;
    round_end(certifier);
    if (tables_failed != STATUS_OK) {
        service_fail(service, tables_failed);
    }
}

/* The next round, now or after a pause when the journal had other commands meanwhile. */
static void round_succeed(struct certifier *certifier)
{
    struct meta_service *service = certifier->service;
    uint64_t applied = state_applied_index(service->parts.state);
    certifier->message[0] = '\0';
    certifier->objects_max += certifier->objects_max < ROUND_OBJECTS_MAX ? 1 : 0;
    if (applied > certifier->begun_index + 1 && service_is_sound(service)) {
        loop_timer_start(service->parts.loop, &certifier->pause, loop_now_ns(service->parts.loop) + PAUSE_NS);
    }
    round_end(certifier);
    if (service_is_sound(service)) {
        certifier_wake(service);
    }
}

/* ---- the KMS ----------------------------------------------------------------------------------- */

static void kms_begin(struct certifier *certifier, enum certifier_stage stage, enum kms_operation operation,
                      uint32_t number)
{
    certifier->stage = stage;
    certifier->call.operation = operation;
    certifier->call.number = number;
    certifier->call.batch = operation == KMS_SIGN ? &certifier->batch : NULL;
    certifier->kms_has_call = true;
    kms_start(certifier->service->parts.kms, &certifier->call);
}

/* Have key `number` sign what stands in the batch. */
static void sign_begin(struct certifier *certifier, enum certifier_stage stage, uint32_t number)
{
    Trilith__SigningKey *key = NULL;
    enum status status = signing_key(service_tables(certifier->service), number, &key);
    if (status != STATUS_OK || key->public_key.len != PUBLIC_KEY_BYTES) {
        round_fail(certifier, status != STATUS_OK ? status : STATUS_CORRUPT, "the signing key's row", "");
        return;
    }
    memcpy(certifier->call.signing_key.bytes, key->public_key.data, PUBLIC_KEY_BYTES);
    kms_begin(certifier, stage, KMS_SIGN, number);
}

/* ---- the journal ------------------------------------------------------------------------------- */

static void issued(struct meta_service *service, struct operation *operation, enum status status,
                   const struct outcome *outcome)
{
    struct certifier *certifier = CONTAINER_OF(operation, struct certifier, operation);
    struct certs_round *round = &certifier->round;
    certifier->journal_has_command = false;
    if (outcome == NULL) {
        rotation_answer(certifier, status);
        round_end(certifier);
        return;
    }
    if (status == STATUS_OK) {
        bool is_manifest = strcmp(round->items[0].type, EVIDENCE_MANIFEST) == 0;
        certifier->issued += round->count;
        log_event(LOG_INFO, "certificates_issued", "first=%llu count=%zu ledger=%llu",
                  (unsigned long long)round->first_seq, round->count, (unsigned long long)certifier->head.size);
        if (is_manifest) {
            certifier->manifest_of = state_cluster(service->parts.state)->signing_key;
            rotation_answer(certifier, STATUS_OK);
        }
        round_succeed(certifier);
        return;
    }
    round_fail(certifier, status, "the certificates of a round were refused and are made anew", "");
}

static void certificate_fill(const struct certs_round *round, size_t index, uint64_t ledger_index,
                             Trilith__Certificate *certificate)
{
    const struct round_item *item = &round->items[index];
    bool is_last = index + 1 == round->count;
    trilith__certificate__init(certificate);
    certificate->seq = round->first_seq + index;
    certificate->id = (char *)(uintptr_t)item->id;
    certificate->type = (char *)(uintptr_t)item->type;
    certificate->erasure_id = item->erasure_id;
    certificate->request_id = item->request_id;
    certificate->tenant_id = item->tenant_id;
    certificate->issued_ms = round->now_ms;
    certificate->object_ref =
        (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)item->object_ref, .len = item->object_ref_bytes};
    certificate->ledger_index = ledger_index;
    certificate->batch_seq = is_last ? 0 : round->first_seq + round->count - 1;
    if (item->packed != NULL) {
        certificate->packed = (ProtobufCBinaryData){.data = item->packed, .len = item->packed_bytes};
        certificate->packed_against = index > 0 ? round->first_seq : 0;
    } else {
        certificate->jws = item->jws;
    }
    certificate->supersedes = (char *)(uintptr_t)item->supersedes;
}

static void issue(struct certifier *certifier)
{
    struct meta_service *service = certifier->service;
    struct certs_round *round = &certifier->round;
    Trilith__Certificate certificates[ROUND_ITEMS_MAX];
    Trilith__Certificate *pointers[ROUND_ITEMS_MAX];
    ProtobufCBinaryData entry = {.data = (uint8_t *)round->entry, .len = round->entry_bytes};
    Trilith__CertIssue issue;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    trilith__cert_issue__init(&issue);
    for (size_t i = 0; i < round->count; i++) {
        certificate_fill(round, i, certifier->head.size - 1, &certificates[i]);
        pointers[i] = &certificates[i];
    }
    issue.first_seq = round->first_seq;
    issue.certificates = pointers;
    issue.n_certificates = round->count;
    issue.ledger_entries = &entry;
    issue.n_ledger_entries = 1;
    issue.checkpoint = certifier->note;
    command.change_case = TRILITH__COMMAND__CHANGE_CERT_ISSUE;
    command.cert_issue = &issue;
    certifier->stage = CERTIFIER_ISSUING;
    enum status status = service_submit_own(service, &certifier->operation, issued, &command);
    certifier->journal_has_command = status == STATUS_OK;
    if (status != STATUS_OK) {
        round_fail(certifier, status, "the journal did not take the certificates", "");
    }
}

/* ---- signing ----------------------------------------------------------------------------------- */

/* The key beside the current one that signs checkpoints too; 0: none does (any more). */
static uint32_t other_signer(struct certifier *certifier)
{
    struct meta_service *service = certifier->service;
    uint32_t current = state_cluster(service->parts.state)->signing_key;
    Trilith__SigningKey *before = NULL;
    if (current < 2 || signing_key(service_tables(service), current - 1, &before) != STATUS_OK) {
        return 0;
    }
    bool is_manifest = strcmp(certifier->round.items[0].type, EVIDENCE_MANIFEST) == 0;
    bool overlaps = certifier->round.now_ms < before->retired_ms + service->options.signing_overlap_ms;
    return is_manifest || overlaps ? current - 1 : 0;
}

/* The entry and the head that the ledger will have with it; then its signature. */
static void seal_begin(struct certifier *certifier)
{
    struct meta_service *service = certifier->service;
    struct certs_round *round = &certifier->round;
    const Trilith__ClusterRecord *cluster = state_cluster(service->parts.state);
    const struct round_item *last = &round->items[round->count - 1];
    char text[CHECKPOINT_BYTES_MAX];
    round->entry_bytes =
        evidence_entry(last->id, last->type, cluster->epoch, last->jws, strlen(last->jws), round->entry);
    const ProtobufCBinaryData entry = {.data = (uint8_t *)round->entry, .len = round->entry_bytes};
    enum status status = ledger_next(service_tables(service), cluster, &entry, 1, &certifier->head);
    if (status != STATUS_OK) {
        round_fail(certifier, status, "the ledger's next head", "");
        return;
    }
    (void)snprintf(certifier->head.origin, sizeof(certifier->head.origin), "%s", certifier_origin(service));
    checkpoint_text(&certifier->head, text);
    certifier->note[0] = '\0';
    certifier->batch.count = 1;
    certifier->batch.ends[0] = (uint32_t)strlen(text);
    memcpy(certifier->batch.bytes, text, strlen(text));
    sign_begin(certifier, CERTIFIER_SEALING, cluster->signing_key);
}

/* What is signed, packed for the journal. A round that is too long for it is made anew with fewer. */
static void pack_slice(struct certifier *certifier)
{
    enum status status = certs_pack_slice(certifier);
    if (status == STATUS_OK) {
        certifier->stage = CERTIFIER_PACKING;
        task_queue(certifier);
    } else if (status == STATUS_NOT_FOUND) {
        seal_begin(certifier);
    } else if (status == STATUS_TOO_LARGE && certifier->objects_max > 1) {
        certifier->objects_max = certifier->objects_max / 2;
        round_end(certifier);
        certifier_wake(certifier->service);
    } else {
        round_fail(certifier, status, "certificates can't be packed", "");
    }
}

static void checkpoint_signed(struct certifier *certifier)
{
    checkpoint_add_signature(&certifier->head, &certifier->call.signing_key, &certifier->batch.signatures[0],
                             certifier->note);
    uint32_t other = certifier->stage == CERTIFIER_SEALING ? other_signer(certifier) : 0;
    if (other != 0) {
        sign_begin(certifier, CERTIFIER_SEALING_TWICE, other);
        return;
    }
    KILL_POINT(KILL_META_CERTIFICATES_SIGNED);
    issue(certifier);
}

static void sign_round(struct certifier *certifier)
{
    if (!certs_round_encode(certifier)) {
        round_fail(certifier, STATUS_FULL, "certificates of a round can't be written down", "");
        return;
    }
    sign_begin(certifier, CERTIFIER_SIGNING, certifier->round.signer);
}

/* ---- keys -------------------------------------------------------------------------------------- */

static void key_added(struct meta_service *service, struct operation *operation, enum status status,
                      const struct outcome *outcome)
{
    struct certifier *certifier = CONTAINER_OF(operation, struct certifier, operation);
    certifier->journal_has_command = false;
    if (outcome != NULL && status == STATUS_OK) {
        log_event(LOG_INFO, "signing_key_added", "number=%u", state_cluster(service->parts.state)->signing_key);
        certifier->rotating = false; /* What is left, the manifest, is due by itself. */
        round_succeed(certifier);
    } else if (outcome != NULL) {
        round_fail(certifier, status, "the signing key was refused", "");
    } else {
        rotation_answer(certifier, status);
        round_end(certifier);
    }
}

/* The KMS has told its key: into the tables with it. */
static void key_add(struct certifier *certifier)
{
    struct meta_service *service = certifier->service;
    char kid[KID_BYTES];
    Trilith__SigningKey key;
    Trilith__SigningKeyAdd add;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    (void)certs_issuer(service, certifier->call.number, 0, kid);
    trilith__signing_key__init(&key);
    trilith__signing_key_add__init(&add);
    key.number = certifier->call.number;
    key.kid = kid;
    key.public_key =
        (ProtobufCBinaryData){.data = certifier->call.signing_key.bytes, .len = sizeof(certifier->call.signing_key)};
    key.created_ms = service_now_ms(service);
    add.key = &key;
    command.change_case = TRILITH__COMMAND__CHANGE_SIGNING_KEY_ADD;
    command.signing_key_add = &add;
    certifier->stage = CERTIFIER_ADDING;
    enum status status = service_submit_own(service, &certifier->operation, key_added, &command);
    certifier->journal_has_command = status == STATUS_OK;
    if (status != STATUS_OK) {
        round_fail(certifier, status, "the journal did not take the signing key", "");
    }
}

static void kms_answered(struct kms_call *call)
{
    struct certifier *certifier = CONTAINER_OF(call, struct certifier, call);
    certifier->kms_has_call = false;
    if (!service_is_sound(certifier->service)) {
        rotation_answer(certifier, STATUS_UNAVAILABLE);
        round_end(certifier);
        return;
    }
    if (call->status != STATUS_OK) {
        round_fail(certifier, call->status, "certificates wait for the KMS", call->message);
        return;
    }
    switch (certifier->stage) {
    case CERTIFIER_ASKING:
        key_add(certifier);
        return;
    case CERTIFIER_SIGNING:
        pack_slice(certifier);
        return;
    case CERTIFIER_SEALING:
    case CERTIFIER_SEALING_TWICE:
        checkpoint_signed(certifier);
        return;
    case CERTIFIER_IDLE:
    case CERTIFIER_ADDING:
    case CERTIFIER_RENDERING:
    case CERTIFIER_PACKING:
    case CERTIFIER_ISSUING:
        break;
    }
    UNREACHABLE();
}

/* ---- choosing ---------------------------------------------------------------------------------- */

/* What was rendered, to be signed, or why not. */
static void rendered(struct certifier *certifier, enum status status)
{
    if (status == STATUS_OK) {
        sign_round(certifier);
    } else {
        round_fail(certifier, status, "certificates can't be written", "");
    }
}

/* Keys come first: without them nothing is signed. True: a round has begun, or failed. */
static bool begin_keys(struct certifier *certifier)
{
    const Trilith__ClusterRecord *cluster = state_cluster(certifier->service->parts.state);
    if (cluster->signing_key == 0) {
        kms_begin(certifier, CERTIFIER_ASKING, KMS_SIGNING_KEY, 1);
        return true;
    }
    if (certifier->manifest_of != cluster->signing_key) {
        bool is_there = false;
        enum status status = certs_manifest_is_there(certifier, cluster->signing_key, &is_there);
        if (status != STATUS_OK || !is_there) {
            rendered(certifier, status == STATUS_OK ? certs_render_manifest(certifier, cluster->signing_key) : status);
            return true;
        }
        certifier->manifest_of = cluster->signing_key;
    }
    if (certifier->rotating) {
        kms_begin(certifier, CERTIFIER_ASKING, KMS_SIGNING_KEY, cluster->signing_key + 1);
        return true;
    }
    return false;
}

static void render_slice(struct certifier *certifier)
{
    enum status status = certs_render_slice(certifier);
    if (status == STATUS_OK) {
        certifier->stage = CERTIFIER_RENDERING;
        task_queue(certifier);
    } else if (status == STATUS_NOT_FOUND && certifier->round.count > 0) {
        sign_round(certifier);
    } else if (status == STATUS_NOT_FOUND) {
        certifier->retry_ns = loop_now_ns(certifier->service->parts.loop) + RETRY_NS;
        round_end(certifier);
    } else {
        round_fail(certifier, status, "certificates can't be written", "");
    }
}

static void choose(struct certifier *certifier)
{
    struct meta_service *service = certifier->service;
    certifier->begun_index = state_applied_index(service->parts.state);
    certifier->is_of_keys = true;
    if (begin_keys(certifier)) {
        return;
    }
    certifier->is_of_keys = false;
    enum status status = STATUS_NOT_FOUND;
    uint64_t now_ns = loop_now_ns(service->parts.loop);
    const Trilith__ClusterRecord *cluster = state_cluster(service->parts.state);
    if ((cluster->requests_open > 0 || cluster->certificates_due > 0) && now_ns >= certifier->requests_ns) {
        status = certs_render_request(certifier);
        certifier->requests_ns = status == STATUS_OK ? 0 : now_ns + LOOK_AGAIN_NS;
    }
    if (status == STATUS_OK || state_tables(service->parts.state)->failed != STATUS_OK) {
        rendered(certifier, status);
    } else if (certs_find_due(certifier)) {
        render_slice(certifier);
    } else {
        /* Nothing, or gateways hold it back: to be looked at again with the next tick. */
        certifier->retry_ns = certifier->round.due_seen ? now_ns + LOOK_AGAIN_NS : 0;
        round_end(certifier);
    }
}

static void task_run(struct loop_task *task)
{
    struct certifier *certifier = CONTAINER_OF(task, struct certifier, task);
    certifier->task_is_queued = false;
    if (!service_is_sound(certifier->service)) {
        if (certifier->stage == CERTIFIER_RENDERING || certifier->stage == CERTIFIER_PACKING) {
            rotation_answer(certifier, STATUS_UNAVAILABLE);
            round_end(certifier);
        }
        service_stop_check(certifier->service);
    } else if (certifier->stage == CERTIFIER_RENDERING) {
        render_slice(certifier);
    } else if (certifier->stage == CERTIFIER_PACKING) {
        pack_slice(certifier);
    } else if (may_begin(certifier)) {
        choose(certifier);
    }
}

/* ---- for the service --------------------------------------------------------------------------- */

struct certifier *certifier_open(struct meta_service *service)
{
    struct certifier *certifier = calloc(1, sizeof(*certifier));
    uint8_t *bytes = malloc(KMS_SIGN_BYTES_MAX);
    if (certifier == NULL || bytes == NULL) {
        free(certifier);
        free(bytes);
        return NULL;
    }
    certifier->service = service;
    certifier->batch.bytes = bytes;
    certifier->objects_max = ROUND_OBJECTS_MAX;
    certifier->task.run = task_run;
    certifier->pause.fire = pause_fire;
    certifier->call.done = kms_answered;
    return certifier;
}

void certifier_close(struct certifier *certifier)
{
    certs_round_clear(&certifier->round);
    free(certifier->batch.bytes);
    free(certifier);
}

void certifier_stop(struct meta_service *service)
{
    struct certifier *certifier = service->certifier;
    loop_timer_stop(service->parts.loop, &certifier->pause);
    rotation_answer(certifier, STATUS_UNAVAILABLE);
}

bool certifier_is_idle(const struct meta_service *service)
{
    const struct certifier *certifier = service->certifier;
    return !certifier->kms_has_call && !certifier->journal_has_command && !certifier->task_is_queued;
}

void certifier_tick(struct meta_service *service)
{
    certifier_wake(service);
}

const char *certifier_origin(struct meta_service *service)
{
    struct certifier *certifier = service->certifier;
    char hex[ID_HEX_BYTES];
    id_to_hex(state_cluster(service->parts.state)->cluster_id.data, hex);
    (void)snprintf(certifier->origin, sizeof(certifier->origin), ORIGIN_PREFIX "%s", hex);
    return certifier->origin;
}

void certifier_rotate(struct meta_service *service, struct rpc_request *request)
{
    struct certifier *certifier = service->certifier;
    if (certifier->rotation != NULL) {
        service_reply_status(service, request, STATUS_BUSY);
        return;
    }
    certifier->rotation = request;
    certifier->rotating = state_cluster(service->parts.state)->signing_key != 0;
    certifier->retry_ns = 0;
    certifier_wake(service);
}

Trilith__EvidenceStatus certifier_status(struct meta_service *service)
{
    const Trilith__ClusterRecord *cluster = state_cluster(service->parts.state);
    Trilith__EvidenceStatus status;
    trilith__evidence_status__init(&status);
    status.certificates = cluster->certificates;
    status.certificates_due = cluster->certificates_due;
    status.ledger_size = cluster->ledger_size;
    status.ledger_root = cluster->ledger_root;
    status.message = service->certifier->message;
    status.oldest_open_ms = certs_oldest_open_ms(service_tables(service));
    status.requests_open = cluster->requests_open;
    status.moves = cluster->moves;
    status.grace = cluster->grace_objects;
    return status;
}
