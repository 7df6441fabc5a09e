/* test_meta_keys.c - the keys of tenants at the metadata service: made, switched off and on, rotated, imported,
 * destroyed, and not to be had while the KMS is away. */
#include "tests/unit/meta_service_world.h"

static char acme[] = "acme";
static char photos[] = "photos";

TestSuite(meta_keys, .init = setup, .fini = call_teardown, .timeout = 120);

/* ---- calls ------------------------------------------------------------------------------------- */

static const Trilith__KeyShowReply *key_show(void)
{
    Trilith__KeyShowRequest request = TRILITH__KEY_SHOW_REQUEST__INIT;
    request.tenant = acme;
    cr_assert_eq(CALL(KEY_SHOW, &request), STATUS_OK);
    return REPLY(KeyShowReply);
}

static enum status key_rotate(bool cmk)
{
    Trilith__KeyRotateRequest request = TRILITH__KEY_ROTATE_REQUEST__INIT;
    request.tenant = acme;
    request.cmk = cmk;
    return CALL(KEY_ROTATE, &request);
}

static enum status key_import(uint8_t *wrapped, size_t bytes)
{
    Trilith__KeyImportRequest request = TRILITH__KEY_IMPORT_REQUEST__INIT;
    request.tenant = acme;
    request.wrapped = (ProtobufCBinaryData){.data = wrapped, .len = bytes};
    return CALL(KEY_IMPORT, &request);
}

static enum status key_switch(bool revoked)
{
    Trilith__KeySetStateRequest request = TRILITH__KEY_SET_STATE_REQUEST__INIT;
    request.tenant = acme;
    request.revoked = revoked;
    return CALL(KEY_SET_STATE, &request);
}

struct credential {
    char access_key[ACCESS_KEY_BYTES];
    char secret[SECRET_KEY_BYTES];
};

static enum status credential_make(struct credential *credential)
{
    char owner[] = "owner";
    Trilith__CredentialCreateRequest create = TRILITH__CREDENTIAL_CREATE_REQUEST__INIT;
    create.tenant = acme;
    create.role = owner;
    enum status status = CALL(CREDENTIAL_CREATE, &create);
    if (status == STATUS_OK) {
        (void)snprintf(credential->access_key, ACCESS_KEY_BYTES, "%s", REPLY(CredentialCreateReply)->access_key);
        (void)snprintf(credential->secret, SECRET_KEY_BYTES, "%s", REPLY(CredentialCreateReply)->secret_key);
    }
    return status;
}

/* Look it up; what comes must be its secret. */
static enum status credential_look(struct credential *credential)
{
    Trilith__CredentialGetRequest get = TRILITH__CREDENTIAL_GET_REQUEST__INIT;
    get.access_key = credential->access_key;
    enum status status = CALL(CREDENTIAL_GET, &get);
    if (status == STATUS_OK) {
        cr_assert_arr_eq(REPLY(CredentialGetReply)->secret_key.data, (uint8_t *)credential->secret,
                         SECRET_KEY_BYTES - 1);
    }
    return status;
}

static enum status bucket_get(void)
{
    Trilith__BucketGetRequest get = TRILITH__BUCKET_GET_REQUEST__INIT;
    get.tenant_id = 1;
    get.name = photos;
    return CALL(BUCKET_GET, &get);
}

static enum status reseal_pull(void)
{
    Trilith__ResealPullRequest pull = TRILITH__RESEAL_PULL_REQUEST__INIT;
    pull.node_id = 1;
    pull.max = 16;
    return CALL(RESEAL_PULL, &pull);
}

static void run_seconds(uint64_t seconds)
{
    sim_loop_run_for(sim, seconds * NS_PER_S);
}

/* The row of a DEK as it stands in the tables. */
static Trilith__SealedDek *sealed_dek(uint32_t version)
{
    Trilith__SealedDek *dek = NULL;
    cr_assert_eq(tenant_sealed_dek(service_tables(life.service), 1, version, &dek), STATUS_OK);
    return dek;
}

/* Write a row behind the service's back. */
static void row_put(struct table_key key, const void *value, size_t bytes)
{
    struct kv_batch *batch = kv_batch_open(kv);
    kv_batch_put(batch, KV_SLICE(key.bytes, key.length), KV_SLICE(value, bytes));
    cr_assert_eq(kv_write(kv, batch), STATUS_OK);
    kv_batch_close(batch);
}

