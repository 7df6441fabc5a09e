/* test_archive.c - archives: what is put in comes out by stock tar, whole or not at all. */
#include "cluster/archive.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[64];
static char path[128];

static void setup(void)
{
    snprintf(directory, sizeof(directory), "/tmp/archive-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/out.tar", directory);
}

static void run(const char *const arguments[])
{
    pid_t child = fork();
    if (child == 0) {
        execvp(arguments[0], (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    int status = -1;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0, "%s", arguments[0]);
}

static void teardown(void)
{
    run((const char *const[]){"rm", "-rf", directory, NULL});
}

TestSuite(archive, .init = setup, .fini = teardown);

static struct archive_file *begin(void)
{
    struct archive_file *archive = NULL;
    cr_assert_eq(archive_open(path, 1769846400000, &archive), STATUS_OK);
    return archive;
}

static size_t read_file(const char *name, uint8_t *data, size_t room)
{
    char full[256];
    snprintf(full, sizeof(full), "%s/%s", directory, name);
    FILE *file = fopen(full, "rb");
    cr_assert_not_null(file, "%s", full);
    size_t bytes = fread(data, 1, room, file);
    fclose(file);
    return bytes;
}

Test(archive, stock_tar_gives_back_what_was_put_in)
{
    struct archive_file *archive = begin();
    static uint8_t big[300000];
    memset(big, 0x5a, sizeof(big));
    cr_assert_eq(archive_add(archive, "README.txt", "hello\n", 6), STATUS_OK);
    cr_assert_eq(archive_add(archive, "a/b/c.jws", big, sizeof(big)), STATUS_OK);
    cr_assert_eq(archive_add(archive, "a/empty", NULL, 0), STATUS_OK);
    cr_assert_geq(archive_bytes(archive), sizeof(big));
    cr_assert_eq(archive_close(archive), STATUS_OK);
    run((const char *const[]){"tar", "-C", directory, "-xf", path, NULL});
    static uint8_t back[sizeof(big) + 1];
    cr_assert_eq(read_file("a/b/c.jws", back, sizeof(back)), sizeof(big));
    cr_assert(memcmp(back, big, sizeof(big)) == 0);
    cr_assert_eq(read_file("a/empty", back, sizeof(back)), 0);
    cr_assert_eq(read_file("README.txt", back, sizeof(back)), 6);
}

Test(archive, contents_that_are_there_already_are_linked)
{
    struct archive_file *archive = begin();
    static uint8_t data[200000];
    static uint8_t back[sizeof(data) + 1];
    memset(data, 0x77, sizeof(data));
    cr_assert_eq(archive_add(archive, "a/first", data, sizeof(data)), STATUS_OK);
    cr_assert_eq(archive_add(archive, "b/second", data, sizeof(data)), STATUS_OK);
    data[0] = 0;
    cr_assert_eq(archive_add(archive, "b/other", data, sizeof(data)), STATUS_OK);
    cr_assert_lt(archive_bytes(archive), 2 * sizeof(data) + 10000);
    cr_assert_eq(archive_close(archive), STATUS_OK);
    run((const char *const[]){"tar", "-C", directory, "-xf", path, NULL});
    cr_assert_eq(read_file("b/second", back, sizeof(back)), sizeof(data));
    cr_assert_eq(back[0], 0x77);
    cr_assert_eq(read_file("b/other", back, sizeof(back)), sizeof(data));
    cr_assert_eq(back[0], 0);
}

Test(archive, the_same_contents_give_the_same_bytes)
{
    static uint8_t first[20480];
    static uint8_t second[20480];
    size_t bytes[2];
    for (int i = 0; i < 2; i++) {
        struct archive_file *archive = begin();
        cr_assert_eq(archive_add(archive, "x", "y", 1), STATUS_OK);
        cr_assert_eq(archive_close(archive), STATUS_OK);
        bytes[i] = read_file("out.tar", i == 0 ? first : second, sizeof(first));
    }
    cr_assert_eq(bytes[0], bytes[1]);
    cr_assert(memcmp(first, second, bytes[0]) == 0);
}

Test(archive, names_that_lead_elsewhere_are_refused_and_nothing_is_left)
{
    static const char *const names[] = {"", "/etc/passwd", "../x", "a/../b", "a/", "a//b", ".", "a/."};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct archive_file *archive = begin();
        cr_assert_eq(archive_add(archive, names[i], "x", 1), STATUS_INVALID, "%s", names[i]);
        cr_assert_eq(archive_add(archive, "good", "x", 1), STATUS_INVALID, "the first error stays");
        cr_assert_eq(archive_close(archive), STATUS_INVALID);
        cr_assert_neq(access(path, F_OK), 0);
    }
    char partial[160];
    snprintf(partial, sizeof(partial), "%s.partial", path);
    cr_assert_neq(access(partial, F_OK), 0);
}

Test(archive, until_it_is_closed_there_is_nothing_under_its_name)
{
    struct archive_file *archive = begin();
    cr_assert_eq(archive_add(archive, "x", "y", 1), STATUS_OK);
    cr_assert_neq(access(path, F_OK), 0);
    archive_abandon(archive);
    cr_assert_neq(access(path, F_OK), 0);
    archive_abandon(NULL);
}

Test(archive, a_place_that_can_not_be_written_is_said_at_once)
{
    struct archive_file *archive = NULL;
    cr_assert_eq(archive_open("/proc/nowhere/out.tar", 0, &archive), STATUS_IO);
}

Test(archive, a_full_disk_is_an_error_at_the_end_at_the_latest)
{
    snprintf(path, sizeof(path), "%s/full.tar", directory);
    char partial[160];
    snprintf(partial, sizeof(partial), "%s.partial", path);
    cr_assert_eq(symlink("/dev/full", partial), 0);
    struct archive_file *archive = begin();
    static uint8_t data[100000];
    enum status status = archive_add(archive, "x", data, sizeof(data));
    cr_assert(status == STATUS_OK || status == STATUS_IO);
    cr_assert_eq(archive_close(archive), STATUS_IO);
    cr_assert_neq(access(path, F_OK), 0);
}

Test(archive, a_folder_puts_its_prefix_before_names)
{
    struct archive_file *archive = begin();
    struct archive_folder folder;
    archive_folder_init(&folder, archive, "ledger/");
    cr_assert_eq(folder.files.write(&folder.files, "tile/0/000", "x", 1), STATUS_OK);
    folder.prefix = "../";
    cr_assert_eq(folder.files.write(&folder.files, "x", "x", 1), STATUS_INVALID);
    archive_abandon(archive);
}
