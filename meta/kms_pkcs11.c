/* kms_pkcs11.c - master keys that stay in a PKCS#11 token.
 *
 * CMKs AES-256, CKA_ID = 16 random bytes of the token, CKA_LABEL = "trilith-cmk-<hex>". Looked up with every call, so
 * no
 *         handle outlives what it names.
 * Wrapped DEK    nonce[12] | ciphertext[32] | tag[16]
 * Errors  A call that fails for no fault of its own is made once more over a new connection, so that a token that was
 *         restarted costs nobody an error. A key that is not found is looked for again in the same way: some modules go
 *         on without a token, as if it were empty. Modules that say no more than CKR_GENERAL_ERROR of bytes that do not
 *         open are asked to open something of their own: when that works, it was the bytes. */
#include "meta/kms_pkcs11_private.h"

#include "base/digest.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCRATCH_BYTES 128 /* more than C_Decrypt() gives: some modules ask for room for the tag too */
#define NONCE_BYTES   12
#define TAG_BYTES     16
#define WRAPPED_BYTES (NONCE_BYTES + KEY_BYTES + TAG_BYTES)

_Static_assert(WRAPPED_BYTES <= KMS_WRAPPED_BYTES_MAX, "a wrapped DEK fits");

/* ---- refusing ---------------------------------------------------------------------------------- */

void pkcs11_refuse(struct kms_call *call, enum status status, const char *why)
{
    call->status = status;
    (void)snprintf(call->message, sizeof(call->message), "%s", why);
}

void pkcs11_refuse_value(struct kms_pkcs11 *kms, struct kms_call *call, CK_RV value, const char *what)
{
    const struct token_error *error = token_error_of(value);
    call->status = error->status == STATUS_DENIED ? STATUS_KEY_AWAY : error->status;
    (void)snprintf(call->message, sizeof(call->message), "token \"%s\": %s: %s (%s, 0x%lx)", kms->token.label, what,
                   error->meaning, error->name, value);
    kms->again = call->status == STATUS_KEY_AWAY;
}

void pkcs11_refuse_missing(struct kms_pkcs11 *kms, struct kms_call *call, const char *what)
{
    call->status = STATUS_NOT_FOUND;
    (void)snprintf(call->message, sizeof(call->message),
                   "token \"%s\" has no %s: it was destroyed, or this is another token", kms->token.label, what);
    kms->again = true;
}

bool pkcs11_may_be_the_bytes(CK_RV value)
{
    return value == CKR_GENERAL_ERROR || value == CKR_FUNCTION_FAILED || value == CKR_ENCRYPTED_DATA_INVALID ||
           value == CKR_ENCRYPTED_DATA_LEN_RANGE || value == CKR_DATA_INVALID || value == CKR_DATA_LEN_RANGE ||
           value == CKR_SIGNATURE_INVALID || value == CKR_WRAPPED_KEY_INVALID || value == CKR_WRAPPED_KEY_LEN_RANGE ||
           value == CKR_ARGUMENTS_BAD || value == CKR_DEVICE_ERROR || value == 0x35 /* CKR_AEAD_DECRYPT_FAILED */;
}

CK_BBOOL pkcs11_yes = CK_TRUE;
CK_BBOOL pkcs11_no = CK_FALSE;

/* ---- objects ----------------------------------------------------------------------------------- */

CK_RV pkcs11_find(struct kms_pkcs11 *kms, CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *object, bool *found)
{
    const CK_FUNCTION_LIST *functions = kms->token.functions;
    CK_ULONG matches = 0;
    CK_RV value = functions->C_FindObjectsInit(kms->token.session, template, count);
    if (value != CKR_OK) {
        return value;
    }
    value = functions->C_FindObjects(kms->token.session, object, 1, &matches);
    CK_RV end = functions->C_FindObjectsFinal(kms->token.session);
    *found = matches > 0;
    return value != CKR_OK ? value : end;
}

