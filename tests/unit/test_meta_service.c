/* test_meta_service.c - the metadata service as its peers see it: over RPC, through crashes, and what it leaves on
 * disk. */
#include "tests/unit/meta_service_world.h"

#include "meta/erasure.h"

TestSuite(meta_service, .init = setup, .fini = call_teardown, .timeout = 120);

/* ---- behaviours -------------------------------------------------------------------------------- */

Test(meta_service, takes_nodes_in_and_hands_out_the_map)
{
    uint8_t cluster_id[16];
    register_nodes();
    const Trilith__NodeRegisterReply *reply = REPLY(NodeRegisterReply);
    cr_assert_eq(reply->node_id, 4);
    cr_assert_eq(reply->n_disk_ids, 1);
    cr_assert_eq(reply->disk_ids[0], 4);
    cr_assert_eq(reply->lease_ms, LEASE_MS);
    cr_assert_eq(reply->map->n_nodes, 4);
    cr_assert_gt(reply->map->n_pgs, 0);
    memcpy(cluster_id, reply->cluster_id.data, 16);
    cr_assert_eq(register_node("node4", 4, cluster_id), STATUS_OK);
    cr_assert_eq(REPLY(NodeRegisterReply)->node_id, 4);
    cluster_id[0] ^= 1;
    cr_assert_eq(register_node("node4", 4, cluster_id), STATUS_DENIED);
}

Test(meta_service, refuses_a_disk_that_a_live_node_claims)
{
    register_nodes();
    cr_assert_eq(register_node("node9", 1, NULL), STATUS_CONFLICT);
    sim_loop_run_for(sim, (LEASE_MS + 1000) * NS_PER_MS);
    cr_assert_eq(register_node("node9", 1, NULL), STATUS_OK, "carried over from a node that is gone");
    cr_assert_eq(REPLY(NodeRegisterReply)->disk_ids[0], 1);
}

