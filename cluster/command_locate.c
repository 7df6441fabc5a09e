/* command_locate.c - where every copy of every chunk of an object lies: the catalog says on which disks, each node says
 * in which file and where. */
#include "base/ids.h"
#include "cluster/admin.h"
#include "cluster/client_config.h"
#include "cluster/command.h"
#include "cluster/output.h"
#include "cluster/s3_client.h"

#include <inttypes.h>
#include <string.h>

#define CHUNKS_PER_CALL 1024

/* What one disk said about the chunks of [first, first + count). */
struct disk_answer {
    uint32_t disk_id;
    const Trilith__MapNode *node;
    ProtobufCMessage *message; /* NULL: its node did not answer */
};

#define ANSWERS_MAX 1024

struct locate {
    struct admin *admin;
    const Trilith__ObjectLocateReply *reply;
    struct disk_answer answers[ANSWERS_MAX];
    size_t answer_count;
    json_t *chunks;
};

static const Trilith__MapPg *find_pg(const Trilith__Map *map, uint32_t id)
{
    for (size_t i = 0; i < map->n_pgs; i++) {
        if (map->pgs[i]->id == id) {
            return map->pgs[i];
        }
    }
    return NULL;
}

static const Trilith__MapNode *find_disk_node(const Trilith__Map *map, uint32_t disk_id)
{
    for (size_t i = 0; i < map->n_disks; i++) {
        if (map->disks[i]->id != disk_id) {
            continue;
        }
        for (size_t k = 0; k < map->n_nodes; k++) {
            if (map->nodes[k]->id == map->disks[i]->node_id) {
                return map->nodes[k];
            }
        }
    }
    return NULL;
}

static void forget_answers(struct locate *locate)
{
    for (size_t i = 0; i < locate->answer_count; i++) {
        admin_reply_free(locate->answers[i].message);
    }
    locate->answer_count = 0;
}

/* Ask the disk once for all chunks of the range; NULL: too many disks. Chunks that never lay there are simply not found. */
static const struct disk_answer *ask_disk(struct locate *locate, uint32_t disk_id, size_t first, size_t count)
{
    for (size_t i = 0; i < locate->answer_count; i++) {
        if (locate->answers[i].disk_id == disk_id) {
            return &locate->answers[i];
        }
    }
    if (locate->answer_count == ANSWERS_MAX) {
        return NULL;
    }
    struct disk_answer *answer = &locate->answers[locate->answer_count++];
    *answer = (struct disk_answer){.disk_id = disk_id, .node = find_disk_node(locate->reply->map, disk_id)};
    if (answer->node == NULL) {
        return answer;
    }
    ProtobufCBinaryData ids[CHUNKS_PER_CALL];
    for (size_t i = 0; i < count; i++) {
        ids[i] = locate->reply->object->chunks[first + i]->chunk_id;
    }
    Trilith__ChunkLocateRequest request;
    trilith__chunk_locate_request__init(&request);
    request.disk_id = disk_id;
    request.n_chunk_ids = count;
    request.chunk_ids = ids;
    ProtobufCMessage *message = NULL;
    enum status status = admin_call_node(locate->admin, answer->node->rpc_address, TRILITH__MESSAGE_TYPE__CHUNK_LOCATE,
                                         &request.base, &message);
    if (status == STATUS_OK && ((const Trilith__ChunkLocateReply *)message)->n_places == count) {
        answer->message = message;
    } else {
        admin_reply_free(message);
    }
    return answer;
}

/* One copy: its node and disk, and its place when the node answered and has it. */
static json_t *copy_json(struct locate *locate, uint32_t disk_id, size_t first, size_t count, size_t index)
{
    const struct disk_answer *answer = ask_disk(locate, disk_id, first, count);
    const char *node = answer == NULL || answer->node == NULL ? "" : answer->node->name;
    if (answer == NULL || answer->message == NULL) {
        return json_pack("{s:s, s:I, s:n, s:n, s:n, s:s}", "node", node, "disk", (json_int_t)disk_id, "segment",
                         "offset", "length", "state", "unreachable");
    }
    const Trilith__ChunkPlace *place = ((const Trilith__ChunkLocateReply *)answer->message)->places[index];
    if (!place->found) {
        return json_pack("{s:s, s:I, s:n, s:n, s:n, s:s}", "node", node, "disk", (json_int_t)disk_id, "segment",
                         "offset", "length", "state", "missing");
    }
    return json_pack("{s:s, s:I, s:s, s:I, s:I, s:s}", "node", node, "disk", (json_int_t)disk_id, "segment",
                     place->segment, "offset", (json_int_t)place->offset, "length", (json_int_t)place->length, "state",
                     place->state);
}

