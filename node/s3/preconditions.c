/* preconditions.c - see preconditions.h. */
#include "node/s3/preconditions.h"

/* One entity tag: with or without quotes, strong or weak. */
static bool tag_matches(struct text_span tag, const char *etag)
{
    tag = text_span_trim(tag);
    if (text_span_starts_with(tag, "W/")) {
        tag.data += 2;
        tag.bytes -= 2;
    }
    if (tag.bytes >= 2 && tag.data[0] == '"' && tag.data[tag.bytes - 1] == '"') {
        tag.data++;
        tag.bytes -= 2;
    }
    return text_span_equals(tag, etag);
}

static bool any_tag_matches(struct text_span list, const char *etag)
{
    while (list.bytes > 0) {
        struct text_span tag = text_span_cut(&list, ',');
        if (text_span_equals(text_span_trim(tag), "*") || tag_matches(tag, etag)) {
            return true;
        }
    }
    return false;
}

enum precondition preconditions_evaluate(const struct s3_request *request, const char *etag, uint64_t modified_ms)
{
    struct text_span value;
    uint64_t date_ms;
    uint64_t modified_s = modified_ms / 1000; /* Header dates have no milliseconds. */
    if (s3_request_header(request, "if-match", &value)) {
        if (!any_tag_matches(value, etag)) {
            return PRECONDITION_FAILED;
        }
    } else if (s3_request_header(request, "if-unmodified-since", &value) && date_from_http(value, &date_ms)) {
        if (modified_s > date_ms / 1000) {
            return PRECONDITION_FAILED;
        }
    }
    if (s3_request_header(request, "if-none-match", &value)) {
        if (any_tag_matches(value, etag)) {
            return PRECONDITION_NOT_MODIFIED;
        }
    } else if (s3_request_header(request, "if-modified-since", &value) && date_from_http(value, &date_ms)) {
        if (modified_s <= date_ms / 1000) {
            return PRECONDITION_NOT_MODIFIED;
        }
    }
    return PRECONDITION_HOLDS;
}

bool preconditions_allow_range(const struct s3_request *request, const char *etag, uint64_t modified_ms)
{
    struct text_span value;
    uint64_t date_ms;
    if (!s3_request_header(request, "if-range", &value)) {
        return true;
    }
    if (date_from_http(value, &date_ms)) {
        return modified_ms / 1000 == date_ms / 1000;
    }
    return tag_matches(value, etag);
}
