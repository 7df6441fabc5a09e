/* verify_issued.c - the certificates beside a ledger: first the keys, then each file, then their numbers.
 *
 * The files are read twice and not kept: first for the key manifests, which say with which keys the others may be
 * signed; of the others only figures stay in memory. */
#include "cluster/verify_issued.h"

#include "cluster/certificate_form.h"
#include "cluster/verify_certificate.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOLDER   "certificates"
#define KEYS_MAX 256 /* signing keys over the life of a cluster */

/* What stays of a certificate that has an entry of its own. */
struct issued {
    const struct ledger_entry *entry;
    uint64_t seq;
    bool is_batch;
    uint64_t first_seq;
    uint64_t last_seq;
    uint64_t certificates; /* totals */
    uint64_t erasures;
    struct merkle_hash objects_root;
};

struct manifest {
    uint64_t index; /* of its entry */
    char *text;
    size_t bytes;
};

struct issued_check {
    const struct ledger_question *question;
    const struct ledger_entries *entries;
    struct verify_report *report;
    char **names;
    size_t name_count;
    struct public_key keys[KEYS_MAX]; /* those given, then those that manifests vouch for */
    size_t key_count;
    struct manifest *manifests;
    size_t manifest_count;
    struct issued *issued;
    size_t issued_count;
    size_t objects;
    size_t objects_without_batch;
};

/* ---- files ------------------------------------------------------------------------------------- */

static bool is_certificate_name(const char *name)
{
    size_t length = strlen(name);
    return length > 4 && length < 128 && strcmp(name + length - 4, ".jws") == 0;
}

/* The text without the newline that may end it: what the ledger's SHA-256 is over. */
static enum status read_certificate(struct issued_check *check, const char *name, char **text, size_t *bytes)
{
    char path[160];
    struct evidence_files *files = check->question->files;
    (void)snprintf(path, sizeof(path), FOLDER "/%s", name);
    enum status status = files->read(files, path, JWS_BYTES_MAX + 1, text, bytes);
    if (status != STATUS_OK) {
        return verify_refuse(check->report, "%s %s", path, verify_file_words(status));
    }
    *bytes -= *bytes > 0 && (*text)[*bytes - 1] == '\n' ? 1 : 0;
    return STATUS_OK;
}

static enum status open_certificate(struct issued_check *check, const char *name, const char *text, size_t bytes,
                                    struct jws *jws)
{
    if (jws_open(jws, text, bytes) != STATUS_OK || strcmp(jws->type, CERTIFICATE_JWS_TYPE) != 0) {
        return verify_refuse(check->report, FOLDER "/%s is no certificate in canonical form", name);
    }
    enum status status = certificate_form_check(jws->payload, check->report);
    if (status != STATUS_OK) {
        char problem[VERIFY_LINE_BYTES];
        memcpy(problem, check->report->problem, sizeof(problem));
        check->report->problem[0] = '\0';
        return verify_refuse(check->report, FOLDER "/%s: %.240s", name, problem);
    }
    return STATUS_OK;
}

static bool is_signed(const struct issued_check *check, const struct jws *jws, const char *text)
{
    for (size_t i = 0; i < check->key_count; i++) {
        if (jws_verify(jws, text, &check->keys[i])) {
            return true;
        }
    }
    return false;
}

/* The entry of a certificate, and that it states this text. NULL: refused. */
static const struct ledger_entry *entry_of(struct issued_check *check, const char *name, const json_t *payload,
                                           const char *text, size_t bytes)
{
    uint8_t digest[SHA256_BYTES];
    const struct ledger_entry *entry = ledger_entries_find(check->entries, certificate_text(payload, "cert_id"));
    if (entry == NULL) {
        (void)verify_refuse(check->report, FOLDER "/%s does not stand in the ledger", name);
        return NULL;
    }
    sha256(text, bytes, digest);
    if (memcmp(digest, entry->sha256, SHA256_BYTES) != 0) {
        (void)verify_refuse(check->report, FOLDER "/%s does not have the SHA-256 that entry %" PRIu64 " states", name,
                            entry->index);
        return NULL;
    }
    if (strcmp(check->entries->types[entry->type], certificate_text(payload, "type")) != 0) {
        (void)verify_refuse(check->report, FOLDER "/%s is of another type than entry %" PRIu64 " says", name,
                            entry->index);
        return NULL;
    }
    return entry;
}

