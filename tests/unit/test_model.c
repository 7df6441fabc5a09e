/* test_model.c - the reference model on histories made by hand: which reads it allows, and which it does not. */
#include "tests/sim/model.h"
#include "tests/sim/reading.h"
#include "tests/sim/sim_client.h"

#include "meta/catalog_row.h"
#include "meta/tables.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static struct model_key key;

static void setup(void)
{
    memset(&key, 0, sizeof(key));
}

static void teardown(void)
{
    free(key.writes);
    free(key.versions);
}

TestSuite(model, .init = setup, .fini = teardown);
TestSuite(model_catalog, .init = setup, .fini = teardown);
TestSuite(model_reading);
TestSuite(model_commands);

/* A put of this value, from `began` to `ended`; value 0: a delete. */
static void put(uint64_t value, uint64_t began_ns, uint64_t ended_ns, enum model_write_state state)
{
    model_write_begins(&key, value, 100, began_ns);
    if (state != MODEL_UNDER_WAY) {
        model_write_ends(&key, value, state, began_ns, ended_ns);
    }
}

static bool may_read(uint64_t value, uint64_t began_ns, uint64_t ended_ns)
{
    struct model_write *write = model_find_value(&key, value);
    return write != NULL && model_write_is_readable(write, began_ns, ended_ns, NULL);
}

static void was_read(uint64_t value, uint64_t began_ns, uint64_t ended_ns)
{
    model_was_read(&key, value != 0 ? model_find_value(&key, value) : NULL, began_ns, ended_ns);
}

Test(model, a_key_is_absent_at_first)
{
    cr_assert(model_absence_is_allowed(&key, 10, 20));
    cr_assert_not(model_presence_is_allowed(&key, 10, 20));
}

Test(model, an_acknowledged_value_is_there_for_reads_that_begin_later)
{
    put(1, 10, 20, MODEL_ACKNOWLEDGED);
    cr_assert(may_read(1, 21, 30));
    cr_assert_not(model_absence_is_allowed(&key, 21, 30));
}

Test(model, a_read_that_overlaps_the_put_may_see_either)
{
    put(1, 10, 20, MODEL_ACKNOWLEDGED);
    cr_assert(may_read(1, 15, 30));
    cr_assert(model_absence_is_allowed(&key, 15, 30));
}

Test(model, a_value_is_not_read_before_its_put_began)
{
    put(1, 10, 20, MODEL_ACKNOWLEDGED);
    cr_assert_not(may_read(1, 5, 9));
    cr_assert(may_read(1, 5, 10));
}

Test(model, a_replaced_value_is_gone)
{
    put(1, 10, 20, MODEL_ACKNOWLEDGED);
    put(2, 30, 40, MODEL_ACKNOWLEDGED);
    cr_assert(may_read(1, 39, 50), "the read began while it was replaced");
    cr_assert_not(may_read(1, 41, 50));
    cr_assert(may_read(2, 41, 50));
}

Test(model, a_deleted_value_is_gone)
{
    put(1, 10, 20, MODEL_ACKNOWLEDGED);
    put(0, 30, 40, MODEL_ACKNOWLEDGED);
    cr_assert(may_read(1, 35, 50));
    cr_assert_not(may_read(1, 41, 50));
    cr_assert(model_absence_is_allowed(&key, 41, 50));
    cr_assert_not(model_presence_is_allowed(&key, 41, 50));
}

Test(model, a_deletion_that_is_taken_back_brings_the_value_back)
{
    static struct model_version version = {.value = 1, .size = 100, .from_ns = 15};
    put(1, 10, 20, MODEL_ACKNOWLEDGED);
    put(0, 30, 40, MODEL_ACKNOWLEDGED);
    cr_assert_not(may_read(1, 41, 45));
    model_version_returns(&key, &version, 50);
    cr_assert(may_read(1, 51, 60));
    cr_assert_not(model_absence_is_allowed(&key, 51, 60));
    cr_assert(model_absence_is_allowed(&key, 41, 49));
    cr_assert_eq(key.current, &version);
    struct model_version *last = NULL;
    cr_assert_eq(model_commits_within(&key, 100, 45, 60, &last), 0u, "it is no commit");
}

