/* nemesis.h - the faults of one run that happen at a time: crashes, kills, pauses, partitions, clocks, dying and full disks.
 *
 * The whole schedule is drawn from the seed before the run, as a list of numbered events; what an event does depends on
 * nothing but its own line. So any event can be left out and the others stay what they are: that is how a failing run is
 * made smaller. The chances per I/O (sim_disk_faults, buggify) are no events; they are switched on at the beginning of the
 * active time and off at its end.
 *
 * Operator   Whatever goes down comes back: a small operator looks twice a second, starts processes whose time has come,
 *            and restarts a node with a fenced disk, as people or systemd would.
 * Atlas      In SIM_SAFETY lossy faults come only to nodes of options.lossy_nodes: at most two failure domains of three
 *            copies' three, so one copy of each chunk is always good. A run that is then unrecoverable is a bug. */
#ifndef TRILITH_TESTS_SIM_NEMESIS_H
#define TRILITH_TESTS_SIM_NEMESIS_H

#include "base/buggify.h"
#include "tests/sim/sim_cluster.h"

/* X(NAME, "name.for.people", relative weight) */
#define NEMESIS_ACTS(X)                                                                                                \
    X(POWER_NODE, "node.power_lost", 10)              /* disks crash, peers hear of it */                              \
    X(POWER_NODE_SILENT, "node.power_lost_silent", 6) /* and peers are left half-open */                               \
    X(KILL_NODE, "node.killed", 10)                                                                                    \
    X(STOP_NODE, "node.stopped", 5) /* orderly */                                                                      \
    X(PAUSE_NODE, "node.paused", 8)                                                                                    \
    X(POWER_ALL, "cluster.power_lost", 2) /* everything at once */                                                     \
    X(POWER_META, "meta.power_lost", 6)                                                                                \
    X(KILL_META, "meta.killed", 4)                                                                                     \
    X(STOP_META, "meta.stopped", 2)                                                                                    \
    X(PAUSE_META, "meta.paused", 5)                                                                                    \
    X(LOSE_INDEX, "node.index_lost", 4)  /* power lost, and the tables of all its disks are gone */                    \
    X(FAIL_INDEX, "node.index_fails", 3) /* some writes of a table end with an error */                                \
    X(FAIL_TABLES, "meta.tables_fail", 2)                                                                              \
    X(KILL_POINT, "kill_point", 14) /* whoever passes it next goes down */                                             \
    X(RESET, "net.reset", 8)                                                                                           \
    X(CUT, "net.cut", 6) /* two machines, both ways */                                                                 \
    X(CUT_ONE_WAY, "net.cut_one_way", 6)                                                                               \
    X(ISOLATE, "net.isolated", 5) /* one machine from all others */                                                    \
    X(CLOG, "net.clog", 8)                                                                                             \
    X(SLOW_LINK, "net.slow", 6)                                                                                        \
    X(BACKLOG, "net.backlog_full", 3)                                                                                  \
    X(SLOW_DISK, "disk.slow", 5)                                                                                       \
    X(DYING_DISK, "disk.dying", 4) /* everything fails from some I/O on, until the next start */                       \
    X(FULL_DISK, "disk.full", 5)                                                                                       \
    X(ROT, "disk.rot", 6) /* lossy */                                                                                  \
    X(FULL_META, "meta.disk_full", 3)                                                                                  \
    X(DRIFT, "clock.drift", 5)                                                                                         \
    X(WALL_JUMP, "clock.jump", 4)                                                                                      \
    X(FAIL_COVERS, "vault.covers_fail", 3)                                                                             \
    X(FULL_VAULT, "vault.disk_full", 3)                                                                                \
    X(SLOW_VAULT, "vault.disk_slow", 3)                                                                                \
    X(CLOSE_EPOCH, "vault.close_epoch", 8) /* somebody wants what is deleted to be gone now */                         \
    X(ROTATE_DEK, "key.dek_rotated", 5)                                                                                \
    X(ROTATE_CMK, "key.cmk_rotated", 3)                                                                                \
    X(REVOKE, "key.revoked", 2)                                                                                        \
    X(KMS_AWAY, "key.kms_away", 4)                                                                                     \
    X(DRAIN, "disk.drained", 8) /* and kept in the end */                                                              \
    X(UNDO, "deletion.taken_back", 8)                                                                                  \
    X(HOLD, "object.held", 6) /* and let go in the end */

#define NEMESIS_ENUM(name, label, weight) NEMESIS_##name,
enum nemesis_act { NEMESIS_ACTS(NEMESIS_ENUM) NEMESIS_ACT_COUNT };
#undef NEMESIS_ENUM

#define NEMESIS_EVENTS_MAX 256u

struct nemesis_event {
    uint64_t at_ns; /* after the beginning of the active time */
    enum nemesis_act act;
    uint32_t node;  /* whom it hits */
    uint32_t other; /* the second machine of a network fault: node number, or options.nodes for the metadata service */
    uint64_t duration_ns;
    uint64_t amount; /* a factor, a count, a distance: by act */
};

struct nemesis {
    struct sim_cluster *cluster;
    struct nemesis_event events[NEMESIS_EVENTS_MAX];
    uint32_t event_count;
    bool left_out[NEMESIS_EVENTS_MAX];
    bool trace; /* say each event on stderr */
    bool over;  /* the faults have ended: only the operator acts */
    uint32_t next;
    uint64_t began_ns;
    struct loop_timer event_timer; /* on the world's own loop, as all of these */
    struct loop_timer operator_timer;
    struct nemesis_ending *endings;       /* of events that last, by number */
    uint64_t node_back_ns[SIM_NODES_MAX]; /* when the operator starts it again */
    uint64_t meta_back_ns;
    uint32_t refusals[SIM_NODES_MAX]; /* starts that ended in DOWN, in a row */
    struct sim_random buggify_random;
    bool buggify_active[BUGGIFY_POINT_COUNT];
    int armed_point; /* enum kill_point, or -1 */
    uint32_t armed_passes;
    bool armed_power;

    uint64_t acts[NEMESIS_ACT_COUNT]; /* events that really hit somebody */
    uint64_t buggify_met[BUGGIFY_POINT_COUNT];
    uint64_t buggify_fired[BUGGIFY_POINT_COUNT];
    uint64_t kill_passed[KILL_POINT_COUNT];
    uint64_t kill_hit[KILL_POINT_COUNT];
};

const char *nemesis_act_name(enum nemesis_act act);

/* The events that belong to these options; returns how many. */
uint32_t nemesis_schedule(const struct sim_options *options, struct nemesis_event events[NEMESIS_EVENTS_MAX]);

/* Draw the schedule and install the buggify hooks. The cluster may not be open yet. */
void nemesis_init(struct nemesis *nemesis, struct sim_cluster *cluster);
void nemesis_print(const struct nemesis *nemesis, FILE *out);
/* The cluster is open: the active time begins. */
void nemesis_start(struct nemesis *nemesis);
/* All faults end; the operator goes on. */
void nemesis_end(struct nemesis *nemesis);
/* Everything that can run runs, no disk is fenced, nobody is paused. A node that a lossy disk keeps down counts as well. */
bool nemesis_all_is_up(const struct nemesis *nemesis);
void nemesis_stop(struct nemesis *nemesis);

#endif
