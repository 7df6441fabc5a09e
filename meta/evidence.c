/* evidence.c - values of certificates, their common members, the ledger's entries. */
#include "meta/evidence.h"

#include <stdio.h>
#include <string.h>

#define MS_PER_DAY UINT64_C(86400000)

/* ---- values ------------------------------------------------------------------------------------ */

/* Howard Hinnant's civil_from_days(): days since 1970 to a date of the proleptic Gregorian calendar. */
static void date_of(uint64_t days, unsigned *year, unsigned *month, unsigned *day)
{
    uint64_t shifted = days + 719468; /* since 0000-03-01 */
    uint64_t era = shifted / 146097;
    uint64_t of_era = shifted % 146097;
    uint64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    uint64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint64_t from_march = (5 * of_year + 2) / 153;
    *day = (unsigned)(of_year - (153 * from_march + 2) / 5 + 1);
    *month = (unsigned)(from_march < 10 ? from_march + 3 : from_march - 9);
    *year = (unsigned)(year_of_era + era * 400 + (*month <= 2 ? 1 : 0));
}

json_t *evidence_time(uint64_t ms)
{
    unsigned year = 0;
    unsigned month = 0;
    unsigned day = 0;
    uint64_t days = ms / MS_PER_DAY;
    unsigned in_day = (unsigned)(ms % MS_PER_DAY);
    if (ms == 0 || days > 2932896) { /* The last day of the year 9999. */
        return json_null();
    }
    date_of(days, &year, &month, &day);
    return json_sprintf("%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", year, month, day, in_day / 3600000, in_day / 60000 % 60,
                        in_day / 1000 % 60, in_day % 1000);
}

json_t *evidence_number(uint64_t value)
{
    return value > INT64_MAX ? json_null() : json_integer((json_int_t)value);
}

json_t *evidence_text(const char *text)
{
    if (text == NULL || text[0] == '\0') {
        return json_null();
    }
    size_t bytes = strlen(text);
    json_t *value = json_stringn(text, bytes);
    bool is_clean = value != NULL; /* Else it is not UTF-8, or there is no memory. */
    for (size_t i = 0; is_clean && i < bytes; i++) {
        is_clean = (unsigned char)text[i] >= 0x20 && text[i] != 0x7f;
    }
    if (is_clean) {
        return value;
    }
    json_decref(value);
    char *copy = strdup(text);
    for (size_t i = 0; copy != NULL && i < bytes; i++) {
        copy[i] = (unsigned char)copy[i] >= 0x20 && (unsigned char)copy[i] < 0x7f ? copy[i] : '?';
    }
    value = copy == NULL ? NULL : json_stringn(copy, bytes);
    free(copy);
    return value;
}

json_t *evidence_hex(const void *data, size_t bytes)
{
    if (bytes == 0) {
        return json_null();
    }
    char *text = malloc(2 * bytes + 1);
    if (text == NULL) {
        return NULL;
    }
    hex_encode(data, bytes, text);
    json_t *value = json_stringn(text, 2 * bytes);
    free(text);
    return value;
}