Test(model, of_two_values_that_may_have_come_back_either_may_be_there)
{
    static struct model_version version = {.value = 0, .size = 100, .from_ns = 25};
    put(1, 10, 20, MODEL_UNKNOWN);
    put(2, 21, 24, MODEL_UNKNOWN);
    put(0, 30, 40, MODEL_ACKNOWLEDGED);
    model_version_returns(&key, &version, 50);
    cr_assert(may_read(1, 51, 60));
    cr_assert(may_read(2, 51, 60));
    cr_assert(model_absence_is_allowed(&key, 51, 60), "nobody knows");
}

Test(model, a_refused_put_is_never_read)
{
    put(1, 10, 20, MODEL_REFUSED);
    cr_assert_not(may_read(1, 15, 30));
    cr_assert(model_absence_is_allowed(&key, 21, 30));
}

Test(model, an_unknown_put_may_appear_at_any_time_later)
{
    put(1, 10, 20, MODEL_ACKNOWLEDGED);
    put(2, 30, 40, MODEL_UNKNOWN);
    cr_assert(may_read(1, 1000, 1010), "it may never happen");
    cr_assert(may_read(2, 1000, 1010), "or happen now");
    put(3, 2000, 2010, MODEL_ACKNOWLEDGED);
    cr_assert(may_read(2, 3000, 3010), "its command may have been on its way all the time");
    cr_assert_not(may_read(1, 3000, 3010));
}

Test(model, an_unknown_put_that_was_seen_replaces_for_good)
{
    put(1, 10, 20, MODEL_ACKNOWLEDGED);
    put(2, 30, 40, MODEL_UNKNOWN);
    was_read(2, 50, 60);
    cr_assert_not(may_read(1, 61, 70), "after a read of the new value the old one does not come back");
    cr_assert(may_read(1, 55, 70));
}

Test(model, an_unknown_put_appears_once)
{
    put(1, 10, 20, MODEL_ACKNOWLEDGED);
    put(2, 30, 40, MODEL_UNKNOWN);
    was_read(2, 50, 60);
    put(3, 70, 80, MODEL_ACKNOWLEDGED);
    cr_assert_not(may_read(2, 81, 90), "it had been there, so it does not happen a second time");
}

Test(model, what_was_seen_to_be_gone_does_not_come_back)
{
    put(1, 10, 20, MODEL_ACKNOWLEDGED);
    put(0, 30, 40, MODEL_UNKNOWN);
    was_read(0, 50, 60);
    cr_assert_not(may_read(1, 61, 70));
    cr_assert(may_read(1, 59, 70), "but a read that overlaps that one may still see it");
}

Test(model, an_unknown_delete_leaves_both_possible)
{
    put(1, 10, 20, MODEL_ACKNOWLEDGED);
    put(0, 30, 40, MODEL_UNKNOWN);
    cr_assert(may_read(1, 100, 110));
    cr_assert(model_absence_is_allowed(&key, 100, 110));
}

Test(model, a_put_under_way_may_be_read_and_may_be_missing)
{
    put(1, 10, 0, MODEL_UNDER_WAY);
    cr_assert(may_read(1, 20, 30));
    cr_assert(model_absence_is_allowed(&key, 20, 30));
}

/* ---- the catalog --------------------------------------------------------------------------------- */

static struct model_version versions[4];

static void commit(unsigned number, uint64_t size, uint64_t now_ns)
{
    versions[number] = (struct model_version){.size = size};
    model_version_begins(&key, &versions[number], now_ns);
}

Test(model_catalog, absence_needs_a_moment_without_a_version)
{
    cr_assert(model_was_absent(&key, 0, 5));
    commit(0, 100, 10);
    cr_assert(model_was_absent(&key, 5, 20));
    cr_assert_not(model_was_absent(&key, 11, 20));
    commit(1, 100, 20);
    cr_assert_not(model_was_absent(&key, 11, 30), "a replacement leaves no gap");
    model_version_ends(&key, 40);
    cr_assert(model_was_absent(&key, 11, 41));
    commit(2, 100, 50);
    cr_assert(model_was_absent(&key, 11, 60), "between the delete and the next put");
    cr_assert_not(model_was_absent(&key, 51, 60));
}

Test(model_catalog, a_value_is_bound_to_the_only_version_that_it_can_be)
{
    put(1, 5, 15, MODEL_ACKNOWLEDGED);
    commit(0, 100, 10);
    struct model_write *write = model_find_value(&key, 1);
    cr_assert(model_value_was_current(&key, write, 11, 20));
    cr_assert_eq(write->version, &versions[0]);
    commit(1, 100, 30);
    cr_assert_not(model_value_was_current(&key, write, 31, 40), "bound to the first, not to whatever is there");
}

