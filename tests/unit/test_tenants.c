/* test_tenants.c - tenants, their DEKs and credentials: what is refused, what is counted, what can't be destroyed
 * yet. */
#include "tests/unit/meta_audit.h"

#define ACCESS_KEY  "AKAAAAAAAAAAAAAAAAA1"
#define ACCESS_KEY2 "AKAAAAAAAAAAAAAAAAA2"

static struct meta_fixture fixture;
static struct meta_fixture *const f = &fixture;

static void setup(void)
{
    fixture_open(f);
}

static void teardown(void)
{
    fixture_audit(f);
    fixture_close(f);
}

/* The record of one DEK of the fixture's tenant. */
static Trilith__DekRecord dek_of(uint32_t version)
{
    const Trilith__DekRecord *record = tenant_dek(fixture_tenant(f, f->tenant), version);
    cr_assert_not_null(record);
    return *record;
}

static struct leaf_at leaf_of(uint32_t version)
{
    Trilith__SealedDek *dek = NULL;
    cr_assert_eq(tenant_sealed_dek(fixture_tables(f), f->tenant, version, &dek), STATUS_OK);
    return (struct leaf_at){.page = dek->page, .slot = dek->slot};
}

static bool leaf_was_punctured(struct leaf_at leaf)
{
    for (size_t i = 0; i < f->outcome.punctured_count; i++) {
        if (f->outcome.punctured[i].page == leaf.page) {
            return (f->outcome.punctured[i].leaves.bits[leaf.slot / 8] >> (leaf.slot % 8) & 1) != 0;
        }
    }
    return false;
}

TestSuite(tenants, .init = setup, .fini = teardown);

Test(tenants, begin_without_keys_and_may_be_begun_again)
{
    cr_assert_eq(fixture_tenant_begin(f, "globex"), STATUS_OK);
    uint64_t globex = f->outcome.id;
    cr_assert_eq(fixture_tenant(f, globex)->dek_version, 0);
    cr_assert_str_eq(fixture_tenant(f, globex)->cmk, "");
    cr_assert_eq(fixture_tenant_begin(f, "globex"), STATUS_OK, "it stopped half way");
    cr_assert_eq(f->outcome.id, globex);
    cr_assert_eq(state_cluster(f->state)->next_tenant_id, globex + 1);
    cr_assert_eq(fixture_dek_add(f, globex), STATUS_OK);
    cr_assert_eq(f->outcome.id, globex);
    cr_assert_eq(fixture_tenant_begin(f, "globex"), STATUS_EXISTS);
    cr_assert_eq(f->outcome.id, globex);
    cr_assert_eq(fixture_tenant_begin(f, "No"), STATUS_INVALID);
    cr_assert_eq(fixture_tenant_begin(f, "no_such"), STATUS_INVALID);
    Trilith__TenantListReply reply = TRILITH__TENANT_LIST_REPLY__INIT;
    cr_assert_eq(tenant_list(fixture_tables(f), &reply), STATUS_OK);
    cr_assert_eq(reply.n_tenants, 2);
    cr_assert_str_eq(reply.tenants[1]->name, "globex");
}

/* ---- DEKs -------------------------------------------------------------------------------------- */

Test(tenants, a_new_dek_retires_the_one_before)
{
    f->now_ms += 500;
    cr_assert_eq(fixture_dek_add(f, f->tenant), STATUS_OK);
    cr_assert_eq(fixture_tenant(f, f->tenant)->dek_version, 2);
    cr_assert_eq(dek_of(1).retired_ms, f->now_ms);
    cr_assert_eq(dek_of(2).created_ms, f->now_ms);
    cr_assert_eq(dek_of(2).retired_ms, 0);
    cr_assert_eq(state_cluster(f->state)->deks, 2);
    uint64_t retired_ms = f->now_ms;
    f->now_ms += 500;
    cr_assert_eq(fixture_dek_add(f, f->tenant), STATUS_OK);
    cr_assert_eq(dek_of(1).retired_ms, retired_ms, "it was retired once");
    cr_assert_eq(dek_of(2).retired_ms, f->now_ms);
    Trilith__SealedDek *dek = NULL;
    cr_assert_eq(tenant_sealed_dek(fixture_tables(f), f->tenant, 2, &dek), STATUS_OK);
    cr_assert_eq(dek->version, 2);
    cr_assert_eq(dek->sealed.len, 112);
    cr_assert_eq(tenant_sealed_dek(fixture_tables(f), f->tenant, 4, &dek), STATUS_NOT_FOUND);
    cr_assert_eq(tenant_sealed_dek(fixture_tables(f), f->tenant, 0, &dek), STATUS_NOT_FOUND);
    cr_assert_eq(tenant_sealed_dek(fixture_tables(f), 99, 1, &dek), STATUS_NOT_FOUND);
}

