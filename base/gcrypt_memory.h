/* gcrypt_memory.h - libgcrypt, started once for all who use it, and the memory that it keeps secrets in.
 *
 * What it is asked to keep secure stands in a pool of its own: locked, wiped when freed, and left out of core dumps, which
 * is done here. But its public-key functions copy private numbers and plaintexts to ordinary memory and don't wipe
 * that: between gcrypt_secrets_begin() and _end() all memory that it takes on this thread comes from the pool.
 * Private to base. Threads: any. */
#ifndef TRILITH_BASE_GCRYPT_MEMORY_H
#define TRILITH_BASE_GCRYPT_MEMORY_H

#include <stdbool.h>

/* Start the library unless it runs. False: older than 1.10, which is logged once. */
bool gcrypt_start(void);

/* Not nested. Starts the library, too. The pool is small: an ENOMEM of what is called within may mean it. */
void gcrypt_secrets_begin(void);
void gcrypt_secrets_end(void);

#endif
