/* cert_words.c - labels, the order in which a certificate is told, and the meaning of its codes. */
#include "cluster/cert_words.h"

#include "base/check.h"
#include "base/jws.h"
#include "cluster/cert_words_private.h"
#include "meta/evidence_words.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES 96

/* ---- values -------------------------------------------------------------------------------------- */

const json_t *cert_value(const json_t *payload, const char *path)
{
    const json_t *value = payload;
    while (value != NULL && path[0] != '\0') {
        size_t bytes = strcspn(path, ".");
        value = json_object_getn(value, path, bytes);
        path += path[bytes] == '.' ? bytes + 1 : bytes;
    }
    return value;
}

/* Text that grows up to its bound; what is too much ends in three dots. */
struct text {
    char *at;
    size_t used;
    bool cut;
};

static void text_add(struct text *text, const char *more)
{
    size_t bytes = strlen(more);
    size_t room = CERT_TEXT_BYTES - 1 - strlen("...");
    if (text->cut) {
        return;
    }
    if (text->used + bytes > room) {
        bytes = room - text->used;
        while (bytes > 0 && ((unsigned char)more[bytes] & 0xc0) == 0x80) {
            bytes--; /* no half of a character */
        }
        text->cut = true;
    }
    memcpy(text->at + text->used, more, bytes);
    text->used += bytes;
    memcpy(text->at + text->used, text->cut ? "..." : "", text->cut ? sizeof("...") : 1);
}

static void add_value(struct text *text, const json_t *value, unsigned depth);

static void add_list(struct text *text, const json_t *list, unsigned depth)
{
    if (json_array_size(list) == 0) {
        text_add(text, "none");
    }
    for (size_t i = 0; i < json_array_size(list) && !text->cut; i++) {
        text_add(text, i == 0 ? "" : json_is_object(json_array_get(list, i)) ? "; " : ", ");
        add_value(text, json_array_get(list, i), depth + 1);
    }
}

/* json_object_iter() takes a table that it may change, and changes nothing. */
static json_t *mutable_json(const json_t *value)
{
    union {
        const json_t *in;
        json_t *out;
    } same = {.in = value};
    return same.out;
}

static void add_members(struct text *text, const json_t *object, unsigned depth)
{
    json_t *table = mutable_json(object);
    bool first = true;
    for (void *at = json_object_iter(table); at != NULL && !text->cut; at = json_object_iter_next(table, at)) {
        text_add(text, first ? "" : ", ");
        text_add(text, json_object_iter_key(at));
        text_add(text, " ");
        add_value(text, json_object_iter_value(at), depth + 1);
        first = false;
    }
    if (first) {
        text_add(text, "none");
    }
}

static void add_value(struct text *text, const json_t *value, unsigned depth)
{
    char number[32];
    if (value == NULL || json_is_null(value) || depth > JSON_DEPTH_MAX) {
        text_add(text, CERT_NOT_RECORDED);
        return;
    }
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        add_members(text, value, depth);
        return;
    case JSON_ARRAY:
        add_list(text, value, depth);
        return;
    case JSON_STRING:
        text_add(text, json_string_length(value) == 0 ? CERT_NOT_RECORDED : json_string_value(value));
        return;
    case JSON_INTEGER:
        snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        text_add(text, number);
        return;
    case JSON_TRUE:
        text_add(text, "yes");
        return;
    case JSON_FALSE:
        text_add(text, "no");
        return;
    case JSON_REAL:
    case JSON_NULL:
        text_add(text, CERT_NOT_RECORDED);
        return;
    }
    UNREACHABLE();
}

void cert_value_text(const json_t *value, char text[CERT_TEXT_BYTES])
{
    text[0] = '\0';
    struct text growing = {.at = text};
    add_value(&growing, value, 0);
}

/* ---- what the parts of a description are made of --------------------------------------------------- */

