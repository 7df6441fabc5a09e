/* main.c - trilith-node: reads the configuration, starts the reactors, sees them through their phases, stops on a
 * signal.
 *
 * Below `directory`:  node-key what this node signs its attestations with (node_key.h)
 *                     state    the cluster this node belongs to, how its disks flush best (node_state.h)
 *                     lock     held while the node runs, so that it runs once
 *                     index-N  the rebuildable index of the N-th disk
 * Exit status: 0 after an orderly stop, 2 for a usage or configuration that can't be, 1 for anything else. */
#include "node/node_key.h"
#include "node/node_state.h"
#include "node/reactor.h"

#include "base/buggify.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXIT_CONFIGURATION 2
#define MESSAGE_BYTES      2048
#define LAST_TURNS         8u
#define BOOT_ID_BYTES      64
#define READ_BYTES         MIB(1)

struct node {
    struct node_options options;
    struct node_state state;
    bool rebuild_index;
    bool probe_flush;
    bool durable_write;
    int lock;
    struct key_pool *keys;
    struct key *seed; /* what this node signs with */
    char boot_id[BOOT_ID_BYTES];
    char sw_digest[2 * SHA256_BYTES + 1];
    struct key_horizon horizon;
    struct chunk_host host;
    struct reactor reactors[NODE_REACTORS_MAX];
    pthread_t threads[NODE_REACTORS_MAX];
    uint32_t reactor_count;
    pthread_barrier_t phase;
    atomic_bool failed;
    atomic_uint idle_reactors;
    char message[MESSAGE_BYTES];
    char rpc_address[NET_ADDRESS_BYTES];
    char s3_address[NET_ADDRESS_BYTES];
};

static struct node node;
static volatile sig_atomic_t stop_requested;

/* ---- signals ------------------------------------------------------------------------------------- */

static void on_signal(int number)
{
    (void)number;
    stop_requested = 1;
    reactor_request_stop(&node.reactors[0]);
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}

/* Signals come to the first thread only: the others start with them blocked. */
static void block_signals(sigset_t *old)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, old);
}

/* ---- the agent's reports -------------------------------------------------------------------------- */

static void map_changed(void *user, struct map *map, uint64_t node_id)
{
    (void)user;
    for (uint32_t i = 0; i < node.reactor_count; i++) {
        reactor_give_map(&node.reactors[i], map, node_id);
    }
}

static void joined(void *user, const uint8_t cluster_id[CLUSTER_ID_BYTES])
{
    (void)user;
    node.state.has_cluster = true;
    memcpy(node.state.cluster_id, cluster_id, CLUSTER_ID_BYTES);
    enum status status = node_state_save(node.options.directory, &node.state);
    if (status != STATUS_OK) {
        log_event(LOG_ERROR, "state_not_saved", "directory=%s reason=%s", node.options.directory, status_name(status));
    }
}

static void serving(void *user)
{
    (void)user;
    log_event(LOG_INFO, "node_ready", "node=%s rpc=%s s3=%s disks=%u reactors=%u version=%s", node.options.name,
              node.rpc_address, node.s3_address, node.host.disk_count, node.reactor_count, TRILITH_VERSION);
}

static enum status agent_start(struct reactor *reactor)
{
    struct agent_parts parts = {.loop = reactor->loop,
                                .net = uring_loop_net(reactor->uring),
                                .host = &node.host,
                                .meta_address = node.options.meta,
                                .name = node.options.name,
                                .rpc_address = node.rpc_address,
                                .s3_address = node.s3_address,
                                .failure_domain = node.options.failure_domain,
                                .boot_id = node.boot_id,
                                .sw_digest = node.sw_digest,
                                .seed = node.seed,
                                .horizon = &node.horizon,
                                .has_cluster_id = node.state.has_cluster,
                                .orphan_after_ms = node.options.orphan_after_ms,
                                .move_bytes_per_s = node.options.move_bytes_per_s,
                                .call_ns = node.options.meta_call_ms * NS_PER_MS,
                                .map_changed = map_changed,
                                .joined = joined,
                                .serving = serving};
    memcpy(parts.cluster_id, node.state.cluster_id, CLUSTER_ID_BYTES);
    reactor->agent = agent_open(&parts);
    return reactor->agent == NULL ? STATUS_FULL : STATUS_OK;
}

