/* test_medium_device.c - what may not be erased is refused, for the right reason; by made-up sysfs and mount tables. */
#include "tests/unit/medium_fixture.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* A machine: sda with sda1 (mounted at /data) and sda2, sdb (whole, free), sdc below dm-0 which has "/", sdd
 * read-only, sde held by md0. */
static char root[64];
static char sys[96];
static char proc[96];
static struct medium_system machine = {sys, proc};
static char message[MEDIUM_MESSAGE_BYTES];

/* All of a path that is not there yet. */
static void make_directory(const char *where, const char *below)
{
    char path[512];
    snprintf(path, sizeof(path), "%s%s", where, below);
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    cr_assert(mkdir(path, 0700) == 0 || errno == EEXIST, "%s", path);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    cr_assert_not_null(file, "%s", path);
    fputs(text, file);
    fclose(file);
}

/* A device in sysfs: `place` below devices/block, "sda" or "sda/sda1". */
static void add_device(const char *place, unsigned device_minor, bool partition, const char *extra)
{
    char path[512];
    char target[512];
    char text[64];
    snprintf(path, sizeof(path), "%s/devices/block/%s/holders", sys, place);
    make_directory(path, "");
    snprintf(path, sizeof(path), "%s/devices/block/%s/slaves", sys, place);
    make_directory(path, "");
    snprintf(path, sizeof(path), "%s/devices/block/%s/dev", sys, place);
    snprintf(text, sizeof(text), "240:%u\n", device_minor);
    write_file(path, text);
    snprintf(path, sizeof(path), "%s/devices/block/%s/size", sys, place);
    write_file(path, "20480\n");
    if (partition) {
        snprintf(path, sizeof(path), "%s/devices/block/%s/partition", sys, place);
        write_file(path, "1\n");
    }
    if (extra != NULL) {
        snprintf(path, sizeof(path), "%s/devices/block/%s/%s", sys, place, extra);
        write_file(path, "1\n");
    }
    snprintf(path, sizeof(path), "%s/dev/block/240:%u", sys, device_minor);
    snprintf(target, sizeof(target), "../../devices/block/%s", place);
    cr_assert_eq(symlink(target, path), 0, "%s", path);
}

static void link_devices(const char *upper, const char *lower)
{
    char path[512];
    char target[512];
    snprintf(path, sizeof(path), "%s/devices/block/%s/holders/%s", sys, lower, upper);
    snprintf(target, sizeof(target), "%s/devices/block/%s", sys, upper);
    cr_assert_eq(symlink(target, path), 0);
    snprintf(path, sizeof(path), "%s/devices/block/%s/slaves/%s", sys, upper, lower);
    snprintf(target, sizeof(target), "%s/devices/block/%s", sys, lower);
    cr_assert_eq(symlink(target, path), 0);
}

static void setup(void)
{
    char path[512];
    snprintf(root, sizeof(root), "/var/tmp/machine-XXXXXX");
    cr_assert_not_null(mkdtemp(root));
    snprintf(sys, sizeof(sys), "%s/sys", root);
    snprintf(proc, sizeof(proc), "%s/proc", root);
    make_directory(sys, "/dev/block");
    make_directory(sys, "/block");
    make_directory(proc, "/self");
    add_device("sda", 0, false, NULL);
    add_device("sda/sda1", 1, true, NULL);
    add_device("sda/sda2", 2, true, NULL);
    add_device("sdb", 16, false, NULL);
    add_device("sdc", 32, false, NULL);
    add_device("sdd", 48, false, "ro");
    add_device("sde", 64, false, NULL);
    add_device("dm-0", 80, false, NULL);
    add_device("md0", 81, false, NULL);
    link_devices("dm-0", "sdc");
    link_devices("md0", "sde");
    snprintf(path, sizeof(path), "%s/self/mountinfo", proc);
    write_file(path, "22 1 240:80 / / rw,relatime shared:1 - ext4 /dev/mapper/root rw\n"
                     "23 22 240:1 / /data rw - ext4 /dev/sda1 rw\n"
                     "24 22 0:21 / /proc rw - proc proc rw\n");
    snprintf(path, sizeof(path), "%s/swaps", proc);
    write_file(path, "Filename Type Size Used Priority\n");
}

static void teardown(void)
{
    pid_t child = fork();
    if (child == 0) {
        execlp("rm", "rm", "-rf", root, (char *)NULL);
        _exit(1);
    }
    waitpid(child, NULL, 0);
}

TestSuite(medium_device, .init = setup, .fini = teardown);

static enum status check(const char *name, unsigned device_minor, enum medium_kind kind)
{
    struct medium_identity identity = {.kind = kind, .bytes = MIB(10), .device = UINT64_C(240) << 32 | device_minor};
    snprintf(identity.name, sizeof(identity.name), "%s", name);
    return medium_check_free(&machine, &identity, message);
}

Test(medium_device, a_disk_that_nobody_uses_may_be_erased)
{
    cr_assert_eq(check("sdb", 16, MEDIUM_DISK), STATUS_OK, "%s", message);
    cr_assert_eq(check("sda2", 2, MEDIUM_PARTITION), STATUS_OK, "%s", message);
}

Test(medium_device, what_is_mounted_may_not)
{
    cr_assert_eq(check("sda1", 1, MEDIUM_PARTITION), STATUS_BUSY);
    cr_assert(strstr(message, "mounted at /data") != NULL, "%s", message);
    cr_assert_eq(check("sda", 0, MEDIUM_DISK), STATUS_BUSY, "a partition of it is mounted");
}

