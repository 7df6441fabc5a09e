/* chunk_service.c - chunk requests of peers, checked, carried to the disk and answered. */
#include "node/chunk_service.h"

#include "base/buggify.h"
#include "base/log.h"

#include <stdlib.h>

/* One put or get being served. */
struct serving {
    struct chunk_service *service;
    struct rpc_request *request;
    struct chunk_host_disk *disk;
    union {
        struct host_put put;
        struct host_get get;
    } on;
    struct slab *slab; /* of a get: what is read and then sent */
    struct slab_waiter waiter;
    struct list_link link;
};

struct chunk_service {
    struct rpc_service rpc;
    struct chunk_service_parts parts;
    struct map *map;
    struct serving *servings;
    struct list free;
    uint32_t in_flight;
};

static void service_handle(struct rpc_service *rpc, struct rpc_request *request);

struct chunk_service *chunk_service_open(const struct chunk_service_parts *parts)
{
    CHECK(parts->requests_max > 0);
    struct chunk_service *service = calloc(1, sizeof(*service));
    CHECK(service != NULL);
    service->parts = *parts;
    service->rpc.slabs = parts->slabs;
    service->rpc.handle = service_handle;
    service->servings = calloc(parts->requests_max, sizeof(*service->servings));
    CHECK(service->servings != NULL);
    list_init(&service->free);
    for (uint32_t i = 0; i < parts->requests_max; i++) {
        service->servings[i].service = service;
        list_append(&service->free, &service->servings[i].link);
    }
    return service;
}

void chunk_service_close(struct chunk_service *service)
{
    CHECK(service->in_flight == 0);
    map_release(service->map);
    free(service->servings);
    free(service);
}

struct rpc_service *chunk_service_rpc(struct chunk_service *service)
{
    return &service->rpc;
}

void chunk_service_set_map(struct chunk_service *service, struct map *map)
{
    map_hold(map);
    map_release(service->map);
    service->map = map;
}

uint32_t chunk_service_in_flight(const struct chunk_service *service)
{
    return service->in_flight;
}

static struct serving *serving_take(struct chunk_service *service, struct rpc_request *request,
                                    struct chunk_host_disk *disk)
{
    struct list_link *link = list_take_first(&service->free);
    if (link == NULL) {
        return NULL;
    }
    struct serving *serving = LIST_ENTRY(link, struct serving, link);
    serving->request = request;
    serving->disk = disk;
    serving->slab = NULL;
    service->in_flight++;
    return serving;
}

static void serving_release(struct serving *serving)
{
    serving->request = NULL;
    serving->service->in_flight--;
    list_append(&serving->service->free, &serving->link);
}

static bool chunk_id_from_wire(const ProtobufCBinaryData *bytes, struct chunk_id *id)
{
    if (bytes->len != sizeof(id->bytes)) {
        return false;
    }
    memcpy(id->bytes, bytes->data, sizeof(id->bytes));
    return true;
}

/* ---- put ---------------------------------------------------------------------------------------- */

static void put_done(struct host_job *job)
{
    struct serving *serving = CONTAINER_OF(job, struct serving, on.put.job);
    rpc_reply(serving->request, job->status, NULL);
    serving_release(serving);
}

static bool put_is_well_formed(const Trilith__ChunkPutRequest *message, const struct rpc_request *request)
{
    return message->chunk_bytes > 0 && message->chunk_bytes <= CHUNK_BYTES_MAX && request->payload != NULL &&
           request->payload_bytes == message->chunk_bytes &&
           message->seals.len == (size_t)chunk_unit_count(message->chunk_bytes) * UNIT_SEAL_BYTES &&
           (message->suite == SUITE_AES_256_GCM || message->suite == SUITE_SM4_GCM) && message->pg != 0;
}

/* May this disk get a copy of a chunk of that PG? The answer comes from a map in which the disk *is* a member, never
 * from the writer's word; the host asks again, with its own map, when the copy is durable. */
static enum status put_check_member(struct chunk_service *service, const Trilith__ChunkPutRequest *message)
{
    const struct map_put put = {.pg = message->pg, .disk_id = message->disk_id, .map_epoch = message->map_epoch};
    enum status status = service->map != NULL ? map_check_put(service->map, &put) : STATUS_BUSY;
    if (status == STATUS_BUSY && service->parts.map_is_behind != NULL) {
        service->parts.map_is_behind(service->parts.user);
    }
    return status;
}

/* The disk, if it is here and serves: one that was removed for good does not. */
static struct chunk_host_disk *serving_disk(struct chunk_service *service, uint32_t disk_id)
{
    const struct map_disk *disk = service->map != NULL ? map_find_disk(service->map, disk_id) : NULL;
    return disk != NULL && disk->is_removed ? NULL : chunk_host_find(service->parts.host, disk_id);
}

