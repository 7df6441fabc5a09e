/* checkers.c - the table of all promises, and who tells the checkers when to look. */
#include "tests/sim/checkers.h"
#include "tests/sim/checks.h"
#include "tests/sim/leaf_book.h"

#include "meta/state.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct checker table[] = {
    {"I1",
     "what a client was told to be stored stands whole on the stable storage of all disks of its placement groups",
     AT_OPERATION, check_durable_when_acknowledged},
    {"I2", "a read returns what was acknowledged last, or what is being written; when faults have ended it succeeds",
     AT_OPERATION, check_reads},
    {"I3", "no byte reaches a client that is not the object's", AT_OPERATION, check_no_foreign_bytes},
    {"I4", "a put that was not acknowledged is whole or absent, and visible at most once", AT_OPERATION | AT_APPLIED,
     check_unacknowledged},
    {"I4-list", "a listing names what is there and nothing else", AT_OPERATION, check_lists},
    {"I5", "recovery discards nothing that was acknowledged", AT_UP | AT_SETTLED, check_recovery},
    {"I6", "a disk that failed a write or a flush takes nothing more before the next start", AT_SECOND | AT_WRITE,
     check_fencing},
    {"E1", "a read that begins after an object was deleted or replaced does not return it", AT_OPERATION,
     check_nothing_gone_is_read},
    {"E2", "a node that serves has caught up on the erasures that it missed", AT_SERVING, check_caught_up},
    {"E3", "where a wipe is recorded no block of the chunk stands, and after a closed erasure nowhere",
     AT_APPLIED | AT_SECOND | AT_SETTLED, check_residue},
    {"E3-seen", "a wipe is recorded when the device shows what was written, not when it says that it wrote", AT_APPLIED,
     check_wipes_were_seen},
    {"E4", "an erasure is closed when every disk that ever held a copy is accounted for", AT_APPLIED | AT_SETTLED,
     check_all_copies_accounted_for},
    {"E4-key", "and when its keys are destroyed, with the epoch in which they stood", AT_APPLIED | AT_SETTLED,
     check_erased_keys},
    {"E4-place", "a copy is made only on a disk of its placement group", AT_WRITE, check_copies_in_their_pg},
    {"E5", "ciphertext that is not durably wiped is overwritten by nothing but a wipe", AT_WRITE, check_overwriting},
    {"E6", "what was wiped on a disk is never live there again", AT_UP | AT_SERVING | AT_SETTLED,
     check_wiped_stays_wiped},
    {"E7", "a chunk that is condemned or erased is never committed, and no copy of it is made where it was wiped",
     AT_APPLIED | AT_WRITE, check_nothing_gone_comes_back},
    {"E8", "no plaintext and no key stands on a disk or in a table", AT_SECOND | AT_SETTLED, check_no_secrets},
    {"E1-key", "no leaf that ever sealed an object can be had any more when it was replaced, deleted or sealed anew",
     AT_APPLYING | AT_APPLIED | AT_UP, check_gone_keys},
    {"E8-key", "the keys of tenants, objects and pages stand nowhere in the clear", AT_SETTLED, check_keys_at_rest},
    {"K1", "a chunk is sealed once: all that is ever written under its id has the same seals", AT_WRITE,
     check_sealed_once},
    {"V1", "exactly one epoch of the vault can be opened, and it is the one that the state knows", AT_APPLIED | AT_UP,
     check_one_epoch},
    {"V2", "what was erased can't be said by anybody any more, and every other leaf is what it was",
     AT_APPLIED | AT_UP | AT_SETTLED, check_erased_leaves},
    {"V3", "every leaf is accounted for", AT_APPLIED | AT_SETTLED, check_conservation},
    {"V4", "a data key goes when nothing is sealed under it, and only then", AT_APPLIED | AT_SETTLED, check_data_keys},
    {"V5", "nothing of a tenant whose keys were revoked is read or written when leases have ended",
     AT_APPLIED | AT_OPERATION, check_revoked},
    {"C1", "a certificate is issued when the keys are gone and every copy ever written is, and names where they were",
     AT_APPLIED, check_certificates},
    {"C2", "the ledger only grows, and its signed checkpoint is that of all its entries", AT_APPLIED, check_ledger},
    {"C3", "every closed erasure gets its certificate", AT_SETTLED, check_certificates_come},
    {"C4", "no gateway has the key in memory when an object's certificate is issued, but for one lease of keys",
     AT_APPLIED, check_certified_keys},
    {"G1", "a deletion can be taken back as long as its time of grace lasts: nothing of the version goes before",
     AT_APPLIED | AT_UP | AT_SETTLED, check_grace},
    {"G2", "what a legal hold keeps is neither deleted nor erased", AT_APPLIED, check_holds},
    {"P1", "the members of a placement group stand in three failure domains", AT_APPLIED, check_spread},
    {"P2", "the parts of a store add up to its capacity", AT_SECOND | AT_SETTLED, check_accounting},
    {"P2-image", "no two copies overlap, and every byte of a disk is explained", AT_SETTLED, check_images},
    {"P3", "a disk that was full has lost nothing", AT_SETTLED, check_full_disks},
    {"M1", "a command has one index and one content, whenever it is applied, and none is lost or left out",
     AT_APPLYING | AT_UP, check_journal},
    {"M2", "the same commands lead to the same tables, and the index stands with its effects", AT_APPLIED,
     check_tables},
    {"M3", "a node whose lease has ended does not think that it holds, and says of nothing that it is stored",
     AT_SECOND | AT_STORED, check_leases},
    {"L1", "every operation of a client ends in time", AT_OPERATION | AT_SETTLED, check_operations_end},
    {"L1-settled", "when faults have ended everything serves again, and every erasure is completed", AT_SETTLED,
     check_everything_settles},
    {"L1-orphan", "what no object refers to is found and erased", AT_SETTLED, check_no_orphans},
    {"L2", "one slow disk or node does not make reads slow", 0, check_latency},
    {"R1", "nothing leaks: at rest every buffer is back, every request gone", AT_SETTLED, check_nothing_leaks},
    /* The last one: at rest it lets the world turn. */
    {"I3-store", "a store answers a read with what was written, or with an error", AT_READ | AT_SETTLED,
     check_stores_answer_right},
};

