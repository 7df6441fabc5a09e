/* kms_pkcs11_import.c - master keys that customers bring: the token's transport key, and what is unwrapped with it.
 *
 * The transport key is an RSA pair labelled "trilith-transport" that can unwrap and nothing else: an import becomes a
 * key of the token without being shown to anybody. Which hash the token's OAEP takes is found out by sending a random
 * key through it: mechanism lists do not tell. */
#include "meta/kms_pkcs11_private.h"

#include "base/transport.h"

#include <stdio.h>
#include <string.h>

#define TRANSPORT_LABEL "trilith-transport"
#define NUMBER_BYTES    1025 /* of an RSA key of 8192 bits, with a sign byte */

static CK_RV transport_find(struct kms_pkcs11 *kms, CK_OBJECT_CLASS class, CK_OBJECT_HANDLE *object, bool *found)
{
    char label[] = TRANSPORT_LABEL;
    CK_ATTRIBUTE template[] = {
        ATTRIBUTE(CKA_CLASS, class), ATTRIBUTE(CKA_TOKEN, pkcs11_yes), {CKA_LABEL, label, strlen(label)}};
    return pkcs11_find(kms, template, ARRAY_LENGTH(template), object, found);
}

static CK_RV transport_make_pair(struct kms_pkcs11 *kms)
{
    CK_MECHANISM mechanism = {.mechanism = CKM_RSA_PKCS_KEY_PAIR_GEN};
    CK_ULONG bits = TRANSPORT_BITS;
    uint8_t exponent[] = {1, 0, 1};
    char label[] = TRANSPORT_LABEL;
    CK_OBJECT_HANDLE public_key = 0;
    CK_OBJECT_HANDLE private_key = 0;
    CK_ATTRIBUTE public_template[] = {
        ATTRIBUTE(CKA_TOKEN, pkcs11_yes), ATTRIBUTE(CKA_MODULUS_BITS, bits), ATTRIBUTE(CKA_PUBLIC_EXPONENT, exponent),
        ATTRIBUTE(CKA_WRAP, pkcs11_yes),  {CKA_LABEL, label, strlen(label)}, {CKA_ID, label, strlen(label)},
    };
    /* Not CKA_DECRYPT: an import is only ever unwrapped into a key of the token, and never shown. */
    CK_ATTRIBUTE private_template[] = {
        ATTRIBUTE(CKA_TOKEN, pkcs11_yes),      ATTRIBUTE(CKA_PRIVATE, pkcs11_yes), ATTRIBUTE(CKA_SENSITIVE, pkcs11_yes),
        ATTRIBUTE(CKA_EXTRACTABLE, pkcs11_no), ATTRIBUTE(CKA_UNWRAP, pkcs11_yes),  ATTRIBUTE(CKA_DECRYPT, pkcs11_no),
        ATTRIBUTE(CKA_SIGN, pkcs11_no),        {CKA_LABEL, label, strlen(label)},  {CKA_ID, label, strlen(label)},
    };
    return kms->token.functions->C_GenerateKeyPair(kms->token.session, &mechanism, public_template,
                                                   ARRAY_LENGTH(public_template), private_template,
                                                   ARRAY_LENGTH(private_template), &public_key, &private_key);
}