Test(meta_service, heartbeats_keep_a_cluster_healthy)
{
    Trilith__Empty empty = TRILITH__EMPTY__INIT;
    cr_assert_eq(CALL(CLUSTER_STATUS, &empty), STATUS_OK);
    cr_assert_not(REPLY(ClusterStatusReply)->healthy, "no PG yet");
    register_nodes();
    cr_assert_eq(CALL(CLUSTER_STATUS, &empty), STATUS_OK);
    cr_assert(REPLY(ClusterStatusReply)->healthy);
    cr_assert_eq(REPLY(ClusterStatusReply)->pgs_clean, REPLY(ClusterStatusReply)->pgs_total);

    sim_loop_run_for(sim, (LEASE_MS + 1000) * NS_PER_MS);
    uint8_t uuid[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    Trilith__DiskReport report = TRILITH__DISK_REPORT__INIT;
    Trilith__DiskReport *reports[1] = {&report};
    Trilith__NodeHeartbeatRequest beat = TRILITH__NODE_HEARTBEAT_REQUEST__INIT;
    report.uuid = (ProtobufCBinaryData){.data = uuid, .len = 16};
    report.state = TRILITH__DISK_STATE__DISK_SERVING;
    beat.node_id = 1;
    beat.disks = reports;
    beat.n_disks = 1;
    cr_assert_eq(CALL(NODE_HEARTBEAT, &beat), STATUS_OK);
    cr_assert_not_null(REPLY(NodeHeartbeatReply)->map);
    cr_assert_eq(REPLY(NodeHeartbeatReply)->n_health, 4);
    cr_assert(REPLY(NodeHeartbeatReply)->health[0]->up);
    cr_assert_not(REPLY(NodeHeartbeatReply)->health[1]->up);
    beat.map_epoch = REPLY(NodeHeartbeatReply)->map->epoch;
    cr_assert_eq(CALL(NODE_HEARTBEAT, &beat), STATUS_OK);
    cr_assert_null(REPLY(NodeHeartbeatReply)->map);
    beat.node_id = 2;
    cr_assert_eq(CALL(NODE_HEARTBEAT, &beat), STATUS_CONFLICT, "a disk of another node");
    beat.node_id = 77;
    cr_assert_eq(CALL(NODE_HEARTBEAT, &beat), STATUS_NOT_FOUND);
    report.uuid.len = 15;
    cr_assert_eq(CALL(NODE_HEARTBEAT, &beat), STATUS_INVALID);

    cr_assert_eq(CALL(CLUSTER_STATUS, &empty), STATUS_OK);
    cr_assert_not(REPLY(ClusterStatusReply)->healthy);
    cr_assert_str_eq(REPLY(ClusterStatusReply)->nodes[1]->state, "suspect");
    cr_assert_eq(REPLY(ClusterStatusReply)->pgs_clean, 0);
}

Test(meta_service, stores_finds_and_erases_an_object)
{
    uint8_t leaf[32];
    register_nodes();
    create_tenant_and_bucket();
    cr_assert_eq(get_object("nowhere", "a"), STATUS_CONFLICT);
    cr_assert_eq(get_object("photos", "a"), STATUS_NOT_FOUND);
    cr_assert_eq(put_object("a", 1, leaf), STATUS_OK);
    cr_assert_gt(REPLY(ObjectCommitReply)->modified_ms, 0);
    cr_assert_eq(get_object("photos", "a"), STATUS_OK);
    uint32_t page = REPLY(ObjectGetReply)->object->page;
    uint32_t slot = REPLY(ObjectGetReply)->object->slot;
    cr_assert_eq(leaf_status(page, slot), STATUS_OK);
    cr_assert_eq(REPLY(ObjectGetReply)->object->size, 100);
    cr_assert_eq(REPLY(ObjectGetReply)->bucket_id, 1);
    cr_assert_arr_eq(REPLY(ObjectGetReply)->leaf.data, leaf, 32, "the leaf it was written under");

    cr_assert_eq(delete_object("a"), STATUS_OK);
    uint64_t erasure = REPLY(ObjectDeleteReply)->erasure_id;
    cr_assert_neq(erasure, 0);
    cr_assert_eq(get_object("photos", "a"), STATUS_NOT_FOUND);
    cr_assert_eq(leaf_status(page, slot), STATUS_GONE);

    Trilith__ErasureGetRequest get = TRILITH__ERASURE_GET_REQUEST__INIT;
    get.id = erasure;
    cr_assert_eq(CALL(ERASURE_GET, &get), STATUS_OK);
    cr_assert_eq(REPLY(ErasureReply)->erasure->n_open_disks, 3);
    for (uint32_t disk_id = 1; disk_id <= 4; disk_id++) {
        Trilith__WipePullRequest pull = TRILITH__WIPE_PULL_REQUEST__INIT;
        pull.disk_id = disk_id;
        pull.max = 10;
        cr_assert_eq(CALL(WIPE_PULL, &pull), STATUS_OK);
        if (REPLY(WipePullReply)->n_wipes == 0) {
            continue;
        }
        uint8_t chunk[16];
        memcpy(chunk, REPLY(WipePullReply)->wipes[0]->chunk_id.data, 16);
        Trilith__WipeResult result = TRILITH__WIPE_RESULT__INIT;
        Trilith__WipeResult *results[1] = {&result};
        char node[] = "node0";
        node[4] = (char)('0' + disk_id);
        result.chunk_id = (ProtobufCBinaryData){.data = chunk, .len = 16};
        result.erasure_id = erasure;
        result.outcome = TRILITH__WIPE_OUTCOME__WIPE_WIPED;
        cr_assert_eq(report_wipes(node, (uint8_t)disk_id, disk_id, results, 1), STATUS_OK);
    }
    cr_assert_eq(CALL(ERASURE_GET, &get), STATUS_OK);
    cr_assert_eq(REPLY(ErasureReply)->erasure->closed_ms, 0, "its key still stands in the vault's epoch");
    cr_assert_not(REPLY(ErasureReply)->erasure->key_destroyed);
    cr_assert_eq(close_epoch(), STATUS_OK);
    cr_assert_eq(CALL(ERASURE_GET, &get), STATUS_OK);
    cr_assert_neq(REPLY(ErasureReply)->erasure->closed_ms, 0);
    cr_assert(REPLY(ErasureReply)->erasure->key_destroyed);
    cr_assert_eq(REPLY(ErasureReply)->erasure->key_epoch, 1);
    get.id = 99;
    cr_assert_eq(CALL(ERASURE_GET, &get), STATUS_NOT_FOUND);
}

/* The wipes of one disk of an object that was deleted; NULL when it owes none. */
static Trilith__WipeResult *owed_by(uint32_t disk_id)
{
    static uint8_t chunk[16];
    static Trilith__WipeResult result;
    Trilith__WipePullRequest pull = TRILITH__WIPE_PULL_REQUEST__INIT;
    pull.disk_id = disk_id;
    pull.max = 10;
    cr_assert_eq(CALL(WIPE_PULL, &pull), STATUS_OK);
    if (REPLY(WipePullReply)->n_wipes == 0) {
        return NULL;
    }
    memcpy(chunk, REPLY(WipePullReply)->wipes[0]->chunk_id.data, 16);
    trilith__wipe_result__init(&result);
    result.chunk_id = (ProtobufCBinaryData){.data = chunk, .len = 16};
    result.erasure_id = REPLY(WipePullReply)->wipes[0]->erasure_id;
    result.outcome = TRILITH__WIPE_OUTCOME__WIPE_WIPED;
    result.bytes = 4096;
    return &result;
}

Test(meta_service, believes_no_wipe_that_the_disks_node_has_not_signed)
{
    uint8_t leaf[32];
    register_nodes();
    create_tenant_and_bucket();
    cr_assert_eq(put_object("a", 1, leaf), STATUS_OK);
    cr_assert_eq(delete_object("a"), STATUS_OK);
    uint32_t disk_id = 1;
    Trilith__WipeResult *result = owed_by(disk_id);
    if (result == NULL) {
        disk_id = 2; /* Of four disks three have it. */
        result = owed_by(disk_id);
    }
    cr_assert_not_null(result);
    char node[] = "node0";
    node[4] = (char)('0' + disk_id);
    uint8_t uuid = (uint8_t)disk_id;
    Trilith__WipeDoneRequest done = TRILITH__WIPE_DONE_REQUEST__INIT;
    done.disk_id = disk_id;
    done.results = &result;
    done.n_results = 1;
    cr_assert_eq(CALL(WIPE_DONE, &done), STATUS_DENIED, "nothing signed");
    uint8_t garbage[] = "a.b.c";
    done.attestation = (ProtobufCBinaryData){.data = garbage, .len = 5};
    cr_assert_eq(CALL(WIPE_DONE, &done), STATUS_INVALID);
    cr_assert_eq(report_wipes(node, (uint8_t)(uuid + 1), disk_id, &result, 1), STATUS_DENIED, "another node's key");
    cr_assert_eq(report_wipes("node9", uuid, disk_id, &result, 1), STATUS_DENIED, "under another name");
    cr_assert_eq(report_wipes(node, uuid, 77, &result, 1), STATUS_NOT_FOUND, "no such disk");
    cr_assert_not_null(owed_by(disk_id), "it is still owed");
    cr_assert_eq(report_wipes(node, uuid, disk_id, &result, 1), STATUS_OK);
    cr_assert_null(owed_by(disk_id));
    cr_assert_eq(report_wipes(node, uuid, disk_id, &result, 1), STATUS_OK, "said again");
}

Test(meta_service, knows_since_when_the_keys_in_a_nodes_memory_are)
{
    uint8_t uuid[16];
    uint8_t leaf[32];
    char path[] = "/disk";
    Trilith__DiskReport report = TRILITH__DISK_REPORT__INIT;
    Trilith__DiskReport *reports[1] = {&report};
    Trilith__NodeHeartbeatRequest beat = TRILITH__NODE_HEARTBEAT_REQUEST__INIT;
    const struct membership *membership = &life.service->membership;
    register_nodes();
    create_tenant_and_bucket();
    memset(uuid, 1, sizeof(uuid));
    report.uuid = (ProtobufCBinaryData){.data = uuid, .len = 16};
    report.path = path;
    beat.node_id = 1;
    beat.disks = reports;
    beat.n_disks = 1;
    cr_assert_eq(CALL(NODE_HEARTBEAT, &beat), STATUS_OK);
    uint64_t index = REPLY(NodeHeartbeatReply)->journal_index;
    cr_assert_gt(index, 0);
    cr_assert_eq(membership_keys_since(membership, 1), 0);
    cr_assert_eq(put_object("a", 1, leaf), STATUS_OK);
    cr_assert_eq(get_object("photos", "a"), STATUS_OK);
    cr_assert_gt(REPLY(ObjectGetReply)->journal_index, index, "the commit is in it");
    beat.keys_since_index = index;
    cr_assert_eq(CALL(NODE_HEARTBEAT, &beat), STATUS_OK);
    cr_assert_eq(membership_keys_since(membership, 1), index);
    beat.keys_since_index = index + 1000000;
    cr_assert_eq(CALL(NODE_HEARTBEAT, &beat), STATUS_OK);
    cr_assert_eq(membership_keys_since(membership, 1), index, "of no journal of ours");
    cr_assert_eq(register_node("node1", 1, NULL), STATUS_OK);
    cr_assert_eq(membership_keys_since(membership, 1), 0, "it may be another process");
}

Test(meta_service, punctured_leaves_stay_refused_after_a_restart)
{
    uint8_t leaf[32];
    register_nodes();
    create_tenant_and_bucket();
    cr_assert_eq(put_object("a", 1, leaf), STATUS_OK);
    cr_assert_eq(get_object("photos", "a"), STATUS_OK);
    uint32_t page = REPLY(ObjectGetReply)->object->page;
    uint32_t slot = REPLY(ObjectGetReply)->object->slot;
    cr_assert_eq(put_object("b", 2, leaf), STATUS_OK);
    cr_assert_eq(delete_object("a"), STATUS_OK);
    for (unsigned round = 0; round < 2; round++) {
        if (round == 0) {
            end();
        } else {
            crash(5);
        }
        start();
        cr_assert_eq(leaf_status(page, slot), STATUS_GONE);
        cr_assert_eq(get_object("photos", "b"), STATUS_OK);
        cr_assert_arr_eq(REPLY(ObjectGetReply)->leaf.data, leaf, 32);
        cr_assert_eq(vault_status()->leaves_punctured, 1);
    }
    cr_assert_eq(close_epoch(), STATUS_OK);
    cr_assert_eq(REPLY(EpochCloseReply)->leaves_erased, 1);
    crash(6);
    start();
    cr_assert_eq(leaf_status(page, slot), STATUS_GONE);
    cr_assert_eq(get_object("photos", "b"), STATUS_OK);
    cr_assert_arr_eq(REPLY(ObjectGetReply)->leaf.data, leaf, 32);
}

/* ---- names in certificates --------------------------------------------------------------------- */

/* What OBJECT_OPENING gives for a key of "photos". */
static enum status opening_of(const char *tenant, const char *key, uint8_t salt[32])
{
    char names[3][64];
    Trilith__ObjectOpeningRequest request;
    trilith__object_opening_request__init(&request);
    (void)snprintf(names[0], sizeof(names[0]), "%s", tenant);
    (void)snprintf(names[1], sizeof(names[1]), "photos");
    (void)snprintf(names[2], sizeof(names[2]), "%s", key);
    request.tenant = names[0];
    request.bucket = names[1];
    request.key = (ProtobufCBinaryData){.data = (uint8_t *)names[2], .len = strlen(key)};
    enum status status = CALL(OBJECT_OPENING, &request);
    if (status == STATUS_OK) {
        cr_assert_eq(REPLY(ObjectOpeningReply)->ref_salt.len, 32);
        memcpy(salt, REPLY(ObjectOpeningReply)->ref_salt.data, 32);
    }
    return status;
}

/* The object_ref of an erasure is that of version `number` of `key` under this salt. */
static bool is_named(uint64_t erasure_id, const char *key, uint8_t number, const uint8_t salt[32])
{
    uint8_t version[16];
    char name[64];
    uint8_t expected[32];
    uint8_t copy[32];
    Trilith__ErasureRecord *record = NULL;
    memset(version, number, sizeof(version));
    memcpy(copy, salt, sizeof(copy));
    (void)snprintf(name, sizeof(name), "%s", key);
    const ProtobufCBinaryData object_key = {.data = (uint8_t *)name, .len = strlen(key)};
    const ProtobufCBinaryData ref_salt = {.data = copy, .len = sizeof(copy)};
    struct tables *tables = state_tables(life.state);
    scratch_reset(&tables->scratch);
    cr_assert_eq(erasure_record(tables, erasure_id, &record), STATUS_OK);
    cr_assert(erasure_object_ref(ref_salt, version, "photos", object_key, expected));
    return record->object_ref.len == 32 && memcmp(record->object_ref.data, expected, 32) == 0;
}

Test(meta_service, names_erased_objects_so_that_the_tenant_can_prove_which_they_were)
{
    uint8_t leaf[32], salt[32], other[32], later[32];
    register_nodes();
    create_tenant_and_bucket();
    cr_assert_eq(put_object("a", 1, leaf), STATUS_OK);
    cr_assert_eq(put_object("a", 2, leaf), STATUS_OK); /* Erasure 1: an overwrite. */
    cr_assert_eq(delete_object("a"), STATUS_OK);       /* Erasure 2. */
    cr_assert_eq(opening_of("acme", "a", salt), STATUS_OK);
    cr_assert(is_named(1, "a", 1, salt));
    cr_assert(is_named(2, "a", 2, salt));
    cr_assert_not(is_named(2, "a", 1, salt), "another version has another name");
    cr_assert_eq(opening_of("acme", "b", other), STATUS_OK);
    cr_assert_neq(memcmp(salt, other, 32), 0);
    cr_assert_not(is_named(2, "a", 2, other));
    cr_assert_eq(opening_of("nobody", "a", other), STATUS_NOT_FOUND);
    cr_assert_eq(close_epoch(), STATUS_OK);
    cr_assert_eq(opening_of("acme", "a", later), STATUS_OK);
    cr_assert_arr_eq(salt, later, 32, "it outlasts epochs");
    cr_assert_eq(create_tenant("globex"), STATUS_OK);
    cr_assert_eq(opening_of("globex", "a", other), STATUS_OK);
    cr_assert_neq(memcmp(salt, other, 32), 0, "tenants have keys of their own");
}

/* ---- epochs ------------------------------------------------------------------------------------ */

Test(meta_service, closes_an_epoch_when_asked_and_says_what_it_destroyed)
{
    uint8_t leaf[32];
    struct probe first = {0};
    struct probe second = {0};
    Trilith__Empty empty = TRILITH__EMPTY__INIT;
    register_nodes();
    create_tenant_and_bucket();
    cr_assert_eq(vault_status()->epoch, 1);
    for (uint8_t i = 0; i < 10; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "key-%u", i);
        cr_assert_eq(put_object(key, i + 1, leaf), STATUS_OK);
        if (i % 2 == 0) {
            cr_assert_eq(delete_object(key), STATUS_OK);
        }
    }
    const Trilith__VaultStatus *before = vault_status();
    cr_assert_eq(before->leaves_punctured, 5);
    cr_assert_eq(before->leaves_live, 7, "five versions, a DEK, and the key of references");
    cr_assert_eq(before->leaves_erased, 0);
    cr_assert(before->balanced);
    cr_assert_str_eq(before->slot, "file");

    START(&first, EPOCH_CLOSE, &empty);
    START(&second, EPOCH_CLOSE, &empty);
    wait_for(&first.done);
    wait_for(&second.done);
    cr_assert_eq(first.status, STATUS_OK);
    cr_assert_eq(second.status, STATUS_OK);
    cr_assert_eq(((const Trilith__EpochCloseReply *)(const void *)first.reply)->epoch, 1);
    probe_clear(&first);
    probe_clear(&second);

    const Trilith__VaultStatus *after = vault_status();
    cr_assert_geq(after->epoch, 2);
    cr_assert_eq(after->leaves_punctured, 0);
    cr_assert_eq(after->leaves_erased, 5);
    cr_assert_eq(after->leaves_live, 7);
    cr_assert(after->balanced);
    cr_assert_gt(after->close_bytes, 0);
    for (uint8_t i = 0; i < 10; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "key-%u", i);
        cr_assert_eq(get_object("photos", key), i % 2 == 0 ? STATUS_NOT_FOUND : STATUS_OK);
    }
}