/* ---- keys -------------------------------------------------------------------------------------- */

/* Keep a manifest's text for check_manifests(), which needs them in the ledger's order. */
static enum status keep_manifest(struct issued_check *check, const char *name, const json_t *payload, char **text,
                                 size_t bytes)
{
    const struct ledger_entry *entry = entry_of(check, name, payload, *text, bytes);
    if (entry == NULL) {
        return STATUS_DENIED;
    }
    if (check->manifest_count == KEYS_MAX) {
        return verify_refuse(check->report, "there are more than %d key manifests", KEYS_MAX);
    }
    check->manifests[check->manifest_count++] = (struct manifest){.index = entry->index, .text = *text, .bytes = bytes};
    *text = NULL;
    return STATUS_OK;
}

static enum status find_manifests(struct issued_check *check)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < check->name_count; i++) {
        struct jws jws = {0};
        char *text = NULL;
        size_t bytes = 0;
        if (!is_certificate_name(check->names[i])) {
            continue;
        }
        status = read_certificate(check, check->names[i], &text, &bytes);
        if (status == STATUS_OK) {
            status = open_certificate(check, check->names[i], text, bytes, &jws);
        }
        if (status == STATUS_OK && certificate_is(jws.payload, CERTIFICATE_MANIFEST)) {
            status = keep_manifest(check, check->names[i], jws.payload, &text, bytes);
        }
        jws_close(&jws);
        free(text);
    }
    return status;
}

static int compare_manifests(const void *a, const void *b)
{
    const struct manifest *first = a;
    const struct manifest *second = b;
    return first->index < second->index ? -1 : first->index > second->index;
}

static bool key_of_manifest(const json_t *payload, size_t at, struct public_key *key)
{
    const json_t *text = certificate_member(json_array_get(certificate_member(payload, "keys"), at), "public_key");
    struct merkle_hash bytes;
    if (!certificate_hash(text, &bytes)) {
        return false;
    }
    memcpy(key->bytes, bytes.bytes, PUBLIC_KEY_BYTES);
    return true;
}

static bool knows_key(const struct issued_check *check, const struct public_key *key)
{
    for (size_t i = 0; i < check->key_count; i++) {
        if (memcmp(check->keys[i].bytes, key->bytes, PUBLIC_KEY_BYTES) == 0) {
            return true;
        }
    }
    return false;
}

/* The key that a manifest is signed with must be one of those it lists, and from the second manifest on the one that
 * the manifest before it made the current. The ledger, signed by a key that was given, vouches for the first one. */
static enum status check_manifest(struct issued_check *check, const struct manifest *manifest,
                                  const struct public_key *before, struct public_key *current)
{
    struct jws jws;
    struct public_key key;
    bool is_signed_by_listed = false;
    enum status status =
        jws_open(&jws, manifest->text, manifest->bytes) == STATUS_OK
            ? STATUS_OK
            : verify_refuse(check->report, "entry %" PRIu64 ": the key manifest is malformed", manifest->index);
    bool is_successor = before == NULL || (status == STATUS_OK && jws_verify(&jws, manifest->text, before));
    uint64_t highest = 0;
    for (size_t i = 0; status == STATUS_OK && i < json_array_size(certificate_member(jws.payload, "keys")); i++) {
        uint64_t number = certificate_number(json_array_get(certificate_member(jws.payload, "keys"), i), "number");
        if (!key_of_manifest(jws.payload, i, &key)) {
            continue;
        }
        is_signed_by_listed = is_signed_by_listed || jws_verify(&jws, manifest->text, &key);
        if (number >= highest) {
            highest = number;
            *current = key;
        }
        if (!knows_key(check, &key) && check->key_count < KEYS_MAX) {
            check->keys[check->key_count++] = key;
        }
    }
    jws_close(&jws);
    if (status == STATUS_OK && (!is_signed_by_listed || !is_successor || highest == 0)) {
        status = verify_refuse(check->report,
                               "the key manifest of entry %" PRIu64
                               " is not signed by %s: the keys do not follow one another",
                               manifest->index, is_successor ? "a key that it lists" : "the key before it");
    }
    return status;
}

