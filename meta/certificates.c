/* certificates.c - issuing certificates: what refuses it, and the rows that it writes; and looking them up. */
#include "meta/certificates.h"

#include "meta/erasure.h"
#include "meta/requests.h"

#include "base/digest.h"
#include "base/jws_pack.h"

#include <stdlib.h>
#include <string.h>

#define UUID_TEXT_BYTES 36

/* ---- what can be said of one without tables ---------------------------------------------------- */

/* 8-4-4-4-12 lower-case digits. */
static bool uuid_decode(const char *text, uint8_t id[16])
{
    char digits[2 * 16 + 1];
    size_t used = 0;
    if (strlen(text) != UUID_TEXT_BYTES) {
        return false;
    }
    for (size_t i = 0; i < UUID_TEXT_BYTES; i++) {
        bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (is_dash != (text[i] == '-') || (!is_dash && strchr("0123456789abcdef", text[i]) == NULL)) {
            return false;
        }
        if (!is_dash) {
            digits[used++] = text[i];
        }
    }
    return hex_decode(digits, used, id, 16);
}

static bool type_is(const Trilith__Certificate *certificate, const char *type)
{
    return strcmp(certificate->type, type) == 0;
}

static bool type_is_known(const Trilith__Certificate *certificate)
{
    static const char *const types[] = {CERTIFICATE_OBJECT, CERTIFICATE_BATCH, CERTIFICATE_TENANT,
                                        CERTIFICATE_MEDIUM, CERTIFICATE_NODE,  CERTIFICATE_KEYS};
    bool known = false;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        known = known || type_is(certificate, types[i]);
    }
    return known;
}

static bool is_of_erasure(const Trilith__Certificate *certificate)
{
    return type_is(certificate, CERTIFICATE_OBJECT) || type_is(certificate, CERTIFICATE_TENANT);
}

/* Those of a batch may be packed, against one that stands before them. Their text is hashed nowhere. */
static bool text_is_right(const Trilith__Certificate *certificate)
{
    size_t jws_bytes = strlen(certificate->jws);
    if (certificate->packed.len > 0) {
        return jws_bytes == 0 && certificate->packed.len <= CERTIFICATE_JWS_BYTES_MAX && certificate->batch_seq != 0 &&
               certificate->packed_against < certificate->seq;
    }
    return jws_bytes > 0 && jws_bytes <= CERTIFICATE_JWS_BYTES_MAX && certificate->packed_against == 0;
}

static bool certificate_is_valid(const Trilith__Certificate *certificate)
{
    uint8_t id[16];
    return type_is_known(certificate) && uuid_decode(certificate->id, id) && text_is_right(certificate) &&
           certificate->base.n_unknown_fields == 0 &&
           (certificate->object_ref.len == 0 || certificate->object_ref.len == ERASURE_REF_BYTES) &&
           (certificate->object_ref.len == 0 || certificate->tenant_id != 0) &&
           is_of_erasure(certificate) == (certificate->erasure_id != 0);
}

/* ---- places in the ledger ---------------------------------------------------------------------- */

/* One command while it is being applied. */
struct issue {
    struct change *change;
    const Trilith__CertIssue *command;
    bool entry_is_taken[LEDGER_ENTRIES_APPEND_MAX];
};

/* Does the entry name the certificate by its id and the SHA-256 of its JWS? */
static bool entry_names(ProtobufCBinaryData entry, const Trilith__Certificate *certificate)
{
    static const char id_label[] = "\"cert_id\":\"";
    static const char sum_label[] = "\"sha256\":\"";
    char text[LEDGER_ENTRY_BYTES_MAX + 1] = {0};
    uint8_t sum[SHA256_BYTES];
    char sum_hex[2 * SHA256_BYTES + 1];
    if (entry.len < 1 || entry.len > LEDGER_ENTRY_BYTES_MAX || memchr(entry.data, '\0', entry.len) != NULL) {
        return false;
    }
    memcpy(text, entry.data, entry.len);
    sha256(certificate->jws, strlen(certificate->jws), sum);
    hex_encode(sum, sizeof(sum), sum_hex);
    const char *id_at = strstr(text, id_label);
    const char *sum_at = strstr(text, sum_label);
    return id_at != NULL && sum_at != NULL &&
           strncmp(id_at + sizeof(id_label) - 1, certificate->id, UUID_TEXT_BYTES) == 0 &&
           strncmp(sum_at + sizeof(sum_label) - 1, sum_hex, sizeof(sum_hex) - 1) == 0;
}

