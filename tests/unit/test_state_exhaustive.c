/* test_state_exhaustive.c - a state machine whose table fails, or loses power, at every single call: the index of the
 * last command and the effects of all commands up to it move together, or not at all.
 *
 * Method  A trace of commands is applied once without failures; the fingerprint of all rows is kept after each. Then it
 *         is applied with the n-th call of the table (get, write, flush, iterator) failing, for n = 1, 2, 3, ... until
 *         nothing fails. Whatever was applied, and whatever a crash then takes back, the table names an index, and its
 *         rows are exactly those after that command. The rest of the trace leads to the same end as if nothing had been. */
#include "meta/state.h"

/* The commands that meta_fixture.h makes are kept, to be applied again. */
static enum status recorded_apply(struct state *state, uint64_t index, const void *command, size_t bytes,
                                  struct outcome *outcome);
#define state_apply recorded_apply
#include "tests/unit/meta_fixture.h"
#undef state_apply

#include "tests/unit/alloc_fault.h"
#include "tests/unit/io_fault.h"

#define COMMANDS_MAX 160
#define STEPS        24
#define FLUSH_EVERY  7

struct recorded {
    uint8_t *bytes;
    size_t size;
    uint64_t fingerprint; /* of the table behind it */
};

static struct recorded commands[COMMANDS_MAX + 1]; /* by index; 0: the empty table */
static uint64_t command_count;
static struct meta_fixture fixture;

static enum status recorded_apply(struct state *state, uint64_t index, const void *command, size_t bytes,
                                  struct outcome *outcome)
{
    enum status status = state_apply(state, index, command, bytes, outcome);
    cr_assert(index <= COMMANDS_MAX && index == command_count + 1 && bytes > 0);
    command_count = index;
    commands[index].bytes = malloc(bytes);
    cr_assert_not_null(commands[index].bytes);
    memcpy(commands[index].bytes, command, bytes);
    commands[index].size = bytes;
    commands[index].fingerprint = fixture_fingerprint(fixture.kv);
    return status;
}

/* Keys, credentials and epochs, a few commands of each per round; the last round ends with a close under way. */
static void record_keys(unsigned round)
{
    static const char access_key[] = "AKAAAAAAAAAAAAAAAAA1";
    struct meta_fixture *f = &fixture;
    uint64_t epoch = state_cluster(f->state)->epoch;
    (void)fixture_credential_create(f, "acme", access_key, 1 + round);
    (void)fixture_dek_add(f, f->tenant);
    (void)fixture_credential_reseal(f, access_key, 2 + round);
    (void)fixture_dek_destroy(f, f->tenant, 1 + round); /* refused while objects are under it */
    (void)fixture_cmk_set(f, f->tenant, round % 2 == 0 ? "file:other" : FIXTURE_CMK);
    (void)fixture_key_state(f, f->tenant, true);
    (void)fixture_key_state(f, f->tenant, false);
    (void)fixture_credential_revoke(f, access_key);
    (void)fixture_seal(f, epoch + 1, 1);
    (void)fixture_put(f, "between", 7, 1);
    (void)fixture_seal(f, epoch + 1, 2);
    (void)fixture_switch_as(f, epoch + 1, 2, 7, 1000); /* refused: the sums */
    if (round < 2) {
        (void)fixture_switch(f, epoch + 1, 2);
        (void)fixture_erased(f, epoch, 3);
    }
    f->now_ms += FIXTURE_LEASE_MS / 2;
    (void)fixture_lapse(f);
}

/* Every kind of command, refused ones too. */
static void record(void)
{
    static struct fixture_commit commit;
    commands[0].fingerprint = UINT64_C(0xcbf29ce484222325);
    fixture_open(&fixture);
    for (unsigned step = 0; step < STEPS; step++) {
        char key[16];
        int key_bytes = snprintf(key, sizeof(key), "key-%u", step % 5);
        fixture.now_ms += 500;
        fixture.pg = 1 + step % 8;
        switch (step % 8) {
        case 0:
        case 1:
        case 4:
            (void)fixture_put(&fixture, key, (size_t)key_bytes, step % 4);
            break;
        case 2:
        case 6:
            (void)fixture_delete(&fixture, "photos", key, (size_t)key_bytes);
            break;
        case 3:
            (void)fixture_wipe_all(&fixture, 1 + step % 4, TRILITH__WIPE_OUTCOME__WIPE_WIPED);
            break;
        case 5:
            (void)fixture_bucket_create(&fixture, fixture.tenant, step % 16 == 5 ? key : "photos");
            (void)fixture_bucket_delete(&fixture, fixture.tenant, step % 16 == 5 ? key : "photos");
            record_keys(step / 8);
            break;
        case 7:
            (void)fixture_join_disks(&fixture, key, "east", (uint8_t)(20 + step), 2);
            fixture_commit_prepare(&fixture, &commit, "given up", 8, 1);
            (void)fixture_abort(&fixture, commit.pointers, 1,
                                (struct leaf_at){.page = commit.object.page, .slot = commit.object.slot});
            break;
        default:
            break;
        }
    }
    fixture_close(&fixture);
}