/* The public key as PEM. False: the call is refused. */
static bool transport_export(struct kms_pkcs11 *kms, struct kms_call *call)
{
    CK_OBJECT_HANDLE object = 0;
    bool found = false;
    uint8_t modulus[NUMBER_BYTES];
    uint8_t exponent[NUMBER_BYTES];
    CK_ATTRIBUTE attributes[] = {ATTRIBUTE(CKA_MODULUS, modulus), ATTRIBUTE(CKA_PUBLIC_EXPONENT, exponent)};
    CK_RV value = transport_find(kms, CKO_PUBLIC_KEY, &object, &found);
    if (value == CKR_OK && found) {
        value =
            kms->token.functions->C_GetAttributeValue(kms->token.session, object, attributes, ARRAY_LENGTH(attributes));
    }
    if (value != CKR_OK) {
        pkcs11_refuse_value(kms, call, value, "reading the transport key");
        return false;
    }
    if (!found) {
        pkcs11_refuse_missing(kms, call, "public key \"" TRANSPORT_LABEL "\"");
        return false;
    }
    if (transport_pem(modulus, attributes[0].ulValueLen, exponent, attributes[1].ulValueLen, call->public_key) !=
        STATUS_OK) {
        pkcs11_refuse(call, STATUS_UNSUPPORTED,
                      "the token's key \"" TRANSPORT_LABEL "\" is not an RSA key of up to 3072 bits");
        return false;
    }
    return true;
}

/* Unwrap an import into a new AES key. */
static CK_RV import_unwrap(struct kms_pkcs11 *kms, CK_OBJECT_HANDLE private_key, const char *algorithm,
                           const uint8_t id[ID_BYTES], enum cmk_kind kind, uint8_t *sealed, size_t sealed_bytes,
                           CK_OBJECT_HANDLE *object)
{
    bool is_sha256 = strcmp(algorithm, TRANSPORT_SHA256) == 0;
    CK_RSA_PKCS_OAEP_PARAMS parameters = {
        .hash_alg = is_sha256 ? CKM_SHA256 : CKM_SHA_1,
        .mgf = is_sha256 ? CKG_MGF1_SHA256 : CKG_MGF1_SHA1,
        .source = CKZ_DATA_SPECIFIED,
    };
    CK_MECHANISM mechanism = {CKM_RSA_PKCS_OAEP, &parameters, sizeof(parameters)};
    struct cmk_template template;
    cmk_template_init(&template, id, kind);
    return kms->token.functions->C_UnwrapKey(kms->token.session, &mechanism, private_key, sealed, sealed_bytes,
                                             template.attributes, template.count, object);
}

/* Send a key that nobody needs through the transport key. */
static CK_RV transport_try(struct kms_pkcs11 *kms, const char *pem, const char *algorithm)
{
    static const uint8_t id[ID_BYTES];
    CK_OBJECT_HANDLE private_key = 0;
    CK_OBJECT_HANDLE object = 0;
    bool found = false;
    uint8_t sealed[TRANSPORT_WRAPPED_BYTES_MAX];
    size_t sealed_bytes = 0;
    CK_RV value = transport_find(kms, CKO_PRIVATE_KEY, &private_key, &found);
    if (value != CKR_OK || !found) {
        return value != CKR_OK ? value : CKR_KEY_HANDLE_INVALID;
    }
    value = kms->token.functions->C_GenerateRandom(kms->token.session, kms->scratch, KEY_BYTES);
    if (value != CKR_OK) {
        return value;
    }
    if (transport_encrypt(pem, algorithm, kms->scratch, KEY_BYTES, sealed, &sealed_bytes) != STATUS_OK) {
        return CKR_HOST_MEMORY;
    }
    value = import_unwrap(kms, private_key, algorithm, id, CMK_TRIAL, sealed, sealed_bytes, &object);
    if (value == CKR_OK) {
        (void)kms->token.functions->C_DestroyObject(kms->token.session, object);
    }
    return value;
}

/* Find out which hash the token's OAEP takes, by using it. False: the call is refused. */
static bool transport_probe(struct kms_pkcs11 *kms, struct kms_call *call)
{
    static const char *const algorithms[] = {TRANSPORT_SHA256, TRANSPORT_SHA1};
    CK_RV value = CKR_OK;
    if (!transport_export(kms, call)) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(algorithms); i++) {
        value = transport_try(kms, call->public_key, algorithms[i]);
        if (value == CKR_OK) {
            kms->algorithm = algorithms[i];
            return true;
        }
    }
    pkcs11_refuse_value(kms, call, value, "trying the transport key");
    return false;
}

