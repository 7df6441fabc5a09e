/* test_s3_routes.c - the routing table: every operation is found, and whatever is not understood is refused. */
#include "node/s3/routes.h"

#include <criterion/criterion.h>
#include <string.h>

static struct s3_request request;

static enum s3_error find(const char *method, const char *target, const struct s3_route **route)
{
    s3_request_init(&request);
    s3_request_set_method(&request, text_span_of(method));
    s3_request_set_target(&request, text_span_of(target));
    s3_request_resolve(&request, NULL);
    cr_assert_eq(request.error, S3_NONE, "%s", target);
    return s3_route_find(&request, route);
}

Test(s3_routes, find_every_operation)
{
    static const struct {
        const char *method, *target, *name;
        enum role role;
    } cases[] = {
        {"GET", "/", "ListBuckets", ROLE_VIEWER},
        {"GET", "/?x-id=ListBuckets", "ListBuckets", ROLE_VIEWER},
        {"GET", "/?max-buckets=5&continuation-token=abc", "ListBuckets", ROLE_VIEWER},
        {"PUT", "/bucket/", "CreateBucket", ROLE_OWNER},
        {"HEAD", "/bucket", "HeadBucket", ROLE_VIEWER},
        {"DELETE", "/bucket", "DeleteBucket", ROLE_OWNER},
        {"GET", "/bucket?location", "GetBucketLocation", ROLE_VIEWER},
        {"GET", "/bucket", "ListObjects", ROLE_VIEWER},
        {"GET", "/bucket?list-type=2&prefix=a&fetch-owner=true", "ListObjects", ROLE_VIEWER},
        {"GET", "/bucket?marker=a", "ListObjects", ROLE_VIEWER},
        {"PUT", "/bucket/key?x-id=PutObject", "PutObject", ROLE_EDITOR},
        {"GET", "/bucket/key", "GetObject", ROLE_VIEWER},
        {"GET", "/bucket/key?response-content-type=a", "GetObject", ROLE_VIEWER},
        {"HEAD", "/bucket/key", "HeadObject", ROLE_VIEWER},
        {"DELETE", "/bucket/key", "DeleteObject", ROLE_EDITOR},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        const struct s3_route *route;
        cr_assert_eq(find(cases[i].method, cases[i].target, &route), S3_NONE, "%s", cases[i].target);
        cr_assert_str_eq(route->operation->name, cases[i].name);
        cr_assert_eq(route->role, cases[i].role, "%s", cases[i].name);
    }
}

Test(s3_routes, refuse_every_subresource_they_do_not_serve)
{
    static const char *const names[] = {
        "acl",        "policy",    "uploads",      "uploadId=1", "partNumber=1",  "versioning", "versions",
        "tagging",    "cors",      "lifecycle",    "delete",     "torrent",       "retention",  "legal-hold",
        "attributes", "restore",   "notification", "website",    "replication",   "encryption", "object-lock",
        "logging",    "inventory", "versionId=1",  "select",     "never-heard-of"};
    static const char *const methods[] = {"GET", "HEAD", "PUT", "POST", "DELETE"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        for (size_t j = 0; j < ARRAY_LENGTH(methods); j++) {
            const struct s3_route *route;
            char target[64] = "/bucket/key?";
            strcat(target, names[i]);
            cr_assert_eq(find(methods[j], target, &route), S3_NOT_IMPLEMENTED, "%s %s", methods[j], target);
            strcpy(target, "/bucket?");
            strcat(target, names[i]);
            cr_assert_eq(find(methods[j], target, &route), S3_NOT_IMPLEMENTED, "%s %s", methods[j], target);
        }
    }
}

Test(s3_routes, refuse_methods_that_nothing_has)
{
    const struct s3_route *route;
    cr_assert_eq(find("PATCH", "/bucket/key", &route), S3_METHOD_NOT_ALLOWED);
    cr_assert_eq(find("DELETE", "/", &route), S3_METHOD_NOT_ALLOWED);
    cr_assert_eq(find("VERYLONGMETHOD", "/bucket", &route), S3_METHOD_NOT_ALLOWED);
}
