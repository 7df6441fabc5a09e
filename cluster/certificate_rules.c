/* certificate_rules.c - what must hold between the members of a certificate, its form being good. */
#include "cluster/certificate_form.h"

#include <inttypes.h>
#include <string.h>

/* ---- the rules --------------------------------------------------------------------------------- */

static bool is_erased(const json_t *payload)
{
    return strcmp(certificate_text(payload, "result"), "ERASED") == 0;
}

/* A time that is null says nothing. */
static enum status check_order(const json_t *payload, const char *first, const char *second,
                               struct verify_report *report)
{
    const char *a = certificate_text(payload, first);
    const char *b = certificate_text(payload, second);
    if (a[0] != '\0' && b[0] != '\0' && strcmp(a, b) > 0) {
        return verify_refuse(report, "%s (%s) is later than %s (%s)", first, a, second, b);
    }
    return STATUS_OK;
}

static enum status check_times(const json_t *payload, struct verify_report *report)
{
    static const char *const pairs[][2] = {{"request.requested_at", "crypto.punctured.at"},
                                           {"crypto.punctured.at", "crypto.epoch_erased_at"},
                                           {"request.requested_at", "crypto.epoch_erased_at"},
                                           {"crypto.epoch_erased_at", "issued_at"},
                                           {"crypto.lease_expired_at", "issued_at"},
                                           {"verification.at", "issued_at"},
                                           {"request.requested_at", "issued_at"}};
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < ARRAY_LENGTH(pairs); i++) {
        status = check_order(payload, pairs[i][0], pairs[i][1], report);
    }
    return status;
}

static bool has_residual(const json_t *payload, const char *code)
{
    const json_t *list = certificate_member(payload, "residual");
    size_t length = strlen(code);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (strncmp(text, code, length) == 0 && (text[length] == '\0' || text[length] == '(')) {
            return true;
        }
    }
    return false;
}

static enum status need_residual(const json_t *payload, bool is_needed, const char *code, const char *because,
                                 struct verify_report *report)
{
    if (is_needed && !has_residual(payload, code)) {
        return verify_refuse(report, "it leaves out the residual %s, though %s", code, because);
    }
    return STATUS_OK;
}

/* The shares of the old root: enough are gone that the rest can't rebuild it. */
static enum status check_slots(const json_t *payload, struct verify_report *report)
{
    uint64_t n = certificate_number(payload, "crypto.slots.n");
    uint64_t t = certificate_number(payload, "crypto.slots.t");
    uint64_t destroyed = json_array_size(certificate_member(payload, "crypto.slots.destroyed"));
    uint64_t pending = json_array_size(certificate_member(payload, "crypto.slots.pending"));
    if (n == 0 || t == 0 || t > n || destroyed + pending != n) {
        return verify_refuse(report,
                             "crypto.slots does not add up: %" PRIu64 " shares, %" PRIu64 " needed, %" PRIu64
                             " destroyed and %" PRIu64 " pending",
                             n, t, destroyed, pending);
    }
    if (is_erased(payload) && pending >= t) {
        return verify_refuse(report,
                             "its result is ERASED, though %" PRIu64 " shares of the old root are pending and %" PRIu64
                             " can rebuild it",
                             pending, t);
    }
    enum status status =
        need_residual(payload, pending > 0, "SLOT_PENDING", "shares of the old root are pending", report);
    if (status == STATUS_OK) {
        bool is_file = strcmp(certificate_text(payload, "crypto.slots.backend"), "file") == 0;
        status = need_residual(payload, is_file, "ROOT_SLOT_SOFTWARE", "the shares were kept in files", report);
    }
    return status;
}

/* What the replicas say together. */
struct replica_sums {
    uint64_t chunks;
    uint64_t never_held;
    uint64_t bytes;
    bool has_removed; /* disk-certified */
    bool has_dead;    /* ce-only */
    bool has_flash;   /* something may be on a medium that is not said to be rotational */
};

