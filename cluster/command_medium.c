/* command_medium.c - `disk wipe` and `disk countersign`: erasing a medium on the machine that it is in, and signing
 * for it. No cluster is asked: the node is stopped, or the disk is in another machine. */
#include "base/keys.h"
#include "cluster/command.h"
#include "cluster/medium_directory.h"
#include "cluster/medium_report.h"
#include "cluster/output.h"
#include "cluster/progress.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROBE_MS         500u
#define PROGRESS_NS      NS_PER_S
#define KEY_FILE_MAX     KIB(4)
#define PERSON_BYTES_MAX 63u

/* ---- the signer ----------------------------------------------------------------------------------- */

struct signer {
    const char *person; /* NULL: nobody signs */
    struct key_pool *pool;
    struct key *key;
};

/* Read a private key that only its owner can read. 0, or the exit status. */
static int read_key(const char *path, struct key *key)
{
    struct stat about;
    char *pem = guarded_take(KEY_FILE_MAX);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    int result = 0;
    if (pem == NULL || file < 0 || fstat(file, &about) != 0) {
        result = command_fail("%s: %s", path, strerror(errno));
    } else if ((about.st_mode & 077) != 0) {
        result = command_fail("%s: others can read this private key; chmod 600 it", path);
    } else {
        ssize_t got = read(file, pem, KEY_FILE_MAX);
        if (got <= 0 || secret_key_from_pem(pem, (size_t)got, key) != STATUS_OK) {
            result = command_fail("%s is not an Ed25519 private key in PEM (openssl genpkey -algorithm ed25519)", path);
        }
    }
    if (file >= 0) {
        close(file);
    }
    guarded_release(pem);
    return result;
}

/* --as and --key: both or none. */
static int signer_open(struct command *command, struct signer *signer)
{
    const char *key = command_option(command, "--key");
    *signer = (struct signer){.person = command_option(command, "--as")};
    if ((signer->person == NULL) != (key == NULL)) {
        return command_usage(command, "--as and --key belong together");
    }
    if (key == NULL) {
        return 0;
    }
    if (signer->person[0] == '\0' || strlen(signer->person) > PERSON_BYTES_MAX) {
        return command_usage(command, "a person's name has 1 to %u bytes", PERSON_BYTES_MAX);
    }
    signer->pool = key_pool_open(1);
    signer->key = signer->pool == NULL ? NULL : key_take(signer->pool);
    return signer->key == NULL ? command_fail("out of memory") : read_key(key, signer->key);
}

static void signer_close(struct signer *signer)
{
    if (signer->pool != NULL) {
        key_release(signer->pool, signer->key);
        key_pool_close(signer->pool);
    }
}

/* The text that is kept: a JWS, or without a signer the canonical payload. To be freed; NULL: no memory. */
static char *sign(const struct signer *signer, const char *type, const json_t *payload)
{
    size_t bytes;
    return signer->person == NULL ? json_canonical(payload, &bytes)
                                  : jws_sign(type, signer->person, signer->key, payload);
}

/* Put `text` and a newline into a file, whole or not at all. */
static int write_document(const char *path, const char *text)
{
    char next[MEDIUM_PATH_BYTES];
    if ((size_t)snprintf(next, sizeof(next), "%s.next", path) >= sizeof(next)) {
        return command_fail("%s: the path is too long", path);
    }
    FILE *file = fopen(next, "we");
    if (file == NULL) {
        return command_fail("%s: %s", next, strerror(errno));
    }
    bool good = fputs(text, file) >= 0 && fputc('\n', file) >= 0 && fflush(file) == 0 && fsync(fileno(file)) == 0;
    good = fclose(file) == 0 && good;
    if (!good || rename(next, path) != 0) {
        return command_fail("%s can't be written: %s", path, strerror(errno));
    }
    return 0;
}

/* ---- what is asked for ---------------------------------------------------------------------------- */

