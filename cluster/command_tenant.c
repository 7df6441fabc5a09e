/* command_tenant.c - tenants, their buckets and their access keys, through the metadata service. */
#include "base/keys.h"
#include "base/seal.h"
#include "cluster/admin.h"
#include "cluster/client_config.h"
#include "cluster/command.h"
#include "cluster/output.h"
#include "cluster/request_output.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS_PER_PAGE 1000
#define GRACE_MS_MAX     (UINT64_C(90) * 24 * 3600 * 1000) /* as the metadata service has it */
#define DURATION_BYTES   24

/* The tenant a verb is about: --tenant, or the configuration's. NULL: no configuration, and the user knows. */
static const char *chosen_tenant(struct command *command)
{
    const char *tenant = command_option(command, "--tenant");
    if (tenant != NULL) {
        return tenant;
    }
    const struct client_config *config = command_config(command);
    return config == NULL ? NULL : config->tenant;
}

/* ---- tenants ----------------------------------------------------------------------------------- */

/* "erasing": its erasure is under way; "erasure asked": it waits for approvals, and the keys are off. */
static const char *tenant_state(const Trilith__Tenant *tenant)
{
    if (tenant->erased_ms != 0) {
        return "erased";
    }
    return tenant->erasing_request != 0 ? "erasing" : tenant->asked_request != 0 ? "erasure asked" : "live";
}

static json_t *tenant_json(const Trilith__Tenant *tenant)
{
    uint64_t request = tenant->erasing_request != 0 ? tenant->erasing_request : tenant->asked_request;
    return json_pack("{s:s, s:I, s:o, s:I, s:I, s:I, s:s, s:o, s:o}", "name", tenant->name, "id",
                     (json_int_t)tenant->id, "created", output_json_time(tenant->created_ms), "buckets",
                     (json_int_t)tenant->buckets, "objects", (json_int_t)tenant->objects, "object_bytes",
                     (json_int_t)tenant->object_bytes, "state", tenant_state(tenant), "erasure_request",
                     request == 0 ? json_null() : json_integer((json_int_t)request), "erased",
                     output_json_time(tenant->erased_ms));
}

static void print_tenant(const Trilith__Tenant *tenant)
{
    char created[OUTPUT_TIME_BYTES];
    char size[OUTPUT_SIZE_BYTES];
    output_time(tenant->created_ms, created);
    output_size(tenant->object_bytes, size);
    printf("%-20s %10" PRIu64 " %12" PRIu64 " %12s  %-24s  %s\n", tenant->name, tenant->buckets, tenant->objects, size,
           created, tenant_state(tenant));
}

static void print_tenant_title(void)
{
    printf("%-20s %10s %12s %12s  %-24s  %s\n", "TENANT", "BUCKETS", "OBJECTS", "SIZE", "CREATED", "STATE");
}

int command_tenant_create(struct command *command)
{
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    char what[128];
    snprintf(what, sizeof(what), "tenant \"%.64s\"", command->arguments[0]);
    Trilith__TenantCreateRequest request;
    trilith__tenant_create_request__init(&request);
    request.name = (char *)(uintptr_t)command->arguments[0];
    ProtobufCMessage *message = NULL;
    enum status status = admin_call(admin, TRILITH__MESSAGE_TYPE__TENANT_CREATE, &request.base, &message);
    int result = 0;
    const Trilith__TenantReply *reply = (const Trilith__TenantReply *)message;
    if (status != STATUS_OK || reply->tenant == NULL) {
        result = admin_failed(admin, status, what);
    } else if (command->json) {
        result = output_json(tenant_json(reply->tenant));
    } else {
        printf("%s created\n", what);
        result = output_finish();
    }
    admin_reply_free(message);
    admin_close(admin);
    return result;
}