_Static_assert(sizeof(table) / sizeof(table[0]) <= CHECKERS_MAX, "checkers->looks has room");

/* For sim_violated(): one cluster is watched in a process. */
static struct checkers *watching;

size_t checkers_count(void)
{
    return ARRAY_LENGTH(table);
}

const struct checker *checkers_at(size_t number)
{
    CHECK(number < ARRAY_LENGTH(table));
    return &table[number];
}

void check_counts(const struct check *check)
{
    check->checkers->looks[check->number]++;
}

_Noreturn void sim_violated(const char *promise, const char *format, ...)
{
    const char *sentence = "";
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        if (strcmp(table[i].name, promise) == 0) {
            sentence = table[i].promise;
        }
    }
    va_list arguments;
    va_start(arguments, format);
    (void)fprintf(stderr, "VIOLATED %s: %s\n  ", promise, sentence);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    if (watching != NULL && watching->cluster->world != NULL) {
        (void)fprintf(stderr, "\n  at %.6f s of the world's time",
                      (double)sim_loop_world_ns(watching->cluster->world) / (double)NS_PER_S);
    }
    (void)fprintf(stderr, "\n");
    (void)fflush(NULL);
    _exit(SIM_EXIT_VIOLATED);
}

/* ---- telling the checkers -------------------------------------------------------------------------- */

static struct check check_begin(struct checkers *checkers, enum checker_moment moment)
{
    return (struct check){
        .checkers = checkers,
        .cluster = checkers->cluster,
        .model = &checkers->model,
        .moment = moment,
        .now_ns = sim_loop_world_ns(checkers->cluster->world),
    };
}

static void look(struct check *check)
{
    for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
        if ((table[i].moments & check->moment) != 0) {
            check->number = i;
            table[i].look(check);
        }
    }
}

