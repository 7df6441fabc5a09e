/* test_kv_crash.c - whatever kills a table, it comes back as a prefix of its batches: at or after the last flush, never
 * with a hole.
 *
 * Method  Rounds on one directory. In each a child process opens the table as the last kill left it, compares it with
 *         the model, and goes on writing batches, each announced through a pipe before it is written, and likewise for
 *         flushes. The parent kills it with SIGKILL at some announcement: in the middle of batches, of flushes, of
 *         compactions, and of the recovery itself. What follows from the announcements:
 *           the table holds exactly the batches 1..n for some n  (all rows are compared, not only those written last)
 *           the last flush that had ended  <=  n  <=  the last batch that had begun
 *         Batches lost in a kill are never written again: those that come instead are drawn anew. So a batch that comes
 *         back from the dead shows.
 * Limits  The kernel keeps what a killed process had written: this is about order and recovery, not about flushes.
 *         The parent never opens the table: RocksDB's threads would not survive the fork.
 *         Where the kill strikes depends on the machine too, so a seed gives the same batches, not the same run. */
#include "tests/unit/kv_trace.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#define ROUNDS      30
#define LAST_KEY    "last"   /* every batch puts its number here */
#define NEVER_FLUSH 1000000u /* leave it to the table's own write buffers */

/* Criterion's own runner forgets 48 bytes when processes that are not its own die below it. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libcriterion";
}

enum news { NEWS_OPENED, NEWS_BEGUN, NEWS_WRITTEN, NEWS_FLUSHING, NEWS_FLUSHED };

/* What a child says; shorter than PIPE_BUF, so it arrives whole or not at all. */
struct message {
    uint64_t news;   /* enum news */
    uint64_t number; /* of the last batch that the news is about */
};

/* What the parent knows about the table. Batches up to `base` are in the model; those behind it were written by the
 * life `writer`, and may be in the table or not. */
struct history {
    uint64_t seed;
    struct kv *model;
    uint64_t base;
    uint64_t writer;
    uint64_t flushed;
    uint64_t begun;
};

static char directory[64];

static const struct trace_sizes crash_sizes = {.small = 20, .medium = 25, .large = 20};

/* Batch `number` as life `life` writes it. */
static void batch_write(struct kv *kv, uint64_t seed, uint64_t life, uint64_t number)
{
    struct sim_random random = sim_random_of(seed * 1000003 + life * UINT64_C(0x10000000001) + number);
    struct kv_batch *batch = kv_batch_open(kv);
    trace_batch_fill(&random, &crash_sizes, batch, NULL);
    kv_batch_put(batch, KV_SLICE(LAST_KEY, strlen(LAST_KEY)), KV_SLICE(&number, sizeof(number)));
    CHECK(kv_write(kv, batch) == STATUS_OK);
    kv_batch_close(batch);
}

/* The number of the last batch that the table claims to hold. */
static uint64_t last_batch(struct kv *kv)
{
    uint64_t number = 0;
    size_t bytes = 0;
    enum status status = kv_get(kv, KV_SLICE(LAST_KEY, strlen(LAST_KEY)), &number, sizeof(number), &bytes);
    CHECK(status == STATUS_NOT_FOUND || (status == STATUS_OK && bytes == sizeof(number)));
    return number;
}

/* ---- the child ----------------------------------------------------------------------------------------- */

enum child_exit { CHILD_CAN_NOT_OPEN = 10, CHILD_NOT_A_PREFIX, CHILD_OUT_OF_BOUNDS };

static void child_say(int pipe_end, enum news news, uint64_t number)
{
    const struct message message = {.news = news, .number = number};
    CHECK(write(pipe_end, &message, sizeof(message)) == (ssize_t)sizeof(message));
}

