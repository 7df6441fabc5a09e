/* test_kms.c - the master key's file is refused unless it is private and whole; DEKs are bound to their tenant. */
#include "meta/kms_file.h"
#include "meta/secret_file.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[] = "/tmp/trilith-test-kms-XXXXXX";
static char path[128];
static char message[512];

static void setup(void)
{
    cr_assert_eq(keys_start_process(), STATUS_OK);
    cr_assert_not_null(mkdtemp(directory));
    (void)snprintf(path, sizeof(path), "%s/key", directory);
}

static void teardown(void)
{
    (void)unlink(path);
    (void)rmdir(directory);
}

static void write_file(const char *content, size_t bytes, mode_t mode)
{
    (void)unlink(path);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    cr_assert_geq(file, 0);
    cr_assert_eq(write(file, content, bytes), (ssize_t)bytes);
    cr_assert_eq(fchmod(file, mode), 0);
    (void)close(file);
}

static enum status open_once(void)
{
    struct kms *kms = NULL;
    message[0] = '\0';
    enum status status = kms_file_open(path, &kms, message, sizeof(message));
    if (status == STATUS_OK) {
        kms_close(kms);
    } else {
        cr_assert_not_null(strstr(message, path), "the message names the file: %s", message);
    }
    return status;
}

TestSuite(kms, .init = setup, .fini = teardown);

#define HEX_KEY "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"

Test(kms, takes_a_key_in_hex_or_raw)
{
    write_file(HEX_KEY, 64, 0600);
    cr_assert_eq(open_once(), STATUS_OK);
    write_file(HEX_KEY "\n", 65, 0600);
    cr_assert_eq(open_once(), STATUS_OK);
    write_file(HEX_KEY, 32, 0400);
    cr_assert_eq(open_once(), STATUS_OK);
}

Test(kms, refuses_a_file_that_others_can_read)
{
    static const mode_t modes[] = {0644, 0640, 0604, 0660, 0602, 0700, 0610};
    for (size_t i = 0; i < ARRAY_LENGTH(modes); i++) {
        write_file(HEX_KEY, 64, modes[i]);
        cr_assert_eq(open_once(), STATUS_DENIED, "mode %o", modes[i]);
        cr_assert_not_null(strstr(message, "0600"), "%s", message);
    }
}

Test(kms, refuses_a_key_that_is_not_one)
{
    write_file("", 0, 0600);
    cr_assert_eq(open_once(), STATUS_INVALID);
    write_file(HEX_KEY, 63, 0600);
    cr_assert_eq(open_once(), STATUS_INVALID);
    write_file(HEX_KEY "\n\n", 66, 0600);
    cr_assert_eq(open_once(), STATUS_INVALID);
    write_file(HEX_KEY HEX_KEY, 128, 0600);
    cr_assert_eq(open_once(), STATUS_INVALID);
    write_file("zz112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", 64, 0600);
    cr_assert_eq(open_once(), STATUS_INVALID);
    cr_assert_null(strstr(message, "1122"), "the message does not show the content");
}

Test(kms, refuses_what_is_no_file)
{
    (void)unlink(path);
    cr_assert_eq(open_once(), STATUS_NOT_FOUND);
    cr_assert_eq(symlink("/dev/zero", path), 0);
    cr_assert_eq(open_once(), STATUS_DENIED);
    (void)unlink(path);
    cr_assert_eq(mkdir(path, 0700), 0);
    cr_assert_eq(open_once(), STATUS_DENIED);
    cr_assert_eq(rmdir(path), 0);
}

Test(kms, makes_a_private_key_file_once)
{
    struct stat info;
    cr_assert_eq(secret_file_create(path, SECRET_HEX_OR_RAW, message, sizeof(message)), STATUS_OK);
    cr_assert_eq(stat(path, &info), 0);
    cr_assert_eq(info.st_mode & 07777, 0600);
    cr_assert_eq(info.st_size, 65);
    cr_assert_eq(open_once(), STATUS_OK);
    cr_assert_eq(secret_file_create(path, SECRET_HEX_OR_RAW, message, sizeof(message)), STATUS_EXISTS);
}

Test(kms, unwraps_only_what_it_wrapped_for_that_tenant_and_version)
{
    struct kms *kms = NULL;
    struct key dek = {{1, 2, 3}};
    struct key got = {{0}};
    uint8_t wrapped[KMS_WRAPPED_BYTES];
    write_file(HEX_KEY, 64, 0600);
    cr_assert_eq(kms_file_open(path, &kms, message, sizeof(message)), STATUS_OK);
    cr_assert_eq(kms_wrap(kms, "acme", 1, &dek, wrapped), STATUS_OK);
    cr_assert_eq(kms_unwrap(kms, "acme", 1, wrapped, sizeof(wrapped), &got), STATUS_OK);
    cr_assert_arr_eq(got.bytes, dek.bytes, KEY_BYTES);
    cr_assert_eq(kms_unwrap(kms, "acme2", 1, wrapped, sizeof(wrapped), &got), STATUS_DENIED);
    cr_assert_eq(kms_unwrap(kms, "acme", 2, wrapped, sizeof(wrapped), &got), STATUS_DENIED);
    cr_assert_eq(kms_unwrap(kms, "acme", 1, wrapped, sizeof(wrapped) - 1, &got), STATUS_DENIED);
    wrapped[30] ^= 1;
    cr_assert_eq(kms_unwrap(kms, "acme", 1, wrapped, sizeof(wrapped), &got), STATUS_DENIED);
    wrapped[30] ^= 1;
    kms_close(kms);

    write_file("11112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", 64, 0600);
    cr_assert_eq(kms_file_open(path, &kms, message, sizeof(message)), STATUS_OK);
    cr_assert_eq(kms_unwrap(kms, "acme", 1, wrapped, sizeof(wrapped), &got), STATUS_DENIED, "another master key");
    kms_close(kms);
}
