/* command_decommission.c - `disk decommission`, `node decommission`, `disk report`: asking for a disk or a node to
 * leave, and handing in what people signed about its medium. */
#include "cluster/admin.h"
#include "cluster/command.h"
#include "cluster/output.h"
#include "proto/medium_report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define WHAT_BYTES 128

static const char *request_state_name(Trilith__RequestState state)
{
    switch (state) {
    case TRILITH__REQUEST_STATE__REQUEST_OPEN:
        return "open";
    case TRILITH__REQUEST_STATE__REQUEST_RUNNING:
        return "running";
    case TRILITH__REQUEST_STATE__REQUEST_DONE:
        return "done";
    case TRILITH__REQUEST_STATE__REQUEST_CANCELLED:
        return "cancelled";
    case TRILITH__REQUEST_STATE__REQUEST_STATE_NONE:
    case _TRILITH__REQUEST_STATE_IS_INT_SIZE:
        break;
    }
    return "none";
}

/* The plan as it was signed for: whoever keeps the text can check its hash. NULL: it is not JSON. */
static json_t *plan_of(const Trilith__Request *request)
{
    return json_from_canonical((const char *)request->plan.data, request->plan.len);
}

static json_t *request_json(const Trilith__Request *request, bool dry_run)
{
    char hash[2 * SHA256_BYTES + 1] = "";
    json_t *plan = plan_of(request);
    if (request->plan_sha256.len == SHA256_BYTES) {
        hex_encode(request->plan_sha256.data, SHA256_BYTES, hash);
    }
    return json_pack("{s:o, s:s, s:s, s:s, s:s, s:o, s:i}", "id",
                     dry_run ? json_null() : json_integer((json_int_t)request->id), "subject", request->subject,
                     "state", dry_run ? "planned" : request_state_name(request->state), "stage", request->stage,
                     "plan_sha256", hash, "plan", plan == NULL ? json_null() : plan, "approvals",
                     (int)request->n_approvals);
}

static void print_list(const char *title, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        printf("%-12s", i == 0 ? title : "");
        output_text(text == NULL ? "" : text, text == NULL ? 0 : strlen(text));
        putchar('\n');
    }
}

static void print_medium(const json_t *medium)
{
    static const char *const members[] = {"manufacturer", "model", "serial", "wwn", "firmware", "interface", "device"};
    for (size_t i = 0; i < ARRAY_LENGTH(members); i++) {
        const char *text = medium_text(medium, members[i]);
        printf("%-12s", members[i]);
        if (text[0] == '\0') {
            printf("not known");
        }
        output_text(text, strlen(text));
        putchar('\n');
    }
}

static void print_plan(const Trilith__Request *request, bool dry_run)
{
    json_t *plan = plan_of(request);
    const json_t *inventory = json_object_get(plan, "inventory");
    printf("subject     %s\n", request->subject);
    if (json_is_object(json_object_get(plan, "medium"))) {
        print_medium(json_object_get(plan, "medium"));
    }
    if (inventory != NULL) {
        uint64_t chunks = medium_number(inventory, "chunks_reported");
        printf("holds       %" PRIu64 " placement groups", medium_number(inventory, "pgs"));
        if (chunks != UINT64_MAX) {
            printf(", %" PRIu64 " chunks by its node's last word", chunks);
        }
        putchar('\n');
    }
    if (medium_text(plan, "technique")[0] != '\0') {
        printf("technique   %s\n", medium_text(plan, "technique"));
    }
    print_list("steps", json_object_get(plan, "steps"));
    print_list("needs", json_object_get(plan, "people_needed"));
    print_list("waits for", json_object_get(plan, "blocks"));
    print_list("not covered", json_object_get(plan, "not_covered"));
    if (dry_run) {
        printf("Nothing was changed.\n");
    } else {
        printf("request     %" PRIu64 ", waits for the approval of two people\n", request->id);
    }
    json_decref(plan);
}

/* An option's value as protobuf-c wants it; "" when it was not given. */
static char *given(const struct command *command, const char *name)
{
    const char *value = command_option(command, name);
    return (char *)(uintptr_t)(value == NULL ? "" : value);
}

