/* kms_pkcs11_token.c - finding a token, logging in, and saying in plain words why not.
 *
 * A connection is made from C_Initialize() on and given up down to C_Finalize(): a module lists its slots once, so a token
 * that comes back is often seen in no other way. The module itself stays loaded to the end of the process: many leave
 * threads and exit handlers behind that must find their code. */
#include "meta/kms_pkcs11_token.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#define SLOTS_MAX 256

#define ERROR(value, status, meaning)                                                                                  \
    {                                                                                                                  \
        value, status, #value, meaning                                                                                 \
    }

static const struct token_error errors[] = {
    ERROR(CKR_DEVICE_REMOVED, STATUS_KEY_AWAY, "the token was removed"),
    ERROR(CKR_TOKEN_NOT_PRESENT, STATUS_KEY_AWAY, "the token is not there"),
    ERROR(CKR_TOKEN_NOT_RECOGNIZED, STATUS_KEY_AWAY, "the token is not recognised"),
    ERROR(CKR_SLOT_ID_INVALID, STATUS_KEY_AWAY, "the token's slot is gone"),
    ERROR(CKR_DEVICE_ERROR, STATUS_KEY_AWAY, "the token reports a fault"),
    ERROR(CKR_SESSION_HANDLE_INVALID, STATUS_KEY_AWAY, "the token has closed the session"),
    ERROR(CKR_SESSION_CLOSED, STATUS_KEY_AWAY, "the token has closed the session"),
    ERROR(CKR_USER_NOT_LOGGED_IN, STATUS_KEY_AWAY, "the token has ended the login"),
    ERROR(CKR_CRYPTOKI_NOT_INITIALIZED, STATUS_KEY_AWAY, "the module was shut down"),
    ERROR(CKR_OBJECT_HANDLE_INVALID, STATUS_KEY_AWAY, "the token has lost the key's handle"),
    ERROR(CKR_KEY_HANDLE_INVALID, STATUS_KEY_AWAY, "the token has lost the key's handle"),
    ERROR(CKR_UNWRAPPING_KEY_HANDLE_INVALID, STATUS_KEY_AWAY, "the token has lost the key's handle"),
    ERROR(CKR_GENERAL_ERROR, STATUS_KEY_AWAY, "the module failed and does not say why"),
    ERROR(CKR_FUNCTION_FAILED, STATUS_KEY_AWAY, "the module failed and does not say why"),
    ERROR(CKR_TOKEN_WRITE_PROTECTED, STATUS_KEY_AWAY, "the token is write-protected"),
    ERROR(CKR_SESSION_READ_ONLY, STATUS_KEY_AWAY, "the token is write-protected"),
    ERROR(CKR_HOST_MEMORY, STATUS_FULL, "the module has no memory"),
    ERROR(CKR_DEVICE_MEMORY, STATUS_FULL, "the token is full"),
    ERROR(CKR_SESSION_COUNT, STATUS_FULL, "the token has no session free"),
    ERROR(CKR_MECHANISM_INVALID, STATUS_UNSUPPORTED, "the token lacks the mechanism"),
    ERROR(CKR_MECHANISM_PARAM_INVALID, STATUS_UNSUPPORTED, "the token lacks the mechanism's parameters"),
    ERROR(CKR_ARGUMENTS_BAD, STATUS_UNSUPPORTED, "the token does not take these parameters"),
    ERROR(CKR_FUNCTION_NOT_SUPPORTED, STATUS_UNSUPPORTED, "the token lacks the function"),
    ERROR(CKR_KEY_SIZE_RANGE, STATUS_UNSUPPORTED, "the token does not make keys of this size"),
    ERROR(CKR_ATTRIBUTE_TYPE_INVALID, STATUS_UNSUPPORTED, "the token does not take the key's attributes"),
    ERROR(CKR_ATTRIBUTE_VALUE_INVALID, STATUS_UNSUPPORTED, "the token does not take the key's attributes"),
    ERROR(CKR_TEMPLATE_INCONSISTENT, STATUS_UNSUPPORTED, "the token does not take the key's attributes"),
    ERROR(CKR_KEY_FUNCTION_NOT_PERMITTED, STATUS_UNSUPPORTED, "the key may not be used for this"),
    ERROR(CKR_ACTION_PROHIBITED, STATUS_UNSUPPORTED, "the token's policy forbids it"),
    ERROR(CKR_PIN_INCORRECT, STATUS_DENIED, "the PIN is wrong"),
    ERROR(CKR_PIN_INVALID, STATUS_DENIED, "the PIN is malformed"),
    ERROR(CKR_PIN_LEN_RANGE, STATUS_DENIED, "the PIN is too short or too long for the token"),
    ERROR(CKR_PIN_EXPIRED, STATUS_DENIED, "the PIN has expired: set a new one"),
    ERROR(CKR_PIN_LOCKED, STATUS_DENIED,
          "the PIN is locked after too many wrong ones: the security officer must set a new one"),
    ERROR(CKR_USER_PIN_NOT_INITIALIZED, STATUS_DENIED,
          "the token has no user PIN yet: the security officer must set one"),
};