/* Write tenant 1's row as `change` would have it. */
static void tenant_edit(void (*change)(Trilith__TenantRecord *tenant))
{
    uint8_t packed[4096];
    Trilith__TenantRecord *tenant = NULL;
    cr_assert_eq(tenant_by_id(service_tables(life.service), 1, &tenant), STATUS_OK);
    change(tenant);
    cr_assert_leq(protobuf_c_message_get_packed_size(&tenant->base), sizeof(packed));
    row_put(key_tenant(1), packed, protobuf_c_message_pack(&tenant->base, packed));
}

/* ---- making ------------------------------------------------------------------------------------ */

Test(meta_keys, a_tenant_has_a_master_key_and_a_data_key)
{
    uint8_t dek[32];
    create_tenant_and_bucket();
    cr_assert_eq(tenant_key(1, 0, dek), STATUS_OK);
    cr_assert_eq(REPLY(TenantKeyReply)->dek_version, 1);
    cr_assert_eq(tenant_key(1, 2, dek), STATUS_NOT_FOUND);
    cr_assert_eq(tenant_key(7, 0, dek), STATUS_NOT_FOUND);

    const Trilith__KeyShowReply *keys = key_show();
    cr_assert_str_eq(keys->tenant, "acme");
    cr_assert_not(keys->revoked);
    cr_assert_eq(strncmp(keys->cmk, "fake:", 5), 0);
    cr_assert_str_eq(keys->cmk_origin, "generated");
    cr_assert_eq(keys->n_data_keys, 1);
    cr_assert_str_eq(keys->data_keys[0]->state, "current");
    cr_assert_eq(keys->data_keys[0]->version, 1);

    Trilith__KeyShowRequest request = TRILITH__KEY_SHOW_REQUEST__INIT;
    request.tenant = photos;
    cr_assert_eq(CALL(KEY_SHOW, &request), STATUS_NOT_FOUND);
}

Test(meta_keys, a_tenant_whose_making_was_cut_off_is_made_again)
{
    bool was_cut_off = false;
    bool was_complete = false;
    for (unsigned i = 0; !was_complete; i++) {
        char name[32];
        struct probe probe = {0};
        uint8_t dek[32];
        Trilith__TenantRecord *tenant = NULL;
        Trilith__TenantCreateRequest request = TRILITH__TENANT_CREATE_REQUEST__INIT;
        cr_assert_lt(i, 100, "it never came to its end");
        (void)snprintf(name, sizeof(name), "tenant-%u", i);
        request.name = name;
        START(&probe, TENANT_CREATE, &request);
        for (unsigned step = 0; step < 3 * i && !probe.done; step++) {
            (void)sim_loop_step(sim);
        }
        was_complete = probe.done;
        crash(i);
        wait_for(&probe.done);
        probe_clear(&probe);
        start();

        enum status found = tenant_by_name(service_tables(life.service), name, &tenant);
        bool has_key = found == STATUS_OK && tenant->dek_version != 0;
        was_cut_off = was_cut_off || (found == STATUS_OK && !has_key);
        cr_assert_eq(create_tenant(name), has_key ? STATUS_EXISTS : STATUS_OK);
        cr_assert_eq(tenant_by_name(service_tables(life.service), name, &tenant), STATUS_OK);
        cr_assert_eq(tenant_key(tenant->id, 0, dek), STATUS_OK);
        cr_assert(vault_status()->balanced);
    }
    cr_assert(was_cut_off, "no crash between the tenant and its key");
}

Test(meta_keys, a_tenant_that_the_journal_does_not_take_is_answered)
{
    sim_disk_fail_after(disk, 1, STATUS_IO);
    cr_assert_eq(create_tenant("acme"), STATUS_IO);
    cr_assert_eq(life.failures, 1);
    cr_assert(key_jobs_are_idle(life.service));
    sim_disk_fail_after(disk, 0, STATUS_OK);
}

Test(meta_keys, a_stop_waits_for_what_the_kms_was_asked)
{
    uint8_t dek[32];
    struct probe probe = {0};
    Trilith__TenantKeyRequest request = TRILITH__TENANT_KEY_REQUEST__INIT;
    create_tenant_and_bucket();
    request.tenant_id = 1;
    START(&probe, TENANT_KEY, &request);
    while (key_jobs_are_idle(life.service)) {
        cr_assert(sim_loop_step(sim));
    }
    end();
    cr_assert(probe.done);
    start();
    cr_assert_eq(tenant_key(1, 0, dek), STATUS_OK);
}

