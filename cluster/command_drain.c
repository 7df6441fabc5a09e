/* command_drain.c - `disk show`, `disk|node drain|undrain`: emptying a disk on purpose, and seeing how far it has come.
 *
 * Draining is done by the cluster; these verbs say that it be done, and watch. A disk is drained when no placement
 * group has it, nothing lies on it, and it owes no wipe: only the service and the disk's node together can say so, and
 * `disk show` prints what both say. */
#include "cluster/admin.h"
#include "cluster/command.h"
#include "cluster/output.h"
#include "cluster/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define POLL_MS   500
#define DISKS_MAX 64u

/* ---- which disk -------------------------------------------------------------------------------- */

static enum status fetch_status(struct admin *admin, Trilith__ClusterStatusReply **reply)
{
    ProtobufCMessage *message = NULL;
    enum status status = admin_call(admin, TRILITH__MESSAGE_TYPE__CLUSTER_STATUS, NULL, &message);
    *reply = (Trilith__ClusterStatusReply *)message;
    for (size_t i = 0; status == STATUS_OK && i < (*reply)->n_nodes; i++) {
        const Trilith__NodeStatus *node = (*reply)->nodes[i];
        if (node->node == NULL || node->n_disk_ids != node->n_disks) {
            status = STATUS_CORRUPT;
        }
    }
    if (status != STATUS_OK) {
        admin_reply_free(message);
        *reply = NULL;
    }
    return status;
}

/* The disk that `text` names: its number, or NODE:PATH. STATUS_NOT_FOUND: no node reports such a path. */
static enum status disk_find(struct admin *admin, const char *text, uint32_t *disk_id)
{
    uint64_t number = 0;
    if (command_number(text, UINT32_MAX, &number)) {
        *disk_id = (uint32_t)number;
        return number != 0 ? STATUS_OK : STATUS_NOT_FOUND;
    }
    const char *colon = strchr(text, ':');
    Trilith__ClusterStatusReply *reply = NULL;
    enum status status = colon != NULL ? fetch_status(admin, &reply) : STATUS_NOT_FOUND;
    if (status != STATUS_OK) {
        return status;
    }
    status = STATUS_NOT_FOUND;
    size_t name_bytes = (size_t)(colon - text);
    for (size_t i = 0; i < reply->n_nodes; i++) {
        const Trilith__NodeStatus *node = reply->nodes[i];
        bool is_node = strlen(node->node->name) == name_bytes && memcmp(node->node->name, text, name_bytes) == 0;
        for (size_t d = 0; is_node && d < node->n_disks; d++) {
            if (strcmp(node->disks[d]->path, colon + 1) == 0) {
                *disk_id = node->disk_ids[d];
                status = STATUS_OK;
            }
        }
    }
    admin_reply_free(&reply->base);
    return status;
}

static enum status disk_get(struct admin *admin, uint32_t disk_id, Trilith__DiskGetReply **reply)
{
    Trilith__DiskGetRequest request = TRILITH__DISK_GET_REQUEST__INIT;
    ProtobufCMessage *message = NULL;
    request.disk_id = disk_id;
    enum status status = admin_call(admin, TRILITH__MESSAGE_TYPE__DISK_GET, &request.base, &message);
    *reply = (Trilith__DiskGetReply *)message;
    if (status == STATUS_OK && ((*reply)->disk == NULL || (*reply)->node == NULL)) {
        admin_reply_free(message);
        *reply = NULL;
        return STATUS_CORRUPT;
    }
    return status;
}

/* ---- disk show --------------------------------------------------------------------------------- */

static const char *phase_word(const Trilith__DiskGetReply *reply)
{
    switch (reply->disk->phase) {
    case TRILITH__DISK_PHASE__DISK_ACTIVE:
        return "active";
    case TRILITH__DISK_PHASE__DISK_DRAINING:
        return "draining";
    case TRILITH__DISK_PHASE__DISK_REMOVED:
        return reply->came_back ? "removed, came back" : "removed";
    case _TRILITH__DISK_PHASE_IS_INT_SIZE:
        break;
    }
    return "unknown";
}

