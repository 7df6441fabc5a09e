/* test_keys.c - slots are wiped and counted, regions are guarded, derivations are the documented BLAKE2b, boxes open for
 * nobody else. */
#include "base/bytes.h"
#include "base/keys.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

static void setup(void)
{
    cr_assert_geq(sodium_init(), 0);
}

TestSuite(key_pool, .init = setup);
TestSuite(guarded, .init = setup);
TestSuite(derive, .init = setup);
TestSuite(box, .init = setup);

/* ---- the pool ---------------------------------------------------------------------------------- */

Test(key_pool, a_released_key_is_wiped)
{
    struct key_pool *pool = key_pool_open(2);
    struct key *key = key_take(pool);
    memset(key->bytes, 0x5c, KEY_BYTES);
    key_release(pool, key);
    /* The region stays mapped until the pool is closed: look at the slot itself. */
    cr_assert(sodium_is_zero(key->bytes, KEY_BYTES));
    key_pool_close(pool);
}

Test(key_pool, slots_are_zeroed_distinct_and_bounded)
{
    struct key_pool *pool = key_pool_open(5);
    struct key *keys[5];
    for (size_t i = 0; i < 5; i++) {
        keys[i] = key_take(pool);
        cr_assert_not_null(keys[i]);
        cr_assert(sodium_is_zero(keys[i]->bytes, KEY_BYTES));
        memset(keys[i]->bytes, (int)i + 1, KEY_BYTES);
    }
    cr_assert_null(key_take(pool));
    cr_assert_eq(key_pool_in_use(pool), 5);
    for (size_t i = 0; i < 5; i++) {
        cr_assert_eq(keys[i]->bytes[0], i + 1);
        cr_assert_eq(keys[i]->bytes[KEY_BYTES - 1], i + 1);
    }
    key_release(pool, keys[3]);
    cr_assert_eq(key_pool_in_use(pool), 4);
    struct key *again = key_take(pool);
    cr_assert_not_null(again);
    cr_assert(sodium_is_zero(again->bytes, KEY_BYTES));
    key_pool_close(pool);
}

Test(key_pool, releasing_null_is_harmless)
{
    struct key_pool *pool = key_pool_open(1);
    key_release(pool, NULL);
    cr_assert_eq(key_pool_in_use(pool), 0);
    key_pool_close(pool);
}

Test(key_pool, releasing_twice_is_a_bug, .signal = SIGABRT)
{
    struct key_pool *pool = key_pool_open(1);
    struct key *key = key_take(pool);
    key_release(pool, key);
    key_release(pool, key);
}

Test(key_pool, writing_to_a_released_key_is_found, .signal = SIGABRT)
{
    struct key_pool *pool = key_pool_open(1);
    struct key *key = key_take(pool);
    key_release(pool, key);
    key->bytes[7] = 1;
    (void)key_take(pool);
}

Test(key_pool, serves_without_locked_memory)
{
    const struct rlimit none = {0, 0};
    cr_assert_eq(setrlimit(RLIMIT_MEMLOCK, &none), 0);
    struct key_pool *pool = key_pool_open(4);
    cr_assert_not_null(pool);
    struct key *key = key_take(pool);
    cr_assert_not_null(key);
    key_release(pool, key);
    key_pool_close(pool);
}

Test(keys, a_started_process_can_not_be_dumped)
{
    cr_assert_eq(keys_start_process(), STATUS_OK);
    struct rlimit core;
    cr_assert_eq(getrlimit(RLIMIT_CORE, &core), 0);
    cr_assert_eq(core.rlim_max, 0);
    cr_assert_eq(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0);
    cr_assert_eq(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0); /* The leak checker needs it at exit. */
}

Test(keys, wiping_wipes_exactly_what_was_asked)
{
    uint8_t data[10];
    memset(data, 7, sizeof(data));
    wipe_memory(data + 1, 8);
    cr_assert_eq(data[0], 7);
    cr_assert(sodium_is_zero(data + 1, 8));
    cr_assert_eq(data[9], 7);
}

/* ---- guarded regions --------------------------------------------------------------------------- */