Test(meta_service, closes_an_epoch_by_itself_when_there_is_something_to_destroy)
{
    uint8_t leaf[32];
    register_nodes();
    create_tenant_and_bucket();
    end();
    cr_assert_eq(start_with(10000), STATUS_OK);
    uint64_t epoch = vault_status()->epoch;
    sim_loop_run_for(sim, 60 * NS_PER_S);
    cr_assert_eq(vault_status()->epoch, epoch, "nothing to destroy");
    cr_assert_eq(put_object("a", 1, leaf), STATUS_OK);
    cr_assert_eq(delete_object("a"), STATUS_OK);
    sim_loop_run_for(sim, 15 * NS_PER_S);
    cr_assert_eq(vault_status()->epoch, epoch + 1);
    cr_assert_eq(vault_status()->leaves_erased, 1);
}

Test(meta_service, an_epoch_that_was_being_closed_when_power_was_lost_loses_no_leaf)
{
    uint8_t leaves[20][32];
    Trilith__Empty empty = TRILITH__EMPTY__INIT;
    register_nodes();
    create_tenant_and_bucket();
    for (uint8_t i = 0; i < 20; i++) {
        struct probe probe = {0};
        uint8_t gone[32];
        char key[16];
        (void)snprintf(key, sizeof(key), "key-%u", i);
        cr_assert_eq(put_object(key, i + 1, leaves[i]), STATUS_OK);
        cr_assert_eq(put_object("gone", 100 + i, gone), STATUS_OK);
        cr_assert_eq(delete_object("gone"), STATUS_OK);
        START(&probe, EPOCH_CLOSE, &empty);
        for (unsigned step = 0; step < 4u + 9u * i && !probe.done; step++) {
            (void)sim_loop_step(sim);
        }
        crash(i);
        wait_for(&probe.done);
        probe_clear(&probe);
        start();
        cr_assert(vault_status()->balanced);
    }
    cr_assert_eq(close_epoch(), STATUS_OK);
    cr_assert_eq(vault_status()->leaves_erased, 20);
    for (uint8_t i = 0; i < 20; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "key-%u", i);
        cr_assert_eq(get_object("photos", key), STATUS_OK);
        cr_assert_arr_eq(REPLY(ObjectGetReply)->leaf.data, leaves[i], 32);
    }
}

