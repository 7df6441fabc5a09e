/* test_passphrase.c - Argon2id as RFC 9106 has it, and costs that are refused before they are paid. */
#include "base/passphrase.h"

#include <criterion/criterion.h>
#include <string.h>

static void setup(void)
{
    cr_assert_eq(keys_start_process(), STATUS_OK);
}

TestSuite(passphrase, .init = setup);

static const struct passphrase_cost cheap = {.passes = 1, .memory_kib = 8192};
static const uint8_t salt[PASSPHRASE_SALT_BYTES] = "somesaltsomesalt";

/* Made with the reference implementation: printf password | argon2 somesaltsomesalt -id -t 1 -k 8192 -p 1 -l 32 -r */
Test(passphrase, gives_the_key_of_the_reference_implementation)
{
    static const uint8_t expected[KEY_BYTES] = {0x84, 0xfb, 0x00, 0x6b, 0xbc, 0x3c, 0xd6, 0x98, 0x95, 0x72, 0x2b,
                                                0x64, 0xb5, 0xbf, 0x73, 0x52, 0x51, 0xa9, 0xe8, 0xe9, 0xf3, 0xec,
                                                0xb9, 0x3f, 0xf5, 0x95, 0xb9, 0x8a, 0xeb, 0x7a, 0xcc, 0xb7};
    struct key key;
    cr_assert_eq(passphrase_key("password", salt, &cheap, &key), STATUS_OK);
    cr_assert_arr_eq(key.bytes, expected, KEY_BYTES);
}

Test(passphrase, depends_on_passphrase_salt_and_cost)
{
    static const uint8_t other_salt[PASSPHRASE_SALT_BYTES] = "somesaltsomesalu";
    const struct passphrase_cost dearer = {.passes = 2, .memory_kib = 8192};
    struct key keys[4];
    cr_assert_eq(passphrase_key("password", salt, &cheap, &keys[0]), STATUS_OK);
    cr_assert_eq(passphrase_key("Password", salt, &cheap, &keys[1]), STATUS_OK);
    cr_assert_eq(passphrase_key("password", other_salt, &cheap, &keys[2]), STATUS_OK);
    cr_assert_eq(passphrase_key("password", salt, &dearer, &keys[3]), STATUS_OK);
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
        for (size_t j = 0; j < i; j++) {
            cr_assert_neq(memcmp(&keys[i], &keys[j], sizeof(keys[i])), 0);
        }
    }
}

Test(passphrase, refuses_costs_that_are_no_protection_or_an_attack)
{
    static const struct passphrase_cost refused[] = {
        {.passes = 0, .memory_kib = 8192},          {.passes = 17, .memory_kib = 8192},
        {.passes = UINT32_MAX, .memory_kib = 8192}, {.passes = 1, .memory_kib = 8191},
        {.passes = 1, .memory_kib = 4194305},       {.passes = 1, .memory_kib = UINT32_MAX},
    };
    struct key key;
    for (size_t i = 0; i < ARRAY_LENGTH(refused); i++) {
        cr_assert_not(passphrase_cost_is_valid(&refused[i]), "%zu", i);
        cr_assert_eq(passphrase_key("password", salt, &refused[i], &key), STATUS_INVALID, "%zu", i);
    }
    const struct passphrase_cost standard = passphrase_cost_default();
    cr_assert(passphrase_cost_is_valid(&standard));
    cr_assert_geq(standard.memory_kib, 256u * 1024);
}
