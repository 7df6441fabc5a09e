/* command_ledger.c - the ledger of certificates: its head, a copy of it, the keys that sign; and all evidence in one
 * archive. */
#include "base/digest.h"
#include "cluster/admin.h"
#include "cluster/archive.h"
#include "cluster/cert_fetch.h"
#include "cluster/command.h"
#include "cluster/ledger_export.h"
#include "cluster/output.h"
#include "cluster/progress.h"
#include "cluster/times.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define CERTIFICATES_PER_PAGE 1000u
#define CERTIFICATES_MAX      (1u << 26)

/* ---- head ---------------------------------------------------------------------------------------- */

static int ledger_failed(const struct admin *admin, enum status status)
{
    if (status == STATUS_NOT_FOUND) {
        return command_fail("the ledger is empty: no certificate was issued yet");
    }
    if (status == STATUS_DENIED) {
        return command_fail(
            "the ledger's head is not signed with the ledger's keys, or says something else than the metadata "
            "service: do not rely on it");
    }
    return admin_failed(admin, status, "ledger");
}

static json_t *signers_json(const struct ledger_head *head)
{
    const Trilith__SigningKeyListReply *keys = (const Trilith__SigningKeyListReply *)head->keys;
    json_t *list = json_array();
    for (size_t i = 0; i < keys->n_keys; i++) {
        if (ledger_head_signed_by(head, i)) {
            json_array_append_new(list, json_string(keys->keys[i]->kid));
        }
    }
    return list;
}

static int print_head(const struct command *command, const struct ledger_head *head)
{
    const Trilith__LedgerHeadReply *reply = (const Trilith__LedgerHeadReply *)head->head;
    char root[2 * SHA256_BYTES + 1];
    hex_encode(head->checkpoint.root.bytes, SHA256_BYTES, root);
    if (command->json) {
        return output_json(json_pack("{s:s, s:I, s:s, s:I, s:o, s:s}", "origin", head->checkpoint.origin, "size",
                                     (json_int_t)head->checkpoint.size, "root", root, "certificates",
                                     (json_int_t)reply->certificates, "signed_by", signers_json(head), "checkpoint",
                                     reply->checkpoint));
    }
    printf("ledger        %s\n"
           "entries       %" PRIu64 ", of %" PRIu64 " certificates (those of objects stand in batches)\n"
           "root          %s\n"
           "signature     verified with the keys that the metadata service has (`trilith ledger keys`)\n\n",
           head->checkpoint.origin, head->checkpoint.size, reply->certificates, root);
    fputs(reply->checkpoint, stdout);
    return output_finish();
}

int command_ledger_head(struct command *command)
{
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    struct ledger_head head;
    enum status status = ledger_head_fetch(admin, &head);
    int result = status == STATUS_OK ? print_head(command, &head) : ledger_failed(admin, status);
    ledger_head_free(&head);
    admin_close(admin);
    return result;
}

/* ---- export -------------------------------------------------------------------------------------- */

static int export_failed(const struct admin *admin, enum status status, const char *path, const char *problem)
{
    switch (status) {
    case STATUS_CONFLICT:
        return command_fail("%s: refused: %s", path, problem);
    case STATUS_IO:
    case STATUS_FULL:
        return command_fail("%s: it could not be written or read (%s); is the disk full?", path, status_name(status));
    case STATUS_BUSY:
        return command_fail("out of memory");
    default:
        return ledger_failed(admin, status);
    }
}

