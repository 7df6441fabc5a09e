/* s3_client.c - signed requests on one libcurl handle, with fall-over from gateway to gateway. */
#include "cluster/s3_client.h"

#include "cluster/command.h"
#include "cluster/s3_listing.h"
#include "node/s3/sigv4.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define CONNECT_TIMEOUT_S   5L
#define STALL_TIMEOUT_S     60L
#define ROUND_PAUSE_NS      (300 * NS_PER_MS)
#define AUTHORIZATION_BYTES 1024
#define KEY_BYTES_MAX       1024
#define PATH_BYTES_MAX      (3 * 64 + 3 * KEY_BYTES_MAX + 3)
#define QUERY_BYTES_MAX     (8 * KEY_BYTES_MAX)
#define READ_BYTES          MIB(1)

static const char empty_sha256[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

struct s3_client {
    const struct client_config *config;
    CURL *curl;
    size_t endpoint; /* the one that answered last */
    char path[PATH_BYTES_MAX];
    char url[PATH_BYTES_MAX + QUERY_BYTES_MAX + NET_ADDRESS_BYTES + 16];
    char curl_message[CURL_ERROR_SIZE];
};

bool s3_place_read(const char *text, struct s3_place *place)
{
    const char *slash = strchr(text, '/');
    size_t bucket_bytes = slash == NULL ? strlen(text) : (size_t)(slash - text);
    const char *key = slash == NULL ? "" : slash + 1;
    if (bucket_bytes == 0 || bucket_bytes >= sizeof(place->bucket) || strlen(key) > KEY_BYTES_MAX) {
        return false;
    }
    memcpy(place->bucket, text, bucket_bytes);
    place->bucket[bucket_bytes] = '\0';
    place->key = key;
    return true;
}

struct s3_client *s3_client_open(struct command *command)
{
    const struct client_config *config = command_config(command);
    if (config == NULL) {
        return NULL;
    }
    if (config->access_key[0] == '\0' || config->secret_key[0] == '\0') {
        command_fail(
            "the configuration has no access_key and secret_key in [s3]; `trilith credential create` makes them");
        return NULL;
    }
    struct s3_client *client = calloc(1, sizeof(*client));
    if (client != NULL) {
        client->config = config;
        client->curl = curl_easy_init();
    }
    if (client == NULL || client->curl == NULL) {
        command_fail("out of memory");
        free(client);
        return NULL;
    }
    return client;
}

void s3_client_close(struct s3_client *client)
{
    if (client != NULL) {
        curl_easy_cleanup(client->curl);
        free(client);
    }
}

enum status s3_file_digest(FILE *file, uint64_t *bytes, char sha256_hex[S3_SHA256_BYTES])
{
    uint8_t *buffer = malloc(READ_BYTES);
    if (buffer == NULL) {
        return STATUS_IO;
    }
    struct digest digest;
    digest_begin(&digest, DIGEST_SHA256);
    uint64_t total = 0;
    size_t got;
    while ((got = fread(buffer, 1, READ_BYTES, file)) > 0) {
        digest_update(&digest, buffer, got);
        total += got;
    }
    free(buffer);
    uint8_t hash[SHA256_BYTES];
    digest_end(&digest, hash);
    if (ferror(file) || fseeko(file, 0, SEEK_SET) != 0) {
        return STATUS_IO;
    }
    hex_encode(hash, sizeof(hash), sha256_hex);
    *bytes = total;
    return STATUS_OK;
}

/* ---- what libcurl calls ------------------------------------------------------------------------ */

static size_t read_body(char *buffer, size_t size, size_t count, void *user)
{
    struct s3_exchange *exchange = user;
    size_t got = fread(buffer, 1, size * count, exchange->body);
    return got == 0 && ferror(exchange->body) ? CURL_READFUNC_ABORT : got;
}

static int seek_body(void *user, curl_off_t offset, int origin)
{
    struct s3_exchange *exchange = user;
    return fseeko(exchange->body, offset, origin) == 0 ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL;
}

/* Keep a piece of a body in memory, below S3_TEXT_BYTES_MAX. */
static bool keep_text(struct s3_exchange *exchange, const void *data, size_t bytes)
{
    if (exchange->text_bytes + bytes > S3_TEXT_BYTES_MAX) {
        return false;
    }
    char *text = realloc(exchange->text, exchange->text_bytes + bytes + 1);
    if (text == NULL) {
        return false;
    }
    memcpy(text + exchange->text_bytes, data, bytes);
    exchange->text = text;
    exchange->text_bytes += bytes;
    text[exchange->text_bytes] = '\0';
    return true;
}

static size_t take_body(char *data, size_t size, size_t count, void *user)
{
    struct s3_exchange *exchange = user;
    size_t bytes = size * count;
    bool succeeded = exchange->http_status >= 200 && exchange->http_status < 300;
    if (!succeeded || exchange->sink == NULL) {
        return keep_text(exchange, data, bytes) ? bytes : 0;
    }
    if (!exchange->sink(exchange->user, data, bytes)) {
        return 0;
    }
    exchange->received += bytes;
    return bytes;
}

/* Copy a header's value, cut to what fits, without the blanks around it. */
static void copy_value(char target[S3_VALUE_BYTES], const char *value, size_t bytes)
{
    if (bytes >= S3_VALUE_BYTES) {
        bytes = S3_VALUE_BYTES - 1;
    }
    memcpy(target, value, bytes);
    target[bytes] = '\0';
}

static void take_metadata(struct s3_exchange *exchange, const char *name, size_t name_bytes, const char *value,
                          size_t value_bytes)
{
    if (exchange->metadata == NULL) {
        exchange->metadata = json_object();
    }
    char field[S3_VALUE_BYTES];
    copy_value(field, name, name_bytes);
    json_t *text = json_stringn(value, value_bytes);
    if (text != NULL) {
        json_object_set_new(exchange->metadata, field, text);
    }
}

static bool named(const char *name, size_t name_bytes, const char *expected)
{
    return strlen(expected) == name_bytes && strncasecmp(name, expected, name_bytes) == 0;
}

static void take_field(struct s3_exchange *exchange, const char *name, size_t name_bytes, const char *value,
                       size_t value_bytes)
{
    static const char metadata_prefix[] = "x-amz-meta-";
    size_t prefix_bytes = strlen(metadata_prefix);
    if (named(name, name_bytes, "etag")) {
        copy_value(exchange->etag, value, value_bytes);
    } else if (named(name, name_bytes, "last-modified")) {
        copy_value(exchange->modified, value, value_bytes);
    } else if (named(name, name_bytes, "content-type")) {
        copy_value(exchange->type, value, value_bytes);
    } else if (named(name, name_bytes, "x-amz-version-id")) {
        copy_value(exchange->version, value, value_bytes);
    } else if (named(name, name_bytes, "x-trilith-erasure")) {
        copy_value(exchange->erasure, value, value_bytes);
    } else if (named(name, name_bytes, "content-length")) {
        char number[S3_VALUE_BYTES];
        copy_value(number, value, value_bytes);
        exchange->has_length = command_number(number, INT64_MAX, &exchange->length);
    } else if (name_bytes > prefix_bytes && strncasecmp(name, metadata_prefix, prefix_bytes) == 0) {
        take_metadata(exchange, name + prefix_bytes, name_bytes - prefix_bytes, value, value_bytes);
    }
}

/* Forget the fields of an answer: an interim 100 Continue came before, or another gateway's. */
static void forget_answer(struct s3_exchange *exchange)
{
    exchange->http_status = 0;
    exchange->has_length = false;
    exchange->length = 0;
    exchange->etag[0] = exchange->modified[0] = exchange->type[0] = '\0';
    exchange->version[0] = exchange->erasure[0] = '\0';
    json_decref(exchange->metadata);
    exchange->metadata = NULL;
}

static size_t take_header(char *line, size_t size, size_t count, void *user)
{
    struct s3_exchange *exchange = user;
    size_t bytes = size * count;
    size_t end = bytes;
    while (end > 0 && strchr(" \t\r\n", line[end - 1]) != NULL) {
        end--;
    }
    if (end > 12 && strncmp(line, "HTTP/", 5) == 0) {
        forget_answer(exchange);
        const char *space = memchr(line, ' ', end);
        exchange->http_status = space == NULL ? 0 : (unsigned)strtoul(space, NULL, 10);
        return bytes;
    }
    const char *colon = memchr(line, ':', end);
    if (colon != NULL) {
        const char *value = colon + 1;
        while (value < line + end && (*value == ' ' || *value == '\t')) {
            value++;
        }
        take_field(exchange, line, (size_t)(colon - line), value, (size_t)(line + end - value));
    }
    return bytes;
}

static int show_progress(void *user, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
    (void)up_total;
    struct s3_exchange *exchange = user;
    if (exchange->progress != NULL) {
        if (exchange->body == NULL && down_total > 0) {
            exchange->progress->total = (uint64_t)down_total;
        }
        progress_set(exchange->progress, (uint64_t)(exchange->body == NULL ? down : up));
    }
    return 0;
}

/* ---- one attempt ------------------------------------------------------------------------------- */

static struct curl_slist *add_header(struct curl_slist *list, const char *name, const char *value)
{
    char line[AUTHORIZATION_BYTES + 64];
    if ((size_t)snprintf(line, sizeof(line), "%s: %s", name, value) >= sizeof(line)) {
        curl_slist_free_all(list);
        return NULL;
    }
    struct curl_slist *longer = curl_slist_append(list, line);
    if (longer == NULL) {
        curl_slist_free_all(list);
    }
    return longer;
}

/* The headers of a request to `host`, signed. NULL: no memory, or something is too long to sign. */
static struct curl_slist *sign_request(struct s3_client *client, const struct s3_exchange *exchange, const char *host)
{
    const char *body_sha256 = exchange->body == NULL ? empty_sha256 : exchange->body_sha256;
    char date[DATE_AMZ_BYTES];
    date_to_amz((uint64_t)time(NULL) * 1000, date);
    const struct sigv4_field fields[] = {
        {text_span_of("host"), text_span_of(host)},
        {text_span_of("x-amz-content-sha256"), text_span_of(body_sha256)},
        {text_span_of("x-amz-date"), text_span_of(date)},
    };
    struct sigv4_request request = {
        .method = text_span_of(exchange->method),
        .path = text_span_of(client->path),
        .query = text_span_of(exchange->query == NULL ? "" : exchange->query),
        .headers = fields,
        .header_count = ARRAY_LENGTH(fields),
        .payload_hash = text_span_of(body_sha256),
    };
    const struct client_config *config = client->config;
    char authorization[AUTHORIZATION_BYTES];
    if (sigv4_sign(&request, config->access_key, config->secret_key, config->region, date, authorization,
                   sizeof(authorization)) != STATUS_OK) {
        return NULL;
    }
    const char *const headers[][2] = {{"Host", host},
                                      {"x-amz-date", date},
                                      {"x-amz-content-sha256", body_sha256},
                                      {"Authorization", authorization},
                                      {"Content-Type", exchange->content_type}};
    struct curl_slist *list = NULL;
    for (size_t i = 0; i < ARRAY_LENGTH(headers); i++) {
        if (headers[i][1] != NULL) {
            list = add_header(list, headers[i][0], headers[i][1]);
            if (list == NULL) {
                return NULL;
            }
        }
    }
    return list;
}

/* The request's path, percent-coded, into client->path. Its capacity holds the longest bucket and key. */
static void encode_path(struct s3_client *client, const struct s3_place *place)
{
    snprintf(client->path, sizeof(client->path), "/");
    if (place == NULL) {
        return;
    }
    CHECK(uri_encode(text_span_of(place->bucket), false, client->path + 1, sizeof(client->path) - 1) > 0);
    if (place->key[0] != '\0') {
        size_t used = strlen(client->path);
        client->path[used++] = '/';
        CHECK(uri_encode(text_span_of(place->key), true, client->path + used, sizeof(client->path) - used) > 0);
    }
}

static void prepare_curl(struct s3_client *client, struct s3_exchange *exchange, const char *host,
                         struct curl_slist *headers)
{
    CURL *curl = client->curl;
    bool has_query = exchange->query != NULL && exchange->query[0] != '\0';
    snprintf(client->url, sizeof(client->url), "http://%s%s%s%s", host, client->path, has_query ? "?" : "",
             has_query ? exchange->query : "");
    curl_easy_reset(curl);
    client->curl_message[0] = '\0';
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, client->curl_message);
    curl_easy_setopt(curl, CURLOPT_URL, client->url);
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, STALL_TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, exchange);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, exchange);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, show_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, exchange);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, exchange->progress == NULL ? 1L : 0L);
    curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 256L * 1024);
    curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, 1024L * 1024);
    if (exchange->body != NULL) {
        curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(curl, CURLOPT_READFUNCTION, read_body);
        curl_easy_setopt(curl, CURLOPT_READDATA, exchange);
        curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, seek_body);
        curl_easy_setopt(curl, CURLOPT_SEEKDATA, exchange);
        curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)exchange->body_bytes);
    } else if (strcmp(exchange->method, "HEAD") == 0) {
        curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    } else if (strcmp(exchange->method, "GET") != 0) {
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, exchange->method);
    }
}

