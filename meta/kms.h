/* kms.h - the interface to whatever holds the customer master key (CMK), which wraps the tenants' data keys.
 *
 * The CMK itself never crosses this interface. Production is kms_file.c (a key file); a PKCS#11 HSM comes behind the
 * same interface. A wrapped DEK is bound to its tenant's name and its version: one tenant's does not open as another's.
 * Threads    Loop thread only; synchronous. */
#ifndef TRILITH_META_KMS_H
#define TRILITH_META_KMS_H

#include "base/keys.h"

#define KMS_WRAPPED_BYTES (KEY_BYTES + BOX_OVERHEAD_BYTES)

struct kms;

struct kms_ops {
    enum status (*wrap)(struct kms *kms, const char *tenant, uint32_t dek_version, const struct key *dek,
                        uint8_t wrapped[KMS_WRAPPED_BYTES]);
    enum status (*unwrap)(struct kms *kms, const char *tenant, uint32_t dek_version, const void *wrapped,
                          size_t wrapped_bytes, struct key *dek);
    void (*close)(struct kms *kms);
};

struct kms {
    const struct kms_ops *ops;
};

/* STATUS_OK; STATUS_UNAVAILABLE: the KMS can't be reached. */
MUST_USE static inline enum status kms_wrap(struct kms *kms, const char *tenant, uint32_t dek_version,
                                            const struct key *dek, uint8_t wrapped[KMS_WRAPPED_BYTES])
{
    return kms->ops->wrap(kms, tenant, dek_version, dek, wrapped);
}

/* STATUS_OK; STATUS_DENIED: another CMK, tenant or version, or changed bytes; STATUS_UNAVAILABLE. */
MUST_USE static inline enum status kms_unwrap(struct kms *kms, const char *tenant, uint32_t dek_version,
                                              const void *wrapped, size_t wrapped_bytes, struct key *dek)
{
    return kms->ops->unwrap(kms, tenant, dek_version, wrapped, wrapped_bytes, dek);
}

static inline void kms_close(struct kms *kms)
{
    kms->ops->close(kms);
}

#endif
