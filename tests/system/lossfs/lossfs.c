/* lossfs.c - a file system that loses unflushed writes on command. For tests.
 *
 * usage: lossfs [--seed N] BACKING MOUNT
 *
 * MOUNT shows the directory BACKING. What programs write below it is kept in memory and reaches BACKING only by fsync,
 * fdatasync or a durable write (O_DSYNC, O_SYNC, RWF_DSYNC, RWF_SYNC). Killing a program proves nothing about its
 * flushes, because the kernel writes what it left behind; here the command "lose" takes it away, as a power failure
 * would. control.c lists the other commands: they come on standard input and are answered on standard output, where
 * "ready" is the first line. When the input ends everything is written, the mount is taken away and lossfs ends.
 *
 * Durable    Bytes and sizes, when flushed. The rest is simpler than the worst disk: names (create, rename, unlink),
 *            modes and the space that fallocate takes are durable at once, so fsync of a directory has nothing to do.
 * Reads      Nothing is kept in the kernel's page cache (FOPEN_DIRECT_IO), so nothing there survives a loss; shared
 *            memory maps are refused for the same reason. Locks are the kernel's own.
 * Left out   Symbolic links, extended attributes, device files. */
#include "tests/system/lossfs/lossfs.h"
#include "tests/system/lossfs/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXIT_USAGE   2
#define THREADS_MAX  512 /* as many operations can hang at once */
#define THREADS_IDLE 8

struct mounted {
    struct lossfs *lossfs;
    struct fuse_session *session;
};

static void say_and_exit(int status, const char *what, const char *why)
{
    (void)fprintf(stderr, "lossfs: %s: %s\n", what, why);
    exit(status);
}

/* The end of the input ends it all. What the kernel still asks is cut off with the process. */
static void *control_thread(void *user)
{
    struct mounted *mounted = user;
    control_run(mounted->lossfs);

    lossfs_lock(mounted->lossfs);
    int error = lossfs_flush(mounted->lossfs);
    fuse_session_unmount(mounted->session);
    _exit(error == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}

static void open_root(struct lossfs *lossfs, const char *backing)
{
    int place = open(backing, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (place < 0) {
        say_and_exit(EXIT_FAILURE, backing, strerror(errno));
    }
    int error = node_lookup(lossfs, place, &lossfs->root);
    if (error != 0) {
        say_and_exit(EXIT_FAILURE, backing, strerror(error));
    }
}

static struct fuse_session *mount_at(struct lossfs *lossfs, const char *mount)
{
    struct fuse_args arguments = FUSE_ARGS_INIT(0, NULL);
    CHECK(fuse_opt_add_arg(&arguments, "lossfs") == 0);
    CHECK(fuse_opt_add_arg(&arguments, "-ofsname=lossfs,subtype=lossfs,default_permissions") == 0);
    struct fuse_session *session = fuse_session_new(&arguments, &lossfs_operations, sizeof(lossfs_operations), lossfs);
    if (session == NULL || fuse_session_mount(session, mount) != 0) {
        say_and_exit(EXIT_FAILURE, mount, "it can't be mounted");
    }
    fuse_opt_free_args(&arguments);
    return session;
}

static int serve(struct fuse_session *session)
{
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    CHECK(config != NULL);
    fuse_loop_cfg_set_max_threads(config, THREADS_MAX);
    fuse_loop_cfg_set_idle_threads(config, THREADS_IDLE);
    int error = fuse_session_loop_mt(session, config);
    fuse_loop_cfg_destroy(config);
    return error;
}

int main(int argument_count, char **arguments)
{
    static struct lossfs lossfs = {.lock = PTHREAD_MUTEX_INITIALIZER, .resumed = PTHREAD_COND_INITIALIZER};
    list_init(&lossfs.nodes);
    if (argument_count > 2 && strcmp(arguments[1], "--seed") == 0) {
        lossfs.chance = strtoull(arguments[2], NULL, 0);
        argument_count -= 2;
        arguments += 2;
    }
    if (argument_count != 3 || arguments[1][0] == '-') {
        (void)fputs("usage: lossfs [--seed N] BACKING MOUNT\n", stderr);
        return EXIT_USAGE;
    }
    (void)umask(0); /* The modes that the kernel sends are final. */
    open_root(&lossfs, arguments[1]);
    struct mounted mounted = {.lossfs = &lossfs, .session = mount_at(&lossfs, arguments[2])};
    (void)puts("ready");
    (void)fflush(stdout);

    pthread_t control;
    CHECK(pthread_create(&control, NULL, control_thread, &mounted) == 0);
    int error = serve(mounted.session);
    /* Somebody else unmounted it: what it held is written all the same. */
    lossfs_lock(&lossfs);
    _exit(lossfs_flush(&lossfs) == 0 && error == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}
