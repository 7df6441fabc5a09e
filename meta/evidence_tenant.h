/* evidence_tenant.h - the certificate of a tenant's erasure, type tenant-crypto-erase (fields: evidence.h). */
#ifndef TRILITH_META_EVIDENCE_TENANT_H
#define TRILITH_META_EVIDENCE_TENANT_H

#include "meta/evidence.h"

/* For a request of kind REQUEST_TENANT, in stage "certify", or DONE and closed again after its erasure was reopened.
 * STATUS_NOT_FOUND: its keys are not destroyed, or not every copy is accounted for yet. */
evidence_of_request evidence_tenant;

#endif
