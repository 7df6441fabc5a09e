/* service_certs_make.c - what is due to be certified, and its rendering.
 *
 * An erasure is due when its wipes are done and its keys are beyond recovery (certificates_due()), and besides nobody
 * has its key in memory any more: every node of the map has said so since (keys_since_index), or a gateway may not keep
 * a key for as long as it has been punctured (key_lease). At last the vault is asked for the key: it must refuse. */
#include "meta/service_certs_private.h"

#include "meta/certificates.h"
#include "meta/evidence_media.h"
#include "meta/evidence_node.h"
#include "meta/evidence_tenant.h"
#include "meta/registry.h"
#include "meta/requests.h"

#include "base/jws_pack.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

#define ITEM_OVERHEAD_BYTES 200u /* of a certificate in the command, beside its text */
#define JWS_OVERHEAD_BYTES  400u /* header and signature */
#define BATCH_MEMBER_BYTES  700u /* the longest `batch` member of an object */

/* How requests of each kind are rendered, and what their certificates are called. */
struct request_rendering {
    Trilith__RequestKind kind;
    const char *type;
    evidence_of_request *render;
};

static const struct request_rendering renderings[] = {
    {TRILITH__REQUEST_KIND__REQUEST_TENANT, EVIDENCE_TENANT, evidence_tenant},
    {TRILITH__REQUEST_KIND__REQUEST_DISK, EVIDENCE_MEDIA, evidence_media},
    {TRILITH__REQUEST_KIND__REQUEST_NODE, EVIDENCE_NODE, evidence_node},
};

static const struct request_rendering *rendering_of(Trilith__RequestKind kind)
{
    for (size_t i = 0; i < ARRAY_LENGTH(renderings); i++) {
        if (renderings[i].kind == kind) {
            return &renderings[i];
        }
    }
    return NULL;
}

/* ---- the round --------------------------------------------------------------------------------- */

void certs_round_clear(struct certs_round *round)
{
    for (size_t i = 0; i < round->count; i++) {
        free(round->items[i].text);
        free(round->items[i].signing_input);
        free(round->items[i].plain);
        free(round->items[i].packed);
        free(round->items[i].jws);
    }
    memset(round, 0, sizeof(*round));
}

struct evidence_issuer certs_issuer(const struct meta_service *service, uint32_t signer, uint64_t now_ms, char *kid)
{
    const Trilith__ClusterRecord *cluster = state_cluster(service->parts.state);
    char hex[ID_HEX_BYTES];
    id_to_hex(cluster->cluster_id.data, hex);
    (void)snprintf(kid, KID_BYTES, "%s/%u", hex, signer);
    struct evidence_issuer issuer = {.organization = service->options.organization,
                                     .cluster_id = cluster->cluster_id.data,
                                     .kid = kid,
                                     .now_ms = now_ms,
                                     .key_lease_ms = service->options.key_lease_ms,
                                     .slot_backend = service->parts.vault.slot->backend,
                                     .software_version = TRILITH_VERSION};
    memcpy(issuer.software_sha256, service->options.software_sha256, sizeof(issuer.software_sha256));
    return issuer;
}

/* The next place in the round, with an id. */
static struct round_item *item_add(struct certifier *certifier, const char *type)
{
    struct certs_round *round = &certifier->round;
    uint8_t random[10];
    uint8_t id[16];
    CHECK(round->count < ROUND_ITEMS_MAX);
    struct round_item *item = &round->items[round->count++];
    memset(item, 0, sizeof(*item));
    loop_random(certifier->service->parts.loop, random, sizeof(random));
    evidence_uuid_make(round->now_ms, random, id);
    evidence_uuid_text(id, item->id);
    item->type = type;
    return item;
}

static void item_drop(struct certs_round *round)
{
    struct round_item *item = &round->items[--round->count];
    free(item->text);
    item->text = NULL;
}

/* Keep `payload` (stolen; NULL: no memory) as text. */
static enum status item_write(struct round_item *item, json_t *payload)
{
    const char *result = json_string_value(json_object_get(payload, "result"));
    item->is_partial = result == NULL || strcmp(result, EVIDENCE_ERASED) != 0;
    item->text = payload == NULL ? NULL : json_canonical(payload, &item->text_bytes);
    json_decref(payload);
    return item->text == NULL ? STATUS_FULL : STATUS_OK;
}

