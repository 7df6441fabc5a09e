/* latency.h - how long operations took: a histogram with a fixed relative error, after HdrHistogram's idea.
 *
 * Values are counted in buckets of 1/64 of their power of two, so a percentile is at most 1.6 % too high. Fixed size, no
 * allocation; one per thread, merged at the end. Pure. */
#ifndef TRILITH_BENCH_LATENCY_H
#define TRILITH_BENCH_LATENCY_H

#include <stdint.h>

#define LATENCY_SUB_BUCKETS 64u
#define LATENCY_BUCKETS     (64u * LATENCY_SUB_BUCKETS)

struct latency {
    uint64_t counts[LATENCY_BUCKETS];
    uint64_t total;
    uint64_t max_ns;
};

void latency_record(struct latency *latency, uint64_t ns);
void latency_merge(struct latency *into, const struct latency *from);

/* The least value in nanoseconds that `percent` (0..100) of the operations did not exceed; 0 without operations. */
uint64_t latency_percentile_ns(const struct latency *latency, double percent);

#endif
