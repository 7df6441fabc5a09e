/* medium_report.c - from the state of a wipe to its report. */
#include "cluster/medium_report.h"

#include "base/digest.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM "/proc/self/exe"

/* NULL for what is not known. */
static json_t *text_or_null(const char *text)
{
    return text[0] == '\0' ? json_null() : json_string(text);
}

static json_t *time_or_null(uint64_t ms)
{
    char text[MEDIUM_TIME_BYTES];
    if (ms == 0) {
        return json_null();
    }
    medium_time_text(ms, text);
    return json_string(text);
}

static void put(json_t *object, const char *name, json_t *value, bool *good)
{
    *good = json_object_set_new(object, name, value) == 0 && *good;
}

static json_t *finish(json_t *object, bool good)
{
    if (!good) {
        json_decref(object);
        return NULL;
    }
    return object;
}

/* ---- media and source ----------------------------------------------------------------------------- */

static const char *media_type(const struct medium_identity *identity)
{
    if (identity->kind == MEDIUM_IMAGE || identity->kind == MEDIUM_DIRECTORY) {
        return "file";
    }
    if (identity->is_virtual) {
        return "virtual disk";
    }
    if (!identity->rotational_known) {
        return "";
    }
    return identity->rotational ? "magnetic disk" : "flash";
}

static json_t *media_of(const struct medium_identity *identity, const struct residue_prints *prints)
{
    json_t *media = json_object();
    json_t *stores = json_array();
    bool good = true;
    for (uint32_t i = 0; prints != NULL && i < prints->store_count; i++) {
        json_array_append_new(stores, medium_json_hex(prints->stores[i].bytes, sizeof(prints->stores[i].bytes)));
    }
    put(media, "name", text_or_null(identity->name), &good);
    put(media, "manufacturer", text_or_null(identity->vendor), &good);
    put(media, "model", text_or_null(identity->model), &good);
    put(media, "serial", text_or_null(identity->serial), &good);
    put(media, "type", text_or_null(media_type(identity)), &good);
    put(media, "interface", text_or_null(identity->interface), &good);
    put(media, "wwn", text_or_null(identity->wwn), &good);
    put(media, "firmware", text_or_null(identity->firmware), &good);
    put(media, "capacity_bytes", identity->bytes == 0 ? json_null() : json_integer((json_int_t)identity->bytes), &good);
    put(media, "rotational", identity->rotational_known ? json_boolean(identity->rotational) : json_null(), &good);
    put(media, "virtual", json_boolean(identity->is_virtual), &good);
    put(media, "native_max_lba", json_null(), &good);
    put(media, "hpa_dco", json_null(), &good);
    put(media, "namespaces", identity->namespaces == 0 ? json_null() : json_integer((json_int_t)identity->namespaces),
        &good);
    put(media, "smart_before", json_null(), &good);
    put(media, "smart_after", json_null(), &good);
    put(media, "barcode_scanned", json_null(), &good);
    put(media, "scan_matches_identify", json_null(), &good);
    put(media, "stores", stores, &good);
    return finish(media, good);
}

static json_t *source_of(void)
{
    char host[128] = "";
    char serial[MEDIUM_TEXT_BYTES] = "";
    (void)gethostname(host, sizeof(host) - 1);
    int file = open("/sys/class/dmi/id/product_serial", O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        ssize_t got = read(file, serial, sizeof(serial) - 1);
        serial[got < 0 ? 0 : got] = '\0';
        for (char *at = serial; *at != '\0'; at++) {
            *at = *at >= ' ' && *at <= '~' ? *at : '\0';
        }
        close(file);
    }
    return json_pack("{s:o, s:o, s:n}", "host", text_or_null(host), "host_serial", text_or_null(serial), "slot");
}

/* ---- sanitization --------------------------------------------------------------------------------- */

static json_t *tool(void)
{
    uint8_t hash[SHA256_BYTES];
    static uint8_t piece[KIB(64)];
    struct digest digest;
    int file = open(PROGRAM, O_RDONLY | O_CLOEXEC);
    ssize_t got = file < 0 ? -1 : 1;
    digest_begin(&digest, DIGEST_SHA256);
    while (got > 0) {
        got = read(file, piece, sizeof(piece));
        digest_update(&digest, piece, got > 0 ? (size_t)got : 0);
    }
    digest_end(&digest, hash);
    if (file >= 0) {
        close(file);
    }
    return json_pack("{s:s, s:s, s:o}", "name", "trilith disk wipe", "version", TRILITH_VERSION, "sha256",
                     got < 0 ? json_null() : medium_json_hex(hash, sizeof(hash)));
}

