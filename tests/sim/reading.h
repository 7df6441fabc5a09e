/* reading.h - what a client's read returned, held against everything the reference model knows of the key.
 *
 * Of a read that ended well, or broke off, the bytes say which value they are of: content is made from the value's number.
 * Short bodies may fit several values: then the read may return any of those that are allowed, and nothing is learned. */
#ifndef TRILITH_TESTS_SIM_READING_H
#define TRILITH_TESTS_SIM_READING_H

#include "tests/sim/model.h"

enum reading_kind {
    READING_NOTHING, /* not a read of one key, or nothing came of it */
    READING_ABSENT,
    READING_VALUE,
    READING_FOREIGN, /* bytes, or a size, that no value ever put there has */
};

struct reading {
    enum reading_kind kind;
    struct model_key *key;
    struct model_write *write; /* VALUE: one that fits, an allowed one if there is one */
    bool only_one;             /* no other value fits */
    bool allowed;              /* by what clients know */
    bool was_there;            /* by the commands of the metadata service */
    const char *why;           /* not allowed */
};

void reading_judge(struct model *model, const struct sim_operation *operation, struct reading *reading);
/* What it says about the other values. */
void reading_learn(const struct sim_operation *operation, const struct reading *reading);

/* Whether the body of a listing names the key. */
bool reading_list_has(const struct sim_operation *operation, uint32_t key);
/* The first name in it that is no key's; false: there is none. */
bool reading_list_stranger(const struct sim_operation *operation, char *name, size_t name_bytes);

#endif
