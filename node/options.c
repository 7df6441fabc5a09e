/* options.c - the table of settings, and what the table alone can't check. */
#include "node/options.h"

#include "base/ids.h"
#include "node/resealer.h"
#include "node/store/chunk_store.h"

#include <string.h>

static const char *const log_levels[] = {"debug", "info", "warning", "error", NULL};
static const char *const flush_modes[] = {"auto", "write", "flush", NULL};

#define FIELD(name_) .offset = offsetof(struct node_options, name_)
#define TEXT(name_)  .kind = CONFIG_TEXT, FIELD(name_), .capacity = sizeof(((struct node_options *)0)->name_)

static const struct config_option table[] = {
    {.section = "node",
     .name = "name",
     TEXT(name),
     .help = "Name of this node, unique in the cluster; it stays with its disks."},
    {.section = "node",
     .name = "directory",
     TEXT(directory),
     .help = "Where the node keeps its state and the rebuildable indexes of its disks."},
    {.section = "node",
     .name = "listen",
     TEXT(listen),
     .default_value = "127.0.0.1:7500",
     .help = "host:port for other nodes; a loopback address, because this version has no TLS between daemons."},
    {.section = "node",
     .name = "meta",
     TEXT(meta),
     .default_value = "127.0.0.1:7400",
     .help = "host:port of the metadata service."},
    {.section = "node",
     .name = "s3_listen",
     TEXT(s3_listen),
     .default_value = "127.0.0.1:9000",
     .help = "host:port for S3 clients."},
    {.section = "node",
     .name = "s3_domain",
     TEXT(s3_domain),
     .default_value = "",
     .help = "Domain whose subdomains are bucket names; empty: buckets are named in the path only."},
    {.section = "node",
     .name = "failure_domain",
     TEXT(failure_domain),
     .default_value = "",
     .help = "What fails together with this node, such as its rack; empty: the node's own name."},
    {.section = "node",
     .name = "reactors",
     .kind = CONFIG_NUMBER,
     FIELD(reactors),
     .default_value = "1",
     .minimum = 1,
     .maximum = NODE_REACTORS_MAX,
     .help = "Threads, each with its own event loop, connections and disks."},
    {.section = "node",
     .name = "log_level",
     .kind = CONFIG_WORD,
     FIELD(log_level),
     .default_value = "info",
     .words = log_levels,
     .help = "The least important events that are logged."},
    {.section = "node",
     .name = "orphan_after",
     .kind = CONFIG_DURATION,
     FIELD(orphan_after_ms),
     .default_value = "1 h",
     .minimum = 1000,
     .maximum = 30ull * 24 * 3600 * 1000,
     .help = "Age from which a chunk that no object refers to is erased; longer than the longest upload."},
    {.section = "node",
     .name = "reseal_rate",
     .kind = CONFIG_SIZE,
     FIELD(reseal_bytes_per_s),
     .default_value = "64 MiB",
     .minimum = RESEALER_BYTES_PER_S_MIN,
     .maximum = GIB(64),
     .help = "Bytes per second at which this node seals objects anew, after a tenant's data key was rotated."},
    {.section = "node",
     .name = "move_rate",
     .kind = CONFIG_SIZE,
     FIELD(move_bytes_per_s),
     .default_value = "64 MiB",
     .minimum = MIB(1),
     .maximum = GIB(64),
     .help = "Bytes per second at which this node copies what it takes over from disks that are drained; less while "
             "clients "
             "use the disk."},

    {.section = "disk",
     .name = "directory",
     TEXT(disks[0]),
     .list_max = CHUNK_HOST_DISKS_MAX,
     .list_count_offset = offsetof(struct node_options, disk_count),
     .help = "Directory that is one disk; repeat the line for more disks."},
    {.section = "disk",
     .name = "capacity",
     .kind = CONFIG_SIZE,
     FIELD(disk_capacity_bytes),
     .default_value = "8 GiB",
     .minimum = 4 * STORE_SEGMENT_BYTES_MIN,
     .maximum = GIB(1024 * 1024),
     .help = "How much of each disk may be used."},
    {.section = "disk",
     .name = "segment_size",
     .kind = CONFIG_SIZE,
     FIELD(segment_bytes),
     .default_value = "256 MiB",
     .minimum = STORE_SEGMENT_BYTES_MIN,
     .maximum = STORE_SEGMENT_BYTES_MAX,
     .help = "Size of a segment file, a multiple of 1 MiB; kept from the first start on."},
    {.section = "disk",
     .name = "prewrite_segments",
     .kind = CONFIG_NUMBER,
     FIELD(prewrite_segments),
     .default_value = "2",
     .minimum = 0,
     .maximum = 64,
     .help = "Free segments kept written with zeros in advance, which makes later writes faster."},
    {.section = "disk",
     .name = "group_wait_us",
     .kind = CONFIG_NUMBER,
     FIELD(group_wait_us),
     .default_value = "200",
     .minimum = 0,
     .maximum = 10000,
     .help = "Microseconds that a write may wait for others while a batch is in flight."},
    {.section = "disk",
     .name = "flush",
     .kind = CONFIG_WORD,
     FIELD(flush),
     .default_value = "auto",
     .words = flush_modes,
     .help = "How writes are made durable: by one durable write, by write and flush, or whichever a short probe at the "
             "first start finds faster."},
    {.section = "disk",
     .name = "index_cache",
     .kind = CONFIG_SIZE,
     FIELD(index_cache_bytes),
     .default_value = "32 MiB",
     .minimum = MIB(1),
     .maximum = GIB(64),
     .help = "Memory for the index of each disk."},
    {.section = "disk",
     .name = "allow_volatile",
     .kind = CONFIG_FLAG,
     FIELD(allow_volatile),
     .default_value = "no",
     .help = "Accept a file system in memory, whose content is lost with the machine; for tests."},

    {.section = "limits",
     .name = "gateway_large_slabs",
     .kind = CONFIG_NUMBER,
     FIELD(gateway_large_slabs),
     .default_value = "24",
     .minimum = 4,
     .maximum = 4096,
     .help = "Buffers of 4 MiB per reactor for objects being written and read."},
    {.section = "limits",
     .name = "gateway_small_slabs",
     .kind = CONFIG_NUMBER,
     FIELD(gateway_small_slabs),
     .default_value = "128",
     .minimum = 4,
     .maximum = 65536,
     .help = "Buffers of 64 KiB per reactor for small objects being written and read."},
    {.section = "limits",
     .name = "replica_large_slabs",
     .kind = CONFIG_NUMBER,
     FIELD(replica_large_slabs),
     .default_value = "24",
     .minimum = 4,
     .maximum = 4096,
     .help = "Buffers of 4 MiB per reactor for chunks that other nodes send and fetch."},
    {.section = "limits",
     .name = "replica_small_slabs",
     .kind = CONFIG_NUMBER,
     FIELD(replica_small_slabs),
     .default_value = "128",
     .minimum = 4,
     .maximum = 65536,
     .help = "Buffers of 64 KiB per reactor for the same."},
    {.section = "limits",
     .name = "puts",
     .kind = CONFIG_NUMBER,
     FIELD(puts_max),
     .default_value = "128",
     .minimum = 1,
     .maximum = 4096,
     .help = "Objects being written at once per reactor; at most as many as there are gateway slabs."},
    {.section = "limits",
     .name = "gets",
     .kind = CONFIG_NUMBER,
     FIELD(gets_max),
     .default_value = "128",
     .minimum = 1,
     .maximum = 4096,
     .help = "Objects being read at once per reactor."},
    {.section = "limits",
     .name = "chunk_requests",
     .kind = CONFIG_NUMBER,
     FIELD(chunk_requests_max),
     .default_value = "1024",
     .minimum = 16,
     .maximum = 65536,
     .help = "Requests of other nodes served at once per reactor."},
    {.section = "limits",
     .name = "s3_connections",
     .kind = CONFIG_NUMBER,
     FIELD(s3_connections),
     .default_value = "256",
     .minimum = 1,
     .maximum = 65536,
     .help = "Connections of S3 clients per reactor."},

    {.section = "timeouts",
     .name = "chunk_write",
     .kind = CONFIG_DURATION,
     FIELD(chunk_write_ms),
     .default_value = "10 s",
     .minimum = 100,
     .maximum = 600000,
     .help = "How long one copy of a chunk may take to become durable before another place is tried."},
    {.section = "timeouts",
     .name = "chunk_read",
     .kind = CONFIG_DURATION,
     FIELD(chunk_read_ms),
     .default_value = "5 s",
     .minimum = 100,
     .maximum = 600000,
     .help = "How long one replica may take to answer a read before another is asked."},
    {.section = "timeouts",
     .name = "meta_call",
     .kind = CONFIG_DURATION,
     FIELD(meta_call_ms),
     .default_value = "5 s",
     .minimum = 100,
     .maximum = 600000,
     .help = "How long one call to the metadata service may take."},
    {.section = "timeouts",
     .name = "s3_idle",
     .kind = CONFIG_DURATION,
     FIELD(s3_idle_ms),
     .default_value = "60 s",
     .minimum = 1000,
     .maximum = 86400000,
     .help = "How long an S3 connection may be silent."},
    {.section = "log",
     .name = "access",
     .kind = CONFIG_FLAG,
     FIELD(access_log),
     .default_value = "no",
     .help = "Log every S3 request, without names of objects."},
};