struct wipe_command {
    struct command *command;
    struct signer signer;
    struct medium_identity identity;
    struct medium_state *state;
    struct sanitizer *sanitizer; /* NULL: none */
    bool ability_known;
    struct sanitize_ability ability;
    uint32_t sanitize_seconds;
    enum medium_technique technique;
    enum medium_verify verify;
    enum sanitize_action action;
    const char *why;
    char report_path[MEDIUM_PATH_BYTES];
    char message[MEDIUM_MESSAGE_BYTES];
    struct medium_wipe wipe;
    struct progress progress;
    const char *doing; /* what the progress line is about */
    uint64_t told_ns;
    uint64_t doing_ns;
    uint64_t doing_from;
};

static int fail(const struct wipe_command *wipe)
{
    return command_fail("%s", wipe->message);
}

static bool read_verify(const char *text, enum medium_verify *verify)
{
    for (enum medium_verify each = MEDIUM_FULL; each <= MEDIUM_QUICK; each++) {
        if (strcmp(text, medium_verify_name(each)) == 0) {
            *verify = each;
            return true;
        }
    }
    return false;
}

/* Ask the device what it can do itself. One that can't be asked can nothing. */
static void ask_device(struct wipe_command *wipe)
{
    struct sanitize_log log;
    char ignored[MEDIUM_MESSAGE_BYTES];
    wipe->sanitize_seconds = SANITIZE_NO_ESTIMATE;
    if (medium_nvme_open(&wipe->identity, &wipe->sanitizer, ignored) != STATUS_OK) {
        wipe->sanitizer = NULL;
        return;
    }
    wipe->ability_known = wipe->sanitizer->ability(wipe->sanitizer, &wipe->ability) == STATUS_OK;
    if (wipe->ability_known && wipe->sanitizer->log(wipe->sanitizer, &log) == STATUS_OK) {
        wipe->sanitize_seconds = sanitize_estimate(&log, sanitize_choose(&wipe->ability));
    }
}

/* The device's own sanitize, `action` or the best it has. STATUS_OK; STATUS_UNSUPPORTED, and why. */
static enum status choose_sanitize(struct wipe_command *wipe, enum sanitize_action action)
{
    if (wipe->identity.kind != MEDIUM_DISK || !wipe->ability_known) {
        snprintf(wipe->message, sizeof(wipe->message),
                 "%s tells of no sanitize of its own (only whole NVMe disks are asked)", wipe->identity.name);
        return STATUS_UNSUPPORTED;
    }
    if (wipe->identity.namespaces > 1 || wipe->ability.namespaces > 1) {
        snprintf(wipe->message, sizeof(wipe->message),
                 "the controller of %s has %u namespaces, and its sanitize would erase them all", wipe->identity.name,
                 wipe->identity.namespaces > 1 ? wipe->identity.namespaces : wipe->ability.namespaces);
        return STATUS_UNSUPPORTED;
    }
    action = action == SANITIZE_NONE ? sanitize_choose(&wipe->ability) : action;
    if (!sanitize_has(&wipe->ability, action)) {
        snprintf(wipe->message, sizeof(wipe->message),
                 "%s does not say that it can do that itself (SANICAP %08" PRIx32 ")", wipe->identity.name,
                 wipe->ability.sanicap);
        return STATUS_UNSUPPORTED;
    }
    wipe->technique = MEDIUM_SANITIZE;
    wipe->action = action;
    wipe->why = "the device says that it has a sanitize of its own, which also reaches what the system can't address";
    return STATUS_OK;
}

static enum status choose_dod3(struct wipe_command *wipe)
{
    if (!wipe->identity.rotational_known || !wipe->identity.rotational) {
        snprintf(wipe->message, sizeof(wipe->message),
                 "%s is %s: three passes are for rotating disks only; on flash they wear cells out and reach no more "
                 "of them than one",
                 wipe->identity.name, wipe->identity.rotational_known ? "flash" : "not known to be a rotating disk");
        return STATUS_UNSUPPORTED;
    }
    wipe->technique = MEDIUM_DOD3;
    wipe->why = "it was asked for, on a rotating disk; one pass reaches just as much";
    return STATUS_OK;
}

