/* command_erase.c - erasures: what was condemned, how many copies are wiped, which disks still owe an answer. */
#include "cluster/admin.h"
#include "cluster/command.h"
#include "cluster/output.h"
#include "cluster/progress.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#define ERASURES_PER_PAGE      1000
#define WAIT_TIMEOUT_S_DEFAULT 3600
#define WAIT_TIMEOUT_S_MAX     (365u * 24 * 3600)
#define POLL_MS                100
#define NOW_TIMEOUT_S_DEFAULT  600
#define AGE_BYTES              24
#define WHAT_BYTES             96

/* What became of the keys. Chunks that were given up or found were sealed under a leaf that no version names: it is
 * punctured at the latest when its lease runs out (meta.leaf_lease). */
static const char *keys_word(const Trilith__Erasure *erasure)
{
    if (erasure->key_destroyed) {
        return "destroyed";
    }
    if (erasure->tenant_request != 0) {
        return "tenant's";
    }
    if (erasure->grace_until_ms != 0 || erasure->taken_back_ms != 0) {
        return "live";
    }
    return strcmp(erasure->reason, "abort") == 0 || strcmp(erasure->reason, "orphan") == 0 ? "lapsing" : "punctured";
}

/* "grace": the deletion can be taken back, and nothing has begun. "undone": it was taken back. "joined": what was left
 * of it is done by the erasure of its tenant. */
static const char *state_word(const Trilith__Erasure *erasure)
{
    if (erasure->tenant_request != 0) {
        return "joined";
    }
    if (erasure->taken_back_ms != 0) {
        return "undone";
    }
    return erasure->closed_ms != 0 ? "closed" : erasure->grace_until_ms != 0 ? "grace" : "open";
}

static json_t *text_or_null(const char *text)
{
    return text[0] == '\0' ? json_null() : json_string(text);
}

static json_t *erasure_json(const Trilith__Erasure *erasure)
{
    json_t *disks = json_array();
    for (size_t i = 0; i < erasure->n_open_disks; i++) {
        json_array_append_new(disks, json_integer(erasure->open_disks[i]));
    }
    json_t *value = json_pack(
        "{s:I, s:s, s:o, s:b, s:s, s:o, s:o, s:I, s:I, s:I, s:o, s:s, s:I, s:o}", "id", (json_int_t)erasure->id,
        "state", state_word(erasure), "certificate", text_or_null(erasure->certificate), "certifiable",
        erasure->certifiable ? 1 : 0, "reason", erasure->reason, "requested", output_json_time(erasure->requested_ms),
        "closed", output_json_time(erasure->closed_ms), "chunks", (json_int_t)erasure->chunks, "copies",
        (json_int_t)erasure->wipes_total, "copies_done", (json_int_t)erasure->wipes_done, "open_disks", disks, "keys",
        keys_word(erasure), "key_epoch", (json_int_t)erasure->key_epoch, "keys_destroyed",
        output_json_time(erasure->key_destroyed_ms));
    json_t *more =
        json_pack("{s:o, s:b, s:o, s:I, s:I, s:o}", "waiting", text_or_null(erasure->waiting), "held",
                  erasure->held ? 1 : 0, "grace_until", output_json_time(erasure->grace_until_ms), "object_bytes",
                  (json_int_t)erasure->bytes, "reopened", (json_int_t)erasure->reopened, "tenant_request",
                  erasure->tenant_request == 0 ? json_null() : json_integer((json_int_t)erasure->tenant_request));
    if (value == NULL || more == NULL || json_object_update(value, more) != 0) {
        json_decref(value);
        value = NULL;
    }
    json_decref(more);
    return value;
}

