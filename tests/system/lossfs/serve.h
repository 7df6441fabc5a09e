/* serve.h - the operations of the kernel on a lossfs. */
#ifndef TRILITH_TESTS_SYSTEM_LOSSFS_SERVE_H
#define TRILITH_TESTS_SYSTEM_LOSSFS_SERVE_H

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

/* Their user data is the struct lossfs. */
extern const struct fuse_lowlevel_ops lossfs_operations;

#endif
