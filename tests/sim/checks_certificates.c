/* checks_certificates.c - C1 to C4: what certificates say is so, the ledger only grows, every erasure gets
 * one, and none while a gateway has the key.
 *
 * Certificates are read as an auditor would: from the signed text, with the public keys that the cluster has announced. What
 * they say is held against the model, which has seen every write of every disk, and against the disks' bytes. */
#include "tests/sim/checks.h"
#include "tests/sim/residue.h"

#include "base/checkpoint.h"
#include "base/jws_pack.h"
#include "meta/state.h"
#include "meta/tables.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- what was announced --------------------------------------------------------------------------- */

static void note_signing_key(struct checked_evidence *evidence, const Trilith__SigningKey *key)
{
    CHECK(key != NULL && key->public_key.len == PUBLIC_KEY_BYTES);
    if (evidence->key_count < CHECKED_SIGNING_KEYS) {
        memcpy(evidence->keys[evidence->key_count++].bytes, key->public_key.data, PUBLIC_KEY_BYTES);
    }
}

/* The certificates of a command that was not refused stand in their rows. */
static bool was_issued(const struct check *check, const Trilith__CertIssue *issue)
{
    static uint8_t row[TABLE_VALUE_BYTES_MAX];
    size_t bytes = 0;
    struct table_key key = key_certificate(issue->first_seq);
    if (issue->n_certificates == 0 || !model_row(check->model, &key, row, sizeof(row), &bytes)) {
        return false;
    }
    Trilith__Certificate *certificate = trilith__certificate__unpack(NULL, bytes, row);
    CHECK(certificate != NULL);
    bool same = strcmp(certificate->id, issue->certificates[0]->id) == 0;
    trilith__certificate__free_unpacked(certificate, NULL);
    return same;
}

/* The plain text of the certificate that others were packed against; malloced. NULL: there is none. */
static char *dictionary_of(const struct check *check, uint64_t seq, size_t *bytes)
{
    static uint8_t row[TABLE_VALUE_BYTES_MAX];
    size_t row_bytes = 0;
    char *plain = NULL;
    struct table_key key = key_certificate(seq);
    *bytes = 0;
    if (seq != 0 && model_row(check->model, &key, row, sizeof(row), &row_bytes)) {
        Trilith__Certificate *first = trilith__certificate__unpack(NULL, row_bytes, row);
        CHECK(first != NULL);
        if (jws_unpack_plain(first->packed.data, first->packed.len, NULL, 0, &plain, bytes, NULL) != STATUS_OK) {
            sim_violated("C1", "certificate %s, which others are packed against, can't be unpacked", first->id);
        }
        trilith__certificate__free_unpacked(first, NULL);
    }
    return plain;
}

/* The signed text; malloced. */
static char *text_of(const struct check *check, const Trilith__Certificate *certificate)
{
    if (certificate->packed.len == 0) {
        return strdup(certificate->jws);
    }
    size_t bytes = 0;
    char *dictionary = dictionary_of(check, certificate->packed_against, &bytes);
    char *text = NULL;
    if (jws_unpack(certificate->packed.data, certificate->packed.len, dictionary, bytes, &text) != STATUS_OK) {
        sim_violated("C1", "certificate %s can't be unpacked", certificate->id);
    }
    free(dictionary);
    return text;
}

/* ---- C1 ------------------------------------------------------------------------------------------- */

static bool names_disk(const json_t *payload, const struct uuid *uuid, const char *state)
{
    char text[2 * sizeof(uuid->bytes) + 1];
    hex_encode(uuid->bytes, sizeof(uuid->bytes), text);
    size_t i;
    json_t *replica;
    json_array_foreach(json_object_get(payload, "replicas"), i, replica)
    {
        const char *named = json_string_value(json_object_get(json_object_get(replica, "disk"), "uuid"));
        const char *said = json_string_value(json_object_get(replica, "state"));
        size_t at = 0;
        for (const char *c = named; c != NULL && *c != '\0' && at < sizeof(text); c++) {
            if (*c != '-' && text[at++] != *c) {
                at = sizeof(text); /* Another one. */
            }
        }
        if (at == sizeof(text) - 1 && said != NULL && strcmp(said, state) == 0) {
            return true;
        }
    }
    return false;
}