int command_tenant_list(struct command *command)
{
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    ProtobufCMessage *message = NULL;
    enum status status = admin_call(admin, TRILITH__MESSAGE_TYPE__TENANT_LIST, NULL, &message);
    const Trilith__TenantListReply *reply = (const Trilith__TenantListReply *)message;
    int result = 0;
    if (status != STATUS_OK) {
        result = admin_failed(admin, status, "list of tenants");
    } else if (command->json) {
        json_t *tenants = json_array();
        for (size_t i = 0; i < reply->n_tenants; i++) {
            json_array_append_new(tenants, tenant_json(reply->tenants[i]));
        }
        result = output_json(json_pack("{s:o}", "tenants", tenants));
    } else {
        print_tenant_title();
        for (size_t i = 0; i < reply->n_tenants; i++) {
            print_tenant(reply->tenants[i]);
        }
        result = output_finish();
    }
    admin_reply_free(message);
    admin_close(admin);
    return result;
}

int command_tenant_show(struct command *command)
{
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    char what[128];
    snprintf(what, sizeof(what), "tenant \"%.64s\"", command->arguments[0]);
    ProtobufCMessage *message = NULL;
    enum status status = admin_call(admin, TRILITH__MESSAGE_TYPE__TENANT_LIST, NULL, &message);
    const Trilith__TenantListReply *reply = (const Trilith__TenantListReply *)message;
    const Trilith__Tenant *found = NULL;
    for (size_t i = 0; status == STATUS_OK && i < reply->n_tenants; i++) {
        if (strcmp(reply->tenants[i]->name, command->arguments[0]) == 0) {
            found = reply->tenants[i];
        }
    }
    int result = 0;
    if (found == NULL) {
        result = admin_failed(admin, status == STATUS_OK ? STATUS_NOT_FOUND : status, what);
    } else if (command->json) {
        result = output_json(tenant_json(found));
    } else {
        print_tenant_title();
        print_tenant(found);
        result = output_finish();
    }
    admin_reply_free(message);
    admin_close(admin);
    return result;
}

/* ---- erasing one ------------------------------------------------------------------------------- */

static char *option_text(const struct command *command, const char *name)
{
    const char *text = command_option(command, name);
    return (char *)(uintptr_t)(text == NULL ? "" : text);
}

static int erase_failed(const struct admin *admin, enum status status, const char *what)
{
    switch ((unsigned)status) {
    case STATUS_HELD:
        return command_fail(
            "%s can't be erased: a version of it is under legal hold or retention; `trilith hold` lifts a "
            "hold, retention ends by itself",
            what);
    case STATUS_EXISTS:
        return command_fail("the erasure of %s is asked for already; `trilith request list --open` shows it", what);
    case STATUS_NOT_FOUND:
        return command_fail("there is no %s, or it is erased already; `trilith tenant list` shows all", what);
    case STATUS_BUSY:
        return command_fail("%s has changed while its plan was made; try again", what);
    case STATUS_FULL:
        return command_fail("too many requests are open; `trilith request list --open` shows them, cancel what is not "
                            "needed");
    case STATUS_INVALID:
        return command_fail("%s: a text is over 512 bytes or has control characters", what);
    default:
        return admin_failed(admin, status, what);
    }
}

static int erase_said(const struct command *command, const Trilith__Request *request, bool dry_run)
{
    json_t *plan = NULL;
    if (command->json) {
        return output_json(request_json(request));
    }
    plan = request_plan_read(request);
    request_print(request);
    if (plan != NULL) {
        printf("plan\n");
        request_plan_print(plan);
        json_decref(plan);
    }
    if (dry_run) {
        printf("\nThis is only the plan: nothing has changed.\n");
    } else {
        printf("\nNothing is erased before two people have approved it: `trilith request approve %" PRIu64
               " --as PERSON --key FILE`.\n"
               "Until then the tenant's keys are off; `trilith request cancel %" PRIu64 "` switches them on again.\n",
               request->id, request->id);
    }
    return output_finish();
}

