/* meta_view.h - what the metadata service believes about a node, and what its vault says, for checkers. A file of its own because the names of
 * meta/membership.h and of the node's parts are not meant to meet. */
#ifndef TRILITH_TESTS_SIM_META_VIEW_H
#define TRILITH_TESTS_SIM_META_VIEW_H

#include "meta/service.h"

/* For how long the node was not heard, and its lease. False: it was never heard by this process. */
bool meta_view_silence(const struct meta_service *service, uint64_t node_id, uint64_t now_ns, uint64_t *silence_ns,
                       uint64_t *lease_ns);

/* Commands that are not applied yet; `*requests` of them are waited for by somebody. */
uint32_t meta_view_commands(const struct meta_service *service, uint32_t *requests);

/* As keeper_derive(); STATUS_UNAVAILABLE also before there is a service. */
MUST_USE enum status meta_view_derive(struct meta_service *service, uint32_t page, uint32_t slot, struct key *leaf);

#endif
