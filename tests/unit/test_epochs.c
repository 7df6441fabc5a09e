/* test_epochs.c - an epoch closes only with a majority, only when the sums agree, and is forgotten only when its root
 * is. */
#include "tests/unit/meta_audit.h"

#include "meta/vault/vault.h"

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

static const Trilith__ClusterRecord *cluster(void)
{
    return state_cluster(f->state);
}

static Trilith__EpochRecord *epoch_of(uint64_t epoch)
{
    Trilith__EpochRecord *record = NULL;
    cr_assert_eq(epochs_get(fixture_tables(f), epoch, &record), STATUS_OK);
    return record;
}

TestSuite(epochs, .init = setup, .fini = teardown);

Test(epochs, begin_with_none)
{
    Trilith__EpochRecord *record = NULL;
    cr_assert_eq(cluster()->epoch, 0);
    cr_assert_eq(epochs_get(fixture_tables(f), 1, &record), STATUS_NOT_FOUND);
    cr_assert_eq(epochs_of_erasure(fixture_tables(f), 1, &record), STATUS_NOT_FOUND);
    cr_assert_eq(epochs_of_erasure(fixture_tables(f), UINT64_MAX, &record), STATUS_NOT_FOUND);
}

Test(epochs, the_first_leaves_nothing_to_destroy)
{
    cr_assert_eq(fixture_seal(f, 1, 1), STATUS_OK);
    cr_assert_eq(cluster()->epoch, 0);
    cr_assert_eq(cluster()->sealed_epoch, 1);
    cr_assert_eq(epoch_of(1)->begun_ms, 0);
    f->now_ms += 10;
    cr_assert_eq(fixture_switch(f, 1, 1), STATUS_OK);
    cr_assert_eq(cluster()->epoch, 1);
    cr_assert_eq(cluster()->epoch_ms, f->now_ms);
    cr_assert_eq(cluster()->sealed_epoch, 0);
    cr_assert_eq(cluster()->erasing_epoch, 0);
    cr_assert_eq(cluster()->servers, 3);
    cr_assert_eq(cluster()->threshold, 2);
    cr_assert_eq(epoch_of(1)->begun_ms, f->now_ms);
    cr_assert_eq(epoch_of(1)->closed_ms, 0);
    cr_assert_eq(fixture_erased(f, 0, 7), STATUS_CONFLICT);
    cr_assert_eq(fixture_seal(f, 2, 2), STATUS_OK, "the next may follow at once");
}

Test(epochs, are_recorded_one_after_another)
{
    (void)fixture_close_epoch(f);
    uint64_t begun_ms = f->now_ms;
    cr_assert_eq(fixture_put(f, "a", 1, 1), STATUS_OK);
    cr_assert_eq(fixture_put(f, "a", 1, 1), STATUS_OK);
    cr_assert_eq(fixture_seal(f, 2, 9), STATUS_OK);
    cr_assert_eq(cluster()->sealed_punctured, 1);
    cr_assert_eq(cluster()->sealed_pages_end, cluster()->next_page + VAULT_PAGE_MARGIN);
    uint32_t pages_end = cluster()->sealed_pages_end;
    f->now_ms += 100;
    cr_assert_eq(fixture_switch(f, 2, 9), STATUS_OK);
    cr_assert_eq(cluster()->erasing_epoch, 1);
    cr_assert_eq(cluster()->pages_end, pages_end);
    cr_assert_eq(cluster()->leaves_erased, 1);
    f->now_ms += 100;
    cr_assert_eq(fixture_erased(f, 1, 6), STATUS_OK);
    cr_assert_eq(cluster()->erasing_epoch, 0);

    const Trilith__EpochRecord *record = epoch_of(1);
    cr_assert_eq(record->begun_ms, begun_ms);
    cr_assert_eq(record->closed_ms, begun_ms + 100);
    cr_assert_eq(record->destroyed_ms, begun_ms + 200);
    cr_assert_eq(record->destroyed, 6);
    cr_assert_eq(record->leaves_erased, 1);
    cr_assert_eq(record->erasures_end, 2);
    cr_assert_eq(record->commitment.data[0], 1);
    cr_assert_eq(epoch_of(2)->commitment.data[0], 9);
    Trilith__EpochRecord *found = NULL;
    cr_assert_eq(epochs_of_erasure(fixture_tables(f), 1, &found), STATUS_OK);
    cr_assert_eq(found->epoch, 1);
    cr_assert_eq(epochs_of_erasure(fixture_tables(f), 2, &found), STATUS_NOT_FOUND);

    for (size_t i = 0; i < 2; i++) {
        cr_assert_eq(fixture_put(f, "a", 1, 1), STATUS_OK);
    }
    (void)fixture_close_epoch(f);
    cr_assert_eq(epoch_of(2)->leaves_erased, 2, "by that close alone");
    cr_assert_eq(epoch_of(2)->erasures_end, 4);
    cr_assert_eq(cluster()->leaves_erased, 3, "in all");
}

