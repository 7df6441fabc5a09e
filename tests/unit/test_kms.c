/* test_kms.c - the key file is refused unless it is private and whole; what it wraps is bound to tenant and version;
 * imports come and go for good; and the operator is told what to do. */
#include "base/digest.h"
#include "base/transport.h"
#include "meta/kms_file.h"
#include "meta/kms_setup.h"
#include "meta/secret_file.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define HEX_KEY    "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"
#define PASSPHRASE "correct horse battery staple"

static char directory[] = "/tmp/trilith-test-kms-XXXXXX";
static char path[128];
static char message[512];
static struct kms_provider *provider;
static const struct passphrase_cost cheap = {.passes = 1, .memory_kib = 8192};

static void setup(void)
{
    cr_assert_eq(keys_start_process(), STATUS_OK);
    cr_assert_not_null(mkdtemp(directory));
    (void)snprintf(path, sizeof(path), "%s/key", directory);
}

static void teardown(void)
{
    char command[128];
    if (provider != NULL) {
        provider->ops->close(provider);
    }
    (void)snprintf(command, sizeof(command), "rm -rf %s", directory);
    cr_assert_eq(system(command), 0);
}

static void write_at(const char *target, const void *content, size_t bytes, mode_t mode)
{
    (void)unlink(target);
    int file = open(target, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    cr_assert_geq(file, 0);
    cr_assert_eq(write(file, content, bytes), (ssize_t)bytes);
    cr_assert_eq(fchmod(file, mode), 0);
    (void)close(file);
}

static void write_file(const void *content, size_t bytes, mode_t mode)
{
    write_at(path, content, bytes, mode);
}

static size_t read_file(const char *source, void *content, size_t capacity)
{
    int file = open(source, O_RDONLY);
    cr_assert_geq(file, 0, "%s", source);
    ssize_t got = read(file, content, capacity);
    cr_assert_geq(got, 0);
    (void)close(file);
    return (size_t)got;
}

static enum status open_with(const char *passphrase)
{
    if (provider != NULL) {
        provider->ops->close(provider);
    }
    provider = NULL;
    message[0] = '\0';
    enum status status = kms_file_open(path, passphrase, &provider, message, sizeof(message));
    if (status != STATUS_OK) {
        cr_assert_not_null(strstr(message, path), "the message names the file: %s", message);
        cr_assert_null(strstr(message, PASSPHRASE));
    }
    return status;
}

static void open_hex_key(void)
{
    write_file(HEX_KEY "\n", 65, 0600);
    cr_assert_eq(open_with(NULL), STATUS_OK, "%s", message);
}

/* The keys of these tests are none, so they may lie in plain memory. */
static enum status perform(struct kms_call *call, enum kms_operation operation)
{
    call->operation = operation;
    provider->ops->perform(provider, call);
    cr_assert_eq(call->status == STATUS_OK, call->message[0] == '\0', "%s: %s", status_name(call->status),
                 call->message);
    return call->status;
}

static struct key dek = {{1, 2, 3}};
static struct key got;

static void set_context(struct kms_call *call, const char *context)
{
    call->context_bytes = strlen(context);
    memcpy(call->context, context, call->context_bytes);
}

/* A call that is ready to unwrap into `got`. */
static struct kms_call wrap_under(const char *cmk)
{
    struct kms_call call = {.dek = &dek};
    (void)snprintf(call.cmk, sizeof(call.cmk), "%s", cmk);
    set_context(&call, "acme 1");
    cr_assert_eq(perform(&call, KMS_WRAP), STATUS_OK, "%s", call.message);
    cr_assert_leq(call.sealed_bytes, (size_t)KMS_WRAPPED_BYTES_MAX);
    memset(&got, 0, sizeof(got));
    call.dek = &got;
    return call;
}

static struct kms_call import_key(const uint8_t *key, size_t bytes)
{
    struct kms_call call = {0};
    cr_assert_eq(perform(&call, KMS_TRANSPORT), STATUS_OK, "%s", call.message);
    cr_assert_str_eq(call.algorithm, TRANSPORT_SHA256);
    cr_assert_eq(transport_encrypt(call.public_key, call.algorithm, key, bytes, call.sealed, &call.sealed_bytes),
                 STATUS_OK);
    (void)perform(&call, KMS_IMPORT);
    return call;
}

TestSuite(kms_key_file, .init = setup, .fini = teardown);
TestSuite(kms_file, .init = setup, .fini = teardown);
TestSuite(kms_setup, .init = setup, .fini = teardown);

/* ---- the key file ------------------------------------------------------------------------------ */

Test(kms_key_file, is_taken_in_hex_or_raw)
{
    write_file(HEX_KEY, 64, 0600);
    cr_assert_eq(open_with(NULL), STATUS_OK);
    write_file(HEX_KEY "\n", 65, 0600);
    cr_assert_eq(open_with(NULL), STATUS_OK);
    write_file(HEX_KEY, 32, 0400);
    cr_assert_eq(open_with(NULL), STATUS_OK);
    cr_assert_eq(open_with(PASSPHRASE), STATUS_INVALID, "it has none");
}

Test(kms_key_file, is_refused_when_others_can_read_it)
{
    static const mode_t modes[] = {0644, 0640, 0604, 0660, 0602, 0700, 0610};
    for (size_t i = 0; i < ARRAY_LENGTH(modes); i++) {
        write_file(HEX_KEY, 64, modes[i]);
        cr_assert_eq(open_with(NULL), STATUS_DENIED, "mode %o", modes[i]);
        cr_assert_not_null(strstr(message, "chmod 600"), "%s", message);
    }
}

Test(kms_key_file, is_refused_when_it_belongs_to_another_user)
{
    write_file(HEX_KEY, 64, 0600);
    if (geteuid() != 0) {
        cr_skip_test("only root can give files away");
    }
    cr_assert_eq(chown(path, 12345, 12345), 0);
    cr_assert_eq(open_with(NULL), STATUS_DENIED);
    cr_assert_not_null(strstr(message, "12345"), "%s", message);
}

Test(kms_key_file, is_refused_when_it_holds_no_key)
{
    write_file("", 0, 0600);
    cr_assert_eq(open_with(NULL), STATUS_INVALID);
    write_file(HEX_KEY, 63, 0600);
    cr_assert_eq(open_with(NULL), STATUS_INVALID);
    write_file(HEX_KEY "\n\n", 66, 0600);
    cr_assert_eq(open_with(NULL), STATUS_INVALID);
    write_file(HEX_KEY HEX_KEY, 128, 0600);
    cr_assert_eq(open_with(NULL), STATUS_INVALID);
    write_file("zz112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", 64, 0600);
    cr_assert_eq(open_with(NULL), STATUS_INVALID);
    cr_assert_null(strstr(message, "1122"), "the message does not show the content");
}

Test(kms_key_file, is_refused_when_it_is_no_file)
{
    cr_assert_eq(open_with(NULL), STATUS_NOT_FOUND);
    cr_assert_eq(symlink("/dev/zero", path), 0);
    cr_assert_eq(open_with(NULL), STATUS_DENIED);
    (void)unlink(path);
    cr_assert_eq(mkdir(path, 0700), 0);
    cr_assert_eq(open_with(NULL), STATUS_DENIED);
    cr_assert_eq(rmdir(path), 0);
    cr_assert_eq(mkfifo(path, 0600), 0);
    cr_assert_eq(open_with(NULL), STATUS_DENIED, "and does not wait for a writer");
}

Test(kms_key_file, is_made_private_and_once)
{
    struct stat info;
    bool is_protected = true;
    cr_assert_eq(kms_file_create(path, NULL, message, sizeof(message)), STATUS_OK);
    cr_assert_eq(stat(path, &info), 0);
    cr_assert_eq(info.st_mode & 07777, 0600);
    cr_assert_eq(info.st_size, 65);
    cr_assert_eq(open_with(NULL), STATUS_OK);
    cr_assert_eq(kms_file_is_protected(path, &is_protected, message, sizeof(message)), STATUS_OK);
    cr_assert_not(is_protected);
    cr_assert_eq(kms_file_create(path, NULL, message, sizeof(message)), STATUS_EXISTS);
    cr_assert_eq(kms_file_create("/nonexistent/key", NULL, message, sizeof(message)), STATUS_NOT_FOUND);
}

Test(kms_key_file, opens_with_its_passphrase_only)
{
    struct stat info;
    bool is_protected = false;
    char cmk[KMS_CMK_BYTES];
    cr_assert_eq(kms_file_create(path, PASSPHRASE, message, sizeof(message)), STATUS_OK, "%s", message);
    cr_assert_eq(stat(path, &info), 0);
    cr_assert_eq(info.st_mode & 07777, 0600);
    cr_assert_eq(kms_file_is_protected(path, &is_protected, message, sizeof(message)), STATUS_OK);
    cr_assert(is_protected);
    cr_assert_eq(open_with(NULL), STATUS_DENIED);
    cr_assert_not_null(strstr(message, "passphrase"), "%s", message);
    cr_assert_eq(open_with("correct horse battery stapler"), STATUS_DENIED);
    cr_assert_not_null(strstr(message, "passphrase"), "%s", message);
    cr_assert_eq(open_with(PASSPHRASE), STATUS_OK, "%s", message);
    struct kms_call call = {0};
    cr_assert_eq(perform(&call, KMS_CREATE), STATUS_OK);
    memcpy(cmk, call.cmk, sizeof(cmk));
    call = wrap_under(cmk);
    cr_assert_eq(open_with(PASSPHRASE), STATUS_OK);
    cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_OK, "the same master key");
    cr_assert_arr_eq(got.bytes, dek.bytes, KEY_BYTES);
}

