/* test_memory.c - what is left in memory of keys that were released, and in a core dump of keys in use: nothing.
 *
 * Each test marks its secrets, has the product work with them far down the stack, releases them and scans the whole
 * process. The tests of the scanner come first: it finds what is there. */
#include "base/passphrase.h"
#include "base/seal.h"
#include "base/transport.h"
#include "meta/vault/ggm.h"
#include "meta/vault/shamir.h"
#include "tests/unit/aes_schedule.h"
#include "tests/unit/memory_scan.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define MARKS_MAX 512
#define KEYS_MAX  64
#define NOBODY    65534

static struct key_pool *pool;
static struct key *keys[KEYS_MAX]; /* taken by take_marked() */
static unsigned key_count;
static struct memory_mark marks[MARKS_MAX];
static unsigned mark_count;

static void mark(const char *name, const void *secret, size_t bytes)
{
    cr_assert_lt(mark_count, MARKS_MAX);
    memory_mark_set(&marks[mark_count++], name, secret, bytes);
}

static struct key *take(void)
{
    cr_assert_lt(key_count, KEYS_MAX);
    struct key *key = key_take(pool);
    cr_assert_not_null(key);
    keys[key_count++] = key;
    return key;
}

static struct key *take_marked(const char *name)
{
    struct key *key = take();
    key_make(key);
    mark(name, key->bytes, KEY_BYTES);
    return key;
}

static void release_all(void)
{
    while (key_count > 0) {
        key_release(pool, keys[--key_count]);
    }
}

static void expect_nothing(void)
{
    memory_scan(marks, mark_count);
    for (unsigned i = 0; i < mark_count; i++) {
        cr_expect_eq(marks[i].places, 0, "%u places: %s", marks[i].places, marks[i].where);
    }
}

/* While they are in use: somewhere, but nowhere that a core dump would hold. */
static void expect_nothing_in_a_core(void)
{
    memory_scan(marks, mark_count);
    for (unsigned i = 0; i < mark_count; i++) {
        cr_expect_eq(marks[i].places_in_core, 0, "%u places: %s", marks[i].places_in_core, marks[i].where);
    }
}

/* Start as a daemon does, then switch the guard off: what the scans find must not hang on it. */
static void setup(void)
{
    cr_assert_eq(keys_start_process(), STATUS_OK);
    cr_assert_eq(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0);
    pool = key_pool_open(KEYS_MAX);
    cr_assert_not_null(pool);
}

static void teardown(void)
{
    release_all();
    key_pool_close(pool);
}

TestSuite(memory, .init = setup, .fini = teardown);

/* ---- the scanner ------------------------------------------------------------------------------- */

static void leave_on_the_stack(void *argument)
{
    volatile uint8_t copy[KEY_BYTES];
    const struct key *key = argument;
    for (unsigned i = 0; i < KEY_BYTES; i++) {
        copy[i] = key->bytes[i];
    }
    cr_assert(memory_mark_matches(&marks[1], key)); /* The copy is in use so far. */
    CHECK(copy[0] == key->bytes[0]);
}

Test(memory, scanner_finds_heap_and_old_stack)
{
    struct key *heap = take_marked("heap");
    struct key *stack = take_marked("stack");
    uint8_t *copy = malloc(4096);
    memcpy(copy + 999, heap->bytes, KEY_BYTES);
    memory_run_below(leave_on_the_stack, stack);
    release_all();
    memory_scan(marks, mark_count);
    cr_assert_eq(marks[0].places_in_core, 1);
    cr_assert_geq(marks[1].places_in_core, 1);
    wipe_memory(copy, 4096);
    memory_scan(marks, 1);
    cr_assert_eq(marks[0].places, 0, "%s", marks[0].where);
    free(copy);
}

/* Across pages and across the pieces that the scanner reads, wherever these begin. */
Test(memory, scanner_finds_what_lies_across)
{
    const size_t step = KIB(64);
    const size_t places = 64;
    struct key *key = take_marked("across");
    uint8_t *region = aligned_alloc(4096, places * step);
    memset(region, 1, places * step);
    for (size_t i = 0; i < places; i++) {
        memcpy(region + i * step + 4096 - KEY_BYTES / 2, key->bytes, KEY_BYTES);
    }
    release_all();
    memory_scan(marks, mark_count);
    cr_assert_eq(marks[0].places, places);
    wipe_memory(region, places * step);
    free(region);
}

/* ---- guarded memory ---------------------------------------------------------------------------- */

