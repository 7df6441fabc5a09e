/* test_evidence_media.c - the certificate of a medium has every field of the form, and claims only what its facts
 * carry. */
#include "tests/unit/decommission_fixture.h"

static struct meta_fixture fixture;
static struct meta_fixture *const f = &fixture;
static const uint8_t cluster_id[16] = {7};

static void setup(void)
{
    fixture_open(f);
    cr_assert_eq(fixture_person_add(f, "anna", 0), STATUS_OK);
    cr_assert_eq(fixture_person_add(f, "bert", 1), STATUS_OK);
    cr_assert_eq(fixture_person_add(f, "carl", 2), STATUS_OK);
}

static void teardown(void)
{
    fixture_close(f);
}

TestSuite(evidence_media, .init = setup, .fini = teardown, .timeout = 60);

static json_t *certificate_of(uint64_t id)
{
    const struct evidence_issuer issuer = {.organization = "Example",
                                           .cluster_id = cluster_id,
                                           .kid = "cluster/1",
                                           .now_ms = f->now_ms,
                                           .slot_backend = "file",
                                           .software_version = "1"};
    json_t *payload = NULL;
    const Trilith__RequestRecord *record = fixture_request_record(f, id);
    cr_assert_eq(evidence_media(&issuer, state_tables(f->state), state_cluster(f->state), record,
                                "01890a5d-ac96-774b-bcce-b302099a8057", 1, "", &payload),
                 STATUS_OK);
    size_t bytes = 0;
    char *text = json_canonical(payload, &bytes);
    cr_assert_not_null(text, "what is signed has a canonical form");
    free(text);
    return payload;
}

/* A certificate after a report by this technique, with `change` made to it first. */
static json_t *certified(const char *technique, void (*change)(json_t *report))
{
    uint8_t uuid[16];
    Trilith__MapDisk *disk = NULL;
    json_t *fact = NULL;
    bool accepted = false;
    uint64_t id = fixture_decommission(f, "1", false);
    fixture_drained(f, id, DECOMMISSION_MEDIUM);
    cr_assert_eq(registry_disk(fixture_tables(f), 1, &disk), STATUS_OK);
    memcpy(uuid, disk->uuid.data, 16);
    json_t *report = fixture_report(f, uuid, technique);
    if (change != NULL) {
        change(report);
    }
    struct fixture_papers papers = fixture_papers(report, "accept");
    cr_assert_eq(fixture_check(f, id, &papers, &fact, &accepted), STATUS_OK);
    cr_assert_eq(fixture_report_apply(f, id, fact, DECOMMISSION_REMOVING), STATUS_OK);
    json_decref(fact);
    fixture_papers_free(&papers);
    return certificate_of(id);
}

/* "media.serial" in a payload; NULL: there is no such member. */
static const json_t *at(const json_t *value, const char *path)
{
    char copy[128];
    char *save = NULL;
    snprintf(copy, sizeof(copy), "%s", path);
    for (char *part = strtok_r(copy, ".", &save); part != NULL; part = strtok_r(NULL, ".", &save)) {
        value = json_object_get(value, part);
    }
    return value;
}

static bool lists(const json_t *list, const char *text)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (strcmp(json_string_value(json_array_get(list, i)), text) == 0) {
            return true;
        }
    }
    return false;
}