int command_tenant_erase(struct command *command)
{
    Trilith__Request asked;
    Trilith__RequestCreateRequest request;
    bool dry_run = command_option(command, "--dry-run") != NULL;
    const char *user = getenv("USER");
    if (command_option(command, "--reason") == NULL) {
        return command_usage(command, "--reason says why; it stands in the certificate");
    }
    trilith__request__init(&asked);
    trilith__request_create_request__init(&request);
    asked.kind = TRILITH__REQUEST_KIND__REQUEST_TENANT;
    asked.subject = (char *)(uintptr_t)command->arguments[0];
    asked.reason_code = option_text(command, "--reason");
    asked.legal_basis = option_text(command, "--legal-basis");
    asked.contract_ref = option_text(command, "--contract-ref");
    asked.requested_by = option_text(command, "--requested-by");
    if (asked.requested_by[0] == '\0' && user != NULL) {
        asked.requested_by = (char *)(uintptr_t)user;
    }
    request.request = &asked;
    request.dry_run = dry_run;
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    char what[128];
    snprintf(what, sizeof(what), "tenant \"%.64s\"", command->arguments[0]);
    ProtobufCMessage *message = NULL;
    enum status status = admin_call(admin, TRILITH__MESSAGE_TYPE__REQUEST_CREATE, &request.base, &message);
    const Trilith__RequestReply *reply = (const Trilith__RequestReply *)message;
    int result = status != STATUS_OK || reply->request == NULL
                     ? erase_failed(admin, status == STATUS_OK ? STATUS_CORRUPT : status, what)
                     : erase_said(command, reply->request, dry_run);
    admin_reply_free(message);
    admin_close(admin);
    return result;
}

/* ---- buckets ----------------------------------------------------------------------------------- */

/* "0", or a number with s, m, h or d behind it. */
static bool duration_read(const char *text, uint64_t *ms)
{
    static const char letters[] = "smhd";
    static const uint64_t units_ms[] = {1000, 60000, 3600000, 86400000};
    char digits[16];
    size_t length = strlen(text);
    const char *unit = length > 0 ? strchr(letters, text[length - 1]) : NULL;
    if (strcmp(text, "0") == 0) {
        *ms = 0;
        return true;
    }
    if (unit == NULL || length < 2 || length > sizeof(digits)) {
        return false;
    }
    memcpy(digits, text, length - 1);
    digits[length - 1] = '\0';
    uint64_t count = 0;
    uint64_t unit_ms = units_ms[unit - letters];
    if (!command_number(digits, UINT64_MAX / unit_ms, &count)) {
        return false;
    }
    *ms = count * unit_ms;
    return true;
}

/* "7 d", "90 min": in the largest unit that divides it. */
static void duration_text(uint64_t ms, char text[DURATION_BYTES])
{
    static const struct {
        uint64_t ms;
        const char *name;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "min"}, {1000, "s"}, {1, "ms"}};
    snprintf(text, DURATION_BYTES, "none");
    for (size_t i = 0; ms > 0 && i < sizeof(units) / sizeof(units[0]); i++) {
        if (ms % units[i].ms == 0) {
            snprintf(text, DURATION_BYTES, "%" PRIu64 " %s", ms / units[i].ms, units[i].name);
            return;
        }
    }
}

static const char *technique_word(Trilith__WipeTechnique technique)
{
    return technique == TRILITH__WIPE_TECHNIQUE__TECHNIQUE_DOD3 ? "dod3" : "overwrite";
}

/* What --grace and --erase say; `set` tells which of them were given. 0, or COMMAND_USAGE. */
struct bucket_rules {
    bool set_grace;
    uint64_t grace_ms;
    bool set_technique;
    Trilith__WipeTechnique technique;
};

static int bucket_rules_read(const struct command *command, struct bucket_rules *rules)
{
    const char *grace = command_option(command, "--grace");
    const char *technique = command_option(command, "--erase");
    *rules = (struct bucket_rules){.set_grace = grace != NULL, .set_technique = technique != NULL};
    if (grace != NULL && (!duration_read(grace, &rules->grace_ms) || rules->grace_ms > GRACE_MS_MAX)) {
        return command_usage(command, "\"%s\" is not a time of at most 90 days like 7d, 12h, 30m, 45s, or 0", grace);
    }
    if (technique != NULL && strcmp(technique, "overwrite") != 0 && strcmp(technique, "dod3") != 0) {
        return command_usage(command, "there is no technique \"%s\": overwrite and dod3 are", technique);
    }
    if (technique != NULL && strcmp(technique, "dod3") == 0) {
        rules->technique = TRILITH__WIPE_TECHNIQUE__TECHNIQUE_DOD3;
    }
    return 0;
}

