/* test_kms_pkcs11.c - master keys in a real token: SoftHSM2, made afresh for each test by tests/softhsm.
 *
 * Skipped, with a line on stderr, where SoftHSM2 is not installed; failed when TRILITH_TESTS_REQUIRE_SOFTHSM is set. */
#include "base/transport.h"
#include "meta/kms_pkcs11.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* SoftHSM2 2.6.1 forgets to free the curve's name whenever it reads an Ed25519 key. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) // NOLINT(bugprone-reserved-identifier)
{
    return "leak:ASN1_STRING_set\nleak:CRYPTO_zalloc\n"; /* OpenSSL, which nobody else here uses. */
}

static char directory[] = "/tmp/trilith-test-pkcs11-XXXXXX";
static char module[256];
static char pin[64];
static char message[512];
static struct kms_provider *provider;

/* The lines that tests/softhsm prints: settings for this process. */
static void take_line(char *line)
{
    char *value = strchr(line, '=');
    if (value == NULL) {
        return;
    }
    *value++ = '\0';
    value[strcspn(value, "\n")] = '\0';
    if (strcmp(line, "SOFTHSM2_CONF") == 0) {
        cr_assert_eq(setenv("SOFTHSM2_CONF", value, 1), 0);
    } else if (strcmp(line, "module") == 0) {
        (void)snprintf(module, sizeof(module), "%s", value);
    } else if (strcmp(line, "pin_file") == 0) {
        FILE *file = fopen(value, "r");
        cr_assert_not_null(file);
        cr_assert_not_null(fgets(pin, sizeof(pin), file));
        pin[strcspn(pin, "\n")] = '\0';
        (void)fclose(file);
    }
}

static void setup(void)
{
    char command[512];
    char line[512];
    const char *source = __FILE__;
    cr_assert_eq(keys_start_process(), STATUS_OK);
    cr_assert_not_null(mkdtemp(directory));
    (void)snprintf(command, sizeof(command), "%.*s/../softhsm %s/hsm trilith 2>%s/output",
                   (int)(strrchr(source, '/') - source), source, directory, directory);
    FILE *script = popen(command, "r");
    cr_assert_not_null(script);
    while (fgets(line, sizeof(line), script) != NULL) {
        take_line(line);
    }
    int status = pclose(script);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        (void)snprintf(command, sizeof(command), "rm -rf %s", directory); /* There will be no teardown. */
        cr_assert_eq(system(command), 0);
        cr_assert_null(getenv("TRILITH_TESTS_REQUIRE_SOFTHSM"), "SoftHSM2 is required here and not installed");
        fprintf(stderr, "skipped: SoftHSM2 is not installed\n");
        cr_skip_test("SoftHSM2 is not installed");
    }
    cr_assert_eq(status, 0, "tests/softhsm");
    cr_assert_neq(module[0], '\0');
    cr_assert_neq(pin[0], '\0');
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

TestSuite(kms_pkcs11, .init = setup, .fini = teardown, .timeout = 120);

static enum status open_with(const char *library, const char *token, const char *with_pin)
{
    const struct kms_pkcs11_options options = {.module = library, .token = token, .pin = with_pin};
    message[0] = '\0';
    provider = NULL;
    return kms_pkcs11_open(&options, &provider, message, sizeof(message));
}

static void open_token(void)
{
    cr_assert_eq(open_with(module, "trilith", pin), STATUS_OK, "%s", message);
}

static void reopen(void)
{
    provider->ops->close(provider);
    open_token();
}

/* Perform a call of a wrapped DEK's kind. The DEK is in plain memory here: it is none. */
static enum status perform(struct kms_call *call, enum kms_operation operation)
{
    call->operation = operation;
    provider->ops->perform(provider, call);
    cr_assert_eq(call->status == STATUS_OK, call->message[0] == '\0', "%s: %s", status_name(call->status),
                 call->message);
    cr_assert_null(strstr(call->message, pin));
    return call->status;
}

static void set_context(struct kms_call *call, const char *context)
{
    call->context_bytes = strlen(context);
    memcpy(call->context, context, call->context_bytes);
}

static struct key dek;
static struct key got;