static int ask(struct command *command, Trilith__RequestKind kind)
{
    bool dry_run = command_option(command, "--dry-run") != NULL;
    bool is_disk = kind == TRILITH__REQUEST_KIND__REQUEST_DISK;
    char what[WHAT_BYTES];
    Trilith__Request request;
    Trilith__RequestCreateRequest create;
    ProtobufCMessage *message = NULL;
    trilith__request__init(&request);
    trilith__request_create_request__init(&create);
    if (command_option(command, "--reason") == NULL || command_option(command, "--destination") == NULL) {
        return command_usage(command, "--reason TEXT and --destination KIND are needed");
    }
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    request.kind = kind;
    request.subject = (char *)(uintptr_t)command->arguments[0];
    request.reason_code = given(command, "--reason");
    request.requested_by = given(command, "--requested-by");
    request.destination = given(command, "--destination");
    request.destination_details = given(command, "--destination-details");
    request.property_number = given(command, "--property-number");
    request.classification = given(command, "--classification");
    request.backup =
        command_option(command, "--backup") == NULL ? (char *)(uintptr_t) "unknown" : given(command, "--backup");
    request.backup_location = given(command, "--backup-location");
    request.dead = is_disk && command_option(command, "--dead") != NULL;
    create.request = &request;
    create.dry_run = dry_run;
    snprintf(what, sizeof(what), "%s \"%.64s\"", is_disk ? "disk" : "node", command->arguments[0]);
    enum status status = admin_call(admin, TRILITH__MESSAGE_TYPE__REQUEST_CREATE, &create.base, &message);
    const Trilith__RequestReply *reply = (const Trilith__RequestReply *)message;
    int result = 0;
    if (status != STATUS_OK || reply->request == NULL) {
        result = admin_failed(admin, status, what);
    } else if (command->json) {
        result = output_json(request_json(reply->request, dry_run));
    } else {
        print_plan(reply->request, dry_run);
        result = output_finish();
    }
    admin_reply_free(message);
    admin_close(admin);
    return result;
}

int command_disk_decommission(struct command *command)
{
    return ask(command, TRILITH__REQUEST_KIND__REQUEST_DISK);
}

int command_node_decommission(struct command *command)
{
    return ask(command, TRILITH__REQUEST_KIND__REQUEST_NODE);
}

/* ---- reports -------------------------------------------------------------------------------------- */

/* Read one of the three documents. False: the user has been told. */
static bool read_text(const char *path, size_t maximum, ProtobufCBinaryData *text)
{
    FILE *file = fopen(path, "re");
    text->data = file == NULL ? NULL : malloc(maximum + 1);
    if (text->data == NULL) {
        command_fail("%s: %s", path, strerror(errno));
    } else {
        text->len = fread(text->data, 1, maximum + 1, file);
    }
    if (file != NULL) {
        fclose(file);
    }
    if (text->data != NULL && (text->len == 0 || text->len > maximum)) {
        command_fail("%s is empty, or longer than such a document can be (%zu bytes)", path, maximum);
        return false;
    }
    return text->data != NULL;
}

static int report(struct command *command, Trilith__MediumReportRequest *request)
{
    struct admin *admin = admin_open(command);
    ProtobufCMessage *message = NULL;
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    enum status status = admin_call(admin, TRILITH__MESSAGE_TYPE__MEDIUM_REPORT, &request->base, &message);
    const Trilith__RequestReply *reply = (const Trilith__RequestReply *)message;
    int result = 0;
    if (status == STATUS_CONFLICT) {
        result = command_fail("the report was not taken: the request does not wait for one, the wipe began before the "
                              "disk was proven empty, "
                              "it is about another medium, or who verified is who wiped");
    } else if (status == STATUS_DENIED) {
        result =
            command_fail("the report was not taken: one of the three is not on record, or a signature does not verify");
    } else if (status == STATUS_INVALID) {
        result =
            command_fail("the report was not taken: one of the files is not the signed document that it is given as, "
                         "or not about this report");
    } else if (status != STATUS_OK || reply->request == NULL) {
        result = admin_failed(admin, status, "the report");
    } else if (command->json) {
        result = output_json(request_json(reply->request, false));
    } else {
        printf("request %" PRIu64 " is in stage %s\n", reply->request->id, reply->request->stage);
        result = output_finish();
    }
    admin_reply_free(message);
    admin_close(admin);
    return result;
}

int command_disk_report(struct command *command)
{
    const char *paths[3] = {command_option(command, "--report"), command_option(command, "--verification"),
                            command_option(command, "--validation")};
    Trilith__MediumReportRequest request;
    trilith__medium_report_request__init(&request);
    if (paths[0] == NULL || paths[1] == NULL || paths[2] == NULL) {
        return command_usage(command, "--report, --verification and --validation are needed");
    }
    if (!command_number(command->arguments[0], INT64_MAX, &request.request_id)) {
        return command_usage(command, "\"%s\" is not the number of a request", command->arguments[0]);
    }
    int result = COMMAND_FAILED;
    if (read_text(paths[0], MEDIUM_REPORT_BYTES_MAX, &request.report) &&
        read_text(paths[1], MEDIUM_DECISION_BYTES_MAX, &request.verification) &&
        read_text(paths[2], MEDIUM_DECISION_BYTES_MAX, &request.validation)) {
        result = report(command, &request);
    }
    free(request.report.data);
    free(request.verification.data);
    free(request.validation.data);
    return result;
}
