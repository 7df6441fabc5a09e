/* kms_pkcs11_private.h - what the parts of the PKCS#11 provider share: kms_pkcs11.c keeps master keys and wraps with
 * them, kms_pkcs11_import.c takes in those that customers bring, kms_pkcs11_sign.c has the signing keys. */
#ifndef TRILITH_META_KMS_PKCS11_PRIVATE_H
#define TRILITH_META_KMS_PKCS11_PRIVATE_H

#include "meta/kms_pkcs11_token.h"

#define ID_BYTES     16
#define ID_HEX       32
#define PREFIX       "pkcs11:"
#define LABEL_PREFIX "trilith-cmk-"

_Static_assert(ID_HEX == 2 * ID_BYTES, "two digits a byte");
_Static_assert(sizeof(PREFIX) + ID_HEX <= KMS_CMK_BYTES, "a name fits");

struct kms_pkcs11 {
    struct kms_provider provider;
    struct token token;
    uint8_t *scratch;      /* guarded */
    const char *algorithm; /* what the token's OAEP takes; NULL: not known yet */
    bool is_second_try;
    bool again; /* the connection is not trusted: make a new one, and the call once more */
};

#define ATTRIBUTE(name, variable)                                                                                      \
    {                                                                                                                  \
        name, &(variable), sizeof(variable)                                                                            \
    }

/* PKCS#11 wants pointers to what it will not change. */
extern CK_BBOOL pkcs11_yes;
extern CK_BBOOL pkcs11_no;

/* What becomes of a new key: a CMK; or, gone with the session, one like it; or one whose length can be asked for. */
enum cmk_kind { CMK_KEPT, CMK_TRIAL, CMK_MEASURED };

struct cmk_template {
    CK_OBJECT_CLASS class;
    CK_KEY_TYPE type;
    uint8_t id[ID_BYTES];
    char label[sizeof(LABEL_PREFIX) + ID_HEX];
    CK_ATTRIBUTE attributes[15];
    CK_ULONG count;
};

/* Point the attributes at the template itself: it stays where it is. */
void cmk_template_init(struct cmk_template *template, const uint8_t id[ID_BYTES], enum cmk_kind kind);

/* What the token has made of a new key. `key_bytes` 0: it does not tell. */
struct cmk_facts {
    bool is_sealed;
    CK_ULONG key_bytes;
};

CK_RV cmk_examine(struct kms_pkcs11 *kms, CK_OBJECT_HANDLE object, struct cmk_facts *facts);
/* Take a new CMK into the call, or destroy it and refuse. `value` is how examining it went. */
void cmk_accept(struct kms_pkcs11 *kms, struct kms_call *call, CK_OBJECT_HANDLE object, const uint8_t id[ID_BYTES],
                CK_RV value, const struct cmk_facts *facts);

/* The first object that matches. CKR_OK with `*found`. */
CK_RV pkcs11_find(struct kms_pkcs11 *kms, CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *object,
                  bool *found);

void pkcs11_refuse(struct kms_call *call, enum status status, const char *why);
/* PKCS#11 has said no to `what`. */
void pkcs11_refuse_value(struct kms_pkcs11 *kms, struct kms_call *call, CK_RV value, const char *what);
void pkcs11_refuse_missing(struct kms_pkcs11 *kms, struct kms_call *call, const char *what);
/* Does this value say that bytes from outside do not open? It may still mean something else. */
bool pkcs11_may_be_the_bytes(CK_RV value);

void pkcs11_transport(struct kms_pkcs11 *kms, struct kms_call *call);
void pkcs11_import(struct kms_pkcs11 *kms, struct kms_call *call);

void pkcs11_signing_key(struct kms_pkcs11 *kms, struct kms_call *call);
void pkcs11_sign(struct kms_pkcs11 *kms, struct kms_call *call);

#endif
