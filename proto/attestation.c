/* attestation.c - the one way in which a report of wipes becomes JSON: making an attestation and checking one go by it.
 * What follows from the results alone (everything but who, where and when) is stated by one function; a check states it
 * anew from the results at hand and compares. */
#include "proto/attestation.h"

#include "base/jws_pack.h"

#include "base/bytes.h"
#include "base/merkle.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LEAF_FIXED_BYTES 34u /* erasure, chunk id, outcome, technique, bytes */
#define LEAF_BYTES_MAX   (LEAF_FIXED_BYTES + SHA256_BYTES)
#define TIME_BYTES       32
#define ENTRY_MEMBERS    7u
#define ERASURE_ID_MAX   ((UINT64_C(1) << 53) - 1) /* what canonical JSON can say */
#define SECONDS_MAX      253402300799ll            /* the last one of the year 9999 */

/* ---- from results -------------------------------------------------------------------------------- */

static bool result_is_statable(const Trilith__WipeResult *result)
{
    bool is_known = result->outcome == TRILITH__WIPE_OUTCOME__WIPE_WIPED ||
                    result->outcome == TRILITH__WIPE_OUTCOME__WIPE_NEVER_HELD ||
                    result->outcome == TRILITH__WIPE_OUTCOME__WIPE_FAILED;
    bool was_wiped = result->outcome == TRILITH__WIPE_OUTCOME__WIPE_WIPED;
    return is_known && result->chunk_id.len == sizeof(struct chunk_id) && result->erasure_id <= ERASURE_ID_MAX &&
           result->bytes <= GIB(1) && (was_wiped || result->bytes == 0) &&
           (result->digest.len == 0 || (was_wiped && result->digest.len == SHA256_BYTES)) &&
           (result->technique == TRILITH__WIPE_TECHNIQUE__TECHNIQUE_OVERWRITE ||
            result->technique == TRILITH__WIPE_TECHNIQUE__TECHNIQUE_DOD3);
}

static bool results_are_statable(Trilith__WipeResult *const *results, size_t count)
{
    bool are_statable = count > 0 && count <= ATTESTATION_RESULTS_MAX;
    for (size_t i = 0; are_statable && i < count; i++) {
        are_statable = result_is_statable(results[i]);
    }
    return are_statable;
}

static size_t leaf_encode(const Trilith__WipeResult *result, uint8_t leaf[LEAF_BYTES_MAX])
{
    struct byte_writer writer = byte_writer_of(leaf, LEAF_BYTES_MAX);
    write_u64_be(&writer, result->erasure_id);
    write_bytes(&writer, result->chunk_id.data, result->chunk_id.len);
    write_u8(&writer, (uint8_t)result->outcome);
    write_u8(&writer, (uint8_t)result->technique);
    write_u64_be(&writer, result->bytes);
    if (result->digest.len > 0) {
        write_bytes(&writer, result->digest.data, result->digest.len);
    }
    CHECK(!writer.failed);
    return writer.written;
}

static json_t *hex_of(const uint8_t *bytes, size_t count)
{
    char text[2 * SHA256_BYTES + 1];
    CHECK(count <= SHA256_BYTES);
    hex_encode(bytes, count, text);
    return json_string(text);
}

/* Which techniques occur: the name of the one, "mixed", or null when there is none. */
static json_t *technique_name(size_t overwrite, size_t dod3)
{
    if (overwrite == 0 && dod3 == 0) {
        return json_null();
    }
    return json_string(overwrite > 0 && dod3 > 0 ? "mixed" : dod3 > 0 ? "dod3" : "overwrite");
}

/* What the results of one erasure, or of all, come to. */
struct sums {
    size_t wiped;
    size_t never_held;
    size_t failed;
    size_t overwrite;
    size_t dod3;
    uint64_t bytes;
    uint64_t dod3_bytes;
};

static void sums_add(struct sums *sums, const Trilith__WipeResult *result)
{
    bool was_wiped = result->outcome == TRILITH__WIPE_OUTCOME__WIPE_WIPED;
    bool is_dod3 = was_wiped && result->technique == TRILITH__WIPE_TECHNIQUE__TECHNIQUE_DOD3;
    sums->wiped += was_wiped ? 1 : 0;
    sums->never_held += result->outcome == TRILITH__WIPE_OUTCOME__WIPE_NEVER_HELD ? 1 : 0;
    sums->failed += result->outcome == TRILITH__WIPE_OUTCOME__WIPE_FAILED ? 1 : 0;
    sums->overwrite += was_wiped && !is_dod3 ? 1 : 0;
    sums->dod3 += is_dod3 ? 1 : 0;
    sums->bytes += result->bytes;
    sums->dod3_bytes += is_dod3 ? result->bytes : 0;
}

