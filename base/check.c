/* check.c - the end of a process that has found a bug in itself. */
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void check_failed(const char *condition, const char *file, int line)
{
    /* No stdio stream: its lock or its buffer may be what is broken. */
    dprintf(STDERR_FILENO, "%s:%d: check failed: %s\n", file, line, condition);
    abort();
}
