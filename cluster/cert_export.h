/* cert_export.h - everything that somebody needs to verify one certificate without us, as a handful of files.
 *
 *   certificate.jws     its bytes, without a newline: `sha256sum` gives the digest that the ledger has
 *   issuer.pem          the key that it (and its batch) is signed with
 *   batch.jws           of an object's certificate: that of its batch
 *   checkpoint          the ledger's head, and proof.tlog-proof the way from ledger-entry.json to it (tlog_proof.h)
 *   ledger.pem, -2.pem  keys that signed the checkpoint, if they are others than issuer.pem
 *   attestations/SHA256.jws, nodes/NAME.pem   what the certificate names, and who signed it; NAME+2.pem: an older key
 * of that node
 *   people/NAME.pem     the keys of those who approved
 *   opening.json        {"name": hex of BUCKET 00 KEY, "ref_salt": hex}: which object it is about
 *   README.txt, verify.sh    how to verify all this with openssl and a shell (evidence/)
 *
 * Where the files go is the caller's: a directory, or an archive. What the service answered is checked as far as
 * lengths and names go, no further: who verifies is to find out what is wrong with it.
 * Threads    Pure. */
#ifndef TRILITH_CLUSTER_CERT_EXPORT_H
#define TRILITH_CLUSTER_CERT_EXPORT_H

#include "base/signature.h"
#include "cluster/evidence_files.h"
#include "proto/wire.pb-c.h"

#define CERT_EXPORT_PATH_BYTES 160 /* of a file of an export, with the terminator */

/* The object that a certificate is about, as only its tenant can show. */
struct cert_opening {
    const char *bucket;
    const uint8_t *key;
    size_t key_bytes;
    uint8_t ref_salt[32];
};

/* What the service answered. Nothing of it is changed or kept. */
struct cert_export {
    const Trilith__CertGetReply *found;
    const Trilith__SigningKeyListReply *keys;
    const Trilith__AttestationGetReply *const *attestations; /* in the order of found->attestations */
    const Trilith__PersonListReply *people;                  /* NULL: nobody's key is known */
    const struct cert_opening *opening;                      /* NULL: none */
    bool in_archive;                                         /* README and script stand there once, for all */
};

/* Write the files. STATUS_OK; STATUS_CORRUPT: the answers do not fit together (no certificate, a key that is not
 * there, a wrong length); STATUS_BUSY: no memory; statuses of files->write(). */
MUST_USE enum status cert_export_write(const struct cert_export *export, struct evidence_files *files);

/* The READMEs and scripts for an archive of many exports below certificates/. */
MUST_USE enum status cert_export_archive_texts(struct evidence_files *files);

/* HMAC-SHA256(ref_salt, version id | bucket | 00 | key): how a certificate names an object. False: no memory. */
MUST_USE bool cert_object_ref(const struct cert_opening *opening, const uint8_t version_id[16], uint8_t reference[32]);

#endif
