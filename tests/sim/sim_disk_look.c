/* sim_disk_look.c - what a test can see of a simulated disk, past its interface. */
#include "tests/sim/sim_disk_private.h"

#include <string.h>

struct sim_file *sim_disk_file_find(struct sim_disk *sim, const char *name)
{
    LIST_EACH (&sim->files, link) {
        struct sim_file *file = LIST_ENTRY(link, struct sim_file, link);
        if (strcmp(file->name, name) == 0) {
            return file;
        }
    }
    return NULL;
}

void sim_disk_observe(struct sim_disk *sim, struct sim_disk_observer *observer)
{
    sim->observer = observer;
}

uint64_t sim_disk_io_count(const struct sim_disk *sim, enum disk_io_kind kind)
{
    return sim->io_counts[kind];
}

const uint8_t *sim_disk_bytes(struct sim_disk *sim, const char *name, uint64_t *bytes)
{
    struct sim_file *file = sim_disk_file_find(sim, name);
    if (file == NULL) {
        return NULL;
    }
    *bytes = file->bytes;
    return sim_file_bytes(file);
}

bool sim_disk_copy(struct sim_disk *sim, enum sim_disk_image image, const char *name, uint64_t offset, void *buffer,
                   size_t bytes)
{
    const struct sim_file *file = sim_disk_file_find(sim, name);
    if (file == NULL || offset > file->bytes || bytes > file->bytes - offset) {
        return false;
    }
    sim_file_copy(file, image, offset, buffer, bytes);
    return true;
}

bool sim_disk_file_bytes(struct sim_disk *sim, const char *name, uint64_t *bytes)
{
    const struct sim_file *file = sim_disk_file_find(sim, name);
    if (file == NULL) {
        return false;
    }
    *bytes = file->bytes;
    return true;
}

void sim_disk_each_file(struct sim_disk *sim, void (*each)(void *user, const char *name, uint64_t bytes), void *user)
{
    LIST_EACH (&sim->files, link) {
        const struct sim_file *file = LIST_ENTRY(link, struct sim_file, link);
        each(user, file->name, file->bytes);
    }
}

void sim_disk_each_block(struct sim_disk *sim, enum sim_disk_image image,
                         void (*each)(void *user, const char *name, uint64_t offset, const uint8_t bytes[BLOCK_BYTES]),
                         void *user)
{
    LIST_EACH (&sim->files, link) {
        const struct sim_file *file = LIST_ENTRY(link, struct sim_file, link);
        for (uint64_t index = 0; index < file->bytes / BLOCK_BYTES; index++) {
            const struct sim_block *block = file->places[index].image[image];
            if (block != NULL) {
                each(user, file->name, index * BLOCK_BYTES, block->bytes);
            }
        }
    }
}

bool sim_disk_is_stray(struct sim_disk *sim, const char *name, uint64_t offset)
{
    const struct sim_file *file = sim_disk_file_find(sim, name);
    return file != NULL && offset < file->bytes && sim_file_is_stray(file, offset / BLOCK_BYTES);
}
