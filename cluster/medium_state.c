/* medium_state.c - the state file: encoding, checked decoding, atomic replacement. */
#include "cluster/medium_state.h"

#include "base/digest.h"
#include "base/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FORMAT 1

static const char *const technique_names[] = {"", "overwrite", "dod3", "sanitize", "nothing"};
static const char *const verify_names[] = {"", "full", "r1-10pct", "quick"};
static const char *const pattern_names[] = {"", "0x55", "0xaa", "chacha20", "device", "none"};
static const char *const phase_names[] = {"", "collect", "wipe", "check", "discard", "finished"};

const char *medium_technique_name(enum medium_technique technique)
{
    return technique_names[technique];
}

const char *medium_verify_name(enum medium_verify verify)
{
    return verify_names[verify];
}

const char *medium_pattern_name(enum medium_pattern pattern)
{
    return pattern_names[pattern];
}

const char *medium_phase_name(enum medium_phase phase)
{
    return phase_names[phase];
}

/* ---- a fresh one ---------------------------------------------------------------------------------- */

static void add_step(struct medium_state *state, enum medium_pattern pattern)
{
    CHECK(state->step_count < MEDIUM_STEPS_MAX);
    state->steps[state->step_count++].pattern = pattern;
}

static void draw(uint8_t *target, size_t bytes)
{
    struct key key;
    CHECK(bytes == sizeof(key.bytes));
    key_make(&key);
    memcpy(target, key.bytes, bytes);
    wipe_memory(&key, sizeof(key));
}

static void draw_id(char id[37])
{
    uint8_t bytes[KEY_BYTES];
    char hex[2 * 16 + 1];
    draw(bytes, sizeof(bytes));
    bytes[6] = (uint8_t)((bytes[6] & 0x0f) | 0x40);
    bytes[8] = (uint8_t)((bytes[8] & 0x3f) | 0x80);
    hex_encode(bytes, 16, hex);
    snprintf(id, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

struct medium_state *medium_state_new(const char *path, const struct medium_identity *identity,
                                      enum medium_technique technique, enum medium_verify verify,
                                      enum sanitize_action action)
{
    struct medium_state *state = calloc(1, sizeof(*state));
    if (state == NULL || strlen(path) >= sizeof(state->path)) {
        free(state);
        return NULL;
    }
    memcpy(state->path, path, strlen(path) + 1);
    state->identity = *identity;
    state->technique = technique;
    state->verify = verify;
    state->action = action;
    state->phase = MEDIUM_COLLECT;
    state->started_ms = medium_now_ms();
    draw(state->seed, sizeof(state->seed));
    draw(state->check_seed, sizeof(state->check_seed));
    draw_id(state->report_id);
    state->seed_kept = technique == MEDIUM_OVERWRITE || technique == MEDIUM_DOD3;
    if (state->seed_kept) {
        sha256(state->seed, sizeof(state->seed), state->seed_commitment);
    }
    if (technique == MEDIUM_DOD3) {
        add_step(state, MEDIUM_PATTERN_55);
        add_step(state, MEDIUM_PATTERN_AA);
    }
    if (technique == MEDIUM_SANITIZE) {
        add_step(state, MEDIUM_PATTERN_DEVICE);
    } else if (technique != MEDIUM_NOTHING) {
        add_step(state, MEDIUM_PATTERN_STREAM);
    }
    return state;
}

void medium_state_free(struct medium_state *state)
{
    if (state != NULL) {
        wipe_memory(state, sizeof(*state));
        free(state);
    }
}

/* ---- encoding ------------------------------------------------------------------------------------- */

json_t *medium_json_hex(const void *data, size_t bytes)
{
    char hex[2 * 64 + 1];
    CHECK(bytes <= 64);
    hex_encode(data, bytes, hex);
    return json_string(hex);
}

static json_t *encode_identity(const struct medium_identity *identity)
{
    return json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:b, s:b, s:b, s:b, s:i, s:I, s:I}",
                     "kind", (int)identity->kind, "path", identity->path, "name", identity->name, "disk",
                     identity->disk, "vendor", identity->vendor, "model", identity->model, "serial", identity->serial,
                     "wwn", identity->wwn, "firmware", identity->firmware, "interface", identity->interface, "bytes",
                     (json_int_t)identity->bytes, "rotational_known", (int)identity->rotational_known, "rotational",
                     (int)identity->rotational, "virtual", (int)identity->is_virtual, "can_discard",
                     (int)identity->can_discard, "namespaces", (int)identity->namespaces, "device",
                     (json_int_t)identity->device, "inode", (json_int_t)identity->inode);
}

