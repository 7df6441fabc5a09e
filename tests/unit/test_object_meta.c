/* test_object_meta.c - a client's fields: bounded, sealed, and refused when anything about them was changed. */
#include "node/object_meta.h"

#include <criterion/criterion.h>
#include <stdio.h>

static struct key key;
static struct object_identity identity;
static struct object_meta meta;
static struct object_meta opened;
static uint8_t sealed[OBJECT_META_SEALED_MAX + 1];

static void setup(void)
{
    cr_assert_eq(keys_start_process(), STATUS_OK);
    memset(&key, 7, sizeof(key));
    memset(&identity, 8, sizeof(identity));
    memset(&meta, 0, sizeof(meta));
    memset(&opened, 0, sizeof(opened));
}

TestSuite(object_meta, .init = setup);

static void fill(size_t bytes)
{
    char value[1000];
    meta.used = 0;
    meta.count = 0;
    while (meta.used < bytes) {
        size_t left = bytes - meta.used;
        size_t length = left < sizeof(value) ? left - 5 : sizeof(value) - 200;
        memset(value, 'v', length);
        value[length] = '\0';
        cr_assert_eq(object_meta_add(&meta, "n", value), STATUS_OK);
    }
    cr_assert_eq(meta.used, bytes);
}

Test(object_meta, fields_come_back_in_order)
{
    cr_assert_eq(object_meta_add(&meta, "content-type", "text/plain"), STATUS_OK);
    cr_assert_eq(object_meta_add(&meta, "x-amz-meta-empty", ""), STATUS_OK);
    size_t cursor = 0;
    const char *name = NULL;
    const char *value = NULL;
    size_t name_bytes = 0;
    size_t value_bytes = 0;
    cr_assert(object_meta_next(&meta, &cursor, &name, &name_bytes, &value, &value_bytes));
    cr_assert(name_bytes == 12 && value_bytes == 10 && memcmp(value, "text/plain", 10) == 0);
    cr_assert(object_meta_next(&meta, &cursor, &name, &name_bytes, &value, &value_bytes));
    cr_assert(name_bytes == 16 && value_bytes == 0 && memcmp(name, "x-amz-meta-empty", 16) == 0);
    cr_assert_not(object_meta_next(&meta, &cursor, &name, &name_bytes, &value, &value_bytes));
}

Test(object_meta, is_bounded_in_bytes_and_fields)
{
    fill(OBJECT_META_BYTES_MAX);
    cr_assert_eq(object_meta_add(&meta, "", ""), STATUS_TOO_LARGE);
    meta.used = 0;
    meta.count = 0;
    for (unsigned i = 0; i < OBJECT_META_FIELDS_MAX; i++) {
        cr_assert_eq(object_meta_add(&meta, "a", "b"), STATUS_OK);
    }
    cr_assert_eq(object_meta_add(&meta, "a", "b"), STATUS_TOO_LARGE);
}

Test(object_meta, of_every_size_opens_as_it_was_sealed)
{
    static const size_t sizes[] = {0, 5, 4075, 4080, 4081, 4090, 8000, 8176, 8177, OBJECT_META_BYTES_MAX};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        fill(sizes[i]);
        size_t bytes = object_meta_seal(&key, &identity, 12345, &meta, sealed);
        cr_assert_leq(bytes, OBJECT_META_SEALED_MAX);
        cr_assert_eq(object_meta_open(&key, &identity, 12345, sealed, bytes, &opened), STATUS_OK, "%zu", sizes[i]);
        cr_assert_eq(opened.used, meta.used);
        cr_assert_eq(opened.count, meta.count);
        cr_assert_eq(memcmp(opened.bytes, meta.bytes, meta.used), 0);
    }
}

Test(object_meta, that_was_changed_or_belongs_elsewhere_is_refused)
{
    fill(5000);
    size_t bytes = object_meta_seal(&key, &identity, 12345, &meta, sealed);
    cr_assert_eq(object_meta_open(&key, &identity, 12346, sealed, bytes, &opened), STATUS_CORRUPT);
    for (size_t length = 0; length < bytes; length += 13) {
        cr_assert_eq(object_meta_open(&key, &identity, 12345, sealed, length, &opened), STATUS_CORRUPT, "%zu", length);
    }
    for (size_t at = 0; at < bytes; at += 101) {
        sealed[at] ^= 1;
        cr_assert_eq(object_meta_open(&key, &identity, 12345, sealed, bytes, &opened), STATUS_CORRUPT, "%zu", at);
        sealed[at] ^= 1;
    }
    struct object_identity other = identity;
    other.bytes[0] ^= 1;
    cr_assert_eq(object_meta_open(&key, &other, 12345, sealed, bytes, &opened), STATUS_CORRUPT);
    struct key other_key = key;
    other_key.bytes[0] ^= 1;
    cr_assert_eq(object_meta_open(&other_key, &identity, 12345, sealed, bytes, &opened), STATUS_CORRUPT);
}

Test(object_meta, pieces_can_not_be_swapped)
{
    fill(8176); /* two whole pieces */
    size_t bytes = object_meta_seal(&key, &identity, 1, &meta, sealed);
    size_t piece = OBJECT_META_PIECE_BYTES + BOX_OVERHEAD_BYTES;
    cr_assert_eq(bytes, 2 * piece);
    uint8_t swapped[2 * (OBJECT_META_PIECE_BYTES + BOX_OVERHEAD_BYTES)];
    memcpy(swapped, sealed + piece, piece);
    memcpy(swapped + piece, sealed, piece);
    cr_assert_eq(object_meta_open(&key, &identity, 1, swapped, bytes, &opened), STATUS_CORRUPT);
    cr_assert_eq(object_meta_open(&key, &identity, 1, sealed, piece, &opened), STATUS_CORRUPT);
}

Test(object_meta, garbage_is_refused)
{
    static const uint8_t short_value[] = {1, 0, 9, 0, 'a', 'b'};
    static const uint8_t half_head[] = {1, 0, 0};
    cr_assert_eq(object_meta_decode(short_value, sizeof(short_value), &opened), STATUS_CORRUPT);
    cr_assert_eq(object_meta_decode(half_head, sizeof(half_head), &opened), STATUS_CORRUPT);
    cr_assert_eq(object_meta_decode(NULL, 0, &opened), STATUS_OK);
    cr_assert_eq(object_meta_decode(meta.bytes, OBJECT_META_BYTES_MAX + 1, &opened), STATUS_TOO_LARGE);
}