Test(meta_service, closes_an_epoch_for_orphans_although_no_leaf_was_punctured)
{
    uint8_t id[16] = {7};
    Trilith__ChunkRef chunk = TRILITH__CHUNK_REF__INIT;
    Trilith__ChunkRef *chunks[1] = {&chunk};
    Trilith__ChunksCheckRequest check = TRILITH__CHUNKS_CHECK_REQUEST__INIT;
    register_nodes();
    create_tenant_and_bucket();
    sim_loop_run_for(sim, NS_PER_S);
    end();
    cr_assert_eq(start_with(60000), STATUS_OK);
    chunk.chunk_id = (ProtobufCBinaryData){.data = id, .len = 16};
    chunk.pg = 1;
    chunk.chunk_bytes = 100;
    check.disk_id = 1;
    check.chunks = chunks;
    check.n_chunks = 1;
    cr_assert_eq(CALL(CHUNKS_CHECK, &check), STATUS_OK);
    sim_loop_run_for(sim, 30 * NS_PER_S);
    cr_assert_eq(state_cluster(life.state)->keys_destroyed_below, 1, "not before the epoch's time");
    sim_loop_run_for(sim, 40 * NS_PER_S);
    cr_assert_eq(state_cluster(life.state)->keys_destroyed_below, 2);
    uint64_t epoch = vault_status()->epoch;
    sim_loop_run_for(sim, 180 * NS_PER_S);
    cr_assert_eq(vault_status()->epoch, epoch, "once");
}

