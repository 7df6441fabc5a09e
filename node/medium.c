/* medium.c - mountinfo and sysfs, read with bounds. */
#include "node/medium.h"

#include "base/check.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define FILE_BYTES_MAX 256
#define LINE_BYTES     4096
#define LAYERS_MAX     8u
#define PATH_BYTES     PATH_MAX
#define SECTOR_BYTES   512u
#define VPD_HEAD_BYTES 4
#define MOUNT_FIELDS   6u /* before the optional ones */

/* ---- small files ----------------------------------------------------------------------------------- */

/* Keep printable ASCII, without white space at both ends. */
static void text_take(char *target, size_t target_bytes, const char *source, size_t source_bytes)
{
    size_t used = 0;
    for (size_t i = 0; i < source_bytes && source[i] != '\0' && used + 1 < target_bytes; i++) {
        if (source[i] >= ' ' && source[i] <= '~' && (source[i] != ' ' || used > 0)) {
            target[used++] = source[i];
        }
    }
    while (used > 0 && target[used - 1] == ' ') {
        used--;
    }
    target[used] = '\0';
}

/* Up to FILE_BYTES_MAX bytes of the file `name` in `directory`; 0: there is none. */
static size_t file_read(const char *directory, const char *name, char bytes[FILE_BYTES_MAX])
{
    char path[PATH_BYTES];
    if ((size_t)snprintf(path, sizeof(path), "%s/%s", directory, name) >= sizeof(path)) {
        return 0;
    }
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) {
        return 0;
    }
    ssize_t got = read(file, bytes, FILE_BYTES_MAX);
    close(file);
    return got < 0 ? 0 : (size_t)got;
}

static void attribute_text(const char *directory, const char *name, char text[MEDIUM_TEXT_BYTES])
{
    char bytes[FILE_BYTES_MAX];
    if (text[0] == '\0') {
        text_take(text, MEDIUM_TEXT_BYTES, bytes, file_read(directory, name, bytes));
    }
}

static uint64_t attribute_number(const char *directory, const char *name)
{
    char text[MEDIUM_TEXT_BYTES] = "";
    attribute_text(directory, name, text);
    return text[0] >= '0' && text[0] <= '9' ? strtoull(text, NULL, 10) : 0;
}

/* ---- the mount ------------------------------------------------------------------------------------- */

/* mountinfo writes blanks and backslashes as \ooo. In place. */
static void unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; from++) {
        bool is_escape = from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' && from[2] <= '7' &&
                         from[3] >= '0' && from[3] <= '7';
        if (is_escape) {
            *to++ = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 3;
        } else {
            *to++ = *from;
        }
    }
    *to = '\0';
}

static bool lies_in(const char *directory, const char *mount_point)
{
    size_t bytes = strlen(mount_point);
    return strncmp(directory, mount_point, bytes) == 0 &&
           (directory[bytes] == '\0' || directory[bytes] == '/' || (bytes > 0 && mount_point[bytes - 1] == '/'));
}

/* One line: "id parent major:minor root mount-point options [more ...] - type source options". Takes it over when it is
 * of that device and its mount point is the deepest so far that the directory lies in. */
static void mount_line(char *line, const char *device, const char *directory, size_t *depth, struct medium *medium)
{
    char *fields[MOUNT_FIELDS];
    char *rest = NULL;
    char *behind = strstr(line, " - ");
    if (behind == NULL) {
        return;
    }
    *behind = '\0';
    for (unsigned i = 0; i < MOUNT_FIELDS; i++) {
        fields[i] = strtok_r(i == 0 ? line : NULL, " \n", &rest);
        if (fields[i] == NULL) {
            return;
        }
    }
    const char *type = strtok_r(behind + 3, " \n", &rest);
    const char *source = strtok_r(NULL, " \n", &rest);
    const char *options = strtok_r(NULL, " \n", &rest);
    unescape(fields[4]);
    if (type == NULL || source == NULL || strcmp(fields[2], device) != 0 || !lies_in(directory, fields[4]) ||
        strlen(fields[4]) < *depth) {
        return;
    }
    char both[LINE_BYTES];
    snprintf(both, sizeof(both), "%.1024s%s%.1024s", fields[5], options != NULL ? "," : "",
             options != NULL ? options : "");
    *depth = strlen(fields[4]);
    text_take(medium->file_system, sizeof(medium->file_system), type, strlen(type));
    text_take(medium->mount_options, sizeof(medium->mount_options), both, strlen(both));
}

