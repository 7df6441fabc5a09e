/* replay.c - walks the log behind the index and finds its end.
 *
 * The batch expected next has a place, an lsn and a predecessor. When what stands there is not it, the question is
 * whether that batch was ever acknowledged (Alagappan et al., FAST'18: a damaged entry that could have been
 * committed must not be dropped). It was, when its lsn is not above the highest lsn known durable: from the durable
 * lsn that every later batch carries, and from the superblock.
 *
 *   acknowledged      damage. Counted and logged; the walk goes on with the next good batch. Nothing that is good is
 *                     cut off, and if it was the last of all, the segment is closed behind it. A peer has the data.
 *   not acknowledged  a torn tail. Acknowledgements go in lsn order, so nothing behind it was acknowledged either,
 *                     whole or not: the log ends here. What stands behind is zeroed, and later segments are given up
 *                     for wiping, before anything new is written: it can be taken for part of the log never again.
 *
 * Either way, what the walk passes over is overwritten with zeros, flushed and read back before the store opens. Nobody
 * knows any more which chunks have ciphertext there, so no erase could ever find it; and an erase of a chunk that the
 * index does not know says that it was never held. What is to be destroyed, header and payload, is read from the device
 * twice before: what was misread once is no damage.
 *
 * A segment whose header was lost says by its first good batch where it begins. When the batch that stood in front of
 * that one is damaged, the expected batch is there, only not at the expected place: then that damage is passed over.
 *
 * Between two segments lsns may be missing only when the index is rebuilt: what stood in between has been cleaned. */
#include "node/store/recovery.h"

#include "base/log.h"

static void walk(struct recovery *recovery);

static struct batch_reader *reader_of(struct recovery *recovery)
{
    return &recovery->store->cleaner.reader;
}

static struct recovery *recovery_of(struct batch_reader *reader)
{
    return CONTAINER_OF(reader, struct chunk_store, cleaner.reader)->recovery;
}

static void know_durable(struct recovery *recovery, uint64_t lsn)
{
    if (lsn > recovery->known_durable) {
        recovery->known_durable = lsn;
    }
}

/* The segment in use with the lowest first lsn that is at least `lsn`, or NULL. */
static struct segment *segment_from_lsn(struct recovery *recovery, uint64_t lsn)
{
    struct segment_table *table = &recovery->store->segments;
    struct segment *first = NULL;

    for (uint32_t i = 0; i < table->count; i++) {
        struct segment *segment = &table->segments[i];
        if (segment_is_in_use(segment) && segment->header.first_lsn >= lsn && segment != recovery->segment &&
            (first == NULL || segment->header.first_lsn < first->header.first_lsn)) {
            first = segment;
        }
    }
    return first;
}

static void entered_flushed(struct disk_io *io)
{
    struct recovery *recovery = CONTAINER_OF(io, struct recovery, io);

    if (io->status != STATUS_OK) {
        recovery_fail(recovery, STATUS_IO);
        return;
    }
    walk(recovery);
}

/* Walk what is in recovery->segment from `at` on. What is read there is acknowledged from then on, and enters the index:
 * after a process that ended before its flush it may stand in memory only, so that is made up for first. */
static void walk_flushed(struct recovery *recovery)
{
    if (recovery->was_clean) {
        walk(recovery);
        return;
    }
    disk_flush(recovery->segment->file, &recovery->io, entered_flushed);
}

static void walk_enter(struct recovery *recovery, struct segment *segment)
{
    recovery->segment = segment;
    recovery->chain_unknown = false;
    recovery->at = (struct log_position){
        .next_lsn = segment->header.first_lsn,
        .segment_uuid = segment->header.segment,
        .segment = segment->number,
        .offset = SEGMENT_HEADER_BYTES,
        .previous_crc = 0,
    };
    batch_reader_restart(reader_of(recovery));
    walk_flushed(recovery);
}

/* ---- a good batch -------------------------------------------------------------------------------- */

/* Apply record by record: a rebuilt index must not depend on one id occurring once in a batch. */
static enum status apply_batch(struct recovery *recovery)
{
    struct chunk_store *store = recovery->store;
    const struct batch_reader *reader = reader_of(recovery);
    struct record_cursor cursor = record_cursor_of(&reader->header, reader->area);
    struct record record;

