/* decommission.c - requests that take a disk or a node out of the cluster: their plans, their progress, and which
 * reports count. */
#include "meta/decommission.h"

#include "meta/erasure.h"
#include "meta/evidence.h"
#include "meta/membership.h"
#include "meta/moves.h"
#include "meta/people.h"
#include "meta/registry.h"

#include "base/digest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUBJECT_BYTES 96

/* ---- what it is about ----------------------------------------------------------------------------- */

/* 32 hex digits, with or without the four hyphens of a UUID. */
static bool uuid_of_text(const char *text, uint8_t uuid[16])
{
    char hex[ID_HEX_BYTES];
    size_t digits = 0;
    for (size_t i = 0; text[i] != '\0'; i++) {
        bool hyphen = text[i] == '-' && (i == 8 || i == 13 || i == 18 || i == 23);
        if (hyphen) {
            continue;
        }
        if (digits + 1 >= sizeof(hex)) {
            return false;
        }
        hex[digits++] = text[i];
    }
    hex[digits] = '\0';
    return id_from_hex(hex, uuid);
}

enum status decommission_find_disk(struct tables *tables, const char *name, Trilith__MapDisk **disk)
{
    uint8_t uuid[16];
    if (uuid_of_text(name, uuid)) {
        return registry_disk_by_uuid(tables, uuid, disk);
    }
    char *end = NULL;
    name += strncmp(name, "disk ", 5) == 0 ? 5 : 0; /* As the request calls it. */
    unsigned long id = name[0] >= '1' && name[0] <= '9' ? strtoul(name, &end, 10) : 0;
    if (id == 0 || *end != '\0' || id > UINT32_MAX) {
        return STATUS_NOT_FOUND;
    }
    return registry_disk(tables, (uint32_t)id, disk);
}

static const Trilith__MapNode *node_of_map(const Trilith__Map *map, uint64_t node_id)
{
    for (size_t i = 0; i < map->n_nodes; i++) {
        if (map->nodes[i]->id == node_id) {
            return map->nodes[i];
        }
    }
    return NULL;
}

json_t *decommission_fact(const Trilith__RequestRecord *record, const char *stage)
{
    const Trilith__RequestFact *fact = request_fact(record, stage);
    return fact == NULL ? NULL : json_from_canonical((const char *)fact->fact.data, fact->fact.len);
}

/* ---- plans ---------------------------------------------------------------------------------------- */

static json_t *texts(const char *const *list, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        (void)json_array_append_new(array, json_string(list[i]));
    }
    return array;
}

static json_t *medium_plan(const Trilith__Medium *medium)
{
    json_t *value = json_object();
    bool good = true;
    if (medium == NULL) {
        json_decref(value);
        return json_null();
    }
    evidence_put(value, "manufacturer", evidence_text(medium->vendor), &good);
    evidence_put(value, "model", evidence_text(medium->model), &good);
    evidence_put(value, "serial", evidence_text(medium->serial), &good);
    evidence_put(value, "wwn", evidence_text(medium->wwn), &good);
    evidence_put(value, "firmware", evidence_text(medium->firmware), &good);
    evidence_put(value, "interface", evidence_text(medium->interface), &good);
    evidence_put(value, "device", evidence_text(medium->device), &good);
    evidence_put(value, "capacity_bytes", medium->capacity == 0 ? json_null() : evidence_number(medium->capacity),
                 &good);
    evidence_put(value, "rotational", json_boolean(medium->rotational), &good);
    evidence_put(value, "file_system", evidence_text(medium->file_system), &good);
    if (!good) {
        json_decref(value);
        return NULL;
    }
    return value;
}