void pkcs11_transport(struct kms_pkcs11 *kms, struct kms_call *call)
{
    CK_OBJECT_HANDLE object = 0;
    bool found = false;
    CK_RV value = transport_find(kms, CKO_PRIVATE_KEY, &object, &found);
    if (value == CKR_OK && !found && !kms->is_second_try) {
        /* Look again over a new connection before another one is made. */
        pkcs11_refuse_missing(kms, call, "transport key");
        return;
    }
    if (value == CKR_OK && !found) {
        value = transport_make_pair(kms);
    }
    if (value != CKR_OK) {
        pkcs11_refuse_value(kms, call, value, "making the transport key");
        return;
    }
    if (transport_probe(kms, call)) {
        (void)snprintf(call->algorithm, sizeof(call->algorithm), "%s", kms->algorithm);
    }
}

/* How long the key in an import is, for tokens that do not tell of what they have unwrapped (SoftHSM2): from a copy
 * that lives for this moment in the token's session, and whose length is asked for, but not its value. */
static CK_RV import_measure(struct kms_pkcs11 *kms, struct kms_call *call, CK_OBJECT_HANDLE private_key,
                            CK_ULONG *key_bytes, bool *copy_stays)
{
    static const uint8_t id[ID_BYTES];
    CK_ATTRIBUTE length = {.type = CKA_VALUE};
    CK_OBJECT_HANDLE copy = 0;
    CK_RV value =
        import_unwrap(kms, private_key, kms->algorithm, id, CMK_MEASURED, call->sealed, call->sealed_bytes, &copy);
    if (value == CKR_OK) {
        value = kms->token.functions->C_GetAttributeValue(kms->token.session, copy, &length, 1);
        *copy_stays = kms->token.functions->C_DestroyObject(kms->token.session, copy) != CKR_OK;
        *key_bytes = length.ulValueLen;
    }
    return value;
}

void pkcs11_import(struct kms_pkcs11 *kms, struct kms_call *call)
{
    CK_OBJECT_HANDLE private_key = 0;
    CK_OBJECT_HANDLE object = 0;
    bool found = false;
    uint8_t id[ID_BYTES];
    CK_RV value = transport_find(kms, CKO_PRIVATE_KEY, &private_key, &found);
    if (value == CKR_OK && !found) {
        pkcs11_refuse_missing(kms, call, "transport key");
        call->status = STATUS_DENIED;
        return;
    }
    if (value == CKR_OK && kms->algorithm == NULL && !transport_probe(kms, call)) {
        return;
    }
    if (value == CKR_OK) {
        value = kms->token.functions->C_GenerateRandom(kms->token.session, id, sizeof(id));
    }
    if (value != CKR_OK) {
        pkcs11_refuse_value(kms, call, value, "importing a master key");
        return;
    }
    value = import_unwrap(kms, private_key, kms->algorithm, id, CMK_KEPT, call->sealed, call->sealed_bytes, &object);
    if (value == CKR_OK) {
        struct cmk_facts facts;
        bool copy_stays = false;
        value = cmk_examine(kms, object, &facts);
        if (value == CKR_OK && facts.key_bytes == 0) {
            value = import_measure(kms, call, private_key, &facts.key_bytes, &copy_stays);
        }
        cmk_accept(kms, call, object, id, value, &facts);
        if (copy_stays) {
            token_disconnect(&kms->token); /* It is gone with its session: nobody may ask for its value. */
        }
    } else if (pkcs11_may_be_the_bytes(value) && transport_probe(kms, call)) {
        call->status = STATUS_DENIED;
        (void)snprintf(call->message, sizeof(call->message),
                       "the import does not open: encrypt the key to the current transport key, with %s",
                       kms->algorithm);
    } else if (call->status == STATUS_OK) {
        pkcs11_refuse_value(kms, call, value, "importing a master key");
    }
}
