/* tenants.h - companies, their data keys (wrapped) and their access keys (sealed).
 *
 * Nothing here can be opened without the KMS: the state holds boxes.
 *
 * A tenant's first DEK comes with a second leaf, its *reference key*: K_ref is derived from it, and certificates name
 * the tenant's objects under it, so that only who is given K_ref, or what is derived from it for one object, can tell
 * which object a certificate is about. The leaf stays where it is for the tenant's life, whatever becomes of DEKs and
 * master keys: a change of those leases leaves of their own, from further pages when the first is used up. Tenants that
 * an older version made have none, and their certificates name no objects. */
#ifndef TRILITH_META_TENANTS_H
#define TRILITH_META_TENANTS_H

#include "meta/change.h"

#define TENANT_NAME_BYTES_MIN 3
#define TENANT_NAME_BYTES_MAX 63
#define ACCESS_KEY_CHARACTERS 20
#define CREDENTIALS_LIST_MAX  1000u
#define TENANTS_LIST_MAX      1000u
#define DEKS_MAX              64u /* records of DEKs kept per tenant; the oldest destroyed ones are dropped */
#define SEALED_DEK_BYTES_MAX  256

/* 3..63 of a-z, 0-9 and '-'. */
bool tenant_name_is_valid(const char *name);
/* "owner", "editor" or "viewer". */
bool role_is_valid(const char *role);

/* ---- changes ----------------------------------------------------------------------------------- */

/* outcome.id: the tenant, also with STATUS_EXISTS. STATUS_OK, also for one that is there and has no DEK yet;
 * STATUS_EXISTS, STATUS_INVALID. */
MUST_USE enum status tenant_create(struct change *change, const Trilith__TenantCreate *command);
/* Lease leaves for the tenant's DEKs (bucket 0). STATUS_OK, STATUS_NOT_FOUND, STATUS_INVALID, STATUS_BUSY;
 * tenant_may_change(), as the other changes of its keys. */
MUST_USE enum status tenant_lease_leaves(struct change *change, const Trilith__LeaseLeaves *command);
/* STATUS_OK; STATUS_NOT_FOUND: no such tenant; STATUS_CONFLICT: not the version after the current one, another CMK, or
 * the leaf is not leased; STATUS_FULL: DEKS_MAX not destroyed; STATUS_INVALID. */
MUST_USE enum status tenant_dek_add(struct change *change, const Trilith__DekAdd *command);
/* STATUS_OK, also when it was destroyed before; STATUS_NOT_FOUND; STATUS_CONFLICT: the current one; STATUS_NOT_EMPTY: a
 * version or credential is sealed under it. */
MUST_USE enum status tenant_dek_destroy(struct change *change, const Trilith__DekDestroy *command);
/* STATUS_OK; STATUS_NOT_FOUND; STATUS_CONFLICT: another CMK than the one replaced, not exactly the DEKs that are not
 * destroyed, or leaves that are not leased; STATUS_INVALID. */
MUST_USE enum status tenant_cmk_set(struct change *change, const Trilith__CmkSet *command);
/* STATUS_OK, STATUS_NOT_FOUND; STATUS_CONFLICT: they stay off, its erasure is asked for or under way. */
MUST_USE enum status tenant_key_state_set(struct change *change, const Trilith__KeyStateSet *command);
/* STATUS_OK; STATUS_NOT_FOUND; STATUS_CONFLICT: not under the current DEK. */
MUST_USE enum status credential_reseal(struct change *change, const Trilith__CredentialReseal *command);
/* STATUS_OK, STATUS_NOT_FOUND (tenant), STATUS_CONFLICT (no such DEK, or not the current one), STATUS_EXISTS (access
 * key), STATUS_FULL (CREDENTIALS_LIST_MAX), STATUS_INVALID. */
MUST_USE enum status credential_create(struct change *change, const Trilith__CredentialCreate *command);
/* STATUS_OK, STATUS_NOT_FOUND. */
MUST_USE enum status credential_revoke(struct change *change, const Trilith__CredentialRevokeRequest *command);

/* ---- reads; results stand in the scratch memory ------------------------------------------------ */

MUST_USE enum status tenant_by_id(struct tables *tables, uint64_t tenant_id, Trilith__TenantRecord **tenant);
MUST_USE enum status tenant_by_name(struct tables *tables, const char *name, Trilith__TenantRecord **tenant);
Trilith__Tenant *tenant_message(struct tables *tables, const Trilith__TenantRecord *record);
MUST_USE enum status tenant_list(struct tables *tables, Trilith__TenantListReply *reply);
/* A sealed DEK. STATUS_NOT_FOUND: no such version; STATUS_GONE: it was destroyed. */
MUST_USE enum status tenant_sealed_dek(struct tables *tables, uint64_t tenant_id, uint32_t version,
                                       Trilith__SealedDek **dek);
/* May the tenant's keys be used now? STATUS_OK, or STATUS_KEY_REVOKED. */
static inline enum status tenant_access(const Trilith__TenantRecord *tenant)
{
    return tenant->revoked ? STATUS_KEY_REVOKED : STATUS_OK;
}
/* May anything of the tenant change now? Not while its erasure is asked for or under way: STATUS_KEY_REVOKED.
 * STATUS_NOT_FOUND: nothing is left of it but its name. */
static inline enum status tenant_may_change(const Trilith__TenantRecord *tenant)
{
    if (tenant->erased_ms != 0) {
        return STATUS_NOT_FOUND;
    }
    return tenant->asked_request != 0 || tenant->erasing_request != 0 ? STATUS_KEY_REVOKED : STATUS_OK;
}
/* The record of one DEK within `tenant`; NULL: none. */
Trilith__DekRecord *tenant_dek(const Trilith__TenantRecord *tenant, uint32_t version);
MUST_USE enum status credential_get(struct tables *tables, const char *access_key,
                                    Trilith__CredentialRecord **credential);
/* STATUS_NOT_FOUND: no such tenant. */
MUST_USE enum status credential_list(struct tables *tables, const char *tenant, Trilith__CredentialListReply *reply);

#endif
