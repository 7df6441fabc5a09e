/* model.c - the objects of the reference model: the rules of what a read may return. See model.h.
 *
 * All rules follow from intervals. A write took effect at one moment between its beginning and its `effective` time: its
 * acknowledgement, or the end of the first read that returned it. So W2 comes after W1 for certain when W2 began after W1
 * was effective. As soon as such a W2 is effective itself, W1 is gone, and a read that begins later must not return it.
 * A read that began after W1 was effective and returned something else says the same: W1 takes effect only once. */
#include "tests/sim/model.h"
#include "tests/sim/model_private.h"

#include <stdlib.h>

void *model_grow(void *items, size_t *capacity, size_t count, size_t item_bytes)
{
    if (count < *capacity) {
        return items;
    }
    *capacity = *capacity == 0 ? 16 : *capacity * 2;
    items = realloc(items, *capacity * item_bytes);
    CHECK(items != NULL);
    return items;
}

static struct model_write *write_add(struct model_key *key)
{
    key->writes = model_grow(key->writes, &key->write_capacity, key->write_count, sizeof(key->writes[0]));
    struct model_write *write = &key->writes[key->write_count++];
    *write = (struct model_write){.effective_ns = MODEL_NEVER, .gone_ns = MODEL_NEVER};
    return write;
}

/* A key without writes gets the delete before everything. */
static void key_begin(struct model_key *key)
{
    if (key->write_count == 0) {
        struct model_write *write = write_add(key);
        write->effective_ns = 0;
        write->state = MODEL_ACKNOWLEDGED;
    }
}

struct model_key *model_key(struct model *model, uint32_t bucket, uint32_t key)
{
    CHECK(bucket < MODEL_BUCKETS_MAX && key < SIM_KEYS_MAX);
    key_begin(&model->keys[bucket][key]);
    return &model->keys[bucket][key];
}

static uint64_t earlier(uint64_t one, uint64_t other)
{
    return one < other ? one : other;
}

/* ---- writes -------------------------------------------------------------------------------------- */

/* `write` is known to have taken effect by now: what it certainly came after is gone. */
static void write_is_effective(struct model_key *key, struct model_write *write, uint64_t now_ns)
{
    if (write->effective_ns <= now_ns) {
        return;
    }
    write->effective_ns = now_ns;
    for (size_t i = 0; i < key->write_count; i++) {
        struct model_write *before = &key->writes[i];
        if (before != write && before->effective_ns < write->began_ns) {
            before->gone_ns = earlier(before->gone_ns, now_ns);
        }
    }
}

void model_write_begins(struct model_key *key, uint64_t value, uint64_t size, uint64_t now_ns)
{
    key_begin(key);
    struct model_write *write = write_add(key);
    write->value = value;
    write->size = size;
    write->began_ns = now_ns;
}

static struct model_write *write_find(struct model_key *key, uint64_t value, uint64_t began_ns)
{
    for (size_t i = key->write_count; i-- > 0;) {
        struct model_write *write = &key->writes[i];
        if (write->value == value && write->began_ns == began_ns) {
            return write;
        }
    }
    return NULL;
}

void model_write_ends(struct model_key *key, uint64_t value, enum model_write_state state, uint64_t began_ns,
                      uint64_t now_ns)
{
    struct model_write *write = write_find(key, value, began_ns);
    CHECK(write != NULL && write->state == MODEL_UNDER_WAY);
    write->state = state;
    if (state == MODEL_ACKNOWLEDGED) {
        write_is_effective(key, write, now_ns);
    }
}

struct model_write *model_find_value(struct model_key *key, uint64_t value)
{
    for (size_t i = key->write_count; i-- > 0;) {
        if (key->writes[i].value == value && value != 0) {
            return &key->writes[i];
        }
    }
    return NULL;
}

/* ---- reads --------------------------------------------------------------------------------------- */

bool model_write_is_readable(const struct model_write *write, uint64_t began_ns, uint64_t ended_ns, const char **why)
{
    const char *reason = write->state == MODEL_REFUSED ? "its put was refused"
                         : write->began_ns > ended_ns  ? "its put had not begun"
                         : write->gone_ns < began_ns   ? "it had been replaced or deleted before the read began"
                                                       : NULL;
    if (why != NULL) {
        *why = reason;
    }
    return reason == NULL;
}

static bool any_is_readable(const struct model_key *key, bool deletes, uint64_t began_ns, uint64_t ended_ns)
{
    for (size_t i = 0; i < key->write_count; i++) {
        const struct model_write *write = &key->writes[i];
        if ((write->value == 0) == deletes && model_write_is_readable(write, began_ns, ended_ns, NULL)) {
            return true;
        }
    }
    return false;
}

bool model_absence_is_allowed(const struct model_key *key, uint64_t began_ns, uint64_t ended_ns)
{
    return key->write_count == 0 || any_is_readable(key, true, began_ns, ended_ns);
}

bool model_presence_is_allowed(const struct model_key *key, uint64_t began_ns, uint64_t ended_ns)
{
    return any_is_readable(key, false, began_ns, ended_ns);
}