static int export_ledger(struct command *command, struct admin *admin, struct evidence_files *files)
{
    const char *path = command->arguments[0];
    char problem[LEDGER_EXPORT_PROBLEM_BYTES] = "";
    struct ledger_head head;
    struct progress progress;
    uint64_t old_size = 0;
    int result = 0;
    enum status status = ledger_head_fetch(admin, &head);
    if (status == STATUS_OK) {
        progress_begin(&progress, "exporting the ledger", 2 * head.checkpoint.size, false);
        status = ledger_export(admin, &head, files, true, &progress, &old_size, problem);
        progress_end(&progress);
        result = status == STATUS_OK ? 0 : export_failed(admin, status, path, problem);
    } else {
        result = ledger_failed(admin, status);
    }
    if (result == 0 && command->json) {
        result = output_json(json_pack("{s:s, s:I, s:I}", "directory", path, "size", (json_int_t)head.checkpoint.size,
                                       "before", (json_int_t)old_size));
    } else if (result == 0) {
        printf("%s: %" PRIu64 " entries, %" PRIu64 " of them new; `trilith ledger verify %s --key KEY` verifies them\n",
               path, head.checkpoint.size, head.checkpoint.size - old_size, path);
        result = output_finish();
    }
    ledger_head_free(&head);
    return result;
}

int command_ledger_export(struct command *command)
{
    const char *path = command->arguments[0];
    struct evidence_directory directory;
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    int result;
    if ((mkdir(path, 0755) != 0 && errno != EEXIST) || evidence_directory_open(&directory, path) != STATUS_OK) {
        result = command_fail("%s: it can't be made or opened: %s", path, strerror(errno));
    } else {
        result = export_ledger(command, admin, &directory.files);
        evidence_directory_close(&directory);
    }
    admin_close(admin);
    return result;
}

/* ---- keys ---------------------------------------------------------------------------------------- */

static json_t *key_json(const Trilith__SigningKey *key)
{
    struct public_key public_key;
    char pem[PUBLIC_KEY_PEM_BYTES];
    char digest[2 * SHA256_BYTES + 1];
    uint8_t sha[SHA256_BYTES];
    if (!ledger_key(key, &public_key)) {
        return json_null();
    }
    public_key_to_pem(&public_key, pem);
    sha256(public_key.bytes, sizeof(public_key.bytes), sha);
    hex_encode(sha, sizeof(sha), digest);
    return json_pack("{s:I, s:s, s:o, s:o, s:s, s:s}", "number", (json_int_t)key->number, "kid", key->kid, "created",
                     output_json_time(key->created_ms), "retired", output_json_time(key->retired_ms), "sha256", digest,
                     "public_key", pem);
}

static int print_keys(const struct command *command, const Trilith__SigningKeyListReply *keys)
{
    json_t *list = json_array();
    for (size_t i = 0; i < keys->n_keys; i++) {
        json_array_append_new(list, key_json(keys->keys[i]));
    }
    if (command->json) {
        return output_json(json_pack("{s:s, s:o}", "origin", keys->origin, "keys", list));
    }
    printf("%-6s %-8s %-24s  %s\n", "KEY", "STATE", "SINCE", "SHA-256 OF THE PUBLIC KEY");
    for (size_t i = 0; i < keys->n_keys; i++) {
        char since[OUTPUT_TIME_BYTES];
        const json_t *digest = json_object_get(json_array_get(list, i), "sha256");
        output_time(keys->keys[i]->created_ms, since);
        printf("%-6" PRIu32 " %-8s %-24s  %s\n", keys->keys[i]->number,
               keys->keys[i]->retired_ms == 0 ? "current" : "retired", since,
               digest == NULL ? "?" : json_string_value(digest));
    }
    json_decref(list);
    return output_finish();
}

/* Write the keys as files too, where --out says so. 0, or COMMAND_FAILED. */
static int write_keys(const struct command *command, const Trilith__SigningKeyListReply *keys)
{
    const char *path = command_option(command, "--out");
    struct evidence_directory directory;
    if (path == NULL) {
        return 0;
    }
    if ((mkdir(path, 0755) != 0 && errno != EEXIST) || evidence_directory_open(&directory, path) != STATUS_OK) {
        return command_fail("%s: it can't be made or opened: %s", path, strerror(errno));
    }
    enum status status = ledger_keys_write(keys, &directory.files);
    evidence_directory_close(&directory);
    return status == STATUS_OK ? 0 : command_fail("%s: it could not be written (%s)", path, status_name(status));
}

