/* sim_options.c - draws, prints and overrides the options of a run: one table names them all. */
#include "tests/sim/sim_options.h"

#include "tests/sim/sim_random.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct option_field {
    const char *name;
    size_t offset;
    size_t bytes; /* of the number: 1, 4 or 8 */
    uint64_t least;
    uint64_t most;
};

#define FIELD(name, least, most)                                                                                       \
    {                                                                                                                  \
#name, offsetof(struct sim_options, name), sizeof(((struct sim_options *)0)->name), least, most                \
    }

static const struct option_field fields[] = {
    FIELD(mode, SIM_SAFETY, SIM_ERASURE),
    FIELD(nodes, 3, SIM_NODES_MAX),
    FIELD(node_disks, 1, SIM_NODE_DISKS_MAX),
    FIELD(clients, 1, SIM_CLIENTS_MAX),
    FIELD(keys, 1, SIM_KEYS_MAX),
    FIELD(buckets, 1, 8),
    FIELD(active_ms, 100, 3600000),
    FIELD(settle_ms, 1000, 3600000),
    FIELD(large_percent, 0, 100),
    FIELD(small_bytes_max, 0, MIB(4)),
    FIELD(put_percent, 0, 100),
    FIELD(delete_percent, 0, 100),
    FIELD(think_ms, 1, 60000),
    FIELD(client_gone_percent, 0, 100),
    FIELD(slow_client_percent, 0, 100),
    FIELD(disk_capacity_bytes, MIB(16) * 5, GIB(4)),
    FIELD(durable_writes, 0, 1),
    FIELD(prewrite_segments, 0, 16),
    FIELD(group_wait_us, 0, 100000),
    FIELD(leaf_lease_ms, 100, 3600000),
    FIELD(key_lease_ms, 100, 3600000),
    FIELD(node_lease_ms, 200, 3600000),
    FIELD(orphan_after_ms, 100, 3600000),
    FIELD(chunk_write_ms, 10, 600000),
    FIELD(chunk_read_ms, 10, 600000),
    FIELD(meta_call_ms, 10, 600000),
    FIELD(patience_ms, 1000, 3600000),
    FIELD(epoch_ms, 100, 3600000),
    FIELD(dek_retire_ms, 100, 3600000),
    FIELD(grace_ms, 0, 60000),
    FIELD(lossy_nodes, 0, (1u << SIM_NODES_MAX) - 1),
    FIELD(buggify_percent, 0, 100),
    FIELD(buggify_off, 0, UINT64_MAX),
    FIELD(fault_interval_ms, 1, 3600000),
    FIELD(acts_off, 0, UINT64_MAX),
};

/* ---- drawing ---------------------------------------------------------------------------------------- */

/* Each fault is on in a part of the runs only: a run in which everything fails finds less than many in which a few
 * things do. `most_ppm` bounds the rate; rates are drawn evenly on a logarithmic scale. */
struct fault_range {
    enum sim_disk_fault fault;
    uint32_t percent; /* of the runs */
    uint32_t least_ppm;
    uint32_t most_ppm;
};

static const struct fault_range fault_ranges[] = {
    {SIM_DISK_LOST_WRITE, 30, 200, 20000}, {SIM_DISK_MISDIRECTED, 30, 200, 20000},
    {SIM_DISK_LOST_FLUSH, 25, 500, 50000}, {SIM_DISK_READ_ERROR, 30, 100, 10000},
    {SIM_DISK_WRITE_ERROR, 25, 20, 1000},  {SIM_DISK_FLUSH_ERROR, 25, 20, 2000},
    {SIM_DISK_LATENT, 25, 100, 5000},      {SIM_DISK_ROT_BIT, 30, 200, 10000},
    {SIM_DISK_ROT_SECTOR, 25, 200, 10000}, {SIM_DISK_ROT_BLOCK, 25, 200, 10000},
    {SIM_DISK_FULL, 20, 10000, 300000},    {SIM_DISK_SLOW, 40, 500, 30000},
    {SIM_DISK_STUCK, 20, 5, 200},          {SIM_DISK_SHORT, 50, 10000, 300000},
};