Test(model_catalog, a_version_of_another_size_is_not_the_value)
{
    put(1, 5, 15, MODEL_UNKNOWN);
    commit(0, 99, 10);
    cr_assert_not(model_value_was_current(&key, model_find_value(&key, 1), 11, 20));
}

Test(model_catalog, commits_within_an_interval_are_counted_by_size)
{
    struct model_version *last = NULL;
    commit(0, 100, 10);
    commit(1, 50, 20);
    commit(2, 100, 30);
    cr_assert_eq(model_commits_within(&key, 100, 5, 25, &last), 1);
    cr_assert_eq(last, &versions[0]);
    cr_assert_eq(model_commits_within(&key, 100, 5, 35, &last), 2);
    cr_assert_eq(model_commits_within(&key, 7, 5, 35, &last), 0);
}

/* ---- what a client got ----------------------------------------------------------------------------- */

static struct sim_cluster cluster;
static struct model model;
static uint8_t body[4096];

static struct sim_operation read_of(uint64_t value, uint64_t offset, uint64_t bytes, enum sim_outcome outcome)
{
    sim_content_fill(value, offset, body, (size_t)bytes);
    return (struct sim_operation){
        .kind = SIM_GET, .outcome = outcome, .began_ns = 100, .ended_ns = 200, .body = body, .body_bytes = bytes};
}

/* Value 1 of 1,000 bytes was replaced by value 2 of 2,000. */
static struct model_key *two_values(void)
{
    model_init(&model, &cluster);
    struct model_key *made = model_key(&model, 0, 0);
    for (uint64_t value = 1; value <= 2; value++) {
        model_write_begins(made, value, value * 1000, value * 10);
        versions[value] = (struct model_version){.size = value * 1000};
        model_version_begins(made, &versions[value], value * 10 + 2);
        model_write_ends(made, value, MODEL_ACKNOWLEDGED, value * 10, value * 10 + 5);
    }
    return made;
}

Test(model_reading, the_right_value_is_recognised_and_allowed)
{
    two_values();
    struct sim_operation operation = read_of(2, 0, 2000, SIM_DONE);
    struct reading reading;
    reading_judge(&model, &operation, &reading);
    cr_assert_eq(reading.kind, READING_VALUE);
    cr_assert(reading.allowed && reading.was_there && reading.only_one);
}

Test(model_reading, a_stale_value_is_recognised_and_not_allowed)
{
    two_values();
    struct sim_operation operation = read_of(1, 0, 1000, SIM_DONE);
    struct reading reading;
    reading_judge(&model, &operation, &reading);
    cr_assert_eq(reading.kind, READING_VALUE);
    cr_assert_eq(reading.write->value, 1);
    cr_assert_not(reading.allowed);
}

Test(model_reading, one_wrong_byte_is_foreign)
{
    two_values();
    struct sim_operation operation = read_of(2, 0, 2000, SIM_DONE);
    struct reading reading;
    body[1999] ^= 1;
    reading_judge(&model, &operation, &reading);
    cr_assert_eq(reading.kind, READING_FOREIGN);
}

Test(model_reading, a_whole_answer_must_be_whole)
{
    two_values();
    struct sim_operation operation = read_of(2, 0, 1999, SIM_DONE);
    struct reading reading;
    reading_judge(&model, &operation, &reading);
    cr_assert_eq(reading.kind, READING_FOREIGN);
}

Test(model_reading, a_body_that_broke_off_must_be_a_beginning)
{
    two_values();
    struct sim_operation operation = read_of(2, 0, 700, SIM_UNKNOWN);
    struct reading reading;
    reading_judge(&model, &operation, &reading);
    cr_assert(reading.kind == READING_VALUE && reading.allowed);
    body[600] ^= 1;
    reading_judge(&model, &operation, &reading);
    cr_assert_eq(reading.kind, READING_FOREIGN);
}

Test(model_reading, a_range_is_compared_at_its_place)
{
    two_values();
    struct sim_operation operation = read_of(2, 1500, 500, SIM_DONE);
    struct reading reading;
    operation.kind = SIM_GET_RANGE;
    operation.offset = 1500;
    operation.length = 9000;
    reading_judge(&model, &operation, &reading);
    cr_assert(reading.kind == READING_VALUE && reading.allowed && reading.write->value == 2);
    operation.offset = 1400;
    reading_judge(&model, &operation, &reading);
    cr_assert_eq(reading.kind, READING_FOREIGN);
}