static size_t jws_bytes_about(size_t payload_bytes)
{
    return (payload_bytes + BATCH_MEMBER_BYTES) * 4 / 3 + JWS_OVERHEAD_BYTES;
}

static void round_begin(struct certifier *certifier, uint32_t signer)
{
    struct meta_service *service = certifier->service;
    struct certs_round *round = &certifier->round;
    round->now_ms = service_now_ms(service);
    round->first_seq = state_cluster(service->parts.state)->certificates + 1;
    round->signer = signer;
}

/* Let each object of a batch say where it stands in it. */
static bool places_join(struct certs_round *round)
{
    const struct round_item *batch = &round->items[round->count - 1];
    size_t count = round->count - 1;
    bool good = true;
    for (size_t i = 0; good && i < count; i++) {
        struct round_item *item = &round->items[i];
        size_t bytes = 0;
        json_t *place = evidence_batch_place(batch->id, round->leaves, count, i);
        char *text = place == NULL ? NULL : evidence_batch_join(item->text, item->text_bytes, place, &bytes);
        json_decref(place);
        free(item->text);
        item->text = text;
        item->text_bytes = bytes;
        good = text != NULL;
    }
    return good;
}

bool certs_round_encode(struct certifier *certifier)
{
    struct certs_round *round = &certifier->round;
    char kid[KID_BYTES];
    (void)certs_issuer(certifier->service, round->signer, round->now_ms, kid);
    certifier->batch.count = 0;
    size_t end = 0;
    if (!places_join(round)) {
        return false;
    }
    for (size_t i = 0; i < round->count; i++) {
        struct round_item *item = &round->items[i];
        item->signing_input = jws_signing_input(EVIDENCE_TYPE, kid, item->text, item->text_bytes);
        bool is_packed = strcmp(item->type, EVIDENCE_OBJECT) == 0;
        item->plain =
            is_packed ? jws_plain(EVIDENCE_TYPE, kid, item->text, item->text_bytes, &item->plain_bytes) : NULL;
        free(item->text);
        item->text = NULL;
        if (is_packed && item->plain == NULL) {
            return false;
        }
        size_t input_bytes = item->signing_input == NULL ? 0 : strlen(item->signing_input);
        if (item->signing_input == NULL || end + input_bytes > KMS_SIGN_BYTES_MAX) {
            return false;
        }
        memcpy(certifier->batch.bytes + end, item->signing_input, input_bytes);
        end += input_bytes;
        certifier->batch.ends[certifier->batch.count++] = (uint32_t)end;
    }
    return true;
}

enum status certs_pack_slice(struct certifier *certifier)
{
    struct certs_round *round = &certifier->round;
    const struct round_item *first = &round->items[0];
    for (uint32_t packed = 0; packed < ROUND_SLICE && round->packed_count < round->count; packed++) {
        struct round_item *item = &round->items[round->packed_count];
        const struct signature *signature = &certifier->batch.signatures[round->packed_count++];
        if (item->plain != NULL) {
            bool is_first = item == first;
            item->packed = jws_pack(item->plain, item->plain_bytes, signature, is_first ? NULL : first->plain,
                                    is_first ? 0 : first->plain_bytes, &item->packed_bytes);
            round->packed_bytes += item->packed_bytes + ITEM_OVERHEAD_BYTES;
        } else {
            item->jws = jws_finish(item->signing_input, signature);
        }
        free(item->signing_input);
        item->signing_input = NULL;
        if (item->packed == NULL && item->jws == NULL) {
            return STATUS_FULL;
        }
    }
    if (round->packed_bytes > ROUND_COMMAND_BYTES) {
        return STATUS_TOO_LARGE;
    }
    return round->packed_count < round->count ? STATUS_OK : STATUS_NOT_FOUND;
}

/* ---- gateways ---------------------------------------------------------------------------------- */