Test(epochs, seal_refuses_what_is_malformed_or_out_of_turn)
{
    uint8_t commitment[33] = {0};
    Trilith__EpochSeal seal = TRILITH__EPOCH_SEAL__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    command.change_case = TRILITH__COMMAND__CHANGE_EPOCH_SEAL;
    command.epoch_seal = &seal;
    seal.epoch = 1;
    seal.commitment = (ProtobufCBinaryData){.data = commitment, .len = 32};
    static const struct {
        uint32_t servers, threshold;
        enum status status;
    } tries[] = {
        {0, 1, STATUS_INVALID}, {8, 5, STATUS_INVALID}, {3, 1, STATUS_INVALID},
        {3, 3, STATUS_INVALID}, {1, 0, STATUS_INVALID}, {1, 1, STATUS_OK},
        {2, 2, STATUS_OK},      {4, 3, STATUS_OK},      {7, 4, STATUS_OK},
    };
    for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
        seal.servers = tries[i].servers;
        seal.threshold = tries[i].threshold;
        cr_assert_eq(fixture_apply(f, &command), tries[i].status, "%u of %u", seal.threshold, seal.servers);
    }
    seal.commitment.len = 31;
    cr_assert_eq(fixture_apply(f, &command), STATUS_INVALID);
    seal.commitment.len = 33;
    cr_assert_eq(fixture_apply(f, &command), STATUS_INVALID);
    cr_assert_eq(fixture_seal(f, 0, 1), STATUS_CONFLICT);
    cr_assert_eq(fixture_seal(f, 2, 1), STATUS_CONFLICT);

    (void)fixture_close_epoch(f);
    cr_assert_eq(fixture_seal(f, 1, 1), STATUS_CONFLICT, "it holds already");
    cr_assert_eq(fixture_seal(f, 2, 2), STATUS_OK);
    cr_assert_eq(fixture_switch(f, 2, 2), STATUS_OK);
    cr_assert_eq(fixture_seal(f, 3, 3), STATUS_CONFLICT, "the one before is not destroyed yet");
    cr_assert_eq(fixture_erased(f, 1, 3), STATUS_OK);
    cr_assert_eq(fixture_seal(f, 3, 3), STATUS_OK);
}

Test(epochs, a_second_attempt_replaces_the_first)
{
    (void)fixture_close_epoch(f);
    cr_assert_eq(fixture_put(f, "a", 1, 0), STATUS_OK);
    cr_assert_eq(fixture_put(f, "a", 1, 0), STATUS_OK);
    cr_assert_eq(fixture_seal(f, 2, 2), STATUS_OK);
    uint64_t first_seal = cluster()->seal;
    cr_assert_eq(fixture_put(f, "a", 1, 0), STATUS_OK);
    cr_assert_eq(fixture_seal(f, 2, 3), STATUS_OK);
    cr_assert_eq(cluster()->seal, first_seal + 1);
    cr_assert_eq(cluster()->sealed_punctured, 2);
    cr_assert_eq(fixture_switch(f, 2, 2), STATUS_CONFLICT, "the first attempt's commitment");
    cr_assert_eq(fixture_switch(f, 2, 3), STATUS_OK);
    cr_assert_eq(fixture_count_dirty(f), 0, "both seals are in it");
    fixture_audit(f);
}