static uint32_t draw_ppm(struct sim_random *random, uint32_t least, uint32_t most)
{
    uint32_t doublings = 0;
    while ((least << (doublings + 1)) <= most) {
        doublings++;
    }
    uint32_t low = least << sim_random_between(random, 0, doublings);
    return (uint32_t)sim_random_between(random, low, low * 2 < most ? low * 2 : most);
}

static void draw_disk_faults(struct sim_options *options, struct sim_random *random)
{
    for (size_t i = 0; i < ARRAY_LENGTH(fault_ranges); i++) {
        const struct fault_range *range = &fault_ranges[i];
        bool on = sim_random_between(random, 0, 99) < range->percent;
        uint32_t ppm = draw_ppm(random, range->least_ppm, range->most_ppm);
        bool lies = range->fault == SIM_DISK_LOST_FLUSH && options->mode == SIM_ERASURE;
        options->disk_faults.ppm[range->fault] = on && !lies ? ppm : 0;
    }
}

/* None, or two failure domains of the nodes: of three copies in three domains one is always elsewhere. */
static void draw_atlas(struct sim_options *options, struct sim_random *random)
{
    uint32_t first = (uint32_t)sim_random_between(random, 0, options->nodes - 1);
    uint32_t second = (uint32_t)sim_random_between(random, 0, options->nodes - 1);
    uint32_t allowed = sim_random_percent(random, 25) ? 0 : 1u << first | 1u << second;
    options->lossy_nodes = options->mode == SIM_ERASURE ? (1u << options->nodes) - 1 : allowed;
}

static uint32_t draw_one_of(struct sim_random *random, const uint32_t *choices, size_t count)
{
    return choices[sim_random_between(random, 0, count - 1)];
}
#define ONE_OF(random, ...)                                                                                            \
    draw_one_of(random, (const uint32_t[]){__VA_ARGS__}, ARRAY_LENGTH(((const uint32_t[]){__VA_ARGS__})))

static void draw_load(struct sim_options *options, struct sim_random *random)
{
    options->clients = (uint32_t)sim_random_between(random, 2, 6);
    options->keys = (uint32_t)sim_random_between(random, 4, 32);
    options->buckets = (uint32_t)sim_random_between(random, 1, 2);
    options->active_ms = sim_random_between(random, 8000, 25000);
    options->settle_ms = 120000;
    options->large_percent = ONE_OF(random, 0, 1, 2, 6);
    options->small_bytes_max = ONE_OF(random, 4096, 20000, 70000, 200000);
    options->put_percent = (uint32_t)sim_random_between(random, 25, 60);
    options->delete_percent = (uint32_t)sim_random_between(random, 5, 20);
    options->think_ms = ONE_OF(random, 50, 100, 200, 400);
    options->client_gone_percent = ONE_OF(random, 0, 2, 5);
    options->slow_client_percent = ONE_OF(random, 0, 2, 5);
}

static void draw_settings(struct sim_options *options, struct sim_random *random)
{
    options->nodes = (uint32_t)sim_random_between(random, 5, 7);
    options->node_disks = ONE_OF(random, 1, 1, 1, 2);
    options->disk_capacity_bytes = sim_random_between(random, 6, 12) * MIB(16);
    options->durable_writes = sim_random_between(random, 0, 1) == 1;
    options->prewrite_segments = ONE_OF(random, 0, 1, 1);
    options->group_wait_us = ONE_OF(random, 0, 0, 100, 1000);
    options->leaf_lease_ms = ONE_OF(random, 2000, 5000, 20000);
    options->key_lease_ms = ONE_OF(random, 1000, 5000, 20000);
    options->node_lease_ms = ONE_OF(random, 1000, 2000, 4000);
    options->orphan_after_ms = ONE_OF(random, 3000, 8000, 15000);
    options->chunk_write_ms = ONE_OF(random, 500, 1500, 3000);
    options->chunk_read_ms = ONE_OF(random, 300, 1000, 2000);
    options->meta_call_ms = ONE_OF(random, 500, 1500, 3000);
    options->patience_ms = 120000;
    options->buggify_percent = ONE_OF(random, 0, 25, 25, 25);
    options->fault_interval_ms = ONE_OF(random, 300, 700, 1500, 4000);
}