/* Ask each node of the map since when its keys are. */
static enum status gateways_ask(struct certifier *certifier)
{
    struct meta_service *service = certifier->service;
    struct certs_round *round = &certifier->round;
    Trilith__Map *map = NULL;
    enum status status = registry_map(service_tables(service), state_cluster(service->parts.state)->map_epoch, &map);
    if (status != STATUS_OK) {
        return status;
    }
    round->gateways = (uint32_t)map->n_nodes;
    for (size_t i = 0; i < map->n_nodes && i < CERTIFIER_NODES_MAX; i++) {
        certifier->keys_since[i] = membership_keys_since(&service->membership, map->nodes[i]->id);
        certifier->silence_ns[i] =
            membership_silence_ns(&service->membership, map->nodes[i]->id, loop_now_ns(service->parts.loop));
    }
    return STATUS_OK;
}

/* Have all of them let go? A node that speaks has to say so: one long download keeps its key as long as it lasts. One that
 * has been silent for a lease can't have renewed what it needs beside the key, and so has given up. */
static bool gateways_let_go(const struct certifier *certifier, uint64_t index, bool lease_is_over)
{
    uint64_t lease_ns = certifier->service->options.key_lease_ms * NS_PER_MS;
    for (size_t i = 0; i < certifier->round.gateways && i < CERTIFIER_NODES_MAX; i++) {
        bool is_silent = lease_is_over && certifier->silence_ns[i] >= lease_ns;
        if (certifier->keys_since[i] < index && !is_silent) {
            return false;
        }
    }
    return true;
}

/* How many of them can't have a key in memory that was punctured at `index`. */
static uint32_t gateways_acked(const struct certifier *certifier, uint64_t index)
{
    uint32_t acked = 0;
    for (size_t i = 0; i < certifier->round.gateways && i < CERTIFIER_NODES_MAX; i++) {
        acked += certifier->keys_since[i] >= index ? 1 : 0;
    }
    return acked;
}

/* ---- objects ----------------------------------------------------------------------------------- */

static enum status take_due(struct certifier *certifier, uint64_t erasure_id)
{
    struct certs_round *round = &certifier->round;
    struct tables *tables = service_tables(certifier->service);
    Trilith__ErasureRecord *record = NULL;
    enum status status = tables_get(tables, key_erasure(erasure_id), &trilith__erasure_record__descriptor, &record);
    if (status != STATUS_OK || record->tenant_request != 0) {
        return status; /* A tenant's has the certificate of its request. */
    }
    uint64_t index = record->punctured_index != 0 ? record->punctured_index : record->index;
    uint32_t acked = gateways_acked(certifier, index);
    bool lease_is_over = round->now_ms >= record->punctured_ms + certifier->service->options.key_lease_ms;
    if (gateways_let_go(certifier, index, lease_is_over)) {
        round->acked[round->due_count] = acked;
        round->due[round->due_count++] = erasure_id;
    }
    return STATUS_OK;
}

bool certs_find_due(struct certifier *certifier)
{
    struct meta_service *service = certifier->service;
    const Trilith__ClusterRecord *cluster = state_cluster(service->parts.state);
    struct certs_round *round = &certifier->round;
    struct certificates_due after = {0};
    uint64_t ids[ROUND_OBJECTS_MAX];
    size_t count = ROUND_OBJECTS_MAX;
    certs_round_clear(round);
    round_begin(certifier, cluster->signing_key);
    for (uint32_t scanned = 0; scanned < ROUND_SCAN_MAX && count == ROUND_OBJECTS_MAX; scanned += ROUND_OBJECTS_MAX) {
        enum status status = certificates_due(service_tables(service), cluster, &after, ROUND_OBJECTS_MAX, ids, &count);
        if (status == STATUS_OK && count > 0 && !round->due_seen) {
            round->due_seen = true;
            status = gateways_ask(certifier);
        }
        for (size_t i = 0; status == STATUS_OK && i < count && round->due_count < certifier->objects_max; i++) {
            status = take_due(certifier, ids[i]);
        }
        if (status != STATUS_OK || round->due_count == certifier->objects_max) {
            break;
        }
    }
    return round->due_count > 0 && state_tables(service->parts.state)->failed == STATUS_OK;
}

