/* main.c - trilith-meta: puts the metadata service together from its parts and runs it until SIGTERM or SIGINT.
 *
 * Below `directory`:  journal/  the command log      tables/  RocksDB, rebuilt from the journal up to its last flush
 *                     vault/root  the root of all object keys, mode 0600
 * Exit status: 0 after an orderly stop, 2 for a usage or configuration that can't be, 1 for anything else. */
#include "meta/journal_local.h"
#include "meta/kms_file.h"
#include "meta/options.h"
#include "meta/secret_file.h"
#include "meta/service.h"
#include "meta/vault/vault_local.h"

#include "base/buggify.h"
#include "base/kv_rocksdb.h"
#include "base/log.h"
#include "base/uring.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXIT_CONFIGURATION 2
#define MESSAGE_BYTES      2048
#define JOURNAL_SEGMENTS   2 /* used ones above which the tables are flushed */
#define TURN_NS            (NS_PER_S / 2)

/* Everything that is open, in the order it was opened. */
struct program {
    struct meta_options options;
    char message[MESSAGE_BYTES];
    struct uring_loop *loop;
    struct kms *kms;
    struct kv *kv;
    struct state *state;
    struct disk *journal_disk;
    struct meta_service *service;
    struct journal *journal;
    struct vault *vault;
    bool answered; /* the step that is being waited for has ended, with `status` */
    bool stopped;
    enum status status;
    bool failed;
};

static struct uring_loop *signalled_loop;
static volatile sig_atomic_t stop_requested;

static void on_signal(int number)
{
    (void)number;
    stop_requested = 1;
    uring_loop_stop(signalled_loop);
}

static void catch_signals(struct uring_loop *loop)
{
    signalled_loop = loop;
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    action.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &action, NULL);
}

/* ---- parts ------------------------------------------------------------------------------------- */

static void path_below(const struct program *program, const char *name, char path[META_PATH_BYTES + 16])
{
    (void)snprintf(path, META_PATH_BYTES + 16, "%s/%s", program->options.directory, name);
}

static bool flush_directory(const char *path)
{
    int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool flushed = directory >= 0 && fsync(directory) == 0;
    if (directory >= 0) {
        (void)close(directory);
    }
    return flushed;
}

/* Make `path` and make its entry in the directory above durable: the vault's root will stand below it. */
static enum status make_directory(struct program *program, const char *path)
{
    char parent[META_PATH_BYTES + 16];
    (void)snprintf(parent, sizeof(parent), "%s", path);
    bool made = mkdir(path, 0700) == 0 || errno == EEXIST;
    if (made && flush_directory(dirname(parent))) {
        return STATUS_OK;
    }
    int error = errno;
    (void)snprintf(program->message, MESSAGE_BYTES, "%s: can't be made: %s", path, strerror(error));
    return status_from_errno(error);
}

static enum status make_directories(struct program *program)
{
    static const char *const names[] = {"journal", "tables", "vault"};
    enum status status = make_directory(program, program->options.directory);
    for (size_t i = 0; status == STATUS_OK && i < ARRAY_LENGTH(names); i++) {
        char path[META_PATH_BYTES + 16];
        path_below(program, names[i], path);
        status = make_directory(program, path);
    }
    return status;
}

static void service_failed(void *user, enum status status)
{
    struct program *program = user;
    program->failed = true;
    program->status = status;
    uring_loop_stop(program->loop);
}

static void journal_opened(void *user, enum status status, struct journal *journal, const char *message)
{
    struct program *program = user;
    program->answered = true;
    program->status = status;
    program->journal = journal;
    if (status != STATUS_OK) {
        (void)snprintf(program->message, MESSAGE_BYTES, "journal: %s", message);
    }
}

static void service_started(void *user, enum status status)
{
    struct program *program = user;
    program->answered = true;
    program->status = status;
}

static void service_stopped(void *user)
{
    struct program *program = user;
    program->stopped = true;
}

static void turn_until(struct program *program, const bool *flag)
{
    struct loop *loop = uring_loop_interface(program->loop);
    while (!*flag) {
        uring_loop_turn(program->loop, loop_now_ns(loop) + TURN_NS);
    }
}

