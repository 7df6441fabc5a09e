/* kms_pkcs11_sign.c - signing keys in a PKCS#11 token: Ed25519 pairs that sign what they are given and can do nothing
 * else.
 *
 * CKA_EC_PARAMS names the curve as PKCS#11 2.40's drafts and 3.0 do, as the printable string "edwards25519"; CKM_EDDSA
 * without parameters is pure Ed25519 (RFC 8032). CKA_EC_POINT is an OCTET STRING around the 32 bytes of the public key;
 * a token that gives the bare 32 bytes is understood too. A pair that was made and whose answer was lost is found again
 * by its label: there is never more than one of a number, unless somebody else made it, and then what is signed does
 * not verify (kms.h). */
#include "meta/kms_pkcs11_private.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>

#define SIGN_LABEL       "trilith-sign-"
#define LABEL_BYTES      (sizeof(SIGN_LABEL) + 10)
#define OCTET_STRING     0x04
#define PRINTABLE_STRING 0x13
#define POINT_BYTES      (2 + PUBLIC_KEY_BYTES)
#define POINT_BYTES_MAX  128

static size_t label_make(uint32_t number, char label[LABEL_BYTES])
{
    return (size_t)snprintf(label, LABEL_BYTES, SIGN_LABEL "%u", number);
}

static CK_RV key_find(struct kms_pkcs11 *kms, CK_OBJECT_CLASS class, uint32_t number, CK_OBJECT_HANDLE *object,
                      bool *found)
{
    char label[LABEL_BYTES];
    size_t label_bytes = label_make(number, label);
    CK_ATTRIBUTE template[] = {
        ATTRIBUTE(CKA_CLASS, class), ATTRIBUTE(CKA_TOKEN, pkcs11_yes), {CKA_LABEL, label, label_bytes}};
    return pkcs11_find(kms, template, ARRAY_LENGTH(template), object, found);
}

/* Does the token have Ed25519? False: the call is refused. */
static bool check_mechanisms(struct kms_pkcs11 *kms, struct kms_call *call)
{
    static const CK_MECHANISM_TYPE needed[] = {CKM_EC_EDWARDS_KEY_PAIR_GEN, CKM_EDDSA};
    CK_SESSION_INFO session;
    CK_MECHANISM_INFO info;
    CK_RV value = kms->token.functions->C_GetSessionInfo(kms->token.session, &session);
    if (value != CKR_OK) {
        pkcs11_refuse_value(kms, call, value, "asking for its mechanisms");
        return false;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(needed); i++) {
        value = kms->token.functions->C_GetMechanismInfo(session.slotID, needed[i], &info);
        if (value == CKR_MECHANISM_INVALID) {
            call->status = STATUS_UNSUPPORTED;
            (void)snprintf(
                call->message, sizeof(call->message),
                "token \"%s\": lacks Ed25519 (CKM_EC_EDWARDS_KEY_PAIR_GEN and CKM_EDDSA), which certificates are "
                "signed with: use a token that has it",
                kms->token.label);
            return false;
        }
        if (value != CKR_OK) {
            pkcs11_refuse_value(kms, call, value, "asking for its mechanisms");
            return false;
        }
    }
    return true;
}

static CK_RV pair_make(struct kms_pkcs11 *kms, uint32_t number, CK_OBJECT_HANDLE *public_key,
                       CK_OBJECT_HANDLE *private_key)
{
    static const char curve[] = "edwards25519";
    uint8_t parameters[2 + sizeof(curve) - 1] = {PRINTABLE_STRING, sizeof(curve) - 1};
    CK_MECHANISM mechanism = {.mechanism = CKM_EC_EDWARDS_KEY_PAIR_GEN};
    CK_KEY_TYPE type = CKK_EC_EDWARDS;
    char label[LABEL_BYTES];
    size_t label_bytes = label_make(number, label);
    memcpy(parameters + 2, curve, sizeof(curve) - 1);
    CK_ATTRIBUTE public_template[] = {
        ATTRIBUTE(CKA_TOKEN, pkcs11_yes),  ATTRIBUTE(CKA_KEY_TYPE, type),   ATTRIBUTE(CKA_EC_PARAMS, parameters),
        ATTRIBUTE(CKA_VERIFY, pkcs11_yes), {CKA_LABEL, label, label_bytes}, {CKA_ID, label, label_bytes},
    };
    CK_ATTRIBUTE private_template[] = {
        ATTRIBUTE(CKA_TOKEN, pkcs11_yes),     ATTRIBUTE(CKA_KEY_TYPE, type),         ATTRIBUTE(CKA_PRIVATE, pkcs11_yes),
        ATTRIBUTE(CKA_SENSITIVE, pkcs11_yes), ATTRIBUTE(CKA_EXTRACTABLE, pkcs11_no), ATTRIBUTE(CKA_SIGN, pkcs11_yes),
        ATTRIBUTE(CKA_DECRYPT, pkcs11_no),    ATTRIBUTE(CKA_UNWRAP, pkcs11_no),      {CKA_LABEL, label, label_bytes},
        {CKA_ID, label, label_bytes},
    };
    return kms->token.functions->C_GenerateKeyPair(kms->token.session, &mechanism, public_template,
                                                   ARRAY_LENGTH(public_template), private_template,
                                                   ARRAY_LENGTH(private_template), public_key, private_key);
}

