/* main.c - trilith-meta: puts the metadata service together from its parts and runs it until SIGTERM or SIGINT.
 *
 * Below `directory`:  journal/  the command log      tables/  RocksDB, rebuilt from the journal up to its last flush
 *                     vault/    page tables          covers/  RocksDB, covers of punctured pages
 * Below `vault_slot`: root-slot, what makes all of that readable; it alone must be erasable, and never be in a backup
 * Both directories are locked: two metadata servers can't share them.
 * Exit status: 0 after an orderly stop, 2 for a usage or configuration that can't be and for keys or slots that do not
 * fit (somebody must put that right before the next start), 1 for anything else. */
#include "meta/journal_local.h"
#include "meta/kms_setup.h"
#include "meta/options.h"
#include "meta/secret_file.h"
#include "meta/service.h"
#include "meta/vault/slot_file.h"

#include "base/buggify.h"
#include "base/digest.h"
#include "base/kv_rocksdb.h"
#include "base/log.h"
#include "base/uring.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXIT_CONFIGURATION 2
#define MESSAGE_BYTES      2048
#define JOURNAL_SEGMENTS   2 /* used ones above which the tables are flushed */
#define COVERS_CACHE_BYTES MIB(8)
#define TURN_NS            (NS_PER_S / 2)
#define READ_BYTES         KIB(64)

/* Everything that is open, in the order it was opened. */
struct program {
    struct meta_options options;
    char message[MESSAGE_BYTES];
    int directory_lock; /* the descriptor that holds it; 0: none */
    int slot_lock;
    struct kms_provider *provider; /* until the KMS has taken it over */
    struct uring_loop *loop;
    struct kms *kms;
    struct kv *kv;
    struct state *state;
    struct disk *journal_disk;
    struct disk *vault_disk;
    struct disk *slot_disk;
    struct kv *covers;
    struct slot *slot;
    struct meta_service *service;
    struct journal *journal;
    bool service_begun;     /* meta_service_start() was called */
    bool must_be_put_right; /* what failed won't succeed by itself at the next start */
    bool answered;          /* the step that is being waited for has ended, with `status` */
    bool stopped;
    enum status status;
    bool failed;
    char software_sha256[2 * SHA256_BYTES + 1];
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

/* Make `path` and make its entry in the directory above durable: keys depend on what will stand below it. */
static enum status make_directory(struct program *program, const char *path)
{
    bool made = mkdir(path, 0700) == 0 || errno == EEXIST;
    if (made && flush_directory_of(path)) {
        return STATUS_OK;
    }
    int error = errno;
    (void)snprintf(program->message, MESSAGE_BYTES, "%s: can't be made: %s", path, strerror(error));
    return status_from_errno(error);
}

/* Take the directory for this process alone, until it ends. */
static enum status lock_directory(struct program *program, const char *path, const char *what, int *lock)
{
    int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0 || flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
        int error = errno;
        if (descriptor >= 0) {
            (void)close(descriptor);
        }
        if (error == EWOULDBLOCK) {
            (void)snprintf(program->message, MESSAGE_BYTES,
                           "%s: another process uses this %s: stop that trilith-meta, or give this one a %s of its own",
                           path, what, what);
            return STATUS_BUSY;
        }
        (void)snprintf(program->message, MESSAGE_BYTES, "%s: can't be locked: %s", path, strerror(error));
        return status_from_errno(error);
    }
    *lock = descriptor;
    return STATUS_OK;
}

static enum status make_directories(struct program *program)
{
    static const char *const names[] = {"journal", "tables", "vault", "covers"};
    const struct meta_options *options = &program->options;
    enum status status = make_directory(program, options->directory);
    if (status == STATUS_OK) {
        status = lock_directory(program, options->directory, "directory", &program->directory_lock);
    }
    for (size_t i = 0; status == STATUS_OK && i < ARRAY_LENGTH(names); i++) {
        char path[META_PATH_BYTES + 16];
        path_below(program, names[i], path);
        status = make_directory(program, path);
    }
    if (status == STATUS_OK) {
        status = make_directory(program, options->vault_slot);
    }
    return status == STATUS_OK ? lock_directory(program, options->vault_slot, "vault_slot", &program->slot_lock)
                               : status;
}

