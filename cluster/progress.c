/* progress.c - the progress line: a bar, an amount, a rate and the time that is left. */
#include "cluster/progress.h"

#include "base/check.h"
#include "cluster/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BAR_CELLS        24
#define QUIET_NS         NS_PER_S
#define DRAW_INTERVAL_NS (100 * NS_PER_MS)

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

void progress_begin(struct progress *progress, const char *what, uint64_t total, bool counts_bytes)
{
    *progress = (struct progress){.what = what, .total = total, .counts_bytes = counts_bytes};
    progress->enabled = isatty(STDERR_FILENO) == 1;
    progress->start_ns = now_ns();
}

static void amount_text(const struct progress *progress, uint64_t amount, char text[OUTPUT_SIZE_BYTES])
{
    if (progress->counts_bytes) {
        output_size(amount, text);
    } else {
        snprintf(text, OUTPUT_SIZE_BYTES, "%" PRIu64, amount);
    }
}

static void draw(const struct progress *progress, uint64_t done, uint64_t elapsed_ns)
{
    double seconds = (double)elapsed_ns / (double)NS_PER_S;
    double rate = (double)done / seconds;
    char amount[OUTPUT_SIZE_BYTES];
    char speed[OUTPUT_SIZE_BYTES];
    amount_text(progress, done, amount);
    amount_text(progress, (uint64_t)rate, speed);
    if (progress->total == 0) {
        fprintf(stderr, "\r\033[K%s  %s  %s/s", progress->what, amount, speed);
        return;
    }
    double share = done >= progress->total ? 1.0 : (double)done / (double)progress->total;
    char bar[BAR_CELLS + 1];
    size_t filled = (size_t)(share * BAR_CELLS);
    memset(bar, '#', filled);
    memset(bar + filled, '.', BAR_CELLS - filled);
    bar[BAR_CELLS] = '\0';
    unsigned left = rate > 0 && share < 1.0 ? (unsigned)((double)(progress->total - done) / rate) : 0;
    fprintf(stderr, "\r\033[K%s  [%s] %3.0f %%  %s  %s/s  ETA %u:%02u", progress->what, bar, share * 100.0, amount,
            speed, left / 60, left % 60);
}

void progress_set(struct progress *progress, uint64_t done)
{
    if (!progress->enabled) {
        return;
    }
    uint64_t now = now_ns();
    if (now - progress->start_ns < QUIET_NS || now - progress->drawn_ns < DRAW_INTERVAL_NS) {
        return;
    }
    progress->drawn_ns = now;
    progress->shown = true;
    draw(progress, done, now - progress->start_ns);
}

void progress_end(struct progress *progress)
{
    if (progress->shown) {
        fputs("\r\033[K", stderr);
    }
}