/* Can `bytes` bytes at `address` be read? The kernel says so without a signal. */
static bool is_readable(const void *address, size_t bytes)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    ssize_t written = write(ends[1], address, bytes);
    cr_assert(written == (ssize_t)bytes || (written < 0 && errno == EFAULT));
    close(ends[0]);
    close(ends[1]);
    return written == (ssize_t)bytes;
}

/* Has the mapping that holds `address` the two-letter flag of proc(5), VmFlags? */
static bool mapping_has_flag(const void *address, const char *flag)
{
    FILE *maps = fopen("/proc/self/smaps", "r");
    cr_assert_not_null(maps);
    char line[512];
    bool is_inside = false;
    bool found = false;
    while (fgets(line, sizeof(line), maps) != NULL) {
        uintptr_t start;
        uintptr_t end;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &start, &end) == 2) {
            is_inside = (uintptr_t)address >= start && (uintptr_t)address < end;
        } else if (is_inside && strncmp(line, "VmFlags:", 8) == 0) {
            found = strstr(line + 8, flag) != NULL;
        }
    }
    fclose(maps);
    return found;
}

Test(guarded, regions_of_any_size_are_zeroed_and_end_at_a_guard_page)
{
    static const size_t region_sizes[] = {1, 31, 32, 4095, 4096, 4097, 100000};
    for (size_t i = 0; i < ARRAY_LENGTH(region_sizes); i++) {
        size_t bytes = region_sizes[i];
        uint8_t *region = guarded_take(bytes);
        cr_assert_not_null(region);
        cr_assert(sodium_is_zero(region, bytes));
        memset(region, 0x3a, bytes);
        cr_assert(is_readable(region + bytes - 1, 1));
        cr_assert_not(is_readable(region + bytes, 1), "%zu bytes", bytes);
        guarded_release(region);
        cr_assert_not(is_readable(region, 1), "unmapped, and wiped before that");
    }
}

/* The address sanitizer swallows mlock(2); and we may have no right to it. */
static bool memory_can_be_locked(void)
{
    static _Alignas(4096) uint8_t page[4096];
    return mlock(page, sizeof(page)) == 0 && mapping_has_flag(page, " lo");
}

Test(guarded, regions_are_left_out_of_core_dumps_and_locked)
{
    uint8_t *region = guarded_take(5000);
    cr_assert_not_null(region);
    cr_assert(mapping_has_flag(region, " dd"));
    cr_assert(mapping_has_flag(region, " lo") || !memory_can_be_locked());
    guarded_release(region);
}

Test(guarded, serves_without_locked_memory)
{
    const struct rlimit none = {0, 0};
    cr_assert_eq(setrlimit(RLIMIT_MEMLOCK, &none), 0);
    uint8_t *region = guarded_take(5000);
    cr_assert_not_null(region);
    memset(region, 1, 5000);
    guarded_release(region);
}

/* What this process has logged of `event` into `log`. */
static unsigned count_events(FILE *log, const char *event)
{
    char line[512];
    unsigned count = 0;
    rewind(log);
    while (fgets(line, sizeof(line), log) != NULL) {
        count += strstr(line, event) != NULL ? 1 : 0;
    }
    return count;
}

Test(guarded, memory_that_is_not_locked_is_told_of_once)
{
    static uint8_t page[1];
    const struct rlimit none = {0, 0};
    uid_t user = geteuid();
    FILE *log = tmpfile();
    cr_assert_not_null(log);
    cr_assert_eq(setrlimit(RLIMIT_MEMLOCK, &none), 0);
    cr_assert(user != 0 || seteuid(65534) == 0); /* The limit does not hold for root. */
    int before = dup(STDERR_FILENO);
    cr_assert_geq(dup2(fileno(log), STDERR_FILENO), 0);
    unsigned expected = mlock(page, sizeof(page)) != 0 ? 1 : 0; /* Sanitizers leave mlock() out. */
    struct key_pool *pool = key_pool_open(4);
    void *region = guarded_take(5000);
    void *other = guarded_take(5000);
    cr_assert_geq(dup2(before, STDERR_FILENO), 0);
    cr_assert_eq(seteuid(user), 0);
    cr_assert_eq(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0); /* The leak checker needs it at exit. */
    cr_assert(pool != NULL && region != NULL && other != NULL);
    cr_assert_eq(count_events(log, "key_memory_unlocked"), expected);
    guarded_release(other);
    guarded_release(region);
    key_pool_close(pool);
    (void)fclose(log);
    (void)close(before);
}