/* Closes an epoch while the `ios`-th I/O of a disk of the vault, and all after it, fail; then starts again. False: the
 * close came to its end before that. */
static bool close_on_failing_disk(struct sim_disk *failing, uint64_t ios)
{
    uint8_t gone[32];
    cr_assert_eq(put_object("gone", (uint8_t)((failing == slot_disk ? 110 : 90) + ios), gone), STATUS_OK);
    cr_assert_eq(delete_object("gone"), STATUS_OK);
    sim_disk_fail_after(failing, ios, STATUS_IO);
    enum status status = close_epoch();
    cr_assert(life.failures == 0 || meta_service_message(life.service)[0] != '\0');
    sim_disk_fail_after(failing, 0, STATUS_OK);
    crash(ios);
    start();
    cr_assert(vault_status()->balanced);
    return status != STATUS_OK;
}

Test(meta_service, a_failing_disk_of_the_vault_loses_no_leaf)
{
    uint8_t leaf[32];
    struct sim_disk *disks[] = {tables_disk, slot_disk};
    register_nodes();
    create_tenant_and_bucket();
    cr_assert_eq(put_object("a", 1, leaf), STATUS_OK);
    for (size_t i = 0; i < ARRAY_LENGTH(disks); i++) {
        uint64_t ios = 1;
        while (close_on_failing_disk(disks[i], ios)) {
            cr_assert_eq(get_object("photos", "a"), STATUS_OK);
            cr_assert_arr_eq(REPLY(ObjectGetReply)->leaf.data, leaf, 32);
            cr_assert_lt(ios++, 60);
        }
        cr_assert_gt(ios, 1, "no close was disturbed");
    }
    cr_assert_eq(close_epoch(), STATUS_OK);
    cr_assert_eq(vault_status()->leaves_punctured, 0);
}