/* The entry of the erasure of results[first], which no result before has. `taken` marks those that are in it. */
static json_t *entry_of(Trilith__WipeResult *const *results, size_t count, size_t first, bool *taken)
{
    struct sums sums = {0};
    struct digest digest;
    uint8_t leaf[LEAF_BYTES_MAX];
    uint8_t hash[DIGEST_BYTES_MAX];
    digest_begin(&digest, DIGEST_SHA256);
    for (size_t i = first; i < count; i++) {
        if (results[i]->erasure_id == results[first]->erasure_id) {
            taken[i] = true;
            sums_add(&sums, results[i]);
            digest_update(&digest, leaf, leaf_encode(results[i], leaf));
        }
    }
    digest_end(&digest, hash);
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:o,s:o}", "erasure", (json_int_t)results[first]->erasure_id, "wiped",
                     (json_int_t)sums.wiped, "never_held", (json_int_t)sums.never_held, "failed",
                     (json_int_t)sums.failed, "bytes", (json_int_t)sums.bytes, "technique",
                     technique_name(sums.overwrite, sums.dod3), "digest", hex_of(hash, SHA256_BYTES));
}

static json_t *entries_of(Trilith__WipeResult *const *results, size_t count)
{
    bool taken[ATTESTATION_RESULTS_MAX] = {false};
    json_t *entries = json_array();
    for (size_t i = 0; i < count; i++) {
        /* Pages come in the order of chunk ids, so this is quadratic; 256 results are 32,000 comparisons of two
         * integers. */
        if (!taken[i] && json_array_append_new(entries, entry_of(results, count, i, taken)) != 0) {
            json_decref(entries);
            return NULL;
        }
    }
    return entries;
}

static json_t *passes_of(const struct sums *sums)
{
    if (sums->bytes == 0) {
        return json_array();
    }
    if (sums->dod3_bytes == 0) {
        return json_pack("[{s:s,s:I}]", "pattern", "chacha20", "bytes", (json_int_t)sums->bytes);
    }
    return json_pack("[{s:s,s:I},{s:s,s:I},{s:s,s:I}]", "pattern", "0x55", "bytes", (json_int_t)sums->dod3_bytes,
                     "pattern", "0xaa", "bytes", (json_int_t)sums->dod3_bytes, "pattern", "chacha20", "bytes",
                     (json_int_t)sums->bytes);
}

static json_t *chunks_root_of(Trilith__WipeResult *const *results, size_t count)
{
    struct merkle_hash leaves[ATTESTATION_RESULTS_MAX];
    struct merkle_hash root;
    uint8_t leaf[LEAF_BYTES_MAX];
    for (size_t i = 0; i < count; i++) {
        merkle_leaf(leaf, leaf_encode(results[i], leaf), &leaves[i]);
    }
    merkle_root_of(leaves, count, &root);
    return hex_of(root.bytes, sizeof(root.bytes));
}

/* Everything that follows from the results alone. NULL: no memory. `technique.asked` and `readback.mismatch` are the
 * node's to add. */
static json_t *statement_of(Trilith__WipeResult *const *results, size_t count)
{
    struct sums sums = {0};
    for (size_t i = 0; i < count; i++) {
        sums_add(&sums, results[i]);
    }
    return json_pack("{s:I,s:I,s:o,s:{s:o},s:o,s:{s:I},s:I,s:o}", "count", (json_int_t)count, "bytes",
                     (json_int_t)sums.bytes, "chunks_root", chunks_root_of(results, count), "technique", "used",
                     technique_name(sums.overwrite, sums.dod3), "passes", passes_of(&sums), "readback", "bytes",
                     (json_int_t)sums.bytes, "errors", (json_int_t)sums.failed, "entries", entries_of(results, count));
}

/* ---- from facts ---------------------------------------------------------------------------------- */

/* A text from the system, cut to a bound and to what canonical JSON may hold; null when there is none. */
static json_t *text_of(const char *text)
{
    char clean[ATTESTATION_TEXT_BYTES];
    size_t bytes = 0;
    for (; text != NULL && text[bytes] != '\0' && bytes < sizeof(clean) - 1; bytes++) {
        clean[bytes] = text[bytes] >= ' ' && text[bytes] <= '~' ? text[bytes] : '?';
    }
    clean[bytes] = '\0';
    return bytes == 0 ? json_null() : json_string(clean);
}