/* What an HTTP status means for us. The answer's own words go into `problem`. */
static enum status judge_answer(struct s3_exchange *exchange)
{
    unsigned http = exchange->http_status;
    if (http >= 200 && http < 300) {
        return STATUS_OK;
    }
    char message[256] = "";
    if (exchange->text != NULL) {
        s3_error_read(exchange->text, exchange->text_bytes, exchange->error_code, sizeof(exchange->error_code), message,
                      sizeof(message));
    }
    const char *code = exchange->error_code;
    snprintf(exchange->problem, sizeof(exchange->problem), "%s%s(%s%sHTTP %u)", message, message[0] == '\0' ? "" : " ",
             code, code[0] == '\0' ? "" : ", ", http);
    switch (http) {
    case 403:
        return STATUS_DENIED;
    case 404:
        return STATUS_NOT_FOUND;
    case 409:
        return strcmp(exchange->error_code, "BucketNotEmpty") == 0 ? STATUS_NOT_EMPTY : STATUS_EXISTS;
    default:
        return http >= 500 ? STATUS_UNAVAILABLE : STATUS_INVALID;
    }
}

static enum status judge_transfer(const struct s3_client *client, struct s3_exchange *exchange, const char *host,
                                  CURLcode code)
{
    if (code == CURLE_OK) {
        return judge_answer(exchange);
    }
    /* A gateway that refuses a body may close before all of it was sent: its answer counts. */
    if (code == CURLE_SEND_ERROR && exchange->http_status >= 400) {
        return judge_answer(exchange);
    }
    snprintf(exchange->problem, sizeof(exchange->problem), "gateway %s: %s", host,
             client->curl_message[0] == '\0' ? curl_easy_strerror(code) : client->curl_message);
    switch (code) {
    case CURLE_WRITE_ERROR:
        return STATUS_IO;
    case CURLE_PARTIAL_FILE:
        return STATUS_CORRUPT;
    default:
        return exchange->received > 0 ? STATUS_CORRUPT : STATUS_UNAVAILABLE;
    }
}