/* ---- phases -------------------------------------------------------------------------------------- */

static void phase_failed(struct reactor *reactor)
{
    if (!atomic_exchange(&node.failed, true)) {
        snprintf(node.message, sizeof(node.message), "%s", reactor->message);
    }
}

/* Wait until every reactor is here. False: some reactor has failed. */
static bool phase_over(void)
{
    pthread_barrier_wait(&node.phase);
    return !atomic_load(&node.failed);
}

/* Between two barriers, on the first thread: all stores are open, nobody else touches the host. */
static void host_fill(void)
{
    for (uint32_t number = 0; number < node.options.disk_count; number++) {
        struct reactor *reactor = &node.reactors[number % node.reactor_count];
        struct reactor_disk *disk = &reactor->disks[number / node.reactor_count];
        enum status status = chunk_host_add(&node.host, reactor->loop, disk->store, disk->path);
        if (status != STATUS_OK) {
            snprintf(reactor->message, sizeof(reactor->message), "%s: %s", disk->path,
                     status == STATUS_EXISTS ? "is the same disk as another one" : "too many disks");
            phase_failed(reactor);
            return;
        }
        medium_of_directory(disk->path, &node.host.disks[number].medium);
    }
}

static void open_first_service(struct reactor *reactor)
{
    if (reactor_open_service(reactor, node.options.listen, node.options.s3_listen) != STATUS_OK) {
        phase_failed(reactor);
        return;
    }
    snprintf(node.rpc_address, sizeof(node.rpc_address), "%s", rpc_server_address(reactor->rpc));
    snprintf(node.s3_address, sizeof(node.s3_address), "%s", http_front_address(reactor->front));
}

static bool reactor_start(struct reactor *reactor)
{
    bool is_first = reactor == &node.reactors[0];
    bool durable_write = node.durable_write;
    if (reactor_open_disks(reactor, node.probe_flush, &durable_write) != STATUS_OK) {
        phase_failed(reactor);
    }
    if (!phase_over()) {
        return false;
    }
    if (is_first) {
        node.durable_write = durable_write; /* The others have read it: the phase is over. */
        host_fill();
        if (!atomic_load(&node.failed)) {
            open_first_service(reactor);
        }
    }
    if (!phase_over()) {
        return false;
    }
    if (!is_first && reactor_open_service(reactor, node.rpc_address, node.s3_address) != STATUS_OK) {
        phase_failed(reactor);
    }
    if (!phase_over()) {
        return false;
    }
    if (is_first && agent_start(reactor) != STATUS_OK) {
        snprintf(reactor->message, sizeof(reactor->message), "no memory");
        phase_failed(reactor);
    }
    return phase_over();
}

/* Stop all reactors together: jobs of one may be on their way to another, so each turns until all are idle. */
static void reactor_wind_down(struct reactor *reactor)
{
    pthread_barrier_wait(&node.phase);
    if (reactor->loop != NULL) {
        reactor_stop(reactor);
    }
    bool counted = false;
    for (unsigned turn = 0; turn < LAST_TURNS && reactor->loop != NULL; turn++) {
        reactor_turn(reactor); /* What was closed hears of it, and lets go of the gateway. */
    }
    while (atomic_load(&node.idle_reactors) < node.reactor_count) {
        bool idle = reactor_is_idle(reactor);
        if (idle && !counted) {
            atomic_fetch_add(&node.idle_reactors, 1);
        } else if (!idle && counted) {
            atomic_fetch_sub(&node.idle_reactors, 1);
        }
        counted = idle;
        if (reactor->loop != NULL) {
            reactor_turn(reactor);
        }
    }
    pthread_barrier_wait(&node.phase);
    reactor_close(reactor);
}

static void *reactor_thread(void *argument)
{
    struct reactor *reactor = argument;
    if (reactor_start(reactor)) {
        reactor_run(reactor);
    }
    reactor_wind_down(reactor);
    return NULL;
}