static json_t *reference_of(const struct uuid *disk, const char *text)
{
    uint8_t reference[SHA256_BYTES];
    if (text == NULL || text[0] == '\0') {
        return json_null();
    }
    hmac_sha256(disk->bytes, sizeof(disk->bytes), text, strlen(text), reference);
    return hex_of(reference, sizeof(reference));
}

static json_t *time_of(uint64_t ms)
{
    char text[TIME_BYTES];
    char seconds_text[TIME_BYTES];
    struct tm parts;
    time_t seconds = (time_t)(ms / 1000 <= SECONDS_MAX ? ms / 1000 : SECONDS_MAX);
    if (gmtime_r(&seconds, &parts) == NULL ||
        strftime(seconds_text, sizeof(seconds_text), "%Y-%m-%dT%H:%M:%S", &parts) == 0) {
        return json_null();
    }
    snprintf(text, sizeof(text), "%.19s.%03uZ", seconds_text, (unsigned)(ms % 1000));
    return json_string(text);
}

/* Of a virtual disk nobody here can say whether anything turns below. */
static bool medium_is_physical(const Trilith__Medium *medium)
{
    static const char *const interfaces[] = {"nvme", "sata", "sas", "scsi", "usb"};
    for (size_t i = 0; i < ARRAY_LENGTH(interfaces); i++) {
        if (strcmp(medium->interface, interfaces[i]) == 0) {
            return true;
        }
    }
    return false;
}

static json_t *disk_of(const struct attestation_facts *facts)
{
    Trilith__Medium nothing;
    trilith__medium__init(&nothing);
    const Trilith__Medium *medium = facts->medium != NULL ? facts->medium : &nothing;
    bool is_known = medium_is_physical(medium);
    return json_pack("{s:I,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "id", (json_int_t)facts->disk_id, "uuid",
                     hex_of(facts->disk_uuid.bytes, sizeof(facts->disk_uuid.bytes)), "wwn_ref",
                     reference_of(&facts->disk_uuid, medium->wwn), "serial_ref",
                     reference_of(&facts->disk_uuid, medium->serial), "model", text_of(medium->model), "firmware",
                     text_of(medium->firmware), "rotational", is_known ? json_boolean(medium->rotational) : json_null(),
                     "media", is_known ? json_string(medium->rotational ? "rotational" : "solid-state") : json_null());
}

static json_t *fs_of(const struct attestation_facts *facts)
{
    const Trilith__Medium *medium = facts->medium;
    bool has_fs = medium != NULL && medium->file_system[0] != '\0';
    bool has_device = medium != NULL && medium->device[0] != '\0';
    return json_pack("{s:o,s:o,s:o,s:o}", "type", text_of(has_fs ? medium->file_system : NULL), "mount_opts",
                     text_of(has_fs ? medium->mount_options : NULL), "shares_extents",
                     has_fs ? json_boolean(medium->shares_extents) : json_null(), "discard",
                     has_device ? json_boolean(medium->discard) : json_null());
}

static json_t *asked_of(const struct attestation_facts *facts, size_t count)
{
    size_t dod3 = 0;
    for (size_t i = 0; i < count; i++) {
        dod3 += facts->asked[i] == TRILITH__WIPE_TECHNIQUE__TECHNIQUE_DOD3 ? 1 : 0;
    }
    return technique_name(count - dod3, dod3);
}

static bool facts_add(json_t *payload, const struct attestation_facts *facts, size_t count)
{
    json_t *cluster = facts->cluster_id != NULL ? hex_of(facts->cluster_id, 16) : json_null();
    return json_object_set_new(payload, "node", json_string(facts->node)) == 0 &&
           json_object_set_new(payload, "boot_id", text_of(facts->boot_id)) == 0 &&
           json_object_set_new(payload, "sw_digest", text_of(facts->sw_digest)) == 0 &&
           json_object_set_new(payload, "cluster_id", cluster) == 0 &&
           json_object_set_new(payload, "disk", disk_of(facts)) == 0 &&
           json_object_set_new(payload, "fs", fs_of(facts)) == 0 &&
           json_object_set_new(payload, "started_at", time_of(facts->started_ms)) == 0 &&
           json_object_set_new(payload, "finished_at", time_of(facts->finished_ms)) == 0 &&
           json_object_set_new(json_object_get(payload, "technique"), "asked", asked_of(facts, count)) == 0 &&
           json_object_set_new(json_object_get(payload, "readback"), "mismatch", json_integer(facts->mismatches)) == 0;
}

