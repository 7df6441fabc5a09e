/* test_cert_export.c - an export verifies with nothing but openssl and a shell, and no longer when any of it is
 * changed. */
#include "tests/unit/cert_world.h"

#include <criterion/criterion.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILES_MAX 64

struct exported {
    char path[CERT_EXPORT_PATH_BYTES];
    uint8_t *data;
    size_t bytes;
};

static struct cert_world *world;
static struct exported files[FILES_MAX];
static size_t file_count;
static char directory[64];

static enum status take(struct evidence_files *sink, const char *path, const void *data, size_t bytes)
{
    (void)sink;
    cr_assert_lt(file_count, FILES_MAX);
    struct exported *file = &files[file_count++];
    snprintf(file->path, sizeof(file->path), "%s", path);
    file->data = malloc(bytes + 1);
    memcpy(file->data, data, bytes);
    file->data[bytes] = '\0';
    file->bytes = bytes;
    return STATUS_OK;
}

static struct evidence_files taking = {.write = take};

static void write_file(const struct exported *file)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", directory, file->path);
    FILE *out = fopen(path, "wb");
    cr_assert_not_null(out, "%s", path);
    cr_assert_eq(fwrite(file->data, 1, file->bytes, out), file->bytes);
    cr_assert_eq(fclose(out), 0);
}

