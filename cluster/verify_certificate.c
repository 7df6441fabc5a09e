/* verify_certificate.c - signature, form and rules; then each piece of evidence that stands beside the certificate. */
#include "cluster/verify_certificate.h"

#include "base/checkpoint.h"
#include "cluster/certificate_form.h"
#include "cluster/tlog_proof.h"
#include "proto/approval.h"
#include "proto/attestation.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODE_KEYS_MAX         8
#define PEOPLE_NEEDED         2
#define ATTESTATIONS_NAMED    256u /* per replica at most (meta/erasure.h): further ones are in a chain only */
#define OBJECT_NAME_BYTES_MAX 2048 /* a bucket's and an object's name */

/* What the checks share. */
struct check {
    const struct certificate_question *question;
    struct verify_report *report;
    struct jws jws;
    const json_t *payload;
    struct jws batch;
    char *batch_text;
    size_t batch_bytes;
    bool has_batch;
};

/* ---- signature --------------------------------------------------------------------------------- */

/* Which of the keys has signed, from 1; 0: none. */
static size_t signer_of(const struct check *check, const struct jws *jws, const char *text)
{
    for (size_t i = 0; i < check->question->key_count; i++) {
        if (jws_verify(jws, text, &check->question->keys[i])) {
            return i + 1;
        }
    }
    return 0;
}

/* Take a certificate's JWS apart and verify it; `what` is what people call it. */
static enum status open_signed(struct check *check, const char *what, const char *text, size_t bytes, struct jws *jws)
{
    if (jws_open(jws, text, bytes) != STATUS_OK) {
        return verify_refuse(check->report,
                             "%s is no compact JWS in canonical form: it was changed, cut or never was one", what);
    }
    if (strcmp(jws->type, CERTIFICATE_JWS_TYPE) != 0) {
        return verify_refuse(check->report, "%s is signed as \"%s\", not as a certificate", what, jws->type);
    }
    if (signer_of(check, jws, text) == 0) {
        return verify_refuse(
            check->report,
            "the signature of %s does not fit: its text was changed, or none of the keys given signed it "
            "(it names the key %s)",
            what, jws->kid);
    }
    enum status status = certificate_form_check(jws->payload, check->report);
    if (status == STATUS_OK && strcmp(certificate_text(jws->payload, "issuer.kid"), jws->kid) != 0) {
        status = verify_refuse(check->report, "%s names one key in its header and another as its issuer's", what);
    }
    return status == STATUS_OK ? certificate_rules_check(jws->payload, check->report) : status;
}

/* ---- the batch --------------------------------------------------------------------------------- */

/* STATUS_NOT_FOUND has been noted as unchecked. */
static enum status read_beside(struct check *check, const char *name, const char *purpose, size_t bytes_max,
                               char **data, size_t *bytes)
{
    struct evidence_files *files = check->question->beside;
    enum status status = files == NULL ? STATUS_NOT_FOUND : files->read(files, name, bytes_max, data, bytes);
    if (status == STATUS_NOT_FOUND) {
        verify_unchecked(check->report, "%s: %s is not there", purpose, name);
    } else if (status != STATUS_OK) {
        return verify_refuse(check->report, "%s %s", name, verify_file_words(status));
    }
    return status;
}

static enum status check_batch_states_it(struct check *check)
{
    const json_t *own = check->payload;
    const json_t *batch = check->batch.payload;
    uint64_t seq = certificate_number(own, "seq");
    uint64_t index = certificate_number(own, "batch.leaf_index");
    if (!certificate_is(batch, CERTIFICATE_BATCH)) {
        return verify_refuse(check->report, "batch.jws is of the type \"%.32s\"", certificate_text(batch, "type"));
    }
    if (strcmp(certificate_text(own, "batch.epoch_cert_id"), certificate_text(batch, "cert_id")) != 0) {
        return verify_refuse(check->report, "batch.jws is another batch's: %s instead of %s",
                             certificate_text(batch, "cert_id"), certificate_text(own, "batch.epoch_cert_id"));
    }
    if (strcmp(certificate_text(own, "issuer.cluster_id"), certificate_text(batch, "issuer.cluster_id")) != 0) {
        return verify_refuse(check->report, "batch.jws is another cluster's");
    }
    if (strcmp(certificate_text(own, "batch.objects_root"), certificate_text(batch, "erasures.objects_root")) != 0) {
        return verify_refuse(check->report, "batch.jws states another root than the certificate");
    }
    if (seq != certificate_number(batch, "erasures.first_seq") + index ||
        seq > certificate_number(batch, "erasures.last_seq")) {
        return verify_refuse(check->report, "its number %" PRIu64 " is not the one at place %" PRIu64 " of its batch",
                             seq, index);
    }
    return STATUS_OK;
}