static json_t *bucket_json(const Trilith__Bucket *bucket)
{
    return json_pack("{s:s, s:I, s:o, s:b, s:s, s:s, s:I}", "name", bucket->name, "id", (json_int_t)bucket->id,
                     "created", output_json_time(bucket->created_ms), "degraded_writes",
                     bucket->degraded_writes ? 1 : 0, "suite", suite_name((enum suite)bucket->suite), "erase",
                     technique_word(bucket->technique), "grace_ms", (json_int_t)bucket->grace_ms);
}

static void print_bucket(const Trilith__Bucket *bucket)
{
    char created[OUTPUT_TIME_BYTES];
    char grace[DURATION_BYTES];
    output_time(bucket->created_ms, created);
    duration_text(bucket->grace_ms, grace);
    printf("%-40s %-12s %-16s %-10s %-8s %s\n", bucket->name, suite_name((enum suite)bucket->suite),
           bucket->degraded_writes ? "two copies" : "refused", technique_word(bucket->technique), grace, created);
}

static void print_bucket_title(void)
{
    printf("%-40s %-12s %-16s %-10s %-8s %s\n", "BUCKET", "SUITE", "WHEN DEGRADED", "ERASED BY", "GRACE", "CREATED");
}

/* A bucket verb's common beginning: the connection and the tenant's number. NULL: the user has been told; `*result` is
 * the exit status. */
static struct admin *open_for_tenant(struct command *command, uint64_t *tenant_id, int *result)
{
    *result = COMMAND_USAGE;
    const char *tenant = chosen_tenant(command);
    if (tenant == NULL) {
        return NULL;
    }
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return NULL;
    }
    enum status status = admin_tenant_id(admin, tenant, tenant_id);
    if (status == STATUS_OK) {
        return admin;
    }
    char what[128];
    snprintf(what, sizeof(what), "tenant \"%.64s\"", tenant);
    *result = admin_failed(admin, status, what);
    admin_close(admin);
    return NULL;
}

/* Send a request that is answered with a bucket, and print it. `said` follows the name for people; NULL: a table. */
static int call_for_bucket(struct command *command, struct admin *admin, uint16_t type, const ProtobufCMessage *request,
                           const char *said)
{
    char what[128];
    snprintf(what, sizeof(what), "bucket \"%.64s\"", command->arguments[0]);
    ProtobufCMessage *message = NULL;
    enum status status = admin_call(admin, type, request, &message);
    const Trilith__BucketReply *reply = (const Trilith__BucketReply *)message;
    int result = 0;
    if (status != STATUS_OK || reply->bucket == NULL) {
        result = admin_failed(admin, status, what);
    } else if (command->json) {
        result = output_json(bucket_json(reply->bucket));
    } else if (said != NULL) {
        printf("%s %s\n", what, said);
        result = output_finish();
    } else {
        print_bucket_title();
        print_bucket(reply->bucket);
        result = output_finish();
    }
    admin_reply_free(message);
    return result;
}

int command_bucket_create(struct command *command)
{
    Trilith__BucketCreateRequest request;
    trilith__bucket_create_request__init(&request);
    const char *suite_text = command_option(command, "--suite");
    enum suite suite = SUITE_AES_256_GCM;
    if (suite_text != NULL && !suite_from_name(suite_text, &suite)) {
        return command_usage(command, "there is no suite \"%s\": aes-256-gcm and sm4-gcm are", suite_text);
    }
    request.suite = (uint32_t)suite;
    struct bucket_rules rules;
    int result = bucket_rules_read(command, &rules);
    if (result != 0) {
        return result;
    }
    request.technique = rules.technique;
    request.grace_ms = rules.grace_ms;
    struct admin *admin = open_for_tenant(command, &request.tenant_id, &result);
    if (admin == NULL) {
        return result;
    }
    request.name = (char *)(uintptr_t)command->arguments[0];
    request.degraded_writes = command_option(command, "--degraded-writes") != NULL;
    result = call_for_bucket(command, admin, TRILITH__MESSAGE_TYPE__BUCKET_CREATE, &request.base, "created");
    admin_close(admin);
    return result;
}

