/* control.c - the commands of a test, one to a line on standard input, each answered by one line on standard output.
 *
 *   lose            the power fails: what was not flushed is lost, kept or torn, sector by sector
 *   flush           everything becomes durable
 *   fail-flush N    the next N flushes and durable writes fail with EIO, and what they should have flushed is dropped
 *   fail-write N    the next N writes fail with EIO and change nothing      fail-read N   likewise
 *   full on|off     no file can grow and none be made (ENOSPC); overwriting goes on
 *   stall on|off    no operation is answered; those that wait go on at "off"
 *   lie on|off      flushes say that they are done and do nothing
 *   harsh on|off    "lose" keeps nothing, where it else keeps some by luck
 *   stats           counts since the start, and what is unflushed now
 *
 * An answer begins with "ok" or "error". The end of the input is an orderly unmount. */
#include "tests/system/lossfs/lossfs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_BYTES 1024

struct command {
    const char *name;
    size_t fault; /* offset in struct faults */
};

static const struct command counts[] = {
    {"fail-flush", offsetof(struct faults, fail_flush)},
    {"fail-write", offsetof(struct faults, fail_write)},
    {"fail-read", offsetof(struct faults, fail_read)},
};

static const struct command switches[] = {
    {"full", offsetof(struct faults, full)},
    {"stall", offsetof(struct faults, stall)},
    {"lie", offsetof(struct faults, lie)},
    {"harsh", offsetof(struct faults, harsh)},
};

static void *fault_of(struct lossfs *lossfs, const struct command *command)
{
    return (char *)&lossfs->faults + command->fault;
}

static bool set_count(struct lossfs *lossfs, const char *name, const char *value)
{
    char *end;
    for (size_t i = 0; i < ARRAY_LENGTH(counts); i++) {
        if (strcmp(name, counts[i].name) == 0) {
            errno = 0;
            uint64_t count = strtoull(value, &end, 10);
            bool fine = errno == 0 && *value >= '0' && *value <= '9' && *end == '\0';
            if (fine) {
                *(uint64_t *)fault_of(lossfs, &counts[i]) = count;
            }
            return fine;
        }
    }
    return false;
}

static bool set_switch(struct lossfs *lossfs, const char *name, const char *value)
{
    bool on = strcmp(value, "on") == 0;
    for (size_t i = 0; i < ARRAY_LENGTH(switches); i++) {
        if (strcmp(name, switches[i].name) == 0 && (on || strcmp(value, "off") == 0)) {
            *(bool *)fault_of(lossfs, &switches[i]) = on;
            CHECK(pthread_cond_broadcast(&lossfs->resumed) == 0);
            return true;
        }
    }
    return false;
}

static void answer_outcome(char answer[ANSWER_BYTES], int error)
{
    (void)snprintf(answer, ANSWER_BYTES, error == 0 ? "ok" : "error: %s", strerror(error));
}

static void answer_stats(const struct lossfs *lossfs, char answer[ANSWER_BYTES])
{
    const struct counters *counters = &lossfs->counters;
    uint64_t dirty_files = 0;
    uint64_t dirty_pages = 0;
    LIST_EACH (&lossfs->nodes, link) {
        const struct node *node = LIST_ENTRY(link, struct node, link);
        if (node->is_open && volatile_file_is_dirty(&node->file)) {
            dirty_files++;
            dirty_pages += node->file.dirty_pages;
        }
    }
    (void)snprintf(answer, ANSWER_BYTES,
                   "ok reads=%" PRIu64 " writes=%" PRIu64 " durable_writes=%" PRIu64 " flushes=%" PRIu64
                   " lies=%" PRIu64 " failed=%" PRIu64 " stalled=%" PRIu64 " losses=%" PRIu64 " sectors_kept=%" PRIu64
                   " sectors_lost=%" PRIu64 " sectors_torn=%" PRIu64 " sizes_lost=%" PRIu64 " dirty_files=%" PRIu64
                   " dirty_bytes=%" PRIu64,
                   counters->reads, counters->writes, counters->durable_writes, counters->flushes, counters->lies,
                   counters->failed, counters->stalled, counters->losses, counters->loss.kept, counters->loss.lost,
                   counters->loss.torn, counters->loss.sizes_lost, dirty_files, dirty_pages * 4096);
}

static void obey(struct lossfs *lossfs, const char *name, const char *value, char answer[ANSWER_BYTES])
{
    (void)snprintf(answer, ANSWER_BYTES, "ok");
    if (strcmp(name, "lose") == 0) {
        answer_outcome(answer, lossfs_lose(lossfs));
    } else if (strcmp(name, "flush") == 0) {
        answer_outcome(answer, lossfs_flush(lossfs));
    } else if (strcmp(name, "stats") == 0) {
        answer_stats(lossfs, answer);
    } else if (!set_count(lossfs, name, value) && !set_switch(lossfs, name, value)) {
        (void)snprintf(answer, ANSWER_BYTES, "error: there is no such command");
    }
}

void control_run(struct lossfs *lossfs)
{
    char line[256];
    char answer[ANSWER_BYTES];
    while (fgets(line, sizeof(line), stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *value = strchr(line, ' ');
        if (value != NULL) {
            *value++ = '\0';
        }
        lossfs_lock(lossfs);
        obey(lossfs, line, value != NULL ? value : "", answer);
        lossfs_unlock(lossfs);
        if (puts(answer) < 0 || fflush(stdout) != 0) {
            return;
        }
    }
}
