/* test_transport.c - secrets on their way to a private key: they arrive, nothing else does, and openssl agrees. */
#include "base/keys.h"
#include "base/transport.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint8_t *private_key;
static size_t private_bytes;
static char pem[TRANSPORT_PEM_BYTES];
static char directory[] = "/tmp/trilith-test-transport-XXXXXX";
static const uint8_t secret[32] = "thirty-two bytes of secret here";

static void setup(void)
{
    cr_assert_eq(keys_start_process(), STATUS_OK);
    private_key = guarded_take(TRANSPORT_PRIVATE_BYTES_MAX);
    cr_assert_not_null(private_key);
    cr_assert_eq(transport_make(private_key, &private_bytes, pem), STATUS_OK);
    cr_assert_not_null(mkdtemp(directory));
}

static void teardown(void)
{
    char command[256];
    guarded_release(private_key);
    (void)snprintf(command, sizeof(command), "rm -rf %s", directory);
    cr_assert_eq(system(command), 0);
}

TestSuite(transport, .init = setup, .fini = teardown);

static void write_file(const char *name, const void *content, size_t bytes)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(content, 1, bytes, file), bytes);
    cr_assert_eq(fclose(file), 0);
}

static size_t read_file(const char *name, void *content, size_t capacity)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file);
    size_t bytes = fread(content, 1, capacity, file);
    (void)fclose(file);
    return bytes;
}

/* Run openssl in the directory. Its absence is a failure: the tests' packages bring it. */
static void run_openssl(const char *arguments)
{
    char command[512];
    (void)snprintf(command, sizeof(command), "cd %s && openssl %s >output 2>&1 || { cat output; exit 1; }", directory,
                   arguments);
    cr_assert_eq(system(command), 0, "openssl %s", arguments);
}

static enum status decrypt(const void *wrapped, size_t bytes, uint8_t got[64], size_t *got_bytes)
{
    return transport_decrypt(private_key, private_bytes, wrapped, bytes, got, 64, got_bytes);
}

Test(transport, brings_a_secret_to_the_private_key)
{
    uint8_t wrapped[TRANSPORT_WRAPPED_BYTES_MAX];
    uint8_t again[TRANSPORT_WRAPPED_BYTES_MAX];
    uint8_t got[64];
    size_t wrapped_bytes = 0;
    size_t got_bytes = 0;
    cr_assert_eq(transport_encrypt(pem, TRANSPORT_SHA256, secret, sizeof(secret), wrapped, &wrapped_bytes), STATUS_OK);
    cr_assert_eq(wrapped_bytes, TRANSPORT_BITS / 8);
    cr_assert_eq(decrypt(wrapped, wrapped_bytes, got, &got_bytes), STATUS_OK);
    cr_assert_eq(got_bytes, sizeof(secret));
    cr_assert_arr_eq(got, secret, sizeof(secret));
    cr_assert_eq(transport_encrypt(pem, TRANSPORT_SHA256, secret, sizeof(secret), again, &wrapped_bytes), STATUS_OK);
    cr_assert_neq(memcmp(wrapped, again, wrapped_bytes), 0, "OAEP is randomised");
}

Test(transport, opens_nothing_that_was_changed_or_meant_otherwise)
{
    uint8_t wrapped[TRANSPORT_WRAPPED_BYTES_MAX];
    uint8_t got[64];
    size_t bytes = 0;
    size_t got_bytes = 0;
    cr_assert_eq(transport_encrypt(pem, TRANSPORT_SHA256, secret, sizeof(secret), wrapped, &bytes), STATUS_OK);
    for (size_t at = 0; at < bytes; at += 37) {
        wrapped[at] ^= 0x10;
        cr_assert_eq(decrypt(wrapped, bytes, got, &got_bytes), STATUS_DENIED, "byte %zu", at);
        wrapped[at] ^= 0x10;
    }
    cr_assert_eq(decrypt(wrapped, bytes - 1, got, &got_bytes), STATUS_DENIED);
    cr_assert_eq(decrypt(wrapped, 0, got, &got_bytes), STATUS_DENIED);
    cr_assert_eq(transport_decrypt(private_key, private_bytes, wrapped, bytes, got, sizeof(secret) - 1, &got_bytes),
                 STATUS_DENIED, "longer than there is room for");

    cr_assert_eq(transport_encrypt(pem, TRANSPORT_SHA1, secret, sizeof(secret), wrapped, &bytes), STATUS_OK);
    cr_assert_eq(decrypt(wrapped, bytes, got, &got_bytes), STATUS_DENIED, "another hash");

    char other_pem[TRANSPORT_PEM_BYTES];
    uint8_t *other = guarded_take(TRANSPORT_PRIVATE_BYTES_MAX);
    size_t other_bytes = 0;
    cr_assert_eq(transport_make(other, &other_bytes, other_pem), STATUS_OK);
    cr_assert_str_neq(pem, other_pem);
    cr_assert_eq(transport_encrypt(other_pem, TRANSPORT_SHA256, secret, sizeof(secret), wrapped, &bytes), STATUS_OK);
    cr_assert_eq(decrypt(wrapped, bytes, got, &got_bytes), STATUS_DENIED, "another key");
    guarded_release(other);
}