Test(guarded, what_can_not_be_had_is_refused)
{
    cr_assert_null(guarded_take(SIZE_MAX / 2));
}

Test(guarded, releasing_null_is_harmless)
{
    guarded_release(NULL);
}

Test(guarded, made_keys_differ)
{
    struct key keys[2] = {{{0}}, {{0}}};
    key_make(&keys[0]);
    key_make(&keys[1]);
    cr_assert_arr_neq(keys[0].bytes, keys[1].bytes, KEY_BYTES);
    cr_assert_not(sodium_is_zero(keys[0].bytes, KEY_BYTES));
}

/* ---- derivations ------------------------------------------------------------------------------- */

static struct key key_of(uint8_t first)
{
    struct key key;
    for (size_t i = 0; i < KEY_BYTES; i++) {
        key.bytes[i] = (uint8_t)(first + i);
    }
    return key;
}

/* BLAKE2b-256 over one joined message: the straight way. */
static void expect_blake2b(const struct key *key, const struct byte_writer *message, const uint8_t *start,
                           const uint8_t actual[KEY_BYTES])
{
    cr_assert_not(message->failed);
    uint8_t expected[KEY_BYTES];
    crypto_generichash(expected, KEY_BYTES, start, message->written, key == NULL ? NULL : key->bytes,
                       key == NULL ? 0 : KEY_BYTES);
    cr_assert_arr_eq(actual, expected, KEY_BYTES);
}

static struct object_identity sample_identity(void)
{
    struct object_identity identity;
    struct version_id version = {{9, 8, 7}};
    derive_identity(1, 2, &version, "name", 4, &identity);
    return identity;
}

Test(derive, the_chain_is_as_documented)
{
    uint8_t message[256];
    struct version_id version = {{0xde, 0xad}};
    struct object_identity identity;
    derive_identity(0x1122334455667788, 0x99, &version, "a/b", 3, &identity);
    struct byte_writer writer = byte_writer_of(message, sizeof(message));
    write_bytes(&writer, "TRLide1", 7);
    write_u64(&writer, 0x1122334455667788);
    write_u64(&writer, 0x99);
    write_bytes(&writer, version.bytes, 16);
    write_u32(&writer, 3);
    write_bytes(&writer, "a/b", 3);
    expect_blake2b(NULL, &writer, message, identity.bytes);

    struct key leaf = key_of(1);
    struct key dek = key_of(100);
    struct key object_key;
    derive_object_key(&leaf, &dek, &identity, &object_key);
    writer = byte_writer_of(message, sizeof(message));
    write_bytes(&writer, "TRLobj1", 7);
    write_bytes(&writer, dek.bytes, KEY_BYTES);
    write_bytes(&writer, identity.bytes, IDENTITY_BYTES);
    expect_blake2b(&leaf, &writer, message, object_key.bytes);

    struct chunk_id chunk = {{1, 2, 3, 4}};
    struct key chunk_key;
    derive_chunk_key(&object_key, &chunk, &chunk_key);
    writer = byte_writer_of(message, sizeof(message));
    write_bytes(&writer, "TRLchk1", 7);
    write_bytes(&writer, chunk.bytes, 16);
    expect_blake2b(&object_key, &writer, message, chunk_key.bytes);

    struct key meta_key;
    derive_meta_key(&object_key, &meta_key);
    writer = byte_writer_of(message, sizeof(message));
    write_bytes(&writer, "TRLmet1", 7);
    expect_blake2b(&object_key, &writer, message, meta_key.bytes);

    struct key named;
    derive_named_key(&leaf, "credentials", &named);
    writer = byte_writer_of(message, sizeof(message));
    write_bytes(&writer, "TRLsub1credentials", 18);
    expect_blake2b(&leaf, &writer, message, named.bytes);
}

