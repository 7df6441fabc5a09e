/* evidence_node.c - from a request and the certificates of its disks to the certificate of a node. */
#include "meta/evidence_node.h"

#include "meta/decommission.h"
#include "meta/evidence_media.h"
#include "meta/registry.h"

#include <string.h>

static const char statement[] = "The node was taken out of the cluster after each of its disks. What is claimed of a "
                                "medium stands in the certificate of that medium; "
                                "nothing is claimed of other memory in the machine.";
static const char basis_media[] = "a certificate for every disk that the node had";

struct node_facts {
    const struct evidence_issuer *issuer;
    const Trilith__Request *request;
    Trilith__MapNode *node;
    json_t *drained; /* owned */
    json_t *removed; /* owned */
    Trilith__RequestListReply requests;
    json_t *media; /* owned: inventory.media */
    json_t *certificates;
    uint32_t disks;
    uint32_t uncertified;
    uint32_t unclaimed; /* recorded as dead: no sanitization */
};

/* The newest finished request about this disk. NULL: none. */
static const Trilith__Request *request_of_disk(const struct node_facts *facts, uint32_t disk_id)
{
    for (size_t i = 0; i < facts->requests.n_requests; i++) {
        const Trilith__Request *request = facts->requests.requests[i];
        if (request->kind == TRILITH__REQUEST_KIND__REQUEST_DISK && request->disk_id == disk_id &&
            request->state == TRILITH__REQUEST_STATE__REQUEST_DONE) {
            return request;
        }
    }
    return NULL;
}

static enum status add_disk(struct tables *tables, struct node_facts *facts, const Trilith__MapDisk *disk)
{
    Trilith__Medium *medium = NULL;
    const Trilith__Request *request = request_of_disk(facts, disk->id);
    enum status status = registry_medium(tables, disk->id, &medium);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        return status;
    }
    bool good = true;
    json_t *line = json_object();
    evidence_put(line, "disk", evidence_uuid(disk->uuid.data), &good);
    evidence_put(line, "serial", evidence_text(status == STATUS_OK ? medium->serial : NULL), &good);
    evidence_put(line, "cert_id", evidence_text(request == NULL ? NULL : request->certificate), &good);
    evidence_put(line, "dead", json_boolean(disk->dead), &good);
    good = json_array_append_new(facts->media, line) == 0 && good;
    if (request != NULL && request->certificate[0] != '\0') {
        good = json_array_append_new(facts->certificates, json_string(request->certificate)) == 0 && good;
    } else {
        facts->uncertified++;
    }
    facts->unclaimed += disk->dead;
    facts->disks++;
    return good ? STATUS_OK : STATUS_FULL;
}

/* All disks ever, the node's own among them: the map leaves out nodes that were removed. */
static enum status disks_read(struct tables *tables, struct node_facts *facts)
{
    struct table_walk walk;
    struct kv_slice key, value;
    enum status status = STATUS_OK;
    table_walk_open(&walk, tables, key_prefix(key_disk(0), 1));
    for (; status == STATUS_OK && table_walk_row(&walk, &key, &value); table_walk_next(&walk)) {
        const Trilith__MapDisk *disk = tables_unpack(tables, &trilith__map_disk__descriptor, value);
        if (disk == NULL) {
            status = tables->failed;
        } else if (disk->node_id == facts->request->node_id) {
            status = add_disk(tables, facts, disk);
        }
    }
    table_walk_close(&walk);
    return status == STATUS_OK ? tables->failed : status;
}

static enum status facts_read(struct tables *tables, const Trilith__RequestRecord *record, struct node_facts *facts)
{
    facts->request = record->request;
    facts->drained = decommission_fact(record, DECOMMISSION_DRAINING);
    facts->removed = decommission_fact(record, DECOMMISSION_REMOVING);
    facts->media = json_array();
    facts->certificates = json_array();
    trilith__request_list_reply__init(&facts->requests);
    enum status status = registry_node(tables, record->request->node_id, &facts->node);
    if (status != STATUS_OK) {
        return tables_missing(tables, status);
    }
    status = request_list(tables, false, &facts->requests);
    return status == STATUS_OK ? disks_read(tables, facts) : status;
}

static json_t *time_of(const json_t *fact)
{
    uint64_t at_ms = medium_number(fact, "at_ms");
    return at_ms == UINT64_MAX ? json_null() : evidence_time(at_ms);
}

static json_t *node_value(const struct node_facts *facts, bool *good)
{
    json_t *node = json_object();
    evidence_put(node, "id", evidence_number(facts->node->id), good);
    evidence_put(node, "name", evidence_text(facts->node->name), good);
    evidence_put(node, "host_manufacturer", json_null(), good);
    evidence_put(node, "model", json_null(), good);
    evidence_put(node, "serial", json_null(), good);
    evidence_put(node, "asset_tag", evidence_text(facts->request->property_number), good);
    evidence_put(node, "bmc_mac", json_null(), good);
    evidence_put(node, "role", json_string("storage node and gateway"), good);
    return node;
}

