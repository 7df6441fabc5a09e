/* medium_sanitize.c - what is asked of the device, and when it counts as done, stuck or failed. */
#include "cluster/medium_sanitize.h"

#include "base/bytes.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define POLL_MS           1000u
#define LOG_FAILURES_MAX  60u /* in a row: a device may be silent for a while after it was asked */
#define STUCK_SECONDS_MIN 120u
#define STUCK_UNKNOWN     (3u * 3600u) /* where the device estimates nothing */
#define STUCK_SECONDS_MAX (7u * 24u * 3600u)
#define SANICAP_CRYPTO    1u
#define SANICAP_BLOCK     2u
#define SANICAP_OVERWRITE 4u
#define CDW10_ACTION_MASK 7u
#define CDW10_ONE_PASS    (1u << 4)

const char *sanitize_action_name(enum sanitize_action action)
{
    switch (action) {
    case SANITIZE_NONE:
        return "none";
    case SANITIZE_BLOCK_ERASE:
        return "block erase";
    case SANITIZE_OVERWRITE:
        return "overwrite by the device";
    case SANITIZE_CRYPTO_ERASE:
        return "crypto erase";
    }
    UNREACHABLE();
}

bool sanitize_has(const struct sanitize_ability *ability, enum sanitize_action action)
{
    switch (action) {
    case SANITIZE_NONE:
        return false;
    case SANITIZE_BLOCK_ERASE:
        return (ability->sanicap & SANICAP_BLOCK) != 0;
    case SANITIZE_OVERWRITE:
        return (ability->sanicap & SANICAP_OVERWRITE) != 0;
    case SANITIZE_CRYPTO_ERASE:
        return (ability->sanicap & SANICAP_CRYPTO) != 0;
    }
    UNREACHABLE();
}

enum sanitize_action sanitize_choose(const struct sanitize_ability *ability)
{
    /* Block erase first: it touches the cells themselves. Crypto erase leaves ciphertext and relies on how the device
     * keeps its key. */
    static const enum sanitize_action order[] = {SANITIZE_BLOCK_ERASE, SANITIZE_CRYPTO_ERASE, SANITIZE_OVERWRITE};
    for (size_t i = 0; i < ARRAY_LENGTH(order); i++) {
        if (sanitize_has(ability, order[i])) {
            return order[i];
        }
    }
    return SANITIZE_NONE;
}

uint32_t sanitize_estimate(const struct sanitize_log *log, enum sanitize_action action)
{
    switch (action) {
    case SANITIZE_NONE:
        return SANITIZE_NO_ESTIMATE;
    case SANITIZE_BLOCK_ERASE:
        return log->block_seconds;
    case SANITIZE_OVERWRITE:
        return log->overwrite_seconds;
    case SANITIZE_CRYPTO_ERASE:
        return log->crypto_seconds;
    }
    UNREACHABLE();
}

void sanitize_log_decode(const uint8_t raw[SANITIZE_LOG_BYTES], struct sanitize_log *log)
{
    struct byte_reader reader = byte_reader_of(raw, SANITIZE_LOG_BYTES);
    memcpy(log->raw, raw, SANITIZE_LOG_BYTES);
    log->sprog = read_u16(&reader);
    log->sstat = read_u16(&reader);
    log->cdw10 = read_u32(&reader);
    log->overwrite_seconds = read_u32(&reader);
    log->block_seconds = read_u32(&reader);
    log->crypto_seconds = read_u32(&reader);
}

static enum status read_log(struct sanitize_run *run)
{
    struct sanitize_log log;
    enum status status = run->sanitizer->log(run->sanitizer, &log);
    if (status == STATUS_OK) {
        run->log = log;
        run->log_read = true;
    }
    return status;
}

/* Whether the log is about a command like ours. */
static bool log_is_ours(const struct sanitize_run *run)
{
    return (run->log.cdw10 & CDW10_ACTION_MASK) == (uint32_t)run->action;
}

static bool log_says_completed(const struct sanitize_run *run)
{
    unsigned state = SANITIZE_STATE(run->log.sstat);
    return (state == SANITIZE_COMPLETED || state == SANITIZE_COMPLETED_DEALLOCATED) && log_is_ours(run);
}