bool address_is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strncmp(address, "[::1]:", 6) == 0;
}

static enum status refuse(char *message, size_t message_bytes, const char *path, const char *reason)
{
    snprintf(message, message_bytes, "%s: %s", path, reason);
    return STATUS_INVALID;
}

enum status node_options_read(const char *path, struct node_options *options, char *message, size_t message_bytes)
{
    memset(options, 0, sizeof(*options));
    enum status status = config_read(path, table, ARRAY_LENGTH(table), options, message, message_bytes);
    if (status != STATUS_OK) {
        return status;
    }
    if (options->failure_domain[0] == '\0') {
        memcpy(options->failure_domain, options->name, sizeof(options->name));
    }
    if (options->name[0] == '\0' || options->disk_count == 0) {
        return refuse(message, message_bytes, path, "a node needs a name and at least one [disk] directory");
    }
    if (!address_is_loopback(options->listen)) {
        return refuse(message, message_bytes, path,
                      "[node] listen must be a loopback address: keys and chunks would cross the network without TLS");
    }
    if (!address_is_loopback(options->meta)) {
        return refuse(message, message_bytes, path,
                      "[node] meta must be a loopback address: keys would cross the network without TLS");
    }
    if (options->segment_bytes % MIB(1) != 0) {
        return refuse(message, message_bytes, path, "[disk] segment_size must be a multiple of 1 MiB");
    }
    if (options->disk_capacity_bytes < 4 * options->segment_bytes) {
        return refuse(message, message_bytes, path, "[disk] capacity must be at least four times segment_size");
    }
    if (options->puts_max > options->gateway_large_slabs + options->gateway_small_slabs) {
        return refuse(message, message_bytes, path, "[limits] puts must not exceed the gateway's slabs");
    }
    return STATUS_OK;
}

void node_options_print_example(FILE *out)
{
    config_print_example(out, "trilith-node: a storage node and S3 gateway", table, ARRAY_LENGTH(table));
}