static json_t *encode_steps(const struct medium_state *state)
{
    json_t *steps = json_array();
    for (uint32_t i = 0; i < state->step_count; i++) {
        const struct medium_step *step = &state->steps[i];
        json_array_append_new(
            steps, json_pack("{s:i, s:I, s:I, s:I, s:I, s:b, s:I, s:b, s:o}", "pattern", (int)step->pattern,
                             "started_ms", (json_int_t)step->started_ms, "finished_ms", (json_int_t)step->finished_ms,
                             "bytes", (json_int_t)step->bytes, "errors", (json_int_t)step->errors, "issued",
                             (int)step->issued, "cdw10", (json_int_t)step->cdw10, "log_read", (int)step->log_read,
                             "log", medium_json_hex(step->log, sizeof(step->log))));
    }
    return steps;
}

static json_t *encode_check(const struct medium_check *check)
{
    json_t *places = json_array();
    for (uint32_t i = 0; i < check->place_count; i++) {
        json_array_append_new(places, json_integer((json_int_t)check->places[i]));
    }
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "next", (json_int_t)check->next, "samples",
                     (json_int_t)check->samples, "bytes", (json_int_t)check->bytes, "mismatch",
                     (json_int_t)check->mismatch, "zero", (json_int_t)check->zero, "unreadable",
                     (json_int_t)check->unreadable, "places", places);
}

static json_t *encode_windows(const struct residue_fingerprint *list, uint32_t count)
{
    json_t *windows = json_array();
    for (uint32_t i = 0; i < count; i++) {
        json_array_append_new(windows, json_pack("[I, o]", (json_int_t)list[i].offset,
                                                 medium_json_hex(list[i].window, sizeof(list[i].window))));
    }
    return windows;
}

static json_t *encode_prints(const struct residue_prints *prints)
{
    json_t *stores = json_array();
    for (uint32_t i = 0; i < prints->store_count; i++) {
        json_array_append_new(stores, medium_json_hex(prints->stores[i].bytes, sizeof(prints->stores[i].bytes)));
    }
    return json_pack("{s:o, s:o, s:I, s:o}", "sealed", encode_windows(prints->sealed, prints->sealed_count), "other",
                     encode_windows(prints->other, prints->other_count), "labels", (json_int_t)prints->labels, "stores",
                     stores);
}

static json_t *encode_scan(const struct residue_scan *scan)
{
    json_t *places = json_array();
    for (uint32_t i = 0; i < scan->place_count; i++) {
        json_array_append_new(places,
                              json_pack("[I, i]", (json_int_t)scan->places[i].offset, (int)scan->places[i].kind));
    }
    return json_pack("{s:I, s:I, s:o}", "labels", (json_int_t)scan->label_hits, "fingerprints",
                     (json_int_t)scan->fingerprint_hits, "places", places);
}