/* ---- off and on -------------------------------------------------------------------------------- */

Test(meta_keys, switched_off_nothing_of_a_tenant_can_be_used)
{
    uint8_t leaf[32];
    uint8_t dek[32];
    uint8_t again[32];
    uint32_t page = 0;
    uint32_t slot = 0;
    struct credential credential;
    struct credential another;
    register_nodes();
    create_tenant_and_bucket();
    cr_assert_eq(credential_make(&credential), STATUS_OK);
    cr_assert_eq(put_object("a", 1, leaf), STATUS_OK);
    cr_assert_eq(tenant_key(1, 0, dek), STATUS_OK);

    cr_assert_eq(key_switch(true), STATUS_OK);
    cr_assert(REPLY(KeyShowReply)->revoked);
    cr_assert_eq(tenant_key(1, 0, again), STATUS_KEY_REVOKED);
    cr_assert_eq(credential_look(&credential), STATUS_KEY_REVOKED);
    cr_assert_eq(credential_make(&another), STATUS_KEY_REVOKED);
    cr_assert_eq(get_object("photos", "a"), STATUS_KEY_REVOKED);
    cr_assert_eq(lease_leaf(&page, &slot, leaf), STATUS_KEY_REVOKED);
    cr_assert_eq(bucket_get(), STATUS_OK, "names are no secret");
    cr_assert_eq(create_tenant("other"), STATUS_OK);
    cr_assert_eq(tenant_key(2, 0, again), STATUS_OK, "another tenant");
    end();
    start();
    cr_assert_eq(tenant_key(1, 0, again), STATUS_KEY_REVOKED);

    cr_assert_eq(key_switch(false), STATUS_OK);
    cr_assert_not(REPLY(KeyShowReply)->revoked);
    cr_assert_eq(tenant_key(1, 0, again), STATUS_OK);
    cr_assert_arr_eq(again, dek, 32);
    cr_assert_eq(credential_look(&credential), STATUS_OK);
    cr_assert_eq(get_object("photos", "a"), STATUS_OK);
}

Test(meta_keys, a_commit_of_a_tenant_that_was_switched_off_meanwhile_is_refused)
{
    uint8_t leaf[32];
    struct probe probe = {0};
    char key[] = "a";
    uint8_t version[16] = {1};
    char etag[] = "";
    Trilith__Object object = TRILITH__OBJECT__INIT;
    Trilith__ObjectCommitRequest commit;
    trilith__object_commit_request__init(&commit);
    register_nodes();
    create_tenant_and_bucket();
    cr_assert_eq(lease_leaf(&object.page, &object.slot, leaf), STATUS_OK);
    cr_assert_eq(key_switch(true), STATUS_OK);
    object.version_id = (ProtobufCBinaryData){.data = version, .len = 16};
    object.suite = 1;
    object.dek_version = 1;
    object.etag = etag;
    commit.tenant_id = 1;
    commit.bucket_id = 1;
    commit.key = (ProtobufCBinaryData){.data = (uint8_t *)key, .len = 1};
    commit.object = &object;
    START(&probe, OBJECT_COMMIT, &commit);
    wait_for(&probe.done);
    cr_assert_eq(probe.status, STATUS_KEY_REVOKED);
    probe_clear(&probe);
}

static void set_revoked(Trilith__TenantRecord *tenant)
{
    tenant->revoked = true;
}

static void revoke_meanwhile(void)
{
    tenant_edit(set_revoked);
}

Test(meta_keys, switched_off_while_the_kms_was_at_work_a_key_is_not_handed_out)
{
    uint8_t dek[32];
    struct credential credential;
    create_tenant_and_bucket();
    cr_assert_eq(credential_make(&credential), STATUS_OK);
    fake_kms.meanwhile = revoke_meanwhile;
    cr_assert_eq(credential_look(&credential), STATUS_KEY_REVOKED);
    cr_assert_eq(key_switch(false), STATUS_OK);
    cr_assert_eq(tenant_key(1, 0, dek), STATUS_KEY_REVOKED);
    fake_kms.meanwhile = NULL;
    cr_assert_eq(key_switch(false), STATUS_OK);
    cr_assert_eq(tenant_key(1, 0, dek), STATUS_OK);
}

