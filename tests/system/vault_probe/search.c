/* search.c - every 32 bytes of a file, tried as a root of an epoch, as a node above the leaf, and as a given secret. */
#include "tests/system/vault_probe/probe.h"

#include "meta/vault/ggm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Nobody draws a key with so many zero bytes in a row: what was never written is passed over. */
#define ZERO_RUN           8
#define DISTINCT_BYTES_MIN 20

/* If `node` stood at `depth` above the leaf: does the leaf follow? */
static bool leaf_follows(const struct probe_search *search, const struct key *node, uint32_t depth)
{
    struct key key = *node;
    for (uint32_t level = depth; level < GGM_DEPTH; level++) {
        struct key child;
        derive_child_key(&key, search->slot >> (GGM_DEPTH - 1 - level) & 1, &child);
        key = child;
    }
    return memcmp(key.bytes, search->leaf.bytes, KEY_BYTES) == 0;
}

/* Text, numbers and zeros are no keys: of 32 random bytes fewer than 20 are distinct once in a hundred million times. */
static bool could_be_key(const uint8_t *window)
{
    uint64_t seen[4] = {0};
    unsigned distinct = 0;
    for (unsigned i = 0; i < KEY_BYTES; i++) {
        uint64_t bit = UINT64_C(1) << (window[i] % 64);
        distinct += (seen[window[i] / 64] & bit) == 0 ? 1 : 0;
        seen[window[i] / 64] |= bit;
    }
    return distinct >= DISTINCT_BYTES_MIN;
}

static void look_at(const struct probe_search *search, const char *path, size_t offset, const uint8_t *window)
{
    struct key key;
    memcpy(key.bytes, window, KEY_BYTES);
    uint8_t commitment[COMMITMENT_BYTES];
    key_commitment(&key, commitment);
    for (unsigned i = 0; i < search->commitment_count; i++) {
        if (memcmp(commitment, search->commitments[i], sizeof(commitment)) == 0) {
            printf("root %s %zu %u\n", path, offset, i);
        }
    }
    for (unsigned i = 0; i < search->secret_count; i++) {
        if (memcmp(key.bytes, search->secrets[i].bytes, KEY_BYTES) == 0) {
            printf("secret %s %zu %u\n", path, offset, i);
        }
    }
    for (uint32_t depth = 0; depth <= GGM_DEPTH; depth++) {
        if (leaf_follows(search, &key, depth)) {
            printf("leaf %s %zu %u\n", path, offset, depth);
        }
    }
}

bool probe_search_file(const struct probe_search *search, const char *path, uint64_t *windows)
{
    size_t bytes = 0;
    uint8_t *data = probe_read_file(path, &bytes);
    if (data == NULL) {
        return false;
    }
    size_t zeros = 0; /* at the end of the window */
    size_t nonzero_from = 0;
    for (size_t end = 0; end < bytes; end++) {
        zeros = data[end] == 0 ? zeros + 1 : 0;
        if (zeros >= ZERO_RUN) {
            nonzero_from = end - ZERO_RUN + 2;
        }
        if (end + 1 >= nonzero_from + KEY_BYTES && could_be_key(data + end + 1 - KEY_BYTES)) {
            look_at(search, path, end + 1 - KEY_BYTES, data + end + 1 - KEY_BYTES);
            (*windows)++;
        }
    }
    free(data);
    return true;
}
