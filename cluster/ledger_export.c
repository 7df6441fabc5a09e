/* ledger_export.c - entries from what is there already, the rest from the service, into tiles; then what they are
 * about. */
#include "cluster/ledger_export.h"

#include "cluster/admin.h"
#include "cluster/cert_fetch.h"
#include "cluster/cert_words.h"
#include "cluster/ledger_tiles.h"
#include "cluster/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENTRIES_PER_CALL 1024u
#define NAME_BYTES       96

/* ---- the head and its keys ------------------------------------------------------------------------- */

static const Trilith__SigningKeyListReply *keys_of(const struct ledger_head *head)
{
    return (const Trilith__SigningKeyListReply *)head->keys;
}

bool ledger_key(const Trilith__SigningKey *key, struct public_key *public_key)
{
    if (key->public_key.len != sizeof(public_key->bytes)) {
        return false;
    }
    memcpy(public_key->bytes, key->public_key.data, sizeof(public_key->bytes));
    return true;
}

bool ledger_head_signed_by(const struct ledger_head *head, size_t index)
{
    const char *note = ((const Trilith__LedgerHeadReply *)head->head)->checkpoint;
    struct public_key key;
    struct checkpoint checkpoint;
    return ledger_key(keys_of(head)->keys[index], &key) &&
           checkpoint_open(note, strlen(note), &key, 1, &checkpoint) == STATUS_OK;
}

/* Read a note that one of all keys has signed. */
static enum status open_note(const Trilith__SigningKeyListReply *keys, const char *note, size_t bytes,
                             struct checkpoint *checkpoint)
{
    enum status status = STATUS_DENIED;
    for (size_t i = 0; i < keys->n_keys && status != STATUS_OK; i++) {
        struct public_key key;
        status = ledger_key(keys->keys[i], &key) ? checkpoint_open(note, bytes, &key, 1, checkpoint) : STATUS_DENIED;
    }
    return status;
}

enum status ledger_head_fetch(struct admin *admin, struct ledger_head *head)
{
    *head = (struct ledger_head){0};
    enum status status = admin_call(admin, TRILITH__MESSAGE_TYPE__LEDGER_HEAD, NULL, &head->head);
    if (status == STATUS_OK) {
        status = admin_call(admin, TRILITH__MESSAGE_TYPE__SIGNING_KEY_LIST, NULL, &head->keys);
    }
    if (status != STATUS_OK) {
        return status;
    }
    const Trilith__LedgerHeadReply *reply = (const Trilith__LedgerHeadReply *)head->head;
    if (reply->checkpoint[0] == '\0') {
        return STATUS_NOT_FOUND;
    }
    const Trilith__SigningKeyListReply *keys = keys_of(head);
    const struct checkpoint *checkpoint = &head->checkpoint;
    if (open_note(keys, reply->checkpoint, strlen(reply->checkpoint), &head->checkpoint) != STATUS_OK ||
        checkpoint->size != reply->size || reply->root.len != SHA256_BYTES ||
        memcmp(checkpoint->root.bytes, reply->root.data, SHA256_BYTES) != 0 ||
        strcmp(checkpoint->origin, keys->origin) != 0) {
        return STATUS_DENIED;
    }
    return STATUS_OK;
}

void ledger_head_free(struct ledger_head *head)
{
    admin_reply_free(head->head);
    admin_reply_free(head->keys);
    *head = (struct ledger_head){0};
}

enum status ledger_keys_write(const Trilith__SigningKeyListReply *keys, struct evidence_files *files)
{
    char *all = calloc(keys->n_keys + 1, PUBLIC_KEY_PEM_BYTES);
    size_t used = 0;
    enum status status = all == NULL ? STATUS_BUSY : STATUS_OK;
    /* Newest first in the reply; oldest first for people. */
    for (size_t i = keys->n_keys; i > 0 && status == STATUS_OK; i--) {
        const Trilith__SigningKey *key = keys->keys[i - 1];
        struct public_key public_key;
        char pem[PUBLIC_KEY_PEM_BYTES];
        char name[NAME_BYTES];
        if (!ledger_key(key, &public_key)) {
            status = STATUS_CORRUPT;
            break;
        }
        public_key_to_pem(&public_key, pem);
        used += (size_t)snprintf(all + used, PUBLIC_KEY_PEM_BYTES, "%s", pem);
        snprintf(name, sizeof(name), "keys/issuer-%" PRIu32 ".pem", key->number);
        status = files->write(files, name, pem, strlen(pem));
        if (status == STATUS_OK && i == 1) {
            char verifier[CHECKPOINT_VERIFIER_BYTES + 1];
            checkpoint_verifier(keys->origin, &public_key, verifier);
            size_t bytes = strlen(verifier);
            verifier[bytes] = '\n';
            status = files->write(files, "log.vkey", verifier, bytes + 1);
        }
    }
    if (status == STATUS_OK) {
        status = files->write(files, "keys.pem", all, used);
    }
    free(all);
    return status;
}