/* STATUS_OK: the vault refuses the key of that erasure; STATUS_CONFLICT: it does not, which must never be. */
static enum status key_ask(struct meta_service *service, const Trilith__ErasureRecord *record, uint64_t erasure_id)
{
    if (record->punctured_index == 0) {
        return STATUS_OK;
    }
    struct key *leaf = key_take(service->keys);
    CHECK(leaf != NULL);
    enum status status = service_derive(service, record->page, record->slot, leaf);
    key_release(service->keys, leaf);
    if (status == STATUS_GONE) {
        return STATUS_OK;
    }
    log_event(LOG_ERROR, "erased_key_not_refused", "erasure=%llu status=%s", (unsigned long long)erasure_id,
              status_name(status));
    return STATUS_CONFLICT;
}

/* The id of the certificate that a new one about this erasure takes the place of; "" for none. */
static enum status superseded(struct tables *tables, uint64_t seq, char id[EVIDENCE_UUID_BYTES])
{
    Trilith__Certificate *certificate = NULL;
    id[0] = '\0';
    if (seq == 0) {
        return STATUS_OK;
    }
    enum status status = certificate_by_seq(tables, seq, &certificate);
    if (status == STATUS_OK) {
        (void)snprintf(id, EVIDENCE_UUID_BYTES, "%s", certificate->id);
    }
    return status;
}

/* Render one object. STATUS_NOT_FOUND, STATUS_CONFLICT: it is left out of this round. */
static enum status object_render(struct certifier *certifier, size_t due)
{
    struct meta_service *service = certifier->service;
    struct certs_round *round = &certifier->round;
    struct tables *tables = service_tables(service);
    Trilith__ErasureRecord *record = NULL;
    json_t *payload = NULL;
    uint64_t erasure_id = round->due[due];
    struct round_item *item = item_add(certifier, EVIDENCE_OBJECT);
    char kid[KID_BYTES];
    const struct evidence_issuer issuer = certs_issuer(service, round->signer, round->now_ms, kid);
    enum status status = tables_get(tables, key_erasure(erasure_id), &trilith__erasure_record__descriptor, &record);
    if (status == STATUS_OK) {
        status = key_ask(service, record, erasure_id);
    }
    if (status == STATUS_OK) {
        status = superseded(tables, record->certificate_seq, item->supersedes);
    }
    const struct evidence_object_parts parts = {.id = item->id,
                                                .seq = round->first_seq + round->count - 1,
                                                .gateways = round->gateways,
                                                .gateways_acked = round->acked[due],
                                                .key_refused = record != NULL && record->punctured_index != 0,
                                                .supersedes = item->supersedes};
    if (status == STATUS_OK) {
        status = evidence_object(&issuer, tables, erasure_id, &parts, &payload);
    }
    if (status == STATUS_OK) {
        status = item_write(item, payload);
    }
    if (status != STATUS_OK) {
        item_drop(round);
        return status;
    }
    merkle_leaf(item->text, item->text_bytes, &round->leaves[round->count - 1]);
    item->erasure_id = erasure_id;
    item->tenant_id = record->tenant_id;
    if (record->object_ref.len == SHA256_BYTES) {
        memcpy(item->object_ref, record->object_ref.data, SHA256_BYTES);
        item->object_ref_bytes = SHA256_BYTES;
    }
    return STATUS_OK;
}

/* Does the last object still fit into the call that signs? */
static bool object_fits(struct certs_round *round)
{
    size_t sum = round->bytes + jws_bytes_about(round->items[round->count - 1].text_bytes);
    bool fits = sum + jws_bytes_about(KIB(4)) <= ROUND_SIGN_BYTES; /* The batch comes last. */
    round->bytes = fits ? sum : round->bytes;
    return fits;
}

/* STATUS_NOT_FOUND: rendering is over. */
static enum status batch_render(struct certifier *certifier)
{
    struct meta_service *service = certifier->service;
    struct certs_round *round = &certifier->round;
    char kid[KID_BYTES];
    const struct evidence_issuer issuer = certs_issuer(service, round->signer, round->now_ms, kid);
    size_t count = round->count;
    bool is_partial = false;
    if (count == 0) {
        return STATUS_NOT_FOUND;
    }
    for (size_t i = 0; i < count; i++) {
        is_partial = is_partial || round->items[i].is_partial;
    }
    struct round_item *item = item_add(certifier, EVIDENCE_BATCH);
    json_t *payload = evidence_batch(&issuer, state_cluster(service->parts.state), item->id, round->first_seq + count,
                                     round->leaves, count, is_partial);
    enum status status = item_write(item, payload);
    return status == STATUS_OK ? STATUS_NOT_FOUND : status;
}

