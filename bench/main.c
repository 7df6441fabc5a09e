/* main.c - trilith-bench: drive S3 endpoints with one kind of operation and say how fast they answered.
 *
 * A closed loop: as many threads as operations in flight, each with its own connection, bound round-robin to the
 * endpoints. The content of object i is a window into one random buffer made from the seed, so making it costs
 * nothing and a GET can be compared byte for byte. Rates count from the first start to the last end.
 *
 * Not here yet: open-loop rates, mixed workloads, faults, reports as pages. */
#include "base/check.h"
#include "base/config.h"
#include "base/digest.h"
#include "bench/http_client.h"
#include "bench/latency.h"
#include "bench/server_cost.h"
#include "node/s3/sigv4.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ENDPOINTS_MAX      64
#define IN_FLIGHT_MAX      1024
#define CONTENT_WINDOW     4096u /* object i starts i windows into the content */
#define CONTENT_WINDOWS    1024u
#define OBJECT_BYTES_LIMIT MIB(1024)

enum workload { WORKLOAD_PUT, WORKLOAD_GET, WORKLOAD_DELETE };
static const char *const WORKLOAD_NAMES[] = {"put", "get", "delete"};

struct bench {
    /* What to do; fixed before the threads start. */
    enum workload workload;
    char endpoints[ENDPOINTS_MAX][64];
    size_t endpoint_count;
    const char *access_key;
    const char *secret_key;
    const char *region;
    const char *bucket;
    const char *prefix;
    uint64_t object_bytes;
    uint64_t count;   /* operations; 0: until the time is over */
    uint64_t objects; /* get: how many objects there are to choose from */
    uint64_t seconds;
    unsigned in_flight;
    bool verify;
    bool sign_payload;
    bool json;
    const uint8_t *content;
    struct server_processes servers;

    /* Shared by the threads. */
    atomic_uint_fast64_t next;
    atomic_uint_fast64_t done;
    uint64_t end_ns;
};

struct worker {
    struct bench *bench;
    unsigned number;
    pthread_t thread;
    struct latency latency;
    uint64_t operations;
    uint64_t failures;
    uint64_t mismatches;
    char first_failure[128];
};

static uint64_t now_ns(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
}

/* Bytes from the seed by splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014). */
static uint8_t *content_make(uint64_t object_bytes, uint64_t seed)
{
    size_t bytes = (size_t)object_bytes + (size_t)CONTENT_WINDOW * CONTENT_WINDOWS + 8;
    uint8_t *content = malloc(bytes);
    for (size_t at = 0; content != NULL && at + 8 <= bytes; at += 8) {
        uint64_t z = (seed += UINT64_C(0x9e3779b97f4a7c15));
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        z ^= z >> 31;
        memcpy(content + at, &z, 8);
    }
    return content;
}

static const uint8_t *object_content(const struct bench *bench, uint64_t index)
{
    return bench->content + (index % CONTENT_WINDOWS) * CONTENT_WINDOW;
}

/* Write the signed head of one request. Returns its length; 0: it does not fit. */
static size_t request_head(const struct bench *bench, const char *endpoint, const char *method, uint64_t index,
                           const void *body, size_t body_bytes, char *head, size_t capacity)
{
    char path[256];
    char payload_hash[2 * SHA256_BYTES + 1] = SIGV4_UNSIGNED_PAYLOAD;
    char timestamp[DATE_AMZ_BYTES];
    char authorization[512];

    snprintf(path, sizeof(path), "/%s/%s%010" PRIu64, bench->bucket, bench->prefix, index);
    date_to_amz(now_ns(CLOCK_REALTIME) / NS_PER_MS, timestamp);
    if (bench->sign_payload) {
        uint8_t hash[SHA256_BYTES];
        sha256(body, body_bytes, hash);
        hex_encode(hash, sizeof(hash), payload_hash);
    }
    const struct sigv4_field headers[] = {
        {text_span_of("host"), text_span_of(endpoint)},
        {text_span_of("x-amz-content-sha256"), text_span_of(payload_hash)},
        {text_span_of("x-amz-date"), text_span_of(timestamp)},
    };
    const struct sigv4_request request = {
        .method = text_span_of(method),
        .path = text_span_of(path),
        .query = text_span_of(""),
        .headers = headers,
        .header_count = ARRAY_LENGTH(headers),
        .payload_hash = text_span_of(payload_hash),
    };
    if (sigv4_sign(&request, bench->access_key, bench->secret_key, bench->region, timestamp, authorization,
                   sizeof(authorization)) != STATUS_OK) {
        return 0;
    }
    int written = snprintf(head, capacity,
                           "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nx-amz-content-sha256: %s\r\n"
                           "x-amz-date: %s\r\nContent-Length: %zu\r\n\r\n",
                           method, path, endpoint, authorization, payload_hash, timestamp, body_bytes);
    return written > 0 && (size_t)written < capacity ? (size_t)written : 0;
}