static void draw_keys(struct sim_options *options, struct sim_random *random)
{
    options->epoch_ms = sim_random_between(random, 2000, 20000);
    options->dek_retire_ms = options->key_lease_ms + ONE_OF(random, 500, 2000, 5000);
    options->grace_ms = ONE_OF(random, 0, 0, 1500, 3000, 8000);
}

void sim_options_draw(struct sim_options *options, uint64_t seed)
{
    struct sim_random random = sim_random_of(seed ^ UINT64_C(0x6f7074696f6e73)); /* "options" */
    memset(options, 0, sizeof(*options));
    options->seed = seed;
    options->mode = sim_random_between(&random, 0, 2) == 0 ? SIM_ERASURE : SIM_SAFETY;
    draw_settings(options, &random);
    draw_load(options, &random);
    draw_atlas(options, &random);
    draw_disk_faults(options, &random);
    draw_keys(options, &random);
}

/* ---- text ------------------------------------------------------------------------------------------- */

static uint64_t field_get(const struct sim_options *options, const struct option_field *field)
{
    const char *place = (const char *)options + field->offset;
    uint64_t value = 0;
    memcpy(&value, place, field->bytes); /* Little-endian, as all machines that this runs on. */
    return value;
}

static void field_set(struct sim_options *options, const struct option_field *field, uint64_t value)
{
    memcpy((char *)options + field->offset, &value, field->bytes);
}

static bool fault_set(struct sim_options *options, const char *name, size_t name_bytes, uint64_t value)
{
    for (unsigned fault = 0; fault < SIM_DISK_FAULTS; fault++) {
        const char *known = sim_disk_fault_name((enum sim_disk_fault)fault);
        if (strlen(known) == name_bytes && strncmp(known, name, name_bytes) == 0 && value <= 1000000) {
            options->disk_faults.ppm[fault] = (uint32_t)value;
            return true;
        }
    }
    return false;
}

bool sim_options_set(struct sim_options *options, const char *assignment)
{
    const char *equals = strchr(assignment, '=');
    if (equals == NULL || equals[1] < '0' || equals[1] > '9') {
        return false;
    }
    char *end = NULL;
    errno = 0;
    uint64_t value = strtoull(equals + 1, &end, 0);
    if (*end != '\0' || errno != 0) {
        return false;
    }
    size_t name_bytes = (size_t)(equals - assignment);
    for (size_t i = 0; i < ARRAY_LENGTH(fields); i++) {
        if (strlen(fields[i].name) == name_bytes && strncmp(fields[i].name, assignment, name_bytes) == 0) {
            bool fits = value >= fields[i].least && value <= fields[i].most;
            if (fits) {
                field_set(options, &fields[i], value);
            }
            return fits;
        }
    }
    return fault_set(options, assignment, name_bytes, value);
}

void sim_options_print(const struct sim_options *options, const struct sim_options *drawn, FILE *out)
{
    for (size_t i = 0; i < ARRAY_LENGTH(fields); i++) {
        uint64_t value = field_get(options, &fields[i]);
        if (drawn == NULL || value != field_get(drawn, &fields[i])) {
            fprintf(out, " %s=%" PRIu64, fields[i].name, value);
        }
    }
    for (unsigned fault = 0; fault < SIM_DISK_FAULTS; fault++) {
        uint32_t ppm = options->disk_faults.ppm[fault];
        if (drawn == NULL ? ppm != 0 : ppm != drawn->disk_faults.ppm[fault]) {
            fprintf(out, " %s=%" PRIu32, sim_disk_fault_name((enum sim_disk_fault)fault), ppm);
        }
    }
}