static void create_and_wrap(struct kms_call *call)
{
    memset(dek.bytes, 0x5a, sizeof(dek.bytes));
    memset(&got, 0, sizeof(got));
    call->dek = &dek;
    cr_assert_eq(perform(call, KMS_CREATE), STATUS_OK, "%s", call->message);
    cr_assert_eq(strncmp(call->cmk, "pkcs11:", 7), 0);
    cr_assert_eq(strlen(call->cmk), 7 + 32u);
    set_context(call, "tenant 7 version 1");
    cr_assert_eq(perform(call, KMS_WRAP), STATUS_OK, "%s", call->message);
    cr_assert_eq(call->sealed_bytes, 12 + 32 + 16u);
    call->dek = &got;
}

static void move_tokens(const char *from, const char *to)
{
    char source[128];
    char target[128];
    (void)snprintf(source, sizeof(source), "%s/hsm/%s", directory, from);
    (void)snprintf(target, sizeof(target), "%s/hsm/%s", directory, to);
    cr_assert_eq(rename(source, target), 0);
}

Test(kms_pkcs11, wraps_and_unwraps_also_after_it_was_opened_again)
{
    struct kms_call call = {0};
    open_token();
    create_and_wrap(&call);
    cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_OK, "%s", call.message);
    cr_assert_arr_eq(got.bytes, dek.bytes, KEY_BYTES);
    cr_assert_eq(perform(&call, KMS_CHECK), STATUS_OK);

    reopen();
    memset(&got, 0, sizeof(got));
    cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_OK, "%s", call.message);
    cr_assert_arr_eq(got.bytes, dek.bytes, KEY_BYTES);

    uint8_t before[60];
    memcpy(before, call.sealed, sizeof(before));
    call.dek = &dek;
    cr_assert_eq(perform(&call, KMS_WRAP), STATUS_OK);
    cr_assert_neq(memcmp(before, call.sealed, 12), 0, "each wrapping has its own nonce");
}

Test(kms_pkcs11, unwraps_nothing_that_was_changed_or_is_another_tenants)
{
    struct kms_call call = {0};
    struct kms_call other = {0};
    open_token();
    create_and_wrap(&call);
    cr_assert_eq(perform(&other, KMS_CREATE), STATUS_OK);
    cr_assert_str_neq(call.cmk, other.cmk);

    set_context(&call, "tenant 7 version 2");
    cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_DENIED, "another context");
    set_context(&call, "tenant 7 version 1");
    for (size_t at = 0; at < call.sealed_bytes; at += 7) {
        call.sealed[at] ^= 1;
        cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_DENIED, "byte %zu: %s", at, call.message);
        call.sealed[at] ^= 1;
    }
    call.sealed_bytes--;
    cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_DENIED);
    call.sealed_bytes++;
    struct kms_call mixed = call;
    memcpy(mixed.cmk, other.cmk, sizeof(mixed.cmk));
    cr_assert_eq(perform(&mixed, KMS_UNWRAP), STATUS_DENIED, "another master key");
    static const struct key zeros;
    cr_assert_arr_eq(got.bytes, zeros.bytes, KEY_BYTES, "a refused call gives no key");
    cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_OK, "and the token still works: %s", call.message);
}

Test(kms_pkcs11, knows_the_names_of_its_own_keys_only)
{
    static const char *const names[] = {"", "pkcs11:", "file:00112233445566778899aabbccddeeff",
                                        "pkcs11:00112233445566778899aabbccddeefg",
                                        "pkcs11:00112233445566778899aabbccddeeff0"};
    struct kms_call call = {.dek = &dek};
    open_token();
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        (void)snprintf(call.cmk, sizeof(call.cmk), "%s", names[i]);
        cr_assert_eq(perform(&call, KMS_WRAP), STATUS_INVALID, "%s", names[i]);
        cr_assert_eq(perform(&call, KMS_DESTROY), STATUS_INVALID, "%s", names[i]);
    }
    (void)snprintf(call.cmk, sizeof(call.cmk), "pkcs11:00112233445566778899aabbccddeeff");
    cr_assert_eq(perform(&call, KMS_WRAP), STATUS_NOT_FOUND);
    cr_assert_not_null(strstr(call.message, "another token"), "%s", call.message);
}

