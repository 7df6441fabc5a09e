#include "bench/latency.h"

#include "base/check.h"

/* Below LATENCY_SUB_BUCKETS a value is its own bucket; above, the top seven bits choose it. */
static unsigned latency_bucket(uint64_t ns)
{
    if (ns < LATENCY_SUB_BUCKETS) {
        return (unsigned)ns;
    }
    unsigned top_bit = 63u - (unsigned)__builtin_clzll(ns);
    unsigned shift = top_bit - 6;
    return (shift + 1) * LATENCY_SUB_BUCKETS + (unsigned)((ns >> shift) - LATENCY_SUB_BUCKETS);
}

/* The largest value that falls into `bucket`. */
static uint64_t latency_bucket_limit_ns(unsigned bucket)
{
    if (bucket < LATENCY_SUB_BUCKETS) {
        return bucket;
    }
    unsigned shift = bucket / LATENCY_SUB_BUCKETS - 1;
    uint64_t base = LATENCY_SUB_BUCKETS + bucket % LATENCY_SUB_BUCKETS;
    return ((base + 1) << shift) - 1;
}

void latency_record(struct latency *latency, uint64_t ns)
{
    unsigned bucket = latency_bucket(ns);
    CHECK(bucket < LATENCY_BUCKETS);
    latency->counts[bucket]++;
    latency->total++;
    if (ns > latency->max_ns) {
        latency->max_ns = ns;
    }
}

void latency_merge(struct latency *into, const struct latency *from)
{
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
        into->counts[i] += from->counts[i];
    }
    into->total += from->total;
    if (from->max_ns > into->max_ns) {
        into->max_ns = from->max_ns;
    }
}

uint64_t latency_percentile_ns(const struct latency *latency, double percent)
{
    CHECK(percent >= 0 && percent <= 100);
    uint64_t wanted = (uint64_t)((double)latency->total * percent / 100.0 + 0.999999);
    uint64_t seen = 0;

    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
        seen += latency->counts[i];
        if (seen >= wanted && seen > 0) {
            uint64_t limit = latency_bucket_limit_ns(i);
            return limit < latency->max_ns ? limit : latency->max_ns;
        }
    }
    return latency->max_ns;
}
