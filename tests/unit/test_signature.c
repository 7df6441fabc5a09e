/* test_signature.c - Ed25519 by the vectors of RFC 8032, what must not verify, and PEM both ways as openssl has it. */
#include "base/digest.h"
#include "base/signature.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

struct ed25519_vector {
    const char *seed;
    const char *public_key;
    const char *message;
    const char *signature;
};

/* RFC 8032, 7.1: TEST 1, 2, 3 and SHA(abc). */
static const struct ed25519_vector rfc8032[] = {
    {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
     "d25bf5f0595bbe24655141438e7a100b"},
    {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
     "387b2eaeb4302aeeb00d291612bb0c00"},
    {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
     "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
     "4a7c15e9716ed28dc027beceea1ec40a"},
    {"833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
     "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
     "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd"
     "454d4423643ce80e2a9ac94fa54ca49f",
     "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e030"
     "3dca179c138ac17ad9bef1177331a704"},
};

/* TEST 1 as `openssl pkey` prints it. */
static const char secret_pem[] = "-----BEGIN PRIVATE KEY-----\n"
                                 "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
                                 "-----END PRIVATE KEY-----\n";
static const char public_pem[] = "-----BEGIN PUBLIC KEY-----\n"
                                 "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
                                 "-----END PUBLIC KEY-----\n";

static struct key seed;
static struct public_key public_key;

static void setup(void)
{
    cr_assert_eq(keys_start_process(), STATUS_OK);
    cr_assert(hex_decode(rfc8032[0].seed, 64, seed.bytes, KEY_BYTES));
    cr_assert(hex_decode(rfc8032[0].public_key, 64, public_key.bytes, PUBLIC_KEY_BYTES));
}

TestSuite(signature, .init = setup);

Test(signature, vectors_of_rfc_8032)
{
    for (size_t i = 0; i < ARRAY_LENGTH(rfc8032); i++) {
        const struct ed25519_vector *vector = &rfc8032[i];
        struct key vector_seed;
        struct public_key made;
        struct signature signature;
        uint8_t message[64];
        char text[2 * SIGNATURE_BYTES + 1];
        size_t bytes = strlen(vector->message) / 2;
        cr_assert(hex_decode(vector->seed, 64, vector_seed.bytes, KEY_BYTES));
        cr_assert(hex_decode(vector->message, 2 * bytes, message, bytes));
        signature_public_key(&vector_seed, &made);
        hex_encode(made.bytes, PUBLIC_KEY_BYTES, text);
        cr_assert_str_eq(text, vector->public_key);
        signature_sign(&vector_seed, message, bytes, &signature);
        hex_encode(signature.bytes, SIGNATURE_BYTES, text);
        cr_assert_str_eq(text, vector->signature);
        cr_assert(signature_verify(&made, message, bytes, &signature));
    }
}

