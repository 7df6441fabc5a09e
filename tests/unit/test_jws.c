/* test_jws.c - canonical JSON has one spelling, a JWS has one spelling, and nothing else is taken. */
#include "base/jws.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct key seed;
static struct public_key public_key;

static void setup(void)
{
    cr_assert_eq(keys_start_process(), STATUS_OK);
    for (unsigned i = 0; i < KEY_BYTES; i++) {
        seed.bytes[i] = (uint8_t)i;
    }
    signature_public_key(&seed, &public_key);
}

TestSuite(jws, .init = setup);
TestSuite(json);
TestSuite(base64url);

/* ---- base64url --------------------------------------------------------------------------------- */

Test(base64url, vectors_of_rfc_4648)
{
    static const char *const pairs[][2] = {
        {"", ""},           {"f", "Zg"},          {"fo", "Zm8"},         {"foo", "Zm9v"},
        {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < ARRAY_LENGTH(pairs); i++) {
        char text[16];
        uint8_t data[8];
        size_t bytes = sizeof(data);
        base64url_encode(pairs[i][0], strlen(pairs[i][0]), text);
        cr_assert_str_eq(text, pairs[i][1]);
        cr_assert(base64url_decode(pairs[i][1], strlen(pairs[i][1]), data, &bytes));
        cr_assert_eq(bytes, strlen(pairs[i][0]));
        cr_assert_arr_eq(data, pairs[i][0], bytes);
    }
    char text[8];
    base64url_encode("\xfb\xff", 2, text);
    cr_assert_str_eq(text, "-_8");
}

Test(base64url, has_one_text_for_each_value)
{
    /* All texts of two and of three characters: those that decode must be what encoding gives. */
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=. \n";
    unsigned good = 0;
    for (size_t a = 0; a < sizeof(alphabet); a++) {
        for (size_t b = 0; b < sizeof(alphabet); b++) {
            for (size_t c = 0; c <= sizeof(alphabet); c++) {
                char text[3] = {alphabet[a], alphabet[b], c < sizeof(alphabet) ? alphabet[c] : 0};
                size_t text_bytes = c < sizeof(alphabet) ? 3 : 2;
                uint8_t data[4];
                char again[8];
                size_t bytes = sizeof(data);
                if (!base64url_decode(text, text_bytes, data, &bytes)) {
                    continue;
                }
                base64url_encode(data, bytes, again);
                cr_assert_eq(strlen(again), text_bytes);
                cr_assert_arr_eq(again, text, text_bytes);
                good++;
            }
        }
    }
    cr_assert_eq(good, 256 + 65536);
}

Test(base64url, refuses_padding_a_lone_character_and_too_much)
{
    uint8_t data[3];
    size_t bytes = sizeof(data);
    cr_assert_not(base64url_decode("Zg==", 4, data, &bytes));
    bytes = sizeof(data);
    cr_assert_not(base64url_decode("Z", 1, data, &bytes));
    bytes = sizeof(data);
    cr_assert_not(base64url_decode("Zm9vYg", 6, data, &bytes));
    bytes = 0;
    cr_assert(base64url_decode("", 0, data, &bytes));
}

/* ---- canonical JSON ---------------------------------------------------------------------------- */

static bool is_canonical(const char *text, size_t bytes)
{
    json_t *value = json_from_canonical(text, bytes);
    json_decref(value);
    return value != NULL;
}

Test(json, canonical_text_is_taken)
{
    static const char *const texts[] = {
        "{}",
        "[]",
        "{\"a\":1,\"b\":[true,false,null],\"c\":{\"d\":\"e\"}}",
        "[-1,0,9007199254740991,-9007199254740991]",
        "{\"A\":1,\"a\":2,\"aa\":3,\"b\":4}",
        "[\"\\\"\\\\/\"]",
        "[\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"]",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        cr_assert(is_canonical(texts[i], strlen(texts[i])), "%s", texts[i]);
    }
}

Test(json, any_other_spelling_is_refused)
{
    static const char *const texts[] = {
        "",
        "1",
        "\"a\"",
        "null",
        "{\"b\":1,\"a\":2}", /* order */
        "{ \"a\":1}",        /* white space */
        "{\"a\": 1}",
        "{\"a\":1}\n",
        " {\"a\":1}",
        "{\"a\":1,\"a\":1}", /* twice */
        "[1.0]",             /* reals */
        "[1e2]",
        "[-0]",
        "[-0.0]",
        "[01]",
        "[9007199254740992]", /* beyond what all readers keep */
        "[-9007199254740992]",
        "[99999999999999999999]",
        "[\"\\u0061\"]", /* escapes that need not be */
        "[\"\\/\"]",
        "[\"\\u00e9\"]",
        "[\"\\n\"]", /* control characters */
        "[\"\\u0001\"]",
        "[\"\\u0000\"]",
        "[\"\x7f\"]",
        "[\"\xc2\x85\"]",
        "{\"\\t\":1}",
        "[\"\xff\"]", /* not UTF-8 */
        "[\"\xc0\xaf\"]",
        "[\"\xed\xa0\x80\"]",
        "[\"\xc3\"]",
        "{\"a\":1,}",
        "{\"a\":1}}",
        "{\"a\":1}{}",
        "{'a':1}",
        "[tRue]",
        "[NaN]",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        cr_assert_not(is_canonical(texts[i], strlen(texts[i])), "%s", texts[i]);
    }
    cr_assert_not(is_canonical("[\"a\0b\"]", 7));
    cr_assert_not(is_canonical("{}\0", 3));
}

