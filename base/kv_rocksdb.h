/* kv_rocksdb.h - the edge: base/kv.h on RocksDB, one column family, its write-ahead log off. Only a main.c names this.
 *
 * Why no log  Whoever writes here has a log of its own (the store's segments, the metadata journal) and replays it, so
 *             a second one would only cost a second flush. One column family makes every crash state a prefix of the
 *             batches.
 * Memory      The block cache as given, two write buffers of 16 MiB, and one table of open files.
 * Errors      Logged once per table, then STATUS_IO. A table that fails its checksums while it is opened is
 *             STATUS_CORRUPT: the owner rebuilds or restores it. */
#ifndef TRILITH_BASE_KV_ROCKSDB_H
#define TRILITH_BASE_KV_ROCKSDB_H

#include "base/kv.h"

/* Open the table in `directory` (created when missing, its parent must exist), with `cache_bytes` of block cache.
 * On failure writes one line for people into `message`.
 *   STATUS_CORRUPT  files are damaged or missing
 *   STATUS_BUSY     another process has it open
 *   STATUS_IO       anything else */
MUST_USE enum status kv_rocksdb_open(const char *directory, size_t cache_bytes, struct kv **kv, char *message,
                                     size_t message_bytes);

#endif
