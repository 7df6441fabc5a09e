/* sim_chance.c - what libsodium draws (nonces of small boxes, fresh keys, secrets), from the seed of the run.
 *
 * libsodium has one generator per process, so all simulated processes share it: they run in one order, so they draw in one
 * order. libgcrypt and GnuTLS are used for ciphers and hashes only, and draw nothing. */
#include "tests/sim/sim_cluster.h"

#include <sodium.h>

static struct sim_random chance;

static const char *chance_name(void)
{
    return "trilith-sim";
}

static uint32_t chance_u32(void)
{
    return (uint32_t)sim_random_u64(&chance);
}

static void chance_bytes(void *buffer, size_t bytes)
{
    sim_random_bytes(&chance, buffer, bytes);
}

static struct randombytes_implementation chance_implementation = {
    .implementation_name = chance_name, .random = chance_u32, .buf = chance_bytes};

void sim_chance_install(uint64_t seed)
{
    CHECK(sodium_init() >= 0); /* What it draws for itself comes from the system, once, and decides nothing. */
    CHECK(randombytes_set_implementation(&chance_implementation) == 0);
    chance = sim_random_of(seed ^ UINT64_C(0x6368616e6365)); /* "chance" */
}