Test(kms_pkcs11, a_destroyed_key_is_gone)
{
    struct kms_call call = {0};
    open_token();
    create_and_wrap(&call);
    cr_assert_eq(perform(&call, KMS_DESTROY), STATUS_OK, "%s", call.message);
    cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_NOT_FOUND);
    cr_assert_eq(perform(&call, KMS_DESTROY), STATUS_NOT_FOUND);
    reopen();
    cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_NOT_FOUND);
}

/* Encrypt `bytes` bytes for import, with openssl, as a customer would. */
static void encrypt_import(struct kms_call *call, const uint8_t *key, size_t bytes)
{
    char path[128];
    char command[512];
    bool is_sha256 = strcmp(call->algorithm, TRANSPORT_SHA256) == 0;
    (void)snprintf(path, sizeof(path), "%s/pem", directory);
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    cr_assert_geq(fputs(call->public_key, file), 0);
    (void)fclose(file);
    (void)snprintf(path, sizeof(path), "%s/plain", directory);
    file = fopen(path, "w");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(key, 1, bytes, file), bytes);
    (void)fclose(file);
    (void)snprintf(command, sizeof(command),
                   "cd %s && openssl pkeyutl -encrypt -pubin -inkey pem -in plain -out wrapped "
                   "-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:%s",
                   directory, is_sha256 ? "sha256" : "sha1");
    cr_assert_eq(system(command), 0);
    (void)snprintf(path, sizeof(path), "%s/wrapped", directory);
    file = fopen(path, "r");
    cr_assert_not_null(file);
    call->sealed_bytes = fread(call->sealed, 1, sizeof(call->sealed), file);
    (void)fclose(file);
}

/* Find the one key of that class in the token over a session of our own. The login is the whole process's. */
static CK_OBJECT_HANDLE find_key(CK_OBJECT_CLASS class, CK_FUNCTION_LIST **functions, CK_SESSION_HANDLE *session)
{
    void *library = dlopen(module, RTLD_NOW | RTLD_LOCAL);
    CK_C_GetFunctionList get_functions = NULL;
    cr_assert_not_null(library);
    *(void **)&get_functions = dlsym(library, "C_GetFunctionList");
    cr_assert_eq(get_functions(functions), CKR_OK);
    CK_SLOT_ID slots[8];
    CK_ULONG count = ARRAY_LENGTH(slots);
    cr_assert_eq((*functions)->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        cr_assert_eq((*functions)->C_GetTokenInfo(slots[i], &info), CKR_OK);
        if ((info.flags & CKF_TOKEN_INITIALIZED) != 0) {
            cr_assert_eq(
                (*functions)->C_OpenSession(slots[i], CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, session),
                CKR_OK);
        }
    }
    CK_ATTRIBUTE template = {CKA_CLASS, &class, sizeof(class)};
    CK_OBJECT_HANDLE objects[2];
    CK_ULONG found = 0;
    cr_assert_eq((*functions)->C_FindObjectsInit(*session, &template, 1), CKR_OK);
    cr_assert_eq((*functions)->C_FindObjects(*session, objects, 2, &found), CKR_OK);
    cr_assert_eq((*functions)->C_FindObjectsFinal(*session), CKR_OK);
    cr_assert_eq(found, 1);
    return objects[0];
}

static void expect_sealed(CK_OBJECT_CLASS class)
{
    CK_FUNCTION_LIST *functions = NULL;
    CK_SESSION_HANDLE session = 0;
    CK_OBJECT_HANDLE object = find_key(class, &functions, &session);
    uint8_t bytes[64];
    CK_ATTRIBUTE value = {CKA_VALUE, bytes, sizeof(bytes)};
    cr_assert_eq(functions->C_GetAttributeValue(session, object, &value, 1), CKR_ATTRIBUTE_SENSITIVE);
    CK_BBOOL yes = CK_TRUE;
    CK_BBOOL no = CK_FALSE;
    CK_ATTRIBUTE extractable = {CKA_EXTRACTABLE, &yes, sizeof(yes)};
    cr_assert_neq(functions->C_SetAttributeValue(session, object, &extractable, 1), CKR_OK);
    CK_ATTRIBUTE sensitive = {CKA_SENSITIVE, &no, sizeof(no)};
    cr_assert_neq(functions->C_SetAttributeValue(session, object, &sensitive, 1), CKR_OK);
    (void)functions->C_CloseSession(session);
}

