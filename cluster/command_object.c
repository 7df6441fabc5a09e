/* command_object.c - objects over S3: put, get, ls, rm, stat. */
#include "cluster/command.h"
#include "cluster/output.h"
#include "cluster/s3_client.h"
#include "cluster/s3_listing.h"
#include "node/s3/dates.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOKEN_BYTES      2048
#define PUT_BYTES_MAX    GIB(5)
#define ENTRIES_PER_PAGE 1000

/* Read "BUCKET/KEY" with a key. 0, or COMMAND_USAGE. */
static int read_object_place(const struct command *command, const char *text, struct s3_place *place)
{
    if (!s3_place_read(text, place) || place->key[0] == '\0') {
        return command_usage(command, "\"%s\" is not BUCKET/KEY (a bucket's name has 3 to 63 bytes, a key 1 to 1024)",
                             text);
    }
    return 0;
}

/* An ETag as other tools show it: without its quotes. */
static void strip_quotes(char *etag)
{
    size_t bytes = strlen(etag);
    if (bytes >= 2 && etag[0] == '"' && etag[bytes - 1] == '"') {
        memmove(etag, etag + 1, bytes - 2);
        etag[bytes - 2] = '\0';
    }
}

/* The erasure's number from the answer's header; 0: none was started. */
static uint64_t erasure_of(const struct s3_exchange *exchange)
{
    uint64_t id = 0;
    return command_number(exchange->erasure, UINT64_MAX, &id) ? id : 0;
}

static json_t *erasure_json(uint64_t id)
{
    return id == 0 ? json_null() : json_integer((json_int_t)id);
}

static json_t *version_json(const struct s3_exchange *exchange)
{
    return exchange->version[0] == '\0' ? json_null() : json_string(exchange->version);
}

/* ---- put --------------------------------------------------------------------------------------- */

/* Open a plain file and take its digest into the exchange. 0, or an exit status. */
static int open_body(const char *path, struct s3_exchange *exchange)
{
    struct stat file;
    exchange->body = fopen(path, "rbe");
    if (exchange->body == NULL || fstat(fileno(exchange->body), &file) != 0) {
        return command_fail("%s can't be read: %s", path, strerror(errno));
    }
    if (!S_ISREG(file.st_mode)) {
        return command_fail("%s is not a plain file; put takes one file at a time", path);
    }
    if ((uint64_t)file.st_size > PUT_BYTES_MAX) {
        return command_fail("%s is larger than 5 GiB, the most that one put can store; split it", path);
    }
    if (s3_file_digest(exchange->body, &exchange->body_bytes, exchange->body_sha256) != STATUS_OK) {
        return command_fail("%s can't be read to its end", path);
    }
    return 0;
}

static int report_put(const struct command *command, const struct s3_place *place, struct s3_exchange *exchange)
{
    strip_quotes(exchange->etag);
    if (command->json) {
        return output_json(json_pack("{s:s, s:s, s:I, s:s, s:o, s:o, s:s}", "bucket", place->bucket, "key", place->key,
                                     "size", (json_int_t)exchange->body_bytes, "etag", exchange->etag, "version",
                                     version_json(exchange), "erasure", erasure_json(erasure_of(exchange)), "sha256",
                                     exchange->body_sha256));
    }
    char size[OUTPUT_SIZE_BYTES];
    output_size(exchange->body_bytes, size);
    printf("%s stored as %s/", size, place->bucket);
    output_text(place->key, strlen(place->key));
    printf("\n");
    uint64_t erasure = erasure_of(exchange);
    if (erasure != 0) {
        printf("the version before it is being erased: trilith erase show %" PRIu64 "\n", erasure);
    }
    return output_finish();
}

int command_put(struct command *command)
{
    struct s3_place place;
    int result = read_object_place(command, command->arguments[1], &place);
    if (result != 0) {
        return result;
    }
    struct s3_client *client = s3_client_open(command);
    if (client == NULL) {
        return COMMAND_USAGE;
    }
    struct progress progress;
    struct s3_exchange exchange = {.method = "PUT", .place = &place, .progress = &progress};
    exchange.content_type = command_option(command, "--content-type");
    result = open_body(command->arguments[0], &exchange);
    if (result == 0) {
        progress_begin(&progress, "put", exchange.body_bytes, true);
        enum status status = s3_perform(client, &exchange);
        progress_end(&progress);
        result =
            status == STATUS_OK ? report_put(command, &place, &exchange) : s3_failed(&exchange, command->arguments[1]);
    }
    if (exchange.body != NULL) {
        fclose(exchange.body);
    }
    s3_exchange_release(&exchange);
    s3_client_close(client);
    return result;
}

