/* test_medium.c - what a directory lies on, read from small trees that look like sysfs and mountinfo. */
#include "node/medium.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 512

static char root[] = "/tmp/trilith-medium-XXXXXX";

static int remove_one(const char *path, const struct stat *what, int type, struct FTW *walk)
{
    (void)what;
    (void)type;
    (void)walk;
    return remove(path);
}

/* Make the directories above `path` below the root, and return the whole path. */
static const char *place(const char *path)
{
    static char whole[PATH_BYTES];
    cr_assert_lt((size_t)snprintf(whole, sizeof(whole), "%s/%s", root, path), sizeof(whole));
    for (char *slash = strchr(whole + strlen(root) + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(whole, 0700);
        *slash = '/';
    }
    return whole;
}

static void file_make(const char *path, const char *text, size_t bytes)
{
    FILE *file = fopen(place(path), "w");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(text, 1, bytes, file), bytes);
    fclose(file);
}

static void file_text(const char *path, const char *text)
{
    file_make(path, text, strlen(text));
}

static void link_make(const char *path, const char *target)
{
    cr_assert_eq(symlink(target, place(path)), 0);
}

static void setup(void)
{
    cr_assert_not_null(mkdtemp(root));
    file_text("proc/self/mountinfo", "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
                                     "27 1 8:1 / / rw,noatime shared:1 - ext4 /dev/sda1 rw,discard\n"
                                     "28 1 8:1 /deep /a\\040b rw - ext4 /dev/sda1 ro,second\n"
                                     "29 1 259:2 / /data rw - xfs /dev/nvme0n1p2 rw\n"
                                     "30 1 254:0 / /v rw - ext4 /dev/vda rw\n"
                                     "31 1 252:0 / /lvm rw - ext4 /dev/dm-0 rw\n"
                                     "bad line - \n8:1\n");
    file_text("sys/devices/pci0/ata1/host0/target0/block/sda/queue/rotational", "1\n");
    file_text("sys/devices/pci0/ata1/host0/target0/block/sda/queue/discard_max_bytes", "0\n");
    file_text("sys/devices/pci0/ata1/host0/target0/block/sda/size", "2000\n");
    file_text("sys/devices/pci0/ata1/host0/target0/block/sda/device/vendor", "ATA     \n");
    file_text("sys/devices/pci0/ata1/host0/target0/block/sda/device/model", "  WDC WD40\x01 \n");
    file_make("sys/devices/pci0/ata1/host0/target0/block/sda/device/vpd_pg80", "\0\x80\0\x08  WD-1234", 13);
    file_text("sys/devices/pci0/ata1/host0/target0/block/sda/device/wwid", "naa.50014ee2\n");
    file_text("sys/devices/pci0/ata1/host0/target0/block/sda/device/rev", "0A82\n");
    file_text("sys/devices/pci0/ata1/host0/target0/block/sda/sda1/partition", "1\n");
    link_make("sys/dev/block/8:1", "../../devices/pci0/ata1/host0/target0/block/sda/sda1");
    file_text("sys/devices/pci0/nvme/nvme0/nvme0n1/queue/rotational", "0\n");
    file_text("sys/devices/pci0/nvme/nvme0/nvme0n1/queue/discard_max_bytes", "2199023255040\n");
    file_text("sys/devices/pci0/nvme/nvme0/nvme0n1/size", "1000215216\n");
    file_text("sys/devices/pci0/nvme/nvme0/nvme0n1/wwid", "eui.0025\n");
    file_text("sys/devices/pci0/nvme/nvme0/nvme0n1/device/serial", "S4EV\n");
    file_text("sys/devices/pci0/nvme/nvme0/nvme0n1/device/firmware_rev", "2B2Q\n");
    file_text("sys/devices/pci0/nvme/nvme0/nvme0n1/nvme0n1p2/partition", "2\n");
    link_make("sys/dev/block/259:2", "../../devices/pci0/nvme/nvme0/nvme0n1/nvme0n1p2");
    file_text("sys/devices/pci0/virtio1/block/vda/queue/rotational", "1\n");
    file_text("sys/devices/pci0/virtio1/block/vda/serial", "rootdisk");
    file_text("sys/devices/pci0/virtio1/block/vda/device/vendor", "0x1af4\n");
    link_make("sys/dev/block/254:0", "../../devices/pci0/virtio1/block/vda");
    file_text("sys/devices/virtual/block/dm-0/dm/uuid", "LVM-abc\n");
    link_make("sys/devices/virtual/block/dm-0/slaves/sda1", "../../../../pci0/ata1/host0/target0/block/sda/sda1");
    link_make("sys/dev/block/252:0", "../../devices/virtual/block/dm-0");
}

