/* serve.c - the operations of the kernel: names and facts go to the backing directory, bytes through volatile files.
 *
 * Each operation enters (and hangs there while the file system is stalled), works under the lock, and replies once. An
 * inode number is the address of its node; the root's is 1. Attributes and names are never cached by the kernel. */
#include "tests/system/lossfs/serve.h"

#include "tests/system/lossfs/lossfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define REQUESTS_IN_KERNEL_MAX 256u /* asynchronous ones that the kernel sends at once; its default is 12 */
#define DURABLE_FLAGS          (O_DSYNC | O_SYNC)

static struct lossfs *enter(fuse_req_t request)
{
    struct lossfs *lossfs = fuse_req_userdata(request);
    lossfs_enter(lossfs);
    return lossfs;
}

/* Leave with nothing to say but how it went. */
static void leave(struct lossfs *lossfs, fuse_req_t request, int error)
{
    lossfs_unlock(lossfs);
    (void)fuse_reply_err(request, error);
}

static struct node *node_of(struct lossfs *lossfs, fuse_ino_t number)
{
    return number == FUSE_ROOT_ID ? lossfs->root : (struct node *)(uintptr_t)number;
}

static int error_of(int result)
{
    return result == 0 ? 0 : errno;
}

/* Count down a fault. True: this operation is one of those that must fail. */
static bool strikes(struct lossfs *lossfs, uint64_t *count)
{
    if (*count == 0) {
        return false;
    }
    (*count)--;
    lossfs->counters.failed++;
    return true;
}

/* ---- names and facts --------------------------------------------------------------------------------------- */

static int node_facts(const struct node *node, struct stat *facts)
{
    if (fstatat(node->place, "", facts, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0) {
        return errno;
    }
    if (node->is_open) {
        facts->st_size = (off_t)node->file.bytes;
    }
    return 0;
}

/* The entry of `name`, for the kernel to keep. */
static int entry_fill(struct lossfs *lossfs, const struct node *parent, const char *name,
                      struct fuse_entry_param *entry)
{
    struct node *node = NULL;
    memset(entry, 0, sizeof(*entry));
    int place = openat(parent->place, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    int error = place < 0 ? errno : node_lookup(lossfs, place, &node);
    if (error != 0) {
        return error;
    }
    entry->ino = (fuse_ino_t)(uintptr_t)node;
    error = node_facts(node, &entry->attr);
    if (error != 0) {
        node_forget(lossfs, node, 1);
    }
    return error;
}

static void leave_with_entry(struct lossfs *lossfs, fuse_req_t request, const struct node *parent, const char *name,
                             int error)
{
    struct fuse_entry_param entry;
    error = error != 0 ? error : entry_fill(lossfs, parent, name, &entry);
    lossfs_unlock(lossfs);
    if (error != 0) {
        (void)fuse_reply_err(request, error);
    } else {
        (void)fuse_reply_entry(request, &entry);
    }
}

static void op_init(void *user, struct fuse_conn_info *connection)
{
    (void)user;
    connection->max_background = REQUESTS_IN_KERNEL_MAX;
    connection->congestion_threshold = REQUESTS_IN_KERNEL_MAX;
}

static void op_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    struct lossfs *lossfs = enter(request);
    leave_with_entry(lossfs, request, node_of(lossfs, parent), name, 0);
}

/* Never stalled: nobody waits for it. */
static void op_forget(fuse_req_t request, fuse_ino_t number, uint64_t lookups)
{
    struct lossfs *lossfs = fuse_req_userdata(request);
    lossfs_lock(lossfs);
    node_forget(lossfs, node_of(lossfs, number), lookups);
    lossfs_unlock(lossfs);
    fuse_reply_none(request);
}

static void op_forget_multi(fuse_req_t request, size_t count, struct fuse_forget_data *forgets)
{
    struct lossfs *lossfs = fuse_req_userdata(request);
    lossfs_lock(lossfs);
    for (size_t i = 0; i < count; i++) {
        node_forget(lossfs, node_of(lossfs, forgets[i].ino), forgets[i].nlookup);
    }
    lossfs_unlock(lossfs);
    fuse_reply_none(request);
}

static void leave_with_facts(struct lossfs *lossfs, fuse_req_t request, const struct node *node, int error)
{
    struct stat facts;
    error = error != 0 ? error : node_facts(node, &facts);
    lossfs_unlock(lossfs);
    if (error != 0) {
        (void)fuse_reply_err(request, error);
    } else {
        (void)fuse_reply_attr(request, &facts, 0);
    }
}

static void op_getattr(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *info)
{
    (void)info;
    struct lossfs *lossfs = enter(request);
    leave_with_facts(lossfs, request, node_of(lossfs, number), 0);
}

static int set_size(struct lossfs *lossfs, struct node *node, uint64_t bytes)
{
    int error = node_open(node);
    if (error != 0) {
        return error;
    }
    if (lossfs->faults.full && bytes > node->file.bytes) {
        lossfs->counters.failed++;
        return ENOSPC;
    }
    return volatile_file_truncate(&node->file, bytes);
}

static int set_times(const char *path, const struct stat *wanted, int what)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};
    if ((what & FUSE_SET_ATTR_ATIME) != 0) {
        times[0] = (what & FUSE_SET_ATTR_ATIME_NOW) != 0 ? (struct timespec){.tv_nsec = UTIME_NOW} : wanted->st_atim;
    }
    if ((what & FUSE_SET_ATTR_MTIME) != 0) {
        times[1] = (what & FUSE_SET_ATTR_MTIME_NOW) != 0 ? (struct timespec){.tv_nsec = UTIME_NOW} : wanted->st_mtim;
    }
    return error_of(utimensat(AT_FDCWD, path, times, 0));
}