static enum status attempt(struct s3_client *client, struct s3_exchange *exchange, const char *host)
{
    forget_answer(exchange);
    exchange->received = 0;
    exchange->text_bytes = 0;
    exchange->error_code[0] = '\0';
    if (exchange->body != NULL && fseeko(exchange->body, 0, SEEK_SET) != 0) {
        snprintf(exchange->problem, sizeof(exchange->problem), "the file can't be read again from its start");
        return STATUS_IO;
    }
    struct curl_slist *headers = sign_request(client, exchange, host);
    if (headers == NULL) {
        snprintf(exchange->problem, sizeof(exchange->problem), "the request could not be signed: a value is too long");
        return STATUS_IO;
    }
    prepare_curl(client, exchange, host, headers);
    enum status status = judge_transfer(client, exchange, host, curl_easy_perform(client->curl));
    curl_slist_free_all(headers);
    if (status == STATUS_OK && exchange->sink != NULL && exchange->has_length &&
        exchange->received != exchange->length) {
        snprintf(exchange->problem, sizeof(exchange->problem), "gateway %s sent fewer bytes than it announced", host);
        return STATUS_CORRUPT;
    }
    return status;
}

/* May another gateway be asked after `status`? */
static bool may_go_on(struct s3_exchange *exchange, enum status status)
{
    if (status != STATUS_UNAVAILABLE && status != STATUS_CORRUPT) {
        return false;
    }
    return exchange->received == 0 || (exchange->restart != NULL && exchange->restart(exchange->user));
}