/* PGs that have, had, or are to have the disk among their members. */
static enum status count_pgs(struct tables *tables, uint32_t disk_id, uint64_t *now, uint64_t *ever)
{
    struct table_walk walk;
    struct kv_slice key, value;
    enum status status = STATUS_OK;
    *now = 0;
    *ever = 0;
    table_walk_open(&walk, tables, key_prefix(key_pg(0), 1));
    for (; status == STATUS_OK && table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        size_t used_bytes = tables->scratch.used;
        const Trilith__PgRecord *pg = tables_unpack(tables, &trilith__pg_record__descriptor, value);
        bool member = pg != NULL && pg_has_member(pg, disk_id);
        bool related = member || (pg != NULL && pg->target == disk_id);
        for (size_t i = 0; pg != NULL && i < pg->n_former; i++) {
            related = related || pg->former[i] == disk_id;
        }
        *now += member;
        *ever += related;
        status = pg == NULL ? tables->failed : STATUS_OK;
        tables->scratch.used = used_bytes;
    }
    table_walk_close(&walk);
    return status == STATUS_OK ? tables->failed : status;
}

static const char *technique_of(const Trilith__Request *request, const Trilith__Medium *medium)
{
    if (request->dead) {
        return "none: the disk answers nothing; the destruction of the keys is the evidence";
    }
    if (medium != NULL && strcmp(medium->interface, "nvme") == 0) {
        return "the device's own sanitize where it has one, else one pass of a random stream, read back";
    }
    return "one pass of a random stream over the whole medium, read back";
}

static json_t *destination_plan(const Trilith__Request *request)
{
    json_t *value = json_object();
    bool good = true;
    evidence_put(value, "kind", evidence_text(request->destination), &good);
    evidence_put(value, "details", evidence_text(request->destination_details), &good);
    evidence_put(value, "property_number", evidence_text(request->property_number), &good);
    evidence_put(value, "classification", evidence_text(request->classification), &good);
    evidence_put(value, "backup", evidence_text(request->backup), &good);
    evidence_put(value, "backup_location", evidence_text(request->backup_location), &good);
    if (!good) {
        json_decref(value);
        return NULL;
    }
    return value;
}

static json_t *people_needed(bool dead)
{
    static const char *const wiped[] = {"two people who approve this plan",
                                        "one who wipes the medium and signs the report", "another one who verifies it",
                                        "one who validates it: accept, repeat or escalate"};
    return texts(wiped, dead ? 1 : ARRAY_LENGTH(wiped));
}

static json_t *disk_stages(bool dead)
{
    static const char *const alive[] = {
        "Every placement group of the disk is moved to another one; copies left behind are wiped and attested.",
        "When it holds and owes nothing, it is taken out of service, and its medium is wiped: trilith disk wipe.",
        "The report, its verification and its validation are handed in: trilith disk report.",
        "The disk is removed for good, and a certificate is issued."};
    static const char *const gone[] = {
        "Every placement group of the disk is restored on another one from the other members.",
        ("The disk is removed for good; what it owed is settled by the destruction of the keys alone, which is waited "
         "for."),
        "A certificate is issued that says that no sanitization was possible."};
    return dead ? texts(gone, ARRAY_LENGTH(gone)) : texts(alive, ARRAY_LENGTH(alive));
}

struct disk_facts {
    const Trilith__MapDisk *disk;
    const Trilith__MapNode *node;  /* NULL: not in the map */
    const Trilith__Medium *medium; /* NULL: not known */
    const struct disk_belief *belief;
    uint64_t pgs_now;
    uint64_t pgs_ever;
    uint32_t domains_after;
};

static enum status disk_facts_read(const struct request_plan_parts *parts, uint32_t disk_id, struct disk_facts *facts)
{
    struct tables *tables = parts->tables;
    Trilith__Map *map = NULL;
    Trilith__Medium *medium = NULL;
    Trilith__MapDisk *disk = NULL;
    *facts = (struct disk_facts){.disk = NULL};
    enum status status = registry_disk(tables, disk_id, &disk);
    if (status == STATUS_OK) {
        status = registry_map(tables, parts->cluster->map_epoch, &map);
    }
    if (status == STATUS_OK) {
        status = registry_medium(tables, disk_id, &medium);
        facts->medium = status == STATUS_OK ? medium : NULL;
        status = status == STATUS_NOT_FOUND ? STATUS_OK : status;
    }
    if (status == STATUS_OK) {
        status = count_pgs(tables, disk_id, &facts->pgs_now, &facts->pgs_ever);
    }
    if (status != STATUS_OK) {
        return status;
    }
    facts->disk = disk;
    facts->node = node_of_map(map, disk->node_id);
    facts->domains_after = domains_open(map, disk_id);
    facts->belief = parts->membership == NULL ? NULL : membership_disk(parts->membership, disk->node_id, disk_id);
    return STATUS_OK;
}