Test(memory, keys_stand_in_guarded_memory_alone_and_go_with_their_release)
{
    take_marked("key of a pool");
    struct key *region = guarded_take(5 * sizeof(*region));
    key_make(&region[4]);
    mark("guarded region", region[4].bytes, KEY_BYTES);
    expect_nothing_in_a_core();
    cr_assert_eq(marks[0].places, 1);
    cr_assert_eq(marks[1].places, 1);
    release_all();
    guarded_release(region);
    expect_nothing();
}

Test(memory, closing_a_pool_wipes_what_was_not_released)
{
    struct key_pool *other = key_pool_open(3);
    struct key *key = key_take(other);
    key_make(key);
    mark("key never released", key->bytes, KEY_BYTES);
    memory_scan(marks, mark_count);
    cr_assert_eq(marks[0].places, 1);
    key_pool_close(other);
    expect_nothing();
}

/* ---- derivations and boxes --------------------------------------------------------------------- */

static void derive_everything(void *argument)
{
    struct key *leaf = argument;
    struct key *dek = take_marked("dek");
    struct key *object_key = take();
    struct key *chunk_key = take();
    struct key *meta_key = take();
    struct key *named_key = take();
    struct key *child_key = take();
    const struct version_id version = {{1, 2, 3}};
    const struct chunk_id chunk = {{4, 5, 6}};
    struct object_identity identity;
    uint8_t commitment[COMMITMENT_BYTES];
    derive_identity(1, 2, &version, "name", 4, &identity);
    derive_object_key(leaf, dek, &identity, object_key);
    derive_chunk_key(object_key, &chunk, chunk_key);
    derive_meta_key(object_key, meta_key);
    derive_named_key(dek, "purpose", named_key);
    derive_child_key(leaf, 1, child_key);
    key_commitment(leaf, commitment);
    mark("object key", object_key->bytes, KEY_BYTES);
    mark("chunk key", chunk_key->bytes, KEY_BYTES);
    mark("meta key", meta_key->bytes, KEY_BYTES);
    mark("named key", named_key->bytes, KEY_BYTES);
    mark("child key", child_key->bytes, KEY_BYTES);
}

Test(memory, derivations_leave_no_key)
{
    memory_run_below(derive_everything, take_marked("leaf"));
    expect_nothing_in_a_core();
    release_all();
    expect_nothing();
}

/* The key of a box, and a secret that went in and out. */
static void box_and_unbox(void *argument)
{
    struct key *secret = argument;
    struct key *opened = take();
    struct key *box_key = take_marked("key of a box");
    struct key *wrong_key = take_marked("wrong key of a box");
    uint8_t sealed[KEY_BYTES + BOX_OVERHEAD_BYTES];
    box_seal(box_key, "context", 7, secret, KEY_BYTES, sealed);
    cr_assert_eq(box_open(box_key, "context", 7, sealed, sizeof(sealed), opened), STATUS_OK);
    cr_assert(memory_mark_matches(&marks[0], opened));
    cr_assert_eq(box_open(wrong_key, "context", 7, sealed, sizeof(sealed), opened), STATUS_DENIED);
}

Test(memory, boxes_leave_neither_key_nor_content)
{
    memory_run_below(box_and_unbox, take_marked("content of a box"));
    expect_nothing_in_a_core();
    release_all();
    expect_nothing();
}

/* ---- what protects master keys ----------------------------------------------------------------- */

static void derive_from_passphrase(void *argument)
{
    const uint8_t salt[PASSPHRASE_SALT_BYTES] = {1};
    const struct passphrase_cost cost = {.passes = 1, .memory_kib = 8192};
    struct key *key = take();
    cr_assert_eq(passphrase_key(argument, salt, &cost, key), STATUS_OK);
    mark("key of a passphrase", key->bytes, KEY_BYTES);
}

Test(memory, passphrases_and_their_keys_leave_nothing)
{
    struct key *passphrase = take_marked("passphrase");
    for (unsigned i = 0; i < KEY_BYTES; i++) {
        passphrase->bytes[i] = (uint8_t)('a' + passphrase->bytes[i] % 26);
    }
    passphrase->bytes[KEY_BYTES - 1] = '\0';
    memory_mark_set(&marks[0], "passphrase", passphrase, KEY_BYTES - 1);
    memory_run_below(derive_from_passphrase, passphrase);
    expect_nothing_in_a_core();
    release_all();
    expect_nothing();
}