/* ---- get --------------------------------------------------------------------------------------- */

/* Where a get writes: a temporary file beside the target, renamed when it is whole; or stdout. */
struct get_target {
    const char *path;
    char temporary[PATH_MAX];
    FILE *file;
    bool is_stdout;
};

/* 0, or an exit status with a message. */
static int target_open(struct get_target *target, const char *path)
{
    *target = (struct get_target){.path = path, .is_stdout = strcmp(path, "-") == 0};
    if (target->is_stdout) {
        target->file = stdout;
        return 0;
    }
    struct stat file;
    if (stat(path, &file) == 0 && S_ISDIR(file.st_mode)) {
        return command_fail("%s is a directory; name the file to write", path);
    }
    const char *slash = strrchr(path, '/');
    int directory_bytes = slash == NULL ? 0 : (int)(slash - path) + 1;
    if ((size_t)snprintf(target->temporary, sizeof(target->temporary), "%.*s.trilith-get-XXXXXX", directory_bytes,
                         path) >= sizeof(target->temporary)) {
        return command_fail("%s: the path is too long", path);
    }
    int descriptor = mkostemp(target->temporary, O_CLOEXEC);
    if (descriptor < 0) {
        return command_fail("no file can be written beside %s: %s", path, strerror(errno));
    }
    target->file = fdopen(descriptor, "wb");
    if (target->file == NULL) {
        close(descriptor);
        unlink(target->temporary);
        return command_fail("out of memory");
    }
    return 0;
}

static bool target_take(void *user, const void *data, size_t bytes)
{
    struct get_target *target = user;
    return fwrite(data, 1, bytes, target->file) == bytes;
}

/* What went to stdout can't be taken back. */
static bool target_restart(void *user)
{
    struct get_target *target = user;
    return !target->is_stdout && fseeko(target->file, 0, SEEK_SET) == 0 && ftruncate(fileno(target->file), 0) == 0;
}

/* Finish: the file gets its name and the usual mode, or it goes. Returns the exit status. */
static int target_close(struct get_target *target, int result)
{
    if (target->is_stdout) {
        return result != 0 ? result : output_finish();
    }
    mode_t mask = umask(0);
    umask(mask);
    bool written = result == 0 && fflush(target->file) == 0 && fchmod(fileno(target->file), 0666 & ~mask) == 0;
    int error = errno;
    if (fclose(target->file) != 0 && written) {
        written = false;
        error = errno;
    }
    if (written && rename(target->temporary, target->path) == 0) {
        return 0;
    }
    error = written ? errno : error;
    unlink(target->temporary);
    return result != 0 ? result : command_fail("%s can't be written: %s", target->path, strerror(error));
}

static int report_get(const struct command *command, const struct s3_place *place, const struct s3_exchange *exchange)
{
    if (command->json) {
        return output_json(json_pack("{s:s, s:s, s:I, s:s}", "bucket", place->bucket, "key", place->key, "size",
                                     (json_int_t)exchange->received, "file", command->arguments[1]));
    }
    char size[OUTPUT_SIZE_BYTES];
    output_size(exchange->received, size);
    printf("%s written to %s\n", size, command->arguments[1]);
    return output_finish();
}

int command_get(struct command *command)
{
    struct s3_place place;
    int result = read_object_place(command, command->arguments[0], &place);
    if (result != 0) {
        return result;
    }
    if (command->json && strcmp(command->arguments[1], "-") == 0) {
        return command_usage(command, "--json and an object on stdout would mix");
    }
    struct s3_client *client = s3_client_open(command);
    if (client == NULL) {
        return COMMAND_USAGE;
    }
    struct get_target target;
    result = target_open(&target, command->arguments[1]);
    if (result == 0) {
        struct progress progress;
        struct s3_exchange exchange = {.method = "GET", .place = &place, .progress = &progress};
        exchange.sink = target_take;
        exchange.restart = target_restart;
        exchange.user = &target;
        progress_begin(&progress, "get", 0, true);
        enum status status = s3_perform(client, &exchange);
        progress_end(&progress);
        result = status == STATUS_OK ? 0 : s3_failed(&exchange, command->arguments[0]);
        result = target_close(&target, result);
        if (result == 0 && !target.is_stdout) {
            result = report_get(command, &place, &exchange);
        }
        s3_exchange_release(&exchange);
    }
    s3_client_close(client);
    return result;
}

