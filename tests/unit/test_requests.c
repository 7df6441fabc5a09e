/* test_requests.c - what needs two people: two different ones, with two keys, for the plan that stands there, in
 * time. */
#include "tests/unit/request_fixture.h"

static struct meta_fixture f;

static void setup(void)
{
    fixture_open(&f);
    cr_assert_eq(fixture_person_add(&f, "Ada", 0), STATUS_OK);
    cr_assert_eq(fixture_person_add(&f, "Bob", 1), STATUS_OK);
    cr_assert_eq(fixture_person_add(&f, "Carol", 2), STATUS_OK);
}

static void teardown(void)
{
    fixture_close(&f);
}

TestSuite(requests, .init = setup, .fini = teardown);

static Trilith__RequestState state_of(uint64_t id)
{
    return fixture_request_record(&f, id)->request->state;
}

Test(requests, a_plan_says_what_there_is_and_changes_nothing)
{
    Trilith__Request request;
    cr_assert_eq(fixture_put(&f, "a", 1, 2), STATUS_OK);
    uint64_t before = fixture_fingerprint(f.kv);
    cr_assert_eq(fixture_plan(&f, TRILITH__REQUEST_KIND__REQUEST_TENANT, "acme", &request), STATUS_OK);
    json_t *plan = json_from_canonical((const char *)request.plan.data, request.plan.len);
    cr_assert_not_null(plan, "a plan is canonical JSON");
    const json_t *inventory = json_object_get(plan, "inventory");
    cr_assert_str_eq(json_string_value(json_object_get(plan, "kind")), "tenant");
    cr_assert_str_eq(json_string_value(json_object_get(plan, "subject")), "acme");
    cr_assert_eq(json_integer_value(json_object_get(inventory, "versions")), 1);
    cr_assert_eq(json_integer_value(json_object_get(inventory, "chunks")), 2);
    cr_assert_eq(json_integer_value(json_object_get(inventory, "bytes")), 2000);
    cr_assert_eq(json_integer_value(json_object_get(inventory, "buckets")), 1);
    cr_assert_eq(json_array_size(json_object_get(plan, "disks")), 3, "the members of its PG");
    json_decref(plan);
    cr_assert_eq(fixture_fingerprint(f.kv), before);
}

Test(requests, two_approvals_by_two_people_start_it)
{
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    cr_assert_eq(f.outcome.id, 1);
    cr_assert_eq(state_of(1), TRILITH__REQUEST_STATE__REQUEST_OPEN);
    cr_assert_eq(state_cluster(f.state)->requests_open, 1);
    cr_assert_eq(fixture_approve(&f, 1, "Ada", 0), STATUS_OK);
    cr_assert_eq(state_of(1), TRILITH__REQUEST_STATE__REQUEST_OPEN, "one is not enough");
    cr_assert_eq(fixture_approve(&f, 1, "Bob", 1), STATUS_OK);
    cr_assert_eq(state_of(1), TRILITH__REQUEST_STATE__REQUEST_RUNNING);
    cr_assert_str_eq(fixture_request_record(&f, 1)->request->stage, "erasing");
    cr_assert_eq(fixture_approve(&f, 1, "Carol", 2), STATUS_CONFLICT, "it runs already");
}

Test(requests, nobody_approves_twice)
{
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    cr_assert_eq(fixture_approve(&f, 1, "Ada", 0), STATUS_OK);
    f.now_ms += 1000;
    cr_assert_eq(fixture_approve(&f, 1, "Ada", 0), STATUS_EXISTS);
    cr_assert_eq(state_of(1), TRILITH__REQUEST_STATE__REQUEST_OPEN);
}