enum status certs_render_slice(struct certifier *certifier)
{
    struct certs_round *round = &certifier->round;
    for (uint32_t rendered = 0; rendered < ROUND_SLICE && round->due_next < round->due_count; rendered++) {
        enum status status = object_render(certifier, round->due_next++);
        if (status == STATUS_NOT_FOUND || status == STATUS_CONFLICT) {
            continue;
        }
        if (status != STATUS_OK) {
            return status;
        }
        if (!object_fits(round)) {
            item_drop(round);
            round->due_next = round->due_count; /* The others come with the next round. */
        }
    }
    return round->due_next < round->due_count ? STATUS_OK : batch_render(certifier);
}

/* ---- requests ---------------------------------------------------------------------------------- */

/* Render the certificate of this request. */
static enum status request_render(struct certifier *certifier, struct tables *tables,
                                  const Trilith__RequestRecord *record)
{
    struct meta_service *service = certifier->service;
    struct certs_round *round = &certifier->round;
    const Trilith__Request *request = record->request;
    const struct request_rendering *rendering = rendering_of(request->kind);
    char kid[KID_BYTES];
    const struct evidence_issuer issuer = certs_issuer(service, round->signer, round->now_ms, kid);
    if (rendering == NULL) {
        return STATUS_UNSUPPORTED;
    }
    struct round_item *item = item_add(certifier, rendering->type);
    (void)snprintf(item->supersedes, sizeof(item->supersedes), "%s", request->certificate);
    item->request_id = request->id;
    item->erasure_id = request->erasure_id;
    item->tenant_id = request->tenant_id;
    json_t *payload = NULL;
    enum status status = rendering->render(&issuer, tables, state_cluster(service->parts.state), record, item->id,
                                           round->first_seq, item->supersedes, &payload);
    if (status == STATUS_OK) {
        status = item_write(item, payload);
    }
    if (status != STATUS_OK) {
        item_drop(round);
    }
    return status;
}

/* The same, and say once why it can't be. */
static enum status request_try(struct certifier *certifier, struct tables *tables, const Trilith__RequestRecord *record)
{
    uint64_t id = record->request->id;
    enum status status = request_render(certifier, tables, record);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND && id != certifier->request_refused) {
        certifier->request_refused = id; /* STATUS_NOT_FOUND: its keys or wipes are not done yet. */
        log_event(LOG_WARNING, "request_not_certified", "request=%llu reason=%s", (unsigned long long)id,
                  status_name(status));
    }
    return status;
}

/* The request of this erasure, when it is that of a tenant which was certified before a copy turned up.
 * STATUS_NOT_FOUND: it is not. */
static enum status request_of_reopened(struct tables *tables, uint64_t erasure_id, Trilith__RequestRecord **record)
{
    Trilith__ErasureRecord *erasure = NULL;
    enum status status = tables_get(tables, key_erasure(erasure_id), &trilith__erasure_record__descriptor, &erasure);
    if (status != STATUS_OK || strcmp(erasure->reason, "tenant") != 0 || erasure->certificate_seq == 0) {
        return status == STATUS_OK ? STATUS_NOT_FOUND : status;
    }
    status = request_get(tables, erasure->tenant_request, record);
    return status == STATUS_NOT_FOUND ? tables_missing(tables, status) : status;
}