static void op_setattr(fuse_req_t request, fuse_ino_t number, struct stat *wanted, int what,
                       struct fuse_file_info *info)
{
    (void)info;
    struct lossfs *lossfs = enter(request);
    struct node *node = node_of(lossfs, number);
    char path[PLACE_BYTES];
    int error = 0;
    node_place(node, path);
    if ((what & FUSE_SET_ATTR_SIZE) != 0) {
        error = set_size(lossfs, node, (uint64_t)wanted->st_size);
    }
    if (error == 0 && (what & FUSE_SET_ATTR_MODE) != 0) {
        error = error_of(chmod(path, wanted->st_mode));
    }
    if (error == 0 && (what & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) != 0) {
        uid_t user = (what & FUSE_SET_ATTR_UID) != 0 ? wanted->st_uid : (uid_t)-1;
        gid_t group = (what & FUSE_SET_ATTR_GID) != 0 ? wanted->st_gid : (gid_t)-1;
        error = error_of(chown(path, user, group));
    }
    if (error == 0 && (what & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME)) != 0) {
        error = set_times(path, wanted, what);
    }
    leave_with_facts(lossfs, request, node, error);
}

static void op_mkdir(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct lossfs *lossfs = enter(request);
    const struct node *directory = node_of(lossfs, parent);
    int error = lossfs->faults.full ? ENOSPC : error_of(mkdirat(directory->place, name, mode));
    leave_with_entry(lossfs, request, directory, name, error);
}

static void op_link(fuse_req_t request, fuse_ino_t number, fuse_ino_t parent, const char *name)
{
    struct lossfs *lossfs = enter(request);
    const struct node *directory = node_of(lossfs, parent);
    char path[PLACE_BYTES];
    node_place(node_of(lossfs, number), path);
    int error = error_of(linkat(AT_FDCWD, path, directory->place, name, AT_SYMLINK_FOLLOW));
    leave_with_entry(lossfs, request, directory, name, error);
}

static void op_unlink(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    struct lossfs *lossfs = enter(request);
    leave(lossfs, request, error_of(unlinkat(node_of(lossfs, parent)->place, name, 0)));
}

static void op_rmdir(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    struct lossfs *lossfs = enter(request);
    leave(lossfs, request, error_of(unlinkat(node_of(lossfs, parent)->place, name, AT_REMOVEDIR)));
}

static void op_rename(fuse_req_t request, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                      const char *new_name, unsigned flags)
{
    struct lossfs *lossfs = enter(request);
    int from = node_of(lossfs, parent)->place;
    int to = node_of(lossfs, new_parent)->place;
    leave(lossfs, request, error_of(renameat2(from, name, to, new_name, flags)));
}

static void op_statfs(fuse_req_t request, fuse_ino_t number)
{
    (void)number;
    struct lossfs *lossfs = enter(request);
    struct statvfs facts;
    int error = error_of(fstatvfs(lossfs->root->place, &facts));
    if (error == 0 && lossfs->faults.full) {
        facts.f_bfree = 0;
        facts.f_bavail = 0;
    }
    lossfs_unlock(lossfs);
    if (error != 0) {
        (void)fuse_reply_err(request, error);
    } else {
        (void)fuse_reply_statfs(request, &facts);
    }
}