Test(meta_keys, one_tenants_key_does_not_open_as_anothers)
{
    uint8_t dek[32];
    uint8_t packed[512];
    create_tenant_and_bucket();
    cr_assert_eq(create_tenant("other"), STATUS_OK);
    const Trilith__SealedDek *sealed = sealed_dek(1);
    row_put(key_dek(2, 1), packed, protobuf_c_message_pack(&sealed->base, packed));
    cr_assert_eq(tenant_key(2, 0, dek), STATUS_CORRUPT);
    cr_assert_eq(tenant_key(1, 0, dek), STATUS_OK);
}

/* ---- another data key -------------------------------------------------------------------------- */

/* A node took a leaf to seal a version anew, perhaps wrote some of it, and was never heard of again. */
Test(meta_keys, the_leaf_of_an_abandoned_sealing_goes_with_its_version)
{
    uint8_t leaf[32];
    uint32_t page[3];
    uint32_t slot[3];
    register_nodes();
    create_tenant_and_bucket();
    cr_assert_eq(put_object("a", 1, leaf), STATUS_OK);
    cr_assert_eq(put_object("b", 2, leaf), STATUS_OK);
    cr_assert_eq(key_rotate(false), STATUS_OK);
    cr_assert_eq(lease_leaf_for("a", 2, &page[0], &slot[0], leaf), STATUS_CONFLICT, "no such version");
    cr_assert_eq(lease_leaf_for("c", 1, &page[0], &slot[0], leaf), STATUS_CONFLICT, "no such object");
    cr_assert_eq(lease_leaf_for("", 1, &page[0], &slot[0], leaf), STATUS_INVALID, "no key");
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(lease_leaf_for("a", 1, &page[i], &slot[i], leaf), STATUS_OK);
        cr_assert_eq(leaf_status(page[i], slot[i]), STATUS_OK);
    }
    cr_assert_eq(leaf_status(page[0], slot[0]), STATUS_GONE, "another one began");
    cr_assert_eq(lease_leaf_for("b", 2, &page[2], &slot[2], leaf), STATUS_OK);
    cr_assert_eq(delete_object("a"), STATUS_OK);
    cr_assert_eq(leaf_status(page[1], slot[1]), STATUS_GONE, "deleted");
    cr_assert_eq(leaf_status(page[2], slot[2]), STATUS_OK);
    cr_assert_eq(commit_object("b", 3, 0x83, 2, 0, leaf), STATUS_OK);
    cr_assert_eq(leaf_status(page[2], slot[2]), STATUS_GONE, "overwritten");
    cr_assert_eq(close_epoch(), STATUS_OK);
    cr_assert(vault_status()->balanced);
}

