/* command_key.c - the keys of a tenant: its master key (CMK), which the KMS holds, and its data keys (DEK).
 *
 * A customer's own master key is encrypted here, to the transport key that the KMS shows: the metadata service sees it
 * in clear only as far as the KMS does. No verb prints a secret. */
#include "base/digest.h"
#include "base/keys.h"
#include "base/transport.h"
#include "cluster/admin.h"
#include "cluster/client_config.h"
#include "cluster/command.h"
#include "cluster/output.h"
#include "cluster/progress.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_CHANGE_MS          60000 /* a change may need many calls to a slow HSM */
#define WAIT_TIMEOUT_S_DEFAULT (30u * 24 * 3600)
#define WAIT_TIMEOUT_S_MAX     (365u * 24 * 3600)
#define POLL_MS                250
#define HEX_DIGITS             (2 * KEY_BYTES)

_Static_assert(TRANSPORT_WRAPPED_BYTES_MAX >= HEX_DIGITS + 2, "one buffer holds either form of a key file");

/* The tenant a verb is about: argument `at` when there is one, else --tenant, else the configuration's. NULL: the user
 * has been told. */
static const char *tenant_of(struct command *command, unsigned at)
{
    if (command->argument_count > at) {
        return command->arguments[at];
    }
    const char *tenant = command_option(command, "--tenant");
    if (tenant != NULL) {
        return tenant;
    }
    const struct client_config *config = command_config(command);
    return config == NULL ? NULL : config->tenant;
}

static int key_failed(const struct admin *admin, enum status status, const char *tenant)
{
    char what[128];
    snprintf(what, sizeof(what), "tenant \"%.64s\"", tenant);
    switch (status) {
    case STATUS_BUSY:
        return command_fail("%s: a change of its keys is under way, or too many are; try again in a moment", what);
    case STATUS_CONFLICT:
        return command_fail("%s: its erasure is asked for or under way (`trilith request list`), or its keys were "
                            "changed by somebody else meanwhile (`trilith key show`)",
                            what);
    case STATUS_FULL:
        return command_fail("%s: too many data keys are still retiring; wait until their objects are sealed anew",
                            what);
    default:
        return admin_failed(admin, status, what);
    }
}

/* ---- output ------------------------------------------------------------------------------------ */

static json_t *data_key_json(const Trilith__DataKey *key)
{
    return json_pack("{s:I, s:s, s:o, s:o, s:o, s:b, s:I, s:I, s:I}", "version", (json_int_t)key->version, "state",
                     key->state, "created", output_json_time(key->created_ms), "retired",
                     output_json_time(key->retired_ms), "destroyed", output_json_time(key->destroyed_ms),
                     "beyond_recovery", key->beyond_recovery ? 1 : 0, "objects", (json_int_t)key->objects,
                     "object_bytes", (json_int_t)key->object_bytes, "credentials", (json_int_t)key->credentials);
}

static json_t *keys_json(const Trilith__KeyShowReply *reply)
{
    json_t *keys = json_array();
    for (size_t i = 0; i < reply->n_data_keys; i++) {
        json_array_append_new(keys, data_key_json(reply->data_keys[i]));
    }
    return json_pack("{s:s, s:s, s:o, s:{s:s, s:s, s:o}, s:o, s:{s:I, s:I}}", "tenant", reply->tenant, "state",
                     reply->revoked ? "revoked" : "enabled", "since", output_json_time(reply->state_ms), "cmk", "name",
                     reply->cmk, "origin", reply->cmk_origin, "since", output_json_time(reply->cmk_ms), "data_keys",
                     keys, "reseal", "objects", (json_int_t)reply->reseal_objects, "object_bytes",
                     (json_int_t)reply->reseal_bytes);
}

