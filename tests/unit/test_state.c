/* test_state.c - the state machine: applied once, in order, deterministically, whole or not at all. */
#include "tests/unit/certify_fixture.h"
#include "tests/unit/meta_audit.h"

static struct meta_fixture fixture;
static struct meta_fixture *const f = &fixture;

static void setup(void)
{
    fixture_open(f);
}

static void teardown(void)
{
    fixture_close(f);
}

TestSuite(state, .init = setup, .fini = teardown);

Test(state, gives_ids_from_one_and_never_again)
{
    cr_assert_eq(f->tenant, 1);
    cr_assert_eq(f->bucket, 1);
    cr_assert_eq(fixture_bucket_delete(f, f->tenant, "photos"), STATUS_OK);
    cr_assert_eq(fixture_bucket_create(f, f->tenant, "photos"), STATUS_OK);
    cr_assert_eq(f->outcome.id, 2);
}

Test(state, says_when_a_command_was_applied_before)
{
    uint64_t before = fixture_fingerprint(f->kv);
    struct outcome outcome;
    cr_assert_eq(state_apply(f->state, f->index, "garbage", 7, &outcome), STATUS_EXISTS);
    cr_assert_eq(state_apply(f->state, 1, "garbage", 7, &outcome), STATUS_EXISTS);
    cr_assert_eq(fixture_fingerprint(f->kv), before);
}

Test(state, refuses_a_gap_and_garbage)
{
    struct outcome outcome;
    uint64_t before = fixture_fingerprint(f->kv);
    cr_assert_eq(state_apply(f->state, f->index + 2, "", 0, &outcome), STATUS_CORRUPT);
    cr_assert_eq(state_apply(f->state, f->index + 1, "\xff\xff\xff", 3, &outcome), STATUS_CORRUPT);
    cr_assert_eq(state_apply(f->state, f->index + 1, "", 0, &outcome), STATUS_CORRUPT, "a command it does not know");
    cr_assert_eq(fixture_fingerprint(f->kv), before);
    cr_assert_not(state_command_is_known(f->state, "", 0));
}

Test(state, keeps_only_the_index_of_a_refused_command)
{
    uint64_t applied = state_applied_index(f->state);
    cr_assert_eq(fixture_bucket_create(f, f->tenant, "photos"), STATUS_EXISTS);
    cr_assert_eq(f->outcome.id, f->bucket, "the one that is there is named");
    cr_assert_eq(fixture_bucket_create(f, f->tenant, "No Such Name"), STATUS_INVALID);
    cr_assert_eq(fixture_bucket_create(f, 99, "unknown-tenant"), STATUS_NOT_FOUND);
    cr_assert_eq(state_applied_index(f->state), applied + 3);
    cr_assert_eq(state_cluster(f->state)->next_bucket_id, 2);
}

Test(state, clock_never_goes_back)
{
    f->now_ms = 5000000;
    cr_assert_eq(fixture_put(f, "a", 1, 0), STATUS_OK);
    f->now_ms = 10;
    cr_assert_eq(fixture_lease(f, f->tenant, f->bucket, 1), STATUS_OK);
    cr_assert_eq(state_time_ms(f->state), 5000000);
    cr_assert_eq(fixture_tenant_begin(f, "late"), STATUS_OK);
    Trilith__TenantRecord *tenant = NULL;
    cr_assert_eq(tenant_by_name(fixture_tables(f), "late", &tenant), STATUS_OK);
    cr_assert_eq(tenant->created_ms, 5000000);
}

Test(state, nothing_comes_before_the_cluster)
{
    struct meta_fixture empty = {.kv = sim_kv_open(), .now_ms = 1};
    cr_assert_eq(state_open(empty.kv, &empty.state), STATUS_OK);
    cr_assert_eq(fixture_tenant_create(&empty, "acme"), STATUS_INVALID);
    cr_assert_eq(fixture_seal(&empty, 1, 1), STATUS_INVALID);
    fixture_close(&empty);
}