/* A request that is done is certified again when what turned up later is gone too. STATUS_NOT_FOUND: there is none. */
static enum status reopened_render(struct certifier *certifier)
{
    struct meta_service *service = certifier->service;
    struct certificates_due after = {0};
    uint64_t ids[ROUND_OBJECTS_MAX];
    size_t count = ROUND_OBJECTS_MAX;
    for (uint32_t scanned = 0; scanned < ROUND_SCAN_MAX && count == ROUND_OBJECTS_MAX; scanned += ROUND_OBJECTS_MAX) {
        enum status status = certificates_due(service_tables(service), state_cluster(service->parts.state), &after,
                                              ROUND_OBJECTS_MAX, ids, &count);
        for (size_t i = 0; status == STATUS_OK && i < count; i++) {
            struct tables *tables = service_tables(service);
            Trilith__RequestRecord *record = NULL;
            status = request_of_reopened(tables, ids[i], &record);
            if (status == STATUS_OK && request_try(certifier, tables, record) == STATUS_OK) {
                return STATUS_OK;
            }
            status = status == STATUS_NOT_FOUND ? STATUS_OK : status;
        }
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_NOT_FOUND;
}

enum status certs_render_request(struct certifier *certifier)
{
    struct meta_service *service = certifier->service;
    const Trilith__ClusterRecord *cluster = state_cluster(service->parts.state);
    Trilith__RequestRecord *record = NULL;
    enum status status = cluster->requests_open > 0 ? STATUS_OK : STATUS_NOT_FOUND;
    uint64_t after = 0;
    certs_round_clear(&certifier->round);
    round_begin(certifier, cluster->signing_key);
    for (uint32_t i = 0; status == STATUS_OK && i < REQUESTS_OPEN_MAX; i++) {
        struct tables *tables = service_tables(service);
        status = request_next_to_certify(tables, after, &record);
        if (status == STATUS_OK) {
            after = record->request->id;
            if (request_try(certifier, tables, record) == STATUS_OK) {
                return STATUS_OK;
            }
        }
    }
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        return status;
    }
    return cluster->certificates_due > 0 ? reopened_render(certifier) : STATUS_NOT_FOUND;
}

/* ---- keys -------------------------------------------------------------------------------------- */

enum status certs_render_manifest(struct certifier *certifier, uint32_t number)
{
    struct meta_service *service = certifier->service;
    struct tables *tables = service_tables(service);
    const Trilith__SigningKey *keys[2];
    Trilith__SigningKey *key = NULL;
    size_t count = 0;
    char kid[KID_BYTES];
    certs_round_clear(&certifier->round);
    round_begin(certifier, number > 1 ? number - 1 : number);
    const struct evidence_issuer issuer = certs_issuer(service, certifier->round.signer, certifier->round.now_ms, kid);
    for (uint32_t i = number; i > 0 && i + 2 > number; i--) {
        enum status status = signing_key(tables, i, &key);
        if (status != STATUS_OK) {
            return tables_missing(tables, status);
        }
        keys[count++] = key;
    }
    struct round_item *item = item_add(certifier, EVIDENCE_MANIFEST);
    return item_write(item, evidence_manifest(&issuer, item->id, certifier->round.first_seq, keys, count));
}

/* Does this manifest list key `number`? */
static bool manifest_lists(const json_t *payload, uint32_t number)
{
    const json_t *keys = json_object_get(payload, "keys");
    for (size_t i = 0; i < json_array_size(keys); i++) {
        if (json_integer_value(json_object_get(json_array_get(keys, i), "number")) == (json_int_t)number) {
            return true;
        }
    }
    return false;
}

/* Nothing is signed with a key before its manifest is in the ledger, and nothing else is issued between a key's row and
 * its manifest. So the last certificate tells: it was signed with that key, or it is the manifest. */
enum status certs_manifest_is_there(struct certifier *certifier, uint32_t number, bool *is_there)
{
    struct meta_service *service = certifier->service;
    const Trilith__ClusterRecord *cluster = state_cluster(service->parts.state);
    Trilith__Certificate *certificate = NULL;
    char kid[KID_BYTES];
    *is_there = false;
    if (cluster->certificates == 0) {
        return STATUS_OK;
    }
    enum status status = certificate_by_seq(service_tables(service), cluster->certificates, &certificate);
    if (status != STATUS_OK) {
        return status;
    }
    struct jws jws;
    (void)certs_issuer(service, number, 0, kid);
    status = jws_open(&jws, certificate->jws, strlen(certificate->jws));
    if (status == STATUS_OK) {
        *is_there = strcmp(jws.kid, kid) == 0 ||
                    (strcmp(certificate->type, EVIDENCE_MANIFEST) == 0 && manifest_lists(jws.payload, number));
    }
    jws_close(&jws);
    return status;
}
