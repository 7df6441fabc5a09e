/* test_node_options.c - the settings of a node: defaults, refusals with a reason, and an example file that can be used. */
#include "node/node_state.h"
#include "node/options.h"

#include "base/ids.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[] = "/tmp/trilith-options-XXXXXX";
static char path[256];
static struct node_options options;
static char message[1024];

static void setup(void)
{
    cr_assert_not_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/node.conf", directory);
}

static void teardown(void)
{
    static const char *const names[] = {"node.conf", "state", "state.new"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        char name[256];
        snprintf(name, sizeof(name), "%s/%s", directory, names[i]);
        unlink(name);
    }
    rmdir(directory);
}

TestSuite(node_options, .init = setup, .fini = teardown);

static enum status read_text(const char *text)
{
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    fputs(text, file);
    fclose(file);
    message[0] = '\0';
    return node_options_read(path, &options, message, sizeof(message));
}

#define SMALLEST "[node]\nname = n1\ndirectory = /d\n"
#define DISK     "[disk]\ndirectory = /d/1\n"

Test(node_options, smallest_file_gives_the_defaults)
{
    cr_assert_eq(read_text(SMALLEST DISK), STATUS_OK, "%s", message);
    cr_assert_str_eq(options.listen, "127.0.0.1:7500");
    cr_assert_str_eq(options.failure_domain, "n1");
    cr_assert_eq(options.reactors, 1);
    cr_assert_eq(options.disk_count, 1);
    cr_assert_eq(options.disk_capacity_bytes, GIB(8));
    cr_assert_eq(options.orphan_after_ms, 3600000);
    cr_assert_eq(options.reseal_bytes_per_s, MIB(64));
    cr_assert_eq(options.flush, NODE_FLUSH_AUTO);
}

Test(node_options, several_disks_are_kept_in_order)
{
    cr_assert_eq(read_text(SMALLEST DISK "directory = /d/2\ndirectory = /d/3\n"), STATUS_OK, "%s", message);
    cr_assert_eq(options.disk_count, 3);
    cr_assert_str_eq(options.disks[2], "/d/3");
}

Test(node_options, what_can_not_be_is_refused_with_a_reason)
{
    static const char *const texts[] = {
        "[node]\ndirectory = /d\n" DISK,          SMALLEST,
        SMALLEST "listen = 0.0.0.0:7500\n" DISK,  SMALLEST "listen = 192.168.1.1:7500\n" DISK,
        SMALLEST "meta = 10.0.0.1:7400\n" DISK,   SMALLEST "reactors = 0\n" DISK,
        SMALLEST "flavour = sweet\n" DISK,        SMALLEST DISK "segment_size = 17000000\n",
        SMALLEST DISK "capacity = 512 MiB\n",     SMALLEST DISK "flush = sometimes\n",
        SMALLEST DISK "[limits]\nputs = 4096\n",  SMALLEST "reseal_rate = 0\n" DISK,
        SMALLEST "reseal_rate = 1023 KiB\n" DISK,
    };
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        cr_assert_eq(read_text(texts[i]), STATUS_INVALID, "%s", texts[i]);
        cr_assert_not_null(strstr(message, path), "%s", message);
    }
}

/* As an operator would: fill in what must be given, and uncomment every default. */
Test(node_options, example_with_every_default_uncommented_is_accepted)
{
    char *example = NULL;
    size_t example_bytes = 0;
    FILE *out = open_memstream(&example, &example_bytes);
    node_options_print_example(out);
    fclose(out);
    cr_assert_not_null(strstr(example, "\n#reseal_rate = 64 MiB\n"));
    FILE *file = fopen(path, "w");
    char *rest = example;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        bool is_default = line[0] == '#' && line[1] >= 'a' && line[1] <= 'z';
        size_t bytes = strlen(line);
        bool must_be_given = bytes > 2 && line[0] != '#' && line[bytes - 1] == '=';
        fprintf(file, "%s%s\n", line + is_default, must_be_given ? " /d" : "");
    }
    fclose(file);
    free(example);
    cr_assert_eq(node_options_read(path, &options, message, sizeof(message)), STATUS_OK, "%s", message);
    cr_assert_eq(options.reseal_bytes_per_s, MIB(64));
}

Test(node_options, loopback_is_recognised)
{
    cr_assert(address_is_loopback("127.0.0.1:1"));
    cr_assert(address_is_loopback("127.1.2.3:7500"));
    cr_assert(address_is_loopback("[::1]:7500"));
    cr_assert_not(address_is_loopback("128.0.0.1:1"));
    cr_assert_not(address_is_loopback("[::]:7500"));
    cr_assert_not(address_is_loopback("localhost.example.org:1"));
}

Test(node_options, state_is_remembered_and_garbage_refused)
{
    struct node_state state = {.has_cluster = false};
    cr_assert_eq(node_state_load(directory, &state), STATUS_OK);
    cr_assert_not(state.has_cluster);
    state.has_cluster = true;
    memset(state.cluster_id, 0xab, sizeof(state.cluster_id));
    state.has_probed = true;
    state.durable_write = true;
    cr_assert_eq(node_state_save(directory, &state), STATUS_OK);
    struct node_state loaded = {.has_cluster = false};
    cr_assert_eq(node_state_load(directory, &loaded), STATUS_OK);
    cr_assert(loaded.has_cluster && loaded.has_probed && loaded.durable_write);
    cr_assert_eq(memcmp(loaded.cluster_id, state.cluster_id, 16), 0);

    static const char *const garbage[] = {"", "format 2\n", "format 1\ncluster 12\n", "format 1\nnonsense\n",
                                          "format 1\ndurable_write 2\n"};
    snprintf(path, sizeof(path), "%s/state", directory);
    for (size_t i = 0; i < ARRAY_LENGTH(garbage); i++) {
        FILE *file = fopen(path, "w");
        cr_assert_not_null(file);
        fputs(garbage[i], file);
        fclose(file);
        cr_assert_eq(node_state_load(directory, &loaded), STATUS_CORRUPT, "%s", garbage[i]);
    }
}