/* The secret numbers of a private key, by the beginning and the end of each. */
static void mark_private_numbers(const uint8_t *bytes, size_t count)
{
    static const char *const names[] = {"(1:d", "(1:p", "(1:q", "(1:u"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        const char *at = memmem(bytes, count, names[i], strlen(names[i]));
        cr_assert_not_null(at);
        char *number = NULL;
        size_t length = strtoul(at + strlen(names[i]), &number, 10);
        cr_assert(*number == ':' && length > (size_t)2 * KEY_BYTES);
        mark(names[i] + 1, number + 2, KEY_BYTES); /* Behind a sign byte that may be there. */
        mark(names[i] + 1, number + 1 + length - KEY_BYTES, KEY_BYTES);
    }
}

static void transport_a_secret(void *argument)
{
    static char pem[TRANSPORT_PEM_BYTES];
    static uint8_t wrapped[TRANSPORT_WRAPPED_BYTES_MAX];
    uint8_t *private_key = guarded_take(TRANSPORT_PRIVATE_BYTES_MAX);
    struct key *arrived = take();
    size_t private_bytes = 0;
    size_t wrapped_bytes = 0;
    size_t bytes = 0;
    cr_assert_eq(transport_make(private_key, &private_bytes, pem), STATUS_OK);
    mark_private_numbers(private_key, private_bytes);
    cr_assert_eq(transport_encrypt(pem, TRANSPORT_SHA256, argument, KEY_BYTES, wrapped, &wrapped_bytes), STATUS_OK);
    cr_assert_eq(transport_decrypt(private_key, private_bytes, wrapped, wrapped_bytes, arrived, KEY_BYTES, &bytes),
                 STATUS_OK);
    cr_assert(bytes == KEY_BYTES && memory_mark_matches(&marks[0], arrived));
    guarded_release(private_key);
}

Test(memory, transport_leaves_neither_private_key_nor_secret)
{
    memory_run_below(transport_a_secret, take_marked("transported secret"));
    release_all();
    expect_nothing();
}

/* ---- the vault's keys -------------------------------------------------------------------------- */

/* Share out and put together again: the shares and the polynomial's coefficients are as secret as the secret. */
static void share_and_combine(void *argument)
{
    enum { COUNT = 5, THRESHOLD = 3 };
    struct key *secret = argument;
    struct key *coefficients = guarded_take((THRESHOLD - 1) * sizeof(*coefficients));
    struct shamir_share *shares = guarded_take(COUNT * sizeof(*shares));
    for (unsigned i = 0; i < THRESHOLD - 1; i++) {
        key_make(&coefficients[i]);
        mark("coefficient", coefficients[i].bytes, KEY_BYTES);
    }
    shamir_split(secret, COUNT, THRESHOLD, coefficients, shares);
    for (unsigned i = 0; i < COUNT; i++) {
        mark("share", shares[i].value.bytes, KEY_BYTES);
    }
    struct key *combined = take();
    cr_assert_eq(shamir_combine(shares + 1, THRESHOLD, combined), STATUS_OK);
    cr_assert(memory_mark_matches(&marks[0], combined));
    guarded_release(coefficients);
    guarded_release(shares);
}

Test(memory, secret_sharing_leaves_no_share)
{
    memory_run_below(share_and_combine, take_marked("shared secret"));
    release_all();
    expect_nothing();
}

/* Every inner key on the way to a leaf. */
static void mark_way_to_leaf(const struct key *seed, unsigned slot)
{
    const struct key *parent = seed;
    for (unsigned depth = 0; depth < GGM_DEPTH; depth++) {
        struct key *child = take();
        derive_child_key(parent, slot >> (GGM_DEPTH - 1 - depth) & 1, child);
        mark(depth + 1 == GGM_DEPTH ? "leaf of a page" : "inner key of a page", child->bytes, KEY_BYTES);
        parent = child;
    }
}

static void puncture_a_page(void *argument)
{
    enum { PUNCTURED = 77, KEPT = 78 };
    const struct key *seed = argument;
    struct ggm_cover *cover = guarded_take(sizeof(*cover));
    uint8_t *encoded = guarded_take(GGM_COVER_BYTES_MAX);
    struct ggm_bitmap punctured = {{0}};
    struct key *leaf = take();
    mark_way_to_leaf(seed, PUNCTURED);
    mark_way_to_leaf(seed, KEPT);
    ggm_seed_leaf(seed, PUNCTURED, leaf);
    ggm_cover_of_seed(seed, cover);
    cr_assert_eq(ggm_cover_leaf(cover, PUNCTURED, leaf), STATUS_OK);
    ggm_bit_set(&punctured, PUNCTURED);
    cr_assert_eq(ggm_cover_puncture(cover, &punctured), 1);
    cr_assert_eq(ggm_cover_leaf(cover, PUNCTURED, leaf), STATUS_GONE);
    cr_assert_eq(ggm_cover_leaf(cover, KEPT, leaf), STATUS_OK);
    size_t bytes = ggm_cover_encode(cover, encoded);
    cr_assert_eq(ggm_cover_decode(encoded, bytes, cover), STATUS_OK);
    guarded_release(cover);
    guarded_release(encoded);
}

