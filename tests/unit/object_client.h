/* object_client.h - clients of the gateway in object_world.h: one that puts, one that gets, and what both must find. */
#ifndef TRILITH_TESTS_OBJECT_CLIENT_H
#define TRILITH_TESTS_OBJECT_CLIENT_H

#include "tests/unit/object_world.h"

bool run_until(const bool *flag);
uint64_t next_random(uint64_t *state);
uint8_t *make_data(size_t bytes);

/* ---- a client that puts ----------------------------------------------------------------------------- */

struct writer {
    struct object_put *put;
    const uint8_t *data;
    size_t bytes;
    size_t written;
    uint64_t random; /* 0: as much as is taken at once */
    size_t limit;    /* 0: none; write only so far */
    bool finish;
    bool done;
    bool detached;
    enum status status;
    enum suite suite;
    struct object_put_result result;
};

void writer_begin(struct writer *writer, const char *key, const uint8_t *data, size_t bytes, bool degraded);
void writer_push(struct writer *writer);
enum status put_object(const char *key, const uint8_t *data, size_t bytes, uint64_t random, bool degraded);

/* ---- a client that gets ------------------------------------------------------------------------------ */

struct reader {
    struct object_get *get;
    uint64_t offset;
    uint64_t want; /* 0: all of it */
    uint8_t *data;
    size_t taken;
    bool by_hand; /* the test calls reader_pull() */
    bool done;
    enum status opened;
    enum status status;
    struct object_info info;
    uint64_t random;
};

void reader_begin(struct reader *reader, const char *key);
/* Read at most `bytes` if they are there; notes the end. Returns the bytes read. */
size_t reader_pull(struct reader *reader, size_t bytes);
void reader_end(struct reader *reader);
/* Read a range (bytes 0: to the end) and say how it ended; whatever came must be right. */
enum status get_object(const char *key, const uint8_t *expected, uint64_t offset, uint64_t bytes);

/* ---- checks ---------------------------------------------------------------------------------------- */

bool is_given_up(uint32_t slot);
/* Every committed chunk has `copies` copies and is not condemned; every other copy anywhere is condemned. */
void check_copies(unsigned copies);

#endif
