/* certificate_form.c - tables of the members that certificates have, and an object's place in its batch. */
#include "cluster/certificate_form.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCHEMA          "erasure-cert/1"
#define BATCH_COUNT_MAX 4096u /* sizes that are tried when a batch's own certificate is not at hand */

/* ---- members ----------------------------------------------------------------------------------- */

const json_t *certificate_member(const json_t *payload, const char *path)
{
    const json_t *value = payload;
    while (value != NULL && *path != '\0') {
        char name[64];
        size_t bytes = strcspn(path, ".");
        CHECK(bytes < sizeof(name));
        memcpy(name, path, bytes);
        name[bytes] = '\0';
        value = json_object_get(value, name);
        path += bytes + (path[bytes] == '.' ? 1 : 0);
    }
    return value;
}

const char *certificate_text(const json_t *payload, const char *path)
{
    const char *text = json_string_value(certificate_member(payload, path));
    return text == NULL ? "" : text;
}

uint64_t certificate_number(const json_t *payload, const char *path)
{
    json_int_t number = json_integer_value(certificate_member(payload, path));
    return number < 0 ? 0 : (uint64_t)number;
}

bool certificate_is(const json_t *payload, const char *type)
{
    return strcmp(certificate_text(payload, "type"), type) == 0;
}

static bool is_hex(const char *text, size_t bytes)
{
    return text != NULL && strlen(text) == 2 * bytes && strspn(text, "0123456789abcdef") == 2 * bytes;
}

bool certificate_hash(const json_t *value, struct merkle_hash *hash)
{
    const char *text = json_string_value(value);
    return is_hex(text, SHA256_BYTES) && hex_decode(text, 2 * (size_t)SHA256_BYTES, hash->bytes, SHA256_BYTES);
}

/* ---- kinds ------------------------------------------------------------------------------------- */

enum member_kind {
    KIND_TEXT,
    KIND_NUMBER, /* from 0 */
    KIND_BOOL,
    KIND_TIME,
    KIND_HASH, /* 64 hex digits */
    KIND_ID,   /* 32 hex digits */
    KIND_UUID,
    KIND_LIST,
    KIND_TEXTS, /* list of texts */
    KIND_HASHES,
    KIND_OBJECT,
};

/* Digits where the pattern has a 0, and else the pattern's own characters. */
static bool fits(const char *text, const char *pattern, const char *digits)
{
    if (strlen(text) != strlen(pattern)) {
        return false;
    }
    for (size_t i = 0; pattern[i] != '\0'; i++) {
        if (pattern[i] == '0' ? strchr(digits, text[i]) == NULL : text[i] != pattern[i]) {
            return false;
        }
    }
    return true;
}

/* Ranges too, so that comparing two of them as texts compares times. */
static bool is_time(const char *text)
{
    return fits(text, "0000-00-00T00:00:00.000Z", "0123456789") && strncmp(text + 5, "01", 2) >= 0 &&
           strncmp(text + 5, "12", 2) <= 0 && strncmp(text + 8, "01", 2) >= 0 && strncmp(text + 8, "31", 2) <= 0 &&
           strncmp(text + 11, "23", 2) <= 0 && text[14] <= '5' && text[17] <= '5';
}

static bool all_are(const json_t *list, enum member_kind kind);

static bool is_of_kind(const json_t *value, enum member_kind kind)
{
    const char *text = json_string_value(value);
    switch (kind) {
    case KIND_TEXT:
        return text != NULL;
    case KIND_NUMBER:
        return json_is_integer(value) && json_integer_value(value) >= 0;
    case KIND_BOOL:
        return json_is_boolean(value);
    case KIND_TIME:
        return text != NULL && is_time(text);
    case KIND_HASH:
        return is_hex(text, SHA256_BYTES);
    case KIND_ID:
        return is_hex(text, 16);
    case KIND_UUID:
        return text != NULL && fits(text, "00000000-0000-0000-0000-000000000000", "0123456789abcdef");
    case KIND_LIST:
        return json_is_array(value);
    case KIND_TEXTS:
        return all_are(value, KIND_TEXT);
    case KIND_HASHES:
        return all_are(value, KIND_HASH);
    case KIND_OBJECT:
        return json_is_object(value);
    }
    UNREACHABLE();
}

/* Lists of texts and of hashes only: no deeper than that. */
static bool all_are(const json_t *list, enum member_kind kind)
{
    if (!json_is_array(list)) {
        return false;
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *value = json_array_get(list, i);
        if (!json_is_string(value) || (kind == KIND_HASH && !is_hex(json_string_value(value), SHA256_BYTES))) {
            return false;
        }
    }
    return true;
}

