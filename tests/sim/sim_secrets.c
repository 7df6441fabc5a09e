/* sim_secrets.c - the key file of the KMS. */
#include "tests/sim/sim_secrets.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char directory[SIM_SECRET_PATH_BYTES - 16];
static char path[SIM_SECRET_PATH_BYTES];
static pid_t maker;

void sim_secrets_master(struct key *master)
{
    struct sim_random random = sim_random_of(UINT64_C(0x73656372657473)); /* "secrets" */
    sim_random_bytes(&random, master->bytes, KEY_BYTES);
}

/* As kms_file.h says. */
bool sim_secrets_cmk(const char *name, struct key *cmk)
{
    static const char prefix[] = "file:";
    char label[64];
    struct key master;
    if (strncmp(name, prefix, sizeof(prefix) - 1) != 0) {
        return false;
    }
    (void)snprintf(label, sizeof(label), "cmk %s", name + sizeof(prefix) - 1);
    sim_secrets_master(&master);
    derive_named_key(&master, label, cmk);
    return true;
}

/* The runs of single seeds are children of this process: they leave the file alone. */
static void secrets_remove(void)
{
    if (getpid() == maker) {
        (void)unlink(path);
        (void)rmdir(directory);
    }
}

void sim_secrets_make(void)
{
    CHECK(maker == 0);
    const char *parent = getenv("TMPDIR");
    int written = snprintf(directory, sizeof(directory), "%s/trilith-sim-XXXXXX", parent != NULL ? parent : "/tmp");
    CHECK(written > 0 && (size_t)written < sizeof(directory));
    CHECK(mkdtemp(directory) != NULL);
    maker = getpid();
    (void)snprintf(path, sizeof(path), "%s/master-key", directory);
    struct key master;
    sim_secrets_master(&master);
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    CHECK(file >= 0);
    CHECK(write(file, master.bytes, KEY_BYTES) == KEY_BYTES);
    CHECK(close(file) == 0);
    CHECK(atexit(secrets_remove) == 0);
}

const char *sim_secrets_path(void)
{
    CHECK(maker != 0);
    return path;
}