static void setup(void)
{
    cr_assert_eq(keys_start_process(), STATUS_OK);
    char path[128];
    world = cert_world_open();
    file_count = 0;
    snprintf(directory, sizeof(directory), "/tmp/export-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/attestations", directory);
    cr_assert_eq(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/nodes", directory);
    cr_assert_eq(mkdir(path, 0700), 0);
}

/* Run `command` in a shell in the directory of the export: its exit status. */
static int shell(const char *command)
{
    pid_t child = fork();
    if (child == 0) {
        if (chdir(directory) != 0 || freopen("/dev/null", "w", stdout) == NULL ||
            freopen("/dev/null", "w", stderr) == NULL) {
            _exit(126);
        }
        execl("/bin/sh", "sh", "-ec", command, (char *)NULL);
        _exit(127);
    }
    int status = -1;
    cr_assert_eq(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void teardown(void)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", directory);
    cr_assert_eq(shell(command), 0);
    for (size_t i = 0; i < file_count; i++) {
        free(files[i].data);
    }
    cert_world_close(world);
}

TestSuite(cert_export, .init = setup, .fini = teardown, .timeout = 280);

static void export_all(void)
{
    cr_assert_eq(cert_export_write(&world->export, &taking), STATUS_OK);
    for (size_t i = 0; i < file_count; i++) {
        write_file(&files[i]);
    }
}

static const struct exported *file_called(const char *path)
{
    for (size_t i = 0; i < file_count; i++) {
        if (strcmp(files[i].path, path) == 0) {
            return &files[i];
        }
    }
    return NULL;
}

Test(cert_export, it_has_all_that_is_needed_and_verifies_by_openssl_and_a_shell)
{
    static const char *const expected[] = {"certificate.jws",  "issuer.pem",        "batch.jws",       "checkpoint",
                                           "proof.tlog-proof", "ledger-entry.json", "nodes/node1.pem", "opening.json",
                                           "README.txt",       "verify.sh"};
    export_all();
    for (size_t i = 0; i < ARRAY_LENGTH(expected); i++) {
        cr_assert_not_null(file_called(expected[i]), "%s is missing", expected[i]);
    }
    cr_assert_null(file_called("ledger.pem"), "the issuer has signed the checkpoint itself");
    cr_assert_eq(file_count, ARRAY_LENGTH(expected) + 1, "and the attestation");
    cr_assert_eq(shell("sh verify.sh"), 0);
}

Test(cert_export, the_object_is_named_to_whoever_has_the_opening_only)
{
    export_all();
    cr_assert_eq(shell("sh verify.sh | grep -qx 'opening.json: the object is films/a/report of 2026.pdf'"), 0);
    for (size_t i = 0; i < file_count; i++) {
        if (strcmp(files[i].path, "opening.json") != 0) {
            cr_assert_null(memmem(files[i].data, files[i].bytes, "films", 5), "%s tells the name", files[i].path);
        }
    }
}

/* The lines of the README that stand in by four blanks are commands; as they stand. */
Test(cert_export, the_commands_of_the_readme_work_as_they_stand)
{
    export_all();
    cr_assert_eq(shell("sed -n 's/^    //p' README.txt >commands"), 0);
    cr_assert_eq(shell("sh -e commands >said 2>&1"), 0);
    cr_assert_eq(shell("grep -q 'Signature Verified Successfully' said"), 0);
    cr_assert_eq(shell("grep -q '\"type\":\"object-erasure\"' said"), 0);
    cr_assert_eq(shell("grep -qx VERIFIED said"), 0);
}

static bool is_evidence(const char *path)
{
    return strcmp(path, "README.txt") != 0 && strcmp(path, "verify.sh") != 0;
}

/* A few places of each file, among them first and last; the system test has more of them. */
Test(cert_export, a_changed_byte_of_any_file_is_refused)
{
    export_all();
    for (size_t i = 0; i < file_count; i++) {
        if (!is_evidence(files[i].path)) {
            continue;
        }
        size_t places[] = {0, files[i].bytes / 3, files[i].bytes - 1};
        for (size_t k = 0; k < ARRAY_LENGTH(places); k++) {
            files[i].data[places[k]] ^= 1;
            write_file(&files[i]);
            cr_assert_neq(shell("sh verify.sh"), 0, "%s: byte %zu was changed", files[i].path, places[k]);
            files[i].data[places[k]] ^= 1;
        }
        write_file(&files[i]);
    }
    cr_assert_eq(shell("sh verify.sh"), 0);
}

Test(cert_export, a_missing_file_is_refused)
{
    export_all();
    for (size_t i = 0; i < file_count; i++) {
        char command[256];
        if (!is_evidence(files[i].path) || strcmp(files[i].path, "opening.json") == 0) {
            continue;
        }
        snprintf(command, sizeof(command), "rm '%.240s'", files[i].path);
        cr_assert_eq(shell(command), 0);
        cr_assert_neq(shell("sh verify.sh"), 0, "without %s", files[i].path);
        write_file(&files[i]);
    }
}

Test(cert_export, every_certificate_of_the_batch_verifies_in_its_place)
{
    export_all();
    for (unsigned i = 0; i < WORLD_BATCH; i++) {
        struct exported other = {.path = "certificate.jws", .data = (uint8_t *)world->object_jws[i]};
        other.bytes = strlen(world->object_jws[i]);
        write_file(&other);
        cr_assert_eq(shell("sh verify.sh"), 0, "number %u", i);
    }
}

Test(cert_export, a_certificate_of_another_kind_needs_no_batch)
{
    world->certificate.jws = world->entry_jws[WORLD_SUBJECT];
    world->certificate.batch_seq = 0;
    world->reply.batch = NULL;
    world->reply.n_attestations = 0;
    world->export.opening = NULL;
    export_all();
    cr_assert_null(file_called("batch.jws"));
    cr_assert_eq(shell("sh verify.sh"), 0);
}

/* Well formed, and wrong: only the Merkle hashes tell. */
Test(cert_export, a_proof_that_leads_elsewhere_is_refused)
{
    world->proof[0].bytes[31] ^= 1;
    export_all();
    cr_assert_neq(shell("sh verify.sh"), 0, "another hash");
    world->proof[0].bytes[31] ^= 1;
    world->certificate.ledger_index = WORLD_SUBJECT - 1;
    export_all();
    cr_assert_neq(shell("sh verify.sh"), 0, "another index");
    world->certificate.ledger_index = WORLD_SUBJECT;
    world->reply.n_proof--;
    export_all();
    cr_assert_neq(shell("sh verify.sh"), 0, "too short");
    world->reply.n_proof++;
    export_all();
    cr_assert_eq(shell("sh verify.sh"), 0);
}

Test(cert_export, an_object_that_is_not_in_the_batch_is_refused_although_it_is_signed)
{
    json_t *payload = world_object(world, 1);
    struct jws jws;
    cr_assert_eq(jws_open(&jws, world->object_jws[1], strlen(world->object_jws[1])), STATUS_OK);
    json_object_set(payload, "batch", json_object_get(jws.payload, "batch"));
    jws_close(&jws);
    json_object_set_new(payload, "seq", json_integer(99));
    free(world->object_jws[1]);
    world->object_jws[1] = world_sign(world, payload);
    world->certificate.jws = world->object_jws[1];
    export_all();
    cr_assert_neq(shell("sh verify.sh"), 0);
}

Test(cert_export, answers_that_do_not_fit_together_are_refused)
{
    static char name[] = "../node";
    static char kid[] = WORLD_CLUSTER "/2";
    char *kept = world->attestation_reply.node;
    world->attestation_reply.node = name;
    cr_assert_eq(cert_export_write(&world->export, &taking), STATUS_CORRUPT);
    world->attestation_reply.node = kept;
    world->attestation_reply.public_key.len = 31;
    cr_assert_eq(cert_export_write(&world->export, &taking), STATUS_CORRUPT);
    world->attestation_reply.public_key.len = 32;
    world->signing_key.kid = kid;
    cr_assert_eq(cert_export_write(&world->export, &taking), STATUS_CORRUPT, "its key is not among the keys");
    file_count = 0;
    world->reply.batch = NULL;
    cr_assert_eq(cert_export_write(&world->export, &taking), STATUS_CORRUPT);
    cr_assert_eq(file_count, 0);
}

static unsigned calls;

static enum status refuse_second(struct evidence_files *sink, const char *path, const void *data, size_t bytes)
{
    (void)sink, (void)path, (void)data, (void)bytes;
    return ++calls == 2 ? STATUS_IO : STATUS_OK;
}

Test(cert_export, it_ends_with_the_first_file_that_can_not_be_written)
{
    struct evidence_files refusing = {.write = refuse_second};
    cr_assert_eq(cert_export_write(&world->export, &refusing), STATUS_IO);
    cr_assert_eq(calls, 2);
}