static void print_keys(const Trilith__KeyShowReply *reply)
{
    char since[OUTPUT_TIME_BYTES];
    output_time(reply->cmk_ms, since);
    printf("tenant      %s\n", reply->tenant);
    printf("access      %s\n", reply->revoked ? "REVOKED: nothing of this tenant can be read or written" : "enabled");
    printf("master key  %s, %s, since %s\n", reply->cmk, reply->cmk_origin, since);
    if (reply->reseal_objects > 0) {
        char size[OUTPUT_SIZE_BYTES];
        output_size(reply->reseal_bytes, size);
        printf("to reseal   %" PRIu64 " objects, %s, under data keys that were rotated out\n", reply->reseal_objects,
               size);
    }
    printf("\n%-9s %-10s %12s %12s %12s  %-24s  %s\n", "DATA KEY", "STATE", "OBJECTS", "SIZE", "CREDENTIALS", "CREATED",
           "DESTROYED");
    for (size_t i = 0; i < reply->n_data_keys; i++) {
        const Trilith__DataKey *key = reply->data_keys[i];
        char size[OUTPUT_SIZE_BYTES];
        char created[OUTPUT_TIME_BYTES];
        char destroyed[OUTPUT_TIME_BYTES] = "-";
        output_size(key->object_bytes, size);
        output_time(key->created_ms, created);
        if (key->destroyed_ms != 0) {
            output_time(key->destroyed_ms, destroyed);
        }
        printf("%-9" PRIu32 " %-10s %12" PRIu64 " %12s %12" PRIu32 "  %-24s  %s%s\n", key->version, key->state,
               key->objects, size, key->credentials, created, destroyed,
               key->destroyed_ms == 0 ? ""
               : key->beyond_recovery ? ", beyond recovery"
                                      : ", until the epoch is closed it still stands in the vault");
    }
}

/* ---- show and change --------------------------------------------------------------------------- */

/* Send a request that is answered with the tenant's keys, and print them. `said` is one line before; NULL: none. */
static int call_for_keys(struct command *command, struct admin *admin, uint16_t type, const ProtobufCMessage *request,
                         const char *tenant, const char *said)
{
    ProtobufCMessage *message = NULL;
    enum status status = admin_call_within(admin, type, request, KEY_CHANGE_MS, &message);
    int result = 0;
    if (status != STATUS_OK) {
        result = key_failed(admin, status, tenant);
    } else if (command->json) {
        result = output_json(keys_json((const Trilith__KeyShowReply *)message));
    } else {
        if (said != NULL) {
            printf("%s\n\n", said);
        }
        print_keys((const Trilith__KeyShowReply *)message);
        result = output_finish();
    }
    admin_reply_free(message);
    return result;
}

int command_key_show(struct command *command)
{
    const char *tenant = tenant_of(command, 0);
    struct admin *admin = tenant == NULL ? NULL : admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    Trilith__KeyShowRequest request;
    trilith__key_show_request__init(&request);
    request.tenant = (char *)(uintptr_t)tenant;
    int result = call_for_keys(command, admin, TRILITH__MESSAGE_TYPE__KEY_SHOW, &request.base, tenant, NULL);
    admin_close(admin);
    return result;
}

static int set_state(struct command *command, bool revoked, const char *said)
{
    const char *tenant = tenant_of(command, 0);
    struct admin *admin = tenant == NULL ? NULL : admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    Trilith__KeySetStateRequest request;
    trilith__key_set_state_request__init(&request);
    request.tenant = (char *)(uintptr_t)tenant;
    request.revoked = revoked;
    int result = call_for_keys(command, admin, TRILITH__MESSAGE_TYPE__KEY_SET_STATE, &request.base, tenant, said);
    admin_close(admin);
    return result;
}

int command_key_revoke(struct command *command)
{
    return set_state(command, true,
                     "Revoked. Gateways stop as soon as their lease on the key ends (meta.key_lease, 30 s by default); "
                     "`trilith key enable` takes it back.");
}

int command_key_enable(struct command *command)
{
    return set_state(command, false, "Enabled.");
}

/* Versions and credentials that are still under data keys that were rotated out. */
static bool is_resealed(const Trilith__KeyShowReply *reply)
{
    for (size_t i = 0; i < reply->n_data_keys; i++) {
        if (strcmp(reply->data_keys[i]->state, "retiring") == 0) {
            return false;
        }
    }
    return true;
}

