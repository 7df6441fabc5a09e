/* test_checkpoint.c - signed heads: the example of the signed note, several keys, and every change refused. */
#include "base/checkpoint.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define ORIGIN "trilith/0123"

static struct key seeds[2];
static struct public_key keys[2];
static struct checkpoint head = {.origin = ORIGIN, .size = 1205};
static char note[CHECKPOINT_BYTES_MAX];

static void add_signature(const struct checkpoint *checkpoint, unsigned key, char *target)
{
    char text[CHECKPOINT_BYTES_MAX];
    struct signature signature;
    checkpoint_text(checkpoint, text);
    signature_sign(&seeds[key], text, strlen(text), &signature);
    checkpoint_add_signature(checkpoint, &keys[key], &signature, target);
}

static void setup(void)
{
    cr_assert_eq(keys_start_process(), STATUS_OK);
    for (unsigned i = 0; i < 2; i++) {
        memset(seeds[i].bytes, (int)(i + 1), KEY_BYTES);
        signature_public_key(&seeds[i], &keys[i]);
    }
    memset(head.root.bytes, 0x5a, SHA256_BYTES);
    memset(note, 0, sizeof(note));
    add_signature(&head, 0, note);
}

TestSuite(checkpoint, .init = setup);

static enum status open_text(const char *text, const struct public_key *with, size_t count)
{
    struct checkpoint read;
    return checkpoint_open(text, strlen(text), with, count, &read);
}

/* The example of C2SP signed-note and of golang.org/x/mod/sumdb/note. Its text is no checkpoint: the pieces are
 * tested. */
Test(checkpoint, example_of_signed_note)
{
    static const char text[] = "If you think cryptography is the answer to your problem,\n"
                               "then you don't know what your problem is.\n";
    static const char blob_text[] =
        "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
    static const char verifier[] = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    uint8_t key[1 + PUBLIC_KEY_BYTES];
    uint8_t blob[4 + SIGNATURE_BYTES];
    struct public_key public_key;
    struct signature signature;
    cr_assert(base64_decode(strrchr(verifier, '+') + 1, 44, key, sizeof(key)));
    cr_assert(base64_decode(blob_text, strlen(blob_text), blob, sizeof(blob)));
    memcpy(public_key.bytes, key + 1, PUBLIC_KEY_BYTES);
    memcpy(signature.bytes, blob + 4, SIGNATURE_BYTES);
    char made[CHECKPOINT_VERIFIER_BYTES];
    checkpoint_verifier("PeterNeumann", &public_key, made);
    cr_assert_str_eq(made, verifier);
    char id[9];
    hex_encode(blob, 4, id);
    cr_assert_str_eq(id, "c74f20a3");
    cr_assert(signature_verify(&public_key, text, strlen(text), &signature));
}

Test(checkpoint, text_is_three_lines)
{
    char text[CHECKPOINT_BYTES_MAX];
    checkpoint_text(&head, text);
    cr_assert_str_eq(text, ORIGIN "\n1205\nWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=\n");
    cr_assert_eq(strncmp(note, text, strlen(text)), 0);
    cr_assert_eq(strncmp(note + strlen(text), "\n\xe2\x80\x94 " ORIGIN " ", 5 + strlen(ORIGIN) + 1), 0);
}

Test(checkpoint, what_is_signed_opens)
{
    struct checkpoint read;
    cr_assert_eq(checkpoint_open(note, strlen(note), keys, 1, &read), STATUS_OK);
    cr_assert_str_eq(read.origin, ORIGIN);
    cr_assert_eq(read.size, 1205);
    cr_assert_arr_eq(read.root.bytes, head.root.bytes, SHA256_BYTES);
}

Test(checkpoint, one_known_key_is_enough_and_no_known_key_is_not)
{
    cr_assert_eq(open_text(note, &keys[1], 1), STATUS_DENIED);
    cr_assert_eq(open_text(note, keys, 0), STATUS_DENIED);
    cr_assert_eq(open_text(note, keys, 2), STATUS_OK);
    add_signature(&head, 1, note);
    cr_assert_eq(open_text(note, &keys[0], 1), STATUS_OK);
    cr_assert_eq(open_text(note, &keys[1], 1), STATUS_OK);
}