static struct checkers *checkers_of(struct sim_watch *watch)
{
    return CONTAINER_OF(watch, struct checkers, watch);
}

static void applying(struct sim_watch *watch, uint64_t index, const Trilith__Command *command, const void *bytes,
                     size_t size, bool replay)
{
    (void)replay;
    struct check check = check_begin(checkers_of(watch), AT_APPLYING);
    check.index = index;
    check.command = command;
    check.entry = bytes;
    check.entry_bytes = size;
    look(&check);
}

static void applied(struct sim_watch *watch, uint64_t index, const Trilith__Command *command, bool replay)
{
    (void)replay;
    struct checkers *checkers = checkers_of(watch);
    struct check check = check_begin(checkers, AT_APPLIED);
    struct model_change change;
    if (state_applied_index(checkers->cluster->meta.meta_state) != index) {
        return; /* It was applied long ago, or could not be: the tables failed, and the service stops. */
    }
    if (index > checkers->model.applied) {
        model_apply(&checkers->model, index, command, check.now_ns, &change);
        check.change = &change;
    }
    check.index = index;
    check.command = command;
    look(&check);
    checkers->most_index = index > checkers->most_index ? index : checkers->most_index;
}

static void serving(struct sim_watch *watch, struct sim_node *node)
{
    struct check check = check_begin(checkers_of(watch), AT_SERVING);
    check.node = node;
    look(&check);
}

static void went_down(struct sim_watch *watch, struct sim_node *node, bool power_lost)
{
    (void)power_lost;
    for (uint32_t i = 0; node != NULL && i < node->disk_count; i++) {
        model_disk_went_down(&checkers_of(watch)->model, model_disk_number(&node->disks[i]));
    }
}

static void came_up(struct sim_watch *watch, struct sim_node *node)
{
    struct check check = check_begin(checkers_of(watch), AT_UP);
    check.node = node;
    if (node != NULL) {
        model_learn_disks(check.model);
        check.checkers->nodes[node->number].up_ns = check.now_ns;
    }
    look(&check);
}

static void operation_begins(struct sim_watch *watch, const struct sim_operation *operation)
{
    struct model *model = &checkers_of(watch)->model;
    if (operation->kind == SIM_PUT || operation->kind == SIM_DELETE) {
        model_write_begins(model_key(model, operation->bucket, operation->key), operation->value, operation->size,
                           operation->began_ns);
    }
}

static enum model_write_state state_of_outcome(const struct sim_operation *operation)
{
    switch (operation->outcome) {
    case SIM_DONE:
        return MODEL_ACKNOWLEDGED;
    case SIM_ABSENT:
    case SIM_REFUSED:
        return MODEL_REFUSED;
    case SIM_UNKNOWN:
        return MODEL_UNKNOWN;
    }
    UNREACHABLE();
}

static void operation_ends(struct sim_watch *watch, const struct sim_operation *operation)
{
    struct checkers *checkers = checkers_of(watch);
    struct check check = check_begin(checkers, AT_OPERATION);
    struct reading reading;
    checkers->operations[operation->kind][operation->outcome]++;
    if (operation->kind == SIM_PUT || operation->kind == SIM_DELETE) {
        model_write_ends(model_key(check.model, operation->bucket, operation->key), operation->value,
                         state_of_outcome(operation), operation->began_ns, operation->ended_ns);
    }
    reading_judge(check.model, operation, &reading);
    check.operation = operation;
    check.reading = &reading;
    look(&check);
    reading_learn(operation, &reading);
}

static void writing(struct sim_watch *watch, struct sim_node *node, struct sim_node_disk *disk, const char *name,
                    uint64_t offset, const uint8_t *content, size_t bytes)
{
    struct check check = check_begin(checkers_of(watch), AT_WRITE);
    struct model_writing told;
    model_writing_classify(check.model, disk, name, offset, content, bytes, &told);
    check.node = node;
    check.disk = disk;
    check.write_name = name;
    check.write_offset = offset;
    check.write_content = content;
    check.writing = &told;
    look(&check);
    model_writing_take(check.model, &told);
}