    while (record_next(&cursor, &record) == STATUS_OK) {
        if (chunk_index_apply(&store->index, recovery->segment, &reader->header, &record) != STATUS_OK ||
            chunk_index_write(&store->index, NULL) != STATUS_OK) {
            return STATUS_IO;
        }
    }
    recovery->at.next_lsn = reader->header.lsn + 1;
    recovery->at.offset = reader->offset + (uint64_t)reader->header.batch_blocks * BLOCK_BYTES;
    recovery->at.previous_crc = reader->header.header_crc;
    recovery->chain_unknown = false;
    know_durable(recovery, reader->header.durable_lsn);
    store->recovered_batches++;
    return chunk_index_write(&store->index, &recovery->at);
}

static void apply_and_go_on(struct recovery *recovery)
{
    if (apply_batch(recovery) != STATUS_OK) {
        recovery_fail(recovery, STATUS_IO);
        return;
    }
    walk(recovery);
}

/* ---- the end, or damage -------------------------------------------------------------------------- */

static void log_damage(struct recovery *recovery, const char *what)
{
    recovery->store->corrupt_found++;
    recovery->records_lost = true;
    log_event(LOG_ERROR, "batch_corrupt", "segment=%u offset=%llu lsn=%llu what=%s", recovery->at.segment,
              (unsigned long long)recovery->at.offset, (unsigned long long)recovery->at.next_lsn, what);
}

#define ZERO_ROUNDS_MAX 4 /* a write that the device lost, or a read that failed, once or twice, is made up for */

static void zero_round(struct recovery *recovery);

/* How much of the zeroing the next I/O does. */
static uint32_t zero_piece_bytes(const struct recovery *recovery)
{
    uint64_t left = recovery->zero_end - recovery->zero_offset;

    return left < ZERO_PIECE_BYTES ? (uint32_t)left : (uint32_t)ZERO_PIECE_BYTES;
}

static void zero_verify_next(struct recovery *recovery);

static void zero_verify_read(struct disk_io *io)
{
    struct recovery *recovery = CONTAINER_OF(io, struct recovery, io);

    if (io->status != STATUS_OK || !bytes_are_zero(recovery->store->preparer.buffer, io->bytes)) {
        log_event(LOG_WARNING, "zeros_read_back", "segment=%u offset=%llu status=%s", recovery->segment->number,
                  (unsigned long long)recovery->zero_offset, status_name(io->status));
        if (++recovery->zero_rounds == ZERO_ROUNDS_MAX) {
            recovery_fail(recovery, STATUS_IO);
            return;
        }
        zero_round(recovery);
        return;
    }
    recovery->zero_offset += io->bytes;
    zero_verify_next(recovery);
}

static void zero_verify_next(struct recovery *recovery)
{
    if (recovery->zero_offset == recovery->zero_end) {
        batch_reader_restart(reader_of(recovery));
        recovery->zeroed(recovery);
        return;
    }
    disk_read(recovery->segment->file, &recovery->io, recovery->store->preparer.buffer, zero_piece_bytes(recovery),
              recovery->zero_offset, zero_verify_read);
}

static void zero_flushed(struct disk_io *io)
{
    struct recovery *recovery = CONTAINER_OF(io, struct recovery, io);

    if (io->status != STATUS_OK) {
        recovery_fail(recovery, STATUS_IO);
        return;
    }
    recovery->zero_offset = recovery->zero_from;
    zero_verify_next(recovery);
}

static void zero_next(struct recovery *recovery);

static void zero_written(struct disk_io *io)
{
    struct recovery *recovery = CONTAINER_OF(io, struct recovery, io);

    if (io->status != STATUS_OK) {
        recovery_fail(recovery, STATUS_IO);
        return;
    }
    recovery->zero_offset += io->bytes;
    zero_next(recovery);
}