Test(json, depth_is_bounded)
{
    char text[2 * JSON_DEPTH_MAX + 3];
    memset(text, '[', JSON_DEPTH_MAX);
    memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    cr_assert(is_canonical(text, 2 * JSON_DEPTH_MAX));
    memset(text, '[', JSON_DEPTH_MAX + 1);
    memset(text + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    cr_assert_not(is_canonical(text, 2 * JSON_DEPTH_MAX + 2));
    static char abyss[100000];
    memset(abyss, '[', sizeof(abyss));
    cr_assert_not(is_canonical(abyss, sizeof(abyss)));
}

Test(json, values_without_canonical_form_are_refused)
{
    size_t bytes = 0;
    cr_assert_null(json_canonical(NULL, &bytes));
    json_t *values[] = {json_pack("{s:f}", "a", 1.5), json_pack("[s]", "a\nb"),
                        json_pack("[o]", json_stringn_nocheck("\xff", 1)), json_pack("[I]", (json_int_t)1 << 53),
                        json_string("a")};
    for (size_t i = 0; i < ARRAY_LENGTH(values); i++) {
        cr_assert_not_null(values[i]);
        cr_assert_null(json_canonical(values[i], &bytes), "value %zu", i);
        json_decref(values[i]);
    }
}

/* ---- JWS --------------------------------------------------------------------------------------- */

static struct signature signature_of(const char *signing_input)
{
    struct signature signature;
    signature_sign(&seed, signing_input, strlen(signing_input), &signature);
    return signature;
}

/* A JWS over any header and payload, signed well. */
static char *signed_over(const char *header, const char *payload)
{
    static char input[4096];
    base64url_encode(header, strlen(header), input);
    strncat(input, ".", 2);
    base64url_encode(payload, strlen(payload), input + strlen(input));
    struct signature signature = signature_of(input);
    return jws_finish(input, &signature);
}

static bool is_taken(const char *text, size_t bytes)
{
    struct jws jws;
    bool taken = jws_open(&jws, text, bytes) == STATUS_OK && jws_verify(&jws, text, &public_key);
    jws_close(&jws);
    return taken;
}

/* RFC 8037, A.4. Its header and payload are not of our form, so the pieces are tested. */
Test(jws, example_of_rfc_8037)
{
    static const char input[] = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    static const char expected[] = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
                                   "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_"
                                   "MuM0KAg";
    char text[64];
    base64url_encode("{\"alg\":\"EdDSA\"}", 15, text);
    cr_assert_arr_eq(text, input, 20);
    struct key example;
    size_t bytes = KEY_BYTES;
    cr_assert(base64url_decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A", 43, example.bytes, &bytes));
    struct signature signature;
    signature_sign(&example, input, strlen(input), &signature);
    char *whole = jws_finish(input, &signature);
    cr_assert_str_eq(whole, expected);
    cr_assert_not(is_taken(whole, strlen(whole)));
    free(whole);
}

Test(jws, what_is_signed_opens_and_verifies)
{
    json_t *payload = json_pack("{s:i, s:s}", "b", 2, "a", "text");
    char *text = jws_sign("erasure-cert+jws", "cluster/1", &seed, payload);
    cr_assert_not_null(text);
    struct jws jws;
    cr_assert_eq(jws_open(&jws, text, strlen(text)), STATUS_OK);
    cr_assert_str_eq(jws.type, "erasure-cert+jws");
    cr_assert_str_eq(jws.kid, "cluster/1");
    cr_assert_str_eq(jws.payload_text, "{\"a\":\"text\",\"b\":2}");
    cr_assert_eq(jws.payload_bytes, strlen(jws.payload_text));
    cr_assert(json_equal(jws.payload, payload));
    cr_assert(jws_verify(&jws, text, &public_key));
    struct public_key other = public_key;
    other.bytes[0] ^= 1;
    cr_assert_not(jws_verify(&jws, text, &other));
    jws_close(&jws);
    json_decref(payload);
    free(text);
}

Test(jws, every_changed_byte_is_refused)
{
    json_t *payload = json_pack("{s:i, s:s}", "b", 2, "a", "text");
    char *text = jws_sign("erasure-cert+jws", "cluster/1", &seed, payload);
    size_t bytes = strlen(text);
    cr_assert(is_taken(text, bytes));
    for (size_t i = 0; i < bytes; i++) {
        char kept = text[i];
        for (unsigned other = 0; other < 256; other++) {
            if ((char)other != kept) {
                text[i] = (char)other;
                cr_assert_not(is_taken(text, bytes), "byte %zu as %u", i, other);
            }
        }
        text[i] = kept;
    }
    for (size_t cut = 1; cut <= bytes; cut++) {
        cr_assert_not(is_taken(text, bytes - cut));
    }
    json_decref(payload);
    free(text);
}

Test(jws, one_newline_at_the_end_is_allowed)
{
    json_t *payload = json_pack("{}");
    char *text = jws_sign("t", "k", &seed, payload);
    size_t bytes = strlen(text);
    char longer[512];
    snprintf(longer, sizeof(longer), "%s\n\n", text);
    cr_assert(is_taken(longer, bytes));
    cr_assert(is_taken(longer, bytes + 1));
    cr_assert_not(is_taken(longer, bytes + 2));
    snprintf(longer, sizeof(longer), "%s.", text);
    cr_assert_not(is_taken(longer, bytes + 1));
    json_decref(payload);
    free(text);
}

/* Signed by the right key, but in a form that somebody could have spelled differently. */
Test(jws, other_headers_and_payloads_are_refused_though_signed)
{
    static const char *const pairs[][2] = {
        {"{\"alg\":\"none\",\"kid\":\"k\",\"typ\":\"t\"}", "{}"},
        {"{\"alg\":\"HS256\",\"kid\":\"k\",\"typ\":\"t\"}", "{}"},
        {"{\"alg\":\"EdDSAx\",\"kid\":\"k\",\"typ\":\"t\"}", "{}"},
        {"{\"alg\":\"EdDSA\",\"kid\":\"k\"}", "{}"},
        {"{\"alg\":\"EdDSA\",\"kid\":\"\",\"typ\":\"t\"}", "{}"},
        {"{\"alg\":\"EdDSA\",\"kid\":1,\"typ\":\"t\"}", "{}"},
        {"{\"alg\":\"EdDSA\",\"crit\":[],\"kid\":\"k\",\"typ\":\"t\"}", "{}"},
        {"{\"alg\":\"EdDSA\",\"typ\":\"t\",\"kid\":\"k\"}", "{}"},
        {"{\"alg\":\"EdDSA\",\"kid\":\"k\",\"typ\":\"0123456789012345678901234567890123456789abcdefgh\"}", "{}"},
        {"[]", "{}"},
        {"", "{}"},
        {"{\"alg\":\"EdDSA\",\"kid\":\"k\",\"typ\":\"t\"}", "[]"},
        {"{\"alg\":\"EdDSA\",\"kid\":\"k\",\"typ\":\"t\"}", "{ }"},
        {"{\"alg\":\"EdDSA\",\"kid\":\"k\",\"typ\":\"t\"}", "{\"b\":1,\"a\":1}"},
        {"{\"alg\":\"EdDSA\",\"kid\":\"k\",\"typ\":\"t\"}", ""},
    };
    char *good = signed_over("{\"alg\":\"EdDSA\",\"kid\":\"k\",\"typ\":\"t\"}", "{}");
    cr_assert(is_taken(good, strlen(good)));
    free(good);
    for (size_t i = 0; i < ARRAY_LENGTH(pairs); i++) {
        char *text = signed_over(pairs[i][0], pairs[i][1]);
        cr_assert_not(is_taken(text, strlen(text)), "pair %zu", i);
        free(text);
    }
}

Test(jws, names_that_do_not_fit_and_large_payloads_are_refused)
{
    json_t *payload = json_pack("{}");
    char name[JWS_KID_BYTES + 1];
    memset(name, 'k', sizeof(name) - 1);
    name[JWS_KID_BYTES] = '\0';
    cr_assert_null(jws_sign("t", name, &seed, payload));
    cr_assert_null(jws_sign(name, "k", &seed, payload));
    json_decref(payload);

    char *large = malloc(JWS_BYTES_MAX + 2);
    memset(large, 'a', JWS_BYTES_MAX + 2);
    struct jws jws;
    cr_assert_eq(jws_open(&jws, large, JWS_BYTES_MAX + 1), STATUS_TOO_LARGE);
    jws_close(&jws);
    cr_assert_eq(jws_open(&jws, large, JWS_BYTES_MAX), STATUS_INVALID);
    jws_close(&jws);
    cr_assert_null(jws_signing_input("t", "k", large, JWS_BYTES_MAX));
    char *input = jws_signing_input("t", "k", large, JWS_BYTES_MAX / 4 * 3 - 256);
    cr_assert_not_null(input);
    cr_assert_leq(strlen(input) + 87, JWS_BYTES_MAX);
    free(input);
    free(large);
}