/* The CMK that the call names. False: the call is refused. */
static bool cmk_find(struct kms_pkcs11 *kms, struct kms_call *call, CK_OBJECT_HANDLE *object)
{
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    uint8_t id[ID_BYTES];
    size_t length = strnlen(call->cmk, sizeof(call->cmk));
    if (length != strlen(PREFIX) + ID_HEX || memcmp(call->cmk, PREFIX, strlen(PREFIX)) != 0 ||
        !hex_decode(call->cmk + strlen(PREFIX), ID_HEX, id, ID_BYTES)) {
        pkcs11_refuse(call, STATUS_INVALID,
                      "this is not the name of a master key in a token: those begin with \"pkcs11:\"");
        return false;
    }
    CK_ATTRIBUTE template[] = {ATTRIBUTE(CKA_CLASS, class), ATTRIBUTE(CKA_TOKEN, pkcs11_yes), ATTRIBUTE(CKA_ID, id)};
    bool found = false;
    CK_RV value = pkcs11_find(kms, template, ARRAY_LENGTH(template), object, &found);
    if (value != CKR_OK) {
        pkcs11_refuse_value(kms, call, value, "finding the master key");
        return false;
    }
    if (!found) {
        pkcs11_refuse_missing(kms, call, call->cmk);
    }
    return found;
}

void cmk_template_init(struct cmk_template *template, const uint8_t id[ID_BYTES], enum cmk_kind kind)
{
    bool is_sealed = kind != CMK_MEASURED;
    template->class = CKO_SECRET_KEY;
    template->type = CKK_AES;
    memcpy(template->id, id, ID_BYTES);
    memcpy(template->label, LABEL_PREFIX, strlen(LABEL_PREFIX));
    hex_encode(id, ID_BYTES, template->label + strlen(LABEL_PREFIX));
    template->label[strlen(LABEL_PREFIX) + ID_HEX] = '\0';
    const CK_ATTRIBUTE attributes[] = {
        ATTRIBUTE(CKA_CLASS, template->class),
        ATTRIBUTE(CKA_KEY_TYPE, template->type),
        {CKA_TOKEN, kind == CMK_KEPT ? &pkcs11_yes : &pkcs11_no, sizeof(pkcs11_yes)},
        ATTRIBUTE(CKA_PRIVATE, pkcs11_yes),
        {CKA_SENSITIVE, is_sealed ? &pkcs11_yes : &pkcs11_no, sizeof(pkcs11_yes)},
        {CKA_EXTRACTABLE, is_sealed ? &pkcs11_no : &pkcs11_yes, sizeof(pkcs11_yes)},
        ATTRIBUTE(CKA_ENCRYPT, pkcs11_yes),
        ATTRIBUTE(CKA_DECRYPT, pkcs11_yes),
        ATTRIBUTE(CKA_SIGN, pkcs11_no),
        ATTRIBUTE(CKA_VERIFY, pkcs11_no),
        ATTRIBUTE(CKA_WRAP, pkcs11_no),
        ATTRIBUTE(CKA_UNWRAP, pkcs11_no),
        ATTRIBUTE(CKA_ID, template->id),
        {CKA_LABEL, template->label, strlen(template->label)},
    };
    memcpy(template->attributes, attributes, sizeof(attributes));
    template->count = ARRAY_LENGTH(attributes);
}

CK_RV cmk_examine(struct kms_pkcs11 *kms, CK_OBJECT_HANDLE object, struct cmk_facts *facts)
{
    CK_BBOOL sensitive = CK_FALSE;
    CK_BBOOL extractable = CK_TRUE;
    CK_ATTRIBUTE attributes[] = {ATTRIBUTE(CKA_SENSITIVE, sensitive), ATTRIBUTE(CKA_EXTRACTABLE, extractable),
                                 ATTRIBUTE(CKA_VALUE_LEN, facts->key_bytes)};
    facts->key_bytes = 0;
    CK_RV value =
        kms->token.functions->C_GetAttributeValue(kms->token.session, object, attributes, ARRAY_LENGTH(attributes));
    facts->is_sealed = sensitive == CK_TRUE && extractable == CK_FALSE;
    if (value == CKR_ATTRIBUTE_TYPE_INVALID) {
        facts->key_bytes = 0; /* Every token knows the other two. */
        value = CKR_OK;
    }
    return value;
}

