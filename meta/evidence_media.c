/* evidence_media.c - from a request, its plan, and the report that was accepted to the certificate of a medium. */
#include "meta/evidence_media.h"

#include "meta/decommission.h"
#include "meta/people.h"
#include "meta/registry.h"

#include <string.h>

static const char statement_purge[] = "Purge of the whole medium by the device's own sanitize command, as the device "
                                      "reports it; what was read back held nothing of before.";
static const char statement_clear[] = "Clear of the medium: every block that the system could address was overwritten "
                                      "and read back as stated. Areas that it could not address "
                                      "were not reached.";
static const char statement_none[] =
    "No media-level Clear, Purge or Destroy is claimed. What was on the disk was encrypted before it got there.";
static const char statement_dead[] =
    "No sanitization of this medium was possible: it answered nothing, and nothing is "
    "known of what is on it now. What it may hold of objects that were erased before it "
    "was removed is sealed under keys that are destroyed; what it may hold of other "
    "objects is sealed under keys that exist until these are erased. The medium itself "
    "should be destroyed.";
static const char basis_report[] = "a report, a verification and a validation signed by the people named";
static const char basis_drained[] =
    "every placement group was moved away first, and the node reported the disk as empty";
static const char basis_keys[] =
    "what it may hold is sealed, under keys that are destroyed with the erasure of each object";

/* ---- what it is made from ------------------------------------------------------------------------- */

struct media_facts {
    const struct evidence_issuer *issuer;
    const Trilith__Request *request;
    json_t *plan;    /* owned, as what follows */
    json_t *drained; /* NULL: no such fact */
    json_t *handed_in;
    struct jws report;
    struct jws verification;
    struct jws validation;
    bool reported;
    const char *method;
    Trilith__Medium *medium; /* NULL: not known; in the scratch */
    Trilith__MapDisk *disk;
    Trilith__MapNode *node;
};

static void facts_close(struct media_facts *facts)
{
    json_decref(facts->plan);
    json_decref(facts->drained);
    json_decref(facts->handed_in);
    jws_close(&facts->report);
    jws_close(&facts->verification);
    jws_close(&facts->validation);
}

static bool open_texts(struct media_facts *facts)
{
    const char *report = medium_text(facts->handed_in, "report");
    const char *verification = medium_text(facts->handed_in, "verification");
    const char *validation = medium_text(facts->handed_in, "validation");
    return medium_report_open(&facts->report, report, strlen(report)) == STATUS_OK &&
           medium_decision_open(&facts->verification, verification, strlen(verification), MEDIUM_VERIFIER, report,
                                strlen(report)) == STATUS_OK &&
           medium_decision_open(&facts->validation, validation, strlen(validation), MEDIUM_VALIDATOR, report,
                                strlen(report)) == STATUS_OK;
}

static bool is_accepted(const struct media_facts *facts)
{
    return facts->reported && strcmp(medium_text(facts->verification.payload, "decision"), "accept") == 0 &&
           strcmp(medium_text(facts->validation.payload, "decision"), "accept") == 0;
}

static enum status facts_read(struct tables *tables, const Trilith__RequestRecord *record, struct media_facts *facts)
{
    facts->request = record->request;
    facts->plan = json_from_canonical((const char *)record->request->plan.data, record->request->plan.len);
    facts->drained = decommission_fact(record, DECOMMISSION_DRAINING);
    facts->handed_in = record->request->dead ? NULL : decommission_fact(record, DECOMMISSION_MEDIUM);
    facts->reported = facts->handed_in != NULL && open_texts(facts);
    if (!record->request->dead && !facts->reported) {
        return tables_fail(tables, STATUS_CORRUPT); /* It would not be here. */
    }
    facts->method = is_accepted(facts) ? medium_report_method(facts->report.payload) : "none";
    enum status status = registry_disk(tables, record->request->disk_id, &facts->disk);
    if (status == STATUS_OK) {
        status = registry_node(tables, facts->disk->node_id, &facts->node);
    }
    if (status != STATUS_OK) {
        return tables_missing(tables, status);
    }
    status = registry_medium(tables, record->request->disk_id, &facts->medium);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* ---- members -------------------------------------------------------------------------------------- */

/* A member of what was reported, or null. */
static json_t *copy_of(const json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);
    return value == NULL ? json_null() : json_incref(value);
}

static void copy_members(json_t *target, const json_t *source, const char *const *names, size_t count, bool *good)
{
    for (size_t i = 0; i < count; i++) {
        evidence_put(target, names[i], copy_of(source, names[i]), good);
    }
}

/* What the node told, where the report does not know. */
static void fill_in(json_t *media, const char *name, json_t *told, bool *good)
{
    if (json_is_null(json_object_get(media, name))) {
        evidence_put(media, name, told, good);
    } else {
        json_decref(told);
    }
}