static const char *kind_words(enum member_kind kind)
{
    switch (kind) {
    case KIND_TEXT:
        return "a text";
    case KIND_NUMBER:
        return "a whole number from 0";
    case KIND_BOOL:
        return "true or false";
    case KIND_TIME:
        return "a time (RFC 3339, UTC, milliseconds)";
    case KIND_HASH:
        return "a SHA-256 in 64 hex digits";
    case KIND_ID:
        return "an id in 32 hex digits";
    case KIND_UUID:
        return "a UUID";
    case KIND_LIST:
        return "a list";
    case KIND_TEXTS:
        return "a list of texts";
    case KIND_HASHES:
        return "a list of hashes";
    case KIND_OBJECT:
        return "an object";
    }
    UNREACHABLE();
}

/* ---- the form ---------------------------------------------------------------------------------- */

struct member {
    const char *path;
    enum member_kind kind;
    bool may_be_null;
};

static const struct member common_members[] = {
    {"schema", KIND_TEXT, false},
    {"type", KIND_TEXT, false},
    {"cert_id", KIND_UUID, false},
    {"seq", KIND_NUMBER, false},
    {"issued_at", KIND_TIME, false},
    {"supersedes", KIND_UUID, true},
    {"issuer", KIND_OBJECT, false},
    {"issuer.org", KIND_TEXT, true},
    {"issuer.cluster_id", KIND_ID, false},
    {"issuer.kid", KIND_TEXT, false},
    {"issuer.software", KIND_OBJECT, false},
    {"issuer.software.name", KIND_TEXT, false},
    {"issuer.software.version", KIND_TEXT, true},
    {"issuer.software.build_sha256", KIND_HASH, true},
    {"request", KIND_OBJECT, false},
    {"request.id", KIND_NUMBER, true},
    {"request.requested_by", KIND_TEXT, true},
    {"request.requested_at", KIND_TIME, true},
    {"request.reason_code", KIND_TEXT, true},
    {"request.legal_basis", KIND_TEXT, true},
    {"request.legal_hold_checked", KIND_BOOL, true},
    {"request.grace_until", KIND_TIME, true},
    {"request.plan_sha256", KIND_HASH, true},
    {"request.approvals", KIND_TEXTS, false},
    {"claim", KIND_OBJECT, false},
    {"claim.method", KIND_TEXT, false},
    {"claim.technique", KIND_TEXT, true},
    {"claim.scope", KIND_TEXT, true},
    {"claim.basis", KIND_TEXTS, false},
    {"claim.statement", KIND_TEXT, false},
    {"result", KIND_TEXT, true},
    {"verification", KIND_OBJECT, false},
    {"verification.method", KIND_TEXT, true},
    {"verification.by", KIND_TEXT, true},
    {"verification.at", KIND_TIME, true},
    {"verification.checks", KIND_LIST, false},
    {"residual", KIND_TEXTS, false},
    {"not_claimed", KIND_TEXTS, false},
};

static const struct member epoch_members[] = {
    {"crypto", KIND_OBJECT, false},
    {"crypto.epoch", KIND_NUMBER, false},
    {"crypto.epoch_erased_at", KIND_TIME, false},
    {"crypto.root_commit_old", KIND_HASH, true},
    {"crypto.root_commit_new", KIND_HASH, true},
    {"crypto.slots", KIND_OBJECT, false},
    {"crypto.slots.n", KIND_NUMBER, false},
    {"crypto.slots.t", KIND_NUMBER, false},
    {"crypto.slots.backend", KIND_TEXT, true},
    {"crypto.slots.destroyed", KIND_LIST, false},
    {"crypto.slots.pending", KIND_LIST, false},
};