static int choose_technique(struct wipe_command *wipe)
{
    static const struct {
        const char *name;
        enum sanitize_action action;
    } own[] = {{"sanitize", SANITIZE_NONE},
               {"sanitize-block", SANITIZE_BLOCK_ERASE},
               {"sanitize-crypto", SANITIZE_CRYPTO_ERASE},
               {"sanitize-overwrite", SANITIZE_OVERWRITE}};
    const char *wanted = command_option(wipe->command, "--technique");
    wanted = wanted == NULL ? "auto" : wanted;
    wipe->technique = MEDIUM_OVERWRITE;
    wipe->why = "it was asked for";
    if (strcmp(wanted, "overwrite") == 0) {
        return 0;
    }
    if (strcmp(wanted, "auto") == 0) {
        if (wipe->ability_known && (wipe->identity.namespaces != 1 || wipe->ability.namespaces != 1)) {
            wipe->why = "it can't be told that the controller has this one namespace only, and its sanitize would "
                        "erase them all; --technique sanitize asks for it";
        } else if (wipe->identity.kind == MEDIUM_DIRECTORY || choose_sanitize(wipe, SANITIZE_NONE) != STATUS_OK) {
            wipe->why = "no sanitize of the device's own can be used here";
        }
        return 0;
    }
    if (strcmp(wanted, "dod3") == 0) {
        return choose_dod3(wipe) == STATUS_OK ? 0 : fail(wipe);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(own); i++) {
        if (strcmp(wanted, own[i].name) == 0) {
            return choose_sanitize(wipe, own[i].action) == STATUS_OK ? 0 : fail(wipe);
        }
    }
    return command_usage(wipe->command,
                         "\"%s\" is no technique: auto, overwrite, dod3, sanitize, sanitize-block, sanitize-crypto, "
                         "sanitize-overwrite",
                         wanted);
}

/* ---- the state ------------------------------------------------------------------------------------ */

/* Read the state file when there is one. */
static int load_state(struct wipe_command *wipe, const char *path)
{
    enum status status = medium_state_load(path, &wipe->state, wipe->message);
    return status == STATUS_OK || status == STATUS_NOT_FOUND ? 0 : fail(wipe);
}

/* Go on with the state, which must be of this medium and of what is asked for. */
static int resume(struct wipe_command *wipe)
{
    struct medium_state *state = wipe->state;
    const char *wanted = command_option(wipe->command, "--technique");
    if (!medium_same(&state->identity, &wipe->identity)) {
        return command_fail("%s is the state of another medium (%s, serial %s); nothing was done", state->path,
                            state->identity.name,
                            state->identity.serial[0] == '\0' ? "not known" : state->identity.serial);
    }
    if (wanted != NULL && strcmp(wanted, "auto") != 0 &&
        strncmp(wanted, medium_technique_name(state->technique), strlen(medium_technique_name(state->technique))) !=
            0) {
        return command_fail("%s was begun with technique %s", state->path, medium_technique_name(state->technique));
    }
    memcpy(state->identity.path, wipe->identity.path, sizeof(state->identity.path));
    memcpy(state->identity.name, wipe->identity.name, sizeof(state->identity.name));
    wipe->technique = state->technique;
    wipe->action = state->action;
    state->resumed += state->phase != MEDIUM_FINISHED;
    return 0;
}

static int begin(struct wipe_command *wipe, const char *path)
{
    wipe->state = medium_state_new(path, &wipe->identity, wipe->technique, wipe->verify, wipe->action);
    if (wipe->state == NULL) {
        return command_fail("out of memory, or the path of the state file is too long");
    }
    wipe->state->discard = command_option(wipe->command, "--discard") != NULL;
    wipe->state->ability_known = wipe->ability_known;
    wipe->state->ability = wipe->ability;
    return 0;
}

/* ---- telling -------------------------------------------------------------------------------------- */

static uint64_t rate_of(const struct wipe_command *wipe, uint64_t done, uint64_t now_ns)
{
    uint64_t spent_ms = (now_ns - wipe->doing_ns) / NS_PER_MS;
    return spent_ms == 0 ? 0 : (done - wipe->doing_from) * 1000 / spent_ms;
}