void evidence_uuid_text(const uint8_t uuid[16], char text[EVIDENCE_UUID_BYTES])
{
    char hex[ID_HEX_BYTES];
    id_to_hex(uuid, hex);
    (void)snprintf(text, EVIDENCE_UUID_BYTES, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

void evidence_uuid_make(uint64_t now_ms, const uint8_t random[10], uint8_t uuid[16])
{
    for (unsigned i = 0; i < 6; i++) {
        uuid[i] = (uint8_t)(now_ms >> (40 - 8 * i));
    }
    memcpy(uuid + 6, random, 10);
    uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x70);
    uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

json_t *evidence_uuid(const uint8_t uuid[16])
{
    char text[EVIDENCE_UUID_BYTES];
    evidence_uuid_text(uuid, text);
    return json_string(text);
}

json_t *evidence_disk_ref(const uint8_t uuid[16], const char *text)
{
    uint8_t reference[SHA256_BYTES];
    if (text == NULL || text[0] == '\0') {
        return json_null();
    }
    hmac_sha256(uuid, 16, text, strlen(text), reference);
    return evidence_hex(reference, sizeof(reference));
}

json_t *evidence_tenant_ref(const uint8_t cluster_id[16], uint64_t tenant_id)
{
    static const char label[] = "trilith tenant";
    uint8_t text[sizeof(label) - 1 + 16 + 8];
    uint8_t reference[SHA256_BYTES];
    if (tenant_id == 0) {
        return json_null();
    }
    memcpy(text, label, sizeof(label) - 1);
    memcpy(text + sizeof(label) - 1, cluster_id, 16);
    for (unsigned i = 0; i < 8; i++) {
        text[sizeof(label) - 1 + 16 + i] = (uint8_t)(tenant_id >> (56 - 8 * i));
    }
    sha256(text, sizeof(text), reference);
    return evidence_hex(reference, sizeof(reference));
}

void evidence_put(json_t *object, const char *key, json_t *value, bool *good)
{
    *good = json_object_set_new(object, key, value) == 0 && *good;
}

/* ---- common members ---------------------------------------------------------------------------- */

static json_t *issuer_value(const struct evidence_issuer *issuer)
{
    bool good = true;
    json_t *software = json_object();
    json_t *value = json_object();
    evidence_put(software, "name", json_string("trilith-meta"), &good);
    evidence_put(software, "version", evidence_text(issuer->software_version), &good);
    evidence_put(software, "build_sha256", evidence_text(issuer->software_sha256), &good);
    evidence_put(value, "org", evidence_text(issuer->organization), &good);
    evidence_put(value, "cluster_id", evidence_hex(issuer->cluster_id, 16), &good);
    evidence_put(value, "kid", evidence_text(issuer->kid), &good);
    evidence_put(value, "software", software, &good);
    if (!good) {
        json_decref(value);
        return NULL;
    }
    return value;
}

static json_t *approvals_value(const struct evidence_common *common)
{
    json_t *list = json_array();
    for (size_t i = 0; list != NULL && i < common->approval_count; i++) {
        const ProtobufCBinaryData *jws = &common->approvals[i]->jws;
        if (json_array_append_new(list, json_stringn((const char *)jws->data, jws->len)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *request_value(const struct evidence_common *common)
{
    bool good = true;
    json_t *value = json_object();
    bool asked = common->request_id != 0;
    evidence_put(value, "id", asked ? evidence_number(common->request_id) : json_null(), &good);
    evidence_put(value, "requested_by", evidence_text(common->requested_by), &good);
    evidence_put(value, "requested_at", evidence_time(common->requested_ms), &good);
    evidence_put(value, "reason_code", evidence_text(common->reason_code), &good);
    evidence_put(value, "legal_basis", evidence_text(common->legal_basis), &good);
    evidence_put(value, "legal_hold_checked", asked ? json_boolean(common->legal_hold_checked) : json_null(), &good);
    evidence_put(value, "grace_until", evidence_time(common->grace_until_ms), &good);
    evidence_put(value, "plan_sha256", evidence_hex(common->plan_sha256.data, common->plan_sha256.len), &good);
    evidence_put(value, "approvals", approvals_value(common), &good);
    if (!good) {
        json_decref(value);
        return NULL;
    }
    return value;
}

static json_t *claim_value(const struct evidence_common *common)
{
    bool good = true;
    json_t *value = json_object();
    json_t *basis = json_array();
    for (const char *const *text = common->basis; text != NULL && *text != NULL; text++) {
        good = json_array_append_new(basis, json_string(*text)) == 0 && good;
    }
    evidence_put(value, "method", evidence_text(common->method), &good);
    evidence_put(value, "technique", evidence_text(common->technique), &good);
    evidence_put(value, "scope", evidence_text(common->scope), &good);
    evidence_put(value, "basis", basis, &good);
    evidence_put(value, "statement", evidence_text(common->statement), &good);
    if (!good) {
        json_decref(value);
        return NULL;
    }
    return value;
}

static json_t *verification_value(const struct evidence_common *common)
{
    bool good = true;
    json_t *value = json_object();
    evidence_put(value, "checks", common->checks != NULL ? common->checks : json_array(), &good);
    evidence_put(value, "method", evidence_text(common->verification_method), &good);
    evidence_put(value, "by", evidence_text(common->verified_by), &good);
    evidence_put(value, "at", evidence_time(common->verified_ms), &good);
    if (!good) {
        json_decref(value);
        return NULL;
    }
    return value;
}

json_t *evidence_begin(const struct evidence_issuer *issuer, const struct evidence_common *common)
{
    bool good = true;
    json_t *payload = json_object();
    evidence_put(payload, "verification", verification_value(common), &good); /* First: it takes the checks over. */
    evidence_put(payload, "schema", json_string(EVIDENCE_SCHEMA), &good);
    evidence_put(payload, "type", json_string(common->type), &good);
    evidence_put(payload, "cert_id", json_string(common->id), &good);
    evidence_put(payload, "seq", evidence_number(common->seq), &good);
    evidence_put(payload, "issuer", issuer_value(issuer), &good);
    evidence_put(payload, "issued_at", evidence_time(issuer->now_ms), &good);
    evidence_put(payload, "supersedes", evidence_text(common->supersedes), &good);
    evidence_put(payload, "request", request_value(common), &good);
    evidence_put(payload, "claim", claim_value(common), &good);
    evidence_put(payload, "result", evidence_text(common->result), &good);
    evidence_put(payload, "residual", evidence_residual(&common->residues), &good);
    evidence_put(payload, "not_claimed", evidence_not_claimed(common->not_claimed), &good);
    if (!good) {
        json_decref(payload);
        return NULL;
    }
    return payload;
}

/* ---- the ledger -------------------------------------------------------------------------------- */

size_t evidence_entry(const char *id, const char *type, uint64_t epoch, const char *jws, size_t jws_bytes,
                      char entry[EVIDENCE_ENTRY_BYTES])
{
    uint8_t digest[SHA256_BYTES];
    char hex[EVIDENCE_HEX_BYTES];
    sha256(jws, jws_bytes, digest);
    hex_encode(digest, sizeof(digest), hex);
    /* Canonical as it stands: the keys are in order, the values need no escape. */
    int length = snprintf(entry, EVIDENCE_ENTRY_BYTES,
                          "{\"cert_id\":\"%s\",\"epoch\":%llu,\"sha256\":\"%s\",\"type\":\"%s\",\"v\":1}", id,
                          (unsigned long long)epoch, hex, type);
    CHECK(length > 0 && length < EVIDENCE_ENTRY_BYTES);
    return (size_t)length;
}