static json_t *move_json(const Trilith__PgMove *move)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:s, s:o}", "pg", (json_int_t)move->pg, "leaving",
                     (json_int_t)move->leaving, "target", (json_int_t)move->target, "chunks", (json_int_t)move->chunks,
                     "bytes", (json_int_t)move->bytes, "chunks_expected", (json_int_t)move->chunks_expected,
                     "bytes_expected", (json_int_t)move->bytes_expected, "ready", move->ready ? 1 : 0, "waiting",
                     move->waiting, "begun", output_json_time(move->begun_ms));
}

static json_t *medium_json(const Trilith__Medium *medium)
{
    if (medium == NULL) {
        return json_null();
    }
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:b, s:b, s:s, s:s, s:b}", "vendor", medium->vendor,
                     "model", medium->model, "serial", medium->serial, "wwn", medium->wwn, "firmware", medium->firmware,
                     "interface", medium->interface, "device", medium->device, "capacity", (json_int_t)medium->capacity,
                     "rotational", medium->rotational ? 1 : 0, "discard", medium->discard ? 1 : 0, "file_system",
                     medium->file_system, "mount_options", medium->mount_options, "shares_extents",
                     medium->shares_extents ? 1 : 0);
}

static json_t *show_json(const Trilith__DiskGetReply *reply)
{
    json_t *moves = json_array();
    for (size_t i = 0; i < reply->n_moves; i++) {
        json_array_append_new(moves, move_json(reply->moves[i]));
    }
    const Trilith__DiskReport *report = reply->report;
    return json_pack("{s:I, s:s, s:s, s:s, s:o, s:I, s:I, s:o, s:o, s:I, s:b, s:s, s:o, s:o}", "id",
                     (json_int_t)reply->disk->id, "node", reply->node->name, "node_state", reply->node_state, "phase",
                     phase_word(reply), "path", report == NULL ? json_null() : json_string(report->path), "pgs",
                     (json_int_t)reply->pgs, "pgs_coming", (json_int_t)reply->pgs_coming, "chunks",
                     report == NULL ? json_null() : json_integer((json_int_t)report->chunks), "used",
                     report == NULL ? json_null() : json_integer((json_int_t)report->used), "wipes_owed",
                     (json_int_t)reply->wipes_owed, "empty", reply->empty ? 1 : 0, "waiting", reply->waiting, "moves",
                     moves, "medium", medium_json(reply->medium));
}

static void print_label(const char *label, const char *text)
{
    printf("%-10s", label);
    output_text(text, strlen(text));
    printf("\n");
}

static void print_medium(const Trilith__Medium *medium)
{
    char size[OUTPUT_SIZE_BYTES];
    if (medium == NULL) {
        return;
    }
    output_size(medium->capacity, size);
    print_label("model", medium->model);
    print_label("serial", medium->serial);
    print_label("interface", medium->interface);
    printf("%-10s%s, %s\n", "medium", size, medium->rotational ? "rotating" : "solid state");
    print_label("files on", medium->file_system);
}

/* How long a move may still take, by what it has done so far. */
static void print_move(const Trilith__PgMove *move, uint64_t now_ms)
{
    char done[OUTPUT_SIZE_BYTES];
    char total[OUTPUT_SIZE_BYTES];
    output_size(move->bytes, done);
    output_size(move->bytes_expected, total);
    printf("  group %" PRIu32 " from disk %" PRIu32 " to disk %" PRIu32 ": %s of about %s", move->pg, move->leaving,
           move->target, done, total);
    if (move->waiting[0] != '\0') {
        printf("; waits: ");
        output_text(move->waiting, strlen(move->waiting));
    } else if (move->bytes > 0 && move->bytes < move->bytes_expected && now_ms > move->begun_ms) {
        uint64_t left_ms = (move->bytes_expected - move->bytes) * (now_ms - move->begun_ms) / move->bytes;
        printf(", about %" PRIu64 " s left", left_ms / 1000 + 1);
    }
    printf("\n");
}

