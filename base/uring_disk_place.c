/* uring_disk_place.c - is this directory a place where overwriting a file overwrites its bytes?
 *
 * An erase is an overwrite in place, read back. On a file system that writes changed blocks somewhere else, or that
 * copies data into a journal first, that would pass its own check and leave the old bytes on the medium. Such places
 * are refused when the disk is opened, with the reason. The magic numbers are those of statfs(2). */
#include "base/uring_private.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#define MAGIC_TMPFS 0x01021994u
#define MAGIC_EXT4  0x0000ef53u /* and ext2, ext3 */

struct refused_place {
    uint32_t magic;
    const char *name;
    const char *reason;
};

static const struct refused_place refused_places[] = {
    {0x9123683eu, "btrfs", "it writes changed blocks to new places"},
    {0x2fc12fc1u, "zfs", "it writes changed blocks to new places"},
    {0xca451a4eu, "bcachefs", "it writes changed blocks to new places"},
    {0xf2f52010u, "f2fs", "it is log-structured and writes changed blocks to new places"},
    {0x00003434u, "nilfs2", "it is log-structured and keeps old versions"},
    {0x00006969u, "nfs", "what the server does with an overwrite can't be known"},
    {0xff534d42u, "cifs", "what the server does with an overwrite can't be known"},
    {0xfe534d42u, "smb2", "what the server does with an overwrite can't be known"},
    {0x794c7630u, "overlayfs", "the first write copies the file and leaves the old one below"},
};

/* Whether the mount options of the device of `directory_descriptor` contain `option`, by /proc/self/mountinfo. */
static bool mount_has_option(int directory_descriptor, const char *option)
{
    struct stat where;
    char line[4096];
    bool found = false;
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    if (mounts == NULL) {
        return false;
    }
    if (fstat(directory_descriptor, &where) == 0) {
        char device[32];
        snprintf(device, sizeof(device), " %u:%u ", major(where.st_dev), minor(where.st_dev));
        while (!found && fgets(line, sizeof(line), mounts) != NULL) {
            const char *options = strstr(line, " - "); /* The file system's own options stand behind this. */
            found = strstr(line, device) != NULL && options != NULL && strstr(options, option) != NULL;
        }
    }
    fclose(mounts);
    return found;
}

static bool directory_journals_data(int directory_descriptor)
{
    int flags = 0;
    return ioctl(directory_descriptor, FS_IOC_GETFLAGS, &flags) == 0 && (flags & FS_JOURNAL_DATA_FL) != 0;
}

enum status uring_disk_place_check(int directory_descriptor, const char *directory, bool allow_volatile, char *message,
                                   size_t message_bytes)
{
    struct statfs place;
    if (fstatfs(directory_descriptor, &place) != 0) {
        snprintf(message, message_bytes, "%s: the file system can't be read: %s", directory, strerror(errno));
        return STATUS_IO;
    }
    uint32_t magic = (uint32_t)place.f_type;
    for (size_t i = 0; i < ARRAY_LENGTH(refused_places); i++) {
        if (magic == refused_places[i].magic) {
            snprintf(message, message_bytes,
                     "%s is on %s: %s, so an erase there would not erase; use a directory on ext4 or xfs", directory,
                     refused_places[i].name, refused_places[i].reason);
            return STATUS_UNSUPPORTED;
        }
    }
    if (magic == MAGIC_TMPFS && !allow_volatile) {
        snprintf(message, message_bytes,
                 "%s is on tmpfs: what is stored there is lost at the next reboot; use a directory on ext4 or xfs",
                 directory);
        return STATUS_UNSUPPORTED;
    }
    if (magic == MAGIC_EXT4 &&
        (mount_has_option(directory_descriptor, "data=journal") || directory_journals_data(directory_descriptor))) {
        snprintf(message, message_bytes,
                 "%s is on ext4 that journals data: copies of old bytes stay in its journal, so an erase there would "
                 "not erase; mount it with data=ordered",
                 directory);
        return STATUS_UNSUPPORTED;
    }
    return STATUS_OK;
}
