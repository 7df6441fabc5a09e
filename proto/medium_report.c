/* medium_report.c - the shape of reports about media and of decisions about them. */
#include "proto/medium_report.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define DECISION_MEMBERS 7u

void medium_time_text(uint64_t time_ms, char text[MEDIUM_TIME_BYTES])
{
    struct tm parts = {0};
    time_t seconds = (time_t)(time_ms / 1000);
    char day[24];
    (void)gmtime_r(&seconds, &parts);
    (void)strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &parts);
    (void)snprintf(text, MEDIUM_TIME_BYTES, "%s.%03uZ", day, (unsigned)(time_ms % 1000));
}

const char *medium_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text == NULL ? "" : text;
}

uint64_t medium_number(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    json_int_t number = json_integer_value(value);
    return json_is_integer(value) && number >= 0 ? (uint64_t)number : UINT64_MAX;
}

static bool is_one_of(const char *text, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, list[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- reports -------------------------------------------------------------------------------------- */

static bool steps_succeeded(const json_t *steps)
{
    for (size_t i = 0; i < json_array_size(steps); i++) {
        const json_t *step = json_array_get(steps, i);
        if (medium_number(step, "errors") != 0 || !json_is_string(json_object_get(step, "finished_at"))) {
            return false;
        }
    }
    return json_array_size(steps) > 0;
}

const char *medium_report_method(const json_t *report)
{
    const json_t *sanitization = json_object_get(report, "sanitization");
    const json_t *verification = json_object_get(report, "verification");
    const json_t *scan = json_object_get(verification, "residue_scan");
    const char *technique = medium_text(sanitization, "technique");
    bool erased = strcmp(medium_text(report, "result"), "ERASED") == 0 &&
                  steps_succeeded(json_object_get(sanitization, "steps")) &&
                  medium_number(verification, "mismatch") == 0 && medium_number(verification, "unreadable") == 0 &&
                  medium_number(scan, "label_hits") == 0 && medium_number(scan, "fingerprint_hits") == 0;
    if (!erased || strcmp(medium_text(report, "kind"), "disk") != 0) {
        return "none";
    }
    if (strcmp(technique, "sanitize") == 0) {
        return "purge";
    }
    return strcmp(technique, "overwrite") == 0 || strcmp(technique, "dod3") == 0 ? "clear" : "none";
}

static bool report_is_valid(const struct jws *jws)
{
    static const char *const kinds[] = {"disk", "partition", "image", "directory", "dead"};
    static const char *const results[] = {"ERASED", "FAILED", "NOT_DONE"};
    const json_t *report = jws->payload;
    const json_t *sanitization = json_object_get(report, "sanitization");
    const json_t *steps = json_object_get(sanitization, "steps");
    return strcmp(medium_text(report, "schema"), MEDIUM_REPORT_SCHEMA) == 0 &&
           strcmp(medium_text(report, "person"), jws->kid) == 0 && jws->kid[0] != '\0' &&
           strlen(medium_text(report, "report_id")) == 36 &&
           is_one_of(medium_text(report, "kind"), kinds, ARRAY_LENGTH(kinds)) &&
           is_one_of(medium_text(report, "result"), results, ARRAY_LENGTH(results)) &&
           json_is_object(json_object_get(report, "media")) && json_is_object(json_object_get(report, "source")) &&
           json_is_object(json_object_get(report, "verification")) && json_is_array(steps) &&
           json_array_size(steps) <= MEDIUM_STEPS_TOLD_MAX &&
           strcmp(medium_text(sanitization, "method"), medium_report_method(report)) == 0;
}

enum status medium_report_open(struct jws *jws, const char *text, size_t bytes)
{
    *jws = (struct jws){0};
    if (bytes == 0 || bytes > MEDIUM_REPORT_BYTES_MAX || jws_open(jws, text, bytes) != STATUS_OK) {
        return STATUS_INVALID;
    }
    return strcmp(jws->type, MEDIUM_REPORT_TYPE) == 0 && report_is_valid(jws) ? STATUS_OK : STATUS_INVALID;
}

/* ---- decisions ------------------------------------------------------------------------------------ */

static void hash_text(const char *text, size_t bytes, char hex[2 * SHA256_BYTES + 1])
{
    uint8_t hash[SHA256_BYTES];
    sha256(text, bytes > 0 && text[bytes - 1] == '\n' ? bytes - 1 : bytes, hash);
    hex_encode(hash, sizeof(hash), hex);
}

json_t *medium_decision_payload(const struct jws *report, const char *text, size_t bytes, const char *role,
                                const char *decision, const char *person, uint64_t now_ms)
{
    char hash[2 * SHA256_BYTES + 1];
    char at[MEDIUM_TIME_BYTES];
    hash_text(text, bytes, hash);
    medium_time_text(now_ms, at);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "at", at, "decision", decision, "person", person,
                     "report_id", medium_text(report->payload, "report_id"), "report_sha256", hash, "role", role,
                     "schema", MEDIUM_DECISION_SCHEMA);
}

enum status medium_decision_open(struct jws *jws, const char *text, size_t bytes, const char *role, const char *report,
                                 size_t report_bytes)
{
    static const char *const decisions[] = {"accept", "repeat", "escalate"};
    char hash[2 * SHA256_BYTES + 1];
    *jws = (struct jws){0};
    if (bytes == 0 || bytes > MEDIUM_DECISION_BYTES_MAX || jws_open(jws, text, bytes) != STATUS_OK) {
        return STATUS_INVALID;
    }
    const json_t *payload = jws->payload;
    if (strcmp(jws->type, MEDIUM_DECISION_TYPE) != 0 || json_object_size(payload) != DECISION_MEMBERS ||
        strcmp(medium_text(payload, "schema"), MEDIUM_DECISION_SCHEMA) != 0 || jws->kid[0] == '\0' ||
        strcmp(medium_text(payload, "person"), jws->kid) != 0 || strcmp(medium_text(payload, "role"), role) != 0 ||
        !is_one_of(medium_text(payload, "decision"), decisions, ARRAY_LENGTH(decisions)) ||
        !json_is_string(json_object_get(payload, "at"))) {
        return STATUS_INVALID;
    }
    hash_text(report, report_bytes, hash);
    return strcmp(medium_text(payload, "report_sha256"), hash) == 0 ? STATUS_OK : STATUS_CONFLICT;
}
