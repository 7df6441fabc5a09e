/* client_config.h - where a cluster is and who we are to it: the INI file that TRILITH_CONFIG names.
 *
 * The file holds a secret access key, so it must be readable by its owner only (mode 0600 or stricter); anything else
 * is refused. The secret stays in this struct and is wiped when it is closed. */
#ifndef TRILITH_CLUSTER_CLIENT_CONFIG_H
#define TRILITH_CLUSTER_CLIENT_CONFIG_H

#include "base/net.h"
#include "base/status.h"

#include <stdio.h>

#define CLIENT_ENDPOINTS_MAX 64

struct client_config {
    char meta[NET_ADDRESS_BYTES];
    char tenant[65];
    char endpoints[CLIENT_ENDPOINTS_MAX][NET_ADDRESS_BYTES]; /* host:port of S3 gateways */
    size_t endpoint_count;
    char access_key[65];
    char secret_key[129];
    char region[33];
};

/* Read the file at `path`. On error writes one line for people into `message`: STATUS_NOT_FOUND, STATUS_DENIED (others may
 * read it, or we may not), STATUS_INVALID (content), STATUS_BUSY (no memory). */
MUST_USE enum status client_config_open(const char *path, struct client_config **config, char *message,
                                        size_t message_bytes);
/* Wipe and free. NULL is allowed. */
void client_config_close(struct client_config *config);

/* Print the commented example file. */
void client_config_print_example(FILE *out);

#endif