static enum status check_batch_file(struct check *check)
{
    enum status status = read_beside(check, "batch.jws", "that the batch states this root", JWS_BYTES_MAX + 1,
                                     &check->batch_text, &check->batch_bytes);
    if (status != STATUS_OK) {
        return status == STATUS_NOT_FOUND ? STATUS_OK : status;
    }
    check->has_batch = true;
    status = open_signed(check, "batch.jws", check->batch_text, check->batch_bytes, &check->batch);
    if (status == STATUS_OK) {
        status = check_batch_states_it(check);
    }
    if (status == STATUS_OK) {
        verify_checked(check->report, "batch.jws is signed by the same issuer and states the same root");
    }
    return status;
}

static enum status check_batch(struct check *check)
{
    enum status status = check_batch_file(check);
    if (status != STATUS_OK) {
        return status;
    }
    uint64_t count = check->has_batch ? certificate_number(check->batch.payload, "erasures.count") : 0;
    if (!certificate_path_is_good(check->payload, count)) {
        return verify_refuse(check->report, "batch.path does not lead from this certificate to batch.objects_root");
    }
    verify_checked(check->report, "its Merkle path leads to the root of its batch");
    return STATUS_OK;
}

/* ---- the ledger -------------------------------------------------------------------------------- */

/* Does this entry name the certificate with that text? */
static bool entry_names(const char *entry, size_t bytes, const json_t *payload, const char *jws, size_t jws_bytes)
{
    uint8_t digest[SHA256_BYTES];
    char hex[2 * SHA256_BYTES + 1];
    sha256(jws, jws_bytes, digest);
    hex_encode(digest, sizeof(digest), hex);
    json_t *value = json_from_canonical(entry, bytes);
    bool named = strcmp(certificate_text(value, "sha256"), hex) == 0 &&
                 strcmp(certificate_text(value, "cert_id"), certificate_text(payload, "cert_id")) == 0 &&
                 strcmp(certificate_text(value, "type"), certificate_text(payload, "type")) == 0;
    json_decref(value);
    return named;
}

/* The ledger's entry: out of the proof, or of the file beside it, or made of what the certificate itself says. */
static enum status entry_of(struct check *check, const struct tlog_proof *proof, const json_t *payload, const char *jws,
                            size_t jws_bytes, char entry[TLOG_PROOF_EXTRA_MAX], size_t *entry_bytes)
{
    uint8_t digest[SHA256_BYTES];
    char hex[2 * SHA256_BYTES + 1];
    char *data = NULL;
    size_t bytes = 0;
    struct evidence_files *files = check->question->beside;
    if (proof->extra_bytes > 0) {
        memcpy(entry, proof->extra, proof->extra_bytes);
        *entry_bytes = proof->extra_bytes;
        return STATUS_OK;
    }
    enum status status = files->read(files, "ledger-entry.json", TLOG_PROOF_EXTRA_MAX, &data, &bytes);
    if (status == STATUS_OK) {
        *entry_bytes = bytes - (bytes > 0 && data[bytes - 1] == '\n' ? 1 : 0);
        memcpy(entry, data, *entry_bytes);
        free(data);
        return STATUS_OK;
    }
    if (status != STATUS_NOT_FOUND) {
        return verify_refuse(check->report, "ledger-entry.json %s", verify_file_words(status));
    }
    const char *epoch = json_is_integer(certificate_member(payload, "vault.epoch")) ? "vault.epoch" : "crypto.epoch";
    sha256(jws, jws_bytes, digest);
    hex_encode(digest, sizeof(digest), hex);
    int length = snprintf(entry, TLOG_PROOF_EXTRA_MAX,
                          "{\"cert_id\":\"%s\",\"epoch\":%" PRIu64 ",\"sha256\":\"%s\",\"type\":\"%s\",\"v\":1}",
                          certificate_text(payload, "cert_id"), certificate_number(payload, epoch), hex,
                          certificate_text(payload, "type"));
    *entry_bytes = length > 0 && length < (int)TLOG_PROOF_EXTRA_MAX ? (size_t)length : 0;
    return STATUS_OK;
}