/* ---- directories -------------------------------------------------------------------------------------------- */

static DIR *directory_of(const struct fuse_file_info *info)
{
    return (DIR *)(uintptr_t)info->fh;
}

static void op_opendir(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *info)
{
    struct lossfs *lossfs = enter(request);
    int descriptor = openat(node_of(lossfs, number)->place, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = descriptor < 0 ? NULL : fdopendir(descriptor);
    if (directory == NULL) {
        leave(lossfs, request, errno);
        return;
    }
    info->fh = (uint64_t)(uintptr_t)directory;
    lossfs_unlock(lossfs);
    (void)fuse_reply_open(request, info);
}

static void op_readdir(fuse_req_t request, fuse_ino_t number, size_t bytes, off_t offset, struct fuse_file_info *info)
{
    (void)number;
    struct lossfs *lossfs = enter(request);
    DIR *directory = directory_of(info);
    char *buffer = malloc(bytes);
    CHECK(buffer != NULL);
    size_t used = 0;
    seekdir(directory, offset);
    for (const struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        struct stat facts = {.st_ino = entry->d_ino, .st_mode = (mode_t)DTTOIF(entry->d_type)};
        size_t needed = fuse_add_direntry(request, buffer + used, bytes - used, entry->d_name, &facts, entry->d_off);
        if (needed > bytes - used) {
            break;
        }
        used += needed;
    }
    lossfs_unlock(lossfs);
    (void)fuse_reply_buf(request, buffer, used);
    free(buffer);
}

static void op_releasedir(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *info)
{
    (void)number;
    (void)closedir(directory_of(info));
    (void)fuse_reply_err(request, 0);
}

static void op_fsyncdir(fuse_req_t request, fuse_ino_t number, int data_only, struct fuse_file_info *info)
{
    (void)number;
    (void)data_only;
    (void)info;
    leave(enter(request), request, 0);
}

/* ---- files ---------------------------------------------------------------------------------------------------- */

static void op_create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *info)
{
    struct lossfs *lossfs = enter(request);
    const struct node *directory = node_of(lossfs, parent);
    struct fuse_entry_param entry;
    int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | (info->flags & O_EXCL);
    int descriptor = -1;
    int error = lossfs->faults.full ? ENOSPC : 0;
    if (error == 0) {
        descriptor = openat(directory->place, name, flags, mode);
        error = descriptor < 0 ? errno : entry_fill(lossfs, directory, name, &entry);
    }
    if (descriptor >= 0) {
        close(descriptor);
    }
    if (error == 0) {
        struct node *node = node_of(lossfs, entry.ino);
        error = node_open(node);
        if (error == 0 && (info->flags & O_TRUNC) != 0) {
            error = volatile_file_truncate(&node->file, 0);
        }
        if (error != 0) {
            node_forget(lossfs, node, 1);
        }
    }
    lossfs_unlock(lossfs);
    if (error != 0) {
        (void)fuse_reply_err(request, error);
        return;
    }
    info->direct_io = 1;
    (void)fuse_reply_create(request, &entry, info);
}

static void op_open(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *info)
{
    struct lossfs *lossfs = enter(request);
    struct node *node = node_of(lossfs, number);
    int error = node_open(node);
    if (error == 0 && (info->flags & O_TRUNC) != 0) {
        error = volatile_file_truncate(&node->file, 0);
    }
    if (error != 0) {
        leave(lossfs, request, error);
        return;
    }
    lossfs_unlock(lossfs);
    info->direct_io = 1;
    (void)fuse_reply_open(request, info);
}

static void op_release(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *info)
{
    (void)number;
    (void)info;
    (void)fuse_reply_err(request, 0);
}

static void op_read(fuse_req_t request, fuse_ino_t number, size_t bytes, off_t offset, struct fuse_file_info *info)
{
    (void)info;
    uint8_t *buffer = malloc(bytes);
    CHECK(buffer != NULL);
    size_t read_bytes = 0;
    struct lossfs *lossfs = enter(request);
    lossfs->counters.reads++;
    int error = strikes(lossfs, &lossfs->faults.fail_read)
                    ? EIO
                    : volatile_file_read(&node_of(lossfs, number)->file, buffer, bytes, (uint64_t)offset, &read_bytes);
    lossfs_unlock(lossfs);
    if (error != 0) {
        (void)fuse_reply_err(request, error);
    } else {
        (void)fuse_reply_buf(request, (char *)buffer, read_bytes);
    }
    free(buffer);
}

