/* medium_device.c - what sysfs and the mount table say about a medium, and why it may not be erased. */
#include "cluster/medium_device.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define LINE_BYTES_MAX (8 * 1024)
#define RELATED_MAX    128 /* devices below or above one */
#define DEPTH_MAX      16

const struct medium_system medium_system_here = {"/sys", "/proc"};

const char *medium_kind_name(enum medium_kind kind)
{
    switch (kind) {
    case MEDIUM_DISK:
        return "disk";
    case MEDIUM_PARTITION:
        return "partition";
    case MEDIUM_IMAGE:
        return "image";
    case MEDIUM_DIRECTORY:
        return "directory";
    }
    UNREACHABLE();
}

static uint64_t device_number(unsigned device_major, unsigned device_minor)
{
    return (uint64_t)device_major << 32 | device_minor;
}

static uint64_t device_of(dev_t device)
{
    return device_number(major(device), minor(device));
}

/* ---- sysfs ---------------------------------------------------------------------------------------- */

/* Keep what can be printed, without spaces at the ends: serial numbers come padded. */
static void text_set(char text[MEDIUM_TEXT_BYTES], const char *data, size_t bytes)
{
    while (bytes > 0 && (*data == ' ' || *data == '\n' || *data == '\0')) {
        data++;
        bytes--;
    }
    while (bytes > 0 && (data[bytes - 1] == ' ' || data[bytes - 1] == '\n' || data[bytes - 1] == '\0')) {
        bytes--;
    }
    size_t used = 0;
    for (size_t i = 0; i < bytes && used + 1 < MEDIUM_TEXT_BYTES; i++) {
        text[used++] = data[i] >= ' ' && data[i] <= '~' ? data[i] : '?';
    }
    text[used] = '\0';
}

/* Read a small file. Its length; 0: empty or not there. */
static size_t read_small(const char *directory, const char *name, char *data, size_t room)
{
    char path[MEDIUM_PATH_BYTES];
    if ((size_t)snprintf(path, sizeof(path), "%s/%s", directory, name) >= sizeof(path)) {
        return 0;
    }
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return 0;
    }
    ssize_t got = read(file, data, room);
    close(file);
    return got < 0 ? 0 : (size_t)got;
}

static bool read_text(const char *directory, const char *name, char text[MEDIUM_TEXT_BYTES])
{
    char data[256];
    text_set(text, data, read_small(directory, name, data, sizeof(data)));
    return text[0] != '\0';
}

static uint64_t read_number(const char *directory, const char *name, uint64_t otherwise)
{
    char text[MEDIUM_TEXT_BYTES];
    char *end = NULL;
    if (!read_text(directory, name, text)) {
        return otherwise;
    }
    uint64_t value = strtoull(text, &end, 10);
    return *end == '\0' ? value : otherwise;
}

static bool exists(const char *directory, const char *name)
{
    char path[MEDIUM_PATH_BYTES];
    return (size_t)snprintf(path, sizeof(path), "%s/%s", directory, name) < sizeof(path) && access(path, F_OK) == 0;
}

/* The directory of a device in sysfs, without symbolic links. */
static bool sysfs_directory(const struct medium_system *system, uint64_t device, char directory[PATH_MAX])
{
    char path[MEDIUM_PATH_BYTES];
    int length = snprintf(path, sizeof(path), "%s/dev/block/%" PRIu64 ":%" PRIu64, system->sys, device >> 32,
                          device & UINT32_MAX);
    return length > 0 && (size_t)length < sizeof(path) && realpath(path, directory) != NULL &&
           strlen(directory) < MEDIUM_PATH_BYTES - 64;
}

static bool sysfs_number(const char *directory, uint64_t *device)
{
    char text[MEDIUM_TEXT_BYTES];
    unsigned device_major;
    unsigned device_minor;
    if (!read_text(directory, "dev", text) || sscanf(text, "%u:%u", &device_major, &device_minor) != 2) {
        return false;
    }
    *device = device_number(device_major, device_minor);
    return true;
}

