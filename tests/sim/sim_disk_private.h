/* sim_disk_private.h - what the sources of the simulated disk share: sim_disk.c carries I/O out, sim_disk_write.c brings
 * writes into files, sim_disk_faults.c decides which I/O goes wrong and how. */
#ifndef TRILITH_TESTS_SIM_DISK_PRIVATE_H
#define TRILITH_TESTS_SIM_DISK_PRIVATE_H

#include "tests/sim/sim_disk_image.h"

#define SIM_DISK_CAPACITY_BYTES GIB(16)
#define SIM_DISK_IO_KINDS       4
#define SIM_DISK_NO_LIE         SIM_DISK_FAULTS
#define SIM_DISK_PARTS_MAX      4

struct sim_handle {
    struct disk_file base;
    struct sim_file *file; /* NULL: opened before a crash */
    struct list_link link; /* in sim_disk.handles */
};

/* One I/O in flight. All that a crash has to know is copied: the owner's memory may be gone by then. */
struct sim_request {
    struct list_link link; /* in sim_disk.requests, by due time and then by order, or in sim_disk.stuck */
    struct disk_io *io;
    struct sim_handle *handle;
    enum disk_io_kind kind;
    unsigned flags;
    uint64_t offset;
    uint32_t bytes;
    uint64_t due_ns;
    enum status outcome;
    enum sim_disk_fault lie; /* what the device does wrong and does not tell, or SIM_DISK_NO_LIE */
    bool is_stuck;
    unsigned parts;         /* still to be transferred */
    uint32_t bytes_done;    /* of the parts before */
    uint64_t flushes_up_to; /* flush: the sequence number it covers */
    size_t block_count;
    struct sim_block *blocks[]; /* write: the buffer as it was handed over */
};

struct sim_disk {
    struct disk base;
    struct sim_loop *world;
    struct loop *loop;
    uint64_t seed;
    struct sim_random latency_random; /* one for each purpose: a fault more must not change when I/O completes */
    struct sim_random fault_random;
    struct sim_random crash_random;
    struct loop_timer timer;
    struct sim_blocks blocks;
    struct list files; /* by name */
    struct list handles;
    struct list requests;
    struct list stuck;
    struct sim_disk_observer *observer;
    uint64_t sequence; /* of the last completed write */
    uint64_t capacity_bytes;
    uint64_t fail_countdown; /* 0: nothing fails */
    enum status fail_status;
    unsigned fail_kinds;
    uint32_t slow_factor;
    struct sim_disk_faults faults;
    uint64_t io_counts[SIM_DISK_IO_KINDS];
    uint64_t fault_counts[SIM_DISK_FAULTS];
};

/* sim_disk_look.c */
struct sim_file *sim_disk_file_find(struct sim_disk *sim, const char *name);

/* sim_disk.c */

/* Put `request`, which is in no list, where its due time says, and see that its time will come. */
void sim_disk_schedule(struct sim_disk *sim, struct sim_request *request);

/* sim_disk_write.c */

/* Blocks on their way into the cache of a file. */
struct sim_arrival {
    struct sim_file *file;
    uint64_t first;
    struct sim_block *const *blocks;
    size_t count;
    bool is_partial; /* only some of the sectors */
    bool is_stray;   /* by the device's fault */
    bool is_durable;
};

/* The blocks of a write from `from` to `to`, both in bytes from its start. */
struct sim_arrival sim_disk_arrival_of(const struct sim_request *request, uint32_t from, uint32_t to);

/* Bring blocks into the cache, as one write that completes now. */
void sim_disk_arrive(struct sim_disk *sim, const struct sim_arrival *arrival);

/* Carry out a write, or a part of it, in the way that was decided for it. */
void sim_disk_write(struct sim_disk *sim, const struct sim_request *request, uint32_t from, uint32_t to);

/* sim_disk_faults.c */

/* Whether a fault happens now, by its chance. Draws only when there is one. */
bool sim_disk_draw(struct sim_disk *sim, enum sim_disk_fault fault);

/* What will become of a request that starts now: outcome, lie, parts, being stuck. */
void sim_disk_decide(struct sim_disk *sim, struct sim_request *request);

/* How long it takes, of `latency_ns` that it would take on a sound disk. */
uint64_t sim_disk_delay_ns(struct sim_disk *sim, uint64_t latency_ns);

/* Where a misdirected write lands: not on its target. False: there is no such place. */
bool sim_disk_misdirect(struct sim_disk *sim, const struct sim_request *request, struct sim_file **file,
                        uint64_t *offset);

/* Something at rest may go bad, by chance. */
void sim_disk_age(struct sim_disk *sim);

#endif