Test(checkpoint, a_bad_line_of_a_known_key_is_refused_beside_a_good_one)
{
    struct checkpoint other = head;
    other.size++;
    char text[CHECKPOINT_BYTES_MAX];
    struct signature signature;
    checkpoint_text(&other, text);
    signature_sign(&seeds[1], text, strlen(text), &signature);
    checkpoint_add_signature(&head, &keys[1], &signature, note);
    cr_assert_eq(open_text(note, keys, 2), STATUS_DENIED);
    cr_assert_eq(open_text(note, keys, 1), STATUS_OK);
}

Test(checkpoint, lines_of_witnesses_are_passed_over)
{
    char longer[CHECKPOINT_BYTES_MAX + 200];
    snprintf(longer, sizeof(longer), "%s\xe2\x80\x94 witness.example/w1 AAAAAAAAAAAAAAAA\n", note);
    cr_assert_eq(open_text(longer, keys, 1), STATUS_OK);
    snprintf(longer, sizeof(longer), "%s\xe2\x80\x94 " ORIGIN " AAAAAAAAAAAAAAAA\n", note);
    cr_assert_eq(open_text(longer, keys, 1), STATUS_OK);
    snprintf(longer, sizeof(longer), "%sjunk\n", note);
    cr_assert_eq(open_text(longer, keys, 1), STATUS_INVALID);
    snprintf(longer, sizeof(longer), "%s\xe2\x80\x94 witness.example/w1 AAAA", note);
    cr_assert_eq(open_text(longer, keys, 1), STATUS_INVALID);
}

Test(checkpoint, every_changed_byte_is_refused)
{
    size_t bytes = strlen(note);
    for (size_t i = 0; i < bytes; i++) {
        char kept = note[i];
        for (unsigned other = 1; other < 256; other++) {
            if ((char)other != kept) {
                note[i] = (char)other;
                struct checkpoint read;
                cr_assert_neq(checkpoint_open(note, bytes, keys, 1, &read), STATUS_OK, "byte %zu as %u", i, other);
            }
        }
        note[i] = kept;
    }
    for (size_t cut = 1; cut <= bytes; cut++) {
        struct checkpoint read;
        cr_assert_neq(checkpoint_open(note, bytes - cut, keys, 1, &read), STATUS_OK);
    }
}

Test(checkpoint, only_the_one_form_of_each_line_is_taken)
{
#define ROOT "WlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo="
    static const char *const heads[] = {
        "\n5\n" ROOT "\n\n",
        "a b\n5\n" ROOT "\n\n",
        "a+b\n5\n" ROOT "\n\n",
        "a\n05\n" ROOT "\n\n",
        "a\n-5\n" ROOT "\n\n",
        "a\n\n" ROOT "\n\n",
        "a\n5 \n" ROOT "\n\n",
        "a\n9223372036854775808\n" ROOT "\n\n",
        "a\n5\nWlpa\n\n",
        "a\n5\n" ROOT "\njunk\n",
        "a\n5\n" ROOT "\nextension\n\n",
        "a\n99999999999999999999\n" ROOT "\n\n",
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678\n5\n" ROOT "\n\n!",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(heads); i++) {
        char text[CHECKPOINT_BYTES_MAX];
        snprintf(text, sizeof(text), "%s\xe2\x80\x94 a AAAA\n", heads[i]);
        cr_assert_eq(open_text(text, keys, 1), STATUS_INVALID, "head %zu", i);
    }
    cr_assert_eq(open_text("a\n5\n" ROOT "\n\n\xe2\x80\x94 a AAAA\n", keys, 1), STATUS_DENIED);
    cr_assert_eq(open_text("a\n9223372036854775807\n" ROOT "\n\n\xe2\x80\x94 a AAAA\n", keys, 1), STATUS_DENIED);
    cr_assert_eq(open_text("a\n5\n" ROOT "\n\n", keys, 1), STATUS_INVALID);
}

Test(checkpoint, four_keys_and_the_longest_name_fit)
{
    struct checkpoint largest = {.size = INT64_MAX};
    memset(largest.origin, 'o', CHECKPOINT_ORIGIN_BYTES - 1);
    char text[CHECKPOINT_BYTES_MAX] = "";
    for (unsigned i = 0; i < CHECKPOINT_KEYS_MAX; i++) {
        add_signature(&largest, i % 2, text);
    }
    struct checkpoint read;
    cr_assert_eq(checkpoint_open(text, strlen(text), keys, 2, &read), STATUS_OK);
    cr_assert_eq(read.size, INT64_MAX);
}