static const char *step_command(const struct medium_state *state, const struct medium_step *step)
{
    switch (step->pattern) {
    case MEDIUM_PATTERN_DEVICE:
        return "NVMe Sanitize";
    case MEDIUM_PATTERN_NONE:
        return "discard";
    case MEDIUM_PATTERN_55:
    case MEDIUM_PATTERN_AA:
    case MEDIUM_PATTERN_STREAM:
        return state->identity.kind == MEDIUM_DIRECTORY ? "write into files" : "write";
    }
    UNREACHABLE();
}

static const char *step_pattern(const struct medium_state *state, const struct medium_step *step)
{
    switch (step->pattern) {
    case MEDIUM_PATTERN_DEVICE:
        return sanitize_action_name(state->action);
    case MEDIUM_PATTERN_NONE:
        return "deallocated";
    case MEDIUM_PATTERN_55:
    case MEDIUM_PATTERN_AA:
    case MEDIUM_PATTERN_STREAM:
        return medium_pattern_name(step->pattern);
    }
    UNREACHABLE();
}

static json_t *device_status(const struct medium_step *step)
{
    struct sanitize_log log;
    if (!step->log_read) {
        return json_null();
    }
    sanitize_log_decode(step->log, &log);
    return json_pack("{s:i, s:i, s:b, s:o}", "sstat", (int)log.sstat, "sprog", (int)log.sprog, "gde",
                     (int)SANITIZE_ERASED(log.sstat), "raw_hex", medium_json_hex(step->log, sizeof(step->log)));
}

static json_t *step_of(const struct medium_state *state, uint32_t index)
{
    const struct medium_step *step = &state->steps[index];
    bool by_device = step->pattern == MEDIUM_PATTERN_DEVICE;
    json_t *object = json_object();
    bool good = true;
    put(object, "n", json_integer((json_int_t)index + 1), &good);
    put(object, "command", json_string(step_command(state, step)), &good);
    put(object, "pattern", json_string(step_pattern(state, step)), &good);
    put(object, "cdw10", by_device ? json_integer((json_int_t)step->cdw10) : json_null(), &good);
    put(object, "seed_commit",
        step->pattern == MEDIUM_PATTERN_STREAM ? medium_json_hex(state->seed_commitment, CONTENT_HASH_BYTES)
                                               : json_null(),
        &good);
    put(object, "started_at", time_or_null(step->started_ms), &good);
    put(object, "finished_at", time_or_null(step->finished_ms), &good);
    put(object, "bytes", json_integer((json_int_t)step->bytes), &good);
    put(object, "errors", json_integer((json_int_t)step->errors), &good);
    put(object, "exit", json_integer(step->errors == 0 && step->finished_ms != 0 ? 0 : 1), &good);
    put(object, "device_status", device_status(step), &good);
    return finish(object, good);
}

static const char *details(const struct medium_state *state)
{
    switch (state->technique) {
    case MEDIUM_OVERWRITE:
        return "One pass of a ChaCha20 stream over every block that the system can address, flushed and read back.";
    case MEDIUM_DOD3:
        return "Three passes over every block that the system can address: 0x55, 0xaa, a ChaCha20 stream; the last one "
               "read "
               "back.";
    case MEDIUM_SANITIZE:
        return "The device's own sanitize, by its own report.";
    case MEDIUM_NOTHING:
        return "Nothing was done to the medium.";
    }
    UNREACHABLE();
}