Test(state, has_one_cluster)
{
    uint8_t id[16] = {9};
    Trilith__ClusterCreate create = TRILITH__CLUSTER_CREATE__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    create.cluster_id = (ProtobufCBinaryData){.data = id, .len = 16};
    command.change_case = TRILITH__COMMAND__CHANGE_CLUSTER_CREATE;
    command.cluster_create = &create;
    cr_assert_eq(fixture_apply(f, &command), STATUS_EXISTS);
    cr_assert_eq(state_cluster(f->state)->cluster_id.data[0], 7);
}

Test(state, is_the_same_after_it_is_opened_again)
{
    cr_assert_eq(fixture_put(f, "a", 1, 3), STATUS_OK);
    uint64_t index = state_applied_index(f->state);
    uint64_t time_ms = state_time_ms(f->state);
    state_close(f->state);
    cr_assert_eq(state_open(f->kv, &f->state), STATUS_OK);
    cr_assert_eq(state_applied_index(f->state), index);
    cr_assert_eq(state_time_ms(f->state), time_ms);
    cr_assert_eq(state_cluster(f->state)->cluster_id.data[0], 7);
    cr_assert_eq(state_cluster(f->state)->objects, 1);
    cr_assert_eq(fixture_bucket_create(f, f->tenant, "second"), STATUS_OK);
    cr_assert_eq(f->outcome.id, 2);
}

Test(state, keeps_the_root_of_its_ledger_over_a_restart)
{
    uint8_t root[32];
    (void)fixture_close_epoch(f);
    cr_assert_eq(fixture_put(f, "a", 1, 1), STATUS_OK);
    cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
    fixture_wipe_everywhere(f);
    (void)fixture_close_epoch(f);
    cr_assert_eq(fixture_certify(f, 1), 1);
    cr_assert_eq(state_cluster(f->state)->ledger_root.len, 32);
    memcpy(root, state_cluster(f->state)->ledger_root.data, 32);
    for (size_t pass = 0; pass < 2; pass++) {
        cr_assert_eq(fixture_bucket_create(f, f->tenant, pass == 0 ? "second" : "third"), STATUS_OK);
        cr_assert_arr_eq(state_cluster(f->state)->ledger_root.data, root, 32);
        state_close(f->state);
        cr_assert_eq(state_open(f->kv, &f->state), STATUS_OK);
    }
    cr_assert_arr_eq(state_cluster(f->state)->ledger_root.data, root, 32);
}

Test(state, keeps_the_commitments_of_its_epochs_over_a_restart)
{
    (void)fixture_close_epoch(f);
    cr_assert_eq(fixture_seal(f, 2, 0xee), STATUS_OK);
    for (size_t pass = 0; pass < 2; pass++) {
        const Trilith__ClusterRecord *cluster = state_cluster(f->state);
        cr_assert_eq(cluster->commitment.len, 32);
        cr_assert_eq(cluster->commitment.data[31], 1);
        cr_assert_eq(cluster->sealed_commitment.len, 32);
        cr_assert_eq(cluster->sealed_commitment.data[31], 0xee);
        cr_assert_eq(fixture_bucket_create(f, f->tenant, "photos"), STATUS_EXISTS);
        state_close(f->state);
        cr_assert_eq(state_open(f->kv, &f->state), STATUS_OK);
    }
    cr_assert_eq(fixture_switch(f, 2, 0xee), STATUS_OK);
    cr_assert_eq(state_cluster(f->state)->commitment.data[0], 0xee);
    cr_assert_eq(state_cluster(f->state)->sealed_commitment.len, 0);
}

Test(state, refuses_a_cluster_row_with_a_commitment_of_another_size)
{
    uint8_t row[512];
    uint8_t commitment[33] = {0};
    (void)fixture_close_epoch(f);
    Trilith__ClusterRecord record = *state_cluster(f->state);
    record.commitment = (ProtobufCBinaryData){.data = commitment, .len = sizeof(commitment)};
    size_t bytes = protobuf_c_message_pack(&record.base, row);
    struct table_key key = key_cluster();
    struct kv_batch *batch = kv_batch_open(f->kv);
    kv_batch_put(batch, KV_SLICE(key.bytes, key.length), KV_SLICE(row, bytes));
    cr_assert_eq(kv_write(f->kv, batch), STATUS_OK);
    kv_batch_close(batch);
    struct state *state = NULL;
    cr_assert_eq(state_open(f->kv, &state), STATUS_CORRUPT);
}