char *attestation_make(const struct attestation_facts *facts, Trilith__WipeResult *const *results, size_t count,
                       const struct key *seed)
{
    if (!results_are_statable(results, count) || strlen(facts->node) == 0 ||
        strlen(facts->node) >= ATTESTATION_NODE_BYTES) {
        return NULL;
    }
    json_t *payload = statement_of(results, count);
    char *jws = payload != NULL && facts_add(payload, facts, count)
                    ? jws_sign(ATTESTATION_TYPE, facts->node, seed, payload)
                    : NULL;
    json_decref(payload);
    return jws;
}

/* ---- reading ------------------------------------------------------------------------------------- */

static bool integer_get(const json_t *object, const char *name, uint64_t max, uint64_t *value)
{
    const json_t *member = json_object_get(object, name);
    if (!json_is_integer(member) || json_integer_value(member) < 0 || (uint64_t)json_integer_value(member) > max) {
        return false;
    }
    *value = (uint64_t)json_integer_value(member);
    return true;
}

static bool hex_get(const json_t *object, const char *name, uint8_t *bytes, size_t count)
{
    const json_t *member = json_object_get(object, name);
    return json_is_string(member) && hex_decode(json_string_value(member), json_string_length(member), bytes, count);
}

static bool entry_read(const json_t *json, struct attestation_entry *entry)
{
    uint64_t wiped = 0;
    uint64_t never_held = 0;
    uint64_t failed = 0;
    const json_t *technique = json_object_get(json, "technique");
    memset(entry, 0, sizeof(*entry));
    if (!json_is_object(json) || json_object_size(json) != ENTRY_MEMBERS ||
        !integer_get(json, "erasure", ERASURE_ID_MAX, &entry->erasure_id) ||
        !integer_get(json, "wiped", ATTESTATION_RESULTS_MAX, &wiped) ||
        !integer_get(json, "never_held", ATTESTATION_RESULTS_MAX, &never_held) ||
        !integer_get(json, "failed", ATTESTATION_RESULTS_MAX, &failed) ||
        !integer_get(json, "bytes", INT64_MAX, &entry->bytes) ||
        !hex_get(json, "digest", entry->digest, sizeof(entry->digest))) {
        return false;
    }
    entry->wiped = (uint32_t)wiped;
    entry->never_held = (uint32_t)never_held;
    entry->failed = (uint32_t)failed;
    if (json_is_null(technique)) {
        return wiped == 0;
    }
    const char *name = json_string_value(technique); /* NULL: something else than a text */
    if (wiped == 0 || name == NULL ||
        (strcmp(name, "overwrite") != 0 && strcmp(name, "dod3") != 0 && strcmp(name, "mixed") != 0)) {
        return false;
    }
    memcpy(entry->technique, name, strlen(name) + 1);
    return true;
}

/* Every entry has its form, and together they are what is said of all. */
static bool entries_add_up(const json_t *payload, uint64_t count, uint64_t bytes, uint64_t errors)
{
    const json_t *entries = json_object_get(payload, "entries");
    size_t entry_count = json_array_size(entries);
    if (!json_is_array(entries) || entry_count == 0 || entry_count > count) {
        return false;
    }
    uint64_t results = 0;
    uint64_t failed = 0;
    uint64_t bytes_left = bytes;
    for (size_t i = 0; i < entry_count; i++) {
        struct attestation_entry entry;
        if (!entry_read(json_array_get(entries, i), &entry) || entry.bytes > bytes_left) {
            return false;
        }
        bytes_left -= entry.bytes;
        results += (uint64_t)entry.wiped + entry.never_held + entry.failed;
        failed += entry.failed;
    }
    return results == count && failed == errors && bytes_left == 0;
}

static bool payload_read(struct attestation *attestation)
{
    const json_t *payload = attestation->jws.payload;
    const json_t *node = json_object_get(payload, "node");
    const json_t *disk = json_object_get(payload, "disk");
    uint8_t root[SHA256_BYTES];
    uint64_t disk_id = 0;
    uint64_t count = 0;
    uint64_t errors = 0;
    if (!json_is_string(node) || json_string_length(node) == 0 || json_string_length(node) >= ATTESTATION_NODE_BYTES ||
        strcmp(json_string_value(node), attestation->jws.kid) != 0 || !json_is_object(disk) ||
        !integer_get(disk, "id", UINT32_MAX, &disk_id) ||
        !hex_get(disk, "uuid", attestation->disk_uuid.bytes, sizeof(attestation->disk_uuid.bytes)) ||
        !hex_get(payload, "chunks_root", root, sizeof(root)) ||
        !integer_get(payload, "count", ATTESTATION_RESULTS_MAX, &count) ||
        !integer_get(payload, "bytes", INT64_MAX, &attestation->bytes) ||
        !integer_get(payload, "errors", ATTESTATION_RESULTS_MAX, &errors)) {
        return false;
    }
    memcpy(attestation->node, json_string_value(node), json_string_length(node) + 1);
    attestation->disk_id = (uint32_t)disk_id;
    attestation->count = (uint32_t)count;
    return entries_add_up(payload, count, attestation->bytes, errors);
}