static const char *last_component(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* How the system reaches it, by the kernel's name of the disk. */
static void identify_interface(struct medium_identity *identity)
{
    static const struct {
        const char *prefix;
        const char *interface;
        bool is_virtual;
    } known[] = {{"nvme", "nvme", false}, {"sd", "scsi", false},    {"vd", "virtio", true},
                 {"xvd", "xen", true},    {"loop", "loop", true},   {"md", "md", true},
                 {"zram", "zram", true},  {"mmcblk", "mmc", false}, {"dm-", "device-mapper", true},
                 {"nbd", "nbd", true},    {"rbd", "rbd", true},     {"ram", "ram", true}};
    for (size_t i = 0; i < ARRAY_LENGTH(known); i++) {
        if (begins(identity->disk, known[i].prefix)) {
            text_set(identity->interface, known[i].interface, strlen(known[i].interface));
            identity->is_virtual = known[i].is_virtual;
            return;
        }
    }
    identity->is_virtual = true; /* Nothing is claimed of what is not known. */
}

/* Page 0x80 of SCSI's vital product data: four bytes, then the serial number. */
static void identify_scsi_serial(const char *device, char serial[MEDIUM_TEXT_BYTES])
{
    char page[256];
    size_t bytes = read_small(device, "vpd_pg80", page, sizeof(page));
    if (bytes > 4) {
        size_t length = (size_t)(uint8_t)page[2] << 8 | (uint8_t)page[3];
        text_set(serial, page + 4, length < bytes - 4 ? length : bytes - 4);
    }
}

/* How many namespaces the controller of an NVMe disk shows here: its own sanitize erases them all. */
static unsigned count_namespaces(const char *controller)
{
    DIR *directory = opendir(controller);
    if (directory == NULL) {
        return 0;
    }
    unsigned count = 0;
    for (const struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        unsigned number;
        unsigned path;
        unsigned name;
        char rest;
        /* nvme0n1, or nvme0c0n1 where there are several paths. */
        count += sscanf(entry->d_name, "nvme%un%u%c", &number, &name, &rest) == 2 ||
                 sscanf(entry->d_name, "nvme%uc%un%u%c", &number, &path, &name, &rest) == 3;
    }
    closedir(directory);
    return count;
}

static void identify_disk(const char *disk, struct medium_identity *identity)
{
    char device[PATH_MAX + 8];
    identify_interface(identity);
    uint64_t rotational = read_number(disk, "queue/rotational", 2);
    identity->rotational_known = rotational < 2 && !identity->is_virtual;
    identity->rotational = rotational == 1;
    identity->can_discard = read_number(disk, "queue/discard_max_bytes", 0) > 0;
    if (!read_text(disk, "wwid", identity->wwn)) {
        read_text(disk, "device/wwid", identity->wwn);
    }
    snprintf(device, sizeof(device), "%s/device", disk);
    read_text(device, "vendor", identity->vendor);
    read_text(device, "model", identity->model);
    if (!read_text(device, "firmware_rev", identity->firmware)) {
        read_text(device, "rev", identity->firmware);
    }
    if (!read_text(device, "serial", identity->serial) && !read_text(disk, "serial", identity->serial)) {
        identify_scsi_serial(device, identity->serial);
    }
    if (strcmp(identity->vendor, "ATA") == 0) {
        memcpy(identity->interface, "sata", sizeof("sata"));
        identity->vendor[0] = '\0'; /* It is the kernel's word for the transport, not who made it. */
    }
    if (strcmp(identity->interface, "nvme") == 0) {
        identity->namespaces = count_namespaces(device);
        identity->vendor[0] = '\0';
    } else if (identity->is_virtual && begins(identity->vendor, "0x")) {
        identity->vendor[0] = '\0'; /* A bus number. */
    }
}

static enum status identify_block(const struct medium_system *system, dev_t device, struct medium_identity *identity,
                                  char *message)
{
    char directory[PATH_MAX];
    identity->device = device_of(device);
    if (!sysfs_directory(system, identity->device, directory)) {
        snprintf(message, MEDIUM_MESSAGE_BYTES, "%.300s: the system says nothing about this device in %.100s",
                 identity->path, system->sys);
        return STATUS_IO;
    }
    identity->kind = exists(directory, "partition") ? MEDIUM_PARTITION : MEDIUM_DISK;
    text_set(identity->name, last_component(directory), strlen(last_component(directory)));
    identity->bytes = read_number(directory, "size", 0) * 512;
    if (identity->kind == MEDIUM_PARTITION) {
        *strrchr(directory, '/') = '\0';
    }
    text_set(identity->disk, last_component(directory), strlen(last_component(directory)));
    identify_disk(directory, identity);
    return STATUS_OK;
}

enum status medium_identify(const struct medium_system *system, const char *path, struct medium_identity *identity,
                            char *message)
{
    char resolved[PATH_MAX];
    struct stat about;
    *identity = (struct medium_identity){.kind = MEDIUM_IMAGE};
    if (realpath(path, resolved) == NULL || stat(resolved, &about) != 0) {
        snprintf(message, MEDIUM_MESSAGE_BYTES, "%.300s: %s", path, strerror(errno));
        return errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO;
    }
    if (strlen(resolved) >= MEDIUM_PATH_BYTES - 64) {
        snprintf(message, MEDIUM_MESSAGE_BYTES, "the path is longer than %d bytes", MEDIUM_PATH_BYTES - 64);
        return STATUS_UNSUPPORTED;
    }
    memcpy(identity->path, resolved, strlen(resolved) + 1);
    if (S_ISBLK(about.st_mode)) {
        return identify_block(system, about.st_rdev, identity, message);
    }
    if (!S_ISREG(about.st_mode)) {
        snprintf(message, MEDIUM_MESSAGE_BYTES, "%.300s is neither a block device nor the image of one in a file",
                 path);
        return STATUS_UNSUPPORTED;
    }
    text_set(identity->name, last_component(resolved), strlen(last_component(resolved)));
    memcpy(identity->disk, identity->name, sizeof(identity->disk));
    memcpy(identity->interface, "file", sizeof("file"));
    identity->is_virtual = true;
    identity->bytes = (uint64_t)about.st_size;
    identity->device = device_of(about.st_dev);
    identity->inode = about.st_ino;
    return STATUS_OK;
}

bool medium_is_named(const struct medium_identity *identity, const char *repeated)
{
    return repeated[0] != '\0' && (strcmp(repeated, identity->name) == 0 ||
                                   (identity->kind != MEDIUM_PARTITION && strcmp(repeated, identity->serial) == 0));
}

const char *medium_name_to_repeat(const struct medium_identity *identity)
{
    return identity->serial[0] == '\0' || identity->kind == MEDIUM_PARTITION ? identity->name : identity->serial;
}

static bool texts_agree(const char *a, const char *b)
{
    return a[0] == '\0' || b[0] == '\0' || strcmp(a, b) == 0;
}

bool medium_same(const struct medium_identity *a, const struct medium_identity *b)
{
    if (a->kind != b->kind || (a->kind != MEDIUM_DIRECTORY && a->bytes != b->bytes) ||
        !texts_agree(a->serial, b->serial) || !texts_agree(a->wwn, b->wwn) || !texts_agree(a->model, b->model)) {
        return false;
    }
    if (a->kind == MEDIUM_IMAGE || a->kind == MEDIUM_DIRECTORY) {
        return a->device == b->device && a->inode == b->inode;
    }
    if (a->kind == MEDIUM_PARTITION && strcmp(a->name, b->name) != 0) {
        return false; /* The serial number and the WWN are those of the disk, which its other partitions have too. */
    }
    /* Names change from boot to boot: they count only when there is nothing better. */
    bool recognised = (a->serial[0] != '\0' && b->serial[0] != '\0') || (a->wwn[0] != '\0' && b->wwn[0] != '\0');
    return recognised || strcmp(a->name, b->name) == 0;
}

/* ---- who uses it ---------------------------------------------------------------------------------- */

/* Device numbers, each once. */
struct device_set {
    uint64_t devices[RELATED_MAX];
    unsigned count;
    bool overflowed;
};

static bool set_has(const struct device_set *set, uint64_t device)
{
    for (unsigned i = 0; i < set->count; i++) {
        if (set->devices[i] == device) {
            return true;
        }
    }
    return false;
}

static void set_add(struct device_set *set, uint64_t device)
{
    if (set_has(set, device)) {
        return;
    }
    if (set->count == RELATED_MAX) {
        set->overflowed = true;
        return;
    }
    set->devices[set->count++] = device;
}

/* Call `each` with every entry of directory/name; those that begin with a dot left out. False: can't be listed. */
static bool each_entry(const char *directory, const char *name, void (*each)(void *user, const char *path), void *user)
{
    char path[PATH_MAX];
    if ((size_t)snprintf(path, sizeof(path), "%s/%s", directory, name) >= MEDIUM_PATH_BYTES - 64) {
        return false;
    }
    DIR *list = opendir(path);
    if (list == NULL) {
        return false;
    }
    for (const struct dirent *entry = readdir(list); entry != NULL; entry = readdir(list)) {
        char found[PATH_MAX];
        if (entry->d_name[0] != '.' &&
            (size_t)snprintf(found, sizeof(found), "%s/%s", path, entry->d_name) < sizeof(found)) {
            each(user, found);
        }
    }
    closedir(list);
    return true;
}

static void add_device(void *user, const char *path)
{
    uint64_t device;
    if (sysfs_number(path, &device)) {
        set_add(user, device);
    }
}

static void add_partition(void *user, const char *path)
{
    if (exists(path, "partition")) {
        add_device(user, path);
    }
}

/* The device itself, and its partitions. */
static bool devices_of(const struct medium_system *system, const struct medium_identity *identity,
                       struct device_set *set)
{
    char directory[PATH_MAX];
    *set = (struct device_set){.count = 0};
    set_add(set, identity->device);
    return sysfs_directory(system, identity->device, directory) && each_entry(directory, ".", add_partition, set) &&
           !set->overflowed;
}

struct holder {
    char name[MEDIUM_TEXT_BYTES];
};

static void take_holder(void *user, const char *path)
{
    struct holder *holder = user;
    text_set(holder->name, last_component(path), strlen(last_component(path)));
}

static enum status check_holders(const struct medium_system *system, const struct device_set *set, char *message)
{
    for (unsigned i = 0; i < set->count; i++) {
        char directory[PATH_MAX];
        struct holder holder = {{0}};
        if (!sysfs_directory(system, set->devices[i], directory) ||
            !each_entry(directory, "holders", take_holder, &holder)) {
            snprintf(message, MEDIUM_MESSAGE_BYTES, "who holds the device can't be read from %.100s", system->sys);
            return STATUS_IO;
        }
        if (holder.name[0] != '\0') {
            snprintf(message, MEDIUM_MESSAGE_BYTES,
                     "%.100s is used by %.100s (md, device-mapper or LVM); take it apart there first",
                     last_component(directory), holder.name);
            return STATUS_BUSY;
        }
    }
    return STATUS_OK;
}

/* Add what a device lies on: slaves of md and dm, and theirs. */
static void add_below(const struct medium_system *system, uint64_t device, struct device_set *set)
{
    unsigned at = set->count;
    set_add(set, device);
    for (; at < set->count; at++) {
        char directory[PATH_MAX];
        if (sysfs_directory(system, set->devices[at], directory)) {
            each_entry(directory, "slaves", add_device, set);
        }
    }
}

/* Take one line of a mount table apart: 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root
 * rw,errors=continue */
struct mount_line {
    uint64_t device;
    char *point;
    char *source;
};

static bool mount_line_parse(char *line, struct mount_line *mount)
{
    char *save = NULL;
    char *fields[5];
    unsigned device_major;
    unsigned device_minor;
    for (size_t i = 0; i < ARRAY_LENGTH(fields); i++) {
        fields[i] = strtok_r(i == 0 ? line : NULL, " \n", &save);
        if (fields[i] == NULL) {
            return false;
        }
    }
    char *field = fields[0];
    while (field != NULL && strcmp(field, "-") != 0) {
        field = strtok_r(NULL, " \n", &save);
    }
    if (field == NULL || strtok_r(NULL, " \n", &save) == NULL) {
        return false;
    }
    mount->point = fields[4];
    mount->source = strtok_r(NULL, " \n", &save);
    if (mount->source == NULL || sscanf(fields[2], "%u:%u", &device_major, &device_minor) != 2) {
        return false;
    }
    mount->device = device_number(device_major, device_minor);
    return true;
}

/* Some file systems show a device number of their own: then the source says where they are. */
static void add_source(const char *source, struct device_set *set)
{
    struct stat about;
    if (source[0] == '/' && stat(source, &about) == 0 && S_ISBLK(about.st_mode)) {
        set_add(set, device_of(about.st_rdev));
    }
}

static enum status check_mounts(const struct medium_system *system, const struct device_set *set, char *message)
{
    char path[MEDIUM_PATH_BYTES];
    snprintf(path, sizeof(path), "%s/self/mountinfo", system->proc);
    FILE *table = fopen(path, "re");
    if (table == NULL) {
        snprintf(message, MEDIUM_MESSAGE_BYTES, "the mount table can't be read: %s", strerror(errno));
        return STATUS_IO;
    }
    char line[LINE_BYTES_MAX];
    enum status status = STATUS_OK;
    while (status == STATUS_OK && fgets(line, sizeof(line), table) != NULL) {
        struct mount_line mount;
        struct device_set below = {.count = 0};
        if (!mount_line_parse(line, &mount)) {
            snprintf(message, MEDIUM_MESSAGE_BYTES, "the mount table has a line that is not understood");
            status = STATUS_IO;
            break;
        }
        add_below(system, mount.device, &below);
        add_source(mount.source, &below);
        for (unsigned i = 0; i < below.count && status == STATUS_OK; i++) {
            if (set_has(set, below.devices[i])) {
                bool is_system = strcmp(mount.point, "/") == 0;
                snprintf(message, MEDIUM_MESSAGE_BYTES,
                         is_system ? "this machine runs from it (its file system is %.200s)"
                                   : "it is mounted at %.200s; unmount it first",
                         mount.point);
                status = STATUS_BUSY;
            }
        }
    }
    fclose(table);
    return status;
}

/* The first column of the list of swap areas is a path. */
static enum status check_swap(const struct medium_system *system, const struct medium_identity *identity,
                              const struct device_set *set, char *message)
{
    char path[MEDIUM_PATH_BYTES];
    snprintf(path, sizeof(path), "%s/swaps", system->proc);
    FILE *list = fopen(path, "re");
    if (list == NULL) {
        return STATUS_OK; /* A kernel without swap. */
    }
    char line[LINE_BYTES_MAX];
    enum status status = STATUS_OK;
    while (status == STATUS_OK && fgets(line, sizeof(line), list) != NULL) {
        struct stat about;
        char *end = line + strcspn(line, " \t\n");
        *end = '\0';
        if (line[0] != '/' || stat(line, &about) != 0) {
            continue;
        }
        bool same_block = S_ISBLK(about.st_mode) && set_has(set, device_of(about.st_rdev));
        bool same_file = S_ISREG(about.st_mode) && identity->kind == MEDIUM_IMAGE &&
                         device_of(about.st_dev) == identity->device && about.st_ino == identity->inode;
        if (same_block || same_file) {
            snprintf(message, MEDIUM_MESSAGE_BYTES, "it is swap space (%.200s); swapoff first", line);
            status = STATUS_BUSY;
        }
    }
    fclose(list);
    return status;
}

struct backing {
    const struct medium_identity *identity;
    char loop[MEDIUM_TEXT_BYTES]; /* that has the file; empty: none */
};

static void check_loop(void *user, const char *path)
{
    struct backing *backing = user;
    char file[MEDIUM_PATH_BYTES];
    size_t bytes = read_small(path, "loop/backing_file", file, sizeof(file) - 1);
    while (bytes > 0 && file[bytes - 1] == '\n') {
        bytes--;
    }
    file[bytes] = '\0';
    struct stat about;
    if (bytes > 0 && stat(file, &about) == 0 && device_of(about.st_dev) == backing->identity->device &&
        about.st_ino == backing->identity->inode) {
        text_set(backing->loop, last_component(path), strlen(last_component(path)));
    }
}

static enum status check_image(const struct medium_system *system, const struct medium_identity *identity,
                               char *message)
{
    struct backing backing = {.identity = identity};
    each_entry(system->sys, "block", check_loop, &backing);
    if (backing.loop[0] != '\0') {
        snprintf(message, MEDIUM_MESSAGE_BYTES, "the file is behind %s; detach it first (losetup -d)", backing.loop);
        return STATUS_BUSY;
    }
    struct device_set none = {.count = 0};
    return check_swap(system, identity, &none, message);
}

enum status medium_check_free(const struct medium_system *system, const struct medium_identity *identity, char *message)
{
    if (identity->bytes < BLOCK_BYTES) {
        snprintf(message, MEDIUM_MESSAGE_BYTES, "it has only %" PRIu64 " bytes", identity->bytes);
        return STATUS_BUSY;
    }
    if (identity->kind == MEDIUM_IMAGE) {
        return check_image(system, identity, message);
    }
    struct device_set set;
    if (!devices_of(system, identity, &set)) {
        snprintf(message, MEDIUM_MESSAGE_BYTES, "its partitions can't be read from %.100s", system->sys);
        return STATUS_IO;
    }
    char directory[PATH_MAX];
    if (sysfs_directory(system, identity->device, directory) && read_number(directory, "ro", 0) != 0) {
        snprintf(message, MEDIUM_MESSAGE_BYTES, "it is set read-only");
        return STATUS_BUSY;
    }
    /* Mounts first: where the system lies below md or dm, that is the better answer. */
    enum status status = check_mounts(system, &set, message);
    if (status == STATUS_OK) {
        status = check_swap(system, identity, &set, message);
    }
    return status == STATUS_OK ? check_holders(system, &set, message) : status;
}
