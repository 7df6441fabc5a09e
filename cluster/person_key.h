/* person_key.h - the key of a person who approves: a file of its own, made here or by openssl.
 *
 * A private key is PKCS #8 in PEM (`openssl genpkey -algorithm ed25519`), mode 0600 or stricter: a file that others can
 * read is refused, as it proves nothing about who signed. What is read is wiped from plain memory; the seed stands in
 * guarded memory. Each function says on stderr what is wrong and what to do, and returns the exit status of the verb:
 * 0, COMMAND_FAILED.
 * Threads    One. */
#ifndef TRILITH_CLUSTER_PERSON_KEY_H
#define TRILITH_CLUSTER_PERSON_KEY_H

#include "base/signature.h"

/* Make a key, write it to `path`, which must not be there yet, and give its public half. */
MUST_USE int person_key_make(const char *path, struct public_key *public_key);
/* Read a private key into `seed`. */
MUST_USE int person_key_read(const char *path, struct key *seed);
/* Read a public key. */
MUST_USE int person_key_read_public(const char *path, struct public_key *public_key);

#endif