Test(epochs, switch_needs_the_sealed_epoch_and_a_majority)
{
    cr_assert_eq(fixture_switch_as(f, 1, 1, 7, 0), STATUS_CONFLICT, "nothing is sealed");
    cr_assert_eq(fixture_switch_as(f, 0, 1, 7, 0), STATUS_CONFLICT);
    cr_assert_eq(fixture_seal(f, 1, 1), STATUS_OK);
    cr_assert_eq(fixture_switch_as(f, 2, 1, 7, 0), STATUS_CONFLICT, "another epoch");
    cr_assert_eq(fixture_switch_as(f, 1, 2, 7, 0), STATUS_CONFLICT, "another root");
    cr_assert_eq(fixture_switch_as(f, 1, 1, 0, 0), STATUS_CONFLICT);
    cr_assert_eq(fixture_switch_as(f, 1, 1, 2, 0), STATUS_CONFLICT, "one of three");
    cr_assert_eq(fixture_switch_as(f, 1, 1, 2 | 8 | 16, 0), STATUS_CONFLICT, "servers that do not exist");
    cr_assert_eq(fixture_switch_as(f, 1, 1, 6, 0), STATUS_OK);
    cr_assert_eq(fixture_switch_as(f, 1, 1, 6, 0), STATUS_CONFLICT, "it is done");
}

Test(epochs, switch_is_refused_when_the_sums_do_not_agree)
{
    (void)fixture_close_epoch(f);
    cr_assert_eq(fixture_put(f, "a", 1, 0), STATUS_OK);
    cr_assert_eq(fixture_put(f, "a", 1, 0), STATUS_OK);
    cr_assert_eq(fixture_seal(f, 2, 2), STATUS_OK);
    cr_assert_eq(fixture_switch_as(f, 2, 2, 7, 0), STATUS_NOT_EMPTY, "a leaf too few");
    cr_assert_eq(fixture_switch_as(f, 2, 2, 7, 2), STATUS_NOT_EMPTY, "a leaf too many");
    cr_assert_eq(cluster()->epoch, 1);
    cr_assert_eq(cluster()->sealed_epoch, 2);
    cr_assert_eq(cluster()->leaves_erased, 0, "nothing is claimed");
    cr_assert_eq(fixture_switch_as(f, 2, 2, 7, 1), STATUS_OK);
}

Test(epochs, switch_is_refused_when_a_live_leaf_is_nobodys)
{
    uint8_t row[512];
    (void)fixture_close_epoch(f);
    cr_assert_eq(fixture_seal(f, 2, 2), STATUS_OK);
    Trilith__ClusterRecord record = *cluster();
    record.leaves_live++;
    size_t bytes = protobuf_c_message_pack(&record.base, row);
    struct table_key key = key_cluster();
    struct kv_batch *batch = kv_batch_open(f->kv);
    kv_batch_put(batch, KV_SLICE(key.bytes, key.length), KV_SLICE(row, bytes));
    cr_assert_eq(kv_write(f->kv, batch), STATUS_OK);
    kv_batch_close(batch);
    state_close(f->state);
    cr_assert_eq(state_open(f->kv, &f->state), STATUS_OK);
    cr_assert_eq(fixture_switch(f, 2, 2), STATUS_NOT_EMPTY);
    cr_assert_eq(cluster()->epoch, 1);
}

Test(epochs, balance_counts_versions_and_keys)
{
    Trilith__ClusterRecord sums = TRILITH__CLUSTER_RECORD__INIT;
    cr_assert(epochs_balance(&sums));
    sums.leaves_live = 5;
    sums.objects = 3;
    sums.deks = 2;
    cr_assert(epochs_balance(&sums));
    sums.deks = 1;
    cr_assert_not(epochs_balance(&sums));
    sums.deks = 3;
    cr_assert_not(epochs_balance(&sums));
}

Test(epochs, erased_needs_so_many_that_no_threshold_is_left)
{
    (void)fixture_close_epoch(f);
    cr_assert_eq(fixture_erased(f, 1, 7), STATUS_CONFLICT, "it is the current one");
    cr_assert_eq(fixture_seal(f, 2, 2), STATUS_OK);
    cr_assert_eq(fixture_erased(f, 1, 7), STATUS_CONFLICT, "not switched away from");
    cr_assert_eq(fixture_switch(f, 2, 2), STATUS_OK);
    cr_assert_eq(fixture_erased(f, 2, 7), STATUS_CONFLICT);
    cr_assert_eq(fixture_erased(f, 1, 4), STATUS_CONFLICT, "two shares are left, and two make the root");
    cr_assert_eq(fixture_erased(f, 1, 4 | 8), STATUS_CONFLICT, "a server that does not exist");
    cr_assert_eq(epoch_of(1)->destroyed_ms, 0);
    cr_assert_eq(fixture_erased(f, 1, 5), STATUS_OK);
    cr_assert_eq(fixture_erased(f, 1, 7), STATUS_CONFLICT, "it is done");
}

