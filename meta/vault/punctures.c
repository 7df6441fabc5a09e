/* punctures.c - see punctures.h. */
#include "meta/vault/punctures.h"

#include <stdlib.h>

#define CAPACITY_MIN 64u
#define CAPACITY_MAX (UINT32_C(1) << 28) /* room for every page of the largest table */

bool bitmap_is_empty(const struct ggm_bitmap *bitmap)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < GGM_BITMAP_BYTES; i++) {
        sum |= bitmap->bits[i];
    }
    return sum == 0;
}

/* Knuth's multiplicative hash: pages are numbered in order. */
static uint32_t home_of(uint32_t page, uint32_t capacity)
{
    return (uint32_t)(page * UINT64_C(11400714819323198485) >> 32) & (capacity - 1);
}

/* The place of `page`, or the free one where it would stand. */
static struct puncture *place_of(const struct punctures *punctures, uint32_t page)
{
    uint32_t at = home_of(page, punctures->capacity);
    while (punctures->places[at].page != 0 && punctures->places[at].page != page) {
        at = (at + 1) & (punctures->capacity - 1);
    }
    return &punctures->places[at];
}

static enum status grow(struct punctures *punctures)
{
    struct punctures larger = {.capacity = punctures->capacity == 0 ? CAPACITY_MIN : punctures->capacity * 2,
                               .count = punctures->count};
    if (larger.capacity > CAPACITY_MAX) {
        return STATUS_FULL;
    }
    larger.places = calloc(larger.capacity, sizeof(larger.places[0]));
    if (larger.places == NULL) {
        return STATUS_FULL;
    }
    for (uint32_t i = 0; i < punctures->capacity; i++) {
        if (punctures->places[i].page != 0) {
            *place_of(&larger, punctures->places[i].page) = punctures->places[i];
        }
    }
    free(punctures->places);
    *punctures = larger;
    return STATUS_OK;
}

enum status punctures_add(struct punctures *punctures, uint32_t page, const struct ggm_bitmap *leaves)
{
    CHECK(page != 0);
    if (bitmap_is_empty(leaves)) {
        return STATUS_OK;
    }
    struct puncture *place = punctures->capacity == 0 ? NULL : place_of(punctures, page);
    if (place == NULL || (place->page == 0 && punctures->count >= punctures->capacity / 2)) {
        enum status status = grow(punctures);
        if (status != STATUS_OK) {
            return status;
        }
        place = place_of(punctures, page);
    }
    punctures->count += place->page == 0 ? 1 : 0;
    place->page = page;
    for (size_t i = 0; i < GGM_BITMAP_BYTES; i++) {
        place->pending.bits[i] |= leaves->bits[i];
    }
    return STATUS_OK;
}

bool punctures_has(const struct punctures *punctures, uint32_t page, uint32_t slot)
{
    if (punctures->capacity == 0) {
        return false;
    }
    const struct puncture *place = place_of(punctures, page);
    return place->page == page && (ggm_bit(&place->pending, slot) || ggm_bit(&place->sealed, slot));
}

void punctures_seal(struct punctures *punctures)
{
    for (uint32_t i = 0; i < punctures->capacity; i++) {
        struct puncture *place = &punctures->places[i];
        for (size_t b = 0; b < GGM_BITMAP_BYTES; b++) {
            place->sealed.bits[b] |= place->pending.bits[b];
        }
        place->pending = (struct ggm_bitmap){0};
    }
}

/* Take a place out of its run: whatever stands behind it and may stand here moves up, so that no probe ends too
 * early. */
static void vacate(struct punctures *punctures, struct puncture *place)
{
    uint32_t mask = punctures->capacity - 1;
    uint32_t hole = (uint32_t)(place - punctures->places);
    for (uint32_t at = (hole + 1) & mask; punctures->places[at].page != 0; at = (at + 1) & mask) {
        uint32_t home = home_of(punctures->places[at].page, punctures->capacity);
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            punctures->places[hole] = punctures->places[at];
            hole = at;
        }
    }
    punctures->places[hole] = (struct puncture){0};
    punctures->count--;
}

void punctures_forget(struct punctures *punctures, uint32_t page, const struct ggm_bitmap *leaves)
{
    if (punctures->capacity == 0) {
        return;
    }
    struct puncture *place = place_of(punctures, page);
    if (place->page == 0) {
        return;
    }
    for (size_t i = 0; i < GGM_BITMAP_BYTES; i++) {
        place->pending.bits[i] &= (uint8_t)~leaves->bits[i];
        place->sealed.bits[i] &= (uint8_t)~leaves->bits[i];
    }
    if (bitmap_is_empty(&place->pending) && bitmap_is_empty(&place->sealed)) {
        vacate(punctures, place);
    }
}

void punctures_release(struct punctures *punctures)
{
    free(punctures->places);
    *punctures = (struct punctures){0};
}
