/* request_output.h - requests and their plans, for people and for scripts.
 *
 * A plan comes from the metadata service. Whoever approves it signs its hash: so what is shown here is read from the
 * very bytes that are hashed here, and a plan that is not canonical or has another hash than it claims is not shown at
 * all.
 * Threads    One. */
#ifndef TRILITH_CLUSTER_REQUEST_OUTPUT_H
#define TRILITH_CLUSTER_REQUEST_OUTPUT_H

#include "proto/wire.pb-c.h"

#include <jansson.h>
#include <stdbool.h>

/* "open", "running", "done", "cancelled". */
const char *request_state_word(Trilith__RequestState state);
/* Everything, with the plan as JSON. */
json_t *request_json(const Trilith__Request *request);
/* A title line and one line. */
void request_print_title(void);
void request_print_line(const Trilith__Request *request);
/* All that there is to say. */
void request_print(const Trilith__Request *request);

/* The plan, whose hash is what `plan_sha256` says: to be freed with json_decref(). NULL: it is not. */
json_t *request_plan_read(const Trilith__Request *request);
/* One line per member: "inventory.versions  1200". Of long lists the first few. */
void request_plan_print(const json_t *plan);

#endif