/* "3 d", "2 h", "41 s": how long ago, roughly. */
static void age_text(uint64_t since_ms, char text[AGE_BYTES])
{
    uint64_t now_ms = (uint64_t)time(NULL) * 1000;
    uint64_t seconds = now_ms > since_ms ? (now_ms - since_ms) / 1000 : 0;
    if (seconds >= 2 * 86400) {
        snprintf(text, AGE_BYTES, "%" PRIu64 " d", seconds / 86400);
    } else if (seconds >= 2 * 3600) {
        snprintf(text, AGE_BYTES, "%" PRIu64 " h", seconds / 3600);
    } else if (seconds >= 120) {
        snprintf(text, AGE_BYTES, "%" PRIu64 " min", seconds / 60);
    } else {
        snprintf(text, AGE_BYTES, "%" PRIu64 " s", seconds);
    }
}

static void print_erasure_title(void)
{
    printf("%-10s %-8s %-10s %8s %16s  %-10s %-24s %6s  %s\n", "ERASURE", "STATE", "REASON", "CHUNKS", "COPIES DONE",
           "KEYS", "REQUESTED", "AGE", "CERTIFICATE, OR WHAT IT WAITS FOR");
}

static void print_erasure(const Trilith__Erasure *erasure)
{
    char requested[OUTPUT_TIME_BYTES];
    char age[AGE_BYTES];
    output_time(erasure->requested_ms, requested);
    age_text(erasure->requested_ms, age);
    printf("%-10" PRIu64 " %-8s %-10s %8" PRIu32 " %7" PRIu32 " of %5" PRIu32 "  %-10s %-24s %6s  ", erasure->id,
           state_word(erasure), erasure->reason, erasure->chunks, erasure->wipes_done, erasure->wipes_total,
           keys_word(erasure), requested, age);
    if (erasure->certificate[0] != '\0') {
        output_text(erasure->certificate, strlen(erasure->certificate));
    } else if (erasure->waiting[0] != '\0') {
        output_text(erasure->waiting, strlen(erasure->waiting));
    } else if (erasure->tenant_request != 0) {
        printf("went on with request %" PRIu64, erasure->tenant_request);
    } else {
        for (size_t i = 0; i < erasure->n_open_disks; i++) {
            printf("%s%" PRIu32, i == 0 ? "disks " : " ", erasure->open_disks[i]);
        }
    }
    printf("\n");
}

/* Take a page of erasures into `list` or onto the terminal; returns the id to go on after. */
static uint64_t take_page(const Trilith__ErasureListReply *reply, json_t *list, uint64_t after_id)
{
    for (size_t i = 0; i < reply->n_erasures; i++) {
        if (list != NULL) {
            json_array_append_new(list, erasure_json(reply->erasures[i]));
        } else {
            print_erasure(reply->erasures[i]);
        }
        after_id = reply->erasures[i]->id;
    }
    return after_id;
}

int command_erase_list(struct command *command)
{
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    Trilith__ErasureListRequest request;
    trilith__erasure_list_request__init(&request);
    request.max = ERASURES_PER_PAGE;
    request.open_only = command_option(command, "--open") != NULL;
    json_t *list = command->json ? json_array() : NULL;
    if (list == NULL) {
        print_erasure_title();
    }
    bool more = true;
    enum status status = STATUS_OK;
    while (more && status == STATUS_OK) {
        ProtobufCMessage *message = NULL;
        status = admin_call(admin, TRILITH__MESSAGE_TYPE__ERASURE_LIST, &request.base, &message);
        if (status == STATUS_OK) {
            const Trilith__ErasureListReply *reply = (const Trilith__ErasureListReply *)message;
            uint64_t last = take_page(reply, list, request.after_id);
            more = reply->more && last > request.after_id;
            request.after_id = last;
        }
        admin_reply_free(message);
    }
    int result = 0;
    if (status != STATUS_OK) {
        result = admin_failed(admin, status, "list of erasures");
        json_decref(list);
    } else {
        result = list != NULL ? output_json(json_pack("{s:o}", "erasures", list)) : output_finish();
    }
    admin_close(admin);
    return result;
}