/* The batch that a certificate belongs to must be issued with it, and stand where it says. */
static bool batch_is_right(const struct issue *issue, const Trilith__Certificate *certificate)
{
    const Trilith__CertIssue *command = issue->command;
    uint64_t at = certificate->batch_seq - command->first_seq;
    if (!type_is(certificate, CERTIFICATE_OBJECT) || certificate->batch_seq < command->first_seq ||
        at >= command->n_certificates) {
        return false;
    }
    const Trilith__Certificate *batch = command->certificates[at];
    return type_is(batch, CERTIFICATE_BATCH) && batch->ledger_index == certificate->ledger_index;
}

/* A certificate of its own has an entry of its own. */
static bool place_is_right(struct issue *issue, const Trilith__Certificate *certificate)
{
    if (certificate->batch_seq != 0) {
        return batch_is_right(issue, certificate);
    }
    uint64_t size = issue->change->cluster->ledger_size;
    uint64_t at = certificate->ledger_index - size;
    if (certificate->ledger_index < size || at >= issue->command->n_ledger_entries || issue->entry_is_taken[at]) {
        return false;
    }
    issue->entry_is_taken[at] = true;
    return entry_names(issue->command->ledger_entries[at], certificate);
}

/* ---- what it certifies ------------------------------------------------------------------------- */

/* A certificate after the first one of the same erasure names it, and no other does. */
static enum status supersedes_check(struct tables *tables, const Trilith__Certificate *certificate, uint64_t before_seq)
{
    Trilith__Certificate *before = NULL;
    if (certificate->erasure_id == 0) {
        return certificate->supersedes[0] == '\0' ? STATUS_OK
                                                  : certificate_by_id(tables, certificate->supersedes, &before);
    }
    if (before_seq == 0) {
        return certificate->supersedes[0] == '\0' ? STATUS_OK : STATUS_CONFLICT;
    }
    enum status status = certificate_by_seq(tables, before_seq, &before);
    if (status != STATUS_OK) {
        return tables_missing(tables, status);
    }
    return strcmp(before->id, certificate->supersedes) == 0 ? STATUS_OK : STATUS_CONFLICT;
}

/* Is the erasure closed, not certified (any more), and the one that the certificate is about? */
static enum status erasure_check(struct issue *issue, const Trilith__Certificate *certificate,
                                 Trilith__ErasureRecord **record)
{
    struct tables *tables = issue->change->tables;
    const Trilith__ClusterRecord *cluster = issue->change->cluster;
    uint64_t id = certificate->erasure_id;
    enum status status = erasure_record(tables, id, record);
    if (status != STATUS_OK) {
        return status;
    }
    bool is_whole = strcmp((*record)->reason, "tenant") == 0;
    const ProtobufCBinaryData ref = (*record)->object_ref;
    if (is_whole != type_is(certificate, CERTIFICATE_TENANT) || certificate->tenant_id != (*record)->tenant_id ||
        certificate->object_ref.len != ref.len ||
        (ref.len > 0 && memcmp(certificate->object_ref.data, ref.data, ref.len) != 0)) {
        return STATUS_INVALID;
    }
    if (!erasure_is_wiped(*record) || !erasure_keys_are_gone(cluster, id, *record)) {
        return STATUS_CONFLICT;
    }
    status = tables_find(tables, key_uncertified((*record)->seal, id));
    if (status != STATUS_OK) {
        return status == STATUS_NOT_FOUND ? STATUS_CONFLICT : status;
    }
    return supersedes_check(tables, certificate, (*record)->certificate_seq);
}