/* ---- entries --------------------------------------------------------------------------------------- */

/* What an export needs while it lasts; too large for the stack. */
struct exporting {
    struct admin *admin;
    const struct ledger_head *head;
    struct evidence_files *files;
    struct progress *progress;
    uint64_t done; /* entries and certificates */
    uint64_t size; /* entries appended */
    char (*ids)[37];
    struct ledger_tiles_writer writer;
    struct ledger_tiles_reader reader;
};

static enum status append(struct exporting *exporting, const uint8_t *entry, size_t bytes)
{
    json_t *value = json_from_canonical((const char *)entry, bytes);
    const char *id = json_string_value(json_object_get(value, "cert_id"));
    enum status status = STATUS_CORRUPT;
    if (id != NULL && evidence_name_is_plain(id) && strlen(id) < sizeof(exporting->ids[0])) {
        snprintf(exporting->ids[exporting->size], sizeof(exporting->ids[0]), "%s", id);
        status = ledger_tiles_append(&exporting->writer, entry, bytes);
    }
    json_decref(value);
    if (status == STATUS_OK) {
        exporting->size++;
        progress_set(exporting->progress, ++exporting->done);
    }
    return status;
}

/* Those that were exported before, checked by the checkpoint that stands beside them. */
static enum status append_old(struct exporting *exporting, const struct checkpoint *old, char *problem)
{
    const uint8_t *entry;
    size_t bytes;
    enum status status;
    ledger_tiles_open(&exporting->reader, exporting->files, old);
    while ((status = ledger_tiles_next(&exporting->reader, &entry, &bytes)) == STATUS_OK) {
        status = append(exporting, entry, bytes);
        if (status != STATUS_OK) {
            break;
        }
    }
    if (status == STATUS_CORRUPT) {
        snprintf(problem, LEDGER_EXPORT_PROBLEM_BYTES, "the export that is there is damaged: %.200s",
                 exporting->reader.problem);
        status = STATUS_CONFLICT;
    }
    ledger_tiles_close(&exporting->reader);
    return status == STATUS_CLOSED ? STATUS_OK : status;
}

static enum status append_new(struct exporting *exporting)
{
    enum status status = STATUS_OK;
    while (status == STATUS_OK && exporting->size < exporting->head->checkpoint.size) {
        Trilith__LedgerReadRequest request;
        trilith__ledger_read_request__init(&request);
        uint64_t left = exporting->head->checkpoint.size - exporting->size;
        request.first = exporting->size;
        request.max = left < ENTRIES_PER_CALL ? (uint32_t)left : ENTRIES_PER_CALL;
        ProtobufCMessage *message = NULL;
        status = admin_call(exporting->admin, TRILITH__MESSAGE_TYPE__LEDGER_READ, &request.base, &message);
        const Trilith__LedgerReadReply *reply = (const Trilith__LedgerReadReply *)message;
        if (status == STATUS_OK && (reply->n_entries == 0 || reply->n_entries > request.max)) {
            status = STATUS_CORRUPT;
        }
        for (size_t i = 0; status == STATUS_OK && i < reply->n_entries; i++) {
            status = append(exporting, reply->entries[i].data, reply->entries[i].len);
        }
        admin_reply_free(message);
    }
    return status;
}

/* The checkpoint of an export that is there. STATUS_OK: `old` is it; STATUS_NOT_FOUND: there is none; STATUS_CONFLICT.
 * */
