/* test_client_config.c - the command line's configuration: read when it is private and right, refused otherwise. */
#include "cluster/client_config.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_TEMPLATE "/tmp/client-config-XXXXXX"

static char path[sizeof(PATH_TEMPLATE)];
static char message[512];
static struct client_config *config;

static enum status open_text(const char *text, mode_t mode)
{
    memcpy(path, PATH_TEMPLATE, sizeof(path));
    int file = mkstemp(path);
    cr_assert(file >= 0);
    cr_assert_eq(write(file, text, strlen(text)), (ssize_t)strlen(text));
    cr_assert_eq(fchmod(file, mode), 0);
    close(file);
    config = NULL;
    message[0] = '\0';
    enum status status = client_config_open(path, &config, message, sizeof(message));
    unlink(path);
    return status;
}

Test(client_config, reads_addresses_and_keys)
{
    cr_assert_eq(open_text("[cluster]\nmeta = 127.0.0.1:1\ntenant = acme\n[s3]\nendpoint = 127.0.0.1:2\n"
                           "endpoint = 127.0.0.1:3\naccess_key = A\nsecret_key = S\n",
                           0600),
                 STATUS_OK, "%s", message);
    cr_assert_str_eq(config->meta, "127.0.0.1:1");
    cr_assert_str_eq(config->tenant, "acme");
    cr_assert_eq(config->endpoint_count, 2);
    cr_assert_str_eq(config->endpoints[1], "127.0.0.1:3");
    cr_assert_str_eq(config->secret_key, "S");
    cr_assert_str_eq(config->region, "us-east-1");
    client_config_close(config);
}

Test(client_config, has_defaults_for_everything)
{
    cr_assert_eq(open_text("[cluster]\n", 0400), STATUS_OK, "%s", message);
    cr_assert_eq(config->endpoint_count, 1);
    cr_assert_str_eq(config->access_key, "");
    client_config_close(config);
}

Test(client_config, refuses_a_file_that_others_may_read)
{
    cr_assert_eq(open_text("[cluster]\n", 0640), STATUS_DENIED);
    cr_assert(strstr(message, "chmod 600") != NULL, "%s", message);
    cr_assert_eq(open_text("[cluster]\n", 0604), STATUS_DENIED);
}

Test(client_config, refuses_unknown_options_and_says_where)
{
    cr_assert_eq(open_text("[cluster]\ncolour = red\n", 0600), STATUS_INVALID);
    cr_assert(strstr(message, ":2:") != NULL, "%s", message);
    cr_assert_null(config);
}

Test(client_config, says_how_to_name_one_when_it_is_missing)
{
    cr_assert_eq(client_config_open("/nonexistent/trilith.conf", &config, message, sizeof(message)), STATUS_NOT_FOUND);
    cr_assert(strstr(message, "TRILITH_CONFIG") != NULL, "%s", message);
}