static json_t *disk_inventory(const struct disk_facts *facts, bool *good)
{
    json_t *value = json_object();
    const struct disk_belief *belief = facts->belief;
    evidence_put(value, "pgs", evidence_number(facts->pgs_now), good);
    evidence_put(value, "pgs_ever", evidence_number(facts->pgs_ever), good);
    evidence_put(value, "chunks_reported", belief == NULL ? json_null() : evidence_number(belief->chunks), good);
    evidence_put(value, "bytes_reported", belief == NULL ? json_null() : evidence_number(belief->used), good);
    evidence_put(value, "ever_held_chunks", json_null(), good);
    return value;
}

static json_t *disk_blocks(const struct disk_facts *facts, bool dead)
{
    json_t *blocks = json_array();
    if (facts->domains_after < DISK_DOMAINS_MIN) {
        (void)json_array_append_new(
            blocks,
            json_string(
                "without this disk fewer than three failure domains take data: add one first; until then it waits"));
    }
    bool serves = facts->belief != NULL && (facts->belief->state == TRILITH__DISK_STATE__DISK_SERVING ||
                                            facts->belief->state == TRILITH__DISK_STATE__DISK_FULL);
    if (dead && serves) {
        (void)json_array_append_new(
            blocks, json_string("by its node's last word it serves; while it does it is not dead, and it waits"));
    }
    return blocks;
}

static enum status disk_plan(const struct request_plan_parts *parts, Trilith__Request *request, json_t **plan)
{
    static const char *const not_covered[] = {
        "Hidden areas (HPA, DCO) unless the device's own sanitize reaches them.",
        "Copies of the medium that were made before.",
        "What other software kept on the same medium, if the disk is a directory."};
    struct disk_facts facts;
    Trilith__MapDisk *disk = NULL;
    char subject[SUBJECT_BYTES];
    enum status status = decommission_find_disk(parts->tables, request->subject, &disk);
    if (status == STATUS_OK && disk->phase == TRILITH__DISK_PHASE__DISK_REMOVED) {
        status = STATUS_GONE;
    }
    if (status == STATUS_OK) {
        status = disk_facts_read(parts, disk->id, &facts);
    }
    if (status != STATUS_OK) {
        return status;
    }
    snprintf(subject, sizeof(subject), "disk %u", facts.disk->id);
    request->disk_id = facts.disk->id;
    request->node_id = facts.disk->node_id;
    request->subject = scratch_copy(&parts->tables->scratch, subject, strlen(subject) + 1);
    bool good = request->subject != NULL;
    json_t *value = json_object();
    evidence_put(value, "disk",
                 json_pack("{s:I, s:o, s:o, s:o}", "id", (json_int_t)facts.disk->id, "uuid",
                           evidence_uuid(facts.disk->uuid.data), "node",
                           evidence_text(facts.node == NULL ? NULL : facts.node->name), "capacity_bytes",
                           evidence_number(facts.disk->capacity)),
                 &good);
    evidence_put(value, "medium", medium_plan(facts.medium), &good);
    evidence_put(value, "inventory", disk_inventory(&facts, &good), &good);
    evidence_put(value, "dead", json_boolean(request->dead), &good);
    evidence_put(value, "technique", json_string(technique_of(request, facts.medium)), &good);
    evidence_put(value, "destination", destination_plan(request), &good);
    evidence_put(value, "blocks", disk_blocks(&facts, request->dead), &good);
    evidence_put(value, "people_needed", people_needed(request->dead), &good);
    evidence_put(value, "steps", disk_stages(request->dead), &good);
    evidence_put(value, "not_covered", texts(not_covered, ARRAY_LENGTH(not_covered)), &good);
    if (!good) {
        json_decref(value);
        return STATUS_FULL;
    }
    *plan = value;
    return STATUS_OK;
}