static void erasure_certified(struct change *change, const Trilith__Certificate *certificate,
                              Trilith__ErasureRecord *record)
{
    CHECK(change->cluster->certificates_due > 0);
    change->cluster->certificates_due--;
    record->certificate_seq = certificate->seq;
    record->certificate_ms = change->time_ms;
    tables_delete(change->tables, key_uncertified(record->seal, certificate->erasure_id));
    tables_delete(change->tables, key_erasure_open(certificate->erasure_id)); /* One that is late has it until now. */
    tables_put(change->tables, key_erasure(certificate->erasure_id), record);
}

/* ---- issuing ----------------------------------------------------------------------------------- */

/* Is there an earlier one in the command with the same id, or about the same erasure or request? */
static bool is_twice(const Trilith__CertIssue *command, size_t at)
{
    const Trilith__Certificate *certificate = command->certificates[at];
    for (size_t i = 0; i < at; i++) {
        const Trilith__Certificate *other = command->certificates[i];
        if (strcmp(other->id, certificate->id) == 0 ||
            (certificate->erasure_id != 0 && other->erasure_id == certificate->erasure_id) ||
            (certificate->request_id != 0 && other->request_id == certificate->request_id)) {
            return true;
        }
    }
    return false;
}

static void certificate_put(struct change *change, const Trilith__Certificate *certificate, const uint8_t id[16])
{
    struct tables *tables = change->tables;
    tables_put(tables, key_certificate(certificate->seq), certificate);
    tables_put_number(tables, key_certificate_id(id), certificate->seq);
    if (certificate->tenant_id != 0) {
        tables_put_bytes(tables, key_tenant_certificate(certificate->tenant_id, certificate->seq), "", 0);
    }
    if (certificate->object_ref.len == ERASURE_REF_BYTES) {
        tables_put_bytes(tables,
                         key_object_certificate(certificate->tenant_id, certificate->object_ref.data, certificate->seq),
                         "", 0);
    }
}

/* Check one certificate and write it down. */
static enum status certificate_issue(struct issue *issue, size_t at)
{
    struct change *change = issue->change;
    const Trilith__Certificate *certificate = issue->command->certificates[at];
    Trilith__ErasureRecord *record = NULL;
    uint8_t id[16];
    if (!certificate_is_valid(certificate) || is_twice(issue->command, at) ||
        certificate->seq != issue->command->first_seq + at || !place_is_right(issue, certificate)) {
        return STATUS_INVALID;
    }
    CHECK(uuid_decode(certificate->id, id));
    enum status status = tables_find(change->tables, key_certificate_id(id));
    if (status != STATUS_NOT_FOUND) {
        return status == STATUS_OK ? STATUS_CONFLICT : status;
    }
    status = certificate->erasure_id != 0 ? erasure_check(issue, certificate, &record)
                                          : supersedes_check(change->tables, certificate, 0);
    if (status == STATUS_OK && certificate->request_id != 0) {
        status = request_certified(change, certificate->request_id, certificate->id);
    }
    if (status != STATUS_OK) {
        return status;
    }
    if (record != NULL) {
        erasure_certified(change, certificate, record);
    }
    certificate_put(change, certificate, id);
    return STATUS_OK;
}

enum status certificates_issue(struct change *change, const Trilith__CertIssue *command)
{
    struct issue issue = {.change = change, .command = command};
    size_t count = command->n_certificates;
    if (count < 1 || count > CERTIFICATES_ISSUED_MAX || command->n_ledger_entries < 1 ||
        command->n_ledger_entries > LEDGER_ENTRIES_APPEND_MAX) {
        return STATUS_INVALID;
    }
    if (command->first_seq != change->cluster->certificates + 1) {
        return STATUS_CONFLICT;
    }
    for (size_t i = 0; i < count; i++) {
        enum status status = certificate_issue(&issue, i);
        if (status != STATUS_OK) {
            return status;
        }
    }
    for (size_t i = 0; i < command->n_ledger_entries; i++) {
        if (!issue.entry_is_taken[i]) {
            return STATUS_INVALID; /* An entry that stands for nothing. */
        }
    }
    change->cluster->certificates += count;
    return ledger_append(change, command->ledger_entries, command->n_ledger_entries, command->checkpoint);
}