Test(tenants, dek_add_refuses)
{
    const struct leaf_at leaf = fixture_lease_for_keys(f, f->tenant, 1);
    uint8_t large[SEALED_DEK_BYTES_MAX + 1] = {0};
    Trilith__SealedDek dek = fixture_sealed_dek(2, leaf);
    cr_assert_eq(fixture_dek_apply(f, 99, &dek, FIXTURE_CMK), STATUS_NOT_FOUND);
    cr_assert_eq(fixture_dek_apply(f, f->tenant, NULL, FIXTURE_CMK), STATUS_INVALID);
    cr_assert_eq(fixture_dek_apply(f, f->tenant, &dek, ""), STATUS_INVALID);
    cr_assert_eq(fixture_dek_apply(f, f->tenant, &dek, "file:00112233445566778899aabbccddeeff0011223344"),
                 STATUS_CONFLICT);
    cr_assert_eq(fixture_dek_apply(f, f->tenant, &dek, "file:00112233445566778899aabbccddeeff00112233445566"),
                 STATUS_INVALID, "longer than any name of a master key");
    cr_assert_eq(fixture_dek_apply(f, f->tenant, &dek, "file:other"), STATUS_CONFLICT, "another master key");
    dek.sealed = (ProtobufCBinaryData){.data = large, .len = sizeof(large)};
    cr_assert_eq(fixture_dek_apply(f, f->tenant, &dek, FIXTURE_CMK), STATUS_INVALID);
    dek.sealed.len = 0;
    cr_assert_eq(fixture_dek_apply(f, f->tenant, &dek, FIXTURE_CMK), STATUS_INVALID);
    for (uint32_t version = 0; version < 5; version++) {
        dek = fixture_sealed_dek(version, leaf);
        if (version != 2) {
            cr_assert_eq(fixture_dek_apply(f, f->tenant, &dek, FIXTURE_CMK), STATUS_CONFLICT, "version %u", version);
        }
    }
    dek = fixture_sealed_dek(2, (struct leaf_at){.page = leaf.page, .slot = leaf.slot + 1});
    cr_assert_eq(fixture_dek_apply(f, f->tenant, &dek, FIXTURE_CMK), STATUS_CONFLICT, "not leased");
    dek = fixture_sealed_dek(2, leaf_of(1));
    cr_assert_eq(fixture_dek_apply(f, f->tenant, &dek, FIXTURE_CMK), STATUS_CONFLICT, "another DEK's leaf");
    cr_assert_eq(state_cluster(f->state)->deks, 1);
    dek = fixture_sealed_dek(2, leaf);
    cr_assert_eq(fixture_dek_apply(f, f->tenant, &dek, FIXTURE_CMK), STATUS_OK);
}

