/* test_latency.c - percentiles are right to within the histogram's stated error. */
#include "bench/latency.h"

#include <criterion/criterion.h>
#include <stdlib.h>

Test(latency, of_nothing_is_zero)
{
    struct latency *latency = calloc(1, sizeof(*latency));
    cr_assert_eq(latency_percentile_ns(latency, 50), 0);
    free(latency);
}

Test(latency, percentiles_are_at_most_a_sixtieth_too_high)
{
    struct latency *latency = calloc(1, sizeof(*latency));
    for (uint64_t i = 1; i <= 1000000; i++) {
        latency_record(latency, i * 1000);
    }
    const double percents[] = {1, 25, 50, 90, 99, 99.9, 100};
    for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++) {
        double exact = percents[i] / 100 * 1e9;
        double got = (double)latency_percentile_ns(latency, percents[i]);
        cr_assert(got >= exact && got <= exact * (1 + 1.0 / 60), "p%g: %g for %g", percents[i], got, exact);
    }
    free(latency);
}

Test(latency, takes_the_extremes_and_merges)
{
    struct latency *a = calloc(1, sizeof(*a));
    struct latency *b = calloc(1, sizeof(*b));
    latency_record(a, 0);
    latency_record(b, UINT64_MAX);
    latency_merge(a, b);
    cr_assert_eq(a->total, 2);
    cr_assert_eq(latency_percentile_ns(a, 100), UINT64_MAX);
    cr_assert_eq(latency_percentile_ns(a, 1), 0);
    free(a);
    free(b);
}