Test(medium_device, what_the_machine_runs_from_may_not_whatever_is_between)
{
    cr_assert_eq(check("sdc", 32, MEDIUM_DISK), STATUS_BUSY);
    cr_assert(strstr(message, "runs from it") != NULL, "%s", message);
}

Test(medium_device, what_md_or_lvm_holds_may_not)
{
    cr_assert_eq(check("sde", 64, MEDIUM_DISK), STATUS_BUSY);
    cr_assert(strstr(message, "md0") != NULL, "%s", message);
}

Test(medium_device, what_is_read_only_may_not)
{
    cr_assert_eq(check("sdd", 48, MEDIUM_DISK), STATUS_BUSY);
    cr_assert(strstr(message, "read-only") != NULL, "%s", message);
}

Test(medium_device, what_cant_be_looked_at_may_not)
{
    char path[256];
    cr_assert_eq(check("sdx", 99, MEDIUM_DISK), STATUS_IO, "no sysfs");
    snprintf(path, sizeof(path), "%s/self/mountinfo", proc);
    write_file(path, "nonsense\n");
    cr_assert_eq(check("sdb", 16, MEDIUM_DISK), STATUS_IO, "a mount table that is not understood");
    unlink(path);
    cr_assert_eq(check("sdb", 16, MEDIUM_DISK), STATUS_IO, "no mount table");
}

Test(medium_device, an_image_that_is_swap_or_behind_a_loop_device_may_not)
{
    char path[512];
    char text[640];
    struct medium_identity identity;
    snprintf(path, sizeof(path), "%s/image", root);
    write_file(path, "x");
    cr_assert_eq(truncate(path, MIB(1)), 0);
    cr_assert_eq(medium_identify(&machine, path, &identity, message), STATUS_OK, "%s", message);
    cr_assert_eq(medium_check_free(&machine, &identity, message), STATUS_OK, "%s", message);
    snprintf(text, sizeof(text), "Filename Type\n%s file 1 0 -2\n", path);
    snprintf(path, sizeof(path), "%s/swaps", proc);
    write_file(path, text);
    cr_assert_eq(medium_check_free(&machine, &identity, message), STATUS_BUSY);
    cr_assert(strstr(message, "swap") != NULL, "%s", message);
    write_file(path, "Filename\n");
    snprintf(path, sizeof(path), "%s/block/loop9/loop", sys);
    make_directory(path, "");
    snprintf(path, sizeof(path), "%s/block/loop9/loop/backing_file", sys);
    snprintf(text, sizeof(text), "%s/image\n", root);
    write_file(path, text);
    cr_assert_eq(medium_check_free(&machine, &identity, message), STATUS_BUSY);
    cr_assert(strstr(message, "loop9") != NULL, "%s", message);
}

Test(medium_device, is_named_by_its_serial_number_or_name_only)
{
    struct medium_identity identity = {.kind = MEDIUM_DISK, .name = "sdb", .serial = "S3RIAL"};
    cr_assert(medium_is_named(&identity, "sdb"));
    cr_assert(medium_is_named(&identity, "S3RIAL"));
    cr_assert_not(medium_is_named(&identity, "sda"));
    cr_assert_not(medium_is_named(&identity, ""));
    identity.serial[0] = '\0';
    cr_assert_not(medium_is_named(&identity, ""), "an unknown serial number names nothing");
}

Test(medium_device, a_partition_is_not_another_one_of_the_same_disk)
{
    struct medium_identity one = {
        .kind = MEDIUM_PARTITION, .name = "sdb1", .disk = "sdb", .serial = "S3RIAL", .wwn = "naa.5", .bytes = MIB(1)};
    struct medium_identity other = one;
    cr_assert(medium_same(&one, &other));
    other.name[3] = '2';
    cr_assert_not(medium_same(&one, &other), "the serial number is the disk's");
    cr_assert(medium_is_named(&one, "sdb1"));
    cr_assert_not(medium_is_named(&one, "S3RIAL"));
    cr_assert_str_eq(medium_name_to_repeat(&one), "sdb1");
    one.kind = MEDIUM_DISK;
    other.kind = MEDIUM_DISK;
    cr_assert(medium_same(&one, &other), "a disk may be called otherwise after a boot");
    cr_assert_str_eq(medium_name_to_repeat(&one), "S3RIAL");
}

Test(medium_device, a_directory_or_a_terminal_is_no_medium)
{
    struct medium_identity identity;
    cr_assert_eq(medium_identify(&machine, root, &identity, message), STATUS_UNSUPPORTED);
    cr_assert_eq(medium_identify(&machine, "/dev/null", &identity, message), STATUS_UNSUPPORTED);
    cr_assert_eq(medium_identify(&machine, "/nowhere", &identity, message), STATUS_NOT_FOUND);
}

Test(medium_device, only_one_at_a_time)
{
    struct image image;
    struct medium_io *first;
    struct medium_io *second;
    image_open(&image, MIB(1));
    cr_assert_eq(medium_open(&image.identity, true, &first, message), STATUS_OK, "%s", message);
    cr_assert_eq(medium_open(&image.identity, true, &second, message), STATUS_BUSY);
    first->close(first);
    image_close(&image);
}

Test(medium_device, a_path_that_means_something_else_by_now_is_not_opened)
{
    struct image image;
    struct medium_io *io;
    image_open(&image, MIB(1));
    image.identity.inode++;
    cr_assert_eq(medium_open(&image.identity, true, &io, message), STATUS_CONFLICT);
    image_close(&image);
}