/* ---- ls ---------------------------------------------------------------------------------------- */

struct listing {
    json_t *entries; /* buckets or objects; NULL: straight to the terminal */
    json_t *prefixes;
    uint64_t left; /* entries that may still be shown */
};

static void list_entry_json(struct listing *listing, const struct listing_entry *entry)
{
    json_t *name = output_json_bytes(entry->name, entry->name_bytes);
    if (entry->kind == LISTING_PREFIX) {
        json_array_append_new(listing->prefixes, name);
    } else if (entry->kind == LISTING_BUCKET) {
        json_array_append_new(listing->entries, json_pack("{s:o, s:s}", "name", name, "created", entry->modified));
    } else {
        char etag[sizeof(entry->etag)];
        memcpy(etag, entry->etag, sizeof(etag));
        strip_quotes(etag);
        json_array_append_new(listing->entries,
                              json_pack("{s:o, s:I, s:s, s:s}", "key", name, "size", (json_int_t)entry->size,
                                        "modified", entry->modified, "etag", etag));
    }
}

static void list_entry(void *user, const struct listing_entry *entry)
{
    struct listing *listing = user;
    if (listing->left == 0) {
        return;
    }
    listing->left--;
    if (listing->entries != NULL) {
        list_entry_json(listing, entry);
        return;
    }
    if (entry->kind == LISTING_OBJECT) {
        printf("%-24s %14" PRIu64 "  ", entry->modified, entry->size);
    } else if (entry->kind == LISTING_PREFIX) {
        printf("%-24s %14s  ", "", "PREFIX");
    } else {
        printf("%-24s  ", entry->modified);
    }
    output_text(entry->name, entry->name_bytes);
    printf("\n");
}

/* The query of one page. */
static void listing_query(char *query, size_t capacity, const char *prefix, const char *token, bool recursive)
{
    char encoded_prefix[3 * 1024 + 1] = "";
    char encoded_token[3 * TOKEN_BYTES + 1] = "";
    (void)uri_encode(text_span_of(prefix), false, encoded_prefix, sizeof(encoded_prefix));
    (void)uri_encode(text_span_of(token), false, encoded_token, sizeof(encoded_token));
    bool goes_on = token[0] != '\0';
    snprintf(query, capacity, "%s%s%s%sencoding-type=url&list-type=2&max-keys=%d&prefix=%s",
             goes_on ? "continuation-token=" : "", encoded_token, goes_on ? "&" : "", recursive ? "" : "delimiter=%2F&",
             ENTRIES_PER_PAGE, encoded_prefix);
}

/* List page after page. 0, or an exit status with a message. */
static int list_all(struct s3_client *client, const struct s3_place *place, bool recursive, struct listing *listing)
{
    char token[TOKEN_BYTES] = "";
    char query[3 * TOKEN_BYTES + 4 * 1024];
    struct s3_place bucket = {.key = ""};
    int result = 0;
    if (place != NULL) {
        memcpy(bucket.bucket, place->bucket, sizeof(bucket.bucket));
    }
    do {
        struct s3_exchange exchange = {.method = "GET", .place = place == NULL ? NULL : &bucket};
        if (place != NULL) {
            listing_query(query, sizeof(query), place->key, token, recursive);
            exchange.query = query;
        }
        enum status status = s3_perform(client, &exchange);
        if (status != STATUS_OK) {
            result = s3_failed(&exchange, place == NULL ? "list of buckets" : bucket.bucket);
        } else if (exchange.text == NULL || s3_listing_read(exchange.text, exchange.text_bytes, list_entry, listing,
                                                            token, sizeof(token)) != STATUS_OK) {
            result = command_fail("the gateway's answer is not a listing; is the endpoint a Trilith gateway?");
        }
        s3_exchange_release(&exchange);
    } while (result == 0 && token[0] != '\0' && listing->left > 0);
    return result;
}

