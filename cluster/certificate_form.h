/* certificate_form.h - whether a certificate's payload (meta/evidence.h) has its form, and does not contradict itself.
 *
 * The form: every required member, of the right kind. The rules: figures that must add up, times that must be in order,
 * a result that the facts beside it allow, and the residual codes that follow from those facts. A well-signed
 * certificate that breaks one of them claims more than it shows. Members that this version does not know are passed
 * over.
 * Threads    Pure. */
#ifndef TRILITH_CLUSTER_CERTIFICATE_FORM_H
#define TRILITH_CLUSTER_CERTIFICATE_FORM_H

#include "base/jws.h"
#include "base/merkle.h"
#include "cluster/verify_report.h"

#define CERTIFICATE_JWS_TYPE "erasure-cert+jws"
#define CERTIFICATE_OBJECT   "object-erasure"
#define CERTIFICATE_BATCH    "erasure-batch"
#define CERTIFICATE_TENANT   "tenant-crypto-erase"
#define CERTIFICATE_MANIFEST "key-manifest"

/* STATUS_OK; STATUS_DENIED: the report's problem names the member. `payload` is an object. */
MUST_USE enum status certificate_form_check(const json_t *payload, struct verify_report *report);
/* After the form is good: the rules. */
MUST_USE enum status certificate_rules_check(const json_t *payload, struct verify_report *report);

/* The member at a path like "crypto.slots.n"; NULL: there is none. */
const json_t *certificate_member(const json_t *payload, const char *path);
/* Its text, "" when it is none; its number, 0 when it is none or negative. */
const char *certificate_text(const json_t *payload, const char *path);
uint64_t certificate_number(const json_t *payload, const char *path);
bool certificate_is(const json_t *payload, const char *type);
/* 64 lower-case hex digits as a hash; false: something else. */
bool certificate_hash(const json_t *value, struct merkle_hash *hash);

/* The leaf of an object's certificate in its batch: its canonical payload without `batch`. False: no memory. */
MUST_USE bool certificate_leaf(const json_t *payload, struct merkle_hash *leaf);
/* Does `batch` of an object's certificate lead to its objects_root, in a batch of `count` (0: not known)? */
bool certificate_path_is_good(const json_t *payload, uint64_t count);

#endif