static void tell_json(struct wipe_command *wipe, uint64_t done, uint64_t total, bool saved)
{
    uint64_t now_ns = medium_ticks_ns();
    if (!saved && now_ns - wipe->told_ns < PROGRESS_NS && done != total) {
        return;
    }
    wipe->told_ns = now_ns;
    uint64_t rate = rate_of(wipe, done, now_ns);
    printf("{\"event\":\"%s\",\"phase\":\"%s\",\"done\":%" PRIu64 ",\"total\":%" PRIu64 ",\"per_second\":%" PRIu64
           ",\"seconds_left\":",
           saved ? "saved" : "progress", wipe->doing, done, total, rate);
    if (rate == 0) {
        printf("null}\n");
    } else {
        printf("%" PRIu64 "}\n", (total - done) / rate);
    }
    fflush(stdout);
}

static void take_progress(struct medium_wipe *running, const char *what, uint64_t done, uint64_t total, bool saved)
{
    struct wipe_command *wipe = CONTAINER_OF(running, struct wipe_command, wipe);
    if (wipe->doing == NULL || strcmp(wipe->doing, what) != 0) {
        progress_end(&wipe->progress);
        wipe->doing = what;
        wipe->doing_ns = medium_ticks_ns();
        wipe->doing_from = done;
        progress_begin(&wipe->progress, what, total, total == wipe->identity.bytes);
    }
    if (wipe->command->json) {
        tell_json(wipe, done, total, saved);
    } else {
        progress_set(&wipe->progress, done);
    }
}

static int print_plan(struct wipe_command *wipe)
{
    uint64_t rate = 0;
    struct medium_io *io;
    if (wipe->identity.kind != MEDIUM_DIRECTORY &&
        medium_open(&wipe->identity, false, &io, wipe->message) == STATUS_OK) {
        rate = medium_probe_rate(io, PROBE_MS);
        io->close(io);
    }
    json_t *plan = medium_plan(&wipe->identity, wipe->technique, wipe->why, wipe->verify, wipe->action,
                               command_option(wipe->command, "--discard") != NULL, rate, wipe->sanitize_seconds);
    if (wipe->command->json || plan == NULL) {
        return output_json(plan);
    }
    const json_t *media = json_object_get(plan, "media");
    char size[OUTPUT_SIZE_BYTES];
    output_size(wipe->identity.bytes, size);
    printf("medium      %s (%s), %s, %s\n", wipe->identity.name, medium_kind_name(wipe->identity.kind), size,
           json_is_string(json_object_get(media, "type")) ? medium_text(media, "type") : "type not known");
    printf("vendor      %s\nmodel       %s\nserial      %s\nwwn         %s\nfirmware    %s\nhidden area not known\n",
           wipe->identity.vendor[0] == '\0' ? "not known" : wipe->identity.vendor,
           wipe->identity.model[0] == '\0' ? "not known" : wipe->identity.model,
           wipe->identity.serial[0] == '\0' ? "not known" : wipe->identity.serial,
           wipe->identity.wwn[0] == '\0' ? "not known" : wipe->identity.wwn,
           wipe->identity.firmware[0] == '\0' ? "not known" : wipe->identity.firmware);
    printf("technique   %s: %s\nread back   %s\nclaim       %s\n", medium_technique_name(wipe->technique), wipe->why,
           medium_text(plan, "verification"), medium_text(plan, "statement"));
    uint64_t seconds = medium_number(plan, "estimated_seconds");
    if (seconds == UINT64_MAX) {
        printf("takes       not known\n");
    } else {
        printf("takes       about %" PRIu64 ":%02" PRIu64 " hours, by its reading speed\n", seconds / 3600,
               seconds / 60 % 60);
    }
    printf("Nothing was changed. To erase it, say --yes-erase %s\n", medium_text(plan, "repeat_to_erase"));
    json_decref(plan);
    return output_finish();
}

