/* uring.h - the edge: loop, disk and net on one io_uring per reactor. Only a main.c names this header.
 *
 * Ring: SINGLE_ISSUER | DEFER_TASKRUN | SUBMIT_ALL | CLAMP, completion queue 8 times the submission queue, falling
 * back to COOP_TASKRUN and then to a plain ring on kernels that refuse; io-wq workers limited to 4 bounded and 8
 * unbounded; registered files and, where memlock allows, registered buffers. In-flight operations stay below the
 * completion queue: more wait in a list, so the queue cannot overflow. */
#ifndef TRILITH_BASE_URING_H
#define TRILITH_BASE_URING_H

#include "base/disk.h"
#include "base/loop.h"
#include "base/net.h"

struct uring_loop;

/* Open the reactor of the calling thread. On failure writes one line for people into `message`; when io_uring is
 * forbidden it names the sysctl kernel.io_uring_disabled and the container's seccomp profile.
 *   STATUS_DENIED  forbidden    STATUS_UNSUPPORTED  no io_uring in this kernel    STATUS_IO  anything else */
MUST_USE enum status uring_loop_open(struct uring_loop **loop, char *message, size_t message_bytes);
void uring_loop_close(struct uring_loop *loop);

struct loop *uring_loop_interface(struct uring_loop *loop);
struct net *uring_loop_net(struct uring_loop *loop);

/* Turn until uring_loop_stop(). Only on the thread that opened the loop. */
void uring_loop_run(struct uring_loop *loop);
/* One turn: wait at most until `deadline_ns` for something to do, and do it. For command-line clients. */
void uring_loop_turn(struct uring_loop *loop, uint64_t deadline_ns);
/* Leave uring_loop_run() after this turn. Any thread, and signal handlers. */
void uring_loop_stop(struct uring_loop *loop);

/* Let I/O into `start` use registered buffers. At most a few per loop. Falls back silently (one log line). */
void uring_loop_register_arena(struct uring_loop *loop, uint8_t *start, size_t bytes);

/* Watch a foreign descriptor for POLLIN, level-triggered, until stopped; `ready` runs on the loop's thread. For
 * libraries that bring an epoll descriptor of their own. */
struct uring_watch {
    void (*ready)(struct uring_watch *watch);
    int descriptor;
    bool active;
    bool armed; /* private */
};
void uring_watch_start(struct uring_loop *loop, struct uring_watch *watch);
/* The watch may still be referenced by the kernel until the loop has turned once more: keep its memory until then. */
void uring_watch_stop(struct uring_loop *loop, struct uring_watch *watch);

/* Open a directory as a disk: O_DIRECT files. Refuses file systems that do not overwrite in place (btrfs, zfs,
 * bcachefs, nfs, overlayfs, ext4 with data=journal), saying why in `message`: an erase there would not erase.
 * tmpfs is refused too unless `allow_volatile`.
 *   STATUS_UNSUPPORTED  such a file system    STATUS_NOT_FOUND, STATUS_DENIED, STATUS_IO */
MUST_USE enum status uring_disk_open(struct uring_loop *loop, const char *directory, bool allow_volatile,
                                     struct disk **disk, char *message, size_t message_bytes);
void uring_disk_close(struct disk *disk);

/* How a flush is made durable on this device, measured for about `budget_ms` on a scratch file: true when one
 * write with RWF_DSYNC is faster than write + fdatasync. Synchronous. */
MUST_USE enum status uring_disk_probe_durable_write(struct disk *disk, uint32_t budget_ms,
                                                    bool *durable_write_is_faster);

#endif