Test(state, tells_which_command_it_applied)
{
    cr_assert_eq(fixture_seal(f, 1, 5), STATUS_OK);
    cr_assert_eq(f->outcome.command->change_case, TRILITH__COMMAND__CHANGE_EPOCH_SEAL);
    cr_assert_eq(f->outcome.command->epoch_seal->commitment.data[0], 5);
    cr_assert_eq(fixture_seal(f, 9, 5), STATUS_CONFLICT);
    cr_assert_eq(f->outcome.command->epoch_seal->epoch, 9, "of a refused one too");
}

Test(state, stops_when_the_table_fails)
{
    sim_kv_fail_after(f->kv, 1);
    Trilith__BucketCreateRequest create = TRILITH__BUCKET_CREATE_REQUEST__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    char name[] = "second";
    uint8_t bytes[256];
    struct outcome outcome;
    create.tenant_id = f->tenant;
    create.name = name;
    command.change_case = TRILITH__COMMAND__CHANGE_BUCKET_CREATE;
    command.bucket_create = &create;
    size_t size = protobuf_c_message_pack(&command.base, bytes);
    cr_assert_eq(state_apply(f->state, f->index + 1, bytes, size, &outcome), STATUS_IO);
    cr_assert_eq(state_applied_index(f->state), f->index);
}

/* ---- random traces ----------------------------------------------------------------------------- */

static uint64_t random_state;

static uint32_t draw(uint32_t below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(random_state >> 33) % below;
}

/* One random, mostly sensible command on the fixture. */
static void random_step(struct meta_fixture *on)
{
    char key[16];
    on->now_ms += draw(1000);
    on->pg = 1 + draw(12);
    int key_bytes = snprintf(key, sizeof(key), "key-%u", draw(20));
    switch (draw(19)) {
    case 0:
    case 1:
    case 2:
        (void)fixture_put(on, key, (size_t)key_bytes, draw(5));
        return;
    case 3:
        (void)fixture_delete(on, "photos", key, (size_t)key_bytes);
        return;
    case 4:
        (void)fixture_wipe_all(on, 1 + draw(4),
                               draw(4) == 0 ? TRILITH__WIPE_OUTCOME__WIPE_FAILED : TRILITH__WIPE_OUTCOME__WIPE_WIPED);
        return;
    case 5:
        (void)fixture_bucket_create(on, on->tenant, key);
        return;
    case 6:
        (void)fixture_bucket_delete(on, on->tenant, key);
        return;
    case 7:
        (void)fixture_join_disks(on, key, draw(2) == 0 ? "east" : key, (uint8_t)(10 + draw(40)), 1 + draw(2));
        return;
    case 8:
        (void)fixture_seal(on, state_cluster(on->state)->epoch + draw(2), (uint8_t)draw(3));
        return;
    case 9:
        (void)fixture_switch(on, state_cluster(on->state)->sealed_epoch, (uint8_t)draw(3));
        return;
    case 10:
        (void)fixture_erased(on, state_cluster(on->state)->erasing_epoch, draw(8));
        return;
    case 11:
        on->now_ms += FIXTURE_LEASE_MS / 4;
        (void)fixture_lapse(on);
        return;
    case 12:
        (void)fixture_dek_add(on, on->tenant);
        return;
    case 13:
        (void)fixture_dek_destroy(on, on->tenant, 2 + draw(10));
        return;
    case 14:
        (void)fixture_cmk_set(on, on->tenant, draw(2) == 0 ? "file:other" : FIXTURE_CMK);
        return;
    case 15:
        (void)fixture_credential_create(on, "acme", draw(2) == 0 ? "AKAAAAAAAAAAAAAAAAA1" : "AKAAAAAAAAAAAAAAAAA2",
                                        fixture_tenant(on, on->tenant)->dek_version);
        return;
    case 16:
        (void)fixture_bucket_set(on, draw(3) * 500, (Trilith__WipeTechnique)draw(2));
        return;
    case 17:
        (void)fixture_grace_end(on);
        return;
    case 18:
        (void)fixture_certify(on, draw(4));
        return;
    default:
        return;
    }
}

