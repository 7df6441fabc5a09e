/* command_status.c - the cluster's health, its nodes and its disks, as the metadata service sees them. */
#include "base/digest.h"
#include "cluster/admin.h"
#include "cluster/command.h"
#include "cluster/output.h"

#include <inttypes.h>
#include <string.h>

static const char *disk_state_word(Trilith__DiskState state)
{
    switch (state) {
    case TRILITH__DISK_STATE__DISK_SERVING:
        return "serving";
    case TRILITH__DISK_STATE__DISK_CATCHING_UP:
        return "catching_up";
    case TRILITH__DISK_STATE__DISK_FENCED:
        return "fenced";
    case TRILITH__DISK_STATE__DISK_FULL:
        return "full";
    case TRILITH__DISK_STATE__DISK_STATE_NONE:
    case _TRILITH__DISK_STATE_IS_INT_SIZE:
        break;
    }
    return "unknown";
}

/* What an operator wants of a disk. */
static Trilith__DiskPhase disk_phase(const Trilith__NodeStatus *node, size_t index)
{
    return index < node->n_phases ? node->phases[index] : TRILITH__DISK_PHASE__DISK_ACTIVE;
}

/* What the service said of a disk; its state holds only while its node is up. A disk that was removed and is reported
 * all the same has come back. */
static const char *disk_word(const Trilith__NodeStatus *node, size_t index)
{
    bool is_down = strcmp(node->state, "down") == 0;
    if (disk_phase(node, index) == TRILITH__DISK_PHASE__DISK_REMOVED) {
        return is_down ? "removed" : "removed, came back";
    }
    if (!is_down && disk_phase(node, index) == TRILITH__DISK_PHASE__DISK_DRAINING &&
        node->disks[index]->state == TRILITH__DISK_STATE__DISK_SERVING) {
        return "draining";
    }
    return is_down ? "unreachable" : disk_state_word(node->disks[index]->state);
}

static uint32_t disk_id(const Trilith__NodeStatus *node, size_t index)
{
    return index < node->n_disk_ids ? node->disk_ids[index] : 0;
}

static json_t *disk_json(const Trilith__NodeStatus *node, size_t index)
{
    const Trilith__DiskReport *disk = node->disks[index];
    return json_pack("{s:I, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "id", (json_int_t)disk_id(node, index),
                     "node", node->node->name, "path", disk->path, "state", disk_word(node, index), "capacity",
                     (json_int_t)disk->capacity, "used", (json_int_t)disk->used, "free", (json_int_t)disk->free,
                     "chunks", (json_int_t)disk->chunks, "corrupt_found", (json_int_t)disk->corrupt_found, "wiped",
                     (json_int_t)disk->wiped);
}

static json_t *node_json(const Trilith__NodeStatus *node)
{
    json_t *disks = json_array();
    for (size_t i = 0; i < node->n_disks; i++) {
        json_array_append_new(disks, disk_json(node, i));
    }
    return json_pack("{s:s, s:I, s:s, s:I, s:s, s:s, s:s, s:o}", "name", node->node->name, "id",
                     (json_int_t)node->node->id, "state", node->state, "last_seen_ms", (json_int_t)node->last_seen_ms,
                     "address", node->node->rpc_address, "s3_address", node->node->s3_address, "failure_domain",
                     node->node->failure_domain, "disks", disks);
}

/* Ask for the cluster's status. NULL: the user has been told. The reply's nodes all have their `node` part. */
static Trilith__ClusterStatusReply *fetch_status(struct command *command, int *result)
{
    *result = COMMAND_USAGE;
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return NULL;
    }
    ProtobufCMessage *message = NULL;
    enum status status = admin_call(admin, TRILITH__MESSAGE_TYPE__CLUSTER_STATUS, NULL, &message);
    Trilith__ClusterStatusReply *reply = (Trilith__ClusterStatusReply *)message;
    for (size_t i = 0; status == STATUS_OK && i < reply->n_nodes; i++) {
        if (reply->nodes[i]->node == NULL) {
            status = STATUS_CORRUPT;
        }
    }
    if (status != STATUS_OK) {
        *result = admin_failed(admin, status, "cluster status");
        admin_reply_free(message);
        reply = NULL;
    }
    admin_close(admin);
    return reply;
}

