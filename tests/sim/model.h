/* model.h - the reference model: what was acknowledged, what was erased, and which copies ever existed.
 *
 * Objects    Per key, every value ever put with what is known of it: under way, acknowledged, unknown (no answer: it may
 *            become visible once, at any time later, or never), replaced or deleted (it must never be seen again), refused.
 *            A key has one writer, so what may be read during an interval is: the value acknowledged last before it began;
 *            any value whose put overlaps it or is unknown and was never seen to be gone; absence likewise.
 * Catalog    Per key, the versions that the metadata service made current, and when: from its commands. A value is bound to
 *            its version as soon as only one can be meant; from then on a read must have found it while it was current.
 * Grace      A deletion that can be taken back ends a version for readers at once, and nothing else of it. When it is taken back,
 *            that is one more write of the same value, by somebody else: it takes effect with the command.
 * Chunks     Per chunk id, from the commands of the metadata service: object or orphan, PG, condemned or erased, and per
 *            disk: wiped as recorded. And from the disks themselves: the fingerprint of every sealed block of it that was
 *            ever written by a node, so that a copy is recognised wherever it turns up.
 * Truth      Everything here is what the cluster's own answers and commands imply; the model asks the cluster nothing. The
 *            one exception: whether a command was refused is seen in the table row that it would have written.
 * Memory     Hash tables that grow; a run is short. */
#ifndef TRILITH_TESTS_SIM_MODEL_H
#define TRILITH_TESTS_SIM_MODEL_H

#include "tests/sim/sim_cluster.h"

#include "base/keys.h"
#include "node/store/record.h"

#define MODEL_NEVER       UINT64_MAX
#define MODEL_DISKS_MAX   (SIM_NODES_MAX * SIM_NODE_DISKS_MAX)
#define MODEL_BUCKETS_MAX 4u
#define MODEL_PLACES_MAX  6u
#define MODEL_WENT_MAX    (2 * SIM_KEYS_MAX) /* versions by one command */

/* ---- objects: what clients know ---------------------------------------------------------------- */

enum model_write_state { MODEL_UNDER_WAY, MODEL_ACKNOWLEDGED, MODEL_UNKNOWN, MODEL_REFUSED };

struct model_version;

/* One put or delete of a key. */
struct model_write {
    uint64_t value; /* 0: a delete. The first write of every key is the delete before everything */
    uint64_t size;
    uint64_t began_ns;
    uint64_t effective_ns; /* it had taken effect by then; MODEL_NEVER: not known whether it ever will */
    uint64_t gone_ns;      /* something that came after it had taken effect by then; MODEL_NEVER: not known */
    enum model_write_state state;
    struct model_version *version; /* NULL: not bound, or a delete */
};

struct model_key {
    struct model_write *writes; /* in the order in which they began */
    size_t write_count;
    size_t write_capacity;
    struct model_version **versions; /* in the order of their commits */
    size_t version_count;
    size_t version_capacity;
    struct model_version *current; /* NULL: the key is absent */
};

/* ---- the catalog and the chunks: what the metadata service has decided ---------------------------- */

/* A leaf that a version is, was, or may have been sealed under. */
struct model_leaf {
    uint32_t page;
    uint32_t slot;
};

struct model_version {
    struct version_id id;
    uint64_t size;
    uint64_t from_ns;
    uint64_t until_ns; /* MODEL_NEVER: it is current */
    uint64_t index;    /* of the command */
    uint64_t value;    /* bound; 0: not yet */
    uint32_t
        page; /* its leaf, and the version of the DEK that it is sealed under: of the last sealing, as the chunks */
    uint32_t slot;
    struct model_leaf reseal;  /* leased last to seal it anew, and not committed; page 0: none */
    struct model_leaf *leaves; /* all: its own, those of before, and those leased to seal it anew */
    size_t leaf_count;
    size_t leaf_capacity;
    uint32_t dek_version;
    uint32_t chunk_count;
    uint32_t *chunks;   /* numbers */
    uint64_t graced_id; /* deleted or replaced, and can be taken back, under this erasure's id; 0: it is not so */
    uint64_t graced_until_ms;
    bool taken_back; /* it was current before, and is so again */
    bool held;       /* a legal hold forbids that it goes */
};