static void zero_next(struct recovery *recovery)
{
    struct disk_file *file = recovery->segment->file;

    if (recovery->zero_offset == recovery->zero_end) {
        disk_flush(file, &recovery->io, zero_flushed);
        return;
    }
    disk_write(file, &recovery->io, recovery->store->preparer.zeros, zero_piece_bytes(recovery), recovery->zero_offset,
               0, zero_written);
}

static void zero_round(struct recovery *recovery)
{
    recovery->zero_offset = recovery->zero_from;
    zero_next(recovery);
}

/* Overwrite what stands from `at` up to `end` or to where only zeros follow, whichever comes first; then `zeroed`. */
static void zero_up_to(struct recovery *recovery, uint64_t end, void (*zeroed)(struct recovery *recovery))
{
    recovery->zero_from = recovery->at.offset;
    recovery->zero_end = end < recovery->nonzero_end ? end : recovery->nonzero_end;
    recovery->zeroed = zeroed;
    recovery->zero_rounds = 0;
    if (recovery->zero_end <= recovery->zero_from) {
        zeroed(recovery);
        return;
    }
    zero_round(recovery);
}

/* The batch was never acknowledged: the log ends at `at`. */
static void cut_off(struct recovery *recovery)
{
    struct chunk_store *store = recovery->store;
    bool torn = recovery->nonzero_end > recovery->at.offset;

    for (struct segment *later; (later = segment_from_lsn(recovery, recovery->at.next_lsn)) != NULL;) {
        log_event(LOG_WARNING, "segment_discarded", "segment=%u first_lsn=%llu log_end=%llu", later->number,
                  (unsigned long long)later->header.first_lsn, (unsigned long long)recovery->at.next_lsn);
        later->unaccounted = true;
        segment_set_state(later, SEGMENT_WIPING);
        torn = true;
    }
    if (torn) {
        store->torn_batches++;
        log_event(LOG_INFO, "torn_tail", "segment=%u offset=%llu lsn=%llu", recovery->at.segment,
                  (unsigned long long)recovery->at.offset, (unsigned long long)recovery->at.next_lsn);
    }
    zero_up_to(recovery, store->segments.segment_bytes, recovery_replayed);
}

static void go_on_at_found(struct recovery *recovery)
{
    recovery->at = recovery->found_at;
    recovery->chain_unknown = true;
    walk(recovery);
}

static void go_on_in_next_segment(struct recovery *recovery)
{
    walk_enter(recovery, segment_from_lsn(recovery, recovery->at.next_lsn));
}

/* It was the last batch of all: go on in another segment. */
static void end_behind_damage(struct recovery *recovery)
{
    recovery->at.next_lsn = recovery->known_durable + 1;
    recovery->at.offset = recovery->store->segments.segment_bytes;
    recovery_replayed(recovery);
}

/* The batch was acknowledged and is not there. */
static void skip_damage(struct recovery *recovery)
{
    struct segment *next = segment_from_lsn(recovery, recovery->at.next_lsn);
    bool tail_is_zero = recovery->nonzero_end <= recovery->at.offset;

    if (recovery->header_good) {
        /* Known durable now, so the walk takes the records as they are. The chunk has been wiped since, or its damage
         * shows when it is read; the other chunks of the batch are good. */
        batch_reader_restart(reader_of(recovery));
        walk(recovery);
        return;
    }
    if (recovery->found) {
        log_damage(recovery, "skipped");
        zero_up_to(recovery, recovery->found_at.offset, go_on_at_found);
        return;
    }
    if (!(recovery->rebuild && tail_is_zero && next != NULL)) {
        log_damage(recovery, next != NULL ? "end_of_segment" : "end_of_log");
    }
    zero_up_to(recovery, recovery->store->segments.segment_bytes,
               next != NULL ? go_on_in_next_segment : end_behind_damage);
}

static void examine_from(struct recovery *recovery, uint64_t offset);

static void judge(struct recovery *recovery)
{
    bool stands_behind = recovery->found && recovery->found_at.next_lsn == recovery->at.next_lsn;

    if (!recovery->looked_twice && recovery->nonzero_end > recovery->at.offset) {
        recovery->looked_twice = true;
        recovery->scan_end = recovery->nonzero_end;
        batch_reader_restart(reader_of(recovery));
        examine_from(recovery, recovery->at.offset);
        return;
    }
    if (recovery->known_durable >= recovery->at.next_lsn || stands_behind) {
        skip_damage(recovery);
    } else {
        cut_off(recovery);
    }
}

