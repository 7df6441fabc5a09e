/* reading.c - see reading.h. */
#include "tests/sim/reading.h"

#include "tests/sim/sim_client.h"

#define COMPARE_BYTES KIB(16)
#define UNIQUE_BYTES  48u /* of a body: two values that agree in so many are one */

/* ---- what a value would have answered -------------------------------------------------------------- */

/* How many bytes the body has when the value is read, and from where. False: such a read has no body of it. */
static bool body_of_value(const struct sim_operation *operation, const struct model_write *write, uint64_t *offset,
                          uint64_t *bytes)
{
    *offset = 0;
    *bytes = write->size;
    if (operation->kind == SIM_GET_RANGE) {
        if (operation->offset >= write->size) {
            return false;
        }
        uint64_t left = write->size - operation->offset;
        *offset = operation->offset;
        *bytes = operation->length < left ? operation->length : left;
    }
    return true;
}

static bool content_matches(uint64_t value, uint64_t offset, const uint8_t *body, uint64_t bytes)
{
    static uint8_t expected[COMPARE_BYTES];
    for (uint64_t at = 0; at < bytes; at += sizeof(expected)) {
        size_t piece = bytes - at < sizeof(expected) ? (size_t)(bytes - at) : sizeof(expected);
        sim_content_fill(value, offset + at, expected, piece);
        if (memcmp(expected, body + at, piece) != 0) {
            return false;
        }
    }
    return true;
}

static bool fits(const struct sim_operation *operation, const struct model_write *write)
{
    uint64_t offset;
    uint64_t bytes;
    if (write->value == 0) {
        return false;
    }
    if (operation->kind == SIM_HEAD) {
        return operation->object_bytes == write->size;
    }
    bool size_fits = operation->object_bytes == 0 || operation->object_bytes == write->size;
    if (!size_fits || !body_of_value(operation, write, &offset, &bytes)) {
        return false;
    }
    bool length_fits = operation->outcome == SIM_DONE ? operation->body_bytes == bytes : operation->body_bytes <= bytes;
    return length_fits && content_matches(write->value, offset, operation->body, operation->body_bytes);
}

/* ---- judging --------------------------------------------------------------------------------------- */

static void judge_absence(const struct sim_operation *operation, struct reading *reading)
{
    reading->kind = READING_ABSENT;
    reading->allowed = model_absence_is_allowed(reading->key, operation->began_ns, operation->ended_ns);
    reading->was_there = model_was_absent(reading->key, operation->began_ns, operation->ended_ns);
    reading->why = "a value had been acknowledged before the read began, and nobody deleted it";
}

static void judge_value(const struct sim_operation *operation, struct reading *reading)
{
    struct model_key *key = reading->key;
    size_t count = 0;
    reading->kind = READING_FOREIGN;
    for (size_t i = key->write_count; i-- > 0;) {
        struct model_write *write = &key->writes[i];
        const char *why;
        if (!fits(operation, write)) {
            continue;
        }
        bool allowed = model_write_is_readable(write, operation->began_ns, operation->ended_ns, &why);
        bool was_there = allowed && model_value_was_current(key, write, operation->began_ns, operation->ended_ns);
        bool is_better =
            reading->kind == READING_FOREIGN || (allowed && !reading->allowed) || (was_there && !reading->was_there);
        count++;
        if (is_better) {
            reading->kind = READING_VALUE;
            reading->write = write;
            reading->allowed = allowed;
            reading->was_there = was_there;
            reading->why = why;
        }
    }
    reading->only_one = count == 1 || (count > 0 && operation->body_bytes >= UNIQUE_BYTES);
}

void reading_judge(struct model *model, const struct sim_operation *operation, struct reading *reading)
{
    bool is_read = operation->kind == SIM_GET || operation->kind == SIM_GET_RANGE || operation->kind == SIM_HEAD;
    *reading = (struct reading){.kind = READING_NOTHING};
    if (!is_read) {
        return;
    }
    reading->key = model_key(model, operation->bucket, operation->key);
    if (operation->outcome == SIM_ABSENT) {
        judge_absence(operation, reading);
    } else if (operation->outcome == SIM_DONE || (operation->outcome == SIM_UNKNOWN && operation->body_bytes > 0)) {
        judge_value(operation, reading);
    }
}

void reading_learn(const struct sim_operation *operation, const struct reading *reading)
{
    if (reading->kind == READING_ABSENT) {
        model_was_read(reading->key, NULL, operation->began_ns, operation->ended_ns);
    } else if (reading->kind == READING_VALUE && reading->only_one) {
        model_was_read(reading->key, reading->write, operation->began_ns, operation->ended_ns);
    }
}

/* ---- listings -------------------------------------------------------------------------------------- */

#define KEY_BEGIN "<Key>"
#define KEY_END   "</Key>"

/* The next name in the body from `*at` on. */
static bool next_name(const struct sim_operation *operation, uint64_t *at, const char **name, size_t *bytes)
{
    const char *body = (const char *)operation->body;
    const char *from = memmem(body + *at, operation->body_bytes - *at, KEY_BEGIN, strlen(KEY_BEGIN));
    if (from == NULL) {
        return false;
    }
    from += strlen(KEY_BEGIN);
    const char *to = memmem(from, (size_t)(body + operation->body_bytes - from), KEY_END, strlen(KEY_END));
    if (to == NULL) {
        return false;
    }
    *name = from;
    *bytes = (size_t)(to - from);
    *at = (uint64_t)(to - body);
    return true;
}

bool reading_list_has(const struct sim_operation *operation, uint32_t key)
{
    const char *name;
    size_t bytes;
    for (uint64_t at = 0; next_name(operation, &at, &name, &bytes);) {
        if (sim_key_from_name(name, bytes) == key) {
            return true;
        }
    }
    return false;
}

bool reading_list_stranger(const struct sim_operation *operation, char *stranger, size_t stranger_bytes)
{
    const char *name;
    size_t bytes;
    for (uint64_t at = 0; next_name(operation, &at, &name, &bytes);) {
        if (sim_key_from_name(name, bytes) >= SIM_KEYS_MAX) {
            (void)snprintf(stranger, stranger_bytes, "%.*s", (int)bytes, name);
            return true;
        }
    }
    return false;
}
