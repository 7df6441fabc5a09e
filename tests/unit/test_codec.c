/* test_codec.c - the table of messages, and unpacking within limits. */
#include "proto/codec.h"

#include "proto/rpc.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static struct arena_pool pool;
static struct arena arena;

static void setup(void)
{
    arena_pool_init(&pool, MIB(64));
}

static void teardown(void)
{
    arena_release(&arena, false);
    cr_assert_eq(pool.held_bytes, 0);
    arena_pool_deinit(&pool);
}

/* ---- the table ------------------------------------------------------------------------------- */

TestSuite(message_types);

Test(message_types, every_named_type_has_a_request_and_a_reply)
{
    const ProtobufCEnumDescriptor *types = &trilith__message_type__descriptor;
    for (unsigned i = 0; i < types->n_values; i++) {
        uint16_t type = (uint16_t)types->values[i].value;
        bool exists = type != TRILITH__MESSAGE_TYPE__MESSAGE_NONE;
        cr_assert_eq(message_request_descriptor(type) != NULL, exists, "%s", types->values[i].name);
        cr_assert_eq(message_reply_descriptor(type) != NULL, exists, "%s", types->values[i].name);
        cr_assert_str_eq(message_type_name(type), types->values[i].name);
    }
}

Test(message_types, no_other_number_has_one)
{
    for (unsigned type = 0; type <= UINT16_MAX; type++) {
        bool named = type != 0 && protobuf_c_enum_descriptor_get_value(&trilith__message_type__descriptor, (int)type);
        cr_assert_eq(message_request_descriptor((uint16_t)type) != NULL, named);
        cr_assert_eq(message_reply_descriptor((uint16_t)type) != NULL, named);
    }
    cr_assert_str_eq(message_type_name(UINT16_MAX), "unknown");
}

Test(message_types, are_named_after_their_messages)
{
    cr_assert_eq(message_request_descriptor(TRILITH__MESSAGE_TYPE__BUCKET_GET),
                 &trilith__bucket_get_request__descriptor);
    cr_assert_eq(message_reply_descriptor(TRILITH__MESSAGE_TYPE__BUCKET_GET), &trilith__bucket_reply__descriptor);
    cr_assert_eq(message_request_descriptor(TRILITH__MESSAGE_TYPE__CLUSTER_STATUS), &trilith__empty__descriptor);
    cr_assert_eq(message_reply_descriptor(TRILITH__MESSAGE_TYPE__ERASURE_GET), &trilith__erasure_reply__descriptor);
}

Test(message_types, those_with_keys_are_known)
{
    const uint16_t secret[] = {TRILITH__MESSAGE_TYPE__TENANT_KEY,        TRILITH__MESSAGE_TYPE__CREDENTIAL_GET,
                               TRILITH__MESSAGE_TYPE__LEAF_LEASE,        TRILITH__MESSAGE_TYPE__OBJECT_GET,
                               TRILITH__MESSAGE_TYPE__CREDENTIAL_CREATE, TRILITH__MESSAGE_TYPE__OBJECT_OPENING};
    unsigned found = 0;
    for (unsigned type = 0; type <= UINT16_MAX; type++) {
        found += message_reply_is_secret((uint16_t)type);
    }
    cr_assert_eq(found, ARRAY_LENGTH(secret));
    for (size_t i = 0; i < ARRAY_LENGTH(secret); i++) {
        cr_assert(message_reply_is_secret(secret[i]));
    }
}

/* ---- unpacking ------------------------------------------------------------------------------- */

TestSuite(message_unpack, .init = setup, .fini = teardown);

static enum status unpack(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t bytes,
                          const ProtobufCMessage **message)
{
    arena_release(&arena, false);
    arena_init(&arena, &pool, message_unpacked_bytes_max((uint32_t)bytes));
    return message_unpack(descriptor, &arena, data, bytes, message);
}

Test(message_unpack, takes_an_empty_message)
{
    const ProtobufCMessage *message = NULL;
    cr_assert_eq(unpack(&trilith__empty__descriptor, (const uint8_t *)"", 0, &message), STATUS_OK);
    cr_assert_eq(message->descriptor, &trilith__empty__descriptor);
}

Test(message_unpack, ignores_unknown_fields)
{
    const uint8_t data[] = {0xf8, 0x07, 0x01, 0xfa, 0x07, 0x02, 'h', 'i'}; /* fields 127: a number and a text */
    const ProtobufCMessage *message = NULL;
    cr_assert_eq(unpack(&trilith__empty__descriptor, data, sizeof(data), &message), STATUS_OK);
}