Test(meta_service, gives_up_leaves_whose_lease_ran_out)
{
    uint8_t leaf[32];
    uint32_t page = 0;
    uint32_t slot = 0;
    register_nodes();
    create_tenant_and_bucket();
    cr_assert_eq(lease_leaf(&page, &slot, leaf), STATUS_OK);
    sim_loop_run_for(sim, (uint64_t)LEAF_LEASE_MS / 2 * NS_PER_MS);
    cr_assert_eq(leaf_status(page, slot), STATUS_OK);
    sim_loop_run_for(sim, ((uint64_t)LEAF_LEASE_MS / 2 + 5000) * NS_PER_MS);
    cr_assert_eq(leaf_status(page, slot), STATUS_GONE);
    cr_assert_eq(vault_status()->leaves_punctured, 1);
}

Test(meta_service, refuses_the_slot_of_another_vault_and_says_so)
{
    struct sim_disk *own = slot_disk;
    create_tenant_and_bucket();
    end();
    slot_disk = sim_disk_open(sim, 77);
    slot_is_new = true;
    cr_assert_neq(start_with(0), STATUS_OK);
    slot_is_new = false;
    cr_assert_gt(strlen(meta_service_message(life.service)), 20);
    end();
    sim_disk_close(slot_disk);
    slot_disk = own;
    start();
    uint8_t dek[32];
    cr_assert_eq(tenant_key(1, 0, dek), STATUS_OK);
}

/* ---- the rest of what peers ask ---------------------------------------------------------------- */

Test(meta_service, condemns_orphans_and_leaves_objects_alone)
{
    uint8_t leaf[32];
    uint8_t ids[2][16];
    register_nodes();
    create_tenant_and_bucket();
    cr_assert_eq(put_object("a", 1, leaf), STATUS_OK);
    memset(ids[0], 0x81, 16);
    memset(ids[1], 0x99, 16);
    Trilith__ChunkRef chunks[2];
    Trilith__ChunkRef *pointers[2] = {&chunks[0], &chunks[1]};
    Trilith__ChunksCheckRequest check = TRILITH__CHUNKS_CHECK_REQUEST__INIT;
    for (size_t i = 0; i < 2; i++) {
        trilith__chunk_ref__init(&chunks[i]);
        chunks[i].chunk_id = (ProtobufCBinaryData){.data = ids[i], .len = 16};
        chunks[i].pg = 1;
        chunks[i].chunk_bytes = 100;
    }
    check.disk_id = 1;
    check.chunks = pointers;
    check.n_chunks = 1;
    uint64_t index = state_applied_index(life.state);
    cr_assert_eq(CALL(CHUNKS_CHECK, &check), STATUS_OK);
    cr_assert(REPLY(ChunksCheckReply)->referenced[0]);
    cr_assert_eq(state_applied_index(life.state), index, "nothing to say to the journal");
    check.n_chunks = 2;
    cr_assert_eq(CALL(CHUNKS_CHECK, &check), STATUS_OK);
    cr_assert(REPLY(ChunksCheckReply)->referenced[0]);
    cr_assert_not(REPLY(ChunksCheckReply)->referenced[1]);
    cr_assert_eq(state_applied_index(life.state), index + 1);
    cr_assert_eq(CALL(CHUNKS_CHECK, &check), STATUS_OK);
    cr_assert_eq(state_applied_index(life.state), index + 1, "condemned already");
    cr_assert_eq(put_object("b", 0x19, leaf), STATUS_CONFLICT, "the commit comes too late");
    check.disk_id = 55;
    cr_assert_eq(CALL(CHUNKS_CHECK, &check), STATUS_NOT_FOUND);
}

