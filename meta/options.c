/* options.c - the table of settings. */
#include "meta/options.h"

#include "meta/journal_local.h"
#include "meta/registry.h"

#include <string.h>

#define FIELD(name) .offset = offsetof(struct meta_options, name)
#define TEXT(name)  FIELD(name), .kind = CONFIG_TEXT, .capacity = sizeof(((struct meta_options *)0)->name)

const char *const meta_kms_names[] = {"file", "pkcs11", NULL};
static const char *const log_levels[] = {"debug", "info", "warning", "error", NULL};

static const struct config_option table[] = {
    {.section = "meta",
     .name = "listen",
     TEXT(listen),
     .default_value = "127.0.0.1:7400",
     .help = "Numeric address and port to serve on; loopback only, as there is no TLS yet."},
    {.section = "meta",
     .name = "directory",
     TEXT(directory),
     .help = "Directory for the journal, the tables and the vault; made when missing, its parent must exist."},
    {.section = "meta",
     .name = "vault_slot",
     TEXT(vault_slot),
     .default_value = "",
     .help =
         "Directory of the small file that holds the vault's root, on a device that overwrites in place and is left "
         "out of all backups; without it DIRECTORY/vault-slot."},
    {.section = "meta",
     .name = "epoch",
     FIELD(epoch_ms),
     .kind = CONFIG_DURATION,
     .default_value = "15 min",
     .minimum = 1000,
     .maximum = 86400000,
     .help = "How long the key of a deleted object may stand in the vault before it is destroyed for good."},
    {.section = "meta",
     .name = "kms",
     FIELD(kms),
     .kind = CONFIG_WORD,
     .default_value = "file",
     .words = meta_kms_names,
     .help = "What holds the master keys that wrap the tenants' keys: a key file, or a PKCS#11 token (HSM)."},
    {.section = "meta",
     .name = "key_file",
     TEXT(key_file),
     .default_value = "",
     .help = "kms=file: the file with the master key, mode 0600; made by trilith-meta --create-key."},
    {.section = "meta",
     .name = "key_passphrase_file",
     TEXT(key_passphrase_file),
     .default_value = "",
     .help =
         "File with the passphrase of key_file, mode 0600; without it a protected file is asked for on the terminal."},
    {.section = "meta",
     .name = "pkcs11_module",
     TEXT(pkcs11_module),
     .default_value = "",
     .help = "kms=pkcs11: path of the token's shared library."},
    {.section = "meta",
     .name = "pkcs11_token",
     TEXT(pkcs11_token),
     .default_value = "",
     .help = "kms=pkcs11: label of the token."},
    {.section = "meta",
     .name = "pkcs11_pin_file",
     TEXT(pkcs11_pin_file),
     .default_value = "",
     .help = "File with the token's PIN, mode 0600; without it the PIN is asked for on the terminal."},
    {.section = "meta",
     .name = "kms_timeout",
     FIELD(kms_timeout_ms),
     .kind = CONFIG_DURATION,
     .default_value = "5 s",
     .minimum = 100,
     .maximum = 600000,
     .help = "How long a call of the KMS may take before it counts as away."},
    {.section = "meta",
     .name = "dek_retire",
     FIELD(dek_retire_ms),
     .kind = CONFIG_DURATION,
     .default_value = "15 min",
     .maximum = 604800000,
     .help = "How long a tenant's key stays after it was rotated out, for writes that began under it; longer than "
             "key_lease and the longest write."},
    {.section = "meta",
     .name = "organization",
     TEXT(organization),
     .default_value = "",
     .help = "Who issues certificates of erasure, as they are to name it; without it they leave that open."},
    {.section = "meta",
     .name = "signing_overlap",
     FIELD(signing_overlap_ms),
     .kind = CONFIG_DURATION,
     .default_value = "720 h",
     .maximum = UINT64_C(31622400000),
     .help = "How long the ledger's head is signed by the signing key before, too, after a new one has begun."},
    {.section = "meta",
     .name = "node_lease",
     FIELD(node_lease_ms),
     .kind = CONFIG_DURATION,
     .default_value = "10 s",
     .minimum = 500,
     .maximum = 600000,
     .help = "How long a storage node counts as up after its last heartbeat."},
    {.section = "meta",
     .name = "leaf_lease",
     FIELD(leaf_lease_ms),
     .kind = CONFIG_DURATION,
     .default_value = "24 h",
     .minimum = 60000,
     .maximum = 604800000,
     .help = "How long a gateway may use fresh object keys; longer than the longest write."},
    {.section = "meta",
     .name = "key_lease",
     FIELD(key_lease_ms),
     .kind = CONFIG_DURATION,
     .default_value = "30 s",
     .minimum = 1000,
     .maximum = 3600000,
     .help = "How long a gateway may keep a tenant's key or a credential: revoking takes this long to reach everyone."},
    {.section = "meta",
     .name = "pgs_per_disk",
     FIELD(pgs_per_disk),
     .kind = CONFIG_NUMBER,
     .default_value = "96",
     .minimum = 1,
     .maximum = PGS_PER_DISK_MAX,
     .help = "The most placement groups that a joining disk begins with."},
    {.section = "meta",
     .name = "scatter_width",
     FIELD(scatter_width),
     .kind = CONFIG_NUMBER,
     .default_value = "4",
     .minimum = REPLICAS - 1,
     .maximum = SCATTER_WIDTH_MAX,
     .help =
         "How many partners a joining disk looks for in its placement groups: more repair faster, fewer are safer."},
    {.section = "meta",
     .name = "journal_segment_size",
     FIELD(journal_segment_bytes),
     .kind = CONFIG_SIZE,
     .default_value = "16 MiB",
     .minimum = JOURNAL_SEGMENT_BYTES_MIN,
     .maximum = MIB(1024),
     .help = "Size of a journal file, a multiple of 4 KiB."},
    {.section = "meta",
     .name = "table_cache",
     FIELD(table_cache_bytes),
     .kind = CONFIG_SIZE,
     .default_value = "64 MiB",
     .minimum = MIB(1),
     .maximum = GIB(256),
     .help = "Memory for blocks of the tables."},
    {.section = "meta",
     .name = "log_level",
     FIELD(log_level),
     .kind = CONFIG_WORD,
     .default_value = "info",
     .words = log_levels,
     .help = "The least level of events that is written to standard error."},
};