/* Write the report, and say how it went. */
static int report(struct wipe_command *wipe)
{
    json_t *document = medium_report(wipe->state, wipe->signer.person == NULL ? "" : wipe->signer.person);
    char *text = document == NULL ? NULL : sign(&wipe->signer, MEDIUM_REPORT_TYPE, document);
    if (text == NULL) {
        json_decref(document);
        return command_fail("the report can't be made: out of memory, or a name in it is not text");
    }
    int result = write_document(wipe->report_path, text);
    free(text);
    if (result == 0 && wipe->command->json) {
        printf("{\"event\":\"finished\",\"result\":\"%s\",\"method\":\"%s\",\"signed\":%s,\"report\":",
               medium_text(document, "result"), medium_text(json_object_get(document, "sanitization"), "method"),
               wipe->signer.person == NULL ? "false" : "true");
        json_t *path = json_string(wipe->report_path);
        json_dumpf(path, stdout, JSON_ENCODE_ANY);
        json_decref(path);
        printf("}\n");
    } else if (result == 0) {
        printf("result      %s\nclaim       %s\nreport      %s%s\n", medium_text(document, "result"),
               medium_text(document, "statement"), wipe->report_path,
               wipe->signer.person == NULL ? " (not signed: --as and --key)" : "");
    }
    json_decref(document);
    return result == 0 ? output_finish() : result;
}

/* Why it is no success, in a line. */
static int say_failure(const struct medium_state *state)
{
    if (state->failure[0] != '\0') {
        return command_fail("the medium was NOT erased: %s", state->failure);
    }
    uint64_t errors = 0;
    for (uint32_t i = 0; i < state->step_count; i++) {
        errors += state->steps[i].errors;
    }
    return command_fail("the medium was NOT erased: %" PRIu64 " blocks or commands failed, %" PRIu64
                        " blocks read back as something else, %" PRIu64 " unreadable, %" PRIu64 " labels and %" PRIu64
                        " fingerprints of before found",
                        errors, state->check.mismatch, state->check.unreadable, state->scan.label_hits,
                        state->scan.fingerprint_hits);
}

/* ---- the wipe ------------------------------------------------------------------------------------- */

static int run_wipe(struct wipe_command *wipe)
{
    enum status status;
    wipe->wipe = (struct medium_wipe){.state = wipe->state, .sanitizer = wipe->sanitizer, .progress = take_progress};
    if (wipe->identity.kind == MEDIUM_DIRECTORY) {
        status = medium_directory_run(&wipe->wipe);
    } else {
        status = medium_open(&wipe->identity, true, &wipe->wipe.io, wipe->wipe.message);
        if (status == STATUS_OK) {
            status = medium_wipe_run(&wipe->wipe);
            wipe->wipe.io->close(wipe->wipe.io);
        }
    }
    progress_end(&wipe->progress);
    if (status != STATUS_OK) {
        return command_fail("%s", wipe->wipe.message[0] == '\0' ? status_name(status) : wipe->wipe.message);
    }
    int result = report(wipe);
    return result == 0 && medium_result(wipe->state) != MEDIUM_ERASED ? say_failure(wipe->state) : result;
}

/* The state says that all was done: a report that is missing is written, of what was done then. */
static int run_nothing(struct wipe_command *wipe)
{
    if (access(wipe->report_path, F_OK) == 0 || errno != ENOENT) {
        return command_fail("%s was finished; nothing was done now; use another --state for another wipe",
                            wipe->state->path);
    }
    fprintf(stderr, "trilith: %s was finished; nothing was done now but to write its missing report\n",
            wipe->state->path);
    int result = report(wipe);
    return result == 0 && medium_result(wipe->state) != MEDIUM_ERASED ? say_failure(wipe->state) : result;
}

/* May it be erased, and did the operator name it? */
static int check_permission(struct wipe_command *wipe)
{
    const char *repeated = command_option(wipe->command, "--yes-erase");
    bool is_directory = wipe->identity.kind == MEDIUM_DIRECTORY;
    if (!is_directory && medium_check_free(&medium_system_here, &wipe->identity, wipe->message) != STATUS_OK) {
        return command_fail("%s will not be erased: %s", wipe->identity.path, wipe->message);
    }
    if (command_option(wipe->command, "--dry-run") != NULL) {
        return 0;
    }
    if (repeated == NULL || !medium_is_named(&wipe->identity, repeated)) {
        return command_fail("%s will not be erased: repeat %s with --yes-erase, so that it is surely this one",
                            wipe->identity.path, medium_name_to_repeat(&wipe->identity));
    }
    return 0;
}

