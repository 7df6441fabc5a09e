/* command_disk.c - `disk inspect`: a disk's files walked offline, without its index and without any daemon's help. */
#include "cluster/command.h"
#include "cluster/output.h"
#include "node/store/inspect.h"

#include <inttypes.h>

#define MESSAGE_BYTES 512

struct inspection {
    struct inspect_visitor visitor;
    const char *directory;
    json_t *records;  /* NULL: print */
    json_t *findings; /* NULL: print */
    bool show_records;
    bool only_one;
    struct chunk_id only;
};

static struct inspection *inspection_of(struct inspect_visitor *visitor)
{
    return CONTAINER_OF(visitor, struct inspection, visitor);
}

static void take_record(struct inspect_visitor *visitor, const struct inspect_record *record)
{
    struct inspection *inspection = inspection_of(visitor);
    const struct chunk_header *chunk = &record->record.chunk;
    if (!inspection->show_records || (inspection->only_one && !chunk_id_equal(&chunk->id, &inspection->only))) {
        return;
    }
    char id[ID_HEX_BYTES];
    id_to_hex(chunk->id.bytes, id);
    const char *type = record_type_name(record->record.type);
    const char *state = inspect_record_state_name(record->state);
    if (inspection->records == NULL) {
        printf("%s  %-9s %-10s %-4s lsn %-8" PRIu64 " offset %-10" PRIu64 " length %-8" PRIu32 " %s\n", id, type, state,
               record->good ? "good" : "BAD", record->lsn, record->offset, chunk->chunk_bytes, record->name);
        return;
    }
    json_array_append_new(inspection->records,
                          json_pack("{s:s, s:s, s:s, s:b, s:o, s:o, s:I, s:I, s:I, s:o}", "id", id, "type", type,
                                    "state", state, "good", record->good ? 1 : 0, "segment",
                                    json_sprintf("%s/%s", inspection->directory, record->name), "offset",
                                    record->offset == 0 ? json_null() : json_integer((json_int_t)record->offset),
                                    "length", (json_int_t)chunk->chunk_bytes, "pg", (json_int_t)chunk->pg, "lsn",
                                    (json_int_t)record->lsn, "stored", output_json_time(chunk->stored_ms)));
}

static void take_finding(struct inspect_visitor *visitor, const struct inspect_finding *finding)
{
    struct inspection *inspection = inspection_of(visitor);
    char id[ID_HEX_BYTES] = "";
    if (finding->chunk != NULL) {
        id_to_hex(finding->chunk->bytes, id);
    }
    const char *kind = inspect_finding_name(finding->kind);
    if (inspection->findings == NULL) {
        printf("finding: %s in %s at offset %" PRIu64 ", %" PRIu64 " bytes%s%s\n", kind, finding->name, finding->offset,
               finding->bytes, finding->chunk == NULL ? "" : ", chunk ", id);
        return;
    }
    json_array_append_new(inspection->findings,
                          json_pack("{s:s, s:s, s:I, s:I, s:o}", "kind", kind, "file", finding->name, "offset",
                                    (json_int_t)finding->offset, "bytes", (json_int_t)finding->bytes, "chunk",
                                    finding->chunk == NULL ? json_null() : json_string(id)));
}

/* Findings that mean damage. What an interrupted write left behind the end of the log is none: the next start removes
 * it, and on the disk of a running node it is the write that goes on now. */
static uint64_t count_damage(const struct inspect_summary *summary)
{
    uint64_t damage = 0;
    for (unsigned kind = 0; kind < INSPECT_FINDING_KINDS; kind++) {
        damage += kind == INSPECT_TORN_TAIL ? 0 : summary->findings[kind];
    }
    return damage;
}

static int print_summary(const struct inspection *inspection, const struct inspect_summary *summary)
{
    char store[ID_HEX_BYTES];
    id_to_hex(summary->store.bytes, store);
    if (inspection->records != NULL) {
        return output_json(
            json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:O, s:O}", "store", store, "superblock_good",
                      summary->superblock_good ? 1 : 0, "segments", (json_int_t)summary->segments, "batches",
                      (json_int_t)summary->batches, "record_count", (json_int_t)summary->records, "live_chunks",
                      (json_int_t)summary->live_chunks, "live_bytes", (json_int_t)summary->live_bytes, "erased_chunks",
                      (json_int_t)summary->erased_chunks, "erased_bytes", (json_int_t)summary->erased_bytes, "records",
                      inspection->records, "findings", inspection->findings));
    }
    char live[OUTPUT_SIZE_BYTES];
    char erased[OUTPUT_SIZE_BYTES];
    output_size(summary->live_bytes, live);
    output_size(summary->erased_bytes, erased);
    printf("store     %s\nsegments  %" PRIu32 ", %" PRIu64 " batches, %" PRIu64 " records\n", store, summary->segments,
           summary->batches, summary->records);
    printf("live      %" PRIu64 " chunks, %s\n", summary->live_chunks, live);
    printf("erased    %" PRIu64 " chunks; %s hold exactly what they were overwritten with\n", summary->erased_chunks,
           erased);
    printf("damage    %" PRIu64 " findings\n", count_damage(summary));
    return output_finish();
}

static int inspect(struct inspection *inspection)
{
    struct inspect_summary summary;
    char message[MESSAGE_BYTES];
    if (inspect_directory(inspection->directory, &inspection->visitor, &summary, message, sizeof(message)) !=
        STATUS_OK) {
        return command_fail("%s", message);
    }
    int result = print_summary(inspection, &summary);
    uint64_t damage = count_damage(&summary);
    if (result == 0 && damage > 0) {
        return command_fail("%s: %" PRIu64 " findings; the other copies of what is damaged are on other nodes",
                            inspection->directory, damage);
    }
    return result;
}

int command_disk_inspect(struct command *command)
{
    struct inspection inspection = {.visitor = {.record = take_record, .finding = take_finding},
                                    .directory = command->arguments[0]};
    const char *only = command_option(command, "--chunk");
    inspection.only_one = only != NULL;
    inspection.show_records = only != NULL || command_option(command, "--records") != NULL;
    if (only != NULL && !id_from_hex(only, inspection.only.bytes)) {
        return command_usage(command, "\"%s\" is not a chunk's id of 32 hex digits", only);
    }
    if (command->json) {
        inspection.records = json_array();
        inspection.findings = json_array();
    }
    int result = inspect(&inspection);
    json_decref(inspection.records);
    json_decref(inspection.findings);
    return result;
}