Test(tenants, dek_is_destroyed_when_nothing_needs_it)
{
    const struct leaf_at leaf = leaf_of(1);
    cr_assert_eq(fixture_credential_create(f, "acme", ACCESS_KEY, 1), STATUS_OK);
    cr_assert_eq(fixture_put(f, "a", 1, 1), STATUS_OK);
    cr_assert_eq(fixture_dek_destroy(f, f->tenant, 1), STATUS_CONFLICT, "the current one");
    cr_assert_eq(fixture_dek_add(f, f->tenant), STATUS_OK);
    cr_assert_eq(fixture_dek_destroy(f, f->tenant, 1), STATUS_NOT_EMPTY, "an object and a credential");
    cr_assert_eq(fixture_delete(f, "photos", "a", 1), STATUS_OK);
    cr_assert_eq(fixture_dek_destroy(f, f->tenant, 1), STATUS_NOT_EMPTY, "a credential");
    cr_assert_eq(fixture_credential_reseal(f, ACCESS_KEY, 2), STATUS_OK);
    cr_assert_eq(fixture_seal(f, 1, 1), STATUS_OK);
    f->now_ms += 10;
    cr_assert_eq(fixture_dek_destroy(f, f->tenant, 1), STATUS_OK);
    cr_assert(leaf_was_punctured(leaf));
    cr_assert_eq(dek_of(1).destroyed_ms, f->now_ms);
    cr_assert_eq(dek_of(1).destroyed_seal, 2, "the next seal will take its leaf");
    cr_assert_eq(state_cluster(f->state)->deks, 1);
    Trilith__SealedDek *dek = NULL;
    cr_assert_eq(tenant_sealed_dek(fixture_tables(f), f->tenant, 1, &dek), STATUS_GONE);
    cr_assert_eq(fixture_dek_destroy(f, f->tenant, 1), STATUS_OK, "again");
    cr_assert_eq(f->outcome.punctured_count, 0);
    cr_assert_eq(state_cluster(f->state)->deks, 1);
    cr_assert_eq(fixture_dek_destroy(f, f->tenant, 3), STATUS_NOT_FOUND);
    cr_assert_eq(fixture_dek_destroy(f, 99, 1), STATUS_NOT_FOUND);
}

Test(tenants, keep_a_bounded_record_of_deks)
{
    for (uint32_t version = 2; version <= DEKS_MAX; version++) {
        cr_assert_eq(fixture_dek_add(f, f->tenant), STATUS_OK);
    }
    cr_assert_eq(fixture_dek_add(f, f->tenant), STATUS_FULL);
    cr_assert_eq(fixture_dek_destroy(f, f->tenant, 7), STATUS_OK);
    cr_assert_eq(fixture_dek_destroy(f, f->tenant, 3), STATUS_OK);
    cr_assert_eq(fixture_dek_add(f, f->tenant), STATUS_OK);
    const Trilith__TenantRecord *tenant = fixture_tenant(f, f->tenant);
    cr_assert_eq(tenant->n_deks, DEKS_MAX);
    cr_assert_null(tenant_dek(tenant, 3), "the oldest destroyed one made room");
    cr_assert_not_null(tenant_dek(tenant, 7));
    for (size_t i = 1; i < tenant->n_deks; i++) {
        cr_assert_lt(tenant->deks[i - 1]->version, tenant->deks[i]->version, "oldest first");
    }
    Trilith__SealedDek *dek = NULL;
    cr_assert_eq(tenant_sealed_dek(fixture_tables(f), f->tenant, 3, &dek), STATUS_GONE, "forgotten, and gone still");
    cr_assert_eq(fixture_cmk_set(f, f->tenant, "file:other"), STATUS_OK, "so many at once, too");
}

/* ---- master keys ------------------------------------------------------------------------------- */

Test(tenants, another_master_key_moves_all_deks_to_fresh_leaves)
{
    cr_assert_eq(fixture_dek_add(f, f->tenant), STATUS_OK);
    cr_assert_eq(fixture_dek_add(f, f->tenant), STATUS_OK);
    cr_assert_eq(fixture_dek_destroy(f, f->tenant, 2), STATUS_OK);
    const struct leaf_at before[2] = {leaf_of(1), leaf_of(3)};
    f->now_ms += 10;
    cr_assert_eq(fixture_cmk_set(f, f->tenant, "pkcs11:77"), STATUS_OK);
    cr_assert(leaf_was_punctured(before[0]));
    cr_assert(leaf_was_punctured(before[1]));
    const Trilith__TenantRecord *tenant = fixture_tenant(f, f->tenant);
    cr_assert_str_eq(tenant->cmk, "pkcs11:77");
    cr_assert(tenant->cmk_imported);
    cr_assert_eq(tenant->cmk_ms, f->now_ms);
    cr_assert_eq(tenant->dek_version, 3);
    cr_assert_neq(leaf_of(1).slot, before[0].slot);
    cr_assert_neq(leaf_of(3).slot, before[1].slot);
    cr_assert_eq(state_cluster(f->state)->deks, 2);
}