static void mount_find(const char *root, const char *directory, const char *device, struct medium *medium)
{
    char path[PATH_BYTES];
    char line[LINE_BYTES];
    size_t depth = 0;
    if ((size_t)snprintf(path, sizeof(path), "%s/proc/self/mountinfo", root) >= sizeof(path)) {
        return;
    }
    FILE *mounts = fopen(path, "re");
    if (mounts == NULL) {
        return;
    }
    while (fgets(line, sizeof(line), mounts) != NULL) {
        mount_line(line, device, directory, &depth, medium);
    }
    fclose(mounts);
}

/* ---- the block device ------------------------------------------------------------------------------ */

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static bool begins_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* `path` and `name` in it, without links, into `resolved`. */
static bool path_resolve(const char *path, const char *name, char resolved[PATH_BYTES])
{
    char joined[PATH_BYTES];
    return (size_t)snprintf(joined, sizeof(joined), "%s/%s", path, name) < sizeof(joined) &&
           realpath(joined, resolved) != NULL;
}

/* The one device below, if it is one. */
static bool only_slave(const char *device, char below[PATH_BYTES])
{
    char path[PATH_BYTES];
    char name[NAME_MAX + 1] = "";
    unsigned count = 0;
    DIR *slaves = path_resolve(device, "slaves", path) ? opendir(path) : NULL;
    if (slaves == NULL) {
        return false;
    }
    for (const struct dirent *entry; (entry = readdir(slaves)) != NULL && count <= 1;) {
        if (entry->d_name[0] != '.') {
            snprintf(name, sizeof(name), "%s", entry->d_name);
            count++;
        }
    }
    closedir(slaves);
    return count == 1 && path_resolve(path, name, below);
}

/* From a partition or a mapped device down to what it lies on. */
static void descend(char device[PATH_BYTES], struct medium *medium)
{
    char below[PATH_BYTES];
    char bytes[FILE_BYTES_MAX];
    char uuid[MEDIUM_TEXT_BYTES];
    for (unsigned layer = 0; layer < LAYERS_MAX; layer++) {
        bool is_partition = file_read(device, "partition", bytes) > 0;
        if (begins_with(last_part(device), "dm-")) {
            uuid[0] = '\0';
            attribute_text(device, "dm/uuid", uuid);
            medium->shares_extents = medium->shares_extents || !begins_with(uuid, "CRYPT-");
        }
        if (is_partition ? !path_resolve(device, "..", below) : !only_slave(device, below)) {
            return;
        }
        memcpy(device, below, strlen(below) + 1);
    }
}

static const char *interface_of(const char *device)
{
    const char *name = last_part(device);
    static const struct {
        const char *prefix;
        const char *interface;
    } by_name[] = {{"nvme", "nvme"}, {"vd", "virtio"}, {"loop", "loop"}, {"dm-", "dm"}, {"md", "md"}};
    for (size_t i = 0; i < ARRAY_LENGTH(by_name); i++) {
        if (begins_with(name, by_name[i].prefix)) {
            return by_name[i].interface;
        }
    }
    if (!begins_with(name, "sd")) {
        return "";
    }
    if (strstr(device, "/usb") != NULL) {
        return "usb";
    }
    if (strstr(device, "/virtio") != NULL) {
        return "virtio";
    }
    return strstr(device, "/ata") != NULL ? "sata" : strstr(device, "/end_device-") != NULL ? "sas" : "scsi";
}