Test(epochs, erased_goes_by_the_servers_of_the_epoch_that_goes)
{
    uint8_t commitment[32];
    Trilith__EpochSeal seal = TRILITH__EPOCH_SEAL__INIT;
    Trilith__Command command = TRILITH__COMMAND__INIT;
    command.change_case = TRILITH__COMMAND__CHANGE_EPOCH_SEAL;
    command.epoch_seal = &seal;
    (void)fixture_close_epoch(f); /* three servers, threshold two */
    seal.epoch = 2;
    seal.servers = 1;
    seal.threshold = 1;
    seal.commitment = (ProtobufCBinaryData){.data = commitment, .len = 32};
    memset(commitment, 4, sizeof(commitment));
    cr_assert_eq(fixture_apply(f, &command), STATUS_OK);
    cr_assert_eq(fixture_switch_as(f, 2, 4, 1, 0), STATUS_OK, "one is enough for one");
    cr_assert_eq(fixture_erased(f, 1, 1), STATUS_CONFLICT);
    cr_assert_eq(fixture_erased(f, 1, 3), STATUS_OK);
}

/* ---- punctures for a vault that opens ---------------------------------------------------------- */

/* What leaves_each_dirty() says, one bitmap per page. */
struct dirty {
    uint8_t pages[16][32];
};

static void note_dirty(void *user, const struct page_puncture *puncture)
{
    struct dirty *dirty = user;
    cr_assert_lt(puncture->page, 16);
    for (size_t i = 0; i < 32; i++) {
        dirty->pages[puncture->page][i] |= puncture->leaves.bits[i];
    }
}

static uint32_t count_dirty(void)
{
    struct dirty dirty = {0};
    uint32_t count = 0;
    cr_assert_eq(leaves_each_dirty(fixture_tables(f), note_dirty, &dirty), STATUS_OK);
    for (size_t page = 0; page < 16; page++) {
        count += fixture_bits(dirty.pages[page]);
    }
    return count;
}

Test(epochs, keep_punctures_until_a_table_without_them_holds)
{
    (void)fixture_close_epoch(f);
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(fixture_put(f, "a", 1, 0), STATUS_OK);
    }
    cr_assert_eq(count_dirty(), 3);
    cr_assert_eq(fixture_seal(f, 2, 2), STATUS_OK);
    cr_assert_eq(fixture_put(f, "a", 1, 0), STATUS_OK);
    cr_assert_eq(count_dirty(), 4, "the close may yet fail");
    cr_assert_eq(fixture_switch(f, 2, 2), STATUS_OK);
    cr_assert_eq(count_dirty(), 1, "that came behind the seal");
    cr_assert_eq(fixture_erased(f, 1, 3), STATUS_OK);
    cr_assert_eq(count_dirty(), 1);
    (void)fixture_close_epoch(f);
    cr_assert_eq(count_dirty(), 0);
    cr_assert_eq(cluster()->leaves_erased, 4);
}

Test(epochs, pages_beyond_a_sealed_table_wait_for_the_switch)
{
    (void)fixture_close_epoch(f);
    cr_assert_eq(fixture_seal(f, 2, 2), STATUS_OK);
    uint32_t end = cluster()->sealed_pages_end;
    while (cluster()->next_page < end) {
        cr_assert_eq(fixture_lease(f, f->tenant, f->bucket, 256), STATUS_OK);
    }
    cr_assert_eq(fixture_lease(f, f->tenant, f->bucket, 1), STATUS_BUSY);
    cr_assert_eq(cluster()->next_page, end);
    cr_assert_eq(fixture_lease(f, f->tenant, 0, 1), STATUS_OK, "a page that is open still gives");
    cr_assert_eq(fixture_seal(f, 2, 3), STATUS_OK);
    cr_assert_eq(fixture_lease(f, f->tenant, f->bucket, 1), STATUS_OK, "another attempt reaches further");
    cr_assert_eq(fixture_switch(f, 2, 3), STATUS_OK);
    cr_assert_eq(fixture_lease(f, f->tenant, f->bucket, 256), STATUS_OK);
}