enum model_fate {
    MODEL_LOOSE,      /* written somewhere, not committed */
    MODEL_REFERENCED, /* an object has it */
    MODEL_CONDEMNED,  /* given up, or an orphan */
    MODEL_ERASED,     /* its object was deleted or replaced */
};

enum model_wipe { MODEL_NOT_OWED, MODEL_OWED, MODEL_WIPED };

/* Where a copy was written: what its batch header said. */
struct model_place {
    struct chunk_place place; /* of the payload */
    uint64_t batch_offset;
    uint32_t header_blocks;
};

/* What one disk had, and has, of a chunk. */
struct model_copy {
    struct model_place places[MODEL_PLACES_MAX]; /* the latest ones */
    uint32_t place_count;                        /* ever; 0: never held it, as far as was seen */
    enum model_wipe wipe;
    bool ever_wiped;
    uint64_t erasure_id; /* that it owes, or owed */
    uint64_t owed_ns;
    uint64_t wiped_ns;
    uint64_t refused_ns; /* the device refused the wipe, last time; 0: it did not */
    bool has_intent;     /* an ERASE record was written */
    struct chunk_place intent_place;
    struct model_place intent_record; /* where its batch is; of `place` segment and generation */
    uint64_t intent_lsn;
    uint8_t seed[WIPE_SEED_BYTES];
};

struct model_chunk {
    struct chunk_id id;
    uint64_t tenant_id;
    uint32_t pg; /* 0: not known */
    uint32_t bytes;
    bool has_seals;
    bool has_prints; /* its fingerprints are in the table */
    enum model_fate fate;
    uint64_t erasure_id;
    uint64_t first_seen_ns;
    uint64_t fate_ns;
    uint8_t *seals;
    struct model_copy copies[MODEL_DISKS_MAX];
};

/* A disk of the cluster, numbered node * SIM_NODE_DISKS_MAX + disk. */
struct model_disk {
    bool known; /* its store was seen open */
    struct uuid uuid;
    uint32_t id;       /* in the map; 0: not yet */
    uint32_t *intents; /* chunks of which an ERASE record was written here */
    size_t intent_count;
    size_t intent_capacity;
};

/* What the commands said about a disk, which may be before its store was seen. */
struct model_joined {
    struct uuid uuid;
    uint32_t id;
};

/* A large payload and its header are two writes, and either may come first. */
struct model_half {
    uint32_t disk;
    uint32_t segment;
    uint64_t generation;
    uint64_t offset; /* of the payload */
    uint64_t bytes;
    uint32_t chunk;   /* the header came first: whose it is; UINT32_MAX: the payload did */
    uint64_t *prints; /* the payload came first */
};

struct model_print {
    uint64_t print; /* 0: free */
    uint32_t chunk;
};

/* What the commands have said of the vault's epochs. The sums are of the table of erasures: ids below a bound. */
struct model_vault {
    uint64_t epoch;             /* that holds; 0: none yet */
    uint64_t sealed_erasures;   /* erasures with lower ids had begun at the last seal that was not refused */
    uint64_t switched_erasures; /* the same, of the seal that led to the epoch that holds */
    uint64_t gone_erasures;     /* of erasures with lower ids the keys are destroyed */
    uint64_t erased_epoch;      /* the last one that is destroyed; 0: none */
    uint64_t seals;             /* that were not refused: a leaf that is punctured now is taken by the next one */
    uint64_t switched_seal;     /* the last one before the switch to the epoch that holds */
    uint64_t gone_seal;         /* what seals up to this one took is destroyed */
};

/* A version in its time of grace. */
struct model_grace {
    struct model_key *key;
    struct model_version *version;
};

struct model {
    struct sim_cluster *cluster;
    struct model_key keys[MODEL_BUCKETS_MAX][SIM_KEYS_MAX];
    uint64_t bucket_ids[MODEL_BUCKETS_MAX];
    struct model_disk disks[MODEL_DISKS_MAX];
    struct model_joined joined[MODEL_DISKS_MAX];
    uint32_t joined_count;

