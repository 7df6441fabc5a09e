/* medium_report.h - what the tool says about a wipe, in the words of the sample form: canonical JSON, signed by who
 * did it.
 *
 * The fields are those of the certificate of a medium as far as the tool can know them; what it can't is null, never
 * guessed (hidden areas, SMART, the bar code). Names in parentheses are the labels of the sample form of NIST SP
 * 800-88:
 *
 *   media        manufacturer (Make/Vendor), model (Model Number), serial (Serial Number), type (Media Type),
 *                interface, wwn, firmware,
 *                capacity_bytes, native_max_lba, hpa_dco, namespaces, smart_before, smart_after, barcode_scanned,
 *                scan_matches_identify; besides name, rotational, virtual, stores (the disks of a cluster whose
 *                labels were found on it)
 *   source       host, host_serial, slot (Source)
 *   sanitization method (Method Type), technique (Method Used), details (Method Details), tool {name, version,
 *   sha256} (Tool Used), steps [],
 *                capability_evidence {sanicap, fna, oacs, ata_word59}, resumed_after_power_loss
 *   verification type (Verification Method), seed, samples, bytes, mismatch, zero_after_erase, unreadable,
 *   upper95_residual_ppm,
 *                mismatch_places, residue_scan {label_hits, fingerprint_hits, fingerprints, fingerprints_sha256,
 *                labels_before, places, bytes}
 *
 * Amounts are bytes; of what differed or could not be read, those of the whole blocks of 4096.
 * `resumed_after_power_loss` counts each time the work was taken up again, whatever had ended it.
 * Threads    One. */
#ifndef TRILITH_CLUSTER_MEDIUM_REPORT_H
#define TRILITH_CLUSTER_MEDIUM_REPORT_H

#include "cluster/medium_wipe.h"
#include "proto/medium_report.h"

/* The payload. `person` may be "": then it can't be handed in. NULL: no memory. */
MUST_USE json_t *medium_report(const struct medium_state *state, const char *person);

/* What would be done, for --dry-run. `rate` bytes per second, 0: not known. */
MUST_USE json_t *medium_plan(const struct medium_identity *identity, enum medium_technique technique, const char *why,
                             enum medium_verify verify, enum sanitize_action action, bool discard, uint64_t rate,
                             uint32_t sanitize_seconds);

/* What may be said when all has gone well. */
const char *medium_statement(const char *method, enum medium_kind kind);

#endif