static void print_show(const Trilith__DiskGetReply *reply, uint64_t now_ms)
{
    printf("disk      %" PRIu32 " of ", reply->disk->id);
    output_text(reply->node->name, strlen(reply->node->name));
    printf(" (%s)\nphase     %s\n", reply->node_state, phase_word(reply));
    if (reply->report != NULL) {
        char used[OUTPUT_SIZE_BYTES];
        output_size(reply->report->used, used);
        print_label("path", reply->report->path);
        printf("holds     %" PRIu64 " chunks, %s, as its node said last\n", reply->report->chunks, used);
    } else {
        printf("holds     not known: its node has not been heard\n");
    }
    printf("groups    member of %" PRIu32 ", taking over %" PRIu32 "\n", reply->pgs, reply->pgs_coming);
    printf("wipes     %" PRIu64 "%s owed\n", reply->wipes_owed, reply->wipes_owed >= 10000 ? " or more" : "");
    printf("empty     %s\n", reply->empty ? "yes: no groups, no chunks, no wipe owed from before" : "no");
    if (reply->waiting[0] != '\0') {
        print_label("waits", reply->waiting);
    }
    for (size_t i = 0; i < reply->n_moves; i++) {
        print_move(reply->moves[i], now_ms);
    }
    print_medium(reply->medium);
}

int command_disk_show(struct command *command)
{
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    uint32_t disk_id = 0;
    Trilith__DiskGetReply *reply = NULL;
    enum status status = disk_find(admin, command->arguments[0], &disk_id);
    if (status == STATUS_OK) {
        status = disk_get(admin, disk_id, &reply);
    }
    int result = 0;
    if (status != STATUS_OK) {
        result = admin_failed(admin, status, command->arguments[0]);
    } else if (command->json) {
        result = output_json(show_json(reply));
    } else {
        print_show(reply, admin_now_ms(admin));
        result = output_finish();
    }
    admin_reply_free(reply != NULL ? &reply->base : NULL);
    admin_close(admin);
    return result;
}

/* ---- drain and undrain ------------------------------------------------------------------------- */

static int drain_failed(const struct admin *admin, enum status status, bool on, const char *what)
{
    if (status == STATUS_CONFLICT && on) {
        return command_fail(
            "%s: without it fewer than three failure domains have disks that take chunks, and three copies "
            "need three: add a node in another failure domain first",
            what);
    }
    if (status == STATUS_GONE) {
        return command_fail("%s: it was removed for good", what);
    }
    return admin_failed(admin, status, what);
}

static enum status drain_one(struct admin *admin, uint32_t disk_id, bool on)
{
    Trilith__DiskDrainRequest request = TRILITH__DISK_DRAIN_REQUEST__INIT;
    ProtobufCMessage *message = NULL;
    request.disk_id = disk_id;
    request.on = on;
    enum status status = admin_call(admin, TRILITH__MESSAGE_TYPE__DISK_DRAIN, &request.base, &message);
    admin_reply_free(message);
    return status;
}

/* Wait until all these disks are empty. A disk that is kept after all, or that is waiting for something only people can
 * bring, ends the wait. */
static int wait_empty(struct admin *admin, const uint32_t *disk_ids, size_t count, const char *what)
{
    struct progress progress;
    uint64_t total = 0;
    int result = 0;
    for (bool first = true; result == 0; first = false) {
        uint64_t left = 0;
        size_t empty = 0;
        for (size_t i = 0; result == 0 && i < count; i++) {
            Trilith__DiskGetReply *reply = NULL;
            enum status status = disk_get(admin, disk_ids[i], &reply);
            if (status != STATUS_OK) {
                result = admin_failed(admin, status, what);
            } else if (reply->disk->phase != TRILITH__DISK_PHASE__DISK_DRAINING) {
                result = command_fail("%s: disk %" PRIu32 " is not being drained any more", what, disk_ids[i]);
            } else if (reply->waiting[0] != '\0' && reply->n_moves == 0) {
                result = command_fail("%s: disk %" PRIu32 " waits: %s", what, disk_ids[i], reply->waiting);
            } else {
                left += reply->pgs + (reply->report != NULL ? reply->report->chunks : 0) + reply->wipes_owed;
                empty += reply->empty ? 1 : 0;
            }
            admin_reply_free(reply != NULL ? &reply->base : NULL);
        }
        if (first) {
            total = left;
            progress_begin(&progress, what, total, false);
        }
        progress_set(&progress, total > left ? total - left : 0);
        if (empty == count) {
            break;
        }
        if (result == 0) {
            admin_pause(admin, POLL_MS);
        }
    }
    progress_end(&progress);
    return result;
}