static json_t *media_value(const struct media_facts *facts, bool *good)
{
    static const char *const names[] = {"name",
                                        "manufacturer",
                                        "model",
                                        "serial",
                                        "type",
                                        "interface",
                                        "wwn",
                                        "firmware",
                                        "capacity_bytes",
                                        "native_max_lba",
                                        "hpa_dco",
                                        "namespaces",
                                        "smart_before",
                                        "smart_after",
                                        "rotational",
                                        "virtual",
                                        "stores",
                                        "barcode_scanned",
                                        "scan_matches_identify"};
    const Trilith__Medium *medium = facts->medium;
    const json_t *reported = facts->reported ? json_object_get(facts->report.payload, "media") : NULL;
    json_t *media = json_object();
    copy_members(media, reported, names, ARRAY_LENGTH(names), good);
    evidence_put(media, "property_number", evidence_text(facts->request->property_number), good);
    if (medium != NULL) {
        fill_in(media, "manufacturer", evidence_text(medium->vendor), good);
        fill_in(media, "model", evidence_text(medium->model), good);
        fill_in(media, "serial", evidence_text(medium->serial), good);
        fill_in(media, "wwn", evidence_text(medium->wwn), good);
        fill_in(media, "firmware", evidence_text(medium->firmware), good);
        fill_in(media, "interface", evidence_text(medium->interface), good);
        fill_in(media, "name", evidence_text(medium->device), good);
        fill_in(media, "capacity_bytes", medium->capacity == 0 ? json_null() : evidence_number(medium->capacity), good);
    }
    return media;
}

static json_t *source_value(const struct media_facts *facts, bool *good)
{
    const json_t *reported = facts->reported ? json_object_get(facts->report.payload, "source") : NULL;
    json_t *source = json_object();
    evidence_put(source, "cluster", evidence_uuid(facts->issuer->cluster_id), good);
    evidence_put(source, "node", evidence_text(facts->node->name), good);
    evidence_put(source, "disk", evidence_uuid(facts->disk->uuid.data), good);
    evidence_put(source, "slot", copy_of(reported, "slot"), good);
    evidence_put(source, "host", copy_of(reported, "host"), good);
    evidence_put(source, "host_serial", copy_of(reported, "host_serial"), good);
    return source;
}

static json_t *drain_value(const struct media_facts *facts, bool *good)
{
    uint64_t at_ms = medium_number(facts->drained, "at_ms");
    json_t *drain = json_object();
    evidence_put(drain, "live_replicas", copy_of(facts->drained, "chunks_reported"), good);
    evidence_put(drain, "placement_groups", copy_of(facts->drained, "pgs"), good);
    evidence_put(drain, "owed_wipes", copy_of(facts->drained, "owes_wipes"), good);
    evidence_put(drain, "proven_empty_at",
                 facts->request->dead || at_ms == UINT64_MAX ? json_null() : evidence_time(at_ms), good);
    evidence_put(drain, "last_chunk_moved_at", json_null(), good);
    evidence_put(drain, "ever_held_chunks", json_null(), good);
    evidence_put(drain, "pgs_ever", copy_of(json_object_get(facts->plan, "inventory"), "pgs_ever"), good);
    evidence_put(drain, "inventory_root", json_null(), good);
    return drain;
}

static json_t *sanitization_value(const struct media_facts *facts, bool *good)
{
    static const char *const names[] = {
        "technique", "details", "tool", "steps", "disk_key", "capability_evidence", "resumed_after_power_loss",
        "failure"};
    const json_t *reported = facts->reported ? json_object_get(facts->report.payload, "sanitization") : NULL;
    json_t *value = json_object();
    copy_members(value, reported, names, ARRAY_LENGTH(names), good);
    evidence_put(value, "method", json_string(facts->method), good);
    if (!facts->reported) {
        evidence_put(value, "technique", json_string("none"), good);
        evidence_put(value, "steps", json_array(), good);
        evidence_put(value, "failure", json_string("the disk answered nothing"), good);
    }
    return value;
}

/* Add what the read-back has shown to the common member. */
static void verification_fill(const struct media_facts *facts, json_t *verification, bool *good)
{
    static const char *const names[] = {"type",           "seed",
                                        "samples",        "bytes",
                                        "mismatch",       "zero_after_erase",
                                        "unreadable",     "upper95_residual_ppm",
                                        "mismatch_places"};
    const json_t *reported = facts->reported ? json_object_get(facts->report.payload, "verification") : NULL;
    const json_t *scanned = json_object_get(reported, "residue_scan");
    copy_members(verification, reported, names, ARRAY_LENGTH(names), good);
    json_t *scan = scanned == NULL ? json_null() : json_copy((json_t *)(uintptr_t)scanned);
    if (json_is_object(scan)) {
        evidence_put(scan, "magic_hits", copy_of(scanned, "label_hits"), good);
    }
    evidence_put(verification, "residue_scan", scan, good);
}

