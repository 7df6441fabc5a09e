/* medium_fixture.h - image files to wipe, faulty access to them, and a device that sanitizes by a script. */
#ifndef TRILITH_TESTS_UNIT_MEDIUM_FIXTURE_H
#define TRILITH_TESTS_UNIT_MEDIUM_FIXTURE_H

#include "cluster/medium_wipe.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* An image in a directory of its own, and the state of its wipe. */
struct image {
    char directory[64];
    char path[128];
    char state[128];
    struct medium_identity identity;
    char message[MEDIUM_MESSAGE_BYTES];
};

static inline void image_open(struct image *image, uint64_t bytes)
{
    snprintf(image->directory, sizeof(image->directory), "/var/tmp/medium-XXXXXX");
    cr_assert(mkdtemp(image->directory) != NULL);
    snprintf(image->path, sizeof(image->path), "%s/image", image->directory);
    snprintf(image->state, sizeof(image->state), "%s/state", image->directory);
    int file = open(image->path, O_RDWR | O_CREAT | O_EXCL, 0600);
    cr_assert(file >= 0 && ftruncate(file, (off_t)bytes) == 0);
    close(file);
    cr_assert_eq(medium_identify(&medium_system_here, image->path, &image->identity, image->message), STATUS_OK, "%s",
                 image->message);
}

static inline void image_close(struct image *image)
{
    char path[160];
    unlink(image->path);
    unlink(image->state);
    snprintf(path, sizeof(path), "%s.next", image->state);
    unlink(path);
    rmdir(image->directory);
}

static inline void image_put(const struct image *image, uint64_t offset, const void *data, size_t bytes)
{
    int file = open(image->path, O_WRONLY);
    cr_assert(file >= 0 && pwrite(file, data, bytes, (off_t)offset) == (ssize_t)bytes);
    close(file);
}

static inline void image_get(const struct image *image, uint64_t offset, void *data, size_t bytes)
{
    int file = open(image->path, O_RDONLY);
    cr_assert(file >= 0 && pread(file, data, bytes, (off_t)offset) == (ssize_t)bytes);
    close(file);
}

/* Random content that a seed byte stands for. */
static inline void image_fill(const struct image *image, uint8_t seed_byte)
{
    uint8_t seed[KEYSTREAM_SEED_BYTES] = {seed_byte};
    uint8_t *data = malloc(MIB(1));
    cr_assert_not_null(data);
    for (uint64_t offset = 0; offset < image->identity.bytes; offset += MIB(1)) {
        size_t bytes = image->identity.bytes - offset < MIB(1) ? (size_t)(image->identity.bytes - offset) : MIB(1);
        memset(data, 0, bytes);
        keystream_xor(seed, offset, data, bytes);
        image_put(image, offset, data, bytes);
    }
    free(data);
}

/* ---- access with faults --------------------------------------------------------------------------- */

struct faulty_io {
    struct medium_io io;
    struct medium_io *real;
    uint64_t bad_write; /* the block there can't be written; UINT64_MAX: none */
    uint64_t bad_read;
    uint64_t lost_write; /* writes that touch this block are forgotten */
    int64_t writes_left; /* then the program is killed; negative: never */
    int64_t flush_fails; /* the n-th flush from now fails; negative: none */
    bool killed;
    unsigned writes;
};

static inline struct faulty_io *faulty_of(struct medium_io *io)
{
    return CONTAINER_OF(io, struct faulty_io, io);
}

static inline bool touches(uint64_t offset, size_t bytes, uint64_t block)
{
    return block != UINT64_MAX && block >= offset && block < offset + bytes;
}

static inline enum status faulty_read(struct medium_io *io, uint64_t offset, uint8_t *buffer, size_t bytes)
{
    struct faulty_io *faulty = faulty_of(io);
    if (touches(offset, bytes, faulty->bad_read)) {
        return STATUS_IO;
    }
    return faulty->real->read(faulty->real, offset, buffer, bytes);
}

static inline enum status faulty_write(struct medium_io *io, uint64_t offset, const uint8_t *buffer, size_t bytes)
{
    struct faulty_io *faulty = faulty_of(io);
    if (touches(offset, bytes, faulty->bad_write)) {
        return STATUS_IO;
    }
    faulty->writes++;
    faulty->killed = faulty->killed || faulty->writes_left == 0;
    faulty->writes_left -= faulty->writes_left > 0;
    if (faulty->killed) {
        return STATUS_OK; /* Nothing reaches the medium any more. */
    }
    if (touches(offset, bytes, faulty->lost_write)) {
        return bytes == BLOCK_BYTES ? STATUS_OK : STATUS_IO;
    }
    return faulty->real->write(faulty->real, offset, buffer, bytes);
}