/* ---- a node's plan -------------------------------------------------------------------------------- */

/* The node's disks, each with what stands in its way. */
static json_t *node_disks(const struct request_plan_parts *parts, const Trilith__Map *map, uint64_t node_id,
                          uint32_t *left, bool *good)
{
    json_t *list = json_array();
    *left = 0;
    for (size_t i = 0; i < map->n_disks; i++) {
        const Trilith__MapDisk *disk = map->disks[i];
        Trilith__Medium *medium = NULL;
        if (disk->node_id != node_id) {
            continue;
        }
        bool removed = disk->phase == TRILITH__DISK_PHASE__DISK_REMOVED;
        *left += !removed;
        bool known = registry_medium(parts->tables, disk->id, &medium) == STATUS_OK;
        json_t *line = json_object();
        evidence_put(line, "id", evidence_number(disk->id), good);
        evidence_put(line, "uuid", evidence_uuid(disk->uuid.data), good);
        evidence_put(line, "removed", json_boolean(removed), good);
        evidence_put(line, "medium", medium_plan(known ? medium : NULL), good);
        *good = json_array_append_new(list, line) == 0 && *good;
    }
    return list;
}

static enum status node_plan(const struct request_plan_parts *parts, Trilith__Request *request, json_t **plan)
{
    static const char *const stages[] = {
        "Every disk of the node is decommissioned by a request of its own: trilith disk decommission.",
        "The node is removed from the map.", "A certificate is issued."};
    static const char *const not_covered[] = {
        "Memory of the machine that is not a disk of the cluster: boot medium, BMC, RAID cache, NVDIMM.",
        "The node's private key: delete it with the machine's boot medium."};
    Trilith__Map *map = NULL;
    const Trilith__MapNode *node = NULL;
    enum status status = registry_map(parts->tables, parts->cluster->map_epoch, &map);
    if (status != STATUS_OK) {
        return status;
    }
    for (size_t i = 0; i < map->n_nodes; i++) {
        node = strcmp(map->nodes[i]->name, request->subject) == 0 ? map->nodes[i] : node;
    }
    if (node == NULL) {
        return STATUS_NOT_FOUND;
    }
    bool good = true;
    uint32_t left = 0;
    json_t *value = json_object();
    json_t *blocks = json_array();
    request->node_id = node->id;
    evidence_put(value, "node",
                 json_pack("{s:I, s:s, s:s}", "id", (json_int_t)node->id, "name", node->name, "failure_domain",
                           node->failure_domain),
                 &good);
    evidence_put(value, "disks", node_disks(parts, map, node->id, &left, &good), &good);
    if (left > 0) {
        (void)json_array_append_new(blocks,
                                    json_sprintf("%u disks of it are not decommissioned yet; it waits for them", left));
    }
    evidence_put(value, "blocks", blocks, &good);
    evidence_put(value, "destination", destination_plan(request), &good);
    evidence_put(value, "people_needed", people_needed(true), &good);
    evidence_put(value, "steps", texts(stages, ARRAY_LENGTH(stages)), &good);
    evidence_put(value, "not_covered", texts(not_covered, ARRAY_LENGTH(not_covered)), &good);
    if (!good) {
        json_decref(value);
        return STATUS_FULL;
    }
    *plan = value;
    return STATUS_OK;
}

/* ---- progress and cancelling ---------------------------------------------------------------------- */