void cert_print_fields(struct cert_printer *printer, const json_t *payload, const struct cert_field *fields)
{
    char text[CERT_TEXT_BYTES];
    for (; fields->path != NULL; fields++) {
        const json_t *value = cert_value(payload, fields->path);
        size_t count = json_is_string(json_array_get(value, 0)) ? json_array_size(value) : 0;
        if (count == 0) {
            cert_value_text(value, text);
            printer->field(printer, fields->label, text);
        }
        for (size_t i = 0; i < count && i < CERT_ROWS_MAX; i++) {
            cert_value_text(json_array_get(value, i), text);
            printer->field(printer, i == 0 ? fields->label : "", text);
        }
    }
}

void cert_print_table(struct cert_printer *printer, const json_t *list, const struct cert_column *columns, size_t count,
                      const char *none)
{
    CHECK(count <= CERT_COLUMNS_MAX);
    size_t rows = json_array_size(list);
    if (rows == 0) {
        printer->paragraph(printer, list == NULL || json_is_null(list) ? CERT_NOT_RECORDED : none);
        return;
    }
    const char *cells[CERT_COLUMNS_MAX];
    unsigned widths[CERT_COLUMNS_MAX];
    char texts[CERT_COLUMNS_MAX][CERT_TEXT_BYTES];
    for (size_t i = 0; i < count; i++) {
        cells[i] = columns[i].heading;
        widths[i] = columns[i].width;
    }
    printer->row(printer, cells, widths, count, true);
    for (size_t row = 0; row < rows && row < CERT_ROWS_MAX; row++) {
        const json_t *value = json_array_get(list, row);
        for (size_t i = 0; i < count; i++) {
            const json_t *cell = cert_value(value, columns[i].path);
            cert_value_text(cell, texts[i]);
            if (columns[i].words != NULL && json_is_string(cell)) {
                snprintf(texts[i], CERT_TEXT_BYTES, "%s", columns[i].words(json_string_value(cell)));
            }
            cells[i] = texts[i];
        }
        printer->row(printer, cells, widths, count, false);
    }
    if (rows > CERT_ROWS_MAX) {
        char text[96];
        snprintf(text, sizeof(text), "%zu more rows stand in the signed record only.", rows - CERT_ROWS_MAX);
        printer->paragraph(printer, text);
    }
}

static void print_list(struct cert_printer *printer, const json_t *list, const char *none)
{
    char text[CERT_TEXT_BYTES];
    if (json_array_size(list) == 0) {
        printer->paragraph(printer, json_is_array(list) ? none : CERT_NOT_RECORDED);
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        cert_value_text(json_array_get(list, i), text);
        printer->paragraph(printer, text);
    }
}

/* ---- codes ----------------------------------------------------------------------------------------- */

struct words {
    const char *code;
    const char *meaning;
};

static const char *words_of(const struct words *list, size_t count, const char *code, const char *otherwise)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i].code, code) == 0) {
            return list[i].meaning;
        }
    }
    return otherwise;
}

static const char *state_words(const char *state)
{
    static const struct words list[] = {
        {"wiped", "overwritten, flushed, read back"},
        {"never-held", "never held one"},
        {"disk-certified", "gone with its disk, which has its own certificate"},
        {"ce-only", "not overwritten, the disk is dead; key destroyed"},
    };
    return words_of(list, ARRAY_LENGTH(list), state, state);
}

static const char *title_words(const char *type)
{
    static const struct words list[] = {
        {"object-erasure", "Erasure of an object"},
        {"erasure-batch", "Batch of object erasures"},
        {"tenant-crypto-erase", "Erasure of a tenant by destruction of its keys"},
        {"media-sanitization", "Sanitization of a storage medium"},
        {"node-decommission", "Decommission of a storage node"},
        {"key-manifest", "Keys that sign certificates"},
    };
    return words_of(list, ARRAY_LENGTH(list), type, type);
}

static const char *result_words(const char *result)
{
    static const struct words list[] = {
        {"ERASED", "ERASED - in the sense of the claim below, and not beyond it"},
        {"ERASED_PENDING_BACKUP", "ERASED, BACKUP PENDING - a backup still holds keys"},
        {"PARTIAL", "PARTIAL - not all of it was erased"},
        {"FAILED", "FAILED - it was not erased"},
    };
    return words_of(list, ARRAY_LENGTH(list), result, result);
}