static enum status add_replica(const json_t *payload, size_t index, struct replica_sums *sums,
                               struct verify_report *report)
{
    const json_t *replica = json_array_get(certificate_member(payload, "replicas"), index);
    const char *state = certificate_text(replica, "state");
    uint64_t chunks = certificate_number(replica, "chunks");
    bool is_wiped = strcmp(state, "wiped") == 0;
    bool is_removed = strcmp(state, "disk-certified") == 0;
    bool is_dead = strcmp(state, "ce-only") == 0;
    if (!is_wiped && !is_removed && !is_dead && strcmp(state, "never-held") != 0) {
        if (is_erased(payload)) {
            return verify_refuse(report, "its result is ERASED, though replicas[%zu] is in the state \"%.32s\"", index,
                                 state);
        }
    }
    if ((is_wiped && chunks == 0) || (chunks > 0 && strcmp(state, "never-held") == 0)) {
        return verify_refuse(report, "replicas[%zu] is %s, but %" PRIu64 " of its chunks were overwritten", index,
                             state, chunks);
    }
    if (chunks > 0 && json_array_size(certificate_member(replica, "attestations")) == 0) {
        return verify_refuse(report, "replicas[%zu] counts overwritten chunks, but names no attestation", index);
    }
    sums->chunks += chunks;
    sums->never_held += certificate_number(replica, "never_held");
    sums->bytes += certificate_number(replica, "bytes");
    sums->has_removed = sums->has_removed || is_removed;
    sums->has_dead = sums->has_dead || is_dead;
    if ((chunks > 0 || is_removed || is_dead) && strcmp(certificate_text(replica, "disk.media"), "rotational") != 0) {
        sums->has_flash = true;
    }
    return STATUS_OK;
}

static enum status check_replicas(const json_t *payload, struct replica_sums *sums, struct verify_report *report)
{
    uint64_t total = certificate_number(payload, "ever_held_total");
    enum status status = STATUS_OK;
    memset(sums, 0, sizeof(*sums));
    for (size_t i = 0; status == STATUS_OK && i < json_array_size(certificate_member(payload, "replicas")); i++) {
        status = add_replica(payload, i, sums, report);
    }
    if (status != STATUS_OK) {
        return status;
    }
    uint64_t settled = sums->chunks + sums->never_held;
    /* Copies on removed disks are in the total, but not counted one by one. */
    bool may_be_less = sums->has_removed || sums->has_dead || !is_erased(payload);
    if (settled > total || (settled < total && !may_be_less)) {
        return verify_refuse(report, "the replicas account for %" PRIu64 " places, but ever_held_total says %" PRIu64,
                             settled, total);
    }
    if (sums->has_dead && is_erased(payload)) {
        return verify_refuse(report,
                             "its result is ERASED, though a replica is ce-only: nothing was overwritten there");
    }
    return STATUS_OK;
}

/* What it says of reading back, beside what the replicas say. */
static enum status check_readback(const json_t *payload, const struct replica_sums *sums, struct verify_report *report)
{
    const json_t *checks = certificate_member(payload, "verification.checks");
    for (size_t i = 0; i < json_array_size(checks); i++) {
        const json_t *check = json_array_get(checks, i);
        if (strcmp(certificate_text(check, "name"), "readback") != 0 ||
            !json_is_true(certificate_member(check, "performed"))) {
            continue;
        }
        if (sums->chunks == 0) {
            return verify_refuse(report, "it says that copies were read back, but counts none that was overwritten");
        }
        if (certificate_number(check, "bytes") != sums->bytes) {
            return verify_refuse(report,
                                 "it says that %" PRIu64 " bytes were read back, but the replicas come to %" PRIu64,
                                 certificate_number(check, "bytes"), sums->bytes);
        }
        if (is_erased(payload) && certificate_number(check, "mismatch") != 0) {
            return verify_refuse(report, "its result is ERASED, though copies did not read back as they were written");
        }
    }
    return STATUS_OK;
}

