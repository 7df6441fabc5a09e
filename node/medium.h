/* medium.h - what a disk's directory lies on, as far as this system tells: file system, block device, make, serial
 * number.
 *
 * From /proc/self/mountinfo and sysfs. A partition leads to its disk; a device-mapper or RAID device with one device
 * below leads to that, with several it is the end; a loop device is the end. What is missing or makes no sense stays
 * empty: nothing is guessed.
 *
 * `rotational` is believed of physical interfaces only. A virtual disk says what its hypervisor or the kernel's default
 * says (virtio: rotating, whatever lies below), and so counts as not rotating. `shares_extents`: the file system can
 * share extents between files, or a layer below that this system sees (LVM, loop) can keep old blocks. What a
 * hypervisor keeps is not seen.
 * Reads small files, synchronously: at start. Threads    Any. */
#ifndef TRILITH_NODE_MEDIUM_H
#define TRILITH_NODE_MEDIUM_H

#include "proto/wire.pb-c.h"

#include <stdbool.h>
#include <stdint.h>

#define MEDIUM_TEXT_BYTES    128
#define MEDIUM_OPTIONS_BYTES 256

/* Texts are terminated, printable ASCII, and cut when longer. */
struct medium {
    char vendor[MEDIUM_TEXT_BYTES];
    char model[MEDIUM_TEXT_BYTES];
    char serial[MEDIUM_TEXT_BYTES];
    char wwn[MEDIUM_TEXT_BYTES];
    char firmware[MEDIUM_TEXT_BYTES];
    char interface[MEDIUM_TEXT_BYTES]; /* nvme, sata, sas, scsi, usb, virtio, loop, dm, md */
    char device[MEDIUM_TEXT_BYTES];    /* kernel name */
    char file_system[MEDIUM_TEXT_BYTES];
    char mount_options[MEDIUM_OPTIONS_BYTES];
    uint64_t capacity_bytes;
    bool rotational;
    bool discard;
    bool shares_extents;
};

/* Of the file system that `directory` lies on. */
void medium_of_directory(const char *directory, struct medium *medium);
/* The same with the system's files below `root` ("": the real ones), of the device with these numbers. */
void medium_of_device(const char *root, const char *directory, unsigned major_number, unsigned minor_number,
                      struct medium *medium);

/* As the wire has it; the texts are those of `medium`, which stays until the message is gone. */
void medium_fill(const struct medium *medium, Trilith__Medium *wire);

#endif