static void serve_put(struct chunk_service *service, struct rpc_request *request)
{
    const Trilith__ChunkPutRequest *message = (const Trilith__ChunkPutRequest *)request->message;
    struct chunk_id id;
    if (!chunk_id_from_wire(&message->chunk_id, &id) || !put_is_well_formed(message, request)) {
        rpc_reply(request, STATUS_INVALID, NULL);
        return;
    }
    struct chunk_host_disk *disk = chunk_host_find(service->parts.host, message->disk_id);
    enum status status = disk == NULL ? STATUS_CONFLICT : put_check_member(service, message);
    if (status == STATUS_OK && loop_now_ns(service->parts.loop) >= request->deadline_ns) {
        status = STATUS_TIMEOUT;
    }
    if (status != STATUS_OK) {
        rpc_reply(request, status, NULL);
        return;
    }
    struct serving *serving = BUGGIFY(BUGGIFY_NODE_PUT_BUSY) ? NULL : serving_take(service, request, disk);
    if (serving == NULL) {
        rpc_reply(request, STATUS_BUSY, NULL);
        return;
    }
    struct host_put *put = &serving->on.put;
    memset(put, 0, sizeof(*put));
    put->put.header = (struct chunk_header){
        .id = id,
        .tenant_id = message->tenant_id,
        .pg = message->pg,
        .chunk_bytes = message->chunk_bytes,
        .suite = (enum suite)message->suite,
    };
    put->map_epoch = message->map_epoch;
    put->put.payload = request->payload->data;
    put->put.seals = message->seals.data;
    chunk_host_put(service->parts.host, disk, put, service->parts.loop, put_done);
}

/* ---- get ---------------------------------------------------------------------------------------- */

static void get_sent(void *user)
{
    struct serving *serving = user;
    slab_release(serving->slab);
    serving_release(serving);
}

static void get_done(struct host_job *job)
{
    struct serving *serving = CONTAINER_OF(job, struct serving, on.get.job);
    struct chunk_get *get = &serving->on.get.get;
    if (job->status != STATUS_OK) {
        rpc_reply(serving->request, job->status, NULL);
        get_sent(serving);
        return;
    }
    Trilith__ChunkGetReply reply = TRILITH__CHUNK_GET_REPLY__INIT;
    reply.chunk_bytes = get->header.chunk_bytes;
    reply.suite = get->header.suite;
    reply.seals.data = get->seals;
    reply.seals.len = (size_t)chunk_unit_count(get->data_bytes) * UNIT_SEAL_BYTES;
    struct iovec payload = {.iov_base = get->data, .iov_len = get->data_bytes};
    rpc_reply_with_payload(serving->request, STATUS_OK, &reply.base, &payload, 1, get_sent, serving);
}

static void get_start(struct serving *serving, struct slab *slab)
{
    const Trilith__ChunkGetRequest *message = (const Trilith__ChunkGetRequest *)serving->request->message;
    struct host_get *get = &serving->on.get;
    serving->slab = slab;
    memset(get, 0, offsetof(struct host_get, get.seals));
    CHECK(chunk_id_from_wire(&message->chunk_id, &get->get.id));
    get->get.first_unit = message->first_unit;
    get->get.unit_count = message->unit_count;
    get->get.buffer = slab->data;
    get->get.buffer_bytes = slab->capacity;
    chunk_host_get(serving->disk, get, serving->service->parts.loop, get_done);
}

static void get_slab_ready(struct slab_waiter *waiter, struct slab *slab)
{
    get_start(CONTAINER_OF(waiter, struct serving, waiter), slab);
}

static void serve_get(struct chunk_service *service, struct rpc_request *request)
{
    const Trilith__ChunkGetRequest *message = (const Trilith__ChunkGetRequest *)request->message;
    struct chunk_id id;
    if (!chunk_id_from_wire(&message->chunk_id, &id) || message->first_unit >= CHUNK_UNITS_MAX ||
        message->unit_count > CHUNK_UNITS_MAX - message->first_unit) {
        rpc_reply(request, STATUS_INVALID, NULL);
        return;
    }
    struct chunk_host_disk *disk = serving_disk(service, message->disk_id);
    if (disk == NULL) {
        rpc_reply(request, STATUS_CONFLICT, NULL);
        return;
    }
    struct serving *serving = serving_take(service, request, disk);
    if (serving == NULL) {
        rpc_reply(request, STATUS_BUSY, NULL);
        return;
    }
    uint32_t units = message->unit_count == 0 ? CHUNK_UNITS_MAX - message->first_unit : message->unit_count;
    struct slab *slab = slab_take(service->parts.slabs, units * UNIT_BYTES);
    if (slab != NULL) {
        get_start(serving, slab);
    } else {
        slab_wait(service->parts.slabs, &serving->waiter, units * UNIT_BYTES, get_slab_ready);
    }
}

