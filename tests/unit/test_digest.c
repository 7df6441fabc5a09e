/* test_digest.c - published vectors of the digests, and strict hex and base64. */
#include "base/digest.h"

#include <criterion/criterion.h>
#include <string.h>

static void expect_hex(const uint8_t *result, size_t bytes, const char *expected)
{
    char text[2 * DIGEST_BYTES_MAX + 1];
    hex_encode(result, bytes, text);
    cr_assert_str_eq(text, expected);
}

static void expect_digest(enum digest_kind kind, const char *data, const char *expected)
{
    struct digest digest;
    uint8_t result[DIGEST_BYTES_MAX];
    digest_begin(&digest, kind);
    digest_update(&digest, data, strlen(data));
    digest_end(&digest, result);
    expect_hex(result, digest_bytes(kind), expected);
}

Test(digest, vectors_of_fips_180_and_rfc_1321)
{
    expect_digest(DIGEST_SHA256, "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    expect_digest(DIGEST_SHA256, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    expect_digest(DIGEST_SHA256, "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    expect_digest(DIGEST_SHA1, "abc", "a9993e364706816aba3e25717850c26c9cd0d89d");
    expect_digest(DIGEST_SHA1, "", "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    expect_digest(DIGEST_MD5, "", "d41d8cd98f00b204e9800998ecf8427e");
    expect_digest(DIGEST_MD5, "abc", "900150983cd24fb0d6963f7d28e17f72");
    expect_digest(DIGEST_MD5, "message digest", "f96b697d7cb7938d525a2f31aaf161d0");
}

Test(digest, pieces_are_the_whole)
{
    char data[300];
    memset(data, 'a', sizeof(data));
    uint8_t whole[SHA256_BYTES];
    sha256(data, sizeof(data), whole);
    for (size_t cut = 0; cut <= sizeof(data); cut += 37) {
        struct digest digest;
        uint8_t result[SHA256_BYTES];
        digest_begin(&digest, DIGEST_SHA256);
        digest_update(&digest, data, cut);
        digest_update(&digest, data + cut, sizeof(data) - cut);
        digest_end(&digest, result);
        cr_assert_arr_eq(result, whole, SHA256_BYTES);
        cr_assert_null(digest.handle);
    }
}

Test(digest, can_be_abandoned_at_any_time)
{
    struct digest digest = {0};
    digest_abandon(&digest);
    digest_begin(&digest, DIGEST_MD5);
    digest_update(&digest, "abc", 3);
    digest_abandon(&digest);
    digest_abandon(&digest);
}

Test(digest, hmac_vectors_of_rfc_4231)
{
    uint8_t key[131];
    uint8_t result[SHA256_BYTES];
    memset(key, 0x0b, 20);
    hmac_sha256(key, 20, "Hi There", 8, result);
    expect_hex(result, SHA256_BYTES, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, result);
    expect_hex(result, SHA256_BYTES, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof(key));
    const char *text = "Test Using Larger Than Block-Size Key - Hash Key First";
    hmac_sha256(key, sizeof(key), text, strlen(text), result);
    expect_hex(result, SHA256_BYTES, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

Test(digest, hex_is_exact)
{
    uint8_t bytes[3];
    cr_assert(hex_decode("00aBfF", 6, bytes, 3));
    cr_assert(bytes[0] == 0 && bytes[1] == 0xab && bytes[2] == 0xff);
    cr_assert_not(hex_decode("00aBf", 5, bytes, 3));
    cr_assert_not(hex_decode("00aBfF00", 8, bytes, 3));
    cr_assert_not(hex_decode("00aBfg", 6, bytes, 3));
    cr_assert_not(hex_decode("00 aBf", 6, bytes, 3));
    cr_assert_not(hex_decode("00aB\0f", 6, bytes, 3));
    cr_assert(hex_decode("", 0, bytes, 0));
}

Test(digest, base64_vectors_of_rfc_4648)
{
    static const char *const vectors[][2] = {{"", ""},
                                             {"f", "Zg=="},
                                             {"fo", "Zm8="},
                                             {"foo", "Zm9v"},
                                             {"foob", "Zm9vYg=="},
                                             {"fooba", "Zm9vYmE="},
                                             {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < ARRAY_LENGTH(vectors); i++) {
        size_t bytes = strlen(vectors[i][0]);
        char text[16];
        uint8_t data[8];
        base64_encode((const uint8_t *)vectors[i][0], bytes, text);
        cr_assert_str_eq(text, vectors[i][1]);
        cr_assert(base64_decode(text, strlen(text), data, bytes));
        cr_assert_arr_eq(data, vectors[i][0], bytes);
    }
}

Test(digest, base64_refuses_what_is_not_canonical)
{
    uint8_t data[8];
    cr_assert_not(base64_decode("Zg==", 4, data, 2), "too short");
    cr_assert_not(base64_decode("Zm8=", 4, data, 1), "too long");
    cr_assert_not(base64_decode("Zh==", 4, data, 1), "bits behind the end");
    cr_assert_not(base64_decode("Zg", 2, data, 1), "no padding");
    cr_assert_not(base64_decode("Zg= ", 4, data, 1), "blank");
    cr_assert_not(base64_decode("Z\ng=", 4, data, 1), "line end");
    cr_assert_not(base64_decode("_-==", 4, data, 1), "the other alphabet");
    cr_assert_not(base64_decode("Zg==Zg==", 8, data, 4), "padding inside");
}

Test(digest, constant_time_comparison_compares)
{
    cr_assert(equal_constant_time("abc", "abc", 3));
    cr_assert_not(equal_constant_time("abc", "abd", 3));
    cr_assert(equal_constant_time("abc", "abd", 2));
    cr_assert(equal_constant_time("a", "b", 0));
}
