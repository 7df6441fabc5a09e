/* main.c - trilith-sim: the whole cluster in one process, from one seed, with every fault and every promise checked.
 *
 * Exit status: 0 all held, 1 a promise was broken (or, with --require-all, something was never met), 2 usage. */
#include "tests/sim/shrink.h"

#include "base/keys.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EXIT_USAGE          2
#define REPEAT_EVERY        25u /* of the seeds one is run twice, and both must do the same */
#define SHRINK_RUNS_DEFAULT 250u
#define FAILURES_SHOWN_MAX  5u
#define OUTPUT_LINES_SHOWN  40u
#define PROGRESS_EVERY_S    1.0

struct program {
    struct run_plan plan; /* of all seeds: assignments and events */
    uint64_t first;       /* seeds first..last */
    uint64_t last;
    double seconds; /* 0: until the last seed */
    unsigned jobs;
    unsigned shrink_runs;
    bool require_all;
    bool first_failure;
    bool print_options;
    bool terminal;

    struct pool *pool;
    struct totals totals;
    double began_s;
    double told_s;
    uint64_t repeated;
    uint64_t failed;
    uint64_t traces[POOL_SLOTS_MAX * 4][2]; /* seed and trace of runs whose repetition is to come */
};

/* The runs in progress end, and the tables are printed. */
static volatile sig_atomic_t stop_requested;

static void on_signal(int number)
{
    (void)number;
    stop_requested = 1;
}