enum status s3_perform(struct s3_client *client, struct s3_exchange *exchange)
{
    const struct client_config *config = client->config;
    if (exchange->query != NULL && strlen(exchange->query) >= QUERY_BYTES_MAX) {
        snprintf(exchange->problem, sizeof(exchange->problem), "the prefix is too long");
        return STATUS_INVALID;
    }
    encode_path(client, exchange->place);
    enum status status = STATUS_UNAVAILABLE;
    snprintf(exchange->problem, sizeof(exchange->problem), "the configuration names no gateway");
    for (size_t i = 0; i < S3_ROUNDS * config->endpoint_count; i++) {
        if (i > 0 && i % config->endpoint_count == 0) {
            struct timespec pause = {.tv_nsec = (long)ROUND_PAUSE_NS};
            nanosleep(&pause, NULL);
        }
        status = attempt(client, exchange, config->endpoints[client->endpoint]);
        if (status == STATUS_OK || !may_go_on(exchange, status)) {
            return status;
        }
        client->endpoint = (client->endpoint + 1) % config->endpoint_count;
    }
    return status;
}

int s3_failed(const struct s3_exchange *exchange, const char *what)
{
    const char *advice = "";
    if (exchange->http_status == 0) {
        advice = "; no gateway answers: check `trilith status`";
    } else if (exchange->http_status == 403) {
        advice = "; check access_key, secret_key and this machine's clock";
    } else if (exchange->http_status >= 500) {
        advice = "; `trilith status` shows whether enough nodes are up";
    }
    return command_fail("%s: %s%s", what, exchange->problem, advice);
}

void s3_exchange_release(struct s3_exchange *exchange)
{
    json_decref(exchange->metadata);
    exchange->metadata = NULL;
    free(exchange->text);
    exchange->text = NULL;
    exchange->text_bytes = 0;
}