Test(model_reading, absence_while_the_catalog_had_it_is_seen)
{
    two_values();
    struct sim_operation operation = {.kind = SIM_HEAD, .outcome = SIM_ABSENT, .began_ns = 100, .ended_ns = 200};
    struct reading reading;
    reading_judge(&model, &operation, &reading);
    cr_assert_eq(reading.kind, READING_ABSENT);
    cr_assert_not(reading.allowed);
    cr_assert_not(reading.was_there);
}

Test(model_reading, a_listing_is_taken_apart)
{
    char name[SIM_KEY_NAME_BYTES];
    char text[256];
    sim_key_name(5, name);
    int bytes =
        snprintf(text, sizeof(text), "<ListBucketResult><Contents><Key>%s</Key></Contents></ListBucketResult>", name);
    struct sim_operation operation = {.kind = SIM_LIST, .body = (const uint8_t *)text, .body_bytes = (uint64_t)bytes};
    cr_assert(reading_list_has(&operation, 5));
    cr_assert_not(reading_list_has(&operation, 6));
    cr_assert_not(reading_list_stranger(&operation, name, sizeof(name)));
    bytes = snprintf(text, sizeof(text), "<Key>something/else</Key>");
    operation.body_bytes = (uint64_t)bytes;
    cr_assert(reading_list_stranger(&operation, name, sizeof(name)));
    cr_assert_str_eq(name, "something/else");
}

/* ---- what the metadata service has decided ----------------------------------------------------------- */

#define BUCKET_ID 7u

static void row_put(struct table_key at, const void *value, size_t bytes)
{
    struct kv_batch *batch = kv_batch_open(cluster.meta.tables);
    kv_batch_put(batch, KV_SLICE(at.bytes, at.length), KV_SLICE(value, bytes));
    cr_assert_eq(kv_write(cluster.meta.tables, batch), STATUS_OK);
    kv_batch_close(batch);
}

static void message_put(struct table_key at, const ProtobufCMessage *message)
{
    uint8_t packed[1024];
    cr_assert_leq(protobuf_c_message_get_packed_size(message), sizeof(packed));
    row_put(at, packed, protobuf_c_message_pack(message, packed));
}

static uint64_t next_index;

static struct model_change apply(Trilith__Command *command)
{
    struct model_change change;
    next_index++;
    model_apply(&model, next_index, command, next_index * 100, &change);
    return change;
}

static void tables_make(void)
{
    char name[] = "bucket0";
    Trilith__Command command = TRILITH__COMMAND__INIT;
    Trilith__BucketCreateRequest bucket = TRILITH__BUCKET_CREATE_REQUEST__INIT;
    memset(&cluster, 0, sizeof(cluster));
    cluster.world = sim_loop_open(1);
    cluster.meta.tables = sim_kv_open();
    model_init(&model, &cluster);
    next_index = 0;
    row_put(key_bucket_name(1, name), (const uint8_t[8]){[7] = BUCKET_ID}, 8);
    bucket.tenant_id = 1;
    bucket.name = name;
    command.change_case = TRILITH__COMMAND__CHANGE_BUCKET_CREATE;
    command.bucket_create = &bucket;
    (void)apply(&command);
}

/* A version of one chunk (both ids are bytes repeated), sealed under this leaf and DEK. */
struct sealed_version {
    Trilith__Object object;
    Trilith__ChunkRef chunk;
    Trilith__ChunkRef *chunks[1];
    uint8_t id[16];
    uint8_t chunk_id[16];
};

static void version_of(struct sealed_version *version, uint8_t id, uint8_t chunk_id, uint32_t slot, uint32_t dek)
{
    trilith__object__init(&version->object);
    trilith__chunk_ref__init(&version->chunk);
    memset(version->id, id, sizeof(version->id));
    memset(version->chunk_id, chunk_id, sizeof(version->chunk_id));
    version->chunk.chunk_id = (ProtobufCBinaryData){.data = version->chunk_id, .len = 16};
    version->chunk.pg = 1;
    version->chunk.chunk_bytes = 100;
    version->chunks[0] = &version->chunk;
    version->object.version_id = (ProtobufCBinaryData){.data = version->id, .len = 16};
    version->object.size = 100;
    version->object.page = 3;
    version->object.slot = slot;
    version->object.dek_version = dek;
    version->object.n_chunks = 1;
    version->object.chunks = version->chunks;
}