Test(kms_pkcs11, keys_cannot_be_read_out_of_the_token)
{
    struct kms_call call = {0};
    open_token();
    cr_assert_eq(perform(&call, KMS_CREATE), STATUS_OK);
    expect_sealed(CKO_SECRET_KEY);
}

Test(kms_pkcs11, imports_a_key_that_openssl_encrypted)
{
    static const uint8_t key[32] = "the customer's own master key 01";
    struct kms_call call = {.dek = &dek};
    struct kms_call transport = {0};
    open_token();
    cr_assert_eq(perform(&call, KMS_IMPORT), STATUS_DENIED, "no transport key yet");
    cr_assert_eq(perform(&transport, KMS_TRANSPORT), STATUS_OK, "%s", transport.message);
    cr_assert(strcmp(transport.algorithm, TRANSPORT_SHA256) == 0 || strcmp(transport.algorithm, TRANSPORT_SHA1) == 0);
    struct kms_call again = {0};
    cr_assert_eq(perform(&again, KMS_TRANSPORT), STATUS_OK);
    cr_assert_str_eq(again.public_key, transport.public_key, "made once");

    reopen(); /* What the token's OAEP takes is found out again. */
    encrypt_import(&transport, key, sizeof(key));
    cr_assert_eq(perform(&transport, KMS_IMPORT), STATUS_OK, "%s", transport.message);
    expect_sealed(CKO_SECRET_KEY);
    memcpy(call.cmk, transport.cmk, sizeof(call.cmk));
    memset(dek.bytes, 0x5a, sizeof(dek.bytes));
    set_context(&call, "context");
    cr_assert_eq(perform(&call, KMS_WRAP), STATUS_OK, "%s", call.message);
    call.dek = &got;
    cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_OK, "%s", call.message);
    cr_assert_arr_eq(got.bytes, dek.bytes, KEY_BYTES);
    cr_assert_eq(perform(&call, KMS_DESTROY), STATUS_OK);
    cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_NOT_FOUND);
}

Test(kms_pkcs11, refuses_imports_that_are_no_master_key)
{
    static const uint8_t key[48] = "bytes of a key that is too short or too long....";
    static const size_t lengths[] = {1, 16, 24, 31, 33, 48};
    struct kms_call call = {0};
    open_token();
    cr_assert_eq(perform(&call, KMS_TRANSPORT), STATUS_OK, "%s", call.message);
    for (size_t i = 0; i < ARRAY_LENGTH(lengths); i++) {
        encrypt_import(&call, key, lengths[i]);
        cr_assert_neq(perform(&call, KMS_IMPORT), STATUS_OK, "%zu bytes", lengths[i]);
        cr_assert(call.status == STATUS_INVALID || call.status == STATUS_DENIED, "%zu bytes: %s: %s", lengths[i],
                  status_name(call.status), call.message);
        cr_assert_eq(call.cmk[0], '\0');
    }
    encrypt_import(&call, key, 32);
    call.sealed[100] ^= 1;
    cr_assert_eq(perform(&call, KMS_IMPORT), STATUS_DENIED, "%s", call.message);
    cr_assert_not_null(strstr(call.message, "RSA-OAEP"), "%s", call.message);
    call.sealed[100] ^= 1;
    call.sealed_bytes = 5;
    cr_assert_eq(perform(&call, KMS_IMPORT), STATUS_DENIED, "%s", call.message);
    call.sealed_bytes = 384;
    cr_assert_eq(perform(&call, KMS_IMPORT), STATUS_OK, "%s", call.message);
    (void)find_key(CKO_SECRET_KEY, &(CK_FUNCTION_LIST *){NULL},
                   &(CK_SESSION_HANDLE){0}); /* One: the refused ones left nothing. */
}