/* ---- locate ------------------------------------------------------------------------------------- */

/* An operator's question, rare and of any size up to the limit: its memory comes and goes with it. */
struct locating {
    struct chunk_service *service;
    struct rpc_request *request;
    struct host_locate locate;
    struct chunk_id ids[CHUNK_HOST_LOCATE_MAX];
    bool found[CHUNK_HOST_LOCATE_MAX];
    struct chunk_location locations[CHUNK_HOST_LOCATE_MAX];
    Trilith__ChunkPlace places[CHUNK_HOST_LOCATE_MAX];
    Trilith__ChunkPlace *place_pointers[CHUNK_HOST_LOCATE_MAX];
    char paths[CHUNK_HOST_LOCATE_MAX][CHUNK_HOST_PATH_BYTES + DISK_NAME_BYTES];
};

static char *state_text(enum chunk_state state)
{
    static char live[] = "live";
    static char erasing[] = "erasing";
    static char erased[] = "erased";
    switch (state) {
    case CHUNK_LIVE:
        return live;
    case CHUNK_ERASING:
        return erasing;
    case CHUNK_ERASED:
        return erased;
    }
    UNREACHABLE();
}

static void path_join(char target[CHUNK_HOST_PATH_BYTES + DISK_NAME_BYTES], const char *directory, const char *name)
{
    size_t directory_bytes = strnlen(directory, CHUNK_HOST_PATH_BYTES - 1);
    size_t name_bytes = strnlen(name, DISK_NAME_BYTES - 1);
    memcpy(target, directory, directory_bytes);
    target[directory_bytes] = '/';
    memcpy(target + directory_bytes + 1, name, name_bytes);
    target[directory_bytes + 1 + name_bytes] = '\0';
}

static void locate_done(struct host_job *job)
{
    struct locating *locating = CONTAINER_OF(job, struct locating, locate.job);
    Trilith__ChunkLocateReply reply = TRILITH__CHUNK_LOCATE_REPLY__INIT;
    const char *disk_path = job->disk->path;
    if (job->status == STATUS_OK) {
        for (uint32_t i = 0; i < locating->locate.count; i++) {
            const struct chunk_location *location = &locating->locations[i];
            Trilith__ChunkPlace *place = &locating->places[i];
            trilith__chunk_place__init(place);
            locating->place_pointers[i] = place;
            place->found = locating->found[i];
            if (place->found) {
                path_join(locating->paths[i], disk_path, location->segment);
                place->segment = locating->paths[i];
                place->offset = location->offset;
                place->length = location->length;
                place->state = state_text(location->state);
            }
        }
        reply.n_places = locating->locate.count;
        reply.places = locating->place_pointers;
    }
    rpc_reply(locating->request, job->status, &reply.base);
    locating->service->in_flight--;
    free(locating);
}

static void serve_locate(struct chunk_service *service, struct rpc_request *request)
{
    const Trilith__ChunkLocateRequest *message = (const Trilith__ChunkLocateRequest *)request->message;
    struct chunk_host_disk *disk = chunk_host_find(service->parts.host, message->disk_id);
    if (disk == NULL || message->n_chunk_ids > CHUNK_HOST_LOCATE_MAX) {
        rpc_reply(request, disk == NULL ? STATUS_CONFLICT : STATUS_INVALID, NULL);
        return;
    }
    struct locating *locating = calloc(1, sizeof(*locating));
    CHECK(locating != NULL);
    for (size_t i = 0; i < message->n_chunk_ids; i++) {
        if (!chunk_id_from_wire(&message->chunk_ids[i], &locating->ids[i])) {
            free(locating);
            rpc_reply(request, STATUS_INVALID, NULL);
            return;
        }
    }
    locating->service = service;
    locating->request = request;
    locating->locate.ids = locating->ids;
    locating->locate.count = (uint32_t)message->n_chunk_ids;
    locating->locate.found = locating->found;
    locating->locate.locations = locating->locations;
    service->in_flight++;
    chunk_host_locate(disk, &locating->locate, service->parts.loop, locate_done);
}

/* ---- list --------------------------------------------------------------------------------------- */

/* How many chunks of other PGs one request walks past before it answers with what it has found so far. */
#define LIST_PAGES_MAX 16u
#define LISTED_MAX     1024u

/* The question of a disk that takes a PG over: its memory comes and goes with it. */
struct listing {
    struct chunk_service *service;
    struct rpc_request *request;
    uint32_t pg;
    uint32_t max;
    uint32_t pages;
    uint32_t count;
    struct host_list list;
    struct chunk_header found[LISTED_MAX];
    Trilith__ListedChunk chunks[LISTED_MAX];
    Trilith__ListedChunk *pointers[LISTED_MAX];
};