/* The row as it is after a commit that was not refused. */
static void catalog_has(struct sealed_version *version)
{
    char name[SIM_KEY_NAME_BYTES];
    uint8_t row[1024] = {0};
    sim_key_name(0, name);
    memcpy(row + 16, version->id, 16);
    size_t packed = protobuf_c_message_pack(&version->object.base, row + OBJECT_ROW_FIXED_BYTES);
    row_put(key_object(BUCKET_ID, (const uint8_t *)name, strlen(name)), row, OBJECT_ROW_FIXED_BYTES + packed);
}

static struct model_change commits(struct sealed_version *version, uint32_t reseal_from)
{
    char name[SIM_KEY_NAME_BYTES];
    Trilith__Command command = TRILITH__COMMAND__INIT;
    Trilith__ObjectCommitRequest commit;
    trilith__object_commit_request__init(&commit);
    sim_key_name(0, name);
    commit.tenant_id = 1;
    commit.bucket_id = BUCKET_ID;
    commit.key = (ProtobufCBinaryData){.data = (uint8_t *)name, .len = strlen(name)};
    commit.object = &version->object;
    commit.reseal_from = reseal_from;
    command.change_case = TRILITH__COMMAND__CHANGE_OBJECT_COMMIT;
    command.object_commit = &commit;
    return apply(&command);
}

static enum model_fate fate_of(uint8_t chunk_id)
{
    uint8_t id[16];
    memset(id, chunk_id, sizeof(id));
    uint32_t number = model_chunk_number(&model, id);
    return number == UINT32_MAX ? MODEL_LOOSE : model.chunks[number]->fate;
}

Test(model_commands, sealing_anew_keeps_the_version_and_erases_its_chunks)
{
    struct sealed_version version;
    tables_make();
    version_of(&version, 0x11, 0xa1, 5, 1);
    catalog_has(&version);
    cr_assert_not_null(commits(&version, 0).committed);
    struct model_key *made = model_key(&model, 0, 0);
    struct model_version *before = made->current;
    uint64_t from_ns = before->from_ns;

    version_of(&version, 0x11, 0xa2, 6, 2);
    catalog_has(&version);
    struct model_change change = commits(&version, 1);
    cr_assert_null(change.committed, "nobody wrote anything");
    cr_assert_eq(change.resealed_key, made);
    cr_assert_eq(change.resealed_from, 1);
    cr_assert_eq(change.resealed_slot, 5);
    cr_assert_eq(made->current, before);
    cr_assert_eq(before->from_ns, from_ns);
    cr_assert_eq(before->dek_version, 2);
    cr_assert_eq(fate_of(0xa1), MODEL_ERASED);
    cr_assert_eq(fate_of(0xa2), MODEL_REFERENCED);
}

static struct model_change leases_for(struct sealed_version *version)
{
    char name[SIM_KEY_NAME_BYTES];
    Trilith__Command command = TRILITH__COMMAND__INIT;
    Trilith__LeaseLeaves lease = TRILITH__LEASE_LEAVES__INIT;
    sim_key_name(0, name);
    lease.tenant_id = 1;
    lease.bucket_id = BUCKET_ID;
    lease.count = 1;
    lease.reseal_key = (ProtobufCBinaryData){.data = (uint8_t *)name, .len = strlen(name)};
    lease.reseal_version = version->object.version_id;
    command.change_case = TRILITH__COMMAND__CHANGE_LEASE_LEAVES;
    command.lease_leaves = &lease;
    return apply(&command);
}

Test(model_commands, a_version_has_every_leaf_that_was_ever_leased_to_seal_it)
{
    struct sealed_version version;
    tables_make();
    version_of(&version, 0x11, 0xa1, 5, 1);
    catalog_has(&version);
    cr_assert_not_null(commits(&version, 0).committed);
    struct model_version *made = model_key(&model, 0, 0)->current;
    cr_assert_eq(made->leaf_count, 1);
    cr_assert_null(leases_for(&version).leased, "refused: the row has none");
    version.object.reseal_page = 3;
    for (uint32_t slot = 6; slot < 8; slot++) {
        version.object.reseal_slot = slot;
        catalog_has(&version);
        cr_assert_eq(leases_for(&version).leased, made);
        cr_assert_eq(made->reseal.slot, slot);
        cr_assert_null(leases_for(&version).leased, "refused: the row has the one of before");
    }
    cr_assert_eq(made->leaf_count, 3);

    version_of(&version, 0x11, 0xa2, 7, 2);
    catalog_has(&version);
    cr_assert_not_null(commits(&version, 1).resealed_key);
    cr_assert_eq(made->reseal.page, 0);
    cr_assert_eq(made->slot, 7);
    version_of(&version, 0x22, 0xa3, 8, 2);
    cr_assert_null(leases_for(&version).leased, "refused: it is not that version");
    catalog_has(&version);
    cr_assert_eq(commits(&version, 0).ended, made);
}