Test(meta_keys, a_rotated_data_key_goes_when_nothing_is_left_under_it)
{
    uint8_t leaf[32];
    uint8_t old_dek[32];
    uint8_t dek[32];
    struct credential credential;
    register_nodes();
    create_tenant_and_bucket();
    cr_assert_eq(credential_make(&credential), STATUS_OK);
    cr_assert_eq(put_object("a", 1, leaf), STATUS_OK);
    cr_assert_eq(tenant_key(1, 0, old_dek), STATUS_OK);

    cr_assert_eq(key_rotate(false), STATUS_OK);
    cr_assert_eq(REPLY(KeyShowReply)->n_data_keys, 2);
    cr_assert_eq(REPLY(KeyShowReply)->data_keys[0]->version, 2);
    cr_assert_str_eq(REPLY(KeyShowReply)->data_keys[0]->state, "current");
    cr_assert_str_eq(REPLY(KeyShowReply)->data_keys[1]->state, "retiring");
    cr_assert_eq(REPLY(KeyShowReply)->data_keys[1]->objects, 1);
    cr_assert_eq(REPLY(KeyShowReply)->reseal_objects, 1);
    cr_assert_eq(bucket_get(), STATUS_OK);
    cr_assert_eq(REPLY(BucketReply)->bucket->dek_version, 2, "the next write takes it");
    cr_assert_eq(tenant_key(1, 0, dek), STATUS_OK);
    cr_assert_arr_neq(dek, old_dek, 32);
    cr_assert_eq(tenant_key(1, 1, dek), STATUS_OK, "what is under it must be readable");
    cr_assert_arr_eq(dek, old_dek, 32);

    run_seconds(5);
    cr_assert_eq(key_show()->data_keys[1]->credentials, 0, "the secret was sealed anew");
    cr_assert_eq(REPLY(KeyShowReply)->data_keys[0]->credentials, 1);
    cr_assert_eq(credential_look(&credential), STATUS_OK);

    cr_assert_eq(reseal_pull(), STATUS_OK);
    cr_assert_eq(REPLY(ResealPullReply)->n_items, 1);
    cr_assert_eq(REPLY(ResealPullReply)->items[0]->dek_version, 1);
    cr_assert_str_eq(REPLY(ResealPullReply)->items[0]->bucket, "photos");
    cr_assert_eq(reseal_pull(), STATUS_OK);
    cr_assert_eq(REPLY(ResealPullReply)->n_items, 0, "it was handed out just now");
    run_seconds(20);
    cr_assert_eq(reseal_pull(), STATUS_OK);
    cr_assert_eq(REPLY(ResealPullReply)->n_items, 1, "nobody did it: again");
    cr_assert_eq(commit_object("a", 1, 0xee, 2, 1, leaf), STATUS_OK);
    cr_assert_eq(key_show()->data_keys[1]->objects, 0);
    cr_assert_str_eq(REPLY(KeyShowReply)->data_keys[1]->state, "retiring", "late writes may come");

    uint32_t page = sealed_dek(1)->page;
    uint32_t slot = sealed_dek(1)->slot;
    run_seconds(DEK_RETIRE_MS / 1000);
    cr_assert_str_eq(key_show()->data_keys[1]->state, "destroyed");
    cr_assert_not(REPLY(KeyShowReply)->data_keys[1]->beyond_recovery);
    cr_assert_eq(tenant_key(1, 1, dek), STATUS_GONE);
    cr_assert_eq(leaf_status(page, slot), STATUS_GONE);
    cr_assert_eq(close_epoch(), STATUS_OK);
    cr_assert(key_show()->data_keys[1]->beyond_recovery);
    cr_assert_not(REPLY(KeyShowReply)->data_keys[0]->beyond_recovery);
    cr_assert_eq(get_object("photos", "a"), STATUS_OK);
    cr_assert_eq(REPLY(ObjectGetReply)->object->dek_version, 2);
    cr_assert(vault_status()->balanced);

    struct probe close = {0};
    Trilith__Empty empty = TRILITH__EMPTY__INIT;
    START(&close, EPOCH_CLOSE, &empty);
    while (state_cluster(life.state)->sealed_epoch == 0) {
        cr_assert(sim_loop_step(sim));
    }
    crash(8);
    wait_for(&close.done);
    probe_clear(&close);
    start();
    cr_assert_neq(state_cluster(life.state)->sealed_epoch, 0, "a close is under way");
    cr_assert(key_show()->data_keys[1]->beyond_recovery, "still");
}

Test(meta_keys, a_data_key_with_something_under_it_stays)
{
    uint8_t leaf[32];
    register_nodes();
    create_tenant_and_bucket();
    cr_assert_eq(put_object("a", 1, leaf), STATUS_OK);
    cr_assert_eq(key_rotate(false), STATUS_OK);
    run_seconds(10 * DEK_RETIRE_MS / 1000);
    cr_assert_str_eq(key_show()->data_keys[1]->state, "retiring");
    cr_assert_eq(get_object("photos", "a"), STATUS_OK);
    cr_assert_eq(delete_object("a"), STATUS_OK);
    run_seconds(5);
    cr_assert_str_eq(key_show()->data_keys[1]->state, "destroyed");
}

static void forget_old_objects(Trilith__TenantRecord *tenant)
{
    tenant->deks[0]->objects = 0;
}

Test(meta_keys, a_data_key_is_not_destroyed_on_the_word_of_a_counter)
{
    uint8_t leaf[32];
    uint8_t dek[32];
    register_nodes();
    create_tenant_and_bucket();
    cr_assert_eq(put_object("a", 1, leaf), STATUS_OK);
    cr_assert_eq(key_rotate(false), STATUS_OK);
    tenant_edit(forget_old_objects);
    run_seconds(3 * DEK_RETIRE_MS / 1000);
    cr_assert_eq(key_show()->data_keys[1]->objects, 0);
    cr_assert_str_eq(REPLY(KeyShowReply)->data_keys[1]->state, "retiring", "a version is under it");
    cr_assert_eq(tenant_key(1, 1, dek), STATUS_OK);
}