int command_ledger_keys(struct command *command)
{
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    ProtobufCMessage *message = NULL;
    enum status status = admin_call(admin, TRILITH__MESSAGE_TYPE__SIGNING_KEY_LIST, NULL, &message);
    const Trilith__SigningKeyListReply *keys = (const Trilith__SigningKeyListReply *)message;
    int result = status == STATUS_OK ? write_keys(command, keys) : admin_failed(admin, status, "list of keys");
    result = result == 0 ? print_keys(command, keys) : result;
    admin_reply_free(message);
    admin_close(admin);
    return result;
}

int command_ledger_rotate(struct command *command)
{
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    ProtobufCMessage *message = NULL;
    enum status status = admin_call(admin, TRILITH__MESSAGE_TYPE__SIGNING_KEY_ROTATE, NULL, &message);
    int result = status == STATUS_OK ? print_keys(command, (const Trilith__SigningKeyListReply *)message)
                                     : admin_failed(admin, status, "new signing key");
    admin_reply_free(message);
    admin_close(admin);
    return result;
}

/* ---- all evidence in one archive ------------------------------------------------------------------ */

struct evidence {
    struct admin *admin;
    struct archive_file *archive;
    struct archive_folder folder;
    struct ledger_head head;
    struct progress progress;
    Trilith__CertListRequest request;
    struct cert_cache cache;
    uint64_t *numbers; /* of the certificates that go into it */
    size_t count;
    char problem[LEDGER_EXPORT_PROBLEM_BYTES];
};

static enum status take_numbers(struct evidence *evidence, const Trilith__CertListReply *reply)
{
    size_t count = evidence->count + reply->n_certificates;
    if (count > CERTIFICATES_MAX) {
        return STATUS_TOO_LARGE;
    }
    uint64_t *numbers = realloc(evidence->numbers, (count + 1) * sizeof(*numbers));
    if (numbers == NULL) {
        return STATUS_BUSY;
    }
    evidence->numbers = numbers;
    for (size_t i = 0; i < reply->n_certificates; i++) {
        numbers[evidence->count++] = reply->certificates[i]->seq;
    }
    return STATUS_OK;
}

/* Which certificates there are: first, so that it is known how long it takes. */
static enum status list_certificates(struct evidence *evidence)
{
    bool more = true;
    enum status status = STATUS_OK;
    evidence->request.max = CERTIFICATES_PER_PAGE;
    while (more && status == STATUS_OK) {
        ProtobufCMessage *message = NULL;
        status = admin_call(evidence->admin, TRILITH__MESSAGE_TYPE__CERT_LIST, &evidence->request.base, &message);
        if (status == STATUS_OK) {
            const Trilith__CertListReply *reply = (const Trilith__CertListReply *)message;
            status = take_numbers(evidence, reply);
            more = reply->more && reply->n_certificates > 0;
            evidence->request.after_seq = evidence->count == 0 ? 0 : evidence->numbers[evidence->count - 1];
        }
        admin_reply_free(message);
    }
    return status;
}

static enum status archive_certificate(struct evidence *evidence, uint64_t seq)
{
    struct cert_fetched fetched;
    Trilith__CertGetRequest request;
    char prefix[80];
    trilith__cert_get_request__init(&request);
    request.seq = seq;
    enum status status = cert_fetch(evidence->admin, &request, evidence->head.keys, &evidence->cache, &fetched);
    if (status == STATUS_OK && !evidence_name_is_plain(fetched.export.found->certificate->id)) {
        status = STATUS_CORRUPT;
    }
    if (status == STATUS_OK) {
        snprintf(prefix, sizeof(prefix), "certificates/%s/", fetched.export.found->certificate->id);
        evidence->folder.prefix = prefix;
        fetched.export.in_archive = true;
        status = cert_export_write(&fetched.export, &evidence->folder.files);
    }
    cert_fetched_free(&fetched);
    return status;
}