    struct model_chunk **chunks;
    uint32_t chunk_count;
    uint32_t chunk_capacity;
    uint32_t *chunk_table; /* number + 1 by hash of the id; 0: free */
    uint32_t chunk_table_size;

    struct model_print *prints; /* the first 8 bytes of each sector of ciphertext */
    size_t print_count;
    size_t print_table_size;

    struct model_half *halves;
    size_t half_count;
    size_t half_capacity;

    uint64_t applied; /* the highest command taken note of */
    struct model_vault vault;
    uint64_t
        *erasure_seals; /* by erasure id: the seal that takes the keys of the version that went; 0: not seen to go */
    size_t erasure_end;

    struct model_grace *graced;
    size_t graced_count;
    size_t graced_capacity;
};

void model_init(struct model *model, struct sim_cluster *cluster);

/* The key with this number. */
struct model_key *model_key(struct model *model, uint32_t bucket, uint32_t key);

/* A put (`value` not 0) or a delete of the key begins; and ends. */
void model_write_begins(struct model_key *key, uint64_t value, uint64_t size, uint64_t now_ns);
void model_write_ends(struct model_key *key, uint64_t value, enum model_write_state state, uint64_t began_ns,
                      uint64_t now_ns);

/* Whether a read from `began_ns` to `ended_ns` may return this write. `*why`, unless NULL: why not. */
bool model_write_is_readable(const struct model_write *write, uint64_t began_ns, uint64_t ended_ns, const char **why);
bool model_absence_is_allowed(const struct model_key *key, uint64_t began_ns, uint64_t ended_ns);
/* Whether any value may be there: false means that only absence is allowed. */
bool model_presence_is_allowed(const struct model_key *key, uint64_t began_ns, uint64_t ended_ns);
/* NULL: no such value was ever put there. */
struct model_write *model_find_value(struct model_key *key, uint64_t value);

/* A read returned this write, or absence (NULL): what that says about all others. */
void model_was_read(struct model_key *key, struct model_write *write, uint64_t began_ns, uint64_t ended_ns);

/* ---- the catalog ------------------------------------------------------------------------------- */

void model_version_begins(struct model_key *key, struct model_version *version, uint64_t now_ns);
void model_version_ends(struct model_key *key, uint64_t now_ns);
/* A version that was deleted is current again: `version` is a new one, its value that of the one before, or (0) not known. */
void model_version_returns(struct model_key *key, struct model_version *version, uint64_t now_ns);
/* Whether the key was absent at some time in the interval, by the commands. */
bool model_was_absent(const struct model_key *key, uint64_t began_ns, uint64_t ended_ns);
/* Whether the value can have been current in the interval; binds it when only one version can be meant. */
bool model_value_was_current(struct model_key *key, struct model_write *write, uint64_t began_ns, uint64_t ended_ns);
/* The number of versions of this size committed in the interval that can be the value; the last of them is in `*last`. */
size_t model_commits_within(const struct model_key *key, uint64_t size, uint64_t began_ns, uint64_t ended_ns,
                            struct model_version **last);

/* ---- chunks: model_chunks.c, model_writes.c ---------------------------------------------------------------------- */

/* UINT32_MAX: never heard of. */
uint32_t model_chunk_number(const struct model *model, const uint8_t id[16]);
struct model_chunk *model_chunk_take(struct model *model, const uint8_t id[16], uint32_t *number);

uint32_t model_disk_number(const struct sim_node_disk *disk);
struct sim_node_disk *model_disk_of(const struct model *model, uint32_t number);
/* Bring together the uuids of stores that are open now and the ids that the commands gave to them. */
void model_learn_disks(struct model *model);
/* The disk with this id in the map; UINT32_MAX: not known. */
uint32_t model_disk_with_id(struct model *model, uint32_t disk_id);
bool model_disk_is_lossy(const struct model *model, uint32_t number);
/* A disk of the atlas may lie about flushes: its stable storage is behind what it said, and after a power loss it may have
 * forgotten all that was done last. (In SIM_ERASURE no disk does.) */
bool model_disk_may_lie_about_flushes(const struct model *model, uint32_t number);