Test(tenants, another_master_key_is_refused_unless_it_wraps_exactly_what_lives)
{
    Trilith__SealedDek deks[DEKS_MAX];
    cr_assert_eq(fixture_dek_add(f, f->tenant), STATUS_OK);
    cr_assert_eq(fixture_dek_add(f, f->tenant), STATUS_OK);
    cr_assert_eq(fixture_dek_destroy(f, f->tenant, 1), STATUS_OK);
    cr_assert_eq(fixture_deks_anew(f, f->tenant, deks), 2);
    uint64_t punctured = state_cluster(f->state)->leaves_punctured;
    cr_assert_eq(fixture_cmk_apply(f, 99, "file:b", FIXTURE_CMK, deks, 2), STATUS_NOT_FOUND);
    cr_assert_eq(fixture_cmk_apply(f, f->tenant, "", FIXTURE_CMK, deks, 2), STATUS_INVALID);
    cr_assert_eq(fixture_cmk_apply(f, f->tenant, "file:b", "file:c", deks, 2), STATUS_CONFLICT, "another was set");
    cr_assert_eq(fixture_cmk_apply(f, f->tenant, "file:b", FIXTURE_CMK, deks, 1), STATUS_CONFLICT, "one is missing");
    cr_assert_eq(fixture_cmk_apply(f, f->tenant, "file:b", FIXTURE_CMK, deks, 0), STATUS_CONFLICT);
    deks[2] = fixture_sealed_dek(1, fixture_lease_for_keys(f, f->tenant, 1));
    cr_assert_eq(fixture_cmk_apply(f, f->tenant, "file:b", FIXTURE_CMK, deks, 3), STATUS_CONFLICT, "one is destroyed");
    cr_assert_eq(fixture_cmk_apply(f, f->tenant, "file:b", FIXTURE_CMK, deks + 1, 2), STATUS_CONFLICT);
    deks[2].version = 3;
    cr_assert_eq(fixture_cmk_apply(f, f->tenant, "file:b", FIXTURE_CMK, deks + 1, 2), STATUS_CONFLICT, "one is twice");
    deks[2].version = 2;
    deks[2].slot = deks[1].slot;
    cr_assert_eq(fixture_cmk_apply(f, f->tenant, "file:b", FIXTURE_CMK, deks + 1, 2), STATUS_CONFLICT,
                 "one leaf twice");
    deks[2].slot = 250;
    cr_assert_eq(fixture_cmk_apply(f, f->tenant, "file:b", FIXTURE_CMK, deks + 1, 2), STATUS_CONFLICT, "not leased");
    const struct leaf_at old = leaf_of(2);
    deks[2].page = old.page;
    deks[2].slot = old.slot;
    cr_assert_eq(fixture_cmk_apply(f, f->tenant, "file:b", FIXTURE_CMK, deks + 1, 2), STATUS_CONFLICT, "its old leaf");
    deks[2].sealed.len = 0;
    cr_assert_eq(fixture_cmk_apply(f, f->tenant, "file:b", FIXTURE_CMK, deks + 1, 2), STATUS_INVALID);
    cr_assert_eq(state_cluster(f->state)->leaves_punctured, punctured, "nothing was changed");
    cr_assert_eq(fixture_cmk_apply(f, f->tenant, "file:b", FIXTURE_CMK, deks, 2), STATUS_OK);
}