/* A flush of the whole file, or, with bytes > 0, of what a durable write put there. */
static int flush(struct lossfs *lossfs, struct volatile_file *file, size_t bytes, uint64_t offset)
{
    if (strikes(lossfs, &lossfs->faults.fail_flush)) {
        volatile_file_drop(file);
        return EIO;
    }
    if (lossfs->faults.lie) {
        lossfs->counters.lies++;
        return 0;
    }
    return bytes > 0 ? volatile_file_flush_range(file, bytes, offset) : volatile_file_flush(file);
}

static int write_file(struct lossfs *lossfs, struct volatile_file *file, const char *data, size_t bytes,
                      uint64_t offset, bool durable)
{
    lossfs->counters.writes++;
    if (strikes(lossfs, &lossfs->faults.fail_write)) {
        return EIO;
    }
    if (lossfs->faults.full && offset + bytes > file->bytes) {
        lossfs->counters.failed++;
        return ENOSPC;
    }
    int error = volatile_file_write(file, (const uint8_t *)data, bytes, offset);
    if (error == 0 && durable) {
        lossfs->counters.durable_writes++;
        error = flush(lossfs, file, bytes, offset);
    }
    if (error == 0 && file->dirty_pages > VOLATILE_PAGES_MAX && !lossfs->faults.lie) {
        error = volatile_file_flush(file);
    }
    return error;
}

/* The kernel passes the flags of this one write: RWF_DSYNC arrives as O_DSYNC. */
static void op_write(fuse_req_t request, fuse_ino_t number, const char *data, size_t bytes, off_t offset,
                     struct fuse_file_info *info)
{
    bool durable = (info->flags & DURABLE_FLAGS) != 0;
    struct lossfs *lossfs = enter(request);
    int error = write_file(lossfs, &node_of(lossfs, number)->file, data, bytes, (uint64_t)offset, durable);
    lossfs_unlock(lossfs);
    if (error != 0) {
        (void)fuse_reply_err(request, error);
    } else {
        (void)fuse_reply_write(request, bytes);
    }
}

static void op_fsync(fuse_req_t request, fuse_ino_t number, int data_only, struct fuse_file_info *info)
{
    (void)data_only; /* A size is needed to find the bytes, so fdatasync brings it too. */
    (void)info;
    struct lossfs *lossfs = enter(request);
    lossfs->counters.flushes++;
    leave(lossfs, request, flush(lossfs, &node_of(lossfs, number)->file, 0, 0));
}

static int allocate(struct lossfs *lossfs, struct volatile_file *file, int mode, uint64_t offset, uint64_t bytes)
{
    bool keeps_size = (mode & FALLOC_FL_KEEP_SIZE) != 0;
    uint64_t end = offset + bytes;
    if ((mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0) {
        return EOPNOTSUPP;
    }
    if ((mode & FALLOC_FL_PUNCH_HOLE) == 0) {
        if (lossfs->faults.full) {
            lossfs->counters.failed++;
            return ENOSPC;
        }
        /* The room is really taken, so that it runs out when it would. */
        if (fallocate(file->disk, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)bytes) != 0) {
            return errno;
        }
    }
    int error = 0;
    if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0) {
        error = volatile_file_zero(file, bytes, offset);
    }
    if (error == 0 && !keeps_size && end > file->bytes) {
        error = volatile_file_truncate(file, end);
    }
    return error;
}

static void op_fallocate(fuse_req_t request, fuse_ino_t number, int mode, off_t offset, off_t bytes,
                         struct fuse_file_info *info)
{
    (void)info;
    struct lossfs *lossfs = enter(request);
    struct volatile_file *file = &node_of(lossfs, number)->file;
    leave(lossfs, request, allocate(lossfs, file, mode, (uint64_t)offset, (uint64_t)bytes));
}

const struct fuse_lowlevel_ops lossfs_operations = {
    .init = op_init,
    .lookup = op_lookup,
    .forget = op_forget,
    .forget_multi = op_forget_multi,
    .getattr = op_getattr,
    .setattr = op_setattr,
    .mkdir = op_mkdir,
    .link = op_link,
    .unlink = op_unlink,
    .rmdir = op_rmdir,
    .rename = op_rename,
    .statfs = op_statfs,
    .opendir = op_opendir,
    .readdir = op_readdir,
    .releasedir = op_releasedir,
    .fsyncdir = op_fsyncdir,
    .create = op_create,
    .open = op_open,
    .release = op_release,
    .read = op_read,
    .write = op_write,
    .fsync = op_fsync,
    .fallocate = op_fallocate,
};