Test(meta_keys, a_wall_clock_that_is_set_back_does_not_keep_a_data_key)
{
    uint8_t dek[32];
    create_tenant_and_bucket();
    sim_loop_shift_wall(life.loop, 3600 * 1000);
    cr_assert_eq(key_rotate(false), STATUS_OK);
    sim_loop_shift_wall(life.loop, -3600 * 1000);
    run_seconds(DEK_RETIRE_MS / 1000 - 5);
    cr_assert_eq(tenant_key(1, 1, dek), STATUS_OK, "not before its time");
    run_seconds(10);
    cr_assert_eq(tenant_key(1, 1, dek), STATUS_GONE);
}

Test(meta_keys, credentials_are_sealed_anew_after_a_restart_too)
{
    struct credential credentials[8];
    uint8_t dek[32];
    create_tenant_and_bucket();
    for (size_t i = 0; i < ARRAY_LENGTH(credentials); i++) {
        cr_assert_eq(credential_make(&credentials[i]), STATUS_OK);
    }
    cr_assert_eq(key_rotate(false), STATUS_OK);
    crash(9);
    start();
    fake_kms.is_away = true;
    run_seconds(5);
    cr_assert_eq(key_show()->data_keys[1]->credentials, 8);
    fake_kms.is_away = false;
    run_seconds(5);
    cr_assert_eq(key_show()->data_keys[1]->credentials, 0);
    run_seconds(DEK_RETIRE_MS / 1000);
    cr_assert_eq(tenant_key(1, 1, dek), STATUS_GONE);
    for (size_t i = 0; i < ARRAY_LENGTH(credentials); i++) {
        cr_assert_eq(credential_look(&credentials[i]), STATUS_OK);
    }
}

Test(meta_keys, a_second_change_is_refused_while_one_is_under_way)
{
    struct probe first = {0};
    struct probe second = {0};
    Trilith__KeyRotateRequest request = TRILITH__KEY_ROTATE_REQUEST__INIT;
    create_tenant_and_bucket();
    request.tenant = acme;
    START(&first, KEY_ROTATE, &request);
    START(&second, KEY_ROTATE, &request);
    wait_for(&first.done);
    wait_for(&second.done);
    cr_assert_eq(first.status, STATUS_OK);
    cr_assert_eq(second.status, STATUS_BUSY);
    probe_clear(&first);
    probe_clear(&second);
    cr_assert_eq(key_rotate(false), STATUS_OK, "it is over");
    cr_assert_eq(REPLY(KeyShowReply)->n_data_keys, 3);
}

/* ---- another master key ------------------------------------------------------------------------ */

/* What is there of a DEK before its master key is replaced: a copy that somebody took. */
struct dek_copy {
    uint32_t page;
    uint32_t slot;
    uint8_t sealed[SEALED_DEK_BYTES_MAX];
    size_t bytes;
};

static struct dek_copy dek_copy_take(uint32_t version)
{
    struct dek_copy copy = {.page = sealed_dek(version)->page, .slot = sealed_dek(version)->slot};
    copy.bytes = sealed_dek(version)->sealed.len;
    memcpy(copy.sealed, sealed_dek(version)->sealed.data, copy.bytes);
    return copy;
}

static void expect_copy_is_worthless(const struct dek_copy *copy)
{
    cr_assert_eq(leaf_status(copy->page, copy->slot), STATUS_GONE);
    cr_assert_eq(close_epoch(), STATUS_OK);
    cr_assert_eq(vault_status()->leaves_punctured, 0);
    cr_assert_eq(leaf_status(copy->page, copy->slot), STATUS_GONE);
    crash(4);
    start();
    cr_assert_eq(leaf_status(copy->page, copy->slot), STATUS_GONE);
}