int command_bucket_set(struct command *command)
{
    Trilith__BucketSetRequest request;
    struct bucket_rules rules;
    trilith__bucket_set_request__init(&request);
    int result = bucket_rules_read(command, &rules);
    if (result != 0) {
        return result;
    }
    if (!rules.set_grace && !rules.set_technique) {
        return command_usage(command, "say what to set: --grace DURATION or --erase TECHNIQUE");
    }
    struct admin *admin = open_for_tenant(command, &request.tenant_id, &result);
    if (admin == NULL) {
        return result;
    }
    request.name = (char *)(uintptr_t)command->arguments[0];
    request.set_grace = rules.set_grace;
    request.grace_ms = rules.grace_ms;
    request.set_technique = rules.set_technique;
    request.technique = rules.technique;
    result = call_for_bucket(command, admin, TRILITH__MESSAGE_TYPE__BUCKET_SET, &request.base, NULL);
    admin_close(admin);
    return result;
}

int command_bucket_show(struct command *command)
{
    Trilith__BucketGetRequest request;
    trilith__bucket_get_request__init(&request);
    int result = 0;
    struct admin *admin = open_for_tenant(command, &request.tenant_id, &result);
    if (admin == NULL) {
        return result;
    }
    request.name = (char *)(uintptr_t)command->arguments[0];
    result = call_for_bucket(command, admin, TRILITH__MESSAGE_TYPE__BUCKET_GET, &request.base, NULL);
    admin_close(admin);
    return result;
}

int command_bucket_delete(struct command *command)
{
    Trilith__BucketDeleteRequest request;
    trilith__bucket_delete_request__init(&request);
    int result = 0;
    struct admin *admin = open_for_tenant(command, &request.tenant_id, &result);
    if (admin == NULL) {
        return result;
    }
    char what[128];
    snprintf(what, sizeof(what), "bucket \"%.64s\"", command->arguments[0]);
    request.name = (char *)(uintptr_t)command->arguments[0];
    ProtobufCMessage *message = NULL;
    enum status status = admin_call(admin, TRILITH__MESSAGE_TYPE__BUCKET_DELETE, &request.base, &message);
    if (status != STATUS_OK) {
        result = admin_failed(admin, status, what);
    } else if (command->json) {
        result = output_json(json_pack("{s:s}", "deleted", command->arguments[0]));
    } else {
        printf("%s deleted\n", what);
        result = output_finish();
    }
    admin_reply_free(message);
    admin_close(admin);
    return result;
}

/* Take one page of buckets into `list` or onto the terminal, and the name to go on after. */
static void take_bucket_page(const Trilith__BucketListReply *reply, json_t *list, char *after, size_t after_bytes)
{
    for (size_t i = 0; i < reply->n_buckets; i++) {
        if (list != NULL) {
            json_array_append_new(list, bucket_json(reply->buckets[i]));
        } else {
            print_bucket(reply->buckets[i]);
        }
        snprintf(after, after_bytes, "%s", reply->buckets[i]->name);
    }
}

int command_bucket_list(struct command *command)
{
    Trilith__BucketListRequest request;
    trilith__bucket_list_request__init(&request);
    int result = 0;
    struct admin *admin = open_for_tenant(command, &request.tenant_id, &result);
    if (admin == NULL) {
        return result;
    }
    json_t *list = command->json ? json_array() : NULL;
    if (list == NULL) {
        print_bucket_title();
    }
    char after[256] = "";
    request.start_after = after;
    request.max = BUCKETS_PER_PAGE;
    bool more = true;
    enum status status = STATUS_OK;
    while (more && status == STATUS_OK) {
        ProtobufCMessage *message = NULL;
        status = admin_call(admin, TRILITH__MESSAGE_TYPE__BUCKET_LIST, &request.base, &message);
        if (status == STATUS_OK) {
            const Trilith__BucketListReply *reply = (const Trilith__BucketListReply *)message;
            take_bucket_page(reply, list, after, sizeof(after));
            more = reply->truncated && reply->n_buckets > 0;
        }
        admin_reply_free(message);
    }
    if (status != STATUS_OK) {
        result = admin_failed(admin, status, "list of buckets");
        json_decref(list);
    } else {
        result = list != NULL ? output_json(json_pack("{s:o}", "buckets", list)) : output_finish();
    }
    admin_close(admin);
    return result;
}

/* ---- credentials ------------------------------------------------------------------------------- */