static void listing_end(struct listing *listing, enum status status, bool more, struct chunk_id *next)
{
    Trilith__ChunkListReply reply = TRILITH__CHUNK_LIST_REPLY__INIT;
    for (uint32_t i = 0; i < listing->count; i++) {
        Trilith__ListedChunk *chunk = &listing->chunks[i];
        struct chunk_header *header = &listing->found[i];
        trilith__listed_chunk__init(chunk);
        chunk->chunk_id = (ProtobufCBinaryData){.data = header->id.bytes, .len = sizeof(header->id.bytes)};
        chunk->chunk_bytes = header->chunk_bytes;
        chunk->tenant_id = header->tenant_id;
        chunk->suite = header->suite;
        listing->pointers[i] = chunk;
    }
    reply.n_chunks = listing->count;
    reply.chunks = listing->pointers;
    reply.more = more;
    if (more) {
        reply.next = (ProtobufCBinaryData){.data = next->bytes, .len = sizeof(next->bytes)};
    }
    rpc_reply(listing->request, status, &reply.base);
    listing->service->in_flight--;
    free(listing);
}

static void list_paged(struct host_job *job)
{
    struct listing *listing = CONTAINER_OF(job, struct listing, list.job);
    struct host_list *list = &listing->list;
    if (job->status != STATUS_OK) {
        listing_end(listing, job->status, false, NULL);
        return;
    }
    bool more = list->count == CHUNK_HOST_LIST_MAX;
    for (size_t i = 0; i < list->count; i++) {
        const struct chunk_header *header = &list->headers[i];
        list->after = header->id;
        list->from_start = false;
        if (header->pg != listing->pg) {
            continue;
        }
        listing->found[listing->count++] = *header;
        if (listing->count == listing->max) {
            listing_end(listing, STATUS_OK, more || i + 1 < list->count, &list->after);
            return;
        }
    }
    if (!more || ++listing->pages == LIST_PAGES_MAX) {
        listing_end(listing, STATUS_OK, more, &list->after);
        return;
    }
    chunk_host_list(job->disk, list, listing->service->parts.loop, list_paged);
}

static void serve_list(struct chunk_service *service, struct rpc_request *request)
{
    const Trilith__ChunkListRequest *message = (const Trilith__ChunkListRequest *)request->message;
    struct chunk_host_disk *disk = serving_disk(service, message->disk_id);
    struct chunk_id after = {{0}};
    bool has_cursor = message->after_chunk_id.len != 0;
    if (disk == NULL || message->max < 1 || message->max > LISTED_MAX ||
        (has_cursor && !chunk_id_from_wire(&message->after_chunk_id, &after))) {
        rpc_reply(request, disk == NULL ? STATUS_CONFLICT : STATUS_INVALID, NULL);
        return;
    }
    /* What is there is only known when nothing is missing: a disk that catches up has not begun to serve. */
    if (chunk_host_disk_state(disk) == TRILITH__DISK_STATE__DISK_CATCHING_UP) {
        rpc_reply(request, STATUS_UNAVAILABLE, NULL);
        return;
    }
    struct listing *listing = service->in_flight < service->parts.requests_max ? calloc(1, sizeof(*listing)) : NULL;
    if (listing == NULL) {
        rpc_reply(request, STATUS_BUSY, NULL);
        return;
    }
    listing->service = service;
    listing->request = request;
    listing->pg = message->pg;
    listing->max = message->max;
    listing->list.from_start = !has_cursor;
    listing->list.after = after;
    service->in_flight++;
    chunk_host_list(disk, &listing->list, service->parts.loop, list_paged);
}

static void service_handle(struct rpc_service *rpc, struct rpc_request *request)
{
    struct chunk_service *service = CONTAINER_OF(rpc, struct chunk_service, rpc);
    switch (request->type) {
    case TRILITH__MESSAGE_TYPE__CHUNK_PUT:
        serve_put(service, request);
        return;
    case TRILITH__MESSAGE_TYPE__CHUNK_GET:
        serve_get(service, request);
        return;
    case TRILITH__MESSAGE_TYPE__CHUNK_LOCATE:
        serve_locate(service, request);
        return;
    case TRILITH__MESSAGE_TYPE__CHUNK_LIST:
        serve_list(service, request);
        return;
    case TRILITH__MESSAGE_TYPE__NODE_PING:
        rpc_reply(request, STATUS_OK, NULL);
        return;
    default:
        rpc_reply(request, STATUS_UNSUPPORTED, NULL);
        return;
    }
}
