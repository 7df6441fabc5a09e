/* range.c - see range.h. */
#include "node/s3/range.h"

/* The last `count` bytes. */
static enum range_kind resolve_suffix(uint64_t count, uint64_t size, uint64_t *first, uint64_t *bytes)
{
    if (count == 0 || size == 0) {
        return RANGE_UNSATISFIABLE;
    }
    *bytes = count < size ? count : size;
    *first = size - *bytes;
    return RANGE_PART;
}

enum range_kind range_resolve(struct text_span header, uint64_t size, uint64_t *first, uint64_t *bytes)
{
    uint64_t from;
    uint64_t to = UINT64_MAX;
    struct text_span rest = text_span_trim(header);
    if (!text_span_starts_with(rest, "bytes=")) {
        return RANGE_WHOLE;
    }
    rest.data += 6;
    rest.bytes -= 6;
    size_t before = rest.bytes;
    struct text_span from_text = text_span_cut(&rest, '-');
    if (from_text.bytes == before) {
        return RANGE_WHOLE; /* No '-'. */
    }
    from_text = text_span_trim(from_text);
    struct text_span to_text = text_span_trim(rest);
    if (to_text.bytes > 0 && !text_span_to_number(to_text, &to)) {
        return RANGE_WHOLE;
    }
    if (from_text.bytes == 0) {
        return to_text.bytes == 0 ? RANGE_WHOLE : resolve_suffix(to, size, first, bytes);
    }
    if (!text_span_to_number(from_text, &from) || to < from) {
        return RANGE_WHOLE;
    }
    if (from >= size) {
        return RANGE_UNSATISFIABLE;
    }
    uint64_t last = to < size ? to : size - 1;
    *first = from;
    *bytes = last - from + 1;
    return RANGE_PART;
}