/* ---- signing keys ------------------------------------------------------------------------------ */

static enum status signing_key_retire(struct change *change, uint32_t number)
{
    Trilith__SigningKey *key = NULL;
    if (number == 0) {
        return STATUS_OK;
    }
    enum status status = signing_key(change->tables, number, &key);
    if (status != STATUS_OK) {
        return tables_missing(change->tables, status);
    }
    key->retired_ms = change->time_ms;
    tables_put(change->tables, key_signing_key(number), key);
    return STATUS_OK;
}

enum status signing_key_add(struct change *change, const Trilith__SigningKeyAdd *command)
{
    const Trilith__SigningKey *added = command->key;
    if (added == NULL || added->public_key.len != PUBLIC_KEY_BYTES || added->kid[0] == '\0' ||
        strlen(added->kid) >= JWS_KID_BYTES) {
        return STATUS_INVALID;
    }
    if (added->number == 0 || added->number != change->cluster->signing_key + 1) {
        return STATUS_CONFLICT;
    }
    enum status status = signing_key_retire(change, change->cluster->signing_key);
    if (status != STATUS_OK) {
        return status;
    }
    Trilith__SigningKey key;
    trilith__signing_key__init(&key);
    key.number = added->number;
    key.kid = added->kid;
    key.public_key = added->public_key;
    key.created_ms = change->time_ms;
    tables_put(change->tables, key_signing_key(key.number), &key);
    change->cluster->signing_key = key.number;
    return STATUS_OK;
}

enum status signing_key(struct tables *tables, uint32_t number, Trilith__SigningKey **key)
{
    return tables_get(tables, key_signing_key(number), &trilith__signing_key__descriptor, key);
}

enum status signing_key_list(struct tables *tables, Trilith__SigningKeyListReply *reply)
{
    Trilith__ClusterRecord *cluster = NULL;
    reply->keys = scratch_take(&tables->scratch, SIGNING_KEYS_LIST_MAX * sizeof(reply->keys[0]));
    if (reply->keys == NULL) {
        return STATUS_TOO_LARGE;
    }
    enum status status = tables_get(tables, key_cluster(), &trilith__cluster_record__descriptor, &cluster);
    uint32_t number = status == STATUS_OK ? cluster->signing_key : 0;
    for (; status == STATUS_OK && number > 0 && reply->n_keys < SIGNING_KEYS_LIST_MAX; number--) {
        status = signing_key(tables, number, &reply->keys[reply->n_keys]);
        reply->n_keys += status == STATUS_OK ? 1 : 0;
    }
    return status == STATUS_NOT_FOUND && number > 0 ? tables_missing(tables, status)
           : status == STATUS_NOT_FOUND             ? STATUS_OK
                                                    : status;
}

/* ---- what is due ------------------------------------------------------------------------------- */

enum status certificates_due(struct tables *tables, const Trilith__ClusterRecord *cluster,
                             struct certificates_due *after, size_t max, uint64_t *erasure_ids, size_t *count)
{
    struct table_walk walk;
    struct kv_slice key, value;
    struct table_key start = key_uncertified(after->seal, after->erasure_id);
    key_after(&start);
    *count = 0;
    table_walk_open(&walk, tables, key_prefix(start, 1));
    table_walk_seek(&walk, &start);
    for (; *count < max && table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        if (key.bytes != 17) {
            (void)tables_fail(tables, STATUS_CORRUPT);
            break;
        }
        uint64_t seal = number_of_be((const uint8_t *)key.data + 1, 8);
        if (seal > cluster->erased_seal) {
            break;
        }
        after->seal = seal;
        after->erasure_id = number_of_be((const uint8_t *)key.data + 9, 8);
        erasure_ids[(*count)++] = after->erasure_id;
    }
    table_walk_close(&walk);
    return tables->failed;
}

