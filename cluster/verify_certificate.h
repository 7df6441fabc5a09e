/* verify_certificate.h - a certificate, checked with nothing but files and the public key of who signs for the cluster.
 *
 * Beside certificate.jws may stand, and each is checked if it does:
 *
 *   batch.jws                    the certificate of the batch that an object's belongs to
 *   proof.tlog-proof             that it, or its batch, stands in the ledger (tlog_proof.h)
 *   ledger-entry.json            the entry that the proof is about, if the proof does not carry it
 *   attestations/<sha256>.jws    what nodes signed for (proto/attestation.h)
 *   nodes/<name>.pem             the keys they signed with; older ones in <name>+2.pem and so on
 *   people/<name>.pem            those of the people who approved
 *
 * The report lists what was checked, and what was not because it is not there. Good means: the issuer signed this, it
 * does not contradict itself or what stands beside it. It can't mean that what was signed is true.
 * Bounds     Every file; VERIFY_ATTESTATIONS_MAX attestations.
 * Threads    One. */
#ifndef TRILITH_CLUSTER_VERIFY_CERTIFICATE_H
#define TRILITH_CLUSTER_VERIFY_CERTIFICATE_H

#include "base/jws.h"
#include "cluster/evidence_files.h"
#include "cluster/verify_report.h"

#define VERIFY_KEYS_MAX         16
#define VERIFY_KEY_FILE_BYTES   KIB(16)
#define VERIFY_OPENING_BYTES    KIB(16)
#define VERIFY_ATTESTATIONS_MAX 65536

struct certificate_question {
    const char *text; /* of certificate.jws */
    size_t text_bytes;
    const struct public_key *keys; /* one of which must have signed */
    size_t key_count;
    struct evidence_files *beside; /* NULL: nothing */
    /* JSON {"ref_salt" hex, and "name" hex of BUCKET 00 KEY, or "bucket" and "key" base64url; perhaps "version_id"};
     * NULL: none */
    const char *opening;
    size_t opening_bytes;
};

/* STATUS_OK: nothing is wrong. STATUS_DENIED: the report's problem says what is. `*payload`: what it says, when it
 * could be read at all; to be released with json_decref(). */
MUST_USE enum status verify_certificate(const struct certificate_question *question, struct verify_report *report,
                                        json_t **payload);

#endif
