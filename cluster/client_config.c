/* client_config.c - the options of the command line's configuration file, and the check of its mode. */
#include "cluster/client_config.h"

#include "base/config.h"
#include "base/keys.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#define FIELD(member) offsetof(struct client_config, member), sizeof(((struct client_config *)NULL)->member)

static const struct config_option client_options[] = {
    {"cluster", "meta", CONFIG_TEXT, FIELD(meta), .default_value = "127.0.0.1:7400",
     .help = "Address of the metadata service, as host:port."},
    {"cluster", "tenant", CONFIG_TEXT, FIELD(tenant), .default_value = "default",
     .help = "The tenant that bucket and credential verbs act on, unless they name another."},
    {"s3", "endpoint", CONFIG_TEXT, offsetof(struct client_config, endpoints), NET_ADDRESS_BYTES,
     .default_value = "127.0.0.1:9000",
     .help = "An S3 gateway, as host:port; repeat it for each: when one can't be reached the next is asked.",
     .list_max = CLIENT_ENDPOINTS_MAX, .list_count_offset = offsetof(struct client_config, endpoint_count)},
    {"s3", "access_key", CONFIG_TEXT, FIELD(access_key), .default_value = "",
     .help = "The access key's name, as `trilith credential create` printed it."},
    {"s3", "secret_key", CONFIG_TEXT, FIELD(secret_key), .default_value = "",
     .help = "The secret that belongs to it; keep this file readable by its owner only."},
    {"s3", "region", CONFIG_TEXT, FIELD(region), .default_value = "us-east-1",
     .help = "The region that requests are signed for."},
};

/* Only the owner may read a file with a secret in it. */
static enum status check_mode(const char *path, char *message, size_t message_bytes)
{
    struct stat file;
    if (stat(path, &file) != 0) {
        enum status status = status_from_errno(errno);
        snprintf(message, message_bytes, "%s: %s; name a configuration with --config or TRILITH_CONFIG", path,
                 status == STATUS_NOT_FOUND ? "no such file" : "can't be read");
        return status;
    }
    if ((file.st_mode & 077) != 0) {
        snprintf(message, message_bytes, "%s: others may read this file, and it holds a secret key; run: chmod 600 %s",
                 path, path);
        return STATUS_DENIED;
    }
    return STATUS_OK;
}

enum status client_config_open(const char *path, struct client_config **config, char *message, size_t message_bytes)
{
    enum status status = check_mode(path, message, message_bytes);
    if (status != STATUS_OK) {
        return status;
    }
    struct client_config *read = calloc(1, sizeof(*read));
    if (read == NULL) {
        snprintf(message, message_bytes, "out of memory");
        return STATUS_BUSY;
    }
    status = config_read(path, client_options, ARRAY_LENGTH(client_options), read, message, message_bytes);
    if (status != STATUS_OK) {
        client_config_close(read);
        return status;
    }
    *config = read;
    return STATUS_OK;
}

void client_config_close(struct client_config *config)
{
    if (config != NULL) {
        wipe_memory(config, sizeof(*config));
        free(config);
    }
}

void client_config_print_example(FILE *out)
{
    config_print_example(out, "trilith: the command line's configuration. Keep it readable by its owner only.",
                         client_options, ARRAY_LENGTH(client_options));
}
