/* sim_secrets.c - the two files with secrets that the metadata service reads at every start. */
#include "tests/sim/sim_secrets.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char directory[SIM_SECRET_PATH_BYTES - 16];
static char cmk_path[SIM_SECRET_PATH_BYTES];
static char root_path[SIM_SECRET_PATH_BYTES];
static pid_t maker;

void sim_secrets_bytes(uint8_t cmk[KEY_BYTES], uint8_t root[KEY_BYTES])
{
    struct sim_random random = sim_random_of(UINT64_C(0x73656372657473)); /* "secrets" */
    sim_random_bytes(&random, cmk, KEY_BYTES);
    sim_random_bytes(&random, root, KEY_BYTES);
}

/* The runs of single seeds are children of this process: they leave the files alone. */
static void secrets_remove(void)
{
    if (getpid() == maker) {
        (void)unlink(cmk_path);
        (void)unlink(root_path);
        (void)rmdir(directory);
    }
}

static void secret_write(const char *path, const uint8_t secret[KEY_BYTES])
{
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    CHECK(file >= 0);
    CHECK(write(file, secret, KEY_BYTES) == KEY_BYTES);
    CHECK(close(file) == 0);
}

void sim_secrets_make(void)
{
    CHECK(maker == 0);
    const char *parent = getenv("TMPDIR");
    int written = snprintf(directory, sizeof(directory), "%s/trilith-sim-XXXXXX", parent != NULL ? parent : "/tmp");
    CHECK(written > 0 && (size_t)written < sizeof(directory));
    CHECK(mkdtemp(directory) != NULL);
    maker = getpid();
    (void)snprintf(cmk_path, sizeof(cmk_path), "%s/cmk", directory);
    (void)snprintf(root_path, sizeof(root_path), "%s/root", directory);
    uint8_t cmk[KEY_BYTES];
    uint8_t root[KEY_BYTES];
    sim_secrets_bytes(cmk, root);
    secret_write(cmk_path, cmk);
    secret_write(root_path, root);
    CHECK(atexit(secrets_remove) == 0);
}

const char *sim_secrets_cmk_path(void)
{
    CHECK(maker != 0);
    return cmk_path;
}

const char *sim_secrets_root_path(void)
{
    CHECK(maker != 0);
    return root_path;
}