/* The tables refuse a second person with one key. Should there be one all the same, that is one approver. */
Test(requests, two_names_with_one_key_are_one_approver)
{
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    cr_assert_eq(fixture_approve(&f, 1, "Ada", 0), STATUS_OK);
    struct tables *tables = fixture_tables(&f);
    Trilith__Person *bob = NULL;
    struct public_key key;
    cr_assert_eq(person_get(tables, "Bob", &bob), STATUS_OK);
    signature_public_key(fixture_seed(0), &key);
    memcpy(bob->public_key.data, key.bytes, PUBLIC_KEY_BYTES);
    kv_batch_clear(tables->batch);
    tables_put(tables, key_person("Bob"), bob);
    cr_assert_eq(kv_write(f.kv, tables->batch), STATUS_OK);
    cr_assert_eq(fixture_approve(&f, 1, "Bob", 0), STATUS_EXISTS);
    cr_assert_eq(state_of(1), TRILITH__REQUEST_STATE__REQUEST_OPEN);
}

Test(requests, who_is_not_on_record_or_was_removed_does_not_approve)
{
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    cr_assert_eq(fixture_approve(&f, 1, "Mallory", 3), STATUS_DENIED);
    cr_assert_eq(fixture_approve(&f, 1, "Ada", 3), STATUS_DENIED, "her name, another's key");
    cr_assert_eq(fixture_approve(&f, 1, "Ada", 0), STATUS_OK);
    cr_assert_eq(fixture_person_set(&f, "Bob", 1, true), STATUS_OK);
    cr_assert_eq(fixture_approve(&f, 1, "Bob", 1), STATUS_DENIED);
}

Test(requests, an_approval_of_somebody_removed_meanwhile_does_not_count)
{
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    cr_assert_eq(fixture_approve(&f, 1, "Ada", 0), STATUS_OK);
    cr_assert_eq(fixture_person_set(&f, "Ada", 0, true), STATUS_OK);
    cr_assert_eq(fixture_approve(&f, 1, "Bob", 1), STATUS_OK);
    cr_assert_eq(state_of(1), TRILITH__REQUEST_STATE__REQUEST_OPEN);
    cr_assert_eq(fixture_approve(&f, 1, "Carol", 2), STATUS_OK);
    cr_assert_eq(state_of(1), TRILITH__REQUEST_STATE__REQUEST_RUNNING);
}

/* What the leader saw may be old by the time it is applied. */
Test(requests, a_person_removed_between_the_check_and_the_command_does_not_approve)
{
    Trilith__RequestApprove approve;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    char *jws = fixture_approval(&f, fixture_request_record(&f, 1)->request, "Ada", 0);
    const ProtobufCBinaryData text = {.data = (uint8_t *)jws, .len = strlen(jws)};
    struct tables *tables = state_tables(f.state);
    cr_assert_eq(request_approval_check(tables, fixture_request_record(&f, 1)->request, text, &approve), STATUS_OK);
    uint8_t packed[4096];
    size_t bytes = trilith__request_approve__pack(&approve, packed);
    cr_assert_eq(fixture_person_set(&f, "Ada", 0, true), STATUS_OK);
    command.change_case = TRILITH__COMMAND__CHANGE_REQUEST_APPROVE;
    command.request_approve = trilith__request_approve__unpack(NULL, bytes, packed);
    cr_assert_eq(fixture_apply(&f, &command), STATUS_DENIED);
    cr_assert_eq(fixture_person_add(&f, "Ada", 4), STATUS_OK);
    cr_assert_eq(fixture_apply(&f, &command), STATUS_DENIED, "another Ada, with another key");
    trilith__request_approve__free_unpacked(command.request_approve, NULL);
    free(jws);
}

Test(requests, an_approval_of_another_plan_is_refused)
{
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    Trilith__Request *request = fixture_request_record(&f, 1)->request;
    request->plan_sha256.data[0] ^= 1;
    char *jws = fixture_approval(&f, request, "Ada", 0);
    cr_assert_eq(fixture_hand_in(&f, 1, jws), STATUS_CONFLICT);
    free(jws);
}

Test(requests, an_approval_of_another_request_is_refused)
{
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    Trilith__Request *request = fixture_request_record(&f, 1)->request;
    request->id = 2;
    char *jws = fixture_approval(&f, request, "Ada", 0);
    cr_assert_eq(fixture_hand_in(&f, 1, jws), STATUS_INVALID);
    free(jws);
}

