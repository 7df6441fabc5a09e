/* chunk_host.c - jobs for the disks of this process, and their way between reactors. */
#include "node/chunk_host.h"

#include "base/log.h"
#include "node/map.h"

/* A client that puts or gets one thing after the other is away from the disk for this long in between. */
#define CLIENT_PAUSE_NS (50 * NS_PER_MS)

void chunk_host_init(struct chunk_host *host)
{
    memset(host, 0, sizeof(*host));
    atomic_flag_clear(&host->map_lock);
    atomic_init(&host->lease_until_ns, 0);
}

enum status chunk_host_add(struct chunk_host *host, struct loop *owner, struct chunk_store *store, const char *path)
{
    if (host->disk_count == CHUNK_HOST_DISKS_MAX || strlen(path) >= CHUNK_HOST_PATH_BYTES) {
        return STATUS_TOO_LARGE;
    }
    struct chunk_store_stats stats;
    chunk_store_stats(store, &stats);
    for (uint32_t i = 0; i < host->disk_count; i++) {
        if (uuid_equal(&host->disks[i].uuid, &stats.store_uuid)) {
            return STATUS_EXISTS;
        }
    }
    struct chunk_host_disk *disk = &host->disks[host->disk_count++];
    disk->owner = owner;
    disk->store = store;
    disk->uuid = stats.store_uuid;
    memcpy(disk->path, path, strlen(path) + 1);
    atomic_init(&disk->id, 0);
    atomic_init(&disk->clients, 0);
    atomic_init(&disk->clients_ns, 0);
    atomic_init(&disk->state, TRILITH__DISK_STATE__DISK_CATCHING_UP);
    return STATUS_OK;
}

struct chunk_host_disk *chunk_host_find(struct chunk_host *host, uint32_t disk_id)
{
    for (uint32_t i = 0; host != NULL && disk_id != 0 && i < host->disk_count; i++) {
        if (atomic_load_explicit(&host->disks[i].id, memory_order_relaxed) == disk_id) {
            return &host->disks[i];
        }
    }
    return NULL;
}

void chunk_host_set_lease(struct chunk_host *host, uint64_t until_ns)
{
    atomic_store(&host->lease_until_ns, until_ns);
}

bool chunk_host_lease_holds(const struct chunk_host *host, uint64_t now_ns)
{
    return now_ns < atomic_load(&host->lease_until_ns);
}

static void client_begins(struct chunk_host_disk *disk)
{
    atomic_fetch_add_explicit(&disk->clients, 1, memory_order_relaxed);
    atomic_store_explicit(&disk->clients_ns, loop_now_ns(disk->owner), memory_order_relaxed);
}

static void client_ends(struct chunk_host_disk *disk)
{
    atomic_store_explicit(&disk->clients_ns, loop_now_ns(disk->owner), memory_order_relaxed);
    atomic_fetch_sub_explicit(&disk->clients, 1, memory_order_relaxed);
}

bool chunk_host_disk_has_clients(const struct chunk_host_disk *disk, uint64_t now_ns)
{
    uint64_t last_ns = atomic_load_explicit(&disk->clients_ns, memory_order_relaxed);
    return atomic_load_explicit(&disk->clients, memory_order_relaxed) > 0 ||
           (last_ns != 0 && now_ns < last_ns + CLIENT_PAUSE_NS);
}

Trilith__DiskState chunk_host_disk_state(const struct chunk_host_disk *disk)
{
    return (Trilith__DiskState)atomic_load(&disk->state);
}

void chunk_host_disk_set_state(struct chunk_host_disk *disk, Trilith__DiskState state)
{
    Trilith__DiskState old = (Trilith__DiskState)atomic_exchange(&disk->state, (unsigned)state);
    if (old != state) {
        const ProtobufCEnumValue *name = protobuf_c_enum_descriptor_get_value(&trilith__disk_state__descriptor, state);
        log_event(state == TRILITH__DISK_STATE__DISK_FENCED ? LOG_ERROR : LOG_INFO, "disk_state",
                  "path=%s disk=%u state=%s", disk->path, atomic_load(&disk->id), name->name);
    }
}

void chunk_host_disk_follow(struct chunk_host_disk *disk, const struct chunk_store_stats *stats)
{
    if (stats->fenced) {
        chunk_host_disk_set_state(disk, TRILITH__DISK_STATE__DISK_FENCED);
        return;
    }
    Trilith__DiskState state = chunk_host_disk_state(disk);
    bool is_full = stats->free_bytes < MAP_FREE_BYTES_MIN;
    if (state == TRILITH__DISK_STATE__DISK_SERVING && is_full) {
        chunk_host_disk_set_state(disk, TRILITH__DISK_STATE__DISK_FULL);
    } else if (state == TRILITH__DISK_STATE__DISK_FULL && !is_full) {
        chunk_host_disk_set_state(disk, TRILITH__DISK_STATE__DISK_SERVING);
    }
}