/* ---- status ------------------------------------------------------------------------------------ */

static json_t *kms_json(const Trilith__KmsStatus *kms)
{
    if (kms == NULL) {
        return json_null();
    }
    return json_pack("{s:s, s:b, s:o, s:s}", "provider", kms->provider, "available", kms->available ? 1 : 0, "since",
                     output_json_time(kms->since_ms), "message", kms->message);
}

static json_t *vault_json(const Trilith__VaultStatus *vault)
{
    if (vault == NULL) {
        return json_null();
    }
    return json_pack("{s:I, s:o, s:b, s:s, s:I, s:I, s:I, s:b, s:I, s:I}", "epoch", (json_int_t)vault->epoch, "since",
                     output_json_time(vault->epoch_ms), "closing", vault->closing ? 1 : 0, "slot", vault->slot,
                     "leaves_live", (json_int_t)vault->leaves_live, "leaves_punctured",
                     (json_int_t)vault->leaves_punctured, "leaves_erased", (json_int_t)vault->leaves_erased, "balanced",
                     vault->balanced ? 1 : 0, "close_ms", (json_int_t)vault->close_ms, "close_bytes",
                     (json_int_t)vault->close_bytes);
}

static json_t *evidence_json(const Trilith__EvidenceStatus *evidence)
{
    char root[2 * SHA256_BYTES + 1] = "";
    if (evidence == NULL) {
        return json_null();
    }
    if (evidence->ledger_root.len == SHA256_BYTES) {
        hex_encode(evidence->ledger_root.data, SHA256_BYTES, root);
    }
    return json_pack("{s:I, s:I, s:I, s:o, s:o, s:o, s:I, s:I, s:I}", "certificates",
                     (json_int_t)evidence->certificates, "certificates_due", (json_int_t)evidence->certificates_due,
                     "ledger_size", (json_int_t)evidence->ledger_size, "ledger_root",
                     root[0] == '\0' ? json_null() : json_string(root), "message",
                     evidence->message[0] == '\0' ? json_null() : json_string(evidence->message), "oldest_open",
                     output_json_time(evidence->oldest_open_ms), "requests_open", (json_int_t)evidence->requests_open,
                     "moves", (json_int_t)evidence->moves, "grace", (json_int_t)evidence->grace);
}

static json_t *status_json(const Trilith__ClusterStatusReply *reply)
{
    json_t *nodes = json_array();
    for (size_t i = 0; i < reply->n_nodes; i++) {
        json_array_append_new(nodes, node_json(reply->nodes[i]));
    }
    /* Nothing repairs PGs yet, so none is ever recovering. */
    return json_pack("{s:b, s:o, s:{s:I, s:I, s:I, s:I, s:I}, s:{s:I}, s:I, s:I, s:I, s:I, s:s, s:o, s:o, s:o}",
                     "healthy", reply->healthy ? 1 : 0, "nodes", nodes, "pgs", "total", (json_int_t)reply->pgs_total,
                     "clean", (json_int_t)reply->pgs_clean, "degraded", (json_int_t)reply->pgs_degraded, "unavailable",
                     (json_int_t)reply->pgs_unavailable, "recovering", (json_int_t)0, "erasures", "open",
                     (json_int_t)reply->erasures_open, "objects", (json_int_t)reply->objects, "object_bytes",
                     (json_int_t)reply->object_bytes, "journal_index", (json_int_t)reply->journal_index, "map_epoch",
                     (json_int_t)reply->map_epoch, "version", reply->version, "kms", kms_json(reply->kms), "vault",
                     vault_json(reply->vault), "evidence", evidence_json(reply->evidence));
}

static void print_node_title(void)
{
    printf("%-12s %-10s %-22s %-22s %-12s\n", "NODE", "STATE", "ADDRESS", "S3", "DOMAIN");
}