/* Compare with the model, and bring that to where the table is. Does not return when they differ. */
static uint64_t child_verify(struct kv *kv, const struct history *history)
{
    uint64_t last = last_batch(kv);
    if (last < history->flushed || last > history->begun || last < history->base) {
        fprintf(stderr, "seed %lu: batch %lu is the last, but %lu were flushed and %lu begun\n", history->seed, last,
                history->flushed, history->begun);
        _exit(CHILD_OUT_OF_BOUNDS);
    }
    for (uint64_t number = history->base + 1; number <= last; number++) {
        batch_write(history->model, history->seed, history->writer, number);
    }
    uint64_t rows;
    if (!trace_tables_equal(history->model, kv, &rows)) {
        fprintf(stderr, "seed %lu: not exactly the batches up to %lu: wrong after %lu rows\n", history->seed, last,
                rows);
        _exit(CHILD_NOT_A_PREFIX);
    }
    return last;
}

/* One life: never returns, and goes on until it is killed. */
static void child_live(const struct history *history, uint64_t life, int pipe_end)
{
    struct kv *kv;
    char message[512];
    if (kv_rocksdb_open(directory, TRACE_CACHE_BYTES, &kv, message, sizeof(message)) != STATUS_OK) {
        fprintf(stderr, "seed %lu: %s\n", history->seed, message);
        _exit(CHILD_CAN_NOT_OPEN);
    }
    uint64_t number = child_verify(kv, history);
    child_say(pipe_end, NEWS_OPENED, number);
    struct sim_random random = sim_random_of(history->seed * 31 + life);
    uint64_t flush_every = life % 2 == 0 ? sim_random_between(&random, 5, 120) : NEVER_FLUSH;
    for (;;) {
        number++;
        child_say(pipe_end, NEWS_BEGUN, number);
        batch_write(kv, history->seed, life, number);
        child_say(pipe_end, NEWS_WRITTEN, number);
        if (sim_random_below(&random, flush_every) == 0) {
            child_say(pipe_end, NEWS_FLUSHING, number);
            CHECK(kv_flush(kv) == STATUS_OK);
            child_say(pipe_end, NEWS_FLUSHED, number);
        }
    }
}

/* ---- the parent ---------------------------------------------------------------------------------------- */

/* Learn from one message. The first of a life says where the table is: the model follows it there. */
static void history_learn(struct history *history, uint64_t life, const struct message *message)
{
    switch ((enum news)message->news) {
    case NEWS_OPENED:
        for (uint64_t number = history->base + 1; number <= message->number; number++) {
            batch_write(history->model, history->seed, history->writer, number);
        }
        cr_assert_eq(kv_flush(history->model), STATUS_OK);
        history->base = message->number;
        history->begun = message->number;
        history->writer = life;
        return;
    case NEWS_BEGUN:
        history->begun = message->number;
        return;
    case NEWS_FLUSHED:
        history->flushed = message->number;
        return;
    case NEWS_WRITTEN:
    case NEWS_FLUSHING:
        return;
    }
}

/* When to kill: after so many messages, and then at the next one of a kind. */
struct kill_plan {
    uint64_t messages;
    bool in_flush;
};

static struct kill_plan kill_plan_draw(struct sim_random *random)
{
    struct kill_plan plan = {.messages = sim_random_below(random, 1600)};
    if (sim_random_percent(random, 15)) {
        plan.messages = sim_random_below(random, 4); /* While it recovers, or has just done so. */
    }
    plan.in_flush = sim_random_percent(random, 40);
    return plan;
}

static bool kill_is_due(const struct kill_plan *plan, uint64_t messages, const struct message *last)
{
    bool patient = messages < plan->messages + 300; /* Lives that never flush are not waited for. */
    return messages >= plan->messages && (!plan->in_flush || last->news == NEWS_FLUSHING || !patient);
}

/* Follow one child until its end. Returns how it ended. */
static int parent_watch(struct history *history, uint64_t life, struct kill_plan plan, pid_t child, int pipe_end)
{
    uint64_t messages = 0;
    bool killed = plan.messages == 0;
    struct message message;
    if (killed) {
        kill(child, SIGKILL);
    }
    while (read(pipe_end, &message, sizeof(message)) == (ssize_t)sizeof(message)) {
        history_learn(history, life, &message);
        messages++;
        if (!killed && kill_is_due(&plan, messages, &message)) {
            kill(child, SIGKILL);
            killed = true;
        }
    }
    int how = 0;
    cr_assert_eq(waitpid(child, &how, 0), child);
    return how;
}

