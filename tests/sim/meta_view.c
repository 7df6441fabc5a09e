/* meta_view.c - see meta_view.h. */
#include "tests/sim/meta_view.h"

#include "meta/service_private.h"

bool meta_view_silence(const struct meta_service *service, uint64_t node_id, uint64_t now_ns, uint64_t *silence_ns,
                       uint64_t *lease_ns)
{
    const struct member *member = membership_member(&service->membership, node_id);
    *silence_ns = membership_silence_ns(&service->membership, node_id, now_ns);
    *lease_ns = service->membership.lease_ns;
    return member != NULL && member->heard;
}

uint32_t meta_view_commands(const struct meta_service *service, uint32_t *requests)
{
    uint32_t commands = 0;
    *requests = 0;
    LIST_EACH (&service->operations_busy, link) {
        commands++;
        *requests += LIST_ENTRY(link, struct operation, link)->request != NULL ? 1 : 0;
    }
    return commands;
}

enum status meta_view_derive(struct meta_service *service, uint32_t page, uint32_t slot, struct key *leaf)
{
    return service == NULL ? STATUS_UNAVAILABLE : service_derive(service, page, slot, leaf);
}