Test(kms_key_file, is_not_made_with_a_short_passphrase)
{
    cr_assert_eq(kms_file_create(path, "elevenbytes", message, sizeof(message)), STATUS_INVALID);
    cr_assert_not_null(strstr(message, "12 bytes"), "%s", message);
    cr_assert_eq(access(path, F_OK), -1);
}

Test(kms_key_file, with_a_passphrase_is_refused_when_anything_in_it_changed)
{
    uint8_t content[256];
    cr_assert_eq(key_file_create(path, PASSPHRASE, &cheap, message, sizeof(message)), STATUS_OK);
    size_t bytes = read_file(path, content, sizeof(content));
    cr_assert_eq(bytes, (size_t)KEY_FILE_BYTES_MAX);
    write_file(content, bytes, 0600);
    cr_assert_eq(open_with(PASSPHRASE), STATUS_OK);
    for (size_t at = 0; at < bytes; at += at < 20 ? 1 : 9) {
        content[at] ^= 0x80; /* Of a cost: beyond what is allowed, or another key. */
        write_file(content, bytes, 0600);
        cr_assert_neq(open_with(PASSPHRASE), STATUS_OK, "byte %zu", at);
        content[at] ^= 0x80;
    }
    write_file(content, bytes - 1, 0600);
    cr_assert_eq(open_with(PASSPHRASE), STATUS_INVALID);
    cr_assert_not_null(strstr(message, "truncated"), "%s", message);
    write_file(content, 20, 0600);
    cr_assert_eq(open_with(PASSPHRASE), STATUS_INVALID);
    content[8] = 2;
    write_file(content, bytes, 0600);
    cr_assert_eq(open_with(PASSPHRASE), STATUS_UNSUPPORTED);
    cr_assert_not_null(strstr(message, "later version"), "%s", message);
    content[8] = 1;
    memset(content + 16, 0xff, 4);
    write_file(content, bytes, 0600);
    cr_assert_eq(open_with(PASSPHRASE), STATUS_UNSUPPORTED, "4 TiB of memory are not even asked for");
}