int command_credential_create(struct command *command)
{
    const char *role = command_option(command, "--role");
    if (role == NULL) {
        role = "viewer";
    }
    if (strcmp(role, "owner") != 0 && strcmp(role, "editor") != 0 && strcmp(role, "viewer") != 0) {
        return command_usage(command, "there is no role \"%s\": it is owner, editor or viewer", role);
    }
    const char *tenant = chosen_tenant(command);
    struct admin *admin = tenant == NULL ? NULL : admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    Trilith__CredentialCreateRequest request;
    trilith__credential_create_request__init(&request);
    request.tenant = (char *)(uintptr_t)tenant;
    request.role = (char *)(uintptr_t)role;
    char what[128];
    snprintf(what, sizeof(what), "tenant \"%.64s\"", tenant);
    ProtobufCMessage *message = NULL;
    enum status status = admin_call(admin, TRILITH__MESSAGE_TYPE__CREDENTIAL_CREATE, &request.base, &message);
    const Trilith__CredentialCreateReply *reply = (const Trilith__CredentialCreateReply *)message;
    int result = 0;
    if (status != STATUS_OK) {
        result = admin_failed(admin, status, what);
    } else if (command->json) {
        result = output_json(json_pack("{s:s, s:s, s:s, s:s}", "access_key", reply->access_key, "secret_key",
                                       reply->secret_key, "role", role, "tenant", tenant));
    } else {
        printf("access_key = %s\nsecret_key = %s\n", reply->access_key, reply->secret_key);
        result = output_finish();
    }
    if (reply != NULL) {
        wipe_memory(reply->secret_key, strlen(reply->secret_key));
    }
    admin_reply_free(message);
    admin_close(admin);
    return result;
}

static int print_credentials(const struct command *command, const Trilith__CredentialListReply *reply)
{
    json_t *list = command->json ? json_array() : NULL;
    if (list == NULL) {
        printf("%-32s %-8s %s\n", "ACCESS KEY", "ROLE", "CREATED");
    }
    for (size_t i = 0; i < reply->n_credentials; i++) {
        const Trilith__Credential *credential = reply->credentials[i];
        if (list != NULL) {
            json_array_append_new(list,
                                  json_pack("{s:s, s:s, s:o}", "access_key", credential->access_key, "role",
                                            credential->role, "created", output_json_time(credential->created_ms)));
            continue;
        }
        char created[OUTPUT_TIME_BYTES];
        output_time(credential->created_ms, created);
        printf("%-32s %-8s %s\n", credential->access_key, credential->role, created);
    }
    return list != NULL ? output_json(json_pack("{s:o}", "credentials", list)) : output_finish();
}

int command_credential_list(struct command *command)
{
    const char *tenant = chosen_tenant(command);
    struct admin *admin = tenant == NULL ? NULL : admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    Trilith__CredentialListRequest request;
    trilith__credential_list_request__init(&request);
    request.tenant = (char *)(uintptr_t)tenant;
    char what[128];
    snprintf(what, sizeof(what), "tenant \"%.64s\"", tenant);
    ProtobufCMessage *message = NULL;
    enum status status = admin_call(admin, TRILITH__MESSAGE_TYPE__CREDENTIAL_LIST, &request.base, &message);
    int result = status != STATUS_OK ? admin_failed(admin, status, what)
                                     : print_credentials(command, (const Trilith__CredentialListReply *)message);
    admin_reply_free(message);
    admin_close(admin);
    return result;
}

int command_credential_revoke(struct command *command)
{
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    char what[128];
    snprintf(what, sizeof(what), "access key \"%.64s\"", command->arguments[0]);
    Trilith__CredentialRevokeRequest request;
    trilith__credential_revoke_request__init(&request);
    request.access_key = (char *)(uintptr_t)command->arguments[0];
    ProtobufCMessage *message = NULL;
    enum status status = admin_call(admin, TRILITH__MESSAGE_TYPE__CREDENTIAL_REVOKE, &request.base, &message);
    int result = 0;
    if (status != STATUS_OK) {
        result = admin_failed(admin, status, what);
    } else if (command->json) {
        result = output_json(json_pack("{s:s}", "revoked", command->arguments[0]));
    } else {
        printf("%s revoked; gateways forget it within their lease\n", what);
        result = output_finish();
    }
    admin_reply_free(message);
    admin_close(admin);
    return result;
}