static void round_run(struct history *history, uint64_t life, struct sim_random *random)
{
    int pipe_ends[2];
    cr_assert_eq(pipe2(pipe_ends, O_CLOEXEC), 0);
    pid_t child = fork();
    cr_assert_neq(child, -1);
    if (child == 0) {
        close(pipe_ends[0]);
        child_live(history, life, pipe_ends[1]);
    }
    close(pipe_ends[1]);
    int how = parent_watch(history, life, kill_plan_draw(random), child, pipe_ends[0]);
    close(pipe_ends[0]);
    cr_assert(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL, "seed %lu, round %lu: the child ended by itself (%d)",
              history->seed, life, how);
}

static void kill_over_and_over(uint64_t seed, uint64_t rounds)
{
    struct history history = {.seed = seed, .model = sim_kv_open()};
    struct sim_random random = sim_random_of(seed);
    uint64_t lost_rounds = 0;
    trace_directory_make(directory);
    for (uint64_t life = 1; life <= rounds; life++) {
        uint64_t begun = history.begun;
        uint64_t writer = history.writer;
        round_run(&history, life, &random);
        lost_rounds += history.writer != writer && history.base < begun ? 1 : 0;
    }
    cr_assert_gt(history.base, rounds * 30, "seed %lu: only %lu batches", seed, history.base);
    cr_assert_gt(lost_rounds, rounds / 8, "seed %lu: kills took nothing back", seed);
    kv_close(history.model);
    trace_directory_remove(directory);
}

Test(kv_crash, rocksdb_comes_back_as_a_prefix_however_often_it_is_killed, .timeout = 240)
{
    struct trace_seeds seeds = trace_seeds(1);
    for (size_t i = 0; i < seeds.count; i++) {
        kill_over_and_over(seeds.seeds[i], ROUNDS / seeds.count);
    }
}

/* ---- the model crashes ----------------------------------------------------------------------------------- */

/* The model promises the same, and must use all of its freedom: or what is tested on it is tested too mildly. */
static void model_crashes(uint64_t seed)
{
    struct sim_random random = sim_random_of(seed);
    struct kv *crashing = sim_kv_open();
    struct kv *reference = sim_kv_open();
    uint64_t reached = 0;
    bool lost_all = false;
    bool lost_none = false;
    for (uint64_t life = 1; life <= 100; life++) {
        uint64_t flushed = reached;
        uint64_t written = reached;
        for (uint64_t more = sim_random_below(&random, 20); more > 0; more--) {
            batch_write(crashing, seed, life, ++written);
            if (sim_random_percent(&random, 10)) {
                cr_assert_eq(kv_flush(crashing), STATUS_OK);
                flushed = written;
            }
        }
        cr_assert_eq(sim_kv_unflushed(crashing), written - flushed);
        sim_kv_crash(crashing, sim_random_u64(&random));
        uint64_t last = last_batch(crashing);
        cr_assert(last >= flushed && last <= written, "seed %lu, life %lu", seed, life);
        while (reached < last) {
            batch_write(reference, seed, life, ++reached);
        }
        uint64_t rows;
        cr_assert(trace_tables_equal(crashing, reference, &rows), "seed %lu, life %lu", seed, life);
        lost_all = lost_all || (last == flushed && written > flushed);
        lost_none = lost_none || (last == written && written > flushed);
    }
    cr_assert(lost_all && lost_none, "seed %lu", seed);
    kv_close(crashing);
    kv_close(reference);
}

Test(kv_crash, the_model_comes_back_as_a_prefix_too, .timeout = 120)
{
    struct trace_seeds seeds = trace_seeds(3);
    for (size_t i = 0; i < seeds.count; i++) {
        model_crashes(seeds.seeds[i]);
    }
}