Test(meta_service, gives_each_tenant_a_key_and_credentials)
{
    char owner[] = "owner";
    char acme[] = "acme";
    char nobody[] = "nobody";
    char access_key[32];
    char secret[64];
    create_tenant_and_bucket();
    Trilith__TenantKeyRequest key = TRILITH__TENANT_KEY_REQUEST__INIT;
    key.tenant_id = 1;
    cr_assert_eq(CALL(TENANT_KEY, &key), STATUS_OK);
    cr_assert_eq(REPLY(TenantKeyReply)->dek.len, 32);
    cr_assert_eq(REPLY(TenantKeyReply)->dek_version, 1);
    key.dek_version = 2;
    cr_assert_eq(CALL(TENANT_KEY, &key), STATUS_NOT_FOUND);

    Trilith__CredentialCreateRequest create = TRILITH__CREDENTIAL_CREATE_REQUEST__INIT;
    create.tenant = acme;
    create.role = owner;
    cr_assert_eq(CALL(CREDENTIAL_CREATE, &create), STATUS_OK);
    (void)snprintf(access_key, sizeof(access_key), "%s", REPLY(CredentialCreateReply)->access_key);
    (void)snprintf(secret, sizeof(secret), "%s", REPLY(CredentialCreateReply)->secret_key);
    cr_assert_eq(strlen(access_key), 20);
    cr_assert_eq(strlen(secret), 40);
    create.tenant = nobody;
    cr_assert_eq(CALL(CREDENTIAL_CREATE, &create), STATUS_NOT_FOUND);
    create.tenant = acme;
    create.role = nobody;
    cr_assert_eq(CALL(CREDENTIAL_CREATE, &create), STATUS_INVALID);

    Trilith__CredentialGetRequest get = TRILITH__CREDENTIAL_GET_REQUEST__INIT;
    get.access_key = access_key;
    cr_assert_eq(CALL(CREDENTIAL_GET, &get), STATUS_OK);
    cr_assert_eq(REPLY(CredentialGetReply)->secret_key.len, 40);
    cr_assert_arr_eq(REPLY(CredentialGetReply)->secret_key.data, (uint8_t *)secret, 40);
    cr_assert_str_eq(REPLY(CredentialGetReply)->tenant_name, "acme");
    cr_assert_str_eq(REPLY(CredentialGetReply)->role, "owner");

    Trilith__CredentialListRequest list = TRILITH__CREDENTIAL_LIST_REQUEST__INIT;
    list.tenant = acme;
    cr_assert_eq(CALL(CREDENTIAL_LIST, &list), STATUS_OK);
    cr_assert_eq(REPLY(CredentialListReply)->n_credentials, 1);
    cr_assert_str_eq(REPLY(CredentialListReply)->credentials[0]->access_key, access_key);

    Trilith__CredentialRevokeRequest revoke = TRILITH__CREDENTIAL_REVOKE_REQUEST__INIT;
    revoke.access_key = access_key;
    cr_assert_eq(CALL(CREDENTIAL_REVOKE, &revoke), STATUS_OK);
    cr_assert_eq(CALL(CREDENTIAL_REVOKE, &revoke), STATUS_NOT_FOUND);
    cr_assert_eq(CALL(CREDENTIAL_GET, &get), STATUS_NOT_FOUND);
}

Test(meta_service, tenants_are_unique_and_well_named)
{
    char name[64] = "acme";
    Trilith__TenantCreateRequest create = TRILITH__TENANT_CREATE_REQUEST__INIT;
    Trilith__Empty empty = TRILITH__EMPTY__INIT;
    create.name = name;
    cr_assert_eq(CALL(TENANT_CREATE, &create), STATUS_OK);
    cr_assert_eq(CALL(TENANT_CREATE, &create), STATUS_EXISTS);
    (void)snprintf(name, sizeof(name), "No");
    cr_assert_eq(CALL(TENANT_CREATE, &create), STATUS_INVALID);
    cr_assert_eq(CALL(TENANT_LIST, &empty), STATUS_OK);
    cr_assert_eq(REPLY(TenantListReply)->n_tenants, 1);
}

Test(meta_service, locates_objects_for_operators)
{
    uint8_t leaf[32];
    char acme[] = "acme";
    char bucket[] = "photos";
    register_nodes();
    create_tenant_and_bucket();
    cr_assert_eq(put_object("a", 1, leaf), STATUS_OK);
    Trilith__ObjectLocateRequest request = TRILITH__OBJECT_LOCATE_REQUEST__INIT;
    request.tenant = acme;
    request.bucket = bucket;
    request.key = (ProtobufCBinaryData){.data = (uint8_t *)acme, .len = 1};
    cr_assert_eq(CALL(OBJECT_LOCATE, &request), STATUS_OK);
    cr_assert_eq(REPLY(ObjectLocateReply)->object->n_chunks, 1);
    cr_assert_eq(REPLY(ObjectLocateReply)->map->n_disks, 4);
    cr_assert_eq(REPLY(ObjectLocateReply)->n_health, 4);
    request.key.len = 2;
    cr_assert_eq(CALL(OBJECT_LOCATE, &request), STATUS_NOT_FOUND);
}

/* ---- crashes and failures ---------------------------------------------------------------------- */