static json_t *chunk_json(struct locate *locate, size_t first, size_t count, size_t index)
{
    const Trilith__ChunkRef *chunk = locate->reply->object->chunks[first + index];
    char id[ID_HEX_BYTES] = "";
    if (chunk->chunk_id.len == sizeof(struct chunk_id)) {
        id_to_hex(chunk->chunk_id.data, id);
    }
    json_t *copies = json_array();
    const Trilith__MapPg *pg = find_pg(locate->reply->map, chunk->pg);
    for (size_t i = 0; pg != NULL && i < pg->n_members; i++) {
        json_array_append_new(copies, copy_json(locate, pg->members[i], first, count, index));
    }
    return json_pack("{s:I, s:I, s:I, s:s, s:o}", "index", (json_int_t)(first + index), "length",
                     (json_int_t)chunk->chunk_bytes, "pg", (json_int_t)chunk->pg, "id", id, "copies", copies);
}

/* Fill locate->chunks, a range at a time so that each disk is asked once per range. */
static void locate_chunks(struct locate *locate)
{
    size_t total = locate->reply->object->n_chunks;
    for (size_t first = 0; first < total; first += CHUNKS_PER_CALL) {
        size_t count = total - first < CHUNKS_PER_CALL ? total - first : CHUNKS_PER_CALL;
        for (size_t i = 0; i < count; i++) {
            json_array_append_new(locate->chunks, chunk_json(locate, first, count, i));
        }
        forget_answers(locate);
    }
}

static void print_number(const json_t *copy, const char *name, int width)
{
    const json_t *number = json_object_get(copy, name);
    if (json_is_integer(number)) {
        printf(" %*" JSON_INTEGER_FORMAT, width, json_integer_value(number));
    } else {
        printf(" %*s", width, "-");
    }
}

static int print_chunks(const json_t *chunks)
{
    size_t i;
    json_t *chunk;
    json_array_foreach(chunks, i, chunk)
    {
        printf("chunk %zu  %s  pg %" JSON_INTEGER_FORMAT "  %" JSON_INTEGER_FORMAT " bytes\n", i,
               json_string_value(json_object_get(chunk, "id")), json_integer_value(json_object_get(chunk, "pg")),
               json_integer_value(json_object_get(chunk, "length")));
        size_t k;
        json_t *copy;
        json_array_foreach(json_object_get(chunk, "copies"), k, copy)
        {
            const char *segment = json_string_value(json_object_get(copy, "segment"));
            printf("  %-12s disk %-4" JSON_INTEGER_FORMAT " %-12s", json_string_value(json_object_get(copy, "node")),
                   json_integer_value(json_object_get(copy, "disk")),
                   json_string_value(json_object_get(copy, "state")));
            print_number(copy, "offset", 12);
            print_number(copy, "length", 9);
            printf("  %s\n", segment == NULL ? "-" : segment);
        }
    }
    return output_finish();
}

static int report(struct command *command, const struct s3_place *place, struct locate *locate)
{
    const Trilith__Object *object = locate->reply->object;
    char version[ID_HEX_BYTES] = "";
    if (object->version_id.len == sizeof(struct version_id)) {
        id_to_hex(object->version_id.data, version);
    }
    locate->chunks = json_array();
    locate_chunks(locate);
    if (command->json) {
        return output_json(json_pack("{s:s, s:s, s:s, s:I, s:o}", "bucket", place->bucket, "key", place->key, "version",
                                     version, "size", (json_int_t)object->size, "chunks", locate->chunks));
    }
    printf("%s/", place->bucket);
    output_text(place->key, strlen(place->key));
    printf("  version %s  %" PRIu64 " bytes in %zu chunks\n", version, object->size, object->n_chunks);
    int result = print_chunks(locate->chunks);
    json_decref(locate->chunks);
    return result;
}

int command_locate(struct command *command)
{
    struct s3_place place;
    if (!s3_place_read(command->arguments[0], &place) || place.key[0] == '\0') {
        return command_usage(command, "\"%s\" is not BUCKET/KEY", command->arguments[0]);
    }
    const struct client_config *config = command_config(command);
    struct admin *admin = config == NULL ? NULL : admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    const char *tenant = command_option(command, "--tenant");
    Trilith__ObjectLocateRequest request;
    trilith__object_locate_request__init(&request);
    request.tenant = (char *)(uintptr_t)(tenant != NULL ? tenant : config->tenant);
    request.bucket = place.bucket;
    request.key.data = (uint8_t *)(uintptr_t)place.key;
    request.key.len = strlen(place.key);
    ProtobufCMessage *message = NULL;
    enum status status = admin_call(admin, TRILITH__MESSAGE_TYPE__OBJECT_LOCATE, &request.base, &message);
    struct locate locate = {.admin = admin, .reply = (const Trilith__ObjectLocateReply *)message};
    if (status == STATUS_OK && (locate.reply->object == NULL || locate.reply->map == NULL)) {
        status = STATUS_CORRUPT;
    }
    int result;
    if (status == STATUS_NOT_FOUND || status == STATUS_CONFLICT) {
        result = command_fail("%s: there is no such object; `trilith ls %s` shows what is there", command->arguments[0],
                              place.bucket);
    } else {
        result = status == STATUS_OK ? report(command, &place, &locate) : admin_failed(admin, status, "object");
    }
    admin_reply_free(message);
    admin_close(admin);
    return result;
}
