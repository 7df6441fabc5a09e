/* options.h - the settings of trilith-node: one table that reads the file and prints the commented example. */
#ifndef TRILITH_NODE_OPTIONS_H
#define TRILITH_NODE_OPTIONS_H

#include "base/config.h"
#include "base/net.h"
#include "node/chunk_host.h"

#define NODE_NAME_BYTES_MAX 64
#define NODE_PATH_BYTES     400
#define NODE_REACTORS_MAX   64

enum node_flush { NODE_FLUSH_AUTO, NODE_FLUSH_WRITE, NODE_FLUSH_FLUSH };

struct node_options {
    char name[NODE_NAME_BYTES_MAX + 1];
    char directory[NODE_PATH_BYTES];
    char listen[NET_ADDRESS_BYTES];
    char meta[NET_ADDRESS_BYTES];
    char s3_listen[NET_ADDRESS_BYTES];
    char s3_domain[256];
    char failure_domain[NODE_NAME_BYTES_MAX + 1];
    uint64_t reactors;
    unsigned log_level; /* enum log_level */
    uint64_t orphan_after_ms;
    uint64_t reseal_bytes_per_s;
    uint64_t move_bytes_per_s;

    char disks[CHUNK_HOST_DISKS_MAX][NODE_PATH_BYTES];
    size_t disk_count;
    uint64_t disk_capacity_bytes;
    uint64_t segment_bytes;
    uint64_t prewrite_segments;
    uint64_t group_wait_us;
    unsigned flush; /* enum node_flush */
    uint64_t index_cache_bytes;
    bool allow_volatile;

    uint64_t gateway_large_slabs;
    uint64_t gateway_small_slabs;
    uint64_t replica_large_slabs;
    uint64_t replica_small_slabs;
    uint64_t puts_max;
    uint64_t gets_max;
    uint64_t chunk_requests_max;
    uint64_t s3_connections;

    uint64_t chunk_write_ms;
    uint64_t chunk_read_ms;
    uint64_t meta_call_ms;
    uint64_t s3_idle_ms;
    bool access_log;
};

/* Read and check. On failure `message` says in one line what is wrong; statuses of config_read(). */
MUST_USE enum status node_options_read(const char *path, struct node_options *options, char *message,
                                       size_t message_bytes);
void node_options_print_example(FILE *out);

/* Is "host:port" on a loopback address, so that nothing said there leaves the machine? */
bool address_is_loopback(const char *address);

#endif