Test(memory, puncturing_leaves_no_leaf_and_no_inner_key)
{
    memory_run_below(puncture_a_page, take_marked("seed of a page"));
    expect_nothing_in_a_core();
    release_all();
    expect_nothing();
}

/* ---- sealing ----------------------------------------------------------------------------------- */

/* FIPS 197, appendix C.3. */
Test(memory, schedule_of_the_test_is_that_of_aes)
{
    static const uint8_t cipher[] = {0x8e, 0xa2, 0xb7, 0xca, 0x51, 0x67, 0x45, 0xbf,
                                     0xea, 0xfc, 0x49, 0x90, 0x4b, 0x49, 0x60, 0x89};
    static struct aes_schedule schedule;
    uint8_t key[32];
    uint8_t block[AES_BLOCK_BYTES];
    for (unsigned i = 0; i < sizeof(key); i++) {
        key[i] = (uint8_t)i;
    }
    for (unsigned i = 0; i < sizeof(block); i++) {
        block[i] = (uint8_t)(i * 0x11);
    }
    aes_schedule_make(&schedule, key);
    aes_encrypt(&schedule, block, key);
    cr_assert_arr_eq(key, cipher, sizeof(cipher));
}

/* The round keys that don't hold the key itself, and the hash key. */
static void mark_schedule(const struct key *key)
{
    struct aes_schedule *schedule = guarded_take(sizeof(*schedule));
    aes_schedule_make(schedule, key->bytes);
    for (unsigned round = 2; round <= AES_ROUNDS; round++) {
        mark("round key", schedule->round_keys[round], AES_BLOCK_BYTES);
    }
    for (unsigned round = 1; round < AES_ROUNDS; round++) {
        mark("round key of the inverse cipher", schedule->inverse_keys[round], AES_BLOCK_BYTES);
    }
    mark("hash key", schedule->hash_key, AES_BLOCK_BYTES);
    mark("hash key reversed", schedule->hash_key_reversed, AES_BLOCK_BYTES);
    guarded_release(schedule);
}

struct sealing {
    struct sealer *sealer;
    enum suite suite;
    const struct key *key;
};

/* Seal and open a unit, and leave the sealer with its key. */
static void seal_a_unit(void *argument)
{
    static uint8_t data[UNIT_BYTES];
    const struct sealing *sealing = argument;
    uint8_t seal[UNIT_SEAL_BYTES];
    struct chunk_binding binding = {.chunk_bytes = 3 * UNIT_BYTES, .suite = sealing->suite};
    sealer_begin(sealing->sealer, sealing->key, &binding);
    seal_unit(sealing->sealer, 1, data, seal);
    cr_assert_eq(open_unit(sealing->sealer, 1, data, seal), STATUS_OK);
}

static void forget_key(void *argument)
{
    sealer_forget(((const struct sealing *)argument)->sealer);
}

static void expect_sealer_forgets(enum sealer_implementation which, enum suite suite)
{
    struct sealing sealing = {.sealer = sealer_open(which), .suite = suite, .key = take()};
    cr_assert_not_null(sealing.sealer);
    if (suite_is_supported(sealing.sealer, suite)) {
        key_make(keys[key_count - 1]);
        mark("chunk key", sealing.key->bytes, suite == SUITE_SM4_GCM ? 16 : KEY_BYTES);
        mark_schedule(sealing.key);
        memory_run_below(seal_a_unit, &sealing);
        expect_nothing_in_a_core();
        memory_run_below(forget_key, &sealing);
        release_all();
        expect_nothing();
    }
    sealer_close(sealing.sealer);
}

Test(memory, sealing_leaves_no_key_and_no_round_key)
{
    expect_sealer_forgets(SEALER_FASTEST, SUITE_AES_256_GCM);
}

Test(memory, reference_sealing_leaves_no_key_and_no_round_key)
{
    expect_sealer_forgets(SEALER_REFERENCE, SUITE_AES_256_GCM);
}

Test(memory, sm4_sealing_leaves_no_key)
{
    expect_sealer_forgets(SEALER_FASTEST, SUITE_SM4_GCM);
}

/* ---- core dumps and tracers -------------------------------------------------------------------- */

/* The sanitizer fixes the limit for core dumps too. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "disable_coredump=0";
}

/* The guard is off, and still the file holds nothing but what stood outside of guarded memory. A limit that is once 0
 * may stay so for good, so this test does without keys_start_process(): opening a sealer starts libsodium as well. */