Test(kms_pkcs11, says_what_is_wrong_when_it_is_opened)
{
    cr_assert_eq(open_with(module, "trilith", "0000"), STATUS_DENIED);
    cr_assert_not_null(strstr(message, "PIN is wrong"), "%s", message);
    cr_assert_null(strstr(message, "0000 "));
    cr_assert_eq(open_with("/nonexistent/module.so", "trilith", pin), STATUS_NOT_FOUND);
    cr_assert_not_null(strstr(message, "/nonexistent/module.so"), "%s", message);
    cr_assert_eq(open_with("libm.so.6", "trilith", pin), STATUS_NOT_FOUND);
    cr_assert_not_null(strstr(message, "not a PKCS#11 module"), "%s", message);
    cr_assert_eq(open_with(module, "", pin), STATUS_INVALID);
    cr_assert_eq(open_with(module, "a label of more than thirty-two bytes", pin), STATUS_INVALID);
    open_token();
}

/* Every operation answers that the key is away, and why. */
static void expect_away(const char *why)
{
    static const enum kms_operation operations[] = {KMS_CREATE, KMS_IMPORT,  KMS_TRANSPORT, KMS_WRAP,
                                                    KMS_UNWRAP, KMS_DESTROY, KMS_CHECK};
    struct kms_call call = {.dek = &dek};
    for (size_t i = 0; i < ARRAY_LENGTH(operations); i++) {
        cr_assert_eq(perform(&call, operations[i]), STATUS_KEY_AWAY, "operation %zu: %s", i, call.message);
        cr_assert_not_null(strstr(call.message, why), "operation %zu: %s", i, call.message);
    }
}

Test(kms_pkcs11, opens_without_its_token_and_says_which_are_there)
{
    cr_assert_eq(open_with(module, "other", pin), STATUS_OK, "%s", message);
    cr_assert_not_null(provider);
    cr_assert_not_null(strstr(message, "\"other\""), "%s", message);
    cr_assert_not_null(strstr(message, "\"trilith\""), "it lists what there is: %s", message);
    cr_assert_null(strstr(message, pin));
    expect_away("\"trilith\"");
}

Test(kms_pkcs11, a_token_that_was_away_at_the_start_is_used_when_it_comes)
{
    struct kms_call call = {0};
    open_token();
    cr_assert_eq(message[0], '\0', "%s", message);
    create_and_wrap(&call);
    provider->ops->close(provider);
    move_tokens("tokens", "away");
    open_token();
    cr_assert_neq(message[0], '\0');
    expect_away("trilith");
    move_tokens("away", "tokens");
    cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_OK, "%s", call.message);
    cr_assert_arr_eq(got.bytes, dek.bytes, KEY_BYTES);
}

Test(kms_pkcs11, a_wrong_pin_for_a_token_that_comes_later_is_tried_once)
{
    struct kms_call call = {0};
    move_tokens("tokens", "away");
    cr_assert_eq(open_with(module, "trilith", "0000"), STATUS_OK, "%s", message);
    move_tokens("away", "tokens");
    cr_assert_eq(perform(&call, KMS_CHECK), STATUS_KEY_AWAY);
    cr_assert_not_null(strstr(call.message, "PIN is wrong"), "%s", call.message);
    expect_away("not tried again");
}

Test(kms_pkcs11, a_token_that_was_taken_away_is_used_again_when_it_is_back)
{
    struct kms_call call = {0};
    open_token();
    create_and_wrap(&call);
    for (unsigned i = 0; i < 2; i++) {
        move_tokens("tokens", "away");
        cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_KEY_AWAY, "%s", call.message);
        cr_assert_eq(perform(&call, KMS_CHECK), STATUS_KEY_AWAY, "%s", call.message);
        cr_assert_eq(perform(&call, KMS_CREATE), STATUS_KEY_AWAY, "%s", call.message);
        cr_assert_eq(perform(&call, KMS_DESTROY), STATUS_KEY_AWAY);
        cr_assert_eq(perform(&call, KMS_TRANSPORT), STATUS_KEY_AWAY);
        move_tokens("away", "tokens");
        memset(&got, 0, sizeof(got));
        cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_OK, "%s", call.message);
        cr_assert_arr_eq(got.bytes, dek.bytes, KEY_BYTES);
    }
    move_tokens("tokens", "away");
    cr_assert_eq(perform(&call, KMS_CHECK), STATUS_KEY_AWAY, "also when that is the first to meet it: %s",
                 call.message);
    move_tokens("away", "tokens");
    cr_assert_eq(perform(&call, KMS_CHECK), STATUS_OK, "%s", call.message);
}