static void check_copy(const struct check *check, const Trilith__Certificate *certificate, const json_t *payload,
                       const struct model_chunk *chunk, uint32_t disk)
{
    const struct model_copy *copy = &chunk->copies[disk];
    check_counts(check);
    if (copy->wipe != MODEL_WIPED) {
        sim_violated("C1", "certificate %s of erasure %" PRIu64 ": chunk %s was written to %s and is not wiped there",
                     certificate->id, certificate->erasure_id, hex_of(&chunk->id), disk_name(check, disk));
    }
    /* A device that loses writes by itself can make a store forget that it ever held the copy. */
    const struct uuid *uuid = &check->model->disks[disk].uuid;
    bool is_named = names_disk(payload, uuid, "wiped") ||
                    (model_disk_is_lossy(check->model, disk) && names_disk(payload, uuid, "never-held"));
    if (copy->erasure_id == certificate->erasure_id && !is_named) {
        sim_violated("C1", "certificate %s of erasure %" PRIu64 " does not name %s, where chunk %s was wiped",
                     certificate->id, certificate->erasure_id, disk_name(check, disk), hex_of(&chunk->id));
    }
    struct residue found;
    residue_of_copy(check, chunk, disk, !model_disk_may_lie_about_flushes(check->model, disk), &found);
    if (found.chunk != NULL) {
        sim_violated("C1", "certificate %s of erasure %" PRIu64 ": chunk %s stands on %s, %s at %" PRIu64,
                     certificate->id, certificate->erasure_id, hex_of(&chunk->id), disk_name(check, disk), found.name,
                     found.offset);
    }
}

/* A key that has signed it, or the run ends. */
static void check_signature(const struct check *check, const Trilith__Certificate *certificate, const struct jws *jws,
                            const char *text)
{
    const struct checked_evidence *evidence = &check->checkers->evidence;
    for (uint32_t i = 0; i < evidence->key_count; i++) {
        if (jws_verify(jws, text, &evidence->keys[i])) {
            return;
        }
    }
    sim_violated("C1", "certificate %s is signed by no key that was announced", certificate->id);
}

static void check_certificate(const struct check *check, const Trilith__Certificate *certificate)
{
    struct jws jws;
    char *text = text_of(check, certificate);
    CHECK(text != NULL);
    if (jws_open(&jws, text, strlen(text)) != STATUS_OK) {
        sim_violated("C1", "certificate %s is not a statement in canonical form", certificate->id);
    }
    check_signature(check, certificate, &jws, text);
    if (strcmp(certificate->type, "object-erasure") == 0) {
        if (!model_keys_are_gone(check->model, certificate->erasure_id)) {
            sim_violated("C1", "certificate %s of erasure %" PRIu64 ", and its keys can still be had", certificate->id,
                         certificate->erasure_id);
        }
        for (uint32_t i = 0; i < check->model->chunk_count; i++) {
            const struct model_chunk *chunk = check->model->chunks[i];
            for (uint32_t d = 0; chunk->erasure_id == certificate->erasure_id && d < MODEL_DISKS_MAX; d++) {
                if (chunk->copies[d].place_count > 0) {
                    check_copy(check, certificate, jws.payload, chunk, d);
                }
            }
        }
    }
    jws_close(&jws);
    free(text);
}

/* One that is issued again names the one before. */
static void note_certified(const struct check *check, const Trilith__Certificate *certificate)
{
    struct checked_evidence *evidence = &check->checkers->evidence;
    size_t id = (size_t)certificate->erasure_id;
    if (id == 0) {
        return;
    }
    if (id >= evidence->certified_end) {
        size_t end = id * 2 + 64;
        evidence->certified = realloc(evidence->certified, end * sizeof(evidence->certified[0]));
        CHECK(evidence->certified != NULL);
        memset(evidence->certified + evidence->certified_end, 0,
               (end - evidence->certified_end) * sizeof(evidence->certified[0]));
        evidence->certified_end = end;
    }
    if (evidence->certified[id] && certificate->supersedes[0] == '\0') {
        sim_violated("C1", "certificate %s is a second one of erasure %" PRIu64, certificate->id,
                     certificate->erasure_id);
    }
    evidence->certified[id] = true;
}

/* C1: a certificate of an object is issued only when the keys are beyond recovery and every copy that was ever written is
 * wiped on record and gone from the disk's bytes; it names each of those disks; it is signed by an announced key; and an erasure
 * has one, unless the next names the one before. */
void check_certificates(const struct check *check)
{
    struct checked_evidence *evidence = &check->checkers->evidence;
    if (check->change == NULL) {
        return;
    }
    if (check->command->change_case == TRILITH__COMMAND__CHANGE_SIGNING_KEY_ADD) {
        note_signing_key(evidence, check->command->signing_key_add->key);
    }
    if (check->command->change_case != TRILITH__COMMAND__CHANGE_CERT_ISSUE ||
        !was_issued(check, check->command->cert_issue)) {
        return;
    }
    for (size_t i = 0; i < check->command->cert_issue->n_certificates; i++) {
        check_certificate(check, check->command->cert_issue->certificates[i]);
        note_certified(check, check->command->cert_issue->certificates[i]);
    }
}

/* ---- C2 ------------------------------------------------------------------------------------------- */

/* C2: the ledger is what was appended, in that order, for ever: the tree over all entries that commands have brought has the
 * root that the signed checkpoint says; certificates are numbered without gaps. */