/* The disk of the process that runs now. */
static struct sim_node_disk *disk_of_store(struct sim_cluster *cluster, const struct chunk_store *store)
{
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        struct sim_node *node = &cluster->nodes[i];
        for (uint32_t d = 0; d < node->disk_count; d++) {
            if (node->disks[d].store == store) {
                return &node->disks[d];
            }
        }
    }
    return NULL;
}

void checkers_read(const struct chunk_get *get, enum status status)
{
    struct sim_node_disk *disk = watching != NULL ? disk_of_store(watching->cluster, get->store) : NULL;
    CHECK(status == get->status);
    if (disk != NULL) {
        struct check check = check_begin(watching, AT_READ);
        check.disk = disk;
        check.node = disk->node;
        check.get = get;
        look(&check);
    }
}

void checkers_stored(const struct chunk_host *host, enum status status)
{
    for (uint32_t i = 0; status == STATUS_OK && watching != NULL && i < watching->cluster->node_count; i++) {
        struct sim_node *node = &watching->cluster->nodes[i];
        if (node->loop != NULL && node->host == host) {
            struct check check = check_begin(watching, AT_STORED);
            check.node = node;
            look(&check);
        }
    }
}

/* ---- every second ---------------------------------------------------------------------------------- */

/* Note how the nodes are: for the next look, after all checkers have seen how they were. */
static void notice_nodes(struct checkers *checkers, uint64_t now_ns)
{
    for (uint32_t i = 0; i < checkers->cluster->node_count; i++) {
        const struct sim_node *node = &checkers->cluster->nodes[i];
        struct checked_node *seen = &checkers->nodes[i];
        if (node->loop == NULL) {
            seen->has_wall = false;
            continue;
        }
        int64_t wall_ms = (int64_t)loop_wall_ms(sim_loop_interface(node->loop)) - (int64_t)(now_ns / NS_PER_MS);
        int64_t jump_ms = wall_ms - seen->wall_ms;
        bool same_process = seen->has_wall && seen->incarnation == node->incarnation;
        seen->wall_jumped |= same_process && (jump_ms > 100 || jump_ms < -100);
        seen->wall_ms = wall_ms;
        seen->has_wall = true;
        seen->incarnation = node->incarnation;
        seen->paused_ns = sim_loop_is_paused(node->loop) ? now_ns : seen->paused_ns;
    }
}

static void second_over(struct loop_timer *timer)
{
    struct checkers *checkers = CONTAINER_OF(timer, struct checkers, second);
    struct check check = check_begin(checkers, AT_SECOND);
    checkers->seconds++;
    notice_nodes(checkers, check.now_ns);
    look(&check);
    loop_timer_start(sim_loop_interface(checkers->cluster->world), timer, check.now_ns + NS_PER_S);
}

void checkers_init(struct checkers *checkers, struct sim_cluster *cluster)
{
    memset(checkers, 0, sizeof(*checkers));
    checkers->cluster = cluster;
    checkers->watch = (struct sim_watch){
        .applying = applying,
        .applied = applied,
        .serving = serving,
        .went_down = went_down,
        .came_up = came_up,
        .operation_begins = operation_begins,
        .operation_ends = operation_ends,
        .writing = writing,
    };
    checkers->second.fire = second_over;
    checkers->book = calloc(1, sizeof(*checkers->book));
    CHECK(checkers->book != NULL);
    model_init(&checkers->model, cluster);
    watching = checkers;
}

void checkers_start(struct checkers *checkers)
{
    loop_timer_start(sim_loop_interface(checkers->cluster->world), &checkers->second,
                     sim_loop_world_ns(checkers->cluster->world) + NS_PER_S);
}

void checkers_settled(struct checkers *checkers)
{
    struct check check = check_begin(checkers, AT_SETTLED);
    notice_nodes(checkers, check.now_ns);
    look(&check);
    checkers->settled++;
}