Test(transport, refuses_what_is_no_key_and_no_secret)
{
    /* A key, but not RSA. */
    static const char ed25519[] = "-----BEGIN PUBLIC KEY-----\n"
                                  "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
                                  "-----END PUBLIC KEY-----\n";
    static const char empty[] = "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n";
    static const char *const texts[] = {"", "no key", empty, ed25519};
    static const uint8_t long_secret[TRANSPORT_SECRET_BYTES_MAX + 1];
    uint8_t wrapped[TRANSPORT_WRAPPED_BYTES_MAX];
    size_t bytes = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        cr_assert_eq(transport_encrypt(texts[i], TRANSPORT_SHA256, secret, 32, wrapped, &bytes), STATUS_INVALID, "%zu",
                     i);
    }
    cr_assert_eq(transport_encrypt(pem, "RSA-PKCS1", secret, 32, wrapped, &bytes), STATUS_INVALID);
    cr_assert_eq(transport_encrypt(pem, TRANSPORT_SHA256, long_secret, sizeof(long_secret), wrapped, &bytes),
                 STATUS_TOO_LARGE);
    cr_assert_eq(transport_encrypt(pem, TRANSPORT_SHA256, long_secret, TRANSPORT_SECRET_BYTES_MAX, wrapped, &bytes),
                 STATUS_OK);

    run_openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out small");
    run_openssl("pkey -in small -pubout -out small.pem");
    char small[2048] = {0};
    (void)read_file("small.pem", small, sizeof(small) - 1);
    cr_assert_eq(transport_encrypt(small, TRANSPORT_SHA256, secret, 32, wrapped, &bytes), STATUS_INVALID, "1024 bits");
}

Test(transport, knows_its_private_key_again_and_no_other_bytes)
{
    char again[TRANSPORT_PEM_BYTES];
    uint8_t wrapped[TRANSPORT_BITS / 8] = {1};
    uint8_t got[64];
    size_t got_bytes = 0;
    cr_assert_eq(transport_public(private_key, private_bytes, again), STATUS_OK);
    cr_assert_str_eq(again, pem);
    cr_assert_eq(transport_public(private_key, private_bytes - 1, again), STATUS_INVALID);
    cr_assert_eq(transport_public(private_key, 0, again), STATUS_INVALID);
    cr_assert_eq(transport_public("(3:abc)", 7, again), STATUS_INVALID);
    private_key[private_bytes - 300] ^= 1; /* In a prime. */
    cr_assert_eq(transport_public(private_key, private_bytes, again), STATUS_INVALID, "the numbers no longer fit");
    cr_assert_eq(decrypt(wrapped, sizeof(wrapped), got, &got_bytes), STATUS_INVALID);
}

Test(transport, takes_what_openssl_encrypted)
{
    uint8_t wrapped[TRANSPORT_WRAPPED_BYTES_MAX];
    uint8_t got[64];
    size_t got_bytes = 0;
    write_file("key.pem", pem, strlen(pem));
    write_file("secret", secret, sizeof(secret));
    run_openssl("pkeyutl -encrypt -pubin -inkey key.pem -in secret -out wrapped "
                "-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256");
    size_t bytes = read_file("wrapped", wrapped, sizeof(wrapped));
    cr_assert_eq(decrypt(wrapped, bytes, got, &got_bytes), STATUS_OK);
    cr_assert_eq(got_bytes, sizeof(secret));
    cr_assert_arr_eq(got, secret, sizeof(secret));
}

Test(transport, is_read_by_openssl)
{
    static const char *const algorithms[] = {TRANSPORT_SHA256, TRANSPORT_SHA1};
    static const char *const options[] = {"-pkeyopt rsa_oaep_md:sha256", "-pkeyopt rsa_oaep_md:sha1"};
    static const unsigned sizes[] = {2048, 2056, 3072};
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        char arguments[256];
        char public_pem[2048] = {0};
        (void)snprintf(arguments, sizeof(arguments), "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:%u -out key",
                       sizes[i]);
        run_openssl(arguments);
        run_openssl("pkey -in key -pubout -out public.pem");
        (void)read_file("public.pem", public_pem, sizeof(public_pem) - 1);
        for (size_t k = 0; k < ARRAY_LENGTH(algorithms); k++) {
            uint8_t wrapped[TRANSPORT_WRAPPED_BYTES_MAX];
            uint8_t got[64];
            size_t bytes = 0;
            cr_assert_eq(transport_encrypt(public_pem, algorithms[k], secret, sizeof(secret), wrapped, &bytes),
                         STATUS_OK);
            cr_assert_eq(bytes, sizes[i] / 8);
            write_file("wrapped", wrapped, bytes);
            (void)snprintf(arguments, sizeof(arguments),
                           "pkeyutl -decrypt -inkey key -in wrapped -out plain -pkeyopt rsa_padding_mode:oaep %s",
                           options[k]);
            run_openssl(arguments);
            cr_assert_eq(read_file("plain", got, sizeof(got)), sizeof(secret));
            cr_assert_arr_eq(got, secret, sizeof(secret));
        }
    }
}