Test(requests, a_changed_byte_of_an_approval_is_noticed)
{
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    char *jws = fixture_approval(&f, fixture_request_record(&f, 1)->request, "Ada", 0);
    size_t length = strlen(jws);
    for (size_t i = 0; i < length; i += 7) {
        char kept = jws[i];
        jws[i] = kept == 'A' ? 'B' : 'A';
        cr_assert_neq(fixture_hand_in(&f, 1, jws), STATUS_OK, "byte %zu", i);
        jws[i] = kept;
    }
    cr_assert_eq(fixture_hand_in(&f, 1, jws), STATUS_OK);
    free(jws);
}

Test(requests, there_is_one_open_request_about_a_tenant)
{
    Trilith__Request request;
    cr_assert_eq(fixture_plan(&f, TRILITH__REQUEST_KIND__REQUEST_TENANT, "acme", &request), STATUS_OK);
    uint8_t packed[KIB(16)];
    cr_assert_lt(trilith__request__get_packed_size(&request), sizeof(packed));
    size_t bytes = trilith__request__pack(&request, packed);
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_EXISTS, "the leader sees it");
    Trilith__Request *again = trilith__request__unpack(NULL, bytes, packed);
    (void)fixture_tables(&f);
    cr_assert_eq(fixture_request_apply(&f, again), STATUS_EXISTS, "and so does the command");
    cr_assert_eq(f.outcome.id, 1);
    trilith__request__free_unpacked(again, NULL);
}

Test(requests, a_plan_that_is_not_true_any_more_makes_no_request)
{
    Trilith__Request request;
    Trilith__RequestCreate create;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    trilith__request_create__init(&create);
    cr_assert_eq(fixture_plan(&f, TRILITH__REQUEST_KIND__REQUEST_TENANT, "acme", &request), STATUS_OK);
    cr_assert_eq(request_subject_hash(state_tables(f.state), &request, &create.subject_sha256), STATUS_OK);
    create.request = &request;
    command.change_case = TRILITH__COMMAND__CHANGE_REQUEST_CREATE;
    command.request_create = &create;
    uint8_t packed[KIB(16)];
    size_t bytes = protobuf_c_message_pack(&command.base, packed);
    cr_assert_eq(fixture_put(&f, "a", 1, 1), STATUS_OK);
    Trilith__Command *late = trilith__command__unpack(NULL, bytes, packed);
    cr_assert_eq(fixture_apply(&f, late), STATUS_BUSY);
    trilith__command__free_unpacked(late, NULL);
}

Test(requests, a_plan_whose_hash_is_not_its_own_makes_no_request)
{
    Trilith__Request request;
    cr_assert_eq(fixture_plan(&f, TRILITH__REQUEST_KIND__REQUEST_TENANT, "acme", &request), STATUS_OK);
    request.plan.data[10] ^= 1;
    cr_assert_eq(fixture_request_apply(&f, &request), STATUS_INVALID);
}

Test(requests, keys_are_off_while_it_is_asked_for_and_on_again_when_it_is_cancelled)
{
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    cr_assert(fixture_tenant(&f, f.tenant)->revoked);
    cr_assert_eq(fixture_key_state(&f, f.tenant, false), STATUS_CONFLICT, "whoever wants them on cancels it");
    cr_assert_eq(fixture_advance(&f, 1, REQUEST_STAGE_APPROVAL, REQUEST_STAGE_CANCELLED, NULL), STATUS_OK);
    cr_assert_not(fixture_tenant(&f, f.tenant)->revoked);
    cr_assert_eq(state_of(1), TRILITH__REQUEST_STATE__REQUEST_CANCELLED);
    cr_assert_eq(state_cluster(f.state)->requests_open, 0);
    cr_assert_eq(fixture_approve(&f, 1, "Ada", 0), STATUS_CONFLICT);
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK, "and it may be asked for again");
}

