/* server_cost.h - what the daemons of a cluster have used, read from /proc: CPU time and memory.
 *
 * The processes are those whose ids stand in DIR/run/NAME.pid of a local cluster, or that the user names. */
#ifndef TRILITH_BENCH_SERVER_COST_H
#define TRILITH_BENCH_SERVER_COST_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SERVER_PROCESSES_MAX 256

struct server_processes {
    pid_t ids[SERVER_PROCESSES_MAX];
    size_t count;
};

struct server_cost {
    double cpu_seconds;    /* user and system, all threads, since the processes began */
    uint64_t memory_bytes; /* resident, summed */
};

/* Read the ids of "1,2,3". What can't be read is left out. */
void server_processes_parse(const char *text, struct server_processes *processes);

/* Sum up what the processes have used so far. A process that has gone counts nothing. */
void server_cost_read(const struct server_processes *processes, struct server_cost *cost);

#endif