/* ---- the process --------------------------------------------------------------------------------- */

static enum status refuse_to_start(const char *what)
{
    int error = errno;
    snprintf(node.message, sizeof(node.message), "%s: %s: %s", node.options.directory, what, strerror(error));
    return status_from_errno(error);
}

/* Which boot of the kernel this is; stays empty when it can't be read. */
static void boot_id_read(void)
{
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (file == NULL) {
        return;
    }
    if (fgets(node.boot_id, sizeof(node.boot_id), file) != NULL) {
        node.boot_id[strcspn(node.boot_id, "\n")] = '\0';
    }
    fclose(file);
}

/* The SHA-256 of the program that runs; stays empty when it can't be read. */
static void program_digest(void)
{
    struct digest digest;
    uint8_t hash[DIGEST_BYTES_MAX];
    FILE *file = fopen("/proc/self/exe", "re");
    uint8_t *buffer = file != NULL ? malloc(READ_BYTES) : NULL;
    if (buffer != NULL) {
        digest_begin(&digest, DIGEST_SHA256);
        for (size_t got; (got = fread(buffer, 1, READ_BYTES, file)) > 0;) {
            digest_update(&digest, buffer, got);
        }
        digest_end(&digest, hash);
        if (ferror(file) == 0) {
            hex_encode(hash, SHA256_BYTES, node.sw_digest);
        }
    }
    free(buffer);
    if (file != NULL) {
        fclose(file);
    }
}

static enum status directory_claim(void)
{
    char path[NODE_PATH_BYTES + 8];
    if (mkdir(node.options.directory, 0700) != 0 && errno != EEXIST) {
        return refuse_to_start("can't be made");
    }
    snprintf(path, sizeof(path), "%s/lock", node.options.directory);
    node.lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (node.lock < 0) {
        return refuse_to_start("can't be written");
    }
    if (flock(node.lock, LOCK_EX | LOCK_NB) != 0) {
        return refuse_to_start("another trilith-node runs here");
    }
    enum status status = node_state_load(node.options.directory, &node.state);
    if (status != STATUS_OK) {
        snprintf(node.message, sizeof(node.message), "%s/state: %s", node.options.directory, status_name(status));
    }
    return status;
}

static enum status signer_prepare(void)
{
    node.keys = key_pool_open(1);
    node.seed = node.keys != NULL ? key_take(node.keys) : NULL;
    if (node.seed == NULL) {
        snprintf(node.message, sizeof(node.message), "no memory that can be locked for keys: raise the limit memlock");
        return STATUS_FULL;
    }
    boot_id_read();
    program_digest();
    return node_key_load(node.options.directory, node.seed, node.message, sizeof(node.message));
}

static void reactors_prepare(void)
{
    node.reactor_count = (uint32_t)node.options.reactors;
    CHECK(node.reactor_count > 0);
    node.probe_flush = node.options.flush == NODE_FLUSH_AUTO && !node.state.has_probed;
    node.durable_write =
        node.options.flush == NODE_FLUSH_AUTO ? node.state.durable_write : node.options.flush == NODE_FLUSH_WRITE;
    chunk_host_init(&node.host);
    key_horizon_init(&node.horizon);
    for (uint32_t i = 0; i < node.reactor_count; i++) {
        struct reactor *reactor = &node.reactors[i];
        reactor->number = i;
        reactor->options = &node.options;
        reactor->host = &node.host;
        reactor->horizon = &node.horizon;
        reactor->rebuild_index = node.rebuild_index;
        reactor->first = &node.reactors[0];
    }
    for (uint32_t number = 0; number < node.options.disk_count; number++) {
        struct reactor *reactor = &node.reactors[number % node.reactor_count];
        struct reactor_disk *disk = &reactor->disks[reactor->disk_count++];
        disk->path = node.options.disks[number];
        disk->number = number;
    }
}

static void remember_probe(void)
{
    if (!node.probe_flush) {
        return;
    }
    node.state.has_probed = true;
    node.state.durable_write = node.durable_write;
    if (node_state_save(node.options.directory, &node.state) != STATUS_OK) {
        log_event(LOG_WARNING, "state_not_saved", "directory=%s", node.options.directory);
    }
}