static enum status check_proof_of(struct check *check, const struct tlog_proof *proof, const char *what,
                                  const json_t *payload, const char *jws, size_t jws_bytes)
{
    struct checkpoint head;
    char entry[TLOG_PROOF_EXTRA_MAX];
    enum status status =
        checkpoint_open(proof->note, proof->note_bytes, check->question->keys, check->question->key_count, &head);
    if (status != STATUS_OK) {
        return verify_refuse(check->report,
                             status == STATUS_INVALID
                                 ? "the checkpoint in proof.tlog-proof is malformed"
                                 : "the checkpoint in proof.tlog-proof is not signed by the keys given (if a "
                                   "newer key signed it, give both in one file)");
    }
    if (strstr(head.origin, certificate_text(payload, "issuer.cluster_id")) == NULL) {
        return verify_refuse(check->report, "proof.tlog-proof is about the ledger of another cluster, %s", head.origin);
    }
    size_t entry_bytes = 0;
    status = entry_of(check, proof, payload, jws, jws_bytes, entry, &entry_bytes);
    if (status != STATUS_OK) {
        return status;
    }
    if (!entry_names(entry, entry_bytes, payload, jws, jws_bytes)) {
        return verify_refuse(check->report, "the ledger's entry beside the proof is not that of %s", what);
    }
    struct merkle_hash leaf;
    merkle_leaf(entry, entry_bytes, &leaf);
    if (!merkle_inclusion_verify(proof->index, head.size, &leaf, proof->hashes, proof->hash_count, &head.root)) {
        return verify_refuse(check->report,
                             "proof.tlog-proof does not show that %s is entry %" PRIu64 " of a ledger of %" PRIu64,
                             what, proof->index, head.size);
    }
    verify_checked(check->report,
                   "%s is entry %" PRIu64 " of the ledger of %" PRIu64 " entries that the checkpoint states", what,
                   proof->index, head.size);
    return STATUS_OK;
}

static enum status check_ledger(struct check *check)
{
    char *text = NULL;
    size_t bytes = 0;
    bool is_object = certificate_is(check->payload, CERTIFICATE_OBJECT);
    struct tlog_proof proof;
    enum status status =
        read_beside(check, "proof.tlog-proof", "that it stands in the ledger", TLOG_PROOF_BYTES_MAX, &text, &bytes);
    if (status != STATUS_OK) {
        return status == STATUS_NOT_FOUND ? STATUS_OK : status;
    }
    if (tlog_proof_read(text, bytes, &proof) != STATUS_OK) {
        status = verify_refuse(check->report, "proof.tlog-proof is malformed");
    } else if (is_object && !check->has_batch) {
        verify_unchecked(check->report, "proof.tlog-proof: it is about batch.jws, which is not there");
    } else if (is_object) {
        status = check_proof_of(check, &proof, "the batch", check->batch.payload, check->batch_text,
                                strcspn(check->batch_text, "\n"));
    } else {
        status = check_proof_of(
            check, &proof, "the certificate", check->payload, check->question->text,
            check->question->text_bytes -
                (check->question->text_bytes > 0 && check->question->text[check->question->text_bytes - 1] == '\n'));
    }
    free(text);
    return status;
}

/* ---- attestations ------------------------------------------------------------------------------ */

/* What the attestations of one replica say together, and what of it could be found. */
struct attested {
    uint64_t wiped;
    uint64_t never_held;
    uint64_t bytes;
    size_t read;
    size_t missing;
    size_t keyless;
    size_t compared; /* replicas of which all were there */
};

/* The keys of a node or a person: NAME.pem, and NAME+2.pem and so on, which are older ones. None: there is no such
 * file, and who asks says so. */