Test(state_trace, gives_equal_tables_for_equal_commands)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct meta_fixture pair[2];
        for (size_t i = 0; i < 2; i++) {
            random_state = seed;
            fixture_open(&pair[i]);
            for (size_t step = 0; step < 400; step++) {
                random_step(&pair[i]);
                if (i == 1 && step % 50 == 0) { /* One of the two is restarted now and then. */
                    state_close(pair[i].state);
                    cr_assert_eq(state_open(pair[i].kv, &pair[i].state), STATUS_OK);
                }
            }
        }
        cr_assert_eq(pair[0].index, pair[1].index);
        cr_assert_eq(fixture_fingerprint(pair[0].kv), fixture_fingerprint(pair[1].kv), "seed %lu", seed);
        fixture_audit(&pair[0]);
        fixture_close(&pair[0]);
        fixture_close(&pair[1]);
    }
}

/* Count rows of one table. */
static uint64_t count_rows(struct meta_fixture *on, struct table_key prefix)
{
    struct table_walk walk;
    struct kv_slice key, value;
    uint64_t count = 0;
    table_walk_open(&walk, fixture_tables(on), prefix);
    for (; table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        count++;
    }
    table_walk_close(&walk);
    return count;
}

Test(state, counts_exactly_and_keeps_accounts_balanced)
{
    static const uint8_t zero[16];
    random_state = 42;
    for (size_t step = 0; step < 500; step++) {
        random_step(f);
        if (step % 25 != 0) {
            continue;
        }
        const Trilith__ClusterRecord *cluster = state_cluster(f->state);
        Trilith__TenantRecord *tenant = NULL;
        Trilith__ObjectListReply listed = TRILITH__OBJECT_LIST_REPLY__INIT;
        const struct list_query query = {.bucket_id = f->bucket, .max = 1000};
        cr_assert_eq(catalog_list(fixture_tables(f), &query, &listed), STATUS_OK);
        uint64_t bytes = 0;
        for (size_t i = 0; i < listed.n_objects; i++) {
            bytes += listed.objects[i]->size;
        }
        cr_assert_eq(tenant_by_id(state_tables(f->state), f->tenant, &tenant), STATUS_OK);
        cr_assert_eq(cluster->objects, listed.n_objects);
        cr_assert_eq(tenant->objects, listed.n_objects);
        cr_assert_eq(cluster->object_bytes, bytes);
        cr_assert_eq(tenant->object_bytes, bytes);
        cr_assert_eq(tenant->buckets, count_rows(f, key_bucket_name(f->tenant, "")));
        uint64_t kept_bytes = bytes + tenant->grace_bytes; /* of versions that can be taken back, too */
        cr_assert_eq(tenant->deks[0]->objects, listed.n_objects + tenant->grace_objects);
        cr_assert_eq(tenant->deks[0]->object_bytes, kept_bytes);
        cr_assert_eq(count_rows(f, key_prefix(key_chunk(zero), 1)), kept_bytes / 1000, "every chunk of 1,000 bytes");

        /* What disks owe by chunk is what erasures still wait for by disk. */
        uint64_t owed = 0;
        Trilith__ErasureListReply open = TRILITH__ERASURE_LIST_REPLY__INIT;
        cr_assert_eq(erasure_list(fixture_tables(f), 0, 1000, true, &open), STATUS_OK);
        for (size_t i = 0; i < open.n_erasures; i++) {
            owed += open.erasures[i]->wipes_total - open.erasures[i]->wipes_done;
        }
        cr_assert_eq(owed, count_rows(f, key_prefix(key_wipe(0, zero), 1)));
        cr_assert_eq(open.n_erasures, cluster->erasures_open);
        fixture_audit(f);
    }
}