static const struct member object_members[] = {
    {"subject", KIND_OBJECT, false},
    {"subject.tenant_ref", KIND_HASH, true},
    {"subject.object_ref", KIND_HASH, true},
    {"subject.version_id", KIND_ID, true},
    {"subject.size", KIND_NUMBER, false},
    {"subject.chunk_count", KIND_NUMBER, false},
    {"subject.created_at", KIND_TIME, true},
    {"crypto.scheme", KIND_TEXT, false},
    {"crypto.aead", KIND_TEXT, true},
    {"crypto.key_bits", KIND_NUMBER, false},
    {"crypto.prf", KIND_TEXT, false},
    {"crypto.encrypted_since_creation", KIND_BOOL, false},
    {"crypto.page", KIND_NUMBER, true},
    {"crypto.slot", KIND_NUMBER, true},
    {"crypto.punctured", KIND_OBJECT, false},
    {"crypto.punctured.term", KIND_NUMBER, true},
    {"crypto.punctured.index", KIND_NUMBER, true},
    {"crypto.punctured.at", KIND_TIME, true},
    {"crypto.lease_expired_at", KIND_TIME, true},
    {"crypto.copies", KIND_OBJECT, false},
    {"crypto.copies.escrow", KIND_TEXT, false},
    {"crypto.copies.exports", KIND_LIST, false},
    {"crypto.copies.kms", KIND_OBJECT, true},
    {"replicas", KIND_LIST, false},
    {"ever_held_total", KIND_NUMBER, false},
    {"shared_chunks_retained", KIND_NUMBER, false},
    {"gateways", KIND_OBJECT, false},
    {"gateways.acked", KIND_NUMBER, false},
    {"gateways.total", KIND_NUMBER, false},
    {"metadata", KIND_OBJECT, false},
    {"metadata.names_sealed", KIND_BOOL, false},
    {"batch", KIND_OBJECT, false},
    {"batch.epoch_cert_id", KIND_UUID, false},
    {"batch.objects_root", KIND_HASH, false},
    {"batch.leaf_index", KIND_NUMBER, false},
    {"batch.path", KIND_HASHES, false},
};

static const struct member replica_members[] = {
    {"node", KIND_TEXT, true},         {"disk", KIND_OBJECT, false},         {"disk.uuid", KIND_UUID, true},
    {"disk.wwn_ref", KIND_HASH, true}, {"disk.serial_ref", KIND_HASH, true}, {"disk.media", KIND_TEXT, true},
    {"chunks", KIND_NUMBER, false},    {"bytes", KIND_NUMBER, false},        {"never_held", KIND_NUMBER, false},
    {"state", KIND_TEXT, false},       {"technique", KIND_TEXT, true},       {"attestations", KIND_HASHES, false},
};

static const struct member batch_members[] = {
    {"erasures", KIND_OBJECT, false},
    {"erasures.count", KIND_NUMBER, false},
    {"erasures.objects_root", KIND_HASH, false},
    {"erasures.first_seq", KIND_NUMBER, false},
    {"erasures.last_seq", KIND_NUMBER, false},
    {"vault", KIND_OBJECT, false},
    {"vault.epoch", KIND_NUMBER, false},
    {"vault.leaves_live", KIND_NUMBER, false},
    {"vault.leaves_punctured", KIND_NUMBER, false},
    {"vault.leaves_erased", KIND_NUMBER, false},
    {"totals", KIND_OBJECT, false},
    {"totals.certificates", KIND_NUMBER, false},
    {"totals.erasures", KIND_NUMBER, false},
    {"totals.open", KIND_NUMBER, false},
};

static const struct member tenant_members[] = {
    {"subject", KIND_OBJECT, false},
    {"subject.tenant_ref", KIND_HASH, true},
    {"subject.versions", KIND_NUMBER, true},
    {"subject.bytes", KIND_NUMBER, true},
    {"subject.chunks", KIND_NUMBER, true},
    {"subject.inventory_root", KIND_HASH, true},
    {"crypto.pages_dropped", KIND_NUMBER, true},
    {"crypto.dek", KIND_LIST, false},
    {"crypto.cmk", KIND_OBJECT, true},
    {"replicas_summary", KIND_LIST, false},
    {"exports", KIND_LIST, false},
    {"k_ref_destroyed_at", KIND_TIME, true},
};

static const struct member manifest_members[] = {{"keys", KIND_LIST, false}};

static const struct member key_members[] = {
    {"number", KIND_NUMBER, false},  {"kid", KIND_TEXT, false},       {"public_key", KIND_HASH, false},
    {"created_at", KIND_TIME, true}, {"retired_at", KIND_TIME, true},
};

static enum status check_members(const json_t *value, const char *where, const struct member *members, size_t count,
                                 struct verify_report *report)
{
    for (size_t i = 0; i < count; i++) {
        const json_t *member = certificate_member(value, members[i].path);
        if (member == NULL) {
            return verify_refuse(report, "the member %s%s is missing", where, members[i].path);
        }
        if (!(json_is_null(member) && members[i].may_be_null) && !is_of_kind(member, members[i].kind)) {
            return verify_refuse(report, "the member %s%s is not %s", where, members[i].path,
                                 kind_words(members[i].kind));
        }
    }
    return STATUS_OK;
}