static enum status read_keys(struct check *check, const char *folder, const char *name,
                             struct public_key keys[NODE_KEYS_MAX], size_t *count)
{
    struct evidence_files *files = check->question->beside;
    enum status status = STATUS_OK;
    *count = 0;
    for (unsigned file = 1; evidence_name_is_plain(name) && *count < NODE_KEYS_MAX; file++) {
        char path[96];
        char suffix[16] = "";
        char *pem = NULL;
        size_t bytes = 0;
        size_t added = 0;
        if (file > 1) {
            (void)snprintf(suffix, sizeof(suffix), "+%u", file);
        }
        (void)snprintf(path, sizeof(path), "%s/%s%s.pem", folder, name, suffix);
        status = files->read(files, path, VERIFY_KEY_FILE_BYTES, &pem, &bytes);
        if (status == STATUS_NOT_FOUND) {
            return STATUS_OK;
        }
        if (status != STATUS_OK) {
            return verify_refuse(check->report, "%s %s", path, verify_file_words(status));
        }
        status = public_keys_from_pem(pem, bytes, keys + *count, NODE_KEYS_MAX - *count, &added);
        free(pem);
        if (status != STATUS_OK) {
            return verify_refuse(check->report, "%s holds something else than public keys", path);
        }
        *count += added;
    }
    return STATUS_OK;
}

/* Open an attestation with the keys of the node that it says it is from. STATUS_NOT_FOUND: there are none. */
static enum status open_attestation(struct check *check, const char *path, const char *text, size_t bytes,
                                    struct attestation *attestation)
{
    struct jws jws;
    struct public_key keys[NODE_KEYS_MAX];
    size_t count = 0;
    char node[JWS_KID_BYTES] = "";
    if (jws_open(&jws, text, bytes) == STATUS_OK && strcmp(jws.type, ATTESTATION_TYPE) == 0) {
        memcpy(node, jws.kid, sizeof(node));
    }
    jws_close(&jws);
    if (node[0] == '\0') {
        return verify_refuse(check->report, "%s is no attestation", path);
    }
    enum status status = read_keys(check, "nodes", node, keys, &count);
    if (status != STATUS_OK) {
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        status = attestation_open(attestation, text, bytes, &keys[i]);
        if (status == STATUS_OK) {
            return STATUS_OK;
        }
    }
    return count == 0
               ? STATUS_NOT_FOUND
               : verify_refuse(check->report, "%s is not signed by a key of the node %s, or is malformed", path, node);
}