static enum status open_provider(struct program *program)
{
    const struct meta_options *options = &program->options;
    const struct kms_setup setup = {.provider = meta_kms_names[options->kms],
                                    .key_file = options->key_file,
                                    .passphrase_file = options->key_passphrase_file,
                                    .pkcs11_module = options->pkcs11_module,
                                    .pkcs11_token = options->pkcs11_token,
                                    .pkcs11_pin_file = options->pkcs11_pin_file};
    return kms_setup_open(&setup, &program->provider, program->message, MESSAGE_BYTES);
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

static void slot_opened(void *user, enum status status, struct slot *slot)
{
    struct program *program = user;
    program->answered = true;
    program->status = status;
    program->slot = slot;
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

/* Will starting again fail until somebody has done what the message says? */
static bool is_lasting(enum status status)
{
    return status != STATUS_IO && status != STATUS_FULL && status != STATUS_KEY_AWAY && status != STATUS_UNAVAILABLE;
}

static enum status open_disk(struct program *program, const char *path, struct disk **disk)
{
    return uring_disk_open(program->loop, path, false, disk, program->message, MESSAGE_BYTES);
}

static void count_file(void *user, const char *name, uint64_t bytes)
{
    (void)name;
    (void)bytes;
    ++*(unsigned *)user;
}

/* A slot is made only for a cluster that is made: before the first file of its journal. Later a new one would hide that
 * the root, and with it all keys, is somewhere else or lost. */
static enum status open_slot(struct program *program)
{
    const char *path = program->options.vault_slot;
    unsigned journal_files = 0;
    enum status status = disk_list_files(program->journal_disk, count_file, &journal_files);
    if (status != STATUS_OK) {
        (void)snprintf(program->message, MESSAGE_BYTES, "the journal's directory can't be read");
        return status;
    }
    status = open_disk(program, path, &program->slot_disk);
    if (status != STATUS_OK) {
        return status;
    }
    bool is_new = journal_files == 0 && state_cluster(program->state)->epoch == 0;
    program->answered = false;
    slot_file_open(uring_loop_interface(program->loop), program->slot_disk, is_new, slot_opened, program);
    turn_until(program, &program->answered);
    if (program->status == STATUS_NOT_FOUND) {
        (void)snprintf(program->message, MESSAGE_BYTES,
                       "%s/root-slot is missing: it holds the root of all keys of this cluster; set vault_slot to the "
                       "directory where it is. If it is lost, nothing that is stored can be read any more",
                       path);
    } else if (program->status == STATUS_INVALID) {
        (void)snprintf(program->message, MESSAGE_BYTES,
                       "%s/root-slot does not have the size of a slot: put the file back that was there before", path);
    } else if (program->status != STATUS_OK) {
        (void)snprintf(program->message, MESSAGE_BYTES, "%s/root-slot can't be opened: %s", path,
                       status_name(program->status));
    }
    program->must_be_put_right = program->status != STATUS_OK && is_lasting(program->status);
    return program->status;
}

static enum status open_vault(struct program *program)
{
    char path[META_PATH_BYTES + 16];
    path_below(program, "vault", path);
    enum status status = open_disk(program, path, &program->vault_disk);
    if (status != STATUS_OK) {
        return status;
    }
    path_below(program, "covers", path);
    status = kv_rocksdb_open(path, COVERS_CACHE_BYTES, &program->covers, program->message, MESSAGE_BYTES);
    return status == STATUS_OK ? open_slot(program) : status;
}

static enum status open_journal(struct program *program)
{
    const struct journal_local_options options = {.segment_bytes = program->options.journal_segment_bytes,
                                                  .segments_wanted = JOURNAL_SEGMENTS,
                                                  .applied_index = state_applied_index(program->state)};
    program->answered = false;
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
    program->answered = false;
    program->service_begun = true;
    meta_service_start(program->service, program->journal, program->options.listen, service_started, program);
    turn_until(program, &program->answered);
    const char *why = meta_service_message(program->service);
    if (program->status != STATUS_OK && why[0] != '\0') {
        (void)snprintf(program->message, MESSAGE_BYTES, "%s", why);
        program->must_be_put_right = is_lasting(program->status);
    } else if (program->status != STATUS_OK) {
        (void)snprintf(program->message, MESSAGE_BYTES, "can't serve on %s: %s", program->options.listen,
                       status_name(program->status));
    }
    return program->status;
}

/* The SHA-256 of the program that runs, for certificates; stays empty when it can't be read. */
static void digest_program(struct program *program)
{
    struct digest digest;
    uint8_t hash[DIGEST_BYTES_MAX];
    FILE *file = fopen("/proc/self/exe", "re");
    uint8_t *buffer = file != NULL ? malloc(READ_BYTES) : NULL;
    if (buffer != NULL) {
        digest_begin(&digest, DIGEST_SHA256);
        for (size_t got = 0; (got = fread(buffer, 1, READ_BYTES, file)) > 0;) {
            digest_update(&digest, buffer, got);
        }
        digest_end(&digest, hash);
        if (ferror(file) == 0) {
            hex_encode(hash, SHA256_BYTES, program->software_sha256);
        }
    }
    free(buffer);
    if (file != NULL) {
        (void)fclose(file);
    }
}

static enum status open_service(struct program *program)
{
    const struct meta_options *options = &program->options;
    struct loop *loop = uring_loop_interface(program->loop);
    const struct meta_service_parts parts = {
        .loop = loop,
        .net = uring_loop_net(program->loop),
        .kv = program->kv,
        .state = program->state,
        .kms = program->kms,
        .vault = {.loop = loop, .disk = program->vault_disk, .covers = program->covers, .slot = program->slot},
        .failed = service_failed,
        .user = program};
    struct meta_service_options service_options = {.node_lease_ms = options->node_lease_ms,
                                                   .leaf_lease_ms = options->leaf_lease_ms,
                                                   .key_lease_ms = options->key_lease_ms,
                                                   .pgs_per_disk = (uint32_t)options->pgs_per_disk,
                                                   .scatter_width = (uint32_t)options->scatter_width,
                                                   .epoch_ms = options->epoch_ms,
                                                   .dek_retire_ms = options->dek_retire_ms,
                                                   .signing_overlap_ms = options->signing_overlap_ms,
                                                   .organization = options->organization};
    digest_program(program);
    memcpy(service_options.software_sha256, program->software_sha256, sizeof(program->software_sha256));
    program->service = meta_service_open(&parts, &service_options);
    if (program->service == NULL) {
        (void)snprintf(program->message, MESSAGE_BYTES, "no (locked) memory for the service: raise the limit memlock");
        return STATUS_FULL;
    }
    return STATUS_OK;
}

static enum status open_kms(struct program *program)
{
    const struct kms_options options = {.call_ns = program->options.kms_timeout_ms * NS_PER_MS};
    program->kms = kms_open(uring_loop_interface(program->loop), program->provider, &options);
    if (program->kms == NULL) {
        (void)snprintf(program->message, MESSAGE_BYTES, "no memory or thread for the KMS");
        return STATUS_FULL;
    }
    program->provider = NULL;
    return STATUS_OK;
}

static enum status program_open(struct program *program)
{
    enum status status = uring_loop_open(&program->loop, program->message, MESSAGE_BYTES);
    if (status != STATUS_OK) {
        return status;
    }
    catch_signals(program->loop);
    char journal_path[META_PATH_BYTES + 16];
    path_below(program, "journal", journal_path);
    status = open_kms(program);
    status = status == STATUS_OK ? open_tables(program) : status;
    status = status == STATUS_OK ? open_disk(program, journal_path, &program->journal_disk) : status;
    status = status == STATUS_OK ? open_vault(program) : status;
    status = status == STATUS_OK ? open_service(program) : status;
    status = status == STATUS_OK ? open_journal(program) : status;
    return status == STATUS_OK ? start_service(program) : status;
}

static void journal_closed_early(void *user)
{
    struct program *program = user;
    program->stopped = true;
}

static void service_close(struct program *program)
{
    if (program->service_begun) {
        meta_service_stop(program->service, service_stopped, program);
        turn_until(program, &program->stopped);
        return;
    }
    if (program->journal != NULL) { /* First: until it is closed it may call the service back. */
        journal_close(program->journal, journal_closed_early, program);
        turn_until(program, &program->stopped);
    }
    meta_service_abandon(program->service);
}

static void program_close(struct program *program)
{
    struct disk *disks[] = {program->slot_disk, program->vault_disk, program->journal_disk};
    if (program->service != NULL) {
        service_close(program);
    }
    if (program->slot != NULL) {
        slot_close(program->slot);
    }
    if (program->covers != NULL) {
        kv_close(program->covers);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(disks); i++) {
        if (disks[i] != NULL) {
            uring_disk_close(disks[i]);
        }
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
    if (program->provider != NULL) {
        program->provider->ops->close(program->provider);
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
                "       trilith-meta --create-key FILE [--passphrase | --passphrase-file FILE]\n"
                "                                         make a master key file and exit; --passphrase asks for one\n"
                "       trilith-meta --print-example-config\n"
                "       trilith-meta --help | --version\n",
                out);
}

static int create_key(const char *path, bool ask, const char *passphrase_file)
{
    char message[MESSAGE_BYTES];
    if (kms_setup_create_key(path, passphrase_file, ask, message, sizeof(message)) != STATUS_OK) {
        (void)fprintf(stderr, "trilith-meta: %s\n", message);
        return EXIT_FAILURE;
    }
    (void)printf("%s: made a master key. Keep a copy in a safe place: without it nothing opens again.\n", path);
    return EXIT_SUCCESS;
}

static enum status program_prepare(struct program *program, const char *config)
{
    enum status status = meta_options_read(config, &program->options, program->message, MESSAGE_BYTES);
    if (status != STATUS_OK) {
        return status;
    }
    log_set_level((enum log_level)program->options.log_level);
    /* The key first: a key file that is not right leaves no directories behind. */
    status = open_provider(program);
    return status == STATUS_OK ? make_directories(program) : status;
}

static int serve(const char *config)
{
    static struct program program;
    if (!buggify_from_environment()) {
        (void)fputs("trilith-meta: TRILITH_KILL_AT does not name a kill point of this build, as NAME or NAME:N\n",
                    stderr);
        return EXIT_CONFIGURATION;
    }
    enum status status = program_prepare(&program, config);
    program.must_be_put_right = status != STATUS_OK && is_lasting(status);
    if (status == STATUS_OK) {
        status = program_open(&program);
    }
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
    return good ? EXIT_SUCCESS : program.must_be_put_right ? EXIT_CONFIGURATION : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {{"config", required_argument, NULL, 'c'},
                                                 {"create-key", required_argument, NULL, 'k'},
                                                 {"passphrase", no_argument, NULL, 'p'},
                                                 {"passphrase-file", required_argument, NULL, 'f'},
                                                 {"print-example-config", no_argument, NULL, 'e'},
                                                 {"help", no_argument, NULL, 'h'},
                                                 {"version", no_argument, NULL, 'v'},
                                                 {NULL, 0, NULL, 0}};
    if (keys_start_process() != STATUS_OK) {
        (void)fputs("trilith-meta: libsodium did not start\n", stderr);
        return EXIT_FAILURE;
    }
    int verb = 0;
    const char *argument = NULL;
    const char *passphrase_file = NULL;
    bool ask = false;
    bool good = true;
    for (int choice; (choice = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        if (choice == 'p') {
            ask = true;
        } else if (choice == 'f') {
            passphrase_file = optarg;
        } else {
            good = good && verb == 0;
            verb = choice;
            argument = optarg;
        }
    }
    bool has_passphrase = ask || passphrase_file != NULL;
    if (!good || optind != argc || (has_passphrase && verb != 'k') || (ask && passphrase_file != NULL)) {
        verb = '?';
    }
    switch (verb) {
    case 'c':
        return serve(argument);
    case 'k':
        return create_key(argument, ask, passphrase_file);
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