Test(message_unpack, refuses_what_is_not_an_encoding)
{
    const uint8_t truncated[] = {0x0a, 0x05, 'a', 'b'};
    const uint8_t overlong[] = {0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    const ProtobufCMessage *message = NULL;
    cr_assert_eq(unpack(&trilith__bucket_get_request__descriptor, truncated, sizeof(truncated), &message),
                 STATUS_INVALID);
    cr_assert_eq(unpack(&trilith__bucket_get_request__descriptor, overlong, sizeof(overlong), &message),
                 STATUS_INVALID);
    cr_assert_null(message);
}

/* The densest honest message must fit into the memory it is given. */
Test(message_unpack, takes_a_map_of_the_smallest_placement_groups)
{
    const uint8_t pg[] = {0x22, 0x07, 0x08, 0x01, 0x12, 0x03, 0x01, 0x02, 0x03};
    const size_t count = FRAME_MESSAGE_BYTES_MAX / sizeof(pg);
    uint8_t *data = malloc(count * sizeof(pg));
    for (size_t i = 0; i < count; i++) {
        memcpy(data + i * sizeof(pg), pg, sizeof(pg));
    }
    const ProtobufCMessage *message = NULL;
    cr_assert_eq(unpack(&trilith__map__descriptor, data, count * sizeof(pg), &message), STATUS_OK);
    cr_assert_eq(((const Trilith__Map *)(const void *)message)->n_pgs, count);
    free(data);
}

/* Two bytes each, and every one of them wants a struct: 4 MiB of wishes per 100 KiB of message. */
Test(message_unpack, refuses_a_message_that_swells_beyond_its_limit)
{
    const size_t bytes = KIB(512);
    uint8_t *data = malloc(bytes);
    for (size_t i = 0; i < bytes; i += 2) {
        data[i] = 0x12; /* repeated nodes, each empty */
        data[i + 1] = 0x00;
    }
    const ProtobufCMessage *message = NULL;
    cr_assert_eq(unpack(&trilith__map__descriptor, data, bytes, &message), STATUS_TOO_LARGE);
    cr_assert_leq(pool.held_bytes, message_unpacked_bytes_max((uint32_t)bytes) + KIB(16));
    free(data);
}

Test(message_unpack, reports_a_pool_that_is_used_up_as_busy)
{
    pool.held_bytes_max = 0;
    const uint8_t data[] = {0x12, 0x01, 'a'};
    const ProtobufCMessage *message = NULL;
    cr_assert_eq(unpack(&trilith__bucket_get_request__descriptor, data, sizeof(data), &message), STATUS_BUSY);
}

/* ---- arenas ---------------------------------------------------------------------------------- */

TestSuite(arena, .init = setup, .fini = teardown);

Test(arena, hands_out_aligned_pieces_that_do_not_overlap)
{
    uint8_t *pieces[200];
    arena_init(&arena, &pool, MIB(8));
    for (size_t i = 0; i < ARRAY_LENGTH(pieces); i++) {
        size_t bytes = i * 100;
        pieces[i] = arena_take(&arena, bytes);
        cr_assert_not_null(pieces[i]);
        cr_assert_eq((uintptr_t)pieces[i] % 16, 0);
        memset(pieces[i], (int)i, bytes);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(pieces); i++) {
        for (size_t at = 0; at < i * 100; at++) {
            cr_assert_eq(pieces[i][at], (uint8_t)i);
        }
    }
}

Test(arena, never_hands_out_more_than_its_limit)
{
    arena_init(&arena, &pool, 1000);
    cr_assert_null(arena_take(&arena, SIZE_MAX));
    cr_assert_null(arena_take(&arena, 1001));
    cr_assert_not_null(arena_take(&arena, 900));
    cr_assert_null(arena_take(&arena, 200));
    cr_assert_eq(arena_refusal(&arena), STATUS_TOO_LARGE);
    cr_assert_not_null(arena_take(&arena, 50));
}

Test(arena, keeps_chunks_for_the_next_message)
{
    arena_init(&arena, &pool, MIB(1));
    void *first = arena_take(&arena, 100);
    arena_release(&arena, false);
    arena_init(&arena, &pool, MIB(1));
    cr_assert_eq(arena_take(&arena, 100), first);
}

Test(arena, wipes_what_held_a_secret)
{
    arena_init(&arena, &pool, MIB(1));
    uint8_t *secret = arena_take(&arena, 100);
    memset(secret, 0x5a, 100);
    arena_release(&arena, true);
    for (size_t i = 0; i < 100; i++) { /* the chunk is spare now, not freed */
        cr_assert_eq(secret[i], 0);
    }
}
