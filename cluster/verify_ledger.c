/* verify_ledger.c - the checkpoint, then every entry; the certificates beside them are in verify_issued.c. */
#include "cluster/verify_ledger.h"

#include "cluster/certificate_form.h"
#include "cluster/ledger_tiles.h"
#include "cluster/verify_issued.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ledger_check {
    const struct ledger_question *question;
    struct verify_report *report;
    struct checkpoint head;
    struct checkpoint since;
    struct ledger_tiles_reader reader;
    struct ledger_entries entries;
};

/* ---- checkpoints ------------------------------------------------------------------------------- */

static enum status open_checkpoint(struct ledger_check *check, const char *what, const char *note, size_t bytes,
                                   struct checkpoint *checkpoint)
{
    switch (checkpoint_open(note, bytes, check->question->keys, check->question->key_count, checkpoint)) {
    case STATUS_OK:
        return STATUS_OK;
    case STATUS_INVALID:
        return verify_refuse(check->report, "%s is no checkpoint: a line of it is malformed", what);
    default:
        return verify_refuse(check->report,
                             "%s is not signed by any of the keys given, or was changed after it was signed", what);
    }
}

static enum status check_head(struct ledger_check *check)
{
    char *note = NULL;
    size_t bytes = 0;
    struct evidence_files *files = check->question->files;
    enum status status = files->read(files, "checkpoint", CHECKPOINT_NOTE_MAX, &note, &bytes);
    if (status != STATUS_OK) {
        return verify_refuse(check->report, "checkpoint %s", verify_file_words(status));
    }
    status = open_checkpoint(check, "checkpoint", note, bytes, &check->head);
    free(note);
    if (status != STATUS_OK) {
        return status;
    }
    if (check->head.size > VERIFY_LEDGER_ENTRIES_MAX) {
        return verify_refuse(check->report, "the ledger has %" PRIu64 " entries; this program checks up to %u",
                             check->head.size, VERIFY_LEDGER_ENTRIES_MAX);
    }
    verify_checked(check->report, "the checkpoint of %s over %" PRIu64 " entries is signed by one of the keys given",
                   check->head.origin, check->head.size);
    return STATUS_OK;
}

static enum status check_since(struct ledger_check *check)
{
    const struct ledger_question *question = check->question;
    if (question->since == NULL) {
        verify_unchecked(check->report, "whether the ledger has only grown: no earlier checkpoint was given (--since)");
        return STATUS_OK;
    }
    enum status status =
        open_checkpoint(check, "the earlier checkpoint", question->since, question->since_bytes, &check->since);
    if (status != STATUS_OK) {
        return status;
    }
    if (strcmp(check->since.origin, check->head.origin) != 0) {
        return verify_refuse(check->report, "the earlier checkpoint is of another ledger, %s", check->since.origin);
    }
    if (check->since.size > check->head.size) {
        return verify_refuse(
            check->report, "the ledger was rolled back: it has %" PRIu64 " entries, and an earlier checkpoint %" PRIu64,
            check->head.size, check->since.size);
    }
    return STATUS_OK;
}

/* Called when the tree has as many entries as the earlier checkpoint. */
static enum status compare_since(struct ledger_check *check)
{
    struct merkle_hash root;
    if (check->question->since == NULL || check->reader.edge.tree.size != check->since.size) {
        return STATUS_OK;
    }
    merkle_root(&check->reader.edge.tree, &root);
    if (memcmp(root.bytes, check->since.root.bytes, SHA256_BYTES) != 0) {
        return verify_refuse(check->report,
                             "the ledger was rewritten: its first %" PRIu64
                             " entries are not those that the earlier checkpoint was signed over",
                             check->since.size);
    }
    verify_checked(check->report, "the ledger begins with the %" PRIu64 " entries of the earlier checkpoint",
                   check->since.size);
    return STATUS_OK;
}

/* ---- entries ----------------------------------------------------------------------------------- */

static uint64_t entry_index(const struct ledger_check *check)
{
    return check->reader.edge.tree.size - 1; /* of the one that was given out last */
}

static enum status take_entry(struct ledger_check *check, const uint8_t *text, size_t bytes)
{
    struct ledger_entry entry = {.index = entry_index(check)};
    json_t *value = json_from_canonical((const char *)text, bytes);
    enum status status = STATUS_OK;
    if (!ledger_entry_read(value, &check->entries, &entry)) {
        status = verify_refuse(
            check->report, "entry %" PRIu64 " is not the canonical JSON of an entry (cert_id, epoch, sha256, type, v)",
            entry.index);
    } else if (!ledger_entries_add(&check->entries, &entry)) {
        status = verify_refuse(check->report, "out of memory");
    }
    json_decref(value);
    return status;
}

static enum status read_entries(struct ledger_check *check)
{
    enum status status = compare_since(check); /* an earlier ledger may have been empty */
    while (status == STATUS_OK) {
        const uint8_t *entry = NULL;
        size_t bytes = 0;
        status = ledger_tiles_next(&check->reader, &entry, &bytes);
        if (status == STATUS_CLOSED) {
            verify_checked(check->report, "all entries and tiles give the root that the checkpoint states");
            return STATUS_OK;
        }
        if (status != STATUS_OK) {
            return verify_refuse(check->report, "%s", check->reader.problem);
        }
        status = take_entry(check, entry, bytes);
        if (status == STATUS_OK) {
            status = compare_since(check);
        }
    }
    return status;
}

static enum status check_twice(struct ledger_check *check)
{
    ledger_entries_sort(&check->entries);
    for (size_t i = 1; i < check->entries.count; i++) {
        const struct ledger_entry *before = &check->entries.list[i - 1];
        const struct ledger_entry *entry = &check->entries.list[i];
        if (memcmp(before->cert_id, entry->cert_id, sizeof(entry->cert_id)) == 0) {
            char hex[ID_HEX_BYTES];
            id_to_hex(entry->cert_id, hex);
            return verify_refuse(
                check->report, "the certificate %s stands in the ledger twice, as entry %" PRIu64 " and entry %" PRIu64,
                hex, before->index, entry->index);
        }
    }
    verify_checked(check->report, "every entry has its form, and no certificate stands there twice");
    return STATUS_OK;
}

static enum status check_all(struct ledger_check *check)
{
    enum status status = check_head(check);
    if (status == STATUS_OK) {
        status = check_since(check);
    }
    if (status != STATUS_OK) {
        return status;
    }
    ledger_tiles_open(&check->reader, check->question->files, &check->head);
    status = read_entries(check);
    ledger_tiles_close(&check->reader);
    if (status == STATUS_OK) {
        status = check_twice(check);
    }
    return status == STATUS_OK ? verify_issued(check->question, &check->entries, check->report) : status;
}

enum status verify_ledger(const struct ledger_question *question, struct verify_report *report, struct checkpoint *head)
{
    memset(report, 0, sizeof(*report));
    struct ledger_check *check = calloc(1, sizeof(*check));
    if (check == NULL) {
        return verify_refuse(report, "out of memory");
    }
    check->question = question;
    check->report = report;
    enum status status = check_all(check);
    *head = check->head;
    ledger_entries_free(&check->entries);
    free(check);
    return status;
}