static enum status check_manifests(struct issued_check *check)
{
    struct public_key current[2];
    enum status status = STATUS_OK;
    if (check->manifest_count > 1) {
        qsort(check->manifests, check->manifest_count, sizeof(*check->manifests), compare_manifests);
    }
    for (size_t i = 0; status == STATUS_OK && i < check->manifest_count; i++) {
        status = check_manifest(check, &check->manifests[i], i == 0 ? NULL : &current[(i - 1) % 2], &current[i % 2]);
    }
    if (status == STATUS_OK && check->manifest_count > 0) {
        verify_checked(check->report, "%zu key manifests: each key is signed for by the one before it",
                       check->manifest_count);
    }
    return status;
}

/* ---- certificates ------------------------------------------------------------------------------ */

static enum status keep_issued(struct issued_check *check, const char *name, const json_t *payload, const char *text,
                               size_t bytes)
{
    const struct ledger_entry *entry = entry_of(check, name, payload, text, bytes);
    if (entry == NULL) {
        return STATUS_DENIED;
    }
    struct issued *issued = &check->issued[check->issued_count++];
    *issued = (struct issued){.entry = entry,
                              .seq = certificate_number(payload, "seq"),
                              .is_batch = certificate_is(payload, CERTIFICATE_BATCH)};
    if (issued->is_batch) {
        issued->first_seq = certificate_number(payload, "erasures.first_seq");
        issued->last_seq = certificate_number(payload, "erasures.last_seq");
        issued->certificates = certificate_number(payload, "totals.certificates");
        issued->erasures = certificate_number(payload, "totals.erasures");
        (void)certificate_hash(certificate_member(payload, "erasures.objects_root"), &issued->objects_root);
    }
    return STATUS_OK;
}

/* `issued` is sorted by entry here, and so are the entries. */
static int compare_issued_entry(const void *a, const void *b)
{
    const struct ledger_entry *first = ((const struct issued *)a)->entry;
    const struct ledger_entry *second = ((const struct issued *)b)->entry;
    return first < second ? -1 : first > second;
}

/* An object's certificate has no entry: it stands in a batch that has one. */
static enum status check_object(struct issued_check *check, const char *name, const json_t *payload)
{
    struct merkle_hash root;
    struct issued wanted = {.entry =
                                ledger_entries_find(check->entries, certificate_text(payload, "batch.epoch_cert_id"))};
    if (wanted.entry == NULL) {
        return verify_refuse(check->report, FOLDER "/%s belongs to a batch that does not stand in the ledger", name);
    }
    const struct issued *batch = check->issued_count == 0 ? NULL
                                                          : bsearch(&wanted, check->issued, check->issued_count,
                                                                    sizeof(*check->issued), compare_issued_entry);
    if (batch == NULL) {
        check->objects_without_batch++;
        return STATUS_OK;
    }
    uint64_t seq = certificate_number(payload, "seq");
    bool in_place = batch->is_batch && seq == batch->first_seq + certificate_number(payload, "batch.leaf_index") &&
                    seq <= batch->last_seq;
    if (!in_place || !certificate_hash(certificate_member(payload, "batch.objects_root"), &root) ||
        memcmp(root.bytes, batch->objects_root.bytes, SHA256_BYTES) != 0 ||
        !certificate_path_is_good(payload, batch->last_seq - batch->first_seq + 1)) {
        return verify_refuse(check->report, FOLDER "/%s is not part of the batch that it names", name);
    }
    return STATUS_OK;
}