/* Drain or keep some disks, and wait if that was asked for. */
static int drain_all(struct command *command, struct admin *admin, const uint32_t *disk_ids, size_t count, bool on)
{
    const char *what = command->arguments[0];
    for (size_t i = 0; i < count; i++) {
        enum status status = drain_one(admin, disk_ids[i], on);
        if (status != STATUS_OK) {
            return drain_failed(admin, status, on, what);
        }
    }
    if (on && command_option(command, "--wait") != NULL) {
        int result = wait_empty(admin, disk_ids, count, what);
        if (result != 0) {
            return result;
        }
    }
    if (command->json) {
        json_t *disks = json_array();
        for (size_t i = 0; i < count; i++) {
            json_array_append_new(disks, json_integer((json_int_t)disk_ids[i]));
        }
        return output_json(json_pack("{s:b, s:o}", "draining", on ? 1 : 0, "disks", disks));
    }
    for (size_t i = 0; i < count; i++) {
        printf("disk %" PRIu32 " %s\n", disk_ids[i],
               !on ? "stays"
               : command_option(command, "--wait") != NULL
                   ? "is empty"
                   : "is being drained: `trilith disk show` says how far it is");
    }
    return output_finish();
}

static int drain_disk(struct command *command, bool on)
{
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    uint32_t disk_id = 0;
    enum status status = disk_find(admin, command->arguments[0], &disk_id);
    int result = status == STATUS_OK ? drain_all(command, admin, &disk_id, 1, on)
                                     : admin_failed(admin, status, command->arguments[0]);
    admin_close(admin);
    return result;
}

int command_disk_drain(struct command *command)
{
    return drain_disk(command, true);
}

int command_disk_undrain(struct command *command)
{
    return drain_disk(command, false);
}

/* The disks of a node that are not gone for good. STATUS_NOT_FOUND: no such node, or it reports none. */
static enum status node_disks(struct admin *admin, const char *name, uint32_t disk_ids[DISKS_MAX], size_t *count)
{
    Trilith__ClusterStatusReply *reply = NULL;
    enum status status = fetch_status(admin, &reply);
    *count = 0;
    for (size_t i = 0; status == STATUS_OK && i < reply->n_nodes; i++) {
        const Trilith__NodeStatus *node = reply->nodes[i];
        for (size_t d = 0; strcmp(node->node->name, name) == 0 && d < node->n_disks && *count < DISKS_MAX; d++) {
            bool removed = d < node->n_phases && node->phases[d] == TRILITH__DISK_PHASE__DISK_REMOVED;
            if (!removed && node->disk_ids[d] != 0) {
                disk_ids[(*count)++] = node->disk_ids[d];
            }
        }
    }
    admin_reply_free(reply != NULL ? &reply->base : NULL);
    return status == STATUS_OK && *count == 0 ? STATUS_NOT_FOUND : status;
}

static int drain_node(struct command *command, bool on)
{
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    uint32_t disk_ids[DISKS_MAX];
    size_t count = 0;
    enum status status = node_disks(admin, command->arguments[0], disk_ids, &count);
    int result = status == STATUS_OK ? drain_all(command, admin, disk_ids, count, on)
                                     : admin_failed(admin, status, command->arguments[0]);
    admin_close(admin);
    return result;
}

int command_node_drain(struct command *command)
{
    return drain_node(command, true);
}

int command_node_undrain(struct command *command)
{
    return drain_node(command, false);
}