/* ---- the way of a job --------------------------------------------------------------------------- */

static void job_arrived(struct loop_task *task)
{
    struct host_job *job = CONTAINER_OF(task, struct host_job, task);
    job->work(job);
}

static void job_came_home(struct loop_task *task)
{
    struct host_job *job = CONTAINER_OF(task, struct host_job, task);
    job->done(job);
}

static void job_start(struct host_job *job, struct chunk_host_disk *disk, struct loop *home,
                      void (*work)(struct host_job *job), void (*done)(struct host_job *job))
{
    memset(job, 0, sizeof(*job));
    job->disk = disk;
    job->home = home;
    job->work = work;
    job->done = done;
    if (disk->owner == home) {
        work(job);
        return;
    }
    job->task.run = job_arrived;
    loop_post(disk->owner, &job->task);
}

/* On the owner's thread, inside a completion of the store. */
static void job_finish(struct host_job *job, enum status status)
{
    job->status = status;
    if (job->disk->owner == job->home) {
        job->done(job);
        return;
    }
    job->task.run = job_came_home;
    loop_post(job->home, &job->task);
}

/* On the owner's thread, possibly still inside the call that started the job. */
static void job_finish_later(struct host_job *job, enum status status)
{
    job->status = status;
    job->task.run = job_came_home;
    if (job->disk->owner == job->home) {
        loop_defer(job->home, &job->task);
    } else {
        loop_post(job->home, &job->task);
    }
}

/* ---- put, get, erase ---------------------------------------------------------------------------- */

void chunk_host_set_map(struct chunk_host *host, struct map *map)
{
    if (map != NULL) {
        map_hold(map);
    }
    while (atomic_flag_test_and_set_explicit(&host->map_lock, memory_order_acquire)) {
    }
    struct map *old = host->map;
    host->map = map;
    atomic_flag_clear_explicit(&host->map_lock, memory_order_release);
    map_release(old);
}

struct map *chunk_host_map(struct chunk_host *host)
{
    while (atomic_flag_test_and_set_explicit(&host->map_lock, memory_order_acquire)) {
    }
    struct map *map = host->map;
    if (map != NULL) {
        map_hold(map);
    }
    atomic_flag_clear_explicit(&host->map_lock, memory_order_release);
    return map;
}

/* By the newest map: a copy that is durable when this says STATUS_OK is in every list of the disk that anybody asks for
 * after this node has told that it has a newer one. */
static enum status put_check_map(const struct host_put *put)
{
    struct map *map = chunk_host_map(put->host);
    if (map == NULL) {
        return STATUS_OK;
    }
    const struct map_put asked = {.pg = put->put.header.pg,
                                  .disk_id = atomic_load(&put->job.disk->id),
                                  .map_epoch = put->map_epoch,
                                  .takes_over = put->takes_over};
    enum status status = map_check_put(map, &asked);
    map_release(map);
    return status;
}

static void put_done(struct chunk_put *chunk_put, enum status status)
{
    struct host_put *put = CONTAINER_OF(chunk_put, struct host_put, put);
    client_ends(put->job.disk);
    if (status == STATUS_FENCED || status == STATUS_IO) {
        chunk_host_disk_set_state(put->job.disk, TRILITH__DISK_STATE__DISK_FENCED);
    }
    if (status == STATUS_OK && !chunk_host_lease_holds(put->host, loop_now_ns(put->job.disk->owner))) {
        status = STATUS_UNAVAILABLE;
    }
    if (status == STATUS_OK) {
        status = put_check_map(put);
    }
    job_finish(&put->job, status);
}

static void put_work(struct host_job *job)
{
    struct host_put *put = CONTAINER_OF(job, struct host_put, job);
    switch (chunk_host_disk_state(job->disk)) {
    case TRILITH__DISK_STATE__DISK_SERVING:
        put->put.done = put_done;
        client_begins(job->disk);
        chunk_store_put(job->disk->store, &put->put);
        return;
    case TRILITH__DISK_STATE__DISK_FENCED:
        job_finish_later(job, STATUS_FENCED);
        return;
    case TRILITH__DISK_STATE__DISK_FULL:
        job_finish_later(job, STATUS_FULL);
        return;
    default:
        job_finish_later(job, STATUS_UNAVAILABLE);
        return;
    }
}