Test(signature, any_changed_bit_is_refused)
{
    uint8_t message[] = "one message";
    struct signature signature;
    signature_sign(&seed, message, sizeof(message), &signature);
    for (size_t bit = 0; bit < 8 * sizeof(message); bit++) {
        message[bit / 8] ^= (uint8_t)(1 << bit % 8);
        cr_assert_not(signature_verify(&public_key, message, sizeof(message), &signature));
        message[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t bit = 0; bit < 8 * SIGNATURE_BYTES; bit++) {
        signature.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        cr_assert_not(signature_verify(&public_key, message, sizeof(message), &signature));
        signature.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t bit = 0; bit < 8 * PUBLIC_KEY_BYTES; bit++) {
        struct public_key other = public_key;
        other.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        cr_assert_not(signature_verify(&other, message, sizeof(message), &signature));
    }
    cr_assert_not(signature_verify(&public_key, message, sizeof(message) - 1, &signature));
    cr_assert(signature_verify(&public_key, message, sizeof(message), &signature));
}

/* S + L verifies the same equation: whoever takes both has two signatures for one message. */
Test(signature, s_out_of_range_is_refused)
{
    static const uint8_t order[32] = {0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58,       0xd6,
                                      0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, [31] = 0x10};
    struct signature signature;
    signature_sign(&seed, "", 0, &signature);
    unsigned carry = 0;
    for (unsigned i = 0; i < 32; i++) {
        carry += (unsigned)signature.bytes[32 + i] + order[i];
        signature.bytes[32 + i] = (uint8_t)carry;
        carry >>= 8;
    }
    cr_assert_eq(carry, 0);
    cr_assert_not(signature_verify(&public_key, "", 0, &signature));
}

/* With the neutral element for a key and for R, S = 0 would fit every message. */
Test(signature, keys_of_small_order_are_refused)
{
    struct public_key neutral = {{1}};
    struct signature signature = {{1}};
    cr_assert_not(signature_verify(&neutral, "anything", 8, &signature));
}

Test(signature, pem_is_what_openssl_writes)
{
    char pem[PUBLIC_KEY_PEM_BYTES];
    struct public_key read;
    public_key_to_pem(&public_key, pem);
    cr_assert_str_eq(pem, public_pem);
    cr_assert_eq(public_key_from_pem(public_pem, strlen(public_pem), &read), STATUS_OK);
    cr_assert_arr_eq(read.bytes, public_key.bytes, PUBLIC_KEY_BYTES);
    cr_assert_eq(public_key_from_pem(public_pem, strlen(public_pem) - 1, &read), STATUS_OK);

    char secret[SECRET_KEY_PEM_BYTES];
    struct key read_seed;
    secret_key_to_pem(&seed, secret);
    cr_assert_str_eq(secret, secret_pem);
    cr_assert_eq(secret_key_from_pem(secret_pem, strlen(secret_pem), &read_seed), STATUS_OK);
    cr_assert_arr_eq(read_seed.bytes, seed.bytes, KEY_BYTES);
}

Test(signature, any_other_pem_is_refused)
{
    struct public_key read;
    struct key read_seed;
    size_t bytes = strlen(public_pem);
    for (size_t cut = 2; cut <= bytes; cut++) {
        cr_assert_eq(public_key_from_pem(public_pem, bytes - cut, &read), STATUS_INVALID);
    }
    char longer[PUBLIC_KEY_PEM_BYTES];
    memcpy(longer, public_pem, bytes);
    memcpy(longer + bytes, "\n", 2);
    cr_assert_eq(public_key_from_pem(longer, bytes + 1, &read), STATUS_INVALID);
    /* Outside of the key's own characters every byte is fixed. */
    for (size_t i = 0; i < bytes; i++) {
        char changed[PUBLIC_KEY_PEM_BYTES];
        memcpy(changed, public_pem, bytes);
        changed[i] = '*';
        cr_assert_eq(public_key_from_pem(changed, bytes, &read), STATUS_INVALID, "byte %zu", i);
    }
    cr_assert_eq(public_key_from_pem(secret_pem, strlen(secret_pem), &read), STATUS_INVALID);
    cr_assert_eq(secret_key_from_pem(public_pem, strlen(public_pem), &read_seed), STATUS_INVALID);
    /* An X25519 key of the same length: another algorithm. */
    static const char x25519[] = "-----BEGIN PUBLIC KEY-----\n"
                                 "MCowBQYDK2VuAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
                                 "-----END PUBLIC KEY-----\n";
    cr_assert_eq(public_key_from_pem(x25519, strlen(x25519), &read), STATUS_INVALID);
}

Test(signature, several_keys_in_one_file)
{
    struct public_key keys[2];
    size_t count = 0;
    char file[3 * PUBLIC_KEY_PEM_BYTES];
    snprintf(file, sizeof(file), "%s\n%s", public_pem, public_pem);
    cr_assert_eq(public_keys_from_pem(file, strlen(file), keys, 2, &count), STATUS_OK);
    cr_assert_eq(count, 2);
    cr_assert_arr_eq(keys[1].bytes, public_key.bytes, PUBLIC_KEY_BYTES);
    cr_assert_eq(public_keys_from_pem(file, strlen(file), keys, 1, &count), STATUS_INVALID);
    cr_assert_eq(public_keys_from_pem(file, strlen(file) - 3, keys, 2, &count), STATUS_INVALID);
    cr_assert_eq(public_keys_from_pem("", 0, keys, 2, &count), STATUS_INVALID);
    snprintf(file, sizeof(file), "%sjunk", public_pem);
    cr_assert_eq(public_keys_from_pem(file, strlen(file), keys, 2, &count), STATUS_INVALID);
}