static void print_residual(struct cert_printer *printer, const json_t *list)
{
    printer->section(printer, "What may remain");
    if (json_array_size(list) == 0) {
        printer->paragraph(printer, json_is_array(list) ? "No residual was recorded." : CERT_NOT_RECORDED);
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        char code[CERT_TEXT_BYTES];
        const json_t *value = json_array_get(list, i);
        cert_value_text(json_is_object(value) ? cert_value(value, "code") : value, code);
        const char *meaning = evidence_residue_text(code);
        printer->field(printer, code, meaning == NULL ? "A code that this program does not know." : meaning);
    }
}

/* ---- the parts that every certificate has ---------------------------------------------------------- */

static void print_head(struct cert_printer *printer, const json_t *payload)
{
    static const struct cert_field fields[] = {
        {"Certificate", "cert_id"},
        {"Number", "seq"},
        {"Issued", "issued_at"},
        {"Replaces", "supersedes"},
        {"Issued by", "issuer.org"},
        {"Cluster", "issuer.cluster_id"},
        {"Signing key", "issuer.kid"},
        {"Software", "issuer.software"},
        {NULL, NULL},
    };
    char type[CERT_TEXT_BYTES];
    char result[CERT_TEXT_BYTES];
    cert_value_text(cert_value(payload, "type"), type);
    cert_value_text(cert_value(payload, "result"), result);
    printer->title(printer, title_words(type), result_words(result));
    printer->section(printer, "This certificate");
    cert_print_fields(printer, payload, fields);
}

static void print_claim(struct cert_printer *printer, const json_t *payload)
{
    static const struct cert_field fields[] = {
        {"Statement", "claim.statement"}, {"Method", "claim.method"}, {"Technique", "claim.technique"},
        {"Scope", "claim.scope"},         {"Basis", "claim.basis"},   {NULL, NULL},
    };
    printer->section(printer, "What is claimed");
    cert_print_fields(printer, payload, fields);
}

/* Who signed an approval, and what for: from its own payload. The signature is not checked here. */
static void print_approval(struct cert_printer *printer, const json_t *approval)
{
    const char *text = json_string_value(approval);
    struct jws jws = {0};
    char label[CERT_TEXT_BYTES] = "Approval";
    char value[CERT_TEXT_BYTES];
    cert_value_text(approval, value);
    if (text != NULL && jws_open(&jws, text, strlen(text)) == STATUS_OK) {
        snprintf(label, sizeof(label), "Signed by %s", jws.kid);
        cert_value_text(jws.payload, value);
    }
    if (text != NULL) {
        jws_close(&jws);
    }
    printer->field(printer, label, value);
}

static void print_request(struct cert_printer *printer, const json_t *payload)
{
    static const struct cert_field fields[] = {
        {"Request", "request.id"},
        {"Asked for by", "request.requested_by"},
        {"Asked for at", "request.requested_at"},
        {"Reason", "request.reason_code"},
        {"Legal basis", "request.legal_basis"},
        {"Legal hold checked", "request.legal_hold_checked"},
        {"Could be taken back until", "request.grace_until"},
        {"SHA-256 of the plan", "request.plan_sha256"},
        {NULL, NULL},
    };
    printer->section(printer, "Request and approvals");
    cert_print_fields(printer, payload, fields);
    const json_t *approvals = cert_value(payload, "request.approvals");
    if (json_array_size(approvals) == 0) {
        printer->field(printer, "Approvals", json_is_array(approvals) ? "none" : CERT_NOT_RECORDED);
    }
    for (size_t i = 0; i < json_array_size(approvals) && i < CERT_ROWS_MAX; i++) {
        print_approval(printer, json_array_get(approvals, i));
    }
}

