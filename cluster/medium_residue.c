/* medium_residue.c - collecting fingerprints before a wipe, and searching for them and for our labels after it. */
#include "cluster/medium_residue.h"

#include "base/batch.h"
#include "node/store/inspect.h"

#include <stdlib.h>
#include <string.h>

#define LABEL_BYTES      8u
#define LABEL_ALIGNED    512u
#define DISTINCT_MIN     10u /* different values among 16 bytes: below that it is a table or a text, not ciphertext */
#define SUPERBLOCK_STORE 16u /* offset of the store's uuid: node/store/superblock.h */

static const uint8_t labels[2][LABEL_BYTES] = {"TRLSEG1", "TRLSUP1"};
static const uint8_t batch_label[4] = {'T', 'L', 'B', '1'};

/* ---- before --------------------------------------------------------------------------------------- */

void residue_prints_begin(struct residue_prints *prints, uint64_t seed)
{
    memset(prints, 0, sizeof(*prints));
    prints->chance = seed | 1;
}

/* xorshift64*: it only picks samples. */
static uint64_t next_chance(struct residue_prints *prints)
{
    uint64_t x = prints->chance;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    prints->chance = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

static bool looks_random(const uint8_t *window)
{
    uint8_t seen[32] = {0};
    unsigned distinct = 0;
    for (unsigned i = 0; i < RESIDUE_WINDOW_BYTES; i++) {
        uint8_t bit = (uint8_t)(1u << (window[i] & 7));
        distinct += (seen[window[i] >> 3] & bit) == 0;
        seen[window[i] >> 3] |= bit;
    }
    return distinct >= DISTINCT_MIN;
}

/* Keep an even sample of all candidates (Vitter's algorithm R). */
static void sample(struct residue_prints *prints, struct residue_fingerprint *list, uint32_t room, uint32_t *count,
                   uint64_t *seen, uint64_t offset, const uint8_t *window)
{
    if (!looks_random(window)) {
        return;
    }
    (*seen)++;
    uint64_t at = *count < room ? *count : next_chance(prints) % *seen;
    if (at >= room) {
        return;
    }
    *count += *count < room;
    list[at].offset = offset;
    memcpy(list[at].window, window, RESIDUE_WINDOW_BYTES);
}

/* A random window in [from, to) of `data`. */
static void sample_between(struct residue_prints *prints, bool sealed, uint64_t offset, const uint8_t *data,
                           size_t from, size_t to)
{
    if (to - from < RESIDUE_WINDOW_BYTES) {
        return;
    }
    size_t at = from + (size_t)(next_chance(prints) % (to - from - RESIDUE_WINDOW_BYTES + 1));
    if (sealed) {
        sample(prints, prints->sealed, RESIDUE_SEALED_MAX, &prints->sealed_count, &prints->sealed_seen, offset + at,
               data + at);
    } else {
        sample(prints, prints->other, RESIDUE_OTHER_MAX, &prints->other_count, &prints->other_seen, offset + at,
               data + at);
    }
}

/* A batch header whose sizes make sense. `header` may be NULL. */
static bool is_batch(const uint8_t *data, size_t bytes, struct batch_header *header)
{
    if (bytes < BATCH_HEADER_FIXED_BYTES || memcmp(data, batch_label, sizeof(batch_label)) != 0) {
        return false;
    }
    uint8_t block[BLOCK_BYTES] = {0};
    struct batch_header decoded;
    memcpy(block, data, bytes < sizeof(block) ? bytes : sizeof(block));
    if (batch_header_peek(block, &decoded) != STATUS_OK || decoded.offset % BLOCK_BYTES != 0) {
        return false;
    }
    if (header != NULL) {
        *header = decoded;
    }
    return true;
}

/* Windows out of the payload of a batch at `at`: one in every unit that lies within the piece. */
static void collect_batch(struct residue_prints *prints, uint64_t offset, const uint8_t *data, size_t bytes, size_t at,
                          const struct batch_header *header)
{
    uint64_t from = at + (uint64_t)header->header_blocks * BLOCK_BYTES;
    uint64_t to = at + (uint64_t)header->batch_blocks * BLOCK_BYTES;
    to = to < bytes ? to : bytes;
    for (; from < to; from += UNIT_BYTES) {
        uint64_t end = from + UNIT_BYTES < to ? from + UNIT_BYTES : to;
        sample_between(prints, true, offset, data, (size_t)from, (size_t)end);
    }
}

static void collect_store(struct residue_prints *prints, const uint8_t *data, size_t bytes)
{
    struct uuid store;
    if (bytes < SUPERBLOCK_STORE + sizeof(store.bytes)) {
        return;
    }
    memcpy(store.bytes, data + SUPERBLOCK_STORE, sizeof(store.bytes));
    for (uint32_t i = 0; i < prints->store_count; i++) {
        if (uuid_equal(&prints->stores[i], &store)) {
            return;
        }
    }
    if (prints->store_count < RESIDUE_STORES_MAX) {
        prints->stores[prints->store_count++] = store;
    }
}

void residue_collect(struct residue_prints *prints, uint64_t offset, const uint8_t *data, size_t bytes)
{
    for (size_t at = 0; at + LABEL_BYTES <= bytes; at += LABEL_ALIGNED) {
        struct batch_header header;
        if (is_batch(data + at, bytes - at, &header)) {
            prints->labels++;
            collect_batch(prints, offset, data, bytes, at, &header);
        } else if (memcmp(data + at, labels[0], LABEL_BYTES) == 0) {
            prints->labels++;
        } else if (memcmp(data + at, labels[1], LABEL_BYTES) == 0) {
            prints->labels++;
            collect_store(prints, data + at, bytes - at);
        }
    }
    for (size_t from = 0; from < bytes; from += UNIT_BYTES) {
        sample_between(prints, false, offset, data, from, bytes - from < UNIT_BYTES ? bytes : from + UNIT_BYTES);
    }
}

uint32_t residue_print_count(const struct residue_prints *prints)
{
    return prints->sealed_count + prints->other_count;
}

const struct residue_fingerprint *residue_print(const struct residue_prints *prints, uint32_t index)
{
    CHECK(index < residue_print_count(prints));
    return index < prints->sealed_count ? &prints->sealed[index] : &prints->other[index - prints->sealed_count];
}

/* ---- after ---------------------------------------------------------------------------------------- */

static uint64_t first_eight(const uint8_t *data)
{
    uint64_t value;
    memcpy(&value, data, sizeof(value));
    return value;
}

static uint32_t filter_bit(uint64_t eight)
{
    return (uint32_t)((eight * UINT64_C(0x9e3779b97f4a7c15)) >> 47) % RESIDUE_FILTER_BITS;
}

static void filter_add(struct residue_scan *scan, const uint8_t *pattern)
{
    uint32_t bit = filter_bit(first_eight(pattern));
    scan->filter[bit / 8] |= (uint8_t)(1u << bit % 8);
}

static int compare_windows(const void *a, const void *b, void *user)
{
    const struct residue_prints *prints = user;
    return memcmp(residue_print(prints, *(const uint32_t *)a)->window,
                  residue_print(prints, *(const uint32_t *)b)->window, RESIDUE_WINDOW_BYTES);
}

void residue_scan_begin(struct residue_scan *scan, const struct residue_prints *prints)
{
    scan->prints = prints;
    memset(scan->filter, 0, sizeof(scan->filter));
    scan->carry_bytes = 0;
    scan->order_count = prints == NULL ? 0 : residue_print_count(prints);
    for (size_t i = 0; i < ARRAY_LENGTH(labels); i++) {
        filter_add(scan, labels[i]);
    }
    for (uint32_t i = 0; i < scan->order_count; i++) {
        scan->order[i] = i;
        filter_add(scan, residue_print(prints, i)->window);
    }
    if (scan->order_count > 0) {
        struct residue_prints *sorted = (struct residue_prints *)(uintptr_t)prints; /* qsort_r's context is not const */
        qsort_r(scan->order, scan->order_count, sizeof(scan->order[0]), compare_windows, sorted);
    }
}

static void hit(struct residue_scan *scan, uint64_t offset, enum residue_kind kind)
{
    *(kind == RESIDUE_LABEL ? &scan->label_hits : &scan->fingerprint_hits) += 1;
    if (scan->place_count < RESIDUE_PLACES_MAX) {
        scan->places[scan->place_count].offset = offset;
        scan->places[scan->place_count].kind = kind;
        scan->place_count++;
    }
}

static bool is_fingerprint(const struct residue_scan *scan, const uint8_t *window)
{
    uint32_t low = 0;
    uint32_t high = scan->order_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = memcmp(residue_print(scan->prints, scan->order[middle])->window, window, RESIDUE_WINDOW_BYTES);
        if (order == 0) {
            return true;
        }
        low = order < 0 ? middle + 1 : low;
        high = order < 0 ? high : middle;
    }
    return false;
}

