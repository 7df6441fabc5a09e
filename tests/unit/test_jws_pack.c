/* test_jws_pack.c - what is packed comes back to the byte, is much shorter, and damage is refused or shows in what
 * comes out. */
#include "base/jws_pack.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct signature signature = {.bytes = {1, 2, 3, 255}};

/* A payload with much that repeats and an id that does not. */
static char *plain_make(unsigned seed, unsigned entries, size_t *bytes)
{
    static char payload[KIB(200)];
    size_t used = (size_t)snprintf(payload, sizeof(payload), "{\"entries\":[");
    for (unsigned i = 0; i < entries; i++) {
        used += (size_t)snprintf(payload + used, sizeof(payload) - used,
                                 "%s{\"digest\":\"%08x%08x%08x\",\"technique\":\"overwrite\"}", i > 0 ? "," : "",
                                 (seed + i) * 2654435761u, (seed + i) * 40503u, ~seed * (i + 1) * 97u);
    }
    used += (size_t)snprintf(payload + used, sizeof(payload) - used, "]}");
    char *plain = jws_plain("some+jws", "cluster/1", payload, used, bytes);
    cr_assert_not_null(plain);
    return plain;
}

static void round_trip(unsigned entries, const char *dictionary, size_t dictionary_bytes, size_t *packed_bytes)
{
    size_t bytes = 0, back_bytes = 0;
    char *plain = plain_make(7, entries, &bytes);
    char *back = NULL;
    struct signature read = {{0}};
    uint8_t *packed = jws_pack(plain, bytes, &signature, dictionary, dictionary_bytes, packed_bytes);
    cr_assert_not_null(packed);
    cr_assert_eq(jws_unpack_plain(packed, *packed_bytes, dictionary, dictionary_bytes, &back, &back_bytes, &read),
                 STATUS_OK);
    cr_assert_eq(back_bytes, bytes);
    cr_assert_arr_eq(back, plain, bytes);
    cr_assert_arr_eq(read.bytes, signature.bytes, SIGNATURE_BYTES);
    free(back);
    free(packed);
    free(plain);
}

Test(jws_pack, comes_back_to_the_byte)
{
    size_t packed_bytes = 0;
    for (unsigned entries = 0; entries < 40; entries++) {
        round_trip(entries, NULL, 0, &packed_bytes);
    }
    round_trip(2000, NULL, 0, &packed_bytes);
}

Test(jws_pack, a_dictionary_makes_it_shorter)
{
    size_t alone_bytes = 0, packed_bytes = 0, dictionary_bytes = 0;
    char *dictionary = plain_make(7, 60, &dictionary_bytes);
    round_trip(60, NULL, 0, &alone_bytes);
    round_trip(60, dictionary, dictionary_bytes, &packed_bytes);
    cr_assert_lt(packed_bytes, alone_bytes / 3);
    free(dictionary);
    dictionary = plain_make(7, 2000, &dictionary_bytes); /* Longer than deflate looks back. */
    cr_assert_gt(dictionary_bytes, JWS_DICTIONARY_MAX);
    round_trip(60, dictionary, dictionary_bytes, &packed_bytes);
    free(dictionary);
}

Test(jws_pack, is_the_same_jws)
{
    static const char payload[] = "{\"a\":1,\"b\":\"text\"}";
    size_t plain_bytes = 0, packed_bytes = 0;
    char *input = jws_signing_input("some+jws", "cluster/1", payload, strlen(payload));
    char *text = jws_finish(input, &signature);
    char *plain = jws_plain("some+jws", "cluster/1", payload, strlen(payload), &plain_bytes);
    uint8_t *packed = jws_pack(plain, plain_bytes, &signature, NULL, 0, &packed_bytes);
    char *back = NULL;
    cr_assert_eq(jws_unpack(packed, packed_bytes, NULL, 0, &back), STATUS_OK);
    cr_assert_str_eq(back, text);
    free(back);
    free(packed);
    free(plain);
    free(text);
    free(input);
}

Test(jws_pack, what_is_damaged_is_not_taken_for_the_same)
{
    size_t bytes = 0, packed_bytes = 0;
    char *plain = plain_make(3, 20, &bytes);
    uint8_t *packed = jws_pack(plain, bytes, &signature, NULL, 0, &packed_bytes);
    size_t unnoticed = 0;
    for (size_t cut = 0; cut < packed_bytes; cut++) {
        char *back = NULL;
        size_t back_bytes = 0;
        cr_assert_neq(jws_unpack_plain(packed, cut, NULL, 0, &back, &back_bytes, NULL), STATUS_OK);
    }
    for (size_t i = 0; i < packed_bytes; i++) {
        char *back = NULL;
        size_t back_bytes = 0;
        struct signature read;
        packed[i] ^= 0x10;
        if (jws_unpack_plain(packed, packed_bytes, NULL, 0, &back, &back_bytes, &read) == STATUS_OK) {
            bool is_same = back_bytes == bytes && memcmp(back, plain, bytes) == 0 &&
                           memcmp(read.bytes, signature.bytes, SIGNATURE_BYTES) == 0;
            /* Of a text that repeats itself there is more than one way to write it; but not of what stands before
             * it. */
            cr_assert(!is_same || i >= 1 + SIGNATURE_BYTES + 4, "byte %zu", i);
            unnoticed += is_same ? 1 : 0;
            free(back);
        }
        packed[i] ^= 0x10;
    }
    cr_assert_lt(unnoticed, packed_bytes / 10);
    free(packed);
    free(plain);
}

Test(jws_pack, without_its_dictionary_it_does_not_come_back)
{
    size_t bytes = 0, packed_bytes = 0, back_bytes = 0;
    char *plain = plain_make(3, 20, &bytes);
    uint8_t *packed = jws_pack(plain, bytes, &signature, plain, bytes, &packed_bytes);
    char *back = NULL;
    cr_assert_neq(jws_unpack_plain(packed, packed_bytes, NULL, 0, &back, &back_bytes, NULL), STATUS_OK);
    free(packed);
    free(plain);
}