static enum status open_tables(struct program *program)
{
    char path[META_PATH_BYTES + 16];
    path_below(program, "tables", path);
    enum status status = kv_rocksdb_open(path, (size_t)program->options.table_cache_bytes, &program->kv,
                                         program->message, MESSAGE_BYTES);
    if (status != STATUS_OK) {
        return status;
    }
    status = state_open(program->kv, &program->state);
    if (status != STATUS_OK) {
        (void)snprintf(program->message, MESSAGE_BYTES, "%s: the tables can't be read: %s", path, status_name(status));
    }
    return status;
}

static enum status open_journal(struct program *program)
{
    char path[META_PATH_BYTES + 16];
    path_below(program, "journal", path);
    enum status status =
        uring_disk_open(program->loop, path, false, &program->journal_disk, program->message, MESSAGE_BYTES);
    if (status != STATUS_OK) {
        return status;
    }
    const struct journal_local_options options = {.segment_bytes = program->options.journal_segment_bytes,
                                                  .segments_wanted = JOURNAL_SEGMENTS,
                                                  .applied_index = state_applied_index(program->state)};
    journal_local_open(uring_loop_interface(program->loop), program->journal_disk, &options,
                       meta_service_journal_user(program->service), journal_opened, program);
    turn_until(program, &program->answered);
    if (program->status == STATUS_OK && meta_service_health(program->service) != STATUS_OK) {
        (void)snprintf(program->message, MESSAGE_BYTES, "a command of the journal can't be applied: %s",
                       status_name(meta_service_health(program->service)));
        return meta_service_health(program->service);
    }
    if (program->status == STATUS_OK) {
        /* What the tables had when they were opened was durable. */
        journal_release(program->journal, options.applied_index);
    }
    return program->status;
}

static enum status start_service(struct program *program)
{
    char path[META_PATH_BYTES + 16];
    path_below(program, "vault/root", path);
    /* A root is made only while no leaf was ever given out: another one later would hide that all keys are lost. */
    bool may_create = state_cluster(program->state)->next_page == 1;
    enum status status = vault_local_open(path, may_create, &program->vault, program->message, MESSAGE_BYTES);
    if (status != STATUS_OK) {
        return status;
    }
    program->answered = false;
    meta_service_start(program->service, program->journal, program->vault, program->options.listen, service_started,
                       program);
    turn_until(program, &program->answered);
    if (program->status != STATUS_OK) {
        (void)snprintf(program->message, MESSAGE_BYTES, "can't serve on %s: %s", program->options.listen,
                       status_name(program->status));
    }
    return program->status;
}

static enum status program_open(struct program *program)
{
    const struct meta_options *options = &program->options;
    enum status status = uring_loop_open(&program->loop, program->message, MESSAGE_BYTES);
    if (status != STATUS_OK) {
        return status;
    }
    catch_signals(program->loop);
    status = open_tables(program);
    if (status != STATUS_OK) {
        return status;
    }
    const struct meta_service_parts parts = {.loop = uring_loop_interface(program->loop),
                                             .net = uring_loop_net(program->loop),
                                             .kv = program->kv,
                                             .state = program->state,
                                             .kms = program->kms,
                                             .failed = service_failed,
                                             .user = program};
    const struct meta_service_options service_options = {.node_lease_ms = options->node_lease_ms,
                                                         .leaf_lease_ms = options->leaf_lease_ms,
                                                         .key_lease_ms = options->key_lease_ms,
                                                         .pgs_per_disk = (uint32_t)options->pgs_per_disk,
                                                         .scatter_width = (uint32_t)options->scatter_width};
    program->service = meta_service_open(&parts, &service_options);
    if (program->service == NULL) {
        (void)snprintf(program->message, MESSAGE_BYTES, "no (locked) memory for the service: raise the limit memlock");
        return STATUS_FULL;
    }
    status = open_journal(program);
    return status == STATUS_OK ? start_service(program) : status;
}

static void journal_closed_early(void *user)
{
    struct program *program = user;
    program->stopped = true;
}