Test(evidence_media, has_every_field_of_the_form_and_null_for_what_is_not_known)
{
    static const char *const fields[] = {"media.manufacturer",
                                         "media.model",
                                         "media.serial",
                                         "media.property_number",
                                         "media.type",
                                         "media.interface",
                                         "media.wwn",
                                         "media.firmware",
                                         "media.capacity_bytes",
                                         "media.native_max_lba",
                                         "media.hpa_dco",
                                         "media.namespaces",
                                         "media.smart_before",
                                         "media.smart_after",
                                         "media.barcode_scanned",
                                         "media.scan_matches_identify",
                                         "source.cluster",
                                         "source.node",
                                         "source.slot",
                                         "source.host_serial",
                                         "classification.pre",
                                         "classification.post",
                                         "data_backed_up",
                                         "backup_location",
                                         "drain.live_replicas",
                                         "drain.last_chunk_moved_at",
                                         "drain.ever_held_chunks",
                                         "drain.inventory_root",
                                         "sanitization.method",
                                         "sanitization.technique",
                                         "sanitization.details",
                                         "sanitization.tool",
                                         "sanitization.steps",
                                         "sanitization.disk_key",
                                         "sanitization.capability_evidence",
                                         "sanitization.resumed_after_power_loss",
                                         "verification.method",
                                         "verification.type",
                                         "verification.seed",
                                         "verification.samples",
                                         "verification.bytes",
                                         "verification.mismatch",
                                         "verification.zero_after_erase",
                                         "verification.unreadable",
                                         "verification.upper95_residual_ppm",
                                         "verification.residue_scan.magic_hits",
                                         "people.sanitizer.name",
                                         "people.sanitizer.title",
                                         "people.sanitizer.organization",
                                         "people.sanitizer.location",
                                         "people.sanitizer.contact",
                                         "people.sanitizer.at",
                                         "people.sanitizer.signature",
                                         "people.verifier.signature",
                                         "people.validator.decision",
                                         "people.validator.signature",
                                         "people.approvers",
                                         "destination.kind",
                                         "destination.details",
                                         "destination.custody"};
    json_t *payload = certified("overwrite", NULL);
    for (size_t i = 0; i < ARRAY_LENGTH(fields); i++) {
        cr_assert_not_null(at(payload, fields[i]), "%s is missing", fields[i]);
    }
    cr_assert(json_is_null(at(payload, "media.hpa_dco")));
    cr_assert(json_is_null(at(payload, "media.serial")));
    cr_assert_str_eq(json_string_value(at(payload, "people.sanitizer.name")), "carl");
    cr_assert_str_eq(json_string_value(at(payload, "people.verifier.name")), "anna");
    cr_assert_eq(json_array_size(at(payload, "people.approvers")), 2u);
    cr_assert_str_eq(json_string_value(at(payload, "destination.kind")), "recycling");
    json_decref(payload);
}

Test(evidence_media, an_overwriting_is_a_clear_and_a_sanitize_a_purge)
{
    json_t *payload = certified("overwrite", NULL);
    cr_assert_str_eq(json_string_value(at(payload, "claim.method")), "clear");
    cr_assert_str_eq(json_string_value(at(payload, "result")), "ERASED");
    cr_assert(lists(at(payload, "residual"), "FTL_CIPHERTEXT"), "flash has more than can be addressed");
    json_decref(payload);
}

Test(evidence_media, a_sanitize_is_a_purge)
{
    json_t *payload = certified("sanitize", NULL);
    cr_assert_str_eq(json_string_value(at(payload, "claim.method")), "purge");
    cr_assert_str_eq(json_string_value(at(payload, "sanitization.method")), "purge");
    cr_assert(lists(at(payload, "residual"), "VENDOR_FIRMWARE"));
    json_decref(payload);
}

static void make_directory(json_t *report)
{
    json_object_set_new(report, "kind", json_string("directory"));
    json_object_set_new(json_object_get(report, "sanitization"), "method", json_string("none"));
}

Test(evidence_media, files_in_a_directory_claim_nothing_of_the_medium)
{
    json_t *payload = certified("overwrite", make_directory);
    cr_assert_str_eq(json_string_value(at(payload, "claim.method")), "none");
    cr_assert_str_eq(json_string_value(at(payload, "result")), "PARTIAL");
    json_decref(payload);
}

static void make_zeros(json_t *report)
{
    json_object_set_new(json_object_get(report, "verification"), "zero_after_erase", json_integer(4096));
}

Test(evidence_media, zeros_that_were_read_are_no_proof)
{
    json_t *payload = certified("sanitize", make_zeros);
    cr_assert(lists(at(payload, "residual"), "ZERO_READ_NOT_PROOF"));
    json_decref(payload);
}

Test(evidence_media, a_dead_disk_was_not_sanitized)
{
    uint64_t id = fixture_decommission(f, "1", true);
    fixture_drained(f, id, DECOMMISSION_REMOVING);
    json_t *payload = certificate_of(id);
    cr_assert_str_eq(json_string_value(at(payload, "claim.method")), "none");
    cr_assert_str_eq(json_string_value(at(payload, "result")), "PARTIAL");
    const char *statement = json_string_value(at(payload, "claim.statement"));
    cr_assert(strstr(statement, "No sanitization") != NULL);
    cr_assert(strstr(statement, "keys that exist until") != NULL,
              "what was not erased can still be read by whoever has keys");
    cr_assert(json_is_null(at(payload, "people.sanitizer")));
    cr_assert(json_is_null(at(payload, "verification.residue_scan")));
    cr_assert_eq(json_array_size(at(payload, "sanitization.steps")), 0u);
    json_decref(payload);
}