static bool interface_is_physical(const char *interface)
{
    return strcmp(interface, "nvme") == 0 || strcmp(interface, "sata") == 0 || strcmp(interface, "sas") == 0 ||
           strcmp(interface, "scsi") == 0 || strcmp(interface, "usb") == 0;
}

static void device_read(const char *device, struct medium *medium)
{
    char bytes[FILE_BYTES_MAX];
    const char *interface = interface_of(device);
    text_take(medium->device, sizeof(medium->device), last_part(device), strlen(last_part(device)));
    text_take(medium->interface, sizeof(medium->interface), interface, strlen(interface));
    medium->capacity_bytes = attribute_number(device, "size") * SECTOR_BYTES;
    medium->rotational = interface_is_physical(interface) && attribute_number(device, "queue/rotational") == 1;
    medium->discard = attribute_number(device, "queue/discard_max_bytes") > 0;
    attribute_text(device, "device/vendor", medium->vendor);
    if (begins_with(medium->vendor, "0x")) {
        medium->vendor[0] = '\0'; /* the number of a bus, not a name */
    }
    attribute_text(device, "device/model", medium->model);
    attribute_text(device, "serial", medium->serial);
    attribute_text(device, "device/serial", medium->serial);
    size_t vpd = file_read(device, "device/vpd_pg80", bytes);
    if (medium->serial[0] == '\0' && vpd > VPD_HEAD_BYTES) {
        text_take(medium->serial, sizeof(medium->serial), bytes + VPD_HEAD_BYTES, vpd - VPD_HEAD_BYTES);
    }
    attribute_text(device, "wwid", medium->wwn);
    attribute_text(device, "device/wwid", medium->wwn);
    attribute_text(device, "device/firmware_rev", medium->firmware);
    attribute_text(device, "device/rev", medium->firmware);
    medium->shares_extents = medium->shares_extents || strcmp(interface, "loop") == 0;
}

/* ---- all of it ------------------------------------------------------------------------------------- */

static bool file_system_shares_extents(const char *name)
{
    static const char *const names[] = {"xfs", "btrfs", "zfs", "bcachefs", "ocfs2", "overlay"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

void medium_of_device(const char *root, const char *directory, unsigned major_number, unsigned minor_number,
                      struct medium *medium)
{
    char numbers[32];
    char path[PATH_BYTES];
    char device[PATH_BYTES];
    memset(medium, 0, sizeof(*medium));
    snprintf(numbers, sizeof(numbers), "%u:%u", major_number, minor_number);
    mount_find(root, directory, numbers, medium);
    medium->shares_extents = file_system_shares_extents(medium->file_system);
    if ((size_t)snprintf(path, sizeof(path), "%s/sys/dev/block", root) < sizeof(path) &&
        path_resolve(path, numbers, device)) {
        descend(device, medium);
        device_read(device, medium);
    }
}

void medium_of_directory(const char *directory, struct medium *medium)
{
    struct stat where;
    char path[PATH_BYTES];
    memset(medium, 0, sizeof(*medium));
    if (stat(directory, &where) == 0 && realpath(directory, path) != NULL) {
        medium_of_device("", path, major(where.st_dev), minor(where.st_dev), medium);
    }
}

static char *wire_text(const char *text)
{
    return (char *)(uintptr_t)text;
}

void medium_fill(const struct medium *medium, Trilith__Medium *wire)
{
    trilith__medium__init(wire);
    wire->vendor = wire_text(medium->vendor);
    wire->model = wire_text(medium->model);
    wire->serial = wire_text(medium->serial);
    wire->wwn = wire_text(medium->wwn);
    wire->firmware = wire_text(medium->firmware);
    wire->interface = wire_text(medium->interface);
    wire->device = wire_text(medium->device);
    wire->file_system = wire_text(medium->file_system);
    wire->mount_options = wire_text(medium->mount_options);
    wire->capacity = medium->capacity_bytes;
    wire->rotational = medium->rotational;
    wire->discard = medium->discard;
    wire->shares_extents = medium->shares_extents;
}