static void forget(void)
{
    for (uint64_t index = 1; index <= command_count; index++) {
        free(commands[index].bytes);
    }
}

TestSuite(state_exhaustive, .init = record, .fini = forget, .timeout = 240);

/* Open the state and apply what it does not have yet, flushing now and then. Returns the first status that is not good;
 * `*state` is NULL when it did not open, `*flushed` the last index that the table has promised to keep. */
static enum status apply_rest(struct kv *kv, struct state **state, uint64_t *flushed)
{
    *state = NULL;
    enum status status = state_open(kv, state);
    if (status != STATUS_OK) {
        *state = NULL;
        return status;
    }
    for (uint64_t index = state_applied_index(*state) + 1; index <= command_count; index++) {
        struct outcome outcome;
        status = state_apply(*state, index, commands[index].bytes, commands[index].size, &outcome);
        if (status != STATUS_OK) {
            return status;
        }
        if (index % FLUSH_EVERY == 0) {
            status = kv_flush(kv);
            if (status != STATUS_OK) {
                return status;
            }
            *flushed = index;
        }
    }
    return STATUS_OK;
}

/* The table is exactly what some command left, and says which one. Returns its index. */
static uint64_t check_together(struct kv *kv, uint64_t nth)
{
    struct state *state;
    cr_assert_eq(state_open(kv, &state), STATUS_OK, "call %lu", nth);
    uint64_t index = state_applied_index(state);
    cr_assert_leq(index, command_count);
    cr_assert_eq(fixture_fingerprint(kv), commands[index].fingerprint, "call %lu: not what command %lu left", nth,
                 index);
    state_close(state);
    return index;
}

/* Returns whether the n-th call was reached. */
static bool fail_at(enum io_fault_kind kind, uint64_t nth)
{
    struct state *state;
    uint64_t flushed = 0;
    struct kv *kv = sim_kv_open();
    io_fault_watch_kv(kv);
    io_fault_arm(kind, nth);
    enum status status = apply_rest(kv, &state, &flushed);
    bool reached = io_fault_reached();
    io_fault_disarm();
    cr_assert_eq(status, reached ? STATUS_IO : STATUS_OK, "call %lu: %s", nth, status_name(status));

    uint64_t applied = state != NULL ? state_applied_index(state) : 0;
    if (state != NULL) {
        state_close(state);
    }
    cr_assert_eq(check_together(kv, nth), applied, "call %lu: the table is not where the state was", nth);
    sim_kv_crash(kv, nth);
    uint64_t kept = check_together(kv, nth);
    cr_assert(kept >= flushed && kept <= applied, "call %lu: %lu not in %lu..%lu", nth, kept, flushed, applied);

    cr_assert_eq(apply_rest(kv, &state, &flushed), STATUS_OK, "call %lu", nth);
    state_close(state);
    cr_assert_eq(check_together(kv, nth), command_count, "call %lu", nth);
    kv_close(kv);
    return reached;
}

Test(state_exhaustive, the_index_and_its_effects_move_together_when_a_call_fails_once)
{
    uint64_t nth = 1;
    while (fail_at(IO_FAULT_ONCE, nth)) {
        nth++;
    }
    cr_assert_gt(nth, 400, "only %lu calls", nth);
    cr_assert_not(alloc_fault_leaks());
}

Test(state_exhaustive, the_index_and_its_effects_move_together_when_the_table_fails_for_good)
{
    for (uint64_t nth = 1; fail_at(IO_FAULT_FOR_EVER, nth); nth += 3) {
    }
    cr_assert_not(alloc_fault_leaks());
}

/* ---- allocations ----------------------------------------------------------------------------------------- */

static bool allocation_script(void)
{
    struct state *state;
    uint64_t flushed = 0;
    struct kv *kv = sim_kv_open();
    enum status status = apply_rest(kv, &state, &flushed);
    if (state != NULL) {
        state_close(state);
    }
    kv_close(kv);
    return status == (alloc_fault_hit() ? STATUS_FULL : STATUS_OK);
}

Test(state_exhaustive, an_allocation_that_fails_is_told_when_opening_and_nothing_else_allocates)
{
    static const struct alloc_fault_stop stops[] = {{NULL, NULL}};
    for (int for_ever = 0; for_ever < 2; for_ever++) {
        uint64_t nth = 1;
        enum alloc_fault_end end;
        while ((end = alloc_fault_run(allocation_script, nth, for_ever != 0, stops)) == ALLOC_FAULT_ANSWERED) {
            nth++;
        }
        cr_assert_eq(end, ALLOC_FAULT_UNTOUCHED, "allocation %lu", nth);
        cr_assert_gt(nth, 3);
    }
}
