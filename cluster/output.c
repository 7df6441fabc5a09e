/* output.c - JSON documents, times and sizes for people, and names that can do a terminal no harm. */
#include "cluster/output.h"

#include "base/check.h"
#include "cluster/command.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int output_finish(void)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        return command_fail("the result could not be written to stdout; is the disk behind it full?");
    }
    return 0;
}

int output_json(json_t *document)
{
    if (document == NULL) {
        return command_fail("out of memory");
    }
    int failed = json_dumpf(document, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
    json_decref(document);
    putchar('\n');
    if (failed != 0) {
        return command_fail("the result could not be written to stdout");
    }
    return output_finish();
}

json_t *output_json_bytes(const void *data, size_t bytes)
{
    json_t *text = json_stringn(data, bytes);
    if (text != NULL) {
        return text;
    }
    char *escaped = malloc(bytes * 3 + 1);
    if (escaped == NULL) {
        return NULL;
    }
    size_t used = 0;
    for (size_t i = 0; i < bytes; i++) {
        uint8_t byte = ((const uint8_t *)data)[i];
        if (byte < 0x80 && byte != '%') {
            escaped[used++] = (char)byte;
        } else {
            used += (size_t)snprintf(escaped + used, 4, "%%%02X", byte);
        }
    }
    text = json_stringn(escaped, used);
    free(escaped);
    return text;
}

json_t *output_json_time(uint64_t ms)
{
    if (ms == 0) {
        return json_null();
    }
    char text[OUTPUT_TIME_BYTES];
    output_time(ms, text);
    return json_string(text);
}

void output_text(const void *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        uint8_t byte = ((const uint8_t *)data)[i];
        if (byte < 0x20 || byte == 0x7f) {
            printf("\\x%02x", byte);
        } else {
            putchar(byte);
        }
    }
}

void output_time(uint64_t ms, char text[OUTPUT_TIME_BYTES])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm utc;
    CHECK(gmtime_r(&seconds, &utc) != NULL);
    size_t used = strftime(text, OUTPUT_TIME_BYTES, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text + used, OUTPUT_TIME_BYTES - used, ".%03uZ", (unsigned)(ms % 1000));
}

void output_size(uint64_t bytes, char text[OUTPUT_SIZE_BYTES])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double amount = (double)bytes;
    size_t unit = 0;
    while (amount >= 1024.0 && unit + 1 < ARRAY_LENGTH(units)) {
        amount /= 1024.0;
        unit++;
    }
    if (unit == 0) {
        snprintf(text, OUTPUT_SIZE_BYTES, "%" PRIu64 " B", bytes);
    } else {
        snprintf(text, OUTPUT_SIZE_BYTES, "%.1f %s", amount, units[unit]);
    }
}
