/* sim_random.h - the one source of chance in the simulator: xoshiro256**, seeded through splitmix64.
 *
 * Both are by Blackman and Vigna (prng.di.unimi.it, public domain). Every fake owns a generator of its own, so what
 * one of them draws does not shift what another sees, and a seed replays a run step by step. Not for secrets. */
#ifndef TRILITH_TESTS_SIM_RANDOM_H
#define TRILITH_TESTS_SIM_RANDOM_H

#include "base/check.h"

#include <stdbool.h>
#include <stdint.h>

struct sim_random {
    uint64_t state[4];
};

static inline uint64_t sim_splitmix(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline struct sim_random sim_random_of(uint64_t seed)
{
    struct sim_random random;
    for (size_t i = 0; i < ARRAY_LENGTH(random.state); i++) {
        random.state[i] = sim_splitmix(&seed);
    }
    return random;
}

static inline uint64_t sim_random_rotate(uint64_t value, unsigned bits)
{
    return (value << bits) | (value >> (64 - bits));
}

static inline uint64_t sim_random_u64(struct sim_random *random)
{
    uint64_t *s = random->state;
    uint64_t result = sim_random_rotate(s[1] * 5, 7) * 9;
    uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = sim_random_rotate(s[3], 45);
    return result;
}

/* A number in 0..bound-1. The bias of the modulo does not matter here. */
static inline uint64_t sim_random_below(struct sim_random *random, uint64_t bound)
{
    CHECK(bound > 0);
    return sim_random_u64(random) % bound;
}

/* A number in low..high, both included. */
static inline uint64_t sim_random_between(struct sim_random *random, uint64_t low, uint64_t high)
{
    CHECK(low <= high);
    return low + sim_random_below(random, high - low + 1);
}

/* True in `percent` of a hundred draws. */
static inline bool sim_random_percent(struct sim_random *random, unsigned percent)
{
    return sim_random_below(random, 100) < percent;
}

static inline void sim_random_bytes(struct sim_random *random, void *buffer, size_t bytes)
{
    uint8_t *at = buffer;
    while (bytes > 0) {
        uint64_t word = sim_random_u64(random);
        for (unsigned i = 0; i < sizeof(word) && bytes > 0; i++, bytes--) {
            *at++ = (uint8_t)(word >> (8 * i));
        }
    }
}

#endif