/* A program that was killed saves no state: a failing flush makes it stop before that. */
static inline enum status faulty_flush(struct medium_io *io)
{
    struct faulty_io *faulty = faulty_of(io);
    if (faulty->flush_fails >= 0 && faulty->flush_fails-- == 0) {
        return STATUS_IO;
    }
    return faulty->real->flush(faulty->real);
}

static inline enum status faulty_discard(struct medium_io *io)
{
    (void)io;
    return STATUS_UNSUPPORTED;
}

static inline void faulty_close(struct medium_io *io)
{
    struct faulty_io *faulty = faulty_of(io);
    faulty->real->close(faulty->real);
}

static inline void faulty_open(struct faulty_io *faulty, struct image *image)
{
    *faulty = (struct faulty_io){.bad_write = UINT64_MAX,
                                 .bad_read = UINT64_MAX,
                                 .lost_write = UINT64_MAX,
                                 .writes_left = -1,
                                 .flush_fails = -1};
    cr_assert_eq(medium_open(&image->identity, true, &faulty->real, image->message), STATUS_OK, "%s", image->message);
    faulty->io = (struct medium_io){.bytes = faulty->real->bytes,
                                    .read = faulty_read,
                                    .write = faulty_write,
                                    .flush = faulty_flush,
                                    .discard = faulty_discard,
                                    .close = faulty_close};
}

/* ---- a device that sanitizes ---------------------------------------------------------------------- */

struct scripted {
    struct sanitizer sanitizer;
    struct sanitize_ability ability;
    uint16_t sstat;
    uint32_t cdw10;
    uint32_t progress; /* of 65536 */
    uint32_t step;     /* of progress per poll; 0: stands still */
    uint32_t stops_at; /* progress beyond which it stands still */
    uint32_t fails_at; /* progress at which it fails */
    uint32_t estimate;
    unsigned log_errors; /* the next so many reads of the log fail */
    bool refuses;
    unsigned issued;
    uint64_t ms;
    void (*erase)(void *user); /* what completing does to the medium */
    void *user;
};

static inline struct scripted *scripted_of(struct sanitizer *sanitizer)
{
    return CONTAINER_OF(sanitizer, struct scripted, sanitizer);
}

static inline enum status scripted_ability(struct sanitizer *sanitizer, struct sanitize_ability *ability)
{
    *ability = scripted_of(sanitizer)->ability;
    return STATUS_OK;
}

static inline enum status scripted_issue(struct sanitizer *sanitizer, uint32_t cdw10, uint32_t cdw11)
{
    struct scripted *device = scripted_of(sanitizer);
    (void)cdw11;
    if (device->refuses) {
        return STATUS_IO;
    }
    device->issued++;
    device->cdw10 = cdw10;
    device->sstat = SANITIZE_IN_PROGRESS;
    device->progress = 0;
    return STATUS_OK;
}

static inline void scripted_advance(struct scripted *device)
{
    if (SANITIZE_STATE(device->sstat) != SANITIZE_IN_PROGRESS || device->progress >= device->stops_at) {
        return;
    }
    device->progress += device->step;
    if (device->progress >= device->fails_at) {
        device->sstat = SANITIZE_FAILED;
    } else if (device->progress >= 65536) {
        device->sstat = SANITIZE_COMPLETED | 1u << 8;
        device->progress = 65535;
        if (device->erase != NULL) {
            device->erase(device->user);
        }
    }
}

static inline enum status scripted_log(struct sanitizer *sanitizer, struct sanitize_log *log)
{
    struct scripted *device = scripted_of(sanitizer);
    uint8_t raw[SANITIZE_LOG_BYTES] = {0};
    if (device->log_errors > 0) {
        device->log_errors--;
        return STATUS_IO;
    }
    scripted_advance(device);
    uint32_t values[5] = {device->progress | (uint32_t)device->sstat << 16, device->cdw10, device->estimate,
                          device->estimate, device->estimate};
    for (unsigned i = 0; i < sizeof(values); i++) {
        raw[i] = (uint8_t)(values[i / 4] >> (8 * (i % 4)));
    }
    sanitize_log_decode(raw, log);
    return STATUS_OK;
}

static inline void scripted_pause(struct sanitizer *sanitizer, unsigned ms)
{
    scripted_of(sanitizer)->ms += ms;
}

static inline uint64_t scripted_now(struct sanitizer *sanitizer)
{
    return scripted_of(sanitizer)->ms;
}

static inline void scripted_close(struct sanitizer *sanitizer)
{
    (void)sanitizer;
}

static inline void scripted_open(struct scripted *device)
{
    *device = (struct scripted){.sanitizer = {.ability = scripted_ability,
                                              .issue = scripted_issue,
                                              .log = scripted_log,
                                              .pause = scripted_pause,
                                              .now_ms = scripted_now,
                                              .close = scripted_close},
                                .ability = {.sanicap = 7},
                                .step = 8000,
                                .stops_at = UINT32_MAX,
                                .fails_at = UINT32_MAX,
                                .estimate = 100};
}

#endif