static void search_later(struct recovery *recovery, uint64_t offset);

static void later_scanned(struct batch_reader *reader, enum status status)
{
    struct recovery *recovery = recovery_of(reader);

    if (status == STATUS_IO) {
        recovery_fail(recovery, STATUS_IO);
        return;
    }
    if (status == STATUS_OK) {
        know_durable(recovery, reader->header.durable_lsn);
        search_later(recovery, reader->offset + (uint64_t)reader->header.batch_blocks * BLOCK_BYTES);
        return;
    }
    recovery->later = segment_from_lsn(recovery, recovery->later->header.first_lsn + 1);
    search_later(recovery, SEGMENT_HEADER_BYTES);
}

/* Look into later segments until one says that the batch was durable. */
static void search_later(struct recovery *recovery, uint64_t offset)
{
    if (recovery->later != NULL && offset >= recovery->store->segments.segment_bytes) {
        recovery->later = segment_from_lsn(recovery, recovery->later->header.first_lsn + 1);
        offset = SEGMENT_HEADER_BYTES;
    }
    if (recovery->later == NULL || recovery->known_durable >= recovery->at.next_lsn) {
        judge(recovery);
        return;
    }
    batch_scan(reader_of(recovery), recovery->later, offset, false, later_scanned);
}

/* The rest of the segment is known. */
static void rest_examined(struct recovery *recovery)
{
    struct segment *next = segment_from_lsn(recovery, recovery->at.next_lsn);

    if (recovery->looked_twice) {
        judge(recovery);
        return;
    }
    if (!recovery->found && next != NULL && next->header.first_lsn == recovery->at.next_lsn) {
        if (recovery->nonzero_end > recovery->at.offset) {
            log_event(LOG_WARNING, "segment_residue", "segment=%u offset=%llu", recovery->at.segment,
                      (unsigned long long)recovery->at.offset);
        }
        zero_up_to(recovery, recovery->store->segments.segment_bytes, go_on_in_next_segment);
        return;
    }
    recovery->later = next;
    batch_reader_restart(reader_of(recovery));
    search_later(recovery, SEGMENT_HEADER_BYTES);
}

static bool is_expected(const struct recovery *recovery, const struct batch_header *header)
{
    return header->lsn == recovery->at.next_lsn &&
           (recovery->chain_unknown || header->previous_crc == recovery->at.previous_crc);
}

/* The payload of the batch at `at` has been read again. */
static void payload_read_again(struct batch_reader *reader, enum status status)
{
    struct recovery *recovery = recovery_of(reader);

    if (status == STATUS_IO) {
        recovery_fail(recovery, STATUS_IO);
    } else if (status == STATUS_OK) {
        apply_and_go_on(recovery);
    } else {
        examine_from(recovery, recovery->at.offset + BLOCK_BYTES);
    }
}

static void rest_scanned(struct batch_reader *reader, enum status status)
{
    struct recovery *recovery = recovery_of(reader);

    if (status == STATUS_IO) {
        recovery_fail(recovery, STATUS_IO);
        return;
    }
    if (reader->nonzero_end > recovery->nonzero_end) {
        recovery->nonzero_end = reader->nonzero_end;
    }
    if (status != STATUS_OK) {
        rest_examined(recovery);
        return;
    }
    if (reader->offset == recovery->at.offset) {
        if (is_expected(recovery, &reader->header)) {
            if (recovery->header_good) {
                batch_read_payload(reader, payload_read_again);
            } else {
                walk(recovery); /* It reads well now. */
            }
            return;
        }
        examine_from(recovery, reader->offset + BLOCK_BYTES);
        return;
    }
    know_durable(recovery, reader->header.durable_lsn);
    bool is_nearer = !recovery->found || reader->offset < recovery->found_at.offset;
    /* Not the expected one itself, but where a segment begins whose header was made from that one. */
    bool may_be_expected = recovery->at.offset == SEGMENT_HEADER_BYTES && !recovery->header_good;
    uint64_t lsn_wanted = recovery->at.next_lsn + (may_be_expected ? 0 : 1);
    if (is_nearer && reader->header.lsn >= lsn_wanted) {
        recovery->found = true;
        recovery->found_at = recovery->at;
        recovery->found_at.next_lsn = reader->header.lsn;
        recovery->found_at.offset = reader->offset;
    }
    uint64_t end = reader->offset + (uint64_t)reader->header.batch_blocks * BLOCK_BYTES;
    if (end > recovery->nonzero_end) {
        recovery->nonzero_end = end;
    }
    examine_from(recovery, end);
}