/* ---- reads ------------------------------------------------------------------------------------- */

enum status certificate_by_seq(struct tables *tables, uint64_t seq, Trilith__Certificate **certificate)
{
    return tables_get(tables, key_certificate(seq), &trilith__certificate__descriptor, certificate);
}

/* The plain text of the one that others are packed against, which is itself packed against none. */
static enum status dictionary_read(struct tables *tables, uint64_t seq, char **plain, size_t *bytes)
{
    Trilith__Certificate *certificate = NULL;
    if (seq == 0) {
        return STATUS_OK;
    }
    enum status status = certificate_by_seq(tables, seq, &certificate);
    if (status != STATUS_OK) {
        return tables_missing(tables, status);
    }
    if (certificate->packed_against != 0) {
        return STATUS_CORRUPT;
    }
    status = jws_unpack_plain(certificate->packed.data, certificate->packed.len, NULL, 0, plain, bytes, NULL);
    return status == STATUS_INVALID ? STATUS_CORRUPT : status;
}

enum status certificate_unpack(struct tables *tables, Trilith__Certificate *certificate)
{
    char *dictionary = NULL;
    size_t dictionary_bytes = 0;
    char *text = NULL;
    if (certificate->packed.len == 0) {
        return STATUS_OK;
    }
    enum status status = dictionary_read(tables, certificate->packed_against, &dictionary, &dictionary_bytes);
    if (status == STATUS_OK) {
        status = jws_unpack(certificate->packed.data, certificate->packed.len, dictionary, dictionary_bytes, &text);
        status = status == STATUS_INVALID ? STATUS_CORRUPT : status;
    }
    free(dictionary);
    if (status == STATUS_OK) {
        certificate->jws = scratch_copy(&tables->scratch, text, strlen(text) + 1);
        certificate->packed = (ProtobufCBinaryData){0};
        certificate->packed_against = 0;
        status = certificate->jws == NULL ? STATUS_TOO_LARGE : STATUS_OK;
    }
    free(text);
    return status;
}

enum status certificate_by_id(struct tables *tables, const char *id, Trilith__Certificate **certificate)
{
    uint8_t bytes[16];
    uint64_t seq = 0;
    if (!uuid_decode(id, bytes)) {
        return STATUS_NOT_FOUND;
    }
    enum status status = tables_get_number(tables, key_certificate_id(bytes), &seq);
    if (status != STATUS_OK) {
        return status;
    }
    status = certificate_by_seq(tables, seq, certificate);
    return status == STATUS_OK ? STATUS_OK : tables_missing(tables, status);
}

enum status certificate_of_erasure(struct tables *tables, uint64_t erasure_id, Trilith__Certificate **certificate)
{
    Trilith__ErasureRecord *record = NULL;
    enum status status = erasure_record(tables, erasure_id, &record);
    if (status != STATUS_OK || record->certificate_seq == 0) {
        return status == STATUS_OK ? STATUS_NOT_FOUND : status;
    }
    status = certificate_by_seq(tables, record->certificate_seq, certificate);
    return status == STATUS_OK ? STATUS_OK : tables_missing(tables, status);
}

/* The rows to walk for a query: those of a tenant's object, of a tenant, or all. Each ends with the number. */
static struct table_key query_rows(const struct certificate_query *query, uint64_t seq)
{
    if (query->tenant_id != 0 && query->object_ref.len == ERASURE_REF_BYTES) {
        return key_object_certificate(query->tenant_id, query->object_ref.data, seq);
    }
    return query->tenant_id != 0 ? key_tenant_certificate(query->tenant_id, seq) : key_certificate(seq);
}

