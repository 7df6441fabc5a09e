/* medium_report.h - what people sign about a medium that leaves: who wiped it says what was done, others say what
 * they make of it.
 *
 * Three compact JWS (base/jws.h), kid the person's name in each:
 *
 *   report        typ "medium-report+jws", by who wiped it. The payload is what the tool made
 *                 (cluster/medium_report.h):
 *                 {schema "medium-report/1", report_id, person, kind "disk"|"partition"|"image"|"directory"|"dead",
 *                 result "ERASED"|"FAILED"|"NOT_DONE",
 *                  method "clear"|"purge"|"none", started_at, finished_at, media {}, source {}, sanitization {},
 *                  verification {}, ...}
 *   verification  typ "medium-decision+jws", role "verifier": another person has looked at the report and the medium
 *   validation    the same, role "validator": the decision what becomes of it
 *                 {schema "medium-decision/1", at, decision "accept"|"repeat"|"escalate", person, report_id,
 *                 report_sha256, role}
 *
 * report_sha256 is over the text of the report's JWS without a newline at its end: so nobody can exchange what others
 * signed.
 * Bounds     MEDIUM_REPORT_BYTES_MAX, MEDIUM_DECISION_BYTES_MAX.
 * Threads    Pure. */
#ifndef TRILITH_PROTO_MEDIUM_REPORT_H
#define TRILITH_PROTO_MEDIUM_REPORT_H

#include "base/digest.h"
#include "base/jws.h"

#define MEDIUM_REPORT_TYPE        "medium-report+jws"
#define MEDIUM_REPORT_SCHEMA      "medium-report/1"
#define MEDIUM_DECISION_TYPE      "medium-decision+jws"
#define MEDIUM_DECISION_SCHEMA    "medium-decision/1"
#define MEDIUM_REPORT_BYTES_MAX   KIB(14)
#define MEDIUM_DECISION_BYTES_MAX KIB(2)
#define MEDIUM_STEPS_TOLD_MAX     8u
#define MEDIUM_VERIFIER           "verifier"
#define MEDIUM_VALIDATOR          "validator"

/* "2026-01-31T08:00:00.000Z" */
#define MEDIUM_TIME_BYTES 40
void medium_time_text(uint64_t time_ms, char text[MEDIUM_TIME_BYTES]);

/* The payload of a decision about the report `text`, which must be one (medium_report_open). To be freed with
 * json_decref(); NULL: no memory. */
MUST_USE json_t *medium_decision_payload(const struct jws *report, const char *text, size_t bytes, const char *role,
                                         const char *decision, const char *person, uint64_t now_ms);

/* Take a report apart. The signature is not looked at. jws_close() whatever it returns. STATUS_OK; STATUS_INVALID: no
 * such report. */
MUST_USE enum status medium_report_open(struct jws *jws, const char *text, size_t bytes);
/* Likewise a decision of `role` about that very report. STATUS_OK; STATUS_INVALID: no decision, or of another role;
 * STATUS_CONFLICT: about another report. */
MUST_USE enum status medium_decision_open(struct jws *jws, const char *text, size_t bytes, const char *role,
                                          const char *report, size_t report_bytes);

/* A member of a payload as text; "" when it is none. */
const char *medium_text(const json_t *object, const char *name);
/* As a number; UINT64_MAX when it is none. */
uint64_t medium_number(const json_t *object, const char *name);

/* What may be claimed by what a (well-formed) report says: "purge", "clear" or "none". What the report itself gives
 * as its method is checked against this when it is opened. */
const char *medium_report_method(const json_t *report);

#endif
