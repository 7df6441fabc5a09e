/* test_node_key.c - a node's key is made once, kept, and refused when others may know it. */
#include "node/node_key.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[] = "/tmp/trilith-node-key-XXXXXX";
static char path[64];
static char message[256];
static struct key_pool *pool;
static struct key *seed;
static struct key *again;

static void setup(void)
{
    cr_assert_eq(keys_start_process(), STATUS_OK);
    cr_assert_not_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/node-key", directory);
    pool = key_pool_open(2);
    seed = key_take(pool);
    again = key_take(pool);
}

static void teardown(void)
{
    (void)unlink(path);
    (void)rmdir(directory);
    key_release(pool, seed);
    key_release(pool, again);
    key_pool_close(pool);
}

TestSuite(node_key, .init = setup, .fini = teardown);

static enum status load(struct key *key)
{
    return node_key_load(directory, key, message, sizeof(message));
}

Test(node_key, is_made_once_and_only_its_owner_can_read_it)
{
    static const struct key nothing;
    struct stat what;
    (void)umask(0);
    cr_assert_eq(load(seed), STATUS_OK);
    cr_assert_neq(memcmp(seed->bytes, nothing.bytes, KEY_BYTES), 0);
    cr_assert_eq(stat(path, &what), 0);
    cr_assert_eq(what.st_mode & 0777, 0600);
    cr_assert_eq(load(again), STATUS_OK);
    cr_assert_eq(memcmp(seed->bytes, again->bytes, KEY_BYTES), 0);
}

Test(node_key, that_others_may_read_is_refused)
{
    cr_assert_eq(load(seed), STATUS_OK);
    cr_assert_eq(chmod(path, 0640), 0);
    cr_assert_eq(load(again), STATUS_DENIED);
    cr_assert_not_null(strstr(message, "node-key"));
    cr_assert_eq(chmod(path, 0602), 0);
    cr_assert_eq(load(again), STATUS_DENIED);
}

Test(node_key, that_is_not_one_is_refused_and_not_replaced)
{
    struct stat before;
    struct stat after;
    FILE *file = fopen(path, "w");
    fputs("-----BEGIN PRIVATE KEY-----\n", file);
    fclose(file);
    cr_assert_eq(chmod(path, 0600), 0);
    cr_assert_eq(stat(path, &before), 0);
    cr_assert_eq(load(seed), STATUS_CORRUPT);
    cr_assert_eq(stat(path, &after), 0);
    cr_assert_eq(before.st_ino, after.st_ino);
    cr_assert_eq(before.st_size, after.st_size);
}

Test(node_key, is_no_link_to_elsewhere)
{
    cr_assert_eq(symlink("/etc/hostname", path), 0);
    cr_assert_eq(load(seed), STATUS_IO);
}

Test(node_key, cannot_be_made_where_there_is_no_directory)
{
    cr_assert_eq(node_key_load("/tmp/trilith there is none", seed, message, sizeof(message)), STATUS_IO);
}
