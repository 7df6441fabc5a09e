/* options.h - the settings of trilith-meta: one table, from which the file is read and the example is printed. */
#ifndef TRILITH_META_OPTIONS_H
#define TRILITH_META_OPTIONS_H

#include "base/config.h"
#include "base/net.h"

#define META_PATH_BYTES         1024
#define META_TOKEN_BYTES        64
#define META_ORGANIZATION_BYTES 128

extern const char *const meta_kms_names[]; /* "file", "pkcs11", NULL */

struct meta_options {
    char listen[NET_ADDRESS_BYTES];
    char directory[META_PATH_BYTES];
    unsigned kms; /* index into meta_kms_names */
    char key_file[META_PATH_BYTES];
    char key_passphrase_file[META_PATH_BYTES];
    char pkcs11_module[META_PATH_BYTES];
    char pkcs11_token[META_TOKEN_BYTES];
    char pkcs11_pin_file[META_PATH_BYTES];
    uint64_t kms_timeout_ms;
    char vault_slot[META_PATH_BYTES];
    uint64_t epoch_ms;
    uint64_t dek_retire_ms;
    char organization[META_ORGANIZATION_BYTES];
    uint64_t signing_overlap_ms;
    uint64_t node_lease_ms;
    uint64_t leaf_lease_ms;
    uint64_t key_lease_ms;
    uint64_t pgs_per_disk;
    uint64_t scatter_width;
    uint64_t journal_segment_bytes;
    uint64_t table_cache_bytes;
    unsigned log_level; /* enum log_level */
};

/* STATUS_OK; else `message` names the line, or the setting that can't be. */
MUST_USE enum status meta_options_read(const char *path, struct meta_options *options, char *message,
                                       size_t message_bytes);
void meta_options_print_example(FILE *out);

/* Whether "host:port" names this machine's loopback: 127.0.0.0/8 or [::1]. */
bool address_is_loopback(const char *address);

#endif