void cmk_accept(struct kms_pkcs11 *kms, struct kms_call *call, CK_OBJECT_HANDLE object, const uint8_t id[ID_BYTES],
                CK_RV value, const struct cmk_facts *facts)
{
    if (value == CKR_OK && facts->is_sealed && facts->key_bytes == KEY_BYTES) {
        char hex[ID_HEX + 1];
        hex_encode(id, ID_BYTES, hex);
        (void)snprintf(call->cmk, sizeof(call->cmk), PREFIX "%s", hex);
        return;
    }
    (void)kms->token.functions->C_DestroyObject(kms->token.session, object);
    if (value != CKR_OK) {
        pkcs11_refuse_value(kms, call, value, "examining a new key");
    } else if (!facts->is_sealed) {
        pkcs11_refuse(call, STATUS_UNSUPPORTED,
                      "the token makes keys that can be read out of it: it can't hold master keys");
    } else {
        pkcs11_refuse(call, STATUS_INVALID, "the import opens, but a master key has 32 bytes");
    }
}

static void perform_create(struct kms_pkcs11 *kms, struct kms_call *call)
{
    const CK_FUNCTION_LIST *functions = kms->token.functions;
    CK_MECHANISM mechanism = {.mechanism = CKM_AES_KEY_GEN};
    CK_ULONG key_bytes = KEY_BYTES;
    CK_OBJECT_HANDLE object = 0;
    uint8_t id[ID_BYTES];
    CK_RV value = functions->C_GenerateRandom(kms->token.session, id, sizeof(id));
    if (value == CKR_OK) {
        struct cmk_template template;
        cmk_template_init(&template, id, CMK_KEPT);
        template.attributes[template.count] = (CK_ATTRIBUTE)ATTRIBUTE(CKA_VALUE_LEN, key_bytes);
        value =
            functions->C_GenerateKey(kms->token.session, &mechanism, template.attributes, template.count + 1, &object);
    }
    if (value != CKR_OK) {
        pkcs11_refuse_value(kms, call, value, "making a master key");
        return;
    }
    struct cmk_facts facts;
    value = cmk_examine(kms, object, &facts);
    cmk_accept(kms, call, object, id, value, &facts);
}

static void perform_destroy(struct kms_pkcs11 *kms, struct kms_call *call)
{
    CK_OBJECT_HANDLE object = 0;
    if (cmk_find(kms, call, &object)) {
        CK_RV value = kms->token.functions->C_DestroyObject(kms->token.session, object);
        if (value != CKR_OK) {
            pkcs11_refuse_value(kms, call, value, "destroying the master key");
        }
    }
}

/* ---- wrapping ---------------------------------------------------------------------------------- */

struct gcm {
    CK_GCM_PARAMS parameters;
    CK_MECHANISM mechanism;
};

static void gcm_init(struct gcm *gcm, uint8_t nonce[NONCE_BYTES], uint8_t *context, size_t context_bytes)
{
    gcm->parameters = (CK_GCM_PARAMS){
        .iv_ptr = nonce,
        .iv_len = NONCE_BYTES,
        .iv_bits = 8UL * NONCE_BYTES,
        .aad_ptr = context,
        .aad_len = context_bytes,
        .tag_bits = 8UL * TAG_BYTES,
    };
    gcm->mechanism = (CK_MECHANISM){CKM_AES_GCM, &gcm->parameters, sizeof(gcm->parameters)};
}

/* 32 bytes from the scratch into `wrapped`. */
static CK_RV wrap(struct kms_pkcs11 *kms, CK_OBJECT_HANDLE cmk, uint8_t *context, size_t context_bytes,
                  uint8_t wrapped[WRAPPED_BYTES])
{
    const CK_FUNCTION_LIST *functions = kms->token.functions;
    CK_ULONG bytes = WRAPPED_BYTES - NONCE_BYTES;
    struct gcm gcm;
    CK_RV value = functions->C_GenerateRandom(kms->token.session, wrapped, NONCE_BYTES);
    if (value == CKR_OK) {
        gcm_init(&gcm, wrapped, context, context_bytes);
        value = functions->C_EncryptInit(kms->token.session, &gcm.mechanism, cmk);
    }
    if (value == CKR_OK) {
        value = functions->C_Encrypt(kms->token.session, kms->scratch, KEY_BYTES, wrapped + NONCE_BYTES, &bytes);
    }
    return value == CKR_OK && bytes != WRAPPED_BYTES - NONCE_BYTES ? CKR_GENERAL_ERROR : value;
}