Test(kms_pkcs11, goes_on_when_the_module_was_shut_down_below_it)
{
    struct kms_call call = {0};
    CK_FUNCTION_LIST *functions = NULL;
    CK_SESSION_HANDLE session = 0;
    open_token();
    create_and_wrap(&call);
    (void)find_key(CKO_SECRET_KEY, &functions, &session);
    cr_assert_eq(functions->C_Finalize(NULL), CKR_OK);
    cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_OK, "%s", call.message);
    cr_assert_arr_eq(got.bytes, dek.bytes, KEY_BYTES);
}

Test(kms_pkcs11, a_pin_that_was_changed_is_tried_once)
{
    char command[512];
    struct kms_call call = {0};
    open_token();
    create_and_wrap(&call);
    move_tokens("tokens", "away");
    cr_assert_eq(perform(&call, KMS_CHECK), STATUS_KEY_AWAY);
    move_tokens("away", "tokens");
    (void)snprintf(command, sizeof(command),
                   "pkcs11-tool --module %s --login --pin %s --change-pin --new-pin 87654321 >%s/output 2>&1", module,
                   pin, directory);
    cr_assert_eq(system(command), 0);
    cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_KEY_AWAY);
    cr_assert_not_null(strstr(call.message, "PIN is wrong"), "%s", call.message);
    cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_KEY_AWAY);
    cr_assert_not_null(strstr(call.message, "not tried again"), "%s", call.message);
    provider->ops->close(provider);
    cr_assert_eq(open_with(module, "trilith", "87654321"), STATUS_OK, "%s", message);
    cr_assert_eq(perform(&call, KMS_UNWRAP), STATUS_OK, "%s", call.message);
}

/* ---- signing keys ------------------------------------------------------------------------------ */

static struct kms_call signing_key_of(uint32_t number)
{
    struct kms_call call = {.number = number};
    cr_assert_eq(perform(&call, KMS_SIGNING_KEY), STATUS_OK, "%s", call.message);
    return call;
}

static enum status sign(struct kms_call *call, struct kms_batch *batch)
{
    call->batch = batch;
    call->operation = KMS_SIGN;
    kms_perform(provider, call);
    return call->status;
}

Test(kms_pkcs11, signs_with_keys_that_stay_in_the_token)
{
    static uint8_t bytes[KIB(8)];
    struct kms_batch batch = {.count = 3, .ends = {3, 3, sizeof(bytes)}, .bytes = bytes};
    memset(bytes, 0x5a, sizeof(bytes));
    open_token();
    struct kms_call call = signing_key_of(1);
    expect_sealed(CKO_PRIVATE_KEY);
    struct kms_call other = signing_key_of(2);
    cr_assert_neq(memcmp(&call.signing_key, &other.signing_key, PUBLIC_KEY_BYTES), 0);
    cr_assert_eq(sign(&call, &batch), STATUS_OK, "%s", call.message);
    for (uint32_t i = 0; i < 3; i++) {
        size_t size = 0;
        const uint8_t *text = kms_batch_message(&batch, i, &size);
        cr_assert(signature_verify(&call.signing_key, text, size, &batch.signatures[i]));
    }
    reopen();
    struct kms_call again = signing_key_of(1);
    cr_assert_arr_eq(again.signing_key.bytes, call.signing_key.bytes, PUBLIC_KEY_BYTES);
    cr_assert_eq(sign(&again, &batch), STATUS_OK, "%s", again.message);

    again.signing_key = other.signing_key; /* Not what this number has. */
    cr_assert_eq(sign(&again, &batch), STATUS_NOT_FOUND);
    again.number = 9;
    cr_assert_eq(sign(&again, &batch), STATUS_NOT_FOUND);
    cr_assert_not_null(strstr(again.message, "signing key"), "%s", again.message);
}