static enum status fetch_erasure(struct admin *admin, uint64_t id, ProtobufCMessage **message)
{
    Trilith__ErasureGetRequest request;
    trilith__erasure_get_request__init(&request);
    request.id = id;
    enum status status = admin_call(admin, TRILITH__MESSAGE_TYPE__ERASURE_GET, &request.base, message);
    if (status == STATUS_OK && ((const Trilith__ErasureReply *)*message)->erasure == NULL) {
        admin_reply_free(*message);
        *message = NULL;
        return STATUS_CORRUPT;
    }
    return status;
}

static int print_one(const struct command *command, const Trilith__Erasure *erasure)
{
    if (command->json) {
        return output_json(erasure_json(erasure));
    }
    print_erasure_title();
    print_erasure(erasure);
    return output_finish();
}

static int erasure_failed(const struct admin *admin, enum status status, uint64_t id)
{
    char what[64];
    snprintf(what, sizeof(what), "erasure %" PRIu64, id);
    return admin_failed(admin, status, what);
}

int command_erase_show(struct command *command)
{
    uint64_t id;
    if (!command_number(command->arguments[0], UINT64_MAX, &id)) {
        return command_usage(command, "\"%s\" is not the number of an erasure", command->arguments[0]);
    }
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    ProtobufCMessage *message = NULL;
    enum status status = fetch_erasure(admin, id, &message);
    int result = status != STATUS_OK ? erasure_failed(admin, status, id)
                                     : print_one(command, ((const Trilith__ErasureReply *)message)->erasure);
    admin_reply_free(message);
    admin_close(admin);
    return result;
}

/* Closed, and with its certificate if it is to have one. */
static bool is_finished(const Trilith__Erasure *erasure)
{
    return erasure->closed_ms != 0 && (!erasure->certifiable || erasure->certificate[0] != '\0');
}

/* What the line on the terminal says: "erasing: waits for disk 3 of node2". */
static void what_it_waits_for(const Trilith__Erasure *erasure, char what[WHAT_BYTES])
{
    const char *waiting = erasure->waiting;
    if (waiting[0] == '\0' && erasure->closed_ms != 0) {
        waiting = "its certificate";
    }
    size_t used =
        (size_t)snprintf(what, WHAT_BYTES, "erasing%s%.80s", waiting[0] == '\0' ? "" : ": waits for ", waiting);
    for (size_t i = 0; i < used && i < WHAT_BYTES; i++) {
        what[i] = (unsigned char)what[i] < 0x20 && what[i] != '\0' ? '?' : what[i];
    }
}

/* Ask until the erasure is finished or `deadline_ms` has passed. STATUS_OK: `*message` holds it, finished. STATUS_BUSY:
 * `*message` holds it, not finished. A service that is away for a moment is asked again. */
static enum status wait_until_finished(struct admin *admin, uint64_t id, uint64_t deadline_ms,
                                       ProtobufCMessage **message)
{
    struct progress progress;
    char what[WHAT_BYTES] = "erasing";
    progress_begin(&progress, what, 0, false);
    enum status status;
    for (;;) {
        status = fetch_erasure(admin, id, message);
        if (status == STATUS_OK) {
            const Trilith__Erasure *erasure = ((const Trilith__ErasureReply *)*message)->erasure;
            what_it_waits_for(erasure, what);
            progress.total = erasure->wipes_total;
            progress_set(&progress, erasure->wipes_done);
            if (is_finished(erasure)) {
                break;
            }
        } else if (status != STATUS_UNAVAILABLE && status != STATUS_TIMEOUT) {
            break;
        }
        if (admin_now_ms(admin) >= deadline_ms) {
            status = status == STATUS_OK ? STATUS_BUSY : status;
            break;
        }
        admin_reply_free(*message);
        *message = NULL;
        admin_pause(admin, POLL_MS);
    }
    progress_end(&progress);
    return status;
}

