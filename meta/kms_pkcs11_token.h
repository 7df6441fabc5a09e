/* kms_pkcs11_token.h - the connection to a PKCS#11 token: its module, a session, the login, and what its errors mean.
 * Private to the provider. One thread at a time. */
#ifndef TRILITH_META_KMS_PKCS11_TOKEN_H
#define TRILITH_META_KMS_PKCS11_TOKEN_H

#include "meta/kms_pkcs11.h"

#include <p11-kit/pkcs11.h>

#define TOKEN_LABEL_BYTES 32

struct token {
    CK_FUNCTION_LIST *functions;
    char label[TOKEN_LABEL_BYTES + 1];
    char *pin; /* guarded */
    bool is_started;
    bool has_session;
    bool pin_refused; /* never tried again: tokens lock after a few wrong ones */
    CK_SESSION_HANDLE session;
};

/* What a return value of PKCS#11 means here. STATUS_KEY_AWAY: the connection is no longer good: close it. */
struct token_error {
    CK_RV value;
    enum status status;
    const char *name;
    const char *meaning;
};
const struct token_error *token_error_of(CK_RV value);

/* Load the module. Whatever comes out of it, token_close() releases. Statuses as kms_pkcs11_open(). */
MUST_USE enum status token_load(struct token *token, const struct kms_pkcs11_options *options, char *message,
                                size_t message_bytes);
/* Find the token, open a session and log in, unless that is done. Statuses as kms_pkcs11_open(). */
MUST_USE enum status token_connect(struct token *token, char *message, size_t message_bytes);
void token_disconnect(struct token *token);
void token_close(struct token *token);

#endif