/* Wait until no data key is retiring any more. STATUS_BUSY: not within the time. */
static enum status wait_resealed(struct admin *admin, const char *tenant, uint64_t timeout_ms)
{
    Trilith__KeyShowRequest request;
    trilith__key_show_request__init(&request);
    request.tenant = (char *)(uintptr_t)tenant;
    uint64_t deadline_ms = admin_now_ms(admin) + timeout_ms;
    struct progress progress;
    progress_begin(&progress, "sealing anew", 0, true);
    enum status status;
    for (;;) {
        ProtobufCMessage *message = NULL;
        status = admin_call(admin, TRILITH__MESSAGE_TYPE__KEY_SHOW, &request.base, &message);
        bool resealed = false;
        if (status == STATUS_OK) {
            const Trilith__KeyShowReply *reply = (const Trilith__KeyShowReply *)message;
            progress.total = reply->reseal_bytes > progress.total ? reply->reseal_bytes : progress.total;
            progress_set(&progress, progress.total - reply->reseal_bytes);
            resealed = is_resealed(reply);
        }
        admin_reply_free(message);
        bool again = status == STATUS_OK || status == STATUS_UNAVAILABLE || status == STATUS_TIMEOUT;
        if (resealed || !again) {
            break;
        }
        if (admin_now_ms(admin) >= deadline_ms) {
            status = status == STATUS_OK ? STATUS_BUSY : status;
            break;
        }
        admin_pause(admin, POLL_MS);
    }
    progress_end(&progress);
    return status;
}

int command_key_rotate(struct command *command)
{
    uint64_t timeout_s = WAIT_TIMEOUT_S_DEFAULT;
    const char *timeout = command_option(command, "--timeout");
    if (timeout != NULL && !command_number(timeout, WAIT_TIMEOUT_S_MAX, &timeout_s)) {
        return command_usage(command, "\"%s\" is not a number of seconds", timeout);
    }
    bool wait = command_option(command, "--wait") != NULL;
    const char *tenant = tenant_of(command, 0);
    struct admin *admin = tenant == NULL ? NULL : admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    Trilith__KeyRotateRequest request;
    trilith__key_rotate_request__init(&request);
    request.tenant = (char *)(uintptr_t)tenant;
    request.cmk = command_option(command, "--cmk") != NULL;
    int result;
    if (!wait) {
        result = call_for_keys(command, admin, TRILITH__MESSAGE_TYPE__KEY_ROTATE, &request.base, tenant,
                               request.cmk ? "The data keys are wrapped by a new master key."
                                           : "New writes use the new data key; what is stored is sealed anew in the "
                                             "background, then the old data key is destroyed.");
        admin_close(admin);
        return result;
    }
    ProtobufCMessage *message = NULL;
    enum status status =
        admin_call_within(admin, TRILITH__MESSAGE_TYPE__KEY_ROTATE, &request.base, KEY_CHANGE_MS, &message);
    admin_reply_free(message);
    if (status == STATUS_OK) {
        status = wait_resealed(admin, tenant, timeout_s * 1000);
        if (status == STATUS_BUSY) {
            admin_close(admin);
            return command_fail("after %" PRIu64 " s the old data key is not destroyed yet; it goes on in the "
                                "background, `trilith key show %s` shows how far it is",
                                timeout_s, tenant);
        }
    }
    if (status != STATUS_OK) {
        result = key_failed(admin, status, tenant);
    } else {
        Trilith__KeyShowRequest show;
        trilith__key_show_request__init(&show);
        show.tenant = request.tenant;
        result = call_for_keys(command, admin, TRILITH__MESSAGE_TYPE__KEY_SHOW, &show.base, tenant, "Rotated.");
    }
    admin_close(admin);
    return result;
}

/* ---- import ------------------------------------------------------------------------------------ */

/* The KMS's transport key; NULL: the user has been told. */
static Trilith__KeyTransportReply *fetch_transport(struct admin *admin)
{
    ProtobufCMessage *message = NULL;
    enum status status = admin_call_within(admin, TRILITH__MESSAGE_TYPE__KEY_TRANSPORT, NULL, KEY_CHANGE_MS, &message);
    if (status != STATUS_OK) {
        (void)admin_failed(admin, status, "transport key");
        return NULL;
    }
    return (Trilith__KeyTransportReply *)message;
}

int command_key_transport(struct command *command)
{
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    int result = COMMAND_FAILED;
    Trilith__KeyTransportReply *reply = fetch_transport(admin);
    if (reply != NULL && command->json) {
        result = output_json(json_pack("{s:s, s:s}", "algorithm", reply->algorithm, "public_key", reply->public_key));
    } else if (reply != NULL) {
        fputs(reply->public_key, stdout);
        result = output_finish();
    }
    admin_reply_free(reply == NULL ? NULL : &reply->base);
    admin_close(admin);
    return result;
}

/* Read a small file whole into `bytes` (guarded memory). A secret one must be for its owner only. Returns the number of
 * bytes; 0: the user has been told. */