static enum status archive_all(struct evidence *evidence)
{
    uint64_t ignored = 0;
    enum status status = cert_export_archive_texts(&evidence->folder.files);
    progress_begin(&evidence->progress, "certificates", evidence->count, false);
    for (size_t i = 0; i < evidence->count && status == STATUS_OK; i++) {
        status = archive_certificate(evidence, evidence->numbers[i]);
        progress_set(&evidence->progress, i + 1);
    }
    progress_end(&evidence->progress);
    if (status != STATUS_OK) {
        return status;
    }
    evidence->folder.prefix = "ledger/";
    progress_begin(&evidence->progress, "ledger", 2 * evidence->head.checkpoint.size, false);
    status = ledger_export(evidence->admin, &evidence->head, &evidence->folder.files, false, &evidence->progress,
                           &ignored, evidence->problem);
    progress_end(&evidence->progress);
    return status;
}

static int read_filter(struct command *command, Trilith__CertListRequest *request)
{
    const char *tenant = command_option(command, "--tenant");
    const char *since = command_option(command, "--since");
    const char *until = command_option(command, "--until");
    trilith__cert_list_request__init(request);
    if (tenant != NULL) {
        request->tenant = (char *)(uintptr_t)tenant;
    }
    if (since != NULL && !time_read(since, &request->from_ms)) {
        return command_usage(command, "\"%s\" is not a time like 2026-01-31 or 2026-01-31T08:00:00Z", since);
    }
    if (until != NULL && !time_read(until, &request->until_ms)) {
        return command_usage(command, "\"%s\" is not a time like 2026-01-31 or 2026-01-31T08:00:00Z", until);
    }
    return 0;
}

/* Into the archive that is open; it is closed, or given up. */
static int write_evidence(struct command *command, struct evidence *evidence)
{
    const char *path = command->arguments[0];
    enum status status = archive_all(evidence);
    uint64_t bytes = archive_bytes(evidence->archive);
    if (status != STATUS_OK) {
        archive_abandon(evidence->archive);
        return export_failed(evidence->admin, status, path, evidence->problem);
    }
    status = archive_close(evidence->archive);
    if (status != STATUS_OK) {
        return command_fail("%s: it could not be written (%s); is the disk full?", path, status_name(status));
    }
    if (command->json) {
        return output_json(json_pack("{s:s, s:I, s:I, s:I}", "file", path, "certificates", (json_int_t)evidence->count,
                                     "ledger_size", (json_int_t)evidence->head.checkpoint.size, "bytes",
                                     (json_int_t)bytes));
    }
    char size[OUTPUT_SIZE_BYTES];
    output_size(bytes, size);
    printf("%s: %zu certificates and the ledger of %" PRIu64 " entries, %s; its README.txt says how to verify them\n",
           path, evidence->count, evidence->head.checkpoint.size, size);
    return output_finish();
}

static int export_evidence(struct command *command, struct evidence *evidence)
{
    const char *path = command->arguments[0];
    const char *tenant = command_option(command, "--tenant");
    enum status status = list_certificates(evidence);
    if (status == STATUS_NOT_FOUND && tenant != NULL) {
        return command_fail("there is no tenant \"%s\"", tenant);
    }
    /* The head after the list: then it has an entry for each of them. */
    status = status == STATUS_OK ? ledger_head_fetch(evidence->admin, &evidence->head) : status;
    if (status != STATUS_OK) {
        return ledger_failed(evidence->admin, status);
    }
    status = archive_open(path, (uint64_t)time(NULL) * 1000, &evidence->archive);
    if (status != STATUS_OK) {
        return command_fail("%s: it can't be written: %s", path, strerror(errno));
    }
    archive_folder_init(&evidence->folder, evidence->archive, "");
    return write_evidence(command, evidence);
}

int command_evidence_export(struct command *command)
{
    struct evidence evidence = {0};
    int result = read_filter(command, &evidence.request);
    evidence.admin = result == 0 ? admin_open(command) : NULL;
    if (evidence.admin == NULL) {
        return COMMAND_USAGE;
    }
    result = export_evidence(command, &evidence);
    cert_cache_free(&evidence.cache);
    free(evidence.numbers);
    ledger_head_free(&evidence.head);
    admin_close(evidence.admin);
    return result;
}