/* ---- the provider ------------------------------------------------------------------------------ */

Test(kms_file, unwraps_only_what_it_wrapped_for_that_context)
{
    struct kms_call made = {0};
    struct kms_call other = {0};
    open_hex_key();
    cr_assert_eq(perform(&made, KMS_CREATE), STATUS_OK);
    cr_assert_eq(perform(&other, KMS_CREATE), STATUS_OK);
    cr_assert_eq(strlen(made.cmk), strlen("file:") + 32);
    cr_assert_str_neq(made.cmk, other.cmk);
    cr_assert_eq(perform(&made, KMS_CHECK), STATUS_OK);

    struct kms_call call = wrap_under(made.cmk);
    cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_OK, "%s", call.message);
    cr_assert_arr_eq(got.bytes, dek.bytes, KEY_BYTES);
    set_context(&call, "acme 2");
    cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_DENIED);
    set_context(&call, "acme 1");
    call.sealed_bytes--;
    cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_DENIED);
    call.sealed_bytes++;
    for (size_t at = 0; at < call.sealed_bytes; at++) {
        call.sealed[at] ^= 1;
        cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_DENIED, "byte %zu", at);
        call.sealed[at] ^= 1;
    }
    memcpy(call.cmk, other.cmk, sizeof(call.cmk));
    cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_DENIED, "another master key");
}