/* ---- people --------------------------------------------------------------------------------------- */

json_t *evidence_approvers(struct tables *tables, const Trilith__Request *request)
{
    json_t *list = json_array();
    bool good = true;
    for (size_t i = 0; i < request->n_approvals; i++) {
        const Trilith__Approval *approval = request->approvals[i];
        Trilith__Person *person = NULL;
        enum status status = person_get(tables, approval->person, &person);
        bool known = status == STATUS_OK;
        json_t *value = json_object();
        good = good && (known || status == STATUS_NOT_FOUND);
        evidence_put(value, "name", evidence_text(approval->person), &good);
        evidence_put(value, "title", evidence_text(known ? person->title : NULL), &good);
        evidence_put(value, "organization", evidence_text(known ? person->organization : NULL), &good);
        evidence_put(value, "location", evidence_text(known ? person->location : NULL), &good);
        evidence_put(value, "contact", evidence_text(known ? person->contact : NULL), &good);
        evidence_put(value, "at", evidence_time(approval->time_ms), &good);
        evidence_put(value, "signature", json_stringn((const char *)approval->jws.data, approval->jws.len), &good);
        good = json_array_append_new(list, value) == 0 && good;
    }
    if (!good) {
        json_decref(list);
        return NULL;
    }
    return list;
}

static json_t *person_value(const struct media_facts *facts, const char *role, const char *text, const struct jws *jws,
                            bool *good)
{
    const json_t *known = json_object_get(facts->handed_in, role);
    if (!facts->reported) {
        return json_null();
    }
    json_t *value = json_is_object(known) ? json_copy((json_t *)(uintptr_t)known) : json_object();
    evidence_put(value, "signature", copy_of(facts->handed_in, text), good);
    if (json_object_get(jws->payload, "decision") != NULL) {
        evidence_put(value, "decision", copy_of(jws->payload, "decision"), good);
    }
    return value;
}

static json_t *people_value(struct tables *tables, const struct media_facts *facts, bool *good)
{
    json_t *people = json_object();
    evidence_put(people, "sanitizer", person_value(facts, "sanitizer", "report", &facts->report, good), good);
    evidence_put(people, "verifier", person_value(facts, "verifier", "verification", &facts->verification, good), good);
    evidence_put(people, "validator", person_value(facts, "validator", "validation", &facts->validation, good), good);
    evidence_put(people, "approvers", evidence_approvers(tables, facts->request), good);
    return people;
}

json_t *evidence_destination(const Trilith__Request *request)
{
    json_t *value = json_object();
    bool good = true;
    evidence_put(value, "kind", evidence_text(request->destination), &good);
    evidence_put(value, "details", evidence_text(request->destination_details), &good);
    evidence_put(value, "custody", json_array(), &good);
    if (!good) {
        json_decref(value);
        return NULL;
    }
    return value;
}

/* ---- the certificate ------------------------------------------------------------------------------ */

static const char *statement_of(const struct media_facts *facts)
{
    if (facts->request->dead) {
        return statement_dead;
    }
    if (strcmp(facts->method, "purge") == 0) {
        return statement_purge;
    }
    return strcmp(facts->method, "clear") == 0 ? statement_clear : statement_none;
}

static struct evidence_residues residues_of(const struct media_facts *facts)
{
    struct evidence_residues residues = {0};
    const json_t *media = facts->reported ? json_object_get(facts->report.payload, "media") : NULL;
    const json_t *verification = facts->reported ? json_object_get(facts->report.payload, "verification") : NULL;
    uint64_t zeros = medium_number(verification, "zero_after_erase");
    if (strcmp(facts->method, "purge") != 0 && !json_is_true(json_object_get(media, "rotational"))) {
        evidence_residue_add(&residues, RESIDUE_FTL_CIPHERTEXT, 0);
    }
    if (facts->reported) {
        evidence_residue_add(&residues, RESIDUE_VENDOR_FIRMWARE, 0);
    }
    if (zeros != UINT64_MAX && zeros > 0) {
        evidence_residue_add(&residues, RESIDUE_ZERO_READ_NOT_PROOF, 0);
    }
    evidence_residue_add(&residues, RESIDUE_HOST_SNAPSHOT, 0);
    return residues;
}

