/* model_private.h - what the parts of the reference model share. */
#ifndef TRILITH_TESTS_SIM_MODEL_PRIVATE_H
#define TRILITH_TESTS_SIM_MODEL_PRIVATE_H

#include "tests/sim/model.h"

#define PRINT_BYTES_LEAST 6u /* of ciphertext in a sector: fewer could be anybody's */
#define MODEL_PRINTS_MAX  (CHUNK_BYTES_MAX / SIM_DISK_SECTOR_BYTES)

/* Room for one more item behind `count` of them. */
void *model_grow(void *items, size_t *capacity, size_t count, size_t item_bytes);

/* The fingerprints of ciphertext, one per sector; MODEL_PRINTS_MAX have room. Returns how many. */
size_t model_prints_of(const uint8_t *payload, size_t bytes, uint64_t *prints);
void model_prints_add(struct model *model, uint32_t chunk, const uint64_t *prints, size_t count);

#endif