/* Every wipe of the chunk that anybody owes or owed is recorded, and it is gone for ever. */
bool model_chunk_is_closed(const struct model_chunk *chunk);
/* No ciphertext of it may stand on the disk any more. */
bool model_copy_must_be_gone(const struct model_chunk *chunk, uint32_t disk);

/* Whose ciphertext a sector begins with; NULL: nobody's. */
struct model_chunk *model_chunk_of_sector(const struct model *model, const uint8_t sector[SIM_DISK_SECTOR_BYTES]);

/* What a node writes to its disk. */
enum model_writing_kind {
    MODEL_WRITES_OTHER,          /* not a segment file, or nothing that can be told */
    MODEL_WRITES_SEGMENT_HEADER, /* the first block */
    MODEL_WRITES_ZEROS,
    MODEL_WRITES_BATCH,   /* a header, and perhaps its payload behind it */
    MODEL_WRITES_STREAM,  /* where an ERASE record says that a chunk is to be overwritten */
    MODEL_WRITES_PAYLOAD, /* of a batch whose header is a write of its own */
};

struct model_writing {
    enum model_writing_kind kind;
    uint32_t disk;
    uint32_t segment;
    uint64_t generation;
    uint64_t offset;
    const uint8_t *content;
    size_t bytes;
    struct batch_header header;       /* BATCH */
    const struct model_chunk *erased; /* STREAM: whose place it is */
};

/* Tell what a write is, and take note of it: two steps, so that checkers look in between. */
void model_writing_classify(struct model *model, const struct sim_node_disk *disk, const char *name, uint64_t offset,
                            const uint8_t *content, size_t bytes, struct model_writing *writing);
void model_writing_take(struct model *model, const struct model_writing *writing);
/* The process of this disk has gone: its writes under way will not complete any more. */
void model_disk_went_down(struct model *model, uint32_t disk);

/* ---- commands: model_commands.c ------------------------------------------------------------------ */

/* A row of the metadata tables. False: there is none. */
struct table_key;
bool model_row(const struct model *model, const struct table_key *key, void *buffer, size_t capacity, size_t *bytes);

/* The members of a PG as numbers of disks, now and formerly; returns how many. 0: unknown PG. */
size_t model_pg_disks(struct model *model, uint32_t pg, uint32_t disks[MODEL_DISKS_MAX], size_t *members);

/* What became of a command that is now applied for the first time. */
struct model_change {
    struct model_key *committed_key; /* a commit that took effect */
    struct model_version *committed; /* NULL: none */
    bool named_gone_chunk;           /* a commit that took effect named a chunk that was condemned or erased */
    struct chunk_id gone_chunk;
    bool revived_version; /* a version that was replaced or deleted has become current again */
    bool sealed;          /* the close of an epoch has begun, or begun again; */
    bool switched;        /* the next one holds; */
    bool switch_refused;
    bool erased;                    /* the one before is destroyed */
    struct model_key *resealed_key; /* a commit that sealed a version anew and took effect; NULL: none */
    uint32_t resealed_from;         /* the DEK that it was sealed under before */
    uint32_t resealed_page;         /* and the leaf */
    uint32_t resealed_slot;
    const struct model_version *ended;                /* was replaced or deleted; NULL: none */
    const struct model_version *leased;               /* a leaf was leased to seal it anew; NULL: none */
    const struct model_version *undone;               /* its deletion was taken back; NULL: none */
    const struct model_version *went[MODEL_WENT_MAX]; /* their time of grace was over, or their tenant was erased */
    size_t went_count;
    bool gave_up_used_chunk; /* a chunk of a version, current or in its time of grace, was condemned */
    struct chunk_id used_chunk;
};

/* Are the keys of the erasure beyond recovery, by the seals and epochs that commands have said? */
bool model_keys_are_gone(const struct model *model, uint64_t erasure_id);

/* The cluster's own record; the caller frees it. NULL: there is none. */
Trilith__ClusterRecord *model_cluster_record(const struct model *model);

void model_apply(struct model *model, uint64_t index, const Trilith__Command *command, uint64_t now_ns,
                 struct model_change *change);

#endif