static void worker_fail(struct worker *worker, const char *what, int detail)
{
    if (worker->failures++ == 0) {
        snprintf(worker->first_failure, sizeof(worker->first_failure), "%s %d", what, detail);
    }
}

/* One operation on object `index`. */
static void worker_operate(struct worker *worker, struct http_client *client, uint64_t index, uint8_t *answer)
{
    struct bench *bench = worker->bench;
    static const char *const methods[] = {"PUT", "GET", "DELETE"};
    const uint8_t *content = object_content(bench, index);
    size_t body_bytes = bench->workload == WORKLOAD_PUT ? (size_t)bench->object_bytes : 0;
    char head[2048];
    int code = 0;
    uint64_t answer_bytes = 0;

    size_t head_bytes =
        request_head(bench, client->address, methods[bench->workload], index, content, body_bytes, head, sizeof(head));
    CHECK(head_bytes > 0);
    uint64_t start_ns = now_ns(CLOCK_MONOTONIC);
    enum status status = http_request(client, head, head_bytes, content, body_bytes, true, answer,
                                      (size_t)bench->object_bytes, &code, &answer_bytes);
    latency_record(&worker->latency, now_ns(CLOCK_MONOTONIC) - start_ns);
    worker->operations++;
    if (status != STATUS_OK) {
        worker_fail(worker, status_name(status), errno);
    } else if (code != (bench->workload == WORKLOAD_DELETE ? 204 : 200)) {
        worker_fail(worker, "HTTP status", code);
    } else if (bench->workload == WORKLOAD_GET && bench->verify &&
               (answer_bytes != bench->object_bytes || memcmp(answer, content, (size_t)answer_bytes) != 0)) {
        worker->mismatches++;
    }
}

static void *worker_run(void *argument)
{
    struct worker *worker = argument;
    struct bench *bench = worker->bench;
    struct http_client client;
    uint8_t *answer = malloc((size_t)bench->object_bytes + 1);

    CHECK(answer != NULL);
    http_client_init(&client, bench->endpoints[worker->number % bench->endpoint_count]);
    for (;;) {
        uint64_t turn = atomic_fetch_add(&bench->next, 1);
        if (bench->count > 0 ? turn >= bench->count : now_ns(CLOCK_MONOTONIC) >= bench->end_ns) {
            break;
        }
        /* Reading spreads over the objects in an order that no read-ahead guesses. */
        uint64_t index = bench->workload == WORKLOAD_GET ? turn * UINT64_C(2654435761) % bench->objects : turn;
        worker_operate(worker, &client, index, answer);
        atomic_fetch_add(&bench->done, 1);
    }
    http_client_deinit(&client);
    free(answer);
    return NULL;
}

static void report(const struct bench *bench, const struct worker *sum, double seconds, double cpu_seconds,
                   uint64_t memory_bytes)
{
    double gib = (double)sum->operations * (double)bench->object_bytes / (double)GIB(1);
    double ms[4];
    const double percents[4] = {50, 90, 99, 99.9};
    for (size_t i = 0; i < 4; i++) {
        ms[i] = (double)latency_percentile_ns(&sum->latency, percents[i]) / 1e6;
    }
    double per_second = (double)sum->operations / seconds;
    double mib_per_second = gib * 1024 / seconds;
    double cpu_us = sum->operations > 0 ? cpu_seconds * 1e6 / (double)sum->operations : 0;
    double cpu_per_gib = gib > 0 ? cpu_seconds / gib : 0;

    if (bench->json) {
        printf(
            "{\"workload\":\"%s\",\"object_bytes\":%" PRIu64 ",\"in_flight\":%u,\"operations\":%" PRIu64
            ",\"failures\":%" PRIu64 ",\"mismatches\":%" PRIu64 ",\"seconds\":%.3f,\"per_second\":%.1f,"
            "\"mib_per_second\":%.1f,\"p50_ms\":%.3f,\"p90_ms\":%.3f,\"p99_ms\":%.3f,\"p999_ms\":%.3f,\"max_ms\":%.3f,"
            "\"server_cpu_us_per_operation\":%.1f,\"server_cpu_s_per_gib\":%.3f,\"server_memory_bytes\":%" PRIu64 "}\n",
            WORKLOAD_NAMES[bench->workload], bench->object_bytes, bench->in_flight, sum->operations, sum->failures,
            sum->mismatches, seconds, per_second, mib_per_second, ms[0], ms[1], ms[2], ms[3],
            (double)sum->latency.max_ns / 1e6, cpu_us, cpu_per_gib, memory_bytes);
        return;
    }
    printf("%-6s %10" PRIu64 " B x %-4u %9.0f/s %9.1f MiB/s   p50 %.2f  p90 %.2f  p99 %.2f  p99.9 %.2f ms   "
           "%" PRIu64 " done, %" PRIu64 " failed, %" PRIu64 " wrong",
           WORKLOAD_NAMES[bench->workload], bench->object_bytes, bench->in_flight, per_second, mib_per_second, ms[0],
           ms[1], ms[2], ms[3], sum->operations, sum->failures, sum->mismatches);
    if (bench->servers.count > 0) {
        printf("   servers: %.0f us/op, %.2f CPU s/GiB, %.0f MiB", cpu_us, cpu_per_gib, (double)memory_bytes / 1048576);
    }
    printf("\n");
}