const struct token_error *token_error_of(CK_RV value)
{
    static const struct token_error unknown = {0, STATUS_KEY_AWAY, "another error", "the module failed"};
    for (size_t i = 0; i < ARRAY_LENGTH(errors); i++) {
        if (errors[i].value == value) {
            return &errors[i];
        }
    }
    return &unknown;
}

static enum status refuse(const struct token *token, CK_RV value, const char *what, char *message, size_t message_bytes)
{
    const struct token_error *error = token_error_of(value);
    (void)snprintf(message, message_bytes, "token \"%s\": %s: %s (%s, 0x%lx)", token->label, what, error->meaning,
                   error->name, value);
    return error->status;
}

enum status token_load(struct token *token, const struct kms_pkcs11_options *options, char *message,
                       size_t message_bytes)
{
    if (strlen(options->token) == 0 || strlen(options->token) > TOKEN_LABEL_BYTES) {
        (void)snprintf(message, message_bytes, "the label of a token has 1 to %d bytes", TOKEN_LABEL_BYTES);
        return STATUS_INVALID;
    }
    (void)snprintf(token->label, sizeof(token->label), "%s", options->token);
    token->pin = guarded_take(strlen(options->pin) + 1);
    if (token->pin == NULL) {
        (void)snprintf(message, message_bytes, "no locked memory for the PIN: raise the limit memlock");
        return STATUS_FULL;
    }
    memcpy(token->pin, options->pin, strlen(options->pin) + 1);
    void *library = dlopen(options->module, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        const char *why = dlerror();
        (void)snprintf(message, message_bytes, "the PKCS#11 module can't be loaded: %s", why == NULL ? "" : why);
        return STATUS_NOT_FOUND;
    }
    CK_C_GetFunctionList get_functions = NULL;
    *(void **)&get_functions = dlsym(library, "C_GetFunctionList");
    if (get_functions == NULL || get_functions(&token->functions) != CKR_OK || token->functions == NULL) {
        token->functions = NULL;
        (void)dlclose(library);
        (void)snprintf(message, message_bytes, "%s is not a PKCS#11 module: it has no C_GetFunctionList()",
                       options->module);
        return STATUS_NOT_FOUND;
    }
    return STATUS_OK;
}

/* A token's label, which is padded with blanks, as text. */
static void label_of(const CK_TOKEN_INFO *info, char label[TOKEN_LABEL_BYTES + 1])
{
    size_t length = TOKEN_LABEL_BYTES;
    while (length > 0 && (info->label[length - 1] == ' ' || info->label[length - 1] == '\0')) {
        length--;
    }
    memcpy(label, info->label, length);
    label[length] = '\0';
}