static void print_verification(struct cert_printer *printer, const json_t *payload)
{
    static const struct cert_field fields[] = {
        {"Method", "verification.method"},
        {"By", "verification.by"},
        {"At", "verification.at"},
        {NULL, NULL},
    };
    printer->section(printer, "Verification");
    cert_print_fields(printer, payload, fields);
    const json_t *checks = cert_value(payload, "verification.checks");
    for (size_t i = 0; i < json_array_size(checks) && i < CERT_ROWS_MAX; i++) {
        const json_t *check = json_array_get(checks, i);
        char label[CERT_TEXT_BYTES];
        char value[CERT_TEXT_BYTES];
        cert_value_text(json_is_object(check) ? cert_value(check, "name") : NULL, label);
        json_t *figures = json_copy(mutable_json(check));
        json_object_del(figures, "name");
        cert_value_text(figures == NULL ? check : figures, value);
        json_decref(figures);
        printer->field(printer, label, value);
    }
}

/* ---- by type: what it is about ---------------------------------------------------------------------- */

static void print_object(struct cert_printer *printer, const json_t *payload)
{
    static const struct cert_field subject[] = {
        {"Object (keyed hash of its name)", "subject.object_ref"},
        {"Tenant (hash)", "subject.tenant_ref"},
        {"Version", "subject.version_id"},
        {"Size in bytes", "subject.size"},
        {"Chunks", "subject.chunk_count"},
        {"Written at", "subject.created_at"},
        {NULL, NULL},
    };
    static const struct cert_column copies[] = {
        {"Node", 13, "node", NULL},
        {"Disk", 30, "disk.uuid", NULL},
        {"Chunks", 9, "chunks", NULL},
        {"Bytes", 12, "bytes", NULL},
        {"What became of them", 22, "state", state_words},
        {"Technique", 14, "technique", NULL},
    };
    static const struct cert_field totals[] = {
        {"Places that ever could hold one", "ever_held_total"},
        {"Chunks kept because shared", "shared_chunks_retained"},
        {"Gateways that gave up its key", "gateways"},
        {"Metadata", "metadata"},
        {"Batch's certificate", "batch.epoch_cert_id"},
        {"Place in the batch", "batch.leaf_index"},
        {NULL, NULL},
    };
    printer->section(printer, "What was erased");
    cert_print_fields(printer, payload, subject);
    cert_print_keys(printer, payload);
    printer->section(printer, "Copies");
    cert_print_table(printer, cert_value(payload, "replicas"), copies, ARRAY_LENGTH(copies),
                     "It had no copies: an object without content.");
    cert_print_fields(printer, payload, totals);
}

void cert_print_keys(struct cert_printer *printer, const json_t *payload)
{
    static const struct cert_field fields[] = {
        {"Scheme", "crypto.scheme"},
        {"Sealed with", "crypto.aead"},
        {"Bits of the key", "crypto.key_bits"},
        {"Keys derived by", "crypto.prf"},
        {"Sealed from the first byte on", "crypto.encrypted_since_creation"},
        {"Place of the key in the vault", "crypto.page"},
        {"Slot", "crypto.slot"},
        {"Key given up", "crypto.punctured"},
        {"Vault epoch that held it", "crypto.epoch"},
        {"That epoch's root destroyed", "crypto.epoch_erased_at"},
        {"Commitment of the destroyed root", "crypto.root_commit_old"},
        {"Commitment of the next root", "crypto.root_commit_new"},
        {"Shares of the root", "crypto.slots"},
        {"Leases on the key had ended", "crypto.lease_expired_at"},
        {"Other copies of keys", "crypto.copies"},
        {NULL, NULL},
    };
    printer->section(printer, "Keys");
    cert_print_fields(printer, payload, fields);
}

static void print_batch(struct cert_printer *printer, const json_t *payload)
{
    static const struct cert_field fields[] = {
        {"Certificates in it", "erasures.count"},
        {"Merkle root over them", "erasures.objects_root"},
        {"First number", "erasures.first_seq"},
        {"Last number", "erasures.last_seq"},
        {"Vault epoch", "vault.epoch"},
        {"Keys that live", "vault.leaves_live"},
        {"Keys given up", "vault.leaves_punctured"},
        {"Keys destroyed", "vault.leaves_erased"},
        {"Certificates so far", "totals.certificates"},
        {"Erasures so far", "totals.erasures"},
        {"Erasures still open", "totals.open"},
        {NULL, NULL},
    };
    printer->section(printer, "What it covers");
    cert_print_fields(printer, payload, fields);
}