static int bench_run(struct bench *bench)
{
    struct worker *workers = calloc(bench->in_flight, sizeof(*workers));
    struct worker *sum = calloc(1, sizeof(*sum));
    struct server_cost before;
    struct server_cost after;
    CHECK(workers != NULL && sum != NULL);

    server_cost_read(&bench->servers, &before);
    uint64_t start_ns = now_ns(CLOCK_MONOTONIC);
    bench->end_ns = start_ns + bench->seconds * NS_PER_S;
    for (unsigned i = 0; i < bench->in_flight; i++) {
        workers[i].bench = bench;
        workers[i].number = i;
        CHECK(pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]) == 0);
    }
    for (unsigned i = 0; i < bench->in_flight; i++) {
        pthread_join(workers[i].thread, NULL);
        latency_merge(&sum->latency, &workers[i].latency);
        sum->operations += workers[i].operations;
        sum->failures += workers[i].failures;
        sum->mismatches += workers[i].mismatches;
        if (sum->first_failure[0] == '\0') {
            memcpy(sum->first_failure, workers[i].first_failure, sizeof(sum->first_failure));
        }
    }
    double seconds = (double)(now_ns(CLOCK_MONOTONIC) - start_ns) / 1e9;
    server_cost_read(&bench->servers, &after);
    report(bench, sum, seconds, after.cpu_seconds - before.cpu_seconds, after.memory_bytes);
    if (sum->failures > 0) {
        fprintf(stderr, "trilith-bench: %" PRIu64 " operations failed, the first with: %s\n", sum->failures,
                sum->first_failure);
    }
    int exit_status = sum->failures > 0 || sum->mismatches > 0 ? 1 : 0;
    free(workers);
    free(sum);
    return exit_status;
}

static void usage(FILE *out)
{
    fprintf(out,
            "usage: trilith-bench put|get|delete [options]\n"
            "Drive S3 endpoints with one kind of operation and report rate and latency.\n\n"
            "  --size SIZE         bytes of an object, as in 4KiB or 64MiB (default 4 MiB)\n"
            "  --in-flight N       operations in flight, each on its own connection (default 8)\n"
            "  --count N           stop after N operations (objects 0..N-1)\n"
            "  --seconds N         stop after N seconds (default 10, without --count)\n"
            "  --objects N         get: read among objects 0..N-1 (default: --count)\n"
            "  --bucket NAME       default bench; it must exist\n"
            "  --prefix TEXT       of the keys (default o)\n"
            "  --seed N            of the content (default 1)\n"
            "  --verify            get: compare every byte\n"
            "  --sign-payload      put: sign the body's SHA-256 instead of UNSIGNED-PAYLOAD\n"
            "  --servers PID,...   processes whose CPU time and memory to report\n"
            "  --json              one JSON object instead of a line\n\n"
            "Endpoints and keys come from TRILITH_S3_ENDPOINTS (host:port or http://host:port, comma separated),\n"
            "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_DEFAULT_REGION, as `cluster/local env` prints them.\n"
            "Exit status: 0, 1 when an operation failed or bytes were wrong, 2 for wrong usage.\n");
}

static bool bench_read_endpoints(struct bench *bench)
{
    const char *list = getenv("TRILITH_S3_ENDPOINTS");
    while (list != NULL && *list != '\0' && bench->endpoint_count < ENDPOINTS_MAX) {
        const char *start = strncmp(list, "http://", 7) == 0 ? list + 7 : list;
        size_t bytes = strcspn(start, ",/");
        if (bytes == 0 || bytes >= sizeof(bench->endpoints[0])) {
            return false;
        }
        memcpy(bench->endpoints[bench->endpoint_count++], start, bytes);
        list = start + bytes;
        list += strcspn(list, ",");
        list += *list == ',';
    }
    return bench->endpoint_count > 0;
}