json_t *medium_state_encode(const struct medium_state *state)
{
    return json_pack(
        "{s:i, s:o, s:i, s:i, s:i, s:b, s:I, s:i, s:i, s:b, s:b, s:o, s:o, s:o, s:i, s:i, s:I, s:i, s:o, s:o, s:o, "
        "s:o, "
        "s:I, s:I, s:I, s:s, s:s}",
        "format", FORMAT, "identity", encode_identity(&state->identity), "technique", (int)state->technique, "verify",
        (int)state->verify, "action", (int)state->action, "ability_known", (int)state->ability_known, "sanicap",
        (json_int_t)state->ability.sanicap, "oacs", (int)state->ability.oacs, "fna", (int)state->ability.fna, "discard",
        (int)state->discard, "dead", (int)state->dead, "seed",
        state->seed_kept ? medium_json_hex(state->seed, sizeof(state->seed)) : json_null(), "seed_commitment",
        medium_json_hex(state->seed_commitment, sizeof(state->seed_commitment)), "check_seed",
        medium_json_hex(state->check_seed, sizeof(state->check_seed)), "phase", (int)state->phase, "step_at",
        (int)state->step_at, "offset", (json_int_t)state->offset, "resumed", (int)state->resumed, "steps",
        encode_steps(state), "check", encode_check(&state->check), "prints", encode_prints(&state->prints), "scan",
        encode_scan(&state->scan), "files", (json_int_t)state->files, "started_ms", (json_int_t)state->started_ms,
        "finished_ms", (json_int_t)state->finished_ms, "failure", state->failure, "report_id", state->report_id);
}

/* ---- decoding ------------------------------------------------------------------------------------- */

/* Reads members; the first that is missing or wrong makes all fail. */
struct members {
    const json_t *object;
    bool failed;
};

static uint64_t get_number(struct members *from, const char *name, uint64_t maximum)
{
    const json_t *value = json_object_get(from->object, name);
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 0 || (uint64_t)number > maximum) {
        from->failed = true;
        return 0;
    }
    return (uint64_t)number;
}

static bool get_flag(struct members *from, const char *name)
{
    const json_t *value = json_object_get(from->object, name);
    from->failed = from->failed || !json_is_boolean(value);
    return json_is_true(value);
}

static void get_text(struct members *from, const char *name, char *text, size_t room)
{
    const json_t *value = json_object_get(from->object, name);
    size_t bytes = json_string_length(value);
    if (!json_is_string(value) || bytes >= room || strlen(json_string_value(value)) != bytes) {
        from->failed = true;
        return;
    }
    memcpy(text, json_string_value(value), bytes + 1);
}

static bool hex_of(const json_t *value, uint8_t *data, size_t bytes)
{
    return json_is_string(value) && hex_decode(json_string_value(value), json_string_length(value), data, bytes);
}

static void get_hex(struct members *from, const char *name, uint8_t *data, size_t bytes)
{
    from->failed = from->failed || !hex_of(json_object_get(from->object, name), data, bytes);
}

/* An array of at most `maximum`; NULL (and failed) for anything else. */
static const json_t *get_array(struct members *from, const char *name, size_t maximum)
{
    const json_t *value = json_object_get(from->object, name);
    if (!json_is_array(value) || json_array_size(value) > maximum) {
        from->failed = true;
        return NULL;
    }
    return value;
}

static bool decode_identity(const json_t *object, struct medium_identity *identity)
{
    struct members from = {object, !json_is_object(object)};
    identity->kind = (enum medium_kind)get_number(&from, "kind", MEDIUM_DIRECTORY);
    get_text(&from, "path", identity->path, sizeof(identity->path));
    get_text(&from, "name", identity->name, sizeof(identity->name));
    get_text(&from, "disk", identity->disk, sizeof(identity->disk));
    get_text(&from, "vendor", identity->vendor, sizeof(identity->vendor));
    get_text(&from, "model", identity->model, sizeof(identity->model));
    get_text(&from, "serial", identity->serial, sizeof(identity->serial));
    get_text(&from, "wwn", identity->wwn, sizeof(identity->wwn));
    get_text(&from, "firmware", identity->firmware, sizeof(identity->firmware));
    get_text(&from, "interface", identity->interface, sizeof(identity->interface));
    identity->bytes = get_number(&from, "bytes", INT64_MAX);
    identity->rotational_known = get_flag(&from, "rotational_known");
    identity->rotational = get_flag(&from, "rotational");
    identity->is_virtual = get_flag(&from, "virtual");
    identity->can_discard = get_flag(&from, "can_discard");
    identity->namespaces = (unsigned)get_number(&from, "namespaces", UINT16_MAX);
    identity->device = get_number(&from, "device", INT64_MAX);
    identity->inode = get_number(&from, "inode", INT64_MAX);
    return !from.failed && identity->kind >= MEDIUM_DISK;
}