static void print_node(const Trilith__NodeStatus *node)
{
    printf("%-12s %-10s %-22s %-22s %-12s\n", node->node->name, node->state, node->node->rpc_address,
           node->node->s3_address, node->node->failure_domain);
}

static void print_disk_title(void)
{
    printf("%-6s %-12s %-12s %10s %10s %10s %10s %8s  %s\n", "DISK", "NODE", "STATE", "CAPACITY", "USED", "FREE",
           "CHUNKS", "CORRUPT", "PATH");
}

static void print_disk(const Trilith__NodeStatus *node, size_t index)
{
    const Trilith__DiskReport *disk = node->disks[index];
    char capacity[OUTPUT_SIZE_BYTES];
    char used[OUTPUT_SIZE_BYTES];
    char unused[OUTPUT_SIZE_BYTES];
    output_size(disk->capacity, capacity);
    output_size(disk->used, used);
    output_size(disk->free, unused);
    printf("%-6" PRIu32 " %-12s %-12s %10s %10s %10s %10" PRIu64 " %8" PRIu64 "  %s\n", disk_id(node, index),
           node->node->name, disk_word(node, index), capacity, used, unused, disk->chunks, disk->corrupt_found,
           disk->path);
}

static void print_disks(const Trilith__ClusterStatusReply *reply)
{
    print_disk_title();
    for (size_t i = 0; i < reply->n_nodes; i++) {
        for (size_t k = 0; k < reply->nodes[i]->n_disks; k++) {
            print_disk(reply->nodes[i], k);
        }
    }
}

static void print_keys(const Trilith__ClusterStatusReply *reply)
{
    const Trilith__VaultStatus *vault = reply->vault;
    const Trilith__KmsStatus *kms = reply->kms;
    if (vault != NULL) {
        char since[OUTPUT_TIME_BYTES];
        output_time(vault->epoch_ms, since);
        printf("vault     epoch %" PRIu64 " since %s%s: %" PRIu64 " keys live, %" PRIu64
               " given up and destroyed with this epoch, %" PRIu64 " destroyed before%s\n",
               vault->epoch, since, vault->closing ? ", closing" : "", vault->leaves_live, vault->leaves_punctured,
               vault->leaves_erased,
               vault->balanced ? "" : "; THE SUMS DO NOT AGREE: no erasure is claimed until they do");
    }
    if (kms != NULL && kms->available) {
        printf("kms       %s, available\n", kms->provider);
    } else if (kms != NULL) {
        char since[OUTPUT_TIME_BYTES];
        output_time(kms->since_ms, since);
        printf("kms       %s, AWAY since %s: %s\n", kms->provider, since, kms->message);
    }
}

/* The oldest open erasure with its age, what certificates there are, and what keeps them from being issued. */
static void print_evidence(const Trilith__ClusterStatusReply *reply)
{
    const Trilith__EvidenceStatus *evidence = reply->evidence;
    printf("erasures  %" PRIu64 " open", reply->erasures_open);
    if (evidence != NULL && evidence->oldest_open_ms != 0) {
        char since[OUTPUT_TIME_BYTES];
        output_time(evidence->oldest_open_ms, since);
        printf(", the oldest since %s (`trilith erase list --open`)", since);
    }
    if (evidence != NULL && evidence->grace > 0) {
        printf(", %" PRIu64 " deletions can be taken back", evidence->grace);
    }
    printf("\n");
    if (evidence == NULL) {
        return;
    }
    printf("evidence  %" PRIu64 " certificates issued, %" PRIu64 " due; the ledger has %" PRIu64 " entries\n",
           evidence->certificates, evidence->certificates_due, evidence->ledger_size);
    if (evidence->requests_open > 0 || evidence->moves > 0) {
        printf("requests  %" PRIu64 " open or running; %" PRIu64 " groups are being moved\n", evidence->requests_open,
               evidence->moves);
    }
    if (evidence->message[0] != '\0') {
        printf("          NO CERTIFICATES ARE ISSUED: ");
        output_text(evidence->message, strlen(evidence->message));
        printf("\n");
    }
}