void check_ledger(const struct check *check)
{
    struct checked_evidence *evidence = &check->checkers->evidence;
    if (check->change == NULL || check->command->change_case != TRILITH__COMMAND__CHANGE_CERT_ISSUE ||
        !was_issued(check, check->command->cert_issue)) {
        return;
    }
    const Trilith__CertIssue *issue = check->command->cert_issue;
    check_counts(check);
    if (issue->first_seq != evidence->certificates + 1) {
        sim_violated("C2", "certificate %" PRIu64 " follows number %" PRIu64, issue->first_seq, evidence->certificates);
    }
    evidence->certificates += issue->n_certificates;
    for (size_t i = 0; i < issue->n_ledger_entries; i++) {
        struct merkle_hash leaf;
        merkle_leaf(issue->ledger_entries[i].data, issue->ledger_entries[i].len, &leaf);
        merkle_append(&evidence->ledger, &leaf, NULL, NULL);
    }
    struct checkpoint checkpoint;
    struct merkle_hash root;
    merkle_root(&evidence->ledger, &root);
    enum status status =
        checkpoint_open(issue->checkpoint, strlen(issue->checkpoint), evidence->keys, evidence->key_count, &checkpoint);
    if (status != STATUS_OK || checkpoint.size != evidence->ledger.size ||
        memcmp(checkpoint.root.bytes, root.bytes, sizeof(root.bytes)) != 0) {
        sim_violated("C2", "the checkpoint behind certificate %" PRIu64 " is not that of %" PRIu64 " entries: %s",
                     evidence->certificates, evidence->ledger.size, status_name(status));
    }
}

/* ---- C3 ------------------------------------------------------------------------------------------- */

/* C3: when everything has come to rest no erasure that is to have a certificate is without one. */
void check_certificates_come(const struct check *check)
{
    Trilith__ClusterRecord *cluster = model_cluster_record(check->model);
    if (cluster == NULL) {
        return;
    }
    check_counts(check);
    uint64_t due = cluster->certificates_due;
    trilith__cluster_record__free_unpacked(cluster, NULL);
    if (due > 0) {
        sim_violated("C3", "%" PRIu64 " erasures are closed at rest and have no certificate", due);
    }
}

/* ---- C4 ------------------------------------------------------------------------------------------- */

/* When its first chunk went; 0: it had none, or was before. */
static uint64_t erased_ns(const struct check *check, uint64_t erasure_id)
{
    for (uint32_t i = 0; i < check->model->chunk_count; i++) {
        const struct model_chunk *chunk = check->model->chunks[i];
        if (chunk->erasure_id == erasure_id && chunk->fate == MODEL_ERASED) {
            return chunk->fate_ns;
        }
    }
    return 0;
}

/* The oldest key that is held in the process's memory, by the journal's index. */
static uint64_t oldest_key(struct key_horizon *horizon)
{
    uint64_t oldest = UINT64_MAX;
    for (unsigned i = 0; i < atomic_load(&horizon->holder_count); i++) {
        uint64_t held = atomic_load(&horizon->holders[i].oldest);
        oldest = held < oldest ? held : oldest;
    }
    return oldest;
}

static void check_nobody_holds(const struct check *check, const Trilith__Certificate *certificate,
                               const Trilith__ErasureRecord *record)
{
    uint64_t gone_ns = erased_ns(check, certificate->erasure_id);
    uint64_t now_ms = state_time_ms(check->cluster->meta.meta_state);
    if (gone_ns == 0 || now_ms >= record->punctured_ms + check->cluster->options.key_lease_ms) {
        return;
    }
    for (uint32_t i = 0; i < check->cluster->node_count; i++) {
        struct sim_node *node = &check->cluster->nodes[i];
        bool is_meant = node->state == SIM_RUNNING && check->checkers->nodes[i].up_ns < gone_ns;
        if (is_meant) {
            check_counts(check);
        }
        if (is_meant && oldest_key(&node->horizon) < record->punctured_index) {
            sim_violated("C4",
                         "certificate %s of erasure %" PRIu64 ": %s holds a key of index %" PRIu64
                         ", the erasure is of index %" PRIu64,
                         certificate->id, certificate->erasure_id, node->name, oldest_key(&node->horizon),
                         record->punctured_index);
        }
    }
}

/* C4: when a certificate of an object is issued sooner than a lease of keys after its key was punctured, no process that ran
 * then has a key from before that in its memory. */
void check_certified_keys(const struct check *check)
{
    if (check->change == NULL || check->command->change_case != TRILITH__COMMAND__CHANGE_CERT_ISSUE ||
        !was_issued(check, check->command->cert_issue)) {
        return;
    }
    for (size_t i = 0; i < check->command->cert_issue->n_certificates; i++) {
        static uint8_t row[TABLE_VALUE_BYTES_MAX];
        const Trilith__Certificate *certificate = check->command->cert_issue->certificates[i];
        struct table_key key = key_erasure(certificate->erasure_id);
        size_t bytes = 0;
        if (certificate->erasure_id != 0 && model_row(check->model, &key, row, sizeof(row), &bytes)) {
            Trilith__ErasureRecord *record = trilith__erasure_record__unpack(NULL, bytes, row);
            CHECK(record != NULL);
            check_nobody_holds(check, certificate, record);
            trilith__erasure_record__free_unpacked(record, NULL);
        }
    }
}
