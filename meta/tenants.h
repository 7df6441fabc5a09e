/* tenants.h - companies, their data keys (wrapped) and their access keys (sealed).
 *
 * Nothing here can be opened without the KMS: the state holds boxes. */
#ifndef TRILITH_META_TENANTS_H
#define TRILITH_META_TENANTS_H

#include "meta/change.h"

#define TENANT_NAME_BYTES_MIN 3
#define TENANT_NAME_BYTES_MAX 63
#define ACCESS_KEY_CHARACTERS 20
#define CREDENTIALS_LIST_MAX  1000u
#define TENANTS_LIST_MAX      1000u

/* 3..63 of a-z, 0-9 and '-'. */
bool tenant_name_is_valid(const char *name);
/* "owner", "editor" or "viewer". */
bool role_is_valid(const char *role);

/* ---- changes ----------------------------------------------------------------------------------- */

/* outcome.id: the tenant, also with STATUS_EXISTS. STATUS_OK, STATUS_EXISTS, STATUS_INVALID. */
MUST_USE enum status tenant_create(struct change *change, const Trilith__TenantCreate *command);
/* STATUS_OK, STATUS_NOT_FOUND (tenant), STATUS_EXISTS (access key), STATUS_FULL (CREDENTIALS_LIST_MAX), STATUS_INVALID. */
MUST_USE enum status credential_create(struct change *change, const Trilith__CredentialCreate *command);
/* STATUS_OK, STATUS_NOT_FOUND. */
MUST_USE enum status credential_revoke(struct change *change, const Trilith__CredentialRevokeRequest *command);

/* ---- reads; results stand in the scratch memory ------------------------------------------------ */

MUST_USE enum status tenant_by_id(struct tables *tables, uint64_t tenant_id, Trilith__TenantRecord **tenant);
MUST_USE enum status tenant_by_name(struct tables *tables, const char *name, Trilith__TenantRecord **tenant);
Trilith__Tenant *tenant_message(struct tables *tables, const Trilith__TenantRecord *record);
MUST_USE enum status tenant_list(struct tables *tables, Trilith__TenantListReply *reply);
/* The wrapped DEK. STATUS_NOT_FOUND: no such version. */
MUST_USE enum status tenant_wrapped_dek(struct tables *tables, uint64_t tenant_id, uint32_t version,
                                        struct kv_slice *wrapped);
MUST_USE enum status credential_get(struct tables *tables, const char *access_key,
                                    Trilith__CredentialRecord **credential);
/* STATUS_NOT_FOUND: no such tenant. */
MUST_USE enum status credential_list(struct tables *tables, const char *tenant, Trilith__CredentialListReply *reply);

#endif