static void print_status(const Trilith__ClusterStatusReply *reply)
{
    unsigned up = 0;
    for (size_t i = 0; i < reply->n_nodes; i++) {
        up += strcmp(reply->nodes[i]->state, "up") == 0 ? 1 : 0;
    }
    char size[OUTPUT_SIZE_BYTES];
    output_size(reply->object_bytes, size);
    printf("cluster   %s\n", reply->healthy ? "healthy" : "NOT HEALTHY");
    printf("nodes     %u of %zu up\n", up, reply->n_nodes);
    printf("groups    %" PRIu32 ": %" PRIu32 " clean, %" PRIu32 " degraded, %" PRIu32 " unavailable\n",
           reply->pgs_total, reply->pgs_clean, reply->pgs_degraded, reply->pgs_unavailable);
    printf("objects   %" PRIu64 ", %s, each stored three times\n", reply->objects, size);
    print_evidence(reply);
    print_keys(reply);
    printf("\n");
    print_node_title();
    for (size_t i = 0; i < reply->n_nodes; i++) {
        print_node(reply->nodes[i]);
    }
    printf("\n");
    print_disks(reply);
}

int command_status(struct command *command)
{
    int result = 0;
    Trilith__ClusterStatusReply *reply = fetch_status(command, &result);
    if (reply == NULL) {
        return result;
    }
    if (command->json) {
        result = output_json(status_json(reply));
    } else {
        print_status(reply);
        result = output_finish();
    }
    admin_reply_free(&reply->base);
    return result;
}

/* ---- nodes and disks --------------------------------------------------------------------------- */

int command_node_list(struct command *command)
{
    int result = 0;
    Trilith__ClusterStatusReply *reply = fetch_status(command, &result);
    if (reply == NULL) {
        return result;
    }
    json_t *list = command->json ? json_array() : NULL;
    if (list == NULL) {
        print_node_title();
    }
    for (size_t i = 0; i < reply->n_nodes; i++) {
        if (list != NULL) {
            json_array_append_new(list, node_json(reply->nodes[i]));
        } else {
            print_node(reply->nodes[i]);
        }
    }
    result = list != NULL ? output_json(json_pack("{s:o}", "nodes", list)) : output_finish();
    admin_reply_free(&reply->base);
    return result;
}

int command_node_show(struct command *command)
{
    int result = 0;
    Trilith__ClusterStatusReply *reply = fetch_status(command, &result);
    if (reply == NULL) {
        return result;
    }
    const Trilith__NodeStatus *found = NULL;
    for (size_t i = 0; i < reply->n_nodes; i++) {
        if (strcmp(reply->nodes[i]->node->name, command->arguments[0]) == 0) {
            found = reply->nodes[i];
        }
    }
    if (found == NULL) {
        result = command_fail("there is no node \"%s\"; `trilith node list` names them", command->arguments[0]);
    } else if (command->json) {
        result = output_json(node_json(found));
    } else {
        print_node_title();
        print_node(found);
        printf("\n");
        print_disk_title();
        for (size_t i = 0; i < found->n_disks; i++) {
            print_disk(found, i);
        }
        result = output_finish();
    }
    admin_reply_free(&reply->base);
    return result;
}

int command_disk_list(struct command *command)
{
    int result = 0;
    Trilith__ClusterStatusReply *reply = fetch_status(command, &result);
    if (reply == NULL) {
        return result;
    }
    if (command->json) {
        json_t *list = json_array();
        for (size_t i = 0; i < reply->n_nodes; i++) {
            for (size_t k = 0; k < reply->nodes[i]->n_disks; k++) {
                json_array_append_new(list, disk_json(reply->nodes[i], k));
            }
        }
        result = output_json(json_pack("{s:o}", "disks", list));
    } else {
        print_disks(reply);
        result = output_finish();
    }
    admin_reply_free(&reply->base);
    return result;
}