Test(derive, every_input_changes_the_result)
{
    struct key leaf = key_of(1);
    struct key dek = key_of(2);
    struct object_identity identity = sample_identity();
    struct key base;
    struct key other;
    derive_object_key(&leaf, &dek, &identity, &base);
    leaf.bytes[31] ^= 1;
    derive_object_key(&leaf, &dek, &identity, &other);
    cr_assert_arr_neq(base.bytes, other.bytes, KEY_BYTES);
    leaf.bytes[31] ^= 1;
    dek.bytes[0] ^= 1;
    derive_object_key(&leaf, &dek, &identity, &other);
    cr_assert_arr_neq(base.bytes, other.bytes, KEY_BYTES);
    dek.bytes[0] ^= 1;
    identity.bytes[16] ^= 1;
    derive_object_key(&leaf, &dek, &identity, &other);
    cr_assert_arr_neq(base.bytes, other.bytes, KEY_BYTES);
    identity.bytes[16] ^= 1;
    derive_object_key(&leaf, &dek, &identity, &other);
    cr_assert_arr_eq(base.bytes, other.bytes, KEY_BYTES);
}

Test(derive, an_empty_object_key_and_a_long_one_are_fine)
{
    static char name[1024];
    struct version_id version = {{0}};
    struct object_identity empty;
    struct object_identity full;
    derive_identity(1, 1, &version, NULL, 0, &empty);
    derive_identity(1, 1, &version, name, sizeof(name), &full);
    cr_assert_arr_neq(empty.bytes, full.bytes, IDENTITY_BYTES);
}

/* RFC 7693 with salt and personal, as libsodium's crypto_kdf puts them together. */
Test(derive, a_child_is_as_documented)
{
    struct key parent = key_of(50);
    for (unsigned side = 0; side <= 1; side++) {
        uint8_t salt[crypto_generichash_blake2b_SALTBYTES] = {(uint8_t)side};
        uint8_t personal[crypto_generichash_blake2b_PERSONALBYTES] = "TRLggm1";
        uint8_t expected[KEY_BYTES];
        struct key child;
        cr_assert_eq(crypto_generichash_blake2b_salt_personal(expected, KEY_BYTES, NULL, 0, parent.bytes, KEY_BYTES,
                                                              salt, personal),
                     0);
        derive_child_key(&parent, side, &child);
        cr_assert_arr_eq(child.bytes, expected, KEY_BYTES);
    }
}

Test(derive, the_two_children_and_the_parent_differ)
{
    struct key parent = key_of(50);
    struct key left;
    struct key right;
    derive_child_key(&parent, 0, &left);
    derive_child_key(&parent, 1, &right);
    cr_assert_arr_neq(left.bytes, right.bytes, KEY_BYTES);
    cr_assert_arr_neq(left.bytes, parent.bytes, KEY_BYTES);
    cr_assert_arr_neq(right.bytes, parent.bytes, KEY_BYTES);
}

Test(derive, a_third_child_is_a_bug, .signal = SIGABRT)
{
    struct key parent = key_of(50);
    struct key child;
    derive_child_key(&parent, 2, &child);
}

Test(derive, a_commitment_is_as_documented)
{
    uint8_t message[7 + KEY_BYTES];
    uint8_t commitment[COMMITMENT_BYTES];
    uint8_t other[COMMITMENT_BYTES];
    struct key root = key_of(70);
    key_commitment(&root, commitment);
    struct byte_writer writer = byte_writer_of(message, sizeof(message));
    write_bytes(&writer, "TRLroot", 7);
    write_bytes(&writer, root.bytes, KEY_BYTES);
    expect_blake2b(NULL, &writer, message, commitment);
    root.bytes[31] ^= 1;
    key_commitment(&root, other);
    cr_assert_arr_neq(commitment, other, COMMITMENT_BYTES);
}

/* ---- boxes ------------------------------------------------------------------------------------- */

#define PLAIN_BYTES 45