static bool decode_steps(struct members *state_members, struct medium_state *state)
{
    const json_t *steps = get_array(state_members, "steps", MEDIUM_STEPS_MAX);
    for (size_t i = 0; i < json_array_size(steps); i++) {
        struct medium_step *step = &state->steps[i];
        struct members from = {json_array_get(steps, i), false};
        step->pattern = (enum medium_pattern)get_number(&from, "pattern", MEDIUM_PATTERN_NONE);
        step->started_ms = get_number(&from, "started_ms", INT64_MAX);
        step->finished_ms = get_number(&from, "finished_ms", INT64_MAX);
        step->bytes = get_number(&from, "bytes", INT64_MAX);
        step->errors = get_number(&from, "errors", INT64_MAX);
        step->issued = get_flag(&from, "issued");
        step->cdw10 = (uint32_t)get_number(&from, "cdw10", UINT32_MAX);
        step->log_read = get_flag(&from, "log_read");
        get_hex(&from, "log", step->log, sizeof(step->log));
        if (from.failed || step->pattern < MEDIUM_PATTERN_55) {
            return false;
        }
        state->step_count++;
    }
    return steps != NULL;
}

static bool decode_check(const json_t *object, struct medium_check *check)
{
    struct members from = {object, !json_is_object(object)};
    check->next = get_number(&from, "next", INT64_MAX);
    check->samples = get_number(&from, "samples", INT64_MAX);
    check->bytes = get_number(&from, "bytes", INT64_MAX);
    check->mismatch = get_number(&from, "mismatch", INT64_MAX);
    check->zero = get_number(&from, "zero", INT64_MAX);
    check->unreadable = get_number(&from, "unreadable", INT64_MAX);
    const json_t *places = get_array(&from, "places", MEDIUM_PLACES_MAX);
    for (size_t i = 0; i < json_array_size(places); i++) {
        json_int_t place = json_integer_value(json_array_get(places, i));
        from.failed = from.failed || place < 0;
        check->places[check->place_count++] = (uint64_t)place;
    }
    return !from.failed;
}

static bool decode_windows(struct members *from, const char *name, struct residue_fingerprint *list, uint32_t room,
                           uint32_t *count)
{
    const json_t *windows = get_array(from, name, room);
    for (size_t i = 0; i < json_array_size(windows); i++) {
        const json_t *window = json_array_get(windows, i);
        json_int_t offset = json_integer_value(json_array_get(window, 0));
        if (offset < 0 || !hex_of(json_array_get(window, 1), list[i].window, sizeof(list[i].window))) {
            return false;
        }
        list[i].offset = (uint64_t)offset;
        (*count)++;
    }
    return windows != NULL;
}

static bool decode_prints(const json_t *object, struct residue_prints *prints)
{
    struct members from = {object, !json_is_object(object)};
    prints->labels = get_number(&from, "labels", INT64_MAX);
    const json_t *stores = get_array(&from, "stores", RESIDUE_STORES_MAX);
    for (size_t i = 0; i < json_array_size(stores); i++) {
        struct uuid *store = &prints->stores[prints->store_count++];
        from.failed = from.failed || !hex_of(json_array_get(stores, i), store->bytes, sizeof(store->bytes));
    }
    return decode_windows(&from, "sealed", prints->sealed, RESIDUE_SEALED_MAX, &prints->sealed_count) &&
           decode_windows(&from, "other", prints->other, RESIDUE_OTHER_MAX, &prints->other_count) && !from.failed;
}