int command_ls(struct command *command)
{
    struct s3_place place;
    bool has_place = command->argument_count > 0;
    if (has_place && !s3_place_read(command->arguments[0], &place)) {
        return command_usage(command, "\"%s\" is not BUCKET or BUCKET/PREFIX", command->arguments[0]);
    }
    struct listing listing = {.left = UINT64_MAX};
    const char *max = command_option(command, "--max");
    if (max != NULL && !command_number(max, UINT64_MAX, &listing.left)) {
        return command_usage(command, "\"%s\" is not a number of entries", max);
    }
    struct s3_client *client = s3_client_open(command);
    if (client == NULL) {
        return COMMAND_USAGE;
    }
    listing.entries = command->json ? json_array() : NULL;
    listing.prefixes = command->json ? json_array() : NULL;
    int result = list_all(client, has_place ? &place : NULL, command_option(command, "--recursive") != NULL, &listing);
    if (result == 0 && command->json) {
        json_t *document = has_place ? json_pack("{s:O, s:O}", "objects", listing.entries, "prefixes", listing.prefixes)
                                     : json_pack("{s:O}", "buckets", listing.entries);
        result = output_json(document);
    } else if (result == 0) {
        result = output_finish();
    }
    json_decref(listing.entries);
    json_decref(listing.prefixes);
    s3_client_close(client);
    return result;
}

/* ---- rm and stat ------------------------------------------------------------------------------- */

int command_rm(struct command *command)
{
    struct s3_place place;
    int result = read_object_place(command, command->arguments[0], &place);
    if (result != 0) {
        return result;
    }
    struct s3_client *client = s3_client_open(command);
    if (client == NULL) {
        return COMMAND_USAGE;
    }
    struct s3_exchange exchange = {.method = "DELETE", .place = &place};
    if (s3_perform(client, &exchange) != STATUS_OK) {
        result = s3_failed(&exchange, command->arguments[0]);
    } else if (erasure_of(&exchange) == 0 && !command->json) {
        result = command_fail("%s: there is no such object, so there is nothing to erase", command->arguments[0]);
    } else if (command->json) {
        result = output_json(json_pack("{s:o}", "erasure", erasure_json(erasure_of(&exchange))));
    } else {
        printf("deleted; the key is refused from now on and every copy is being overwritten: trilith erase wait "
               "%" PRIu64 "\n",
               erasure_of(&exchange));
        result = output_finish();
    }
    s3_exchange_release(&exchange);
    s3_client_close(client);
    return result;
}

static int report_stat(const struct command *command, const struct s3_place *place, struct s3_exchange *exchange)
{
    strip_quotes(exchange->etag);
    uint64_t modified_ms = 0;
    (void)date_from_http(text_span_of(exchange->modified), &modified_ms);
    if (command->json) {
        json_t *metadata = exchange->metadata == NULL ? json_object() : json_incref(exchange->metadata);
        return output_json(json_pack("{s:s, s:s, s:I, s:s, s:o, s:s, s:o, s:o}", "bucket", place->bucket, "key",
                                     place->key, "size", (json_int_t)exchange->length, "etag", exchange->etag,
                                     "modified", output_json_time(modified_ms), "content_type", exchange->type,
                                     "version", version_json(exchange), "metadata", metadata));
    }
    printf("size      %" PRIu64 "\nmodified  %s\netag      %s\n", exchange->length, exchange->modified, exchange->etag);
    printf("type      ");
    output_text(exchange->type, strlen(exchange->type));
    printf("\n");
    const char *name;
    json_t *value;
    json_object_foreach(exchange->metadata, name, value)
    {
        printf("meta      ");
        output_text(name, strlen(name));
        printf(" = ");
        output_text(json_string_value(value), json_string_length(value));
        printf("\n");
    }
    return output_finish();
}

int command_stat(struct command *command)
{
    struct s3_place place;
    int result = read_object_place(command, command->arguments[0], &place);
    if (result != 0) {
        return result;
    }
    struct s3_client *client = s3_client_open(command);
    if (client == NULL) {
        return COMMAND_USAGE;
    }
    struct s3_exchange exchange = {.method = "HEAD", .place = &place};
    enum status status = s3_perform(client, &exchange);
    if (status == STATUS_NOT_FOUND) {
        result = command_fail("%s: there is no such object; `trilith ls %s` shows what is there", command->arguments[0],
                              place.bucket);
    } else {
        result =
            status == STATUS_OK ? report_stat(command, &place, &exchange) : s3_failed(&exchange, command->arguments[0]);
    }
    s3_exchange_release(&exchange);
    s3_client_close(client);
    return result;
}
