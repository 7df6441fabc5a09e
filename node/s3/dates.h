/* dates.h - the date formats of HTTP and S3, in UTC. Pure; years 1970 to 9999. */
#ifndef TRILITH_NODE_S3_DATES_H
#define TRILITH_NODE_S3_DATES_H

#include "node/s3/uri.h"

#define DATE_HTTP_BYTES 30 /* "Sun, 06 Nov 1994 08:49:37 GMT" and a terminator */
#define DATE_ISO_BYTES  25 /* "2009-10-12T17:50:30.000Z" and a terminator */
#define DATE_AMZ_BYTES  17 /* "20130524T000000Z" and a terminator */

/* RFC 1123, for headers; the milliseconds are cut off. */
void date_to_http(uint64_t wall_ms, char text[DATE_HTTP_BYTES]);
/* ISO 8601 with milliseconds, for XML. */
void date_to_iso(uint64_t wall_ms, char text[DATE_ISO_BYTES]);
/* The basic ISO form of signatures. */
void date_to_amz(uint64_t wall_ms, char text[DATE_AMZ_BYTES]);

/* False: not exactly this form, or not a date. */
bool date_from_http(struct text_span text, uint64_t *wall_ms);
bool date_from_amz(struct text_span text, uint64_t *wall_ms);

#endif