static enum status disk_progress(const struct request_plan_parts *parts, const Trilith__RequestRecord *record,
                                 Trilith__Request *request)
{
    struct disk_left left;
    json_t *plan = json_from_canonical((const char *)record->request->plan.data, record->request->plan.len);
    uint64_t total = medium_number(json_object_get(plan, "inventory"), "pgs");
    json_decref(plan);
    if (strcmp(request->stage, DECOMMISSION_DRAINING) != 0) {
        return STATUS_OK;
    }
    enum status status = disk_is_empty(parts->tables, request->disk_id, &left);
    if (status == STATUS_OK || status == STATUS_NOT_EMPTY) {
        request->total = total == UINT64_MAX ? 0 : total;
        request->done = request->total > left.pgs ? request->total - left.pgs : 0;
        return STATUS_OK;
    }
    return status;
}

/* Until the disk is being removed, it can stay. */
static enum status disk_cancel(struct change *change, Trilith__RequestRecord *record)
{
    const Trilith__Request *request = record->request;
    Trilith__DiskDrainRequest drain = TRILITH__DISK_DRAIN_REQUEST__INIT;
    if (request->state == TRILITH__REQUEST_STATE__REQUEST_OPEN) {
        return STATUS_OK;
    }
    if (strcmp(request->stage, DECOMMISSION_DRAINING) != 0 && strcmp(request->stage, DECOMMISSION_MEDIUM) != 0) {
        return STATUS_CONFLICT;
    }
    drain.disk_id = request->disk_id;
    return moves_disk_drain(change, &drain);
}

static enum status node_cancel(struct change *change, Trilith__RequestRecord *record)
{
    (void)change;
    bool begun = strcmp(record->request->stage, DECOMMISSION_REMOVING) == 0 ||
                 strcmp(record->request->stage, REQUEST_STAGE_CERTIFY) == 0;
    return begun ? STATUS_CONFLICT : STATUS_OK;
}

/* ---- reports -------------------------------------------------------------------------------------- */

enum status medium_reviews_open(struct medium_reviews *reviews, const Trilith__MediumReportRequest *message)
{
    const char *report = (const char *)message->report.data;
    *reviews = (struct medium_reviews){.accepted = false};
    enum status status = medium_report_open(&reviews->report, report, message->report.len);
    if (status == STATUS_OK) {
        status = medium_decision_open(&reviews->verification, (const char *)message->verification.data,
                                      message->verification.len, MEDIUM_VERIFIER, report, message->report.len);
    }
    if (status == STATUS_OK) {
        status = medium_decision_open(&reviews->validation, (const char *)message->validation.data,
                                      message->validation.len, MEDIUM_VALIDATOR, report, message->report.len);
    }
    if (status != STATUS_OK) {
        return status;
    }
    reviews->accepted = strcmp(medium_text(reviews->verification.payload, "decision"), "accept") == 0 &&
                        strcmp(medium_text(reviews->validation.payload, "decision"), "accept") == 0 &&
                        strcmp(medium_text(reviews->report.payload, "result"), "ERASED") == 0;
    return strcmp(reviews->report.kid, reviews->verification.kid) != 0 ? STATUS_OK : STATUS_CONFLICT;
}

void medium_reviews_close(struct medium_reviews *reviews)
{
    jws_close(&reviews->report);
    jws_close(&reviews->verification);
    jws_close(&reviews->validation);
}