Test(tenants, keys_are_switched_off_and_on)
{
    uint64_t created_ms = f->now_ms;
    f->now_ms += 10;
    cr_assert_eq(fixture_key_state(f, f->tenant, false), STATUS_OK);
    cr_assert_eq(fixture_tenant(f, f->tenant)->state_ms, 0, "they were on");
    cr_assert_eq(fixture_key_state(f, f->tenant, true), STATUS_OK);
    f->now_ms += 10;
    cr_assert_eq(fixture_key_state(f, f->tenant, true), STATUS_OK);
    cr_assert(fixture_tenant(f, f->tenant)->revoked);
    cr_assert_eq(fixture_tenant(f, f->tenant)->state_ms, created_ms + 10, "since then");
    cr_assert_eq(fixture_key_state(f, f->tenant, false), STATUS_OK);
    cr_assert_not(fixture_tenant(f, f->tenant)->revoked);
    cr_assert_eq(fixture_tenant(f, f->tenant)->state_ms, created_ms + 20);
    cr_assert_eq(fixture_key_state(f, 99, true), STATUS_NOT_FOUND);
}

/* ---- credentials ------------------------------------------------------------------------------- */

Test(tenants, credentials_are_counted_under_their_dek)
{
    cr_assert_eq(fixture_credential_create(f, "acme", ACCESS_KEY, 1), STATUS_OK);
    cr_assert_eq(fixture_credential_create(f, "acme", ACCESS_KEY2, 1), STATUS_OK);
    cr_assert_eq(dek_of(1).credentials, 2);
    cr_assert_eq(fixture_dek_add(f, f->tenant), STATUS_OK);
    cr_assert_eq(fixture_credential_reseal(f, ACCESS_KEY, 2), STATUS_OK);
    cr_assert_eq(dek_of(1).credentials, 1);
    cr_assert_eq(dek_of(2).credentials, 1);
    cr_assert_eq(fixture_credential_reseal(f, ACCESS_KEY, 2), STATUS_OK, "again");
    cr_assert_eq(dek_of(2).credentials, 1);
    Trilith__CredentialRecord *credential = NULL;
    cr_assert_eq(credential_get(fixture_tables(f), ACCESS_KEY, &credential), STATUS_OK);
    cr_assert_eq(credential->dek_version, 2);
    cr_assert_eq(credential->sealed_secret.data[0], 3);
    cr_assert_str_eq(credential->role, "owner");
    cr_assert_eq(fixture_credential_revoke(f, ACCESS_KEY), STATUS_OK);
    cr_assert_eq(dek_of(2).credentials, 0);
    cr_assert_eq(fixture_credential_revoke(f, ACCESS_KEY), STATUS_NOT_FOUND);
    cr_assert_eq(fixture_credential_revoke(f, ACCESS_KEY2), STATUS_OK);
    cr_assert_eq(dek_of(1).credentials, 0);
}

Test(tenants, credentials_are_refused_under_any_other_dek)
{
    cr_assert_eq(fixture_credential_create(f, "acme", ACCESS_KEY, 0), STATUS_CONFLICT);
    cr_assert_eq(fixture_credential_create(f, "acme", ACCESS_KEY, 2), STATUS_CONFLICT);
    cr_assert_eq(fixture_credential_create(f, "nobody", ACCESS_KEY, 1), STATUS_NOT_FOUND);
    cr_assert_eq(fixture_credential_create(f, "acme", "too-short", 1), STATUS_INVALID);
    cr_assert_eq(fixture_tenant_begin(f, "globex"), STATUS_OK);
    cr_assert_eq(fixture_credential_create(f, "globex", ACCESS_KEY, 0), STATUS_CONFLICT, "no DEK yet");
    cr_assert_eq(fixture_credential_create(f, "acme", ACCESS_KEY, 1), STATUS_OK);
    cr_assert_eq(fixture_credential_create(f, "acme", ACCESS_KEY, 1), STATUS_EXISTS);
    cr_assert_eq(fixture_dek_add(f, f->tenant), STATUS_OK);
    cr_assert_eq(fixture_credential_create(f, "acme", ACCESS_KEY2, 1), STATUS_CONFLICT, "a retiring one");
    cr_assert_eq(fixture_credential_reseal(f, ACCESS_KEY, 1), STATUS_CONFLICT);
    cr_assert_eq(fixture_credential_reseal(f, ACCESS_KEY, 3), STATUS_CONFLICT);
    cr_assert_eq(fixture_credential_reseal(f, ACCESS_KEY2, 2), STATUS_NOT_FOUND);
    cr_assert_eq(dek_of(1).credentials, 1, "nothing was changed");
    Trilith__CredentialListReply reply = TRILITH__CREDENTIAL_LIST_REPLY__INIT;
    cr_assert_eq(credential_list(fixture_tables(f), "acme", &reply), STATUS_OK);
    cr_assert_eq(reply.n_credentials, 1);
}