/* Search what begins in the first `starts` bytes; labels only when they end behind `after`. */
static void search_patterns(struct residue_scan *scan, uint64_t offset, const uint8_t *data, size_t bytes,
                            size_t starts, size_t after)
{
    for (size_t at = 0; at < starts && at + LABEL_BYTES <= bytes; at++) {
        uint32_t bit = filter_bit(first_eight(data + at));
        if ((scan->filter[bit / 8] >> bit % 8 & 1u) == 0) {
            continue;
        }
        for (size_t i = 0; i < ARRAY_LENGTH(labels) && at + LABEL_BYTES > after; i++) {
            if (memcmp(data + at, labels[i], LABEL_BYTES) == 0) {
                hit(scan, offset + at, RESIDUE_LABEL);
            }
        }
        if (at + RESIDUE_WINDOW_BYTES <= bytes && is_fingerprint(scan, data + at)) {
            hit(scan, offset + at, RESIDUE_FINGERPRINT);
        }
    }
}

/* Keep the end of a piece for the border with the next one. */
static void keep_end(struct residue_scan *scan, uint64_t offset, const uint8_t *data, size_t bytes)
{
    size_t carry = bytes < sizeof(scan->carry) ? bytes : sizeof(scan->carry);
    memcpy(scan->carry, data + bytes - carry, carry);
    scan->carry_bytes = carry;
    scan->carry_end = offset + bytes;
}

void residue_resume(struct residue_scan *scan, uint64_t offset, const uint8_t *data, size_t bytes)
{
    keep_end(scan, offset - bytes, data, bytes);
}

void residue_search(struct residue_scan *scan, uint64_t offset, const uint8_t *data, size_t bytes)
{
    uint8_t border[2 * (RESIDUE_WINDOW_BYTES - 1)];
    if (scan->carry_bytes > 0 && scan->carry_end == offset) {
        size_t more = bytes < RESIDUE_WINDOW_BYTES - 1 ? bytes : RESIDUE_WINDOW_BYTES - 1;
        memcpy(border, scan->carry, scan->carry_bytes);
        memcpy(border + scan->carry_bytes, data, more);
        search_patterns(scan, offset - scan->carry_bytes, border, scan->carry_bytes + more, scan->carry_bytes,
                        scan->carry_bytes);
    }
    search_patterns(scan, offset, data, bytes, bytes, 0);
    for (size_t at = 0; at < bytes; at += LABEL_ALIGNED) {
        if (is_batch(data + at, bytes - at, NULL)) {
            hit(scan, offset + at, RESIDUE_LABEL);
        }
    }
    keep_end(scan, offset, data, bytes);
}