static int run_reactors(void)
{
    sigset_t old_signals;
    block_signals(&old_signals);
    CHECK(pthread_barrier_init(&node.phase, NULL, node.reactor_count) == 0);
    for (uint32_t i = 1; i < node.reactor_count; i++) {
        CHECK(pthread_create(&node.threads[i], NULL, reactor_thread, &node.reactors[i]) == 0);
    }
    struct reactor *first = &node.reactors[0];
    bool started = reactor_start(first);
    if (started) {
        remember_probe();
        catch_signals();
        pthread_sigmask(SIG_SETMASK, &old_signals, NULL);
        while (!stop_requested) {
            reactor_run(first);
        }
        log_event(LOG_INFO, "node_stopping", "node=%s", node.options.name);
        for (uint32_t i = 1; i < node.reactor_count; i++) {
            reactor_request_stop(&node.reactors[i]);
        }
    } else {
        fprintf(stderr, "trilith-node: %s\n", node.message);
    }
    reactor_wind_down(first);
    for (uint32_t i = 1; i < node.reactor_count; i++) {
        pthread_join(node.threads[i], NULL);
    }
    pthread_barrier_destroy(&node.phase);
    log_event(LOG_INFO, "node_stopped", "node=%s", node.options.name);
    return started ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int serve(const char *config)
{
    if (!buggify_from_environment()) {
        fputs("trilith-node: TRILITH_KILL_AT does not name a kill point of this build, as NAME or NAME:N\n", stderr);
        return EXIT_CONFIGURATION;
    }
    enum status status = node_options_read(config, &node.options, node.message, sizeof(node.message));
    if (status != STATUS_OK) {
        fprintf(stderr, "trilith-node: %s\n", node.message);
        return EXIT_CONFIGURATION;
    }
    log_set_level((enum log_level)node.options.log_level);
    signal(SIGPIPE, SIG_IGN);
    status = directory_claim();
    if (status == STATUS_OK) {
        status = signer_prepare();
    }
    if (status != STATUS_OK) {
        fprintf(stderr, "trilith-node: %s\n", node.message);
        return EXIT_FAILURE;
    }
    reactors_prepare();
    int code = run_reactors();
    key_release(node.keys, node.seed);
    key_pool_close(node.keys);
    return code;
}

/* ---- command line -------------------------------------------------------------------------------- */

static void print_usage(FILE *out)
{
    fputs("trilith-node - a storage node and S3 gateway of a Trilith cluster\n"
          "usage: trilith-node --config FILE [--rebuild-index]   serve until SIGTERM\n"
          "       trilith-node --print-example-config\n"
          "       trilith-node --help | --version\n"
          "--rebuild-index throws the indexes of the disks away and makes them anew from the segments.\n",
          out);
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {{"config", required_argument, NULL, 'c'},
                                                 {"rebuild-index", no_argument, NULL, 'r'},
                                                 {"print-example-config", no_argument, NULL, 'e'},
                                                 {"help", no_argument, NULL, 'h'},
                                                 {"version", no_argument, NULL, 'v'},
                                                 {NULL, 0, NULL, 0}};
    if (keys_start_process() != STATUS_OK) {
        fputs("trilith-node: libsodium did not start\n", stderr);
        return EXIT_FAILURE;
    }
    const char *config = NULL;
    for (int choice; (choice = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        switch (choice) {
        case 'c':
            config = optarg;
            break;
        case 'r':
            node.rebuild_index = true;
            break;
        case 'e':
            node_options_print_example(stdout);
            return EXIT_SUCCESS;
        case 'h':
            print_usage(stdout);
            return EXIT_SUCCESS;
        case 'v':
            puts("trilith-node " TRILITH_VERSION);
            return EXIT_SUCCESS;
        default:
            print_usage(stderr);
            return EXIT_CONFIGURATION;
        }
    }
    if (config == NULL || optind != argc) {
        print_usage(stderr);
        return EXIT_CONFIGURATION;
    }
    return serve(config);
}