static json_t *inventory_value(const struct node_facts *facts, bool *good)
{
    json_t *inventory = json_object();
    json_t *secrets = json_array();
    *good = json_array_append_new(secrets, json_pack("{s:s, s:s, s:o}", "kind", "node key", "action",
                                                     "not accepted any more; its file was not deleted from here", "at",
                                                     time_of(facts->removed))) == 0 &&
            *good;
    evidence_put(inventory, "information_assets", json_null(), good);
    evidence_put(inventory, "media", json_incref(facts->media), good);
    evidence_put(inventory, "secrets", secrets, good);
    evidence_put(inventory, "other_memory", json_null(), good);
    return inventory;
}

static json_t *people_value(struct tables *tables, const struct node_facts *facts, bool *good)
{
    json_t *people = json_object();
    evidence_put(people, "sanitizer", json_null(), good);
    evidence_put(people, "verifier", json_null(), good);
    evidence_put(people, "validator", json_null(), good);
    evidence_put(people, "approvers", evidence_approvers(tables, facts->request), good);
    return people;
}

static json_t *drain_value(const struct node_facts *facts, bool *good)
{
    json_t *drain = json_object();
    evidence_put(drain, "disks", evidence_number(facts->disks), good);
    evidence_put(drain, "disks_removed", evidence_number(facts->disks), good);
    evidence_put(drain, "drained_at", time_of(facts->drained), good);
    return drain;
}

static json_t *membership_value(const struct node_facts *facts, bool *good)
{
    json_t *membership = json_object();
    uint64_t epoch = medium_number(facts->removed, "map_epoch");
    evidence_put(membership, "raft_removed_index", json_null(), good); /* A storage node is no member of it. */
    evidence_put(membership, "epoch_after_removal", epoch == UINT64_MAX ? json_null() : evidence_number(epoch), good);
    return membership;
}

static json_t *check_value(const struct node_facts *facts)
{
    bool complete = facts->uncertified == 0 && facts->unclaimed == 0;
    return json_pack("{s:n, s:s, s:s}", "who", "how",
                     "by the search of each medium for labels and fingerprints, in its certificate", "result",
                     complete ? "a certificate for every medium" : "not for every medium");
}

static json_t *begin(const struct node_facts *facts, const char *id, uint64_t seq, const char *supersedes)
{
    const Trilith__Request *request = facts->request;
    const char *basis[2] = {facts->uncertified == 0 ? basis_media : NULL, NULL};
    bool complete = facts->uncertified == 0 && facts->unclaimed == 0;
    struct evidence_common common = {
        .type = EVIDENCE_NODE,
        .id = id,
        .seq = seq,
        .supersedes = supersedes != NULL && supersedes[0] != '\0' ? supersedes : NULL,
        .request_id = request->id,
        .requested_by = request->requested_by,
        .requested_ms = request->requested_ms,
        .reason_code = request->reason_code,
        .legal_basis = request->legal_basis,
        .plan_sha256 = request->plan_sha256,
        .approvals = request->approvals,
        .approval_count = request->n_approvals,
        .method = "none",
        .technique = "see the certificates of its media",
        .scope = "node",
        .basis = basis,
        .statement = statement,
        .result = complete ? EVIDENCE_ERASED : EVIDENCE_PARTIAL,
        .not_claimed = EVIDENCE_BIT(NOT_CLAIMED_MEDIA_LEVEL) | EVIDENCE_BIT(NOT_CLAIMED_OUTSIDE_COPIES) |
                       EVIDENCE_BIT(NOT_CLAIMED_READERS) | EVIDENCE_BIT(NOT_CLAIMED_PEOPLE)};
    evidence_residue_add(&common.residues, RESIDUE_HOST_SNAPSHOT, 0);
    return evidence_begin(facts->issuer, &common);
}

static json_t *payload_make(struct tables *tables, const struct node_facts *facts, json_t *payload)
{
    bool good = payload != NULL;
    evidence_put(payload, "node", node_value(facts, &good), &good);
    evidence_put(payload, "inventory", inventory_value(facts, &good), &good);
    evidence_put(payload, "drain", drain_value(facts, &good), &good);
    evidence_put(payload, "membership", membership_value(facts, &good), &good);
    evidence_put(payload, "certs_of_media", json_incref(facts->certificates), &good);
    evidence_put(payload, "residual_information_check", check_value(facts), &good);
    evidence_put(payload, "people", people_value(tables, facts, &good), &good);
    evidence_put(payload, "destination", evidence_destination(facts->request), &good);
    if (!good) {
        json_decref(payload);
        return NULL;
    }
    return payload;
}

enum status evidence_node(const struct evidence_issuer *issuer, struct tables *tables,
                          const Trilith__ClusterRecord *cluster, const Trilith__RequestRecord *record, const char *id,
                          uint64_t seq, const char *supersedes, json_t **payload)
{
    struct node_facts facts = {.issuer = issuer};
    (void)cluster;
    enum status status = facts_read(tables, record, &facts);
    if (status == STATUS_OK) {
        *payload = payload_make(tables, &facts, begin(&facts, id, seq, supersedes));
        status = *payload == NULL ? STATUS_FULL : STATUS_OK;
    }
    json_decref(facts.drained);
    json_decref(facts.removed);
    json_decref(facts.media);
    json_decref(facts.certificates);
    return status;
}