Test(memory_core, core_dump_holds_no_key_in_use)
{
    sealer_close(sealer_open(SEALER_REFERENCE));
    struct sealing sealing = {.sealer = sealer_open(SEALER_FASTEST), .suite = SUITE_AES_256_GCM};
    pool = key_pool_open(KEYS_MAX);
    struct key *plain = take_marked("unguarded copy");
    uint8_t *copy = malloc(KEY_BYTES);
    memcpy(copy, plain->bytes, KEY_BYTES);
    struct key *region = guarded_take(sizeof(*region));
    key_make(region);
    mark("guarded region", region, KEY_BYTES);
    sealing.key = take_marked("chunk key");
    mark_schedule(sealing.key);
    seal_a_unit(&sealing);
    struct sealing last = {.sealer = sealer_open(SEALER_FASTEST), .suite = SUITE_AES_256_GCM, .key = take()};
    key_make(keys[key_count - 1]);
    seal_a_unit(&last); /* A core holds the registers too: with what was computed last, a key that is not looked for. */

    char why[256] = "";
    bool has_core = memory_scan_core(marks, mark_count, why, sizeof(why));
    cr_expect(!has_core || marks[0].places > 0, "the search does not find what is there");
    for (unsigned i = 1; i < mark_count; i++) {
        cr_expect_eq(marks[i].places, 0, "%s", marks[i].where);
    }
    wipe_memory(copy, KEY_BYTES);
    free(copy);
    guarded_release(region);
    sealer_close(sealing.sealer);
    sealer_close(last.sealer);
    teardown();
    if (!has_core) {
        cr_skip_test("%s", why);
    }
}

/* A process of nobody, and another one of nobody that tries to look into it. Both end with the test. */
static void become_nobody(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (geteuid() == 0 && setuid(NOBODY) != 0) {
        _exit(2);
    }
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* setuid() has switched it off: only keys_start_process() shall have. */
}

/* Says "ready" on `tell` before the guard is on, goes on at a word from `listen`, and says what became of it. */
static void run_target(int listen, int tell)
{
    char word = 'r';
    become_nobody();
    if (write(tell, &word, 1) != 1 || read(listen, &word, 1) != 1) {
        _exit(2);
    }
    struct rlimit core = {.rlim_cur = 1};
    bool is_guarded = keys_start_process() == STATUS_OK && prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 &&
                      getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_cur == 0 && core.rlim_max == 0;
    word = is_guarded ? 'g' : 'u';
    if (write(tell, &word, 1) != 1) {
        _exit(2);
    }
    pause();
}

/* Exit status of a process of nobody: bit 0: it could trace the target; bit 1: it could open its memory. */
static unsigned try_to_look_into(pid_t target)
{
    pid_t tracer = fork();
    cr_assert_geq(tracer, 0);
    if (tracer == 0) {
        become_nobody();
        char path[64];
        unsigned ability = 0;
        snprintf(path, sizeof(path), "/proc/%d/mem", target);
        if (ptrace(PTRACE_ATTACH, target, NULL, NULL) == 0) {
            waitpid(target, NULL, 0);
            ptrace(PTRACE_DETACH, target, NULL, NULL);
            ability |= 1;
        }
        ability |= open(path, O_RDONLY | O_CLOEXEC) >= 0 ? 2 : 0;
        _exit((int)ability);
    }
    int ended = 0;
    cr_assert_eq(waitpid(tracer, &ended, 0), tracer);
    cr_assert(WIFEXITED(ended));
    return (unsigned)WEXITSTATUS(ended);
}

Test(memory, process_with_keys_lets_nobody_of_its_own_user_look_into_it)
{
    int listen[2];
    int tell[2];
    char word = 0;
    cr_assert_eq(pipe(listen), 0);
    cr_assert_eq(pipe(tell), 0);
    pid_t target = fork();
    cr_assert_geq(target, 0);
    if (target == 0) {
        run_target(listen[0], tell[1]);
        _exit(0);
    }
    cr_assert_eq(read(tell[0], &word, 1), 1);
    unsigned before = try_to_look_into(target);
    cr_assert_eq(write(listen[1], "g", 1), 1);
    cr_assert_eq(read(tell[0], &word, 1), 1);
    unsigned after = try_to_look_into(target);
    kill(target, SIGKILL);
    waitpid(target, NULL, 0);
    cr_assert_eq(word, 'g', "dumpable, or with a core limit above 0");
    cr_assert_eq(after, 0);
    if (before != 3) {
        cr_skip_test("this machine forbids it anyhow: only %u of 3 was possible without the guard", before);
    }
}