Test(model_commands, a_refused_sealing_changes_nothing)
{
    struct sealed_version version;
    tables_make();
    version_of(&version, 0x11, 0xa1, 5, 1);
    catalog_has(&version);
    cr_assert_not_null(commits(&version, 0).committed);
    version_of(&version, 0x11, 0xa2, 6, 2);
    cr_assert_null(commits(&version, 1).resealed_key, "the row still has the leaf of before");
    cr_assert_eq(fate_of(0xa1), MODEL_REFERENCED);
    cr_assert_eq(fate_of(0xa2), MODEL_LOOSE);
    version_of(&version, 0x11, 0xa1, 5, 1);
    cr_assert_null(commits(&version, 0).resealed_key, "nor does a repetition");
    cr_assert_eq(fate_of(0xa1), MODEL_REFERENCED);
}

static struct model_change epoch_command(Trilith__Command__ChangeCase change_case, uint64_t epoch, uint8_t *commitment)
{
    Trilith__Command command = TRILITH__COMMAND__INIT;
    Trilith__EpochSeal seal = TRILITH__EPOCH_SEAL__INIT;
    Trilith__EpochSwitch next = TRILITH__EPOCH_SWITCH__INIT;
    Trilith__EpochErased erased = TRILITH__EPOCH_ERASED__INIT;
    seal.epoch = next.epoch = erased.epoch = epoch;
    seal.commitment = next.commitment = (ProtobufCBinaryData){.data = commitment, .len = COMMITMENT_BYTES};
    command.change_case = change_case;
    if (change_case == TRILITH__COMMAND__CHANGE_EPOCH_SEAL) {
        command.epoch_seal = &seal;
    } else if (change_case == TRILITH__COMMAND__CHANGE_EPOCH_SWITCH) {
        command.epoch_switch = &next;
    } else {
        command.epoch_erased = &erased;
    }
    return apply(&command);
}

Test(model_commands, keys_of_erasures_go_with_the_epoch_that_was_sealed_behind_them)
{
    uint8_t commitment[COMMITMENT_BYTES] = {1};
    Trilith__ClusterRecord record = TRILITH__CLUSTER_RECORD__INIT;
    tables_make();
    model.vault.epoch = 4;
    model.vault.erased_epoch = 3;
    record.epoch = 4;
    record.sealed_epoch = 5;
    record.sealed_commitment = (ProtobufCBinaryData){.data = commitment, .len = sizeof(commitment)};
    record.next_erasure_id = 30;
    message_put(key_cluster(), &record.base);
    cr_assert(epoch_command(TRILITH__COMMAND__CHANGE_EPOCH_SEAL, 5, commitment).sealed);
    uint8_t other[COMMITMENT_BYTES] = {2};
    cr_assert_not(epoch_command(TRILITH__COMMAND__CHANGE_EPOCH_SEAL, 5, other).sealed, "it was refused");

    record.next_erasure_id = 40;
    cr_assert(epoch_command(TRILITH__COMMAND__CHANGE_EPOCH_SWITCH, 5, commitment).switch_refused);
    record.epoch = 5;
    record.sealed_epoch = 0;
    record.erasing_epoch = 4;
    message_put(key_cluster(), &record.base);
    cr_assert(epoch_command(TRILITH__COMMAND__CHANGE_EPOCH_SWITCH, 5, commitment).switched);
    cr_assert_not(epoch_command(TRILITH__COMMAND__CHANGE_EPOCH_ERASED, 4, commitment).erased, "it was refused");
    cr_assert_eq(model.vault.gone_erasures, 1);
    record.erasing_epoch = 0;
    message_put(key_cluster(), &record.base);
    cr_assert(epoch_command(TRILITH__COMMAND__CHANGE_EPOCH_ERASED, 4, commitment).erased);
    cr_assert_eq(model.vault.gone_erasures, 30);
}