static enum status check_file(struct issued_check *check, const char *name, bool objects)
{
    struct jws jws = {0};
    char *text = NULL;
    size_t bytes = 0;
    enum status status = read_certificate(check, name, &text, &bytes);
    if (status == STATUS_OK) {
        status = open_certificate(check, name, text, bytes, &jws);
    }
    if (status == STATUS_OK && certificate_is(jws.payload, CERTIFICATE_OBJECT) != objects) {
        jws_close(&jws);
        free(text);
        return STATUS_OK;
    }
    if (status == STATUS_OK && !is_signed(check, &jws, text)) {
        status =
            verify_refuse(check->report, FOLDER "/%s is not signed by any key of this ledger, or was changed", name);
    }
    if (status == STATUS_OK && certificate_rules_check(jws.payload, check->report) != STATUS_OK) {
        char problem[VERIFY_LINE_BYTES];
        memcpy(problem, check->report->problem, sizeof(problem));
        check->report->problem[0] = '\0';
        status = verify_refuse(check->report, FOLDER "/%s: %.240s", name, problem);
    }
    if (status == STATUS_OK && !objects) {
        status = keep_issued(check, name, jws.payload, text, bytes);
    }
    if (status == STATUS_OK && objects) {
        check->objects++;
        status = check_object(check, name, jws.payload);
    }
    jws_close(&jws);
    free(text);
    return status;
}

static enum status check_files(struct issued_check *check, bool objects)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < check->name_count; i++) {
        if (is_certificate_name(check->names[i])) {
            status = check_file(check, check->names[i], objects);
        }
    }
    return status;
}

/* ---- numbers ----------------------------------------------------------------------------------- */

static int compare_issued_index(const void *a, const void *b)
{
    uint64_t first = ((const struct issued *)a)->entry->index;
    uint64_t second = ((const struct issued *)b)->entry->index;
    return first < second ? -1 : first > second;
}

/* Two files of the same certificate count as one. `issued` is sorted. */
static void drop_repeated(struct issued_check *check)
{
    size_t kept = 0;
    for (size_t i = 0; i < check->issued_count; i++) {
        if (kept == 0 || check->issued[kept - 1].entry != check->issued[i].entry) {
            check->issued[kept++] = check->issued[i];
        }
    }
    check->issued_count = kept;
}

/* In the order of the ledger, numbers and totals never go back. */
static enum status check_order(struct issued_check *check)
{
    const struct issued *before = NULL;
    const struct issued *batch = NULL;
    for (size_t i = 0; i < check->issued_count; i++) {
        const struct issued *issued = &check->issued[i];
        if (before != NULL && issued->seq <= before->seq) {
            return verify_refuse(check->report,
                                 "entry %" PRIu64 " has the number %" PRIu64 ", though entry %" PRIu64
                                 " before it has %" PRIu64,
                                 issued->entry->index, issued->seq, before->entry->index, before->seq);
        }
        if (issued->is_batch && batch != NULL &&
            (issued->certificates <= batch->certificates || issued->erasures < batch->erasures)) {
            return verify_refuse(check->report, "the totals of entry %" PRIu64 " are less than those of entry %" PRIu64,
                                 issued->entry->index, batch->entry->index);
        }
        before = issued;
        batch = issued->is_batch ? issued : batch;
    }
    return STATUS_OK;
}

struct number_range {
    uint64_t first;
    uint64_t last;
    uint64_t index; /* of the entry that accounts for them */
};

static int compare_ranges(const void *a, const void *b)
{
    const struct number_range *first = a;
    const struct number_range *second = b;
    return first->first < second->first ? -1 : first->first > second->first;
}

/* Every number from 1 on is accounted for by exactly one entry. */
static enum status check_gaps(struct issued_check *check)
{
    struct number_range *ranges = calloc(2 * check->issued_count + 1, sizeof(*ranges));
    size_t count = 0;
    uint64_t next = 1;
    enum status status = ranges != NULL ? STATUS_OK : verify_refuse(check->report, "out of memory");
    for (size_t i = 0; ranges != NULL && i < check->issued_count; i++) {
        const struct issued *issued = &check->issued[i];
        ranges[count++] = (struct number_range){issued->seq, issued->seq, issued->entry->index};
        if (issued->is_batch) {
            ranges[count++] = (struct number_range){issued->first_seq, issued->last_seq, issued->entry->index};
        }
    }
    if (count > 1) {
        qsort(ranges, count, sizeof(*ranges), compare_ranges);
    }
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        if (ranges[i].first > next) {
            status = verify_refuse(check->report, "certificate number %" PRIu64 " is missing: no entry accounts for it",
                                   next);
        } else if (ranges[i].first < next) {
            status =
                verify_refuse(check->report, "entry %" PRIu64 " takes the number %" PRIu64 ", which another one has",
                              ranges[i].index, ranges[i].first);
        }
        next = ranges[i].last + 1;
    }
    free(ranges);
    return status;
}