Test(kms_file, tells_a_swapped_key_file_from_damage)
{
    struct kms_call made = {0};
    open_hex_key();
    cr_assert_eq(perform(&made, KMS_CREATE), STATUS_OK);
    struct kms_call call = wrap_under(made.cmk);
    write_file("11112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", 64, 0600);
    cr_assert_eq(open_with(NULL), STATUS_OK);
    cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_NOT_FOUND);
    cr_assert_not_null(strstr(call.message, "not of this key file"), "%s", call.message);
}

Test(kms_file, knows_the_names_of_its_own_keys_only)
{
    static const char *const names[] = {"", "file:", "pkcs11:00112233445566778899aabbccddeeff",
                                        "file:00112233445566778899aabbccddeefg",
                                        "file:00112233445566778899aabbccddeeff0"};
    struct kms_call call = {.dek = &dek};
    open_hex_key();
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        (void)snprintf(call.cmk, sizeof(call.cmk), "%s", names[i]);
        cr_assert_eq(perform(&call, KMS_WRAP), STATUS_INVALID, "%s", names[i]);
        cr_assert_eq(perform(&call, KMS_DESTROY), STATUS_INVALID, "%s", names[i]);
    }
}

Test(kms_file, cannot_destroy_what_follows_from_the_file)
{
    struct kms_call call = {0};
    open_hex_key();
    cr_assert_eq(perform(&call, KMS_CREATE), STATUS_OK);
    cr_assert_eq(perform(&call, KMS_DESTROY), STATUS_UNSUPPORTED);
    cr_assert_not_null(strstr(call.message, "follows from the key file"), "%s", call.message);
}

static const uint8_t customers_key[32] = "the customer's own master key 01";