/* `wrapped` into the scratch. */
static CK_RV unwrap(struct kms_pkcs11 *kms, CK_OBJECT_HANDLE cmk, uint8_t *context, size_t context_bytes,
                    uint8_t wrapped[WRAPPED_BYTES])
{
    const CK_FUNCTION_LIST *functions = kms->token.functions;
    CK_ULONG bytes = SCRATCH_BYTES;
    struct gcm gcm;
    gcm_init(&gcm, wrapped, context, context_bytes);
    CK_RV value = functions->C_DecryptInit(kms->token.session, &gcm.mechanism, cmk);
    if (value == CKR_OK) {
        value = functions->C_Decrypt(kms->token.session, wrapped + NONCE_BYTES, WRAPPED_BYTES - NONCE_BYTES,
                                     kms->scratch, &bytes);
    }
    return value == CKR_OK && bytes != KEY_BYTES ? CKR_GENERAL_ERROR : value;
}

/* Does the CMK open what it has wrapped itself? */
static bool cmk_works(struct kms_pkcs11 *kms, CK_OBJECT_HANDLE cmk)
{
    uint8_t wrapped[WRAPPED_BYTES];
    uint8_t context[] = "probe";
    return wrap(kms, cmk, context, sizeof(context), wrapped) == CKR_OK &&
           unwrap(kms, cmk, context, sizeof(context), wrapped) == CKR_OK;
}

static void perform_wrap(struct kms_pkcs11 *kms, struct kms_call *call)
{
    CK_OBJECT_HANDLE cmk = 0;
    if (!cmk_find(kms, call, &cmk)) {
        return;
    }
    memcpy(kms->scratch, call->dek->bytes, KEY_BYTES);
    CK_RV value = wrap(kms, cmk, call->context, call->context_bytes, call->sealed);
    if (value != CKR_OK) {
        pkcs11_refuse_value(kms, call, value, "wrapping a key");
        return;
    }
    call->sealed_bytes = WRAPPED_BYTES;
}

static void perform_unwrap(struct kms_pkcs11 *kms, struct kms_call *call)
{
    static const char refusal[] = "the wrapped key was changed, or belongs to another tenant, version or master key";
    CK_OBJECT_HANDLE cmk = 0;
    if (!cmk_find(kms, call, &cmk)) {
        return;
    }
    if (call->sealed_bytes != WRAPPED_BYTES) {
        pkcs11_refuse(call, STATUS_DENIED, refusal);
        return;
    }
    CK_RV value = unwrap(kms, cmk, call->context, call->context_bytes, call->sealed);
    if (value == CKR_OK) {
        memcpy(call->dek->bytes, kms->scratch, KEY_BYTES);
    } else if (pkcs11_may_be_the_bytes(value) && cmk_works(kms, cmk)) {
        pkcs11_refuse(call, STATUS_DENIED, refusal);
    } else {
        pkcs11_refuse_value(kms, call, value, "unwrapping a key");
    }
}

/* ---- the provider ------------------------------------------------------------------------------ */

/* Is the token there? What a module remembers does not count: something must be read from it. A token without any key
 * is believed on the second try, over a new connection. */
static void perform_check(struct kms_pkcs11 *kms, struct kms_call *call)
{
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_ATTRIBUTE template[] = {ATTRIBUTE(CKA_CLASS, class), ATTRIBUTE(CKA_TOKEN, pkcs11_yes)};
    CK_OBJECT_HANDLE object = 0;
    bool found = false;
    CK_RV value = pkcs11_find(kms, template, ARRAY_LENGTH(template), &object, &found);
    if (value == CKR_OK && found) {
        struct cmk_facts facts;
        value = cmk_examine(kms, object, &facts);
    }
    if (value != CKR_OK) {
        pkcs11_refuse_value(kms, call, value, "looking for keys");
    } else if (!found) {
        kms->again = true;
    }
}