/* Make a pair and see that its secret half can't be read out. False: the call is refused, and the pair is gone. */
static bool pair_make_sealed(struct kms_pkcs11 *kms, struct kms_call *call)
{
    const CK_FUNCTION_LIST *functions = kms->token.functions;
    CK_OBJECT_HANDLE public_key = 0;
    CK_OBJECT_HANDLE private_key = 0;
    CK_BBOOL sensitive = CK_FALSE;
    CK_BBOOL extractable = CK_TRUE;
    CK_ATTRIBUTE attributes[] = {ATTRIBUTE(CKA_SENSITIVE, sensitive), ATTRIBUTE(CKA_EXTRACTABLE, extractable)};
    CK_RV value = pair_make(kms, call->number, &public_key, &private_key);
    if (value != CKR_OK) {
        pkcs11_refuse_value(kms, call, value, "making a signing key");
        return false;
    }
    value = functions->C_GetAttributeValue(kms->token.session, private_key, attributes, ARRAY_LENGTH(attributes));
    if (value == CKR_OK && sensitive == CK_TRUE && extractable == CK_FALSE) {
        log_event(LOG_INFO, "signing_key_made", "token=%s number=%u", kms->token.label, call->number);
        return true;
    }
    (void)functions->C_DestroyObject(kms->token.session, private_key);
    (void)functions->C_DestroyObject(kms->token.session, public_key);
    if (value != CKR_OK) {
        pkcs11_refuse_value(kms, call, value, "examining a new signing key");
    } else {
        pkcs11_refuse(call, STATUS_UNSUPPORTED,
                      "the token makes keys that can be read out of it: it can't hold signing keys");
    }
    return false;
}

/* The public half. False: the call is refused. */
static bool public_read(struct kms_pkcs11 *kms, struct kms_call *call)
{
    CK_OBJECT_HANDLE object = 0;
    bool found = false;
    uint8_t point[POINT_BYTES_MAX];
    CK_ATTRIBUTE attribute = ATTRIBUTE(CKA_EC_POINT, point);
    CK_RV value = key_find(kms, CKO_PUBLIC_KEY, call->number, &object, &found);
    if (value == CKR_OK && found) {
        value = kms->token.functions->C_GetAttributeValue(kms->token.session, object, &attribute, 1);
    }
    if (value != CKR_OK) {
        pkcs11_refuse_value(kms, call, value, "reading a signing key");
        return false;
    }
    if (!found) {
        pkcs11_refuse_missing(kms, call, "public half of the signing key");
        return false;
    }
    if (attribute.ulValueLen == POINT_BYTES && point[0] == OCTET_STRING && point[1] == PUBLIC_KEY_BYTES) {
        memcpy(call->signing_key.bytes, point + 2, PUBLIC_KEY_BYTES);
        return true;
    }
    if (attribute.ulValueLen == PUBLIC_KEY_BYTES) {
        memcpy(call->signing_key.bytes, point, PUBLIC_KEY_BYTES);
        return true;
    }
    pkcs11_refuse(call, STATUS_UNSUPPORTED, "the token's signing key is not an Ed25519 key of 32 bytes");
    return false;
}

void pkcs11_signing_key(struct kms_pkcs11 *kms, struct kms_call *call)
{
    CK_OBJECT_HANDLE object = 0;
    bool found = false;
    CK_RV value = key_find(kms, CKO_PRIVATE_KEY, call->number, &object, &found);
    if (value != CKR_OK) {
        pkcs11_refuse_value(kms, call, value, "finding a signing key");
        return;
    }
    if (!found && !kms->is_second_try) {
        /* Look again over a new connection before another one is made. */
        pkcs11_refuse_missing(kms, call, "signing key");
        return;
    }
    if (!found && (!check_mechanisms(kms, call) || !pair_make_sealed(kms, call))) {
        return;
    }
    (void)public_read(kms, call);
}

static CK_RV sign_one(struct kms_pkcs11 *kms, CK_OBJECT_HANDLE key, const uint8_t *message, size_t bytes,
                      struct signature *signature)
{
    const CK_FUNCTION_LIST *functions = kms->token.functions;
    CK_MECHANISM mechanism = {.mechanism = CKM_EDDSA};
    CK_ULONG signature_bytes = SIGNATURE_BYTES;
    CK_RV value = functions->C_SignInit(kms->token.session, &mechanism, key);
    if (value == CKR_OK) {
        value = functions->C_Sign(kms->token.session, (CK_BYTE_PTR)(uintptr_t)message, bytes, signature->bytes,
                                  &signature_bytes);
    }
    return value == CKR_OK && signature_bytes != SIGNATURE_BYTES ? CKR_GENERAL_ERROR : value;
}

void pkcs11_sign(struct kms_pkcs11 *kms, struct kms_call *call)
{
    CK_OBJECT_HANDLE object = 0;
    bool found = false;
    CK_RV value = key_find(kms, CKO_PRIVATE_KEY, call->number, &object, &found);
    if (value == CKR_OK && !found) {
        pkcs11_refuse_missing(kms, call, "signing key of that number");
        return;
    }
    for (uint32_t i = 0; value == CKR_OK && i < call->batch->count; i++) {
        size_t bytes = 0;
        const uint8_t *message = kms_batch_message(call->batch, i, &bytes);
        value = sign_one(kms, object, message, bytes, &call->batch->signatures[i]);
    }
    if (value != CKR_OK) {
        pkcs11_refuse_value(kms, call, value, "signing");
    }
}