/* Why it is not finished after that time, and what to do. */
static int wait_failed(const Trilith__Erasure *erasure, uint64_t timeout_s)
{
    if (erasure->closed_ms != 0) {
        return command_fail("erasure %" PRIu64 " is closed, but has no certificate after %" PRIu64
                            " s; `trilith status` says what keeps certificates from being issued",
                            erasure->id, timeout_s);
    }
    if (erasure->grace_until_ms != 0) {
        char until[OUTPUT_TIME_BYTES];
        output_time(erasure->grace_until_ms, until);
        return command_fail(
            "erasure %" PRIu64 " has not begun after %" PRIu64 " s: the deletion can be taken back until %s%s",
            erasure->id, timeout_s, until, erasure->held ? ", and a hold keeps it from going on then" : "");
    }
    return command_fail(
        "erasure %" PRIu64 " is still open after %" PRIu64 " s: %" PRIu32 " of %" PRIu32
        " copies are accounted for%s; `trilith erase show %" PRIu64 "` says what it waits for",
        erasure->id, timeout_s, erasure->wipes_done, erasure->wipes_total,
        erasure->key_destroyed ? "" : ", and its keys go when the epoch is closed (`trilith erase now`)", erasure->id);
}

int command_erase_wait(struct command *command)
{
    uint64_t id;
    uint64_t timeout_s = WAIT_TIMEOUT_S_DEFAULT;
    if (!command_number(command->arguments[0], UINT64_MAX, &id)) {
        return command_usage(command, "\"%s\" is not the number of an erasure", command->arguments[0]);
    }
    const char *timeout = command_option(command, "--timeout");
    if (timeout != NULL && !command_number(timeout, WAIT_TIMEOUT_S_MAX, &timeout_s)) {
        return command_usage(command, "\"%s\" is not a number of seconds", timeout);
    }
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    ProtobufCMessage *message = NULL;
    enum status status = wait_until_finished(admin, id, admin_now_ms(admin) + timeout_s * 1000, &message);
    int result;
    if (status == STATUS_OK) {
        result = print_one(command, ((const Trilith__ErasureReply *)message)->erasure);
    } else if (status == STATUS_BUSY) {
        result = wait_failed(((const Trilith__ErasureReply *)message)->erasure, timeout_s);
    } else {
        result = erasure_failed(admin, status, id);
    }
    admin_reply_free(message);
    admin_close(admin);
    return result;
}

int command_erase_now(struct command *command)
{
    uint64_t timeout_s = NOW_TIMEOUT_S_DEFAULT;
    const char *timeout = command_option(command, "--timeout");
    if (timeout != NULL && (!command_number(timeout, WAIT_TIMEOUT_S_MAX, &timeout_s) || timeout_s == 0)) {
        return command_usage(command, "\"%s\" is not a number of seconds", timeout);
    }
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    ProtobufCMessage *message = NULL;
    enum status status = admin_call_within(admin, TRILITH__MESSAGE_TYPE__EPOCH_CLOSE, NULL, timeout_s * 1000, &message);
    const Trilith__EpochCloseReply *reply = (const Trilith__EpochCloseReply *)message;
    int result;
    if (status != STATUS_OK) {
        result = admin_failed(admin, status, "the close of the epoch");
    } else if (command->json) {
        result =
            output_json(json_pack("{s:I, s:I, s:I}", "epoch", (json_int_t)reply->epoch, "leaves_erased",
                                  (json_int_t)reply->leaves_erased, "duration_ms", (json_int_t)reply->duration_ms));
    } else {
        printf("epoch %" PRIu64 " is closed and its root destroyed: %" PRIu64 " keys went with it (%" PRIu64 " ms)\n",
               reply->epoch, reply->leaves_erased, reply->duration_ms);
        result = output_finish();
    }
    admin_reply_free(message);
    admin_close(admin);
    return result;
}