static void put_refuse(struct host_job *job)
{
    job_finish_later(job, CONTAINER_OF(job, struct host_put, job)->refusal);
}

void chunk_host_put(struct chunk_host *host, struct chunk_host_disk *disk, struct host_put *put, struct loop *home,
                    void (*done)(struct host_job *job))
{
    put->host = host;
    put->job.disk = disk;
    put->refusal = chunk_host_lease_holds(host, loop_now_ns(home)) ? put_check_map(put) : STATUS_UNAVAILABLE;
    job_start(&put->job, disk, home, put->refusal == STATUS_OK ? put_work : put_refuse, done);
}

static void get_done(struct chunk_get *chunk_get, enum status status)
{
    struct host_get *get = CONTAINER_OF(chunk_get, struct host_get, get);
    client_ends(get->job.disk);
    job_finish(&get->job, status);
}

static void get_work(struct host_job *job)
{
    struct host_get *get = CONTAINER_OF(job, struct host_get, job);
    if (chunk_host_disk_state(job->disk) == TRILITH__DISK_STATE__DISK_CATCHING_UP) {
        job_finish_later(job, STATUS_UNAVAILABLE);
        return;
    }
    get->get.done = get_done;
    client_begins(job->disk);
    chunk_store_get(job->disk->store, &get->get);
}

void chunk_host_get(struct chunk_host_disk *disk, struct host_get *get, struct loop *home,
                    void (*done)(struct host_job *job))
{
    job_start(&get->job, disk, home, get_work, done);
}

static void erase_done(struct chunk_erase *chunk_erase, enum status status)
{
    job_finish(&CONTAINER_OF(chunk_erase, struct host_erase, erase)->job, status);
}

static void erase_work(struct host_job *job)
{
    struct host_erase *erase = CONTAINER_OF(job, struct host_erase, job);
    erase->erase.done = erase_done;
    chunk_store_erase(job->disk->store, &erase->erase);
}

void chunk_host_erase(struct chunk_host_disk *disk, struct host_erase *erase, struct loop *home,
                      void (*done)(struct host_job *job))
{
    job_start(&erase->job, disk, home, erase_work, done);
}

static void close_soon_work(struct host_job *job)
{
    chunk_store_close_soon(job->disk->store);
    job_finish_later(job, STATUS_OK);
}

void chunk_host_close_soon(struct chunk_host_disk *disk, struct host_job *job, struct loop *home,
                           void (*done)(struct host_job *job))
{
    job_start(job, disk, home, close_soon_work, done);
}

/* ---- looking ------------------------------------------------------------------------------------ */

static void locate_work(struct host_job *job)
{
    struct host_locate *locate = CONTAINER_OF(job, struct host_locate, job);
    for (uint32_t i = 0; i < locate->count; i++) {
        enum status status = chunk_store_locate(job->disk->store, &locate->ids[i], &locate->locations[i]);
        if (status == STATUS_IO) {
            job_finish_later(job, status);
            return;
        }
        locate->found[i] = status == STATUS_OK;
    }
    job_finish_later(job, STATUS_OK);
}

void chunk_host_locate(struct chunk_host_disk *disk, struct host_locate *locate, struct loop *home,
                       void (*done)(struct host_job *job))
{
    CHECK(locate->count <= CHUNK_HOST_LOCATE_MAX);
    job_start(&locate->job, disk, home, locate_work, done);
}

static void list_work(struct host_job *job)
{
    struct host_list *list = CONTAINER_OF(job, struct host_list, job);
    list->count = 0;
    job_finish_later(job, chunk_store_list(job->disk->store, list->from_start ? NULL : &list->after, list->headers,
                                           CHUNK_HOST_LIST_MAX, &list->count));
}

void chunk_host_list(struct chunk_host_disk *disk, struct host_list *list, struct loop *home,
                     void (*done)(struct host_job *job))
{
    job_start(&list->job, disk, home, list_work, done);
}

static void stats_work(struct host_job *job)
{
    struct host_stats *stats = CONTAINER_OF(job, struct host_stats, job);
    chunk_store_stats(job->disk->store, &stats->stats);
    job_finish_later(job, STATUS_OK);
}

void chunk_host_stats(struct chunk_host_disk *disk, struct host_stats *stats, struct loop *home,
                      void (*done)(struct host_job *job))
{
    job_start(&stats->job, disk, home, stats_work, done);
}