static enum status check_each(const json_t *list, const char *name, const struct member *members, size_t count,
                              struct verify_report *report)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < json_array_size(list); i++) {
        char where[64];
        (void)snprintf(where, sizeof(where), "%s[%zu].", name, i);
        status = check_members(json_array_get(list, i), where, members, count, report);
    }
    return status;
}

#define MEMBERS(table) (table), ARRAY_LENGTH(table)

static enum status check_form_of_type(const json_t *payload, struct verify_report *report)
{
    enum status status = STATUS_OK;
    if (certificate_is(payload, CERTIFICATE_OBJECT) || certificate_is(payload, CERTIFICATE_TENANT)) {
        status = check_members(payload, "", MEMBERS(epoch_members), report);
    }
    if (status != STATUS_OK) {
        return status;
    }
    if (certificate_is(payload, CERTIFICATE_OBJECT)) {
        status = check_members(payload, "", MEMBERS(object_members), report);
        return status != STATUS_OK
                   ? status
                   : check_each(certificate_member(payload, "replicas"), "replicas", MEMBERS(replica_members), report);
    }
    if (certificate_is(payload, CERTIFICATE_BATCH)) {
        return check_members(payload, "", MEMBERS(batch_members), report);
    }
    if (certificate_is(payload, CERTIFICATE_TENANT)) {
        return check_members(payload, "", MEMBERS(tenant_members), report);
    }
    if (certificate_is(payload, CERTIFICATE_MANIFEST)) {
        status = check_members(payload, "", MEMBERS(manifest_members), report);
        return status != STATUS_OK
                   ? status
                   : check_each(certificate_member(payload, "keys"), "keys", MEMBERS(key_members), report);
    }
    verify_unchecked(report, "the members that only certificates of the type \"%.64s\" have",
                     certificate_text(payload, "type"));
    return STATUS_OK;
}

enum status certificate_form_check(const json_t *payload, struct verify_report *report)
{
    static const char *const results[] = {"ERASED", "ERASED_PENDING_BACKUP", "PARTIAL", "FAILED"};
    enum status status = check_members(payload, "", MEMBERS(common_members), report);
    if (status != STATUS_OK) {
        return status;
    }
    if (strcmp(certificate_text(payload, "schema"), SCHEMA) != 0) {
        return verify_refuse(report, "its schema is \"%.64s\"; this program knows " SCHEMA " only",
                             certificate_text(payload, "schema"));
    }
    bool known = json_is_null(certificate_member(payload, "result")) && certificate_is(payload, CERTIFICATE_MANIFEST);
    for (size_t i = 0; i < ARRAY_LENGTH(results); i++) {
        known = known || strcmp(certificate_text(payload, "result"), results[i]) == 0;
    }
    if (!known) {
        return verify_refuse(report, "its result is \"%.64s\", which is none that a certificate can have",
                             certificate_text(payload, "result"));
    }
    return check_form_of_type(payload, report);
}

/* ---- its place in a batch ---------------------------------------------------------------------- */

bool certificate_leaf(const json_t *payload, struct merkle_hash *leaf)
{
    union {
        const json_t *given;
        json_t *value;
    } view = {.given = payload}; /* A shallow copy changes nothing of it. */
    json_t *copy = json_copy(view.value);
    size_t bytes = 0;
    char *text = NULL;
    if (copy != NULL) {
        (void)json_object_del(copy, "batch");
        text = json_canonical(copy, &bytes);
        json_decref(copy);
    }
    if (text == NULL) {
        return false;
    }
    merkle_leaf(text, bytes, leaf);
    free(text);
    return true;
}

bool certificate_path_is_good(const json_t *payload, uint64_t count)
{
    const json_t *path = certificate_member(payload, "batch.path");
    uint64_t index = certificate_number(payload, "batch.leaf_index");
    size_t length = json_array_size(path);
    struct merkle_hash proof[MERKLE_PROOF_MAX];
    struct merkle_hash root;
    struct merkle_hash leaf;
    if (length > MERKLE_PROOF_MAX || !certificate_hash(certificate_member(payload, "batch.objects_root"), &root) ||
        !certificate_leaf(payload, &leaf)) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (!certificate_hash(json_array_get(path, i), &proof[i])) {
            return false;
        }
    }
    /* The shape of the tree follows from its size, which only the batch's certificate states. */
    uint64_t smallest = count != 0 ? count : index + 1;
    uint64_t largest = count != 0 ? count : BATCH_COUNT_MAX;
    for (uint64_t size = smallest; size <= largest; size++) {
        if (merkle_inclusion_verify(index, size, &leaf, proof, length, &root)) {
            return true;
        }
    }
    return false;
}