static enum status check_claim_of_object(const json_t *payload, const struct replica_sums *sums,
                                         struct verify_report *report)
{
    if (strcmp(certificate_text(payload, "claim.method"), "none") != 0) {
        return verify_refuse(report, "it claims the method \"%.32s\" for one object; only \"none\" can be",
                             certificate_text(payload, "claim.method"));
    }
    if (sums->chunks == 0 && strstr(certificate_text(payload, "claim.technique"), "overwrite") != NULL) {
        return verify_refuse(report, "it claims that copies were overwritten, but counts none that was");
    }
    if (json_array_size(certificate_member(payload, "not_claimed")) == 0) {
        return verify_refuse(report, "it says nothing of what it does not claim");
    }
    if (!is_erased(payload)) {
        return STATUS_OK;
    }
    if (!json_is_true(certificate_member(payload, "crypto.encrypted_since_creation")) ||
        certificate_number(payload, "crypto.key_bits") < 128) {
        return verify_refuse(report, "its result is ERASED, though the data was not sealed with a strong key from its "
                                     "first byte on");
    }
    if (certificate_number(payload, "gateways.acked") != certificate_number(payload, "gateways.total") &&
        certificate_text(payload, "crypto.lease_expired_at")[0] == '\0') {
        return verify_refuse(report,
                             "its result is ERASED, though gateways may hold the key: not all have given it up, "
                             "and no lease has ended");
    }
    return STATUS_OK;
}

static enum status check_residues_of_object(const json_t *payload, const struct replica_sums *sums,
                                            struct verify_report *report)
{
    const struct {
        bool is_needed;
        const char *code;
        const char *because;
    } needed[] = {
        {sums->has_flash, "FTL_CIPHERTEXT", "a copy may have been on a medium that is not said to be rotational"},
        {sums->has_dead, "REPLICA_OFFLINE", "a replica is ce-only"},
        {sums->chunks > 0, "VENDOR_FIRMWARE", "copies were read back through the device's firmware"},
        {!json_is_true(certificate_member(payload, "metadata.names_sealed")), "METADATA_UNTIL", "names are not sealed"},
        {json_array_size(certificate_member(payload, "crypto.copies.exports")) > 0, "BACKUP_UNTIL",
         "keys were exported"},
        {certificate_number(payload, "shared_chunks_retained") > 0, "SHARED_CONTENT", "shared chunks were kept"},
    };
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < ARRAY_LENGTH(needed); i++) {
        status = need_residual(payload, needed[i].is_needed, needed[i].code, needed[i].because, report);
    }
    return status;
}

static enum status check_object(const json_t *payload, struct verify_report *report)
{
    struct replica_sums sums;
    enum status status = check_replicas(payload, &sums, report);
    if (status == STATUS_OK) {
        status = check_readback(payload, &sums, report);
    }
    if (status == STATUS_OK) {
        status = check_claim_of_object(payload, &sums, report);
    }
    return status == STATUS_OK ? check_residues_of_object(payload, &sums, report) : status;
}

static enum status check_batch(const json_t *payload, struct verify_report *report)
{
    uint64_t count = certificate_number(payload, "erasures.count");
    uint64_t first = certificate_number(payload, "erasures.first_seq");
    uint64_t last = certificate_number(payload, "erasures.last_seq");
    if (count == 0 || first == 0 || last < first || last - first + 1 != count) {
        return verify_refuse(report, "a batch of %" PRIu64 " can't have the numbers %" PRIu64 " to %" PRIu64, count,
                             first, last);
    }
    if (certificate_number(payload, "totals.certificates") < certificate_number(payload, "seq")) {
        return verify_refuse(report, "it counts fewer certificates than its own number");
    }
    return STATUS_OK;
}

enum status certificate_rules_check(const json_t *payload, struct verify_report *report)
{
    enum status status = check_times(payload, report);
    if (status != STATUS_OK) {
        return status;
    }
    if (certificate_number(payload, "seq") == 0) {
        return verify_refuse(report, "it has no number: seq is 0");
    }
    if (certificate_is(payload, CERTIFICATE_OBJECT) || certificate_is(payload, CERTIFICATE_TENANT)) {
        status = check_slots(payload, report);
    }
    if (status == STATUS_OK && certificate_is(payload, CERTIFICATE_OBJECT)) {
        status = check_object(payload, report);
    }
    if (status == STATUS_OK && certificate_is(payload, CERTIFICATE_BATCH)) {
        status = check_batch(payload, report);
    }
    if (status == STATUS_OK && certificate_is(payload, CERTIFICATE_MANIFEST) &&
        json_array_size(certificate_member(payload, "keys")) == 0) {
        status = verify_refuse(report, "it lists no key");
    }
    return status;
}
