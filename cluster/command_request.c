/* command_request.c - what needs two people: looking at requests, approving them, waiting for what follows. */
#include "cluster/admin.h"
#include "cluster/command.h"
#include "cluster/output.h"
#include "cluster/person_key.h"
#include "cluster/progress.h"
#include "cluster/request_output.h"
#include "proto/approval.h"

#include "base/digest.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WAIT_TIMEOUT_S_DEFAULT (7u * 24 * 3600)
#define WAIT_TIMEOUT_S_MAX     (365u * 24 * 3600)
#define POLL_MS                500
#define WHAT_BYTES             96

static int request_number(const struct command *command, uint64_t *id)
{
    if (command_number(command->arguments[0], UINT64_MAX, id)) {
        return 0;
    }
    return command_usage(command, "\"%s\" is not the number of a request; `trilith request list` shows them",
                         command->arguments[0]);
}

static int request_failed(const struct admin *admin, enum status status, uint64_t id)
{
    char what[64];
    snprintf(what, sizeof(what), "request %" PRIu64, id);
    return admin_failed(admin, status, what);
}

/* A call that is answered with a request. On STATUS_OK `*message` holds it. */
static enum status call_for_request(struct admin *admin, uint16_t type, const ProtobufCMessage *request,
                                    ProtobufCMessage **message)
{
    enum status status = admin_call(admin, type, request, message);
    if (status == STATUS_OK && ((const Trilith__RequestReply *)*message)->request == NULL) {
        admin_reply_free(*message);
        *message = NULL;
        return STATUS_CORRUPT;
    }
    return status;
}

static enum status fetch_request(struct admin *admin, uint64_t id, ProtobufCMessage **message)
{
    Trilith__RequestGetRequest request;
    trilith__request_get_request__init(&request);
    request.id = id;
    return call_for_request(admin, TRILITH__MESSAGE_TYPE__REQUEST_GET, &request.base, message);
}

static const Trilith__Request *request_of(const ProtobufCMessage *message)
{
    return ((const Trilith__RequestReply *)message)->request;
}

/* ---- looking ----------------------------------------------------------------------------------- */

int command_request_list(struct command *command)
{
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    Trilith__RequestListRequest request;
    trilith__request_list_request__init(&request);
    request.open_only = command_option(command, "--open") != NULL;
    ProtobufCMessage *message = NULL;
    enum status status = admin_call(admin, TRILITH__MESSAGE_TYPE__REQUEST_LIST, &request.base, &message);
    const Trilith__RequestListReply *reply = (const Trilith__RequestListReply *)message;
    int result = 0;
    if (status != STATUS_OK) {
        result = admin_failed(admin, status, "list of requests");
    } else if (command->json) {
        json_t *list = json_array();
        for (size_t i = 0; i < reply->n_requests; i++) {
            json_array_append_new(list, request_json(reply->requests[i]));
        }
        result = output_json(json_pack("{s:o}", "requests", list));
    } else {
        request_print_title();
        for (size_t i = 0; i < reply->n_requests; i++) {
            request_print_line(reply->requests[i]);
        }
        result = output_finish();
    }
    admin_reply_free(message);
    admin_close(admin);
    return result;
}

int command_request_show(struct command *command)
{
    uint64_t id = 0;
    int result = request_number(command, &id);
    if (result != 0) {
        return result;
    }
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    ProtobufCMessage *message = NULL;
    enum status status = fetch_request(admin, id, &message);
    if (status != STATUS_OK) {
        result = request_failed(admin, status, id);
    } else if (command->json) {
        result = output_json(request_json(request_of(message)));
    } else {
        json_t *plan = request_plan_read(request_of(message));
        request_print(request_of(message));
        printf("plan\n");
        if (plan != NULL) {
            request_plan_print(plan);
        } else {
            printf("  it is not the one that its hash names; nobody should approve it\n");
        }
        json_decref(plan);
        result = output_finish();
    }
    admin_reply_free(message);
    admin_close(admin);
    return result;
}

/* ---- approving --------------------------------------------------------------------------------- */

static int approve_failed(const struct admin *admin, enum status status, uint64_t id, const char *person)
{
    switch ((unsigned)status) {
    case STATUS_DENIED:
        return command_fail(
            "\"%s\" may not approve: no such person is on record with this key (any more); `trilith person "
            "list` shows who is",
            person);
    case STATUS_EXISTS:
        return command_fail("\"%s\" has approved request %" PRIu64 " already; the second approval has to come from "
                            "another person, with another key",
                            person, id);
    case STATUS_CONFLICT:
        return command_fail("request %" PRIu64 " can't be approved any more: it runs, is done, was cancelled, or has "
                            "expired; `trilith request show %" PRIu64 "` says which",
                            id, id);
    case STATUS_HELD:
        return command_fail("request %" PRIu64 " can't begin: a legal hold or retention forbids it; lift the hold, or "
                            "approve when retention is over",
                            id);
    default:
        return request_failed(admin, status, id);
    }
}