/* The slot of the token with our label. */
static enum status slot_find(const struct token *token, CK_SLOT_ID *slot, char *message, size_t message_bytes)
{
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG count = SLOTS_MAX;
    CK_RV value = token->functions->C_GetSlotList(CK_TRUE, slots, &count);
    if (value == CKR_BUFFER_TOO_SMALL) { /* Nothing was written. */
        (void)snprintf(message, message_bytes, "the PKCS#11 module has more than %d tokens: give it fewer", SLOTS_MAX);
        return STATUS_UNSUPPORTED;
    }
    if (value != CKR_OK) {
        return refuse(token, value, "can't be looked for", message, message_bytes);
    }
    char found[160] = "";
    size_t length = 0;
    unsigned matches = 0;
    for (CK_ULONG i = 0; i < count && i < SLOTS_MAX; i++) {
        CK_TOKEN_INFO info;
        char label[TOKEN_LABEL_BYTES + 1];
        if (token->functions->C_GetTokenInfo(slots[i], &info) != CKR_OK || (info.flags & CKF_TOKEN_INITIALIZED) == 0) {
            continue;
        }
        label_of(&info, label);
        if (strcmp(label, token->label) == 0) {
            *slot = slots[i];
            matches++;
        }
        if (length + TOKEN_LABEL_BYTES + 5 < sizeof(found)) {
            length +=
                (size_t)snprintf(found + length, sizeof(found) - length, "%s\"%s\"", length > 0 ? ", " : "", label);
        }
    }
    if (matches == 1) {
        return STATUS_OK;
    }
    if (matches > 1) {
        (void)snprintf(message, message_bytes, "%u tokens are labelled \"%s\": give them different labels", matches,
                       token->label);
        return STATUS_INVALID;
    }
    (void)snprintf(message, message_bytes, "there is no token \"%s\" (set pkcs11_token, or put it back); there are: %s",
                   token->label, length > 0 ? found : "none");
    return STATUS_NOT_FOUND;
}

static enum status login(struct token *token, char *message, size_t message_bytes)
{
    CK_RV value = token->functions->C_Login(token->session, CKU_USER, (CK_UTF8CHAR_PTR)token->pin, strlen(token->pin));
    if (value == CKR_OK || value == CKR_USER_ALREADY_LOGGED_IN) {
        return STATUS_OK;
    }
    enum status status = refuse(token, value, "login", message, message_bytes);
    if (status == STATUS_DENIED) {
        token->pin_refused = true;
    }
    return status;
}

enum status token_connect(struct token *token, char *message, size_t message_bytes)
{
    CK_C_INITIALIZE_ARGS arguments = {.flags = CKF_OS_LOCKING_OK};
    CK_SLOT_ID slot = 0;
    if (token->has_session) {
        return STATUS_OK;
    }
    if (token->pin_refused) {
        (void)snprintf(
            message, message_bytes,
            "token \"%s\": the PIN was refused and is not tried again, so that the token does not lock: correct "
            "it and restart",
            token->label);
        return STATUS_DENIED;
    }
    CK_RV value = token->functions->C_Initialize(&arguments);
    if (value != CKR_OK && value != CKR_CRYPTOKI_ALREADY_INITIALIZED) {
        return refuse(token, value, "the module does not start", message, message_bytes);
    }
    token->is_started = value == CKR_OK;
    enum status status = slot_find(token, &slot, message, message_bytes);
    if (status == STATUS_OK) {
        value = token->functions->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &token->session);
        token->has_session = value == CKR_OK;
        status = value == CKR_OK ? login(token, message, message_bytes)
                                 : refuse(token, value, "no session", message, message_bytes);
    }
    if (status != STATUS_OK) {
        token_disconnect(token);
    }
    return status;
}

void token_disconnect(struct token *token)
{
    if (token->has_session) {
        (void)token->functions->C_CloseSession(token->session);
        token->has_session = false;
    }
    if (token->is_started) {
        (void)token->functions->C_Finalize(NULL);
        token->is_started = false;
    }
}

void token_close(struct token *token)
{
    token_disconnect(token);
    guarded_release(token->pin);
    token->pin = NULL;
}
