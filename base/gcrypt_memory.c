/* gcrypt_memory.c - see gcrypt_memory.h. */
#include "base/gcrypt_memory.h"

#include "base/check.h"
#include "base/log.h"

#include <errno.h>
#include <gcrypt.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* A cipher handle with its tables takes some 4 KiB, and there is one per reactor; an RSA operation some 20. */
#define SECURE_MEMORY_BYTES KIB(256)

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static bool library_is_recent;
static _Thread_local bool works_with_secrets;

/* libgcrypt's ordinary memory. What frees and grows is libgcrypt's own, and tells the two kinds apart by address. */
static void *library_alloc(size_t bytes)
{
    return works_with_secrets ? gcry_malloc_secure(bytes) : malloc(bytes);
}

/* The pool is one mapping, and what is taken first stands in its first page. */
static void leave_pool_out_of_core_dumps(void)
{
    void *first = gcry_malloc_secure(1);
    uintptr_t page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    void *pool = (void *)((uintptr_t)first / page_bytes * page_bytes);
    if (first == NULL || madvise(pool, SECURE_MEMORY_BYTES, MADV_DONTDUMP) != 0) {
        log_event(LOG_WARNING, "key_memory_in_core_dumps", "library=libgcrypt errno=%d", errno);
    }
    gcry_free(first);
}

static void library_start(void)
{
    /* Random numbers from the kernel alone, as those of libsodium are. Later the library would not listen. */
    gcry_control(GCRYCTL_SET_PREFERRED_RNG_TYPE, GCRY_RNG_TYPE_SYSTEM);
    library_is_recent = gcry_check_version("1.10.0") != NULL;
    if (!library_is_recent) {
        log_event(LOG_WARNING, "libgcrypt_unusable", "reason=%s", "older than 1.10");
        return;
    }
    if (gcry_control(GCRYCTL_INITIALIZATION_FINISHED_P, 0) == 0) {
        /* Unlocked memory has been warned of by the key pool: libgcrypt's own line on stderr is no log event. */
        gcry_control(GCRYCTL_DISABLE_PRIV_DROP, 0);
        gcry_control(GCRYCTL_SUSPEND_SECMEM_WARN, 0);
        gcry_control(GCRYCTL_INIT_SECMEM, (unsigned)SECURE_MEMORY_BYTES, 0);
        gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
        leave_pool_out_of_core_dumps();
    }
    if (gcry_fips_mode_active() == 0) { /* In FIPS mode it takes none. */
        gcry_set_allocation_handler(library_alloc, NULL, NULL, NULL, NULL);
    }
}

bool gcrypt_start(void)
{
    (void)pthread_once(&library_once, library_start);
    return library_is_recent;
}

void gcrypt_secrets_begin(void)
{
    CHECK(!works_with_secrets);
    (void)gcrypt_start();
    works_with_secrets = true;
}

void gcrypt_secrets_end(void)
{
    CHECK(works_with_secrets);
    works_with_secrets = false;
}
