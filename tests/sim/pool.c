/* pool.c - fork, wait, and collect through shared memory and a file for what is printed. */
#include "tests/sim/pool.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a run writes for its parent. */
struct shared {
    struct totals totals;
    uint64_t trace;
};

struct run_slot {
    pid_t process; /* 0: free */
    uint64_t seed;
    FILE *output; /* NULL: stderr itself */
    struct shared *shared;
};

struct pool {
    unsigned slots;
    unsigned busy;
    struct run_slot slot[POOL_SLOTS_MAX];
    struct pool_result result;
};

struct pool *pool_open(unsigned slots)
{
    CHECK(slots > 0 && slots <= POOL_SLOTS_MAX);
    struct pool *pool = calloc(1, sizeof(*pool));
    CHECK(pool != NULL);
    pool->slots = slots;
    for (unsigned i = 0; i < slots; i++) {
        void *memory = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        CHECK(memory != MAP_FAILED);
        pool->slot[i].shared = memory;
    }
    return pool;
}

void pool_close(struct pool *pool)
{
    CHECK(pool->busy == 0);
    for (unsigned i = 0; i < pool->slots; i++) {
        munmap(pool->slot[i].shared, sizeof(struct shared));
    }
    free(pool);
}

bool pool_has_room(const struct pool *pool)
{
    return pool->busy < pool->slots;
}

bool pool_is_idle(const struct pool *pool)
{
    return pool->busy == 0;
}

/* ---- starting ----------------------------------------------------------------------------------------- */

/* Move what will be allocated, and fill it differently. */
static void live_elsewhere(void)
{
    (void)mallopt(M_PERTURB, 0x5a);
    for (size_t i = 0; i < 64; i++) {
        void *volatile kept = malloc(1000 + 1777 * i); /* Never freed, on purpose. */
        (void)kept;
    }
}

static _Noreturn void run_in_child(const struct run_plan *plan, struct run_slot *slot, bool elsewhere)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)signal(SIGINT, SIG_DFL);
    (void)signal(SIGTERM, SIG_DFL);
    if (elsewhere) {
        live_elsewhere();
    }
    if (slot->output != NULL) {
        CHECK(dup2(fileno(slot->output), STDERR_FILENO) >= 0);
    }
    /* A run that goes round in circles, or eats all memory, is a failed run. */
    const struct rlimit cpu = {.rlim_cur = POOL_CPU_SECONDS, .rlim_max = POOL_CPU_SECONDS + 1};
    const struct rlimit core = {0};
    (void)setrlimit(RLIMIT_CPU, &cpu);
    (void)setrlimit(RLIMIT_CORE, &core);
    run_seed(plan, &slot->shared->totals, &slot->shared->trace);
    _exit(EXIT_SUCCESS); /* Not exit(): a run leaves its dead processes' memory behind. */
}

void pool_start(struct pool *pool, const struct run_plan *plan, bool show, bool elsewhere)
{
    CHECK(pool_has_room(pool));
    struct run_slot *slot = pool->slot;
    while (slot->process != 0) {
        slot++;
    }
    memset(slot->shared, 0, sizeof(*slot->shared));
    slot->seed = plan->seed;
    slot->output = show ? NULL : tmpfile();
    CHECK(show || slot->output != NULL);
    fflush(NULL);
    slot->process = fork();
    CHECK(slot->process >= 0);
    if (slot->process == 0) {
        run_in_child(plan, slot, elsewhere);
    }
    pool->busy++;
}

/* ---- ending -------------------------------------------------------------------------------------------- */

static void take_output(struct run_slot *slot, char output[POOL_OUTPUT_BYTES])
{
    output[0] = '\0';
    if (slot->output == NULL) {
        return;
    }
    CHECK(fseek(slot->output, 0, SEEK_END) == 0);
    long bytes = ftell(slot->output);
    long from = bytes > (long)POOL_OUTPUT_BYTES - 1 ? bytes - (long)POOL_OUTPUT_BYTES + 1 : 0;
    CHECK(fseek(slot->output, from, SEEK_SET) == 0);
    size_t got = fread(output, 1, POOL_OUTPUT_BYTES - 1, slot->output);
    output[got] = '\0';
    fclose(slot->output);
    slot->output = NULL;
}

static void take_reason(struct pool_result *result, int wait_status)
{
    const char *said = strstr(result->output, "VIOLATED ");
    const char *check = strstr(result->output, ": check failed: ");
    if (WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGABRT && check != NULL) {
        const char *line = check;
        while (line > result->output && line[-1] != '\n' && line[-1] != '/') {
            line--;
        }
        snprintf(result->reason, sizeof(result->reason), "CHECK in %.*s", (int)(check - line), line);
    } else if (WIFSIGNALED(wait_status)) {
        int number = WTERMSIG(wait_status);
        snprintf(result->reason, sizeof(result->reason), number == SIGXCPU ? "endless" : "signal %d", number);
    } else if (WEXITSTATUS(wait_status) == SIM_EXIT_VIOLATED && said != NULL) {
        size_t length = strcspn(said + strlen("VIOLATED "), ": \n");
        snprintf(result->reason, sizeof(result->reason), "%.*s", (int)length, said + strlen("VIOLATED "));
    } else if (WEXITSTATUS(wait_status) == SIM_EXIT_VIOLATED) {
        snprintf(result->reason, sizeof(result->reason), "a promise");
    } else {
        snprintf(result->reason, sizeof(result->reason), "exit %d", WEXITSTATUS(wait_status));
    }
}

const struct pool_result *pool_wait(struct pool *pool)
{
    CHECK(pool->busy > 0);
    int wait_status = 0;
    pid_t process = 0;
    do {
        process = wait(&wait_status);
    } while (process < 0 && errno == EINTR);
    CHECK(process > 0);
    struct run_slot *slot = pool->slot;
    while (slot->process != process) {
        slot++;
    }
    struct pool_result *result = &pool->result;
    memset(result, 0, sizeof(*result));
    result->seed = slot->seed;
    result->passed = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == EXIT_SUCCESS;
    result->trace = slot->shared->trace;
    result->totals = slot->shared->totals;
    take_output(slot, result->output);
    if (!result->passed) {
        take_reason(result, wait_status);
    }
    slot->process = 0;
    pool->busy--;
    return result;
}

const struct pool_result *pool_run(struct pool *pool, const struct run_plan *plan, bool show)
{
    CHECK(pool_is_idle(pool));
    pool_start(pool, plan, show, false);
    return pool_wait(pool);
}