Test(kms_file, keeps_imported_keys_private_and_durable_until_they_are_destroyed)
{
    char keys[160];
    char stored[256];
    struct stat info;
    uint8_t content[256];
    open_hex_key();
    struct kms_call imported = import_key(customers_key, sizeof(customers_key));
    cr_assert_eq(imported.status, STATUS_OK, "%s", imported.message);
    struct kms_call call = wrap_under(imported.cmk);
    cr_assert_eq(open_with(NULL), STATUS_OK);
    cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_OK, "%s", call.message);
    cr_assert_arr_eq(got.bytes, dek.bytes, KEY_BYTES);

    (void)snprintf(keys, sizeof(keys), "%s.keys", path);
    cr_assert_eq(stat(keys, &info), 0);
    cr_assert_eq(info.st_mode & 07777, 0700);
    (void)snprintf(stored, sizeof(stored), "%s/%.*s.cmk", keys, KMS_CMK_BYTES, imported.cmk + strlen("file:"));
    cr_assert_eq(stat(stored, &info), 0);
    cr_assert_eq(info.st_mode & 07777, 0600);
    size_t bytes = read_file(stored, content, sizeof(content));
    cr_assert_null(memmem(content, bytes, customers_key, 16), "not in clear");

    cr_assert_eq(perform(&call, KMS_DESTROY), STATUS_OK, "%s", call.message);
    cr_assert_eq(access(stored, F_OK), -1);
    cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_NOT_FOUND);
    cr_assert_not_null(strstr(call.message, "destroyed"), "%s", call.message);
    cr_assert_eq(perform(&call, KMS_DESTROY), STATUS_NOT_FOUND);
    cr_assert_eq(perform(&call, KMS_WRAP), STATUS_NOT_FOUND, "nothing stands in for it");
}

Test(kms_file, overwrites_an_imported_key_before_it_goes)
{
    char stored[256];
    char second[256];
    uint8_t content[256];
    open_hex_key();
    struct kms_call imported = import_key(customers_key, sizeof(customers_key));
    cr_assert_eq(imported.status, STATUS_OK);
    (void)snprintf(stored, sizeof(stored), "%s.keys/%.*s.cmk", path, KMS_CMK_BYTES, imported.cmk + strlen("file:"));
    (void)snprintf(second, sizeof(second), "%s/link", directory);
    cr_assert_eq(link(stored, second), 0);
    cr_assert_eq(perform(&imported, KMS_DESTROY), STATUS_OK);
    size_t bytes = read_file(second, content, sizeof(content));
    for (size_t i = 0; i < bytes; i++) {
        cr_assert_eq(content[i], 0);
    }
}

Test(kms_file, says_when_an_imported_key_is_damaged_or_away)
{
    char stored[256];
    char keys[160];
    uint8_t content[256];
    open_hex_key();
    struct kms_call imported = import_key(customers_key, sizeof(customers_key));
    cr_assert_eq(imported.status, STATUS_OK);
    struct kms_call call = wrap_under(imported.cmk);
    (void)snprintf(keys, sizeof(keys), "%s.keys", path);
    (void)snprintf(stored, sizeof(stored), "%s/%.*s.cmk", keys, KMS_CMK_BYTES, imported.cmk + strlen("file:"));
    size_t bytes = read_file(stored, content, sizeof(content));
    content[30] ^= 1;
    write_at(stored, content, bytes, 0600);
    cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_NOT_FOUND);
    cr_assert_not_null(strstr(call.message, "restore it"), "%s", call.message);
    content[30] ^= 1;
    write_at(stored, content, bytes - 1, 0600);
    cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_NOT_FOUND);
    (void)unlink(stored);
    cr_assert_eq(mkdir(stored, 0700), 0);
    cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_KEY_AWAY, "%s", call.message);
    cr_assert_eq(rmdir(stored), 0);
    write_at(stored, content, bytes, 0600);
    cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_OK, "%s", call.message);
}

Test(kms_file, refuses_imports_that_are_no_master_key)
{
    static const size_t lengths[] = {1, 16, 31, 33, 64};
    uint8_t key[64] = {1};
    open_hex_key();
    for (size_t i = 0; i < ARRAY_LENGTH(lengths); i++) {
        struct kms_call call = import_key(key, lengths[i]);
        cr_assert_eq(call.status, STATUS_INVALID, "%zu", lengths[i]);
        cr_assert_eq(call.cmk[0], '\0');
    }
    struct kms_call call = import_key(key, KEY_BYTES);
    cr_assert_eq(call.status, STATUS_OK);
    call.sealed[17] ^= 1;
    cr_assert_eq(perform(&call, KMS_IMPORT), STATUS_DENIED);
    cr_assert_not_null(strstr(call.message, TRANSPORT_SHA256), "%s", call.message);
    call.sealed_bytes = 0;
    cr_assert_eq(perform(&call, KMS_IMPORT), STATUS_DENIED);
}

