/* command_verify.c - `cert verify` and `ledger verify`: files and public keys, no cluster, no configuration. */
#include "cluster/certificate_form.h"
#include "cluster/command.h"
#include "cluster/evidence_files.h"
#include "cluster/output.h"
#include "cluster/verify_certificate.h"
#include "cluster/verify_ledger.h"

#include "base/checkpoint.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The keys of --key. 0, or an exit status. */
static int read_keys(const struct command *command, struct public_key keys[VERIFY_KEYS_MAX], size_t *count)
{
    const char *path = command_option(command, "--key");
    char *pem = NULL;
    size_t bytes = 0;
    if (path == NULL) {
        return command_usage(command, "--key FILE is missing: the public key of who signs, in PEM");
    }
    enum status status = evidence_file_read(path, VERIFY_KEY_FILE_BYTES, &pem, &bytes);
    if (status != STATUS_OK) {
        return command_fail("%s %s", path, verify_file_words(status));
    }
    status = public_keys_from_pem(pem, bytes, keys, VERIFY_KEYS_MAX, count);
    free(pem);
    if (status != STATUS_OK) {
        return command_fail("%s holds something else than 1 to %d Ed25519 public keys in PEM, one after the other",
                            path, VERIFY_KEYS_MAX);
    }
    return 0;
}

/* A file that an option may name. 0, or an exit status. */
static int read_option_file(const struct command *command, const char *option, size_t bytes_max, char **data,
                            size_t *bytes)
{
    const char *path = command_option(command, option);
    *data = NULL;
    if (path == NULL) {
        return 0;
    }
    enum status status = evidence_file_read(path, bytes_max, data, bytes);
    return status == STATUS_OK ? 0 : command_fail("%s %s", path, verify_file_words(status));
}

/* ---- what comes out ---------------------------------------------------------------------------- */

/* A text of a report may quote a file: what is no UTF-8 is escaped. */
static json_t *lines_json(const struct verify_lines *lines)
{
    json_t *list = json_array();
    for (size_t i = 0; i < lines->count && i < VERIFY_LINES_MAX; i++) {
        json_array_append_new(list, output_json_bytes(lines->text[i], strlen(lines->text[i])));
    }
    if (lines->count > VERIFY_LINES_MAX) {
        json_array_append_new(list, json_sprintf("and %zu more", lines->count - VERIFY_LINES_MAX));
    }
    return list;
}

/* {"ok","problem","checked","not_checked"}. */
static json_t *verify_report_json(const struct verify_report *report)
{
    bool good = report->problem[0] == '\0';
    return json_pack("{s:b, s:o, s:o, s:o}", "ok", good ? 1 : 0, "problem",
                     good ? json_null() : output_json_bytes(report->problem, strlen(report->problem)), "checked",
                     lines_json(&report->checked), "not_checked", lines_json(&report->unchecked));
}

static void print_lines(const char *title, const struct verify_lines *lines)
{
    if (lines->count > 0) {
        printf("%s\n", title);
    }
    for (size_t i = 0; i < lines->count && i < VERIFY_LINES_MAX; i++) {
        printf("  ");
        output_text(lines->text[i], strlen(lines->text[i]));
        printf("\n");
    }
    if (lines->count > VERIFY_LINES_MAX) {
        printf("  and %zu more\n", lines->count - VERIFY_LINES_MAX);
    }
}

static void verify_report_print(const struct verify_report *report)
{
    print_lines("Checked:", &report->checked);
    print_lines("Not checked:", &report->unchecked);
}

/* The problem on stderr, escaped as it may quote a file. */
static int say_problem(const char *what, const struct verify_report *report)
{
    char text[VERIFY_LINE_BYTES];
    memcpy(text, report->problem, sizeof(text));
    for (char *at = text; *at != '\0'; at++) {
        *at = (unsigned char)*at < 0x20 || (unsigned char)*at >= 0x7f ? '?' : *at;
    }
    return command_fail("%s is refused: %s", what, text);
}

/* Print the report; `more` (stolen, may be NULL) goes into its JSON. */
static int conclude(const struct command *command, const char *what, const struct verify_report *report, json_t *more)
{
    bool good = report->problem[0] == '\0';
    int result = 0;
    if (command->json) {
        json_t *document = verify_report_json(report);
        if (document != NULL && more != NULL) {
            json_object_update(document, more);
        }
        result = output_json(document);
    } else {
        verify_report_print(report);
        result = output_finish();
    }
    json_decref(more);
    return good ? result : say_problem(what, report);
}

/* ---- cert verify ------------------------------------------------------------------------------- */