Test(requests, keys_that_were_off_before_stay_off_when_it_is_cancelled)
{
    cr_assert_eq(fixture_key_state(&f, f.tenant, true), STATUS_OK);
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    cr_assert_eq(fixture_advance(&f, 1, REQUEST_STAGE_APPROVAL, REQUEST_STAGE_CANCELLED, NULL), STATUS_OK);
    cr_assert(fixture_tenant(&f, f.tenant)->revoked);
    cr_assert_eq(fixture_key_state(&f, f.tenant, false), STATUS_OK);
}

Test(requests, one_that_runs_is_not_cancelled)
{
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    cr_assert_eq(fixture_approve(&f, 1, "Ada", 0), STATUS_OK);
    cr_assert_eq(fixture_approve(&f, 1, "Bob", 1), STATUS_OK);
    cr_assert_eq(fixture_advance(&f, 1, "erasing", REQUEST_STAGE_CANCELLED, NULL), STATUS_CONFLICT);
}

Test(requests, one_that_nobody_approved_in_time_can_only_be_cancelled)
{
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    cr_assert_eq(fixture_approve(&f, 1, "Ada", 0), STATUS_OK);
    f.now_ms += REQUEST_OPEN_MS;
    cr_assert_eq(fixture_approve(&f, 1, "Bob", 1), STATUS_CONFLICT);
    cr_assert_eq(fixture_advance(&f, 1, REQUEST_STAGE_APPROVAL, REQUEST_STAGE_CANCELLED, "{\"cancelled\":\"late\"}"),
                 STATUS_OK);
    cr_assert_eq(fixture_request_record(&f, 1)->n_facts, 1);
    cr_assert_not(fixture_tenant(&f, f.tenant)->revoked);
}

Test(requests, nothing_of_a_tenant_changes_while_its_erasure_is_asked_for)
{
    static struct fixture_commit commit;
    cr_assert_eq(fixture_put(&f, "a", 1, 1), STATUS_OK);
    fixture_commit_prepare(&f, &commit, "b", 1, 1);
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    cr_assert_eq(fixture_commit_apply(&f, &commit), STATUS_KEY_REVOKED, "a late commit");
    cr_assert_eq(fixture_lease(&f, f.tenant, f.bucket, 1), STATUS_KEY_REVOKED);
    cr_assert_eq(fixture_lease(&f, f.tenant, 0, 1), STATUS_KEY_REVOKED);
    cr_assert_eq(fixture_delete(&f, "photos", "a", 1), STATUS_KEY_REVOKED);
    cr_assert_eq(fixture_bucket_create(&f, f.tenant, "more"), STATUS_KEY_REVOKED);
    cr_assert_eq(fixture_bucket_delete(&f, f.tenant, "photos"), STATUS_NOT_EMPTY);
    cr_assert_eq(fixture_set_grace(&f, "photos", 1000), STATUS_KEY_REVOKED);
    cr_assert_eq(fixture_credential_create(&f, "acme", "ABCDEFGHIJKLMNOPQRST", 1), STATUS_KEY_REVOKED);
    fixture_audit(&f);
}

Test(requests, a_hold_refuses_it_when_it_is_asked_for)
{
    cr_assert_eq(fixture_put(&f, "a", 1, 1), STATUS_OK);
    cr_assert_eq(fixture_legal_hold(&f, "a", 0, true), STATUS_OK);
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_HELD);
    cr_assert_eq(fixture_legal_hold(&f, "a", 0, false), STATUS_OK);
    cr_assert_eq(fixture_retain(&f, "a", f.now_ms + 1000), STATUS_OK);
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_HELD);
    f.now_ms += 1000;
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
}

