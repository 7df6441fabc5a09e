/* command_hold.c - what must not go, and what can be taken back: holds and retention of versions, deletions in their
 * grace time. */
#include "cluster/admin.h"
#include "cluster/client_config.h"
#include "cluster/command.h"
#include "cluster/output.h"
#include "cluster/times.h"

#include <inttypes.h>
#include <string.h>

#define WHAT_BYTES 160

/* Read --legal and --until into the request. 0, or COMMAND_USAGE. */
static int hold_options(const struct command *command, Trilith__ObjectHoldRequest *request)
{
    const char *legal = command_option(command, "--legal");
    const char *until = command_option(command, "--until");
    const char *erasure = command_option(command, "--erasure");
    if (legal == NULL && until == NULL) {
        return command_usage(command, "say what to set: --legal on, --legal off, or --until TIME");
    }
    if (legal != NULL && strcmp(legal, "on") != 0 && strcmp(legal, "off") != 0) {
        return command_usage(command, "--legal takes on or off, not \"%s\"", legal);
    }
    if (until != NULL && !time_read(until, &request->retain_until_ms)) {
        return command_usage(command, "\"%s\" is not a time like 2027-01-31 or 2027-01-31T08:00:00Z", until);
    }
    if (erasure != NULL && (!command_number(erasure, UINT64_MAX, &request->erasure_id) || request->erasure_id == 0)) {
        return command_usage(command, "\"%s\" is not the number of an erasure", erasure);
    }
    request->set_hold = legal != NULL;
    request->legal_hold = legal != NULL && strcmp(legal, "on") == 0;
    request->set_retention = until != NULL;
    return 0;
}

static int hold_failed(const struct admin *admin, enum status status, const char *what, bool in_grace)
{
    if (status == STATUS_HELD) {
        return command_fail("%s is retained until a later time already; retention can be made longer, never shorter",
                            what);
    }
    if (status == STATUS_CONFLICT) {
        return command_fail("there is no such bucket; `trilith bucket list` lists them");
    }
    if (status == STATUS_NOT_FOUND && in_grace) {
        return command_fail("%s: nothing is in its grace time under that number (any more); `trilith erase show` says "
                            "what became of it",
                            what);
    }
    if (status == STATUS_KEY_REVOKED) {
        return command_fail("%s: its tenant is being erased; nothing of it can be held any more", what);
    }
    if (status == STATUS_INVALID) {
        return command_fail("%s: retention is at most a hundred years", what);
    }
    return admin_failed(admin, status, what);
}

static int hold_said(const struct command *command, const Trilith__ObjectHoldRequest *request, const char *what)
{
    char until[OUTPUT_TIME_BYTES];
    if (command->json) {
        return output_json(json_pack("{s:s, s:o, s:o}", "object", command->arguments[0], "legal_hold",
                                     request->set_hold ? json_boolean(request->legal_hold) : json_null(),
                                     "retain_until", output_json_time(request->retain_until_ms)));
    }
    if (request->set_hold) {
        printf("%s %s\n", what,
               request->legal_hold ? "is under legal hold: it can't be deleted or overwritten"
                                   : "is not under legal hold any more");
    }
    if (request->set_retention) {
        output_time(request->retain_until_ms, until);
        printf("%s can't be deleted or overwritten until %s\n", what, until);
    }
    return output_finish();
}

int command_hold(struct command *command)
{
    Trilith__ObjectHoldRequest request;
    trilith__object_hold_request__init(&request);
    const char *name = command->arguments[0];
    const char *slash = strchr(name, '/');
    char bucket[65] = "";
    int result = hold_options(command, &request);
    if (result != 0) {
        return result;
    }
    if (slash == NULL || slash == name || slash[1] == '\0' || (size_t)(slash - name) >= sizeof(bucket)) {
        return command_usage(command, "\"%s\" is not BUCKET/KEY", name);
    }
    memcpy(bucket, name, (size_t)(slash - name));
    request.bucket = bucket;
    request.key = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)(slash + 1), .len = strlen(slash + 1)};

    const char *tenant = command_option(command, "--tenant");
    const struct client_config *config = tenant == NULL ? command_config(command) : NULL;
    tenant = tenant == NULL && config != NULL ? config->tenant : tenant;
    struct admin *admin = tenant == NULL ? NULL : admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    char what[WHAT_BYTES];
    snprintf(what, sizeof(what), "object \"%.120s\"", name);
    ProtobufCMessage *message = NULL;
    enum status status = admin_tenant_id(admin, tenant, &request.tenant_id);
    if (status != STATUS_OK) {
        snprintf(what, sizeof(what), "tenant \"%.64s\"", tenant);
        result = admin_failed(admin, status, what);
    } else {
        status = admin_call(admin, TRILITH__MESSAGE_TYPE__OBJECT_HOLD, &request.base, &message);
        result = status == STATUS_OK ? hold_said(command, &request, what)
                                     : hold_failed(admin, status, what, request.erasure_id != 0);
    }
    admin_reply_free(message);
    admin_close(admin);
    return result;
}

static int undo_failed(const struct admin *admin, enum status status, uint64_t id)
{
    char what[64];
    snprintf(what, sizeof(what), "erasure %" PRIu64, id);
    if (status == STATUS_NOT_FOUND) {
        return command_fail(
            "%s can't be taken back: it had no grace time, or that is over; `trilith erase show %" PRIu64
            "` says what became of it",
            what, id);
    }
    if (status == STATUS_CONFLICT) {
        return command_fail(
            "%s can't be taken back: its key has a newer version; delete that first, or get it and keep "
            "it under another key",
            what);
    }
    if (status == STATUS_KEY_REVOKED) {
        return command_fail(
            "%s can't be taken back: its tenant is being erased, or that is asked for; `trilith request "
            "list` shows it",
            what);
    }
    return admin_failed(admin, status, what);
}

int command_erase_undo(struct command *command)
{
    Trilith__ErasureUndoRequest request;
    trilith__erasure_undo_request__init(&request);
    if (!command_number(command->arguments[0], UINT64_MAX, &request.id)) {
        return command_usage(command, "\"%s\" is not the number of an erasure", command->arguments[0]);
    }
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    ProtobufCMessage *message = NULL;
    enum status status = admin_call(admin, TRILITH__MESSAGE_TYPE__ERASURE_UNDO, &request.base, &message);
    int result;
    if (status != STATUS_OK) {
        result = undo_failed(admin, status, request.id);
    } else if (command->json) {
        result = output_json(json_pack("{s:I, s:b}", "id", (json_int_t)request.id, "taken_back", 1));
    } else {
        printf("erasure %" PRIu64 " is taken back: the version is where it was\n", request.id);
        result = output_finish();
    }
    admin_reply_free(message);
    admin_close(admin);
    return result;
}