static void program_close(struct program *program)
{
    if (program->service != NULL && program->vault != NULL) {
        meta_service_stop(program->service, service_stopped, program);
        turn_until(program, &program->stopped);
    } else if (program->service != NULL) {
        if (program->journal != NULL) { /* First: until it is closed it may call the service back. */
            journal_close(program->journal, journal_closed_early, program);
            turn_until(program, &program->stopped);
        }
        meta_service_abandon(program->service);
    }
    if (program->vault != NULL) {
        vault_close(program->vault);
    }
    if (program->journal_disk != NULL) {
        uring_disk_close(program->journal_disk);
    }
    if (program->state != NULL) {
        state_close(program->state);
    }
    if (program->kv != NULL) {
        kv_close(program->kv);
    }
    if (program->kms != NULL) {
        kms_close(program->kms);
    }
    if (program->loop != NULL) {
        uring_loop_close(program->loop);
    }
}

/* ---- command line ------------------------------------------------------------------------------ */

static void print_usage(FILE *out)
{
    (void)fputs("trilith-meta - the metadata service of a Trilith cluster\n"
                "usage: trilith-meta --config FILE        serve until SIGTERM\n"
                "       trilith-meta --create-key FILE    make a master key file and exit\n"
                "       trilith-meta --print-example-config\n"
                "       trilith-meta --help | --version\n",
                out);
}

static int create_key(const char *path)
{
    char message[MESSAGE_BYTES];
    if (secret_file_create(path, SECRET_HEX_OR_RAW, message, sizeof(message)) != STATUS_OK) {
        (void)fprintf(stderr, "trilith-meta: %s\n", message);
        return EXIT_FAILURE;
    }
    (void)printf("%s: made a master key. Keep a copy in a safe place: without it nothing opens again.\n", path);
    return EXIT_SUCCESS;
}

static int serve(const char *config)
{
    static struct program program;
    if (!buggify_from_environment()) {
        (void)fputs("trilith-meta: TRILITH_KILL_AT does not name a kill point of this build, as NAME or NAME:N\n",
                    stderr);
        return EXIT_CONFIGURATION;
    }
    enum status status = meta_options_read(config, &program.options, program.message, MESSAGE_BYTES);
    if (status == STATUS_OK) {
        log_set_level((enum log_level)program.options.log_level);
        status = kms_file_open(program.options.key_file, &program.kms, program.message, MESSAGE_BYTES);
    }
    if (status == STATUS_OK) {
        status = make_directories(&program);
    }
    if (status != STATUS_OK) {
        (void)fprintf(stderr, "trilith-meta: %s\n", program.message);
        program_close(&program);
        return EXIT_CONFIGURATION;
    }
    status = program_open(&program);
    if (status != STATUS_OK) {
        (void)fprintf(stderr, "trilith-meta: %s\n", program.message);
    } else {
        log_event(LOG_INFO, "meta_ready", "address=%s directory=%s version=%s", meta_service_address(program.service),
                  program.options.directory, TRILITH_VERSION);
        while (!stop_requested && !program.failed) {
            uring_loop_run(program.loop);
        }
        log_event(LOG_INFO, "meta_stopping", "reason=%s", program.failed ? "failure" : "signal");
    }
    bool good = status == STATUS_OK && !program.failed;
    program_close(&program);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {{"config", required_argument, NULL, 'c'},
                                                 {"create-key", required_argument, NULL, 'k'},
                                                 {"print-example-config", no_argument, NULL, 'e'},
                                                 {"help", no_argument, NULL, 'h'},
                                                 {"version", no_argument, NULL, 'v'},
                                                 {NULL, 0, NULL, 0}};
    if (keys_start_process() != STATUS_OK) {
        (void)fputs("trilith-meta: libsodium did not start\n", stderr);
        return EXIT_FAILURE;
    }
    int choice = getopt_long(argc, argv, "", long_options, NULL);
    if (choice != -1 && optind != argc) {
        choice = '?';
    }
    switch (choice) {
    case 'c':
        return serve(optarg);
    case 'k':
        return create_key(optarg);
    case 'e':
        meta_options_print_example(stdout);
        return EXIT_SUCCESS;
    case 'h':
        print_usage(stdout);
        return EXIT_SUCCESS;
    case 'v':
        (void)puts("trilith-meta " TRILITH_VERSION);
        return EXIT_SUCCESS;
    default:
        print_usage(stderr);
        return EXIT_CONFIGURATION;
    }
}