static enum status take_attestation(struct check *check, const json_t *replica, const char *path,
                                    const struct attestation *attestation, struct attested *sum)
{
    struct attestation_entry entry;
    char hex[ID_HEX_BYTES];
    char uuid[40];
    uint64_t erasure = certificate_number(check->payload, "request.id");
    const char *disk = certificate_text(replica, "disk.uuid");
    id_to_hex(attestation->disk_uuid.bytes, hex);
    (void)snprintf(uuid, sizeof(uuid), "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
    if (disk[0] != '\0' && strcmp(disk, uuid) != 0) {
        return verify_refuse(check->report, "%s is about the disk %s, not %s", path, uuid, disk);
    }
    if (!attestation_find(attestation, erasure, &entry)) {
        return verify_refuse(check->report, "%s says nothing of erasure %" PRIu64, path, erasure);
    }
    sum->wiped += entry.wiped;
    sum->never_held += entry.never_held;
    sum->bytes += entry.bytes;
    sum->read++;
    return STATUS_OK;
}

static enum status check_attestation(struct check *check, const json_t *replica, const char *sha256_text,
                                     struct attested *sum)
{
    char path[96];
    char *text = NULL;
    size_t bytes = 0;
    struct merkle_hash expected;
    struct merkle_hash digest;
    struct evidence_files *files = check->question->beside;
    (void)snprintf(path, sizeof(path), "attestations/%.64s.jws", sha256_text);
    enum status status = files == NULL ? STATUS_NOT_FOUND : files->read(files, path, JWS_BYTES_MAX + 1, &text, &bytes);
    if (status == STATUS_NOT_FOUND) {
        sum->missing++;
        return STATUS_OK;
    }
    if (status != STATUS_OK) {
        return verify_refuse(check->report, "%s %s", path, verify_file_words(status));
    }
    bytes -= bytes > 0 && text[bytes - 1] == '\n' ? 1 : 0; /* The SHA-256 is that of the JWS itself. */
    json_t *value = json_string(sha256_text);
    bool good = certificate_hash(value, &expected);
    json_decref(value);
    sha256(text, bytes, digest.bytes);
    if (!good || memcmp(digest.bytes, expected.bytes, SHA256_BYTES) != 0) {
        free(text);
        return verify_refuse(check->report, "%s does not have the SHA-256 that the certificate names", path);
    }
    struct attestation attestation;
    status = open_attestation(check, path, text, bytes, &attestation);
    if (status == STATUS_OK) {
        status = take_attestation(check, replica, path, &attestation, sum);
        attestation_close(&attestation);
    } else if (status == STATUS_NOT_FOUND) {
        sum->keyless++;
        status = STATUS_OK;
    }
    free(text);
    return status;
}

/* What is claimed must be attested. More may be: a report that was lost on its way is repeated within a later one. */
static enum status check_replica(struct check *check, size_t index, struct attested *all)
{
    const json_t *replica = json_array_get(certificate_member(check->payload, "replicas"), index);
    const json_t *names = certificate_member(replica, "attestations");
    struct attested sum = {0};
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < json_array_size(names); i++) {
        if (all->read + all->missing + all->keyless + i >= VERIFY_ATTESTATIONS_MAX) {
            return verify_refuse(check->report, "it names more than %d attestations", VERIFY_ATTESTATIONS_MAX);
        }
        status = check_attestation(check, replica, json_string_value(json_array_get(names, i)), &sum);
    }
    if (status != STATUS_OK) {
        return status;
    }
    bool is_whole = sum.missing == 0 && sum.keyless == 0 && sum.read > 0 && sum.read < ATTESTATIONS_NAMED;
    if (is_whole &&
        (sum.wiped < certificate_number(replica, "chunks") || sum.bytes < certificate_number(replica, "bytes") ||
         sum.never_held < certificate_number(replica, "never_held"))) {
        return verify_refuse(check->report,
                             "replicas[%zu] claims %" PRIu64 " chunks with %" PRIu64 " bytes overwritten and %" PRIu64
                             " never held, but its attestations say %" PRIu64 ", %" PRIu64 " and %" PRIu64,
                             index, certificate_number(replica, "chunks"), certificate_number(replica, "bytes"),
                             certificate_number(replica, "never_held"), sum.wiped, sum.bytes, sum.never_held);
    }
    if (sum.read >= ATTESTATIONS_NAMED) {
        verify_unchecked(check->report,
                         "whether the attestations of replicas[%zu] say as much as it claims: only the first "
                         "%u are named",
                         index, ATTESTATIONS_NAMED);
    }
    all->compared += is_whole ? 1 : 0;
    all->read += sum.read;
    all->missing += sum.missing;
    all->keyless += sum.keyless;
    return STATUS_OK;
}

static enum status check_attestations(struct check *check)
{
    struct attested all = {0};
    enum status status = STATUS_OK;
    size_t count = json_array_size(certificate_member(check->payload, "replicas"));
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        status = check_replica(check, i, &all);
    }
    if (status != STATUS_OK) {
        return status;
    }
    if (all.read > 0) {
        verify_checked(check->report,
                       "attestations (%zu) are those that it names, signed by their nodes, about its disks", all.read);
    }
    if (all.compared > 0) {
        verify_checked(check->report, "the attestations of %zu of %zu disks say as much as it claims of them",
                       all.compared, count);
    }
    if (all.missing > 0) {
        verify_unchecked(check->report, "%zu attestations that it names: they are not in attestations/", all.missing);
    }
    if (all.keyless > 0) {
        verify_unchecked(check->report, "who signed %zu attestations: the nodes' keys are not in nodes/", all.keyless);
    }
    return STATUS_OK;
}

/* ---- approvals --------------------------------------------------------------------------------- */