static void perform_once(struct kms_pkcs11 *kms, struct kms_call *call)
{
    call->status = STATUS_OK;
    call->message[0] = '\0';
    kms->again = false;
    if (token_connect(&kms->token, call->message, sizeof(call->message)) != STATUS_OK) {
        call->status = STATUS_KEY_AWAY;
        return;
    }
    switch (call->operation) {
    case KMS_CREATE:
        perform_create(kms, call);
        break;
    case KMS_IMPORT:
        pkcs11_import(kms, call);
        break;
    case KMS_TRANSPORT:
        pkcs11_transport(kms, call);
        break;
    case KMS_WRAP:
        perform_wrap(kms, call);
        break;
    case KMS_UNWRAP:
        perform_unwrap(kms, call);
        break;
    case KMS_DESTROY:
        perform_destroy(kms, call);
        break;
    case KMS_CHECK:
        perform_check(kms, call);
        break;
    case KMS_SIGNING_KEY:
        pkcs11_signing_key(kms, call);
        break;
    case KMS_SIGN:
        pkcs11_sign(kms, call);
        break;
    }
    wipe_memory(kms->scratch, SCRATCH_BYTES);
}

static void pkcs11_perform(struct kms_provider *provider, struct kms_call *call)
{
    struct kms_pkcs11 *kms = CONTAINER_OF(provider, struct kms_pkcs11, provider);
    kms->is_second_try = false;
    perform_once(kms, call);
    if (kms->again) {
        kms->is_second_try = true;
        token_disconnect(&kms->token);
        perform_once(kms, call);
    }
    if (call->status == STATUS_KEY_AWAY) {
        token_disconnect(&kms->token);
    }
}

static void pkcs11_close(struct kms_provider *provider)
{
    struct kms_pkcs11 *kms = CONTAINER_OF(provider, struct kms_pkcs11, provider);
    token_close(&kms->token);
    guarded_release(kms->scratch);
    free(kms);
}

static const struct kms_provider_ops pkcs11_ops = {.perform = pkcs11_perform, .close = pkcs11_close};

/* Wrapping DEKs is what a token is for; imports can do without, and are refused one by one. */
static enum status check_mechanisms(const struct token *token, char *message, size_t message_bytes)
{
    static const struct {
        CK_MECHANISM_TYPE mechanism;
        const char *name;
    } needed[] = {{CKM_AES_KEY_GEN, "AES key generation (CKM_AES_KEY_GEN)"}, {CKM_AES_GCM, "AES-GCM (CKM_AES_GCM)"}};
    CK_SESSION_INFO session;
    CK_MECHANISM_INFO info;
    if (token->functions->C_GetSessionInfo(token->session, &session) != CKR_OK) {
        (void)snprintf(message, message_bytes, "token \"%s\": does not answer", token->label);
        return STATUS_KEY_AWAY;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(needed); i++) {
        if (token->functions->C_GetMechanismInfo(session.slotID, needed[i].mechanism, &info) != CKR_OK) {
            (void)snprintf(message, message_bytes, "token \"%s\": lacks %s, which master keys need", token->label,
                           needed[i].name);
            return STATUS_UNSUPPORTED;
        }
    }
    return STATUS_OK;
}

/* Connect for the first time. STATUS_OK also when the token is away. */
static enum status connect_first(struct token *token, char *message, size_t message_bytes)
{
    enum status status = token_connect(token, message, message_bytes);
    if (status == STATUS_OK) {
        status = check_mechanisms(token, message, message_bytes);
    }
    if (status == STATUS_NOT_FOUND || status == STATUS_KEY_AWAY) {
        log_event(LOG_WARNING, "kms_token_away", "token=%s reason=%s", token->label, message);
        token_disconnect(token);
        return STATUS_OK;
    }
    return status;
}

enum status kms_pkcs11_open(const struct kms_pkcs11_options *options, struct kms_provider **provider, char *message,
                            size_t message_bytes)
{
    struct kms_pkcs11 *kms = calloc(1, sizeof(*kms));
    uint8_t *scratch = guarded_take(SCRATCH_BYTES);
    if (kms == NULL || scratch == NULL) {
        free(kms);
        guarded_release(scratch);
        (void)snprintf(message, message_bytes, "no locked memory for keys: raise the limit memlock");
        return STATUS_FULL;
    }
    kms->provider = (struct kms_provider){.ops = &pkcs11_ops, .name = "pkcs11"};
    kms->scratch = scratch;
    enum status status = token_load(&kms->token, options, message, message_bytes);
    if (status == STATUS_OK) {
        status = connect_first(&kms->token, message, message_bytes);
    }
    if (status != STATUS_OK) {
        pkcs11_close(&kms->provider);
        return status;
    }
    *provider = &kms->provider;
    return STATUS_OK;
}