static bool decode_scan(const json_t *object, struct residue_scan *scan)
{
    struct members from = {object, !json_is_object(object)};
    scan->label_hits = get_number(&from, "labels", INT64_MAX);
    scan->fingerprint_hits = get_number(&from, "fingerprints", INT64_MAX);
    const json_t *places = get_array(&from, "places", RESIDUE_PLACES_MAX);
    for (size_t i = 0; i < json_array_size(places); i++) {
        const json_t *place = json_array_get(places, i);
        json_int_t offset = json_integer_value(json_array_get(place, 0));
        json_int_t kind = json_integer_value(json_array_get(place, 1));
        from.failed = from.failed || offset < 0 || kind < RESIDUE_LABEL || kind > RESIDUE_FINGERPRINT;
        scan->places[scan->place_count].offset = (uint64_t)offset;
        scan->places[scan->place_count++].kind = (enum residue_kind)kind;
    }
    return !from.failed;
}

/* What depends on each other. */
static bool is_consistent(const struct medium_state *state)
{
    bool has_stream = state->technique == MEDIUM_OVERWRITE || state->technique == MEDIUM_DOD3;
    bool needs_seed = has_stream && state->phase <= MEDIUM_CHECK;
    return state->technique >= MEDIUM_OVERWRITE && state->verify >= MEDIUM_FULL && state->phase >= MEDIUM_COLLECT &&
           state->step_at <= state->step_count && state->offset <= state->identity.bytes &&
           (state->offset % BLOCK_BYTES == 0 || state->offset == state->identity.bytes) &&
           (!needs_seed || state->seed_kept) && (state->technique != MEDIUM_SANITIZE || state->action != SANITIZE_NONE);
}

enum status medium_state_decode(const json_t *document, struct medium_state *state)
{
    struct members from = {document, !json_is_object(document)};
    if (get_number(&from, "format", FORMAT) != FORMAT || from.failed) {
        return STATUS_CORRUPT;
    }
    state->technique = (enum medium_technique)get_number(&from, "technique", MEDIUM_NOTHING);
    state->verify = (enum medium_verify)get_number(&from, "verify", MEDIUM_QUICK);
    uint64_t action = get_number(&from, "action", SANITIZE_CRYPTO_ERASE);
    state->action = (enum sanitize_action)action;
    state->ability_known = get_flag(&from, "ability_known");
    state->ability.sanicap = (uint32_t)get_number(&from, "sanicap", UINT32_MAX);
    state->ability.oacs = (uint16_t)get_number(&from, "oacs", UINT16_MAX);
    state->ability.fna = (uint8_t)get_number(&from, "fna", UINT8_MAX);
    state->discard = get_flag(&from, "discard");
    state->dead = get_flag(&from, "dead");
    state->seed_kept = json_is_string(json_object_get(document, "seed"));
    if (state->seed_kept) {
        get_hex(&from, "seed", state->seed, sizeof(state->seed));
    }
    get_hex(&from, "seed_commitment", state->seed_commitment, sizeof(state->seed_commitment));
    get_hex(&from, "check_seed", state->check_seed, sizeof(state->check_seed));
    state->phase = (enum medium_phase)get_number(&from, "phase", MEDIUM_FINISHED);
    state->step_at = (uint32_t)get_number(&from, "step_at", MEDIUM_STEPS_MAX);
    state->offset = get_number(&from, "offset", INT64_MAX);
    state->resumed = (uint32_t)get_number(&from, "resumed", INT32_MAX);
    state->files = get_number(&from, "files", INT64_MAX);
    state->started_ms = get_number(&from, "started_ms", INT64_MAX);
    state->finished_ms = get_number(&from, "finished_ms", INT64_MAX);
    get_text(&from, "failure", state->failure, sizeof(state->failure));
    get_text(&from, "report_id", state->report_id, sizeof(state->report_id));
    bool good = decode_identity(json_object_get(document, "identity"), &state->identity) &&
                decode_steps(&from, state) && decode_check(json_object_get(document, "check"), &state->check) &&
                decode_prints(json_object_get(document, "prints"), &state->prints) &&
                decode_scan(json_object_get(document, "scan"), &state->scan);
    bool known_action = action == SANITIZE_NONE || action >= SANITIZE_BLOCK_ERASE;
    return good && !from.failed && known_action && is_consistent(state) ? STATUS_OK : STATUS_CORRUPT;
}