/* The signature of somebody who is on record. `*who` is what the certificate says about them. */
static enum status signer_check(struct tables *tables, const struct jws *jws, ProtobufCBinaryData text, const char *at,
                                json_t **who, struct public_key *key)
{
    Trilith__Person *person = NULL;
    enum status status = person_get(tables, jws->kid, &person);
    if (status != STATUS_OK) {
        return status == STATUS_NOT_FOUND ? STATUS_DENIED : status;
    }
    if (person->removed_ms != 0 || person->public_key.len != sizeof(key->bytes)) {
        return STATUS_DENIED;
    }
    memcpy(key->bytes, person->public_key.data, sizeof(key->bytes));
    if (!jws_verify(jws, (const char *)text.data, key)) {
        return STATUS_DENIED;
    }
    bool good = true;
    json_t *value = json_object();
    evidence_put(value, "name", evidence_text(person->name), &good);
    evidence_put(value, "title", evidence_text(person->title), &good);
    evidence_put(value, "organization", evidence_text(person->organization), &good);
    evidence_put(value, "location", evidence_text(person->location), &good);
    evidence_put(value, "contact", evidence_text(person->contact), &good);
    evidence_put(value, "at", evidence_text(at), &good);
    if (!good) {
        json_decref(value);
        return STATUS_FULL;
    }
    *who = value;
    return STATUS_OK;
}

static bool both_known(const char *a, const char *b)
{
    return a != NULL && b != NULL && a[0] != '\0' && b[0] != '\0';
}

static bool has_store(const json_t *media, const Trilith__MapDisk *disk)
{
    const json_t *stores = json_object_get(media, "stores");
    for (size_t i = 0; i < json_array_size(stores); i++) {
        uint8_t uuid[16];
        const char *text = json_string_value(json_array_get(stores, i));
        if (text != NULL && hex_decode(text, strlen(text), uuid, sizeof(uuid)) && disk->uuid.len == sizeof(uuid) &&
            memcmp(uuid, disk->uuid.data, sizeof(uuid)) == 0) {
            return true;
        }
    }
    return false;
}

/* Is it the medium that the disk lies on? Something must tie them together, and nothing may contradict. */
static bool medium_matches(const json_t *report, const Trilith__MapDisk *disk, const Trilith__Medium *medium)
{
    const json_t *media = json_object_get(report, "media");
    const char *kind = medium_text(report, "kind");
    bool whole = strcmp(kind, "disk") == 0;
    bool is_tied = has_store(media, disk);
    /* The serial number and the WWN of a part are those of the whole, of which other parts may hold other disks. A
     * dead one could not be read, and is never taken as erased. */
    if (medium == NULL || (!whole && strcmp(kind, "dead") != 0 && !is_tied)) {
        return is_tied;
    }
    const char *serial = medium_text(media, "serial");
    const char *wwn = medium_text(media, "wwn");
    uint64_t bytes = medium_number(media, "capacity_bytes");
    if ((both_known(serial, medium->serial) && strcmp(serial, medium->serial) != 0) ||
        (both_known(wwn, medium->wwn) && strcmp(wwn, medium->wwn) != 0) ||
        (whole && medium->capacity != 0 && bytes != UINT64_MAX && bytes != medium->capacity)) {
        return false;
    }
    return is_tied || both_known(serial, medium->serial) || both_known(wwn, medium->wwn);
}

static enum status medium_check(struct tables *tables, const Trilith__RequestRecord *record, const json_t *report)
{
    Trilith__MapDisk *disk = NULL;
    Trilith__Medium *medium = NULL;
    enum status status = registry_disk(tables, record->request->disk_id, &disk);
    if (status != STATUS_OK) {
        return status;
    }
    status = registry_medium(tables, disk->id, &medium);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        return status;
    }
    return medium_matches(report, disk, status == STATUS_OK ? medium : NULL) ? STATUS_OK : STATUS_CONFLICT;
}

/* A wipe from before the disk was empty says nothing about what came later. Times have one form, so they compare as
 * texts. */
static bool report_is_new(const Trilith__RequestRecord *record, const json_t *report)
{
    char since[MEDIUM_TIME_BYTES];
    json_t *drained = decommission_fact(record, DECOMMISSION_DRAINING);
    uint64_t at_ms = medium_number(drained, "at_ms");
    json_decref(drained);
    if (at_ms == UINT64_MAX) {
        return false;
    }
    medium_time_text(at_ms, since);
    const char *started = medium_text(report, "started_at");
    return strlen(started) == strlen(since) && strcmp(started, since) >= 0;
}

