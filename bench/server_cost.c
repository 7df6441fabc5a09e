#include "bench/server_cost.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void server_processes_parse(const char *text, struct server_processes *processes)
{
    processes->count = 0;
    while (*text != '\0' && processes->count < SERVER_PROCESSES_MAX) {
        char *end;
        long id = strtol(text, &end, 10);
        if (end == text) {
            return;
        }
        if (id > 0) {
            processes->ids[processes->count++] = (pid_t)id;
        }
        text = *end == ',' ? end + 1 : end;
    }
}

/* proc(5): utime, stime and rss are the fields 14, 15 and 24 of /proc/PID/stat; the name in field 2 may hold anything,
 * so counting starts behind its closing parenthesis. */
static void server_cost_add(pid_t id, struct server_cost *cost)
{
    char path[64];
    char line[1024];
    snprintf(path, sizeof(path), "/proc/%ld/stat", (long)id);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return;
    }
    const char *got = fgets(line, sizeof(line), file);
    fclose(file);
    const char *fields = got == NULL ? NULL : strrchr(line, ')');
    uint64_t user = 0;
    uint64_t system = 0;
    uint64_t pages = 0;
    if (fields != NULL && sscanf(fields,
                                 ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
                                 " %*d %*d %*d %*d %*d %*d %*u %*u %" SCNu64,
                                 &user, &system, &pages) == 3) {
        cost->cpu_seconds += (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
        cost->memory_bytes += pages * (uint64_t)sysconf(_SC_PAGESIZE);
    }
}

void server_cost_read(const struct server_processes *processes, struct server_cost *cost)
{
    *cost = (struct server_cost){0};
    for (size_t i = 0; i < processes->count; i++) {
        server_cost_add(processes->ids[i], cost);
    }
}