static enum status open_old(struct exporting *exporting, struct checkpoint *old, char *problem)
{
    char *note = NULL;
    size_t bytes = 0;
    const struct checkpoint *head = &exporting->head->checkpoint;
    enum status status = exporting->files->read(exporting->files, "checkpoint", CHECKPOINT_BYTES_MAX, &note, &bytes);
    if (status != STATUS_OK) {
        return status;
    }
    if (open_note(keys_of(exporting->head), note, bytes, old) != STATUS_OK) {
        snprintf(problem, LEDGER_EXPORT_PROBLEM_BYTES,
                 "the checkpoint that is there is not signed with a key of this ledger");
        status = STATUS_CONFLICT;
    } else if (strcmp(old->origin, head->origin) != 0) {
        snprintf(problem, LEDGER_EXPORT_PROBLEM_BYTES, "what is there is the ledger %.80s", old->origin);
        status = STATUS_CONFLICT;
    } else if (old->size > head->size) {
        snprintf(problem, LEDGER_EXPORT_PROBLEM_BYTES,
                 "the export has %" PRIu64 " entries and the ledger only %" PRIu64 ": the ledger was rolled back",
                 old->size, head->size);
        status = STATUS_CONFLICT;
    }
    free(note);
    return status;
}

/* ---- certificates ---------------------------------------------------------------------------------- */

static enum status put_certificate(struct exporting *exporting, const char *id)
{
    char name[NAME_BYTES];
    char *there = NULL;
    size_t bytes = 0;
    snprintf(name, sizeof(name), "certificates/%s.jws", id);
    enum status status = exporting->files->read(exporting->files, name, JWS_BYTES_MAX, &there, &bytes);
    free(there);
    if (status == STATUS_OK) {
        return STATUS_OK; /* Whether it is the right one is for who verifies. */
    }
    Trilith__CertGetRequest request;
    ProtobufCMessage *found = NULL;
    status = cert_request_read(id, &request) ? cert_fetch_one(exporting->admin, &request, &found) : STATUS_CORRUPT;
    if (status == STATUS_OK) {
        const char *jws = ((const Trilith__CertGetReply *)found)->certificate->jws;
        status = exporting->files->write(exporting->files, name, jws, strlen(jws));
    }
    admin_reply_free(found);
    return status;
}

static enum status put_certificates(struct exporting *exporting)
{
    enum status status = STATUS_OK;
    for (uint64_t i = 0; i < exporting->size && status == STATUS_OK; i++) {
        status = put_certificate(exporting, exporting->ids[i]);
        progress_set(exporting->progress, ++exporting->done);
    }
    return status;
}

static enum status export_all(struct exporting *exporting, bool extend, uint64_t *old_size, char *problem)
{
    struct checkpoint old = {.size = 0};
    const char *note = ((const Trilith__LedgerHeadReply *)exporting->head->head)->checkpoint;
    enum status status = extend ? open_old(exporting, &old, problem) : STATUS_NOT_FOUND;
    if (status == STATUS_OK) {
        status = append_old(exporting, &old, problem);
    } else if (status == STATUS_NOT_FOUND) {
        status = STATUS_OK;
    }
    *old_size = old.size;
    status = status == STATUS_OK ? append_new(exporting) : status;
    status = status == STATUS_OK ? put_certificates(exporting) : status;
    status = status == STATUS_OK ? ledger_keys_write(keys_of(exporting->head), exporting->files) : status;
    if (status != STATUS_OK) {
        return status;
    }
    status = ledger_tiles_finish(&exporting->writer, note, strlen(note));
    if (status == STATUS_CONFLICT) {
        snprintf(problem, LEDGER_EXPORT_PROBLEM_BYTES,
                 old.size == 0
                     ? "the entries that the service gave are not those of its checkpoint"
                     : "the ledger does not begin with the entries of the export: it was changed or taken back");
    }
    return status;
}

enum status ledger_export(struct admin *admin, const struct ledger_head *head, struct evidence_files *files,
                          bool extend, struct progress *progress, uint64_t *old_size,
                          char problem[LEDGER_EXPORT_PROBLEM_BYTES])
{
    struct exporting *exporting = calloc(1, sizeof(*exporting));
    char(*ids)[37] = calloc(head->checkpoint.size + 1, sizeof(*ids));
    enum status status = STATUS_BUSY;
    *old_size = 0;
    problem[0] = '\0';
    if (exporting != NULL && ids != NULL) {
        exporting->admin = admin;
        exporting->head = head;
        exporting->files = files;
        exporting->progress = progress;
        exporting->ids = ids;
        ledger_tiles_writer_init(&exporting->writer, files);
        status = export_all(exporting, extend, old_size, problem);
    }
    free(ids);
    free(exporting);
    return status;
}