Test(meta_service, keeps_every_acknowledged_object_through_crashes)
{
    uint8_t leaves[60][32];
    char key[16];
    register_nodes();
    create_tenant_and_bucket();
    for (uint8_t i = 0; i < 60; i++) {
        (void)snprintf(key, sizeof(key), "key-%u", i);
        cr_assert_eq(put_object(key, i + 1, leaves[i]), STATUS_OK);
        if (i % 6 == 5) {
            crash(i);
            start();
        }
    }
    for (uint8_t i = 0; i < 60; i++) {
        (void)snprintf(key, sizeof(key), "key-%u", i);
        cr_assert_eq(get_object("photos", key), STATUS_OK);
        cr_assert_arr_eq(REPLY(ObjectGetReply)->leaf.data, leaves[i], 32);
    }
    cr_assert_eq(state_cluster(life.state)->objects, 60);
}

Test(meta_service, answers_and_stops_when_the_journal_fails)
{
    uint8_t leaf[32];
    register_nodes();
    create_tenant_and_bucket();
    sim_disk_fail_after(disk, 1, STATUS_IO);
    cr_assert_eq(put_object("a", 1, leaf), STATUS_IO);
    cr_assert_eq(life.failures, 1);
    cr_assert_eq(get_object("photos", "a"), STATUS_UNAVAILABLE);
    sim_disk_fail_after(disk, 0, STATUS_OK);
}

Test(meta_service, answers_and_stops_when_the_tables_fail)
{
    uint8_t leaf[32];
    register_nodes();
    create_tenant_and_bucket();
    sim_kv_fail_after(kv, 1);
    cr_assert_eq(put_object("a", 1, leaf), STATUS_IO);
    cr_assert_eq(life.failures, 1);
    sim_kv_fail_after(kv, 0);
}

/* ---- no secrets on disk ------------------------------------------------------------------------ */

static void expect_absent(const void *image, size_t bytes, const void *secret, size_t secret_bytes, const char *what)
{
    cr_assert_null(memmem(image, bytes, secret, secret_bytes), "%s", what);
}

static void search_table(struct kv *table, const void *secret, size_t secret_bytes, const char *what)
{
    struct kv_iterator *iterator = kv_iterator_open(table);
    kv_iterator_seek(iterator, KV_SLICE("", 0));
    for (; kv_iterator_valid(iterator); kv_iterator_next(iterator)) {
        struct kv_slice key = kv_iterator_key(iterator);
        struct kv_slice value = kv_iterator_value(iterator);
        expect_absent(key.data, key.bytes, secret, secret_bytes, what);
        expect_absent(value.data, value.bytes, secret, secret_bytes, what);
    }
    kv_iterator_close(iterator);
}

struct search {
    const void *secret;
    size_t secret_bytes;
    const char *what;
};

static void search_file(void *user, const char *name, uint64_t size)
{
    const struct search *search = user;
    uint64_t bytes = 0;
    const uint8_t *image = sim_disk_bytes(tables_disk, name, &bytes);
    (void)size;
    cr_assert_not_null(image);
    expect_absent(image, (size_t)bytes, search->secret, search->secret_bytes, search->what);
}

static void search_everything(const void *secret, size_t secret_bytes, const char *what)
{
    for (unsigned i = 0; i < 16; i++) {
        char name[DISK_NAME_BYTES];
        uint64_t bytes = 0;
        (void)snprintf(name, sizeof(name), "journal-%08x", i);
        const uint8_t *image = sim_disk_bytes(disk, name, &bytes);
        if (image != NULL) {
            expect_absent(image, (size_t)bytes, secret, secret_bytes, what);
        }
    }
    search_table(kv, secret, secret_bytes, what);
    search_table(covers, secret, secret_bytes, what);
    struct search search = {.secret = secret, .secret_bytes = secret_bytes, .what = what};
    cr_assert_eq(disk_list_files(sim_disk_interface(tables_disk), search_file, &search), STATUS_OK);
}

Test(meta_service, writes_no_secret_to_journal_or_tables)
{
    uint8_t leaf[32];
    char owner[] = "owner";
    char acme[] = "acme";
    register_nodes();
    create_tenant_and_bucket();
    cr_assert_eq(put_object("a", 1, leaf), STATUS_OK);
    search_everything(leaf, sizeof(leaf), "leaf");
    search_everything(leaf, 8, "part of the leaf");

    Trilith__TenantKeyRequest key = TRILITH__TENANT_KEY_REQUEST__INIT;
    key.tenant_id = 1;
    cr_assert_eq(CALL(TENANT_KEY, &key), STATUS_OK);
    search_everything(REPLY(TenantKeyReply)->dek.data, 32, "DEK");
    search_everything(REPLY(TenantKeyReply)->dek.data, 8, "part of the DEK");

    Trilith__CredentialCreateRequest create = TRILITH__CREDENTIAL_CREATE_REQUEST__INIT;
    create.tenant = acme;
    create.role = owner;
    cr_assert_eq(CALL(CREDENTIAL_CREATE, &create), STATUS_OK);
    search_everything(REPLY(CredentialCreateReply)->secret_key, 40, "S3 secret");
    search_everything(REPLY(CredentialCreateReply)->secret_key, 10, "part of the S3 secret");

    uint64_t bytes = 0;
    const uint8_t *image = sim_disk_bytes(disk, "journal-00000000", &bytes);
    cr_assert_not_null(memmem(image, (size_t)bytes, "acme", 4), "the search does find what is there");
}
