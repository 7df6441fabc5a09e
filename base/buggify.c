/* buggify.c - the names of the points, and the kill point that the environment asks for. */
#include "base/buggify.h"

#include <stddef.h>

const char *buggify_point_name(enum buggify_point point)
{
#define POINT_NAME(name, text) #name,
    static const char *const names[] = {BUGGIFY_POINTS(POINT_NAME)};
#undef POINT_NAME
    return (unsigned)point < BUGGIFY_POINT_COUNT ? names[point] : "unknown";
}

const char *kill_point_name(enum kill_point point)
{
#define POINT_NAME(name, label, text) label,
    static const char *const names[] = {KILL_POINTS(POINT_NAME)};
#undef POINT_NAME
    return (unsigned)point < KILL_POINT_COUNT ? names[point] : "unknown";
}

#ifdef TRILITH_BUGGIFY

#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct buggify_hooks buggify_hooks;

/* What the environment asked for. Set before the second thread starts. */
static struct {
    enum kill_point point;
    unsigned pass; /* the one that kills, from 1 */
    atomic_uint passes;
} kill_at;

static void kill_when_due(enum kill_point point)
{
    if (point == kill_at.point && atomic_fetch_add(&kill_at.passes, 1) + 1 == kill_at.pass) {
        log_event(LOG_WARNING, "kill_point", "name=%s pass=%u", kill_point_name(point), kill_at.pass);
        (void)raise(SIGKILL);
    }
}

static bool kill_point_find(const char *name, size_t length, enum kill_point *point)
{
    for (unsigned i = 0; i < KILL_POINT_COUNT; i++) {
        const char *known = kill_point_name((enum kill_point)i);
        if (strlen(known) == length && memcmp(known, name, length) == 0) {
            *point = (enum kill_point)i;
            return true;
        }
    }
    return false;
}

/* Decimal digits only, 1 up to UINT_MAX. */
static bool pass_parse(const char *text, unsigned *pass)
{
    if (text[0] < '1' || text[0] > '9') {
        return false;
    }
    char *end = NULL;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    *pass = (unsigned)value;
    return errno == 0 && *end == '\0' && value == *pass;
}

bool buggify_from_environment(void)
{
    const char *text = getenv("TRILITH_KILL_AT");
    if (text == NULL) {
        return true;
    }
    size_t length = strcspn(text, ":");
    enum kill_point point;
    unsigned pass = 1;
    if (!kill_point_find(text, length, &point) || (text[length] == ':' && !pass_parse(text + length + 1, &pass))) {
        return false;
    }
    kill_at.point = point;
    kill_at.pass = pass;
    atomic_store(&kill_at.passes, 0);
    buggify_hooks.passed = kill_when_due;
    return true;
}

#endif