/* A medium that answers nothing: all that is done is to write that down. */
static int record_dead(struct wipe_command *wipe, const char *device, const char *state_path)
{
    if (medium_identify(&medium_system_here, device, &wipe->identity, wipe->message) != STATUS_OK) {
        const char *slash = strrchr(device, '/');
        wipe->identity = (struct medium_identity){.kind = MEDIUM_DISK};
        snprintf(wipe->identity.name, sizeof(wipe->identity.name), "%.90s", slash == NULL ? device : slash + 1);
    }
    wipe->technique = MEDIUM_NOTHING;
    medium_state_free(wipe->state);
    int result = begin(wipe, state_path);
    if (result != 0) {
        return result;
    }
    wipe->state->dead = true;
    wipe->state->phase = MEDIUM_FINISHED;
    wipe->state->finished_ms = medium_now_ms();
    snprintf(wipe->state->failure, sizeof(wipe->state->failure),
             "recorded as dead: it could not be overwritten, sanitized or read back; destroy it, or rely on the "
             "destruction of its keys");
    return report(wipe);
}

static int identify(struct wipe_command *wipe)
{
    const char *directory = command_option(wipe->command, "--directory");
    bool resuming = wipe->state != NULL;
    enum status status =
        directory != NULL
            ? medium_directory_identify(directory, resuming, &wipe->identity, wipe->message)
            : medium_identify(&medium_system_here, wipe->command->arguments[0], &wipe->identity, wipe->message);
    if (status != STATUS_OK) {
        return fail(wipe);
    }
    ask_device(wipe);
    return 0;
}

static int wipe_medium(struct wipe_command *wipe, const char *state_path)
{
    int result = load_state(wipe, state_path);
    if (result == 0 && command_option(wipe->command, "--dead") != NULL) {
        return record_dead(wipe, wipe->command->arguments[0], state_path);
    }
    result = result == 0 ? identify(wipe) : result;
    result = result == 0 ? check_permission(wipe) : result;
    if (result != 0) {
        return result;
    }
    if (command_option(wipe->command, "--dry-run") != NULL) {
        result = choose_technique(wipe);
        return result == 0 ? print_plan(wipe) : result;
    }
    if (wipe->state != NULL) {
        result = resume(wipe);
    } else {
        result = choose_technique(wipe);
        result = result == 0 ? begin(wipe, state_path) : result;
    }
    if (result != 0) {
        return result;
    }
    return wipe->state->phase == MEDIUM_FINISHED ? run_nothing(wipe) : run_wipe(wipe);
}

int command_disk_wipe(struct command *command)
{
    const char *state_path = command_option(command, "--state");
    const char *verify = command_option(command, "--verify");
    const char *report_path = command_option(command, "--report");
    bool has_directory = command_option(command, "--directory") != NULL;
    struct wipe_command wipe = {.command = command, .verify = MEDIUM_FULL};
    if (state_path == NULL || strlen(state_path) >= MEDIUM_PATH_BYTES - 16) {
        return command_usage(command, "--state FILE says where to keep how far it has come");
    }
    if ((command->argument_count == 1) == has_directory) {
        return command_usage(command, "give a DEVICE, or --directory DIR");
    }
    if (has_directory && command_option(command, "--dead") != NULL) {
        return command_usage(command, "--dead is for a DEVICE, not for a --directory");
    }
    if (verify != NULL && !read_verify(verify, &wipe.verify)) {
        return command_usage(command, "\"%s\" is no read-back: full, r1-10pct, quick", verify);
    }
    if ((size_t)snprintf(wipe.report_path, sizeof(wipe.report_path), "%s%s",
                         report_path == NULL ? state_path : report_path,
                         report_path == NULL ? ".report" : "") >= sizeof(wipe.report_path) - 8) {
        return command_usage(command, "the path of the report is too long");
    }
    int result = signer_open(command, &wipe.signer);
    result = result == 0 ? wipe_medium(&wipe, state_path) : result;
    if (wipe.sanitizer != NULL) {
        wipe.sanitizer->close(wipe.sanitizer);
    }
    medium_state_free(wipe.state);
    signer_close(&wipe.signer);
    return result;
}

