/* check.h - assertions that stay on in release, and the few compiler attributes we use.
 *
 * CHECK states what only a bug in this program can break: arguments, both sides of a handover, loop
 * bounds, impossible states. Stopping beats corrupting, so it aborts in every build. Bytes from disk,
 * network, files or people are never CHECKed: they are decoded and refused with a status. */
#ifndef TRILITH_BASE_CHECK_H
#define TRILITH_BASE_CHECK_H

#include <stddef.h>

#define MUST_USE                                  __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_index, first_argument) __attribute__((format(printf, format_index, first_argument)))

/* Print the failed condition and its place to stderr, then abort. Prints no values: they could be secrets. */
_Noreturn void check_failed(const char *condition, const char *file, int line);

#define CHECK(condition) ((condition) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))
#define UNREACHABLE()    check_failed("unreachable", __FILE__, __LINE__)

/* The struct that embeds `member`, from a pointer to that member. */
#define CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#define ARRAY_LENGTH(array)                 (sizeof(array) / sizeof((array)[0]))

#define KIB(n)                              ((size_t)(n) << 10)
#define MIB(n)                              ((size_t)(n) << 20)
#define GIB(n)                              ((uint64_t)(n) << 30)
#define NS_PER_US                           UINT64_C(1000)
#define NS_PER_MS                           UINT64_C(1000000)
#define NS_PER_S                            UINT64_C(1000000000)

#endif