static bool query_matches(const struct certificate_query *query, const Trilith__Certificate *certificate)
{
    if (certificate->issued_ms < query->from_ms ||
        (query->until_ms != 0 && certificate->issued_ms >= query->until_ms)) {
        return false;
    }
    return query->object_ref.len == 0 ||
           (certificate->object_ref.len == query->object_ref.len &&
            memcmp(certificate->object_ref.data, query->object_ref.data, query->object_ref.len) == 0);
}

/* A copy without the text. `*listed`: NULL when it is not asked for. Texts are long: what was read is given back. */
static enum status list_look(struct tables *tables, const struct certificate_query *query, uint64_t seq,
                             Trilith__Certificate **listed)
{
    struct scratch *scratch = &tables->scratch;
    struct {
        Trilith__Certificate certificate;
        char id[UUID_TEXT_BYTES + 1];
        char supersedes[UUID_TEXT_BYTES + 1];
        char type[32];
        uint8_t object_ref[ERASURE_REF_BYTES];
    } *copy = scratch_take(scratch, sizeof(*copy));
    size_t used_bytes = scratch->used;
    Trilith__Certificate *found = NULL;
    if (copy == NULL) {
        return STATUS_TOO_LARGE;
    }
    enum status status = certificate_by_seq(tables, seq, &found);
    if (status != STATUS_OK) {
        return tables_missing(tables, status);
    }
    *listed = NULL;
    if (query_matches(query, found)) {
        Trilith__Certificate *certificate = &copy->certificate;
        *certificate = *found;
        certificate->base.unknown_fields = NULL;
        certificate->base.n_unknown_fields = 0;
        certificate->id = strncpy(copy->id, found->id, sizeof(copy->id) - 1);
        certificate->supersedes = strncpy(copy->supersedes, found->supersedes, sizeof(copy->supersedes) - 1);
        certificate->type = strncpy(copy->type, found->type, sizeof(copy->type) - 1);
        certificate->jws = copy->supersedes + sizeof(copy->supersedes) - 1; /* Empty. */
        certificate->packed = (ProtobufCBinaryData){0};
        certificate->packed_against = 0;
        if (found->object_ref.len == ERASURE_REF_BYTES) {
            memcpy(copy->object_ref, found->object_ref.data, ERASURE_REF_BYTES);
        }
        certificate->object_ref.data = copy->object_ref;
        *listed = certificate;
    }
    scratch->used = used_bytes;
    return STATUS_OK;
}

enum status certificate_list(struct tables *tables, const struct certificate_query *query,
                             Trilith__CertListReply *reply)
{
    if (query->max > CERTIFICATES_LIST_MAX ||
        (query->object_ref.len != 0 && query->object_ref.len != ERASURE_REF_BYTES)) {
        return STATUS_INVALID;
    }
    reply->certificates = scratch_take(&tables->scratch, ((size_t)query->max + 1) * sizeof(reply->certificates[0]));
    if (reply->certificates == NULL) {
        return STATUS_TOO_LARGE;
    }
    struct table_walk walk;
    struct kv_slice key, value;
    struct table_key start = query_rows(query, query->after_seq);
    enum status status = STATUS_OK;
    uint32_t looked_at = 0;
    key_after(&start);
    table_walk_open(&walk, tables, key_prefix(query_rows(query, 0), query_rows(query, 0).length - 8));
    table_walk_seek(&walk, &start);
    reply->looked_at_seq = query->after_seq;
    for (; status == STATUS_OK && table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        if (reply->n_certificates == query->max || looked_at++ == CERTIFICATES_SCAN_MAX) {
            reply->more = query->max > 0;
            break;
        }
        Trilith__Certificate *listed = NULL;
        uint64_t seq = number_of_be((const uint8_t *)key.data + key.bytes - 8, 8);
        status = list_look(tables, query, seq, &listed);
        if (status == STATUS_OK && listed != NULL) {
            reply->certificates[reply->n_certificates++] = listed;
        }
        reply->looked_at_seq = seq;
    }
    table_walk_close(&walk);
    return status == STATUS_OK ? tables->failed : status;
}