static bool number_of(const char *text, uint64_t *number)
{
    char *end;
    errno = 0;
    *number = strtoull(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && text[0] != '-';
}

/* Read the command line. False: it is wrong, and has been said so. */
static bool bench_read_options(struct bench *bench, int argc, char **argv, uint64_t *seed)
{
    static const struct option options[] = {
        {"size", required_argument, NULL, 's'},    {"in-flight", required_argument, NULL, 'i'},
        {"count", required_argument, NULL, 'c'},   {"seconds", required_argument, NULL, 't'},
        {"objects", required_argument, NULL, 'o'}, {"bucket", required_argument, NULL, 'b'},
        {"prefix", required_argument, NULL, 'p'},  {"seed", required_argument, NULL, 'r'},
        {"verify", no_argument, NULL, 'v'},        {"sign-payload", no_argument, NULL, 'g'},
        {"servers", required_argument, NULL, 'x'}, {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0},
    };
    uint64_t in_flight = 8;
    bool right = true;
    int letter;

    while ((letter = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (letter) {
        case 's':
            right &= config_parse_size(optarg, &bench->object_bytes);
            break;
        case 'i':
            right &= number_of(optarg, &in_flight);
            break;
        case 'c':
            right &= number_of(optarg, &bench->count);
            break;
        case 't':
            right &= number_of(optarg, &bench->seconds);
            break;
        case 'o':
            right &= number_of(optarg, &bench->objects);
            break;
        case 'b':
            bench->bucket = optarg;
            break;
        case 'p':
            bench->prefix = optarg;
            break;
        case 'r':
            right &= number_of(optarg, seed);
            break;
        case 'v':
            bench->verify = true;
            break;
        case 'g':
            bench->sign_payload = true;
            break;
        case 'x':
            server_processes_parse(optarg, &bench->servers);
            break;
        case 'j':
            bench->json = true;
            break;
        case 'h':
            usage(stdout);
            exit(0);
        default:
            return false;
        }
        if (!right) {
            fprintf(stderr, "trilith-bench: \"%s\" is not a value for that option; see --help\n", optarg);
            return false;
        }
    }
    if (in_flight < 1 || in_flight > IN_FLIGHT_MAX || bench->object_bytes > OBJECT_BYTES_LIMIT) {
        fprintf(stderr, "trilith-bench: --in-flight goes from 1 to %d, --size to 1 GiB\n", IN_FLIGHT_MAX);
        return false;
    }
    bench->in_flight = (unsigned)in_flight;
    for (size_t i = 0; optind + 1 == argc && i < ARRAY_LENGTH(WORKLOAD_NAMES); i++) {
        if (strcmp(argv[optind], WORKLOAD_NAMES[i]) == 0) {
            bench->workload = (enum workload)i;
            return true;
        }
    }
    fprintf(stderr, "trilith-bench: name one workload: put, get or delete; see --help\n");
    return false;
}

int main(int argc, char **argv)
{
    static struct bench bench = {.object_bytes = MIB(4), .seconds = 10, .bucket = "bench", .prefix = "o"};
    uint64_t seed = 1;

    if (!bench_read_options(&bench, argc, argv, &seed)) {
        return 2;
    }
    bench.access_key = getenv("AWS_ACCESS_KEY_ID");
    bench.secret_key = getenv("AWS_SECRET_ACCESS_KEY");
    bench.region = getenv("AWS_DEFAULT_REGION") != NULL ? getenv("AWS_DEFAULT_REGION") : "us-east-1";
    if (!bench_read_endpoints(&bench) || bench.access_key == NULL || bench.secret_key == NULL) {
        fprintf(stderr, "trilith-bench: no endpoints or keys in the environment; try: eval \"$(cluster/local env)\"\n");
        return 2;
    }
    if (bench.objects == 0) {
        bench.objects = bench.count;
    }
    if (bench.workload == WORKLOAD_GET && bench.objects == 0) {
        fprintf(stderr, "trilith-bench: get needs --objects (or --count): how many were put\n");
        return 2;
    }
    bench.content = content_make(bench.object_bytes, seed);
    if (bench.content == NULL) {
        fprintf(stderr, "trilith-bench: no memory for objects of %" PRIu64 " bytes\n", bench.object_bytes);
        return 1;
    }
    return bench_run(&bench);
}