void model_was_read(struct model_key *key, struct model_write *write, uint64_t began_ns, uint64_t ended_ns)
{
    for (size_t i = 0; i < key->write_count; i++) {
        struct model_write *other = &key->writes[i];
        bool is_it = write != NULL ? other == write : other->value == 0;
        if (!is_it && other->effective_ns < began_ns) {
            other->gone_ns = earlier(other->gone_ns, ended_ns);
        }
    }
    if (write != NULL) {
        write_is_effective(key, write, ended_ns);
    }
}

/* ---- the catalog --------------------------------------------------------------------------------- */

void model_version_ends(struct model_key *key, uint64_t now_ns)
{
    if (key->current != NULL) {
        key->current->until_ns = now_ns;
        key->current = NULL;
    }
}

void model_version_begins(struct model_key *key, struct model_version *version, uint64_t now_ns)
{
    model_version_ends(key, now_ns);
    key->versions = model_grow(key->versions, &key->version_capacity, key->version_count, sizeof(key->versions[0]));
    key->versions[key->version_count++] = version;
    version->from_ns = now_ns;
    version->until_ns = MODEL_NEVER;
    key->current = version;
}

/* Whose value came back is not known when more than one could be meant: then each of them may be there, and none must. */
static void value_returns(struct model_key *key, const struct model_write *before, struct model_version *version,
                          uint64_t now_ns)
{
    struct model_write copy = *before; /* The array may move. */
    struct model_write *write = write_add(key);
    write->value = copy.value;
    write->size = copy.size;
    write->began_ns = now_ns;
    write->state = version->value != 0 ? MODEL_ACKNOWLEDGED : MODEL_UNKNOWN;
    if (version->value != 0) {
        write->version = version;
        write_is_effective(key, write, now_ns);
    }
}

void model_version_returns(struct model_key *key, struct model_version *version, uint64_t now_ns)
{
    uint64_t from_ns = version->from_ns; /* When it was committed. */
    size_t count = key->write_count;
    size_t candidates = 0;
    size_t last = 0;
    for (size_t i = 0; i < count; i++) {
        const struct model_write *write = &key->writes[i];
        bool is_it = version->value != 0 ? write->value == version->value
                                         : write->value != 0 && write->version == NULL &&
                                               write->size == version->size && write->began_ns <= from_ns;
        candidates += is_it ? 1 : 0;
        last = is_it ? i : last;
    }
    if (version->value == 0 && candidates == 1) {
        version->value = key->writes[last].value;
    }
    for (size_t i = 0; version->value == 0 && i < count; i++) {
        const struct model_write *write = &key->writes[i];
        if (write->value != 0 && write->version == NULL && write->size == version->size && write->began_ns <= from_ns) {
            value_returns(key, write, version, now_ns);
        }
    }
    if (version->value != 0) {
        value_returns(key, &key->writes[last], version, now_ns);
    }
    model_version_begins(key, version, now_ns);
    version->taken_back = true;
}

bool model_was_absent(const struct model_key *key, uint64_t began_ns, uint64_t ended_ns)
{
    uint64_t covered_ns = began_ns; /* It was there from the beginning of the interval up to here. */
    for (size_t i = 0; i < key->version_count && covered_ns <= ended_ns; i++) {
        const struct model_version *version = key->versions[i];
        if (version->from_ns > covered_ns) {
            return true;
        }
        covered_ns = version->until_ns > covered_ns ? version->until_ns : covered_ns;
    }
    return covered_ns <= ended_ns;
}

static bool overlaps(const struct model_version *version, uint64_t began_ns, uint64_t ended_ns)
{
    return version->from_ns <= ended_ns && version->until_ns >= began_ns;
}

/* A version can be a value when nothing speaks against it. */
static bool can_be(const struct model_version *version, const struct model_write *write)
{
    return (version->value == 0 || version->value == write->value) && version->size == write->size &&
           version->from_ns >= write->began_ns;
}

static void bind(struct model_write *write, struct model_version *version)
{
    write->version = version;
    version->value = write->value;
}

bool model_value_was_current(struct model_key *key, struct model_write *write, uint64_t began_ns, uint64_t ended_ns)
{
    if (write->version != NULL) {
        return overlaps(write->version, began_ns, ended_ns);
    }
    struct model_version *found = NULL;
    size_t count = 0;
    for (size_t i = 0; i < key->version_count; i++) {
        if (can_be(key->versions[i], write) && overlaps(key->versions[i], began_ns, ended_ns)) {
            found = key->versions[i];
            count++;
        }
    }
    if (count == 1) {
        bind(write, found);
    }
    return count > 0;
}

size_t model_commits_within(const struct model_key *key, uint64_t size, uint64_t began_ns, uint64_t ended_ns,
                            struct model_version **last)
{
    size_t count = 0;
    for (size_t i = 0; i < key->version_count; i++) {
        struct model_version *version = key->versions[i];
        if (!version->taken_back && version->from_ns >= began_ns && version->from_ns <= ended_ns &&
            version->size == size) {
            *last = version;
            count++;
        }
    }
    return count;
}