/* STATUS_NOT_FOUND: in form, but the person's key is not there. */
static enum status check_approval(struct check *check, const char *text, char person[JWS_KID_BYTES])
{
    struct jws jws;
    struct public_key keys[NODE_KEYS_MAX];
    size_t count = 0;
    enum status status = jws_open(&jws, text, strlen(text));
    if (status != STATUS_OK || strcmp(jws.type, APPROVAL_TYPE) != 0 ||
        strcmp(certificate_text(jws.payload, "action"), "approve") != 0 ||
        strcmp(certificate_text(jws.payload, "person"), jws.kid) != 0) {
        status = verify_refuse(check->report, "an approval in request.approvals is malformed");
    } else if (strcmp(certificate_text(jws.payload, "plan_sha256"),
                      certificate_text(check->payload, "request.plan_sha256")) != 0 ||
               certificate_number(jws.payload, "request") != certificate_number(check->payload, "request.id")) {
        status = verify_refuse(check->report, "%s has approved another plan or request than this one", jws.kid);
    } else {
        memcpy(person, jws.kid, JWS_KID_BYTES);
        status = check->question->beside == NULL ? STATUS_OK : read_keys(check, "people", jws.kid, keys, &count);
    }
    if (status == STATUS_OK && count == 0) {
        status = STATUS_NOT_FOUND;
    } else if (status == STATUS_OK) {
        bool signed_by_one = false;
        for (size_t i = 0; i < count; i++) {
            signed_by_one = signed_by_one || jws_verify(&jws, text, &keys[i]);
        }
        if (!signed_by_one) {
            status = verify_refuse(check->report, "the approval of %s is not signed with their key", jws.kid);
        }
    }
    jws_close(&jws);
    return status;
}

static enum status check_approvals(struct check *check)
{
    const json_t *list = certificate_member(check->payload, "request.approvals");
    char people[2][JWS_KID_BYTES] = {"", ""};
    size_t different = 0;
    size_t verified = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        char person[JWS_KID_BYTES] = "";
        enum status status = check_approval(check, json_string_value(json_array_get(list, i)), person);
        if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
            return status;
        }
        if (status == STATUS_NOT_FOUND) {
            verify_unchecked(check->report, "the signature under the approval of %s: people/%s.pem is not there",
                             person, person);
        }
        verified += status == STATUS_OK ? 1 : 0;
        if (different < 2 && (different == 0 || strcmp(people[0], person) != 0)) {
            memcpy(people[different++], person, sizeof(person));
        }
    }
    bool is_by_request = certificate_is(check->payload, CERTIFICATE_TENANT) ||
                         certificate_is(check->payload, "media-sanitization") ||
                         certificate_is(check->payload, "node-decommission");
    if (is_by_request && different < PEOPLE_NEEDED) {
        return verify_refuse(check->report, "it does not carry the approvals of two different people");
    }
    if (verified > 0) {
        verify_checked(check->report, "%zu approvals are signed by the people named, for this plan", verified);
    }
    return STATUS_OK;
}

/* ---- the opening ------------------------------------------------------------------------------- */

/* Bucket, 0, key: as "name" in hex, or as "bucket" and "key" (base64url). 0: malformed. */
static size_t opened_name(const json_t *opening, uint8_t name[OBJECT_NAME_BYTES_MAX])
{
    const char *hex = certificate_text(opening, "name");
    const char *bucket = certificate_text(opening, "bucket");
    const char *key = certificate_text(opening, "key");
    size_t hex_bytes = strlen(hex);
    size_t bucket_bytes = strlen(bucket);
    size_t key_bytes = OBJECT_NAME_BYTES_MAX;
    if (hex_bytes > 0) {
        bool good = hex_bytes / 2 <= OBJECT_NAME_BYTES_MAX && hex_decode(hex, hex_bytes, name, hex_bytes / 2);
        return good ? hex_bytes / 2 : 0;
    }
    if (bucket_bytes == 0 || bucket_bytes + 1 >= OBJECT_NAME_BYTES_MAX) {
        return 0;
    }
    memcpy(name, bucket, bucket_bytes + 1);
    key_bytes -= bucket_bytes + 1;
    bool good = base64url_decode(key, strlen(key), name + bucket_bytes + 1, &key_bytes) && key_bytes > 0;
    return good ? bucket_bytes + 1 + key_bytes : 0;
}

