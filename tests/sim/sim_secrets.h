/* sim_secrets.h - the key file of the KMS, which the metadata service reads at every start: the customers' master keys follow
 * from it. A real file, made once for a whole run of the simulator, with content that is the same in every run. */
#ifndef TRILITH_TESTS_SIM_SECRETS_H
#define TRILITH_TESTS_SIM_SECRETS_H

#include "base/keys.h"
#include "tests/sim/sim_random.h"

#define SIM_SECRET_PATH_BYTES 512

/* Make it in a fresh temporary directory, which is removed when this process exits. To be called once, before any seed
 * is run. */
void sim_secrets_make(void);
/* Its 32 bytes, for searches for them. */
void sim_secrets_master(struct key *master);
/* The master key with this name in the KMS ("file:<32 hex digits>"). False: no name of such a key. */
bool sim_secrets_cmk(const char *name, struct key *cmk);

const char *sim_secrets_path(void);

#endif