static json_t *certificate_summary(const json_t *payload)
{
    static const char *const members[] = {"cert_id", "type", "result", "issued_at", "residual", "not_claimed"};
    json_t *summary = json_object();
    for (size_t i = 0; i < ARRAY_LENGTH(members); i++) {
        json_t *value = json_object_get(payload, members[i]);
        json_object_set(summary, members[i], value == NULL ? json_null() : value);
    }
    return summary;
}

static void print_certificate(const struct command *command, const char *path, const json_t *payload)
{
    if (!command->json) {
        printf("%s: ", path);
        const char *const words[] = {certificate_text(payload, "type"), certificate_text(payload, "result"),
                                     certificate_text(payload, "issued_at"), certificate_text(payload, "cert_id")};
        for (size_t i = 0; i < ARRAY_LENGTH(words); i++) {
            output_text(words[i], strlen(words[i]));
            printf(i + 1 < ARRAY_LENGTH(words) ? ", " : "\n");
        }
    }
}

/* The directory of a file: what stands in front of the last slash. NULL: no memory. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? strdup(".") : slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

static int verify_one(struct command *command, const struct certificate_question *question)
{
    static struct verify_report report;
    const char *path = command->arguments[0];
    json_t *payload = NULL;
    enum status status = verify_certificate(question, &report, &payload);
    if (status == STATUS_OK) {
        print_certificate(command, path, payload);
    }
    json_t *summary = status == STATUS_OK ? certificate_summary(payload) : NULL;
    json_decref(payload);
    int result = conclude(command, path, &report, summary);
    if (result == 0 && !command->json) {
        printf("Nothing is wrong with it, as far as it was checked.\n");
        result = output_finish();
    }
    return result;
}

static int with_folder(struct command *command, struct certificate_question *question)
{
    struct evidence_directory directory;
    char *folder = folder_of(command->arguments[0]);
    if (folder == NULL || evidence_directory_open(&directory, folder) != STATUS_OK) {
        free(folder);
        return command_fail("the directory of %s can't be opened", command->arguments[0]);
    }
    free(folder);
    question->beside = &directory.files;
    int result = verify_one(command, question);
    evidence_directory_close(&directory);
    return result;
}

int command_cert_verify(struct command *command)
{
    struct public_key keys[VERIFY_KEYS_MAX];
    struct certificate_question question = {.keys = keys};
    char *text = NULL;
    char *opening = NULL;
    int result = read_keys(command, keys, &question.key_count);
    if (result == 0) {
        result = read_option_file(command, "--opening", VERIFY_OPENING_BYTES, &opening, &question.opening_bytes);
    }
    if (result == 0) {
        enum status status = evidence_file_read(command->arguments[0], JWS_BYTES_MAX + 1, &text, &question.text_bytes);
        result = status == STATUS_OK ? 0 : command_fail("%s %s", command->arguments[0], verify_file_words(status));
    }
    if (result == 0) {
        question.text = text;
        question.opening = opening;
        result = with_folder(command, &question);
    }
    free(text);
    free(opening);
    return result;
}

/* ---- ledger verify ----------------------------------------------------------------------------- */

static json_t *ledger_summary(const struct checkpoint *head)
{
    char root[2 * SHA256_BYTES + 1];
    hex_encode(head->root.bytes, SHA256_BYTES, root);
    return json_pack("{s:s, s:I, s:s}", "origin", head->origin, "entries", (json_int_t)head->size, "root", root);
}

static int verify_directory(struct command *command, const struct ledger_question *question)
{
    static struct verify_report report;
    struct checkpoint head;
    enum status status = verify_ledger(question, &report, &head);
    int result = conclude(command, command->arguments[0], &report, status == STATUS_OK ? ledger_summary(&head) : NULL);
    if (result == 0 && !command->json) {
        char root[2 * SHA256_BYTES + 1];
        hex_encode(head.root.bytes, SHA256_BYTES, root);
        printf("%s: %" PRIu64 " entries, root %s\nNothing is wrong with it, as far as it was checked.\n", head.origin,
               head.size, root);
        result = output_finish();
    }
    return result;
}

int command_ledger_verify(struct command *command)
{
    struct public_key keys[VERIFY_KEYS_MAX];
    struct ledger_question question = {.keys = keys};
    struct evidence_directory directory;
    char *since = NULL;
    int result = read_keys(command, keys, &question.key_count);
    if (result == 0) {
        result = read_option_file(command, "--since", CHECKPOINT_NOTE_MAX, &since, &question.since_bytes);
    }
    if (result != 0) {
        return result;
    }
    enum status status = evidence_directory_open(&directory, command->arguments[0]);
    if (status == STATUS_OK) {
        question.since = since;
        question.files = &directory.files;
        result = verify_directory(command, &question);
        evidence_directory_close(&directory);
    } else {
        result = command_fail("%s %s", command->arguments[0], verify_file_words(status));
    }
    free(since);
    return result;
}