/* HMAC-SHA256(ref_salt, version id | bucket | 0 | key). False: the opening is malformed. */
static bool object_reference(const json_t *opening, const char *version, uint8_t reference[SHA256_BYTES])
{
    struct merkle_hash salt;
    uint8_t text[16 + OBJECT_NAME_BYTES_MAX];
    size_t name_bytes = opened_name(opening, text + 16);
    if (name_bytes == 0 || !certificate_hash(json_object_get(opening, "ref_salt"), &salt) ||
        !hex_decode(version, strlen(version), text, 16)) {
        return false;
    }
    hmac_sha256(salt.bytes, SHA256_BYTES, text, 16 + name_bytes, reference);
    return true;
}

static enum status check_opening(struct check *check)
{
    const struct certificate_question *question = check->question;
    uint8_t reference[SHA256_BYTES];
    struct merkle_hash stated;
    if (question->opening == NULL) {
        verify_unchecked(check->report, "which object it is about: no --opening was given");
        return STATUS_OK;
    }
    if (!certificate_hash(certificate_member(check->payload, "subject.object_ref"), &stated)) {
        return verify_refuse(check->report, "it names no object that an opening could fit");
    }
    json_t *opening = question->opening_bytes > VERIFY_OPENING_BYTES
                          ? NULL
                          : json_loadb(question->opening, question->opening_bytes, JSON_REJECT_DUPLICATES, NULL);
    const char *version = certificate_text(check->payload, "subject.version_id");
    bool good = object_reference(opening, version, reference);
    const char *opened = certificate_text(opening, "version_id");
    bool same_version = opened[0] == '\0' || strcmp(opened, version) == 0;
    json_decref(opening);
    if (!good) {
        return verify_refuse(check->report,
                             "the opening is not JSON with ref_salt (64 hex digits) and name (hex) or bucket "
                             "and key (base64url)");
    }
    if (!same_version) {
        return verify_refuse(check->report, "the opening is about another version");
    }
    if (memcmp(reference, stated.bytes, SHA256_BYTES) != 0) {
        return verify_refuse(check->report, "the certificate is not about the object of the opening");
    }
    verify_checked(check->report, "it is about the object of the opening");
    return STATUS_OK;
}

/* ---- all of it --------------------------------------------------------------------------------- */

static enum status check_own(struct check *check)
{
    const struct certificate_question *question = check->question;
    enum status status = open_signed(check, "the certificate", question->text, question->text_bytes, &check->jws);
    check->payload = check->jws.payload;
    if (status != STATUS_OK) {
        return status;
    }
    verify_checked(check->report, "it is signed by key %zu of the key file, under the name %s",
                   signer_of(check, &check->jws, question->text), check->jws.kid);
    verify_checked(check->report,
                   "it is in canonical form, has what such a certificate must have, and does not contradict "
                   "itself");
    return STATUS_OK;
}

static enum status check_all(struct check *check)
{
    enum status status = check_own(check);
    if (status != STATUS_OK) {
        return status;
    }
    bool is_object = certificate_is(check->payload, CERTIFICATE_OBJECT);
    status = is_object ? check_batch(check) : STATUS_OK;
    if (status == STATUS_OK) {
        status = check_ledger(check);
    }
    if (status == STATUS_OK && is_object) {
        status = check_attestations(check);
    }
    if (status == STATUS_OK) {
        status = check_approvals(check);
    }
    if (status == STATUS_OK && !is_object && check->question->opening != NULL) {
        return verify_refuse(check->report, "an opening shows which object was erased, and this is about none");
    }
    return status == STATUS_OK && is_object ? check_opening(check) : status;
}

enum status verify_certificate(const struct certificate_question *question, struct verify_report *report,
                               json_t **payload)
{
    struct check check = {.question = question, .report = report};
    memset(report, 0, sizeof(*report));
    enum status status = check_all(&check);
    *payload = json_incref(check.jws.payload);
    jws_close(&check.jws);
    jws_close(&check.batch);
    free(check.batch_text);
    return status;
}