static void teardown(void)
{
    (void)nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

TestSuite(medium, .init = setup, .fini = teardown);

Test(medium, of_a_partition_of_a_sata_disk_is_the_disk)
{
    struct medium medium;
    medium_of_device(root, "/srv/disk", 8, 1, &medium);
    cr_assert_str_eq(medium.device, "sda");
    cr_assert_str_eq(medium.interface, "sata");
    cr_assert_str_eq(medium.vendor, "ATA");
    cr_assert_str_eq(medium.model, "WDC WD40");
    cr_assert_str_eq(medium.serial, "WD-1234");
    cr_assert_str_eq(medium.wwn, "naa.50014ee2");
    cr_assert_str_eq(medium.firmware, "0A82");
    cr_assert_eq(medium.capacity_bytes, 2000 * 512);
    cr_assert(medium.rotational);
    cr_assert_not(medium.discard);
    cr_assert_not(medium.shares_extents);
    cr_assert_str_eq(medium.file_system, "ext4");
    cr_assert_str_eq(medium.mount_options, "rw,noatime,rw,discard");
}

Test(medium, goes_by_the_deepest_mount_that_the_directory_lies_in)
{
    struct medium medium;
    medium_of_device(root, "/a b/disk", 8, 1, &medium);
    cr_assert_str_eq(medium.mount_options, "rw,ro,second");
    medium_of_device(root, "/a bc", 8, 1, &medium);
    cr_assert_str_eq(medium.mount_options, "rw,noatime,rw,discard");
}

Test(medium, of_an_nvme_partition)
{
    struct medium medium;
    medium_of_device(root, "/data/disk1", 259, 2, &medium);
    cr_assert_str_eq(medium.device, "nvme0n1");
    cr_assert_str_eq(medium.interface, "nvme");
    cr_assert_str_eq(medium.serial, "S4EV");
    cr_assert_str_eq(medium.wwn, "eui.0025");
    cr_assert_str_eq(medium.firmware, "2B2Q");
    cr_assert_not(medium.rotational);
    cr_assert(medium.discard);
    cr_assert(medium.shares_extents, "xfs can share extents");
}

/* The kernel says that a virtio disk rotates unless the hypervisor says otherwise. */
Test(medium, of_a_virtual_disk_does_not_count_as_rotating)
{
    struct medium medium;
    medium_of_device(root, "/v", 254, 0, &medium);
    cr_assert_str_eq(medium.interface, "virtio");
    cr_assert_str_eq(medium.serial, "rootdisk");
    cr_assert_str_eq(medium.vendor, "");
    cr_assert_not(medium.rotational);
}

Test(medium, of_a_logical_volume_is_what_lies_below_and_may_have_snapshots)
{
    struct medium medium;
    medium_of_device(root, "/lvm/x", 252, 0, &medium);
    cr_assert_str_eq(medium.device, "sda");
    cr_assert_str_eq(medium.serial, "WD-1234");
    cr_assert(medium.shares_extents);
}

Test(medium, of_two_devices_together_is_neither)
{
    struct medium medium;
    link_make("sys/devices/virtual/block/dm-0/slaves/nvme0n1", "../../../../pci0/nvme/nvme0/nvme0n1");
    medium_of_device(root, "/lvm/x", 252, 0, &medium);
    cr_assert_str_eq(medium.device, "dm-0");
    cr_assert_str_eq(medium.interface, "dm");
    cr_assert_str_eq(medium.serial, "");
}

Test(medium, that_nothing_is_known_of_is_empty)
{
    struct medium medium;
    struct medium nothing;
    memset(&nothing, 0, sizeof(nothing));
    medium_of_device(root, "/elsewhere", 99, 7, &medium);
    cr_assert_eq(memcmp(&medium, &nothing, sizeof(medium)), 0);
    medium_of_directory("/tmp/there is no such directory", &medium);
    cr_assert_eq(memcmp(&medium, &nothing, sizeof(medium)), 0);
}

Test(medium, texts_are_cut_to_their_bounds)
{
    struct medium medium;
    char text[4000];
    memset(text, 'x', sizeof(text));
    file_make("sys/devices/pci0/virtio1/block/vda/device/model", text, sizeof(text));
    medium_of_device(root, "/v", 254, 0, &medium);
    cr_assert_eq(strlen(medium.model), MEDIUM_TEXT_BYTES - 1);
}

/* A device that is said to lie on itself. */
Test(medium, ends_where_devices_lie_on_each_other_in_a_circle)
{
    struct medium medium;
    file_text("sys/devices/virtual/block/dm-1/dm/uuid", "CRYPT-x");
    link_make("sys/devices/virtual/block/dm-1/slaves/dm-1", "../../dm-1");
    link_make("sys/dev/block/252:1", "../../devices/virtual/block/dm-1");
    medium_of_device(root, "/x", 252, 1, &medium);
    cr_assert_str_eq(medium.device, "dm-1");
}