static struct key box_key;
static uint8_t plain[PLAIN_BYTES];
static uint8_t sealed[PLAIN_BYTES + BOX_OVERHEAD_BYTES];

static void seal_sample(void)
{
    box_key = key_of(33);
    memset(plain, 0x61, sizeof(plain));
    box_seal(&box_key, "context", 7, plain, sizeof(plain), sealed);
}

Test(box, opens_with_key_and_context)
{
    seal_sample();
    uint8_t opened[PLAIN_BYTES];
    cr_assert_eq(box_open(&box_key, "context", 7, sealed, sizeof(sealed), opened), STATUS_OK);
    cr_assert_arr_eq(opened, plain, sizeof(plain));
}

Test(box, two_boxes_of_the_same_secret_differ)
{
    seal_sample();
    uint8_t again[sizeof(sealed)];
    box_seal(&box_key, "context", 7, plain, sizeof(plain), again);
    cr_assert_arr_neq(again, sealed, sizeof(sealed));
}

Test(box, another_key_or_context_is_denied)
{
    seal_sample();
    uint8_t opened[PLAIN_BYTES];
    struct key wrong = key_of(34);
    cr_assert_eq(box_open(&wrong, "context", 7, sealed, sizeof(sealed), opened), STATUS_DENIED);
    cr_assert_eq(box_open(&box_key, "contexT", 7, sealed, sizeof(sealed), opened), STATUS_DENIED);
    cr_assert_eq(box_open(&box_key, "context", 6, sealed, sizeof(sealed), opened), STATUS_DENIED);
    cr_assert_eq(box_open(&box_key, NULL, 0, sealed, sizeof(sealed), opened), STATUS_DENIED);
}

Test(box, any_changed_byte_is_denied)
{
    seal_sample();
    uint8_t opened[PLAIN_BYTES];
    for (size_t i = 0; i < sizeof(sealed); i++) {
        sealed[i] ^= 0x10;
        cr_assert_eq(box_open(&box_key, "context", 7, sealed, sizeof(sealed), opened), STATUS_DENIED, "byte %zu", i);
        sealed[i] ^= 0x10;
    }
}

Test(box, any_truncation_is_refused)
{
    seal_sample();
    uint8_t opened[PLAIN_BYTES];
    for (size_t bytes = 0; bytes < sizeof(sealed); bytes++) {
        enum status expected = bytes < BOX_OVERHEAD_BYTES ? STATUS_INVALID : STATUS_DENIED;
        cr_assert_eq(box_open(&box_key, "context", 7, sealed, bytes, opened), expected, "%zu bytes", bytes);
    }
}

#define BOX_BYTES_MAX KIB(64)

static uint8_t large[BOX_BYTES_MAX + 1];
static uint8_t large_sealed[BOX_BYTES_MAX + 1 + BOX_OVERHEAD_BYTES];

Test(box, may_be_empty_or_at_the_limit_but_not_over_it)
{
    static uint8_t opened[BOX_BYTES_MAX + 1];
    box_key = key_of(1);
    box_seal(&box_key, NULL, 0, NULL, 0, large_sealed);
    cr_assert_eq(box_open(&box_key, NULL, 0, large_sealed, BOX_OVERHEAD_BYTES, opened), STATUS_OK);
    memset(large, 0x17, sizeof(large));
    box_seal(&box_key, NULL, 0, large, BOX_BYTES_MAX, large_sealed);
    size_t sealed_bytes = BOX_BYTES_MAX + BOX_OVERHEAD_BYTES;
    cr_assert_eq(box_open(&box_key, NULL, 0, large_sealed, sealed_bytes, opened), STATUS_OK);
    cr_assert_eq(memcmp(opened, large, BOX_BYTES_MAX), 0);
    cr_assert_eq(box_open(&box_key, NULL, 0, large_sealed, sealed_bytes + 1, opened), STATUS_INVALID);
}

Test(box, sealing_over_the_limit_is_a_bug, .signal = SIGABRT)
{
    box_key = key_of(1);
    box_seal(&box_key, NULL, 0, large, BOX_BYTES_MAX + 1, large_sealed);
}