static void print_tenant(struct cert_printer *printer, const json_t *payload)
{
    static const struct cert_field subject[] = {
        {"Tenant (hash)", "subject.tenant_ref"},
        {"Contract", "subject.contract_ref"},
        {"Buckets", "subject.buckets"},
        {"Objects", "subject.objects"},
        {"Versions", "subject.versions"},
        {"Chunks", "subject.chunks"},
        {"Bytes", "subject.bytes"},
        {"Merkle root of the inventory", "subject.inventory_root"},
        {"Reopened so many times", "reopened"},
        {NULL, NULL},
    };
    static const struct cert_field keys[] = {
        {"Vault pages dropped", "crypto.pages_dropped"},
        {"Data keys", "crypto.dek"},
        {"Master key", "crypto.cmk"},
        {"Key of object references destroyed", "k_ref_destroyed_at"},
        {"Exports of keys", "exports"},
        {NULL, NULL},
    };
    static const struct cert_column copies[] = {
        {"Node", 20, "node", NULL},   {"Disk", 30, "disk", NULL},          {"Chunks", 12, "chunks", NULL},
        {"Bytes", 16, "bytes", NULL}, {"State", 22, "state", state_words},
    };
    printer->section(printer, "What was erased");
    cert_print_fields(printer, payload, subject);
    cert_print_keys(printer, payload);
    cert_print_fields(printer, payload, keys);
    printer->section(printer, "Copies");
    cert_print_table(printer, cert_value(payload, "replicas_summary"), copies, ARRAY_LENGTH(copies), "It had none.");
}

static void print_manifest(struct cert_printer *printer, const json_t *payload)
{
    static const struct cert_column keys[] = {
        {"Number", 10, "number", NULL},   {"Key id", 30, "kid", NULL},       {"Public key", 30, "public_key", NULL},
        {"From", 15, "created_at", NULL}, {"Until", 15, "retired_at", NULL},
    };
    printer->section(printer, "Keys");
    cert_print_table(printer, cert_value(payload, "keys"), keys, ARRAY_LENGTH(keys), "none");
}

static bool is_common(const char *name)
{
    static const char *const common[] = {"schema",       "type",     "cert_id",    "seq",   "issued_at",
                                         "supersedes",   "issuer",   "request",    "claim", "result",
                                         "verification", "residual", "not_claimed"};
    for (size_t i = 0; i < ARRAY_LENGTH(common); i++) {
        if (strcmp(common[i], name) == 0) {
            return true;
        }
    }
    return false;
}

/* A type that this version does not know: its members as they are. */
static void print_members(struct cert_printer *printer, const json_t *payload)
{
    json_t *table = mutable_json(payload);
    printer->section(printer, "What it says");
    char text[CERT_TEXT_BYTES];
    for (void *at = json_object_iter(table); at != NULL; at = json_object_iter_next(table, at)) {
        if (!is_common(json_object_iter_key(at))) {
            cert_value_text(json_object_iter_value(at), text);
            printer->field(printer, json_object_iter_key(at), text);
        }
    }
}

void cert_describe(const json_t *payload, struct cert_printer *printer)
{
    static const struct {
        const char *type;
        void (*print)(struct cert_printer *printer, const json_t *payload);
    } types[] = {
        {"object-erasure", print_object},          {"erasure-batch", print_batch},
        {"tenant-crypto-erase", print_tenant},     {"key-manifest", print_manifest},
        {"media-sanitization", cert_print_medium}, {"node-decommission", cert_print_node},
    };
    const char *type = json_string_value(cert_value(payload, "type"));
    print_head(printer, payload);
    print_claim(printer, payload);
    bool known = false;
    for (size_t i = 0; i < ARRAY_LENGTH(types) && !known; i++) {
        known = type != NULL && strcmp(types[i].type, type) == 0;
        if (known) {
            types[i].print(printer, payload);
        }
    }
    if (!known) {
        print_members(printer, payload);
    }
    print_request(printer, payload);
    print_verification(printer, payload);
    print_residual(printer, cert_value(payload, "residual"));
    printer->section(printer, "What is not claimed");
    print_list(printer, cert_value(payload, "not_claimed"), "No exception was recorded.");
}
