/* decommission.h - taking a disk or a node out of the cluster for good: the two kinds of request (requests.h).
 *
 * A disk                                                          a dead disk
 *   draining   DiskDrain; moves go on until disk_is_empty()         the same, from the others; wipes stay owed
 *   medium     waits for MEDIUM_REPORT: three signatures (below)    (left out)
 *   removing   DiskRemove, again until nothing is owed              DiskRemove{dead}: settled without a wipe
 *   keys       (left out)                                           waits until the keys of what that settled are destroyed
 *   certify    evidence_media.c                                     likewise
 * A node
 *   draining   waits until every disk of it was removed by a request of its own
 *   removing   NodeRemove
 *   certify    evidence_node.c
 *
 * A report about a medium is taken when: who wiped, who verified and who validated are people on record, with
 * signatures that verify by their keys of now; who verified is another than who wiped; it was finished after the disk
 * was found empty; the medium is the one that the node told of (what both know of serial number, WWN and size agrees,
 * and the disk's uuid, serial number or WWN ties them together). With two times "accept" and the result ERASED the disk
 * goes on. Anything else is kept as a fact, and the disk waits for another report.
 *
 * Facts      draining: {"at_ms", "pgs", "coming", "owes_wipes", "chunks_reported", "bytes_reported"}
 *            medium:   {"at_ms", "report", "verification", "validation" (JWS), "sanitizer", "verifier", "validator"
 *                      (people), "accepted"}
 *            removing: {"at_ms", "seal": the last one that takes keys of what was settled} (a node's: "map_epoch")
 *            keys:     {"at_ms"}
 * Threads    One. Plans and checks only read. */
#ifndef TRILITH_META_DECOMMISSION_H
#define TRILITH_META_DECOMMISSION_H

#include "meta/requests.h"

#include "proto/medium_report.h"

#define DECOMMISSION_DRAINING "draining"
#define DECOMMISSION_MEDIUM   "medium"
#define DECOMMISSION_REMOVING "removing"
#define DECOMMISSION_KEYS     "keys"

/* A report with what others signed for it, taken apart. */
struct medium_reviews {
    struct jws report;
    struct jws verification;
    struct jws validation;
    bool accepted; /* both decided "accept", and the result is ERASED */
};

/* Take three texts apart. medium_reviews_close() whatever it returns. STATUS_OK; STATUS_INVALID: not such texts;
 * STATUS_CONFLICT: they are not about the same report, or who verified is who wiped. Signatures are not looked at. */
MUST_USE enum status medium_reviews_open(struct medium_reviews *reviews, const Trilith__MediumReportRequest *message);
void medium_reviews_close(struct medium_reviews *reviews);

/* Check a report that was handed in for `record`, at `now_ms`. On STATUS_OK `*fact` is the caller's (json_decref).
 * STATUS_CONFLICT: the request does not wait for one, it is older than the proof that the disk was empty, or about
 * another medium; STATUS_DENIED: somebody is not on record, or a signature does not verify; STATUS_INVALID. */
MUST_USE enum status decommission_report_check(struct tables *tables, const Trilith__RequestRecord *record,
                                               const Trilith__MediumReportRequest *message, uint64_t now_ms,
                                               json_t **fact, bool *accepted);

/* The disk that people mean by its number or its uuid (with hyphens or without). STATUS_NOT_FOUND. */
MUST_USE enum status decommission_find_disk(struct tables *tables, const char *name, Trilith__MapDisk **disk);

/* The fact of a stage as JSON, the caller's; NULL: none. */
json_t *decommission_fact(const Trilith__RequestRecord *record, const char *stage);

/* ---- the leader (service_decommission.c) -------------------------------------------------------- */

struct disk_left;
/* Does the disk hold nothing, by the tables (`left`) and by its node's own word (service_moves.c)? */
bool service_disk_is_empty(struct meta_service *service, const Trilith__MapDisk *disk, const struct disk_left *left);
void disk_decommission_advance(struct meta_service *service, const Trilith__RequestRecord *record);
void node_decommission_advance(struct meta_service *service, const Trilith__RequestRecord *record);

#endif