static double now_s(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- reports ----------------------------------------------------------------------------------------- */

static void print_last_lines(const char *output)
{
    const char *from = output + strlen(output);
    for (unsigned lines = 0; from > output && lines <= OUTPUT_LINES_SHOWN; from--) {
        lines += from[-1] == '\n';
    }
    fputs(from, stdout);
}

static void report_failure(struct program *program, const struct pool_result *result)
{
    program->failed++;
    if (program->failed > FAILURES_SHOWN_MAX) {
        printf("FAILED seed %" PRIu64 ": %s\n", result->seed, result->reason);
        return;
    }
    struct run_plan plan = program->plan;
    plan.seed = result->seed;
    struct sim_options options;
    const char *bad = NULL;
    CHECK(run_options(&plan, &options, &bad));
    printf("\nFAILED seed %" PRIu64 ": %s\noptions:", result->seed, result->reason);
    sim_options_print(&options, NULL, stdout);
    printf("\n");
    print_last_lines(result->output);
    printf("again: ");
    plan_print(&plan, stdout);
    fflush(stdout);
}

static void say_progress(struct program *program)
{
    double elapsed_s = now_s() - program->began_s;
    if (!program->terminal || now_s() - program->told_s < PROGRESS_EVERY_S || program->totals.seeds == 0) {
        return;
    }
    program->told_s = now_s();
    double all = (double)(program->last - program->first) + 1;
    double left_s =
        program->seconds > 0 ? program->seconds - elapsed_s : elapsed_s * (all / (double)program->totals.seeds - 1);
    fprintf(stderr, "\r%" PRIu64 " seeds, %" PRIu64 " failed, %.0f a minute, %.0f s left   ", program->totals.seeds,
            program->failed, (double)program->totals.seeds * 60 / elapsed_s, left_s > 0 ? left_s : 0);
}

/* ---- many seeds ---------------------------------------------------------------------------------------- */

/* Both runs of a repeated seed end here, in any order. */
static void compare_traces(struct program *program, const struct pool_result *result)
{
    for (size_t i = 0; i < ARRAY_LENGTH(program->traces); i++) {
        uint64_t *entry = program->traces[i];
        if (entry[0] == result->seed && entry[1] != 0) {
            program->repeated++;
            if (entry[1] != result->trace) {
                program->failed++;
                printf("\nFAILED seed %" PRIu64 ": two runs of it differ: traces %016" PRIx64 " and %016" PRIx64 "\n",
                       result->seed, entry[1], result->trace);
            }
            entry[0] = entry[1] = 0;
            return;
        }
    }
    for (size_t i = 0; i < ARRAY_LENGTH(program->traces); i++) {
        if (program->traces[i][1] == 0) {
            program->traces[i][0] = result->seed;
            program->traces[i][1] = result->trace;
            return;
        }
    }
}

static bool is_repeated(uint64_t seed)
{
    return seed % REPEAT_EVERY == 0;
}

static void take_result(struct program *program, const struct pool_result *result)
{
    if (!result->passed) {
        report_failure(program, result);
        return;
    }
    totals_add(&program->totals, &result->totals);
    if (is_repeated(result->seed)) {
        compare_traces(program, result);
    }
}

static bool is_over(const struct program *program)
{
    bool time_is_up = program->seconds > 0 && now_s() - program->began_s >= program->seconds;
    return stop_requested || time_is_up || (program->first_failure && program->failed > 0);
}

static void start_one(struct program *program, uint64_t seed, bool elsewhere)
{
    while (!pool_has_room(program->pool)) {
        take_result(program, pool_wait(program->pool));
        say_progress(program);
    }
    struct run_plan plan = program->plan;
    plan.seed = seed;
    pool_start(program->pool, &plan, false, elsewhere);
}

static void run_all(struct program *program)
{
    for (uint64_t seed = program->first; seed <= program->last && !is_over(program); seed++) {
        start_one(program, seed, false);
        if (is_repeated(seed)) {
            start_one(program, seed, true);
        }
    }
    while (!pool_is_idle(program->pool)) {
        take_result(program, pool_wait(program->pool));
    }
    if (program->terminal) {
        fputc('\n', stderr);
    }
}

static int many_seeds(struct program *program)
{
    program->began_s = now_s();
    run_all(program);
    totals_print(&program->totals, now_s() - program->began_s, stdout);
    unsigned missing = program->require_all ? totals_print_missing(&program->totals, stdout) : 0;
    printf("%" PRIu64 " runs held, %" PRIu64 " failed, %" PRIu64 " seeds run twice\n", program->totals.seeds,
           program->failed, program->repeated);
    return program->failed == 0 && missing == 0 && program->totals.seeds > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* ---- one seed ------------------------------------------------------------------------------------------ */

static void print_plan_whole(const struct run_plan *plan)
{
    static struct sim_cluster cluster;
    static struct nemesis nemesis;
    const char *bad = NULL;
    CHECK(run_options(plan, &cluster.options, &bad));
    printf("options:");
    sim_options_print(&cluster.options, NULL, stdout);
    printf("\n");
    nemesis_init(&nemesis, &cluster);
    memcpy(nemesis.left_out, plan->left_out, sizeof(plan->left_out));
    nemesis_print(&nemesis, stdout);
    fflush(stdout);
}

static int one_seed(struct program *program)
{
    struct run_plan *plan = &program->plan;
    plan->seed = program->first;
    if (program->print_options) {
        print_plan_whole(plan);
    }
    double began_s = now_s();
    struct pool_result result = *pool_run(program->pool, plan, plan->trace);
    if (result.passed) {
        totals_print(&result.totals, now_s() - began_s, stdout);
        printf("seed %" PRIu64 " held, trace %016" PRIx64 "\n", result.seed, result.trace);
        return EXIT_SUCCESS;
    }
    report_failure(program, &result);
    if (program->shrink_runs > 0) {
        printf("making it smaller, in at most %u runs:\n", program->shrink_runs);
        fflush(stdout);
        shrink(program->pool, plan, result.reason, program->shrink_runs, stdout);
        printf("smallest: ");
        plan_print(plan, stdout);
        print_plan_whole(plan);
        print_last_lines(pool_run(program->pool, plan, false)->output);
    }
    return EXIT_FAILURE;
}

/* ---- command line --------------------------------------------------------------------------------------- */

static void print_usage(FILE *out)
{
    fputs("trilith-sim - the whole cluster in one process: time, disks, network and chance from one seed\n"
          "usage: trilith-sim --seed N [--trace] [--shrink]   one seed\n"
          "       trilith-sim --seeds A..B                    these, one after another\n"
          "       trilith-sim --minutes M [--from A]          as many as there is time for\n"
          "options:\n"
          "  --trace             narrate the run on stderr, with the log of all daemons\n"
          "  --options           print the options and the schedule of faults that follow from the seed\n"
          "  --shrink[=RUNS]     after a failure take faults away while it stays (250 runs at most)\n"
          "  --set NAME=VALUE    change an option (--options shows them); may be given often\n"
          "  --events LIST       only these events of the schedule: 3,7-9, or none\n"
          "  --jobs N            runs at a time (as many as there are processors)\n"
          "  --first-failure     stop at the first seed that fails\n"
          "  --require-all       fail when a kind of fault, a point in the code or a checker was never met\n"
          "Exit status: 0 every promise held, 1 one was broken, 2 usage. The same seed gives the same run.\n",
          out);
}

static bool parse_number(const char *text, uint64_t *number)
{
    char *end = NULL;
    errno = 0;
    *number = strtoull(text, &end, 10);
    return errno == 0 && text[0] >= '0' && text[0] <= '9' && *end == '\0';
}

static bool parse_range(const char *argument, uint64_t *first, uint64_t *last)
{
    char first_text[32];
    const char *dots = strstr(argument, "..");
    if (dots == NULL || (size_t)(dots - argument) >= sizeof(first_text)) {
        return false;
    }
    snprintf(first_text, sizeof(first_text), "%.*s", (int)(dots - argument), argument);
    return parse_number(first_text, first) && parse_number(dots + 2, last) && *first <= *last;
}

/* "3,7-9" or "none": all other events are left out. */
static bool parse_events(const char *argument, bool left_out[NEMESIS_EVENTS_MAX])
{
    memset(left_out, true, NEMESIS_EVENTS_MAX * sizeof(*left_out));
    if (strcmp(argument, "none") == 0) {
        return true;
    }
    const char *at = argument;
    for (;;) {
        char *end = NULL;
        unsigned long first = strtoul(at, &end, 10);
        unsigned long last = first;
        if (end == at) {
            return false;
        }
        if (*end == '-') {
            at = end + 1;
            last = strtoul(at, &end, 10);
        }
        if (first > last || last >= NEMESIS_EVENTS_MAX) {
            return false;
        }
        memset(left_out + first, false, (last - first + 1) * sizeof(*left_out));
        if (*end == '\0') {
            return true;
        }
        if (*end != ',') {
            return false;
        }
        at = end + 1;
    }
}

static bool parse_minutes(const char *text, double *seconds)
{
    char *end = NULL;
    double minutes = strtod(text, &end);
    *seconds = minutes * 60;
    return end != text && *end == '\0' && minutes > 0 && minutes < 100000;
}

enum option_code {
    SEED = 1,
    SEEDS,
    MINUTES,
    FROM,
    TRACE,
    OPTIONS,
    SHRINK,
    SET,
    EVENTS,
    JOBS,
    REQUIRE_ALL,
    FIRST_FAILURE,
    HELP
};

static const struct option long_options[] = {{"seed", required_argument, NULL, SEED},
                                             {"seeds", required_argument, NULL, SEEDS},
                                             {"minutes", required_argument, NULL, MINUTES},
                                             {"from", required_argument, NULL, FROM},
                                             {"trace", no_argument, NULL, TRACE},
                                             {"options", no_argument, NULL, OPTIONS},
                                             {"shrink", optional_argument, NULL, SHRINK},
                                             {"set", required_argument, NULL, SET},
                                             {"events", required_argument, NULL, EVENTS},
                                             {"jobs", required_argument, NULL, JOBS},
                                             {"require-all", no_argument, NULL, REQUIRE_ALL},
                                             {"first-failure", no_argument, NULL, FIRST_FAILURE},
                                             {"help", no_argument, NULL, HELP},
                                             {NULL, 0, NULL, 0}};

static bool take_assignment(struct program *program, const char *argument)
{
    struct sim_options options = {0};
    if (program->plan.assignment_count == RUN_ASSIGNMENTS_MAX || !sim_options_set(&options, argument)) {
        return false;
    }
    program->plan.assignments[program->plan.assignment_count++] = argument;
    return true;
}

static bool take_option(struct program *program, int code, const char *argument, bool *one)
{
    uint64_t number = 0;
    switch ((enum option_code)code) {
    case SEED:
        *one = true;
        return parse_number(argument, &program->first);
    case SEEDS:
        return parse_range(argument, &program->first, &program->last);
    case MINUTES:
        return parse_minutes(argument, &program->seconds);
    case FROM:
        return parse_number(argument, &program->first);
    case TRACE:
        program->plan.trace = true;
        return true;
    case OPTIONS:
        program->print_options = true;
        return true;
    case SHRINK:
        program->shrink_runs = SHRINK_RUNS_DEFAULT;
        if (argument == NULL) {
            return true;
        }
        program->shrink_runs = parse_number(argument, &number) && number <= 100000 ? (unsigned)number : 0;
        return program->shrink_runs > 0;
    case SET:
        return take_assignment(program, argument);
    case EVENTS:
        return parse_events(argument, program->plan.left_out);
    case JOBS:
        if (!parse_number(argument, &number) || number == 0 || number > POOL_SLOTS_MAX) {
            return false;
        }
        program->jobs = (unsigned)number;
        return true;
    case REQUIRE_ALL:
        program->require_all = true;
        return true;
    case FIRST_FAILURE:
        program->first_failure = true;
        return true;
    case HELP:
        print_usage(stdout);
        exit(EXIT_SUCCESS);
    }
    return false;
}

int main(int argc, char **argv)
{
    static struct program program;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    program.jobs = processors < 1 ? 1 : processors > (long)POOL_SLOTS_MAX ? POOL_SLOTS_MAX : (unsigned)processors;
    program.first = 1;
    program.last = UINT64_MAX - 1;
    program.terminal = isatty(STDERR_FILENO) == 1;
    bool one = false;
    for (int code; (code = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        if (!take_option(&program, code, optarg, &one)) {
            fprintf(stderr, "trilith-sim: bad option or value%s%s; --help says what there is\n",
                    optarg != NULL ? ": " : "", optarg != NULL ? optarg : "");
            return EXIT_USAGE;
        }
    }
    bool many = program.last < UINT64_MAX - 1 || program.seconds > 0;
    bool of_one = program.plan.trace || program.print_options || program.shrink_runs > 0;
    bool of_many = program.require_all || program.first_failure;
    if (optind != argc || one == many || (one && of_many) || (many && of_one)) {
        fputs("trilith-sim: one seed (--seed, with --trace, --options, --shrink), or many (--seeds or --minutes, with\n"
              "--require-all, --first-failure); --help says more\n",
              stderr);
        return EXIT_USAGE;
    }
    if (keys_start_process() != STATUS_OK) {
        fputs("trilith-sim: libsodium did not start\n", stderr);
        return EXIT_FAILURE;
    }
    struct sigaction action = {.sa_handler = on_signal};
    CHECK(one || (sigaction(SIGINT, &action, NULL) == 0 && sigaction(SIGTERM, &action, NULL) == 0));
    sim_secrets_make();
    program.pool = pool_open(one ? 1 : program.jobs);
    int status = one ? one_seed(&program) : many_seeds(&program);
    pool_close(program.pool);
    return status;
}
