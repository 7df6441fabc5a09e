/* sim_secrets.h - the two files with secrets that the metadata service reads at every start: the customer master key and
 * the vault's root. Real files, made once for a whole run of the simulator, with content that is the same in every run. */
#ifndef TRILITH_TESTS_SIM_SECRETS_H
#define TRILITH_TESTS_SIM_SECRETS_H

#include "base/keys.h"
#include "tests/sim/sim_random.h"

#define SIM_SECRET_PATH_BYTES 512

/* Make them in a fresh temporary directory, which is removed when this process exits. To be called once, before any seed
 * is run. */
void sim_secrets_make(void);
/* The 32 bytes of both, for searches for them. */
void sim_secrets_bytes(uint8_t cmk[KEY_BYTES], uint8_t root[KEY_BYTES]);

const char *sim_secrets_cmk_path(void);
const char *sim_secrets_root_path(void);

#endif