Test(kms_file, has_one_transport_key_and_no_leftovers)
{
    char leftover[256];
    struct kms_call first = {0};
    struct kms_call second = {0};
    open_hex_key();
    cr_assert_eq(perform(&first, KMS_TRANSPORT), STATUS_OK);
    (void)snprintf(leftover, sizeof(leftover), "%s.keys/incoming.tmp", path);
    cr_assert_eq(access(leftover, F_OK), -1);
    write_at(leftover, "half a key", 10, 0600);
    cr_assert_eq(open_with(NULL), STATUS_OK);
    cr_assert_eq(access(leftover, F_OK), -1, "what a crash left is removed");
    cr_assert_eq(perform(&second, KMS_TRANSPORT), STATUS_OK);
    cr_assert_str_eq(first.public_key, second.public_key);
}

Test(kms_file, says_when_the_imports_cannot_be_stored)
{
    char keys[160];
    struct kms_call call = {0};
    open_hex_key();
    (void)snprintf(keys, sizeof(keys), "%s.keys", path);
    write_at(keys, "in the way", 10, 0600);
    cr_assert_eq(perform(&call, KMS_TRANSPORT), STATUS_KEY_AWAY);
    cr_assert_not_null(strstr(call.message, keys), "%s", call.message);
}

/* ---- setting up -------------------------------------------------------------------------------- */

static enum status set_up(const struct kms_setup *options)
{
    if (provider != NULL) {
        provider->ops->close(provider);
    }
    provider = NULL;
    message[0] = '\0';
    return kms_setup_open(options, &provider, message, sizeof(message));
}

Test(kms_setup, says_which_option_is_missing)
{
    cr_assert_eq(set_up(&(struct kms_setup){.provider = "vault"}), STATUS_INVALID);
    cr_assert_not_null(strstr(message, "\"vault\""), "%s", message);
    cr_assert_eq(set_up(&(struct kms_setup){.provider = ""}), STATUS_INVALID);
    cr_assert_eq(set_up(&(struct kms_setup){.provider = "file"}), STATUS_INVALID);
    cr_assert_not_null(strstr(message, "key_file"), "%s", message);
    cr_assert_eq(set_up(&(struct kms_setup){.provider = "pkcs11"}), STATUS_INVALID);
    cr_assert_not_null(strstr(message, "pkcs11_module"), "%s", message);
    cr_assert_eq(set_up(&(struct kms_setup){.provider = "pkcs11", .pkcs11_module = "/x.so"}), STATUS_INVALID);
    cr_assert_not_null(strstr(message, "pkcs11_token"), "%s", message);
    write_file("1234\n", 5, 0644);
    const struct kms_setup readable = {
        .provider = "pkcs11", .pkcs11_module = "/x.so", .pkcs11_token = "t", .pkcs11_pin_file = path};
    cr_assert_eq(set_up(&readable), STATUS_DENIED, "a PIN that others can read");
    cr_assert_not_null(strstr(message, "chmod 600"), "%s", message);
}