static enum status check_numbers(struct issued_check *check)
{
    if (check->issued_count > 1) {
        qsort(check->issued, check->issued_count, sizeof(*check->issued), compare_issued_index);
    }
    enum status status = check_order(check);
    if (status != STATUS_OK) {
        return status;
    }
    if (check->issued_count < check->entries->count) {
        verify_unchecked(check->report,
                         "%zu entries whose certificates are not in " FOLDER "/, and so whether numbers are missing",
                         check->entries->count - check->issued_count);
        return STATUS_OK;
    }
    status = check_gaps(check);
    if (status == STATUS_OK) {
        verify_checked(check->report, "certificates are numbered from 1 without a gap");
    }
    return status;
}

/* ---- all of it --------------------------------------------------------------------------------- */

static void report_counts(struct issued_check *check)
{
    verify_checked(check->report, "%zu certificates are signed and have the SHA-256 that the ledger states",
                   check->issued_count);
    if (check->objects > check->objects_without_batch) {
        verify_checked(check->report, "%zu certificates of objects are signed and part of their batches",
                       check->objects - check->objects_without_batch);
    }
    if (check->objects_without_batch > 0) {
        verify_unchecked(check->report, "%zu certificates of objects: those of their batches are not in " FOLDER "/",
                         check->objects_without_batch);
    }
}

static enum status check_all(struct issued_check *check)
{
    enum status status = find_manifests(check);
    if (status == STATUS_OK) {
        status = check_manifests(check);
    }
    if (status == STATUS_OK) {
        status = check_files(check, false);
    }
    if (status != STATUS_OK) {
        return status;
    }
    if (check->issued_count > 1) {
        qsort(check->issued, check->issued_count, sizeof(*check->issued), compare_issued_entry);
    }
    drop_repeated(check);
    status = check_files(check, true);
    if (status == STATUS_OK) {
        status = check_numbers(check);
    }
    if (status == STATUS_OK) {
        report_counts(check);
    }
    return status;
}

static enum status check_folder(struct issued_check *check)
{
    const struct ledger_question *question = check->question;
    CHECK(question->key_count <= VERIFY_KEYS_MAX);
    memcpy(check->keys, question->keys, question->key_count * sizeof(*check->keys));
    check->key_count = question->key_count;
    check->issued = calloc(check->name_count + 1, sizeof(*check->issued));
    check->manifests = calloc(KEYS_MAX, sizeof(*check->manifests));
    enum status status = check->issued != NULL && check->manifests != NULL
                             ? check_all(check)
                             : verify_refuse(check->report, "out of memory");
    for (size_t i = 0; i < check->manifest_count; i++) {
        free(check->manifests[i].text);
    }
    free(check->manifests);
    free(check->issued);
    return status;
}

enum status verify_issued(const struct ledger_question *question, const struct ledger_entries *entries,
                          struct verify_report *report)
{
    struct issued_check *check = calloc(1, sizeof(*check));
    if (check == NULL) {
        return verify_refuse(report, "out of memory");
    }
    *check = (struct issued_check){.question = question, .entries = entries, .report = report};
    enum status status =
        question->files->list(question->files, FOLDER, VERIFY_LEDGER_ENTRIES_MAX, &check->names, &check->name_count);
    if (status == STATUS_NOT_FOUND) {
        verify_unchecked(report, "the certificates themselves: there is no folder " FOLDER "/");
        status = STATUS_OK;
    } else if (status != STATUS_OK) {
        status = verify_refuse(report, FOLDER "/ %s", verify_file_words(status));
    } else {
        status = check_folder(check);
        evidence_names_free(check->names, check->name_count);
    }
    free(check);
    return status;
}
