/* medium_sanitize.h - a device's own sanitize: asked for, watched to its end, and never taken for granted.
 *
 * Commands and log are those of NVMe (Sanitize 84h, log page 81h). The device goes on by itself through resets and
 * power cuts and can't be stopped, so whoever comes back re-attaches to what the log says. It has failed when the
 * device says so, when the log can't be read any more, and when its progress stands still for more than three times
 * what the device estimated.
 *
 *            issue()                 log: in progress               log: completed, and by our command
 *   NEW ───────────────> ISSUED ──────────────────────> (poll) ──────────────────────────────────────> STATUS_OK
 *                          └── log: failed · standing still · unreadable ─────────────────────────────> STATUS_IO
 *
 * The device is an interface: medium_nvme.c has the real one, tests a scripted one.
 * Threads    One. */
#ifndef TRILITH_CLUSTER_MEDIUM_SANITIZE_H
#define TRILITH_CLUSTER_MEDIUM_SANITIZE_H

#include "cluster/medium_device.h"

/* Values of the field SANACT. */
enum sanitize_action { SANITIZE_NONE = 0, SANITIZE_BLOCK_ERASE = 2, SANITIZE_OVERWRITE = 3, SANITIZE_CRYPTO_ERASE = 4 };

#define SANITIZE_LOG_BYTES     32 /* the part of the log page that is used */
#define SANITIZE_NO_ESTIMATE   UINT32_MAX
#define SANITIZE_STATE(sstat)  ((sstat)&7u)
#define SANITIZE_ERASED(sstat) (((sstat) >> 8 & 1u) != 0) /* nothing was written since the last one succeeded */

enum sanitize_state {
    SANITIZE_NEVER = 0,
    SANITIZE_COMPLETED = 1,
    SANITIZE_IN_PROGRESS = 2,
    SANITIZE_FAILED = 3,
    SANITIZE_COMPLETED_DEALLOCATED = 4, /* although asked not to deallocate */
};

/* What the device says it can do: fields of Identify Controller. */
struct sanitize_ability {
    uint32_t sanicap;
    uint16_t oacs;
    uint8_t fna;
    uint32_t namespaces; /* how many the controller has, attached here or not; 0: not known. Not kept in the state */
};

struct sanitize_log {
    uint16_t sprog; /* of 65536 */
    uint16_t sstat;
    uint32_t cdw10;             /* of the command that the log is about */
    uint32_t overwrite_seconds; /* estimates; SANITIZE_NO_ESTIMATE */
    uint32_t block_seconds;
    uint32_t crypto_seconds;
    uint8_t raw[SANITIZE_LOG_BYTES];
};

struct sanitizer {
    enum status (*ability)(struct sanitizer *sanitizer, struct sanitize_ability *ability);
    enum status (*issue)(struct sanitizer *sanitizer, uint32_t cdw10, uint32_t cdw11);
    enum status (*log)(struct sanitizer *sanitizer, struct sanitize_log *log);
    void (*pause)(struct sanitizer *sanitizer, unsigned ms);
    uint64_t (*now_ms)(struct sanitizer *sanitizer); /* steady */
    void (*close)(struct sanitizer *sanitizer);
};

/* The controller of an NVMe disk. STATUS_OK; STATUS_UNSUPPORTED: it is none. */
MUST_USE enum status medium_nvme_open(const struct medium_identity *identity, struct sanitizer **sanitizer,
                                      char *message);

/* One sanitize. The caller fills the first group. */
struct sanitize_run {
    struct sanitizer *sanitizer;
    enum sanitize_action action;
    bool issued; /* in an earlier life of this program, as far as its state says */
    /* To be made durable before the command goes out. */
    enum status (*before_issue)(struct sanitize_run *run);
    void (*progress)(struct sanitize_run *run, uint32_t of_65536);

    uint32_t cdw10;
    bool reattached;         /* it was under way, or finished, without having been asked now */
    bool started;            /* by this run */
    struct sanitize_log log; /* the last one that was read */
    bool log_read;
    uint32_t stuck_seconds; /* how long without progress counts as failure */
};

const char *sanitize_action_name(enum sanitize_action action);
/* What to do of what the device has: block erase, else crypto erase, else its own overwriting; SANITIZE_NONE: it has
 * none. */
enum sanitize_action sanitize_choose(const struct sanitize_ability *ability);
bool sanitize_has(const struct sanitize_ability *ability, enum sanitize_action action);
/* The device's own estimate in seconds; SANITIZE_NO_ESTIMATE. */
uint32_t sanitize_estimate(const struct sanitize_log *log, enum sanitize_action action);

/* Do it. STATUS_OK: the device says that this very command completed. STATUS_CONFLICT: it is busy with another one;
 * STATUS_IO: it has failed, and the medium may hold anything. `message` says how. */
MUST_USE enum status sanitize_perform(struct sanitize_run *run, char *message);

void sanitize_log_decode(const uint8_t raw[SANITIZE_LOG_BYTES], struct sanitize_log *log);

#endif
