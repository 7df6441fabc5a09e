/* medium_device.h - which medium stands behind a path, whether it may be erased at all, and raw access to it.
 *
 * A medium is a whole block device, a partition, or a regular file that is the image of one. What it is comes from
 * sysfs; what the system does not say stays empty and is reported as not known. Before anything is opened for writing
 * it is refused when somebody uses it: mounted, swap, below md, dm or LVM, part of what the system runs from, the file
 * of a loop device. Block devices are opened with O_EXCL, so from then on nobody can mount it.
 *
 * Access goes through struct medium_io, so that tests can have bad sectors and lying devices.
 * Errors     enum status with one line for people. Sizes and texts from the system are bounded.
 * Threads    One. */
#ifndef TRILITH_CLUSTER_MEDIUM_DEVICE_H
#define TRILITH_CLUSTER_MEDIUM_DEVICE_H

#include "base/ids.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define MEDIUM_PATH_BYTES    1024
#define MEDIUM_TEXT_BYTES    96
#define MEDIUM_MESSAGE_BYTES 512
#define MEDIUM_IO_BYTES      MIB(4) /* of one transfer, at most */

enum medium_kind { MEDIUM_DISK = 1, MEDIUM_PARTITION = 2, MEDIUM_IMAGE = 3, MEDIUM_DIRECTORY = 4 };

/* Texts are printable ASCII without spaces at either end; empty: not known. */
struct medium_identity {
    enum medium_kind kind;
    char path[MEDIUM_PATH_BYTES]; /* without symbolic links */
    char name[MEDIUM_TEXT_BYTES]; /* the kernel's, "nvme0n1"; of a file its last component */
    char disk[MEDIUM_TEXT_BYTES]; /* the whole disk's name; the same unless it is a partition */
    char vendor[MEDIUM_TEXT_BYTES];
    char model[MEDIUM_TEXT_BYTES];
    char serial[MEDIUM_TEXT_BYTES];
    char wwn[MEDIUM_TEXT_BYTES];
    char firmware[MEDIUM_TEXT_BYTES];
    char interface[MEDIUM_TEXT_BYTES]; /* nvme, sata, scsi, virtio, loop, device-mapper, md, zram, file */
    uint64_t bytes;
    bool rotational_known;
    bool rotational;
    bool is_virtual; /* a device that other software makes up: what is below it is not seen from here */
    bool can_discard;
    unsigned namespaces; /* NVMe: how many the controller shows here; 0: not known, or no NVMe */
    uint64_t device;     /* block: major and minor; file: of its file system */
    uint64_t inode;      /* file */
};

/* Where the kernel tells: "/sys" and "/proc", elsewhere in tests. */
struct medium_system {
    const char *sys;
    const char *proc;
};
extern const struct medium_system medium_system_here;

const char *medium_kind_name(enum medium_kind kind);

/* Find out what `path` is. STATUS_OK; STATUS_NOT_FOUND; STATUS_UNSUPPORTED: no block device and no regular file;
 * STATUS_IO. `message` (MEDIUM_MESSAGE_BYTES) says what is wrong. */
MUST_USE enum status medium_identify(const struct medium_system *system, const char *path,
                                     struct medium_identity *identity, char *message);

/* Whether somebody uses it. STATUS_OK: nobody; STATUS_BUSY: `message` says who; STATUS_IO: can't be found out, so it
 * may not be erased. */
MUST_USE enum status medium_check_free(const struct medium_system *system, const struct medium_identity *identity,
                                       char *message);

/* Whether `repeated`, what the operator typed again, names this medium: its serial number or its name; of a
 * partition only its name, as the serial number is the disk's. */
bool medium_is_named(const struct medium_identity *identity, const char *repeated);
/* What the operator is asked to type. */
const char *medium_name_to_repeat(const struct medium_identity *identity);

/* Whether both are the same medium, however it is called today: everything that is known of both agrees. A
 * partition must have the same name, too. */
bool medium_same(const struct medium_identity *a, const struct medium_identity *b);

/* ---- raw access --------------------------------------------------------------------------------- */

/* Offsets are multiples of BLOCK_BYTES, as are sizes, except of what reaches the end. Buffers are aligned to
 * BLOCK_BYTES and at most MEDIUM_IO_BYTES long. Each function: STATUS_OK or STATUS_IO, of all the bytes. */
struct medium_io {
    uint64_t bytes;
    enum status (*read)(struct medium_io *io, uint64_t offset, uint8_t *buffer, size_t bytes);
    enum status (*write)(struct medium_io *io, uint64_t offset, const uint8_t *buffer, size_t bytes);
    /* What was written is on the medium, and what is read from here on comes from it. */
    enum status (*flush)(struct medium_io *io);
    /* Tell the device that nothing is needed any more. STATUS_UNSUPPORTED: it does not take that. */
    enum status (*discard)(struct medium_io *io);
    void (*close)(struct medium_io *io);
};

/* Open it for nobody else. `writable` false: only to look, and others may use it. STATUS_OK: close with io->close().
 * STATUS_BUSY: in use; STATUS_CONFLICT: it is another one than `identity` says; STATUS_DENIED, STATUS_IO. */
MUST_USE enum status medium_open(const struct medium_identity *identity, bool writable, struct medium_io **io,
                                 char *message);

/* The same for one file in a directory: without any lock. */
MUST_USE enum status medium_open_file(int directory, const char *name, struct medium_io **io, char *message);

/* Buffers for the above. NULL: no memory. free() releases. */
MUST_USE uint8_t *medium_buffer(size_t bytes);

/* Read at a few places for at most `for_ms`: bytes per second; 0: could not be read. */
uint64_t medium_probe_rate(struct medium_io *io, unsigned for_ms);

uint64_t medium_now_ms(void); /* since 1970 */
uint64_t medium_ticks_ns(void);

#endif