enum status attestation_open(struct attestation *attestation, const void *text, size_t bytes,
                             const struct public_key *public_key)
{
    memset(attestation, 0, sizeof(*attestation));
    enum status status = jws_open(&attestation->jws, text, bytes);
    if (status == STATUS_OK && (strcmp(attestation->jws.type, ATTESTATION_TYPE) != 0 || !payload_read(attestation))) {
        status = STATUS_INVALID;
    }
    if (status == STATUS_OK && !jws_verify(&attestation->jws, text, public_key)) {
        status = STATUS_DENIED;
    }
    if (status != STATUS_OK) {
        attestation_close(attestation);
    }
    return status;
}

void attestation_close(struct attestation *attestation)
{
    jws_close(&attestation->jws);
    memset(attestation, 0, sizeof(*attestation));
}

bool attestation_find(const struct attestation *attestation, uint64_t erasure_id, struct attestation_entry *entry)
{
    const json_t *entries = json_object_get(attestation->jws.payload, "entries");
    for (size_t i = 0; i < json_array_size(entries); i++) {
        if (entry_read(json_array_get(entries, i), entry) && entry->erasure_id == erasure_id) {
            return true;
        }
    }
    return false;
}

/* ---- checking against results -------------------------------------------------------------------- */

/* Whether every member of `part` stands in `whole`, with the same value; objects likewise, member by member. */
static bool is_part_of(json_t *part, json_t *whole)
{
    const char *name = NULL;
    json_t *value = NULL;
    if (!json_is_object(part) || !json_is_object(whole)) {
        return whole != NULL && json_equal(part, whole) != 0;
    }
    json_object_foreach(part, name, value)
    {
        if (!is_part_of(value, json_object_get(whole, name))) {
            return false;
        }
    }
    return true;
}

static enum status says_the_same(const struct attestation *attestation, const char *node, uint32_t disk_id,
                                 Trilith__WipeResult *const *results, size_t count)
{
    if (strcmp(attestation->node, node) != 0 || attestation->disk_id != disk_id ||
        !results_are_statable(results, count)) {
        return STATUS_DENIED;
    }
    json_t *said = statement_of(results, count);
    enum status status = said == NULL                                 ? STATUS_BUSY
                         : is_part_of(said, attestation->jws.payload) ? STATUS_OK
                                                                      : STATUS_DENIED;
    json_decref(said);
    return status;
}

static enum status attestation_pack(const struct jws *jws, uint8_t **packed, size_t *packed_bytes)
{
    size_t plain_bytes = 0;
    char *plain = jws_plain(jws->type, jws->kid, jws->payload_text, jws->payload_bytes, &plain_bytes);
    *packed = plain == NULL ? NULL : jws_pack(plain, plain_bytes, &jws->signature, NULL, 0, packed_bytes);
    free(plain);
    return *packed == NULL ? STATUS_BUSY : STATUS_OK;
}

enum status attestation_check_and_pack(const void *text, size_t bytes, const struct public_key *public_key,
                                       const char *node, uint32_t disk_id, Trilith__WipeResult *const *results,
                                       size_t count, uint8_t **packed, size_t *packed_bytes)
{
    struct attestation attestation;
    enum status status = attestation_open(&attestation, text, bytes, public_key);
    if (status != STATUS_OK) {
        return status;
    }
    status = says_the_same(&attestation, node, disk_id, results, count);
    if (status == STATUS_OK && packed != NULL) {
        status = attestation_pack(&attestation.jws, packed, packed_bytes);
    }
    attestation_close(&attestation);
    return status;
}

enum status attestation_check(const void *text, size_t bytes, const struct public_key *public_key, const char *node,
                              uint32_t disk_id, Trilith__WipeResult *const *results, size_t count)
{
    return attestation_check_and_pack(text, bytes, public_key, node, disk_id, results, count, NULL, NULL);
}