/* What the read-back and the search have shown, as checks. */
static json_t *checks_value(const struct media_facts *facts)
{
    const json_t *verification = facts->reported ? json_object_get(facts->report.payload, "verification") : NULL;
    const json_t *scan = json_object_get(verification, "residue_scan");
    json_t *list = json_array();
    if (verification == NULL) {
        return list;
    }
    bool good = json_array_append_new(list, json_pack("{s:s, s:o, s:o, s:o}", "name", "readback", "bytes",
                                                      copy_of(verification, "bytes"), "mismatch",
                                                      copy_of(verification, "mismatch"), "unreadable",
                                                      copy_of(verification, "unreadable"))) == 0;
    good = json_array_append_new(list, json_pack("{s:s, s:o, s:o, s:o}", "name", "residue_scan", "bytes",
                                                 copy_of(scan, "bytes"), "label_hits", copy_of(scan, "label_hits"),
                                                 "fingerprint_hits", copy_of(scan, "fingerprint_hits"))) == 0 &&
           good;
    if (!good) {
        json_decref(list);
        return NULL;
    }
    return list;
}

static json_t *begin(const struct media_facts *facts, const char *id, uint64_t seq, const char *supersedes)
{
    const Trilith__Request *request = facts->request;
    const json_t *sanitization = facts->reported ? json_object_get(facts->report.payload, "sanitization") : NULL;
    bool claimed = strcmp(facts->method, "none") != 0;
    const char *basis[4] = {facts->reported ? basis_report : basis_keys, facts->reported ? basis_drained : NULL, NULL};
    uint64_t verified_ms = medium_number(facts->handed_in, "at_ms");
    struct evidence_common common = {.type = EVIDENCE_MEDIA,
                                     .id = id,
                                     .seq = seq,
                                     .supersedes = supersedes != NULL && supersedes[0] != '\0' ? supersedes : NULL,
                                     .request_id = request->id,
                                     .requested_by = request->requested_by,
                                     .requested_ms = request->requested_ms,
                                     .reason_code = request->reason_code,
                                     .legal_basis = request->legal_basis,
                                     .legal_hold_checked = false,
                                     .plan_sha256 = request->plan_sha256,
                                     .approvals = request->approvals,
                                     .approval_count = request->n_approvals,
                                     .method = facts->method,
                                     .technique = facts->reported ? medium_text(sanitization, "technique") : "none",
                                     .scope = "disk",
                                     .basis = basis,
                                     .statement = statement_of(facts),
                                     .result = claimed ? EVIDENCE_ERASED : EVIDENCE_PARTIAL,
                                     .verification_method = facts->reported ? "read-back and search" : NULL,
                                     .verified_by = facts->reported ? facts->verification.kid : NULL,
                                     .verified_ms = verified_ms == UINT64_MAX ? 0 : verified_ms,
                                     .checks = checks_value(facts),
                                     .residues = residues_of(facts),
                                     .not_claimed = EVIDENCE_BIT(NOT_CLAIMED_OUTSIDE_COPIES) |
                                                    EVIDENCE_BIT(NOT_CLAIMED_READERS) |
                                                    EVIDENCE_BIT(NOT_CLAIMED_PEOPLE)};
    common.not_claimed |= claimed ? 0 : EVIDENCE_BIT(NOT_CLAIMED_MEDIA_LEVEL);
    return common.checks == NULL ? NULL : evidence_begin(facts->issuer, &common);
}

static json_t *payload_make(struct tables *tables, const struct media_facts *facts, json_t *payload)
{
    const Trilith__Request *request = facts->request;
    bool good = payload != NULL;
    evidence_put(payload, "media", media_value(facts, &good), &good);
    evidence_put(payload, "source", source_value(facts, &good), &good);
    evidence_put(payload, "classification",
                 json_pack("{s:o, s:n}", "pre", evidence_text(request->classification), "post"), &good);
    evidence_put(payload, "data_backed_up", evidence_text(request->backup), &good);
    evidence_put(payload, "backup_location", evidence_text(request->backup_location), &good);
    evidence_put(payload, "drain", drain_value(facts, &good), &good);
    evidence_put(payload, "sanitization", sanitization_value(facts, &good), &good);
    verification_fill(facts, json_object_get(payload, "verification"), &good);
    evidence_put(payload, "people", people_value(tables, facts, &good), &good);
    evidence_put(payload, "destination", evidence_destination(request), &good);
    if (!good) {
        json_decref(payload);
        return NULL;
    }
    return payload;
}

enum status evidence_media(const struct evidence_issuer *issuer, struct tables *tables,
                           const Trilith__ClusterRecord *cluster, const Trilith__RequestRecord *record, const char *id,
                           uint64_t seq, const char *supersedes, json_t **payload)
{
    struct media_facts facts = {.issuer = issuer};
    (void)cluster;
    enum status status = facts_read(tables, record, &facts);
    if (status == STATUS_OK) {
        *payload = payload_make(tables, &facts, begin(&facts, id, seq, supersedes));
        status = *payload == NULL ? STATUS_FULL : STATUS_OK;
    }
    facts_close(&facts);
    return status;
}
