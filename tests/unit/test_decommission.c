/* test_decommission.c - a disk leaves by its stages, and only by a report about itself that three people have rightly
 * signed. */
#include "tests/unit/decommission_fixture.h"

static struct meta_fixture fixture;
static struct meta_fixture *const f = &fixture;

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

TestSuite(decommission, .init = setup, .fini = teardown, .timeout = 60);

static void disk_uuid(uint32_t id, uint8_t uuid[16])
{
    Trilith__MapDisk *disk = NULL;
    cr_assert_eq(registry_disk(fixture_tables(f), id, &disk), STATUS_OK);
    memcpy(uuid, disk->uuid.data, 16);
}

/* A request that waits for a report about disk 1. */
static uint64_t waiting(void)
{
    uint64_t id = fixture_decommission(f, "1", false);
    fixture_drained(f, id, DECOMMISSION_MEDIUM);
    return id;
}

static json_t *report_of_disk_1(void)
{
    uint8_t uuid[16];
    disk_uuid(1, uuid);
    return fixture_report(f, uuid, "overwrite");
}

Test(decommission, a_plan_says_what_is_on_the_disk_and_who_is_needed)
{
    Trilith__Request request;
    cr_assert_eq(fixture_plan(f, TRILITH__REQUEST_KIND__REQUEST_DISK, "1", &request), STATUS_OK);
    json_t *plan = json_from_canonical((const char *)request.plan.data, request.plan.len);
    cr_assert_not_null(plan);
    cr_assert_eq(request.disk_id, 1u);
    cr_assert_gt(medium_number(json_object_get(plan, "inventory"), "pgs"), 0u);
    cr_assert(json_is_null(json_object_get(json_object_get(plan, "inventory"), "ever_held_chunks")), "it is not known");
    cr_assert_eq(json_array_size(json_object_get(plan, "people_needed")), 4u);
    json_decref(plan);
}

Test(decommission, a_disk_is_known_by_number_and_uuid)
{
    Trilith__MapDisk *disk = NULL;
    uint8_t uuid[16];
    char hex[ID_HEX_BYTES];
    char text[EVIDENCE_UUID_BYTES];
    disk_uuid(2, uuid);
    id_to_hex(uuid, hex);
    evidence_uuid_text(uuid, text);
    cr_assert_eq(decommission_find_disk(fixture_tables(f), hex, &disk), STATUS_OK);
    cr_assert_eq(disk->id, 2u);
    cr_assert_eq(decommission_find_disk(fixture_tables(f), text, &disk), STATUS_OK);
    cr_assert_eq(disk->id, 2u);
    cr_assert_eq(decommission_find_disk(fixture_tables(f), "99", &disk), STATUS_NOT_FOUND);
    cr_assert_eq(decommission_find_disk(fixture_tables(f), "1x", &disk), STATUS_NOT_FOUND);
    cr_assert_eq(decommission_find_disk(fixture_tables(f), "", &disk), STATUS_NOT_FOUND);
}

Test(decommission, a_report_that_three_people_signed_is_taken)
{
    uint64_t id = waiting();
    json_t *fact = NULL;
    bool accepted = false;
    struct fixture_papers papers = fixture_papers(report_of_disk_1(), "accept");
    cr_assert_eq(fixture_check(f, id, &papers, &fact, &accepted), STATUS_OK);
    cr_assert(accepted);
    cr_assert_eq(fixture_report_apply(f, id, fact, DECOMMISSION_REMOVING), STATUS_OK);
    cr_assert_str_eq(fixture_request_record(f, id)->request->stage, DECOMMISSION_REMOVING);
    json_decref(fact);
    fixture_papers_free(&papers);
}

Test(decommission, repeat_or_escalate_is_kept_and_the_disk_stays)
{
    uint64_t id = waiting();
    json_t *fact = NULL;
    bool accepted = true;
    struct fixture_papers papers = fixture_papers(report_of_disk_1(), "repeat");
    cr_assert_eq(fixture_check(f, id, &papers, &fact, &accepted), STATUS_OK);
    cr_assert_not(accepted);
    cr_assert_eq(fixture_report_apply(f, id, fact, DECOMMISSION_MEDIUM), STATUS_OK);
    json_decref(fact);
    fixture_papers_free(&papers);
    cr_assert_eq(fixture_answer(f, id, fixture_papers(report_of_disk_1(), "accept")), STATUS_OK,
                 "another one may come");
}

Test(decommission, nothing_is_taken_before_the_disk_was_proven_empty)
{
    uint64_t id = fixture_decommission(f, "1", false);
    cr_assert_eq(fixture_answer(f, id, fixture_papers(report_of_disk_1(), "accept")), STATUS_CONFLICT);
    json_t *early = report_of_disk_1();
    json_object_set_new(early, "started_at", json_string("1970-01-01T00:00:00.000Z"));
    fixture_drained(f, id, DECOMMISSION_MEDIUM);
    cr_assert_eq(fixture_answer(f, id, fixture_papers(early, "accept")), STATUS_CONFLICT, "an old wipe says nothing");
}

Test(decommission, a_report_about_another_medium_is_refused)
{
    uint64_t id = waiting();
    uint8_t uuid[16];
    disk_uuid(2, uuid);
    cr_assert_eq(fixture_answer(f, id, fixture_papers(fixture_report(f, uuid, "overwrite"), "accept")),
                 STATUS_CONFLICT);
}