/* The signed approval of what is shown; NULL: the user has been told why there is none. To be freed with free(). */
static char *approval_sign(const Trilith__Request *request, const char *person, const char *key_path)
{
    struct key_pool *pool = key_pool_open(1);
    struct key *seed = pool == NULL ? NULL : key_take(pool);
    json_t *payload = approval_payload(request, person, (uint64_t)time(NULL) * 1000);
    char *jws = NULL;
    if (seed == NULL || payload == NULL) {
        command_fail("out of memory");
    } else if (person_key_read(key_path, seed) == 0) {
        jws = jws_sign(APPROVAL_TYPE, person, seed, payload);
        if (jws == NULL) {
            command_fail("\"%s\" can't stand in an approval: a name is short, printable UTF-8", person);
        }
    }
    json_decref(payload);
    key_release(pool, seed);
    if (pool != NULL) {
        key_pool_close(pool);
    }
    return jws;
}

/* Show what is going to be approved: on stderr when stdout is for a script. False: it must not be. */
static bool approval_show(const struct command *command, const Trilith__Request *request)
{
    json_t *plan = request_plan_read(request);
    if (plan == NULL) {
        command_fail("the plan that the metadata service shows is not the one that its hash names: nothing was signed");
        return false;
    }
    if (!command->json) {
        request_print(request);
        printf("plan\n");
        request_plan_print(plan);
        fflush(stdout);
    }
    json_decref(plan);
    return true;
}

/* Is it the plan that the person has looked at before, if they said which that was? */
static int plan_is_expected(const struct command *command, const Trilith__Request *request)
{
    const char *expected = command_option(command, "--plan");
    uint8_t hash[SHA256_BYTES];
    if (expected == NULL) {
        return 0;
    }
    if (!hex_decode(expected, strlen(expected), hash, sizeof(hash))) {
        return command_usage(command, "\"%s\" is not a SHA-256 in hex", expected);
    }
    return request->plan_sha256.len == sizeof(hash) && memcmp(hash, request->plan_sha256.data, sizeof(hash)) == 0
               ? 0
               : command_fail("request %" PRIu64 " has another plan than the one you named: nothing was signed",
                              request->id);
}

static int approve(struct command *command, struct admin *admin, const Trilith__Request *shown, const char *person)
{
    Trilith__RequestApproveRequest request;
    ProtobufCMessage *message = NULL;
    char *jws = approval_sign(shown, person, command_option(command, "--key"));
    if (jws == NULL) {
        return COMMAND_FAILED;
    }
    trilith__request_approve_request__init(&request);
    request.id = shown->id;
    request.jws = (ProtobufCBinaryData){.data = (uint8_t *)jws, .len = strlen(jws)};
    enum status status = call_for_request(admin, TRILITH__MESSAGE_TYPE__REQUEST_APPROVE, &request.base, &message);
    int result = 0;
    if (status != STATUS_OK) {
        result = approve_failed(admin, status, shown->id, person);
    } else if (command->json) {
        result = output_json(request_json(request_of(message)));
    } else {
        bool runs = request_of(message)->state == TRILITH__REQUEST_STATE__REQUEST_RUNNING;
        printf("\n%s has approved request %" PRIu64 "%s\n", person, shown->id,
               runs ? ": it runs; `trilith request wait` follows it" : ": one more approval is needed");
        result = output_finish();
    }
    admin_reply_free(message);
    free(jws);
    return result;
}

int command_request_approve(struct command *command)
{
    uint64_t id = 0;
    const char *person = command_option(command, "--as");
    int result = request_number(command, &id);
    if (result != 0) {
        return result;
    }
    if (person == NULL || command_option(command, "--key") == NULL) {
        return command_usage(command, "--as names the person, --key the file with their private key");
    }
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    ProtobufCMessage *message = NULL;
    enum status status = fetch_request(admin, id, &message);
    if (status != STATUS_OK) {
        result = request_failed(admin, status, id);
    } else if (!approval_show(command, request_of(message))) {
        result = COMMAND_FAILED;
    } else {
        result = plan_is_expected(command, request_of(message));
        result = result == 0 ? approve(command, admin, request_of(message), person) : result;
    }
    admin_reply_free(message);
    admin_close(admin);
    return result;
}

/* ---- cancelling -------------------------------------------------------------------------------- */