/* ---- the reference key ------------------------------------------------------------------------- */

Test(tenants, have_a_reference_key_that_stays_where_it_is)
{
    cr_assert_eq(fixture_tenant_create_with_ref(f, "globex"), STATUS_OK);
    uint64_t tenant = f->outcome.id;
    const struct leaf_at ref = {.page = fixture_tenant(f, tenant)->ref_page,
                                .slot = fixture_tenant(f, tenant)->ref_slot};
    cr_assert_neq(ref.page, 0);
    cr_assert_eq(state_cluster(f->state)->refs, 1);
    fixture_audit(f);
    /* Through many more keys than a page has leaves, and other master keys. */
    for (uint32_t version = 1; version <= 100; version++) {
        cr_assert_eq(fixture_dek_add(f, tenant), STATUS_OK);
        cr_assert_eq(fixture_dek_destroy(f, tenant, version), STATUS_OK);
    }
    for (uint32_t i = 0; i < 2 * PAGE_LEAVES; i++) {
        cr_assert_eq(fixture_cmk_set(f, tenant, i % 2 == 0 ? "file:first" : "file:second"), STATUS_OK);
    }
    const Trilith__TenantRecord *record = fixture_tenant(f, tenant);
    cr_assert_neq(record->key_page, ref.page, "the page is used up");
    cr_assert_eq(record->ref_page, ref.page);
    cr_assert_eq(record->ref_slot, ref.slot);
    cr_assert_eq(state_cluster(f->state)->refs, 1);
    Trilith__PageRecord *page = NULL;
    cr_assert_eq(tables_get(fixture_tables(f), key_page(ref.page), &trilith__page_record__descriptor, &page),
                 STATUS_OK);
    cr_assert_neq(page->used.data[ref.slot / 8] >> (ref.slot % 8) & 1, 0);
    cr_assert_eq(page->punctured.data[ref.slot / 8] >> (ref.slot % 8) & 1, 0, "its leaf lives");
    fixture_audit(f);
    (void)fixture_close_epoch(f);
}

Test(tenants, reference_key_comes_with_the_first_dek_alone)
{
    char cmk[] = FIXTURE_CMK;
    cr_assert_eq(fixture_tenant_begin(f, "globex"), STATUS_OK);
    uint64_t tenant = f->outcome.id;
    const struct leaf_at leaf = fixture_lease_for_keys(f, tenant, 4);
    Trilith__SealedDek dek = fixture_sealed_dek(1, leaf);
    Trilith__DekAdd add = TRILITH__DEK_ADD__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    add.tenant_id = tenant;
    add.dek = &dek;
    add.cmk = cmk;
    command.change_case = TRILITH__COMMAND__CHANGE_DEK_ADD;
    command.dek_add = &add;
    add.ref_slot = leaf.slot + 1;
    cr_assert_eq(fixture_apply(f, &command), STATUS_INVALID, "a slot without a page");
    add.ref_page = leaf.page;
    add.ref_slot = leaf.slot;
    cr_assert_eq(fixture_apply(f, &command), STATUS_CONFLICT, "that is the DEK's");
    add.ref_slot = leaf.slot + 4;
    cr_assert_eq(fixture_apply(f, &command), STATUS_CONFLICT, "not leased");
    add.ref_slot = leaf.slot + 1;
    cr_assert_eq(fixture_apply(f, &command), STATUS_OK);
    cr_assert_eq(state_cluster(f->state)->refs, 1);
    dek = fixture_sealed_dek(2, (struct leaf_at){.page = leaf.page, .slot = leaf.slot + 2});
    add.ref_slot = leaf.slot + 3;
    cr_assert_eq(fixture_apply(f, &command), STATUS_INVALID, "it has one");
    cr_assert_eq(fixture_tenant(f, tenant)->ref_slot, leaf.slot + 1);
    fixture_audit(f);
}