static void examine_from(struct recovery *recovery, uint64_t offset)
{
    if (offset >= recovery->scan_end) {
        rest_examined(recovery);
        return;
    }
    batch_scan_up_to(reader_of(recovery), recovery->segment, offset, recovery->scan_end, rest_scanned);
}

/* What stands at `at` is not the next batch. */
static void examine(struct recovery *recovery, enum status header_status, bool header_good)
{
    bool block_is_zero = header_status == STATUS_NOT_FOUND;
    struct segment *next = segment_from_lsn(recovery, recovery->at.next_lsn);
    bool continues = next != NULL && next->header.first_lsn == recovery->at.next_lsn;
    bool ended_in_order = next == NULL && recovery->was_clean &&
                          recovery->at.next_lsn == recovery->store->superblock.state.durable_lsn + 1;

    recovery->found = false;
    recovery->looked_twice = false;
    recovery->scan_end = recovery->store->segments.segment_bytes;
    recovery->header_good = header_good;
    recovery->nonzero_end = recovery->at.offset;
    if (block_is_zero && continues) {
        walk_enter(recovery, next);
    } else if (block_is_zero && ended_in_order) {
        recovery_replayed(recovery);
    } else {
        batch_reader_restart(reader_of(recovery));
        examine_from(recovery, recovery->at.offset);
    }
}

/* ---- the walk ------------------------------------------------------------------------------------ */

static void payload_done(struct batch_reader *reader, enum status status)
{
    struct recovery *recovery = recovery_of(reader);

    if (status == STATUS_IO) {
        recovery_fail(recovery, STATUS_IO);
    } else if (status == STATUS_OK) {
        apply_and_go_on(recovery);
    } else {
        examine(recovery, STATUS_OK, true);
    }
}

static void header_done(struct batch_reader *reader, enum status status)
{
    struct recovery *recovery = recovery_of(reader);

    if (status == STATUS_IO) {
        recovery_fail(recovery, STATUS_IO);
        return;
    }
    if (status != STATUS_OK || !is_expected(recovery, &reader->header)) {
        examine(recovery, status, false);
        return;
    }
    /* Known durable: its payload is not read. Damage there concerns single chunks, and shows when they are read. */
    bool has_payload = reader->header.batch_blocks > reader->header.header_blocks;
    if (has_payload && reader->header.lsn > recovery->known_durable) {
        batch_read_payload(reader, payload_done);
        return;
    }
    apply_and_go_on(recovery);
}

static void walk(struct recovery *recovery)
{
    if (recovery->at.offset >= recovery->store->segments.segment_bytes) {
        recovery->found = false;
        recovery->looked_twice = false;
        recovery->header_good = false;
        recovery->nonzero_end = recovery->at.offset;
        rest_examined(recovery);
        return;
    }
    batch_read_header(reader_of(recovery), recovery->segment, recovery->at.offset, header_done);
}

void replay_start(struct recovery *recovery)
{
    batch_reader_restart(reader_of(recovery));
    recovery->known_durable = recovery->store->superblock.state.durable_lsn;
    if (recovery->segment != NULL) {
        know_durable(recovery, recovery->at.next_lsn - 1);
        walk_flushed(recovery);
        return;
    }
    struct segment *first = segment_from_lsn(recovery, 0);
    if (first != NULL) {
        walk_enter(recovery, first);
        return;
    }
    recovery->at = (struct log_position){.next_lsn = recovery->known_durable + 1};
    recovery_replayed(recovery);
}