Test(requests, a_hold_that_came_meanwhile_refuses_the_last_approval)
{
    cr_assert_eq(fixture_put(&f, "a", 1, 1), STATUS_OK);
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    cr_assert_eq(fixture_legal_hold(&f, "a", 0, true), STATUS_OK);
    cr_assert_eq(fixture_approve(&f, 1, "Ada", 0), STATUS_OK);
    cr_assert_eq(fixture_approve(&f, 1, "Bob", 1), STATUS_HELD);
    cr_assert_eq(state_of(1), TRILITH__REQUEST_STATE__REQUEST_OPEN);
    cr_assert_eq(fixture_request_record(&f, 1)->request->n_approvals, 1);
    cr_assert_eq(fixture_legal_hold(&f, "a", 0, false), STATUS_OK);
    cr_assert_eq(fixture_approve(&f, 1, "Bob", 1), STATUS_OK);
}

Test(requests, a_stage_is_left_only_from_where_it_stands)
{
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    cr_assert_eq(fixture_advance(&f, 1, REQUEST_STAGE_APPROVAL, "erasing", NULL), STATUS_CONFLICT, "not approved");
    cr_assert_eq(fixture_approve(&f, 1, "Ada", 0), STATUS_OK);
    cr_assert_eq(fixture_approve(&f, 1, "Bob", 1), STATUS_OK);
    cr_assert_eq(fixture_advance(&f, 1, "closing", "certify", NULL), STATUS_CONFLICT);
    cr_assert_eq(fixture_advance(&f, 1, "erasing", "closing", NULL), STATUS_CONFLICT, "it is not erased");
    cr_assert_eq(fixture_advance(&f, 1, "erasing", "certify", NULL), STATUS_CONFLICT);
    cr_assert_eq(fixture_advance(&f, 1, "erasing", "done", NULL), STATUS_CONFLICT);
    cr_assert_eq(fixture_advance(&f, 1, "erasing", "erasing", "{}"), STATUS_OK, "a fact");
    cr_assert_not_null(request_fact(fixture_request_record(&f, 1), "erasing"));
    cr_assert_eq(fixture_advance(&f, 2, "erasing", "closing", NULL), STATUS_NOT_FOUND);
}

Test(requests, lists_are_newest_first_and_without_plans)
{
    Trilith__RequestListReply reply = TRILITH__REQUEST_LIST_REPLY__INIT;
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    cr_assert_eq(fixture_advance(&f, 1, REQUEST_STAGE_APPROVAL, REQUEST_STAGE_CANCELLED, NULL), STATUS_OK);
    cr_assert_eq(fixture_request(&f, "acme"), STATUS_OK);
    cr_assert_eq(request_list(fixture_tables(&f), false, &reply), STATUS_OK);
    cr_assert_eq(reply.n_requests, 2);
    cr_assert_eq(reply.requests[0]->id, 2);
    cr_assert_eq(reply.requests[0]->plan.len, 0);
    trilith__request_list_reply__init(&reply);
    cr_assert_eq(request_list(fixture_tables(&f), true, &reply), STATUS_OK);
    cr_assert_eq(reply.n_requests, 1);
    cr_assert_eq(reply.requests[0]->id, 2);
}

Test(requests, what_people_say_is_looked_at)
{
    Trilith__Request request;
    char bad[] = "shred";
    char control[] = "a\nb";
    char empty[] = "";
    cr_assert_eq(fixture_plan(&f, TRILITH__REQUEST_KIND__REQUEST_TENANT, "nobody", &request), STATUS_NOT_FOUND);
    cr_assert_eq(fixture_plan(&f, TRILITH__REQUEST_KIND__REQUEST_TENANT, "acme", &request), STATUS_OK);
    cr_assert(request_is_valid(&request));
    request.destination = bad;
    cr_assert_not(request_is_valid(&request));
    request.destination = empty;
    request.backup = bad;
    cr_assert_not(request_is_valid(&request));
    request.backup = empty;
    request.legal_basis = control;
    cr_assert_not(request_is_valid(&request));
    request.legal_basis = empty;
    request.reason_code = empty;
    cr_assert_not(request_is_valid(&request), "there is no erasure without a reason");
}