Test(kms_setup, takes_the_passphrase_from_a_file)
{
    char secret[160];
    (void)snprintf(secret, sizeof(secret), "%s/passphrase", directory);
    write_at(secret, PASSPHRASE "\r\nand a comment\n", strlen(PASSPHRASE) + 16, 0600);
    cr_assert_eq(kms_setup_create_key(path, secret, false, message, sizeof(message)), STATUS_OK, "%s", message);
    const struct kms_setup options = {.provider = "file", .key_file = path, .passphrase_file = secret};
    cr_assert_eq(set_up(&options), STATUS_OK, "%s", message);
    write_at(secret, PASSPHRASE, strlen(PASSPHRASE), 0400);
    cr_assert_eq(set_up(&options), STATUS_OK, "%s", message);
    write_at(secret, "another one\n", 12, 0600);
    cr_assert_eq(set_up(&options), STATUS_DENIED);
    write_at(secret, "\n", 1, 0600);
    cr_assert_eq(set_up(&options), STATUS_INVALID);
    cr_assert_not_null(strstr(message, secret), "%s", message);
    write_at(secret, "null\0byte\n", 10, 0600);
    cr_assert_eq(set_up(&options), STATUS_INVALID);
    char long_line[KMS_SECRET_BYTES];
    memset(long_line, 'x', sizeof(long_line));
    write_at(secret, long_line, sizeof(long_line), 0600);
    cr_assert_eq(set_up(&options), STATUS_INVALID);

    (void)unlink(path);
    cr_assert_eq(kms_setup_create_key(path, NULL, false, message, sizeof(message)), STATUS_OK);
    cr_assert_eq(set_up(&options), STATUS_INVALID, "a passphrase for a file without one");
    cr_assert_not_null(strstr(message, "passphrase_file"), "%s", message);
    cr_assert_eq(set_up(&(struct kms_setup){.provider = "file", .key_file = path}), STATUS_OK);
}

/* In a child on a terminal of its own: answer each prompt with a line. Returns the child's exit status, and in `shown`
 * what it showed. */
static int at_terminal(int (*child)(void), const char *const *answers, char *shown, size_t capacity)
{
    int terminal = -1;
    pid_t pid = forkpty(&terminal, NULL, NULL, NULL);
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        _exit(child());
    }
    size_t length = 0;
    ssize_t count = 1;
    while (count > 0) {
        count = read(terminal, shown + length, capacity - 1 - length);
        length += count > 0 ? (size_t)count : 0;
        shown[length] = '\0';
        if (length >= 2 && strcmp(shown + length - 2, ": ") == 0 && *answers != NULL) {
            cr_assert_eq(write(terminal, *answers, strlen(*answers)), (ssize_t)strlen(*answers));
            cr_assert_eq(write(terminal, "\n", 1), 1);
            answers++;
        }
    }
    int status = 0;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    (void)close(terminal);
    cr_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int child_create(void)
{
    return (int)kms_setup_create_key(path, NULL, true, message, sizeof(message));
}

static int child_open(void)
{
    struct kms_provider *opened = NULL;
    const struct kms_setup options = {.provider = "file", .key_file = path};
    return (int)kms_setup_open(&options, &opened, message, sizeof(message));
}

Test(kms_setup, asks_at_the_terminal_without_echo)
{
    char shown[1024];
    const char *const twice[] = {PASSPHRASE, PASSPHRASE, NULL};
    const char *const differing[] = {PASSPHRASE, "correct horse battery stable", NULL};
    const char *const once[] = {PASSPHRASE, NULL};
    const char *const wrong[] = {"something else", NULL};
    const char *const empty[] = {"", NULL};
    cr_assert_eq(at_terminal(child_create, differing, shown, sizeof(shown)), (int)STATUS_DENIED, "%s", shown);
    cr_assert_eq(access(path, F_OK), -1);
    cr_assert_eq(at_terminal(child_create, twice, shown, sizeof(shown)), (int)STATUS_OK, "%s", shown);
    cr_assert_null(strstr(shown, PASSPHRASE), "%s", shown);
    cr_assert_not_null(strstr(shown, "again"), "%s", shown);
    cr_assert_eq(at_terminal(child_open, once, shown, sizeof(shown)), (int)STATUS_OK, "%s", shown);
    cr_assert_null(strstr(shown, PASSPHRASE), "%s", shown);
    cr_assert_eq(at_terminal(child_open, wrong, shown, sizeof(shown)), (int)STATUS_DENIED);
    cr_assert_eq(at_terminal(child_open, empty, shown, sizeof(shown)), (int)STATUS_DENIED);
}