static uint32_t stuck_limit(const struct sanitize_run *run)
{
    uint32_t estimate = sanitize_estimate(&run->log, run->action);
    if (estimate == SANITIZE_NO_ESTIMATE) {
        return STUCK_UNKNOWN;
    }
    uint64_t limit = 3 * (uint64_t)estimate;
    limit = limit < STUCK_SECONDS_MIN ? STUCK_SECONDS_MIN : limit;
    return limit > STUCK_SECONDS_MAX ? STUCK_SECONDS_MAX : (uint32_t)limit;
}

static enum status failed(const struct sanitize_run *run, char *message, const char *how)
{
    snprintf(message, MEDIUM_MESSAGE_BYTES,
             "the device's %s %s (status %" PRIu16 ", progress %" PRIu16 " of 65536); this medium must be destroyed",
             sanitize_action_name(run->action), how, run->log.sstat, run->log.sprog);
    return STATUS_IO;
}

/* Watch it until it has ended. */
static enum status watch(struct sanitize_run *run, char *message)
{
    struct sanitizer *sanitizer = run->sanitizer;
    uint64_t moved_ms = sanitizer->now_ms(sanitizer);
    uint32_t last = UINT32_MAX;
    unsigned failures = 0;
    for (;;) {
        if (read_log(run) == STATUS_OK) {
            failures = 0;
            if (log_says_completed(run)) {
                return STATUS_OK;
            }
            if (SANITIZE_STATE(run->log.sstat) == SANITIZE_FAILED) {
                return failed(run, message, "has failed");
            }
            if (run->log.sprog != last) {
                last = run->log.sprog;
                moved_ms = sanitizer->now_ms(sanitizer);
                if (run->progress != NULL) {
                    run->progress(run, run->log.sprog);
                }
            }
            run->stuck_seconds = stuck_limit(run);
        } else if (++failures > LOG_FAILURES_MAX) {
            return failed(run, message, "can't be followed any more: its log is not readable");
        }
        if (sanitizer->now_ms(sanitizer) - moved_ms > (uint64_t)run->stuck_seconds * 1000) {
            return failed(run, message, "stands still");
        }
        sanitizer->pause(sanitizer, POLL_MS);
    }
}

static enum status issue(struct sanitize_run *run, char *message)
{
    if (run->before_issue != NULL && run->before_issue(run) != STATUS_OK) {
        snprintf(message, MEDIUM_MESSAGE_BYTES, "the state file could not be written, so nothing was started");
        return STATUS_CANCELLED;
    }
    if (run->sanitizer->issue(run->sanitizer, run->cdw10, 0) != STATUS_OK) {
        snprintf(message, MEDIUM_MESSAGE_BYTES, "the device refused its %s", sanitize_action_name(run->action));
        return STATUS_IO;
    }
    run->started = true;
    return STATUS_OK;
}

enum status sanitize_perform(struct sanitize_run *run, char *message)
{
    CHECK(run->action != SANITIZE_NONE);
    run->cdw10 = (uint32_t)run->action | (run->action == SANITIZE_OVERWRITE ? CDW10_ONE_PASS : 0);
    run->stuck_seconds = STUCK_UNKNOWN;
    if (read_log(run) != STATUS_OK) {
        snprintf(message, MEDIUM_MESSAGE_BYTES, "the device's sanitize log can't be read");
        return STATUS_IO;
    }
    run->stuck_seconds = stuck_limit(run);
    bool under_way = SANITIZE_STATE(run->log.sstat) == SANITIZE_IN_PROGRESS;
    if (under_way && !log_is_ours(run)) {
        snprintf(message, MEDIUM_MESSAGE_BYTES, "the device is busy with another sanitize; try again when it is over");
        return STATUS_CONFLICT;
    }
    /* An end that nobody watched counts only when nothing was written since: else it may be that of an earlier
     * command. */
    bool over = run->issued && log_says_completed(run) && SANITIZE_ERASED(run->log.sstat);
    run->reattached = under_way || over;
    if (over) {
        return STATUS_OK;
    }
    if (!under_way) {
        enum status status = issue(run, message);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return watch(run, message);
}
