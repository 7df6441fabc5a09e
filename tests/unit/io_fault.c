/* io_fault.c - see io_fault.h. */
#include "tests/unit/io_fault.h"

#include "base/log.h"

static struct {
    enum io_fault_kind kind;
    uint64_t nth;
    uint64_t count;
    struct sim_disk *disk;
    const struct disk_ops *disk_ops;    /* the simulated disk's own */
    const struct kv_ops *kv_ops;        /* the simulated table's own: the same for all tables */
    const struct kv_iterator *iterator; /* the one that has failed, while it is open */
} fault;

/* Count one I/O. True: it fails. */
static bool io_fails(void)
{
    fault.count++;
    switch (fault.kind) {
    case IO_FAULT_NONE:
        return false;
    case IO_FAULT_ONCE:
        return fault.count == fault.nth;
    case IO_FAULT_FOR_EVER:
        return fault.count >= fault.nth;
    }
    UNREACHABLE();
}

void io_fault_arm(enum io_fault_kind kind, uint64_t nth)
{
    CHECK(nth > 0);
    fault.kind = kind;
    fault.nth = nth;
    fault.count = 0;
}

void io_fault_disarm(void)
{
    fault.kind = IO_FAULT_NONE;
}

bool io_fault_reached(void)
{
    return fault.count >= fault.nth;
}

/* ---- the disk ------------------------------------------------------------------------------------------ */

static enum status counted_open(struct disk *disk, const char *name, bool create, struct disk_file **file)
{
    return io_fails() ? STATUS_IO : fault.disk_ops->file_open(disk, name, create, file);
}

static enum status counted_remove(struct disk *disk, const char *name)
{
    return io_fails() ? STATUS_IO : fault.disk_ops->file_remove(disk, name);
}

static enum status counted_list(struct disk *disk, void (*each)(void *user, const char *name, uint64_t bytes),
                                void *user)
{
    return io_fails() ? STATUS_IO : fault.disk_ops->list_files(disk, each, user);
}

/* The simulated disk decides when an I/O is started whether it fails: so it is told to fail just for this call. */
static void counted_submit(struct disk_file *file, struct disk_io *io)
{
    bool fails = io_fails();
    if (fails) {
        sim_disk_fail_after(fault.disk, 1, STATUS_IO);
    }
    fault.disk_ops->submit(file, io);
    if (fails) {
        sim_disk_fail_after(fault.disk, 0, STATUS_OK);
    }
}

void io_fault_watch_disk(struct sim_disk *disk)
{
    static struct disk_ops counted;
    struct disk *interface = sim_disk_interface(disk);
    CHECK(interface->ops != &counted);
    fault.disk = disk;
    fault.disk_ops = interface->ops;
    counted = *interface->ops;
    counted.file_open = counted_open;
    counted.file_remove = counted_remove;
    counted.list_files = counted_list;
    counted.submit = counted_submit;
    interface->ops = &counted;
}

/* ---- the table ----------------------------------------------------------------------------------------- */

static enum status counted_get(struct kv *kv, struct kv_slice key, void *buffer, size_t capacity, size_t *bytes)
{
    return io_fails() ? STATUS_IO : fault.kv_ops->get(kv, key, buffer, capacity, bytes);
}

static enum status counted_write(struct kv *kv, struct kv_batch *batch)
{
    return io_fails() ? STATUS_IO : fault.kv_ops->write(kv, batch);
}

static enum status counted_flush(struct kv *kv)
{
    return io_fails() ? STATUS_IO : fault.kv_ops->flush(kv);
}

static struct kv_iterator *counted_iterator_open(struct kv *kv)
{
    bool fails = io_fails();
    struct kv_iterator *iterator = fault.kv_ops->iterator_open(kv);
    if (fails) {
        fault.iterator = iterator;
    }
    return iterator;
}

static bool counted_valid(struct kv_iterator *iterator)
{
    return iterator != fault.iterator && fault.kv_ops->valid(iterator);
}

static enum status counted_iterator_status(struct kv_iterator *iterator)
{
    return iterator == fault.iterator ? STATUS_IO : fault.kv_ops->iterator_status(iterator);
}

static void counted_iterator_close(struct kv_iterator *iterator)
{
    if (iterator == fault.iterator) {
        fault.iterator = NULL;
    }
    fault.kv_ops->iterator_close(iterator);
}

void io_fault_watch_kv(struct kv *kv)
{
    static struct kv_ops counted;
    CHECK(kv->ops != &counted);
    fault.kv_ops = kv->ops;
    counted = *kv->ops;
    counted.get = counted_get;
    counted.write = counted_write;
    counted.flush = counted_flush;
    counted.iterator_open = counted_iterator_open;
    counted.valid = counted_valid;
    counted.iterator_status = counted_iterator_status;
    counted.iterator_close = counted_iterator_close;
    kv->ops = &counted;
}

/* ---- the log ------------------------------------------------------------------------------------------- */

void __wrap_log_event(enum log_level level, const char *event, const char *format, ...) PRINTF_LIKE(3, 4);

/* Failures are what these tests are about: thousands of lines about them would hide the one that counts. */
void __wrap_log_event(enum log_level level, const char *event, const char *format, ...)
{
    (void)level;
    (void)event;
    (void)format;
}