static json_t *sanitization_of(const struct medium_state *state)
{
    json_t *steps = json_array();
    json_t *object = json_object();
    bool good = true;
    for (uint32_t i = 0; i < state->step_count; i++) {
        json_array_append_new(steps, step_of(state, i));
    }
    json_t *ability = state->ability_known
                          ? json_pack("{s:I, s:i, s:i, s:n}", "sanicap", (json_int_t)state->ability.sanicap, "fna",
                                      (int)state->ability.fna, "oacs", (int)state->ability.oacs, "ata_word59")
                          : json_pack("{s:n, s:n, s:n, s:n}", "sanicap", "fna", "oacs", "ata_word59");
    put(object, "method", json_string(medium_method(state)), &good);
    put(object, "technique", json_string(medium_technique_name(state->technique)), &good);
    put(object, "details", json_string(details(state)), &good);
    put(object, "tool", tool(), &good);
    put(object, "steps", steps, &good);
    put(object, "capability_evidence", ability, &good);
    put(object, "resumed_after_power_loss", json_integer((json_int_t)state->resumed), &good);
    put(object, "failure", text_or_null(state->failure), &good);
    put(object, "disk_key", json_null(), &good);
    if (state->identity.kind == MEDIUM_DIRECTORY) {
        put(object, "files_removed", json_integer((json_int_t)state->files), &good);
    }
    return finish(object, good);
}

/* ---- verification --------------------------------------------------------------------------------- */

/* Over offset u64le | window of each: who has the state file can show what was searched for. */
static json_t *prints_digest(const struct residue_prints *prints)
{
    uint8_t hash[SHA256_BYTES];
    struct digest digest;
    digest_begin(&digest, DIGEST_SHA256);
    for (uint32_t i = 0; i < residue_print_count(prints); i++) {
        const struct residue_fingerprint *print = residue_print(prints, i);
        uint8_t offset[8];
        for (unsigned byte = 0; byte < sizeof(offset); byte++) {
            offset[byte] = (uint8_t)(print->offset >> (8 * byte));
        }
        digest_update(&digest, offset, sizeof(offset));
        digest_update(&digest, print->window, sizeof(print->window));
    }
    digest_end(&digest, hash);
    return medium_json_hex(hash, sizeof(hash));
}

static json_t *scan_of(const struct medium_state *state)
{
    json_t *places = json_array();
    for (uint32_t i = 0; i < state->scan.place_count; i++) {
        json_array_append_new(places, json_integer((json_int_t)state->scan.places[i].offset));
    }
    return json_pack("{s:I, s:I, s:i, s:i, s:o, s:I, s:o, s:I}", "label_hits", (json_int_t)state->scan.label_hits,
                     "fingerprint_hits", (json_int_t)state->scan.fingerprint_hits, "fingerprints",
                     (int)residue_print_count(&state->prints), "fingerprints_of_units", (int)state->prints.sealed_count,
                     "fingerprints_sha256", prints_digest(&state->prints), "labels_before",
                     (json_int_t)state->prints.labels, "places", places, "bytes", (json_int_t)state->check.bytes);
}

static json_t *verification_of(const struct medium_state *state)
{
    const struct medium_check *check = &state->check;
    json_t *places = json_array();
    json_t *object = json_object();
    bool good = true;
    for (uint32_t i = 0; i < check->place_count; i++) {
        json_array_append_new(places, json_integer((json_int_t)check->places[i]));
    }
    bool done = state->phase == MEDIUM_FINISHED && !state->dead;
    bool clean = check->mismatch == 0 && check->unreadable == 0;
    put(object, "type",
        done ? json_string(medium_verify_name(medium_verify_for(state->verify, state->identity.bytes))) : json_null(),
        &good);
    put(object, "seed", medium_json_hex(state->check_seed, sizeof(state->check_seed)), &good);
    put(object, "samples", json_integer((json_int_t)check->samples), &good);
    put(object, "bytes", json_integer((json_int_t)check->bytes), &good);
    put(object, "mismatch", json_integer((json_int_t)(check->mismatch * BLOCK_BYTES)), &good);
    put(object, "mismatch_places", places, &good);
    put(object, "zero_after_erase", json_integer((json_int_t)(check->zero * BLOCK_BYTES)), &good);
    put(object, "unreadable", json_integer((json_int_t)(check->unreadable * BLOCK_BYTES)), &good);
    put(object, "upper95_residual_ppm",
        done && clean ? json_integer((json_int_t)medium_upper95_ppm(state)) : json_null(), &good);
    put(object, "residue_scan", scan_of(state), &good);
    return finish(object, good);
}

/* ---- the whole ------------------------------------------------------------------------------------ */