static json_t *text_of(ProtobufCBinaryData data)
{
    size_t bytes = data.len > 0 && data.data[data.len - 1] == '\n' ? data.len - 1 : data.len;
    return json_stringn((const char *)data.data, bytes);
}

/* `who` is taken over. */
static json_t *report_fact(const Trilith__MediumReportRequest *message, const struct medium_reviews *reviews,
                           json_t *const who[3], uint64_t now_ms)
{
    json_t *fact = json_object();
    bool good = true;
    evidence_put(fact, "at_ms", evidence_number(now_ms), &good);
    evidence_put(fact, "accepted", json_boolean(reviews->accepted), &good);
    evidence_put(fact, "report", text_of(message->report), &good);
    evidence_put(fact, "verification", text_of(message->verification), &good);
    evidence_put(fact, "validation", text_of(message->validation), &good);
    evidence_put(fact, "sanitizer", who[0], &good);
    evidence_put(fact, "verifier", who[1], &good);
    evidence_put(fact, "validator", who[2], &good);
    if (!good) {
        json_decref(fact);
        return NULL;
    }
    return fact;
}

static enum status signers_check(struct tables *tables, const struct medium_reviews *reviews,
                                 const Trilith__MediumReportRequest *message, json_t *who[3])
{
    const struct jws *const signed_by[3] = {&reviews->report, &reviews->verification, &reviews->validation};
    const ProtobufCBinaryData signed_texts[3] = {message->report, message->verification, message->validation};
    struct public_key keys[3];
    enum status status = STATUS_OK;
    for (size_t i = 0; i < 3 && status == STATUS_OK; i++) {
        const char *at = medium_text(signed_by[i]->payload, i == 0 ? "finished_at" : "at");
        status = signer_check(tables, signed_by[i], signed_texts[i], at, &who[i], &keys[i]);
    }
    return status;
}

enum status decommission_report_check(struct tables *tables, const Trilith__RequestRecord *record,
                                      const Trilith__MediumReportRequest *message, uint64_t now_ms, json_t **fact,
                                      bool *accepted)
{
    struct medium_reviews reviews;
    json_t *who[3] = {NULL, NULL, NULL};
    const Trilith__Request *request = record->request;
    if (request->kind != TRILITH__REQUEST_KIND__REQUEST_DISK ||
        request->state != TRILITH__REQUEST_STATE__REQUEST_RUNNING || strcmp(request->stage, DECOMMISSION_MEDIUM) != 0) {
        return STATUS_CONFLICT;
    }
    enum status status = medium_reviews_open(&reviews, message);
    if (status == STATUS_OK) {
        status = signers_check(tables, &reviews, message, who);
    }
    if (status == STATUS_OK) {
        status = medium_check(tables, record, reviews.report.payload);
    }
    if (status == STATUS_OK && !report_is_new(record, reviews.report.payload)) {
        status = STATUS_CONFLICT;
    }
    if (status == STATUS_OK) {
        *accepted = reviews.accepted;
        *fact = report_fact(message, &reviews, who, now_ms);
        status = *fact == NULL ? STATUS_FULL : STATUS_OK;
    } else {
        json_decref(who[0]);
        json_decref(who[1]);
        json_decref(who[2]);
    }
    medium_reviews_close(&reviews);
    return status;
}

const struct request_kind disk_decommission_kind = {.kind = TRILITH__REQUEST_KIND__REQUEST_DISK,
                                                    .name = "disk",
                                                    .first_stage = DECOMMISSION_DRAINING,
                                                    .plan = disk_plan,
                                                    .cancel = disk_cancel,
                                                    .progress = disk_progress,
                                                    .advance = disk_decommission_advance};

const struct request_kind node_decommission_kind = {.kind = TRILITH__REQUEST_KIND__REQUEST_NODE,
                                                    .name = "node",
                                                    .first_stage = DECOMMISSION_DRAINING,
                                                    .plan = node_plan,
                                                    .cancel = node_cancel,
                                                    .advance = node_decommission_advance};