Test(decommission, a_part_of_a_disk_is_known_by_its_store_only)
{
    uint64_t id = waiting();
    json_t *part = report_of_disk_1();
    json_object_set_new(part, "kind", json_string("partition"));
    json_object_set_new(json_object_get(part, "sanitization"), "method", json_string("none"));
    json_object_set_new(json_object_get(part, "media"), "stores", json_array());
    cr_assert_eq(fixture_answer(f, id, fixture_papers(part, "accept")), STATUS_CONFLICT);
}

Test(decommission, who_verifies_is_another_than_who_wiped)
{
    uint64_t id = waiting();
    struct fixture_papers papers = fixture_papers(report_of_disk_1(), "accept");
    free(papers.verification);
    papers.verification = fixture_decide(papers.report, MEDIUM_VERIFIER, "accept", "carl", 2);
    cr_assert_eq(fixture_answer(f, id, papers), STATUS_CONFLICT);
}

Test(decommission, unknown_or_removed_people_and_wrong_keys_are_refused)
{
    uint64_t id = waiting();
    struct fixture_papers papers = fixture_papers(report_of_disk_1(), "accept");
    free(papers.validation);
    papers.validation = fixture_decide(papers.report, MEDIUM_VALIDATOR, "accept", "dora", 3);
    cr_assert_eq(fixture_answer(f, id, papers), STATUS_DENIED, "nobody knows her");
    papers = fixture_papers(report_of_disk_1(), "accept");
    free(papers.validation);
    papers.validation = fixture_decide(papers.report, MEDIUM_VALIDATOR, "accept", "bert", 3);
    cr_assert_eq(fixture_answer(f, id, papers), STATUS_DENIED, "not his key");
    cr_assert_eq(fixture_person_set(f, "carl", 2, true), STATUS_OK);
    cr_assert_eq(fixture_answer(f, id, fixture_papers(report_of_disk_1(), "accept")), STATUS_DENIED, "he has left");
}

Test(decommission, papers_about_different_reports_do_not_go_together)
{
    uint64_t id = waiting();
    struct fixture_papers papers = fixture_papers(report_of_disk_1(), "accept");
    json_t *other = report_of_disk_1();
    json_object_set_new(other, "statement", json_string("y"));
    struct fixture_papers others = fixture_papers(other, "accept");
    char *swapped = papers.validation;
    papers.validation = others.validation;
    others.validation = swapped;
    cr_assert_eq(fixture_answer(f, id, papers), STATUS_CONFLICT);
    fixture_papers_free(&others);
}

Test(decommission, an_accepted_report_of_a_failure_is_no_acceptance)
{
    uint64_t id = waiting();
    json_t *failed = report_of_disk_1();
    json_object_set_new(failed, "result", json_string("FAILED"));
    json_object_set_new(json_object_get(failed, "sanitization"), "method", json_string("none"));
    struct fixture_papers papers = fixture_papers(failed, "accept");
    json_t *fact = NULL;
    bool accepted = true;
    cr_assert_eq(fixture_check(f, id, &papers, &fact, &accepted), STATUS_OK);
    cr_assert_not(accepted);
    json_decref(fact);
    fixture_papers_free(&papers);
}

static enum status drain(uint32_t disk_id, bool on)
{
    Trilith__DiskDrainRequest drain = TRILITH__DISK_DRAIN_REQUEST__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    drain.disk_id = disk_id;
    drain.on = on;
    command.change_case = TRILITH__COMMAND__CHANGE_DISK_DRAIN;
    command.disk_drain = &drain;
    return fixture_apply(f, &command);
}

Test(decommission, a_disk_that_is_taken_out_stays_only_when_that_is_called_off)
{
    uint64_t id = waiting();
    Trilith__MapDisk *disk = NULL;
    cr_assert_eq(drain(2, true), STATUS_OK);
    cr_assert_eq(drain(2, false), STATUS_OK, "the request is about another one");
    cr_assert_eq(drain(1, true), STATUS_OK);
    cr_assert_eq(drain(1, false), STATUS_CONFLICT);
    cr_assert_eq(registry_disk(fixture_tables(f), 1, &disk), STATUS_OK);
    cr_assert_eq(disk->phase, TRILITH__DISK_PHASE__DISK_DRAINING);
    cr_assert_eq(fixture_advance(f, id, DECOMMISSION_MEDIUM, REQUEST_STAGE_CANCELLED, NULL), STATUS_OK);
    cr_assert_eq(drain(1, true), STATUS_OK);
    cr_assert_eq(drain(1, false), STATUS_OK);
}

Test(decommission, it_can_be_called_off_until_the_disk_is_being_removed)
{
    uint64_t id = waiting();
    Trilith__MapDisk *disk = NULL;
    cr_assert_eq(drain(1, true), STATUS_OK);
    cr_assert_eq(fixture_advance(f, id, DECOMMISSION_MEDIUM, REQUEST_STAGE_CANCELLED, NULL), STATUS_OK);
    cr_assert_eq(registry_disk(fixture_tables(f), 1, &disk), STATUS_OK);
    cr_assert_eq(disk->phase, TRILITH__DISK_PHASE__DISK_ACTIVE);
    id = fixture_decommission(f, "2", true);
    fixture_drained(f, id, DECOMMISSION_REMOVING);
    cr_assert_eq(fixture_advance(f, id, DECOMMISSION_REMOVING, REQUEST_STAGE_CANCELLED, NULL), STATUS_CONFLICT);
}