Test(kms_setup, says_what_to_set_without_a_terminal)
{
    cr_assert_eq(key_file_create(path, PASSPHRASE, &cheap, message, sizeof(message)), STATUS_OK);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        (void)setsid(); /* Leaves the terminal, if there was one. */
        int status = child_open();
        _exit(status == STATUS_DENIED && strstr(message, "passphrase_file") != NULL ? 0 : 1);
    }
    int status = 0;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert_eq(status, 0);
}

/* ---- signing keys ------------------------------------------------------------------------------ */

/* Messages one behind the other. */
static struct kms_batch batch_of(uint8_t *bytes, const char *const *messages, uint32_t count)
{
    struct kms_batch batch = {.count = count, .bytes = bytes};
    uint32_t end = 0;
    for (uint32_t i = 0; i < count; i++) {
        memcpy(bytes + end, messages[i], strlen(messages[i]));
        end += (uint32_t)strlen(messages[i]);
        batch.ends[i] = end;
    }
    return batch;
}

Test(kms_file, signs_with_numbered_keys_that_stay_the_same)
{
    static const char *const messages[] = {"one", "", "three"};
    uint8_t bytes[64];
    struct kms_batch batch = batch_of(bytes, messages, 3);
    struct kms_call first = {.number = 1};
    struct kms_call second = {.number = 2};
    open_hex_key();
    cr_assert_eq(perform(&first, KMS_SIGNING_KEY), STATUS_OK);
    cr_assert_eq(perform(&second, KMS_SIGNING_KEY), STATUS_OK);
    cr_assert_neq(memcmp(&first.signing_key, &second.signing_key, PUBLIC_KEY_BYTES), 0);
    first.batch = &batch;
    first.operation = KMS_SIGN;
    kms_perform(provider, &first);
    cr_assert_eq(first.status, STATUS_OK, "%s", first.message);
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert(signature_verify(&first.signing_key, messages[i], strlen(messages[i]), &batch.signatures[i]));
        cr_assert_not(signature_verify(&second.signing_key, messages[i], strlen(messages[i]), &batch.signatures[i]));
    }
    open_hex_key();
    struct kms_call again = {.number = 1};
    cr_assert_eq(perform(&again, KMS_SIGNING_KEY), STATUS_OK);
    cr_assert_arr_eq(again.signing_key.bytes, first.signing_key.bytes, PUBLIC_KEY_BYTES);
}

/* The rule that kms_file.h states, with the key of these tests: a change of it would orphan every key that was made. */
Test(kms_file, derives_the_seed_as_stated)
{
    struct key master;
    struct key seed;
    struct public_key expected;
    struct kms_call call = {.number = 7};
    cr_assert(hex_decode(HEX_KEY, 64, master.bytes, KEY_BYTES));
    derive_named_key(&master, "sign 7", &seed);
    signature_public_key(&seed, &expected);
    open_hex_key();
    cr_assert_eq(perform(&call, KMS_SIGNING_KEY), STATUS_OK);
    cr_assert_arr_eq(call.signing_key.bytes, expected.bytes, PUBLIC_KEY_BYTES);
}

Test(kms_file, another_key_file_is_found_out_before_anything_is_signed_for)
{
    static const char *const messages[] = {"a certificate"};
    static const char other[] = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";
    uint8_t bytes[64];
    struct kms_batch batch = batch_of(bytes, messages, 1);
    struct kms_call call = {.number = 1, .batch = &batch};
    open_hex_key();
    cr_assert_eq(perform(&call, KMS_SIGNING_KEY), STATUS_OK);
    write_file(other, 64, 0600);
    cr_assert_eq(open_with(NULL), STATUS_OK, "%s", message);
    call.operation = KMS_SIGN;
    kms_perform(provider, &call);
    cr_assert_eq(call.status, STATUS_NOT_FOUND);
    cr_assert_not_null(strstr(call.message, "another signing key 1"), "%s", call.message);
}