/* Each provider needs settings of its own. */
static enum status check_kms(const char *path, const struct meta_options *options, char *message, size_t message_bytes)
{
    bool is_file = strcmp(meta_kms_names[options->kms], "file") == 0;
    const char *missing = NULL;
    const char *example = NULL;
    if (is_file && options->key_file[0] == '\0') {
        missing = "key_file";
        example = "the master key made by trilith-meta --create-key FILE";
    } else if (!is_file && options->pkcs11_module[0] == '\0') {
        missing = "pkcs11_module";
        example = "the path of the token's library, such as /usr/lib/softhsm/libsofthsm2.so";
    } else if (!is_file && options->pkcs11_token[0] == '\0') {
        missing = "pkcs11_token";
        example = "the label of the token, as softhsm2-util --show-slots or p11tool --list-tokens shows it";
    }
    if (missing == NULL) {
        return STATUS_OK;
    }
    (void)snprintf(message, message_bytes, "%s: kms = %s needs %s: %s", path, meta_kms_names[options->kms], missing,
                   example);
    return STATUS_INVALID;
}

enum status meta_options_read(const char *path, struct meta_options *options, char *message, size_t message_bytes)
{
    enum status status = config_read(path, table, ARRAY_LENGTH(table), options, message, message_bytes);
    if (status != STATUS_OK) {
        return status;
    }
    if (!address_is_loopback(options->listen)) {
        (void)snprintf(message, message_bytes,
                       "%s: listen=%s is not a loopback address: keys would cross the network in clear, and there is "
                       "no TLS yet; use 127.0.0.1:PORT",
                       path, options->listen);
        return STATUS_INVALID;
    }
    status = check_kms(path, options, message, message_bytes);
    if (status != STATUS_OK) {
        return status;
    }
    if (options->vault_slot[0] == '\0' &&
        snprintf(options->vault_slot, META_PATH_BYTES, "%s/vault-slot", options->directory) >= META_PATH_BYTES) {
        (void)snprintf(message, message_bytes, "%s: directory is too long", path);
        return STATUS_INVALID;
    }
    if (options->journal_segment_bytes % BLOCK_BYTES != 0) {
        (void)snprintf(message, message_bytes, "%s: journal_segment_size must be a multiple of 4 KiB", path);
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

void meta_options_print_example(FILE *out)
{
    config_print_example(out, "trilith-meta: the metadata service", table, ARRAY_LENGTH(table));
}

bool address_is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strncmp(address, "[::1]:", 6) == 0;
}