static size_t read_key_file(const char *path, bool is_secret, uint8_t *bytes, size_t capacity)
{
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat info;
    if (file < 0 || fstat(file, &info) != 0) {
        command_fail("%s: can't be opened: %s", path, strerror(errno));
        if (file >= 0) {
            (void)close(file);
        }
        return 0;
    }
    if (is_secret && S_ISREG(info.st_mode) && (info.st_mode & 077) != 0) {
        command_fail("%s: others may read this key; make it yours alone first (chmod 600 %s)", path, path);
        (void)close(file);
        return 0;
    }
    size_t count = 0;
    ssize_t got = 1;
    while (got > 0 && count < capacity) {
        got = read(file, bytes + count, capacity - count);
        count += got > 0 ? (size_t)got : 0;
    }
    (void)close(file);
    if (got < 0) {
        command_fail("%s: can't be read: %s", path, strerror(errno));
        return 0;
    }
    if (count == 0 || count == capacity) {
        command_fail("%s: %s", path, count == 0 ? "is empty" : "is too long to be a key");
        return 0;
    }
    return count;
}

/* 32 bytes, raw or as 64 hex digits, at the start of `bytes`. */
static bool decode_key(uint8_t *bytes, size_t count)
{
    if (count == KEY_BYTES) {
        return true;
    }
    if (count == HEX_DIGITS + 1 && bytes[HEX_DIGITS] == '\n') {
        count--;
    }
    uint8_t key[KEY_BYTES];
    bool decoded = count == HEX_DIGITS && hex_decode((const char *)bytes, count, key, sizeof(key));
    if (decoded) {
        memcpy(bytes, key, sizeof(key));
    }
    wipe_memory(key, sizeof(key));
    return decoded;
}

/* What is to be sent: the file as it is, or the key in it encrypted to the KMS. 0: the user has been told. */
static size_t wrap_key_file(struct admin *admin, const char *path, bool is_wrapped,
                            uint8_t wrapped[TRANSPORT_WRAPPED_BYTES_MAX])
{
    if (is_wrapped) {
        return read_key_file(path, false, wrapped, TRANSPORT_WRAPPED_BYTES_MAX);
    }
    uint8_t *bytes = guarded_take(TRANSPORT_WRAPPED_BYTES_MAX);
    if (bytes == NULL) {
        command_fail("out of memory");
        return 0;
    }
    size_t wrapped_bytes = 0;
    size_t count = read_key_file(path, true, bytes, TRANSPORT_WRAPPED_BYTES_MAX);
    if (count > 0 && !decode_key(bytes, count)) {
        command_fail("%s: a master key is 32 bytes, raw or as 64 hex digits; give --wrapped for one that is encrypted "
                     "to `trilith key transport` already",
                     path);
    } else if (count > 0) {
        Trilith__KeyTransportReply *transport = fetch_transport(admin);
        if (transport != NULL) {
            enum status status = transport_encrypt(transport->public_key, transport->algorithm, bytes, KEY_BYTES,
                                                   wrapped, &wrapped_bytes);
            if (status != STATUS_OK) {
                command_fail("the KMS's transport key (%s) can't be used: %s", transport->algorithm,
                             status_name(status));
                wrapped_bytes = 0;
            }
            admin_reply_free(&transport->base);
        }
    }
    guarded_release(bytes);
    return wrapped_bytes;
}

int command_key_import(struct command *command)
{
    const char *file = command->arguments[command->argument_count - 1];
    const char *tenant = command->argument_count > 1 ? command->arguments[0] : tenant_of(command, 1);
    struct admin *admin = tenant == NULL ? NULL : admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    uint8_t wrapped[TRANSPORT_WRAPPED_BYTES_MAX];
    Trilith__KeyImportRequest request;
    trilith__key_import_request__init(&request);
    request.tenant = (char *)(uintptr_t)tenant;
    request.wrapped.data = wrapped;
    request.wrapped.len = wrap_key_file(admin, file, command_option(command, "--wrapped") != NULL, wrapped);
    int result = COMMAND_FAILED;
    if (request.wrapped.len > 0) {
        result = call_for_keys(command, admin, TRILITH__MESSAGE_TYPE__KEY_IMPORT, &request.base, tenant,
                               "The tenant's data keys are wrapped by the imported master key now. Keep your copy.");
    }
    admin_close(admin);
    return result;
}
