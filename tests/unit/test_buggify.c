/* test_buggify.c - the points have names of their own; hooks decide, and without hooks nothing happens; the environment
 * ends the process at the pass it names, and only there. */
#include "base/buggify.h"
#include "base/check.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

Test(buggify, names_are_distinct)
{
    for (int a = 0; a < BUGGIFY_POINT_COUNT; a++) {
        for (int b = 0; b < a; b++) {
            cr_assert_str_neq(buggify_point_name((enum buggify_point)a), buggify_point_name((enum buggify_point)b));
        }
    }
    for (int a = 0; a < KILL_POINT_COUNT; a++) {
        for (int b = 0; b < a; b++) {
            cr_assert_str_neq(kill_point_name((enum kill_point)a), kill_point_name((enum kill_point)b));
        }
    }
    cr_assert_str_eq(buggify_point_name(BUGGIFY_STORE_SMALL_BATCH), "STORE_SMALL_BATCH");
    cr_assert_str_eq(kill_point_name(KILL_STORE_INTENT_DURABLE), "store.intent_durable");
}

/* "part.what_is_true": what a person types into TRILITH_KILL_AT has nothing to quote, and no colon. */
Test(buggify, names_of_kill_points_can_be_typed)
{
    for (int i = 0; i < KILL_POINT_COUNT; i++) {
        const char *name = kill_point_name((enum kill_point)i);
        size_t part = strcspn(name, ".");
        cr_assert_eq(strspn(name, "abcdefghijklmnopqrstuvwxyz_."), strlen(name), "%s", name);
        cr_assert(part > 0 && name[part] == '.' && name[part + 1] != '\0', "%s", name);
        cr_assert_null(strchr(name + part + 1, '.'), "%s", name);
    }
}

Test(buggify, outside_of_the_tables_is_unknown)
{
    cr_assert_str_eq(buggify_point_name(BUGGIFY_POINT_COUNT), "unknown");
    cr_assert_str_eq(kill_point_name(KILL_POINT_COUNT), "unknown");
}

Test(buggify, without_hooks_nothing_happens)
{
    for (int i = 0; i < BUGGIFY_POINT_COUNT; i++) {
        cr_assert_not(BUGGIFY((enum buggify_point)i));
    }
    for (int i = 0; i < KILL_POINT_COUNT; i++) {
        KILL_POINT((enum kill_point)i);
    }
}

#ifdef TRILITH_BUGGIFY

static int fires_asked;
static enum buggify_point fires_point;
static enum kill_point passed_point;

static bool fires_always(enum buggify_point point)
{
    fires_asked++;
    fires_point = point;
    return true;
}

static void passed_note(enum kill_point point)
{
    passed_point = point;
}

Test(buggify, hooks_hear_which_point_it_is)
{
    buggify_hooks = (struct buggify_hooks){.fires = fires_always, .passed = passed_note};
    cr_assert(BUGGIFY(BUGGIFY_META_BUSY));
    cr_assert_eq(fires_asked, 1);
    cr_assert_eq(fires_point, BUGGIFY_META_BUSY);
    KILL_POINT(KILL_META_APPLIED);
    cr_assert_eq(passed_point, KILL_META_APPLIED);
}

/* ---- the environment ----------------------------------------------------------------------------- */

static bool environment_is_taken(const char *value)
{
    cr_assert_eq(setenv("TRILITH_KILL_AT", value, 1), 0);
    return buggify_from_environment();
}

Test(buggify, an_environment_that_says_nothing_installs_nothing)
{
    unsetenv("TRILITH_KILL_AT");
    cr_assert(buggify_from_environment());
    cr_assert_null(buggify_hooks.passed);
    cr_assert_null(buggify_hooks.fires);
}

Test(buggify, every_name_is_taken)
{
    for (int i = 0; i < KILL_POINT_COUNT; i++) {
        cr_assert(environment_is_taken(kill_point_name((enum kill_point)i)));
        cr_assert_not_null(buggify_hooks.passed);
    }
    cr_assert(environment_is_taken("store.intent_durable:1"));
    cr_assert(environment_is_taken("store.intent_durable:4294967295"));
    cr_assert_null(buggify_hooks.fires);
}

Test(buggify, what_names_no_kill_point_is_refused)
{
    static const char *const values[] = {
        "",
        ":",
        ":1",
        "store",
        "store.intent_durabl",
        "store.intent_durablex",
        "STORE_INTENT_DURABLE",
        "STORE_SMALL_BATCH",
        "unknown",
        " store.intent_durable",
        "store.intent_durable ",
        "store.intent_durable:",
        "store.intent_durable:0",
        "store.intent_durable:-1",
        "store.intent_durable:+1",
        "store.intent_durable: 1",
        "store.intent_durable:1x",
        "store.intent_durable:1:1",
        "store.intent_durable:4294967296",
        "store.intent_durable:99999999999999999999",
    };

    for (size_t i = 0; i < ARRAY_LENGTH(values); i++) {
        cr_assert_not(environment_is_taken(values[i]), "\"%s\"", values[i]);
        cr_assert_null(buggify_hooks.passed);
    }
}

#define SURVIVED 7

/* How a process ends that has this environment and passes `point` so many times. */
static int end_of_process(const char *value, enum kill_point point, unsigned passes)
{
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        if (setenv("TRILITH_KILL_AT", value, 1) != 0 || !buggify_from_environment()) {
            _exit(1);
        }
        for (unsigned i = 0; i < passes; i++) {
            KILL_POINT(point);
        }
        _exit(SURVIVED);
    }
    int end = 0;
    cr_assert_eq(waitpid(child, &end, 0), child);
    return end;
}

static bool is_killed(int end)
{
    return WIFSIGNALED(end) && WTERMSIG(end) == SIGKILL;
}

static bool is_survived(int end)
{
    return WIFEXITED(end) && WEXITSTATUS(end) == SURVIVED;
}

Test(buggify, kills_at_the_pass_that_is_named)
{
    cr_assert(is_killed(end_of_process("store.wipe_flushed", KILL_STORE_WIPE_FLUSHED, 1)));
    cr_assert(is_survived(end_of_process("store.wipe_flushed:3", KILL_STORE_WIPE_FLUSHED, 2)));
    cr_assert(is_killed(end_of_process("store.wipe_flushed:3", KILL_STORE_WIPE_FLUSHED, 3)));
}

Test(buggify, passes_of_other_points_do_not_count)
{
    cr_assert(is_survived(end_of_process("store.wipe_flushed:2", KILL_STORE_WIPE_WRITTEN, 9)));
}

#else

Test(buggify, a_build_without_hooks_does_not_look_at_the_environment)
{
    cr_assert_eq(setenv("TRILITH_KILL_AT", "nonsense", 1), 0);
    cr_assert(buggify_from_environment());
}

#endif