/* ---- the file ------------------------------------------------------------------------------------- */

static enum status load_document(int file, json_t **document)
{
    char *text = malloc(MEDIUM_STATE_BYTES_MAX);
    if (text == NULL) {
        return STATUS_FULL;
    }
    size_t bytes = 0;
    ssize_t got = 1;
    while (got > 0 && bytes < MEDIUM_STATE_BYTES_MAX) {
        got = read(file, text + bytes, MEDIUM_STATE_BYTES_MAX - bytes);
        bytes += got > 0 ? (size_t)got : 0;
    }
    *document = got == 0 ? json_loadb(text, bytes, JSON_REJECT_DUPLICATES, NULL) : NULL;
    wipe_memory(text, MEDIUM_STATE_BYTES_MAX);
    free(text);
    return *document == NULL ? STATUS_CORRUPT : STATUS_OK;
}

enum status medium_state_load(const char *path, struct medium_state **loaded, char *message)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    struct stat about;
    if (file < 0 || fstat(file, &about) != 0) {
        enum status status = status_from_errno(errno);
        snprintf(message, MEDIUM_MESSAGE_BYTES, "%.300s: %s", path, strerror(errno));
        if (file >= 0) {
            close(file);
        }
        return status;
    }
    if (!S_ISREG(about.st_mode) || (about.st_mode & 077) != 0) {
        snprintf(message, MEDIUM_MESSAGE_BYTES, "%.300s: others may read or change it; a state file has mode 0600",
                 path);
        close(file);
        return STATUS_DENIED;
    }
    json_t *document = NULL;
    struct medium_state *state = calloc(1, sizeof(*state));
    enum status status =
        state == NULL || strlen(path) >= sizeof(state->path) ? STATUS_FULL : load_document(file, &document);
    if (status == STATUS_OK) {
        status = medium_state_decode(document, state);
    }
    json_decref(document);
    close(file);
    if (status != STATUS_OK) {
        medium_state_free(state);
        snprintf(message, MEDIUM_MESSAGE_BYTES, "%.300s is not the state of a wipe", path);
        return status;
    }
    memcpy(state->path, path, strlen(path) + 1);
    *loaded = state;
    return STATUS_OK;
}

static bool write_all(int file, const char *text, size_t bytes)
{
    while (bytes > 0) {
        ssize_t put = write(file, text, bytes);
        if (put <= 0 && !(put < 0 && errno == EINTR)) {
            return false;
        }
        text += put > 0 ? put : 0;
        bytes -= put > 0 ? (size_t)put : 0;
    }
    return true;
}

static bool flush_directory(const char *path)
{
    char copy[MEDIUM_PATH_BYTES];
    memcpy(copy, path, strlen(path) + 1);
    int directory = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = directory >= 0 && fsync(directory) == 0;
    if (directory >= 0) {
        close(directory);
    }
    return good;
}

static bool replace_file(const char *path, const char *text, size_t bytes)
{
    char next[MEDIUM_PATH_BYTES + 8];
    snprintf(next, sizeof(next), "%s.next", path);
    int file = open(next, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0) {
        return false;
    }
    bool good = fchmod(file, 0600) == 0 && write_all(file, text, bytes) && fsync(file) == 0;
    good = close(file) == 0 && good;
    return good && rename(next, path) == 0 && flush_directory(path);
}

enum status medium_state_save(struct medium_state *state)
{
    json_t *document = medium_state_encode(state);
    char *text = document == NULL ? NULL : json_dumps(document, JSON_INDENT(1) | JSON_SORT_KEYS);
    json_decref(document);
    if (text == NULL) {
        return STATUS_IO;
    }
    size_t bytes = strlen(text);
    bool good = bytes < MEDIUM_STATE_BYTES_MAX && replace_file(state->path, text, bytes);
    wipe_memory(text, bytes);
    free(text);
    return good ? STATUS_OK : STATUS_IO;
}