int command_request_cancel(struct command *command)
{
    Trilith__RequestGetRequest request;
    trilith__request_get_request__init(&request);
    int result = request_number(command, &request.id);
    if (result != 0) {
        return result;
    }
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    ProtobufCMessage *message = NULL;
    enum status status = call_for_request(admin, TRILITH__MESSAGE_TYPE__REQUEST_CANCEL, &request.base, &message);
    if (status == STATUS_CONFLICT) {
        result = command_fail("request %" PRIu64 " can't be cancelled any more; `trilith request show %" PRIu64
                              "` says how far it has come",
                              request.id, request.id);
    } else if (status != STATUS_OK) {
        result = request_failed(admin, status, request.id);
    } else if (command->json) {
        result = output_json(request_json(request_of(message)));
    } else {
        printf("request %" PRIu64 " is cancelled\n", request.id);
        result = output_finish();
    }
    admin_reply_free(message);
    admin_close(admin);
    return result;
}

/* ---- waiting ----------------------------------------------------------------------------------- */

static bool is_over(const Trilith__Request *request)
{
    return request->state == TRILITH__REQUEST_STATE__REQUEST_DONE ||
           request->state == TRILITH__REQUEST_STATE__REQUEST_CANCELLED;
}

/* Draw how far it has come. Rate and time left are those of the stage: each counts something else. */
static void progress_follow(struct progress *progress, char what[WHAT_BYTES], const Trilith__Request *request)
{
    char now[WHAT_BYTES];
    bool open = request->state == TRILITH__REQUEST_STATE__REQUEST_OPEN;
    snprintf(now, sizeof(now), "%.60s: %.20s", request->subject, open ? "waits for approval" : request->stage);
    for (size_t i = 0; now[i] != '\0'; i++) {
        now[i] = (unsigned char)now[i] < 0x20 || now[i] == 0x7f ? '?' : now[i];
    }
    if (strcmp(now, what) != 0) {
        progress_end(progress);
        memcpy(what, now, WHAT_BYTES);
        progress_begin(progress, what, request->total, false);
    }
    progress->total = request->total;
    progress_set(progress, request->done);
}

/* Ask until it is over or the time is. STATUS_BUSY: it is not over. A service that is away for a moment is asked
 * again. */
static enum status wait_until_over(struct admin *admin, uint64_t id, uint64_t deadline_ms, ProtobufCMessage **message)
{
    struct progress progress;
    char what[WHAT_BYTES] = "";
    enum status status;
    progress_begin(&progress, what, 0, false);
    for (;;) {
        status = fetch_request(admin, id, message);
        if (status == STATUS_OK) {
            progress_follow(&progress, what, request_of(*message));
            if (is_over(request_of(*message))) {
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

static int wait_over(const struct command *command, const Trilith__Request *request)
{
    bool done = request->state == TRILITH__REQUEST_STATE__REQUEST_DONE;
    int result = 0;
    if (command->json) {
        result = output_json(request_json(request));
    } else if (done) {
        printf("request %" PRIu64 " is done, certificate %s\n", request->id, request->certificate);
        result = output_finish();
    }
    return done ? result : command_fail("request %" PRIu64 " was cancelled", request->id);
}

int command_request_wait(struct command *command)
{
    uint64_t id = 0;
    uint64_t timeout_s = WAIT_TIMEOUT_S_DEFAULT;
    const char *timeout = command_option(command, "--timeout");
    int result = request_number(command, &id);
    if (result != 0) {
        return result;
    }
    if (timeout != NULL && !command_number(timeout, WAIT_TIMEOUT_S_MAX, &timeout_s)) {
        return command_usage(command, "\"%s\" is not a number of seconds", timeout);
    }
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    ProtobufCMessage *message = NULL;
    enum status status = wait_until_over(admin, id, admin_now_ms(admin) + timeout_s * 1000, &message);
    if (status == STATUS_OK) {
        result = wait_over(command, request_of(message));
    } else if (status == STATUS_BUSY) {
        const Trilith__Request *request = request_of(message);
        bool erases = request->erasure_id != 0;
        result = command_fail("request %" PRIu64 " is not over after %" PRIu64 " s: it is %s, stage %s, %" PRIu64
                              " of %" PRIu64 "; `trilith %s show %" PRIu64 "` says %s",
                              id, timeout_s, request_state_word(request->state), request->stage, request->done,
                              request->total, erases ? "erase" : "request", erases ? request->erasure_id : id,
                              erases ? "which disks it waits for" : "more");
    } else {
        result = request_failed(admin, status, id);
    }
    admin_reply_free(message);
    admin_close(admin);
    return result;
}