/* ---- countersigning ------------------------------------------------------------------------------- */

/* Read a whole text file. NULL: the user has been told. To be freed. */
static char *read_document(const char *path, size_t maximum, size_t *bytes)
{
    FILE *file = fopen(path, "re");
    char *text = file == NULL ? NULL : malloc(maximum + 1);
    if (text == NULL) {
        command_fail("%s: %s", path, strerror(errno));
        if (file != NULL) {
            fclose(file);
        }
        return NULL;
    }
    *bytes = fread(text, 1, maximum + 1, file);
    fclose(file);
    if (*bytes == 0 || *bytes > maximum) {
        command_fail("%s is empty, or longer than such a document can be (%zu bytes)", path, maximum);
        free(text);
        return NULL;
    }
    return text;
}

static bool is_decision(const char *decision)
{
    return decision != NULL &&
           (strcmp(decision, "accept") == 0 || strcmp(decision, "repeat") == 0 || strcmp(decision, "escalate") == 0);
}

/* Sign what the person decides about the report. */
static int countersign(struct command *command, const struct signer *signer, const char *text, size_t bytes)
{
    struct jws jws;
    const char *role = command_option(command, "--role");
    const char *decision = command_option(command, "--decision");
    const char *out = command_option(command, "--out");
    char path[MEDIUM_PATH_BYTES];
    role = role == NULL ? MEDIUM_VERIFIER : role;
    snprintf(path, sizeof(path), "%s.%s", command->arguments[0], role);
    int result = 0;
    if (medium_report_open(&jws, text, bytes) != STATUS_OK) {
        result = command_fail("%s is not the signed report of a wipe", command->arguments[0]);
    } else if (strcmp(jws.kid, signer->person) == 0 && strcmp(role, MEDIUM_VERIFIER) == 0) {
        result = command_fail("%s has wiped it: somebody else must verify that", signer->person);
    } else if (strcmp(decision, "accept") == 0 && strcmp(medium_text(jws.payload, "result"), "ERASED") != 0) {
        result =
            command_fail("the report's result is %s: decide repeat or escalate", medium_text(jws.payload, "result"));
    } else {
        json_t *payload = medium_decision_payload(&jws, text, bytes, role, decision, signer->person, medium_now_ms());
        char *signed_text = payload == NULL ? NULL : sign(signer, MEDIUM_DECISION_TYPE, payload);
        json_decref(payload);
        result =
            signed_text == NULL ? command_fail("out of memory") : write_document(out == NULL ? path : out, signed_text);
        free(signed_text);
        if (result == 0 && command->json) {
            result = output_json(
                json_pack("{s:s, s:s, s:s}", "file", out == NULL ? path : out, "role", role, "decision", decision));
        } else if (result == 0) {
            printf("%s: %s, signed by %s\n", out == NULL ? path : out, decision, signer->person);
        }
    }
    jws_close(&jws);
    return result;
}

int command_disk_countersign(struct command *command)
{
    const char *role = command_option(command, "--role");
    struct signer signer;
    size_t bytes;
    if (!is_decision(command_option(command, "--decision"))) {
        return command_usage(command, "--decision is accept, repeat or escalate");
    }
    if (role != NULL && strcmp(role, MEDIUM_VERIFIER) != 0 && strcmp(role, MEDIUM_VALIDATOR) != 0) {
        return command_usage(command, "--role is %s or %s", MEDIUM_VERIFIER, MEDIUM_VALIDATOR);
    }
    if (command_option(command, "--as") == NULL) {
        return command_usage(command, "--as PERSON and --key FILE say who signs");
    }
    int result = signer_open(command, &signer);
    if (result == 0) {
        char *text = read_document(command->arguments[0], MEDIUM_REPORT_BYTES_MAX, &bytes);
        result = text == NULL ? COMMAND_FAILED : countersign(command, &signer, text, bytes);
        free(text);
    }
    signer_close(&signer);
    return result;
}