Test(meta_keys, another_master_key_wraps_the_same_data_keys)
{
    uint8_t deks[2][32];
    uint8_t again[32];
    char cmk[KMS_CMK_BYTES];
    struct credential credential;
    create_tenant_and_bucket();
    cr_assert_eq(credential_make(&credential), STATUS_OK);
    fake_kms.is_away = false;
    cr_assert_eq(tenant_key(1, 1, deks[0]), STATUS_OK);
    cr_assert_eq(key_rotate(false), STATUS_OK);
    cr_assert_eq(tenant_key(1, 2, deks[1]), STATUS_OK);
    (void)snprintf(cmk, sizeof(cmk), "%s", key_show()->cmk);
    struct dek_copy copy = dek_copy_take(1);

    cr_assert_eq(key_rotate(true), STATUS_OK);
    cr_assert_neq(strcmp(REPLY(KeyShowReply)->cmk, cmk), 0);
    cr_assert_eq(REPLY(KeyShowReply)->n_data_keys, 2, "no new data key");
    cr_assert_null(fake_cmk(cmk), "the old one was destroyed");
    for (uint32_t version = 1; version <= 2; version++) {
        cr_assert_eq(tenant_key(1, version, again), STATUS_OK);
        cr_assert_arr_eq(again, deks[version - 1], 32);
    }
    cr_assert_eq(credential_look(&credential), STATUS_OK);
    expect_copy_is_worthless(&copy);
    cr_assert_eq(tenant_key(1, 2, again), STATUS_OK);
    cr_assert_arr_eq(again, deks[1], 32);
}

Test(meta_keys, a_customers_master_key_is_imported)
{
    uint8_t dek[32];
    uint8_t again[32];
    uint8_t wrapped[32];
    char cmk[KMS_CMK_BYTES];
    Trilith__Empty empty = TRILITH__EMPTY__INIT;
    create_tenant_and_bucket();
    cr_assert_eq(CALL(KEY_TRANSPORT, &empty), STATUS_OK);
    cr_assert_str_eq(REPLY(KeyTransportReply)->public_key, "PEM");
    cr_assert_str_eq(REPLY(KeyTransportReply)->algorithm, "RSA-OAEP-SHA256");
    cr_assert_eq(tenant_key(1, 0, dek), STATUS_OK);
    (void)snprintf(cmk, sizeof(cmk), "%s", key_show()->cmk);
    struct dek_copy copy = dek_copy_take(1);

    memset(wrapped, 0, sizeof(wrapped));
    cr_assert_eq(key_import(wrapped, sizeof(wrapped)), STATUS_DENIED);
    cr_assert_eq(key_import(wrapped, 31), STATUS_INVALID);
    cr_assert_eq(key_import(wrapped, 0), STATUS_INVALID);
    cr_assert_str_eq(key_show()->cmk, cmk);
    cr_assert_eq(tenant_key(1, 0, again), STATUS_OK);

    fake_kms.keeps_destroyed = true;
    memset(wrapped, 0x17, sizeof(wrapped));
    cr_assert_eq(key_import(wrapped, sizeof(wrapped)), STATUS_OK);
    cr_assert_str_eq(REPLY(KeyShowReply)->cmk_origin, "imported");
    cr_assert_neq(strcmp(REPLY(KeyShowReply)->cmk, cmk), 0);
    cr_assert_eq(tenant_key(1, 0, again), STATUS_OK);
    cr_assert_arr_eq(again, dek, 32);
    cr_assert_not_null(fake_cmk(cmk), "a provider that can't forget it");
    expect_copy_is_worthless(&copy);

    cr_assert_eq(key_rotate(false), STATUS_OK);
    cr_assert_str_eq(REPLY(KeyShowReply)->cmk_origin, "imported", "a new data key under the same master key");
    cr_assert_eq(key_rotate(true), STATUS_OK);
    cr_assert_str_eq(REPLY(KeyShowReply)->cmk_origin, "generated");
}

Test(meta_keys, a_change_of_the_master_key_that_was_cut_off_loses_no_data_key)
{
    uint8_t deks[3][32];
    uint8_t again[32];
    bool was_complete = false;
    Trilith__KeyRotateRequest request = TRILITH__KEY_ROTATE_REQUEST__INIT;
    create_tenant_and_bucket();
    request.tenant = acme;
    request.cmk = true;
    for (uint32_t version = 1; version <= 3; version++) {
        cr_assert_eq(tenant_key(1, version, deks[version - 1]), STATUS_OK);
        cr_assert(version == 3 || key_rotate(false) == STATUS_OK);
    }
    for (unsigned i = 0; !was_complete; i++) {
        struct probe probe = {0};
        cr_assert_lt(i, 60, "it never came to its end");
        START(&probe, KEY_ROTATE, &request);
        for (unsigned step = 0; step < 8 * i && !probe.done; step++) {
            (void)sim_loop_step(sim);
        }
        was_complete = probe.done;
        crash(i);
        wait_for(&probe.done);
        probe_clear(&probe);
        start();
        for (uint32_t version = 1; version <= 3; version++) {
            cr_assert_eq(tenant_key(1, version, again), STATUS_OK, "version %u after crash %u", version, i);
            cr_assert_arr_eq(again, deks[version - 1], 32);
        }
        cr_assert(vault_status()->balanced);
    }
}

