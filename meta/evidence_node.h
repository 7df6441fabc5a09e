/* evidence_node.h - the certificate of a node that has left, type node-decommission.
 *
 *   node         id, name, host_manufacturer, model, serial, asset_tag, bmc_mac, role
 *   inventory    information_assets [{class, tenant_refs_root, bytes}], media [{disk, serial, cert_id, method}],
 *                secrets [{kind, action, at}], other_memory: what is in the machine beside its disks, null where
 *                nobody declared it
 *   drain        disks, disks_removed, drained_at
 *   membership   raft_removed_index, epoch_after_removal
 *   certs_of_media [certificate ids], residual_information_check {who, how, result}
 *   people       sanitizer, verifier, validator (null: those of each medium are in its certificate), approvers
 *   destination  as evidence_media.h
 *
 * Nothing is claimed of the machine itself: what is claimed of each medium stands in the certificates it names.
 * Threads    Pure. */
#ifndef TRILITH_META_EVIDENCE_NODE_H
#define TRILITH_META_EVIDENCE_NODE_H

#include "meta/evidence.h"

/* For a request of kind REQUEST_NODE in stage "certify". */
evidence_of_request evidence_node;

#endif