const char *medium_statement(const char *method, enum medium_kind kind)
{
    if (strcmp(method, "purge") == 0) {
        return "Purge: the device's own sanitize finished, says the device, and what was read back held nothing of "
               "before.";
    }
    if (strcmp(method, "clear") == 0) {
        return "Clear: every block that the system can address was overwritten. Areas that it can't address were not "
               "reached.";
    }
    switch (kind) {
    case MEDIUM_DISK:
        return "None: no media-level claim.";
    case MEDIUM_PARTITION:
        return "None: a part of the medium was overwritten, the rest of it was not.";
    case MEDIUM_IMAGE:
        return "None: a file was overwritten; nothing is said of the medium that it lies on.";
    case MEDIUM_DIRECTORY:
        return "None: files were overwritten, read back and removed; nothing is said of the medium that they lay on.";
    }
    UNREACHABLE();
}

static const char *result_name(const struct medium_state *state)
{
    switch (medium_result(state)) {
    case MEDIUM_ERASED:
        return "ERASED";
    case MEDIUM_FAILED:
        return "FAILED";
    case MEDIUM_NOT_DONE:
        return "NOT_DONE";
    }
    UNREACHABLE();
}

json_t *medium_report(const struct medium_state *state, const char *person)
{
    json_t *report = json_object();
    bool good = true;
    const char *kind = state->dead ? "dead" : medium_kind_name(state->identity.kind);
    put(report, "schema", json_string(MEDIUM_REPORT_SCHEMA), &good);
    put(report, "report_id", json_string(state->report_id), &good);
    put(report, "person", json_string(person), &good);
    put(report, "kind", json_string(kind), &good);
    put(report, "result", json_string(result_name(state)), &good);
    put(report, "statement", json_string(medium_statement(medium_method(state), state->identity.kind)), &good);
    put(report, "started_at", time_or_null(state->started_ms), &good);
    put(report, "finished_at", time_or_null(state->finished_ms), &good);
    put(report, "media", media_of(&state->identity, &state->prints), &good);
    put(report, "source", source_of(), &good);
    put(report, "sanitization", sanitization_of(state), &good);
    put(report, "verification", verification_of(state), &good);
    return finish(report, good);
}

/* ---- plans ---------------------------------------------------------------------------------------- */

static uint64_t expected_seconds(const struct medium_identity *identity, enum medium_technique technique,
                                 enum medium_verify verify, uint64_t rate, uint32_t sanitize_seconds)
{
    uint64_t passes = technique == MEDIUM_DOD3 ? 3 : technique == MEDIUM_OVERWRITE ? 1 : 0;
    /* Fingerprints are taken from as much as is read back. */
    uint64_t seconds = identity->bytes / rate * passes + 2 * medium_check_bytes(verify, identity->bytes) / rate;
    return seconds + (technique == MEDIUM_SANITIZE && sanitize_seconds != SANITIZE_NO_ESTIMATE ? sanitize_seconds : 0);
}

json_t *medium_plan(const struct medium_identity *identity, enum medium_technique technique, const char *why,
                    enum medium_verify verify, enum sanitize_action action, bool discard, uint64_t rate,
                    uint32_t sanitize_seconds)
{
    json_t *plan = json_object();
    bool good = true;
    const char *method = medium_method_expected(identity, technique);
    put(plan, "kind", json_string(medium_kind_name(identity->kind)), &good);
    put(plan, "path", json_string(identity->path), &good);
    put(plan, "media", media_of(identity, NULL), &good);
    put(plan, "technique", json_string(medium_technique_name(technique)), &good);
    put(plan, "device_action", action == SANITIZE_NONE ? json_null() : json_string(sanitize_action_name(action)),
        &good);
    put(plan, "why", json_string(why), &good);
    put(plan, "verification", json_string(medium_verify_name(medium_verify_for(verify, identity->bytes))), &good);
    put(plan, "deallocate_afterwards", json_boolean(discard), &good);
    put(plan, "claim_if_all_goes_well", json_string(method), &good);
    put(plan, "statement", json_string(medium_statement(method, identity->kind)), &good);
    put(plan, "read_bytes_per_second", rate == 0 ? json_null() : json_integer((json_int_t)rate), &good);
    put(plan, "estimated_seconds",
        rate == 0 ? json_null()
                  : json_integer((json_int_t)expected_seconds(identity, technique, verify, rate, sanitize_seconds)),
        &good);
    put(plan, "repeat_to_erase", json_string(medium_name_to_repeat(identity)), &good);
    return finish(plan, good);
}
