/* tenant_erasure.h - erasing a tenant as a whole: the request of that kind (requests.h), and its steps.
 *
 *   asked: keys off, nothing of it changes any more ──two approvals──> "erasing" ──> "closing" ──> "certify" ──> done
 *            └── cancelled or expired: keys on again, if they were
 *
 * "erasing" is carried out by TenantEraseStep commands, each a bounded part, in this order:
 *   1. the pages of the vault that its buckets have, bucket by bucket, live leaves and all; then the page of its keys: every DEK and
 *      K_ref. From then on nothing of it can be opened once the vault's epoch is destroyed;
 *   2. its versions, those in their time of grace too, become wipes of the one erasure of the tenant, and leave the tables with their
 *      buckets;
 *   3. its access keys; then the tenant's record says that it is erased. Its name stays taken.
 * How far that has come is read off the tables, so whoever leads goes on after any crash. What has been found is
 * counted in the request (TenantErasure), with the Merkle edge of the inventory: one leaf per version, in the order in
 * which they went,
 *
 *   version id[16] | chunks u32be | bytes u64be
 *
 * Then its master key is destroyed in the KMS, as far as the KMS can ("erasing" ends with the fact "cmk"). "closing"
 * waits until every wipe is accounted for and the keys are beyond recovery.
 *
 * The sum of live leaves holds after every command: a bucket that loses leaves says how many of its versions are
 * without (keyless), and the cluster counts versions that have one. A hold or retention on any version refuses the
 * request, and its last approval.
 * Bounds     TENANT_STEP_* by one command, but a version is never split.
 * Threads    Pure; the kind's functions as requests.h says. */
#ifndef TRILITH_META_TENANT_ERASURE_H
#define TRILITH_META_TENANT_ERASURE_H

#include "meta/requests.h"

#define TENANT_STEP_PAGES       512u
#define TENANT_STEP_VERSIONS    128u
#define TENANT_STEP_CHUNKS      500u /* on four disks each, 2,000 wipes */
#define TENANT_STEP_CREDENTIALS 128u
#define TENANT_STEP_BUCKETS     64u

/* STATUS_OK; STATUS_NOT_FOUND: no tenant is being erased under that request, or nothing is left to do. */
MUST_USE enum status tenant_erase_step(struct change *change, const Trilith__TenantEraseStep *command);

/* The leader's part (service_requests.c): steps, the master key, and the wait. */
void tenant_erasure_advance(struct meta_service *service, const Trilith__RequestRecord *record);

#endif
