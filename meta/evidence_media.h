/* evidence_media.h - the certificate of a medium that has left, type media-sanitization.
 *
 * Beside what all certificates have (evidence.h); in parentheses the label of the sample form of NIST SP 800-88 that
 * a member answers:
 *
 *   media        manufacturer (Make/Vendor), model (Model Number), serial (Serial Number), property_number (Media
 *                Property Number), type (Media Type),
 *                interface, wwn, firmware, capacity_bytes, native_max_lba, hpa_dco, namespaces, smart_before,
 *                smart_after,
 *                barcode_scanned, scan_matches_identify, name, rotational, virtual, stores
 *   source       cluster, node, disk, slot, host, host_serial (Source)
 *   classification pre (Classification), post (Post Sanitization Classification)
 *   data_backed_up (Data Backed Up), backup_location (Backup Location)
 *   drain        live_replicas, last_chunk_moved_at, ever_held_chunks, pgs_ever, inventory_root, proven_empty_at,
 *                owed_wipes
 *   sanitization method (Method Type), technique (Method Used), details (Method Details), tool {name, version,
 *   sha256} (Tool Used, with version), steps
 *                [{n, command, cdw10, pattern, seed_commit, started_at, finished_at, bytes, errors, exit,
 *                device_status}], disk_key,
 *                capability_evidence {sanicap, fna, oacs, ata_word59}, resumed_after_power_loss, failure (Notes)
 *   verification type (Verification Method), seed, samples, bytes, mismatch, mismatch_places, zero_after_erase,
 *   unreadable,
 *                upper95_residual_ppm, residue_scan {magic_hits, label_hits, fingerprint_hits, fingerprints, ...}
 *   people       sanitizer (PERSON PERFORMING SANITIZATION: Name, Title, Organization, Location, Phone), verifier,
 *                validator (VALIDATION) with
 *                decision, approvers; each {name, title, organization, location, contact, at (Date), signature
 *                (Signature)}
 *   destination  kind (MEDIA DESTINATION), details (Details), custody
 *
 * Method is "purge" only when the device's own sanitize finished, by the device's own status, the read-back and search
 * found nothing, and the validator accepted; "clear" for an overwriting under the same conditions; "none" in every
 * other case, also of partitions, images and directories. Of a disk that was dead nothing is claimed but that the keys
 * of what it may hold were destroyed.
 * Threads    Pure. */
#ifndef TRILITH_META_EVIDENCE_MEDIA_H
#define TRILITH_META_EVIDENCE_MEDIA_H

#include "meta/evidence.h"

/* For a request of kind REQUEST_DISK in stage "certify". */
evidence_of_request evidence_media;

/* Who approved a request, for `people`. NULL: no memory, or the tables have failed. */
MUST_USE json_t *evidence_approvers(struct tables *tables, const Trilith__Request *request);
/* {kind, details, custody} as the request has it. */
MUST_USE json_t *evidence_destination(const Trilith__Request *request);

#endif