/* ---- the KMS is away --------------------------------------------------------------------------- */

Test(meta_keys, without_the_kms_only_what_needs_keys_is_refused)
{
    uint8_t leaf[32];
    uint8_t dek[32];
    struct credential credential;
    struct credential another;
    Trilith__Empty empty = TRILITH__EMPTY__INIT;
    register_nodes();
    create_tenant_and_bucket();
    cr_assert_eq(credential_make(&credential), STATUS_OK);
    cr_assert_eq(CALL(CLUSTER_STATUS, &empty), STATUS_OK);
    cr_assert(REPLY(ClusterStatusReply)->kms->available);
    cr_assert(REPLY(ClusterStatusReply)->healthy);
    cr_assert_str_eq(REPLY(ClusterStatusReply)->kms->provider, "fake");

    fake_kms.is_away = true;
    cr_assert_eq(tenant_key(1, 0, dek), STATUS_KEY_AWAY);
    cr_assert_eq(credential_look(&credential), STATUS_KEY_AWAY);
    cr_assert_eq(credential_make(&another), STATUS_KEY_AWAY);
    cr_assert_eq(create_tenant("other"), STATUS_KEY_AWAY);
    cr_assert_eq(key_rotate(false), STATUS_KEY_AWAY);
    cr_assert_eq(key_rotate(true), STATUS_KEY_AWAY);
    cr_assert_eq(CALL(KEY_TRANSPORT, &empty), STATUS_KEY_AWAY);
    cr_assert_eq(bucket_get(), STATUS_OK);
    cr_assert_eq(put_object("a", 1, leaf), STATUS_OK, "a gateway that has the key still");
    cr_assert_eq(get_object("photos", "a"), STATUS_OK);
    cr_assert_eq(key_show()->n_data_keys, 1);
    cr_assert_eq(close_epoch(), STATUS_OK);
    cr_assert_eq(CALL(CLUSTER_STATUS, &empty), STATUS_OK);
    cr_assert_not(REPLY(ClusterStatusReply)->kms->available);
    cr_assert_not(REPLY(ClusterStatusReply)->healthy);
    cr_assert_gt(strlen(REPLY(ClusterStatusReply)->kms->message), 0);

    fake_kms.is_away = false;
    cr_assert_eq(tenant_key(1, 0, dek), STATUS_OK);
    cr_assert_eq(credential_look(&credential), STATUS_OK);
    cr_assert_eq(create_tenant("other"), STATUS_OK);
    cr_assert_eq(CALL(CLUSTER_STATUS, &empty), STATUS_OK);
    cr_assert(REPLY(ClusterStatusReply)->kms->available);
}

Test(meta_keys, status_notices_by_itself_that_the_kms_is_away)
{
    Trilith__Empty empty = TRILITH__EMPTY__INIT;
    create_tenant_and_bucket();
    fake_kms.is_away = true;
    run_seconds(15);
    cr_assert_eq(CALL(CLUSTER_STATUS, &empty), STATUS_OK);
    cr_assert_not(REPLY(ClusterStatusReply)->kms->available);
    fake_kms.is_away = false;
    run_seconds(15);
    cr_assert_eq(CALL(CLUSTER_STATUS, &empty), STATUS_OK);
    cr_assert(REPLY(ClusterStatusReply)->kms->available);
}

Test(meta_keys, a_master_key_that_the_kms_does_not_know_makes_the_keys_unavailable)
{
    uint8_t dek[32];
    create_tenant_and_bucket();
    struct key kept = fake_kms.cmks[0];
    fake_kms.cmks[0] = zero_key;
    cr_assert_eq(tenant_key(1, 0, dek), STATUS_KEY_AWAY, "not STATUS_NOT_FOUND: the tenant is there");
    key_make(&fake_kms.cmks[0]);
    cr_assert_eq(tenant_key(1, 0, dek), STATUS_KEY_AWAY);
    fake_kms.cmks[0] = kept;
    cr_assert_eq(tenant_key(1, 0, dek), STATUS_OK);
}
